package main

import (
	"bytes"
	"fmt"
	"html"
	"image"
	"image/png"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// pictureOf is a small PNG.
func pictureOf(t testing.TB, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// find returns the first group of the pattern on a page.
func (a *answer) find(pattern string) string {
	a.t.Helper()
	match := regexp.MustCompile(pattern).FindSubmatch(a.body)
	if match == nil {
		a.t.Fatalf("%s (%d) has nothing like %s:\n%s", a.request, a.status, pattern, truncate(string(a.body), 6000))
	}
	return html.UnescapeString(string(match[1]))
}

// newDraft makes a project with the form and returns the address of its editor.
func (p *person) newDraft(title string) string {
	p.t.Helper()
	to := p.submit("/projects/new", url.Values{"title": {title}, "description": {"What " + title + " is."}}).redirects("/projects/")
	editor, _, _ := strings.Cut(to, "?")
	return editor
}

func TestFromRegisteringToAPublishedProject(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada := st.visitor()

	// An account, with the way back kept over both forms.
	ada.page("/projects/new").redirects("/login?error=session_expired&return_to=%2Fprojects%2Fnew")
	back := url.Values{"return_to": {"/projects/new"}}
	ada.page("/login?error=session_expired&"+back.Encode()).want(200).shows("Please sign in to go on", `value="/projects/new"`, `href="/register?return_to=%2Fprojects%2Fnew"`)
	to := ada.submit("/register", url.Values{"username": {"ada"}, "firstname": {"Ada"}, "lastname": {"King"}, "email": {"ada@example.com"},
		"password": {testPassword}, "return_to": {"/projects/new"}})
	login := to.redirects("/login?")
	ada.page(login).want(200).shows("Your account is ready", `value="/projects/new"`)
	same(t, "the way on", ada.submit("/login", url.Values{"username": {"ada"}, "password": {testPassword}, "return_to": {"/projects/new"}}).redirects("/"), "/projects/new")
	ada.page("/projects/new").want(200).shows("Start a project", "Sign out")

	// A draft, and every kind of part by its form.
	to2 := ada.submit("/projects/new", url.Values{"title": {"Robot arm"}, "description": {"It *waves*."}, "tags": {"Robot, cardboard, robot"}}).redirects("/projects/")
	editor, _, _ := strings.Cut(to2, "?")
	ada.page(to2).want(200).shows("Your draft is there", "Add a picture", "List the parts", `value="robot, cardboard"`)
	ada.submit(editor, url.Values{"title": {"Robot arm"}, "description": {"It *waves*.\r\n\r\nAnd more."}, "tags": {"robot, cardboard"}, "background": {"A rainy day"},
		"difficulty_level": {"Beginner"}, "estimated_time": {"3 hours"}, "code_link": {"https://code.example.com/arm"}}).redirects(editor)
	ada.do(http.MethodPost, editor+"/images", form("caption", "Seen from the left").file("image", "arm.png", pictureOf(t, 8, 6))).redirects(editor)
	ada.do(http.MethodPost, editor+"/images", form().file("image", "detail.png", pictureOf(t, 6, 8))).redirects(editor)
	for _, title := range []string{"Cut", "Glue", "Wire"} {
		ada.submit(editor+"/steps", url.Values{"title": {title}, "content": {title + " it."}}).redirects(editor)
	}
	ada.submit(editor+"/bom", url.Values{"item_name": {"Servo"}, "quantity": {"4"}, "price": {"2.50"}, "link": {"https://shop.example.com/servo"}}).redirects(editor)
	ada.submit(editor+"/bom", url.Values{"item_name": {"Nano"}, "quantity": {"1"}, "price": {"£12,5"}}).redirects(editor)
	ada.submit(editor+"/bom", url.Values{"item_name": {"Cardboard"}, "quantity": {"1"}, "price": {""}}).redirects(editor)
	ada.submit(editor+"/components", url.Values{"name": {"PCA9685"}, "quantity": {"1"}, "notes": {"set to 50 Hz"}, "datasheet_url": {"https://chips.example.com/pca.pdf"}}).redirects(editor)
	ada.submit(editor+"/tools", url.Values{"name": {"Craft knife"}, "tool_type": {"tool"}}).redirects(editor)
	ada.submit(editor+"/tools", url.Values{"name": {"Hot glue"}, "tool_type": {"material"}, "notes": {"plenty"}}).redirects(editor)
	ada.submit(editor+"/links", url.Values{"url": {"https://video.example.com/1"}, "title": {"How servos work"}, "link_type": {"video"}}).redirects(editor)
	ada.do(http.MethodPost, editor+"/files", form("description", "The sketch").file("file", "arm.ino", []byte("void loop() {}"))).redirects(editor)

	// Parts are changed, moved and deleted.
	page := ada.page(editor).want(200).shows("Describe in two or three sentences", "2.50", "12.50", "arm.ino")
	glue := editor + "/steps/" + page.find(`<li id="steps-(\d+)"[^>]* data-name="step 2, Glue"`)
	ada.submit(glue, url.Values{"title": {"Glue well"}, "content": {"Glue it well."}}).redirects(editor)
	ada.submit(glue, url.Values{"action": {"up"}}).redirects(editor)
	ada.submit(glue, url.Values{"action": {"up"}}).redirects(editor) // it is the first already
	second := page.find(`<img src="/api/projects/\d+/images/(\d+)/file"[^>]* alt="detail.png"`)
	ada.submit(editor+"/images/"+second, url.Values{"caption": {"The gripper"}}).redirects(editor)
	ada.submit(editor+"/images/"+second, url.Values{"action": {"primary"}}).redirects(editor)
	link := editor + "/links/" + page.find(`<li id="links-(\d+)"`)
	ada.submit(link, url.Values{"action": {"delete"}}).redirects(editor)
	ada.submit(link, url.Values{"action": {"delete"}}).want(404).shows("There is nothing here")
	ada.page(editor).hides("How servos work")

	// Until it is published it is nobody else's.
	reader := page.find(`href="(/p/ada/[^"?]+)\?as=reader">View as reader`)
	st.visitor().page(reader).want(403).shows("Draft projects are only visible to their authors")
	ada.page(reader).want(200).shows("Only you can see this page")
	ada.page(reader+"?as=reader").want(200).hides("Only you can see this page", `href="`+editor+`"`)
	same(t, "after publishing", ada.submit(strings.TrimSuffix(editor, "/edit")+"/publish", nil).redirects("/p/"), reader)

	bob := st.visitor()
	bob.page(reader).want(200).shows("Robot arm", "And more.", "A rainy day", "Beginner", "3 hours", "code.example.com", "Servo", "10.00", "22.50", "1 unpriced part",
		"PCA9685", "set to 50 Hz", "https://chips.example.com/pca.pdf", "Craft knife", "Hot glue", "Glue it well.", "arm.ino", "14 bytes", "The gripper", "Seen from the left",
		`href="/tags/cardboard"`, `<meta property="og:title" content="Robot arm">`, `<meta property="og:image" content="`+st.cfg.publicURL, "Download ZIP", "1 view").
		hides(">Publish<", `href="`+editor+`"`)
	steps := string(bob.page(reader).body)
	if strings.Index(steps, "Glue well") > strings.Index(steps, "Cut it.") {
		t.Error("the step that was moved up is not the first")
	}
	bob.page("/").shows("Robot arm", "cardboard")
	bob.page("/projects?search=waves").shows("Robot arm", "1 project")
	ada.page("/account").shows("Robot arm", "Ada King")

	// And taken back, and deleted, but only when that is meant.
	ada.submit(strings.TrimSuffix(editor, "/edit")+"/unpublish", nil).redirects(editor)
	bob.page(reader).want(403)
	ada.submit(strings.TrimSuffix(editor, "/edit")+"/delete", url.Values{}).want(422).shows("Tick the box")
	ada.submit(strings.TrimSuffix(editor, "/edit")+"/delete", url.Values{"confirm": {"true"}}).redirects("/account")
	ada.page(reader).want(404).shows("There is nothing here", "Search projects")
}

func TestThreadOnPages(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada, bob := st.member("ada"), st.member("bob")
	editor := ada.newDraft("Clock")
	base := strings.TrimSuffix(editor, "/edit")
	id := strings.TrimPrefix(base, "/projects/")
	path := ada.submit(base+"/publish", nil).redirects("/p/ada/")

	for _, thread := range []struct {
		name, path string
		fields     url.Values
	}{
		{"project", path, url.Values{"entity_type": {"project"}, "entity_id": {id}}},
		{"page", "/thread?url=" + url.QueryEscape("blog/a b.html?id=5"), url.Values{"url": {"/blog/a b.html?id=5"}}},
	} {
		t.Run(thread.name, func(t *testing.T) {
			with := func(pairs ...string) url.Values {
				v := url.Values{}
				for name, values := range thread.fields {
					v[name] = values
				}
				for i := 0; i+1 < len(pairs); i += 2 {
					v.Set(pairs[i], pairs[i+1])
				}
				return v
			}
			st.visitor().page(thread.path).want(200).shows("Sign in</a> to comment", "nobody has yet")

			to := bob.submit("/thread/comment", with("content", "First line\r\nSecond & <third")).redirects(thread.path + "#comment-")
			first := to[strings.LastIndex(to, "-")+1:]
			ada.submit("/thread/comment", with("content", "A reply", "parent_comment_id", first)).redirects(thread.path + "#comment-")
			ada.page(thread.path).want(200).shows("2 comments", "First line<br>\nSecond &amp; &lt;third", `to <a href="#comment-`+first+`">bob</a>`)

			// What is wrong comes back with the text, in the form it came from.
			ada.submit("/thread/comment", with("content", "see www.example.com", "parent_comment_id", first)).want(400).
				shows("cannot contain URLs", "see www.example.com</textarea>", `id="reply-`+first+`-content"`, "<details class=\"tool\" open>")
			ada.submit("/thread/comment", with("content", " ")).want(400).shows("Comment cannot be empty", "2 comments")
			stranger := st.visitor()
			stranger.submit("/thread/comment", with("content", "typed for an hour")).redirects("/login?error=session_expired&return_to=/kept")

			// Only one's own can be changed.
			ada.submit("/thread/comments/"+first+"/edit", url.Values{"content": {"Mine now"}}).want(403)
			ada.submit("/thread/comments/"+first+"/remove", nil).want(403)
			bob.submit("/thread/comments/"+first+"/edit", url.Values{"content": {""}}).want(400).shows("Comment cannot be empty")
			bob.submit("/thread/comments/"+first+"/edit", url.Values{"content": {"Better words"}}).redirects(thread.path + "#comment-" + first)
			ada.page(thread.path).shows("Better words", "· edited")

			// Likes, by form and by script.
			ada.submit("/thread/comments/"+first+"/like", nil).redirects(thread.path + "#comment-" + first)
			ada.submit("/thread/like", with()).redirects(thread.path + "#likes")
			same(t, "likes by a script", fmt.Sprint(bob.post("/thread/like", with()).want(200).fields()["like_count"]), "2")
			same(t, "likes of a comment", fmt.Sprint(bob.post("/thread/comments/"+first+"/like", url.Values{}).want(200).fields()["like_count"]), "2")
			st.visitor().submit("/thread/like", with()).redirects("/login")

			bob.submit("/thread/comments/"+first+"/remove", nil).redirects(thread.path)
			bob.submit("/thread/comments/"+first+"/remove", nil).redirects(thread.path)
			ada.page(thread.path).shows("1 comment", "[removed]", "A reply").hides("Better words")
		})
	}

	// A thread does not give away a draft.
	ada.submit(base+"/unpublish", nil).redirects(editor)
	bob.submit("/thread/comment", url.Values{"entity_type": {"project"}, "entity_id": {id}, "content": {""}}).want(404).hides("Clock")
	bob.submit("/thread/like", url.Values{"entity_type": {"project"}, "entity_id": {id}}).want(404).hides("Clock")
	bob.page("/thread").want(422)
	bob.page("/thread?url=").want(200).shows("The front page")
}

func TestFormsKeepWhatWasTyped(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada := st.member("ada")
	guest := st.visitor()

	guest.submit("/register", url.Values{"username": {"a b"}, "firstname": {"Bob"}, "lastname": {"B"}, "email": {"nobody"}, "password": {"Short1"}, "return_to": {"/account"}}).
		want(422).shows("Please check 3 things", `value="a b"`, `value="Bob"`, `value="nobody"`, `value="/account"`, `aria-invalid="true"`,
		`aria-describedby="register-username-fault register-username-hint"`, "must be a valid e-mail address", "at least 8 characters").hides("Short1")
	guest.submit("/register", url.Values{"username": {"ADA"}, "firstname": {"A"}, "lastname": {"B"}, "email": {"x@example.com"}, "password": {testPassword}}).
		want(400).shows(`href="#register-username">Username already registered`, `value="ADA"`).hides(testPassword)
	guest.submit("/login", url.Values{"username": {"ada"}, "password": {"Wrong-horse-1"}}).want(401).shows("do not fit together", `value="ada"`).hides("Wrong-horse-1")
	guest.submit("/login", url.Values{"username": {"nobody"}, "password": {"Wrong-horse-1"}}).want(401).shows("do not fit together")

	ada.submit("/account/update", url.Values{"firstname": {"Ada"}, "lastname": {"K"}, "email": {"none"}, "bio": {strings.Repeat("b", 501)}}).
		want(422).shows("E-mail address must be a valid", "About you must have at most 500", strings.Repeat("b", 501))
	ada.submit("/account/update", url.Values{"firstname": {"Ada"}, "lastname": {"K"}, "email": {"ada@example.org"}, "location": {"London"}, "bio": {"Numbers"}}).redirects("/account/profile")
	ada.page("/account/profile").shows("Saved. Now open the link in the e-mail that we sent to ada@example.org", "London", "Numbers")
	ada.page("/account/profile").hides("Saved.")
	ada.submit("/account/update", url.Values{"email": {"none"}}).want(422).shows("E-mail address must be a valid", `value="none"`, "Change address")
	ada.submit("/account/change-password", url.Values{"current_password": {"Wrong-horse-1"}, "new_password": {"Brand-New-9"}}).
		want(400).shows(`href="#password-current_password">Current password is incorrect`).hides("Brand-New-9")
	ada.submit("/account/change-password", url.Values{"current_password": {testPassword}, "new_password": {"Brand-New-9"}}).redirects("/account/security")
	guest.submit("/login", url.Values{"username": {"ada"}, "password": {"Brand-New-9"}}).redirects("/account")

	ada.submit("/projects/new", url.Values{"title": {strings.Repeat("t", 256)}, "description": {""}, "tags": {"x"}}).
		want(422).shows("Title must have at most 255", "Description is required", strings.Repeat("t", 256), `value="x"`)
	editor := ada.newDraft("Lamp")
	ada.submit(editor, url.Values{"title": {""}, "description": {"kept"}, "code_link": {"ftp://x"}}).want(422).shows("Title is required", "Source code must be an address", "kept</textarea>", `value="ftp://x"`)
	ada.submit(editor+"/bom", url.Values{"item_name": {"Bulb"}, "quantity": {"0"}, "price": {"cheap"}}).want(422).
		shows(`value="Bulb"`, `value="cheap"`, "Price must be an amount such as 3.50", "Quantity must be from 1", `<details class="add" id="bom-add" open>`)
	ada.submit(editor+"/links", url.Values{"url": {"javascript:alert(1)"}, "title": {"Click"}, "link_type": {"video"}}).want(422).shows("Web address must be an address that starts", `value="Click"`)
	ada.do(http.MethodPost, editor+"/files", form("description", "x").file("file", "virus.exe", []byte("MZ"))).want(400).shows("Files of this kind are not taken")
	ada.do(http.MethodPost, editor+"/images", form().file("image", "fake.png", []byte("no picture"))).want(400).shows("is no such picture")
	ada.do(http.MethodPost, editor+"/images", form("caption", "x")).want(422).shows("Choose a file to upload")
	ada.submit(editor+"/components", url.Values{"name": {"NE555"}, "quantity": {"1"}}).redirects(editor)
	ada.submit(editor+"/components", url.Values{"name": {"ne555"}, "quantity": {"2"}}).want(400).shows("already part of the project", `value="ne555"`)
	page := ada.page(editor)
	ada.submit(editor+"/components/"+page.find(`<li id="components-(\d+)"`), url.Values{"quantity": {"7"}, "notes": {"bipolar"}}).redirects(editor)
	ada.page(editor+"?component=ne5").shows("7×", "bipolar", `<input type="hidden" name="name" value="NE555">`)
	ada.page(editor + "?component=zzz").shows("Nobody has used “zzz” yet")
	ada.submit(editor+"/sandwiches", url.Values{"name": {"x"}}).want(404)
	ada.submit(editor+"/steps/1", url.Values{"action": {"explode"}}).want(400)
}

func TestPagesLimitSignIn(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.testing = false })
	st.stopClock()
	guest := st.visitor()
	wrong := url.Values{"username": {"ada"}, "password": {"Wrong-horse-1"}}
	for range 5 {
		guest.submit("/login", wrong).want(401)
	}
	limited := guest.submit("/login", wrong).want(429).shows("Too many requests", `value="ada"`)
	if limited.header.Get("Retry-After") == "" {
		t.Error("the 429 does not say how long to wait")
	}
	guest.page("/login").want(200)
}

