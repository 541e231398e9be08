package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"math/big"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"github.com/jackc/pgx/v5"
)

// mailed is a letter as it reached somebody.
type mailed struct {
	t                         testing.TB
	header                    mail.Header
	from, to, subject         string
	text, html                string
	links                     []string // of the HTML part, the site's own in the signature left out
	envelopeFrom, envelopeTo  string
	secure                    bool
	user, password, mechanism string
}

// parseMail reads a message as a mail program does.
func parseMail(t testing.TB, raw []byte) mailed {
	t.Helper()
	for _, line := range strings.SplitAfter(string(raw), "\n") {
		if line != "" && !strings.HasSuffix(line, "\r\n") || len(line) > 1000 || !strings.HasPrefix(line, "To: ") && strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			t.Errorf("a line that may not travel: %q", line)
		}
	}
	message, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	m := mailed{t: t, header: message.Header}
	var decoder mime.WordDecoder
	if m.subject, err = decoder.DecodeHeader(message.Header.Get("Subject")); err != nil {
		t.Fatal(err)
	}
	m.from, _ = decoder.DecodeHeader(message.Header.Get("From"))
	m.to = strings.Trim(message.Header.Get("To"), "<>")
	kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatal(kind, err)
	}
	parts := multipart.NewReader(message.Body, params["boundary"]) // which decodes quoted-printable
	for i, want := range []string{"text/plain; charset=utf-8", "text/html; charset=utf-8"} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		same(t, "content type", part.Header.Get("Content-Type"), want)
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		*[]*string{&m.text, &m.html}[i] = strings.ReplaceAll(string(text), "\r\n", "\n")
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Fatal("more than two parts", err)
	}
	found := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(m.html, -1)
	for _, f := range found[:max(0, len(found)-1)] {
		m.links = append(m.links, html.UnescapeString(f[1]))
	}
	return m
}

// shows checks what a reader sees in both parts.
func (m mailed) shows(texts ...string) mailed {
	m.t.Helper()
	for _, text := range texts {
		for _, part := range []string{m.text, html.UnescapeString(m.html)} {
			if !strings.Contains(strings.ReplaceAll(part, "\u200c", ""), text) {
				m.t.Fatalf("the letter %q does not show %q:\n%s", m.subject, text, part)
			}
		}
	}
	return m
}

// link is the letter's one link.
func (m mailed) link() string {
	m.t.Helper()
	if len(m.links) != 1 {
		m.t.Fatalf("the letter %q has the links %q:\n%s", m.subject, m.links, m.text)
	}
	return m.links[0]
}

// sendDueMail is what the worker does when it wakes.
func (s *server) sendDueMail(ctx context.Context) (sent int, err error) {
	conn, err := s.db.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	return s.sendDue(ctx, conn.Conn())
}

// letters sends what is due and gives all that an address has got so far,
// oldest first, on a site without a mail server.
func (st *site) letters(to string) (list []mailed) {
	st.t.Helper()
	if _, err := st.sendDueMail(st.t.Context()); err != nil {
		st.t.Fatal(err)
	}
	names, _ := filepath.Glob(filepath.Join(st.cfg.dataDir, "mail", "*.eml")) // sorted, and the names begin with the time
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			st.t.Fatal(err)
		}
		if m := parseMail(st.t, raw); m.to == to {
			list = append(list, m)
		}
	}
	return list
}

// letter is the newest letter to an address; what names a word of its subject.
func (st *site) letter(to, what string) mailed {
	st.t.Helper()
	list := st.letters(to)
	if len(list) == 0 || !strings.Contains(list[len(list)-1].subject, what) {
		st.t.Fatalf("%s got no letter about %q last: %d letters", to, what, len(list))
	}
	return list[len(list)-1]
}

// mailSink is a mail server that keeps what it is given.
type mailSink struct {
	t          testing.TB
	address    string
	secure     *tls.Config
	roots      *x509.CertPool
	implicit   bool   // TLS from the first byte
	extensions string // beside STARTTLS, separated by commas

	mu       sync.Mutex
	listener net.Listener
	reply    func(command string) string // instead of the usual one, unless it is empty
	commands []string
	got      []mailed
}

// newMailSink starts one; change alters what it offers.
func newMailSink(t testing.TB, change ...func(k *mailSink)) *mailSink {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	k := &mailSink{t: t, address: "127.0.0.1:0", roots: x509.NewCertPool(), extensions: "STARTTLS"}
	k.roots.AddCert(certificate)
	k.secure = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	for _, c := range change {
		c(k)
	}
	k.open()
	t.Cleanup(k.close)
	return k
}

// settings points a site at the sink.
func (k *mailSink) settings(mode string) func(c *config) {
	return func(c *config) {
		c.smtpHost, c.smtpPort, _ = net.SplitHostPort(k.address)
		c.smtpTLS, c.mailRoots = mode, k.roots
		c.mailFrom = mail.Address{Name: "Töst Site", Address: "chatter@example.com"}
		c.publicURL = "https://chatter.example.com"
	}
}

