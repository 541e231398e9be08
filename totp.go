package main

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Two factors: time-based one-time passwords (TOTP, RFC 6238) of six digits
// every 30 seconds by HMAC-SHA-1, as every authenticator app makes them, and
// ten backup codes.

const (
	totpPeriod  = 30 // seconds
	totpWindow  = 1  // steps that a clock may be wrong by, either way
	backupCodes = 10
	totpSeal    = "totp"
)

var (
	errTOTPRequired = &httpError{status: http.StatusUnauthorized, code: "totp_required",
		detail: "Enter the code that your authenticator app shows, or one of your backup codes"}
	errBadCode = &httpError{status: http.StatusUnauthorized, code: "totp_invalid",
		detail: "This code is wrong or was used already. Wait for the next one, or take a backup code"}
)

// totpCode is the code of a time step (RFC 4226 §5.3).
func totpCode(secret []byte, step int64) string {
	h := hmac.New(sha1.New, secret)
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(step))
	h.Write(counter[:])
	sum := h.Sum(nil)
	offset := sum[len(sum)-1] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[offset:])&0x7fffffff%1_000_000)
}

// totpStep finds the time step around now whose code is the given one.
func totpStep(secret []byte, code string, now time.Time) (step int64, ok bool) {
	for step := now.Unix()/totpPeriod - totpWindow; step <= now.Unix()/totpPeriod+totpWindow; step++ {
		if hmac.Equal([]byte(totpCode(secret, step)), []byte(code)) {
			return step, true
		}
	}
	return 0, false
}

var base32Text = base32.StdEncoding.WithPadding(base32.NoPadding)

// spendCode checks a code of the app or a backup code. Either works once.
func (s *server) spendCode(ctx context.Context, account signInAccount, code string, c client) (bool, error) {
	code = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(code))
	secret, err := s.unseal(totpSeal, account.TotpSecret)
	if err != nil {
		s.log.Error("a second factor can't be checked; an admin has to remove it", "user", account.Username, "error", err)
	} else if step, ok := totpStep(secret, code, s.now()); ok {
		tag, err := s.db.Exec(ctx, `update "user" set totp_step = $2 where id = $1 and totp_step < $2`, account.ID, step)
		return tag.RowsAffected() == 1, err
	}
	spent := false
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `delete from backup_code where user_id = $1 and hash = $2`, account.ID, s.backupHash(account.ID, code))
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		spent = true
		return audit{action: "backup_code_used", by: account.ID, client: c}.write(ctx, tx, account.ID)
	})
	return spent, err
}

func (s *server) backupHash(userID int, code string) []byte {
	return mac(s.keyFor("backup codes"), fmt.Sprint(userID, " ", code))
}

// newBackupCodes replaces an account's backup codes, each of 50 random bits.
func (s *server) newBackupCodes(ctx context.Context, tx pgx.Tx, userID int) ([]string, error) {
	codes, hashes := make([]string, backupCodes), make([][]byte, backupCodes)
	for i := range codes {
		text := rand.Text()[:10]
		codes[i], hashes[i] = text[:5]+"-"+text[5:], s.backupHash(userID, text)
	}
	if _, err := tx.Exec(ctx, `delete from backup_code where user_id = $1`, userID); err != nil {
		return nil, err
	}
	_, err := tx.Exec(ctx, `insert into backup_code (user_id, hash) select $1, unnest($2::bytea[])`, userID, hashes)
	return codes, err
}

// enrolment is what an authenticator app needs.
type enrolment struct {
	Secret     string `json:"secret"`      // base32 (RFC 4648 §6)
	OtpauthURL string `json:"otpauth_url"` // Key URI format of Google Authenticator
	QRSVG      string `json:"qr_svg"`      // the URL as a picture
}

// QR is the picture for a page.
func (e enrolment) QR() template.HTML { return template.HTML(e.QRSVG) }

// URL is the address that opens an app, for a page.
func (e enrolment) URL() template.URL { return template.URL(e.OtpauthURL) }

// Groups is the secret as people type it.
func (e enrolment) Groups() string {
	var groups []string
	for rest := e.Secret; rest != ""; rest = rest[min(4, len(rest)):] {
		groups = append(groups, rest[:min(4, len(rest))])
	}
	return strings.Join(groups, " ")
}

