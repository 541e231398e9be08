package main

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// userShape is UserRead as clients know it.
type userShape struct {
	ID                                   int
	Username, Firstname, Lastname, Email string
	DateOfBirth                          *time.Time `json:"date_of_birth"`
	Status                               string
	Type                                 *int
	CreatedAt                            time.Time  `json:"created_at"`
	UpdatedAt                            time.Time  `json:"updated_at"`
	LastLogin                            *time.Time `json:"last_login"`
}

func registration(name string) map[string]any {
	return map[string]any{"username": name, "firstname": "First", "lastname": "Last", "email": name + "@example.com", "password": testPassword}
}

func with(m map[string]any, pairs ...any) map[string]any {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(m, pairs[i].(string))
		} else {
			m[pairs[i].(string)] = pairs[i+1]
		}
	}
	return m
}

func TestRegister(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	v := st.visitor()
	var u userShape
	v.do(http.MethodPost, "/accounts/register", with(registration("Alice_1"), "date_of_birth", "1990-05-17"), "User-Agent", "Tester/1").want(http.StatusCreated).into(&u)
	same(t, "username", u.Username, "Alice_1")
	same(t, "date_of_birth", u.DateOfBirth.Format(time.RFC3339), "1990-05-17T00:00:00Z")
	same(t, "status", u.Status, "active")
	same(t, "type", *u.Type, 0)
	same(t, "last_login", u.LastLogin == nil, true)
	same(t, "audit row", st.count(`select count(*) from accountlog where user_id = $1 and action = 'created' and ip_address = '127.0.0.1' and user_agent = 'Tester/1'`, u.ID), 1)
	same(t, "the password is hashed", st.count(`select count(*) from "user" where hashed_password like '$argon2id$%'`), 1)

	v.post("/accounts/register", with(registration("ALICE_1"), "email", "other@example.com")).detail(http.StatusBadRequest, "Username already registered")
	v.post("/accounts/register", with(registration("bob"), "email", "alice_1@EXAMPLE.com")).detail(http.StatusBadRequest, "Email already registered")
	old := v.post("/api/register", registration("alice_1")).detail(http.StatusBadRequest, "Username already taken")
	same(t, "Deprecation", old.header.Get("Deprecation"), "true")
	v.post("/api/register", registration("carol")).want(http.StatusOK).into(&u)
	same(t, "registered by the old path", u.Username, "carol")
	same(t, "accounts", st.count(`select count(*) from "user"`), 2)
}

func TestRegisterRefusesBadInput(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	v := st.visitor()
	for _, c := range []struct {
		field string
		value any
		msg   string
	}{
		{"username", nil, "Username is required"},
		{"username", "al", "Username must have 3 to 30"},
		{"username", strings.Repeat("a", 31), "Username must have 3 to 30"},
		{"username", "a b c", "Username must have 3 to 30"},
		{"username", "alice@example.com", "Username must have 3 to 30"},
		{"username", "älice", "Username must have 3 to 30"},
		{"username", 12345, "Username must be a text"},
		{"username", "", "Username is required"},
		{"firstname", "", "Firstname is required"},
		{"firstname", "a\x00b", "Firstname must not hold a NUL character"},
		{"lastname", nil, "Lastname is required"},
		{"lastname", strings.Repeat("x", 101), "Lastname must have at most 100 characters"},
		{"email", "nobody", "Email must be a valid e-mail address"},
		{"email", "a@b", "Email must be a valid e-mail address"},
		{"email", "Name <a@example.com>", "Email must be a valid e-mail address"},
		{"email", "a@example.com\nBcc: b@example.com", "Email must be a valid e-mail address"},
		{"email", strings.Repeat("a", 250) + "@example.com", "Email must have at most 254 characters"},
		{"date_of_birth", "yesterday", "Date of birth must be a date such as 1990-05-17"},
		{"date_of_birth", "2999-01-01", "Date of birth must lie between"},
		{"password", nil, "Password is required"},
		{"password", "Short1", "Password must have at least 8 characters"},
		{"password", "alllower1", "Password must have an upper-case letter"},
		{"password", "ALLUPPER1", "Password must have a lower-case letter"},
		{"password", "NoDigitsHere", "Password must have a digit"},
		{"password", "Aa1" + strings.Repeat("x", 1100), "Password must have at most 1024 characters"},
	} {
		a := v.post("/accounts/register", with(registration("alice"), c.field, c.value)).detail(http.StatusUnprocessableEntity, c.msg)
		var body struct {
			Errors []struct {
				Loc       []string
				Msg, Type string
			}
		}
		a.into(&body)
		if len(body.Errors) == 0 || body.Errors[0].Loc[0] != "body" || body.Errors[0].Loc[1] != c.field || body.Errors[0].Type == "" {
			t.Errorf("%s: errors %+v", c.field, body.Errors)
		}
	}
	// Every fault is listed at once.
	var all struct{ Errors []any }
	v.post("/accounts/register", map[string]any{}).want(http.StatusUnprocessableEntity).into(&all)
	same(t, "faults", len(all.Errors), 5)
	same(t, "nothing was written", st.count(`select count(*) from "user"`), 0)
}

