package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"sync"
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

// raw sends a request as it stands, and returns the answer as it came.
func (st *site) raw(request string) string {
	st.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(st.url, "http://"))
	must(st.t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, request)
	must(st.t, err)
	all, err := io.ReadAll(conn)
	must(st.t, err)
	return string(all)
}

// What a request says of its host is nowhere in an answer, a letter or a feed:
// addresses come from PUBLIC_URL.
func TestHostsOfRequestsAreNotBelieved(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	project := alice.published("Robot")
	alice.comment("a", "Hello", 0)
	ask := func(method, path, body string) string {
		t.Helper()
		return st.raw(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: ftp\r\nX-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\nForwarded: host=evil.example\r\n"+
			"Accept: text/html\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body))
	}
	for _, path := range []string{"/", "/projects", fmt.Sprintf("/projects/%d", project), fmt.Sprintf("/api/projects/%d", project), "/feeds/comments.atom", "/feeds/projects.atom", "/sitemap.xml", "/robots.txt", "/openapi.json", "/docs",
		"/login", "/account", "/manifest.webmanifest", "/embed.js", "/nowhere", "//projects", "/projects/", "/thread?url=a", "http://evil.example/projects", fmt.Sprintf("/p/bob/%d-x", project)} {
		if a := ask(http.MethodGet, path, ""); strings.Contains(a, "evil.example") || strings.Contains(a, "ftp:") || !strings.HasPrefix(a, "HTTP/1.1 ") {
			t.Errorf("%s is answered with the host of the request:\n%s", path, truncate(a, 2000))
		}
	}
	ask(http.MethodPost, "/accounts/register", `{"username": "carol", "firstname": "C", "lastname": "D", "email": "carol@example.com", "password": "`+testPassword+`"}`)
	ask(http.MethodPost, "/api/password/forgot", `{"email": "alice@example.com"}`)
	st.errands.Wait()
	for _, address := range []string{"carol@example.com", "alice@example.com"} {
		letters := strings.Join(st.lettersTo(address), "\n")
		same(t, "letters to "+address, strings.Contains(letters, st.cfg.publicURL+"/") && !strings.Contains(letters, "evil"), true)
	}
}

// Nothing that a request says begins a line of the log, a header or an answer of
// its own, or reaches the terminal of who reads the log.
func TestNothingIsInjectedIntoHeadersAndTheLog(t *testing.T) {
	t.Parallel()
	for _, inJSON := range []bool{false, true} {
		st := newSite(t)
		if inJSON {
			st.log = slog.New(slog.NewJSONHandler(st.logged, nil))
		}
		const forged = "time=2026-01-01T00:00:00Z level=INFO msg=forged"
		hostile := "x\r\n" + forged + "\r\nSet-Cookie: evil=1\r\n\r\n<script>\x1b[2J\x1b]0;owned\x07\u2028\u0085"
		q := url.QueryEscape(hostile)
		v := st.visitor()
		v.get("/" + url.PathEscape(hostile))
		v.page("/account?" + q)
		v.page("/login?return_to=" + url.QueryEscape("/"+hostile) + "&error=" + q)
		v.page("/logout?redirect=" + q)
		v.submit("/login", url.Values{"username": {hostile}, "password": {hostile}, "return_to": {"/" + hostile}})
		v.post("/api/login", map[string]any{"username": hostile, "password": hostile})
		alice := st.member("alice")
		id := alice.published(hostile)
		alice.post(fmt.Sprintf("/api/projects/%d/files", id), form().file("file", hostile+".txt", []byte("x")))
		alice.get(fmt.Sprintf("/api/projects/%d/download", id)).want(http.StatusOK)
		for _, f := range alice.project(id).Files {
			alice.get(fmt.Sprintf("/api/projects/%d/files/%d/download", id, f.ID)).want(http.StatusOK)
		}
		alice.comment("p/"+hostile, "Hello", 0)
		v.get("/feeds/comments.atom?url=" + q)
		for _, line := range []string{"GET /%0d%0aSet-Cookie:%20evil=1 HTTP/1.1", "GET /login?return_to=%2F%0d%0aSet-Cookie:evil=1 HTTP/1.1", "GET /x\x1b[2J HTTP/1.1", "GE\x1bT / HTTP/1.1", "GET / HTTP/1.1\r\nUser-Agent: \x1b[2J\r\nX-Request-Id: a\x1b[2J", "GET /\x00 HTTP/1.1"} {
			a := st.raw(line + "\r\nHost: x\r\nConnection: close\r\n\r\n")
			head, _, _ := strings.Cut(a, "\r\n\r\n")
			if strings.Contains(strings.ToLower(head), "\nset-cookie: evil") {
				t.Errorf("%q is answered %q", line, a)
			}
		}
		for line := range strings.Lines(st.logged.String()) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, forged) || strings.ContainsAny(line, "\x1b\x07\r\u0085\u2028") && !inJSON || strings.ContainsAny(line, "\x1b\x07\r") {
				t.Errorf("the log has the line %q", line)
			}
			if inJSON && strings.HasPrefix(line, "{") && !json.Valid([]byte(line)) {
				t.Errorf("a line of the log is no JSON: %q", line)
			}
		}
	}
}

