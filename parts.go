package main

import (
	"context"
	"math"
	"net/http"
	"slices"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The parts of a project: steps, bill of materials, components, links, tools.
// Each kind has its row, its list and its create and update; statements name
// the project beside the part, so that a part of another project is not found.

func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) }

// listOf answers a project's parts of one kind.
func listOf[T any](s *server, sql string) withProject {
	return func(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
		rows, err := s.db.Query(r.Context(), sql, p.ID)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByName[T])
		if err != nil {
			return err
		}
		w.Header().Set("ETag", p.etag())
		return writeJSON(w, http.StatusOK, list)
	}
}

// createPart is what a kind of part does to make one; updatePart, to change
// the one with the id.
type (
	createPart[T any] func(ctx context.Context, tx pgx.Tx, in *input, p project) (T, error)
	updatePart[T any] func(ctx context.Context, tx pgx.Tx, in *input, p project, id int) (T, error)
)

// added answers POST with the new part; kind is what parts like it are called.
func added[T any](s *server, kind string, create createPart[T]) withProject {
	return func(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
		in, err := readInput(w, r)
		if err != nil {
			return err
		}
		var part T
		if err := s.onProject(r.Context(), p, func(tx pgx.Tx) (err error) {
			if part, err = create(r.Context(), tx, in, p); err == nil {
				err = s.withinLimit(r.Context(), tx, p.ID, kind, 0)
			}
			return err
		}); err != nil {
			return err
		}
		return writeJSON(w, http.StatusCreated, part)
	}
}

// changed answers PUT with the part as it is then; what names the kind when
// there is no such part.
func changed[T any](s *server, what string, update updatePart[T]) withProject {
	return func(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
		id, err := pathID(r, "id")
		if err != nil {
			return err
		}
		in, err := readInput(w, r)
		if err != nil {
			return err
		}
		var part T
		if err := s.onProject(r.Context(), p, func(tx pgx.Tx) (err error) {
			part, err = update(r.Context(), tx, in, p, id)
			return orNotFound(err, what)
		}); err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, part)
	}
}

// deleted answers DELETE by a statement that takes the project's and the
// part's id.
func (s *server) deleted(what, sql string) withProject {
	return func(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
		id, err := pathID(r, "id")
		if err != nil {
			return err
		}
		if err := s.deletePart(r.Context(), what, sql, p, id); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func (s *server) deletePart(ctx context.Context, what, sql string, p project, id int) error {
	return s.onProject(ctx, p, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sql, p.ID, id)
		if err == nil && tag.RowsAffected() == 0 {
			return fail(http.StatusNotFound, "%s not found", what)
		}
		return err
	})
}

// querier is the pool, or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// batcher runs several statements in one trip, as one transaction.
type batcher interface {
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// one runs a statement that returns one row.
func one[T any](ctx context.Context, db querier, sql string, args ...any) (T, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		var none T
		return none, err
	}
	return pgx.CollectOneRow(rows, pgx.RowToStructByName[T])
}

// many runs a statement that returns any number of rows.
func many[T any](ctx context.Context, db querier, sql string, args ...any) ([]T, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[T])
}

// step is one step of the build instructions; its content is Markdown.
type step struct {
	ID         int       `json:"id"`
	StepNumber int       `json:"step_number"`
	StepOrder  int       `json:"step_order"` // the same
	Title      string    `json:"title"`
	Content    string    `json:"content"`
	CreatedAt  time.Time `json:"created_at"`
	ImageIDs   []int     `json:"image_ids"`

	Images []projectImage `json:"images,omitempty" db:"-"` // the same, in the project's detail
}

const (
	stepColumns = `id, step_number, step_number as step_order, title, content, created_at,
		array(select image_id from step_image si where si.step_id = project_step.id order by place) as image_ids`
	oneStep    = `select ` + stepColumns + ` from project_step where project_id = $1 and id = $2`
	listSteps  = `select ` + stepColumns + ` from project_step where project_id = $1 order by step_number`
	deleteStep = `delete from project_step where project_id = $1 and id = $2`
	maxContent = 100_000
)

