package main

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// logPageView answers POST /analytics/page-view, which browsers send as
// text/plain when the page goes away. The visitor's address is the
// connection's, whatever the body says. A view that is not counted gets the
// same answer, since nobody at the other end can do anything about it.
func (s *server) logPageView(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	url := in.pageURL("url")
	referrer := in.optional("referrer", ptr(r.Referer()), 1<<20)
	agent := in.optional("user_agent", ptr(r.UserAgent()), 1<<20)
	if err := in.err(); err != nil {
		return err
	}
	reason := s.notCounted(r, deref(agent))
	if reason == "" {
		err = s.countPageView(r, url, deref(agent), s.referrerHost(deref(referrer)))
	} else {
		_, err = s.db.Exec(r.Context(), `
			insert into dropped_view as d values ($1, $2, 1) on conflict (day, reason) do update set view_count = d.view_count + 1`, s.now().UTC(), reason)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Message string `json:"message"`
		URL     string `json:"url"`
		Counted bool   `json:"counted"`
	}{"Page view logged", url, reason == ""})
}

// countPageView writes a view; the database counts it in the same transaction.
func (s *server) countPageView(r *http.Request, url, agent, referrer string) error {
	address := s.clientAddr(r).String()
	visitor := s.visitorHash(address)
	if s.cfg.retentionIP == 0 {
		address = visitor
	}
	_, err := s.db.Exec(r.Context(), `
		insert into pageview (url, viewed_at, ip_address, visitor, user_agent, referrer) values (`+storedURL+`, $2, $3, $4, $5, nullif($6, ''))`,
		url, s.now().UTC(), address, visitor, cleanAgent(agent), referrer)
	return err
}

// visitorHash stands for an address where it is not kept: # and 132 bits of
// HMAC-SHA-256 in base64, which nobody can compute without SECRET_KEY.
func (s *server) visitorHash(address string) string {
	return "#" + base64.RawURLEncoding.EncodeToString(mac(s.keyFor("visitors"), address))[:22]
}

//go:embed bots.txt
var botList string

// bots are parts of the User-Agent headers of programs that nobody sits at.
var bots = func() (list []string) {
	for line := range strings.Lines(botList) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	return list
}()

// notCounted is why a view does not count, or nothing.
func (s *server) notCounted(r *http.Request, agent string) string {
	agent = strings.ToLower(agent)
	for _, bot := range bots {
		// A maker of phones has a name like a bot's.
		if strings.Contains(agent, bot) && !strings.Contains(agent, "cubot") {
			return "bot: " + bot
		}
	}
	switch h := r.Header; {
	case strings.Contains(h.Get("Sec-Purpose"), "prefetch"):
		return "prefetch"
	case s.cfg.respectDNT && h.Get("DNT") == "1":
		return "Do Not Track"
	case s.cfg.respectDNT && h.Get("Sec-GPC") == "1":
		return "Global Privacy Control"
	}
	return ""
}

// referrerHost is the host of the page that linked to a viewed one; nothing for
// a page of the site itself, and for what is no address.
func (s *server) referrerHost(referrer string) string {
	host := func(address string) string {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" {
			return ""
		}
		return strings.TrimPrefix(strings.ToLower(u.Hostname()), "www.")
	}
	name := host(referrer)
	if len(name) > 253 || !isPlain(name) { // RFC 1035 §2.3.4
		return ""
	}
	for _, own := range append([]string{s.cfg.publicURL, s.cfg.siteURL}, s.cfg.allowedOrigins...) {
		if name == host(own) {
			return ""
		}
	}
	return name
}

