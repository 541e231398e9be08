package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// author is somebody who is about to write.
type author struct {
	ID          int
	Admin       bool
	BannedUntil *time.Time
	CreatedAt   time.Time
	Approved    bool       // one of the author's comments can be seen, or could be
	Written     int        // comments in the last hour, of a newcomer
	First       *time.Time // when the first of these was written
}

// newcomer is how long an account counts as new.
const newcomer = 24 * time.Hour

// loadAuthors returns users as authors, by their ids. It holds the accounts'
// rows, so that one person's comments come one after the other; who is not there any more is
// left out.
func (s *server) loadAuthors(ctx context.Context, tx pgx.Tx, ids ...int) (map[int]author, error) {
	authors := map[int]author{}
	now := s.now().UTC()
	since := now.Add(-newcomer)
	if !s.slowsNewcomers() {
		since = now.Add(newcomer) // nobody's comments have to be counted
	}
	var batch pgx.Batch
	batch.Queue(`select from "user" where id = any ($1) order by id for no key update`, ids)
	batch.Queue(`
		select id, type = 1 as admin, banned_until, created_at, (select true from comment where user_id = u.id and not is_hidden limit 1) is not null as approved, written, first
		from "user" u
		left join lateral (select count(*) as written, min(c.created_at) as first from comment c where u.created_at > $3 and user_id = u.id and c.created_at > $2) recent on true
		where id = any ($1)`, ids, now.Add(-time.Hour), since).Query(func(rows pgx.Rows) error {
		list, err := pgx.CollectRows(rows, pgx.RowToStructByName[author])
		for _, a := range list {
			authors[a.ID] = a
		}
		return err
	})
	return authors, tx.SendBatch(ctx, &batch).Close()
}

// loadAuthor returns v as an author, or the error for one who may not write.
func (s *server) loadAuthor(ctx context.Context, tx pgx.Tx, v viewer) (author, error) {
	authors, err := s.loadAuthors(ctx, tx, v.ID)
	if err == nil {
		err = s.mayWrite(authors[v.ID])
	}
	return authors[v.ID], err
}

// mayWrite is the 403 for who is banned, and the 401 for nobody.
func (s *server) mayWrite(a author) error {
	if a.ID == 0 {
		return errBadToken
	}
	if a.BannedUntil != nil && a.BannedUntil.After(s.now()) {
		return fail(http.StatusForbidden, "A moderator has asked you to pause: you can write again on %s", a.BannedUntil.Format("2 January 2006 at 15:04 UTC"))
	}
	return nil
}

func (s *server) slowsNewcomers() bool { return !s.cfg.testing && s.cfg.newcomerLimit > 0 }

// slowNewcomer is the 429 for a new account that has written too much.
func (s *server) slowNewcomer(a author) error {
	if !s.slowsNewcomers() || a.Admin || a.Written < s.cfg.newcomerLimit {
		return nil
	}
	wait := int(a.First.Add(time.Hour).Sub(s.now()).Seconds()) + 1
	return &httpError{
		status:     http.StatusTooManyRequests,
		detail:     fmt.Sprintf("New accounts can write %d comments an hour; please try again in %s", s.cfg.newcomerLimit, formatWait(wait)),
		retryAfter: wait,
	}
}

// heldFor is why a comment waits for a moderator: it has links, its author is
// new here, or all of them do. Nil: it does not.
func (s *server) heldFor(a author, links bool) *string {
	switch {
	case a.Admin:
		return nil
	case links && s.cfg.commentLinks == "review":
		return ptr("link")
	case s.cfg.commentReview == "all":
		return ptr("all")
	case s.cfg.commentReview == "first" && !a.Approved:
		return ptr("new")
	}
	return nil
}

// reportAnswer thanks, and says how many reports there are.
type reportAnswer struct {
	Message   string `json:"message"`
	FlagCount int    `json:"flag_count"`
}

// postReport takes a report of a comment; one a person counts. Who repeats it
// changes nothing, unless the comment has been edited since.
func (s *server) postReport(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	count, fresh, err := s.report(r, in, v)
	if err != nil {
		return err
	}
	text := "Thank you, a moderator will look at it"
	if !fresh {
		text = "You have reported this comment already"
	}
	return writeJSON(w, http.StatusOK, reportAnswer{text, count})
}

// reportReasons are the values of the field "reason".
var reportReasons = []string{"spam", "abusive", "inappropriate", "other"}

