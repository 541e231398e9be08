package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// bring imports a bundle.
func (p *person) bring(bundle []byte) *answer {
	p.t.Helper()
	return p.post("/api/projects/import", form().file("bundle", "robot.zip", bundle))
}

// description is project.json of a ZIP, without what two copies may differ in.
func description(t testing.TB, body []byte) string {
	t.Helper()
	var b map[string]any
	must(t, json.Unmarshal([]byte(unzip(t, body)["project.json"]), &b))
	delete(b, "source")
	for _, list := range []string{"files", "images"} {
		for _, f := range b[list].([]any) {
			delete(f.(map[string]any), "uploaded_at")
		}
	}
	text, err := json.MarshalIndent(b, "", " ")
	must(t, err)
	return string(text)
}

// sameBundle checks that two ZIPs hold the same project, to the last byte of its
// files.
func sameBundle(t testing.TB, got, want []byte) {
	t.Helper()
	if g, w := description(t, got), description(t, want); g != w {
		gl, wl := strings.Split(g, "\n"), strings.Split(w, "\n")
		for i := range min(len(gl), len(wl)) {
			if gl[i] != wl[i] {
				t.Fatalf("project.json, line %d: %s, want %s", i+1, gl[i], wl[i])
			}
		}
		t.Fatal("project.json has another length")
	}
	g, w := unzip(t, got), unzip(t, want)
	same(t, "entries", len(g), len(w))
	for name, text := range w {
		if strings.Contains(name, "/") || name == "bom.csv" {
			same(t, name, g[name] == text, true)
		}
	}
}

func TestABundleBecomesTheProjectAgain(t *testing.T) {
	t.Parallel()
	here, there := newSite(t), newSite(t, func(c *config) { c.publicURL = "https://other.example" })
	alice, bob := here.member("alice"), there.member("bob")
	original := alice.workshop()
	first := alice.zip(original)
	var made struct {
		projectShape
		Missing []string
	}
	bob.bring(first).want(http.StatusCreated).into(&made)
	d, o := made.projectShape, alice.project(original)
	same(t, "a draft of who imports it", d.Status == "draft" && d.AuthorUsername == "bob" && d.Title == o.Title && d.Description == o.Description && *d.Background == *o.Background, true)
	same(t, "parts", fmt.Sprint(len(d.Steps), len(d.BillOfMaterials), len(d.Components), len(d.ToolsMaterials), len(d.Links), len(d.Files), len(d.Images), d.TagNames), fmt.Sprint(2, 2, 1, 2, 1, 11, 4, []string{"röbot", "pico"}))
	same(t, "nothing missing", len(made.Missing), 0)
	same(t, "pictures of a step", fmt.Sprint(d.Steps[0].ImageIDs), fmt.Sprint([]int{d.Images[3].ID, d.Images[0].ID}))
	same(t, "the primary one", strings.HasSuffix(*d.PrimaryImageURL, fmt.Sprintf("/images/%d/file", d.Images[2].ID)), true)
	for i := range d.Files {
		same(t, "file", d.Files[i].OriginalFilename, o.Files[i].OriginalFilename)
	}
	for _, image := range d.Images {
		bob.get(fmt.Sprintf("/api/projects/%d/images/%d/file", d.ID, image.ID)).want(http.StatusOK)
	}
	sameBundle(t, bob.zip(d.ID), first)
	// And back, beside the original.
	sameBundle(t, alice.zip(alice.bring(bob.zip(d.ID)).want(http.StatusCreated).id()), first)
	same(t, "components are shared", here.count(`select count(*) from component`), 1)
	same(t, "all files have rows", there.count(`select count(*) from media_file where state <> 'kept'`), 0)
	same(t, "the temporary ones are gone", there.stored(), there.count(`select count(*) from media_file`))
	bob.delete(fmt.Sprintf("/api/projects/%d", d.ID)).want(http.StatusNoContent)
	same(t, "all files are gone", there.stored(), 0)
}

