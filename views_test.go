package main

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// viewDrift compares the counters of views with the rows of the views.
func (st *site) viewDrift() int {
	st.t.Helper()
	return st.count(`
		select count(*) from (select url, count(*) as views, count(distinct coalesce(visitor, ip_address)) as visitors, max(viewed_at) as latest from pageview group by url) v
		full join viewed_page p using (url)
		where views is distinct from view_count or visitors is distinct from visitor_count or latest is distinct from last_viewed_at
		   or view_count <> (select sum(view_count) from viewed_day d where d.page_id = p.id)
		   or visitor_count <> (select count(*) from page_visitor w where w.page_id = p.id)`)
}

func TestViewsAreCountedExactly(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.trustedProxies = mustPrefixes(t, "127.0.0.1/32") })
	root := st.admin("root")
	var wait sync.WaitGroup
	for i := range 12 {
		p := st.visitor()
		p.header.Set("X-Forwarded-For", fmt.Sprintf("203.0.113.%d", i%5))
		wait.Go(func() {
			for n := range 20 {
				p.post("/analytics/page-view", map[string]any{"url": fmt.Sprint("page", n%3)}).want(http.StatusOK)
			}
		})
	}
	wait.Wait()
	same(t, "drift", st.viewDrift(), 0)
	same(t, "views", st.count(`select sum(view_count) from viewed_page`), 240)
	same(t, "visitors", st.count(`select max(visitor_count) from viewed_page`), 5)
	// Moved to a new page, and to one that has views.
	st.clock.Store(int64(24 * time.Hour))
	root.post("/analytics/page-view", map[string]any{"url": "page1"}).want(http.StatusOK)
	root.post("/api/admin/urls/move", map[string]any{"old": "page0", "new": "fresh"}).want(http.StatusOK)
	moved := root.post("/api/admin/urls/move", map[string]any{"old": "page2", "new": "page1"}).want(http.StatusOK).fields()
	same(t, "moved", moved["views"], any(72.0))
	same(t, "drift", st.viewDrift(), 0)
	views := root.get("/analytics/page-views/page2").fields()
	same(t, "joined", views["view_count"] == 157.0 && views["unique_visitors"] == 6.0, true)
	same(t, "timeline", root.get("/analytics/page-views/page2/timeline").fields()["total_views"], any(157.0))
}

func TestViewsThatAreNotCounted(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.respectDNT = true })
	v := st.visitor()
	const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	view := func(counted bool, body map[string]any, header ...string) {
		t.Helper()
		got := v.do(http.MethodPost, "/analytics/page-view", body, header...).want(http.StatusOK).fields()
		same(t, fmt.Sprint(body, header), got["counted"] == counted && got["message"] == "Page view logged", true)
	}
	page := map[string]any{"url": "a"}
	view(false, page, "User-Agent", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")
	view(false, page, "User-Agent", "SomebodysBot/1.0")
	view(false, map[string]any{"url": "a", "user_agent": "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0)"})
	view(false, page, "Sec-Purpose", "prefetch;prerender")
	view(false, page, "DNT", "1", "User-Agent", firefox)
	view(false, page, "Sec-GPC", "1", "User-Agent", firefox)
	view(true, page, "DNT", "0", "User-Agent", firefox)
	view(true, page, "User-Agent", "Mozilla/5.0 (Linux; Android 13; CUBOT X70) AppleWebKit/537.36 Chrome/120 Mobile Safari/537.36")
	view(true, page, "User-Agent", "python-requests/2.32")
	view(true, page, "User-Agent", "")
	same(t, "counted", v.get("/analytics/page-views/a").fields()["view_count"], any(4.0))
	for reason, n := range map[string]int{"bot: googlebot": 1, "bot: bot/": 1, "bot: bingbot": 1, "prefetch": 1, "Do Not Track": 1, "Global Privacy Control": 1} {
		same(t, reason, st.count(`select coalesce(sum(view_count), 0) from dropped_view where reason = $1`, reason), n)
	}
	st.cfg.respectDNT = false
	view(true, page, "DNT", "1", "Sec-GPC", "1")
	// Whatever a client sends for a header or a field, it is an answer.
	view(true, map[string]any{"url": "a", "user_agent": strings.Repeat("x", 5000), "referrer": "https://" + strings.Repeat("x", 5000)})
	v.post("/analytics/page-view", map[string]any{"url": "a", "user_agent": "a\x00b"}).detail(http.StatusUnprocessableEntity, "NUL")
	v.post("/analytics/page-view", map[string]any{"url": "a", "referrer": 5}).detail(http.StatusUnprocessableEntity, "Referrer must be a text")
	v.post("/analytics/page-view", "{\"url\":\"\xff\"}").detail(http.StatusUnprocessableEntity, "UTF-8")
}

