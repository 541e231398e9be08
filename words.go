package main

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Comments are plain text.
var (
	blanks     = regexp.MustCompile(`[ \t\x{00a0}]+`)
	aroundEnds = regexp.MustCompile(` ?\n ?`)
	manyEnds   = regexp.MustCompile(`\n{3,}`)
)

// tagNames are the elements of HTML that a text is likely to be pasted with,
// and those that do harm.
var tagNames = wordSet(`a abbr address article aside audio b base bdo big blockquote body br button canvas center cite code
		col colgroup dd del details dfn div dl dt em embed fieldset figcaption figure font footer form frame frameset h1 h2 h3 h4 h5 h6 head
		header hr html i iframe img input ins kbd label legend li link main map mark math meta nav noscript object ol option p param path
		picture pre q s samp script section select small source span strike strong style sub summary sup svg table tbody td template textarea
		tfoot th thead title tr track tt u ul var video wbr`)

// stripTags takes out what a browser would take for HTML that does something:
// comments, tags of known elements, and any that have attributes with values.
// A < that is never closed, or closes around words that are no tag, is text.
// Taking a tag out can make another one of what stood around it, so that every
// > looks back over what is left; the whole is linear in the text's length.
func stripTags(text string) string {
	var out []byte
	var open, values, marks []int // where in out each < is that may begin a tag, each =, and each & and |
	comments := true
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '<':
			if comments && strings.HasPrefix(text[i:], "<!--") {
				inside, _, found := strings.Cut(text[i+4:], "-->")
				if comments = found; found {
					i += len("<!--") + len(inside) + len("-->") - 1
					continue
				}
			}
			open = append(open, len(out))
		case '=':
			values = append(values, len(out))
		case '&', '|':
			marks = append(marks, len(out))
		case '>':
			start := -1
			for len(open) > 0 && start < 0 {
				last := open[len(open)-1]
				open = open[:len(open)-1]
				if isTag(out[last+1:], anyFrom(values, last), anyFrom(marks, last)) {
					start = last
				}
			}
			if start >= 0 {
				out = out[:start]
				for anyFrom(values, start) {
					values = values[:len(values)-1]
				}
				for anyFrom(marks, start) {
					marks = marks[:len(marks)-1]
				}
				continue
			}
		}
		out = append(out, text[i])
	}
	return string(out)
}

// anyFrom reports whether one of the places, which grow, is at start or behind.
func anyFrom(places []int, start int) bool {
	return len(places) > 0 && places[len(places)-1] >= start
}

// isTag tells what stood between < and >; whether a = is in it, and whether a &
// or a |, it is told, since to look for them each time would be quadratic.
func isTag(inside []byte, hasValue, hasMark bool) bool {
	name := bytes.TrimPrefix(inside[:min(len(inside), 30)], []byte("/"))
	if len(name) == 0 {
		return false
	}
	if name[0] == '!' || name[0] == '?' {
		return true
	}
	end := bytes.IndexFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' })
	if end < 0 {
		end = len(name)
	}
	letter := end > 0 && unicode.IsLetter(rune(name[0]))
	return letter && (hasValue || tagNames[strings.ToLower(string(name[:end]))] && !hasMark)
}

// hasInk reports whether a text shows anything. The Hangul fillers and the
// blank of Braille are letters by their category, and blank all the same.
func hasInk(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsGraphic(r) && !unicode.IsSpace(r) && !strings.ContainsRune("\u115f\u1160\u2800\u3164\uffa0", r)
	})
}

const maxComment = 5000

