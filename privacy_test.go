package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestExport(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	alice.post("/interact/comment", map[string]any{"url": "blog/x.html", "content": "Alice was here"}).want(http.StatusOK)
	bob.post("/interact/comment", map[string]any{"url": "blog/x.html", "content": "Bob was here"}).want(http.StatusOK)
	alice.post("/interact/like", map[string]any{"url": "blog/x.html"}).want(http.StatusOK)
	id := alice.post("/api/projects", map[string]any{"title": "Robot / arm", "description": "It waves"}).want(http.StatusCreated).id()
	alice.do(http.MethodPost, fmt.Sprintf("/api/projects/%d/files", id), form().file("file", "main.py", []byte("print(1)"))).want(http.StatusCreated)
	alice.do(http.MethodPost, fmt.Sprintf("/api/projects/%d/images", id), form().file("image", "arm.png", pictureOf(t, 8, 6))).want(http.StatusCreated)
	alice.enrol()

	a := alice.get("/api/me/export").want(http.StatusOK)
	same(t, "type", a.header.Get("Content-Type"), "application/zip")
	same(t, "name", a.header.Get("Content-Disposition"), "attachment; filename=alice_export.zip")
	files := unzip(t, a.body)
	dir := fmt.Sprintf("projects/%d_Robot___arm/", id)
	for name, text := range map[string]string{
		"account.json": `"email": "alice@example.com"`, "sessions.json": `"ip_address": "127.0.0.1"`, "audit_log.json": `"action": "created"`,
		"comments.json": `"url": "blog/x.html"`, "likes.json": `"url": "blog/x.html"`, "comment_likes.json": "[]",
		dir + "project.json": `"title": "Robot / arm"`, dir + "README.md": "# Robot / arm", dir + "files/main.py": "print(1)", dir + "images/arm.png": "PNG",
	} {
		if !strings.Contains(files[name], text) {
			t.Errorf("%s does not hold %s: %s", name, text, truncate(files[name], 400))
		}
		if strings.HasSuffix(name, ".json") && !json.Valid([]byte(files[name])) {
			t.Errorf("%s is no JSON", name)
		}
	}
	var secret string
	if err := st.db.QueryRow(t.Context(), `select hashed_password from "user" where username = 'alice'`).Scan(&secret); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		for _, hidden := range []string{secret, "argon2id", "totp_secret", "Bob was here", "bob@example.com"} {
			if strings.Contains(text, hidden) {
				t.Errorf("%s holds %s", name, hidden)
			}
		}
	}
	st.visitor().get("/api/me/export").want(http.StatusUnauthorized)
}

func TestDeletingAnAccount(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	for _, path := range []string{"/api/me", "/accounts/me"} {
		alice := st.member("alice" + path[1:4])
		alice.post("/interact/comment", map[string]any{"url": "a", "content": "Nobody answered"}).want(http.StatusOK)
		alice.post("/interact/like", map[string]any{"url": "a"}).want(http.StatusOK)
		id := alice.post("/api/projects", map[string]any{"title": "Robot", "description": "x"}).want(http.StatusCreated).id()
		alice.do(http.MethodPost, fmt.Sprintf("/api/projects/%d/files", id), form().file("file", "main.py", []byte("print(1)"))).want(http.StatusCreated)
		alice.do(http.MethodPost, fmt.Sprintf("/api/projects/%d/images", id), form().file("image", "arm.png", pictureOf(t, 8, 6))).want(http.StatusCreated)
		stored, err := filepath.Glob(filepath.Join(st.uploads, "projects", "*", "*"))
		if err != nil || len(stored) < 2 {
			t.Fatal(stored, err)
		}
		userID := st.idOf(alice.name)
		st.exec(`insert into merged_row (table_name, row_id, row_data, reason) values ('like', 1, jsonb_build_object('user_id', $1::integer), 'x')`, userID)

		alice.do(http.MethodDelete, path, map[string]any{"password": wrongPassword}).detail(http.StatusForbidden, "Password is incorrect")
		st.clock.Add(int64(20 * time.Minute))
		alice.do(http.MethodDelete, path, nil).detail(http.StatusForbidden, "give your password")
		a := alice.do(http.MethodDelete, path, map[string]any{"password": testPassword}).want(http.StatusOK)
		same(t, "cookie", strings.Contains(a.cookie("access_token"), "Max-Age=0"), true)
		alice.get("/me").want(http.StatusUnauthorized)
		alice.post("/api/login", credentials(alice.name, testPassword)).detail(http.StatusUnauthorized, "Invalid credentials")
		for _, table := range []string{"accountlog", "session", `"like"`, "comment", "commentlike", "mail_token", "backup_code", "failed_attempt"} {
			same(t, table, st.count(`select count(*) from `+table+` where user_id = $1`, userID), 0)
		}
		same(t, "projects", st.count(`select count(*) from project`)+st.count(`select count(*) from project_file`)+st.count(`select count(*) from merged_row`), 0)
		stored, _ = filepath.Glob(filepath.Join(st.uploads, "projects", "*", "*"))
		same(t, "stored files", strings.Join(stored, " "), "")
		// The name is never given out again, the address is free.
		for _, name := range []string{alice.name, strings.ToUpper(alice.name)} {
			st.visitor().post("/accounts/register", with(registration("other"), "username", name)).detail(http.StatusBadRequest, "Username already registered")
		}
		st.visitor().post("/accounts/register", with(registration("new"+path[1:4]), "email", alice.name+"@example.com")).want(http.StatusCreated)
		var holds []string
		for _, table := range []string{"accountlog", "session", `"user"`, "comment", "retired_name", "outbox", "job"} {
			if st.count(`select count(*) from `+table+` x where x::text ilike '%' || $1 || '%' and x::text not ilike '%@example.com%'`, alice.name) > 0 {
				holds = append(holds, table)
			}
		}
		same(t, "the name is still in", strings.Join(holds, " "), "")
	}
	// Soon after signing in no password is needed; the form always wants it.
	bob := st.member("bob")
	bob.submit("/account/delete", url.Values{}).want(http.StatusUnprocessableEntity).shows("Password is required")
	bob.submit("/account/delete", url.Values{"password": {wrongPassword}}).want(http.StatusBadRequest).shows("Password is incorrect")
	bob.submit("/account/delete", url.Values{"password": {testPassword}}).redirects("/register")
	carol := st.member("carol")
	carol.delete("/api/me").want(http.StatusOK)
	same(t, "accounts", st.count(`select count(*) from "user" where username in ('bob', 'carol')`), 0)
}