func TestMe(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	for _, path := range []string{"/api/me", "/api/auth/me"} {
		var me struct {
			userShape
			ProfilePicture, Location, Bio *string
			AccountCreatedAt              time.Time `json:"account_created_at"`
			AvatarURL                     *string   `json:"avatar_url"`
			IsAdmin                       *bool     `json:"is_admin"`
		}
		alice.get(path).want(http.StatusOK).into(&me)
		same(t, "username", me.Username, "alice")
		same(t, "account_created_at", me.AccountCreatedAt, me.CreatedAt)
		same(t, "is_admin", *me.IsAdmin, false)
		same(t, "avatar", me.AvatarURL == nil, true)
	}
	st.exec(`update "user" set profile_picture = 'user_1_0a1b2c3d.png', type = 1`)
	me := alice.get("/api/me").fields()
	same(t, "avatar_url", me["avatar_url"], any("http://localhost:8000/profile_pictures/user_1_0a1b2c3d.png"))
	same(t, "is_admin", me["is_admin"], any(true))
	same(t, "/me", strings.TrimSpace(string(alice.get("/me").body)), `{"username":"alice"}`)
	same(t, "/protected", strings.TrimSpace(string(alice.get("/protected").body)), `{"message":"Welcome, alice!"}`)
	var u userShape
	alice.get("/accounts/me").want(http.StatusOK).into(&u)
	same(t, "email", u.Email, "alice@example.com")
	alice.post("/interact/like", map[string]any{"url": "a"}).want(http.StatusOK)
	same(t, "activity", strings.TrimSpace(string(alice.get("/api/me/activity").body)), `{"comments_count":0,"likes_count":1}`)
}

func TestUpdateAccount(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	st.member("bob")
	var u userShape
	alice.do(http.MethodPatch, "/accounts/me", map[string]any{"firstname": "Alicia", "date_of_birth": "1990-05-17T10:00:00"}).want(http.StatusOK).into(&u)
	same(t, "firstname", u.Firstname, "Alicia")
	same(t, "lastname stays", u.Lastname, "Tester")
	same(t, "audit rows", st.count(`select count(*) from accountlog where action = 'updated'`), 2)
	same(t, "what changed", st.count(`select count(*) from accountlog where field_changed = 'firstname' and old_value = 'Alice' and new_value = 'Alicia' and changed_by = user_id`), 1)
	// Nothing but the four fields is taken.
	alice.do(http.MethodPatch, "/accounts/me", map[string]any{"type": 1, "username": "root", "status": "inactive", "bio": "x"}).want(http.StatusOK).into(&u)
	same(t, "type", *u.Type, 0)
	same(t, "username", u.Username, "alice")
	same(t, "bio", st.count(`select count(*) from "user" where bio is not null`), 0)

	alice.do(http.MethodPatch, "/api/me/email", map[string]any{"email": "BOB@example.com"}).detail(http.StatusBadRequest, "Email already in use")
	alice.do(http.MethodPatch, "/accounts/me", map[string]any{"email": "bob@example.com"}).detail(http.StatusBadRequest, "Email already in use")
	alice.do(http.MethodPatch, "/api/me/email", map[string]any{}).detail(http.StatusUnprocessableEntity, "Email is required")
	alice.do(http.MethodPatch, "/accounts/me", map[string]any{"email": "x", "firstname": ""}).detail(http.StatusUnprocessableEntity, "Firstname is required; Email must")
	got := alice.do(http.MethodPatch, "/api/me/email", map[string]any{"email": "new@example.com"}).want(http.StatusOK).fields()
	same(t, "email", got["email"], any("new@example.com"))
	alice.do(http.MethodPatch, "/accounts/me", map[string]any{"date_of_birth": nil}).want(http.StatusOK).into(&u)
	same(t, "date_of_birth", u.DateOfBirth == nil, true)
}