// cleanComment returns the text that is stored for a comment, or the 400 that
// says what is wrong with it.
func cleanComment(text string) (string, error) {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	// Control and format characters hide words and turn text around; the two
	// joiners are needed by emoji and by some scripts.
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Cf, r) && r != '\u200c' && r != '\u200d' {
			return -1
		}
		return r
	}, text)
	text = stripTags(text)
	text = blanks.ReplaceAllString(text, " ")
	text = aroundEnds.ReplaceAllString(text, "\n")
	text = strings.TrimSpace(manyEnds.ReplaceAllString(text, "\n\n"))
	if !hasInk(text) {
		return "", fail(http.StatusBadRequest, "Comment cannot be empty")
	}
	if utf8.RuneCountInString(text) > maxComment {
		return "", fail(http.StatusBadRequest, "Comment is too long (max %d characters)", maxComment)
	}
	return text, nil
}

// checkWords refuses a comment for its words, and reports whether there are
// links in it, which are refused too unless the settings have a place for them.
func (s *server) checkWords(text string) (links bool, err error) {
	found := linksIn(text)
	if len(found) > 0 && s.cfg.commentLinks == "deny" {
		return true, fail(http.StatusBadRequest, "Comments cannot contain URLs or links. Found: %s", strings.Join(found[:min(3, len(found))], ", "))
	}
	if bad := s.banned.in(text); bad != nil {
		return false, fail(http.StatusBadRequest, "Comment contains inappropriate language. Please remove: %s", strings.Join(bad, ", "))
	}
	return len(found) > 0, nil
}

// What a reader would call a link is an address with its scheme, a host that
// starts with www., a host with a path behind it, and a host on its own where
// its ending is that of no file and no piece of software. So main.py,
// socket.io, logger.info and ASP.NET are words; e-mail addresses are no links.
var (
	schemeLink = regexp.MustCompile(`(?i)\b[a-z][a-z0-9+.-]{1,20}://\S+`)
	dottedName = regexp.MustCompile(`\.\pL`)
	hostLink   = regexp.MustCompile(`(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?\.)+(xn--[a-zA-Z0-9-]+|\p{L}{2,24})(?::\d+)?(/\S*)?`)

	bareEndings = wordSet(`com org net biz ru cn shop club uk`)
	// What is called like a host and is none.
	software = wordSet(`asp.net vb.net ado.net ml.net json.net paint.net`)
	// Endings of hosts that are also endings of files: with a path, too, they name a file.
	fileEndings = wordSet(`ai app bz cc cfg css csv gz hs html ini ino java jpeg jpg js json jsx kt lua md mk mm mov mp php pl png ps pub py rb rs
		sh so sql svg swift tf toml ts tsx txt vb xml yaml yml zip`)
	longEndings = wordSet(`com org net info biz xyz top shop site online club dev cloud page link click live store tech space website blog news
		work world life today email agency company academy media digital network solutions wiki gallery photos`)
)

func wordSet(words string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(words) {
		set[word] = true
	}
	return set
}

// linksIn returns the links in a text.
func linksIn(text string) (found []string) {
	// Browsers read full-width letters and the ideographic full stop in a host as the plain ones.
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= 0xff01 && r <= 0xff5e:
			return r - 0xff01 + '!'
		case r == '。' || r == '｡':
			return '.'
		}
		return r
	}, text)
	if !strings.Contains(text, "://") && !dottedName.MatchString(text) {
		return nil // nearly every comment, and the other expressions are slow
	}
	add := func(link string) {
		if link = strings.TrimRight(link, `.,;:!?)]}'"*_`); !slices.Contains(found, link) {
			found = append(found, link)
		}
	}
	rest := schemeLink.ReplaceAllStringFunc(text, func(link string) string {
		add(link)
		return " "
	})
	for _, at := range hostLink.FindAllStringSubmatchIndex(rest, -1) {
		host, ending, path := rest[at[0]:at[3]], rest[at[2]:at[3]], at[4] >= 0
		lower := strings.ToLower(ending)
		before, _ := utf8.DecodeLastRuneInString(rest[:at[0]])
		word := before == '@' && !path || software[strings.ToLower(host)]
		// done.It/they had no space; a host is written in small letters or in capitals.
		cased := ending == lower || host == strings.ToUpper(host)
		known := longEndings[lower] || len(lower) == 2 && !fileEndings[lower] || strings.HasPrefix(lower, "xn--") || lower[0] >= utf8.RuneSelf
		switch {
		case word || before == '/' || before == '\\':
		case strings.HasPrefix(strings.ToLower(host), "www."), path && known && cased:
			add(rest[at[0]:at[1]])
		case bareEndings[lower] && cased && (lower != "uk" || strings.Count(host, ".") > 1):
			add(rest[at[0]:at[1]])
		}
	}
	return found
}

