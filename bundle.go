package main

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// What a project's ZIP holds beside README.md and the files: project.json, from
// which it can be made again, the manifest okh.toml, the text of its licence,
// the parts list and a page to read and print. docs/BUNDLE.md describes it for
// other programs.

const (
	bundleFormat  = "chatter-project"
	bundleVersion = 1
	bundleFile    = "project.json"
)

// bundle is project.json.
type bundle struct {
	Format          string            `json:"format"`
	Version         int               `json:"version"`
	Source          bundleSource      `json:"source"`
	Title           string            `json:"title"`
	Description     string            `json:"description"` // Markdown, as are background and the content of steps
	Background      *string           `json:"background"`
	CodeLink        *string           `json:"code_link"`
	DifficultyLevel *string           `json:"difficulty_level"`
	EstimatedTime   *string           `json:"estimated_time"`
	License         *string           `json:"license"` // SPDX identifier
	Tags            []string          `json:"tags"`
	Origin          *bundleOrigin     `json:"origin"` // of a remix
	Steps           []bundleStep      `json:"steps"`
	BillOfMaterials []bundleItem      `json:"bill_of_materials"`
	Components      []bundleComponent `json:"components"`
	ToolsMaterials  []bundleTool      `json:"tools_materials"`
	Links           []bundleLink      `json:"links"`
	Files           []bundleUpload    `json:"files"`
	Images          []bundleImage     `json:"images"`
}

