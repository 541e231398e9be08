package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	day     = 24 * time.Hour
)

// byProxy lets visitors say who they are by X-Forwarded-For.
func byProxy(t testing.TB) func(c *config) {
	return func(c *config) { c.trustedProxies = mustPrefixes(t, "127.0.0.1/32") }
}

// from is a visitor at an address, with a browser.
func (st *site) from(address, agent string) *person {
	v := st.visitor()
	v.header.Set("X-Forwarded-For", address)
	v.header.Set("User-Agent", agent)
	return v
}

func (p *person) views(page string) *answer {
	p.t.Helper()
	return p.post("/analytics/page-view", map[string]any{"url": page}).want(http.StatusOK)
}

type viewStats struct {
	URL       string
	ViewCount int        `json:"view_count"`
	Formatted string     `json:"view_count_formatted"`
	Unique    int        `json:"unique_visitors"`
	Last      *time.Time `json:"last_viewed_at"`
}

func (st *site) statsOf(page string) (v viewStats) {
	st.t.Helper()
	st.visitor().get("/analytics/page-views/" + url.PathEscape(page)).want(http.StatusOK).into(&v)
	return v
}

// driftedViews counts what differs between the counters and the rows that they
// count, when every row still has its visitor.
const driftedViews = `
	with counted as (
		select 'total' as what, url, null::date as day, null::varchar as host, view_count, unique_visitors, last_viewed_at from page_total
		union all select 'visitors', (select url from page_total where id = page_id), null, null, count(*), 0, null from page_visitor group by page_id
		union all select 'day', (select url from page_total where id = page_id), day, null, view_count, 0, null from page_day
		union all select 'referrer', (select url from page_total where id = page_id), day, host, view_count, 0, null from referrer_day
	), rows as (
		select 'total', url, null::date, null::varchar, count(*), count(distinct visitor), max(viewed_at) from pageview group by url
		union all select 'visitors', url, null, null, count(distinct visitor), 0, null from pageview where visitor is not null group by url
		union all select 'day', url, viewed_at::date, null, count(*), 0, null from pageview group by url, viewed_at::date
		union all select 'referrer', url, viewed_at::date, referrer, count(*), 0, null from pageview where referrer is not null group by url, viewed_at::date, referrer
	)
	select (select count(*) from (table counted except all table rows) a) + (select count(*) from (table rows except all table counted) b)`

func TestViewsAreCountedExactly(t *testing.T) {
	t.Parallel()
	st := newSite(t, byProxy(t))
	const writers, each = 50, 6
	for _, pages := range []int{1, 7} {
		var wait sync.WaitGroup
		for i := range writers {
			v := st.from(fmt.Sprintf("203.0.113.%d", i%40), firefox)
			wait.Go(func() {
				for j := range each {
					v.post("/analytics/page-view", map[string]any{"url": fmt.Sprintf("of %d/%d", pages, (i+j)%pages), "referrer": "https://forum.example/t/1"}).want(http.StatusOK)
				}
			})
		}
		wait.Wait()
		same(t, "rows", st.count(`select count(*) from pageview where url like $1`, fmt.Sprintf("of %d/%%", pages)), writers*each)
		same(t, "drifted", st.count(driftedViews), 0)
	}
	p := st.statsOf("of 1/0")
	same(t, "one page", p.ViewCount == writers*each && p.Unique == 40 && p.Last != nil, true)
}

