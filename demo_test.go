package main

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// The demo fills a server that has its rate limits on, and a second run adds
// nothing.
func TestDemo(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.testing = false })
	var counts []string
	for range 2 {
		var out strings.Builder
		if err := fillDemo(t.Context(), st.url, operatorToken(st.cfg.secretKey, time.Now()), &out); err != nil {
			t.Fatal(err)
		}
		same(t, "says how to sign in", strings.Contains(out.String(), "Sign in as mira"), true)
		var count string
		if err := st.db.QueryRow(t.Context(), `
			select concat_ws(' ', (select count(*) from "user"), (select count(*) from project), (select count(*) from project where status = 'published'),
			(select count(*) from project_step), (select count(*) from comment), (select count(*) from "like"), (select count(*) from project_file),
			(select count(*) from project_image), (select count(*) from pageview))`).Scan(&count); err != nil {
			t.Fatal(err)
		}
		counts = append(counts, count)
	}
	same(t, "nothing twice", counts[1], counts[0])
	same(t, "people and projects", strings.HasPrefix(counts[0], "12 6 5 "), true)
	for _, path := range []string{"/", "/projects", "/thread?url=index.html"} {
		st.visitor().page(path).want(http.StatusOK)
	}
	err := fillDemo(t.Context(), st.url, "", &strings.Builder{})
	same(t, "without the operator's token", hasStatus(err, http.StatusTooManyRequests), true)
	err = fillDemo(t.Context(), "http://127.0.0.1:1", "", &strings.Builder{})
	same(t, "no server", err != nil && strings.Contains(err.Error(), "start it first"), true)
}
