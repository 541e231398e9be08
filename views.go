package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// viewLogged confirms a view.
type viewLogged struct {
	Message string `json:"message"`
	URL     string `json:"url"`
}

// logPageView answers POST /analytics/page-view, which browsers send as
// text/plain when the page goes away. The visitor's address is the
// connection's, whatever the body says. Bots get the same answer, and are
// counted apart.
func (s *server) logPageView(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	url := in.pageURL("url")
	agent := in.optional("user_agent", nil, maxBody)
	referrer := r.Referer()
	if in.has("referrer") {
		referrer = deref(in.optional("referrer", nil, maxBody))
	}
	if err := in.err(); err != nil {
		return err
	}
	c := s.clientOf(r)
	sentBy := c.userAgent
	if agent != nil {
		c.userAgent = truncate(*agent, 500)
	}
	if bot, is := s.bots.find(sentBy, c.userAgent); is {
		err = s.countBot(r.Context(), bot)
		s.changed(r)
	} else {
		err = s.countPageView(r, url, c, s.cfg.respectDNT && (r.Header.Get("DNT") == "1" || r.Header.Get("Sec-GPC") == "1"), s.referringHost(referrer))
	}
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, viewLogged{"Page view logged", url})
}

// loggedView is a view as it is stored. What is nil is not kept.
type loggedView struct {
	url            string
	address, agent *string
	visitor        []byte
	referrer       *string // a host
	at             time.Time
}

// countPageView writes a view, and returns when it is safe. Somebody who is not
// to be tracked leaves nothing but the view.
func (s *server) countPageView(r *http.Request, url string, c client, untracked bool, referrer string) error {
	view := loggedView{url: url, at: s.now().UTC()}
	if referrer != "" {
		view.referrer = &referrer
	}
	if !untracked {
		view.visitor = s.visitorHash(c)
		if s.cfg.retentionIP > 0 {
			view.address, view.agent = &c.address, &c.userAgent
		}
	}
	err := s.views.add(r.Context(), view)
	s.changed(r, about("views", url))
	return err
}

// writeViews stores views; the database counts them in the same transaction.
func (s *server) writeViews(ctx context.Context, views []loggedView) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.promptness)
	defer cancel()
	column := func(of func(v loggedView) any) []any {
		values := make([]any, len(views))
		for i, v := range views {
			values[i] = of(v)
		}
		return values
	}
	urls := column(func(v loggedView) any { return v.url })
	rows, err := s.db.Query(ctx, `
		with added as (
			insert into pageview (url, ip_address, user_agent, visitor, referrer, viewed_at)
			select * from unnest($1::varchar[], $2::varchar[], $3::varchar[], $4::bytea[], $5::varchar[], $6::timestamp[]) returning url)
		select distinct url from added where url <> all ($1)`,
		urls, column(func(v loggedView) any { return v.address }), column(func(v loggedView) any { return v.agent }),
		column(func(v loggedView) any { return v.visitor }), column(func(v loggedView) any { return v.referrer }), column(func(v loggedView) any { return v.at }))
	if err != nil {
		return err
	}
	moved, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, url := range moved {
		s.cache.changed(about("views", url))
	}
	return err
}

// projectView is so many readers' views of a project. count is what the project has
// by then, set by writeProjectViews, or 0 when there is no such project.
type projectView struct{ id, views, count int }

// writeProjectViews counts views in the projects' rows, which it takes in the order
// that everybody takes them in.
func (s *server) writeProjectViews(ctx context.Context, views []*projectView) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.promptness)
	defer cancel()
	ids, numbers := make([]int, len(views)), make([]int, len(views))
	for i, v := range views {
		ids[i], numbers[i] = v.id, v.views
	}
	rows, err := s.db.Query(ctx, `
		with viewed as (select id, sum(views) as views from unnest($1::int[], $2::int[]) v (id, views) group by id),
		     held as (select id from project where id = any ($1) order by id for no key update)
		update project p set view_count = p.view_count + views from viewed join held using (id) where p.id = viewed.id
		returning p.id, p.view_count`, ids, numbers)
	if err != nil {
		return err
	}
	counts := map[int]int{}
	var id, count int
	_, err = pgx.ForEachRow(rows, []any{&id, &count}, func() error {
		counts[id] = count
		return nil
	})
	for _, v := range views {
		v.count = counts[v.id]
	}
	return err
}

