package main

import (
	"bytes"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
	"time"
	"unicode"
	"unicode/utf8"
)

// letter is what the outbox keeps under seal. Date and ID stay the same however
// often it is tried, so that a letter that arrives twice can be told for one.
type letter struct {
	Name, To, Subject, Text, HTML string
	Headers                       []string // names and values in turn
	ID                            string
	Date                          time.Time
}

//go:embed templates/mail
var mailFiles embed.FS

var letterPage = template.Must(template.ParseFS(mailFiles, "templates/mail/layout.html"))

// fit is text that a letter shows as it stands; everything else that a template
// writes goes through shown.
type fit string

// shown makes one line of a value, in which no mail client sees an address that
// it would make a link of. Times are in UTC.
func shown(value any) string {
	switch v := value.(type) {
	case fit:
		return string(v)
	case time.Time:
		return v.UTC().Format("2 January 2006, 15:04 UTC")
	}
	visible := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, oneLine(fmt.Sprint(value)))
	// A zero-width non-joiner is invisible, and ends what they look for.
	return risky.ReplaceAllStringFunc(visible, func(found string) string {
		_, n := utf8.DecodeRuneInString(found)
		return found[:n] + "\u200c" + found[n:]
	})
}

// risky is in every address of the web or of a mailbox, with the dots of RFC
// 3490 §3.1, and in every encoded word (RFC 2047), which could hide another.
var risky = regexp.MustCompile(`[.。．｡@]\pL|://|=\?`)

// quote puts "> " before every line of somebody's text.
func quote(text string) fit {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		lines[i] = "> " + shown(line)
	}
	return fit(strings.Join(lines, "\n"))
}

// guard puts all that the actions of a template write through shown.
func guard(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			n.Pipe.Cmds = append(n.Pipe.Cmds, &parse.CommandNode{NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier("shown")}})
		case *parse.IfNode:
			guard(n.List)
			guard(n.ElseList)
		case *parse.RangeNode:
			guard(n.List)
			guard(n.ElseList)
		case *parse.WithNode:
			guard(n.List)
			guard(n.ElseList)
		}
	}
}

// compose writes a letter. The file's first line is "Subject: …", its last
// paragraph says why one gets the letter, and stands below the signature.
func (s *server) compose(to, name string, data any, headers []string) (letter, error) {
	t, err := texttemplate.New(name+".txt").Option("missingkey=error").Funcs(map[string]any{
		"shown": shown, "quote": quote, "plural": templateFuncs["plural"],
		"contact": func() fit { return fit(s.cfg.contact()) },
		"site":    func() fit { return fit(oneLine(s.cfg.siteName)) },
		"link": func(address string) (fit, error) {
			if !s.isOwn(address) {
				return "", errors.New("a letter links to this server only")
			}
			return fit(address), nil
		},
	}).ParseFS(mailFiles, "templates/mail/"+name+".txt")
	if err != nil {
		return letter{}, err
	}
	guard(t.Root)
	var text strings.Builder
	if err := t.Execute(&text, data); err != nil {
		return letter{}, err
	}
	subject, body, _ := strings.Cut(text.String(), "\n")
	subject = truncate(strings.TrimPrefix(subject, "Subject: "), 200)
	body = strings.TrimSpace(body)
	end := strings.LastIndex(body, "\n\n")
	body, why := body[:end], body[end+2:]
	var page bytes.Buffer
	err = letterPage.Execute(&page, struct {
		Subject, Site, Address, Why string
		Blocks                      []paragraph
	}{subject, s.cfg.siteName, s.cfg.siteURL, why, s.paragraphs(body)})
	return letter{
		Name: name, To: to, Subject: subject, HTML: page.String(), Headers: headers, ID: rand.Text() + "@" + s.cfg.mailHost(), Date: s.now().UTC(),
		Text: fmt.Sprintf("%s\n\n-- \n%s\n%s\n\n%s\n", body, oneLine(s.cfg.siteName), s.cfg.siteURL, why),
	}, err
}

// isOwn reports whether text is an address of this server and nothing else.
func (s *server) isOwn(text string) bool {
	_, err := url.Parse(text)
	return err == nil && strings.HasPrefix(text, s.cfg.publicURL+"/") && !strings.ContainsFunc(text, unicode.IsSpace)
}

// paragraph is one of a letter's HTML part: a button, or lines of text.
type paragraph struct {
	Link, Label string
	Further     bool // not the letter's first link
	Lines       []string
	Quote       bool
}

// paragraphs reads a letter's text. One that is an address of this server and
// nothing else is a button, or a link if it is not the first, and a line before
// it is its label, without the colon; one whose lines begin with "> " is a quote.
func (s *server) paragraphs(text string) (list []paragraph) {
	for part := range strings.SplitSeq(text, "\n\n") {
		lines := strings.Split(strings.TrimSpace(part), "\n")
		last := len(lines) - 1
		switch {
		case last < 2 && s.isOwn(lines[last]):
			further := slices.ContainsFunc(list, func(p paragraph) bool { return p.Link != "" })
			list = append(list, paragraph{Link: lines[last], Label: strings.TrimSuffix(lines[max(0, last-1)], ":"), Further: further})
		case strings.HasPrefix(lines[0], ">"):
			for i, line := range lines {
				lines[i] = strings.TrimPrefix(strings.TrimPrefix(line, ">"), " ")
			}
			list = append(list, paragraph{Lines: lines, Quote: true})
		case lines[0] != "":
			list = append(list, paragraph{Lines: lines})
		}
	}
	return list
}

// message is the letter as it travels (RFC 5322; MIME by RFC 2045 to 2047).
func (l letter) message(from mail.Address) []byte {
	var b bytes.Buffer
	parts := multipart.NewWriter(&b)
	headers := append([]string{
		"From", from.String(), "To", (&mail.Address{Address: l.To}).String(), "Subject", l.Subject, "Date", l.Date.Format(time.RFC1123Z),
		"Message-ID", "<" + l.ID + ">", "Auto-Submitted", "auto-generated", "MIME-Version", "1.0", // RFC 3834 §5
		"Content-Type", "multipart/alternative; boundary=" + parts.Boundary(),
	}, l.Headers...)
	for i := 0; i+1 < len(headers); i += 2 {
		value := oneLine(headers[i+1]) // so that it starts no header of its own
		if headers[i] != "To" {        // where letters beyond ASCII stand as they are (RFC 6532)
			value = mime.QEncoding.Encode("utf-8", value)
		}
		// Encoded words may stand on lines of theirs; a line has 998 bytes at most.
		fmt.Fprintf(&b, "%s: %s\r\n", headers[i], strings.ReplaceAll(value, "?= =?", "?=\r\n =?"))
	}
	b.WriteString("\r\n")
	for _, part := range [][2]string{{"text/plain", l.Text}, {"text/html", l.HTML}} {
		w, _ := parts.CreatePart(textproto.MIMEHeader{"Content-Type": {part[0] + "; charset=utf-8"}, "Content-Transfer-Encoding": {"quoted-printable"}})
		q := quotedprintable.NewWriter(w)
		_, _ = io.WriteString(q, part[1]) // a buffer takes everything
		q.Close()
	}
	parts.Close()
	return b.Bytes()
}
