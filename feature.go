package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// What admins do with other people's projects: they put them on the front page,
// and take them off the site with a word to the author.

// adminProject is a project as admins see it.
type adminProject struct {
	ID             int
	Title          string
	AuthorID       int
	AuthorUsername string
	Status         string
	CreatedAt      time.Time
	ViewCount      int
	LikeCount      int
	CommentCount   int
	FeaturedAt     *time.Time
	ModeratorNote  *string
	Total          int
}

// Path is the address of the project's page.
func (p adminProject) Path() string {
	return project{ID: p.ID, Title: p.Title, AuthorUsername: p.AuthorUsername}.Path()
}

// Published reports whether everybody can see it.
func (p adminProject) Published() bool { return p.Status == "published" }

const selectAdminProjects = `
	select p.id, p.title, p.author_id, u.username as author_username, p.status, p.created_at, p.view_count, p.like_count, p.comment_count, p.featured_at, p.moderator_note,
	       count(*) over () as total
	from project p join "user" u on u.id = p.author_id `

var projectOrders = map[string]string{
	"newest":   "p.id desc",
	"views":    "p.view_count desc, p.id desc",
	"likes":    "p.like_count desc, p.id desc",
	"title":    "lower(p.title), p.id",
	"featured": "p.featured_at desc nulls last, p.id desc",
}

func (s *server) projectList() adminList[adminProject] {
	return adminList[adminProject]{
		path: "/admin/projects", template: "admin_projects", title: "Projects", load: s.listAdminProjects,
		shows:   []choice{{"all", "All"}, {"published", "Published"}, {"draft", "Drafts"}, {"featured", "On the front page"}, {"noted", "Taken off by an admin"}},
		sorts:   []choice{{"newest", "Newest"}, {"views", "Most viewed"}, {"likes", "Most liked"}, {"title", "By title"}, {"featured", "Last put on the front page"}},
		columns: []string{"id", "title", "author", "status", "created_at", "views", "likes", "comments", "featured_at", "moderator_note"},
		cells: func(p adminProject) []string {
			return []string{strconv.Itoa(p.ID), p.Title, p.AuthorUsername, p.Status, csvTime(&p.CreatedAt), strconv.Itoa(p.ViewCount), strconv.Itoa(p.LikeCount),
				strconv.Itoa(p.CommentCount), csvTime(p.FeaturedAt), deref(p.ModeratorNote)}
		},
	}
}

// listAdminProjects searches titles and authors, or for an id.
func (s *server) listAdminProjects(ctx context.Context, q listQuery) (list []adminProject, total int, err error) {
	list, err = many[adminProject](ctx, s.db, selectAdminProjects+`
		where ($2 = '' or p.title ilike $1 or u.username ilike $1 or p.id::varchar = $2)
		  and case $3 when 'published' then p.status = 'published' when 'draft' then p.status = 'draft' when 'featured' then p.featured_at is not null
		      when 'noted' then p.moderator_note is not null else true end
		order by `+projectOrders[q.Sort]+` limit $4 offset $5`, likePattern(q.Search), q.Search, q.Show, q.limit, q.offset)
	if len(list) > 0 {
		total = list[0].Total
	}
	return list, total, err
}

// adminProjectPage is the data of admin_project.html.
type adminProjectPage struct {
	adminProject
	Form    formState
	History []logRow
	List    string // the query of the list that led here
}

// Back is the address of that list.
func (p adminProjectPage) Back() string {
	if p.List == "" {
		return "/admin/projects"
	}
	return "/admin/projects?" + p.List
}

// Do is where the form of an act is sent to.
func (p adminProjectPage) Do(act string) string {
	path := fmt.Sprintf("/admin/projects/%d/%s", p.ID, act)
	if p.List != "" {
		path += "?list=" + url.QueryEscape(p.List)
	}
	return path
}

// showAdminProject answers a project with what admins can do about it. What a
// draft says is its author's alone.
func (s *server) showAdminProject(w http.ResponseWriter, r *http.Request, v viewer) error {
	return s.renderAdminProject(w, r, v, http.StatusOK, formState{ID: "unpublish"})
}

