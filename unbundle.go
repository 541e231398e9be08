package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// Taking the ZIP of a project back, from this server or another one, as
// docs/BUNDLE.md describes it.

const (
	maxBundleFile  = 16 << 20 // bytes of project.json
	maxBundle      = 4 << 30  // bytes of the ZIP, where people may store any number
	maxBundleParts = 100_000  // of each kind, where a project may have any number
)

// bundleUploads is what is taken as a bundle: no more than one person may store,
// and something for what is not stored.
func (s *server) bundleUploads() uploadKind {
	kind := uploadKind{fields: []string{"bundle"}, folder: fileFolder, limit: maxBundle, types: map[string]string{".zip": "application/zip"},
		check: func(string, io.Reader) error { return nil }}
	if s.cfg.uploadQuota > 0 {
		kind.limit = min(maxBundle, s.cfg.uploadQuota+4*maxBundleFile)
	}
	return kind
}

// unbundled is a project as it was read from a bundle, before anything of it is
// stored.
type unbundled struct {
	project
	tags       []string
	steps      []bundleStep
	bom        []bomLine
	components []bundleComponent
	tools      []tool
	links      []link
	files      []unbundledFile
	images     []unbundledFile
	missing    []string // files that the bundle says it lacks
	bytes      int64    // as the quota counts them
}

// unbundledFile is a file or a picture of a bundle.
type unbundledFile struct {
	bundleImage
	mediaType string
	entry     *zip.File
	name      string      // in the storage
	made      madePicture // without the bytes
	sizes     []string
}

// bundleReader reads project.json, and notes what is wrong with it.
type bundleReader struct {
	s      *server
	zip    strangeZip
	dir    string // of project.json
	faults []fault
	used   map[string]bool // the entries that are named
}

// eachField calls do with the fields of a JSON object.
func eachField(raw []byte, do func(name string, value json.RawMessage) error) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if t, err := decoder.Token(); err != nil || t != json.Delim('{') {
		return errors.New("must be an object")
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		if err := do(name.(string), value); err != nil {
			return err
		}
	}
	return nil
}

// readObject is the input of a JSON object; fields that are not known are not
// kept, however many there are.
func readObject(raw []byte, known ...string) (*input, error) {
	in := formInput()
	err := eachField(raw, func(name string, value json.RawMessage) error {
		if slices.Contains(known, name) {
			in.fields[name] = value
		}
		return nil
	})
	return in, err
}