//go:embed banned_words.txt
var bannedList string

// bannedWords are the words that no comment may hold, folded. A word that ends
// in * stands for all that begin so; several words are a phrase.
type bannedWords struct {
	whole    map[string]bool
	prefixes []string
	longest  int // in words
}

// loadBannedWords reads DATA_DIR/banned_words.txt, or the list that Chatter
// brings: a word or phrase a line, # starts a comment.
func loadBannedWords(dir string) (bannedWords, error) {
	path := filepath.Join(dir, "banned_words.txt")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte(bannedList), nil
	}
	if err == nil && !utf8.Valid(text) {
		err = errors.New("it is not UTF-8")
	}
	if err != nil {
		return bannedWords{}, fmt.Errorf("%s can't be read: %w", path, err)
	}
	list := bannedWords{whole: map[string]bool{}}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		var words []string
		for word := range strings.FieldsSeq(line) {
			words = append(words, foldWord(strings.TrimSuffix(word, "*"), 'i'))
		}
		phrase := strings.Join(words, " ")
		switch {
		case phrase == "":
			continue
		case strings.HasSuffix(strings.TrimSpace(line), "*"):
			list.prefixes = append(list.prefixes, phrase)
		default:
			list.whole[phrase] = true
		}
		list.longest = max(list.longest, len(words))
	}
	return list, nil
}

// in returns the banned words of a text as they stand there, each once. Only
// whole words count, so that Scunthorpe is a town; but letters that are spelled
// one by one are a word, too.
func (b bannedWords) in(text string) (found []string) {
	words := wordsOf(text)
	var readings [][]string
	for _, one := range []rune{'i', 'l'} {
		for _, repeats := range []int{1, 2} {
			read := make([]string, len(words))
			for i, word := range words {
				read[i] = shorten(foldWord(word, one), repeats)
			}
			if !slices.ContainsFunc(readings, func(r []string) bool { return slices.Equal(r, read) }) {
				readings = append(readings, read)
			}
		}
	}
	for i := range words {
		for end := i + 1; end <= min(i+b.longest, len(words)); end++ {
			if slices.ContainsFunc(readings, func(read []string) bool { return b.has(strings.Join(read[i:end], " ")) }) {
				if original := strings.Join(words[i:end], " "); !slices.Contains(found, original) {
					found = append(found, original)
				}
			}
		}
	}
	return found
}

// has tells whether a phrase, as it is read, is banned.
func (b bannedWords) has(phrase string) bool {
	return b.whole[phrase] || slices.ContainsFunc(b.prefixes, func(p string) bool { return strings.HasPrefix(phrase, p) })
}

// wordsOf splits a text into words; signs that stand for letters belong to
// them, but not at their end. Three letters or more that stand alone, with the
// same between them as in a-b-c, are also one word, behind the others.
func wordsOf(text string) (words []string) {
	var spelled, single []string
	flush := func() {
		if len(single) > 2 {
			spelled = append(spelled, strings.Join(single, ""))
		}
		single = nil
	}
	between := func(r rune) bool {
		return !unicode.In(r, unicode.L, unicode.N, unicode.M, unicode.Cf) && !strings.ContainsRune("@$!|+€", r)
	}
	step := "" // what stands between the single letters
	for text != "" {
		start := strings.IndexFunc(text, func(r rune) bool { return !between(r) })
		if start < 0 {
			break
		}
		gap := text[:start]
		end := strings.IndexFunc(text[start:], between)
		if end < 0 {
			end = len(text) - start
		}
		word := strings.TrimRight(text[start:start+end], "!|+@$€")
		rest := len(word)
		if word == "" {
			rest = end
		}
		text = text[start+rest:]
		if utf8.RuneCountInString(word) != 1 || len(single) > 1 && gap != step {
			flush()
		}
		if word == "" {
			continue
		}
		words = append(words, word)
		if utf8.RuneCountInString(word) == 1 {
			single, step = append(single, word), gap
		}
	}
	flush()
	return append(words, spelled...)
}

