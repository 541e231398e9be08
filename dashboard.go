package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// dashboardDays is how far back the charts look.
const dashboardDays = 30

// dashboard is the data of admin_dashboard.html.
type dashboard struct {
	Alerts   []alert
	Charts   []chart
	Accounts int
	Admins   int
	Projects int // published
	Comments int
	Stored   string
	Newest   []adminUser
}

// alert is something that wants an admin's attention.
type alert struct {
	Text, Link, Label string
	Bad               bool // it can't wait
}

// showDashboard answers GET /admin.
func (s *server) showDashboard(w http.ResponseWriter, r *http.Request, v viewer) error {
	ctx := r.Context()
	var data dashboard
	var stored int64
	err := s.db.QueryRow(ctx, `
		select (select count(*) from "user" where status = 'active'), (select count(*) from "user" where status = 'active' and type = 1),
		       (select count(*) from project where status = 'published'), (select count(*) from comment where not is_removed and not is_hidden),
		       (select coalesce(sum(size), 0)::bigint from media_file where state = 'kept')`).
		Scan(&data.Accounts, &data.Admins, &data.Projects, &data.Comments, &stored)
	if err != nil {
		return err
	}
	data.Stored = formatSize(stored)
	s.noteFailures(ctx)
	for _, c := range []struct{ id, title, query, one, many string }{
		{"views", "Page views a day", dailyViews, "view", "views"},
		{"signups", "New accounts a day", dailySignups, "account", "accounts"},
		{"comments", "Comments a day", dailyComments, "comment", "comments"},
		{"storage", "Stored files, in KB", dailyStorage, "KB", "KB"},
		{"errors", "Errors a day on our side", dailyErrors, "error", "errors"},
	} {
		days, err := s.daily(ctx, c.query, dashboardDays)
		if err != nil {
			return err
		}
		drawn := chartOf(c.id, c.title, days, c.one, c.many)
		if c.id == "storage" { // which is no sum of days
			drawn.Desc = fmt.Sprintf("%s today, %d KB %d days ago.", data.Stored, days[0].Count, len(days)-1)
		}
		data.Charts = append(data.Charts, drawn)
	}
	if data.Alerts, err = s.alerts(ctx); err != nil {
		return err
	}
	if data.Newest, _, err = s.listUsers(ctx, listQuery{Show: "all", Sort: "newest", limit: 5}); err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "admin_dashboard", v, "Administration", data)
}

// alerts are what wants an admin's attention, the most urgent first.
func (s *server) alerts(ctx context.Context) (list []alert, err error) {
	add := func(bad bool, link, label, text string, args ...any) {
		list = append(list, alert{fmt.Sprintf(text, args...), link, label, bad})
	}
	storage, err := s.storageState(ctx)
	if err != nil {
		return nil, err
	}
	if storage.NAS == "down" {
		add(true, "/admin/storage", "Storage", "The NAS does not answer; %s wait for it.", countOf(storage.Waiting, "file", "files"))
	}
	if storage.FreeBytes < lowSpace {
		add(true, "/admin/storage", "Storage", "The disk of UPLOAD_DIR is almost full: %s are free.", formatSize(storage.FreeBytes))
	}
	if storage.NASFreeBytes != nil && *storage.NASFreeBytes < lowSpace {
		add(true, "/admin/storage", "Storage", "The NAS is almost full: %s are free.", formatSize(*storage.NASFreeBytes))
	}
	now := s.now().UTC()
	var open, failed, late, doubles int
	if err := s.db.QueryRow(ctx, `
		select (select count(*) from comment where not is_removed and (flag_count > 0 and not is_hidden or held_for is not null)),
		       (select count(*) from outbox where given_up_at is not null), (select count(*) from outbox where given_up_at is null and created_at < $1),
		       (select count(*) from "user" where username_double or email_double)`, now.Add(-15*time.Minute)).Scan(&open, &failed, &late, &doubles); err != nil {
		return nil, err
	}
	jobs, err := s.listJobs(ctx)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if j.Overdue {
			add(true, "/admin/system#jobs", "System", "The job “%s” has not run when it should; the log says why.", j.Name)
		}
	}
	if failed > 0 {
		add(true, "/admin/system#letters", "E-mails", "%s could not be sent.", countOf(failed, "e-mail", "e-mails"))
	}
	if late > 0 {
		add(false, "/admin/system#letters", "E-mails", "%s for more than 15 minutes.", countOf(late, "e-mail has waited", "e-mails have waited"))
	}
	if open > 0 {
		add(false, "/admin/moderation", "Comments", "%s for a moderator.", countOf(open, "comment waits", "comments wait"))
	}
	if doubles > 0 {
		add(false, "/admin/users?show=doubles", "Users", "%s from an older one in case alone, and should get another name or address.", countOf(doubles, "account differs", "accounts differ"))
	}
	if !s.cfg.canMail() {
		add(false, "/admin/system", "System", "No e-mail is sent, such as those for a forgotten password: SMTP_HOST is not set.")
	}
	return list, nil
}
