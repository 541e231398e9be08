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

// linkKind is what a link in a mail is good for. Its page asks for a click on a
// button, since mail programs open links by themselves.
type linkKind struct {
	purpose string
	page    string
	life    time.Duration
}

var (
	linkVerify = linkKind{"verify", "/verify-email", 24 * time.Hour}
	linkChange = linkKind{"change", "/verify-email", 24 * time.Hour}
	linkReset  = linkKind{"reset", "/reset-password", time.Hour}
	linkUnlock = linkKind{"unlock", "/unlock", 24 * time.Hour}
)

// mailLink makes the address of a link that is sent to email. The one that was
// sent before for the same purpose ends.
func (s *server) mailLink(ctx context.Context, db querier, userID int, kind linkKind, email string) (string, error) {
	text, hash := newSecret()
	_, err := db.Exec(ctx, `
		with before as (delete from mail_token where user_id = $2 and purpose = $3)
		insert into mail_token (hash, user_id, purpose, email, expires_at) values ($1, $2, $3, $4, $5)`,
		hash, userID, kind.purpose, email, s.now().UTC().Add(kind.life))
	return s.cfg.publicURL + kind.page + "?token=" + text, err
}

// linked is the account that a token belongs to.
type linked struct {
	ID            int
	Username      string
	Email         string
	PendingEmail  *string
	EmailVerified bool
	Purpose       string
}

var errBadLink = fail(http.StatusBadRequest, "This link is wrong, was used already or is too old. Please ask for a new one")

// followLink returns the account of a token that is good for one of the
// purposes, or errBadLink. The account's row stays locked to the end of tx, so
// that of two uses at once the second finds the token gone.
func (s *server) followLink(ctx context.Context, tx pgx.Tx, token string, purposes ...string) (linked, error) {
	found, err := one[linked](ctx, tx, `
		select u.id, u.username, u.email, u.pending_email, u.email_verified, t.purpose
		from mail_token t join "user" u on u.id = t.user_id
		where t.hash = $1 and t.purpose = any($2) and t.expires_at > $3 and t.used_at is null and u.status = 'active'
		  and lower(t.email) = lower(case t.purpose when 'change' then u.pending_email else u.email end)
		for no key update of u`, hashSecret(token), purposes, s.now().UTC())
	if err == nil {
		// What was read may be older than the lock.
		err = tx.QueryRow(ctx, `select purpose from mail_token where hash = $1 and used_at is null`, hashSecret(token)).Scan(&found.Purpose)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return found, errBadLink
	}
	return found, err
}

func (s *server) spendLink(ctx context.Context, tx pgx.Tx, token string) error {
	_, err := tx.Exec(ctx, `update mail_token set used_at = $2 where hash = $1`, hashSecret(token), s.now().UTC())
	return err
}

// wasFollowed reports whether a token has done one of the purposes already.
func (s *server) wasFollowed(ctx context.Context, token string, purposes ...string) (used bool, err error) {
	err = s.db.QueryRow(ctx, `select exists (select from mail_token where hash = $1 and purpose = any($2) and used_at is not null)`, hashSecret(token), purposes).Scan(&used)
	return used, err
}

// askToVerify sends the link that confirms a new account's address.
func (s *server) askToVerify(ctx context.Context, tx pgx.Tx, userID int, username, email string) error {
	link, err := s.mailLink(ctx, tx, userID, linkVerify, email)
	if err != nil {
		return err
	}
	return s.sendMail(ctx, tx, email, "verify", map[string]any{"Username": username, "Link": link, "Hours": int(linkVerify.life.Hours())})
}

// askToChange sends the link that makes the pending address the account's.
func (s *server) askToChange(ctx context.Context, tx pgx.Tx, userID int, username, email string) error {
	link, err := s.mailLink(ctx, tx, userID, linkChange, email)
	if err != nil {
		return err
	}
	return s.sendMail(ctx, tx, email, "email-confirm-new", map[string]any{"Username": username, "Link": link, "Hours": int(linkChange.life.Hours())})
}

// tellOldAddress says to the address that an account had that it has another.
func (s *server) tellOldAddress(ctx context.Context, tx pgx.Tx, username, old, email string) error {
	return s.sendMail(ctx, tx, old, "email-changed-old", map[string]any{"Username": username, "NewEmail": maskEmail(email)})
}

// maskEmail shows enough of an address for its owner alone.
func maskEmail(email string) string {
	local, domain, _ := strings.Cut(email, "@")
	return truncate(local, 1) + "…@" + domain
}