// createStep adds a step, at the number given or at the end.
func createStep(ctx context.Context, tx pgx.Tx, in *input, p project) (step, error) {
	number := in.optionalInteger("step_number", nil, 1, 100_000)
	title, content := in.text("title", 1, 255), in.text("content", 1, maxContent)
	images := in.ids("image_ids")
	if err := in.err(); err != nil {
		return step{}, err
	}
	made, err := one[step](ctx, tx, `
		insert into project_step (project_id, step_number, title, content)
		values ($1, coalesce($2, (select coalesce(max(step_number), 0) + 1 from project_step where project_id = $1)), $3, $4)
		returning `+stepColumns, p.ID, number, title, content)
	if _, taken := violates(err); taken {
		return step{}, fail(http.StatusBadRequest, "Step number %d is taken; leave the number out to add the step at the end", *number)
	}
	if err != nil || len(images) == 0 {
		return made, err
	}
	return illustrated(ctx, tx, p, made.ID, images)
}

func updateStep(ctx context.Context, tx pgx.Tx, in *input, p project, id int) (step, error) {
	old, err := one[step](ctx, tx, oneStep, p.ID, id)
	if err != nil {
		return step{}, err
	}
	if err := in.unseen(old); err != nil {
		return step{}, err
	}
	title, content := in.updated("title", id, old.Title, 1, 255), in.updated("content", id, old.Content, 1, maxContent)
	images := in.ids("image_ids")
	if err := in.err(); err != nil {
		return step{}, err
	}
	changed, err := one[step](ctx, tx, `update project_step set title = $3, content = $4 where project_id = $1 and id = $2 returning `+stepColumns,
		p.ID, id, title, content)
	if err != nil || images == nil {
		return changed, err
	}
	return illustrated(ctx, tx, p, id, images)
}

// illustrated gives a step the pictures with the ids, in their order, in place
// of those it has.
func illustrated(ctx context.Context, tx pgx.Tx, p project, stepID int, images []int) (step, error) {
	if _, err := tx.Exec(ctx, `delete from step_image where project_id = $1 and step_id = $2`, p.ID, stepID); err != nil {
		return step{}, err
	}
	added, err := tx.Exec(ctx, `
		insert into step_image (project_id, step_id, image_id, place)
		select $1, $2, i.id, place from unnest($3::int[]) with ordinality as given (id, place) join project_image i on i.id = given.id and i.project_id = $1`, p.ID, stepID, images)
	if err != nil {
		return step{}, err
	}
	if int(added.RowsAffected()) < len(images) {
		return step{}, invalid(fault{[]string{"body", "image_ids"}, "Image ids must be those of pictures of this project", "value_error"})
	}
	return one[step](ctx, tx, oneStep, p.ID, stepID)
}

// picked are the images with the ids, in the order of the ids.
func picked(images []projectImage, ids []int) (list []projectImage) {
	for _, id := range ids {
		if i := slices.IndexFunc(images, func(image projectImage) bool { return image.ID == id }); i >= 0 {
			list = append(list, images[i])
		}
	}
	return list
}

// bomItem is a line of the bill of materials; the price is of one piece, in
// hundredths of the site's currency.
type bomItem struct {
	ID          int     `json:"id"`
	ItemName    string  `json:"item_name"`
	Description *string `json:"description"`
	Quantity    int     `json:"quantity"`
	PriceCents  *int    `json:"price_cents"`
	ItemOrder   int     `json:"item_order"`
	Link        *string `json:"link"`
	TotalCents  *int    `json:"total_cents"` // of all pieces
}

const (
	bomColumns = `id, item_name, description, quantity, price_cents, item_order, link, price_cents::bigint * quantity as total_cents`
	listBOM    = `select ` + bomColumns + ` from bill_of_material where project_id = $1 order by item_order, id`
	deleteBOM  = `delete from bill_of_material where project_id = $1 and id = $2`
)

const maxQuantity = 1_000_000

func (in *input) bomFields(b *bomItem) {
	b.ItemName = in.updated("item_name", b.ID, b.ItemName, 1, 255)
	b.Description = in.optional("description", b.Description, 5000)
	b.Quantity = in.integer("quantity", &b.Quantity, 1, maxQuantity)
	b.PriceCents = in.optionalInteger("price_cents", b.PriceCents, 0, math.MaxInt32)
	b.ItemOrder = in.integer("item_order", &b.ItemOrder, 0, math.MaxInt32)
	b.Link = in.link("link", b.Link, 500)
}

func createBOM(ctx context.Context, tx pgx.Tx, in *input, p project) (bomItem, error) {
	b := bomItem{Quantity: 1}
	in.bomFields(&b)
	if err := in.err(); err != nil {
		return bomItem{}, err
	}
	return one[bomItem](ctx, tx, `
		insert into bill_of_material (project_id, item_name, description, quantity, price_cents, item_order, link)
		values ($1, $2, $3, $4, $5, $6, $7) returning `+bomColumns,
		p.ID, b.ItemName, b.Description, b.Quantity, b.PriceCents, b.ItemOrder, b.Link)
}

