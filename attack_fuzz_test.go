package main

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"html"
	"io"
	"log/slog"
	"math"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// Fuzzing of what reads what strangers send. The seeds run with all other tests;
// make attack looks for more. A fault that was found stays as a seed.

// fuzzed is a server without a database, for what needs none.
func fuzzed(tb testing.TB) *server {
	tb.Helper()
	cfg := config{secretKey: []byte(strings.Repeat("k", 32)), publicURL: "https://chatter.example.com", siteURL: "https://www.example.com", siteName: "Test Site",
		allowedOrigins: []string{"https://www.example.com"}, sessionIdle: time.Hour, sessionMax: time.Hour, trustedProxies: mustPrefixes(tb, "10.0.0.0/8", "::1/128")}
	banned, err := loadBannedWords(tb.TempDir())
	must(tb, err)
	return &server{cfg: cfg, cache: newCache(), now: time.Now, banned: banned, bots: parseBots(botsText), log: slog.New(slog.DiscardHandler)}
}

// asks is a request to a server as it is inside of its wrappers.
func asks(method, target string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	if u, err := url.ParseRequestURI(target); err == nil {
		r.URL, r.RequestURI = u, target
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	return r
}

// isPublic reports whether an error is one that clients cause.
func isPublic(err error) bool { return err == nil || publicError(err).status < 500 }

// Every path has one shortest form, and the URL of a page survives in it.
func FuzzPageURL(f *testing.F) {
	for _, text := range []string{"", "/", "a/../b", "..", ".", "%2e%2e/x", "a//b", "?x=1#y", "a%2Fb", "ä ö", "http://a.b/c", "//evil.example", "a/timeline", "1/likers", "flagged", "%", "\x00", "\xff"} {
		f.Add(http.MethodGet, "/interact/comments/"+text, text)
		f.Add(http.MethodPut, "/analytics/page-views/"+text+"/timeline", text)
	}
	f.Fuzz(func(t *testing.T, method, escaped, text string) {
		short := shortest(method, escaped)
		if short == "" || short[0] != '/' || shortest(method, short) != short {
			t.Fatalf("%q becomes %q, and that %q", escaped, short, shortest(method, short))
		}
		if _, err := url.PathUnescape(escaped); err == nil && slices.ContainsFunc(strings.Split(short, "/")[1:], func(s string) bool { return s == "." || s == ".." }) {
			t.Fatalf("%q becomes %q", escaped, short)
		}
		one := segment(text)
		if back, err := url.PathUnescape(one); err != nil || back != text || strings.ContainsAny(one, "/?#. \r\n") {
			t.Fatalf("%q is the segment %q", text, one)
		}
		key := pageURL(text)
		if key == "" || key[0] == '/' || pageURL(key) != key {
			t.Fatalf("%q is stored as %q", text, key)
		}
		// Whatever a page is called, its likes are asked for under that name.
		if utf8.ValidString(text) {
			r := asks(http.MethodGet, shortest(http.MethodGet, "/interact/likes/"+one))
			r.SetPathValue("url", strings.TrimPrefix(r.URL.Path, "/interact/likes/"))
			if got, err := pathURL(r); err == nil && got != key {
				t.Fatalf("%q is asked for as %q", key, got)
			}
		}
	})
}

// Nobody is led anywhere but to this server and the allowed origins.
func FuzzReturnTo(f *testing.F) {
	for _, text := range []string{"/a?b#c", "//evil.example", `/\evil.example`, "/\t/evil.example", "/.//evil.example", "/%2f/evil.example", "///evil.example", "https://www.example.com/a", "https://www.example.com@evil.example/",
		"https://www.example.com:80@evil.example", "https:evil.example", "https:///evil.example", "HTTPS://WWW.EXAMPLE.COM/", "javascript:alert(1)", "/;@evil.example", "/..//evil.example", "/login/../../x", "https://www.example.com\u3002evil.example"} {
		f.Add(text)
	}
	s := fuzzed(f)
	own, _ := url.Parse(s.cfg.publicURL)
	f.Fuzz(func(t *testing.T, text string) {
		back := s.returnTo(text)
		if back == "" {
			return
		}
		w := httptest.NewRecorder()
		_ = seeOther(w, asks(http.MethodPost, "/login"), back)
		for _, to := range []string{back, w.Header().Get("Location")} {
			// Browsers take a backslash for a slash, and drop what controls.
			browser := strings.ReplaceAll(strings.Map(func(r rune) rune {
				if unicode.IsControl(r) {
					return -1
				}
				return r
			}, strings.TrimSpace(to)), `\`, "/")
			u, err := own.Parse(browser)
			if err != nil || u.Scheme != "https" || u.Host != own.Host && u.Scheme+"://"+u.Host != "https://www.example.com" || u.User != nil || strings.ContainsAny(to, "\r\n") {
				t.Fatalf("%q leads to %q (%v)", text, to, u)
			}
		}
		if clean := path.Clean("/" + strings.TrimLeft(back, "/")); clean == "/login" {
			t.Fatalf("%q leads to signing in", text)
		}
	})
}

// readFields reads every kind of field from an input.
func readFields(s *server, in *input, name string) (texts []string) {
	texts = append(texts, in.text(name, 0, 100), in.verbatim(name, 0, 100), in.updated(name, 1, "", 0, 100), in.pageURL(name), in.email(name, nil), in.choice(name, "a", "a", "b"), in.password(name, "ada"))
	texts = append(texts, deref(in.optional(name, nil, 100)), deref(in.link(name, nil, 100)))
	texts = append(texts, in.tags()...)
	in.ids(name)
	in.flag(name)
	in.date(name, nil)
	in.integer(name, nil, 0, 9)
	in.optionalInteger(name, nil, math.MinInt32, math.MaxInt32)
	in.price()
	in.galleryQuery()
	_, _, _ = s.commentText(in)
	return texts
}

// Whatever a body holds, its fields are read, and what is taken can be stored.
func FuzzInput(f *testing.F) {
	const part = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n"
	for _, body := range []string{`{"a": "b", "tags": ["x"], "price": "3,50", "content": "Hi"}`, `{"a": [1, "2", 2]}`, `{"a": 1e400}`, `{"a": -0.0}`, `{"a": null}`, `{"a": {"b": []}}`, `[1]`, `{"a": "\u0000"}`, `{"a": "\ud800"}`, "{\"a\": \"\xff\"}",
		`{"a": "x@example.com"}`, `{"a": "x@example.com\r\nBcc: y@example.com"}`, `{"a": "1990-05-17T00:00:00+02:00"}`, `{"a": "javascript:alert(1)"}`, `{"a": "https://a.b/c"}`, `{"a": true, "a": false}`, "a=b&tags=c,d&price=%E2%82%AC3",
		"a=%00", "a=%ff", "a=1;b=2", "&&&=", part + "\r\nb\r\n--x--", part + "Content-Transfer-Encoding: quoted-printable\r\n\r\n=00=FF\r\n--x--", part, "{", "", "null", `{"tags": ["\u0000", "\u0000"]}`} {
		for _, kind := range []string{"application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
			f.Add(kind, body)
		}
	}
	s := fuzzed(f)
	f.Fuzz(func(t *testing.T, kind, body string) {
		r := asks(http.MethodPost, "/")
		r.Header.Set("Content-Type", kind)
		r.Body = io.NopCloser(strings.NewReader(body))
		if ids, err := readIDs(httptest.NewRecorder(), r); !isPublic(err) || len(ids) > len(body) {
			t.Fatal(err)
		}
		for _, read := range []func(http.ResponseWriter, *http.Request) (*input, error){readInput, readForm} {
			r.Body = io.NopCloser(strings.NewReader(body))
			in, err := read(httptest.NewRecorder(), r)
			if err != nil {
				if status := publicError(err).status; status != http.StatusUnprocessableEntity && status != http.StatusBadRequest {
					t.Fatal(err)
				}
				continue
			}
			for name := range in.fields {
				one := &input{where: "body", fields: in.fields}
				texts := readFields(s, one, name)
				answer, err := json.Marshal(publicError(one.err()).faults)
				if one.err() == nil {
					answer = nil
				}
				if err != nil || len(answer) > 100*(1+len(body))+10_000 {
					t.Fatalf("%d bytes are answered by %d: %v", len(body), len(answer), err)
				}
				for _, text := range texts {
					if !isPlain(text) {
						t.Fatalf("%q is taken", text)
					}
				}
				alone := &input{where: "body", fields: in.fields}
				if address := alone.email(name, nil); alone.err() == nil {
					if len(address) > 4*254 || strings.ContainsAny(address, "\r\n <>,;\"") || strings.Count(address, "@") != 1 {
						t.Fatalf("%q is taken for an address", address)
					}
				}
				alone = &input{where: "body", fields: in.fields}
				if link := alone.link(name, nil, 100); alone.err() == nil && link != nil && !isWebLink(*link) {
					t.Fatalf("%q is taken for a link", *link)
				}
				alone = &input{where: "body", fields: in.fields}
				if ids := alone.ids(name); len(ids) > len(body) || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
					t.Fatalf("the ids are %d", ids)
				}
			}
			refusedForm, _, _ := refused(httptest.NewRecorder(), "form", in, invalid(fault{[]string{"body", "a"}, "A is required", "missing"}))
			newField(refusedForm, "a", "choices=a:A|b:B")
			for name, value := range in.values() {
				if !utf8.ValidString(value) || strings.Contains(name, "password") {
					t.Fatalf("%q: %q is shown again", name, value)
				}
			}
		}
		if cents, ok := parsePrice(body); ok && cents != nil && (*cents < 0 || *cents > math.MaxInt32) {
			t.Fatalf("%q is %d", body, *cents)
		}
	})
}

// commentLink is a link as comments have it.
var commentLink = regexp.MustCompile(`<a (?:class="mention" href="/u/Bob"|href="https?://[^"<>\s]+" rel="ugc nofollow noopener")>`)

// What is kept of a comment holds nothing that a browser would take for HTML,
// cleaning it again changes nothing, and pages show it as well-formed HTML.
func FuzzComment(f *testing.F) {
	for _, text := range append(hostile, "<scr<b>ipt>alert(1)</script>", "<img <y onerror=x>", "<!--<a>-->", "a <b && c> d", "**a *b* `c`** @bob http://a.b/c?d=\"e", "main.py www.example.com http://ａ.example", "f u c k", "\u202e\u200b", "<a =&>", strings.Repeat(" **b", 9)+"c**d") {
		f.Add(text)
	}
	s := fuzzed(f)
	s.cfg.commentLinks = "allow"
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "") // as every body is
		for _, found := range linksIn(text) {
			if found == "" || strings.ContainsFunc(found, unicode.IsSpace) {
				t.Fatalf("%q is taken for a link", found)
			}
		}
		if _, err := s.checkWords(text); !isPublic(err) {
			t.Fatal(err)
		}
		clean, err := cleanComment(text)
		if err != nil {
			if publicError(err).status != http.StatusBadRequest {
				t.Fatal(err)
			}
			return
		}
		if !isPlain(clean) || utf8.RuneCountInString(clean) > maxComment || !hasInk(clean) || strings.ContainsRune(clean, '\r') || strings.ContainsRune(clean, '\u202e') {
			t.Fatalf("%q becomes %q", text, clean)
		}
		if stripTags(clean) != clean {
			t.Fatalf("%q becomes %q, and that %q", text, clean, stripTags(clean))
		}
		page := string(formatComment(clean, map[string]string{"bob": "Bob"}))
		if err := checkHTML(commentLink.ReplaceAllString(page, "<a>")); err != nil {
			t.Fatalf("%v in %q of %q", err, page, clean)
		}
		if len(page) > 200*(1+len(clean)) {
			t.Fatalf("%d bytes become %d", len(clean), len(page))
		}
	})
}

// Names of files are names on every system, and end no header.
func FuzzFileNames(f *testing.F) {
	for _, name := range []string{"a.txt", "../../etc/passwd", `..\..\x.exe`, "con.txt", "aux", "nul .txt", "a\r\nSet-Cookie: x=y", `a"; filename="b`, "ä.pdf", "\u202egpj.exe", ".htaccess", "...", " ", "a." + strings.Repeat("b", 300), strings.Repeat("ä", 300) + ".png", "a%00b", "CON ", "COM¹.txt", "a:b", "0." + strings.Repeat("0", 90) + ".", strings.Repeat("a", 199) + " b", "." + strings.Repeat("c", 199)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		clean := cleanName(name)
		if cleanName(clean) != clean || utf8.RuneCountInString(clean) > 200 || strings.ContainsAny(clean, "/\\\r\n\x00") || !utf8.ValidString(clean) {
			t.Fatalf("%q is cleaned to %q", name, clean)
		}
		safe := fileName(name)
		if safe == "" || safe == "." || safe == ".." || strings.ContainsAny(safe, "/\\<>:\"|?*\r\n\x00") || strings.TrimRight(safe, ". ") != safe || fileName(safe) != safe {
			t.Fatalf("%q is saved as %q", name, safe)
		}
		for _, header := range []string{attachment(clean), zipAttachment(strings.ToValidUTF8(name, "")), attachment(slug(name) + "_bom.csv")} {
			if strings.ContainsFunc(header, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("%q has the header %q", name, header)
			}
			kind, params, err := mime.ParseMediaType(header)
			if err != nil || kind != "attachment" || strings.ContainsAny(params["filename"], "/\\\r\n") && header != attachment(clean) {
				t.Fatalf("%q has the header %q: %v, %q", name, header, err, params)
			}
		}
		if _, params, _ := mime.ParseMediaType(attachment(clean)); clean != "" && params["filename"] != clean {
			t.Fatalf("%q is offered as %q", clean, params["filename"])
		}
		taken := map[string]bool{}
		first, second := freePath(taken, "files", name), freePath(taken, "files", name)
		for _, one := range []string{first, second} {
			if !strings.HasPrefix(one, "files/") || strings.Count(one, "/") != 1 || strings.EqualFold(first, second) || len(one) > len("files/")+maxNameBytes+len(path.Ext(safe))+10 {
				t.Fatalf("%q lies at %q and %q", name, first, second)
			}
		}
		if isStoredName(name) && (strings.ContainsAny(name, "/\\:\x00") || strings.HasPrefix(name, ".")) {
			t.Fatalf("%q could be stored", name)
		}
	})
}

// No cookie and no header signs anybody in but a token with the server's own
// signature, by HS256; what is read of it is what was signed.
func FuzzTokens(f *testing.F) {
	key := []byte(strings.Repeat("k", 32))
	signed := claims{Subject: "ada", Session: "00000000-0000-4000-8000-000000000000", Expires: math.MaxInt64 / 2}
	good := signToken(key, signed)
	for _, text := range []string{good, "Bearer " + good, `"Bearer ` + good + `"`, good + ".", "." + good, good[:len(good)-1], good + "=", "a.b.c", "..", "", "Bearer", "null", strings.ToUpper(good)} {
		f.Add(`{"alg":"HS256"}`, `{"sub":"ada"}`, text)
		f.Add(`{"alg":"none"}`, `{"sub":1}`, text)
		f.Add(`{"alg":"HS512","alg":"HS256"}`, text, text)
	}
	ada := viewer{ID: 7, Username: "ada", session: "s"}
	s := fuzzed(f)
	f.Fuzz(func(t *testing.T, head, payload, text string) {
		if c, ok := parseToken(key, text); ok && c != signed {
			t.Fatalf("%q is accepted as %+v", text, c)
		}
		own := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
		own += "." + base64.RawURLEncoding.EncodeToString(mac(key, own))
		if _, ok := parseToken(key, own); ok {
			var h struct{ Alg string }
			if json.Unmarshal([]byte(head), &h) != nil || h.Alg != "HS256" {
				t.Fatalf("%s is accepted", head)
			}
		}
		if _, ok := parseToken([]byte(strings.Repeat("x", 32)), own); ok {
			t.Fatal("another key is accepted")
		}
		// The token is known for the moment; so only who sends it is its holder.
		s.known.keep(good, &knownToken{ada, signed, s.cache.clock.Load(), time.Now().Add(time.Hour)})
		for _, r := range []*http.Request{
			asks(http.MethodGet, "/", "Authorization", text), asks(http.MethodGet, "/", "Authorization", "Bearer "+text), asks(http.MethodGet, "/", "Cookie", text), asks(http.MethodGet, "/", "Cookie", "access_token="+text),
			asks(http.MethodGet, "/", "Authorization", text, "Cookie", "access_token="+good), asks(http.MethodGet, "/", "Cookie", "access_token="+text, "Cookie", "access_token="+good), asks(http.MethodGet, "/", "Authorization", text, "Authorization", "Bearer "+good),
		} {
			v, known := s.knownViewer(r)
			if known && (v != ada || !strings.Contains(fmt.Sprint(r.Header), good)) || !known && v.signedIn() {
				t.Fatalf("%q is %+v", r.Header, v)
			}
			if strings.Contains(text, good) {
				continue
			}
			w := httptest.NewRecorder()
			for _, name := range []string{flashCookie, goOnCookie} {
				r.AddCookie(&http.Cookie{Name: name, Value: text})
			}
			if got := s.takeFlash(w, r); got != (flash{}) {
				t.Fatalf("%q is said", got)
			}
			if back := s.goOn(w, r); back != "" && s.returnTo(back) != back {
				t.Fatalf("%q is gone on to", back)
			}
			if name := s.subjectOf(r); name != "" && name != "ada" {
				t.Fatalf("%q is taken for a name", name)
			}
		}
	})
}

var hrefs = regexp.MustCompile(`<[a-z][^>]* href="([^"]*)"`)

// A letter goes to one person, has the headers it should have and no others,
// and holds what it should.
func FuzzLetter(f *testing.F) {
	for _, text := range []string{"Ada", "a\r\nBcc: evil@example.com", "=?utf-8?q?x?=", strings.Repeat("ä ", 300), "\u2028\u0085\x00", "https://evil.example", "evil.example", `"x" <y@z>`, ".\r\n.", strings.Repeat("x", 2000), "{{.}}", "<script>"} {
		f.Add(text, text, text+"@example.com")
	}
	s := fuzzed(f)
	from := mail.Address{Name: "Test Site", Address: "chatter@example.com"}
	f.Fuzz(func(t *testing.T, name, title, to string) {
		name, title, to = strings.ToValidUTF8(name, ""), strings.ToValidUTF8(title, ""), strings.ToValidUTF8(to, "")
		if strings.ContainsFunc(to, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == '<' || r == '>' }) || to == "" {
			return // which dispatch refuses
		}
		l, err := s.compose(to, "unpublished", map[string]any{"Username": name, "Title": title, "Note": title, "Link": s.cfg.publicURL + "/projects/1/edit"}, []string{"List-Unsubscribe", "<" + truncate(title, 200) + ">"})
		must(t, err)
		text := l.message(from)
		m, err := mail.ReadMessage(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%v in\n%q", err, text)
		}
		var names []string
		for name, values := range m.Header {
			names = append(names, fmt.Sprint(name, len(values)))
		}
		slices.Sort(names)
		same(t, "headers", strings.Join(names, " "), "Auto-Submitted1 Content-Type1 Date1 From1 List-Unsubscribe1 Message-Id1 Mime-Version1 Subject1 To1")
		for line := range strings.SplitSeq(strings.TrimSuffix(string(text), "\r\n"), "\r\n") {
			if len(line) > 998 && !strings.HasPrefix(line, "To: ") || strings.ContainsAny(line, "\r\n") {
				t.Fatalf("a line of %d bytes: %.200q", len(line), line)
			}
		}
		_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
		must(t, err)
		parts := multipart.NewReader(m.Body, params["boundary"])
		for _, want := range []string{l.Text, l.HTML} {
			part, err := parts.NextRawPart()
			must(t, err)
			got, err := io.ReadAll(quotedprintable.NewReader(part))
			must(t, err)
			if lines := func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }; lines(string(got)) != lines(want) {
				t.Fatalf("%q came as %q", want, got)
			}
		}
		if _, err := parts.NextPart(); err != io.EOF {
			t.Fatalf("more parts: %v", err)
		}
		for _, link := range hrefs.FindAllStringSubmatch(l.HTML, -1) {
			if !strings.HasPrefix(link[1], s.cfg.publicURL+"/") && link[1] != s.cfg.siteURL {
				t.Fatalf("a letter leads to %s", link[1])
			}
		}
	})
}

