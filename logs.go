package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// newLogger logs to w in the format of the settings.
func newLogger(cfg config, w io.Writer, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if cfg.logJSON {
		return slog.New(plainLines{slog.NewJSONHandler(w, options), w})
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// plainLines writes what slog's handler of JSON would, in little more than half of its
// time, where that takes no escapes, and leaves everything else to it: the line of a
// request was a tenth of what the shortest answers cost.
type plainLines struct {
	slog.Handler
	to io.Writer // of the same lines; takes several at once
}

func (h plainLines) Handle(ctx context.Context, rec slog.Record) error {
	plain := unescaped(rec.Message) && !rec.Time.IsZero()
	line := rec.Time.AppendFormat(append(make([]byte, 0, 400), `{"time":"`...), time.RFC3339Nano)
	line = append(append(line, `","level":"`...), rec.Level.String()...)
	line = append(append(append(line, `","msg":"`...), rec.Message...), '"')
	rec.Attrs(func(a slog.Attr) bool {
		plain = plain && unescaped(a.Key)
		line = append(append(append(line, `,"`...), a.Key...), `":`...)
		switch a.Value.Kind() {
		case slog.KindString:
			text := a.Value.String()
			plain = plain && unescaped(text)
			line = append(append(append(line, '"'), text...), '"')
		case slog.KindInt64:
			line = strconv.AppendInt(line, a.Value.Int64(), 10)
		case slog.KindFloat64:
			number := a.Value.Float64()
			plain = plain && (number == 0 || number >= 1e-6 && number < 1e21) // JSON gives others an exponent
			line = strconv.AppendFloat(line, number, 'f', -1, 64)
		default:
			plain = false
		}
		return plain
	})
	if !plain {
		return h.Handler.Handle(ctx, rec)
	}
	_, err := h.to.Write(append(line, "}\n"...))
	return err
}

// unescaped reports whether a text stands in JSON as it is.
func unescaped(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// logs is the running server's log: to stderr or LOG_FILE, at a level that can
// be changed.
type logs struct {
	*slog.Logger
	level   *levelSwitch
	lines   *lineBuffer
	file    *logFile  // nil without LOG_FILE
	reports *reporter // nil without SENTRY_DSN
}

func openLogs(cfg config, stderr io.Writer) (*logs, error) {
	l := &logs{level: newLevelSwitch(cfg.logLevel, time.Now)}
	to := stderr
	if cfg.logFile != "" {
		var err error
		if l.file, err = openLogFile(cfg.logFile, cfg.logFileMax, cfg.logFiles, stderr); err != nil {
			return nil, fmt.Errorf("LOG_FILE can't be written: %w", err)
		}
		to = l.file
	}
	l.lines = &lineBuffer{to: to}
	l.Logger = slog.New(urgent{newLogger(cfg, l.lines, l.level).Handler(), l.lines})
	if cfg.reports.endpoint != "" {
		l.reports = newReporter(cfg.reports, cfg.environment(), l.Logger, time.Now)
		l.Logger = slog.New(reporting{l.Handler(), l.reports})
	}
	return l, nil
}

// close waits a moment for the last reports.
func (l *logs) close() {
	if l.reports != nil {
		l.reports.close(2 * time.Second)
	}
	l.lines.flush()
	if l.file != nil {
		l.file.close()
	}
}

// reload does what SIGHUP asks for: it opens LOG_FILE anew, in case it was
// renamed, and takes LOG_LEVEL from the file .env as it is now.
func (l *logs) reload(getenv func() (func(string) string, error)) {
	if l.file != nil {
		if err := l.file.reopen(); err != nil {
			l.Error("LOG_FILE can't be opened anew", "error", err)
		}
	}
	get, err := getenv()
	var level slog.Level
	if err == nil {
		err = level.UnmarshalText([]byte(cmp.Or(get("LOG_LEVEL"), "info")))
	}
	if err != nil {
		l.Error("the settings can't be read again; the level of the log stays", "error", err)
		return
	}
	l.level.base.Store(int64(level))
	l.Info("the log was reloaded", "level", level)
}

// lineBuffer writes lines together: a server that answers thousands of requests
// a second would else write to the log as often. What is in it is lost when the
// process is killed.
type lineBuffer struct {
	to io.Writer

	mu    sync.Mutex
	lines []byte
	timer *time.Timer // flushes; nil before the first line
}

const (
	lineDelay = 50 * time.Millisecond // at most, from a line's coming to its writing
	manyLines = 32 << 10              // bytes that are written at once
)

func (b *lineBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.timer == nil:
		b.timer = time.AfterFunc(lineDelay, b.flush)
	case len(b.lines) == 0:
		b.timer.Reset(lineDelay)
	}
	b.lines = append(b.lines, line...)
	if len(b.lines) >= manyLines {
		b.write()
	}
	return len(line), nil
}

func (b *lineBuffer) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.write()
}

// write needs the lock.
func (b *lineBuffer) write() {
	if len(b.lines) > 0 {
		_, _ = b.to.Write(b.lines) // there is no place to say that it failed
		b.lines = b.lines[:0]
	}
}

// urgent is a log whose warnings and errors wait for no others.
type urgent struct {
	slog.Handler
	lines *lineBuffer
}

func (h urgent) Handle(ctx context.Context, rec slog.Record) error {
	err := h.Handler.Handle(ctx, rec)
	if rec.Level >= slog.LevelWarn {
		h.lines.flush()
	}
	return err
}

// levelSwitch is the level from which lines are logged: the one of the
// settings, or for a while another.
type levelSwitch struct {
	base  atomic.Int64
	other atomic.Pointer[otherLevel]
	now   func() time.Time
}

type otherLevel struct {
	level slog.Level
	until time.Time
}

func newLevelSwitch(base slog.Level, now func() time.Time) *levelSwitch {
	l := &levelSwitch{now: now}
	l.base.Store(int64(base))
	return l
}

// Level makes it a slog.Leveler.
func (l *levelSwitch) Level() slog.Level {
	if o := l.other.Load(); o != nil && l.now().Before(o.until) {
		return o.level
	}
	return slog.Level(l.base.Load())
}

// logLevelAnswer is the level that holds, and how long.
type logLevelAnswer struct {
	Level string    `json:"level"`
	Until time.Time `json:"until"`
}

// postLogLevel sets the level of this process's log for some minutes; 0
// minutes takes that back.
func (s *server) postLogLevel(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	text, minutes := in.choice("level", "", "debug", "info", "warn", "error"), in.integer("minutes", ptr(15), 0, 24*60)
	if err := in.err(); err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return err
	}
	until := s.now().UTC().Add(time.Duration(minutes) * time.Minute)
	s.level.other.Store(&otherLevel{level, until})
	s.log.Warn("an admin changed the level of the log", "level", level, "until", until, "user_id", v.ID)
	return writeJSON(w, http.StatusOK, logLevelAnswer{s.level.Level().String(), until})
}

