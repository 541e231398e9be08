package main

import (
	"context"
	"sync"
	"sync/atomic"
)

// group is group commit: what requests bring while a write is under way is
// written together by the next one, so that many of them share a statement and
// a flush of the log. write either takes all items or none; when the database
// refuses them together, each is written by itself, so that nobody's is refused because
// of another's.
type group[T any] struct {
	write func(ctx context.Context, items []T) error
	turn  chan struct{} // holds a token while write runs

	count groupMeter

	mu   sync.Mutex
	next *batch[T] // which is still open
}

// groupMeter counts writes, those that failed, and what the others wrote.
type groupMeter struct{ batches, failures, items atomic.Int64 }

// batch is what one write takes.
type batch[T any] struct {
	items []T
	done  chan struct{} // closed when it is known how that ended
	err   error
	errs  []error // of each item, if they were written one by one
}

func newGroup[T any](write func(ctx context.Context, items []T) error) *group[T] {
	return &group[T]{write: write, turn: make(chan struct{}, 1)}
}

// add returns when item is written, or with the error for which it is not. When
// ctx ends first, it may be written all the same; how long a write may take is up to
// write.
func (g *group[T]) add(ctx context.Context, item T) error {
	g.mu.Lock()
	b := g.next
	if b == nil {
		b = &batch[T]{done: make(chan struct{})}
		g.next = b
		go g.flush(context.WithoutCancel(ctx), b)
	}
	place := len(b.items)
	b.items = append(b.items, item)
	g.mu.Unlock()
	select {
	case <-b.done:
		if b.errs != nil {
			return b.errs[place]
		}
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush waits for the batch before, closes b to newcomers and writes it.
func (g *group[T]) flush(ctx context.Context, b *batch[T]) {
	g.turn <- struct{}{}
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	defer func() {
		<-g.turn
		close(b.done)
	}()
	b.err = g.attempt(ctx, b.items)
	if len(b.items) > 1 && isRefused(b.err) {
		b.errs = make([]error, len(b.items))
		for i := range b.items {
			b.errs[i] = g.attempt(ctx, b.items[i:i+1])
		}
	}
}

func (g *group[T]) attempt(ctx context.Context, items []T) error {
	err := guarded(func() error { return g.write(ctx, items) })
	g.count.batches.Add(1)
	if err != nil {
		g.count.failures.Add(1)
	} else {
		g.count.items.Add(int64(len(items)))
	}
	return err
}
