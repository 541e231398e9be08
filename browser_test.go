package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// browserSetup is what the scripts in browser/ are told.
type browserSetup struct {
	Site     string `json:"site"`
	Page     string `json:"page"` // of another origin, with the elements of embed.js
	Mail     string `json:"mail"`
	Admin    string `json:"admin"`
	Password string `json:"password"`
	Chromium string `json:"chromium"`
	Shots    string `json:"shots"`
}

// startDemo is a server with the demo's people and projects and an admin.
func startDemo(t *testing.T) browserSetup {
	t.Helper()
	needProgram(t, "node")
	needProgram(t, "chromium")
	if _, err := os.Stat("browser/node_modules/playwright-core"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("the modules of browser/ are not installed; make browser-test does it")
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}

	// A static page under a policy as strict as it gets.
	var site string
	static := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/favicon.ico" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; img-src 'self'; script-src "+site+"/embed.js; connect-src "+site+"; style-src 'none'; trusted-types 'none'; require-trusted-types-for 'script'; base-uri 'none'; form-action 'none'")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Engine</title><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><script src="%s/embed.js" defer></script></head>
<body><main><h1>Engine</h1><p><span data-chatter="views"></span> <span data-chatter="likes"></span></p><div data-chatter="comments"></div></main></body></html>`, site)
	}))
	t.Cleanup(static.Close)

	dir := t.TempDir()
	settings := []string{"DATA_DIR", dir, "DATABASE_URL", newDatabase(t, "template_chatter"), "TESTING", "true", "ALLOWED_ORIGINS", static.URL, "SITE_NAME", "Bench & Board"}
	s := startServe(t, settings...)
	site = s.url
	var out bytes.Buffer
	if err := run(t.Context(), []string{"demo", s.url}, env(settings...), &out, &out); err != nil {
		t.Fatal(err, out.String())
	}
	out.Reset()
	if err := run(t.Context(), []string{"admin", "create", "warden", "warden@example.com"}, env(settings...), &out, &out); err != nil {
		t.Fatal(err, out.String())
	}
	return browserSetup{Site: s.url, Page: static.URL, Mail: filepath.Join(dir, "mail"), Admin: "warden",
		Password: regexp.MustCompile(`password (\S+)`).FindStringSubmatch(out.String())[1], Chromium: chromium, Shots: os.Getenv("SHOTS")}
}

func (b browserSetup) run(t *testing.T, script string, args ...string) {
	t.Helper()
	setup, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "node", append([]string{script, string(setup)}, args...)...)
	command.Dir = "browser"
	out, err := command.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// Every journey through the pages, in a real browser. ONLY names one of them;
// SHOTS, a folder for pictures of what went wrong.
func TestBrowser(t *testing.T) {
	t.Parallel()
	startDemo(t).run(t, "run.mjs", os.Getenv("ONLY"))
}

// The pictures of docs/screenshots, into the folder SCREENSHOTS.
func TestScreenshots(t *testing.T) {
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		t.Skip("make screenshots takes them")
	}
	startDemo(t).run(t, "screenshots.mjs", folder)
}