// After a storm of views one by one and by the dozen, while pages move, the
// counters are what the rows say, and nothing has waited in a circle.
func TestViewsAreCountedWhilePagesMove(t *testing.T) {
	t.Parallel()
	st := newSite(t, byProxy(t))
	pages := []string{"a", "b", "c", "d", "e", "f"}
	var written atomic.Int64
	var wait sync.WaitGroup
	writing, written2 := context.WithCancel(t.Context())
	for i := range 12 {
		random := rand.New(rand.NewPCG(3, uint64(i)))
		v := st.from(fmt.Sprintf("203.0.113.%d", i), firefox)
		wait.Go(func() {
			for range 40 {
				if i%4 > 0 {
					v.post("/analytics/page-view", map[string]any{"url": pages[random.IntN(6)], "referrer": fmt.Sprintf("https://%d.example/", random.IntN(3))}).want(http.StatusOK)
					written.Add(1)
					continue
				}
				// Many in one statement, in any order, some of nobody in particular.
				var urls, visitors []string
				for range 12 {
					urls = append(urls, pages[random.IntN(6)])
					visitors = append(visitors, string(rune('a'+random.IntN(9))))
				}
				if _, err := st.db.Exec(t.Context(), `
					insert into pageview (url, visitor, referrer, viewed_at)
					select url, nullif(v, 'a')::bytea, case when v < 'd' then v || '.example' end, timestamp '2026-01-01' + length(url || v) * n * interval '1 hour'
					from unnest($1::text[], $2::text[]) with ordinality x (url, v, n)`, urls, visitors); err != nil {
					t.Error(err)
				}
				written.Add(12)
			}
		})
	}
	var moving sync.WaitGroup
	var moves atomic.Int64
	for i := range 2 {
		random := rand.New(rand.NewPCG(4, uint64(i)))
		moving.Go(func() {
			for writing.Err() == nil {
				if _, err := st.moveURL(t.Context(), pages[random.IntN(6)], pages[random.IntN(6)]); err == nil {
					moves.Add(1)
				} else if publicError(err).status != http.StatusBadRequest {
					t.Error(err)
				}
				// All pages become one soon, which is not what a storm is about.
				if _, err := st.db.Exec(t.Context(), `delete from page_alias`); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	written2()
	moving.Wait()
	same(t, "pages moved", moves.Load() > 0, true)
	same(t, "rows", st.count(`select count(*) from pageview`), int(written.Load()))
	same(t, "drifted", st.count(driftedViews), 0)
	same(t, "views without a page", st.count(`select count(*) from page_visitor where page_id not in (select id from page_total)`), 0)
	// With the aliases in force, what both addresses show is all of it.
	if _, err := st.moveURL(t.Context(), "a", "z"); err != nil && publicError(err).status != http.StatusBadRequest {
		t.Fatal(err)
	}
	same(t, "of both addresses", st.statsOf("a").ViewCount, st.statsOf("z").ViewCount)
	same(t, "drifted at the end", st.count(driftedViews), 0)
	if i := strings.Index(st.logged.String(), "level=ERROR"); i >= 0 {
		t.Fatal(truncate(st.logged.String()[i:], 500))
	}
}

// Two moves that cross take what both need in one order.
func TestMovesThatCross(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	for range 60 {
		st.exec(`delete from page_count`)
		var crossing sync.WaitGroup
		for _, m := range []move{{Old: "a", New: "b"}, {Old: "b", New: "a"}} {
			crossing.Go(func() {
				if err := pgx.BeginFunc(t.Context(), st.db, func(tx pgx.Tx) error { return moveRows(t.Context(), tx, &m) }); err != nil {
					t.Error(err)
				}
			})
		}
		crossing.Wait()
	}
}

// What a page and the one it becomes had is added up, visitors of both once.
func TestMovedViewsAreMerged(t *testing.T) {
	t.Parallel()
	st := newSite(t, byProxy(t))
	alice, bob, carol, dave := st.from("203.0.113.1", firefox), st.from("203.0.113.2", firefox), st.from("203.0.113.3", firefox), st.from("203.0.113.4", firefox)
	for _, c := range []struct {
		who  *person
		page string
	}{{alice, "old"}, {bob, "old"}, {alice, "new"}, {dave, "new"}, {carol, "old"}, {carol, "old"}, {alice, "third"}} {
		c.who.views(c.page)
	}
	for _, c := range []struct {
		from, to             string
		moved, views, unique int
	}{{"old", "new", 4, 6, 4}, {"new", "unseen", 6, 6, 4}, {"third", "old", 1, 7, 4}, {"never", "nowhere", 0, 0, 0}} {
		m, err := st.moveURL(t.Context(), c.from, c.to)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "moved from "+c.from, m.Views, int64(c.moved))
		for _, page := range []string{c.from, c.to} {
			p := st.statsOf(page)
			same(t, "views of "+page, fmt.Sprint(p.ViewCount, p.Unique, p.Last != nil), fmt.Sprint(c.views, c.unique, c.views > 0))
		}
		same(t, "drifted", st.count(driftedViews), 0)
	}
	bob.views("new")
	same(t, "by the old address", st.statsOf("third").ViewCount, 8)
	same(t, "visitors again", st.statsOf("third").Unique, 4)
}

func TestAddressesOfViewsAreForgotten(t *testing.T) {
	t.Parallel()
	st := newSite(t, byProxy(t), func(c *config) { c.retentionIP, c.retentionViews = 30*day, 60*day })
	forget := func(st *site) {
		t.Helper()
		for _, j := range st.jobs() {
			if j.name == "visitors" {
				if err := st.runWhenDue(t.Context(), j); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	state := func(st *site) string {
		p := st.statsOf("a")
		return fmt.Sprint(st.count(`select count(*) from pageview where ip_address is not null`), st.count(`select count(*) from pageview where user_agent is not null`),
			st.count(`select count(*) from pageview where visitor is not null`), st.count(`select count(*) from pageview`), p.ViewCount, p.Unique)
	}
	alice, bob := st.from("203.0.113.1", firefox), st.from("203.0.113.2", firefox)
	alice.views("a")
	bob.views("a")
	forget(st)
	same(t, "nothing is old", state(st), "2 2 2 2 2 2")
	st.clock.Add(int64(29 * day))
	alice.views("a")
	forget(st)
	same(t, "after 29 days", state(st), "3 3 3 3 3 2")
	st.clock.Add(int64(2 * day))
	forget(st)
	same(t, "after 31 days", state(st), "1 1 1 3 3 2")
	bob.views("a")
	same(t, "who comes back is no new visitor", state(st), "2 2 2 4 4 2")
	st.clock.Add(int64(30 * day))
	forget(st)
	same(t, "after 61 days", state(st), "0 0 0 2 4 2")
	// More than one batch.
	st.exec(`insert into pageview (url, ip_address, viewed_at) select 'b', '192.0.2.' || n % 200, $1::timestamp from generate_series(1, $2::int) n`, st.now().UTC().Add(-31*day), 2*retentionBatch+1)
	st.clock.Add(int64(time.Hour))
	forget(st)
	same(t, "many", st.count(`select count(*) from pageview where ip_address is not null`), 0)

	never := newSite(t, byProxy(t), func(c *config) { c.retentionIP = 0 })
	alice, bob = never.from("203.0.113.1", firefox), never.from("203.0.113.2", firefox)
	alice.views("a")
	bob.views("a")
	alice.views("a")
	same(t, "no address from the start", state(never), "0 0 3 3 3 2")
	never.clock.Add(int64(time.Hour))
	forget(never)
	same(t, "no visitor either", state(never), "0 0 0 3 3 2")
	alice.views("a")
	same(t, "who is known all the same", state(never), "0 0 1 4 4 2")
	same(t, "in no table", never.count(`select count(*) from pageview p where p::text like '%203.0.113%' or p::text like '%Firefox%'`), 0)
}

func TestNotTracked(t *testing.T) {
	t.Parallel()
	st := newSite(t, byProxy(t))
	for i, header := range []string{"DNT", "Sec-GPC"} {
		v := st.from("203.0.113.1", firefox)
		v.header.Set(header, "1")
		v.views("a")
		same(t, header, fmt.Sprint(st.statsOf("a").ViewCount, st.statsOf("a").Unique), fmt.Sprint(i+1, 0))
	}
	same(t, "traces", st.count(`select count(*) from pageview where coalesce(ip_address, user_agent, visitor::text) is not null`)+st.count(`select count(*) from page_visitor`), 0)
	v := st.from("203.0.113.1", firefox)
	v.header.Set("DNT", "0")
	v.views("a")
	same(t, "DNT: 0", fmt.Sprint(st.statsOf("a").ViewCount, st.statsOf("a").Unique), "3 1")
	ignored := newSite(t, byProxy(t), func(c *config) { c.respectDNT = false })
	v = ignored.from("203.0.113.1", firefox)
	v.header.Set("DNT", "1")
	v.views("a")
	same(t, "not respected", ignored.count(`select count(*) from pageview where ip_address = '203.0.113.1' and visitor is not null`), 1)
}

func TestBotsAreCountedApart(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	for _, agent := range []string{
		firefox,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0",
		"Mozilla/5.0 (Linux; Android 9; CUBOT; KING_KONG) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
		"Mozilla/5.0 (Linux; Android 13; SM-S901B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/465.0.0.0]",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 YaBrowser/24.6.0.0 Safari/537.36",
		"Mozilla/5.0 (Linux; Android 11; Pixel 5) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.0.0 Mobile Safari/537.36 [Pinterest/Android]",
		"Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/29.3709; U; en) Presto/2.8.119 Version/11.10",
		"curl/8.5.0", "python-requests/2.32.3", "Go-http-client/1.1",
	} {
		if bot, is := st.bots.find(agent, agent); is {
			t.Errorf("%s is taken for a bot: %v", agent, bot)
		}
	}
	for _, c := range []struct{ agent, body, reason, name string }{
		{"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "", "search engine", "googlebot"},
		{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36", "", "automated browser", "headless"},
		{"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)", firefox, "AI crawler", "gptbot"},
		{"python-requests/2.32.3", "Twitterbot/1.0", "link preview", "twitterbot"},
		{"Somebody's new thing/0.1 (+https://thing.example)", "", "calls itself a bot", "+http"},
		{"", "", "no user agent", ""},
	} {
		v := st.visitor()
		v.header["User-Agent"] = []string{c.agent}
		body := map[string]any{"url": "/a"}
		if c.body != "" {
			body["user_agent"] = c.body
		}
		got := v.post("/analytics/page-view", body).want(http.StatusOK).fields()
		same(t, "answer", got["message"] == "Page view logged" && got["url"] == "a", true)
		same(t, c.agent, st.count(`select count(*) from bot_view where reason = $1 and name = $2 and view_count = 1`, c.reason, c.name), 1)
	}
	same(t, "counted", st.statsOf("a").ViewCount+st.count(`select count(*) from pageview`), 0)
	var wait sync.WaitGroup
	for range 20 {
		v := st.visitor()
		v.header.Set("User-Agent", "Bingbot")
		wait.Go(func() { v.views("a") })
	}
	wait.Wait()
	same(t, "many at once", st.count(`select view_count from bot_view where name = 'bingbot'`), 20)
	// A browser that the page names, but the header does not.
	v := st.visitor()
	v.header["User-Agent"] = []string{""}
	v.post("/analytics/page-view", map[string]any{"url": "a", "user_agent": firefox}).want(http.StatusOK)
	same(t, "by the body", st.statsOf("a").ViewCount, 1)

	own := newSite(t, func(c *config) {
		if err := os.WriteFile(filepath.Join(c.dataDir, "bots.txt"), []byte("# Ours\n!nobot\nFirefox\n[pest]\n Evil \n"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	for agent, reason := range map[string]string{"Googlebot": "", firefox: "on the list", "EVIL/1": "pest", "nobotEvil": "pest", "evnobotil": "pest"} {
		bot, _ := own.bots.find(agent)
		same(t, agent, bot.reason, map[bool]string{true: reason, false: noAgent.reason}[reason != ""])
	}
}

func TestReferrers(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.siteURL = "https://example.org" })
	v := st.visitor()
	for _, c := range []struct {
		body any
		head string
		want string
	}{
		{"https://www.Google.com:443/search?q=secret", "", "google.com"},
		{"android-app://com.google.android.gm/", "", "com.google.android.gm"},
		{"http://bücher.example./x", "", "bücher.example"},
		{nil, "https://news.example/item?id=1", ""}, // null says that there is none
		{"", "https://news.example/", ""},
		{0, "https://news.example/item?id=1", "news.example"},
		{"https://example.org/blog", "", ""}, {"https://www.example.com/x", "", ""}, {"http://localhost:8000/", "", ""},
		{"no address", "", ""}, {"javascript:alert(1)", "", ""}, {"https://<b>.example/", "", ""}, {"https://" + strings.Repeat("a", 260) + ".example/", "", ""}, {"http://[::1", "", ""},
	} {
		st.exec(`truncate referrer_day`)
		body := map[string]any{"url": "a", "referrer": c.body}
		if c.body == 0 {
			delete(body, "referrer")
		}
		v.do(http.MethodPost, "/analytics/page-view", body, "Referer", c.head).want(http.StatusOK)
		same(t, fmt.Sprint(c.body, c.head), scalar(t, st.cfg.databaseURL, `select coalesce((select host from referrer_day where view_count = 1), '')`), c.want)
	}
	same(t, "nothing but hosts", st.count(`select count(*) from pageview where referrer like '%/%' or referrer like '%secret%'`), 0)
	v.post("/analytics/page-view", map[string]any{"url": "a", "referrer": 5}).detail(http.StatusUnprocessableEntity, "Referrer must be a text")
	v.post("/analytics/page-view", map[string]any{"url": "a", "referrer": "http://a\x00.example"}).detail(http.StatusUnprocessableEntity, "NUL")
}

// Statistics read the counters by their keys, and never the views.
func TestStatisticsDoNotReadTheViews(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.exec(`insert into pageview (url, visitor, viewed_at) select 'p' || n % 3000, 'v'::bytea, $1::timestamp - n % 40 * interval '1 day' from generate_series(1, 6000) n`, st.now().UTC())
	st.exec(`insert into pageview (url, visitor, viewed_at) select 'busy', n::text::bytea, $1 from generate_series(1, 3000) n`, st.now().UTC())
	st.exec(`analyze`)
	plan := func(sql string, args ...any) string {
		t.Helper()
		rows, err := st.db.Query(t.Context(), "explain (costs off) "+sql, args...)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(lines, "\n")
	}
	now := st.now().UTC()
	for _, c := range []struct {
		sql  string
		args []any
		want string
	}{
		{selectPageViews, []any{"busy"}, "using page_total_url_key"},
		{selectTimeline, []any{"busy", now.Add(-365 * day)}, "Index Cond: ((page_id = t.id) AND (day >= "},
		{selectMostViewed, []any{10}, "Backward using page_total_ranking_idx"},
	} {
		text := plan(c.sql, c.args...)
		if strings.Contains(text, "pageview") || strings.Contains(text, "Seq Scan on page_total") || strings.Contains(text, "Seq Scan on page_day") || !strings.Contains(text, c.want) {
			t.Errorf("%s\n%s", c.sql, text)
		}
	}
	for _, sql := range []string{selectDayTraffic, selectPageTraffic, selectHostTraffic, selectBotTraffic} {
		if text := plan(sql, now.Add(-2*day), now, 3); strings.Contains(text, "pageview") {
			t.Errorf("%s\n%s", sql, text)
		}
	}
	// And they work where there are no views to read.
	root := st.admin("root")
	st.exec(`alter table pageview rename to away`)
	same(t, "views", st.statsOf("busy").ViewCount, 3000)
	same(t, "visitors", st.statsOf("busy").Unique, 3000)
	for _, path := range []string{"/analytics/page-views/busy/timeline?period=annual", "/analytics/most-viewed?limit=100", "/api/admin/views?days=365", "/admin/views", "/admin/views.csv?what=pages"} {
		root.get(path).want(http.StatusOK)
	}
	var list []viewStats
	root.get("/analytics/most-viewed?limit=2").want(http.StatusOK).into(&list)
	same(t, "most viewed", len(list) == 2 && list[0].URL == "busy" && list[0].Formatted == "3.0k" && list[1].ViewCount == 2, true)
	for limit, want := range map[string]int{"0": 422, "101": 422, "x": 422, "100": 200} {
		root.get("/analytics/most-viewed?limit=" + limit).want(want)
	}
}

func TestTrafficPage(t *testing.T) {
	t.Parallel()
	st := newSite(t, byProxy(t))
	member, root := st.member("alice"), st.admin("root")
	for _, path := range []string{"/admin/views", "/admin/views.csv", "/api/admin/views"} {
		member.get(path).want(http.StatusForbidden)
		st.visitor().get(path).want(http.StatusUnauthorized)
	}
	root.page("/admin/views").want(http.StatusOK).shows("Nobody has viewed a page", "No other site", "No bot came", "0 views in 30 days").hides("NaN", "Inf")
	st.clock.Store(int64(time.Until(time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC))))
	root.signIn()
	alice, bot := st.from("203.0.113.1", firefox), st.from("203.0.113.9", "Googlebot")
	for range 3 {
		alice.post("/analytics/page-view", map[string]any{"url": `=HYPERLINK("x")`, "referrer": "https://forum.example/"}).want(http.StatusOK)
	}
	alice.views("<b>&")
	bot.views("<b>&")
	st.clock.Add(-int64(40 * day))
	alice.views("<b>&")
	st.clock.Add(int64(40 * day))

	page := root.page("/admin/views").want(http.StatusOK).shows(`role="img"`, `<title id="chart-title">`, "4 views in 30 days, from 2026-03-02 to 2026-03-31", "31 March 2026: 4 views so far",
		"2 March 2026: 0 views", "&lt;b&gt;&amp;", "=HYPERLINK(", "forum.example", "<code>googlebot</code>", "search engine").hides("<b>&", "style=", "NaN")
	same(t, "bars", strings.Count(string(page.body), `class="chart-bar`), 30)
	same(t, "rows of days", strings.Count(string(page.body), "<tr><td>2026-03-"), 30)
	same(t, "the bar's height", strings.Contains(string(page.body), `y="0" width="0.8" height="100"`), true)
	for days, want := range map[string]int{"90": 5, "365": 5} {
		page := root.page("/admin/views?days=" + days).want(http.StatusOK).shows(fmt.Sprintf("%d views in %s days", want, days))
		same(t, days+" bars", fmt.Sprint(strings.Count(string(page.body), `class="chart-bar`)), days)
	}
	root.page("/admin/views?days=31").want(http.StatusUnprocessableEntity).shows("Days must be one of: 30, 90, 365")

	var got traffic
	root.get("/api/admin/views?days=90").want(http.StatusOK).into(&got)
	same(t, "sums", fmt.Sprintf("%d %s %s %d %d %d", got.Days, got.From, got.To, got.ViewCount, got.BotCount, len(got.PerDay)), "90 2026-01-01 2026-03-31 5 1 90")
	same(t, "today", fmt.Sprintf("%s %d %d", got.PerDay[89].Text, got.PerDay[89].ViewCount, got.PerDay[89].BotCount), "2026-03-31 4 1")
	same(t, "pages", len(got.Pages) == 2 && got.Pages[0].ViewCount == 3 && got.Pages[1].URL == "<b>&" && got.Pages[1].TotalViews == 2 && got.Pages[1].UniqueVisitors == 1, true)
	same(t, "referrers", fmt.Sprint(got.Referrers), "[{forum.example 3 1}]")
	same(t, "bots", fmt.Sprint(got.Bots), "[{search engine googlebot 1}]")
	root.get("/api/admin/views").want(http.StatusOK).into(&got)
	same(t, "total of the page in 30 days", fmt.Sprint(got.Pages[1].ViewCount, got.Pages[1].TotalViews), "1 2")
	root.get("/api/admin/views?limit=1").want(http.StatusOK).into(&got)
	same(t, "limit", len(got.Pages), 1)
	root.get("/api/admin/views?limit=0").detail(http.StatusUnprocessableEntity, "Limit must be from 1")

	for what, want := range map[string]string{
		"days":      "[2026-03-31 4 1]",
		"pages":     `['=HYPERLINK("x") 3 3 1 2026-03-31T12:00:00Z]`,
		"referrers": "[forum.example 3 1]",
		"bots":      "[search engine googlebot 1]",
	} {
		a := root.get("/admin/views.csv?what=" + what).want(http.StatusOK)
		same(t, what+" type", a.header.Get("Content-Type"), "text/csv; charset=utf-8")
		same(t, what+" name", a.header.Get("Content-Disposition"), "attachment; filename="+what+"_2026-03-02_2026-03-31.csv")
		rows, err := csv.NewReader(strings.NewReader(string(a.body))).ReadAll()
		if err != nil || len(rows) < 2 {
			t.Fatal(what, rows, err)
		}
		found := slices.ContainsFunc(rows, func(row []string) bool {
			if what == "pages" {
				row[4] = row[4][:14] + "00:00Z"
			}
			return fmt.Sprint(row) == want
		})
		same(t, what+" has "+want, found, true)
	}
	root.get("/admin/views.csv?what=users").want(http.StatusUnprocessableEntity)

	// Every page, searched and sorted.
	member.page("/admin/pages").want(http.StatusForbidden)
	root.page("/admin/pages").want(http.StatusOK).shows("2 pages", "=HYPERLINK(", "&lt;b&gt;&amp;").hides("<b>&")
	root.page("/admin/pages?q=hyper&sort=visitors&since=1").shows("1 page<", "=HYPERLINK(").hides("&lt;b&gt;")
	root.page("/admin/pages?q=nothing").shows("No page is like that")
	for query, want := range map[string]string{"?sort=ever": "3 3, 1 2", "?sort=newest&since=365": "3 3, 2 2", "?q=%26": "1 2"} {
		rows, err := csv.NewReader(strings.NewReader(string(root.get("/admin/pages.csv" + query).want(http.StatusOK).body))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, row := range rows[1:] {
			got = append(got, row[1]+" "+row[2])
		}
		if query == "?sort=newest&since=365" {
			slices.Sort(got)
			slices.Reverse(got)
		}
		same(t, query, strings.Join(got, ", "), want)
	}
}

func TestSpreadsheetText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "a=b": "a=b", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "＝1": "'＝1", "blog/x.html": "blog/x.html"} {
		same(t, text, spreadsheetText(text), want)
	}
	for n, want := range map[int]int{0: 2, 1: 2, 2: 2, 3: 4, 5: 10, 10: 10, 11: 20, 41: 100, 400: 400, 100_001: 200_000} {
		same(t, fmt.Sprint(n), chartTop(n), want)
	}
}