func TestALargeBundleComesBack(t *testing.T) {
	t.Parallel()
	here, there := newSite(t), newSite(t)
	alice, bob := here.member("alice"), there.member("bob")
	id := alice.draft("Cathedral")
	path := fmt.Sprintf("/api/projects/%d", id)
	var images []int
	for i := range 60 {
		images = append(images, alice.post(path+"/images", form("caption", fmt.Sprint("Picture ", i)).file("image", "photo.png", picture(t, "png", 10+i, 10))).want(http.StatusCreated).id())
	}
	for i := range 100 {
		alice.post(path+"/files", form("description", fmt.Sprint("File ", i)).file("file", fmt.Sprintf("part %d.stl", i/2), fmt.Appendf(nil, "solid %d", i))).want(http.StatusCreated)
	}
	for i := range 200 {
		alice.post(path+"/steps", map[string]any{"title": fmt.Sprint("Step ", i), "content": strings.Repeat("Do it. ", 100), "image_ids": []int{images[i%60], images[(i+7)%60]}}).want(http.StatusCreated)
	}
	var csv strings.Builder
	csv.WriteString("Part,Qty,Price\n")
	for i := range 500 {
		fmt.Fprintf(&csv, "Part %d,%d,%d.%02d\n", i, i+1, i, i%100)
	}
	alice.post(path+"/bom/import", form("csv", csv.String())).want(http.StatusCreated)
	first := alice.zip(id)
	copied := bob.bring(first).want(http.StatusCreated).id()
	sameBundle(t, bob.zip(copied), first)
	d := bob.project(copied)
	same(t, "parts", fmt.Sprint(len(d.Steps), len(d.BillOfMaterials), len(d.Files), len(d.Images)), "200 500 100 60")
}

func TestTheOriginOfABundleIsKept(t *testing.T) {
	t.Parallel()
	here, there := newSite(t), newSite(t, func(c *config) { c.publicURL = "https://other.example" })
	alice, bob, carol := here.member("alice"), here.member("bob"), there.member("carol")
	id := alice.workshop()
	remix := bob.post(fmt.Sprintf("/api/projects/%d/remix", id), nil).want(http.StatusCreated).id()
	body := bob.zip(remix)
	content := unzip(t, body)
	page := fmt.Sprintf("http://localhost:8000/p/alice/%d-r%%C3%%B6bot-mark-2-b", id)
	if !strings.Contains(content["README.md"], "**Based on:** [Röbot: mark/2 <b>](<") || !strings.Contains(content["README.md"], ") by alice, MIT  \n") {
		t.Error(content["README.md"])
	}
	same(t, "manifest", strings.Contains(content["okh.toml"], `forkOf = "http://localhost:8000/p/alice/`), true)
	type shape struct {
		ID     int
		Origin struct {
			ID                 *int
			Title, Author, URL string
			License            string
		}
	}
	var elsewhere, again shape
	carol.bring(body).want(http.StatusCreated).into(&elsewhere)
	same(t, "elsewhere", elsewhere.Origin.ID == nil && elsewhere.Origin.Title == "Röbot: mark/2 <b>" && elsewhere.Origin.Author == "alice" && elsewhere.Origin.License == "MIT", true)
	u, err := url.Parse(elsewhere.Origin.URL)
	if want, _ := url.Parse(page); err != nil || u.Path != want.Path {
		t.Errorf("%s, want %s", elsewhere.Origin.URL, page)
	}
	sameBundle(t, carol.zip(elsewhere.ID), body)
	bob.bring(body).want(http.StatusCreated).into(&again)
	same(t, "here it is linked", *again.Origin.ID, id)
	// What its licence does not allow is not claimed to be a remix.
	alice.put(fmt.Sprintf("/api/projects/%d", id), map[string]any{"license": nil}).want(http.StatusOK)
	again = shape{}
	bob.bring(body).want(http.StatusCreated).into(&again)
	same(t, "only named", again.Origin.ID == nil && again.Origin.Author == "alice", true)
}

func TestABundleThatLacksAFile(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.workshop()
	st.lose("lost.stl")
	var made struct{ Missing []string }
	alice.bring(alice.zip(id)).want(http.StatusCreated).into(&made)
	same(t, "it is named", fmt.Sprint(made.Missing), "[lost.stl]")
}

// entry is one entry of a ZIP that tests make.
type zipEntry struct {
	name, text string
	change     func(h *zip.FileHeader)
}