// bundleSource is where the project is from; it is not read again.
type bundleSource struct {
	Site      string    `json:"site"`
	URL       string    `json:"url"`
	Author    string    `json:"author"`
	Status    string    `json:"status"`
	Revision  int       `json:"revision"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

type bundleOrigin struct {
	Title   string  `json:"title"`
	Author  string  `json:"author"`
	URL     *string `json:"url"`
	License *string `json:"license"`
}

type bundleStep struct {
	StepNumber int      `json:"step_number"`
	Title      string   `json:"title"`
	Content    string   `json:"content"`
	Images     []string `json:"images"` // their paths
}

type bundleItem struct {
	ItemName    string  `json:"item_name"`
	Description *string `json:"description"`
	Quantity    int     `json:"quantity"`
	PriceCents  *int    `json:"price_cents"`
	ItemOrder   int     `json:"item_order"`
	Link        *string `json:"link"`
}

type bundleComponent struct {
	Name         string  `json:"name"`
	Description  *string `json:"description"`
	DatasheetURL *string `json:"datasheet_url"`
	Quantity     int     `json:"quantity"`
	Notes        *string `json:"notes"`
}

type bundleTool struct {
	Name     string  `json:"name"`
	ToolType string  `json:"tool_type"`
	Notes    *string `json:"notes"`
}

type bundleLink struct {
	URL         string  `json:"url"`
	Title       string  `json:"title"`
	LinkType    string  `json:"link_type"`
	Description *string `json:"description"`
}

// bundleUpload is a file, by its path in the ZIP; one that is missing is not
// there, because the server could not find it.
type bundleUpload struct {
	Path             string    `json:"path"`
	OriginalFilename string    `json:"original_filename"`
	Description      *string   `json:"description"`
	UploadedAt       time.Time `json:"uploaded_at"`
	Missing          bool      `json:"missing,omitempty"`
}

type bundleImage struct {
	Path             string    `json:"path"`
	OriginalFilename string    `json:"original_filename"`
	Caption          *string   `json:"caption"`
	DisplayOrder     int       `json:"display_order"`
	Primary          bool      `json:"primary"`
	UploadedAt       time.Time `json:"uploaded_at"`
	Missing          bool      `json:"missing,omitempty"`
}

// mapped is a list of what to makes of each element; never nil, since that would
// be null in JSON.
func mapped[T, U any](list []T, to func(T) U) []U {
	out := make([]U, 0, len(list))
	for _, one := range list {
		out = append(out, to(one))
	}
	return out
}

// bundleOf is a project as project.json tells it.
func (s *server) bundleOf(d projectDetail, entries map[string]archiveEntry) bundle {
	b := bundle{
		Format: bundleFormat, Version: bundleVersion,
		Source: bundleSource{s.cfg.siteName, s.cfg.publicURL + d.Path(), d.AuthorUsername, d.Status, d.Revision, d.CreatedAt, d.UpdatedAt},
		Title:  d.Title, Description: d.Description, Background: d.Background, CodeLink: d.CodeLink, DifficultyLevel: d.DifficultyLevel, EstimatedTime: d.EstimatedTime,
		License: d.License, Tags: d.TagNames,
		Steps: mapped(d.Steps, func(st step) bundleStep {
			return bundleStep{st.StepNumber, st.Title, st.Content, mapped(st.Images, func(i projectImage) string { return entries[i.Filename].path })}
		}),
		BillOfMaterials: mapped(d.BillOfMaterials, func(i bomItem) bundleItem {
			return bundleItem{i.ItemName, i.Description, i.Quantity, i.PriceCents, i.ItemOrder, i.Link}
		}),
		Components: mapped(d.Components, func(c projectComponent) bundleComponent {
			return bundleComponent{c.Component.Name, c.Component.Description, c.Component.DatasheetURL, c.Quantity, c.Notes}
		}),
		ToolsMaterials: mapped(d.ToolsMaterials, func(t tool) bundleTool { return bundleTool{t.Name, t.ToolType, t.Notes} }),
		Links:          mapped(d.Links, func(l link) bundleLink { return bundleLink{l.URL, l.Title, l.LinkType, l.Description} }),
		Files: mapped(d.Files, func(f projectFile) bundleUpload {
			e := entries[f.Filename]
			return bundleUpload{e.path, e.original, f.Description, f.UploadedAt, e.missing}
		}),
		Images: mapped(d.Images, func(i projectImage) bundleImage {
			e := entries[i.Filename]
			return bundleImage{e.path, e.original, i.Caption, i.DisplayOrder, i.ID == deref(d.PrimaryImageID), i.UploadedAt, e.missing}
		}),
	}
	if o := d.Origin; o != nil {
		b.Origin = &bundleOrigin{o.Title, o.Author, o.URL, o.License}
	}
	return b
}

//go:embed licenses/*.txt
var licenseTexts embed.FS

// licenseText is the text of a project's licence with the names that belong into
// it, or nothing when there is none.
func licenseText(d projectDetail) string {
	text, err := licenseTexts.ReadFile("licenses/" + deref(d.License) + ".txt")
	if err != nil {
		return ""
	}
	// Of the others, only what they say about applying them has such places.
	switch *d.License {
	case "MIT", "BSD-2-Clause", "BSD-3-Clause":
		year := d.CreatedAt.Format("2006")
		return strings.NewReplacer("<year>", year, "<owner>", d.AuthorUsername, "<copyright holders>", d.AuthorUsername).Replace(string(text))
	}
	return string(text)
}

// tomlText is a basic string of TOML 1.0, which is one of JSON but for DEL.
func tomlText(text string) string {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text) // texts always can be
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\x7f", `\u007f`)
}

// The files by what they are in a manifest: what one changes, what is made of
// that, and the rest.
var (
	sourceTypes = []string{".py", ".cpp", ".h", ".ino", ".json", ".xml", ".yaml", ".yml", ".obj"}
	exportTypes = []string{".stl", ".gcode"}
)

// manifest is okh.toml, by which a library of open hardware finds the project
// (Open Know-How 2.4).
func (s *server) manifest(d projectDetail, entries map[string]archiveEntry) string {
	var b strings.Builder
	value := func(key, text string) { fmt.Fprintf(&b, "%s = %s\n", key, tomlText(text)) }
	page := s.cfg.publicURL + d.Path()
	value("okhv", "2.4")
	value("name", oneLine(d.Title))
	value("repo", cmp.Or(deref(d.CodeLink), page))
	value("version", fmt.Sprint(d.Revision))
	value("license", cmp.Or(deref(d.License), "LicenseRef-NONE"))
	value("licensor", d.AuthorUsername)
	value("function", d.Description)
	if d.IsPublished {
		value("release", fmt.Sprintf("%s/api/projects/%d/download", s.cfg.publicURL, d.ID))
	}
	if d.Origin != nil && d.Origin.Page(s.cfg.publicURL) != "" {
		value("forkOf", d.Origin.Page(s.cfg.publicURL))
	}
	value("readme", "README.md")
	if len(d.BillOfMaterials) > 0 {
		value("bom", "bom.csv")
	}
	if len(d.Steps) > 0 {
		value("manufacturing-instructions", "index.html")
	}
	kinds := map[string][]string{}
	for _, f := range d.Files {
		e := entries[f.Filename]
		kind := "auxiliary"
		switch extension := strings.ToLower(path.Ext(e.path)); {
		case e.missing:
			continue
		case slices.Contains(sourceTypes, extension):
			kind = "source"
		case slices.Contains(exportTypes, extension):
			kind = "export"
		}
		kinds[kind] = append(kinds[kind], tomlText(e.path))
	}
	for _, kind := range []string{"source", "export", "auxiliary"} {
		if list := kinds[kind]; len(list) > 0 {
			fmt.Fprintf(&b, "%s = [\n  %s,\n]\n", kind, strings.Join(list, ",\n  "))
		}
	}
	for _, i := range d.Images {
		e := entries[i.Filename]
		if e.missing {
			continue
		}
		b.WriteString("\n[[image]]\n")
		value("location", e.path)
		if i.Caption != nil {
			value("depicts", *i.Caption)
		}
		if i.ID == deref(d.PrimaryImageID) {
			b.WriteString("slots = [\"photo-thing-main\"]\n")
		}
	}
	return b.String()
}

//go:embed templates/bundle/index.html
var bundlePageFile string

var bundlePageTemplate = template.Must(template.New("index.html").Funcs(templateFuncs).Parse(bundlePageFile))

// bundlePage is the data of index.html in a project's ZIP.
type bundlePage struct {
	projectDetail
	SiteName, Page string // and the address of the project's page
	Licensed       license
	HasLicense     bool // its text is there
	OriginPage     string
	Cover          *bundlePicture
	Gallery        []bundlePicture // those that no step shows
	Uploads        []bundleDownload
	pictures       map[int]bundlePicture // by id
	Today          time.Time
}

// bundlePicture is a picture beside index.html; without an address it is
// missing.
type bundlePicture struct{ Href, Name, Caption string }

type bundleDownload struct {
	bundlePicture
	Size, Description string
}

// Pictures are those of a step.
func (p bundlePage) Pictures(st step) []bundlePicture {
	return mapped(st.ImageIDs, func(id int) bundlePicture { return p.pictures[id] })
}

// Total is the price of all lines that have one.
func (p bundlePage) Total() *int { return &p.BOMTotalCents }

// href is the relative address of an entry.
func (e archiveEntry) href() string {
	if e.missing {
		return ""
	}
	return (&url.URL{Path: e.path}).String()
}

// bundlePageOf writes index.html: the project to read and print, from the files
// beside it alone.
func (s *server) bundlePageOf(d projectDetail, entries map[string]archiveEntry) ([]byte, error) {
	p := bundlePage{projectDetail: d, SiteName: s.cfg.siteName, Page: s.cfg.publicURL + d.Path(), HasLicense: licenseText(d) != "", Today: s.now(), pictures: map[int]bundlePicture{}}
	p.Licensed, _ = licenseOf(d.License)
	if d.Origin != nil {
		p.OriginPage = d.Origin.Page(s.cfg.publicURL)
	}
	var shown []int
	for _, st := range d.Steps {
		shown = append(shown, st.ImageIDs...)
	}
	for _, i := range d.Images {
		e := entries[i.Filename]
		picture := bundlePicture{e.href(), path.Base(e.path), deref(i.Caption)}
		p.pictures[i.ID] = picture
		if i.ID == deref(d.PrimaryImageID) {
			p.Cover = &picture
		} else if !slices.Contains(shown, i.ID) {
			p.Gallery = append(p.Gallery, picture)
		}
	}
	for _, f := range d.Files {
		e := entries[f.Filename]
		p.Uploads = append(p.Uploads, bundleDownload{bundlePicture{e.href(), path.Base(e.path), ""}, f.Size(), deref(f.Description)})
	}
	var page bytes.Buffer
	err := bundlePageTemplate.Execute(&page, p)
	return page.Bytes(), err
}

// bundleTexts are the entries of a project's ZIP that are made of its rows, in
// their order.
func (s *server) bundleTexts(d projectDetail, entries map[string]archiveEntry) ([]bundleText, error) {
	description, err := json.MarshalIndent(s.bundleOf(d, entries), "", "  ")
	if err != nil {
		return nil, err
	}
	page, err := s.bundlePageOf(d, entries)
	if err != nil {
		return nil, err
	}
	texts := []bundleText{
		{"README.md", []byte(s.readme(d, entries))}, {"index.html", page}, {bundleFile, append(description, '\n')}, {"okh.toml", []byte(s.manifest(d, entries))},
	}
	if len(d.BillOfMaterials) > 0 {
		texts = append(texts, bundleText{"bom.csv", bomCSV(d.BillOfMaterials)})
	}
	if text := licenseText(d); text != "" {
		texts = append(texts, bundleText{"LICENSE", []byte(text)})
	}
	return texts, nil
}

type bundleText struct {
	name    string
	content []byte
}
