package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// adminUser is an account as admins see it in a list.
type adminUser struct {
	ID                 int        `json:"id"`
	Username           string     `json:"username"`
	Firstname          string     `json:"firstname"`
	Lastname           string     `json:"lastname"`
	Email              string     `json:"email"`
	Status             string     `json:"status"`
	Type               int        `json:"type"`
	ForcePasswordReset bool       `json:"force_password_reset"`
	CreatedAt          time.Time  `json:"created_at"`
	LastLogin          *time.Time `json:"last_login"`
	EmailVerified      bool       `json:"email_verified"`
	TwoFactor          bool       `json:"two_factor"`
	LockedUntil        *time.Time `json:"locked_until"`
	Double             bool       `json:"double"` // differs from an older account in case alone
}

// userShows and userSorts are how the list of accounts can be filtered and
// ordered.
var (
	userShows = []choice{{"all", "All"}, {"active", "Active"}, {"inactive", "Deactivated"}, {"admins", "Admins"}, {"unverified", "Address not confirmed"},
		{"locked", "Locked"}, {"doubles", "Same name in other case"}}
	userSorts = []choice{{"newest", "Newest first"}, {"oldest", "Oldest first"}, {"name", "By name"}, {"seen", "Last sign-in"}}

	userOrders = map[string]string{
		"newest": "created_at desc, id desc",
		"oldest": "created_at, id",
		"name":   "lower(username), id",
		"seen":   "last_login desc nulls last, id desc",
	}
)

const maxUsers = 1000 // of one answer

// listUsers returns accounts and how many there are in all. The search is in
// name, names and address, or for an id.
func (s *server) listUsers(ctx context.Context, q listQuery) (list []adminUser, total int, err error) {
	rows, err := s.db.Query(ctx, queries["list_users"]+` order by `+userOrders[q.Sort]+` limit $5 offset $6`,
		likePattern(q.Search), q.Search, q.Show, s.now().UTC(), q.limit, q.offset)
	if err != nil {
		return nil, 0, err
	}
	counted, err := pgx.CollectRows(rows, pgx.RowToStructByName[struct {
		adminUser
		Total int
	}])
	list = make([]adminUser, len(counted))
	for i, one := range counted {
		list[i], total = one.adminUser, one.Total
	}
	return list, total, err
}

// showUsers answers GET /api/admin/users; X-Total-Count is how many there are.
func (s *server) showUsers(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	_, shows := usual(userShows)
	_, sorts := usual(userSorts)
	q := listQuery{Search: deref(in.optional("q", nil, 100)), Show: in.choice("show", "all", shows...), Sort: in.choice("sort", "newest", sorts...),
		limit: in.integer("limit", ptr(maxUsers), 1, maxUsers), offset: in.integer("offset", ptr(0), 0, 1<<31-1)}
	if err := in.err(); err != nil {
		return err
	}
	list, total, err := s.listUsers(r.Context(), q)
	if err != nil {
		return err
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(total))
	return writeJSON(w, http.StatusOK, list)
}

// subject is the account that an admin does something to.
type subject struct {
	ID       int
	Username string
	Email    string
	Status   string
	Type     int
	own      bool // it is the admin's
}

// adminAction is something that admins do to an account, in a transaction that
// holds its row. It returns what the API answers, and writes the audit log by
// log, which has everything but the action.
type adminAction func(ctx context.Context, tx pgx.Tx, u subject, in *input, log audit) (adminAnswer, error)

