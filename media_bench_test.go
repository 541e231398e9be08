package main

import (
	"bytes"
	"fmt"
	"image"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

// The figures of docs/PERFORMANCE.md about storage and pictures: make bench.

const benchSize = 200 << 20 // bytes of the file that is moved

// benchFile is a file of random bytes.
func benchFile(b *testing.B) *staged {
	b.Helper()
	st, err := openStorage(config{uploadDir: b.TempDir()}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	up, err := st.stage(fileFolder, io.LimitReader(rand.NewChaCha8([32]byte{}), benchSize), benchSize)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(up.drop)
	return up
}

// command runs a program to compare with; without it that figure is left out.
func command(b *testing.B, name string, args ...string) {
	b.Helper()
	if _, err := exec.LookPath(name); err != nil {
		b.Skip(err)
	}
	if out, err := exec.CommandContext(b.Context(), name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: %s", name, err, out)
	}
}

// BenchmarkNAS moves a file to a Samba and back, signed.
func BenchmarkNAS(b *testing.B) {
	smb := newSamba(b)
	n := newNAS(smb.config())
	n.patience = time.Minute
	b.Cleanup(n.close)
	up := benchFile(b)
	auth := filepath.Join(b.TempDir(), "auth")
	must(b, os.WriteFile(auth, fmt.Appendf(nil, "username=%s\npassword=%s\n", sambaUser, sambaPassword), 0o600))
	smbclient := func(b *testing.B, do string) {
		command(b, "smbclient", "//127.0.0.1/chatter", "-p", smb.port, "-A", auth, "--option=client signing=required", "-c", do)
	}
	must(b, n.put(b.Context(), up, fileFolder, "there"))
	b.Run("write", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			must(b, n.put(b.Context(), up, fileFolder, "a"))
			must(b, n.remove(b.Context(), fileFolder, "a"))
		}
	})
	b.Run("write by smbclient", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			smbclient(b, "put "+up.Name()+" b; rm b")
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			f, err := n.open(b.Context(), fileFolder, "there")
			must(b, err)
			_, err = io.Copy(io.Discard, &nasReader{ctx: b.Context(), f: f})
			must(b, err)
			f.close()
		}
	})
	b.Run("read by smbclient", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			smbclient(b, `get projects\files\there /dev/null`)
		}
	})
}

// BenchmarkLocal stores a file in the directory, with its SHA-256 and flushed,
// and reads it.
func BenchmarkLocal(b *testing.B) {
	st, err := openStorage(config{uploadDir: b.TempDir()}, quiet)
	must(b, err)
	source := benchFile(b)
	other := filepath.Join(b.TempDir(), "copy")
	b.Run("write", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			up, err := st.stage(fileFolder, io.NewSectionReader(source, 0, source.size), benchSize)
			must(b, err)
			_, err = st.place(b.Context(), up, fileFolder, "a")
			must(b, err)
			up.drop()
		}
	})
	b.Run("write by cp and sync", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			command(b, "cp", source.Name(), other)
			command(b, "sync", other)
			os.Remove(other)
		}
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			f, err := st.open(b.Context(), fileFolder, "a")
			must(b, err)
			_, err = io.Copy(io.Discard, f)
			must(b, err)
			f.Close()
		}
	})
	b.Run("read by cat", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			command(b, "sh", "-c", `cat "$0" | cat >/dev/null`, source.Name())
		}
	})
}

