package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"runtime"
	"sort"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// hasher hashes passwords with argon2id (RFC 9106). Each hash fills memory
// KiB, so only a few run at once and the others wait; one processor is left to
// those who don't sign in.
type hasher struct {
	memory, time uint32
	slots        chan struct{}
	waiting      atomic.Int64           // for a slot
	worked       func(algorithm string) // for tests: told of every hash that is computed
}

// maxHashes run at once, however many processors there are.
const maxHashes = 4

// newHasher takes the memory in KiB and the number of passes. OWASP's Password
// Storage Cheat Sheet recommends 19456 and 2 with one lane.
func newHasher(memory, time uint32) *hasher {
	return &hasher{memory: memory, time: time, slots: make(chan struct{}, max(1, min(maxHashes, runtime.GOMAXPROCS(0)-1))), worked: func(string) {}}
}

// hash returns a password's hash as a PHC string.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	key, err := h.key(ctx, password, salt, h.memory, h.time)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=1$%s$%s", h.memory, h.time,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key)), nil
}

func (h *hasher) key(ctx context.Context, password string, salt []byte, memory, time uint32) ([]byte, error) {
	if err := h.wait(ctx); err != nil {
		return nil, err
	}
	defer h.done()
	h.worked("argon2id")
	return argon2.IDKey([]byte(password), salt, time, memory, 1, 32), nil
}

func (h *hasher) wait(ctx context.Context) error {
	h.waiting.Add(1)
	defer h.waiting.Add(-1)
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hasher) done() { <-h.slots }

// What a stored hash may ask for, in KiB and passes; one that asks for more is
// not of this service.
const maxMemory, maxPasses = 1 << 20, 16

// verify compares a password with a hash of this service or with a bcrypt one
// of the older service, which ignored what came after the 72nd byte. outdated
// says that the hash should be made anew from the password. An empty hash, or
// one in no known form, costs as much as another and never fits.
func (h *hasher) verify(ctx context.Context, password, hash string) (ok, outdated bool, err error) {
	if isBcrypt(hash) {
		if err := h.wait(ctx); err != nil {
			return false, false, err
		}
		defer h.done()
		h.worked("bcrypt")
		short := []byte(password)[:min(72, len(password))]
		return bcrypt.CompareHashAndPassword([]byte(hash), short) == nil, true, nil
	}
	memory, time := h.memory, h.time
	var salt, want []byte
	if parts := strings.Split(hash, "$"); len(parts) == 6 {
		var m, t uint32
		if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=1", &m, &t); err == nil && m <= maxMemory && t > 0 && t <= maxPasses {
			memory, time = m, t
			salt, _ = base64.RawStdEncoding.DecodeString(parts[4])
			want, _ = base64.RawStdEncoding.DecodeString(parts[5])
		}
	}
	got, err := h.key(ctx, password, salt, memory, time)
	if err != nil {
		return false, false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, memory != h.memory || time != h.time, nil
}

// maxPassword bounds the work of hashing.
const maxPassword = 1024

func isBcrypt(hash string) bool { return strings.HasPrefix(hash, "$2") }

// nobodysHash is a bcrypt hash of the older service's cost that no password
// fits.
const nobodysHash = "$2b$12$....................................................."

// even does the work that a failed comparison with hash has left out, so that
// its time does not tell whose hash is an old one, and so who exists.
func (h *hasher) even(ctx context.Context, password, hash string) error {
	other := nobodysHash
	if isBcrypt(hash) {
		other = ""
	}
	_, _, err := h.verify(ctx, password, other)
	return err
}

// password reads a new password and checks it by the rules, one message for
// each that is broken. own are the texts that belong to its owner.
func (in *input) password(name string, own ...string) string {
	before := len(in.faults)
	text := in.verbatim(name, 1, maxPassword)
	if len(in.faults) == before {
		for _, msg := range weaknesses(text, own...) {
			in.add(name, msg, "value_error")
		}
	}
	return text
}

// weaknesses is a sentence for each rule that a password breaks. The name and
// the address of its owner must not be in it.
func weaknesses(password string, own ...string) (list []string) {
	rules := []struct {
		ok  bool
		msg string
	}{
		{len([]rune(password)) >= 8, "Password must have at least 8 characters"},
		{strings.ContainsFunc(password, unicode.IsUpper), "Password must have an upper-case letter"},
		{strings.ContainsFunc(password, unicode.IsLower), "Password must have a lower-case letter"},
		{strings.ContainsFunc(password, unicode.IsDigit), "Password must have a digit"},
	}
	for _, rule := range rules {
		if !rule.ok {
			list = append(list, rule.msg)
		}
	}
	folded := strings.ToLower(password)
	for _, text := range own {
		local, _, _ := strings.Cut(strings.ToLower(text), "@")
		if len(local) >= 3 && strings.Contains(folded, local) {
			list = append(list, "Password must not contain your username or e-mail address")
			break
		}
	}
	if len(list) == 0 && isCommon(folded) {
		list = append(list, "Password is one of those that everybody guesses first; choose an unusual one")
	}
	return list
}

