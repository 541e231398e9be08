package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/jackc/pgx/v5"
)

// freshSignIn is how long after signing in an account can be deleted without
// its password.
const freshSignIn = 15 * time.Minute

// deleteAccount deletes the account of v, who gives the password or has just
// signed in.
func (s *server) deleteAccount(ctx context.Context, v viewer, in *input, c client) error {
	password := in.optional("password", nil, maxPassword)
	if err := in.err(); err != nil {
		return err
	}
	switch {
	case password != nil:
		if err := s.checkPassword(ctx, v, *password, fail(http.StatusForbidden, "Password is incorrect")); err != nil {
			return err
		}
	case s.now().Sub(v.since) > freshSignIn:
		return fail(http.StatusForbidden, "Please give your password to delete your account, or sign in again first")
	}
	return s.forget(ctx, v.ID)
}

// forget deletes an account with all that is personal: its sessions, history,
// likes, reports, comments, projects and files. Comments that others have
// answered stay without text and author. The last admin can't go.
func (s *server) forget(ctx context.Context, userID int) error {
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		admins, err := lockAdmins(ctx, tx)
		if err != nil {
			return err
		}
		if len(admins) == 1 && admins[0] == userID {
			return fail(http.StatusBadRequest, "This is the last admin; make somebody else an admin first")
		}
		var username, email string
		if err := tx.QueryRow(ctx, `select username, email from "user" where id = $1 for update`, userID).Scan(&username, &email); err != nil {
			return orNotFound(err, "User")
		}
		rows, err := tx.Query(ctx, `select id from project where author_id = $1`, userID)
		if err != nil {
			return err
		}
		projects, err := pgx.CollectRows(rows, pgx.RowTo[int])
		if err != nil {
			return err
		}
		if err := dropProjects(ctx, tx, projects...); err != nil {
			return err
		}
		// What the takeover of an older database set aside.
		if _, err := tx.Exec(ctx, `
			delete from merged_row where row_data->'user_id' = to_jsonb($1::integer) or row_data->'author_id' = to_jsonb($1::integer)
				or table_name = 'user' and row_id = $1`, userID); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `delete from "user" where id = $1`, userID); err != nil {
			return err
		}
		return s.sendMail(ctx, tx, email, "account-deleted", map[string]any{"Username": username})
	})
	if err == nil {
		s.tidy(ctx)
	}
	return err
}

