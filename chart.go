package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// dayCount is how many of something a day has.
type dayCount struct {
	Date  time.Time
	Count int
}

// chart is a bar chart of days: a bar is one unit wide at most, and Top is 100
// units high. The same numbers are in a table.
type chart struct {
	ID, Title, Desc     string
	Top, Half           int
	Bars                []chartBar
	First, Middle, Last string // days below the axis
	Newest              []dayCount
}

type chartBar struct {
	X, Y, Width, Height float64
	Title               string
	Current             bool // the day is not over
}

// chartOf draws at least one day; one and many are what is counted.
func chartOf(id, title string, days []dayCount, one, many string) chart {
	form, width := "2 Jan", .8
	if len(days) > 100 {
		form, width = "2 Jan 2006", 1 // without gaps, which would be narrower than a pixel
	}
	c := chart{ID: id, Title: title, Newest: slices.Clone(days)}
	slices.Reverse(c.Newest)
	busiest, sum := days[0], 0
	for _, d := range days {
		sum += d.Count
		if d.Count > busiest.Count {
			busiest = d
		}
	}
	text := func(n int) string { return countOf(n, one, many) }
	day := func(i int) string { return days[i].Date.Format(form) }
	c.Top = chartTop(busiest.Count)
	c.Half = c.Top / 2
	for i, d := range days {
		height := 100 * float64(d.Count) / float64(c.Top)
		bar := chartBar{float64(i) + (1-width)/2, 100 - height, width, height, d.Date.Format("2 January 2006") + ": " + text(d.Count), i == len(days)-1}
		if bar.Current {
			bar.Title += " so far"
		}
		c.Bars = append(c.Bars, bar)
	}
	c.First, c.Middle, c.Last = day(0), day(len(days)/2), day(len(days)-1)
	c.Desc = fmt.Sprintf("%s in %d days, from %s to %s.", text(sum), len(days), days[0].Date.Format(time.DateOnly), days[len(days)-1].Date.Format(time.DateOnly))
	if sum > 0 {
		c.Desc += fmt.Sprintf(" The most in a day: %d, on %s.", busiest.Count, busiest.Date.Format(time.DateOnly))
	}
	return c
}

// chartTop is the end of an axis that has room for n and whose half is round:
// 2, 4 or 10 times a power of ten.
func chartTop(n int) int {
	for power := 1; ; power *= 10 {
		for _, m := range []int{2, 4, 10} {
			if n <= m*power {
				return m * power
			}
		}
	}
}

// What is counted per day, from the day $1 to the day $2 (UTC), as day and
// number; days that are missing are 0.
const (
	dailyViews    = `select day, sum(view_count) from page_day where day between $1 and $2 group by day`
	dailySignups  = `select created_at::date, count(*) from "user" where created_at >= $1 and created_at < $2::date + 1 group by 1`
	dailyComments = `select created_at::date, count(*) from comment where created_at >= $1 and created_at < $2::date + 1 group by 1`
	dailyErrors   = `select day, error_count from error_day where day between $1 and $2`
	// In kilobytes, of what is stored today.
	dailyStorage = `
		select day::date, (sum(coalesce(added, 0)) over (order by day) / 1024)::bigint from generate_series($1::date, $2::date, '1 day') day
		left join (select greatest(noted_at::date, $1::date) as on_day, sum(size) as added from media_file where state = 'kept' group by 1) a on on_day = day::date`
)

// daily counts the last so many days by one of these queries.
func (s *server) daily(ctx context.Context, query string, days int) ([]dayCount, error) {
	today := s.now().UTC()
	return many[dayCount](ctx, s.db, `
		select day::date as date, coalesce(n, 0)::bigint as count from generate_series($1::date, $2::date, '1 day') day
		left join (`+query+`) counted (on_day, n) on on_day = day::date order by 1`, today.AddDate(0, 0, 1-days), today)
}
