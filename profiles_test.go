package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestProfiles(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	type shape struct {
		Username          string
		Firstname         string
		Lastname          string
		Location          *string
		Bio               *string
		ProfilePictureURL *string   `json:"profile_picture_url"`
		CreatedAt         time.Time `json:"created_at"`
		CommentCount      int       `json:"comment_count"`
		IsOwnProfile      bool      `json:"is_own_profile"`
	}
	var p shape
	changed := alice.do(http.MethodPut, "/profile", map[string]any{"location": " Leeds ", "bio": "Robots", "email": "stolen@example.com"}).want(http.StatusOK).fields()
	same(t, "changed", changed["location"] == "Leeds" && changed["bio"] == "Robots" && changed["message"] != "", true)
	same(t, "address", st.count(`select count(*) from "user" where email = 'alice@example.com'`), 1)
	alice.put("/profile", map[string]any{"bio": strings.Repeat("ä", 501)}).detail(http.StatusBadRequest, "Bio too long (max 500 characters)")
	alice.put("/profile", map[string]any{"bio": strings.Repeat("ä", 500)}).want(http.StatusOK)
	alice.put("/profile", map[string]any{"bio": 5}).detail(http.StatusUnprocessableEntity, "Bio must be a text")
	alice.put("/profile", map[string]any{"location": nil}).want(http.StatusOK)
	nobody.put("/profile", map[string]any{"bio": "x"}).want(http.StatusUnauthorized)

	project := alice.draft("Robot arm")
	alice.comment("blog/x.html", "One", 0)
	gone := alice.comment("blog/x.html", "Two", 0)
	alice.delete(fmt.Sprintf("/interact/comments/%d", gone)).want(http.StatusOK)
	alice.post("/interact/entity/comment", map[string]any{"entity_type": "project", "entity_id": project, "content": "Three"}).want(http.StatusOK)
	st.exec(`update "user" set profile_picture = 'user_1_0a1b2c3d.png' where username = 'alice'`)

	nobody.get("/profile/ALICE").want(http.StatusOK).into(&p)
	same(t, "profile", p.Username == "alice" && p.Firstname == "Alice" && p.Lastname == "Tester" && p.Location == nil && len(*p.Bio) == 1000 && *p.ProfilePictureURL == "/profile_pictures/user_1_0a1b2c3d.png" &&
		p.CommentCount == 1 && !p.IsOwnProfile && !p.CreatedAt.IsZero(), true)
	for _, path := range []string{"/profile/me", "/profile/alice"} {
		alice.get(path).want(http.StatusOK).into(&p)
		same(t, path, p.IsOwnProfile && p.CommentCount == 2, true)
	}
	bob.get("/profile/bob").want(http.StatusOK).into(&p)
	nobody.get("/profile/me").want(http.StatusUnauthorized)
	nobody.get("/profile/nobody").detail(http.StatusNotFound, "User not found")

	type list struct {
		Username string
		Comments []struct {
			ID        int
			URL       *string
			Content   string
			CreatedAt time.Time  `json:"created_at"`
			EditedAt  *time.Time `json:"edited_at"`
		}
	}
	var c list
	nobody.get("/profile/alice/comments").want(http.StatusOK).into(&c)
	same(t, "the draft's comment is not shown", len(c.Comments) == 1 && c.Username == "alice" && *c.Comments[0].URL == "blog/x.html" && c.Comments[0].Content == "One", true)
	alice.post(fmt.Sprintf("/api/projects/%d/publish", project), nil).want(http.StatusOK)
	nobody.get("/profile/alice/comments").into(&c)
	same(t, "newest first, with the project's page", len(c.Comments) == 2 && *c.Comments[0].URL == fmt.Sprintf("%s/p/alice/%d-robot-arm", st.cfg.publicURL, project), true)
	nobody.get("/profile/alice/comments?limit=1&offset=1").into(&c)
	same(t, "second page", len(c.Comments) == 1 && c.Comments[0].Content == "One", true)
	same(t, "none", strings.Contains(string(nobody.get("/profile/bob/comments").want(http.StatusOK).body), `"comments":[]`), true)
	nobody.get("/profile/alice/comments?limit=0").detail(http.StatusUnprocessableEntity, "Limit must be")
	same(t, "count", nobody.get("/api/users/alice/comments_count").want(http.StatusOK).fields()["count"], any(2.0))
	same(t, "count of nobody", nobody.get("/api/users/nobody/comments_count").want(http.StatusOK).fields()["count"], any(0.0))
	st.exec(`update "user" set status = 'inactive' where username = 'alice'`)
	for _, path := range []string{"/profile/alice", "/profile/alice/comments"} {
		nobody.get(path).detail(http.StatusNotFound, "User not found")
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, root := st.member("alice"), st.member("bob"), st.admin("root")
	for _, p := range []*person{alice, bob} {
		p.post("/interact/like", map[string]any{"url": "/a"}).want(http.StatusOK)
	}
	alice.comment("b?x=1&y=ä", "Hello", alice.comment("b?x=1&y=ä", "Hello", 0))
	for range 3 {
		alice.post("/analytics/page-view", map[string]any{"url": ""}).want(http.StatusOK)
	}
	type page struct {
		URL          string
		LikeCount    int    `json:"like_count"`
		CommentCount int    `json:"comment_count"`
		ViewCount    int    `json:"view_count"`
		Formatted    string `json:"view_count_formatted"`
		UserHasLiked bool   `json:"user_has_liked"`
	}
	var got []page
	ask := "/api/summary?" + url.Values{"url": {"/", "/a", "never", "b?x=1&y=ä", "a"}}.Encode()
	bob.get(ask).want(http.StatusOK).into(&got)
	want := []page{{"index.html", 0, 0, 3, "3", false}, {"a", 2, 0, 0, "0", true}, {"never", 0, 0, 0, "0", false}, {"b?x=1&y=ä", 0, 2, 0, "0", false}, {"a", 2, 0, 0, "0", true}}
	same(t, "pages", fmt.Sprint(got), fmt.Sprint(want))
	st.visitor().get(ask).want(http.StatusOK).into(&got)
	same(t, "for nobody", got[1].UserHasLiked, false)
	// A page that moved is found under both addresses.
	root.post("/api/admin/urls/move", map[string]any{"old": "a", "new": "c"}).want(http.StatusOK)
	bob.get("/api/summary?url=a&url=c").into(&got)
	same(t, "moved", fmt.Sprint(got), fmt.Sprint([]page{{"a", 2, 0, 0, "0", true}, {"c", 2, 0, 0, "0", true}}))
	same(t, "drift", st.drift(), "")
	for path, reason := range map[string]string{
		"/api/summary": "Url is required", "/api/summary?url=" + strings.Repeat("x", 2001): "at most 2000 characters",
		"/api/summary?" + strings.Repeat("url=a&", 101): "At most 100 pages",
	} {
		bob.get(path).detail(http.StatusUnprocessableEntity, reason)
	}
	bob.get("/api/summary?url=a%00").want(http.StatusUnprocessableEntity)
	bob.get("/api/summary?url=%ff").want(http.StatusUnprocessableEntity)
}
