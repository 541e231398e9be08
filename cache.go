package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// topic is something that answers tell of and that can change. Topics are
// hashed to a few thousand places: two that share one only cost a read more.
type topic uint16

const topics = 1 << 12

// about is the topic of one thing of a kind, such as the likes of a page
// (FNV-1a, which is the same on every instance).
func about(kind, name string) topic {
	hash := uint32(2166136261)
	for _, text := range [...]string{kind, "/", name} {
		for i := range len(text) {
			hash = (hash ^ uint32(text[i])) * 16777619
		}
	}
	return topic((hash ^ hash>>12) % topics)
}

// cache keeps answers ready to be sent again until one of their topics changes:
// those that are the same for everybody, those for everybody who is not signed in,
// and those for somebody who is. A change marks its topics
// with the time of a counter; an answer is good while all of its topics' marks
// are older than the moment before it was read from the database. So nothing has to be found and
// removed, and what was read before a change is never kept after it.
type cache struct {
	clock atomic.Uint64
	marks [topics]atomic.Uint64
	heard atomic.Bool // changes on other instances are heard of

	mu      sync.RWMutex
	answers map[string]*readyAnswer // by the reader and the request's URI
	size    int                     // bytes, about

	untold  chan struct{}    // holds a token while there is something to tell
	changes [topics / 8]byte // a bit for each topic
	telling sync.Mutex       // guards changes
}

const (
	cacheSize   = 8 << 20   // bytes of all answers
	maxReady    = 256 << 10 // bytes of one
	readyWeight = 600       // bytes of an answer beside its body

	// How long an answer is good at most: while other instances are heard, what
	// limits it is only what was changed past them all, by hand.
	heardLife, unheardLife = 10 * time.Second, time.Second
)

// readyAnswer is a 200 with JSON.
type readyAnswer struct {
	route  string
	header http.Header // shared by all who get it
	body   []byte
	topics []topic
	asOf   uint64
	until  time.Time
	forAll bool // it is the same for who is signed in

	// To send a project is a view of it, but to its author. The answer has a number of views between
	// body and rest: those that were written, and those that wait.
	viewed   int // the project's id, or 0
	byAuthor bool
	written  int
	rest     []byte
}

// readerKey is the key of the answer to a URI for a reader.
func readerKey(v viewer, uri string) string {
	if !v.signedIn() {
		return uri
	}
	return strconv.Itoa(v.ID) + " " + uri
}

func newCache() *cache {
	return &cache{answers: map[string]*readyAnswer{}, untold: make(chan struct{}, 1)}
}

// find returns the answer to a URI if it is still true.
func (c *cache) find(uri string, now time.Time) *readyAnswer {
	c.mu.RLock()
	a := c.answers[uri]
	c.mu.RUnlock()
	if a == nil || !now.Before(a.until) {
		return nil
	}
	if c.changedSince(a.asOf, a.topics...) {
		return nil
	}
	return a
}

// changedSince reports whether one of the topics has changed since the clock
// showed asOf.
func (c *cache) changedSince(asOf uint64, topics ...topic) bool {
	for _, t := range topics {
		if c.marks[t].Load() > asOf {
			return true
		}
	}
	return false
}

