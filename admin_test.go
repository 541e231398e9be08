package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// idOf is an account's id.
func (st *site) idOf(name string) int {
	st.t.Helper()
	return st.count(`select id from "user" where username = $1`, name)
}

func TestAdminEndpoints(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice := st.admin("root"), st.member("alice")
	id := st.idOf("alice")
	user := fmt.Sprintf("/api/admin/users/%d", id)
	account := fmt.Sprintf("/accounts/admin/%d", id)

	// Nobody else may.
	for _, c := range []struct{ method, path string }{
		{"GET", "/api/admin/users"}, {"POST", user + "/reset-code"}, {"POST", user + "/force-reset"}, {"POST", user + "/unlock"}, {"POST", user + "/verify"},
		{"POST", user + "/sign-out"}, {"POST", user + "/totp-reset"}, {"POST", user + "/role"}, {"PATCH", account + "/status"}, {"POST", account + "/reset-password"}, {"DELETE", account},
	} {
		alice.do(c.method, c.path, map[string]any{}).detail(http.StatusForbidden, "Only admins")
		st.visitor().do(c.method, c.path, map[string]any{}).detail(http.StatusUnauthorized, "Missing token")
		if c.path != "/api/admin/users" {
			root.do(c.method, strings.Replace(c.path, fmt.Sprint(id), "999", 1), map[string]any{"status": "active", "new_password": "Brand-New-9", "role": "admin"}).detail(http.StatusNotFound, "User not found")
		}
	}
	root.post(user+"/explode", nil).want(http.StatusNotFound)

	var list []struct {
		ID                                           int
		Username, Firstname, Lastname, Email, Status string
		Type                                         *int
		ForcePasswordReset                           *bool      `json:"force_password_reset"`
		CreatedAt                                    time.Time  `json:"created_at"`
		LastLogin                                    *time.Time `json:"last_login"`
	}
	same(t, "total", root.get("/api/admin/users").want(http.StatusOK).into(&list).header.Get("X-Total-Count"), "2")
	same(t, "newest first", list[0].Username+" "+list[1].Username, "alice root")
	same(t, "fields", *list[1].Type == 1 && !*list[0].ForcePasswordReset && list[0].LastLogin != nil && list[0].Email == "alice@example.com", true)
	for query, want := range map[string]string{"?q=ALI": "alice", "?q=root@": "root", "?q=%25": "", "?show=admins": "root", "?limit=1&offset=1": "root", "?show=locked": "", "?q=Tester": "alice root", fmt.Sprintf("?q=%d", id): "alice"} {
		var names []string
		root.get("/api/admin/users" + query).want(http.StatusOK).into(&list)
		for _, u := range list {
			names = append(names, u.Username)
		}
		same(t, query, strings.Join(names, " "), want)
	}
	root.get("/api/admin/users?limit=0").want(http.StatusUnprocessableEntity)

	// Deactivated: out at once, and back again.
	root.do(http.MethodPatch, account+"/status", map[string]any{"status": "gone"}).detail(http.StatusBadRequest, "Status must be 'active' or 'inactive'")
	same(t, "message", root.do(http.MethodPatch, account+"/status", map[string]any{"status": "inactive"}).want(http.StatusOK).fields()["message"], any("User account deactivated successfully"))
	alice.get("/me").want(http.StatusUnauthorized)
	alice.post("/api/login", credentials("alice", testPassword)).detail(http.StatusUnauthorized, "Invalid credentials")
	same(t, "message", root.do(http.MethodPatch, account+"/status", map[string]any{"status": "active"}).fields()["message"], any("User account activated successfully"))
	alice.signIn()

	// A password by an admin.
	root.post(account+"/reset-password", map[string]any{"new_password": "weak"}).want(http.StatusUnprocessableEntity)
	root.post(account+"/reset-password", map[string]any{"new_password": "Alice-Horse-9"}).detail(http.StatusUnprocessableEntity, "must not contain your username")
	root.post(account+"/reset-password", map[string]any{"new_password": "Brand-New-9"}).want(http.StatusOK)
	alice.get("/me").want(http.StatusUnauthorized)
	alice.post("/api/login", credentials("alice", "Brand-New-9")).want(http.StatusOK)

	// Locks are seen and lifted.
	st.visitor().failSignIn("alice", 5)
	root.get("/api/admin/users?show=locked").into(&list)
	same(t, "locked", len(list) == 1 && list[0].Username == "alice", true)
	root.post(user+"/unlock", nil).want(http.StatusOK)
	st.visitor().post("/api/login", credentials("alice", "Brand-New-9")).want(http.StatusOK)

	root.post(user+"/verify", nil).want(http.StatusOK)
	same(t, "verified", alice.get("/api/me").fields()["email_verified"], any(true))
	root.post(user+"/sign-out", nil).want(http.StatusOK)
	alice.get("/me").want(http.StatusUnauthorized)
	alice.post("/api/login", credentials("alice", "Brand-New-9")).want(http.StatusOK)
	alice.enrol()
	root.post(user+"/totp-reset", nil).want(http.StatusOK)
	alice.post("/api/login", credentials("alice", "Brand-New-9")).want(http.StatusOK)

	// Everything is in the history, with who did it.
	for _, action := range []string{"status_changed", "password_reset", "unlocked", "email_verified", "signed_out", "totp_reset"} {
		if st.count(`select count(*) from accountlog where action = $1 and user_id = $2 and changed_by <> user_id and ip_address = '127.0.0.1'`, action, id) == 0 {
			t.Errorf("%s is not in the history", action)
		}
	}
	same(t, "secrets in the history", st.count(`select count(*) from accountlog a where a::text like '%Brand%' or a::text like '%argon%'`), 0)

	same(t, "deleted", root.delete(account).want(http.StatusOK).fields()["message"], any("User account deleted successfully"))
	alice.get("/me").want(http.StatusUnauthorized)
	same(t, "the act stays in the admin's history", st.count(`select count(*) from accountlog where action = 'user_deleted' and old_value = $1`, fmt.Sprint(id)), 1)
}