// each calls do with the objects of a list, which may be left out. What do finds
// wrong is told with its number.
func (b *bundleReader) each(top *input, list, what string, most int, known []string, do func(in *input)) {
	raw := top.fields[list]
	if raw == nil || string(raw) == "null" {
		return
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if t, err := decoder.Token(); err != nil || t != json.Delim('[') {
		top.add(list, human(list)+" must be a list", "list_type")
		return
	}
	for n := 1; decoder.More(); n++ {
		if n > most {
			top.add(list, fmt.Sprintf("A project can have at most %d %s", most, strings.ReplaceAll(list, "_", " ")), "too_long")
			return
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return // the whole is valid
		}
		in, err := readObject(value, known...)
		if err != nil {
			in.add("", what+" must be an object", "model_type")
		} else {
			do(in)
		}
		for _, f := range in.faults {
			loc := append([]string{"body", list, fmt.Sprint(n - 1)}, f.Loc[1:]...)
			b.faults = append(b.faults, fault{loc, fmt.Sprintf("%s %d: %s", what, n, f.Msg), f.Type})
		}
		if len(b.faults) > 20 { // enough to see what is wrong
			return
		}
	}
}

// readBundle reads and checks everything that a bundle says; its files are
// looked into, and not yet stored.
func (s *server) readBundle(r io.ReaderAt, size int64) (unbundled, error) {
	most := maxBundleParts
	if s.cfg.maxUploads > 0 {
		most = max(1000, 2*s.cfg.maxUploads+100)
	}
	z, err := readStrangeZip(r, size, most)
	if err != nil {
		return unbundled{}, err
	}
	dir, found := z.find(bundleFile)
	if !found {
		return unbundled{}, fail(http.StatusBadRequest, "The ZIP has no project.json, which says what the project is: only ZIPs that Chatter gives as a project's download can be imported, and older ones have none")
	}
	b := &bundleReader{s: s, zip: z, dir: dir, used: map[string]bool{}}
	raw, err := b.read(dir+bundleFile, maxBundleFile)
	if err != nil {
		return unbundled{}, err
	}
	u, err := b.project(raw)
	if err != nil {
		return unbundled{}, err
	}
	for name := range z.entries {
		inside, below := strings.CutPrefix(name, dir)
		if below && (strings.HasPrefix(inside, "files/") || strings.HasPrefix(inside, "images/")) && !b.used[inside] && !isClutter(inside) {
			return unbundled{}, fail(http.StatusBadRequest, "The ZIP holds %s, which project.json does not name", shortName(name))
		}
	}
	for _, f := range u.files {
		if err := b.inspect(f, fileUploads); err != nil {
			return unbundled{}, err
		}
	}
	for _, f := range u.images {
		if err := b.inspect(f, imageUploads); err != nil {
			return unbundled{}, err
		}
	}
	return u, nil
}

// isClutter reports whether a file is one that systems leave in folders.
func isClutter(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, "._") || base == ".DS_Store" || base == "Thumbs.db" || base == "desktop.ini"
}

func (b *bundleReader) read(name string, limit int64) ([]byte, error) {
	r, err := openEntry(b.zip.entries[name], limit)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// project reads project.json.
func (b *bundleReader) project(raw []byte) (u unbundled, err error) {
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return u, fail(http.StatusBadRequest, "project.json in the ZIP is not valid JSON")
	}
	top, err := readObject(raw, "format", "version", "title", "description", "background", "code_link", "difficulty_level", "estimated_time", "license", "tags", "origin",
		"steps", "bill_of_materials", "components", "tools_materials", "links", "files", "images")
	if err != nil {
		return u, fail(http.StatusBadRequest, "project.json in the ZIP must be a JSON object")
	}
	var version int
	if string(top.fields["format"]) != `"`+bundleFormat+`"` || json.Unmarshal(top.fields["version"], &version) != nil || version < 1 {
		return u, fail(http.StatusBadRequest, "project.json in the ZIP must say that its format is %q, with a version", bundleFormat)
	}
	if version > bundleVersion {
		return u, fail(http.StatusBadRequest, "The ZIP has version %d of its format, and this server reads version %d; it comes from a newer Chatter", version, bundleVersion)
	}
	if len(top.fields["tags"]) > 64<<10 {
		top.add("tags", fmt.Sprintf("A project can have at most %d tags", maxTags), "too_long")
	} else {
		u.tags = top.tags()
	}
	top.projectFields(&u.project)
	b.origin(top, &u)
	b.parts(top, &u)
	b.uploads(top, &u)
	if faults := append(top.faults, b.faults...); len(faults) > 0 {
		for i := range faults {
			faults[i].Msg = "project.json: " + faults[i].Msg
		}
		return u, invalid(faults[:min(len(faults), 20)]...)
	}
	return u, nil
}

// origin reads what a remix comes from.
func (b *bundleReader) origin(top *input, u *unbundled) {
	raw := top.fields["origin"]
	if raw == nil || string(raw) == "null" {
		return
	}
	in, err := readObject(raw, "title", "author", "url", "license")
	if err != nil {
		in.add("", "Origin must be an object", "model_type")
	} else {
		u.OriginTitle, u.OriginAuthor = ptr(in.text("title", 1, 255)), ptr(in.text("author", 1, 255))
		u.OriginURL, u.OriginLicense = in.link("url", nil, 2000), in.optional("license", nil, 100)
	}
	for _, f := range in.faults {
		b.faults = append(b.faults, fault{append([]string{"body", "origin"}, f.Loc[1:]...), "Origin: " + f.Msg, f.Type})
	}
}

