package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// project is a project's own row, with what every use of it needs.
type project struct {
	ID              int       `json:"id"`
	Title           string    `json:"title"`
	Description     string    `json:"description"`
	AuthorID        int       `json:"author_id"`
	AuthorUsername  string    `json:"author_username"`
	Status          string    `json:"status"` // draft or published
	Background      *string   `json:"background"`
	CodeLink        *string   `json:"code_link"`
	DifficultyLevel *string   `json:"difficulty_level"`
	EstimatedTime   *string   `json:"estimated_time"`
	CreatedAt       time.Time `json:"created_at"`
	UpdatedAt       time.Time `json:"updated_at"`
	ViewCount       int       `json:"view_count"`
	DownloadCount   int       `json:"download_count"`
	LikeCount       int       `json:"like_count"`
	CommentCount    int       `json:"comment_count"`
	License         *string   `json:"license"`  // SPDX identifier
	Revision        int       `json:"revision"` // changes with the project and its parts
	PrimaryImageID  *int      `json:"-"`
	originOf

	ifMatch string // the header of the request that wants to change it
}

func (p project) published() bool { return p.Status == "published" }

// Path is the address of the project's page. The id leads the last segment:
// what follows is for people, and changes with the title.
func (p project) Path() string {
	return fmt.Sprintf("/p/%s/%d-%s", segment(p.AuthorUsername), p.ID, segment(slug(p.Title)))
}

// slug is a title in lower case with hyphens between its words, at most 60
// characters; letters of every script stay.
func slug(title string) string {
	var words []string
	length := 0
	for word := range strings.FieldsFuncSeq(strings.ToLower(title), func(r rune) bool { return !isWordRune(r) }) {
		length += len([]rune(word)) + 1
		if length > 61 && len(words) > 0 {
			break
		}
		words = append(words, truncate(word, 60))
	}
	if len(words) == 0 {
		return "project"
	}
	return strings.Join(words, "-")
}

// projectDetail is a project with everything that belongs to it.
type projectDetail struct {
	project
	IsPublished     bool               `json:"is_published"`
	PrimaryImageURL *string            `json:"primary_image_url"`
	Tags            []tag              `json:"tags"`
	TagNames        []string           `json:"tag_names"`
	Steps           []step             `json:"steps"`
	BillOfMaterials []bomItem          `json:"bill_of_materials"`
	BOMTotalCents   int                `json:"bom_total_cents"` // of the lines that have a price
	BOMUnpriced     int                `json:"bom_unpriced"`    // the lines that have none
	Components      []projectComponent `json:"components"`
	Files           []projectFile      `json:"files"`
	Images          []projectImage     `json:"images"`
	Links           []link             `json:"links"`
	ToolsMaterials  []tool             `json:"tools_materials"`
	Origin          *origin            `json:"origin"`          // of a remix
	Remixes         []relatedProject   `json:"remixes"`         // the published ones
	Advice          []advice           `json:"advice,omitzero"` // what a draft lacks
}

type tag struct {
	ID      int    `json:"id"`
	TagName string `json:"tag_name"`
}

// projectSummary is a project in a list.
type projectSummary struct {
	ID              int       `json:"id"`
	Title           string    `json:"title"`
	Description     string    `json:"description"`
	AuthorID        int       `json:"author_id"`
	AuthorUsername  string    `json:"author_username"`
	Status          string    `json:"status"`
	CreatedAt       time.Time `json:"created_at"`
	UpdatedAt       time.Time `json:"updated_at"`
	PrimaryImageURL *string   `json:"primary_image_url"`
	ViewCount       int       `json:"view_count"`
	DownloadCount   int       `json:"download_count"`
	LikeCount       int       `json:"like_count"`
	CommentCount    int       `json:"comment_count"`
	Tags            []string  `json:"tags"`
	DifficultyLevel *string   `json:"difficulty_level"`
	EstimatedTime   *string   `json:"estimated_time"`

	PrimaryImage *shownPicture `json:"primary_image" db:"-"`
}