// logFile is a file that lines are added to. Before it grows beyond max bytes
// it becomes FILE.1, the older FILE.1 becomes FILE.2, and so on; keep of them
// stay. What can't be written is lost, and said on fallback: a full disk must
// not stop the server.
type logFile struct {
	path     string
	max      int64
	keep     int
	fallback io.Writer
	lost     atomic.Int64 // lines

	mu   sync.Mutex
	f    *os.File
	size int64
	bad  bool // the last write failed
}

func openLogFile(path string, max int64, keep int, fallback io.Writer) (*logFile, error) {
	l := &logFile{path: path, max: max, keep: keep, fallback: fallback}
	return l, l.reopen()
}

// reopen opens the file anew, and makes it where it is gone.
func (l *logFile) reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open()
}

// open keeps the old file when there is no new one. The caller holds the lock.
func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if l.f != nil {
		l.f.Close() // nothing of it is buffered
	}
	l.f, l.size = f, info.Size()
	return nil
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Close()
}

// Write adds lines. It always says that it did.
func (l *logFile) Write(lines []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(lines)) > l.max {
		if err := l.rotate(); err != nil {
			// It is tried again when as much has come once more.
			l.size = 0
			fmt.Fprintln(l.fallback, "chatter: LOG_FILE can't be rotated:", err)
		}
	}
	if l.bad {
		_, _ = l.f.WriteString("\n") // after half a line
	}
	n, err := l.f.Write(lines)
	l.size += int64(n)
	if err != nil {
		l.lost.Add(int64(bytes.Count(lines, []byte{'\n'})))
		if !l.bad {
			fmt.Fprintln(l.fallback, "chatter: LOG_FILE can't be written, and lines are lost:", err)
		}
	}
	l.bad = err != nil
	return len(lines), nil
}

// rotate renames the files and opens a new one. The caller holds the lock.
func (l *logFile) rotate() error {
	name := func(i int) string { return fmt.Sprintf("%s.%d", l.path, i) }
	if l.keep == 0 {
		if err := os.Remove(l.path); err != nil {
			return err
		}
		return l.open()
	}
	for i := l.keep - 1; i > 0; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Rename(l.path, name(1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.open()
}
