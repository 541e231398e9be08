package main

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// feedShape is what RFC 4287 asks of a feed, as a reader sees it.
type feedShape struct {
	XMLName xml.Name `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string   `xml:"id"`
	Title   string   `xml:"title"`
	Updated string   `xml:"updated"`
	Links   []struct {
		Rel  string `xml:"rel,attr"`
		Href string `xml:"href,attr"`
	} `xml:"link"`
	Entries []struct {
		ID        string `xml:"id"`
		Title     string `xml:"title"`
		Updated   string `xml:"updated"`
		Published string `xml:"published"`
		Author    string `xml:"author>name"`
		Link      struct {
			Href string `xml:"href,attr"`
		} `xml:"link"`
		Content struct {
			Type string `xml:"type,attr"`
			Body string `xml:",chardata"`
		} `xml:"content"`
	} `xml:"entry"`
}

// feed gets a feed and checks what holds for every one.
func (p *person) feed(path string) (f feedShape) {
	p.t.Helper()
	a := p.get(path).want(http.StatusOK)
	same(p.t, "type", a.header.Get("Content-Type"), "application/atom+xml; charset=utf-8")
	if err := xml.Unmarshal(a.body, &f); err != nil {
		p.t.Fatalf("%s: %v", path, err)
	}
	date := func(text string) {
		p.t.Helper()
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			p.t.Errorf("%s: %v", path, err)
		}
	}
	absolute := func(text string) {
		p.t.Helper()
		if u, err := url.Parse(text); err != nil || !u.IsAbs() {
			p.t.Errorf("%s: %q is no absolute address", path, text)
		}
	}
	date(f.Updated)
	absolute(f.ID)
	same(p.t, "self", f.Links[0].Rel == "self" && f.Links[0].Href == p.cfg.publicURL+path, true)
	ids := map[string]bool{}
	for _, e := range f.Entries {
		date(e.Updated)
		date(e.Published)
		absolute(e.ID)
		absolute(e.Link.Href)
		same(p.t, "entry", e.Title != "" && e.Author != "" && !ids[e.ID] && e.Content.Type == "html", true)
		ids[e.ID] = true
	}
	for header, value := range map[string]string{"If-None-Match": a.header.Get("ETag"), "If-Modified-Since": a.header.Get("Last-Modified")} {
		if value != "" {
			p.do(http.MethodGet, path, nil, header, value).want(http.StatusNotModified)
		}
	}
	return f
}

func TestFeeds(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	same(t, "empty", len(nobody.feed("/feeds/comments.atom").Entries), 0)
	first := alice.comment("blog/ä b.html", "Line & <one>\n**bold** @bob", 0)
	bob.comment("b", "Two", 0)
	gone := bob.comment("b", "Three", 0)
	bob.delete(fmt.Sprintf("/interact/comments/%d", gone)).want(http.StatusOK)
	project := alice.draft("Robot & arm")
	alice.post("/interact/entity/comment", map[string]any{"entity_type": "project", "entity_id": project, "content": "Mine"}).want(http.StatusOK)

	f := nobody.feed("/feeds/comments.atom")
	same(t, "title", f.Title, "Comments – Test Site")
	same(t, "newest first, without the draft's", len(f.Entries) == 2 && f.Entries[0].Content.Body == "Two" && f.Entries[0].Author == "bob", true)
	e := f.Entries[1]
	same(t, "HTML", e.Content.Body, `Line &amp; &lt;one&gt;<br>`+"\n"+`<strong>bold</strong> <span class="mention">@bob</span>`)
	same(t, "link", e.Link.Href, fmt.Sprintf("%s/thread?url=blog%%2F%%C3%%A4+b.html#comment-%d", st.cfg.publicURL, first))
	same(t, "tag", strings.HasPrefix(e.ID, "tag:localhost,20") && strings.HasSuffix(e.ID, fmt.Sprintf(":comment-%d", first)), true)
	same(t, "of a page", len(nobody.feed("/feeds/comments.atom?url="+url.QueryEscape("/blog/ä b.html")).Entries), 1)
	same(t, "of no page", len(nobody.feed("/feeds/comments.atom?url=none").Entries), 0)
	same(t, "of a user", nobody.feed("/feeds/users/bob.atom").Entries[0].Content.Body, "Two")
	nobody.get("/feeds/users/carol.atom").detail(http.StatusNotFound, "User not found")
	nobody.get("/feeds/users/bob").want(http.StatusNotFound)
	nobody.get("/feeds/comments.atom?url=" + strings.Repeat("x", 2001)).want(http.StatusUnprocessableEntity)

	same(t, "drafts", len(nobody.feed("/feeds/projects.atom").Entries), 0)
	alice.put(fmt.Sprintf("/api/projects/%d", project), map[string]any{"tags": "robots", "description": "Some *words*"}).want(http.StatusOK)
	alice.post(fmt.Sprintf("/api/projects/%d/publish", project), nil).want(http.StatusOK)
	f = nobody.feed("/feeds/projects.atom?tag=robots")
	same(t, "project", len(f.Entries) == 1 && f.Entries[0].Title == "Robot & arm" && f.Entries[0].Author == "alice" && strings.Contains(f.Entries[0].Content.Body, "<em>words</em>"), true)
	same(t, "its page", f.Entries[0].Link.Href, fmt.Sprintf("%s/p/alice/%d-robot-arm", st.cfg.publicURL, project))
	same(t, "other tag", len(nobody.feed("/feeds/projects.atom?tag=cats").Entries), 0)
	same(t, "published now", len(nobody.feed("/feeds/comments.atom").Entries), 3)
	// What changes, is sent again.
	a := nobody.get("/feeds/comments.atom")
	alice.put(fmt.Sprintf("/interact/comments/%d", first), map[string]any{"content": "Changed"}).want(http.StatusOK)
	nobody.do(http.MethodGet, "/feeds/comments.atom", nil, "If-None-Match", a.header.Get("ETag")).want(http.StatusOK)
	nobody.page("/thread?url=b").shows(`type="application/atom+xml"`, "/feeds/comments.atom?url=b")
}
