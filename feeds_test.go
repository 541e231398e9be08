package main

import (
	"encoding/xml"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// atomShape is a feed as a reader sees it.
type atomShape struct {
	XMLName xml.Name
	ID      string `xml:"http://www.w3.org/2005/Atom id"`
	Title   string `xml:"http://www.w3.org/2005/Atom title"`
	Updated string `xml:"http://www.w3.org/2005/Atom updated"`
	Author  string `xml:"http://www.w3.org/2005/Atom author>name"`
	Links   []struct {
		Rel  string `xml:"rel,attr"`
		Type string `xml:"type,attr"`
		Href string `xml:"href,attr"`
	} `xml:"http://www.w3.org/2005/Atom link"`
	Entries []struct {
		ID        string `xml:"http://www.w3.org/2005/Atom id"`
		Title     string `xml:"http://www.w3.org/2005/Atom title"`
		Published string `xml:"http://www.w3.org/2005/Atom published"`
		Updated   string `xml:"http://www.w3.org/2005/Atom updated"`
		Author    string `xml:"http://www.w3.org/2005/Atom author>name"`
		Link      struct {
			Rel  string `xml:"rel,attr"`
			Href string `xml:"href,attr"`
		} `xml:"http://www.w3.org/2005/Atom link"`
		Categories []struct {
			Term string `xml:"term,attr"`
		} `xml:"http://www.w3.org/2005/Atom category"`
		Content struct {
			Type string `xml:"type,attr"`
			Text string `xml:",chardata"`
		} `xml:"http://www.w3.org/2005/Atom content"`
	} `xml:"http://www.w3.org/2005/Atom entry"`
}

// feed reads a feed and checks what RFC 4287 §4.1 demands of every one.
func (p *person) feed(path string) atomShape {
	p.t.Helper()
	a := p.get(path).want(http.StatusOK)
	same(p.t, path+" is of type", a.header.Get("Content-Type"), "application/atom+xml; charset=utf-8")
	var f atomShape
	if err := xml.Unmarshal(a.body, &f); err != nil {
		p.t.Fatalf("%s: %v in %s", path, err, a.body)
	}
	same(p.t, "root", f.XMLName, xml.Name{Space: "http://www.w3.org/2005/Atom", Local: "feed"})
	isTime := func(what, text string) time.Time {
		p.t.Helper()
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			p.t.Fatalf("%s of %s: %v", what, path, err)
		}
		return at
	}
	isAddress := func(what, text string) {
		p.t.Helper()
		if u, err := url.Parse(text); err != nil || !u.IsAbs() || regexp.MustCompile(`[^!-~]|#.*#`).MatchString(text) {
			p.t.Fatalf("%s of %s is no absolute address: %q", what, path, text)
		}
	}
	isAddress("id", f.ID)
	newest := isTime("updated", f.Updated)
	if f.Title == "" || f.Author == "" || len(f.Links) != 2 || f.Links[0].Rel != "self" || f.Links[0].Href != f.ID || f.Links[1].Rel != "alternate" {
		p.t.Fatalf("%s lacks something: %+v", path, f)
	}
	isAddress("page", f.Links[1].Href)
	seen := map[string]bool{}
	for _, e := range f.Entries {
		isAddress("id", e.ID)
		isAddress("link", e.Link.Href)
		isTime("published", e.Published)
		if isTime("updated", e.Updated).After(newest) {
			p.t.Fatalf("%s is older than its entry %s", path, e.ID)
		}
		if e.Title == "" || e.Author == "" || e.Link.Rel != "alternate" || e.Content.Type != "html" || e.Content.Text == "" || seen[e.ID] {
			p.t.Fatalf("an entry of %s lacks something: %+v", path, e)
		}
		seen[e.ID] = true
	}
	return f
}

// titles are the titles of the entries, joined.
func (f atomShape) titles() string {
	var list []string
	for _, e := range f.Entries {
		list = append(list, e.Title)
	}
	return strings.Join(list, "; ")
}

