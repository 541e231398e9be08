package main

import (
	"encoding/base32"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// RFC 6238, appendix B, the last six of its eight digits.
func TestTOTPVectors(t *testing.T) {
	t.Parallel()
	secret := []byte("12345678901234567890")
	for unix, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		same(t, want, totpCode(secret, unix/totpPeriod), want)
		for _, drift := range []int64{-30, 0, 30} {
			_, ok := totpStep(secret, want, time.Unix(unix+drift, 0))
			same(t, "one step of drift", ok, true)
		}
		for _, drift := range []int64{60, 90} {
			_, ok := totpStep(secret, want, time.Unix(unix+drift, 0))
			same(t, "two steps of drift", ok, false)
		}
	}
}

// The same codes as oathtool's.
func TestTOTPAgainstOathtool(t *testing.T) {
	t.Parallel()
	needProgram(t, "oathtool")
	secret := []byte("a secret of 20 bytes")
	for _, when := range []string{"2026-11-22 12:00:00 UTC", "2033-05-18 03:33:20 UTC"} {
		out, err := exec.Command("oathtool", "--totp", "--now="+when, "-b", base32.StdEncoding.EncodeToString(secret)).Output()
		if err != nil {
			t.Fatal(err)
		}
		at, _ := time.Parse("2006-01-02 15:04:05 MST", when)
		same(t, when, totpCode(secret, at.Unix()/totpPeriod), strings.TrimSpace(string(out)))
	}
}