func TestAdminsCantLockThemselvesOut(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root := st.admin("root")
	id := st.idOf("root")
	root.do(http.MethodPatch, fmt.Sprintf("/accounts/admin/%d/status", id), map[string]any{"status": "inactive"}).detail(http.StatusBadRequest, "your own account")
	root.delete(fmt.Sprintf("/accounts/admin/%d", id)).detail(http.StatusBadRequest, "your own account")
	root.post(fmt.Sprintf("/api/admin/users/%d/role", id), map[string]any{"role": "member"}).detail(http.StatusBadRequest, "your own rights")
	root.post(fmt.Sprintf("/api/admin/users/%d/force-reset", id), nil).detail(http.StatusBadRequest, "your own password")
	root.do(http.MethodDelete, "/api/me", map[string]any{"password": testPassword}).detail(http.StatusBadRequest, "the last admin")
	root.get("/me").want(http.StatusOK)

	// Of two admins who throw each other out at once, one stays.
	other := st.admin("other")
	ids := map[*person]int{root: st.idOf("other"), other: id}
	for _, do := range []func(p *person) *answer{
		func(p *person) *answer {
			return p.do(http.MethodPatch, fmt.Sprintf("/accounts/admin/%d/status", ids[p]), map[string]any{"status": "inactive"})
		},
		func(p *person) *answer {
			return p.post(fmt.Sprintf("/api/admin/users/%d/role", ids[p]), map[string]any{"role": "member"})
		},
		func(p *person) *answer { return p.delete(fmt.Sprintf("/accounts/admin/%d", ids[p])) },
	} {
		var both sync.WaitGroup
		for _, p := range []*person{root, other} {
			both.Go(func() {
				if a := do(p); a.status >= 500 {
					t.Errorf("answered %d %s", a.status, a.body)
				}
			})
		}
		both.Wait()
		same(t, "admins", st.count(`select count(*) from "user" where type = 1 and status = 'active'`) >= 1, true)
		st.exec(`update "user" set type = 1, status = 'active'`)
		for p, name := range map[*person]string{root: "root", other: "other"} {
			if st.count(`select count(*) from "user" where username = $1`, name) == 1 {
				p.name = name
				p.signIn()
			}
		}
	}
}