// adminAnswer is what an admin's action has led to.
type adminAnswer struct {
	Message   string     `json:"message"`
	Username  string     `json:"username,omitempty"`
	ResetCode string     `json:"reset_code,omitempty"` // shown once
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

func (l audit) of(action string) audit {
	l.action = action
	return l
}

// adminActions by the name that they have in addresses.
func (s *server) adminActions() map[string]adminAction {
	return map[string]adminAction{
		"status":         s.setStatusOf,
		"reset-password": s.setPasswordOf,
		"reset-code":     s.giveResetCode,
		"force-reset":    s.forceReset,
		"unlock":         s.unlockUser,
		"verify":         s.verifyUser,
		"sign-out":       s.signOutUser,
		"totp-reset":     s.resetTOTPOf,
		"role":           s.setRoleOf,
	}
}

// onUser runs an action of v on the account with the id in the path.
func (s *server) onUser(r *http.Request, v viewer, in *input, action string) (answer adminAnswer, err error) {
	do, known := s.adminActions()[action]
	if !known {
		return answer, fail(http.StatusNotFound, "Not found")
	}
	id, err := pathID(r, "id")
	if err != nil {
		return answer, err
	}
	ctx := r.Context()
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		// Of two admins who act on each other the second may be none any more.
		if admins, err := lockAdmins(ctx, tx); err != nil || !slices.Contains(admins, v.ID) {
			return cmp.Or(err, errBadToken)
		}
		u, err := one[subject](ctx, tx, `select id, username, email, status, type from "user" where id = $1 for no key update`, id)
		if err != nil {
			return orNotFound(err, "User")
		}
		u.own = u.ID == v.ID
		answer, err = do(ctx, tx, u, in, audit{by: v.ID, client: s.clientOf(r)})
		answer.Username = u.Username
		return err
	})
	return answer, err
}

// actOnUser makes an endpoint of an action; the empty one stands in the path.
func (s *server) actOnUser(action string) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		in := &input{where: "body"}
		if r.ContentLength != 0 {
			var err error
			if in, err = readInput(w, r); err != nil {
				return err
			}
		}
		answer, err := s.onUser(r, v, in, cmp.Or(action, r.PathValue("action")))
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, answer)
	}
}

// endSessions signs an account out everywhere.
func endSessions(ctx context.Context, tx pgx.Tx, userID int) error {
	_, err := tx.Exec(ctx, `delete from session where user_id = $1`, userID)
	return err
}

func (s *server) setStatusOf(ctx context.Context, tx pgx.Tx, u subject, in *input, log audit) (a adminAnswer, err error) {
	status, _ := in.string("status")
	switch {
	case status != "active" && status != "inactive":
		return a, fail(http.StatusBadRequest, "Status must be 'active' or 'inactive'")
	case u.own && status == "inactive":
		return a, fail(http.StatusBadRequest, "You can't deactivate your own account")
	}
	a.Message = "User account activated successfully"
	if status == "inactive" {
		a.Message = "User account deactivated successfully"
		if err := endSessions(ctx, tx, u.ID); err != nil {
			return a, err
		}
	}
	if _, err := tx.Exec(ctx, `update "user" set status = $2, updated_at = now() where id = $1`, u.ID, status); err != nil {
		return a, err
	}
	log.action, log.field, log.was, log.is = "status_changed", "status", u.Status, status
	return a, log.write(ctx, tx, u.ID)
}

func (s *server) setPasswordOf(ctx context.Context, tx pgx.Tx, u subject, in *input, log audit) (a adminAnswer, err error) {
	if u.own {
		return a, fail(http.StatusBadRequest, "Change your own password on your account page")
	}
	password := in.newPassword(u.Username, u.Email)
	if err := in.err(); err != nil {
		return a, err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return a, err
	}
	return adminAnswer{Message: "Password reset successfully"}, s.finishReset(ctx, tx, u.ID, u.Username, u.Email, hash, "", log.by, log.client)
}

func (s *server) giveResetCode(ctx context.Context, tx pgx.Tx, u subject, in *input, log audit) (a adminAnswer, err error) {
	code, expires := newResetCode(), s.now().UTC().Add(resetCodeLife).Truncate(time.Microsecond)
	_, err = tx.Exec(ctx, `update "user" set password_reset_code = $2, code_expires_at = $3, updated_at = now() where id = $1`, u.ID, s.codeHash(u.ID, code), expires)
	if err != nil {
		return a, err
	}
	a = adminAnswer{"Give this code to " + u.Username + "; it is shown only now and works for 24 hours at " + s.cfg.publicURL + "/reset-password", u.Username, code, &expires}
	return a, log.of("reset_code_created").write(ctx, tx, u.ID)
}

func (s *server) forceReset(ctx context.Context, tx pgx.Tx, u subject, in *input, log audit) (a adminAnswer, err error) {
	if u.own {
		return a, fail(http.StatusBadRequest, "Change your own password on your account page")
	}
	if _, err := tx.Exec(ctx, `update "user" set force_password_reset = true, updated_at = now() where id = $1`, u.ID); err != nil {
		return a, err
	}
	if err := endSessions(ctx, tx, u.ID); err != nil {
		return a, err
	}
	return adminAnswer{Message: "The user has to choose a new password at the next sign-in", Username: u.Username}, log.of("password_reset_forced").write(ctx, tx, u.ID)
}

