package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A Samba of a test's own, which can be stopped, frozen, refused and started
// again.
type samba struct {
	t       testing.TB
	dir     string
	port    string
	user    string // whom it runs as
	program string
	process *exec.Cmd
	limit   string // of the size of a file, in 512 bytes
	ended   chan struct{}
	stdin   io.Closer
}

const (
	sambaUser     = "nobody"
	sambaPassword = "Nas-Secret-1"
)

// newSamba starts a Samba whose share is called chatter; extra are lines of its
// [global] section.
func newSamba(t testing.TB, extra ...string) *samba {
	t.Helper()
	s := prepareSamba(t)
	conf := strings.NewReplacer("DIR", s.dir, "PORT", s.port, "USER", sambaUser, "ME", s.user, "EXTRA", strings.Join(extra, "\n")).Replace(`[global]
server role = standalone server
workgroup = TEST
netbios name = CHATTERTEST
smb ports = PORT
interfaces = 127.0.0.1/8
bind interfaces only = yes
disable netbios = yes
server min protocol = SMB2_10
passdb backend = tdbsam:DIR/private/passdb.tdb
private dir = DIR/private
lock directory = DIR/lock
state directory = DIR/state
cache directory = DIR/cache
pid directory = DIR/run
ncalrpc dir = DIR/ncalrpc
log file = DIR/log/smbd.log
load printers = no
printing = bsd
printcap name = /dev/null
disable spoolss = yes
map to guest = never
EXTRA
[chatter]
path = DIR/share
read only = no
valid users = USER
force user = ME
[readonly]
path = DIR/share
read only = yes
valid users = USER
`)
	if err := os.WriteFile(filepath.Join(s.dir, "smb.conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	add := exec.Command("smbpasswd", "-c", filepath.Join(s.dir, "smb.conf"), "-s", "-a", sambaUser)
	add.Stdin = strings.NewReader(sambaPassword + "\n" + sambaPassword + "\n")
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("smbpasswd: %v: %s", err, out)
	}
	s.start()
	t.Cleanup(s.stop)
	return s
}

// prepareSamba makes the folders of a Samba that is still to be configured.
// Without Samba the test is skipped, and fails in CI.
func prepareSamba(t testing.TB) *samba {
	t.Helper()
	program := ""
	for _, name := range []string{"smbd", "/usr/sbin/smbd"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
		}
	}
	_, err := exec.LookPath("smbpasswd")
	if program == "" || err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no smbd; install samba")
		}
		t.Skip("there is no smbd; install samba")
	}
	dir, err := os.MkdirTemp("", "chatter-smb-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, name := range []string{"private", "lock", "state", "cache", "run", "ncalrpc", "log", "share"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "private"), 0o700), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	return &samba{t: t, dir: dir, port: port, user: me.Username, program: program, limit: "unlimited"}
}

