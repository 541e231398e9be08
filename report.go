package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// dsn says where errors are reported to: a project of a service that
// understands Sentry's envelopes
// (https://develop.sentry.dev/sdk/foundations/transport/).
type dsn struct{ endpoint, key string }

// parseDSN reads SCHEME://KEY@HOST/PATH/PROJECT; a secret after the key, which
// old ones have, is not needed any more.
func parseDSN(text string) (dsn, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User.Username() == "" || u.RawQuery != "" || u.Fragment != "" {
		return dsn{}, errors.New("must be the DSN of a project, such as https://KEY@sentry.example.com/1")
	}
	folder, project := path.Split(u.Path)
	if _, err := strconv.ParseUint(project, 10, 64); err != nil {
		return dsn{}, errors.New("must end in the number of a project, such as https://KEY@sentry.example.com/1")
	}
	return dsn{u.Scheme + "://" + u.Host + folder + "api/" + project + "/envelope/", u.User.Username()}, nil
}

// reporter sends what is logged as an error to a service that collects errors.
// It never makes the one who logs wait: what its queue can't take is lost, and
// counted.
type reporter struct {
	to                   dsn
	environment, release string
	log                  *slog.Logger // which is not reported itself
	client               *http.Client
	now                  func() time.Time
	queue                chan []byte   // envelopes
	idle                 chan struct{} // closed when the queue is closed and empty

	sent, failed, dropped atomic.Int64

	mu     sync.Mutex
	closed bool
	until  time.Time            // before which nothing is sent
	seen   map[string]*repeated // by fingerprint
}

// repeated is an error that comes again and again: it is reported once a
// minute, with how often it came.
type repeated struct {
	next  time.Time
	count int // since the last report
}

const (
	reportQueue   = 100
	reportEvery   = time.Minute      // the same error
	reportTimeout = 5 * time.Second  // of one request
	reportPause   = 30 * time.Second // after a request that failed
	maxSeen       = 1000             // fingerprints
)

func newReporter(to dsn, environment string, log *slog.Logger, now func() time.Time) *reporter {
	r := &reporter{to: to, environment: environment, release: "chatter@" + thisBuild().Version, log: log, now: now,
		queue: make(chan []byte, reportQueue), idle: make(chan struct{}), seen: map[string]*repeated{},
		client: &http.Client{Timeout: reportTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	go func() {
		defer close(r.idle)
		for envelope := range r.queue {
			r.deliver(envelope)
		}
	}()
	return r
}

// close sends what waits, for at most the given time.
func (r *reporter) close(patience time.Duration) {
	r.mu.Lock()
	r.closed = true
	close(r.queue)
	r.mu.Unlock()
	select {
	case <-r.idle:
	case <-time.After(patience):
	}
}

// reporting is a log whose errors are reported too.
type reporting struct {
	slog.Handler
	to *reporter
}

func (h reporting) Handle(ctx context.Context, rec slog.Record) error {
	err := h.Handler.Handle(ctx, rec)
	if rec.Level >= slog.LevelError {
		h.to.report(rec)
	}
	return err
}

// reportedTags are the attributes of a line that go into its report. All
// others, such as addresses and accounts, stay here.
var reportedTags = []string{"method", "route", "status", "request_id", "job", "template", "letter", "attempts"}

// event is an error as the service takes it
// (https://develop.sentry.dev/sdk/data-model/event-payloads/).
type event struct {
	ID          string            `json:"event_id"`
	Timestamp   time.Time         `json:"timestamp"`
	Platform    string            `json:"platform"`
	Level       string            `json:"level"`
	Logger      string            `json:"logger"`
	Release     string            `json:"release"`
	Environment string            `json:"environment"`
	Transaction string            `json:"transaction,omitempty"`
	Message     eventMessage      `json:"logentry"`
	Exception   *eventExceptions  `json:"exception,omitempty"`
	Tags        map[string]string `json:"tags"`
	Extra       map[string]any    `json:"extra,omitempty"`
	Contexts    map[string]any    `json:"contexts"`
	Fingerprint []string          `json:"fingerprint"`
}

type eventMessage struct {
	Formatted string `json:"formatted"`
}

type eventExceptions struct {
	Values []eventException `json:"values"`
}

type eventException struct {
	Type       string      `json:"type"`
	Value      string      `json:"value"`
	Stacktrace *eventStack `json:"stacktrace,omitempty"`
}

type eventStack struct {
	Frames []eventFrame `json:"frames"` // the innermost last
}

type eventFrame struct {
	Function string `json:"function"`
	Module   string `json:"module"`
	Filename string `json:"filename"`
	Line     int    `json:"lineno"`
	InApp    bool   `json:"in_app"`
}

// report queues a line of the log.
func (r *reporter) report(rec slog.Record) {
	e := event{Timestamp: rec.Time.UTC(), Platform: "go", Level: "error", Logger: "chatter", Release: r.release, Environment: r.environment,
		Message: eventMessage{rec.Message}, Tags: map[string]string{}, Contexts: map[string]any{"runtime": map[string]string{"name": "go", "version": runtime.Version()}}}
	var err error
	rec.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" {
			err, _ = a.Value.Any().(error)
		}
		if slices.Contains(reportedTags, a.Key) {
			e.Tags[a.Key] = truncate(a.Value.String(), 200)
		}
		return true
	})
	e.Transaction = e.Tags["route"]
	e.Fingerprint = []string{rec.Message, cmp.Or(e.Tags["route"], e.Tags["job"])}
	if err != nil {
		x := exceptionOf(err)
		e.Exception = &eventExceptions{[]eventException{x}}
		e.Fingerprint = append(e.Fingerprint, x.Type, placeOf(x))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	key := strings.Join(e.Fingerprint, "\x00")
	seen := r.seen[key]
	if seen == nil {
		if len(r.seen) >= maxSeen {
			clear(r.seen)
		}
		seen = &repeated{}
		r.seen[key] = seen
	}
	seen.count++
	if now.Before(seen.next) || r.closed {
		return
	}
	if seen.count > 1 {
		e.Extra = map[string]any{"times_since_the_last_report": seen.count}
	}
	if now.Before(r.until) {
		r.dropped.Add(1)
		return
	}
	envelope, err := e.envelope(now)
	if err != nil {
		r.dropped.Add(1)
		return
	}
	select {
	case r.queue <- envelope:
		seen.next, seen.count = now.Add(reportEvery), 0
	default:
		r.dropped.Add(1)
	}
}

