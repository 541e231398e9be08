package main

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// showRobots answers which pages are of no use to search engines (RFC 9309), and
// where the sitemap is.
func (s *server) showRobots(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=86400")
	_, err := fmt.Fprintf(w, `User-agent: *
Allow: /api/projects/*/images/
Disallow: /api/
Disallow: /account
Disallow: /admin
Disallow: /interact/
Disallow: /analytics/
Disallow: /login
Disallow: /projects/*/edit
Disallow: /projects/new
Disallow: /thread

Sitemap: %s/sitemap.xml
`, s.cfg.publicURL)
	return err
}

// sitemapSize is how many projects one sitemap lists; it may have 50 000
// addresses (sitemaps.org), and the first one has the pages beside them.
const sitemapSize = 49_990

// sitemapPages are the pages that everybody may find, beside the projects.
var sitemapPages = []string{"/", "/projects", "/privacy", "/terms"}

// sitemapRow is a published project in a sitemap.
type sitemapRow struct {
	ID              int
	Title, Username string
	UpdatedAt       time.Time
}

// showSitemap answers the published projects and the public pages; where they
// are too many for one sitemap, the index of several.
func (s *server) showSitemap(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := s.promptly(r)
	defer cancel()
	// The project after which each sitemap begins.
	rows, err := s.db.Query(ctx, `
		select id from (select id, row_number() over (order by id) as place from project where status = 'published') p
		where place % $1 = 0 and id < (select max(id) from project where status = 'published') order by id`, sitemapSize)
	if err != nil {
		return err
	}
	ends, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return err
	}
	if len(ends) == 0 {
		return s.writeSitemap(w, r, 0)
	}
	return writeXML(w, r, "sitemapindex", func(out io.Writer) error {
		for _, after := range append([]int{0}, ends...) {
			fmt.Fprintf(out, "<sitemap><loc>%s/sitemaps/%d.xml</loc></sitemap>\n", escapeXML(s.cfg.publicURL), after)
		}
		return nil
	})
}

// showSitemapPart answers the sitemap of the projects after the one that its
// name says.
func (s *server) showSitemapPart(w http.ResponseWriter, r *http.Request) error {
	name, found := strings.CutSuffix(r.PathValue("file"), ".xml")
	after, err := strconv.ParseInt(name, 10, 32)
	if !found || err != nil || after < 0 {
		return fail(http.StatusNotFound, "There is no such sitemap")
	}
	return s.writeSitemap(w, r, int(after))
}

// writeSitemap writes the sitemap that begins after a project, and as the first
// one with the pages. Projects are read in portions, so that neither memory nor
// a slow client's connection to the database grows with their number.
func (s *server) writeSitemap(w http.ResponseWriter, r *http.Request, after int) error {
	const portion = 1000
	read := func(limit int) ([]sitemapRow, error) {
		ctx, cancel := s.promptly(r)
		defer cancel()
		rows, err := s.db.Query(ctx, `
			select p.id, p.title, u.username, p.updated_at from project p join "user" u on u.id = p.author_id
			where p.status = 'published' and p.id > $1 order by p.id limit $2`, after, limit)
		if err != nil {
			return nil, err
		}
		return pgx.CollectRows(rows, pgx.RowToStructByName[sitemapRow])
	}
	list, err := read(portion)
	if err != nil {
		return err
	}
	return writeXML(unhurried(w, r), r, "urlset", func(out io.Writer) error {
		if after == 0 {
			for _, page := range sitemapPages {
				fmt.Fprintf(out, "<url><loc>%s</loc></url>\n", escapeXML(s.cfg.publicURL+page))
			}
		}
		for left := sitemapSize - len(list); len(list) > 0; left -= len(list) {
			for _, p := range list {
				address := s.cfg.publicURL + project{ID: p.ID, Title: p.Title, AuthorUsername: p.Username}.Path()
				fmt.Fprintf(out, "<url><loc>%s</loc><lastmod>%s</lastmod></url>\n", escapeXML(address), p.UpdatedAt.Format(time.RFC3339))
				after = p.ID
			}
			if list, err = read(min(portion, left)); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeXML answers a document of sitemaps.org as it is made. An error in the
// middle breaks the connection: the status is sent by then.
func writeXML(w http.ResponseWriter, r *http.Request, root string, content func(out io.Writer) error) error {
	w.Header().Set("Content-Type", "application/xml; charset=utf-8")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s<%s xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n", xml.Header, root)
	if err := content(out); err != nil {
		infoOf(r).err = err
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(out, "</%s>\n", root)
	_ = out.Flush() // the client is gone if this fails
	return nil
}

func escapeXML(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
