package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// What keeps a project whole when it is changed from two places at once, and
// within bounds.

// etag stands for a project and its parts as they are (RFC 9110 §8.8.3); counts
// of what readers do are no part of it.
func (p project) etag() string { return fmt.Sprintf(`"r%d"`, p.Revision) }

// matches reports whether a change that was sent with an If-Match (RFC 9110
// §13.1.1) is of the project as it is at a revision. A proxy that compresses
// makes the tag a weak one, which still names the same revision.
func (p project) matches(revision int) bool {
	if p.ifMatch == "" {
		return true
	}
	p.Revision = revision
	for tag := range strings.SplitSeq(p.ifMatch, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || strings.TrimPrefix(tag, "W/") == p.etag() {
			return true
		}
	}
	return false
}

// onProject runs do in a transaction that holds the project's row: changes of
// one project come one after the other, and none comes after its deletion, or
// after a change that its author has not seen.
func (s *server) onProject(ctx context.Context, p project, do func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if err := p.unchanged(tx.QueryRow(ctx, `select revision from project where id = $1 for no key update`, p.ID)); err != nil {
			return err
		}
		return do(tx)
	})
}

// unchanged is the error when a project has another revision by now than the
// one that a change of it was sent for.
func (p project) unchanged(row pgx.Row) error {
	var revision int
	if err := row.Scan(&revision); err != nil {
		return orNotFound(err, "Project")
	}
	if !p.matches(revision) {
		return fail(http.StatusPreconditionFailed, "The project has changed since you read it; read it again, and then repeat your change")
	}
	return nil
}

// formValues are the fields of a row as the editor shows them, and under "seen"
// what stands for all of them: it comes back with the form and tells whether
// somebody else has changed the row meanwhile.
func formValues(row any) map[string]string {
	values := valuesOf(row)
	switch row := row.(type) {
	case nil:
		return values
	case bomItem:
		values["price"] = formatPrice(row.PriceCents)
	case step:
		values["image_ids"] = strings.Trim(fmt.Sprint(row.ImageIDs), "[]")
	case basics:
		values["tags"] = strings.Join(row.tags, ", ")
	}
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(untyped, name) {
			fmt.Fprintf(hash, "%q %q\n", name, values[name])
		}
	}
	values["seen"] = hex.EncodeToString(hash.Sum(nil)[:8])
	return values
}

// basics are the fields of a project itself that its author types.
type basics struct {
	project
	tags []string
}

// untyped are the fields of rows that no form changes.
var untyped = []string{"author_id", "author_username", "comment_count", "created_at", "download_count", "id", "item_order", "like_count", "revision",
	"status", "step_number", "step_order", "total_cents", "updated_at", "view_count"}

// unseen is the error for a form that was filled in when its row was another;
// the page shows both.
func (in *input) unseen(row any) error {
	if !in.has("seen") {
		return nil
	}
	current := formValues(row)
	if seen, _ := in.string("seen"); seen == current["seen"] {
		return nil
	}
	return &httpError{status: http.StatusPreconditionFailed, current: current,
		detail: "This was changed elsewhere meanwhile. What you typed is still here, with what it says now; save again to replace that"}
}

// countParts counts the parts of a project, by what they are called.
var countParts = map[string]string{
	"steps":      `select count(*) from project_step where project_id = $1`,
	"materials":  `select count(*) from bill_of_material where project_id = $1`,
	"components": `select count(*) from project_component where project_id = $1`,
	"links":      `select count(*) from project_link where project_id = $1`,
	"tools":      `select count(*) from tool_material where project_id = $1`,
	"files":      `select count(*) from project_file where project_id = $1`,
	"pictures":   `select count(*) from project_image where project_id = $1`,
}

// withinLimit refuses more parts of a kind than a project may have. tx holds the
// project's row.
func (s *server) withinLimit(ctx context.Context, tx pgx.Tx, projectID int, kind string, more int) error {
	limit := s.cfg.maxParts
	if kind == "files" || kind == "pictures" {
		limit = s.cfg.maxUploads
	}
	if limit == 0 {
		return nil
	}
	var count int
	if err := tx.QueryRow(ctx, countParts[kind], projectID).Scan(&count); err != nil {
		return err
	}
	if count+more > limit {
		return fail(http.StatusConflict, "A project can have at most %d %s, and this one would have %d", limit, kind, count+more)
	}
	return nil
}

// mayStart refuses more projects than one person may have. Others that the same
// person starts wait until the transaction ends.
func (s *server) mayStart(ctx context.Context, tx pgx.Tx, userID int) error {
	if s.cfg.maxProjects == 0 {
		return nil
	}
	// Before the count, which sees what is committed when its statement starts.
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtext('projects of'), $1)`, userID); err != nil {
		return err
	}
	var count int
	if err := tx.QueryRow(ctx, `select count(*) from project where author_id = $1`, userID).Scan(&count); err != nil {
		return err
	}
	if count >= s.cfg.maxProjects {
		return fail(http.StatusConflict, "You have %d projects, as many as one person may have; delete one that you no longer need", count)
	}
	return nil
}

// partOrder is how parts of a kind are put in order by hand.
type partOrder struct{ part, list, set string }

var (
	stepOrder = partOrder{"step", `select id from project_step where project_id = $1 order by step_number`, `
		update project_step set step_number = place
		from unnest($2::int[]) with ordinality as new_order (part_id, place) where project_id = $1 and id = part_id and step_number <> place`}
	bomOrder = partOrder{"item", `select id from bill_of_material where project_id = $1 order by item_order, id`, `
		update bill_of_material set item_order = place
		from unnest($2::int[]) with ordinality as new_order (part_id, place) where project_id = $1 and id = part_id and item_order <> place`}
	imageOrder = partOrder{"image", `select id from project_image where project_id = $1 order by display_order, id`, `
		update project_image set display_order = place
		from unnest($2::int[]) with ordinality as new_order (part_id, place) where project_id = $1 and id = part_id and display_order <> place`}
)

// reorder numbers a project's parts from 1 in the order that arrange makes of
// the one they have.
func (s *server) reorder(ctx context.Context, o partOrder, p project, arrange func(have []int) ([]int, error)) error {
	return s.onProject(ctx, p, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, o.list, p.ID)
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int])
		if err != nil {
			return err
		}
		if ids, err = arrange(ids); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, o.set, p.ID, ids)
		return err
	})
}

// putOrder takes the ids of all parts of a kind in their new order, each once,
// and answers as list does.
func (s *server) putOrder(o partOrder, list withProject) withProject {
	return func(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
		ids, err := readIDs(w, r)
		if err != nil {
			return err
		}
		if err := s.reorder(r.Context(), o, p, func(have []int) ([]int, error) {
			if !slices.Equal(slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(ids))) {
				return nil, fail(http.StatusBadRequest, "The list must hold the id of every %s of the project exactly once", o.part)
			}
			return ids, nil
		}); err != nil {
			return err
		}
		if p, err = s.loadProjectByID(r.Context(), p.ID); err != nil {
			return err
		}
		return list(w, r, v, p)
	}
}

// move moves a part by one place; the first and the last stay where they are.
func (s *server) move(o partOrder, by int) partAction {
	return func(ctx context.Context, p project, id int) error {
		return s.reorder(ctx, o, p, func(ids []int) ([]int, error) {
			from := slices.Index(ids, id)
			if from < 0 {
				return nil, pgx.ErrNoRows
			}
			to := max(0, min(from+by, len(ids)-1))
			ids[from], ids[to] = ids[to], ids[from]
			return ids, nil
		})
	}
}
