package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// contract is the API document as clients read it, and what the tests have seen
// of it.
var contract = sync.OnceValue(func() *seenAPI {
	s := &server{}
	mux, list := s.routes()
	text, err := marshalled(s.apiDocument(list))
	c := &seenAPI{mux: mux, routes: list, seen: map[string]bool{}}
	if err == nil {
		err = json.Unmarshal(text, &c.document)
	}
	if err != nil {
		panic(err)
	}
	c.operations = apiOperations(list)
	return c
})

type seenAPI struct {
	document   map[string]any
	mux        *http.ServeMux
	routes     map[string]route
	operations []apiOperation

	mu   sync.Mutex
	seen map[string]bool // "GET /health 200", and behind it the path of a field
}

// check compares an answer with the document and says what is wrong.
func (c *seenAPI) check(r *http.Request, response *http.Response, body []byte) error {
	if acceptsHTML(r) || r.Method == http.MethodOptions {
		return nil // browsers are sent to pages
	}
	escaped := shortest(r.Method, r.URL.EscapedPath())
	unescaped, err := url.PathUnescape(escaped)
	if err != nil {
		return nil
	}
	_, pattern := c.mux.Handler(&http.Request{Method: r.Method, Host: r.Host, URL: &url.URL{Path: unescaped, RawPath: escaped}})
	if _, api := c.routes[pattern]; !api {
		return nil
	}
	method, path, _ := strings.Cut(pattern, " ")
	operation, _ := c.at("paths", path, strings.ToLower(method)).(map[string]any)
	if operation == nil {
		return fmt.Errorf("%s is not documented", pattern)
	}
	status := strconv.Itoa(response.StatusCode)
	answer, _ := operation["responses"].(map[string]any)[status].(map[string]any)
	if answer == nil {
		return fmt.Errorf("the status %s of %s is not documented: %s", status, pattern, truncate(string(body), 300))
	}
	what := pattern + " " + status
	c.note(what)
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	content, _ := answer["content"].(map[string]any)
	if r.Method == http.MethodHead || content == nil && (len(body) == 0 || response.StatusCode == http.StatusSeeOther) {
		return nil
	}
	for documented, value := range content {
		if documented != media && !(strings.HasSuffix(documented, "/*") && strings.HasPrefix(media, strings.TrimSuffix(documented, "*"))) {
			continue
		}
		schema, _ := value.(map[string]any)["schema"].(map[string]any)
		if schema == nil {
			return nil
		}
		var decoded any
		if err := json.Unmarshal(body, &decoded); err != nil && strings.Contains(err.Error(), "max depth") {
			return nil // replies without an end are a test's own
		} else if err != nil {
			return fmt.Errorf("%s is no JSON: %s", what, truncate(string(body), 300))
		}
		if err := c.fits(schema, decoded, what); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
	return fmt.Errorf("%s has the type %q, which is not documented", what, media)
}

func (c *seenAPI) at(names ...string) any {
	var value any = c.document
	for _, name := range names {
		value = value.(map[string]any)[name]
	}
	return value
}

func (c *seenAPI) note(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[what] = true
}

// fits is the part of JSON Schema that the document uses; where it notes the
// fields that it has seen.
func (c *seenAPI) fits(schema map[string]any, value any, where string) error {
	if ref, is := schema["$ref"].(string); is {
		name := ref[strings.LastIndexByte(ref, '/')+1:]
		return c.fits(c.at("components", "schemas", name).(map[string]any), value, name)
	}
	if options, is := schema["anyOf"].([]any); is {
		var err error
		for _, option := range options {
			if err = c.fits(option.(map[string]any), value, where); err == nil || value != nil {
				return err
			}
		}
		return err
	}
	var kinds []string
	switch kind := schema["type"].(type) {
	case string:
		kinds = []string{kind}
	case []any:
		for _, k := range kind {
			kinds = append(kinds, k.(string))
		}
	}
	wants := func(kind string) error {
		if len(kinds) > 0 && !slices.Contains(kinds, kind) {
			return fmt.Errorf("%s is %s and should be %s", where, kind, strings.Join(kinds, " or "))
		}
		return nil
	}
	switch v := value.(type) {
	case nil:
		return wants("null")
	case bool:
		return wants("boolean")
	case float64:
		if v == float64(int64(v)) && slices.Contains(kinds, "integer") {
			return nil
		}
		return wants("number")
	case string:
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, v); err != nil || !strings.HasSuffix(v, "Z") {
				return fmt.Errorf("%s is %q, no time in UTC", where, v)
			}
		}
		return wants("string")
	case []any:
		if err := wants("array"); err != nil {
			return err
		}
		items, _ := schema["items"].(map[string]any)
		for _, item := range v {
			if err := c.fits(items, item, where+"[]"); err != nil {
				return err
			}
		}
	case map[string]any:
		if err := wants("object"); err != nil {
			return err
		}
		properties, _ := schema["properties"].(map[string]any)
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, there := v[name.(string)]; !there {
				return fmt.Errorf("%s lacks %s", where, name)
			}
		}
		for name, field := range v {
			s, known := properties[name].(map[string]any)
			if !known {
				if s, known = schema["additionalProperties"].(map[string]any); !known {
					return fmt.Errorf("%s holds %s, which is not documented", where, name)
				}
			}
			c.note(where + "." + name)
			if err := c.fits(s, field, where+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// unseen is what the document promises and no test has seen.
func (c *seenAPI) unseen() (list []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.operations {
		for _, a := range o.Answers() {
			if what := fmt.Sprintf("%s %d", o.pattern, a.Status); !a.ForAll && !c.seen[what] {
				list = append(list, what)
			}
		}
	}
	for name, schema := range c.at("components", "schemas").(map[string]any) {
		properties, _ := schema.(map[string]any)["properties"].(map[string]any)
		for field := range properties {
			if what := name + "." + field; !c.seen[what] {
				list = append(list, what)
			}
		}
	}
	slices.Sort(list)
	return list
}

// Every route of the API has an entry in the document, and every entry a route.
func TestEveryRouteIsDocumented(t *testing.T) {
	t.Parallel()
	_, list := (&server{}).routes()
	patterns := map[string]int{}
	for _, o := range operations() {
		patterns[o.pattern]++
		if _, known := list[o.pattern]; !known {
			t.Errorf("endpoints.go describes %s, which is no route", o.pattern)
		}
		if patterns[o.pattern] > 1 {
			t.Errorf("endpoints.go describes %s twice", o.pattern)
		}
		if o.tag == "" || o.summary == "" {
			t.Errorf("%s has no tag or no summary", o.pattern)
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(list)) {
		if patterns[pattern] == 0 {
			t.Logf("%s has no entry in endpoints.go", pattern)
		}
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.publicURL = "https://chatter.example.com" })
	v := st.visitor()
	a := v.do(http.MethodGet, "/openapi.json", nil, "Origin", "https://www.example.com").want(http.StatusOK)
	same(t, "type", a.header.Get("Content-Type"), "application/json")
	same(t, "origin", a.header.Get("Access-Control-Allow-Origin"), "https://www.example.com")
	var doc struct {
		OpenAPI string
		Info    struct{ Title, Version string }
		Servers []struct{ URL string }
		Paths   map[string]map[string]any
	}
	a.into(&doc)
	same(t, "version", doc.OpenAPI, "3.1.0")
	same(t, "title", doc.Info.Title, "Test Site")
	same(t, "release", doc.Info.Version, thisBuild().Version)
	same(t, "server", doc.Servers[0].URL, "https://chatter.example.com")
	if doc.Paths["/interact/like"]["post"] == nil {
		t.Fatal("likes are not documented")
	}
	v.do(http.MethodGet, "/openapi.json", nil, "If-None-Match", a.header.Get("ETag")).want(http.StatusNotModified)
}

func (c *seenAPI) broken(t testing.TB, err error) { say("broken:", t.Name(), err) }

func say(what ...any) {
	if name := os.Getenv("CONTRACT"); name != "" {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			fmt.Fprintln(f, what...)
			f.Close()
		}
	}
}

// reportUnseen writes what the whole suite has not seen, once it is over.
func reportUnseen() {
	for _, what := range contract().unseen() {
		say("not seen:", what)
	}
}

func TestDocsPage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	page := st.visitor().page("/docs").want(http.StatusOK)
	for _, o := range contract().operations {
		page.shows(`id="`+o.ID()+`"`, o.Path)
	}
	page.shows("GET /api/licenses", `href="#shape-CommentWithUser"`, "list of CommentWithUser", "at most 255 characters", "sent as a stranger")
	st.member("alice").page("/docs").shows("sent as alice")
}

