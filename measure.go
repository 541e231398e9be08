package main

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"os"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// showMetrics answers the metrics to who may see them. Strangers learn nothing
// of the endpoint.
func (s *server) showMetrics(w http.ResponseWriter, r *http.Request) error {
	if !s.mayMeasure(w, r) {
		return fail(http.StatusNotFound, "Not found")
	}
	e := &exposition{}
	s.measureRequests(e)
	s.measurePeople(e)
	s.measureWork(e)
	ctx, cancel := context.WithTimeout(r.Context(), healthPatience)
	defer cancel()
	s.measureDatabase(ctx, e)
	s.measureStorage(ctx, e)
	measureProcess(e, s.started)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = e.WriteTo(w) // the client is gone if this fails
	return nil
}

func (s *server) measureRequests(e *exposition) {
	b := thisBuild()
	e.metric("chatter_build_info", "gauge", "What the program was built from; always 1.")
	e.sample(1, "version", b.Version, "revision", b.Revision, "goversion", b.Go)
	e.single("chatter_draining", "gauge", "1 while the server stops.", truth(s.draining.Load()))
	e.single("chatter_http_requests_in_flight", "gauge", "Requests that are being answered.", float64(s.meters.inFlight.Load()))

	routes := map[string]*routeMeter{}
	s.meters.routes.Range(func(route, meter any) bool {
		routes[route.(string)] = meter.(*routeMeter)
		return true
	})
	patterns := slices.Sorted(maps.Keys(routes))
	labels := func(pattern string) []string {
		method, route, _ := strings.Cut(pattern, " ")
		if pattern == "" {
			route = "none"
		}
		return []string{"method", method, "route", route}
	}
	e.metric("chatter_http_requests_total", "counter", "Requests that were answered, by route and hundreds of the status.")
	for _, pattern := range patterns {
		for class := range routes[pattern].classes {
			if n := routes[pattern].classes[class].Load(); n > 0 {
				e.sample(float64(n), append(labels(pattern), "status", strconv.Itoa(class)+"xx")...)
			}
		}
	}
	e.metric("chatter_http_request_duration_seconds", "histogram", "How long requests took, by route.")
	for _, pattern := range patterns {
		e.histogram(&routes[pattern].took, labels(pattern)...)
	}
	e.metric("chatter_http_responses_total", "counter", "Answers, by status.")
	for status := range s.meters.answers {
		if n := s.meters.answers[status].Load(); n > 0 {
			e.sample(float64(n), "status", strconv.Itoa(status))
		}
	}
	e.single("chatter_panics_total", "counter", "Requests that ended in a panic.", float64(s.meters.panics.Load()))
}

func (s *server) measurePeople(e *exposition) {
	m := &s.meters
	e.single("chatter_sign_ins_total", "counter", "Sessions that were begun.", float64(m.signIns.Load()))
	e.single("chatter_sign_in_failures_total", "counter", "Sign-ins with a wrong name, password or code.", float64(m.signInFailures.Load()))
	e.single("chatter_lockouts_total", "counter", "Locks that followed from failed sign-ins.", float64(m.lockouts.Load()))
	e.single("chatter_password_hashes_running", "gauge", "Passwords that are being hashed.", float64(len(s.hasher.slots)))
	e.single("chatter_password_hashes_waiting", "gauge", "Passwords that wait to be hashed.", float64(s.hasher.waiting.Load()))

	buckets, refused := s.limiter.state()
	e.single("chatter_limiter_buckets", "gauge", "Addresses that the rate limits keep count of, once for each limit.", float64(buckets))
	e.metric("chatter_limiter_refusals_total", "counter", "Requests that a rate limit refused.")
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		e.sample(float64(refused[name]), "limit", name)
	}
}

