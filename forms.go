package main

import (
	"encoding/json"
	"math"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// formState is what a form on a page shows: the values of its fields, and
// after it was sent what is wrong with them.
type formState struct {
	ID     string // names the form on its page and starts the ids of its fields
	Values map[string]string
	Theirs map[string]string // where somebody else has changed what the form is about: the values that it has now
	Faults []formFault
}

// formFault is one thing that is wrong with a form; with no field, it is about
// the form as a whole.
type formFault struct{ Field, Message string }

// Refused reports whether the form was sent and has to be sent again.
func (f formState) Refused() bool { return len(f.Faults) > 0 }

// or returns f when it is the form called id, and otherwise that form with
// values. Of the many forms of a page only one can have been refused.
func (f formState) or(id string, values map[string]string) formState {
	if f.ID == id {
		return f
	}
	return formState{ID: id, Values: values}
}

// Or is or for templates.
func (f formState) Or(id string) formState { return f.or(id, nil) }

// refused is the form called id as it was sent, with what err says about it,
// and the status of the answer. An error that nobody can mend in a form comes
// back as it is.
func refused(w http.ResponseWriter, id string, in *input, err error) (formState, int, error) {
	public := publicError(err)
	switch public.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusConflict, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(public.retryAfter))
	default:
		return formState{}, 0, err
	}
	f := formState{ID: id, Values: in.values(), Theirs: public.current}
	if f.Theirs != nil {
		f.Values["seen"] = f.Theirs["seen"]
	}
	for _, one := range public.faults {
		field := one.Loc[len(one.Loc)-1]
		if len(one.Loc) == 1 {
			field = ""
		}
		f.add(field, one.Msg)
	}
	if len(public.faults) == 0 {
		f.add(fieldOf(in, public.detail), public.detail)
	}
	return f, public.status, nil
}

// add notes a fault, in the words that the page has for the field.
func (f *formState) add(field, message string) {
	for _, name := range []string{human(field), "Password"} { // every new password goes by the same rules
		if rest, found := strings.CutPrefix(message, name+" "); found && (name == human(field) && field != "" || strings.HasSuffix(field, "password")) {
			message = fieldLabel(field) + " " + rest
			break
		}
	}
	f.Faults = append(f.Faults, formFault{field, message})
}

// fieldOf is the field that a sentence begins with ("Username already
// registered"), or none.
func fieldOf(in *input, sentence string) string {
	for name := range in.fields {
		if strings.HasPrefix(sentence, human(name)+" ") {
			return name
		}
	}
	return ""
}

// values are the texts of the fields, but never of a password.
func (in *input) values() map[string]string {
	values := map[string]string{}
	for name, raw := range in.fields {
		var text string
		var list []string
		switch {
		case strings.Contains(name, "password"):
		case json.Unmarshal(raw, &text) == nil:
			values[name] = text
		case json.Unmarshal(raw, &list) == nil:
			values[name] = strings.TrimSpace(strings.Join(list, " "))
		}
	}
	return values
}

// valuesOf are the fields of a row as a form shows them, under the names that
// the row has in JSON.
func valuesOf(row any) map[string]string {
	values := map[string]string{}
	if row == nil {
		return values
	}
	text, _ := json.Marshal(row) // rows always marshal
	var fields map[string]json.RawMessage
	_ = json.Unmarshal(text, &fields)
	for name, raw := range fields {
		value := string(raw)
		switch {
		case value == "null", value[0] == '{', value[0] == '[':
			continue // no text that a form could hold
		case value[0] == '"':
			_ = json.Unmarshal(raw, &value)
		}
		values[name] = value
	}
	return values
}

// readForm is readInput with the line ends of forms, CR LF, as LF: what is
// counted and stored is what was typed.
func readForm(w http.ResponseWriter, r *http.Request) (*input, error) {
	in, err := readInput(w, r)
	if err != nil {
		return nil, err
	}
	for name, raw := range in.fields {
		in.fields[name] = json.RawMessage(strings.ReplaceAll(string(raw), `\r\n`, `\n`))
	}
	return in, nil
}

// formField is one field of a form, as the template "field" shows it.
type formField struct {
	ID, Name, Label, Value string
	Type                   string // of the input, or textarea, select or markdown
	Hint, Autocomplete     string
	Mode                   string // the keyboard that a phone shows (inputmode)
	Placeholder            string
	Max, Rows              int
	Required, Focus        bool
	Choices                []choice
	Faults                 []string
	Theirs                 string // what it says now, where that is something else
}

// choice is one option of a select.
type choice struct{ Value, Label string }

