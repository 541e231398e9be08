package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// lettersTo are the texts of the mails to an address, the oldest first.
func (st *site) lettersTo(address string) (texts []string) {
	st.t.Helper()
	st.errands.Wait()
	for _, m := range st.letters(address) {
		texts = append(texts, strings.ReplaceAll(m.text, "\u200c", ""))
	}
	return texts
}

// linkTo is the link in the newest mail to an address, as a path.
func (st *site) linkTo(address, page string) string {
	st.t.Helper()
	letters := st.lettersTo(address)
	for i := len(letters) - 1; i >= 0; i-- {
		if _, rest, found := strings.Cut(letters[i], st.cfg.publicURL+page+"?token="); found {
			token, _, _ := strings.Cut(rest, "\n")
			return page + "?token=" + strings.TrimSpace(token)
		}
	}
	st.t.Fatalf("no link to %s among %d mails to %s", page, len(letters), address)
	return ""
}

func (st *site) tokenTo(address, page string) string {
	st.t.Helper()
	return strings.TrimPrefix(st.linkTo(address, page), page+"?token=")
}

func TestVerifyingAnAddress(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	same(t, "at first", alice.get("/api/me").fields()["email_verified"], any(false))
	alice.page("/account").shows("Please confirm your e-mail address", "alice@example.com")
	first := st.tokenTo("alice@example.com", "/verify-email")
	alice.post("/api/me/verify-email/resend", nil).want(http.StatusOK)
	token := st.tokenTo("alice@example.com", "/verify-email")
	same(t, "stored", st.count(`select count(*) from mail_token m where m::text like '%' || $1 || '%' or convert_to($1, 'UTF8') = hash`, token), 0)
	for _, bad := range []string{first, "x", strings.ToUpper(token), token + "x"} {
		alice.post("/api/verify-email", map[string]any{"token": bad}).detail(http.StatusBadRequest, "wrong, was used already or is too old")
	}
	// Looking at the page, as mail programs do, uses nothing up.
	for range 2 {
		alice.page("/verify-email?token="+token).want(http.StatusOK).shows("alice@example.com", "Yes, confirm it")
	}
	same(t, "answer", alice.post("/api/verify-email", map[string]any{"token": token}).want(http.StatusOK).fields()["reset_token"], nil)
	same(t, "confirmed", alice.get("/api/me").want(http.StatusOK).fields()["email_verified"], any(true))
	alice.post("/api/verify-email", map[string]any{"token": token}).want(http.StatusBadRequest)
	alice.post("/api/me/verify-email/resend", nil).detail(http.StatusBadRequest, "confirmed already")
	same(t, "history", st.count(`select count(*) from accountlog where action = 'email_verified'`), 1)
	same(t, "tokens in the history", st.count(`select count(*) from accountlog a where a::text like '%' || $1 || '%'`, token), 0)
	alice.post("/api/login", credentials("alice", testPassword)).want(http.StatusOK)
	// A link is good for a day.
	bob := st.member("bob")
	token = st.tokenTo("bob@example.com", "/verify-email")
	st.clock.Add(int64(24 * time.Hour))
	bob.post("/api/verify-email", map[string]any{"token": token}).want(http.StatusBadRequest)
	bob.page("/verify-email?token=" + token).want(http.StatusBadRequest).shows("too old")
	if strings.Contains(st.logged.String(), "token="+first) && !strings.Contains(st.logged.String(), "mail written") {
		t.Error("a token is in the log")
	}
}

