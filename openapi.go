package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// operation is what the API document says of a route beyond what the table of
// routes does: see the list of them in endpoints.go.
type operation struct {
	pattern    string // of the route
	tag        string
	summary    string
	about      string // what the summary has no room for
	query      []param
	body       []param // of a JSON object, or of a form where one is a file
	ids        string  // the body is a JSON list of ids, of what this says
	form       bool    // the body may be a form as well
	maybe      bool    // the body may be missing
	status     int     // of success; 0: 200
	out        any     // a value of the type that is written; nil: nothing is
	media      string  // of what is written, where that is no JSON
	also       map[int]string
	down       bool // 503 has the body of success
	cached     bool // If-None-Match is answered
	stored     bool // so are ranges and conditions, as of any file
	deprecated string
}

// param is one field of a body, or one parameter of a query.
type param struct {
	name     string
	kind     string // a type of JSON Schema, or file
	format   string // of a string
	required bool
	min, max int // of characters or numbers; 0: none
	options  []string
	usual    any // where it is left out
	about    string
	example  any
}

// The constructors say what the methods of input check.

func textParam(name string, min, max int, example string) param {
	return param{name: name, kind: "string", required: true, min: min, max: max, example: example}
}

func optionalParam(name string, max int, example string) param {
	return param{name: name, kind: "string", max: max, example: example}
}

func linkParam(name string, max int, example string) param {
	return param{name: name, kind: "string", format: "uri", max: max, example: example}
}

func numberParam(name string, min, max int, example int) param {
	return param{name: name, kind: "integer", min: min, max: max, example: example}
}

func flagParam(name string) param { return param{name: name, kind: "boolean", example: true} }

func choiceParam(name string, options ...string) param {
	return param{name: name, kind: "string", options: options, example: options[0]}
}

func fileParam(name string) param { return param{name: name, kind: "file", required: true} }

func (p param) saying(text string) param { p.about = text; return p }
func (p param) needed() param            { p.required = true; return p }
func (p param) usually(value any) param  { p.usual = value; return p }
func (p param) like(example any) param   { p.example = example; return p }
func (p param) in(format string) param   { p.format = format; return p }

// partly are the same fields for a change, which leaves out what stays.
func partly(params []param) []param {
	params = slices.Clone(params)
	for i := range params {
		params[i].required, params[i].usual = false, nil
	}
	return params
}

// apiOperation is an operation with its route.
type apiOperation struct {
	operation
	route
	Method, Path string
}

