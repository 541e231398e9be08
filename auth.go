package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// tokenLife is how long a JWT is good. The session behind it lives longer and
// gives out new ones.
const tokenLife = 30 * time.Minute

// viewer is the person behind a request; the zero value is nobody.
type viewer struct {
	ID       int
	Username string
	Admin    bool
	must     duty
	session  string
	since    time.Time // when the session began
}

// duty is what somebody still has to do before all is open to them.
type duty int

const (
	mustReset  duty = 1 << iota // choose a new password, since an admin says so
	mustEnroll                  // set up two factors (REQUIRE_2FA)
	mustVerify                  // confirm the e-mail address (EMAIL_VERIFICATION=required)
)

// err is the answer to somebody who has to do something first.
func (d duty) err() error {
	switch {
	case d&mustReset != 0:
		return &httpError{status: http.StatusForbidden, code: "password_reset_required", mend: "/force-password-reset",
			detail: "Your password has to be changed first: sign in on the page /login of this server, which asks for a new one"}
	case d&mustEnroll != 0:
		return &httpError{status: http.StatusForbidden, code: "totp_setup_required", mend: "/account/two-factor",
			detail: "Your account needs two-factor sign-in first: set it up on the page /account/two-factor of this server"}
	case d&mustVerify != 0:
		return &httpError{status: http.StatusForbidden, code: "email_verification_required", mend: "/verify-email",
			detail: "Please confirm your e-mail address first: open the link in the mail that we sent you, or have it sent again on your account page"}
	}
	return nil
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
	now := s.now().UTC()
	if k := s.known.find(s.cache, token, now); k != nil && (renewable || now.Unix() < k.claims.Expires) {
		return k.viewer, k.claims, nil
	}
	asOf := s.cache.clock.Load()
	c, ok := parseToken(s.cfg.secretKey, token)
	if !ok || c.Audience != "" || !isUUID(c.Session) || !renewable && now.Unix() >= c.Expires {
		return viewer{}, c, errBadToken
	}
	found, err := one[struct {
		ID                          int
		Username                    string
		Admin                       bool
		MustReset, TwoFactor, Email bool
		CreatedAt, LastSeenAt       time.Time
	}](ctx, s.db, `
		select u.id, u.username, u.type = 1 as admin, u.force_password_reset as must_reset, u.totp_confirmed_at is not null as two_factor,
		       u.email_verified as email, s.created_at, s.last_seen_at
		from session s join "user" u on u.id = s.user_id
		where s.id = $1 and u.username = $2 and u.status = 'active' and s.last_seen_at > $3 and s.created_at > $4`,
		c.Session, c.Subject, now.Add(-s.cfg.sessionIdle), now.Add(-s.cfg.sessionMax))
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
	v := viewer{found.ID, found.Username, found.Admin, s.dutyOf(found.MustReset, found.TwoFactor, found.Email, found.Admin), c.Session, found.CreatedAt}
	s.known.keep(token, &knownToken{v, c, asOf, now.Add(knownLife)})
	return v, c, nil
}

// knownTokens are tokens that were looked up a moment ago, with whom they stand
// for. A sign-out or another change to accounts ends that at once on the same instance, and
// on others within a second.
type knownTokens struct {
	mu     sync.RWMutex
	tokens map[string]*knownToken
}

type knownToken struct {
	viewer viewer
	claims claims
	asOf   uint64 // the cache's clock before the look
	until  time.Time
}

const (
	knownLife = time.Second
	maxKnown  = 10_000 // tokens, of about 500 bytes
)

func (k *knownTokens) find(c *cache, token string, now time.Time) *knownToken {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if t := k.tokens[token]; t != nil && now.Before(t.until) && !c.changedSince(t.asOf, aboutAccounts) {
		return t
	}
	return nil
}

func (k *knownTokens) keep(token string, t *knownToken) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.tokens == nil || len(k.tokens) >= maxKnown {
		k.tokens = map[string]*knownToken{} // all of them are about to end
	}
	k.tokens[token] = t
}