// lateViews are views of projects that were answered from the cache: they are
// counted a second later, those of a project at once.
type lateViews struct {
	mu    sync.Mutex
	views map[int]int // by the project's id
}

// add counts one more view of a project, and returns how many wait.
func (l *lateViews) add(id int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.views == nil {
		l.views = map[int]int{}
	}
	l.views[id]++
	return l.views[id]
}

// waiting is how many views of a project wait.
func (l *lateViews) waiting(id int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.views[id]
}

// countLateViews writes the views that wait, every second and at the end.
func (s *server) countLateViews(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
		if err := s.writeLateViews(context.WithoutCancel(ctx)); err != nil {
			s.log.Warn("views of projects are not counted yet", "error", err)
		}
	}
}

func (s *server) writeLateViews(ctx context.Context) error {
	s.lateViews.mu.Lock()
	var late []*projectView
	for id, views := range s.lateViews.views {
		late = append(late, &projectView{id: id, views: views})
	}
	s.lateViews.mu.Unlock()
	if len(late) == 0 {
		return nil
	}
	if err := s.writeProjectViews(ctx, late); err != nil {
		return err
	}
	// What shows a project adds the views that wait to those that are written: it
	// must not count the same ones as both.
	s.lateViews.mu.Lock()
	defer s.lateViews.mu.Unlock()
	for _, v := range late {
		if s.lateViews.views[v.id] -= v.views; s.lateViews.views[v.id] == 0 {
			delete(s.lateViews.views, v.id)
		}
		s.cache.changed(projectTarget(v.id).about("views", nil)...)
	}
	return nil
}

// visitorHash stands for a visitor where neither address nor user agent are
// kept: 128 bits that only who has the server's key can compare with an address.
func (s *server) visitorHash(c client) []byte {
	return mac(s.keyFor("visitors"), c.address+" "+c.userAgent)[:16]
}

func (s *server) countBot(ctx context.Context, bot botPattern) error {
	_, err := s.db.Exec(ctx, `
		insert into bot_view as b (day, reason, name, view_count) values ($1, $2, $3, 1)
		on conflict (day, reason, name) do update set view_count = b.view_count + 1`, s.now().UTC(), bot.reason, bot.text)
	return err
}

// referringHost is the host of the page that led to the one viewed, without
// www; empty where that was a page of this site, or nobody can tell.
func (s *server) referringHost(referrer string) string {
	u, err := url.Parse(referrer)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "android-app" {
		return ""
	}
	host := siteHost(u)
	own := func(address string) bool {
		u, err := url.Parse(address)
		return err == nil && siteHost(u) == host
	}
	if len(host) > 253 || slices.ContainsFunc(append([]string{s.cfg.siteURL, s.cfg.publicURL}, s.cfg.allowedOrigins...), own) ||
		strings.ContainsFunc(host, func(r rune) bool { return !isWordRune(r) && !strings.ContainsRune("-_.:", r) }) {
		return ""
	}
	return host
}

// siteHost is the host of an address as it is compared and shown.
func siteHost(u *url.URL) string {
	return strings.TrimPrefix(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), "www.")
}

// Retention works in batches, so that nobody waits for it, and leaves what it
// has not come to for its next run.
const (
	retentionBatch   = 5000 // rows
	retentionBatches = 40   // of a run
)

// forgetVisitors empties what is personal in the rows of old page views, and
// deletes the rows that are older still. The counts stay.
func (s *server) forgetVisitors(ctx context.Context) error {
	now := s.now().UTC()
	if err := s.inBatches(ctx, `
		update pageview set ip_address = null, user_agent = null, visitor = null where id = any (array(
			select id from pageview where viewed_at < $1 and (ip_address is not null or user_agent is not null or visitor is not null)
			order by viewed_at limit $2 for update skip locked))`, now.Add(-s.cfg.retentionIP)); err != nil || s.cfg.retentionViews == 0 {
		return err
	}
	return s.inBatches(ctx, `delete from pageview where id = any (array(
		select id from pageview where viewed_at < $1 order by viewed_at limit $2 for update skip locked))`, now.Add(-s.cfg.retentionViews))
}

