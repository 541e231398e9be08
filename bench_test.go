package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// BenchmarkTakeover measures how long a database of the older service takes
// to become Chatter's: 5 million page views, 200 000 comments, 300 000 likes and
// 100 000 users, on a PostgreSQL that writes to the disk as in production. It
// reports rows per second and the peak memory of this process, which must not
// grow with the rows.
func BenchmarkTakeover(b *testing.B) {
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
	conn, err := pgx.Connect(b.Context(), own.dsn())
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range append(upTo(0, 17, ""), "versions_wrong.sql") {
		text, err := os.ReadFile(filepath.Join("testdata/legacy", name))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.PgConn().Exec(b.Context(), string(text)).ReadAll(); err != nil {
			b.Fatal(err)
		}
	}
	const rows = 5_000_000 + 200_000 + 300_000 + 100_000
	if _, err := conn.PgConn().Exec(b.Context(), `
		set synchronous_commit = off;
		insert into "user" (username, email, hashed_password) select 'user' || n, 'user' || n || '@example.com', repeat('x', 60) from generate_series(1, 100000) n;
		insert into "like" (user_id, url) select 1 + n / 3, case n % 3 when 0 then '/' else '' end || 'blog/' || n % 1000 || '.html' from generate_series(0, 299999) n;
		insert into comment (user_id, url, content, parent_comment_id)
			select 1 + n % 100000, '/blog/' || n % 1000 || '.html', repeat('A comment. ', 20), case when n > 1000 and n % 3 = 0 then n - 1000 end from generate_series(1, 200000) n;
		insert into pageview (url, ip_address, viewed_at, user_agent)
			select 'blog/' || n % 1000 || '.html', '192.0.2.' || n % 250, now() - n * interval '10 seconds', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36' from generate_series(1, 5000000) n;
		analyze`).ReadAll(); err != nil {
		b.Fatal(err)
	}
	conn.Close(context.Background())
	for b.Loop() {
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			b.Fatal(err)
		}
		started := time.Now()
		db, err := openMigrated(b.Context(), own.dsn(), quiet)
		if err != nil {
			b.Fatal(err)
		}
		db.Close()
		b.ReportMetric(rows/time.Since(started).Seconds(), "rows/s")
		b.ReportMetric(peakMemory(b), "peak-MB")
		b.StopTimer()
		m := migratorOn(b, own.dsn())
		if err := m.down(b.Context(), len(m.applied)); err != nil {
			b.Fatal(err)
		}
		m.close()
		b.StartTimer()
	}
}

// peakMemory is this process's largest resident set since the mark was reset,
// in MB (proc(5), VmHWM).
func peakMemory(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	b.Fatal("no VmHWM in /proc/self/status")
	return 0
}
