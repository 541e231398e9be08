package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// throwawayDir makes a directory for the data of a throwaway cluster, in memory
// where there is room; the cluster's stop removes it. Those that killed test
// runs left behind are removed.
func throwawayDir() (string, error) {
	const prefix = "chatter-test-"
	place := os.TempDir()
	var st syscall.Statfs_t
	if syscall.Statfs("/dev/shm", &st) == nil && st.Bavail*uint64(st.Bsize) > 1<<30 {
		place = "/dev/shm"
	}
	locks, _ := filepath.Glob(filepath.Join(place, prefix+"*.lock"))
	for _, name := range locks {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if info, err := f.Stat(); err == nil && time.Since(info.ModTime()) > time.Minute &&
			syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			dir := strings.TrimSuffix(name, ".lock")
			left, _ := filepath.Glob(dir + "*")
			for _, path := range left {
				os.RemoveAll(path)
			}
		}
		f.Close()
	}
	return os.MkdirTemp(place, prefix)
}

// needPostgres skips the test without a PostgreSQL on a laptop, and fails it in CI.
func needPostgres(t *testing.T) {
	t.Helper()
	user, err := clusterUser("")
	if err == nil {
		_, err = findPostgres("", user)
	}
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
}

func mustStartCluster(t *testing.T, dir string) *cluster {
	t.Helper()
	c, err := startCluster(t.Context(), clusterOptions{dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.stop() })
	return c
}

func mustStopCluster(t *testing.T, c *cluster) {
	t.Helper()
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
}

// queryCluster runs statements on a connection of its own; the last one answers with a text.
func queryCluster(ctx context.Context, dsn string, statements ...string) (value string, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	last := len(statements) - 1
	for _, sql := range statements[:last] {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return "", err
		}
	}
	err = conn.QueryRow(ctx, statements[last]).Scan(&value)
	return value, err
}

func wantFromCluster(t *testing.T, want, dsn string, statements ...string) {
	t.Helper()
	if got, err := queryCluster(t.Context(), dsn, statements...); err != nil || got != want {
		t.Errorf("%q: got %q, %v; want %q", statements, got, err, want)
	}
}