// A feed is XML whatever people write, and says what they wrote.
func FuzzFeed(f *testing.F) {
	for _, text := range []string{"a & b", "<script>", "]]>", "\x00\x0b\ufffe", "&#0;", `"'`, "\xff", "<!--", "a\r\nb"} {
		f.Add(text, text)
	}
	s := fuzzed(f)
	f.Fuzz(func(t *testing.T, title, content string) {
		w := httptest.NewRecorder()
		content = html.EscapeString(content)
		entry := s.newEntry("comment", 1, title, title, s.pageAddress(title), content, time.Unix(1e9, 0), time.Unix(2e9, 0))
		entry.Categories = []atomCategory{{title}}
		must(t, s.writeFeed(w, asks(http.MethodGet, "/"), "/feeds/comments.atom?"+url.Values{"url": {title}}.Encode(), title, s.pageAddress(title), []atomEntry{entry}))
		var back atomFeed
		if err := xml.Unmarshal(w.Body.Bytes(), &back); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		if len(back.Entries) != 1 || len(back.Links) != 2 || len(back.Entries[0].Categories) != 1 {
			t.Fatalf("%+v", back)
		}
		// Line ends are as XML has them, and what it can't hold is replaced.
		written := func(s string) string {
			return strings.Map(func(r rune) rune {
				if r == utf8.RuneError || r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xfffe || r == 0xffff {
					return utf8.RuneError
				}
				return r
			}, strings.ToValidUTF8(s, "\ufffd"))
		}
		if strings.ReplaceAll(back.Title, "\ufffd", "") != strings.ReplaceAll(written(title), "\ufffd", "") || strings.ReplaceAll(back.Entries[0].Content.HTML, "\ufffd", "") != strings.ReplaceAll(written(content), "\ufffd", "") {
			t.Fatalf("%q came as %q, %q as %q", title, back.Title, content, back.Entries[0].Content.HTML)
		}
		for _, address := range []string{back.Links[0].Href, back.Links[1].Href, back.Entries[0].Link.Href} {
			if !strings.HasPrefix(address, "https://chatter.example.com/") && !strings.HasPrefix(address, "https://www.example.com/") {
				t.Fatalf("the feed leads to %q", address)
			}
		}
	})
}

