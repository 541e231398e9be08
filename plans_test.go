package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// manyRows fills every table that grows with a site's use, so far that
// reading all of one costs more than an index.
const manyRows = `
	set session_replication_role = replica; -- the counters are written below
	insert into "user" (id, username, email, hashed_password, last_login) select n, 'user' || n, 'user' || n || '@example.com', 'x', now() - n * interval '1 minute' from generate_series(1001, 11000) n;
	insert into session (user_id) select n from generate_series(1001, 11000) n;
	insert into accountlog (user_id, action, changed_at) select 1001 + n % 10000, 'login', now() - n * interval '1 minute' from generate_series(1, 20000) n;
	insert into "like" (user_id, url) select 1001 + n % 10000, 'page/' || n / 20 from generate_series(1, 20000) n;
	insert into "like" (user_id, entity_type, entity_id) select 1001 + n % 10000, 'project', 1001 + n / 20 from generate_series(1, 10000) n;
	insert into comment (id, user_id, url, content, created_at) select n + 1000, 1001 + n % 10000, 'page/' || n / 20, 'Comment', now() - n * interval '1 minute' from generate_series(1, 20000) n;
	insert into comment (id, user_id, entity_type, entity_id, content) select n + 50000, 1001 + n % 10000, 'project', 1001 + n / 20, 'Comment' from generate_series(1, 10000) n;
	update comment set parent_comment_id = id - 1 where id % 20 = 5;
	insert into commentlike (comment_id, user_id) select 1001 + n % 20000, 1001 + n % 7919 from generate_series(1, 20000) n on conflict do nothing;
	insert into commentversion (comment_id, content) select 1001 + n % 20000, 'Before' from generate_series(1, 10000) n;
	insert into comment_report (comment_id, user_id, reason, cleared_at) select 1001 + n % 20000, 1001 + n % 10000, 'spam', now() from generate_series(1, 10000) n;
	insert into warning (user_id, text, seen_at) select 1001 + n % 10000, 'Please', now() from generate_series(1, 10000) n;
	insert into page_count (url, like_count, comment_count, last_liked_at) select 'page/' || n, 20, 20, now() from generate_series(0, 10000) n;
	insert into pageview (url, viewed_at, visitor) select 'page/' || n / 20, now() - n * interval '1 minute', sha256(n::text::bytea) from generate_series(1, 20000) n;
	insert into page_total (url, view_count, unique_visitors, last_viewed_at) select 'page/' || n, n, 20, now() from generate_series(0, 10000) n;
	insert into page_day (page_id, day, view_count) select id, current_date - k, 1 from page_total, generate_series(0, 2) k;
	insert into page_visitor (page_id, visitor) select id, sha256(k::text::bytea) from page_total, generate_series(0, 2) k;
	insert into referrer_day (page_id, day, host, view_count) select id, current_date - k, 'example.com', 1 from page_total, generate_series(0, 1) k;
	insert into page_alias (old_url, new_url) select 'old/' || n, 'page/' || n from generate_series(1, 10000) n;
	insert into project (id, title, description, author_id, status, created_at) select n, 'Project ' || n, case n % 50 when 0 then 'A robot' else 'A lamp' end, 1001 + n % 5000, case n % 10 when 0 then 'draft' else 'published' end, now() - n * interval '1 minute' from generate_series(1001, 5000) n;
	insert into project_tag (project_id, tag_name) select n, 'tag' || n % 500 from generate_series(1001, 5000) n;
	insert into tag_tally (tag_name, project_count) select tag_name, count(*) from project_tag group by tag_name;
	insert into project_step (project_id, step_number, title, content) select 1001 + n / 5, n % 5 + 1, 'Step', 'Turn it' from generate_series(0, 19990) n;
	insert into bill_of_material (project_id, item_name) select 1001 + n / 5, 'Screw' from generate_series(0, 19990) n;
	insert into component (id, name) select n, 'Part ' || n from generate_series(1001, 11000) n;
	insert into project_component (project_id, component_id) select n, n from generate_series(1001, 5000) n;
	insert into project_file (project_id, filename, original_filename, file_size, file_type) select 1001 + n / 5, n || '.txt', 'a.txt', 1, 'text/plain' from generate_series(0, 19990) n;
	insert into project_image (project_id, filename, original_filename) select 1001 + n / 5, n || '.png', 'a.png' from generate_series(0, 19990) n;
	insert into project_link (project_id, url, title, link_type) select 1001 + n / 5, 'https://example.com', 'a', 'video' from generate_series(0, 19990) n;
	insert into tool_material (project_id, name, tool_type) select 1001 + n / 5, 'a', 'tool' from generate_series(0, 19990) n;
	insert into step_image (project_id, step_id, image_id, place) select project_id, min(s.id), min(i.id), 1 from project_step s join project_image i using (project_id) group by project_id;
	insert into backup_code (user_id, hash) select 1001 + n % 10000, sha256(n::text::bytea) from generate_series(1, 20000) n;
	insert into mail_token (hash, user_id, purpose, email, expires_at) select sha256(n::text::bytea), n, 'verify', 'a', now() from generate_series(1001, 11000) n;
	insert into failed_attempt (key, failures, last_at) select sha256(n::text::bytea), 1, now() from generate_series(1, 10000) n;
	insert into retired_name (hash) select sha256(n::text::bytea) from generate_series(1, 10000) n;
	insert into kept_form (browser, form, kept_at) select sha256(n::text::bytea), 'x', now() from generate_series(1, 10000) n;
	set session_replication_role = origin;
	select index_projects(array(select id from project));
	analyze`

