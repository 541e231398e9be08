package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// work does what the server does beside the requests, until ctx ends.
func (s *server) work(ctx context.Context) {
	var all sync.WaitGroup
	for _, worker := range []func(context.Context){s.upkeep, s.deliverMail, s.watchStorage, s.countLateViews, s.tellChanges, s.hearChanges, s.countFailures} {
		all.Go(func() { s.keepOn(ctx, worker) })
	}
	all.Wait()
}

// keepOn runs a worker until ctx ends, again when it panics.
func (s *server) keepOn(ctx context.Context, worker func(context.Context)) {
	for {
		err := guarded(func() error { worker(ctx); return nil })
		if err == nil {
			return
		}
		s.log.Error("a worker failed and is started again", "error", err)
		if pause(ctx, time.Second) != nil {
			return
		}
	}
}

// maxErrands bounds what later has under way.
const maxErrands = 64

// later does something after the answer to a request, so that the time of the
// answer tells nothing of it. The error says that too much is under way.
func (s *server) later(what string, do func(ctx context.Context) error) error {
	select {
	case s.errandSlots <- struct{}{}:
	default:
		return &httpError{status: http.StatusServiceUnavailable, detail: "Too much is going on at the moment, please try again in a few seconds", retryAfter: 5}
	}
	s.errands.Go(func() {
		defer func() { <-s.errandSlots }()
		s.errandsMayRun.RLock()
		defer s.errandsMayRun.RUnlock()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := guarded(func() error { return do(ctx) }); err != nil {
			s.log.Error(what, "error", err)
		}
	})
	return nil
}

// job is upkeep that one of the instances on a database does every so often.
type job struct {
	name  string
	every time.Duration
	run   func(ctx context.Context) error
}

func (s *server) jobs() []job {
	jobs := []job{
		{"retention", 24 * time.Hour, s.cleanUp},
		{"report digest", digestEvery, s.reportDigest},
		{"sweep storage", 30 * time.Minute, s.sweep},
		{"prepare pictures", 4 * time.Minute, func(ctx context.Context) error { return s.prepareSome(ctx, 100) }},
		{"visitors", 10 * time.Minute, s.forgetVisitors},
	}
	if s.cfg.backupDir != "" {
		jobs = append(jobs, job{"backup", 24 * time.Hour, s.backupJob})
	}
	return jobs
}

// upkeep runs the jobs that are due, and looks again every few minutes.
func (s *server) upkeep(ctx context.Context) {
	ticker := time.NewTicker(5 * time.Minute)
	defer ticker.Stop()
	for {
		for _, j := range s.jobs() {
			if err := s.runWhenDue(ctx, j); err != nil && ctx.Err() == nil {
				s.log.Error("upkeep failed and is tried again", "job", j.name, "error", err)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// runWhenDue runs a job unless it ran not long ago, or runs just now on
// another instance: who runs it holds an advisory lock, in a transaction that
// does nothing else until it notes that the job is done, and that ends with the
// connection should the instance die.
func (s *server) runWhenDue(ctx context.Context, j job) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		if err := untimed(ctx, tx); err != nil {
			return err
		}
		now := s.now().UTC()
		var mine, due bool
		if err := tx.QueryRow(ctx, `select pg_try_advisory_xact_lock(hashtext('chatter job'), hashtext($1))`, j.name).Scan(&mine); err != nil || !mine {
			return err
		}
		// What ran in the future did so by a clock that was wrong.
		err := tx.QueryRow(ctx, `select coalesce((select ran_at <= $2 or ran_at > $3 from job where name = $1), true)`, j.name, now.Add(-j.every), now.Add(time.Hour)).Scan(&due)
		if err != nil || !due {
			return err
		}
		began := time.Now()
		err = guarded(func() error { return j.run(ctx) })
		s.meters.job(j.name, time.Since(began), err)
		s.cache.changed()
		if err == nil {
			_, err = tx.Exec(ctx, `insert into job (name, ran_at) values ($1, $2) on conflict (name) do update set ran_at = excluded.ran_at`, j.name, now)
		}
		return err
	})
}

// countFailures writes down once a minute, and in the end, how many answers said
// that something went wrong here.
func (s *server) countFailures(ctx context.Context) {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.noteFailures(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			s.noteFailures(last)
			return
		}
	}
}

// noteFailures adds what has been counted to today's row. What can't be written
// is tried again the next time.
func (s *server) noteFailures(ctx context.Context) {
	n := s.failures.Swap(0)
	if n == 0 {
		return
	}
	_, err := s.db.Exec(ctx, `
		insert into error_day as d (day, error_count) values ($1, $2) on conflict (day) do update set error_count = d.error_count + excluded.error_count`, s.now().UTC(), n)
	if err != nil {
		s.failures.Add(n)
		s.log.Warn("the errors of the day can't be written down yet", "error", err)
	}
}
