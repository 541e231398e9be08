package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// What people call themselves and write is text on every page of the admins and
// of their own accounts, whatever is in it.
func TestHostileTextOnAccountPages(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice := st.admin("root"), st.member("alice")
	const x = `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	alice.submit("/account/update", url.Values{"firstname": {x}, "lastname": {x}, "location": {x}, "bio": {x}}).redirects("/account")
	id := alice.post("/api/projects", map[string]any{"title": x, "description": x}).want(http.StatusCreated).id()
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	root.submit(fmt.Sprintf("/admin/projects/%d/unpublish", id), url.Values{"note": {x}}).redirects("/admin")
	comment := alice.post("/interact/comment", map[string]any{"url": "p/" + x, "content": "1 < 2"}).want(http.StatusOK).id()
	root.post(fmt.Sprintf("/interact/comments/%d/report", comment), map[string]any{"reason": "other", "details": x}).want(http.StatusOK)
	root.submit("/admin/moves", url.Values{"old": {"p/" + x}, "new": {"q/" + x}}).redirects("/admin")
	// The older service took other names and addresses.
	st.exec(`update "user" set username = $1::varchar, email = $1::varchar || '@example.com' where username = 'alice'`, x)
	st.exec(`update outbox set attempts = 1, last_error = $1`, x)
	st.exec(`insert into job (name, ran_at) values ($1, now())`, x)
	q := url.QueryEscape(x)
	for _, path := range []string{"/admin", "/admin/users", "/admin/users?q=" + q, fmt.Sprintf("/admin/users/%d?list=%s", 2, q), "/admin/projects", "/admin/projects?q=" + q, fmt.Sprintf("/admin/projects/%d?list=%s", id, q),
		"/admin/moderation", "/admin/moves", "/admin/moves?old=" + q + "&new=" + q, "/admin/log", "/admin/log?q=" + q, "/admin/system", "/admin/storage", "/admin/views", "/admin/pages", "/admin/pages?q=" + q} {
		root.page(path).want(http.StatusOK).hides("<script>alert", "<img src=x")
	}
	for _, path := range []string{"/login?return_to=/" + q, "/register?return_to=/" + q, "/forgot-password?return_to=/" + q, "/reset-password?token=" + q, "/verify-email?token=" + q, "/unlock?token=" + q, "/unsubscribe?token=" + q} {
		st.visitor().page(path).hides("<script>alert", "<img src=x")
	}
	st.visitor().submit("/login", url.Values{"username": {x}, "password": {x}, "return_to": {x}}).hides("<script>alert", "<img src=x")
}

// Nobody changes more than their own account, or another field than is asked for.
func TestFormsChangeNothingElse(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	alice.submit("/account/update", url.Values{"firstname": {"Alice"}, "id": {"2"}, "user_id": {"2"}, "username": {"root"}, "type": {"1"}, "status": {"inactive"}, "email_verified": {"true"},
		"hashed_password": {"x"}, "created_at": {"2000-01-01"}}).redirects("/account")
	st.visitor().submit("/register", url.Values{"username": {"carol"}, "firstname": {"C"}, "lastname": {"D"}, "email": {"carol@example.com"}, "password": {testPassword}, "type": {"1"}, "email_verified": {"true"}}).redirects("/login")
	same(t, "admins", st.count(`select count(*) from "user" where type <> 0 or status <> 'active' or email_verified or username = 'root'`), 0)
	var list []struct{ ID string }
	bob.get("/api/me/sessions").into(&list)
	alice.submit("/account/sessions/"+list[0].ID+"/end", nil).want(http.StatusNotFound)
	bob.get("/me").want(http.StatusOK)
	// Forms of other sites are refused, also those that need no sign-in.
	for _, path := range []string{"/login", "/register", "/logout", "/account/update", "/account/change-password", "/account/delete", "/account/sessions/end", "/account/letters", "/account/two-factor/confirm",
		"/force-password-reset", "/reset-password", "/forgot-password", "/verify-email", "/unlock", "/kept/1/send"} {
		a := alice.do(http.MethodPost, path, url.Values{"username": {"alice"}, "password": {testPassword}}, "Accept", "text/html", "Origin", "https://evil.example")
		if path != "/logout" || a.status != http.StatusMethodNotAllowed {
			a.want(http.StatusForbidden)
		}
	}
	alice.get("/me").want(http.StatusOK)
}

// Nothing but this server and the allowed origins is ever gone on to.
func TestAccountPagesLeadNowhereElse(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	for _, evil := range []string{"https://evil.example/", "//evil.example", `/\evil.example`, "javascript:alert(1)", "data:text/html,x", "/login", "/\x09/evil.example", "https://www.example.com@evil.example/", "https://www.example.com.evil.example/"} {
		form := credentials("alice", testPassword)
		form.Set("return_to", evil)
		same(t, evil, alice.submit("/login", form).redirects("/"), "/account")
		page := string(st.visitor().page("/login?return_to=" + url.QueryEscape(evil)).want(http.StatusOK).body)
		same(t, "kept in the form: "+evil, strings.Contains(page, "evil.example") || strings.Contains(page, "javascript:") || strings.Contains(page, "data:text"), false)
		a := alice.do(http.MethodPost, "/account/sessions/end", nil, "Accept", "text/html", "Origin", alice.url, "Referer", evil)
		a.redirects("/account/sessions")
		a = st.visitor().do(http.MethodPost, "/account/sessions/end", nil, "Accept", "text/html", "Referer", evil)
		same(t, "from "+evil, a.redirects("/login"), "/login?error=session_expired")
	}
}
