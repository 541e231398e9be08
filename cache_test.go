package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// isReady says whether the cache holds a good answer to an address.
func (st *site) isReady(uri string) bool { return st.cache.find(uri, st.now()) != nil }

// Everybody gets answers from the cache, strangers the same and members their
// own, and after every change the true one.
func TestReadyAnswers(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, reader, bob := st.member("alice"), st.visitor(), st.member("bob")
	comment := alice.comment("blog/a.html", "First", 0)
	reads := []string{
		"/interact/likes/blog%2Fa.html", "/interact/like-status/blog/a.html", "/interact/user-like-status/blog%2Fa.html", "/api/likes/count?url=blog/a.html",
		"/interact/comments/blog%2Fa.html", "/interact/comments/blog/a.html?sort=popular&flat=true",
		"/analytics/page-views/blog%2Fa.html", "/analytics/page-views/blog/a.html/timeline?period=weekly", "/api/summary?url=blog/a.html&url=b",
	}
	text := func(p *person, uri string) string { return string(p.get(uri).want(http.StatusOK).body) }
	for _, uri := range reads {
		first := text(reader, uri)
		if !st.isReady(uri) {
			t.Errorf("%s is not kept", uri)
		}
		same(t, uri, text(reader, uri), first)
		same(t, uri+" for bob", text(bob, uri), first)
	}
	view := func() {
		reader.header.Set("User-Agent", firefox)
		reader.post("/analytics/page-view", map[string]any{"url": "blog/a.html"}).want(http.StatusOK)
	}
	for _, c := range []struct {
		what   string
		change func()
		stale  []int // of reads
	}{
		{"like", func() { alice.post("/interact/like", map[string]any{"url": "blog/a.html"}).want(http.StatusOK) }, []int{0, 1, 3, 8}},
		{"unlike", func() { alice.post("/interact/like", map[string]any{"url": "/blog/a.html"}).want(http.StatusOK) }, []int{0, 1, 3, 8}},
		{"like by the other endpoint", func() { alice.post("/api/likes", map[string]any{"url": "blog/a.html"}).want(http.StatusCreated) }, []int{0, 1, 3, 8}},
		{"view", view, []int{6, 7, 8}},
		{"reply", func() { alice.comment("blog/a.html", "Second", comment) }, []int{4, 5, 8}},
		{"edit", func() {
			alice.put(fmt.Sprintf("/interact/comments/%d", comment), map[string]any{"content": "Changed"}).want(http.StatusOK)
		}, []int{4, 5}},
		{"like of a comment", func() { alice.post(fmt.Sprintf("/interact/comments/%d/like", comment), nil).want(http.StatusOK) }, []int{4, 5}},
		{"removal", func() { alice.delete(fmt.Sprintf("/interact/comments/%d", comment)).want(http.StatusOK) }, []int{4, 5, 8}},
		{"another page", func() { alice.post("/interact/like", map[string]any{"url": "other"}).want(http.StatusOK) }, nil},
		{"a refusal", func() { alice.post("/interact/like", map[string]any{}).want(http.StatusUnprocessableEntity) }, nil},
	} {
		before := map[*person]map[string]string{reader: {}, bob: {}}
		for p := range before {
			for _, uri := range reads {
				before[p][uri] = text(p, uri)
			}
		}
		c.change()
		for i, uri := range reads {
			for p := range before {
				if got := text(p, uri); (got != before[p][uri]) != slices.Contains(c.stale, i) {
					t.Errorf("after %s, %s is %s for %s, before it was %s", c.what, uri, got, p.name, before[p][uri])
				}
			}
		}
		if c.stale == nil && !st.isReady(reads[0]) {
			t.Errorf("%s has emptied the cache", c.what)
		}
	}
	for range 2 {
		alice.get("/interact/like-status/blog/a.html").want(http.StatusOK).shows(`"user_has_liked":true`)
		bob.get("/interact/like-status/blog/a.html").want(http.StatusOK).shows(`"user_has_liked":false`)
		reader.get("/interact/like-status/blog/a.html").want(http.StatusOK).shows(`"user_has_liked":false`)
	}
	same(t, "Cache-Control", bob.get("/interact/like-status/blog/a.html").header.Get("Cache-Control"), "private, no-cache")
}

