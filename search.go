package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// gallery is a page of a list of projects.
type gallery struct {
	Projects   []projectSummary `json:"projects"`
	Total      int              `json:"total"`
	Page       int              `json:"page"`
	PerPage    int              `json:"per_page"`
	Pages      int              `json:"pages"`
	NextCursor *string          `json:"next_cursor"` // leads to what comes after this page; null at the end
}

// galleryQuery is what can be asked of the list of projects.
type galleryQuery struct {
	Status, Tag, Search, Difficulty, Sort string

	AuthorID      *int
	Page, PerPage int
	After         string // cursor of the page before; then Page is its
}

// maxFound is how many projects a search finds, the newest: ordering all that hold
// a word of which most have one would take longer with every project.
const maxFound = 500

// sorts are the orders of the gallery, by every name they have: the largest
// key first, and of equal ones the newest project.
var sorts = map[string]struct{ key, kind string }{
	"recent":      {"p.created_at", "timestamp"},
	"popular":     {"p.like_count", "integer"},
	"most_liked":  {"p.like_count", "integer"},
	"views":       {"p.view_count", "integer"},
	"most_viewed": {"p.view_count", "integer"},
	"downloads":   {"p.download_count", "integer"},
	"featured":    {"p.featured_at", "timestamp"}, // and no others; for the front page
	"relevance":   {"ts_rank(p.words, search_query($6), 1)", "real"},
}

func (in *input) galleryQuery() galleryQuery {
	q := galleryQuery{
		Tag:        strings.ToLower(deref(in.optional("tag", nil, maxTagLength))),
		Search:     deref(in.optional("search", nil, 200)),
		Difficulty: deref(in.optional("difficulty", nil, 50)),
		AuthorID:   in.optionalInteger("author_id", nil, 0, math.MaxInt32),
		Page:       in.integer("page", ptr(1), 1, 1_000_000),
		PerPage:    in.integer("per_page", ptr(20), 1, 100),
		After:      deref(in.optional("after", nil, 500)),
	}
	usual := "recent"
	if q.Search != "" {
		usual = "relevance"
	}
	q.Sort = in.choice("sort", usual, "recent", "popular", "views", "downloads", "relevance", "most_liked", "most_viewed")
	if q.Search == "" && q.Sort == "relevance" {
		q.Sort = "recent"
	}
	if in.optional("status_filter", nil, 20) != nil {
		q.Status = in.choice("status_filter", "", "draft", "published")
	}
	return q
}

// words are what the query searches for. A search without any word finds
// nothing.
func (q galleryQuery) words() []string {
	words := strings.FieldsFunc(q.Search, func(r rune) bool { return !isWordRune(r) })
	if len(words) == 0 && q.Search != "" {
		return []string{""}
	}
	return append([]string{}, words...)
}

// galleryCursor is where a page ended: the key and the id of its last project.
type galleryCursor struct {
	key  string
	id   int
	page int // its number
}

// sealCursor makes the text of a cursor. It is signed together with the query
// that it belongs to, so that the database only sees what it has given.
func (s *server) sealCursor(q galleryQuery, c galleryCursor) string {
	text := fmt.Sprintf("%s %d %d", strings.ReplaceAll(c.key, " ", "T"), c.id, c.page)
	return base64.RawURLEncoding.EncodeToString(append(s.signCursor(q, text), text...))
}

func (s *server) signCursor(q galleryQuery, text string) []byte {
	mac := hmac.New(sha256.New, s.keyFor("gallery cursor"))
	author := ""
	if q.AuthorID != nil {
		author = strconv.Itoa(*q.AuthorID)
	}
	fmt.Fprintf(mac, "%q", []string{text, sorts[q.Sort].key, q.Status, q.Tag, q.Search, q.Difficulty, author})
	return mac.Sum(nil)[:16]
}

// openCursor reads the cursor of q. One that is not ours, or belongs to another
// list, is refused.
func (s *server) openCursor(q galleryQuery) (c galleryCursor, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(q.After)
	if err == nil && len(raw) > 16 && hmac.Equal(raw[:16], s.signCursor(q, string(raw[16:]))) {
		_, err = fmt.Sscanf(string(raw[16:]), "%s %d %d", &c.key, &c.id, &c.page)
		return c, err
	}
	return c, invalid(fault{[]string{"query", "after"}, "This cursor belongs to another list, or is damaged; leave it out to start from the first page", "value_error"})
}

