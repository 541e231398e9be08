package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestChaos breaks what the built program stands on while people write to it,
// and then counts what was acknowledged against what is there. It takes minutes
// and both cores, and so runs only for `make chaos`, with CHAOS as the number of
// times that the server is killed, and with ONLY for what has that in its name.
func TestChaos(t *testing.T) {
	rounds, _ := strconv.Atoi(os.Getenv("CHAOS"))
	if rounds == 0 {
		t.Skip("make chaos runs this")
	}
	c := startChaos(t)
	calm := func(d time.Duration) { time.Sleep(d) } // lets work pile up: there is nothing to wait for
	for _, s := range []struct {
		name   string
		times  int
		damage func() (mended time.Time)
		back   func() bool // what shows that all is well; nil: a comment is taken
	}{
		{"the server is killed (SIGKILL)", rounds, func() time.Time {
			calm(100 * time.Millisecond)
			c.kill(syscall.SIGKILL)
			mended := time.Now()
			c.start()
			return mended
		}, nil},
		{"the server is stopped (SIGTERM)", max(rounds/10, 1), func() time.Time {
			calm(200 * time.Millisecond)
			c.kill(syscall.SIGTERM)
			mended := time.Now()
			c.start()
			return mended
		}, nil},
		{"PostgreSQL is killed (SIGKILL)", min(max(rounds/10, 1), 5), func() time.Time {
			calm(300 * time.Millisecond)
			begun := c.postgresBegan()
			c.signalPostgres(syscall.SIGKILL)
			wait(t, "PostgreSQL to be back", func() bool { now := c.postgresBegan(); return !now.IsZero() && now != begun })
			return time.Now()
		}, nil},
		{"all connections to PostgreSQL are cut", rounds, func() time.Time {
			calm(50 * time.Millisecond)
			_, _ = c.db.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type = 'client backend'`)
			return time.Now()
		}, nil},
		{"PostgreSQL has no connection left", 3, func() time.Time {
			var held []net.Conn
			for range 300 {
				if conn, err := net.Dial("unix", c.cluster.socket+"/"+clusterSocket); err == nil {
					held = append(held, conn)
				}
			}
			calm(time.Second)
			for _, conn := range held {
				conn.Close()
			}
			return time.Now()
		}, nil},
		{"PostgreSQL stands still (SIGSTOP)", 3, func() time.Time {
			c.signalPostgres(syscall.SIGSTOP)
			calm(3 * time.Second)
			c.signalPostgres(syscall.SIGCONT)
			return time.Now()
		}, nil},
		{"PostgreSQL's disk is full", 2, func() time.Time {
			empty := c.fill(filepath.Join(c.dir, "disk"))
			calm(10 * time.Second)
			empty()
			return time.Now()
		}, nil},
		{"2000 connections send a header a byte at a time", 1, func() time.Time {
			var held []net.Conn
			for range 2000 {
				if conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://")); err == nil {
					held = append(held, conn)
					fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
				}
			}
			for range 20 {
				for _, conn := range held {
					fmt.Fprint(conn, "x")
				}
				calm(50 * time.Millisecond)
			}
			for _, conn := range held {
				conn.Close()
			}
			return time.Now()
		}, nil},
		{"2000 connections read a file a byte at a time", 1, func() time.Time {
			c.readSlowly(2000, 2*time.Second)
			return time.Now()
		}, nil},
		{"the server is stopped amid uploads and ZIPs", max(rounds/20, 1), func() time.Time {
			finish := c.transfer(4)
			c.kill(syscall.SIGTERM)
			mended := time.Now()
			c.start()
			finish()
			return mended
		}, nil},
		{"the NAS is killed (SIGKILL)", min(max(rounds/10, 1), 5), func() time.Time {
			calm(200 * time.Millisecond)
			c.smb.stop()
			calm(2 * time.Second)
			c.smb.start()
			return time.Now()
		}, c.readsNAS},
		{"the NAS stands still for 8 seconds (SIGSTOP)", 2, func() time.Time {
			c.smb.freeze()
			calm(8 * time.Second)
			c.smb.thaw()
			return time.Now()
		}, c.readsNAS},
		{"the NAS is full", 2, func() time.Time {
			empty := c.fill(filepath.Join(c.smb.dir, "share"))
			calm(2 * time.Second)
			empty()
			return time.Now()
		}, c.writesNAS},
		{"UPLOAD_DIR is full", 2, func() time.Time {
			empty := c.fill(filepath.Join(c.dir, "uploads"))
			calm(2 * time.Second)
			empty()
			return time.Now()
		}, c.upload},
		{fmt.Sprint(min(rounds, 16), " pictures of 48 megapixels at once"), 1, func() time.Time {
			c.sendPictures(min(rounds, 16))
			return time.Now()
		}, nil},
	} {
		if !strings.Contains(s.name, os.Getenv("ONLY")) {
			continue
		}
		if strings.HasSuffix(s.name, " is full") && os.Getuid() != 0 {
			t.Logf("%-50s skipped: only root can make small disks", s.name)
			continue
		}
		if s.back == nil {
			s.back = func() bool { return c.comment(c.people[0]) }
		}
		c.acknowledged.Store(0)
		c.refused.Store(0)
		stop := c.write(6)
		var slowest time.Duration
		for range s.times {
			mended := s.damage()
			wait(t, "all to be well again", s.back)
			slowest = max(slowest, time.Since(mended))
		}
		stop()
		t.Logf("%-50s × %-3d  acknowledged %6d, not %5d, lost %d, all well again after at most %s, memory at most %d MB",
			s.name, s.times, c.acknowledged.Load(), c.refused.Load(), c.lost(), slowest.Round(10*time.Millisecond), c.memory())
		if slowest > 2*time.Second {
			t.Errorf("%s: all was well again only after %s", s.name, slowest)
		}
	}
}

// chaos is a server in a process of its own, its database, and what it has
// acknowledged.
type chaos struct {
	t       *testing.T
	dir     string
	url     string
	port    string
	program *exec.Cmd
	cluster *cluster
	db      *pgxpool.Pool
	people  []string // tokens
	project int      // of the first one
	smb     *samba
	large   int    // a project of a few large files
	onNAS   string // address of one of them, which is nowhere but on the NAS

	acknowledged, refused atomic.Int64
	mu                    sync.Mutex
	written               []promise
	views                 int
}

// promise is a write that was acknowledged: a query that counts it, and for an
// upload its address and SHA-256.
type promise struct {
	sql  string
	arg  any
	path string
	hash string
}

func startChaos(t *testing.T) *chaos {
	dir, err := filepath.Abs("chaos-data")
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &chaos{t: t, dir: dir}
	t.Cleanup(func() { os.RemoveAll(dir) })
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "chatter"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(t, os.Mkdir(filepath.Join(dir, "disk"), 0o755))
	if os.Getuid() == 0 {
		// A disk in a file: PostgreSQL syncs to it as to any other.
		disk := filepath.Join(dir, "disk.img")
		for _, command := range [][]string{{"truncate", "--size=4G", disk}, {"mkfs.ext4", "-q", "-m", "0", disk}, {"mount", "-o", "loop", disk, filepath.Join(dir, "disk")}} {
			must(t, exec.Command(command[0], command[1:]...).Run())
		}
		t.Cleanup(func() { _ = syscall.Unmount(filepath.Join(dir, "disk"), syscall.MNT_DETACH) })
	}
	if c.cluster, err = startCluster(t.Context(), clusterOptions{dir: filepath.Join(dir, "disk", "postgres")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cluster.stop() })
	if c.db, err = pgxpool.New(t.Context(), c.cluster.dsn()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.db.Close)
	c.smb, c.port = newSamba(t), freePort(t)
	must(t, os.Mkdir(filepath.Join(dir, "uploads"), 0o755))
	if os.Getuid() == 0 {
		for path, size := range map[string]string{filepath.Join(c.smb.dir, "share"): "size=512m", filepath.Join(dir, "uploads"): "size=512m"} {
			must(t, syscall.Mount("tmpfs", path, "tmpfs", 0, size))
			t.Cleanup(func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) })
		}
	}
	c.url = "http://127.0.0.1:" + c.port
	c.start()
	t.Cleanup(func() { c.kill(syscall.SIGTERM) })
	for n := range 4 {
		name := fmt.Sprint("person", n)
		c.must("/accounts/register", "", map[string]any{"username": name, "firstname": name, "lastname": "", "email": name + "@example.com", "password": testPassword})
		var signedIn struct {
			AccessToken string `json:"access_token"`
		}
		_ = json.Unmarshal(c.must("/api/login", "", "username="+name+"&password="+testPassword), &signedIn)
		c.people = append(c.people, signedIn.AccessToken)
	}
	var made struct{ ID int }
	_ = json.Unmarshal(c.must("/api/projects", c.people[0], map[string]any{"title": "Chaos", "description": "Holds the files"}), &made)
	c.project = made.ID
	_ = json.Unmarshal(c.must("/api/projects", c.people[0], map[string]any{"title": "Large", "description": "Takes long"}), &made)
	c.large = made.ID
	for range 3 {
		content := make([]byte, 2<<20)
		rand.Read(content)
		if !c.uploadTo(c.large, []byte(hex.EncodeToString(content))) {
			t.Fatal("a file was not taken")
		}
	}
	c.onNAS = c.written[0].path
	return c
}

// start starts the server and returns once the process runs.
func (c *chaos) start() {
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	c.program = exec.Command(filepath.Join(c.dir, "chatter"), "serve")
	c.program.Dir, c.program.Stderr = c.dir, log
	c.program.Env = append(os.Environ(), "DATA_DIR="+filepath.Join(c.dir, "data"), "DATABASE_URL="+c.cluster.dsn(), "HOST=127.0.0.1", "PORT="+c.port, "TESTING=true", "NEWCOMER_COMMENTS=0",
		"MAX_PROJECTS=0", "MAX_UPLOADS=0", "UPLOAD_QUOTA_MB=0", "UPLOAD_DIR="+filepath.Join(c.dir, "uploads"), "GOMEMLIMIT=256MiB",
		"NAS_HOST=127.0.0.1:"+c.smb.port, "NAS_SHARE_NAME=chatter", "NAS_USERNAME="+sambaUser, "NAS_PASSWORD="+sambaPassword)
	c.program.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.program.Start(); err != nil {
		c.t.Fatal(err)
	}
	wait(c.t, "the server to listen", func() bool { _, err := c.send("GET", "/livez", "", nil, ""); return err == nil })
}

func (c *chaos) kill(signal syscall.Signal) {
	_ = c.program.Process.Signal(signal)
	_ = c.program.Wait()
}

func (c *chaos) signalPostgres(signal syscall.Signal) {
	text, err := os.ReadFile(filepath.Join(c.cluster.dir, clusterPidFile))
	if err != nil {
		c.t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		c.t.Fatal(err)
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err := syscall.Kill(pid, signal); err != nil {
		c.t.Fatal(err)
	}
	for _, child := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil && signal != syscall.SIGKILL {
			_ = syscall.Kill(pid, signal)
		}
	}
}

// postgresBegan is when the PostgreSQL that answers was started, or zero.
func (c *chaos) postgresBegan() (began time.Time) {
	_ = c.db.QueryRow(c.t.Context(), `select pg_postmaster_start_time()`).Scan(&began)
	return began
}

var chaosClient = &http.Client{Timeout: 15 * time.Second}

// send returns the body of a 2xx, and an error for everything else.
func (c *chaos) send(method, path, token string, body []byte, kind string) ([]byte, error) {
	r, err := http.NewRequest(method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("User-Agent", firefox)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := chaosClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s", answer.Status, text)
		// Nothing but "come again" is an answer to a fault.
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			c.t.Errorf("%s %s answered %v", method, path, err)
		}
	}
	return text, err
}

func (c *chaos) post(path, token string, body any) ([]byte, error) {
	if form, is := body.(string); is {
		return c.send("POST", path, token, []byte(form), "application/x-www-form-urlencoded")
	}
	text, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.send("POST", path, token, text, "application/json")
}

func (c *chaos) must(path, token string, body any) []byte {
	text, err := c.post(path, token, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

// keep notes a write that was acknowledged.
func (c *chaos) keep(p promise, err error) bool {
	if err != nil {
		c.refused.Add(1)
		return false
	}
	c.acknowledged.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.sql == "" {
		c.views++
	} else {
		c.written = append(c.written, p)
	}
	return true
}

var chaosNumber atomic.Int64

func (c *chaos) comment(token string) bool {
	text := fmt.Sprint("Comment ", chaosNumber.Add(1))
	_, err := c.post("/interact/comment", token, map[string]any{"url": "chaos", "content": text})
	return c.keep(promise{sql: `select count(*) from comment where content = $1`, arg: text}, err)
}

// write has so many writers do all kinds of writes until the returned function
// is called.
func (c *chaos) write(writers int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for n := range writers {
		token := c.people[n%len(c.people)]
		all.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				good := false
				switch k % 5 {
				case 0:
					good = c.comment(token)
				case 1:
					page := fmt.Sprint("liked/", chaosNumber.Add(1))
					_, err := c.post("/api/likes", token, map[string]any{"url": page})
					good = c.keep(promise{sql: `select count(*) from "like" where url = $1`, arg: page}, err)
				case 2:
					_, err := c.post("/analytics/page-view", "", map[string]any{"url": "chaos"})
					good = c.keep(promise{}, err)
				case 3:
					title := fmt.Sprint("Project ", chaosNumber.Add(1))
					_, err := c.post("/api/projects", token, map[string]any{"title": title, "description": "Made in a storm"})
					good = c.keep(promise{sql: `select count(*) from project where title = $1`, arg: title}, err)
				case 4:
					good = c.upload()
				}
				if !good {
					time.Sleep(10 * time.Millisecond) // as a client that is told to come again
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}

func (c *chaos) upload() bool {
	return c.uploadTo(c.project, bytes.Repeat([]byte(fmt.Sprintf("line %d\n", chaosNumber.Add(1))), 5000))
}

func (c *chaos) uploadTo(project int, content []byte) bool {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "chaos.txt")
	if err != nil {
		c.t.Fatal(err)
	}
	_, _ = part.Write(content)
	form.Close()
	text, err := c.send("POST", fmt.Sprintf("/api/projects/%d/files", project), c.people[0], body.Bytes(), form.FormDataContentType())
	var made struct{ ID int }
	if err == nil {
		err = json.Unmarshal(text, &made)
	}
	hash := sha256.Sum256(content)
	return c.keep(promise{sql: `select count(*) from project_file where id = $1`, arg: made.ID,
		path: fmt.Sprintf("/api/projects/%d/files/%d/download", project, made.ID), hash: hex.EncodeToString(hash[:])}, err)
}

// lost counts what was acknowledged and is not there, or there twice, and fails
// the test for it.
func (c *chaos) lost() (lost int) {
	c.settle()
	miss := func(format string, args ...any) {
		lost++
		c.t.Errorf(format, args...)
	}
	for _, p := range c.written {
		var there int
		if err := c.db.QueryRow(c.t.Context(), p.sql, p.arg).Scan(&there); err != nil || there != 1 {
			miss("%s with %v is %d, %v", p.sql, p.arg, there, err)
		}
		if p.path == "" {
			continue
		}
		content, err := c.send("GET", p.path, c.people[0], nil, "")
		if hash := sha256.Sum256(content); err != nil || hex.EncodeToString(hash[:]) != p.hash {
			miss("%s holds something else, %v", p.path, err)
		}
		var name string
		if err = c.db.QueryRow(c.t.Context(), `select filename from project_file where id = $1`, p.arg).Scan(&name); err == nil {
			content, err = os.ReadFile(c.smb.path(fileFolder, name))
		}
		if hash := sha256.Sum256(content); err != nil || hex.EncodeToString(hash[:]) != p.hash {
			miss("%s is not the same on the NAS, %v", p.path, err)
		}
	}
	var rows, counted int
	if err := c.db.QueryRow(c.t.Context(), `select (select count(*) from pageview where url = 'chaos'), (select coalesce(sum(view_count), 0) from page_total where url = 'chaos')`).Scan(&rows, &counted); err != nil {
		c.t.Fatal(err)
	}
	if rows < c.views || counted != rows {
		miss("%d views were acknowledged, %d are there and %d are counted", c.views, rows, counted)
	}
	c.written = nil
	return lost
}

// settle waits until nothing waits for the NAS, and nothing is half written.
func (c *chaos) settle() {
	deadline := time.Now().Add(2 * time.Minute)
	for left := 1; left > 0; time.Sleep(20 * time.Millisecond) {
		left = 0
		for _, folder := range storageFolders {
			entries, err := os.ReadDir(filepath.Join(c.dir, "uploads", folder))
			if err != nil {
				c.t.Fatal(err)
			}
			for _, e := range entries {
				if isStoredName(e.Name()) { // the others are of servers that were killed, and are removed after a day
					left++
				}
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%d files wait for the NAS and it does not get them", left)
		}
	}
}

// readsNAS reads a file that only the NAS has.
func (c *chaos) readsNAS() bool {
	_, err := c.send("GET", c.onNAS, c.people[0], nil, "")
	return err == nil
}

// writesNAS uploads a file, which has to be on the NAS then.
func (c *chaos) writesNAS() bool {
	if !c.upload() {
		return false
	}
	var name string
	err := c.db.QueryRow(c.t.Context(), `select filename from project_file order by id desc limit 1`).Scan(&name)
	if err == nil {
		_, err = os.Stat(c.smb.path(fileFolder, name))
	}
	return err == nil
}

// fill takes all the room that a small disk has, until the returned function is
// called.
func (c *chaos) fill(dir string) (empty func()) {
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		c.t.Fatal(err)
	}
	for end, size := int64(0), int64(1<<30); size >= 4<<10; {
		if syscall.Fallocate(int(f.Fd()), 0, end, size) == nil {
			end += size
		} else {
			size /= 2
		}
	}
	f.Close()
	return func() { os.Remove(path) }
}

// memory is the most that the server of now has had, in MB.
func (c *chaos) memory() (mb int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.program.Process.Pid))
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	_, _ = fmt.Sscan(rest, &mb)
	return mb >> 10
}

// readSlowly has so many connections ask for a file and take it a byte at a time.
func (c *chaos) readSlowly(connections int, howLong time.Duration) {
	var held []net.Conn
	for range connections {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
		if err != nil {
			continue
		}
		_ = conn.(*net.TCPConn).SetReadBuffer(4096)
		held = append(held, conn)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", c.onNAS, c.people[0])
	}
	one := make([]byte, 1)
	for began := time.Now(); time.Since(began) < howLong; {
		for _, conn := range held {
			_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, _ = conn.Read(one)
		}
	}
	for _, conn := range held {
		conn.Close()
	}
}

// transfer begins so many uploads and downloads of ZIPs, and returns when each
// is half done. finish has them go on: an upload is there as it was sent when it
// is acknowledged, and a ZIP that comes to its end is whole.
func (c *chaos) transfer(each int) (finish func()) {
	var all sync.WaitGroup
	goOn := make(chan struct{})
	var half sync.WaitGroup
	for range each {
		half.Add(2)
		all.Go(func() {
			content := bytes.Repeat([]byte(fmt.Sprintf("line %d\n", chaosNumber.Add(1))), 200_000)
			body, kind := form().file("file", "slow.txt", content).parts()
			reader, writer := io.Pipe()
			go func() {
				_, _ = writer.Write(body[:len(body)/2])
				half.Done()
				<-goOn
				_, err := writer.Write(body[len(body)/2:])
				writer.CloseWithError(err)
			}()
			r, err := http.NewRequest("POST", fmt.Sprintf("%s/api/projects/%d/files", c.url, c.project), reader)
			if err != nil {
				c.t.Error(err)
				return
			}
			r.Header.Set("Content-Type", kind)
			r.Header.Set("Authorization", "Bearer "+c.people[0])
			answer, err := chaosClient.Do(r)
			var made struct{ ID int }
			if err == nil {
				defer answer.Body.Close()
				if err = json.NewDecoder(answer.Body).Decode(&made); err == nil && answer.StatusCode != http.StatusCreated {
					err = errors.New(answer.Status)
				}
			}
			hash := sha256.Sum256(content)
			c.keep(promise{sql: `select count(*) from project_file where id = $1`, arg: made.ID,
				path: fmt.Sprintf("/api/projects/%d/files/%d/download", c.project, made.ID), hash: hex.EncodeToString(hash[:])}, err)
		})
		all.Go(func() {
			r, err := http.NewRequest("GET", fmt.Sprintf("%s/api/projects/%d/download", c.url, c.large), nil)
			if err != nil {
				c.t.Error(err)
				return
			}
			r.Header.Set("Authorization", "Bearer "+c.people[0])
			answer, err := chaosClient.Do(r)
			half.Done()
			if err != nil {
				return
			}
			defer answer.Body.Close()
			<-goOn
			whole, err := io.ReadAll(answer.Body)
			if err == nil && answer.StatusCode == http.StatusOK {
				if _, err := zip.NewReader(bytes.NewReader(whole), int64(len(whole))); err != nil {
					c.t.Errorf("a ZIP of %d bytes came to its end and is not whole: %v", len(whole), err)
				}
			}
		})
	}
	half.Wait()
	time.AfterFunc(100*time.Millisecond, func() { close(goOn) }) // while the server stops
	return all.Wait
}

// sendPictures uploads so many large pictures at once. Each is taken, or refused
// with the word to come again.
func (c *chaos) sendPictures(number int) {
	var picture bytes.Buffer
	if err := jpeg.Encode(&picture, image.NewYCbCr(image.Rect(0, 0, 8000, 6000), image.YCbCrSubsampleRatio420), nil); err != nil {
		c.t.Fatal(err)
	}
	var all sync.WaitGroup
	for range number {
		all.Go(func() {
			body, kind := form().file("image", "large.jpg", picture.Bytes()).parts()
			r, err := http.NewRequest("POST", fmt.Sprintf("%s/api/projects/%d/images", c.url, c.project), bytes.NewReader(body))
			if err != nil {
				c.t.Error(err)
				return
			}
			r.Header.Set("Content-Type", kind)
			r.Header.Set("Authorization", "Bearer "+c.people[0])
			answer, err := http.DefaultClient.Do(r)
			var made struct{ ID int }
			if err == nil {
				defer answer.Body.Close()
				if err = json.NewDecoder(answer.Body).Decode(&made); err == nil && answer.StatusCode != http.StatusCreated {
					err = errors.New(answer.Status)
					if answer.Header.Get("Retry-After") == "" {
						c.t.Errorf("a large picture was answered %s", answer.Status)
					}
				}
			}
			c.keep(promise{sql: `select count(*) from project_image where id = $1`, arg: made.ID}, err)
		})
	}
	all.Wait()
}
