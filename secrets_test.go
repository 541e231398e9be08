package main

import (
	"encoding/base32"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// Whoever signs in, resets or confirms, by right or wrong: no password, token,
// cookie, code or name typed is in the log, also when the database breaks.
func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	secrets := []string{testPassword, string(st.cfg.secretKey)}
	secret := func(texts ...string) string { secrets = append(secrets, texts...); return texts[0] }
	alice := st.member("alice")
	root := st.admin("root")

	// By links in letters; each token is in the address, in a form and in a referrer.
	use := func(p *person, page string, fields url.Values) {
		t.Helper()
		token := secret(p.tokenTo("alice@example.com", page))
		p.page(page + "?token=" + token).want(http.StatusOK)
		p.do(http.MethodGet, "/privacy", nil, "Referer", p.url+page+"?token="+token).want(http.StatusOK)
		p.do(http.MethodGet, "/nowhere/?token="+token, nil).want(http.StatusNotFound)
		fields.Set("token", token)
		if a := p.submit(page, fields); a.status >= 400 {
			t.Fatalf("%s: %d %s", page, a.status, a.body)
		}
	}
	use(alice, "/verify-email", url.Values{})
	visitor := st.visitor()
	visitor.post("/api/password/forgot", map[string]any{"email": "alice@example.com"}).want(http.StatusOK)
	st.errands.Wait()
	second := secret("Another-Horse-8")
	use(visitor, "/reset-password", url.Values{"new_password": {second}, "new_password_confirm": {second}, "confirm_password": {second}})

	// By the code of an admin.
	var given struct {
		Code string `json:"reset_code"`
	}
	root.post(fmt.Sprintf("/api/admin/users/%d/reset-code", st.idOf("alice")), nil).want(http.StatusOK).into(&given)
	third := secret("Third-Horse-9", given.Code)
	visitor.post("/api/reset-password", map[string]any{"username": "alice", "reset_code": given.Code, "new_password": third}).want(http.StatusOK)

	// Wrong ones, in a body that is none, and a name that is the password.
	for _, body := range []any{
		map[string]any{"username": "alice", "password": secret("Wrong-Horse-1")},
		map[string]any{"username": secret("Wrong-Horse-2"), "password": "x"},
		secret("Wrong-Horse-3"),
		`{"username": "alice", "password": "` + secret("Wrong-Horse-4"),
	} {
		visitor.post("/api/login", body)
	}
	visitor.get("/api/login?password=" + secret("Wrong-Horse-5"))

	// Two factors, with the ticket between the steps.
	bob := st.member("bob")
	key, backup := bob.enrol()
	secret(append(slices.Clone(backup), base32.StdEncoding.EncodeToString(key))...)
	page := string(visitor.submit("/login", url.Values{"username": {"bob"}, "password": {testPassword}}).body)
	ticket := secret(between(t, page, `name="ticket" value="`, `"`))
	visitor.submit("/login", url.Values{"ticket": {ticket}, "totp": {backup[0]}}).redirects("/")
	for range freeFailures + 1 {
		visitor.post("/api/login", map[string]any{"username": "alice", "password": secret("Wrong-Horse-6")})
	}
	st.errands.Wait()

	// Cookies and tokens of all that.
	site, err := url.Parse(st.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*person{alice, root, visitor, bob} {
		for _, cookie := range p.client.Jar.Cookies(site) {
			if cookie.Name == "access_token" || strings.HasPrefix(cookie.Name, "device_") {
				secret(strings.TrimPrefix(strings.Trim(cookie.Value, `"`), "Bearer "))
			}
		}
	}
	operator := secret(operatorToken(st.cfg.secretKey, st.now()))
	visitor.do(http.MethodGet, "/api/me", nil, operatorHeader, operator, "Authorization", "Bearer "+secret("open-sesame"))
	visitor.do(http.MethodPost, "/api/admin/log-level", map[string]any{"level": "debug"}, "Cookie", "access_token="+secret("open-poppy"))

	// The same once more, and nothing works.
	st.db.Close()
	bob.get("/api/me?token=" + secret("while-it-is-away"))
	visitor.post("/api/login", map[string]any{"username": "alice", "password": secret("Wrong-Horse-7")})
	visitor.post("/api/password/reset", map[string]any{"token": secret("Wrong-Token-1"), "new_password": secret("Wrong-Horse-8")})

	same(t, "secrets", len(secrets) > 30, true)
	for line := range strings.Lines(st.logged.String()) {
		if strings.Contains(line, `msg="mail written"`) {
			continue // without a mail server, outside of production, the log shows the links
		}
		for _, text := range secrets {
			if text != "" && strings.Contains(line, text) {
				t.Errorf("%q is in %s", text, line)
			}
		}
	}
	same(t, "something is logged", strings.Count(st.logged.String(), "msg=request ") > 30, true)
	same(t, "failures are", strings.Contains(st.logged.String(), `msg="sign-in failed" user_id=1 address=127.0.0.1`), true)
}
