// Chatter is a community back end for maker sites: accounts, likes, comments,
// page views, and projects that people can rebuild.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // for TZ where there are no zone files, as in the container

	"github.com/jackc/pgx/v5/pgxpool"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "chatter:", err)
		os.Exit(1)
	}
}

const usage = `Chatter, a community back end for maker sites.

Usage: chatter [COMMAND]

  serve                        start the server (the default)
  migrate [up] [--dry-run]     bring the database up to date, or print the SQL that would
  migrate status               say which migrations the database has
  migrate down N|all           take the last N migrations back
  admin create NAME EMAIL      make an admin; the password is printed once
  admin promote NAME           make an account an admin
  admin list                   list the admins
  media import --from DIR      copy the older service's upload folders into the storage
  media verify [--repair]      check every stored file by its checksum, and mend what can be mended
  nas test                     try everything that the server does with the NAS
  nas sync [--back]            move what waits to the NAS, or copy everything back from it
  comments export FILE         write all comments to a file
  comments import [--create-authors] FILE
                               add the comments of such a file that are not here yet
  backup [--keep N] FILE       write the database and all stored files into one archive; into a folder
                               under a name with the time, and - is the standard output
  backup verify FILE           restore a backup into a database of its own and compare
  restore FILE                 bring a backup back into an empty database and storage; - is the
                               standard input
  move-url OLD NEW             move a renamed page's likes, comments and views
  demo [URL]                   fill a running server with a small demo site
  health [URL]                 ask a running server whether it is well
  settings                     print the settings as docs/CONFIGURATION.md has them
  version                      print the version
  help                         print this text

Settings come from the environment and from a file .env:

`

// run is the program: args without its name, settings through getenv. It
// returns when the command is done, or for serve when ctx ends.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	command := "serve"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		for _, st := range settings {
			fmt.Fprintf(stdout, "  %-16s %s", st.name, st.help)
			if st.fallback != "" {
				fmt.Fprintf(stdout, " (default %s)", st.fallback)
			}
			fmt.Fprintln(stdout)
		}
		return nil
	case "settings":
		fmt.Fprint(stdout, settingsMarkdown())
		return nil
	case "version", "--version":
		thisBuild().print(stdout)
		return nil
	}
	settingsNow := func() (func(string) string, error) { return withDotEnv(".env", getenv) }
	lookup, err := settingsNow()
	if err != nil {
		return err
	}
	cfg, err := loadConfig(lookup)
	if err != nil {
		return err
	}
	log := newLogger(cfg, stderr, cfg.logLevel)
	base := append(args, "http://localhost:"+cfg.port)[0]
	switch {
	case command == "serve":
		return serve(ctx, cfg, settingsNow, stdout, stderr)
	case command == "health":
		return checkHealth(ctx, base, stdout)
	case command == "demo" && cfg.production:
		return errors.New("the demo's people have a password that everybody can read; it is not for production")
	case command == "demo":
		return fillDemo(ctx, base, operatorToken(cfg.secretKey, time.Now()), stdout)
	case command == "migrate":
		return withDatabase(ctx, cfg, log, func(dsn string) error {
			return migrateCommand(ctx, dsn, args, stdout, log)
		})
	case command == "admin" && len(args) > 0:
		return withServer(ctx, cfg, log, func(s *server) error { return s.adminCommand(ctx, args, stdout) })
	case command == "media" && len(args) == 3 && args[0] == "import" && args[1] == "--from":
		return withServer(ctx, cfg, log, func(s *server) error { return s.importMedia(ctx, args[2], stdout) })
	case command == "media" && (slices.Equal(args, []string{"verify"}) || slices.Equal(args, []string{"verify", "--repair"})):
		return withServer(ctx, cfg, log, func(s *server) error { return s.verifyMedia(ctx, len(args) == 2, stdout) })
	case command == "nas" && slices.Equal(args, []string{"test"}):
		return testNAS(ctx, cfg.nas, stdout)
	case command == "nas" && (slices.Equal(args, []string{"sync"}) || slices.Equal(args, []string{"sync", "--back"})):
		return withServer(ctx, cfg, log, func(s *server) error { return s.syncNAS(ctx, len(args) == 2, stdout) })
	case command == "comments":
		return withServer(ctx, cfg, log, func(s *server) error { return s.commentsCommand(ctx, args, stdout) })
	case command == "backup":
		return backupCommand(ctx, cfg, args, stdout, stderr, log)
	case command == "restore" && len(args) == 1:
		return restoreCommand(ctx, cfg, args[0], stdout, log)
	case command == "restore":
		return errors.New("usage: chatter restore FILE|-")
	case command == "move-url" && len(args) == 2:
		return withServer(ctx, cfg, log, func(s *server) error {
			m, err := s.moveURL(ctx, args[0], args[1])
			if err != nil {
				return errors.New(publicError(err).detail)
			}
			fmt.Fprintln(stdout, m.Message)
			return nil
		})
	}
	return fmt.Errorf("unknown command %q; see: chatter help", strings.Join(append([]string{command}, args...), " "))
}

