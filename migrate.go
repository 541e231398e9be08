package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed sql
var sqlFiles embed.FS

// queries are the longer statements, sql/NAME.sql, by name.
var queries = func() map[string]string {
	byName := map[string]string{}
	names, _ := fs.Glob(sqlFiles, "sql/*.sql") // the pattern is well formed
	for _, name := range names {
		text, err := sqlFiles.ReadFile(name)
		if err != nil {
			panic(err) // the file is part of the binary
		}
		byName[strings.TrimSuffix(path.Base(name), ".sql")] = string(text)
	}
	return byName
}()

// migration is a pair of files in sql/migrations, VERSION_words.up.sql and its
// way back, VERSION_words.down.sql. The versions run in the order of their
// text; those below 100 belong to the older service.
type migration struct {
	version, name, up, down, checksum string
}

func loadMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "sql/migrations/*.up.sql")
	if err != nil {
		return nil, err
	}
	var all []migration
	for _, name := range names { // Glob sorts
		up, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		down, err := fs.ReadFile(files, strings.TrimSuffix(name, ".up.sql")+".down.sql")
		if err != nil {
			return nil, err
		}
		version, _, _ := strings.Cut(path.Base(name), "_")
		sum := sha256.Sum256(up)
		all = append(all, migration{version, strings.TrimSuffix(path.Base(name), ".up.sql"), string(up), string(down), hex.EncodeToString(sum[:])})
	}
	return all, nil
}

// migrator brings one database's schema up and down. While it changes
// something it holds an advisory lock, so that of several processes one migrates
// and the others wait.
type migrator struct {
	conn, guard *pgx.Conn // the lock is held on guard, once there is one
	migrations  []migration
	applied     map[string]appliedMigration // by version
	older       bool                        // the tables are the older service's
	log         *slog.Logger
}

type appliedMigration struct {
	Version, Checksum string
	AppliedAt         *time.Time
}

// migrationLock is the advisory lock that only one migrating process holds.
const migrationLock = 0x43686174746572 // "Chatter"

// versionTable is made by the migrator, since it has to be there first; it has
// the older service's form.
const versionTable = `create table if not exists schema_version (
    id          serial primary key,
    version     varchar not null unique,
    description varchar not null,
    applied_at  timestamp default now(),
    checksum    varchar
);
`

