package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mayUse says for every route who may use it, apart from the tables of routes:
// a new route is not known here until somebody has said what is expected of it.
// “owner” is who is signed in and owns what {id} names; behind the name stands
// what may still be to do: a password to choose, two factors to set up, an
// address to confirm.
var mayUse = map[string]string{
	"everybody": `
		POST /accounts/register, POST /api/register, POST /api/login, POST /auth/login, GET /logout,
		POST /api/verify-email, POST /api/password/forgot, POST /api/password/reset, POST /api/reset-password,
		GET /profile_pictures/{file}, GET /interact/likes/{url}, GET /interact/like-status/{url}, GET /interact/user-like-status/{url},
		GET /interact/most-liked, GET /api/likes/count, GET /api/likes/most-liked, GET /api/likes/entity/count,
		GET /interact/comments/{url}, GET /interact/comments/{id}/likers, GET /interact/entity/comments, GET /api/summary,
		GET /profile/{username}, GET /profile/{username}/comments, GET /api/users/{username}/comments_count,
		POST /analytics/page-view, GET /analytics/page-views/{url}, GET /analytics/page-views/{url}/timeline, GET /analytics/most-viewed,
		GET /embed.js, GET /api/viewer, GET /feeds/comments.atom, GET /feeds/users/{file}, GET /feeds/projects.atom,
		GET /api/projects, GET /api/tags, GET /api/licenses, GET /api/components/search,
		GET /health, GET /livez, GET /readyz, GET /metrics, GET /openapi.json,
		GET /{$}, GET /projects, GET /tags, GET /tags/{tag}, GET /u/{username}, GET /thread, GET /register, POST /register, GET /login, POST /login,
		GET /verify-email, POST /verify-email, GET /forgot-password, POST /forgot-password, GET /reset-password, POST /reset-password,
		GET /unlock, POST /unlock, GET /privacy, GET /terms, GET /unsubscribe, POST /unsubscribe, GET /robots.txt, GET /sitemap.xml, GET /sitemaps/{file},
		GET /static/{file}, GET /favicon.ico, GET /manifest.webmanifest, GET /docs`,
	"readers": `
		GET /api/projects/{project}, GET /api/projects/{project}/download, GET /api/projects/{project}/steps, GET /api/projects/{project}/bom,
		GET /api/projects/{project}/bom.csv, GET /api/projects/{project}/components, GET /api/projects/{project}/links, GET /api/projects/{project}/tools,
		GET /api/projects/{project}/files, GET /api/projects/{project}/files/{id}/download, GET /api/projects/{project}/images,
		GET /api/projects/{project}/images/{id}, GET /api/projects/{project}/images/{id}/file, GET /api/projects/{project}/images/{id}/{size},
		GET /projects/{project}, GET /p/{author}/{slug}, GET /projects/{project}/files/{id}`,
	"readers, signed in": `POST /api/projects/{project}/remix, POST /projects/{project}/remix`,
	"signed in": `
		GET /api/me/activity, GET /protected, POST /profile/picture, DELETE /profile/picture, POST /interact/like, POST /api/likes, POST /api/likes/entity,
		POST /interact/comment, POST /interact/entity/comment, POST /interact/comments/{id}/like, POST /interact/comments/{id}/report,
		GET /api/me/warnings, GET /profile/me, PUT /profile, POST /api/projects, POST /api/projects/import, POST /api/markdown, POST /api/components,
		POST /thread/comment, POST /thread/like, POST /thread/comments/{id}/like, POST /thread/comments/{id}/report, GET /kept,
		GET /projects/new, POST /projects/new, POST /projects/import`,
	"signed in, address": `
		PATCH /api/me/email, POST /api/me/password, PATCH /api/me/password, PATCH /accounts/me, POST /accounts/reset-password, GET /api/me/export,
		GET /api/me/sessions, DELETE /api/me/sessions, POST /api/me/totp/backup-codes, DELETE /api/me/totp, POST /api/me/verify-email/resend,
		GET /api/me/notifications, PUT /api/me/notifications, GET /account, GET /account/profile, GET /account/security, GET /account/sessions,
		GET /account/notifications, POST /account/update, POST /account/picture, POST /account/picture/delete, POST /account/change-password,
		POST /account/verify-email, POST /account/sessions/end, POST /account/letters`,
	"signed in, address, two factors": `
		GET /api/me, GET /api/auth/me, DELETE /api/me, GET /me, GET /accounts/me, DELETE /accounts/me, POST /api/me/totp, POST /api/me/totp/confirm,
		GET /account/data, GET /account/two-factor, POST /account/two-factor/{form}, POST /account/delete`,
	"signed in, address, two factors, password": `GET /force-password-reset, POST /force-password-reset`,
	"owner": `
		PUT /interact/comments/{id}, DELETE /interact/comments/{id}, DELETE /api/likes/{id}, DELETE /api/likes/entity/{id},
		POST /api/me/warnings/{id}/seen, POST /thread/comments/{id}/edit, POST /thread/comments/{id}/remove,
		POST /thread/warnings/{id}/seen, POST /kept/{id}/{act}`,
	"owner or admin": `GET /interact/comments/{id}/versions, GET /thread/comments/{id}/versions`,
	"owner, address": `DELETE /api/me/sessions/{id}, POST /account/sessions/{id}/end`,
	"author": `
		PUT /api/projects/{project}, DELETE /api/projects/{project}, POST /api/projects/{project}/publish, PUT /api/projects/{project}/publish,
		POST /api/projects/{project}/unpublish, PUT /api/projects/{project}/unpublish, POST /api/projects/{project}/steps, PUT /api/projects/{project}/steps/reorder,
		PUT /api/projects/{project}/steps/{id}, DELETE /api/projects/{project}/steps/{id}, POST /api/projects/{project}/bom, PUT /api/projects/{project}/bom/reorder,
		PUT /api/projects/{project}/bom/{id}, POST /api/projects/{project}/bom/import, DELETE /api/projects/{project}/bom/{id},
		POST /api/projects/{project}/components, DELETE /api/projects/{project}/components/{id}, POST /api/projects/{project}/links,
		PUT /api/projects/{project}/links/{id}, DELETE /api/projects/{project}/links/{id}, POST /api/projects/{project}/tools,
		PUT /api/projects/{project}/tools/{id}, DELETE /api/projects/{project}/tools/{id}, POST /api/projects/{project}/files,
		DELETE /api/projects/{project}/files/{id}, POST /api/projects/{project}/images, GET /api/projects/{project}/images/{id}/original,
		PUT /api/projects/{project}/images/reorder, PUT /api/projects/{project}/images/{id}/primary, PUT /api/projects/{project}/primary-image/{id},
		DELETE /api/projects/{project}/images/{id}, GET /projects/{project}/edit, POST /projects/{project}/edit, POST /projects/{project}/edit/bom-import,
		POST /projects/{project}/edit/{part}, POST /projects/{project}/edit/{part}/{id}, POST /projects/{project}/publish,
		POST /projects/{project}/unpublish, POST /projects/{project}/delete`,
	"admin": `
		GET /api/admin/users, PATCH /accounts/admin/{id}/status, POST /accounts/admin/{id}/reset-password, DELETE /accounts/admin/{id},
		POST /api/admin/users/{id}/{action}, POST /interact/refresh-most-liked, POST /api/likes/refresh-view, POST /analytics/refresh-page-view-counts,
		GET /interact/comments/flagged, POST /interact/comments/{id}/hide, POST /interact/comments/{id}/unhide, POST /interact/comments/{id}/clear-flags,
		GET /api/admin/moderation, POST /api/admin/comments/{id}/remove, POST /api/admin/comments/{id}/warn, POST /api/admin/comments/{id}/ban,
		POST /api/admin/users/{id}/unban, GET /api/admin/views, POST /api/admin/projects/{id}/feature, POST /api/admin/projects/{id}/unfeature,
		POST /api/admin/projects/{id}/unpublish, POST /api/admin/urls/move, POST /api/admin/log-level,
		GET /admin, GET /admin/pages, GET /admin/pages.csv, GET /admin/users, GET /admin/users.csv, GET /admin/projects, GET /admin/projects.csv, GET /admin/projects/{id}, POST /admin/projects/{id}/{act},
		GET /admin/moves, GET /admin/moves.csv, POST /admin/moves, GET /admin/log, GET /admin/log.csv, GET /admin/system,
		POST /admin/system/letters/{id}/again, GET /admin/storage, GET /admin/users/{id}, GET /admin/views, GET /admin/views.csv,
		POST /admin/users/{id}/{action}, POST /admin/force-password-reset/{id}, POST /admin/generate-reset-code/{id},
		GET /admin/moderation, GET /admin/moderation.csv, POST /admin/moderation/{id}/{act}`,
}

