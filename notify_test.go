package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// subjects are the subjects of the letters that somebody got, oldest first.
func (p *person) subjects() string {
	p.t.Helper()
	var list []string
	for _, m := range p.letters(p.name + "@example.com") {
		if m.header.Get("List-Unsubscribe") != "" || strings.Contains(m.subject, "moderator") {
			list = append(list, strings.ReplaceAll(m.subject, "\u200c", "")) // see shown
		}
	}
	return strings.Join(list, "; ")
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.commentLinks = "review" })
	alice, bob, carol, root := st.member("alice"), st.member("bob"), st.member("carol"), st.admin("root")
	project := alice.draft("Robot arm")
	on := map[string]any{"entity_type": "project", "entity_id": project, "content": "Nice, @carol and @nobody and @bob!"}
	alice.comment("a", "First", 0)
	// Nobody is written to at an address that was not confirmed.
	bob.comment("a", "Reply", 1)
	same(t, "unconfirmed", alice.subjects(), "")
	st.exec(`update "user" set email_verified = true`)

	reply := bob.comment("blog/x.html", "Reply to @alice", alice.comment("blog/x.html", "Question", 0))
	same(t, "one letter for a reply that names", alice.subjects(), "bob answered your comment on blog/x.html")
	letter := st.letter("alice@example.com", "answered").shows("Hello alice,", "Reply to @")
	stop := letter.header.Get("List-Unsubscribe")
	same(t, "links", letter.links[0], fmt.Sprintf("%s/thread?url=blog%%2Fx.html#comment-%d", st.cfg.publicURL, reply))
	same(t, "one-click", letter.header.Get("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click" && stop == "<"+letter.links[1]+">", true)
	alice.comment("blog/x.html", "To myself, @alice", reply)
	same(t, "bob", bob.subjects(), "alice answered your comment on blog/x.html")
	same(t, "not of one's own", strings.Count(alice.subjects(), ";"), 0)
	// A draft is nobody's business; published, it is its author's and theirs who are named.
	alice.post("/interact/entity/comment", on).want(http.StatusOK)
	same(t, "draft", carol.subjects(), "")
	alice.post(fmt.Sprintf("/api/projects/%d/publish", project), nil).want(http.StatusOK)
	bob.post("/interact/entity/comment", on).want(http.StatusOK)
	same(t, "project", alice.subjects(), "bob answered your comment on blog/x.html; bob commented on your project Robot arm")
	same(t, "named", carol.subjects(), "bob named you on Robot arm")
	// What waits for a moderator is told of when it is approved, once.
	held := bob.comment("a", "@carol https://example.com/x", 1)
	same(t, "held", strings.Contains(carol.subjects(), "on a"), false)
	for range 2 {
		root.post(fmt.Sprintf("/interact/comments/%d/unhide", held), nil).want(http.StatusOK)
		root.post(fmt.Sprintf("/interact/comments/%d/hide", held), nil).want(http.StatusOK)
	}
	same(t, "approved", carol.subjects(), "bob named you on Robot arm; bob named you on a")

	// A kind that is switched off.
	type wanted struct{ Replies, Mentions, Projects, Reports bool }
	var n wanted
	alice.get("/api/me/notifications").want(http.StatusOK).into(&n)
	same(t, "all on", n, wanted{true, true, true, true})
	alice.put("/api/me/notifications", map[string]any{"projects": false}).want(http.StatusOK).into(&n)
	same(t, "one off", n, wanted{true, true, false, true})
	alice.put("/api/me/notifications", map[string]any{"replies": "x"}).detail(http.StatusUnprocessableEntity, "Replies must be true or false")
	st.visitor().get("/api/me/notifications").want(http.StatusUnauthorized)
	before := alice.subjects()
	bob.post("/interact/entity/comment", on).want(http.StatusOK)
	same(t, "off", alice.subjects(), before)

	// The link needs no sign-in; looking at it changes nothing, one click does.
	path := strings.TrimPrefix(letter.links[1], st.cfg.publicURL)
	mailer := st.visitor()
	mailer.page(path).want(http.StatusOK).shows("answers to your comments", "Stop them")
	same(t, "looked at", st.count(`select count(*) from "user" where notify_replies`), 4)
	mailer.post(path, url.Values{"List-Unsubscribe": {"One-Click"}}).want(http.StatusOK)
	mailer.submit(path, nil).want(http.StatusOK).shows("You get no more e-mails about answers to your comments")
	same(t, "off", st.count(`select count(*) from "user" where notify_replies`), 3)
	bob.comment("blog/x.html", "Again", reply-1)
	same(t, "stopped", alice.subjects(), before)
	for _, token := range []string{"", "1.replies", "2." + path[strings.Index(path, "replies"):], strings.Replace(path[strings.Index(path, "=")+1:], "replies", "mentions", 1)} {
		mailer.page("/unsubscribe?token=" + token).want(http.StatusBadRequest).shows("not whole")
		mailer.submit("/unsubscribe?token="+token, nil).want(http.StatusBadRequest)
	}
	same(t, "only that", st.count(`select count(*) from "user" where notify_mentions`), 4)

	// A warning is sent whatever is switched off.
	root.post("/api/admin/comments/1/warn", map[string]any{"text": "Be kind"}).want(http.StatusOK)
	st.letter("alice@example.com", "A moderator has a word").shows("Be kind")
	if i := strings.Index(st.logged.String(), "level=ERROR"); i >= 0 {
		t.Fatal(truncate(st.logged.String()[i:], 500))
	}
}

func TestDigestOfReports(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, root, other := st.member("alice"), st.member("bob"), st.admin("root"), st.admin("other")
	st.exec(`update "user" set email_verified = true`)
	other.put("/api/me/notifications", map[string]any{"reports": false}).want(http.StatusOK)
	digest := func() {
		t.Helper()
		for _, j := range st.jobs() {
			if j.name == "report digest" {
				if err := st.runWhenDue(t.Context(), j); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	digest()
	same(t, "nothing to tell", root.subjects(), "")
	st.clock.Store(int64(25 * time.Hour))
	id := alice.comment("a", "Rubbish", 0)
	st.exec(`insert into comment_report (comment_id, user_id, reason, created_at) values ($1, 2, 'spam', $2)`, id, st.now().UTC())
	digest()
	same(t, "told", root.subjects(), "1 comment waits for a moderator")
	same(t, "who does not want it", other.subjects()+bob.subjects(), "")
	letter := st.letter("root@example.com", "moderator")
	same(t, "links", letter.links[0] == st.cfg.publicURL+"/admin/moderation" && strings.Contains(letter.links[1], "/unsubscribe?token=3.reports."), true)
	st.clock.Store(int64(50 * time.Hour))
	digest()
	same(t, "nothing new", root.subjects(), "1 comment waits for a moderator")
	root.post(fmt.Sprintf("/interact/comments/%d/clear-flags", id), nil).want(http.StatusOK)
}

// The boxes on the account page say which letters one wants.
func TestLettersOnTheAccountPage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	alice.page("/account/notifications").want(http.StatusOK).shows(`name="replies" value="true" checked`, `name="projects" value="true" checked`).hides(`name="reports"`)
	alice.submit("/account/letters", url.Values{"mentions": {"true"}}).redirects("/account/notifications")
	alice.page("/account/notifications").shows("Saved.", `name="mentions" value="true" checked`).hides(`name="replies" value="true" checked`)
	got := alice.get("/api/me/notifications").want(http.StatusOK).fields()
	same(t, "letters", fmt.Sprintln(got["replies"], got["mentions"], got["projects"], got["reports"]), "false true false true\n")
}
