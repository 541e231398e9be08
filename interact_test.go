package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestLikes(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	type toggled struct {
		Message   string
		Liked     bool
		LikeCount int `json:"like_count"`
	}
	var got toggled
	alice.post("/interact/like", map[string]any{"url": "//blog/x.html"}).want(http.StatusOK).into(&got)
	same(t, "first", got, toggled{"Like added", true, 1})
	bob.post("/interact/like", map[string]any{"url": "blog/x.html"}).into(&got)
	same(t, "second", got, toggled{"Like added", true, 2})
	bob.post("/interact/like", map[string]any{"url": "/blog/x.html"}).into(&got)
	same(t, "back", got, toggled{"Like removed", false, 1})

	for _, path := range []string{"blog%2Fx.html", "blog/x.html", "/blog/x.html", "%2Fblog%2Fx.html"} {
		type status struct {
			URL          string
			LikeCount    int `json:"like_count"`
			Count        int
			UserHasLiked bool `json:"user_has_liked"`
			UserLiked    bool `json:"user_liked"`
			LikeID       *int `json:"like_id"`
		}
		var s status
		alice.get("/interact/likes/" + path).want(http.StatusOK).into(&s)
		same(t, "likes of "+path, s, status{"blog/x.html", 1, 1, true, true, nil})
		s = status{}
		nobody.get("/interact/like-status/" + path).want(http.StatusOK).into(&s)
		same(t, "status of "+path, s, status{"blog/x.html", 1, 0, false, false, nil})
		s = status{}
		alice.get("/interact/user-like-status/" + path).want(http.StatusOK).into(&s)
		same(t, "user's status of "+path, s.UserHasLiked && *s.LikeID == 1, true)
	}
	// The root is one page by every name.
	bob.post("/interact/like", map[string]any{"url": "/"}).want(http.StatusOK)
	for _, path := range []string{"", "/", "index.html", "%2Findex.html"} {
		same(t, "root as "+path, nobody.get("/interact/likes/" + path).want(http.StatusOK).fields()["like_count"], any(1.0))
	}
	nobody.post("/interact/like", map[string]any{"url": "x"}).detail(http.StatusUnauthorized, "Missing token")
	alice.post("/interact/like", map[string]any{}).detail(http.StatusUnprocessableEntity, "Url is required")
	alice.post("/interact/like", map[string]any{"url": strings.Repeat("x", 2001)}).detail(http.StatusUnprocessableEntity, "Url must have at most 2000 characters")
	nobody.get("/interact/likes/"+strings.Repeat("x", 2001)).detail(http.StatusUnprocessableEntity, "at most 2000")

	var list []struct {
		URL         string
		LikeCount   int       `json:"like_count"`
		LastLikedAt time.Time `json:"last_liked_at"`
	}
	alice.post("/interact/like", map[string]any{"url": "/"}).want(http.StatusOK)
	nobody.get("/interact/most-liked?limit=1").want(http.StatusOK).into(&list)
	same(t, "most liked", len(list) == 1 && list[0].URL == "index.html" && list[0].LikeCount == 2, true)
	nobody.get("/api/likes/most-liked?limit=0").detail(http.StatusUnprocessableEntity, "Limit must be from 1 to 100")
	alice.post("/interact/refresh-most-liked", nil).detail(http.StatusForbidden, "Only admins")
	st.admin("root").post("/api/likes/refresh-view", nil).want(http.StatusOK)
}

// A page's URL is data: whatever it holds comes back as it was.
func TestPageURLsAreData(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	for _, page := range []string{
		"projects/smars-q/", "a b.html", "page?id=5&x=1", "100%25.html", "a/../b.html", "./x", "..", "a//b", "日本/ページ.html", "x#part",
		"a+b", "blog/timeline", "12", "versions", "a\\b", "'; drop table comment; --",
	} {
		alice.post("/interact/like", map[string]any{"url": page}).want(http.StatusOK)
		same(t, "url", alice.get("/interact/likes/" + url.PathEscape(page)).want(http.StatusOK).fields()["url"], any(page))
		same(t, "count", alice.get("/interact/likes/" + url.PathEscape(page)).fields()["count"], any(1.0))
		same(t, "views url", alice.get("/analytics/page-views/" + url.PathEscape(page)).want(http.StatusOK).fields()["url"], any(page))
		same(t, "timeline url", alice.get("/analytics/page-views/" + url.PathEscape(page) + "/timeline").want(http.StatusOK).fields()["url"], any(page))
		alice.get("/interact/comments/" + url.PathEscape(page)).want(http.StatusOK)
		if !strings.ContainsAny(page, "?%#\\") {
			same(t, "raw url", alice.get("/interact/likes/" + strings.ReplaceAll(page, " ", "%20")).want(http.StatusOK).fields()["count"], any(1.0))
		}
	}
}