// keep stores an answer. When there is no room, arbitrary others go.
func (c *cache) keep(uri string, a *readyAnswer, now time.Time) {
	weight := func(uri string, a *readyAnswer) int { return len(uri) + len(a.body) + len(a.rest) + readyWeight }
	if weight(uri, a) > maxReady {
		return
	}
	a.until = now.Add(unheardLife)
	if c.heard.Load() {
		a.until = now.Add(heardLife)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.answers[uri]; old != nil {
		c.size -= weight(uri, old)
	}
	c.answers[uri] = a
	c.size += weight(uri, a)
	for other, old := range c.answers {
		if c.size <= cacheSize {
			break
		}
		if other != uri {
			delete(c.answers, other)
			c.size -= weight(other, old)
		}
	}
}

// changed marks topics; with none, everything.
func (c *cache) changed(list ...topic) {
	c.mark(list...)
	c.telling.Lock()
	for _, t := range list {
		c.changes[t/8] |= 1 << (t % 8)
	}
	if len(list) == 0 {
		c.changes = everything
	}
	c.telling.Unlock()
	select {
	case c.untold <- struct{}{}:
	default:
	}
}

// mark is changed for what another instance has told.
func (c *cache) mark(list ...topic) {
	now := c.clock.Add(1)
	for _, t := range list {
		c.marks[t].Store(now)
	}
	if len(list) == 0 {
		for t := range c.marks {
			c.marks[t].Store(now)
		}
	}
}

var everything = [topics / 8]byte(bytes.Repeat([]byte{0xff}, topics/8))

// sharedHeaders are those of an answer that do not belong to one request.
var sharedHeaders = []string{"Content-Type", "Cache-Control", "Etag", "X-Total-Count", "Vary",
	"Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Strict-Transport-Security"}

// answerShared writes a value, and keeps it for the next time that the same
// reader asks, or anybody who is not signed in, until one of the topics changes.
func (s *server) answerShared(w http.ResponseWriter, r *http.Request, v viewer, value any, topics ...topic) error {
	if !infoOf(r).anonymous && !v.signedIn() || v.must != 0 {
		return writeJSON(w, http.StatusOK, value)
	}
	return s.answerReady(w, r, v, false, value, topics)
}

// answerForAll is answerShared for a value that is the same whoever asks.
func (s *server) answerForAll(w http.ResponseWriter, r *http.Request, value any, topics ...topic) error {
	return s.answerReady(w, r, viewer{}, true, value, topics)
}

func (s *server) answerReady(w http.ResponseWriter, r *http.Request, v viewer, forAll bool, value any, topics []topic) error {
	info := infoOf(r)
	if info.readURI == "" {
		return writeJSON(w, http.StatusOK, value)
	}
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	a := &readyAnswer{route: info.route, body: append(body, '\n'), topics: topics, asOf: info.asOf, forAll: forAll, viewed: info.viewed, byAuthor: info.byAuthor}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-cache")
	if v.signedIn() {
		h.Set("Cache-Control", "private, no-cache")
	}
	if h.Get("ETag") == "" {
		hash := sha256.Sum256(body)
		h.Set("ETag", `"`+hex.EncodeToString(hash[:8])+`"`)
	}
	a.header = http.Header{}
	for _, name := range sharedHeaders {
		if values := h[name]; values != nil {
			a.header[name] = values
		}
	}
	waiting := 0
	switch {
	case a.viewed != 0:
		waiting = s.lateViews.waiting(a.viewed)
		a.cutCount(waiting)
	case len(a.body) > 2048: // net/http counts shorter ones itself
		a.header["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	}
	s.cache.keep(readerKey(v, info.readURI), a, s.now())
	a.write(w, r, waiting)
	return nil
}

// cutCount takes the number of views out of a project's answer, of which so
// many wait to be written. No text in JSON holds an unescaped quote: the first
// such name is the project's own.
func (a *readyAnswer) cutCount(waiting int) {
	const name = `"view_count":`
	i := bytes.Index(a.body, []byte(name)) + len(name)
	digits := bytes.IndexByte(a.body[i:], ',')
	a.written, _ = strconv.Atoi(string(a.body[i : i+digits]))
	a.written -= waiting
	a.body, a.rest = a.body[:i], a.body[i+digits:]
}

// write sends the answer, or 304 to who has it already (RFC 9110 §13.1.2); the
// tag of a project says nothing of its counts. waiting is how many views of it
// have yet to be written.
func (a *readyAnswer) write(w http.ResponseWriter, r *http.Request, waiting int) {
	h := w.Header()
	maps.Copy(h, a.header)
	given := strings.Join(r.Header["If-None-Match"], ",")
	if a.viewed == 0 && (given == "*" || given != "" && strings.Contains(given, h["Etag"][0])) {
		delete(h, "Content-Type")
		delete(h, "Content-Length")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if a.viewed == 0 {
		_, _ = w.Write(a.body) // the client is gone if this fails
		return
	}
	count := strconv.AppendInt(nil, int64(a.written+waiting), 10)
	h["Content-Length"] = []string{strconv.Itoa(len(a.body) + len(count) + len(a.rest))}
	for _, part := range [][]byte{a.body, count, a.rest} {
		_, _ = w.Write(part)
	}
}

// ready answers from the cache, where it is known who asks. For what is not
// there it notes under which address and as of when it may be kept.
func (s *server) ready(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		info := infoOf(r)
		info.anonymous = r.Header["Authorization"] == nil && !strings.Contains(strings.Join(r.Header["Cookie"], ";"), "access_token=")
		var v viewer
		a := s.cache.find(r.RequestURI, s.now())
		if !info.anonymous && (a == nil || !a.forAll) {
			a = nil
			var known bool
			if v, known = s.knownViewer(r); known {
				a = s.cache.find(readerKey(v, r.RequestURI), s.now())
			}
		}
		if a != nil {
			info.route, info.viewer = a.route, v
			s.allowOrigin(w.Header(), r)
			waiting := 0
			switch {
			case a.viewed != 0 && a.byAuthor:
				waiting = s.lateViews.waiting(a.viewed)
			case a.viewed != 0:
				waiting = s.lateViews.add(a.viewed)
			}
			a.write(w, r, waiting)
			return
		}
		info.readURI, info.asOf = r.RequestURI, s.cache.clock.Load()
		next.ServeHTTP(w, r)
	})
}

// changed says what a request has changed, after its commit and before its answer; of
// a write that says nothing, noteChanges takes it that it changed everything.
func (s *server) changed(r *http.Request, topics ...topic) {
	info := infoOf(r)
	info.changed = true
	if len(topics) > 0 {
		s.cache.changed(topics...)
		info.asOf = s.cache.clock.Load() // what it reads next has seen its own change
	}
}

// noteChanges is called with the status of a write that is about to be
// answered. A refusal has changed nothing; what ended in a 500 may have.
func (s *server) noteChanges(info *requestInfo, status int) {
	if !info.changed && (status < 400 || status >= 500) {
		info.changed = true
		s.cache.changed()
	}
}

// The channel on which instances tell each other what has changed: who tells,
// a space, and a bit for each topic in base64.
const changesChannel = "chatter_changes"

// tellChanges tells other instances what has changed here, a few times a
// second at most.
func (s *server) tellChanges(ctx context.Context) {
	for {
		select {
		case <-s.cache.untold:
		case <-ctx.Done():
			return
		}
		if err := s.tell(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("other instances were not told what changed", "error", err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) tell(ctx context.Context) error {
	s.cache.telling.Lock()
	changes := s.cache.changes
	s.cache.changes = [topics / 8]byte{}
	s.cache.telling.Unlock()
	_, err := s.db.Exec(ctx, `select pg_notify($1, $2)`, changesChannel, s.instance+" "+base64.StdEncoding.EncodeToString(changes[:]))
	if err != nil {
		s.cache.changed() // tried again, with more than it was
	}
	return err
}

// hearChanges listens to what other instances tell until ctx ends. While the
// database can't be listened to, answers are kept for a shorter time.
func (s *server) hearChanges(ctx context.Context) {
	if throughPooler(s.db.Config().ConnConfig) {
		s.log.Info("nothing is heard through a pooler; answers are kept for a second only")
		return
	}
	for {
		err := s.listenToChanges(ctx)
		s.cache.heard.Store(false)
		s.cache.mark() // which may have happened unheard
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("changes on other instances are not heard; answers are kept for a second only", "error", err)
		select {
		case <-time.After(5 * time.Second):
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) listenToChanges(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, s.db.Config().ConnConfig.Copy())
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, "listen "+changesChannel); err != nil {
		return err
	}
	// A pooler that lends connections out by the transaction accepts LISTEN and
	// delivers nothing: only who hears his own words hears others.
	s.cache.changed()
	first, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for waiting := first; ; {
		told, err := conn.WaitForNotification(waiting)
		if err != nil {
			return err
		}
		from, text, _ := strings.Cut(told.Payload, " ")
		changes, err := base64.StdEncoding.DecodeString(text)
		if from == s.instance {
			waiting = ctx
			s.cache.heard.Store(true)
			continue
		}
		if err != nil || len(changes) != topics/8 {
			s.cache.mark()
			continue
		}
		var list []topic
		for t := range topic(topics) {
			if changes[t/8]&(1<<(t%8)) != 0 {
				list = append(list, t)
			}
		}
		if len(list) > 0 {
			s.cache.mark(list...)
		}
	}
}
