package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// measured are the samples of /metrics by their names with labels, as an
// admin's network gets them.
func (p *person) measured() map[string]float64 {
	p.t.Helper()
	a := p.get("/metrics").want(http.StatusOK)
	samples := map[string]float64{}
	lines := bufio.NewScanner(strings.NewReader(string(a.body)))
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		name, text, _ := cutLast(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		if _, twice := samples[name]; err != nil || twice {
			p.t.Fatalf("%q: %v", lines.Text(), err)
		}
		samples[name] = value
	}
	return samples
}

func measurable(c *config) { c.allowedMetrics = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

func TestMetricsAreForFew(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.visitor().get("/metrics").detail(http.StatusNotFound, "Not found")
	st.member("alice").get("/metrics").detail(http.StatusNotFound, "Not found")
	st.admin("kev").get("/metrics").want(http.StatusOK)
	st.cfg.allowedMetrics = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	a := st.visitor().get("/metrics").want(http.StatusOK)
	same(t, "type", a.header.Get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
	st.visitor().do(http.MethodGet, "/metrics", nil, "X-Forwarded-For", "127.0.0.1").want(http.StatusNotFound)
}

// promtool, which reads what Prometheus reads, finds nothing to say.
func TestMetricsFormat(t *testing.T) {
	t.Parallel()
	st := newSite(t, measurable, func(c *config) { c.testing = false })
	st.stopClock()
	alice := st.member("alice")
	alice.get("/api/projects").want(http.StatusOK)
	alice.get(`/no"where\`).want(http.StatusNotFound)
	for range 6 {
		st.visitor().post("/api/login", map[string]string{"username": "alice", "password": "Wrong-1-Password"})
	}
	alice.post("/analytics/page-view", map[string]string{"url": "a"}).want(http.StatusOK)
	for _, j := range st.jobs() {
		if err := st.runWhenDue(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	text := st.visitor().get("/metrics").want(http.StatusOK).body
	needProgram(t, "promtool")
	check := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	check.Stdin = strings.NewReader(string(text))
	if said, err := check.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v: %s", err, said)
	}
	(&answer{t: t, body: text}).hides("NaN", "alice", "example.com", "127.0.0.1")
}

// What happens is counted.
func TestMetricsCount(t *testing.T) {
	t.Parallel()
	st := newSite(t, measurable, func(c *config) { c.testing = false })
	st.stopClock()
	visitor := st.visitor()
	before := visitor.measured()
	alice := st.member("alice")
	alice.get("/api/me").want(http.StatusOK)
	alice.get("/api/me").want(http.StatusOK)
	visitor.get("/api/me").want(http.StatusUnauthorized)
	visitor.get("/nowhere/a").want(http.StatusNotFound)
	visitor.get("/nowhere/b").want(http.StatusNotFound)
	for range 6 { // the fifth failure locks, and the limit on sign-ins refuses the last
		st.visitor().post("/api/login", map[string]string{"username": "alice", "password": "Wrong-1-Password"})
	}
	for range 3 {
		visitor.post("/analytics/page-view", map[string]string{"url": "a"}).want(http.StatusOK)
	}
	broken := job{"breaking", time.Hour, func(context.Context) error { return errors.New("broken") }}
	if err := st.runWhenDue(t.Context(), broken); err == nil {
		t.Fatal("the job did not fail")
	}
	st.clock.Add(int64(time.Minute))
	after := visitor.measured()
	for name, want := range map[string]float64{
		`chatter_http_requests_total{method="GET",route="/api/me",status="2xx"}`:               2,
		`chatter_http_requests_total{method="GET",route="/api/me",status="4xx"}`:               1,
		`chatter_http_request_duration_seconds_count{method="GET",route="/api/me"}`:            3,
		`chatter_http_request_duration_seconds_bucket{method="GET",route="/api/me",le="+Inf"}`: 3,
		`chatter_http_requests_total{method="",route="none",status="4xx"}`:                     2,
		`chatter_http_responses_total{status="404"}`:                                           2,
		`chatter_sign_ins_total`:                        1,
		`chatter_sign_in_failures_total`:                4, // with alice's own sign-in, five are within the limit
		`chatter_lockouts_total`:                        0,
		`chatter_limiter_refusals_total{limit="login"}`: 2,
		`chatter_sessions`:                              1,
		`chatter_grouped_writes_total{of="page_views"}`: 3,
		`chatter_job_runs_total{upkeep="breaking"}`:     1,
		`chatter_job_failures_total{upkeep="breaking"}`: 1,
		`chatter_letters_waiting`:                       float64(st.count(`select count(*) from outbox`)),
	} {
		if got := after[name] - before[name]; got != want {
			t.Errorf("%s went from %v to %v, want %v more", name, before[name], after[name], want)
		}
	}
	for name, holds := range map[string]func(v float64) bool{
		"chatter_http_requests_in_flight": func(v float64) bool { return v == 1 }, // this one
		"chatter_db_up":                   func(v float64) bool { return v == 1 },
		"chatter_db_migrations_pending":   func(v float64) bool { return v == 0 },
		"chatter_letters_oldest_seconds":  func(v float64) bool { return v >= 60 && v < 3600 },
		"chatter_db_connections_max":      func(v float64) bool { return v > 1 },
		"chatter_db_acquires_total":       func(v float64) bool { return v > before["chatter_db_acquires_total"] },
		"chatter_limiter_buckets":         func(v float64) bool { return v > before["chatter_limiter_buckets"] },
		"chatter_storage_free_bytes":      func(v float64) bool { return v > 0 },
		"go_goroutines":                   func(v float64) bool { return v > 3 },
		"process_resident_memory_bytes":   func(v float64) bool { return v > 1<<20 },
		"process_open_fds":                func(v float64) bool { return v > 3 },
		"process_start_time_seconds":      func(v float64) bool { return math.Abs(v-float64(time.Now().Unix())) < 3600 },
	} {
		v, there := after[name]
		if !there || !holds(v) {
			t.Errorf("%s is %v (%v)", name, v, there)
		}
	}
	// Another failure is the one that locks.
	st.clock.Add(int64(time.Hour))
	st.visitor().post("/api/login", map[string]string{"username": "alice", "password": "Wrong-1-Password"}).want(http.StatusUnauthorized)
	last := visitor.measured()
	same(t, "lockouts", last["chatter_lockouts_total"], 1)
	same(t, "locked", last["chatter_locked"], 1)
}

// Without a database the metrics still say so.
func TestMetricsWithoutDatabase(t *testing.T) {
	t.Parallel()
	st := newSite(t, measurable)
	visitor := st.visitor()
	visitor.measured()
	st.db.Close()
	got := visitor.measured()
	same(t, "up", got["chatter_db_up"], 0)
	_, there := got["chatter_sessions"]
	same(t, "what only it knows", there, false)
	same(t, "the rest", got["go_goroutines"] > 0, true)
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	h := &histogram{}
	for _, took := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, 10 * time.Second, time.Minute} {
		h.observe(took)
	}
	e := &exposition{}
	e.metric("took_seconds", "histogram", "A line\nand a \\.")
	e.histogram(h, "of", "a \"b\"\n\\")
	label := `of="a \"b\"\n\\"`
	for _, line := range []string{
		`# HELP took_seconds A line\nand a \\.`, "# TYPE took_seconds histogram", `took_seconds_bucket{` + label + `,le="0.001"} 2`, `took_seconds_bucket{` + label + `,le="0.005"} 3`,
		`took_seconds_bucket{` + label + `,le="5"} 3`, `took_seconds_bucket{` + label + `,le="10"} 4`, `took_seconds_bucket{` + label + `,le="+Inf"} 5`,
		`took_seconds_sum{` + label + `} 70.002000001`, `took_seconds_count{` + label + `} 5`,
	} {
		if !strings.Contains("\n"+e.String(), "\n"+line+"\n") {
			t.Errorf("%s is not in\n%s", line, e)
		}
	}
}

// The alert rules are rules, come when they should, and like the dashboard
// look at nothing but what is measured; each is explained.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	st := newSite(t, measurable)
	exposed := string(st.visitor().get("/metrics").want(http.StatusOK).body)
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	rules, dashboard, guide := read("deploy/alerts.yml"), read("deploy/dashboard.json"), read("docs/MONITORING.md")
	same(t, "JSON", json.Valid([]byte(dashboard)), true)
	for _, name := range regexp.MustCompile(`\b(?:chatter|process|go)_[a-z_]+`).FindAllString(rules+dashboard, -1) {
		family := strings.TrimSuffix(name, "_bucket")
		if strings.HasPrefix(name, "chatter_nas_") {
			continue // there is no NAS here
		}
		if !strings.Contains(exposed, "# TYPE "+family+" ") {
			t.Errorf("%s is not measured", name)
		}
	}
	for _, found := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(rules, -1) {
		if !strings.Contains(guide, "`"+found[1]+"`") {
			t.Errorf("docs/MONITORING.md does not say what to do at %s", found[1])
		}
		if !strings.Contains(read("deploy/alerts_test.yml"), "alertname: "+found[1]+"\n") {
			t.Errorf("%s is not tried", found[1])
		}
	}
	needProgram(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = "deploy"
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args, err, said)
		}
	}
}