// Somebody makes an account with the address of another person and waits. Once
// its owner confirms the address or resets the password, nothing is left to
// who made it.
func TestPreHijacking(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"verify by the API", "verify by the page", "reset"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			st := newSite(t)
			mallory := st.member("victim")
			mallory.enrol()
			mallory.do(http.MethodPatch, "/api/me/email", map[string]any{"email": "mallory@example.com"}).want(http.StatusOK)
			back := st.tokenTo("mallory@example.com", "/verify-email")
			owner := st.visitor()
			var reset string
			switch way {
			case "verify by the API":
				token := st.tokenTo("victim@example.com", "/verify-email")
				reset = owner.post("/api/verify-email", map[string]any{"token": token}).want(http.StatusOK).fields()["reset_token"].(string)
			case "verify by the page":
				link := st.linkTo("victim@example.com", "/verify-email")
				owner.page(link).want(http.StatusOK).shows("Sign in to confirm", "Make it mine")
				to := owner.submit("/verify-email", url.Values{"token": {strings.TrimPrefix(link, "/verify-email?token=")}}).redirects("/reset-password?token=")
				owner.page(to).want(http.StatusOK).shows("The same again")
				reset = strings.TrimPrefix(to, "/reset-password?token=")
			case "reset":
				owner.post("/api/password/forgot", map[string]any{"email": "victim@example.com"}).want(http.StatusOK)
				reset = st.tokenTo("victim@example.com", "/reset-password")
				mallory.get("/me").want(http.StatusOK)
			}
			owner.post("/api/password/reset", map[string]any{"token": reset, "new_password": "Owner-Says-9"}).want(http.StatusOK)
			mallory.get("/me").want(http.StatusUnauthorized)
			mallory.post("/api/login", credentials("victim", testPassword)).detail(http.StatusUnauthorized, "Invalid credentials")
			mallory.post("/api/verify-email", map[string]any{"token": back}).want(http.StatusBadRequest)
			// No second factor of mallory's keeps the owner out.
			owner.post("/api/login", credentials("victim", "Owner-Says-9")).want(http.StatusOK)
			me := owner.get("/api/me").fields()
			same(t, "address", fmt.Sprintln(me["email"], me["email_verified"], me["pending_email"], me["two_factor"]), "victim@example.com true <nil> false\n")
		})
	}
	// The maker's own browser confirms without losing anything.
	st := newSite(t)
	v := st.visitor()
	v.post("/accounts/register", registration("carol")).want(http.StatusCreated)
	v.post("/api/verify-email", map[string]any{"token": st.tokenTo("carol@example.com", "/verify-email")}).want(http.StatusOK)
	v.post("/api/login", credentials("carol", testPassword)).want(http.StatusOK)
	// So does who signs in first on another device.
	st.member("dave")
	other := st.visitor()
	link := st.linkTo("dave@example.com", "/verify-email")
	back := between(t, string(other.page(link).body), `href="/login?return_to=`, `"`)
	to, err := url.QueryUnescape(back)
	same(t, "the way back", err == nil && to == link, true)
	other.submit("/login", url.Values{"username": {"dave"}, "password": {testPassword}, "return_to": {to}}).redirects(link)
	other.page(link).shows("Yes, confirm it")
	other.submit("/verify-email", url.Values{"token": {strings.TrimPrefix(link, "/verify-email?token=")}}).redirects("/account")
	other.get("/me").want(http.StatusOK)
}

func TestChangingTheAddress(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	st.member("bob")
	a := alice.do(http.MethodPatch, "/api/me/email", map[string]any{"email": "new@example.com"}).want(http.StatusOK).fields()
	same(t, "answer", fmt.Sprint(a["email"], a["pending"]), "new@example.comtrue")
	me := alice.get("/api/me").fields()
	same(t, "not yet", fmt.Sprint(me["email"], me["pending_email"]), "alice@example.comnew@example.com")
	alice.page("/account").shows("Your new address <strong>new@example.com</strong> counts once")
	alice.do(http.MethodPatch, "/api/me/email", map[string]any{"email": "BOB@example.com"}).detail(http.StatusBadRequest, "Email already in use")
	// Saving something else leaves the new address waiting, and only asking for the old one ends that.
	alice.submit("/account/update", url.Values{"firstname": {"Alice"}, "email": {"alice@example.com"}, "bio": {"Hello"}}).redirects("/account/")
	same(t, "still waiting", alice.get("/api/me").fields()["pending_email"], any("new@example.com"))
	alice.submit("/account/update", url.Values{"email": {"alice@example.com"}, "keep_email": {"true"}}).redirects("/account/")
	same(t, "kept", alice.get("/api/me").fields()["pending_email"], nil)
	alice.do(http.MethodPatch, "/api/me/email", map[string]any{"email": "new@example.com"}).want(http.StatusOK)
	token := st.tokenTo("new@example.com", "/verify-email")
	// Somebody else is quicker.
	st.visitor().post("/accounts/register", with(registration("carol"), "email", "new@example.com")).want(http.StatusCreated)
	alice.post("/api/verify-email", map[string]any{"token": token}).detail(http.StatusBadRequest, "Email already in use")
	st.exec(`delete from "user" where username = 'carol'`)
	alice.post("/api/verify-email", map[string]any{"token": token}).want(http.StatusOK)
	me = alice.get("/api/me").fields()
	same(t, "now", fmt.Sprintln(me["email"], me["email_verified"], me["pending_email"]), "new@example.com true <nil>\n")
	letters := st.lettersTo("alice@example.com")
	same(t, "the old address is told", strings.Contains(letters[len(letters)-1], "n…@example.com"), true)
	same(t, "history", st.count(`select count(*) from accountlog where field_changed = 'email' and old_value = 'alice@example.com' and new_value = 'new@example.com'`), 3)
	// The old address opens nothing any more, and thinking better of it ends the link.
	alice.do(http.MethodPatch, "/accounts/me", map[string]any{"email": "third@example.com"}).want(http.StatusOK)
	token = st.tokenTo("third@example.com", "/verify-email")
	alice.do(http.MethodPatch, "/accounts/me", map[string]any{"email": "new@example.com"}).want(http.StatusOK)
	alice.post("/api/verify-email", map[string]any{"token": token}).want(http.StatusBadRequest)
	// Without confirmation it counts at once, and the old address is told.
	off := newSite(t, func(c *config) { c.emailVerification = "off" })
	dave := off.member("dave")
	same(t, "no mail to confirm", len(off.lettersTo("dave@example.com")), 0)
	dave.do(http.MethodPatch, "/api/me/email", map[string]any{"email": "new@example.com"}).want(http.StatusOK)
	same(t, "at once", dave.get("/api/me").fields()["email"], any("new@example.com"))
	same(t, "told", len(off.lettersTo("dave@example.com")), 1)
}

