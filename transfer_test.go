package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExportAndImport(t *testing.T) {
	t.Parallel()
	from := newSite(t)
	alice, bob, root := from.member("alice"), from.member("bob"), from.admin("root")
	gone := from.member("gone")
	top := alice.comment("a", "First <3\nline", 0)
	alice.put(fmt.Sprintf("/interact/comments/%d", top), map[string]any{"content": "First, better"}).want(http.StatusOK)
	bob.post(fmt.Sprintf("/interact/comments/%d/like", top), nil).want(http.StatusOK)
	left := gone.comment("a", "Left", top)
	deep := bob.comment("a", "Deep", left)
	bob.post(fmt.Sprintf("/interact/comments/%d/report", top), map[string]any{"reason": "other", "details": "?"}).want(http.StatusOK)
	root.post(fmt.Sprintf("/interact/comments/%d/hide", deep), nil).want(http.StatusOK)
	project := alice.draft("Robot")
	alice.post("/interact/entity/comment", map[string]any{"entity_type": "project", "entity_id": project, "content": "On it"}).want(http.StatusOK)
	away := bob.comment("b", "Away", 0)
	bob.delete(fmt.Sprintf("/interact/comments/%d", away)).want(http.StatusOK)
	from.exec(`delete from "user" where username = 'gone'`)

	path := filepath.Join(t.TempDir(), "comments.json")
	command := func(st *site, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		if err := st.commentsCommand(t.Context(), args, nil, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	same(t, "export", command(from, "export", path), "5 comments are in "+path+"\n")
	// Again, it adds nothing where everything is.
	same(t, "import into the same", command(from, "import", path), "0 comments added, 5 were there already, 0 skipped\n")
	same(t, "drift", from.drift(), "")

	to := newSite(t)
	carol := to.member("carol")
	carol.comment("a", "Here before", 0)
	skips := command(to, "import", path)
	same(t, "nobody is here", strings.Contains(skips, "there is no account called alice") && strings.Contains(skips, "which it answers, is not here") && strings.Contains(skips, "0 comments added, 0 were there already, 5 skipped"), true)
	to.member("alice")
	to.member("bob")
	to.admin("root")
	skips = command(to, "import", path)
	same(t, "now all but the project's", strings.Contains(skips, "there is no project 1") && strings.Contains(skips, "4 comments added, 0 were there already, 1 skipped"), true)
	for range 2 {
		to.member("dora" + fmt.Sprint(to.count(`select count(*) from "user"`))).draft("Something")
		command(to, "import", path)
	}
	same(t, "each once", to.count(`select count(*) from comment`), 6)
	same(t, "drift", to.drift(), "")
	// What one has, the other has, but for the ids.
	everything := func(st *site) string {
		var out bytes.Buffer
		if _, err := st.exportComments(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		var file struct{ Comments []map[string]any }
		if err := json.Unmarshal(out.Bytes(), &file); err != nil {
			t.Fatal(err)
		}
		set := map[string]map[string]any{}
		for _, c := range file.Comments {
			delete(c, "id")
			c["parent"] = c["parent"] != nil
			if c["author"] != carol.name {
				set[fmt.Sprint(c["created_at"])] = c
			}
		}
		text, _ := json.Marshal(set)
		return string(text)
	}
	same(t, "the same", everything(to), everything(from))
	same(t, "thread", len(to.visitor().thread("a")), 2)

	for text, reason := range map[string]string{
		"": "this is no export of comments", "[]": "does not begin with {", `{"comments": []}`: `its format is ""`, `{"format": "chatter comments 1"}`: `it has no "comments"`,
		`{"format": "chatter comments 1", "comments": {`: "is no list", `{"format": "chatter comments 1", "comments": [{"id": "x"}]}`: "after 0 comments the file can't be read",
		`{"format": "chatter comments 1", "comments": [{"id": 1`: "can't be read",
	} {
		err := to.importComments(t.Context(), strings.NewReader(text), &bytes.Buffer{})
		same(t, text, err != nil && strings.Contains(err.Error(), reason), true)
	}
	for fields, reason := range map[string]string{
		`"url": null`: "belongs to no page", `"entity_id": 1`: "or to several", `"url": null, "entity_id": 1, "entity_type": "planet"`: `belongs to a "planet"`,
		`"content": " "`: "its text is empty", `"content": "a\u0000"`: "NUL", `"created_at": "0001-01-01T00:00:00Z"`: "when it was written", `"author": "nobody"`: "no account called nobody",
		`"url": "` + strings.Repeat("x", 2001) + `"`: "address is too long", `"parent": 77`: "comment 77, which it answers", `"held_for": "fun"`: `because of "fun"`,
		`"reports": [{"reason": "fun"}]`: `a report's reason is "fun"`,
	} {
		var out bytes.Buffer
		text := fmt.Sprintf(`{"format": "chatter comments 1", "comments": [{"id": 1, "url": "a", "author": "alice", "content": "x", "created_at": "2020-01-01T00:00:00Z", %s}]}`, fields)
		if err := to.importComments(t.Context(), strings.NewReader(text), &out); err != nil || !strings.Contains(out.String(), reason) {
			t.Errorf("%s: %v %s", fields, err, &out)
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	same(t, "usage", from.commentsCommand(t.Context(), []string{"export"}, nil, &bytes.Buffer{}) != nil, true)
}
