package main

import (
	"encoding/json"
	"fmt"
	"html"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMarkdown(t *testing.T) {
	const rel = ` rel="nofollow ugc noopener"`
	nested := strings.Repeat("> ", 30) + "deep"
	tests := []struct{ name, source, want string }{
		{"nothing", "", ""},
		{"blank lines", "\n \n\t\n", ""},
		{"heading levels", "# a\n## b\n##### c\n###### d", "<h3>a</h3>\n<h4>b</h4>\n<h6>c</h6>\n<h6>d</h6>\n"},
		{"line ends", "a\r\nb\rc\n\r\nd", "<p>a\nb\nc</p>\n<p>d</p>\n"},
		{"invalid bytes", "a\xff\xfeb\x00c", "<p>a\uFFFDb\uFFFDc</p>\n"},
		{"indented text is no code", "    G28\n\n\tG1 X10", "<p>G28</p>\n<p>G1 X10</p>\n"},
		{"no reference links", "[a][b]\n\n[b]: /c", "<p>[a][b]</p>\n<p>[b]: /c</p>\n"},
		{"HTML is text", "<img src=x onerror=alert(1)>", "<p>&lt;img src=x onerror=alert(1)&gt;</p>\n"},
		{"HTML comment", "<!-- *a* -->", "<p>&lt;!-- <em>a</em> --&gt;</p>\n"},
		{"language", "```C++ x\n```\n\n```a\"b\n```", "<pre><code class=\"language-c++\"></code></pre>\n<pre><code></code></pre>\n"},
		{"external link", "[a](HTTP://x.example)", `<p><a href="HTTP://x.example"` + rel + ">a</a></p>\n"},
		{"other host", "[a](//x.example)", `<p><a href="//x.example"` + rel + ">a</a></p>\n"},
		{"backslashes are no host", `[a](<\\\\x.example>)`, "<p><a href=\"%5C%5Cx.example\">a</a></p>\n"},
		{"relative link", "[a](/b?c#d)", "<p><a href=\"/b?c#d\">a</a></p>\n"},
		{"colon in a path", "[a](b/c:d) [a](?b:c)", "<p><a href=\"b/c:d\">a</a> <a href=\"?b:c\">a</a></p>\n"},
		{"script", "[a](javascript:b)", "<p>[a](javascript:b)</p>\n"},
		{"script behind a space", "[a](<&#32;javascript:b>)", "<p>[a](&lt; javascript:b&gt;)</p>\n"},
		{"script behind a control", "[a](&#1;javascript:b)", "<p>[a](\x01javascript:b)</p>\n"},
		{"script in two lines", "[a](java&NewLine;script:b)", "<p>[a](java\nscript:b)</p>\n"},
		{"script with a tab", "[a](<java\tscript:b>)", "<p>[a](&lt;java\tscript:b&gt;)</p>\n"},
		{"script escaped", `[a](javascript\:b)`, "<p>[a](javascript:b)</p>\n"},
		{"script as autolink", "<javascript:b>", "<p>&lt;javascript:b&gt;</p>\n"},
		{"scheme that folds to https", "[a](httpſ://b)", "<p>[a](httpſ://b)</p>\n"},
		{"mail image", "![a](mailto:b@c.example)", "<p>![a](mailto:b@c.example)</p>\n"},
		{"attribute escape", `[a](/b"c '"><x')`, "<p><a href=\"/b%22c\" title=\"&#34;&gt;&lt;x\">a</a></p>\n"},
		{"no link in a link", "[a https://b.example <c@d.example>](/e)", "<p><a href=\"/e\">a https://b.example c@d.example</a></p>\n"},
		{"image", `![a *b* ![c](d)](e "f")`, "<p><img src=\"e\" alt=\"a b c\" title=\"f\" loading=\"lazy\"></p>\n"},
		{"another site's picture", `![a *b*](https://c.example/d.png "e")`, `<p><a href="https://c.example/d.png" title="e"` + rel + ">a b</a></p>\n"},
		{"another site's picture without words", `![](//c.example/d.png)`, `<p><a href="//c.example/d.png"` + rel + ">Picture on c.example</a></p>\n"},
		{"another site's picture in a link", `[![a https://x.example](https://c.example/d.png) b](/e)`, "<p><a href=\"/e\">a https://x.example b</a></p>\n"},
		{"a link in another site's picture", `![a [b](/c)](https://c.example/d.png)`, `<p><a href="https://c.example/d.png"` + rel + ">a b</a></p>\n"},
		{"bare link in brackets", "[see https://a.example/b]", `<p>[see <a href="https://a.example/b"` + rel + ">https://a.example/b</a>]</p>\n"},
		{"bare link in quotes", `"https://a.example/b"`, `<p>&#34;<a href="https://a.example/b"` + rel + ">https://a.example/b</a>&#34;</p>\n"},
		{"bare link with brackets", "https://a.example/?b[]=c", `<p><a href="https://a.example/?b%5B%5D=c"` + rel + ">https://a.example/?b[]=c</a></p>\n"},
		{"too deep", nested, "<p>&gt; &gt; &gt; &gt; &gt; &gt; &gt; &gt; &gt; &gt; deep</p>\n"},
	}
	for _, test := range tests {
		got := string(renderMarkdown(test.source))
		if test.source == nested {
			got = strings.TrimSuffix(strings.TrimPrefix(got, strings.Repeat("<blockquote>\n", 20)), strings.Repeat("</blockquote>\n", 20))
		}
		if got != test.want {
			t.Errorf("%s: %q\n got %q\nwant %q", test.name, test.source, got, test.want)
		}
	}
}

// commonmark.json was rendered by markdown-it-py 4.3.0 (preset commonmark with tables and strikethrough, without HTML and
// references), gfm.json by cmarkgfm 2025.10.22, the reference implementation of GitHub's extensions. Both were then given
// what differs here on purpose: heading levels, rel, loading, align, del and the escapes of quotes.
func TestMarkdownLikeOthers(t *testing.T) {
	for _, name := range []string{"commonmark.json", "gfm.json"} {
		data, err := os.ReadFile("testdata/markdown/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct{ Source, HTML string }
		if err := json.Unmarshal(data, &cases); err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			if got := string(renderMarkdown(c.Source)); got != c.HTML {
				t.Errorf("%s\n--- source\n%s\n--- got\n%s\n--- want\n%s", name, c.Source, got, c.HTML)
			}
		}
	}
}

// hostile are pieces that, repeated, are the worst cases of Markdown parsers.
var hostile = []string{
	"[", "]", "![", "*", "_", "~~", ">", "> ", "`", "- ", "- - - -", "-\n", "- a\n", "1. ", "#", "# a\n", "\\", "&", "&#", "<", "<a", "|", "\n", " ", "\t", "\x00", "\xff",
	"a", "*a ", "a*", "*a_", "**a *", "a**b", "*a**", "_a *b ", "a_ b* c~~ ", "~~a", "[a](", "[a](b", "[a](<b", "[a](b \"", "[a](b '", "[a](b (", "[a](b \"c", "![a](b",
	"[a](b)", "![a](b)", "[[a](b)", "](a)", "![](", "[a](\\(", "[a](b(", "[a](b((", "`a``", "`a ``b ", "\\`", "<https:", "<https://a>", "<a@b", "https://a", " https://a", "-https://",
	"(https://a[", "https://a;", "https://a&b;", ")", "&amp;", "&lt", "a  \n", "a\\\n", "```\n", "~~~\n\n", "> ```\n", "a\n===\n", "a\n\n", "|-|", "|-", "a|b\n-|-\n", "|\n",
	"- a\n\n", "  - a\n", "> a\n\n", "+ * ", "> - ", "> 1. ", "\t- ", "\"", "'", "ü", "𝄞",
}

// No clock is read: what isn't linear takes minutes here.
func TestMarkdownOfHostileSources(t *testing.T) {
	t.Parallel()
	const size = 1 << 17
	sources := map[string]string{
		"wide table":   strings.Repeat("|a", size/8) + "\n" + strings.Repeat("|-", size/8) + "\n" + strings.Repeat("|\n", size/4),
		"open links":   strings.Repeat("[", size/2) + strings.Repeat("[a](b)", size/12),
		"open images":  strings.Repeat("![", size/8) + strings.Repeat("a", size/4) + strings.Repeat("](b)", size/8),
		"open runs":    strings.Repeat("*a ", size/6) + strings.Repeat("_a ", size/6) + strings.Repeat("b** c__ ", size/16),
		"long fence":   strings.Repeat("`", size/2) + "\n" + strings.Repeat("```\n", size/8),
		"code lengths": codeLengths(size),
		"deep indent":  strings.Repeat("- ", 20) + "a\n" + strings.Repeat(strings.Repeat(" ", 40)+"b\n", size/42),
		"long address": "https://a" + strings.Repeat("&a;", size/6) + strings.Repeat(")", size/2),
	}
	for _, piece := range hostile {
		sources[piece] = strings.Repeat(piece, size/len(piece))
		if err := checkMarkdown(sources[piece][:size/64]); err != nil {
			t.Errorf("%q: %v", piece, err)
		}
	}
	for name, source := range sources {
		if _, err := renderInProportion(source); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func codeLengths(size int) string {
	var b strings.Builder
	for n := 1; b.Len() < size; n++ {
		b.WriteString(strings.Repeat("`", n) + " ")
	}
	return b.String()
}

func FuzzMarkdown(f *testing.F) {
	for _, piece := range hostile {
		f.Add(piece + "a" + piece)
	}
	for _, name := range []string{"commonmark.json", "gfm.json"} {
		data, err := os.ReadFile("testdata/markdown/" + name)
		if err != nil {
			f.Fatal(err)
		}
		var cases []struct{ Source string }
		if err := json.Unmarshal(data, &cases); err != nil {
			f.Fatal(err)
		}
		for _, c := range cases {
			f.Add(c.Source)
		}
	}
	f.Fuzz(func(t *testing.T, source string) {
		for _, repeated := range []string{source, strings.Repeat(source, 9)} {
			if err := checkMarkdown(repeated); err != nil {
				t.Fatalf("%v\n--- source\n%q\n--- got\n%s", err, repeated, renderMarkdown(repeated))
			}
		}
	})
}

// checkMarkdown renders the source and reports what no source may lead to: output out of proportion, or HTML that isn't
// well formed, of the known tags and attributes, with safe values.
func checkMarkdown(source string) error {
	out, err := renderInProportion(source)
	if err != nil {
		return err
	}
	if !utf8.ValidString(out) || strings.Contains(out, "\x00") {
		return fmt.Errorf("invalid UTF-8 or NUL")
	}
	return checkHTML(out)
}

func renderInProportion(source string) (string, error) {
	out := string(renderMarkdown(source))
	if limit := 64*len(source) + 40*maxPadding; len(out) > limit {
		return "", fmt.Errorf("%d bytes became %d", len(source), len(out))
	}
	return out, nil
}

var (
	allowedAttributes = map[string]string{
		"h3": "", "h4": "", "h5": "", "h6": "", "p": "", "br": "", "hr": "", "em": "", "strong": "", "del": "", "pre": "", "ul": "", "li": "",
		"blockquote": "", "table": "", "thead": "", "tbody": "", "tr": "", "th": "align", "td": "align", "ol": "start", "code": "class",
		"a": "href title rel", "img": "src alt title loading",
	}
	allowedValues = map[string]*regexp.Regexp{
		"align":   regexp.MustCompile(`^(left|right|center)$`),
		"start":   regexp.MustCompile(`^[0-9]{1,9}$`),
		"class":   regexp.MustCompile(`^language-[a-z0-9+#-]+$`),
		"rel":     regexp.MustCompile(`^nofollow ugc noopener$`),
		"loading": regexp.MustCompile(`^lazy$`),
		"href":    regexp.MustCompile(`^[!#-;=?-Z_a-z~]*$`), // ASCII without space, quote, angle or square bracket, backslash
		"src":     regexp.MustCompile(`^[!#-;=?-Z_a-z~]*$`),
	}
	escapedText  = regexp.MustCompile(`^(?:[^&<>"']|&(?:amp|lt|gt|#34|#39);)*$`)
	markupTag    = regexp.MustCompile(`^<(/?)([a-z0-9]+)((?: [a-z]+="[^"<>]*")*)>`)
	attribute    = regexp.MustCompile(` ([a-z]+)="([^"]*)"`)
	schemePrefix = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):`)
)

// checkHTML reads HTML token by token.
func checkHTML(out string) error {
	var open []string
	containers := 0
	for out != "" {
		end := strings.IndexByte(out, '<')
		if end < 0 {
			end = len(out)
		}
		if !escapedText.MatchString(out[:end]) {
			return fmt.Errorf("unescaped text %q", out[:end])
		}
		if out = out[end:]; out == "" {
			break
		}
		m := markupTag.FindStringSubmatch(out)
		if m == nil {
			return fmt.Errorf("no tag: %.80q", out)
		}
		out = out[len(m[0]):]
		closing, name := m[1] != "", m[2]
		allowed, known := allowedAttributes[name]
		if !known {
			return fmt.Errorf("tag %s", m[0])
		}
		if name == "blockquote" || name == "li" {
			if containers++; closing {
				containers -= 2
			}
		}
		switch {
		case containers > maxNesting:
			return fmt.Errorf("%d containers inside one another", containers)
		case closing && (len(open) == 0 || open[len(open)-1] != name || m[3] != ""):
			return fmt.Errorf("%s in %q", m[0], open[max(0, len(open)-20):])
		case closing:
			open = open[:len(open)-1]
			continue
		case len(open) > 0 && slices.Contains([]string{"p", "h3", "h4", "h5", "h6", "td", "th"}, name) && !slices.Contains([]string{"li", "blockquote", "tr"}, open[len(open)-1]):
			return fmt.Errorf("%s in %q", m[0], open)
		case name == "a" && slices.Contains(open[max(0, len(open)-50):], "a"):
			return fmt.Errorf("link in a link")
		case !slices.Contains([]string{"br", "hr", "img"}, name):
			open = append(open, name)
		}
		if err := checkAttributes(m[3], allowed); err != nil {
			return fmt.Errorf("%s: %w", m[0], err)
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("not closed: %q", open[:min(20, len(open))])
	}
	return nil
}

func checkAttributes(attributes, allowed string) error {
	values := map[string]string{}
	for _, m := range attribute.FindAllStringSubmatch(attributes, -1) {
		name, value := m[1], html.UnescapeString(m[2])
		if _, again := values[name]; again || !slices.Contains(strings.Fields(allowed), name) || !escapedText.MatchString(m[2]) {
			return fmt.Errorf("attribute %s", name)
		}
		if pattern := allowedValues[name]; pattern != nil && !pattern.MatchString(value) {
			return fmt.Errorf("value %q", value)
		}
		values[name] = value
	}
	external := false
	for _, name := range []string{"href", "src"} {
		schemes := []string{"", "http", "https", "mailto"}
		if name == "src" {
			schemes = schemes[:3]
		}
		scheme := ""
		if m := schemePrefix.FindStringSubmatch(values[name]); m != nil {
			scheme = strings.ToLower(m[1])
		}
		if !slices.Contains(schemes, scheme) {
			return fmt.Errorf("scheme %s", scheme)
		}
		external = external || name == "href" && (strings.HasPrefix(scheme, "http") || strings.HasPrefix(values[name], "//"))
	}
	if external != (values["rel"] != "") {
		return fmt.Errorf("rel %q", values["rel"])
	}
	return nil
}
