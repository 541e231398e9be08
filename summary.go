package main

import (
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"
)

// pageSummary is what a list of pages shows of each.
type pageSummary struct {
	URL          string `json:"url"`
	LikeCount    int    `json:"like_count"`
	CommentCount int    `json:"comment_count"`
	ViewCount    int    `json:"view_count"`
	Formatted    string `json:"view_count_formatted" db:"-"`
	UserHasLiked bool   `json:"user_has_liked"`
	Stored       string `json:"-"` // the URL under which the rows are
}

// maxSummaries is how many pages one request can ask for.
const maxSummaries = 100

// showSummary answers GET /api/summary?url=…&url=…: the counts of each page, in
// the order asked.
func (s *server) showSummary(w http.ResponseWriter, r *http.Request, v viewer) error {
	urls := r.URL.Query()["url"]
	in := queryInput(r)
	switch {
	case len(urls) == 0:
		in.add("url", "Url is required", "missing")
	case len(urls) > maxSummaries:
		in.add("url", fmt.Sprintf("At most %d pages can be asked for at once", maxSummaries), "too_long")
	}
	for i, url := range urls {
		urls[i] = pageURL(url)
		if tooLong := checkURL(urls[i]); tooLong != "" {
			in.add("url", tooLong, "string_too_long")
			break
		}
	}
	if err := in.err(); err != nil {
		return err
	}
	rows, err := s.db.Query(r.Context(), queries["summary"], urls, v.ID)
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (pageSummary, error) {
		p, err := pgx.RowToStructByName[pageSummary](row)
		p.Formatted = formatCount(p.ViewCount)
		return p, err
	})
	if err != nil {
		return err
	}
	var parts []topic
	for _, p := range list {
		for _, kind := range []string{"likes", "comments", "views"} {
			parts = append(parts, aboutPage(kind, p.URL, p.Stored)...)
		}
	}
	return s.answerShared(w, r, v, list, parts...)
}
