package main

import (
	"encoding/json"
	"net/http"
	"strings"
)

// gaugeTick is one of the four ticks that say how hard a project is.
type gaugeTick struct {
	On           bool
	X, Y, Height int
}

// newGauge draws a difficulty; one in other words than the usual ones, which a
// project may have, has no drawing.
func newGauge(difficulty string) (ticks []gaugeTick) {
	levels := map[string]int{"beginner": 1, "easy": 1, "intermediate": 2, "medium": 2, "advanced": 3, "hard": 3, "expert": 4}
	level := levels[strings.ToLower(strings.TrimSpace(difficulty))]
	for i := range 4 {
		if level > 0 {
			ticks = append(ticks, gaugeTick{i < level, i * 6, 9 - 3*i, 3 + 3*i})
		}
	}
	return ticks
}

// serveManifest answers what a device needs to put the site beside its apps
// (www.w3.org/TR/appmanifest).
func (s *server) serveManifest(w http.ResponseWriter, r *http.Request) error {
	type icon struct {
		Src   string `json:"src"`
		Sizes string `json:"sizes"`
		Type  string `json:"type"`
	}
	drawing, err := staticPath("favicon.svg")
	if err != nil {
		return err
	}
	picture, err := staticPath("icon.png")
	if err != nil {
		return err
	}
	body, err := json.Marshal(struct {
		Name       string `json:"name"`
		ShortName  string `json:"short_name"`
		StartURL   string `json:"start_url"`
		Display    string `json:"display"`
		Background string `json:"background_color"`
		Theme      string `json:"theme_color"`
		Icons      []icon `json:"icons"`
	}{s.cfg.siteName, truncate(s.cfg.siteName, 12), "/", "minimal-ui", "#f1f3f0", "#10463d", []icon{{drawing, "any", "image/svg+xml"}, {picture, "512x512", "image/png"}}})
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/manifest+json")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_, _ = w.Write(body) // the client is gone if this fails
	return nil
}
