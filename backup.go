package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Advisory locks: of two backups only one goes on, and while one does, no file
// that it may have yet to read is removed.
const (
	backupLock  = migrationLock + 1
	removalLock = migrationLock + 2
	verifyLock  = migrationLock + 3
)

// keyMark tells whether a backup was made under the same SECRET_KEY.
func (s *server) keyMark() string { return hex.EncodeToString(s.keyFor("backup")[:8]) }

// backup writes an archive of the database and its files, as they are at one
// moment, while others go on reading and writing. dump finds pg_dump for a
// major version of PostgreSQL; it answers empty where there is none.
func (s *server) backup(ctx context.Context, out io.Writer, dump func(postgres int) string) (m backupManifest, err error) {
	defer func() { err = whyGivenUp(ctx, err) }()
	if n := s.storage.nas; n != nil {
		if err := n.probe(ctx); err != nil {
			return m, errors.New(nasProblem(err, s.cfg.nas))
		}
	}
	guard, tx, err := openGuard(ctx, s.db.Config().ConnConfig)
	if err != nil {
		return m, err
	}
	defer closeSoon(guard)
	var mine bool
	if err := tx.QueryRow(ctx, `select pg_try_advisory_xact_lock($1)`, int64(backupLock)).Scan(&mine); err != nil {
		return m, err
	}
	if !mine {
		return m, errors.New("another backup of this database is being made; try again when it is done")
	}
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, int64(removalLock)); err != nil {
		return m, err
	}
	conn, err := pgx.ConnectConfig(ctx, s.db.Config().ConnConfig)
	if err != nil {
		return m, err
	}
	defer closeSoon(conn)
	a := &archiveWriter{tar: tar.NewWriter(out), at: s.now().UTC().Truncate(time.Second)}
	files, m, err := s.backupDatabase(ctx, conn, a, dump)
	if err != nil {
		return m, err
	}
	for _, e := range files {
		if err := s.backupFile(ctx, a, e, &m); err != nil {
			return m, fmt.Errorf("%s/%s: %w", e.Folder, e.Name, err)
		}
	}
	if err := a.addJSON(manifestEntry, m); err != nil {
		return m, err
	}
	if _, err := a.add(checksumsEntry, int64(a.sums.Len()), bytes.NewReader(bytes.Clone(a.sums.Bytes()))); err != nil {
		return m, err
	}
	return m, a.tar.Close()
}

// whyGivenUp is err, or where somebody has stopped what failed, that.
func whyGivenUp(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// closeSoon closes a connection. It ends its transaction first, and with it its
// locks, since PostgreSQL notices a closed connection a moment later.
func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if conn.PgConn().TxStatus() != 'I' {
		_, _ = conn.Exec(ctx, `rollback`) // fails only where the connection is broken, and the locks are gone
	}
	_ = conn.Close(ctx) // a connection that is broken is closed too
}

// backupDatabase writes the head and the script, and returns the files that the
// rows name.
func (s *server) backupDatabase(ctx context.Context, conn *pgx.Conn, a *archiveWriter, dump func(postgres int) string) (files []ledgerEntry, m backupManifest, err error) {
	snap, err := openSnapshot(ctx, conn)
	if err != nil {
		return nil, m, err
	}
	defer func() { _ = snap.tx.Rollback(ctx) }() // nothing was written
	head := backupHead{backupFormat, backupVersion, s.now().UTC(), s.cfg.publicURL, thisBuild().Version, "pg_dump", snap.postgres, s.keyMark(), map[string]string{}}
	for _, mig := range snap.migrations {
		head.Migrations[mig.version] = mig.checksum
	}
	program := ""
	if !throughPooler(conn.Config()) { // where pg_dump would leave its settings to others
		program = dump(snap.postgres)
	}
	if program == "" {
		head.Database = "chatter"
	}
	if err := a.addJSON(headEntry, head); err != nil {
		return nil, m, err
	}
	script := &scriptWriter{a: a}
	if program != "" {
		err = snap.dump(ctx, program, script)
	} else {
		err = snap.write(ctx, script)
	}
	if err == nil {
		err = script.Close()
	}
	if err != nil {
		return nil, m, err
	}
	m = backupManifest{Tables: script.tally.tables, Missing: []string{}, Damaged: []string{}}
	rows, err := snap.tx.Query(ctx, `select folder, name, sha256, true as original from media_file where state = 'kept' order by folder, name`)
	if err == nil {
		files, err = pgx.CollectRows(rows, pgx.RowToStructByName[ledgerEntry])
	}
	return files, m, err
}

// backupFile adds a stored file.
func (s *server) backupFile(ctx context.Context, a *archiveWriter, e ledgerEntry, m *backupManifest) error {
	f, err := s.openStored(ctx, e.Folder, e.Name)
	if errors.Is(err, fs.ErrNotExist) {
		m.Missing = append(m.Missing, e.Folder+"/"+e.Name)
		return nil
	}
	if err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	defer f.Close()
	sum, err := a.add(mediaFolder+e.Folder+"/"+e.Name, f.size, f)
	m.Files++
	m.Bytes += f.size
	if err == nil && e.SHA256 != nil && *e.SHA256 != sum {
		m.Damaged = append(m.Damaged, e.Folder+"/"+e.Name)
	}
	return err
}

