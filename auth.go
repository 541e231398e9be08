package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

const (
	tokenLife       = 30 * time.Minute    // of a JWT
	sessionIdle     = 14 * 24 * time.Hour // a session nobody uses for this long is over
	sessionAbsolute = 90 * 24 * time.Hour // and every session after this
)

// viewer is the person behind a request; the zero value is nobody.
type viewer struct {
	ID       int
	Username string
	Admin    bool
	session  string
}

func (v viewer) signedIn() bool { return v.ID != 0 }

// client is where a request comes from, for the audit log and the sessions.
type client struct {
	address, userAgent string
}

func (s *server) clientOf(r *http.Request) client {
	return client{s.clientAddr(r).String(), cleanAgent(r.UserAgent())}
}

// cleanAgent is a User-Agent header as the database can hold it.
func cleanAgent(agent string) string {
	return truncate(strings.ToValidUTF8(strings.ReplaceAll(agent, "\x00", ""), ""), 500)
}

// truncate cuts text to at most n characters.
func truncate(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n])
	}
	return text
}

// claims is a token's payload (RFC 7519 §4.1).
type claims struct {
	Subject  string `json:"sub"`           // the username
	Session  string `json:"jti,omitempty"` // the session's id
	Audience string `json:"aud,omitempty"`
	Issued   int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

var jwtHeader = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`))

// signToken writes a JWT in compact form (RFC 7515 §3.1), signed with HS256.
func signToken(key []byte, c claims) string {
	payload, _ := json.Marshal(c) // texts and numbers always marshal
	text := jwtHeader + "." + base64.RawURLEncoding.EncodeToString(payload)
	return text + "." + base64.RawURLEncoding.EncodeToString(mac(key, text))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// parseToken returns the claims of a token that is signed with key, expired or
// not. Any algorithm but HS256 is refused (RFC 8725 §3.1).
func parseToken(key []byte, token string) (claims, bool) {
	text, signature, _ := cutLast(token, ".")
	header, payload, _ := strings.Cut(text, ".")
	given, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(given, mac(key, text)) {
		return claims{}, false
	}
	var head struct{ Alg string }
	var c claims
	return c, decodeSegment(header, &head) && head.Alg == "HS256" && decodeSegment(payload, &c)
}

func decodeSegment(text string, into any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && json.Unmarshal(raw, into) == nil
}

func cutLast(text, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(text, sep); i >= 0 {
		return text[:i], text[i+len(sep):], true
	}
	return text, "", false
}

// operatorHeader carries a token that only who holds SECRET_KEY can sign; the
// rate limits, which are made for strangers, leave its requests alone.
const (
	operatorHeader   = "Chatter-Operator"
	operatorAudience = "operator"
)

func operatorToken(key []byte, now time.Time) string {
	return signToken(key, claims{Audience: operatorAudience, Issued: now.Unix(), Expires: now.Add(tokenLife).Unix()})
}

func (s *server) isOperator(r *http.Request) bool {
	token := r.Header.Get(operatorHeader)
	if token == "" {
		return false
	}
	c, ok := parseToken(s.cfg.secretKey, token)
	return ok && c.Audience == operatorAudience && s.now().Unix() < c.Expires
}

var (
	errMissingToken = fail(http.StatusUnauthorized, "Missing token")
	errBadToken     = fail(http.StatusUnauthorized, "Invalid or expired token")
)

// viewerOf finds out who sends the request: by the Authorization header first
// and the cookie second. Nobody is the zero viewer with errMissingToken or
// errBadToken. A cookie whose token is old is renewed while its session lives.
func (s *server) viewerOf(w http.ResponseWriter, r *http.Request) (viewer, error) {
	result := errMissingToken
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		v, _, err := s.authenticate(r.Context(), strings.TrimSpace(token), false)
		if err == nil || err != errBadToken {
			return v, err
		}
		result = err
	}
	// A browser can hold one cookie for the host and one for the domain.
	for _, cookie := range r.CookiesNamed("access_token") {
		token, _ := strings.CutPrefix(cookie.Value, "Bearer ")
		v, c, err := s.authenticate(r.Context(), token, true)
		if err == nil && s.now().Add(tokenLife/2).Unix() > c.Expires {
			s.setSignIn(w, v.Username, s.newToken(v.Username, v.session))
		}
		if err == nil || err != errBadToken {
			return v, err
		}
		result = err
	}
	return viewer{}, result
}

// authenticate checks a token and the session behind it. renewable accepts a
// token that has expired, because its session may still be alive.
func (s *server) authenticate(ctx context.Context, token string, renewable bool) (viewer, claims, error) {
	c, ok := parseToken(s.cfg.secretKey, token)
	now := s.now().UTC()
	if !ok || c.Audience != "" || !isUUID(c.Session) || !renewable && now.Unix() >= c.Expires {
		return viewer{}, c, errBadToken
	}
	rows, err := s.db.Query(ctx, `
		select u.id, u.username, u.type = 1 as admin, s.last_seen_at
		from session s join "user" u on u.id = s.user_id
		where s.id = $1 and u.username = $2 and u.status = 'active' and s.last_seen_at > $3 and s.created_at > $4`,
		c.Session, c.Subject, now.Add(-sessionIdle), now.Add(-sessionAbsolute))
	if err != nil {
		return viewer{}, c, err
	}
	found, err := pgx.CollectOneRow(rows, pgx.RowToStructByName[struct {
		ID         int
		Username   string
		Admin      bool
		LastSeenAt time.Time
	}])
	if errors.Is(err, pgx.ErrNoRows) {
		return viewer{}, c, errBadToken
	}
	if err != nil {
		return viewer{}, c, err
	}
	if now.Sub(found.LastSeenAt) > time.Minute {
		if _, err := s.db.Exec(ctx, `update session set last_seen_at = $2 where id = $1`, c.Session, now); err != nil {
			return viewer{}, c, err
		}
	}
	return viewer{found.ID, found.Username, found.Admin, c.Session}, c, nil
}

var isUUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString

func (s *server) newToken(username, session string) string {
	now := s.now()
	return signToken(s.cfg.secretKey, claims{Subject: username, Session: session, Issued: now.Unix(), Expires: now.Add(tokenLife).Unix()})
}

// setSignIn sets the two cookies of a signed-in browser. They live as long as
// an unused session may, and the token in them is renewed on the way; an empty
// token removes them.
func (s *server) setSignIn(w http.ResponseWriter, username, token string) {
	access := &http.Cookie{Name: "access_token", Value: "Bearer " + token, HttpOnly: true}
	name := &http.Cookie{Name: "username", Value: url.PathEscape(username)}
	for _, cookie := range []*http.Cookie{access, name} {
		cookie.Path = "/"
		cookie.SameSite = http.SameSiteLaxMode
		cookie.MaxAge = int(sessionIdle.Seconds())
		if token == "" {
			cookie.Value, cookie.MaxAge = "", -1
		}
		if s.cfg.production {
			cookie.Secure = true
			cookie.Domain = s.cfg.cookieDomain
		}
		http.SetCookie(w, cookie)
	}
}

// promptViewerOf is viewerOf with the time that a database may take even where
// a file is moved afterwards.
func (s *server) promptViewerOf(w http.ResponseWriter, r *http.Request) (viewer, error) {
	ctx, cancel := s.promptly(r)
	defer cancel()
	return s.viewerOf(w, r.WithContext(ctx))
}

// withViewer is a handler that wants to know who asks.
type withViewer func(w http.ResponseWriter, r *http.Request, v viewer) error

// open lets everybody in, signed in or not.
func (s *server) open(next withViewer) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		v, err := s.promptViewerOf(w, r)
		if err != nil && err != errMissingToken && err != errBadToken {
			return err
		}
		infoOf(r).viewer = v
		return next(w, r, v)
	}
}

// signedIn lets in who is signed in.
func (s *server) signedIn(next withViewer) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		v, err := s.promptViewerOf(w, r)
		if err != nil {
			return err
		}
		infoOf(r).viewer = v
		w.Header().Set("Cache-Control", "no-store")
		return next(w, r, v)
	}
}

// admin lets in admins.
func (s *server) admin(next withViewer) handler {
	return s.signedIn(func(w http.ResponseWriter, r *http.Request, v viewer) error {
		if !v.Admin {
			return fail(http.StatusForbidden, "Only admins may do this")
		}
		return next(w, r, v)
	})
}

// hasher hashes passwords with argon2id (RFC 9106). Each hash fills memory
// KiB, so only a few run at once and the others wait.
type hasher struct {
	memory, time uint32
	slots        chan struct{}
	worked       func(algorithm string) // for tests: told of every hash that is computed
}

// newHasher takes the memory in KiB and the number of passes. OWASP's Password
// Storage Cheat Sheet recommends 19456 and 2 with one lane.
func newHasher(memory, time uint32) *hasher {
	return &hasher{memory, time, make(chan struct{}, 4), func(string) {}}
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
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hasher) done() { <-h.slots }

// verify compares a password with a hash of this service or with a bcrypt one
// of the older service, which ignored what came after the 72nd byte. outdated
// says that the hash should be made anew from the password. An empty hash
// costs as much as another and never fits.
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
		if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=1", &memory, &time); err != nil {
			return false, false, fmt.Errorf("a stored password hash is not in a known form: %w", err)
		}
		salt, _ = base64.RawStdEncoding.DecodeString(parts[4])
		want, _ = base64.RawStdEncoding.DecodeString(parts[5])
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
// each that is broken.
func (in *input) password(name string) string {
	before := len(in.faults)
	text := in.verbatim(name, 1, maxPassword)
	if len(in.faults) > before {
		return text
	}
	rules := []struct {
		ok  bool
		msg string
	}{
		{len([]rune(text)) >= 8, "Password must have at least 8 characters"},
		{strings.ContainsFunc(text, unicode.IsUpper), "Password must have an upper-case letter"},
		{strings.ContainsFunc(text, unicode.IsLower), "Password must have a lower-case letter"},
		{strings.ContainsFunc(text, unicode.IsDigit), "Password must have a digit"},
	}
	for _, rule := range rules {
		if !rule.ok {
			in.add(name, rule.msg, "value_error")
		}
	}
	return text
}

var errBadCredentials = fail(http.StatusUnauthorized, "Invalid credentials")

// signIn checks a name or e-mail address with its password and starts a
// session. Whatever is wrong, the answer and the work are the same.
func (s *server) signIn(ctx context.Context, in *input, c client) (username, token string, err error) {
	name, password := in.text("username", 1, 254), in.verbatim("password", 1, maxPassword)
	if err := in.err(); err != nil {
		return "", "", err
	}
	rows, err := s.db.Query(ctx, `
		select id, username, hashed_password, status from "user"
		where lower(username) = lower($1) or lower(email) = lower($1)
		order by username = $1 desc, email = $1 desc, username_double or email_double, lower(username) = lower($1) desc
		limit 1`, name)
	if err != nil {
		return "", "", err
	}
	account, err := pgx.CollectOneRow(rows, pgx.RowToStructByName[struct {
		ID                               int
		Username, HashedPassword, Status string
	}])
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", "", err
	}
	ok, outdated, err := s.hasher.verify(ctx, password, account.HashedPassword)
	if err != nil {
		return "", "", err
	}
	if !ok {
		var older bool // as long as there is one old hash left
		if err := s.db.QueryRow(ctx, `select exists (select from "user" where hashed_password like '$2%')`).Scan(&older); err != nil {
			return "", "", err
		}
		if older {
			if err := s.hasher.even(ctx, password, account.HashedPassword); err != nil {
				return "", "", err
			}
		}
	}
	if !ok || account.Status != "active" {
		// What was typed for a name is often the password.
		s.log.Warn("sign-in failed", "user", account.Username, "address", c.address)
		return "", "", errBadCredentials
	}
	var newHash *string
	if outdated {
		hash, err := s.hasher.hash(ctx, password)
		if err != nil {
			return "", "", err
		}
		newHash = &hash
	}
	var session string
	err = s.db.QueryRow(ctx, `
		with seen as (
			update "user" set last_login = $2, hashed_password = coalesce($3, hashed_password) where id = $1
		), over as (
			delete from session where user_id = $1 and (last_seen_at <= $6 or created_at <= $7)
		)
		insert into session (user_id, created_at, last_seen_at, ip_address, user_agent) values ($1, $2, $2, $4, $5)
		returning id`, account.ID, s.now().UTC(), newHash, c.address, c.userAgent,
		s.now().UTC().Add(-sessionIdle), s.now().UTC().Add(-sessionAbsolute)).Scan(&session)
	return account.Username, s.newToken(account.Username, session), err
}

// login answers {access_token, token_type} and sets the cookies.
func (s *server) login(w http.ResponseWriter, r *http.Request) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	username, token, err := s.signIn(r.Context(), in, s.clientOf(r))
	if err != nil {
		return err
	}
	s.setSignIn(w, username, token)
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
	}{token, "bearer"})
}

// logout ends the session and clears the cookies; it answers with the way to
// /login, or with JSON when ?redirect=false.
func (s *server) logout(w http.ResponseWriter, r *http.Request, v viewer) error {
	if v.signedIn() {
		if _, err := s.db.Exec(r.Context(), `delete from session where id = $1`, v.session); err != nil {
			return err
		}
	}
	s.setSignIn(w, "", "")
	if r.URL.Query().Get("redirect") == "false" {
		return writeJSON(w, http.StatusOK, message{"You are signed out"})
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
	return nil
}

// changePassword sets the password of v and ends all other sessions. The field
// with the current password has two names in the API, and wrong is what each
// says when it does not fit.
func (s *server) changePassword(ctx context.Context, v viewer, in *input, currentField, wrong string, c client) error {
	current := in.verbatim(currentField, 1, maxPassword)
	password := in.password("new_password")
	if err := in.err(); err != nil {
		return err
	}
	var hash string
	if err := s.db.QueryRow(ctx, `select hashed_password from "user" where id = $1`, v.ID).Scan(&hash); err != nil {
		return err
	}
	ok, _, err := s.hasher.verify(ctx, current, hash)
	if err != nil {
		return err
	}
	if !ok {
		return fail(http.StatusBadRequest, "%s", wrong)
	}
	if hash, err = s.hasher.hash(ctx, password); err != nil {
		return err
	}
	_, err = s.db.Exec(ctx, `
		with changed as (update "user" set hashed_password = $2, updated_at = now() where id = $1),
		     ended as (delete from session where user_id = $1 and id <> $3)
		insert into accountlog (user_id, action, field_changed, changed_by, ip_address, user_agent)
		values ($1, 'password_changed', 'password', $1, $4, $5)`, v.ID, hash, v.session, c.address, c.userAgent)
	return err
}

// passwordChange answers the two endpoints that change one's own password.
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