func TestReturnTo(t *testing.T) {
	t.Parallel()
	s := &server{cfg: config{allowedOrigins: []string{"https://www.example.com", "http://localhost:4000"}}}
	for _, good := range []string{"/", "/projects/3/edit?x=1#steps", "/p/a%2Eb/1-x", "/loginx", "https://www.example.com", "https://www.example.com/blog/?a=b",
		"http://localhost:4000/x", "/" + strings.Repeat("x", 499)} {
		same(t, "return_to "+good, s.returnTo(good), good)
	}
	for _, bad := range []string{"", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, "/\t/evil.example", "/x\ny", "/x\u0085", "javascript:alert(1)", "JAVASCRIPT:alert(1)",
		"data:text/html,x", "evil.example", "https://evil.example", "https://www.example.com.evil.example", "https://www.example.com@evil.example", "https://user@www.example.com/",
		"http://www.example.com", "https://www.example.com:444", "https:www.example.com", "https:/www.example.com", "//www.example.com", " /x", "/login", "/login/", "/login?x", "/register#x", "/./login", "/x/../login", "//login", "/%6cogin",
		"https://www.example.com/login", "/" + strings.Repeat("x", 500), "mailto:a@example.com", "/%zz"} {
		same(t, "return_to "+bad, s.returnTo(bad), "")
	}
}