// Who may not do something, asks for what is not there or sends what is wrong is
// told so everywhere as the document says.
func TestEveryOperationRefuses(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	stranger, alice, root := st.visitor(), st.member("alice"), st.admin("root")
	draft := alice.post("/api/projects", map[string]any{"title": "Lamp", "description": "Light"}).want(http.StatusCreated).id()
	for _, o := range contract().operations {
		at := func(project, id int) string {
			return strings.NewReplacer("{project}", strconv.Itoa(project), "{id}", strconv.Itoa(id), "{url}", "blog%2Fa.html", "{username}", "alice", "{action}", "unlock", "{size}", "x.jpg", "{file}", "alice.atom").Replace(o.Path)
		}
		var body any
		if o.BodyMedia() != nil {
			body = o.Example()
		}
		send := func(p *person, path string, body any) *answer {
			return p.do(o.Method, path, body)
		}
		path := at(draft, 999_999)
		switch o.access {
		case forSignedIn, forAuthor, forAdmins:
			send(stranger, path, body).detail(http.StatusUnauthorized, "Missing token")
		}
		switch o.access {
		case forAdmins:
			send(alice, path, body).detail(http.StatusForbidden, "Only admins may do this")
		case forAuthor:
			send(root, path, body).detail(http.StatusForbidden, "Only its author can")
		case forReaders:
			send(root, path, body).detail(http.StatusForbidden, "Draft projects")
		}
		writer := alice
		if o.access == forAdmins {
			writer = root
		}
		if strings.Contains(o.Path, "{project}") {
			send(writer, at(999_999, 1), body).detail(http.StatusNotFound, "Project not found")
			send(writer, strings.Replace(at(1, 1), "/projects/1", "/projects/x", 1), body).detail(http.StatusUnprocessableEntity, "whole number")
		} else if strings.Contains(o.Path, "{id}") && !strings.Contains(o.Path, "/sessions/") {
			send(writer, path, body).detail(http.StatusNotFound, "not found")
		}
		for _, p := range o.query {
			if (p.kind == "integer" || p.options != nil) && p.name != "entity_type" {
				send(writer, path+"?"+p.name+"=none", nil).detail(http.StatusUnprocessableEntity, human(p.name))
			}
		}
		if o.BodyMedia() != nil && o.ids == "" && o.BodyMedia()[0] != "multipart/form-data" {
			a := send(writer, at(draft, 1), "{").want(http.StatusUnprocessableEntity)
			var refused errorAnswer
			a.into(&refused)
			if len(refused.Errors) == 0 {
				t.Errorf("%s says nothing of what is wrong: %s", o.pattern, a.body)
			}
		}
		send(stranger, path+"?x=%00", nil).want(http.StatusUnprocessableEntity)
		if o.cached {
			a := send(stranger, strings.Replace(path, "999999", "1", 1), nil)
			if tag := a.header.Get("ETag"); a.status == http.StatusOK && tag != "" {
				stranger.do(o.Method, path, nil, "If-None-Match", tag).want(http.StatusNotModified)
			}
		}
	}
}
