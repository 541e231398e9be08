package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/jackc/pgx/v5"
)

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
}

// cookie is a cookie that an answer sets, as it stands on the wire.
func (a *answer) cookie(name string) string {
	for _, line := range a.header.Values("Set-Cookie") {
		if strings.HasPrefix(line, name+"=") {
			return line
		}
	}
	return ""
}

func TestSignInSetsTokenAndCookies(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	v := st.visitor()
	for _, path := range []string{"/api/login", "/auth/login"} {
		for _, name := range []string{"alice", "ALICE", "alice@example.com", "Alice@Example.com"} {
			var got tokenAnswer
			a := v.post(path, url.Values{"username": {name}, "password": {testPassword}}).want(http.StatusOK).into(&got)
			same(t, "token_type", got.TokenType, "bearer")
			access, shown := a.cookie("access_token"), a.cookie("username")
			same(t, "cookie", strings.HasPrefix(access, `access_token="Bearer `+got.AccessToken+`"; Path=/; Max-Age=`), true)
			same(t, "HttpOnly", strings.Contains(access, "HttpOnly"), true)
			same(t, "readable", strings.Contains(shown, "HttpOnly"), false)
			same(t, "name", strings.HasPrefix(shown, "username=alice; Path=/"), true)
			for _, line := range []string{access, shown} {
				same(t, "SameSite", strings.Contains(line, "SameSite=Lax"), true)
				same(t, "Secure in development", strings.Contains(line, "Secure"), false)
			}
		}
	}
	var claims struct {
		Sub, Jti string
		Exp      int64
	}
	var got tokenAnswer
	v.post("/api/login", url.Values{"username": {"alice"}, "password": {testPassword}}).into(&got)
	segments := strings.Split(got.AccessToken, ".")
	payload, err := base64.RawURLEncoding.DecodeString(segments[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	same(t, "sub", claims.Sub, "alice")
	life := time.Until(time.Unix(claims.Exp, 0))
	same(t, "30 minutes", life > 29*time.Minute && life <= 30*time.Minute, true)
	// What a sister service does with the shared secret.
	mac := hmac.New(sha256.New, st.cfg.secretKey)
	mac.Write([]byte(segments[0] + "." + segments[1]))
	same(t, "signature", base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), segments[2])

	me := v.get("/api/me").want(http.StatusOK)
	same(t, "Cache-Control", me.header.Get("Cache-Control"), "no-store")
	same(t, "last_login", me.fields()["last_login"] != nil, true)
}

func TestProductionCookiesAreSecure(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.production, c.cookieDomain = true, ".example.com" })
	v := st.visitor()
	v.post("/accounts/register", map[string]any{"username": "alice", "firstname": "A", "lastname": "B", "email": "a@example.com", "password": testPassword}).want(http.StatusCreated)
	a := v.post("/api/login", url.Values{"username": {"alice"}, "password": {testPassword}}).want(http.StatusOK)
	for _, name := range []string{"access_token", "username"} {
		line := a.cookie(name)
		if !strings.Contains(line, "Secure") || !strings.Contains(line, "Domain=example.com") {
			t.Fatalf("cookie %q", line)
		}
	}
	same(t, "HSTS", a.header.Get("Strict-Transport-Security") != "", true)
}

func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	var got tokenAnswer
	alice.post("/api/login", url.Values{"username": {"alice"}, "password": {testPassword}}).into(&got)
	good, ok := parseToken(st.cfg.secretKey, got.AccessToken)
	same(t, "own token", ok, true)
	encode := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	sign := func(head map[string]string, c claims) string {
		text := encode(head) + "." + encode(c)
		return text + "." + base64.RawURLEncoding.EncodeToString(mac(st.cfg.secretKey, text))
	}
	expired, noSession, otherName := good, good, good
	expired.Expires = time.Now().Add(-time.Second).Unix()
	noSession.Session = ""
	otherName.Subject = "root"
	segments := strings.Split(got.AccessToken, ".")
	for name, token := range map[string]string{
		"alg none":         encode(map[string]string{"alg": "none"}) + "." + segments[1] + ".",
		"alg none, signed": sign(map[string]string{"alg": "none"}, good),
		"alg HS512":        sign(map[string]string{"alg": "HS512"}, good),
		"other key":        signToken([]byte("another key of some thirty-two characters"), good),
		"expired":          signToken(st.cfg.secretKey, expired),
		"no session":       signToken(st.cfg.secretKey, noSession),
		"other name":       signToken(st.cfg.secretKey, otherName),
		"operator":         operatorToken(st.cfg.secretKey, time.Now()),
		"changed payload":  segments[0] + "." + encode(otherName) + "." + segments[2],
		"no dots":          "abc",
		"empty":            "",
	} {
		v := st.visitor()
		v.header.Set("Authorization", "Bearer "+token)
		if a := v.get("/api/me"); a.status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, a.status)
		} else {
			a.detail(http.StatusUnauthorized, "Invalid or expired token")
		}
	}
	st.visitor().get("/api/me").detail(http.StatusUnauthorized, "Missing token")
	// A good header works without a cookie, and a good cookie behind a bad header.
	v := st.visitor()
	v.header.Set("Authorization", "bearer "+got.AccessToken)
	v.get("/me").want(http.StatusOK)
	alice.header.Set("Authorization", "Bearer nonsense")
	alice.get("/me").want(http.StatusOK)
	// A browser is sent to sign in, and back afterwards.
	same(t, "redirect", st.visitor().page("/api/me?x=1").redirects("/login"), "/login?error=session_expired&return_to=%2Fapi%2Fme%3Fx%3D1")
}

