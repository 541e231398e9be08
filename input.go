package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// fault is one thing that is wrong with a request.
type fault struct {
	Loc  []string `json:"loc"` // body, query or path, then the field
	Msg  string   `json:"msg"`
	Type string   `json:"type"`
}

// invalid is the 422 that lists the faults.
func invalid(faults ...fault) error {
	var messages []string
	for _, f := range faults {
		messages = append(messages, f.Msg)
	}
	return &httpError{status: http.StatusUnprocessableEntity, detail: strings.Join(messages, "; "), faults: faults}
}

// input is a request's fields, from a JSON body, a form or a query. Each of
// its methods reads one field, checks it and notes what is wrong with it; err
// returns all that was noted. Texts are trimmed.
//
// The methods that take a current value are for updates: a field that was left
// out keeps it.
type input struct {
	where  string // body or query
	fields map[string]json.RawMessage
	faults []fault
}

// maxBody bounds every body but the uploads.
const maxBody = 1 << 20

// readInput reads a body of JSON or of a form. A body that starts with a brace
// or a bracket is JSON whatever its content type says: browsers send beacons
// as text/plain, and curl sends what it is given as a form.
func readInput(w http.ResponseWriter, r *http.Request) (*input, error) {
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	in := &input{where: "body", fields: map[string]json.RawMessage{}}
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	trimmed := bytes.TrimSpace(body)
	isJSON := len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[')
	switch {
	case kind == "application/x-www-form-urlencoded" && !isJSON:
		values, err := url.ParseQuery(string(body))
		if err != nil {
			in.add("", "The form could not be read", "value_error")
			return nil, in.err()
		}
		in.setValues(values)
	case kind == "multipart/form-data":
		form, err := multipart.NewReader(bytes.NewReader(body), params["boundary"]).ReadForm(maxBody)
		if err != nil {
			in.add("", "The form could not be read", "value_error")
			return nil, in.err()
		}
		in.setValues(form.Value)
	default:
		if !json.Valid(body) {
			in.add("", "The body must be valid JSON", "json_invalid")
			return nil, in.err()
		}
		if json.Unmarshal(body, &in.fields) != nil || in.fields == nil {
			in.add("", "The body must be a JSON object", "model_type")
			return nil, in.err()
		}
	}
	return in, nil
}

// readBody reads a whole body of valid UTF-8.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, err
	case err != nil:
		return nil, fail(http.StatusBadRequest, "The request ended before its body was whole")
	case !utf8.Valid(body):
		return nil, invalid(fault{[]string{"body"}, "The text must be valid UTF-8", "value_error"})
	}
	return body, nil
}

// readIDs reads a body that is a JSON list of ids, as numbers or as text.
func readIDs(w http.ResponseWriter, r *http.Request) ([]int, error) {
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	err = json.Unmarshal(body, &list)
	ids := make([]int, len(list))
	for i, raw := range list {
		if err == nil {
			ids[i], err = strconv.Atoi(strings.Trim(string(raw), `"`))
		}
	}
	if err != nil {
		return nil, invalid(fault{[]string{"body"}, "The body must be a list of ids", "list_type"})
	}
	return ids, nil
}

// queryInput reads the query's parameters.
func queryInput(r *http.Request) *input {
	in := &input{where: "query", fields: map[string]json.RawMessage{}}
	in.setValues(r.URL.Query())
	return in
}

// setValues takes the fields of a form or a query: of each the first value, but
// all of the lists of ids.
func (in *input) setValues(values url.Values) {
	for name, texts := range values {
		in.fields[name], _ = json.Marshal(texts[0])
		if strings.HasSuffix(name, "_ids") {
			in.fields[name], _ = json.Marshal(texts)
		}
	}
}

func (in *input) add(name, msg, kind string) {
	loc := []string{in.where}
	if name != "" {
		loc = append(loc, name)
	}
	in.faults = append(in.faults, fault{loc, msg, kind})
}

// err is the 422 with every fault noted so far, or nil.
func (in *input) err() error {
	if len(in.faults) == 0 {
		return nil
	}
	return invalid(in.faults...)
}

func (in *input) has(name string) bool {
	_, given := in.fields[name]
	return given
}