// notice is what a mail about the safety of an account says.
func (s *server) notice(username string, c client) map[string]any {
	return map[string]any{"Username": username, "When": s.now(), "Address": c.address}
}

// verified is what confirming an address has led to.
type verified struct {
	Message string `json:"message"`
	Email   string `json:"email"`
	// ResetToken is for choosing a password, when the one that was there ended.
	ResetToken string `json:"reset_token,omitempty"`
}

// verifyEmail confirms the address that a link was sent to. Somebody may have
// made an account with the address of another person and wait for its owner to
// confirm it (pre-hijacking): unless the click comes from a browser that made
// the account or is signed in to it, all that its maker has ends: sessions,
// second factors and the password, in whose place comes a token for a new one.
func (s *server) verifyEmail(ctx context.Context, r *http.Request, token string, v viewer) (result verified, err error) {
	c := s.clientOf(r)
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		a, err := s.followLink(ctx, tx, token, linkVerify.purpose, linkChange.purpose)
		if err != nil {
			return err
		}
		if err := s.spendLink(ctx, tx, token); err != nil {
			return err
		}
		result = verified{Message: "Your e-mail address is confirmed", Email: a.Email}
		if a.Purpose == linkChange.purpose {
			result.Email = *a.PendingEmail
			return s.takeNewEmail(ctx, tx, a, c)
		}
		if a.EmailVerified {
			return nil
		}
		if v.ID != a.ID && s.knownDevice(r, a.ID) == "" {
			if err := endMaker(ctx, tx, a.ID); err != nil {
				return err
			}
			link, err := s.mailLink(ctx, tx, a.ID, linkReset, a.Email)
			if err != nil {
				return err
			}
			_, result.ResetToken, _ = strings.Cut(link, "?token=")
			result.Message += ". You are not signed in to this account here, so its earlier password has ended: please choose a new one"
		}
		return markVerified(ctx, tx, a.ID, audit{action: "email_verified", field: "email", is: a.Email, by: a.ID, client: c})
	})
	return result, accountConflict(err, "", "Email already in use")
}

func markVerified(ctx context.Context, tx pgx.Tx, userID int, log audit) error {
	if _, err := tx.Exec(ctx, `update "user" set email_verified = true, updated_at = now() where id = $1`, userID); err != nil {
		return err
	}
	return log.write(ctx, tx, userID)
}

// endMaker ends all that gives access to an account that was never verified.
func endMaker(ctx context.Context, tx pgx.Tx, userID int) error {
	if err := dropTwoFactor(ctx, tx, userID); err != nil {
		return err
	}
	return setPassword(ctx, tx, userID, "", "", audit{action: "maker_ended", field: "password", by: userID})
}

// takeNewEmail makes the pending address the account's.
func (s *server) takeNewEmail(ctx context.Context, tx pgx.Tx, a linked, c client) error {
	_, err := tx.Exec(ctx, `
		update "user" set email = pending_email, pending_email = null, email_verified = true, updated_at = now(),
		                  email_double = email_double and lower(email) = lower(pending_email)
		where id = $1`, a.ID)
	if err != nil {
		return err
	}
	if err := (audit{action: "updated", field: "email", was: a.Email, is: *a.PendingEmail, by: a.ID, client: c}).write(ctx, tx, a.ID); err != nil {
		return err
	}
	return s.tellOldAddress(ctx, tx, a.Username, a.Email, *a.PendingEmail)
}

var errNoMail = &httpError{status: http.StatusForbidden, code: "mail_off", detail: "This server sends no mail. Please ask an admin"}

// resendVerification sends the link again that confirms an account's address,
// or its new one.
func (s *server) resendVerification(ctx context.Context, v viewer) (message, error) {
	if !s.cfg.canMail() {
		return message{}, errNoMail
	}
	var m message
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		a, err := one[linked](ctx, tx, `select id, username, email, pending_email, email_verified, '' as purpose from "user" where id = $1 for no key update`, v.ID)
		switch {
		case err != nil:
			return err
		case a.PendingEmail != nil:
			m.Message = "A link to confirm the new address is on its way to " + *a.PendingEmail
			return s.askToChange(ctx, tx, a.ID, a.Username, *a.PendingEmail)
		case a.EmailVerified:
			return fail(http.StatusBadRequest, "Your e-mail address is confirmed already")
		}
		m.Message = "A link to confirm your address is on its way to " + a.Email
		return s.askToVerify(ctx, tx, a.ID, a.Username, a.Email)
	})
	return m, err
}

