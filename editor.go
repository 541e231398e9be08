package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// showNewProject answers the form for a new project.
func (s *server) showNewProject(w http.ResponseWriter, r *http.Request, v viewer) error {
	return s.render(w, r, http.StatusOK, "new", v, "New project", formState{ID: "new"})
}

// sendNewProject makes a draft and leads to its editor.
func (s *server) sendNewProject(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	id, err := s.createProject(r.Context(), in, v)
	if err == nil {
		return seeOther(w, r, editorPath(id, "new"))
	}
	sent, status, err := refused(w, "new", in, err)
	if err != nil {
		return err
	}
	return s.render(w, r, status, "new", v, "New project", sent)
}

// editorPath is a project's editor at the section that was just saved.
func editorPath(id int, section string) string {
	anchor, _, _ := strings.Cut(section, "-")
	return fmt.Sprintf("/projects/%d/edit?saved=%s#%s", id, url.QueryEscape(section), url.QueryEscape(anchor))
}

// editorPage is the data of editor.html.
type editorPage struct {
	projectDetail
	Sections []section
	Note     *string     // of an admin who has taken the project off the site
	Saved    string      // the section that was just saved
	Advice   []advice    // before publishing
	Search   string      // for a component
	Found    []component // by that search
	sent     formState   // the form that was refused, if one was
}

// section is a part of the editor, with how many things it holds; Count is -1
// where counting makes no sense.
type section struct {
	Name, Title string
	Count       int
}

// Form is the form of a row of a section; with no row, the one that adds.
func (e editorPage) Form(section string, id int, row any) formState {
	return e.sent.or(formID(section, id), formValues(row))
}

// Basics is the form of the project's own fields.
func (e editorPage) Basics() formState {
	return e.sent.or("basics", formValues(basics{e.project, e.TagNames}))
}

// Cover is the id of the picture that stands for the project, or 0.
func (e editorPage) Cover() int { return deref(e.PrimaryImageID) }

// BOMForm is the form that takes the bill of materials as CSV.
func (e editorPage) BOMForm() bomPage {
	return bomPage{project: e.project, Form: formState{ID: "bom-import"}}
}

// Deleting is the form that deletes the project.
func (e editorPage) Deleting() formState { return e.sent.or("delete", nil) }

func formID(section string, id int) string {
	if id == 0 {
		return section + "-new"
	}
	return fmt.Sprintf("%s-%d", section, id)
}

// showEditor answers the page on which the author changes a project.
func (s *server) showEditor(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	return s.renderEditor(w, r, v, p, http.StatusOK, formState{})
}

func (s *server) renderEditor(w http.ResponseWriter, r *http.Request, v viewer, p project, status int, sent formState) error {
	d, err := s.loadDetail(r.Context(), p)
	if err != nil {
		return err
	}
	data := editorPage{projectDetail: d, Saved: r.URL.Query().Get("saved"), Advice: adviceFor(d), sent: sent}
	if err := s.db.QueryRow(r.Context(), `select moderator_note from project where id = $1`, p.ID).Scan(&data.Note); err != nil {
		return orNotFound(err, "Project")
	}
	data.Sections = []section{
		{"basics", "Basics", -1}, {"images", "Pictures", len(d.Images)}, {"steps", "Steps", len(d.Steps)},
		{"bom", "Parts list", len(d.BillOfMaterials)}, {"components", "Components", len(d.Components)},
		{"tools", "Tools & materials", len(d.ToolsMaterials)}, {"links", "Links", len(d.Links)}, {"files", "Files", len(d.Files)},
		{"publish", "Publish", -1},
	}
	if data.Search = truncate(strings.TrimSpace(r.URL.Query().Get("component")), 255); data.Search != "" {
		if data.Found, err = s.findComponents(r.Context(), data.Search, 10); err != nil {
			return err
		}
	}
	return s.render(w, r, status, "editor", v, "Edit "+p.Title, data)
}

// sendBasics takes the project's own fields.
func (s *server) sendBasics(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err = s.updateProject(r.Context(), in, p); err == nil {
		return seeOther(w, r, editorPath(p.ID, "basics"))
	}
	sent, status, err := refused(w, "basics", in, err)
	if err != nil {
		return err
	}
	return s.renderEditor(w, r, v, p, status, sent)
}

