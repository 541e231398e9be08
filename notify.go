package main

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// notifications are the letters that somebody wants.
type notifications struct {
	Replies  bool `json:"replies"`  // to one's comments
	Mentions bool `json:"mentions"` // of one's name
	Projects bool `json:"projects"` // comments on one's projects
	Reports  bool `json:"reports"`  // of comments; only admins get these
}

// letterKinds are the kinds of letters as their columns and links name them,
// with what people call them.
var letterKinds = map[string]string{
	"replies": "answers to your comments", "mentions": "comments that name you", "projects": "comments on your projects", "reports": "reports",
}

func (s *server) loadNotifications(ctx context.Context, db querier, userID int) (notifications, error) {
	return one[notifications](ctx, db, `
		select notify_replies as replies, notify_mentions as mentions, notify_projects as projects, notify_reports as reports
		from "user" where id = $1`, userID)
}

// showNotifications answers which letters the viewer wants.
func (s *server) showNotifications(w http.ResponseWriter, r *http.Request, v viewer) error {
	n, err := s.loadNotifications(r.Context(), s.db, v.ID)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, n)
}

// setNotifications changes which letters v wants; a kind that is left out stays.
func (s *server) setNotifications(ctx context.Context, v viewer, in *input) (n notifications, err error) {
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if n, err = s.loadNotifications(ctx, tx, v.ID); err != nil {
			return err
		}
		for name, on := range map[string]*bool{"replies": &n.Replies, "mentions": &n.Mentions, "projects": &n.Projects, "reports": &n.Reports} {
			if in.has(name) {
				*on = in.flag(name)
			}
		}
		if err := in.err(); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `update "user" set notify_replies = $2, notify_mentions = $3, notify_projects = $4, notify_reports = $5 where id = $1`,
			v.ID, n.Replies, n.Mentions, n.Projects, n.Reports)
		return err
	})
	return n, err
}

// putNotifications answers PUT /api/me/notifications.
func (s *server) putNotifications(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	n, err := s.setNotifications(r.Context(), v, in)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, n)
}

// sendNotifications takes the form on the account page, in which a box that is
// not ticked is left out.
func (s *server) sendNotifications(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	for name := range letterKinds {
		if !in.has(name) && (name != "reports" || v.Admin) {
			in.fields[name] = json.RawMessage(`"false"`)
		}
	}
	if _, err := s.setNotifications(r.Context(), v, in); err != nil {
		return err
	}
	return s.done(w, r, "/account/notifications", "Saved.")
}

// announceComment puts the letters about a comment that can be seen into the outbox, in
// the transaction that makes it so.
func (s *server) announceComment(ctx context.Context, tx pgx.Tx, id int) error {
	c, err := one[struct {
		target
		Content, Author, Title, ProjectAuthor string
	}](ctx, tx, `
		select c.url, c.entity_type, c.entity_id, c.content, u.username as author, coalesce(p.title, '') as title, coalesce(a.username, '') as project_author
		from comment c join "user" u on u.id = c.user_id left join project p on p.id = c.entity_id left join "user" a on a.id = p.author_id
		where c.id = $1`, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // its author is gone
	}
	if err != nil {
		return err
	}
	var names []string
	for _, name := range mention.FindAllString(c.Content, 100) {
		names = append(names, strings.ToLower(name[1:]))
	}
	rows, err := tx.Query(ctx, queries["recipients"], id, names, s.cfg.verifies())
	if err != nil {
		return err
	}
	recipients, err := pgx.CollectRows(rows, pgx.RowToStructByName[struct {
		ID                    int
		Username, Email, Kind string
	}])
	if err != nil {
		return err
	}
	about, page := c.Title, project{ID: deref(c.EntityID), Title: c.Title, AuthorUsername: c.ProjectAuthor}.Path()
	if c.URL != nil {
		about, page = *c.URL, threadAddress(*c.URL)
	}
	for _, r := range recipients {
		what := map[string]string{"replies": "answered your comment on", "mentions": "named you on", "projects": "commented on your project"}[r.Kind]
		stop := s.stopLink(r.ID, r.Kind)
		if err := s.sendMail(ctx, tx, r.Email, "comment", map[string]any{
			"Username": r.Username, "Author": c.Author, "What": what, "About": truncate(about, 100), "Text": truncate(c.Content, 1000),
			"Link": s.cfg.publicURL + page + "#" + commentAnchor(id), "Kind": letterKinds[r.Kind], "Stop": stop,
		}, unsubscribeHeaders(stop)...); err != nil {
			return err
		}
	}
	return nil
}