func zipOf(t testing.TB, entries ...zipEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if e.change != nil {
			e.change(h)
		}
		entry, err := w.CreateHeader(h)
		must(t, err)
		_, err = entry.Write([]byte(e.text))
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

const smallProject = `{"format": "chatter-project", "version": 1, "title": "T", "description": "D", "files": [{"path": "files/a.txt"}]}`

func projectJSON(text string) zipEntry { return zipEntry{name: "project.json", text: text} }

var goodFile = zipEntry{name: "files/a.txt", text: "hello"}

// patched changes a field of every directory entry and local header: at is its
// place in the directory's, local in the local one.
func patched(b []byte, name string, at, local int, value []byte) []byte {
	b = bytes.Clone(b)
	for i := 0; i+46 < len(b); i++ {
		if string(b[i:i+4]) == "PK\x01\x02" && at >= 0 && strings.HasPrefix(string(b[i+46:]), name) {
			copy(b[i+at:], value)
		}
		if string(b[i:i+4]) == "PK\x03\x04" && local >= 0 && strings.HasPrefix(string(b[i+30:]), name) {
			copy(b[i+local:], value)
		}
	}
	return b
}

// overlapping is a ZIP whose second directory entry stands for the first one's
// bytes (as in Fifield's bomb).
func overlapping(t testing.TB) []byte {
	b := zipOf(t, projectJSON(smallProject), goodFile, zipEntry{name: "files/b.txt", text: "hello"})
	at := bytes.Index(b, []byte("PK\x03\x04\x14\x00\x08\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b\x00\x00\x00files/a"))
	if at < 0 {
		t.Fatal("no local header")
	}
	return patched(b, "files/b", 42, -1, binary.LittleEndian.AppendUint32(nil, uint32(at)))
}

func numberedEntries(n int) (entries []zipEntry) {
	for i := range n {
		entries = append(entries, zipEntry{name: fmt.Sprint("files/", i, ".txt")})
	}
	return entries
}

// manyEntries is a ZIP of a hundred thousand empty entries; its end can say another
// number.
func manyEntries(says uint16) []byte {
	var b, directory bytes.Buffer
	const n = 100_000
	for i := range n {
		name := fmt.Sprintf("files/%07d.txt", i)
		offset := b.Len()
		header := make([]byte, 30)
		copy(header, "PK\x03\x04\x14\x00")
		binary.LittleEndian.PutUint16(header[26:], uint16(len(name)))
		b.Write(header)
		b.WriteString(name)
		central := make([]byte, 46)
		copy(central, "PK\x01\x02\x14\x00\x14\x00")
		binary.LittleEndian.PutUint16(central[28:], uint16(len(name)))
		binary.LittleEndian.PutUint32(central[42:], uint32(offset))
		directory.Write(central)
		directory.WriteString(name)
	}
	start := b.Len()
	b.Write(directory.Bytes())
	end := make([]byte, 22)
	copy(end, "PK\x05\x06")
	binary.LittleEndian.PutUint16(end[8:], says)
	binary.LittleEndian.PutUint16(end[10:], says)
	binary.LittleEndian.PutUint32(end[12:], uint32(directory.Len()))
	binary.LittleEndian.PutUint32(end[16:], uint32(start))
	b.Write(end)
	return b.Bytes()
}

// zip64 is a ZIP as programs write it that always use Zip64: the sizes of its
// entries and its directory's place are in 64 bits.
func zip64(entries ...zipEntry) []byte {
	var b, directory bytes.Buffer
	le := binary.LittleEndian
	for _, e := range entries {
		offset := uint64(b.Len())
		sum := crc32.ChecksumIEEE([]byte(e.text))
		extra := le.AppendUint16(le.AppendUint16(nil, 1), 24)
		extra = le.AppendUint64(le.AppendUint64(le.AppendUint64(extra, uint64(len(e.text))), uint64(len(e.text))), offset)
		local := append([]byte("PK\x03\x04\x2d\x00\x00\x00\x00\x00\x00\x00\x00\x00"), le.AppendUint32(nil, sum)...)
		local = append(local, bytes.Repeat([]byte{0xff}, 8)...)
		local = le.AppendUint16(le.AppendUint16(local, uint16(len(e.name))), 20)
		b.Write(local)
		b.WriteString(e.name)
		b.Write(append([]byte{1, 0, 16, 0}, extra[4:20]...))
		b.WriteString(e.text)
		central := append([]byte("PK\x01\x02\x2d\x00\x2d\x00\x00\x00\x00\x00\x00\x00\x00\x00"), le.AppendUint32(nil, sum)...)
		central = append(central, bytes.Repeat([]byte{0xff}, 8)...)
		central = le.AppendUint16(le.AppendUint16(central, uint16(len(e.name))), uint16(len(extra)))
		central = append(central, make([]byte, 10)...)
		central = le.AppendUint32(central, 0xffffffff)
		directory.Write(central)
		directory.WriteString(e.name)
		directory.Write(extra)
	}
	start, n := uint64(b.Len()), uint64(len(entries))
	b.Write(directory.Bytes())
	end := le.AppendUint64([]byte("PK\x06\x06"), 44)
	end = append(end, 45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, v := range []uint64{n, n, uint64(directory.Len()), start} {
		end = le.AppendUint64(end, v)
	}
	place := uint64(b.Len())
	b.Write(end)
	b.Write(append(le.AppendUint64([]byte("PK\x06\x07\x00\x00\x00\x00"), place), 1, 0, 0, 0))
	b.Write(append([]byte("PK\x05\x06\x00\x00\x00\x00"), bytes.Repeat([]byte{0xff}, 12)...))
	b.Write([]byte{0, 0})
	return b.Bytes()
}

func TestHostileBundles(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.maxParts, c.maxUploads = 50, 20 })
	alice := st.member("alice")
	project := projectJSON(smallProject)
	named := func(name string) []byte { return zipOf(t, project, goodFile, zipEntry{name: name, text: "x"}) }
	mode := func(mode os.FileMode) func(h *zip.FileHeader) { return func(h *zip.FileHeader) { h.SetMode(mode) } }
	good := zipOf(t, project, goodFile)
	broken := picture(t, "png", 300, 300)
	broken[len(broken)/2] ^= 0xff
	bomb := strings.Repeat("\x00", 100<<20)
	nested := string(zipOf(t, zipEntry{name: "b", text: strings.Repeat("0", 1<<20)}))
	files := func(text string) string { return strings.Replace(smallProject, `[{"path": "files/a.txt"}]`, text, 1) }
	for what, c := range map[string]struct {
		bundle []byte
		status int
		want   string
	}{
		"no ZIP":              {[]byte("hello"), 400, "it is no ZIP"},
		"cut off":             {good[:len(good)-5], 400, "it is no ZIP"},
		"something before":    {append([]byte("#!/bin/sh\n"), good...), 400, "its directory is not where it says"},
		"something behind":    {append(bytes.Clone(good), "x"...), 400, "it is no ZIP"},
		"no project.json":     {zipOf(t, zipEntry{name: "README.md", text: "# Robot"}), 400, "The ZIP has no project.json"},
		"two of them":         {zipOf(t, zipEntry{name: "a/project.json", text: "{}"}, zipEntry{name: "b/project.json", text: "{}"}), 400, "The ZIP has no project.json"},
		"zip slip":            {named("../../etc/passwd"), 400, "is not allowed"},
		"slip inside":         {named("files/../../x.txt"), 400, "is not allowed"},
		"absolute":            {named("/etc/passwd"), 400, "is not allowed"},
		"a drive":             {named("C:/x.txt"), 400, "is not allowed"},
		"backslashes":         {named(`files\..\..\x.txt`), 400, "is not allowed"},
		"a dot":               {named("files/./x.txt"), 400, "is not allowed"},
		"control characters":  {named("files/a\nb.txt"), 400, "is not allowed"},
		"NUL":                 {named("files/a.txt\x00.exe"), 400, "is not allowed"},
		"no UTF-8":            {named("files/\xff.txt"), 400, "not in UTF-8"},
		"a link":              {zipOf(t, project, zipEntry{"files/a.txt", "/etc/passwd", mode(os.ModeSymlink | 0o777)}), 400, "a link or something else"},
		"a device":            {zipOf(t, project, zipEntry{"files/a.txt", "", mode(os.ModeDevice | 0o666)}), 400, "a link or something else"},
		"a folder as a file":  {zipOf(t, project, zipEntry{name: "files/a.txt/"}), 422, "files/a.txt is not in the ZIP"},
		"a file as a folder":  {zipOf(t, project, goodFile, zipEntry{name: "files/a.txt/b.txt", text: "x"}), 400, "is a file and a folder"},
		"one name twice":      {zipOf(t, project, goodFile, goodFile), 400, "two entries named"},
		"but for case":        {zipOf(t, project, goodFile, zipEntry{name: "files/A.TXT", text: "x"}), 400, "two entries named"},
		"encrypted":           {patched(good, "files/a", 8, 6, []byte{9, 0}), 400, "is encrypted"},
		"rare compression":    {patched(good, "files/a", 10, 8, []byte{12, 0}), 400, "in a way that is not known"},
		"overlapping":         {overlapping(t), 400, "overlap"},
		"100 000 entries":     {manyEntries(100_000 % 65536), 400, "its directory is too large"},
		"too many entries":    {zipOf(t, numberedEntries(1100)...), 400, "it has 1100 entries, and at most 1000 are taken"},
		"that it denies":      {manyEntries(2), 400, "its directory is too large"},
		"larger than it says": {patched(good, "files/a", 24, -1, []byte{2, 0, 0, 0}), 400, "files/a.txt is damaged"},
		"smaller":             {patched(good, "files/a", 24, -1, []byte{200, 0, 0, 0}), 400, "files/a.txt is damaged"},
		"another checksum":    {patched(good, "files/a", 16, -1, []byte{1, 2, 3, 4}), 400, "files/a.txt is damaged"},
		"far away":            {patched(good, "files/a", 42, -1, []byte{0, 0, 0, 0x70}), 400, "is not where it says"},
		"longer than it is":   {patched(good, "files/a", 20, -1, []byte{0, 0, 0, 0x70}), 400, "is not where it says"},
		"a bomb":              {zipOf(t, project, zipEntry{name: "files/a.txt", text: bomb}), 400, "unpacks to more than"},
		"too large":           {zipOf(t, project, zipEntry{name: "files/a.txt", text: bomb[:26<<20]}), 422, "files/a.txt is too large: at most 25 MB"},
		"a nested bomb":       {zipOf(t, projectJSON(files(`[{"path": "files/b.zip"}]`)), zipEntry{name: "files/b.zip", text: nested}), 422, "files/b.zip is of a kind that is not taken"},
		"a program":           {zipOf(t, projectJSON(files(`[{"path": "files/x.exe"}]`)), zipEntry{name: "files/x.exe", text: "MZ"}), 422, "of a kind that is not taken"},
		"under another name":  {zipOf(t, projectJSON(files(`[{"path": "files/x.exe", "original_filename": "a.txt"}]`)), zipEntry{name: "files/x.exe", text: "MZ"}), 422, "of a kind that is not taken"},
		"no text":             {zipOf(t, project, zipEntry{name: "files/a.txt", text: "a\x00b"}), 400, "files/a.txt: The file is named .txt but is not a text"},
		"no picture":          {zipOf(t, projectJSON(files(`[], "images": [{"path": "images/a.png"}]`)), zipEntry{name: "images/a.png", text: "hello"}), 400, "images/a.png: The file is named .png but is no such picture"},
		"a damaged picture":   {zipOf(t, projectJSON(files(`[], "images": [{"path": "images/b.png"}, {"path": "images/a.png"}]`)), zipEntry{name: "images/b.png", text: string(picture(t, "png", 9, 9))}, zipEntry{name: "images/a.png", text: string(broken)}), 400, "images/a.png: The picture is damaged"},
		"an empty file":       {zipOf(t, project, zipEntry{name: "files/a.txt"}), 422, "files/a.txt is empty"},
		"a file too many":     {zipOf(t, project, goodFile, zipEntry{name: "files/b.txt", text: "x"}), 400, "files/b.txt, which project.json does not name"},
		"named twice":         {zipOf(t, projectJSON(files(`[{"path": "files/a.txt"}, {"path": "files/a.txt"}]`)), goodFile), 422, "File 2: files/a.txt is named twice"},
		"from elsewhere":      {zipOf(t, projectJSON(files(`[{"path": "project.json"}]`))), 422, "Path must be in the folder files/"},
		"deeper":              {zipOf(t, projectJSON(files(`[{"path": "files/x/a.txt"}]`)), zipEntry{name: "files/x/a.txt", text: "x"}), 422, "Path must be in the folder files/"},
		"no JSON":             {zipOf(t, projectJSON(`{"format": `)), 400, "is not valid JSON"},
		"Latin-1":             {zipOf(t, projectJSON("{\"title\": \"\xe9\"}")), 400, "is not valid JSON"},
		"a list":              {zipOf(t, projectJSON(`[]`)), 400, "must be a JSON object"},
		"another format":      {zipOf(t, projectJSON(`{"format": "other", "version": 1}`)), 400, `its format is "chatter-project"`},
		"no version":          {zipOf(t, projectJSON(`{"format": "chatter-project", "version": "1"}`)), 400, "with a version"},
		"a newer version":     {zipOf(t, projectJSON(`{"format": "chatter-project", "version": 2}`)), 400, "has version 2 of its format, and this server reads version 1"},
		"wrong types":         {zipOf(t, projectJSON(`{"format": "chatter-project", "version": 1, "title": 5, "description": [], "tags": {}, "steps": 3, "files": {}, "origin": 1, "license": true}`)), 422, "Steps must be a list"},
		"wrong elements":      {zipOf(t, projectJSON(files(`[1]`))), 422, "File 1: File must be an object"},
		"what is missing":     {zipOf(t, projectJSON(`{"format": "chatter-project", "version": 1}`)), 422, "project.json: Title is required"},
		"something else":      {zipOf(t, project, goodFile, zipEntry{name: "x"}), 201, ""},
		"numbers twice":       {zipOf(t, projectJSON(files(`[], "steps": [{"step_number": 1, "title": "a", "content": "b"}, {"step_number": 1, "title": "a", "content": "b"}]`))), 422, "Step 2: Step number 1 is there twice"},
		"no such picture":     {zipOf(t, projectJSON(files(`[], "steps": [{"step_number": 1, "title": "a", "content": "b", "images": ["images/x.png"]}]`))), 422, "Step 1: images/x.png is none of the images"},
		"a part without name": {zipOf(t, projectJSON(files(`[], "bill_of_materials": [{"item_name": "", "quantity": 0, "link": "javascript:x"}]`))), 422, "Part 1: Item name is required"},
		"a component twice":   {zipOf(t, projectJSON(files(`[], "components": [{"name": "LED"}, {"name": "LED"}]`))), 422, "Component 2: The component LED is there twice"},
		"an unknown licence":  {zipOf(t, projectJSON(files(`[], "license": "Mine"`))), 422, "License must be one of"},
		"NUL in a text":       {zipOf(t, projectJSON(files(`[], "background": "a\u0000b"`))), 422, "Background must not hold a NUL"},
		"too many parts":      {zipOf(t, projectJSON(files(`[], "links": [`+strings.Repeat(`{"url": "https://a.example", "title": "t", "link_type": "video"},`, 50)+`{}]`))), 422, "at most 50 links"},
		"millions of them":    {zipOf(t, projectJSON(files(`[], "steps": [`+strings.Repeat(`{},`, 4_000_000)+`{}]`))), 422, "Step 1: Step number is required"},
		"millions of fields":  {zipOf(t, projectJSON(`{"format": "chatter-project", "version": 1, "title": "T", "description": "D"`+strings.Repeat(`,"x":1`, 2_000_000)+`}`)), 201, ""},
		"a huge description":  {zipOf(t, projectJSON(strings.Repeat(" ", 17<<20))), 400, "project.json in the ZIP is too large: at most 16 MB"},
		"deep nesting":        {zipOf(t, projectJSON(files(strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)))), 400, "is not valid JSON"},
		"inside a folder":     {zipOf(t, zipEntry{name: "robot/"}, zipEntry{name: "robot/project.json", text: smallProject}, zipEntry{name: "robot/files/"}, zipEntry{name: "robot/files/a.txt", text: "x"}, zipEntry{name: "robot/files/.DS_Store", text: "x"}, zipEntry{name: "__MACOSX/robot/files/._a.txt", text: "x"}), 201, ""},
		"Zip64":               {zip64(project, goodFile), 201, ""},
		"Zip64 that lies":     {bytes.Replace(zip64(project, goodFile), []byte("PK\x06\x07\x00\x00\x00\x00"), []byte("PK\x06\x07\x00\x00\x00\x01"), 1), 400, "it is no ZIP"},
	} {
		before, rows := st.stored(), st.count(`select count(*) from media_file`)
		a := alice.bring(c.bundle)
		if a.status != c.status {
			t.Errorf("%s: %d %s, want %d %s", what, a.status, truncate(string(a.body), 300), c.status, c.want)
			continue
		}
		if c.status == http.StatusCreated {
			alice.delete(fmt.Sprintf("/api/projects/%d", a.id())).want(http.StatusNoContent)
			continue
		}
		var body struct{ Detail string }
		a.into(&body)
		if !strings.Contains(body.Detail, c.want) {
			t.Errorf("%s: %q, want %q", what, truncate(body.Detail, 300), c.want)
		}
		same(t, what+": files", st.stored(), before)
		same(t, what+": rows", st.count(`select count(*) from media_file`), rows)
		same(t, what+": projects", st.count(`select count(*) from project`), 0)
	}
	alice.post("/api/projects/import", form().file("bundle", "robot.rar", good)).detail(http.StatusBadRequest, "allowed: .zip")
	alice.post("/api/projects/import", form()).detail(http.StatusUnprocessableEntity, "Choose a file to upload")
	st.visitor().bring(good).want(http.StatusUnauthorized)
}

