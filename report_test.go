package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// receiver is a service that collects errors. It refuses envelopes that break
// the rules.
type receiver struct {
	t      *testing.T
	dsn    string
	answer func(w http.ResponseWriter) // after an envelope was read
	mu     sync.Mutex
	got    []map[string]any
	text   string
}

func newReceiver(t *testing.T) *receiver {
	rc := &receiver{t: t, answer: func(w http.ResponseWriter) { fmt.Fprint(w, `{"id":"x"}`) }}
	web := httptest.NewServer(rc)
	t.Cleanup(web.Close)
	rc.dsn = strings.Replace(web.URL, "://", "://0123456789abcdef@", 1) + "/errors/42"
	return rc
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		rc.t.Error(err)
	}
	ok := func(what string, is bool) {
		if !is {
			rc.t.Errorf("%s: %s %s %v\n%s", what, r.Method, r.URL, r.Header, body)
		}
	}
	ok("address", r.Method == http.MethodPost && r.URL.Path == "/errors/api/42/envelope/")
	ok("type", r.Header.Get("Content-Type") == "application/x-sentry-envelope")
	ok("authentication", regexp.MustCompile(`^Sentry sentry_version=7, sentry_client=[^ ,@]+/[^ ,]+, sentry_key=0123456789abcdef$`).MatchString(r.Header.Get("X-Sentry-Auth")))
	lines := bytes.SplitN(body, []byte("\n"), 3)
	var head struct {
		ID   string    `json:"event_id"`
		Sent time.Time `json:"sent_at"`
	}
	var item struct {
		Type   string
		Length int
	}
	var event map[string]any
	ok("lines", len(lines) == 3)
	ok("header", json.Unmarshal(lines[0], &head) == nil && regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(head.ID) && !head.Sent.IsZero())
	ok("item", json.Unmarshal(lines[1], &item) == nil && item.Type == "event" && item.Length == len(lines[2])-1 && lines[2][item.Length] == '\n')
	ok("payload", json.Unmarshal(lines[2], &event) == nil && event["event_id"] == head.ID)
	_, err = time.Parse(time.RFC3339, fmt.Sprint(event["timestamp"]))
	ok("fields", err == nil && event["platform"] == "go" && event["level"] == "error" && strings.HasPrefix(fmt.Sprint(event["release"]), "chatter@"))
	for name, value := range event["tags"].(map[string]any) {
		text, is := value.(string)
		ok("tag "+name, is && regexp.MustCompile(`^[a-zA-Z0-9_.:-]{1,32}$`).MatchString(name) && len(text) <= 200 && !strings.Contains(text, "\n"))
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.got = append(rc.got, event)
	rc.text += string(body)
	rc.answer(w)
}

func (rc *receiver) count() int {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return len(rc.got)
}

// reportTo makes a site report its errors.
func (st *site) reportTo(rc *receiver) *reporter {
	to, err := parseDSN(rc.dsn)
	if err != nil {
		st.t.Fatal(err)
	}
	r := newReporter(to, "testing", st.log, st.now)
	st.log = slog.New(reporting{st.log.Handler(), r})
	st.reports = r
	return r
}

func TestErrorsAreReported(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	rc := newReceiver(t)
	r := st.reportTo(rc)
	// A route that panics, on the way that every request takes.
	mux := http.NewServeMux()
	mux.Handle("GET /broken/{id}", st.answers(func(http.ResponseWriter, *http.Request) error {
		return breakDown("for alice@example.com at 192.0.2.7:443")
	}, false))
	mux.Handle("GET /failing/{id}", st.answers(func(_ http.ResponseWriter, r *http.Request) error {
		return fmt.Errorf("step %s: %w", r.PathValue("id"), &pgconn.PgError{Code: "22P02", Message: `invalid input "My-Password-1"`})
	}, false))
	web := httptest.NewServer(st.wrap(mux))
	t.Cleanup(web.Close)
	ask := func(path string) {
		t.Helper()
		request, _ := http.NewRequest(http.MethodGet, web.URL+path, nil)
		request.Header.Set("Authorization", "Bearer open-sesame")
		request.Header.Set("Cookie", "access_token=open-sesame")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		same(t, path, response.StatusCode, http.StatusInternalServerError)
	}
	ask("/broken/1?token=open-sesame")
	ask("/broken/2") // the same error again
	ask("/failing/1")
	ask("/failing/2")
	wait(t, "two reports", func() bool { return rc.count() == 2 })
	st.clock.Add(int64(time.Minute))
	ask("/broken/3")
	if err := st.later("an errand", func(context.Context) error { return errors.New("no luck") }); err != nil {
		t.Fatal(err)
	}
	wait(t, "four reports to be sent", func() bool { return r.sent.Load() == 4 })
	same(t, "reports", rc.count(), 4)
	(&answer{t: t, body: []byte(rc.text)}).hides("alice", "192.0.2.7", "127.0.0.1", "open-sesame", "My-Password-1", "/broken/1", "Cookie", "Authorization")

	panicked, failed := rc.got[0], rc.got[1]
	tags := panicked["tags"].(map[string]any)
	same(t, "route", tags["route"] == "GET /broken/{id}" && tags["status"] == "500" && isRequestID(fmt.Sprint(tags["request_id"])), true)
	same(t, "transaction", panicked["transaction"], any("GET /broken/{id}"))
	same(t, "environment", panicked["environment"], any("testing"))
	exception := func(event map[string]any) map[string]any {
		return event["exception"].(map[string]any)["values"].([]any)[0].(map[string]any)
	}
	x := exception(panicked)
	same(t, "panic", x["type"] == "panic" && x["value"] == "broken for [address] at [address]", true)
	frames := x["stacktrace"].(map[string]any)["frames"].([]any)
	last := frames[len(frames)-1].(map[string]any)
	same(t, "innermost frame", last["function"] == "breakDown" && last["filename"] == "report_test.go" && last["in_app"] == true && last["lineno"].(float64) > 0, true)
	same(t, "database error", exception(failed)["type"], any("PostgreSQL 22P02"))
	same(t, "again", rc.got[2]["extra"].(map[string]any)["times_since_the_last_report"], any(2.0))
	same(t, "same group", fmt.Sprint(rc.got[2]["fingerprint"]), fmt.Sprint(panicked["fingerprint"]))
	same(t, "another group", fmt.Sprint(failed["fingerprint"]) != fmt.Sprint(panicked["fingerprint"]), true)
	alice.get("/livez").want(http.StatusOK)
}

