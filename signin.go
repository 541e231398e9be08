package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

var errBadCredentials = fail(http.StatusUnauthorized, "Invalid credentials")

// errDeactivated is for who knows the password of an account that an admin has
// switched off. Only a page tells it from errBadCredentials.
var errDeactivated = fail(http.StatusUnauthorized, "This account is deactivated")

// attempt is what failures in a row are counted for: a name that somebody
// types, whether or not it is an account's, or an account in a browser that
// has signed in to it before. The owner's browser has a count of its own, so
// that nobody else can lock it out.
type attempt struct {
	key    []byte // keyed hash
	userID int    // 0 for a name that is nobody's
}

func (s *server) attemptOf(kind, subject string, userID int) attempt {
	return attempt{mac(s.keyFor("attempts"), kind+"\x00"+strings.ToLower(subject)), userID}
}

const (
	freeFailures = 5                // in a row, before the first lock
	firstLock    = 15 * time.Minute // doubles with every further failure
	longestLock  = 24 * time.Hour
	lockMemory   = 48 * time.Hour // failures longer ago than this are forgotten
)

// charge counts an attempt as failed before it is tried, so that many at once
// are no more than many in turn, and returns how many there have been in a
// row. While there is a lock it is a 429 instead.
func (s *server) charge(ctx context.Context, a attempt) (failures int, err error) {
	now := s.now().UTC()
	err = s.db.QueryRow(ctx, queries["charge_attempt"], a.key, a.userID, now, now.Add(-lockMemory), freeFailures, firstLock, longestLock).Scan(&failures)
	if !errors.Is(err, pgx.ErrNoRows) {
		return failures, err
	}
	var until *time.Time
	if err := s.db.QueryRow(ctx, `select locked_until from failed_attempt where key = $1`, a.key).Scan(&until); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, err
	}
	wait := 1
	if until != nil {
		wait = max(1, int(until.Sub(now).Seconds()+1))
	}
	return 0, &httpError{status: http.StatusTooManyRequests, code: "locked", retryAfter: wait,
		detail: fmt.Sprintf("Too many failed attempts. Please try again in %s, or reset your password", formatWait(wait))}
}

// acquit forgets the failures of an attempt that was right.
func (s *server) acquit(ctx context.Context, a attempt) error {
	_, err := s.db.Exec(ctx, `delete from failed_attempt where key = $1`, a.key)
	return err
}

// refund takes back one charge, for an attempt that was not wrong but not
// complete either. The failures before it stay.
func (s *server) refund(ctx context.Context, a attempt) error {
	_, err := s.db.Exec(ctx, `
		update failed_attempt set failures = failures - 1, locked_until = case when failures > $2 then locked_until end
		where key = $1 and failures > 0`, a.key, freeFailures)
	return err
}

// failed notes a failed sign-in and returns err. What follows from a lock is
// done after the answer: its time must not tell whether the account exists.
func (s *server) failed(account signInAccount, failures int, c client, err error) error {
	// What was typed for a name is often the password.
	s.log.Warn("sign-in failed", "user_id", account.ID, "address", c.address, "failures", failures)
	s.meters.signInFailures.Add(1)
	if failures < freeFailures {
		return err
	}
	s.meters.lockouts.Add(1)
	busy := s.later("noting a lock", func(ctx context.Context) error {
		if account.ID == 0 {
			return nil
		}
		return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
			until := s.now().UTC().Add(lockAfter(failures))
			if err := (audit{action: "locked", is: until.Format(time.RFC3339), client: c}).write(ctx, tx, account.ID); err != nil || failures > freeFailures {
				return err
			}
			link, err := s.mailLink(ctx, tx, account.ID, linkUnlock, account.Email)
			if err != nil {
				return err
			}
			return s.sendMail(ctx, tx, account.Email, "locked", map[string]any{"Username": account.Username, "Until": until, "Link": link})
		})
	})
	return cmp.Or(busy, err)
}

// lockAfter is how long the given number of failures in a row locks.
func lockAfter(failures int) time.Duration {
	return min(firstLock<<min(failures-freeFailures, 10), longestLock)
}