// postVerify answers POST /api/verify-email.
func (s *server) postVerify(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	token := in.text("token", 1, 200)
	if err := in.err(); err != nil {
		return err
	}
	result, err := s.verifyEmail(r.Context(), r, token, v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, result)
}

// postResend answers POST /api/me/verify-email/resend.
func (s *server) postResend(w http.ResponseWriter, r *http.Request, v viewer) error {
	m, err := s.resendVerification(r.Context(), v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, m)
}

// remailPause is how long a link of the same kind is not sent again to one
// address, whoever asks.
const remailPause = 3 * time.Minute

// forgotPassword sends a link to choose a new password, if an account has the
// address. Answer and time are the same when there is none.
func (s *server) forgotPassword(in *input, c client) (message, error) {
	if !s.cfg.canMail() {
		return message{}, &httpError{status: http.StatusForbidden, code: "mail_off", detail: "This server sends no mail. Please ask an admin for a reset code"}
	}
	email := in.email("email", nil)
	if err := in.err(); err != nil {
		return message{}, err
	}
	err := s.later("sending a link to reset a password", func(ctx context.Context) error {
		account, err := s.findAccount(ctx, email)
		if err != nil || account.Status != "active" {
			return err
		}
		return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
			var recent bool
			err := tx.QueryRow(ctx, `
				select exists (select from mail_token where user_id = u.id and purpose = 'reset' and expires_at > $2)
				from "user" u where id = $1 for no key update`, account.ID, s.now().UTC().Add(linkReset.life-remailPause)).Scan(&recent)
			if err != nil || recent {
				return err
			}
			if err := (audit{action: "password_reset_requested", client: c}).write(ctx, tx, account.ID); err != nil {
				return err
			}
			link, err := s.mailLink(ctx, tx, account.ID, linkReset, account.Email)
			if err != nil {
				return err
			}
			return s.sendMail(ctx, tx, account.Email, "reset", map[string]any{"Username": account.Username, "Link": link, "Minutes": int(linkReset.life.Minutes())})
		})
	})
	return message{"If an account has this address, a link to choose a new password is on its way to it"}, err
}

// resetByLink sets a new password for the holder of a link, which proves the
// address too: who made an account with it and never confirmed it is out.
func (s *server) resetByLink(ctx context.Context, in *input, c client) error {
	token := in.text("token", 1, 200)
	if err := in.err(); err != nil {
		return err
	}
	var a linked
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) (err error) {
		a, err = s.followLink(ctx, tx, token, linkReset.purpose)
		return err
	})
	if err != nil {
		return err
	}
	password := in.newPassword(a.Username, a.Email)
	if err := in.err(); err != nil {
		return err
	}
	if err := s.notTheOld(ctx, in, a.ID, password); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if a, err = s.followLink(ctx, tx, token, linkReset.purpose); err != nil {
			return err
		}
		if !a.EmailVerified {
			if err := endMaker(ctx, tx, a.ID); err != nil {
				return err
			}
			if err := markVerified(ctx, tx, a.ID, audit{action: "email_verified", field: "email", is: a.Email, by: a.ID, client: c}); err != nil {
				return err
			}
		}
		return s.finishReset(ctx, tx, a.ID, a.Username, a.Email, hash, "", a.ID, c)
	})
}

// finishReset sets the password, opens the account where it was locked, and
// tells its owner. The kept session stays; there need be none.
func (s *server) finishReset(ctx context.Context, tx pgx.Tx, userID int, username, email, hash, keep string, by int, c client) error {
	if err := setPassword(ctx, tx, userID, hash, keep, audit{action: "password_reset", field: "password", by: by, client: c}); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `delete from failed_attempt where user_id = $1`, userID); err != nil {
		return err
	}
	return s.sendMail(ctx, tx, email, "password-changed", s.notice(username, c))
}

// newPassword is the field new_password of a form, and the same again in
// confirm_password where the form has that.
func (in *input) newPassword(own ...string) string {
	password := in.password("new_password", own...)
	if again, given := in.string("confirm_password"); given && again != password {
		in.add("confirm_password", "The two passwords are not the same", "value_error")
	}
	return password
}

// newResetCode is 8 of A–Z and 2–7, 40 random bits.
func newResetCode() string { return rand.Text()[:8] }

