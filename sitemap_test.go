package main

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// sitemapShape is a sitemap, or an index of sitemaps.
type sitemapShape struct {
	XMLName xml.Name
	URLs    []struct {
		Loc     string `xml:"loc"`
		Lastmod string `xml:"lastmod"`
	} `xml:"url"`
	Sitemaps []struct {
		Loc string `xml:"loc"`
	} `xml:"sitemap"`
}

func (p *person) sitemap(path string) (m sitemapShape) {
	p.t.Helper()
	a := p.get(path).want(http.StatusOK)
	if err := xml.Unmarshal(a.body, &m); err != nil {
		p.t.Fatal(err)
	}
	same(p.t, "namespace", m.XMLName.Space, "http://www.sitemaps.org/schemas/sitemap/0.9")
	return m
}

func TestSitemap(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	one := alice.draft("Tom & Jerry é <3")
	alice.post(fmt.Sprintf("/api/projects/%d/publish", one), nil).want(http.StatusOK)
	alice.draft("Secret")
	var locs []string
	for _, u := range nobody.sitemap("/sitemap.xml").URLs {
		locs = append(locs, strings.TrimPrefix(u.Loc, st.cfg.publicURL))
		if strings.HasPrefix(u.Loc, st.cfg.publicURL+"/p/") {
			same(t, "lastmod", len(u.Lastmod), len("2026-01-02T03:04:05Z"))
		}
	}
	same(t, "addresses", strings.Join(locs, " "), fmt.Sprintf("/ /projects /privacy /terms /p/alice/%d-tom-jerry-%%C3%%A9-3", one))
	for _, loc := range locs {
		nobody.page(loc).want(http.StatusOK)
	}
	robots := nobody.get("/robots.txt").want(http.StatusOK).shows("User-agent: *", "Disallow: /api/\n", "Sitemap: "+st.cfg.publicURL+"/sitemap.xml")
	same(t, "type", robots.header.Get("Content-Type"), "text/plain; charset=utf-8")

	// More than one sitemap may hold.
	st.exec(`alter table project disable trigger user`)
	st.exec(`insert into project (title, description, author_id, status) select 'P', 'D', 1, 'published' from generate_series(1, 50100)`)
	index := nobody.sitemap("/sitemap.xml")
	same(t, "sitemaps", len(index.Sitemaps), 2)
	seen := map[string]bool{}
	for i, m := range index.Sitemaps {
		u, err := url.Parse(m.Loc)
		if err != nil {
			t.Fatal(err)
		}
		part := nobody.sitemap(u.Path)
		same(t, "size", len(part.URLs), []int{49_994, 111}[i])
		for _, u := range part.URLs {
			seen[u.Loc] = true
		}
	}
	same(t, "all of them once", len(seen), 50_105)
	for _, wrong := range []string{"x.xml", "1", "-1.xml", "99999999999.xml"} {
		nobody.get("/sitemaps/" + wrong).want(http.StatusNotFound)
	}
}