func (b *bundleReader) most(limit int) int {
	if limit == 0 {
		return maxBundleParts
	}
	return limit
}

// parts reads what has no files.
func (b *bundleReader) parts(top *input, u *unbundled) {
	most := b.most(b.s.cfg.maxParts)
	numbers, names := map[int]bool{}, map[string]bool{}
	b.each(top, "steps", "Step", most, []string{"step_number", "title", "content", "images"}, func(in *input) {
		st := bundleStep{StepNumber: in.integer("step_number", nil, 1, math.MaxInt32), Title: in.text("title", 1, 255), Content: in.text("content", 0, maxContent)}
		if numbers[st.StepNumber] {
			in.add("step_number", fmt.Sprintf("Step number %d is there twice", st.StepNumber), "value_error")
		}
		numbers[st.StepNumber] = true
		if st.Images, _ = in.texts("images"); len(st.Images) > b.most(b.s.cfg.maxUploads) {
			in.add("images", "It has more pictures than the project", "too_long")
			st.Images = nil
		}
		u.steps = append(u.steps, st)
	})
	b.each(top, "bill_of_materials", "Part", most, []string{"item_name", "description", "quantity", "price_cents", "item_order", "link"}, func(in *input) {
		line := bomLine{bomItem: bomItem{Quantity: 1}}
		in.bomFields(&line.bomItem)
		u.bom = append(u.bom, line)
	})
	b.each(top, "components", "Component", most, []string{"name", "description", "datasheet_url", "quantity", "notes"}, func(in *input) {
		c := in.componentFields()
		quantity, notes := in.usage()
		if names[c.Name] {
			in.add("name", fmt.Sprintf("The component %s is there twice", c.Name), "value_error")
		}
		names[c.Name] = true
		u.components = append(u.components, bundleComponent{c.Name, c.Description, c.DatasheetURL, quantity, notes})
	})
	b.each(top, "tools_materials", "Tool", most, []string{"name", "tool_type", "notes"}, func(in *input) {
		var t tool
		in.toolFields(&t)
		u.tools = append(u.tools, t)
	})
	b.each(top, "links", "Link", most, []string{"url", "title", "link_type", "description"}, func(in *input) {
		var l link
		in.linkFields(&l)
		u.links = append(u.links, l)
	})
}

// uploads reads what is said about files and pictures.
func (b *bundleReader) uploads(top *input, u *unbundled) {
	most := b.most(b.s.cfg.maxUploads)
	pictures, lost := map[string]bool{}, map[string]bool{}
	primary := false
	b.each(top, "files", "File", most, []string{"path", "original_filename", "description", "missing"}, func(in *input) {
		if f, there := b.upload(in, "files/", fileUploads); there {
			f.Caption = in.optional("description", nil, 5000)
			u.files, u.bytes = append(u.files, f), u.bytes+int64(f.entry.UncompressedSize64)
		} else if f.Missing {
			u.missing = append(u.missing, f.OriginalFilename)
		}
	})
	b.each(top, "images", "Image", most, []string{"path", "original_filename", "caption", "display_order", "primary", "missing"}, func(in *input) {
		f, there := b.upload(in, "images/", imageUploads)
		f.Caption, f.DisplayOrder = in.optional("caption", nil, 500), in.integer("display_order", ptr(len(u.images)), 0, math.MaxInt32)
		if f.Primary = in.flag("primary"); f.Primary && primary {
			in.add("primary", "There is another primary one", "value_error")
		}
		primary = primary || f.Primary
		if there {
			u.images, u.bytes = append(u.images, f), u.bytes+int64(f.entry.UncompressedSize64)
			pictures[f.Path] = true
		} else if f.Missing {
			u.missing = append(u.missing, f.OriginalFilename)
			lost[f.Path] = true
		}
	})
	for i, st := range u.steps {
		var there []string
		for _, image := range st.Images {
			switch {
			case pictures[image] && !slices.Contains(there, image):
				there = append(there, image)
			case !pictures[image] && !lost[image] && len(b.faults) == 0:
				top.add("steps", fmt.Sprintf("Step %d: %s is none of the images", i+1, shortName(image)), "value_error")
			}
		}
		u.steps[i].Images = there
	}
}