func TestLikesOfEntities(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	project := alice.draft("Robot")
	like := map[string]any{"entity_type": "project", "entity_id": fmt.Sprint(project)}
	bob.post("/api/likes/entity", like).detail(http.StatusNotFound, "Project not found")
	alice.post(fmt.Sprintf("/api/projects/%d/publish", project), nil).want(http.StatusOK)
	var made struct {
		ID         int
		URL        *string
		EntityType string    `json:"entity_type"`
		EntityID   int       `json:"entity_id"`
		UserID     int       `json:"user_id"`
		CreatedAt  time.Time `json:"created_at"`
	}
	bob.post("/api/likes/entity", like).want(http.StatusCreated).into(&made)
	same(t, "entity", made.EntityType == "project" && made.EntityID == project && made.URL == nil && made.UserID == 2, true)
	bob.post("/api/likes/entity", like).detail(http.StatusConflict, "You have already liked this content")
	same(t, "project.like_count", alice.get(fmt.Sprintf("/api/projects/%d", project)).fields()["like_count"], any(1.0))
	var count struct {
		URL          *string
		EntityType   *string `json:"entity_type"`
		EntityID     *int    `json:"entity_id"`
		LikeCount    int     `json:"like_count"`
		UserHasLiked bool    `json:"user_has_liked"`
		UserLikeID   *int    `json:"user_like_id"`
	}
	bob.get(fmt.Sprintf("/api/likes/entity/count?entity_type=project&entity_id=%d", project)).want(http.StatusOK).into(&count)
	same(t, "count", count.LikeCount == 1 && count.UserHasLiked && *count.UserLikeID == made.ID && *count.EntityID == project, true)
	alice.delete(fmt.Sprintf("/api/likes/entity/%d", made.ID)).detail(http.StatusForbidden, "You can only unlike your own likes")
	bob.delete(fmt.Sprintf("/api/likes/entity/%d", made.ID)).want(http.StatusNoContent)
	bob.delete(fmt.Sprintf("/api/likes/entity/%d", made.ID)).detail(http.StatusNotFound, "Like not found")
	same(t, "project.like_count", alice.get(fmt.Sprintf("/api/projects/%d", project)).fields()["like_count"], any(0.0))
	bob.post("/api/likes/entity", map[string]any{"entity_type": "planet", "entity_id": 1}).detail(http.StatusUnprocessableEntity, "Entity type must be one of: project")
	bob.post("/api/likes/entity", map[string]any{"entity_type": "project"}).detail(http.StatusUnprocessableEntity, "Entity id is required")
	bob.post("/api/likes/entity", map[string]any{"entity_type": "project", "entity_id": "x"}).detail(http.StatusUnprocessableEntity, "Entity id must be a whole number")

	bob.post("/api/likes", map[string]any{"url": "/a"}).want(http.StatusCreated).into(&made)
	bob.post("/api/likes", map[string]any{"url": "a"}).want(http.StatusConflict)
	st.visitor().get("/api/likes/count?url=/a").want(http.StatusOK).into(&count)
	same(t, "count of a page", count.LikeCount == 1 && !count.UserHasLiked && *count.URL == "a", true)
	bob.delete(fmt.Sprintf("/api/likes/%d", made.ID)).want(http.StatusNoContent)
	bob.delete("/api/likes/x").detail(http.StatusUnprocessableEntity, "whole number")
	bob.delete("/api/likes/99999999999").detail(http.StatusNotFound, "Like not found")
}

// draft makes a project and returns its id.
func (p *person) draft(title string) int {
	p.t.Helper()
	return p.post("/api/projects", map[string]any{"title": title, "description": "About " + title}).want(http.StatusCreated).id()
}

func TestParallelTogglesEndRight(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	comment := alice.post("/interact/comment", map[string]any{"url": "a", "content": "Hello"}).id()
	var people []*person
	for i := range 50 {
		people = append(people, st.member(fmt.Sprint("person", i)))
	}
	var wait sync.WaitGroup
	for _, p := range people {
		wait.Go(func() { p.post("/interact/like", map[string]any{"url": "a"}) })
		wait.Go(func() { p.post(fmt.Sprintf("/interact/comments/%d/like", comment), nil) })
	}
	for range 50 { // an even number of toggles by one person
		wait.Go(func() { alice.post("/interact/like", map[string]any{"url": "a"}) })
		wait.Go(func() { alice.post(fmt.Sprintf("/interact/comments/%d/like", comment), nil) })
	}
	wait.Wait()
	same(t, "likes", st.count(`select count(*) from "like" where url = 'a'`), 50)
	same(t, "comment likes", st.count(`select count(*) from commentlike`), 50)
	same(t, "like_count", st.count(`select like_count from comment`), 50)
	same(t, "drift", st.drift(), "")
}