func TestReturnToAnotherSite(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada := st.member("ada")
	in := func(to string) url.Values {
		return url.Values{"username": {"ada"}, "password": {testPassword}, "return_to": {to}}
	}
	same(t, "an allowed origin", ada.submit("/login", in("https://www.example.com/blog/")).redirects(""), "https://www.example.com/blog/")
	same(t, "a stranger", ada.submit("/login", in("https://evil.example/")).redirects(""), "/account")
	ada.page("/login?return_to=https://evil.example/").want(200).hides("evil.example")
	ada.page("/register?return_to=//evil.example/").want(200).hides("evil.example")
}

func TestExcerpt(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"**Lamp**: it *glows*.":                     "Lamp: it glows.",
		"# Title\n\nText\n\n- one\n- two\n\n> said": "Title Text one two said",
		"a < b & \"c\"":                             `a < b & "c"`,
		"<b>shown</b> [link](https://x.example)":    "<b>shown</b> link",
		"| a | b |\n|---|---|\n| c | d |":           "a b c d",
		strings.Repeat("word ", 100):                strings.TrimSpace(strings.Repeat("word ", 44)) + "…",
		"":                                          "",
	} {
		same(t, fmt.Sprintf("excerpt of %q", source), excerpt(source), want)
	}
}

func TestParsePrice(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "3.50": "3.50", "3,5": "3.50", "3": "3.00", " £ 12.05 ": "12.05", "0": "0.00", "5€": "5.00", "19.99": "19.99", "21474836.47": "21474836.47"} {
		cents, ok := parsePrice(text)
		if !ok || formatPrice(cents) != want {
			t.Errorf("parsePrice(%q) = %s, %v; want %s", text, formatPrice(cents), ok, want)
		}
	}
	for _, text := range []string{"x", "-1", "1.234", "1,234.50", "1.", ".", "1e3", "21474836.48", "99999999999999999999", "٣"} {
		if cents, ok := parsePrice(text); ok {
			t.Errorf("parsePrice(%q) = %s, want a refusal", text, formatPrice(cents))
		}
	}
}

