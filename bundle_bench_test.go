package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

// BenchmarkZIP downloads a project of a gigabyte, in files that are stored as
// they are and in files that are compressed (noise, which takes longest), and
// reports by how much the memory of this process grows at most, client included.
func BenchmarkZIP(b *testing.B) {
	const files, size = 40, 25 << 20
	for _, kind := range []struct{ what, extension string }{{"stored", ".pdf"}, {"compressed", ".stl"}} {
		st := newSite(b)
		alice := st.member("alice")
		id := alice.draft("Robot")
		for i := range files {
			up, err := st.storage.stage(fileFolder, io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size), size)
			must(b, err)
			name := newName(kind.extension)
			must(b, st.place(b.Context(), up, fileFolder, name))
			up.drop()
			st.exec(`insert into project_file (project_id, filename, original_filename, file_size) values ($1, $2, $3, $4)`, id, name, fmt.Sprint("part", i, kind.extension), size)
		}
		download := func() (n int64) {
			response, err := alice.client.Get(fmt.Sprintf("%s/api/projects/%d/download", st.url, id))
			must(b, err)
			defer response.Body.Close()
			same(b, "status", response.StatusCode, http.StatusOK)
			n, err = io.Copy(io.Discard, response.Body)
			must(b, err)
			return n
		}
		b.Run(kind.what, func(b *testing.B) {
			b.SetBytes(files * size)
			var peak float64
			for b.Loop() {
				debug.FreeOSMemory()
				must(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
				before := peakMemory(b)
				if n := download(); n < files*size {
					b.Fatal(n)
				}
				peak = max(peak, peakMemory(b)-before)
			}
			b.ReportMetric(peak, "MB-peak")
		})
		dir := filepath.Join(st.uploads, fileFolder)
		b.Run(kind.what+", by cp to a pipe", func(b *testing.B) {
			b.SetBytes(files * size)
			for b.Loop() {
				command(b, "sh", "-c", `for f in "$0"/*; do cp "$f" /dev/stdout; done | cat >/dev/null`, dir)
			}
		})
		b.Run(kind.what+", by zip to a pipe", func(b *testing.B) {
			level := map[string]string{"stored": "-0", "compressed": "-1"}[kind.what]
			b.SetBytes(files * size)
			for b.Loop() {
				command(b, "sh", "-c", `command -v zip >/dev/null && zip -qr "$1" - "$0" | cat >/dev/null`, dir, level)
			}
		})
	}
}