// commentShape is CommentWithUser as clients know it.
type commentShape struct {
	ID              int
	URL             *string
	EntityType      *string `json:"entity_type"`
	EntityID        *int    `json:"entity_id"`
	Content         string
	CreatedAt       time.Time  `json:"created_at"`
	EditedAt        *time.Time `json:"edited_at"`
	UserID          int        `json:"user_id"`
	Username        string
	AuthorUsername  string  `json:"author_username"`
	ProfilePicture  *string `json:"profile_picture"`
	LikeCount       int     `json:"like_count"`
	UserHasLiked    bool    `json:"user_has_liked"`
	ParentCommentID *int    `json:"parent_comment_id"`
	ReplyCount      int     `json:"reply_count"`
	Replies         []commentShape
}

// outline writes a thread as ids, replies in brackets.
func outline(thread []commentShape) string {
	var words []string
	for _, c := range thread {
		word := fmt.Sprint(c.ID)
		if len(c.Replies) > 0 {
			word += "(" + outline(c.Replies) + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func (p *person) comment(page, content string, parent int) int {
	p.t.Helper()
	body := map[string]any{"url": page, "content": content}
	if parent != 0 {
		body["parent_comment_id"] = fmt.Sprint(parent)
	}
	return p.post("/interact/comment", body).want(http.StatusOK).id()
}

func TestThread(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	first := alice.comment("/blog/x.html", "First", 0)
	second := bob.comment("blog/x.html", "こんにちは、素晴らしいロボットですね！", 0)
	reply := bob.comment("blog/x.html", "Reply", first)
	deep := alice.comment("blog/x.html", "Deep", reply)
	later := alice.comment("blog/x.html", "Later", first)
	alice.comment("other", "Elsewhere", 0)

	var thread []commentShape
	a := nobody.get("/interact/comments/blog/x.html").want(http.StatusOK).into(&thread)
	same(t, "X-Total-Count", a.header.Get("X-Total-Count"), "5")
	same(t, "thread", outline(thread), fmt.Sprintf("%d %d(%d(%d) %d)", second, first, reply, deep, later))
	same(t, "Japanese", thread[0].Content, "こんにちは、素晴らしいロボットですね！")
	same(t, "author", thread[0].Username == "bob" && thread[0].AuthorUsername == "bob" && thread[0].UserID == 2, true)
	same(t, "url", *thread[0].URL, "blog/x.html")
	same(t, "reply_count", thread[1].ReplyCount, 2)
	same(t, "parent", *thread[1].Replies[0].ParentCommentID, first)

	var likes struct {
		Message   string
		Liked     bool
		LikeCount int `json:"like_count"`
	}
	bob.post(fmt.Sprintf("/interact/comments/%d/like", first), nil).want(http.StatusOK).into(&likes)
	same(t, "like", likes.Message == "Comment liked" && likes.Liked && likes.LikeCount == 1, true)
	bob.get("/interact/comments/blog%2Fx.html?sort=popular").want(http.StatusOK).into(&thread)
	same(t, "popular", thread[0].ID == first && thread[0].UserHasLiked && thread[0].LikeCount == 1, true)
	bob.post(fmt.Sprintf("/interact/comments/%d/like", first), nil).into(&likes)
	same(t, "unlike", likes.Message == "Comment unliked" && !likes.Liked && likes.LikeCount == 0, true)
	bob.post("/interact/comments/999/like", nil).detail(http.StatusNotFound, "Comment not found")

	var flat []commentShape
	nobody.get("/interact/comments/blog/x.html?flat=true").want(http.StatusOK).into(&flat)
	same(t, "flat", outline(flat), fmt.Sprintf("%d %d %d %d %d", second, first, reply, deep, later))
	nobody.get("/interact/comments/blog/x.html?sort=oldest").detail(http.StatusUnprocessableEntity, "Sort must be one of: recent, popular")
	same(t, "no comments", strings.TrimSpace(string(nobody.get("/interact/comments/none").body)), "[]")

	// What is removed leaves a placeholder only while it has visible replies.
	alice.delete(fmt.Sprintf("/interact/comments/%d", first)).want(http.StatusOK)
	alice.delete(fmt.Sprintf("/interact/comments/%d", first)).detail(http.StatusBadRequest, "Comment already removed")
	bob.delete(fmt.Sprintf("/interact/comments/%d", later)).detail(http.StatusForbidden, "Only the original author can remove")
	a = nobody.get("/interact/comments/blog/x.html").into(&thread)
	same(t, "X-Total-Count", a.header.Get("X-Total-Count"), "4")
	gone := thread[1]
	same(t, "placeholder", gone.Content == "[removed]" && gone.Username == "[removed]" && gone.UserID == 0 && gone.ProfilePicture == nil && len(gone.Replies) == 2, true)
	if strings.Contains(string(a.body), "First") {
		t.Fatal("the text of a removed comment is shown")
	}
	alice.delete(fmt.Sprintf("/interact/comments/%d", later)).want(http.StatusOK)
	alice.delete(fmt.Sprintf("/interact/comments/%d", deep)).want(http.StatusOK)
	bob.delete(fmt.Sprintf("/interact/comments/%d", reply)).want(http.StatusOK)
	nobody.get("/interact/comments/blog/x.html").into(&thread)
	same(t, "placeholders without replies are gone", outline(thread), fmt.Sprint(second))

	alice.post("/interact/comment", map[string]any{"url": "blog/x.html", "content": "x", "parent_comment_id": first}).detail(http.StatusBadRequest, "Cannot reply to removed or hidden comment")
	alice.post("/interact/comment", map[string]any{"url": "other", "content": "x", "parent_comment_id": second}).detail(http.StatusBadRequest, "another page")
	alice.post("/interact/comment", map[string]any{"url": "other", "content": "x", "parent_comment_id": 999}).detail(http.StatusNotFound, "Parent comment not found")
	alice.post("/interact/comment", map[string]any{"url": "other", "content": "x", "parent_comment_id": ""}).want(http.StatusOK)
	alice.post("/interact/comment", map[string]any{"url": "other"}).detail(http.StatusUnprocessableEntity, "Content is required")
	nobody.post("/interact/comment", map[string]any{"url": "other", "content": "x"}).want(http.StatusUnauthorized)
}

func TestEditComment(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	id := alice.comment("a", "Before", 0)
	path := fmt.Sprintf("/interact/comments/%d", id)
	bob.put(path, map[string]any{"content": "Mine now"}).detail(http.StatusForbidden, "Only the original author can edit this comment")
	alice.put(path, map[string]any{"content": " <p> </p> "}).detail(http.StatusBadRequest, "Comment cannot be empty")
	alice.put(path, map[string]any{}).detail(http.StatusUnprocessableEntity, "Content is required")
	var c commentShape
	alice.put(path, map[string]any{"content": "Before"}).want(http.StatusOK).into(&c)
	same(t, "unchanged", c.EditedAt == nil, true)
	alice.put(path, map[string]any{"content": "After"}).want(http.StatusOK).into(&c)
	same(t, "edited", c.Content == "After" && c.EditedAt != nil, true)
	same(t, "version", st.count(`select count(*) from commentversion where content = 'Before'`), 1)
	alice.put("/interact/comments/999", map[string]any{"content": "x"}).detail(http.StatusNotFound, "Comment not found")
	alice.delete(path).want(http.StatusOK)
	alice.put(path, map[string]any{"content": "Back"}).detail(http.StatusBadRequest, "cannot be edited")
}

func TestCommentsOnProjects(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	project := alice.draft("Robot")
	body := map[string]any{"entity_type": "project", "entity_id": project, "content": "Nice"}
	list := fmt.Sprintf("/interact/entity/comments?entity_type=project&entity_id=%d", project)
	bob.post("/interact/entity/comment", body).detail(http.StatusNotFound, "Project not found")
	bob.get(list).detail(http.StatusNotFound, "Project not found")
	alice.post(fmt.Sprintf("/api/projects/%d/publish", project), nil).want(http.StatusOK)
	first := bob.post("/interact/entity/comment", body).want(http.StatusOK).id()
	alice.post("/interact/entity/comment", with(body, "parent_comment_id", first)).want(http.StatusOK)
	var thread []commentShape
	bob.get(list).want(http.StatusOK).into(&thread)
	same(t, "thread", outline(thread), "1(2)")
	same(t, "target", *thread[0].EntityType == "project" && *thread[0].EntityID == project && thread[0].URL == nil, true)
	detail := fmt.Sprintf("/api/projects/%d", project)
	same(t, "comment_count", bob.get(detail).fields()["comment_count"], any(2.0))
	bob.delete(fmt.Sprintf("/interact/comments/%d", first)).want(http.StatusOK)
	same(t, "comment_count", bob.get(detail).fields()["comment_count"], any(1.0))
	bob.get("/interact/entity/comments?entity_type=project").detail(http.StatusUnprocessableEntity, "Entity id is required")
	// An unpublished project takes its comments out of sight.
	alice.post(fmt.Sprintf("/api/projects/%d/unpublish", project), nil).want(http.StatusOK)
	bob.post("/interact/comments/2/like", nil).detail(http.StatusNotFound, "Comment not found")
	bob.get(list).want(http.StatusNotFound)
}

func TestCleanComment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"  a \t b\u00a0c  ", "a b c"},
		{"<p>Hello <b>you</b></p>", "Hello you"},
		{"a < b > c", "a < b > c"},
		{"if (a<5 && b>3)", "if (a<5 && b>3)"},
		{"I <3 robots", "I <3 robots"},
		{"<scr<b>ipt>alert(1)</script>", "alert(1)"},
		{"<!-- hidden -->seen", "seen"},
		{"<img src=x onerror=alert(1)>text", "text"},
		{"<x onclick=alert(1)>text</x>", "text</x>"},
		{"<img <y>text", "text"},
		{"<img <y onerror=alert(1)>text", "<img text"},
		{"<img/src=x>text<br/>", "text"},
		{"<!doctype html><?php echo 1 ?>text", "text"},
		{"x<y and y>z", "x<y and y>z"},
		{"if (a<b && c>d)", "if (a<b && c>d)"},
		{"first <third, never closed", "first <third, never closed"},
		{strings.Repeat("<a", 16000) + strings.Repeat(">", 16000) + "text", "text"},
		{strings.Repeat("<!--<a>", 700) + "text", strings.Repeat("<!--", 700) + "text"},
		{"\u202eevil\u200b text\u00ad", "evil text"},
		{"a\r\nb\rc\n\n\n\nd", "a\nb\nc\n\nd"},
		{"bell\x07 gone", "bell gone"},
		{"main.py and README.md in v1.2.3", "main.py and README.md in v1.2.3"},
		{"Scunthorpe grapefruit classic", "Scunthorpe grapefruit classic"},
		{strings.Repeat("ä", 5000), strings.Repeat("ä", 5000)},
	} {
		got, err := cleanComment(c.in)
		if err != nil || got != c.want {
			t.Errorf("%q: %q, %v", c.in, got, err)
		}
	}
	for _, c := range []struct{ in, want string }{
		{"", "Comment cannot be empty"},
		{" \n\t\u200b ", "Comment cannot be empty"},
		{"\u3164\u2800", "Comment cannot be empty"},
		{"<p></p>", "Comment cannot be empty"},
		{strings.Repeat("x", 5001), "max 5000 characters"},
		{strings.Repeat("<", 60000), "max 5000 characters"},
		{strings.Repeat("<q1", 20000) + strings.Repeat(">", 20000), "max 5000 characters"},
	} {
		got, err := cleanComment(c.in)
		if err == nil || publicError(err).status != http.StatusBadRequest || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: %.40q, %v", c.in, got, err)
		}
	}
}

