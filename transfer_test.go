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

// command runs `chatter comments …` and returns what it prints.
func (st *site) comments(args ...string) string {
	st.t.Helper()
	var out bytes.Buffer
	if err := st.commentsCommand(st.t.Context(), args, &out); err != nil {
		st.t.Fatalf("comments %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

// everyComment is all that a file carries, without ids.
const everyComment = `
	select coalesce(string_agg(concat_ws('|', c.url, p.title, u.username, c.content, c.created_at, c.edited_at, c.is_hidden, c.is_removed, c.removed_at, c.reviewed_at, r.username,
		c.like_count, c.reply_count, parent.content,
		(select string_agg(concat_ws('/', content, edited_at), '+' order by v.id) from commentversion v where v.comment_id = c.id),
		(select string_agg(concat_ws('/', username, l.created_at), '+' order by l.id) from commentlike l join "user" f on f.id = l.user_id where l.comment_id = c.id)), e'\n' order by c.created_at, c.content), '')
	from comment c join "user" u on u.id = c.user_id left join "user" r on r.id = c.reviewed_by left join comment parent on parent.id = c.parent_comment_id
	left join project p on p.id = c.entity_id`

func (st *site) text(sql string) (text string) {
	st.t.Helper()
	if err := st.db.QueryRow(st.t.Context(), sql).Scan(&text); err != nil {
		st.t.Fatal(err)
	}
	return text
}

// talkative fills a site with comments of every kind, and exports them.
func talkative(t *testing.T) (from *site, file string) {
	t.Helper()
	from = newSite(t)
	alice, bob, root := from.member("alice"), from.member("bob"), from.admin("root")
	first := alice.comment("blog/a.html", "First, with \"quotes\" & <, ä 😀\nand a line", 0)
	alice.put(fmt.Sprintf("/interact/comments/%d", first), map[string]any{"content": "First, second try"}).want(http.StatusOK)
	alice.put(fmt.Sprintf("/interact/comments/%d", first), map[string]any{"content": "First, third try"}).want(http.StatusOK)
	reply := bob.comment("blog/a.html", "A reply", first)
	removed := alice.comment("blog/a.html", "A deeper reply", reply)
	bob.comment("blog/a.html", "The deepest", removed)
	alice.delete(fmt.Sprintf("/interact/comments/%d", removed)).want(http.StatusOK)
	for _, p := range []*person{bob, root} {
		p.post(fmt.Sprintf("/interact/comments/%d/like", first), nil).want(http.StatusOK)
	}
	from.exec(`update comment set is_hidden = true, reviewed_at = '2026-01-02 03:04:05.678901', reviewed_by = $2 where id = $1`, bob.comment("b", "Bad", 0), from.idOf("root"))
	for _, title := range []string{"Robot", "Robot"} {
		id := alice.draft(title)
		alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
		bob.post("/interact/entity/comment", map[string]any{"entity_type": "project", "entity_id": id, "content": fmt.Sprint("On ", title, id)}).want(http.StatusOK)
	}
	// Two within one moment, as other programs note it.
	from.exec(`insert into comment (url, user_id, content, created_at) select 'twice', id, 'Same ' || n, '2025-01-01 12:00' from "user", generate_series(1, 2) n where username = 'bob'`)
	file = filepath.Join(t.TempDir(), "comments.jsonl")
	same(t, "export", from.comments("export", file), "9 comments are in "+file+", with the e-mail addresses of their authors: keep it where only you can read it.\n")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "mode", info.Mode().Perm(), 0o600)
	return from, file
}

func TestCommentsComeBack(t *testing.T) {
	t.Parallel()
	st, file := talkative(t)
	before, ids := st.text(everyComment), st.text(`select string_agg(id::text, ',' order by id) from comment`)

	same(t, "again", st.comments("import", file), "0 comments added, 9 there already, 0 skipped; 0 accounts made; 0 likes of people without an account left out\n")
	same(t, "comments", st.text(everyComment), before)

	// Some are lost, one with all its replies.
	st.exec(`delete from comment where content in ('First, third try', 'Same 2')`)
	same(t, "restored", st.comments("import", file), "5 comments added, 4 there already, 0 skipped; 0 accounts made; 0 likes of people without an account left out\n")
	same(t, "comments", st.text(everyComment), before)
	same(t, "ids", st.text(`select string_agg(id::text, ',' order by id) from comment`), ids)
	same(t, "drafts", st.count(`select count(*) from project where comment_count <> (select count(*) from comment c where c.entity_id = project.id)`), 0)

	// The next one gets a number of its own.
	alice := st.visitor()
	alice.name = "alice"
	alice.signIn()
	alice.comment("blog/a.html", "After all", 0)
}

// On another server people, projects and numbers are others.
func TestCommentsMove(t *testing.T) {
	t.Parallel()
	from, file := talkative(t)
	to := newSite(t)
	carol := to.member("carol")
	carol.comment("blog/a.html", "Was here before", 0)
	to.exec(`insert into "user" (username, email, hashed_password) values ('Bob', 'another@example.com', '')`)
	to.exec(`insert into page_alias (old_url, new_url) values ('b', 'moved/b.html')`)

	out := to.comments("import", file)
	for _, want := range []string{
		"skipped line 2, comment 1 by alice on blog/a.html: there is no account alice\n",
		"skipped line 3, comment 2 by bob on blog/a.html: the account bob here has another e-mail address\n",
		`by bob on Robot: there is no project "Robot" of alice` + "\n",
		"0 comments added, 0 there already, 9 skipped; 0 accounts made; 0 likes",
	} {
		if !strings.Contains(out, want) {
			t.Fatalf("the import does not say %q:\n%s", want, out)
		}
	}
	same(t, "comments", to.count(`select count(*) from comment`), 1)

	// Alice gets an account, and Bob turns out to be Bob. Of her two projects
	// named Robot one is here, made anew.
	to.exec(`update "user" set email = 'BOB@example.com' where username = 'Bob'`)
	to.exec(`insert into "user" (username, email, hashed_password) values ('owner', 'owner@example.com', '')`)
	out = to.comments("import", "--create-authors", file)
	if !strings.HasSuffix(out, "7 comments added, 0 there already, 2 skipped; 1 accounts made; 1 likes of people without an account left out\n") {
		t.Fatal(out)
	}
	same(t, "alice", to.text(`select concat_ws(' ', username, email, status, email_verified, created_at) from "user" where username = 'alice'`),
		from.text(`select concat_ws(' ', username, email, 'inactive', false, created_at) from "user" where username = 'alice'`))
	same(t, "her history", to.text(`select action || ' ' || ip_address from accountlog l join "user" u on u.id = l.user_id where username = 'alice'`), "created console")
	to.visitor().post("/api/login", map[string]any{"username": "alice", "password": "x"}).want(http.StatusUnauthorized)
	same(t, "under its new address", to.count(`select count(*) from comment where url = 'moved/b.html' and is_hidden and reviewed_by is null and reviewed_at = '2026-01-02 03:04:05.678901'`), 1)

	to.exec(`insert into project (title, description, author_id, status) select 'Robot', n, id, 'published' from "user", unnest('{one,two}'::text[]) n where username = 'alice'`)
	if out = to.comments("import", file); !strings.HasSuffix(out, "0 comments added, 7 there already, 2 skipped; 0 accounts made; 0 likes of people without an account left out\n") {
		t.Fatalf("of two projects with one title it chose one: %s", out)
	}
	to.exec(`delete from project where description = 'two'`)
	out = to.comments("import", file)
	if !strings.HasSuffix(out, "2 comments added, 7 there already, 0 skipped; 0 accounts made; 0 likes of people without an account left out\n") {
		t.Fatal(out)
	}
	same(t, "on the project", to.count(`select comment_count from project`), 2)
	same(t, "likes", to.count(`select like_count from comment where content = 'First, third try'`), 1)

	// Carol sees the thread as it was.
	var thread []struct {
		Content string
		Replies []struct {
			Content string
			Replies []struct {
				Content string
				Replies []struct{ Content string }
			}
		}
	}
	carol.get("/interact/comments/blog/a.html").want(http.StatusOK).into(&thread)
	same(t, "thread", fmt.Sprint(thread), "[{Was here before []} {First, third try [{A reply [{[removed] [{The deepest}]}]}]}]")
}

func TestRepliesOfSkippedComments(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	alice := `{"username": "alice", "email": "alice@example.com"}`
	file := filepath.Join(t.TempDir(), "c.jsonl")
	line := func(id int, url, author string, parent any, minute int) string {
		p, _ := json.Marshal(parent)
		return fmt.Sprintf(`{"id": %d, "url": %q, "author": %s, "parent_comment_id": %s, "content": "C%d", "created_at": "2025-01-01T13:%02d:00+01:00"}`+"\n", id, url, author, p, id, minute)
	}
	text := `{"format": "chatter comments", "version": 1}` + "\n\n" +
		line(1, "/a", alice, nil, 1) + line(2, "a", `{"username": "nobody", "email": "n@example.com"}`, 1, 2) + line(3, "a", alice, 2, 3) + line(4, "a", alice, 3, 4) +
		line(5, "a", alice, 99, 5) + line(6, "b", alice, 1, 6) + line(7, "a", alice, 8, 7) + line(8, "a", alice, 1, 8) + line(9, "", "null", nil, 9)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	same(t, "report", st.comments("import", file), strings.Join([]string{
		"skipped line 4, comment 2 by nobody on a: there is no account nobody",
		"skipped line 5, comment 3 by alice on a: the comment that it answers is skipped",
		"skipped line 6, comment 4 by alice on a: the comment that it answers is skipped",
		"skipped line 7, comment 5 by alice on a: the comment that it answers is not in the file",
		"skipped line 8, comment 6 by alice on b: the comment that it answers is on another page",
		"skipped line 9, comment 7 by alice on a: it is older than the comment that it answers",
		"skipped line 11, comment 9 by nobody on index.html: it has no author",
		"2 comments added, 0 there already, 7 skipped; 0 accounts made; 0 likes of people without an account left out\n"}, "\n"))
	same(t, "in UTC", st.count(`select count(*) from comment where created_at = '2025-01-01 12:08' and url = 'a'`), 1)
}

// A file that is not in order changes nothing, and says what is wrong with it.
func TestFaultyCommentFiles(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.member("alice")
	head := `{"format": "chatter comments", "version": 1}` + "\n"
	good := `{"id": 1, "url": "a", "author": {"username": "alice", "email": "alice@example.com"}, "content": "Good", "created_at": "2025-01-01T12:00:00Z", "versions": null}` + "\n"
	with := func(old, replacement string) string {
		return head + good + strings.Replace(strings.Replace(good, `"id": 1`, `"id": 2`, 1), old, replacement, 1)
	}
	file := filepath.Join(t.TempDir(), "c.jsonl")
	for text, want := range map[string]string{
		"":                                   "no file of exported comments",
		"{}\n" + good:                        "no file of exported comments",
		good:                                 `line 1: unknown field "id"`,
		strings.Replace(head, "1}", "2}", 1): "version 2",
		strings.Replace(head, "}", `, "comments": 2}`, 1) + good: "says that it has 2 comments, and has 1",
		head + good + good:                             "the same id",
		with("}\n", "\n"):                              "line 3: ",
		with("}\n", "} {}\n"):                          "line 3: there is more than one value",
		with(`"content"`, `"text"`):                    `line 3: unknown field "text"`,
		with("Good", ""):                               "line 3: the content is empty",
		with("Good", `\u0000`):                         "line 3: a text holds a NUL",
		with("Good", "\xff"):                           "line 3: the text is not valid UTF-8",
		with(`"alice"`, `"al\u0000ice"`):               "line 3: a text holds a NUL",
		with(`"alice"`, `""`):                          "line 3: somebody has no username",
		with(`"url": "a", `, ""):                       "line 3: a comment must have a url or a project",
		with(`"a"`, `"`+strings.Repeat("x", 2001)+`"`): "line 3: the url must have at most 2000 characters",
		with(`: 2`, `: 0`):                             "line 3: the id must be",
		with(`: 2`, `: 3000000000`):                    "line 3: the id must be",
		with("2025-01-01T12:00:00Z", "today"):          "line 3: ",
		with(`"created_at"`, `"edited_at"`):            "line 3: created_at must be",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := st.commentsCommand(t.Context(), []string{"import", file}, t.Output())
		if err == nil || !strings.HasPrefix(err.Error(), "nothing was imported: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want %q, of:\n%s", err, want, truncate(text, 300))
		}
	}
	same(t, "comments", st.count(`select count(*) from comment`), 0)
	if err := st.commentsCommand(t.Context(), []string{"export"}, t.Output()); err == nil || !strings.HasPrefix(err.Error(), "usage:") {
		t.Errorf("the error is %v", err)
	}
}

// What is left of a deleted account's comment holds its replies at the other
// end too, and what waits for a moderator goes on waiting.
func TestImportOfWhatIsLeftAndWhatWaits(t *testing.T) {
	t.Parallel()
	from := newSite(t, func(c *config) { c.commentLinks = "review" })
	alice, bob := from.member("alice"), from.member("bob")
	first := alice.comment("a", "Soon gone", 0)
	bob.comment("a", "An answer", first)
	bob.comment("a", "See https://example.com/x", 0)
	alice.delete("/api/me").want(http.StatusOK)
	file := filepath.Join(t.TempDir(), "c.jsonl")
	from.comments("export", file)

	to := newSite(t)
	to.member("bob")
	for _, want := range []string{"3 comments added, 0 there already, 0 skipped", "0 comments added, 3 there already, 0 skipped"} {
		if out := to.comments("import", file); !strings.Contains(out, want) {
			t.Fatalf("%s: %s", want, out)
		}
	}
	const state = `select string_agg(concat_ws(' ', coalesce(u.username, '-'), content, is_hidden, is_removed, held_for, reply_count), '; ' order by c.id)
		from comment c left join "user" u on u.id = c.user_id`
	same(t, "comments", to.text(state), from.text(state))
	same(t, "left", to.text(state), "-  f t 1; bob An answer f f 0; bob See https://example.com/x t f link 0")
}
