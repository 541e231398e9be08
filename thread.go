package main

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// threadView is the data of the template "thread", which is a part of several
// pages: a target's likes and comments with their forms.
type threadView struct {
	Target   target
	Path     string // of the page that it is on
	Viewer   viewer
	Likes    likeStatus
	Comments []commentView // depth first
	Total    int           // without placeholders
	Sort     string
	Reported int       // the comment that the viewer has just reported
	Warnings []warning // those that the viewer has not read yet
	Hint     string    // how to write
	sent     formState // the form that was refused, if one was
}

// Popular is the address of the same thread with the most liked comments
// first.
func (t threadView) Popular() string { return withQuery(t.Path, "sort=popular") + "#comments" }

// withQuery adds a parameter to an address.
func withQuery(address, parameter string) string {
	if strings.Contains(address, "?") {
		return address + "&" + parameter
	}
	return address + "?" + parameter
}

// commentView is a comment in a threadView.
type commentView struct {
	*commentWithUser
	Depth  int // 0 at the top level
	Parent *commentWithUser
	Text   template.HTML
}

// Gone reports whether only a placeholder is left.
func (c commentView) Gone() bool { return !c.visible || c.UserID == 0 }

// Form is the form with the id; a new one holds content.
func (t threadView) Form(id, content string) formState {
	return t.sent.or(id, map[string]string{"content": content})
}

func (s *server) loadThreadView(r *http.Request, t target, v viewer, path string, sent formState) (threadView, error) {
	view := threadView{Target: t, Path: path, Viewer: v, Sort: "recent", sent: sent}
	view.Hint = "You can use **bold**, *italic* and `code`" + map[string]string{
		"deny": ", but no links.", "review": "; a comment with links waits for a moderator.", "allow": ".",
	}[s.cfg.commentLinks]
	if r.URL.Query().Get("sort") == "popular" {
		view.Sort = "popular"
	}
	top, total, err := s.loadThread(r.Context(), t, v, view.Sort)
	if err != nil {
		return threadView{}, err
	}
	view.Total = total
	var list func(comments []*commentWithUser, parent *commentWithUser, depth int)
	list = func(comments []*commentWithUser, parent *commentWithUser, depth int) {
		for _, c := range comments {
			view.Comments = append(view.Comments, commentView{commentWithUser: c, Depth: depth, Parent: parent})
			list(c.Replies, c, depth+1)
		}
	}
	list(top, nil, 0)
	if err := s.formatThread(r.Context(), view.Comments); err != nil {
		return threadView{}, err
	}
	if v.signedIn() {
		view.Reported, _ = strconv.Atoi(r.URL.Query().Get("reported"))
		warnings, err := s.loadWarnings(r.Context(), v.ID)
		if err != nil {
			return threadView{}, err
		}
		view.Warnings = slices.DeleteFunc(warnings, func(w warning) bool { return w.SeenAt != nil })
	}
	view.Likes, err = s.loadLikeStatus(r.Context(), t, v)
	return view, err
}

// formatThread makes the texts of comments into HTML.
func (s *server) formatThread(ctx context.Context, comments []commentView) error {
	texts := make([]string, len(comments))
	for i, c := range comments {
		texts[i] = c.Content
	}
	known, err := s.mentioned(ctx, texts...)
	for i, text := range texts {
		comments[i].Text = formatComment(text, known)
	}
	return err
}

// Indent is how far a comment is moved in: on a phone there is no room for
// more.
func (c commentView) Indent() int { return min(c.Depth, 4) }

// threadPage is the data of thread.html.
type threadPage struct {
	Page   string // the URL as it is stored
	Link   string // the page itself, on the static site; empty when that is not known
	Thread threadView
}

// showThread answers the likes and comments of any page of the site.
func (s *server) showThread(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	t := urlField(in)
	if err := in.err(); err != nil {
		return err
	}
	return s.renderThread(w, r, v, t, http.StatusOK, formState{})
}

// renderThread answers with the page that the thread of t is on.
func (s *server) renderThread(w http.ResponseWriter, r *http.Request, v viewer, t target, status int, sent formState) error {
	if t.URL == nil {
		p, err := s.loadVisible(r.Context(), *t.EntityID, v)
		if err != nil {
			return err
		}
		return s.renderProject(w, r, v, p, status, sent)
	}
	view, err := s.loadThreadView(r, t, v, threadAddress(*t.URL), sent)
	if err != nil {
		return err
	}
	link := ""
	if s.cfg.siteURL != s.cfg.publicURL { // else nobody said where the pages are
		link = s.cfg.siteURL + "/" + *t.URL
	}
	return s.render(w, r, status, "thread", v, "Comments on "+*t.URL, threadPage{*t.URL, link, view})
}

func threadAddress(pageURL string) string { return "/thread?url=" + url.QueryEscape(pageURL) }

func (s *server) loadVisible(ctx context.Context, id int, v viewer) (project, error) {
	p, err := s.loadProjectByID(ctx, id)
	if err == nil && !p.published() && p.AuthorID != v.ID {
		return project{}, fail(http.StatusNotFound, "Project not found")
	}
	return p, err
}

// toThread answers a good form with the thread of t, at the place anchor.
func (s *server) toThread(w http.ResponseWriter, r *http.Request, v viewer, t target, anchor string) error {
	address, err := s.pageOf(r.Context(), t, v)
	if err != nil {
		return err
	}
	return seeOther(w, r, address+"#"+anchor)
}

// pageOf is the address of the page that the thread of t is on.
func (s *server) pageOf(ctx context.Context, t target, v viewer) (string, error) {
	if t.URL != nil {
		return threadAddress(*t.URL), nil
	}
	p, err := s.loadVisible(ctx, *t.EntityID, v)
	return p.Path(), err
}

