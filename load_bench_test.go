package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	loadSeconds  = 4 // how long a server is kept busy while something else is measured
	rounds       = 3 // in which what is compared takes turns
	roundSeconds = 2
)

// BenchmarkLoad measures requests per second of the built program, with a
// PostgreSQL of its own that syncs to the disk, beside ceilings of the same
// machine and minute: a bare handler that writes as many bytes (H), a bare
// handler with one prepared SELECT (Q), and pgbench with durable one-row
// INSERTs (I).
func BenchmarkLoad(b *testing.B) {
	needProgram(b, "wrk")
	l := startLoad(b)
	page := "blog%2Fload.html"
	hot := []struct{ name, path string }{
		{"like-status", "/interact/like-status/" + page},
		{"page-views", "/analytics/page-views/" + page},
		{"comments-40", "/interact/comments/" + page},
		{"gallery", "/api/projects"},
		{"project", fmt.Sprintf("/api/projects/%d", l.project)},
	}
	for _, c := range hot {
		b.Run("hot/"+c.name, func(b *testing.B) {
			l.compare(b, "of-H", func() float64 { return l.bare(b, c.path, nil) }, func() float64 { return l.wrk(b, l.url+c.path, "") })
		})
	}
	for _, c := range hot {
		b.Run("signed-in/"+c.name, func(b *testing.B) {
			signedIn := fmt.Sprintf("wrk.headers[\"Authorization\"] = \"Bearer %s\"\n", l.token)
			l.compare(b, "of-Q", func() float64 { return l.bare(b, c.path, l.db) }, func() float64 { return l.wrk(b, l.url+c.path, signedIn) })
		})
	}
	b.Run("uncached/like-status", func(b *testing.B) {
		l.compare(b, "of-Q", func() float64 { return l.bare(b, hot[0].path, l.db) }, func() float64 {
			return l.wrk(b, l.url, `n = 0 request = function() n = n + 1 return wrk.format("GET", "/interact/like-status/never-"..n..tostring(os.clock())) end`)
		})
	})
	browser := fmt.Sprintf("wrk.method = \"POST\"\nwrk.headers[\"User-Agent\"] = %q\n", firefox)
	b.Run("page-view", func(b *testing.B) {
		l.compare(b, "of-H", func() float64 { return l.bare(b, hot[0].path, nil) }, func() float64 {
			return l.wrk(b, l.url+"/analytics/page-view", browser+`wrk.body = '{"url": "blog/load.html"}'`)
		})
	})
	// Each thread of a round has 15 000 numbers of its own, and so many pairs of a
	// person and one of 1 009 pages: nobody takes a like back.
	round := 0
	write := func(request string) string {
		round++
		return "wrk.method = \"POST\"\nwriters = {\"" + strings.Join(l.writers, "\", \"") + "\"}\n" +
			fmt.Sprintf("function setup(t) threads = (threads or 0) + 1 t:set(\"n\", (%d + threads) * 15000) end\n", 2*round) +
			"function writer() n = n + 1 return {[\"Authorization\"] = \"Bearer \"..writers[n % #writers + 1]} end\n" + request
	}
	b.Run("like", func(b *testing.B) {
		l.compare(b, "of-I", func() float64 { return l.inserts(b) }, func() float64 {
			return l.wrk(b, l.url, write(`request = function() return wrk.format("POST", "/interact/like", writer(), '{"url": "liked/'..n % 1009 ..'.html"}') end`))
		})
	})
	b.Run("comment", func(b *testing.B) {
		l.compare(b, "of-I", func() float64 { return l.inserts(b) }, func() float64 {
			return l.wrk(b, l.url, write(`request = function() return wrk.format("POST", "/interact/comment", writer(), '{"url": "said/'..n % 1009 ..'.html", "content": "Comment number '..n..'. It works here, too."}') end`))
		})
	})
}

// load is a running server that has something to serve.
type load struct {
	url, token, pgbench string   // token is one of writers
	writers             []string // tokens of as many people
	project             int
	db                  *pgxpool.Pool
}