// human is a field's name as people read it: "step_number" is "Step number".
func human(name string) string {
	if name == "" {
		return ""
	}
	words := strings.ReplaceAll(name, "_", " ")
	return strings.ToUpper(words[:1]) + words[1:]
}

// string returns a field's text as it was sent, and whether it holds one.
func (in *input) string(name string) (text string, ok bool) {
	raw, given := in.fields[name]
	if !given || string(raw) == "null" {
		return "", false
	}
	if err := json.Unmarshal(raw, &text); err != nil {
		in.add(name, human(name)+" must be a text", "string_type")
		return "", false
	}
	if strings.ContainsRune(text, 0) {
		in.add(name, human(name)+" must not hold a NUL character", "value_error")
		return "", false
	}
	return text, true
}

// text is a required text of min to max characters.
func (in *input) text(name string, min, max int) string {
	return in.checked(name, nil, min, max, strings.TrimSpace)
}

// updated is text, but keeps current when it was left out, whatever that is;
// the row with the id 0 is new, and has to have it.
func (in *input) updated(name string, id int, current string, min, max int) string {
	if id == 0 {
		return in.text(name, min, max)
	}
	return in.checked(name, &current, min, max, strings.TrimSpace)
}

// verbatim is a required text that is taken as it is, spaces and all.
func (in *input) verbatim(name string, min, max int) string {
	return in.checked(name, nil, min, max, func(s string) string { return s })
}

func (in *input) checked(name string, current *string, min, max int, tidy func(string) string) string {
	if current != nil && !in.has(name) {
		return *current
	}
	before := len(in.faults)
	text, ok := in.string(name)
	text = tidy(text)
	length := utf8.RuneCountInString(text)
	switch {
	case len(in.faults) > before:
	case !ok || text == "" && min > 0:
		in.add(name, human(name)+" is required", "missing")
	case length < min:
		in.add(name, fmt.Sprintf("%s must have at least %d characters", human(name), min), "string_too_short")
	case length > max:
		in.add(name, fmt.Sprintf("%s must have at most %d characters", human(name), max), "string_too_long")
	}
	return text
}

// optional is a text of at most max characters; null and the empty text are
// nil, and left out it stays current.
func (in *input) optional(name string, current *string, max int) *string {
	if !in.has(name) {
		return current
	}
	text, _ := in.string(name)
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	if utf8.RuneCountInString(text) > max {
		in.add(name, fmt.Sprintf("%s must have at most %d characters", human(name), max), "string_too_long")
	}
	return &text
}

// link is an optional http or https address.
func (in *input) link(name string, current *string, max int) *string {
	text := in.optional(name, current, max)
	if text != nil && in.has(name) && !isWebLink(*text) {
		in.add(name, human(name)+" must be an address that starts with http:// or https://", "url_parsing")
	}
	return text
}

func isWebLink(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && !strings.ContainsAny(text, " \t\r\n\"<>")
}

// integer is a whole number from min to max; left out or empty it is the
// fallback, and with a nil fallback that is a fault.
func (in *input) integer(name string, fallback *int, min, max int) int {
	n := in.optionalInteger(name, fallback, min, max)
	if n == nil {
		if fallback == nil {
			if len(in.faults) == 0 || !slices.Contains(in.faults[len(in.faults)-1].Loc, name) {
				in.add(name, human(name)+" is required", "missing")
			}
			return min
		}
		return *fallback
	}
	return *n
}