func TestEverythingTypedIsEscaped(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada := st.member("ada")
	const x = `"'><script>alert(1)</script><img src=x onerror=alert(1)>`
	editor := ada.submit("/projects/new", url.Values{"title": {x}, "description": {x}, "tags": {x}}).redirects("/projects/")
	editor, _, _ = strings.Cut(editor, "?")
	ada.submit(editor, url.Values{"title": {x}, "description": {x}, "background": {x}, "difficulty_level": {truncate(x, 50)}, "estimated_time": {truncate(x, 50)}, "tags": {x}}).redirects(editor)
	ada.do(http.MethodPost, editor+"/images", form("caption", x).file("image", "x<script>.png", pictureOf(t, 4, 4))).redirects(editor)
	ada.do(http.MethodPost, editor+"/files", form("description", x).file("file", "x<script>.txt", []byte("x"))).redirects(editor)
	ada.submit(editor+"/steps", url.Values{"title": {x}, "content": {x}}).redirects(editor)
	ada.submit(editor+"/bom", url.Values{"item_name": {x}, "description": {x}, "quantity": {"1"}}).redirects(editor)
	ada.submit(editor+"/components", url.Values{"name": {x}, "description": {x}, "notes": {x}}).redirects(editor)
	ada.submit(editor+"/tools", url.Values{"name": {x}, "tool_type": {"tool"}, "notes": {x}}).redirects(editor)
	ada.submit(editor+"/links", url.Values{"url": {"https://example.com/?" + url.QueryEscape(x)}, "title": {x}, "link_type": {"video"}, "description": {x}}).redirects(editor)
	ada.submit("/account/update", url.Values{"firstname": {x}, "lastname": {x}, "email": {"ada@example.com"}, "location": {x}, "bio": {x}}).redirects("/account")
	reader := ada.submit(strings.TrimSuffix(editor, "/edit")+"/publish", nil).redirects("/p/")
	ada.submit("/thread/comment", url.Values{"url": {x}, "content": {"quotes \" ' and < > stay"}}).redirects("/thread?url=")
	for _, path := range []string{"/", "/projects", "/projects?search=" + url.QueryEscape(x), "/projects?tag=" + url.QueryEscape(x), reader, editor, editor + "?component=" + url.QueryEscape(x),
		"/account", "/thread?url=" + url.QueryEscape(x), "/login?return_to=" + url.QueryEscape("/"+x), "/" + url.PathEscape(x)} {
		ada.page(path).hides("<script>alert", "<img src=x", "ZgotmplZ")
	}
	ada.submit("/login", url.Values{"username": {x}, "password": {x}, "return_to": {x}}).hides("<script>alert", "<img src=x")
	ada.submit("/register", url.Values{"username": {x}, "email": {x}, "firstname": {x}, "lastname": {x}, "return_to": {x}}).hides("<script>alert", "<img src=x")
	ada.submit(editor+"/bom", url.Values{"item_name": {x}, "price": {x}, "quantity": {x}, "link": {x}}).want(422).hides("<script>alert", "<img src=x")
}

