package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// addPages is the part of the route table that is for people: one line a
// page or form, with who may use it; the slow one takes uploads. Every page works
// without scripts.
func (s *server) addPages(page, slowPage func(pattern string, rt route)) {
	page("GET    /{$}", s.open(s.showHome))
	page("GET    /projects", s.open(s.showGalleryPage))
	page("GET    /projects/{project}", s.visible(s.toProjectPage))
	page("GET    /p/{author}/{slug}", bySlug(s.visible(s.showProjectPage)))
	page("GET    /projects/{project}/files/{id}", s.visible(s.showFilePage))

	page("GET    /tags", s.open(s.showTagsPage))
	page("GET    /tags/{tag}", s.open(s.showGalleryPage))
	page("GET    /u/{username}", s.open(s.showPerson))

	page("GET    /thread", s.open(s.showThread))
	page("POST   /thread/comment", s.signedIn(s.sendComment))
	page("POST   /thread/like", s.signedIn(s.sendLike))
	page("POST   /thread/comments/{id}/like", s.signedIn(s.sendCommentLike))
	page("POST   /thread/comments/{id}/edit", s.signedIn(s.sendCommentEdit))
	page("POST   /thread/comments/{id}/remove", s.signedIn(s.sendCommentRemoval))
	page("POST   /thread/comments/{id}/report", s.signedIn(s.sendReport))
	page("GET    /thread/comments/{id}/versions", s.signedIn(s.showVersionsPage))
	page("POST   /thread/warnings/{id}/seen", s.signedIn(s.sendSeen))

	page("GET    /register", s.open(s.showRegister))
	page("POST   /register", s.open(s.sendRegister))
	page("GET    /login", s.open(s.showLogin))
	page("POST   /login", s.open(s.sendLogin))
	page("GET    /verify-email", s.open(s.showVerify))
	page("POST   /verify-email", s.open(s.sendVerify))
	page("GET    /forgot-password", s.open(s.showForgot))
	page("POST   /forgot-password", s.open(s.sendForgot))
	page("GET    /reset-password", s.open(s.showReset))
	page("POST   /reset-password", s.open(s.sendReset))
	page("GET    /unlock", s.open(s.showUnlock))
	page("POST   /unlock", s.open(s.sendUnlock))
	page("GET    /force-password-reset", s.despite(mustReset|mustEnroll|mustVerify, s.showForced))
	page("POST   /force-password-reset", s.despite(mustReset|mustEnroll|mustVerify, s.sendForced))
	page("GET    /privacy", s.open(s.showLegal("privacy.md", "Privacy")))
	page("GET    /terms", s.open(s.showLegal("terms.md", "Terms")))

	page("GET    /account", s.despite(mustVerify, s.showAccount("account")))
	page("GET    /account/profile", s.despite(mustVerify, s.showAccount("account_profile")))
	page("GET    /account/security", s.despite(mustVerify, s.showAccount("account_security")))
	page("GET    /account/sessions", s.despite(mustVerify, s.showAccount("account_sessions")))
	page("GET    /account/notifications", s.despite(mustVerify, s.showAccount("account_notifications")))
	page("GET    /account/data", s.despite(mustEnroll|mustVerify, s.showAccount("account_data")))
	page("POST   /account/update", s.despite(mustVerify, s.sendAccount))
	slowPage("POST /account/picture", s.despite(mustVerify, s.sendPicture))
	page("POST   /account/picture/delete", s.despite(mustVerify, s.sendPictureRemoval))
	page("POST   /account/change-password", s.despite(mustVerify, s.sendPassword))
	page("POST   /account/verify-email", s.despite(mustVerify, s.sendResend))
	page("GET    /account/two-factor", s.despite(mustEnroll|mustVerify, s.showTwoFactor))
	page("POST   /account/two-factor/{form}", s.despite(mustEnroll|mustVerify, s.sendTwoFactor))
	page("POST   /account/sessions/end", s.despite(mustVerify, s.sendSessionEnd))
	page("POST   /account/sessions/{id}/end", s.despite(mustVerify, s.sendSessionEnd))
	page("POST   /account/letters", s.despite(mustVerify, s.sendNotifications))
	page("POST   /account/delete", s.despite(mustEnroll|mustVerify, s.sendDeletion))

	page("GET    /admin", s.admin(s.showDashboard))
	page("GET    /admin/users", s.admin(showList(s, s.userList(), nil)))
	page("GET    /admin/users.csv", s.admin(sendList(s, s.userList())))
	page("GET    /admin/projects", s.admin(showList(s, s.projectList(), nil)))
	page("GET    /admin/projects.csv", s.admin(sendList(s, s.projectList())))
	page("GET    /admin/projects/{id}", s.admin(s.showAdminProject))
	page("POST   /admin/projects/{id}/{act}", s.admin(s.sendProjectAct))
	page("GET    /admin/moves", s.admin(showList(s, s.moveList(), s.previewMove)))
	page("GET    /admin/moves.csv", s.admin(sendList(s, s.moveList())))
	slowPage("POST /admin/moves", s.admin(s.sendMove))
	page("GET    /admin/log", s.admin(showList(s, s.logList(), nil)))
	page("GET    /admin/log.csv", s.admin(sendList(s, s.logList())))
	page("GET    /admin/system", s.admin(s.showSystem))
	page("POST   /admin/system/letters/{id}/again", s.admin(s.sendLetterAgain))
	page("GET    /admin/storage", s.admin(s.showStorage))
	page("GET    /admin/users/{id}", s.admin(s.showUserPage))
	page("GET    /admin/views", s.admin(s.showTrafficPage))
	page("GET    /admin/views.csv", s.admin(s.sendTraffic))
	page("GET    /admin/pages", s.admin(showList(s, s.pageList(), nil)))
	page("GET    /admin/pages.csv", s.admin(sendList(s, s.pageList())))
	page("POST   /admin/users/{id}/{action}", s.admin(s.sendUserAction("")))
	page("POST   /admin/force-password-reset/{id}", s.admin(s.sendUserAction("force-reset")))
	page("POST   /admin/generate-reset-code/{id}", s.admin(s.sendUserAction("reset-code")))

	page("GET    /kept", s.signedIn(s.showKept))
	page("POST   /kept/{id}/{act}", s.signedIn(s.sendKept))

	page("GET    /projects/new", s.signedIn(s.showNewProject))
	page("POST   /projects/new", s.signedIn(s.sendNewProject))
	slowPage("POST /projects/import", s.limited(importLimit, s.signedIn(s.sendBundle)))
	page("GET    /projects/{project}/edit", s.author("edit", s.showEditor))
	page("POST   /projects/{project}/edit", s.author("edit", s.sendBasics))
	page("POST   /projects/{project}/edit/bom-import", s.author("edit", s.sendBOM))
	slowPage("POST /projects/{project}/edit/{part}", s.author("edit", s.sendPart))
	page("POST   /projects/{project}/edit/{part}/{id}", s.author("edit", s.sendPart))
	page("POST   /projects/{project}/publish", s.author("publish", s.sendStatus("published")))
	page("POST   /projects/{project}/unpublish", s.author("unpublish", s.sendStatus("draft")))
	slowPage("POST /projects/{project}/remix", s.signedIn(s.sendRemix))
	page("POST   /projects/{project}/delete", s.author("delete", s.sendDelete))

	page("GET    /unsubscribe", s.open(s.showUnsubscribe))
	page("POST   /unsubscribe", s.open(s.sendUnsubscribe))
	page("GET    /admin/moderation", s.admin(func(w http.ResponseWriter, r *http.Request, v viewer) error {
		return s.showQueue(w, r, v, http.StatusOK, formState{})
	}))
	page("GET    /admin/moderation.csv", s.admin(sendList(s, s.queueList())))
	page("POST   /admin/moderation/{id}/{act}", s.admin(s.sendAct))

	slowPage("GET /robots.txt", public(s.showRobots))
	slowPage("GET /sitemap.xml", public(s.showSitemap))
	slowPage("GET /sitemaps/{file}", public(s.showSitemapPart))
	page("GET    /static/{file}", public(s.serveStatic))
	page("GET    /favicon.ico", public(s.serveStatic))
	page("GET    /manifest.webmanifest", public(s.serveManifest))
}