// TestPlansOnABigDatabase uses the site with many rows in every table that
// grows. PostgreSQL tells the plan of every statement, those of the triggers among
// them, and none may read such a table from one end to the other.
func TestPlansOnABigDatabase(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	if _, err := st.db.Exec(t.Context(), strings.ReplaceAll(manyRows, "set session_replication_role = origin;", "set session_replication_role = origin; set statement_timeout = 0;")); err != nil {
		t.Fatal(err)
	}
	alice, root, reader := st.member("alice"), st.admin("root"), st.visitor()
	plans := &plans{seen: map[string]string{}}
	st.explainTo(plans)

	own := alice.post("/api/projects", map[string]any{"title": "Arm", "description": "Moves", "tags": []string{"tag1"}}).want(http.StatusCreated).id()
	path := fmt.Sprintf("/api/projects/%d", own)
	alice.post(path+"/steps", map[string]any{"title": "a", "content": "b"}).want(http.StatusCreated)
	alice.post(path+"/bom", map[string]any{"item_name": "Screw"}).want(http.StatusCreated)
	alice.post(path+"/components", map[string]any{"component_id": 1500}).want(http.StatusCreated)
	alice.put(path, map[string]any{"title": "Arm 2", "tags": []string{"tag2"}}).want(http.StatusOK)
	alice.post(path+"/publish", nil).want(http.StatusOK)
	alice.post("/interact/like", map[string]any{"url": "page/7"}).want(http.StatusOK)
	alice.post("/api/likes/entity", map[string]any{"entity_type": "project", "entity_id": 1501}).want(http.StatusCreated)
	comment := alice.comment("page/7", "Hello", 0)
	alice.post("/interact/entity/comment", map[string]any{"entity_type": "project", "entity_id": 1501, "content": "Hello"}).want(http.StatusOK)
	root.post(fmt.Sprintf("/interact/comments/%d/like", comment), nil).want(http.StatusOK)
	root.post(fmt.Sprintf("/interact/comments/%d/report", comment), map[string]any{"reason": "spam"}).want(http.StatusOK)
	alice.put(fmt.Sprintf("/interact/comments/%d", comment), map[string]any{"content": "Hello again"}).want(http.StatusOK)
	reader.header.Set("User-Agent", firefox)
	reader.post("/analytics/page-view", map[string]any{"url": "old/9", "referrer": "https://forum.example/"}).want(http.StatusOK)
	st.visitor().post("/api/login", url.Values{"username": {"user1700"}, "password": {"Wrong-1-Word"}}).want(http.StatusUnauthorized)
	for _, get := range []struct {
		who   *person
		paths []string
	}{
		{alice, []string{
			"/api/me", "/api/me/activity", "/api/me/sessions", "/api/me/warnings", "/account", "/profile/me", "/api/projects", "/api/projects?status_filter=draft", "/projects", path, path + "/download",
			fmt.Sprintf("/interact/comments/%d/versions", comment),
		}},
		{reader, []string{
			"/interact/likes/page%2F7", "/api/likes/count?url=page/7", "/interact/comments/old%2F7", "/interact/entity/comments?entity_type=project&entity_id=1501", "/interact/comments/1007/likers",
			"/analytics/page-views/old%2F7", "/analytics/page-views/page%2F7/timeline?period=annual", "/analytics/most-viewed", "/interact/most-liked", "/api/summary?url=old/7&url=page/8",
			"/profile/user1500", "/profile/user1500/comments", "/api/users/user1500/comments_count", "/api/projects/1501", "/api/projects/1501/steps", "/api/projects/1501/images", "/",
			"/api/projects?sort=recent", "/api/projects?sort=popular", "/api/projects?sort=views", "/api/projects?sort=downloads", "/api/projects?tag=tag7", "/api/projects?author_id=1500", "/api/projects?search=robo&tag=tag7", "/api/projects?search=lamp",
			"/feeds/comments.atom", "/feeds/comments.atom?url=page/7", "/feeds/projects.atom", "/feeds/projects.atom?tag=tag7", "/feeds/users/user1500.atom", "/thread?url=page/7", "/api/components/search?q=part",
		}},
		{root, []string{"/api/admin/moderation", "/interact/comments/flagged"}},
	} {
		for _, path := range get.paths {
			get.who.get(path).want(http.StatusOK)
		}
	}
	root.post(fmt.Sprintf("/interact/comments/%d/hide", comment), nil).want(http.StatusOK)
	alice.delete(fmt.Sprintf("/interact/comments/%d", comment)).want(http.StatusOK)
	alice.delete(path).want(http.StatusNoContent)
	alice.get("/logout?redirect=false").want(http.StatusOK)

	plans.mu.Lock()
	defer plans.mu.Unlock()
	if plans.statements < 300 {
		t.Fatalf("only %d plans were told", plans.statements)
	}
	for _, sql := range slices.Sorted(maps.Keys(plans.seen)) {
		t.Errorf("reads all of %s:\n%s", plans.seen[sql], oneLine(sql))
	}
}

