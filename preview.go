package main

import (
	"bytes"
	"html/template"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxPreview is how many bytes of a text its page shows.
const maxPreview = 64 << 10

// filePage is the data of file.html.
type filePage struct {
	Project  project
	File     projectFile
	Text     string // empty where the file is none
	Markdown template.HTML
	Lines    int
	Cut      bool // the file goes on
}

// Readable reports whether the file's name says that it is a text.
func (f projectFile) Readable() bool {
	return !slices.Contains([]string{".pdf", ".stl", ".obj", ".gcode"}, strings.ToLower(path.Ext(f.OriginalFilename)))
}

// showFilePage answers a page with the text of a project's file.
func (s *server) showFilePage(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	f, err := one[projectFile](r.Context(), s.db, `select `+fileColumns+` from project_file where project_id = $1 and id = $2`, p.ID, id)
	if err != nil {
		return orNotFound(err, "File")
	}
	data := filePage{Project: p, File: f}
	if f.Readable() {
		stored, err := s.openStored(r.Context(), fileFolder, f.Filename)
		if err != nil {
			return err
		}
		defer stored.Close()
		text, err := io.ReadAll(io.LimitReader(stored, maxPreview+1))
		if err != nil {
			return err
		}
		if len(text) > maxPreview {
			data.Cut = true
			text = text[:bytes.LastIndexByte(text[:maxPreview], '\n')+1]
		}
		text = bytes.TrimPrefix(text, []byte("\ufeff"))
		if utf8.Valid(text) && !bytes.ContainsRune(text, 0) {
			data.Text = string(text)
			data.Lines = strings.Count(strings.TrimSuffix(data.Text, "\n"), "\n") + 1
		}
		if data.Text != "" && strings.EqualFold(path.Ext(f.OriginalFilename), ".md") {
			data.Markdown = renderMarkdownFrom(data.Text, 2)
		}
	}
	return s.render(w, r, http.StatusOK, "file", v, f.OriginalFilename, data)
}
