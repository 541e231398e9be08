package main

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

type flaggedShape struct {
	ID          int
	URL         *string
	Content     string
	CreatedAt   time.Time `json:"created_at"`
	UserID      int       `json:"user_id"`
	Username    string
	FlagCount   int `json:"flag_count"`
	FlagReasons []struct {
		ReportedBy int `json:"reported_by"`
		Reason     string
		Details    *string
		ReportedAt time.Time `json:"reported_at"`
	} `json:"flag_reasons"`
	IsHidden   bool       `json:"is_hidden"`
	ReviewedAt *time.Time `json:"reviewed_at"`
}

func TestReports(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, carol, root := st.member("alice"), st.member("bob"), st.member("carol"), st.admin("root")
	id := alice.comment("a", "Buy my things", 0)
	other := alice.comment("a", "Hello", 0)
	path := fmt.Sprintf("/interact/comments/%d/", id)
	report := func(p *person, reason string, want int) *answer {
		t.Helper()
		a := p.post(path+"report", map[string]any{"reason": reason, "details": "Look"}).want(http.StatusOK)
		same(t, "flag_count", a.fields()["flag_count"], any(float64(want)))
		return a
	}
	report(bob, "spam", 1).shows("a moderator will look")
	report(bob, "abusive", 1).shows("already")
	report(carol, "other", 2)
	carol.post(fmt.Sprintf("/interact/comments/%d/report", other), map[string]any{"reason": "spam"}).want(http.StatusOK)
	// Reports alone hide nothing.
	same(t, "visible", alice.get("/interact/comments/a").header.Get("X-Total-Count"), "2")

	st.visitor().post(path+"report", map[string]any{"reason": "spam"}).want(http.StatusUnauthorized)
	alice.post(path+"report", map[string]any{"reason": "spam"}).detail(http.StatusBadRequest, "your own comment")
	bob.post(path+"report", map[string]any{"reason": "boring"}).detail(http.StatusUnprocessableEntity, "Reason must be one of: spam, abusive, inappropriate, other")
	bob.post(path+"report", map[string]any{"reason": "other", "details": strings.Repeat("x", 1001)}).detail(http.StatusUnprocessableEntity, "at most 1000")
	bob.post("/interact/comments/999/report", map[string]any{"reason": "spam"}).detail(http.StatusNotFound, "Comment not found")

	bob.get("/interact/comments/flagged").detail(http.StatusForbidden, "Only admins")
	st.visitor().get("/interact/comments/flagged").want(http.StatusUnauthorized)
	flagged := func() (list []flaggedShape) {
		t.Helper()
		root.get("/interact/comments/flagged").want(http.StatusOK).into(&list)
		return list
	}
	list := flagged()
	same(t, "most flags first", len(list) == 2 && list[0].ID == id && list[0].FlagCount == 2 && list[1].FlagCount == 1, true)
	first := list[0]
	same(t, "report", *first.URL == "a" && first.Username == "alice" && first.Content == "Buy my things" && !first.IsHidden && first.ReviewedAt == nil &&
		first.FlagReasons[0].ReportedBy == 2 && first.FlagReasons[0].Reason == "spam" && *first.FlagReasons[0].Details == "Look" &&
		time.Since(first.FlagReasons[0].ReportedAt) < time.Hour, true)

	// Hidden, it leaves a gap; shown again, it is as it was.
	reply := bob.comment("a", "Reply", id)
	for _, action := range []string{"hide", "unhide", "clear-flags"} {
		bob.post(path+action, nil).detail(http.StatusForbidden, "Only admins")
		root.post("/interact/comments/999/"+action, nil).detail(http.StatusNotFound, "Comment not found")
	}
	root.post(path+"hide", map[string]any{"reason": "Advertising"}).want(http.StatusOK)
	var thread []commentShape
	bob.get("/interact/comments/a").into(&thread)
	same(t, "hidden", thread[1].Content == "[removed]" && thread[1].Username == "[removed]" && thread[1].UserID == 0 && thread[1].Replies[0].ID == reply, true)
	bob.post(path+"like", nil).detail(http.StatusNotFound, "Comment not found")
	bob.get(path+"likers").detail(http.StatusNotFound, "Comment not found")
	alice.put(strings.TrimSuffix(path, "/"), map[string]any{"content": "x"}).detail(http.StatusBadRequest, "cannot be edited")
	same(t, "flagged and hidden", flagged()[0].IsHidden && flagged()[0].ReviewedAt != nil, true)
	root.post(path+"unhide", nil).want(http.StatusOK)
	root.post(path+"clear-flags", nil).want(http.StatusOK)
	same(t, "cleared", len(flagged()), 1)
	same(t, "who", st.count(`select count(*) from comment where id = $1 and reviewed_by = 4 and reviewed_at is not null`, id), 1)
	// A report that was looked at is not repeated, as long as the comment is the same.
	report(bob, "spam", 0).shows("already")
	alice.put(strings.TrimSuffix(path, "/"), map[string]any{"content": "Buy all my things"}).want(http.StatusOK)
	report(bob, "abusive", 1)
	report(bob, "abusive", 1)

	for _, action := range []string{"comment_hidden", "comment_unhidden", "comment_cleared"} {
		same(t, action, st.count(`select count(*) from accountlog where user_id = 1 and changed_by = 4 and action = $1 and field_changed = $2 and ip_address <> '' and user_agent <> ''`,
			action, fmt.Sprintf("comment %d", id)), 1)
	}
	same(t, "the reason", st.count(`select count(*) from accountlog where new_value = 'Advertising'`), 1)
	same(t, "reports", st.count(`select count(*) from accountlog where action = 'comment_reported'`), 4)
	// A reporter who leaves takes the report along.
	st.exec(`delete from "user" where username = 'carol'`)
	same(t, "left", len(flagged()), 1)
}

