package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// Connections wait in a socket that is handed over, so that a restart fails no
// request: some are on their way when the server is told to stop, and others
// come while there is none.
func TestTheSocketOutlivesTheServer(t *testing.T) {
	t.Parallel()
	settings := append(os.Environ(), "TEST_RUNS_CHATTER=1", "DATABASE_URL="+newDatabase(t, "template_chatter"), "DATA_DIR="+t.TempDir(), "SECRET_KEY="+goodSecret, "LISTEN_FDS=1")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	must(t, err)
	defer socket.Close()
	told := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: told, Net: "unixgram"})
	must(t, err)
	defer manager.Close()
	start := func() *exec.Cmd {
		cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" serve`, os.Args[0])
		cmd.Dir, cmd.Env, cmd.ExtraFiles = t.TempDir(), append(settings, "NOTIFY_SOCKET="+told), []*os.File{socket}
		background(t, cmd, syscall.SIGKILL)
		return cmd
	}
	hear := func(what string) {
		t.Helper()
		said := make([]byte, 100)
		n, err := manager.Read(said)
		same(t, "told", fmt.Sprint(string(said[:n]), err), what+"<nil>")
	}

	cmd := start()
	hear("READY=1")
	var answered atomic.Int64
	var askers sync.WaitGroup
	done := make(chan struct{})
	visitors := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 4 {
		askers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				answer, err := visitors.Get("http://" + listener.Addr().String() + "/api/projects")
				if err != nil {
					t.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
				if err != nil || answer.StatusCode != http.StatusOK {
					t.Error(answer.Status, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		before := answered.Load()
		wait(t, "answers", func() bool { return answered.Load() >= before+n || t.Failed() })
	}
	for range 3 {
		more(20)
		must(t, cmd.Process.Signal(syscall.SIGTERM))
		hear("STOPPING=1")
		must(t, cmd.Wait())
		cmd = start()
		hear("READY=1")
	}
	more(20)
	close(done)
	askers.Wait()
}

// systemd takes the units as they are, and calls the service well confined.
func TestUnits(t *testing.T) {
	t.Parallel()
	needProgram(t, "systemd-analyze")
	dir := t.TempDir()
	for _, name := range []string{"chatter.service", "chatter.socket"} {
		text, err := os.ReadFile(filepath.Join("deploy", name))
		must(t, err)
		unit := string(text)
		if name == "chatter.service" {
			unit = replaced(t, unit, `/usr/local/bin/chatter`, os.Args[0])
		}
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(unit), 0o644))
	}
	out, err := exec.Command("systemd-analyze", "verify", filepath.Join(dir, "chatter.service"), filepath.Join(dir, "chatter.socket")).CombinedOutput()
	same(t, "verify", fmt.Sprint(strings.TrimSpace(string(out)), err), "<nil>")
	out, err = exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=20", filepath.Join(dir, "chatter.service")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