// envelope is the event with its headers, a line of JSON each
// (https://develop.sentry.dev/sdk/foundations/transport/envelopes/).
func (e *event) envelope(now time.Time) ([]byte, error) {
	id := make([]byte, 16)
	rand.Read(id)
	e.ID = hex.EncodeToString(id)
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "{\"event_id\":%q,\"sent_at\":%q}\n{\"type\":\"event\",\"content_type\":\"application/json\",\"length\":%d}\n%s\n",
		e.ID, now.UTC().Format(time.RFC3339), len(payload), payload), nil
}

// deliver sends an envelope, unless the service wants to be left alone.
func (r *reporter) deliver(envelope []byte) {
	r.mu.Lock()
	waits := r.now().Before(r.until)
	r.mu.Unlock()
	if waits {
		r.dropped.Add(1)
		return
	}
	pause, err := r.post(envelope)
	if err != nil {
		r.failed.Add(1)
		r.log.Warn("an error could not be reported", "error", err)
	} else {
		r.sent.Add(1)
	}
	if pause > 0 {
		r.mu.Lock()
		r.until = r.now().Add(pause)
		r.mu.Unlock()
	}
}

// post sends an envelope, and returns for how long no more are wanted.
func (r *reporter) post(envelope []byte) (pause time.Duration, err error) {
	request, err := http.NewRequest(http.MethodPost, r.to.endpoint, bytes.NewReader(envelope))
	if err != nil {
		return reportPause, err
	}
	request.Header.Set("Content-Type", "application/x-sentry-envelope")
	request.Header.Set("User-Agent", r.release)
	request.Header.Set("X-Sentry-Auth", fmt.Sprintf("Sentry sentry_version=7, sentry_client=%s, sentry_key=%s", strings.Replace(r.release, "@", "/", 1), r.to.key))
	answer, err := r.client.Do(request)
	if err != nil {
		return reportPause, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	pause = limitOf(answer, r.now())
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return cmp.Or(pause, reportPause), fmt.Errorf("the service answered %s", answer.Status)
	}
	return pause, nil
}

