package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// traffic is what admins see of the page views of some days, which end with
// today.
type traffic struct {
	Days      int           `json:"days"`
	From      string        `json:"from"` // YYYY-MM-DD, as every day here, in UTC
	To        string        `json:"to"`
	ViewCount int           `json:"view_count"`
	BotCount  int           `json:"bot_count"` // what was not counted
	PerDay    []dayTraffic  `json:"per_day"`
	Pages     []pageTraffic `json:"pages"` // these three with the most first
	Referrers []hostTraffic `json:"referrers"`
	Bots      []botTraffic  `json:"bots"`
}

type dayTraffic struct {
	Date      time.Time `json:"-"`
	Text      string    `json:"date"`
	ViewCount int       `json:"view_count"`
	BotCount  int       `json:"bot_count"`
}

type pageTraffic struct {
	URL            string    `json:"url"`
	ViewCount      int       `json:"view_count"`
	TotalViews     int       `json:"total_views"` // ever, as the two that follow
	UniqueVisitors int       `json:"unique_visitors"`
	LastViewedAt   time.Time `json:"last_viewed_at"`
}

type hostTraffic struct {
	Host      string `json:"host"`
	ViewCount int    `json:"view_count"`
	PageCount int    `json:"page_count"` // pages that it led to
}

type botTraffic struct {
	Reason    string `json:"reason"`
	Name      string `json:"name"`
	ViewCount int    `json:"view_count"`
}

// maxTraffic bounds each list.
const maxTraffic = 10_000

// The parts of the traffic from the day $1 to the day $2, $3 rows at most.
const (
	selectDayTraffic = `
		select day as date, to_char(day, 'YYYY-MM-DD') as text, coalesce(views, 0) as view_count, coalesce(bots, 0) as bot_count
		from (select generate_series($1::date, $2::date, '1 day')::date as day limit $3) days
		left join (select day, sum(view_count)::bigint as views from page_day where day between $1 and $2 group by day) v using (day)
		left join (select day, sum(view_count)::bigint as bots from bot_view where day between $1 and $2 group by day) b using (day)
		order by day`
	selectPageTraffic = `
		select url, views as view_count, view_count as total_views, unique_visitors, last_viewed_at
		from (select page_id, sum(view_count)::bigint as views from page_day where day between $1 and $2 group by page_id order by views desc, page_id limit $3) v
		join page_total on id = page_id order by views desc, id`
	selectHostTraffic = `
		select host, sum(view_count)::bigint as view_count, count(distinct page_id) as page_count
		from referrer_day where day between $1 and $2 group by host order by view_count desc, host limit $3`
	selectBotTraffic = `
		select reason, name, sum(view_count)::bigint as view_count
		from bot_view where day between $1 and $2 group by reason, name order by view_count desc, reason, name limit $3`
)

// loadTraffic reads the last so many days, and at most limit rows of each list.
func (s *server) loadTraffic(ctx context.Context, days, limit int) (t traffic, err error) {
	today := s.now().UTC()
	from := today.AddDate(0, 0, 1-days)
	t = traffic{Days: days, From: from.Format(time.DateOnly), To: today.Format(time.DateOnly)}
	if t.PerDay, err = many[dayTraffic](ctx, s.db, selectDayTraffic, from, today, days); err != nil {
		return t, err
	}
	for _, d := range t.PerDay {
		t.ViewCount += d.ViewCount
		t.BotCount += d.BotCount
	}
	if t.Pages, err = many[pageTraffic](ctx, s.db, selectPageTraffic, from, today, limit); err != nil {
		return t, err
	}
	if t.Referrers, err = many[hostTraffic](ctx, s.db, selectHostTraffic, from, today, limit); err != nil {
		return t, err
	}
	t.Bots, err = many[botTraffic](ctx, s.db, selectBotTraffic, from, today, limit)
	return t, err
}

// trafficDays reads the field "days", one of the periods to choose from.
func (in *input) trafficDays() int {
	days, _ := strconv.Atoi(in.choice("days", "30", "30", "90", "365")) // 0 with a fault
	return days
}

// showTraffic answers GET /api/admin/views.
func (s *server) showTraffic(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	days, limit := in.trafficDays(), in.integer("limit", ptr(100), 1, maxTraffic)
	if err := in.err(); err != nil {
		return err
	}
	t, err := s.loadTraffic(r.Context(), days, limit)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, t)
}

