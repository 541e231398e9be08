package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// target is what a like or a comment belongs to: a page by its URL, or an
// entity by type and id. The one that it is not is nil.
type target struct {
	URL        *string `json:"url"`
	EntityType *string `json:"entity_type"`
	EntityID   *int    `json:"entity_id"`
}

// pageURL brings a page's URL into the form under which it is stored: without
// leading slashes, and the site's root as index.html.
func pageURL(url string) string {
	return cmp.Or(strings.TrimLeft(url, "/"), "index.html")
}

func pageTarget(url string) target { return target{URL: &url} }

// about is what changes with the likes or the comments of a target; stored is
// the URL under which a page's rows are.
func (t target) about(kind string, stored *string) []topic {
	if t.EntityID != nil {
		return []topic{about("project", strconv.Itoa(*t.EntityID)), about("projects", "")}
	}
	return aboutPage(kind, deref(t.URL), deref(stored))
}

// aboutPage is what changes with the likes, comments or views of a page, which
// is asked for by the URL to which it has moved and by older ones.
func aboutPage(kind, url, stored string) []topic {
	return []topic{about(kind, url), about(kind, cmp.Or(stored, url))}
}

func projectTarget(id int) target {
	kind := "project"
	return target{EntityType: &kind, EntityID: &id}
}

// maxURL is in characters; maxURLBytes is what an index of PostgreSQL can hold
// (a third of a page, less what else is in its row).
const (
	maxURL      = 2000
	maxURLBytes = 2600
)

// checkURL says what is wrong with the length of a page's URL, or nothing.
func checkURL(url string) string {
	if utf8.RuneCountInString(url) > maxURL || len(url) > maxURLBytes {
		return fmt.Sprintf("Url must have at most %d characters and %d bytes", maxURL, maxURLBytes)
	}
	return ""
}

// pageURL reads a field that is a page's URL. It must be there, but may be
// empty, and spaces at its ends belong to it.
func (in *input) pageURL(name string) string {
	url := pageURL(in.verbatim(name, 0, maxURL))
	if len(url) > maxURLBytes && utf8.RuneCountInString(url) <= maxURL {
		in.add(name, fmt.Sprintf("%s must have at most %d bytes", human(name), maxURLBytes), "string_too_long")
	}
	return url
}

// pathURL is the page's URL at the end of a path.
func pathURL(r *http.Request) (string, error) {
	url := pageURL(r.PathValue("url"))
	if tooLong := checkURL(url); tooLong != "" {
		return "", invalid(fault{[]string{"path", "url"}, tooLong, "string_too_long"})
	}
	return url, nil
}

// entity reads the fields "entity_type" and "entity_id".
func (in *input) entity() target {
	kind := in.choice("entity_type", "", "project")
	id := in.integer("entity_id", nil, 0, 1<<31-1)
	return target{EntityType: &kind, EntityID: &id}
}

// checkVisible makes sure that a target can be seen by v: a page always, a
// project when it is published or v's own. In a transaction the project then
// stays until its end.
func checkVisible(ctx context.Context, db querier, t target, v viewer) error {
	if t.URL != nil {
		return nil
	}
	if tx, is := db.(pgx.Tx); is {
		if err := holdProject(ctx, tx, t); err != nil {
			return err
		}
	}
	var one int
	err := db.QueryRow(ctx, `select 1 from project where id = $1 and (status = 'published' or author_id = $2)`, t.EntityID, v.ID).Scan(&one)
	return orNotFound(err, "Project")
}

// storedURL is the URL under which the rows of the page $1 are: its own, or
// that to which the page has moved.
const storedURL = `coalesce((select new_url from page_alias where old_url = $1::text), $1::text)`

// sameTarget is the condition by which rows of "like" and comment belong to the
// target whose three columns are $1 to $3.
const sameTarget = `(url = ` + storedURL + ` or entity_type = $2 and entity_id = $3)`

// onTarget runs do in a transaction that holds the target.
func (s *server) onTarget(ctx context.Context, t target, do func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if err := holdProject(ctx, tx, t); err != nil {
			return err
		}
		return do(tx)
	})
}