func (s *server) unlockUser(ctx context.Context, tx pgx.Tx, u subject, in *input, log audit) (adminAnswer, error) {
	return adminAnswer{Message: "The account can be signed in to again"}, liftLocks(ctx, tx, u.ID, log.of("unlocked"))
}

func (s *server) verifyUser(ctx context.Context, tx pgx.Tx, u subject, in *input, log audit) (adminAnswer, error) {
	log.action, log.field, log.is = "email_verified", "email", u.Email
	return adminAnswer{Message: "The e-mail address counts as confirmed"}, markVerified(ctx, tx, u.ID, log)
}

func (s *server) signOutUser(ctx context.Context, tx pgx.Tx, u subject, in *input, log audit) (a adminAnswer, err error) {
	if err := endSessions(ctx, tx, u.ID); err != nil {
		return a, err
	}
	return adminAnswer{Message: "The user is signed out everywhere"}, log.of("signed_out").write(ctx, tx, u.ID)
}

func (s *server) resetTOTPOf(ctx context.Context, tx pgx.Tx, u subject, in *input, log audit) (a adminAnswer, err error) {
	if u.own {
		return a, fail(http.StatusBadRequest, "Switch your own second factor off on your account page")
	}
	if err := dropTwoFactor(ctx, tx, u.ID); err != nil {
		return a, err
	}
	return adminAnswer{Message: "The second factor is removed"}, s.noteTwoFactor(ctx, tx, signInAccount{ID: u.ID, Username: u.Username, Email: u.Email},
		"reset by an admin", "totp_reset", log.by, log.client)
}

func (s *server) setRoleOf(ctx context.Context, tx pgx.Tx, u subject, in *input, log audit) (a adminAnswer, err error) {
	role := in.choice("role", "", "admin", "member")
	if err := in.err(); err != nil {
		return a, err
	}
	kind := 0
	a.Message = "The user is no admin any more"
	if role == "admin" {
		kind, a.Message = 1, "The user is an admin now"
	} else if u.own {
		return a, fail(http.StatusBadRequest, "You can't take your own rights away; another admin can")
	}
	if _, err := tx.Exec(ctx, `update "user" set type = $2, updated_at = now() where id = $1`, u.ID, kind); err != nil {
		return a, err
	}
	log.action, log.field, log.was, log.is = "role_changed", "type", strconv.Itoa(u.Type), strconv.Itoa(kind)
	return a, log.write(ctx, tx, u.ID)
}

// deleteUser deletes the account with the id in the path. What is left of the
// act stands in the admin's own history.
func (s *server) deleteUser(r *http.Request, v viewer) (message, error) {
	id, err := pathID(r, "id")
	if err != nil {
		return message{}, err
	}
	if id == v.ID {
		return message{}, fail(http.StatusBadRequest, "You can't delete your own account here; use your account page")
	}
	if err := s.forget(r.Context(), id); err != nil {
		return message{}, err
	}
	log := audit{action: "user_deleted", field: "user_id", was: strconv.Itoa(id), by: v.ID, client: s.clientOf(r)}
	return message{"User account deleted successfully"}, log.write(r.Context(), s.db, v.ID)
}

// removeUser answers DELETE /accounts/admin/{id}.
func (s *server) removeUser(w http.ResponseWriter, r *http.Request, v viewer) error {
	m, err := s.deleteUser(r, v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, m)
}

// logRow is a row of the audit log as pages show it.
type logRow struct {
	Action       string
	FieldChanged *string
	OldValue     *string
	NewValue     *string
	ChangedBy    *string // a name
	ChangedAt    time.Time
	IPAddress    *string
	UserAgent    *string
}

// Device is the row's browser in short.
func (l logRow) Device() string {
	if l.UserAgent == nil {
		return ""
	}
	return deviceName(*l.UserAgent)
}