func TestReportsOfManyAtOnce(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	id := st.member("alice").comment("a", "Hello", 0)
	var wait sync.WaitGroup
	for i := range 8 {
		p := st.member(fmt.Sprint("person", i))
		for range 3 {
			wait.Go(func() {
				p.post(fmt.Sprintf("/interact/comments/%d/report", id), map[string]any{"reason": "spam"}).want(http.StatusOK)
			})
		}
	}
	wait.Wait()
	same(t, "flag_count", st.count(`select flag_count from comment`), 8)
}

func TestModerationQueue(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, root := st.member("alice"), st.member("bob"), st.admin("root")
	parent := bob.comment("a", "What is this?", 0)
	id := alice.comment("a", "Rubbish", parent)
	bob.comment("a", "Be nice", id)
	bob.post(fmt.Sprintf("/interact/comments/%d/report", id), map[string]any{"reason": "abusive"}).want(http.StatusOK)
	type neighbour struct {
		ID                int
		Username, Content string
	}
	var queue []struct {
		flaggedShape
		Parent         *neighbour
		Replies        []neighbour
		AuthorComments int        `json:"author_comments"`
		AuthorWarnings int        `json:"author_warnings"`
		BannedUntil    *time.Time `json:"banned_until"`
	}
	bob.get("/api/admin/moderation").want(http.StatusForbidden)
	a := root.get("/api/admin/moderation").want(http.StatusOK).into(&queue)
	same(t, "queue", a.header.Get("X-Total-Count") == "1" && queue[0].ID == id && queue[0].Parent.Content == "What is this?" && queue[0].Replies[0] == neighbour{3, "bob", "Be nice"} &&
		queue[0].AuthorComments == 1, true)
	root.get("/api/admin/moderation?show=all").detail(http.StatusUnprocessableEntity, "Show must be one of")

	act := func(name string, body any) *answer {
		t.Helper()
		return root.post(fmt.Sprintf("/api/admin/comments/%d/%s", id, name), body)
	}
	act("warn", map[string]any{}).detail(http.StatusUnprocessableEntity, "Text is required")
	act("warn", map[string]any{"text": "Please be kind"}).want(http.StatusOK)
	var warnings []struct {
		ID        int
		CommentID int `json:"comment_id"`
		Text      string
		SeenAt    *time.Time `json:"seen_at"`
	}
	alice.get("/api/me/warnings").want(http.StatusOK).into(&warnings)
	same(t, "warning", len(warnings) == 1 && warnings[0].Text == "Please be kind" && warnings[0].CommentID == id && warnings[0].SeenAt == nil, true)
	bob.post(fmt.Sprintf("/api/me/warnings/%d/seen", warnings[0].ID), nil).detail(http.StatusNotFound, "Warning not found")
	alice.post(fmt.Sprintf("/api/me/warnings/%d/seen", warnings[0].ID), nil).want(http.StatusOK)
	alice.get("/api/me/warnings").into(&warnings)
	same(t, "seen", warnings[0].SeenAt != nil, true)

	act("ban", map[string]any{"days": 0}).detail(http.StatusUnprocessableEntity, "Days must be from 1 to 3650")
	act("ban", map[string]any{"days": 2, "reason": "Rude"}).want(http.StatusOK)
	for _, c := range []*answer{
		alice.post("/interact/comment", map[string]any{"url": "a", "content": "x"}),
		alice.put(fmt.Sprintf("/interact/comments/%d", id), map[string]any{"content": "x"}),
		alice.post(fmt.Sprintf("/interact/comments/%d/report", parent), map[string]any{"reason": "spam"}),
	} {
		c.detail(http.StatusForbidden, "you can write again on")
	}
	st.clock.Store(int64(49 * time.Hour))
	alice.comment("a", "Back again", 0)
	st.clock.Store(0)
	alice.post("/interact/comment", map[string]any{"url": "a", "content": "x"}).want(http.StatusForbidden)
	root.post("/api/admin/users/1/unban", nil).want(http.StatusOK)
	root.post("/api/admin/users/99/unban", nil).detail(http.StatusNotFound, "User not found")
	alice.comment("a", "Thank you", 0)
	own := root.comment("a", "Rules", 0)
	root.post(fmt.Sprintf("/api/admin/comments/%d/ban", own), map[string]any{"days": 1}).detail(http.StatusBadRequest, "Admins can't be banned")

	act("remove", nil).want(http.StatusOK)
	act("remove", nil).detail(http.StatusBadRequest, "already removed")
	root.get("/api/admin/moderation").into(&queue)
	same(t, "nothing left to do", len(queue), 0)
	alice.delete(fmt.Sprintf("/interact/comments/%d", id)).detail(http.StatusBadRequest, "Comment already removed")
	for _, action := range []string{"author_warned", "author_banned", "author_unbanned", "comment_removed"} {
		same(t, action, st.count(`select count(*) from accountlog where user_id = 1 and changed_by = 3 and action = $1 and ip_address <> ''`, action), 1)
	}
	// An author who is gone can't be warned, but the comment can be judged.
	st.exec(`delete from "user" where username = 'alice'`)
	act("warn", map[string]any{"text": "Hello?"}).detail(http.StatusBadRequest, "account is gone")
	root.post(fmt.Sprintf("/interact/comments/%d/hide", id), nil).want(http.StatusOK)
}

