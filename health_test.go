package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
)

func TestHealthTellsDetailsToFew(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) {
		c.allowedMetrics = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.1/32")}
	})
	type health struct {
		Status, Service string
		Problems        []string
		Build           *struct{ Version, Go string }
		Database        *struct {
			Status    string
			Migration string
			Pending   int
		}
		Storage *struct{ Files int }
		Mail    *struct{ Waiting, Failing int }
	}
	details := func(p *person, header ...string) bool {
		t.Helper()
		var got health
		p.do(http.MethodGet, "/health", nil, header...).want(http.StatusOK).into(&got)
		same(t, "status", got.Status+" "+got.Service, "healthy chatter")
		told := got.Database != nil
		same(t, "all or nothing", told == (got.Storage != nil) && told == (got.Mail != nil) && told == (got.Build != nil), true)
		if told {
			same(t, "database", got.Database.Status == "ok" && got.Database.Migration == st.migrations[len(st.migrations)-1] && got.Database.Pending == 0, true)
			same(t, "letters", got.Mail.Waiting, st.count(`select count(*) from outbox`))
		}
		return told
	}
	alice := st.member("alice")
	same(t, "from an allowed network", details(alice), true)
	// A proxy that nobody trusts could bring anybody.
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "Via", "X-Real-Ip"} {
		same(t, "through a proxy with "+name, details(alice, name, "10.1.2.3"), false)
	}
	st.cfg.trustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	same(t, "through a trusted proxy from inside", details(alice, "X-Forwarded-For", "10.1.2.3"), true)
	same(t, "through a trusted proxy from outside", details(alice, "X-Forwarded-For", "10.1.2.3, 192.0.2.1"), false)
	same(t, "an admin", details(st.admin("kev"), "X-Forwarded-For", "192.0.2.1"), true)

	// What needs a look is said, and does not make the server unhealthy.
	st.exec(`update outbox set attempts = 1`)
	var got health
	alice.get("/health").want(http.StatusOK).into(&got)
	same(t, "problems", fmt.Sprint(got.Problems), fmt.Sprintf("[%d letters could not be sent yet; the log says why]", st.count(`select count(*) from outbox`)))
	st.exec(`update outbox set given_up_at = now()`)
	alice.get("/health").want(http.StatusOK).into(&got)
	same(t, "given up", fmt.Sprint(got.Problems), fmt.Sprintf("[%d letters were given up; see /admin/system]", st.count(`select count(*) from outbox`)))
	same(t, "none waits", alice.measured()["chatter_letters_waiting"], 0)
	st.exec(`delete from schema_version where version = $1`, st.migrations[0])
	alice.get("/health").want(http.StatusOK).into(&got)
	same(t, "pending", got.Database.Pending, 1)
	alice.get("/readyz").want(http.StatusServiceUnavailable).shows("lacks migrations")
}

func TestReadyWhileDraining(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	visitor := st.visitor()
	same(t, "connection", visitor.get("/readyz").want(http.StatusOK).header.Get("Connection"), "")
	st.draining.Store(true)
	visitor.get("/readyz").want(http.StatusServiceUnavailable).shows(`"unhealthy"`, "stopping")
	visitor.get("/livez").want(http.StatusOK)
	visitor.get("/health").want(http.StatusOK)
	visitor.get("/api/projects").want(http.StatusOK)
}

// A worker that panics is started again, and the process goes on.
func TestPanicsBesideTheRequests(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	runs := 0
	st.keepOn(t.Context(), func(context.Context) {
		if runs++; runs == 1 {
			panic("the worker is broken")
		}
	})
	same(t, "runs", runs, 2)
	if err := st.later("an errand", func(context.Context) error { panic("the errand is broken") }); err != nil {
		t.Fatal(err)
	}
	st.errands.Wait()
	err := st.runWhenDue(t.Context(), job{"breaking", 0, func(context.Context) error { panic("the job is broken") }})
	same(t, "the job's", err != nil, true)
	st.log.Error("job", "error", err)
	for _, what := range []string{"worker", "errand", "job"} {
		(&answer{t: t, body: []byte(st.logged.String())}).shows("panic: the " + what + " is broken")
	}
}