func TestABundleMustFit(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.uploadQuota, c.maxProjects = 1<<20, 1 })
	alice := st.member("alice")
	big := zipOf(t, projectJSON(smallProject), zipEntry{name: "files/a.txt", text: strings.Repeat("a", 1<<20+1)})
	alice.bring(big).detail(http.StatusBadRequest, "that one person may store")
	same(t, "nothing is left", st.stored(), 0)
	alice.bring(zipOf(t, projectJSON(smallProject), goodFile)).want(http.StatusCreated)
	alice.bring(zipOf(t, projectJSON(smallProject), goodFile)).detail(http.StatusConflict, "as many as one person may have")
	same(t, "one file", st.stored(), 1)

	// What the database refuses at the end leaves no file either.
	st.exec(`alter table project_link add constraint never check (title <> 'never')`)
	bob := st.member("bob")
	bob.bring(zipOf(t, projectJSON(strings.Replace(smallProject, `"files"`, `"links": [{"url": "https://a.example", "title": "never", "link_type": "video"}], "files"`, 1)), goodFile)).want(http.StatusInternalServerError)
	same(t, "still one file", st.stored(), 1)
	same(t, "still one row", st.count(`select count(*) from media_file`), 1)
	same(t, "no project of bob's", st.count(`select count(*) from project`), 1)
}