// openMigrator connects and reads what the database has. It refuses a database
// that another Chatter has brought further than this one knows, or differently.
func openMigrator(ctx context.Context, databaseURL string, migrations []migration, log *slog.Logger) (*migrator, error) {
	cfg, err := pgx.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["timezone"] = "UTC"
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // a pooler may be in between
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Severity == "NOTICE" && n.Code == "00000" {
			log.Info("migrating", "progress", n.Message)
		}
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	m := &migrator{conn: conn, migrations: migrations, log: log}
	if err := m.inspect(ctx); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// close lets go of the lock, too.
func (m *migrator) close() {
	if m.guard != nil {
		closeSoon(m.guard)
	}
	closeSoon(m.conn)
}

// lock waits until nobody else migrates, and reads what the database has then.
func (m *migrator) lock(ctx context.Context) error {
	if m.guard != nil {
		return nil
	}
	// Asked again and again: those who wait must not take up all connections that a
	// pooler has, of which the one that migrates needs another.
	for {
		guard, tx, err := openGuard(ctx, m.conn.Config())
		if err != nil {
			return err
		}
		var mine bool
		if err = tx.QueryRow(ctx, `select pg_try_advisory_xact_lock($1)`, int64(migrationLock)).Scan(&mine); mine {
			m.guard = guard
			return m.inspect(ctx)
		}
		closeSoon(guard)
		if err := cmp.Or(err, pause(ctx, 100*time.Millisecond)); err != nil {
			return err
		}
	}
}

// openGuard begins a transaction for nothing but the advisory locks that are
// taken in it, on a connection of its own: a lock of a session would be left to
// somebody else where a pooler lends connections by the transaction. closeSoon
// lets go of them.
func openGuard(ctx context.Context, cfg *pgx.ConnConfig) (*pgx.Conn, pgx.Tx, error) {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	tx, err := conn.Begin(ctx)
	if err == nil {
		err = untimed(ctx, tx)
	}
	if err != nil {
		closeSoon(conn)
		return nil, nil, err
	}
	return conn, tx, nil
}

// untimed lifts the limits of time from a transaction.
func untimed(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0`)
	return err
}

func (m *migrator) inspect(ctx context.Context) error {
	m.applied = map[string]appliedMigration{}
	var versions, users bool
	if err := m.conn.QueryRow(ctx, `select to_regclass('schema_version') is not null, to_regclass('"user"') is not null`).Scan(&versions, &users); err != nil {
		return err
	}
	if versions {
		// What the older service wrote here can't be trusted, and is not read.
		rows, err := m.conn.Query(ctx, `
			select version, coalesce(to_jsonb(v) ->> 'checksum', '') as checksum, applied_at
			from schema_version v where version ~ '^[1-9][0-9]{2}$'`)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[appliedMigration])
		if err != nil {
			return err
		}
		for _, a := range found {
			m.applied[a.Version] = a
		}
	}
	m.older = users && len(m.applied) == 0
	known := map[string]string{}
	for _, mig := range m.migrations {
		known[mig.version] = mig.checksum
		if a, done := m.applied[mig.version]; done && a.Checksum != mig.checksum {
			return fmt.Errorf("migration %s was applied to this database in another form; install the Chatter that fits the database, or restore a backup", mig.name)
		}
	}
	for version := range m.applied {
		if known[version] == "" {
			return fmt.Errorf("the database has migration %s, which this Chatter does not know; start the newer Chatter that made it", version)
		}
	}
	return nil
}

// pending are the migrations that the database lacks.
func (m *migrator) pending() (list []migration) {
	for _, mig := range m.migrations {
		if _, done := m.applied[mig.version]; !done {
			list = append(list, mig)
		}
	}
	return list
}

// upSQL is what runs for a migration. The first one on a database of the older
// service makes its tables aside, as the pattern to which takeover.sql brings
// the ones that are there.
func (m *migrator) upSQL(mig migration) string {
	sql := versionTable + mig.up
	if m.older && mig.version == m.migrations[0].version {
		sql = "create schema chatter_new;\nselect set_config('chatter.path', current_setting('search_path'), true);\n" +
			"set local search_path to chatter_new;\n" + sql +
			"\nselect set_config('search_path', current_setting('chatter.path'), true);\n" + queries["takeover"]
	}
	return sql
}

// up brings the schema up to date. Each migration runs in a transaction of its
// own together with its row in schema_version, so that one that fails leaves
// nothing behind.
func (m *migrator) up(ctx context.Context) error {
	if len(m.pending()) == 0 {
		return nil
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	for _, mig := range m.pending() {
		if m.older {
			m.log.Info("taking over a database of the older service", "migration", mig.name)
		}
		err := m.run(ctx, mig.name, m.upSQL(mig), `insert into schema_version (version, description, checksum) values ($1, $2, $3)`,
			mig.version, mig.name, mig.checksum)
		if err != nil {
			return err
		}
		m.applied[mig.version] = appliedMigration{Version: mig.version, Checksum: mig.checksum}
		m.older = false
	}
	return nil
}

// down takes the last n migrations back.
func (m *migrator) down(ctx context.Context, n int) error {
	if err := m.lock(ctx); err != nil {
		return err
	}
	for _, mig := range slices.Backward(m.migrations) {
		if _, done := m.applied[mig.version]; !done || n == 0 {
			continue
		}
		if err := m.run(ctx, mig.name+" (back)", mig.down, `delete from schema_version where version = $1`, mig.version); err != nil {
			return err
		}
		delete(m.applied, mig.version)
		n--
	}
	return nil
}

// run executes a file and the statement that records it in one transaction.
func (m *migrator) run(ctx context.Context, name, sql, record string, args ...any) error {
	started := time.Now()
	err := pgx.BeginFunc(ctx, m.conn, func(tx pgx.Tx) error {
		if err := untimed(ctx, tx); err != nil {
			return err
		}
		// The simple protocol takes a file of many statements.
		done, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll()
		if err != nil {
			return fmt.Errorf("statement %d%s: %w", len(done)+1, culprit(sql, err), err)
		}
		_, err = tx.Exec(ctx, record, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("migration %s failed, and the database is as it was before it: %w", name, err)
	}
	m.log.Info("migrated", "migration", name, "took", time.Since(started).Round(time.Millisecond))
	return nil
}

// inContext finds the statement in the context of an error inside a DO block.
var inContext = regexp.MustCompile(`SQL statement "([^"]*(?:"[^\n]*)?)"\nPL/pgSQL`)

// culprit quotes the statement of a file that PostgreSQL's error is about,
// where the error tells.
func culprit(sql string, err error) string {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return ""
	}
	statement := ""
	if found := inContext.FindStringSubmatch(pgErr.Where); found != nil {
		statement = found[1]
	}
	if pgErr.Position > 0 {
		before, after := cutRunes(sql, int(pgErr.Position)-1)
		rest, _, _ := strings.Cut(after, ";")
		statement = before[strings.LastIndex(before, ";")+1:] + rest
	}
	if statement == "" {
		return ""
	}
	return " «" + truncate(oneLine(statement), 200) + "»"
}

// cutRunes cuts text after n characters.
func cutRunes(text string, n int) (before, after string) {
	for i := range text {
		if n == 0 {
			return text[:i], text[i:]
		}
		n--
	}
	return text, ""
}

// migrate brings the database up to date.
func migrate(ctx context.Context, databaseURL string, migrations []migration, log *slog.Logger) error {
	m, err := openMigrator(ctx, databaseURL, migrations, log)
	if err != nil {
		return err
	}
	defer m.close()
	return m.up(ctx)
}

// migrateCommand is `chatter migrate …`.
func migrateCommand(ctx context.Context, databaseURL string, args []string, stdout io.Writer, log *slog.Logger) error {
	migrations, err := loadMigrations(sqlFiles)
	if err != nil {
		return err
	}
	m, err := openMigrator(ctx, databaseURL, migrations, log)
	if err != nil {
		return err
	}
	defer m.close()
	dry := slices.Contains(args, "--dry-run")
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--dry-run" })
	action := "up"
	if len(args) > 0 {
		action = args[0]
	}
	switch {
	case action == "status" && len(args) == 1:
		if m.older {
			fmt.Fprintln(stdout, "The tables are the older service's; the first migration takes them over.")
		}
		for _, mig := range m.migrations {
			state := "would run"
			if a, done := m.applied[mig.version]; done {
				state = "applied"
				if a.AppliedAt != nil {
					state += " " + a.AppliedAt.Format(time.DateTime)
				}
			}
			fmt.Fprintf(stdout, "%-20s %s\n", mig.name, state)
		}
		return nil
	case action == "up" && len(args) < 2:
		if dry {
			for _, mig := range m.pending() {
				fmt.Fprintf(stdout, "-- %s\nbegin;\n%s\ncommit;\n", mig.name, m.upSQL(mig))
			}
			return nil
		}
		if err := m.up(ctx); err != nil {
			return err
		}
		fmt.Fprintln(stdout, "The database is up to date.")
		return nil
	case action == "down" && len(args) == 2:
		n, err := strconv.Atoi(args[1])
		if args[1] == "all" {
			n, err = len(m.applied), nil
		}
		if err != nil || n < 1 || n > len(m.applied) {
			return fmt.Errorf("down takes all, or a number from 1 to %d, the migrations that are applied", len(m.applied))
		}
		if dry {
			for _, mig := range slices.Backward(m.migrations[len(m.applied)-n : len(m.applied)]) {
				fmt.Fprintf(stdout, "-- %s (back)\nbegin;\n%s\ncommit;\n", mig.name, mig.down)
			}
			return nil
		}
		if err := m.down(ctx, n); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "Went back %d migrations. Starting this Chatter brings the database up again.\n", n)
		return nil
	}
	return errors.New("usage: chatter migrate [up] [--dry-run] | status | down N|all [--dry-run]")
}

// openDatabase returns a pool once the database answers, waiting for it up to
// the given time, since in a container both start together. An answer that
// waiting won't change (wrong password, no such database) ends the wait.
func openDatabase(ctx context.Context, databaseURL string, patience time.Duration, log *slog.Logger) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(databaseURL, "pool_max_conns") {
		cfg.MaxConns = 20
	}
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.ConnConfig.ConnectTimeout = 3 * time.Second
	params := cfg.ConnConfig.RuntimeParams
	params["timezone"] = "UTC"
	params["application_name"] = "chatter"
	if !throughPooler(cfg.ConnConfig) {
		params["statement_timeout"] = "15000"
		params["idle_in_transaction_session_timeout"] = "30000"
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(patience)
	for told := false; ; {
		pooler, err := findsPooler(ctx, pool)
		if pooler && !throughPooler(cfg.ConnConfig) {
			pool.Close()
			log.Info("the database is reached through a pooler")
			suitPooler(cfg.ConnConfig)
			if pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
				return nil, err
			}
			continue
		}
		if err == nil {
			return pool, nil
		}
		var pgErr *pgconn.PgError
		final := errors.As(err, &pgErr) && pgErr.Code != "57P03" && pgErr.Code != "53300" // starting up, no slot free
		if final || ctx.Err() != nil || time.Now().After(deadline) {
			pool.Close()
			return nil, fmt.Errorf("the database does not answer: %w", err)
		}
		if !told {
			log.Info("waiting for the database", "up to", patience, "reason", err.Error())
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// A pooler such as PgBouncer can lend a connection to PostgreSQL for a
// transaction only. Through one, whatever belongs to a session is lost or left
// to somebody else: settings given at the start, prepared statements, LISTEN,
// and locks that outlive their transaction.

// findsPooler asks the database something, and reports whether who answers is
// a pooler: it refuses settings that it does not know, or names another process
// than the one that does the work.
func findsPooler(ctx context.Context, pool *pgxpool.Pool) (bool, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		var pgErr *pgconn.PgError
		return errors.As(err, &pgErr) && pgErr.Code == "08P01" && strings.Contains(pgErr.Message, "startup parameter"), err
	}
	defer conn.Release()
	var pid uint32
	err = conn.QueryRow(ctx, `select pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid)
	return err == nil && pid != conn.Conn().PgConn().PID(), err
}

// suitPooler sets what goes through a pooler.
func suitPooler(c *pgx.ConnConfig) {
	delete(c.RuntimeParams, "statement_timeout")
	delete(c.RuntimeParams, "idle_in_transaction_session_timeout")
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
}

// throughPooler reports whether connections are made to suit a pooler: one was
// found, or default_query_exec_mode in DATABASE_URL says that there is one.
func throughPooler(c *pgx.ConnConfig) bool {
	return c.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement
}
