package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// atomFeed is a feed as RFC 4287 has it. What XML can't hold (control
// characters, §2.2 of XML 1.0) is written as U+FFFD.
type atomFeed struct {
	XMLName xml.Name    `xml:"http://www.w3.org/2005/Atom feed"`
	ID      string      `xml:"id"`
	Title   string      `xml:"title"`
	Updated string      `xml:"updated"`
	Author  string      `xml:"author>name"`
	Links   []atomLink  `xml:"link"`
	Entries []atomEntry `xml:"entry"`
}

type atomLink struct {
	Rel  string `xml:"rel,attr"`
	Type string `xml:"type,attr"`
	Href string `xml:"href,attr"`
}

type atomEntry struct {
	ID         string         `xml:"id"`
	Title      string         `xml:"title"`
	Published  string         `xml:"published"`
	Updated    string         `xml:"updated"`
	Author     string         `xml:"author>name"`
	Link       atomLink       `xml:"link"`
	Categories []atomCategory `xml:"category"`
	Content    atomContent    `xml:"content"`

	updated time.Time
}

type atomCategory struct {
	Term string `xml:"term,attr"`
}

// atomContent is HTML whose relative addresses start from Base.
type atomContent struct {
	Type string `xml:"type,attr"`
	Base string `xml:"http://www.w3.org/XML/1998/namespace base,attr"`
	HTML string `xml:",chardata"`
}

const (
	atomType = "application/atom+xml"
	htmlType = "text/html"
)

// newEntry is the entry of something with an id that never changes: a tag URI
// (RFC 4151) of this server's host, the day it was made, and its kind and
// number.
func (s *server) newEntry(kind string, id int, title, author, page, content string, made, updated time.Time) atomEntry {
	host := s.cfg.publicURL
	if u, err := url.Parse(host); err == nil {
		host = u.Hostname()
	}
	return atomEntry{
		ID:        fmt.Sprintf("tag:%s,%s:%s-%d", host, made.UTC().Format(time.DateOnly), kind, id),
		Title:     title,
		Published: made.UTC().Format(time.RFC3339),
		Updated:   updated.UTC().Format(time.RFC3339),
		Author:    author,
		Link:      atomLink{"alternate", htmlType, page},
		Content:   atomContent{"html", page, content},
		updated:   updated.UTC(),
	}
}

// writeFeed answers a feed that is at path here and about page. Who has it
// already gets a 304; who asks again soon need not ask here.
func (s *server) writeFeed(w http.ResponseWriter, r *http.Request, path, title, page string, entries []atomEntry) error {
	updated := time.Unix(0, 0).UTC() // of a feed that never had an entry
	for _, e := range entries {
		if e.updated.After(updated) {
			updated = e.updated
		}
	}
	self := s.cfg.publicURL + path
	body, err := xml.Marshal(atomFeed{
		ID: self, Title: title, Updated: updated.Format(time.RFC3339), Author: s.cfg.siteName,
		Links:   []atomLink{{"self", atomType, self}, {"alternate", htmlType, page}},
		Entries: entries,
	})
	if err != nil {
		return err
	}
	body = append([]byte(xml.Header), body...)
	h := w.Header()
	h.Set("Content-Type", atomType+"; charset=utf-8")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", fmt.Sprintf(`"%.16x"`, sha256.Sum256(body)))
	http.ServeContent(w, r, "", updated, bytes.NewReader(body))
	return nil
}

// feedComment is a comment in a feed.
type feedComment struct {
	ID                   int
	URL                  *string
	ProjectID            *int
	ProjectTitle, Author *string // of the project
	Content, Username    string
	CreatedAt, UpdatedAt time.Time
}

// loadFeed returns the entries of the newest 50 visible comments that the
// condition lets through; those on drafts are not visible.
func (s *server) loadFeed(ctx context.Context, condition string, args ...any) ([]atomEntry, error) {
	rows, err := s.db.Query(ctx, `
		select c.id, c.url, p.id as project_id, p.title as project_title, a.username as author, c.content, u.username, c.created_at,
		       coalesce(c.edited_at, c.created_at) as updated_at
		from comment c join "user" u on u.id = c.user_id
		left join project p on c.entity_type = 'project' and p.id = c.entity_id and p.status = 'published'
		left join "user" a on a.id = p.author_id
		where not c.is_hidden and not c.is_removed and (c.url is not null or p.id is not null) and `+condition+`
		order by c.id desc limit 50`, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (atomEntry, error) {
		c, err := pgx.RowToStructByName[feedComment](row)
		if err != nil {
			return atomEntry{}, err
		}
		about, page := deref(c.ProjectTitle), ""
		if c.URL != nil {
			about, page = pageName(*c.URL), s.pageAddress(*c.URL)
		} else {
			page = s.cfg.publicURL + project{ID: *c.ProjectID, Title: about, AuthorUsername: deref(c.Author)}.Path()
		}
		text := strings.ReplaceAll(html.EscapeString(c.Content), "\n", "<br>\n")
		return s.newEntry("comment", c.ID, c.Username+" on "+about, c.Username, page+"#"+commentAnchor(c.ID), "<p>"+text+"</p>", c.CreatedAt, c.UpdatedAt), nil
	})
}

