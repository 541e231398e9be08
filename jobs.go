package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// work does what the server does beside the requests, until ctx ends.
func (s *server) work(ctx context.Context) {
	var all sync.WaitGroup
	for _, worker := range []func(context.Context){s.upkeep, s.deliverMail, s.watchStorage} {
		all.Go(func() { worker(ctx) })
	}
	all.Wait()
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
		if err := do(ctx); err != nil {
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
	return []job{
		{"retention", 24 * time.Hour, s.cleanUp},
		{"report digest", digestEvery, s.reportDigest},
		{"sweep storage", 30 * time.Minute, s.sweep},
		{"prepare pictures", 4 * time.Minute, func(ctx context.Context) error { return s.prepareSome(ctx, 100) }},
		{"visitors", 10 * time.Minute, s.forgetVisitors},
	}
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
// another instance: the row of a running job is locked.
func (s *server) runWhenDue(ctx context.Context, j job) error {
	if _, err := s.db.Exec(ctx, `insert into job (name) values ($1) on conflict do nothing`, j.name); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		now := s.now().UTC()
		var due bool
		err := tx.QueryRow(ctx, `select ran_at is null or ran_at <= $2 from job where name = $1 for update skip locked`, j.name, now.Add(-j.every)).Scan(&due)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && !due {
			return nil
		}
		if err == nil {
			err = j.run(ctx)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `update job set ran_at = $2 where name = $1`, j.name, now)
		}
		return err
	})
}
