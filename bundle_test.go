package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// workshop makes a published project with everything that one can have, under
// names that are hard for one system or another.
func (p *person) workshop() int {
	p.t.Helper()
	id := p.post("/api/projects", map[string]any{"title": "Röbot: mark/2 <b>", "description": "It *rolls* <script>alert(1)</script>\nand \"waves\" \x7f \\ ''' \"\"\".", "tags": []string{"röbot", "pico"},
		"background": "Some\nhistory", "code_link": "https://example.com/code?a=1&b=2", "difficulty_level": "Beginner", "estimated_time": "2 h", "license": "MIT"}).want(http.StatusCreated).id()
	path := fmt.Sprintf("/api/projects/%d", id)
	for _, name := range []string{"Main.py", "main.PY", "aux.h", "con .txt", "COM¹.md", "trailing..txt", "a#b%20c?.txt", "u\u0308ber.txt", "über.txt", "日本語の長い名前" + strings.Repeat("あ", 150) + ".txt", "lost.stl"} {
		p.post(path+"/files", form("title", "Code", "description", "of "+name).file("file", name, []byte("content of "+name))).want(http.StatusCreated)
	}
	var images []int
	for i, name := range []string{"front.png", "Front.PNG", "日本.jpg", "drawing.svg"} {
		content := picture(p.t, map[int]string{0: "png", 1: "png", 2: "jpeg"}[i%3], 40+i, 30)
		if strings.HasSuffix(name, "svg") {
			content = []byte(tinySVG)
		}
		images = append(images, p.post(path+"/images", form("caption", "Caption of <i>"+name).file("image", name, content)).want(http.StatusCreated).id())
	}
	p.put(fmt.Sprintf("%s/images/%d/primary", path, images[2]), nil).want(http.StatusOK)
	p.post(path+"/steps", map[string]any{"step_number": 3, "title": "First | of all", "content": "Do **it**\n\n```\n<code>\n```", "image_ids": []int{images[3], images[0]}}).want(http.StatusCreated)
	p.post(path+"/steps", map[string]any{"step_number": 7, "title": "Then", "content": "[click](javascript:alert(1))"}).want(http.StatusCreated)
	p.post(path+"/bom", map[string]any{"item_name": "Motor | geared", "quantity": 2, "price_cents": 1205, "description": "two\nlines", "item_order": 9, "link": "https://example.com/m"}).want(http.StatusCreated)
	p.post(path+"/bom", map[string]any{"item_name": "=Wheel", "item_order": 4}).want(http.StatusCreated)
	led := p.post("/api/components", map[string]any{"name": "LED " + p.name, "description": "5 mm", "datasheet_url": "https://example.com/led.pdf"}).want(http.StatusCreated).id()
	p.post(path+"/components", map[string]any{"component_id": led, "quantity": 3, "notes": "red"}).want(http.StatusCreated)
	p.post(path+"/tools", map[string]any{"name": "Iron", "tool_type": "tool", "notes": "hot"}).want(http.StatusCreated)
	p.post(path+"/tools", map[string]any{"name": "Glue", "tool_type": "material"}).want(http.StatusCreated)
	p.post(path+"/links", map[string]any{"url": "https://example.com/v", "title": "How <b>", "link_type": "related_project", "description": "D"}).want(http.StatusCreated)
	p.post(path+"/publish", nil).want(http.StatusOK)
	return id
}

// lose removes the stored file of an upload behind the server's back.
func (st *site) lose(original string) {
	st.t.Helper()
	var name string
	if err := st.db.QueryRow(st.t.Context(), `select filename from project_file where original_filename = $1`, original).Scan(&name); err != nil {
		st.t.Fatal(err)
	}
	must(st.t, os.Remove(filepath.Join(st.uploads, fileFolder, name)))
}

func (p *person) zip(id int) []byte {
	p.t.Helper()
	return p.get(fmt.Sprintf("/api/projects/%d/download", id)).want(http.StatusOK).body
}

