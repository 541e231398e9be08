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
	shown := string(root.submit(fmt.Sprintf("/admin/generate-reset-code/%d", st.idOf("alice")), nil).want(http.StatusOK).body)
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
	root.page("/admin").want(http.StatusOK).shows("2 accounts", "alice@example.com", page)
	root.page("/admin?q=nobody").want(http.StatusOK).shows("No account is like that")
	root.page("/admin?show=strange").want(http.StatusUnprocessableEntity)
	root.page(page).want(http.StatusOK).shows("Deactivate", "Make an admin", "Account made")
	root.page("/admin/users/999").want(http.StatusNotFound)
	root.submit(page+"/status", url.Values{"status": {"inactive"}}).redirects(page)
	root.page(page+"?done=status").shows("The status is changed", "Deactivated", "Activate")
	root.submit(page+"/reset-password", url.Values{"new_password": {"weak"}}).want(http.StatusUnprocessableEntity).shows("at least 8 characters")
	root.submit(page+"/delete", url.Values{"confirm": {"yes"}}).want(http.StatusBadRequest).shows("the word delete")
	root.submit(page+"/delete", url.Values{"confirm": {"delete"}}).redirects("/admin?done=deleted")
	root.page("/admin?done=deleted").shows("1 account", "The account is deleted")
	// More than a page of people.
	st.exec(`insert into "user" (username, email, hashed_password) select 'u' || n, 'u' || n || '@example.com', '' from generate_series(1, 120) n`)
	root.page("/admin").shows("121 accounts", "1 of 3", `rel="next"`)
	root.page("/admin?page=3").want(http.StatusOK).shows("3 of 3", ">root<")
	// The names that differ in case alone are shown to admins.
	st.exec(`insert into "user" (username, email, hashed_password, username_double) values ('ROOT', 'x@example.com', '', true)`)
	root.page("/admin?show=doubles").shows("2 accounts", ">ROOT<", ">root<")
}
