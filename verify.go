package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// The commands about the storage: chatter nas test, chatter nas sync and
// chatter media verify.

var errNoNAS = errors.New("no NAS is set; set NAS_HOST, NAS_SHARE_NAME, NAS_USERNAME and NAS_PASSWORD")

// testNAS does everything that the server does with the NAS and says how long
// it took, or in a sentence why it failed.
func testNAS(ctx context.Context, cfg nasConfig, out io.Writer) error {
	if cfg.host == "" {
		return errNoNAS
	}
	n := newNAS(cfg)
	defer n.close()
	fmt.Fprintf(out, "share %s on %s as %s\n", cfg.share, cfg.host, cfg.username)
	content, got := make([]byte, 4<<20), make([]byte, 4<<20)
	rand.Read(content)
	folder := strings.ReplaceAll(fileFolder, "/", `\`)
	first := nasPath(fileFolder, temporary+"test-"+rand.Text()[:8])
	second := first + "-renamed"
	for _, step := range []struct {
		name string
		do   nasCall
	}{
		{"connect", func(session *nasSession, _ func()) error { return nil }},
		{"folders", func(session *nasSession, _ func()) error { return session.share.MkdirAll(folder, 0o755) }},
		{"write", func(session *nasSession, going func()) error {
			f, err := session.share.Create(first)
			if err != nil {
				return err
			}
			for part := range slices.Chunk(content, nasChunk) {
				if _, err = f.Write(part); err != nil {
					break
				}
				going()
			}
			if err == nil {
				err = f.Sync()
			}
			return errors.Join(err, f.Close())
		}},
		{"read", func(session *nasSession, going func()) error {
			f, err := session.share.Open(first)
			if err != nil {
				return err
			}
			for at := 0; at < len(got) && err == nil; at += nasChunk {
				_, err = f.ReadAt(got[at:][:min(nasChunk, len(got)-at)], int64(at))
				going()
			}
			if err == nil && !bytes.Equal(got, content) {
				err = ownFault{errors.New("other bytes came back than were written")}
			}
			return errors.Join(err, f.Close())
		}},
		{"rename", func(session *nasSession, _ func()) error { return session.share.Rename(first, second) }},
		{"delete", func(session *nasSession, _ func()) error { return session.share.Remove(second) }},
	} {
		started := time.Now()
		if err := n.try(ctx, step.do); err != nil {
			_ = n.try(ctx, func(session *nasSession, _ func()) error {
				return errors.Join(session.share.Remove(first), session.share.Remove(second))
			})
			fmt.Fprintf(out, "%-8s failed after %s\n", step.name, time.Since(started).Round(time.Millisecond))
			return errors.New(nasProblem(err, cfg))
		}
		took := time.Since(started)
		rate := ""
		if step.name == "write" || step.name == "read" {
			rate = fmt.Sprintf(", %.0f MB/s", float64(len(content))/1e6/took.Seconds())
		}
		fmt.Fprintf(out, "%-8s %s%s\n", step.name, took.Round(100*time.Microsecond), rate)
	}
	if err := n.probe(ctx); err == nil {
		fmt.Fprintf(out, "%s free\n", formatSize(n.snapshot().free))
	}
	return nil
}

// progressBar shows on a terminal how far something is; elsewhere nothing.
type progressBar struct {
	out         io.Writer
	done, total int64
	shown       time.Time
}

func (p *progressBar) add(n int64) {
	p.done += n
	terminal, is := p.out.(*os.File)
	if !is || time.Since(p.shown) < 100*time.Millisecond && p.done < p.total {
		return
	}
	if info, err := terminal.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return
	}
	p.shown = time.Now()
	share := float64(p.done) / float64(max(p.total, 1))
	fmt.Fprintf(p.out, "\r[%-40s] %3.0f %% ", strings.Repeat("#", int(40*share)), 100*share)
	if p.done >= p.total {
		fmt.Fprintln(p.out)
	}
}

// syncNAS compares UPLOAD_DIR with the NAS and moves to the NAS what it lacks,
// or with back copies to UPLOAD_DIR what that lacks and removes nothing. What is
// done is done: it can be stopped and run again.
func (s *server) syncNAS(ctx context.Context, back bool, out io.Writer) error {
	if s.storage.nas == nil {
		return errNoNAS
	}
	if err := s.storage.nas.probe(ctx); err != nil {
		return errors.New(nasProblem(err, s.cfg.nas))
	}
	here, err := s.storage.waitingFiles()
	if err != nil {
		return err
	}
	var there []storedEntry
	for _, folder := range storageFolders {
		list, err := s.storage.nas.list(ctx, folder)
		if err != nil {
			return errors.New(nasProblem(err, s.cfg.nas))
		}
		there = append(there, slices.DeleteFunc(list, func(e storedEntry) bool { return !isStoredName(e.name) })...)
	}
	key := func(e storedEntry) string { return e.folder + "/" + e.name }
	index := func(list []storedEntry) map[string]bool {
		m := map[string]bool{}
		for _, e := range list {
			m[key(e)] = true
		}
		return m
	}
	onlyHere, onlyThere := slices.Clone(here), slices.Clone(there)
	hereToo, thereToo := index(here), index(there)
	onlyHere = slices.DeleteFunc(onlyHere, func(e storedEntry) bool { return thereToo[key(e)] })
	onlyThere = slices.DeleteFunc(onlyThere, func(e storedEntry) bool { return hereToo[key(e)] })
	both := slices.DeleteFunc(slices.Clone(here), func(e storedEntry) bool { return !thereToo[key(e)] })
	fmt.Fprintf(out, "%d files are in UPLOAD_DIR only, %d on the NAS only, %d in both\n", len(onlyHere), len(onlyThere), len(both))

	todo, do, done := append(onlyHere, both...), s.deliver, "are on the NAS and no longer in UPLOAD_DIR"
	if back {
		todo, do, done = append(onlyThere, both...), s.fetch, "are in UPLOAD_DIR too"
	}
	bar := &progressBar{out: out}
	for _, e := range todo {
		bar.total += e.size
	}
	var failed []error
	for _, e := range todo {
		if err := do(ctx, e); err != nil {
			if ctx.Err() != nil || s.storage.nas.snapshot().down {
				return fmt.Errorf("stopped at %s: %w; run it again to go on", key(e), err)
			}
			failed = append(failed, err)
		}
		bar.add(e.size)
	}
	fmt.Fprintf(out, "%d files %s\n", len(todo)-len(failed), done)
	return errors.Join(failed...)
}

// fetch copies a file from the NAS to the directory, checked by its SHA-256.
func (s *server) fetch(ctx context.Context, e storedEntry) error {
	sum, err := s.storage.nas.checksum(ctx, e.folder, e.name)
	if err != nil {
		return err
	}
	have, err := s.storage.localChecksum(e.folder, e.name)
	if err == nil && have != sum {
		return fmt.Errorf("%s/%s has other bytes on the NAS than in UPLOAD_DIR; both are kept, see: chatter media verify", e.folder, e.name)
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := s.storage.nas.open(ctx, e.folder, e.name)
	if err != nil {
		return err
	}
	defer f.close()
	up, err := s.storage.stage(e.folder, &nasReader{ctx: ctx, f: f}, math.MaxInt64-1)
	if err != nil {
		return err
	}
	defer up.drop()
	if up.sha256 != sum {
		return fmt.Errorf("%s/%s came with other bytes than it has", e.folder, e.name)
	}
	dir := filepath.Join(s.storage.dir, e.folder)
	return errors.Join(os.Rename(up.Name(), filepath.Join(dir, e.name)), syncDir(dir))
}

// localChecksum is the SHA-256 of a file in the directory.
func (st *storage) localChecksum(folder, name string) (string, error) {
	f, err := os.Open(filepath.Join(st.dir, folder, name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, _, err := checksumOf(f)
	return sum, err
}

// ledgerEntry is a file that a row names.
type ledgerEntry struct {
	Folder, Name string
	SHA256       *string `db:"sha256"`
	Original     bool    // and not made of another
}

// verifyMedia checks that every row has its bytes, with the right SHA-256, and
// that every stored file is named by a row, and prints a line for what is not
// so. With repair it mends what can be mended without losing anything:
// checksums that nobody has noted yet are noted, wrong copies beside right ones
// and wrong sizes of pictures go, sizes are made anew, and files that nothing
// names are put aside in lost+found.
func (s *server) verifyMedia(ctx context.Context, repair bool, out io.Writer) error {
	if n := s.storage.nas; n != nil {
		if err := n.probe(ctx); err != nil {
			return errors.New(nasProblem(err, s.cfg.nas))
		}
	}
	if repair {
		if err := s.sweep(ctx); err != nil {
			return err
		}
	}
	entries, err := many[ledgerEntry](ctx, s.db, `
		select m.folder, m.name, m.sha256, not exists (select from image_size z join project_image i on i.id = z.image_id
		       where m.folder = 'projects/images' and z.filename = m.name and i.filename <> m.name) as original
		from media_file m where m.state = 'kept' order by m.folder, m.name`)
	if err != nil {
		return err
	}
	v := verification{s: s, repair: repair, out: out}
	bar := &progressBar{out: out, total: int64(len(entries))}
	for _, e := range entries {
		if err := v.check(ctx, e); err != nil {
			return fmt.Errorf("%s/%s: %w", e.Folder, e.Name, err)
		}
		bar.add(1)
	}
	if err := v.strays(ctx); err != nil {
		return err
	}
	if v.remade {
		s.tidy(ctx)
		if err := s.prepareSome(ctx, math.MaxInt32); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d files checked, %d without fault, %d repaired, %d not\n", len(entries), v.fine, v.repaired, v.broken)
	if v.broken > 0 && !repair {
		return fmt.Errorf("%d faults; chatter media verify --repair mends those that can be", v.broken)
	}
	if v.broken > 0 {
		return fmt.Errorf("%d faults can't be mended; bring these files back from a backup", v.broken)
	}
	return nil
}

// verification is how verifyMedia stands.
type verification struct {
	s                      *server
	repair, remade         bool
	out                    io.Writer
	fine, repaired, broken int
}

// report prints a fault and counts it; mended says that it was one.
func (v *verification) report(kind, what string, mended bool) {
	if mended {
		kind += ", repaired"
		v.repaired++
	} else {
		v.broken++
	}
	fmt.Fprintf(v.out, "%s: %s\n", kind, what)
}

// check checks the copies of one file: there is one, or for a while two.
func (v *verification) check(ctx context.Context, e ledgerEntry) error {
	st := v.s.storage
	what := e.Folder + "/" + e.Name
	if !isStoredName(e.Name) {
		v.report("no name for a file", what, false)
		return nil
	}
	type copyAt struct {
		sum    string
		remove func() error
	}
	var copies []copyAt
	sum, err := st.localChecksum(e.Folder, e.Name)
	if err == nil {
		copies = append(copies, copyAt{sum, func() error { return os.Remove(filepath.Join(st.dir, e.Folder, e.Name)) }})
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if st.nas != nil {
		sum, err := st.nas.checksum(ctx, e.Folder, e.Name)
		if err == nil {
			copies = append(copies, copyAt{sum, func() error { return st.nas.remove(ctx, e.Folder, e.Name) }})
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if e.SHA256 == nil && len(copies) > 0 && copies[0].sum == copies[len(copies)-1].sum {
		if v.repair {
			if err := v.note(ctx, e, copies[0].sum); err != nil {
				return err
			}
		}
		v.report("no checksum noted", what, v.repair)
		return nil
	}
	right := slices.ContainsFunc(copies, func(c copyAt) bool { return c.sum == deref(e.SHA256) })
	faults := 0
	for _, c := range copies {
		if c.sum == deref(e.SHA256) {
			continue
		}
		faults++
		if right && v.repair {
			if err := c.remove(); err != nil {
				return err
			}
		}
		v.report("wrong bytes", what, right && v.repair)
	}
	if len(copies) == 0 {
		faults++
		v.report("missing", what, !e.Original && v.repair)
	} else if !right && faults > 0 && !e.Original && v.repair {
		v.broken--
		v.repaired++
	}
	if faults == 0 {
		v.fine++
	}
	if !right && !e.Original && v.repair {
		// A size of a picture is made anew from the original.
		v.remade = true
		return v.forgetSizes(ctx, e.Name)
	}
	return nil
}

// note enters a checksum in the ledger.
func (v *verification) note(ctx context.Context, e ledgerEntry, sum string) error {
	f, err := v.s.storage.open(ctx, e.Folder, e.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = v.s.db.Exec(ctx, `update media_file set sha256 = $3, size = $4 where folder = $1 and name = $2`, e.Folder, e.Name, sum, f.size)
	return err
}

// forgetSizes has a picture's sizes made anew.
func (v *verification) forgetSizes(ctx context.Context, name string) error {
	return pgx.BeginFunc(ctx, v.s.db, func(tx pgx.Tx) error {
		var id int
		err := tx.QueryRow(ctx, `select image_id from image_size where filename = $1`, name).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // forgotten with another one
		}
		if err == nil {
			_, err = tx.Exec(ctx, `delete from image_size where image_id = $1`, id)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `update project_image set width = null where id = $1`, id)
		}
		return err
	})
}

// strays finds the files that no row names.
func (v *verification) strays(ctx context.Context) error {
	st := v.s.storage
	rows, err := v.s.db.Query(ctx, `select folder || '/' || name from media_file`) // uploads under way, too
	if err != nil {
		return err
	}
	entered, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, name := range entered {
		known[name] = true
	}
	here, err := st.waitingFiles()
	if err != nil {
		return err
	}
	for _, e := range here {
		if known[e.folder+"/"+e.name] {
			continue
		}
		if v.repair {
			aside := filepath.Join(st.dir, "lost+found", e.folder)
			err = os.MkdirAll(aside, 0o755)
			if err == nil {
				err = os.Rename(filepath.Join(st.dir, e.folder, e.name), filepath.Join(aside, e.name))
			}
			if err != nil {
				return err
			}
		}
		v.report("named by nothing", "UPLOAD_DIR/"+e.folder+"/"+e.name, v.repair)
	}
	if st.nas == nil {
		return nil
	}
	for _, folder := range storageFolders {
		list, err := st.nas.list(ctx, folder)
		if err != nil {
			return err
		}
		for _, e := range list {
			if known[e.folder+"/"+e.name] || strings.HasPrefix(e.name, ".") {
				continue
			}
			if v.repair {
				if err := st.nas.setAside(ctx, e.folder, e.name); err != nil {
					return err
				}
			}
			v.report("named by nothing", "the NAS, "+e.folder+"/"+e.name, v.repair)
		}
	}
	return nil
}