// Page is a way to the thread of t for who knows no more of it than t says.
func (t target) Page() string {
	if t.URL != nil {
		return threadAddress(*t.URL)
	}
	return fmt.Sprintf("/projects/%d", *t.EntityID)
}

// About is what a thread is about, in short.
func (t target) About() string {
	if t.URL != nil {
		return *t.URL
	}
	return fmt.Sprintf("project %d", *t.EntityID)
}

func commentAnchor(id int) string { return fmt.Sprintf("comment-%d", id) }

// formTarget is what a form of a thread is about: a page, or a project.
func formTarget(in *input) target {
	if in.has("entity_id") {
		return in.entity()
	}
	return urlField(in)
}

// sendComment takes a new comment or a reply. Whoever was signed out while
// writing gets the text back.
func (s *server) sendComment(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	t := formTarget(in)
	if err := in.err(); err != nil {
		return err
	}
	made, err := s.createComment(r, t, in, v)
	if err == nil {
		s.setFlash(w, flash{Text: "Your comment is posted."})
		if made.AwaitingReview {
			s.setFlash(w, flash{Text: "Your comment waits for a moderator; until then only you can see it."})
		}
		return s.toThread(w, r, v, t, commentAnchor(made.ID))
	}
	id := "new"
	if parent, _ := in.string("parent_comment_id"); parent != "" {
		id = "reply-" + parent
	}
	return s.refusedText(w, r, v, t, id, in, err)
}

// refusedText answers a comment that was refused: whatever is wrong, it is
// said beside the text, where the page is then looked at.
func (s *server) refusedText(w http.ResponseWriter, r *http.Request, v viewer, t target, id string, in *input, err error) error {
	sent, status, err := refused(w, id, in, err)
	if err != nil {
		return err
	}
	for i := range sent.Faults {
		sent.Faults[i].Field = "content"
	}
	return s.renderThread(w, r, v, t, status, sent)
}

// sendLike toggles the viewer's like of a page or a project; a script gets the
// new count.
func (s *server) sendLike(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	t := formTarget(in)
	if err := in.err(); err != nil {
		return err
	}
	liked, count, err := s.toggleLike(r, t, v)
	if err != nil {
		return err
	}
	if !acceptsHTML(r) {
		return writeJSON(w, http.StatusOK, likeAnswer{"", liked, count})
	}
	return s.toThread(w, r, v, t, "likes")
}

// sendCommentLike toggles the viewer's like of a comment; a script gets the
// new count.
func (s *server) sendCommentLike(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, t, err := s.loadCommentTarget(r)
	if err != nil {
		return err
	}
	liked, count, err := s.toggleCommentLike(r.Context(), id, v)
	if err != nil {
		return err
	}
	if !acceptsHTML(r) {
		return writeJSON(w, http.StatusOK, likeAnswer{"", liked, count})
	}
	return s.toThread(w, r, v, t, commentAnchor(id))
}

// sendCommentEdit takes the new text of the viewer's own comment.
func (s *server) sendCommentEdit(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, t, err := s.loadCommentTarget(r)
	if err != nil {
		return err
	}
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	if _, err = s.changeComment(r, in, v); err == nil {
		return s.toThread(w, r, v, t, commentAnchor(id))
	}
	return s.refusedText(w, r, v, t, fmt.Sprintf("edit-%d", id), in, err)
}

// sendCommentRemoval removes the viewer's own comment; one that is removed
// already stays so.
func (s *server) sendCommentRemoval(w http.ResponseWriter, r *http.Request, v viewer) error {
	_, t, err := s.loadCommentTarget(r)
	if err != nil {
		return err
	}
	if err := s.removeComment(r, v); err != nil && publicError(err).status != http.StatusBadRequest {
		return err
	}
	return s.toThread(w, r, v, t, "comments")
}

// loadCommentTarget returns the id of the comment of the path, and what it is
// about.
func (s *server) loadCommentTarget(r *http.Request) (id int, t target, err error) {
	if id, err = pathID(r, "id"); err != nil {
		return 0, t, err
	}
	err = s.db.QueryRow(r.Context(), `select url, entity_type, entity_id from comment where id = $1`, id).Scan(&t.URL, &t.EntityType, &t.EntityID)
	return id, t, orNotFound(err, "Comment")
}

// sendReport takes a report of a comment.
func (s *server) sendReport(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, t, err := s.loadCommentTarget(r)
	if err != nil {
		return err
	}
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	if _, _, err = s.report(r, in, v); err == nil {
		address, err := s.pageOf(r.Context(), t, v)
		if err != nil {
			return err
		}
		return seeOther(w, r, withQuery(address, fmt.Sprintf("reported=%d", id))+"#"+commentAnchor(id))
	}
	sent, status, err := refused(w, fmt.Sprintf("report-%d", id), in, err)
	if err != nil {
		return err
	}
	return s.renderThread(w, r, v, t, status, sent)
}

// versionsPage is the data of versions.html.
type versionsPage struct {
	Back     string // to the comment
	Versions []commentVersion
}

// showVersionsPage answers the earlier texts of a comment.
func (s *server) showVersionsPage(w http.ResponseWriter, r *http.Request, v viewer) error {
	c, versions, err := s.loadVersions(r, v)
	if err != nil {
		return err
	}
	back, err := s.pageOf(r.Context(), c.target, v)
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "versions", v, "Earlier versions", versionsPage{back + "#" + commentAnchor(c.ID), versions})
}

// sendSeen takes that the viewer has read a warning.
func (s *server) sendSeen(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err := s.markSeen(r, v); err != nil {
		return err
	}
	text, _ := in.string("return_to")
	return seeOther(w, r, cmp.Or(s.returnTo(text), "/account"))
}
