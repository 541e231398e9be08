package main

import (
	"fmt"
	"html"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// howTo is a project as schema.org describes instructions (schema.org/HowTo), in
// JSON-LD: search engines and messengers read it.
type howTo struct {
	Context       string      `json:"@context"`
	Type          string      `json:"@type"`
	Name          string      `json:"name"`
	Description   string      `json:"description"`
	URL           string      `json:"url"`
	Image         []string    `json:"image,omitempty"`
	Author        thing       `json:"author"`
	DatePublished string      `json:"datePublished"`
	DateModified  string      `json:"dateModified"`
	Keywords      string      `json:"keywords,omitempty"`
	License       string      `json:"license,omitempty"`
	IsBasedOn     string      `json:"isBasedOn,omitempty"`
	TotalTime     string      `json:"totalTime,omitempty"`     // ISO 8601 duration
	EstimatedCost string      `json:"estimatedCost,omitempty"` // without a currency, which prices here have none of
	Tool          []thing     `json:"tool,omitempty"`
	Supply        []thing     `json:"supply,omitempty"`
	Step          []howToStep `json:"step,omitempty"`
}

type thing struct {
	Type             string `json:"@type"`
	Name             string `json:"name"`
	RequiredQuantity int    `json:"requiredQuantity,omitempty"`
}

type howToStep struct {
	Type  string   `json:"@type"`
	Name  string   `json:"name"`
	Text  string   `json:"text"`
	URL   string   `json:"url"`
	Image []string `json:"image,omitempty"`
}

// HowTo describes the project to programs; a draft is nobody's business.
func (p projectPage) HowTo() *howTo {
	if !p.IsPublished {
		return nil
	}
	h := &howTo{
		Context: "https://schema.org", Type: "HowTo", Name: p.Title, Description: excerpt(p.Description), URL: p.URL,
		Author: thing{"Person", p.AuthorUsername, 0}, DatePublished: p.CreatedAt.Format(time.DateOnly), DateModified: p.UpdatedAt.Format(time.RFC3339),
		Keywords: strings.Join(p.TagNames, ", "), License: p.Terms().URL, TotalTime: isoDuration(deref(p.EstimatedTime)), EstimatedCost: p.Total,
	}
	if p.Origin != nil {
		h.IsBasedOn = p.OriginPage()
	}
	for _, i := range p.Images {
		h.Image = append(h.Image, i.ImageURL)
	}
	for _, t := range p.ToolsMaterials {
		if t.ToolType == "tool" {
			h.Tool = append(h.Tool, thing{"HowToTool", t.Name, 0})
		} else {
			h.Supply = append(h.Supply, thing{"HowToSupply", t.Name, 0})
		}
	}
	for _, b := range p.BillOfMaterials {
		h.Supply = append(h.Supply, thing{"HowToSupply", b.ItemName, max(b.Quantity, 0)})
	}
	for _, c := range p.Components {
		h.Supply = append(h.Supply, thing{"HowToSupply", c.Component.Name, max(c.Quantity, 0)})
	}
	for n, st := range p.Steps {
		step := howToStep{"HowToStep", st.Title, plainMarkdown(st.Content), fmt.Sprintf("%s#step-%d", p.URL, n+1), nil}
		for _, i := range st.Images {
			step.Image = append(step.Image, i.ImageURL)
		}
		h.Step = append(h.Step, step)
	}
	return h
}

// plainMarkdown is the text of a Markdown source without its markup.
func plainMarkdown(source string) string {
	return oneLine(html.UnescapeString(stripTags(string(renderMarkdown(source)))))
}

// cardPicture is the picture that a link to a project unfolds to.
type cardPicture struct {
	URL           string
	Type, Alt     string
	Width, Height int
}

// Card is the project's picture in the size that messengers show, or nil: none
// of them shows a drawing (SVG).
func (p projectPage) Card() *cardPicture {
	cover := p.Cover()
	if cover == nil || len(cover.Sizes) == 0 {
		return nil
	}
	z := cover.Sizes[0]
	for _, other := range cover.Sizes[1:] {
		if z.Width < 1200 {
			z = other
		}
	}
	alt := deref(cover.Caption)
	if alt == "" {
		alt = p.Title
	}
	return &cardPicture{z.URL, imageTypes[strings.ToLower(path.Ext(z.Filename))], alt, z.Width, z.Height}
}

var (
	timeSpan  = regexp.MustCompile(`(?i)(\d+(?:[.,]\d+)?)\s*(weeks?|w|days?|d|hours?|hrs?|h|minutes?|mins?|m)\b`)
	spanUnits = map[byte]float64{'w': 7 * 24 * 60, 'd': 24 * 60, 'h': 60, 'm': 1} // minutes, by the first letter
)

// isoDuration reads a time that people have written, such as 2 h 30 min or 1–2
// days (the longer counts), as an ISO 8601 duration; empty when it is none.
func isoDuration(text string) string {
	minutes := 0.0
	for _, m := range timeSpan.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(strings.Replace(m[1], ",", ".", 1), 64)
		if err != nil {
			return ""
		}
		minutes += n * spanUnits[strings.ToLower(m[2])[0]]
	}
	if minutes < 1 || minutes > 1e7 {
		return ""
	}
	hours, rest := int(minutes)/60, int(minutes)%60
	switch {
	case rest == 0:
		return fmt.Sprintf("PT%dH", hours)
	case hours == 0:
		return fmt.Sprintf("PT%dM", rest)
	}
	return fmt.Sprintf("PT%dH%dM", hours, rest)
}