// A query is read or refused, and only cursors that were given are taken.
func FuzzQuery(f *testing.F) {
	s := fuzzed(f)
	first := galleryCursor{"2026-01-01T00:00:00", 7, 2}
	given := s.sealCursor(galleryQuery{Sort: "recent"}, first)
	for _, query := range []string{"search=a+b&sort=relevance", "tag=X&page=2&per_page=100", "after=" + given, "after=" + given[1:], "after=AAAA", "author_id=1e9&difficulty=%00", "sort=p.id;drop", "search=%25_%5C", "page=-1", "search=%ff", "status_filter=draft", "a;b", "%zz", "search=" + strings.Repeat("(", 200)} {
		f.Add(query, "key", 1, 2)
	}
	f.Fuzz(func(t *testing.T, query, key string, id, page int) {
		r := asks(http.MethodGet, "/")
		r.URL.RawQuery = query
		in := queryInput(r)
		q := in.galleryQuery()
		if in.err() != nil {
			return
		}
		if _, known := sorts[q.Sort]; !known || q.Page < 1 || q.PerPage < 1 || q.PerPage > 100 || !isPlain(q.Search+q.Tag+q.Difficulty) || utf8.RuneCountInString(q.Search) > 200 {
			t.Fatalf("%+v", q)
		}
		for _, word := range q.words() {
			if strings.ContainsFunc(word, func(r rune) bool { return !isWordRune(r) }) {
				t.Fatalf("%q is a word", word)
			}
		}
		if c, err := s.openCursor(q); err == nil && c != first {
			t.Fatalf("the cursor %q is taken", q.After)
		}
		if key = strings.Join(strings.Fields(key), "T"); key == "" || !utf8.ValidString(key) {
			return
		}
		c := galleryCursor{key, id, page}
		q.After = s.sealCursor(q, c)
		if got, err := s.openCursor(q); err != nil || got != c {
			t.Fatalf("%+v came back as %+v: %v", c, got, err)
		}
		q.Search += "x"
		if _, err := s.openCursor(q); err == nil {
			t.Fatal("the cursor of another list is taken")
		}
		if pattern := likePattern(query); len(pattern) > 2*len(query)+2 || strings.Count(strings.ReplaceAll(strings.ReplaceAll(pattern, `\\`, ""), `\%`, ""), "%") != 2 {
			t.Fatalf("%q is the pattern %q", query, pattern)
		}
	})
}

