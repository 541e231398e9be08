package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// startPgBouncer starts a PgBouncer before the tests' PostgreSQL, which lends its
// connections by the transaction, and returns the address of a database through
// it. extra are lines of its configuration.
func startPgBouncer(t testing.TB, dsn string, extra ...string) string {
	t.Helper()
	program := systemProgram(t, "pgbouncer")
	dir, err := os.MkdirTemp("", "chatter-pgb-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg, err := pgx.ParseConfig(dsn)
	must(t, err)
	port := freePort(t)
	conf := fmt.Sprintf(`[databases]
* = host=%s port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
%s
`, cfg.Host, cfg.Port, cfg.User, port, strings.Join(extra, "\n"))
	path := filepath.Join(dir, "pgbouncer.ini")
	must(t, os.WriteFile(path, []byte(conf), 0o644))
	cmd := exec.Command(program, path)
	if os.Getuid() == 0 { // as whom it refuses to run
		user, err := clusterUser("")
		must(t, err)
		must(t, os.Chmod(dir, 0o755))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
		cmd.Dir = "/"
	}
	background(t, cmd, syscall.SIGTERM)
	wait(t, "PgBouncer", listens("127.0.0.1:"+port))
	return fmt.Sprintf("postgres://%s@127.0.0.1:%s/%s?sslmode=disable", cfg.User, port, cfg.Database)
}

// through is whether a server on an address has found a pooler.
func through(t testing.TB, dsn string) bool {
	t.Helper()
	db, err := openDatabase(t.Context(), dsn, time.Minute, slog.New(slog.DiscardHandler))
	must(t, err)
	defer db.Close()
	return throughPooler(db.Config().ConnConfig)
}

// A pooler is found, whatever it lets pass; PostgreSQL itself is taken for none.
func TestPoolersAreFound(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t, "template_chatter")
	same(t, "PostgreSQL is a pooler", through(t, dsn), false)
	same(t, "PostgreSQL with a mode is one", through(t, dsn+" default_query_exec_mode=exec"), true)
	same(t, "PgBouncer is one", through(t, startPgBouncer(t, dsn)), true)
	same(t, "PgBouncer that takes every setting is one", through(t, startPgBouncer(t, dsn, "ignore_startup_parameters = statement_timeout, idle_in_transaction_session_timeout")), true)
}