func (s *server) renderAdminProject(w http.ResponseWriter, r *http.Request, v viewer, status int, form formState) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	data := adminProjectPage{Form: form, List: listBehind(r)}
	if data.adminProject, err = one[adminProject](r.Context(), s.db, selectAdminProjects+`where p.id = $1`, id); err != nil {
		return orNotFound(err, "Project")
	}
	if data.History, err = many[logRow](r.Context(), s.db, selectHistory+`where l.field_changed = $1 order by l.id desc limit 100`, projectField(id), true); err != nil {
		return err
	}
	return s.render(w, r, status, "admin_project", v, data.Title, data)
}

// projectField names a project in the audit log.
func projectField(id int) string { return fmt.Sprintf("project %d", id) }

// sendProjectAct features a project, stops that, or takes it off the site.
func (s *server) sendProjectAct(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	said, err := s.doToProject(r, v, in, r.PathValue("act"))
	if err == nil {
		back := "/admin/projects/" + r.PathValue("id")
		if list := listBehind(r); list != "" {
			back += "?list=" + url.QueryEscape(list)
		}
		return s.done(w, r, back, said)
	}
	form, status, err := refused(w, "unpublish", in, err)
	if err != nil {
		return err
	}
	return s.renderAdminProject(w, r, v, status, form)
}

// projectAct makes an endpoint of an act.
func (s *server) projectAct(act string) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		in := &input{where: "body"}
		if r.ContentLength != 0 {
			var err error
			if in, err = readInput(w, r); err != nil {
				return err
			}
		}
		said, err := s.doToProject(r, v, in, act)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, message{strings.TrimSuffix(said, ".")})
	}
}

// doToProject does an act of v to the project with the id in the path, and says
// what was done.
func (s *server) doToProject(r *http.Request, v viewer, in *input, act string) (said string, err error) {
	id, err := pathID(r, "id")
	if err != nil {
		return "", err
	}
	err = pgx.BeginFunc(r.Context(), s.db, func(tx pgx.Tx) (err error) {
		said, err = s.actOnProject(r, tx, v, id, act, in)
		return err
	})
	return said, err
}

// actOnProject does an act of v to a project and says what was done.
func (s *server) actOnProject(r *http.Request, tx pgx.Tx, v viewer, id int, act string, in *input) (string, error) {
	ctx := r.Context()
	// The author's row comes before the project's everywhere.
	p, err := one[struct {
		Title, Status, Username, Email string
		AuthorID                       int
	}](ctx, tx, `select title, p.status, username, email, author_id from project p join "user" u on u.id = author_id where p.id = $1 for no key update of p`, id)
	if err != nil {
		return "", orNotFound(err, "Project")
	}
	log := audit{field: projectField(id), by: v.ID, client: s.clientOf(r)}
	var change, said string
	args := []any{id}
	switch act {
	case "feature":
		if p.Status != "published" {
			return "", fail(http.StatusBadRequest, "Only a published project can be on the front page")
		}
		change, said, log.action = `featured_at = $2`, "The project is on the front page.", "project_featured"
		args = append(args, s.now().UTC())
	case "unfeature":
		change, said, log.action = `featured_at = null`, "The project is no longer on the front page.", "project_unfeatured"
	case "unpublish":
		note := in.text("note", 1, 2000)
		if err := in.err(); err != nil {
			return "", err
		}
		if p.Status != "published" {
			return "", fail(http.StatusBadRequest, "The project is a draft already")
		}
		change, said = `status = 'draft', featured_at = null, moderator_note = $2, updated_at = now()`, "The project is a draft again, and "+p.Username+" is told why."
		args = append(args, note)
		log.action, log.is = "project_unpublished", note
		err := s.sendMail(ctx, tx, p.Email, "unpublished", map[string]any{"Username": p.Username, "Title": p.Title, "Note": note, "Link": fmt.Sprintf("%s/projects/%d/edit", s.cfg.publicURL, id)})
		if err != nil {
			return "", err
		}
	default:
		return "", fail(http.StatusNotFound, "Not found")
	}
	if _, err := tx.Exec(ctx, `update project set `+change+` where id = $1`, args...); err != nil {
		return "", err
	}
	return said, log.write(ctx, tx, p.AuthorID)
}