// startLoad builds the program, starts it and fills it with what is asked for.
func startLoad(b *testing.B) *load {
	dir, err := os.MkdirTemp(".", "load-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	if dir, err = filepath.Abs(dir); err != nil {
		b.Fatal(err)
	}
	binary := filepath.Join(dir, "chatter")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		b.Fatal(err)
	}
	program := exec.Command(binary, "serve")
	program.Dir = dir
	program.Env = append(os.Environ(), "DATA_DIR="+dir, "HOST=127.0.0.1", "PORT="+port, "TESTING=true", "LOG_FORMAT=json", "NEWCOMER_COMMENTS=0")
	program.Stderr = log
	if err := program.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = program.Process.Signal(syscall.SIGTERM)
		_ = program.Wait()
		log.Close()
	})
	l := &load{url: "http://127.0.0.1:" + port}
	wait(b, "the server to answer", func() bool {
		answer, err := http.Get(l.url + "/readyz")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	dsn, ok := runningCluster(filepath.Join(dir, "postgres"))
	if !ok {
		b.Fatal("the server's PostgreSQL is not there")
	}
	if l.db, err = pgxpool.New(b.Context(), dsn); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(l.db.Close)
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if l.pgbench, err = exec.LookPath("pgbench"); err != nil && len(installed) > 0 {
		l.pgbench, err = installed[len(installed)-1], nil
	}
	if err != nil {
		b.Fatal(err)
	}
	l.fill(b)
	return l
}

func (l *load) fill(b *testing.B) {
	for n := range 101 { // more than connections, and no divisor of the number of pages
		l.token = "" // signing in ends the session that one comes with
		l.register(b, fmt.Sprint("ada", n))
		l.writers = append(l.writers, l.token)
	}
	for n := range 40 {
		l.call(b, "/interact/comment", map[string]any{"url": "blog/load.html", "content": fmt.Sprintf("Comment %d of forty, which says a little about the page. ", n)}, nil)
	}
	for n := range 25 {
		var made struct{ ID int }
		l.call(b, "/api/projects", map[string]any{"title": fmt.Sprint("Robot arm ", n), "description": strings.Repeat("It moves. ", 40), "tags": []string{"robot", "arm"}}, &made)
		for k := range 10 {
			l.call(b, fmt.Sprintf("/api/projects/%d/steps", made.ID), map[string]any{"title": fmt.Sprint("Step ", k), "content": strings.Repeat("Turn the screw. ", 30)}, nil)
			l.call(b, fmt.Sprintf("/api/projects/%d/bom", made.ID), map[string]any{"item_name": fmt.Sprint("Screw M", k), "quantity": 4, "price_cents": 20}, nil)
		}
		l.call(b, fmt.Sprintf("/api/projects/%d/publish", made.ID), nil, nil)
		l.project = made.ID
	}
	// What is written to is not empty, and PostgreSQL knows it.
	if _, err := l.db.Exec(b.Context(), `
		insert into "like" (url, user_id) select 'before/' || n, id from "user", generate_series(1, 100) n;
		insert into comment (url, user_id, content) select 'before/' || n, id, 'A comment' from "user", generate_series(1, 100) n;
		insert into pageview (url) select 'before/' || n % 100 from generate_series(1, 10000) n;
		analyze; create table load_insert (id serial primary key, at timestamp default now())`, pgx.QueryExecModeSimpleProtocol); err != nil {
		b.Fatal(err)
	}
}

// call sends a form or JSON to the server, as the one who is signed in.
func (l *load) call(b *testing.B, path string, body, into any) {
	b.Helper()
	kind, content := "application/x-www-form-urlencoded", []byte(nil)
	if form, is := body.(string); is {
		content = []byte(form)
	} else {
		kind = "application/json"
		content, _ = json.Marshal(body)
	}
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, l.url+path, bytes.NewReader(content))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	if l.token != "" {
		r.Header.Set("Authorization", "Bearer "+l.token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		b.Fatalf("%s: %v %s %s", path, err, answer.Status, text)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			b.Fatal(err)
		}
	}
}

// compare measures the ceiling and what it is the ceiling of in turn, and reports the
// medians of both rates and of their ratio: the speed of a machine that others
// share changes all the time.
func (l *load) compare(b *testing.B, unit string, ceiling, measured func() float64) {
	for b.Loop() {
		var rates, ceilings, ratios []float64
		before := ceiling()
		for range rounds {
			rate, after := measured(), ceiling()
			rates, ceilings, ratios = append(rates, rate), append(ceilings, after), append(ratios, 2*rate/(before+after))
			before = after
		}
		median := func(list []float64) float64 { return slices.Sorted(slices.Values(list))[rounds/2] }
		b.ReportMetric(median(rates), "req/s")
		b.ReportMetric(median(ceilings), strings.TrimPrefix(unit, "of-")+"/s")
		b.ReportMetric(median(ratios), unit)
		b.ReportMetric(0, "ns/op")
	}
}

var (
	wrkRate   = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkErrors = regexp.MustCompile(`Non-2xx or 3xx responses: \d+|Socket errors: .*`)
)

// wrk returns the requests of a second; script is in Lua, options are more of wrk's.
func (l *load) wrk(b *testing.B, address, script string, options ...string) float64 {
	b.Helper()
	args := append([]string{"-t2", "-c32", fmt.Sprintf("-d%ds", roundSeconds)}, options...)
	if script != "" {
		file := filepath.Join(b.TempDir(), "wrk.lua")
		if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
			b.Fatal(err)
		}
		args = append(args, "-s", file)
	}
	out, err := exec.Command("wrk", append(args, address)...).CombinedOutput()
	found := wrkRate.FindSubmatch(out)
	if wrong := wrkErrors.Find(out); err != nil || wrong != nil || found == nil {
		b.Fatalf("%s: %v\n%s", address, err, out)
	}
	rate, _ := strconv.ParseFloat(string(found[1]), 64)
	return rate
}

// bare is the rate of a handler that writes as many bytes as the server answers
// at path, and with db asks it first for one row.
func (l *load) bare(b *testing.B, path string, db *pgxpool.Pool) float64 {
	answer, err := http.Get(l.url + path)
	if err != nil {
		b.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || answer.StatusCode != http.StatusOK {
		b.Fatalf("%s: %v %s", path, err, body)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{path...}", func(w http.ResponseWriter, r *http.Request) {
		if db != nil {
			var title string
			if err := db.QueryRow(r.Context(), `select title from project where id = $1`, l.project).Scan(&title); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		_, _ = w.Write(body)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	web := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(listener) }()
	defer web.Shutdown(context.Background())
	return l.wrk(b, "http://"+listener.Addr().String()+path, "")
}

// inserts is the rate of pgbench.
func (l *load) inserts(b *testing.B) float64 {
	script := filepath.Join(b.TempDir(), "insert.sql")
	if err := os.WriteFile(script, []byte("insert into load_insert default values;\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	at := l.db.Config().ConnConfig
	out, err := exec.Command(l.pgbench, "-n", "-M", "prepared", "-c", "32", "-j", "2", "-T", strconv.Itoa(roundSeconds), "-f", script,
		"-h", at.Host, "-U", at.User, at.Database).CombinedOutput()
	found := regexp.MustCompile(`tps = ([\d.]+)`).FindSubmatch(out)
	if err != nil || found == nil {
		b.Fatalf("%v\n%s", err, out)
	}
	rate, _ := strconv.ParseFloat(string(found[1]), 64)
	return rate
}