// actionTexts are what pages call the acts of the audit log; others go by
// their name.
var actionTexts = map[string]string{
	"created":                  "Account made",
	"locked":                   "Signing in locked, after failed attempts, until",
	"unlocked":                 "Signing in unlocked",
	"password_changed":         "Password changed",
	"password_reset":           "New password set",
	"password_reset_requested": "Link to choose a new password sent",
	"password_reset_forced":    "Asked to choose a new password at the next sign-in",
	"reset_code_created":       "Reset code made",
	"maker_ended":              "Address confirmed by its owner, who had not made the account: all earlier access ended",
	"email_verified":           "E-mail address confirmed",
	"email_change_requested":   "New e-mail address, still to be confirmed",
	"totp_enabled":             "Two-factor sign-in switched on",
	"totp_disabled":            "Two-factor sign-in switched off",
	"totp_reset":               "Two-factor sign-in removed by an admin",
	"backup_code_used":         "Signed in with a backup code",
	"backup_codes_renewed":     "New backup codes made",
	"signed_in":                "Signed in",
	"signed_out":               "Signed out on other devices",
	"status_changed":           "Account switched from",
	"role_changed":             "Role changed",
	"promoted":                 "Made an admin",
	"user_deleted":             "Deleted the account with the number",
	"author_warned":            "Warned by a moderator",
	"author_banned":            "Kept from writing",
	"author_unbanned":          "Allowed to write again",
	"comment_cleared":          "Reports of a comment cleared",
	"page_moved":               "Page moved",
	"project_featured":         "Project put on the front page",
	"project_unfeatured":       "Project taken from the front page",
	"project_unpublished":      "Project taken off the site",
	"letter_sent_again":        "Letter sent again",
}

// What is the row's act in words.
func (l logRow) What() string {
	field := deref(l.FieldChanged)
	if l.Action == "updated" {
		return fieldLabel(field) + " changed"
	}
	what := cmp.Or(actionTexts[l.Action], human(l.Action))
	if strings.Contains(field, " ") { // which comment or project
		what += ", " + field
	}
	return what
}

// Was and Is are what changed, in words.
func (l logRow) Was() string { return l.value(l.OldValue) }
func (l logRow) Is() string  { return l.value(l.NewValue) }

func (l logRow) value(v *string) string {
	text := deref(v)
	switch {
	case l.Action == "role_changed" && text == "1":
		return "admin"
	case l.Action == "role_changed":
		return "member"
	case l.Action == "locked":
		if until, err := time.Parse(time.RFC3339, text); err == nil {
			return shown(until)
		}
	}
	return text
}

// selectHistory are rows of the audit log. Where an admin sat who did something
// is for admins alone: $2.
const selectHistory = `
	select l.action, l.field_changed, l.old_value, l.new_value, u.username as changed_by, l.changed_at,
	       case when $2 or l.changed_by is null or l.changed_by = l.user_id then l.ip_address end as ip_address,
	       case when $2 or l.changed_by is null or l.changed_by = l.user_id then l.user_agent end as user_agent
	from accountlog l left join "user" u on u.id = l.changed_by `

// loadHistory is the newest rows of an account's history.
func (s *server) loadHistory(ctx context.Context, userID, limit int, forAdmin bool) ([]logRow, error) {
	return many[logRow](ctx, s.db, selectHistory+`where l.user_id = $1 order by l.id desc limit $3`, userID, forAdmin, limit)
}

func (s *server) userList() adminList[adminUser] {
	return adminList[adminUser]{
		path: "/admin/users", template: "admin_users", title: "Users", shows: userShows, sorts: userSorts, load: s.listUsers,
		columns: []string{"id", "username", "firstname", "lastname", "email", "email_verified", "status", "type", "two_factor", "created_at", "last_login"},
		cells: func(u adminUser) []string {
			return []string{strconv.Itoa(u.ID), u.Username, u.Firstname, u.Lastname, u.Email, strconv.FormatBool(u.EmailVerified), u.Status, strconv.Itoa(u.Type),
				strconv.FormatBool(u.TwoFactor), csvTime(&u.CreatedAt), csvTime(u.LastLogin)}
		},
	}
}

// userPage is the data of admin_user.html.
type userPage struct {
	adminUser
	activity
	PendingEmail *string
	Projects     int
	Own          bool
	Sessions     []session
	History      []logRow
	Form         formState
	List         string // the query of the list that led here
}

// Back is the address of that list.
func (p userPage) Back() string {
	if p.List == "" {
		return "/admin/users"
	}
	return "/admin/users?" + p.List
}

