package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// docsPage is the data of docs.html: the API document for people.
type docsPage struct {
	Version, Server string
	Introduction    []string
	Sections        []docsSection
	Shapes          []docsShape
}

type docsSection struct {
	Title      string
	Operations []apiOperation
}

// docsShape is a type that the API answers with.
type docsShape struct {
	Name   string
	Fields []docsField
}

type docsField struct {
	Name     string
	Type     string
	Shape    string // the name of the shape that it holds, if it does
	Optional bool
}

// showDocs answers GET /docs.
func (s *server) showDocs(routes map[string]route) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		data := docsPage{Version: thisBuild().Version, Server: s.cfg.publicURL, Introduction: strings.Split(apiIntroduction, "\n\n")}
		types := schemas{}
		for _, o := range apiOperations(routes) {
			if len(data.Sections) == 0 || data.Sections[len(data.Sections)-1].Title != o.tag {
				data.Sections = append(data.Sections, docsSection{Title: o.tag})
			}
			last := &data.Sections[len(data.Sections)-1]
			last.Operations = append(last.Operations, o)
			for _, a := range o.Answers() {
				if a.Out != nil {
					types.of(reflect.TypeOf(a.Out))
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(types)) {
			data.Shapes = append(data.Shapes, shapeOf(name, types[name].(object)))
		}
		return s.render(w, r, http.StatusOK, "docs", v, "API", data)
	}
}

func shapeOf(name string, schema object) docsShape {
	shape := docsShape{Name: name}
	required := schema["required"].([]string)
	properties := schema["properties"].(object)
	for _, field := range slices.Sorted(maps.Keys(properties)) {
		text, holds := schemaText(properties[field].(object))
		shape.Fields = append(shape.Fields, docsField{field, text, holds, !slices.Contains(required, field)})
	}
	return shape
}

// schemaText is a schema in words; holds is the shape that it leads to.
func schemaText(schema object) (text, holds string) {
	if ref, is := schema["$ref"].(string); is {
		_, name, _ := cutLast(ref, "/")
		return name, name
	}
	if options, is := schema["anyOf"].([]object); is {
		text, holds = schemaText(options[0])
		return text + " or null", holds
	}
	kinds, many := schema["type"].([]string)
	if !many {
		kinds = []string{schema["type"].(string)}
	}
	kinds = slices.Clone(kinds)
	switch {
	case kinds[0] == "array":
		text, holds = schemaText(schema["items"].(object))
		kinds[0] = "list of " + text
	case schema["format"] == "date-time":
		kinds[0] = "time"
	case kinds[0] == "string":
		kinds[0] = "text"
	}
	return strings.Join(kinds, " or "), holds
}

// The rest is what the template asks an operation for.

func (o apiOperation) Summary() string     { return o.summary }
func (o apiOperation) Description() string { return o.description() }
func (o apiOperation) Deprecated() bool    { return o.deprecated != "" }
func (o apiOperation) Query() []param      { return o.query }
func (o apiOperation) Body() []param       { return o.body }
func (o apiOperation) IDs() string         { return sentence(o.ids) }

// Shape is the type of a JSON answer in words, and the name of its shape.
func (a apiAnswer) Shape() docsField {
	if a.Out == nil {
		return docsField{Type: a.Media}
	}
	text, holds := schemaText(schemas{}.of(reflect.TypeOf(a.Out)))
	return docsField{Type: text, Shape: holds}
}

func (p param) Name() string   { return p.name }
func (p param) Required() bool { return p.required }

// Text is what a field may hold.
func (p param) Text() string {
	var parts []string
	switch {
	case p.kind == "file":
		parts = append(parts, "file")
	case p.options != nil:
		parts = append(parts, strings.Join(p.options, ", "))
	case p.kind == "integer" && p.max > 0 && p.max < 1<<31-1:
		parts = append(parts, fmt.Sprintf("number from %d to %d", p.min, p.max))
	case p.kind == "integer":
		parts = append(parts, fmt.Sprintf("number from %d", p.min))
	case p.kind == "boolean":
		parts = append(parts, "true or false")
	case p.kind == "array":
		parts = append(parts, "list")
	case p.min > 1 && p.max > 0:
		parts = append(parts, fmt.Sprintf("text of %d to %d characters", p.min, p.max))
	case p.max > 0:
		parts = append(parts, fmt.Sprintf("text of at most %d characters", p.max))
	default:
		parts = append(parts, "text")
	}
	if p.usual != nil {
		parts = append(parts, fmt.Sprintf("otherwise %v", p.usual))
	}
	if p.about != "" {
		parts = append(parts, p.about)
	}
	return strings.Join(parts, "; ")
}

// Curl is a command that sends the operation's example to a server.
func (o apiOperation) Curl(server string) string {
	address := o.Path
	for _, p := range o.InPath() {
		address = strings.ReplaceAll(address, "{"+p.name+"}", fmt.Sprint(p.Example()))
	}
	query := url.Values{}
	for _, p := range o.query {
		if p.required {
			query.Set(p.name, strings.Trim(fmt.Sprint(p.Example()), "[]"))
		}
	}
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	command := "curl"
	if o.Method != http.MethodGet && (o.Method != http.MethodPost || len(o.body) == 0) {
		command += " -X " + o.Method
	}
	command += " " + shellWord(server+address)
	switch o.access {
	case forSignedIn, forAuthor, forAdmins:
		command += ` -H "Authorization: Bearer $TOKEN"`
	}
	media := o.BodyMedia()
	switch {
	case media == nil:
	case media[0] == "multipart/form-data":
		for _, p := range o.body {
			switch {
			case p.kind == "file":
				command += " -F " + p.name + "=@" + p.name + ".dat"
			case p.example != nil:
				command += " -F " + shellWord(fmt.Sprintf("%s=%v", p.name, p.example))
			}
		}
	default:
		body, err := json.Marshal(o.Example())
		if err != nil {
			return ""
		}
		command += " -d " + shellWord(string(body))
	}
	return command
}

// Example is a value for where one is needed.
func (p param) Example() any {
	if p.example == nil && p.options != nil {
		return p.options[0]
	}
	return p.example
}

// shellWord is a text as one word of a shell.
func shellWord(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
