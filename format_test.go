package main

import (
	"strings"
	"testing"
)

func TestFormatComment(t *testing.T) {
	t.Parallel()
	known := map[string]string{"alice": "Alice", "bob_2": "bob_2"}
	for text, want := range map[string]string{
		"one\ntwo\n\nthree":              "one<br>\ntwo<br>\n<br>\nthree",
		"<b>&\"'":                        "&lt;b&gt;&amp;&#34;&#39;",
		"run `a*b*c <x>` now":            "run <code>a*b*c &lt;x&gt;</code> now",
		"**bold** and *italic*":          "<strong>bold</strong> and <em>italic</em>",
		"**bold with *both* in it**":     "<strong>bold with <em>both</em> in it</strong>",
		"**`code` in bold**":             "<strong><code>code</code> in bold</strong>",
		"2*3*4 and a**b**c":              "2*3*4 and a**b**c",
		"* a list\n* of two":             "* a list<br>\n* of two",
		"*not\nclosed* `not\nclosed`":    "*not<br>\nclosed* `not<br>\nclosed`",
		"** spaces ** and * spaces *":    "** spaces ** and * spaces *",
		"hi @alice, @BOB_2 and @carol!":  `hi <a class="mention" href="/u/Alice">@Alice</a>, <a class="mention" href="/u/bob_2">@bob_2</a> and @carol!`,
		"mail alice@alice.example":       "mail alice@alice.example",
		"`@alice`":                       "<code>@alice</code>",
		"**@alice**":                     `<strong><a class="mention" href="/u/Alice">@Alice</a></strong>`,
		"@alicette @alice":               `@alicette <a class="mention" href="/u/Alice">@Alice</a>`,
		"see https://x.example/a?b=1&c.": `see <a href="https://x.example/a?b=1&amp;c" rel="ugc nofollow noopener">https://x.example/a?b=1&amp;c</a>.`,
		`https://x.example/"onclick=x`:   `<a href="https://x.example/" rel="ugc nofollow noopener">https://x.example/</a>&#34;onclick=x`,
		"javascript://x https:// x":      "javascript://x https:// x",
		"*":                              "*",
		"**":                             "**",
		"****":                           "****",
		"***x***":                        "***x***",
		"@":                              "@",
		"":                               "",
	} {
		if got := string(formatComment(text, known)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	// The longest comment of marks alone is done at once.
	for _, mark := range []string{"*", "**", "`", "@", "*a ", "**a ", "`a", "*a*", "**a *b ", "https://"} {
		text := strings.Repeat(mark, maxComment/len(mark))
		if got := formatComment(text, known); len(got) < len(text) {
			t.Errorf("%q: something is lost", mark)
		}
	}
}
