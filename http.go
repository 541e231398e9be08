package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// handler answers a request, or returns the error that answers it.
type handler func(w http.ResponseWriter, r *http.Request) error

// httpError is an answer that is not a success. Its detail is a sentence for
// the person at the other end; anything internal stays out of it.
type httpError struct {
	status     int
	detail     string
	code       string // tells programs apart what people read in the detail
	faults     []fault
	retryAfter int               // seconds, when above 0
	current    map[string]string // what a form is about, as it is now
	mend       string            // the page where a person can do something about it
}

func (e *httpError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.detail) }

func fail(status int, format string, args ...any) error {
	return &httpError{status: status, detail: fmt.Sprintf(format, args...)}
}

// publicError turns any error into the one that the client may see. What
// nobody foresaw becomes a bare 500; a database that can't be reached, a 503.
func publicError(err error) *httpError {
	var known *httpError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &tooLarge):
		return &httpError{status: http.StatusRequestEntityTooLarge, detail: fmt.Sprintf("The request is too large: at most %s are taken here", formatSize(tooLarge.Limit))}
	case isAccountGone(err):
		return publicError(errBadToken)
	case isUnavailable(err):
		return &httpError{status: http.StatusServiceUnavailable, detail: "The service is not available at the moment, please try again in a few seconds", retryAfter: 5}
	}
	return &httpError{status: http.StatusInternalServerError, detail: "Something went wrong on our side, and we have been told; please try again later"}
}

// isUnavailable reports whether err says that the database is away, starting,
// stopping, out of connections or too busy, or that another transaction stood
// in the way (SQLSTATE classes 08, 53, 57 and 40): in a moment it may work.
func isUnavailable(err error) bool {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return strings.HasPrefix(pgErr.Code, "08") || strings.HasPrefix(pgErr.Code, "53") || strings.HasPrefix(pgErr.Code, "57") || strings.HasPrefix(pgErr.Code, "40")
	}
	var connectErr *pgconn.ConnectError
	var netErr net.Error
	return errors.As(err, &connectErr) || errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}

// isRefused reports whether err is the database's word that it has not done
// what it was asked to, and a smaller request may fare better.
func isRefused(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && (strings.HasPrefix(pgErr.Code, "40") || !isUnavailable(err))
}

// isAccountGone reports whether err says that a row was to belong to an account
// (SQLSTATE 23503): one that was deleted after the request had been let in.
func isAccountGone(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "23503" && (strings.Contains(pgErr.ConstraintName, "user_id") || strings.Contains(pgErr.ConstraintName, "author_id"))
}

// violates reports whether err is a unique violation (SQLSTATE 23505), and of
// which constraint.
func violates(err error) (constraint string, yes bool) {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == "23505" {
		return pgErr.ConstraintName, true
	}
	return "", false
}

// orNotFound turns the absence of a row into a 404.
func orNotFound(err error, what string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return fail(http.StatusNotFound, "%s not found", what)
	}
	return err
}

// requestInfo is what the log says of a request beyond what the request says
// itself; handlers fill it in.
type requestInfo struct {
	id, route string
	viewer    viewer // who is signed in, once that is known
	page      bool   // errors are answered as a page; where no route is known, to who accepts HTML
	err       error

	readURI   string // under which the answer can be kept, if it can
	anonymous bool   // the request brings nothing that could tell who sends it
	asOf      uint64 // the cache's clock when the request came
	viewed    int    // the project that the answer shows
	byAuthor  bool   // which is no view of it
	changed   bool   // the cache knows what the request has changed
}

type requestInfoKey struct{}

func infoOf(r *http.Request) *requestInfo {
	info, _ := r.Context().Value(requestInfoKey{}).(*requestInfo)
	return info
}

// errorAnswer is the body of every error.
type errorAnswer struct {
	Detail string  `json:"detail"`
	Code   string  `json:"code,omitempty"`
	Errors []fault `json:"errors,omitempty"`
}