func TestCommentsHeldForReview(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.commentReview = "first"; c.commentLinks = "review" })
	alice, bob, root := st.member("alice"), st.member("bob"), st.admin("root")
	var made struct {
		ID             int
		AwaitingReview bool `json:"awaiting_review"`
	}
	total := func(p *person) string { return p.get("/interact/comments/a").header.Get("X-Total-Count") }
	alice.post("/interact/comment", map[string]any{"url": "a", "content": "Hello"}).want(http.StatusOK).into(&made)
	same(t, "held", made.AwaitingReview, true)
	same(t, "not counted", total(alice), "0")
	same(t, "author sees it", len(alice.thread("a")) == 1 && alice.thread("a")[0].Content == "Hello", true)
	same(t, "others don't", len(bob.thread("a")), 0)
	bob.post("/interact/comment", map[string]any{"url": "a", "content": "x", "parent_comment_id": made.ID}).detail(http.StatusBadRequest, "Cannot reply")
	alice.put(fmt.Sprintf("/interact/comments/%d", made.ID), map[string]any{"content": "Hello there"}).want(http.StatusOK).into(&made)
	same(t, "still held", made.AwaitingReview, true)
	var queue []struct {
		ID      int
		HeldFor string `json:"held_for"`
	}
	root.get("/api/admin/moderation").into(&queue)
	same(t, "queue", len(queue) == 1 && queue[0].HeldFor == "new", true)
	root.post(fmt.Sprintf("/interact/comments/%d/unhide", made.ID), nil).want(http.StatusOK)
	same(t, "approved", total(bob), "1")
	alice.post("/interact/comment", map[string]any{"url": "a", "content": "Second"}).into(&made)
	same(t, "known now", made.AwaitingReview, false)
	// Links come before a moderator, also those of an edit.
	alice.put(fmt.Sprintf("/interact/comments/%d", made.ID), map[string]any{"content": "See https://example.com/"}).want(http.StatusOK).into(&made)
	same(t, "link", made.AwaitingReview, true)
	same(t, "out of sight", total(bob), "1")
	root.get("/api/admin/moderation").into(&queue)
	same(t, "queue", len(queue) == 1 && queue[0].HeldFor == "link", true)
	// Rejected is hidden, to the author too, and can't be edited into sight.
	root.post(fmt.Sprintf("/interact/comments/%d/hide", made.ID), nil).want(http.StatusOK)
	same(t, "rejected", len(alice.thread("a")), 1)
	alice.put(fmt.Sprintf("/interact/comments/%d", made.ID), map[string]any{"content": "Second"}).detail(http.StatusBadRequest, "cannot be edited")
	root.post("/interact/comment", map[string]any{"url": "a", "content": "https://example.com/rules"}).into(&made)
	same(t, "admins are not held", made.AwaitingReview, false)
}

