package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// serve runs the server until ctx ends, then lets the requests under way
// finish. getenv is read again on SIGHUP.
func serve(ctx context.Context, cfg config, getenv func() (func(string) string, error), stdout, stderr io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	logs, err := openLogs(cfg, stderr)
	if err != nil {
		return err
	}
	defer logs.close()
	log := logs.Logger
	if cfg.production || cfg.logFile != "" { // else a terminal that is closed ends the server
		hangups := make(chan os.Signal, 1)
		signal.Notify(hangups, syscall.SIGHUP)
		defer signal.Stop(hangups)
		go func() {
			for {
				select {
				case <-hangups:
					logs.reload(getenv)
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	st, err := openStorage(cfg, log)
	if err != nil {
		return err
	}
	listener, err := openListener(cfg)
	if err != nil {
		return err
	}
	defer listener.Close()

	dsn, database := cfg.databaseURL, redact(cfg.databaseURL)
	if dsn == "" {
		dir := filepath.Join(cfg.dataDir, "postgres")
		own, err := startCluster(ctx, clusterOptions{dir: dir, log: log})
		if err != nil {
			return err
		}
		defer func() {
			if err := own.stop(); err != nil {
				log.Error("stopping PostgreSQL", "error", err)
			}
		}()
		dsn, database = own.dsn(), "its own PostgreSQL in "+dir
	}
	db, err := openMigrated(ctx, dsn, log)
	if err != nil {
		return err
	}
	defer db.Close()
	s, err := newServer(cfg, db, st, time.Now, newHasher(19456, 2), log)
	if err != nil {
		return err
	}
	s.level, s.reports = logs.level, logs.reports
	if err := s.announce(ctx, listener.Addr(), database, stdout); err != nil {
		return err
	}
	// What is done beside the requests goes on until the last of them is
	// answered: those who are served while the server drains rely on it.
	beside, end := context.WithCancel(context.WithoutCancel(ctx))
	var working sync.WaitGroup
	working.Go(func() { s.work(beside) })
	working.Go(func() { settle(beside) })
	defer func() {
		end()
		working.Wait()
		s.errands.Wait()
	}()
	tellSystemd("READY=1", log)
	return s.listen(ctx, listener)
}

// openListener listens on HOST and PORT, or takes the socket that is handed over.
func openListener(cfg config) (net.Listener, error) {
	listener, err := passedListener()
	if listener != nil || err != nil {
		return listener, err
	}
	listener, err = net.Listen("tcp", net.JoinHostPort(cfg.host, cfg.port))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("PORT %s is in use by another program; stop it or set another PORT", cfg.port)
	}
	if err != nil {
		return nil, fmt.Errorf("HOST %s can't be listened on: %w", cfg.host, err)
	}
	return listener, nil
}

// listen answers requests until ctx ends. Then /readyz says that no more are
// wanted, those that come in the next DRAIN_SECONDS are answered all the same,
// and those under way after it have FINISH_SECONDS.
func (s *server) listen(ctx context.Context, listener net.Listener) error {
	web := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	var fresh newcomers
	web.ConnState = fresh.note
	drained := make(chan error, 1)
	go func() {
		<-ctx.Done()
		s.draining.Store(true)
		s.log.Info("stopping; requests under way are finished first", "drain_seconds", s.cfg.drain.Seconds())
		tellSystemd("STOPPING=1", s.log)
		time.Sleep(s.cfg.drain)
		listener.Close()
		fresh.hear()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.finish)
		defer cancel()
		drained <- errors.Join(web.Shutdown(patience), web.Close())
	}()
	if err := web.Serve(listener); ctx.Err() == nil {
		return err
	}
	if err := <-drained; err != nil {
		return fmt.Errorf("some requests did not finish in time: %w", err)
	}
	return nil
}

// newcomers are connections whose first request is still on its way. Shutdown
// would close them without an answer.
type newcomers struct {
	conns sync.Map
	count atomic.Int64
}

func (n *newcomers) note(c net.Conn, state http.ConnState) {
	if state == http.StateNew {
		n.conns.Store(c, nil)
		n.count.Add(1)
	} else if _, was := n.conns.LoadAndDelete(c); was {
		n.count.Add(-1)
	}
}

// hear returns when every one has said what it wants, or after a second, since
// some never do. That there are none has to be seen three times: one may just
// have been accepted, and another's request just been read.
func (n *newcomers) hear() {
	for none, began := 0, time.Now(); none < 3 && time.Since(began) < time.Second; time.Sleep(20 * time.Millisecond) {
		if none++; n.count.Load() > 0 {
			none = 0
		}
	}
}

// announce prints what an operator wants to know at the start, and logs the
// settings in force, without secrets.
func (s *server) announce(ctx context.Context, addr net.Addr, database string, stdout io.Writer) error {
	var admins int
	if err := s.db.QueryRow(ctx, `select count(*) from "user" where type = 1 and status = 'active'`).Scan(&admins); err != nil {
		return err
	}
	s.log.Info("started", "version", thisBuild().Version, "address", addr.String(), "production", s.cfg.production, "public_url", s.cfg.publicURL,
		"site_url", s.cfg.siteURL, "database", database, "uploads", s.cfg.uploadDir, "nas", s.cfg.nas.host, "allowed_origins", s.cfg.allowedOrigins,
		"trusted_proxies", s.cfg.trustedProxies, "cookie_domain", s.cfg.cookieDomain, "mail", s.cfg.mailRoute(), "rate_limits", !s.cfg.testing)
	storage := s.cfg.uploadDir
	if s.storage.nas != nil {
		storage = fmt.Sprintf("%s on %s, and %s while it is away", s.cfg.nas.share, s.cfg.nas.host, storage)
	}
	fmt.Fprintf(stdout, "Chatter listens on %s\n  database: %s\n  storage:  %s\n  mail:     %s\n", s.cfg.publicURL, database, storage, s.cfg.mailRoute())
	if admins == 0 {
		fmt.Fprintf(stdout, "  No admin yet; make one with: %s admin create NAME EMAIL\n", os.Args[0])
	}
	return nil
}
