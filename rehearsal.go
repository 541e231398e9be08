package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// verifyBackup restores a backup into a database that is made for it and dropped
// again, and compares each table's rows by number and checksum.
func verifyBackup(ctx context.Context, cfg config, path string, stdout io.Writer, log *slog.Logger) (err error) {
	defer func() { err = whyGivenUp(ctx, err) }()
	began := time.Now()
	f, err := openArchive(path)
	if err != nil {
		return err
	}
	defer f.Close()
	dsn, drop, err := scratchDatabase(ctx, cfg.databaseURL, log)
	if err != nil {
		return err
	}
	defer func() {
		if err := drop(); err != nil {
			log.Warn("the database that the backup was tried in could not be dropped", "error", err)
		}
	}()
	scratch, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	scratch.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // a pooler may be in between
	conn, err := pgx.ConnectConfig(ctx, scratch)
	if err != nil {
		return err
	}
	defer closeSoon(conn)
	to := restoring{}
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		to.tx = tx
		return to.load(ctx, f)
	}); err != nil {
		return fmt.Errorf("the backup can't be restored: %w", err)
	}
	sums, err := sumsOf(ctx, conn, to.m.Tables)
	if err != nil {
		return err
	}
	for i, t := range to.m.Tables {
		if sums[i] != t {
			return fmt.Errorf("%s has %d rows after restoring, and %d in the backup, or they are not the same", t.Copy, sums[i].Rows, t.Rows)
		}
	}
	migrations, err := loadMigrations(sqlFiles)
	if err == nil {
		err = migrate(ctx, dsn, migrations, log)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "The backup of %s is good: %d tables with %d rows and %d files with %s were restored and compared, in %s\n", to.head.MadeAt.Format("2 January 2006, 15:04 UTC"),
		len(to.m.Tables), to.m.rows(), to.m.Files, formatSize(to.m.Bytes), time.Since(began).Round(100*time.Millisecond))
	if n := len(to.m.Missing) + len(to.m.Damaged); n > 0 {
		return fmt.Errorf("%d files were missing or damaged when it was made: %s", n, strings.Join(append(to.m.Missing, to.m.Damaged...), ", "))
	}
	return nil
}

// scratchDatabase makes an empty database beside the one given, or where that
// is not allowed, or none is given, in a PostgreSQL of its own.
func scratchDatabase(ctx context.Context, databaseURL string, log *slog.Logger) (dsn string, drop func() error, err error) {
	var refused error
	if databaseURL != "" {
		if dsn, drop, refused = databaseBeside(ctx, databaseURL); refused == nil {
			return dsn, drop, nil
		}
	}
	dir, err := os.MkdirTemp("", "chatter-verify-")
	if err != nil {
		return "", nil, err
	}
	own, err := startCluster(ctx, clusterOptions{dir: dir, throwaway: true, log: log})
	if err != nil {
		_ = os.Remove(dir)
		if refused != nil {
			err = fmt.Errorf("no database can be made to try the backup in: %w; let the user of DATABASE_URL make some (alter role NAME createdb), or install PostgreSQL here (%w)", refused, err)
		}
		return "", nil, err
	}
	return own.dsn(), own.stop, nil
}

// databaseBeside makes a database on the same server.
func databaseBeside(ctx context.Context, databaseURL string) (dsn string, drop func() error, err error) {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return "", nil, err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // a pooler may be in between
	guard, tx, err := openGuard(ctx, cfg)
	if err != nil {
		return "", nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		closeSoon(guard)
		return "", nil, err
	}
	prefix := "chatter_verify_" + shortHash(cfg.Database) + "_"
	defer func() {
		if err != nil {
			closeSoon(conn)
			closeSoon(guard)
		}
	}()
	// Whoever tries a backup holds a lock; so what is there when it is free was left
	// by somebody who was killed.
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, int64(verifyLock)); err != nil {
		return "", nil, err
	}
	rows, err := conn.Query(ctx, `select quote_ident(datname) from pg_database where datname ~ $1`, "^"+prefix)
	if err != nil {
		return "", nil, err
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return "", nil, err
	}
	for _, name := range left {
		_, _ = conn.Exec(ctx, `drop database `+name) // which fails while somebody uses it
	}
	name := prefix + fmt.Sprint(time.Now().UnixNano())
	if _, err := conn.Exec(ctx, `create database `+name+` template template0`); err != nil {
		return "", nil, err
	}
	return onDatabase(databaseURL, name), func() error {
		defer closeSoon(guard)
		defer closeSoon(conn)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := conn.Exec(ctx, `drop database `+name+` with (force)`)
		return err
	}, nil
}

// onDatabase is a connection string for another database of the same server.
func onDatabase(dsn, name string) string {
	if u, err := url.Parse(dsn); err == nil && u.Scheme != "" {
		u.Path = "/" + name
		return u.String()
	}
	return dsn + " dbname=" + name // the last one counts
}