// aboutAccounts is the topic of who may do what. Only the sign-out, which is no
// write by its method, has to name it: a write that does not say what it changed is taken to
// have changed this too.
var aboutAccounts = about("accounts", "")

// knownViewer is who sends the request, if that was looked up a moment ago and
// the answer has to renew nothing.
func (s *server) knownViewer(r *http.Request) (v viewer, known bool) {
	now := s.now().UTC()
	token, renewable := "", false
	if given := r.Header["Authorization"]; given != nil {
		if scheme, text, _ := strings.Cut(given[0], " "); strings.EqualFold(scheme, "Bearer") {
			token = text
		}
	} else if cookies := r.CookiesNamed("access_token"); len(cookies) == 1 {
		token, renewable = strings.TrimPrefix(cookies[0].Value, "Bearer "), true
	}
	k := s.known.find(s.cache, token, now)
	if k == nil || k.viewer.must != 0 || now.Unix() >= k.claims.Expires || renewable && now.Add(tokenLife/2).Unix() > k.claims.Expires {
		return viewer{}, false
	}
	return k.viewer, true
}

func (s *server) dutyOf(reset, twoFactor, verified, admin bool) (d duty) {
	if reset {
		d |= mustReset
	}
	if !twoFactor && (s.cfg.require2FA == "all" || s.cfg.require2FA == "admins" && admin) {
		d |= mustEnroll
	}
	if !verified && s.cfg.emailVerification == "required" {
		d |= mustVerify
	}
	return d
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
	life := s.cfg.sessionIdle
	if token == "" {
		life = -1
	}
	s.setCookie(w, &http.Cookie{Name: "access_token", Value: "Bearer " + token, HttpOnly: true}, life)
	s.setCookie(w, &http.Cookie{Name: "username", Value: url.PathEscape(username)}, life)
}

// setCookie sets a cookie for the given time, or removes it when that is
// negative.
func (s *server) setCookie(w http.ResponseWriter, cookie *http.Cookie, life time.Duration) {
	cookie.Path, cookie.SameSite = "/", http.SameSiteLaxMode
	cookie.MaxAge = int(life.Seconds())
	if life < 0 {
		cookie.Value, cookie.MaxAge = "", -1
	}
	if s.cfg.production {
		cookie.Secure = true
		cookie.Domain = s.cfg.cookieDomain
	}
	http.SetCookie(w, cookie)
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

// open lets everybody in, signed in or not. Who has to do something before
// reading is nobody here; a browser is sent to do it.
func (s *server) open(next withViewer) route {
	return route{access: forOpen, handler: func(w http.ResponseWriter, r *http.Request) error {
		v, err := s.promptViewerOf(w, r)
		if err != nil && err != errMissingToken && err != errBadToken {
			return err
		}
		if before := v.must &^ mustVerify; before != 0 {
			if acceptsHTML(r) {
				return before.err()
			}
			v = viewer{}
		}
		infoOf(r).viewer = v
		return next(w, r, v)
	}}
}

// signedIn lets in who is signed in and has nothing left to do first.
func (s *server) signedIn(next withViewer) route { return s.despite(0, next) }

// despite lets in who is signed in, even if they still have to do one of the
// given things.
func (s *server) despite(duties duty, next withViewer) route {
	return route{access: forSignedIn, handler: func(w http.ResponseWriter, r *http.Request) error {
		v, err := s.promptViewerOf(w, r)
		if err != nil {
			return err
		}
		if err := (v.must &^ duties).err(); err != nil {
			return err
		}
		infoOf(r).viewer = v
		w.Header().Set("Cache-Control", "no-store")
		return next(w, r, v)
	}}
}

// admin lets in admins.
func (s *server) admin(next withViewer) route {
	return s.signedIn(func(w http.ResponseWriter, r *http.Request, v viewer) error {
		if !v.Admin {
			return fail(http.StatusForbidden, "Only admins may do this")
		}
		return next(w, r, v)
	}).as(forAdmins)
}
