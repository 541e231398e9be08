package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// The file of exported comments has a line of JSON for its head and one for
// each comment (https://jsonlines.org); docs/COMMENTS.md describes them.

const (
	transferFormat  = "chatter comments"
	transferVersion = 1
)

// transferHead is the file's first line.
type transferHead struct {
	Format     string     `json:"format"`
	Version    int        `json:"version"`
	Site       string     `json:"site,omitempty"`
	ExportedAt *time.Time `json:"exported_at,omitempty"`
	Comments   *int       `json:"comments,omitempty"` // how many lines follow
}

// transferComment is a comment in the file. Its id and that of its parent tell
// the comments of the file apart; a comment on a page has a url, one on a
// project a project.
type transferComment struct {
	ID              int              `json:"id"`
	URL             *string          `json:"url"`
	Project         *transferProject `json:"project"`
	ParentCommentID *int             `json:"parent_comment_id"`
	Author          *transferPerson  `json:"author"`
	Content         string           `json:"content"`
	CreatedAt       time.Time        `json:"created_at"`
	EditedAt        *time.Time       `json:"edited_at"`
	IsHidden        bool             `json:"is_hidden"`
	IsRemoved       bool             `json:"is_removed"`
	RemovedAt       *time.Time       `json:"removed_at"`
	HeldFor         *string          `json:"held_for"`    // new, link or all, while it waits for a moderator
	ReviewedAt      *time.Time       `json:"reviewed_at"` // by whom it was hidden or shown again, and when
	ReviewedBy      *transferPerson  `json:"reviewed_by"`
	Versions        []transferText   `json:"versions"` // older texts, the first one first
	Likes           []transferLike   `json:"likes"`
}

type transferPerson struct {
	Username  string     `json:"username"`
	Email     string     `json:"email"`
	CreatedAt *time.Time `json:"created_at"` // when the account was made
}

type transferProject struct {
	Title     string     `json:"title"`
	Author    string     `json:"author"` // username
	CreatedAt *time.Time `json:"created_at"`
}

type transferText struct {
	Content  string    `json:"content"`
	EditedAt time.Time `json:"edited_at"` // when another text took its place
}

type transferLike struct {
	By        transferPerson `json:"by"`
	CreatedAt time.Time      `json:"created_at"`
}

// commentsCommand is `chatter comments …`.
func (s *server) commentsCommand(ctx context.Context, args []string, stdout io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "export":
		return s.exportComments(ctx, args[1], stdout)
	case len(args) == 2 && args[0] == "import":
		return s.importComments(ctx, args[1], false, stdout)
	case len(args) == 3 && args[0] == "import" && args[1] == "--create-authors":
		return s.importComments(ctx, args[2], true, stdout)
	}
	return errors.New("usage: chatter comments export FILE | import [--create-authors] FILE")
}