// After a storm of everything that touches a counter, the counters are what
// the rows say.
func TestCountersNeverDrift(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root := st.admin("root")
	var people []*person
	for i := range 8 {
		people = append(people, st.member(fmt.Sprint("person", i)))
	}
	project := people[0].draft("Robot")
	people[0].post(fmt.Sprintf("/api/projects/%d/publish", project), nil).want(http.StatusOK)
	var wait sync.WaitGroup
	for i, p := range people {
		random := rand.New(rand.NewPCG(1, uint64(i)))
		wait.Go(func() {
			for n := range 60 {
				id := 1 + random.IntN(40)
				target := map[string]any{"entity_type": "project", "entity_id": project, "content": "Hello"}
				like, comment := "/api/likes/entity", "/interact/entity/comment"
				if page := random.IntN(4); page > 0 {
					target = map[string]any{"url": fmt.Sprint("page", page), "content": "Hello"}
					like, comment = "/interact/like", "/interact/comment"
				}
				switch random.IntN(9) {
				case 0, 1, 2:
					if random.IntN(3) > 0 {
						target["parent_comment_id"] = id
					}
					p.post(comment, target)
				case 3:
					p.post(fmt.Sprintf("/interact/comments/%d/like", id), nil)
				case 4:
					p.delete(fmt.Sprintf("/interact/comments/%d", id))
				case 5:
					p.post(like, target)
				case 6:
					root.post(fmt.Sprintf("/interact/comments/%d/%s", id, []string{"hide", "unhide", "clear-flags"}[random.IntN(3)]), nil)
				case 7:
					p.post(fmt.Sprintf("/interact/comments/%d/report", id), map[string]any{"reason": "spam"})
				case 8:
					p.put(fmt.Sprintf("/interact/comments/%d", id), map[string]any{"content": fmt.Sprint("Hello ", n)})
				}
			}
		})
	}
	for _, name := range []string{"person5", "person6"} {
		wait.Go(func() { st.exec(`delete from "user" where username = $1`, name) })
	}
	wait.Wait()
	same(t, "the storm did something", st.count(`select count(*) from comment where reply_count > 0`) > 0, true)
	same(t, "drift", st.drift(), "")
	st.exec(`delete from "user" where username = 'person3'`)
	same(t, "drift", st.drift(), "")
	if i := strings.Index(st.logged.String(), "level=ERROR"); i >= 0 {
		t.Fatal(truncate(st.logged.String()[i:], 500))
	}
}

