package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
)

const (
	sendTimeout = 30 * time.Second   // for one letter
	mailPoll    = 2 * time.Second    // between two looks where nobody tells of a letter
	mailLife    = 3 * 24 * time.Hour // after which a letter is given up
)

func (c *config) setMailHost(v string) error {
	_, err := netip.ParseAddr(v)
	if err != nil && strings.ContainsAny(v, ":/@ ") {
		return errors.New("must be a name such as mail.example.com; the port goes into SMTP_PORT")
	}
	c.smtpHost = v
	return nil
}

// setMailFrom needs SITE_NAME, PUBLIC_URL and SMTP_HOST.
func (c *config) setMailFrom(v string) error {
	if v == "" && c.smtpHost == "" {
		v = "chatter@localhost"
	}
	from, err := mail.ParseAddress(v)
	if err != nil || strings.ContainsAny(from.Address, " \"<>\\") {
		return errors.New("must be an address such as chatter@example.com or Chatter <chatter@example.com>, and is required with SMTP_HOST")
	}
	c.mailFrom = mail.Address{Name: cmp.Or(from.Name, c.siteName), Address: from.Address}
	return nil
}

// setMailTLS needs SMTP_PORT and SMTP_USER.
func (c *config) setMailTLS(v string) error {
	c.smtpTLS = v
	if v == "" {
		c.smtpTLS = "starttls"
		if c.smtpPort == "465" { // which speaks TLS from the first byte (RFC 8314 §3.3)
			c.smtpTLS = "tls"
		}
	}
	if !slices.Contains([]string{"starttls", "tls", "off"}, c.smtpTLS) {
		return errors.New("must be starttls, tls or off")
	}
	if c.smtpTLS == "off" && c.smtpUser != "" {
		return errors.New("must not be off where SMTP_USER is set, because the password would travel in clear text")
	}
	return nil
}

// canMail reports whether letters reach anybody: people through a mail server,
// or a developer in a folder.
func (c config) canMail() bool { return c.smtpHost != "" || !c.production }

// contact is whom people are told to write to.
func (c config) contact() string {
	switch {
	case c.contactAddress != "":
		return c.contactAddress
	case c.smtpHost != "":
		return c.mailFrom.Address
	}
	return "an admin of this site"
}

// mailRoute says where letters go, for the operator.
func (c config) mailRoute() string {
	switch {
	case c.smtpHost != "":
		return "SMTP " + net.JoinHostPort(c.smtpHost, c.smtpPort)
	case c.production:
		return "off (no SMTP_HOST), so no letters are sent, such as those for a forgotten password"
	}
	return "written to " + filepath.Join(c.dataDir, "mail") + " (no SMTP_HOST)"
}

// mailHost is this server's name as a mail server and a Message-ID want it: an
// address stands in brackets (RFC 5321 §4.1.3).
func (c config) mailHost() string {
	u, err := url.Parse(c.publicURL)
	if err != nil {
		return "localhost" // can't be: it was checked when it was read
	}
	addr, err := netip.ParseAddr(u.Hostname())
	switch {
	case err != nil:
		return u.Hostname()
	case addr.Is6():
		return "[IPv6:" + addr.String() + "]"
	}
	return "[" + addr.String() + "]"
}

// sendMail puts a letter into the outbox, in the caller's transaction if db is
// one: when that is committed a worker sends it. The letter is
// templates/mail/NAME.txt with data; headers are names and values in turn.
// Where canMail is false it does nothing.
func (s *server) sendMail(ctx context.Context, db querier, to, name string, data any, headers ...string) error {
	if !s.cfg.canMail() {
		return nil
	}
	l, err := s.compose(to, name, data, headers)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, `insert into outbox (letter, created_at, next_attempt_at) values ($1, $2, $2)`, s.seal("mail", plain), s.now().UTC())
	return err
}

// deliverMail sends what is in the outbox until ctx ends, on a connection to
// the database of its own.
func (s *server) deliverMail(ctx context.Context) {
	if !s.cfg.canMail() {
		return
	}
	wait := time.Second
	attend := func() error {
		cfg := s.db.Config().ConnConfig
		cfg.RuntimeParams["application_name"] = "chatter mail"
		patience := time.Minute
		if throughPooler(cfg) { // and so hears nothing
			patience = mailPoll
		}
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = conn.Close(ctx) // one that is broken is closed too
		}()
		if !throughPooler(cfg) {
			if _, err := conn.Exec(ctx, `listen outbox`); err != nil {
				return err
			}
		}
		for {
			began := s.now().UTC()
			if _, err := s.sendDue(ctx, conn); err != nil {
				return err
			}
			wait = time.Second
			var next *time.Time // letters that were due before are with another instance
			if err := conn.QueryRow(ctx, `select min(next_attempt_at) from outbox where next_attempt_at > $1 and given_up_at is null`, began).Scan(&next); err != nil {
				return err
			}
			rest := patience
			if next != nil {
				rest = min(rest, next.Sub(s.now()))
			}
			woken, cancel := context.WithTimeout(ctx, rest)
			_, _ = conn.WaitForNotification(woken) // if it fails otherwise than by time, so does the next pass
			cancel()
		}
	}
	for {
		err := attend()
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("the outbox can't be read, and is tried again", "in", wait, "error", err)
		_ = pause(ctx, wait)
		wait = min(2*wait, time.Minute)
	}
}