func (k *mailSink) open() {
	listener, err := net.Listen("tcp", k.address)
	if err != nil {
		k.t.Fatal(err)
	}
	k.listener, k.address = listener, listener.Addr().String()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go k.talk(conn)
		}
	}()
}

func (k *mailSink) close() { k.listener.Close() }

// on sets what the sink answers.
func (k *mailSink) on(reply func(command string) string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reply = reply
}

// letters are what the sink got so far.
func (k *mailSink) letters() []mailed {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.got)
}

// heard reports whether a command that begins so was given.
func (k *mailSink) heard(prefix string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.ContainsFunc(k.commands, func(c string) bool { return strings.HasPrefix(c, prefix) })
}

// override notes a command and says what else than usual is answered.
func (k *mailSink) override(command string) string {
	k.mu.Lock()
	k.commands = append(k.commands, command)
	reply := k.reply
	k.mu.Unlock()
	if reply == nil {
		return ""
	}
	return reply(command)
}

func (k *mailSink) talk(conn net.Conn) {
	defer conn.Close()
	m := mailed{secure: k.implicit}
	if k.implicit {
		conn = tls.Server(conn, k.secure)
	}
	text := textproto.NewConn(conn)
	say := func(lines ...string) { _ = text.PrintfLine("%s", strings.Join(lines, "\r\n")) }
	say("220 sink ESMTP")
	secret := func() string {
		line, _ := text.ReadLine()
		plain, _ := base64.StdEncoding.DecodeString(line)
		return string(plain)
	}
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		verb, argument, _ := strings.Cut(line, " ")
		if reply := k.override(line); reply != "" {
			say(reply)
			continue
		}
		switch verb {
		case "EHLO":
			lines := []string{"250-sink"}
			for extension := range strings.SplitSeq(k.extensions, ",") {
				if extension != "STARTTLS" || !m.secure {
					lines = append(lines, "250-"+extension)
				}
			}
			say(append(lines, "250 8BITMIME")...)
		case "STARTTLS":
			say("220 go ahead")
			conn = tls.Server(conn, k.secure)
			text, m = textproto.NewConn(conn), mailed{secure: true}
		case "AUTH":
			var first string
			m.mechanism, first, _ = strings.Cut(argument, " ")
			if m.mechanism == "LOGIN" {
				say("334 " + base64.StdEncoding.EncodeToString([]byte("Username:")))
				m.user = secret()
				say("334 " + base64.StdEncoding.EncodeToString([]byte("Password:")))
				m.password = secret()
			} else {
				plain, _ := base64.StdEncoding.DecodeString(first)
				fields := strings.Split(string(plain), "\x00")
				m.user, m.password = fields[1], fields[2]
			}
			if m.password != "open sesame" {
				say("535 5.7.8 wrong password for " + m.user)
				continue
			}
			say("235 welcome")
		case "MAIL":
			m.envelopeFrom = argument
			say("250 ok")
		case "RCPT":
			m.envelopeTo = strings.Trim(strings.TrimPrefix(argument, "TO:"), "<>")
			say("250 ok")
		case "DATA":
			say("354 go ahead")
			raw, err := text.ReadDotBytes()
			if err != nil {
				return
			}
			if reply := k.override("."); reply != "" {
				say(reply)
				continue
			}
			parsed := parseMail(k.t, bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n")))
			parsed.envelopeFrom, parsed.envelopeTo, parsed.secure = m.envelopeFrom, m.envelopeTo, m.secure
			parsed.mechanism, parsed.user = m.mechanism, m.user
			k.mu.Lock()
			k.got = append(k.got, parsed)
			k.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 what?")
		}
	}
}

// write puts a letter about a new password into the outbox.
func (st *site) write(to string) {
	st.t.Helper()
	if err := st.sendMail(st.t.Context(), st.db, to, "reset", resetLetter(st.cfg.publicURL)); err != nil {
		st.t.Fatal(err)
	}
}

func resetLetter(publicURL string) map[string]any {
	return map[string]any{"Username": "alice", "Link": publicURL + "/password?token=sesame&x=1", "Minutes": 30}
}

// pass sends what is due and checks how many letters that were.
func (st *site) pass(want int) {
	st.t.Helper()
	sent, err := st.sendDueMail(st.t.Context())
	if err != nil {
		st.t.Fatal(err)
	}
	same(st.t, "letters sent", sent, want)
}

func (st *site) waiting() int {
	st.t.Helper()
	return st.count(`select count(*) from outbox where given_up_at is null`)
}

// deliver runs a worker until the test ends.
func (st *site) deliver() {
	ctx, cancel := context.WithCancel(st.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		st.deliverMail(ctx)
	}()
	st.t.Cleanup(func() { cancel(); <-done })
}

