package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// What outlives a redirect: what a page says once, where somebody wanted to go
// before something else had to be done, and forms that came when nobody was
// signed in any more.

// flash is what the next page says, once.
type flash struct {
	Text string
	Code string `json:",omitempty"` // a secret that nobody sees again
}

const flashCookie = "flash"

// setFlash has the next page of this browser say something. The cookie is
// sealed, so that it says only what the server has said.
func (s *server) setFlash(w http.ResponseWriter, f flash) {
	text, _ := json.Marshal(f) // texts always marshal
	s.setCookie(w, &http.Cookie{Name: flashCookie, Value: base64.RawURLEncoding.EncodeToString(s.seal("flash", text)), HttpOnly: true}, 5*time.Minute)
}

// takeFlash returns what was left to be said, and takes it away.
func (s *server) takeFlash(w http.ResponseWriter, r *http.Request) (f flash) {
	cookie, err := r.Cookie(flashCookie)
	if err != nil {
		return f
	}
	s.setCookie(w, &http.Cookie{Name: flashCookie, HttpOnly: true}, -1)
	sealed, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err == nil {
		sealed, err = s.unseal("flash", sealed)
	}
	if err == nil {
		_ = json.Unmarshal(sealed, &f) // it was sealed here
	}
	return f
}

// done answers a form that was good: the page at path says so.
func (s *server) done(w http.ResponseWriter, r *http.Request, path, text string) error {
	s.setFlash(w, flash{Text: text})
	return seeOther(w, r, path)
}

const goOnCookie = "go_on"

// goOnLater notes where to go on once something else is done; the empty path
// forgets it.
func (s *server) goOnLater(w http.ResponseWriter, path string) {
	life := time.Hour
	if path == "" {
		life = -1
	}
	s.setCookie(w, &http.Cookie{Name: goOnCookie, Value: url.QueryEscape(path), HttpOnly: true}, life)
}

// goOn is where somebody wanted to go before, checked as returnTo does, or
// nothing. It is forgotten then.
func (s *server) goOn(w http.ResponseWriter, r *http.Request) string {
	cookie, err := r.Cookie(goOnCookie)
	if err != nil {
		return ""
	}
	s.goOnLater(w, "")
	path, _ := url.QueryUnescape(cookie.Value) // what can't be read is no path
	return s.returnTo(path)
}

// pageAsked is the page that a request asked for: of a form, the one that it
// stands on. What only says what was done before is left out.
func (s *server) pageAsked(r *http.Request) string {
	u := *r.URL
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		from, err := url.Parse(r.Referer())
		if err != nil || from.Host != r.Host {
			return ""
		}
		u = *from
	}
	query := u.Query()
	if query.Has("saved") || query.Has("done") {
		query.Del("saved")
		query.Del("done")
		u.RawQuery = query.Encode()
	}
	return s.returnTo(u.RequestURI())
}

const (
	keptCookie = "kept"
	keptLife   = 24 * time.Hour
	maxKept    = 10 // forms of one browser
)

var keepLimit = limit{"keep", 20, time.Hour / 20}

// keptForm is a form that waits for its sender to sign in.
type keptForm struct {
	ID     int
	Path   string            // where it was sent to, with its query
	Values map[string]string // but no passwords, codes and tokens
	User   string            // whose session had ended, where that is known
	KeptAt time.Time
}

// keptField is a value for people.
type keptField struct{ Label, Value string }

// Shown are the values that somebody may have typed.
func (f keptForm) Shown() (list []keptField) {
	for _, name := range slices.Sorted(maps.Keys(f.Values)) {
		switch name {
		case "url", "entity_type", "entity_id", "parent_comment_id", "return_to", "terms_version", "show":
		default:
			if value := f.Values[name]; strings.TrimSpace(value) != "" {
				list = append(list, keptField{fieldLabel(name), value})
			}
		}
	}
	return list
}

// What is what was sent.
func (f keptForm) What() string {
	switch {
	case f.Path == "/thread/comment":
		return "A comment"
	case f.Path == "/projects/new":
		return "A new project"
	case f.Path == "/thread/like":
		return "A like"
	case strings.HasPrefix(f.Path, "/thread/"):
		return "Something about a comment"
	case strings.HasPrefix(f.Path, "/projects/"):
		return "A change of a project"
	case strings.HasPrefix(f.Path, "/admin/moderation/"):
		return "What you did about a comment"
	case strings.HasPrefix(f.Path, "/account/"):
		return "A change of your account"
	}
	return "A form"
}