// listProjects returns the projects that q asks for and v may see, and their
// number, in one trip.
func (s *server) listProjects(ctx context.Context, q galleryQuery, v viewer) (gallery, error) {
	g := gallery{Page: q.Page, PerPage: q.PerPage, Projects: []projectSummary{}}
	var key *string
	var id *int
	offset := (q.Page - 1) * q.PerPage
	if q.After != "" {
		c, err := s.openCursor(q)
		if err != nil {
			return gallery{}, err
		}
		key, id, offset, g.Page = &c.key, &c.id, 0, c.page+1
	}
	type row struct {
		projectSummary
		shownPicture
		PrimaryImageID *int
		SortKey        string
		Total          int
	}
	sort, held, bound := sorts[q.Sort], "not materialized", ""
	if q.Search != "" {
		held, bound = "materialized", fmt.Sprintf("order by s.project_id desc limit %d", maxFound)
	}
	sql := strings.NewReplacer("SORT_KEY", sort.key, "KEY_TYPE", sort.kind, "PICTURE", pictureColumns, "HELD", held, "BOUND", bound).Replace(queries["gallery"])
	// Planned each time for what is asked: a plan for everything that could be
	// would read all projects.
	found, err := many[row](ctx, s.db, sql, pgx.QueryExecModeCacheDescribe, v.ID, q.Status, q.Tag, q.AuthorID, q.Difficulty, q.words(), key, id, q.PerPage+1, offset, q.Sort == "featured")
	if err != nil {
		return gallery{}, err
	}
	if len(found) == 0 && (q.Page > 1 || q.After != "") { // beyond the end, where no row tells the number
		q.Page, q.PerPage, q.After = 1, 1, ""
		first, err := s.listProjects(ctx, q, v)
		g.Total, g.Pages = first.Total, (first.Total+g.PerPage-1)/g.PerPage
		return g, err
	}
	if len(found) > q.PerPage {
		found = found[:q.PerPage]
		last := found[q.PerPage-1]
		g.NextCursor = ptr(s.sealCursor(q, galleryCursor{last.SortKey, last.ID, g.Page}))
	}
	for _, f := range found {
		g.Total = f.Total
		if f.PrimaryImageID != nil {
			f.PrimaryImageURL = ptr(s.imageURL(f.ID, *f.PrimaryImageID))
			f.addressed(*f.PrimaryImageURL)
			f.PrimaryImage = &f.shownPicture
		}
		g.Projects = append(g.Projects, f.projectSummary)
	}
	g.Pages = (g.Total + q.PerPage - 1) / q.PerPage
	return g, nil
}

// showGallery answers the list of projects.
func (s *server) showGallery(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	q := in.galleryQuery()
	if err := in.err(); err != nil {
		return err
	}
	if q.Status == "draft" && !v.signedIn() {
		return errMissingToken
	}
	g, err := s.listProjects(r.Context(), q, v)
	if err != nil {
		return err
	}
	return s.answerShared(w, r, v, g, about("projects", ""))
}

// likePattern is a LIKE pattern that finds text anywhere.
func likePattern(text string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%"
}

// tagCount is a tag and the number of published projects that have it.
type tagCount struct {
	TagName      string `json:"tag_name"`
	ProjectCount int    `json:"project_count"`
}

func (s *server) loadTags(ctx context.Context, search string, limit int) ([]tagCount, error) {
	return many[tagCount](ctx, s.db, `
		select tag_name, project_count from tag_tally
		where tag_name <> '' and project_count > 0 and tag_name like $1
		order by project_count desc, tag_name limit $2`, likePattern(strings.ToLower(search)), limit)
}

// showTags answers the tags of published projects, most used first.
func (s *server) showTags(w http.ResponseWriter, r *http.Request) error {
	in := queryInput(r)
	search, limit := deref(in.optional("q", nil, maxTagLength)), in.integer("limit", ptr(50), 1, 200)
	if err := in.err(); err != nil {
		return err
	}
	tags, err := s.loadTags(r.Context(), search, limit)
	if err != nil {
		return err
	}
	return s.answerForAll(w, r, tags, about("projects", ""))
}
