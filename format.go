package main

import (
	"context"
	"html/template"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// What pages make of a comment's plain text, besides line breaks: `code`,
// **bold**, *italic*, @names of members, and web addresses. Nothing else, and
// never HTML of the author's. A mark that is not closed on its line is text. Of
// **bold** and of an address only the beginning is looked for: what is refused
// would be read to its far end again and again.
var (
	marked  = regexp.MustCompile("`[^`\n]+`" + `|\*\*[^\s*]|\*[^\s*](?:[^\n*]*[^\s*])?\*|@[\p{L}\p{N}_]{3,30}|https?://[\p{L}\p{N}\[]`)
	mention = regexp.MustCompile(`@[\p{L}\p{N}_]{3,30}`)
)

// formatComment is a comment as HTML; known tells which names in lower case are
// members'.
func formatComment(text string, known map[string]string) template.HTML {
	var out strings.Builder
	formatInline(&out, text, known)
	return template.HTML(out.String())
}

func formatInline(out *strings.Builder, text string, known map[string]string) {
	plain := func(s string) {
		out.WriteString(strings.ReplaceAll(template.HTMLEscapeString(s), "\n", "<br>\n"))
	}
	element := func(name, inner string) {
		out.WriteString("<" + name + ">")
		formatInline(out, inner, known)
		out.WriteString("</" + name + ">")
	}
	stop := 0 // the first closing ** or line end behind where it was last looked for
	boldEnd := func(from int) (end int, found bool) {
		for stop = max(stop, from); stop < len(text) && text[stop] != '\n'; stop++ {
			if strings.HasPrefix(text[stop:], "**") && strings.IndexByte(" \t\f\r*", text[stop-1]) < 0 {
				return stop + 2, true
			}
		}
		return 0, false
	}
	start := 0 // of what is not written yet
	for at := 0; at < len(text); {
		found := marked.FindStringIndex(text[at:])
		if found == nil {
			break
		}
		from, to := at+found[0], at+found[1]
		before, _ := utf8.DecodeLastRuneInString(text[:from])
		closed := true
		switch {
		case strings.HasPrefix(text[from:], "**"):
			if end, found := boldEnd(to); found {
				to = end
			} else {
				closed = false
			}
		case text[from] == 'h' && !isWordRune(before):
			if end := strings.IndexAny(text[to:], " \t\n\f\r<>\""); end >= 0 {
				to += end
			} else {
				to = len(text)
			}
		}
		mark := text[from:to]
		after, _ := utf8.DecodeRuneInString(text[to:])
		name, member := "", false
		if mark[0] == '@' { // no other is put in lower case in vain: a mark can be the whole text
			name, member = known[strings.ToLower(mark[1:])]
		}
		inWord := isWordRune(before)
		switch {
		case !closed, mark[0] == '@' && (inWord || !member), mark[0] == '*' && (inWord || before == '*' || after == '*' || isWordRune(after)), mark[0] == 'h' && inWord:
			at = from + 1 // text, in which something else can begin
			continue
		}
		plain(text[start:from])
		switch {
		case mark[0] == '`':
			out.WriteString("<code>" + template.HTMLEscapeString(mark[1:len(mark)-1]) + "</code>")
		case strings.HasPrefix(mark, "**"):
			element("strong", mark[2:len(mark)-2])
		case mark[0] == '*':
			element("em", mark[1:len(mark)-1])
		case mark[0] == '@':
			out.WriteString(`<a class="mention" href="` + template.HTMLEscapeString(personPath(name)) + `">@` + template.HTMLEscapeString(name) + `</a>`)
		default:
			mark = strings.TrimRight(mark, ".,;:!?)'*_")
			to = from + len(mark)
			out.WriteString(`<a href="` + template.HTMLEscapeString(mark) + `" rel="ugc nofollow noopener">` + template.HTMLEscapeString(mark) + `</a>`)
		}
		start, at = to, to
	}
	plain(text[start:])
}

// mentioned returns the active members whom the texts name with an @, by their
// names in lower case.
func (s *server) mentioned(ctx context.Context, texts ...string) (map[string]string, error) {
	known := map[string]string{}
	var names []string
	for _, text := range texts {
		for _, name := range mention.FindAllString(text, 100) {
			names = append(names, strings.ToLower(name[1:]))
		}
	}
	if names == nil {
		return known, nil
	}
	rows, err := s.db.Query(ctx, `select username from "user" where lower(username) = any ($1) and status = 'active' order by username_double desc`, names)
	if err != nil {
		return nil, err
	}
	var name string
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error {
		known[strings.ToLower(name)] = name
		return nil
	})
	return known, err
}
