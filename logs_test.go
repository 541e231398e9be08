package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// inJSON makes a site log as in production, and returns what gives the last
// line with a message.
func inJSON(st *site) func(message string) map[string]any {
	var out syncBuffer
	st.log = newLogger(config{logJSON: true}, &out, slog.LevelInfo)
	return func(message string) map[string]any {
		st.t.Helper()
		var last map[string]any
		wait(st.t, "the log to say "+message, func() bool {
			for line := range strings.Lines(out.String()) {
				var fields map[string]any
				if err := json.Unmarshal([]byte(line), &fields); err != nil {
					st.t.Fatalf("%v in %s", err, line)
				}
				if fields["msg"] == message {
					last = fields
				}
			}
			return last != nil
		})
		return last
	}
}

// What plainLines writes is, to the byte, what slog's own handler does.
func TestPlainLinesAreThoseOfJSON(t *testing.T) {
	t.Parallel()
	for _, attrs := range [][]slog.Attr{
		{},
		{slog.String("path", "/blog/a b.html"), slog.Int("status", 200), slog.Int64("bytes", -1), slog.Float64("duration_ms", 1234.567)},
		{slog.Float64("a", 0), slog.Float64("b", 1e-6), slog.Float64("c", 0.1+0.2), slog.Float64("d", 1e20), slog.Float64("e", math.Copysign(0, -1))},
		{slog.Float64("c", 1e-7)}, {slog.Float64("d", 1e21)}, {slog.Float64("f", -2.5)},
		{slog.Float64("none", math.NaN())}, {slog.Int(`a "key"`, 1)},
		{slog.String("path", `/a"b\c`)}, {slog.String("path", "/\x00\x1f\x7f\n")}, {slog.String("path", "/é\u2028")}, {slog.String("path", "/\xff")}, {slog.String("path", "/<&>'")},
		{slog.Any("error", errors.New("broken")), slog.Int("user_id", 3)}, {slog.Duration("wait", time.Second)}, {slog.Group("a", slog.Int("b", 1))}, {{}}, {slog.Any("level", new(slog.LevelVar))},
	} {
		for _, message := range []string{"request", "a \"quoted\" one"} {
			for _, at := range []time.Time{time.Now(), time.Date(2026, 1, 2, 3, 4, 5, 120_000_000, time.UTC), {}} {
				rec := slog.NewRecord(at, slog.LevelInfo+1, message, 0)
				rec.AddAttrs(attrs...)
				var got, want bytes.Buffer
				handler := slog.NewJSONHandler(&want, nil)
				_ = plainLines{slog.NewJSONHandler(&got, nil), &got}.Handle(t.Context(), rec)
				_ = handler.Handle(t.Context(), rec)
				same(t, fmt.Sprint(message, attrs), got.String(), want.String())
			}
		}
	}
	var fast bytes.Buffer
	rec := slog.NewRecord(time.Now(), slog.LevelInfo, "request", 0)
	rec.AddAttrs(slog.String("path", "/blog/a.html"), slog.Int("status", 200), slog.Float64("duration_ms", 0.25))
	_ = plainLines{nil, &fast}.Handle(t.Context(), rec)
	same(t, "without slog's", strings.Contains(fast.String(), `"path":"/blog/a.html","status":200,"duration_ms":0.25}`), true)
	var out bytes.Buffer
	slog.New(plainLines{slog.NewJSONHandler(&out, nil), &out}).With("instance", 2).WithGroup("request").Info("done", "status", 200)
	same(t, "with more", strings.Contains(out.String(), `"instance":2,"request":{"status":200}`), true)
}

func TestRequestLine(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	last := inJSON(st)
	a := alice.get("/api/me?token=open-sesame").want(http.StatusOK)
	line := last("request")
	for name, want := range map[string]any{"method": "GET", "path": "/api/me", "route": "GET /api/me", "status": 200.0, "bytes": float64(len(a.body)),
		"address": "127.0.0.1", "user_id": 1.0, "request_id": a.header.Get("X-Request-Id"), "level": "INFO"} {
		same(t, name, line[name], want)
	}
	same(t, "duration", line["duration_ms"].(float64) > 0, true)
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ask := func(id string) string {
		return st.visitor().do(http.MethodGet, "/livez", nil, "X-Request-Id", id).want(http.StatusOK).header.Get("X-Request-Id")
	}
	same(t, "a stranger's id is not taken", ask("abc-1") != "abc-1", true)
	st.cfg.trustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	same(t, "a proxy's is", ask("abc-1"), "abc-1")
	for _, bad := range []string{"a b", strings.Repeat("x", 65), "<b>", "é"} {
		same(t, bad, isRequestID(ask(bad)), true)
	}
	first, second := ask(""), ask("")
	same(t, "each has its own", first != second, true)
}