// unsubscribeHeaders let a mail program switch a kind of letters off at a click
// (RFC 2369 §3.2, RFC 8058 §3.1).
func unsubscribeHeaders(stop string) []string {
	return []string{"List-Unsubscribe", "<" + stop + ">", "List-Unsubscribe-Post", "List-Unsubscribe=One-Click"}
}

// stopLink is the address that switches a kind of letters off for somebody,
// without signing in: only who got such a letter has it.
func (s *server) stopLink(userID int, kind string) string {
	text := fmt.Sprintf("%d.%s", userID, kind)
	return s.cfg.publicURL + "/unsubscribe?token=" + text + "." + s.stopProof(text)
}

func (s *server) stopProof(text string) string {
	return base64.RawURLEncoding.EncodeToString(mac(s.keyFor("unsubscribe"), text))
}

// readStop is whose letters of what kind a token stops, or the 400.
func (s *server) readStop(r *http.Request) (userID int, kind string, err error) {
	text, proof, _ := cutLast(r.URL.Query().Get("token"), ".")
	id, kind, _ := strings.Cut(text, ".")
	userID, err = strconv.Atoi(id)
	if err != nil || letterKinds[kind] == "" || !hmac.Equal([]byte(proof), []byte(s.stopProof(text))) {
		return 0, "", fail(http.StatusBadRequest, "This link is not whole. Copy all of it from the letter, or change on your account page which e-mails you get")
	}
	return userID, kind, nil
}

// unsubscribePage is the data of unsubscribe.html.
type unsubscribePage struct {
	Path, What string
	Done       bool
}

// showUnsubscribe asks whether letters shall stop: programs that look at every
// link in a letter must change nothing.
func (s *server) showUnsubscribe(w http.ResponseWriter, r *http.Request, v viewer) error {
	_, kind, err := s.readStop(r)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return s.render(w, r, http.StatusOK, "unsubscribe", v, "Stop e-mails", unsubscribePage{r.URL.RequestURI(), letterKinds[kind], false})
}

// sendUnsubscribe switches a kind of letters off, for the page's button and for
// mail programs. An account that is gone gets none anyway.
func (s *server) sendUnsubscribe(w http.ResponseWriter, r *http.Request, v viewer) error {
	userID, kind, err := s.readStop(r)
	if err != nil {
		return err
	}
	if _, err := s.db.Exec(r.Context(), `
		update "user" set notify_replies = notify_replies and $2 <> 'replies', notify_mentions = notify_mentions and $2 <> 'mentions',
			notify_projects = notify_projects and $2 <> 'projects', notify_reports = notify_reports and $2 <> 'reports' where id = $1`, userID, kind); err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "unsubscribe", v, "E-mails stopped", unsubscribePage{r.URL.RequestURI(), letterKinds[kind], true})
}

// digestEvery is how often admins are told of new reports.
const digestEvery = 24 * time.Hour

// reportDigest is the job that tells the admins how many comments wait for a
// moderator, when there are new ones.
func (s *server) reportDigest(ctx context.Context) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var reported, held int
		var fresh bool
		if err := tx.QueryRow(ctx, `
			with last as (select coalesce((select ran_at from job where name = 'report digest'), '-infinity') as at)
			select (select count(*) from comment where flag_count > 0 and not is_hidden and not is_removed),
			       (select count(*) from comment where held_for is not null and not is_removed),
			       exists (select from comment_report, last where cleared_at is null and created_at > last.at)
			       or exists (select from comment, last where held_for is not null and not is_removed and coalesce(edited_at, created_at) > last.at)`).
			Scan(&reported, &held, &fresh); err != nil {
			return err
		}
		if !fresh || reported+held == 0 {
			return nil
		}
		rows, err := tx.Query(ctx, `select id, username, email from "user" where type = 1 and status = 'active' and notify_reports and (email_verified or not $1)`, s.cfg.verifies())
		if err != nil {
			return err
		}
		admins, err := pgx.CollectRows(rows, pgx.RowToStructByName[struct {
			ID              int
			Username, Email string
		}])
		if err != nil {
			return err
		}
		for _, a := range admins {
			stop := s.stopLink(a.ID, "reports")
			if err := s.sendMail(ctx, tx, a.Email, "reports", map[string]any{
				"Username": a.Username, "Open": reported + held, "Reported": reported, "Held": held, "Link": s.cfg.publicURL + "/admin/moderation", "Stop": stop,
			}, unsubscribeHeaders(stop)...); err != nil {
				return err
			}
		}
		return nil
	})
}