// DescribedBy are the ids of what explains the field.
func (f formField) DescribedBy() string {
	var ids []string
	if len(f.Faults) > 0 {
		ids = append(ids, f.ID+"-fault")
	}
	if f.Hint != "" {
		ids = append(ids, f.ID+"-hint")
	}
	return strings.Join(ids, " ")
}

// newField is the field called name of a form. Each option is key=value, or
// the word required; choices are value:label, separated by bars.
func newField(f formState, name string, options ...string) formField {
	field := formField{ID: f.ID + "-" + name, Name: name, Label: fieldLabel(name), Value: f.Values[name], Type: "text"}
	if theirs := f.Theirs[name]; theirs != field.Value {
		field.Theirs = theirs
	}
	for i, one := range f.Faults {
		if one.Field == name {
			field.Faults = append(field.Faults, one.Message)
			field.Focus = field.Focus || i == 0
		}
	}
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "label":
			field.Label = value
		case "type":
			field.Type = value
		case "hint":
			field.Hint = value
		case "autocomplete":
			field.Autocomplete = value
		case "mode":
			field.Mode = value
		case "placeholder":
			field.Placeholder = value
		case "max":
			field.Max, _ = strconv.Atoi(value)
		case "rows":
			field.Rows, _ = strconv.Atoi(value)
		case "value":
			if _, typed := f.Values[name]; !typed {
				field.Value = value
			}
		case "required":
			field.Required = true
		case "focus":
			field.Focus = field.Focus || !f.Refused()
		case "choices":
			field.Type = "select"
			for one := range strings.SplitSeq(value, "|") {
				value, label, _ := strings.Cut(one, ":")
				field.Choices = append(field.Choices, choice{value, label})
			}
		}
	}
	// A value that is no choice, from elsewhere, must survive the form.
	if field.Type == "select" && !slices.ContainsFunc(field.Choices, func(c choice) bool { return c.Value == field.Value }) {
		field.Choices = append(field.Choices, choice{field.Value, field.Value})
	}
	return field
}

// fieldLabel is what a page calls a field.
func fieldLabel(name string) string {
	switch name {
	case "firstname":
		return "First name"
	case "lastname":
		return "Last name"
	case "email":
		return "E-mail address"
	case "totp":
		return "Code"
	case "bio":
		return "About you"
	case "url", "link":
		return "Web address"
	case "item_name":
		return "Name"
	case "link_type", "tool_type":
		return "Kind"
	case "code_link":
		return "Source code"
	case "datasheet_url":
		return "Datasheet"
	case "difficulty_level":
		return "Difficulty"
	case "estimated_time":
		return "Time it takes"
	}
	return human(name)
}

// parsePrice reads an amount of money such as 3.50, 3,5 or £3 in hundredths;
// the empty text is nil.
func parsePrice(text string) (cents *int, ok bool) {
	text = strings.TrimSpace(strings.TrimFunc(strings.TrimSpace(text), func(r rune) bool { return unicode.Is(unicode.Sc, r) }))
	if text == "" {
		return nil, true
	}
	whole, fraction, pointed := strings.Cut(strings.Replace(text, ",", ".", 1), ".")
	if pointed && (fraction == "" || len(fraction) > 2) {
		return nil, false
	}
	digits := whole + (fraction + "00")[:2]
	if len(digits) == 2 || strings.Trim(digits, "0123456789") != "" {
		return nil, false
	}
	n, err := strconv.Atoi(digits)
	return &n, err == nil && n <= math.MaxInt32
}

// price turns the field "price", as people write it, into "price_cents".
func (in *input) price() {
	if !in.has("price") {
		return
	}
	text, _ := in.string("price")
	cents, ok := parsePrice(text)
	if !ok {
		in.add("price", "Price must be an amount such as 3.50", "value_error")
	}
	in.fields["price_cents"], _ = json.Marshal(cents)
}

const maxReturnTo = 500

// returnTo is where to go on after signing in: text when it is a path of this
// server or an address on an allowed origin, and otherwise nothing. The pages
// for signing in and registering are no places to return to.
func (s *server) returnTo(text string) string {
	if text == "" || utf8.RuneCountInString(text) > maxReturnTo || strings.ContainsRune(text, '\\') || strings.ContainsFunc(text, unicode.IsControl) {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	local := text[0] == '/' && !strings.HasPrefix(text, "//")
	if !local && (u.User != nil || u.Opaque != "" || !slices.Contains(s.cfg.allowedOrigins, u.Scheme+"://"+u.Host)) {
		return ""
	}
	if clean := path.Clean("/" + u.Path); clean == "/login" || clean == "/register" {
		return ""
	}
	return text
}