// sendTraffic answers GET /admin/views.csv: the list that ?what= names.
func (s *server) sendTraffic(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	what, days := in.choice("what", "days", "days", "pages", "referrers", "bots"), in.trafficDays()
	if err := in.err(); err != nil {
		return err
	}
	t, err := s.loadTraffic(r.Context(), days, maxTraffic)
	if err != nil {
		return err
	}
	var table [][]string
	switch what {
	case "days":
		table = append(table, []string{"date", "view_count", "bot_count"})
		for _, d := range t.PerDay {
			table = append(table, []string{d.Text, strconv.Itoa(d.ViewCount), strconv.Itoa(d.BotCount)})
		}
	case "pages":
		table = append(table, []string{"url", "view_count", "total_views", "unique_visitors", "last_viewed_at"})
		for _, p := range t.Pages {
			table = append(table, []string{p.URL, strconv.Itoa(p.ViewCount), strconv.Itoa(p.TotalViews), strconv.Itoa(p.UniqueVisitors),
				p.LastViewedAt.Format(time.RFC3339)})
		}
	case "referrers":
		table = append(table, []string{"host", "view_count", "page_count"})
		for _, h := range t.Referrers {
			table = append(table, []string{h.Host, strconv.Itoa(h.ViewCount), strconv.Itoa(h.PageCount)})
		}
	case "bots":
		table = append(table, []string{"reason", "name", "view_count"})
		for _, b := range t.Bots {
			table = append(table, []string{b.Reason, b.Name, strconv.Itoa(b.ViewCount)})
		}
	}
	sendCSV(w, fmt.Sprintf("%s_%s_%s.csv", what, t.From, t.To), table)
	return nil
}

// trafficPage is the data of admin_views.html.
type trafficPage struct {
	traffic
	Chart   chart
	Periods []choice
	Site    string // where the pages are; empty when nobody has said
}

// Newest are the days, the last one first.
func (p trafficPage) Newest() []dayTraffic {
	days := slices.Clone(p.PerDay)
	slices.Reverse(days)
	return days
}

// Average is how many views a day has, rounded.
func (p trafficPage) Average() int { return (p.ViewCount + p.Days/2) / p.Days }

// trafficRows is how many rows the page shows of each list.
const trafficRows = 20

// showTrafficPage answers GET /admin/views.
func (s *server) showTrafficPage(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	days := in.trafficDays()
	if err := in.err(); err != nil {
		return err
	}
	t, err := s.loadTraffic(r.Context(), days, trafficRows)
	if err != nil {
		return err
	}
	var perDay []dayCount
	for _, d := range t.PerDay {
		perDay = append(perDay, dayCount{d.Date, d.ViewCount})
	}
	data := trafficPage{traffic: t, Chart: chartOf("chart", "Views per day", perDay, "view", "views"), Periods: []choice{{"30", "30 days"}, {"90", "90 days"}, {"365", "A year"}}}
	if s.cfg.siteURL != s.cfg.publicURL {
		data.Site = s.cfg.siteURL + "/"
	}
	return s.render(w, r, http.StatusOK, "admin_views", v, "Page views", data)
}

// listedPage is a page with its views, in the days that were asked for and ever.
type listedPage struct {
	pageTraffic
	Total int
}

var pageOrders = map[string]string{
	"views":    "view_count desc, t.id",
	"ever":     "t.view_count desc, t.id",
	"visitors": "t.unique_visitors desc, t.id",
	"newest":   "t.last_viewed_at desc, t.id",
	"address":  "t.url",
}

// pageList is every page that was ever viewed.
func (s *server) pageList() adminList[listedPage] {
	return adminList[listedPage]{
		path: "/admin/pages", template: "admin_pages", title: "Pages", load: s.listPages,
		sinces:  []choice{{"30", "In a month"}, {"1", "Today"}, {"7", "In a week"}, {"365", "In a year"}},
		sorts:   []choice{{"views", "Most viewed"}, {"ever", "Most viewed ever"}, {"visitors", "Most visitors"}, {"newest", "Viewed last"}, {"address", "By address"}},
		columns: []string{"url", "view_count", "total_views", "unique_visitors", "last_viewed_at"},
		cells: func(p listedPage) []string {
			return []string{p.URL, strconv.Itoa(p.ViewCount), strconv.Itoa(p.TotalViews), strconv.Itoa(p.UniqueVisitors), csvTime(&p.LastViewedAt)}
		},
	}
}

// listPages searches addresses.
func (s *server) listPages(ctx context.Context, q listQuery) (list []listedPage, total int, err error) {
	days, _ := strconv.Atoi(q.Since) // one of the choices
	list, err = many[listedPage](ctx, s.db, `
		select url, coalesce(views, 0) as view_count, t.view_count as total_views, unique_visitors, last_viewed_at, count(*) over () as total
		from page_total t left join (select page_id, sum(view_count)::bigint as views from page_day where day >= $2 group by page_id) v on page_id = t.id
		where url ilike $1 order by `+pageOrders[q.Sort]+` limit $3 offset $4`, likePattern(q.Search), s.now().UTC().AddDate(0, 0, 1-days), q.limit, q.offset)
	if len(list) > 0 {
		total = list[0].Total
	}
	return list, total, err
}