// resetCodeLife is how long an admin's code is good.
const resetCodeLife = 24 * time.Hour

// codeHash is what the database keeps of an admin's code. The code is short,
// so that people can type it: a plain hash of it could be reversed.
func (s *server) codeHash(userID int, code string) string {
	return fmt.Sprintf("%x", mac(s.keyFor("reset code"), fmt.Sprint(userID, " ", strings.ToUpper(strings.TrimSpace(code)))))
}

var errBadResetCode = fail(http.StatusBadRequest, "This code does not fit the username, was used already or is too old. Please ask an admin for a new one")

// resetByCode sets a new password for who has an admin's code.
func (s *server) resetByCode(ctx context.Context, in *input, c client) error {
	name, code := in.text("username", 1, 254), in.text("reset_code", 1, 40)
	password := in.newPassword()
	if err := in.err(); err != nil {
		return err
	}
	account, err := s.findAccount(ctx, name)
	if err != nil {
		return err
	}
	at := s.attemptOf("reset code", name, account.ID)
	if _, err := s.charge(ctx, at); err != nil {
		return err
	}
	fits := `select email from "user" where id = $1 and status = 'active' and password_reset_code = $2 and code_expires_at > $3`
	args := []any{account.ID, s.codeHash(account.ID, code), s.now().UTC()}
	if err := s.db.QueryRow(ctx, fits, args...).Scan(&account.Email); err != nil {
		return orBadCode(err)
	}
	for _, msg := range weaknesses(password, account.Username, account.Email) {
		in.add("new_password", msg, "value_error")
	}
	if err := cmp.Or(in.err(), s.notTheOld(ctx, in, account.ID, password)); err != nil {
		return cmp.Or(s.refund(ctx, at), err)
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, fits+` for no key update`, args...).Scan(&account.Email); err != nil {
			return orBadCode(err)
		}
		return s.finishReset(ctx, tx, account.ID, account.Username, account.Email, hash, "", account.ID, c)
	})
}

func orBadCode(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return errBadResetCode
	}
	return err
}

// resetForced sets the new password that an admin has asked somebody for, and
// signs them out everywhere else.
func (s *server) resetForced(ctx context.Context, v viewer, in *input, c client) error {
	account, err := one[signInAccount](ctx, s.db, selectSignIn+`where id = $1`, v.ID)
	if err != nil {
		return err
	}
	password := in.newPassword(account.Username, account.Email)
	if err := in.err(); err != nil {
		return err
	}
	if err := s.notTheOld(ctx, in, v.ID, password); err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		return s.finishReset(ctx, tx, v.ID, account.Username, account.Email, hash, v.session, v.ID, c)
	})
}

// unlock opens an account that failed sign-ins have locked, by the link in the
// mail about it.
func (s *server) unlock(ctx context.Context, token string, c client) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		a, err := s.followLink(ctx, tx, token, linkUnlock.purpose)
		if err != nil {
			return err
		}
		if err := s.spendLink(ctx, tx, token); err != nil {
			return err
		}
		return liftLocks(ctx, tx, a.ID, audit{action: "unlocked", by: a.ID, client: c})
	})
}

func liftLocks(ctx context.Context, tx pgx.Tx, userID int, log audit) error {
	if _, err := tx.Exec(ctx, `delete from failed_attempt where user_id = $1`, userID); err != nil {
		return err
	}
	return log.write(ctx, tx, userID)
}

// postForgot answers POST /api/password/forgot.
func (s *server) postForgot(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	m, err := s.forgotPassword(in, s.clientOf(r))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, m)
}

// postReset answers the endpoints that set a forgotten password, by a link or
// by a code.
func (s *server) postReset(reset func(context.Context, *input, client) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		in, err := readInput(w, r)
		if err != nil {
			return err
		}
		if err := reset(r.Context(), in, s.clientOf(r)); err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, message{"Your password has been changed. Sign in with the new one"})
	}
}

// linkPage is the data of the pages behind links, and of those that ask for one.
type linkPage struct {
	Form    formState
	Token   string
	Viewer  viewer
	Known   bool   // this browser is one of the account's
	Used    bool   // the link has done what it is for
	Dead    bool   // the link is good for nothing
	Email   string // of the account behind the token, or of who is signed in
	Done    string
	CanMail bool
}

// SignIn is the way to sign in and come back.
func (p linkPage) SignIn() string {
	return "/login?return_to=" + url.QueryEscape("/verify-email?token="+p.Token)
}

