package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func mustPrefixes(t testing.TB, texts ...string) (list []netip.Prefix) {
	t.Helper()
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

func TestErrorsAreJSON(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	v := st.visitor()
	v.get("/nothing/here").detail(http.StatusNotFound, "Not found")
	a := v.delete("/api/projects").detail(http.StatusMethodNotAllowed, "Method DELETE is not allowed here; allowed: GET, HEAD, POST")
	same(t, "Allow", a.header.Get("Allow"), "GET, HEAD, POST")
	for _, header := range []string{"Content-Security-Policy", "X-Content-Type-Options", "X-Request-Id", "X-Frame-Options"} {
		if a.header.Get(header) == "" {
			t.Errorf("%s is missing", header)
		}
	}
	same(t, "Content-Type", a.header.Get("Content-Type"), "application/json")
	same(t, "Cache-Control", a.header.Get("Cache-Control"), "no-store")
	v.get("/api/projects/1%00").detail(http.StatusUnprocessableEntity, "without NUL")
	v.get("/interact/likes/%ff").detail(http.StatusUnprocessableEntity, "UTF-8")
}

// JSON endpoints answer whatever form their path has, and never redirect.
func TestPathsAreNotRedirected(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	v := st.visitor()
	for _, path := range []string{"/api/projects/", "//api/projects", "/api//projects", "/api/./projects", "/api/x/../projects"} {
		v.get(path).want(http.StatusOK)
	}
	alice := st.member("alice")
	alice.post("//interact/like/", map[string]any{"url": "a"}).want(http.StatusOK)
	// HEAD is answered wherever GET is.
	for _, path := range []string{"/health", "/api/projects", "/interact/likes/a", "/interact/comments//a", "/analytics/page-views/a/timeline", "/livez", "/readyz"} {
		same(t, "HEAD "+path, len(v.do(http.MethodHead, path, nil).want(http.StatusOK).body), 0)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	v := st.visitor()
	const site = "https://www.example.com"
	for _, path := range []string{"/api/projects", "/nothing", "/api/me"} {
		a := v.do(http.MethodGet, path, nil, "Origin", site)
		same(t, "origin", a.header.Get("Access-Control-Allow-Origin"), site)
		same(t, "credentials", a.header.Get("Access-Control-Allow-Credentials"), "true")
		same(t, "exposed", a.header.Get("Access-Control-Expose-Headers"), "X-Total-Count, ETag, Retry-After, Content-Disposition")
		same(t, "Vary", strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Origin"), true)
		a = v.do(http.MethodOptions, path, nil, "Origin", site, "Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization, x-own")
		a.want(http.StatusNoContent)
		same(t, "methods", strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "PATCH"), true)
		same(t, "headers", a.header.Get("Access-Control-Allow-Headers"), "authorization, x-own")
		same(t, "age", a.header.Get("Access-Control-Max-Age"), "3600")
	}
	for _, origin := range []string{"https://www.example.com.evil.example", "https://example.com", "http://www.example.com", "null", "https://www.example.com:444", "HTTPS://WWW.EXAMPLE.COM"} {
		for _, method := range []string{http.MethodGet, http.MethodOptions} {
			a := v.do(method, "/api/projects", nil, "Origin", origin, "Access-Control-Request-Method", "POST")
			same(t, "allowed for "+origin, a.header.Get("Access-Control-Allow-Origin")+a.header.Get("Access-Control-Allow-Credentials")+a.header.Get("Access-Control-Allow-Methods"), "")
		}
	}
}

func TestForgedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	body := map[string]any{"url": "a"}
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}} {
		alice.do(http.MethodPost, "/interact/like", body, header...).detail(http.StatusForbidden, "comes from another site")
	}
	for _, header := range [][]string{{"Origin", "https://www.example.com", "Sec-Fetch-Site", "cross-site"}, {"Origin", st.url}, {"Sec-Fetch-Site", "same-origin"}, {}} {
		alice.do(http.MethodPost, "/interact/like", body, header...).want(http.StatusOK)
	}
}

