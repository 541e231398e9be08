package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The tests drive the real handler over HTTP against a PostgreSQL that they
// start themselves, with a database for each test, copied from a migrated
// template.

func TestMain(m *testing.M) {
	if os.Getenv("TEST_RUNS_CHATTER") != "" { // see startProcess
		main()
		return
	}
	code := m.Run()
	if code == 0 && everyTestRan() {
		for _, what := range contract().unseen() {
			fmt.Fprintln(os.Stderr, "the API document promises what no test has seen:", what)
			code = 1
		}
	}
	if testPostgres.cluster != nil {
		if err := testPostgres.cluster.stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// testPostgres is started by the first test that needs it.
var testPostgres struct {
	start   sync.Once
	cluster *cluster
	err     error
	made    atomic.Int64 // databases
}

func startTestPostgres() error {
	testPostgres.start.Do(func() {
		ctx := context.Background()
		dir, err := throwawayDir()
		if err == nil {
			testPostgres.cluster, err = startCluster(ctx, clusterOptions{dir: dir, throwaway: true, log: slog.New(slog.DiscardHandler)})
		}
		if err == nil {
			err = onServer(ctx, `create database template_chatter`)
		}
		if err == nil {
			var db *pgxpool.Pool
			if db, err = openMigrated(ctx, testDSN("template_chatter"), slog.New(slog.DiscardHandler)); err == nil {
				db.Close()
			}
		}
		if err == nil {
			// A template may have no connections, and a closed one lingers a moment.
			for open := 1; open > 0 && err == nil; {
				err = onConn(ctx, func(conn *pgx.Conn) error {
					return conn.QueryRow(ctx, `select count(*) from pg_stat_activity where datname = 'template_chatter'`).Scan(&open)
				})
			}
		}
		testPostgres.err = err
	})
	return testPostgres.err
}

func testDSN(database string) string {
	return strings.Replace(testPostgres.cluster.dsn(), "dbname=postgres", "dbname="+database, 1)
}

func onConn(ctx context.Context, do func(conn *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, testPostgres.cluster.dsn())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return do(conn)
}

func onServer(ctx context.Context, sql string) error {
	return onConn(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

// needDatabase skips a test where there is no PostgreSQL, and fails it in CI.
func needDatabase(t testing.TB) {
	t.Helper()
	err := startTestPostgres()
	if errors.Is(err, errNoPostgres) && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// newDatabase returns the address of a database of the test's own, copied from
// the given one; template0 gives an empty one.
func newDatabase(t testing.TB, template string) string {
	t.Helper()
	needDatabase(t)
	name := fmt.Sprintf("test_%d", testPostgres.made.Add(1))
	if err := onServer(t.Context(), fmt.Sprintf(`create database %s template %s strategy file_copy`, name, template)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := onServer(context.Background(), fmt.Sprintf(`drop database %s with (force)`, name)); err != nil {
			t.Error(err)
		}
	})
	return testDSN(name)
}

// site is a running server of a test's own.
type site struct {
	t   testing.TB
	url string
	*server
	clock   atomic.Int64 // nanoseconds that the server's clock is ahead
	stopped atomic.Pointer[time.Time]
	logged  *syncBuffer
	uploads string
	through http.RoundTripper // of everybody's browser; nil: straight to the server
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newSite starts a server without rate limits; change alters its settings,
// which start as loadConfig gives them.
func newSite(t testing.TB, change ...func(c *config)) *site {
	t.Helper()
	return newSiteOn(t, newDatabase(t, "template_chatter"), change...)
}

// newSiteOn is newSite on a database that is there already.
func newSiteOn(t testing.TB, dsn string, change ...func(c *config)) *site {
	t.Helper()
	dir := t.TempDir()
	cfg, err := loadConfig(func(name string) string {
		return map[string]string{"DATA_DIR": dir, "TESTING": "true", "DATABASE_URL": dsn, "ALLOWED_ORIGINS": "https://www.example.com", "SITE_NAME": "Test Site", "ALLOWED_METRICS": "none"}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.promptness = time.Minute // hashing is slow under the race detector
	for _, c := range change {
		c(&cfg)
	}
	st := &site{t: t, logged: &syncBuffer{}, uploads: cfg.uploadDir}
	log := slog.New(slog.NewTextHandler(st.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db, err := openDatabase(t.Context(), cfg.databaseURL, time.Minute, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	storage, err := openStorage(cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time {
		at := time.Now()
		if stopped := st.stopped.Load(); stopped != nil {
			at = *stopped
		}
		return at.Add(time.Duration(st.clock.Load()))
	}
	if st.server, err = newServer(cfg, db, storage, now, newHasher(64, 1), log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.errands.Wait)
	web := httptest.NewServer(st.handler())
	t.Cleanup(web.Close)
	st.url = web.URL
	return st
}

// stopClock lets the server's clock go on by st.clock alone, for a test whose
// outcome hangs on how much time has passed, which on a busy machine is any.
func (st *site) stopClock() { st.stopped.Store(ptr(time.Now())) }

// person is somebody with a browser: cookies are kept, redirects are shown and
// not followed.
type person struct {
	*site
	name   string
	client *http.Client
	header http.Header // sent with every request
}

func (st *site) visitor() *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		st.t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: st.through, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &person{site: st, client: client, header: http.Header{}}
}

const testPassword = "Correct-Horse-7"

// member is a visitor who has registered as name and signed in.
func (st *site) member(name string) *person {
	st.t.Helper()
	p := st.visitor()
	p.name = name
	p.post("/accounts/register", map[string]any{"username": name, "firstname": strings.ToUpper(name[:1]) + name[1:], "lastname": "Tester",
		"email": name + "@example.com", "password": testPassword}).want(http.StatusCreated)
	p.signIn()
	return p
}

func (p *person) signIn() {
	p.t.Helper()
	p.post("/api/login", url.Values{"username": {p.name}, "password": {testPassword}}).want(http.StatusOK)
}

// admin is a member who is an admin.
func (st *site) admin(name string) *person {
	st.t.Helper()
	p := st.member(name)
	if err := st.adminCommand(st.t.Context(), []string{"promote", name}, io.Discard); err != nil {
		st.t.Fatal(err)
	}
	return p
}

// answer is what came back.
type answer struct {
	t       testing.TB
	request string
	status  int
	header  http.Header
	body    []byte
}

func (p *person) get(path string) *answer { p.t.Helper(); return p.do(http.MethodGet, path, nil) }
func (p *person) post(path string, body any) *answer {
	p.t.Helper()
	return p.do(http.MethodPost, path, body)
}
func (p *person) put(path string, body any) *answer {
	p.t.Helper()
	return p.do(http.MethodPut, path, body)
}
func (p *person) delete(path string) *answer { p.t.Helper(); return p.do(http.MethodDelete, path, nil) }

// page is get as a browser asks for a page.
func (p *person) page(path string) *answer {
	p.t.Helper()
	return p.do(http.MethodGet, path, nil, "Accept", "text/html,application/xhtml+xml")
}

// submit is post as a browser sends a form.
func (p *person) submit(path string, form url.Values) *answer {
	p.t.Helper()
	return p.do(http.MethodPost, path, form, "Accept", "text/html,application/xhtml+xml", "Origin", p.url)
}

// do sends a request. A body of url.Values is a form, a *multipartForm is one
// with files, a string is sent as it is, anything else as JSON; header holds
// names and values in turn.
func (p *person) do(method, path string, body any, header ...string) *answer {
	p.t.Helper()
	var reader io.Reader
	kind := ""
	switch b := body.(type) {
	case nil:
	case url.Values:
		reader, kind = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	case *multipartForm:
		reader, kind = b.finish(), b.kind
	case string:
		reader = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			p.t.Fatal(err)
		}
		reader, kind = bytes.NewReader(text), "application/json"
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, reader)
	if err != nil {
		p.t.Fatal(err)
	}
	for name, values := range p.header {
		r.Header[name] = values
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := p.client.Do(r)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatalf("%s %s: reading the answer: %v", method, path, err)
	}
	if err := contract().check(r, response, text); err != nil {
		p.t.Error(err)
	}
	return &answer{p.t, method + " " + path, response.StatusCode, response.Header, text}
}

// want checks the status.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s answered %d, want %d: %s", a.request, a.status, status, truncate(string(a.body), 600))
	}
	return a
}

// detail checks status and error text; the error must be JSON with a text.
func (a *answer) detail(status int, text string) *answer {
	a.t.Helper()
	a.want(status)
	var body struct{ Detail *string }
	if err := json.Unmarshal(a.body, &body); err != nil || body.Detail == nil {
		a.t.Fatalf("%s: the error has no detail: %s", a.request, a.body)
	}
	if !strings.Contains(*body.Detail, text) {
		a.t.Fatalf("%s: detail %q, want %q", a.request, *body.Detail, text)
	}
	return a
}

// into decodes the body.
func (a *answer) into(v any) *answer {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%s: %v in %s", a.request, err, truncate(string(a.body), 600))
	}
	return a
}

// fields decodes the body as an object.
func (a *answer) fields() map[string]any {
	a.t.Helper()
	var m map[string]any
	a.into(&m)
	return m
}

// id is the body's field "id".
func (a *answer) id() int {
	a.t.Helper()
	var body struct{ ID int }
	a.into(&body)
	if body.ID == 0 {
		a.t.Fatalf("%s: no id in %s", a.request, a.body)
	}
	return body.ID
}

// shows checks that a page holds every one of the texts.
func (a *answer) shows(texts ...string) *answer {
	a.t.Helper()
	for _, text := range texts {
		if !strings.Contains(string(a.body), text) {
			a.t.Fatalf("%s (%d) does not show %q:\n%s", a.request, a.status, text, truncate(string(a.body), 6000))
		}
	}
	return a
}

// hides checks that a page holds none of the texts.
func (a *answer) hides(texts ...string) *answer {
	a.t.Helper()
	for _, text := range texts {
		if strings.Contains(string(a.body), text) {
			a.t.Fatalf("%s shows %q", a.request, text)
		}
	}
	return a
}

// redirects checks a 303 to a path that starts with prefix, and returns it.
func (a *answer) redirects(prefix string) string {
	a.t.Helper()
	a.want(http.StatusSeeOther)
	location := a.header.Get("Location")
	if !strings.HasPrefix(location, prefix) {
		a.t.Fatalf("%s redirects to %q, want %q", a.request, location, prefix)
	}
	return location
}

// multipartForm is a form with files.
type multipartForm struct {
	b    bytes.Buffer
	w    *multipart.Writer
	kind string
}

// form starts a multipart form with pairs of names and texts.
func form(pairs ...string) *multipartForm {
	f := &multipartForm{}
	f.w = multipart.NewWriter(&f.b)
	for i := 0; i+1 < len(pairs); i += 2 {
		_ = f.w.WriteField(pairs[i], pairs[i+1]) // a buffer takes everything
	}
	return f
}

func (f *multipartForm) file(field, name string, content []byte) *multipartForm {
	w, _ := f.w.CreateFormFile(field, name)
	_, _ = w.Write(content)
	return f
}

func (f *multipartForm) finish() io.Reader {
	f.kind = f.w.FormDataContentType()
	f.w.Close()
	return &f.b
}

// same fails unless got and want are equal.
func same[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s is %v, want %v", what, got, want)
	}
}
