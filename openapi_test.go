package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"os/exec"
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
	if acceptsHTML(r) || r.Header.Get("Sec-Fetch-Dest") == "image" || r.Method == http.MethodOptions {
		return nil // browsers are sent to pages, and get frames for pictures
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
			t.Errorf("%s has no entry in endpoints.go", pattern)
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

// everyTestRan reports whether this was the whole suite, with the programs
// without which parts of it are skipped.
func everyTestRan() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return os.Getenv("CI") != ""
}

// The document is what the standard asks for, says a program from elsewhere.
func TestOpenAPIIsValid(t *testing.T) {
	t.Parallel()
	needProgram(t, "node")
	if _, err := os.Stat("browser/node_modules/@seriousme"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("the modules of browser/ are not installed; make browser-test does it")
	}
	node := exec.CommandContext(t.Context(), "node", "--input-type=module", "-e", `
		import { Validator } from "@seriousme/openapi-schema-validator";
		import { readFileSync } from "node:fs";
		const validator = new Validator();
		const result = await validator.validate(JSON.parse(readFileSync("/dev/stdin", "utf8")));
		console.log(result.valid ? validator.version : result.errors);`)
	node.Dir = "browser"
	node.Stdin = bytes.NewReader(newSite(t).visitor().get("/openapi.json").want(http.StatusOK).body)
	output, err := node.CombinedOutput()
	if err != nil || strings.TrimSpace(string(output)) != "3.1" {
		t.Fatalf("%v: %s", err, truncate(string(output), 3000))
	}
}

// The bodies that the document gives as examples are taken.
func TestExamplesOfTheDocument(t *testing.T) {
	t.Parallel()
	newSite(t).useExamples(t, nil)
}

// useExamples sends every body that the document gives as an example, each for
// somebody new, with what extra adds to it.
func (st *site) useExamples(t *testing.T, extra func(o apiOperation, fields map[string]any)) {
	t.Helper()
	// These need what a letter, an app or an admin tells.
	secrets := []string{"POST /api/verify-email", "POST /api/password/reset", "POST /api/reset-password", "POST /api/me/totp/confirm", "POST /api/me/totp/backup-codes",
		"DELETE /api/me/totp", "POST /api/admin/users/{id}/{action}"}
	bob := st.member("bob")
	tried := 0
	for i, o := range contract().operations {
		media := o.BodyMedia()
		if media == nil || media[0] == "multipart/form-data" || slices.Contains(secrets, o.pattern) {
			continue
		}
		tried++
		p := st.visitor()
		p.name = fmt.Sprintf("ada_%d", i)
		account := map[string]any{"username": p.name, "firstname": "Ada", "lastname": "Lovelace", "email": p.name + "@example.com", "password": "Analytical-1"}
		p.post("/accounts/register", account).want(http.StatusCreated)
		p.post("/api/login", url.Values{"username": {p.name}, "password": {"Analytical-1"}}).want(http.StatusOK)
		if o.access == forAdmins {
			if err := st.adminCommand(t.Context(), []string{"promote", p.name}, io.Discard); err != nil {
				t.Fatal(err)
			}
		}
		project := p.post("/api/projects", map[string]any{"title": "Lamp", "description": "Light"}).want(http.StatusCreated).id()
		path := strings.Replace(o.Path, "{project}", strconv.Itoa(project), 1)
		body := o.Example()
		if fields, is := body.(map[string]any); is {
			for name, value := range map[string]any{"component_id": nil, "entity_id": project, "username": p.name, "email": p.name + ".new@example.com"} {
				if _, there := fields[name]; there {
					fields[name] = value
				}
			}
			if _, there := fields["component_id"]; there {
				fields["component_id"] = p.post("/api/components", map[string]any{"name": p.name}).want(http.StatusCreated).id()
			}
			switch o.pattern {
			case "POST /accounts/register", "POST /api/register":
				fields["username"] = p.name + "_b"
			case "POST /api/components":
				fields["name"] = "BME280 of " + p.name
			}
		}
		collection := strings.TrimSuffix(strings.TrimSuffix(path, "/reorder"), "/{id}")
		switch {
		case o.ids != "" && strings.HasSuffix(collection, "/images"):
			body = []int{p.post(collection, form().file("image", "a.png", picture(t, "png", 8, 8))).want(http.StatusCreated).id()}
		case o.ids != "" && strings.HasSuffix(collection, "/steps"):
			body = []int{p.post(collection, map[string]any{"title": "a", "content": "b"}).want(http.StatusCreated).id()}
		case o.ids != "":
			body = []int{p.post(collection, map[string]any{"item_name": "a"}).want(http.StatusCreated).id()}
		case strings.HasPrefix(path, "/api/projects/") && strings.HasSuffix(path, "/{id}"):
			path = strings.Replace(path, "{id}", strconv.Itoa(p.post(collection, body).want(http.StatusCreated).id()), 1)
		case strings.Contains(path, "/comments/{id}"):
			author := bob
			if o.Method == http.MethodPut {
				author = p
			}
			path = strings.Replace(path, "{id}", strconv.Itoa(author.post("/interact/comment", map[string]any{"url": "a", "content": "Hello"}).want(http.StatusOK).id()), 1)
		case strings.Contains(path, "/projects/{id}"):
			p.post(fmt.Sprintf("/api/projects/%d/publish", project), nil).want(http.StatusOK)
			path = strings.Replace(path, "{id}", strconv.Itoa(project), 1)
		case strings.Contains(path, "{id}"):
			path = strings.Replace(path, "{id}", strconv.Itoa(bob.get("/api/me").id()), 1)
		}
		if strings.HasSuffix(o.pattern, "/likes/entity") || o.pattern == "POST /api/likes" {
			o.status = http.StatusCreated
		}
		if fields, is := body.(map[string]any); is && extra != nil {
			extra(o, fields)
		}
		p.do(o.Method, path, body).want(cmp.Or(o.status, http.StatusOK))
	}
	if tried < 40 {
		t.Fatalf("only %d examples were tried", tried)
	}
}