// A token that was looked up a moment ago is not looked up again, but what ends
// its session or changes what its owner may do holds at once.
func TestKnownTokens(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root := st.admin("root")
	again := func(p *person) *person {
		other := st.visitor()
		other.name = p.name
		other.signIn()
		return other
	}
	for what, end := range map[string]func(p *person, id int){
		"signing out":       func(p *person, id int) { p.get("/logout?redirect=false").want(http.StatusOK) },
		"end of all others": func(p *person, id int) { again(p).delete("/api/me/sessions").want(http.StatusNoContent) },
		"new password": func(p *person, id int) {
			again(p).post("/accounts/reset-password", map[string]any{"old_password": testPassword, "new_password": "Analytical-2"}).want(http.StatusOK)
		},
		"deactivation": func(p *person, id int) {
			root.do(http.MethodPatch, fmt.Sprintf("/accounts/admin/%d/status", id), map[string]any{"status": "inactive"}).want(http.StatusOK)
		},
		"removal by admins": func(p *person, id int) { root.delete(fmt.Sprintf("/accounts/admin/%d", id)).want(http.StatusOK) },
	} {
		name := "m_" + strings.Split(what, " ")[0]
		p := st.member(name)
		token := st.tokenOf(name)
		p.header.Set("Authorization", "Bearer "+token)
		id := p.get("/api/me").want(http.StatusOK).id()
		same(t, what+": known before", st.known.find(st.cache, token, st.now()) != nil, true)
		p.get("/interact/like-status/a").want(http.StatusOK)
		end(p, id)
		p.get("/me").want(http.StatusUnauthorized)
	}
}

// What the cache answers has the headers of any answer, CORS for the one who
// asks among them, and a 304 for who has it already.
func TestHeadersOfReadyAnswers(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice").comment("a", "Hello", 0)
	reader := st.visitor()
	first := reader.get("/interact/comments/a").want(http.StatusOK)
	tag := first.header.Get("ETag")
	if tag == "" {
		t.Fatal("there is no ETag")
	}
	reader.header.Set("Origin", "https://www.example.com")
	second := reader.get("/interact/comments/a").want(http.StatusOK)
	for name, want := range map[string]string{
		"ETag": tag, "X-Total-Count": "1", "Content-Type": "application/json", "Access-Control-Allow-Origin": "https://www.example.com", "X-Content-Type-Options": "nosniff",
	} {
		same(t, name, second.header.Get(name), want)
	}
	reader.header.Set("Origin", "https://elsewhere.example")
	same(t, "stranger's CORS", reader.get("/interact/comments/a").want(http.StatusOK).header.Get("Access-Control-Allow-Origin"), "")
	for given, want := range map[string]int{tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200} {
		reader.header.Set("If-None-Match", given)
		answer := reader.get("/interact/comments/a").want(want)
		same(t, "ETag", answer.header.Get("ETag"), tag)
		same(t, "has a body", len(answer.body) > 0, want == 200)
	}
}

// An answer that was read before a change is not kept after it.
func TestNothingStaleIsKept(t *testing.T) {
	t.Parallel()
	c, now := newCache(), time.Now()
	asOf := c.clock.Load()
	c.changed(about("likes", "a"))
	c.keep("/late", &readyAnswer{topics: []topic{about("likes", "a")}, asOf: asOf}, now)
	c.keep("/other", &readyAnswer{topics: []topic{about("likes", "b")}, asOf: asOf}, now)
	same(t, "kept what a change has overtaken", c.find("/late", now) != nil, false)
	same(t, "kept the other", c.find("/other", now) != nil, true)
	same(t, "kept for too long", c.find("/other", now.Add(unheardLife)) != nil, false)
	c.changed()
	same(t, "kept after all has changed", c.find("/other", now) != nil, false)
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c, now := newCache(), time.Now()
	for n := range 3000 {
		c.keep(fmt.Sprint("/", n), &readyAnswer{body: make([]byte, 10_000)}, now)
		if c.find(fmt.Sprint("/", n), now) == nil {
			t.Fatal("the newest is not there")
		}
	}
	held := 0
	for _, a := range c.answers {
		held += len(a.body)
	}
	if held > cacheSize || held < cacheSize/2 || c.size > cacheSize {
		t.Errorf("the cache holds %d bytes and counts %d, at most %d are allowed", held, c.size, cacheSize)
	}
	c.keep("/big", &readyAnswer{body: make([]byte, maxReady)}, now)
	same(t, "kept a very big one", c.find("/big", now) != nil, false)
	c.keep("/2999", &readyAnswer{body: make([]byte, 10)}, now)
	before := c.size
	c.keep("/2999", &readyAnswer{body: make([]byte, 20)}, now)
	same(t, "size after a replacement", c.size, before+10)
}