// templateFuncs are what templates can call.
var templateFuncs = map[string]any{
	"static":   staticPath,
	"markdown": renderMarkdown,
	"excerpt":  excerpt,
	"local":    localPath,
	"price":    formatPrice,
	"count":    formatCount,
	"text":     deref[string],
	"field":    newField,
	"apiParams": func(title string, params []param) any {
		return struct {
			Title  string
			Params []param
		}{title, params}
	},
	"initial":  initial,
	"host":     hostOf,
	"person":   personPath,
	"portrait": newPortrait,
	"feedName": segment,
	"tagged":   tagPath,
	"level":    newGauge,
	"linkKind": human,
	"licenses": licenseChoices,
	"human":    human,
	"lines":    func(text string) template.HTML { return formatComment(text, nil) },
	"add":      func(a, b int) int { return a + b },
	"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"day":      func(t time.Time) string { return t.UTC().Format("2 January 2006") },
	"minute":   func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
	"plural":   countOf,
}

// countOf is a number with its noun.
func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return formatCount(n) + " " + many
}

// staticHashes are the contents of static/ in short, by file name.
var staticHashes = func() map[string]string {
	hashes := map[string]string{}
	entries, err := staticFiles.ReadDir("static")
	for _, entry := range entries {
		var content []byte
		if content, err = staticFiles.ReadFile("static/" + entry.Name()); err != nil {
			break
		}
		sum := sha256.Sum256(content)
		hashes[entry.Name()] = hex.EncodeToString(sum[:8])
	}
	if err != nil {
		panic(err) // the files are part of the program
	}
	return hashes
}()

