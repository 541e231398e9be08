package main

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// No text is too strange or too long to be indexed and asked for.
func TestSearchTakesAnyText(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	var many strings.Builder
	for i := range 33_000 {
		many.WriteString(string([]rune{rune(20000 + i%20000), rune(0x10400 + i/1000), ' '}))
	}
	for _, text := range []string{many.String(), strings.Repeat("ﷺ", 33_000), strings.Repeat("x", 100_000), "'' \\ : & | ! ( ) <-> *", "\u0301\u0301", "ﷺ'a"} {
		st.exec(`update project set title = left($2, 255), description = $2, background = $2 where id = $1`, id, text)
		for word := range strings.FieldsSeq(truncate(text, 200)) {
			st.exec(`select search_query(array[$1, ''])`, word)
		}
	}
}

// searched is the titles that a query finds, in their order.
func (p *person) searched(query string) string {
	p.t.Helper()
	var g galleryShape
	p.get("/api/projects?" + query).want(http.StatusOK).into(&g)
	return g.titles()
}

func TestSearch(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	make := func(p *person, fields map[string]any) int {
		id := p.post("/api/projects", with(fields, "description", cmp.Or(fields["description"], any("D")))).want(http.StatusCreated).id()
		p.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
		return id
	}
	clock := make(alice, map[string]any{"title": "Clock", "tags": []string{"arduino", "display"}, "difficulty_level": "Beginner"})
	cafe := make(alice, map[string]any{"title": "Café", "description": "A waiter for Kaffeehäuser in Łódź, Größe M"})
	make(bob, map[string]any{"title": "Walker", "description": "Walks with motors of an Arduino Uno; see https://example.com/legs.html", "difficulty_level": "Expert"})
	make(bob, map[string]any{"title": "Arduino", "description": "Nothing else"})
	alice.draft("Arduino-draft")
	for _, c := range []struct{ query, want string }{
		{"search=ardu", "Arduino Clock Walker"}, // title before tag before description
		{"search=ARDUINO", "Arduino Clock Walker"},
		{"search=duino", ""},
		{"search=motor", "Walker"},
		{"search=motoring", "Walker"}, // its stem is motor
		{"search=walking", "Walker"},
		{"search=leg", "Walker"},
		{"search=example.com/legs", "Walker"},
		{"search=arduino+motors", "Walker"},
		{"search=arduino+boat", ""},
		{"search=cafe", "Café"},
		{"search=CAF%C3%89", "Café"},
		{"search=cafe%CC%81", "Café"}, // a combining accent
		{"search=kaffeehauser", "Café"},
		{"search=lodz", "Café"},
		{"search=Gr%C3%B6sse", "Café"},
		{"search=bob", "Arduino Walker"},
		{"search=ardu&tag=display", "Clock"},
		{"search=ardu&author_id=2&sort=recent", "Arduino Walker"},
		{"search=ardu&difficulty=expert", "Walker"},
		{"search=ardu&sort=recent", "Arduino Walker Clock"},
		{"difficulty=Beginner", "Clock"},
		{"difficulty=", "Arduino Walker Café Clock"},
		{"sort=relevance", "Arduino Walker Café Clock"},
		{"search=%27+%26+%7C+%21+%28+%3A*", ""},
		{"search=the", ""},
	} {
		if got := nobody.searched(c.query); got != c.want {
			t.Errorf("%s finds %q, want %q", c.query, got, c.want)
		}
	}
	same(t, "one's own drafts too", alice.searched("search=draft"), "Arduino-draft")

	// What is searched follows what is changed.
	step := alice.post(fmt.Sprintf("/api/projects/%d/steps", clock), map[string]any{"title": "Solder", "content": "the pendulum"}).want(http.StatusCreated).id()
	same(t, "a step", nobody.searched("search=pendul"), "Clock")
	alice.put(fmt.Sprintf("/api/projects/%d/steps/%d", clock, step), map[string]any{"content": "the escapement"}).want(http.StatusOK)
	same(t, "a changed step", nobody.searched("search=escape")+nobody.searched("search=pendul"), "Clock")
	alice.delete(fmt.Sprintf("/api/projects/%d/steps/%d", clock, step)).want(http.StatusNoContent)
	same(t, "a deleted step", nobody.searched("search=escape"), "")
	component := alice.post("/api/components", map[string]any{"name": "DS3231"}).want(http.StatusCreated).id()
	used := alice.post(fmt.Sprintf("/api/projects/%d/components", clock), map[string]any{"component_id": component}).want(http.StatusCreated).id()
	same(t, "a component", nobody.searched("search=ds3231"), "Clock")
	alice.delete(fmt.Sprintf("/api/projects/%d/components/%d", clock, used)).want(http.StatusNoContent)
	same(t, "no component", nobody.searched("search=ds3231"), "")
	alice.put(fmt.Sprintf("/api/projects/%d", cafe), map[string]any{"title": "Bistro", "tags": []string{"croissant"}}).want(http.StatusOK)
	same(t, "title and tags", nobody.searched("search=cafe")+nobody.searched("search=bist+crois"), "Bistro")
	alice.put(fmt.Sprintf("/api/projects/%d", cafe), map[string]any{"tags": []string{}}).want(http.StatusOK)
	same(t, "no tags", nobody.searched("search=croissant"), "")
}

