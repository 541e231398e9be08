package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// projectShape is ProjectDetail as clients know it.
type projectShape struct {
	ID              int
	Title           string
	Description     string
	AuthorID        int    `json:"author_id"`
	AuthorUsername  string `json:"author_username"`
	Status          string
	IsPublished     *bool `json:"is_published"`
	Background      *string
	CodeLink        *string   `json:"code_link"`
	DifficultyLevel *string   `json:"difficulty_level"`
	EstimatedTime   *string   `json:"estimated_time"`
	CreatedAt       time.Time `json:"created_at"`
	UpdatedAt       time.Time `json:"updated_at"`
	ViewCount       int       `json:"view_count"`
	DownloadCount   int       `json:"download_count"`
	LikeCount       int       `json:"like_count"`
	CommentCount    int       `json:"comment_count"`
	PrimaryImageURL *string   `json:"primary_image_url"`
	Tags            []struct {
		ID      int
		TagName string `json:"tag_name"`
	}
	TagNames []string `json:"tag_names"`
	Steps    []struct {
		ID         int
		StepNumber int `json:"step_number"`
		StepOrder  int `json:"step_order"`
		Title      string
		Content    string
		CreatedAt  time.Time `json:"created_at"`
		ImageIDs   []int     `json:"image_ids"`
	}
	BillOfMaterials []struct {
		ID          int
		ItemName    string `json:"item_name"`
		Description *string
		Quantity    int
		PriceCents  *int `json:"price_cents"`
		ItemOrder   int  `json:"item_order"`
		Link        *string
	} `json:"bill_of_materials"`
	Components []struct {
		ID        int
		Component struct {
			ID           int
			Name         string
			Description  *string
			DatasheetURL *string   `json:"datasheet_url"`
			CreatedAt    time.Time `json:"created_at"`
		}
		Quantity int
		Notes    *string
	}
	Files []struct {
		ID               int
		Filename         string
		OriginalFilename string    `json:"original_filename"`
		FileSize         int       `json:"file_size"`
		FileType         string    `json:"file_type"`
		Description      *string   `json:"description"`
		UploadedAt       time.Time `json:"uploaded_at"`
	}
	Images []struct {
		ID               int
		Filename         string
		OriginalFilename string `json:"original_filename"`
		DisplayOrder     int    `json:"display_order"`
		Caption          *string
		UploadedAt       time.Time `json:"uploaded_at"`
		ImageURL         string    `json:"image_url"`
	}
	Links []struct {
		ID          int
		URL         string
		Title       string
		LinkType    string `json:"link_type"`
		Description *string
	}
	ToolsMaterials []struct {
		ID       int
		Name     string
		ToolType string `json:"tool_type"`
		Notes    *string
	} `json:"tools_materials"`
	Message string
}

type galleryShape struct {
	Projects []struct {
		ID              int
		Title           string
		Description     string
		AuthorID        int    `json:"author_id"`
		AuthorUsername  string `json:"author_username"`
		Status          string
		CreatedAt       time.Time `json:"created_at"`
		UpdatedAt       time.Time `json:"updated_at"`
		PrimaryImageURL *string   `json:"primary_image_url"`
		ViewCount       int       `json:"view_count"`
		DownloadCount   int       `json:"download_count"`
		LikeCount       int       `json:"like_count"`
		CommentCount    int       `json:"comment_count"`
		Tags            []string
	}
	Total, Page, Pages int
	PerPage            int `json:"per_page"`
}

func (g galleryShape) titles() string {
	var titles []string
	for _, p := range g.Projects {
		titles = append(titles, p.Title)
	}
	return strings.Join(titles, " ")
}

// project is the detail as p sees it.
func (p *person) project(id int) (d projectShape) {
	p.t.Helper()
	p.get(fmt.Sprintf("/api/projects/%d", id)).want(http.StatusOK).into(&d)
	return d
}

