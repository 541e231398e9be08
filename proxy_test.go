package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const proxiedHost = "chatter.example.com" // as the examples in deploy/ have it

// front is a real proxy with the example of deploy/, on ports of its own.
type front struct {
	addr  string // of its TLS port
	plain string // of its other port
	dir   string // where it keeps what it puts on the disk
	roots *x509.CertPool
}

// systemProgram finds a program that may be where only administrators look, as
// needProgram does.
func systemProgram(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join("/usr/sbin", name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	needProgram(t, name)
	return name
}

// background starts a program, which is told to stop by the signal when the
// test ends.
func background(t testing.TB, cmd *exec.Cmd, stop syscall.Signal) {
	t.Helper()
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(stop) // it has ended if this fails
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(cmd.Path), out.String())
		}
	})
}

func listens(addr string) func() bool {
	return func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
}

func startNginx(t testing.TB, upstreams ...string) front {
	t.Helper()
	program := systemProgram(t, "nginx")
	p := front{addr: "127.0.0.1:" + freePort(t), plain: "127.0.0.1:" + freePort(t), dir: t.TempDir()}
	p.roots = certificate(t, p.dir)
	text, err := os.ReadFile("deploy/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	site := replaced(t, string(text),
		`server 127\.0\.0\.1:8000 `, "server "+upstreams[0]+" ",
		`(?m)^ +listen \[::\]:.*\n`, "",
		`listen 80;`, "listen "+p.plain+";",
		`listen 443 `, "listen "+p.addr+" ",
		`/etc/letsencrypt/live/chatter\.example\.com/`, p.dir+"/")
	if len(upstreams) > 1 {
		site = replaced(t, site, `#server 127\.0\.0\.1:8001 `, "server "+upstreams[1]+" ")
	}
	main := fmt.Sprintf("daemon off;\npid %[1]s/pid;\nworker_processes 1;\nevents {}\nhttp {\naccess_log off;\ninclude %[1]s/site.conf;\n", p.dir)
	if os.Getuid() == 0 {
		main = "user root;\n" + main
	}
	// Two levels of folders, which stay: so it is seen if anything was put there.
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += fmt.Sprintf("%s_temp_path %s/spool/%[1]s 1 2;\n", kind, p.dir)
	}
	must(t, os.Mkdir(filepath.Join(p.dir, "spool"), 0o755))
	must(t, os.WriteFile(filepath.Join(p.dir, "site.conf"), []byte(site), 0o600))
	must(t, os.WriteFile(filepath.Join(p.dir, "nginx.conf"), []byte(main+"}\n"), 0o600))
	background(t, exec.Command(program, "-p", p.dir+"/", "-c", p.dir+"/nginx.conf", "-e", "stderr"), syscall.SIGTERM)
	wait(t, "nginx to listen", listens(p.addr))
	return p
}

