package main

import (
	"encoding/base32"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Every write is refused that a page of another site sends with the cookies of
// who is signed in, and changes nothing.
func TestEveryForgedWriteIsRefused(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice := st.admin("root"), st.member("alice")
	project := alice.fullProject("Robot", map[string]any{})
	d := alice.project(project)
	path := strings.NewReplacer("{project}", fmt.Sprint(project), "{id}", "1", "{part}", "steps", "{act}", "remove", "{action}", "role", "{form}", "begin")
	before, tried := st.rowsOf(t), 0
	for pattern := range everyRoute(t) {
		method, at, _ := strings.Cut(pattern, " ")
		if method == http.MethodGet {
			continue
		}
		for _, p := range []*person{alice, root} {
			for _, from := range [][]string{
				{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", "https://www.example.com.evil.example"}, {"Origin", "https://evil-www.example.com"},
				{"Origin", "http://www.example.com"}, {"Origin", "https://www.example.com:8443"}, {"Origin", "https://www.example.com@evil.example"}, {"Origin", "https://example.com"},
				{"Origin", "file://"}, {"Origin", "chrome-extension://abc"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
				{"Sec-Fetch-Site", "cross-site", "Origin", p.url}, {"Sec-Fetch-Site", "cross-site", "Origin", "null"}, {"Sec-Fetch-Site", "nonsense", "Origin", "https://evil.example"},
			} {
				tried++
				// As a form can send it, with JSON or without.
				for _, kind := range []string{"", "text/plain"} {
					a := p.do(method, path.Replace(at), goodBody(t, pattern, project, d.Steps[0].ID, ""), slices.Concat(from, []string{"Accept", "text/html"}, header(kind))...)
					if a.status != http.StatusForbidden {
						t.Errorf("%s from %q answers %d", a.request, from, a.status)
					}
				}
			}
		}
	}
	same(t, "attempts", tried > 100*15, true)
	same(t, "rows", st.rowsOf(t), before)
}

// header is the Content-Type of a request, or nothing.
func header(kind string) []string {
	if kind == "" {
		return nil
	}
	return []string{"Content-Type", kind}
}

// Whatever is asked, and whatever the answer is, it has the headers that protect
// who reads it; what is somebody's own is not stored on the way.
func TestEveryAnswerIsProtected(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.production = true })
	alice, root := st.member("alice"), st.admin("root")
	for _, p := range []*person{alice, root} { // a Secure cookie does not come back over http
		p.header.Set("Authorization", "Bearer "+st.tokenOf(p.name))
	}
	project := alice.fullProject("Robot", map[string]any{})
	alice.post(fmt.Sprintf("/api/projects/%d/publish", project), nil).want(http.StatusOK)
	draft := alice.draft("Draft")
	d := alice.project(project)
	routes := everyRoute(t)
	check := func(p *person, who string, a *answer) {
		t.Helper()
		headers, policy := map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Strict-Transport-Security": "max-age=31536000", "Server": "", "X-Powered-By": "",
			"Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": ""}, []string{"default-src 'none'", "frame-ancestors 'none'"}
		if len(a.body) > 0 && strings.HasPrefix(a.header.Get("Content-Type"), "text/html") && a.status != http.StatusSeeOther && a.status != http.StatusMovedPermanently {
			headers["Referrer-Policy"], headers["Cross-Origin-Opener-Policy"], headers["Permissions-Policy"] = "strict-origin-when-cross-origin", "same-origin", "camera=(), geolocation=(), microphone=()"
			policy = append(policy, "base-uri 'none'", "form-action 'self'")
		}
		for name, want := range headers {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s, %s: %s is %q, want %q", who, a.request, name, got, want)
			}
		}
		csp := a.header.Get("Content-Security-Policy")
		for _, part := range policy {
			if !strings.Contains(csp, part) && !strings.Contains(csp, "sandbox") {
				t.Errorf("%s, %s: the policy lacks %s: %q", who, a.request, part, csp)
			}
		}
		if strings.Contains(strings.Replace(csp, "sandbox; default-src 'none'; style-src 'unsafe-inline'", "", 1), "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s, %s: the policy is %q", who, a.request, csp)
		}
		if a.header.Get("X-Request-Id") == "" || len(a.body) > 0 && a.header.Get("Content-Type") == "" || !strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Origin") {
			t.Errorf("%s, %s: %v", who, a.request, a.header)
		}
		for _, cookie := range (&http.Response{Header: a.header}).Cookies() {
			if !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || !cookie.HttpOnly && cookie.Name != "username" {
				t.Errorf("%s, %s: the cookie is %s", who, a.request, cookie)
			}
			if strings.Contains(a.header.Get("Cache-Control"), "public") {
				t.Errorf("%s, %s: a cookie in an answer that others may get", who, a.request)
			}
		}
		if stored := a.header.Get("Cache-Control"); a.status >= 400 && stored != "no-store" && stored != "private, no-cache" {
			t.Errorf("%s, %s: %d may be stored: %q", who, a.request, a.status, stored)
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(routes)) {
		method, at, _ := strings.Cut(pattern, " ")
		at = strings.NewReplacer("{project}", fmt.Sprint(project), "{part}", "steps", "{act}", "remove", "{action}", "role", "{form}", "begin", "{url}", "a", "{username}", "alice",
			"{author}", "alice", "{slug}", fmt.Sprintf("%d-robot", project), "{size}", "320.jpg", "{tag}", "one", "{$}", "").Replace(at)
		at = strings.Replace(at, "/images/{id}", fmt.Sprintf("/images/%d", d.Images[0].ID), 1)
		at = strings.Replace(strings.Replace(at, "{id}", "1", 1), "{file}", map[bool]string{true: "app.css", false: "alice.atom"}[strings.HasPrefix(at, "/static/")], 1)
		for _, who := range []struct {
			name string
			*person
		}{{"nobody", st.visitor()}, {"alice", alice}, {"root", root}} {
			for _, accept := range []string{"*/*", "text/html"} {
				if method != http.MethodGet && who.name == "alice" && (strings.HasPrefix(routes[pattern], "signed in") || routes[pattern] == "author") || method == http.MethodDelete && who.name == "root" {
					continue // which could end what the others need
				}
				a := who.do(method, at, map[bool]any{true: nil, false: "{"}[method == http.MethodGet], "Accept", accept)
				check(who.person, who.name, a)
				own := strings.HasPrefix(routes[pattern], "signed in") || strings.HasPrefix(routes[pattern], "owner") || routes[pattern] == "admin"
				if stored := a.header.Get("Cache-Control"); own && stored != "no-store" && stored != "private, no-cache" && a.status != http.StatusSeeOther {
					t.Errorf("%s, %s: %q", who.name, a.request, stored)
				}
			}
			check(who.person, who.name, who.do(http.MethodOptions, at, nil))
			check(who.person, who.name, who.do("TRACE", at, nil))
		}
	}
	check(st.visitor(), "nobody", st.visitor().get(fmt.Sprintf("/api/projects/%d", draft)).want(http.StatusForbidden))
	for _, path := range []string{"/nowhere", "/%00", "/static/../main.go", "/api/projects?search=%ff"} {
		check(st.visitor(), "nobody", st.visitor().get(path))
	}
}