// needProgram skips a test where a program is missing, and fails it in CI.
func needProgram(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// enrol switches two factors on and returns the secret and the backup codes.
func (p *person) enrol() (secret []byte, backup []string) {
	p.t.Helper()
	var begun struct {
		Secret     string
		OtpauthURL string `json:"otpauth_url"`
		QRSVG      string `json:"qr_svg"`
	}
	p.post("/api/me/totp", nil).want(http.StatusOK).into(&begun)
	secret, err := base32.StdEncoding.DecodeString(begun.Secret)
	if err != nil {
		p.t.Fatal(err)
	}
	u, err := url.Parse(begun.OtpauthURL)
	if err != nil || u.Query().Get("secret") != begun.Secret || u.Path != "/Test Site:"+p.name || u.Query().Get("issuer") != "Test Site" || !strings.HasPrefix(begun.QRSVG, "<svg") {
		p.t.Fatalf("%s %v", begun.OtpauthURL, err)
	}
	var done struct {
		BackupCodes []string `json:"backup_codes"`
	}
	p.post("/api/me/totp/confirm", map[string]any{"code": p.code(secret)}).want(http.StatusOK).into(&done)
	same(p.t, "backup codes", len(done.BackupCodes), 10)
	return secret, done.BackupCodes
}

// code is the code of the moment; each is for one use, so that the clock goes
// on a step.
func (st *site) code(secret []byte) string {
	st.clock.Add(int64(totpPeriod * time.Second))
	return totpCode(secret, st.now().Unix()/totpPeriod)
}

func TestTwoFactors(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	alice.post("/api/me/totp/confirm", map[string]any{"code": "123456"}).detail(http.StatusBadRequest, "nothing to confirm")
	alice.post("/api/me/totp", nil).want(http.StatusOK)
	alice.post("/api/me/totp/confirm", map[string]any{"code": "abc"}).detail(http.StatusBadRequest, "not the one")
	// Until it is confirmed, nothing is asked for.
	alice.post("/api/login", credentials("alice", testPassword)).want(http.StatusOK)
	secret, backup := alice.enrol()
	alice.post("/api/me/totp", nil).detail(http.StatusBadRequest, "on already")
	same(t, "shown", alice.get("/api/me").fields()["two_factor"], any(true))

	v := st.visitor()
	login := func(totp string) *answer {
		form := credentials("alice", testPassword)
		if totp != "" {
			form.Set("totp", totp)
		}
		return v.post("/api/login", form)
	}
	same(t, "code", login("").detail(http.StatusUnauthorized, "authenticator app").fields()["code"], any("totp_required"))
	wrong := credentials("alice", wrongPassword)
	wrong.Set("totp", st.code(secret))
	v.post("/api/login", wrong).detail(http.StatusUnauthorized, "Invalid credentials")
	code := st.code(secret)
	login(code).want(http.StatusOK)
	same(t, "a second time", login(code).want(http.StatusUnauthorized).fields()["code"], any("totp_invalid"))
	login(backup[0]).want(http.StatusOK)
	login(backup[0]).want(http.StatusUnauthorized)
	login(strings.ToLower(strings.ReplaceAll(backup[1], "-", " "))).want(http.StatusOK)
	// Guessing codes locks, and asking for one in between does not help.
	guesser := st.visitor()
	for i := range 5 {
		form := credentials("alice", testPassword)
		guesser.post("/api/login", form).want(http.StatusUnauthorized)
		form.Set("totp", "00000"+string(rune('0'+i)))
		guesser.post("/api/login", form).want(http.StatusUnauthorized)
	}
	guesser.post("/api/login", credentials("alice", testPassword)).want(http.StatusTooManyRequests)
	// Nothing secret is readable in the database.
	text := base32.StdEncoding.EncodeToString(secret)
	same(t, "secret at rest", st.count(`select count(*) from "user" u where u::text ilike '%' || $1 || '%' or position($2 in totp_secret) > 0`, text, secret), 0)
	same(t, "backup codes at rest", st.count(`select count(*) from backup_code where hash in (convert_to($1, 'UTF8'), sha256(convert_to($1, 'UTF8')))`, backup[2]), 0)
	same(t, "history", st.count(`select count(*) from accountlog where action in ('totp_enabled', 'backup_code_used')`), 3)

	// New backup codes, then off; both need both.
	alice.post("/api/me/totp/backup-codes", map[string]any{"password": testPassword, "code": "000000"}).detail(http.StatusBadRequest, "Code is wrong")
	var renewed struct {
		BackupCodes []string `json:"backup_codes"`
	}
	alice.post("/api/me/totp/backup-codes", map[string]any{"password": testPassword, "code": st.code(secret)}).want(http.StatusOK).into(&renewed)
	login(backup[3]).want(http.StatusUnauthorized)
	alice.do(http.MethodDelete, "/api/me/totp", map[string]any{"password": wrongPassword, "code": st.code(secret)}).detail(http.StatusBadRequest, "Password is incorrect")
	alice.do(http.MethodDelete, "/api/me/totp", map[string]any{"password": testPassword}).detail(http.StatusUnprocessableEntity, "Code is required")
	alice.do(http.MethodDelete, "/api/me/totp", map[string]any{"password": testPassword, "code": renewed.BackupCodes[0]}).want(http.StatusNoContent)
	login("").want(http.StatusOK)
	same(t, "nothing is left", st.count(`select count(*) from backup_code`)+st.count(`select count(*) from "user" where totp_secret is not null`), 0)
}

// Of the same code at once from many sides, one gets in.
func TestACodeIsForOneUse(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	secret, backup := alice.enrol()
	for _, code := range []string{st.code(secret), backup[0]} {
		in := make(chan int, 4)
		for range 4 {
			go func() {
				form := credentials("alice", testPassword)
				form.Set("totp", code)
				in <- alice.post("/api/login", form).status
			}()
		}
		signedIn := 0
		for range 4 {
			if <-in == http.StatusOK {
				signedIn++
			}
		}
		same(t, "sign-ins with one code", signedIn, 1)
		st.exec(`delete from failed_attempt`)
	}
}

func TestSecondStepOfTheLoginPage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	secret, _ := st.member("alice").enrol()
	v := st.visitor()
	form := credentials("alice", testPassword)
	form.Set("return_to", "/projects/new")
	page := string(v.submit("/login", form).want(http.StatusOK).shows("Two-factor sign-in", "one-time-code").hides(testPassword).body)
	ticket := between(t, page, `name="ticket" value="`, `"`)
	v.page("/account").redirects("/login")
	second := url.Values{"ticket": {ticket}, "totp": {"000000"}, "return_to": {"/projects/new"}}
	v.submit("/login", second).want(http.StatusUnauthorized).shows("wrong or was used", ticket)
	for _, forged := range []string{"x", strings.Replace(ticket, ".", ".x", 1), st.tokenOfLogin("alice", secret)} {
		v.submit("/login", url.Values{"ticket": {forged}, "totp": {st.code(secret)}}).want(http.StatusUnauthorized).shows("sign in again")
	}
	v.post("/api/login", url.Values{"ticket": {ticket}, "totp": {st.code(secret)}}).want(http.StatusUnprocessableEntity)
	second.Set("totp", st.code(secret))
	same(t, "the way on", v.submit("/login", second).redirects("/"), "/projects/new")
	v.get("/me").want(http.StatusOK)
	// A ticket is not for ever, and not for another password.
	late := st.visitor()
	page = string(late.submit("/login", credentials("alice", testPassword)).want(http.StatusOK).body)
	ticket = between(t, page, `name="ticket" value="`, `"`)
	st.clock.Add(int64(ticketLife))
	late.submit("/login", url.Values{"ticket": {ticket}, "totp": {st.code(secret)}}).want(http.StatusUnauthorized).shows("took too long")
	page = string(late.submit("/login", credentials("alice", testPassword)).want(http.StatusOK).body)
	ticket = between(t, page, `name="ticket" value="`, `"`)
	v.post("/api/me/password", map[string]any{"current_password": testPassword, "new_password": "Another-Horse-8"}).want(http.StatusOK)
	late.submit("/login", url.Values{"ticket": {ticket}, "totp": {st.code(secret)}}).want(http.StatusUnauthorized).shows("has changed")
}