// thread is the comments of a page.
func (p *person) thread(page string) (list []commentShape) {
	p.t.Helper()
	p.get("/interact/comments/" + page).want(http.StatusOK).into(&list)
	return list
}

func TestNewAccountsAreSlowed(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.newcomerLimit = 3 })
	alice, root := st.member("alice"), st.admin("root")
	st.cfg.testing = false
	var wait sync.WaitGroup
	for range 6 {
		wait.Go(func() { alice.post("/interact/comment", map[string]any{"url": "a", "content": "Hello"}) })
	}
	wait.Wait()
	same(t, "written", st.count(`select count(*) from comment`), 3)
	a := alice.post("/interact/comment", map[string]any{"url": "a", "content": "Hello"}).detail(http.StatusTooManyRequests, "New accounts can write 3 comments an hour")
	same(t, "Retry-After", a.header.Get("Retry-After") != "", true)
	for range 4 {
		root.comment("a", "Welcome", 0)
	}
	st.clock.Store(int64(61 * time.Minute))
	alice.comment("a", "Later", 0)
	st.exec(`update "user" set created_at = created_at - interval '2 days'`)
	for range 5 {
		alice.comment("a", "Much later", 0)
	}
}

func TestEditWindow(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.commentEdit = 15 * time.Minute })
	alice := st.member("alice")
	id := alice.comment("a", "First", 0)
	path := fmt.Sprintf("/interact/comments/%d", id)
	alice.put(path, map[string]any{"content": "Second"}).want(http.StatusOK)
	st.clock.Store(int64(16 * time.Minute))
	alice.put(path, map[string]any{"content": "Third"}).detail(http.StatusForbidden, "A comment can be edited for 15 minutes")
	alice.delete(path).want(http.StatusOK)
}

