package main

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// places returns the ids of a section's rows in the editor, in their order.
func (a *answer) places(section string) (ids []string) {
	for _, match := range regexp.MustCompile(`<li id="`+section+`-(\d+)"`).FindAllSubmatch(a.body, -1) {
		ids = append(ids, string(match[1]))
	}
	return ids
}

func TestTheEditorIsAtWhatWasSaved(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada := st.member("ada")
	editor := ada.newDraft("Lamp")

	// Every kind of part: added, changed, deleted.
	for section, form := range map[string]url.Values{
		"steps":      {"title": {"One"}, "content": {"Do it."}},
		"bom":        {"item_name": {"One"}, "quantity": {"1"}},
		"components": {"name": {"NE555"}, "quantity": {"1"}},
		"tools":      {"name": {"Saw"}, "tool_type": {"tool"}},
		"links":      {"url": {"https://example.com/"}, "title": {"One"}, "link_type": {"video"}},
	} {
		to := ada.submit(editor+"/"+section, form).redirects(editor + "?done=added&saved=" + section + "-")
		row := to[strings.Index(to, "#")+1:]
		page := ada.page(to).want(http.StatusOK).shows(`<li id="`+row+`" tabindex="-1"`, "Added.", `<details class="add" id="`+section+`-add" open>`).hides(`id="` + row + `-form"`)
		page.shows(`href="` + editor + "?edit=" + row + "#" + row + `"`)
		ada.page(editor+"?edit="+row).want(http.StatusOK).shows(`<form id="`+row+`-form"`, `name="seen"`, `href="`+editor+"#"+row+`"`)
		part := editor + "/" + strings.Replace(row, "-", "/", 1)
		ada.submit(part, form).redirects(editor + "?saved=" + row + "#" + row)
		ada.page(editor + "?saved=" + row).shows("Saved.").hides(`<details class="add" id="` + section + `-add" open>`)
		form.Set("action", "keep")
		ada.page(ada.submit(part, form).redirects(editor + "?done=kept&edit=" + row + "&saved=" + row + "#" + row)).shows(`<form id="` + row + `-form"`)
		ada.submit(part, url.Values{"action": {"delete"}}).redirects(editor + "?done=deleted&saved=" + section + "#" + section)
		ada.page(editor + "?done=deleted&saved=" + section).shows("Deleted.").hides(`id="` + row + `"`)
	}
	ada.submit(editor, url.Values{"title": {"Lamp"}, "description": {"D"}}).redirects(editor + "?saved=basics#basics")
}

func TestPartsArePutInOrder(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada := st.member("ada")
	editor := ada.newDraft("Lamp")
	api := "/api" + strings.TrimSuffix(editor, "/edit")
	for _, name := range []string{"One", "Two", "Three"} {
		ada.submit(editor+"/steps", url.Values{"title": {name}, "content": {"Do it."}}).redirects(editor)
		ada.submit(editor+"/bom", url.Values{"item_name": {name}, "quantity": {"1"}}).redirects(editor)
		ada.do(http.MethodPost, editor+"/images", form("caption", name).file("image", name+".png", pictureOf(t, 4, 4))).redirects(editor)
	}
	for section, field := range map[string]string{"steps": "step_order", "bom": "item_order", "images": "display_order"} {
		t.Run(section, func(t *testing.T) {
			order := func() string {
				t.Helper()
				return strings.Join(ada.page(editor).want(http.StatusOK).places(section), " ")
			}
			ids := strings.Fields(order())
			a, b, c := ids[0], ids[1], ids[2]
			at := func(place string) string { return editor + "/" + section + "/" + place }
			ada.submit(at(c), url.Values{"action": {"up"}}).redirects(editor + "?done=moved&saved=" + section + "-" + c + "#" + section + "-" + c)
			same(t, "after one up", order(), a+" "+c+" "+b)
			ada.submit(at(a), url.Values{"action": {"up"}}).redirects(editor) // the first already
			ada.submit(at(a), url.Values{"action": {"down"}}).redirects(editor)
			same(t, "after one down", order(), c+" "+a+" "+b)
			ada.submit(at("999999"), url.Values{"action": {"down"}}).want(http.StatusNotFound)

			var list []map[string]any
			answer := ada.put(api+"/"+section+"/reorder", []string{b, a, c}).want(http.StatusOK).into(&list)
			for i, id := range []string{b, a, c} {
				same(t, "id", fmt.Sprint(list[i]["id"]), id)
				same(t, "place", fmt.Sprint(list[i][field]), fmt.Sprint(i+1))
			}
			same(t, "after all at once", order(), b+" "+a+" "+c)
			if tag := answer.header.Get("ETag"); section != "images" {
				ada.do(http.MethodPut, api+"/"+section+"/reorder", []string{b, a, c}, "If-Match", tag).want(http.StatusOK)
			}
			ada.put(api+"/"+section+"/reorder", []string{b, a}).detail(http.StatusBadRequest, "exactly once")
			ada.put(api+"/"+section+"/reorder", []string{b, a, a}).detail(http.StatusBadRequest, "exactly once")
			ada.put(api+"/"+section+"/reorder", "x").want(http.StatusUnprocessableEntity)
			st.visitor().put(api+"/"+section+"/reorder", []string{a, b, c}).want(http.StatusUnauthorized)
		})
	}
	// What comes later comes last, also behind numbers that were given by hand.
	ada.submit(editor+"/bom", url.Values{"item_name": {"Four"}, "quantity": {"1"}}).redirects(editor)
	ada.submit(editor+"/bom", url.Values{"item_name": {"Five"}, "quantity": {"1"}}).redirects(editor)
	page := string(ada.page(editor).body)
	if four, five := strings.Index(page, `data-name="Four"`), strings.Index(page, `data-name="Five"`); four < strings.Index(page, `data-name="One"`) || five < four {
		t.Error("parts that were added are not the last")
	}
	st.member("bob").put(api+"/bom/reorder", []int{1}).want(http.StatusForbidden)
}

