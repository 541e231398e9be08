package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Of all instances on a database one does a job, and does it again when it is
// due or has failed.
func TestJobsRunOnOneInstance(t *testing.T) {
	t.Parallel()
	one := newSite(t)
	two := newSite(t, func(c *config) { c.databaseURL = one.cfg.databaseURL })
	var runs, atOnce, most atomic.Int64
	entered, leave := make(chan bool, 10), make(chan bool)
	work := job{"counting", time.Hour, func(context.Context) error {
		most.Store(max(most.Load(), atOnce.Add(1)))
		defer atOnce.Add(-1)
		entered <- true
		<-leave
		runs.Add(1)
		return nil
	}}
	var all sync.WaitGroup
	run := func(st *site, j job) {
		all.Go(func() {
			if err := st.runWhenDue(t.Context(), j); err != nil {
				t.Error(err)
			}
		})
	}
	run(one, work)
	<-entered
	// While it runs, the others pass over it.
	for _, st := range []*site{one, two, two} {
		if err := st.runWhenDue(t.Context(), work); err != nil {
			t.Fatal(err)
		}
	}
	close(leave)
	all.Wait()
	for range 4 {
		run(one, work)
		run(two, work)
	}
	all.Wait()
	same(t, "runs", runs.Load(), 1)
	for _, st := range []*site{one, two} {
		st.clock.Add(int64(time.Hour))
	}
	run(one, work)
	run(two, work)
	all.Wait()
	same(t, "runs an hour later", runs.Load(), 2)
	same(t, "at once", most.Load(), 1)
	// A clock that was a year ahead for a while does not end upkeep for a year.
	ahead := int64(365 * 24 * time.Hour)
	one.clock.Add(ahead)
	run(one, work)
	all.Wait()
	same(t, "runs a year later", runs.Load(), 3)
	one.clock.Add(-ahead)
	run(two, work)
	run(one, work)
	all.Wait()
	same(t, "runs when it is that year again", runs.Load(), 4)
	// What fails is due at once.
	broken := errors.New("broken")
	failing := job{"failing", time.Hour, func(context.Context) error { runs.Add(1); return broken }}
	for range 2 {
		same(t, "its error", one.runWhenDue(t.Context(), failing), broken)
	}
	same(t, "runs of what fails", runs.Load(), 6)
}