func TestCommentFeeds(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.publicURL, c.siteURL = "https://chatter.example.com", "https://www.example.com" })
	alice, bob, reader := st.member("alice"), st.member("bob"), st.visitor()
	same(t, "no comments", len(reader.feed("/feeds/comments.atom").Entries), 0)

	first := alice.comment("/blog/a b.html?x=1&y=ä#top", "1 < 2 & \"so on\"\n\nA second ]]> line", 0)
	bob.comment("blog/other.html", "Else", 0)
	id := alice.draft("A <b>robot</b> & friends")
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	bob.post("/interact/entity/comment", map[string]any{"entity_type": "project", "entity_id": id, "content": "Nice"}).want(http.StatusOK)
	for _, gone := range []string{"is_hidden", "is_removed"} {
		st.exec(`update comment set `+gone+` = true where id = $1`, bob.comment("blog/other.html", "Gone", 0))
	}
	bob.post("/api/projects", map[string]any{"title": "Secret", "description": "d"}).want(http.StatusCreated)
	draft := bob.draft("Secret")
	bob.post("/interact/entity/comment", map[string]any{"entity_type": "project", "entity_id": draft, "content": "Mine"}).want(http.StatusOK)

	f := reader.feed("/feeds/comments.atom")
	same(t, "all", f.titles(), "bob on A <b>robot</b> & friends; bob on blog/other.html; alice on blog/a b.html?x=1&y=ä#top")
	same(t, "a comment on a project", f.Entries[0].Link.Href, fmt.Sprintf("https://chatter.example.com/p/alice/%d-a-b-robot-b-friends#comment-%d", id, first+2))
	e := f.Entries[2]
	same(t, "a comment on a page", e.Link.Href, fmt.Sprintf("https://www.example.com/blog/a%%20b.html?x=1&y=%%C3%%A4%%23top#comment-%d", first))
	same(t, "text", e.Content.Text, "<p>1 &lt; 2 &amp; &#34;so on&#34;<br>\n<br>\nA second ]]&gt; line</p>")
	same(t, "id", e.ID, fmt.Sprintf("tag:chatter.example.com,%s:comment-%d", e.Published[:10], first))

	same(t, "a page's", reader.feed("/feeds/comments.atom?url=%2Fblog%2Fother.html").titles(), "bob on blog/other.html")
	same(t, "a project's", reader.feed(fmt.Sprintf("/feeds/comments.atom?entity_type=project&entity_id=%d", id)).titles(), "bob on A <b>robot</b> & friends")
	same(t, "a person's", reader.feed("/feeds/users/ALICE.atom").titles(), "alice on blog/a b.html?x=1&y=ä#top")
	st.admin("root").post("/api/admin/urls/move", map[string]any{"old": "blog/other.html", "new": "blog/new.html"}).want(http.StatusOK)
	same(t, "a moved page's", reader.feed("/feeds/comments.atom?url=blog/other.html").titles(), "bob on blog/new.html")

	bob.get(fmt.Sprintf("/feeds/comments.atom?entity_type=project&entity_id=%d", draft)).detail(http.StatusNotFound, "Project not found")
	reader.get("/feeds/users/nobody.atom").detail(http.StatusNotFound, "User not found")
	reader.get("/feeds/users/alice").want(http.StatusNotFound)
	reader.get("/feeds/comments.atom?url=" + strings.Repeat("x", 2001)).want(http.StatusUnprocessableEntity)
	st.exec(`update "user" set status = 'inactive' where username = 'alice'`)
	reader.get("/feeds/users/alice.atom").want(http.StatusNotFound)

	for range 60 {
		bob.comment("many", "More", 0)
	}
	same(t, "the newest", len(reader.feed("/feeds/comments.atom?url=many").Entries), 50)
}

// A feed can be read whatever somebody managed to store.
func TestFeedsHoldAnyText(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.comment("a", "x", 0)
	odd := "\x01\x0b\x1f \ufffe\uffff \U0001f600 <script>]]>&amp;"
	st.exec(`update comment set content = $2::text, url = $2::text where id = $1`, id, odd)
	st.exec(`update "user" set username = $1 where username = 'alice'`, odd)
	f := st.visitor().feed("/feeds/comments.atom")
	clean := "\ufffd\ufffd\ufffd \ufffd\ufffd \U0001f600 <script>]]>&amp;"
	same(t, "title", f.Entries[0].Title, clean+" on "+clean)
	same(t, "text", f.Entries[0].Content.Text, "<p>"+html.EscapeString(clean)+"</p>")
	// Without SITE_URL nobody knows where the pages are.
	if want := st.cfg.publicURL + "/thread?url="; !strings.HasPrefix(f.Entries[0].Link.Href, want) {
		t.Fatalf("the link is %q", f.Entries[0].Link.Href)
	}
}