// optionalInteger is a whole number from min to max, as a number or as text;
// null and the empty text are nil, and left out it stays current.
func (in *input) optionalInteger(name string, current *int, min, max int) *int {
	raw, given := in.fields[name]
	if !given {
		return current
	}
	text := strings.TrimSpace(strings.Trim(string(raw), `"`))
	if text == "" || text == "null" {
		return nil
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || number != math.Trunc(number) {
		in.add(name, human(name)+" must be a whole number", "int_parsing")
		return nil
	}
	if number < float64(min) || number > float64(max) {
		msg := fmt.Sprintf("%s must be from %d to %d", human(name), min, max)
		kind := "less_than_equal"
		if number < float64(min) {
			kind = "greater_than_equal"
		}
		if max == math.MaxInt32 && number < float64(min) {
			msg = fmt.Sprintf("%s must be at least %d", human(name), min)
		}
		in.add(name, msg, kind)
		return nil
	}
	n := int(number)
	return &n
}

// choice is one of the options; left out or empty it is the fallback, and with
// an empty fallback that is a fault.
func (in *input) choice(name, fallback string, options ...string) string {
	before := len(in.faults)
	text, _ := in.string(name)
	text = strings.TrimSpace(text)
	if text == "" {
		text = fallback
	}
	if len(in.faults) == before && !slices.Contains(options, text) {
		in.add(name, human(name)+" must be one of: "+strings.Join(options, ", "), "enum")
	}
	return text
}

// flag is a boolean that is false when it was left out.
func (in *input) flag(name string) bool {
	text := strings.Trim(string(in.fields[name]), `"`)
	switch text {
	case "", "null", "false", "0":
		return false
	case "true", "1", "on":
		return true
	}
	in.add(name, human(name)+" must be true or false", "bool_parsing")
	return false
}

// texts is a list of texts: a JSON list, or one text with commas as forms send
// it. ok is false when it was left out; null is an empty list.
func (in *input) texts(name string) (list []string, ok bool) {
	raw, given := in.fields[name]
	if !given {
		return nil, false
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return strings.Split(text, ","), true
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		in.add(name, human(name)+" must be a list of texts", "list_type")
	}
	return list, true
}

// ids is a list of ids, each once: a JSON list of numbers or texts, or what a
// form's boxes send, where the empty text is none. nil means that it was left
// out.
func (in *input) ids(name string) []int {
	raw, given := in.fields[name]
	if !given {
		return nil
	}
	ids, known := []int{}, map[int64]bool{}
	var list []json.RawMessage
	if string(raw) != "null" && json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	for _, one := range list {
		for text := range strings.FieldsSeq(strings.Trim(string(one), `"`)) {
			id, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				in.add(name, human(name)+" must be a list of ids", "list_type")
				return ids
			}
			if !known[id] {
				known[id] = true
				ids = append(ids, int(id))
			}
		}
	}
	return ids
}

// email is a required e-mail address (RFC 5322 addr-spec, at most 254
// characters by RFC 5321 §4.5.3.1.3) whose domain has a dot; left out it stays
// current, which may be older than this rule.
func (in *input) email(name string, current *string) string {
	before := len(in.faults)
	text := in.checked(name, current, 3, 254, strings.TrimSpace)
	if len(in.faults) > before || current != nil && text == *current {
		return text
	}
	_, domain, _ := strings.Cut(text, "@")
	addr, err := mail.ParseAddress(text)
	if err != nil || addr.Address != text || addr.Name != "" || !strings.Contains(strings.Trim(domain, "."), ".") || strings.ContainsAny(text, " \"<>\\[]") {
		in.add(name, human(name)+" must be a valid e-mail address", "value_error")
	}
	return text
}

// date is an optional day, given as YYYY-MM-DD or as a timestamp with or
// without an offset; left out it stays current.
func (in *input) date(name string, current *time.Time) *time.Time {
	if !in.has(name) {
		return current
	}
	text := in.optional(name, nil, 40)
	if text == nil {
		return nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05"} {
		if t, err := time.Parse(form, *text); err == nil {
			if t.Year() < 1900 || t.After(time.Now()) {
				in.add(name, human(name)+" must lie between 1900 and today", "value_error")
			}
			day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
			return &day
		}
	}
	in.add(name, human(name)+" must be a date such as 1990-05-17", "datetime_parsing")
	return nil
}

// pathID is an id in the path. One that no row can have is 0, which is not
// found; one that is no number is a 422.
func pathID(r *http.Request, name string) (int, error) {
	text := r.PathValue(name)
	n, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrSyntax) || strings.HasPrefix(text, "+") {
		return 0, invalid(fault{[]string{"path", name}, "The id in the address must be a whole number", "int_parsing"})
	}
	if err != nil || n < 1 || n > math.MaxInt32 {
		return 0, nil
	}
	return int(n), nil
}
