package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// dayViews are the views of all pages on a day (UTC).
type dayViews struct {
	Day   time.Time
	Views int
}

// topPage is a page among those with the most views in a period.
type topPage struct {
	URL      string
	Views    int // in the period
	AllViews int
	Visitors int // ever
}

// namedCount is how many views something has: a referrer, or a reason why they
// were not counted.
type namedCount struct {
	Name  string
	Views int
}

// statistics are the numbers of a period for the site's owner.
type statistics struct {
	Days      int
	Total     int
	ByDay     []dayViews
	Pages     []topPage
	Referrers []namedCount
	Dropped   []namedCount
}

// loadStatistics adds up the last days, today among them. It reads a row for
// each page and day, never the views themselves.
func (s *server) loadStatistics(ctx context.Context, days int) (st statistics, err error) {
	st.Days = days
	today := s.now().UTC().Truncate(24 * time.Hour)
	first := today.AddDate(0, 0, 1-days)
	var batch pgx.Batch
	collect := func(sql string, rows func(rows pgx.Rows) error) { batch.Queue(sql, first, today).Query(rows) }
	collect(`
		select point::date as day, coalesce(sum(view_count), 0) as views
		from generate_series($1::timestamp, $2::timestamp, '1 day') point left join viewed_day on day = point::date group by 1 order by 1`,
		func(rows pgx.Rows) (err error) {
			st.ByDay, err = pgx.CollectRows(rows, pgx.RowToStructByName[dayViews])
			return err
		})
	collect(`
		select p.url, sum(d.view_count) as views, p.view_count as all_views, p.visitor_count as visitors
		from viewed_day d join viewed_page p on p.id = d.page_id where d.day between $1::date and $2::date
		group by p.id order by views desc, p.url limit 50`,
		func(rows pgx.Rows) (err error) {
			st.Pages, err = pgx.CollectRows(rows, pgx.RowToStructByName[topPage])
			return err
		})
	named := func(list *[]namedCount) func(rows pgx.Rows) error {
		return func(rows pgx.Rows) (err error) {
			*list, err = pgx.CollectRows(rows, pgx.RowToStructByName[namedCount])
			return err
		}
	}
	collect(`
		select host as name, sum(view_count) as views from page_referrer where day between $1::date and $2::date
		group by host order by views desc, host limit 50`, named(&st.Referrers))
	collect(`
		select reason as name, sum(view_count) as views from dropped_view where day between $1::date and $2::date
		group by reason order by views desc, reason`, named(&st.Dropped))
	if err := s.db.SendBatch(ctx, &batch).Close(); err != nil {
		return st, err
	}
	for _, d := range st.ByDay {
		st.Total += d.Views
	}
	return st, nil
}

// table is one list of the statistics as rows of text, its header first.
func (st statistics) table(name string) [][]string {
	var rows [][]string
	switch name {
	case "pages":
		rows = append(rows, []string{"url", "views", "views_ever", "visitors_ever"})
		for _, p := range st.Pages {
			rows = append(rows, []string{p.URL, strconv.Itoa(p.Views), strconv.Itoa(p.AllViews), strconv.Itoa(p.Visitors)})
		}
	case "referrers", "dropped":
		list, title := st.Referrers, "host"
		if name == "dropped" {
			list, title = st.Dropped, "reason"
		}
		rows = append(rows, []string{title, "views"})
		for _, n := range list {
			rows = append(rows, []string{n.Name, strconv.Itoa(n.Views)})
		}
	default:
		rows = append(rows, []string{"day", "views"})
		for _, d := range st.ByDay {
			rows = append(rows, []string{d.Day.Format(time.DateOnly), strconv.Itoa(d.Views)})
		}
	}
	return rows
}

// chart is a bar chart as the coordinates of an SVG of 720 by 220 units.
type chart struct {
	Bars  []bar
	Lines []gridLine
	Ticks []tick
}

type bar struct {
	X, Y, Width, Height float64
	Title               string
}

type gridLine struct {
	Y     float64
	Label string
}

type tick struct {
	X     float64
	Label string
}

// The part of the SVG that the bars are in.
const (
	chartLeft, chartRight = 48.0, 712.0
	chartTop, chartBottom = 12.0, 190.0
)

// Chart draws the views per day.
func (st statistics) Chart() (c chart) {
	top := 0
	for _, d := range st.ByDay {
		top = max(top, d.Views)
	}
	step := niceStep(top)
	height := float64((top + step - 1) / step * step)
	y := func(n float64) float64 { return math.Round((chartBottom-n/height*(chartBottom-chartTop))*10) / 10 }
	for n := 0; n <= int(height); n += step {
		c.Lines = append(c.Lines, gridLine{y(float64(n)), formatCount(n)})
	}
	slot := (chartRight - chartLeft) / float64(len(st.ByDay))
	every := max(1, len(st.ByDay)/6)
	for i, d := range st.ByDay {
		x := math.Round((chartLeft+float64(i)*slot)*10) / 10
		from := y(float64(d.Views))
		c.Bars = append(c.Bars, bar{x, from, math.Round(slot*8) / 10, math.Round((chartBottom-from)*10) / 10,
			fmt.Sprintf("%s: %d", d.Day.Format("2 January 2006"), d.Views)})
		if i%every == 0 {
			c.Ticks = append(c.Ticks, tick{x, d.Day.Format("2 Jan")})
		}
	}
	return c
}

// niceStep is 1, 2 or 5 times a power of ten, so that two to five of it reach
// the top.
func niceStep(top int) int {
	step := 1
	for top > 5*step {
		switch strconv.Itoa(step)[0] {
		case '2':
			step = step / 2 * 5
		default:
			step *= 2
		}
	}
	return step
}

// statisticsPage is the data of admin_views.html.
type statisticsPage struct {
	statistics
	Periods   []int
	Respected bool // DNT and Sec-GPC are
}

// Busiest is the day with the most views.
func (p statisticsPage) Busiest() dayViews {
	return slices.MaxFunc(p.ByDay, func(a, b dayViews) int { return a.Views - b.Views })
}

var statisticsPeriods = []int{7, 30, 90, 365} // days

// statisticsOf reads the query and loads what it asks for.
func (s *server) statisticsOf(r *http.Request, in *input) (statistics, error) {
	days := in.integer("days", ptr(30), 1, 3660)
	if err := in.err(); err != nil {
		return statistics{}, err
	}
	return s.loadStatistics(r.Context(), days)
}

// showStatistics answers the admins' page about views.
func (s *server) showStatistics(w http.ResponseWriter, r *http.Request, v viewer) error {
	st, err := s.statisticsOf(r, queryInput(r))
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "admin_views", v, "Page views", statisticsPage{st, statisticsPeriods, s.cfg.respectDNT})
}

// showStatisticsCSV answers one of the page's tables as CSV (RFC 4180).
func (s *server) showStatisticsCSV(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	name := in.choice("table", "days", "days", "pages", "referrers", "dropped")
	st, err := s.statisticsOf(r, in)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	h.Set("Content-Disposition", attachment(fmt.Sprintf("views_%s_%d_days.csv", name, st.Days)))
	out := csv.NewWriter(w)
	for _, row := range st.table(name) {
		for i := range row {
			row[i] = csvText(row[i])
		}
		_ = out.Write(row) // the client is gone if this fails
	}
	out.Flush()
	return nil
}

// csvText keeps a spreadsheet from taking a text that strangers chose for a
// formula.
func csvText(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		return "'" + text
	}
	return text
}
