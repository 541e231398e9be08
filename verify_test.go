package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// shows checks that an output holds every one of the lines.
func printed(t testing.TB, out string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(out, line) {
			t.Fatalf("%q is not in:\n%s", line, out)
		}
	}
}

func TestNASCommands(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	settings := func(pairs ...string) func(string) string {
		return env(append(pairs, "DATA_DIR", t.TempDir(), "UPLOAD_DIR", st.uploads, "DATABASE_URL", st.cfg.databaseURL, "NAS_HOST", "127.0.0.1:"+smb.port,
			"NAS_SHARE_NAME", "chatter", "NAS_USERNAME", sambaUser, "NAS_PASSWORD", sambaPassword)...)
	}
	command := func(get func(string) string, args ...string) (string, error) {
		var out bytes.Buffer
		err := run(t.Context(), args, get, &out, &bytes.Buffer{})
		return out.String(), err
	}
	out, err := command(settings(), "nas", "test")
	must(t, err)
	printed(t, out, "share chatter on 127.0.0.1:"+smb.port+" as nobody", "connect ", "write ", "MB/s", "read ", "rename ", "delete ", " free")
	same(t, "nothing is left", len(smb.files()), 0)
	for problem, get := range map[string]func(string) string{
		"does not accept the user nobody": settings("NAS_PASSWORD", "wrong"),
		"has no share called nowhere":     settings("NAS_SHARE_NAME", "nowhere"),
		"may not do this on the share":    settings("NAS_SHARE_NAME", "readonly"),
		"refuses connections on port 1":   settings("NAS_HOST", "127.0.0.1:1"),
		"no NAS is set":                   env("DATA_DIR", t.TempDir()),
	} {
		_, err := command(get, "nas", "test")
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%v, want %q", err, problem)
		}
	}

	alice := st.member("alice")
	files := fmt.Sprintf("/api/projects/%d/files", alice.draft("Robot"))
	alice.post(files, form().file("file", "a.py", []byte("print(1)"))).want(http.StatusCreated)
	must(t, os.WriteFile(filepath.Join(st.uploads, fileFolder, "b.py"), []byte("print(2)"), 0o644))
	out, err = command(settings(), "nas", "sync")
	must(t, err)
	printed(t, out, "1 files are in UPLOAD_DIR only, 1 on the NAS only, 0 in both", "1 files are on the NAS and no longer in UPLOAD_DIR")
	same(t, "on the NAS", len(smb.files()), 2)
	same(t, "in UPLOAD_DIR", st.stored(), 0)
	out, err = command(settings(), "nas", "sync", "--back")
	must(t, err)
	printed(t, out, "0 files are in UPLOAD_DIR only, 2 on the NAS only, 0 in both", "2 files are in UPLOAD_DIR too")
	same(t, "in UPLOAD_DIR", st.stored(), 2)
	same(t, "on the NAS", len(smb.files()), 2)
	must(t, os.WriteFile(filepath.Join(st.uploads, fileFolder, "b.py"), []byte("changed"), 0o644))
	for _, args := range [][]string{{"nas", "sync", "--back"}, {"nas", "sync"}} {
		_, err = command(settings(), args...)
		same(t, "different", err != nil && strings.Contains(err.Error(), "b.py has other bytes on the NAS"), true)
	}
	same(t, "only that one stays", st.stored(), 1)
	smb.stop()
	_, err = command(settings(), "nas", "sync")
	same(t, "away", err != nil && strings.Contains(err.Error(), "refuses connections"), true)
	_, err = command(settings(), "media", "verify")
	same(t, "away", err != nil && strings.Contains(err.Error(), "refuses connections"), true)
}

