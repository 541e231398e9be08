package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
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

// migration is one file of sql/migrations: its name is VERSION_words.sql, and
// the versions run in the order of their text. Versions below 100 belong to
// the older service.
type migration struct {
	version, name, sql, checksum string
}

// migrationLock is the advisory lock that only one migrating process holds.
const migrationLock = 0x43686174746572 // "Chatter"

func loadMigrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "sql/migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var all []migration
	for _, name := range names { // Glob sorts
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		version, _, _ := strings.Cut(path.Base(name), "_")
		sum := sha256.Sum256(text)
		all = append(all, migration{version, path.Base(name), string(text), hex.EncodeToString(sum[:])})
	}
	return all, nil
}

// migrate brings the schema up to date. Each migration runs in a transaction
// of its own together with its row in schema_version, so that one that fails
// leaves nothing behind. Several servers may start at once: one migrates, the
// others wait for it.
func migrate(ctx context.Context, databaseURL string, migrations []migration, log *slog.Logger) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `select pg_advisory_lock($1)`, migrationLock); err != nil {
		return err
	}
	applied, err := appliedMigrations(ctx, conn)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, m := range migrations {
		known[m.version] = true
		checksum, done := applied[m.version]
		if done && checksum != m.checksum {
			return fmt.Errorf("migration %s was applied to this database in another form; install the Chatter that fits the database, or restore a backup", m.name)
		}
		if done {
			continue
		}
		started := time.Now()
		if err := applyMigration(ctx, conn, m); err != nil {
			return fmt.Errorf("migration %s failed, and the database is as it was before it: %w", m.name, err)
		}
		log.Info("migrated", "migration", m.name, "took", time.Since(started).Round(time.Millisecond))
	}
	for version := range applied {
		if !known[version] {
			return fmt.Errorf("the database has migration %s, which this Chatter does not know; start the newer Chatter that made it", version)
		}
	}
	return nil
}

// appliedMigrations returns the checksum of each of Chatter's migrations that
// the database has, by version, and creates the table that keeps them.
func appliedMigrations(ctx context.Context, conn *pgx.Conn) (map[string]string, error) {
	rows, err := conn.Query(ctx, `select to_regclass('schema_version') is not null, to_regclass('"user"') is not null`)
	if err != nil {
		return nil, err
	}
	state, err := pgx.CollectOneRow(rows, pgx.RowToStructByPos[struct{ Versions, Users bool }])
	if err != nil {
		return nil, err
	}
	applied := map[string]string{}
	if state.Versions {
		rows, err := conn.Query(ctx, `select version, coalesce(checksum, '') from schema_version where version ~ '^[1-9][0-9]{2}$'`)
		if err != nil {
			return nil, err
		}
		var version, checksum string
		if _, err := pgx.ForEachRow(rows, []any{&version, &checksum}, func() error {
			applied[version] = checksum
			return nil
		}); err != nil {
			return nil, err
		}
	}
	if state.Users && len(applied) == 0 {
		return nil, errors.New("the database holds the tables of the older service, which this version can't take over yet; nothing was changed; set DATABASE_URL to an empty database")
	}
	_, err = conn.Exec(ctx, `create table if not exists schema_version (
		id          serial primary key,
		version     varchar not null unique,
		description varchar not null,
		applied_at  timestamp default now(),
		checksum    varchar)`)
	return applied, err
}

func applyMigration(ctx context.Context, conn *pgx.Conn, m migration) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// The simple protocol takes a file of many statements.
		if _, err := tx.Conn().PgConn().Exec(ctx, m.sql).ReadAll(); err != nil {
			var pgErr *pgconn.PgError
			if errors.As(err, &pgErr) && pgErr.Position > 0 {
				line := 1 + strings.Count(string([]rune(m.sql)[:pgErr.Position-1]), "\n")
				return fmt.Errorf("line %d: %w", line, err)
			}
			return err
		}
		_, err := tx.Exec(ctx, `insert into schema_version (version, description, checksum) values ($1, $2, $3)`,
			m.version, m.name, m.checksum)
		return err
	})
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
	params["statement_timeout"] = "15000"
	params["idle_in_transaction_session_timeout"] = "30000"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(patience)
	for told := false; ; {
		err := pool.Ping(ctx)
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
