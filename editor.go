package main

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
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
		return seeOther(w, r, editorPath(id, "new", ""))
	}
	sent, status, err := refused(w, "new", in, err)
	if err != nil {
		return err
	}
	return s.render(w, r, status, "new", v, "New project", sent)
}

// editorPath is a project's editor at what was just saved: a section, or a part
// as formID names it. done is what was done to it.
func editorPath(id int, saved, done string) string {
	query := url.Values{"saved": {saved}}
	if done != "" {
		query.Set("done", done)
	}
	if done == "kept" {
		query.Set("edit", saved)
	}
	return fmt.Sprintf("/projects/%d/edit?%s#%s", id, query.Encode(), saved)
}

// editorPage is the data of editor.html.
type editorPage struct {
	projectDetail
	Viewer      viewer
	Sections    []section
	Saved, Done string      // what was just saved, and what was done to it
	Editing     string      // the part whose form is open
	Note        *string     // of an admin who has taken the project off the site
	Advice      []advice    // before publishing
	Search      string      // for a component
	Found       []component // by that search
	Room        int64       // bytes that the author may still store; -1 for any number
	sent        formState   // the form that was refused, if one was
	only        string      // the section or the row that is asked for, or all
}

// sectionHeader is a request's header that asks for one section of the editor,
// or for the row of one part as formID names it, with what depends on all of
// them; scripts put it in place of the one they have.
const sectionHeader = "Chatter-Section"

// Shows reports whether a section is asked for.
func (e editorPage) Shows(section string) bool {
	asked, _, _ := strings.Cut(e.only, "-")
	return e.only == "" || asked == section || section == "publish"
}

// Wants reports whether the row of a part is asked for.
func (e editorPage) Wants(id string) bool {
	return !strings.Contains(e.only, "-") || e.only == id
}

// Action is the address of the editor's forms.
func (e editorPage) Action() string { return fmt.Sprintf("/projects/%d/edit", e.ID) }

// Said is what was just done to a section or a part, or nothing.
func (e editorPage) Said(id string) string {
	if id != e.Saved {
		return ""
	}
	switch e.Done {
	case "added":
		return "Added."
	case "located":
		return "Added. The picture said where it was taken; that was removed from what others see."
	case "moved":
		return "Moved."
	case "cover":
		return "This is the cover now."
	case "deleted":
		return "Deleted."
	}
	return "Saved."
}

// Adding reports whether the form that adds to a section is open: it was
// refused, nothing is there yet, or something was just added and more may
// follow.
func (e editorPage) Adding(section string, count int) bool {
	return count == 0 || e.sent.ID == section+"-new" || e.Done == "added" && strings.HasPrefix(e.Saved, section+"-")
}

// rowTools are the buttons of a row of a section.
type rowTools struct {
	ID, Name, Address, Edit   string
	Moves, First, Last        bool
	Open, Across, HasOwnForms bool
}

// Tools are the buttons of the row with the id, which is the one at a place in
// a list; of is how many the list holds where they have an order, or 0.
func (e editorPage) Tools(section string, id, at, of int, name string) rowTools {
	t := rowTools{ID: formID(section, id), Name: name, Address: fmt.Sprintf("%s/%s/%d", e.Action(), section, id),
		Moves: of > 1, First: at == 0, Last: at == of-1, Across: section == "images", HasOwnForms: section == "images"}
	t.Open = e.Opens(t.ID)
	t.Edit = e.Action() + "?edit=" + t.ID + "#" + t.ID
	if t.Open {
		t.Edit = e.Action() + "#" + t.ID
	}
	return t
}

// Opens reports whether the form of a part is open. Of hundreds only those are
// in the page that somebody asks for.
func (e editorPage) Opens(id string) bool { return e.Editing == id || e.sent.ID == id }

// Most is how many bytes an upload to a section may have.
func (e editorPage) Most(section string) int64 {
	if section == "images" {
		return imageUploads.limit
	}
	return fileUploads.limit
}