// deviceCookie is the name of the cookie that tells a browser which has signed
// in to an account before, or made it, from others. Its value is random text
// with a signature; it gives no access.
func deviceCookie(userID int) string { return fmt.Sprintf("device_%d", userID) }

const deviceLife = 400 * 24 * time.Hour // as long as browsers keep any cookie

// knownDevice is the random text of the browser's cookie for the account, or
// the empty text.
func (s *server) knownDevice(r *http.Request, userID int) string {
	for _, cookie := range r.CookiesNamed(deviceCookie(userID)) {
		if random, _, ok := strings.Cut(cookie.Value, "."); ok && cookie.Value == s.deviceValue(random, userID) {
			return random
		}
	}
	return ""
}

func (s *server) deviceValue(random string, userID int) string {
	return fmt.Sprintf("%s.%x", random, mac(s.keyFor("device"), fmt.Sprint(random, " ", userID)))
}

// rememberDevice marks the browser as one of the account's.
func (s *server) rememberDevice(w http.ResponseWriter, r *http.Request, userID int) {
	random := s.knownDevice(r, userID)
	if random == "" {
		random = rand.Text()
	}
	s.setCookie(w, &http.Cookie{Name: deviceCookie(userID), Value: s.deviceValue(random, userID), HttpOnly: true}, deviceLife)
}

// signInAccount is what signing in needs to know of an account; the zero value
// is nobody.
type signInAccount struct {
	ID                                      int
	Username, HashedPassword, Status, Email string
	ForcePasswordReset                      bool
	TotpSecret                              []byte
	TwoFactor                               bool
}

const selectSignIn = `
	select id, username, hashed_password, status, email, force_password_reset, totp_secret, totp_confirmed_at is not null as two_factor
	from "user" `

// byName finds an account by its name or e-mail address. Of older accounts
// that differ in case alone the exact spelling comes first.
const byName = `
	where lower(username) = lower($1) or lower(email) = lower($1)
	order by username = $1 desc, email = $1 desc, username_double or email_double, lower(username) = lower($1) desc
	limit 1`

// findAccount returns the account with a name or an address, or nobody.
func (s *server) findAccount(ctx context.Context, name string) (signInAccount, error) {
	account, err := one[signInAccount](ctx, s.db, selectSignIn+byName, name)
	if errors.Is(err, pgx.ErrNoRows) {
		return signInAccount{}, nil
	}
	return account, err
}

// signIn checks a name or e-mail address with its password, and the second
// factor where there is one. Whatever is wrong with name and password, the
// answer and the work are the same. A form that has been through the first
// step has a ticket in their place.
func (s *server) signIn(r *http.Request, in *input) (signInAccount, error) {
	ctx, c := r.Context(), s.clientOf(r)
	if in.has("ticket") {
		return s.signInWithTicket(r, in)
	}
	name, password, code := in.text("username", 1, 254), in.verbatim("password", 1, maxPassword), in.optional("totp", nil, 40)
	if err := in.err(); err != nil {
		return signInAccount{}, err
	}
	account, err := s.findAccount(ctx, name)
	if err != nil {
		return account, err
	}
	at := s.attemptFor(r, account, "name", name)
	failures, err := s.charge(ctx, at)
	if err != nil {
		return account, err
	}
	ok, outdated, err := s.hasher.verify(ctx, password, account.HashedPassword)
	if err != nil {
		return account, err
	}
	if !ok {
		if err := s.evenOut(ctx, password, account.HashedPassword); err != nil {
			return account, err
		}
	}
	if !ok {
		return account, s.failed(account, failures, c, errBadCredentials)
	}
	if account.Status != "active" {
		return account, cmp.Or(s.refund(ctx, at), errDeactivated)
	}
	if outdated {
		hash, err := s.hasher.hash(ctx, password)
		if err != nil {
			return account, err
		}
		// Unless it has just been changed.
		if _, err := s.db.Exec(ctx, `update "user" set hashed_password = $2 where id = $1 and hashed_password = $3`, account.ID, hash, account.HashedPassword); err != nil {
			return account, err
		}
	}
	return account, s.secondFactor(ctx, account, deref(code), at, failures, c)
}

