package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func credentials(name, password string) url.Values {
	return url.Values{"username": {name}, "password": {password}}
}

const wrongPassword = "Wrong-Horse-7"

// fail signs in with a wrong password n times.
func (p *person) failSignIn(name string, n int) {
	p.t.Helper()
	for range n {
		p.post("/api/login", credentials(name, wrongPassword)).detail(http.StatusUnauthorized, "Invalid credentials")
	}
}

func TestLockout(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	stranger := st.visitor()
	// A name that nobody has is locked in the same way, and with the same words.
	for _, name := range []string{"alice", "Nobody"} {
		stranger.failSignIn(name, 4)
		stranger.failSignIn(strings.ToUpper(name), 1)
	}
	var answers []string
	for _, name := range []string{"alice", "nobody"} {
		a := stranger.post("/api/login", credentials(name, testPassword)).detail(http.StatusTooManyRequests, "try again in 15 minutes")
		same(t, "Retry-After", a.header.Get("Retry-After") >= "899" && a.header.Get("Retry-After") <= "901", true)
		answers = append(answers, string(a.body))
	}
	same(t, "answers", answers[0], answers[1])
	// Being locked does not lengthen the lock, and it is in the database.
	st.clock.Add(int64(15*time.Minute + time.Second))
	stranger.post("/api/login", credentials("alice", wrongPassword)).want(http.StatusUnauthorized)
	stranger.post("/api/login", credentials("alice", testPassword)).detail(http.StatusTooManyRequests, "30 minutes")
	for hours := range 9 {
		st.clock.Add(int64(25 * time.Hour))
		stranger.post("/api/login", credentials("alice", wrongPassword)).want(http.StatusUnauthorized)
		a := stranger.post("/api/login", credentials("alice", testPassword)).want(http.StatusTooManyRequests)
		if hours == 8 {
			a.detail(http.StatusTooManyRequests, "1440 minutes")
		}
	}
	// The owner's browser has a count of its own.
	alice.post("/api/login", credentials("alice", testPassword)).want(http.StatusOK)
	stranger.post("/api/login", credentials("alice", testPassword)).want(http.StatusTooManyRequests)
	alice.failSignIn("alice", 5)
	alice.post("/api/login", credentials("alice", testPassword)).want(http.StatusTooManyRequests)
	st.errands.Wait()
	same(t, "locks in the history", st.count(`select count(*) from accountlog where action = 'locked'`) > 9, true)
	same(t, "passwords in the history", st.count(`select count(*) from accountlog a where a::text ilike '%horse%'`), 0)
	// After two quiet days everything is forgotten.
	st.clock.Add(int64(73 * time.Hour))
	stranger.failSignIn("alice", 4)
	stranger.post("/api/login", credentials("alice", testPassword)).want(http.StatusOK)
	// Signing in starts the count anew.
	st.visitor().failSignIn("alice", 4)
	st.visitor().post("/api/login", credentials("alice", testPassword)).want(http.StatusOK)
	st.visitor().failSignIn("alice", 4)
	st.visitor().post("/api/login", credentials("alice", testPassword)).want(http.StatusOK)
}

// However many guesses come at once, only five are tried.
func TestManyGuessesAtOnce(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	tried := make(chan string, 1000)
	st.hasher.worked = func(algorithm string) { tried <- algorithm }
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			a := st.visitor().post("/api/login", credentials("alice", fmt.Sprint("Guess-Number-", i)))
			if a.status != http.StatusUnauthorized && a.status != http.StatusTooManyRequests {
				t.Errorf("answered %d: %s", a.status, a.body)
			}
		})
	}
	all.Wait()
	same(t, "passwords that were tried", len(tried), freeFailures)
}

// Nobody but the owner's browser can have its cookie, and it gives no access.
func TestDeviceCookie(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	name := deviceCookie(st.count(`select id from "user" where username = 'alice'`))
	line := alice.post("/api/login", credentials("alice", testPassword)).cookie(name)
	same(t, "HttpOnly", strings.Contains(line, "HttpOnly"), true)
	value, _, _ := strings.Cut(strings.TrimPrefix(line, name+"="), ";")
	v := st.visitor()
	v.header.Set("Cookie", name+"="+value)
	v.get("/me").detail(http.StatusUnauthorized, "Missing token")
	st.visitor().failSignIn("alice", 5)
	for _, forged := range []string{"x." + strings.Repeat("0", 64), value + "0", "y" + value, "", "."} {
		v.header.Set("Cookie", name+"="+forged)
		v.post("/api/login", credentials("alice", testPassword)).want(http.StatusTooManyRequests)
	}
	// Bob's cookie is good for bob alone.
	bob.post("/api/login", credentials("alice", testPassword)).want(http.StatusTooManyRequests)
	v.header.Set("Cookie", name+"="+value)
	v.post("/api/login", credentials("alice", testPassword)).want(http.StatusOK)
}