// start starts it and waits until it answers.
func (s *samba) start() {
	s.t.Helper()
	// No file can be larger than 2 MB when asked for, which is the nearest to a full disk.
	s.process = exec.Command("sh", "-c", `ulimit -f "$0"; exec "$@"`, s.limit, s.program, "--foreground", "--no-process-group", "--configfile="+filepath.Join(s.dir, "smb.conf"), "--debug-stdout")
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := s.process.StdinPipe() // it ends with this process, by itself
	if err == nil {
		err = s.process.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.stdin, s.ended = stdin, make(chan struct{})
	go func(p *exec.Cmd, ended chan struct{}) {
		_ = p.Wait()
		close(ended)
	}(s.process, s.ended)
	wait(s.t, "Samba", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// stop ends it and every connection to it at once.
func (s *samba) stop() {
	if s.process != nil {
		_ = syscall.Kill(-s.process.Process.Pid, syscall.SIGKILL)
		<-s.ended
		s.process = nil
	}
}

// freeze has it stand still with its connections open; thaw ends that.
func (s *samba) freeze() { s.signal(syscall.SIGSTOP) }
func (s *samba) thaw()   { s.signal(syscall.SIGCONT) }

func (s *samba) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(-s.process.Process.Pid, signal); err != nil {
		s.t.Fatal(err)
	}
}

func (s *samba) config() nasConfig {
	return nasConfig{host: "127.0.0.1:" + s.port, share: "chatter", username: sambaUser, password: sambaPassword}
}

// files lists what the share has, temporary names among it.
func (s *samba) files() (list []string) {
	s.t.Helper()
	root := filepath.Join(s.dir, "share")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

// path is a stored file on the share.
func (s *samba) path(folder, name string) string { return filepath.Join(s.dir, "share", folder, name) }

// withNAS has a site keep its files on a Samba. It waits long for it, unless a
// test wants to see that it does not wait.
func withNAS(s *samba) func(c *config) { return func(c *config) { c.nas = s.config() } }

// impatient has a site wait only a moment for the NAS.
func (st *site) impatient() { st.storage.nas.patience = 300 * time.Millisecond }

// onNAS is a site on a Samba of its own, with a worker.
func onNAS(t testing.TB, extra ...string) (*site, *samba) {
	t.Helper()
	smb := newSamba(t, extra...)
	st := newSite(t, withNAS(smb))
	st.storage.nas.patience = time.Minute
	t.Cleanup(st.storage.nas.close)
	return st, smb
}

// watched starts the worker that looks after the NAS.
func (st *site) watched() {
	st.storage.pause = 60 * time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		st.watchStorage(ctx)
		close(done)
	}()
	st.t.Cleanup(func() {
		cancel()
		<-done
	})
}

func (st *site) down() bool { return st.storage.nas.snapshot().down }

func TestFilesOnANAS(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	files := fmt.Sprintf("/api/projects/%d/files", id)
	big := bytes.Repeat([]byte("0123456789abcdef"), 300<<10/16*7) // not whole chunks
	up := alice.post(files, form().file("file", "a.stl", big)).want(http.StatusCreated)
	path := fmt.Sprintf("%s/%d/download", files, up.id())
	image := alice.post(fmt.Sprintf("/api/projects/%d/images", id), form().file("image", "a.jpg", jpegOf(t, photo(700, 500, 6)))).want(http.StatusCreated).id()
	alice.post("/profile/picture", form().file("file", "a.png", picture(t, "png", 30, 30))).want(http.StatusOK)
	list := smb.files()
	same(t, "files on the NAS", len(list), 5)
	for _, f := range list {
		same(t, f+" is whole", strings.Contains(f, temporary), false)
	}
	same(t, "files in UPLOAD_DIR", st.stored(), 0)
	a := alice.get(path).want(http.StatusOK)
	same(t, "content", bytes.Equal(a.body, big), true)
	part := alice.do(http.MethodGet, path, nil, "Range", "bytes=2000000-2000015").want(http.StatusPartialContent)
	same(t, "range", string(part.body), string(big[2000000:2000016]))
	alice.do(http.MethodGet, path, nil, "If-None-Match", a.header.Get("ETag")).want(http.StatusNotModified)
	alice.get(fmt.Sprintf("/api/projects/%d/images/%d/file", id, image)).want(http.StatusOK)
	content := unzip(t, alice.get(fmt.Sprintf("/api/projects/%d/download", id)).want(http.StatusOK).body)
	same(t, "ZIP", len(content["files/a.stl"]), len(big))
	sessions := len(st.storage.nas.sessions)
	same(t, "sessions are used again", sessions >= 1 && sessions <= 2, true)
	alice.delete(fmt.Sprintf("/api/projects/%d", id)).want(http.StatusNoContent)
	same(t, "files on the NAS", len(smb.files()), 1)
	alice.delete("/profile/picture").want(http.StatusOK)
	same(t, "files on the NAS", len(smb.files()), 0)
	same(t, "ledger", st.count(`select count(*) from media_file`), 0)
}

// A NAS that is gone, comes back, and the files that moved meanwhile.
func TestANASThatGoesAway(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	admin, alice := st.admin("kev"), st.member("alice")
	id := alice.draft("Robot")
	files := fmt.Sprintf("/api/projects/%d/files", id)
	upload := func(name string) (string, int) {
		t.Helper()
		n := alice.post(files, form().file("file", name, []byte("print('"+name+"')"))).want(http.StatusCreated).id()
		return fmt.Sprintf("%s/%d/download", files, n), n
	}
	before, _ := upload("before.py")
	doomed, doomedID := upload("doomed.py")
	smb.stop()
	while, _ := upload("while.py")
	same(t, "it waits in UPLOAD_DIR", st.stored(), 1)
	same(t, "the breaker is open", st.down(), true)
	same(t, "content", string(alice.get(while).want(http.StatusOK).body), "print('while.py')")
	a := alice.get(before).detail(http.StatusServiceUnavailable, "The file storage does not answer at the moment")
	same(t, "retry", a.header.Get("Retry-After"), "30")
	frame := alice.do(http.MethodGet, before, nil, "Sec-Fetch-Dest", "image", "Sec-Fetch-Site", "same-origin").want(http.StatusServiceUnavailable).shows("<svg")
	same(t, "its type", frame.header.Get("Content-Type"), "image/svg+xml")
	same(t, "its policy", frame.header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	alice.do(http.MethodGet, before, nil, "Sec-Fetch-Dest", "image", "Sec-Fetch-Site", "same-site").detail(http.StatusServiceUnavailable, "The file storage does not answer")
	alice.get(fmt.Sprintf("/api/projects/%d/download", id)).detail(http.StatusServiceUnavailable, "The file storage does not answer")
	// Who follows the links reads what is going on, and how to go on.
	project := alice.page(fmt.Sprintf("/projects/%d", id)).redirects("/p/")
	alice.do(http.MethodGet, before, nil, "Accept", "text/html", "Referer", st.url+project).want(http.StatusServiceUnavailable).
		shows("The files are away for a moment", "Nothing is lost", fmt.Sprintf(`href="%s">Try again`, before), fmt.Sprintf(`href="%s">Back to where you were`, project)).hides("NAS", "go back")
	alice.page(fmt.Sprintf("/api/projects/%d/download", id)).want(http.StatusServiceUnavailable).shows("The files are away for a moment").hides("Back to where")
	alice.delete(fmt.Sprintf("%s/%d", files, doomedID)).want(http.StatusNoContent)
	alice.get(doomed).detail(http.StatusNotFound, "File not found")
	same(t, "not yet", len(smb.files()), 2)

	state := admin.get("/health").want(http.StatusOK).fields()["storage"].(map[string]any)
	same(t, "state", state["nas"] == "down" && state["waiting"] == 1.0 && state["to_remove"] == 1.0 && strings.Contains(state["last_error"].(string), "refuses connections"), true)
	same(t, "free", state["free_bytes"].(float64) > 0, true)
	_, told := alice.get("/health").fields()["storage"]
	same(t, "for admins alone", told, false)
	admin.page("/admin/storage").want(http.StatusOK).shows("The NAS has been away since", "1 file, 17 bytes", "refuses connections")
	alice.page("/admin/storage").want(http.StatusForbidden)

	smb.start()
	same(t, "closed only by a probe", errors.Is(st.storage.nas.call(t.Context(), nil), errNASDown), true)
	st.watched()
	wait(t, "the file to move", func() bool { return st.stored() == 0 })
	wait(t, "the deletion", func() bool { return len(smb.files()) == 2 })
	for path, text := range map[string]string{before: "before.py", while: "while.py"} {
		same(t, text, string(alice.get(path).want(http.StatusOK).body), "print('"+text+"')")
	}
	state = admin.get("/health").fields()["storage"].(map[string]any)
	same(t, "state", state["nas"] == "up" && state["waiting"] == 0.0 && state["nas_free_bytes"].(float64) > 0, true)
	admin.page("/admin/storage").want(http.StatusOK).shows("up since", "Waiting for the NAS").hides("has been away")
	// Once it is up, it is found out by the worker that it went down again.
	smb.stop()
	wait(t, "the worker to notice", st.down)
	wait(t, "the log", func() bool {
		return strings.Contains(st.logged.String(), "the NAS is away; UPLOAD_DIR takes its place")
	})
}

// A server that was restarted has broken all sessions, and nobody notices.
func TestARestartedNAS(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	alice := st.member("alice")
	files := fmt.Sprintf("/api/projects/%d/files", alice.draft("Robot"))
	path := fmt.Sprintf("%s/%d/download", files, alice.post(files, form().file("file", "a.py", []byte("print()"))).want(http.StatusCreated).id())
	for range 3 {
		smb.stop()
		smb.start()
		alice.get(path).want(http.StatusOK)
		smb.stop()
		smb.start()
		alice.post(files, form().file("file", "b.py", []byte("print()"))).want(http.StatusCreated)
	}
	same(t, "on the NAS", len(smb.files()), 4)
	same(t, "in UPLOAD_DIR", st.stored(), 0)
}

// A NAS that stands still costs the first reader a moment and the next nothing.
func TestAFrozenNAS(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	alice := st.member("alice")
	files := fmt.Sprintf("/api/projects/%d/files", alice.draft("Robot"))
	path := fmt.Sprintf("%s/%d/download", files, alice.post(files, form().file("file", "a.py", []byte("print()"))).want(http.StatusCreated).id())
	st.impatient()
	smb.freeze()
	alice.get(path).want(http.StatusServiceUnavailable)
	same(t, "the breaker is open", st.down(), true)
	same(t, "why", strings.Contains(st.storage.nas.snapshot().lastError, "does not answer"), true)
	alice.get(path).want(http.StatusServiceUnavailable)
	alice.post(files, form().file("file", "b.py", []byte("print()"))).want(http.StatusCreated)
	same(t, "in UPLOAD_DIR", st.stored(), 1)
	// Frozen, it takes the connection and says nothing.
	err := st.storage.nas.probe(t.Context())
	same(t, "probe", errors.Is(err, errNASStalled), true)
	smb.thaw()
	st.storage.nas.patience = time.Minute
	st.watched()
	wait(t, "the file to move", func() bool { return st.stored() == 0 })
	alice.get(path).want(http.StatusOK)
	same(t, "on the NAS", len(smb.files()), 2)
}

// A context that ends is honoured at once, and harms nobody else.
func TestCallsThatAreGivenUp(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	n := st.storage.nas
	if err := n.probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	smb.freeze()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- n.remove(ctx, fileFolder, "a.py") }()
	go func() {
		_, err := n.open(ctx, fileFolder, "a.py")
		done <- err
	}()
	cancel()
	for range 2 {
		same(t, "given up", errors.Is(<-done, context.Canceled), true)
	}
	same(t, "the NAS is not to blame", st.down(), false)
	smb.thaw()
	if err := n.probe(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// What a NAS refuses goes to UPLOAD_DIR, and reading goes on.
func TestANASThatRefuses(t *testing.T) {
	t.Parallel()
	smb := newSamba(t)
	for _, c := range []struct {
		name    string
		change  func(c *nasConfig)
		down    bool
		problem string
	}{
		{"read only", func(c *nasConfig) { c.share = "readonly" }, false, "may not do this on the share readonly"},
		{"wrong password", func(c *nasConfig) { c.password = "wrong" }, true, "does not accept the user nobody with this password"},
		{"no such share", func(c *nasConfig) { c.share = "nowhere" }, true, "has no share called nowhere"},
		{"nobody there", func(c *nasConfig) { c.host = "127.0.0.1:1" }, true, "refuses connections on port 1"},
		{"no such name", func(c *nasConfig) { c.host = "nas.invalid:445" }, true, "nas.invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := newSite(t, withNAS(smb), func(cfg *config) { c.change(&cfg.nas) })
			t.Cleanup(st.storage.nas.close)
			st.storage.nas.patience = time.Minute
			alice := st.member("alice")
			files := fmt.Sprintf("/api/projects/%d/files", alice.draft("Robot"))
			up := alice.post(files, form().file("file", "a.stl", make([]byte, 3<<20))).want(http.StatusCreated)
			same(t, "content", len(alice.get(fmt.Sprintf("%s/%d/download", files, up.id())).want(http.StatusOK).body), 3<<20)
			same(t, "in UPLOAD_DIR", st.stored(), 1)
			same(t, "on the NAS", len(smb.files()), 0)
			same(t, "down", st.down(), c.down)
			if problem := st.storage.nas.snapshot().lastError; !strings.Contains(problem, c.problem) {
				t.Fatalf("last error is %q, want %q", problem, c.problem)
			}
		})
	}
}

func TestAFullNAS(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	smb.stop()
	smb.limit = "4096"
	smb.start()
	alice := st.member("alice")
	files := fmt.Sprintf("/api/projects/%d/files", alice.draft("Robot"))
	up := alice.post(files, form().file("file", "a.stl", make([]byte, 3<<20))).want(http.StatusCreated)
	same(t, "content", len(alice.get(fmt.Sprintf("%s/%d/download", files, up.id())).want(http.StatusOK).body), 3<<20)
	same(t, "in UPLOAD_DIR", st.stored(), 1)
	same(t, "nothing half written", len(smb.files()), 0)
	same(t, "still used for reading", st.down(), false)
	if problem := st.storage.nas.snapshot().lastError; problem != "The disk of the NAS is full." {
		t.Fatal(problem)
	}
}

// proxy is between a server and its NAS, and can cut, forge and announce late
// answers.
type proxy struct {
	listener net.Listener
	target   string
	limit    atomic.Int64 // bytes that still come from the NAS; below 0, all
	once     atomic.Bool  // cut only once
	forge    atomic.Bool  // take the signatures away
	late     atomic.Int64 // 1: announce every answer of a read or a write; then counts them
	seen     syncBuffer   // what either side says
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target}
	p.limit.Store(-1)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.pass(client)
		}
	}()
	return p
}