func TestResetCode(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice := st.admin("root"), st.member("alice")
	var given struct {
		Message, Username string
		ResetCode         string    `json:"reset_code"`
		ExpiresAt         time.Time `json:"expires_at"`
	}
	ask := func() string {
		root.post(fmt.Sprintf("/api/admin/users/%d/reset-code", st.idOf("alice")), nil).want(http.StatusOK).into(&given)
		return given.ResetCode
	}
	reset := func(name, code, password string) *answer {
		return st.visitor().post("/api/reset-password", map[string]any{"username": name, "reset_code": code, "new_password": password})
	}
	code := ask()
	same(t, "form", len(code) == 8 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == "" && given.Username == "alice", true)
	life := given.ExpiresAt.Sub(st.now())
	same(t, "24 hours", life > 23*time.Hour && life <= 24*time.Hour, true)
	same(t, "stored", st.count(`select count(*) from "user" where password_reset_code ilike '%' || $1 || '%'`, code), 0)

	wrong := reset("alice", "AAAAAAAA", "Brand-New-9").detail(http.StatusBadRequest, "does not fit")
	unknown := reset("nobody", code, "Brand-New-9").detail(http.StatusBadRequest, "does not fit")
	same(t, "tells nothing", string(wrong.body), string(unknown.body))
	reset("alice", code, "weak").want(http.StatusUnprocessableEntity)
	reset("alice", code, "Alice-Horse-9").detail(http.StatusUnprocessableEntity, "must not contain")
	reset("alice", strings.ToLower(code), "Brand-New-9").want(http.StatusOK)
	reset("alice", code, "Brand-New-10").want(http.StatusBadRequest)
	alice.get("/me").want(http.StatusUnauthorized)
	alice.post("/api/login", credentials("alice", "Brand-New-9")).want(http.StatusOK)
	// A new code ends the old one, and none is good for more than a day.
	first := ask()
	second := ask()
	reset("alice", first, "Brand-New-11").want(http.StatusBadRequest)
	st.clock.Add(int64(resetCodeLife))
	reset("alice", second, "Brand-New-11").want(http.StatusBadRequest)
	// Guessing ends soon, for names that nobody has too.
	for _, name := range []string{"alice", "nobody"} {
		for range 6 {
			reset(name, "AAAAAAAA", "Brand-New-12")
		}
		reset(name, ask(), "Brand-New-12").detail(http.StatusTooManyRequests, "Too many failed attempts")
	}
	// The page: the code is shown once, and taken with the password typed twice.
	shown := string(root.page(root.submit(fmt.Sprintf("/admin/generate-reset-code/%d", st.idOf("alice")), nil).redirects("/admin/users/")).want(http.StatusOK).body)
	code = between(t, shown, `code-once">`, "<")
	root.page(fmt.Sprintf("/admin/users/%d", st.idOf("alice"))).want(http.StatusOK).hides(code)
	st.exec(`delete from failed_attempt`)
	v := st.visitor()
	v.page("/reset-password").want(http.StatusOK).shows("Code from an admin")
	form := url.Values{"username": {"alice"}, "reset_code": {code}, "new_password": {"Brand-New-13"}, "confirm_password": {"Brand-New-14"}}
	v.submit("/reset-password", form).want(http.StatusUnprocessableEntity).shows("are not the same", `value="alice"`).hides("Brand-New")
	form.Set("confirm_password", "Brand-New-13")
	same(t, "done", v.submit("/reset-password", form).redirects("/login"), "/login?reset=success")
	v.submit("/login", credentials("alice", "Brand-New-13")).redirects("/account")
}