func (s *server) measureWork(e *exposition) {
	m := &s.meters
	e.metric("chatter_letters_total", "counter", "What became of letters: sent, postponed (once for each attempt) or given up.")
	e.sample(float64(m.lettersSent.Load()), "result", "sent")
	e.sample(float64(m.lettersTried.Load()), "result", "postponed")
	e.sample(float64(m.lettersEnded.Load()), "result", "given_up")

	groups := []struct {
		name  string
		count *groupMeter
	}{{"page_views", &s.views.count}, {"project_views", &s.projectViews.count}, {"likes", &s.likes.count}, {"comments", &s.comments.count}}
	e.metric("chatter_group_commits_total", "counter", "Writes of what many requests bring.")
	for _, g := range groups {
		e.sample(float64(g.count.batches.Load()), "of", g.name)
	}
	e.metric("chatter_grouped_writes_total", "counter", "What was written so.")
	for _, g := range groups {
		e.sample(float64(g.count.items.Load()), "of", g.name)
	}
	e.metric("chatter_group_commit_failures_total", "counter", "Such writes that failed.")
	for _, g := range groups {
		e.sample(float64(g.count.failures.Load()), "of", g.name)
	}

	if r := s.reports; r != nil {
		e.metric("chatter_reports_total", "counter", "Errors for SENTRY_DSN: sent, failed, or dropped since the service wants no more or the queue was full.")
		e.sample(float64(r.sent.Load()), "result", "sent")
		e.sample(float64(r.failed.Load()), "result", "failed")
		e.sample(float64(r.dropped.Load()), "result", "dropped")
		e.single("chatter_reports_waiting", "gauge", "Errors that wait to be sent to SENTRY_DSN.", float64(len(r.queue)))
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	jobs := slices.Sorted(maps.Keys(m.jobs))
	e.metric("chatter_job_runs_total", "counter", "Runs of upkeep on this instance.")
	for _, name := range jobs {
		e.sample(float64(m.jobs[name].runs), "upkeep", name)
	}
	e.metric("chatter_job_failures_total", "counter", "Runs of upkeep on this instance that failed.")
	for _, name := range jobs {
		e.sample(float64(m.jobs[name].failures), "upkeep", name)
	}
	e.metric("chatter_job_duration_seconds", "gauge", "How long the last run on this instance took.")
	for _, name := range jobs {
		e.sample(m.jobs[name].took.Seconds(), "upkeep", name)
	}
	e.single("chatter_errands_running", "gauge", "What is being done after the answers to requests.", float64(len(s.errandSlots)))
}

// measureDatabase writes the pool's state, and what only the database knows:
// that is the same on every instance, and missing while the database is away.
func (s *server) measureDatabase(ctx context.Context, e *exposition) {
	pool := s.db.Stat()
	e.metric("chatter_db_connections", "gauge", "Connections of the pool.")
	e.sample(float64(pool.AcquiredConns()), "state", "used")
	e.sample(float64(pool.IdleConns()), "state", "idle")
	e.sample(float64(pool.ConstructingConns()), "state", "opening")
	e.single("chatter_db_connections_max", "gauge", "Connections that the pool may have.", float64(pool.MaxConns()))
	e.single("chatter_db_acquires_total", "counter", "Connections that were taken from the pool.", float64(pool.AcquireCount()))
	e.single("chatter_db_acquires_waited_total", "counter", "Connections that had to be waited for.", float64(pool.EmptyAcquireCount()))
	e.single("chatter_db_acquires_canceled_total", "counter", "Connections that were waited for in vain.", float64(pool.CanceledAcquireCount()))
	e.single("chatter_db_acquire_seconds_total", "counter", "Time that was spent on taking connections.", pool.AcquireDuration().Seconds())

	state, err := s.databaseState(ctx)
	e.single("chatter_db_up", "gauge", "1 when the database answers.", truth(err == nil))
	if err != nil {
		return
	}
	e.single("chatter_db_ping_seconds", "gauge", "How long the database took to answer.", state.Milliseconds/1000)
	e.single("chatter_db_migrations_pending", "gauge", "Migrations that the database lacks.", float64(state.Pending))
	now := s.now().UTC()
	row, err := one[struct{ Sessions, Locked, Waiting, Failing, GivenUp, Oldest, Bytes float64 }](ctx, s.db, `
		select (select count(*) from session where last_seen_at > $1 and created_at > $2)::float8 as sessions,
		       (select count(*) from failed_attempt where locked_until > $3)::float8 as locked,
		       (count(*) filter (where given_up_at is null))::float8 as waiting, (count(*) filter (where given_up_at is null and attempts > 0))::float8 as failing,
		       count(given_up_at)::float8 as given_up, coalesce(extract(epoch from $3 - min(created_at) filter (where given_up_at is null)), 0)::float8 as oldest,
		       pg_database_size(current_database())::float8 as bytes
		from outbox`, now.Add(-s.cfg.sessionIdle), now.Add(-s.cfg.sessionMax), now)
	if err != nil {
		s.log.Warn("the metrics lack what the database knows", "error", err)
		return
	}
	e.single("chatter_sessions", "gauge", "Sessions that have not ended.", row.Sessions)
	e.single("chatter_locked", "gauge", "Names and accounts that are locked at the moment.", row.Locked)
	e.single("chatter_letters_waiting", "gauge", "Letters that wait to be sent.", row.Waiting)
	e.single("chatter_letters_failing", "gauge", "Letters that wait after a failed attempt.", row.Failing)
	e.single("chatter_letters_given_up", "gauge", "Letters that were given up and that an admin can send again.", row.GivenUp)
	e.single("chatter_letters_oldest_seconds", "gauge", "For how long the oldest letter has been waiting.", row.Oldest)
	e.single("chatter_db_size_bytes", "gauge", "Size of the database.", row.Bytes)

	rows, err := s.db.Query(ctx, `select name, extract(epoch from ran_at)::float8 as at from job order by name`)
	if err != nil {
		return
	}
	type lastRun struct {
		Name string
		At   float64
	}
	runs, err := pgx.CollectRows(rows, pgx.RowToStructByName[lastRun])
	if err != nil {
		return
	}
	e.metric("chatter_job_last_success_timestamp_seconds", "gauge", "When upkeep was last done, on any instance.")
	for _, run := range runs {
		e.sample(run.At, "upkeep", run.Name)
	}
}

func (s *server) measureStorage(ctx context.Context, e *exposition) {
	st, err := s.storageState(ctx)
	if err != nil {
		s.log.Warn("the metrics lack the storage", "error", err)
		return
	}
	e.single("chatter_storage_free_bytes", "gauge", "Room that is left in UPLOAD_DIR.", float64(st.FreeBytes))
	e.single("chatter_storage_files", "gauge", "Files that are stored.", float64(st.Files))
	e.single("chatter_storage_bytes", "gauge", "Size of the files that are stored.", float64(st.Bytes))
	e.single("chatter_storage_removing_files", "gauge", "Files that nothing names any more and that are to be removed.", float64(st.ToRemove))
	if st.NAS == "none" {
		return
	}
	e.single("chatter_nas_up", "gauge", "1 when the NAS answers.", truth(st.NAS == "up"))
	e.single("chatter_nas_waiting_files", "gauge", "Files in UPLOAD_DIR that the NAS lacks.", float64(st.Waiting))
	e.single("chatter_nas_waiting_bytes", "gauge", "Size of the files in UPLOAD_DIR that the NAS lacks.", float64(st.WaitingBytes))
	if st.NASFreeBytes != nil {
		e.single("chatter_nas_free_bytes", "gauge", "Room that was left on the NAS when it was last asked.", float64(*st.NASFreeBytes))
	}
}

// runtimeMetrics are those of package runtime/metrics that are shown, under the
// names that Prometheus' own client gives them where it has one.
var runtimeMetrics = []struct{ from, name, kind, help string }{
	{"/sched/goroutines:goroutines", "go_goroutines", "gauge", "Goroutines."},
	{"/sched/gomaxprocs:threads", "go_sched_gomaxprocs_threads", "gauge", "Threads that may run Go code at once."},
	{"/memory/classes/heap/objects:bytes", "go_memory_heap_objects_bytes", "gauge", "Memory of objects that live or are not yet swept."},
	{"/memory/classes/total:bytes", "go_memory_total_bytes", "gauge", "Memory that the Go runtime has mapped."},
	{"/gc/heap/allocs:bytes", "go_memory_allocated_bytes_total", "counter", "Memory that was ever allocated."},
	{"/gc/cycles/total:gc-cycles", "go_gc_cycles_total", "counter", "Garbage collections."},
	{"/cpu/classes/gc/total:cpu-seconds", "go_gc_cpu_seconds_total", "counter", "Estimated processor time of garbage collection."},
	{"/sync/mutex/wait/total:seconds", "go_mutex_wait_seconds_total", "counter", "Estimated time that goroutines waited for a mutex."},
}

// measureProcess writes what the Go runtime and the system say of the process,
// which is nothing where there is no /proc.
func measureProcess(e *exposition, started time.Time) {
	samples := make([]metrics.Sample, len(runtimeMetrics))
	for i, m := range runtimeMetrics {
		samples[i].Name = m.from
	}
	metrics.Read(samples)
	for i, m := range runtimeMetrics {
		switch samples[i].Value.Kind() {
		case metrics.KindUint64:
			e.single(m.name, m.kind, m.help, float64(samples[i].Value.Uint64()))
		case metrics.KindFloat64:
			e.single(m.name, m.kind, m.help, samples[i].Value.Float64())
		}
	}
	e.single("process_start_time_seconds", "gauge", "When the server started.", float64(started.UnixMilli())/1000)
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		e.single("process_cpu_seconds_total", "counter", "Processor time.", time.Duration(usage.Utime.Nano()+usage.Stime.Nano()).Seconds())
	}
	var limit syscall.Rlimit
	if open, err := os.ReadDir("/proc/self/fd"); err == nil && syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		e.single("process_open_fds", "gauge", "File descriptors that are open.", float64(len(open)))
		e.single("process_max_fds", "gauge", "File descriptors that may be open.", float64(limit.Cur))
	}
	// Sizes in pages: all, resident, … (proc(5)).
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := bytes.Fields(text); len(fields) > 1 {
			pages, _ := strconv.ParseFloat(string(fields[1]), 64)
			e.single("process_resident_memory_bytes", "gauge", "Memory that is resident.", pages*float64(os.Getpagesize()))
		}
	}
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
