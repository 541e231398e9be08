package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// builtProgram builds the program as make build does.
func builtProgram(t testing.TB) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "chatter")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// program is the built program, serving.
type program struct {
	*exec.Cmd
	url   string
	ready time.Duration // from its start until /readyz answers 200
}

// startProgram starts it on a database, with settings of the form NAME=value.
func startProgram(t testing.TB, binary, dsn string, settings ...string) *program {
	t.Helper()
	p := &program{Cmd: exec.Command(binary, "serve")}
	p.Dir = t.TempDir()
	p.Env = append(os.Environ(), "DATABASE_URL="+dsn, "DATA_DIR="+p.Dir, "HOST=127.0.0.1", "PORT=0", "TESTING=true", "LOG_FORMAT=text", "LOG_LEVEL=info", "NEWCOMER_COMMENTS=0")
	p.Env = append(p.Env, settings...)
	log, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop() })
	address := regexp.MustCompile(`msg=started .*address=(127\.0\.0\.1:\d+)`)
	lines := bufio.NewScanner(log)
	for p.url == "" && lines.Scan() {
		if found := address.FindStringSubmatch(lines.Text()); found != nil {
			p.url = "http://" + found[1]
		}
	}
	if p.url == "" {
		t.Fatal("the program did not start")
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	wait(t, "the program to be ready", func() bool {
		answer, err := http.Get(p.url + "/readyz")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	p.ready = time.Since(began)
	return p
}

func (p *program) stop() {
	_ = p.Process.Signal(syscall.SIGTERM) // it has ended if this fails
	_ = p.Wait()
}

// memory is a line of /proc/PID/status (proc(5)), in KB.
func (p *program) memory(t testing.TB, line string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + line + `:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in %s", line, text)
	}
	kb, _ := strconv.Atoi(string(found[1]))
	return kb
}

// footprint is what testdata/footprint.json records, in KB.
type footprint struct {
	Program int `json:"program"` // the file that make build makes
	Idle    int `json:"idle"`    // resident memory of a server that nobody has asked anything
	Served  int `json:"served"`  // that of one that has answered each kind of request many times, but for the program's file
}

// mayGrow is the part by which a figure may be larger than recorded.
const mayGrow = 0.15

// The program, an idle server and one that has served are hardly larger than
// they were when their sizes were recorded.
func TestFootprint(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	dsn := newDatabase(t, "template_chatter")
	const file = "testdata/footprint.json"
	const anew = "; if it has to be so, record it anew with: FOOTPRINT=record go test -run TestFootprint ."
	var recorded, now footprint
	text, err := os.ReadFile(file)
	must(t, err)
	must(t, json.Unmarshal(text, &recorded))
	record := os.Getenv("FOOTPRINT") == "record"
	// within waits until a figure is as recorded, and takes the least that it was.
	// To record it, it looks as long as a server takes to come to rest.
	within := func(what string, recorded int, figure func() int) (least int) {
		limit := recorded + int(float64(recorded)*mayGrow)
		least = figure()
		for range 200 {
			if least <= limit && !record {
				break
			}
			time.Sleep(20 * time.Millisecond)
			least = min(least, figure())
		}
		if least > limit && !record {
			t.Errorf("%s takes %d KB, and took %d when it was recorded%s", what, least, recorded, anew)
		}
		return least
	}
	binary := builtProgram(t)
	info, err := os.Stat(binary)
	must(t, err)
	now.Program = within("the program", recorded.Program, func() int { return int(info.Size() >> 10) })
	p := startProgram(t, binary, dsn)
	now.Idle = within("an idle server", recorded.Idle, func() int { return p.memory(t, "VmRSS") })

	ask := func(method, path, body string) {
		r, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
		must(t, err)
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/json")
		}
		r.Header.Set("User-Agent", firefox)
		answer, err := http.DefaultClient.Do(r)
		must(t, err)
		defer answer.Body.Close()
		if content, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode >= 300 {
			t.Fatalf("%s: %v %s %s", path, err, answer.Status, content)
		}
	}
	n := 0
	round := func() {
		n++
		ask(http.MethodPost, "/analytics/page-view", fmt.Sprintf(`{"url": "page/%d"}`, n))
		for _, path := range []string{"/", "/projects", "/thread?url=page", "/login", "/docs", "/openapi.json", "/embed.js", "/api/projects?search=arm", "/interact/comments/page", "/analytics/page-views/page"} {
			ask(http.MethodGet, path+map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")]+fmt.Sprint("n=", n), "")
		}
	}
	for range 100 {
		round()
	}
	now.Served = within("a server that has served", recorded.Served, func() int {
		round()
		return p.memory(t, "RssAnon")
	})
	if record {
		text, err := json.MarshalIndent(now, "", "  ")
		must(t, err)
		must(t, os.WriteFile(file, append(text, '\n'), 0o644))
	}
}

// BenchmarkFootprint reports how long the program takes from its start until it is
// ready on a migrated database, and how much memory it takes then and at most
// while 200 connections read, write, upload files and photos and download ZIPs.
func BenchmarkFootprint(b *testing.B) {
	needProgram(b, "wrk")
	dsn := newDatabase(b, "template_chatter")
	binary := builtProgram(b)
	info, err := os.Stat(binary)
	must(b, err)
	b.Run("start", func(b *testing.B) {
		var times []float64
		var idle int
		for b.Loop() {
			p := startProgram(b, binary, dsn)
			times = append(times, float64(p.ready.Microseconds())/1000)
			least := p.memory(b, "VmRSS")
			for range 200 {
				time.Sleep(10 * time.Millisecond)
				least = min(least, p.memory(b, "VmRSS"))
			}
			idle = max(idle, least)
			p.stop()
		}
		slices.Sort(times)
		b.ReportMetric(times[len(times)/2], "ms-to-ready")
		b.ReportMetric(times[0], "ms-at-best")
		b.ReportMetric(float64(idle)/1024, "MB-idle")
		b.ReportMetric(float64(info.Size())/(1<<20), "MB-program")
		b.ReportMetric(0, "ns/op")
	})
	for _, limit := range []string{"off", "40MiB"} {
		b.Run("load, GOMEMLIMIT="+limit, func(b *testing.B) {
			for b.Loop() {
				p := startProgram(b, binary, newDatabase(b, "template_chatter"), "GOMEMLIMIT="+limit, "MAX_UPLOADS=0", "UPLOAD_QUOTA_MB=0")
				requests := mixedLoad(b, p.url)
				b.ReportMetric(float64(p.memory(b, "VmHWM"))/1024, "MB-peak")
				b.ReportMetric(float64(requests)/loadSeconds, "req/s")
				b.ReportMetric(0, "ns/op")
				p.stop()
			}
		})
	}
}

// mixedLoad asks a server over 200 connections at once, and returns how often:
// 160 of wrk that read, and 40 of which each uploads a file of 1 MB or a photo of
// 2 megapixels, or downloads a ZIP of 20 MB, one after the other.
func mixedLoad(b *testing.B, url string) int64 {
	l := &load{url: url}
	l.register(b, "ada")
	draft := func(title string) string {
		var made struct{ ID int }
		l.call(b, "/api/projects", map[string]any{"title": title, "description": strings.Repeat("It moves. ", 40)}, &made)
		return fmt.Sprintf("/api/projects/%d", made.ID)
	}
	project, growing := draft("Arm"), draft("Leg")
	for n := range 40 {
		l.call(b, "/interact/comment", map[string]any{"url": "blog/load.html", "content": fmt.Sprint("Comment ", n)}, nil)
	}
	var photo bytes.Buffer
	must(b, jpeg.Encode(&photo, image.NewYCbCr(image.Rect(0, 0, 1600, 1250), image.YCbCrSubsampleRatio420), nil))
	file := bytes.Repeat([]byte("noise"), 200<<10)
	upload := func(path, name string, content []byte) error {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		part, err := form.CreateFormFile("file", name)
		must(b, err)
		_, _ = part.Write(content)
		must(b, form.Close())
		r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url+path, &body)
		must(b, err)
		r.Header.Set("Content-Type", form.FormDataContentType())
		r.Header.Set("Authorization", "Bearer "+l.token)
		return l.done(r)
	}
	for n := range 20 {
		must(b, upload(project+"/files", fmt.Sprint("part", n, ".stl"), file))
	}
	l.call(b, project+"/publish", nil, nil)

	var others sync.WaitGroup
	var mu sync.Mutex
	requests, ends := int64(0), time.Now().Add(loadSeconds*time.Second)
	for n := range 40 {
		others.Go(func() {
			for k := n; time.Now().Before(ends); k++ {
				var err error
				switch k % 4 {
				case 0:
					err = upload(growing+"/images", "photo.jpg", photo.Bytes())
				case 1:
					err = upload(growing+"/files", "part.stl", file)
				default:
					var r *http.Request
					if r, err = http.NewRequestWithContext(b.Context(), http.MethodGet, url+project+"/download", nil); err == nil {
						err = l.done(r)
					}
				}
				if err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				requests++
				mu.Unlock()
			}
		})
	}
	rate := l.wrk(b, url, `n = 0 paths = {"/interact/comments/blog%2Fload.html", "/projects?x=", "/api/projects?x=", "/analytics/page-views/", "/thread?url=blog/load.html&x="}
		request = function() n = n + 1 local p = paths[n % 5 + 1] if n % 5 > 0 then p = p..n..tostring(os.clock()) end return wrk.format("GET", p) end`, "-c160", "--timeout", "30s", fmt.Sprintf("-d%ds", loadSeconds))
	others.Wait()
	return requests + int64(rate*loadSeconds)
}

// register makes an account and signs in with it.
func (l *load) register(b *testing.B, name string) {
	b.Helper()
	l.call(b, "/accounts/register", map[string]any{"username": name, "firstname": "Ada", "lastname": "L", "email": name + "@example.com", "password": testPassword}, nil)
	var signedIn struct {
		AccessToken string `json:"access_token"`
	}
	l.call(b, "/api/login", "username="+name+"&password="+testPassword, &signedIn)
	l.token = signedIn.AccessToken
}

// done sends a request and reads the answer to its end.
func (l *load) done(r *http.Request) error {
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, answer.Body, make([]byte, 64<<10)); err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s: %s", r.URL.Path, answer.Status)
	}
	return nil
}
