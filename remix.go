package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math"
	"net/http"
	"path"
	"strings"

	"github.com/jackc/pgx/v5"
)

// originOf is where a remix comes from, as it was called then.
type originOf struct {
	OriginID      *int    `json:"-"`
	OriginTitle   *string `json:"-"`
	OriginAuthor  *string `json:"-"`
	OriginURL     *string `json:"-"`
	OriginLicense *string `json:"-"`
}

// origin is what a remix says of the project that it comes from.
type origin struct {
	ID      *int    `json:"id"` // null where it is not here, or not published
	Title   string  `json:"title"`
	Author  string  `json:"author"`
	URL     *string `json:"url"`
	License *string `json:"license"`
}

// relatedProject is a remix of a project, or its origin.
type relatedProject struct {
	ID             int    `json:"id"`
	Title          string `json:"title"`
	AuthorUsername string `json:"author_username"`
	URL            string `json:"url" db:"-"` // of its page
}

// listRelated is the published remixes of a project and its origin.
const listRelated = `
	select p.id, p.title, u.username as author_username from project p join "user" u on u.id = p.author_id
	where p.status = 'published' and (p.origin_id = $1 or p.id = (select origin_id from project where id = $1)) order by p.id limit 100`

// relate sorts the related projects of a project into its origin and remixes.
func (s *server) relate(d *projectDetail, related []relatedProject) {
	if d.OriginTitle != nil {
		d.Origin = &origin{nil, *d.OriginTitle, deref(d.OriginAuthor), d.OriginURL, d.OriginLicense}
	}
	d.Remixes = []relatedProject{}
	for _, p := range related {
		p.URL = s.cfg.publicURL + project{ID: p.ID, Title: p.Title, AuthorUsername: p.AuthorUsername}.Path()
		if d.Origin != nil && p.ID == deref(d.OriginID) {
			d.Origin.ID, d.Origin.URL = &p.ID, &p.URL
		} else {
			d.Remixes = append(d.Remixes, p)
		}
	}
}

// Page is the address of the origin's page, or nothing when it has none any more.
func (o origin) Page(publicURL string) string {
	if o.ID == nil && strings.HasPrefix(deref(o.URL), publicURL+"/") {
		return ""
	}
	return deref(o.URL)
}

// mayRemix is the error for somebody whom the licence of a project does not
// allow to make another of it. One's own project one may always.
func (p project) mayRemix(v viewer) error {
	l, known := licenseOf(p.License)
	switch {
	case p.AuthorID == v.ID:
		return nil
	case p.License == nil:
		return fail(http.StatusForbidden, "This project has no licence, so that nobody but its author may build on it; ask them to choose one")
	case !known || !l.Derivatives:
		return fail(http.StatusForbidden, "The licence of this project (%s) does not allow to share changed versions of it", cmp.Or(l.Name, *p.License))
	}
	return nil
}

// fileCopy is a stored file and the name of its copy.
type fileCopy struct{ folder, from, to string }

// remixFiles is what a remix gets of the files of its origin: the copies by the
// ids of their rows, and the names of those that are missing in the storage.
type remixFiles struct {
	placed          []fileCopy
	fileIDs         []int
	files           []string // names of the copies
	imageIDs        []int
	images          []string
	sizeIDs, widths []int // the picture and the width of each of the
	sizes           []string
	bytes           int64 // as the quota counts them
	missing         []string
}

// copyFiles copies the stored files of a project. After an error nothing is
// left of them.
func (s *server) copyFiles(ctx context.Context, d projectDetail) (c remixFiles, err error) {
	defer func() {
		if err != nil {
			s.discardCopies(c)
		}
	}()
	for _, f := range d.Files {
		name := newName(path.Ext(f.Filename))
		size, err := s.copyFile(ctx, &c, fileCopy{fileFolder, f.Filename, name})
		if errors.Is(err, fs.ErrNotExist) {
			c.missing = append(c.missing, f.OriginalFilename)
			continue
		}
		if err != nil {
			return c, err
		}
		c.fileIDs, c.files, c.bytes = append(c.fileIDs, f.ID), append(c.files, name), c.bytes+size
	}
	for _, i := range d.Images {
		err := s.copyImage(ctx, &c, i)
		if errors.Is(err, fs.ErrNotExist) {
			c.missing = append(c.missing, i.OriginalFilename)
		} else if err != nil {
			return c, err
		}
	}
	return c, nil
}