// answerError writes err to the client: as a page where the route is one, as
// JSON elsewhere. A browser that lacks a sign-in is sent to get one.
func (s *server) answerError(w http.ResponseWriter, r *http.Request, err error) {
	public := publicError(err)
	info := infoOf(r)
	// When the client has gone away, nothing is wrong here.
	if public.status >= 500 && r.Context().Err() != context.Canceled {
		info.err = err
	}
	if public.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(public.retryAfter))
	}
	if public.status == http.StatusUnauthorized && acceptsHTML(r) {
		target := "/login?error=session_expired"
		if s.keepForm(w, r) {
			target += "&return_to=/kept"
		} else if page := s.pageAsked(r); page != "" {
			target += "&return_to=" + url.QueryEscape(page)
		}
		if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
			target += "&upload=lost"
		}
		http.Redirect(w, r, target, http.StatusSeeOther)
		return
	}
	if public.mend != "" && acceptsHTML(r) {
		if s.keepForm(w, r) {
			s.goOnLater(w, "/kept")
		} else if page := s.pageAsked(r); page != "" {
			s.goOnLater(w, page)
		}
		http.Redirect(w, r, public.mend, http.StatusSeeOther)
		return
	}
	// What a handler had set for its success does not belong to the failure.
	for _, name := range []string{"Content-Disposition", "Content-Length", "Content-Encoding", "Content-Range", "ETag", "Last-Modified", "Cache-Control"} {
		w.Header().Del(name)
	}
	w.Header().Set("Cache-Control", "no-store")
	// Who follows a link to a file sees a page where there is none to be had.
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if info.page || reads && acceptsHTML(r) && strings.HasSuffix(info.route, "/download") {
		data := errorPage{Status: public.status, Detail: public.detail, StorageAway: public == errStorageAway, Reads: reads}
		if from, err := url.Parse(r.Referer()); err == nil && from.Host == r.Host && from.RequestURI() != r.URL.RequestURI() {
			data.From = s.returnTo(from.RequestURI())
		}
		_ = s.render(w, r, public.status, "error", info.viewer, data.Heading(), data) // which logs
		return
	}
	// A picture of a page that can't be had leaves a frame: browsers show what
	// comes, whatever its status is. Pages of other origins may have their own ways.
	if r.Header.Get("Sec-Fetch-Dest") == "image" && r.Header.Get("Sec-Fetch-Site") == "same-origin" && (public.status == http.StatusNotFound || public.status >= 500) {
		if frame, err := staticFiles.ReadFile("static/nopicture.svg"); err == nil {
			w.Header().Set("Content-Type", "image/svg+xml")
			w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'") // for its style in the dark
			w.WriteHeader(public.status)
			_, _ = w.Write(frame) // the client is gone if this fails
			return
		}
	}
	body := errorAnswer{public.detail, public.code, public.faults}
	if err := writeJSON(w, public.status, body); err != nil {
		s.log.Error("writing an error", "error", err)
	}
}

// errorPage is the data of error.html.
type errorPage struct {
	Status      int
	Detail      string
	StorageAway bool   // the files are what does not answer
	Reads       bool   // nothing was sent: to load it again is to try again
	From        string // the page with the link or form; may be empty
}

// Heading says in a few words what the matter is.
func (p errorPage) Heading() string {
	switch {
	case p.StorageAway:
		return "The files are away for a moment"
	case p.Status == http.StatusUnauthorized:
		return "Please sign in"
	case p.Status == http.StatusForbidden:
		return "This is not open to you"
	case p.Status == http.StatusNotFound:
		return "There is nothing here"
	case p.Status == http.StatusMethodNotAllowed:
		return "That does not work here"
	case p.Status == http.StatusRequestEntityTooLarge:
		return "That is too large"
	case p.Status == http.StatusUnprocessableEntity:
		return "This address has a mistake in it"
	case p.Status == http.StatusTooManyRequests:
		return "A little slower, please"
	case p.Status == http.StatusServiceUnavailable:
		return "Back in a moment"
	case p.Status >= 500:
		return "Something broke on our side"
	}
	return "That did not work"
}

// Passes reports whether it may work when it is tried again.
func (p errorPage) Passes() bool { return p.Status == http.StatusTooManyRequests || p.Status >= 500 }