func TestPageViews(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.trustedProxies = mustPrefixes(t, "127.0.0.1/32") })
	v := st.visitor()
	v.header.Set("X-Forwarded-For", "203.0.113.5")
	got := v.do(http.MethodPost, "/analytics/page-view", `{"url":"/blog/x.html","ip_address":"1.2.3.4"}`, "Content-Type", "text/plain;charset=UTF-8").want(http.StatusOK).fields()
	same(t, "answer", got["message"] == "Page view logged" && got["url"] == "blog/x.html", true)
	same(t, "the body's address does not count", st.count(`select count(*) from pageview where ip_address = '203.0.113.5'`), 1)
	v.post("/analytics/page-view", map[string]any{"url": "blog/x.html"}).want(http.StatusOK)
	v.header.Set("X-Forwarded-For", "198.51.100.1, 203.0.113.6")
	v.post("/analytics/page-view", map[string]any{"url": "blog/x.html"}).want(http.StatusOK)
	v.post("/analytics/page-view", map[string]any{"url": ""}).want(http.StatusOK)
	v.post("/analytics/page-view", map[string]any{"ip_address": "1.2.3.4"}).detail(http.StatusUnprocessableEntity, "Url is required")

	type views struct {
		URL       string
		ViewCount int        `json:"view_count"`
		Formatted string     `json:"view_count_formatted"`
		Unique    int        `json:"unique_visitors"`
		Last      *time.Time `json:"last_viewed_at"`
	}
	var p views
	v.get("/analytics/page-views//blog/x.html").want(http.StatusOK).into(&p)
	same(t, "views", p.ViewCount == 3 && p.Formatted == "3" && p.Unique == 2 && p.Last != nil, true)
	v.get("/analytics/page-views/never").want(http.StatusOK).into(&p)
	same(t, "unseen page", p.ViewCount == 0 && p.Last == nil, true)
	var list []views
	v.get("/analytics/most-viewed").want(http.StatusOK).into(&list)
	same(t, "most viewed", len(list) == 2 && list[0].URL == "blog/x.html" && list[0].Formatted == "3", true)

	st.exec(`insert into pageview (url, ip_address, viewed_at) select 'old', '::1', d from (values
		(timestamp '2026-03-31 23:59:59'), ('2026-03-25 00:00:00'), ('2026-03-24 23:59:59'), ('2026-03-02 00:00:00'), ('2026-03-01 23:59:59'), ('2025-04-01 00:00:00'), ('2025-03-31 23:59:59'), ('2026-04-01 00:00:00')) v (d)`)
	st.clock.Store(int64(time.Until(time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC))))
	type timeline struct {
		URL, Period string
		Data        []struct {
			Date, Label string
			Count       int
		}
		TotalViews int `json:"total_views"`
	}
	for _, c := range []struct {
		period                    string
		points, total             int
		first, last, labels, date string
	}{
		{"weekly", 7, 2, "2026-03-25", "2026-03-31", "W T F S S M T", ""},
		{"monthly", 30, 4, "2026-03-02", "2026-03-31", "", ""},
		{"annual", 12, 6, "2025-04", "2026-03", "A M J J A S O N D J F M", ""},
	} {
		var got timeline
		v.get("/analytics/page-views/old/timeline?period=" + c.period).want(http.StatusOK).into(&got)
		same(t, c.period+" points", len(got.Data), c.points)
		same(t, c.period+" total", got.TotalViews, c.total)
		same(t, c.period+" first", got.Data[0].Date, c.first)
		same(t, c.period+" last", got.Data[c.points-1].Date, c.last)
		var labels []string
		for _, d := range got.Data {
			labels = append(labels, d.Label)
		}
		if c.labels != "" {
			same(t, c.period+" labels", strings.Join(labels, " "), c.labels)
		}
	}
	v.get("/analytics/page-views/old/timeline?period=daily").detail(http.StatusUnprocessableEntity, "Period must be one of: weekly, monthly, annual")
	v.post("/analytics/refresh-page-view-counts", nil).want(http.StatusUnauthorized)
}

func TestFormatCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1.0k", 9999: "9.9k", 10_000: "10k", 12_345: "12k", 999_999: "999k",
		1_000_000: "1.0M", 1_500_000: "1.5M", 9_999_999: "9.9M", 12_000_000: "12M"} {
		same(t, fmt.Sprint(n), formatCount(n), want)
	}
}

func TestFlattenLongChains(t *testing.T) {
	t.Parallel()
	var top []*commentWithUser
	for i := range 10_000 {
		c := &commentWithUser{Replies: top}
		c.ID = 10_000 - i
		top = []*commentWithUser{c}
	}
	flat := flatten(top)
	same(t, "length", len(flat), 10_000)
	same(t, "in order", slices.IsSortedFunc(flat, func(a, b *commentWithUser) int { return a.ID - b.ID }), true)
}

// A chain of ten thousand replies is a thread like another, in every form.
func TestDeepThreads(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	alice.comment("a", "First", 0)
	st.exec(`insert into comment (id, url, user_id, content, parent_comment_id) select n, 'a', 1, 'Reply', n - 1 from generate_series(2, 10000) n`)
	st.exec(`select setval('comment_id_seq', 10000)`)
	alice.comment("a", "Last", 10000)
	a := alice.get("/interact/comments/a").want(http.StatusOK)
	same(t, "total", a.header.Get("X-Total-Count"), "10001")
	same(t, "all of them", strings.Count(string(a.body), `"replies":`), 10001)
	var flat []commentShape
	alice.get("/interact/comments/a?flat=true").want(http.StatusOK).into(&flat)
	same(t, "flat", len(flat) == 10001 && *flat[10000].ParentCommentID == 10000, true)
	alice.page("/thread?url=a").want(http.StatusOK).shows("Last")
	st.exec(`delete from "user"`)
	same(t, "left", st.count(`select count(*) from comment`), 0)
}