// sendDue tries every letter that is due, and counts those that were sent.
func (s *server) sendDue(ctx context.Context, conn *pgx.Conn) (sent int, err error) {
	for found := true; found && err == nil && ctx.Err() == nil; {
		var ok bool
		if found, ok, err = s.sendNext(ctx, conn); ok {
			sent++
		}
	}
	return sent, cmp.Or(err, ctx.Err())
}

// errFinal is a failure that trying again won't mend.
var errFinal = errors.New("trying again won't help")

// sendNext tries the letter that has been due longest. Its row is locked
// meanwhile: other instances pass over it, and should this one die they find
// the letter as it was.
func (s *server) sendNext(ctx context.Context, conn *pgx.Conn) (found, sent bool, err error) {
	// What was sent has to leave the outbox, even if ctx ends meanwhile.
	whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTimeout+15*time.Second)
	defer cancel()
	err = pgx.BeginFunc(whole, conn, func(tx pgx.Tx) error {
		var id, attempts int
		var sealed []byte
		var created time.Time
		var lastError *string
		err := tx.QueryRow(whole, `
			select id, letter, attempts, created_at, last_error from outbox
			where next_attempt_at <= $1 and given_up_at is null order by next_attempt_at, id limit 1 for update skip locked`, s.now().UTC()).
			Scan(&id, &sealed, &attempts, &created, &lastError)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		found = true
		// Sending it takes longer than a transaction may stand still.
		if _, err := tx.Exec(whole, `set local idle_in_transaction_session_timeout = 60000`); err != nil {
			return err
		}
		failure := fmt.Errorf("not sent within %s (%s): %w", mailLife, cmp.Or(deref(lastError), "never tried"), errFinal)
		delay := min(time.Minute<<min(attempts, 10), 6*time.Hour)
		if s.now().Sub(created) < mailLife {
			failure = s.dispatch(ctx, sealed)
			attempts++
		}
		switch {
		case failure == nil:
			sent = true
			s.meters.lettersSent.Add(1)
			_, err = tx.Exec(whole, `delete from outbox where id = $1`, id)
		case errors.Is(failure, errFinal):
			s.meters.lettersEnded.Add(1)
			s.log.Error("a letter is given up", "letter", id, "attempts", attempts, "error", failure)
			_, err = tx.Exec(whole, `update outbox set given_up_at = $2, attempts = $3, last_error = $4 where id = $1`, id, s.now().UTC(), attempts, failure.Error())
		case ctx.Err() != nil:
			return ctx.Err() // no fault of the letter's
		default:
			s.meters.lettersTried.Add(1)
			next := s.now().UTC().Add(delay)
			s.log.Warn("a letter could not be sent, and is tried again", "letter", id, "attempts", attempts, "at", next, "error", failure)
			_, err = tx.Exec(whole, `update outbox set attempts = $2, next_attempt_at = $3, last_error = $4 where id = $1`, id, attempts, next, failure.Error())
		}
		return err
	})
	return found, sent && err == nil, err
}

// dispatch hands a letter to the mail server, or without one writes it to
// DATA_DIR.
func (s *server) dispatch(ctx context.Context, sealed []byte) error {
	var l letter
	plain, err := s.unseal("mail", sealed)
	if err == nil {
		err = json.Unmarshal(plain, &l)
	}
	if err != nil {
		return err
	}
	if strings.ContainsFunc(l.To, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == '<' || r == '>' }) {
		return fmt.Errorf("its recipient is no address: %w", errFinal)
	}
	if s.cfg.smtpHost == "" {
		return s.writeLetter(l)
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return s.transmit(ctx, l)
}