func TestClientAddr(t *testing.T) {
	t.Parallel()
	s := &server{cfg: config{trustedProxies: mustPrefixes(t, "10.0.0.0/8", "::1/128")}}
	for _, c := range []struct{ remote, forwarded, want string }{
		{"203.0.113.5:1", "", "203.0.113.5"},
		{"203.0.113.5:1", "198.51.100.1", "203.0.113.5"},
		{"10.0.0.1:1", "198.51.100.1", "198.51.100.1"},
		{"10.0.0.1:1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"},
		{"10.0.0.1:1", "6.6.6.6, nonsense, 10.0.0.2", "10.0.0.2"},
		{"10.0.0.1:1", "", "10.0.0.1"},
		{"[::1]:1", "2001:db8::5", "2001:db8::5"},
		{"[::ffff:10.0.0.1]:1", "198.51.100.1", "198.51.100.1"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.remote
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		same(t, c.remote+" "+c.forwarded, s.clientAddr(r).String(), c.want)
	}
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	l := newLimiter(func() time.Time { return now }, false)
	addr := netip.MustParseAddr
	for range 5 {
		same(t, "within the burst", l.take(loginLimit, addr("203.0.113.5")), 0)
	}
	same(t, "empty", l.take(loginLimit, addr("203.0.113.5")), 12)
	same(t, "the same address in IPv6", l.take(loginLimit, addr("::ffff:203.0.113.5")), 12)
	same(t, "another limit", l.take(writeLimit, addr("203.0.113.5")), 0)
	now = now.Add(12 * time.Second)
	same(t, "one came back", l.take(loginLimit, addr("203.0.113.5")), 0)
	same(t, "and no more", l.take(loginLimit, addr("203.0.113.5")), 12)
	for i := range 5 {
		same(t, "addresses of one /64", l.take(loginLimit, addr(fmt.Sprintf("2001:db8::%d", i+1))), 0)
	}
	same(t, "the /64 is empty", l.take(loginLimit, addr("2001:db8::ffff")), 12)
	same(t, "another /64", l.take(loginLimit, addr("2001:db8:0:1::1")), 0)
	// Memory is bounded, however many addresses there are.
	a := addr("10.0.0.0")
	for range 3 * maxBuckets / 2 {
		l.take(registerLimit, a)
		a = a.Next()
	}
	same(t, "bounded", len(l.buckets) <= maxBuckets, true)
	now = now.Add(2 * time.Hour)
	l.sweep(now)
	same(t, "forgotten when full", len(l.buckets), 0)
}

func TestPanicsAndUnknownErrorsAreBare500s(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	mux := http.NewServeMux()
	mux.Handle("GET /panic", st.answers(func(w http.ResponseWriter, r *http.Request) error { panic("inner secret") }, false))
	mux.Handle("GET /error", st.answers(func(w http.ResponseWriter, r *http.Request) error { return errors.New("inner secret") }, false))
	mux.Handle("GET /half", st.answers(func(w http.ResponseWriter, r *http.Request) error {
		w.WriteHeader(http.StatusOK)
		fmt.Fprint(w, strings.Repeat("x", 100_000))
		panic("inner secret")
	}, false))
	web := httptest.NewServer(st.wrap(mux))
	defer web.Close()
	st.url = web.URL
	v := st.visitor()
	for _, path := range []string{"/panic", "/error"} {
		v.get(path).detail(http.StatusInternalServerError, "Something went wrong on our side").hides("inner secret")
	}
	same(t, "logged", strings.Count(st.logged.String(), "inner secret"), 2)
	response, err := http.Get(web.URL + "/half")
	if err == nil {
		_, err = response.Body.Read(make([]byte, 200_000))
		for err == nil {
			_, err = response.Body.Read(make([]byte, 200_000))
		}
		response.Body.Close()
	}
	if err == nil || err.Error() == "EOF" {
		t.Fatalf("a half answer looked whole: %v", err)
	}
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	alice.get("/health").want(http.StatusOK)
	same(t, "health", alice.get("/health").fields()["status"], any("healthy"))
	st.db.Close()
	dead, err := openDatabase(t.Context(), "postgres://x@127.0.0.1:1/x", 0, st.log)
	same(t, "refused", dead == nil && err != nil && isUnavailable(err), true)
	away := fail(http.StatusTeapot, "x")
	same(t, "known errors stay", publicError(fmt.Errorf("wrapped: %w", away)).status, http.StatusTeapot)
	e := publicError(err)
	same(t, "503", e.status == http.StatusServiceUnavailable && e.retryAfter > 0, true)
}

// Requests keep being answered while PostgreSQL is stopped, and work again when
// it is back.
func TestDatabaseComesAndGoes(t *testing.T) {
	t.Parallel()
	needDatabase(t)
	dir, err := throwawayDir()
	if err != nil {
		t.Fatal(err)
	}
	own, err := startCluster(t.Context(), clusterOptions{dir: dir, throwaway: true})
	if err != nil {
		t.Fatal(err)
	}
	st := newSite(t, func(c *config) { c.databaseURL = own.dsn() })
	migrations, err := loadMigrations(sqlFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), own.dsn(), migrations, st.log); err != nil {
		t.Fatal(err)
	}
	alice := st.member("alice")
	if err := own.stop(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/projects", "/interact/likes/a", "/api/me"} {
		a := alice.get(path).detail(http.StatusServiceUnavailable, "not available at the moment")
		same(t, "Retry-After", a.header.Get("Retry-After"), "5")
	}
	a := alice.get("/health").want(http.StatusServiceUnavailable)
	same(t, "status", a.fields()["status"], any("unhealthy"))
	alice.get("/livez").want(http.StatusOK)
	alice.get("/readyz").want(http.StatusServiceUnavailable)
}