func TestMovedPages(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, root, nobody := st.member("alice"), st.member("bob"), st.admin("root"), st.visitor()
	like := func(p *person, page string) {
		p.post("/interact/like", map[string]any{"url": page}).want(http.StatusOK)
	}
	like(alice, "old")
	like(bob, "old")
	like(bob, "new")
	alice.comment("old", "One", 0)
	bob.comment("new", "Two", 0)
	nobody.post("/analytics/page-view", map[string]any{"url": "old"}).want(http.StatusOK)
	alice.post("/api/admin/urls/move", map[string]any{"old": "old", "new": "new"}).detail(http.StatusForbidden, "Only admins")
	root.post("/api/admin/urls/move", map[string]any{"old": "old", "new": "/old"}).detail(http.StatusBadRequest, "are the same page")
	root.post("/api/admin/urls/move", map[string]any{"old": "old"}).detail(http.StatusUnprocessableEntity, "New is required")
	got := root.post("/api/admin/urls/move", map[string]any{"old": "/old", "new": "new"}).want(http.StatusOK).fields()
	same(t, "moved", got["likes"] == 1.0 && got["comments"] == 1.0 && got["views"] == 1.0, true)
	same(t, "audit", st.count(`select count(*) from accountlog where action = 'page_moved' and old_value = 'old' and new_value = 'new'`), 1)
	check := func(likes, comments, views int, pages ...string) {
		t.Helper()
		for _, page := range pages {
			same(t, "likes of "+page, nobody.get("/interact/likes/" + page).fields()["like_count"], any(float64(likes)))
			same(t, "comments of "+page, nobody.get("/interact/comments/"+page).header.Get("X-Total-Count"), fmt.Sprint(comments))
			same(t, "views of "+page, nobody.get("/analytics/page-views/" + page).fields()["view_count"], any(float64(views)))
			same(t, "timeline of "+page, nobody.get("/analytics/page-views/" + page + "/timeline").fields()["total_views"], any(float64(views)))
		}
	}
	check(2, 2, 1, "old", "new")
	// What is done under the old address is done to the page.
	like(bob, "old")
	alice.comment("old", "Three", alice.comment("new", "Base", 0))
	nobody.post("/analytics/page-view", map[string]any{"url": "old"}).want(http.StatusOK)
	check(1, 4, 2, "old", "new")
	alice.post("/api/likes", map[string]any{"url": "old"}).want(http.StatusConflict)
	// Moved again, both old addresses follow; moved back, nothing goes in circles.
	if _, err := st.moveURL(t.Context(), "new", "newest"); err != nil {
		t.Fatal(err)
	}
	check(1, 4, 2, "old", "new", "newest")
	if _, err := st.moveURL(t.Context(), "newest", "old"); err != nil {
		t.Fatal(err)
	}
	check(1, 4, 2, "old", "new", "newest")
	same(t, "rows", st.count(`select count(*) from comment where url = 'old'`), 4)
	// A page that moves to an old address joins what that one leads to.
	alice.comment("other", "Elsewhere", 0)
	for _, pair := range [][2]string{{"old", "final"}, {"other", "old"}} {
		if _, err := st.moveURL(t.Context(), pair[0], pair[1]); err != nil {
			t.Fatal(err)
		}
	}
	check(1, 5, 2, "old", "new", "newest", "final", "other")
	_, err := st.moveURL(t.Context(), "other", "new")
	same(t, "one page already", err != nil && publicError(err).status == http.StatusBadRequest, true)
	if _, err := st.moveURL(t.Context(), "other", "last"); err != nil {
		t.Fatal(err)
	}
	check(1, 5, 2, "old", "new", "newest", "final", "other", "last")
}