// holdProject keeps a target that is a project from being deleted until the
// transaction ends: the database counts likes and comments in the project's
// row, and whoever takes that row first has to do so always. A weaker lock would
// have to become this one when they are counted, while others wait for the row.
func holdProject(ctx context.Context, tx pgx.Tx, t target) error {
	if t.EntityID == nil {
		return nil
	}
	_, err := tx.Exec(ctx, `select from project where id = $1 for no key update`, t.EntityID)
	return err
}

// likeStatus says how many people like a target, and whether the viewer does.
type likeStatus struct {
	LikeCount  int  `json:"like_count"`
	Liked      bool `json:"user_has_liked"`
	UserLikeID *int `json:"user_like_id"`

	Stored *string `json:"-"` // of a page: the URL under which its rows are
}

func (s *server) loadLikeStatus(ctx context.Context, t target, v viewer) (likeStatus, error) {
	return one[likeStatus](ctx, s.db, `
		select `+likeCount+` as like_count, count(*) > 0 as liked, min(id) as user_like_id, `+storedURL+` as stored
		from "like" where `+sameTarget+` and user_id = $4`, t.URL, t.EntityType, t.EntityID, v.ID)
}

// likeCount is the counter of the target whose three columns are $1 to $3.
const likeCount = `coalesce((select like_count from page_count where url = ` + storedURL + `),
		(select like_count from project where $2 = 'project' and id = $3), 0)`

// likeToggle is somebody's like that is to be added, or taken back if it is
// there, and then what became of it.
type likeToggle struct {
	target
	user   int
	liked  bool
	count  int // of the target's likes
	stored *string
}

// toggleLike adds v's like of a target that v can see, or takes it back.
func (s *server) toggleLike(r *http.Request, t target, v viewer) (liked bool, count int, err error) {
	ctx, toggle := r.Context(), &likeToggle{target: t, user: v.ID}
	if t.URL != nil {
		err = s.likes.add(ctx, toggle)
	} else {
		err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
			if err := checkVisible(ctx, tx, t, v); err != nil {
				return err
			}
			return toggleLikes(ctx, tx, []*likeToggle{toggle})
		})
	}
	if err != nil {
		return false, 0, err
	}
	s.changed(r, t.about("likes", toggle.stored)...)
	return toggle.liked, toggle.count, nil
}

// writeLikes toggles likes of pages.
func (s *server) writeLikes(ctx context.Context, toggles []*likeToggle) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.promptness)
	defer cancel()
	return toggleLikes(ctx, s.db, toggles)
}

// toggleLikes toggles likes in their order. Parallel toggles of one person come
// one after the other, so that an even number of them changes nothing.
//
// Counters of pages are taken by key, but those of likes that go before those of
// likes that come: in a circle with another instance, the database refuses one of
// the two, and its likes are toggled one by one.
func toggleLikes(ctx context.Context, db batcher, toggles []*likeToggle) error {
	columns := func(list []*likeToggle) []any {
		urls, kinds, ids, users := make([]*string, len(list)), make([]*string, len(list)), make([]*int, len(list)), make([]int, len(list))
		for i, t := range list {
			urls[i], kinds[i], ids[i], users[i] = t.URL, t.EntityType, t.EntityID, t.user
		}
		return []any{urls, kinds, ids, users}
	}
	var batch pgx.Batch
	batch.Queue(`
		select pg_advisory_xact_lock(key) from (
			select distinct hashtextextended(concat_ws('/', 'like', url, entity_type, entity_id, user_id), 0) as key
			from unnest($1::varchar[], $2::varchar[], $3::integer[], $4::integer[]) l (url, entity_type, entity_id, user_id) order by key) keys`, columns(toggles)...)
	for rest := toggles; len(rest) > 0; {
		var once, again []*likeToggle
		seen := map[string]bool{}
		for _, t := range rest {
			key := fmt.Sprint(t.user, deref(t.EntityID), deref(t.URL))
			if seen[key] {
				again = append(again, t)
			} else {
				once = append(once, t)
			}
			seen[key] = true
		}
		list := columns(once)
		batch.Queue(queries["toggle_likes"], list...).Query(func(rows pgx.Rows) error {
			for _, t := range once {
				if rows.Next() {
					if err := rows.Scan(&t.liked, &t.stored); err != nil {
						return err
					}
				}
			}
			return rows.Err()
		})
		// What has just been counted is held to the end, so that this is exact.
		batch.Queue(`
			select coalesce(c.like_count, p.like_count, 0)
			from unnest($1::varchar[], $2::varchar[], $3::integer[], $4::integer[]) with ordinality g (given, kind, id, user_id, n)
			left join page_alias on old_url = given left join page_count c on c.url = coalesce(new_url, given)
			left join project p on p.id = g.id order by n`, list...).Query(func(rows pgx.Rows) error {
			for _, t := range once {
				if rows.Next() {
					if err := rows.Scan(&t.count); err != nil {
						return err
					}
				}
			}
			return rows.Err()
		})
		rest = again
	}
	return db.SendBatch(ctx, &batch).Close()
}

