package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// remixShape is what a project's detail says of remixes.
type remixShape struct {
	projectShape
	License *string
	Origin  *struct {
		ID      *int
		Title   string
		Author  string
		URL     *string
		License *string
	}
	Remixes []struct {
		ID             int
		Title          string
		AuthorUsername string `json:"author_username"`
		URL            string
	}
	Missing []string
}

// fullProject is a draft that has something of everything.
func (p *person) fullProject(title string, fields map[string]any) (id int) {
	p.t.Helper()
	id = p.post("/api/projects", with(with(fields, "title", title), "description", "About **"+title+"**")).want(http.StatusCreated).id()
	path := fmt.Sprintf("/api/projects/%d", id)
	p.put(path, map[string]any{"tags": []string{"one", "two"}, "background": "B", "code_link": "https://example.com/c", "difficulty_level": "Expert", "estimated_time": "2 hours"}).want(http.StatusOK)
	p.post("/api/components", map[string]any{"name": title + " LED"})
	for kind, body := range partKinds {
		p.post(path+"/"+kind, body).want(http.StatusCreated)
	}
	p.post(path+"/files", form("description", "Code").file("file", "main.py", []byte("print()"))).want(http.StatusCreated)
	p.post(path+"/images", form("caption", "Front").file("image", "front.png", picture(p.t, "png", 500, 400))).want(http.StatusCreated)
	second := p.post(path+"/images", form().file("image", "back.png", picture(p.t, "png", 40, 30))).want(http.StatusCreated).id()
	p.post(path+"/images", form().file("image", "plan.svg", []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`))).want(http.StatusCreated)
	p.put(fmt.Sprintf("%s/images/%d/primary", path, second), nil).want(http.StatusOK)
	p.post(path+"/steps", map[string]any{"step_number": 7, "title": "Look", "content": "C", "image_ids": []int{second}}).want(http.StatusCreated)
	return id
}

func TestRemix(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	id := alice.fullProject("Robot", map[string]any{"license": "CC-BY-SA-4.0"})
	path := fmt.Sprintf("/api/projects/%d", id)
	nobody.post(path+"/remix", nil).detail(http.StatusUnauthorized, "Missing token")
	bob.post(path+"/remix", nil).detail(http.StatusForbidden, "Draft projects are only visible to their authors")
	bob.post("/api/projects/999/remix", nil).detail(http.StatusNotFound, "Project not found")
	bob.post("/api/projects/x/remix", nil).want(http.StatusUnprocessableEntity)
	alice.post(path+"/publish", nil).want(http.StatusOK)

	var old, made remixShape
	bob.post(path+"/remix", nil).want(http.StatusCreated).into(&made)
	alice.get(path).into(&old)
	same(t, "a draft of bob's", made.Status+made.AuthorUsername+*made.License, "draftbobCC-BY-SA-4.0")
	same(t, "origin", *made.Origin.ID == id && made.Origin.Title == "Robot" && made.Origin.Author == "alice" && *made.Origin.License == "CC-BY-SA-4.0" &&
		strings.HasSuffix(*made.Origin.URL, fmt.Sprintf("/p/alice/%d-robot", id)), true)
	same(t, "no missing files", len(made.Missing), 0)
	same(t, "fields", made.Title+made.Description+*made.Background+*made.CodeLink+*made.DifficultyLevel+*made.EstimatedTime+strings.Join(made.TagNames, ","),
		old.Title+old.Description+*old.Background+*old.CodeLink+*old.DifficultyLevel+*old.EstimatedTime+"one,two")
	same(t, "parts", fmt.Sprint(len(made.Steps), made.Steps[1].StepNumber, made.Steps[1].Title, made.BillOfMaterials[0].ItemName, made.Components[0].Component.Name,
		made.Links[0].URL, made.ToolsMaterials[0].Name, made.Files[0].OriginalFilename, *made.Files[0].Description),
		fmt.Sprint(2, 7, "Look", "Motor", old.Components[0].Component.Name, "https://example.com", "Iron", "main.py", "Code"))
	same(t, "pictures", fmt.Sprint(len(made.Images))+*made.Images[0].Caption+made.Images[1].OriginalFilename+made.Images[2].OriginalFilename, "3Frontback.pngplan.svg")
	same(t, "pictures of steps", fmt.Sprint(made.Steps[1].ImageIDs), fmt.Sprint([]int{made.Images[1].ID}))
	same(t, "primary", strings.HasSuffix(*made.PrimaryImageURL, fmt.Sprintf("/images/%d/file", made.Images[1].ID)), true)
	same(t, "counts", made.ViewCount+made.LikeCount+made.DownloadCount+made.CommentCount, 0)

	// The files are bob's own: they stay when alice's go.
	mine := fmt.Sprintf("/api/projects/%d", made.ID)
	var before []string
	files := []string{fmt.Sprintf("%s/files/%d/download", mine, made.Files[0].ID)}
	for _, i := range made.Images {
		files = append(files, fmt.Sprintf("%s/images/%d/file", mine, i.ID), fmt.Sprintf("%s/images/%d/original", mine, i.ID))
	}
	for _, f := range files {
		before = append(before, string(bob.get(f).want(http.StatusOK).body))
	}
	same(t, "the file", before[0], "print()")
	alice.get(path).into(&old)
	same(t, "drafts are no one's business", len(old.Remixes), 0)
	bob.post(mine+"/publish", nil).want(http.StatusOK)
	alice.get(path).into(&old)
	same(t, "shown on the origin", len(old.Remixes) == 1 && old.Remixes[0].ID == made.ID && old.Remixes[0].AuthorUsername == "bob" && old.Origin == nil, true)
	nobody.page(fmt.Sprintf("/p/alice/%d-robot", id)).shows("Remixes", ">bob</a>", `action="/projects/1/remix"`, "Attribution-ShareAlike 4.0")
	nobody.page(fmt.Sprintf("/p/bob/%d-robot", made.ID)).shows("Remix of", "/p/alice/1-robot", "by alice")

	// A share-alike licence stays.
	bob.put(mine, map[string]any{"license": "MIT"}).detail(http.StatusUnprocessableEntity, "License must stay CC-BY-SA-4.0")
	bob.put(mine, map[string]any{"license": nil}).want(http.StatusUnprocessableEntity)
	bob.put(mine, map[string]any{"title": "Robot 2"}).want(http.StatusOK)

	alice.post(path+"/unpublish", nil).want(http.StatusOK)
	bob.get(mine).into(&made)
	same(t, "an origin that is hidden", made.Origin.ID == nil && made.Origin.Title == "Robot", true)
	alice.delete(path).want(http.StatusNoContent)
	for i, f := range files {
		same(t, f, string(bob.get(f).want(http.StatusOK).body), before[i])
	}
	bob.get(mine).into(&made)
	same(t, "an origin that is gone", made.Origin.ID == nil && made.Origin.Title == "Robot" && made.Origin.Author == "alice" && made.Origin.URL != nil, true)
	nobody.page(fmt.Sprintf("/p/bob/%d-robot-2", made.ID)).shows("Remix of Robot by alice").hides("/p/alice/")
	bob.delete(mine).want(http.StatusNoContent)
	same(t, "nothing is left", st.stored()+st.count(`select count(*) from media_file`), 0)
}

func TestRemixAsksTheLicence(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d", id)
	alice.post(path+"/remix", nil).want(http.StatusCreated)
	alice.post(path+"/publish", nil).want(http.StatusOK)
	bob.post(path+"/remix", nil).detail(http.StatusForbidden, "This project has no licence")
	bob.page(fmt.Sprintf("/p/alice/%d-robot", id)).hides("/remix")
	for _, l := range licenses {
		alice.put(path, map[string]any{"license": l.ID}).want(http.StatusOK)
		if l.Derivatives {
			made := bob.post(path+"/remix", nil).want(http.StatusCreated).id()
			bob.delete(fmt.Sprintf("/api/projects/%d", made)).want(http.StatusNoContent)
		} else {
			bob.post(path+"/remix", nil).detail(http.StatusForbidden, "does not allow to share changed versions")
			bob.submit(fmt.Sprintf("/projects/%d/remix", id), url.Values{}).want(http.StatusForbidden).shows("does not allow to share changed versions")
		}
		alice.delete(fmt.Sprintf("/api/projects/%d", alice.post(path+"/remix", nil).want(http.StatusCreated).id())).want(http.StatusNoContent)
	}
	st.exec(`update project set license = 'X-Other'`)
	bob.post(path+"/remix", nil).detail(http.StatusForbidden, "(X-Other)")
	alice.put(path, map[string]any{"license": "MIT"}).want(http.StatusOK)
	location := bob.submit(fmt.Sprintf("/projects/%d/remix", id), url.Values{}).redirects("/projects/")
	bob.page(strings.Split(location, "#")[0]).want(http.StatusOK).shows("Your remix is there")
	mine := st.count(`select max(id) from project`)
	bob.put(fmt.Sprintf("/api/projects/%d", mine), map[string]any{"license": "GPL-3.0-or-later"}).want(http.StatusOK)
}

// A remix for which there is no room, or that comes to no end, leaves nothing.
func TestRemixIsWholeOrNot(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.uploadQuota, c.maxProjects = 100_000, 3 })
	alice, bob := st.member("alice"), st.member("bob")
	id := alice.fullProject("Robot", map[string]any{"license": "MIT"})
	path := fmt.Sprintf("/api/projects/%d", id)
	alice.post(path+"/publish", nil).want(http.StatusOK)
	stored := st.stored()
	other := bob.draft("Big")
	big := bob.post(fmt.Sprintf("/api/projects/%d/files", other), form().file("file", "big.txt", []byte(strings.Repeat("x", 99_999)))).want(http.StatusCreated).id()
	bob.post(path+"/remix", nil).detail(http.StatusBadRequest, "that one person may store")
	same(t, "files", st.stored(), stored+1)
	bob.delete(fmt.Sprintf("/api/projects/%d/files/%d", other, big)).want(http.StatusNoContent)

	// The quota and the number of projects hold for many at once.
	var group sync.WaitGroup
	var status [5]int
	for i := range status {
		group.Go(func() { status[i] = bob.post(path+"/remix", nil).status })
	}
	group.Wait()
	same(t, "projects of bob", st.count(`select count(*) from project where author_id = 2`), 3)
	same(t, "answers", strings.Count(fmt.Sprint(status), "201")*10+strings.Count(fmt.Sprint(status), "409"), 23)
	same(t, "files of all", st.stored(), 3*stored)
	same(t, "the ledger", st.count(`select count(*) from media_file where state = 'kept'`), 3*stored)

	// A file that the storage has lost is named.
	carol := st.member("carol")
	lost := alice.project(id).Files[0].Filename
	if err := os.Remove(filepath.Join(st.uploads, fileFolder, lost)); err != nil {
		t.Fatal(err)
	}
	var made remixShape
	carol.post(path+"/remix", nil).want(http.StatusCreated).into(&made)
	same(t, "missing", fmt.Sprint(made.Missing, len(made.Files), len(made.Images)), "[main.py] 0 3")
}