// showVerify answers the page behind the link that confirms an address; without
// a token, the one that sends it again.
func (s *server) showVerify(w http.ResponseWriter, r *http.Request, v viewer) error {
	return s.renderVerify(w, r, v, http.StatusOK, linkPage{Form: formState{ID: "verify"}, Token: r.URL.Query().Get("token"), Done: r.URL.Query().Get("done")})
}

func (s *server) renderVerify(w http.ResponseWriter, r *http.Request, v viewer, status int, data linkPage) error {
	data.Viewer, data.CanMail = v, s.cfg.canMail()
	if data.Token == "" && !v.signedIn() && data.Done == "" && !data.Form.Refused() {
		return errMissingToken
	}
	if data.Token != "" {
		err := pgx.BeginFunc(r.Context(), s.db, func(tx pgx.Tx) error {
			a, err := s.followLink(r.Context(), tx, data.Token, linkVerify.purpose, linkChange.purpose)
			data.Email = a.Email
			if a.PendingEmail != nil {
				data.Email = *a.PendingEmail
			}
			data.Known = a.Purpose == linkChange.purpose || a.EmailVerified || v.ID == a.ID || s.knownDevice(r, a.ID) != ""
			return err
		})
		if err == errBadLink {
			if data.Used, err = s.wasFollowed(r.Context(), data.Token, linkVerify.purpose, linkChange.purpose); err != nil {
				return err
			}
			data.Token = ""
			switch {
			case data.Used:
				status, data.Form = http.StatusOK, formState{ID: "verify"}
			case !data.Form.Refused():
				status = http.StatusBadRequest
				data.Form.add("", errBadLink.(*httpError).detail)
			}
		} else if err != nil {
			return err
		}
	}
	return s.render(w, r, status, "verify", v, "Confirm your e-mail address", data)
}

// sendVerify takes the click that confirms an address; who is a stranger to the
// account goes on to choose a password.
func (s *server) sendVerify(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	token := in.text("token", 1, 200)
	var result verified
	if err = in.err(); err == nil {
		result, err = s.verifyEmail(r.Context(), r, token, v)
	}
	switch {
	case err == nil && result.ResetToken != "":
		return seeOther(w, r, "/reset-password?token="+result.ResetToken)
	case err == nil && v.signedIn():
		return s.done(w, r, cmp.Or(s.goOn(w, r), "/account"), "Your e-mail address is confirmed.")
	case err == nil:
		return seeOther(w, r, "/login?verified=true")
	}
	sent, status, err := refused(w, "verify", in, err)
	if err != nil {
		return err
	}
	return s.renderVerify(w, r, v, status, linkPage{Form: sent, Token: token})
}

// sendResend sends the link again.
func (s *server) sendResend(w http.ResponseWriter, r *http.Request, v viewer) error {
	err := s.take(r, mailLimit)
	var m message
	if err == nil {
		m, err = s.resendVerification(r.Context(), v)
	}
	data, status := linkPage{Form: formState{ID: "verify"}, Done: m.Message}, http.StatusOK
	if err != nil {
		if data.Form, status, err = refused(w, "verify", &input{}, err); err != nil {
			return err
		}
	}
	return s.renderVerify(w, r, v, status, data)
}

// showForgot answers the form that asks for a link to reset a password.
func (s *server) showForgot(w http.ResponseWriter, r *http.Request, v viewer) error {
	if back := s.returnTo(r.URL.Query().Get("return_to")); back != "" {
		s.goOnLater(w, back)
	}
	return s.render(w, r, http.StatusOK, "forgot", v, "Forgotten password", linkPage{Form: formState{ID: "forgot"}, CanMail: s.cfg.canMail()})
}

// sendForgot takes that form.
func (s *server) sendForgot(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	data, status := linkPage{Form: formState{ID: "forgot"}, CanMail: s.cfg.canMail()}, http.StatusOK
	var m message
	if err = s.take(r, mailLimit); err == nil {
		m, err = s.forgotPassword(in, s.clientOf(r))
	}
	data.Done = m.Message
	if err != nil {
		data.Done = ""
		if data.Form, status, err = refused(w, "forgot", in, err); err != nil {
			return err
		}
	}
	return s.render(w, r, status, "forgot", v, "Forgotten password", data)
}

// showReset answers the form for a new password: by a link's token or, without
// one, by an admin's code.
func (s *server) showReset(w http.ResponseWriter, r *http.Request, v viewer) error {
	return s.renderReset(w, r, v, http.StatusOK, linkPage{Form: formState{ID: "reset"}, Token: r.URL.Query().Get("token")})
}

