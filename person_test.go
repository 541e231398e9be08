package main

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
)

// published is draft for everybody.
func (p *person) published(title string) int {
	p.t.Helper()
	id := p.draft(title)
	p.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	return id
}

func TestSomebodysPage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, bob, guest := st.member("alice"), st.member("bob"), st.visitor()
	alice.put("/profile", map[string]any{"bio": "I build <robots>.\nAnd **lamps**.", "location": "Bremen"}).want(http.StatusOK)
	lamp := alice.published("Lamp")
	alice.draft("Secret robot")
	bob.submit("/thread/comment", url.Values{"entity_type": {"project"}, "entity_id": {fmt.Sprint(lamp)}, "content": {"Well done @alice"}}).redirects("/p/alice/")
	for i := range 11 {
		bob.post("/interact/comment", map[string]any{"url": "blog/a.html", "content": fmt.Sprintf("Thought %d", i)}).want(http.StatusOK)
	}

	guest.page("/u/alice").want(http.StatusOK).shows("<h1>alice</h1>", "Alice Tester", "Bremen", "I build &lt;robots&gt;.<br>", "1 project", "Lamp",
		"/feeds/users/alice.atom", "alice has not written a comment yet").hides("Secret robot", "Edit your profile")
	alice.page("/u/alice").want(http.StatusOK).shows("Secret robot", "Edit your profile")
	guest.page("/u/bob").want(http.StatusOK).shows("12 comments", "Thought 10", "Thought 1<", `href="/thread?url=blog%2Fa.html#comment-`, `href="/u/bob?page=2#comments"`).hides("Well done")
	guest.page("/u/bob?page=2").want(http.StatusOK).shows("Thought 0", "Well done", `<a class="mention" href="/u/alice">@alice</a>`, fmt.Sprintf(`href="/p/alice/%d-lamp#comment-1"`, lamp), `href="/u/bob#comments"`)
	same(t, "another case", guest.page("/u/ALICE").redirects("/u/"), "/u/alice")
	guest.page("/u/nobody").want(http.StatusNotFound).shows("There is nothing here")
	guest.page("/u/alice?page=0").want(http.StatusUnprocessableEntity)
	guest.page(fmt.Sprintf("/p/alice/%d-lamp", lamp)).shows(`<a href="/u/alice">alice</a>`, `href="/u/bob"`)

	st.exec(`update "user" set status = 'inactive' where username = 'alice'`)
	guest.page("/u/alice").want(http.StatusNotFound)
}

func TestTagPages(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, guest := st.member("alice"), st.visitor()
	guest.page("/tags").want(http.StatusOK).shows("No tags yet")
	for title, tag := range map[string]string{"Lamp": "light & shade/c++", "Robot": ".."} {
		id := alice.published(title)
		alice.put(fmt.Sprintf("/api/projects/%d", id), map[string]any{"tags": []string{tag}}).want(http.StatusOK)
	}
	guest.page("/tags").want(http.StatusOK).shows(`href="/tags/light%20&amp;%20shade%2Fc&#43;&#43;"`, `href="/tags/%2E%2E"`)
	page := guest.page("/tags/light%20&%20shade%2Fc++").want(http.StatusOK).shows("Projects: light &amp; shade/c&#43;&#43;", "Lamp", "1 project tagged").hides("Robot</a>")
	page.shows(`action="/tags/light%20&amp;%20shade%2Fc&#43;&#43;"`, `rel="canonical" href="`+st.cfg.publicURL+`/tags/`)
	guest.page("/tags/%2E%2E").want(http.StatusOK).shows("Robot</a>").hides("Lamp</a>")
	guest.page("/tags/unknown").want(http.StatusOK).shows("Nothing fits")
	guest.page("/projects?tag=" + url.QueryEscape("light & shade/c++")).want(http.StatusOK).shows("Lamp</a>")
}

func TestFeaturedProjectsAreOnTheFrontPage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, guest := st.member("alice"), st.visitor()
	lamp, draft := alice.published("Lamp"), alice.draft("Robot")
	guest.page("/").want(http.StatusOK).hides("Worth building")
	st.exec(`update project set featured_at = now() where id = any ($1)`, []int{lamp, draft})
	guest.page("/").want(http.StatusOK).shows("Worth building", "Lamp").hides("Robot")
	guest.get("/api/projects?sort=featured").want(http.StatusUnprocessableEntity)
}

func TestManifestAndSignIn(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	guest := st.visitor()
	var m struct {
		Name  string
		Icons []struct{ Src, Type string }
	}
	a := guest.get("/manifest.webmanifest").want(http.StatusOK).into(&m)
	same(t, "type", a.header.Get("Content-Type"), "application/manifest+json")
	same(t, "name", m.Name, "Test Site")
	for _, icon := range m.Icons {
		same(t, icon.Src, guest.get(icon.Src).want(http.StatusOK).header.Get("Content-Type"), icon.Type)
	}
	same(t, "icons", len(m.Icons), 2)

	guest.page("/projects?sort=views").shows(`href="/login?return_to=%2Fprojects%3Fsort%3Dviews"`, `<li><a href="/projects" aria-current="page">`)
	for _, path := range []string{"/", "/login", "/register?return_to=/account"} {
		guest.page(path).shows(`<li><a href="/login">Sign in</a></li>`)
	}
}