// upload reads what files and pictures have in common; there says that it is to
// be stored.
func (b *bundleReader) upload(in *input, dir string, kind uploadKind) (f unbundledFile, there bool) {
	f.Path = in.text("path", 1, 1000)
	f.OriginalFilename = cleanName(path.Base(f.Path))
	if name := in.optional("original_filename", nil, 1000); name != nil {
		f.OriginalFilename = cleanName(*name)
	}
	if f.Missing = in.flag("missing"); f.Missing || len(in.faults) > 0 {
		return f, false
	}
	extension := strings.ToLower(path.Ext(f.OriginalFilename))
	f.entry, f.mediaType = b.zip.entries[b.dir+f.Path], kind.types[extension]
	switch {
	case path.Dir(f.Path)+"/" != dir:
		in.add("path", fmt.Sprintf("Path must be in the folder %s", dir), "value_error")
	case f.entry == nil:
		in.add("path", fmt.Sprintf("%s is not in the ZIP", shortName(f.Path)), "value_error")
	case b.used[f.Path]:
		in.add("path", fmt.Sprintf("%s is named twice", shortName(f.Path)), "value_error")
	case f.mediaType == "" || kind.types[strings.ToLower(path.Ext(f.Path))] != f.mediaType:
		in.add("path", fmt.Sprintf("%s is of a kind that is not taken", shortName(f.Path)), "value_error")
	case f.entry.UncompressedSize64 == 0:
		in.add("path", fmt.Sprintf("%s is empty", shortName(f.Path)), "value_error")
	case f.entry.UncompressedSize64 > uint64(kind.limit):
		in.add("path", fmt.Sprintf("%s is too large: at most %s are taken", shortName(f.Path), formatSize(kind.limit)), "value_error")
	default:
		b.used[f.Path] = true
		f.name = newName(extension)
		return f, true
	}
	return f, false
}

// inspect reads a file to its end, and looks whether it is what its name says.
func (b *bundleReader) inspect(f unbundledFile, kind uploadKind) error {
	r, err := openEntry(f.entry, kind.limit)
	if err != nil {
		return err
	}
	defer r.Close()
	extension := path.Ext(f.name)
	if kind.check != nil {
		err = kind.check(extension, r)
	} else {
		var data []byte
		if data, err = io.ReadAll(r); err == nil {
			_, err = checkedForm(data, extension)
		}
	}
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	return inFile(f.Path, err)
}

// inFile says which file of many an error is about.
func inFile(name string, err error) error {
	var known *httpError
	if errors.As(err, &known) && known.status == http.StatusBadRequest && !strings.Contains(known.detail, name) {
		return fail(http.StatusBadRequest, "%s: %s", shortName(name), known.detail)
	}
	return err
}

