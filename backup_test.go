package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// noDump is a machine without pg_dump.
func noDump(int) string { return "" }

// dumps are the ways in which a backup reads the database.
func dumps(t *testing.T) map[string]func(int) string {
	needDatabase(t)
	both := map[string]func(int) string{"without pg_dump": noDump}
	if findDump(testMajor(t)) != "" {
		both["with pg_dump"] = findDump
	} else if os.Getenv("CI") != "" {
		t.Fatal("there is no pg_dump")
	}
	return both
}

// testMajor is the major version of the tests' PostgreSQL.
func testMajor(t *testing.T) (n int) {
	if err := onConn(t.Context(), func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), `select current_setting('server_version_num')::integer / 10000`).Scan(&n)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// filled is a site with something in every corner that a backup could lose.
func filled(t *testing.T, change ...func(c *config)) (st *site, alice *person) {
	st = newSite(t, change...)
	alice = st.member("alice")
	bob := st.member("bob")
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d", id)
	alice.post(path+"/files", form("title", "Code").file("file", "main.py", []byte("print('hello')\n"))).want(http.StatusCreated)
	alice.post(path+"/images", form("caption", "Front").file("image", "front.png", picture(t, "png", 40, 30))).want(http.StatusCreated)
	alice.put(path+"/images/1/primary", nil).want(http.StatusOK)
	alice.post("/profile/picture", form().file("file", "me.png", picture(t, "png", 500, 400))).want(http.StatusOK)
	alice.post(path+"/publish", nil).want(http.StatusOK)
	first := bob.post("/interact/comment", map[string]any{"url": "blog/x.html", "content": "First\n\\.\nCOPY comment FROM stdin;\n\\N 日本 🤖 \"quoted\", it's\ttabbed\\"}).want(http.StatusOK).id()
	alice.post("/interact/comment", map[string]any{"url": "blog/x.html", "content": "Reply", "parent_comment_id": first}).want(http.StatusOK)
	bob.post("/interact/like", map[string]any{"url": "blog/x.html"}).want(http.StatusOK)
	bob.post("/api/likes/entity", map[string]any{"entity_type": "project", "entity_id": id}).want(http.StatusCreated)
	bob.post("/analytics/page-view", map[string]any{"url": "blog/x.html"}).want(http.StatusOK)
	st.exec(`insert into merged_row (table_name, row_id, row_data, reason) values ('x', 1, '{"a": [1, null, "\\"]}', e'back\\slash\r\n')`)
	return st, alice
}

// emptyTarget is where a backup is restored to: nothing is there yet.
func emptyTarget(t *testing.T) (dsn, dir string) { return newDatabase(t, "template0"), t.TempDir() }

// restoreInto runs the command, under the key of the given site.
func restoreInto(t *testing.T, from *site, path, dsn, dir string) (string, error) {
	t.Helper()
	var out strings.Builder
	err := run(t.Context(), []string{"restore", path}, env("DATA_DIR", dir, "DATABASE_URL", dsn, "SECRET_KEY", string(from.cfg.secretKey)), &out, &strings.Builder{})
	return out.String(), err
}

// again is a server on what was restored.
func again(t *testing.T, from *site, dsn, dir string) *site {
	return newSite(t, func(c *config) {
		c.databaseURL, c.uploadDir, c.secretKey = dsn, filepath.Join(dir, "uploads"), from.cfg.secretKey
	})
}

// looseShape is a database's catalogue, whatever casts and parentheses PostgreSQL
// writes: they become others when they are read again.
func looseShape(t *testing.T, dsn string) (lines []string) {
	for _, line := range describe(t, dsn) {
		lines = append(lines, writtenOut.ReplaceAllString(line, ""))
	}
	return lines
}

var writtenOut = regexp.MustCompile(`[()]|::[a-z ]+(\[\])?`)