// likeAnswer is what a toggle says.
type likeAnswer struct {
	Message   string `json:"message"`
	Liked     bool   `json:"liked"`
	LikeCount int    `json:"like_count"`
}

// likePage toggles the viewer's like of a page.
func (s *server) likePage(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	url := in.pageURL("url")
	if err := in.err(); err != nil {
		return err
	}
	liked, count, err := s.toggleLike(r, pageTarget(url), v)
	if err != nil {
		return err
	}
	answer := likeAnswer{"Like removed", liked, count}
	if liked {
		answer.Message = "Like added"
	}
	return writeJSON(w, http.StatusOK, answer)
}

// pageLikes answers the endpoints that ask for the likes of a page; shape
// makes each one's own answer of the status.
func (s *server) pageLikes(shape func(url string, l likeStatus) any) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		url, err := pathURL(r)
		if err != nil {
			return err
		}
		status, err := s.loadLikeStatus(r.Context(), pageTarget(url), v)
		if err != nil {
			return err
		}
		return s.answerShared(w, r, v, shape(url, status), aboutPage("likes", url, deref(status.Stored))...)
	}
}

// pageLikesAnswer has every name under which pages of the site know the two facts.
type pageLikesAnswer struct {
	URL          string `json:"url"`
	LikeCount    int    `json:"like_count"`
	Count        int    `json:"count"`
	UserHasLiked bool   `json:"user_has_liked"`
	UserLiked    bool   `json:"user_liked"`
}

func likesShape(url string, l likeStatus) any {
	return pageLikesAnswer{url, l.LikeCount, l.LikeCount, l.Liked, l.Liked}
}

// likeStatusAnswer is the same in short.
type likeStatusAnswer struct {
	URL          string `json:"url"`
	LikeCount    int    `json:"like_count"`
	UserHasLiked bool   `json:"user_has_liked"`
}

func likeStatusShape(url string, l likeStatus) any {
	return likeStatusAnswer{url, l.LikeCount, l.Liked}
}

// userLikeAnswer is about the viewer alone.
type userLikeAnswer struct {
	URL          string `json:"url"`
	UserHasLiked bool   `json:"user_has_liked"`
	LikeID       *int   `json:"like_id"`
}

func userLikeStatusShape(url string, l likeStatus) any {
	return userLikeAnswer{url, l.Liked, l.UserLikeID}
}

// likeRead is a row of "like".
type likeRead struct {
	ID int `json:"id"`
	target
	UserID    int       `json:"user_id"`
	CreatedAt time.Time `json:"created_at"`
}

// addLike answers POST /api/likes and /api/likes/entity; of makes the target
// out of the body. A like that exists already is a 409.
func (s *server) addLike(of func(in *input) target) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		in, err := readInput(w, r)
		if err != nil {
			return err
		}
		t := of(in)
		if err := in.err(); err != nil {
			return err
		}
		var like likeRead
		err = pgx.BeginFunc(r.Context(), s.db, func(tx pgx.Tx) error {
			err := checkVisible(r.Context(), tx, t, v)
			if err == nil {
				like, err = one[likeRead](r.Context(), tx, `
					insert into "like" (url, entity_type, entity_id, user_id) values (`+storedURL+`, $2, $3, $4)
					returning id, url, entity_type, entity_id, user_id, created_at`, t.URL, t.EntityType, t.EntityID, v.ID)
			}
			return err
		})
		if _, taken := violates(err); taken {
			return fail(http.StatusConflict, "You have already liked this content")
		}
		if err != nil {
			return err
		}
		s.changed(r, t.about("likes", like.URL)...)
		return writeJSON(w, http.StatusCreated, like)
	}
}