// unhurriedTx runs do in a transaction that may take as long as it needs.
func (s *server) unhurriedTx(ctx context.Context, options pgx.TxOptions, do func(tx pgx.Tx) error) error {
	return pgx.BeginTxFunc(ctx, s.db, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0`); err != nil {
			return err
		}
		return do(tx)
	})
}

// exportComments writes every comment to the file, which is there when it is
// whole. It holds e-mail addresses: only its owner may read it.
func (s *server) exportComments(ctx context.Context, path string, stdout io.Writer) (err error) {
	f, err := os.OpenFile(path+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	out := bufio.NewWriter(f)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	count := 0
	err = s.unhurriedTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `select count(*) from (`+queries["export_comments"]+`) exported`).Scan(&count); err != nil {
			return err
		}
		now := s.now().UTC()
		if err := lines.Encode(transferHead{transferFormat, transferVersion, s.cfg.siteURL, &now, &count}); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, queries["export_comments"])
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			c, err := pgx.RowToStructByName[transferComment](rows)
			if err != nil {
				return err
			}
			if err := lines.Encode(c); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		fmt.Fprintf(stdout, "%d comments are in %s, with the e-mail addresses of their authors: keep it where only you can read it.\n", count, path)
	}
	return err
}

// importComments adds the comments of a file that are not here yet, in one
// transaction, and prints a line for each that it had to skip. Texts are taken
// as they are: they were looked at when they were written. createAuthors makes
// accounts for authors who have none.
func (s *server) importComments(ctx context.Context, path string, createAuthors bool, stdout io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = s.unhurriedTx(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := loadIncoming(ctx, tx, f); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, queries["import_people"]); err != nil {
			return err
		}
		if createAuthors {
			if _, err := tx.Exec(ctx, queries["import_authors"]); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, queries["import_comments"]); err != nil {
			return err
		}
		return reportImport(ctx, tx, stdout)
	})
	if err != nil {
		return fmt.Errorf("nothing was imported: %w", err)
	}
	return nil
}

// loadIncoming copies the lines of a file into the temporary table incoming,
// one at a time.
func loadIncoming(ctx context.Context, tx pgx.Tx, file io.Reader) error {
	if _, err := tx.Exec(ctx, `
		create temp table incoming (line integer, id integer primary key, url varchar, project jsonb, parent integer, author jsonb, content text,
			created_at timestamp, edited_at timestamp, is_hidden boolean, is_removed boolean, removed_at timestamp, held_for varchar, reviewed_at timestamp,
			reviewed_by jsonb, versions jsonb, likes jsonb,
			user_id integer, project_id integer, new_id integer, present boolean not null default false, reason varchar) on commit drop`); err != nil {
		return err
	}
	in := &transferReader{lines: bufio.NewReader(file)}
	head, err := in.head()
	if err != nil {
		return err
	}
	columns := []string{"line", "id", "url", "project", "parent", "author", "content", "created_at", "edited_at", "is_hidden", "is_removed",
		"removed_at", "held_for", "reviewed_at", "reviewed_by", "versions", "likes"}
	count, err := tx.CopyFrom(ctx, pgx.Identifier{"incoming"}, columns, pgx.CopyFromFunc(in.row))
	if _, twice := violates(err); twice {
		return errors.New("two comments of the file have the same id")
	}
	if err == nil && head.Comments != nil && int64(*head.Comments) != count {
		return fmt.Errorf("the file is not whole: it says that it has %d comments, and has %d", *head.Comments, count)
	}
	return err
}

// transferReader reads a file of exported comments.
type transferReader struct {
	lines *bufio.Reader
	line  int
}

// next decodes the next line that is not blank; at the end it is io.EOF.
// Whatever is wrong with a line is said with its number.
func (in *transferReader) next(into any) error {
	for {
		text, err := in.lines.ReadBytes('\n')
		if err != nil && (err != io.EOF || len(text) == 0) {
			return err
		}
		in.line++
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		if !utf8.Valid(text) {
			return in.fault("the text is not valid UTF-8")
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(into); err != nil {
			return in.fault(strings.TrimPrefix(err.Error(), "json: "))
		}
		if _, err := decoder.Token(); err != io.EOF {
			return in.fault("there is more than one value in the line")
		}
		return nil
	}
}

func (in *transferReader) fault(text string) error {
	return fmt.Errorf("line %d: %s", in.line, text)
}

func (in *transferReader) head() (head transferHead, err error) {
	if err = in.next(&head); err == io.EOF || err == nil && head.Format != transferFormat {
		return head, fmt.Errorf("this is no file of exported comments: its first line must be {\"format\": %q, \"version\": %d}", transferFormat, transferVersion)
	}
	if err == nil && head.Version != transferVersion {
		err = fmt.Errorf("the file has version %d, and this Chatter reads version %d", head.Version, transferVersion)
	}
	return head, err
}

// row is the next comment as a row of incoming, nil at the end.
func (in *transferReader) row() ([]any, error) {
	var c transferComment
	if err := in.next(&c); err == io.EOF {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if wrong := c.check(); wrong != "" {
		return nil, in.fault(wrong)
	}
	return []any{in.line, c.ID, c.URL, c.Project, c.ParentCommentID, c.Author, c.Content, c.CreatedAt.UTC(), utc(c.EditedAt), c.IsHidden, c.IsRemoved,
		utc(c.RemovedAt), c.HeldFor, utc(c.ReviewedAt), c.ReviewedBy, append([]transferText{}, c.Versions...), append([]transferLike{}, c.Likes...)}, nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return ptr(t.UTC())
}

// check returns what is wrong with a comment of a file, if something is, and
// brings its URL into the form under which it is stored.
func (c *transferComment) check() string {
	texts := []string{c.Content}
	people := []*transferPerson{c.Author, c.ReviewedBy}
	for _, v := range c.Versions {
		texts = append(texts, v.Content)
	}
	for i := range c.Likes {
		people = append(people, &c.Likes[i].By)
	}
	for _, p := range people {
		if p != nil {
			texts = append(texts, p.Username, p.Email)
			if p.Username == "" {
				return "somebody has no username"
			}
		}
	}
	if c.URL != nil {
		c.URL = ptr(pageURL(*c.URL))
		texts = append(texts, *c.URL)
	}
	if c.Project != nil {
		texts = append(texts, c.Project.Title, c.Project.Author)
	}
	switch {
	case c.ID < 1 || c.ID > math.MaxInt32:
		return "the id must be a number from 1 to 2147483647"
	case (c.URL == nil) == (c.Project == nil):
		return "a comment must have a url or a project, and not both"
	case c.URL != nil && (utf8.RuneCountInString(*c.URL) > maxURL || len(*c.URL) > maxURLBytes):
		return fmt.Sprintf("the url must have at most %d characters and %d bytes", maxURL, maxURLBytes)
	case c.CreatedAt.Year() < 1900:
		return "created_at must be a time such as 2026-11-22T17:03:16Z"
	case c.HeldFor != nil && (!slices.Contains([]string{"new", "link", "all"}, *c.HeldFor) || !c.IsHidden):
		return "held_for must be new, link or all, of a comment that is hidden"
	case c.Content == "" && !c.IsRemoved:
		return "the content is empty"
	case strings.ContainsRune(strings.Join(texts, ""), 0):
		return "a text holds a NUL character"
	}
	return ""
}

// reportImport prints what was skipped and why, and the sums.
func reportImport(ctx context.Context, tx pgx.Tx, stdout io.Writer) error {
	rows, err := tx.Query(ctx, `
		select line, id, coalesce(url, project ->> 'title', ''), coalesce(author ->> 'username', 'nobody'), reason
		from incoming where reason is not null order by line`)
	if err != nil {
		return err
	}
	var line, id int
	var page, author, reason string
	if _, err := pgx.ForEachRow(rows, []any{&line, &id, &page, &author, &reason}, func() error {
		_, err := fmt.Fprintf(stdout, "skipped line %d, comment %d by %s on %s: %s\n", line, id, author, page, reason)
		return err
	}); err != nil {
		return err
	}
	var added, present, skipped, accounts, likes int
	if err := tx.QueryRow(ctx, `
		select count(*) filter (where reason is null and not present), count(*) filter (where present), count(*) filter (where reason is not null),
		       (select count(*) from person where made),
		       (select count(*) from incoming, jsonb_array_elements(likes) l, person
		        where reason is null and not present and who = l -> 'by' and person.user_id is null)
		from incoming`).Scan(&added, &present, &skipped, &accounts, &likes); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%d comments added, %d there already, %d skipped; %d accounts made; %d likes of people without an account left out\n",
		added, present, skipped, accounts, likes)
	return err
}