func TestProjectLifeCycle(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	var d projectShape
	alice.post("/api/projects", map[string]any{
		"title": "  Line follower ", "description": "Follows *lines*.", "tags": []string{" Robot", "PICO", "robot", "", "pico "}, "background": "Long ago",
		"code_link": "https://example.com/code", "difficulty_level": "Easy", "estimated_time": "2 hours",
	}).want(http.StatusCreated).into(&d)
	same(t, "draft", d.Title == "Line follower" && d.Status == "draft" && !*d.IsPublished && d.AuthorUsername == "alice" && d.AuthorID == 1, true)
	same(t, "tags", strings.Join(d.TagNames, ","), "robot,pico")
	same(t, "tag rows", d.Tags[1].TagName, "pico")
	same(t, "facts", *d.Background+*d.CodeLink+*d.DifficultyLevel+*d.EstimatedTime, "Long agohttps://example.com/codeEasy2 hours")
	path := fmt.Sprintf("/api/projects/%d", d.ID)

	bob.get(path).detail(http.StatusForbidden, "Draft projects are only visible to their authors")
	nobody.get(path).detail(http.StatusForbidden, "Draft projects are only visible to their authors")
	same(t, "not cached", strings.Contains(alice.get(path).header.Get("Cache-Control"), "private"), true)

	// A tag that is kept keeps its row; null and "" clear what is optional.
	robot := d.Tags[0].ID
	alice.put(path, map[string]any{"tags": []string{"robot", "zumo"}, "background": nil, "difficulty_level": ""}).want(http.StatusOK).into(&d)
	same(t, "tags", strings.Join(d.TagNames, ","), "robot,zumo")
	same(t, "kept tag", d.Tags[0].ID, robot)
	same(t, "cleared", d.Background == nil && d.DifficultyLevel == nil && *d.EstimatedTime == "2 hours" && d.Title == "Line follower", true)
	alice.put(path, map[string]any{"title": "Line racer"}).want(http.StatusOK).into(&d)
	same(t, "only the title", d.Title == "Line racer" && len(d.Tags) == 2, true)

	alice.post(path+"/unpublish", nil).detail(http.StatusBadRequest, "Project is already a draft")
	alice.do(http.MethodPut, path+"/publish", nil).want(http.StatusOK).into(&d)
	same(t, "published", d.Status == "published" && *d.IsPublished && d.Message != "", true)
	alice.post(path+"/publish", nil).detail(http.StatusBadRequest, "Project is already published")

	// Readers' views count, the author's and HEAD don't.
	bob.get(path).want(http.StatusOK)
	nobody.get(path).want(http.StatusOK)
	same(t, "HEAD", len(nobody.do(http.MethodHead, path, nil).want(http.StatusOK).body), 0)
	same(t, "views", alice.project(d.ID).ViewCount, 2)

	for _, verb := range []struct{ method, path, what string }{
		{http.MethodPut, "", "change"}, {http.MethodDelete, "", "delete"}, {http.MethodPost, "/publish", "publish"}, {http.MethodPut, "/unpublish", "unpublish"},
	} {
		bob.do(verb.method, path+verb.path, map[string]any{}).detail(http.StatusForbidden, "Only its author can "+verb.what+" this project")
		nobody.do(verb.method, path+verb.path, map[string]any{}).detail(http.StatusUnauthorized, "Missing token")
	}
	bob.post("/interact/entity/comment", map[string]any{"entity_type": "project", "entity_id": d.ID, "content": "Nice"}).want(http.StatusOK)
	bob.post("/api/likes/entity", map[string]any{"entity_type": "project", "entity_id": d.ID}).want(http.StatusCreated)
	alice.delete(path).want(http.StatusNoContent)
	alice.get(path).detail(http.StatusNotFound, "Project not found")
	same(t, "nothing is left", st.count(`select (select count(*) from comment) + (select count(*) from "like") + (select count(*) from project_tag)`), 0)
}