// removeLike answers DELETE /api/likes/{id} and /api/likes/entity/{id}.
func (s *server) removeLike(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	like, err := one[likeRead](r.Context(), s.db, `select id, url, entity_type, entity_id, user_id, created_at from "like" where id = $1`, id)
	if err != nil {
		return orNotFound(err, "Like")
	}
	if like.UserID != v.ID {
		return fail(http.StatusForbidden, "You can only unlike your own likes")
	}
	if err := s.onTarget(r.Context(), like.target, func(tx pgx.Tx) error {
		_, err := tx.Exec(r.Context(), `delete from "like" where id = $1`, id)
		return err
	}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// likeCountAnswer says how a target is liked.
type likeCountAnswer struct {
	target
	likeStatus
}

// countLikes answers the counts under /api/likes for the target in the query.
func (s *server) countLikes(of func(in *input) target) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		in := queryInput(r)
		t := of(in)
		if err := in.err(); err != nil {
			return err
		}
		if err := checkVisible(r.Context(), s.db, t, v); err != nil {
			return err
		}
		status, err := s.loadLikeStatus(r.Context(), t, v)
		if err != nil {
			return err
		}
		return s.answerShared(w, r, v, likeCountAnswer{t, status}, t.about("likes", status.Stored)...)
	}
}

// likedPage is a page in the ranking by likes.
type likedPage struct {
	URL         string    `json:"url"`
	LikeCount   int       `json:"like_count"`
	LastLikedAt time.Time `json:"last_liked_at"`
}

// mostLiked answers the pages with the most likes.
func (s *server) mostLiked(w http.ResponseWriter, r *http.Request) error {
	return answerRanking(w, r, s, pgx.RowToStructByName[likedPage], `
		select url, like_count, last_liked_at from page_count
		where like_count > 0 order by like_count desc, last_liked_at desc, url limit $1`)
}

// commentRead is a comment as its author gets it back.
type commentRead struct {
	ID int `json:"id"`
	target
	Content   string     `json:"content"`
	CreatedAt time.Time  `json:"created_at"`
	EditedAt  *time.Time `json:"edited_at"`
	UserID    int        `json:"user_id"`

	AwaitingReview bool `json:"awaiting_review"` // only its author and admins see it
}

// commentWithUser is a comment in a thread.
type commentWithUser struct {
	commentRead
	Username        string             `json:"username"`
	AuthorUsername  string             `json:"author_username"` // the same
	ProfilePicture  *string            `json:"profile_picture"`
	LikeCount       int                `json:"like_count"`
	UserHasLiked    bool               `json:"user_has_liked"`
	ParentCommentID *int               `json:"parent_comment_id"`
	ReplyCount      int                `json:"reply_count"`
	Replies         []*commentWithUser `json:"replies"`

	visible bool
}

const commentColumns = `id, url, entity_type, entity_id, content, created_at, edited_at, user_id, held_for is not null as awaiting_review`

// newComment is a comment that is to be written, and then what became of it.
type newComment struct {
	target
	author  int
	parent  *int
	content string
	links   bool // there are some in it

	made commentRead
	err  error // for which it was not written, when others were
}

// concerns reports whether somebody may want to be told of the comment.
func (c *newComment) concerns() bool {
	return c.parent != nil || c.EntityID != nil || mention.MatchString(c.content)
}

// createComment adds a comment of v to a target.
func (s *server) createComment(r *http.Request, t target, in *input, v viewer) (commentRead, error) {
	ctx := r.Context()
	parent := in.optionalInteger("parent_comment_id", nil, 0, 1<<31-1)
	content, links, err := s.commentText(in)
	if err != nil {
		return commentRead{}, err
	}
	c := &newComment{target: t, author: v.ID, parent: parent, content: content, links: links}
	if c.concerns() {
		err = s.writeComments(ctx, []*newComment{c})
	} else {
		err = s.comments.add(ctx, c)
	}
	if err != nil || c.err != nil {
		return commentRead{}, cmp.Or(err, c.err)
	}
	s.changed(r, t.about("comments", c.made.URL)...)
	return c.made, nil
}