func TestLetters(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.siteURL = "https://www.example.com" })
	link := st.cfg.publicURL + "/go?token=a-b_c&x=1"
	const when = "22 November 2026, 16:03 UTC"
	type data map[string]any
	letters := map[string]struct {
		data    data
		subject string
		shows   []string
		links   int
	}{
		"verify":            {data{"Username": "alice", "Link": link, "Hours": 48}, "Please confirm your e-mail address", []string{"Hello alice,", "48 hours"}, 1},
		"email-confirm-new": {data{"Username": "alice", "Link": link, "Hours": 1}, "Please confirm your new e-mail address", []string{"Hello alice,", "1 hour."}, 1},
		"email-changed-old": {data{"Username": "alice", "NewEmail": "b…@example.com"}, "The e-mail address of your account was changed", []string{"Hello alice,", " b…@example.com."}, 0},
		"reset":             {data{"Username": "alice", "Link": link, "Minutes": 30}, "Choose a new password", []string{"Hello alice,", "30 minutes"}, 1},
		"locked":            {data{"Username": "alice", "Until": when, "Link": link}, "Your account is locked for a while", []string{"Hello alice,", when}, 1},
		"password-changed":  {data{"Username": "alice", "When": when, "Address": "192.0.2.7"}, "Your password was changed", []string{"Hello alice,", when, "192.0.2.7"}, 0},
		"two-factor":        {data{"Username": "alice", "What": "switched off", "When": when}, "Two-factor sign-in was switched off", []string{"Hello alice,", "switched off"}, 0},
		"account-deleted":   {data{"Username": "alice"}, "Your account was deleted", []string{"Hello alice,"}, 0},
		"comment": {data{"Username": "alice", "Author": "bob", "What": "answered your comment on", "About": "the blog", "Text": "One\n\nTwo", "Kind": "answers to your comments", "Link": link, "Stop": link},
			"bob answered your comment on the blog", []string{"Hello alice,", "One", "Two", "letters about answers to your comments are switched on"}, 2},
		"reports":     {data{"Username": "alice", "Open": 3, "Reported": 1, "Held": 2, "Link": link, "Stop": link}, "3 comments wait for a moderator", []string{"1 comment was reported", "2 comments are held"}, 2},
		"unpublished": {data{"Username": "alice", "Title": "Walker", "Note": "It burns", "Link": link}, "Your project was taken off the site", []string{"Hello alice,", "project Walker", "It burns", "write to an admin"}, 1},
		"warned":      {data{"Username": "alice", "About": "blog/x.html", "Text": "Be kind", "Link": link}, "A moderator has a word for you", []string{"Hello alice,", "Be kind"}, 1},
	}
	files, err := fs.Glob(mailFiles, "templates/mail/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	same(t, "letters that are tried here", len(letters), len(files))
	for name, l := range letters {
		to := name + "@example.com"
		if err := st.sendMail(t.Context(), st.db, to, name, l.data, "List-Unsubscribe", "<"+link+">"); err != nil {
			t.Fatal(err)
		}
		m := st.letter(to, l.subject)
		same(t, name+" subject", m.subject, l.subject)
		m.shows(l.shows...).shows("You get this letter because ", "Test Site", "https://www.example.com")
		same(t, "why it comes", strings.HasPrefix(m.text[strings.LastIndex(strings.TrimSpace(m.text), "\n")+1:], "You get this letter because "), true)
		same(t, "signature", strings.Contains(m.text, "\n\n-- \nTest Site\nhttps://www.example.com\n\n"), true)
		same(t, "signature's link", strings.Contains(m.html, `<a class="link" href="https://www.example.com"`), true)
		for _, part := range []string{m.text, m.html} {
			same(t, "left-overs in "+name, strings.Contains(part, "{{") || strings.Contains(part, "<no value>") || strings.Contains(part, "map["), false)
		}
		same(t, name+" links", len(m.links), l.links)
		for _, one := range m.links {
			same(t, name+" link", one, link)
			same(t, "label and link", regexp.MustCompile(`\n[A-Z][^\n]*:\n`+regexp.QuoteMeta(link)+`\n`).MatchString(m.text), true)
			same(t, "button", regexp.MustCompile(`<a class="button"[^>]*>[A-Z][^:<]*</a>`).MatchString(m.html), true)
			same(t, "the link is no text", strings.Contains(html.UnescapeString(m.html), ">"+link), false)
		}
		// RFC 5322 §3.6, RFC 3834 §5
		same(t, "from", m.from, `"Test Site" <chatter@localhost>`)
		same(t, "auto-submitted", m.header.Get("Auto-Submitted"), "auto-generated")
		same(t, "MIME version", m.header.Get("MIME-Version"), "1.0")
		same(t, "extra header", m.header.Get("List-Unsubscribe"), "<"+link+">")
		same(t, "message id", regexp.MustCompile(`^<[A-Z2-7]{26}@localhost>$`).MatchString(m.header.Get("Message-ID")), true)
		date, err := m.header.Date()
		same(t, "date", err == nil && st.now().Sub(date).Abs() < time.Hour, true)
	}
	// What a letter lacks, or one that there isn't, is an error before anything is kept.
	for name, d := range map[string]any{"verify": data{"Username": "alice"}, "reset": data{"Username": "alice", "Link": "https://elsewhere.example/x", "Minutes": 1}, "account-deleted": data{}, "nonsense": nil} {
		same(t, "no "+name, st.sendMail(t.Context(), st.db, "x@example.com", name, d) != nil, true)
	}
	same(t, "kept", st.waiting(), 0)
}