// attemptFor is the attempt to sign in to an account, from a browser that it
// knows or from elsewhere.
func (s *server) attemptFor(r *http.Request, account signInAccount, kind, subject string) attempt {
	if device := s.knownDevice(r, account.ID); account.ID != 0 && device != "" {
		return s.attemptOf("device", fmt.Sprint(device, " ", account.ID), account.ID)
	}
	return s.attemptOf(kind, subject, account.ID)
}

// evenOut does the work that a failed comparison with hash has left out, as
// long as there is one old hash in the database.
func (s *server) evenOut(ctx context.Context, password, hash string) error {
	var older bool
	if err := s.db.QueryRow(ctx, `select exists (select from "user" where hashed_password like '$2%')`).Scan(&older); err != nil || !older {
		return err
	}
	return s.hasher.even(ctx, password, hash)
}

// secondFactor finishes a sign-in whose password was right: with the code,
// where the account has two factors.
func (s *server) secondFactor(ctx context.Context, account signInAccount, code string, at attempt, failures int, c client) error {
	if !account.TwoFactor {
		return s.acquit(ctx, at)
	}
	if code == "" {
		if err := s.refund(ctx, at); err != nil {
			return err
		}
		return errTOTPRequired
	}
	ok, err := s.spendCode(ctx, account, code, c)
	if err != nil {
		return err
	}
	if !ok {
		return s.failed(account, failures, c, errBadCode)
	}
	return s.acquit(ctx, at)
}

// ticketLife is how long somebody may take to find the code after the password.
const ticketLife = 5 * time.Minute

// newTicket says for a form's second step that the first one was right.
func (s *server) newTicket(account signInAccount) string {
	now := s.now()
	return signToken(s.keyFor("ticket"), claims{Subject: fmt.Sprint(account.ID), Session: s.ticketProof(account), Issued: now.Unix(), Expires: now.Add(ticketLife).Unix()})
}

// ticketProof makes a ticket void once the password is another one.
func (s *server) ticketProof(account signInAccount) string {
	return fmt.Sprintf("%x", mac(s.keyFor("ticket"), account.HashedPassword))
}

func (s *server) signInWithTicket(r *http.Request, in *input) (signInAccount, error) {
	ctx, c := r.Context(), s.clientOf(r)
	ticket, code := in.text("ticket", 1, 1000), in.text("totp", 1, 40)
	if err := in.err(); err != nil {
		return signInAccount{}, err
	}
	said, ok := parseToken(s.keyFor("ticket"), ticket)
	account := signInAccount{}
	if ok && s.now().Unix() < said.Expires {
		var err error
		account, err = one[signInAccount](ctx, s.db, selectSignIn+`where id::varchar = $1 and status = 'active'`, said.Subject)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return account, err
		}
	}
	if account.ID == 0 || said.Session != s.ticketProof(account) {
		return account, errTicketOver
	}
	at := s.attemptFor(r, account, "ticket", said.Subject)
	failures, err := s.charge(ctx, at)
	if err != nil {
		return account, err
	}
	return account, s.secondFactor(ctx, account, code, at, failures, c)
}

var errTicketOver = fail(http.StatusUnauthorized, "That took too long, or your password has changed. Please sign in again")

// startSession begins a session of an account that has signed in, and ends the
// one that the browser had before, so that nobody can have fixed it.
func (s *server) startSession(w http.ResponseWriter, r *http.Request, account signInAccount) (token string, err error) {
	c, now := s.clientOf(r), s.now().UTC()
	var session string
	err = s.db.QueryRow(r.Context(), `
		with seen as (
			update "user" set last_login = $2 where id = $1
		), over as (
			delete from session where user_id = $1 and (last_seen_at <= $5 or created_at <= $6) or id = any($7)
		), log as (
			insert into accountlog (user_id, action, changed_by, changed_at, ip_address, user_agent) values ($1, 'signed_in', $1, $2, $3, $4)
		)
		insert into session (user_id, created_at, last_seen_at, ip_address, user_agent) values ($1, $2, $2, $3, $4)
		returning id`, account.ID, now, c.address, c.userAgent, now.Add(-s.cfg.sessionIdle), now.Add(-s.cfg.sessionMax), s.sessionsOf(r)).Scan(&session)
	if err != nil {
		return "", err
	}
	s.meters.signIns.Add(1)
	token = s.newToken(account.Username, session)
	s.setSignIn(w, account.Username, token)
	s.rememberDevice(w, r, account.ID)
	w.Header().Set("Cache-Control", "no-store")
	return token, nil
}