func acceptsHTML(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// writeJSON marshals before it writes the status, so that a value that can't
// be marshalled is still answered as an error.
func writeJSON(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client is gone if this fails
	return nil
}

// message is the answer of endpoints that only say that they did it.
type message struct {
	Message string `json:"message"`
}

// layout is what every page has around its own data.
type layout struct {
	Title    string // of the page; the site's name is put behind it
	SiteName string
	SiteURL  string // of the static site; empty when that is this server
	Viewer   viewer
	Path     string
	Back     string // the page to return to after signing in
	Flash    flash  // what was just done
	Data     any
}

// At reports whether the page is the one with the path.
func (l layout) At(path string) bool {
	at, _, _ := strings.Cut(l.Path, "?")
	return at == path
}

// SignIn is the way to sign in and come back; the pages about signing in are
// nothing to come back to.
func (l layout) SignIn() string {
	at, _, _ := strings.Cut(l.Back, "?")
	switch at {
	case "", "/", "/login", "/register", "/forgot-password", "/reset-password", "/force-password-reset", "/verify-email", "/unlock":
		return "/login"
	}
	return "/login?return_to=" + url.QueryEscape(l.Back)
}

// render executes a page's template into a buffer, so that a template that
// fails is answered as an error and not as half a page.
func (s *server) render(w http.ResponseWriter, r *http.Request, status int, name string, v viewer, title string, data any) error {
	siteURL := s.cfg.siteURL
	if siteURL == s.cfg.publicURL {
		siteURL = ""
	}
	var page bytes.Buffer
	err := s.templates.ExecuteTemplate(&page, name+".html", layout{
		Title: title, SiteName: s.cfg.siteName, SiteURL: siteURL, Viewer: v, Path: r.URL.RequestURI(), Back: s.pageAsked(r), Flash: s.takeFlash(w, r), Data: data,
	})
	if err != nil {
		s.log.Error("rendering a page", "template", name, "error", err)
		return err
	}
	maps.Copy(w.Header(), s.pageHeaders)
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "private, no-cache")
	}
	w.WriteHeader(status)
	_, _ = page.WriteTo(w)
	return nil
}

// loadTemplates parses every page of templates/ together with the partials, the
// files whose names start with an underscore. layout.html is parsed once for each page, whose
// own parts get the page's name before theirs: so all share one set, where a
// set for each page would hold every partial again.
func loadTemplates(funcs template.FuncMap) (*template.Template, error) {
	all, err := template.New("").Funcs(funcs).ParseFS(templateFiles, "templates/_*.html")
	if err != nil {
		return nil, err
	}
	layout, err := templateFiles.ReadFile("templates/layout.html")
	if err != nil {
		return nil, err
	}
	files, err := fs.Glob(templateFiles, "templates/[a-z]*.html")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" {
			continue
		}
		page, err := templateFiles.ReadFile(file)
		if err != nil {
			return nil, err
		}
		own := strings.NewReplacer(`block "head"`, `block "`+name+` head"`, `block "main"`, `block "`+name+` main"`,
			`define "head"`, `define "`+name+` head"`, `define "main"`, `define "`+name+` main"`)
		t := all.New(name + ".html")
		for _, text := range [][]byte{layout, page} { // a page has definitions only, which leave the layout's text as it is
			if _, err := t.Parse(own.Replace(string(text))); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// wrap puts around the routes what holds for every request, the outermost
// last.
func (s *server) wrap(mux *http.ServeMux) http.Handler {
	h := s.routed(mux)
	h = s.limitWrites(h)
	h = s.sameOrigin(h)
	h = s.plainText(h)
	h = s.crossOrigin(h)
	h = s.secured(h)
	h = s.ready(h)
	return s.observed(h)
}

// secured sets the headers of every answer that browsers read as protection:
// what is no page loads, runs and is framed by nothing.
func (s *server) secured(next http.Handler) http.Handler {
	headers := http.Header{
		"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
		"X-Content-Type-Options":  {"nosniff"},
		"X-Frame-Options":         {"DENY"},
	}
	if s.cfg.production {
		headers.Set("Strict-Transport-Security", "max-age=31536000")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), headers)
		next.ServeHTTP(w, r)
	})
}