// clusterEventually waits until the condition holds.
func clusterEventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); !holds(); {
		if time.Since(start) > 30*time.Second {
			t.Fatal("still not: " + what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// noPostgresRuns reports whether no postgres runs under the number.
func noPostgresRuns(pid int) bool { return postgresCommand(pid) == nil }

func onDisk(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestClusterThrowaway(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	dir, err := throwawayDir()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	c, err := startCluster(t.Context(), clusterOptions{dir: dir, throwaway: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.stop()
	t.Logf("first start: %v", time.Since(begin).Round(time.Millisecond))
	for setting, want := range map[string]string{
		"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "jit": "off", "max_connections": "200",
		"listen_addresses": "", "server_encoding": "UTF8",
	} {
		wantFromCluster(t, want, c.dsn(), "select current_setting('"+setting+"')")
	}
	wantFromCluster(t, "postgres", c.dsn(), "select current_database()::text")
	pid := c.postmasterPid()
	mustStopCluster(t, c)
	mustStopCluster(t, c)
	left, _ := filepath.Glob(dir + "*")
	if len(left) > 0 || onDisk(c.socket) || !noPostgresRuns(pid) {
		t.Errorf("left behind: %v, socket %v, process %v", left, onDisk(c.socket), !noPostgresRuns(pid))
	}
}

// The life of a cluster below a directory that only the server may enter.
func TestClusterPersists(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	private := filepath.Join(t.TempDir(), "private, 'quoted' and long "+strings.Repeat("x", 80))
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(private, "postgres")
	half := dir + ".new-1"
	if err := os.MkdirAll(filepath.Join(half, "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	c := mustStartCluster(t, dir)
	t.Logf("first start: %v", time.Since(begin).Round(time.Millisecond))
	if onDisk(half) {
		t.Error("the half cluster is still there")
	}
	if info, err := os.Stat(c.socket); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("socket directory: %v, %v", info, err)
	}
	for setting, want := range map[string]string{"fsync": "on", "max_connections": "100", "listen_addresses": ""} {
		wantFromCluster(t, want, c.dsn(), "select current_setting('"+setting+"')")
	}
	wantFromCluster(t, "C.UTF-8 C.UTF-8 UTF8", c.dsn(),
		"select datcollate || ' ' || datctype || ' ' || pg_encoding_to_char(encoding) from pg_database where datname = 'chatter'")
	if dsn, ok := runningCluster(dir); !ok || dsn != c.dsn() {
		t.Errorf("runningCluster: %q, %v; want %q", dsn, ok, c.dsn())
	}
	wantFromCluster(t, "value", c.dsn(), "create table kept as select 'value' as v", "select v from kept")
	for _, fd := range openFilesOf(t, c.postmasterPid()) {
		if strings.HasSuffix(fd, ".lock") && strings.HasPrefix(fd, private) {
			t.Errorf("postgres holds %s", fd)
		}
	}
	if pgid, err := syscall.Getpgid(c.postmasterPid()); err != nil || pgid == syscall.Getpgrp() {
		t.Errorf("postgres is in the server's process group: %d, %v", pgid, err)
	}
	if _, err := startCluster(t.Context(), clusterOptions{dir: dir}); !errors.Is(err, errClusterBusy) {
		t.Errorf("second server: %v, want errClusterBusy", err)
	}
	mustStopCluster(t, c)
	if _, ok := runningCluster(dir); ok {
		t.Error("runningCluster finds a stopped cluster")
	}

	begin = time.Now()
	c = mustStartCluster(t, dir)
	t.Logf("later start: %v", time.Since(begin).Round(time.Millisecond))
	wantFromCluster(t, "value", c.dsn(), "select v from kept")
	mustStopCluster(t, c)

	// A postgres that outlived its server.
	lock, err := takeLock(t.Context(), dir+".lock")
	if err != nil {
		t.Fatal(err)
	}
	old := &cluster{clusterOptions: c.clusterOptions, lock: lock}
	p, err := old.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	c = mustStartCluster(t, dir)
	select {
	case <-p.exited:
		if p.err != nil {
			t.Errorf("the old postgres: %v", p.err)
		}
	case <-time.After(30 * time.Second):
		t.Error("the old postgres still runs")
	}
	wantFromCluster(t, "value", c.dsn(), "select v from kept")
	mustStopCluster(t, c)

	// The numbers in the files of a killed postgres belong to others by now.
	for name, pid := range map[string]int{"a process of the same user": sleeperOfPostgres(t), "another program": os.Getpid(), "a free number": 1<<22 + 1, "none": 0} {
		text := fmt.Sprintf("%d\n/proc/self/fd/3\n1\n5432\n%s\n", pid, c.socket)
		if pid == 0 {
			text = ""
		}
		if err := errors.Join(os.Mkdir(c.socket, 0o700), chownTo(c.socket, c.user),
			writeAs(c.user, filepath.Join(dir, clusterPidFile), text),
			writeAs(c.user, filepath.Join(c.socket, clusterSocket+".lock"), text)); err != nil {
			t.Fatal(err)
		}
		c, err := startCluster(t.Context(), clusterOptions{dir: dir})
		if err != nil {
			t.Fatalf("pid file with %s: %v", name, err)
		}
		mustStopCluster(t, c)
	}

	if err := os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := startCluster(t.Context(), clusterOptions{dir: dir}); err == nil || !strings.Contains(err.Error(), "PostgreSQL 7") {
		t.Errorf("cluster of another version: %v", err)
	}
}

// A cluster in a relative directory has its socket beside it.
func TestClusterRelative(t *testing.T) {
	needPostgres(t)
	dir, err := throwawayDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	c := mustStartCluster(t, "data/../data.d/postgres")
	if want := filepath.Join(dir, "data.d/postgres.socket"); c.socket != want && os.Geteuid() != 0 {
		t.Errorf("socket in %s, want %s", c.socket, want)
	}
	if dsn, ok := runningCluster("data.d/postgres"); !ok || dsn != c.dsn() {
		t.Errorf("runningCluster: %q, %v; want %q", dsn, ok, c.dsn())
	}
	mustStopCluster(t, c)
}

func TestClusterPostmasterKilled(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	c := mustStartCluster(t, filepath.Join(t.TempDir(), "postgres"))
	wantFromCluster(t, "value", c.dsn(), "create table kept as select 'value' as v", "select v from kept")
	for range 5 {
		// A statement that doesn't notice the postmaster's death keeps shared memory in use.
		busy := make(chan error, 1)
		go func() {
			_, err := queryCluster(t.Context(), c.dsn(), "select count(*)::text from generate_series(1, 1000000000000)")
			busy <- err
		}()
		clusterEventually(t, "the statement runs", func() bool {
			n, err := queryCluster(t.Context(), c.dsn(), "select count(*)::text from pg_stat_activity where query like 'select count(*)::text from generate%' and state = 'active'")
			return err == nil && n == "1"
		})
		pid := c.postmasterPid()
		syscall.Kill(pid, syscall.SIGKILL)
		if err := <-busy; err == nil {
			t.Error("the statement ended")
		}
		clusterEventually(t, "postgres runs again", func() bool {
			v, err := queryCluster(t.Context(), c.dsn(), "select v from kept")
			now := c.postmasterPid()
			return err == nil && v == "value" && now != pid && now != 0
		})
	}
	// However often: the sixth time within a minute it only takes longer.
	pid := c.postmasterPid()
	syscall.Kill(pid, syscall.SIGKILL)
	clusterEventually(t, "postgres runs again", func() bool {
		v, err := queryCluster(t.Context(), c.dsn(), "select v from kept")
		return err == nil && v == "value" && c.postmasterPid() != pid
	})
	c.stop()

	c = mustStartCluster(t, c.dir) // which also removes the shared memory of the killed ones
	wantFromCluster(t, "value", c.dsn(), "select v from kept")
	mustStopCluster(t, c)
}

// TestClusterServer is the server that TestClusterServerKilled kills.
func TestClusterServer(t *testing.T) {
	dir := os.Getenv("CLUSTER_TEST_SERVER")
	if dir == "" {
		return
	}
	c, err := startCluster(t.Context(), clusterOptions{dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("ready %d %s\n", c.postmasterPid(), c.dsn())
	bufio.NewReader(os.Stdin).ReadByte() // until the parent ends
	c.stop()
}

func TestClusterServerKilled(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	dir := filepath.Join(t.TempDir(), "postgres")
	for _, victims := range []string{"server", "server and postgres", "server, while it starts"} {
		if victims == "server, while it starts" {
			os.RemoveAll(dir)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestClusterServer$")
		cmd.Env = append(os.Environ(), "CLUSTER_TEST_SERVER="+dir)
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		var pid int
		if victims == "server, while it starts" {
			clusterEventually(t, "initdb runs", func() bool {
				half, _ := filepath.Glob(dir + ".new-*/base")
				return len(half) > 0
			})
		} else {
			lines := bufio.NewScanner(out)
			for pid == 0 && lines.Scan() {
				fmt.Sscanf(lines.Text(), "ready %d", &pid)
				if _, dsn, ok := strings.Cut(lines.Text(), "host="); ok {
					wantFromCluster(t, victims, "host="+dsn, "create table if not exists kept (v text)", "insert into kept values ('"+victims+"') returning v")
				}
			}
			if pid == 0 {
				t.Fatal("the server did not start")
			}
		}
		if victims == "server and postgres" {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		cmd.Process.Kill()
		cmd.Wait()
		c, err := startCluster(t.Context(), clusterOptions{dir: dir})
		if err != nil {
			t.Fatalf("after the death of %s: %v", victims, err)
		}
		if pid != 0 {
			wantFromCluster(t, victims, c.dsn(), "select v from kept where v = '"+victims+"'")
			if !noPostgresRuns(pid) {
				t.Errorf("the postgres of the killed %s still runs", victims)
			}
		}
		mustStopCluster(t, c)
	}
	// A killed initdb's child may have written for a moment after the first of them.
	clusterEventually(t, "a start removes half clusters", func() bool {
		half, _ := filepath.Glob(dir + ".new-*")
		mustStopCluster(t, mustStartCluster(t, dir))
		return len(half) == 0
	})
}

func TestClusterStartCancelled(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	dir := filepath.Join(t.TempDir(), "postgres")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := startCluster(ctx, clusterOptions{dir: dir})
		ended <- err
	}()
	clusterEventually(t, "initdb runs", func() bool {
		half, _ := filepath.Glob(dir + ".new-*/base")
		return len(half) > 0
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled start: %v", err)
	}
	if left, _ := filepath.Glob(dir + "*"); !slices.Equal(left, []string{dir + ".lock"}) {
		t.Errorf("left behind: %v", left)
	}
	mustStopCluster(t, mustStartCluster(t, dir))
}

// A start that fails says what PostgreSQL said, and lets go of the lock.
func TestClusterStartFails(t *testing.T) {
	t.Parallel()
	needPostgres(t)
	dir := filepath.Join(t.TempDir(), "postgres")
	mustStopCluster(t, mustStartCluster(t, dir))
	conf := filepath.Join(dir, "postgresql.conf")
	good, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(conf, []byte("nonsense = 1\n"), 0o600)
	if _, err := startCluster(t.Context(), clusterOptions{dir: dir}); err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "nonsense"`) {
		t.Errorf("broken configuration: %v", err)
	}
	os.WriteFile(conf, good, 0o600)
	mustStopCluster(t, mustStartCluster(t, dir))

	other := t.TempDir()
	os.WriteFile(filepath.Join(other, "notes.txt"), []byte("mine"), 0o600)
	if _, err := startCluster(t.Context(), clusterOptions{dir: other}); err == nil || !onDisk(filepath.Join(other, "notes.txt")) {
		t.Errorf("a directory with something else in it: %v", err)
	}
}

func TestClusterNoPostgres(t *testing.T) {
	if _, err := findPostgres("7", nil); err == nil {
		t.Error("found PostgreSQL 7")
	}
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	os.WriteFile(filepath.Join(bin, "initdb"), []byte("#!/bin/sh\nexit 1\n"), 0o755)
	os.WriteFile(filepath.Join(bin, "postgres"), []byte("#!/bin/sh\nexit 1\n"), 0o755)
	if found, err := findPostgres("", nil); found == bin || err != nil && !errors.Is(err, errNoPostgres) {
		t.Errorf("with broken programs in PATH: %s, %v", found, err)
	}
}

func TestSocketDirRefusesWhatOthersMade(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	mine := filepath.Join(base, "mine")
	for range 2 {
		if err := makePrivate(mine, nil); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(base, "link")
	os.Symlink(mine, link)
	open := filepath.Join(base, "open")
	os.Mkdir(open, 0o700)
	os.Chmod(open, 0o777)
	file := filepath.Join(base, "file")
	os.WriteFile(file, nil, 0o700)
	refused := []string{link, open, file}
	if os.Geteuid() == 0 {
		foreign := filepath.Join(base, "foreign")
		os.Mkdir(foreign, 0o700)
		os.Chown(foreign, 12345, 12345)
		refused = append(refused, foreign)
	}
	for _, dir := range refused {
		if err := makePrivate(dir, nil); err == nil {
			t.Errorf("%s is taken for the socket", filepath.Base(dir))
		}
	}
}

// openFilesOf are the targets of a process's file descriptors.
func openFilesOf(t *testing.T, pid int) []string {
	t.Helper()
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(fds)
	if errors.Is(err, fs.ErrPermission) {
		return nil // root without the capability to trace
	} else if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		target, _ := os.Readlink(filepath.Join(fds, e.Name()))
		files = append(files, target)
	}
	return files
}

// sleeperOfPostgres is the number of a process that runs as the user of PostgreSQL.
func sleeperOfPostgres(t *testing.T) int {
	t.Helper()
	user, err := clusterUser("")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

func chownTo(path string, user *syscall.Credential) error {
	if user == nil {
		return nil
	}
	return os.Chown(path, int(user.Uid), int(user.Gid))
}

func writeAs(user *syscall.Credential, path, text string) error {
	return errors.Join(os.WriteFile(path, []byte(text), 0o600), chownTo(path, user))
}
