package main

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
)

// systemPage is the data of admin_system.html.
type systemPage struct {
	Build        build
	Now          time.Time
	Database     string // its version
	DatabaseSize string
	Connections  int // in use, and Most at once
	Most         int
	Migrations   []appliedStep
	Storage      storageState
	Mail         string
	Waiting      int
	Letters      []waitingLetter
	Jobs         []jobState
	Settings     []settingInForce
}

// appliedStep is a migration that the database has.
type appliedStep struct {
	Version   string
	AppliedAt *time.Time
}

// jobState is when a job ran last.
type jobState struct {
	Name    string
	Every   time.Duration
	RanAt   *time.Time
	Overdue bool
}

// Rhythm is how often it runs, for people.
func (j jobState) Rhythm() string {
	if hours := int(j.Every.Hours()); hours > 0 {
		return countOf(hours, "hour", "hours")
	}
	return countOf(int(j.Every.Minutes()), "minute", "minutes")
}

// listJobs returns the jobs. One that never ran is not overdue: a server that
// has just been started has them all before it.
func (s *server) listJobs(ctx context.Context) (list []jobState, err error) {
	ran := map[string]*time.Time{}
	rows, err := s.db.Query(ctx, `select name, ran_at from job`)
	if err != nil {
		return nil, err
	}
	var name string
	var at *time.Time
	if _, err := pgx.ForEachRow(rows, []any{&name, &at}, func() error {
		ran[name] = at
		return nil
	}); err != nil {
		return nil, err
	}
	for _, j := range s.jobs() {
		at := ran[j.name]
		list = append(list, jobState{j.name, j.every, at, at != nil && s.now().Sub(*at) > 2*j.every+15*time.Minute})
	}
	return list, nil
}

// waitingLetter is a letter that has been tried in vain, or given up. What it
// says and to whom is nobody's business but its recipient's.
type waitingLetter struct {
	ID            int
	Kind          string
	To            string // masked
	CreatedAt     time.Time
	NextAttemptAt time.Time
	Attempts      int
	LastError     *string
	GivenUpAt     *time.Time
}

// listLetters returns the letters that could not be sent, those first that were
// given up.
func (s *server) listLetters(ctx context.Context, limit int) ([]waitingLetter, error) {
	rows, err := s.db.Query(ctx, `
		select id, letter, created_at, next_attempt_at, attempts, last_error, given_up_at from outbox
		where attempts > 0 or given_up_at is not null order by given_up_at desc nulls last, id desc limit $1`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (l waitingLetter, err error) {
		var sealed []byte
		if err := row.Scan(&l.ID, &sealed, &l.CreatedAt, &l.NextAttemptAt, &l.Attempts, &l.LastError, &l.GivenUpAt); err != nil {
			return l, err
		}
		l.Kind = "(of another SECRET_KEY)"
		var whole letter
		if plain, err := s.unseal("mail", sealed); err == nil && json.Unmarshal(plain, &whole) == nil {
			l.Kind, l.To = whole.Name, maskEmail(whole.To)
		}
		return l, nil
	})
}

// showSystem answers how the server is.
func (s *server) showSystem(w http.ResponseWriter, r *http.Request, v viewer) error {
	ctx := r.Context()
	stat := s.db.Stat()
	data := systemPage{Build: thisBuild(), Now: s.now().UTC(), Mail: s.cfg.mailRoute(), Settings: s.cfg.inForce, Connections: int(stat.AcquiredConns()), Most: int(stat.MaxConns())}
	var size int64
	err := s.db.QueryRow(ctx, `select current_setting('server_version'), pg_database_size(current_database()), (select count(*) from outbox where given_up_at is null)`).
		Scan(&data.Database, &size, &data.Waiting)
	if err != nil {
		return err
	}
	data.DatabaseSize = formatSize(size)
	if data.Migrations, err = many[appliedStep](ctx, s.db, `select version, applied_at from schema_version order by version desc`); err != nil {
		return err
	}
	if data.Storage, err = s.storageState(ctx); err != nil {
		return err
	}
	if data.Letters, err = s.listLetters(ctx, 100); err != nil {
		return err
	}
	if data.Jobs, err = s.listJobs(ctx); err != nil {
		return err
	}
	return s.render(w, r, http.StatusOK, "admin_system", v, "System", data)
}

// sendLetterAgain has a letter tried again at once, and for as long as a new one.
func (s *server) sendLetterAgain(w http.ResponseWriter, r *http.Request, v viewer) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(r.Context(), s.db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(r.Context(), `update outbox set given_up_at = null, attempts = 0, created_at = $2, next_attempt_at = $2 where id = $1`, id, s.now().UTC())
		if err == nil && tag.RowsAffected() == 0 {
			err = fail(http.StatusNotFound, "This letter has been sent by now, or was dropped")
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(r.Context(), `select pg_notify('outbox', '')`); err != nil {
			return err
		}
		return audit{action: "letter_sent_again", field: "letter", by: v.ID, client: s.clientOf(r)}.write(r.Context(), tx, v.ID)
	})
	if err != nil {
		return err
	}
	return s.done(w, r, "/admin/system#letters", "The e-mail is tried again now.")
}