// No route that serves files leads to another file.
func TestNoPathLeadsOutOfItsFolder(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.fullProject("Robot", map[string]any{})
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	d := alice.project(id)
	tried := 0
	for _, base := range []string{"/static/", "/profile_pictures/", "/feeds/users/", "/sitemaps/", fmt.Sprintf("/api/projects/%d/files/", id), fmt.Sprintf("/api/projects/%d/images/%d/", id, d.Images[0].ID), fmt.Sprintf("/projects/%d/files/", id), "/docs/", "/embed.js/"} {
		for _, up := range []string{"../", "..%2f", "%2e%2e/", "%2e%2e%2f", `..\`, "..%5c", "..%255c", "%252e%252e%252f", "....//", "..;/", "%c0%ae%c0%ae/", "..%00/", "./../", "/"} {
			for _, file := range []string{"etc/passwd", "main.go", "secret_key", ".env", "postgres/postgresql.conf", "static/app.css"} {
				tried++
				a := st.raw(fmt.Sprintf("GET %s%s%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", base, strings.Repeat(up, 6), file))
				if status := a[len("HTTP/1.1 "):][:3]; (status[0] == '2' || status[0] == '5') && !strings.HasSuffix(file, "app.css") || strings.Contains(a, "root:") || strings.Contains(a, "package main") {
					t.Errorf("%s%s…%s is answered %s", base, up, file, truncate(a, 300))
				}
			}
		}
	}
	same(t, "attempts", tried > 500, true)
}

// A million names in a body, of whatever kind it is, are refused or read like
// any other, and what they are answered with is short.
func TestBodiesOfManyNames(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	many := func(before, each, between, after string) string {
		var b strings.Builder
		b.WriteString(before)
		for i := 0; b.Len() < maxBody-100; i++ {
			if i > 0 {
				b.WriteString(between)
			}
			fmt.Fprintf(&b, each, i)
		}
		return b.String() + after
	}
	project := fmt.Sprintf("/api/projects/%d", id)
	for _, body := range []string{
		many("{", `"k%d":0`, ",", `,"content":"Hello","url":"a","title":"X"}`), many(`{"title":"X","content":"X","image_ids":[`, "%d", ",", "]}"), many(`{"tags":[`, `"%d"`, ",", "]}"), many(`{"tags":[`, `"\u0000%d"`, ",", "]}"),
		many(`{"tags":["`+strings.Repeat("x", 101), "%d", `","`+strings.Repeat("x", 101), `"]}`), strings.Repeat("[", maxBody-1), `{"a":` + strings.Repeat(`{"a":`, 9000), many("[", "%d", ",", "]"), many("", "k%d=0", "&", ""), many("", "image_ids=%d", "&", "&title=X"),
		many("", "--x\r\nContent-Disposition: form-data; name=\"k%d\"\r\n\r\n", "\r\n", "\r\n--x--"), many(`{"content":"`, "<b =%d>", "", `"}`), many(`{"content":"`, "<b <i %d", "", `&>"}`), many(`{"content":"`, " **b%d", "", `c**d"}`),
	} {
		for _, to := range []struct{ method, path string }{{http.MethodPost, "/interact/comment"}, {http.MethodPut, project}, {http.MethodPost, project + "/steps"}, {http.MethodPut, project + "/steps/reorder"}, {http.MethodPost, "/api/login"}} {
			kind := "application/json"
			switch body[0] {
			case '-':
				kind = "multipart/form-data; boundary=x"
			case 'k', 'i':
				kind = "application/x-www-form-urlencoded"
			}
			a := alice.do(to.method, to.path, body, "Content-Type", kind)
			if a.status >= 500 || len(a.body) > 16<<10 {
				t.Errorf("%s with %.40q is answered %d with %d bytes", a.request, body, a.status, len(a.body))
			}
		}
	}
}

// Guesses from a thousand addresses are no more than guesses from one, and the
// addresses of one subscriber are one.
func TestGuessesFromManyAddresses(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) {
		c.testing = false
		c.trustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	v := st.visitor()
	v.header.Set("X-Forwarded-For", "192.0.2.1")
	v.post("/accounts/register", map[string]any{"username": "alice", "firstname": "A", "lastname": "B", "email": "alice@example.com", "password": testPassword}).want(http.StatusCreated)
	var mu sync.Mutex
	hashes := 0
	st.hasher.worked = func(string) { mu.Lock(); hashes++; mu.Unlock() }
	from := func(address string, name string) int {
		return st.visitor().do(http.MethodPost, "/api/login", credentials(name, wrongPassword), "X-Forwarded-For", address).status
	}
	for i := range 1000 {
		from(fmt.Sprintf("198.51.%d.%d", i/250, i%250), "alice")
	}
	same(t, "passwords that were tried from a thousand addresses", hashes, freeFailures)
	hashes = 0
	for i := range 50 {
		from("203.0.113.9", fmt.Sprint("name", i))
	}
	same(t, "and from one, for many names", hashes, int(loginLimit.burst))
	hashes = 0
	for i := range 50 {
		from(fmt.Sprintf("2001:db8::%x:%x", i+1, i), fmt.Sprint("other", i))
	}
	same(t, "and from one /64", hashes, int(loginLimit.burst))
}

// What admins do to each other at the same moment leaves one of them.
func TestTheLastTwoAdmins(t *testing.T) {
	t.Parallel()
	for what, body := range map[string]func(of *site, id int) (string, string, any){
		"role": func(st *site, id int) (string, string, any) {
			return http.MethodPost, fmt.Sprintf("/api/admin/users/%d/role", id), map[string]any{"role": "member"}
		},
		"status": func(st *site, id int) (string, string, any) {
			return http.MethodPatch, fmt.Sprintf("/accounts/admin/%d/status", id), map[string]any{"status": "inactive"}
		},
		"delete": func(st *site, id int) (string, string, any) {
			return http.MethodDelete, fmt.Sprintf("/accounts/admin/%d", id), nil
		},
	} {
		st := newSite(t)
		one, two := st.admin("one"), st.admin("two")
		ids := map[*person]int{one: st.idOf("two"), two: st.idOf("one")}
		var all sync.WaitGroup
		for p, id := range ids {
			all.Go(func() {
				method, path, of := body(st, id)
				if a := p.do(method, path, of); a.status >= 500 {
					t.Errorf("%s: %d %s", what, a.status, a.body)
				}
			})
		}
		all.Wait()
		same(t, what+": admins who are left", st.count(`select count(*) from "user" where type = 1 and status = 'active'`) >= 1, true)
	}
}

// cachedRoutes are the addresses whose answers are kept ready.
func cachedRoutes(project, draft int) (list []string) {
	for _, id := range []int{project, draft} {
		list = append(list, fmt.Sprintf("/api/projects/%d", id), fmt.Sprintf("/api/likes/entity/count?entity_type=project&entity_id=%d", id), fmt.Sprintf("/interact/entity/comments?entity_type=project&entity_id=%d", id))
	}
	return append(list, "/api/projects", "/api/projects?status_filter=draft", "/api/projects?search=quagga", "/api/tags", "/interact/likes/a", "/interact/like-status/a", "/interact/user-like-status/a", "/api/likes/count?url=a",
		"/interact/comments/a", "/interact/comments/a?flat=true", "/interact/comments/a?sort=popular", "/api/summary?url=a&url=b", "/analytics/page-views/a", "/analytics/page-views/a/timeline")
}

var viewCounts = regexp.MustCompile(`"(view_count|total_views|updated_at|last_viewed_at)":[^,}]*`)

// essence is what an answer says, without how often something was looked at.
func (a *answer) essence() string {
	return fmt.Sprint(a.status, " ", viewCounts.ReplaceAllString(string(a.body), ""))
}

// Answers that are kept ready reach nobody but those whom they are for, however
// a request names its sender and in whatever order people ask.
func TestReadyAnswersStayWithTheirReaders(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice, bob, nobody := st.admin("root"), st.member("alice"), st.member("bob"), st.visitor()
	shown, draft := alice.published("Okapi"), alice.draft("Quagga")
	alice.post("/api/likes", map[string]any{"url": "a"}).want(http.StatusCreated)
	alice.post(fmt.Sprintf("/interact/comments/%d/like", alice.comment("a", "Mine", 0)), nil).want(http.StatusOK)
	hidden := bob.comment("a", "Hidden", 0)
	root.post(fmt.Sprintf("/interact/comments/%d/hide", hidden), nil).want(http.StatusOK)
	tokens := map[*person]string{root: st.tokenOf("root"), alice: st.tokenOf("alice"), bob: st.tokenOf("bob")}
	const garbage = "eyJ.x.y"
	// Ways to be somebody: names and values of headers.
	ways := func(p *person) [][]string {
		if p == nobody {
			return [][]string{{}, {"Authorization", "Bearer " + garbage}, {"Cookie", "access_token=" + garbage}, {"Cookie", `access_token="Bearer ` + garbage + `"`}, {"Authorization", "Basic " + tokens[alice]}, {"Authorization", tokens[alice]},
				{"Cookie", "Access_Token=" + tokens[alice]}, {"Cookie", "xaccess_token=" + tokens[alice]}, {"X-Access-Token", tokens[alice]}, {"Cookie", "username=alice"}, {"Authorization", "Bearer " + tokens[alice] + "x"}}
		}
		token := tokens[p]
		return [][]string{{"Authorization", "Bearer " + token}, {"Authorization", "bearer  " + token + " "}, {"Cookie", "access_token=" + token}, {"Cookie", `access_token="Bearer ` + token + `"`}, {"Cookie", "access_token =" + token},
			{"Cookie", "a=b; access_token=" + garbage + "; access_token=" + token}, {"Authorization", "Bearer " + garbage, "Cookie", "access_token=" + token}, {"Authorization", "Bearer " + token, "Cookie", "access_token=" + tokens[bob]}, {"Authorization", "Basic x", "Cookie", "access_token=" + token}}
	}
	people := []*person{nobody, alice, bob, root}
	names := map[*person]string{nobody: "nobody", alice: "alice", bob: "bob", root: "root"}
	for _, route := range cachedRoutes(shown, draft) {
		fresh := map[*person]string{}
		for _, p := range people {
			st.cache.mark() // nothing is ready
			v := st.visitor()
			fresh[p] = v.do(http.MethodGet, route, nil, ways(p)[0]...).essence()
		}
		if strings.HasSuffix(route, fmt.Sprint(draft)) && strings.HasPrefix(route, "/api/projects/") {
			same(t, "the draft is its author's", strings.Contains(fresh[alice], "Quagga") && !strings.Contains(fresh[bob]+fresh[nobody]+fresh[root], "Quagga"), true)
		}
		for _, order := range [][]*person{{alice, nobody, bob, root}, {nobody, root, alice, bob}} {
			st.cache.mark()
			for range 2 {
				for _, p := range order {
					for i, way := range ways(p) {
						v := st.visitor()
						a := v.do(http.MethodGet, route, nil, way...)
						refused := a.status >= 400 && !strings.HasPrefix(fresh[p], "200") && !strings.Contains(string(a.body), "Quagga")
						// A cookie that is spelled as no browser does can be overlooked.
						overlooked := strings.Contains(strings.Join(way, " "), "access_token =") && a.essence() == fresh[nobody]
						if a.essence() != fresh[p] && !refused && !overlooked {
							t.Errorf("%s as %s by %.30q gets\n%s\nwant\n%s", route, names[p], way, truncate(a.essence(), 600), truncate(fresh[p], 600))
						}
						if i > 0 {
							continue
						}
						if head := v.do(http.MethodHead, route, nil, way...); len(head.body) > 0 || fmt.Sprint(head.status) != fresh[p][:3] {
							t.Errorf("HEAD %s as %s: %d", route, names[p], head.status)
						}
						v.do(http.MethodOptions, route, nil, way...).want(http.StatusNoContent)
					}
				}
			}
		}
	}
}

// Who loses an account, a role or the right to write is answered accordingly by
// the next request, and a stolen token is as good as none once its session has ended.
func TestReadyAnswersEndWithTheSession(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice := st.admin("root"), st.member("alice")
	shown := alice.published("Okapi")
	for what, end := range map[string]func(p *person, id int){
		"sign-out": func(p *person, id int) { p.get("/logout?redirect=false").want(http.StatusOK) },
		"sign-out by admins": func(p *person, id int) {
			root.post(fmt.Sprintf("/api/admin/users/%d/sign-out", id), nil).want(http.StatusOK)
		},
		"deactivation": func(p *person, id int) {
			root.do(http.MethodPatch, fmt.Sprintf("/accounts/admin/%d/status", id), map[string]any{"status": "inactive"}).want(http.StatusOK)
		},
		"password": func(p *person, id int) {
			root.post(fmt.Sprintf("/accounts/admin/%d/reset-password", id), map[string]any{"new_password": "Brand-New-9"}).want(http.StatusOK)
		},
		"forced reset": func(p *person, id int) {
			root.post(fmt.Sprintf("/api/admin/users/%d/force-reset", id), nil).want(http.StatusOK)
		},
		"deletion": func(p *person, id int) {
			p.do(http.MethodDelete, "/api/me", map[string]any{"password": testPassword}).want(http.StatusOK)
		},
	} {
		name := "m_" + regexp.MustCompile(`\W`).ReplaceAllString(what, "_")
		p := st.member(name)
		draft := p.draft("Quagga")
		p.post("/api/likes", map[string]any{"url": "a"}).want(http.StatusCreated)
		thief := st.visitor()
		token := st.tokenOf(name)
		thief.header.Set("Authorization", "Bearer "+token)
		p.header.Set("Authorization", "Bearer "+token)
		for _, route := range cachedRoutes(shown, draft) {
			thief.get(route)
			thief.get(route)
		}
		thief.get(fmt.Sprintf("/api/projects/%d", draft)).want(http.StatusOK).shows("Quagga")
		end(p, st.idOf(name))
		if a := thief.get("/me"); a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
			t.Errorf("after %s, /me answers %d", what, a.status)
		}
		for _, route := range cachedRoutes(shown, draft) {
			mine, nobodys := thief.get(route), st.visitor().get(route)
			if mine.essence() != nobodys.essence() && mine.status < 400 {
				t.Errorf("after %s, %s answers\n%s\nand nobody\n%s", what, route, truncate(mine.essence(), 500), truncate(nobodys.essence(), 500))
			}
		}
	}
}

// Scripts in every text that people can write, looked at in a browser as readers,
// authors and admins see them, on other sites, in feeds, and as files.
func TestScriptsInTexts(t *testing.T) {
	t.Parallel()
	startDemo(t).run(t, "attack.mjs")
}