// lockAdmins returns the ids of the active admins and holds their rows, always
// in one order, so that of two changes at once the second sees the first.
func lockAdmins(ctx context.Context, tx pgx.Tx) ([]int, error) {
	rows, err := tx.Query(ctx, `select id from "user" where type = 1 and status = 'active' order by id for update`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// deleteMe answers DELETE /api/me and its other paths.
func (s *server) deleteMe(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := &input{where: "body"}
	if r.ContentLength != 0 {
		var err error
		if in, err = readInput(w, r); err != nil {
			return err
		}
	}
	if err := s.deleteAccount(r.Context(), v, in, s.clientOf(r)); err != nil {
		return err
	}
	s.setSignIn(w, "", "")
	return writeJSON(w, http.StatusOK, message{"Your account is deleted"})
}

// sendDeletion takes the form that deletes an account.
func (s *server) sendDeletion(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	in.verbatim("password", 1, maxPassword)
	if err = s.deleteAccount(r.Context(), v, in, s.clientOf(r)); err == nil {
		s.setSignIn(w, "", "")
		return s.done(w, r, "/register", "Your account is deleted, with all that belonged to it.")
	}
	if publicError(err).status == http.StatusForbidden {
		err = fail(http.StatusBadRequest, "%s", publicError(err).detail)
	}
	sent, status, err := refused(w, "delete", in, err)
	if err != nil {
		return err
	}
	return s.renderAccount(w, r, v, status, "account_data", sent)
}

// exported are the files of an export, and the query for the rows in each. The
// account's hash, secrets and codes are not among them.
var exported = []struct{ file, query string }{
	{"account.json", `select id, username, firstname, lastname, date_of_birth, email, pending_email, email_verified, status, type, created_at, updated_at,
		last_login, force_password_reset, profile_picture, location, bio, totp_confirmed_at, terms_version, terms_accepted_at, banned_until,
		notify_replies, notify_mentions, notify_projects, notify_reports from "user" where id = $1`},
	{"sessions.json", `select id::varchar, created_at, last_seen_at, ip_address, user_agent from session where user_id = $1 order by created_at`},
	// Where an admin sat who did something is the admin's affair.
	{"audit_log.json", `select action, field_changed, old_value, new_value, changed_by = user_id as by_yourself, changed_at,
		case when changed_by is null or changed_by = user_id then ip_address end as ip_address,
		case when changed_by is null or changed_by = user_id then user_agent end as user_agent
		from accountlog where user_id = $1 order by id`},
	{"comments.json", `select id, url, entity_type, entity_id, parent_comment_id, content, created_at, edited_at, is_removed, removed_at, is_hidden, like_count,
		(select coalesce(jsonb_agg(jsonb_build_object('content', o.content, 'edited_at', o.edited_at) order by o.id), '[]') from commentversion o where o.comment_id = comment.id) as versions
		from comment where user_id = $1 order by id`},
	{"likes.json", `select url, entity_type, entity_id, created_at from "like" where user_id = $1 order by id`},
	{"reports.json", `select comment_id, reason, details, created_at from comment_report where user_id = $1 order by id`},
	{"warnings.json", `select comment_id, text, created_at, seen_at from warning where user_id = $1 order by id`},
	{"comment_likes.json", `select comment_id, created_at from commentlike where user_id = $1 order by id`},
}

// exportMe answers GET /api/me/export: a ZIP of everything about the viewer's
// account, as JSON, with the projects and their files.
func (s *server) exportMe(w http.ResponseWriter, r *http.Request, v viewer) error {
	ctx, cancel := s.promptly(r)
	defer cancel()
	files := map[string][]byte{}
	var projects []exportedProject
	for _, part := range exported {
		rows, err := s.db.Query(ctx, part.query, v.ID)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToMap)
		if err != nil {
			return err
		}
		if files[part.file], err = json.MarshalIndent(list, "", "  "); err != nil {
			return err
		}
	}
	own, err := many[project](ctx, s.db, selectProjects+`where p.author_id = $1 order by p.id`, v.ID)
	if err != nil {
		return err
	}
	for _, p := range own {
		d, err := s.loadDetail(ctx, p)
		if err != nil {
			return err
		}
		entries, err := s.archiveEntries(r.Context(), d, true)
		if err != nil {
			return err
		}
		projects = append(projects, exportedProject{d, entries})
	}
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", attachment(v.Username+"_export.zip"))
	if r.Method == http.MethodHead {
		return nil
	}
	if err := s.writeExport(r.Context(), unhurried(w, r), v, files, projects); err != nil {
		// The status is sent: only a broken connection tells that the ZIP is not whole.
		infoOf(r).err = err
		panic(http.ErrAbortHandler)
	}
	return nil
}

// exportedProject is a project with its files on their way into an export.
type exportedProject struct {
	projectDetail
	entries map[string]archiveEntry
}

// writeExport writes the parts of an export, then each project as its own ZIP
// has it.
func (s *server) writeExport(ctx context.Context, w http.ResponseWriter, v viewer, files map[string][]byte, projects []exportedProject) error {
	archive := s.newZIP(w)
	write := func(name string, content []byte) error {
		entry, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: s.now()})
		if err == nil {
			_, err = entry.Write(content)
		}
		return err
	}
	for _, part := range exported {
		if err := write(part.file, files[part.file]); err != nil {
			return err
		}
	}
	for _, p := range projects {
		d := p.projectDetail
		dir := fmt.Sprintf("projects/%d_%s/", d.ID, strings.TrimSuffix(zipName(d.Title), "_project.zip"))
		texts, err := s.bundleTexts(d, p.entries)
		if err == nil {
			err = s.writeProject(ctx, archive, dir, d, texts, p.entries)
		}
		if err != nil {
			return err
		}
	}
	if err := s.writePicture(ctx, archive, v); err != nil {
		return err
	}
	return archive.Close()
}