func TestSessions(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	phone := st.member("alice")
	laptop := st.visitor()
	laptop.header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	laptop.post("/api/login", credentials("alice", testPassword)).want(http.StatusOK)
	type shape struct {
		ID, Device string
		IPAddress  string    `json:"ip_address"`
		CreatedAt  time.Time `json:"created_at"`
		LastSeenAt time.Time `json:"last_seen_at"`
		Current    bool
	}
	var list []shape
	laptop.get("/api/me/sessions").want(http.StatusOK).into(&list)
	same(t, "sessions", len(list), 2)
	same(t, "this one first", list[0].Current && !list[1].Current, true)
	same(t, "device", list[0].Device, "Firefox on Linux")
	same(t, "address", list[0].IPAddress, "127.0.0.1")
	// Nobody else can end it, or learn that it is there.
	bob := st.member("bob")
	bob.delete("/api/me/sessions/"+list[1].ID).detail(http.StatusNotFound, "Session not found")
	bob.delete("/api/me/sessions/nonsense").want(http.StatusNotFound)
	laptop.delete("/api/me/sessions/" + list[1].ID).want(http.StatusNoContent)
	phone.get("/me").want(http.StatusUnauthorized)
	phone.signIn()
	st.visitor().post("/api/login", credentials("alice", testPassword)).want(http.StatusOK)
	laptop.delete("/api/me/sessions").want(http.StatusNoContent)
	phone.get("/me").want(http.StatusUnauthorized)
	laptop.get("/api/me/sessions").into(&list)
	same(t, "the one that is left", len(list) == 1 && list[0].Current, true)
	bob.get("/me").want(http.StatusOK)
	// The page does the same.
	phone.signIn()
	laptop.page("/account/sessions").want(http.StatusOK).shows("Firefox on Linux", "This one", "Sign out all others")
	laptop.submit("/account/sessions/end", nil).redirects("/account")
	phone.get("/me").want(http.StatusUnauthorized)
}

// A session that somebody had planted in a browser ends when its owner signs
// in there, and the new one is another.
func TestSessionsAreNotFixed(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	mallory := st.member("mallory")
	token := st.tokenOf("mallory")
	st.member("alice")
	victim := st.visitor()
	victim.header.Set("Cookie", `access_token="Bearer `+token+`"`)
	same(t, "planted", victim.get("/me").fields()["username"], any("mallory"))
	fresh := victim.post("/api/login", credentials("alice", testPassword)).want(http.StatusOK).cookie("access_token")
	same(t, "another token", strings.Contains(fresh, token), false)
	planted := st.visitor()
	planted.header.Set("Authorization", "Bearer "+token)
	planted.get("/me").want(http.StatusUnauthorized)
	mallory.get("/me").want(http.StatusOK)
}

func TestDeviceNames(t *testing.T) {
	t.Parallel()
	for agent, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":              "Edge on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1":    "Safari on iPhone",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                      "Safari on macOS",
		"Mozilla/5.0 (Linux; Android 15; SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36": "Samsung Internet on Android",
		"curl/8.5.0": "Curl", "": "Unknown device", "x": "Unknown device",
	} {
		same(t, agent, deviceName(agent), want)
	}
}

// With required confirmation somebody can look around and put their account in
// order, and publish nothing.
func TestLogoutEndsEverySessionOfTheRequest(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	one, two := st.tokenOf("alice"), st.tokenOf("alice")
	v := st.visitor()
	v.header.Set("Cookie", `access_token="Bearer `+one+`"; access_token="Bearer `+two+`"`)
	v.get("/logout?redirect=false").want(http.StatusOK)
	for _, token := range []string{one, two} {
		p := st.visitor()
		p.header.Set("Authorization", "Bearer "+token)
		p.get("/me").want(http.StatusUnauthorized)
	}
}

