package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// keptID is the id of the form that a page of kept forms shows first.
func (a *answer) keptID() string { return between(a.t, string(a.body), `action="/kept/`, `/`) }

// A form that comes after the session has ended waits until its sender has
// signed in, and is then sent as it was.
func TestFormsOutliveTheSession(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, mallory := st.member("alice"), st.member("mallory")
	text := `Typed for <b>an hour</b> & "more"`
	for what, end := range map[string]func(){
		"ended":      func() { st.exec(`delete from session where user_id = $1`, st.idOf("alice")) },
		"signed out": func() { alice.page("/logout").redirects("/login") },
	} {
		end()
		to := alice.submit("/projects/new", url.Values{"title": {"Walker " + what}, "description": {text}, "new_password": {"Secret-77"}, "totp": {"123456"}}).redirects("/login")
		same(t, what, to, "/login?error=session_expired&return_to=/kept")
		alice.page(to).want(http.StatusOK).shows("What you have typed is kept")
		alice.submit("/login", url.Values{"username": {"alice"}, "password": {wrongPassword}, "return_to": {"/kept"}}).want(http.StatusUnauthorized).shows(`name="return_to" value="/kept"`)
		alice.submit("/login", url.Values{"username": {"alice"}, "password": {testPassword}, "return_to": {"/kept"}}).redirects("/kept")
		kept := alice.page("/kept").want(http.StatusOK).shows("A new project", "Walker "+what, "Typed for &lt;b&gt;an hour").hides("Secret-77", "123456", "<b>an")
		// Another browser sees nothing of it, and can't let it go.
		mallory.page("/kept").shows("Nothing waits here")
		mallory.submit("/kept/"+kept.keptID()+"/send", nil).want(http.StatusNotFound)
		again := alice.submit("/kept/"+kept.keptID()+"/send", url.Values{"title": {"Walker " + what}, "description": {text}}).want(http.StatusTemporaryRedirect)
		same(t, "sent on to", again.header.Get("Location"), "/projects/new")
		alice.page("/kept").shows("Nothing waits here")
	}
	// A file is not kept, which is said.
	st.exec(`delete from session where user_id = $1`, st.idOf("alice"))
	lost := alice.do(http.MethodPost, "/account/picture", form().file("image", "a.png", picture(t, "png", 8, 8)), "Accept", "text/html", "Origin", st.url, "Referer", st.url+"/account/profile").redirects("/login")
	same(t, "an upload", lost, "/login?error=session_expired&return_to=%2Faccount%2Fprofile&upload=lost")
	alice.page(lost).shows("has not been stored: choose it again")
	alice.signIn()

	same(t, "nothing readable is stored", st.count(`select count(*) from kept_form`), 0)

	// Whose session it was is known: nobody else who signs in there sees it.
	st.exec(`delete from session`)
	alice.submit("/thread/comment", url.Values{"url": {"blog/a"}, "content": {"Mine alone"}}).redirects("/login")
	same(t, "sealed", st.count(`select count(*) from kept_form where form::text like '%' || encode('Mine alone', 'hex') || '%'`), 0)
	alice.submit("/login", credentials("mallory", testPassword)).redirects("/account")
	alice.page("/kept").shows("Nothing waits here")
	alice.submit("/login", credentials("alice", testPassword)).redirects("/account")
	kept := alice.page("/kept").shows("Mine alone")
	alice.submit("/kept/"+kept.keptID()+"/drop", nil).redirects("/kept")
	alice.page("/kept").shows("Dropped.", "Nothing waits here")

	// A day later it is gone, and no browser fills the database.
	st.exec(`delete from session`)
	for i := range maxKept + 3 {
		alice.submit("/thread/comment", url.Values{"url": {"blog/a"}, "content": {fmt.Sprint("Comment ", i)}}).redirects("/login")
	}
	same(t, "kept", st.count(`select count(*) from kept_form`), maxKept)
	st.clock.Add(int64(keptLife + time.Minute))
	if err := st.cleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "a day later", st.count(`select count(*) from kept_form`), 0)

	// Programs, uploads and other sites' forms are not kept.
	alice.post("/thread/comment", url.Values{"url": {"a"}, "content": {"x"}}).want(http.StatusUnauthorized)
	alice.do(http.MethodPost, "/account/picture", form().file("file", "a.png", []byte("x")), "Accept", "text/html", "Origin", alice.url).redirects("/login")
	alice.do(http.MethodPost, "/thread/comment", url.Values{"url": {"a"}, "content": {"x"}}, "Accept", "text/html", "Origin", "https://evil.example").want(http.StatusForbidden)
	same(t, "kept", st.count(`select count(*) from kept_form`), 0)
}

// What has to be done first does not lose the way or the text.
func TestDutiesLeadBack(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.emailVerification = "required" })
	alice := st.member("alice")
	same(t, "to the duty", alice.submit("/projects/new", url.Values{"title": {"Walker"}, "description": {"It walks"}}).redirects("/"), "/verify-email")
	alice.submit("/verify-email", url.Values{"token": {st.tokenTo("alice@example.com", "/verify-email")}}).redirects("/kept")
	alice.page("/kept").shows("Your e-mail address is confirmed.", "It walks")
	st.exec(`update "user" set force_password_reset = true`)
	alice.page("/projects/new?x=1").redirects("/force-password-reset")
	form := url.Values{"new_password": {"Brand-New-9"}, "confirm_password": {"Brand-New-9"}}
	to := alice.submit("/force-password-reset", form).redirects("/login?reset=success")
	same(t, "and back", to, "/login?reset=success&return_to="+url.QueryEscape("/projects/new?x=1"))
	alice.page(to).want(http.StatusOK).shows("you are signed in with it", `href="/projects/new?x=1"`)
	// Nobody is led elsewhere by a cookie that somebody else has set.
	for i, evil := range []string{"https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"} {
		st.exec(`update "user" set force_password_reset = true`)
		alice.header.Set("Cookie", goOnCookie+"="+url.QueryEscape(evil))
		next := fmt.Sprint("Another-New-", i)
		same(t, evil, alice.submit("/force-password-reset", url.Values{"new_password": {next}, "confirm_password": {next}}).redirects("/login"), "/login?reset=success")
	}
}

// What was done is said once, whatever is reloaded, and nobody can have a page
// say something else.
func TestFlash(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	alice.page("/logout").redirects("/login")
	alice.page("/login").shows("You are signed out.")
	alice.page("/login").hides("You are signed out.")
	alice.signIn()
	alice.submit("/account/delete", url.Values{"password": {testPassword}}).redirects("/register")
	alice.page("/register").shows("Your account is deleted")
	alice.page("/register").hides("Your account is deleted")
	v := st.visitor()
	for _, forged := range []string{"x", "eyJUZXh0IjoiRXZpbCJ9", strings.Repeat("A", 200)} {
		v.header.Set("Cookie", flashCookie+"="+forged)
		v.page("/login").want(http.StatusOK).hides("notice good")
	}
}