// untouched fails unless database and storage are as empty as before.
func untouched(t *testing.T, dsn, dir string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := emptyDatabase(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(filepath.Join(dir, "uploads"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Fatalf("%s is there", path)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func (st *site) backupFile(dump func(int) string) string {
	st.t.Helper()
	name, m, err := st.backupTo(st.t.Context(), st.t.TempDir(), 0, dump)
	if err != nil || m.incomplete() != nil {
		st.t.Fatal(err, m.incomplete())
	}
	return name
}

// The drill: people write while the backup is made, everything is destroyed,
// and what they had been told is saved before the backup began is there.
func TestBackupDrill(t *testing.T) {
	t.Parallel()
	for name, dump := range dumps(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, alice := filled(t)
			ctx, stop := context.WithCancel(t.Context())
			var writers sync.WaitGroup
			var acknowledged [3]atomic.Int64
			uploads := sync.Map{} // id → content
			for n, write := range []func(p *person, i int) bool{
				func(p *person, i int) bool {
					return p.post("/interact/comment", map[string]any{"url": "load", "content": fmt.Sprintf("Comment %d", i)}).status == http.StatusOK
				},
				func(p *person, i int) bool {
					return p.post("/analytics/page-view", map[string]any{"url": "load"}).status == http.StatusOK
				},
				func(p *person, i int) bool {
					content := bytes.Repeat([]byte(fmt.Sprintf("line %d\n", i)), 2000)
					a := p.post("/api/projects/1/files", form().file("file", "load.txt", content))
					if a.status == http.StatusCreated {
						uploads.Store(a.id(), content)
						// Files also go while the backup is made.
						if i%3 == 2 {
							uploads.Delete(a.id())
							return p.delete(fmt.Sprintf("/api/projects/1/files/%d", a.id())).status == http.StatusNoContent
						}
					}
					return a.status == http.StatusCreated
				},
			} {
				writers.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						if write(alice, i) {
							acknowledged[n].Add(1)
						}
					}
				})
			}
			wait(t, "some writes", func() bool {
				return acknowledged[0].Load() > 10 && acknowledged[1].Load() > 10 && acknowledged[2].Load() > 10
			})
			var before [3]int64
			for n := range before {
				before[n] = acknowledged[n].Load()
			}
			kept := map[int][]byte{}
			uploads.Range(func(id, content any) bool { kept[id.(int)] = content.([]byte); return true })
			var archive bytes.Buffer
			m, err := st.backup(t.Context(), &archive, dump)
			if err != nil || m.incomplete() != nil {
				t.Fatal(err, m.incomplete())
			}
			during := acknowledged[0].Load() - before[0]
			stop()
			writers.Wait()
			shape := looseShape(t, st.cfg.databaseURL)
			profile, _, _ := strings.Cut(string(alice.get("/profile/alice").body), `"comment_count"`)
			if err := os.RemoveAll(st.uploads); err != nil {
				t.Fatal(err)
			}

			file := filepath.Join(t.TempDir(), "chatter.tar")
			if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			dsn, dir := emptyTarget(t)
			out, err := restoreInto(t, st, file, dsn, dir)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "report", strings.HasPrefix(out, "Restored the backup of ") && !strings.Contains(out, "SECRET_KEY"), true)
			if lines := difference(shape, looseShape(t, dsn)); lines != "" {
				t.Fatalf("the schema is another one:\n%s", lines)
			}
			back := again(t, st, dsn, dir)
			if got := int64(back.count(`select count(*) from comment where url = 'load'`)); got < before[0] || got > acknowledged[0].Load() {
				t.Fatalf("%d comments, %d were acknowledged before and %d in all", got, before[0], acknowledged[0].Load())
			}
			if got := int64(back.count(`select count(*) from pageview where url = 'load'`)); got < before[1] {
				t.Fatalf("%d views, %d were acknowledged before", got, before[1])
			}
			t.Logf("%d comments came while the backup was made", during)
			// Nothing is torn.
			same(t, "comments are counted", back.count(`select count(*) from page_count p where comment_count <> (select count(*) from comment c where c.url = p.url)`), 0)
			same(t, "views are counted", back.count(`select count(*) from page_total p where view_count <> (select count(*) from pageview v where v.url = p.url)`), 0)
			same(t, "every id is below its sequence", back.count(`select count(*) from comment where id > (select last_value from comment_id_seq)`), 0)
			same(t, "triggers that are off", back.count(`select count(*) from pg_trigger where tgenabled <> 'O'`), 0)
			var said strings.Builder
			if err := back.verifyMedia(t.Context(), false, &said); err != nil {
				t.Fatal(err, said.String())
			}
			// People go on as if nothing had happened: the session is the old one.
			old := back.visitor()
			old.client.Jar = alice.client.Jar
			old.get("/profile/alice").want(http.StatusOK).shows(profile)
			same(t, "file", string(old.get("/api/projects/1/files/1/download").want(http.StatusOK).body), "print('hello')\n")
			for id, content := range kept {
				same(t, fmt.Sprint("upload ", id), bytes.Equal(old.get(fmt.Sprintf("/api/projects/1/files/%d/download", id)).want(http.StatusOK).body, content), true)
			}
			old.get("/api/projects/1/images/1/file").want(http.StatusOK)
			old.get("/interact/comments/blog%2Fx.html").shows(`COPY comment FROM stdin;`, `日本 🤖`)
			same(t, "odd text", back.count(`select count(*) from merged_row where reason = e'back\\slash\r\n' and row_data ->> 'a' = '[1, null, "\\"]'`), 1)
			old.post("/interact/comment", map[string]any{"url": "load", "content": "And on"}).want(http.StatusOK)
			back.member("newcomer").post("/interact/like", map[string]any{"url": "load"}).want(http.StatusOK)
		})
	}
}

