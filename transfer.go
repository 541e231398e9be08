package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// exportFormat is in the head of every export; see docs/EXPORT.md.
const exportFormat = "chatter comments 1"

// exportedComment is a comment in an export, with everything that belongs to
// it. People are named by their usernames.
type exportedComment struct {
	ID         int               `json:"id"`     // in the database that it comes from
	Parent     *int              `json:"parent"` // the id of the comment that it answers
	URL        *string           `json:"url"`
	EntityType *string           `json:"entity_type"`
	EntityID   *int              `json:"entity_id"`
	Author     *string           `json:"author"` // null when the account was deleted
	Content    string            `json:"content"`
	CreatedAt  time.Time         `json:"created_at"`
	EditedAt   *time.Time        `json:"edited_at"`
	RemovedAt  *time.Time        `json:"removed_at"`
	Removed    bool              `json:"removed"`
	Hidden     bool              `json:"hidden"`
	HeldFor    *string           `json:"held_for"` // new, link or all: it waits for a moderator
	ReviewedAt *time.Time        `json:"reviewed_at"`
	ReviewedBy *string           `json:"reviewed_by"`
	Versions   []exportedVersion `json:"versions"`
	Likes      []exportedLike    `json:"likes"`
	Reports    []exportedReport  `json:"reports"`
}

type exportedVersion struct {
	Content  string    `json:"content"`
	EditedAt time.Time `json:"edited_at"`
}

type exportedLike struct {
	Username  string    `json:"username"`
	CreatedAt time.Time `json:"created_at"`
}

type exportedReport struct {
	Username  string     `json:"username"`
	Reason    string     `json:"reason"`
	Details   *string    `json:"details"`
	CreatedAt time.Time  `json:"created_at"`
	ClearedAt *time.Time `json:"cleared_at"`
}