func TestWeakPasswords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ password, want string }{
		{"Password1", "everybody guesses"}, {"Qwerty123", "everybody guesses"}, {"Passw0rd", "everybody guesses"}, {"Welcome2024!", "everybody guesses"},
		{"1q2w3e4R", "everybody guesses"}, {"Sunshine#1", "everybody guesses"},
		{"xxAda_Lovelace9", "username or e-mail"}, {"Ada_lovelace9", "username or e-mail"}, {"Countess-12x", "username or e-mail"},
		{"Correct-Horse-7", ""}, {"Zwölf Boxkämpfer 12", ""}, {"Analytical-Engine1", ""},
	} {
		got := strings.Join(weaknesses(c.password, "ada_lovelace", "countess@example.com"), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.password, got)
		}
	}
	lines := strings.Split(strings.TrimSuffix(commonPasswords, "\n"), "\n")
	for i, line := range lines {
		if i > 0 && lines[i-1] >= line {
			t.Fatalf("the list is not sorted at %q", line)
		}
		if i%97 == 0 && !listed(commonPasswords, line) {
			t.Fatalf("%q is not found", line)
		}
	}
	for _, line := range []string{lines[0], lines[len(lines)-1]} {
		same(t, line, listed(commonPasswords, line), true)
	}
	for _, line := range []string{"", "!", "zzzzzzzzzzzz", "password\n", lines[0] + "x"} {
		same(t, "not in the list: "+line, listed(commonPasswords, line), false)
	}
	st := newSite(t)
	st.visitor().post("/accounts/register", with(registration("lovelace"), "password", "My-Lovelace-1")).detail(http.StatusUnprocessableEntity, "must not contain your username")
}

// statements counts what a server asks its database.
type statements struct {
	mu   sync.Mutex
	list []string
}

func (c *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, data.SQL)
	return ctx
}
func (c *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (c *statements) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.Join(c.list, "\n")
	c.list = nil
	return text
}

// For a name that nobody has, the same statements run and the same hashes are
// computed as for one that somebody has, and the answer is the same.
func TestStrangersCostTheSame(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	st.errands.Wait()
	counter := &statements{}
	cfg := st.db.Config()
	cfg.ConnConfig.Tracer = counter
	traced, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(traced.Close)
	st.server.db = traced
	var hashes atomic.Int64
	st.hasher.worked = func(string) { hashes.Add(1) }
	for _, c := range []struct {
		what, path string
		body       func(name string) any
		times      int
	}{
		// The fifth failure locks; what follows from that is done after the answer.
		{"sign in", "/api/login", func(name string) any { return credentials(name, wrongPassword) }, 7},
		{"code", "/api/reset-password", func(name string) any {
			return map[string]any{"username": name, "reset_code": "ABCDEFGH", "new_password": "Brand-New-9"}
		}, 7},
	} {
		var seen [2][]string
		for i, name := range []string{"alice", "nobody"} {
			for range c.times {
				counter.take()
				hashes.Store(0)
				// The errands are held up until the answer is there.
				release := st.holdErrands()
				a := st.visitor().post(c.path, c.body(name))
				seen[i] = append(seen[i], fmt.Sprint(a.status, string(a.body), hashes.Load(), counter.take()))
				release()
				st.errands.Wait()
			}
		}
		for n := range seen[0] {
			same(t, fmt.Sprintf("%s, time %d", c.what, n+1), seen[1][n], seen[0][n])
		}
	}
	// A forgotten password is not even looked up before the answer.
	for _, email := range []string{"alice@example.com", "nobody@example.com"} {
		counter.take()
		release := st.holdErrands()
		st.visitor().post("/api/password/forgot", map[string]any{"email": email}).want(http.StatusOK)
		same(t, "statements for "+email, counter.take(), "")
		release()
		st.errands.Wait()
	}
}

// holdErrands makes errands wait until release is called.
func (st *site) holdErrands() (release func()) {
	st.errandsMayRun.Lock()
	return st.errandsMayRun.Unlock
}

// Only who knows the password of a deactivated account learns that it is, and
// that is no failed attempt.
func TestDeactivated(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.contactAddress = "help@example.com" })
	st.member("alice")
	st.exec(`update "user" set status = 'inactive'`)
	before := len(st.lettersTo("alice@example.com"))
	v := st.visitor()
	for range 7 {
		v.submit("/login", credentials("alice", testPassword)).want(http.StatusUnauthorized).shows("This account is deactivated", "help@example.com")
		v.post("/api/login", credentials("alice", testPassword)).detail(http.StatusUnauthorized, "Invalid credentials")
	}
	same(t, "letters", len(st.lettersTo("alice@example.com")), before)
	for range 5 {
		v.submit("/login", credentials("alice", wrongPassword)).want(http.StatusUnauthorized).hides("deactivated").shows("do not fit together")
	}
	known := v.submit("/login", credentials("alice", testPassword)).want(http.StatusTooManyRequests).shows("a link that unlocks it")
	v.submit("/login", credentials("nobody", wrongPassword))
	for range 4 {
		v.submit("/login", credentials("nobody", wrongPassword))
	}
	unknown := v.submit("/login", credentials("nobody", wrongPassword)).want(http.StatusTooManyRequests)
	same(t, "tells nothing", string(unknown.body), strings.ReplaceAll(string(known.body), `value="alice"`, `value="nobody"`))
}