// writeLetter writes a letter to DATA_DIR/mail and logs its links, for who
// develops without a mail server.
func (s *server) writeLetter(l letter) error {
	dir := filepath.Join(s.cfg.dataDir, "mail")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".letter-*") // readable by its owner alone
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone after the rename
	defer f.Close()
	path := filepath.Join(dir, s.now().UTC().Format("20060102-150405.000000")+"-"+l.Name+"-"+rand.Text()[:8]+".eml")
	if _, err = f.Write(l.message(s.cfg.mailFrom)); err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err == nil {
		links := slices.DeleteFunc(strings.Split(l.Text, "\n"), func(line string) bool { return !s.isOwn(line) })
		s.log.Info("mail written", "path", path, "link", strings.Join(links, " "))
	}
	return err
}

// transmit hands a letter to the mail server (RFC 5321) before ctx's deadline.
// A refusal of the letter itself is errFinal; no error holds the recipient's address.
func (s *server) transmit(ctx context.Context, l letter) error {
	c := s.cfg
	dialer := net.Dialer{Timeout: sendTimeout / 3}
	wire, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(c.smtpHost, c.smtpPort))
	if err != nil {
		return err
	}
	defer wire.Close()
	deadline, _ := ctx.Deadline()
	_ = wire.SetDeadline(deadline)
	detach := context.AfterFunc(ctx, func() { _ = wire.SetDeadline(time.Unix(1, 0)) })
	defer detach()
	client, err := s.greet(wire)
	if err != nil {
		return withoutText(err)
	}
	err = client.Mail(c.mailFrom.Address)
	if err == nil {
		err = client.Rcpt(l.To)
	}
	var body io.WriteCloser
	if err == nil {
		body, err = client.Data()
	}
	if err == nil {
		_, err = body.Write(l.message(c.mailFrom))
	}
	// From here on the server may have the letter: its answer is waited for,
	// even when ctx ends, lest the letter is sent again.
	if err == nil && !detach() {
		err = ctx.Err()
	}
	if err == nil {
		err = body.Close()
	}
	var reply *textproto.Error
	if errors.As(err, &reply) && reply.Code >= 500 {
		return fmt.Errorf("%w: %w", withoutText(err), errFinal)
	}
	if err == nil {
		_ = wire.SetDeadline(time.Now().Add(5 * time.Second))
		_ = client.Quit() // the letter is taken, whatever is said now
	}
	return withoutText(err)
}

// greet begins a session: TLS as set, never less, and the sign-in.
func (s *server) greet(wire net.Conn) (*smtp.Client, error) {
	c := s.cfg
	secure := &tls.Config{ServerName: c.smtpHost, MinVersion: tls.VersionTLS12, RootCAs: c.mailRoots}
	if c.smtpTLS == "tls" {
		wire = tls.Client(wire, secure)
	}
	client, err := smtp.NewClient(wire, c.smtpHost)
	if err == nil {
		err = client.Hello(c.mailHost())
	}
	if err != nil {
		return nil, err
	}
	if c.smtpTLS == "starttls" {
		if offered, _ := client.Extension("STARTTLS"); !offered {
			return nil, errors.New("the mail server does not offer STARTTLS, and nothing is sent in clear text")
		}
		if err := client.StartTLS(secure); err != nil {
			return nil, err
		}
	}
	if c.smtpUser == "" {
		return client, nil
	}
	_, offered := client.Extension("AUTH")
	mechanisms := strings.Fields(strings.ToUpper(offered))
	switch {
	case slices.Contains(mechanisms, "PLAIN"):
		return client, client.Auth(smtp.PlainAuth("", c.smtpUser, c.smtpPassword, c.smtpHost))
	case slices.Contains(mechanisms, "LOGIN"):
		return client, client.Auth(&loginAuth{[]string{c.smtpUser, c.smtpPassword}})
	}
	return nil, errors.New("the mail server offers neither AUTH PLAIN nor AUTH LOGIN")
}

// loginAuth is AUTH LOGIN, the only one that some servers have: asked twice, it
// gives the name and the password (draft-murchison-sasl-login).
type loginAuth struct{ answers []string }

func (a *loginAuth) Start(*smtp.ServerInfo) (string, []byte, error) { return "LOGIN", nil, nil }

func (a *loginAuth) Next(_ []byte, more bool) ([]byte, error) {
	if !more {
		return nil, nil
	}
	if len(a.answers) == 0 {
		return nil, errors.New("the mail server asks for more than a name and a password")
	}
	answer := a.answers[0]
	a.answers = a.answers[1:]
	return []byte(answer), nil
}

// withoutText leaves of a server's reply the code, since its text can hold the
// recipient's address.
func withoutText(err error) error {
	var reply *textproto.Error
	if errors.As(err, &reply) {
		return fmt.Errorf("the mail server answered %d", reply.Code)
	}
	return err
}