func (p *proxy) pass(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer server.Close()
		_, _ = io.Copy(io.MultiWriter(server, &p.seen), client)
	}()
	for {
		frame := make([]byte, 4)
		if _, err := io.ReadFull(server, frame); err != nil {
			return
		}
		frame = append(frame, make([]byte, binary.BigEndian.Uint32(frame))...)
		if _, err := io.ReadFull(server, frame[4:]); err != nil {
			return
		}
		if p.limit.Load() >= 0 && p.limit.Add(-int64(len(frame))) < 0 {
			if p.limit.Store(0); p.once.Load() {
				p.limit.Store(-1)
			}
			return
		}
		_, _ = p.seen.Write(frame)
		// [MS-SMB2] §2.2.1: the command is at 12 of a message, the flags are at 16.
		if message := frame[4:]; len(message) > 64 && message[0] == 0xfe && message[12] > 1 {
			if p.forge.Load() {
				message[16] &^= 8
			}
			if p.late.Load() > 0 && (message[12] == 8 || message[12] == 9) {
				p.late.Add(1)
				notice := append([]byte{0, 0, 0, 64 + 9}, message[:64]...)
				binary.LittleEndian.PutUint32(notice[4+8:], 0x103)
				binary.LittleEndian.PutUint16(notice[4+14:], 0)
				binary.LittleEndian.PutUint32(notice[4+16:], 1|2) // an answer, not in its turn
				if _, err := client.Write(append(notice, 9, 0, 0, 0, 0, 0, 0, 0, 0)); err != nil {
					return
				}
			}
		}
		if _, err := client.Write(frame); err != nil {
			return
		}
	}
}