// partKind is what the editor can do with one kind of part. Files and pictures
// are uploaded; the others are created from a form.
type partKind struct {
	what    string // names one that is not found
	upload  func(w http.ResponseWriter, r *http.Request, p project, typed *input) (saved string, err error)
	create  func(ctx context.Context, in *input, p project) error
	update  func(ctx context.Context, in *input, p project, id int) error
	actions map[string]partAction // by the value of the button
}

// partAction does something to a part that needs no more than to be named.
type partAction func(ctx context.Context, p project, id int) error

// partKinds is the editor's table: a section a line, with what is done by what.
func (s *server) partKinds() map[string]partKind {
	remove := func(what, sql string) partAction {
		return func(ctx context.Context, p project, id int) error { return s.deletePart(ctx, what, sql, p, id) }
	}
	drop := func(what, folder, sql string) partAction {
		return func(ctx context.Context, p project, id int) error { return s.dropUpload(ctx, what, folder, sql, p, id) }
	}
	return map[string]partKind{
		"images": {what: "Picture", upload: s.uploadedImage, update: s.describe("caption", 500, captionImage),
			actions: map[string]partAction{"delete": drop("Picture", imageFolder, deleteImage), "primary": s.setPrimary}},
		"steps": {what: "Step", create: creates(s, "steps", createStep), update: updates(s, updateStep),
			actions: map[string]partAction{"delete": remove("Step", deleteStep), "up": s.moveStep(-1), "down": s.moveStep(+1)}},
		"bom": {what: "Part", create: creates(s, "materials", createBOM), update: updates(s, updateBOM),
			actions: map[string]partAction{"delete": remove("Part", deleteBOM)}},
		"components": {what: "Component", create: s.addNamedComponent, update: s.updateComponent,
			actions: map[string]partAction{"delete": remove("Component", deleteComponent)}},
		"tools": {what: "Tool", create: creates(s, "tools", createTool), update: updates(s, updateTool),
			actions: map[string]partAction{"delete": remove("Tool", deleteTool)}},
		"links": {what: "Link", create: creates(s, "links", createLink), update: updates(s, updateLink),
			actions: map[string]partAction{"delete": remove("Link", deleteLink)}},
		"files": {what: "File", upload: s.uploadedFile, update: s.describe("description", 5000, describeFile),
			actions: map[string]partAction{"delete": drop("File", fileFolder, deleteFile)}},
	}
}

// creates and updates make table entries of functions that also
// return the row, which a page reads again anyway.
func creates[T any](s *server, kind string, create createPart[T]) func(context.Context, *input, project) error {
	return func(ctx context.Context, in *input, p project) error {
		return s.onProject(ctx, p, func(tx pgx.Tx) error {
			_, err := create(ctx, tx, in, p)
			if err == nil {
				err = s.withinLimit(ctx, tx, p.ID, kind, 0)
			}
			return err
		})
	}
}

func updates[T any](s *server, update updatePart[T]) func(context.Context, *input, project, int) error {
	return func(ctx context.Context, in *input, p project, id int) error {
		return s.onProject(ctx, p, func(tx pgx.Tx) error {
			_, err := update(ctx, tx, in, p, id)
			return err
		})
	}
}

// uploadedFile and uploadedImage return what the editor says of the section.
func (s *server) uploadedFile(w http.ResponseWriter, r *http.Request, p project, typed *input) (string, error) {
	_, err := s.addFile(unhurried(w, r), r, p, typed)
	return "files", err
}

func (s *server) uploadedImage(w http.ResponseWriter, r *http.Request, p project, typed *input) (string, error) {
	image, err := s.addImage(unhurried(w, r), r, p, typed)
	if image.LocationRemoved {
		return "images-located", err
	}
	return "images", err
}

// sendPart takes every form about a part of the project: without an id it adds
// one, with an id it changes it or does what the button "action" says.
func (s *server) sendPart(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	name := r.PathValue("part")
	kind, known := s.partKinds()[name]
	id := 0
	if r.PathValue("id") != "" {
		var err error
		if id, err = pathID(r, "id"); err != nil {
			return err
		}
		known = known && id != 0
	}
	if !known {
		return fail(http.StatusNotFound, "There is no such part of a project")
	}
	in, saved, err := s.changePart(w, r, p, kind, id)
	ctx, cancel := s.promptly(r) // an upload took what it took
	defer cancel()
	r = r.WithContext(ctx)
	if err == nil {
		return seeOther(w, r, editorPath(p.ID, cmp.Or(saved, name)))
	}
	sent, status, err := refused(w, formID(name, id), in, orNotFound(err, kind.what))
	if err != nil {
		return err
	}
	return s.renderEditor(w, r, v, p, status, sent)
}