// enrol begins to set up two factors. Until a code has confirmed it nothing is
// asked for at sign-in; begun again while it is unconfirmed, the secret is the
// same when keep is true.
func (s *server) enrol(ctx context.Context, v viewer, keep bool) (enrolment, error) {
	secret := make([]byte, 20) // as long as the hash (RFC 4226 §4)
	rand.Read(secret)
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		account, err := one[signInAccount](ctx, tx, selectSignIn+`where id = $1 for no key update`, v.ID)
		if err != nil {
			return err
		}
		if account.TwoFactor {
			return fail(http.StatusBadRequest, "Two-factor sign-in is on already; switch it off before you set it up anew")
		}
		if old, err := s.unseal(totpSeal, account.TotpSecret); keep && err == nil {
			secret = old
			return nil
		}
		_, err = tx.Exec(ctx, `update "user" set totp_secret = $2 where id = $1`, v.ID, s.seal(totpSeal, secret))
		return err
	})
	if err != nil {
		return enrolment{}, err
	}
	e := enrolment{Secret: base32Text.EncodeToString(secret)}
	issuer := strings.ReplaceAll(s.cfg.siteName, ":", " ")
	e.OtpauthURL = "otpauth://totp/" + url.PathEscape(issuer+":"+v.Username) + "?secret=" + e.Secret + "&issuer=" + url.QueryEscape(issuer)
	e.QRSVG, err = qrSVG(e.OtpauthURL)
	return e, err
}

// confirmEnrolment switches two factors on when the code is right, and returns
// the backup codes, which nobody sees again.
func (s *server) confirmEnrolment(ctx context.Context, v viewer, in *input, c client) (codes []string, err error) {
	code := in.text("code", 1, 40)
	if err := in.err(); err != nil {
		return nil, err
	}
	at := s.attemptOf("enrol", v.Username, v.ID)
	if _, err := s.charge(ctx, at); err != nil {
		return nil, err
	}
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		account, err := one[signInAccount](ctx, tx, selectSignIn+`where id = $1 for no key update`, v.ID)
		if err != nil {
			return err
		}
		if account.TwoFactor || account.TotpSecret == nil {
			return fail(http.StatusBadRequest, "There is nothing to confirm: begin with setting two-factor sign-in up")
		}
		secret, err := s.unseal(totpSeal, account.TotpSecret)
		if err != nil {
			return err
		}
		step, ok := totpStep(secret, strings.ReplaceAll(code, " ", ""), s.now())
		if !ok {
			return fail(http.StatusBadRequest, "Code is not the one that belongs to this moment. Is the clock of your phone right? Try the next one")
		}
		if _, err := tx.Exec(ctx, `update "user" set totp_confirmed_at = $2, totp_step = $3, updated_at = now() where id = $1`, v.ID, s.now().UTC(), step); err != nil {
			return err
		}
		if codes, err = s.newBackupCodes(ctx, tx, v.ID); err != nil {
			return err
		}
		return s.noteTwoFactor(ctx, tx, account, "switched on", "totp_enabled", v.ID, c)
	})
	if err != nil {
		return nil, err
	}
	return codes, s.acquit(ctx, at)
}

// noteTwoFactor writes a change of an account's second factor to its history
// and to its owner.
func (s *server) noteTwoFactor(ctx context.Context, tx pgx.Tx, account signInAccount, what, action string, by int, c client) error {
	if err := (audit{action: action, by: by, client: c}).write(ctx, tx, account.ID); err != nil {
		return err
	}
	return s.sendMail(ctx, tx, account.Email, "two-factor", map[string]any{"Username": account.Username, "What": what, "When": s.now()})
}

// proveBoth checks password and code of somebody who is signed in and wants to
// change the second factor.
func (s *server) proveBoth(ctx context.Context, v viewer, in *input, c client) (signInAccount, error) {
	password, code := in.verbatim("password", 1, maxPassword), in.text("code", 1, 40)
	if err := in.err(); err != nil {
		return signInAccount{}, err
	}
	account, err := one[signInAccount](ctx, s.db, selectSignIn+`where id = $1`, v.ID)
	if err != nil {
		return account, err
	}
	if !account.TwoFactor {
		return account, fail(http.StatusBadRequest, "Two-factor sign-in is not switched on")
	}
	if err := s.checkPassword(ctx, v, password, fail(http.StatusBadRequest, "Password is incorrect")); err != nil {
		return account, err
	}
	at := s.attemptOf("code", v.Username, v.ID)
	if _, err := s.charge(ctx, at); err != nil {
		return account, err
	}
	ok, err := s.spendCode(ctx, account, code, c)
	if err != nil {
		return account, err
	}
	if !ok {
		return account, fail(http.StatusBadRequest, "Code is wrong or was used already. Wait for the next one, or take a backup code")
	}
	return account, s.acquit(ctx, at)
}

// dropTwoFactor takes an account's second factor away.
func dropTwoFactor(ctx context.Context, tx pgx.Tx, userID int) error {
	_, err := tx.Exec(ctx, `
		with codes as (delete from backup_code where user_id = $1)
		update "user" set totp_secret = null, totp_confirmed_at = null, updated_at = now() where id = $1`, userID)
	return err
}