func TestForgottenPassword(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	v := st.visitor()
	known := v.post("/api/password/forgot", map[string]any{"email": "Alice@Example.com"}).want(http.StatusOK)
	unknown := v.post("/api/password/forgot", map[string]any{"email": "nobody@example.com"}).want(http.StatusOK)
	same(t, "tells nothing", string(known.body), string(unknown.body))
	v.post("/api/password/forgot", map[string]any{"email": "x"}).want(http.StatusUnprocessableEntity)
	same(t, "nothing is sent to strangers", len(st.lettersTo("nobody@example.com")), 0)
	token := st.tokenTo("alice@example.com", "/reset-password")
	before := len(st.lettersTo("alice@example.com"))
	v.post("/api/password/forgot", map[string]any{"email": "alice@example.com"}).want(http.StatusOK)
	same(t, "no flood of mails", len(st.lettersTo("alice@example.com")), before)

	reset := func(token, password string) *answer {
		return v.post("/api/password/reset", map[string]any{"token": token, "new_password": password})
	}
	reset("x", "Brand-New-9").detail(http.StatusBadRequest, "This link is wrong")
	reset(token, "weak").want(http.StatusUnprocessableEntity)
	reset(token, "My-Alice-Horse-9").detail(http.StatusUnprocessableEntity, "must not contain")
	v.post("/api/verify-email", map[string]any{"token": token}).want(http.StatusBadRequest)
	st.visitor().failSignIn("alice", 5)
	reset(token, "Brand-New-9").want(http.StatusOK)
	reset(token, "Brand-New-10").want(http.StatusBadRequest)
	alice.get("/me").want(http.StatusUnauthorized)
	// The lock is gone too, and the owner is told.
	st.visitor().post("/api/login", credentials("alice", "Brand-New-9")).want(http.StatusOK)
	letters := st.lettersTo("alice@example.com")
	same(t, "told", slices.ContainsFunc(letters, func(l string) bool {
		return strings.Contains(l, "password of your account was changed") && strings.Contains(l, "127.0.0.1")
	}), true)
	for _, letter := range letters {
		same(t, "a time as programs write it", strings.Contains(letter, "m=+") || strings.Contains(letter, "+0000"), false)
		same(t, "a password in a mail", strings.Contains(letter, "Brand-New"), false)
	}
	// A link is good for an hour, and not once the password has been changed.
	st.clock.Add(int64(time.Hour))
	v.post("/api/password/forgot", map[string]any{"email": "alice@example.com"})
	token = st.tokenTo("alice@example.com", "/reset-password")
	st.clock.Add(int64(time.Hour))
	reset(token, "Brand-New-11").want(http.StatusBadRequest)
	v.post("/api/password/forgot", map[string]any{"email": "alice@example.com"})
	token = st.tokenTo("alice@example.com", "/reset-password")
	alice.post("/api/login", credentials("alice", "Brand-New-9")).want(http.StatusOK)
	alice.post("/api/me/password", map[string]any{"current_password": "Brand-New-9", "new_password": "Brand-New-12"}).want(http.StatusOK)
	reset(token, "Brand-New-13").want(http.StatusBadRequest)
	// The second factor of an account whose address was confirmed stays.
	alice.post("/api/me/verify-email/resend", nil)
	st.exec(`update "user" set email_verified = true`)
	alice.enrol()
	st.clock.Add(int64(time.Hour))
	v.page("/login").shows(`href="/forgot-password"`)
	v.submit("/forgot-password", url.Values{"email": {"alice@example.com"}}).want(http.StatusOK).shows("is on its way to it")
	link := st.linkTo("alice@example.com", "/reset-password")
	v.page(link).want(http.StatusOK).shows("Choose a new password").hides("Code from an admin")
	token = strings.TrimPrefix(link, "/reset-password?token=")
	v.submit("/reset-password", url.Values{"token": {token}, "new_password": {"Brand-New-14"}, "confirm_password": {"x"}}).want(http.StatusUnprocessableEntity).shows("are not the same", token)
	v.submit("/reset-password", url.Values{"token": {token}, "new_password": {"Brand-New-14"}, "confirm_password": {"Brand-New-14"}}).redirects("/login?reset=success")
	same(t, "both factors", v.post("/api/login", credentials("alice", "Brand-New-14")).want(http.StatusUnauthorized).fields()["code"], any("totp_required"))
	v.page("/reset-password?token=x").want(http.StatusBadRequest).shows("too old", "Have a new link sent").hides("Code from an admin", "new_password")
	// Inactive accounts get nothing.
	st.exec(`update "user" set status = 'inactive'`)
	st.clock.Add(int64(time.Hour))
	before = len(st.lettersTo("alice@example.com"))
	v.post("/api/password/forgot", map[string]any{"email": "alice@example.com"}).want(http.StatusOK)
	same(t, "inactive", len(st.lettersTo("alice@example.com")), before)
}

