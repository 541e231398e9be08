package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestSummaryOfManyPages(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	for _, p := range []*person{alice, bob} {
		p.post("/interact/like", map[string]any{"url": "/blog/a.html"}).want(http.StatusOK)
	}
	bob.post("/interact/like", map[string]any{"url": "b c?id=5"}).want(http.StatusOK)
	hidden := alice.comment("blog/a.html", "One", 0)
	reply := alice.comment("blog/a.html", "Two", hidden)
	alice.comment("blog/a.html", "Three", reply)
	st.exec(`update comment set is_hidden = true where id = $1`, hidden)
	for range 1200 {
		st.exec(`insert into pageview (url) values ('blog/a.html')`)
	}
	alice.post("/analytics/page-view", map[string]any{"url": "/"}).want(http.StatusOK)
	st.admin("root").post("/api/admin/urls/move", map[string]any{"old": "old.html", "new": "blog/a.html"}).want(http.StatusOK)

	type summary struct {
		URL                string `json:"url"`
		LikeCount          int    `json:"like_count"`
		CommentCount       int    `json:"comment_count"`
		ViewCount          int    `json:"view_count"`
		ViewCountFormatted string `json:"view_count_formatted"`
		UserHasLiked       bool   `json:"user_has_liked"`
	}
	ask := "/api/summary?" + url.Values{"url": {"/old.html", "never seen", "//blog/a.html", "", "b c?id=5", "blog/a.html", "never seen"}}.Encode()
	var got []summary
	a := alice.do(http.MethodGet, ask, nil, "Origin", "https://www.example.com").want(http.StatusOK).into(&got)
	same(t, "CORS", a.header.Get("Access-Control-Allow-Origin"), "https://www.example.com")
	want := []summary{
		{"old.html", 2, 2, 1200, "1.2k", true},
		{"never seen", 0, 0, 0, "0", false},
		{"blog/a.html", 2, 2, 1200, "1.2k", true},
		{"index.html", 0, 0, 1, "1", false},
		{"b c?id=5", 1, 0, 0, "0", false},
		{"blog/a.html", 2, 2, 1200, "1.2k", true},
		{"never seen", 0, 0, 0, "0", false},
	}
	same(t, "answers", len(got), len(want))
	for i := range want {
		same(t, ask, got[i], want[i])
	}
	st.visitor().get("/api/summary?url=blog/a.html").want(http.StatusOK).into(&got)
	same(t, "a stranger's", got[0], summary{"blog/a.html", 2, 2, 1200, "1.2k", false})

	for query, detail := range map[string]string{
		"":                                  "required",
		"?uri=a":                            "required",
		"?" + strings.Repeat("url=a&", 101): "At most 100",
		"?url=" + strings.Repeat("x", 2001): "at most 2000 characters",
		"?url=a&url=" + strings.Repeat("ä", 1301): "at most 2000 characters and 2600 bytes",
		"?url=%00": "NUL",
		"?url=%ff": "UTF-8",
	} {
		st.visitor().get("/api/summary"+query).detail(http.StatusUnprocessableEntity, detail)
	}
	st.visitor().get("/api/summary?" + strings.Repeat("url=a&", 100)).want(http.StatusOK).into(&got)
	same(t, "a hundred", len(got), 100)
}