// isSecret reports whether a field must not be written down.
func isSecret(field string) bool {
	for _, part := range []string{"password", "code", "token", "ticket", "totp"} {
		if strings.Contains(field, part) && field != "code_link" {
			return true
		}
	}
	return false
}

// keepForm keeps what a page's form holds whose sender is not signed in, and
// reports whether it did. Uploads are not kept.
func (s *server) keepForm(w http.ResponseWriter, r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if !infoOf(r).page || r.Method != http.MethodPost || kind != "application/x-www-form-urlencoded" || strings.HasPrefix(r.URL.Path, "/kept/") {
		return false
	}
	in, err := readForm(w, r)
	if err != nil {
		return false
	}
	f := keptForm{Path: r.URL.RequestURI(), Values: in.values(), User: s.subjectOf(r)}
	for name := range r.URL.Query() {
		if isSecret(name) {
			f.Path = r.URL.EscapedPath()
		}
	}
	maps.DeleteFunc(f.Values, func(name, value string) bool { return isSecret(name) || !isPlain(value) })
	if len(f.Values) == 0 || s.take(r, keepLimit) != nil {
		return false
	}
	browser := rand.Text()
	if cookie, err := r.Cookie(keptCookie); err == nil && len(cookie.Value) >= len(browser) {
		browser = cookie.Value
	}
	text, _ := json.Marshal(f) // texts always marshal
	ctx, cancel := s.promptly(r)
	defer cancel()
	var batch pgx.Batch
	batch.Queue(`insert into kept_form (browser, form, kept_at) values ($1, $2, $3)`, hashSecret(browser), s.seal("kept form", text), s.now().UTC())
	batch.Queue(`delete from kept_form where browser = $1 and id not in (select id from kept_form where browser = $1 order by id desc limit $2)`, hashSecret(browser), maxKept)
	if err := s.db.SendBatch(ctx, &batch).Close(); err != nil {
		s.log.Error("keeping a form", "error", err)
		return false
	}
	s.setCookie(w, &http.Cookie{Name: keptCookie, Value: browser, HttpOnly: true}, keptLife)
	return true
}

// subjectOf is the name in a token that the browser brings, however old it is.
func (s *server) subjectOf(r *http.Request) string {
	for _, cookie := range r.CookiesNamed("access_token") {
		if c, ok := parseToken(s.cfg.secretKey, strings.TrimPrefix(cookie.Value, "Bearer ")); ok && c.Audience == "" {
			return c.Subject
		}
	}
	return ""
}

// listKept returns the forms of the browser that are v's or of nobody known.
func (s *server) listKept(ctx context.Context, r *http.Request, v viewer) (list []keptForm, err error) {
	cookie, err := r.Cookie(keptCookie)
	if err != nil {
		return nil, nil
	}
	rows, err := s.db.Query(ctx, `select id, form, kept_at from kept_form where browser = $1 and kept_at > $2 order by id`, hashSecret(cookie.Value), s.now().UTC().Add(-keptLife))
	if err != nil {
		return nil, err
	}
	var id int
	var sealed []byte
	var at time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &sealed, &at}, func() error {
		plain, err := s.unseal("kept form", sealed)
		if err != nil {
			return nil // of another SECRET_KEY
		}
		var f keptForm
		if err := json.Unmarshal(plain, &f); err != nil {
			return err
		}
		f.ID, f.KeptAt = id, at
		if f.User == "" || f.User == v.Username {
			list = append(list, f)
		}
		return nil
	})
	return list, err
}

// showKept answers the forms that wait to be sent again.
func (s *server) showKept(w http.ResponseWriter, r *http.Request, v viewer) error {
	list, err := s.listKept(r.Context(), r, v)
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "kept", v, "What you had typed", list)
}

// sendKept lets go of a form: it is sent on to where it was meant to go, with
// its own fields (307, RFC 9110 §15.4.8), or dropped.
func (s *server) sendKept(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	list, err := s.listKept(r.Context(), r, v)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(f keptForm) bool { return f.ID == id })
	if i < 0 {
		return fail(http.StatusNotFound, "This has been sent already, or was kept for more than a day")
	}
	if _, err := s.db.Exec(r.Context(), `delete from kept_form where id = $1`, id); err != nil {
		return err
	}
	if r.PathValue("act") == "send" {
		http.Redirect(w, r, list[i].Path, http.StatusTemporaryRedirect)
		return nil
	}
	return s.done(w, r, "/kept", "Dropped.")
}