func (s *server) changePart(w http.ResponseWriter, r *http.Request, p project, kind partKind, id int) (in *input, saved string, err error) {
	if id == 0 && kind.upload != nil {
		in = formInput()
		saved, err = kind.upload(w, r, p, in)
		return in, saved, err
	}
	in, err = readForm(w, r)
	if err != nil {
		return &input{}, "", err
	}
	ctx, cancel := s.promptly(r)
	defer cancel()
	r = r.WithContext(ctx)
	in.price() // which only the parts list has
	action, _ := in.string("action")
	do, known := kind.actions[action]
	switch {
	case id == 0:
		return in, "", kind.create(r.Context(), in, p)
	case action == "":
		return in, "", kind.update(r.Context(), in, p, id)
	case !known:
		return in, "", fail(http.StatusBadRequest, "There is no such button here")
	}
	return in, "", do(r.Context(), p, id)
}

const (
	captionImage = `update project_image set caption = $3 where project_id = $1 and id = $2`
	describeFile = `update project_file set description = $3 where project_id = $1 and id = $2`
)

// describe updates the one text that an uploaded file has.
func (s *server) describe(field string, max int, sql string) func(context.Context, *input, project, int) error {
	return func(ctx context.Context, in *input, p project, id int) error {
		text := in.optional(field, nil, max)
		if err := in.err(); err != nil {
			return err
		}
		return s.onProject(ctx, p, func(tx pgx.Tx) error { return changesOne(tx.Exec(ctx, sql, p.ID, id, text)) })
	}
}

// changesOne makes pgx.ErrNoRows of a statement that changed nothing.
func changesOne(tag pgconn.CommandTag, err error) error {
	if err == nil && tag.RowsAffected() == 0 {
		return pgx.ErrNoRows
	}
	return err
}

// addNamedComponent adds the component that has the field "name" to a project;
// a name that nobody has used yet makes a new one.
func (s *server) addNamedComponent(ctx context.Context, in *input, p project) error {
	name := in.text("name", 1, 255)
	in.integer("quantity", ptr(1), 1, maxQuantity)
	in.optional("notes", nil, 5000)
	if err := in.err(); err != nil {
		return err
	}
	var id int
	err := s.db.QueryRow(ctx, `select id from component where lower(name) = lower($1) order by name = $1 desc, id limit 1`, name).Scan(&id)
	if err == pgx.ErrNoRows {
		var c component
		c, err = s.createComponent(ctx, in)
		id = c.ID
	}
	if err != nil {
		return err
	}
	in.setValues(url.Values{"component_id": {fmt.Sprint(id)}})
	return creates(s, "components", addComponent)(ctx, in, p)
}

// updateComponent changes how a project uses a component.
func (s *server) updateComponent(ctx context.Context, in *input, p project, id int) error {
	quantity, notes := in.integer("quantity", ptr(1), 1, maxQuantity), in.optional("notes", nil, 5000)
	if err := in.err(); err != nil {
		return err
	}
	return s.onProject(ctx, p, func(tx pgx.Tx) error {
		return changesOne(tx.Exec(ctx, `update project_component set quantity = $3, notes = $4 where project_id = $1 and id = $2`, p.ID, id, quantity, notes))
	})
}

// sendStatus publishes a project or takes it back, and shows it as readers see
// it or in the editor. One that is so already stays so.
func (s *server) sendStatus(status string) withProject {
	return func(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
		if err := s.setStatus(r.Context(), p, status); err != nil && publicError(err).status != http.StatusBadRequest {
			return err
		}
		if status == "published" {
			return seeOther(w, r, p.Path())
		}
		return seeOther(w, r, editorPath(p.ID, "publish"))
	}
}

// sendDelete deletes a project when its author has ticked that this is meant.
func (s *server) sendDelete(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	if !in.flag("confirm") {
		in.add("confirm", "Tick the box to say that you mean it", "missing")
		sent, status, _ := refused(w, "delete", in, in.err())
		return s.renderEditor(w, r, v, p, status, sent)
	}
	if err := s.dropProject(r.Context(), p); err != nil {
		return err
	}
	return s.done(w, r, "/account", "The project is deleted.")
}