func TestImportOnAPage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	alice.page("/projects/new").shows(`action="/projects/import"`, `name="bundle"`, `action="/projects/new"`)
	send := func(bundle []byte) *answer {
		return alice.do(http.MethodPost, "/projects/import", form().file("bundle", "a.zip", bundle), "Accept", "text/html", "Origin", st.url)
	}
	send([]byte("x")).want(http.StatusBadRequest).shows("it is no ZIP", "Start a project")
	editor := send(zipOf(t, projectJSON(smallProject), goodFile)).redirects("/projects/1/edit")
	alice.page(editor).want(http.StatusOK).shows("The project is here, as a draft")
	send(zipOf(t, projectJSON(strings.Replace(smallProject, `"files/a.txt"`, `"files/a.txt", "missing": true`, 1)))).redirects("/projects/2/edit")
	alice.page("/projects/2/edit").shows("Its ZIP did not have: a.txt.")
}

// A download that is under way when the server is told to stop comes to its end,
// while nobody else is served any more; unless it takes too long.
func TestADownloadOutlivesTheSignal(t *testing.T) {
	t.Parallel()
	for _, patient := range []bool{true, false} {
		st := newSite(t)
		alice := st.member("alice")
		id := alice.draft("Robot")
		noise := make([]byte, 20<<20) // more than sockets hold
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
		alice.post(fmt.Sprintf("/api/projects/%d/files", id), form().file("file", "big.stl", noise)).want(http.StatusCreated)
		alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
		if !patient {
			st.cfg.finish = time.Millisecond
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- st.listen(ctx, listener) }()
		address := fmt.Sprintf("http://%s/api/projects/%d/download", listener.Addr(), id)
		response, err := http.Get(address)
		must(t, err)
		defer response.Body.Close()
		stop()
		if !patient {
			if err := <-ended; err == nil {
				t.Error("the server does not say that it broke something off")
			}
			if _, err := io.Copy(io.Discard, response.Body); err == nil {
				t.Error("a download that was broken off looks whole")
			}
			continue
		}
		wait(t, "nobody to be served", func() bool {
			other, err := net.Dial("tcp", listener.Addr().String())
			if err == nil {
				other.Close()
			}
			return err != nil
		})
		body, err := io.ReadAll(response.Body)
		must(t, err)
		same(t, "whole", len(unzip(t, body)["files/big.stl"]), len(noise))
		must(t, <-ended)
	}
}

