package main

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// meters are what the server counts since it started; the zero value counts
// from 0. Nothing that a request passes takes a lock.
type meters struct {
	routes   sync.Map          // *routeMeter by the route's pattern, of which there are as many as routes
	answers  [600]atomic.Int64 // by status
	inFlight atomic.Int64
	panics   atomic.Int64

	signIns, signInFailures, lockouts       atomic.Int64
	lettersSent, lettersTried, lettersEnded atomic.Int64 // gone; refused for now; given up

	mu   sync.Mutex
	jobs map[string]*jobMeter
}

// jobMeter is what became of a job on this instance.
type jobMeter struct {
	runs, failures int
	took           time.Duration // the last time
}

// routeMeter counts the answers of a route, by the hundreds of their status.
type routeMeter struct {
	classes [6]atomic.Int64
	took    histogram
}

// request counts an answer. A request for which there is no route has none.
func (m *meters) request(route string, status int, took time.Duration) {
	found, ok := m.routes.Load(route)
	if !ok {
		found, _ = m.routes.LoadOrStore(route, &routeMeter{})
	}
	meter := found.(*routeMeter)
	if status >= 100 && status < len(m.answers) {
		m.answers[status].Add(1)
		meter.classes[status/100].Add(1)
	}
	meter.took.observe(took)
}

// job counts a run of a job.
func (m *meters) job(name string, took time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.jobs == nil {
		m.jobs = map[string]*jobMeter{}
	}
	meter := m.jobs[name]
	if meter == nil {
		meter = &jobMeter{}
		m.jobs[name] = meter
	}
	meter.runs++
	meter.took = took
	if err != nil {
		meter.failures++
	}
}

// histogramBounds are the upper bounds of a histogram's buckets but the last,
// which has none.
var histogramBounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// histogram counts how long something took.
type histogram struct {
	buckets [len(histogramBounds) + 1]atomic.Int64 // each without those below it
	sum     atomic.Int64                           // nanoseconds
}

func (h *histogram) observe(took time.Duration) {
	i := 0
	for i < len(histogramBounds) && took > histogramBounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(int64(took))
}

// exposition is a text of metrics in Prometheus' format, version 0.0.4: for
// each a HELP and a TYPE line, then its samples together
// (https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format).
type exposition struct {
	bytes.Buffer
	name string // of the metric that is written
}

// What is escaped in a label's value, and in a help text.
var (
	labelText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	helpText  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// metric begins a metric; kind is counter, gauge or histogram.
func (e *exposition) metric(name, kind, help string) {
	e.name = name
	e.WriteString("# HELP " + name + " " + helpText.Replace(help) + "\n# TYPE " + name + " " + kind + "\n")
}

// sample writes a value with labels, names and values in turn.
func (e *exposition) sample(value float64, labels ...string) { e.line("", value, labels...) }

// single is a metric with one sample.
func (e *exposition) single(name, kind, help string, value float64) {
	e.metric(name, kind, help)
	e.sample(value)
}

func (e *exposition) line(suffix string, value float64, labels ...string) {
	var pairs []string
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, labels[i]+`="`+labelText.Replace(labels[i+1])+`"`)
	}
	e.WriteString(e.name + suffix)
	if pairs != nil {
		e.WriteString("{" + strings.Join(pairs, ",") + "}")
	}
	e.WriteString(" " + formatSample(value) + "\n")
}

// formatSample writes a value as strconv.ParseFloat reads it.
func formatSample(value float64) string {
	switch {
	case math.IsInf(value, 1):
		return "+Inf"
	case math.IsInf(value, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(value, 'g', -1, 64)
}

// histogram writes the samples of one ("Histograms and summaries", same page):
// each bucket holds those below it, and the last is the count.
func (e *exposition) histogram(h *histogram, labels ...string) {
	var sum int64
	for i := range h.buckets {
		sum += h.buckets[i].Load()
		bound := math.Inf(1)
		if i < len(histogramBounds) {
			bound = histogramBounds[i].Seconds()
		}
		e.line("_bucket", float64(sum), append(slices.Clone(labels), "le", formatSample(bound))...)
	}
	e.line("_sum", time.Duration(h.sum.Load()).Seconds(), labels...)
	e.line("_count", float64(sum), labels...)
}