func TestOnlyItsAuthorEdits(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada, bob := st.member("ada"), st.member("bob")
	editor := ada.newDraft("Secret lamp")
	base := strings.TrimSuffix(editor, "/edit")
	ada.submit(editor+"/steps", url.Values{"title": {"One"}, "content": {"Do"}}).redirects(editor)
	step := editor + "/steps/" + ada.page(editor).find(`<li id="steps-(\d+)"`)

	bob.page(editor).want(403).shows("Only its author can edit this project").hides("Secret lamp")
	for _, path := range []string{editor, editor + "/steps", step, base + "/publish", base + "/unpublish", base + "/delete"} {
		bob.submit(path, url.Values{"title": {"Hacked"}, "content": {"x"}, "description": {"x"}, "confirm": {"true"}, "action": {"delete"}}).want(403)
		st.visitor().submit(path, url.Values{"title": {"Hacked"}}).redirects("/login")
	}
	// A step of a project is not to be had through another project.
	mine := bob.newDraft("Mine")
	bob.submit(mine+strings.TrimPrefix(step, editor), url.Values{"action": {"delete"}}).want(404)
	ada.page(editor).want(200).shows("Secret lamp", "One").hides("Hacked")

	// Another site's page can't send the forms.
	ada.do(http.MethodPost, base+"/publish", url.Values{}, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site").want(403)
	bob.page(base).want(403)
	bob.page("/projects").hides("Secret lamp")
	bob.page("/projects?status_filter=draft").shows("Mine", "Draft").hides("Secret lamp")
	st.visitor().page("/projects?status_filter=draft").redirects("/login")
}

func TestProjectAddresses(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	ada := st.member("ada")
	editor := ada.newDraft("Übergroße Uhr 2.0")
	base := strings.TrimSuffix(editor, "/edit")
	path := ada.submit(base+"/publish", nil).redirects("/p/ada/")
	guest := st.visitor()
	guest.page(path).want(200).shows("Übergroße Uhr 2.0")
	same(t, "the short address", guest.page(base).redirects("/p/"), path)
	id := strings.TrimPrefix(base, "/projects/")
	for _, other := range []string{"/p/ada/" + id, "/p/bob/" + id + "-x", "/p/ada/" + id + "-old-title", "/p/ADA" + strings.TrimPrefix(path, "/p/ada")} {
		moved := guest.page(other).want(http.StatusMovedPermanently)
		same(t, other, moved.header.Get("Location"), path)
	}
	guest.page("/p/ada/99999-x").want(404)
	guest.page("/p/ada/x-1").want(404)
	guest.page("/p/ada/" + strings.Repeat("9", 30)).want(404)
	same(t, "views", guest.page(path).find(`(\d+) views`), "2") // the first above, and this one
	ada.page(path).shows("2 views")
}

func TestGalleryPages(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.visitor().page("/projects").want(200).shows("No projects yet", `href="/projects/new"`)
	st.visitor().page("/").want(200).shows("The bench is still empty")
	ada := st.member("ada")
	ada.page("/account").shows("Start your first project")
	for i := range 7 {
		editor := ada.submit("/projects/new", url.Values{"title": {fmt.Sprintf("Lamp %d", i)}, "description": {"Bright."}, "tags": {"light"}}).redirects("/projects/")
		if i > 0 {
			ada.submit(editor[:strings.Index(editor, "/edit")]+"/publish", nil).redirects("/p/")
		}
	}
	guest := st.visitor()
	guest.page("/").shows("All 6 projects")
	guest.page("/projects?tag=light&per_page=2").shows("6 projects tagged “light”, page 1 of 3", `rel="next" href="/tags/light?`, `aria-current="true"`).hides("Lamp 0", `rel="prev"`)
	guest.page("/projects?tag=light&per_page=2&page=3").shows("Lamp 1", `rel="prev"`).hides(`rel="next"`)
	guest.page("/projects?per_page=2&page=9").shows("The list ends before this page")
	guest.page("/projects?search=none").shows("Nothing fits “none”", "Show all projects")
	guest.page("/projects?page=0").want(422)
	guest.page("/projects?sort=worst").want(422)
	ada.page("/projects?search=&sort=views&status_filter=&tag=&page=").want(200).shows("7 projects")
	ada.page("/projects").shows("Lamp 0", `<span class="badge">Draft</span>`)
}

func TestGalleryWindow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		page, pages int
		want        string
	}{{1, 1, "[1]"}, {1, 3, "[1 2 3]"}, {1, 9, "[1 2 0 9]"}, {5, 9, "[1 0 4 5 6 0 9]"}, {9, 9, "[1 0 8 9]"}, {3, 5, "[1 2 3 4 5]"}, {50, 3, "[1 0 3]"}, {500_000, 1_000_000, "[1 0 499999 500000 500001 0 1000000]"}} {
		g := galleryPage{gallery: gallery{Page: c.page, Pages: c.pages}}
		same(t, fmt.Sprintf("page %d of %d", c.page, c.pages), fmt.Sprint(g.Window()), c.want)
	}
}