// Path is the address of the project's page.
func (p projectSummary) Path() string {
	return project{ID: p.ID, Title: p.Title, AuthorUsername: p.AuthorUsername}.Path()
}

// withProject is a handler of one project that exists and that v may see, or
// change.
type withProject func(w http.ResponseWriter, r *http.Request, v viewer, p project) error

// visible resolves the project of the path for a reader: a draft is its
// author's alone.
func (s *server) visible(next withProject) route {
	return s.open(func(w http.ResponseWriter, r *http.Request, v viewer) error {
		p, err := s.loadProject(r)
		if err != nil {
			return err
		}
		if err := p.shownTo(w, v); err != nil {
			return err
		}
		return next(w, r, v, p)
	}).as(forReaders)
}

// visibleTo is the error for somebody who may not see the project.
func (p project) visibleTo(v viewer) error {
	if !p.published() && p.AuthorID != v.ID {
		return fail(http.StatusForbidden, "Draft projects are only visible to their authors")
	}
	return nil
}

// shownTo is visibleTo for an answer to v, which is not to be kept for others
// where it is of a draft.
func (p project) shownTo(w http.ResponseWriter, v viewer) error {
	if err := p.visibleTo(v); err != nil {
		return err
	}
	if !p.published() {
		w.Header().Set("Cache-Control", "private, no-cache")
	}
	return nil
}

// author resolves the project of the path for a writer. verb says what only
// the author may do: "add steps to".
func (s *server) author(verb string, next withProject) route {
	return s.signedIn(func(w http.ResponseWriter, r *http.Request, v viewer) error {
		p, err := s.loadProject(r)
		if err != nil {
			return err
		}
		if p.AuthorID != v.ID {
			return fail(http.StatusForbidden, "Only its author can %s this project", verb)
		}
		p.ifMatch = r.Header.Get("If-Match")
		return next(w, r, v, p)
	}).as(forAuthor)
}

func (s *server) loadProject(r *http.Request) (project, error) {
	id, err := pathID(r, "project")
	if err != nil {
		return project{}, err
	}
	ctx, cancel := s.promptly(r)
	defer cancel()
	return s.loadProjectByID(ctx, id)
}

func (s *server) loadProjectByID(ctx context.Context, id int) (project, error) {
	p, err := one[project](ctx, s.db, selectProject, id)
	p.ViewCount += s.lateViews.waiting(id)
	return p, orNotFound(err, "Project")
}

const selectProjects = `
		select p.id, p.title, p.description, p.author_id, u.username as author_username, p.status, p.background, p.code_link,
		       p.difficulty_level, p.estimated_time, p.created_at, p.updated_at, p.view_count, p.download_count, p.like_count,
		       p.comment_count, p.license, p.revision, p.primary_image_id,
		       p.origin_id, p.origin_title, p.origin_author, p.origin_url, p.origin_license
		from project p join "user" u on u.id = p.author_id `

const selectProject = selectProjects + `where p.id = $1`

// loadDetail fetches everything that belongs to a project in one trip.
func (s *server) loadDetail(ctx context.Context, p project) (projectDetail, error) {
	return s.collectDetail(ctx, &pgx.Batch{}, p.ID, func() (project, error) { return p, nil })
}

// reloadDetail fetches a project and everything that belongs to it in one trip.
// The project comes first, so that its revision is none that its parts have not
// reached.
func (s *server) reloadDetail(ctx context.Context, id int) (projectDetail, error) {
	var found []project
	var batch pgx.Batch
	collect(&batch, &found, selectProject, id)
	return s.collectDetail(ctx, &batch, id, func() (project, error) {
		if len(found) == 0 {
			return project{}, fail(http.StatusNotFound, "Project not found")
		}
		found[0].ViewCount += s.lateViews.waiting(id)
		return found[0], nil
	})
}

