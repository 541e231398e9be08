package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestStepsHavePictures(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	id, other := alice.draft("Robot"), bob.draft("Other")
	add := func(p *person, project int, name string) int {
		return p.post(fmt.Sprintf("/api/projects/%d/images", project), form("caption", name).file("image", name+".png", picture(t, "png", 4, 4))).want(http.StatusCreated).id()
	}
	one, two, foreign := add(alice, id, "one"), add(alice, id, "two"), add(bob, other, "three")
	path := fmt.Sprintf("/api/projects/%d/steps", id)
	type stepShape struct {
		ID       int
		Title    string
		ImageIDs []int `json:"image_ids"`
		Images   []struct {
			ID       int
			ImageURL string `json:"image_url"`
		}
	}
	var made stepShape
	alice.post(path, map[string]any{"title": "T", "content": "C", "image_ids": []any{two, fmt.Sprint(one), two}}).want(http.StatusCreated).into(&made)
	same(t, "in their order", fmt.Sprint(made.ImageIDs), fmt.Sprint([]int{two, one}))
	step := fmt.Sprintf("%s/%d", path, made.ID)
	alice.put(step, map[string]any{"title": "New"}).want(http.StatusOK).into(&made)
	same(t, "left out, they stay", fmt.Sprint(made.ImageIDs), fmt.Sprint([]int{two, one}))
	var d struct{ Steps []stepShape }
	alice.get(fmt.Sprintf("/api/projects/%d", id)).into(&d)
	same(t, "in the detail", d.Steps[0].Images[0].ID == two && strings.HasPrefix(d.Steps[0].Images[0].ImageURL, "http") && len(d.Steps[0].Images) == 2, true)

	for _, ids := range []any{[]int{foreign}, []int{one, foreign}, []int{999}, []int{-1}} {
		alice.put(step, map[string]any{"title": "Never", "image_ids": ids}).detail(http.StatusUnprocessableEntity, "pictures of this project")
	}
	for _, ids := range []any{"x", map[string]any{"a": 1}, []any{1.5}, []any{"99999999999"}} {
		alice.put(step, map[string]any{"image_ids": ids}).detail(http.StatusUnprocessableEntity, "Image ids must be a list of ids")
	}
	alice.get(path).shows(`"title":"New"`, fmt.Sprintf(`"image_ids":[%d,%d]`, two, one))
	_, err := st.db.Exec(t.Context(), `insert into step_image (project_id, step_id, image_id, place) values ($1, $2, $3, 9)`, id, made.ID, foreign)
	same(t, "the database refuses another project's picture", err != nil, true)

	alice.delete(fmt.Sprintf("/api/projects/%d/images/%d", id, two)).want(http.StatusNoContent)
	same(t, "a deleted picture is taken off", fmt.Sprint(alice.project(id).Steps[0].ImageIDs), fmt.Sprint([]int{one}))
	alice.put(step, map[string]any{"image_ids": nil}).want(http.StatusOK)
	same(t, "none", len(alice.project(id).Steps[0].ImageIDs), 0)
	alice.put(step, map[string]any{"image_ids": []int{one}}).want(http.StatusOK)
	alice.delete(fmt.Sprintf("/api/projects/%d", id)).want(http.StatusNoContent)
	same(t, "nothing is left", st.count(`select count(*) from step_image`), 0)
}

func TestLicenses(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	body := map[string]any{"title": "T", "description": "D", "license": "MIT"}
	id := alice.post("/api/projects", body).want(http.StatusCreated).id()
	path := fmt.Sprintf("/api/projects/%d", id)
	same(t, "license", alice.get(path).fields()["license"], any("MIT"))
	alice.put(path, map[string]any{"license": "WTFPL"}).detail(http.StatusUnprocessableEntity, "License must be one of: CC0-1.0, CC-BY-4.0")
	alice.post("/api/projects", with(body, "license", "mit ")).detail(http.StatusUnprocessableEntity, "LicenseRef-All-Rights-Reserved")
	alice.put(path, map[string]any{"license": "CERN-OHL-S-2.0"}).want(http.StatusOK)
	alice.put(path, map[string]any{"title": "New"}).want(http.StatusOK)
	same(t, "kept", alice.get(path).fields()["license"], any("CERN-OHL-S-2.0"))
	alice.put(path, map[string]any{"license": ""}).want(http.StatusOK)
	same(t, "cleared", alice.get(path).fields()["license"], nil)
	// A licence from elsewhere that is not on the list survives changes of other fields.
	st.exec(`update project set license = 'WTFPL'`)
	alice.put(path, map[string]any{"title": "Newer"}).want(http.StatusOK)
	same(t, "from elsewhere", alice.get(path).fields()["license"], any("WTFPL"))
	var list []struct{ ID, Name, URL string }
	st.visitor().get("/api/licenses").want(http.StatusOK).into(&list)
	for _, l := range list {
		alice.put(path, map[string]any{"license": l.ID}).want(http.StatusOK)
	}
	same(t, "some", len(list) > 15, true)
}

// Whatever changes a project or its parts counts, and nothing else does.
func TestRevisions(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob := st.member("alice"), st.member("bob")
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d", id)
	alice.post("/api/components", map[string]any{"name": "LED"}).want(http.StatusCreated)
	last := 0
	revision := func() int { return int(alice.get(path).fields()["revision"].(float64)) }
	counts := func(what string, a *answer) *answer {
		t.Helper()
		if a.status >= 300 {
			t.Fatalf("%s: %d %s", what, a.status, a.body)
		}
		if now := revision(); now <= last {
			t.Fatalf("%s does not count", what)
		} else {
			last = now
		}
		return a
	}
	counts("title", alice.put(path, map[string]any{"title": "New"}))
	counts("tags", alice.put(path, map[string]any{"tags": []string{"a"}}))
	for kind, body := range partKinds {
		part := counts(kind, alice.post(path+"/"+kind, body)).id()
		one := fmt.Sprintf("%s/%s/%d", path, kind, part)
		if kind != "components" {
			counts(kind, alice.put(one, body))
		}
		counts(kind, alice.delete(one))
	}
	first := counts("step", alice.post(path+"/steps", partKinds["steps"])).id()
	second := counts("step", alice.post(path+"/steps", partKinds["steps"])).id()
	counts("order", alice.put(path+"/steps/reorder", []int{second, first}))
	counts("file", alice.post(path+"/files", form().file("file", "a.py", []byte("x"))))
	image := counts("image", alice.post(path+"/images", form().file("image", "a.png", picture(t, "png", 4, 4)))).id()
	counts("image of a step", alice.put(fmt.Sprintf("%s/steps/%d", path, first), map[string]any{"image_ids": []int{image}}))
	counts("publishing", alice.post(path+"/publish", nil))

	bob.get(path).want(http.StatusOK)
	bob.get(path + "/download").want(http.StatusOK)
	bob.post("/api/likes/entity", map[string]any{"entity_type": "project", "entity_id": id}).want(http.StatusCreated)
	bob.post("/interact/entity/comment", map[string]any{"entity_type": "project", "entity_id": id, "content": "Nice"}).want(http.StatusOK)
	st.exec(`update project_image set width = null; delete from image_size`)
	bob.get(fmt.Sprintf("%s/images/%d/file", path, image)).want(http.StatusOK)
	same(t, "after what readers do", revision(), last)
	same(t, "and they did", alice.project(id).ViewCount+alice.project(id).LikeCount+alice.project(id).CommentCount, 3)
	counts("deleting the picture", alice.delete(fmt.Sprintf("%s/images/%d", path, image)))
}
