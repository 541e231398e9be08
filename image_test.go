package main

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestImage builds the container image of the Dockerfile without a Docker
// daemon, for both machines, and runs it as Compose does: as its user, on a
// root that can't be written to, with a database elsewhere. It takes minutes, a
// gigabyte and root, and so runs only for `make image-test`.
func TestImage(t *testing.T) {
	if os.Getenv("IMAGE") == "" {
		t.Skip("make image-test runs this")
	}
	if os.Getuid() != 0 {
		t.Fatal("an image's root can be mounted by root alone")
	}
	b := newImageBuilder(t)

	arm := b.build("arm64")
	program, err := elf.Open(filepath.Join(arm, "chatter"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "machine", program.Machine, elf.EM_AARCH64)
	program.Close()

	root := b.build("amd64")
	config := b.config("amd64")
	same(t, "user", config.User, "1000:1000")
	same(t, "commands", fmt.Sprint(config.Entrypoint, config.Cmd, config.Healthcheck.Test), "[/chatter] [serve] [CMD /chatter health]")
	same(t, "version", config.Labels["org.opencontainers.image.version"]+" "+config.Labels["org.opencontainers.image.revision"], "v1.2.3 0123abc")
	same(t, "volumes and ports", fmt.Sprint(config.Volumes, config.ExposedPorts), "map[/data:map[]] map[8000/tcp:map[]]")
	same(t, "files", strings.Join(filesBelow(t, root), " "), "/chatter /etc/ssl/certs/ca-certificates.crt")
	info, err := os.Stat(filepath.Join(root, "chatter"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the program has %s", formatSize(info.Size()))
	same(t, "more than 20 MB", info.Size() > 20<<20, false)

	c := container{t: t, root: root, data: filepath.Join(b.dir, "data"), port: freePort(t)}
	c.env = append(config.Env, "PORT="+c.port, "SECRET_KEY="+goodSecret, "PUBLIC_URL=https://chatter.example.com", "ALLOWED_METRICS=none")
	out, err := c.run("version")
	same(t, "version", err == nil && strings.HasPrefix(out, "chatter v1.2.3\nrevision 0123abc\n") && strings.Contains(out, "linux/amd64"), true)
	if out, err := c.run("serve"); err == nil || !strings.Contains(out, "set DATABASE_URL") {
		t.Errorf("without a database the start says %v, %s", err, out)
	}
	c.env = append(c.env, "DATABASE_URL=postgres://postgres@"+overTCP(t, newDatabase(t, "template0")))
	serve := c.start()

	token := c.signUp("ada")
	var project, stored struct{ ID int }
	c.call(token, "POST", "/api/projects", "application/json", strings.NewReader(`{"title": "Boxed", "description": "From inside"}`), &project)
	upload := func(kind, name string, content []byte) {
		f := form().file("file", name, content)
		body := f.finish()
		c.call(token, "POST", fmt.Sprintf("/api/projects/%d/%s", project.ID, kind), f.kind, body, &stored)
	}
	upload("images", "front.png", picture(t, "png", 1200, 900))
	upload("files", "large.txt", bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16))
	body := c.call(token, "GET", fmt.Sprintf("/api/projects/%d/download", project.ID), "", nil, nil)
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil || len(archive.File) < 3 {
		t.Errorf("the ZIP has %v, %v", archive, err)
	}
	if out, err := c.run("health"); err != nil || !strings.Contains(out, `"healthy"`) {
		t.Errorf("health says %v, %s", err, out)
	}
	if out, err := c.run("admin", "create", "kev", "kev@example.com"); err != nil || !strings.Contains(out, "password") {
		t.Errorf("admin create says %v, %s", err, out)
	}
	for _, args := range [][]string{{"backup", "/data/chatter.tar"}, {"backup", "verify", "/data/chatter.tar"}, {"media", "verify"}} {
		if out, err := c.run(args...); err != nil {
			t.Errorf("%s says %v, %s", strings.Join(args, " "), err, out)
		}
	}

	if err := serve.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := serve.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
	if out, err := c.run("health"); err == nil {
		t.Errorf("health of nothing says %s", out)
	}
}

// imageBuilder builds the image into dir, where everything of it stays.
type imageBuilder struct {
	t   *testing.T
	dir string
}

// newImageBuilder also makes what stands in for the image golang, of the Go
// and the certificates of this machine.
func newImageBuilder(t *testing.T) imageBuilder {
	dir, err := os.MkdirTemp("", "chatter-image-")
	if err != nil {
		t.Fatal(err)
	}
	b := imageBuilder{t, dir}
	t.Cleanup(func() {
		b.buildah("rm", "--all")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	goroot := strings.TrimSpace(string(b.output("go", "env", "GOROOT")))
	proxy := strings.TrimSpace(string(b.output("go", "env", "GOPROXY")))
	rootfs := filepath.Join(dir, "rootfs")
	b.output("sh", "-c", `set -e; mkdir -p "$1/usr/local" "$1/bin" "$1/etc/ssl/certs" "$1/root" "$1/tmp"; cp -a "$2" "$1/usr/local/go"
		cp "$(command -v busybox)" "$1/bin/busybox"; for name in sh mkdir chmod; do ln -s busybox "$1/bin/$name"; done
		cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"; echo root:x:0:0::/root:/bin/sh >"$1/etc/passwd"`, "sh", rootfs, goroot)
	c := strings.TrimSpace(string(b.buildah("from", "scratch")))
	b.buildah("add", c, rootfs, "/")
	b.buildah("config", "--env", "PATH=/usr/local/go/bin:/bin", "--env", "GOPROXY="+proxy, c)
	b.buildah("commit", c, "docker.io/library/golang:1.26")
	b.buildah("rm", c)
	return b
}

func (b imageBuilder) output(program string, args ...string) []byte {
	b.t.Helper()
	var stderr bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, &stderr)
	}
	return out
}

func (b imageBuilder) buildah(args ...string) []byte {
	b.t.Helper()
	return b.output("buildah", append([]string{"--root", filepath.Join(b.dir, "storage"), "--runroot", filepath.Join(b.dir, "run"), "--storage-driver", "vfs"}, args...)...)
}

// build builds the image for a machine and returns where its files are.
func (b imageBuilder) build(arch string) string {
	b.t.Helper()
	b.buildah("bud", "--isolation", "chroot", "--pull-never", "--network", "host", "--format", "docker", "--build-arg", "BUILDPLATFORM=linux/"+runtime.GOARCH, "--platform", "linux/"+arch,
		"--build-arg", "VERSION=v1.2.3", "--build-arg", "REVISION=0123abc", "-t", "chatter:"+arch, ".")
	c := strings.TrimSpace(string(b.buildah("from", "--pull-never", "localhost/chatter:"+arch)))
	return strings.TrimSpace(string(b.buildah("mount", c)))
}

type imageConfig struct {
	User                  string
	Entrypoint, Cmd, Env  []string
	Labels                map[string]string
	Volumes, ExposedPorts map[string]any
	Healthcheck           struct{ Test []string }
}

func (b imageBuilder) config(arch string) imageConfig {
	b.t.Helper()
	var image struct {
		Docker struct {
			Architecture string
			Config       imageConfig
		}
	}
	if err := json.Unmarshal(b.buildah("inspect", "--type", "image", "chatter:"+arch), &image); err != nil {
		b.t.Fatal(err)
	}
	same(b.t, "architecture", image.Docker.Architecture, arch)
	return image.Docker.Config
}

// filesBelow lists a folder's files, as paths from there.
func filesBelow(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// container runs an image: its files read-only, its user without capabilities,
// /data a folder of that user's, 16 MB of /tmp, and the machine's network.
type container struct {
	t                *testing.T
	root, data, port string
	env              []string
}

func (c container) command(args ...string) *exec.Cmd {
	c.t.Helper()
	if err := os.MkdirAll(c.data, 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Chown(c.data, 1000, 1000); err != nil {
		c.t.Fatal(err)
	}
	const enter = `set -e; cd "$1"; touch etc/hosts; mount --bind . .; cd "$1"; mount --bind /etc/hosts etc/hosts; mount --bind "$2" data; mount -t tmpfs -o size=16m,mode=1777 none tmp
		mount -o remount,ro,bind .; shift 2; exec setpriv --no-new-privs chroot --userspec=1000:1000 --groups= . /chatter "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "sh", "-c", enter, "sh", c.root, c.data}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, c.env...)
	return cmd
}

// run runs one of the program's commands to its end.
func (c container) run(args ...string) (string, error) {
	c.t.Helper()
	out, err := c.command(args...).CombinedOutput()
	return string(out), err
}

// start starts the server and returns when it is ready.
func (c container) start() *exec.Cmd {
	c.t.Helper()
	var out syncBuffer
	cmd := c.command("serve")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended if this fails
		_ = cmd.Wait()
		if c.t.Failed() {
			c.t.Log(out.String())
		}
	})
	wait(c.t, "the server in the container", func() bool {
		answer, err := http.Get("http://127.0.0.1:" + c.port + "/readyz")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return cmd
}

// call sends a request, which has to succeed, and decodes the answer into v.
func (c container) call(token, method, path, kind string, body io.Reader, v any) []byte {
	c.t.Helper()
	r, err := http.NewRequest(method, "http://127.0.0.1:"+c.port+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		c.t.Fatalf("%s %s answered %s: %s", method, path, answer.Status, truncate(string(text), 600))
	}
	if v != nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

// signUp registers somebody and returns a token.
func (c container) signUp(name string) string {
	c.t.Helper()
	var in struct {
		AccessToken string `json:"access_token"`
	}
	c.call("", "POST", "/accounts/register", "application/json", strings.NewReader(fmt.Sprintf(`{"username": %q, "firstname": "A", "lastname": "B", "email": "%[1]s@example.com", "password": %[2]q}`, name, testPassword)), nil)
	c.call("", "POST", "/api/login", "application/x-www-form-urlencoded", strings.NewReader("username="+name+"&password="+testPassword), &in)
	return in.AccessToken
}

// overTCP lets the test's database be reached without its socket; it returns
// the end of an address, from the host on.
func overTCP(t *testing.T, dsn string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", filepath.Join(testPostgres.cluster.socket, clusterSocket))
			if err != nil {
				from.Close()
				continue
			}
			go func() {
				defer to.Close()
				_, _ = io.Copy(to, from) // ends with either side
			}()
			go func() {
				defer from.Close()
				_, _ = io.Copy(from, to)
			}()
		}
	}()
	_, database, _ := strings.Cut(dsn, "dbname=")
	database, _, _ = strings.Cut(database, " ")
	return listener.Addr().String() + "/" + database + "?sslmode=disable"
}

// freePort is one that nobody listens on at the moment.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}