func TestProjectFeeds(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, reader := st.member("alice"), st.visitor()
	var ids []int
	for i, tags := range []string{"robot", "robot,c++ & more", "other"} {
		id := alice.post("/api/projects", map[string]any{"title": fmt.Sprint("Project ", i+1), "description": "See [this](files/x) **now**.", "tags": strings.Split(tags, ",")}).want(http.StatusCreated).id()
		alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
		ids = append(ids, id)
	}
	alice.draft("Secret")
	f := reader.feed("/feeds/projects.atom")
	same(t, "all", f.titles(), "Project 3; Project 2; Project 1")
	same(t, "categories", fmt.Sprint(f.Entries[1].Categories), "[{robot} {c++ & more}]")
	same(t, "link", f.Entries[0].Link.Href, fmt.Sprintf("%s/p/alice/%d-project-3", st.cfg.publicURL, ids[2]))
	if !strings.Contains(f.Entries[0].Content.Text, "<strong>now</strong>") {
		t.Fatalf("the content is %q", f.Entries[0].Content.Text)
	}
	f = reader.feed("/feeds/projects.atom?tag=C%2B%2B+%26+more")
	same(t, "tagged", f.titles(), "Project 2")
	same(t, "page", f.Links[1].Href, st.cfg.publicURL+"/projects?tag=c%2B%2B+%26+more")
	same(t, "of an unknown tag", len(reader.feed("/feeds/projects.atom?tag=none").Entries), 0)
	reader.get("/feeds/projects.atom?tag=" + strings.Repeat("x", 101)).want(http.StatusUnprocessableEntity)

	// One that changes comes again, under its id.
	id := f.Entries[0].ID
	alice.put(fmt.Sprintf("/api/projects/%d", ids[1]), map[string]any{"title": "Renamed"}).want(http.StatusOK)
	f = reader.feed("/feeds/projects.atom")
	same(t, "first", f.Entries[0].Title, "Renamed")
	same(t, "its id", f.Entries[0].ID, id)
}

func TestFeedsAreSentOnce(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, reader := st.member("alice"), st.visitor()
	alice.comment("a", "One", 0)
	a := reader.get("/feeds/comments.atom").want(http.StatusOK)
	etag, changed := a.header.Get("ETag"), a.header.Get("Last-Modified")
	same(t, "cache", a.header.Get("Cache-Control"), "public, max-age=300")
	again := reader.do(http.MethodGet, "/feeds/comments.atom", nil, "If-None-Match", etag).want(http.StatusNotModified)
	same(t, "body", len(again.body), 0)
	reader.do(http.MethodGet, "/feeds/comments.atom", nil, "If-Modified-Since", changed).want(http.StatusNotModified)
	reader.do(http.MethodHead, "/feeds/comments.atom", nil).want(http.StatusOK)
	alice.comment("a", "Two", 0)
	if reader.do(http.MethodGet, "/feeds/comments.atom", nil, "If-None-Match", etag).want(http.StatusOK).header.Get("ETag") == etag {
		t.Fatal("another feed has the same ETag")
	}
}

// Browsers and feed readers find the feeds from the pages.
func TestPagesNameTheirFeeds(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	page := alice.page(fmt.Sprintf("/projects/%d", id)).redirects("/p/alice/")
	alice.page(page).want(http.StatusOK).hides("application/atom+xml")
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	alternate := regexp.MustCompile(`<link rel="alternate" type="application/atom\+xml" title="[^"]+" href="([^"]+)">`)
	for path, want := range map[string][]string{
		"/":                          {"/feeds/projects.atom", "/feeds/comments.atom"},
		"/projects?tag=a+b":          {"/feeds/projects.atom", "/feeds/projects.atom?tag=a%20b"},
		page:                         {fmt.Sprintf("/feeds/comments.atom?entity_type=project&entity_id=%d", id)},
		"/thread?url=a%26b%3Fc.html": {"/feeds/comments.atom?url=a%26b%3fc.html"},
	} {
		var got []string
		for _, match := range alternate.FindAllStringSubmatch(string(alice.page(path).want(http.StatusOK).body), -1) {
			got = append(got, html.UnescapeString(match[1]))
			alice.feed(html.UnescapeString(match[1]))
		}
		same(t, path, fmt.Sprint(got), fmt.Sprint(want))
	}
}
