package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// started is `chatter serve` inside the test.
type started struct {
	url    string
	stdout *syncBuffer
	stderr *syncBuffer
	stop   func() error
}

// startServe runs the program as main does, on a free port, and waits until it
// says where it listens.
func startServe(t *testing.T, pairs ...string) started {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := started{stdout: &syncBuffer{}, stderr: &syncBuffer{}}
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, nil, env(append(pairs, "PORT", "0", "HOST", "127.0.0.1")...), s.stdout, s.stderr)
	}()
	stopped := false
	s.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { _ = s.stop() })
	address := regexp.MustCompile(`msg=started .*address=(127\.0\.0\.1:\d+)`)
	wait(t, "the server to start", func() bool {
		select {
		case err := <-done:
			t.Fatalf("the server ended: %v\n%s", err, s.stderr)
		default:
		}
		found := address.FindStringSubmatch(s.stderr.String())
		if found != nil && strings.Contains(s.stdout.String(), "storage:") {
			s.url = "http://" + found[1]
		}
		return s.url != ""
	})
	return s
}

func TestServe(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t, "template0")
	dir := t.TempDir()
	settings := []string{"DATA_DIR", dir, "DATABASE_URL", dsn, "SECRET_KEY", goodSecret}
	s := startServe(t, settings...)
	for _, text := range []string{"Chatter listens on", "storage:  " + filepath.Join(dir, "uploads"), "mail:     written to " + filepath.Join(dir, "mail"), "No admin yet; make one with:"} {
		if !strings.Contains(s.stdout.String(), text) {
			t.Errorf("%q is not in %q", text, s.stdout)
		}
	}
	same(t, "secrets in the log", strings.Contains(s.stderr.String(), goodSecret), false)
	command := func(args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), args, env(settings...), &out, &out)
		return out.String(), err
	}
	out, err := command("health", s.url)
	same(t, "health", err == nil && strings.Contains(out, `"healthy"`), true)

	out, err = command("admin", "create", "kev", "kev@example.com")
	if err != nil {
		t.Fatal(err, out)
	}
	password := regexp.MustCompile(`password (\S+)`).FindStringSubmatch(out)[1]
	response, err := http.PostForm(s.url+"/api/login", map[string][]string{"username": {"kev"}, "password": {password}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	same(t, "sign-in", response.StatusCode, http.StatusOK)
	_, err = command("admin", "create", "KEV", "other@example.com")
	same(t, "taken", err != nil && err.Error() == "Username already registered", true)
	_, err = command("admin", "create", "k", "nonsense")
	same(t, "bad input", err != nil && strings.Contains(err.Error(), "Username must have 3 to 30"), true)
	out, err = command("admin", "list")
	same(t, "list", err == nil && strings.Contains(out, "kev\tkev@example.com\tactive"), true)
	_, err = command("admin", "promote", "nobody")
	same(t, "promote", err != nil && strings.Contains(err.Error(), "no account named nobody"), true)
	_, err = command("admin", "dance")
	same(t, "usage", err != nil && strings.HasPrefix(err.Error(), "usage:"), true)
	out, err = command("migrate")
	same(t, "migrate", err == nil && strings.Contains(out, "up to date"), true)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	_, err = command("health", s.url)
	same(t, "health of nothing", err != nil && strings.Contains(err.Error(), "does not answer"), true)
}

func TestServeWithItsOwnPostgres(t *testing.T) {
	t.Parallel()
	needDatabase(t)
	// Below a directory that whoever runs PostgreSQL can enter.
	dir, err := os.MkdirTemp("", "chatter-serve-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := startServe(t, "DATA_DIR", dir)
	same(t, "database", strings.Contains(s.stdout.String(), "its own PostgreSQL in "+filepath.Join(dir, "postgres")), true)
	// Commands beside the running server use its database; a second server is refused.
	var out bytes.Buffer
	if err := run(t.Context(), []string{"admin", "create", "kev", "kev@example.com"}, env("DATA_DIR", dir), &out, &out); err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), []string{"serve"}, env("DATA_DIR", dir, "PORT", "0"), &out, &out)
	same(t, "second server", err != nil && strings.Contains(err.Error(), "another Chatter is running"), true)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	// Without a running server, a command starts the database for itself.
	out.Reset()
	if err := run(t.Context(), []string{"admin", "list"}, env("DATA_DIR", dir), &out, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	same(t, "kept", strings.Contains(out.String(), "kev@example.com"), true)
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"help"}, env(), &out, &out); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"serve", "migrate", "admin create", "health", "demo", "DATABASE_URL", "TRUSTED_PROXIES"} {
		same(t, text, strings.Contains(out.String(), text), true)
	}
	out.Reset()
	err := run(t.Context(), []string{"version"}, env(), &out, &out)
	same(t, "version", err == nil && strings.HasPrefix(out.String(), "chatter ") && strings.Contains(out.String(), "built with go1."), true)
	dir := t.TempDir()
	err = run(t.Context(), []string{"dance"}, env("DATA_DIR", dir), &out, &out)
	same(t, "unknown command", err != nil && strings.Contains(err.Error(), `unknown command "dance"; see: chatter help`), true)
	err = run(t.Context(), []string{"restore", "a.tar", "b.tar"}, env("DATA_DIR", dir), &out, &out)
	same(t, "two backups", err != nil && err.Error() == "usage: chatter restore FILE|-", true)
	err = run(t.Context(), nil, env("DATA_DIR", dir, "PORT", "x"), &out, &out)
	same(t, "bad setting", err != nil && strings.HasPrefix(err.Error(), "PORT "), true)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err = run(t.Context(), nil, env("DATA_DIR", dir, "UPLOAD_DIR", file), &out, &out)
	same(t, "bad uploads", err != nil && strings.HasPrefix(err.Error(), "UPLOAD_DIR "), true)
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	port := st.url[strings.LastIndex(st.url, ":")+1:]
	err := run(t.Context(), nil, env("DATA_DIR", t.TempDir(), "PORT", port, "HOST", "127.0.0.1"), &bytes.Buffer{}, &bytes.Buffer{})
	same(t, "refused", err != nil && strings.HasPrefix(err.Error(), "PORT "+port+" is in use"), true)
}

