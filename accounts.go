package main

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// userRead is an account as its owner sees it.
type userRead struct {
	ID          int        `json:"id"`
	Username    string     `json:"username"`
	Firstname   string     `json:"firstname"`
	Lastname    string     `json:"lastname"`
	DateOfBirth *time.Time `json:"date_of_birth"`
	Email       string     `json:"email"`
	Status      string     `json:"status"`
	Type        int        `json:"type"` // 1: admin
	CreatedAt   time.Time  `json:"created_at"`
	UpdatedAt   time.Time  `json:"updated_at"`
	LastLogin   *time.Time `json:"last_login"`

	EmailVerified bool    `json:"email_verified"`
	PendingEmail  *string `json:"pending_email"` // the new address, until it is confirmed
	TwoFactor     bool    `json:"two_factor"`
}

const userReadColumns = `id, username, firstname, lastname, date_of_birth, email, status, type, created_at, updated_at, last_login,
	email_verified, pending_email, totp_confirmed_at is not null as two_factor`

// profileFields are what the pages of the site show of an account besides.
type profileFields struct {
	ProfilePicture *string `json:"profile_picture"` // a file's name
	Location       *string `json:"location"`
	Bio            *string `json:"bio"`
}

// account is everything about an account that its owner may see.
type account struct {
	userRead
	profileFields
}

// username is a required name for a new account; older ones may have others.
func (in *input) username(name string) string {
	before := len(in.faults)
	text := in.text(name, 1, 254)
	if len(in.faults) == before && !isUsername(text) {
		in.add(name, "Username must have 3 to 30 letters, digits or underscores", "string_pattern_mismatch")
	}
	return text
}

var isUsername = regexp.MustCompile(`^[A-Za-z0-9_]{3,30}$`).MatchString

// registrar is who makes an account.
type registrar struct {
	client  client
	vouched bool         // the operator: the address counts as confirmed
	allow   func() error // says no when there are too many; input that is refused does not count
}

func (s *server) registrarOf(r *http.Request) registrar {
	return registrar{s.clientOf(r), s.isOperator(r), func() error { return s.take(r, registerLimit) }}
}

// createAccount registers an account of the given type (1: admin), writes it
// to the audit log and sends the mail that confirms its address.
func (s *server) createAccount(ctx context.Context, in *input, kind int, by registrar) (userRead, error) {
	username := in.username("username")
	firstname, lastname := in.text("firstname", 1, 100), in.text("lastname", 0, 100)
	email := in.email("email", nil)
	birth := in.date("date_of_birth", nil)
	password := in.password("password", username, email)
	agreed := in.flag("accept_terms")
	if err := in.err(); err != nil {
		return userRead{}, err
	}
	if err := by.allow(); err != nil {
		return userRead{}, err
	}
	var terms *string
	field := ""
	if agreed {
		field = "terms_version"
		version, err := s.termsVersion()
		if err != nil {
			return userRead{}, err
		}
		terms = &version
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return userRead{}, err
	}
	var user userRead
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) (err error) {
		user, err = one[userRead](ctx, tx, `
			insert into "user" (username, email, hashed_password, firstname, lastname, date_of_birth, type, email_verified, terms_version, terms_accepted_at)
			values ($1, $2, $3, $4, $5, $6, $7, $10, $8, case when $8::varchar is not null then $9::timestamp end)
			returning `+userReadColumns, username, email, hash, firstname, lastname, birth, kind, terms, s.now().UTC(), by.vouched)
		if err != nil {
			return err
		}
		if err := (audit{action: "created", field: field, is: deref(terms), by: user.ID, client: by.client}).write(ctx, tx, user.ID); err != nil || user.EmailVerified || !s.cfg.verifies() {
			return err
		}
		return s.askToVerify(ctx, tx, user.ID, username, email)
	})
	return user, accountConflict(err, "Username already registered", "Email already registered")
}

// accountConflict says which of the two unique fields is taken.
func accountConflict(err error, username, email string) error {
	switch constraint, _ := violates(err); constraint {
	case "user_username_key", "user_username_lower_key":
		return fail(http.StatusBadRequest, "%s", username)
	case "user_email_key", "user_email_lower_key":
		return fail(http.StatusBadRequest, "%s", email)
	}
	return err
}

// register answers with the new account.
func (s *server) register(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	user, err := s.createAccount(r.Context(), in, 0, s.registrarOf(r))
	if err != nil {
		return err
	}
	s.rememberDevice(w, r, user.ID)
	return writeJSON(w, http.StatusCreated, user)
}

// registerOld is register at its old path, with the old status and words.
func (s *server) registerOld(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Deprecation", "true")
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	user, err := s.createAccount(r.Context(), in, 0, s.registrarOf(r))
	if e, is := err.(*httpError); is && e.detail == "Username already registered" {
		return fail(http.StatusBadRequest, "Username already taken")
	}
	if err != nil {
		return err
	}
	s.rememberDevice(w, r, user.ID)
	return writeJSON(w, http.StatusOK, user)
}

func (s *server) loadAccount(ctx context.Context, id int) (account, error) {
	return one[account](ctx, s.db, selectAccount, id)
}

