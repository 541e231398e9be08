package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// work does what the server does beside the requests, until ctx ends.
func (s *server) work(ctx context.Context) {
	var all sync.WaitGroup
	for _, worker := range []func(context.Context){s.upkeep, s.watchStorage} {
		all.Go(func() { worker(ctx) })
	}
	all.Wait()
}

// job is upkeep that one of the instances on a database does every so often.
type job struct {
	name  string
	every time.Duration
	run   func(ctx context.Context) error
}

func (s *server) jobs() []job {
	return []job{
		{"sweep storage", 30 * time.Minute, s.sweep},
		{"prepare pictures", 4 * time.Minute, func(ctx context.Context) error { return s.prepareSome(ctx, 100) }},
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
