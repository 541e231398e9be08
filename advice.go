package main

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"
)

// advice is something that would make a project better, and in which section of
// the editor it is done.
type advice struct {
	Text    string `json:"text"`
	Section string `json:"section"`

	Target string `json:"-"` // what to go to in the editor
}

// adviceFor lists what is missing for a project that others can rebuild, the
// most important first. Nobody has to follow it.
func adviceFor(d projectDetail) []advice {
	list := []advice{}
	add := func(missing bool, target, format string, args ...any) {
		if missing {
			section, _, _ := strings.Cut(target, "-")
			list = append(list, advice{fmt.Sprintf(format, args...), section, target})
		}
	}
	add(len(d.Images) == 0, "images-new-image", "Add a picture: it shows at a glance what this is.")
	add(len(d.Steps) == 0, "steps-new-title", "Write the steps, so that others can build it too.")
	for n, st := range d.Steps {
		add(isVoid(st.Content, st.Title), formID("steps", st.ID), "Step %d, “%s”, does not say yet what to do.", n+1, st.Title)
	}
	add(len(d.BillOfMaterials)+len(d.Components) == 0, "bom-new-item_name", "List the parts that one has to get.")
	for _, item := range d.BillOfMaterials {
		add(item.Quantity < 1, formID("bom", item.ID), "Say how many of “%s” one needs.", item.ItemName)
	}
	for _, c := range d.Components {
		add(c.Quantity < 1, formID("components", c.ID), "Say how many of “%s” one needs.", c.Component.Name)
	}
	add(d.License == nil, "basics-license", "Choose a licence: without one, nobody may build on your work.")
	add(len(d.Tags) == 0, "basics-tags", "Add a few tags, by which people will find it.")
	add(utf8.RuneCountInString(d.Description) < 80, "basics-description", "Describe in two or three sentences what it does and whom it is for.")
	add(d.DifficultyLevel == nil || d.EstimatedTime == nil, "basics-difficulty_level", "Say how difficult it is and how long it takes.")
	uncaptioned, first := 0, ""
	for _, i := range d.Images {
		if i.Caption == nil {
			uncaptioned++
			first = cmp.Or(first, formID("images", i.ID)+"-caption")
		}
	}
	add(uncaptioned > 0, first, "Say what your pictures show: %d of %d have no caption, which is also read out to people who can't see them.", uncaptioned, len(d.Images))
	return list
}

// isVoid reports whether a step's text says nothing beyond its title.
func isVoid(content, title string) bool {
	text := plainMarkdown(content)
	return text == "" && !strings.Contains(content, "](") || strings.EqualFold(text, strings.TrimSpace(title)) || strings.EqualFold(text, "todo")
}
