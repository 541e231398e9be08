package main

import (
	"maps"
	"math"
	"net/netip"
	"sync"
	"time"
)

// limit is a token bucket's shape: it holds up to burst requests and gets one
// back every interval.
type limit struct {
	name     string
	burst    float64
	interval time.Duration
}

var (
	registerLimit = limit{"register", 3, time.Hour / 3}
	loginLimit    = limit{"login", 5, time.Minute / 5}
	passwordLimit = limit{"password", 5, time.Hour / 5}
	resetLimit    = limit{"reset", 10, time.Hour / 10} // of forgotten passwords, by link or code
	mailLimit     = limit{"mail", 5, time.Hour / 5}    // requests that send somebody a mail
	exportLimit   = limit{"export", 5, time.Hour / 5}
	previewLimit  = limit{"preview", 120, time.Second / 2} // of Markdown while it is typed
	importLimit   = limit{"import", 20, time.Hour / 20}
	writeLimit    = limit{"write", 1200, time.Second / 20}
)

// maxBuckets bounds the limiter's memory (about 150 bytes a bucket).
const maxBuckets = 200_000

// limiter counts requests per address in memory; it is per process, and empty
// after a restart.
type limiter struct {
	mu      sync.Mutex
	buckets map[bucketKey]bucket
	refused map[string]int // by the limit's name
	now     func() time.Time
	off     bool
}

type bucketKey struct {
	limit string
	addr  netip.Addr
}

// bucket is full again at the time full; before it, every interval left is
// one request used.
type bucket struct{ full time.Time }

func newLimiter(now func() time.Time, off bool) *limiter {
	return &limiter{buckets: map[bucketKey]bucket{}, refused: map[string]int{}, now: now, off: off}
}

// take uses one request of addr's bucket. When the bucket is empty it returns
// how long to wait, in whole seconds, at least 1; otherwise 0. An IPv6 address
// counts with its /64, since one subscriber has all of it.
func (l *limiter) take(lm limit, addr netip.Addr) (retryAfter int) {
	if l.off {
		return 0
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		prefix, _ := addr.Prefix(64)
		addr = prefix.Addr()
	}
	key := bucketKey{lm.name, addr}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	full := l.buckets[key].full
	if full.Before(now) {
		full = now
	}
	full = full.Add(lm.interval)
	if over := full.Sub(now) - time.Duration(lm.burst*float64(lm.interval)); over > 0 {
		l.refused[lm.name]++
		return int(math.Ceil(over.Seconds()))
	}
	if len(l.buckets) >= maxBuckets {
		l.sweep(now)
	}
	l.buckets[key] = bucket{full}
	return 0
}

// state is how many buckets there are, and how many requests each limit has
// refused.
func (l *limiter) state() (buckets int, refused map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buckets), maps.Clone(l.refused)
}

// sweep forgets the buckets that are full again and, where that leaves more
// than half of the room taken, arbitrary others.
func (l *limiter) sweep(now time.Time) {
	for key, b := range l.buckets {
		if b.full.Before(now) {
			delete(l.buckets, key)
		}
	}
	for key := range l.buckets {
		if len(l.buckets) <= maxBuckets/2 {
			return
		}
		delete(l.buckets, key)
	}
}