// hashAddresses is the job that puts keyed hashes in the place of addresses:
// of visitors who were here before they were hashed, and of views that are
// older than addresses are kept. What it does not get done it does next time.
func (s *server) hashAddresses(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	before := s.now().UTC().Add(-s.cfg.retentionIP)
	for _, step := range []func(ctx context.Context) (int, error){
		s.hashVisitors,
		func(ctx context.Context) (int, error) { return s.hashOldViews(ctx, before) },
		func(ctx context.Context) (int, error) {
			tag, err := s.db.Exec(ctx, `
				update pageview set ip_address = visitor where id in (
					select id from pageview where viewed_at < $1 and ip_address not like '#%' and visitor is not null order by viewed_at limit 5000)`, before)
			return int(tag.RowsAffected()), err
		},
	} {
		for {
			done, err := step(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				return nil
			}
			if err != nil {
				return err
			}
			if done == 0 {
				break
			}
		}
	}
	return nil
}

// hashVisitors hashes some of the visitors from before; one who has come back
// since then was counted twice until now.
func (s *server) hashVisitors(ctx context.Context) (done int, err error) {
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `select page_id, visitor from page_visitor where visitor not like '#%' limit 2000`)
		if err != nil {
			return err
		}
		var pages []int
		var plain, hashed []string
		var page int
		var visitor string
		if _, err := pgx.ForEachRow(rows, []any{&page, &visitor}, func() error {
			pages, plain, hashed = append(pages, page), append(plain, visitor), append(hashed, s.visitorHash(visitor))
			return nil
		}); err != nil || len(pages) == 0 {
			return err
		}
		done = len(pages)
		// Pages are held first, and in order, as who counts a view holds them.
		var batch pgx.Batch
		batch.Queue(`select from viewed_page where id = any ($1) order by id for no key update`, pages)
		batch.Queue(`
			with gone as (
				delete from page_visitor p using unnest($1::integer[], $2::varchar[]) h (page_id, plain)
				where p.page_id = h.page_id and p.visitor = h.plain returning p.page_id
			), added as (
				insert into page_visitor select * from unnest($1::integer[], $3::varchar[]) on conflict do nothing returning page_id
			), change as (
				select page_id, sum(n) as n from (select page_id, -1 as n from gone union all select page_id, 1 from added) both_ways group by page_id
			)
			update viewed_page set visitor_count = visitor_count + n from change where id = page_id and n <> 0`, pages, plain, hashed)
		return tx.SendBatch(ctx, &batch).Close()
	})
	return done, err
}

// hashOldViews hashes the addresses of some views from before there were
// visitors' hashes.
func (s *server) hashOldViews(ctx context.Context, before time.Time) (int, error) {
	rows, err := s.db.Query(ctx, `
		select distinct ip_address from (
			select ip_address from pageview where viewed_at < $1 and ip_address not like '#%' and visitor is null order by viewed_at limit 5000) old`, before)
	if err != nil {
		return 0, err
	}
	plain, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(plain) == 0 {
		return 0, err
	}
	hashed := make([]string, len(plain))
	for i, address := range plain {
		hashed[i] = s.visitorHash(address)
	}
	tag, err := s.db.Exec(ctx, `
		update pageview v set ip_address = hashed from unnest($2::varchar[], $3::varchar[]) h (plain, hashed)
		where v.id in (select id from pageview where viewed_at < $1 and ip_address not like '#%' and visitor is null order by viewed_at limit 5000)
		and v.ip_address = plain`, before, plain, hashed)
	return int(tag.RowsAffected()), err
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
		select asked as url, coalesce(view_count, 0) as view_count, coalesce(visitor_count, 0) as unique_visitors, last_viewed_at
		from (values ($1::text)) page (asked) left join viewed_page on url = `+storedURL, url)
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
		select url, view_count, visitor_count as unique_visitors, last_viewed_at
		from viewed_page order by view_count desc, last_viewed_at desc, url limit $1`)
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
		select point, coalesce(sum(d.view_count), 0)
		from generate_series(date_trunc($2, $3::timestamp) - ($4::int - 1) * ('1 ' || $2)::interval, date_trunc($2, $3::timestamp), ('1 ' || $2)::interval) point
		left join viewed_day d on d.page_id = (select id from viewed_page where url = `+storedURL+`) and d.day >= point and d.day < point + ('1 ' || $2)::interval
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