func TestStaticFilesAndErrorPages(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	guest := st.visitor()
	page := guest.page("/").want(200)
	for _, pattern := range []string{`rel="stylesheet" href="([^"]+)"`, `<script src="([^"]+)"`, `rel="icon" href="([^"]+)"`} {
		address := page.find(pattern)
		file := guest.get(address).want(200)
		same(t, address, file.header.Get("Cache-Control"), "public, max-age=31536000, immutable")
		guest.do(http.MethodGet, address, nil, "If-None-Match", file.header.Get("ETag")).want(http.StatusNotModified)
		if len(file.body) == 0 || strings.HasPrefix(file.header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s has %d bytes of %s", address, len(file.body), file.header.Get("Content-Type"))
		}
	}
	same(t, "without a hash", guest.get("/static/style.css").want(200).header.Get("Cache-Control"), "public, max-age=3600")
	same(t, "the icon", guest.get("/favicon.ico").want(200).header.Get("Content-Type"), "image/svg+xml")
	guest.page("/static/nothing.css").want(404)
	guest.page("/static/..%2fmain.go").want(404)
	guest.page("/nowhere").want(404).shows("There is nothing here", "</html>")
	guest.do(http.MethodDelete, "/projects", nil, "Accept", "text/html").want(405).shows("That does not work here")
	guest.get("/nowhere").detail(404, "Not found") // who does not ask for a page gets none
	if page := string(guest.page("/").body); regexp.MustCompile(`<script>| style="| on[a-z]+="`).MatchString(page) {
		t.Error("a page holds an inline script or style")
	}
}