// collectDetail fetches the parts of a project together with what is in the
// batch by then, which gives the project itself.
func (s *server) collectDetail(ctx context.Context, batch *pgx.Batch, id int, of func() (project, error)) (projectDetail, error) {
	d := projectDetail{TagNames: []string{}}
	collect(batch, &d.Tags, `select id, tag_name from project_tag where project_id = $1 order by id`, id)
	collect(batch, &d.Steps, listSteps, id)
	collect(batch, &d.BillOfMaterials, listBOM, id)
	collect(batch, &d.Components, listComponents, id)
	collect(batch, &d.Files, listFiles, id)
	collect(batch, &d.Images, listImages, id)
	collect(batch, &d.Links, listLinks, id)
	collect(batch, &d.ToolsMaterials, listTools, id)
	var related []relatedProject
	collect(batch, &related, listRelated, id)
	if err := s.db.SendBatch(ctx, batch).Close(); err != nil {
		return projectDetail{}, err
	}
	p, err := of()
	if err != nil {
		return projectDetail{}, err
	}
	d.project, d.IsPublished = p, p.published()
	for _, t := range d.Tags {
		d.TagNames = append(d.TagNames, t.TagName)
	}
	for i := range d.Images {
		d.Images[i].ImageURL = s.imageURL(p.ID, d.Images[i].ID)
		d.Images[i].addressed(d.Images[i].ImageURL)
	}
	s.relate(&d, related)
	for _, item := range d.BillOfMaterials {
		d.BOMTotalCents += deref(item.TotalCents)
		if item.TotalCents == nil {
			d.BOMUnpriced++
		}
	}
	for i := range d.Steps {
		d.Steps[i].Images = picked(d.Images, d.Steps[i].ImageIDs)
	}
	if !d.IsPublished {
		d.Advice = adviceFor(d)
	}
	if p.PrimaryImageID != nil {
		d.PrimaryImageURL = ptr(s.imageURL(p.ID, *p.PrimaryImageID))
	}
	return d, nil
}

// collect queues a query whose rows become the elements of list.
func collect[T any](batch *pgx.Batch, list *[]T, sql string, args ...any) {
	batch.Queue(sql, args...).Query(func(rows pgx.Rows) (err error) {
		*list, err = pgx.CollectRows(rows, pgx.RowToStructByName[T])
		return err
	})
}

func ptr[T any](value T) *T { return &value }

func (s *server) imageURL(projectID, imageID int) string {
	return fmt.Sprintf("%s/api/projects/%d/images/%d/file", s.cfg.publicURL, projectID, imageID)
}

// projectFields reads the fields of a project from a body; those left out stay
// as p has them, so that with the zero project the required ones are missing.
func (in *input) projectFields(p *project) {
	p.Title = in.updated("title", p.ID, p.Title, 1, 255)
	p.Description = in.updated("description", p.ID, p.Description, 1, maxContent)
	p.Background = in.optional("background", p.Background, maxContent)
	p.CodeLink = in.link("code_link", p.CodeLink, 500)
	p.DifficultyLevel = in.optional("difficulty_level", p.DifficultyLevel, 50)
	p.EstimatedTime = in.optional("estimated_time", p.EstimatedTime, 50)
	was := p.License
	p.License = in.license("license", p.License)
	if l, _ := licenseOf(p.OriginLicense); l.ShareAlike && deref(p.OriginAuthor) != p.AuthorUsername && deref(was) == l.ID && deref(p.License) != l.ID {
		in.add("license", "License must stay "+l.ID+", which asks that of every remix", "value_error")
	}
}

const (
	maxTags      = 20
	maxTagLength = 100
)

