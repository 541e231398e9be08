package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

// observed gives the request an id, recovers from panics, counts, and logs one
// line when it is done.
func (s *server) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		info := &requestInfo{id: s.requestID(r), page: acceptsHTML(r)}
		r = r.WithContext(context.WithValue(r.Context(), requestInfoKey{}, info))
		rec := &recorder{ResponseWriter: w}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions {
			rec.first = func(status int) { s.noteChanges(info, status) }
		}
		w.Header().Set("X-Request-Id", info.id)
		if s.draining.Load() {
			w.Header().Set("Connection", "close") // the next request goes to another server
		}
		s.meters.inFlight.Add(1)
		defer func() {
			s.meters.inFlight.Add(-1)
			reason := recover()
			if reason != nil && reason != http.ErrAbortHandler {
				s.meters.panics.Add(1)
				info.err = caught(reason)
				if rec.status == 0 {
					s.answerError(rec, r, info.err)
					reason = nil
				} else {
					reason = http.ErrAbortHandler // the client has to see that the answer is not whole
				}
			}
			ended := time.Now()
			s.meters.request(info.route, cmp.Or(rec.status, http.StatusOK), ended.Sub(started))
			s.logRequest(r, rec, info, started, ended)
			if reason != nil {
				panic(reason)
			}
		}()
		next.ServeHTTP(rec, r)
	})
}

var isRequestID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`).MatchString

// requestID is the id that a trusted proxy has given the request, or a new one.
func (s *server) requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); isRequestID(id) {
		if remote, _ := netip.ParseAddrPort(r.RemoteAddr); s.isProxy(remote.Addr().Unmap()) {
			return id
		}
	}
	return strconv.FormatUint(rand.Uint64(), 36) // nothing rests on nobody guessing it
}

// logRequest writes the line of a request. The query is no part of it, because
// links bring their secrets there.
func (s *server) logRequest(r *http.Request, rec *recorder, info *requestInfo, started, ended time.Time) {
	level := slog.LevelInfo
	if info.err != nil {
		level = slog.LevelError
	}
	if rec.status >= 500 {
		s.failures.Add(1)
	}
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	line := slog.NewRecord(ended, level, "request", 0) // without looking for the caller, as the logger would
	line.AddAttrs(slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.String("route", info.route),
		slog.Int("status", cmp.Or(rec.status, http.StatusOK)), slog.Int64("bytes", rec.bytes), slog.Float64("duration_ms", milliseconds(ended.Sub(started))),
		slog.String("address", s.clientAddr(r).String()), slog.String("request_id", info.id))
	if info.viewer.signedIn() {
		line.AddAttrs(slog.Int("user_id", info.viewer.ID))
	}
	if info.err != nil {
		line.AddAttrs(slog.Any("error", info.err))
	}
	_ = s.log.Handler().Handle(r.Context(), line) // as the logger does
}

// milliseconds is d as logs and answers give it, exact to a microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// recorder notes the status and the size of an answer.
type recorder struct {
	http.ResponseWriter
	first  func(status int) // if set, called before the answer begins
	status int
	bytes  int64
}

func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) WriteHeader(status int) {
	w.begin(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	w.begin(http.StatusOK)
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

func (w *recorder) begin(status int) {
	if w.status != 0 {
		return
	}
	w.status = status
	if w.first != nil {
		w.first(status)
	}
}

// panicError is a panic that was caught.
type panicError struct {
	reason  any
	stack   []byte
	callers []uintptr // innermost first
}

// caught makes an error of what recover returned, in the deferred function
// that called it.
func caught(reason any) error {
	callers := make([]uintptr, 64)
	return &panicError{reason, debug.Stack(), callers[:runtime.Callers(2, callers)]}
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.reason, e.stack) }

// guarded runs do, and makes an error of its panic: a goroutine that panics
// would end the process.
func guarded(do func() error) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = caught(reason)
		}
	}()
	return do()
}
