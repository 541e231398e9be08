package main

import (
	"context"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// profile is what everybody can see of an account.
type profile struct {
	ID                int       `json:"-"`
	Username          string    `json:"username"`
	Firstname         string    `json:"firstname"`
	Lastname          string    `json:"lastname"`
	Location          *string   `json:"location"`
	Bio               *string   `json:"bio"`
	ProfilePictureURL *string   `json:"profile_picture_url"`
	CreatedAt         time.Time `json:"created_at"`
	CommentCount      int       `json:"comment_count"`
	IsOwnProfile      bool      `json:"is_own_profile"`
}

// loadProfile returns the profile of an active account. Of two names that
// differ in case alone, the one that is spelled as asked for is meant.
func (s *server) loadProfile(ctx context.Context, username string, v viewer) (profile, error) {
	p, err := one[profile](ctx, s.db, `
		select id, username, firstname, lastname, location, bio, '/profile_pictures/' || profile_picture as profile_picture_url, created_at,
		       (select count(*) from comment c where `+publicComment+`) as comment_count, u.id = $2 as is_own_profile
		from "user" u where lower(username) = lower($1) and status = 'active'
		order by username = $1 desc, username_double limit 1`, username, v.ID)
	return p, orNotFound(err, "User")
}

// publicComment is the condition by which a comment c of the user u is in the
// profile that $2 looks at.
const publicComment = `c.user_id = u.id and not c.is_hidden and not c.is_removed and (c.entity_id is null or exists (
	select from project p where p.id = c.entity_id and (p.status = 'published' or p.author_id = $2)))`

// showProfile answers the profile of the user in the path.
func (s *server) showProfile(w http.ResponseWriter, r *http.Request, v viewer) error {
	p, err := s.loadProfile(r.Context(), r.PathValue("username"), v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, p)
}

// showOwnProfile answers the viewer's profile.
func (s *server) showOwnProfile(w http.ResponseWriter, r *http.Request, v viewer) error {
	p, err := s.loadProfile(r.Context(), v.Username, v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, p)
}

const maxBio = 500

// profileChange is what the profile says now.
type profileChange struct {
	Message  string  `json:"message"`
	Location *string `json:"location"`
	Bio      *string `json:"bio"`
}

// putProfile changes the viewer's location and bio.
func (s *server) putProfile(w http.ResponseWriter, r *http.Request, v viewer) error {
	in, err := readInput(w, r)
	if err != nil {
		return err
	}
	if bio, _ := in.string("bio"); utf8.RuneCountInString(bio) > maxBio {
		return fail(http.StatusBadRequest, "Bio too long (max %d characters)", maxBio)
	}
	for name := range in.fields {
		if name != "location" && name != "bio" {
			delete(in.fields, name)
		}
	}
	a, err := s.updateAccount(r, v, in)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, profileChange{"Profile updated", a.Location, a.Bio})
}

// profileComment is a comment in its author's profile. One on a project has the
// address of the project's page.
type profileComment struct {
	ID        int        `json:"id"`
	URL       string     `json:"url"`
	Content   string     `json:"content"`
	CreatedAt time.Time  `json:"created_at"`
	EditedAt  *time.Time `json:"edited_at"`

	title string // of the project, if it is about one
}

// loadProfileComments returns the comments of a user that v can see, the newest
// first.
func (s *server) loadProfileComments(ctx context.Context, userID int, v viewer, limit, offset int) ([]profileComment, error) {
	rows, err := s.db.Query(ctx, `
		select c.id, c.url, c.entity_id, coalesce(o.title, '') as title, coalesce(a.username, '') as author, c.content, c.created_at, c.edited_at
		from "user" u join comment c on `+publicComment+`
		left join project o on o.id = c.entity_id left join "user" a on a.id = o.author_id
		where u.id = $1 order by c.created_at desc, c.id desc limit $3 offset $4`, userID, v.ID, limit, offset)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c profileComment, err error) {
		var url *string
		var id *int
		var author string
		err = row.Scan(&c.ID, &url, &id, &c.title, &author, &c.Content, &c.CreatedAt, &c.EditedAt)
		if url != nil {
			c.URL = *url
		} else {
			c.URL = s.cfg.publicURL + project{ID: deref(id), Title: c.title, AuthorUsername: author}.Path()
		}
		return c, err
	})
}

// profileCommentsAnswer is a page of what somebody has written.
type profileCommentsAnswer struct {
	Username string           `json:"username"`
	Comments []profileComment `json:"comments"`
}

// showProfileComments answers the comments of the user in the path.
func (s *server) showProfileComments(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	limit, offset := in.integer("limit", ptr(50), 1, 200), in.integer("offset", ptr(0), 0, 1<<31-1)
	if err := in.err(); err != nil {
		return err
	}
	p, err := s.loadProfile(r.Context(), r.PathValue("username"), v)
	if err != nil {
		return err
	}
	list, err := s.loadProfileComments(r.Context(), p.ID, v, limit, offset)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, profileCommentsAnswer{p.Username, list})
}

// countAnswer is a number alone.
type countAnswer struct {
	Count int `json:"count"`
}

// showCommentsCount answers how many comments a user's profile counts; nobody
// has none.
func (s *server) showCommentsCount(w http.ResponseWriter, r *http.Request) error {
	p, err := s.loadProfile(r.Context(), r.PathValue("username"), viewer{})
	var unknown *httpError
	if err != nil && !errors.As(err, &unknown) {
		return err
	}
	return writeJSON(w, http.StatusOK, countAnswer{p.CommentCount})
}