// What people give as their name or text makes no link, no header, no markup
// and no paragraph of its own.
func TestLettersToldByOthers(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	own := st.cfg.publicURL + "/logout"
	hostile := []string{
		"https://evil.example/x", "evil.example", "www.evil.example", "someone@evil.example", "evil。example", "evil.\u202eexample",
		"a\r\nBcc: victim@example.com\r\n\r\nbody", "a\n\nPress here:\n" + own + "\n\nb", own, "\n> quoted", `<a href="https://evil.example">x</a><script>`, `"><img src=x onerror=alert(1)>`,
		"{{link .Link}}", "a\x00b\x1b[31m", strings.Repeat("ä", 900), "--\r\n.\r\nMAIL FROM:<x@y>", "=?utf-8?q?=0D=0ABcc:_x?=",
	}
	autolink := regexp.MustCompile(`(?i)(https?://|www\.\pL|[@.。．｡]\pL)`)
	for i, name := range hostile {
		to := fmt.Sprintf("p%d@example.com", i)
		// In the subject, in a line of the text and in the line that says why.
		if err := st.sendMail(t.Context(), st.db, to, "two-factor", map[string]any{"Username": name, "What": name, "When": name}, "List-Id", name); err != nil {
			t.Fatal(err)
		}
		m := st.letter(to, "Two-factor")
		same(t, fmt.Sprintf("links of %q", name), len(m.links), 0)
		same(t, "header", len(m.header), 9)
		same(t, "Bcc", m.header.Get("Bcc"), "")
		list, err := new(mime.WordDecoder).DecodeHeader(m.header.Get("List-Id"))
		same(t, "the extra header's lines", err == nil && (!strings.ContainsAny(list, "\r\n") || strings.HasPrefix(name, "=?")), true)
		same(t, "subject's lines", strings.ContainsAny(m.subject, "\r\n"), false)
		body, _, _ := strings.Cut(m.text, "\n\n-- \n")
		same(t, fmt.Sprintf("paragraphs of %q in %q", name, body), strings.Count(body, "\n"), 4)
		if found := autolink.FindString(body + "\n" + m.subject); found != "" {
			t.Errorf("%q in the letter about %q: %s", found, name, body)
		}
		page, _, _ := strings.Cut(m.html, `<a class="link"`)
		for _, tag := range []string{"<a ", "<script", "<img", "<blockquote"} {
			same(t, tag+" of "+name, strings.Contains(page, tag), false)
		}
	}
	for text, want := range map[string]string{"a\r\n\r\nb": "a b", "a\x00b\x1b[31m": "ab[31m", "evil.\u202eexample": "evil.\u200cexample", "1.5 at 12:30": "1.5 at 12:30"} {
		same(t, fmt.Sprintf("%q", text), shown(text), want)
	}
	// Whatever a template does with it.
	tree := template.Must(template.New("").Funcs(template.FuncMap{"shown": func(any) string { return "shown " }}).Parse(
		`{{.}}{{if .}}{{.}}{{end}}{{if not .}}{{else}}{{.}}{{end}}{{range .}}{{.}}{{end}}{{range slice . 1}}{{else}}{{.}}{{end}}{{with .}}{{.}}{{end}}{{with not .}}{{else}}{{.}}{{end}}`))
	guard(tree.Root)
	var guarded strings.Builder
	if err := tree.Execute(&guarded, []string{"x"}); err != nil {
		t.Fatal(err)
	}
	same(t, "guarded", guarded.String(), strings.Repeat("shown ", 7))
	// The same in a quote, line by line.
	blocks := st.paragraphs("Somebody wrote:\n\n" + string(quote("Look:\n"+own+"\n\n<b>evil.example</b>")) + "\n\nRead it:\n" + own)
	same(t, "blocks", len(blocks), 3)
	same(t, "a quote", blocks[1].Quote && blocks[1].Link == "", true)
	same(t, "its lines", strings.ReplaceAll(strings.Join(blocks[1].Lines, "|"), "\u200c", ""), "Look:|"+own+"||<b>evil.example</b>")
	same(t, "no link", autolink.MatchString(strings.Join(blocks[1].Lines, "|")), false)
	same(t, "a button", blocks[2].Label+" "+blocks[2].Link, "Read it "+own)
	for _, text := range []string{own + " x", "x " + own, "https://elsewhere.example/", "one\ntwo:\n" + own, st.cfg.publicURL + ".evil.example/"} {
		same(t, text, st.paragraphs(text)[0].Link, "")
	}
}

