package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// sizes are how many rows a database has.
type sizes struct{ projects, comments, sessions, views int }

// fillScale fills a database, with the counters that triggers would have written.
// The texts of projects are pieced together from 2 000 phrases of 20 words, each
// word rarer than the one before; the word u and its number is in one project
// alone. Every page has 40 comments. The page many has all of the views.
const fillScale = `
	set session_replication_role = replica;
	create function pg_temp.words(n int, seed int) returns text language sql as $$
		select string_agg('w' || floor(power(20000, abs(hashint4(seed * 131 + g)) / 2147483648.0)), ' ') from generate_series(1, n) g $$;
	create function pg_temp.pick(n int, k int) returns int language sql immutable as $$ select (hashint4(n * 7 + k) & 2147483647) % 2000 $$;
	create temp table phrase as select n as nr, text, search_words(text, 'C') as words from (select n, pg_temp.words(20, n) as text from generate_series(0, 1999) n offset 0) p;
	insert into "user" (username, email, hashed_password) select 'user' || n, 'user' || n || '@example.com', 'x' from generate_series(1, greatest(SESSIONS / 10, 100)) n;
	insert into project (id, title, description, author_id, status, created_at, like_count, view_count, download_count, difficulty_level)
		select n, split_part(a.text, ' ', 1) || ' ' || split_part(b.text, ' ', 2) || ' u' || n, a.text || ' ' || b.text || ' ' || c.text, 1 + n % 100,
			case when n % 20 = 0 then 'draft' else 'published' end, now() - (PROJECTS - n) * interval '7 minutes',
			abs(hashint4(n)) % 200, abs(hashint4(n + 7)) % 20000, abs(hashint4(n + 9)) % 3000, (array['Beginner', 'Intermediate', 'Advanced'])[1 + n % 3]
		from generate_series(1, PROJECTS) s (n) join phrase a on a.nr = pg_temp.pick(s.n, 0) join phrase b on b.nr = pg_temp.pick(s.n, 1) join phrase c on c.nr = pg_temp.pick(s.n, 2) order by s.n;
	insert into project_step (project_id, step_number, title, content) select p.id, g, 'Step', text from project p cross join generate_series(1, 2) g join phrase on nr = pg_temp.pick(p.id, 2 + g);
	insert into project_tag (project_id, tag_name) select id, 'tag' || id % 50 from project where id % 2 = 0;
	insert into tag_tally select '', count(*) from project where status = 'published' on conflict (tag_name) do update set project_count = excluded.project_count;
	insert into tag_tally select tag_name, count(*) from project_tag join project p on p.id = project_id where p.status = 'published' group by 1;
	insert into project_search (project_id, words) select p.id, setweight(to_tsvector('simple', p.title), 'A') || a.words || b.words || c.words || d.words || e.words
		from project p join phrase a on a.nr = pg_temp.pick(p.id, 0) join phrase b on b.nr = pg_temp.pick(p.id, 1) join phrase c on c.nr = pg_temp.pick(p.id, 2)
			join phrase d on d.nr = pg_temp.pick(p.id, 3) join phrase e on e.nr = pg_temp.pick(p.id, 4) order by p.id;
	insert into comment (user_id, url, content, created_at) select 1 + n % 100, 'page/' || n / 40, 'A comment that says a little about the page, number ' || n, now() - n * interval '1 second' from generate_series(0, COMMENTS - 1) n;
	insert into page_count (url, comment_count) select 'page/' || n, 40 from generate_series(0, COMMENTS / 40 - 1) n;
	insert into session (user_id, last_seen_at) select 1 + n / 10, now() from generate_series(0, SESSIONS - 1) n;
	insert into pageview (url, viewed_at) select 'many', now() - n % 34560000 * interval '1 second' from generate_series(1, VIEWS) n;
	insert into page_total (url, view_count, unique_visitors, last_viewed_at) values ('many', VIEWS, VIEWS / 10, now());
	insert into page_day (page_id, day, view_count) select p.id, v.day, v.views from page_total p, (select viewed_at::date as day, count(*) as views from pageview group by 1) v;
	insert into page_visitor (page_id, visitor) select p.id, substr(sha256(n::text::bytea), 1, 16) from page_total p, generate_series(1, VIEWS / 10) n;
	set session_replication_role = origin;
	vacuum analyze`

// scaled is a server on a database of some size.
type scaled struct {
	*load
	tokens string // of many sessions, as a table of Lua
	after  string // cursor to the second page of the gallery
}