// column is one of the database, and what no request may set it to.
type column struct{ Table, Name, Type string }

// No write takes a field that it does not name, whatever column or answer has
// one of that name.
func TestNoOtherFieldIsSet(t *testing.T) {
	t.Parallel()
	const text, day, number = "Smuggled", "1999-09-09", 998877
	hostile, plain := newSite(t), newSite(t)
	rows, err := hostile.db.Query(t.Context(), `select table_name::text as "table", column_name::text as name, data_type::text as type from information_schema.columns where table_schema = 'public'`)
	if err != nil {
		t.Fatal(err)
	}
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByName[column])
	if err != nil {
		t.Fatal(err)
	}
	same(t, "columns", len(columns) > 150, true)
	fields := map[string]any{"is_admin": true, "admin": true, "role": "admin", "owner_id": number, "author": text, "__proto__": map[string]any{"admin": true}}
	for _, c := range columns {
		switch {
		case c.Type == "boolean":
			fields[c.Name] = true
		case strings.Contains(c.Type, "int"):
			fields[c.Name] = number
		case strings.HasPrefix(c.Type, "timestamp") || c.Type == "date":
			fields[c.Name] = day + "T09:09:09Z"
		default:
			fields[c.Name] = text
		}
	}
	fields["status"], fields["type"] = "published", 1
	forms := func(st *site, more map[string]any) {
		alice := st.member("alice")
		id := alice.draft("Robot")
		step := alice.post(fmt.Sprintf("/api/projects/%d/steps", id), partKinds["steps"]).want(http.StatusCreated).id()
		comment := alice.comment("a", "Hello", 0)
		edit := fmt.Sprintf("/projects/%d/edit", id)
		for _, f := range []struct {
			path   string
			values url.Values // nil: a field of this form that stays out
		}{
			{"/register", url.Values{"username": {"carol"}, "firstname": {"C"}, "lastname": {"D"}, "email": {"carol@example.com"}, "password": {testPassword}, "date_of_birth": {""}, "terms_version": nil, "accept_terms": nil}},
			{"/account/update", url.Values{"firstname": {"A"}, "lastname": {"B"}, "email": {"alice@example.com"}, "date_of_birth": {""}, "location": {"L"}, "bio": {"B"}}},
			{"/account/letters", url.Values{"replies": {"on"}, "mentions": {"on"}, "projects": {"on"}, "reports": {"on"}}},
			{"/projects/new", url.Values{"title": {"T"}, "description": {"D"}, "background": {""}, "code_link": {""}, "difficulty_level": {""}, "estimated_time": {""}, "license": {""}, "tags": {"a"}}},
			{edit, url.Values{"title": {"T"}, "description": {"D"}, "background": {""}, "code_link": {""}, "difficulty_level": {""}, "estimated_time": {""}, "license": {""}, "tags": {"a"}, "revision": {""}}},
			{edit + "/steps", url.Values{"title": {"T"}, "content": {"C"}, "image_ids": {""}, "step_number": {""}, "revision": {""}}},
			{edit + fmt.Sprintf("/steps/%d", step), url.Values{"title": {"T"}, "content": {"C"}, "image_ids": {""}, "step_number": {""}, "revision": {""}, "action": nil}},
			{edit + "/bom", url.Values{"item_name": {"I"}, "quantity": {"1"}, "price": {"2"}, "description": {""}, "link": {""}, "item_order": {"0"}, "price_cents": {""}, "revision": {""}}},
			{edit + "/tools", url.Values{"name": {"N"}, "tool_type": {"tool"}, "notes": {""}, "revision": {""}}},
			{edit + "/links", url.Values{"url": {"https://example.com"}, "title": {"T"}, "link_type": {"video"}, "description": {""}, "revision": {""}}},
			{"/thread/comment", url.Values{"url": {"a"}, "content": {"C"}, "parent_comment_id": {""}, "entity_type": nil, "entity_id": nil}},
			{"/thread/like", url.Values{"url": {"a"}, "entity_type": nil, "entity_id": nil}},
			{fmt.Sprintf("/thread/comments/%d/edit", comment), url.Values{"content": {"D"}, "url": {"a"}, "entity_type": nil, "entity_id": nil}},
		} {
			for name, value := range more {
				if !f.values.Has(name) && name != "action" {
					f.values.Set(name, fmt.Sprint(value))
				}
			}
			if a := alice.submit(f.path, f.values); a.status != http.StatusSeeOther {
				t.Errorf("%s answers %d %s", a.request, a.status, truncate(string(a.body), 300))
			}
		}
	}
	hostile.useExamples(t, func(o apiOperation, body map[string]any) {
		for name, value := range fields {
			if !slices.ContainsFunc(o.body, func(p param) bool { return p.name == name }) {
				body[name] = value
			}
		}
	})
	plain.useExamples(t, nil)
	forms(hostile, fields)
	forms(plain, nil)
	// Nothing of it is there, and every flag and every kind as often as without it.
	for _, c := range columns {
		table := pgx.Identifier{c.Table}.Sanitize()
		name := pgx.Identifier{c.Name}.Sanitize()
		shown := name + "::text"
		if c.Type == "bytea" { // whose hexadecimal digits have the number by chance
			shown = fmt.Sprintf("encode(%s, 'escape')", name)
		}
		if smuggled := hostile.count(fmt.Sprintf(`select count(*) from %s where %s ~ '%s|%s|%d'`, table, shown, text, day, number)); smuggled > 0 {
			t.Errorf("%s.%s was set in %d rows", c.Table, c.Name, smuggled)
		}
		if c.Type == "boolean" || c.Name == "status" || c.Name == "type" {
			tally := func(st *site) (all string) {
				if err := st.db.QueryRow(t.Context(), fmt.Sprintf(`select coalesce(string_agg(v || ' ' || n, ', ' order by v), '') from (select coalesce(%s::text, '') v, count(*) n from %s group by 1) x`, name, table)).Scan(&all); err != nil {
					t.Fatal(err)
				}
				return all
			}
			if got, want := tally(hostile), tally(plain); got != want {
				t.Errorf("%s.%s is %s, and without more fields %s", c.Table, c.Name, got, want)
			}
		}
	}
}