func TestDamagedBackups(t *testing.T) {
	t.Parallel()
	st, _ := filled(t)
	whole, err := os.ReadFile(st.backupFile(noDump))
	if err != nil {
		t.Fatal(err)
	}
	dsn, dir := emptyTarget(t)
	cfg := st.cfg
	cfg.uploadDir = filepath.Join(dir, "uploads")
	s, err := plainServer(cfg, st.db, quiet)
	if err != nil {
		t.Fatal(err)
	}
	words := []string{"cut off", "damaged", "no backup of Chatter's", "which has no place", "should be"}
	try := func(what string, archive []byte) {
		t.Helper()
		_, err := s.restore(t.Context(), dsn, bytes.NewReader(archive), nil) // as from the standard input
		if err == nil || !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(err.Error(), w) }) {
			t.Fatalf("%s: %v", what, err)
		}
		untouched(t, dsn, dir)
	}
	// Where each entry begins: the ends of a killed backup.
	r := tar.NewReader(bytes.NewReader(whole))
	var last string
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = h.Name
	}
	same(t, "the last entry", last, checksumsEntry)
	for i := range 12 {
		at := len(whole) * i / 12
		try(fmt.Sprint("cut off at ", at), whole[:at])
		at = min(at+700, len(whole)-8<<10) // behind the header of an entry
		bad := bytes.Clone(whole)
		bad[at] ^= 1
		if !insidePadding(whole, at) {
			try(fmt.Sprint("flipped at ", at), bad)
		}
	}
	end := bytes.LastIndex(whole, []byte(checksumsEntry))
	try("without its checksums", append(bytes.Clone(whole[:end-end%512]), make([]byte, 1024)...))
	try("a page from the web", []byte(strings.Repeat("<html>", 1000)))
	try("nothing", nil)

	// From a file, what is wrong is known before anything is written.
	file := filepath.Join(t.TempDir(), "bad.tar")
	if err := os.WriteFile(file, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = restoreInto(t, st, file, dsn, dir)
	same(t, "file", err != nil && err.Error() == "the backup is cut off: its end is missing; nothing was changed", true)
	err = run(t.Context(), []string{"backup", "verify", file}, env("DATABASE_URL", dsn, "DATA_DIR", dir), io.Discard, io.Discard)
	same(t, "verify", err != nil && strings.Contains(err.Error(), "the backup is cut off"), true)
	// And the target is good for the whole one.
	if _, err := s.restore(t.Context(), dsn, bytes.NewReader(whole), nil); err != nil {
		t.Fatal(err)
	}
}