// Where a request comes from is what a trusted proxy says, and is an address;
// who sends it is text that can be stored.
func FuzzClient(f *testing.F) {
	for _, text := range []string{"6.6.6.6", "6.6.6.6, 10.0.0.1", "10.0.0.1,,", "::1", "fe80::1%eth0", "fe80::1%<b>", "::ffff:6.6.6.6", "unknown", "6.6.6.6:80", "[::1]:80", " 6.6.6.6 ", strings.Repeat("10.0.0.1,", 99), "Mozilla/5.0 (X11; Linux) Firefox/1", "\xff\x00", strings.Repeat("ä", 600), "https://a.b/c", "android-app://x.y", "http://[::1]", "https://xn--", "//"} {
		f.Add("10.0.0.1:1", text, text)
		f.Add("203.0.113.5:1", text, text)
		f.Add("[::1]:1", text, text)
	}
	s := fuzzed(f)
	f.Fuzz(func(t *testing.T, remote, forwarded, agent string) {
		r := asks(http.MethodGet, "/", "X-Forwarded-For", forwarded, "User-Agent", agent)
		r.RemoteAddr = remote
		addr := s.clientAddr(r)
		port, err := netip.ParseAddrPort(remote)
		if err == nil && !s.isProxy(port.Addr().Unmap()) && addr != port.Addr().Unmap() {
			t.Fatalf("%s says it is %s", remote, addr)
		}
		if said := addr.String(); addr.IsValid() && addr != port.Addr().Unmap() && (addr.Zone() != "" || len(said) > 39 || !strings.Contains(strings.ToLower(forwarded), ":") && !strings.Contains(forwarded, said)) {
			t.Fatalf("%q is taken for %q", forwarded, said)
		}
		c := s.clientOf(r)
		if !isPlain(c.userAgent) || utf8.RuneCountInString(c.userAgent) > 500 || deviceName(c.userAgent) == "" || len(deviceName(c.userAgent)) > 60 {
			t.Fatalf("%q is %q on %q", agent, c.userAgent, deviceName(c.userAgent))
		}
		if p, isBot := s.bots.find(agent); agent == "" && (!isBot || p != noAgent) {
			t.Fatal("nobody's agent is taken for a reader's")
		}
		host := s.referringHost(agent)
		if !isPlain(host) && isPlain(agent) || strings.ContainsAny(host, "/@?# \r\n") || len(host) > 300 {
			t.Fatalf("%q refers from %q", agent, host)
		}
	})
}