// staticPath is the address of a file of static/. It changes with the file, so
// that browsers may keep what they have for ever.
func staticPath(name string) (string, error) {
	hash, known := staticHashes[name]
	if !known {
		return "", fmt.Errorf("static/%s does not exist", name)
	}
	return "/static/" + name + "?v=" + hash, nil
}

// serveStatic answers a file of static/; /favicon.ico is the one icon there is.
func (s *server) serveStatic(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	if r.URL.Path == "/favicon.ico" {
		name = "favicon.svg"
	}
	hash, known := staticHashes[name]
	if !known {
		return fail(http.StatusNotFound, "There is no such file")
	}
	content, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("ETag", `"`+hash+`"`)
	h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	h.Set("Cache-Control", "public, max-age=3600")
	if r.URL.Query().Get("v") == hash {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	return nil
}

// localPath is an address of this server without scheme and host: pages load
// pictures from wherever they were loaded themselves.
func localPath(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.RequestURI()
}

// excerpt is the beginning of a Markdown text, without its markup.
func excerpt(source string) string {
	// Blocks stand on lines of their own, so that no words run together.
	text := stripTags(string(renderMarkdown(truncate(source, 600))))
	text = oneLine(html.UnescapeString(text))
	if short := truncate(text, 220); short != text {
		return strings.TrimRight(short, " .,;:") + "…"
	}
	return text
}

// initial is the letter that stands for somebody or something without a
// picture.
func initial(name string) string {
	for _, r := range name {
		if isWordRune(r) {
			return strings.ToUpper(string(r))
		}
	}
	return "?"
}

// hostOf is what an address on the web is called in short.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	return strings.TrimPrefix(u.Host, "www.")
}

// seeOther is the answer to a form that was good: a reload does not send it
// again. The path must be one of this server's own or checked by returnTo.
func seeOther(w http.ResponseWriter, r *http.Request, path string) error {
	http.Redirect(w, r, path, http.StatusSeeOther)
	return nil
}

