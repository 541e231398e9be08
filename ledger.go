package main

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// The ledger, the table media_file, ties the storage to the rows: a file is
// entered before its bytes get their name, the database itself notes when a row
// names it and when none does any more, and the entry goes after the bytes. So
// a crash at any point leaves an entry that says what is to be done.

// place gives a staged file its name in the storage, entered in the ledger. A
// row that names it has to follow, or discard.
func (s *server) place(ctx context.Context, up *staged, folder, name string) error {
	entry, cancel := context.WithTimeout(ctx, s.cfg.promptness)
	defer cancel()
	// A size of a picture has the same name whoever makes it, and when.
	if _, err := s.db.Exec(entry, `
		insert into media_file as m (folder, name, size, sha256, state, noted_at) values ($1, $2, $3, $4, 'saving', $5)
		on conflict (folder, name) do update set state = 'saving', size = $3, sha256 = $4, noted_at = $5 where m.state <> 'kept'`,
		folder, name, up.size, up.sha256, s.now().UTC()); err != nil {
		return err
	}
	waits, err := s.storage.place(ctx, up, folder, name)
	if err == nil && waits {
		noted, cancel := context.WithTimeout(ctx, s.cfg.promptness)
		defer cancel()
		_, err = s.db.Exec(noted, `update media_file set waits_in = $3 where folder = $1 and name = $2`, folder, name, s.storage.journal)
	}
	if err != nil {
		s.discard(folder, name)
	}
	return err
}

// openStored opens a stored file, or says that it is still on its way: errOnItsWay,
// when another instance has yet to bring it to the NAS.
func (s *server) openStored(ctx context.Context, folder, name string) (*storedFile, error) {
	f, err := s.storage.open(ctx, folder, name)
	if s.storage.nas == nil || !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	var waits bool
	if err := s.db.QueryRow(ctx, `select exists (select from media_file where folder = $1 and name = $2 and waits_in <> $3)`, folder, name, s.storage.journal).Scan(&waits); err != nil {
		return nil, err
	}
	f, err = s.storage.open(ctx, folder, name) // it may have come meanwhile
	if waits && errors.Is(err, fs.ErrNotExist) {
		err = errOnItsWay
	}
	return f, err
}

// deliver moves a file that waits to the NAS.
func (s *server) deliver(ctx context.Context, e storedEntry) error {
	if err := s.storage.move(ctx, e); err != nil {
		return err
	}
	_, err := s.db.Exec(ctx, `update media_file set waits_in = null where folder = $1 and name = $2 and waits_in is not null`, e.folder, e.name)
	return err
}

// discard removes files that were placed and got no row. What can't be removed
// now is left to the sweep.
func (s *server) discard(folder string, names ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.promptness)
	defer cancel()
	for _, name := range names {
		if err := s.erase(ctx, folder, name); err != nil {
			s.log.Warn("a file that nothing names is removed later", "folder", folder, "name", name, "error", err)
		}
	}
}

// erase removes a file's bytes and its entry, unless a row names it. Nobody can
// enter it anew meanwhile. While a backup is being made, which may have yet to
// read the file, the entry stays for the next sweep; while the bytes wait in
// another instance's directory, for that one.
func (s *server) erase(ctx context.Context, folder, name string) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `delete from media_file where folder = $1 and name = $2 and state <> 'kept'
			and ($4 = '' or coalesce(waits_in, $4) = $4) and pg_try_advisory_xact_lock_shared($3)`, folder, name, int64(removalLock), s.storage.journal)
		if err == nil && tag.RowsAffected() > 0 {
			err = s.storage.remove(ctx, folder, name)
		}
		return err
	})
}

// named is true of an entry of the ledger that a row names.
const named = `(exists (select from project_file where filename = m.name and m.folder = 'projects/files')
	or exists (select from project_image where filename = m.name and m.folder = 'projects/images')
	or exists (select from image_size where filename = m.name and m.folder = 'projects/images')
	or exists (select from "user" where profile_picture = m.name and m.folder = 'profile_pictures'))`

// unfinished is how long a file may stand in the ledger before its row comes;
// the slowest upload is answered within an hour.
const unfinished = 2 * time.Hour

// tidy removes the files whose rows are gone. It is done after rows were
// deleted, and what it does not get to is done by the next one.
func (s *server) tidy(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.promptness)
	defer cancel()
	if err := s.clear(ctx, time.Time{}); err != nil && !errors.Is(err, errNASDown) {
		s.log.Warn("files of deleted rows are removed later", "error", err)
	}
}

// sweep removes also what uploads have left that came to no end.
func (s *server) sweep(ctx context.Context) error {
	return s.clear(ctx, s.now().UTC().Add(-unfinished))
}

// clear removes the files that nothing names: those whose rows went, and those
// that were begun before a time and never got one.
func (s *server) clear(ctx context.Context, begun time.Time) error {
	// Two rows can name one file, in a database of the older service.
	if _, err := s.db.Exec(ctx, `update media_file m set state = 'kept' where state <> 'kept' and `+named); err != nil {
		return err
	}
	rows, err := s.db.Query(ctx, `select folder, name from media_file where state = 'removing' or state = 'saving' and noted_at < $1`, begun)
	if err != nil {
		return err
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Folder, Name string }])
	if err != nil {
		return err
	}
	var failed error
	for _, e := range entries {
		if err := s.erase(ctx, e.Folder, e.Name); err != nil {
			failed = err
			if errors.Is(err, errNASDown) || ctx.Err() != nil {
				break
			}
		}
	}
	return failed
}