func TestForcedReset(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice := st.admin("root"), st.member("alice")
	root.submit(fmt.Sprintf("/admin/force-password-reset/%d", st.idOf("alice")), nil).redirects("/admin/users/")
	alice.get("/me").want(http.StatusUnauthorized)
	a := alice.post("/api/login", credentials("alice", testPassword)).detail(http.StatusForbidden, st.cfg.publicURL+"/login")
	same(t, "code", a.fields()["code"], any("password_reset_required"))
	same(t, "no session", st.count(`select count(*) from session where user_id = $1`, st.idOf("alice")), 0)
	alice.post("/api/login", credentials("alice", wrongPassword)).detail(http.StatusUnauthorized, "Invalid credentials")

	alice.submit("/login", credentials("alice", testPassword)).redirects("/account")
	for _, path := range []string{"/", "/account", "/projects", "/projects/new", "/login", "/account/two-factor"} {
		same(t, path, alice.page(path).redirects("/"), "/force-password-reset")
	}
	alice.get("/api/me").detail(http.StatusForbidden, "has to be changed first")
	alice.post("/interact/like", map[string]any{"url": "a"}).want(http.StatusForbidden)
	same(t, "public reading", alice.get("/interact/likes/a").want(http.StatusOK).fields()["user_has_liked"], any(false))
	alice.page("/force-password-reset").want(http.StatusOK).shows("An admin has asked")
	alice.submit("/force-password-reset", url.Values{"new_password": {testPassword}, "confirm_password": {testPassword}}).want(http.StatusUnprocessableEntity).shows("must not be the old one")
	alice.submit("/force-password-reset", url.Values{"new_password": {"Brand-New-9"}, "confirm_password": {"x"}}).want(http.StatusUnprocessableEntity).shows("are not the same")
	same(t, "done", alice.submit("/force-password-reset", url.Values{"new_password": {"Brand-New-9"}, "confirm_password": {"Brand-New-9"}}).redirects("/login"), "/login?reset=success&return_to=%2Faccount%2Ftwo-factor")
	// Who has just proved to be the owner stays signed in.
	alice.page("/login?reset=success").shows("you are signed in with it")
	alice.page("/account").want(http.StatusOK)
	alice.page("/force-password-reset").redirects("/account")
	st.visitor().submit("/login", credentials("alice", "Brand-New-9")).redirects("/account")
	// Signing out is always possible.
	root.post(fmt.Sprintf("/api/admin/users/%d/force-reset", st.idOf("alice")), nil).want(http.StatusOK)
	alice.submit("/login", credentials("alice", "Brand-New-9")).redirects("/account")
	alice.page("/logout").redirects("/login")
	alice.page("/").want(http.StatusOK)
}

func TestAdminPages(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice := st.admin("root"), st.member("alice")
	page := fmt.Sprintf("/admin/users/%d", st.idOf("alice"))
	alice.page("/admin").want(http.StatusForbidden).shows("not open to you")
	alice.submit(page+"/role", url.Values{"role": {"admin"}}).want(http.StatusForbidden)
	st.visitor().page("/admin").redirects("/login")
	root.page("/admin/users").want(http.StatusOK).shows("2 accounts", "alice@example.com", page)
	root.page("/admin/users?q=nobody").want(http.StatusOK).shows("No account is like that")
	root.page("/admin/users?show=strange").want(http.StatusUnprocessableEntity)
	root.page(page).want(http.StatusOK).shows("Deactivate", "Make an admin", "Account made")
	root.page("/admin/users/999").want(http.StatusNotFound)
	// What was done is said once, and the way back to the list stays.
	list := "?list=" + url.QueryEscape("q=ali&show=all")
	same(t, "back to the page", root.submit(page+"/status"+list, url.Values{"status": {"inactive"}}).redirects(page), page+list)
	root.page(page+list).shows("alice is deactivated", "Deactivated", "Activate", `href="/admin/users?q=ali&amp;show=all"`)
	root.page(page+"?list="+url.QueryEscape("javascript:alert(1)//\"><b>")).hides("alice is deactivated", "<b>", `href="javascript`)
	root.submit(page+"/reset-password", url.Values{"new_password": {"weak"}}).want(http.StatusUnprocessableEntity).shows("at least 8 characters")
	root.submit(page+"/delete", url.Values{"confirm": {"yes"}}).want(http.StatusUnprocessableEntity).shows("the word delete")
	same(t, "and to the list", root.submit(page+"/delete"+list, url.Values{"confirm": {"delete"}}).redirects("/admin"), "/admin/users?q=ali&show=all")
	root.page("/admin/users").shows("1 account", "The account is deleted")
	// One's own account offers nothing that would shut oneself out.
	root.page(fmt.Sprintf("/admin/users/%d", st.idOf("root"))).shows("your own account").hides("sign-out", "reset-code", "Deactivate")
	// More than a page of people.
	st.exec(`insert into "user" (username, email, hashed_password) select 'u' || n, 'u' || n || '@example.com', '' from generate_series(1, 120) n`)
	root.page("/admin/users").shows("121 accounts", "1 of 3", `rel="next"`)
	root.page("/admin/users?page=3").want(http.StatusOK).shows("3 of 3", ">root<")
	same(t, "behind the end", root.page("/admin/users?page=99&q=u").redirects("/admin"), "/admin/users?q=u")
	root.page("/admin/users?sort=name&q=u1").shows(">u1<", "sort=name").hides("root@example.com")
	// The names that differ in case alone are shown to admins.
	st.exec(`insert into "user" (username, email, hashed_password, username_double) values ('ROOT', 'x@example.com', '', true)`)
	root.page("/admin/users?show=doubles").shows("2 accounts", ">ROOT<", ">root<")
	root.page("/admin").shows("1 account differs", "/admin/users?show=doubles")
}

