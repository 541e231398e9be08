package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLinksInComments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"see https://evil.example/x now":                      "https://evil.example/x",
		"(http://a.b/c).":                                     "http://a.b/c",
		"see www.evil.example":                                "www.evil.example",
		"WWW.EVIL.EXAMPLE!":                                   "WWW.EVIL.EXAMPLE",
		"buy at cheap-pills.com/now":                          "cheap-pills.com/now",
		"buy at cheap-pills.com.":                             "cheap-pills.com",
		"cheap-pills.net!":                                    "cheap-pills.net",
		"CHEAP-PILLS.COM":                                     "CHEAP-PILLS.COM",
		"bit.ly/3abc, youtu.be/xyz and t.me/x":                "bit.ly/3abc|youtu.be/xyz|t.me/x",
		"shop.example.co.uk":                                  "shop.example.co.uk",
		"пример.рф/страница":                                  "пример.рф/страница",
		"ftp://example.com and magnet://x":                    "ftp://example.com|magnet://x",
		"ｃｈｅａｐ.com/x and cheap。com/y":                         "cheap.com/x|cheap.com/y",
		"example.dev:8080/x":                                  "example.dev:8080/x",
		"I use socket.io and node.js, see main.py":            "",
		"main.py, README.md/LICENSE and lib/foo.rs:12":        "",
		"src/main.py and/or docs/index.html":                  "",
		"call logger.info() or self.run, window.top":          "",
		"ASP.NET, VB.NET, asp.net/core, Json.NET, Quartz.NET": "",
		"version 1.2.3, 192.168.4.1/admin, 3.5/4.0":           "",
		"e.g. this, i.e. that, a.m./p.m.":                     "",
		"It was done.It/they left. Really?Yes.":               "",
		"std::string, C://, //comment, a/b/c":                 "",
		"write to me@example.com":                             "",
		"pixels.show() in neopixel.c, GPIO.OUT/GPIO.IN":       "",
	} {
		if got := strings.Join(linksIn(text), "|"); got != want {
			t.Errorf("%q: links %q, want %q", text, got, want)
		}
	}
}

func TestBannedWords(t *testing.T) {
	t.Parallel()
	list, err := loadBannedWords(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"What the fuck, FUCK":                   "fuck, FUCK",
		"sh1t 5h!t $hit SHIT!":                  "sh1t, 5h!t, $hit, SHIT",
		"fück fúck fụck":                        "fück, fúck, fụck",
		"fu\u200dck \u200dshit":                 "fu\u200dck, \u200dshit",
		"ｆｕｃｋ 𝐟𝐮𝐜𝐤":                             "ｆｕｃｋ, 𝐟𝐮𝐜𝐤",
		"fuсk with a Cyrillic letter":           "fuсk",
		"fuuuuuck, assssshole":                  "fuuuuuck, assssshole",
		"f u c k, s.h.i.t and w-h-o-r-e":        "fuck, shit, whore",
		"s1ut b1tch":                            "s1ut, b1tch",
		"@sshole":                               "@sshole",
		"Scunthorpe, Penistone and Cockfosters": "",
		"shiitake, mishit, pushit, Matsushita":  "",
		"a bastard file and a prick punch":      "",
		"class assess cassette grapefruit":      "",
		"pin A55, 7 W, 5417 and 50 Hz":          "",
		"ракі are crayfish":                     "",
		"a b c d e f u":                         "",
		"Fukushima, Fokker, Fück is a name? no": "Fück",
	} {
		if got := strings.Join(list.in(text), ", "); got != want {
			t.Errorf("%q: banned %q, want %q", text, got, want)
		}
	}

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "banned_words.txt"), []byte("# ours\nblah* # and blahs\n\ngo away\nMÜLL\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	st := newSite(t, func(c *config) { c.dataDir = dir })
	alice := st.member("alice")
	id := alice.comment("a", "shit happens; go on, away", 0)
	for text, want := range map[string]string{"Blahdiblah": "Blahdiblah", "Go AWAY now": "Go AWAY", "Mull over": "Mull"} {
		alice.post("/interact/comment", map[string]any{"url": "a", "content": text}).detail(http.StatusBadRequest, "Comment contains inappropriate language. Please remove: "+want)
		alice.put("/interact/comments/1", map[string]any{"content": text}).detail(http.StatusBadRequest, "Please remove: "+want)
	}
	same(t, "the first", id, 1)
	if err := os.WriteFile(filepath.Join(dir, "banned_words.txt"), []byte("\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = loadBannedWords(dir)
	same(t, "no UTF-8", err != nil && strings.Contains(err.Error(), "banned_words.txt can't be read: it is not UTF-8"), true)
}

func TestCommentLinksSetting(t *testing.T) {
	t.Parallel()
	const text = "Look at https://example.com/x"
	for setting, want := range map[string]int{"deny": http.StatusBadRequest, "review": http.StatusOK, "allow": http.StatusOK} {
		st := newSite(t, func(c *config) { c.commentLinks = setting })
		a := st.member("alice").post("/interact/comment", map[string]any{"url": "a", "content": text}).want(want)
		if setting == "deny" {
			a.detail(want, "Comments cannot contain URLs or links. Found: https://example.com/x")
		} else {
			same(t, setting, a.fields()["awaiting_review"], any(setting == "review"))
		}
	}
}

func TestTalkSettings(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"COMMENT_LINKS": "maybe", "COMMENT_REVIEW": "some", "COMMENT_EDIT_MINUTES": "-1", "NEWCOMER_COMMENTS": "few",
		"RETENTION_IP_DAYS": "x", "RESPECT_DNT": "perhaps"} {
		_, err := loadConfig(env("DATA_DIR", t.TempDir(), name, value))
		same(t, name, err != nil && strings.HasPrefix(err.Error(), name+" must be "), true)
	}
	c, err := loadConfig(env("DATA_DIR", t.TempDir(), "COMMENT_EDIT_MINUTES", "15", "COMMENT_LINKS", "review", "NEWCOMER_COMMENTS", "0", "RETENTION_IP_DAYS", "0", "RESPECT_DNT", "true"))
	same(t, "settings", err == nil && c.commentEdit.Minutes() == 15 && c.commentLinks == "review" && c.commentReview == "none" && c.newcomerLimit == 0 && c.retentionIP == 0 && c.respectDNT, true)
}