// Do is where the form of an action is sent to.
func (p userPage) Do(action string) string {
	return userPath(p.ID, p.List, action)
}

// userPath is the address of an account's page, or of one of its forms, that
// knows the way back to the list.
func userPath(id int, list, action string) string {
	path := fmt.Sprintf("/admin/users/%d", id)
	if action != "" {
		path += "/" + action
	}
	if list != "" {
		path += "?list=" + url.QueryEscape(list)
	}
	return path
}

// listBehind is the list that led to a page, as its address says; it can be nothing
// but a query.
func listBehind(r *http.Request) string {
	values, _ := url.ParseQuery(r.URL.Query().Get("list")) // what is no query is left out
	return values.Encode()
}

// showUserPage answers an account with its history and what can be done to it.
func (s *server) showUserPage(w http.ResponseWriter, r *http.Request, v viewer) error {
	return s.renderUser(w, r, v, http.StatusOK, formState{})
}

func (s *server) renderUser(w http.ResponseWriter, r *http.Request, v viewer, status int, form formState) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	ctx := r.Context()
	list, _, err := s.listUsers(ctx, listQuery{Search: "#" + strconv.Itoa(id), Show: "all", Sort: "newest", limit: 1})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fail(http.StatusNotFound, "User not found")
	}
	data := userPage{adminUser: list[0], Own: id == v.ID, Form: form, List: listBehind(r)}
	if err = s.db.QueryRow(ctx, `select pending_email, (select count(*) from project where author_id = $1) from "user" where id = $1`, id).Scan(&data.PendingEmail, &data.Projects); err != nil {
		return err
	}
	if data.activity, err = s.loadActivity(ctx, id); err != nil {
		return err
	}
	if data.Sessions, err = s.listSessions(ctx, viewer{ID: id}); err != nil {
		return err
	}
	if data.History, err = s.loadHistory(ctx, id, 200, true); err != nil {
		return err
	}
	return s.render(w, r, status, "admin_user", v, data.Username, data)
}

// doneText says on the page what an action has done to somebody.
func doneText(action string, u string, in *input) string {
	switch action {
	case "status":
		if status, _ := in.string("status"); status == "inactive" {
			return u + " is deactivated and signed out everywhere."
		}
		return u + " is active again and can sign in."
	case "reset-password":
		return "The password of " + u + " is set, and " + u + " is signed out everywhere."
	case "force-reset":
		return u + " is signed out everywhere and has to choose a new password at the next sign-in."
	case "unlock":
		return "Signing in as " + u + " is unlocked."
	case "verify":
		return "The e-mail address of " + u + " counts as confirmed."
	case "sign-out":
		return u + " is signed out everywhere."
	case "totp-reset":
		return "The two-factor sign-in of " + u + " is removed: the password alone is enough now."
	case "role":
		if role, _ := in.string("role"); role == "admin" {
			return u + " is an admin now."
		}
		return u + " is no admin any more."
	}
	return ""
}

// sendUserAction takes a form of that page, and leads back to it. A reset code
// is shown there once.
func (s *server) sendUserAction(action string) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		in, err := readForm(w, r)
		if err != nil {
			return err
		}
		id, err := pathID(r, "id")
		if err != nil {
			return err
		}
		name := cmp.Or(action, r.PathValue("action"))
		if name == "delete" {
			if text, _ := in.string("confirm"); !strings.EqualFold(strings.TrimSpace(text), "delete") {
				in.add("confirm", "Type the word delete to delete the account", "value_error")
				err = in.err()
			} else if _, err = s.deleteUser(r, v); err == nil {
				return s.done(w, r, userPage{List: listBehind(r)}.Back(), "The account is deleted, with all that belonged to it.")
			}
		} else {
			var done adminAnswer
			if done, err = s.onUser(r, v, in, name); err == nil {
				said := flash{Text: doneText(name, done.Username, in)}
				if done.ResetCode != "" {
					said = flash{Text: done.Message + ".", Code: done.ResetCode}
				}
				s.setFlash(w, said)
				return seeOther(w, r, userPath(id, listBehind(r), ""))
			}
		}
		form, status, err := refused(w, name, in, err)
		if err != nil {
			return err
		}
		return s.renderUser(w, r, v, status, form)
	}
}
