package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// session is one sign-in on one device, as its owner sees it.
type session struct {
	ID         string    `json:"id"`
	Device     string    `json:"device"`
	IPAddress  *string   `json:"ip_address"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	Current    bool      `json:"current"`
}

// listSessions returns the living sessions of v, the one last used first.
func (s *server) listSessions(ctx context.Context, v viewer) ([]session, error) {
	now := s.now().UTC()
	list, err := many[session](ctx, s.db, `
		select id::varchar, coalesce(user_agent, '') as device, ip_address, created_at, last_seen_at, id::varchar = $4 as current
		from session where user_id = $1 and last_seen_at > $2 and created_at > $3
		order by current desc, last_seen_at desc, id`, v.ID, now.Add(-s.cfg.sessionIdle), now.Add(-s.cfg.sessionMax), v.session)
	for i := range list {
		list[i].Device = deviceName(list[i].Device)
	}
	return list, err
}

// deviceName is browser and system of a User-Agent header (RFC 9110 §10.1.5) as
// people know them. Browsers claim to be others too, so that the order counts.
func deviceName(agent string) string {
	first := func(names ...string) string {
		for i := 0; i < len(names); i += 2 {
			if strings.Contains(agent, names[i]) {
				return names[i+1]
			}
		}
		return ""
	}
	browser := first("Edg", "Edge", "OPR/", "Opera", "SamsungBrowser", "Samsung Internet", "Vivaldi", "Vivaldi", "Firefox/", "Firefox", "FxiOS", "Firefox",
		"CriOS", "Chrome", "Chromium", "Chromium", "Chrome/", "Chrome", "Safari/", "Safari", "curl/", "curl", "python", "a Python program", "Go-http-client", "a Go program")
	system := first("iPhone", "iPhone", "iPad", "iPad", "Android", "Android", "Windows", "Windows", "CrOS", "ChromeOS", "Mac OS X", "macOS", "Linux", "Linux")
	switch {
	case browser == "" && system == "":
		return "Unknown device"
	case browser == "":
		return system
	case system == "":
		return strings.ToUpper(browser[:1]) + browser[1:]
	}
	return browser + " on " + system
}

// endSession ends one of the viewer's sessions, or with the empty id all but
// the one that asks.
func (s *server) endSession(ctx context.Context, v viewer, id string, c client) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `delete from session where user_id = $1 and (id::varchar = $2 or $2 = '' and id::varchar <> $3)`, v.ID, id, v.session)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			if id != "" {
				return fail(http.StatusNotFound, "Session not found")
			}
			return nil
		}
		return audit{action: "signed_out", by: v.ID, client: c}.write(ctx, tx, v.ID)
	})
}

// showSessions answers GET /api/me/sessions.
func (s *server) showSessions(w http.ResponseWriter, r *http.Request, v viewer) error {
	list, err := s.listSessions(r.Context(), v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

// deleteSessions answers DELETE /api/me/sessions/{id}, and without an id for
// all others.
func (s *server) deleteSessions(w http.ResponseWriter, r *http.Request, v viewer) error {
	if err := s.endSession(r.Context(), v, r.PathValue("id"), s.clientOf(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// sendSessionEnd takes the forms that do so.
func (s *server) sendSessionEnd(w http.ResponseWriter, r *http.Request, v viewer) error {
	if err := s.endSession(r.Context(), v, r.PathValue("id"), s.clientOf(r)); err != nil {
		return err
	}
	if r.PathValue("id") == v.session {
		s.setSignIn(w, "", "")
		return s.done(w, r, "/login", "You are signed out.")
	}
	return s.done(w, r, "/account/sessions", "Signed out there.")
}
