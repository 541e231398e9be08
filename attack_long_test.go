package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What make attack runs because it takes minutes; fuzzing is the other part of it.
func onlyInAttacks(t *testing.T) {
	t.Helper()
	if os.Getenv("ATTACK") == "" {
		t.Skip("make attack runs this")
	}
}

// sqlmap finds no parameter of the main endpoints that reaches the database as
// SQL, and finds the one that is made to.
func TestSQLInjection(t *testing.T) {
	onlyInAttacks(t)
	needProgram(t, "sqlmap")
	st := newSite(t)
	alice := st.member("alice")
	id := alice.published("Robot")
	comment := alice.comment("a", "Hello", 0)
	cookie := "access_token=" + st.tokenOf("alice")
	root := st.admin("root")
	rootCookie := "access_token=" + st.tokenOf("root")
	root.get("/api/me").want(http.StatusOK)
	open := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		if err := st.db.QueryRow(r.Context(), `select count(*) from project where title = '`+r.URL.Query().Get("title")+`'`).Scan(&n); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, n)
	}))
	t.Cleanup(open.Close)
	attack := func(address, method, body, cookie string) (found, whole bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		args := []string{"-u", address, "--batch", "--disable-coloring", "--flush-session", "--output-dir", t.TempDir(), "--dbms", "PostgreSQL", "--level", "2", "--risk", "2", "--technique", "BEUS", "--threads", "2", "--ignore-code", "401,404,409,422,400"}
		if body != "" {
			args = append(args, "--data", body, "--method", method, "--headers", "Content-Type: application/json")
		}
		if cookie != "" {
			args = append(args, "--cookie", cookie, "--skip", "access_token", "--drop-set-cookie")
		}
		out, err := exec.CommandContext(ctx, "sqlmap", args...).CombinedOutput()
		whole = bytes.Contains(out, []byte("do not appear to be injectable")) || bytes.Contains(out, []byte("ending @"))
		if err != nil && ctx.Err() == nil {
			t.Fatalf("%s: %v\n%s", address, err, out)
		}
		return bytes.Contains(out, []byte("injection point(s)")) || bytes.Contains(out, []byte("is vulnerable")), whole
	}
	if found, _ := attack(open.URL+"/?title=Robot", "", "", ""); !found {
		t.Fatal("sqlmap does not find an open door")
	}
	cut := 0
	try := func(method, path string, body any, cookie string) {
		t.Helper()
		text := ""
		if body != nil {
			raw, err := json.Marshal(body)
			must(t, err)
			text = string(raw)
		}
		began := time.Now()
		found, whole := attack(st.url+path, method, text, cookie)
		t.Logf("%s %s: %.0f s, to its end: %t", method, path, time.Since(began).Seconds(), whole)
		if found {
			t.Errorf("%s %s can be injected into", method, path)
		}
		if !whole {
			cut++
		}
	}
	next := alice.get("/api/projects?per_page=1").want(http.StatusOK).fields()["next_cursor"]
	for _, path := range []string{"/api/projects?search=robot&tag=x&difficulty=easy&sort=recent", "/api/projects?author_id=1&page=1&per_page=5&status_filter=draft", "/api/projects?after=" + url.QueryEscape(fmt.Sprint(next)), "/api/tags?q=a&limit=5",
		"/api/components/search?q=bme", "/interact/comments/a?sort=recent&flat=true", "/interact/comments/a*", "/interact/likes/a*", fmt.Sprintf("/api/projects/%d*", id), fmt.Sprintf("/interact/entity/comments?entity_type=project&entity_id=%d", id),
		"/api/likes/count?url=a", "/api/summary?url=a&url=b", "/analytics/page-views/a*/timeline?period=weekly", "/feeds/comments.atom?url=a", "/profile/alice*", "/thread?url=a", "/u/alice*", "/projects?search=robot&tag=x&sort=recent"} {
		try(http.MethodGet, path, nil, cookie)
	}
	for _, path := range []string{"/api/admin/users?q=a&show=all&limit=5&offset=0", "/admin/log?q=a", "/admin/projects?q=a", "/api/admin/views?days=30&limit=5"} {
		try(http.MethodGet, path, nil, rootCookie)
	}
	project := fmt.Sprintf("/api/projects/%d", id)
	for _, w := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPost, "/api/login", map[string]any{"username": "alice", "password": "x"}}, {http.MethodPost, "/interact/comment", map[string]any{"url": "a", "content": "Hello", "parent_comment_id": comment}},
		{http.MethodPost, "/interact/like", map[string]any{"url": "a"}}, {http.MethodPut, project, map[string]any{"title": "T", "description": "D", "difficulty_level": "easy", "license": "MIT"}},
		{http.MethodPost, project + "/steps", map[string]any{"title": "T", "content": "C", "step_number": 900}}, {http.MethodPost, "/analytics/page-view", map[string]any{"url": "a", "referrer": "https://a.example/"}},
		{http.MethodPost, "/api/password/forgot", map[string]any{"email": "alice@example.com"}}, {http.MethodPost, "/api/reset-password", map[string]any{"username": "alice", "reset_code": "ABCDEFGH", "new_password": "Brand-New-9"}},
	} {
		try(w.method, w.path, w.body, cookie)
	}
	t.Logf("%d were cut off", cut)
}