// Every text that a comment ever had is kept, however many edits come at once.
func TestParallelEditsKeepVersions(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.comment("a", "Version 0", 0)
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() {
			alice.put(fmt.Sprintf("/interact/comments/%d", id), map[string]any{"content": fmt.Sprint("Version ", i+1)}).want(http.StatusOK)
		})
	}
	group.Wait()
	same(t, "texts", st.count(`select count(distinct content) from (select content from comment union all select content from commentversion) t`), 11)
	same(t, "versions", st.count(`select count(*) from commentversion`), 10)
}

func TestLongURLs(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	random := rand.New(rand.NewPCG(1, 2))
	text := func(n int) string {
		runes := make([]rune, n)
		for i := range runes {
			runes[i] = 0x4e00 + rune(random.IntN(20000))
		}
		return string(runes)
	}
	for _, page := range []string{text(866), strings.Repeat("x", 1999) + " ", " spaces "} {
		for _, path := range []string{"/interact/like", "/api/likes", "/analytics/page-view", "/interact/comment"} {
			if a := alice.post(path, map[string]any{"url": page, "content": "Hello"}); a.status >= 500 || a.status == http.StatusUnprocessableEntity {
				t.Errorf("%s: %d %s", path, a.status, a.body)
			}
		}
		same(t, "comments", alice.get("/interact/comments/"+url.PathEscape(page)).want(http.StatusOK).header.Get("X-Total-Count"), "1")
	}
	alice.post("/interact/like", map[string]any{"url": text(900)}).detail(http.StatusUnprocessableEntity, "at most 2600 bytes")
	alice.get("/interact/likes/"+url.PathEscape(text(900))).detail(http.StatusUnprocessableEntity, "2600 bytes")
}

// Likes that are written together are toggled as if they had come one by one.
func TestLikesWrittenTogether(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	st.member("bob")
	alice, bob := st.idOf("alice"), st.idOf("bob")
	st.exec(`insert into page_alias (old_url, new_url) values ('old', 'a')`)
	st.exec(`insert into "like" (url, user_id) values ('b', $1)`, bob)
	var toggles []*likeToggle
	for _, l := range []struct {
		url  string
		user int
	}{{"a", alice}, {"old", bob}, {"a", alice}, {"b", alice}, {"b", bob}, {"a", alice}} {
		toggles = append(toggles, &likeToggle{target: pageTarget(l.url), user: l.user})
	}
	if err := st.writeLikes(t.Context(), toggles); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, l := range toggles {
		got += fmt.Sprintln(*l.stored, l.liked, l.count)
	}
	same(t, "toggles", got, "a true 2\na true 2\na false 1\nb true 1\nb false 1\na true 2\n")
	same(t, "likes", st.text(`select string_agg(url || user_id, ' ' order by url, user_id) from "like"`), fmt.Sprintf("a%d a%d b%d", alice, bob, alice))
	same(t, "counts", st.text(`select string_agg(url || like_count, ' ' order by url) from page_count`), "a2 b1")
}

// Of comments that are written together each is checked for itself.
func TestCommentsWrittenTogether(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.newcomerLimit, c.commentLinks = 2, "review" })
	alice := st.member("alice")
	st.member("banned")
	st.member("older")
	st.cfg.testing = false
	st.exec(`update "user" set banned_until = now() + interval '1 hour' where username = 'banned'`)
	st.exec(`update "user" set created_at = now() - interval '1 month' where username = 'older'`)
	st.exec(`insert into page_alias (old_url, new_url) values ('old', 'a')`)
	parent := alice.comment("a", "First", 0)
	var comments []*newComment
	for i, c := range []struct {
		url, name string
		parent    *int
		links     bool
	}{{"a", "alice", nil, false}, {"a", "banned", nil, false}, {"b", "nobody", nil, false}, {"old", "older", &parent, false}, {"b", "older", &parent, false}, {"a", "alice", nil, false}, {"b", "older", nil, true}} {
		author := 999
		if c.name != "nobody" {
			author = st.idOf(c.name)
		}
		comments = append(comments, &newComment{target: pageTarget(c.url), author: author, parent: c.parent, content: fmt.Sprint("Comment ", i), links: c.links})
	}
	if err := st.writeComments(t.Context(), comments); err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, c := range comments {
		if c.err != nil {
			got += fmt.Sprintln(publicError(c.err).status)
		} else {
			got += fmt.Sprintln(*c.made.URL, c.made.Content, c.made.UserID == c.author, c.made.AwaitingReview)
		}
	}
	same(t, "comments", got, "a Comment 0 true false\n403\n401\na Comment 3 true false\n400\n429\nb Comment 6 true true\n")
	same(t, "counts", st.text(`select string_agg(url || comment_count, ' ' order by url) from page_count`), "a3")
	same(t, "replies", st.count(`select reply_count from comment where id = $1`, parent), 1)
}
