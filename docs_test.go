package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documents are the pages for people who run and use the server.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts[name] = string(text)
		}
	}
	return texts
}

var (
	shellBlock   = regexp.MustCompile("(?s)```sh\n(.*?)```")
	relativeLink = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	heading      = regexp.MustCompile(`(?m)^#+ (.*)$`)
	namedRoute   = regexp.MustCompile("`(GET|POST|PUT|PATCH|DELETE) (/[^`? …]*)[^`]*`")
	namedSetting = regexp.MustCompile("`([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)(?:=[^`]*)?`")
)

// The commands of docs/API.md do what it says, in its order.
func TestAPIGuide(t *testing.T) {
	t.Parallel()
	needProgram(t, "curl")
	needProgram(t, "jq")
	st := newSite(t)
	dir := t.TempDir()
	script := "set -e\nBASE=" + st.url + "\ncurl() { command curl --fail-with-body \"$@\"; }\n"
	for _, block := range shellBlock.FindAllStringSubmatch(documents(t)["docs/API.md"], -1) {
		script += block[1]
	}
	bash := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", script)
	bash.Dir = dir
	if output, err := bash.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, output)
	}
	for _, name := range []string{"ada.zip", "project.zip"} {
		if content, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.HasPrefix(string(content), "PK") {
			t.Errorf("%s is no ZIP: %v", name, err)
		}
	}
	same(t, "accounts", st.count(`select count(*) from "user"`), 0)
}

// anchor is what a heading is called in links.
func anchor(heading string) string {
	heading = strings.ToLower(heading)
	heading = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(heading, "")
	return strings.ReplaceAll(heading, " ", "-")
}

func TestDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	texts := documents(t)
	for name, text := range texts {
		for _, link := range relativeLink.FindAllStringSubmatch(text, -1) {
			target := filepath.Join(filepath.Dir(name), link[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", name, link[1])
			}
			if link[2] == "" {
				continue
			}
			found := slices.ContainsFunc(heading.FindAllStringSubmatch(texts[target], -1), func(h []string) bool { return "#"+anchor(h[1]) == link[2] })
			if !found {
				t.Errorf("%s links to %s%s, which has no such heading", name, link[1], link[2])
			}
		}
	}
}

// otherNames look like settings and are none.
var otherNames = []string{"SMB_CONF"}

func TestDocumentsNameWhatExists(t *testing.T) {
	t.Parallel()
	mux, _ := (&server{}).routes()
	compose, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range documents(t) {
		for _, found := range namedRoute.FindAllStringSubmatch(text, -1) {
			path := strings.NewReplacer("{", "", "}", "", "*", "").Replace(found[2])
			path = regexp.MustCompile(`/(id|project|image_id)(/|$)`).ReplaceAllString(path, "/1$2")
			r, err := http.NewRequest(found[1], shortest(found[1], path), nil)
			if err != nil {
				t.Errorf("%s names %s: %v", name, found[0], err)
				continue
			}
			if _, pattern := mux.Handler(r); pattern == "" && !strings.HasSuffix(path, "/") {
				t.Errorf("%s names %s, which is no route", name, found[0])
			}
		}
		for _, found := range namedSetting.FindAllStringSubmatch(text, -1) {
			known := slices.ContainsFunc(settings, func(st setting) bool { return st.name == found[1] || strings.HasPrefix(st.name, found[1]) })
			if !known && !slices.Contains(otherNames, found[1]) && !strings.Contains(string(compose), found[1]) {
				t.Errorf("%s names %s, which is no setting", name, found[1])
			}
		}
	}
}

// What the checklist says that is tested, is.
func TestChecklistNamesTests(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	source := ""
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source += string(text)
	}
	for _, found := range regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(documents(t)["docs/SECURITY-MODEL.md"], -1) {
		if !strings.Contains(source, "func "+found[1]+"(t *testing.T)") {
			t.Errorf("docs/SECURITY-MODEL.md names %s, which is no test", found[1])
		}
	}
}
