package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// checkArchive reads an archive for its checksums alone and returns the names of
// its files, as folder/name.
func checkArchive(in io.Reader) (files map[string]bool, err error) {
	files = map[string]bool{}
	a := &archiveReader{
		head: func(backupHead) error { return nil },
		file: func(folder, name string, _ io.Reader) error { files[folder+"/"+name] = true; return nil },
	}
	return files, a.read(in)
}

// restoring is a backup on its way into a database and, unless it is only
// tried, into a storage.
type restoring struct {
	tx      pgx.Tx
	storage *storage        // nil: the files are only looked at
	present map[string]bool // files that the storage had before
	placed  []storedEntry
	head    backupHead
	files   map[string]string // the checksums of those in the archive
	m       backupManifest
}

// load brings an archive in. When it fails the transaction is to be taken back,
// and the files that are in placed.
func (to *restoring) load(ctx context.Context, in io.Reader) error {
	var loaded []int64
	to.files = map[string]string{}
	a := &archiveReader{
		head: func(h backupHead) error { to.head = h; return to.suits(ctx) },
		script: func(r io.Reader) (err error) {
			if loaded, err = runScript(ctx, to.tx, r); err != nil {
				return fmt.Errorf("the database could not be restored: %w", err)
			}
			_, err = to.tx.Exec(ctx, `reset all`)
			return err
		},
		file: func(folder, name string, r io.Reader) error {
			if err := to.place(ctx, folder, name, r); err != nil {
				return fmt.Errorf("%s/%s: %w", folder, name, err)
			}
			return nil
		},
	}
	if err := a.read(in); err != nil {
		return err
	}
	to.m = a.manifest
	if len(loaded) != len(to.m.Tables) {
		return fmt.Errorf("%d tables were restored, and the backup is of %d", len(loaded), len(to.m.Tables))
	}
	for i, t := range to.m.Tables {
		if loaded[i] != t.Rows {
			return fmt.Errorf("%s got %d rows and should have %d", t.Copy, loaded[i], t.Rows)
		}
	}
	return to.compareFiles(ctx)
}

// suits reports why a backup can't be restored here.
func (to *restoring) suits(ctx context.Context) error {
	if _, err := knownMigrations(to.head.Migrations); err != nil {
		return fmt.Errorf("the backup %w", err)
	}
	var postgres int
	if err := to.tx.QueryRow(ctx, `select current_setting('server_version_num')::integer / 10000`).Scan(&postgres); err != nil {
		return err
	}
	if to.head.Database == "pg_dump" && to.head.Postgres > postgres {
		return fmt.Errorf("the backup is of PostgreSQL %d, and this one is %d; use PostgreSQL %d or newer", to.head.Postgres, postgres, to.head.Postgres)
	}
	return nil
}

// place brings a file into the storage. One that is there already, from a
// restore that was interrupted, must have the same bytes.
func (to *restoring) place(ctx context.Context, folder, name string, r io.Reader) error {
	if to.storage == nil {
		sum, _, err := checksumOf(r)
		to.files[folder+"/"+name] = sum
		return err
	}
	up, err := to.storage.stage(folder, r, math.MaxInt64-1)
	if err != nil {
		return err
	}
	defer up.drop()
	to.files[folder+"/"+name] = up.sha256
	if to.present[folder+"/"+name] {
		f, err := to.storage.open(ctx, folder, name)
		if err != nil {
			return err
		}
		defer f.Close()
		if sum, _, err := checksumOf(f); err != nil || sum != up.sha256 {
			return errors.Join(err, errors.New("the storage has another file of this name; a backup is restored into an empty storage"))
		}
		return nil
	}
	to.placed = append(to.placed, storedEntry{folder, name, up.size})
	_, err = to.storage.place(ctx, up, folder, name)
	return err
}

// compareFiles checks that the archive has the files that the rows name.
func (to *restoring) compareFiles(ctx context.Context) error {
	rows, err := to.tx.Query(ctx, `select folder || '/' || name, coalesce(sha256, '') from media_file where state = 'kept'`)
	if err != nil {
		return err
	}
	var name, sum string
	_, err = pgx.ForEachRow(rows, []any{&name, &sum}, func() error {
		got, found := to.files[name]
		if !found && !slices.Contains(to.m.Missing, name) {
			return fmt.Errorf("the backup lacks the file %s", name)
		}
		if found && sum != "" && got != sum && !slices.Contains(to.m.Damaged, name) {
			return fmt.Errorf("the file %s is not the one that the database names", name)
		}
		return nil
	})
	return err
}