// insidePadding reports whether a byte of a tar belongs to nothing: what fills
// the last block of an entry.
func insidePadding(archive []byte, at int) bool {
	in := &countingReader{r: bytes.NewReader(archive)}
	r := tar.NewReader(in)
	for {
		if _, err := r.Next(); err != nil {
			return false
		}
		begin := in.n
		size, _ := io.Copy(io.Discard, r)
		if at >= begin && at < begin+int(size) {
			return false
		}
		if at >= begin+int(size) && at < begin+(int(size)+511)/512*512 {
			return true
		}
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// repacked is a backup with some entries changed and its checksums made anew.
func repacked(t *testing.T, archive []byte, change func(name string, text []byte) []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	a := &archiveWriter{tar: tar.NewWriter(&out), at: time.Now()}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == checksumsEntry {
			text = bytes.Clone(a.sums.Bytes())
		} else {
			text = change(h.Name, text)
		}
		if _, err := a.add(h.Name, int64(len(text)), bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	a.tar.Close()
	return out.Bytes()
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	st, _ := filled(t)
	file := st.backupFile(noDump)
	_, err := restoreInto(t, st, file, st.cfg.databaseURL, t.TempDir())
	same(t, "a full database", err != nil && strings.Contains(err.Error(), "the database is not empty ("), true)

	dsn, dir := emptyTarget(t)
	stray := filepath.Join(dir, "uploads", fileFolder, "mine.txt")
	if err := errors.Join(os.MkdirAll(filepath.Dir(stray), 0o755), os.WriteFile(stray, []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	_, err = restoreInto(t, st, file, dsn, dir)
	same(t, "a full storage", err != nil && strings.Contains(err.Error(), "the storage is not empty: projects/files/mine.txt is none of the backup's files"), true)
	if err := os.Remove(stray); err != nil {
		t.Fatal(err)
	}
	untouched(t, dsn, dir)

	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"100": "`, `"999": "`, "is of a newer Chatter"},
		{`"100": "`, `"100": "0`, "has migration 100_base in another form"},
		{`"version": 1`, `"version": 2`, "the backup has form 2, and this Chatter reads form 1"},
		{`"chatter backup"`, `"other backup"`, "no backup of Chatter's"},
	} {
		changed := repacked(t, whole, func(name string, text []byte) []byte {
			if name == headEntry {
				return bytes.Replace(text, []byte(c.from), []byte(c.to), 1)
			}
			return text
		})
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = restoreInto(t, st, file, dsn, dir)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.to, err)
		}
		untouched(t, dsn, dir)
	}
	// An archive that some other hand made can't reach out of its folders.
	evil := repacked(t, whole, func(name string, text []byte) []byte { return text })
	evil = bytes.ReplaceAll(evil, []byte("media/projects/files/"), []byte("media/../../../files/"))
	if err := os.WriteFile(file, evil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = restoreInto(t, st, file, dsn, dir)
	same(t, "out of its folder", err != nil, true)
	untouched(t, dsn, dir)
}

func TestRestoreGoesOnAfterAnInterruption(t *testing.T) {
	t.Parallel()
	st, _ := filled(t)
	file := st.backupFile(noDump)
	dsn, dir := emptyTarget(t)
	// What a killed restore leaves: files, and an empty database.
	for _, folder := range storageFolders {
		if err := os.CopyFS(filepath.Join(dir, "uploads", folder), os.DirFS(filepath.Join(st.uploads, folder))); err != nil {
			t.Fatal(err)
		}
	}
	name := st.text(`select filename from project_file`)
	path := filepath.Join(dir, "uploads", fileFolder, name)
	if err := os.WriteFile(path, []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := restoreInto(t, st, file, dsn, dir)
	same(t, "other bytes", err != nil && strings.Contains(err.Error(), "the storage has another file of this name"), true)
	got, err := os.ReadFile(path)
	same(t, "is left alone", err == nil && string(got) == "other", true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := restoreInto(t, st, file, dsn, dir); err != nil {
		t.Fatal(err)
	}
	same(t, "file", string(again(t, st, dsn, dir).member("eve").get("/api/projects/1/files/1/download").want(http.StatusOK).body), "print('hello')\n")
}

// slowReader stops the one who reads it in the middle.
type slowReader struct {
	r    io.Reader
	left int
	stop func()
}

func (s *slowReader) Read(p []byte) (int, error) {
	if s.left <= 0 {
		s.stop()
	}
	n, err := s.r.Read(p[:min(len(p), 4096)])
	s.left -= n
	return n, err
}

func TestRestoreIsGivenUp(t *testing.T) {
	t.Parallel()
	st, _ := filled(t)
	whole, err := os.ReadFile(st.backupFile(noDump))
	if err != nil {
		t.Fatal(err)
	}
	dsn, dir := emptyTarget(t)
	cfg := st.cfg
	cfg.uploadDir = filepath.Join(dir, "uploads")
	s, err := plainServer(cfg, st.db, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for part := 1; part < 5; part++ {
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := func() { cancel(errGivenUp) }
		_, err = s.restore(ctx, dsn, &slowReader{bytes.NewReader(whole), len(whole) * part / 5, stop}, nil)
		same(t, "given up", err, errGivenUp)
		untouched(t, dsn, dir)
	}
}

// errGivenUp stands for a signal.
var errGivenUp = errors.New("interrupt signal received")

// Ctrl-C ends a backup with nothing left of it, and the next one can be made.
func TestBackupIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, dump := range dumps(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, _ := filled(t)
			dir := t.TempDir()
			ctx, cancel := context.WithCancelCause(t.Context())
			_, _, err := st.backupTo(ctx, dir, 0, func(postgres int) string { cancel(errGivenUp); return dump(postgres) })
			same(t, "given up", err, errGivenUp)
			left, err := os.ReadDir(dir)
			same(t, "left", err == nil && len(left) == 0, true)

			file := st.backupFile(dump)
			ctx, cancel = context.WithCancelCause(t.Context())
			cancel(errGivenUp)
			err = verifyBackup(ctx, st.cfg, file, io.Discard, quiet)
			same(t, "not tried", err, errGivenUp)
		})
	}
}

func TestBackupFiles(t *testing.T) {
	t.Parallel()
	st, alice := filled(t)
	dir := t.TempDir()
	settings := env("DATA_DIR", t.TempDir(), "UPLOAD_DIR", st.uploads, "DATABASE_URL", st.cfg.databaseURL, "SECRET_KEY", string(st.cfg.secretKey))
	command := func(args ...string) (string, error) {
		var out, said strings.Builder
		err := run(t.Context(), append([]string{"backup"}, args...), settings, &out, &said)
		return out.String() + said.String(), err
	}
	list := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	others := []string{"chatter-other.example.com-20200101T000000Z.tar", "chatter-localhost-notes.tar", "holiday.jpg"}
	for i, name := range append(others, "chatter-localhost-20200101T000000Z.tar", "chatter-localhost-20200102T000000Z.tar", "chatter-localhost-20200103T000000Z.tar", "chatter-localhost-20200103T000000Z.tar.123.part") {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte{byte(i)}, 0o600), os.Chtimes(path, time.Time{}, time.Now().Add(-48*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	out, err := command("--keep", "2", dir)
	same(t, "backup", err == nil && strings.Contains(out, " files with ") && strings.Contains(out, filepath.Join(dir, "chatter-localhost-2")), true)
	names := list()
	same(t, "kept", len(names), len(others)+2)
	for _, name := range append(others, "chatter-localhost-20200103T000000Z.tar") {
		same(t, name, slices.Contains(names, name), true)
	}
	file := filepath.Join(dir, "chatter.tar")
	if _, err := command(file); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	same(t, "mode", err == nil && info.Mode().Perm() == 0o600, true)

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--keep", "0", dir}, "--keep takes a number from 1"},
		{[]string{"--keep", "2", file}, "--keep needs a folder"},
		{[]string{"--keep", "2", "-"}, "usage:"},
		{nil, "usage:"},
		{[]string{filepath.Join(dir, "no", "x.tar")}, "no such file or directory"},
		{[]string{"verify", filepath.Join(dir, "none.tar")}, "no such file or directory"},
	} {
		_, err := command(c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.args, err)
		}
	}

	// A full disk.
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	_, err = st.backup(t.Context(), full, noDump)
	same(t, "full", err != nil && strings.Contains(err.Error(), "no space left on device"), true)

	// Files that are gone or not what they were are told, by the exit status too,
	// and such a backup takes the place of no other.
	name := st.text(`select filename from project_file`)
	if err := os.WriteFile(filepath.Join(st.uploads, fileFolder, name), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	picture := st.text(`select profile_picture from "user" where username = 'alice'`)
	if err := os.Remove(filepath.Join(st.uploads, pictureFolder, picture)); err != nil {
		t.Fatal(err)
	}
	_, err = command("--keep", "1", dir)
	same(t, "incomplete", err != nil && strings.Contains(err.Error(), "1 files are missing in the storage and 1 are damaged") &&
		strings.Contains(err.Error(), "profile_pictures/"+picture+", projects/files/"+name), true)
	same(t, "nothing pruned", slices.Contains(list(), "chatter-localhost-20200103T000000Z.tar"), true)
	latest := ""
	for _, name := range list() {
		if strings.HasPrefix(name, "chatter-localhost-2") && name > latest {
			latest = name
		}
	}
	dsn, there := emptyTarget(t)
	_, err = restoreInto(t, st, filepath.Join(dir, latest), dsn, there)
	same(t, "restored all the same", err != nil && strings.Contains(err.Error(), "what the backup had is restored; these files it did not have"), true)
	again(t, st, dsn, there).visitor().get("/profile/alice").want(http.StatusOK)
	alice.get("/api/me").want(http.StatusOK)
}

func TestBackupVerify(t *testing.T) {
	t.Parallel()
	for name, dump := range dumps(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, _ := filled(t)
			file := st.backupFile(dump)
			verify := func(dsn string) (string, error) {
				var out strings.Builder
				err := run(t.Context(), []string{"backup", "verify", file}, env("DATABASE_URL", dsn, "DATA_DIR", t.TempDir()), &out, io.Discard)
				return out.String(), err
			}
			out, err := verify(st.cfg.databaseURL)
			same(t, "good", err == nil && strings.HasPrefix(out, "The backup of ") && strings.Contains(out, " is good: "), true)
			same(t, "databases left", st.count(`select count(*) from pg_database where datname ~ $1`, "^chatter_verify_"+shortHash(st.text(`select current_database()`))), 0)

			// Rows that are others than the manifest says.
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for what, change := range map[string][2]string{"count": {`"rows": 2`, `"rows": 3`}, "sum": {`"sum": "`, `"sum": "0`}} {
				changed := repacked(t, whole, func(name string, text []byte) []byte {
					if name == manifestEntry {
						return bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
					}
					return text
				})
				if err := os.WriteFile(file, changed, 0o600); err != nil {
					t.Fatal(err)
				}
				_, err = verify(st.cfg.databaseURL)
				same(t, what, err != nil && strings.Contains(err.Error(), "rows"), true)
			}
			if err := os.WriteFile(file, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			// Somebody who may not make databases.
			role := fmt.Sprintf("weak_%s", shortHash(file))
			st.exec(fmt.Sprintf(`create role %s login nosuperuser nocreatedb`, role))
			t.Cleanup(func() {
				if err := onServer(context.Background(), `drop role `+role); err != nil {
					t.Error(err)
				}
			})
			out, err = verify(strings.Replace(st.cfg.databaseURL, "user=postgres", "user="+role, 1))
			same(t, "in a PostgreSQL of its own", err == nil && strings.Contains(out, " is good: "), true)
		})
	}
}

// A backup can be read without Chatter.
func TestBackupByStandardTools(t *testing.T) {
	t.Parallel()
	for name, dump := range dumps(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, program := range []string{"tar", "gunzip", "sha256sum", "psql"} {
				needProgram(t, program)
			}
			st, _ := filled(t)
			dsn, dir := emptyTarget(t)
			script := `set -e; cd "$1"; tar -xf "$2"; sha256sum --quiet -c SHA256SUMS; cat database/*.sql.gz | gunzip | psql -q -1 -v ON_ERROR_STOP=1 "$3" >/dev/null`
			out, err := exec.Command("bash", "-o", "pipefail", "-c", script, "x", dir, st.backupFile(dump), dsn).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if err := os.Rename(filepath.Join(dir, "media"), filepath.Join(dir, "uploads")); err != nil {
				t.Fatal(err)
			}
			p := again(t, st, dsn, dir).member("eve")
			p.get("/interact/comments/blog%2Fx.html").shows("Reply")
			same(t, "file", string(p.get("/api/projects/1/files/1/download").want(http.StatusOK).body), "print('hello')\n")
		})
	}
}

// Older databases have been taken over, and may have tables and columns of
// their own.
func TestBackupOfATakenOverDatabase(t *testing.T) {
	t.Parallel()
	for name, dump := range dumps(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := legacyDatabase(t, join(upTo(0, 16, ""), []string{"rows_000.sql", "rows_007.sql", "rows_012.sql", "rows_015.sql", "rows_016.sql"}))
			db, err := pgx.Connect(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close(context.Background())
			early := newSiteless(t, dsn)
			if _, err := early.backup(t.Context(), io.Discard, dump); err == nil || !strings.Contains(err.Error(), "chatter migrate") {
				t.Fatal(err)
			}
			migrateAll(t, dsn)
			if _, err := db.Exec(t.Context(), `create table "My Table" (a integer, "B c" text, d timestamptz); insert into "My Table" values (1, 'x', now());
				alter table component add shelf text; insert into component (name, shelf) values ('Servo', 'A1')`); err != nil {
				t.Fatal(err)
			}
			var archive bytes.Buffer
			if _, err := early.backup(t.Context(), &archive, dump); err != nil {
				t.Fatal(err)
			}
			to, dir := emptyTarget(t)
			cfg := early.cfg
			cfg.uploadDir = filepath.Join(dir, "uploads")
			s, err := plainServer(cfg, early.db, quiet)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.restore(t.Context(), to, &archive, nil); err != nil {
				t.Fatal(err)
			}
			if lines := difference(looseShape(t, dsn), looseShape(t, to)); lines != "" {
				t.Fatal(lines)
			}
			back, err := pgx.Connect(t.Context(), to)
			if err != nil {
				t.Fatal(err)
			}
			defer back.Close(context.Background())
			var n int
			if err := back.QueryRow(t.Context(), `select count(*) from "My Table", component where "B c" = 'x' and shelf = 'A1'`).Scan(&n); err != nil || n != 1 {
				t.Fatal(n, err)
			}
		})
	}
}

// newSiteless is a server for commands on a database of the test's.
func newSiteless(t *testing.T, dsn string) *server {
	t.Helper()
	cfg, err := loadConfig(env("DATA_DIR", t.TempDir(), "DATABASE_URL", dsn))
	if err != nil {
		t.Fatal(err)
	}
	db, err := openDatabase(t.Context(), dsn, time.Minute, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, err := plainServer(cfg, db, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A backup of an older Chatter is brought forward; one can still be made before
// a newer one migrates.
func TestBackupOfAnOlderSchema(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t, "template_chatter")
	if err := migrateCommand(t.Context(), dsn, []string{"down", "1"}, io.Discard, quiet); err != nil {
		t.Fatal(err)
	}
	older := describe(t, dsn)
	var archive bytes.Buffer
	if _, err := newSiteless(t, dsn).backup(t.Context(), &archive, noDump); err != nil {
		t.Fatal(err)
	}
	same(t, "not migrated", difference(older, describe(t, dsn)), "")
	file := filepath.Join(t.TempDir(), "older.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	to, dir := emptyTarget(t)
	var out strings.Builder
	if err := run(t.Context(), []string{"restore", file}, env("DATA_DIR", dir, "DATABASE_URL", to), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	same(t, "another key is told", strings.Contains(out.String(), "SECRET_KEY is not the one of the backup"), true)
	migrateAll(t, dsn)
	same(t, "brought forward", difference(describe(t, dsn), describe(t, to)), "")
}

// pausing is a writer that stops the backup before the files, until go on.
type pausing struct {
	bytes.Buffer
	reached, goOn chan struct{}
	once          sync.Once
}

func (p *pausing) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte(mediaFolder)) {
		p.once.Do(func() { close(p.reached); <-p.goOn })
	}
	return p.Buffer.Write(b)
}

func TestFilesStayWhileABackupIsMade(t *testing.T) {
	t.Parallel()
	st, alice := filled(t)
	name := st.text(`select filename from project_file`)
	out := &pausing{reached: make(chan struct{}), goOn: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		m, err := st.backup(context.Background(), out, noDump)
		done <- errors.Join(err, m.incomplete())
	}()
	<-out.reached
	_, err := st.backup(t.Context(), io.Discard, noDump)
	same(t, "two at once", err != nil && strings.HasPrefix(err.Error(), "another backup of this database is being made"), true)
	alice.delete("/api/projects/1/files/1").want(http.StatusNoContent)
	_, err = os.Stat(filepath.Join(st.uploads, fileFolder, name))
	same(t, "still there", err, error(nil))
	close(out.goOn)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	files, err := checkArchive(bytes.NewReader(out.Bytes()))
	same(t, "in the backup", err == nil && files[fileFolder+"/"+name], true)
	if err := st.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = os.Stat(filepath.Join(st.uploads, fileFolder, name))
	same(t, "removed after it", errors.Is(err, os.ErrNotExist), true)
}

func TestBackupOfANAS(t *testing.T) {
	t.Parallel()
	old := newSamba(t)
	st, _ := filled(t, withNAS(old))
	file := st.backupFile(noDump)
	dsn, dir := emptyTarget(t)
	fresh := newSamba(t)
	settings := []string{"DATA_DIR", dir, "DATABASE_URL", dsn, "SECRET_KEY", string(st.cfg.secretKey),
		"NAS_HOST", fresh.config().host, "NAS_SHARE_NAME", fresh.config().share, "NAS_USERNAME", sambaUser, "NAS_PASSWORD", sambaPassword}
	if err := run(t.Context(), []string{"restore", file}, env(settings...), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	name := st.text(`select filename from project_file`)
	content, err := os.ReadFile(filepath.Join(fresh.dir, "share", fileFolder, name))
	same(t, "on the NAS", err == nil && string(content) == "print('hello')\n", true)
	// A NAS that is away has no missing files: there is no backup.
	old.stop()
	_, err = st.backup(t.Context(), io.Discard, noDump)
	same(t, "away", err != nil && !strings.Contains(err.Error(), "missing"), true)
}

func TestDailyBackup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, _ := filled(t, func(c *config) { c.backupDir, c.backupKeep = dir, 2 })
	admin := st.admin("root")
	var health struct {
		LastBackup *time.Time `json:"last_backup"`
		Problems   []string
	}
	late := func() bool {
		return slices.Contains(health.Problems, "No backup was made in the last day and a half; the log says why")
	}
	admin.get("/health").want(http.StatusOK).into(&health)
	same(t, "none yet", health.LastBackup == nil && !late(), true)
	jobs := st.jobs()
	daily := jobs[slices.IndexFunc(jobs, func(j job) bool { return j.name == "backup" })]
	// Several servers on one database.
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := st.runWhenDue(context.Background(), daily); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	made, err := filepath.Glob(filepath.Join(dir, "chatter-localhost-*.tar"))
	same(t, "made once", err == nil && len(made) == 1, true)
	admin.get("/health").want(http.StatusOK).into(&health)
	same(t, "told", health.LastBackup != nil && !late(), true)
	for range 3 {
		st.clock.Add(int64(25 * time.Hour))
		if err := st.runWhenDue(t.Context(), daily); err != nil {
			t.Fatal(err)
		}
	}
	made, _ = filepath.Glob(filepath.Join(dir, "*"))
	same(t, "kept", len(made), 2)
	if f, err := os.Open(made[1]); err != nil {
		t.Fatal(err)
	} else if _, err := checkArchive(f); err != nil {
		t.Fatal(err)
	}
	st.clock.Add(int64(48 * time.Hour))
	admin.signIn()
	admin.get("/health").want(http.StatusOK).into(&health)
	same(t, "late", late(), true)
}

// The sum of rows does not depend on their order and on nothing else.
func TestTally(t *testing.T) {
	t.Parallel()
	sum := func(script string, step int) string {
		var sums tally
		for text := []byte(script); len(text) > 0; text = text[min(step, len(text)):] {
			_, _ = sums.Write(text[:min(step, len(text))])
		}
		out, _ := json.Marshal(sums.tables)
		return string(out)
	}
	script := "select 1;\nCOPY a (b, c) FROM stdin;\n1\tx\n2\ty\\\\.\n\\.\nCOPY d (e) FROM stdin;\n\\.\n"
	one := sha256.Sum256([]byte("1\tx"))
	same(t, "a row", strings.Contains(sum("COPY a (b, c) FROM stdin;\n1\tx\n\\.\n", 3), hex.EncodeToString(one[:])), true)
	for step := 1; step < 40; step++ {
		same(t, "in pieces", sum(script, step), sum(script, 1000))
	}
	same(t, "other order", sum("COPY a (b, c) FROM stdin;\n2\ty\\\\.\n1\tx\n\\.\nCOPY d (e) FROM stdin;\n\\.\n", 7), sum(script, 7))
	same(t, "other rows", sum(strings.Replace(script, "1\tx", "1\tz", 1), 7) == sum(script, 7), false)
	same(t, "tables", strings.Contains(sum(script, 7), `"copy":"d (e)","rows":0`), true)
}

func TestPasswordStaysOffTheCommandLine(t *testing.T) {
	t.Parallel()
	c, err := pgx.ParseConfig("postgres://u:p%40ss@db.example.com:5433/chatter?sslmode=require&pool_max_conns=5")
	if err != nil {
		t.Fatal(err)
	}
	got := dumpEnvironment(c)
	for _, want := range []string{"PGHOST=db.example.com", "PGPORT=5433", "PGUSER=u", "PGPASSWORD=p@ss", "PGDATABASE=chatter", "PGSSLMODE=require"} {
		same(t, want, slices.Contains(got, want), true)
	}
	same(t, "database of a URL", onDatabase("postgres://u:p@h/chatter?sslmode=off", "x"), "postgres://u:p@h/x?sslmode=off")
	same(t, "database of words", onDatabase("host=/tmp dbname=a", "x"), "host=/tmp dbname=a dbname=x")
}