func TestImportMedia(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	from := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		full := filepath.Join(from, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("profile_pictures/user_1_0a1b2c3d.png", "picture")
	write("projects/files/one.py", "print(1)")
	write("projects/files/stray.py", "print(2)")
	write("projects/images/one.png", "image")
	st.exec(`update "user" set profile_picture = 'user_1_0a1b2c3d.png'`)
	st.exec(`insert into project_file (project_id, filename, original_filename) values ($1, 'one.py', '../../x.py'), ($1, 'lost.py', 'lost.py')`, id)
	st.exec(`insert into project_image (project_id, filename, original_filename) values ($1, 'one.png', 'one.png')`, id)
	settings := env("DATA_DIR", t.TempDir(), "UPLOAD_DIR", st.uploads, "DATABASE_URL", st.cfg.databaseURL)
	media := func(from string) (string, error) {
		var out strings.Builder
		err := run(t.Context(), []string{"media", "import", "--from", from}, settings, &out, &strings.Builder{})
		return out.String(), err
	}
	out, err := media(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"copied    profile_pictures/user_1_0a1b2c3d.png 2cea274d0bedc39e",
		"copied    projects/files/one.py d287bb7f9d15abdc",
		"missing   projects/files/lost.py",
		"unnamed   projects/files/stray.py",
		"copied    projects/images/one.png",
		"3 copied, 0 there already, 1 named by the database but found nowhere, 1 in the folders but named by nothing",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("%q is not in:\n%s", line, out)
		}
	}
	same(t, "file", string(alice.get("/api/projects/1/files/1/download").want(http.StatusOK).body), "print(1)")
	same(t, "only what is named", st.stored(), 3)
	out, err = media(from)
	same(t, "again", err == nil && strings.Contains(out, "0 copied, 3 there already, 1 named"), true)
	write("projects/files/one.py", "changed")
	out, err = media(from)
	same(t, "different", err != nil && strings.Contains(out, "different projects/files/one.py"), true)
	same(t, "not replaced", string(alice.get("/api/projects/1/files/1/download").body), "print(1)")
	_, err = media(filepath.Join(from, "nowhere"))
	same(t, "no folder", err != nil && strings.Contains(err.Error(), "is no folder"), true)
}