// What is sent to many at once happens once: accounts, links, codes, admins.
func TestWhatHappensOnceAtMost(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	atOnce := func(n int, do func(i int) *answer) (statuses map[int]int) {
		answers := make(chan *answer, n)
		for i := range n {
			go func() { answers <- do(i) }()
		}
		statuses = map[int]int{}
		for range n {
			a := <-answers
			statuses[a.status]++
			if a.status >= 500 {
				t.Errorf("%s answers %d %s", a.request, a.status, a.body)
			}
		}
		return statuses
	}
	// One name in all spellings, and one address.
	got := atOnce(8, func(i int) *answer {
		return st.visitor().post("/accounts/register", map[string]any{"username": []string{"carol", "Carol", "CAROL"}[i%3], "firstname": "C", "lastname": "D", "email": fmt.Sprintf("carol%d@example.com", i%4), "password": testPassword})
	})
	same(t, "registrations", got[http.StatusCreated], 1)
	same(t, "carols", st.count(`select count(*) from "user"`), 1)

	alice, root := st.member("alice"), st.admin("root")
	token := alice.tokenTo("alice@example.com", linkVerify.page)
	got = atOnce(8, func(int) *answer { return alice.post("/api/verify-email", map[string]any{"token": token}) })
	same(t, "confirmations", st.count(`select count(*) from accountlog where action = 'email_verified'`), 1)
	same(t, "answers that say so", got[http.StatusOK], 1)

	st.visitor().post("/api/password/forgot", map[string]any{"email": "alice@example.com"}).want(http.StatusOK)
	st.errands.Wait()
	token = alice.tokenTo("alice@example.com", linkReset.page)
	got = atOnce(8, func(i int) *answer {
		return st.visitor().post("/api/password/reset", map[string]any{"token": token, "new_password": fmt.Sprintf("Brand-New-%d", i)})
	})
	same(t, "resets by one link", got[http.StatusOK], 1)

	var given struct {
		Code string `json:"reset_code"`
	}
	root.post(fmt.Sprintf("/api/admin/users/%d/reset-code", st.idOf("alice")), nil).want(http.StatusOK).into(&given)
	got = atOnce(8, func(i int) *answer {
		return st.visitor().post("/api/reset-password", map[string]any{"username": "alice", "reset_code": given.Code, "new_password": fmt.Sprintf("Other-New-%d", i)})
	})
	same(t, "resets by one code", got[http.StatusOK], 1)

	bob := st.member("bob")
	id := bob.draft("Robot")
	got = atOnce(8, func(int) *answer { return bob.post(fmt.Sprintf("/api/projects/%d/publish", id), nil) })
	same(t, "publications", got[http.StatusOK], 1)
	atOnce(8, func(int) *answer {
		return bob.post("/api/likes/entity", map[string]any{"entity_type": "project", "entity_id": id})
	})
	same(t, "likes", st.count(`select count(*) from "like"`)*10+st.count(`select like_count from project`), 11)

	// Every second factor is set up once, and its codes are of one enrolment.
	var begun struct{ Secret string }
	bob.post("/api/me/totp", nil).want(http.StatusOK).into(&begun)
	key, err := base32.StdEncoding.DecodeString(begun.Secret)
	if err != nil {
		t.Fatal(err)
	}
	code := st.code(key)
	got = atOnce(4, func(int) *answer { return bob.post("/api/me/totp/confirm", map[string]any{"code": code}) })
	same(t, "enrolments", got[http.StatusOK], 1)
	same(t, "backup codes", st.count(`select count(*) from backup_code`), backupCodes)

	// The last admins leave at once: one has to stay.
	other := st.admin("other")
	got = atOnce(2, func(i int) *answer {
		return []*person{root, other}[i].do(http.MethodDelete, "/api/me", map[string]any{"password": testPassword})
	})
	same(t, "admins who could go", got[http.StatusOK], 1)
	same(t, "admins who are left", st.count(`select count(*) from "user" where type = 1`), 1)
}