// lookalikes are letters of other scripts, and signs, in the place of Latin
// ones; the rows are pairs.
var lookalikes = pairs(
	"аaеeоoрpсcхxуyіiјjѕsкkмmтtвbнhԁdԛqԝwһhӏl" +
		"αaοoνvυuιiκkρpτtηnεeχxβb")

// leet are digits and signs in the place of letters; 1, | and ! can be two.
var leet = pairs("0o3e4a5s7t8b9g@a$s+t€e")

// plain are letters that have no decomposition.
var plain = pairs("øołlđdħhŧtıiſsæaœoßsðdþt")

func pairs(text string) map[rune]rune {
	m := map[rune]rune{}
	runes := []rune(text)
	for i := 0; i+1 < len(runes); i += 2 {
		m[runes[i]] = runes[i+1]
	}
	return m
}

// accents are the Latin letters with diacritics and the letters below them:
// blocks of Unicode as runs of a letter and how often it comes in a row, a dash
// for what is something else.
var accents = func() map[rune]rune {
	letters := map[rune]rune{}
	for first, runs := range map[rune]string{
		0x00c0: "a6 -1 c1 e4 i4 -1 n1 o5 -1 o1 u4 y1 -2 a6 -1 c1 e4 i4 -1 n1 o5 -1 o1 u4 y1 -1 y1",
		0x0100: "a6 c8 d4 e10 g8 h4 i10 -2 j2 k3 l10 n9 o6 -2 r6 s8 t6 u12 w2 y3 z6",
		0x1e00: "a2 b6 c2 d10 e10 f2 g2 h10 i4 k6 l8 m6 n8 o8 p4 r8 s10 t8 u10 v4 w10 x4 y2 z6",
		0x1ea0: "a24 e16 i4 o24 u14 y8",
	} {
		for run := range strings.FieldsSeq(runs) {
			count, _ := strconv.Atoi(run[1:])
			for range count {
				if run[0] != '-' {
					letters[first] = rune(run[0])
				}
				first++
			}
		}
	}
	return letters
}()

// foldWord writes a word as it is read: in small Latin letters, without accents
// and what can't be seen, one for the letter that 1, | and ! stand for. A word
// of another script altogether stays one.
func foldWord(word string, one rune) string {
	latin := false
	letters := strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		r = unicode.ToLower(r)
		switch {
		case r >= 0xff01 && r <= 0xff5e: // full width
			r = unicode.ToLower(r - 0xff01 + '!')
		case r >= 0x1d400 && r <= 0x1d6a3: // mathematical letters, 26 capitals and 26 small ones in turn
			r = 'a' + (r-0x1d400)%26
		case accents[r] != 0:
			r = accents[r]
		case plain[r] != 0:
			r = plain[r]
		}
		latin = latin || r >= 'a' && r <= 'z'
		return r
	}, word)
	if !latin {
		return letters
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '1' || r == '|' || r == '!':
			return one
		case leet[r] != 0:
			return leet[r]
		case lookalikes[r] != 0:
			return lookalikes[r]
		}
		return r
	}, letters)
}

// shorten makes n of every letter that stands three times or more in a row,
// which no word has.
func shorten(word string, n int) string {
	runes := []rune(word)
	var out []rune
	for i := 0; i < len(runes); {
		end := i
		for end < len(runes) && runes[end] == runes[i] {
			end++
		}
		length := end - i
		if length > 2 {
			length = n
		}
		out = append(out, runes[i:i+length]...)
		i = end
	}
	return string(out)
}