// copyImage copies a picture with all its sizes.
func (s *server) copyImage(ctx context.Context, c *remixFiles, i projectImage) error {
	name := newName(path.Ext(i.Filename))
	size, err := s.copyFile(ctx, c, fileCopy{imageFolder, i.Filename, name})
	if err != nil {
		return err
	}
	var widths []int
	var sizes []string
	for _, z := range i.Sizes {
		to := name
		if z.Filename != i.Filename {
			to = stem(name) + strings.TrimPrefix(z.Filename, stem(i.Filename)) // the rest of the name stands for the bytes
			if _, err := s.copyFile(ctx, c, fileCopy{imageFolder, z.Filename, to}); err != nil {
				return err
			}
		}
		widths, sizes = append(widths, z.Width), append(sizes, to)
	}
	c.imageIDs, c.images, c.bytes = append(c.imageIDs, i.ID), append(c.images, name), c.bytes+size
	c.widths, c.sizes = append(c.widths, widths...), append(c.sizes, sizes...)
	for range sizes {
		c.sizeIDs = append(c.sizeIDs, i.ID)
	}
	return nil
}

func stem(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }

// copyFile copies one stored file and notes it.
func (s *server) copyFile(ctx context.Context, c *remixFiles, one fileCopy) (size int64, err error) {
	f, err := s.openStored(ctx, one.folder, one.from)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	up, err := s.storage.stage(one.folder, f, math.MaxInt64-1)
	if err != nil {
		return 0, err
	}
	defer up.drop()
	if err := s.place(ctx, up, one.folder, one.to); err != nil {
		return 0, err
	}
	c.placed = append(c.placed, one)
	return up.size, nil
}

func (s *server) discardCopies(c remixFiles) {
	for _, one := range c.placed {
		s.discard(one.folder, one.to)
	}
}

// remix makes a draft of v that is a copy of a project, and returns its id and
// the names of the files that it lacks because the storage does.
func (s *server) remix(r *http.Request, v viewer) (id int, missing []string, err error) {
	p, err := s.loadProject(r)
	if err != nil {
		return 0, nil, err
	}
	if err := errors.Join(p.visibleTo(v), p.mayRemix(v)); err != nil {
		return 0, nil, err
	}
	ctx, cancel := s.promptly(r)
	defer cancel()
	d, err := s.loadDetail(ctx, p)
	if err != nil {
		return 0, nil, err
	}
	// Whether there is room is seen before all is copied, and again at the end.
	if err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var bytes int64
		if err := tx.QueryRow(ctx, `
			select (select coalesce(sum(file_size), 0) from project_file where project_id = $1)
			     + (select coalesce(sum(m.size), 0) from project_image i join media_file m on m.folder = $2 and m.name = i.filename where i.project_id = $1)`,
			p.ID, imageFolder).Scan(&bytes); err != nil {
			return err
		}
		return s.roomForProject(ctx, tx, v, bytes)
	}); err != nil {
		return 0, nil, err
	}
	c, err := s.copyFiles(r.Context(), d)
	if err != nil {
		return 0, nil, err
	}
	// A client that leaves now must not cut the commit off, after which nobody
	// could tell whether the copies have rows.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(r.Context()), s.cfg.promptness)
	defer cancel()
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) (err error) {
		if err = s.roomForProject(ctx, tx, v, c.bytes); err == nil {
			id, err = s.insertRemix(ctx, tx, v, d, c)
		}
		return err
	})
	if err != nil {
		s.discardCopies(c)
	}
	return id, c.missing, err
}

func (s *server) roomForProject(ctx context.Context, tx pgx.Tx, v viewer, bytes int64) error {
	return errors.Join(s.mayStart(ctx, tx, v.ID), s.withinQuota(ctx, tx, v.ID, bytes))
}