func TestVersionsAndLikers(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, root, nobody := st.member("alice"), st.member("bob"), st.admin("root"), st.visitor()
	id := alice.comment("a", "One", 0)
	path := fmt.Sprintf("/interact/comments/%d", id)
	for _, text := range []string{"Two", "Three"} {
		alice.put(path, map[string]any{"content": text}).want(http.StatusOK)
	}
	for _, p := range []*person{alice, root} {
		var versions []struct {
			ID        int
			CommentID int `json:"comment_id"`
			Content   string
			EditedAt  time.Time `json:"edited_at"`
		}
		p.get(path + "/versions").want(http.StatusOK).into(&versions)
		same(t, "versions", len(versions) == 2 && versions[0].Content == "Two" && versions[1].Content == "One" && versions[0].CommentID == id && !versions[0].EditedAt.IsZero(), true)
	}
	bob.get(path+"/versions").detail(http.StatusForbidden, "Only the author and admins")
	nobody.get(path + "/versions").want(http.StatusUnauthorized)
	alice.get("/interact/comments/99/versions").detail(http.StatusNotFound, "Comment not found")

	type likers struct {
		CommentID int `json:"comment_id"`
		LikeCount int `json:"like_count"`
		Likers    []struct {
			UserID         int `json:"user_id"`
			Username       string
			ProfilePicture *string `json:"profile_picture"`
		}
	}
	var got likers
	same(t, "nobody", strings.Contains(string(nobody.get(path+"/likers").want(http.StatusOK).into(&got).body), `"likers":[]`), true)
	for i := range 11 {
		st.member(fmt.Sprint("fan", i)).post(path+"/like", nil).want(http.StatusOK)
	}
	nobody.get(path + "/likers").want(http.StatusOK).into(&got)
	same(t, "likers", got.CommentID == id && got.LikeCount == 11 && len(got.Likers) == 10 && got.Likers[0].Username == "fan10" && got.Likers[0].UserID == 14, true)
}

// What a deleted account leaves are gaps where others have answered.
func TestCommentsOfDeletedAccounts(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	top := alice.comment("a", "Secret", 0)
	alice.put(fmt.Sprintf("/interact/comments/%d", top), map[string]any{"content": "Secret plan"}).want(http.StatusOK)
	between := alice.comment("a", "Secret detail", top)
	reply := bob.comment("a", "Reply", between)
	alice.comment("a", "Secret answer", reply)
	alice.comment("a", "Secret, alone", 0)
	mine := bob.comment("a", "Mine", 0)
	alice.comment("a", "Secret thanks", mine)
	bob.post(fmt.Sprintf("/interact/comments/%d/like", top), nil)
	bob.post(fmt.Sprintf("/interact/comments/%d/report", top), map[string]any{"reason": "spam"})
	alice.post(fmt.Sprintf("/interact/comments/%d/like", mine), nil)
	alice.post("/interact/like", map[string]any{"url": "a"})
	st.exec(`delete from "user" where username = 'alice'`)
	thread := bob.thread("a")
	same(t, "thread", outline(thread), fmt.Sprintf("%d %d(%d(%d))", mine, top, between, reply))
	gone := thread[1]
	same(t, "placeholder", gone.Content == "[deleted]" && gone.Username == "[deleted]" && gone.AuthorUsername == "[deleted]" && gone.UserID == 0 && gone.EditedAt == nil && gone.LikeCount == 0, true)
	same(t, "total", bob.get("/interact/comments/a").header.Get("X-Total-Count"), "2")
	same(t, "nothing personal", st.count(`select (select count(*) from commentversion) + (select count(*) from comment where content like 'Secret%')`), 0)
	same(t, "drift", st.drift(), "")
	bob.post("/interact/comment", map[string]any{"url": "a", "content": "x", "parent_comment_id": top}).detail(http.StatusBadRequest, "Cannot reply")
	bob.put(fmt.Sprintf("/interact/comments/%d", top), map[string]any{"content": "Mine now"}).want(http.StatusForbidden)
	// Once nobody's reply is left, so is no gap.
	bob.delete(fmt.Sprintf("/interact/comments/%d", reply)).want(http.StatusOK)
	same(t, "no gap", outline(bob.thread("a")), fmt.Sprint(mine))
}