// keep stores the files of a bundle. After an error discard removes them.
func (s *server) keepFiles(ctx context.Context, u *unbundled) error {
	for i := range u.files {
		f := &u.files[i]
		if err := s.placeEntry(ctx, fileFolder, f, fileUploads.limit); err != nil {
			return err
		}
	}
	for i := range u.images {
		f := &u.images[i]
		err := s.decode(ctx, func() error {
			r, err := openEntry(f.entry, imageUploads.limit)
			if err != nil {
				return err
			}
			defer r.Close()
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			if f.made, err = checkedPicture(data, path.Ext(f.name)); err != nil {
				return inFile(f.Path, err)
			}
			f.sizes, err = s.placeSizes(ctx, f.name, data, f.made)
			for i := range f.made.sizes {
				f.made.sizes[i].data = nil
			}
			return err
		})
		if err == nil {
			err = s.placeEntry(ctx, imageFolder, f, imageUploads.limit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// placeEntry stores a file of a bundle as it is.
func (s *server) placeEntry(ctx context.Context, folder string, f *unbundledFile, limit int64) error {
	r, err := openEntry(f.entry, limit)
	if err != nil {
		return err
	}
	defer r.Close()
	up, err := s.storage.stage(folder, r, limit)
	if err != nil {
		return err
	}
	defer up.drop()
	return s.place(ctx, up, folder, f.name)
}

// discardFiles removes what keepFiles has stored.
func (s *server) discardFiles(u unbundled) {
	for _, f := range u.files {
		s.discard(fileFolder, f.name)
	}
	for _, f := range u.images {
		s.discard(imageFolder, append(f.sizes, f.name)...)
	}
}

// importBundle makes a draft of v of an uploaded ZIP, and returns its id and the
// names of the files that the ZIP says are missing. After an error nothing is
// left.
func (s *server) importBundle(w http.ResponseWriter, r *http.Request, v viewer) (id int, missing []string, err error) {
	up, err := s.receive(w, r, s.bundleUploads(), formInput())
	if err != nil {
		return 0, nil, err
	}
	defer up.finish()
	u, err := s.readBundle(up, up.size)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := s.promptly(r)
	defer cancel()
	// Whether there is room is seen before all is stored, and again at the end.
	if err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error { return s.roomForProject(ctx, tx, v, u.bytes) }); err != nil {
		return 0, nil, err
	}
	if err := s.relink(ctx, v, &u); err != nil {
		return 0, nil, err
	}
	err = s.keepFiles(r.Context(), &u)
	if err == nil {
		// A client that leaves now must not cut the commit off, after which nobody
		// could tell whether the files have rows.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.cfg.promptness)
		defer cancel()
		err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) (err error) {
			if err = s.roomForProject(ctx, tx, v, u.bytes); err == nil {
				id, err = insertBundle(ctx, tx, v, u)
			}
			return err
		})
	}
	if err != nil {
		s.discardFiles(u)
	}
	return id, u.missing, err
}

// relink ties a remix to its origin again where that is here, and might be
// remixed by v.
func (s *server) relink(ctx context.Context, v viewer, u *unbundled) error {
	rest, here := strings.CutPrefix(deref(u.OriginURL), s.cfg.publicURL+"/p/")
	_, last, _ := strings.Cut(rest, "/")
	var id int
	if _, err := fmt.Sscanf(last, "%d-", &id); !here || err != nil || id < 1 || id > math.MaxInt32 {
		return nil
	}
	p, err := s.loadProjectByID(ctx, id)
	if publicError(err).status == http.StatusNotFound {
		return nil
	}
	if err == nil && p.published() && p.mayRemix(v) == nil {
		u.OriginID = &id
	}
	return err
}

// insertBundle makes the rows of a project whose files are stored.
func insertBundle(ctx context.Context, tx pgx.Tx, v viewer, u unbundled) (id int, err error) {
	if err := tx.QueryRow(ctx, `
		insert into project (title, description, author_id, background, code_link, difficulty_level, estimated_time, license,
			origin_id, origin_title, origin_author, origin_url, origin_license)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) returning id`,
		u.Title, u.Description, v.ID, u.Background, u.CodeLink, u.DifficultyLevel, u.EstimatedTime, u.License,
		u.OriginID, u.OriginTitle, u.OriginAuthor, u.OriginURL, u.OriginLicense).Scan(&id); err != nil {
		return 0, err
	}
	if _, err := insertBOM(ctx, tx, id, u.bom); err != nil {
		return 0, err
	}
	var batch pgx.Batch
	batch.Queue(`insert into project_tag (project_id, tag_name) select $1, name from unnest($2::text[]) with ordinality as t (name, place) order by place`, id, u.tags)
	// Components belong to everybody: one that is here already stays as it is.
	// Sorted, so that two imports at once do not wait for each other.
	sorted := slices.SortedFunc(slices.Values(u.components), func(a, b bundleComponent) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range sorted {
		batch.Queue(`insert into component (name, description, datasheet_url) values ($1, $2, $3) on conflict do nothing`, c.Name, c.Description, c.DatasheetURL)
	}
	for _, c := range u.components {
		batch.Queue(`insert into project_component (project_id, component_id, quantity, notes) select $1, id, $3, $4 from component where name = $2`, id, c.Name, c.Quantity, c.Notes)
	}
	for _, t := range u.tools {
		batch.Queue(`insert into tool_material (project_id, name, tool_type, notes) values ($1, $2, $3, $4)`, id, t.Name, t.ToolType, t.Notes)
	}
	for _, l := range u.links {
		batch.Queue(`insert into project_link (project_id, url, title, link_type, description) values ($1, $2, $3, $4, $5)`, id, l.URL, l.Title, l.LinkType, l.Description)
	}
	for _, f := range slices.Backward(u.files) { // the newest is listed first
		batch.Queue(`insert into project_file (project_id, filename, original_filename, file_size, file_type, description) values ($1, $2, $3, $4, $5, $6)`,
			id, f.name, f.OriginalFilename, f.entry.UncompressedSize64, f.mediaType, f.Caption)
	}
	ids, primary := make([]int, len(u.images)), 0
	byPath := map[string]*int{}
	for i, f := range u.images {
		byPath[f.Path] = &ids[i]
		if f.Primary {
			primary = i
		}
		batch.Queue(`insert into project_image (project_id, filename, original_filename, display_order, caption) values ($1, $2, $3, $4, $5) returning id`,
			id, f.name, f.OriginalFilename, f.DisplayOrder, f.Caption).QueryRow(func(row pgx.Row) error { return row.Scan(&ids[i]) })
	}
	steps := make([]int, len(u.steps))
	for i, st := range u.steps {
		batch.Queue(`insert into project_step (project_id, step_number, title, content) values ($1, $2, $3, $4) returning id`, id, st.StepNumber, st.Title, st.Content).
			QueryRow(func(row pgx.Row) error { return row.Scan(&steps[i]) })
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return 0, err
	}
	// What needs the ids of those.
	batch = pgx.Batch{}
	for i, f := range u.images {
		if len(f.sizes) > 0 {
			queueSizes(&batch, ids[i], f.made, f.sizes)
		}
	}
	for i, st := range u.steps {
		for place, image := range st.Images {
			batch.Queue(`insert into step_image (project_id, step_id, image_id, place) values ($1, $2, $3, $4)`, id, steps[i], *byPath[image], place+1)
		}
	}
	if len(ids) > 0 {
		batch.Queue(`update project set primary_image_id = $2 where id = $1`, id, ids[primary])
	}
	return id, tx.SendBatch(ctx, &batch).Close()
}

// postBundle answers with the new draft.
func (s *server) postBundle(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, missing, err := s.importBundle(unhurried(w, r), r, v)
	if err != nil {
		return err
	}
	return s.answerCopy(w, r, id, missing)
}

// sendBundle takes the form with a bundle, and leads to the editor.
func (s *server) sendBundle(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, missing, err := s.importBundle(unhurried(w, r), r, v)
	if err != nil {
		sent, status, err := refused(w, "bundle", formInput(), err)
		if err != nil {
			return err
		}
		return s.render(w, r, status, "new", v, "New project", sent)
	}
	text := "The project is here, as a draft that only you can see."
	if len(missing) > 0 {
		text += " Its ZIP did not have: " + strings.Join(missing, ", ") + "."
	}
	return s.done(w, r, fmt.Sprintf("/projects/%d/edit", id), text)
}