func startScaled(b *testing.B, binary string, size sizes) *scaled {
	dsn := newDatabase(b, "template_chatter")
	conn, err := pgx.Connect(b.Context(), dsn)
	must(b, err)
	defer conn.Close(context.Background())
	number := strconv.Itoa
	fill := strings.NewReplacer("PROJECTS", number(size.projects), "COMMENTS", number(size.comments), "SESSIONS", number(size.sessions), "VIEWS", number(size.views)).Replace(fillScale)
	began := time.Now()
	for sql := range strings.SplitSeq(fill, ";\n") {
		if _, err := conn.Exec(b.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			b.Fatalf("%v in %s", err, sql)
		}
	}
	b.Logf("%+v filled in %s", size, time.Since(began).Round(time.Second))
	l := &scaled{load: &load{url: startProgram(b, binary, dsn, "SECRET_KEY="+goodSecret).url}}

	rows, err := conn.Query(b.Context(), `select username, s.id::text from session s join "user" u on u.id = user_id order by s.id limit 10000`)
	must(b, err)
	var tokens strings.Builder
	var name, session string
	_, err = pgx.ForEachRow(rows, []any{&name, &session}, func() error {
		now := time.Now()
		fmt.Fprintf(&tokens, "%q,\n", signToken([]byte(goodSecret), claims{Subject: name, Session: session, Issued: now.Unix(), Expires: now.Add(tokenLife).Unix()}))
		return nil
	})
	must(b, err)
	l.tokens = "tokens = {" + tokens.String() + "}\n"
	answer, err := http.Get(l.url + "/api/projects")
	must(b, err)
	defer answer.Body.Close()
	var page struct {
		NextCursor string `json:"next_cursor"`
	}
	must(b, json.NewDecoder(answer.Body).Decode(&page))
	l.after = page.NextCursor
	return l
}

// BenchmarkScale asks a server with few rows and one with very many for the same,
// past the cache, one after the other: of-small is the part of the requests per
// second that the large one keeps.
func BenchmarkScale(b *testing.B) {
	needProgram(b, "wrk")
	binary := builtProgram(b)
	small := startScaled(b, binary, sizes{projects: 1000, comments: 4000, sessions: 10_000, views: 10})
	large := startScaled(b, binary, sizes{projects: 100_000, comments: 1_000_000, sessions: 1_000_000, views: 10_000_000})
	const unlike = `..n..tostring(os.clock())` // no two requests are the same to the cache
	for _, c := range []struct{ name, path, tail string }{
		{"views", "/analytics/page-views/many?x=", unlike},
		{"timeline, weekly", "/analytics/page-views/many/timeline?period=weekly&x=", unlike},
		{"timeline, annual", "/analytics/page-views/many/timeline?period=annual&x=", unlike},
		{"gallery", "/api/projects?x=", unlike},
		{"gallery of a tag", "/api/projects?tag=tag8&x=", unlike},
		{"gallery by likes", "/api/projects?sort=popular&x=", unlike},
		{"gallery by cursor", "/api/projects?after=AFTER&x=", unlike},
		{"search, one", "/api/projects?search=u777&sort=recent&x=", unlike},
		{"search, some", "/api/projects?search=w300&x=", unlike},
		{"search, nearly all", "/api/projects?search=w&x=", unlike},
		{"comments", "/interact/comments/page%2F", `..(n * 7919) % PAGES.."?x="` + unlike},
		{"sign-in check", "/api/me?x=", unlike},
		{"sessions", "/api/me/sessions?x=", unlike},
	} {
		b.Run(c.name, func(b *testing.B) {
			ask := func(l *scaled, pages string) func() float64 {
				path := strings.ReplaceAll(c.path, "AFTER", l.after)
				script := `n = 0 request = function() n = n + 1 return wrk.format("GET", "` + path + `"` + strings.ReplaceAll(c.tail, "PAGES", pages) + `) end`
				if strings.HasPrefix(c.path, "/api/me") {
					script = l.tokens + `n = 0 headers = {} request = function() n = n + 1 headers["Authorization"] = "Bearer "..tokens[(n * 7919) % #tokens + 1] return wrk.format("GET", "` + path + `"` + c.tail + `, headers) end`
				}
				return func() float64 { return l.wrk(b, l.url, script) }
			}
			small.compare(b, "of-small", ask(small, "100"), ask(large, "25000"))
		})
	}
}