// What changes on one instance is heard on another one of the same database,
// also after the connection was lost.
func TestOtherInstancesHearOfChanges(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	other := newSite(t, func(c *config) { c.databaseURL, c.secretKey = st.cfg.databaseURL, st.cfg.secretKey })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{}, 4)
	for _, work := range []func(context.Context){st.tellChanges, st.hearChanges, other.tellChanges, other.hearChanges} {
		go func() { work(ctx); done <- struct{}{} }()
	}
	defer func() {
		stop()
		for range 4 {
			<-done
		}
	}()
	wait(t, "both listen", func() bool { return st.cache.heard.Load() && other.cache.heard.Load() })
	alice, reader := st.member("alice"), other.visitor()
	const uri = "/interact/like-status/a"
	shows := func(want string) func() bool {
		return func() bool {
			return strings.Contains(string(reader.get(uri).want(http.StatusOK).body), `"like_count":`+want)
		}
	}
	wait(t, "the registration is heard", func() bool { return shows("0")() && other.isReady(uri) })
	answer := other.cache.answers[uri]
	same(t, "life", answer.until.Sub(other.now()) > unheardLife, true)
	alice.post("/interact/like", map[string]any{"url": "a"}).want(http.StatusOK)
	wait(t, "the like is heard", shows("1"))
	roaming := other.visitor()
	roaming.header.Set("Authorization", "Bearer "+st.tokenOf("alice"))
	roaming.get("/me").want(http.StatusOK)
	alice.delete("/api/me/sessions").want(http.StatusNoContent)
	wait(t, "the end of the session is heard", func() bool { return roaming.get("/me").status == http.StatusUnauthorized })
	// Without its connection an instance knows that it hears nothing, and listens again.
	st.exec(`select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen chatter_changes' and datname = current_database()`)
	wait(t, "the loss is noticed", func() bool { return !other.cache.heard.Load() })
}

// A project that is answered from the cache is viewed all the same: every answer
// shows one view more, and all are written a moment later.
func TestReadyProjects(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, reader := st.member("alice"), st.visitor()
	id := alice.post("/api/projects", map[string]any{"title": "Arm", "description": `It says "view_count":7, and more`}).want(http.StatusCreated).id()
	path := fmt.Sprintf("/api/projects/%d", id)
	alice.post(path+"/publish", nil).want(http.StatusOK)
	views := func(p *person) int {
		var shown struct {
			ViewCount   int `json:"view_count"`
			Description string
		}
		p.get(path).want(http.StatusOK).into(&shown)
		same(t, "description", shown.Description, `It says "view_count":7, and more`)
		return shown.ViewCount
	}
	for n := range 4 {
		same(t, "views", views(reader), n+1)
		same(t, "ready", st.isReady(path), true)
	}
	same(t, "views that its author sees", views(alice), 4)
	same(t, "written so far", st.count(`select view_count from project`), 1)
	if err := st.writeLateViews(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "written", st.count(`select view_count from project`), 4)
	same(t, "ready though its counts have changed", st.isReady(path), false)
	same(t, "views afterwards", views(reader), 5)
	same(t, "views of a member", views(st.member("bob")), 6)
	same(t, "and of a stranger", views(reader), 7)
	reader.get("/api/projects").want(http.StatusOK).shows(`"view_count":7`)
	alice.post(path+"/unpublish", nil).want(http.StatusOK)
	reader.get(path).detail(http.StatusForbidden, "Draft")
	alice.delete(path).want(http.StatusNoContent)
	reader.get(path).detail(http.StatusNotFound, "Project not found")
}