// drift compares every counter with the rows that it counts, and names those
// that are wrong.
func (st *site) drift() string {
	st.t.Helper()
	var wrong []string
	for what, sql := range map[string]string{
		"comment.like_count":    `select count(*) from comment c where like_count <> (select count(*) from commentlike l where l.comment_id = c.id)`,
		"comment.reply_count":   `select count(*) from comment c where reply_count <> (select count(*) from comment r where r.parent_comment_id = c.id and not r.is_hidden and not r.is_removed)`,
		"comment.flag_count":    `select count(*) from comment c where flag_count <> (select count(*) from comment_report r where r.comment_id = c.id and r.cleared_at is null) or is_flagged <> (flag_count > 0)`,
		"project.like_count":    `select count(*) from project p where like_count <> (select count(*) from "like" l where l.entity_type = 'project' and l.entity_id = p.id)`,
		"project.comment_count": `select count(*) from project p where comment_count <> (select count(*) from comment c where c.entity_type = 'project' and c.entity_id = p.id and not c.is_hidden and not c.is_removed)`,
		"page_count": `select count(*) from page_count p
			full join (select url, count(*) as likes, max(created_at) as latest from "like" where url is not null group by url) l using (url)
			full join (select url, count(*) as comments from comment where url is not null and not is_hidden and not is_removed group by url) c using (url)
			where coalesce(p.like_count, 0) <> coalesce(likes, 0) or p.last_liked_at is distinct from latest or coalesce(p.comment_count, 0) <> coalesce(comments, 0)`,
	} {
		if n := st.count(sql); n > 0 {
			wrong = append(wrong, fmt.Sprintf("%s (%d)", what, n))
		}
	}
	return strings.Join(wrong, ", ")
}

