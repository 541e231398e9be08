package main

import (
	"context"
	"crypto/rand"
	"embed"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"html/template"

	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// server is what the handlers share.
type server struct {
	cfg         config
	db          *pgxpool.Pool
	storage     *storage
	templates   *template.Template
	limiter     *limiter
	hasher      *hasher
	bots        botList
	banned      bannedWords
	cache       *cache
	known       knownTokens
	instance    string        // tells this process from others on the same database
	decoding    chan struct{} // a place for each picture that is decoded
	deflaters   sync.Pool     // of the ZIPs that are downloaded
	now         func() time.Time
	log         *slog.Logger
	level       *levelSwitch // of log
	pageHeaders http.Header
	meters      meters
	reports     *reporter // nil without SENTRY_DSN

	started    time.Time
	draining   atomic.Bool // the server stops
	migrations []string    // the versions that the database should have

	views        *group[loggedView]
	projectViews *group[*projectView]
	likes        *group[*likeToggle]
	comments     *group[*newComment]
	lateViews    lateViews

	failures      atomic.Int64   // answers of 500 and above that error_day does not have yet
	errands       sync.WaitGroup // what later has under way
	errandSlots   chan struct{}
	errandsMayRun sync.RWMutex // tests hold it to look at what is done before an answer alone
}

// newServer puts the parts together; now and h are its clock and its password
// hash.
func newServer(cfg config, db *pgxpool.Pool, st *storage, now func() time.Time, h *hasher, log *slog.Logger) (*server, error) {
	funcs := maps.Clone(templateFuncs)
	funcs["markdown"] = cfg.markdown
	templates, err := loadTemplates(funcs)
	if err != nil {
		return nil, err
	}
	banned, err := loadBannedWords(cfg.dataDir)
	if err != nil {
		return nil, err
	}
	bots, err := loadBots(cfg.dataDir)
	if err != nil {
		return nil, err
	}
	migrations, err := loadMigrations(sqlFiles)
	if err != nil {
		return nil, err
	}
	s := &server{cfg: cfg, db: db, storage: st, templates: templates, limiter: newLimiter(now, cfg.testing), hasher: h, banned: banned, bots: bots, now: now, log: log,
		errandSlots: make(chan struct{}, maxErrands), decoding: make(chan struct{}, maxDecoding),
		pageHeaders: pageHeaders(cfg), cache: newCache(), instance: rand.Text(), level: newLevelSwitch(cfg.logLevel, now), started: time.Now()}
	for _, m := range migrations {
		s.migrations = append(s.migrations, m.version)
	}
	s.views, s.projectViews = newGroup(s.writeViews), newGroup(s.writeProjectViews)
	s.likes, s.comments = newGroup(s.writeLikes), newGroup(s.writeComments)
	return s, nil
}

// access is who may use a route.
type access string

const (
	forEverybody access = "Everybody"
	forOpen      access = "Everybody; the answer can depend on who is signed in"
	forReaders   access = "Everybody; a draft is its author's alone"
	forSignedIn  access = "Who is signed in"
	forAuthor    access = "The project's author"
	forAdmins    access = "Admins"
)

// route is a handler with what its adapters say of it, for the API document.
type route struct {
	handler handler
	access  access
	limit   *limit // of its own, beside that on all writes
}

// as is a route whose handler sees by itself to who may use it.
func (rt route) as(who access) route {
	rt.access = who
	return rt
}

// public makes a route of a handler that does not ask who is there.
func public(h handler) route { return route{handler: h, access: forEverybody} }

// handler is the whole server.
func (s *server) handler() http.Handler {
	mux, _ := s.routes()
	return s.wrap(mux)
}

// routes is one line a route, with who may use it; list is those of the API by
// their patterns.
func (s *server) routes() (mux *http.ServeMux, list map[string]route) {
	mux, list = http.NewServeMux(), map[string]route{}
	add := func(pattern string, rt route, h handler) {
		mux.Handle(pattern, s.answers(h, false))
		list[pattern] = rt
	}
	api := func(pattern string, rt route) { add(oneLine(pattern), rt, s.prompt(rt.handler)) }
	page := func(pattern string, rt route) { mux.Handle(oneLine(pattern), s.answers(s.prompt(rt.handler), true)) }
	// A transfer takes as long as its bytes or rows do.
	transfer := func(pattern string, rt route) { add(oneLine(pattern), rt, rt.handler) }
	slowPage := func(pattern string, rt route) { mux.Handle(oneLine(pattern), s.answers(rt.handler, true)) }

	// Accounts
	api("POST   /accounts/register", public(s.register))
	api("POST   /api/register", public(s.registerOld))
	api("POST   /api/login", s.limited(loginLimit, public(s.login)))
	api("POST   /auth/login", s.limited(loginLimit, public(s.login)))
	api("GET    /logout", public(s.logout))
	api("GET    /api/me", s.despite(mustEnroll|mustVerify, s.showMe))
	api("GET    /api/auth/me", s.despite(mustEnroll|mustVerify, s.showMe))
	api("PATCH  /api/me/email", s.despite(mustVerify, s.changeEmail))
	api("POST   /api/me/password", s.limited(passwordLimit, s.despite(mustVerify, s.passwordChange("current_password", "Current password is incorrect"))))
	api("PATCH  /api/me/password", s.limited(passwordLimit, s.despite(mustVerify, s.passwordChange("current_password", "Current password is incorrect"))))
	api("GET    /api/me/activity", s.signedIn(s.showActivity))
	api("DELETE /api/me", s.despite(mustEnroll|mustVerify, s.deleteMe))
	api("GET    /me", s.despite(mustEnroll|mustVerify, s.showUsername))
	api("GET    /protected", s.signedIn(s.showWelcome))
	api("GET    /accounts/me", s.despite(mustEnroll|mustVerify, s.showAccountRead))
	api("PATCH  /accounts/me", s.despite(mustVerify, s.changeAccount))
	api("DELETE /accounts/me", s.despite(mustEnroll|mustVerify, s.deleteMe))
	api("POST   /accounts/reset-password", s.limited(passwordLimit, s.despite(mustVerify, s.passwordChange("old_password", "Incorrect password"))))
	transfer("GET /api/me/export", s.limited(exportLimit, s.despite(mustVerify, s.exportMe)))

	api("GET    /api/me/sessions", s.despite(mustVerify, s.showSessions))
	api("DELETE /api/me/sessions", s.despite(mustVerify, s.deleteSessions))
	api("DELETE /api/me/sessions/{id}", s.despite(mustVerify, s.deleteSessions))
	api("POST   /api/me/totp", s.despite(mustEnroll|mustVerify, s.postTOTP))
	api("POST   /api/me/totp/confirm", s.despite(mustEnroll|mustVerify, s.postBackupCodes(s.confirmEnrolment)))
	api("POST   /api/me/totp/backup-codes", s.despite(mustVerify, s.postBackupCodes(s.renewBackupCodes)))
	api("DELETE /api/me/totp", s.despite(mustVerify, s.deleteTOTP))

	api("POST   /api/verify-email", s.limited(resetLimit, s.open(s.postVerify)))
	api("POST   /api/me/verify-email/resend", s.limited(mailLimit, s.despite(mustVerify, s.postResend)))
	api("POST   /api/password/forgot", s.limited(mailLimit, public(s.postForgot)))
	api("POST   /api/password/reset", s.limited(resetLimit, public(s.postReset(s.resetByLink))))
	api("POST   /api/reset-password", s.limited(resetLimit, public(s.postReset(s.resetByCode))))

	// Admins' work on accounts
	api("GET    /api/admin/users", s.admin(s.showUsers))
	api("PATCH  /accounts/admin/{id}/status", s.admin(s.actOnUser("status")))
	api("POST   /accounts/admin/{id}/reset-password", s.admin(s.actOnUser("reset-password")))
	api("DELETE /accounts/admin/{id}", s.admin(s.removeUser))
	api("POST   /api/admin/users/{id}/{action}", s.admin(s.actOnUser("")))

	// Profile pictures
	transfer("POST /profile/picture", s.signedIn(s.postPicture))
	transfer("DELETE /profile/picture", s.signedIn(s.deletePicture))
	transfer("GET /profile_pictures/{file}", public(s.servePicture))

	// Likes
	api("POST   /interact/like", s.signedIn(s.likePage))
	api("GET    /interact/likes/{url}", s.open(s.pageLikes(likesShape)))
	api("GET    /interact/like-status/{url}", s.open(s.pageLikes(likeStatusShape)))
	api("GET    /interact/user-like-status/{url}", s.open(s.pageLikes(userLikeStatusShape)))
	api("GET    /interact/most-liked", public(s.mostLiked))
	api("POST   /interact/refresh-most-liked", s.admin(s.refreshed))
	api("POST   /api/likes", s.signedIn(s.addLike(urlField)))
	api("DELETE /api/likes/{id}", s.signedIn(s.removeLike))
	api("GET    /api/likes/count", s.open(s.countLikes(urlField)))
	api("GET    /api/likes/most-liked", public(s.mostLiked))
	api("POST   /api/likes/refresh-view", s.admin(s.refreshed))
	api("POST   /api/likes/entity", s.signedIn(s.addLike((*input).entity)))
	api("DELETE /api/likes/entity/{id}", s.signedIn(s.removeLike))
	api("GET    /api/likes/entity/count", s.open(s.countLikes((*input).entity)))

	// Comments
	api("POST   /interact/comment", s.signedIn(s.postComment(urlField)))
	api("GET    /interact/comments/{url}", s.open(s.listPageComments))
	api("PUT    /interact/comments/{id}", s.signedIn(s.editComment))
	api("DELETE /interact/comments/{id}", s.signedIn(s.removeOwnComment))
	api("GET    /interact/comments/{id}/versions", s.signedIn(s.showVersions))
	api("POST   /interact/comments/{id}/like", s.signedIn(s.likeComment))
	api("GET    /interact/comments/{id}/likers", s.open(s.showLikers))
	api("POST   /interact/comments/{id}/report", s.signedIn(s.postReport))
	api("POST   /interact/entity/comment", s.signedIn(s.postComment((*input).entity)))
	api("GET    /interact/entity/comments", s.open(s.listEntityComments))

	// Moderation
	api("GET    /interact/comments/flagged", s.admin(s.showFlagged))
	api("POST   /interact/comments/{id}/hide", s.admin(s.moderated("hide")))
	api("POST   /interact/comments/{id}/unhide", s.admin(s.moderated("unhide")))
	api("POST   /interact/comments/{id}/clear-flags", s.admin(s.moderated("clear-flags")))
	api("GET    /api/admin/moderation", s.admin(s.showModeration))
	api("POST   /api/admin/comments/{id}/remove", s.admin(s.moderated("remove")))
	api("POST   /api/admin/comments/{id}/warn", s.admin(s.moderated("warn")))
	api("POST   /api/admin/comments/{id}/ban", s.admin(s.moderated("ban")))
	api("POST   /api/admin/users/{id}/unban", s.admin(s.unban))
	api("GET    /api/me/warnings", s.signedIn(s.showWarnings))
	api("POST   /api/me/warnings/{id}/seen", s.signedIn(s.seeWarning))
	api("GET    /api/me/notifications", s.despite(mustVerify, s.showNotifications))
	api("PUT    /api/me/notifications", s.despite(mustVerify, s.putNotifications))

	// Summaries and profiles
	api("GET    /api/summary", s.open(s.showSummary))
	api("GET    /profile/me", s.signedIn(s.showOwnProfile))
	api("GET    /profile/{username}", s.open(s.showProfile))
	api("GET    /profile/{username}/comments", s.open(s.showProfileComments))
	api("PUT    /profile", s.signedIn(s.putProfile))
	api("GET    /api/users/{username}/comments_count", public(s.showCommentsCount))

	// Page views
	api("POST   /analytics/page-view", public(s.logPageView))
	api("GET    /analytics/page-views/{url}", public(s.showPageViews))
	api("GET    /analytics/page-views/{url}/timeline", public(s.showTimeline))
	api("GET    /analytics/most-viewed", public(s.mostViewed))
	api("POST   /analytics/refresh-page-view-counts", s.admin(s.refreshed))
	api("GET    /api/admin/views", s.admin(s.showTraffic))
	api("POST   /api/admin/projects/{id}/feature", s.admin(s.projectAct("feature")))
	api("POST   /api/admin/projects/{id}/unfeature", s.admin(s.projectAct("unfeature")))
	api("POST   /api/admin/projects/{id}/unpublish", s.admin(s.projectAct("unpublish")))

	// For pages of other sites
	api("GET    /embed.js", public(s.serveEmbed))
	api("GET    /api/viewer", s.open(s.showViewer))

	// Feeds
	api("GET    /feeds/comments.atom", public(s.showCommentFeed))
	api("GET    /feeds/users/{file}", public(s.showUserFeed))
	api("GET    /feeds/projects.atom", public(s.showProjectFeed))

	// Moved pages
	transfer("POST /api/admin/urls/move", s.admin(s.postMove))

	// Projects
	api("POST   /api/projects", s.signedIn(s.postProject))
	api("GET    /api/projects", s.open(s.showGallery))
	api("GET    /api/projects/{project}", s.open(s.showProject).as(forReaders))
	transfer("POST /api/projects/import", s.limited(importLimit, s.signedIn(s.postBundle)))
	api("PUT    /api/projects/{project}", s.author("change", s.putProject))
	api("DELETE /api/projects/{project}", s.author("delete", s.deleteProject))
	api("POST   /api/projects/{project}/publish", s.author("publish", s.switchStatus("published", "Project published")))
	api("PUT    /api/projects/{project}/publish", s.author("publish", s.switchStatus("published", "Project published")))
	api("POST   /api/projects/{project}/unpublish", s.author("unpublish", s.switchStatus("draft", "Project unpublished")))
	api("PUT    /api/projects/{project}/unpublish", s.author("unpublish", s.switchStatus("draft", "Project unpublished")))
	transfer("GET /api/projects/{project}/download", s.visible(s.downloadProject))
	transfer("POST /api/projects/{project}/remix", s.signedIn(s.postRemix))
	api("POST   /api/markdown", s.limited(previewLimit, s.signedIn(s.postMarkdown)))
	api("GET    /api/tags", public(s.showTags))
	api("GET    /api/licenses", public(s.showLicenses))
	api("GET    /api/components/search", public(s.searchComponents))
	api("POST   /api/components", s.signedIn(s.postComponent))

	api("GET    /api/projects/{project}/steps", s.visible(listOf[step](s, listSteps)))
	api("POST   /api/projects/{project}/steps", s.author("add steps to", added(s, "steps", createStep)))
	api("PUT    /api/projects/{project}/steps/reorder", s.author("reorder the steps of", s.putOrder(stepOrder, listOf[step](s, listSteps))))
	api("PUT    /api/projects/{project}/steps/{id}", s.author("change steps of", changed(s, "Step", updateStep)))
	api("DELETE /api/projects/{project}/steps/{id}", s.author("delete steps from", s.deleted("Step", deleteStep)))

	api("GET    /api/projects/{project}/bom", s.visible(listOf[bomItem](s, listBOM)))
	api("POST   /api/projects/{project}/bom", s.author("add materials to", added(s, "materials", createBOM)))
	api("PUT    /api/projects/{project}/bom/reorder", s.author("reorder the materials of", s.putOrder(bomOrder, listOf[bomItem](s, listBOM))))
	api("PUT    /api/projects/{project}/bom/{id}", s.author("change materials of", changed(s, "BOM item", updateBOM)))
	api("POST   /api/projects/{project}/bom/import", s.author("add materials to", s.postBOM))
	api("GET    /api/projects/{project}/bom.csv", s.visible(s.showBOMFile))
	api("DELETE /api/projects/{project}/bom/{id}", s.author("delete materials from", s.deleted("BOM item", deleteBOM)))

	api("GET    /api/projects/{project}/components", s.visible(listOf[projectComponent](s, listComponents)))
	api("POST   /api/projects/{project}/components", s.author("add components to", added(s, "components", addComponent)))
	api("DELETE /api/projects/{project}/components/{id}", s.author("delete components from", s.deleted("Component", deleteComponent)))

	api("GET    /api/projects/{project}/links", s.visible(listOf[link](s, listLinks)))
	api("POST   /api/projects/{project}/links", s.author("add links to", added(s, "links", createLink)))
	api("PUT    /api/projects/{project}/links/{id}", s.author("change links of", changed(s, "Link", updateLink)))
	api("DELETE /api/projects/{project}/links/{id}", s.author("delete links from", s.deleted("Link", deleteLink)))

	api("GET    /api/projects/{project}/tools", s.visible(listOf[tool](s, listTools)))
	api("POST   /api/projects/{project}/tools", s.author("add tools to", added(s, "tools", createTool)))
	api("PUT    /api/projects/{project}/tools/{id}", s.author("change tools of", changed(s, "Tool", updateTool)))
	api("DELETE /api/projects/{project}/tools/{id}", s.author("delete tools from", s.deleted("Tool", deleteTool)))

	api("GET    /api/projects/{project}/files", s.visible(listOf[projectFile](s, listFiles)))
	transfer("POST /api/projects/{project}/files", s.author("add files to", s.postFile))
	transfer("GET /api/projects/{project}/files/{id}/download", s.visible(s.serveFile))
	api("DELETE /api/projects/{project}/files/{id}", s.author("delete files from", s.deletedUpload("File", fileFolder, deleteFile)))

	api("GET    /api/projects/{project}/images", s.visible(s.listProjectImages))
	transfer("POST /api/projects/{project}/images", s.author("add images to", s.postImage))
	transfer("GET /api/projects/{project}/images/{id}", s.visible(s.serveImage))
	transfer("GET /api/projects/{project}/images/{id}/file", s.visible(s.serveImage))
	transfer("GET /api/projects/{project}/images/{id}/{size}", s.visible(s.serveSize))
	transfer("GET /api/projects/{project}/images/{id}/original", s.author("see the originals of", s.serveOriginal))
	api("PUT    /api/projects/{project}/images/reorder", s.author("reorder the images of", s.putOrder(imageOrder, s.listProjectImages)))
	api("PUT    /api/projects/{project}/images/{id}/primary", s.author("choose the picture of", s.putPrimary))
	api("PUT    /api/projects/{project}/primary-image/{id}", s.author("choose the picture of", s.putPrimary))
	api("DELETE /api/projects/{project}/images/{id}", s.author("delete images from", s.deletedUpload("Image", imageFolder, deleteImage)))

	// Pages for people
	s.addPages(page, slowPage)

	// Health
	api("GET    /health", public(s.health))
	api("GET    /livez", public(s.isAlive))
	api("GET    /readyz", public(s.isReady))
	api("GET    /metrics", public(s.showMetrics))
	api("POST   /api/admin/log-level", s.admin(s.postLogLevel))

	// What this table is in words
	document := sync.OnceValues(func() ([]byte, error) { return marshalled(s.apiDocument(list)) })
	api("GET    /openapi.json", public(s.showOpenAPI(document)))
	page("GET    /docs", s.open(s.showDocs(list)))
	return mux, list
}

// answers makes an http.Handler of a handler; page says that its errors are
// pages too.
func (s *server) answers(h handler, page bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info := infoOf(r)
		info.route, info.page = r.Pattern, page
		if err := h(w, r); err != nil {
			s.answerError(w, r, err)
		}
	})
}

// promptly is the context for what a request wants from the database.
func (s *server) promptly(r *http.Request) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), s.cfg.promptness)
}

// prompt bounds the time of a handler that moves no file. One that does bounds
// its work with the database by itself.
func (s *server) prompt(next handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := s.promptly(r)
		defer cancel()
		return next(w, r.WithContext(ctx))
	}
}

// urlField is the page that the field "url" names.
func urlField(in *input) target { return pageTarget(in.pageURL("url")) }

// refreshed answers the endpoints that brought the older service's counts up to
// date; here they always are.
func (s *server) refreshed(w http.ResponseWriter, r *http.Request, v viewer) error {
	return writeJSON(w, http.StatusOK, message{"The counts are up to date"})
}
