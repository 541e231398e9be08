package main

import "context"

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