// watchStorage looks whether the NAS is there, and when it is, brings it up to
// date: files that wait in the directory, and deletions.
func (s *server) watchStorage(ctx context.Context) {
	if s.storage.nas == nil {
		return
	}
	away := false
	for {
		err := s.storage.nas.probe(ctx)
		if err != nil && !away && ctx.Err() == nil {
			s.log.Error("the NAS is away; UPLOAD_DIR takes its place", "error", err, "problem", nasProblem(err, s.cfg.nas))
		}
		if err == nil {
			if away {
				s.log.Info("the NAS is back")
			}
			s.catchUp(ctx)
		}
		away = err != nil
		pause := s.storage.pause
		if err != nil {
			pause /= 30 // away, it is looked for more often
		}
		select {
		case <-time.After(pause):
		case <-s.storage.waiting:
		case <-ctx.Done():
			s.storage.nas.close()
			return
		}
	}
}

// catchUp moves what waits to the NAS, and does the deletions that it missed.
// A file that can't be moved holds up no other.
func (s *server) catchUp(ctx context.Context) {
	waiting, err := s.storage.waitingFiles()
	failed := []error{err}
	names := []string{}
	for _, e := range waiting {
		names = append(names, e.folder+"/"+e.name)
		if err := s.deliver(ctx, e); err != nil {
			failed = append(failed, err)
		}
		if s.storage.nas.snapshot().down || ctx.Err() != nil {
			return // which the next look tells
		}
	}
	// What was delivered, and its entry not.
	_, err = s.db.Exec(ctx, `update media_file set waits_in = null where waits_in = $1 and noted_at < $2 and folder || '/' || name <> all ($3)`,
		s.storage.journal, s.now().UTC().Add(-unfinished), names)
	failed = append(failed, err)
	failed = append(failed, s.clear(ctx, time.Time{}))
	if err := errors.Join(failed...); err != nil {
		s.log.Error("the NAS is not up to date and is tried again", "error", err)
	}
}

// storageState is how the storage is, for admins.
type storageState struct {
	NAS          string     `json:"nas"` // none, up or down
	Since        *time.Time `json:"since,omitempty"`
	LastError    string     `json:"last_error,omitempty"`
	ErredAt      *time.Time `json:"erred_at,omitempty"`
	FreeBytes    int64      `json:"free_bytes"`               // in UPLOAD_DIR
	NASFreeBytes *int64     `json:"nas_free_bytes,omitempty"` // when it was last asked
	Waiting      int        `json:"waiting"`                  // files in UPLOAD_DIR that the NAS lacks
	WaitingBytes int64      `json:"waiting_bytes"`
	ToRemove     int        `json:"to_remove"` // files that nothing names any more
	Files        int        `json:"files"`
	Bytes        int64      `json:"bytes"` // of the files whose size is known
}

// Moment is a time for people who may be far away.
func (st storageState) Moment(t time.Time) string { return t.Format("2 January 2006, 15:04 UTC") }

// Free, NASFree, Stored and WaitingSize are for people.
func (st storageState) Free() string        { return formatSize(st.FreeBytes) }
func (st storageState) Stored() string      { return formatSize(st.Bytes) }
func (st storageState) WaitingSize() string { return formatSize(st.WaitingBytes) }
func (st storageState) NASFree() string {
	if st.NASFreeBytes == nil {
		return "unknown"
	}
	return formatSize(*st.NASFreeBytes)
}

// storageState finds out how the storage is; it asks the NAS nothing.
func (s *server) storageState(ctx context.Context) (st storageState, err error) {
	st.NAS = "none"
	if n := s.storage.nas; n != nil {
		state := n.snapshot()
		st.NAS, st.Since, st.LastError = "up", ptr(state.since.UTC()), state.lastError
		if state.down {
			st.NAS = "down"
		}
		if !state.erredAt.IsZero() {
			st.ErredAt = ptr(state.erredAt.UTC())
		}
		if state.free >= 0 {
			st.NASFreeBytes = &state.free
		}
		waiting, err := s.storage.waitingFiles()
		if err != nil {
			return st, err
		}
		for _, e := range waiting {
			st.Waiting++
			st.WaitingBytes += e.size
		}
	}
	if st.FreeBytes, err = s.storage.freeSpace(); err != nil {
		return st, err
	}
	err = s.db.QueryRow(ctx, `select count(*) filter (where state = 'removing'), count(*) filter (where state = 'kept'), coalesce(sum(size), 0) from media_file`).
		Scan(&st.ToRemove, &st.Files, &st.Bytes)
	return st, err
}

// showStorage answers the page about the storage.
func (s *server) showStorage(w http.ResponseWriter, r *http.Request, v viewer) error {
	st, err := s.storageState(r.Context())
	if err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "admin_storage", v, "Storage", st)
}