// disableTOTP switches two factors off for somebody who gives both.
func (s *server) disableTOTP(ctx context.Context, v viewer, in *input, c client) error {
	if s.dutyOf(false, false, true, v.Admin) != 0 {
		return fail(http.StatusForbidden, "Two-factor sign-in is required here and can't be switched off")
	}
	account, err := s.proveBoth(ctx, v, in, c)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if err := dropTwoFactor(ctx, tx, v.ID); err != nil {
			return err
		}
		return s.noteTwoFactor(ctx, tx, account, "switched off", "totp_disabled", v.ID, c)
	})
}

// renewBackupCodes gives somebody who gives both factors ten new codes.
func (s *server) renewBackupCodes(ctx context.Context, v viewer, in *input, c client) (codes []string, err error) {
	if _, err := s.proveBoth(ctx, v, in, c); err != nil {
		return nil, err
	}
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) (err error) {
		if codes, err = s.newBackupCodes(ctx, tx, v.ID); err != nil {
			return err
		}
		return audit{action: "backup_codes_renewed", by: v.ID, client: c}.write(ctx, tx, v.ID)
	})
	return codes, err
}

// postTOTP answers POST /api/me/totp with a new secret.
func (s *server) postTOTP(w http.ResponseWriter, r *http.Request, v viewer) error {
	e, err := s.enrol(r.Context(), v, false)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, e)
}

// backupCodesAnswer shows backup codes, once.
type backupCodesAnswer struct {
	BackupCodes []string `json:"backup_codes"`
}

// postBackupCodes makes an endpoint of what gives out backup codes.
func (s *server) postBackupCodes(give func(context.Context, viewer, *input, client) ([]string, error)) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		in, err := readInput(w, r)
		if err != nil {
			return err
		}
		codes, err := give(r.Context(), v, in, s.clientOf(r))
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, backupCodesAnswer{codes})
	}
}

// deleteTOTP answers DELETE /api/me/totp.
func (s *server) deleteTOTP(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	if err := s.disableTOTP(r.Context(), v, in, s.clientOf(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// twoFactorPage is the data of twofactor.html.
type twoFactorPage struct {
	Form     formState
	On       bool
	Required bool
	Enrol    enrolment // while it is set up
	Codes    []string  // to be shown once
	Left     int       // backup codes
	Next     string    // where to go on once it is set up
}

// CodesFile is the codes as a file, which needs no script.
func (p twoFactorPage) CodesFile() template.URL {
	return template.URL("data:text/plain;charset=utf-8," + url.PathEscape(strings.Join(p.Codes, "\n")+"\n"))
}

// showTwoFactor answers the page where two factors are set up.
func (s *server) showTwoFactor(w http.ResponseWriter, r *http.Request, v viewer) error {
	return s.renderTwoFactor(w, r, v, http.StatusOK, formState{}, nil)
}

func (s *server) renderTwoFactor(w http.ResponseWriter, r *http.Request, v viewer, status int, sent formState, codes []string) error {
	data := twoFactorPage{Form: sent, Codes: codes, Required: s.dutyOf(false, false, true, v.Admin) != 0, Next: "/account"}
	if codes != nil {
		data.Next = cmp.Or(s.goOn(w, r), data.Next)
	}
	err := s.db.QueryRow(r.Context(), `
		select totp_confirmed_at is not null, (select count(*) from backup_code where user_id = $1) from "user" where id = $1`, v.ID).Scan(&data.On, &data.Left)
	if err == nil && !data.On {
		data.Enrol, err = s.enrol(r.Context(), v, true)
	}
	if err != nil {
		return err
	}
	return s.render(w, r, status, "twofactor", v, "Two-factor sign-in", data)
}

// sendTwoFactor takes one of the forms of that page: confirm, renew or off.
func (s *server) sendTwoFactor(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	c := s.clientOf(r)
	var codes []string
	form := r.PathValue("form")
	switch form {
	case "confirm":
		codes, err = s.confirmEnrolment(r.Context(), v, in, c)
	case "renew":
		codes, err = s.renewBackupCodes(r.Context(), v, in, c)
	case "off":
		if err = s.disableTOTP(r.Context(), v, in, c); err == nil {
			return s.done(w, r, "/account/two-factor", "Two-factor sign-in is switched off.")
		}
	default:
		return fail(http.StatusNotFound, "Not found")
	}
	if err == nil {
		return s.renderTwoFactor(w, r, v, http.StatusOK, formState{}, codes)
	}
	sent, status, err := refused(w, form, in, err)
	if err != nil {
		return err
	}
	return s.renderTwoFactor(w, r, v, status, sent, nil)
}