// pageHeaders are what pages have in their place or besides: no script and no
// style but the server's own files; forms may go on to the sites that sign-in
// returns to.
func pageHeaders(cfg config) http.Header {
	return http.Header{
		"Content-Type": {"text/html; charset=utf-8"},
		"Content-Security-Policy": {"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
			"manifest-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action " + strings.Join(append([]string{"'self'"}, cfg.allowedOrigins...), " ")},
		"Referrer-Policy":            {"strict-origin-when-cross-origin"},
		"Cross-Origin-Opener-Policy": {"same-origin"},
		"Permissions-Policy":         {"camera=(), geolocation=(), microphone=()"},
	}
}

// crossOrigin answers CORS for the allowed origins, exactly as they are
// spelled, on every answer and every preflight.
func (s *server) crossOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		s.allowOrigin(h, r)
		if r.Method != http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		if h.Get("Access-Control-Allow-Origin") != "" {
			h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
			h.Set("Access-Control-Max-Age", "3600")
			if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
				h.Set("Access-Control-Allow-Headers", asked)
				h.Add("Vary", "Access-Control-Request-Headers")
			}
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// allowOrigin lets the page of an allowed origin read the answer.
func (s *server) allowOrigin(h http.Header, r *http.Request) {
	if origin := r.Header.Get("Origin"); slices.Contains(s.cfg.allowedOrigins, origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "X-Total-Count, ETag, Retry-After, Content-Disposition")
	}
}

// plainText refuses addresses that hold NUL or are not UTF-8, which PostgreSQL
// can't store.
func (s *server) plainText(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := url.QueryUnescape(r.URL.RawQuery)
		where := "path"
		if isPlain(r.URL.Path) {
			where = "query"
		}
		if where == "path" || err != nil || !isPlain(query) {
			s.answerError(w, r, invalid(fault{[]string{where}, "The address must be valid UTF-8 without NUL", "value_error"}))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isPlain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsRune(text, 0)
}

// sameOrigin refuses writes that another site's page sends with the user's
// cookies (CSRF); the allowed origins are trusted.
func (s *server) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	for _, origin := range append([]string{s.cfg.publicURL}, s.cfg.allowedOrigins...) {
		_ = protection.AddTrustedOrigin(origin) // it was checked when the configuration was read
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.answerError(w, r, fail(http.StatusForbidden, "This request comes from another site, which may not write here; its origin has to be in ALLOWED_ORIGINS"))
	}))
	return protection.Handler(next)
}