func TestProjectRefusesBadInput(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	good := func() map[string]any { return map[string]any{"title": "T", "description": "D"} }
	for _, c := range []struct {
		field string
		value any
		msg   string
	}{
		{"title", nil, "Title is required"},
		{"title", " ", "Title is required"},
		{"title", strings.Repeat("x", 256), "Title must have at most 255 characters"},
		{"title", []int{1}, "Title must be a text"},
		{"description", nil, "Description is required"},
		{"description", "", "Description is required"},
		{"code_link", "javascript:alert(1)", "Code link must be an address"},
		{"code_link", "ftp://example.com", "Code link must be an address"},
		{"code_link", "https://example.com/" + strings.Repeat("x", 500), "Code link must have at most 500 characters"},
		{"difficulty_level", strings.Repeat("x", 51), "Difficulty level must have at most 50 characters"},
		{"estimated_time", strings.Repeat("x", 51), "Estimated time must have at most 50 characters"},
		{"tags", []string{strings.Repeat("x", 101)}, "Each tag must have at most 100 characters"},
		{"tags", numbered(21), "A project can have at most 20 tags"},
		{"tags", map[string]any{"a": 1}, "Tags must be a list of texts"},
		{"tags", []string{"a\x00b"}, "Tags must not hold a NUL character"},
	} {
		alice.post("/api/projects", with(good(), c.field, c.value)).detail(http.StatusUnprocessableEntity, c.msg)
	}
	alice.post("/api/projects", `{"title": "T", "description": }`).detail(http.StatusUnprocessableEntity, "The body must be valid JSON")
	alice.post("/api/projects", `"text"`).detail(http.StatusUnprocessableEntity, "The body must be a JSON object")
	alice.post("/api/projects", "").detail(http.StatusUnprocessableEntity, "The body must be valid JSON")
	alice.post("/api/projects", "{\"title\": \"\xff\"}").detail(http.StatusUnprocessableEntity, "valid UTF-8")
	alice.post("/api/projects", with(good(), "description", strings.Repeat("x", 2<<20))).detail(http.StatusRequestEntityTooLarge, "at most 1 MB")
	st.visitor().post("/api/projects", good()).detail(http.StatusUnauthorized, "Missing token")
	same(t, "nothing was written", st.count(`select count(*) from project`), 0)
	id := alice.draft("Robot")
	alice.put(fmt.Sprintf("/api/projects/%d", id), map[string]any{"title": ""}).detail(http.StatusUnprocessableEntity, "Title is required")
	alice.put(fmt.Sprintf("/api/projects/%d", id), map[string]any{"title": nil, "tags": numbered(21)}).want(http.StatusUnprocessableEntity)
	same(t, "nothing was changed", alice.project(id).Title, "Robot")
	for _, id := range []string{"0", "-1", "999", "99999999999", "999999999999999999999999"} {
		alice.get("/api/projects/"+id).detail(http.StatusNotFound, "Project not found")
	}
	for _, id := range []string{"x", "1.5", "1x", "%20"} {
		alice.get("/api/projects/"+id).detail(http.StatusUnprocessableEntity, "whole number")
	}
}

func numbered(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint("tag", i))
	}
	return list
}

