package main

import (
	"context"
	"sync"
	"sync/atomic"
)

// group is group commit: what requests bring while a write is under way is
// written together by the next one, so that many of them share a statement and
// a flush of the log. write either takes all items or none.
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
	done  chan struct{} // closed when err is known
	err   error
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
	b.items = append(b.items, item)
	g.mu.Unlock()
	select {
	case <-b.done:
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
	b.err = guarded(func() error { return g.write(ctx, b.items) })
	g.count.batches.Add(1)
	if b.err != nil {
		g.count.failures.Add(1)
	} else {
		g.count.items.Add(int64(len(b.items)))
	}
}