func breakDown(why string) error { panic("broken " + why) }

// The service says when it wants no more.
func TestReportsHeedTheService(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		status int
		header http.Header
		want   time.Duration
	}{
		{200, http.Header{}, 0},
		{429, http.Header{}, time.Minute},
		{429, http.Header{"Retry-After": {"120"}}, 2 * time.Minute},
		{503, http.Header{"Retry-After": {now.Add(time.Hour).Format(http.TimeFormat)}}, time.Hour},
		{200, http.Header{"X-Sentry-Rate-Limits": {"60:transaction:key, 2700:default;error;security:organization:quota"}}, 45 * time.Minute},
		{200, http.Header{"X-Sentry-Rate-Limits": {"60:transaction:key", "90::organization"}}, 90 * time.Second},
		{429, http.Header{"X-Sentry-Rate-Limits": {"60:transaction:key"}, "Retry-After": {"60"}}, 0},
		{200, http.Header{"X-Sentry-Rate-Limits": {"nonsense"}}, 0},
	} {
		same(t, fmt.Sprint(c.status, c.header), limitOf(&http.Response{StatusCode: c.status, Header: c.header}, now), c.want)
	}

	rc := newReceiver(t)
	rc.answer = func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(http.StatusTooManyRequests)
	}
	to, err := parseDSN(rc.dsn)
	if err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Int64
	var said syncBuffer
	own := slog.New(slog.NewTextHandler(&said, nil))
	r := newReporter(to, "testing", own, func() time.Time { return now.Add(time.Duration(ahead.Load())) })
	log := slog.New(reporting{slog.NewTextHandler(io.Discard, nil), r})
	log.Error("one", "error", errors.New("x"))
	wait(t, "the refusal", func() bool { return strings.Contains(said.String(), "could not be reported") })
	wait(t, "the pause", func() bool { log.Error("two"); return r.dropped.Load() > 0 })
	same(t, "nothing more", rc.count(), 1)
	ahead.Store(int64(11 * time.Minute))
	log.Error("three")
	wait(t, "the next", func() bool { return rc.count() == 2 })
	r.close(time.Minute)
}

// A service that hangs holds nobody up: neither who logs, nor the end.
func TestReportsHoldNobodyUp(t *testing.T) {
	t.Parallel()
	leave, came := make(chan bool), make(chan bool, reportQueue+1)
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came <- true; <-leave }))
	t.Cleanup(web.Close)
	t.Cleanup(func() { close(leave) })
	r := newReporter(dsn{web.URL, "key"}, "testing", slog.New(slog.DiscardHandler), time.Now)
	log := slog.New(reporting{slog.NewTextHandler(io.Discard, nil), r})
	log.Error("first")
	<-came // it is under way
	for i := range reportQueue + 50 {
		log.Error(strings.Repeat("x", i))
	}
	same(t, "waiting", len(r.queue), reportQueue)
	same(t, "dropped", r.dropped.Load(), 50)
	r.close(0)
	log.Error("after the end")
}

// What is queued at the end is sent.
func TestReportsAreFlushed(t *testing.T) {
	t.Parallel()
	rc := newReceiver(t)
	l, err := openLogs(config{reports: func() dsn { to, _ := parseDSN(rc.dsn); return to }()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		l.Error(strings.Repeat("x", i+1))
	}
	l.reports.close(time.Minute)
	same(t, "sent", rc.count(), 20)
}

func TestScrub(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"to ada@example.com: refused":                     "to [address] refused",
		"dial tcp 192.0.2.1:5432: connection refused":     "dial tcp [address]: connection refused",
		"dial tcp [2001:db8::1]:25: i/o timeout":          "dial tcp [[address]]:25: i/o timeout",
		"from ::1 and fe80::1":                            "from [address] and [address]",
		`Get "https://x.example/reset?token=abc": EOF`:    `Get "https://x.example/reset?[query]": EOF`,
		"Bearer abc.def":                                  "Bearer [secret]",
		"password=hunter2, and more":                      "password=[secret], and more",
		"sum 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0": "sum [secret]",
		"at 12:30:45 in step 7 (SQLSTATE 23505)":          "at 12:30:45 in step 7 (SQLSTATE 23505)",
	} {
		same(t, text, scrub(text), want)
	}
	same(t, "length", len([]rune(scrub(strings.Repeat("é ", 5000)))), 2000)
}
