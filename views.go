package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// logPageView answers POST /analytics/page-view, which browsers send as
// text/plain when the page goes away. The visitor's address is the
// connection's, whatever the body says.
func (s *server) logPageView(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	url := in.pageURL("url")
	if err := in.err(); err != nil {
		return err
	}
	c := s.clientOf(r)
	if agent := in.optional("user_agent", nil, 1<<20); agent != nil {
		c.userAgent = truncate(*agent, 500)
	}
	if _, err := s.db.Exec(r.Context(), `insert into pageview (url, ip_address, user_agent) values (`+storedURL+`, $2, $3)`,
		url, c.address, c.userAgent); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Message string `json:"message"`
		URL     string `json:"url"`
	}{"Page view logged", url})
}

// pageViews are the statistics of one page.
type pageViews struct {
	URL            string     `json:"url"`
	ViewCount      int        `json:"view_count"`
	Formatted      string     `json:"view_count_formatted" db:"-"`
	UniqueVisitors int        `json:"unique_visitors"`
	LastViewedAt   *time.Time `json:"last_viewed_at"`
}

func (s *server) loadPageViews(ctx context.Context, url string) (pageViews, error) {
	rows, err := s.db.Query(ctx, `
		select $1::text as url, count(*) as view_count, count(distinct ip_address) as unique_visitors, max(viewed_at) as last_viewed_at
		from pageview where url = `+storedURL, url)
	if err != nil {
		return pageViews{}, err
	}
	return pgx.CollectOneRow(rows, rowToPageViews)
}

func rowToPageViews(row pgx.CollectableRow) (pageViews, error) {
	p, err := pgx.RowToStructByName[pageViews](row)
	p.Formatted = formatCount(p.ViewCount)
	return p, err
}

// showPageViews answers the statistics of a page.
func (s *server) showPageViews(w http.ResponseWriter, r *http.Request) error {
	url, err := pathURL(r)
	if err != nil {
		return err
	}
	p, err := s.loadPageViews(r.Context(), url)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, p)
}

// mostViewed answers the pages with the most views.
func (s *server) mostViewed(w http.ResponseWriter, r *http.Request) error {
	return answerRanking(w, r, s, rowToPageViews, `
		select url, count(*) as view_count, count(distinct ip_address) as unique_visitors, max(viewed_at) as last_viewed_at
		from pageview group by url order by view_count desc, last_viewed_at desc, url limit $1`)
}

// answerRanking answers the first ?limit= rows of a query that takes their
// number.
func answerRanking[T any](w http.ResponseWriter, r *http.Request, s *server, row pgx.RowToFunc[T], sql string) error {
	in := queryInput(r)
	limit := in.integer("limit", ptr(10), 1, 100)
	if err := in.err(); err != nil {
		return err
	}
	rows, err := s.db.Query(r.Context(), sql, limit)
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, row)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

// viewPoint is one bar of a timeline.
type viewPoint struct {
	Date  string `json:"date"` // YYYY-MM-DD, or YYYY-MM for a month
	Label string `json:"label"`
	Count int    `json:"count"`
}

// period is a timeline's shape: so many points, each a step apart, the last one
// the day or the month that holds the present.
type period struct {
	points int
	unit   string // of date_trunc
	form   string // of the date
	label  func(t time.Time) string
}

var periods = map[string]period{
	"weekly":  {7, "day", time.DateOnly, func(t time.Time) string { return t.Format("Mon")[:1] }},
	"monthly": {30, "day", time.DateOnly, func(t time.Time) string { return t.Format("2") }},
	"annual":  {12, "month", "2006-01", func(t time.Time) string { return t.Format("Jan")[:1] }},
}

// showTimeline answers the views of a page over time.
func (s *server) showTimeline(w http.ResponseWriter, r *http.Request) error {
	url, err := pathURL(r)
	if err != nil {
		return err
	}
	in := queryInput(r)
	name := in.choice("period", "weekly", "weekly", "monthly", "annual")
	if err := in.err(); err != nil {
		return err
	}
	p := periods[name]
	rows, err := s.db.Query(r.Context(), `
		select point, count(v.id)
		from generate_series(date_trunc($2, $3::timestamp) - ($4::int - 1) * ('1 ' || $2)::interval, date_trunc($2, $3::timestamp), ('1 ' || $2)::interval) point
		left join pageview v on v.url = `+storedURL+` and v.viewed_at >= point and v.viewed_at < point + ('1 ' || $2)::interval
		group by point order by point`, url, p.unit, s.now().UTC(), p.points)
	if err != nil {
		return err
	}
	answer := struct {
		URL        string      `json:"url"`
		Period     string      `json:"period"`
		Data       []viewPoint `json:"data"`
		TotalViews int         `json:"total_views"`
	}{URL: url, Period: name}
	var point time.Time
	var count int
	if _, err := pgx.ForEachRow(rows, []any{&point, &count}, func() error {
		answer.Data = append(answer.Data, viewPoint{point.Format(p.form), p.label(point), count})
		answer.TotalViews += count
		return nil
	}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// formatCount shortens a count for display: 999, 1.0k, 12k, 1.5M, 12M. It
// rounds down, so that no page shows a number that it has not reached.
func formatCount(n int) string {
	switch {
	case n < 1000:
		return fmt.Sprint(n)
	case n < 10_000:
		return fmt.Sprintf("%d.%dk", n/1000, n%1000/100)
	case n < 1_000_000:
		return fmt.Sprintf("%dk", n/1000)
	case n < 10_000_000:
		return fmt.Sprintf("%d.%dM", n/1_000_000, n%1_000_000/100_000)
	}
	return fmt.Sprintf("%dM", n/1_000_000)
}