func TestGallery(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	make := func(p *person, title string, publish bool, tags ...string) int {
		id := p.post("/api/projects", map[string]any{"title": title, "description": "About 100% of " + title, "tags": tags}).want(http.StatusCreated).id()
		if publish {
			p.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
		}
		return id
	}
	make(alice, "Arm", true, "robot")
	make(alice, "Boat", false, "water")
	car := make(bob, "Car", true, "robot", "fast_car")
	make(bob, "Drone", false)
	nobody.get(fmt.Sprintf("/api/projects/%d", car)).want(http.StatusOK)
	alice.post("/api/likes/entity", map[string]any{"entity_type": "project", "entity_id": 1}).want(http.StatusCreated)
	nobody.get("/api/projects/1/download").want(http.StatusOK)
	list := func(p *person, query string) galleryShape {
		var g galleryShape
		p.get("/api/projects" + query).want(http.StatusOK).into(&g)
		return g
	}
	for _, c := range []struct {
		p           *person
		query, want string
	}{
		{nobody, "", "Car Arm"},
		{alice, "", "Car Boat Arm"},
		{bob, "", "Drone Car Arm"},
		{alice, "?status_filter=draft", "Boat"},
		{alice, "?status_filter=published", "Car Arm"},
		{nobody, "?tag=Robot", "Car Arm"},
		{nobody, "?tag=water", ""},
		{alice, "?tag=water", "Boat"},
		{nobody, "?author_id=1", "Arm"},
		{nobody, "?status_filter=&tag=&author_id=&search=&sort=&page=&per_page=", "Car Arm"},
		{nobody, "?search=CAR", "Car"},
		{nobody, "?search=100%25&sort=recent", "Car Arm"},
		{nobody, "?search=00%25", ""},
		{nobody, "?search=%25", ""},
		{nobody, "?search=fast_car", "Car"},
		{nobody, "?search=fastxcar", ""},
		{nobody, "?search=alice", "Arm"},
		{nobody, "?sort=popular", "Arm Car"},
		{nobody, "?sort=most_liked", "Arm Car"},
		{nobody, "?sort=views", "Car Arm"},
		{nobody, "?sort=most_viewed", "Car Arm"},
		{nobody, "?sort=downloads", "Arm Car"},
		{nobody, "?sort=recent", "Car Arm"},
		{nobody, "?per_page=1&page=2", "Arm"},
		{nobody, "?page=9", ""},
	} {
		if got := list(c.p, c.query).titles(); got != c.want {
			t.Errorf("%s%s: %q, want %q", c.p.name, c.query, got, c.want)
		}
	}
	g := list(nobody, "?per_page=1&page=2")
	same(t, "page", g.Total == 2 && g.Page == 2 && g.PerPage == 1 && g.Pages == 2, true)
	g = list(nobody, "?page=9")
	same(t, "beyond the end", g.Total == 2 && g.Pages == 1 && g.Projects != nil, true)
	g = list(nobody, "")
	same(t, "tags", strings.Join(g.Projects[0].Tags, ","), "robot,fast_car")

	nobody.get("/api/projects?status_filter=draft").detail(http.StatusUnauthorized, "Missing token")
	for query, msg := range map[string]string{
		"status_filter=all": "Status filter must be one of: draft, published", "sort=x": "Sort must be one of", "after=x": "This cursor belongs to another list", "after=%00": "NUL",
		"page=0": "Page must be from 1", "page=x": "Page must be a whole number", "per_page=101": "Per page must be from 1 to 100", "author_id=x": "Author id must be",
		"search=" + strings.Repeat("x", 201): "Search must have at most 200", "page=1.5": "Page must be a whole number", "search=%00": "NUL", "tag=%ff": "UTF-8",
	} {
		nobody.get("/api/projects?"+query).detail(http.StatusUnprocessableEntity, msg)
	}

	var tags []struct {
		TagName      string `json:"tag_name"`
		ProjectCount int    `json:"project_count"`
	}
	nobody.get("/api/tags").want(http.StatusOK).into(&tags)
	same(t, "tags", fmt.Sprint(tags), "[{robot 2} {fast_car 1}]")
	nobody.get("/api/tags?q=FAST&limit=1").want(http.StatusOK).into(&tags)
	same(t, "tags found", fmt.Sprint(tags), "[{fast_car 1}]")
	nobody.get("/api/tags?limit=0").want(http.StatusUnprocessableEntity)
}

// partKinds are the bodies that make a part of each kind.
var partKinds = map[string]map[string]any{
	"steps":      {"title": "T", "content": "C"},
	"bom":        {"item_name": "Motor"},
	"components": {"component_id": 1},
	"links":      {"url": "https://example.com", "title": "L", "link_type": "video"},
	"tools":      {"name": "Iron", "tool_type": "tool"},
}