func (s *server) renderReset(w http.ResponseWriter, r *http.Request, v viewer, status int, data linkPage) error {
	data.CanMail = s.cfg.canMail()
	if data.Token != "" {
		err := pgx.BeginFunc(r.Context(), s.db, func(tx pgx.Tx) error {
			a, err := s.followLink(r.Context(), tx, data.Token, linkReset.purpose)
			data.Email = a.Email
			return err
		})
		if err == errBadLink {
			data.Form, data.Dead, status = formState{ID: "reset"}, true, http.StatusBadRequest
			data.Form.add("", errBadLink.(*httpError).detail)
		} else if err != nil {
			return err
		}
	}
	return s.render(w, r, status, "reset", v, "Choose a new password", data)
}

// sendReset takes that form.
func (s *server) sendReset(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	token, _ := in.string("token")
	reset := s.resetByCode
	if token != "" {
		reset = s.resetByLink
	}
	if err = s.take(r, resetLimit); err == nil {
		err = reset(r.Context(), in, s.clientOf(r))
	}
	if err == nil {
		return seeOther(w, r, s.afterReset(w, r))
	}
	sent, status, err := refused(w, "reset", in, err)
	if err != nil {
		return err
	}
	return s.renderReset(w, r, v, status, linkPage{Form: sent, Token: token})
}

// afterReset is where a new password leads: to signing in, and then to where
// somebody wanted to go before.
func (s *server) afterReset(w http.ResponseWriter, r *http.Request) string {
	if back := s.goOn(w, r); back != "" {
		return "/login?reset=success&return_to=" + url.QueryEscape(back)
	}
	return "/login?reset=success"
}

// showForced answers the form for the new password that an admin asked for.
func (s *server) showForced(w http.ResponseWriter, r *http.Request, v viewer) error {
	return s.renderForced(w, r, v, http.StatusOK, formState{ID: "forced"})
}

func (s *server) renderForced(w http.ResponseWriter, r *http.Request, v viewer, status int, form formState) error {
	if v.must&mustReset == 0 {
		return seeOther(w, r, "/account/security")
	}
	return s.render(w, r, status, "forced", v, "Choose a new password", linkPage{Form: form, Viewer: v})
}

// sendForced takes that form.
func (s *server) sendForced(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	if v.must&mustReset == 0 {
		return seeOther(w, r, "/account/security")
	}
	if err = s.resetForced(r.Context(), v, in, s.clientOf(r)); err == nil {
		return seeOther(w, r, s.afterReset(w, r))
	}
	form, status, err := refused(w, "forced", in, err)
	if err != nil {
		return err
	}
	return s.renderForced(w, r, v, status, form)
}

// showUnlock answers the page behind the link in the mail about a lock.
func (s *server) showUnlock(w http.ResponseWriter, r *http.Request, v viewer) error {
	return s.renderUnlock(w, r, v, http.StatusOK, linkPage{Form: formState{ID: "unlock"}, Token: r.URL.Query().Get("token")})
}

func (s *server) renderUnlock(w http.ResponseWriter, r *http.Request, v viewer, status int, data linkPage) error {
	err := pgx.BeginFunc(r.Context(), s.db, func(tx pgx.Tx) error {
		_, err := s.followLink(r.Context(), tx, data.Token, linkUnlock.purpose)
		return err
	})
	if err == errBadLink {
		data.Used, err = s.wasFollowed(r.Context(), data.Token, linkUnlock.purpose)
		data.Form, status = formState{ID: "unlock"}, http.StatusOK
		if data.Dead = !data.Used; data.Dead {
			status = http.StatusBadRequest
			data.Form.add("", "This link is wrong or too old. Locks end by themselves within a day at most")
		}
	}
	if err != nil {
		return err
	}
	return s.render(w, r, status, "unlock", v, "Unlock your account", data)
}

// sendUnlock takes the click on it.
func (s *server) sendUnlock(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	token := in.text("token", 1, 200)
	if err = in.err(); err == nil {
		err = s.unlock(r.Context(), token, s.clientOf(r))
	}
	if err == nil {
		return seeOther(w, r, "/login?unlocked=true")
	}
	form, status, err := refused(w, "unlock", in, err)
	if err != nil {
		return err
	}
	return s.renderUnlock(w, r, v, status, linkPage{Form: form, Token: token})
}