// Conditions are met by the tag that was given, and the number of views in an
// answer is the project's own.
func FuzzConditions(f *testing.F) {
	for _, text := range []string{`"a"`, `W/"a"`, `"a", "b"`, "*", `"*"`, "", `"`, `a"view_count":7,`, `\"view_count\":7`, "\u2028"} {
		f.Add(text, text, 3)
	}
	f.Fuzz(func(t *testing.T, given, title string, views int) {
		const tag = `W/"r1-zip1"`
		r := asks(http.MethodGet, "/", "If-None-Match", given)
		if known(r, tag, time.Now()) && !strings.Contains(given, `"r1-zip1"`) && !strings.Contains(given, "*") {
			t.Fatalf("%q has it", given)
		}
		a := &readyAnswer{header: http.Header{"Etag": {`"0123456789abcdef"`}, "Content-Type": {"application/json"}}, body: []byte("{}")}
		w := httptest.NewRecorder()
		a.write(w, r, 0)
		if w.Code == http.StatusNotModified && (w.Body.Len() > 0 || given != "*" && !strings.Contains(given, `"0123456789abcdef"`)) || w.Code == http.StatusOK && w.Body.String() != "{}" {
			t.Fatalf("%q is answered %d %q", given, w.Code, w.Body)
		}
		views = min(max(views, -views), math.MaxInt32)
		if views < 0 {
			views = 0
		}
		body, err := json.Marshal(projectDetail{project: project{Title: title, Description: given, ViewCount: views}})
		must(t, err)
		a = &readyAnswer{header: http.Header{}, body: slices.Clone(body), viewed: 1}
		a.cutCount(0)
		w = httptest.NewRecorder()
		a.write(w, r, 0)
		if w.Body.String() != string(body) || w.Header().Get("Content-Length") != strconv.Itoa(len(body)) {
			t.Fatalf("%s came as %s", body, w.Body)
		}
	})
}