// limitWrites is the generous limit on everything that writes.
func (s *server) limitWrites(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if err := s.take(r, writeLimit); err != nil {
				s.answerError(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// limited puts a limit of its own before one endpoint.
func (s *server) limited(lm limit, next route) route {
	answer := next.handler
	next.limit, next.handler = &lm, func(w http.ResponseWriter, r *http.Request) error {
		if err := s.take(r, lm); err != nil {
			return err
		}
		return answer(w, r)
	}
	return next
}

// take uses one request of the client's bucket, and returns the 429 when it is
// empty.
func (s *server) take(r *http.Request, lm limit) error {
	if s.isOperator(r) {
		return nil
	}
	wait := s.limiter.take(lm, s.clientAddr(r))
	if wait == 0 {
		return nil
	}
	return &httpError{
		status:     http.StatusTooManyRequests,
		detail:     fmt.Sprintf("Too many requests, please try again in %s", formatWait(wait)),
		retryAfter: wait,
	}
}

// clientAddr is the address of the person: the connection's, or behind a
// trusted proxy the nearest one in X-Forwarded-For that is no such proxy.
func (s *server) clientAddr(r *http.Request) netip.Addr {
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	addr := remote.Addr().Unmap()
	given := r.Header["X-Forwarded-For"]
	if given == nil {
		return addr
	}
	for _, text := range slices.Backward(strings.Split(strings.Join(given, ","), ",")) {
		if !s.isProxy(addr) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			break
		}
		addr = next.Unmap().WithZone("") // a zone is any text
	}
	return addr
}

// isProxy reports whether what a request from addr says of where it comes from
// is believed.
func (s *server) isProxy(addr netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.trustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// pageURLRoutes are the endpoints that end in the URL of a page, which is data
// and not a path: it may hold anything that a path may not.
var pageURLRoutes = []string{
	"/interact/likes/", "/interact/like-status/", "/interact/user-like-status/", "/interact/comments/", "/analytics/page-views/",
}

// isCommentAction tells the endpoints below /interact/comments/ that take a
// comment's id from those that take a page's URL.
func isCommentAction(method, rest string) bool {
	id, action, _ := strings.Cut(rest, "/")
	if method != http.MethodGet && method != http.MethodHead || rest == "flagged" {
		return true
	}
	_, err := strconv.Atoi(id)
	return err == nil && (action == "versions" || action == "likers")
}

// shortest is an escaped path in the form in which the mux knows it.
func shortest(method, escaped string) string {
	for _, prefix := range pageURLRoutes {
		rest, found := strings.CutPrefix(escaped, prefix)
		if !found || prefix == "/interact/comments/" && isCommentAction(method, rest) {
			continue
		}
		tail := ""
		if prefix == "/analytics/page-views/" {
			if page, is := strings.CutSuffix(rest, "/timeline"); is {
				rest, tail = page, "/timeline"
			}
		}
		if page, err := url.PathUnescape(rest); err == nil {
			return prefix + segment(pageURL(page)) + tail
		}
	}
	return path.Clean("/" + escaped)
}

// routed hands the request to its route. The mux would answer a path that is
// not in its shortest form with a redirect, which JSON clients don't follow
// with their method and body: so the path is brought into that form here. And
// what the mux answers by itself, 404 and 405, becomes an error like others.
func (s *server) routed(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		escaped := r.URL.EscapedPath()
		if clean := shortest(r.Method, escaped); clean != escaped {
			u := *r.URL
			u.Path, _ = url.PathUnescape(clean)
			u.RawPath = clean
			r2 := *r
			r2.URL = &u
			r = &r2
		}
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &discard{header: http.Header{}}
		h.ServeHTTP(probe, r)
		if probe.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", probe.header.Get("Allow"))
			s.answerError(w, r, fail(http.StatusMethodNotAllowed, "Method %s is not allowed here; allowed: %s", r.Method, probe.header.Get("Allow")))
			return
		}
		s.answerError(w, r, fail(http.StatusNotFound, "Not found"))
	})
}

// segment escapes text so that it is one segment of a path, whatever it holds;
// dots too, since a path of "." or ".." is shortened.
func segment(text string) string {
	return strings.ReplaceAll(url.PathEscape(text), ".", "%2E")
}

// discard is a ResponseWriter of which only status and header count.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// transferTimeout is how long an upload or a download may stand still; the
// server's own timeouts bound whole requests.
const transferTimeout = 30 * time.Second

// slowBody gives a request's body time as long as bytes keep coming.
type slowBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b slowBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(transferTimeout))
	return b.ReadCloser.Read(p)
}

// slowWriter gives an answer time as long as the client keeps taking bytes.
type slowWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w slowWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w slowWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(transferTimeout))
	return w.ResponseWriter.Write(p)
}

// unhurried lifts the limit on a whole request from one that moves a file.
func unhurried(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	control := http.NewResponseController(w)
	r.Body = slowBody{r.Body, control}
	// Until the first byte of the answer the upload may take its time.
	_ = control.SetWriteDeadline(time.Now().Add(time.Hour))
	return slowWriter{w, control}
}

// formatSize writes a number of bytes for people, in units of 1024.
func formatSize(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.0f KB", float64(n)/(1<<10))
	case n < 10<<20 && n%(1<<20) != 0:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	case n < 1<<30:
		return fmt.Sprintf("%.0f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
}

// formatWait writes a number of seconds for people.
func formatWait(seconds int) string {
	switch {
	case seconds == 1:
		return "1 second"
	case seconds < 120:
		return fmt.Sprintf("%d seconds", seconds)
	}
	return fmt.Sprintf("%d minutes", (seconds+59)/60)
}