// restore brings a backup back, everything or nothing. dsn and the storage must
// be empty. files are those of the archive where it was looked through before:
// what an interrupted restore has left of them is no hindrance.
func (s *server) restore(ctx context.Context, dsn string, in io.Reader, files map[string]bool) (to restoring, err error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return to, err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // a pooler may be in between
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return to, err
	}
	defer closeSoon(conn)
	if err := emptyDatabase(ctx, conn); err != nil {
		return to, err
	}
	to.storage = s.storage
	if to.present, err = s.emptyStorage(ctx, files); err != nil {
		return to, err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		to.tx = tx
		if err := untimed(ctx, tx); err != nil {
			return err
		}
		// A server that starts now has to wait.
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, int64(migrationLock)); err != nil {
			return err
		}
		if err := emptyDatabase(ctx, conn); err != nil {
			return err
		}
		return to.load(ctx, in)
	})
	if err == nil {
		return to, nil
	}
	err = whyGivenUp(ctx, err)
	// Whether the commit came through is not known when the connection broke.
	check, checkErr := pgx.ConnectConfig(context.WithoutCancel(ctx), cfg)
	if checkErr == nil {
		defer closeSoon(check)
		checkErr = emptyDatabase(context.WithoutCancel(ctx), check)
	}
	if checkErr != nil {
		return to, errors.Join(err, errors.New("the files that were restored stay where they are"), checkErr)
	}
	for _, e := range to.placed {
		if err := s.storage.remove(context.WithoutCancel(ctx), e.folder, e.name); err != nil {
			s.log.Warn("a file that was restored could not be removed again", "folder", e.folder, "name", e.name, "error", err)
		}
	}
	return to, err
}

// emptyDatabase refuses a database that has anything in it.
func emptyDatabase(ctx context.Context, conn *pgx.Conn) error {
	var n int
	err := conn.QueryRow(ctx, `select count(*) from pg_class where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p', 'v', 'm', 'S', 'f')`).Scan(&n)
	if err == nil && n > 0 {
		err = fmt.Errorf("the database is not empty (%d tables, sequences and views); a backup is restored into a new one, made by: createdb NAME", n)
	}
	return err
}

// emptyStorage refuses a storage with files other than the given ones, and
// returns what it has.
func (s *server) emptyStorage(ctx context.Context, files map[string]bool) (present map[string]bool, err error) {
	list, err := s.storage.waitingFiles()
	if err != nil {
		return nil, err
	}
	if s.storage.nas != nil {
		for _, folder := range storageFolders {
			there, err := s.storage.nas.list(ctx, folder)
			if err != nil {
				return nil, errors.New(nasProblem(err, s.cfg.nas))
			}
			list = append(list, slices.DeleteFunc(there, func(e storedEntry) bool { return !isStoredName(e.name) })...)
		}
	}
	present = map[string]bool{}
	for _, e := range list {
		name := e.folder + "/" + e.name
		if present[name] = true; !files[name] {
			return nil, fmt.Errorf("the storage is not empty: %s is none of the backup's files; move %s aside, or what the NAS has, and restore then", name, s.cfg.uploadDir)
		}
	}
	return present, nil
}

// openArchive opens a file, or the standard input for -.
func openArchive(path string) (*os.File, error) {
	if path == "-" {
		return os.Stdin, nil
	}
	return os.Open(path)
}

// restoreCommand is `chatter restore …`.
func restoreCommand(ctx context.Context, cfg config, path string, stdout io.Writer, log *slog.Logger) error {
	began := time.Now()
	f, err := openArchive(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var files map[string]bool
	if path != "-" {
		if files, err = checkArchive(f); err == nil {
			_, err = f.Seek(0, io.SeekStart)
		}
		if err != nil {
			return fmt.Errorf("%w; nothing was changed", err)
		}
	}
	dsn := cfg.databaseURL
	if dsn == "" {
		own, err := startCluster(ctx, clusterOptions{dir: filepath.Join(cfg.dataDir, "postgres"), log: log})
		if err != nil {
			return err
		}
		defer own.stop()
		dsn = own.dsn()
	}
	db, err := openDatabase(ctx, dsn, time.Minute, log) // which may be starting as well
	if err != nil {
		return err
	}
	defer db.Close()
	s, err := plainServer(cfg, db, log)
	if err != nil {
		return err
	}
	done, err := s.restore(ctx, dsn, f, files)
	if err != nil {
		return fmt.Errorf("nothing was restored: %w", err)
	}
	fmt.Fprintf(stdout, "Restored the backup of %s: %d tables with %d rows, %d files with %s, in %s\n", done.head.MadeAt.Format("2 January 2006, 15:04 UTC"),
		len(done.m.Tables), done.m.rows(), done.m.Files, formatSize(done.m.Bytes), time.Since(began).Round(100*time.Millisecond))
	if done.head.Key != s.keyMark() {
		fmt.Fprintln(stdout, "SECRET_KEY is not the one of the backup: everybody has to sign in anew, letters that wait are lost, and two factors have to be set up anew.\nTo avoid that, start the server with the SECRET_KEY that it had then.")
	}
	migrations, err := loadMigrations(sqlFiles)
	if err == nil {
		err = migrate(ctx, dsn, migrations, log)
	}
	if err == nil { // whatever waited when the backup was made
		_, err = db.Exec(ctx, `update media_file set waits_in = null where waits_in is not null`)
	}
	if err != nil {
		return fmt.Errorf("everything was restored as it was then, but: %w", err)
	}
	if len(done.m.Missing)+len(done.m.Damaged) > 0 {
		return fmt.Errorf("what the backup had is restored; these files it did not have, or not as they were stored: %s", strings.Join(append(done.m.Missing, done.m.Damaged...), ", "))
	}
	return nil
}