// writePicture writes the viewer's profile picture, if there is one.
func (s *server) writePicture(ctx context.Context, archive *zipStream, v viewer) error {
	look, cancel := context.WithTimeout(ctx, s.cfg.promptness)
	defer cancel()
	a, err := s.loadAccount(look, v.ID)
	if err != nil || a.ProfilePicture == nil {
		return err
	}
	err = s.copyStored(ctx, archive, pictureFolder, *a.ProfilePicture, "profile_picture"+filepath.Ext(*a.ProfilePicture), a.UpdatedAt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// cleanUp deletes what is kept no longer: sessions and links that are over,
// failed attempts that no longer count, and history beyond its age.
func (s *server) cleanUp(ctx context.Context) error {
	now := s.now().UTC()
	var batch pgx.Batch
	batch.Queue(`delete from session where last_seen_at <= $1 or created_at <= $2`, now.Add(-s.cfg.sessionIdle), now.Add(-s.cfg.sessionMax))
	batch.Queue(`delete from mail_token where expires_at <= $1`, now)
	batch.Queue(`delete from kept_form where kept_at <= $1`, now.Add(-keptLife))
	batch.Queue(`delete from failed_attempt where last_at < $1 and (locked_until is null or locked_until <= $2)`, now.Add(-lockMemory), now)
	batch.Queue(`update "user" set password_reset_code = null, code_expires_at = null where code_expires_at <= $1`, now)
	// Only where nobody sends them: a worker gives letters up before.
	batch.Queue(`delete from outbox where created_at < $1`, now.Add(-2*mailLife))
	if s.cfg.retentionAudit > 0 {
		batch.Queue(`delete from accountlog where changed_at < $1`, now.Add(-s.cfg.retentionAudit))
	}
	return s.db.SendBatch(ctx, &batch).Close()
}

// The texts that people agree to when they register.
//
//go:embed templates/privacy.md templates/terms.md
var legalFiles embed.FS

// legalText is a page's Markdown: the file of the operator's in DATA_DIR, or
// the one that Chatter brings, which names what is stored and for how long.
func (s *server) legalText(name string) (string, error) {
	own, err := os.ReadFile(filepath.Join(s.cfg.dataDir, name))
	if err == nil {
		return string(own), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	t, err := template.ParseFS(legalFiles, "templates/"+name)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	days := func(d time.Duration) int { return int(d.Hours() / 24) }
	err = t.Execute(&text, map[string]any{
		"SiteName": s.cfg.siteName, "SiteURL": s.cfg.siteURL, "PublicURL": s.cfg.publicURL, "AuditDays": days(s.cfg.retentionAudit), "IPDays": days(s.cfg.retentionIP), "RespectDNT": s.cfg.respectDNT,
		"SessionIdleDays": days(s.cfg.sessionIdle), "SessionMaxDays": days(s.cfg.sessionMax), "Mail": s.cfg.canMail(),
	})
	return text.String(), err
}

// termsVersion names the texts that are in force: a hash that changes with
// them.
func (s *server) termsVersion() (string, error) {
	h := sha256.New()
	for _, name := range []string{"terms.md", "privacy.md"} {
		text, err := s.legalText(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d %s", len(text), text)
	}
	return fmt.Sprintf("%.12x", h.Sum(nil))[:12], nil
}

// showLegal answers one of the two pages.
func (s *server) showLegal(name, title string) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		text, err := s.legalText(name)
		if err != nil {
			return err
		}
		return s.render(w, r, http.StatusOK, "legal", v, title, renderMarkdownFrom(text, 1))
	}
}