// sessionsOf are the sessions of all tokens that a request brings: a browser
// can hold one cookie for the host and one for the domain.
func (s *server) sessionsOf(r *http.Request) []string {
	_, header, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	tokens := []string{header}
	for _, cookie := range r.CookiesNamed("access_token") {
		tokens = append(tokens, strings.TrimPrefix(cookie.Value, "Bearer "))
	}
	list := []string{}
	for _, token := range tokens {
		if c, ok := parseToken(s.cfg.secretKey, token); ok && isUUID(c.Session) {
			list = append(list, c.Session)
		}
	}
	return list
}

// signInAnswer is what signing in gives (RFC 6749 §5.1).
type signInAnswer struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
}

// login answers {access_token, token_type} and sets the cookies.
func (s *server) login(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	delete(in.fields, "ticket") // programs send both factors at once
	account, err := s.signIn(r, in)
	if err == errDeactivated {
		err = errBadCredentials
	}
	if err != nil {
		return err
	}
	if account.ForcePasswordReset {
		e := *mustReset.err().(*httpError)
		e.mend = ""
		e.detail = "Your password has to be changed first: sign in at " + s.cfg.publicURL + "/login, which asks for a new one"
		return &e
	}
	token, err := s.startSession(w, r, account)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, signInAnswer{token, "bearer"})
}

// logout ends the session and clears the cookies; it answers with the way to
// /login, or with JSON when ?redirect=false.
func (s *server) logout(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.db.Exec(r.Context(), `delete from session where id = any($1)`, s.sessionsOf(r)); err != nil {
		return err
	}
	s.changed(r, aboutAccounts)
	s.setSignIn(w, "", "")
	w.Header().Set("Cache-Control", "no-store")
	if r.URL.Query().Get("redirect") == "false" {
		return writeJSON(w, http.StatusOK, message{"You are signed out"})
	}
	return s.done(w, r, "/login", "You are signed out.")
}

// signInPage is the data of login.html and register.html.
type signInPage struct {
	Form     formState
	ReturnTo string // checked by returnTo
	Notice   string
	Viewer   viewer // who is signed in already, if somebody is
	Other    bool   // another account is asked for than the viewer's
	Ticket   string // of the second step
	Terms    string // the version that is shown
	CanMail  bool
	Contact  string
}

// With is a page of signing in with the way back kept.
func (p signInPage) With(path string) string {
	if p.ReturnTo == "" {
		return path
	}
	return path + "?return_to=" + url.QueryEscape(p.ReturnTo)
}

// Continue is where signing in leads to.
func (p signInPage) Continue() string {
	if p.ReturnTo == "" {
		return "/account"
	}
	return p.ReturnTo
}

// showRegister answers the form for a new account.
func (s *server) showRegister(w http.ResponseWriter, r *http.Request, v viewer) error {
	terms, err := s.termsVersion()
	if err != nil {
		return err
	}
	data := signInPage{Form: formState{ID: "register"}, ReturnTo: s.returnTo(r.URL.Query().Get("return_to")), Viewer: v, Terms: terms}
	return s.render(w, r, http.StatusOK, "register", v, "Register", data)
}