// withDatabase calls do with the address of a command's database. Beside a
// running server that has its own PostgreSQL it is that one's.
func withDatabase(ctx context.Context, cfg config, log *slog.Logger, do func(dsn string) error) error {
	dsn := cfg.databaseURL
	if dsn == "" {
		dir := filepath.Join(cfg.dataDir, "postgres")
		if running, ok := runningCluster(dir); ok {
			dsn = running
		} else if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("there is no database in DATA_DIR (%s); set DATA_DIR or DATABASE_URL to the server's, or start the server first", cfg.dataDir)
		} else {
			own, err := startCluster(ctx, clusterOptions{dir: dir, log: log})
			if err != nil {
				return err
			}
			defer own.stop()
			dsn = own.dsn()
		}
	}
	return do(dsn)
}

// withServer calls do with a server that has no pages and no limits, for the
// commands that do what its endpoints do.
func withServer(ctx context.Context, cfg config, log *slog.Logger, do func(s *server) error) error {
	return withDatabase(ctx, cfg, log, func(dsn string) error {
		db, err := openMigrated(ctx, dsn, log)
		if err != nil {
			return err
		}
		defer db.Close()
		s, err := plainServer(cfg, db, log)
		if err != nil {
			return err
		}
		if err := do(s); err != nil {
			return err
		}
		s.cache.changed() // for the servers that run
		return s.tell(ctx)
	})
}

// plainServer is a server for commands.
func plainServer(cfg config, db *pgxpool.Pool, log *slog.Logger) (*server, error) {
	st, err := openStorage(cfg, log)
	return &server{cfg: cfg, db: db, storage: st, hasher: newHasher(19456, 2), now: time.Now, log: log, decoding: make(chan struct{}, maxDecoding), cache: newCache()}, err
}

// openMigrated waits for the database, brings it up to date and opens it.
func openMigrated(ctx context.Context, dsn string, log *slog.Logger) (*pgxpool.Pool, error) {
	db, err := openDatabase(ctx, dsn, time.Minute, log)
	if err != nil {
		return nil, err
	}
	migrations, err := loadMigrations(sqlFiles)
	if err == nil {
		err = migrate(ctx, dsn, migrations, log)
	}
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// redact names a database by what is no secret of its address.
func redact(dsn string) string {
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil || dsn == "" {
		return ""
	}
	c := cfg.ConnConfig
	return fmt.Sprintf("%s on %s:%d as %s", c.Database, c.Host, c.Port, c.User)
}

// adminCommand is `chatter admin …`.
func (s *server) adminCommand(ctx context.Context, args []string, stdout io.Writer) error {
	byConsole := client{address: "console", userAgent: "chatter admin"}
	switch {
	case args[0] == "create" && len(args) == 3:
		password := newPassword()
		in := &input{where: "body", fields: map[string]json.RawMessage{}}
		in.setValues(url.Values{"username": {args[1]}, "email": {args[2]}, "firstname": {args[1]}, "lastname": {""}, "password": {password}})
		if _, err := s.createAccount(ctx, in, 1, registrar{byConsole, true, func() error { return nil }}); err != nil {
			return errors.New(publicError(err).detail)
		}
		fmt.Fprintf(stdout, "Admin %s can sign in at %s/login with the password %s\nIt is shown only this once; change it on the account page.\n",
			args[1], s.cfg.publicURL, password)
		return nil
	case args[0] == "promote" && len(args) == 2:
		tag, err := s.db.Exec(ctx, `
			with promoted as (update "user" set type = 1, updated_at = now() where id = (
				select id from "user" where lower(username) = lower($1) order by username = $1 desc, username_double limit 1) and type <> 1 returning id)
			insert into accountlog (user_id, action, field_changed, old_value, new_value, ip_address, user_agent)
			select id, 'promoted', 'type', '0', '1', $2, $3 from promoted`, args[1], byConsole.address, byConsole.userAgent)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return fmt.Errorf("no account named %s that is not an admin already", args[1])
		}
		fmt.Fprintf(stdout, "%s is an admin now.\n", args[1])
		return nil
	case args[0] == "list" && len(args) == 1:
		rows, err := s.db.Query(ctx, `select username, email, status from "user" where type = 1 order by id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var username, email, status string
			if err := rows.Scan(&username, &email, &status); err != nil {
				return err
			}
			fmt.Fprintf(stdout, "%s\t%s\t%s\n", username, email, status)
		}
		return rows.Err()
	}
	return errors.New("usage: chatter admin create NAME EMAIL | promote NAME | list")
}

// newPassword is a random password of about 100 bits that every rule accepts.
func newPassword() string {
	text := rand.Text() // 26 of A–Z and 2–7
	return strings.ToLower(text[:7]) + "-" + text[7:14] + "-" + strings.ToLower(text[14:20]) + "7"
}