func updateBOM(ctx context.Context, tx pgx.Tx, in *input, p project, id int) (bomItem, error) {
	b, err := one[bomItem](ctx, tx, `select `+bomColumns+` from bill_of_material where project_id = $1 and id = $2`, p.ID, id)
	if err != nil {
		return bomItem{}, err
	}
	if err := in.unseen(b); err != nil {
		return bomItem{}, err
	}
	in.bomFields(&b)
	if err := in.err(); err != nil {
		return bomItem{}, err
	}
	return one[bomItem](ctx, tx, `
		update bill_of_material set item_name = $3, description = $4, quantity = $5, price_cents = $6, item_order = $7, link = $8
		where project_id = $1 and id = $2 returning `+bomColumns,
		p.ID, id, b.ItemName, b.Description, b.Quantity, b.PriceCents, b.ItemOrder, b.Link)
}

// component is an electronic part that every project can use.
type component struct {
	ID           int       `json:"id"`
	Name         string    `json:"name"`
	Description  *string   `json:"description"`
	DatasheetURL *string   `json:"datasheet_url"`
	CreatedAt    time.Time `json:"created_at"`
}

// projectComponent is a component as one project uses it.
type projectComponent struct {
	ID        int       `json:"id"`
	Component component `json:"component"`
	Quantity  int       `json:"quantity"`
	Notes     *string   `json:"notes"`
}

const (
	// The row of the component becomes the struct as a composite value.
	projectComponentColumns = `pc.id, row(c.id, c.name, c.description, c.datasheet_url, c.created_at) as component, pc.quantity, pc.notes`
	listComponents          = `select ` + projectComponentColumns + ` from project_component pc join component c on c.id = pc.component_id
		where pc.project_id = $1 order by pc.id`
	deleteComponent = `delete from project_component where project_id = $1 and id = $2`
)

// usage is how a project uses a component.
func (in *input) usage() (quantity int, notes *string) {
	return in.integer("quantity", ptr(1), 1, maxQuantity), in.optional("notes", nil, 5000)
}

func (in *input) componentFields() component {
	return component{Name: in.text("name", 1, 255), Description: in.optional("description", nil, 5000), DatasheetURL: in.link("datasheet_url", nil, 500)}
}

func addComponent(ctx context.Context, tx pgx.Tx, in *input, p project) (projectComponent, error) {
	id := in.integer("component_id", nil, 0, math.MaxInt32)
	quantity, notes := in.usage()
	if err := in.err(); err != nil {
		return projectComponent{}, err
	}
	pc, err := one[projectComponent](ctx, tx, `
		with pc as (
			insert into project_component (project_id, component_id, quantity, notes)
			select $1, id, $3, $4 from component where id = $2 returning *
		)
		select `+projectComponentColumns+` from pc join component c on c.id = pc.component_id`, p.ID, id, quantity, notes)
	if _, taken := violates(err); taken {
		return projectComponent{}, fail(http.StatusBadRequest, "This component is already part of the project; change its quantity instead")
	}
	return pc, orNotFound(err, "Component")
}

// createComponent makes a component that every project can use.
func (s *server) createComponent(ctx context.Context, in *input) (component, error) {
	c := in.componentFields()
	if err := in.err(); err != nil {
		return component{}, err
	}
	c, err := one[component](ctx, s.db, `
		insert into component (name, description, datasheet_url) values ($1, $2, $3)
		returning id, name, description, datasheet_url, created_at`, c.Name, c.Description, c.DatasheetURL)
	if _, taken := violates(err); taken {
		return component{}, fail(http.StatusBadRequest, "Component with this name already exists")
	}
	return c, err
}

// postComponent answers with the new component.
func (s *server) postComponent(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	c, err := s.createComponent(r.Context(), in)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, c)
}