// Tables come back as they were, other programs read them alike, and no
// spreadsheet finds a formula in them.
func FuzzCSV(f *testing.F) {
	for _, text := range []string{"=1+1", "'=1", "＝1", "a,b", "a\"b", " a ", "a\nb", "a\r\nb", "\t=1", "-", "@x", ";", "", "\n=1", "''", "\r\r\n"} {
		f.Add(text, "b", []byte(text))
	}
	f.Fuzz(func(t *testing.T, first, second string, file []byte) {
		cells := []string{strings.ToValidUTF8(first, ""), strings.ToValidUTF8(second, "")}
		var b bytes.Buffer
		writeCSV(&b, cells...)
		records := readCSV(b.String(), ',', 9)
		if len(records) != 1 || len(records[0].cells) != 2 || records[0].open {
			t.Fatalf("%q is written as %q and read as %+v", cells, b.String(), records)
		}
		other, err := csv.NewReader(strings.NewReader(b.String())).Read()
		if err != nil {
			t.Fatalf("%q: %v", b.String(), err)
		}
		for i, cell := range cells {
			if rearm(records[0].cells[i]) != cell {
				t.Fatalf("%q came back as %q", cell, rearm(records[0].cells[i]))
			}
			if want := strings.ReplaceAll(disarm(cell), "\r\n", "\n"); other[i] != want { // which that reader does to line ends
				t.Fatalf("%q is read as %q", want, other[i])
			}
			for _, shown := range []string{other[i], spreadsheetText(cell)} {
				if r, _ := utf8.DecodeRuneInString(shown); strings.ContainsRune("=+-@\t\r\n＝＋－＠", r) {
					t.Fatalf("%q can be a formula", shown)
				}
			}
		}
		if text, err := decodeText(file); err == nil && !isPlain(text) {
			t.Fatalf("%q is taken for the text %q", file, text)
		} else if err == nil {
			readCSV(text, ';', 1000)
		}
		if found, err := readBOM(file); !isPublic(err) || err == nil && len(found.Items) > len(file) {
			t.Fatal(err)
		}
	})
}