// inBatches repeats a statement on rows before a time, $1, at most $2 at once,
// until there are no more.
func (s *server) inBatches(ctx context.Context, sql string, before time.Time) error {
	for range retentionBatches {
		tag, err := s.db.Exec(ctx, sql, before, retentionBatch)
		if err != nil || tag.RowsAffected() < retentionBatch {
			return err
		}
	}
	return nil
}

// pageViews are the statistics of one page.
type pageViews struct {
	URL            string     `json:"url"`
	ViewCount      int        `json:"view_count"`
	Formatted      string     `json:"view_count_formatted" db:"-"`
	UniqueVisitors int        `json:"unique_visitors"`
	LastViewedAt   *time.Time `json:"last_viewed_at"`

	Stored string `json:"-"` // the URL under which the views are
}

// The statistics are read from the counters alone, by their keys.
const (
	selectPageViews = `
		select $1::text as url, coalesce(sum(view_count), 0)::bigint as view_count, coalesce(sum(unique_visitors), 0)::bigint as unique_visitors,
		       max(last_viewed_at) as last_viewed_at, ` + storedURL + ` as stored
		from page_total where url = ` + storedURL
	selectMostViewed = `
		select url, view_count, unique_visitors, last_viewed_at, url as stored from page_total
		order by view_count desc, last_viewed_at desc, id desc limit $1`
	selectTimeline = `
		select u.url, array_agg(d.day) filter (where d.day is not null) as days, array_agg(d.view_count) filter (where d.day is not null) as counts
		from (select ` + storedURL + ` as url) u left join page_total t using (url) left join page_day d on d.page_id = t.id and d.day >= $2 group by u.url`
)

func (s *server) loadPageViews(ctx context.Context, url string) (pageViews, error) {
	rows, err := s.db.Query(ctx, selectPageViews, url)
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
	return s.answerForAll(w, r, p, aboutPage("views", url, p.Stored)...)
}

// mostViewed answers the pages with the most views.
func (s *server) mostViewed(w http.ResponseWriter, r *http.Request) error {
	return answerRanking(w, r, s, rowToPageViews, selectMostViewed)
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

// period is a timeline's shape: so many points, the last one the day or the month
// that holds the present.
type period struct {
	points int
	step   func(t time.Time, n int) time.Time // when the point begins that is n after the one that holds t
	form   string                             // of the date
	label  func(t time.Time) string
}

var periods = map[string]period{
	"weekly":  {7, stepDays, time.DateOnly, func(t time.Time) string { return t.Format("Mon")[:1] }},
	"monthly": {30, stepDays, time.DateOnly, func(t time.Time) string { return t.Format("2") }},
	"annual":  {12, stepMonths, "2006-01", func(t time.Time) string { return t.Format("Jan")[:1] }},
}

func stepDays(t time.Time, n int) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day()+n, 0, 0, 0, 0, time.UTC)
}

func stepMonths(t time.Time, n int) time.Time {
	return time.Date(t.Year(), t.Month()+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
}

// timeline is the views of a page over time.
type timeline struct {
	URL        string      `json:"url"`
	Period     string      `json:"period"`
	Data       []viewPoint `json:"data"`
	TotalViews int         `json:"total_views"`
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
	p, now := periods[name], s.now().UTC()
	var stored string
	var days []time.Time
	var views []int
	if err := s.db.QueryRow(r.Context(), selectTimeline, url, p.step(now, 1-p.points)).Scan(&stored, &days, &views); err != nil {
		return err
	}
	// The last one is for what comes after the present, by another clock.
	starts, counts := make([]time.Time, p.points+1), make([]int, p.points+1)
	for n := range starts {
		starts[n] = p.step(now, n+1-p.points)
	}
	for i, day := range days {
		counts[sort.Search(len(starts), func(n int) bool { return starts[n].After(day) })-1] += views[i]
	}
	answer := timeline{URL: url, Period: name}
	for n, start := range starts[:p.points] {
		answer.Data = append(answer.Data, viewPoint{start.Format(p.form), p.label(start), counts[n]})
		answer.TotalViews += counts[n]
	}
	return s.answerForAll(w, r, answer, aboutPage("views", url, stored)...)
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