// limitOf reads for how long a service wants no more errors
// (https://develop.sentry.dev/sdk/foundations/transport/rate-limiting/).
func limitOf(answer *http.Response, now time.Time) (pause time.Duration) {
	limits := answer.Header.Values("X-Sentry-Rate-Limits")
	for _, limit := range strings.Split(strings.Join(limits, ","), ",") {
		fields := strings.Split(strings.TrimSpace(limit), ":")
		seconds, err := strconv.ParseFloat(fields[0], 64)
		if err != nil || len(fields) < 2 {
			continue
		}
		if kinds := strings.Split(fields[1], ";"); fields[1] == "" || slices.Contains(kinds, "error") || slices.Contains(kinds, "default") {
			pause = max(pause, time.Duration(seconds*float64(time.Second)))
		}
	}
	if limits != nil || answer.StatusCode != http.StatusTooManyRequests && answer.Header.Get("Retry-After") == "" {
		return pause
	}
	after := answer.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(after); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(after); err == nil {
		return max(0, at.Sub(now))
	}
	return time.Minute
}

// exceptionOf makes an exception of an error, without what is personal or secret.
func exceptionOf(err error) eventException {
	var caught *panicError
	if errors.As(err, &caught) {
		return eventException{Type: "panic", Value: scrub(fmt.Sprint(caught.reason)), Stacktrace: &eventStack{framesOf(caught.callers)}}
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		// Its quotes can hold what somebody sent.
		return eventException{Type: "PostgreSQL " + pgErr.Code, Value: scrub(quoted.ReplaceAllString(err.Error(), `"…"`))}
	}
	inner := err
	for next := errors.Unwrap(inner); next != nil; next = errors.Unwrap(inner) {
		inner = next
	}
	return eventException{Type: fmt.Sprintf("%T", inner), Value: scrub(err.Error())}
}

// ownPackage is main, and has another name in tests.
var ownPackage = reflect.TypeFor[server]().PkgPath()

// framesOf are the calls that led to a panic, the outermost first and without
// those of the panic itself.
func framesOf(callers []uintptr) (list []eventFrame) {
	frames := runtime.CallersFrames(callers)
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		if f.Function == "runtime.gopanic" {
			list = nil
			continue
		}
		folder, rest := path.Split(f.Function)
		module, function, _ := strings.Cut(rest, ".")
		list = append(list, eventFrame{function, folder + module, path.Base(f.File), f.Line, folder+module == ownPackage})
	}
	slices.Reverse(list)
	return list
}

// placeOf tells errors of a kind apart: by the innermost own function of a
// panic, or by the text without what differs from one time to the next.
func placeOf(x eventException) string {
	if x.Stacktrace != nil {
		for _, f := range slices.Backward(x.Stacktrace.Frames) {
			if f.InApp {
				return f.Function
			}
		}
	}
	return digits.ReplaceAllString(quoted.ReplaceAllString(x.Value, `""`), "0")
}

var (
	digits    = regexp.MustCompile(`[0-9]+`)
	quoted    = regexp.MustCompile(`"[^"]*"`)
	addresses = regexp.MustCompile(`[0-9A-Fa-f:.]*[:.][0-9A-Fa-f:.]+`)
	personal  = []struct {
		pattern *regexp.Regexp
		instead string
	}{
		{regexp.MustCompile(`[^\s@"'<>()]+@[^\s@"'<>(),]+`), "[address]"},
		{regexp.MustCompile(`\?[^\s"]+`), "?[query]"},
		{regexp.MustCompile(`(?i)\b(bearer|basic|password|token|secret|key|cookie)([=: ]+)[^\s,;"]+`), "$1$2[secret]"},
		{regexp.MustCompile(`[A-Za-z0-9_.-]{32,}`), "[secret]"}, // tokens, hashes and keys
	}
)

// scrub takes out of a text what may be personal or secret, and cuts it.
func scrub(text string) string {
	for _, p := range personal {
		text = p.pattern.ReplaceAllString(text, p.instead)
	}
	text = addresses.ReplaceAllStringFunc(text, func(found string) string {
		rest := strings.TrimRight(found, ".:")
		_, err := netip.ParseAddr(rest)
		if _, withPort := netip.ParseAddrPort(rest); err != nil && withPort != nil {
			return found
		}
		return "[address]" + found[len(rest):]
	})
	return truncate(text, 2000)
}