// writeComments writes those of the comments that may be written.
func (s *server) writeComments(ctx context.Context, comments []*newComment) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.promptness)
	defer cancel()
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var ids []int
		for _, c := range comments {
			ids = append(ids, c.author)
		}
		authors, err := s.loadAuthors(ctx, tx, ids...)
		if err != nil {
			return err
		}
		var good []*newComment
		var heldFor []*string
		for _, c := range comments {
			a := authors[c.author]
			if c.err = s.checkComment(ctx, tx, c, a); c.err == nil {
				good, heldFor = append(good, c), append(heldFor, s.heldFor(a, c.links))
				a.Written, a.First = a.Written+1, cmp.Or(a.First, ptr(s.now().UTC()))
				authors[c.author] = a
			} else if public := publicError(c.err); public.status >= 500 {
				return c.err
			}
		}
		if err := insertComments(ctx, tx, good, heldFor); err != nil {
			return err
		}
		for i, c := range good {
			if heldFor[i] == nil && c.concerns() {
				if err := s.announceComment(ctx, tx, c.made.ID); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// checkComment makes sure that a comment can be written.
func (s *server) checkComment(ctx context.Context, tx pgx.Tx, c *newComment, a author) error {
	err := s.mayWrite(a)
	if err == nil {
		err = s.slowNewcomer(a)
	}
	if err == nil {
		err = checkVisible(ctx, tx, c.target, viewer{ID: a.ID})
	}
	if err != nil || c.parent == nil {
		return err
	}
	var same, hidden bool
	err = tx.QueryRow(ctx, `select `+sameTarget+` is true, is_hidden or is_removed from comment where id = $4`,
		c.URL, c.EntityType, c.EntityID, c.parent).Scan(&same, &hidden)
	switch {
	case err != nil:
		return orNotFound(err, "Parent comment")
	case !same:
		return fail(http.StatusBadRequest, "The comment that you reply to belongs to another page")
	case hidden:
		return fail(http.StatusBadRequest, "Cannot reply to removed or hidden comment")
	}
	return nil
}

// insertComments writes comments, each hidden that is held for a reason.
func insertComments(ctx context.Context, tx pgx.Tx, comments []*newComment, heldFor []*string) error {
	var urls, kinds []*string
	var ids, parents []*int
	var authors []int
	var contents []string
	for _, c := range comments {
		urls, kinds, ids = append(urls, c.URL), append(kinds, c.EntityType), append(ids, c.EntityID)
		authors, contents, parents = append(authors, c.author), append(contents, c.content), append(parents, c.parent)
	}
	made, err := many[commentRead](ctx, tx, `
		insert into comment (url, entity_type, entity_id, user_id, content, parent_comment_id, is_hidden, held_for, unannounced)
		select coalesce(new_url, given), kind, entity, author, content, parent, held_for is not null, held_for, held_for is not null
		from unnest($1::varchar[], $2::varchar[], $3::integer[], $4::integer[], $5::text[], $6::integer[], $7::varchar[])
			with ordinality c (given, kind, entity, author, content, parent, held_for, n)
		left join page_alias on old_url = given order by n
		returning `+commentColumns, urls, kinds, ids, authors, contents, parents, heldFor)
	for i := range made { // in the order in which they were given
		comments[i].made = made[i]
	}
	return err
}

// commentText reads the field "content" and returns the text that is stored,
// and whether there are links in it.
func (s *server) commentText(in *input) (content string, links bool, err error) {
	content, _ = in.string("content")
	if !in.has("content") {
		in.add("content", "Content is required", "missing")
	}
	if err := in.err(); err != nil {
		return "", false, err
	}
	if content, err = cleanComment(content); err != nil {
		return "", false, err
	}
	links, err = s.checkWords(content)
	return content, links, err
}

// postComment answers the two endpoints that add a comment; of makes the
// target out of the body.
func (s *server) postComment(of func(in *input) target) withViewer {
	return func(w http.ResponseWriter, r *http.Request, v viewer) error {
		in, err := readInput(w, r)
		if err != nil {
			return err
		}
		comment, err := s.createComment(r, of(in), in, v)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, comment)
	}
}

// loadThread returns the comments of a target as a tree, top level by sort
// ("recent" or "popular"), replies oldest first, and the number of visible
// ones.
func (s *server) loadThread(ctx context.Context, t target, v viewer, sort string) (top []*commentWithUser, total int, err error) {
	rows, err := s.db.Query(ctx, queries["thread"], t.URL, t.EntityType, t.EntityID, v.ID)
	if err != nil {
		return nil, 0, err
	}
	type row struct {
		commentRead
		Username         string
		ProfilePicture   *string
		LikeCount        int
		UserHasLiked     bool
		ParentCommentID  *int
		ReplyCount       int
		Counted, Visible bool
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		return nil, 0, err
	}
	byID := make(map[int]*commentWithUser, len(found))
	all := make([]*commentWithUser, 0, len(found))
	for _, f := range found {
		c := &commentWithUser{f.commentRead, f.Username, f.Username, f.ProfilePicture, f.LikeCount, f.UserHasLiked,
			f.ParentCommentID, f.ReplyCount, []*commentWithUser{}, f.Visible}
		byID[c.ID] = c
		all = append(all, c)
		if f.Counted {
			total++
		}
	}
	oldest := func(a, b *commentWithUser) int { return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), a.ID-b.ID) }
	// A reply has a higher id than its parent: from the last backwards, each
	// comment is complete when it is handed to its parent. One that can't be
	// seen stays only for the sake of its replies.
	for _, c := range slices.Backward(all) {
		slices.SortFunc(c.Replies, oldest)
		if !c.visible {
			if len(c.Replies) == 0 {
				continue
			}
			c.blank()
		}
		if parent := byID[deref(c.ParentCommentID)]; parent != nil {
			parent.Replies = append(parent.Replies, c)
		} else {
			top = append(top, c)
		}
	}
	slices.SortFunc(top, func(a, b *commentWithUser) int { return oldest(b, a) })
	if sort == "popular" {
		slices.SortStableFunc(top, func(a, b *commentWithUser) int { return b.LikeCount - a.LikeCount })
	}
	return top, total, nil
}

