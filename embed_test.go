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

// What other sites' pages load is small and may be loaded by any of them.
func TestEmbedScript(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	a := st.visitor().do(http.MethodGet, "/embed.js", nil, "Origin", "https://www.example.com", "Sec-Fetch-Site", "cross-site").want(http.StatusOK)
	for name, want := range map[string]string{
		"Content-Type":                 "text/javascript; charset=utf-8",
		"Cross-Origin-Resource-Policy": "cross-origin",
		"Access-Control-Allow-Origin":  "https://www.example.com",
		"Cache-Control":                "public, max-age=3600",
	} {
		same(t, name, a.header.Get(name), want)
	}
	st.visitor().do(http.MethodGet, "/embed.js", nil, "If-None-Match", a.header.Get("ETag")).want(http.StatusNotModified)

	var small bytes.Buffer
	w := gzip.NewWriter(&small)
	if _, err := w.Write(a.body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if small.Len() > 12<<10 {
		t.Fatalf("embed.js has %d bytes when compressed, more than 12 KB", small.Len())
	}
	// Each of these is either stopped by a strict Content-Security-Policy or
	// takes a text for HTML.
	if found := regexp.MustCompile(`(?i)innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|cssText|[{ ]style:|\.style\b|createElement\("(style|script|link)`).Find(a.body); found != nil {
		t.Fatalf("embed.js uses %s", found)
	}
}

// Every endpoint that embed.js calls exists.
func TestEmbedScriptKnowsTheServer(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	script := string(st.visitor().get("/embed.js").want(http.StatusOK).body)
	alice := st.member("alice")
	comment := fmt.Sprintf("/interact/comments/%d", alice.comment("a", "One", 0))
	for _, use := range []struct {
		source string
		check  func()
	}{
		{`"api/viewer"`, func() { same(t, "viewer", alice.get("/api/viewer").fields()["username"], any("alice")) }},
		{`"api/login"`, func() { alice.post("/api/login", `{}`).want(http.StatusUnprocessableEntity) }},
		{`"api/summary?"`, func() { alice.get("/api/summary?url=%2Fa").want(http.StatusOK) }},
		{`"logout?redirect=false"`, func() { st.member("bob").get("/logout?redirect=false").want(http.StatusOK) }},
		{`"analytics/page-view"`, func() { alice.post("/analytics/page-view", `{"url":"/a"}`).want(http.StatusOK) }},
		{`"interact/like"`, func() { alice.post("/interact/like", `{"url":"/a"}`).want(http.StatusOK) }},
		{`"interact/comment"`, func() { alice.post("/interact/comment", `{"url":"/a","content":"Two"}`).want(http.StatusOK) }},
		{`interact/comments/${encodeURIComponent("/" +`, func() {
			alice.get("/interact/comments/%2F%2Fa?flat=true&sort=popular").want(http.StatusOK).shows("Two")
		}},
		{`interact/comments/${c.id}/like`, func() { alice.post(comment+"/like", nil).want(http.StatusOK) }},
		{`call("interact/comments/" + c.id, "PUT"`, func() { alice.put(comment, map[string]any{"content": "Edited"}).want(http.StatusOK) }},
		{`call("interact/comments/" + c.id, "DELETE"`, func() { alice.delete(comment).want(http.StatusOK) }},
		{`"thread?url="`, func() { alice.page("/thread?url=%2Fa").want(http.StatusOK) }},
		{`ownPage("login")`, func() {
			st.visitor().page("/login?return_to=https%3A%2F%2Fwww.example.com%2Fa").shows(`value="https://www.example.com/a"`)
		}},
		{`ownPage("register")`, func() { st.visitor().page("/register?return_to=https%3A%2F%2Fwww.example.com%2Fa").want(http.StatusOK) }},
	} {
		if !strings.Contains(script, use.source) {
			t.Errorf("embed.js does not hold %s any more", use.source)
		}
		use.check()
	}
}

// Who asks from another origin is told who is signed in, and nobody is no error.
func TestViewer(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	nobody := st.visitor().do(http.MethodGet, "/api/viewer", nil, "Origin", "https://www.example.com").want(http.StatusOK)
	same(t, "nobody", strings.TrimSpace(string(nobody.body)), `{"id":0,"username":""}`)
	alice := st.member("alice")
	a := alice.do(http.MethodGet, "/api/viewer", nil, "Origin", "https://www.example.com").want(http.StatusOK)
	same(t, "id", a.fields()["id"], any(float64(st.idOf("alice"))))
	same(t, "CORS", a.header.Get("Access-Control-Allow-Credentials"), "true")
	same(t, "cache", a.header.Get("Cache-Control"), "no-store")
	st.exec(`update "user" set force_password_reset = true`)
	same(t, "who has to choose a password first", alice.get("/api/viewer").fields()["username"], any(""))
}