// BenchmarkTransfers uploads and downloads ten files of 25 MB at once and
// reports by how much the memory of this process grows at most, clients
// included.
func BenchmarkTransfers(b *testing.B) {
	const parallel, size = 10, 25 << 20
	for _, place := range []string{"directory", "NAS"} {
		b.Run(place, func(b *testing.B) {
			st := newSite(b, func(c *config) { c.uploadQuota = 0 })
			if place == "NAS" {
				smb := newSamba(b)
				st.storage.nas = newNAS(smb.config())
				st.storage.nas.patience = time.Minute
				b.Cleanup(st.storage.nas.close)
			}
			alice := st.member("alice")
			list := fmt.Sprintf("%s/api/projects/%d/files", st.url, alice.draft("Robot"))
			var ids [parallel]int
			atOnce := func(do func(i int)) float64 {
				debug.FreeOSMemory()
				must(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
				before := peakMemory(b)
				var all sync.WaitGroup
				for i := range parallel {
					all.Go(func() { do(i) })
				}
				all.Wait()
				return peakMemory(b) - before
			}
			var up, down float64
			for b.Loop() {
				up = max(up, atOnce(func(i int) {
					r, w := io.Pipe()
					form := multipart.NewWriter(w)
					go func() {
						part, err := form.CreateFormFile("file", "a.stl")
						if err == nil {
							_, err = io.Copy(part, io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), size))
						}
						form.Close()
						w.CloseWithError(err)
					}()
					request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, list, r)
					must(b, err)
					request.Header.Set("Content-Type", form.FormDataContentType())
					response, err := alice.client.Do(request)
					must(b, err)
					text, err := io.ReadAll(response.Body)
					must(b, err)
					response.Body.Close()
					a := &answer{b, "POST", response.StatusCode, response.Header, text}
					ids[i] = a.want(http.StatusCreated).id()
				}))
				down = max(down, atOnce(func(i int) {
					response, err := alice.client.Get(fmt.Sprintf("%s/%d/download", list, ids[i]))
					must(b, err)
					defer response.Body.Close()
					if n, err := io.Copy(io.Discard, response.Body); n != size || err != nil {
						b.Errorf("%d bytes, %v", n, err)
					}
				}))
			}
			b.ReportMetric(up, "MB-up")
			b.ReportMetric(down, "MB-down")
		})
	}
}

// BenchmarkPictures makes all sizes of a photo of 12 megapixels.
func BenchmarkPictures(b *testing.B) {
	const w, h = 4000, 3000
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	random := rand.New(rand.NewPCG(1, 2))
	for i := range img.Pix { // some noise on something smooth, as in a photo
		img.Pix[i] = uint8(128 + 100*((i/4%w)*(i/4/w)%1000)/1000 + random.IntN(20))
	}
	data := jpegOf(b, img)
	file := filepath.Join(b.TempDir(), "photo.jpg")
	must(b, os.WriteFile(file, data, 0o644))
	s := &server{decoding: make(chan struct{}, maxDecoding)}
	rate := func(b *testing.B, n int, took time.Duration) {
		b.ReportMetric(float64(n)*w*h/1e6/took.Seconds(), "MP/s")
	}
	b.Run("one at a time", func(b *testing.B) {
		started, n := time.Now(), 0
		for b.Loop() {
			made, err := makePicture(data)
			must(b, err)
			same(b, "sizes", len(made.sizes), 5)
			n++
		}
		rate(b, n, time.Since(started))
	})
	b.Run("one at a time by vipsthumbnail", func(b *testing.B) {
		started, n := time.Now(), 0
		for b.Loop() {
			for _, width := range pictureSizes {
				command(b, "vipsthumbnail", file, "--size", fmt.Sprintf("%dx", width), "-o", fmt.Sprintf("%%s-%d.jpg[Q=82,strip]", width))
			}
			n++
		}
		rate(b, n, time.Since(started))
	})
	b.Run("four at once", func(b *testing.B) {
		started, n := time.Now(), 0
		runtime.GC()
		must(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
		before := peakMemory(b)
		for b.Loop() {
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					must(b, s.decode(b.Context(), func() error {
						_, err := makePicture(bytes.Clone(data))
						return err
					}))
				})
			}
			all.Wait()
			n += 4
		}
		rate(b, n, time.Since(started))
		b.ReportMetric(peakMemory(b)-before, "MB")
	})
}