// What is rarely asked for is answered as the document says too.
func TestRareAnswers(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice, bob := st.admin("root"), st.member("alice"), st.member("bob")
	for _, path := range []string{"/analytics/refresh-page-view-counts", "/interact/refresh-most-liked", "/api/likes/refresh-view"} {
		root.post(path, nil).want(http.StatusOK)
	}
	root.delete("/accounts/me").detail(http.StatusBadRequest, "last admin")
	root.post(fmt.Sprintf("/accounts/admin/%d/reset-password", root.get("/api/me").id()), map[string]any{"new_password": "Analytical-2"}).detail(http.StatusBadRequest, "account page")
	st.visitor().post("/auth/login", url.Values{"username": {"alice"}, "password": {"wrong"}}).detail(http.StatusUnauthorized, "Invalid credentials")

	like := alice.post("/api/likes", map[string]any{"url": "a"}).want(http.StatusCreated).id()
	bob.delete(fmt.Sprintf("/api/likes/%d", like)).detail(http.StatusForbidden, "your own likes")
	bob.get("/api/likes/most-liked").want(http.StatusOK).shows(`"url":"a"`)
	bob.get("/api/likes/entity/count?entity_type=project&entity_id=99").detail(http.StatusNotFound, "Project not found")

	project := alice.post("/api/projects", map[string]any{"title": "Lamp", "description": "Light"}).want(http.StatusCreated).id()
	at := fmt.Sprintf("/api/projects/%d", project)
	alice.post(at+"/files", form().file("file", "a.txt", []byte("a"))).want(http.StatusCreated)
	alice.get(at + "/files").want(http.StatusOK).shows("a.txt")
	alice.put(at+"/unpublish", nil).detail(http.StatusBadRequest, "already a draft")
	alice.put(at+"/publish", nil).want(http.StatusOK)
	alice.put(at+"/publish", nil).detail(http.StatusBadRequest, "already published")
	alice.put(at+"/unpublish", nil).want(http.StatusOK)
	alice.put(at+"/publish", nil).want(http.StatusOK)

	comment := bob.post("/interact/comment", map[string]any{"url": "a", "content": "Hello"}).want(http.StatusOK).id()
	root.post(fmt.Sprintf("/api/admin/comments/%d/ban", comment), map[string]any{"days": 1}).want(http.StatusOK)
	bob.post("/interact/entity/comment", map[string]any{"entity_type": "project", "entity_id": project, "content": "Hello"}).detail(http.StatusForbidden, "asked you to pause")
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