// report files a report of the comment in the path and returns how many there
// are that nobody has looked at.
func (s *server) report(r *http.Request, in *input, v viewer) (count int, fresh bool, err error) {
	reason := in.choice("reason", "", reportReasons...)
	details := in.optional("details", nil, 1000)
	id, err := pathID(r, "id")
	if err == nil {
		err = in.err()
	}
	if err != nil {
		return 0, false, err
	}
	ctx := r.Context()
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := s.loadAuthor(ctx, tx, v); err != nil {
			return err
		}
		c, err := loadSeen(ctx, tx, id, v)
		switch {
		case err != nil:
			return err
		case !c.Visible:
			return fail(http.StatusNotFound, "Comment not found")
		case c.UserID == v.ID:
			return fail(http.StatusBadRequest, "This is your own comment; you can remove it")
		}
		// Held before its reports, as moderators hold it.
		if _, err := tx.Exec(ctx, `select from comment where id = $1 for no key update`, id); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			insert into comment_report as o (comment_id, user_id, reason, details) values ($1, $2, $3, $4)
			on conflict (comment_id, user_id) do update set reason = excluded.reason, details = excluded.details, created_at = now(), cleared_at = null
			where o.created_at < (select edited_at from comment where id = $1)`, id, v.ID, reason, details)
		if err != nil {
			return err
		}
		if fresh = tag.RowsAffected() > 0; fresh {
			if err := s.auditOf(r, v, "comment_reported", id, reason).write(ctx, tx, v.ID); err != nil {
				return err
			}
		}
		return tx.QueryRow(ctx, `select flag_count from comment where id = $1`, id).Scan(&count)
	})
	return count, fresh, err
}

// auditOf is the audit row of an act of v on a comment; what more there is to
// say of it stands where a change has its new value.
func (s *server) auditOf(r *http.Request, v viewer, action string, comment int, is string) audit {
	return audit{action: action, field: fmt.Sprintf("comment %d", comment), is: is, by: v.ID, client: s.clientOf(r)}
}

// act is what a moderator does to a comment, in a transaction that holds it. It
// returns what is written to the audit log besides, and to the answer.
type act struct {
	action string // in the audit log
	does   func(ctx context.Context, tx pgx.Tx, c judged, v viewer, in *input) (note, done string, err error)
}

// judged is a comment before a moderator.
type judged struct {
	ID, UserID int // the author, or 0 when the account is gone
	target
	IsRemoved, Unannounced bool
}

// acts by the name that they have in addresses.
func (s *server) acts() map[string]act {
	return map[string]act{
		"hide":        {"comment_hidden", s.hideComment},
		"unhide":      {"comment_unhidden", s.showAgain},
		"clear-flags": {"comment_cleared", s.clearFlags},
		"remove":      {"comment_removed", s.removeForAuthor},
		"warn":        {"author_warned", s.warnAuthor},
		"ban":         {"author_banned", s.banAuthor},
	}
}

func (s *server) hideComment(ctx context.Context, tx pgx.Tx, c judged, v viewer, in *input) (string, string, error) {
	reason := deref(in.optional("reason", nil, 500))
	if err := in.err(); err != nil {
		return "", "", err
	}
	_, err := tx.Exec(ctx, `update comment set is_hidden = true, held_for = null, reviewed_at = $2, reviewed_by = $3 where id = $1`, c.ID, s.now().UTC(), v.ID)
	return reason, "Comment hidden", err
}

// showAgain lets everybody see a comment that was hidden or held. Whom it
// concerns is told of it the first time.
func (s *server) showAgain(ctx context.Context, tx pgx.Tx, c judged, v viewer, in *input) (string, string, error) {
	_, err := tx.Exec(ctx, `
		update comment set is_hidden = false, held_for = null, unannounced = unannounced and is_removed, reviewed_at = $2, reviewed_by = $3 where id = $1`,
		c.ID, s.now().UTC(), v.ID)
	if err == nil && c.Unannounced && !c.IsRemoved {
		err = s.announceComment(ctx, tx, c.ID)
	}
	return "", "Comment can be seen again", err
}

func (s *server) clearFlags(ctx context.Context, tx pgx.Tx, c judged, v viewer, in *input) (string, string, error) {
	var batch pgx.Batch
	batch.Queue(`update comment_report set cleared_at = $2 where comment_id = $1 and cleared_at is null`, c.ID, s.now().UTC())
	batch.Queue(`update comment set reviewed_at = $2, reviewed_by = $3 where id = $1`, c.ID, s.now().UTC(), v.ID)
	return "", "Reports cleared", tx.SendBatch(ctx, &batch).Close()
}

func (s *server) removeForAuthor(ctx context.Context, tx pgx.Tx, c judged, v viewer, in *input) (string, string, error) {
	if c.IsRemoved {
		return "", "", fail(http.StatusBadRequest, "Comment already removed")
	}
	_, err := tx.Exec(ctx, `update comment set is_removed = true, removed_at = $2, held_for = null, reviewed_at = $2, reviewed_by = $3 where id = $1`, c.ID, s.now().UTC(), v.ID)
	return "", "Comment removed", err
}

var errAuthorGone = fail(http.StatusBadRequest, "The author's account is gone")

// warnAuthor tells the author something, which is shown until it was read.
func (s *server) warnAuthor(ctx context.Context, tx pgx.Tx, c judged, v viewer, in *input) (string, string, error) {
	text := in.text("text", 1, 1000)
	if err := in.err(); err != nil {
		return "", "", err
	}
	if c.UserID == 0 {
		return "", "", errAuthorGone
	}
	var username, email string
	err := tx.QueryRow(ctx, `
		with w as (insert into warning (user_id, comment_id, text, created_by) values ($1, $2, $3, $4))
		select username, email from "user" where id = $1`, c.UserID, c.ID, text, v.ID).Scan(&username, &email)
	if err == nil {
		err = s.sendMail(ctx, tx, email, "warned", map[string]any{
			"Username": username, "About": truncate(c.About(), 100), "Text": text, "Link": s.cfg.publicURL + c.Page() + "#" + commentAnchor(c.ID)})
	}
	return text, "The author has been warned", err
}

// maxBan is in days.
const maxBan = 3650

// banAuthor keeps the author from writing for some days.
func (s *server) banAuthor(ctx context.Context, tx pgx.Tx, c judged, v viewer, in *input) (string, string, error) {
	days := in.integer("days", nil, 1, maxBan)
	reason := deref(in.optional("reason", nil, 500))
	if err := in.err(); err != nil {
		return "", "", err
	}
	if c.UserID == 0 {
		return "", "", errAuthorGone
	}
	until := s.now().UTC().AddDate(0, 0, days)
	tag, err := tx.Exec(ctx, `update "user" set banned_until = $2 where id = $1 and type <> 1`, c.UserID, until)
	if err == nil && tag.RowsAffected() == 0 {
		err = fail(http.StatusBadRequest, "Admins can't be banned")
	}
	when := until.Format("2 January 2006 at 15:04 UTC")
	note := "until " + when
	if reason != "" {
		note += ": " + reason
	}
	return note, "The author can't write until " + when, err
}

// moderate does an act of v to the comment in the path, and says what was done.
func (s *server) moderate(r *http.Request, v viewer, in *input, name string) (c judged, done string, err error) {
	what, known := s.acts()[name]
	if !known {
		return c, "", fail(http.StatusNotFound, "Not found")
	}
	id, err := pathID(r, "id")
	if err != nil {
		return c, "", err
	}
	ctx := r.Context()
	find := func(db querier, lock string) (err error) {
		c, err = one[judged](ctx, db, `select id, coalesce(user_id, 0) as user_id, url, entity_type, entity_id, is_removed, unannounced from comment where id = $1`+lock, id)
		return orNotFound(err, "Comment")
	}
	if err := find(s.db, ""); err != nil {
		return c, "", err
	}
	err = s.onTarget(ctx, c.target, func(tx pgx.Tx) error {
		if err := find(tx, ` for no key update`); err != nil {
			return err
		}
		note, said, err := what.does(ctx, tx, c, v, in)
		if err != nil {
			return err
		}
		done = said
		// The history is the author's, or the moderator's when there is no author.
		owner := c.UserID
		if owner == 0 {
			owner = v.ID
		}
		return s.auditOf(r, v, what.action, c.ID, note).write(ctx, tx, owner)
	})
	return c, done, err
}

// moderated answers the endpoints of one act. A body is needed only by those
// that say more than that they happen.
func (s *server) moderated(name string) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		in := &input{where: "body"}
		if r.ContentLength != 0 {
			var err error
			if in, err = readInput(w, r); err != nil {
				return err
			}
		}
		_, done, err := s.moderate(r, v, in, name)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, message{done})
	}
}

// unban lets somebody write again.
func (s *server) unban(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(r.Context(), s.db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(r.Context(), `update "user" set banned_until = null where id = $1`, id)
		if err == nil && tag.RowsAffected() == 0 {
			err = fail(http.StatusNotFound, "User not found")
		}
		if err != nil {
			return err
		}
		return audit{action: "author_unbanned", by: v.ID, client: s.clientOf(r)}.write(r.Context(), tx, id)
	})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, message{"The author can write again"})
}

// flaggedComment is a comment that was reported.
type flaggedComment struct {
	ID int `json:"id"`
	target
	Content     string       `json:"content"`
	CreatedAt   time.Time    `json:"created_at"`
	UserID      int          `json:"user_id"`
	Username    string       `json:"username"`
	FlagCount   int          `json:"flag_count"`
	FlagReasons []flagReason `json:"flag_reasons"`
	IsHidden    bool         `json:"is_hidden"`
	ReviewedAt  *time.Time   `json:"reviewed_at"`
}

// flagReason is one report.
type flagReason struct {
	ReportedBy int       `json:"reported_by"` // the user's id
	Username   string    `json:"username"`
	Reason     string    `json:"reason"`
	Details    *string   `json:"details"`
	ReportedAt time.Time `json:"reported_at"`
}

// moderationItem is a comment in the queue with what a moderator needs to know
// to judge it.
type moderationItem struct {
	flaggedComment
	EditedAt        *time.Time        `json:"edited_at"`
	HeldFor         *string           `json:"held_for"`    // new, link or all, when it waits for review
	ReviewedBy      string            `json:"reviewed_by"` // an admin's name, or empty
	ParentCommentID *int              `json:"parent_comment_id"`
	Parent          *threadNeighbour  `json:"parent"`
	Replies         []threadNeighbour `json:"replies"` // the first five
	BannedUntil     *time.Time        `json:"banned_until"`
	AuthorSince     time.Time         `json:"author_since"`
	AuthorComments  int               `json:"author_comments"`
	AuthorWarnings  int               `json:"author_warnings"`
}

// threadNeighbour is a comment before or after one in the queue.
type threadNeighbour struct {
	ID       int    `json:"id"`
	Username string `json:"username"`
	Content  string `json:"content"`
}

const (
	maxQueue   = 100  // comments of one answer
	maxFlagged = 1000 // comments of one table, with all that is around them
)

// queueShows are the parts of the queue: seen by nobody yet, with reports, and
// out of sight.
var queueShows = []choice{{"open", "To do"}, {"flagged", "Reported"}, {"hidden", "Hidden"}}

var queueOrders = map[string]string{
	"reports": "c.flag_count desc, c.created_at desc, c.id desc",
	"newest":  "c.created_at desc, c.id desc",
	"oldest":  "c.created_at, c.id",
}

// loadQueue returns the comments of a part of the queue, and how many there
// are, at most maxFlagged at once. It searches texts, authors and addresses, or for an id.
func (s *server) loadQueue(ctx context.Context, q listQuery) (list []moderationItem, total int, err error) {
	counted, err := many[struct {
		moderationItem
		Total int
	}](ctx, s.db, queries["flagged"]+` order by `+queueOrders[q.Sort]+` limit $4 offset $5`, likePattern(strings.TrimPrefix(q.Search, "/")), q.Search, q.Show, min(q.limit, maxFlagged), q.offset)
	list = make([]moderationItem, len(counted))
	for i, one := range counted {
		list[i], total = one.moderationItem, one.Total
	}
	return list, total, err
}

// showFlagged answers the comments with reports, most reports first.
func (s *server) showFlagged(w http.ResponseWriter, r *http.Request, v viewer) error {
	list, total, err := s.loadQueue(r.Context(), listQuery{Show: "flagged", Sort: "reports", limit: maxFlagged})
	if err != nil {
		return err
	}
	flagged := make([]flaggedComment, len(list))
	for i, item := range list {
		flagged[i] = item.flaggedComment
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(total))
	return writeJSON(w, http.StatusOK, flagged)
}

// showModeration answers the queue.
func (s *server) showModeration(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	first, all := usual(queueShows)
	q := listQuery{Search: deref(in.optional("q", nil, 100)), Show: in.choice("show", first, all...), Sort: "reports",
		limit: in.integer("limit", ptr(50), 1, maxQueue), offset: in.integer("offset", ptr(0), 0, 1<<31-1)}
	if err := in.err(); err != nil {
		return err
	}
	list, total, err := s.loadQueue(r.Context(), q)
	if err != nil {
		return err
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(total))
	return writeJSON(w, http.StatusOK, list)
}

// queueList is the page of the moderators.
func (s *server) queueList() adminList[moderationItem] {
	return adminList[moderationItem]{
		path: "/admin/moderation", template: "admin_moderation", title: "Moderation", load: s.loadQueue, shows: queueShows,
		sorts:   []choice{{"reports", "Most reports"}, {"newest", "Newest first"}, {"oldest", "Oldest first"}},
		columns: []string{"id", "on", "author", "created_at", "text", "reports", "reasons", "held_for", "is_hidden", "reviewed_at", "reviewed_by"},
		cells: func(m moderationItem) []string {
			var reasons []string
			for _, reason := range m.FlagReasons {
				reasons = append(reasons, reason.Reason)
			}
			return []string{strconv.Itoa(m.ID), m.Page(), m.Username, csvTime(&m.CreatedAt), m.Content, strconv.Itoa(m.FlagCount), strings.Join(reasons, ", "),
				deref(m.HeldFor), strconv.FormatBool(m.IsHidden), csvTime(m.ReviewedAt), m.ReviewedBy}
		},
	}
}

// Why is the reason why the comment waits for a moderator.
func (m moderationItem) Why() string {
	switch deref(m.HeldFor) {
	case "link":
		return "It holds a link."
	case "new":
		return "It is the author's first."
	case "all":
		return "Every comment is looked at first."
	}
	return ""
}

// queueForms makes the forms of the comments on a page of the queue.
type queueForms struct {
	paging
	sent formState
}

// Do is where the form of an act is sent to.
func (f queueForms) Do(act string, id int) string {
	return fmt.Sprintf("/admin/moderation/%d/%s?%s", id, act, f.Here())
}

// Form is the form of the kind for the comment with the id.
func (f queueForms) Form(kind string, id int) formState {
	return f.sent.or(fmt.Sprintf("%s-%d", kind, id), nil)
}

// showQueue answers the page of the moderators; sent is the form that was
// refused, if one was.
func (s *server) showQueue(w http.ResponseWriter, r *http.Request, v viewer, status int, sent formState) error {
	list := s.queueList()
	return renderList(s, w, r, v, status, list, func(r *http.Request) (any, error) {
		p, err := list.read(r)
		return queueForms{p.paging, sent}, err
	})
}

// sendAct takes what a moderator does on the page, whose query it has.
func (s *server) sendAct(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	list, err := s.queueList().read(r)
	if err != nil {
		return err
	}
	name := r.PathValue("act")
	c, done, err := s.moderate(r, v, in, name)
	if err == nil {
		return s.done(w, r, list.At(list.Page)+"#"+commentAnchor(c.ID), done+".")
	}
	sent, status, err := refused(w, name+"-"+r.PathValue("id"), in, err)
	if err != nil {
		return err
	}
	return s.showQueue(w, r, v, status, sent)
}

// warning is what a moderator has told the viewer.
type warning struct {
	ID        int        `json:"id"`
	CommentID *int       `json:"comment_id"`
	Text      string     `json:"text"`
	CreatedAt time.Time  `json:"created_at"`
	SeenAt    *time.Time `json:"seen_at"`
}

// loadWarnings returns what moderators have told somebody, the newest first.
func (s *server) loadWarnings(ctx context.Context, userID int) ([]warning, error) {
	return many[warning](ctx, s.db, `select id, comment_id, text, created_at, seen_at from warning where user_id = $1 order by id desc limit 100`, userID)
}

func (s *server) showWarnings(w http.ResponseWriter, r *http.Request, v viewer) error {
	list, err := s.loadWarnings(r.Context(), v.ID)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

// markSeen notes that the viewer has read a warning.
func (s *server) markSeen(r *http.Request, v viewer) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	tag, err := s.db.Exec(r.Context(), `update warning set seen_at = coalesce(seen_at, $3) where id = $1 and user_id = $2`, id, v.ID, s.now().UTC())
	if err == nil && tag.RowsAffected() == 0 {
		return fail(http.StatusNotFound, "Warning not found")
	}
	return err
}

func (s *server) seeWarning(w http.ResponseWriter, r *http.Request, v viewer) error {
	if err := s.markSeen(r, v); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, message{"Thank you"})
}