func TestWhatABundleHolds(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.workshop()
	st.lose("lost.stl")
	body := st.visitor().zip(id)
	content := unzip(t, body)
	var names, lower []string
	archive, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	must(t, err)
	for _, f := range archive.File {
		names, lower = append(names, f.Name), append(lower, strings.ToLower(f.Name))
		base := filepath.Base(f.Name)
		if f.NonUTF8 || len(base) > 255 || strings.TrimRight(base, ". ") != base || strings.ContainsAny(base, `<>:"|?*\`) || strings.Contains(base, "u\u0308") {
			t.Errorf("%q is no name for every system", f.Name)
		}
		packed := strings.HasSuffix(lower[len(lower)-1], ".png") || strings.HasSuffix(f.Name, ".jpg")
		same(t, f.Name+" is stored as it is", f.Method == zip.Store, packed)
	}
	same(t, "first", strings.Join(names[:6], " "), "README.md index.html project.json okh.toml bom.csv LICENSE")
	slices.Sort(lower)
	same(t, "all names differ", len(slices.Compact(lower)), len(names))
	for _, name := range []string{"files/Main.py", "files/main (2).PY", "files/_aux.h", "files/_con .txt", "files/_COM¹.md", "files/a#b%20c_.txt", "files/über.txt", "files/über (2).txt", "images/front (2).png", "images/日本.jpg", "images/drawing.svg"} {
		if _, ok := content[name]; !ok && !slices.Contains(names, strings.Replace(name, "Main.py", "Main (2).py", 1)) && !slices.Contains(names, strings.Replace(name, "main (2).PY", "main.PY", 1)) &&
			!slices.Contains(names, strings.Replace(name, "front (2).png", "Front (2).PNG", 1)) {
			t.Errorf("%s is not among %q", name, names)
		}
	}
	same(t, "licence", strings.Contains(content["LICENSE"], "MIT License") && strings.Contains(content["LICENSE"], "Copyright (c) 20") && strings.Contains(content["LICENSE"], " alice\n"), true)
	same(t, "licence in README", strings.Contains(content["README.md"], "**Tags:** röbot, pico  \n**Licence:** [MIT License](<https://opensource.org/license/mit>) (MIT)  \n"), true)
	same(t, "missing in README", strings.Contains(content["README.md"], "`files/lost.stl` (19 bytes): Code: of lost.stl — **missing"), true)
	same(t, "parts list", strings.Contains(content["bom.csv"], "'=Wheel,,1,,,,4\r\n"), true)

	page := content["index.html"]
	for _, text := range []string{"<h1>Röbot: mark/2 &lt;b&gt;</h1>", `src="images/drawing.svg"`, `src="images/%E6%97%A5%E6%9C%AC.jpg"`, `href="files/a%23b%2520c_.txt"`, "Step 3: First | of all", "24.10", "lost.stl (missing", `href="LICENSE"`, "Caption of &lt;i&gt;"} {
		if !strings.Contains(page, text) {
			t.Errorf("index.html lacks %s", text)
		}
	}
	for _, text := range []string{"<script", "href=\"javascript", "<i>", "src=\"http", "<link"} {
		if strings.Contains(page, text) {
			t.Errorf("index.html holds %s", text)
		}
	}

	var b map[string]any
	must(t, json.Unmarshal([]byte(content["project.json"]), &b))
	same(t, "format", b["format"] == "chatter-project" && b["version"] == 1.0, true)
	same(t, "steps", fmt.Sprint(b["steps"].([]any)[0].(map[string]any)["images"]), "[images/drawing.svg images/"+map[bool]string{true: "front.png", false: "front (2).png"}[content["images/front.png"] != ""]+"]")
	for _, f := range append(b["files"].([]any), b["images"].([]any)...) {
		entry := f.(map[string]any)
		_, there := content[entry["path"].(string)]
		same(t, fmt.Sprint(entry["path"]), there, entry["missing"] == nil)
	}
}

func TestBundlesForOtherPrograms(t *testing.T) {
	t.Parallel()
	needProgram(t, "unzip")
	needProgram(t, "python3")
	st := newSite(t)
	alice := st.member("alice")
	file := filepath.Join(t.TempDir(), "robot.zip")
	must(t, os.WriteFile(file, alice.zip(alice.workshop()), 0o600))
	if out, err := exec.CommandContext(t.Context(), "unzip", "-t", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "python3", "-c", `
import json, sys, zipfile
z = zipfile.ZipFile(sys.argv[1])
assert z.testzip() is None
project = json.loads(z.read("project.json"))
for entry in project["files"] + project["images"]:
    assert entry["path"] in z.namelist(), entry
try:
    import tomllib
except ImportError: # Python before 3.11
    sys.exit()
okh = tomllib.loads(z.read("okh.toml").decode())
assert okh["okhv"] == "2.4" and okh["license"] == "MIT" and okh["licensor"] == "alice" and okh["repo"] == "https://example.com/code?a=1&b=2", okh
assert okh["function"] == project["description"] and okh["name"] == project["title"], okh
for path in [okh["readme"], okh["bom"], okh["manufacturing-instructions"]] + okh["source"] + okh["export"] + okh["auxiliary"] + [i["location"] for i in okh["image"]]:
    assert path in z.namelist(), path
assert [i["slots"] for i in okh["image"] if "slots" in i] == [["photo-thing-main"]]
`, file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestEveryLicenceHasItsText(t *testing.T) {
	t.Parallel()
	for _, l := range licenses {
		d := projectDetail{project: project{License: &l.ID, AuthorUsername: "alice", CreatedAt: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)}}
		text := licenseText(d)
		same(t, l.ID, len(text) > 1000, l.URL != "")
		if strings.Contains(text, "<owner>") || strings.Contains(text, "<copyright holders>") {
			t.Errorf("%s has a place that is not filled in", l.ID)
		}
	}
}

func TestDownloadsThatOneHasAlready(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	id := alice.workshop()
	path := fmt.Sprintf("/api/projects/%d", id)
	a := nobody.get(path + "/download").want(http.StatusOK)
	tag, modified := a.header.Get("ETag"), a.header.Get("Last-Modified")
	head := nobody.do(http.MethodHead, path+"/download", nil).want(http.StatusOK)
	same(t, "HEAD", head.header.Get("ETag")+head.header.Get("Last-Modified")+head.header.Get("Content-Disposition"), tag+modified+a.header.Get("Content-Disposition"))
	same(t, "disposition", a.header.Get("Content-Disposition"), "attachment; filename=R_bot__mark_2__b__project.zip; filename*=UTF-8''R%C3%B6bot_%20mark_2%20_b__project.zip")
	for _, header := range [][]string{{"If-None-Match", tag}, {"If-None-Match", `"x", ` + strings.TrimPrefix(tag, "W/")}, {"If-None-Match", "*"}, {"If-Modified-Since", modified}} {
		same(t, "body", len(nobody.do(http.MethodGet, path+"/download", nil, header...).want(http.StatusNotModified).body), 0)
	}
	nobody.do(http.MethodGet, path+"/download", nil, "If-None-Match", `"x"`, "If-Modified-Since", modified).want(http.StatusOK)
	same(t, "downloads", alice.project(id).DownloadCount, 2)
	alice.put(path, map[string]any{"estimated_time": "3 h"}).want(http.StatusOK)
	changed := nobody.do(http.MethodGet, path+"/download", nil, "If-None-Match", tag).want(http.StatusOK).header.Get("ETag")
	same(t, "another tag", changed != tag, true)

	// One that lacks a file is not taken for the whole later.
	st.lose("lost.stl")
	same(t, "no tag", nobody.get(path+"/download").want(http.StatusOK).header.Get("ETag"), "")
	alice.put(path, map[string]any{"license": nil}).want(http.StatusOK)
	_, licensed := unzip(t, nobody.zip(id))["LICENSE"]
	same(t, "no licence", licensed, false)
}
