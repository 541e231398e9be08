package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// picture is an encoded picture of w × h pixels.
func picture(t testing.TB, format string, w, h int) []byte {
	t.Helper()
	img := image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{color.White, color.RGBA{200, 60, 20, 255}})
	for i := range img.Pix {
		img.Pix[i] = uint8(i / 7 % 2)
	}
	var b bytes.Buffer
	var err error
	switch format {
	case "png":
		err = png.Encode(&b, img)
	case "jpeg":
		err = jpeg.Encode(&b, img, nil)
	case "gif":
		err = gif.Encode(&b, img, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tinyWebP is a lossless WebP of one pixel.
var tinyWebP = []byte("RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00")

const tinySVG = `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><script>alert(1)</script></svg>`

// stored counts the files in the storage.
func (st *site) stored() (n int) {
	st.t.Helper()
	err := filepath.WalkDir(st.uploads, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != journalFile {
			n++
		}
		return err
	})
	if err != nil {
		st.t.Fatal(err)
	}
	return n
}

func TestFiles(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	id := alice.draft("Robot")
	list := fmt.Sprintf("/api/projects/%d/files", id)
	stl := bytes.Repeat([]byte("facet"), 20<<20/5) // 20 MiB
	alice.post(list, form("title", "Bracket", "description", "Print two").file("file", `C:\models\bracket v2.STL`, stl)).want(http.StatusCreated)
	alice.post(list, form("description", "Firmware").file("file", "../../日本.py", []byte("print('hi')"))).want(http.StatusCreated)
	d := alice.project(id)
	py, model := d.Files[0], d.Files[1]
	same(t, "newest first", py.OriginalFilename, "日本.py")
	same(t, "model", model.OriginalFilename == "bracket v2.STL" && model.FileSize == len(stl) && *model.Description == "Bracket: Print two" && model.FileType == "model/stl", true)
	same(t, "stored name", strings.HasSuffix(model.Filename, ".stl") && isUUID(strings.TrimSuffix(model.Filename, ".stl")), true)

	path := fmt.Sprintf("%s/%d/download", list, model.ID)
	bob.get(path).want(http.StatusForbidden)
	a := alice.get(path).want(http.StatusOK)
	same(t, "content", bytes.Equal(a.body, stl), true)
	same(t, "disposition", a.header.Get("Content-Disposition"), `attachment; filename="bracket v2.STL"`)
	same(t, "type", a.header.Get("Content-Type"), "application/octet-stream")
	same(t, "sandbox", strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox"), true)
	part := alice.do(http.MethodGet, path, nil, "Range", "bytes=5-9").want(http.StatusPartialContent)
	same(t, "range", string(part.body), "facet")
	alice.do(http.MethodGet, path, nil, "If-None-Match", a.header.Get("ETag")).want(http.StatusNotModified)
	alice.do(http.MethodGet, path, nil, "Range", "bytes=99999999-").detail(http.StatusRequestedRangeNotSatisfiable, "the range asked for is not among them")
	alice.do(http.MethodGet, path, nil, "If-Match", `"other"`).detail(http.StatusPreconditionFailed, "not in the state")
	a = alice.get(fmt.Sprintf("%s/%d/download", list, py.ID)).want(http.StatusOK)
	same(t, "disposition", a.header.Get("Content-Disposition"), "attachment; filename=__.py; filename*=UTF-8''%E6%97%A5%E6%9C%AC.py")
	_, params, err := mime.ParseMediaType(strings.Replace(a.header.Get("Content-Disposition"), "filename=__.py; ", "", 1))
	same(t, "filename*", err == nil && params["filename"] == "日本.py", true)

	alice.get(list+"/999/download").detail(http.StatusNotFound, "File not found")
	other := alice.draft("Other")
	alice.get(fmt.Sprintf("/api/projects/%d/files/%d/download", other, py.ID)).detail(http.StatusNotFound, "File not found")
	alice.delete(fmt.Sprintf("/api/projects/%d/files/%d", other, py.ID)).detail(http.StatusNotFound, "File not found")
	bob.delete(fmt.Sprintf("%s/%d", list, py.ID)).want(http.StatusForbidden)
	same(t, "stored files", st.stored(), 2)
	alice.delete(fmt.Sprintf("%s/%d", list, py.ID)).want(http.StatusNoContent)
	same(t, "stored files", st.stored(), 1)
	os.Remove(filepath.Join(st.uploads, fileFolder, model.Filename))
	alice.get(path).detail(http.StatusNotFound, "File not found in storage")
	alice.delete(fmt.Sprintf("/api/projects/%d", id)).want(http.StatusNoContent)
	same(t, "stored files", st.stored(), 0)
}

func TestUploadsThatAreRefused(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	files, images := fmt.Sprintf("/api/projects/%d/files", id), fmt.Sprintf("/api/projects/%d/images", id)
	for _, c := range []struct {
		path   string
		body   any
		status int
		msg    string
	}{
		{files, form().file("file", "a.exe", []byte("MZ")), 400, "Files of this kind are not taken; allowed: .cpp .gcode .h"},
		{files, form().file("file", "noextension", []byte("x")), 400, "not taken"},
		{files, form().file("file", "a.py", nil), 400, "The file is empty"},
		{files, form().file("file", "a.py", []byte("a\x00b")), 400, "named .py but is not a text"},
		{files, form().file("file", "a.pdf", []byte("hello")), 400, "no PDF document"},
		{files, form().file("file", "a.stl", make([]byte, 25<<20+1)), 400, "at most 25 MB are taken"},
		{files, form("file", "text"), 422, "Choose a file to upload"},
		{files, form(), 422, "Choose a file to upload"},
		{files, map[string]any{"file": "x"}, 422, "multipart/form-data"},
		{files, form("title", "\xff").file("file", "a.py", []byte("x")), 422, "Title must be valid UTF-8"},
		{files, form().file("file", "a.py", []byte("x")).file("file", "b.py", []byte("x")), 400, "Send one file at a time"},
		{images, form().file("image", "a.bmp", []byte("BM")), 400, "allowed: .gif .jpeg .jpg .png .svg .webp"},
		{images, form().file("image", "a.png", []byte("<html><script>alert(1)</script>")), 400, "named .png but is no such picture"},
		{images, form().file("image", "a.png", picture(t, "jpeg", 4, 4)), 400, "named .png but is no such picture"},
		{images, form().file("image", "a.svg", picture(t, "png", 4, 4)), 400, "no SVG picture"},
		{images, form().file("image", "a.png", append(picture(t, "png", 4, 4), make([]byte, 10<<20)...)), 400, "at most 10 MB are taken"},
		{images, form().file("image", "bomb.png", bombPNG()), 400, "at most 50 million"},
	} {
		alice.post(c.path, c.body).detail(c.status, c.msg)
	}
	many := form()
	for i := range 40 {
		_ = many.w.WriteField(fmt.Sprint("field", i), strings.Repeat("x", 1<<10))
	}
	alice.post(files, many.file("file", "a.py", []byte("x"))).detail(http.StatusBadRequest, "too many fields")
	alice.post(files, form("title", strings.Repeat("x", 27<<20)).file("file", "a.py", []byte("x"))).detail(http.StatusBadRequest, "Title is too long")
	alice.post(files, "--x\r\n").detail(http.StatusUnprocessableEntity, "multipart/form-data")
	cut := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.py\"\r\n\r\nprint(1)\r\n--"
	alice.do(http.MethodPost, files, cut, "Content-Type", "multipart/form-data; boundary=b").detail(http.StatusBadRequest, "ended before it was whole")
	same(t, "stored files", st.stored(), 0)
	same(t, "rows", st.count(`select (select count(*) from project_file) + (select count(*) from project_image)`), 0)

	// A client that goes away in the middle leaves nothing behind.
	conn, err := net.Dial("tcp", strings.TrimPrefix(st.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000000\r\n\r\n"+
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.stl\"\r\n\r\n%s", files, st.tokenOf("alice"), strings.Repeat("x", 600<<10))
	conn.Close()
	wait(t, "the cut upload to be answered", func() bool { return strings.Contains(st.logged.String(), "status=400 bytes=58") })
	same(t, "stored files", st.stored(), 0)
}

// wait polls until the condition holds.
func wait(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// bombPNG is a picture that says it has 30000 × 30000 pixels.
func bombPNG() []byte {
	var b bytes.Buffer
	_ = png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1)))
	head := b.Bytes()
	copy(head[16:], "\x00\x00\x75\x30\x00\x00\x75\x30")
	binary.BigEndian.PutUint32(head[29:], crc32.ChecksumIEEE(head[12:29]))
	return head
}

func TestImages(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	id := alice.draft("Robot")
	list := fmt.Sprintf("/api/projects/%d/images", id)
	photo := picture(t, "jpeg", 4000, 3000)
	first := alice.post(list, form("caption", "Front").file("image", "front.jpg", photo)).want(http.StatusCreated).id()
	second := alice.post(list, form().file("file", "side.PNG", picture(t, "png", 20, 10))).want(http.StatusCreated).id()
	alice.post(list, form().file("image", "a.gif", picture(t, "gif", 20, 10))).want(http.StatusCreated)
	alice.post(list, form().file("image", "a.webp", tinyWebP)).want(http.StatusCreated)
	// A photo can have much to tell before it says how large it is.
	long := slices.Concat(photo[:2], bytes.Repeat(append([]byte("\xff\xe1\xff\xff"), make([]byte, 0xfffd)...), 20), photo[2:])
	alice.delete(fmt.Sprintf("%s/%d", list, alice.post(list, form().file("image", "long.jpg", long)).want(http.StatusCreated).id())).want(http.StatusNoContent)
	// And a letter of two bytes can stand anywhere in a drawing.
	for i := range 2 {
		text := strings.Replace(tinySVG, "<script>", "<!--"+strings.Repeat("é", headSize)+strings.Repeat(" ", i)+"--><script>", 1)
		alice.delete(fmt.Sprintf("%s/%d", list, alice.post(list, form().file("image", "e.svg", []byte(text))).want(http.StatusCreated).id())).want(http.StatusNoContent)
	}
	drawing := alice.post(list, form().file("image", "a.svg", []byte(tinySVG))).want(http.StatusCreated).id()
	var images []struct {
		ID           int
		Caption      *string
		DisplayOrder int    `json:"display_order"`
		ImageURL     string `json:"image_url"`
	}
	alice.get(list).want(http.StatusOK).into(&images)
	same(t, "images", len(images) == 5 && images[0].ID == first && *images[0].Caption == "Front" && images[4].DisplayOrder == 4, true)
	address := fmt.Sprintf("http://localhost:8000/api/projects/%d/images/%d/file", id, first)
	same(t, "image_url", images[0].ImageURL, address)
	same(t, "the first is primary", *alice.project(id).PrimaryImageURL, address)

	path := strings.TrimPrefix(address, "http://localhost:8000")
	nobody.get(path).want(http.StatusForbidden)
	a := alice.get(path).want(http.StatusOK)
	same(t, "content", bytes.Equal(a.body, photo), true)
	same(t, "a draft's picture is private", strings.Contains(a.header.Get("Cache-Control"), "private"), true)
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	for _, p := range []string{path, strings.TrimSuffix(path, "/file")} {
		a = nobody.get(p).want(http.StatusOK)
		same(t, "type", a.header.Get("Content-Type"), "image/jpeg")
		same(t, "public", a.header.Get("Cache-Control"), "public, max-age=300")
	}
	st.clock.Store(int64(20 * time.Minute)) // when a token is renewed, but not into what caches keep
	same(t, "no cookie", len(bob.get(path).header.Values("Set-Cookie")), 0)
	same(t, "renewed elsewhere", len(bob.get("/me").header.Values("Set-Cookie")), 2)
	a = nobody.get(fmt.Sprintf("%s/%d/file", list, drawing)).want(http.StatusOK)
	same(t, "an SVG can't run scripts", a.header.Get("Content-Type") == "image/svg+xml" && strings.HasPrefix(a.header.Get("Content-Security-Policy"), "sandbox; default-src 'none'"), true)
	nobody.get(list+"/999/file").detail(http.StatusNotFound, "Image not found")

	for i, way := range []string{fmt.Sprintf("%s/%d/primary", list, second), fmt.Sprintf("/api/projects/%d/primary-image/%d", id, first)} {
		var d projectShape
		alice.put(way, nil).want(http.StatusOK).into(&d)
		same(t, "primary", strings.HasSuffix(*d.PrimaryImageURL, fmt.Sprintf("/%d/file", []int{second, first}[i])), true)
		bob.put(way, nil).want(http.StatusForbidden)
	}
	alice.put(list+"/999/primary", nil).detail(http.StatusNotFound, "Image not found")
	alice.put(fmt.Sprintf("/api/projects/%d/primary-image/%d", alice.draft("Other"), first), nil).detail(http.StatusNotFound, "Image not found")
	alice.delete(fmt.Sprintf("%s/%d", list, first)).want(http.StatusNoContent)
	same(t, "the next one is primary", strings.HasSuffix(*alice.project(id).PrimaryImageURL, fmt.Sprintf("/%d/file", second)), true)
	alice.delete(fmt.Sprintf("%s/%d", list, first)).detail(http.StatusNotFound, "Image not found")
	same(t, "stored files", st.stored(), 4)
	var g galleryShape
	nobody.get("/api/projects").into(&g)
	same(t, "gallery", strings.HasSuffix(*g.Projects[0].PrimaryImageURL, fmt.Sprintf("/%d/file", second)), true)
}

func TestDownload(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	id := alice.post("/api/projects", map[string]any{"title": "Röbot: mark/2", "description": "It *rolls*.", "tags": []string{"robot", "pico"},
		"background": "Some history", "code_link": "https://example.com/code"}).want(http.StatusCreated).id()
	path := fmt.Sprintf("/api/projects/%d", id)
	for i := range 30 {
		alice.post(path+"/steps", map[string]any{"title": fmt.Sprint("Part ", i+1), "content": "Do it"}).want(http.StatusCreated)
	}
	alice.post(path+"/bom", map[string]any{"item_name": "Motor | geared", "quantity": 2, "price_cents": 1205, "description": "two\nlines"}).want(http.StatusCreated)
	alice.post("/api/components", map[string]any{"name": "LED", "datasheet_url": "https://example.com/led.pdf"}).want(http.StatusCreated)
	alice.post(path+"/components", map[string]any{"component_id": 1, "notes": "red"}).want(http.StatusCreated)
	alice.post(path+"/tools", map[string]any{"name": "Iron", "tool_type": "tool", "notes": "hot"}).want(http.StatusCreated)
	alice.post(path+"/links", map[string]any{"url": "https://example.com/v", "title": "How", "link_type": "related_project"}).want(http.StatusCreated)
	for _, text := range []string{"one", "two"} {
		alice.post(path+"/files", form("title", "Code "+text).file("file", "Main.py", []byte("print('"+text+"')"))).want(http.StatusCreated)
	}
	alice.post(path+"/files", form().file("file", "aux.h", []byte("// device name"))).want(http.StatusCreated)
	photo := picture(t, "png", 300, 200)
	alice.post(path+"/images", form("caption", "Front").file("image", "日本.png", photo)).want(http.StatusCreated)

	nobody.get(path + "/download").want(http.StatusForbidden)
	alice.post(path+"/publish", nil).want(http.StatusOK)
	head := nobody.do(http.MethodHead, path+"/download", nil).want(http.StatusOK)
	same(t, "HEAD", head.header.Get("Content-Type"), "application/zip")
	a := nobody.get(path + "/download").want(http.StatusOK)
	same(t, "disposition", a.header.Get("Content-Disposition"), "attachment; filename=R_bot__mark_2_project.zip; filename*=UTF-8''R%C3%B6bot_%20mark_2_project.zip")
	same(t, "downloads", alice.project(id).DownloadCount, 1)
	content := unzip(t, a.body)
	readme := content["README.md"]
	var names []string
	for _, name := range []string{"README.md", "files/Main.py", "files/Main (2).py", "files/_aux.h", "images/日本.png"} {
		if _, ok := content[name]; !ok {
			names = append(names, name)
		}
	}
	if len(names) > 0 || len(content) != 9 {
		t.Fatalf("missing %v in %d entries", names, len(content))
	}
	same(t, "both files of one name", content["files/Main.py"] == "print('two')" && content["files/Main (2).py"] == "print('one')", true)
	same(t, "picture", content["images/日本.png"] == string(photo), true)
	at := -1
	for _, part := range []string{
		"# Röbot: mark/2\n\nIt *rolls*.", "**Author:** alice", "**Created:** 20", "**Last updated:** 20", "**Tags:** robot, pico", "## Background\n\nSome history",
		"<https://example.com/code>", "## Build Instructions", "### Step 1: Part 1\n\nDo it", "### Step 30: Part 30",
		"| Item | Quantity | Price | Description |", `| Motor \| geared | 2 | 12.05 | two lines |`, "## Electronic Components", "| LED | 1 | red | [Datasheet](<https://example.com/led.pdf>) |",
		"## Required Tools & Materials\n\n- **Iron** (tool): hot", "## Additional Resources\n\n- [How](<https://example.com/v>) (related project)",
		"## Included Files\n\n- `files/_aux.h` (14 bytes)", "- `files/Main.py` (12 bytes): Code two", "## Project Images\n\n- [日本.png](<images/日本.png>): Front",
		"By alice on Test Site (http://localhost:8000/p/alice/1-r%C3%B6bot-mark-2)",
	} {
		i := strings.Index(readme, part)
		if i <= at {
			t.Fatalf("README.md: %q is at %d, after %d:\n%s", part, i, at, readme)
		}
		at = i
	}

	// A file that the storage has lost is named, not left out in silence.
	var name string
	if err := st.db.QueryRow(t.Context(), `select filename from project_file where original_filename = 'aux.h'`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(st.uploads, fileFolder, name))
	content = unzip(t, nobody.get(path+"/download").want(http.StatusOK).body)
	same(t, "named", strings.Contains(content["README.md"], "`files/_aux.h` (14 bytes) — **missing"), true)
	same(t, "entries", len(content), 8)
}

func unzip(t testing.TB, body []byte) map[string]string {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
		content[f.Name] = string(text)
	}
	return content
}