func TestPartsAreTheAuthorsAlone(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, nobody := st.member("alice"), st.member("bob"), st.visitor()
	alice.post("/api/components", map[string]any{"name": "LED"}).want(http.StatusCreated)
	mine, other := alice.draft("Mine"), alice.draft("Other")
	theirs := bob.draft("Theirs")
	for kind, body := range partKinds {
		list := fmt.Sprintf("/api/projects/%d/%s", mine, kind)
		id := alice.post(list, body).want(http.StatusCreated).id()
		// Reading follows the project, writing is the author's.
		bob.get(list).detail(http.StatusForbidden, "Draft projects are only visible to their authors")
		alice.get(list).want(http.StatusOK)
		bob.post(list, body).detail(http.StatusForbidden, "Only its author can")
		nobody.post(list, body).detail(http.StatusUnauthorized, "Missing token")
		alice.post("/api/projects/999/"+kind, body).detail(http.StatusNotFound, "Project not found")
		for p, projects := range map[*person][]int{alice: {other, 999}, bob: {theirs, mine}, nobody: {mine}} {
			for _, project := range projects {
				path := fmt.Sprintf("/api/projects/%d/%s/%d", project, kind, id)
				want := map[*person]int{alice: http.StatusNotFound, bob: http.StatusNotFound, nobody: http.StatusUnauthorized}[p]
				if p == bob && project == mine {
					want = http.StatusForbidden
				}
				if kind != "components" {
					p.put(path, body).detail(want, "")
				}
				p.delete(path).detail(want, "")
			}
		}
		alice.delete(fmt.Sprintf("%s/%d", list, id)).want(http.StatusNoContent)
		alice.delete(fmt.Sprintf("%s/%d", list, id)).detail(http.StatusNotFound, "not found")
		alice.delete(list+"/x").detail(http.StatusUnprocessableEntity, "whole number")
		same(t, kind+" left", strings.TrimSpace(string(alice.get(list).body)), "[]")
	}
}

func TestSteps(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	list := fmt.Sprintf("/api/projects/%d/steps", id)
	var ids []int
	for i := range 4 {
		ids = append(ids, alice.post(list, map[string]any{"title": fmt.Sprint("Step ", i), "content": "Do **it**"}).want(http.StatusCreated).id())
	}
	alice.post(list, map[string]any{"step_number": "9", "title": "Nine", "content": "C"}).want(http.StatusCreated)
	alice.post(list, map[string]any{"step_number": 9, "title": "Nine", "content": "C"}).detail(http.StatusBadRequest, "Step number 9 is taken")
	alice.post(list, map[string]any{"step_number": 0, "title": "", "content": nil}).detail(http.StatusUnprocessableEntity, "Step number must be from 1")
	ten := alice.post(list, map[string]any{"step_number": nil, "title": "Ten", "content": "C"}).want(http.StatusCreated).fields()
	same(t, "the next number", ten["step_number"], any(10.0))
	same(t, "step_order", ten["step_order"], any(10.0))
	before := alice.project(id).UpdatedAt
	alice.put(fmt.Sprintf("%s/%d", list, ids[0]), map[string]any{"title": "First"}).want(http.StatusOK)
	d := alice.project(id)
	same(t, "changed", d.Steps[0].Title == "First" && d.Steps[0].Content == "Do **it**", true)
	same(t, "the project is newer", d.UpdatedAt.After(before), true)

	var all []int
	for _, s := range d.Steps {
		all = append(all, s.ID)
	}
	slices.Reverse(all)
	var steps []struct {
		ID         int
		StepNumber int `json:"step_number"`
	}
	var texts []string
	for _, id := range all {
		texts = append(texts, fmt.Sprint(id))
	}
	alice.put(list+"/reorder", texts).want(http.StatusOK)
	alice.put(list+"/reorder", all).want(http.StatusOK).into(&steps)
	for i, s := range steps {
		same(t, "order", s.ID == all[i] && s.StepNumber == i+1, true)
	}
	for _, wrong := range []any{all[1:], append(slices.Clone(all[1:]), all[1]), append(slices.Clone(all), 999), []int{}} {
		alice.put(list+"/reorder", wrong).detail(http.StatusBadRequest, "every step of the project exactly once")
	}
	alice.put(list+"/reorder", map[string]any{"a": 1}).detail(http.StatusUnprocessableEntity, "The body must be a list of ids")
	st.member("bob").put(list+"/reorder", all).want(http.StatusForbidden)

	// Steps that are added at once each get a number of their own.
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() { alice.post(list, map[string]any{"title": "T", "content": "C"}).want(http.StatusCreated) })
	}
	wait.Wait()
	d = alice.project(id)
	same(t, "steps", len(d.Steps), 16)
	same(t, "last number", d.Steps[15].StepNumber, 16)
}

