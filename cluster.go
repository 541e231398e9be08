package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	errNoPostgres  = errors.New("no PostgreSQL was found here: set DATABASE_URL to one, or install the package postgresql")
	errClusterBusy = errors.New("another Chatter is running on this DATA_DIR: stop it or set another DATA_DIR")
)

const (
	clusterSocket  = ".s.PGSQL.5432"
	clusterPidFile = "postmaster.pid"
)

// clusterOptions says where the server's own PostgreSQL lives.
type clusterOptions struct {
	dir       string // data directory; its siblings dir.lock, dir.socket and dir.new-* belong to it
	throwaway bool   // for tests: nothing is synced to disk, and stop removes everything
	log       *slog.Logger
}

// cluster is a PostgreSQL that lives and dies with the server. It listens on a
// Unix socket only, in a directory of mode 0700, and trusts whoever gets there.
// The zero fields are filled by open; after that only supervise starts and
// stops processes.
type cluster struct {
	clusterOptions
	user   *syscall.Credential // whom initdb and postgres run as; nil: the server's user
	bin    string              // directory of initdb and postgres
	socket string              // directory of the socket
	name   string              // cluster_name; stands in the command line or title of every process of the cluster
	lock   *os.File

	cancel  context.CancelFunc // ends supervise
	ended   chan struct{}      // closed when supervise has ended
	release sync.Once
	stopErr error // read after ended and release
}

// startCluster starts the PostgreSQL in o.dir, which it creates when missing,
// and returns when it answers. ctx limits the start only; stop ends what it
// started. It fails with errNoPostgres or errClusterBusy, or with PostgreSQL's
// own last words.
func startCluster(ctx context.Context, o clusterOptions) (*cluster, error) {
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if o.dir, err = filepath.Abs(o.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(o.dir), 0o700); err != nil {
		return nil, err
	}
	c := &cluster{clusterOptions: o, ended: make(chan struct{})}
	if c.lock, err = takeLock(ctx, o.dir+".lock"); err != nil {
		return nil, err
	}
	p, err := c.open(ctx)
	if err != nil {
		c.cleanUp()
		return nil, err
	}
	ctx, c.cancel = context.WithCancel(context.Background())
	go c.supervise(ctx, p)
	return c, nil
}

// dsn is the connection string of the cluster's database.
func (c *cluster) dsn() string {
	if c.throwaway {
		return clusterDSN(c.socket, "postgres")
	}
	return clusterDSN(c.socket, "chatter")
}

// clusterDSN names the port too, because pgx would take PGPORT from the environment.
func clusterDSN(socket, database string) string {
	return "host=" + socket + " port=5432 user=postgres dbname=" + database + " sslmode=disable"
}

// stop ends open transactions, shuts PostgreSQL down and waits for its end.
// Further calls answer the same.
func (c *cluster) stop() error {
	c.cancel()
	<-c.ended
	c.release.Do(c.cleanUp)
	return c.stopErr
}

// cleanUp removes what isn't needed without a running PostgreSQL, then lets go
// of the lock. Without a socket open didn't get far enough to own anything.
func (c *cluster) cleanUp() {
	defer c.lock.Close()
	if c.socket == "" {
		return
	}
	c.clearSocket()
	os.Remove(c.socket)
	if c.throwaway {
		c.stopErr = errors.Join(c.stopErr, os.RemoveAll(c.dir), os.Remove(c.lock.Name()))
	}
}

// runningCluster is the connection string of the cluster that a running server
// has on dir: for a command that is run beside it.
func runningCluster(dir string) (dsn string, ok bool) {
	lock, err := os.Open(dir + ".lock")
	if err != nil {
		return "", false
	}
	defer lock.Close()
	// A shared lock, so that two such commands don't take each other for a server.
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != syscall.EWOULDBLOCK {
		return "", false
	}
	b, _ := os.ReadFile(filepath.Join(dir, clusterPidFile))
	lines := strings.Split(string(b), "\n") // pid, data directory, start time, port, socket directory …
	if len(lines) < 5 {
		return "", false
	}
	conn, err := net.Dial("unix", filepath.Join(lines[4], clusterSocket))
	if err != nil {
		return "", false
	}
	conn.Close()
	return clusterDSN(lines[4], "chatter"), true
}

// takeLock locks the file for this process; postgres doesn't inherit it. The
// lock of a killed server goes a moment after it, therefore the wait.
func takeLock(ctx context.Context, name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for start := time.Now(); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err == syscall.EWOULDBLOCK {
			err = errClusterBusy
		}
		if err != errClusterBusy || time.Since(start) > 3*time.Second || pause(ctx, 50*time.Millisecond) != nil {
			f.Close()
			return nil, cmp.Or(ctx.Err(), err)
		}
	}
}