// pageAddress is where people read a page and its comments: on the static site
// where SITE_URL says which that is, else on the thread's own page.
func (s *server) pageAddress(pageURL string) string {
	switch {
	case s.cfg.siteURL == s.cfg.publicURL:
		return s.cfg.publicURL + threadAddress(pageURL)
	case pageURL == "index.html":
		return s.cfg.siteURL + "/"
	}
	return s.cfg.siteURL + "/" + strings.ReplaceAll(percentEncoded(pageURL), "#", "%23")
}

// pageName is a page's URL for people.
func pageName(pageURL string) string {
	if pageURL == "index.html" {
		return "the front page"
	}
	return pageURL
}

// showCommentFeed answers the comments of a page, of a project, or of all.
func (s *server) showCommentFeed(w http.ResponseWriter, r *http.Request) error {
	in := queryInput(r)
	const path = "/feeds/comments.atom"
	if !in.has("url") && !in.has("entity_id") {
		entries, err := s.loadFeed(r.Context(), "true")
		if err != nil {
			return err
		}
		return s.writeFeed(w, r, path, "Comments – "+s.cfg.siteName, s.cfg.siteURL+"/", entries)
	}
	t := formTarget(in)
	if err := in.err(); err != nil {
		return err
	}
	about, page, query := "", "", url.Values{}
	if t.URL != nil {
		about, page = pageName(*t.URL), s.pageAddress(*t.URL)
		query.Set("url", *t.URL)
	} else {
		p, err := s.loadVisible(r.Context(), *t.EntityID, viewer{})
		if err != nil {
			return err
		}
		about, page = p.Title, s.cfg.publicURL+p.Path()
		query.Set("entity_type", *t.EntityType)
		query.Set("entity_id", fmt.Sprint(*t.EntityID))
	}
	entries, err := s.loadFeed(r.Context(), `(c.url = `+storedURL+` or c.entity_type = $2 and c.entity_id = $3)`, t.URL, t.EntityType, t.EntityID)
	if err != nil {
		return err
	}
	return s.writeFeed(w, r, path+"?"+query.Encode(), "Comments on "+about+" – "+s.cfg.siteName, page, entries)
}

// showUserFeed answers the comments of one person.
func (s *server) showUserFeed(w http.ResponseWriter, r *http.Request) error {
	name, isFeed := strings.CutSuffix(r.PathValue("file"), ".atom")
	if !isFeed {
		return fail(http.StatusNotFound, "Not found")
	}
	user, err := one[struct {
		ID       int
		Username string
	}](r.Context(), s.db, `
		select id, username from "user" where lower(username) = lower($1) and status = 'active'
		order by username = $1 desc, username_double limit 1`, name)
	if err != nil {
		return orNotFound(err, "User")
	}
	entries, err := s.loadFeed(r.Context(), `c.user_id = $1`, user.ID)
	if err != nil {
		return err
	}
	return s.writeFeed(w, r, "/feeds/users/"+segment(user.Username)+".atom", "Comments by "+user.Username+" – "+s.cfg.siteName, s.cfg.siteURL+"/", entries)
}

// showProjectFeed answers the 50 published projects, of a tag or of all, that
// are new or changed last: a draft of long ago is new when it is published.
func (s *server) showProjectFeed(w http.ResponseWriter, r *http.Request) error {
	in := queryInput(r)
	tag := strings.ToLower(deref(in.optional("tag", nil, maxTagLength)))
	if err := in.err(); err != nil {
		return err
	}
	rows, err := s.db.Query(r.Context(), `
		select p.id, p.title, p.description, u.username, p.created_at, p.updated_at,
		       array(select t.tag_name from project_tag t where t.project_id = p.id order by t.id)::text[] as tags
		from project p join "user" u on u.id = p.author_id
		where p.status = 'published' and ($1 = '' or exists (select from project_tag t where t.project_id = p.id and t.tag_name = $1))
		order by p.updated_at desc, p.id desc limit 50`, tag)
	if err != nil {
		return err
	}
	entries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (atomEntry, error) {
		p, err := pgx.RowToStructByName[struct {
			ID                           int
			Title, Description, Username string
			CreatedAt, UpdatedAt         time.Time
			Tags                         []string
		}](row)
		page := s.cfg.publicURL + project{ID: p.ID, Title: p.Title, AuthorUsername: p.Username}.Path()
		entry := s.newEntry("project", p.ID, p.Title, p.Username, page, string(renderMarkdown(p.Description)), p.CreatedAt, p.UpdatedAt)
		for _, name := range p.Tags {
			entry.Categories = append(entry.Categories, atomCategory{name})
		}
		return entry, err
	})
	if err != nil {
		return err
	}
	path, title, page := "/feeds/projects.atom", "Projects – "+s.cfg.siteName, s.cfg.publicURL+"/projects"
	if tag != "" {
		query := "?" + url.Values{"tag": {tag}}.Encode()
		path, title, page = path+query, "Projects with "+tag+" – "+s.cfg.siteName, page+query
	}
	return s.writeFeed(w, r, path, title, page, entries)
}
