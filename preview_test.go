package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestFilesAreShown(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, guest := st.member("alice"), st.visitor()
	id := alice.published("Lamp")
	path := fmt.Sprintf("/api/projects/%d/files", id)
	upload := func(name, content string) string {
		t.Helper()
		made := alice.do(http.MethodPost, path, form().file("file", name, []byte(content))).want(http.StatusCreated).id()
		return fmt.Sprintf("/projects/%d/files/%d", id, made)
	}
	code := upload("lamp.py", "print('<b>lamp</b>')\nprint(2)\n")
	guest.page(code).want(http.StatusOK).shows("<h1 class=\"page-url\">lamp.py</h1>", "print(&#39;&lt;b&gt;lamp&lt;/b&gt;&#39;)", "2 lines", fmt.Sprintf(`href="/p/alice/%d-lamp"`, id), "Download").hides("from the beginning")
	guest.page(upload("notes.md", "# Notes\n\nGlue it **well**.\n")).want(http.StatusOK).shows("<strong>well</strong>")
	long := guest.page(upload("long.txt", strings.Repeat("öl\n", 40_000))).want(http.StatusOK).shows("shown, from the beginning")
	if len(long.body) > 2*maxPreview {
		t.Fatalf("the page of a long file has %d bytes", len(long.body))
	}
	model := upload("lamp.stl", "solid lamp\nendsolid lamp\n")
	guest.page(model).want(http.StatusOK).shows("not a text").hides("endsolid")
	guest.page(fmt.Sprintf("/p/alice/%d-lamp", id)).shows(`href="` + code + `"`).hides(`href="` + model + `"`)

	other := alice.draft("Robot")
	guest.page(fmt.Sprintf("/projects/%d/files/1", other)).want(http.StatusForbidden).shows("This is not open to you", `href="/login?return_to=`)
	alice.page(fmt.Sprintf("/projects/%d/files/1", other)).want(http.StatusNotFound)
}

// The gallery weighs little: HTML, CSS and scripts together, compressed.
func TestWeightOfTheGallery(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, guest := st.member("alice"), st.visitor()
	for i := range 24 {
		id := alice.published(fmt.Sprint("Lamp ", i))
		alice.put(fmt.Sprintf("/api/projects/%d", id), map[string]any{"description": strings.Repeat(fmt.Sprintf("Words of %d to read. ", i), 20), "tags": []string{"lamp", fmt.Sprint("tag", i)}}).want(http.StatusOK)
	}
	page := guest.page("/projects").want(http.StatusOK)
	total := 0
	weigh := func(body []byte) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body) // a buffer takes everything
		z.Close()
		total += b.Len()
	}
	weigh(page.body)
	for _, found := range regexp.MustCompile(`(?:<script src|rel="stylesheet" href)="([^"]+)"`).FindAllSubmatch(page.body, -1) {
		weigh(guest.get(string(found[1])).want(http.StatusOK).body)
	}
	if total > 60<<10 {
		t.Fatalf("the gallery weighs %d bytes, more than 60 KB", total)
	}
	t.Logf("the gallery weighs %d bytes", total)
}