func TestNamesOfFiles(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a.py": "a.py", `..\..\a.py`: "a.py", "../a.py": "a.py", "a\x00\n\u202eb.py": "ab.py", " x .py": "x .py", `a<b>:"|?*.py`: "a_b______.py",
		"con.txt": "_con.txt", "NUL": "_NUL", "": "_", "...": "_", "trailing. ": "trailing", strings.Repeat("x", 300) + ".py": strings.Repeat("x", 197) + ".py",
	} {
		same(t, fmt.Sprintf("%q", name), fileName(name), want)
	}
	for title, want := range map[string]string{"Robot": "Robot_project.zip", "../x": "_x_project.zip", "日本": "___project.zip", `a"b;c`: "a_b_c_project.zip"} {
		same(t, title, zipName(title), want)
	}
}

func TestParallelUploads(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			alice.post(fmt.Sprintf("/api/projects/%d/images", id), form().file("image", fmt.Sprint(i, ".png"), picture(t, "png", 10, 10))).want(http.StatusCreated)
		})
	}
	group.Wait()
	d := alice.project(id)
	for i, image := range d.Images {
		same(t, "display_order", image.DisplayOrder, i)
	}
	u, err := url.Parse(*d.PrimaryImageURL)
	same(t, "primary", err == nil && strings.HasSuffix(u.Path, fmt.Sprintf("/images/%d/file", d.Images[0].ID)), true)
}
