package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// homePage is the data of home.html.
type homePage struct {
	Featured, Recent, Popular []projectSummary
	Total                     int
	Tags                      []tagCount
}

// showHome answers the front page.
func (s *server) showHome(w http.ResponseWriter, r *http.Request, v viewer) error {
	featured, err := s.listProjects(r.Context(), galleryQuery{Status: "published", Sort: "featured", Page: 1, PerPage: 3}, v)
	if err != nil {
		return err
	}
	recent, err := s.listProjects(r.Context(), galleryQuery{Status: "published", Sort: "recent", Page: 1, PerPage: 6}, v)
	if err != nil {
		return err
	}
	popular, err := s.listProjects(r.Context(), galleryQuery{Status: "published", Sort: "popular", Page: 1, PerPage: 3}, v)
	if err != nil {
		return err
	}
	tags, err := s.loadTags(r.Context(), "", 24)
	if err != nil {
		return err
	}
	data := homePage{Featured: featured.Projects, Recent: recent.Projects, Total: recent.Total, Tags: tags}
	// Where every project is among the recent ones, a second list says nothing.
	if recent.Total > len(recent.Projects) {
		data.Popular = popular.Projects
	}
	return s.render(w, r, http.StatusOK, "home", v, "", data)
}

// galleryPage is the data of gallery.html.
type galleryPage struct {
	gallery
	Query     galleryQuery
	Tags      []tagCount
	Sorts     []choice
	Viewer    viewer
	PublicURL string
}

// Difficulties are those that the editor offers.
func (g galleryPage) Difficulties() []string {
	return []string{"Beginner", "Intermediate", "Advanced", "Expert"}
}

// Filtered reports whether the list is not of everything.
func (g galleryPage) Filtered() bool {
	return g.Query.Search != "" || g.Query.Tag != "" || g.Query.Difficulty != "" || g.Query.Status != "" || g.Query.AuthorID != nil
}

// Bounded reports whether there can be older projects that were not looked at.
func (g galleryPage) Bounded() bool { return g.Query.Search != "" && g.Total == maxFound }

// At is the address of another page of the same list.
func (g galleryPage) At(page int) string { return g.link(g.Query.Tag, page) }

// After is the address of the next page, however far that is.
func (g galleryPage) After() string {
	if g.NextCursor == nil {
		return ""
	}
	address := g.link(g.Query.Tag, 1)
	if strings.Contains(address, "?") {
		return address + "&after=" + *g.NextCursor
	}
	return address + "?after=" + *g.NextCursor
}

// Tagged is the address of the list with another tag, or with none.
func (g galleryPage) Tagged(tag string) string { return g.link(tag, 1) }

func (g galleryPage) link(tag string, page int) string {
	query := url.Values{}
	set := func(name, value, usual string) {
		if value != usual {
			query.Set(name, value)
		}
	}
	set("search", g.Query.Search, "")
	set("difficulty", g.Query.Difficulty, "")
	set("sort", g.Query.Sort, g.Sorts[0].Value)
	set("status_filter", g.Query.Status, "")
	set("page", strconv.Itoa(page), "1")
	if g.Query.AuthorID != nil {
		query.Set("author_id", strconv.Itoa(*g.Query.AuthorID))
	}
	if len(query) == 0 {
		return listPath(tag)
	}
	return listPath(tag) + "?" + query.Encode()
}

// Base is the address of the list without what the form of the filters says.
func (g galleryPage) Base() string { return listPath(g.Query.Tag) }

// listPath is the list of all projects, or of those with a tag.
func listPath(tag string) string {
	if tag == "" {
		return "/projects"
	}
	return tagPath(tag)
}

func tagPath(tag string) string { return "/tags/" + segment(tag) }

// Window is the numbers of the pages around this one, with the first and the
// last; 0 stands for those left out.
func (g galleryPage) Window() (numbers []int) {
	for n := 1; n <= g.Pages; n++ {
		near := n >= g.Page-1 && n <= g.Page+1
		if near || n == 1 || n == g.Pages {
			numbers = append(numbers, n)
		} else if numbers[len(numbers)-1] != 0 {
			numbers = append(numbers, 0)
			n = max(n, min(g.Page, g.Pages)-2)
		}
	}
	return numbers
}

// Previous is the page before, 0 where there is none.
func (g galleryPage) Previous() int { return min(g.Page, g.Pages+1) - 1 }

// showGalleryPage answers the list of projects, the viewer's drafts among them.
func (s *server) showGalleryPage(w http.ResponseWriter, r *http.Request, v viewer) error {
	in := queryInput(r)
	// The form of the filters sends the empty ones too.
	maps.DeleteFunc(in.fields, func(_ string, raw json.RawMessage) bool { return string(raw) == `""` })
	if tag := r.PathValue("tag"); tag != "" {
		in.setValues(url.Values{"tag": {tag}})
	}
	q := in.galleryQuery()
	if !in.has("per_page") {
		q.PerPage = 24
	}
	if err := in.err(); err != nil {
		return err
	}
	if q.Status == "draft" && !v.signedIn() {
		return errMissingToken
	}
	g, err := s.listProjects(r.Context(), q, v)
	if err != nil {
		return err
	}
	tags, err := s.loadTags(r.Context(), "", 30)
	if err != nil {
		return err
	}
	data := galleryPage{g, q, tags, []choice{{"recent", "Newest"}, {"popular", "Most liked"}, {"views", "Most viewed"}, {"downloads", "Most downloaded"}}, v, s.cfg.publicURL}
	if q.Search != "" { // the first one is that of an address that names none
		data.Sorts = append([]choice{{"relevance", "Best match"}}, data.Sorts...)
	}
	title := "Projects"
	if q.Tag != "" {
		title = "Projects: " + q.Tag
	}
	return s.render(w, r, http.StatusOK, "gallery", v, title, data)
}

// showTagsPage answers every tag, as far as people read.
func (s *server) showTagsPage(w http.ResponseWriter, r *http.Request, v viewer) error {
	tags, err := s.loadTags(r.Context(), "", 500)
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "tags", v, "Tags", tags)
}