// pickable is a picture that can be put into a step.
type pickable struct {
	projectImage
	Field  string // the id of its check box
	Chosen bool
}

// Pictures are those of the project as the form of a step offers them.
func (e editorPage) Pictures(f formState) (list []pickable) {
	chosen := strings.Fields(f.Values["image_ids"])
	for _, image := range e.Images {
		list = append(list, pickable{image, fmt.Sprintf("%s-image-%d", f.ID, image.ID), slices.Contains(chosen, fmt.Sprint(image.ID))})
	}
	return list
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
	query := r.URL.Query()
	data := editorPage{projectDetail: d, Viewer: v, Saved: query.Get("saved"), Done: query.Get("done"), Editing: query.Get("edit"), Advice: adviceFor(d), Room: -1,
		sent: sent, only: r.Header.Get(sectionHeader)}
	if err := s.db.QueryRow(r.Context(), `select moderator_note from project where id = $1`, p.ID).Scan(&data.Note); err != nil {
		return orNotFound(err, "Project")
	}
	if s.cfg.uploadQuota > 0 {
		used, err := storedBy(r.Context(), s.db, v.ID)
		if err != nil {
			return err
		}
		data.Room = max(0, s.cfg.uploadQuota-used)
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
	w.Header().Add("Vary", sectionHeader)
	return s.render(w, r, status, "editor", v, "Edit "+p.Title, data)
}

// sendBasics takes the project's own fields.
func (s *server) sendBasics(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err = s.updateProject(r.Context(), in, p); err == nil {
		return seeOther(w, r, editorPath(p.ID, "basics", ""))
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
	upload  func(w http.ResponseWriter, r *http.Request, p project, typed *input) (id int, done string, err error)
	create  func(ctx context.Context, in *input, p project) (id int, err error)
	update  func(ctx context.Context, in *input, p project, id int) error
	actions map[string]partAction // by the value of the button
}

// partAction does something to a part that needs no more than to be named.
type partAction func(ctx context.Context, p project, id int) error

// actionDone is what a button has done, where that is not "saved".
var actionDone = map[string]string{"delete": "deleted", "up": "moved", "down": "moved", "primary": "cover"}

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
			actions: map[string]partAction{"delete": drop("Picture", imageFolder, deleteImage), "primary": s.setPrimary, "up": s.move(imageOrder, -1), "down": s.move(imageOrder, +1)}},
		"steps": {what: "Step", create: creates(s, "steps", createStep), update: updates(s, updateStep),
			actions: map[string]partAction{"delete": remove("Step", deleteStep), "up": s.move(stepOrder, -1), "down": s.move(stepOrder, +1)}},
		"bom": {what: "Part", create: creates(s, "materials", appendBOM), update: updates(s, updateBOM),
			actions: map[string]partAction{"delete": remove("Part", deleteBOM), "up": s.move(bomOrder, -1), "down": s.move(bomOrder, +1)}},
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

// created is a part that a form can make.
type created interface{ key() int }

func (st step) key() int             { return st.ID }
func (b bomItem) key() int           { return b.ID }
func (pc projectComponent) key() int { return pc.ID }
func (t tool) key() int              { return t.ID }
func (l link) key() int              { return l.ID }

// creates and updates make table entries of functions that return the row,
// which a page reads again anyway.
func creates[T created](s *server, kind string, create createPart[T]) func(context.Context, *input, project) (int, error) {
	return func(ctx context.Context, in *input, p project) (id int, err error) {
		err = s.onProject(ctx, p, func(tx pgx.Tx) error {
			part, err := create(ctx, tx, in, p)
			if err == nil {
				err = s.withinLimit(ctx, tx, p.ID, kind, 0)
			}
			id = part.key()
			return err
		})
		return id, err
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

// appendBOM is createBOM behind the lines that are there, whose numbers may
// have been given by hand.
func appendBOM(ctx context.Context, tx pgx.Tx, in *input, p project) (bomItem, error) {
	var last int
	if err := tx.QueryRow(ctx, `select coalesce(max(item_order), 0) from bill_of_material where project_id = $1`, p.ID).Scan(&last); err != nil {
		return bomItem{}, err
	}
	in.setValues(url.Values{"item_order": {fmt.Sprint(last)}}) // the later one of the same number comes later
	return createBOM(ctx, tx, in, p)
}

// uploadedFile and uploadedImage return what the editor says of it.
func (s *server) uploadedFile(w http.ResponseWriter, r *http.Request, p project, typed *input) (int, string, error) {
	file, err := s.addFile(unhurried(w, r), r, p, typed)
	return file.ID, "added", err
}

func (s *server) uploadedImage(w http.ResponseWriter, r *http.Request, p project, typed *input) (int, string, error) {
	image, err := s.addImage(unhurried(w, r), r, p, typed)
	if image.LocationRemoved {
		return image.ID, "located", err
	}
	return image.ID, "added", err
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
	in, made, done, err := s.changePart(w, r, p, kind, id)
	ctx, cancel := s.promptly(r) // an upload took what it took
	defer cancel()
	r = r.WithContext(ctx)
	if err == nil && done == "deleted" {
		return seeOther(w, r, editorPath(p.ID, name, done))
	}
	if err == nil {
		return seeOther(w, r, editorPath(p.ID, formID(name, made), done))
	}
	sent, status, err := refused(w, formID(name, id), in, orNotFound(err, kind.what))
	if err != nil {
		return err
	}
	return s.renderEditor(w, r, v, p, status, sent)
}

// changePart does what a form about a part asks for, and returns which part it
// was and what was done to it.
func (s *server) changePart(w http.ResponseWriter, r *http.Request, p project, kind partKind, id int) (in *input, part int, done string, err error) {
	if id == 0 && kind.upload != nil {
		in = formInput()
		part, done, err = kind.upload(w, r, p, in)
		return in, part, done, err
	}
	in, err = readForm(w, r)
	if err != nil {
		return &input{}, 0, "", err
	}
	ctx, cancel := s.promptly(r)
	defer cancel()
	in.price() // which only the parts list has
	action, _ := in.string("action")
	do, known := kind.actions[action]
	switch {
	case id == 0:
		part, err = kind.create(ctx, in, p)
		return in, part, "added", err
	case action == "":
		return in, id, "", kind.update(ctx, in, p, id)
	case action == "keep": // saved while somebody goes on typing
		return in, id, "kept", kind.update(ctx, in, p, id)
	case !known:
		return in, 0, "", fail(http.StatusBadRequest, "There is no such button here")
	}
	return in, id, actionDone[action], do(ctx, p, id)
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
func (s *server) addNamedComponent(ctx context.Context, in *input, p project) (int, error) {
	name := in.text("name", 1, 255)
	in.usage()
	if err := in.err(); err != nil {
		return 0, err
	}
	var id int
	err := s.db.QueryRow(ctx, `select id from component where lower(name) = lower($1) order by name = $1 desc, id limit 1`, name).Scan(&id)
	if err == pgx.ErrNoRows {
		var c component
		c, err = s.createComponent(ctx, in)
		id = c.ID
	}
	if err != nil {
		return 0, err
	}
	in.setValues(url.Values{"component_id": {fmt.Sprint(id)}})
	return creates(s, "components", addComponent)(ctx, in, p)
}

// updateComponent changes how a project uses a component.
func (s *server) updateComponent(ctx context.Context, in *input, p project, id int) error {
	quantity, notes := in.usage()
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
		return seeOther(w, r, editorPath(p.ID, "publish", ""))
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

// markdownAnswer is a text as pages show it.
type markdownAnswer struct {
	HTML template.HTML `json:"html"`
}

// postMarkdown answers a text as pages show it, for somebody who is writing it.
func (s *server) postMarkdown(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	text := in.optional("text", nil, maxContent)
	if err := in.err(); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, markdownAnswer{s.cfg.markdown(deref(text))})
}
