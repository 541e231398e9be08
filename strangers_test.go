package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
)

// projectRoutes are the routes below a project, as the two tables have them.
func projectRoutes(t *testing.T) (list [][2]string) {
	t.Helper()
	for _, file := range []string{"routes.go", "pages.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"(GET|POST|PUT|DELETE) +((?:/api)?/projects/\{project\}[^"]*)"`).FindAllStringSubmatch(string(text), -1) {
			list = append(list, [2]string{m[1], m[2]})
		}
	}
	return list
}

// isButton reports whether a body is that of a button of a form, which not every
// kind of part has.
func isButton(body any) bool {
	form, is := body.(url.Values)
	return is && form.Has("action")
}

// No endpoint takes the id of a part of somebody else's project, or shows
// anything of a draft that is another's.
func TestStrangersPartsAreNotFound(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	theirs, mine := alice.fullProject("Secret", map[string]any{}), bob.fullProject("Mine", map[string]any{})
	d, own := alice.project(theirs), bob.project(mine)
	ids := map[string]int{"steps": d.Steps[0].ID, "bom": d.BillOfMaterials[0].ID, "components": d.Components[0].ID, "links": d.Links[0].ID, "tools": d.ToolsMaterials[0].ID,
		"files": d.Files[0].ID, "images": d.Images[0].ID, "primary-image": d.Images[0].ID}
	bodies := func(path string) []any {
		if strings.HasPrefix(path, "/projects/") {
			return []any{url.Values{"title": {"X"}, "description": {"X"}, "content": {"X"}, "item_name": {"X"}, "name": {"X"}, "quantity": {"1"}, "tool_type": {"tool"}, "url": {"https://example.com"}, "link_type": {"video"}, "caption": {"X"}},
				url.Values{"action": {"delete"}}, url.Values{"action": {"primary"}}, url.Values{"action": {"up"}}}
		}
		return []any{map[string]any{"title": "X", "content": "X", "item_name": "X", "url": "https://example.com", "link_type": "video", "name": "X", "tool_type": "tool", "image_ids": []int{d.Images[0].ID}}}
	}
	before, ownBefore := string(alice.get(fmt.Sprintf("/api/projects/%d", theirs)).body), string(bob.get(fmt.Sprintf("/api/projects/%d", mine)).body)
	routes := projectRoutes(t)
	same(t, "many routes", len(routes) > 45, true)
	for _, route := range routes {
		method, pattern := route[0], route[1]
		if strings.HasSuffix(pattern, "/remix") { // which makes a project; see TestRemix
			continue
		}
		kinds := []string{""}
		if strings.Contains(pattern, "{part}") {
			kinds = []string{"steps", "bom", "components", "links", "tools", "files", "images"}
		}
		for _, kind := range kinds {
			path := strings.Replace(pattern, "{part}", kind, 1)
			if kind == "" {
				kind, _, _ = strings.Cut(strings.TrimPrefix(pattern, "/api/projects/{project}/"), "/")
			}
			part := strings.NewReplacer("{id}", fmt.Sprint(ids[kind]), "{size}", "320.jpg").Replace(path)
			for _, body := range bodies(path) {
				if method == http.MethodGet || method == http.MethodDelete {
					body = nil
				}
				// another's draft
				draft := strings.Replace(part, "{project}", fmt.Sprint(theirs), 1)
				if a := bob.do(method, draft, body); a.status != http.StatusForbidden {
					t.Errorf("of another's draft: %s answers %d %s", a.request, a.status, truncate(string(a.body), 200))
				}
				if a := nobody.do(method, draft, body); a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
					t.Errorf("of a draft, not signed in: %s answers %d", a.request, a.status)
				}
				if !strings.Contains(pattern, "{id}") {
					continue
				}
				// another's part in one's own project
				if a := bob.do(method, strings.Replace(part, "{project}", fmt.Sprint(mine), 1), body); a.status != http.StatusNotFound && !(a.status == http.StatusBadRequest && isButton(body)) {
					t.Errorf("another's part: %s answers %d %s", a.request, a.status, truncate(string(a.body), 200))
				}
			}
		}
	}
	// Ids inside of bodies.
	bob.put(fmt.Sprintf("/api/projects/%d/steps/reorder", mine), []int{d.Steps[0].ID, d.Steps[1].ID}).want(http.StatusBadRequest)
	bob.put(fmt.Sprintf("/api/projects/%d/steps/%d", mine, own.Steps[0].ID), map[string]any{"image_ids": []int{d.Images[0].ID}}).want(http.StatusUnprocessableEntity)
	same(t, "alice's project", string(alice.get(fmt.Sprintf("/api/projects/%d", theirs)).body), before)
	same(t, "bob's project", string(bob.get(fmt.Sprintf("/api/projects/%d", mine)).body), ownBefore)
}
