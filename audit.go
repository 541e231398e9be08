package main

import (
	"context"
	"strconv"
)

// audit is a row of the audit log (accountlog): what happened to an account,
// from where, and who did it. It never holds a password, a token or a code.
type audit struct {
	action         string
	field, was, is string // of a change
	by             int    // the account that did it; 0 is nobody who is signed in
	client         client
}

// write adds the row to an account's history.
func (a audit) write(ctx context.Context, db querier, userID int) error {
	_, err := db.Exec(ctx, `
		insert into accountlog (user_id, action, field_changed, old_value, new_value, changed_by, ip_address, user_agent)
		values ($1, $2, nullif($3, ''), nullif($4, ''), nullif($5, ''), nullif($6, 0), $7, $8)`,
		userID, a.action, a.field, a.was, a.is, a.by, a.client.address, a.client.userAgent)
	return err
}

// logEntry is a row of the audit log with whose history it is of.
type logEntry struct {
	ID       int
	UserID   int
	Username string
	logRow
	Total int
}

// logPeriods are how many days back a list can look.
var logPeriods = []choice{{"all", "At any time"}, {"1", "In a day"}, {"7", "In a week"}, {"30", "In a month"}, {"365", "In a year"}}

func (s *server) logList() adminList[logEntry] {
	return adminList[logEntry]{
		path: "/admin/log", template: "admin_log", title: "Audit log", sinces: logPeriods, load: s.listLog,
		shows:   []choice{{"all", "Everything"}, {"admins", "What admins did"}, {"access", "Signing in and out"}, {"security", "Passwords and factors"}, {"changes", "Changes of accounts"}, {"talk", "Comments"}, {"projects", "Projects and pages"}},
		sorts:   []choice{{"newest", "Newest first"}, {"oldest", "Oldest first"}},
		columns: []string{"id", "changed_at", "user_id", "username", "action", "field_changed", "old_value", "new_value", "changed_by", "ip_address", "user_agent"},
		cells: func(l logEntry) []string {
			return []string{strconv.Itoa(l.ID), csvTime(&l.ChangedAt), strconv.Itoa(l.UserID), l.Username, l.Action, deref(l.FieldChanged), deref(l.OldValue), deref(l.NewValue),
				deref(l.ChangedBy), deref(l.IPAddress), deref(l.UserAgent)}
		},
	}
}

// listLog returns rows of the audit log of all accounts. The search is in the
// names of who is concerned and who did it, the act, the address, and what it is
// about.
func (s *server) listLog(ctx context.Context, q listQuery) (list []logEntry, total int, err error) {
	order := map[string]string{"newest": "l.id desc", "oldest": "l.id"}[q.Sort]
	days, _ := strconv.Atoi(q.Since) // 0: at any time
	list, err = many[logEntry](ctx, s.db, queries["list_log"]+` order by `+order+` limit $5 offset $6`, likePattern(q.Search), q.Search, q.Show, s.now().UTC().AddDate(0, 0, -days), q.limit, q.offset, days)
	if len(list) > 0 {
		total = list[0].Total
	}
	return list, total, err
}