func TestUnlockLink(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	st.visitor().failSignIn("alice", 5)
	link := st.linkTo("alice@example.com", "/unlock")
	token := strings.TrimPrefix(link, "/unlock?token=")
	v := st.visitor()
	v.post("/api/login", credentials("alice", testPassword)).want(http.StatusTooManyRequests)
	v.page(link).want(http.StatusOK).shows("Unlock it now")
	v.post("/api/login", credentials("alice", testPassword)).want(http.StatusTooManyRequests)
	v.submit("/unlock", url.Values{"token": {token + "x"}}).want(http.StatusBadRequest).shows("too old")
	v.submit("/unlock", url.Values{"token": {token}}).redirects("/login?unlocked=true")
	v.submit("/unlock", url.Values{"token": {token}}).want(http.StatusOK).shows("unlocked already").hides("Unlock it now")
	v.page(link).want(http.StatusOK).shows("unlocked already").hides("Unlock it now")
	v.page("/unlock?token=x").want(http.StatusBadRequest).hides("Unlock it now")
	v.post("/api/login", credentials("alice", testPassword)).want(http.StatusOK)
	// One mail a lock, not one a failure.
	before := len(st.lettersTo("alice@example.com"))
	st.visitor().failSignIn("alice", 5)
	st.clock.Add(int64(16 * time.Minute))
	st.visitor().failSignIn("alice", 1)
	same(t, "mails", len(st.lettersTo("alice@example.com")), before+1)
	// Unknown names get no mail, whatever they look like.
	st.visitor().failSignIn("nobody@example.com", 5)
	same(t, "strangers", len(st.lettersTo("nobody@example.com")), 0)
}

// With required confirmation somebody can look around and put their account in
// order, and publish nothing.
func TestRequiredVerification(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.emailVerification = "required" })
	alice := st.member("alice")
	for path, body := range map[string]any{"/interact/like": map[string]any{"url": "a"}, "/interact/comment": map[string]any{"url": "a", "content": "x"},
		"/api/projects": map[string]any{"title": "x", "description": "x"}} {
		same(t, path, alice.post(path, body).detail(http.StatusForbidden, "confirm your e-mail address").fields()["code"], any("email_verification_required"))
	}
	same(t, "a page", alice.page("/projects/new").redirects("/"), "/verify-email")
	alice.page("/verify-email").want(http.StatusOK).shows("Send it again")
	alice.submit("/account/verify-email", nil).want(http.StatusOK).shows("on its way to alice@example.com")
	alice.submit("/thread/comment", url.Values{"url": {"a"}, "content": {"Not yet"}})
	same(t, "comments", st.count(`select count(*) from comment`), 0)
	for _, path := range []string{"/api/me", "/me", "/accounts/me", "/api/me/sessions", "/interact/likes/a", "/account", "/"} {
		alice.get(path).want(http.StatusOK)
	}
	alice.post("/api/verify-email", map[string]any{"token": st.tokenTo("alice@example.com", "/verify-email")}).want(http.StatusOK)
	alice.post("/interact/like", map[string]any{"url": "a"}).want(http.StatusOK)
}

// In production without SMTP what needs mail is off, and says so.
func TestWithoutMail(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.production, c.smtpHost = true, "" })
	v := st.visitor()
	v.post("/accounts/register", registration("alice")).want(http.StatusCreated)
	v.post("/api/password/forgot", map[string]any{"email": "alice@example.com"}).detail(http.StatusForbidden, "sends no mail")
	var signedIn struct {
		AccessToken string `json:"access_token"`
	}
	v.post("/api/login", url.Values{"username": {"alice"}, "password": {testPassword}}).want(http.StatusOK).into(&signedIn)
	v.do(http.MethodPost, "/api/me/verify-email/resend", nil, "Authorization", "Bearer "+signedIn.AccessToken).detail(http.StatusForbidden, "sends no mail")
	v.page("/login").shows(`href="/reset-password"`).hides("/forgot-password")
	v.page("/forgot-password").shows("This site sends no mail")
	same(t, "mails", st.count(`select count(*) from outbox`), 0)
}
