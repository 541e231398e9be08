package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
)

var quiet = slog.New(slog.DiscardHandler)

// scalar is the one text that a query gives.
func scalar(t *testing.T, dsn, sql string) (text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), `select (`+sql+`)::text`).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

func migrationsOf(t *testing.T, files map[string]string) []migration {
	t.Helper()
	fs := fstest.MapFS{}
	for name, text := range files {
		fs["sql/migrations/"+name+".up.sql"] = &fstest.MapFile{Data: []byte(text)}
		fs["sql/migrations/"+name+".down.sql"] = &fstest.MapFile{Data: []byte("drop table one")}
	}
	list, err := loadMigrations(fs)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t, "template0")
	one := map[string]string{"100_one": "create table one (id int);\ninsert into one values (1);"}
	if err := migrate(t.Context(), dsn, migrationsOf(t, one), quiet); err != nil {
		t.Fatal(err)
	}
	same(t, "recorded", scalar(t, dsn, `select string_agg(version || ' ' || description, ',') from schema_version where checksum is not null`), "100 100_one")
	// A second run does nothing.
	if err := migrate(t.Context(), dsn, migrationsOf(t, one), quiet); err != nil {
		t.Fatal(err)
	}
	same(t, "once", scalar(t, dsn, `select count(*) from one`), "1")
	// One that fails leaves the database as it was and says where.
	bad := map[string]string{"100_one": one["100_one"], "101_two": "insert into one values (2);\n\nselect nonsense;"}
	err := migrate(t.Context(), dsn, migrationsOf(t, bad), quiet)
	same(t, "where", err != nil && strings.Contains(err.Error(), "101_two") && strings.Contains(err.Error(), "statement 3 «select nonsense»") && strings.Contains(err.Error(), "nonsense"), true)
	same(t, "rolled back", scalar(t, dsn, `select count(*) from one`), "1")
	same(t, "not recorded", scalar(t, dsn, `select count(*) from schema_version`), "1")
	// A changed file and an unknown migration are noticed.
	err = migrate(t.Context(), dsn, migrationsOf(t, map[string]string{"100_one": "select 1"}), quiet)
	same(t, "changed", err != nil && strings.Contains(err.Error(), "100_one was applied to this database in another form"), true)
	err = migrate(t.Context(), dsn, nil, quiet)
	same(t, "newer", err != nil && strings.Contains(err.Error(), "migration 100, which this Chatter does not know"), true)
}

func TestManyServersMigrateOnce(t *testing.T) {
	t.Parallel()
	dsn := newDatabase(t, "template0")
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			db, err := openMigrated(t.Context(), dsn, quiet)
			if err != nil {
				t.Error(err)
				return
			}
			db.Close()
		})
	}
	group.Wait()
	same(t, "rows", scalar(t, dsn, `select count(*) = count(distinct version) from schema_version`), "true")
}

func TestWaitingForTheDatabase(t *testing.T) {
	t.Parallel()
	needDatabase(t)
	// What waiting won't change ends the wait at once.
	_, err := openDatabase(t.Context(), testDSN("no_such_database"), time.Hour, quiet)
	same(t, "no such database", err != nil && strings.Contains(err.Error(), "no_such_database"), true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = openDatabase(ctx, "postgres://x@127.0.0.1:1/x", time.Hour, quiet)
	same(t, "cancelled", err != nil, true)
}