// commentsCommand is `chatter comments export|import FILE`; - is the standard
// output or input.
func (s *server) commentsCommand(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) error {
	if len(args) != 2 || args[0] != "export" && args[0] != "import" {
		return errors.New("usage: chatter comments export FILE | import FILE")
	}
	name := args[1]
	switch {
	case args[0] == "export" && name == "-":
		_, err := s.exportComments(ctx, stdout)
		return err
	case args[0] == "export":
		// A file of that name is whole, or is what it was before.
		file, err := os.CreateTemp(filepath.Dir(name), ".comments-*")
		if err != nil {
			return err
		}
		defer os.Remove(file.Name())
		count, err := s.exportComments(ctx, file)
		if err = errors.Join(err, file.Close()); err == nil {
			err = os.Rename(file.Name(), name)
		}
		if err == nil {
			fmt.Fprintf(stdout, "%d comments are in %s\n", count, name)
		}
		return err
	case name == "-":
		return s.importComments(ctx, stdin, stdout)
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return s.importComments(ctx, file, stdout)
}

// exportComments writes every comment, a line each inside one JSON object, and
// returns how many there are. All are of one moment.
func (s *server) exportComments(ctx context.Context, w io.Writer) (count int, err error) {
	out := bufio.NewWriter(w)
	head, _ := json.Marshal(exportFormat)
	made, _ := json.Marshal(s.now().UTC())
	site, _ := json.Marshal(s.cfg.publicURL)
	fmt.Fprintf(out, "{\"format\": %s, \"exported_at\": %s, \"site\": %s, \"comments\": [", head, made, site)
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local statement_timeout = 0`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, queries["export_comments"])
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			c, err := pgx.RowToStructByName[exportedComment](rows)
			if err != nil {
				return err
			}
			line, err := json.Marshal(c)
			if err != nil {
				return err
			}
			if count++; count > 1 {
				out.WriteByte(',')
			}
			out.WriteByte('\n')
			out.Write(line)
		}
		return rows.Err()
	})
	if err != nil {
		return count, err
	}
	fmt.Fprint(out, "\n]}\n")
	return count, out.Flush()
}

// importBatch is how many comments are written in one transaction.
const importBatch = 500

// importComments adds the comments of an export that are not there yet. One is
// there when its target has a comment of its author of the same moment, so that
// an import can be run again. What can't be added is reported with its reason,
// and so are the replies to it.
func (s *server) importComments(ctx context.Context, r io.Reader, stdout io.Writer) error {
	in := json.NewDecoder(r)
	if err := skipToComments(in); err != nil {
		return fmt.Errorf("this is no export of comments: %w", err)
	}
	ids := map[int]int{} // by the id in the file
	var added, known, skipped int
	for in.More() {
		var batch []exportedComment
		for in.More() && len(batch) < importBatch {
			var c exportedComment
			if err := in.Decode(&c); err != nil {
				return fmt.Errorf("after %d comments the file can't be read, nothing of what follows was added: %w", added+known+skipped+len(batch), err)
			}
			batch = append(batch, c)
		}
		err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
			for _, c := range batch {
				id, fresh, err := s.importComment(ctx, tx, c, ids)
				var reason *skippedComment
				switch {
				case errors.As(err, &reason):
					skipped++
					fmt.Fprintf(stdout, "skipped comment %d: %s\n", c.ID, reason.reason)
				case err != nil:
					return fmt.Errorf("comment %d: %w", c.ID, err)
				case fresh:
					added++
					ids[c.ID] = id
				default:
					known++
					ids[c.ID] = id
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "%d comments added, %d were there already, %d skipped\n", added, known, skipped)
	return nil
}

// skipToComments reads the head of an export up to its first comment.
func skipToComments(in *json.Decoder) error {
	if t, err := in.Token(); err != nil || t != json.Delim('{') {
		return cmp.Or(err, errors.New("it does not begin with {"))
	}
	format := ""
	for in.More() {
		key, err := in.Token()
		if err != nil {
			return err
		}
		if key == "comments" {
			if format != exportFormat {
				return fmt.Errorf("its format is %q, and not %q", format, exportFormat)
			}
			t, err := in.Token()
			if err == nil && t != json.Delim('[') {
				err = errors.New(`"comments" is no list`)
			}
			return err
		}
		var value any
		if err := in.Decode(&value); err != nil {
			return err
		}
		if key == "format" {
			format, _ = value.(string)
		}
	}
	return errors.New(`it has no "comments"`)
}

// skippedComment is why a comment was left out of an import.
type skippedComment struct{ reason string }

func (e *skippedComment) Error() string { return e.reason }

func skip(format string, args ...any) error { return &skippedComment{fmt.Sprintf(format, args...)} }

// check says what of a comment the database can't have.
func (c exportedComment) check() error {
	texts := []string{c.Content, deref(c.URL), deref(c.Author)}
	for _, v := range c.Versions {
		texts = append(texts, v.Content)
	}
	for _, r := range c.Reports {
		texts = append(texts, deref(r.Details))
		if !slices.Contains(reportReasons, r.Reason) {
			return skip("a report's reason is %q", r.Reason)
		}
	}
	switch {
	case slices.ContainsFunc(texts, func(text string) bool { return !isPlain(text) }):
		return skip("a text holds a NUL character")
	case (c.URL == nil) == (c.EntityID == nil):
		return skip("it belongs to no page, or to several")
	case c.EntityID != nil && deref(c.EntityType) != "project":
		return skip("it belongs to a %q, which there is not here", deref(c.EntityType))
	case c.URL != nil && checkURL(*c.URL) != "":
		return skip("its page's address is too long")
	case c.CreatedAt.IsZero():
		return skip("it does not say when it was written")
	case c.Author != nil && !hasInk(c.Content), utf8.RuneCountInString(c.Content) > maxComment:
		return skip("its text is empty or has more than %d characters", maxComment)
	case c.HeldFor != nil && !slices.Contains([]string{"new", "link", "all"}, *c.HeldFor):
		return skip("it waits for a moderator because of %q", *c.HeldFor)
	}
	return nil
}

// importComment adds one comment; ids are those that are there, by the ids in
// the file.
func (s *server) importComment(ctx context.Context, tx pgx.Tx, c exportedComment, ids map[int]int) (id int, fresh bool, err error) {
	if err := c.check(); err != nil {
		return 0, false, err
	}
	t := target{c.URL, c.EntityType, c.EntityID}
	if c.URL != nil {
		t = pageTarget(pageURL(*c.URL))
	} else {
		t.EntityType = ptr("project")
	}
	var author, parent *int
	if c.Author != nil {
		err := tx.QueryRow(ctx, `select id from "user" where lower(username) = lower($1) order by username = $1 desc, username_double limit 1`, *c.Author).Scan(&author)
		if errors.Is(err, pgx.ErrNoRows) {
			return 0, false, skip("there is no account called %s", *c.Author)
		}
		if err != nil {
			return 0, false, err
		}
	}
	if t.EntityID != nil {
		var one int
		err := tx.QueryRow(ctx, `select 1 from project where id = $1 for key share`, t.EntityID).Scan(&one)
		if errors.Is(err, pgx.ErrNoRows) {
			return 0, false, skip("there is no project %d", *t.EntityID)
		}
		if err != nil {
			return 0, false, err
		}
	}
	if c.Parent != nil {
		known, is := ids[*c.Parent]
		if !is {
			return 0, false, skip("comment %d, which it answers, is not here", *c.Parent)
		}
		parent = &known
	}
	err = tx.QueryRow(ctx, `select id from comment where `+sameTarget+` and user_id is not distinct from $4::integer and created_at = $5 limit 1`,
		t.URL, t.EntityType, t.EntityID, author, c.CreatedAt.UTC()).Scan(&id)
	if !errors.Is(err, pgx.ErrNoRows) {
		return id, false, err
	}
	if parent != nil {
		var same bool
		if err := tx.QueryRow(ctx, `select `+sameTarget+` is true from comment where id = $4`, t.URL, t.EntityType, t.EntityID, parent).Scan(&same); err != nil {
			return 0, false, err
		}
		if !same {
			return 0, false, skip("comment %d, which it answers, belongs to another page", *c.Parent)
		}
	}
	err = tx.QueryRow(ctx, `
		insert into comment (url, entity_type, entity_id, user_id, content, created_at, edited_at, removed_at, is_removed, is_hidden, held_for, reviewed_at, reviewed_by, parent_comment_id)
		values (`+storedURL+`, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, (select id from "user" where username = $13), $14) returning id`,
		t.URL, t.EntityType, t.EntityID, author, strings.TrimSpace(c.Content), c.CreatedAt.UTC(), utc(c.EditedAt), utc(c.RemovedAt), c.Removed || c.Author == nil,
		c.Hidden || c.HeldFor != nil, c.HeldFor, utc(c.ReviewedAt), c.ReviewedBy, parent).Scan(&id)
	if err != nil {
		return 0, false, err
	}
	var batch pgx.Batch
	for _, v := range c.Versions {
		batch.Queue(`insert into commentversion (comment_id, content, edited_at) values ($1, $2, $3)`, id, v.Content, v.EditedAt.UTC())
	}
	for _, l := range c.Likes {
		batch.Queue(`insert into commentlike (comment_id, user_id, created_at) select $1, id, $3 from "user" where username = $2 on conflict do nothing`, id, l.Username, l.CreatedAt.UTC())
	}
	for _, r := range c.Reports {
		batch.Queue(`
			insert into comment_report (comment_id, user_id, reason, details, created_at, cleared_at)
			select $1, id, $3, $4, $5, $6 from "user" where username = $2 on conflict do nothing`, id, r.Username, r.Reason, r.Details, r.CreatedAt.UTC(), utc(r.ClearedAt))
	}
	return id, true, tx.SendBatch(ctx, &batch).Close()
}

// utc is a time as the database keeps it, without a zone.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return ptr(t.UTC())
}