// searchComponents answers the components whose name or description holds q,
// those whose name starts with it first.
func (s *server) searchComponents(w http.ResponseWriter, r *http.Request) error {
	in := queryInput(r)
	search := deref(in.optional("q", nil, 255))
	limit := in.integer("limit", ptr(10), 1, 100)
	if err := in.err(); err != nil {
		return err
	}
	if len([]rune(search)) < 2 {
		return writeJSON(w, http.StatusOK, []component{})
	}
	list, err := s.findComponents(r.Context(), search, limit)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

// findComponents returns the components whose name or description holds search,
// those whose name starts with it first.
func (s *server) findComponents(ctx context.Context, search string, limit int) ([]component, error) {
	return many[component](ctx, s.db, `
		select id, name, description, datasheet_url, created_at from component
		where name ilike $1 or description ilike $1
		order by starts_with(lower(name), lower($2)) desc, name ilike $1 desc, name limit $3`, likePattern(search), search, limit)
}

// link is a resource elsewhere on the web.
type link struct {
	ID          int     `json:"id"`
	URL         string  `json:"url"`
	Title       string  `json:"title"`
	LinkType    string  `json:"link_type"`
	Description *string `json:"description"`
}

const (
	linkColumns = `id, url, title, link_type, description`
	listLinks   = `select ` + linkColumns + ` from project_link where project_id = $1 order by id`
	deleteLink  = `delete from project_link where project_id = $1 and id = $2`
)

var linkTypes = []string{"resource", "video", "course", "article", "related_project"}

func (in *input) linkFields(l *link) {
	address := in.link("url", &l.URL, 500)
	if l.URL = deref(address); l.URL == "" {
		in.add("url", "Url is required", "missing")
	}
	l.Title = in.updated("title", l.ID, l.Title, 1, 255)
	l.LinkType = in.choice("link_type", l.LinkType, linkTypes...)
	l.Description = in.optional("description", l.Description, 5000)
}

func createLink(ctx context.Context, tx pgx.Tx, in *input, p project) (link, error) {
	var l link
	in.linkFields(&l)
	if err := in.err(); err != nil {
		return link{}, err
	}
	return one[link](ctx, tx, `insert into project_link (project_id, url, title, link_type, description) values ($1, $2, $3, $4, $5) returning `+linkColumns,
		p.ID, l.URL, l.Title, l.LinkType, l.Description)
}

func updateLink(ctx context.Context, tx pgx.Tx, in *input, p project, id int) (link, error) {
	l, err := one[link](ctx, tx, `select `+linkColumns+` from project_link where project_id = $1 and id = $2`, p.ID, id)
	if err != nil {
		return link{}, err
	}
	if err := in.unseen(l); err != nil {
		return link{}, err
	}
	in.linkFields(&l)
	if err := in.err(); err != nil {
		return link{}, err
	}
	return one[link](ctx, tx, `
		update project_link set url = $3, title = $4, link_type = $5, description = $6
		where project_id = $1 and id = $2 returning `+linkColumns, p.ID, id, l.URL, l.Title, l.LinkType, l.Description)
}

// tool is something one needs for building that does not stay in the project.
type tool struct {
	ID       int     `json:"id"`
	Name     string  `json:"name"`
	ToolType string  `json:"tool_type"` // tool or material
	Notes    *string `json:"notes"`
}

const (
	toolColumns = `id, name, tool_type, notes`
	listTools   = `select ` + toolColumns + ` from tool_material where project_id = $1 order by id`
	deleteTool  = `delete from tool_material where project_id = $1 and id = $2`
)

func (in *input) toolFields(t *tool) {
	t.Name = in.updated("name", t.ID, t.Name, 1, 255)
	t.ToolType = in.choice("tool_type", t.ToolType, "tool", "material")
	t.Notes = in.optional("notes", t.Notes, 5000)
}

func createTool(ctx context.Context, tx pgx.Tx, in *input, p project) (tool, error) {
	var t tool
	in.toolFields(&t)
	if err := in.err(); err != nil {
		return tool{}, err
	}
	return one[tool](ctx, tx, `insert into tool_material (project_id, name, tool_type, notes) values ($1, $2, $3, $4) returning `+toolColumns,
		p.ID, t.Name, t.ToolType, t.Notes)
}

func updateTool(ctx context.Context, tx pgx.Tx, in *input, p project, id int) (tool, error) {
	t, err := one[tool](ctx, tx, `select `+toolColumns+` from tool_material where project_id = $1 and id = $2`, p.ID, id)
	if err != nil {
		return tool{}, err
	}
	if err := in.unseen(t); err != nil {
		return tool{}, err
	}
	in.toolFields(&t)
	if err := in.err(); err != nil {
		return tool{}, err
	}
	return one[tool](ctx, tx, `update tool_material set name = $3, tool_type = $4, notes = $5 where project_id = $1 and id = $2 returning `+toolColumns,
		p.ID, id, t.Name, t.ToolType, t.Notes)
}