// blank takes everything from a comment that tells who wrote what. The word in
// its place is never empty: pages show its first letter.
func (c *commentWithUser) blank() {
	word := "[removed]"
	if c.UserID == 0 {
		word = "[deleted]"
	}
	c.Content, c.Username, c.AuthorUsername = word, word, word
	c.UserID, c.ProfilePicture, c.LikeCount, c.UserHasLiked, c.EditedAt, c.AwaitingReview = 0, nil, 0, false, nil, false
}

func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

// flatten lists a tree depth first, each comment without its replies.
func flatten(tree []*commentWithUser) []*commentWithUser {
	flat := []*commentWithUser{}
	stack := slices.Clone(tree)
	slices.Reverse(stack)
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		flat = append(flat, c)
		for _, reply := range slices.Backward(c.Replies) {
			stack = append(stack, reply)
		}
		c.Replies = []*commentWithUser{}
	}
	return flat
}

// listComments answers the thread of a target; X-Total-Count is the number of
// visible comments, replies included.
func (s *server) listComments(w http.ResponseWriter, r *http.Request, v viewer, t target, in *input) error {
	sort := in.choice("sort", "recent", "recent", "popular")
	flat := in.flag("flat")
	if err := in.err(); err != nil {
		return err
	}
	if err := checkVisible(r.Context(), s.db, t, v); err != nil {
		return err
	}
	thread, total, err := s.loadThread(r.Context(), t, v, sort)
	if err != nil {
		return err
	}
	if flat || thread == nil {
		thread = flatten(thread)
	}
	w.Header().Set("X-Total-Count", strconv.Itoa(total))
	stored := t.URL
	if len(thread) > 0 {
		stored = thread[0].URL
	} else if t.URL != nil {
		if err := s.db.QueryRow(r.Context(), `select `+storedURL, t.URL).Scan(&stored); err != nil {
			return err
		}
	}
	return s.answerShared(w, r, v, thread, t.about("comments", stored)...)
}