func TestSessionRenewsItselfAndEnds(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	same(t, "renewed at once", alice.get("/me").cookie("access_token"), "")
	st.clock.Store(int64(20 * time.Minute))
	same(t, "renewed in the second half", alice.get("/me").want(http.StatusOK).cookie("access_token") != "", true)
	st.clock.Store(int64(13 * 24 * time.Hour))
	same(t, "renewed after days", alice.get("/me").want(http.StatusOK).cookie("access_token") != "", true)
	st.clock.Store(int64(26 * 24 * time.Hour))
	alice.get("/me").want(http.StatusOK)
	// A token in the header is never renewed.
	token := st.tokenOf("alice")
	st.clock.Add(int64(31 * time.Minute))
	v := st.visitor()
	v.header.Set("Authorization", "Bearer "+token)
	v.get("/me").detail(http.StatusUnauthorized, "Invalid or expired token")
	// Idle for longer than the limit.
	st.clock.Add(int64(st.cfg.sessionIdle + time.Hour))
	alice.get("/me").want(http.StatusUnauthorized)
	// Used every week, the session still ends at the absolute limit.
	alice.signIn()
	for range 12 {
		st.clock.Add(int64(7 * 24 * time.Hour))
		alice.get("/me").want(http.StatusOK)
	}
	st.clock.Add(int64(7 * 24 * time.Hour))
	alice.get("/me").want(http.StatusUnauthorized)
}

// tokenOf signs name in anew and returns the token.
func (st *site) tokenOf(name string) string {
	st.t.Helper()
	var got tokenAnswer
	st.visitor().post("/api/login", url.Values{"username": {name}, "password": {testPassword}}).want(http.StatusOK).into(&got)
	return got.AccessToken
}

func TestLogoutEndsTheSession(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	token := st.tokenOf("alice")
	other := st.visitor()
	other.header.Set("Authorization", "Bearer "+token)
	other.get("/me").want(http.StatusOK)
	a := other.get("/logout?redirect=false").want(http.StatusOK)
	for _, name := range []string{"access_token", "username"} {
		same(t, "cleared "+name, strings.Contains(a.cookie(name), "Max-Age=0"), true)
	}
	other.get("/me").want(http.StatusUnauthorized)
	alice.get("/me").want(http.StatusOK)
	same(t, "logout", alice.get("/logout").redirects("/login"), "/login")
	alice.get("/me").detail(http.StatusUnauthorized, "Missing token")
}

func TestInactiveAccountsAreOut(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	st.exec(`update "user" set status = 'inactive'`)
	alice.get("/me").want(http.StatusUnauthorized)
	alice.post("/api/login", url.Values{"username": {"alice"}, "password": {testPassword}}).detail(http.StatusUnauthorized, "Invalid credentials")
}

// exec changes the database past the server, and takes the time that it takes.
func (st *site) exec(sql string, args ...any) {
	st.t.Helper()
	if err := pgx.BeginFunc(st.t.Context(), st.db, func(tx pgx.Tx) error {
		err := untimed(st.t.Context(), tx)
		if err == nil {
			_, err = tx.Exec(st.t.Context(), sql, args...)
		}
		return err
	}); err != nil {
		st.t.Fatal(err)
	}
	st.cache.changed()
}