// Every page and form of the admins', as the table of routes has them, is theirs
// alone.
func TestAdminRoutesAreForAdmins(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	var patterns []string
	note := func(pattern string, _ route) { patterns = append(patterns, oneLine(pattern)) }
	st.addPages(note, note)
	found := 0
	for _, pattern := range patterns {
		method, path, _ := strings.Cut(pattern, " ")
		if !strings.HasPrefix(path, "/admin") {
			continue
		}
		found++
		path = strings.NewReplacer("{id}", "1", "{action}", "role", "{act}", "feature").Replace(path)
		if method == http.MethodGet {
			alice.page(path).want(http.StatusForbidden).shows("not open to you").hides("Administration")
			st.visitor().page(path).redirects("/login?error=session_expired")
			st.visitor().get(path).want(http.StatusUnauthorized)
			continue
		}
		alice.submit(path, url.Values{"role": {"admin"}, "note": {"x"}, "old": {"a"}, "new": {"b"}}).want(http.StatusForbidden)
		st.visitor().submit(path, nil).redirects("/login?error=session_expired")
		alice.do(method, path, url.Values{}, "Origin", "https://evil.example").want(http.StatusForbidden)
	}
	same(t, "routes", found > 18, true)
	same(t, "nothing happened", st.count(`select type from "user"`), 0)
}

