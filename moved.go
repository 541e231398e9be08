package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// move says what moved with a renamed page.
type move struct {
	Message  string `json:"message"`
	Old      string `json:"old"`
	New      string `json:"new"`
	Likes    int64  `json:"likes"`
	Comments int64  `json:"comments"`
	Views    int64  `json:"views"`
}

// moveURL gives the likes, comments and views of a page to another one, where
// they join what is there, and leaves an alias, so that the old URL shows the
// same. Who liked both likes the new one once. A URL that has moved already
// stands for where it leads; a page can move back to where it was.
func (s *server) moveURL(ctx context.Context, from, to string) (move, error) {
	m := move{Old: pageURL(from), New: pageURL(to)}
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local statement_timeout = 0`); err != nil { // a page can have millions of views
			return err
		}
		if err := oneMove(ctx, tx); err != nil {
			return err
		}
		var oldLeads, newLeads string
		if err := tx.QueryRow(ctx, `
			select coalesce((select new_url from page_alias where old_url = $1), $1), coalesce((select new_url from page_alias where old_url = $2), $2)`,
			m.Old, m.New).Scan(&oldLeads, &newLeads); err != nil {
			return err
		}
		back := newLeads == m.Old && newLeads != m.New
		m.Old = oldLeads
		if !back {
			m.New = newLeads
		}
		if m.Old == m.New {
			return fail(http.StatusBadRequest, "The old and the new address are the same page already")
		}
		var batch pgx.Batch
		batch.Queue(`delete from page_alias where old_url = $1`, m.New)
		batch.Queue(`update page_alias set new_url = $2 where new_url = $1`, m.Old, m.New)
		batch.Queue(`insert into page_alias (old_url, new_url) values ($1, $2)`, m.Old, m.New)
		if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
			return err
		}
		if err := moveRows(ctx, tx, &m); err != nil {
			return err
		}
		return moveViews(ctx, tx, &m)
	})
	if err == nil {
		// What was written while the move went on, by who did not see the alias yet.
		err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
			if err := oneMove(ctx, tx); err != nil {
				return err
			}
			return moveRows(ctx, tx, &m)
		})
	}
	s.cache.changed()
	if err != nil {
		return move{}, err
	}
	m.Message = fmt.Sprintf("%s is %s now; moved with it: %d likes, %d comments, %d views", m.Old, m.New, m.Likes, m.Comments, m.Views)
	s.log.Info("page moved", "old", m.Old, "new", m.New, "likes", m.Likes, "comments", m.Comments, "views", m.Views)
	return m, nil
}

// oneMove lets other moves wait until the transaction ends, so that no two of
// them wait for each other.
func oneMove(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended('page_alias', 0))`)
	return err
}

// moveRows gives the rows of m.Old to m.New and counts them.
func moveRows(ctx context.Context, tx pgx.Tx, m *move) error {
	// Whoever changes a like holds it before the page's counter.
	if _, err := tx.Exec(ctx, `select from "like" where url = $1 for update`, m.Old); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `delete from "like" l where url = $1 and exists (select from "like" n where n.url = $2 and n.user_id = l.user_id)`, m.Old, m.New); err != nil {
		return err
	}
	for sql, count := range map[string]*int64{
		`update "like" set url = $2 where url = $1`:  &m.Likes,
		`update comment set url = $2 where url = $1`: &m.Comments,
	} {
		tag, err := tx.Exec(ctx, sql, m.Old, m.New)
		if err != nil {
			return err
		}
		*count += tag.RowsAffected()
	}
	var batch pgx.Batch
	batch.Queue(`insert into page_count (url) select url from unnest(array[$1, $2]::varchar[]) url order by url on conflict do nothing`, m.Old, m.New)
	batch.Queue(`select from page_count where url in ($1, $2) order by url for no key update`, m.Old, m.New)
	batch.Queue(`
		update page_count p set
			like_count = (select count(*) from "like" where url = p.url), last_liked_at = (select max(created_at) from "like" where url = p.url),
			comment_count = (select count(*) from comment where url = p.url and not is_hidden and not is_removed)
		where url in ($1, $2)`, m.Old, m.New)
	batch.Queue(`delete from page_count where url = $1 and like_count = 0 and comment_count = 0`, m.Old)
	return tx.SendBatch(ctx, &batch).Close()
}