// ID is what programs call the operation.
func (o apiOperation) ID() string {
	var b strings.Builder
	b.WriteString(strings.ToLower(o.Method))
	for word := range strings.FieldsFuncSeq(o.Path, func(r rune) bool { return !isWordRune(r) }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// Writes reports whether the operation may change something.
func (o apiOperation) Writes() bool { return o.Method != http.MethodGet }

// InPath are the parameters in the path.
func (o apiOperation) InPath() (list []param) {
	for segment := range strings.SplitSeq(o.Path, "/") {
		if name, is := strings.CutPrefix(segment, "{"); is {
			p := pathParams[strings.TrimSuffix(name, "}")]
			p.name, p.required = strings.TrimSuffix(name, "}"), true
			if p.kind == "" {
				p.kind = "string"
			}
			if p.name == "id" && strings.Contains(o.Path, "/sessions/") {
				p.kind, p.min, p.example = "string", 0, "6f1c2a52-7d0e-4b7b-9d7c-0a3f5a0c9a11"
			}
			list = append(list, p)
		}
	}
	return list
}

// pathParams are the parameters in paths by their names.
var pathParams = map[string]param{
	"project":  {kind: "integer", min: 1, example: 1, about: "the project's id"},
	"id":       {kind: "integer", min: 1, example: 1},
	"url":      {example: "blog/engine.html", about: "the page's URL without its leading slash, in one segment (blog%2Fengine.html) or as it is", max: maxURL},
	"username": {example: "ada"},
	"file":     {example: "ada.atom", about: "the file's name"},
	"size":     {example: "3f6c-960-0a1b2c3d4e5f.jpg", about: "the last segment of a url in sizes"},
	"action":   {options: slices.Sorted(maps.Keys((&server{}).adminActions())), example: "unlock"},
}

// apiAnswer is one way in which an operation is answered.
type apiAnswer struct {
	Status  int
	Text    string
	Out     any // nil: no body
	Media   string
	ForAll  bool // it follows from what holds for all such routes
	Refusal bool
}

// Answers are all of them, by status: what the entry says, and what follows from
// the route and its adapters.
func (o apiOperation) Answers() []apiAnswer {
	answers := map[int]apiAnswer{}
	refuse := func(status int, text string, forAll bool) {
		if before, known := answers[status]; known && before.Text != text {
			text, forAll = before.Text+" "+text, forAll && before.ForAll
		}
		answers[status] = apiAnswer{Status: status, Text: text, Out: errorAnswer{}, Media: "application/json", ForAll: forAll, Refusal: true}
	}
	status := cmp.Or(o.status, http.StatusOK)
	answers[status] = apiAnswer{Status: status, Text: "Done.", Out: o.out, Media: o.mediaType()}
	for status, text := range o.also {
		switch {
		case status < 300:
			answers[status] = apiAnswer{Status: status, Text: text, Out: o.out, Media: o.mediaType()}
		case status < 400:
			answers[status] = apiAnswer{Status: status, Text: text}
		default:
			refuse(status, text, false)
		}
	}
	if o.cached || o.stored {
		answers[http.StatusNotModified] = apiAnswer{Status: http.StatusNotModified, Text: "What you have (If-None-Match) is still right.", ForAll: true}
	}
	if o.stored {
		answers[http.StatusPartialContent] = apiAnswer{Status: http.StatusPartialContent, Text: "The range that was asked for.", Out: o.out, Media: o.media, ForAll: true}
		refuse(http.StatusPreconditionFailed, "The file is not in the state that the request asks for.", true)
		refuse(http.StatusRequestedRangeNotSatisfiable, "The file has no such range.", true)
	}
	switch o.access {
	case forSignedIn, forAuthor, forAdmins:
		refuse(http.StatusUnauthorized, "Nobody is signed in, or the token is old.", false)
		refuse(http.StatusForbidden, "Something has to be done first; code says what.", true)
	}
	switch o.access {
	case forAdmins:
		refuse(http.StatusForbidden, "The user is no admin.", false)
	case forAuthor:
		refuse(http.StatusForbidden, "The user is not the project's author.", false)
		if o.Writes() {
			refuse(http.StatusPreconditionFailed, "The project has changed since the ETag in If-Match.", true)
		}
	case forReaders:
		refuse(http.StatusForbidden, "The project is somebody else's draft.", false)
	}
	if strings.Contains(o.Path, "{project}") || strings.Contains(o.Path, "{id}") {
		refuse(http.StatusNotFound, "There is no such thing.", false)
	}
	refuse(http.StatusUnprocessableEntity, "Fields or parameters are wrong; errors lists all of them.", len(o.body)+len(o.query) == 0 && o.ids == "")
	if o.Writes() {
		refuse(http.StatusForbidden, "A page of another site has sent this; its origin is not allowed.", true)
		refuse(http.StatusTooManyRequests, "Too many requests; Retry-After says in how many seconds the next one may come.", true)
		refuse(http.StatusRequestEntityTooLarge, "The body is too large.", true)
	} else if o.limit != nil {
		refuse(http.StatusTooManyRequests, "Too many requests; Retry-After says in how many seconds the next one may come.", true)
	}
	refuse(http.StatusInternalServerError, "Something is wrong with the server.", true)
	refuse(http.StatusServiceUnavailable, "The database does not answer; please try again in some seconds.", true)
	if o.down {
		answers[http.StatusServiceUnavailable] = apiAnswer{Status: http.StatusServiceUnavailable, Text: "The server can't do its work.", Out: o.out, Media: o.mediaType(), ForAll: true}
	}
	return slices.SortedFunc(maps.Values(answers), func(a, b apiAnswer) int { return a.Status - b.Status })
}

// mediaType is that of a successful answer.
func (o operation) mediaType() string {
	if o.out == nil && o.media == "" {
		return ""
	}
	return cmp.Or(o.media, "application/json")
}

// BodyMedia are the media types in which a body is taken.
func (o operation) BodyMedia() []string {
	switch {
	case slices.ContainsFunc(o.body, func(p param) bool { return p.kind == "file" }):
		return []string{"multipart/form-data"}
	case o.form:
		return []string{"application/x-www-form-urlencoded", "application/json"}
	case len(o.body) > 0 || o.ids != "":
		return []string{"application/json"}
	}
	return nil
}

// Example is a body for the operation as it is sent.
func (o operation) Example() any {
	if o.ids != "" {
		return []int{2, 1, 3}
	}
	fields := map[string]any{}
	for _, p := range o.body {
		if p.example != nil {
			fields[p.name] = p.example
		}
	}
	return fields
}

// object is JSON, written in the order of its names.
type object = map[string]any

// schemas are the components that types have become.
type schemas object

func (c schemas) ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// of is the schema of what encoding/json makes of a type.
func (c schemas) of(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[template.HTML]():
		return object{"type": "string", "contentMediaType": "text/html"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		s := c.of(t.Elem())
		if kind, plain := s["type"].(string); plain {
			s["type"] = []string{kind, "null"}
			return s
		}
		return object{"anyOf": []object{s, {"type": "null"}}}
	case reflect.Slice:
		items := t.Elem()
		if items.Kind() == reflect.Pointer { // no list holds null
			items = items.Elem()
		}
		return object{"type": "array", "items": c.of(items)}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": c.of(t.Elem())}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Struct:
		name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
		if _, known := c[name]; !known {
			c[name] = object{} // a type may hold itself
			properties := object{}
			required := c.fields(t, properties, true)
			slices.Sort(required)
			c[name] = object{"type": "object", "properties": properties, "required": slices.Compact(required), "additionalProperties": false}
		}
		return c.ref(name)
	}
	panic("the API document knows no schema for " + t.String())
}

// fields adds the fields of a struct, those of embedded ones first, and returns
// the names of those that are always there.
func (c schemas) fields(t reflect.Type, properties object, always bool) (required []string) {
	own := []reflect.StructField{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			embedded, there := f.Type, always
			if embedded.Kind() == reflect.Pointer {
				embedded, there = embedded.Elem(), false
			}
			required = append(required, c.fields(embedded, properties, there)...)
		case f.IsExported() && name != "-":
			own = append(own, f)
		}
	}
	for _, f := range own {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		properties[name] = c.of(f.Type)
		if always && !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	return required
}

// schema is that of one field or parameter.
func (p param) schema() object {
	s := object{"type": p.kind}
	switch {
	case p.kind == "file":
		return object{"type": "string", "contentMediaType": "application/octet-stream"}
	case p.kind == "array":
		s["items"] = object{"type": cmp.Or(p.format, "string")}
		if p.max > 0 {
			s["maxItems"] = p.max
		}
	case p.kind == "integer":
		s["minimum"] = p.min
		if p.max > 0 {
			s["maximum"] = p.max
		}
	case p.options != nil:
		s["enum"] = p.options
	case p.kind == "string":
		if p.format != "" {
			s["format"] = p.format
		}
		if p.min > 0 {
			s["minLength"] = p.min
		}
		if p.max > 0 {
			s["maxLength"] = p.max
		}
	}
	if p.usual != nil {
		s["default"] = p.usual
	}
	if p.example != nil {
		s["examples"] = []any{p.example}
	}
	return s
}

// parameter is an OpenAPI Parameter Object.
func (p param) parameter(where string) object {
	o := object{"name": p.name, "in": where, "schema": p.schema()}
	if p.about != "" {
		o["description"] = sentence(p.about)
	}
	if p.required {
		o["required"] = true
	}
	return o
}

// sentence makes one of a phrase.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	text = string(unicode.ToUpper([]rune(text)[0])) + string([]rune(text)[1:])
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// bodySchema is that of the whole body.
func (o operation) bodySchema() object {
	if o.ids != "" {
		return object{"type": "array", "items": object{"type": "integer", "minimum": 1}, "description": sentence(o.ids)}
	}
	properties, required := object{}, []string{}
	for _, p := range o.body {
		s := p.schema()
		if kind, plain := s["type"].(string); plain && !p.required && p.kind != "file" && p.options == nil {
			s["type"] = []string{kind, "null"}
		}
		if p.about != "" {
			s["description"] = sentence(p.about)
		}
		properties[p.name] = s
		if p.required {
			required = append(required, p.name)
		}
	}
	return object{"type": "object", "properties": properties, "required": required}
}

// document is the operation as an OpenAPI Operation Object.
func (o apiOperation) document(types schemas) object {
	parameters := []object{}
	for _, p := range o.InPath() {
		parameters = append(parameters, p.parameter("path"))
	}
	for _, p := range o.query {
		parameters = append(parameters, p.parameter("query"))
	}
	if o.access == forAuthor && o.Writes() {
		parameters = append(parameters, object{"name": "If-Match", "in": "header", "schema": object{"type": "string"},
			"description": "The ETag of the project as you have read it; the change is refused when it has changed since."})
	}
	responses := object{}
	for _, a := range o.Answers() {
		r := object{"description": a.Text}
		if a.Out != nil {
			r["content"] = object{a.Media: object{"schema": types.of(reflect.TypeOf(a.Out))}}
		} else if a.Media != "" {
			r["content"] = object{a.Media: object{}}
		}
		responses[strconv.Itoa(a.Status)] = r
	}
	doc := object{"operationId": o.ID(), "tags": []string{o.tag}, "summary": o.summary, "description": o.description(), "parameters": parameters, "responses": responses}
	if media := o.BodyMedia(); media != nil {
		content := object{}
		for _, m := range media {
			content[m] = object{"schema": o.bodySchema()}
			if m != "multipart/form-data" {
				content[m] = object{"schema": o.bodySchema(), "example": o.Example()}
			}
		}
		doc["requestBody"] = object{"required": !o.maybe, "content": content}
	}
	if o.deprecated != "" {
		doc["deprecated"] = true
	}
	switch o.access {
	case forEverybody:
		doc["security"] = []object{}
	case forOpen, forReaders:
		doc["security"] = []object{{}, {"bearer": []string{}}, {"cookie": []string{}}}
	default:
		doc["security"] = []object{{"bearer": []string{}}, {"cookie": []string{}}}
	}
	return doc
}

// description is all that there is to say in words.
func (o apiOperation) description() string {
	text := "For: " + strings.ToLower(string(o.access[:1])) + string(o.access[1:]) + "."
	if o.about != "" {
		text = o.about + " " + text
	}
	if o.limit != nil {
		text += " " + o.limit.String()
	}
	if o.deprecated != "" {
		text += " Deprecated: " + o.deprecated + "."
	}
	return text
}

// String is the limit in words.
func (l limit) String() string {
	per := "hour"
	if whole := time.Duration(l.burst) * l.interval; whole <= time.Minute {
		per = "minute"
	}
	return fmt.Sprintf("At most %.0f requests a %s from one address.", l.burst, per)
}

// apiOperations are the operations of the routes, in the order of endpoints.go.
// What has no entry there is left out.
func apiOperations(routes map[string]route) (list []apiOperation) {
	for _, o := range operations() {
		rt, known := routes[o.pattern]
		if !known {
			continue
		}
		method, address, _ := strings.Cut(o.pattern, " ")
		list = append(list, apiOperation{o, rt, method, address})
	}
	return list
}

const apiIntroduction = `What is sent and answered is JSON in UTF-8, unless a route says otherwise. HEAD is answered wherever GET is.

Times are UTC in RFC 3339 with a trailing Z. Where a number is expected, JSON text that holds the number is taken too, and an empty text is null.

Every error is an object with a detail, which is a sentence for the person who reads it; with 422, errors lists every field that is wrong. A request that accepts text/html is a browser's: where it lacks a sign-in it is sent to /login with 303. An <img> of this site's own pages is answered with an empty frame (image/svg+xml), under the same status.

A page is named by its URL without the leading slash. The empty URL is the same page as index.html.

Pages of other sites may call the API when their origins are in the setting ALLOWED_ORIGINS. Errors and preflights carry the CORS headers too.

Every write counts against one generous limit of its sender's address (1200 at once, 20 more a second); some routes have a limit of their own.`

// apiDocument is the OpenAPI 3.1 document of the routes.
func (s *server) apiDocument(routes map[string]route) object {
	types := schemas{}
	paths := object{}
	tags := []object{}
	for _, o := range apiOperations(routes) {
		item, known := paths[o.Path].(object)
		if !known {
			item = object{}
			paths[o.Path] = item
		}
		item[strings.ToLower(o.Method)] = o.document(types)
		if len(tags) == 0 || tags[len(tags)-1]["name"] != o.tag {
			tags = append(tags, object{"name": o.tag})
		}
	}
	return object{
		"openapi": "3.1.0",
		"info":    object{"title": s.cfg.siteName, "version": thisBuild().Version, "description": apiIntroduction, "license": object{"name": "MIT", "identifier": "MIT"}},
		"servers": []object{{"url": s.cfg.publicURL}},
		"tags":    tags,
		"paths":   paths,
		"components": object{
			"schemas": types,
			"securitySchemes": object{
				"bearer": object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access_token that POST /api/login gives."},
				"cookie": object{"type": "apiKey", "in": "cookie", "name": "access_token", "description": "The cookie that signing in sets, which browsers send by themselves."},
			},
		},
	}
}

// showOpenAPI answers the document, which changes with the program alone.
func (s *server) showOpenAPI(document func() ([]byte, error)) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := document()
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "public, max-age=300")
		h.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		return nil
	}
}

// marshalled is the document as it is sent.
func marshalled(document object) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(document)
	return b.Bytes(), err
}