// everyRoute is every line of the tables of routes, and who may use it.
func everyRoute(t *testing.T) map[string]string {
	t.Helper()
	expected := map[string]string{}
	for who, patterns := range mayUse {
		for pattern := range strings.SplitSeq(oneLine(patterns), ", ") {
			if _, twice := expected[pattern]; twice {
				t.Errorf("%s is there twice", pattern)
			}
			expected[pattern] = who
		}
	}
	table := map[string]string{}
	for _, file := range []string{"routes.go", "pages.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^\s+\w+\("([A-Z]+ +/[^"]*)",`).FindAllStringSubmatch(string(text), -1) {
			pattern := oneLine(m[1])
			if table[pattern] = expected[pattern]; table[pattern] == "" {
				t.Errorf("nobody has said who may use %s: it needs an entry in mayUse", pattern)
			}
		}
	}
	for pattern := range expected {
		if table[pattern] == "" {
			t.Errorf("%s is no route any more", pattern)
		}
	}
	for pattern := range contract().routes {
		if table[pattern] == "" {
			t.Errorf("%s is a route, and not found in its table", pattern)
		}
	}
	return table
}

// rowsOf is what all tables hold, but for counts of views and for forms that
// wait for a sign-in, as one text.
func (st *site) rowsOf(t *testing.T) string {
	t.Helper()
	var sql []string
	rows, err := st.db.Query(t.Context(), `select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(name, "view") && name != "kept_form" && name != "error_day" {
			sql = append(sql, fmt.Sprintf(`select '%s ' || coalesce(md5(string_agg(x::text, '|' order by x::text)), '') as line from "%s" x`, name, name))
		}
	}
	var all string
	if err := st.db.QueryRow(t.Context(), `select string_agg(line, E'\n' order by line) from (`+strings.Join(sql, " union all ")+`) lines`).Scan(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// goodBody is a body with everything that a route could want: of a project, a
// step of it, and a button of a form.
func goodBody(t *testing.T, pattern string, project, step int, button string) any {
	for _, o := range contract().operations {
		if o.pattern == pattern {
			if o.ids != "" {
				return []int{step}
			}
			if media := o.BodyMedia(); media != nil && media[0] == "multipart/form-data" {
				return form("caption", "X").file(o.body[0].name, "a.png", picture(t, "png", 8, 8))
			}
		}
	}
	fields := map[string]any{"title": "X", "description": "X", "content": "X", "item_name": "X", "url": "https://example.com", "link_type": "video", "name": "X", "tool_type": "tool",
		"quantity": "1", "caption": "X", "status": "inactive", "role": "admin", "new_password": "Brand-New-9", "new_password_confirm": "Brand-New-9", "current_password": testPassword,
		"old_password": testPassword, "password": testPassword, "firstname": "X", "email": "x@example.com", "entity_type": "project", "entity_id": project, "text": "X", "days": 3, "level": "debug",
		"old": "blog/a.html", "new": "b", "reason": "other", "note": "X", "code": "123456", "component_id": 1, "bio": "X", "replies": false, "confirm": "delete"}
	if _, api := contract().routes[pattern]; api {
		return fields
	}
	values := url.Values{}
	for name, value := range fields {
		values.Set(name, fmt.Sprint(value))
	}
	if button != "" {
		values.Set("action", button)
	}
	return values
}

// attacker is somebody who tries every route.
type attacker struct {
	*person
	who    string
	header []string // sent with each request
}

// may reports whether the attacker is expected to be let in.
func (a attacker) may(access string, published bool) bool {
	who, duties, _ := strings.Cut(access, ", ")
	in := a.who == "author" || a.who == "stranger" || a.who == "admin" || a.who == "unverified" && strings.Contains(duties, "address") ||
		a.who == "without two factors" && strings.Contains(duties, "two factors") || a.who == "with a password to choose" && strings.Contains(duties, "password")
	switch who {
	case "everybody":
		return true
	case "readers":
		return (published || a.who == "author") && (in || duties == "")
	case "owner", "author":
		return in && a.who == "author"
	case "owner or admin":
		return in && (a.who == "author" || a.who == "admin")
	case "admin":
		return in && a.who == "admin"
	}
	return in
}

// send sends what would work for who may.
func (a attacker) send(pattern, path string, body any) *answer {
	a.t.Helper()
	method, _, _ := strings.Cut(pattern, " ")
	header := slices.Clone(a.header)
	if _, api := contract().routes[pattern]; !api {
		header = append(header, "Accept", "text/html")
	}
	if method == http.MethodGet || method == http.MethodDelete && !strings.HasSuffix(path, "/me") && !strings.HasSuffix(path, "/totp") {
		body = nil
	}
	return a.do(method, path, body, header...)
}

// Every route is used by everybody who may not, on a draft and on what is
// published, with things that are there and that are not. They learn nothing,
// and no row changes. Who may is let in.
func TestEveryRouteKnowsWhoMayUseIt(t *testing.T) {
	t.Parallel()
	routes := everyRoute(t)
	st := newSite(t)
	st.stopClock() // after a minute each request would note when its session was last seen
	root, alice, bob, late := st.admin("root"), st.member("alice"), st.member("bob"), st.member("late")
	draft, shown := alice.fullProject("Quagga", map[string]any{}), alice.fullProject("Okapi", map[string]any{"license": "CC0-1.0"})
	alice.post(fmt.Sprintf("/api/projects/%d/publish", shown), nil).want(http.StatusOK)
	_, backup := late.enrol()
	same(t, "backup codes", len(backup) > 0, true)
	ticket := between(t, string(st.visitor().submit("/login", credentials("late", testPassword)).body), `name="ticket" value="`, `"`)

	// What is alice's, or happened to her.
	comment := alice.post("/interact/comment", map[string]any{"url": "blog/a.html", "content": "Hello"}).want(http.StatusOK).id()
	bob.post(fmt.Sprintf("/interact/comments/%d/report", comment), map[string]any{"reason": "spam"}).want(http.StatusOK)
	like := alice.post("/api/likes", map[string]any{"url": "blog/a.html"}).want(http.StatusCreated).id()
	entityLike := alice.post("/api/likes/entity", map[string]any{"entity_type": "project", "entity_id": shown}).want(http.StatusCreated).id()
	root.post(fmt.Sprintf("/api/admin/comments/%d/warn", comment), map[string]any{"text": "Please"}).want(http.StatusOK)
	var warnings []struct{ ID int }
	alice.get("/api/me/warnings").want(http.StatusOK).into(&warnings)
	alice.do(http.MethodPost, "/thread/comment", url.Values{"url": {"a"}, "content": {"Kept"}}, "Accept", "text/html")
	var sessions []struct{ ID string }
	alice.get("/api/me/sessions").want(http.StatusOK).into(&sessions)

	inactive := st.member("inactive")
	for _, name := range []string{"unverified", "half", "forced"} {
		st.member(name)
	}
	unverified, half, forced := st.visitor(), st.visitor(), st.visitor()
	for p, name := range map[*person]string{unverified: "unverified", half: "half", forced: "forced"} {
		p.name = name
		p.signIn()
	}
	st.exec(`update "user" set email_verified = username <> 'unverified', totp_confirmed_at = case when username in ('half', 'late') then totp_confirmed_at else now() end,
		force_password_reset = username = 'forced', status = case when username = 'inactive' then 'inactive' else 'active' end`)
	st.exec(`update "user" set totp_secret = (select totp_secret from "user" where username = 'late') where username <> 'half'`)
	st.cfg.emailVerification, st.cfg.require2FA = "required", "all"

	attackers := []attacker{
		{person: st.visitor(), who: "anonymous"}, {person: bob, who: "stranger"}, {person: alice, who: "author"}, {person: root, who: "admin"},
		{person: inactive, who: "inactive"}, {person: unverified, who: "unverified"}, {person: half, who: "without two factors"}, {person: forced, who: "with a password to choose"},
		{person: st.visitor(), who: "half signed in", header: []string{"Authorization", "Bearer " + ticket}},
		{person: st.visitor(), who: "half signed in, by cookie", header: []string{"Cookie", "access_token=\"Bearer " + ticket + "\""}},
	}

	type target struct {
		project   int
		published bool
		children  map[string]int
	}
	var targets []target
	for _, id := range []int{draft, shown} {
		d := alice.project(id)
		targets = append(targets, target{id, id == shown, map[string]int{"steps": d.Steps[0].ID, "bom": d.BillOfMaterials[0].ID, "components": d.Components[0].ID,
			"links": d.Links[0].ID, "tools": d.ToolsMaterials[0].ID, "files": d.Files[0].ID, "images": d.Images[0].ID, "primary-image": d.Images[0].ID}})
	}
	const none = 999_999
	// path names what is there, or for its last part something that is not.
	path := func(pattern string, of target, part string, there bool) string {
		_, path, _ := strings.Cut(pattern, " ")
		id := fmt.Sprint(none)
		if there {
			switch kind, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(path, "/api"), "/projects/{project}/"), "/"); {
			case part != "":
				id = fmt.Sprint(of.children[part])
			case strings.Contains(path, "{project}"):
				id = fmt.Sprint(of.children[kind])
			case strings.Contains(path, "/comments/") || strings.Contains(path, "/moderation/"):
				id = fmt.Sprint(comment)
			case strings.Contains(path, "/likes/entity"):
				id = fmt.Sprint(entityLike)
			case strings.Contains(path, "/likes/"):
				id = fmt.Sprint(like)
			case strings.Contains(path, "/warnings/"):
				id = fmt.Sprint(warnings[0].ID)
			case strings.Contains(path, "/sessions/"):
				id = sessions[0].ID
			case strings.Contains(path, "/projects/"):
				id = fmt.Sprint(of.project)
			case strings.Contains(path, "/kept/"), strings.Contains(path, "/letters/"):
				id = "1"
			default:
				id = fmt.Sprint(st.idOf("alice"))
			}
		} else if strings.Contains(path, "/sessions/") {
			id = "00000000-0000-4000-8000-000000000000"
		}
		act := "remove"
		switch {
		case strings.Contains(path, "/kept/"):
			act = "drop"
		case strings.Contains(path, "/admin/projects/"):
			act = "unpublish"
		}
		return strings.NewReplacer("{project}", fmt.Sprint(of.project), "{id}", id, "{part}", part, "{act}", act, "{action}", "role", "{url}", "blog%2Fa.html", "{username}", "alice",
			"{author}", "alice", "{slug}", fmt.Sprintf("%d-x", of.project), "{size}", "320.jpg", "{file}", "alice.atom", "{tag}", "one", "{form}", "begin", "{$}", "").Replace(path)
	}
	// plain is an answer without what the request itself had said.
	plain := func(a *answer, path string) string {
		text := string(a.body) + a.header.Get("Location")
		for _, said := range []string{path, url.QueryEscape(path), url.QueryEscape(strings.ReplaceAll(path, "%2F", "/"))} {
			text = strings.ReplaceAll(text, said, "HERE")
		}
		return fmt.Sprint(a.status, " ", regexp.MustCompile(`99999\d|value="\d+"`).ReplaceAllString(text, "N"))
	}

	before := st.rowsOf(t)
	tried := 0
	for _, pattern := range slices.Sorted(maps.Keys(routes)) {
		parts := []string{""}
		if strings.Contains(pattern, "{part}") {
			parts = []string{"steps", "bom", "components", "links", "tools", "files", "images"}
		}
		of := targets[:1]
		if strings.Contains(pattern, "{project}") || strings.Contains(pattern, "{slug}") {
			of = targets
		}
		for _, of := range of {
			for _, part := range parts {
				for _, a := range attackers {
					if a.may(routes[pattern], of.published) {
						continue
					}
					buttons := []string{""}
					if part != "" {
						buttons = []string{"", "delete", "primary", "up"}
					}
					for _, button := range buttons {
						tried++
						at := path(pattern, of, part, true)
						got := a.send(pattern, at, goodBody(t, pattern, of.project, of.children["steps"], button))
						switch location := got.header.Get("Location"); {
						case got.status == http.StatusUnauthorized, got.status == http.StatusForbidden, got.status == http.StatusNotFound && strings.HasPrefix(routes[pattern], "owner"):
						case got.status == http.StatusSeeOther && (strings.HasPrefix(location, "/login?error=session_expired") || location == "/force-password-reset" || location == "/account/two-factor" || location == "/verify-email"):
						default:
							t.Errorf("%s, %s (published: %t) gets %d %s %s", a.who, got.request, of.published, got.status, location, truncate(string(got.body), 300))
						}
						if strings.Contains(string(got.body), "Quagga") || strings.Contains(string(got.body), "alice@example.com") {
							t.Errorf("%s, %s is told: %s", a.who, got.request, truncate(string(got.body), 300))
						}
						// What is not there is answered alike, unless everybody sees anyway whether it is.
						if elsewhere := path(pattern, of, part, false); elsewhere != at && !(strings.HasPrefix(routes[pattern], "owner") && (strings.Contains(pattern, "/comments/") || strings.Contains(pattern, "/likes/"))) {
							absent := a.send(pattern, elsewhere, goodBody(t, pattern, of.project, of.children["steps"], button))
							if was, is := plain(absent, elsewhere), plain(got, at); was != is {
								t.Errorf("%s, %s tells what is there:\n%s\n%s", a.who, got.request, truncate(is, 700), truncate(was, 700))
							}
						}
					}
				}
				if after := st.rowsOf(t); after != before {
					t.Fatalf("%s has changed what is stored:\n%s\n%s", pattern, before, after)
				}
			}
		}
	}
	same(t, "attempts", tried > 1500, true)

	// Who may is let in: otherwise the above would prove nothing. What they ask for
	// is not there, so that nothing is gone for the next.
	for _, pattern := range slices.Sorted(maps.Keys(routes)) {
		if strings.Contains(pattern, "{part}") || pattern == "GET /logout" || strings.Contains(pattern, "publish") || strings.HasPrefix(pattern, "DELETE") && !strings.HasSuffix(pattern, "{id}") || strings.HasSuffix(pattern, "/delete") || strings.HasSuffix(pattern, "/end") ||
			strings.Contains(pattern, "password") || strings.Contains(pattern, "login") || strings.Contains(pattern, "sessions") || strings.Contains(pattern, "remix") {
			continue
		}
		for _, a := range attackers {
			for _, of := range targets {
				if !a.may(routes[pattern], of.published) {
					continue
				}
				got := a.send(pattern, path(pattern, of, "", strings.HasPrefix(pattern, "GET"))+"?token=x", "{")
				if got.status == http.StatusUnauthorized || got.status == http.StatusForbidden || strings.HasPrefix(got.header.Get("Location"), "/login?error") || got.status >= 500 && pattern != "GET /readyz" {
					t.Errorf("%s, %s is not let in: %d %s", a.who, got.request, got.status, truncate(string(got.body), 300))
				}
			}
		}
	}
}