// open brings the cluster up, with the lock held.
func (c *cluster) open(ctx context.Context) (*postgresProcess, error) {
	b, err := os.ReadFile(filepath.Join(c.dir, "PG_VERSION"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	version := strings.TrimSpace(string(b)) // empty: no cluster yet
	if c.user, err = clusterUser(c.dir); err != nil {
		return nil, err
	}
	if c.bin, err = findPostgres(version, c.user); err != nil {
		return nil, err
	}
	siblings, _ := os.ReadDir(filepath.Dir(c.dir))
	for _, s := range siblings {
		if strings.HasPrefix(s.Name(), filepath.Base(c.dir)+".new-") {
			os.RemoveAll(filepath.Join(filepath.Dir(c.dir), s.Name()))
		}
	}
	if version == "" {
		if err := c.create(ctx); err != nil {
			return nil, err
		}
	}
	// The inode, not the path: the same path may be another directory to a
	// process in a container that this machine's /proc shows too.
	var st syscall.Stat_t
	if err := syscall.Stat(c.dir, &st); err != nil {
		return nil, err
	}
	c.name = "chatter-" + shortHash(fmt.Sprint(st.Dev, st.Ino))
	if c.socket, err = socketDir(c.dir, c.user); err != nil {
		return nil, err
	}
	return c.launch(ctx)
}

// create makes the cluster beside its place and renames it when complete, so
// that there is never half a cluster.
func (c *cluster) create(ctx context.Context) error {
	if err := os.Remove(c.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no PostgreSQL cluster can be made there: %w", err)
	}
	parent := filepath.Dir(c.dir)
	half, err := os.MkdirTemp(parent, filepath.Base(c.dir)+".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(half)
	if c.user != nil {
		if err := os.Chown(half, int(c.user.Uid), int(c.user.Gid)); err != nil {
			return err
		}
	}
	args := []string{"-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"}
	if c.throwaway {
		args = append(args, "--no-sync")
	}
	p, err := c.start("initdb", half, syscall.SIGKILL, args...)
	if err != nil {
		return err
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
		return ctx.Err()
	}
	if p.err != nil {
		return p.explain("initdb failed")
	}
	if err := os.Rename(half, c.dir); err != nil || c.throwaway {
		return err
	}
	f, err := os.Open(parent)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// postgresProcess is a running initdb or postgres.
type postgresProcess struct {
	cmd    *exec.Cmd
	output outputTail
	exited chan struct{}
	err    error // how it ended; read after exited
}

// start runs a program of PostgreSQL on dir, which it gets as an open file:
// the user it runs as may not be allowed to enter the directories above. It
// gets orphaned as a signal when the server dies. Of the environment, which
// may hold secrets and PG variables, it sees next to nothing.
func (c *cluster) start(program, dir string, orphaned syscall.Signal, args ...string) (*postgresProcess, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	cmd := exec.Command(filepath.Join(c.bin, program), append([]string{"-D", "/proc/self/fd/3"}, args...)...)
	cmd.ExtraFiles = []*os.File{d}
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LD_LIBRARY_PATH=" + os.Getenv("LD_LIBRARY_PATH"), "LC_ALL=C.UTF-8", "TZ=UTC"}
	p := &postgresProcess{cmd: cmd, output: outputTail{log: c.log}, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	cmd.WaitDelay = time.Second // children of a killed postmaster keep the pipe open
	// A group of its own: Ctrl-C in a terminal reaches the server only, which drains first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.user, Setpgid: true, Pdeathsig: orphaned}
	started := make(chan error)
	go func() {
		// Pdeathsig comes when the thread that forked ends, so this one is kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.exited)
		}
	}()
	return p, <-started
}

// stop asks for a fast shutdown, and for an immediate one when that takes too
// long; the next start then recovers from the log.
func (p *postgresProcess) stop() error {
	p.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.exited
	}
	return p.err
}

// explain is an error of what happened, how the process ended and what it said last.
func (p *postgresProcess) explain(what string) error {
	return fmt.Errorf("%s: %w: %s", what, cmp.Or(p.err, errors.New("exit status 0")), strings.Join(p.output.last, "; "))
}

// supervise starts postgres again when it dies, and tries until it runs or ctx
// ends: when a disk is full, there is room again some time. After five deaths in
// a minute it takes a second before each further one.
func (c *cluster) supervise(ctx context.Context, p *postgresProcess) {
	defer close(c.ended)
	var deaths []time.Time
	for {
		select {
		case <-ctx.Done():
			c.stopErr = p.stop()
			return
		case <-p.exited:
		}
		c.log.Warn("PostgreSQL died and is started again", "error", p.explain("PostgreSQL died"))
		var said time.Time
		for running := false; !running; {
			deaths = slices.DeleteFunc(append(deaths, time.Now()), func(t time.Time) bool { return time.Since(t) > time.Minute })
			if len(deaths) > 5 && pause(ctx, time.Second) != nil {
				return
			}
			next, err := c.launch(ctx)
			switch {
			case err == nil:
				p, running = next, true
			case ctx.Err() != nil:
				return
			case time.Since(said) > time.Minute: // the log may be on the disk that is full
				said = time.Now()
				c.log.Error("PostgreSQL does not start, and is tried again", "error", err)
			}
		}
	}
}

// launch starts postgres and returns when it answers. What a killed
// predecessor left may make it end once or twice, so it is tried repeatedly.
func (c *cluster) launch(ctx context.Context) (*postgresProcess, error) {
	args := []string{"-k", c.socket, "-p", "5432", "-c", "cluster_name=" + c.name, "-c", "listen_addresses=", "-c", "shared_buffers=64MB"}
	orphaned := syscall.SIGINT
	if c.throwaway {
		args = append(args, "-c", "max_connections=200", "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "jit=off")
		orphaned = syscall.SIGQUIT
	} else {
		args = append(args, "-c", "max_connections=100", "-c", "fsync=on")
	}
	for tries := 0; ; tries++ {
		if err := c.clearLeftovers(ctx); err != nil {
			return nil, err
		}
		p, err := c.start("postgres", c.dir, orphaned, args...)
		if err != nil {
			return nil, err
		}
		if err = c.awaitReady(ctx, p); err == nil {
			return p, nil
		}
		p.stop()
		if tries == 10 {
			return nil, err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// awaitReady returns when postgres answers and has the database, or when it has ended.
func (c *cluster) awaitReady(ctx context.Context, p *postgresProcess) error {
	for {
		select {
		case <-p.exited:
			return p.explain("PostgreSQL did not start")
		case <-time.After(10 * time.Millisecond):
		}
		err := c.prepareDatabase(ctx)
		var answer *pgconn.PgError
		if err == nil || ctx.Err() != nil || errors.As(err, &answer) && answer.Code != "57P03" { // still starting up
			return cmp.Or(ctx.Err(), err)
		}
	}
}

// prepareDatabase creates the database chatter when it is missing.
func (c *cluster) prepareDatabase(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, clusterDSN(c.socket, "postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	exists := c.throwaway
	if !exists {
		err = conn.QueryRow(ctx, "select exists (select from pg_database where datname = 'chatter')").Scan(&exists)
	}
	if err == nil && !exists {
		_, err = conn.Exec(ctx, "create database chatter encoding 'UTF8' locale 'C.UTF-8' template template0")
	}
	return err
}

// clearLeftovers ends the processes that a killed server or postmaster left and
// removes the files that would keep postgres from starting. The lock is held,
// so none of them is in use.
func (c *cluster) clearLeftovers(ctx context.Context) error {
	for start := time.Now(); ; {
		pids, sig := c.leftovers(), syscall.SIGQUIT // for children without their postmaster
		if len(pids) == 0 {
			break
		}
		if postmaster := c.postmasterPid(); slices.Contains(pids, postmaster) {
			pids, sig = []int{postmaster}, syscall.SIGINT
		}
		if time.Since(start) > 30*time.Second {
			return fmt.Errorf("process %d of an earlier PostgreSQL on this DATA_DIR doesn't end: end it by hand", pids[0])
		}
		for _, pid := range pids {
			syscall.Kill(pid, sig)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	c.clearSocket()
	// The number in the pid file may belong to another process of the same user
	// by now, for which postgres would refuse to start. A postmaster that somebody
	// started by hand on this directory stays, and postgres refuses rightly.
	pid := c.postmasterPid()
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	dir, dirErr := os.Stat(c.dir)
	if postgresCommand(pid) == nil || err == nil && dirErr == nil && !os.SameFile(cwd, dir) {
		os.Remove(filepath.Join(c.dir, clusterPidFile))
	}
	return nil
}

// leftovers are the living processes of this cluster.
func (c *cluster) leftovers() []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && bytes.Contains(postgresCommand(pid), []byte(c.name)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// postgresCommand is the command line or title of a living postgres, nil for any other process.
func postgresCommand(pid int) []byte {
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // empty when it has ended and nobody waited for it
	if string(comm) != "postgres\n" || len(cmdline) == 0 {
		return nil
	}
	return cmdline
}

// postmasterPid is the number in the pid file, 0 without one.
func (c *cluster) postmasterPid() int {
	b, _ := os.ReadFile(filepath.Join(c.dir, clusterPidFile))
	line, _, _ := strings.Cut(string(b), "\n")
	pid, _ := strconv.Atoi(line)
	return pid
}

func (c *cluster) clearSocket() {
	os.Remove(filepath.Join(c.socket, clusterSocket))
	os.Remove(filepath.Join(c.socket, clusterSocket+".lock"))
}

// clusterUser says whom PostgreSQL, which refuses root, runs as: the owner of
// an existing cluster, else postgres, else nobody; nil for the server's user.
func clusterUser(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	var st syscall.Stat_t
	if syscall.Stat(filepath.Join(dir, "PG_VERSION"), &st) == nil && st.Uid != 0 {
		return &syscall.Credential{Uid: st.Uid, Gid: st.Gid}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, cmp.Or(uidErr, gidErr)
}

// findPostgres finds a directory with a working initdb and postgres, of the
// major version if one is given: in PATH, then Debian's places, newest first.
func findPostgres(version string, as *syscall.Credential) (string, error) {
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	major := func(dir string) int { n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir))); return n }
	slices.SortFunc(debian, func(a, b string) int { return cmp.Compare(major(b), major(a)) })
	err := errNoPostgres
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), debian...) {
		has := programVersion(filepath.Join(dir, "initdb"), as)
		if has == "" || has != programVersion(filepath.Join(dir, "postgres"), as) {
			continue
		}
		if version == "" || version == has {
			return dir, nil
		}
		err = fmt.Errorf("the database was made by PostgreSQL %s, which is not installed: install postgresql-%[1]s or set DATABASE_URL", version)
	}
	return "", err
}

// programVersion is the major version of a program of PostgreSQL, or empty when it doesn't run.
func programVersion(path string, as *syscall.Credential) string {
	if !filepath.IsAbs(path) {
		return ""
	}
	cmd := exec.Command(path, "--version") // such as "initdb (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	out, err := cmd.Output()
	var major int
	_, number, _ := strings.Cut(string(out), "(PostgreSQL) ")
	if _, scanErr := fmt.Sscanf(number, "%d", &major); err != nil || scanErr != nil {
		return ""
	}
	return strconv.Itoa(major)
}

// plainPath needs no quoting in a connection string or in PostgreSQL's settings.
var plainPath = regexp.MustCompile(`^/[\w/.+-]+$`)

// socketDir makes the directory of the socket: beside dir if the socket's
// address can hold the path and the user can get there, else in the system's
// directory for temporary files.
func socketDir(dir string, as *syscall.Credential) (string, error) {
	name := "chatter-" + shortHash(dir)
	for _, place := range []string{dir + ".socket", filepath.Join(os.TempDir(), name), filepath.Join("/tmp", name)} {
		if plainPath.MatchString(place) && len(place)+1+len(clusterSocket) <= 107 && canEnter(filepath.Dir(place), as) {
			if err := makePrivate(place, as); err != nil {
				return "", err
			}
			return place, nil
		}
	}
	return "", errors.New("there is no place for PostgreSQL's socket: set TMPDIR to a short path or set DATABASE_URL")
}

// canEnter reports whether the user may pass through the directory and all above.
func canEnter(dir string, as *syscall.Credential) bool {
	dir, err := filepath.EvalSymlinks(dir)
	for ; err == nil && as != nil; dir = filepath.Dir(dir) {
		var st syscall.Stat_t
		err = syscall.Stat(dir, &st)
		bit := uint32(0o001)
		if st.Uid == as.Uid {
			bit = 0o100
		} else if st.Gid == as.Gid {
			bit = 0o010
		}
		if st.Mode&bit == 0 {
			return false
		} else if dir == "/" {
			break
		}
	}
	return err == nil
}

// makePrivate makes a directory that only the user can enter. In a directory
// that everybody can write to, somebody else may have been there first: then it
// refuses, and it follows no links.
func makePrivate(dir string, as *syscall.Credential) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, self := info.Sys().(*syscall.Stat_t).Uid, uint32(os.Geteuid())
	if !info.IsDir() || info.Mode().Perm() != 0o700 || owner != self && (as == nil || owner != as.Uid) {
		return fmt.Errorf("%s is not a directory of mode 0700 of the user that runs PostgreSQL: remove it", dir)
	}
	if as != nil && owner != as.Uid {
		return os.Lchown(dir, int(as.Uid), int(as.Gid))
	}
	return nil
}

// outputTail logs what PostgreSQL prints, line by line, and keeps the last lines.
type outputTail struct {
	log  *slog.Logger
	rest []byte
	last []string
}

func (t *outputTail) Write(b []byte) (int, error) {
	t.rest = append(t.rest, b...)
	for {
		line, rest, complete := bytes.Cut(t.rest, []byte("\n"))
		if !complete {
			return len(b), nil
		}
		t.rest = rest
		t.log.Debug("postgres", "line", string(line))
		if !bytes.Contains(line, []byte("FATAL:  the database system is ")) { // its answer to awaitReady
			t.last = append(t.last[max(0, len(t.last)-7):], string(line))
		}
	}
}

func shortHash(s string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(s)))[:16]
}

// pause waits for d or for the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
