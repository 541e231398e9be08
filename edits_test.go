package main

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestChangesNameTheRevisionTheyAreOf(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d", id)
	alice.post("/api/components", map[string]any{"name": "LED"}).want(http.StatusCreated)
	step := alice.post(path+"/steps", partKinds["steps"]).want(http.StatusCreated).id()
	old := alice.get(path).want(http.StatusOK).header.Get("ETag")
	same(t, "tag of the parts", alice.get(path+"/steps").header.Get("ETag"), old)
	same(t, "tag of HEAD", alice.do(http.MethodHead, path, nil).header.Get("ETag"), old)
	image := alice.post(path+"/images", form().file("image", "a.png", picture(t, "png", 4, 4))).want(http.StatusCreated).id()

	type request struct {
		method, path string
		body         any
	}
	stale := []request{
		{"PUT", path, map[string]any{"title": "Lost"}}, {"DELETE", path, nil}, {"POST", path + "/publish", nil},
		{"PUT", fmt.Sprintf("%s/steps/%d", path, step), map[string]any{"title": "Lost"}}, {"DELETE", fmt.Sprintf("%s/steps/%d", path, step), nil},
		{"PUT", path + "/steps/reorder", []int{step}}, {"PUT", fmt.Sprintf("%s/images/%d/primary", path, image), nil}, {"DELETE", fmt.Sprintf("%s/images/%d", path, image), nil},
	}
	for kind, body := range partKinds {
		stale = append(stale, request{"POST", path + "/" + kind, body})
	}
	before := alice.get(path)
	for _, r := range stale {
		alice.do(r.method, r.path, r.body, "If-Match", old).detail(http.StatusPreconditionFailed, "has changed since you read it")
		alice.do(r.method, r.path, r.body, "If-Match", `"x"`).want(http.StatusPreconditionFailed)
	}
	alice.do("POST", path+"/files", form().file("file", "a.py", []byte("x")), "If-Match", old).want(http.StatusPreconditionFailed)
	same(t, "nothing has changed", string(alice.get(path).body), string(before.body))
	same(t, "nothing is left of the upload", st.count(`select count(*) from media_file where folder = 'projects/files'`), 0)

	now := alice.get(path).header.Get("ETag")
	next := alice.do("PUT", path, map[string]any{"title": "One"}, "If-Match", `"r0", `+now).want(http.StatusOK).header.Get("ETag")
	alice.do("PUT", path, map[string]any{"title": "Two"}, "If-Match", now).want(http.StatusPreconditionFailed)
	alice.do("PUT", path, map[string]any{"title": "Three"}, "If-Match", "W/"+next).want(http.StatusOK)
	alice.do("PUT", path, map[string]any{"title": "Four"}, "If-Match", "*").want(http.StatusOK)

	// Of many at once that name one revision, one wins.
	tag := alice.get(path).header.Get("ETag")
	var group sync.WaitGroup
	var won [8]int
	for i := range won {
		group.Go(func() {
			won[i] = alice.do("PUT", path, map[string]any{"title": fmt.Sprint("T", i)}, "If-Match", tag).status
		})
	}
	group.Wait()
	slices.Sort(won[:])
	same(t, "one won", won[0] == 200 && won[1] == 412, true)
	alice.do("DELETE", path, nil, "If-Match", alice.get(path).header.Get("ETag")).want(http.StatusNoContent)
}

var seenField = regexp.MustCompile(`name="seen" value="([0-9a-f]+)"`)

// formOf is the hidden field of the form of a page that sends to an address.
func formOf(t *testing.T, page *answer, action string) string {
	t.Helper()
	_, rest, found := strings.Cut(string(page.body), fmt.Sprintf(`action="%s"`, action))
	for found {
		form, _, _ := strings.Cut(rest, "</form>")
		if m := seenField.FindStringSubmatch(form); m != nil {
			return m[1]
		}
		_, rest, found = strings.Cut(rest, fmt.Sprintf(`action="%s"`, action))
	}
	t.Fatalf("the form %s has no field seen", action)
	return ""
}