// insertRemix makes the rows of a remix.
func (s *server) insertRemix(ctx context.Context, tx pgx.Tx, v viewer, d projectDetail, c remixFiles) (id int, err error) {
	var revision int
	if err := tx.QueryRow(ctx, `select revision from project where id = $1 for share`, d.ID).Scan(&revision); err != nil {
		return 0, orNotFound(err, "Project")
	}
	if revision != d.Revision {
		return 0, fail(http.StatusConflict, "The project was changed while it was copied; please try again")
	}
	if err := tx.QueryRow(ctx, `
		insert into project (title, description, author_id, background, code_link, difficulty_level, estimated_time, license,
			origin_id, origin_title, origin_author, origin_url, origin_license)
		select title, description, $2, background, code_link, difficulty_level, estimated_time, license, id, title, $3, $4, license from project where id = $1
		returning id`, d.ID, v.ID, d.AuthorUsername, s.cfg.publicURL+d.Path()).Scan(&id); err != nil {
		return 0, err
	}
	var batch pgx.Batch
	batch.Queue(`insert into project_tag (project_id, tag_name) select $2, tag_name from project_tag where project_id = $1 order by id`, d.ID, id)
	batch.Queue(`insert into project_step (project_id, step_number, title, content) select $2, step_number, title, content from project_step where project_id = $1`, d.ID, id)
	batch.Queue(`
		insert into bill_of_material (project_id, item_name, description, quantity, price_cents, item_order, link)
		select $2, item_name, description, quantity, price_cents, item_order, link from bill_of_material where project_id = $1 order by id`, d.ID, id)
	batch.Queue(`
		insert into project_component (project_id, component_id, quantity, notes)
		select $2, component_id, quantity, notes from project_component where project_id = $1 order by id`, d.ID, id)
	batch.Queue(`
		insert into project_link (project_id, url, title, link_type, description)
		select $2, url, title, link_type, description from project_link where project_id = $1 order by id`, d.ID, id)
	batch.Queue(`insert into tool_material (project_id, name, tool_type, notes) select $2, name, tool_type, notes from tool_material where project_id = $1 order by id`, d.ID, id)
	batch.Queue(`
		insert into project_file (project_id, filename, original_filename, file_size, file_type, description, uploaded_at)
		select $2, copy, original_filename, file_size, file_type, description, uploaded_at
		from project_file f join unnest($3::int[], $4::text[]) c (id, copy) on c.id = f.id where project_id = $1 order by f.id`, d.ID, id, c.fileIDs, c.files)
	batch.Queue(`
		insert into project_image (project_id, filename, original_filename, display_order, caption, width, height, colour, animated)
		select $2, copy, original_filename, display_order, caption, width, height, colour, animated
		from project_image i join unnest($3::int[], $4::text[]) c (id, copy) on c.id = i.id where project_id = $1 order by i.id`, d.ID, id, c.imageIDs, c.images)
	batch.Queue(`
		insert into image_size (image_id, width, height, whole, filename)
		select new.id, z.width, z.height, z.whole, size.copy
		from unnest($2::int[], $3::int[], $4::text[]) size (id, width, copy) join image_size z on z.image_id = size.id and z.width = size.width
		join unnest($5::int[], $6::text[]) c (id, copy) on c.id = size.id join project_image new on new.project_id = $1 and new.filename = c.copy`,
		id, c.sizeIDs, c.widths, c.sizes, c.imageIDs, c.images)
	batch.Queue(`
		insert into step_image (project_id, step_id, image_id, place)
		select $2, new_step.id, new.id, si.place
		from step_image si join project_step step on step.id = si.step_id join project_step new_step on new_step.project_id = $2 and new_step.step_number = step.step_number
		join unnest($3::int[], $4::text[]) c (id, copy) on c.id = si.image_id join project_image new on new.project_id = $2 and new.filename = c.copy
		where si.project_id = $1`, d.ID, id, c.imageIDs, c.images)
	batch.Queue(`
		update project set primary_image_id = coalesce(
			(select new.id from unnest($2::int[], $3::text[]) c (id, copy) join project_image new on new.project_id = $1 and new.filename = c.copy where c.id = $4),
			(select id from project_image where project_id = $1 order by display_order, id limit 1))
		where id = $1`, id, c.imageIDs, c.images, d.PrimaryImageID)
	return id, tx.SendBatch(ctx, &batch).Close()
}

// remixAnswer is the new draft.
type remixAnswer struct {
	projectDetail
	Missing []string `json:"missing,omitempty"` // files that the storage has lost
}

// postRemix answers with the new draft.
func (s *server) postRemix(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, missing, err := s.remix(r, v)
	if err != nil {
		return err
	}
	return s.answerCopy(w, r, id, missing)
}

// answerCopy answers with a draft that was made of another project.
func (s *server) answerCopy(w http.ResponseWriter, r *http.Request, id int, missing []string) error {
	ctx, cancel := s.promptly(r)
	defer cancel()
	d, err := s.reloadDetail(ctx, id)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", d.etag())
	return writeJSON(w, http.StatusCreated, remixAnswer{d, missing})
}

// sendRemix takes the button on a project's page, and leads to the editor.
func (s *server) sendRemix(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, missing, err := s.remix(r, v)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return seeOther(w, r, editorPath(id, "remix-missing", ""))
	}
	return seeOther(w, r, editorPath(id, "remix", ""))
}