func startCaddy(t testing.TB, upstream string) front {
	t.Helper()
	needProgram(t, "caddy")
	tlsPort, plainPort := freePort(t), freePort(t)
	p := front{addr: "127.0.0.1:" + tlsPort, plain: "127.0.0.1:" + plainPort, dir: t.TempDir()}
	text, err := os.ReadFile("deploy/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	// The certificate is of a certificate authority that Caddy makes for itself.
	main := fmt.Sprintf("{\nadmin off\nlocal_certs\nskip_install_trust\nhttps_port %s\nhttp_port %s\ndefault_bind 127.0.0.1\n}\n", tlsPort, plainPort) +
		replaced(t, string(text), `127\.0\.0\.1:8000 `, upstream+" ")
	must(t, os.WriteFile(filepath.Join(p.dir, "Caddyfile"), []byte(main), 0o600))
	cmd := exec.Command("caddy", "run", "--config", filepath.Join(p.dir, "Caddyfile"), "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+p.dir, "XDG_CONFIG_HOME="+p.dir, "HOME="+p.dir)
	background(t, cmd, syscall.SIGTERM)
	p.roots = x509.NewCertPool()
	wait(t, "Caddy to have a certificate", func() bool {
		root, err := os.ReadFile(filepath.Join(p.dir, "caddy/pki/authorities/local/root.crt"))
		if err != nil || !p.roots.AppendCertsFromPEM(root) {
			return false
		}
		conn, err := tls.Dial("tcp", p.addr, &tls.Config{ServerName: proxiedHost, RootCAs: p.roots})
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return p
}

// replaced replaces patterns by texts, in turn; every pattern has to be there.
func replaced(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		pattern := regexp.MustCompile(pairs[i])
		if !pattern.MatchString(text) {
			t.Fatalf("%s is not in the example", pairs[i])
		}
		text = pattern.ReplaceAllLiteralString(text, pairs[i+1])
	}
	return text
}

// certificate puts fullchain.pem and privkey.pem for proxiedHost into dir.
func certificate(t testing.TB, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	about := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{proxiedHost}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "fullchain.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "privkey.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	pool := x509.NewCertPool()
	made, err := x509.ParseCertificate(der)
	must(t, err)
	pool.AddCert(made)
	return pool
}

// from is the way of somebody at an address of this machine to the proxy.
func (p front) from(address string) *http.Transport {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Transport{
		TLSClientConfig: &tls.Config{ServerName: proxiedHost, RootCAs: p.roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, ":80") {
				return dialer.DialContext(ctx, network, p.plain)
			}
			return dialer.DialContext(ctx, network, p.addr)
		},
		ForceAttemptHTTP2: true,
	}
}

// spooled lists what the proxy has put on the disk of the bodies.
func (p front) spooled(t testing.TB) (found []string) {
	t.Helper()
	for _, dir := range []string{"client_body", "proxy"} {
		must(t, filepath.WalkDir(filepath.Join(p.dir, "spool", dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && filepath.Base(path) != dir {
				found = append(found, path)
			}
			return err
		}))
	}
	return found
}

// behind is a server for a proxy on this machine.
func behind(c *config) {
	c.production, c.testing = true, false
	c.publicURL, c.siteURL = "https://"+proxiedHost, "https://"+proxiedHost
	c.trustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
}

func TestNginx(t *testing.T) {
	t.Parallel()
	st := newSite(t, behind)
	p := startNginx(t, strings.TrimPrefix(st.url, "http://"))
	testProxy(t, st, p)
	same(t, "on the proxy's disk", strings.Join(p.spooled(t), " "), "")
}

func TestCaddy(t *testing.T) {
	t.Parallel()
	st := newSite(t, behind)
	testProxy(t, st, startCaddy(t, strings.TrimPrefix(st.url, "http://")))
}

// testProxy goes through what a proxy could spoil.
func testProxy(t *testing.T, st *site, p front) {
	st.url, st.through = "https://"+proxiedHost, p.from("127.0.0.2")

	// The way to TLS, with method and path.
	r, err := http.NewRequest(http.MethodPost, "http://"+proxiedHost+"/api/login?a=b", nil)
	must(t, err)
	answer, err := st.through.RoundTrip(r)
	must(t, err)
	answer.Body.Close()
	same(t, "to TLS", fmt.Sprint(answer.StatusCode, " ", answer.Header.Get("Location")), "308 https://"+proxiedHost+"/api/login?a=b")

	alice := st.member("alice")
	in := alice.post("/api/login", url.Values{"username": {"alice"}, "password": {testPassword}}).want(http.StatusOK)
	for _, cookie := range in.header.Values("Set-Cookie") {
		same(t, cookie, strings.Contains(cookie, "; Secure"), true)
	}
	for _, name := range []string{"Strict-Transport-Security", "Content-Security-Policy", "X-Content-Type-Options", "X-Request-Id"} {
		same(t, name, len(in.header.Values(name)), 1)
	}
	same(t, "protocol", st.protocol(), "HTTP/2.0")
	alice.page("/").shows("alice")

	// Who the client is: only the proxy says so.
	forged := []string{"X-Forwarded-For", "6.6.6.6", "X-Real-IP", "6.6.6.6", "Forwarded", "for=6.6.6.6", "X-Request-Id", "forged"}
	id := alice.do(http.MethodGet, "/livez", nil, forged...).want(http.StatusOK).header.Get("X-Request-Id")
	same(t, "the proxy's request id", len(id) >= 32, true)
	wait(t, "the request in the log", func() bool { return strings.Contains(st.logged.String(), "request_id="+id) })
	same(t, "the client's address", regexp.MustCompile(`address=(\S+) request_id=` + id).FindStringSubmatch(st.logged.String())[1], "127.0.0.2")
	stranger := st.visitor()
	wrong := url.Values{"username": {"nobody"}, "password": {"wrong"}}
	status := 0
	for n := range 6 {
		status = stranger.do(http.MethodPost, "/api/login", wrong, "X-Forwarded-For", fmt.Sprint("6.6.6.", n)).status
	}
	same(t, "too many from one address", status, http.StatusTooManyRequests)
	stranger.client.Transport = p.from("127.0.0.3")
	stranger.post("/api/login", wrong).want(http.StatusUnauthorized)
	same(t, "6.6.6.6 in the log", strings.Contains(st.logged.String(), "6.6.6."), false)
	stranger.get("/metrics").want(http.StatusNotFound)

	// What is too large is refused in a sentence, by Chatter.
	project := alice.post("/api/projects", map[string]any{"title": "Large", "description": "Through a proxy"}).want(http.StatusCreated).id()
	path := fmt.Sprintf("/api/projects/%d", project)
	alice.post(path+"/files", form().file("file", "huge.txt", make([]byte, 26<<20))).detail(http.StatusBadRequest, "at most 25 MB")
	alice.post(path+"/files", form().file("file", "huge.txt", make([]byte, 101<<20))).detail(http.StatusBadRequest, "at most 25 MB")
	alice.do(http.MethodPost, "/interact/comment", strings.Repeat("x", 3<<20), "Content-Type", "application/json").detail(http.StatusRequestEntityTooLarge, "too large")

	// An upload reaches the storage before it is sent whole.
	content := bytes.Repeat([]byte("A line of a large file.\n"), 20<<20/24)
	body, kind := form().file("file", "large.txt", content).parts()
	reader, writer := io.Pipe()
	go func() {
		_, err := writer.Write(body[:len(body)/2])
		for began := time.Now(); err == nil && st.staged() < 1<<20 && time.Since(began) < 30*time.Second; {
			time.Sleep(5 * time.Millisecond)
		}
		if err == nil && st.staged() < 1<<20 {
			err = io.ErrUnexpectedEOF // the upload fails, and so does the test
		}
		if err == nil {
			_, err = writer.Write(body[len(body)/2:])
		}
		writer.CloseWithError(err)
	}()
	r, err = http.NewRequest(http.MethodPost, st.url+path+"/files", reader)
	must(t, err)
	r.Header.Set("Content-Type", kind)
	r.ContentLength = int64(len(body))
	answer, err = alice.client.Do(r)
	must(t, err)
	answer.Body.Close()
	same(t, "upload", answer.StatusCode, http.StatusCreated)

	// A download has not left the server before the client has taken it.
	alice.post(path+"/publish", nil)
	file := fmt.Sprintf("%s/files/%d/download", path, st.count(`select id from project_file`))
	for _, download := range []string{path + "/download", file} {
		r, err = http.NewRequest(http.MethodGet, st.url+download, nil)
		must(t, err)
		answer, err = alice.client.Do(r)
		must(t, err)
		_, err = io.CopyN(io.Discard, answer.Body, 1)
		must(t, err)
		got, err := io.Copy(io.Discard, answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK || download == file && got+1 != int64(len(content)) {
			t.Errorf("%s: %s, %d bytes, %v", download, answer.Status, got, err)
		}
		answer.Body.Close()
	}
	part := alice.do(http.MethodGet, file, nil, "Range", "bytes=24-47").want(http.StatusPartialContent)
	same(t, "part", string(part.body)+part.header.Get("Content-Range"), fmt.Sprintf("A line of a large file.\nbytes 24-47/%d", len(content)))
	tag := alice.get(path + "/download").want(http.StatusOK).header.Get("ETag")
	same(t, "tag", tag != "", true)
	alice.do(http.MethodGet, path+"/download", nil, "If-None-Match", tag).want(http.StatusNotModified)

	smuggle(t, st, p)
}

// smuggle sends requests that end in different places for who doesn't read as
// RFC 9112 says (section 6.3), each with another one hidden inside.
func smuggle(t *testing.T, st *site, p front) {
	// Only a request that the proxy has not read as one can say where it is from.
	const hidden = "GET /smuggled HTTP/1.1\r\nHost: " + proxiedHost + "\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
	for name, c := range map[string]struct{ headers, body string }{
		"CL.TE":              {"Content-Length: " + fmt.Sprint(5+len(hidden)) + "\r\nTransfer-Encoding: chunked", "0\r\n\r\n" + hidden},
		"TE.CL":              {"Content-Length: 4\r\nTransfer-Encoding: chunked", chunked},
		"TE in two lines":    {"Content-Length: 4\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity", chunked},
		"TE before a colon":  {"Content-Length: 4\r\nTransfer-Encoding : chunked", chunked},
		"TE folded":          {"Content-Length: 4\r\nTransfer-Encoding:\r\n chunked", chunked},
		"TE of another name": {"Content-Length: 4\r\nTransfer-Encoding: xchunked", chunked},
		"TE after \\v":       {"Content-Length: 4\r\nTransfer-Encoding: \x0bchunked", chunked},
		"two lengths":        {"Content-Length: 0\r\nContent-Length: " + fmt.Sprint(len(hidden)), hidden},
		"a list of lengths":  {"Content-Length: 0, " + fmt.Sprint(len(hidden)), hidden},
		"a signed length":    {"Content-Length: +" + fmt.Sprint(len(hidden)), hidden},
		"two hosts":          {"Content-Length: 0\r\nHost: other.example.com", ""},
		"a bare CR":          {"Content-Length: 0\r\nX-A: b\rTransfer-Encoding: chunked", ""},
		"a bare LF":          {"Content-Length: 4\nTransfer-Encoding: chunked", chunked},
		"a NUL":              {"Content-Length: 0\r\nX-A: \x00", ""},
		"a tab before it":    {"Content-Length: 4\r\n\tTransfer-Encoding: chunked", chunked},
		"a length in hex":    {"Content-Length: 0x10", hidden},
		"a negative length":  {"Content-Length: -1", hidden},
		"a huge length":      {"Content-Length: 18446744073709551617", hidden},
		"TE twice":           {"Transfer-Encoding: chunked, chunked", chunked},
		"TE and identity":    {"Transfer-Encoding: identity, chunked\r\nContent-Length: 4", chunked},
		"TE in quotes":       {"Transfer-Encoding: \"chunked\"\r\nContent-Length: 4", chunked},
		"a huge chunk":       {"Transfer-Encoding: chunked", "10000000000000002\r\nab\r\n0\r\n\r\n" + hidden},
		"a negative chunk":   {"Transfer-Encoding: chunked", "-1\r\n" + hidden},
		"a hex prefix":       {"Transfer-Encoding: chunked", "0x2\r\nab\r\n0\r\n\r\n" + hidden},
		"a chunk's LF":       {"Transfer-Encoding: chunked", fmt.Sprintf("2;\nxx\r\n%x\r\n0\r\n\r\n%s\r\n0\r\n\r\n", len(hidden)+5, hidden)},
		"a chunk's CR":       {"Transfer-Encoding: chunked", "2;a\rb\r\nxx\r\n0\r\n\r\n" + hidden},
		"a long chunk":       {"Transfer-Encoding: chunked", "2;" + strings.Repeat("a", 40<<10) + "\r\nxx\r\n0\r\n\r\n" + hidden},
		"a trailer":          {"Transfer-Encoding: chunked\r\nTrailer: X-Forwarded-For", "0\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 9\r\n\r\n"},
		"large headers":      {"Content-Length: 0\r\nX-A: " + strings.Repeat("a", 100<<10), ""},
	} {
		conn, err := tls.Dial("tcp", p.addr, &tls.Config{ServerName: proxiedHost, RootCAs: p.roots, NextProtos: []string{"http/1.1"}})
		must(t, err)
		// Who refuses it may do so before all of it is written.
		_, _ = fmt.Fprintf(conn, "POST /api/login HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n%s", proxiedHost, c.headers, c.body)
		reader := bufio.NewReader(conn)
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			conn.Close() // refused without a word
			continue
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		if answer.StatusCode < 400 || answer.StatusCode > http.StatusBadGateway { // which is what Caddy says of a body that turns out to be wrong
			t.Errorf("%s answered %s", name, answer.Status)
		}
		conn.Close()
	}
	// CL.0: the body of a request whose endpoint reads none is skipped, and who comes next on the
	// same connections gets what was asked for.
	for range 20 {
		conn, err := tls.Dial("tcp", p.addr, &tls.Config{ServerName: proxiedHost, RootCAs: p.roots, NextProtos: []string{"http/1.1"}})
		must(t, err)
		_, err = fmt.Fprintf(conn, "GET /livez HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%sGET /livez HTTP/1.1\r\nHost: %[1]s\r\nConnection: close\r\n\r\n", proxiedHost, len(hidden), hidden)
		must(t, err)
		all, err := io.ReadAll(conn)
		must(t, err)
		same(t, "both answers", strings.Count(string(all), `"alive"`), 2)
		conn.Close()
	}
	for range 20 {
		st.visitor().get("/livez").want(http.StatusOK).shows("alive")
	}
	same(t, "smuggled", strings.Contains(st.logged.String(), "6.6.6.6"), false)
}

// protocol is the one that browsers speak with whoever answers first.
func (st *site) protocol() string {
	st.t.Helper()
	answer, err := (&http.Client{Transport: st.through}).Get(st.url + "/livez")
	must(st.t, err)
	answer.Body.Close()
	return answer.Proto
}

// parts is the form's body and its kind.
func (f *multipartForm) parts() ([]byte, string) {
	f.finish()
	return f.b.Bytes(), f.kind
}

// staged is how many bytes of the largest upload have come.
func (st *site) staged() (largest int64) {
	_ = filepath.WalkDir(st.uploads, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				largest = max(largest, info.Size())
			}
		}
		return nil // what goes meanwhile has not come
	})
	return largest
}