func TestFailedSignInLine(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	last := inJSON(st)
	st.visitor().post("/api/login", map[string]string{"username": "alice", "password": "Wrong-1-Password"}).want(http.StatusUnauthorized)
	line := last("sign-in failed")
	same(t, "address", line["address"], any("127.0.0.1"))
	same(t, "user", line["user_id"], any(1.0))
	st.visitor().post("/api/login", map[string]string{"username": "My-Password-1", "password": "Wrong-1-Password"}).want(http.StatusUnauthorized)
	line = last("sign-in failed")
	same(t, "nobody", line["user_id"], any(0.0))
	text, _ := json.Marshal(line)
	(&answer{t: t, body: text}).hides("My-Password-1", "Wrong-1-Password", "alice")
}

func TestLogLevelForAWhile(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	admin := st.admin("kev")
	same(t, "at first", st.level.Level(), slog.LevelInfo)
	for _, bad := range []map[string]any{{}, {"level": "loud"}, {"level": "debug", "minutes": -1}, {"level": "debug", "minutes": 1441}} {
		admin.post("/api/admin/log-level", bad).want(http.StatusUnprocessableEntity)
	}
	same(t, "nothing changed", st.level.Level(), slog.LevelInfo)
	admin.post("/api/admin/log-level", map[string]any{"level": "debug"}).want(http.StatusOK).shows(`"level":"DEBUG"`, `"until":"`)
	same(t, "for a while", st.level.Level(), slog.LevelDebug)
	st.clock.Add(int64(15 * time.Minute))
	same(t, "then again", st.level.Level(), slog.LevelInfo)
	admin.post("/api/admin/log-level", map[string]any{"level": "error", "minutes": 60}).want(http.StatusOK)
	same(t, "up", st.level.Level(), slog.LevelError)
	admin.post("/api/admin/log-level", map[string]any{"level": "error", "minutes": 0}).want(http.StatusOK).shows(`"level":"INFO"`)
	same(t, "taken back", st.level.Level(), slog.LevelInfo)
	st.member("alice").post("/api/admin/log-level", map[string]any{"level": "debug"}).want(http.StatusForbidden)
}

// logLines reads every line of a log file and its older ones.
func logLines(t *testing.T, path string) (files int, lines []string) {
	t.Helper()
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
	}
	return len(names), lines
}

func TestLogFileRotates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chatter.log")
	f, err := openLogFile(path, 1000, 50, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	var all sync.WaitGroup
	for writer := range 8 {
		all.Go(func() {
			for i := range 100 {
				fmt.Fprintf(f, "line %d of writer %d\n", i, writer)
			}
		})
	}
	all.Wait()
	files, lines := logLines(t, path)
	same(t, "many files", files > 10 && files <= 51, true)
	seen := map[string]bool{}
	for _, line := range lines {
		seen[line] = true
	}
	same(t, "lines", len(lines), 800)
	same(t, "whole and once", len(seen), 800)
	for i := 1; i < files; i++ {
		info, err := os.Stat(fmt.Sprintf("%s.%d", path, i))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "size", info.Size() <= 1000, true)
		same(t, "mode", info.Mode().Perm(), os.FileMode(0o600))
	}
	// The oldest go.
	few, err := openLogFile(filepath.Join(t.TempDir(), "few.log"), 50, 2, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer few.close()
	for i := range 100 {
		fmt.Fprintf(few, "this is line %d\n", i)
	}
	files, lines = logLines(t, few.path)
	same(t, "files", files, 3)
	same(t, "the newest line is in the newest file", lines[0] == "this is line 99" || lines[1] == "this is line 99" || lines[2] == "this is line 99", true)
	// Who renames the file gets a new one by SIGHUP.
	if err := errors.Join(os.Rename(path, path+".aside"), f.reopen()); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "after")
	text, err := os.ReadFile(path)
	same(t, "opened anew", err == nil && string(text) == "after\n", true)
}