// BenchmarkSignIns signs 32 people in at once, as fast as it goes, half of them
// with wrong passwords, beside others who read and write: it reports how many sign
// in, the part of what the hash alone would allow, and the others' 99th
// percentile, then and with nobody signing in.
func BenchmarkSignIns(b *testing.B) {
	needProgram(b, "wrk")
	dsn := newDatabase(b, "template_chatter")
	h := newHasher(19456, 2)
	hash, err := h.hash(b.Context(), testPassword)
	must(b, err)
	conn, err := pgx.Connect(b.Context(), dsn)
	must(b, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(b.Context(), `insert into "user" (username, email, hashed_password, email_verified) select 'user' || n, 'user' || n || '@example.com', $1, true from generate_series(1, 20000) n`, hash)
	must(b, err)
	l := &load{url: startProgram(b, builtProgram(b), dsn).url}
	l.register(b, "ada")
	const signIns = `wrk.method = "POST" wrk.headers["Content-Type"] = "application/x-www-form-urlencoded" n = 0
		function setup(t) threads = (threads or 0) + 1 t:set("id", threads) end
		request = function() n = n + 1 local who = (n * 2 + id) % 20000 + 1 local pw = "` + testPassword + `" if n % 2 == 0 then pw = "Wrong-1-Word" end return wrk.format("POST", "/api/login", nil, "username=user"..who.."&password="..pw) end`
	others := fmt.Sprintf(`n = 0 request = function() n = n + 1
		if n %% 50 == 0 then return wrk.format("POST", "/interact/like", {["Authorization"] = "Bearer %s", ["Content-Type"] = "application/json"}, '{"url": "liked/'..n..'.html"}') end
		return wrk.format("GET", "/interact/comments/page%%2F"..n..tostring(os.clock())) end`, l.token)
	for b.Loop() {
		before := l.latency(b, others, "-c8", "-t1")
		hashes := l.hashes(b, h)
		rates := make(chan float64)
		go func() { rates <- l.halfRefused(b, signIns) }()
		during := l.latency(b, others, "-c8", "-t1")
		rate := <-rates
		b.ReportMetric(rate, "sign-ins/s")
		b.ReportMetric(hashes, "hashes/s")
		b.ReportMetric(rate/hashes, "of-hashes")
		b.ReportMetric(during, "ms-p99")
		b.ReportMetric(before, "ms-p99-alone")
		b.ReportMetric(0, "ns/op")
	}
}

// latency is the 99th percentile of the time that wrk's requests take, in
// milliseconds.
func (l *load) latency(b *testing.B, script string, options ...string) float64 {
	b.Helper()
	out := l.wrkOutput(b, script, append(options, "--latency")...)
	found := regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s)`).FindStringSubmatch(out)
	if found == nil || wrkErrors.MatchString(out) {
		b.Fatal(out)
	}
	value, _ := strconv.ParseFloat(found[1], 64)
	return value * map[string]float64{"us": 0.001, "ms": 1, "s": 1000}[found[2]]
}

// halfRefused is wrk's requests per second where half of the answers are a
// refusal; when more are, something else is wrong.
func (l *load) halfRefused(b *testing.B, script string) float64 {
	out := l.wrkOutput(b, script)
	rate, total := wrkRate.FindStringSubmatch(out), regexp.MustCompile(`(\d+) requests in`).FindStringSubmatch(out)
	refused := regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`).FindStringSubmatch(out)
	if rate == nil || total == nil || refused == nil {
		b.Error(out)
		return 0
	}
	all, _ := strconv.Atoi(total[1])
	if no, _ := strconv.Atoi(refused[1]); no > all/2+64 {
		b.Error(out)
	}
	perSecond, _ := strconv.ParseFloat(rate[1], 64)
	return perSecond
}

// wrkOutput is what wrk says after it has run a script.
func (l *load) wrkOutput(b *testing.B, script string, options ...string) string {
	file := filepath.Join(b.TempDir(), "wrk.lua")
	must(b, os.WriteFile(file, []byte(script), 0o600))
	args := append([]string{"-t2", "-c32", fmt.Sprintf("-d%ds", loadSeconds)}, options...)
	out, err := exec.Command("wrk", append(args, "-s", file, l.url)...).CombinedOutput()
	if err != nil {
		b.Errorf("%v\n%s", err, out)
	}
	return string(out)
}

// hashes is how many passwords a second this machine hashes, as many at once as
// the server.
func (l *load) hashes(b *testing.B, h *hasher) float64 {
	var all sync.WaitGroup
	var done atomic.Int64
	began := time.Now()
	for range cap(h.slots) {
		all.Go(func() {
			for time.Since(began) < loadSeconds*time.Second {
				_, _ = h.hash(b.Context(), testPassword)
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}