func TestBillOfMaterials(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	list := fmt.Sprintf("/api/projects/%d/bom", id)
	alice.post(list, map[string]any{"item_name": "Second", "item_order": 2}).want(http.StatusCreated)
	item := alice.post(list, map[string]any{"item_name": "Motor", "quantity": "2", "price_cents": 350, "item_order": 1, "link": "https://example.com/m", "description": "6 V"}).want(http.StatusCreated).id()
	d := alice.project(id)
	first := d.BillOfMaterials[0]
	same(t, "order", first.ID == item && *first.PriceCents == 350 && first.Quantity == 2 && *first.Link == "https://example.com/m" && *first.Description == "6 V", true)
	same(t, "defaults", d.BillOfMaterials[1].Quantity == 1 && d.BillOfMaterials[1].PriceCents == nil, true)
	path := fmt.Sprintf("%s/%d", list, item)
	alice.put(path, map[string]any{"price_cents": "", "quantity": 3, "link": nil}).want(http.StatusOK)
	first = alice.project(id).BillOfMaterials[0]
	same(t, "changed", first.ItemName == "Motor" && first.PriceCents == nil && first.Quantity == 3 && first.Link == nil && *first.Description == "6 V", true)
	for field, c := range map[string]struct {
		value any
		msg   string
	}{
		"item_name": {"", "Item name is required"}, "quantity": {0, "Quantity must be from 1"}, "price_cents": {-1, "Price cents must be at least 0"},
		"item_order": {-1, "Item order must be at least 0"}, "link": {"x", "Link must be an address"},
	} {
		alice.post(list, with(map[string]any{"item_name": "M"}, field, c.value)).detail(http.StatusUnprocessableEntity, c.msg)
		alice.put(path, map[string]any{field: c.value}).detail(http.StatusUnprocessableEntity, c.msg)
	}
	alice.post(list, map[string]any{"item_name": "M", "price_cents": 1.5}).detail(http.StatusUnprocessableEntity, "Price cents must be a whole number")
	alice.post(list, map[string]any{"item_name": "M", "price_cents": 1e300}).detail(http.StatusUnprocessableEntity, "Price cents must be from 0")
}

