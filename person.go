package main

import (
	"cmp"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

// personPath is the address of somebody's page.
func personPath(username string) string { return "/u/" + segment(username) }

// portrait is what the template "avatar" shows of somebody.
type portrait struct{ Name, Src, Class string }

// newPortrait is of the member with the name and the file of a picture.
func newPortrait(username string, file *string) portrait {
	p := portrait{Name: username}
	if deref(file) != "" {
		p.Src = "/profile_pictures/" + segment(*file)
	}
	return p
}

// personPage is the data of person.html.
type personPage struct {
	profile
	URL          string // absolute
	Projects     gallery
	Comments     []personComment
	Page         int // of the comments
	Newer, Older string
}

// personComment is a comment as its author's page shows it.
type personComment struct {
	profileComment
	Link, About string
	Text        template.HTML
}

const (
	personProjects = 12
	personComments = 10
)

func (p personPage) FullName() string { return strings.TrimSpace(p.Firstname + " " + p.Lastname) }

func (p personPage) Portrait() portrait {
	return portrait{p.Username, deref(p.ProfilePictureURL), "large"}
}

// showPerson answers a member's page. A name in other letters' case leads to
// the address as the member writes it.
func (s *server) showPerson(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	page := in.integer("page", ptr(1), 1, 100_000)
	if err := in.err(); err != nil {
		return err
	}
	p, err := s.loadProfile(r.Context(), r.PathValue("username"), v)
	if err != nil {
		return err
	}
	path := personPath(p.Username)
	if r.PathValue("username") != p.Username {
		return seeOther(w, r, path)
	}
	data := personPage{profile: p, URL: s.cfg.publicURL + path, Page: page}
	q := galleryQuery{AuthorID: &p.ID, Sort: "recent", Page: 1, PerPage: personProjects}
	if data.Projects, err = s.listProjects(r.Context(), q, v); err != nil {
		return err
	}
	list, err := s.loadProfileComments(r.Context(), p.ID, v, personComments+1, (page-1)*personComments)
	if err != nil {
		return err
	}
	address := func(page int) string {
		if page == 1 {
			return path + "#comments"
		}
		return path + "?page=" + strconv.Itoa(page) + "#comments"
	}
	if page > 1 {
		data.Newer = address(page - 1)
	}
	if len(list) > personComments {
		list, data.Older = list[:personComments], address(page+1)
	}
	texts := make([]string, len(list))
	for i, c := range list {
		texts[i] = c.Content
	}
	known, err := s.mentioned(r.Context(), texts...)
	if err != nil {
		return err
	}
	for _, c := range list {
		shown := personComment{profileComment: c, Link: threadAddress(c.URL), About: c.URL, Text: formatComment(c.Content, known)}
		if c.title != "" {
			shown.Link, shown.About = localPath(c.URL), c.title
		}
		shown.Link += "#" + commentAnchor(c.ID)
		shown.About = cmp.Or(strings.TrimSuffix(shown.About, "index.html"), "The front page")
		data.Comments = append(data.Comments, shown)
	}
	return s.render(w, r, http.StatusOK, "person", v, p.Username, data)
}