func TestMailDelivery(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ mode, extensions, user, mechanism string }{
		{"off", "SIZE 1000000", "", ""},
		{"starttls", "STARTTLS", "", ""},
		{"starttls", "STARTTLS,AUTH LOGIN PLAIN", "kev", "PLAIN"},
		{"tls", "AUTH LOGIN", "kev", "LOGIN"},
		{"tls", "SIZE 1000000", "", ""},
	} {
		sink := newMailSink(t, func(k *mailSink) { k.extensions, k.implicit = c.extensions, c.mode == "tls" })
		st := newSite(t, sink.settings(c.mode), func(cfg *config) { cfg.smtpUser, cfg.smtpPassword = c.user, "open sesame" })
		st.write("alice@example.com")
		st.pass(1)
		same(t, "left", st.waiting(), 0)
		got := sink.letters()
		same(t, "letters", len(got), 1)
		m := got[0]
		same(t, "secure", m.secure, c.mode != "off")
		same(t, "sign-in", m.mechanism+m.user, c.mechanism+c.user)
		same(t, "envelope", m.envelopeFrom+" "+m.envelopeTo, "FROM:<chatter@example.com> BODY=8BITMIME alice@example.com")
		same(t, "from", m.from, "Töst Site <chatter@example.com>")
		same(t, "to", m.to, "alice@example.com")
		same(t, "named itself", sink.heard("EHLO chatter.example.com"), true)
		same(t, "said good-bye", sink.heard("QUIT"), true)
		same(t, "message id", strings.HasSuffix(m.header.Get("Message-ID"), "@chatter.example.com>"), true)
		parsed := m
		parsed.t = t
		same(t, "link", parsed.link(), "https://chatter.example.com/password?token=sesame&x=1")
	}
}