// plans are what PostgreSQL tells of what it does.
type plans struct {
	mu         sync.Mutex
	statements int
	seen       map[string]string // tables that are read as a whole, by statement
}

// fewRows are the tables that stay small, or of which few rows are of a kind
// that anybody looks for. Components are searched by any part of their names, and
// the words of a few thousand projects are read faster than their index.
var fewRows = map[string]bool{"job": true, "outbox": true, "media_file": true, "image_size": true, "component": true, "project_search": true}

// explainTo gives the site connections on which every statement is explained
// (auto_explain).
func (st *site) explainTo(p *plans) {
	st.t.Helper()
	cfg := st.db.Config()
	cfg.ConnConfig.RuntimeParams["options"] = "-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 -c auto_explain.log_level=notice " +
		"-c auto_explain.log_format=json -c auto_explain.log_nested_statements=on -c auto_explain.log_analyze=on -c auto_explain.log_timing=off -c random_page_cost=1.1"
	cfg.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		_, text, found := strings.Cut(n.Message, "plan:\n")
		if !found {
			return
		}
		var told struct {
			Query string `json:"Query Text"`
			Plan  plan
		}
		if err := json.Unmarshal([]byte(text), &told); err != nil {
			st.t.Errorf("%v in %s", err, text)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.statements++
		if table := told.Plan.readsAll(); table != "" {
			p.seen[told.Query] = table
		}
	}
	explained, err := pgxpool.NewWithConfig(st.t.Context(), cfg)
	if err != nil {
		st.t.Fatal(err)
	}
	st.t.Cleanup(explained.Close)
	st.db = explained
}

// plan is a node of a plan in JSON.
type plan struct {
	NodeType string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Loops    float64 `json:"Actual Loops"` // 0: it was not needed
	Plans    []plan
}

// readsAll is the growing table that a plan reads as a whole, if there is one.
func (p plan) readsAll() string {
	if p.NodeType == "Seq Scan" && p.Loops > 0 && !fewRows[p.Relation] {
		return p.Relation
	}
	for _, part := range p.Plans {
		if table := part.readsAll(); table != "" {
			return table
		}
	}
	return ""
}

// However many people publish, unpublish, tag and delete at once, the tallies
// are what counting gives, and nobody waits in a circle.
func TestTallies(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	var all sync.WaitGroup
	for n := range 6 {
		p := st.member(fmt.Sprint("person", n))
		all.Go(func() {
			tags := [][]string{{"a", "b"}, {"b", "c"}, {"c", "a"}, {}}
			for k := range 12 {
				id := p.post("/api/projects", map[string]any{"title": "Arm", "description": "Moves", "tags": tags[(n+k)%4]}).want(http.StatusCreated).id()
				path := fmt.Sprintf("/api/projects/%d", id)
				p.post(path+"/publish", nil).want(http.StatusOK)
				p.put(path, map[string]any{"tags": tags[(n+k+1)%4]}).want(http.StatusOK)
				switch k % 3 {
				case 0:
					p.post(path+"/unpublish", nil).want(http.StatusOK)
					p.put(path, map[string]any{"tags": tags[(n+k+2)%4]}).want(http.StatusOK)
				case 1:
					p.delete(path).want(http.StatusNoContent)
				}
			}
		})
	}
	all.Wait()
	st.exec(`delete from "user" where username = 'person3'`)
	same(t, "drifted tallies", st.count(`
		select count(*) from tag_tally full join (
			select tag_name, count(*) as really from project_tag join project p on p.id = project_id where p.status = 'published' group by 1
			union all select '', count(*) from project where status = 'published') counted using (tag_name)
		where coalesce(project_count, 0) <> coalesce(really, 0)`), 0)
	var g struct{ Total int }
	st.visitor().get("/api/projects?tag=a").want(http.StatusOK).into(&g)
	same(t, "total of a tag", g.Total, st.count(`select count(*) from project p where status = 'published' and exists (select from project_tag where project_id = p.id and tag_name = 'a')`))
	if strings.Contains(st.logged.String(), "level=ERROR") {
		t.Fatal(st.logged.String())
	}
}
