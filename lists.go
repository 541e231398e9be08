package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The lists on the admins' pages are alike: each is searched, filtered, sorted
// and turned over in its address, and is to be had as CSV.

// paging is which page of a list is shown; its methods are for templates.
type paging struct {
	Path                 string // of the list
	Values               url.Values
	Page, PerPage, Total int
}

// Pages is how many pages the list has.
func (p paging) Pages() int { return max(1, (p.Total+p.PerPage-1)/p.PerPage) }

// Previous and Next are the neighbouring pages, 0 where there is none.
func (p paging) Previous() int { return p.Page - 1 }
func (p paging) Next() int {
	if p.Page < p.Pages() {
		return p.Page + 1
	}
	return 0
}

// At is the address of a page of the same list.
func (p paging) At(page int) string {
	return p.address("", map[string]string{"page": strconv.Itoa(page)})
}

// CSV is the address of the whole list in that form.
func (p paging) CSV() string { return p.address(".csv", nil) }

// Here is what the address of the page says after its path, for the way back.
func (p paging) Here() string {
	_, query, _ := strings.Cut(p.At(p.Page), "?")
	return query
}

func (p paging) address(suffix string, set map[string]string) string {
	values := url.Values{}
	for name := range p.Values {
		if text := p.Values.Get(name); text != "" && name != "page" {
			values.Set(name, text)
		}
	}
	for name, text := range set {
		values.Set(name, text)
	}
	if values.Get("page") == "1" {
		values.Del("page")
	}
	if len(values) == 0 {
		return p.Path + suffix
	}
	return p.Path + suffix + "?" + values.Encode()
}

// outside reports whether a page lies behind the end of the list, which is
// empty there.
func (p paging) outside(rows int) bool { return rows == 0 && p.Page > 1 }

// listQuery is what a list is asked for. Show, Sort and Since are one of the
// list's choices.
type listQuery struct {
	Search, Show, Sort, Since string
	limit, offset             int
}

const (
	listRows    = 50     // of a page
	maxListRows = 10_000 // of one CSV
)

// adminList is one of the lists. The first choices are the usual ones; a list
// without dates has no sinces.
type adminList[T any] struct {
	path, template, title string
	shows, sorts, sinces  []choice
	load                  func(ctx context.Context, q listQuery) (rows []T, total int, err error)
	columns               []string
	cells                 func(row T) []string
}

// listPage is the data of a list's template.
type listPage[T any] struct {
	paging
	Rows                 []T
	Query                listQuery
	Shows, Sorts, Sinces []choice
	Extra                any // what the page shows besides
}

// usual is the first of some choices, and all of their values.
func usual(choices []choice) (first string, all []string) {
	for _, c := range choices {
		all = append(all, c.Value)
	}
	if len(all) == 0 {
		return "", []string{""}
	}
	return all[0], all
}

// read reads what a request asks of the list.
func (l adminList[T]) read(r *http.Request) (p listPage[T], err error) {
	in := queryInput(r)
	one := func(name string, choices []choice) string {
		first, all := usual(choices)
		if first == "" {
			return ""
		}
		return in.choice(name, first, all...)
	}
	p = listPage[T]{Shows: l.shows, Sorts: l.sorts, Sinces: l.sinces,
		Query:  listQuery{Search: deref(in.optional("q", nil, 100)), Show: one("show", l.shows), Sort: one("sort", l.sorts), Since: one("since", l.sinces)},
		paging: paging{Path: l.path, Values: r.URL.Query(), Page: in.integer("page", ptr(1), 1, 1<<20), PerPage: listRows}}
	for name := range p.Values {
		switch name {
		case "q", "show", "sort", "since":
		default:
			p.Values.Del(name)
		}
	}
	return p, in.err()
}

// showList answers a list's page; extra, where it is not nil, is what the page
// shows besides.
func showList[T any](s *server, l adminList[T], extra func(r *http.Request) (any, error)) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		return renderList(s, w, r, v, http.StatusOK, l, extra)
	}
}

func renderList[T any](s *server, w http.ResponseWriter, r *http.Request, v viewer, status int, l adminList[T], extra func(r *http.Request) (any, error)) error {
	p, err := l.read(r)
	if err != nil {
		return err
	}
	p.Query.limit, p.Query.offset = listRows, (p.Page-1)*listRows
	if p.Rows, p.Total, err = l.load(r.Context(), p.Query); err != nil {
		return err
	}
	if status == http.StatusOK && p.outside(len(p.Rows)) {
		return seeOther(w, r, p.At(1))
	}
	if extra != nil {
		if p.Extra, err = extra(r); err != nil {
			return err
		}
	}
	return s.render(w, r, status, l.template, v, l.title, p)
}

// sendList answers a list as CSV.
func sendList[T any](s *server, l adminList[T]) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		p, err := l.read(r)
		if err != nil {
			return err
		}
		p.Query.limit = maxListRows
		rows, _, err := l.load(r.Context(), p.Query)
		if err != nil {
			return err
		}
		table := [][]string{l.columns}
		for _, row := range rows {
			table = append(table, l.cells(row))
		}
		sendCSV(w, fmt.Sprintf("%s_%s.csv", strings.TrimPrefix(l.path, "/admin/"), s.now().UTC().Format(time.DateOnly)), table)
		return nil
	}
}

// sendCSV answers a table as a file (RFC 4180), whose texts no spreadsheet
// takes for formulas.
func sendCSV(w http.ResponseWriter, name string, table [][]string) {
	for _, row := range table {
		for i, text := range row {
			row[i] = spreadsheetText(text)
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8")
	h.Set("Content-Disposition", attachment(name))
	h.Set("Cache-Control", "no-store")
	_ = csv.NewWriter(w).WriteAll(table) // the client is gone if this fails
}

// spreadsheetText keeps a spreadsheet from taking a text for a formula.
func spreadsheetText(text string) string {
	if strings.IndexAny(text, formulaStarts) == 0 {
		return "'" + text
	}
	return text
}

// csvTime is a time in a CSV; nil is empty.
func csvTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