func TestBodyThatEndsEarly(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	token := st.tokenOf("alice")
	conn, err := net.Dial("tcp", strings.TrimPrefix(st.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /interact/like HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nAuthorization: Bearer %s\r\n\r\n{\"url\":", token)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	same(t, "a body that ends early", response.StatusCode, http.StatusBadRequest)
}

func TestFormatting(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1024: "1 KB", 1 << 20: "1 MB", 1<<20 + 1<<19: "1.5 MB", 25 << 20: "25 MB", 3 << 30: "3.0 GB"} {
		same(t, "size", formatSize(n), want)
	}
	for n, want := range map[int]string{1: "1 second", 90: "90 seconds", 1200: "20 minutes", 121: "3 minutes"} {
		same(t, "wait", formatWait(n), want)
	}
}

// freezer is a way to a database that can be frozen: what is sent then gets no
// answer, and no connection is refused.
type freezer struct {
	net.Listener
	mu     sync.Mutex
	frozen bool
	moving *sync.Cond
}

func newFreezer(t *testing.T, network, address string) *freezer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &freezer{Listener: listener}
	f.moving = sync.NewCond(&f.mu)
	t.Cleanup(func() { f.freeze(false); listener.Close() })
	pass := func(to, from net.Conn) {
		defer to.Close()
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			f.mu.Lock()
			for f.frozen {
				f.moving.Wait()
			}
			f.mu.Unlock()
			if err != nil {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			database, err := net.Dial(network, address)
			if err != nil {
				client.Close()
				continue
			}
			go pass(database, client)
			go pass(client, database)
		}
	}()
	return f
}

func (f *freezer) freeze(yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozen = yes
	f.moving.Broadcast()
}

func TestDatabaseThatHangs(t *testing.T) {
	t.Parallel()
	var way *freezer
	st := newSite(t, func(c *config) {
		c.promptness = time.Second
		parsed, err := pgx.ParseConfig(c.databaseURL)
		if err != nil {
			t.Fatal(err)
		}
		way = newFreezer(t, "unix", fmt.Sprintf("%s/.s.PGSQL.%d", parsed.Host, parsed.Port))
		port := way.Addr().(*net.TCPAddr).Port
		c.databaseURL = fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable", port, parsed.User, parsed.Database)
	})
	v := st.visitor()
	v.get("/api/projects").want(http.StatusOK)
	st.cache.changed()
	way.freeze(true)
	var group sync.WaitGroup
	for _, path := range []string{"/health", "/api/projects", "/interact/likes/a", "/", "/api/projects/1/images/1"} {
		group.Go(func() {
			a := v.get(path).want(http.StatusServiceUnavailable)
			same(t, "Retry-After of "+path, a.header.Get("Retry-After"), "5")
		})
	}
	group.Wait()
	way.freeze(false)
	wait(t, "the database to be used again", func() bool { return v.get("/api/projects").status == http.StatusOK })
}

// However small the pool, requests that write can't wait for each other.
func TestOneConnectionIsEnough(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.databaseURL += " pool_max_conns=1" })
	alice, bob := st.member("alice"), st.member("bob")
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d", id)
	alice.post(path+"/publish", nil).want(http.StatusOK)
	entity := map[string]any{"entity_type": "project", "entity_id": id, "content": "Hello"}
	comment := alice.post("/interact/entity/comment", entity).want(http.StatusOK).id()
	var group sync.WaitGroup
	for range 4 {
		for _, p := range []*person{alice, bob} {
			group.Go(func() { p.post(fmt.Sprintf("/interact/comments/%d/like", comment), nil).want(http.StatusOK) })
			group.Go(func() { p.post("/interact/entity/comment", entity).want(http.StatusOK) })
			group.Go(func() { p.post("/interact/like", map[string]any{"url": "a"}).want(http.StatusOK) })
			group.Go(func() { p.get(path).want(http.StatusOK) })
		}
		group.Go(func() { alice.put(path, map[string]any{"title": "Robot"}).want(http.StatusOK) })
		group.Go(func() { alice.post(path+"/steps", partKinds["steps"]).want(http.StatusCreated) })
		group.Go(func() {
			alice.post(path+"/images", form().file("image", "a.png", picture(t, "png", 4, 4))).want(http.StatusCreated)
		})
	}
	group.Wait()
}

// Whose account is deleted while a request of theirs is under way is no longer
// signed in; that is no fault of the server.
func TestAccountThatGoesMeanwhile(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	for _, sql := range []string{
		`insert into "like" (url, user_id) values ('a', 999)`, `insert into comment (url, content, user_id) values ('a', 'b', 999)`,
		`insert into project (title, description, author_id) values ('a', 'b', 999)`,
	} {
		_, err := st.db.Exec(t.Context(), sql)
		same(t, sql, publicError(err).status, http.StatusUnauthorized)
	}
	_, err := st.db.Exec(t.Context(), `insert into project_tag (project_id, tag_name) values (999, 'a')`)
	same(t, "another row that is missing", publicError(err).status, http.StatusInternalServerError)
}
