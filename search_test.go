package main

import (
	"strings"
	"testing"
)

// No text is too strange or too long to be indexed and asked for.
func TestSearchTakesAnyText(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	var many strings.Builder
	for i := range 33_000 {
		many.WriteString(string([]rune{rune(20000 + i%20000), rune(0x10400 + i/1000), ' '}))
	}
	for _, text := range []string{many.String(), strings.Repeat("ﷺ", 33_000), strings.Repeat("x", 100_000), "'' \\ : & | ! ( ) <-> *", "\u0301\u0301", "ﷺ'a"} {
		st.exec(`update project set title = left($2, 255), description = $2, background = $2 where id = $1`, id, text)
		for word := range strings.FieldsSeq(truncate(text, 200)) {
			st.exec(`select search_query(array[$1, ''])`, word)
		}
	}
}