func TestStepsShowPicturesOfTheProject(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada := st.member("ada")
	editor := ada.newDraft("Lamp")
	ada.page(editor).hides("Pictures of this step")
	for _, name := range []string{"a.png", "b.png", "c.png"} {
		ada.do(http.MethodPost, editor+"/images", form().file("image", name, pictureOf(t, 4, 4))).redirects(editor)
	}
	images := ada.page(editor).shows("Pictures of this step").places("images")
	chosen := func(page *answer, step string) (list []string) {
		for _, match := range regexp.MustCompile(`id="`+step+`-image-(\d+)" name="image_ids" value="\d+" checked`).FindAllSubmatch(page.body, -1) {
			list = append(list, string(match[1]))
		}
		return list
	}
	form := url.Values{"title": {"Cut"}, "content": {"Cut it."}, "image_ids": {"", images[0], images[2]}}
	to := ada.submit(editor+"/steps", form).redirects(editor)
	row := to[strings.Index(to, "#")+1:]
	part := editor + "/" + strings.Replace(row, "-", "/", 1)
	same(t, "chosen", fmt.Sprint(chosen(ada.page(editor+"?edit="+row), row)), fmt.Sprint([]string{images[0], images[2]}))
	// Also in a form that was refused.
	form["title"], form["image_ids"] = []string{""}, []string{"", images[1], images[2]}
	same(t, "chosen", fmt.Sprint(chosen(ada.submit(part, form).want(http.StatusUnprocessableEntity), row)), fmt.Sprint(images[1:]))
	form["title"] = []string{"Cut"}
	ada.submit(part, form).redirects(editor)
	same(t, "chosen", fmt.Sprint(chosen(ada.page(editor+"?edit="+row), row)), fmt.Sprint(images[1:]))
	form["image_ids"] = []string{""}
	ada.submit(part, form).redirects(editor)
	same(t, "chosen", fmt.Sprint(chosen(ada.page(editor+"?edit="+row), row)), "[]")
	form["image_ids"] = []string{"", "999999"}
	ada.submit(part, form).want(http.StatusUnprocessableEntity)
}

func TestOneSectionOfTheEditor(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada := st.member("ada")
	editor := ada.newDraft("Lamp")
	part := ada.do(http.MethodGet, editor, nil, "Accept", "text/html", sectionHeader, "links").want(http.StatusOK).
		shows(`<section id="links"`, `<section id="publish"`, `class="editor-nav"`).hides(`<section id="basics"`, `<section id="steps"`)
	same(t, "Vary", strings.Join(part.header.Values("Vary"), ", "), "Origin, "+sectionHeader)
	ada.do(http.MethodPost, editor+"/links", url.Values{"url": {"x"}}, sectionHeader, "links").want(http.StatusUnprocessableEntity).
		shows(`<section id="links"`, "Title is required").hides(`<section id="basics"`)

	// And one row of it.
	for _, title := range []string{"One", "Two"} {
		ada.submit(editor+"/steps", url.Values{"title": {title}, "content": {"Do it."}}).redirects(editor)
	}
	row := "steps-" + ada.page(editor).places("steps")[1]
	ada.do(http.MethodGet, editor+"?edit="+row, nil, sectionHeader, row).want(http.StatusOK).
		shows(`<form id="`+row+`-form"`, `data-name="step 2, Two"`, `<section id="publish"`).hides(`data-name="step 1, One"`, `<section id="basics"`)
}

func TestMarkdownPreview(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.testing = false })
	st.stopClock()
	st.visitor().post("/api/markdown", map[string]any{"text": "x"}).want(http.StatusUnauthorized)
	ada := st.member("ada")
	same(t, "html", fmt.Sprint(ada.post("/api/markdown", map[string]any{"text": "**a** <script>"}).want(http.StatusOK).fields()["html"]), "<p><strong>a</strong> &lt;script&gt;</p>\n")
	same(t, "html", fmt.Sprint(ada.post("/api/markdown", map[string]any{}).want(http.StatusOK).fields()["html"]), "")
	ada.post("/api/markdown", map[string]any{"text": strings.Repeat("x", maxContent+1)}).detail(http.StatusUnprocessableEntity, "at most")
	ada.post("/api/markdown", map[string]any{"text": "a\x00b"}).want(http.StatusUnprocessableEntity)
	for range int(previewLimit.burst) {
		if ada.post("/api/markdown", map[string]any{"text": "x"}).status == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("previews have no limit")
}