// A form that was open while somebody else saved shows both texts, and saves
// the next time.
func TestFormsShowWhatOthersChanged(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	path, edit := fmt.Sprintf("/api/projects/%d", id), fmt.Sprintf("/projects/%d/edit", id)
	step := alice.post(path+"/steps", map[string]any{"title": "T", "content": "Old text"}).want(http.StatusCreated).id()
	item := alice.post(path+"/bom", map[string]any{"item_name": "Motor", "price_cents": 100}).want(http.StatusCreated).id()
	link := alice.post(path+"/links", partKinds["links"]).want(http.StatusCreated).id()
	tool := alice.post(path+"/tools", partKinds["tools"]).want(http.StatusCreated).id()

	open := func(part string, id int) *answer {
		return alice.page(fmt.Sprintf("%s?edit=%s-%d", edit, part, id)).want(http.StatusOK)
	}
	stepForm := fmt.Sprintf("%s/steps/%d", edit, step)
	seen := formOf(t, open("steps", step), stepForm)
	// A change of something else, and the steps' order, are no matter.
	alice.put(path, map[string]any{"title": "Robot 2"}).want(http.StatusOK)
	alice.post(path+"/steps", partKinds["steps"]).want(http.StatusCreated)
	alice.submit(stepForm, url.Values{"title": {"T"}, "content": {"First text"}, "seen": {seen}}).redirects(edit)
	refused := alice.submit(stepForm, url.Values{"title": {"T"}, "content": {"My own text"}, "seen": {seen}}).want(http.StatusPreconditionFailed).
		shows("This was changed elsewhere meanwhile", "My own text</textarea>", "It now says:", "<pre>First text</pre>")
	same(t, "nothing is overwritten", alice.project(id).Steps[0].Content, "First text")
	alice.submit(stepForm, url.Values{"title": {"T"}, "content": {"My own text"}, "seen": {formOf(t, refused, stepForm)}}).redirects(edit)
	same(t, "saved knowingly", alice.project(id).Steps[0].Content, "My own text")

	basics := url.Values{"title": {"Mine"}, "description": {"D"}, "tags": {"a"}, "seen": {formOf(t, alice.page(edit), edit)}}
	alice.put(path, map[string]any{"tags": []string{"b"}}).want(http.StatusOK)
	alice.submit(edit, basics).want(http.StatusPreconditionFailed).shows(`value="Mine"`, "<pre>b</pre>", "<pre>Robot 2</pre>")
	same(t, "nothing is overwritten", alice.project(id).Title, "Robot 2")
	for _, one := range []struct {
		part string
		id   int
		api  map[string]any
		form url.Values
	}{
		{"bom", item, map[string]any{"price_cents": 250}, url.Values{"item_name": {"Motor"}, "quantity": {"1"}, "price": {"1.50"}}},
		{"links", link, map[string]any{"title": "New"}, url.Values{"title": {"Newer"}, "url": {"https://example.com"}, "link_type": {"video"}}},
		{"tools", tool, map[string]any{"name": "New"}, url.Values{"name": {"Newer"}, "tool_type": {"tool"}}},
	} {
		action := fmt.Sprintf("%s/%s/%d", edit, one.part, one.id)
		one.form.Set("seen", formOf(t, open(one.part, one.id), action))
		alice.put(fmt.Sprintf("%s/%s/%d", path, one.part, one.id), one.api).want(http.StatusOK)
		alice.submit(action, one.form).want(http.StatusPreconditionFailed).shows("This was changed elsewhere")
		one.form.Set("seen", formOf(t, open(one.part, one.id), action))
		alice.submit(action, one.form).redirects(edit)
	}
}