// sendRegister makes an account; its owner signs in next.
func (s *server) sendRegister(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	text, _ := in.string("return_to")
	data := signInPage{ReturnTo: s.returnTo(text), Viewer: v}
	if data.Terms, err = s.termsVersion(); err != nil {
		return err
	}
	// Forms of other sites have no such box; theirs ask in their own way.
	shown, asked := in.string("terms_version")
	switch {
	case asked && !in.flag("accept_terms"):
		in.add("accept_terms", "Please agree to the terms and the privacy notice", "missing")
	case asked && shown != data.Terms:
		in.add("accept_terms", "The terms have changed since you opened this page; please read them again", "value_error")
		delete(in.fields, "accept_terms")
	}
	user, err := s.createAccount(r.Context(), in, 0, s.registrarOf(r))
	if err == nil {
		s.rememberDevice(w, r, user.ID)
		query := url.Values{"registered": {"true"}}
		if data.ReturnTo != "" {
			query.Set("return_to", data.ReturnTo)
		}
		return seeOther(w, r, "/login?"+query.Encode())
	}
	var status int
	if data.Form, status, err = refused(w, "register", in, err); err != nil {
		return err
	}
	return s.render(w, r, status, "register", v, "Register", data)
}

// showLogin answers the form for signing in, with the reason why it is shown.
func (s *server) showLogin(w http.ResponseWriter, r *http.Request, v viewer) error {
	query := r.URL.Query()
	data := signInPage{Form: formState{ID: "login"}, ReturnTo: s.returnTo(query.Get("return_to")), Viewer: v, CanMail: s.cfg.canMail(), Contact: s.cfg.contact()}
	data.Other = strings.HasPrefix(data.ReturnTo, linkVerify.page+"?token=")
	switch {
	case query.Get("registered") == "true" && s.cfg.verifies():
		data.Notice = "Your account is ready. We have sent you a mail to confirm your address; sign in to start."
	case query.Get("registered") == "true":
		data.Notice = "Your account is ready. Sign in to start."
	case query.Get("reset") == "success" && v.signedIn():
		data.Notice = "Your password has been changed, and you are signed in with it."
	case query.Get("reset") == "success":
		data.Notice = "Your password has been changed. Sign in with the new one."
	case query.Get("verified") == "true":
		data.Notice = "Your e-mail address is confirmed."
	case query.Get("unlocked") == "true":
		data.Notice = "Your account is open again. Sign in, or reset your password if you have forgotten it."
	case query.Get("error") == "session_expired":
		data.Notice = "Please sign in to go on."
		if s.subjectOf(r) != "" {
			data.Notice = "Your session has ended. Please sign in again to go on."
		}
		if data.ReturnTo == "/kept" {
			data.Notice += " What you have typed is kept, and waits for you."
		}
		if query.Get("upload") == "lost" {
			data.Notice += " The file that you sent has not been stored: choose it again then."
		}
	}
	return s.render(w, r, http.StatusOK, "login", v, "Sign in", data)
}

// sendLogin signs in and leads on; with two factors there is a second step.
func (s *server) sendLogin(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	text, _ := in.string("return_to")
	data := signInPage{ReturnTo: s.returnTo(text), CanMail: s.cfg.canMail(), Contact: s.cfg.contact()}
	var account signInAccount
	if err = s.take(r, loginLimit); err == nil {
		account, err = s.signIn(r, in)
	}
	switch err {
	case nil:
		if _, err = s.startSession(w, r, account); err == nil {
			return seeOther(w, r, data.Continue())
		}
	case errTOTPRequired:
		data.Ticket, data.Form = s.newTicket(account), formState{ID: "login"}
		return s.render(w, r, http.StatusOK, "login", viewer{}, "Sign in", data)
	case errBadCode:
		if data.Ticket, _ = in.string("ticket"); data.Ticket == "" {
			data.Ticket = s.newTicket(account)
		}
	case errBadCredentials:
		err = fail(http.StatusUnauthorized, "This name and password do not fit together. Check both and try again")
	case errDeactivated:
		err = fail(http.StatusUnauthorized, "This account is deactivated. If you think that this is a mistake, write to %s", s.cfg.contact())
	default:
		if e := publicError(err); e.code == "locked" && data.CanMail {
			err = &httpError{status: e.status, retryAfter: e.retryAfter, detail: e.detail + ". If there is an account with this name, its owner has a letter with a link that unlocks it at once"}
		}
	}
	var status int
	if data.Form, status, err = refused(w, "login", in, err); err != nil {
		return err
	}
	return s.render(w, r, status, "login", viewer{}, "Sign in", data)
}