const selectAccount = `
	select ` + userReadColumns + `, profile_picture, location, bio
	from "user" where id = $1`

// updateAccount changes the fields that in holds and writes an audit row for
// each one that is now different. Where addresses are confirmed, a new one
// counts once that is done; until then it is the pending one.
func (s *server) updateAccount(r *http.Request, v viewer, in *input) (account, error) {
	ctx, c := r.Context(), s.clientOf(r)
	var a account
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) (err error) {
		// Held until the end: two changes at once come one after the other.
		if a, err = one[account](ctx, tx, selectAccount+` for no key update`, v.ID); err != nil {
			return err
		}
		old := a.Email
		a.Firstname = in.updated("firstname", a.ID, a.Firstname, 1, 100)
		a.Lastname = in.updated("lastname", a.ID, a.Lastname, 0, 100)
		a.DateOfBirth = in.date("date_of_birth", a.DateOfBirth)
		a.Email = in.email("email", &a.Email)
		a.Location = in.optional("location", a.Location, 100)
		a.Bio = in.optional("bio", a.Bio, 500)
		if err := in.err(); err != nil {
			return err
		}
		switch {
		case a.Email == old && in.has("email"):
			a.PendingEmail = nil // thought better of it
		case a.Email != old && s.cfg.verifies():
			if err := s.take(r, mailLimit); err != nil {
				return err
			}
			a.PendingEmail, a.Email = ptr(a.Email), old
			if err := s.pendEmail(ctx, tx, a, c); err != nil {
				return err
			}
		case a.Email != old:
			if err := s.tellOldAddress(ctx, tx, a.Username, old, a.Email); err != nil {
				return err
			}
		}
		return tx.QueryRow(ctx, queries["update_account"],
			v.ID, a.Firstname, a.Lastname, a.DateOfBirth, a.Email, a.Location, a.Bio, c.address, c.userAgent, a.PendingEmail).Scan(&a.UpdatedAt)
	})
	return a, accountConflict(err, "Username already in use", "Email already in use")
}

// pendEmail asks the pending address of a to be confirmed.
func (s *server) pendEmail(ctx context.Context, tx pgx.Tx, a account, c client) error {
	var taken bool
	if err := tx.QueryRow(ctx, `select exists (select from "user" where lower(email) = lower($1) and id <> $2)`, *a.PendingEmail, a.ID).Scan(&taken); err != nil {
		return err
	}
	if taken {
		return fail(http.StatusBadRequest, "Email already in use")
	}
	if err := (audit{action: "email_change_requested", field: "email", was: a.Email, is: *a.PendingEmail, by: a.ID, client: c}).write(ctx, tx, a.ID); err != nil {
		return err
	}
	return s.askToChange(ctx, tx, a.ID, a.Username, *a.PendingEmail)
}

// changeAccount answers PATCH /accounts/me with the account as it is then.
func (s *server) changeAccount(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	for name := range in.fields {
		switch name {
		case "firstname", "lastname", "date_of_birth", "email":
		default:
			delete(in.fields, name) // older clients send the whole account
		}
	}
	a, err := s.updateAccount(r, v, in)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, a.userRead)
}

// emailChange is the answer to a new address.
type emailChange struct {
	Message string `json:"message"`
	Email   string `json:"email"`
	Pending bool   `json:"pending"` // the address still has to be confirmed
}

// changeEmail answers PATCH /api/me/email.
func (s *server) changeEmail(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	email := in.email("email", nil)
	if err := in.err(); err != nil {
		return err
	}
	only := &input{where: in.where, fields: map[string]json.RawMessage{"email": in.fields["email"]}}
	a, err := s.updateAccount(r, v, only)
	if err != nil {
		return err
	}
	text := "E-mail address changed"
	if a.PendingEmail != nil {
		text = "We have sent a link to the new address; it counts once you have opened that"
	}
	return writeJSON(w, http.StatusOK, emailChange{text, email, a.PendingEmail != nil})
}

// showAccountRead answers with the account without its profile.
func (s *server) showAccountRead(w http.ResponseWriter, r *http.Request, v viewer) error {
	a, err := s.loadAccount(r.Context(), v.ID)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, a.userRead)
}

// meAnswer is account and profile under every name by which pages of the site know them.
type meAnswer struct {
	account
	AccountCreatedAt time.Time `json:"account_created_at"`
	AvatarURL        *string   `json:"avatar_url"`
	IsAdmin          bool      `json:"is_admin"`
}

// showMe answers GET /api/me: account and profile, with the names that
// different pages of the site know them by.
func (s *server) showMe(w http.ResponseWriter, r *http.Request, v viewer) error {
	a, err := s.loadAccount(r.Context(), v.ID)
	if err != nil {
		return err
	}
	var avatar *string
	if a.ProfilePicture != nil {
		address := s.cfg.publicURL + "/profile_pictures/" + *a.ProfilePicture
		avatar = &address
	}
	return writeJSON(w, http.StatusOK, meAnswer{a, a.CreatedAt, avatar, a.Type == 1})
}

// usernameAnswer is just the name.
type usernameAnswer struct {
	Username string `json:"username"`
}