// tokenOfLogin is a token for the API, signed with the right key for another purpose.
func (st *site) tokenOfLogin(name string, secret []byte) string {
	st.t.Helper()
	form := credentials(name, testPassword)
	form.Set("totp", st.code(secret))
	var got tokenAnswer
	st.visitor().post("/api/login", form).want(http.StatusOK).into(&got)
	return got.AccessToken
}

// between is the text of a page between two others.
func between(t testing.TB, page, before, after string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, before)
	text, _, ended := strings.Cut(rest, after)
	if !found || !ended {
		t.Fatalf("no %s…%s in %s", before, after, truncate(page, 3000))
	}
	return text
}

func TestRequiredTwoFactors(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.require2FA = "admins" })
	alice, bob := st.admin("alice"), st.member("bob")
	bob.post("/interact/like", map[string]any{"url": "a"}).want(http.StatusOK)
	same(t, "code", alice.post("/interact/like", map[string]any{"url": "a"}).detail(http.StatusForbidden, "two-factor sign-in").fields()["code"], any("totp_setup_required"))
	same(t, "a page", alice.page("/admin").redirects("/account"), "/account/two-factor")
	alice.page("/").redirects("/account/two-factor")
	same(t, "reading", alice.get("/interact/likes/a").want(http.StatusOK).fields()["user_has_liked"], any(false))
	alice.get("/api/me").want(http.StatusOK)
	page := string(alice.page("/account/two-factor").want(http.StatusOK).shows("needs two-factor sign-in", "<svg").body)
	key := strings.ReplaceAll(between(t, page, "Key: <code>", "</code>"), " ", "")
	same(t, "the key stays while it is set up", strings.Contains(string(alice.page("/account/two-factor").body), "secret="+key), true)
	secret, err := base32.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	alice.submit("/account/two-factor/confirm", url.Values{"code": {"000000"}}).want(http.StatusBadRequest).shows("Is the clock of your phone right?")
	alice.submit("/account/two-factor/confirm", url.Values{"code": {st.code(secret)}}).want(http.StatusOK).shows("backup codes", `href="data:text/plain;charset=utf-8,`, `download="backup-codes.txt"`)
	alice.page("/admin").want(http.StatusOK)
	alice.page("/account/two-factor").shows("10 backup codes left", "can't be switched off")
	alice.do(http.MethodDelete, "/api/me/totp", map[string]any{"password": testPassword, "code": st.code(secret)}).detail(http.StatusForbidden, "required here")
}

// The QR code on the page is read by a real scanner.
func TestEnrolmentCodeIsScannable(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	e, err := st.enrol(t.Context(), viewer{ID: st.member("alice").get("/api/me").id(), Username: "alice"}, false)
	if err != nil {
		t.Fatal(err)
	}
	symbol, err := qrCode(e.OtpauthURL)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "scanned", decodeQR(t, [][][]bool{symbol})[0], e.OtpauthURL)
}