// A ZIP whose last file is gone by the time its turn comes must not look whole.
func TestAZIPThatBreaksOff(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	list := fmt.Sprintf("/api/projects/%d/files", id)
	noise := make([]byte, 20<<20) // more than sockets hold, and nothing that could be compressed
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	alice.post(list, form().file("file", "lost.stl", noise)).want(http.StatusCreated)
	alice.post(list, form().file("file", "first.stl", noise)).want(http.StatusCreated)
	response, err := alice.client.Get(fmt.Sprintf("%s/api/projects/%d/download", st.url, id))
	must(t, err)
	defer response.Body.Close()
	same(t, "status", response.StatusCode, http.StatusOK)
	st.lose("lost.stl")
	n, err := io.Copy(io.Discard, response.Body)
	if err == nil {
		t.Fatalf("the answer ended well after %d bytes", n)
	}
}

// FuzzBundle reads any ZIP: it answers, and what it would store has a place of
// its own and keeps to the limits.
func FuzzBundle(f *testing.F) {
	project := projectJSON(smallProject)
	f.Add(zipOf(f, project, goodFile))
	f.Add(zip64(project, goodFile))
	f.Add(zipOf(f, projectJSON(strings.Replace(smallProject, `[{"path"`, `[], "steps": [{"step_number": 1, "title": "a", "content": "b", "images": ["images/a.png"]}], "images": [{"path": "images/a.png", "primary": true}], "tags": ["a"], "origin": {"title": "a", "author": "b"}, "x": [{"path"`, 1)),
		zipEntry{name: "images/a.png", text: string(picture(f, "png", 2, 2))}))
	f.Add(overlapping(f))
	s := &server{cfg: config{maxParts: 10, maxUploads: 10}}
	f.Fuzz(func(t *testing.T, data []byte) {
		u, err := s.readBundle(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			if status := publicError(err).status; status != http.StatusBadRequest && status != http.StatusUnprocessableEntity {
				t.Fatal(err)
			}
			return
		}
		if u.Title == "" || len(u.steps) > 10 || len(u.files) > 10 || len(u.images) > 10 {
			t.Fatalf("%+v", u)
		}
		for _, file := range append(u.files, u.images...) {
			if !isStoredName(file.name) || file.entry.UncompressedSize64 > uint64(fileUploads.limit) || !isPlain(file.OriginalFilename) || file.OriginalFilename != cleanName(file.OriginalFilename) {
				t.Fatalf("%+v", file)
			}
		}
	})
}

// FuzzProjectJSON reads any project.json.
func FuzzProjectJSON(f *testing.F) {
	f.Add(smallProject)
	f.Add(`{"format":"chatter-project","version":1,"title":"a","description":"b","tags":["x"],"steps":[{"step_number":1,"title":"a","content":""}],"links":[{"url":"https://a.b","title":"t","link_type":"video"}],"components":[{"name":"a","quantity":2}],"tools_materials":[{"name":"a","tool_type":"tool"}],"bill_of_materials":[{"item_name":"a","price_cents":3}],"origin":{"title":"a","author":"b","url":"https://c.d"}}`)
	s := &server{cfg: config{maxParts: 10, maxUploads: 10}}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := (&bundleReader{s: s, zip: strangeZip{}, used: map[string]bool{}}).project([]byte(text))
		if err != nil {
			if status := publicError(err).status; status != http.StatusBadRequest && status != http.StatusUnprocessableEntity {
				t.Fatal(err)
			}
			return
		}
		for _, text := range []string{u.Title, u.Description, deref(u.Background), deref(u.OriginTitle), strings.Join(u.tags, "")} {
			if !isPlain(text) {
				t.Fatalf("%q", text)
			}
		}
	})
}