// Steps that are moved, reordered and added at once stay one row of numbers.
func TestStepsStayInOrder(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d/steps", id)
	var ids []int
	for range 5 {
		ids = append(ids, alice.post(path, partKinds["steps"]).want(http.StatusCreated).id())
	}
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			alice.submit(fmt.Sprintf("/projects/%d/edit/steps/%d", id, ids[i%5]), url.Values{"action": {[]string{"up", "down"}[i%2]}}).redirects("/projects")
		})
		group.Go(func() {
			if i%3 == 0 {
				alice.post(path, partKinds["steps"]).want(http.StatusCreated)
			}
		})
		group.Go(func() {
			if a := alice.put(path+"/reorder", ids); a.status != http.StatusOK && a.status != http.StatusBadRequest {
				t.Errorf("reorder: %d %s", a.status, a.body)
			}
		})
	}
	group.Wait()
	var numbers []int
	for _, s := range alice.project(id).Steps {
		numbers = append(numbers, s.StepNumber)
	}
	same(t, "numbers", fmt.Sprint(numbers), "[1 2 3 4 5 6 7 8 9]")
}

func TestLimits(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.maxProjects, c.maxParts, c.maxUploads = 2, 3, 1 })
	alice := st.member("alice")
	for i := range 4 {
		alice.post("/api/components", map[string]any{"name": fmt.Sprint("C", i)}).want(http.StatusCreated)
	}
	id := alice.draft("Robot")
	path, edit := fmt.Sprintf("/api/projects/%d", id), fmt.Sprintf("/projects/%d/edit", id)
	// however many at once
	atOnce := func(want int, do func(i int) *answer) {
		t.Helper()
		var group sync.WaitGroup
		answers := make([]*answer, 4)
		for i := range answers {
			group.Go(func() { answers[i] = do(i) })
		}
		group.Wait()
		made := 0
		for _, a := range answers {
			if a.status == http.StatusCreated {
				made++
			} else {
				a.detail(http.StatusConflict, "")
			}
		}
		same(t, "made by "+answers[0].request, made, want)
	}
	for kind, body := range partKinds {
		atOnce(3, func(i int) *answer {
			if kind == "components" {
				return alice.post(path+"/"+kind, map[string]any{"component_id": i + 1})
			}
			return alice.post(path+"/"+kind, body)
		})
	}
	alice.post(path+"/steps", partKinds["steps"]).detail(http.StatusConflict, "A project can have at most 3 steps, and this one would have 4")
	alice.submit(edit+"/steps", url.Values{"title": {"T"}, "content": {"C"}}).want(http.StatusConflict).shows("at most 3 steps")
	atOnce(1, func(int) *answer { return alice.post(path+"/files", form().file("file", "a.py", []byte("x"))) })
	atOnce(1, func(int) *answer {
		return alice.post(path+"/images", form().file("image", "a.png", picture(t, "png", 4, 4)))
	})
	same(t, "nothing is left of the others", st.stored(), st.count(`select count(*) from media_file`))
	atOnce(1, func(i int) *answer {
		return alice.post("/api/projects", map[string]any{"title": "T", "description": "D"})
	})
	alice.post("/api/projects", map[string]any{"title": "T", "description": "D"}).detail(http.StatusConflict, "You have 2 projects, as many as one person may have")
	alice.submit("/projects/new", url.Values{"title": {"T"}, "description": {"D"}}).want(http.StatusConflict).shows("You have 2 projects")
	st.member("bob").draft("Another's")
}

func TestBillOfMaterialsIsSummedUp(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d", id)
	line := alice.post(path+"/bom", map[string]any{"item_name": "Motor", "quantity": 3, "price_cents": 250, "total_cents": 1}).want(http.StatusCreated)
	same(t, "total", line.fields()["total_cents"], any(750.0))
	alice.post(path+"/bom", map[string]any{"item_name": "Tape"}).want(http.StatusCreated).shows(`"total_cents":null`)
	alice.post(path+"/bom", map[string]any{"item_name": "Gold", "quantity": 1_000_000, "price_cents": 2147483647}).want(http.StatusCreated)
	d := alice.get(path).fields()
	same(t, "in all", d["bom_total_cents"], any(2147483647000750.0))
	same(t, "unpriced", d["bom_unpriced"], any(1.0))
	alice.page(fmt.Sprintf("/projects/%d/edit", id)).want(http.StatusOK)
}