func TestVerifyMedia(t *testing.T) {
	t.Parallel()
	st, smb := onNAS(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	files := fmt.Sprintf("/api/projects/%d/files", id)
	upload := func(name string) string {
		t.Helper()
		return alice.post(files, form().file("file", name, []byte("print('"+name+"')"))).want(http.StatusCreated).fields()["filename"].(string)
	}
	good, twice, bad, missing, unknown := upload("good.py"), upload("twice.py"), upload("bad.py"), upload("missing.py"), upload("unknown.py")
	var image imageShape
	alice.post(fmt.Sprintf("/api/projects/%d/images", id), form().file("image", "a.jpg", jpegOf(t, photo(700, 1400, 1)))).want(http.StatusCreated).into(&image)
	verify := func(repair bool) (string, error) {
		var out strings.Builder
		err := st.verifyMedia(t.Context(), repair, &out)
		return out.String(), err
	}
	out, err := verify(false)
	must(t, err)
	printed(t, out, "8 files checked, 8 without fault, 0 repaired, 0 not")

	must(t, os.WriteFile(filepath.Join(st.uploads, fileFolder, twice), []byte("print('twice.py')"), 0o644))
	must(t, os.WriteFile(smb.path(fileFolder, twice), []byte("rotten"), 0o644))
	must(t, os.WriteFile(smb.path(fileFolder, bad), []byte("rotten"), 0o644))
	must(t, os.Remove(smb.path(fileFolder, missing)))
	st.exec(`update media_file set sha256 = null where name = $1`, unknown)
	must(t, os.Remove(smb.path(imageFolder, filepath.Base(image.Sizes[0].URL))))
	must(t, os.WriteFile(smb.path(imageFolder, filepath.Base(image.Sizes[1].URL)), []byte("rotten"), 0o644))
	must(t, os.WriteFile(smb.path(imageFolder, "stray.png"), []byte("stray"), 0o644))
	must(t, os.WriteFile(filepath.Join(st.uploads, pictureFolder, "stray.png"), []byte("stray"), 0o644))

	out, err = verify(false)
	same(t, "faults", err != nil && strings.Contains(err.Error(), "chatter media verify --repair mends those that can be"), true)
	printed(t, out, "wrong bytes: projects/files/"+twice, "wrong bytes: projects/files/"+bad, "missing: projects/files/"+missing, "no checksum noted: projects/files/"+unknown,
		"missing: projects/images/", "wrong bytes: projects/images/", "named by nothing: the NAS, projects/images/stray.png", "named by nothing: UPLOAD_DIR/profile_pictures/stray.png", "8 files checked, 2 without fault, 0 repaired, 8 not")
	same(t, "nothing was touched", len(smb.files()), 7)

	out, err = verify(true)
	same(t, "two can't be mended", err != nil && strings.Contains(err.Error(), "2 faults can't be mended"), true)
	printed(t, out, "wrong bytes, repaired: projects/files/"+twice, "wrong bytes: projects/files/"+bad, "missing: projects/files/"+missing)
	_, err = os.Stat(filepath.Join(st.uploads, "lost+found", pictureFolder, "stray.png"))
	must(t, err)
	_, err = os.Stat(filepath.Join(smb.dir, "share", "lost+found", imageFolder, "stray.png"))
	must(t, err)
	st.catchUp(t.Context())
	out, err = verify(true)
	same(t, "the same two", err != nil && strings.Contains(out, "8 files checked, 6 without fault, 0 repaired, 2 not"), true)
	for _, z := range image.Sizes {
		upright(t, "made anew", alice.get(local(z.URL)).want(http.StatusOK).body)
	}
	for _, name := range []string{good, twice, unknown} {
		same(t, name, strings.HasPrefix(string(must2(os.ReadFile(smb.path(fileFolder, name)))), "print('"), true)
	}
	same(t, "one bad file stays as it is", string(must2(os.ReadFile(smb.path(fileFolder, bad)))), "rotten")
}

func must2[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// Two that make the sizes of one picture at once do not harm each other.
func TestPreparingAtOnce(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	must(t, os.WriteFile(filepath.Join(st.uploads, imageFolder, "one.jpg"), jpegOf(t, photo(400, 700, 1)), 0o644))
	st.exec(`insert into project_image (project_id, filename, original_filename) values ($1, 'one.jpg', 'one.jpg')`, id)
	done := make(chan int)
	for range 6 {
		go func() { done <- alice.get(fmt.Sprintf("/api/projects/%d/images/1/file", id)).status }()
	}
	for range 6 {
		same(t, "status", <-done, http.StatusOK)
	}
	st.clock.Store(int64(3 * time.Hour))
	must(t, st.sweep(t.Context()))
	same(t, "sizes", st.stored(), 2)
	var out strings.Builder
	if err := st.verifyMedia(t.Context(), false, &out); err != nil && !strings.Contains(out.String(), "no checksum noted: projects/images/one.jpg") {
		t.Fatal(out.String())
	}
}
