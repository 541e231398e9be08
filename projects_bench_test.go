package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// tripCounter counts the trips to the database: a batch is one.
type tripCounter struct{ trips atomic.Int64 }

func (c *tripCounter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.trips.Add(1)
	return ctx
}
func (c *tripCounter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (c *tripCounter) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	c.trips.Add(1)
	return ctx
}
func (c *tripCounter) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (c *tripCounter) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// counted puts a tripCounter on a site's connections.
func (st *site) counted() *tripCounter {
	st.t.Helper()
	counter := &tripCounter{}
	cfg := st.db.Config()
	cfg.ConnConfig.Tracer = counter
	db, err := pgxpool.NewWithConfig(st.t.Context(), cfg)
	if err != nil {
		st.t.Fatal(err)
	}
	st.t.Cleanup(db.Close)
	st.db = db
	return counter
}

// A project and the list of projects cost the trips that they may.
func TestTripsToTheDatabase(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	id := alice.fullProject("Robot", map[string]any{"license": "MIT"})
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	counter := st.counted()
	for path, want := range map[string]int64{
		fmt.Sprintf("/api/projects/%d", id): 2, "/api/projects?tag=one&sort=popular": 1, "/api/projects?search=robot&per_page=5": 1, "/api/projects?difficulty=Expert": 1,
	} {
		nobody.get(path).want(http.StatusOK) // the first time prepares the statements
		before := counter.trips.Load()
		nobody.get(path + map[bool]string{true: "&", false: "?"}[len(path) > 20] + fmt.Sprint("x=", want)).want(http.StatusOK)
		if trips := counter.trips.Load() - before; trips < 1 || trips > want {
			t.Errorf("%s makes %d trips, want 1 to %d", path, trips, want)
		}
	}
}

// BenchmarkProjects measures a project with all its parts, and the list of
// 100 000 projects: pages by number and by cursor, and searches for words of
// which few, some and many projects have one. Beside the time it reports the
// trips to the database and the size of the answer.
func BenchmarkProjects(b *testing.B) {
	dir, err := os.MkdirTemp(".", "bench-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	own, err := startCluster(b.Context(), clusterOptions{dir: filepath.Join(dir, "postgres")})
	if err != nil {
		b.Fatal(err)
	}
	defer own.stop()
	db, err := openMigrated(b.Context(), own.dsn(), quiet)
	if err != nil {
		b.Fatal(err)
	}
	db.Close()
	st := newSiteOn(b, own.dsn())
	started := time.Now()
	conn, err := pgx.Connect(b.Context(), own.dsn())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(context.Background())
	// Each word is rarer than the one before, as in texts.
	st.exec(`create function words(n int, seed int) returns text language sql as $$
		select string_agg('w' || floor(power(20000, abs(hashint4(seed * 131 + g)) / 2147483648.0)), ' ') from generate_series(1, n) g $$`)
	for _, sql := range []string{
		`set session_replication_role = replica`,
		`insert into "user" (username, email, hashed_password) select 'user' || n, 'user' || n || '@example.com', 'x' from generate_series(1, 5000) n`,
		`insert into project (title, description, author_id, status, created_at, like_count, view_count, download_count, difficulty_level)
			select words(4, n), words(60, n + 1000000), 1 + n % 5000, case when n % 20 = 0 then 'draft' else 'published' end, now() - n * interval '7 minutes',
				abs(hashint4(n)) % 200, abs(hashint4(n + 7)) % 20000, abs(hashint4(n + 9)) % 3000, (array['Beginner', 'Intermediate', 'Advanced'])[1 + n % 3]
			from generate_series(1, 100000) n`,
		`insert into project_step (project_id, step_number, title, content) select p.id, g, words(3, p.id * 7 + g), words(40, p.id * 31 + g) from project p, generate_series(1, 2) g`,
		`select index_projects(array(select id from project))`,
		`set session_replication_role = origin`,
		`insert into project_tag (project_id, tag_name) select id, 'tag' || id % 50 from project where id % 2 = 0`,
		`vacuum analyze`,
	} {
		if _, err := conn.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("100 000 projects made in %s", time.Since(started).Round(time.Second))
	st.exec(`insert into project_step (project_id, step_number, title, content) select 1, g, words(3, g), words(40, g) from generate_series(10, 209) g`)
	st.exec(`insert into bill_of_material (project_id, item_name, price_cents) select 1, words(3, g), g from generate_series(1, 500) g`)
	st.exec(`insert into project_file (project_id, filename, original_filename) select 1, 'f' || g || '.py', 'f.py' from generate_series(1, 100) g`)
	st.exec(`insert into project_image (project_id, filename, original_filename) select 1, 'i' || g || '.png', 'i.png' from generate_series(1, 60) g`)
	counter := st.counted()
	handler := st.handler()
	get := func(b *testing.B, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusOK {
			b.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return w
	}
	// The cursor to a page, as if one had turned the pages.
	cursor := func(page int) string {
		var key string
		var id int
		if err := st.db.QueryRow(b.Context(), `select created_at::text, id from project where status = 'published' order by created_at desc, id desc offset $1 limit 1`, (page-1)*20-1).Scan(&key, &id); err != nil {
			b.Fatal(err)
		}
		return st.sealCursor(galleryQuery{Sort: "recent"}, galleryCursor{key, id, page - 1})
	}
	for _, c := range []struct{ name, path string }{
		{"detail", "/api/projects/2"},
		{"detail of 200 steps, 500 materials, 100 files, 60 images", "/api/projects/1"},
		{"gallery", "/api/projects"},
		{"gallery, page 4 500 by number", "/api/projects?page=4500"},
		{"gallery, page 4 500 by cursor", "/api/projects?after=" + cursor(4500)},
		{"gallery by likes", "/api/projects?sort=popular"},
		{"gallery of a tag", "/api/projects?tag=tag8"},
		{"search, few", "/api/projects?search=w15003"},
		{"search, 1 %", "/api/projects?search=w1990"},
		{"search, two words and a beginning", "/api/projects?search=w50+w90+w12"},
		{"search, most", "/api/projects?search=w3"},
	} {
		b.Run(c.name, func(b *testing.B) {
			get(b, c.path)
			b.ReportAllocs()
			before, n := counter.trips.Load(), 0
			var size int64
			for i := 0; b.Loop(); i++ {
				size, _ = io.Copy(io.Discard, get(b, c.path+map[bool]string{true: "&", false: "?"}[len(c.path) > len("/api/projects/1")]+fmt.Sprint("x=", i)).Body)
				n++
			}
			b.ReportMetric(float64(counter.trips.Load()-before)/float64(n), "trips")
			b.ReportMetric(float64(size)/1024, "KB")
		})
	}
}