func TestComponents(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	led := alice.post("/api/components", map[string]any{"name": "LED red", "description": "5 mm", "datasheet_url": "https://example.com/led.pdf"}).want(http.StatusCreated).id()
	alice.post("/api/components", map[string]any{"name": "Big LED"}).want(http.StatusCreated)
	alice.post("/api/components", map[string]any{"name": "LED red"}).detail(http.StatusBadRequest, "Component with this name already exists")
	alice.post("/api/components", map[string]any{"name": "", "datasheet_url": "x"}).detail(http.StatusUnprocessableEntity, "Name is required; Datasheet url must be")
	st.visitor().post("/api/components", map[string]any{"name": "X"}).want(http.StatusUnauthorized)
	search := func(query string) string {
		var list []struct{ Name string }
		alice.get("/api/components/search" + query).want(http.StatusOK).into(&list)
		return fmt.Sprint(list)
	}
	same(t, "search", search("?q=led"), "[{LED red} {Big LED}]")
	same(t, "limit", search("?q=led&limit=1"), "[{LED red}]")
	same(t, "by description", search("?q=5%20mm"), "[{LED red}]")
	same(t, "too short", search("?q=l"), "[]")
	same(t, "none", search(""), "[]")
	list := fmt.Sprintf("/api/projects/%d/components", id)
	alice.post(list, map[string]any{"component_id": led, "quantity": 4, "notes": "Front"}).want(http.StatusCreated)
	c := alice.project(id).Components[0]
	same(t, "component", c.Component.Name == "LED red" && *c.Component.DatasheetURL == "https://example.com/led.pdf" && c.Quantity == 4 && *c.Notes == "Front", true)
	alice.post(list, map[string]any{"component_id": led}).detail(http.StatusBadRequest, "already part of the project")
	alice.post(list, map[string]any{"component_id": 999}).detail(http.StatusNotFound, "Component not found")
	alice.post(list, map[string]any{"quantity": 0}).detail(http.StatusUnprocessableEntity, "Component id is required; Quantity must be")
}

func TestLinksAndTools(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	links, tools := fmt.Sprintf("/api/projects/%d/links", id), fmt.Sprintf("/api/projects/%d/tools", id)
	for _, kind := range []string{"resource", "video", "course", "article", "related_project"} {
		alice.post(links, map[string]any{"url": "https://example.com/" + kind, "title": kind, "link_type": kind, "description": "D"}).want(http.StatusCreated)
	}
	link := alice.project(id).Links[0]
	path := fmt.Sprintf("%s/%d", links, link.ID)
	alice.put(path, map[string]any{"title": "New", "description": nil}).want(http.StatusOK)
	got := alice.project(id).Links[0]
	same(t, "link", got.Title == "New" && got.URL == "https://example.com/resource" && got.LinkType == "resource" && got.Description == nil, true)
	alice.post(links, map[string]any{"url": "javascript:alert(1)", "title": "x", "link_type": "video"}).detail(http.StatusUnprocessableEntity, "Url must be an address")
	alice.post(links, map[string]any{}).detail(http.StatusUnprocessableEntity, "Url is required; Title is required; Link type must be one of: resource, video")
	alice.put(path, map[string]any{"url": nil, "link_type": "song"}).detail(http.StatusUnprocessableEntity, "Url is required; Link type must be one of")

	tool := alice.post(tools, map[string]any{"name": "Iron", "tool_type": "tool", "notes": "Hot"}).want(http.StatusCreated).id()
	alice.put(fmt.Sprintf("%s/%d", tools, tool), map[string]any{"tool_type": "material"}).want(http.StatusOK)
	have := alice.project(id).ToolsMaterials[0]
	same(t, "tool", have.Name == "Iron" && have.ToolType == "material" && *have.Notes == "Hot", true)
	alice.post(tools, map[string]any{"name": "", "tool_type": "x"}).detail(http.StatusUnprocessableEntity, "Name is required; Tool type must be one of: tool, material")
}

func TestSlug(t *testing.T) {
	t.Parallel()
	for title, want := range map[string]string{
		"SMARS Q!": "smars-q", "  ": "project", "日本 ロボット": "日本-ロボット", "a/../b": "a-b", strings.Repeat("word ", 40): strings.TrimSuffix(strings.Repeat("word-", 12), "-"),
		strings.Repeat("x", 100): strings.Repeat("x", 60),
	} {
		same(t, "slug of "+title, slug(title), want)
	}
}