// count is the one number that a query gives.
func (st *site) count(sql string, args ...any) (n int) {
	st.t.Helper()
	if err := st.db.QueryRow(st.t.Context(), sql, args...).Scan(&n); err != nil {
		st.t.Fatal(err)
	}
	return n
}

func TestSignInTellsNothing(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	wrong := st.visitor().post("/api/login", url.Values{"username": {"alice"}, "password": {"Wrong-1-Password"}}).detail(http.StatusUnauthorized, "Invalid credentials")
	unknown := st.visitor().post("/api/login", url.Values{"username": {"nobody"}, "password": {"Wrong-1-Password"}}).detail(http.StatusUnauthorized, "Invalid credentials")
	same(t, "answers", string(wrong.body), string(unknown.body))
	st.visitor().post("/api/login", url.Values{"username": {"alice"}}).detail(http.StatusUnprocessableEntity, "Password is required")
	same(t, "failures in the log", strings.Count(st.logged.String(), "sign-in failed"), 2)
	if strings.Contains(st.logged.String(), "Wrong-1-Password") {
		t.Fatal("a password is in the log")
	}
}

func TestOldPasswordHashesAreRenewed(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	long := "Aa1" + strings.Repeat("x", 80)
	hash, err := bcrypt.GenerateFromPassword([]byte(long[:72]), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	old := strings.Replace(string(hash), "$2a$", "$2b$", 1)
	st.exec(`update "user" set hashed_password = $1`, old)
	alice.post("/api/login", url.Values{"username": {"alice"}, "password": {"Aa1wrong"}}).want(http.StatusUnauthorized)
	same(t, "untouched by a failure", st.count(`select count(*) from "user" where hashed_password = $1`, old), 1)
	alice.post("/api/login", url.Values{"username": {"alice"}, "password": {long}}).want(http.StatusOK)
	same(t, "argon2id now", st.count(`select count(*) from "user" where hashed_password like '$argon2id$v=19$m=64,t=1,p=1$%'`), 1)
	alice.post("/api/login", url.Values{"username": {"alice"}, "password": {long}}).want(http.StatusOK)
	// From now on every byte counts.
	alice.post("/api/login", url.Values{"username": {"alice"}, "password": {long[:72]}}).want(http.StatusUnauthorized)
}

// A failed sign-in costs the same work whoever it is for: nobody, an account
// with an old hash, one with a new hash, and one that is inactive.
func TestFailedSignInsCostTheSame(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	for _, name := range []string{"older", "newer", "inactive"} {
		st.member(name)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(testPassword), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	st.exec(`update "user" set status = 'inactive' where username = 'inactive'`)
	same(t, "nobody's hash", bcrypt.CompareHashAndPassword([]byte(nobodysHash), []byte("x")), bcrypt.ErrMismatchedHashAndPassword)
	costs, err := bcrypt.Cost([]byte(nobodysHash))
	same(t, "its cost", err == nil && costs == 12 && len(nobodysHash) == len(hash), true)
	var mu sync.Mutex
	work := map[string]int{}
	st.hasher.worked = func(algorithm string) {
		mu.Lock()
		defer mu.Unlock()
		work[algorithm]++
	}
	cost := func(name string) string {
		clear(work)
		st.visitor().post("/api/login", url.Values{"username": {name}, "password": {"Wrong-1-Password"}}).want(http.StatusUnauthorized)
		return fmt.Sprint(work)
	}
	for _, name := range []string{"newer", "inactive", "nobody"} {
		same(t, "without old hashes: "+name, cost(name), "map[argon2id:1]")
	}
	st.exec(`update "user" set hashed_password = $1 where username = 'older'`, string(hash))
	for _, name := range []string{"older", "newer", "inactive", "nobody"} {
		same(t, "with an old hash: "+name, cost(name), "map[argon2id:1 bcrypt:1]")
	}
}

// The hash was made by the reference implementation's Python binding.
func TestArgon2idAgainstTheReference(t *testing.T) {
	t.Parallel()
	const hash = "$argon2id$v=19$m=128,t=3,p=1$c29tZXNhbHQxMjM0NTY3OA$n0ZOo/VvqFJRoLOTZrvL5gBbOtP+tjuVxAYhb1Fu044"
	h := newHasher(64, 1)
	ok, outdated, err := h.verify(t.Context(), "password", hash)
	same(t, "right password", ok && outdated && err == nil, true)
	ok, _, _ = h.verify(t.Context(), "Password", hash)
	same(t, "wrong password", ok, false)
	for _, unknown := range []string{"", "x", "$argon2id$v=19$other$a$b", "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$AAAA", "$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$AAAA"} {
		ok, _, err = h.verify(t.Context(), "password", unknown)
		same(t, "fits "+unknown, ok || err != nil, false)
	}
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	for _, way := range []struct{ method, path, field, wrong string }{
		{http.MethodPost, "/api/me/password", "current_password", "Current password is incorrect"},
		{http.MethodPatch, "/api/me/password", "current_password", "Current password is incorrect"},
		{http.MethodPost, "/accounts/reset-password", "old_password", "Incorrect password"},
	} {
		t.Run(way.method+way.path, func(t *testing.T) {
			t.Parallel()
			st := newSite(t)
			alice, elsewhere := st.member("alice"), st.visitor()
			elsewhere.name = "alice"
			elsewhere.signIn()
			const next = "Another-Horse-8"
			alice.do(way.method, way.path, map[string]any{way.field: "Wrong-Horse-7", "new_password": next}).detail(http.StatusBadRequest, way.wrong)
			alice.do(way.method, way.path, map[string]any{way.field: testPassword, "new_password": "weak"}).
				detail(http.StatusUnprocessableEntity, "Password must have at least 8 characters; Password must have an upper-case letter; Password must have a digit")
			alice.do(way.method, way.path, map[string]any{way.field: testPassword, "new_password": next}).want(http.StatusOK)
			alice.get("/me").want(http.StatusOK)
			elsewhere.get("/me").want(http.StatusUnauthorized)
			alice.post("/api/login", url.Values{"username": {"alice"}, "password": {testPassword}}).want(http.StatusUnauthorized)
			alice.post("/api/login", url.Values{"username": {"alice"}, "password": {next}}).want(http.StatusOK)
			same(t, "audit rows", st.count(`select count(*) from accountlog where action = 'password_changed' and ip_address = '127.0.0.1'`), 1)
			same(t, "passwords in the audit log", st.count(`select count(*) from accountlog a where a::text like '%Horse%' or a::text like '%argon%'`), 0)
		})
	}
}

func TestLimitsOnSignInAndRegistration(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) {
		c.testing = false
		c.trustedProxies = mustPrefixes(t, "127.0.0.0/8")
	})
	st.stopClock()
	v := st.visitor()
	v.header.Set("X-Forwarded-For", "203.0.113.5")
	for range 5 {
		v.post("/api/login", url.Values{"username": {"x"}, "password": {"y"}}).want(http.StatusUnauthorized)
	}
	a := v.post("/auth/login", url.Values{"username": {"x"}, "password": {"y"}}).detail(http.StatusTooManyRequests, "try again in 12 seconds")
	same(t, "Retry-After", a.header.Get("Retry-After"), "12")
	// Another address is not concerned, and the operator's own requests aren't either.
	other := st.visitor()
	other.header.Set("X-Forwarded-For", "203.0.113.6")
	other.post("/api/login", url.Values{"username": {"z"}, "password": {"y"}}).want(http.StatusUnauthorized)
	v.header.Set(operatorHeader, operatorToken(st.cfg.secretKey, time.Now()))
	v.post("/api/login", url.Values{"username": {"z"}, "password": {"y"}}).want(http.StatusUnauthorized)
	v.header.Set(operatorHeader, operatorToken([]byte("somebody else's key, 32 characters long"), time.Now()))
	v.post("/api/login", url.Values{"username": {"x"}, "password": {"y"}}).want(http.StatusTooManyRequests)
	v.header.Del(operatorHeader)
	st.clock.Add(int64(12 * time.Second))
	v.post("/api/login", url.Values{"username": {"z"}, "password": {"y"}}).want(http.StatusUnauthorized)
	for i := range 3 {
		v.post("/accounts/register", map[string]any{"username": fmt.Sprint("person", i), "firstname": "P", "lastname": "", "email": fmt.Sprintf("p%d@example.com", i), "password": testPassword}).want(http.StatusCreated)
	}
	// What is mistyped does not count, and an account that is there does.
	v.post("/api/register", map[string]any{}).want(http.StatusUnprocessableEntity)
	v.post("/api/register", registration("another")).detail(http.StatusTooManyRequests, "20 minutes")
	st.clock.Add(int64(20 * time.Minute))
	v.post("/accounts/register", with(registration("another"), "username", "person1")).want(http.StatusBadRequest)
	v.post("/accounts/register", registration("another")).want(http.StatusTooManyRequests)
}