// A download whose NAS dies in the middle is taken up again from the other
// place or the NAS itself, and otherwise broken off so that it shows.
func TestADownloadThatBreaksOff(t *testing.T) {
	t.Parallel()
	smb := newSamba(t)
	between := newProxy(t, "127.0.0.1:"+smb.port)
	st := newSite(t, withNAS(smb), func(c *config) { c.nas.host = between.listener.Addr().String() })
	st.storage.nas.patience = time.Minute
	t.Cleanup(st.storage.nas.close)
	alice := st.member("alice")
	files := fmt.Sprintf("/api/projects/%d/files", alice.draft("Robot"))
	big := make([]byte, 5<<20)
	for i := range big {
		big[i] = byte(i / 1000)
	}
	made := alice.post(files, form().file("file", "a.stl", big)).want(http.StatusCreated)
	path := fmt.Sprintf("%s/%d/download", files, made.id())
	name := made.fields()["filename"].(string)

	// The NAS is there again at once.
	between.once.Store(true)
	between.limit.Store(2 << 20)
	same(t, "from the NAS itself", bytes.Equal(alice.get(path).want(http.StatusOK).body, big), true)
	same(t, "it was cut", between.limit.Load() < 0 && strings.Contains(st.logged.String(), "broke off and is taken up again"), true)
	between.once.Store(false)

	// It is gone, and the directory has the file.
	if err := os.WriteFile(filepath.Join(st.uploads, fileFolder, name), big, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := st.storage.nas.probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	between.limit.Store(2 << 20)
	same(t, "from the other place", bytes.Equal(alice.get(path).want(http.StatusOK).body, big), true)

	// It is gone, and nobody has the file; or one that is another.
	for _, other := range []bool{false, true} {
		os.Remove(filepath.Join(st.uploads, fileFolder, name))
		if other {
			if err := os.WriteFile(filepath.Join(st.uploads, fileFolder, name), make([]byte, 6<<20), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		between.limit.Store(-1)
		if err := st.storage.nas.probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		between.limit.Store(2 << 20)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, st.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := alice.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		response.Body.Close()
		same(t, "the client notices", err != nil && len(got) < len(big), true)
		same(t, "what came is right", bytes.Equal(got, big[:len(got)]), true)
	}
}

// Traffic is signed, and encrypted where the server asks for it.
func TestSigningAndEncryption(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		option    string
		encrypted bool
	}{{"server smb encrypt = desired", true}, {"server smb encrypt = off", false}} {
		smb := newSamba(t, c.option)
		between := newProxy(t, "127.0.0.1:"+smb.port)
		cfg := smb.config()
		cfg.host = between.listener.Addr().String()
		st := newSite(t, func(c *config) { c.nas = cfg })
		st.storage.nas.patience = time.Minute
		t.Cleanup(st.storage.nas.close)
		alice := st.member("alice")
		files := fmt.Sprintf("/api/projects/%d/files", alice.draft("Robot"))
		alice.post(files, form().file("file", "a.py", []byte("a plain secret"))).want(http.StatusCreated)
		same(t, "stored", len(smb.files()), 1)
		same(t, "encrypted with "+c.option, !strings.Contains(between.seen.String(), "a plain secret"), c.encrypted)
	}
	// A server with a slow disk announces that an answer will be late, and does not
	// sign that; whether it requires signing or not.
	for _, option := range []string{"server signing = auto", "server signing = mandatory"} {
		smb := newSamba(t, option)
		between := newProxy(t, "127.0.0.1:"+smb.port)
		between.late.Store(1)
		n := newNAS(smb.config())
		n.cfg.host, n.patience = between.listener.Addr().String(), time.Minute
		t.Cleanup(n.close)
		up := stagedOf(t, strings.Repeat("a plain secret ", 400_000))
		for i := range 3 {
			name := fmt.Sprintf("%d.txt", i)
			must(t, n.put(t.Context(), up, fileFolder, name))
			sum, err := n.checksum(t.Context(), fileFolder, name)
			same(t, "content", err == nil && sum == up.sha256, true)
		}
		same(t, "announced", between.late.Load() > 100, true)
	}
	// One whose answers are changed on the way is not believed.
	smb := newSamba(t, "server signing = auto")
	must(t, os.MkdirAll(smb.path(fileFolder, ""), 0o755))
	must(t, os.WriteFile(smb.path(fileFolder, "0.txt"), []byte("text"), 0o644))
	between := newProxy(t, "127.0.0.1:"+smb.port)
	between.forge.Store(true)
	forged := newNAS(smb.config())
	forged.cfg.host, forged.patience = between.listener.Addr().String(), time.Minute
	t.Cleanup(forged.close)
	_, err := forged.checksum(t.Context(), fileFolder, "0.txt")
	same(t, "refused", err != nil && !errors.Is(err, fs.ErrNotExist), true)
}

// stagedOf is a staged file with a text.
func stagedOf(t testing.TB, text string) *staged {
	t.Helper()
	st, err := openStorage(config{uploadDir: t.TempDir()}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	up, err := st.stage(fileFolder, strings.NewReader(text), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.drop)
	return up
}

// Stored names are of our own making; others reach neither the NAS nor the disk.
func TestStoredNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"a.py": true, newName(".png"): true, "user_1_0a1b2c3d.png": true, "brücke v2 (1).stl": true, strings.Repeat("x", 250): false,
		"": false, ".": false, "..": false, "../a": false, `..\a`: false, "a/b": false, `a\b`: false, "CON": false, "nul.txt": false, "a.": false, "a ": false,
		"a:b": false, "a\x00": false, ".upload-a": false, "a\nb": false, "*": false, "a?": false, "\xff": false,
	} {
		same(t, fmt.Sprintf("%q", name), isStoredName(name), ok)
	}
}

// A crash at any point leaves neither a row without a file nor, after the
// sweep, a file without a row.
func TestCrashes(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	ctx := t.Context()
	stage := func() *staged {
		t.Helper()
		up, err := st.storage.stage(fileFolder, strings.NewReader("print()"), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		return up
	}
	place := func(name string) {
		t.Helper()
		up := stage()
		defer up.drop()
		must(t, st.place(ctx, up, fileFolder, name))
	}
	enter := func(name string) {
		st.exec(`insert into media_file (folder, name, state, noted_at) values ($1, $2, 'saving', $3)`, fileFolder, name, st.now().UTC())
	}
	// Staged, and nothing else yet; it goes with the server's next start but one day.
	left := stage()
	// Entered in the ledger.
	enter("entered.py")
	// Half written on the NAS.
	enter("half.py")
	must(t, os.MkdirAll(smb.path(fileFolder, ""), 0o755))
	must(t, os.WriteFile(smb.path(fileFolder, temporary+"half.py"), []byte("pri"), 0o644))
	// Written, on the NAS and beside it, and no row.
	place("written.py")
	enter("beside.py")
	must(t, os.WriteFile(filepath.Join(st.uploads, fileFolder, "beside.py"), []byte("print()"), 0o644))
	// With a row.
	place("kept.py")
	st.exec(`insert into project_file (project_id, filename, original_filename) values ($1, 'kept.py', 'kept.py')`, id)
	// The row is gone, and the file not yet.
	place("gone.py")
	st.exec(`insert into project_file (project_id, filename, original_filename) values ($1, 'gone.py', 'gone.py')`, id)
	st.exec(`delete from project_file where filename = 'gone.py'`)
	// Files of others on the same share.
	must(t, os.WriteFile(smb.path(fileFolder, "other.py"), nil, 0o644))

	must(t, st.sweep(ctx))
	same(t, "what is young stays", strings.Join(smb.files(), " "), "projects/files/.upload-half.py projects/files/kept.py projects/files/other.py projects/files/written.py")
	st.clock.Store(int64(3 * time.Hour))
	must(t, st.sweep(ctx))
	same(t, "swept", strings.Join(smb.files(), " "), "projects/files/kept.py projects/files/other.py")
	same(t, "the ledger", st.count(`select count(*) from media_file`), 1)
	same(t, "the staged one", st.stored(), 1)
	old := time.Now().Add(-48 * time.Hour)
	must(t, os.Chtimes(left.Name(), old, old))
	_, err := openStorage(st.cfg, st.log)
	must(t, err)
	same(t, "the staged one", st.stored(), 0)

	// Crashes of a move: copied and not yet deleted; half copied.
	for _, name := range []string{"kept.py", "half.py"} {
		must(t, os.WriteFile(filepath.Join(st.uploads, fileFolder, name), []byte("print()"), 0o644))
	}
	must(t, os.WriteFile(smb.path(fileFolder, temporary+"half.py"), []byte("pri"), 0o644))
	st.catchUp(ctx)
	same(t, "moved", strings.Join(smb.files(), " "), "projects/files/half.py projects/files/kept.py projects/files/other.py")
	same(t, "in UPLOAD_DIR", st.stored(), 0)
	// Two files of one name with different bytes: neither is lost.
	must(t, os.WriteFile(filepath.Join(st.uploads, fileFolder, "kept.py"), []byte("other"), 0o644))
	st.catchUp(ctx)
	same(t, "both are kept", st.stored() == 1 && strings.Contains(st.logged.String(), "has other bytes on the NAS"), true)

	// Deleting an account takes its files with it, by way of the rows alone.
	st.exec(`delete from "user" where username = 'alice'`)
	os.Remove(filepath.Join(st.uploads, fileFolder, "kept.py"))
	must(t, st.sweep(ctx))
	same(t, "after the account", strings.Join(smb.files(), " "), "projects/files/half.py projects/files/other.py")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A file that is deleted while it moves is gone afterwards.
func TestMovingWhatIsDeleted(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	ctx := t.Context()
	for i := range 40 {
		name := fmt.Sprintf("a%d.py", i)
		must(t, os.WriteFile(filepath.Join(st.uploads, fileFolder, name), bytes.Repeat([]byte("x"), 10000), 0o644))
		done := make(chan error)
		go func() { done <- st.storage.move(ctx, storedEntry{fileFolder, name, 10000}) }()
		for range i * 1000 {
			runtime.Gosched() // somewhere within the move
		}
		removed := st.storage.remove(ctx, fileFolder, name)
		moved := <-done
		if removed != nil || moved != nil { // in use by the other; both are done again until they succeed
			must(t, st.storage.move(ctx, storedEntry{fileFolder, name, 10000}))
			must(t, st.storage.remove(ctx, fileFolder, name))
		}
	}
	same(t, "on the NAS", len(smb.files()), 0)
	same(t, "in UPLOAD_DIR", st.stored(), 0)
}

// Many at once use few sessions.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	alice := st.member("alice")
	files := fmt.Sprintf("/api/projects/%d/files", alice.draft("Robot"))
	content := bytes.Repeat([]byte("x"), 1<<20)
	done := make(chan bool)
	for i := range 24 {
		go func() {
			defer func() { done <- true }()
			a := alice.post(files, form().file("file", "a.stl", append(content, byte(i))))
			if a.status != http.StatusCreated {
				t.Errorf("%d %s", a.status, a.body)
				return
			}
			body := alice.get(fmt.Sprintf("%s/%d/download", files, a.id())).body
			if len(body) != len(content)+1 || body[len(content)] != byte(i) {
				t.Errorf("file %d is another", i)
			}
		}()
	}
	for range 24 {
		<-done
	}
	same(t, "on the NAS", len(smb.files()), 24)
	st.storage.nas.mu.Lock()
	sessions := slices.Clone(st.storage.nas.sessions)
	st.storage.nas.mu.Unlock()
	if len(sessions) > maxSessions {
		t.Errorf("%d sessions", len(sessions))
	}
}
