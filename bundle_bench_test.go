package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
)

// BenchmarkZIP downloads a project of a gigabyte, once and as 32 at once: in files
// that are stored, because of their names or since noise does not become
// smaller, and in files that are compressed. It reports by how much the memory of
// the server grows at most.
func BenchmarkZIP(b *testing.B) {
	const files, size = 40, 25 << 20
	noise := func(n int) io.Reader { return rand.NewChaCha8([32]byte{byte(n)}) }
	for _, kind := range []struct {
		what, extension string
		content         func(n int) io.Reader
	}{{"stored", ".pdf", noise}, {"noise", ".stl", noise}, {"compressed", ".stl", mesh}} {
		st := newSite(b)
		alice := st.member("alice")
		id := alice.draft("Robot")
		for i := range files {
			up, err := st.storage.stage(fileFolder, io.LimitReader(kind.content(i), size), size)
			must(b, err)
			name := newName(kind.extension)
			must(b, st.place(b.Context(), up, fileFolder, name))
			up.drop()
			st.exec(`insert into project_file (project_id, filename, original_filename, file_size) values ($1, $2, $3, $4)`, id, name, fmt.Sprint("part", i, kind.extension), size)
		}
		alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
		address := fmt.Sprintf("%s/api/projects/%d/download", st.url, id)
		download := func() {
			if out, err := exec.Command("curl", "-sSf", "-o", "/dev/null", address).CombinedOutput(); err != nil {
				b.Errorf("curl: %v: %s", err, out)
			}
		}
		// measured reports how much memory more than at rest is needed at most.
		measured := func(b *testing.B, bytes int64, do func()) {
			b.SetBytes(bytes)
			var peak float64
			for b.Loop() {
				debug.FreeOSMemory()
				must(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
				before := peakMemory(b)
				do()
				peak = max(peak, peakMemory(b)-before)
			}
			b.ReportMetric(peak, "MB-peak")
		}
		dir := filepath.Join(st.uploads, fileFolder)
		byCp := func(b *testing.B) {
			command(b, "sh", "-c", `for f in "$0"/*; do cp "$f" /dev/stdout; done | cat >/dev/null`, dir)
		}
		b.Run(kind.what, func(b *testing.B) {
			measured(b, files*size, download)
		})
		b.Run(kind.what+", 32 at once", func(b *testing.B) {
			measured(b, 32*files*size, func() {
				var all sync.WaitGroup
				for range 32 {
					all.Go(download)
				}
				all.Wait()
			})
		})
		b.Run(kind.what+", by cp to a pipe", func(b *testing.B) {
			b.SetBytes(files * size)
			for b.Loop() {
				byCp(b)
			}
		})
		b.Run(kind.what+", by cp to a pipe, 32 at once", func(b *testing.B) {
			b.SetBytes(32 * files * size)
			for b.Loop() {
				var all sync.WaitGroup
				for range 32 {
					all.Go(func() { byCp(b) })
				}
				all.Wait()
			}
		})
		b.Run(kind.what+", by zip to a pipe", func(b *testing.B) {
			level := map[string]string{"stored": "-0", "noise": "-1", "compressed": "-1"}[kind.what]
			b.SetBytes(files * size)
			for b.Loop() {
				command(b, "sh", "-c", `command -v zip >/dev/null && zip -qr "$1" - "$0" | cat >/dev/null`, dir, level)
			}
		})
	}
}

// mesh is a file as slicers and CAD programs write them: triangles of a surface, in text.
func mesh(n int) io.Reader {
	random := rand.New(rand.NewPCG(uint64(n), 0))
	var text bytes.Buffer
	for text.Len() < 1<<20 {
		fmt.Fprintln(&text, "facet normal 0 0 1\n outer loop")
		for range 3 {
			fmt.Fprintf(&text, "  vertex %.4f %.4f %.4f\n", random.Float64()*200, random.Float64()*200, random.Float64()*40)
		}
		fmt.Fprintln(&text, " endloop\nendfacet")
	}
	return &endless{text: text.Bytes()}
}

// endless reads a text again and again.
type endless struct {
	text []byte
	at   int
}

func (r *endless) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}