func TestAdminProjects(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice := st.admin("root"), st.member("alice")
	id := alice.post("/api/projects", map[string]any{"title": "Walker <b>", "description": "It walks"}).want(http.StatusCreated).id()
	page := fmt.Sprintf("/admin/projects/%d", id)
	root.submit(page+"/feature", nil).want(http.StatusBadRequest).shows("Only a published project")
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	root.page("/admin/projects").shows("1 project", "Walker &lt;b&gt;", page).hides("<b>")
	root.page("/admin/projects?show=featured").shows("No project is like that")
	root.submit(page+"/feature", nil).redirects(page)
	root.page(page).shows("The project is on the front page.", "Take it from the front page", "Project put on the front page")
	root.page("/admin/projects?show=featured&q=walk&sort=featured").shows("1 project")
	same(t, "featured", st.count(`select count(*) from project where featured_at is not null`), 1)
	root.submit(page+"/unfeature", nil).redirects(page)
	root.submit(page+"/feature", nil).redirects(page)

	root.submit(page+"/unpublish", url.Values{"note": {" "}}).want(http.StatusUnprocessableEntity).shows("Note is required")
	root.submit(page+"/unpublish", url.Values{"note": {"The battery <i> burns.\nPlease mend it."}}).redirects(page)
	root.page(page).shows("The author has been told", "&lt;i&gt;").hides("<i>")
	letters := st.lettersTo("alice@example.com")
	same(t, "told", strings.Contains(letters[len(letters)-1], "> The battery <i> burns.") && strings.Contains(letters[len(letters)-1], fmt.Sprintf("/projects/%d/edit", id)), true)
	alice.page(fmt.Sprintf("/projects/%d/edit", id)).shows("An admin has taken this project off the site", "The battery &lt;i&gt; burns.<br>")
	same(t, "off", st.count(`select count(*) from project where status = 'draft' and featured_at is null and moderator_note is not null`), 1)
	root.submit(page+"/unpublish", url.Values{"note": {"again"}}).want(http.StatusBadRequest).shows("a draft already")
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	alice.page(fmt.Sprintf("/projects/%d/edit", id)).hides("An admin has taken")
	same(t, "history", st.count(`select count(*) from accountlog where action in ('project_featured', 'project_unfeatured', 'project_unpublished') and field_changed = $1 and changed_by = $2 and user_id = $3`,
		projectField(id), st.idOf("root"), st.idOf("alice")), 4)
	root.submit("/admin/projects/999/feature", nil).want(http.StatusNotFound)

	// The same over the API.
	api := "/api" + page
	root.post(api+"/feature", nil).want(http.StatusOK).shows(`"message":"The project is on the front page"`)
	same(t, "featured", st.count(`select count(*) from project where featured_at is not null`), 1)
	root.post(api+"/unfeature", nil).want(http.StatusOK)
	root.post(api+"/unpublish", nil).detail(http.StatusUnprocessableEntity, "Note is required")
	root.post(api+"/unpublish", map[string]any{"note": "It still burns."}).want(http.StatusOK).shows("alice is told why")
	root.post(api+"/unpublish", map[string]any{"note": "again"}).detail(http.StatusBadRequest, "a draft already")
	root.post(api+"/feature", nil).detail(http.StatusBadRequest, "Only a published project")
	alice.page(fmt.Sprintf("/projects/%d/edit", id)).shows("It still burns.")
	alice.post(api+"/unpublish", map[string]any{"note": "x"}).want(http.StatusForbidden)
	root.post("/api/admin/projects/999/feature", nil).want(http.StatusNotFound)
	root.submit(page+"/explode", nil).want(http.StatusNotFound)
}

func TestMovesOnThePage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root := st.admin("root")
	root.post("/interact/like", map[string]any{"url": "blog/a.html"}).want(http.StatusOK)
	root.post("/interact/comment", map[string]any{"url": "blog/a.html", "content": "Here"}).want(http.StatusOK)
	root.page("/admin/moves").shows("No page has moved").hides("This would move")
	root.page("/admin/moves?old=/blog/a.html&new=news/%3Cb%3E").shows("blog/a.html → news/&lt;b&gt;", "1 like, 1 comment and 0 views would join the 0 likes")
	same(t, "looking moves nothing", st.count(`select count(*) from comment where url = 'blog/a.html'`), 1)
	root.page("/admin/moves?old=" + strings.Repeat("x", 5000) + "&new=b").want(http.StatusOK).shows("must have at most").hides("This would move")
	root.submit("/admin/moves", url.Values{"old": {"same"}, "new": {"same"}}).want(http.StatusBadRequest).shows("same page already")
	root.submit("/admin/moves", url.Values{"old": {"blog/a.html"}, "new": {"news/a.html"}}).redirects("/admin/moves")
	root.page("/admin/moves").shows("moved with it: 1 likes, 1 comments", "1 moved page", "news/a.html")
	root.page("/admin/log?show=projects").shows("Page moved", "blog/a.html", "news/a.html")
	same(t, "csv", strings.HasPrefix(string(root.get("/admin/moves.csv").want(http.StatusOK).body), "old_url,new_url,moved_at\nblog/a.html,news/a.html,"), true)
}