// tags reads the field "tags": lower-cased, trimmed, each once. nil means that
// it was left out.
func (in *input) tags() []string {
	list, ok := in.texts("tags")
	if !ok {
		return nil
	}
	tags := []string{}
	for _, name := range list {
		name = strings.ToLower(strings.TrimSpace(name))
		if strings.ContainsRune(name, 0) {
			in.add("tags", "Tags must not hold a NUL character", "value_error")
			break // one fault is enough: there could be a hundred thousand
		}
		if len([]rune(name)) > maxTagLength {
			in.add("tags", fmt.Sprintf("Each tag must have at most %d characters", maxTagLength), "string_too_long")
			break
		}
		if name != "" && !slices.Contains(tags, name) {
			tags = append(tags, name)
		}
		if len(tags) > maxTags {
			in.add("tags", fmt.Sprintf("A project can have at most %d tags", maxTags), "too_long")
			break
		}
	}
	return tags
}

// createProject makes a draft of v and returns its id.
func (s *server) createProject(ctx context.Context, in *input, v viewer) (id int, err error) {
	var p project
	in.projectFields(&p)
	tags := in.tags()
	if err := in.err(); err != nil {
		return 0, err
	}
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if err := s.mayStart(ctx, tx, v.ID); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
		with p as (
			insert into project (title, description, author_id, background, code_link, difficulty_level, estimated_time, license)
			values ($1, $2, $3, $4, $5, $6, $7, $8) returning id
		), t as (
			insert into project_tag (project_id, tag_name) select p.id, name from p, unnest($9::text[]) with ordinality as given (name, place) order by place
		)
		select id from p`,
			p.Title, p.Description, v.ID, p.Background, p.CodeLink, p.DifficultyLevel, p.EstimatedTime, p.License, tags).Scan(&id)
	})
	return id, err
}

// updateProject changes the fields that in holds, of the project as it is by
// then: two changes of different fields at once both count.
func (s *server) updateProject(ctx context.Context, in *input, p project) error {
	return s.onProject(ctx, p, func(tx pgx.Tx) error {
		p, err := one[project](ctx, tx, selectProject, p.ID)
		if err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select tag_name from project_tag where project_id = $1 order by id`, p.ID)
		if err != nil {
			return err
		}
		old, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if err := in.unseen(basics{p, old}); err != nil {
			return err
		}
		in.projectFields(&p)
		tags := in.tags()
		if err := in.err(); err != nil {
			return err
		}
		var batch pgx.Batch
		batch.Queue(`
			update project set title = $2, description = $3, background = $4, code_link = $5, difficulty_level = $6, estimated_time = $7, license = $8, updated_at = now()
			where id = $1`, p.ID, p.Title, p.Description, p.Background, p.CodeLink, p.DifficultyLevel, p.EstimatedTime, p.License)
		if tags != nil {
			batch.Queue(`delete from project_tag where project_id = $1 and tag_name <> all ($2)`, p.ID, tags)
			batch.Queue(`
				insert into project_tag (project_id, tag_name) select $1, name from unnest($2::text[]) with ordinality as given (name, place) order by place
				on conflict do nothing`, p.ID, tags)
		}
		return tx.SendBatch(ctx, &batch).Close()
	})
}

// answerDetail writes a project as it now stands in the database.
func (s *server) answerDetail(w http.ResponseWriter, r *http.Request, status, id int) error {
	d, err := s.reloadDetail(r.Context(), id)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", d.etag())
	return writeJSON(w, status, d)
}

// postProject answers with the new draft.
func (s *server) postProject(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	id, err := s.createProject(r.Context(), in, v)
	if err != nil {
		return err
	}
	return s.answerDetail(w, r, http.StatusCreated, id)
}

// putProject answers with the project as it is after the change.
func (s *server) putProject(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	if err := s.updateProject(r.Context(), in, p); err != nil {
		return err
	}
	return s.answerDetail(w, r, http.StatusOK, p.ID)
}