// bySlug finds the project of a page's address by the id that leads its last
// segment.
func bySlug(next route) route {
	read := next.handler
	next.handler = func(w http.ResponseWriter, r *http.Request) error {
		id, _, _ := strings.Cut(r.PathValue("slug"), "-")
		if _, err := strconv.Atoi(id); err != nil {
			return fail(http.StatusNotFound, "Project not found")
		}
		r.SetPathValue("project", id)
		return read(w, r)
	}
	return next
}

// toProjectPage answers the short address of a project with its page.
func (s *server) toProjectPage(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	return seeOther(w, r, p.Path())
}

// projectPage is the data of project.html.
type projectPage struct {
	projectDetail
	URL       string // absolute
	PublicURL string // of the server
	Own       bool   // the viewer is the author
	Remixable bool
	Bill      []billLine
	Total     string // of the priced lines of the bill; empty when there is none
	Unpriced  int
	Thread    threadView
}

// billLine is a line of the bill of materials with its sums.
type billLine struct {
	bomItem
	Price, Total string
}

// Cover is the picture that stands for the project, or nil.
func (p projectPage) Cover() *projectImage {
	for i, image := range p.Images {
		if image.ID == deref(p.PrimaryImageID) {
			return &p.Images[i]
		}
	}
	return nil
}

// OriginPage is the address of the project that this is a remix of, if it has one.
func (p projectPage) OriginPage() string { return p.Origin.Page(p.PublicURL) }

// Terms is the licence of the project; one that is not known here has an id alone.
func (p projectPage) Terms() license {
	l, _ := licenseOf(p.License)
	l.ID = deref(p.License)
	return l
}

// Tools and Materials are the two kinds of things that building needs.
func (p projectPage) Tools() []tool     { return p.ofType("tool") }
func (p projectPage) Materials() []tool { return p.ofType("material") }

func (p projectPage) ofType(kind string) (list []tool) {
	for _, t := range p.ToolsMaterials {
		if t.ToolType == kind {
			list = append(list, t)
		}
	}
	return list
}

// PartCount is how many things the bill and the list of components name.
func (p projectPage) PartCount() int { return len(p.BillOfMaterials) + len(p.Components) }

// billOf is a bill of materials as people read it.
func billOf(items []bomItem) (lines []billLine) {
	for _, item := range items {
		lines = append(lines, billLine{item, formatPrice(item.PriceCents), formatPrice(item.TotalCents)})
	}
	return lines
}

// showProjectPage answers a project's page and counts the view. Any address
// with the right id but another author or title leads to the right one.
func (s *server) showProjectPage(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	if want, err := url.PathUnescape(p.Path()); err == nil && r.URL.Path != want {
		// A title can change back, so that no browser may remember this for good.
		w.Header().Set("Cache-Control", "no-cache")
		http.Redirect(w, r, p.Path(), http.StatusMovedPermanently)
		return nil
	}
	if err := s.countView(r, v, &p); err != nil {
		return err
	}
	return s.renderProject(w, r, v, p, http.StatusOK, formState{})
}

func (s *server) renderProject(w http.ResponseWriter, r *http.Request, v viewer, p project, status int, sent formState) error {
	d, err := s.loadDetail(r.Context(), p)
	if err != nil {
		return err
	}
	data := projectPage{projectDetail: d, URL: s.cfg.publicURL + p.Path(), PublicURL: s.cfg.publicURL, Own: p.AuthorID == v.ID && r.URL.Query().Get("as") != "reader",
		Remixable: p.published() && p.mayRemix(v) == nil}
	data.Bill, data.Unpriced = billOf(d.BillOfMaterials), d.BOMUnpriced
	if d.BOMUnpriced < len(d.BillOfMaterials) {
		data.Total = formatPrice(&d.BOMTotalCents)
	}
	if data.Thread, err = s.loadThreadView(r, projectTarget(p.ID), v, p.Path(), sent); err != nil {
		return err
	}
	return s.render(w, r, status, "project", v, p.Title, data)
}
