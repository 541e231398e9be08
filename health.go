package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// healthState is what /health answers. Strangers get the first three fields.
type healthState struct {
	Status  string `json:"status"` // healthy, or unhealthy without a database
	Service string `json:"service"`
	Detail  string `json:"detail,omitempty"`
	*healthDetails
}

// healthDetails are for admins and for the networks of ALLOWED_METRICS.
type healthDetails struct {
	Problems []string      `json:"problems"` // what somebody should look at, in sentences
	Build    build         `json:"build"`
	Uptime   int64         `json:"uptime_seconds"`
	Draining bool          `json:"draining"`
	Database databaseState `json:"database"`
	Storage  *storageState `json:"storage"`
	Mail     *mailState    `json:"mail"`
	Backup   *time.Time    `json:"last_backup,omitempty"` // when BACKUP_DIR is set and one was made
}

type databaseState struct {
	Status       string  `json:"status"` // ok or unavailable
	Milliseconds float64 `json:"milliseconds"`
	Migration    string  `json:"migration"` // the last that the database has
	Pending      int     `json:"pending"`   // migrations that it lacks
}

// mailState is how many letters wait, and since when the oldest should be gone.
type mailState struct {
	Route   string     `json:"route"`
	Waiting int        `json:"waiting"`
	Failing int        `json:"failing"` // of these, were refused or not taken at least once
	GivenUp int        `json:"given_up"`
	Since   *time.Time `json:"oldest,omitempty"`
}

// healthPatience is how long a database may take to be called well.
const healthPatience = 2 * time.Second

// health answers whether the server can do its work.
func (s *server) health(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	ctx, cancel := context.WithTimeout(r.Context(), healthPatience)
	defer cancel()
	answer, status := healthState{Status: "healthy", Service: "chatter"}, http.StatusOK
	database, err := s.databaseState(ctx)
	if err != nil {
		infoOf(r).err = err
		w.Header().Set("Retry-After", "5")
		answer.Status, answer.Detail, status = "unhealthy", "The database does not answer", http.StatusServiceUnavailable
	}
	if s.mayMeasure(w, r.WithContext(ctx)) {
		answer.healthDetails = s.healthDetails(ctx, database)
	}
	return writeJSON(w, status, answer)
}

func (s *server) databaseState(ctx context.Context) (databaseState, error) {
	state := databaseState{Status: "unavailable"}
	began := time.Now()
	err := s.db.QueryRow(ctx, `select coalesce(max(version), ''), cardinality($1::varchar[]) - count(*) from schema_version where version = any ($1)`, s.migrations).
		Scan(&state.Migration, &state.Pending)
	state.Milliseconds = milliseconds(time.Since(began))
	if err == nil {
		state.Status = "ok"
	}
	return state, err
}

func (s *server) healthDetails(ctx context.Context, database databaseState) *healthDetails {
	d := &healthDetails{Problems: []string{}, Build: thisBuild(), Uptime: int64(time.Since(s.started).Seconds()), Draining: s.draining.Load(), Database: database}
	problem := func(format string, args ...any) { d.Problems = append(d.Problems, fmt.Sprintf(format, args...)) }
	if d.Draining {
		problem("The server is stopping")
	}
	if database.Status != "ok" {
		problem("The database does not answer")
		return d
	}
	if database.Pending > 0 {
		problem("The database lacks %d migrations; see: chatter migrate status", database.Pending)
	}
	if st, err := s.storageState(ctx); err != nil {
		problem("The storage can't be read; the log says why")
		s.log.Error("the storage's state", "error", err)
	} else {
		d.Storage = &st
		if st.NAS == "down" {
			problem("The NAS is away; UPLOAD_DIR takes its place, and %d files wait there", st.Waiting)
		}
		if st.FreeBytes < lowSpace {
			problem("UPLOAD_DIR has only %s left", st.Free())
		}
	}
	if m, err := s.mailState(ctx); err != nil {
		problem("The letters that wait can't be counted; the log says why")
		s.log.Error("the mail's state", "error", err)
	} else {
		d.Mail = &m
		if m.Failing > 0 {
			problem("%d letters could not be sent yet; the log says why", m.Failing)
		}
		if m.GivenUp > 0 {
			problem("%d letters were given up; see /admin/system", m.GivenUp)
		}
	}
	if s.cfg.backupDir != "" {
		var err error
		if d.Backup, err = s.lastBackup(ctx); err != nil {
			problem("When the last backup was made can't be read; the log says why")
			s.log.Error("the last backup", "error", err)
		} else if d.Backup == nil && s.now().Sub(s.started) > backupOverdue-24*time.Hour || d.Backup != nil && s.now().Sub(*d.Backup) > backupOverdue {
			problem("No backup was made in the last day and a half; the log says why")
		}
	}
	return d
}

// lowSpace is how much room in UPLOAD_DIR is called a problem.
const lowSpace = 1 << 30

func (s *server) mailState(ctx context.Context) (mailState, error) {
	m := mailState{Route: s.cfg.mailRoute()}
	err := s.db.QueryRow(ctx, `
		select count(*) filter (where given_up_at is null), count(*) filter (where given_up_at is null and attempts > 0), count(given_up_at),
		       min(created_at) filter (where given_up_at is null)
		from outbox`).Scan(&m.Waiting, &m.Failing, &m.GivenUp, &m.Since)
	return m, err
}

// isReady answers whether requests should be sent here: not while the server
// stops, nor without a database that it fits.
func (s *server) isReady(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	ctx, cancel := context.WithTimeout(r.Context(), healthPatience)
	defer cancel()
	state, status := healthState{Status: "healthy", Service: "chatter"}, http.StatusOK
	unready := func(why string) {
		w.Header().Set("Retry-After", "5")
		state.Status, state.Detail, status = "unhealthy", why, http.StatusServiceUnavailable
	}
	if s.draining.Load() {
		unready("The server is stopping")
	} else if database, err := s.databaseState(ctx); err != nil {
		infoOf(r).err = err
		unready("The database does not answer")
	} else if database.Pending > 0 {
		unready("The database lacks migrations")
	}
	return writeJSON(w, status, state)
}

// isAlive answers as long as the process does.
func (s *server) isAlive(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, http.StatusOK, message{"alive"})
}

// mayMeasure reports whether a request may see how the server is: it comes
// from the networks of ALLOWED_METRICS, or an admin sends it. A proxy that
// nobody named in TRUSTED_PROXIES stands for strangers, wherever it runs.
func (s *server) mayMeasure(w http.ResponseWriter, r *http.Request) bool {
	remote, _ := netip.ParseAddrPort(r.RemoteAddr)
	forwarded := slices.ContainsFunc([]string{"Forwarded", "Via", "X-Forwarded-For", "X-Real-Ip"}, func(name string) bool { return r.Header[name] != nil })
	if !forwarded || s.isProxy(remote.Addr().Unmap()) {
		addr := s.clientAddr(r)
		if slices.ContainsFunc(s.cfg.allowedMetrics, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return true
		}
	}
	v, err := s.viewerOf(w, r)
	return err == nil && v.Admin && v.must == 0
}

// checkHealth asks the server at base whether it is well.
func checkHealth(ctx context.Context, base string, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/health", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	fmt.Fprint(stdout, string(text))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the server is not well: %s", answer.Status)
	}
	return nil
}