func TestConsent(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	v := st.visitor()
	page := string(v.page("/register").want(http.StatusOK).shows("accept_terms", `href="/terms"`, `href="/privacy"`).body)
	version := between(t, page, `name="terms_version" value="`, `"`)
	form := url.Values{"username": {"alice"}, "firstname": {"A"}, "lastname": {""}, "email": {"alice@example.com"}, "password": {testPassword}, "terms_version": {version}}
	v.submit("/register", form).want(http.StatusUnprocessableEntity).shows("Please agree to the terms", `value="alice"`)
	form.Set("accept_terms", "true")
	// What is agreed to is what was shown.
	if err := os.WriteFile(filepath.Join(st.cfg.dataDir, "terms.md"), []byte("# Our own terms\n\nBe *kind*."), 0o600); err != nil {
		t.Fatal(err)
	}
	page = string(v.submit("/register", form).want(http.StatusUnprocessableEntity).shows("The terms have changed").body)
	next := between(t, page, `name="terms_version" value="`, `"`)
	same(t, "another version", next != version, true)
	form.Set("terms_version", next)
	v.submit("/register", form).redirects("/login")
	same(t, "kept with its time", st.count(`select count(*) from "user" where terms_version = $1 and terms_accepted_at is not null`, next), 1)
	same(t, "in the history", st.count(`select count(*) from accountlog where action = 'created' and field_changed = 'terms_version' and new_value = $1`, next), 1)
	v.page("/terms").want(http.StatusOK).shows(">Our own terms</h", "<em>kind</em>")
	v.page("/privacy").want(http.StatusOK).shows("Test Site", "</h")
	for _, name := range []string{"privacy.md", "terms.md"} {
		text, err := legalFiles.ReadFile("templates/" + name)
		same(t, name+" says something", err == nil && len(text) > 1000, true)
	}
	// Other sites' forms have no such box, and work on.
	v.submit("/register", url.Values{"username": {"bob"}, "firstname": {"B"}, "lastname": {""}, "email": {"bob@example.com"}, "password": {testPassword}}).redirects("/login")
	v.post("/accounts/register", with(registration("carol"), "accept_terms", true)).want(http.StatusCreated)
	same(t, "by the API", st.count(`select count(*) from "user" where terms_version = $1`, next), 2)
}

func TestRetention(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.retentionAudit = 30 * 24 * time.Hour })
	alice := st.member("alice")
	st.visitor().failSignIn("nobody", 2)
	st.exec(`insert into mail_token (hash, user_id, purpose, email, expires_at) select 'x', id, 'reset', email, now() + interval '1 hour' from "user"`)
	rows := func() string {
		return fmt.Sprint(st.count(`select count(*) from session`), st.count(`select count(*) from mail_token where purpose = 'reset'`), st.count(`select count(*) from failed_attempt`), st.count(`select count(*) from accountlog`))
	}
	retention := func() {
		t.Helper()
		for _, j := range st.jobs() {
			if j.name == "retention" {
				if err := st.runWhenDue(t.Context(), j); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	same(t, "at first", rows(), "1 1 1 2")
	retention()
	same(t, "nothing is old", rows(), "1 1 1 2")
	st.clock.Add(int64(23 * time.Hour))
	retention()
	same(t, "not due", rows(), "1 1 1 2")
	st.clock.Add(int64(50 * time.Hour))
	retention()
	same(t, "after three days", rows(), "1 0 0 2")
	alice.get("/me").want(http.StatusOK)
	st.clock.Add(int64(31 * 24 * time.Hour))
	retention()
	same(t, "after a month", rows(), "0 0 0 0")
}