// backupTo makes a backup as a file that is there when it is whole. In a
// directory it gets a name of its own, and with keep above 0 older ones of this
// site go, but for that many in all.
func (s *server) backupTo(ctx context.Context, path string, keep int, dump func(postgres int) string) (name string, m backupManifest, err error) {
	prefix := ""
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		prefix = filepath.Join(path, s.backupPrefix())
		path = prefix + s.now().UTC().Format("20060102T150405Z") + ".tar"
	} else if keep > 0 {
		return "", m, fmt.Errorf("--keep needs a folder, and %s is none", path)
	}
	room, err := freeSpaceOf(filepath.Dir(path))
	if err != nil {
		return "", m, err
	}
	var needed int64
	if err := s.db.QueryRow(ctx, `select coalesce(sum(size), 0) from media_file where state = 'kept'`).Scan(&needed); err == nil && needed > room {
		return "", m, fmt.Errorf("there is no room for the backup: the files alone have %s, and %s has %s left", formatSize(needed), filepath.Dir(path), formatSize(room))
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part") // mode 0600
	if err != nil {
		return "", m, err
	}
	defer func() {
		if f.Close(); err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if m, err = s.backup(ctx, f, dump); err != nil {
		return "", m, err
	}
	if err = f.Sync(); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	// A backup that lacks files takes nobody's place.
	if err == nil && prefix != "" && keep > 0 && len(m.Missing)+len(m.Damaged) == 0 {
		err = pruneBackups(prefix, path, keep)
	}
	return path, m, err
}

// backupPrefix starts the names of this site's backups, so that several sites
// can have one folder.
func (s *server) backupPrefix() string {
	host := "localhost"
	if u, err := url.Parse(s.cfg.publicURL); err == nil && u.Hostname() != "" {
		host = strings.ReplaceAll(u.Hostname(), ":", "_")
	}
	return "chatter-" + host + "-"
}

// pruneBackups removes the backups that begin with prefix but the newest ones,
// and what killed backups left. The one that was just made always stays.
func pruneBackups(prefix, made string, keep int) error {
	names, err := filepath.Glob(globLiteral(prefix) + "[0-9]*T[0-9]*Z.tar")
	if err != nil {
		return err
	}
	slices.Sort(names) // by time
	names = slices.DeleteFunc(names, func(name string) bool { return name == made })
	var failed []error
	for _, name := range names[:max(0, len(names)-keep+1)] {
		failed = append(failed, os.Remove(name))
	}
	left, err := filepath.Glob(globLiteral(prefix) + "[0-9]*T[0-9]*Z.tar.*.part")
	for _, name := range left {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			failed = append(failed, os.Remove(name))
		}
	}
	return errors.Join(append(failed, err)...)
}

// globLiteral takes a path for itself in a pattern.
func globLiteral(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// incomplete says in an error what a backup lacks.
func (m backupManifest) incomplete() error {
	if len(m.Missing)+len(m.Damaged) == 0 {
		return nil
	}
	return fmt.Errorf("the backup was made, but %d files are missing in the storage and %d are damaged, see: chatter media verify: %s",
		len(m.Missing), len(m.Damaged), strings.Join(append(slices.Clone(m.Missing), m.Damaged...), ", "))
}

// backupJob makes the daily backup.
func (s *server) backupJob(ctx context.Context) error {
	began := time.Now()
	name, m, err := s.backupTo(ctx, s.cfg.backupDir, s.cfg.backupKeep, findDump)
	if err != nil {
		return err
	}
	s.log.Info("backup made", "file", name, "rows", m.rows(), "files", m.Files, "bytes", m.Bytes, "took", time.Since(began).Round(time.Millisecond))
	if err := m.incomplete(); err != nil {
		s.log.Error("the backup is not complete", "error", err)
	}
	return nil
}

// backupOverdue is how long after a daily backup there should be another one.
const backupOverdue = 36 * time.Hour

// lastBackup is when the last daily backup was begun that came to its end.
func (s *server) lastBackup(ctx context.Context) (at *time.Time, err error) {
	err = s.db.QueryRow(ctx, `select max(ran_at) from job where name = 'backup'`).Scan(&at)
	return at, err
}

const backupUsage = "usage: chatter backup [--keep N] FILE|FOLDER|-, or chatter backup verify FILE"

// backupCommand is `chatter backup …`. It does not migrate: a backup is what one
// makes before that. With - the archive goes to stdout, so that what there is to
// say goes to stderr.
func backupCommand(ctx context.Context, cfg config, args []string, stdout, stderr io.Writer, log *slog.Logger) error {
	if len(args) == 2 && args[0] == "verify" {
		return verifyBackup(ctx, cfg, args[1], stdout, log)
	}
	keep := 0
	if len(args) == 3 && args[0] == "--keep" {
		n, err := strconv.Atoi(args[1])
		if err != nil || n < 1 {
			return errors.New("--keep takes a number from 1")
		}
		keep, args = n, args[2:]
	}
	if len(args) != 1 || strings.HasPrefix(args[0], "--") || args[0] == "-" && keep > 0 {
		return errors.New(backupUsage)
	}
	return withDatabase(ctx, cfg, log, func(dsn string) error {
		db, err := openDatabase(ctx, dsn, time.Minute, log)
		if err != nil {
			return err
		}
		defer db.Close()
		s, err := plainServer(cfg, db, log)
		if err != nil {
			return err
		}
		began, name := time.Now(), "The standard output"
		var m backupManifest
		if args[0] == "-" {
			m, err = s.backup(ctx, stdout, findDump)
			stdout = stderr
		} else {
			name, m, err = s.backupTo(ctx, args[0], keep, findDump)
		}
		if err != nil {
			return fmt.Errorf("no backup was made: %w", err)
		}
		fmt.Fprintf(stdout, "%s: %d tables with %d rows, %d files with %s, in %s\n",
			name, len(m.Tables), m.rows(), m.Files, formatSize(m.Bytes), time.Since(began).Round(100*time.Millisecond))
		return m.incomplete()
	})
}
