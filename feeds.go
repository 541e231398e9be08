package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"
)

// atomFeed is a feed document (RFC 4287 §4.1.1), and atomEntry one of its
// entries (§4.1.2).
type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Updated atomTime    `xml:"updated"`
	Links   []atomLink  `xml:"link"`
	Author  atomPerson  `xml:"author"` // of entries that have none, so never missing
	Entries []atomEntry `xml:"entry"`
}

type atomEntry struct {
	ID        string     `xml:"id"`
	Title     string     `xml:"title"`
	Updated   atomTime   `xml:"updated"`
	Published atomTime   `xml:"published"`
	Links     []atomLink `xml:"link"`
	Author    atomPerson `xml:"author"`
	Content   atomText   `xml:"content"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
	Href string `xml:"href,attr"`
}

type atomPerson struct {
	Name string `xml:"name"`
}

// atomText is a text construct of HTML (§3.1.1.2).
type atomText struct {
	Type string `xml:"type,attr"`
	Body string `xml:",chardata"`
}

// atomTime is a date construct (§3.3).
type atomTime struct{ time.Time }

func (t atomTime) MarshalText() ([]byte, error) {
	return []byte(t.UTC().Format(time.RFC3339)), nil
}

// feedLength is how many entries a feed has.
const feedLength = 50

// answerFeed completes a feed, whose own path and whose page on the web are
// given, and answers it. A reader that has it already gets a 304.
func (s *server) answerFeed(w http.ResponseWriter, r *http.Request, title, page string, entries []atomEntry) error {
	self := s.cfg.publicURL + r.URL.RequestURI()
	feed := atomFeed{
		ID: self, Title: title, Entries: entries, Author: atomPerson{s.cfg.siteName}, Updated: atomTime{time.Unix(0, 0)},
		Links: []atomLink{{"self", "application/atom+xml", self}, {"alternate", "text/html", s.cfg.publicURL + page}},
	}
	for _, e := range entries {
		if e.Updated.After(feed.Updated.Time) {
			feed.Updated = e.Updated
		}
	}
	text, err := xml.Marshal(feed)
	if err != nil {
		return err
	}
	text = append([]byte(xml.Header), text...)
	sum := sha256.Sum256(text)
	h := w.Header()
	h.Set("Content-Type", "application/atom+xml; charset=utf-8")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, "", feed.Updated.Time, bytes.NewReader(text))
	return nil
}

// tagURI names a thing for good (RFC 4151), wherever it is on the web.
func (s *server) tagURI(kind string, id int, made time.Time) string {
	u, _ := url.Parse(s.cfg.publicURL) // checked with the settings
	return fmt.Sprintf("tag:%s,%s:%s-%d", u.Hostname(), made.UTC().Format(time.DateOnly), kind, id)
}

// feedComments are the comments of a feed, by the condition that $1 has to
// meet; a draft's are in none.
const feedComments = `
	select c.id, c.url, c.entity_id, c.content, c.created_at, coalesce(c.edited_at, c.created_at) as updated_at, u.username,
	       coalesce(p.title, '') as title, coalesce(a.username, '') as project_author
	from comment c join "user" u on u.id = c.user_id
	left join project p on p.id = c.entity_id left join "user" a on a.id = p.author_id
	where not c.is_hidden and not c.is_removed and (c.entity_id is null or p.status = 'published') and `

// loadFeedComments returns the newest comments that meet the condition.
func (s *server) loadFeedComments(ctx context.Context, condition string, arg any) ([]atomEntry, error) {
	rows, err := s.db.Query(ctx, feedComments+condition+` order by c.id desc limit $2`, arg, feedLength)
	if err != nil {
		return nil, err
	}
	type row struct {
		ID                             int
		URL                            *string
		EntityID                       *int
		Content                        string
		CreatedAt, UpdatedAt           time.Time
		Username, Title, ProjectAuthor string
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(found))
	for i, c := range found {
		texts[i] = c.Content
	}
	known, err := s.mentioned(ctx, texts...)
	if err != nil {
		return nil, err
	}
	entries := make([]atomEntry, len(found))
	for i, c := range found {
		about, page := c.Title, project{ID: deref(c.EntityID), Title: c.Title, AuthorUsername: c.ProjectAuthor}.Path()
		if c.URL != nil {
			about, page = *c.URL, threadAddress(*c.URL)
		}
		entries[i] = atomEntry{
			ID: s.tagURI("comment", c.ID, c.CreatedAt), Title: fmt.Sprintf("%s on %s", c.Username, about),
			Updated: atomTime{c.UpdatedAt}, Published: atomTime{c.CreatedAt}, Author: atomPerson{c.Username},
			Links:   []atomLink{{"alternate", "text/html", s.cfg.publicURL + page + "#" + commentAnchor(c.ID)}},
			Content: atomText{"html", string(formatComment(c.Content, known))},
		}
	}
	return entries, nil
}

// feedOfComments answers the newest comments, of one page when ?url= names it.
func (s *server) feedOfComments(w http.ResponseWriter, r *http.Request) error {
	in := queryInput(r)
	condition, arg, title, page := `$1::text is null`, (*string)(nil), "Comments", "/"
	if in.has("url") {
		url := in.pageURL("url")
		condition, arg, title, page = `c.url = `+storedURL, &url, "Comments on "+url, threadAddress(url)
	}
	if err := in.err(); err != nil {
		return err
	}
	entries, err := s.loadFeedComments(r.Context(), condition, arg)
	if err != nil {
		return err
	}
	return s.answerFeed(w, r, title+" – "+s.cfg.siteName, page, entries)
}

// feedOfUser answers the newest comments of a user.
func (s *server) feedOfUser(w http.ResponseWriter, r *http.Request) error {
	p, err := s.loadProfile(r.Context(), r.PathValue("username"), viewer{})
	if err != nil {
		return err
	}
	entries, err := s.loadFeedComments(r.Context(), `c.user_id = $1`, p.ID)
	if err != nil {
		return err
	}
	return s.answerFeed(w, r, "Comments by "+p.Username+" – "+s.cfg.siteName, "/", entries)
}

// feedOfProjects answers the newest published projects, of one tag when ?tag=
// names it.
func (s *server) feedOfProjects(w http.ResponseWriter, r *http.Request) error {
	in := queryInput(r)
	tag := deref(in.optional("tag", nil, 100))
	if err := in.err(); err != nil {
		return err
	}
	list, err := s.listProjects(r.Context(), galleryQuery{Status: "published", Tag: tag, Sort: "recent", Page: 1, PerPage: feedLength}, viewer{})
	if err != nil {
		return err
	}
	title, page := "Projects", "/projects"
	if tag != "" {
		title, page = "Projects tagged "+tag, "/projects?tag="+url.QueryEscape(tag)
	}
	entries := make([]atomEntry, len(list.Projects))
	for i, p := range list.Projects {
		entries[i] = atomEntry{
			ID: s.tagURI("project", p.ID, p.CreatedAt), Title: cmp.Or(p.Title, "Project"), Updated: atomTime{p.UpdatedAt}, Published: atomTime{p.CreatedAt},
			Links:  []atomLink{{"alternate", "text/html", s.cfg.publicURL + p.Path()}},
			Author: atomPerson{p.AuthorUsername}, Content: atomText{"html", string(renderMarkdown(p.Description))},
		}
	}
	return s.answerFeed(w, r, title+" – "+s.cfg.siteName, page, entries)
}

// nameOfFeed takes the ending off the last segment of the path, which a route
// can't.
func nameOfFeed(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		name, _, found := cutLast(r.PathValue("feed"), ".atom")
		if !found {
			return fail(http.StatusNotFound, "Not found")
		}
		r.SetPathValue("username", name)
		return next(w, r)
	}
}