// Through a PgBouncer with few connections, which it lends by the transaction,
// everything works: migrations, the journey of a reader, jobs, letters and backups.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	direct := newDatabase(t, "template0")
	dsn := startPgBouncer(t, direct, "default_pool_size = 6", "max_client_conn = 200")
	quiet := slog.New(slog.DiscardHandler)
	// Several start at once on an empty database.
	var starting sync.WaitGroup
	for range 3 {
		starting.Go(func() {
			db, err := openMigrated(t.Context(), dsn, quiet)
			if err != nil {
				t.Error(err)
				return
			}
			db.Close()
		})
	}
	starting.Wait()
	st := newSiteOn(t, dsn, func(c *config) { c.backupDir = t.TempDir() })
	other := newSiteOn(t, dsn, func(c *config) { c.secretKey, c.uploadDir = st.cfg.secretKey, st.cfg.uploadDir })
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for _, work := range []func(context.Context){st.tellChanges, st.hearChanges, st.deliverMail, other.tellChanges, other.hearChanges} {
		working.Go(func() { work(ctx) })
	}
	defer func() {
		stop()
		working.Wait()
	}()

	alice, bob := st.member("alice"), other.visitor()
	bob.name = "alice"
	bob.signIn()
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d", id)
	file := alice.post(path+"/files", form().file("file", "a.py", []byte("print()"))).want(http.StatusCreated).id()
	alice.post(path+"/images", form().file("image", "a.jpg", jpegOf(t, photo(700, 500, 6)))).want(http.StatusCreated)
	alice.post(path+"/steps", map[string]any{"title": "First", "content": "Do it"}).want(http.StatusCreated)
	alice.post(path+"/publish", nil).want(http.StatusOK)
	same(t, "file", string(bob.get(fmt.Sprintf("%s/files/%d/download", path, file)).want(http.StatusOK).body), "print()")
	same(t, "ZIP", len(unzip(t, bob.get(path+"/download").want(http.StatusOK).body)) > 2, true)
	for _, page := range []string{"/", "/u/alice", "/projects/new"} {
		alice.page(page).want(http.StatusOK)
	}

	// Many at once, each of whom gets a connection only for a moment, and the same
	// statements on all of them.
	var all sync.WaitGroup
	var views atomic.Int64
	for n := range 8 {
		all.Go(func() {
			reader := []*site{st, other}[n%2].visitor()
			reader.header.Set("User-Agent", firefox)
			for k := range 20 {
				reader.views("page")
				views.Add(1)
				reader.get("/api/projects?search=" + fmt.Sprint("robot", k)).want(http.StatusOK)
				reader.get(fmt.Sprint("/interact/comments/page", k)).want(http.StatusOK)
			}
		})
	}
	all.Go(func() {
		for k := range 20 {
			alice.post("/interact/comment", map[string]any{"url": "page", "content": fmt.Sprint("Comment ", k)}).want(http.StatusOK)
		}
	})
	all.Wait()
	same(t, "views", st.statsOf("page").ViewCount, int(views.Load()))
	same(t, "drifted", st.count(driftedViews), 0)

	// What changed on one is seen on the other after a second, by an answer that is
	// kept no longer.
	const uri = "/interact/like-status/page"
	bob.get(uri).want(http.StatusOK).shows(`"like_count":0`)
	alice.post("/interact/like", map[string]any{"url": "page"}).want(http.StatusOK)
	wait(t, "the like to be seen", func() bool {
		return strings.Contains(string(bob.get(uri).want(http.StatusOK).body), `"like_count":1`)
	})
	same(t, "anything is heard", st.cache.heard.Load() || other.cache.heard.Load(), false)
	same(t, "listeners", st.count(`select count(*) from pg_stat_activity where query ilike 'listen%' and datname = current_database()`), 0)

	// A letter goes out though nobody tells of it.
	st.visitor().post("/api/password/forgot", map[string]any{"email": "alice@example.com"})
	wait(t, "the letter", func() bool { return st.count(`select count(*) from outbox`) == 0 })
	letters, err := filepath.Glob(filepath.Join(st.cfg.dataDir, "mail", "*.eml"))
	must(t, err)
	same(t, "letters", len(letters) > 0, true)

	// A job runs on one instance at a time, and its lock goes with it.
	var runs, atOnce, most atomic.Int64
	entered, leave := make(chan bool, 8), make(chan bool)
	work := job{"counting", time.Hour, func(context.Context) error {
		most.Store(max(most.Load(), atOnce.Add(1)))
		defer atOnce.Add(-1)
		entered <- true
		<-leave
		runs.Add(1)
		return nil
	}}
	all.Go(func() {
		if err := st.runWhenDue(t.Context(), work); err != nil {
			t.Error(err)
		}
	})
	<-entered
	for _, st := range []*site{st, other, other, st, other, st, other, st} {
		must(t, st.runWhenDue(t.Context(), work))
	}
	close(leave)
	all.Wait()
	for range 4 {
		must(t, other.runWhenDue(t.Context(), work))
	}
	same(t, "runs, and at once", fmt.Sprint(runs.Load(), most.Load()), "1 1")
	same(t, "locks that are left", st.count(`select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`), 0)

	// A backup, which is compared with the database and brought back.
	must(t, st.runWhenDue(t.Context(), job{"backup", 0, st.backupJob}))
	archives, err := filepath.Glob(filepath.Join(st.cfg.backupDir, "*.tar"))
	must(t, err)
	same(t, "archives", len(archives), 1)
	var said bytes.Buffer
	cfg := st.cfg
	must(t, verifyBackup(t.Context(), cfg, archives[0], &said, quiet))
	same(t, said.String(), strings.Contains(said.String(), "is good"), true)
	cfg.databaseURL = replaced(t, dsn, `/test_\d+\?`, "/"+databaseOf(t, newDatabase(t, "template0"))+"?")
	cfg.uploadDir = t.TempDir()
	must(t, restoreCommand(t.Context(), cfg, archives[0], &said, quiet))
	back := newSiteOn(t, cfg.databaseURL, func(c *config) { c.uploadDir, c.secretKey = cfg.uploadDir, st.cfg.secretKey })
	same(t, "file that was brought back", string(back.visitor().get(fmt.Sprintf("%s/files/%d/download", path, file)).want(http.StatusOK).body), "print()")
	// Nobody else has got settings that were meant for something else.
	db, err := pgxpool.New(t.Context(), dsn+"&default_query_exec_mode=exec")
	must(t, err)
	defer db.Close()
	for range 12 {
		var path, timeout string
		must(t, db.QueryRow(t.Context(), `select current_setting('search_path'), current_setting('statement_timeout')`).Scan(&path, &timeout))
		same(t, "settings", path+timeout, `"$user", public0`)
	}
}

func databaseOf(t testing.TB, dsn string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	must(t, err)
	return cfg.Database
}

// A PgBouncer that goes away and comes back is waited for, as PostgreSQL is.
func TestPgBouncerThatGoesAway(t *testing.T) {
	t.Parallel()
	direct := newDatabase(t, "template_chatter")
	st := newSiteOn(t, startPgBouncer(t, direct))
	alice := st.member("alice")
	// Its connections to PostgreSQL are cut under it.
	for range 5 {
		must(t, onServer(t.Context(), fmt.Sprintf(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '%s'`, databaseOf(t, direct))))
		wait(t, "the server to take a comment", func() bool {
			a := alice.post("/interact/comment", map[string]any{"url": "a", "content": "Here"})
			same(t, fmt.Sprint(a.status, string(a.body)), a.status == http.StatusOK || a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "", true)
			return a.status == http.StatusOK
		})
	}
}