func TestModerationOnPages(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.commentLinks = "review" })
	alice, bob, root := st.member("alice"), st.member("bob"), st.admin("root")
	parent := bob.comment("a", "What is <this>?", 0)
	id := alice.comment("a", "**Rubbish**, @bob!", parent)
	path := fmt.Sprintf("/thread/comments/%d/", id)
	bob.page("/thread?url=a").shows("<summary>Report</summary>", `<strong>Rubbish</strong>, <a class="mention" href="/u/bob">@bob</a>!`)
	alice.page("/thread?url=a").hides(fmt.Sprintf("report-%d", id))
	st.visitor().page("/thread?url=a").hides("Report")
	bob.submit(path+"report", url.Values{"reason": {"spam"}, "details": {strings.Repeat("x", 1001)}}).want(http.StatusUnprocessableEntity).shows("Details must have at most 1000", `<details class="tool" open><summary>Report`)
	to := bob.submit(path+"report", url.Values{"reason": {"abusive"}, "details": {"So <rude>"}}).redirects("/thread?url=a&reported=")
	bob.page(strings.Split(to, "#")[0]).shows("a moderator will look at this comment")
	st.visitor().submit(path+"report", url.Values{"reason": {"abusive"}}).redirects("/login")

	bob.page("/admin/moderation").want(http.StatusForbidden)
	bob.submit(fmt.Sprintf("/admin/moderation/%d/hide", id), nil).want(http.StatusForbidden)
	root.page("/admin/moderation").want(http.StatusOK).shows("<strong>Rubbish</strong>", "What is &lt;this&gt;?", "So &lt;rude&gt;", "<strong>Abusive</strong>", "by bob", "1 comment")
	act := func(name string, form url.Values) *answer {
		t.Helper()
		return root.submit(fmt.Sprintf("/admin/moderation/%d/%s", id, name), form)
	}
	act("warn", url.Values{"text": {""}}).want(http.StatusUnprocessableEntity).shows("Text is required", `<details class="tool" open><summary>Warn`)
	act("warn", url.Values{"text": {"Please be kind"}}).redirects("/admin/moderation#comment-")
	page := alice.page("/thread?url=b").shows("Please be kind", "I have read it")
	seen := regexp.MustCompile(`/thread/warnings/\d+/seen`).FindString(string(page.body))
	bob.page("/thread?url=b").hides("Please be kind")
	bob.submit(seen, nil).want(http.StatusNotFound)
	alice.submit(seen, url.Values{"return_to": {"/thread?url=b"}}).redirects("/thread?url=b")
	alice.page("/thread?url=b").hides("Please be kind")
	act("ban", url.Values{"days": {"many"}}).want(http.StatusUnprocessableEntity).shows("Days must be a whole number")
	act("ban", url.Values{"days": {"3"}}).redirects("/admin/moderation#comment-")
	alice.submit("/thread/comment", url.Values{"url": {"a"}, "content": {"Why?"}}).want(http.StatusForbidden).shows("you can write again on")
	st.visitor().submit(fmt.Sprintf("/admin/moderation/%d/hide?show=hidden", id), url.Values{"show": {"hidden"}}).redirects("/login?error=session_expired&return_to=/kept")
	act("dance", nil).want(http.StatusNotFound)
	act("hide", nil).redirects("/admin/moderation#comment-")
	root.page("/admin/moderation").shows("Nothing here", "Comment hidden.")
	root.page("/admin/moderation?show=hidden").shows("Rubbish", "Show again", "Last judged by root")
	for _, q := range []string{"rUBbish", "alice", fmt.Sprint(id)} {
		root.page("/admin/moderation?show=hidden&sort=oldest&q="+q).shows("Show again", "/admin/moderation.csv?q="+q+"&amp;show=hidden&amp;sort=oldest")
	}
	root.page("/admin/moderation?show=hidden&q=r_bbish").shows("No comment here is like that").hides("Show again")
	root.get("/api/admin/moderation?show=hidden&q=rubbish").want(http.StatusOK).shows("Rubbish")
	root.get("/api/admin/moderation?show=hidden&q=bob%27s").want(http.StatusOK).hides("Rubbish")
	table := root.page("/admin/moderation.csv?show=hidden").want(http.StatusOK)
	same(t, "table", strings.HasPrefix(string(table.body), "id,on,author,created_at,text,reports,reasons,held_for,is_hidden,reviewed_at,reviewed_by\n"), true)
	table.shows(fmt.Sprintf("%d,", id), ",alice,", `,"**Rubbish**, @bob!",1,abusive,,true,`, ",root\n")
	act("unhide?show=hidden&q=rubbish", nil).redirects("/admin/moderation?q=rubbish&show=hidden#comment-")
	act("clear-flags", nil).redirects("/admin/moderation#comment-")
	root.page("/admin/moderation?show=x").want(http.StatusUnprocessableEntity)

	// What waits is marked for its author, and approved from the queue.
	held := bob.comment("a", "See https://example.com/x.", 0)
	bob.page("/thread?url=a").shows("Only you can see this", "a comment with links waits for a moderator").hides(fmt.Sprintf("reply-%d", held))
	alice.page("/thread?url=a").hides("example.com/x")
	root.page("/admin/moderation").shows("It holds a link.", "Approve", "Refuse")
	root.submit(fmt.Sprintf("/admin/moderation/%d/unhide", held), nil).redirects("/admin/moderation")
	alice.page("/thread?url=a").shows(`<a href="https://example.com/x" rel="ugc nofollow noopener">`)

	// Earlier versions are for the author and admins.
	bob.put(fmt.Sprintf("/interact/comments/%d", parent), map[string]any{"content": "What is that?"}).want(http.StatusOK)
	versions := fmt.Sprintf("/thread/comments/%d/versions", parent)
	for _, p := range []*person{bob, root} {
		p.page("/thread?url=a").shows("· edited <time", versions)
		p.page(versions).want(http.StatusOK).shows("What is &lt;this&gt;?", "Back to the comment")
	}
	alice.page("/thread?url=a").shows("· edited <time").hides(versions)
	alice.page(versions).want(http.StatusForbidden).hides("this")
}