// What looks like JSON is a text like others, and comes back into its form.
func TestFormsShowWhatIsStored(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	for _, bio := range []string{"{maker} of robots", "[1]", "null", `"quoted"`} {
		alice.submit("/account/update", url.Values{"email": {"alice@example.com"}, "location": {""}, "bio": {bio}}).redirects("/account")
		alice.page("/account/profile").want(http.StatusOK).shows("\n" + html.EscapeString(bio) + "</textarea>")
	}
}

// A component that can't be added to the project is not made either.
func TestRefusedComponentIsNotMade(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	alice.submit(fmt.Sprintf("/projects/%d/edit/components", id), url.Values{"name": {"Gyro"}, "quantity": {"1"}, "notes": {strings.Repeat("x", 6000)}}).
		want(http.StatusUnprocessableEntity).shows("must have at most 5000 characters")
	same(t, "components", st.count(`select count(*) from component`), 0)
}

// A comment that is refused says so beside its text, which is looked at first.
func TestRefusedCommentIsInSight(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	a := alice.submit("/thread/comment", url.Values{"url": {"a"}, "content": {"see https://example.com"}}).want(http.StatusBadRequest)
	a.shows("Comments cannot contain URLs", "see https://example.com</textarea>", "autofocus")
}

// What goes wrong is said in words, with a way on.
func TestErrorPages(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.testing = false })
	ada, guest := st.member("ada"), st.visitor()
	editor := ada.newDraft("Lamp")
	guest.page(strings.TrimSuffix(editor, "/edit")).want(http.StatusForbidden).shows("<title>This is not open to you – Test Site</title>", `>Sign in</a>`)
	guest.page("/projects?page=0").want(http.StatusUnprocessableEntity).shows("This address has a mistake in it")
	ada.submit("/thread/comment", url.Values{"url": {"a"}, "content": {strings.Repeat("x", 3<<20)}}).want(http.StatusRequestEntityTooLarge).shows("That is too large", "Go back to your form", "at most")
	// Links of the API are followed too; programs get JSON.
	guest.page("/api/projects/999/download").want(http.StatusNotFound).shows("There is nothing here", "Project not found")
	guest.get("/api/projects/999/download").detail(http.StatusNotFound, "Project not found")
	var slow *answer
	for range 10 {
		if slow = guest.submit("/login", credentials("nobody", "Wrong-Pass-1")); slow.status == http.StatusTooManyRequests {
			break
		}
	}
	slow.want(http.StatusTooManyRequests).shows("try again in")
	st.exec(`alter table project rename to gone`)
	guest.page("/").want(http.StatusInternalServerError).shows("Something broke on our side", `href="/">Try again`).hides("relation", "Go back to your form")
	ada.submit("/projects/new", url.Values{"title": {"Lamp"}, "description": {"It glows"}}).want(http.StatusInternalServerError).shows("Go back to your form", "send it again").hides("Try again")
	st.exec(`alter table gone rename to project`)
}