// Whatever happens to a project at once, every answer is one that makes sense,
// and nothing is left of it at the end.
func TestRacesOnAProject(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	for range 8 {
		id := alice.draft("Robot")
		path := fmt.Sprintf("/api/projects/%d", id)
		alice.post(path+"/publish", nil).want(http.StatusOK)
		var steps []int
		for range 3 {
			steps = append(steps, alice.post(path+"/steps", partKinds["steps"]).want(http.StatusCreated).id())
		}
		first := alice.post(path+"/images", form().file("image", "a.png", picture(t, "png", 4, 4))).want(http.StatusCreated).id()
		second := alice.post(path+"/images", form().file("image", "b.png", picture(t, "png", 4, 4))).want(http.StatusCreated).id()
		entity := map[string]any{"entity_type": "project", "entity_id": id, "content": "Hello"}
		comment := bob.post("/interact/entity/comment", entity).want(http.StatusOK).id()
		bob.post("/api/likes/entity", entity).want(http.StatusCreated)
		race := []func() *answer{
			func() *answer { return alice.put(path+"/steps/reorder", steps) },
			func() *answer {
				return alice.put(fmt.Sprintf("%s/steps/%d", path, steps[0]), map[string]any{"title": "New"})
			},
			func() *answer { return alice.delete(fmt.Sprintf("%s/steps/%d", path, steps[2])) },
			func() *answer { return alice.put(fmt.Sprintf("%s/images/%d/primary", path, second), nil) },
			func() *answer { return alice.delete(fmt.Sprintf("%s/images/%d", path, first)) },
			func() *answer { return alice.delete(fmt.Sprintf("%s/images/%d", path, second)) },
			func() *answer { return alice.post(path+"/files", form().file("file", "a.py", []byte("x"))) },
			func() *answer { return alice.post(path+"/bom", partKinds["bom"]) },
			func() *answer { return alice.put(path, map[string]any{"tags": []string{"a", "b"}}) },
			func() *answer { return alice.post(path+"/unpublish", nil) },
			func() *answer { return bob.get(path) },
			func() *answer { return bob.post("/interact/entity/comment", entity) },
			func() *answer { return bob.delete(fmt.Sprintf("/interact/comments/%d", comment)) },
			func() *answer { return alice.post(fmt.Sprintf("/interact/comments/%d/like", comment), nil) },
			func() *answer { return alice.post("/api/likes/entity", entity) },
			func() *answer { return alice.delete(path) },
		}
		var group sync.WaitGroup
		for _, do := range race {
			group.Go(func() {
				if a := do(); a.status >= 500 {
					t.Errorf("%s: %d %s", a.request, a.status, a.body)
				}
			})
		}
		group.Wait()
		alice.get(path).want(http.StatusNotFound)
	}
	same(t, "rows that are left", st.count(`select (select count(*) from "like") + (select count(*) from comment) + (select count(*) from project_image)`), 0)
	same(t, "files that are left", st.stored(), 0)
}

// Two changes of different fields at once both count.
func TestParallelUpdates(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	for i := range 10 {
		var group sync.WaitGroup
		for _, field := range []string{"title", "description", "background"} {
			group.Go(func() {
				alice.put(fmt.Sprintf("/api/projects/%d", id), map[string]any{field: fmt.Sprint(field, i)}).want(http.StatusOK)
			})
			if field == "title" {
				continue
			}
			group.Go(func() {
				alice.do(http.MethodPatch, "/accounts/me", map[string]any{map[string]string{"description": "firstname", "background": "lastname"}[field]: fmt.Sprint(i)}).want(http.StatusOK)
			})
		}
		group.Wait()
		d := alice.project(id)
		same(t, "all fields", d.Title+d.Description+*d.Background, fmt.Sprintf("title%[1]ddescription%[1]dbackground%[1]d", i))
		me := alice.get("/accounts/me").fields()
		same(t, "both names", fmt.Sprint(me["firstname"], me["lastname"]), fmt.Sprintf("%[1]d%[1]d", i))
	}
}
