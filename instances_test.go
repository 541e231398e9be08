package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// instance is one of several servers on a database and a NAS, in a process of
// its own and with an UPLOAD_DIR of its own.
type instance struct {
	t        *testing.T
	cmd      *exec.Cmd
	port     string
	dir      string
	settings []string
	*site    // for requests to it alone
}

// newInstance prepares one; the settings are beside those that every one has.
func newInstance(t *testing.T, settings ...string) *instance {
	i := &instance{t: t, port: freePort(t), dir: t.TempDir()}
	i.settings = append([]string{"TEST_RUNS_CHATTER=1", "HOST=127.0.0.1", "PORT=" + i.port, "DATA_DIR=" + i.dir, "SECRET_KEY=" + goodSecret, "TESTING=true", "NEWCOMER_COMMENTS=0",
		"LOG_FILE=" + filepath.Join(i.dir, "log")}, settings...)
	i.site = &site{t: t, url: "http://127.0.0.1:" + i.port}
	t.Cleanup(i.kill)
	return i
}

// start starts it, and returns before it serves.
func (i *instance) start() {
	i.t.Helper()
	i.cmd = exec.Command(os.Args[0], "serve")
	i.cmd.Dir, i.cmd.Env = i.dir, append(os.Environ(), i.settings...)
	must(i.t, i.cmd.Start())
}

// kill ends it as a loss of power does.
func (i *instance) kill() {
	if i.cmd != nil {
		_ = i.cmd.Process.Kill()
		_ = i.cmd.Wait()
		i.cmd = nil
	}
	if i.t.Failed() {
		text, _ := os.ReadFile(filepath.Join(i.dir, "log"))
		i.t.Logf("%s:\n%s", i.port, truncate(string(text), 5000))
	}
}

func (i *instance) serves() bool {
	answer, err := http.Get(i.url + "/readyz")
	if err == nil {
		answer.Body.Close()
	}
	return err == nil && answer.StatusCode == http.StatusOK
}

// runs is how often it has done the jobs, by their names.
func (i *instance) runs() map[string]int {
	i.t.Helper()
	runs := map[string]int{}
	for _, found := range regexp.MustCompile(`chatter_job_runs_total\{upkeep="([^"]+)"\} (\d+)`).FindAllStringSubmatch(string(i.visitor().get("/metrics").want(http.StatusOK).body), -1) {
		runs[found[1]], _ = strconv.Atoi(found[2])
	}
	return runs
}

// withToken is a program of somebody's whose token it has.
func (st *site) withToken(token string) *person {
	p := st.visitor()
	p.header.Set("Authorization", "Bearer "+token)
	return p
}

// Two instances behind nginx are one service: on one database, that they bring up
// at once, and one NAS, to which each has a way of its own.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	dsn, smb := newDatabase(t, "template0"), newSamba(t)
	var two [2]*instance
	var ways [2]*proxy
	for n := range two {
		ways[n] = newProxy(t, "127.0.0.1:"+smb.port)
		two[n] = newInstance(t, "DATABASE_URL="+dsn, "PUBLIC_URL=https://"+proxiedHost, "NAS_HOST="+ways[n].listener.Addr().String(), "NAS_SHARE_NAME=chatter", "NAS_USERNAME="+sambaUser, "NAS_PASSWORD="+sambaPassword)
		two[n].start()
	}
	one, other := two[0], two[1]
	wait(t, "both to serve", func() bool { return one.serves() && other.serves() })
	same(t, "migrations, each once", scalar(t, dsn, `select (count(*) = count(distinct version) and count(*) > 10)::text from schema_version`), "true")
	p := startNginx(t, "127.0.0.1:"+one.port, "127.0.0.1:"+other.port)
	front := &site{t: t, url: "https://" + proxiedHost, through: p.from("127.0.0.2")}

	// Jobs: each on one of them.
	wait(t, "the jobs to be done", func() bool {
		done := 0
		for _, i := range two {
			for _, n := range i.runs() {
				done += n
			}
		}
		return done == len((&server{}).jobs())
	})
	for name, n := range one.runs() {
		same(t, name+" on both", n+other.runs()[name], 1)
	}

	// Sessions.
	alice := front.member("alice")
	token := front.tokenFor("alice")
	for _, i := range two {
		i.withToken(token).get("/me").want(http.StatusOK).shows("alice")
	}
	for range 10 {
		alice.get("/me").want(http.StatusOK)
	}
	for _, i := range two {
		wait(t, "nginx to have asked it too", func() bool { // the log is written a moment later
			text, err := os.ReadFile(filepath.Join(i.dir, "log"))
			must(t, err)
			return strings.Contains(string(text), "path=/me ")
		})
	}

	// What changes on one is seen on the other.
	const uri = "/interact/like-status/page"
	one.visitor().get(uri).want(http.StatusOK).shows(`"like_count":0`)
	other.withToken(token).post("/interact/like", map[string]any{"url": "page"}).want(http.StatusOK)
	wait(t, "the like to be seen", func() bool {
		return strings.Contains(string(one.visitor().get(uri).want(http.StatusOK).body), `"like_count":1`)
	})

	// Failures are counted together, whichever instance they meet.
	for n := range 5 {
		two[n%2].visitor().post("/api/login", credentials("alice", wrongPassword)).want(http.StatusUnauthorized)
	}
	for _, i := range two {
		i.visitor().post("/api/login", credentials("alice", testPassword)).detail(http.StatusTooManyRequests, "Too many failed attempts")
	}

	testTwoStorages(t, one, other, ways[0], smb, token)
	testKilledInstance(t, front, other, dsn, token)

	// The end of a session on one is its end on the other.
	alice.delete("/api/me/sessions").want(http.StatusNoContent)
	wait(t, "the sign-out to be seen", func() bool { return other.withToken(token).get("/me").status == http.StatusUnauthorized })
}