// A new password is another one, on every way to set it.
func TestTheOldPasswordIsNoNewOne(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, root := st.member("alice"), st.admin("root")
	const says = "New password must not be the old one"
	alice.post("/api/me/password", map[string]any{"current_password": testPassword, "new_password": testPassword}).detail(http.StatusUnprocessableEntity, says)
	alice.submit("/account/change-password", url.Values{"current_password": {testPassword}, "new_password": {testPassword}}).
		want(http.StatusUnprocessableEntity).shows(`href="#password-new_password">` + says)
	var given struct {
		ResetCode string `json:"reset_code"`
	}
	root.post(fmt.Sprintf("/api/admin/users/%d/reset-code", st.idOf("alice")), nil).into(&given)
	for _, c := range []struct {
		password string
		status   int
	}{{testPassword, http.StatusUnprocessableEntity}, {"Brand-New-9", http.StatusOK}} {
		alice.post("/api/reset-password", map[string]any{"username": "alice", "reset_code": given.ResetCode, "new_password": c.password}).want(c.status)
	}
	alice.post("/api/password/forgot", map[string]any{"email": "alice@example.com"}).want(http.StatusOK)
	token := st.tokenTo("alice@example.com", "/reset-password")
	alice.post("/api/password/reset", map[string]any{"token": token, "new_password": "Brand-New-9"}).detail(http.StatusUnprocessableEntity, says)
	alice.post("/api/password/reset", map[string]any{"token": token, "new_password": testPassword}).want(http.StatusOK)
}

// The pages say why they are shown, and lead on.
func TestWordsOfSigningIn(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	st.visitor().page("/login?error=session_expired").shows("Please sign in to go on.").hides("session has ended")
	st.exec(`delete from session`)
	same(t, "without what was done", alice.page("/account/data?saved=x&done=y&z=1").redirects("/login"), "/login?error=session_expired&return_to="+url.QueryEscape("/account/data?z=1"))
	alice.page("/login?error=session_expired").shows("Your session has ended.")
	alice.signIn()
	alice.page("/register").shows("You are signed in as <strong>alice</strong> already", "Your name is public")
	// The focus is on what is wrong, where no field is.
	st.visitor().submit("/login", credentials("alice", wrongPassword)).shows(`role="alert" tabindex="-1" autofocus`)
	st.visitor().submit("/register", url.Values{}).shows(`role="alert" tabindex="-1">`, `aria-invalid="true" autofocus`)

	// A link that was followed says so; of one for another account somebody hears whose they are.
	link := st.linkTo("alice@example.com", "/verify-email")
	bob := st.member("bob")
	bob.page(link).want(http.StatusOK).shows("signed in as <strong>bob</strong>, which is another account")
	bob.page("/login?return_to=" + url.QueryEscape(link)).shows("sign in with the account that it belongs to").hides(">Go on<")
	alice.submit("/verify-email", url.Values{"token": {strings.TrimPrefix(link, "/verify-email?token=")}}).redirects("/account")
	for _, p := range []*person{alice, bob, st.visitor()} {
		p.page(link).want(http.StatusOK).shows("confirmed already").hides("notice bad", "@example.com")
		p.submit("/verify-email", url.Values{"token": {strings.TrimPrefix(link, "/verify-email?token=")}}).want(http.StatusOK).shows("confirmed already")
	}
	st.visitor().page("/verify-email?token=x").want(http.StatusBadRequest)

	// Choosing a forgotten password keeps the way back.
	v := st.visitor()
	v.page("/login?return_to=/projects/new").shows(`href="/forgot-password?return_to=%2Fprojects%2Fnew"`)
	v.page("/forgot-password?return_to=/projects/new").want(http.StatusOK)
	v.submit("/forgot-password", url.Values{"email": {"alice@example.com"}})
	token := st.tokenTo("alice@example.com", "/reset-password")
	to := v.submit("/reset-password", url.Values{"token": {token}, "new_password": {"Brand-New-9"}, "confirm_password": {"Brand-New-9"}}).redirects("/login")
	same(t, "back", to, "/login?reset=success&return_to=%2Fprojects%2Fnew")
}