// showProject answers a project with all its parts, and counts the view.
func (s *server) showProject(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, err := pathID(r, "project")
	if err != nil {
		return err
	}
	d, err := s.reloadDetail(r.Context(), id)
	if err == nil {
		err = d.shownTo(w, v)
	}
	if err == nil {
		err = s.countView(r, v, &d.project)
	}
	if err != nil {
		return err
	}
	w.Header().Set("ETag", d.etag())
	info := infoOf(r)
	info.viewed, info.byAuthor = id, d.AuthorID == v.ID
	return s.answerShared(w, r, v, d, projectTarget(id).about("views", nil)...)
}

// countView counts a reader's view of a published project; its author is no
// reader, and HEAD reads nothing.
func (s *server) countView(r *http.Request, v viewer, p *project) error {
	if !p.published() || p.AuthorID == v.ID || r.Method != http.MethodGet {
		return nil
	}
	view := &projectView{id: p.ID, views: 1}
	err := s.projectViews.add(r.Context(), view)
	s.changed(r, projectTarget(p.ID).about("views", nil)...)
	if err == nil && view.count == 0 {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return orNotFound(err, "Project")
	}
	p.ViewCount = view.count + s.lateViews.waiting(p.ID)
	return nil
}

// dropProjects deletes projects with their likes and comments. It takes the
// rows first, so that nothing is added meanwhile; tidy removes the stored files
// once tx has been committed.
func dropProjects(ctx context.Context, tx pgx.Tx, ids ...int) error {
	// Another time than the rest: what is deleted below is what is there once
	// the lock is held.
	if _, err := tx.Exec(ctx, `select from project where id = any($1) order by id for update`, ids); err != nil {
		return err
	}
	var batch pgx.Batch
	// Deleting the parts touches the project's row, and each touch checks
	// again that its picture exists.
	batch.Queue(`update project set primary_image_id = null where id = any($1)`, ids)
	batch.Queue(`delete from project_file where project_id = any($1)`, ids)
	batch.Queue(`delete from project_image where project_id = any($1)`, ids)
	batch.Queue(`delete from "like" where entity_type = 'project' and entity_id = any($1)`, ids)
	batch.Queue(`delete from comment where entity_type = 'project' and entity_id = any($1)`, ids)
	batch.Queue(`delete from project where id = any($1)`, ids)
	return tx.SendBatch(ctx, &batch).Close()
}

// dropProject deletes a project and then its stored files.
func (s *server) dropProject(ctx context.Context, p project) error {
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if err := p.unchanged(tx.QueryRow(ctx, `select revision from project where id = $1 for update`, p.ID)); err != nil {
			return err
		}
		return dropProjects(ctx, tx, p.ID)
	})
	if err == nil {
		s.tidy(ctx)
	}
	return err
}

// deleteProject answers DELETE /api/projects/{id}.
func (s *server) deleteProject(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	if err := s.dropProject(r.Context(), p); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setStatus publishes a project or takes it back; of two at once, one wins.
func (s *server) setStatus(ctx context.Context, p project, status string) error {
	return s.onProject(ctx, p, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update project set status = $2, updated_at = now(), featured_at = case when $2 = 'published' then featured_at end,
			                   moderator_note = case when $2 = 'draft' then moderator_note end where id = $1 and status <> $2`, p.ID, status)
		if err == nil && tag.RowsAffected() == 0 {
			if status == "draft" {
				return fail(http.StatusBadRequest, "Project is already a draft")
			}
			return fail(http.StatusBadRequest, "Project is already published")
		}
		return err
	})
}

// statusChange is the project after it was published or taken back.
type statusChange struct {
	projectDetail
	Message string `json:"message"`
}

// switchStatus answers publish and unpublish.
func (s *server) switchStatus(status, done string) withProject {
	return func(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
		if err := s.setStatus(r.Context(), p, status); err != nil {
			return err
		}
		d, err := s.reloadDetail(r.Context(), p.ID)
		if err != nil {
			return err
		}
		w.Header().Set("ETag", d.etag())
		return writeJSON(w, http.StatusOK, statusChange{d, done})
	}
}
