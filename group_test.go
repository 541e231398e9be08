package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
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
