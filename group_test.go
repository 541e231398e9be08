package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// What comes while a write is under way is written together by the next one,
// and everybody learns how it ended.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	started, goOn := make(chan []int), make(chan error)
	g := newGroup(func(_ context.Context, items []int) error {
		started <- slices.Clone(items)
		return <-goOn
	})
	var all sync.WaitGroup
	results := make([]error, 20)
	add := func(ctx context.Context, n int) {
		all.Go(func() { results[n] = g.add(ctx, n) })
	}
	waiting := func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.next == nil {
			return 0
		}
		return len(g.next.items)
	}
	add(t.Context(), 0)
	if got := <-started; !slices.Equal(got, []int{0}) {
		t.Fatalf("the first write holds %v", got)
	}
	gone, leave := context.WithCancel(t.Context())
	for n := 1; n < len(results); n++ {
		ctx := t.Context()
		if n%2 == 0 {
			ctx = gone
		}
		add(ctx, n)
	}
	wait(t, "all wait for the second write", func() bool { return waiting() == len(results)-1 })
	leave() // who goes away has been written all the same
	goOn <- nil
	got := <-started
	slices.Sort(got)
	if len(got) != len(results)-1 || got[0] != 1 || got[len(got)-1] != len(results)-1 {
		t.Errorf("the second write holds %v", got)
	}
	goOn <- full
	all.Wait()
	for n, err := range results {
		want := full
		if n == 0 {
			want = nil
		}
		if !errors.Is(err, want) && !(n%2 == 0 && errors.Is(err, context.Canceled)) {
			t.Errorf("%d was told %v, want %v", n, err, want)
		}
	}
}

// When the database refuses what came together, nobody's is refused because of
// another's.
func TestGroupRefusals(t *testing.T) {
	t.Parallel()
	started, goOn := make(chan struct{}), make(chan struct{})
	g := newGroup(func(_ context.Context, items []int) error {
		if slices.Equal(items, []int{0}) {
			close(started)
			<-goOn
		}
		if slices.Contains(items, 3) {
			return &pgconn.PgError{Code: "23514"}
		}
		return nil
	})
	var all sync.WaitGroup
	results := make([]error, 6)
	add := func(n int) { all.Go(func() { results[n] = g.add(t.Context(), n) }) }
	add(0)
	<-started
	for n := 1; n < len(results); n++ {
		add(n)
	}
	wait(t, "all wait for the second write", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.next != nil && len(g.next.items) == len(results)-1
	})
	close(goOn)
	all.Wait()
	for n, err := range results {
		same(t, fmt.Sprint(n, " is refused"), err != nil, n == 3)
	}
	same(t, "written", g.count.items.Load(), 5)
}