// moveViews gives the views of m.Old and their counters to m.New. While it moves
// the counters no view is written; the rows of the views, which can be millions,
// are moved before that, and then those that came meanwhile.
func moveViews(ctx context.Context, tx pgx.Tx, m *move) error {
	for _, sql := range []string{
		`update pageview set url = $2 where url = $1`,
		`select pg_advisory_xact_lock(hashtextextended('pageview', 0)), $1::text, $2::text`,
		`update pageview set url = $2 where url = $1`,
	} {
		if _, err := tx.Exec(ctx, sql, m.Old, m.New); err != nil {
			return err
		}
	}
	// The fewer visitors are added to the more, whichever page they viewed.
	rows, err := tx.Query(ctx, `select id, url = $1, view_count from page_total where url in ($1, $2) order by unique_visitors`, m.Old, m.New)
	if err != nil {
		return err
	}
	var ids []int
	var id, views int
	var old bool
	if _, err := pgx.ForEachRow(rows, []any{&id, &old, &views}, func() error {
		ids = append(ids, id)
		if old {
			m.Views = int64(views)
		}
		return nil
	}); err != nil || len(ids) == 0 {
		return err
	}
	var batch pgx.Batch
	kept := ids[len(ids)-1]
	if len(ids) == 2 {
		for _, sql := range []string{
			`insert into page_visitor (page_id, visitor) select $2, visitor from page_visitor where page_id = $1 on conflict do nothing`,
			`insert into referrer_day as r (page_id, day, host, view_count) select $2, day, host, view_count from referrer_day where page_id = $1
				on conflict (page_id, day, host) do update set view_count = r.view_count + excluded.view_count`,
			`insert into page_day as d (page_id, day, view_count) select $2, day, view_count from page_day where page_id = $1
				on conflict (page_id, day) do update set view_count = d.view_count + excluded.view_count`,
			`update page_total t set view_count = t.view_count + gone.view_count, last_viewed_at = greatest(t.last_viewed_at, gone.last_viewed_at),
				unique_visitors = (select count(*) from page_visitor where page_id = $2)
				from page_total gone where t.id = $2 and gone.id = $1`,
			`with visitors as (delete from page_visitor where page_id = $1), referrers as (delete from referrer_day where page_id = $1),
				days as (delete from page_day where page_id = $1) delete from page_total where id = $1 and id <> $2`,
		} {
			batch.Queue(sql, ids[0], kept)
		}
	}
	batch.Queue(`update page_total set url = $2 where id = $1`, kept, m.New)
	return tx.SendBatch(ctx, &batch).Close()
}

// postMove answers POST /api/admin/urls/move.
func (s *server) postMove(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	from, to := in.pageURL("old"), in.pageURL("new")
	if err := in.err(); err != nil {
		return err
	}
	m, err := s.moveFor(r, v, from, to)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, m)
}

// moveFor moves a page for an admin, and writes that to the history.
func (s *server) moveFor(r *http.Request, v viewer, from, to string) (move, error) {
	m, err := s.moveURL(r.Context(), from, to)
	if err != nil {
		return m, err
	}
	return m, audit{action: "page_moved", field: "url", was: m.Old, is: m.New, by: v.ID, client: s.clientOf(r)}.write(r.Context(), s.db, v.ID)
}

// movedPage is a page that has another address than before.
type movedPage struct {
	OldURL, NewURL string
	CreatedAt      time.Time
	Total          int
}

func (s *server) moveList() adminList[movedPage] {
	return adminList[movedPage]{
		path: "/admin/moves", template: "admin_moves", title: "Moved pages", sorts: []choice{{"newest", "Newest first"}, {"oldest", "Oldest first"}, {"address", "By old address"}},
		columns: []string{"old_url", "new_url", "moved_at"},
		cells:   func(m movedPage) []string { return []string{m.OldURL, m.NewURL, csvTime(&m.CreatedAt)} },
		load: func(ctx context.Context, q listQuery) (list []movedPage, total int, err error) {
			order := map[string]string{"newest": "created_at desc, old_url", "oldest": "created_at, old_url", "address": "old_url"}[q.Sort]
			list, err = many[movedPage](ctx, s.db, `
				select old_url, new_url, created_at, count(*) over () as total from page_alias
				where $2 = '' or old_url ilike $1 or new_url ilike $1 order by `+order+` limit $3 offset $4`, likePattern(q.Search), q.Search, q.limit, q.offset)
			if len(list) > 0 {
				total = list[0].Total
			}
			return list, total, err
		},
	}
}

// movePreview is the form for a move, with what would move.
type movePreview struct {
	Form          formState
	Ready         bool // the form holds two addresses
	Old, New      string
	There, Joined moveCounts // what the old page has, and what the new one has already
}

// moveCounts is what a page has.
type moveCounts struct{ Likes, Comments, Views int }

// previewMove reads the form of the page, which asks first what would move.
func (s *server) previewMove(r *http.Request) (any, error) {
	p := movePreview{Form: formState{ID: "move", Values: map[string]string{}}}
	in := queryInput(r)
	if !in.has("old") {
		return p, nil
	}
	p.Form.Values = in.values()
	p.Old, p.New = in.pageURL("old"), in.pageURL("new")
	if err := in.err(); err != nil {
		for _, one := range publicError(err).faults {
			p.Form.add(one.Loc[len(one.Loc)-1], one.Msg)
		}
		return p, nil
	}
	for url, counts := range map[string]*moveCounts{p.Old: &p.There, p.New: &p.Joined} {
		err := s.db.QueryRow(r.Context(), `
			select (select count(*) from "like" where url = $1), (select count(*) from comment where url = $1), coalesce((select view_count from page_total where url = $1), 0)`, url).
			Scan(&counts.Likes, &counts.Comments, &counts.Views)
		if err != nil {
			return nil, err
		}
	}
	p.Ready = true
	return p, nil
}

// sendMove moves a page, once its admin has seen what moves.
func (s *server) sendMove(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	from, to := in.pageURL("old"), in.pageURL("new")
	var m move
	if err = in.err(); err == nil {
		if m, err = s.moveFor(r, v, from, to); err == nil {
			return s.done(w, r, "/admin/moves", m.Message+".")
		}
	}
	form, status, err := refused(w, "move", in, err)
	if err != nil {
		return err
	}
	return renderList(s, w, r, v, status, s.moveList(), func(*http.Request) (any, error) { return movePreview{Form: form}, nil })
}