// Neither a letter nor a password goes over a line that others can read.
func TestMailNeverInClear(t *testing.T) {
	t.Parallel()
	trusted := func(*config) {}
	offers := func(extensions string) func(k *mailSink) { return func(k *mailSink) { k.extensions = extensions } }
	usual := offers("STARTTLS,AUTH PLAIN")
	for _, c := range []struct {
		name, mode string
		server     func(k *mailSink)
		change     func(c *config)
		why        string
	}{
		{"no STARTTLS", "starttls", offers("AUTH PLAIN"), trusted, "does not offer STARTTLS"},
		{"STARTTLS refused", "starttls", func(k *mailSink) {
			usual(k)
			k.reply = func(command string) string {
				if command == "STARTTLS" {
					return "454 TLS not available"
				}
				return ""
			}
		}, trusted, "answered 454"},
		{"a stranger's certificate", "starttls", usual, func(c *config) { c.mailRoots = x509.NewCertPool() }, "x509"},
		{"a stranger's certificate at once", "tls", func(k *mailSink) { k.implicit = true }, func(c *config) { c.mailRoots = x509.NewCertPool() }, "x509"},
		{"another host's certificate", "starttls", usual, func(c *config) { c.smtpHost = "localhost" }, "x509"},
		{"old TLS", "starttls", func(k *mailSink) {
			usual(k)
			k.secure.MinVersion, k.secure.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}, trusted, "tls"},
		{"wrong password", "starttls", usual, func(c *config) { c.smtpPassword = "wrong" }, "answered 535"},
		{"no way to sign in", "starttls", offers("STARTTLS,AUTH CRAM-MD5"), trusted, "neither AUTH PLAIN nor"},
	} {
		sink := newMailSink(t, c.server)
		st := newSite(t, sink.settings(c.mode), func(cfg *config) { cfg.smtpUser, cfg.smtpPassword = "kev", "open sesame" }, c.change)
		st.write("alice@example.com")
		st.pass(0)
		same(t, c.name, st.count(`select count(*) from outbox where attempts = 1 and last_error like '%' || $1 || '%'`, c.why), 1)
		same(t, c.name+": letters", len(sink.letters())+btoi(sink.heard("MAIL")), 0)
		same(t, c.name+": password", sink.heard("AUTH"), c.name == "wrong password")
		same(t, c.name+": told to an attacker", strings.Contains(st.logged.String(), "open sesame"), false)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestMailIsTriedAgain(t *testing.T) {
	t.Parallel()
	sink := newMailSink(t)
	st := newSite(t, sink.settings("starttls"))
	clock := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	st.now = func() time.Time { return clock }
	refused := 0
	sink.on(func(command string) string {
		if strings.HasPrefix(command, "RCPT TO:<full@") {
			refused++
			return "452 4.2.2 the mailbox of full@example.com is full"
		}
		return ""
	})
	st.write("full@example.com")
	st.write("alice@example.com")
	st.pass(1) // one letter that fails holds up no other
	same(t, "tried", refused, 1)
	same(t, "noted", st.count(`select count(*) from outbox where last_error = 'the mail server answered 452'`), 1)
	var waited []string
	for st.waiting() > 0 {
		var next time.Time
		if err := st.db.QueryRow(t.Context(), `select next_attempt_at from outbox`).Scan(&next); err != nil {
			t.Fatal(err)
		}
		tries := refused
		waited = append(waited, next.Sub(clock).String())
		clock = next.Add(-time.Second)
		st.pass(0)
		same(t, "too early", refused, tries)
		clock = next
		st.pass(0)
	}
	same(t, "waits", strings.Join(waited, " "), "1m0s 2m0s 4m0s 8m0s 16m0s 32m0s 1h4m0s 2h8m0s 4h16m0s "+strings.Repeat("6h0m0s ", 10)+"6h0m0s")
	same(t, "days", clock.Sub(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)) >= mailLife, true)
	same(t, "not when it is too late", refused, len(waited))
	same(t, "said why", strings.Contains(st.logged.String(), `level=ERROR msg="a letter is given up" letter=1 attempts=20 error="not sent within 72h0m0s (the mail server answered 452)`), true)

	// What the server will never take is given up at once, at each of its steps.
	for _, step := range []string{"MAIL", "RCPT", "DATA", "."} {
		sink.on(func(command string) string {
			if strings.HasPrefix(command, step) {
				return "550 5.1.1 no such person as gone@example.com"
			}
			return ""
		})
		st.write("gone@example.com")
		st.pass(0)
		same(t, "given up after "+step, st.waiting(), 0)
	}
	same(t, "told four times", strings.Count(st.logged.String(), `attempts=1 error="the mail server answered 550: `), 4)
	// At the greeting it is no letter's fault.
	sink.on(func(command string) string {
		if strings.HasPrefix(command, "EHLO") || strings.HasPrefix(command, "HELO") {
			return "554 closed today"
		}
		return ""
	})
	st.write("bob@example.com")
	st.pass(0)
	same(t, "kept", st.waiting(), 1)
	sink.on(nil)
	clock = clock.Add(time.Minute)
	st.pass(1)
	// One that nobody was there to send for days would only confuse.
	st.write("bob@example.com")
	clock = clock.Add(mailLife)
	st.pass(0)
	same(t, "too old", st.waiting(), 0)
	same(t, "log tells who", strings.Contains(st.logged.String(), "@example.com"), false)
	same(t, "log tells what", strings.Contains(st.logged.String(), "sesame"), false)
}

// A recipient that would be more than one address is refused before anything
// is said to the mail server.
func TestMailRecipients(t *testing.T) {
	t.Parallel()
	sink := newMailSink(t)
	st := newSite(t, sink.settings("starttls"))
	for _, to := range []string{"a@example.com\r\nRCPT TO:<b@example.com>", "a@example.com>X=<b@example.com", "a@example.com\n", "a b@example.com", "\x00@example.com"} {
		st.write(to)
		st.pass(0)
		same(t, to, st.waiting(), 0)
	}
	same(t, "connections", sink.heard(""), false)
	st.write("ünïcode@example.com")
	st.pass(1)
	same(t, "to", sink.letters()[0].envelopeTo+" "+sink.letters()[0].to, "ünïcode@example.com ünïcode@example.com")
}

// A mail server that is away for a while loses no letter, nor does a server
// that is started anew.
func TestMailServerAway(t *testing.T) {
	t.Parallel()
	sink := newMailSink(t)
	st := newSite(t, sink.settings("starttls"))
	sink.close()
	st.write("alice@example.com")
	st.pass(0)
	same(t, "kept", st.count(`select count(*) from outbox where attempts = 1 and last_error like '%refused%'`), 1)
	st.clock.Add(int64(5 * time.Minute))
	st.pass(0)
	same(t, "tried twice", st.count(`select count(*) from outbox where attempts = 2`), 1)
	sink.open()
	again := newSite(t, sink.settings("starttls"), func(c *config) {
		c.databaseURL, c.secretKey = st.cfg.databaseURL, st.cfg.secretKey
	})
	again.clock.Add(int64(15 * time.Minute))
	again.pass(1)
	same(t, "to", sink.letters()[0].to, "alice@example.com")
	same(t, "left", st.waiting(), 0)
	// Under another key it can't be read, and waits for the right one.
	st.write("bob@example.com")
	stranger := newSite(t, sink.settings("starttls"), func(c *config) {
		c.databaseURL, c.secretKey = st.cfg.databaseURL, []byte(goodSecret)
	})
	stranger.clock.Add(int64(15 * time.Minute))
	stranger.pass(0)
	same(t, "kept", st.count(`select count(*) from outbox where last_error like '%SECRET_KEY%'`), 1)
	again.clock.Add(int64(15 * time.Minute))
	again.pass(1)
}

// A server that stops in the middle of a letter leaves it as it was, unless the
// mail server may have it.
func TestMailStops(t *testing.T) {
	t.Parallel()
	sink := newMailSink(t)
	st := newSite(t, sink.settings("starttls"))
	for _, c := range []struct {
		at   string
		sent int
	}{{"EHLO", 0}, {"RCPT", 0}, {".", 1}} {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		var stopped sync.Once
		sink.on(func(command string) string {
			if strings.HasPrefix(command, c.at) {
				stopped.Do(func() {
					cancel()
					if c.sent == 0 {
						<-release // never answers while the server waits
					}
				})
			}
			return ""
		})
		st.write("alice@example.com")
		sent, err := st.sendDueMail(ctx)
		close(release)
		same(t, c.at+" error", err, context.Canceled)
		same(t, c.at+" sent", sent, c.sent)
		same(t, c.at+" left", st.count(`select count(*) from outbox where attempts = 0`), 1-c.sent)
		st.exec(`delete from outbox`)
	}
	// A mail server that says nothing is not waited for without end.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, st.cfg.smtpPort, _ = net.SplitHostPort(silent.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	same(t, "silence", st.transmit(ctx, letter{To: "alice@example.com"}) != nil, true)
}

// However many workers there are, each letter is sent once.
func TestManyMailWorkers(t *testing.T) {
	t.Parallel()
	sink := newMailSink(t)
	first := newSite(t, sink.settings("off"))
	second := newSite(t, sink.settings("off"), func(c *config) { c.databaseURL, c.secretKey = first.cfg.databaseURL, first.cfg.secretKey })
	const many = 80
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := w; i < many; i += 4 {
				if err := first.sendMail(t.Context(), first.db, fmt.Sprintf("p%d@example.com", i), "reset", resetLetter(first.cfg.publicURL)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	first.deliver()
	second.deliver()
	first.deliver()
	writers.Wait()
	wait(t, "the outbox to be empty", func() bool { return first.waiting() == 0 })
	got := map[string]int{}
	for _, m := range sink.letters() {
		got[m.envelopeTo]++
	}
	same(t, "people", len(got), many)
	same(t, "letters", len(sink.letters()), many)
}

// A letter that is being sent holds up no other instance.
func TestMailWorkersDoNotWait(t *testing.T) {
	t.Parallel()
	sink := newMailSink(t)
	first := newSite(t, sink.settings("off"))
	second := newSite(t, sink.settings("off"), func(c *config) { c.databaseURL, c.secretKey = first.cfg.databaseURL, first.cfg.secretKey })
	release := make(chan struct{})
	sink.on(func(command string) string {
		if strings.HasPrefix(command, "RCPT TO:<slow@") {
			<-release
		}
		return ""
	})
	first.write("slow@example.com")
	first.write("alice@example.com")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = first.sendDueMail(t.Context())
	}()
	wait(t, "the slow letter", func() bool { return sink.heard("RCPT TO:<slow@") })
	second.pass(1)
	close(release)
	<-done
	same(t, "letters", len(sink.letters()), 2)
	same(t, "left", first.waiting(), 0)
}

func TestMailWorkerWakes(t *testing.T) {
	t.Parallel()
	sink := newMailSink(t)
	st := newSite(t, sink.settings("starttls"))
	// wait gives up long before the minute after which a worker looks by itself.
	asleep := func() bool {
		return st.count(`select count(*) from pg_stat_activity where datname = current_database() and application_name = 'chatter mail'
			and state = 'idle' and query like 'select min%'`) == 1
	}
	st.deliver()
	wait(t, "the worker to sleep", asleep)
	tx, err := st.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.sendMail(t.Context(), tx, "lost@example.com", "reset", resetLetter(st.cfg.publicURL)); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(t.Context(), st.db, func(tx pgx.Tx) error {
		if err := st.sendMail(t.Context(), tx, "alice@example.com", "reset", resetLetter(st.cfg.publicURL)); err != nil {
			return err
		}
		same(t, "before the commit", len(sink.letters()), 0)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the letter", func() bool { return len(sink.letters()) == 1 })
	same(t, "to", sink.letters()[0].to, "alice@example.com")

	// It wakes when a letter's next attempt is due.
	st.exec(`insert into outbox (letter, created_at, next_attempt_at) values ($1, $2, $3)`,
		st.seal("mail", []byte(`{"To": "later@example.com"}`)), st.now().UTC(), st.now().UTC().Add(1500*time.Millisecond))
	wait(t, "the later letter", func() bool { return len(sink.letters()) == 2 })

	// It comes back to a database that threw it out.
	wait(t, "the worker to sleep", asleep)
	st.exec(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'chatter mail'`)
	st.write("bob@example.com")
	wait(t, "the letter after that", func() bool { return len(sink.letters()) == 3 })
	same(t, "said so", strings.Contains(st.logged.String(), "the outbox can't be read, and is tried again"), true)
}

// Who reads the database learns neither who gets a letter nor what it says.
func TestMailIsSealed(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	st.write("alice@example.com")
	for _, text := range []string{"sesame", "alice", "password"} {
		for _, encoded := range []string{text, fmt.Sprintf("%x", text), base64.StdEncoding.EncodeToString([]byte(text))} {
			same(t, text, st.count(`select count(*) from outbox o where o::text ilike '%' || $1 || '%'`, encoded), 0)
		}
	}
	st.pass(1)
	same(t, "left", st.waiting(), 0)
}

func TestMailWithoutServer(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	same(t, "can mail", st.cfg.canMail(), true)
	st.write("alice@example.com")
	m := st.letter("alice@example.com", "new password")
	same(t, "link", m.link(), st.cfg.publicURL+"/password?token=sesame&x=1")
	dir := filepath.Join(st.cfg.dataDir, "mail")
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "folder's mode", info.Mode().Perm(), fs.FileMode(0o700))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "files", len(entries), 1)
	same(t, "name", regexp.MustCompile(`^\d{8}-\d{6}\.\d{6}-reset-[A-Z2-7]{8}\.eml$`).MatchString(entries[0].Name()), true)
	info, err = entries[0].Info()
	if err != nil {
		t.Fatal(err)
	}
	same(t, "file's mode", info.Mode().Perm(), fs.FileMode(0o600))
	want := fmt.Sprintf(`level=INFO msg="mail written" path=%s link="%s"`, filepath.Join(dir, entries[0].Name()), m.link())
	if !strings.Contains(st.logged.String(), want) {
		t.Errorf("%s is not in %s", want, st.logged)
	}
	// A folder that can't be written to loses no letter.
	if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	st.write("bob@example.com")
	st.pass(0)
	same(t, "kept", st.waiting(), 1)

	off := newSite(t, func(c *config) { c.production = true })
	same(t, "can mail", off.cfg.canMail(), false)
	off.write("alice@example.com")
	same(t, "kept", off.waiting(), 0)
	off.deliverMail(t.Context()) // returns
}

func TestMailSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	load := func(pairs ...string) (config, error) {
		return loadConfig(env(append(pairs, "DATA_DIR", dir, "SECRET_KEY", goodSecret, "PUBLIC_URL", "https://chatter.example.com", "SITE_NAME", "Robots & Things")...))
	}
	for _, c := range []struct {
		pairs []string
		want  string
	}{
		{nil, `starttls "Robots & Things" <chatter@localhost> true written to ` + filepath.Join(dir, "mail") + " (no SMTP_HOST)"},
		{[]string{"ENVIRONMENT", "production"}, `starttls "Robots & Things" <chatter@localhost> false off (no SMTP_HOST), so no letters are sent, such as those for a forgotten password`},
		{[]string{"ENVIRONMENT", "production", "SMTP_HOST", "mail.example.com", "SMTP_FROM", "chatter@example.com"},
			`starttls "Robots & Things" <chatter@example.com> true SMTP mail.example.com:587`},
		{[]string{"SMTP_HOST", "mail.example.com", "SMTP_FROM", "Kev <kev@example.com>", "SMTP_PORT", "465"}, `tls "Kev" <kev@example.com> true SMTP mail.example.com:465`},
		{[]string{"SMTP_HOST", "::1", "SMTP_FROM", "kev@example.com", "SMTP_PORT", "25", "SMTP_TLS", "off"}, `off "Robots & Things" <kev@example.com> true SMTP [::1]:25`},
		{[]string{"SMTP_HOST", "mail.example.com", "SMTP_FROM", "kev@example.com", "SMTP_PORT", "465", "SMTP_TLS", "starttls", "SMTP_USER", "u", "SMTP_PASSWORD", "p"},
			`starttls "Robots & Things" <kev@example.com> true SMTP mail.example.com:465`},
	} {
		cfg, err := load(c.pairs...)
		if err != nil {
			t.Fatal(err)
		}
		same(t, fmt.Sprint(c.pairs), fmt.Sprint(cfg.smtpTLS, " ", cfg.mailFrom.String(), " ", cfg.canMail(), " ", cfg.mailRoute()), c.want)
	}
	good := []string{"SMTP_HOST", "mail.example.com", "SMTP_FROM", "chatter@example.com"}
	for _, c := range [][]string{
		{"SMTP_HOST", "mail.example.com:587"}, {"SMTP_HOST", "smtp://mail.example.com"}, {"SMTP_PORT", "0"}, {"SMTP_PORT", "smtp"},
		{"SMTP_FROM", "chatter"}, {"SMTP_FROM", "a@example.com, b@example.com"}, {"SMTP_FROM", `"a b"@example.com`}, {"SMTP_FROM", " "},
		{"SMTP_TLS", "yes"}, {"SMTP_TLS", "off", "SMTP_USER", "u", "SMTP_PASSWORD", "p"}, {"SMTP_PASSWORD", "p"}, {"SMTP_PASSWORD", "", "SMTP_USER", "u"},
	} {
		_, err := load(append(c, good...)...)
		if err == nil || !strings.HasPrefix(err.Error(), c[0]+" ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v", c, err)
		}
	}
	for address, want := range map[string]string{"https://chatter.example.com:8443/x": "chatter.example.com", "http://192.0.2.7:80": "[192.0.2.7]", "http://[::1]:8000": "[IPv6:::1]"} {
		same(t, address, config{publicURL: address}.mailHost(), want)
	}
}