// A search finds the newest of those that fit, in each of its orders.
func TestSearchFindsTheNewest(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	st.exec(fmt.Sprintf(`
		set session_replication_role = replica; -- no tallies, which take their time
		insert into project (title, description, author_id, status, like_count)
			select 'P' || n, 'A robot', 1, case when n %% 11 = 0 then 'draft' else 'published' end, n from generate_series(1, %d) n;
		set session_replication_role = origin;
		select index_projects(array(select id from project))`, maxFound/10*11+20))
	nobody := st.visitor()
	var g galleryShape
	nobody.get("/api/projects?search=robot&per_page=100&page=5").want(http.StatusOK).into(&g)
	same(t, "found, and the last page", fmt.Sprint(g.Total, len(g.Projects), g.Projects[99].Title), "500 100P21")
	nobody.get("/api/projects?search=robot&sort=popular&per_page=1").want(http.StatusOK).into(&g)
	same(t, "by likes", fmt.Sprint(g.Total, g.titles()), "500P570")
	nobody.get("/api/projects?search=p19").want(http.StatusOK).into(&g)
	same(t, "another word finds older ones", strings.Contains(" "+g.titles()+" ", " P19 "), true)
	same(t, "the page says so", strings.Contains(string(nobody.page("/projects?search=robot").want(http.StatusOK).body), "The newest 500 projects"), true)
}

// Pages by cursor hold every project once, in every order, whatever is added
// meanwhile.
func TestCursors(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	st.exec(`insert into project (title, description, author_id, status, like_count, view_count, download_count, created_at)
		select 'P' || n, 'A robot ' || repeat('arm ', n % 5), 1, case when n % 10 = 0 then 'draft' else 'published' end, n % 7, n % 3, n / 20, now() - (n % 11) * interval '1 day' from generate_series(1, 60) n`)
	type page struct {
		galleryShape
		NextCursor *string `json:"next_cursor"`
	}
	for _, query := range []string{"sort=recent", "sort=popular", "sort=views", "sort=downloads", "search=robot+arm", "search=robot&sort=recent", "author_id=1&status_filter=published&sort=most_liked"} {
		var pages, cursors []string
		for n := 1; n <= 6; n++ {
			var g page
			nobody.get(fmt.Sprintf("/api/projects?%s&per_page=11&page=%d", query, n)).want(http.StatusOK).into(&g)
			pages = append(pages, g.titles())
		}
		after := ""
		for n := 1; ; n++ {
			var g page
			nobody.get(fmt.Sprintf("/api/projects?%s&per_page=11%s", query, after)).want(http.StatusOK).into(&g)
			cursors = append(cursors, g.titles())
			same(t, "page", g.Page == n && g.Pages == (g.Total+10)/11 && g.Total == strings.Count(strings.Join(pages, " "), "P"), true)
			if g.NextCursor == nil {
				break
			}
			after = "&after=" + *g.NextCursor
		}
		same(t, query, strings.TrimSpace(strings.Join(cursors, "|")), strings.Trim(strings.Join(pages, "|"), "|"))
	}

	var g page
	nobody.get("/api/projects?per_page=5").into(&g)
	after := *g.NextCursor
	second := nobody.searched("per_page=5&after=" + after)
	for range 3 {
		alice.post(fmt.Sprintf("/api/projects/%d/publish", alice.draft("New")), nil).want(http.StatusOK)
	}
	same(t, "the second page, though there are new ones", nobody.searched("per_page=5&after="+after), second)
	same(t, "another size is the same list", strings.HasPrefix(nobody.searched("per_page=9&after="+after), second), true)
	for _, wrong := range []string{"sort=views&after=" + after, "search=robot&after=" + after, "tag=x&after=" + after, "after=" + after[1:], "after=x" + after, "after=", "after=AAAA", "after=" + strings.Repeat("A", 501)} {
		if wrong == "after=" {
			nobody.get("/api/projects?" + wrong).want(http.StatusOK)
			continue
		}
		nobody.get("/api/projects?"+wrong).detail(http.StatusUnprocessableEntity, "")
	}
	// Beyond the end.
	st.exec(`delete from project where created_at < now() - interval '1 hour'`)
	nobody.get("/api/projects?per_page=5&after=" + after).want(http.StatusOK).into(&g)
	same(t, "beyond the end", g.Total == 8 && len(g.Projects) == 0 && g.NextCursor == nil, true)
}