// A disk that takes nothing loses lines and nothing else, and is said once.
func TestLogFileOnAFullDisk(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	var said syncBuffer
	f, err := openLogFile(filepath.Join(dir, "chatter.log"), 1000, 2, &said)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	log := newLogger(config{}, f, slog.LevelInfo)
	log.Info("before")
	healthy := f.f
	if f.f, err = os.OpenFile("/dev/full", os.O_WRONLY, 0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		log.Info("lost")
	}
	f.f.Close()
	f.f = healthy
	log.Info("after")
	same(t, "lost", f.lost.Load(), 3)
	same(t, "said once", strings.Count(said.String(), "lines are lost"), 1)
	_, lines := logLines(t, f.path)
	text := strings.Join(lines, "\n")
	same(t, "kept", strings.Contains(text, "before") && strings.Contains(text, "after") && !strings.Contains(text, "lost"), true)
	// What can't be renamed grows on.
	if err := os.Mkdir(f.path+".1", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.path+".1", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(f.path+".2", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		log.Info(strings.Repeat("x", 100))
	}
	info, err := os.Stat(f.path)
	same(t, "grown", err == nil && info.Size() > 3000, true)
	same(t, "said so", strings.Contains(said.String(), "can't be rotated"), true)
	_, err = openLogs(config{logFile: filepath.Join(dir, "no", "folder")}, io.Discard)
	same(t, "refused at the start", err != nil && strings.HasPrefix(err.Error(), "LOG_FILE can't be written"), true)
}

func TestReload(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chatter.log")
	l, err := openLogs(config{logFile: path, logFileMax: 1 << 20, logFiles: 1}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	level := "debug"
	settings := func() (func(string) string, error) { return env("LOG_LEVEL", level), nil }
	l.reload(settings)
	same(t, "level", l.level.Level(), slog.LevelDebug)
	level = "loud"
	l.reload(settings)
	same(t, "stays", l.level.Level(), slog.LevelDebug)
	l.reload(func() (func(string) string, error) { return nil, errors.New(".env: line 1 is not NAME=value") })
	same(t, "stays then too", l.level.Level(), slog.LevelDebug)
	_, lines := logLines(t, path)
	same(t, "said", len(lines) == 3 && strings.Contains(lines[1], "level=ERROR") && strings.Contains(lines[2], "line 1 is not"), true)
}

// startProcess runs the program as a process of its own and waits until it
// says where it listens.
func startProcess(t *testing.T, log func() string, settings ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "serve")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "TEST_RUNS_CHATTER=1", "PORT=0", "HOST=127.0.0.1")
	cmd.Env = append(cmd.Env, settings...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended if this fails
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	address := regexp.MustCompile(`msg=started .*address=(127\.0\.0\.1:\d+)`)
	var found []string
	wait(t, "the process to start", func() bool {
		found = address.FindStringSubmatch(log())
		return found != nil
	})
	return cmd, "http://" + found[1]
}

// SIGHUP opens the log anew; on SIGTERM /readyz turns at once and requests are
// answered until DRAIN_SECONDS are over; a second signal ends the process.
func TestSignals(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t, "template_chatter")
	path := filepath.Join(t.TempDir(), "chatter.log")
	read := func() string {
		text, _ := os.ReadFile(path)
		return string(text)
	}
	settings := []string{"DATABASE_URL=" + dsn, "DATA_DIR=" + t.TempDir(), "SECRET_KEY=" + goodSecret, "LOG_FILE=" + path, "DRAIN_SECONDS=600"}
	cmd, url := startProcess(t, read, settings...)
	if err := errors.Join(os.Rename(path, path+".aside"), cmd.Process.Signal(syscall.SIGHUP)); err != nil {
		t.Fatal(err)
	}
	wait(t, "the log to be opened anew", func() bool { return strings.Contains(read(), "the log was reloaded") })
	status := func(path string) int {
		response, err := http.Get(url + path)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	same(t, "ready", status("/readyz"), http.StatusOK)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wait(t, "/readyz to turn", func() bool { return status("/readyz") == http.StatusServiceUnavailable })
	same(t, "other requests", status("/api/projects"), http.StatusOK)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its error is the signal
	status2, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	same(t, "ended by the signal", status2.Signaled() && status2.Signal() == syscall.SIGTERM, true)

	path = filepath.Join(t.TempDir(), "second.log")
	cmd, _ = startProcess(t, read, append(settings, "LOG_FILE="+path, "DRAIN_SECONDS=0")...)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}