// tokenFor signs somebody in anew.
func (st *site) tokenFor(name string) string {
	st.t.Helper()
	var in struct {
		AccessToken string `json:"access_token"`
	}
	st.visitor().post("/api/login", credentials(name, testPassword)).want(http.StatusOK).into(&in)
	return in.AccessToken
}

// testTwoStorages writes files on one and reads them on the other, also while
// one of them can't reach the NAS, and what it takes waits in its UPLOAD_DIR.
func testTwoStorages(t *testing.T, one, other *instance, way *proxy, smb *samba, token string) {
	alice, reader := one.withToken(token), other.withToken(token)
	id := alice.draft("Robot")
	files := fmt.Sprintf("/api/projects/%d/files", id)
	upload := func(p *person, name string) string {
		t.Helper()
		return fmt.Sprintf("%s/%d/download", files, p.post(files, form().file("file", name, []byte("print('"+name+"')"))).want(http.StatusCreated).id())
	}
	shows := func(p *person, path, name string) {
		t.Helper()
		same(t, name, string(p.get(path).want(http.StatusOK).body), "print('"+name+"')")
	}
	before := upload(alice, "before.py")
	shows(reader, before, "before.py")

	way.limit.Store(0)
	waiting, doomed := upload(alice, "waiting.py"), upload(alice, "doomed.py")
	shows(alice, waiting, "waiting.py")
	a := reader.get(waiting).detail(http.StatusServiceUnavailable, "still on its way")
	same(t, "Retry-After", a.header.Get("Retry-After"), "30")
	reader.get(fmt.Sprintf("/api/projects/%d/download", id)).want(http.StatusServiceUnavailable)
	shows(reader, before, "before.py")
	alice.get(before).detail(http.StatusServiceUnavailable, "does not answer")
	there := upload(reader, "there.py")
	shows(reader, there, "there.py")
	// Who deletes what waits elsewhere leaves the bytes to who has them.
	reader.delete(strings.TrimSuffix(doomed, "/download")).want(http.StatusNoContent)
	reader.get(doomed).want(http.StatusNotFound)

	way.limit.Store(-1)
	wait(t, "the file to come to the NAS", func() bool { return reader.get(waiting).status == http.StatusOK })
	for _, p := range []*person{alice, reader} {
		wait(t, "the NAS to be back for both", func() bool { return p.get(before).status == http.StatusOK })
		for path, name := range map[string]string{before: "before.py", waiting: "waiting.py", there: "there.py"} {
			shows(p, path, name)
		}
		p.get(doomed).want(http.StatusNotFound)
	}
	wait(t, "the NAS to have what there is and no more", func() bool { return len(smb.files()) == 3 })
}

// testKilledInstance kills an instance while people write and read through nginx:
// readers notice nothing, and what was acknowledged is there.
func testKilledInstance(t *testing.T, front *site, doomed *instance, dsn, token string) {
	writer := &http.Client{Transport: front.through}
	var acknowledged, refused sync.Map
	var reads, writes atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				text := fmt.Sprintf("Comment %d of %d", k, n)
				r, err := http.NewRequest(http.MethodPost, front.url+"/interact/comment", strings.NewReader(fmt.Sprintf(`{"url": "storm", "content": %q}`, text)))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("Content-Type", "application/json")
				answer, err := writer.Do(r)
				if err != nil {
					t.Error(err) // nginx is there all the time
					return
				}
				answer.Body.Close()
				writes.Add(1)
				switch answer.StatusCode {
				case http.StatusOK:
					acknowledged.Store(text, true)
				case http.StatusBadGateway, http.StatusServiceUnavailable:
					refused.Store(text, true)
				default:
					t.Errorf("a comment was answered %s", answer.Status)
				}
			}
		})
		all.Go(func() {
			for ctx.Err() == nil {
				answer, err := writer.Get(front.url + "/interact/like-status/page")
				if err != nil {
					t.Error(err)
					return
				}
				answer.Body.Close()
				if answer.StatusCode != http.StatusOK {
					t.Errorf("a reader was answered %s", answer.Status)
				}
				reads.Add(1)
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		w, r := writes.Load()+n, reads.Load()+n
		wait(t, "more to be read and written", func() bool { return t.Failed() || writes.Load() >= w && reads.Load() >= r })
	}
	rounds, _ := strconv.Atoi(os.Getenv("CHAOS"))
	for range max(rounds, 2) {
		more(20)
		doomed.kill()
		more(20)
		doomed.start()
		wait(t, "the instance to be back", doomed.serves)
	}
	stop()
	all.Wait()
	conn, err := pgx.Connect(context.Background(), dsn)
	must(t, err)
	defer conn.Close(context.Background())
	count := func(text any) (n int) {
		must(t, conn.QueryRow(context.Background(), `select count(*) from comment where url = 'storm' and content = $1`, text).Scan(&n))
		return n
	}
	kept, gone := 0, 0
	acknowledged.Range(func(text, _ any) bool {
		same(t, fmt.Sprint(text), count(text), 1)
		kept++
		return true
	})
	refused.Range(func(text, _ any) bool {
		same(t, fmt.Sprint(text, " at most once"), count(text) <= 1, true)
		gone++
		return true
	})
	t.Logf("one of two instances is killed × %d: acknowledged %d, not %d, lost 0, read by others meanwhile %d times, none in vain", max(rounds, 2), kept, gone, reads.Load())
}