func (s *server) listPageComments(w http.ResponseWriter, r *http.Request, v viewer) error {
	url, err := pathURL(r)
	if err != nil {
		return err
	}
	return s.listComments(w, r, v, pageTarget(url), queryInput(r))
}

func (s *server) listEntityComments(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	return s.listComments(w, r, v, in.entity(), in)
}

// seenComment is a comment about something that the viewer can see.
type seenComment struct {
	ID, UserID int // the author, or 0 when the account is gone
	target
	Visible bool
}

const selectSeen = `
	select id, coalesce(user_id, 0) as user_id, url, entity_type, entity_id, not is_hidden and not is_removed as visible
	from comment where id = $1`

// loadSeen returns the comment with an id, or the 404.
func loadSeen(ctx context.Context, db querier, id int, v viewer) (seenComment, error) {
	c, err := one[seenComment](ctx, db, selectSeen, id)
	if err == nil {
		err = checkVisible(ctx, db, c.target, v)
	}
	var hidden *httpError
	if errors.As(err, &hidden) {
		err = pgx.ErrNoRows
	}
	return c, orNotFound(err, "Comment")
}

// loadOwnComment returns the comment of the path, or the 403 with the words
// that the endpoint has for it.
func (s *server) loadOwnComment(r *http.Request, v viewer, forbidden string) (seenComment, error) {
	id, err := pathID(r, "id")
	if err != nil {
		return seenComment{}, err
	}
	c, err := one[seenComment](r.Context(), s.db, selectSeen, id)
	if err == nil && c.UserID != v.ID {
		return seenComment{}, fail(http.StatusForbidden, "%s", forbidden)
	}
	return c, orNotFound(err, "Comment")
}

// editComment answers with the comment as it is after the change.
func (s *server) editComment(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	edited, err := s.changeComment(r, in, v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, edited)
}

// changeComment gives the viewer's comment of the path a new text and keeps
// the old one as a version. The new text passes the same checks as a new
// comment; one that nobody but its author can see while it waits for review
// goes on waiting.
func (s *server) changeComment(r *http.Request, in *input, v viewer) (commentRead, error) {
	ctx := r.Context()
	c, err := s.loadOwnComment(r, v, "Only the original author can edit this comment")
	if err != nil {
		return commentRead{}, err
	}
	content, links, err := s.commentText(in)
	if err != nil {
		return commentRead{}, err
	}
	var edited commentRead
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		author, err := s.loadAuthor(ctx, tx, v)
		if err != nil {
			return err
		}
		if err := holdProject(ctx, tx, c.target); err != nil {
			return err
		}
		var editable bool
		var age time.Duration
		err = tx.QueryRow(ctx, `
			select not is_removed and (not is_hidden or held_for is not null), $2 - created_at from comment where id = $1 for no key update`,
			c.ID, s.now().UTC()).Scan(&editable, &age)
		switch limit := s.cfg.commentEdit; {
		case err != nil:
			return orNotFound(err, "Comment")
		case !editable:
			return fail(http.StatusBadRequest, "A removed or hidden comment cannot be edited")
		case limit > 0 && age > limit:
			return fail(http.StatusForbidden, "A comment can be edited for %s after it was written", formatWait(int(limit.Seconds())))
		}
		edited, err = one[commentRead](ctx, tx, `
			with version as (insert into commentversion (comment_id, content) select id, content from comment where id = $1 and content <> $2)
			update comment set content = $2, edited_at = case when content <> $2 then now() else edited_at end,
				held_for = case when content <> $2 then coalesce(held_for, $3) else held_for end,
				is_hidden = is_hidden or content <> $2 and $3::varchar is not null
			where id = $1 returning `+commentColumns, c.ID, content, s.heldFor(author, links))
		return err
	})
	return edited, err
}

// removeOwnComment takes the viewer's comment out of sight; its replies stay.
func (s *server) removeOwnComment(w http.ResponseWriter, r *http.Request, v viewer) error {
	if err := s.removeComment(r, v); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, message{"Comment removed"})
}

func (s *server) removeComment(r *http.Request, v viewer) error {
	c, err := s.loadOwnComment(r, v, "Only the original author can remove this comment")
	if err != nil {
		return err
	}
	return s.onTarget(r.Context(), c.target, func(tx pgx.Tx) error {
		tag, err := tx.Exec(r.Context(), `update comment set is_removed = true, removed_at = now() where id = $1 and not is_removed`, c.ID)
		if err == nil && tag.RowsAffected() == 0 {
			return fail(http.StatusBadRequest, "Comment already removed")
		}
		return err
	})
}