// The log can be searched, and what people have called themselves is no formula
// in a spreadsheet.
func TestAuditLogPage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice := st.admin("root"), st.member("alice")
	alice.do(http.MethodPatch, "/accounts/me", map[string]any{"firstname": "=HYPERLINK(1)"}).want(http.StatusOK)
	root.submit(fmt.Sprintf("/admin/users/%d/sign-out", st.idOf("alice")), nil).redirects("/admin/users")
	root.page("/admin/log").shows("First name changed", "Signed out on other devices", "127.0.0.1")
	root.page("/admin/log?show=admins").shows("Signed out on other devices").hides("First name changed")
	root.page("/admin/log?q=HYPER").shows("1 entry")
	root.page("/admin/log?q=nothing_like_it").shows("Nothing like that has happened")
	root.page("/admin/log?since=1&sort=oldest").shows("Account made")
	root.page("/admin/log?since=2").want(http.StatusUnprocessableEntity)
	st.clock.Add(int64(48 * time.Hour))
	root.page("/admin/log?since=1").shows("Nothing like that has happened")
	csv := root.get("/admin/log.csv").want(http.StatusOK)
	same(t, "type", csv.header.Get("Content-Type"), "text/csv; charset=utf-8")
	same(t, "no formula", strings.Contains(string(csv.body), ",'=HYPERLINK(1),") && !strings.Contains(string(csv.body), ",=HYPER"), true)
	same(t, "of users", strings.Contains(string(root.get("/admin/users.csv?q=alice").want(http.StatusOK).body), ",'=HYPERLINK(1),"), true)
	root.get("/admin/projects.csv").want(http.StatusOK)
}

func TestDashboardAndSystem(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root := st.admin("root")
	root.page("/admin").want(http.StatusOK).shows("all is well", "Page views a day", "New accounts a day", "Comments a day", "Stored files", "Errors a day", "1 account so far", ">root<").hides("NaN", "style=")
	// Errors are counted, and outlive the process.
	st.failures.Add(2)
	root.page("/admin").shows("2 errors so far")
	same(t, "written down", st.count(`select error_count from error_day`), 2)
	st.exec(`alter table error_day rename to away`)
	st.failures.Add(1)
	st.noteFailures(t.Context())
	st.exec(`alter table away rename to error_day`)
	root.page("/admin").shows("3 errors so far")
	st.exec(`alter table comment rename to gone`)
	st.visitor().get("/interact/comments/a").want(http.StatusInternalServerError)
	st.exec(`alter table gone rename to comment`)
	root.page("/admin").shows("4 errors so far")

	// What needs somebody.
	st.exec(`insert into job (name, ran_at) values ('retention', $1)`, st.now().UTC().Add(-72*time.Hour))
	st.exec(`insert into outbox (letter, created_at, next_attempt_at, attempts, last_error, given_up_at) select letter, created_at, next_attempt_at, 3, 'the mail server answered 550', created_at from outbox limit 1`)
	bob := st.member("bob")
	comment := bob.post("/interact/comment", map[string]any{"url": "a", "content": "Hm"}).want(http.StatusOK).id()
	root.post(fmt.Sprintf("/interact/comments/%d/report", comment), map[string]any{"reason": "spam"}).want(http.StatusOK)
	root.page("/admin").shows("“retention” has not run", "1 e-mail could not be sent", "1 comment waits for a moderator").hides("all is well")

	page := root.page("/admin/system").want(http.StatusOK).shows("<td>115", "retention", "Overdue", "answered 550", "Given up", "verify", "r…@example.com", "SECRET_KEY", "EMAIL_VERIFICATION", "optional").
		hides("root@example.com", string(st.cfg.secretKey), "host=")
	letter := between(t, string(page.body), "/admin/system/letters/", "/again")
	root.submit("/admin/system/letters/"+letter+"/again", nil).redirects("/admin/system")
	same(t, "tried again", st.count(`select count(*) from outbox where given_up_at is null and attempts = 0 and id = `+letter), 1)
	same(t, "history", st.count(`select count(*) from accountlog where action = 'letter_sent_again'`), 1)
	root.submit("/admin/system/letters/999/again", nil).want(http.StatusNotFound)
}

// Secrets are shown as set, and nothing more.
func TestShownSettings(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"SECRET_KEY": "(set)", "SMTP_PASSWORD": "(set)", "NAS_PASSWORD": "(set)", "DATABASE_URL": "(set)", "SENTRY_DSN": "(set)", "SITE_NAME": "value", "PORT": "value"} {
		same(t, name, shownSetting(name, "value"), want)
		same(t, name, shownSetting(name, ""), "")
	}
	same(t, "an address with a password", shownSetting("PROXY", "http://a:b@example.com"), "(set)")
}
