package main

import (
	"fmt"
	"net/http"
	"slices"
	"unicode/utf8"

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
}

// maxSummaries is how many pages one request can ask for.
const maxSummaries = 100

// showSummary answers GET /api/summary?url=…&url=…: the counts of each page, in
// the order asked, as often as it was asked for.
func (s *server) showSummary(w http.ResponseWriter, r *http.Request, v viewer) error {
	asked := r.URL.Query()["url"]
	in := queryInput(r)
	switch {
	case len(asked) == 0:
		in.add("url", "Url is required", "missing")
	case len(asked) > maxSummaries:
		in.add("url", fmt.Sprintf("At most %d pages can be asked for at once", maxSummaries), "too_long")
	}
	for i, url := range asked {
		asked[i] = pageURL(url)
		if utf8.RuneCountInString(asked[i]) > maxURL || len(asked[i]) > maxURLBytes {
			in.add("url", fmt.Sprintf("Url must have at most %d characters and %d bytes", maxURL, maxURLBytes), "string_too_long")
			break
		}
	}
	if err := in.err(); err != nil {
		return err
	}
	rows, err := s.db.Query(r.Context(), queries["summary"], slices.Compact(slices.Sorted(slices.Values(asked))), v.ID)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[pageSummary])
	if err != nil {
		return err
	}
	byURL := map[string]pageSummary{}
	for _, p := range found {
		p.Formatted = formatCount(p.ViewCount)
		byURL[p.URL] = p
	}
	answer := make([]pageSummary, len(asked))
	for i, url := range asked {
		answer[i] = byURL[url]
	}
	return writeJSON(w, http.StatusOK, answer)
}