// likeComment toggles the viewer's like of a comment.
func (s *server) likeComment(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	liked, count, err := s.toggleCommentLike(r.Context(), id, v)
	if err != nil {
		return err
	}
	answer := likeAnswer{"Comment unliked", liked, count}
	if liked {
		answer.Message = "Comment liked"
	}
	return writeJSON(w, http.StatusOK, answer)
}

// toggleCommentLike holds the comment's row, by which parallel toggles come one
// after the other. Everything happens in the one transaction: a second
// connection, asked for while holding the first, could wait for ever.
func (s *server) toggleCommentLike(ctx context.Context, id int, v viewer) (liked bool, count int, err error) {
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if _, err := loadSeen(ctx, tx, id, v); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `select like_count from comment where id = $1 and not is_hidden and not is_removed for no key update`, id).Scan(&count)
		if err != nil {
			return orNotFound(err, "Comment")
		}
		tag, err := tx.Exec(ctx, `delete from commentlike where comment_id = $1 and user_id = $2`, id, v.ID)
		if err != nil {
			return err
		}
		if liked = tag.RowsAffected() == 0; !liked {
			count--
			return nil
		}
		count++
		_, err = tx.Exec(ctx, `insert into commentlike (comment_id, user_id) values ($1, $2)`, id, v.ID)
		return err
	})
	return liked, count, err
}

// liker is somebody who likes a comment.
type liker struct {
	UserID         int     `json:"user_id"`
	Username       string  `json:"username"`
	ProfilePicture *string `json:"profile_picture"` // the file's name
}

// likersAnswer is how many like a comment, and who did last.
type likersAnswer struct {
	CommentID int     `json:"comment_id"`
	LikeCount int     `json:"like_count"`
	Likers    []liker `json:"likers"`
}

// showLikers answers who liked a comment last.
func (s *server) showLikers(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	c, err := loadSeen(r.Context(), s.db, id, v)
	if err == nil && !c.Visible {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return orNotFound(err, "Comment")
	}
	answer := likersAnswer{CommentID: id, Likers: []liker{}}
	rows, err := s.db.Query(r.Context(), `
		select c.like_count, u.id as user_id, u.username, u.profile_picture
		from comment c join commentlike l on l.comment_id = c.id join "user" u on u.id = l.user_id
		where c.id = $1 order by l.created_at desc, l.id desc limit 10`, id)
	if err != nil {
		return err
	}
	var one liker
	if _, err := pgx.ForEachRow(rows, []any{&answer.LikeCount, &one.UserID, &one.Username, &one.ProfilePicture}, func() error {
		answer.Likers = append(answer.Likers, one)
		return nil
	}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

// commentVersion is a text that a comment had until it was edited.
type commentVersion struct {
	ID        int       `json:"id"`
	CommentID int       `json:"comment_id"`
	Content   string    `json:"content"`
	EditedAt  time.Time `json:"edited_at"`
}

// loadVersions returns the earlier texts of a comment, the newest first, to
// its author and to admins; others only know that it was edited, and when.
func (s *server) loadVersions(r *http.Request, v viewer) (seenComment, []commentVersion, error) {
	id, err := pathID(r, "id")
	if err != nil {
		return seenComment{}, nil, err
	}
	c, err := one[seenComment](r.Context(), s.db, selectSeen, id)
	if err != nil {
		return c, nil, orNotFound(err, "Comment")
	}
	if c.UserID != v.ID && !v.Admin {
		return c, nil, fail(http.StatusForbidden, "Only the author and admins can see earlier versions of a comment")
	}
	list, err := many[commentVersion](r.Context(), s.db, `select id, comment_id, content, edited_at from commentversion where comment_id = $1 order by id desc`, id)
	return c, list, err
}

// showVersions answers with the earlier texts of a comment.
func (s *server) showVersions(w http.ResponseWriter, r *http.Request, v viewer) error {
	_, list, err := s.loadVersions(r, v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}