// commonPasswords are those that turn up most often in published leaks, one a
// line in lower case, sorted by bytes: the ones with letters and digits, and
// the words that get digits or signs put around them.
//
//go:embed common_passwords.txt
var commonPasswords string

// isCommon reports whether a password in lower case is a common one, or a
// common word with nothing but digits and signs around it.
func isCommon(password string) bool {
	word := strings.TrimFunc(password, func(r rune) bool { return !unicode.IsLetter(r) })
	return listed(commonPasswords, password) || word != password && listed(commonPasswords, word)
}

// listed looks a line up in sorted lines by bisection, without a copy of them.
func listed(lines, line string) bool {
	startOf := func(i int) int { return strings.LastIndexByte(lines[:i], '\n') + 1 }
	end := sort.Search(len(lines), func(i int) bool {
		rest := lines[startOf(i):]
		one, _, _ := strings.Cut(rest, "\n")
		return one >= line
	})
	if end == len(lines) {
		return false
	}
	one, _, _ := strings.Cut(lines[startOf(end):], "\n")
	return one == line && line != ""
}

// setPassword gives an account a new password: every session but the kept one
// ends, and so do all links that were sent by mail and a change of address that
// is still to be confirmed, since somebody else may have asked for them.
func setPassword(ctx context.Context, tx pgx.Tx, userID int, hash, keep string, log audit) error {
	if keep == "" {
		keep = "00000000-0000-0000-0000-000000000000"
	}
	_, err := tx.Exec(ctx, `
		with changed as (
			update "user" set hashed_password = $2, force_password_reset = false, password_reset_code = null, code_expires_at = null,
			                  pending_email = null, updated_at = now() where id = $1
		), links as (delete from mail_token where user_id = $1)
		delete from session where user_id = $1 and id <> $3`, userID, hash, keep)
	if err != nil {
		return err
	}
	return log.write(ctx, tx, userID)
}

// changePassword sets the password of v, who knows the current one, and ends
// all other sessions. The field with the current password has two names in the
// API, and wrong is what each says when it does not fit.
func (s *server) changePassword(ctx context.Context, v viewer, in *input, currentField, wrong string, c client) error {
	a, err := s.loadAccount(ctx, v.ID)
	if err != nil {
		return err
	}
	current := in.verbatim(currentField, 1, maxPassword)
	password := in.password("new_password", a.Username, a.Email)
	if err := in.err(); err != nil {
		return err
	}
	if err := s.checkPassword(ctx, v, current, fail(http.StatusBadRequest, "%s", wrong)); err != nil {
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
		if err := setPassword(ctx, tx, v.ID, hash, v.session, audit{action: "password_changed", field: "password", by: v.ID, client: c}); err != nil {
			return err
		}
		return s.sendMail(ctx, tx, a.Email, "password-changed", s.notice(a.Username, c))
	})
}

// notTheOld is the 422 for a new password that the account has already.
func (s *server) notTheOld(ctx context.Context, in *input, userID int, password string) error {
	var hash string
	if err := s.db.QueryRow(ctx, `select hashed_password from "user" where id = $1`, userID).Scan(&hash); err != nil {
		return err
	}
	same, _, err := s.hasher.verify(ctx, password, hash)
	if err != nil {
		return err
	}
	if same {
		in.add("new_password", "New password must not be the old one", "value_error")
	}
	return in.err()
}

// checkPassword returns wrong unless the password is that of v. Who has
// somebody's session must not find the password out by trying: the failures
// count as those of signing in do.
func (s *server) checkPassword(ctx context.Context, v viewer, password string, wrong error) error {
	var hash string
	if err := s.db.QueryRow(ctx, `select hashed_password from "user" where id = $1`, v.ID).Scan(&hash); err != nil {
		return err
	}
	at := s.attemptOf("password", v.Username, v.ID)
	if _, err := s.charge(ctx, at); err != nil {
		return err
	}
	ok, _, err := s.hasher.verify(ctx, password, hash)
	if err != nil {
		return err
	}
	if !ok {
		return wrong
	}
	return s.acquit(ctx, at)
}

// passwordChange answers the endpoints that change one's own password.
func (s *server) passwordChange(currentField, wrong string) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		in, err := readInput(w, r)
		if err != nil {
			return err
		}
		if err := s.changePassword(r.Context(), v, in, currentField, wrong, s.clientOf(r)); err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, message{"Password changed; all other devices are signed out"})
	}
}