// A report of an error holds no secret, wherever in a text it stands.
func FuzzScrub(f *testing.F) {
	for _, text := range []string{"token ", "Bearer ", "?a=", "for 203.0.113.5 at ", `"`, "x@", "\n", ":", "=", "password="} {
		f.Add(text, " and more")
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const token, address = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl", "ada.lovelace@example.com"
		for _, secret := range []string{token, address} {
			if got := scrub(before + " " + secret + " " + after); strings.Contains(got, secret) || utf8.RuneCountInString(got) > 2000 {
				t.Fatalf("%q is reported", got)
			}
		}
	})
}

// Whatever is sent to any endpoint of the API, as JSON, as a form or with files,
// is answered as the API document says, and never by a 500.
func FuzzRequests(f *testing.F) {
	st := newSite(f)
	alice, bob := st.member("alice"), st.member("bob")
	id := alice.draft("Robot")
	project := fmt.Sprintf("/api/projects/%d", id)
	step := alice.post(project+"/steps", map[string]any{"title": "a", "content": "b"}).want(http.StatusCreated).id()
	comment := bob.comment("a", "Hello", 0)
	cookie := "access_token=" + st.tokenOf("alice")
	handler := st.handler()
	var all []apiOperation
	for _, o := range contract().operations {
		if o.access == forAdmins || slices.Contains([]string{"GET /logout", "DELETE /api/projects/{project}", "DELETE /api/projects/{project}/steps/{id}"}, o.pattern) {
			continue
		}
		all = append(all, o)
		body := []byte("x")
		if o.body != nil {
			body, _ = json.Marshal(o.Example())
		}
		n := uint8(len(all) - 1)
		f.Add(n, "a=b&url=a&q=x&limit=2&after=x&entity_type=project&entity_id=1", string(body), "application/json")
		f.Add(n, "url=%25", "content=a&url=b&title=c", "application/x-www-form-urlencoded")
		if media := o.BodyMedia(); media != nil && media[0] == "multipart/form-data" {
			for _, file := range []string{"a.png", "a.csv", "a.svg", "a.zip", "../a.txt"} {
				f.Add(n, "preview=true", "--x\r\nContent-Disposition: form-data; name=\""+o.body[0].name+"\"; filename=\""+file+"\"\r\n\r\nItem,Quantity\r\na,1\r\n--x--\r\n", "multipart/form-data; boundary=x")
			}
		}
	}
	runs := 0
	f.Fuzz(func(t *testing.T, which uint8, query, body, kind string) {
		o := all[int(which)%len(all)]
		at := strings.NewReplacer("{project}", fmt.Sprint(id), "{url}", url.PathEscape(truncate(query, 50)), "{username}", "alice", "{size}", "320.jpg", "{file}", "alice.atom").Replace(o.Path)
		at = strings.ReplaceAll(at, "{id}", fmt.Sprint(map[bool]int{true: comment, false: step}[strings.Contains(at, "/comments/")]))
		if _, err := url.ParseRequestURI(at + "?" + query); err != nil || strings.ContainsFunc(kind, unicode.IsControl) {
			return
		}
		r := asks(o.Method, at+"?"+query, "Cookie", cookie, "Content-Type", kind)
		if o.Method != http.MethodGet {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%s %s?%s with %q as %s is answered %d %s\n%s", o.Method, at, query, body, kind, w.Code, w.Body, truncate(st.logged.String(), 3000))
		}
		if w.Header().Get("Content-Type") == "application/json" && w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %s is answered %s", o.Method, at, w.Body)
		}
		if err := contract().check(r, w.Result(), w.Body.Bytes()); err != nil {
			t.Fatal(err)
		}
		if runs++; runs%2000 == 0 {
			for _, c := range []struct {
				sql string
				id  int
			}{{`delete from comment where id <> $1`, comment}, {`delete from project where id <> $1`, id}} {
				if _, err := st.db.Exec(t.Context(), c.sql, c.id); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