// What reads text that strangers send takes time in proportion to its length: four
// times as much takes about four times as long, where squares would take sixteen.
func TestTimeGrowsWithLength(t *testing.T) {
	onlyInAttacks(t)
	s := fuzzed(t)
	s.cfg.commentLinks = "allow"
	repeat := func(before, each, after string) func(n int) string {
		return func(n int) string { return before + strings.Repeat(each, n/len(each)) + after }
	}
	type reader struct {
		name string
		size int
		read func(text string)
	}
	comment := reader{"a comment", 1 << 17, func(text string) { _, _ = cleanComment(text) }}
	links := reader{"links", 1 << 10, func(text string) { linksIn(text) }}
	shown := reader{"a comment's HTML", 1 << 13, func(text string) { formatComment(text, nil) }}
	banned := reader{"banned words", 1 << 10, func(text string) { s.banned.in(text) }}
	prose := reader{"Markdown", 1 << 14, func(text string) { renderMarkdown(text) }}
	table := reader{"a bill of materials", 1 << 14, func(text string) { _, _ = readBOM([]byte(text)) }}
	fields := reader{"a body", 1 << 16, func(text string) {
		r := asks(http.MethodPost, "/", "Content-Type", "application/x-www-form-urlencoded")
		r.Body = http.NoBody
		in := formInput()
		in.setValues(url.Values{"image_ids": {text}, "tags": {text}, "a": {text}})
		in.ids("image_ids")
		in.tags()
		in.text("a", 0, 100)
		_ = in.err()
	}}
	report := reader{"a report", 1 << 14, func(text string) { scrub(text) }}
	for _, c := range []struct {
		reader
		text func(n int) string
	}{
		{comment, func(n int) string { return strings.Repeat("a", n/2) + strings.Repeat("<b x=>", n/12) }}, {comment, repeat("", "<b ", "&>")}, {comment, repeat("", "<b <i =", ">")}, {comment, repeat("", "<!--", "")}, {comment, repeat("", "<a", ">")}, {comment, repeat("", "\n \n", "")},
		{links, repeat("", "a.", "")}, {links, repeat("", "a-", "")}, {links, repeat("", "a://", "")}, {banned, repeat("", "a ", "")}, {banned, repeat("", "a!@", "")},
		{shown, repeat("", " **b", "c**d")}, {shown, repeat("", "ahttp://", "")}, {shown, repeat("", "*b ", "c*d")}, {shown, repeat("", "`*", "")}, {shown, repeat("", "@a**", "")},
		{prose, repeat("", "[", "](a)")}, {prose, repeat("", "*a_", "")}, {prose, repeat("", "> ", "a")}, {prose, repeat("", "|", "\n|-|\n")}, {prose, repeat("", "`a``", "")},
		{table, repeat("Item,Quantity\n", "\"a\n", "")}, {table, repeat("Item", ",a", "\n")}, {report, repeat("", "a@", "")}, {report, repeat("", "1.:", "")},
		{fields, func(n int) string {
			var b strings.Builder
			for i := 0; b.Len() < n; i++ {
				fmt.Fprintf(&b, "%d ", i)
			}
			return b.String()
		}}, {fields, repeat("", strings.Repeat("x", 101)+",", "")},
	} {
		took := func(n int) time.Duration {
			text, best := c.text(n), time.Hour
			for range 3 {
				runs, began := 0, processorTime(t)
				for runs == 0 || processorTime(t)-began < 50*time.Millisecond {
					c.read(text)
					runs++
				}
				best = min(best, (processorTime(t)-began)/time.Duration(runs))
			}
			return best
		}
		ratio := float64(took(4*c.size)) / float64(took(c.size))
		t.Logf("%s of %.30q: %.1f times as long", c.name, c.text(60), ratio)
		if ratio > 10 {
			t.Errorf("%s of %.30q takes %.1f times as long where it is four times as long", c.name, c.text(60), ratio)
		}
	}
}

// processorTime is how long this process has computed, whatever else the machine
// does meanwhile.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano())
}