func TestAddressesAreForgotten(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.trustedProxies = mustPrefixes(t, "127.0.0.1/32") })
	v := st.visitor()
	v.header.Set("X-Forwarded-For", "203.0.113.5")
	// As a database has it that was counted by the migration: addresses, no hashes.
	st.exec(`insert into pageview (url, ip_address, viewed_at) select 'a', '203.0.113.' || n % 10, now() at time zone 'UTC' - interval '40 days' from generate_series(1, 50) n`)
	st.exec(`insert into pageview (url, viewed_at) values ('a', now() at time zone 'UTC' - interval '40 days')`)
	v.post("/analytics/page-view", map[string]any{"url": "a"}).want(http.StatusOK)
	stats := func() string {
		f := v.get("/analytics/page-views/a").fields()
		return fmt.Sprint(f["view_count"], " ", f["unique_visitors"])
	}
	same(t, "the known visitor twice", stats(), "52 11")
	if err := st.hashAddresses(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "and once again", stats(), "52 10")
	same(t, "plain visitors", st.count(`select count(*) from page_visitor where visitor not like '#%'`), 0)
	same(t, "old addresses", st.count(`select count(*) from pageview where ip_address like '203%'`), 1)
	v.post("/analytics/page-view", map[string]any{"url": "a"}).want(http.StatusOK)
	same(t, "known", stats(), "53 10")
	st.clock.Store(int64(31 * 24 * time.Hour))
	if err := st.hashAddresses(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "addresses", st.count(`select count(*) from pageview where ip_address like '203%'`), 0)
	same(t, "hashes", st.count(`select count(distinct ip_address) from pageview`), 10)
	v.post("/analytics/page-view", map[string]any{"url": "a"}).want(http.StatusOK)
	same(t, "counts stay", stats(), "54 10")
	st.cfg.retentionIP = 0
	v.post("/analytics/page-view", map[string]any{"url": "b"}).want(http.StatusOK)
	same(t, "never kept", st.count(`select count(*) from pageview where url = 'b' and ip_address like '#%'`), 1)
}

// What a page had before there were counters is in them.
func TestViewsBeforeCounters(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t, "template_chatter")
	m := migratorOn(t, dsn)
	for m.applied["105"].Version != "" {
		if err := m.down(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.conn.Exec(t.Context(), `insert into pageview (url, ip_address, viewed_at) select 'p' || n % 3, '10.0.0.' || n % 7, timestamp '2026-01-01' + n * interval '1 hour' from generate_series(1, 100) n`); err != nil {
		t.Fatal(err)
	}
	m.close()
	migrateAll(t, dsn)
	st := newSite(t, func(c *config) { c.databaseURL = dsn })
	same(t, "drift", st.viewDrift(), 0)
	same(t, "views", st.count(`select sum(view_count) from viewed_page`), 100)
}

func TestStatisticsPage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	root, alice := st.admin("root"), st.member("alice")
	for _, referrer := range []string{"https://www.search.example/?q=x", "https://search.example/", "https://www.example.com/own", "nonsense", "http://other.example:8080/"} {
		alice.post("/analytics/page-view", map[string]any{"url": "blog/<x>.html", "referrer": referrer}).want(http.StatusOK)
	}
	alice.do(http.MethodPost, "/analytics/page-view", map[string]any{"url": "=cmd()"}, "Referer", "https://third.example/page").want(http.StatusOK)
	alice.do(http.MethodPost, "/analytics/page-view", map[string]any{"url": "x"}, "User-Agent", "Googlebot/2.1").want(http.StatusOK)
	alice.page("/admin/views").want(http.StatusForbidden)
	st.visitor().page("/admin/views").redirects("/login")
	root.page("/admin/views").want(http.StatusOK).shows("<svg", "blog/&lt;x&gt;.html", `<td>search.example</td><td class="num">2</td>`, "<td>other.example</td>", "<td>third.example</td>", "bot: googlebot", "30 days").
		hides("<td>example.com</td>", "nonsense")
	root.page("/admin/views?days=0").want(http.StatusUnprocessableEntity)
	for table, want := range map[string]string{
		"pages": "url,views,views_ever,visitors_ever\nblog/<x>.html,5,5,1\n'=cmd(),1,1,1\n", "referrers": "host,views\nsearch.example,2\nother.example,1\nthird.example,1\n",
		"dropped": "reason,views\nbot: googlebot,1\n",
	} {
		same(t, table, string(root.get("/admin/views.csv?table="+table).want(http.StatusOK).body), want)
	}
	a := root.get("/admin/views.csv?days=7").want(http.StatusOK)
	rows, err := csv.NewReader(strings.NewReader(string(a.body))).ReadAll()
	same(t, "days", err == nil && len(rows) == 8 && rows[7][0] == time.Now().UTC().Format(time.DateOnly) && rows[7][1] == "6", true)
	same(t, "type", a.header.Get("Content-Type"), "text/csv; charset=utf-8; header=present")
	root.get("/admin/views.csv?table=x").want(http.StatusUnprocessableEntity)
	for top, want := range map[int]int{0: 1, 5: 1, 6: 2, 11: 5, 26: 10, 51: 20, 101: 50, 1000: 200} {
		same(t, fmt.Sprint("step for ", top), niceStep(top), want)
	}
}
