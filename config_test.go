package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i+1 < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

const goodSecret = "b7Qm2xWv9Lk4TzRn8Yc3Hd6Fj1Gp5Sa0"

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := loadConfig(env("DATA_DIR", dir))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "port", c.port, "8000")
	same(t, "host", c.host, "localhost")
	same(t, "public URL", c.publicURL, "http://localhost:8000")
	same(t, "site URL", c.siteURL, "http://localhost:8000")
	same(t, "uploads", c.uploadDir, filepath.Join(dir, "uploads"))
	same(t, "origins", strings.Join(c.allowedOrigins, " "), "http://localhost:3000 http://localhost:4000 http://localhost:8000 http://localhost:8001 http://0.0.0.0:4000")
	// The secret is made once and kept, readable by its owner alone.
	info, err := os.Stat(filepath.Join(dir, "secret_key"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "mode", info.Mode().Perm(), os.FileMode(0o600))
	again, err := loadConfig(env("DATA_DIR", dir, "PORT", "9000"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "kept secret", string(again.secretKey), string(c.secretKey))
	same(t, "length", len(c.secretKey) >= 32, true)
	same(t, "public URL follows the port", again.publicURL, "http://localhost:9000")

	c, err = loadConfig(env("ENVIRONMENT", "production", "SECRET_KEY", goodSecret, "PUBLIC_URL", "https://chatter.example.com/", "DATA_DIR", dir,
		"ALLOWED_ORIGINS", "https://www.example.com, https://example.com/", "TRUSTED_PROXIES", "10.0.0.0/8,192.0.2.1,::1",
		"DATABASE_URL", "postgresql+psycopg2://u:p@db/x"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "public URL", c.publicURL, "https://chatter.example.com")
	same(t, "origins", strings.Join(c.allowedOrigins, " "), "https://www.example.com https://example.com")
	same(t, "proxies", len(c.trustedProxies) == 3 && c.trustedProxies[1].Bits() == 32, true)
	same(t, "JSON logs", c.logJSON && c.host == "", true)
	same(t, "database", c.databaseURL, "postgresql://u:p@db/x")
	same(t, "redacted", redact(c.databaseURL), "x on db:5432 as u")
	same(t, "redacted words", redact("host=db password='p q' dbname=x user=u"), "x on db:5432 as u")
}

// A setting that can't be used is refused in a sentence that names it.
func TestConfigRefusals(t *testing.T) {
	t.Parallel()
	production := []string{"ENVIRONMENT", "production", "SECRET_KEY", goodSecret, "PUBLIC_URL", "https://chatter.example.com"}
	for _, c := range []struct{ name, value string }{
		{"ENVIRONMENT", "staging"}, {"PORT", "http"}, {"PORT", "70000"}, {"PUBLIC_URL", "chatter.example.com"}, {"PUBLIC_URL", "https://x.example/?a"}, {"SITE_URL", "ftp://x"},
		{"ALLOWED_ORIGINS", "*"}, {"ALLOWED_ORIGINS", "https://a.example/path"}, {"ALLOWED_ORIGINS", "example.com"}, {"COOKIE_DOMAIN", "https://x"}, {"COOKIE_DOMAIN", ".example.org"}, {"COOKIE_DOMAIN", "ter.example.com"}, {"PUBLIC_URL", "http://chatter.example.com"},
		{"SESSION_IDLE_DAYS", "0"}, {"SESSION_MAX_DAYS", "x"}, {"EMAIL_VERIFICATION", "maybe"}, {"EMAIL_VERIFICATION", "required"}, {"REQUIRE_2FA", "some"}, {"RETENTION_AUDIT_DAYS", "-1"},
		{"TRUSTED_PROXIES", "proxy"}, {"TESTING", "maybe"}, {"TESTING", "true"}, {"LOG_LEVEL", "loud"}, {"LOG_FORMAT", "xml"}, {"LOG_FILE_MAX_MB", "0"}, {"LOG_FILES", "-1"}, {"ALLOWED_METRICS", "all"}, {"DRAIN_SECONDS", "700"}, {"FINISH_SECONDS", "0"}, {"SENTRY_DSN", "https://sentry.example.com/1"}, {"SENTRY_DSN", "https://key@sentry.example.com/project"}, {"PUBLIC_URL", "https://chatter.example.com/chatter"}, {"DATABASE_URL", "mysql://x"},
		{"SECRET_KEY", "short"}, {"SECRET_KEY", "change-me-change-me-change-me-change-me"}, {"SECRET_KEY", "your-secret-key-here-your-secret-key"},
	} {
		_, err := loadConfig(env(append([]string{c.name, c.value}, production...)...))
		if err == nil || !strings.HasPrefix(err.Error(), c.name+" ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%s: %v", c.name, c.value, err)
		}
	}
	for _, name := range []string{"SECRET_KEY", "PUBLIC_URL"} {
		_, err := loadConfig(env(append([]string{name, " "}, production...)...))
		if err == nil || !strings.HasPrefix(err.Error(), name+" ") {
			t.Errorf("%s missing: %v", name, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret_key"), []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := loadConfig(env("DATA_DIR", dir))
	same(t, "a short kept secret", err != nil && strings.Contains(err.Error(), "fewer than 32"), true)
	_, err = loadConfig(env("DATA_DIR", filepath.Join(dir, "secret_key", "x")))
	same(t, "a DATA_DIR that can't be", err != nil && strings.HasPrefix(err.Error(), "SECRET_KEY is unset"), true)
}

func TestDotEnv(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".env")
	text := "# comment\n\nA=1\nexport B = two words # with a comment\nC=\"quoted # value\" # x\nD='single'\nE=\nPORT=1\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	get, err := withDotEnv(path, env("PORT", "2"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"A": "1", "B": "two words", "C": "quoted # value", "D": "single", "E": "", "PORT": "2", "F": ""} {
		same(t, name, get(name), want)
	}
	for _, bad := range []string{"A\n", "A=\"open\n"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := withDotEnv(path, env()); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	get, err = withDotEnv(filepath.Join(t.TempDir(), ".env"), env("A", "x"))
	same(t, "no file", err == nil && get("A") == "x", true)
}

func TestConfigurationIsGenerated(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/CONFIGURATION.md")
	if err != nil || string(text) != settingsMarkdown() {
		t.Fatalf("docs/CONFIGURATION.md is not what the settings say; run go generate (%v)", err)
	}
}

// The README's table and .env.example name every setting, once.
func TestSettingsAreDocumented(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"README.md", ".env.example"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range settings {
			entry, want := "\n| `"+st.name+"` |", 1
			if name == ".env.example" {
				entry = "\n" + st.name + "="
				if st.name == "TESTING" {
					want = 0
				}
			}
			// What is commented out in .env.example is an entry as well.
			if got := strings.Count(strings.ReplaceAll(string(text), "\n#", "\n"), entry); got != want {
				t.Errorf("%s has %d entries for %s, want %d", name, got, st.name, want)
			}
		}
	}
}