// showUsername answers GET /me.
func (s *server) showUsername(w http.ResponseWriter, r *http.Request, v viewer) error {
	return writeJSON(w, http.StatusOK, usernameAnswer{v.Username})
}

// showWelcome answers GET /protected, by which a client tests its token.
func (s *server) showWelcome(w http.ResponseWriter, r *http.Request, v viewer) error {
	return writeJSON(w, http.StatusOK, message{"Welcome, " + v.Username + "!"})
}

// activity is how much a person has written and liked.
type activity struct {
	CommentsCount int `json:"comments_count"`
	LikesCount    int `json:"likes_count"`
}

func (s *server) loadActivity(ctx context.Context, userID int) (activity, error) {
	rows, err := s.db.Query(ctx, `
		select (select count(*) from comment where user_id = $1 and not is_removed) as comments_count,
		       (select count(*) from "like" where user_id = $1) as likes_count`, userID)
	if err != nil {
		return activity{}, err
	}
	return pgx.CollectOneRow(rows, pgx.RowToStructByName[activity])
}

// showActivity answers GET /api/me/activity.
func (s *server) showActivity(w http.ResponseWriter, r *http.Request, v viewer) error {
	a, err := s.loadActivity(r.Context(), v.ID)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, a)
}

// accountPage is the data of the pages of one's own account.
type accountPage struct {
	account
	activity
	Projects gallery
	Letters  notifications
	CanMail  bool
	Verifies bool // addresses are confirmed here
	Sessions []session
	History  []logRow
	sent     formState
}

// Form is the form called id: as it was sent, or with what is stored.
func (p accountPage) Form(id string) formState { return p.sent.or(id, valuesOf(p.account)) }

// AddressHint says when a new address counts.
func (p accountPage) AddressHint() string {
	if p.Verifies {
		return " A new one counts once you have confirmed it."
	}
	return ""
}

// accountTitles are the pages of one's account by their templates.
var accountTitles = map[string]string{
	"account": "Your account", "account_profile": "Your profile", "account_security": "E-mail and password", "account_sessions": "Sessions",
	"account_notifications": "E-mails", "account_data": "Your data",
}

// showAccount answers one of the pages.
func (s *server) showAccount(name string) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		return s.renderAccount(w, r, v, http.StatusOK, name, formState{})
	}
}

func (s *server) renderAccount(w http.ResponseWriter, r *http.Request, v viewer, status int, name string, sent formState) error {
	ctx := r.Context()
	a, err := s.loadAccount(ctx, v.ID)
	if err != nil {
		return err
	}
	data := accountPage{account: a, CanMail: s.cfg.canMail(), Verifies: s.cfg.verifies(), sent: sent}
	switch name {
	case "account":
		if data.activity, err = s.loadActivity(ctx, v.ID); err == nil {
			data.Projects, err = s.listProjects(ctx, galleryQuery{AuthorID: &v.ID, Sort: "recent", Page: 1, PerPage: 100}, v)
		}
	case "account_sessions":
		if data.Sessions, err = s.listSessions(ctx, v); err == nil {
			data.History, err = s.loadHistory(ctx, v.ID, 20, false)
		}
	case "account_notifications":
		data.Letters, err = s.loadNotifications(ctx, s.db, v.ID)
	}
	if err != nil {
		return err
	}
	return s.render(w, r, status, name, v, accountTitles[name], data)
}

// sendAccount takes the viewer's new particulars: the profile, the address, or
// both.
func (s *server) sendAccount(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	form, page := "profile", "account_profile"
	if in.has("email") && !in.has("firstname") && !in.has("bio") && !in.has("location") {
		form, page = "email", "account_security"
	}
	back := strings.Replace("/"+page, "_", "/", 1)
	if !in.has("keep_email") {
		// The same address changes nothing, and one that is still to be confirmed goes
		// on waiting.
		now, err := s.loadAccount(r.Context(), v.ID)
		if err != nil {
			return err
		}
		if email, _ := in.string("email"); strings.TrimSpace(email) == now.Email {
			delete(in.fields, "email")
		}
	}
	a, err := s.updateAccount(r, v, in)
	switch {
	case err == nil && a.PendingEmail != nil && in.has("email"):
		return s.done(w, r, back, "Saved. Now open the link in the e-mail that we sent to "+*a.PendingEmail+".")
	case err == nil:
		return s.done(w, r, back, "Saved.")
	}
	sent, status, err := refused(w, form, in, err)
	if err != nil {
		return err
	}
	return s.renderAccount(w, r, v, status, page, sent)
}

// sendPassword takes the viewer's new password.
func (s *server) sendPassword(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err = s.take(r, passwordLimit); err == nil {
		err = s.changePassword(r.Context(), v, in, "current_password", "Current password is incorrect", s.clientOf(r))
	}
	if err == nil {
		return s.done(w, r, "/account/security", "Your password is changed. All other devices are signed out.")
	}
	sent, status, err := refused(w, "password", in, err)
	if err != nil {
		return err
	}
	return s.renderAccount(w, r, v, status, "account_security", sent)
}
