package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// config holds every setting of the server. loadConfig fills it, and nothing
// changes it afterwards.
type config struct {
	databaseURL    string // empty: the server runs its own PostgreSQL
	secretKey      []byte
	production     bool
	testing        bool // rate limits off
	allowedOrigins []string
	host           string
	port           string
	publicURL      string // without a trailing slash
	siteName       string
	siteURL        string
	cookieDomain   string
	trustedProxies []netip.Prefix
	dataDir        string
	uploadDir      string
	nas            nasConfig
	uploadQuota    int64 // bytes that one person may store; 0: any number
	logLevel       slog.Level
	logJSON        bool

	// promptness is how long an answer may take that moves no file: a database
	// that hangs must not hang the clients too. Only tests set another one.
	promptness time.Duration
}

// setting is one environment variable: its default, what it is for, and how
// its text gets into the configuration.
type setting struct {
	name, fallback, help string
	set                  func(c *config, value string) error
}

// settings is every variable that Chatter reads, in the order in which they
// are read: a later default may stand on an earlier value.
var settings = []setting{
	{"ENVIRONMENT", "development", "development or production", func(c *config, v string) error {
		if v != "development" && v != "production" {
			return errors.New("must be development or production")
		}
		c.production = v == "production"
		return nil
	}},
	{"DATA_DIR", "./data", "folder for everything the server keeps on disk", func(c *config, v string) error {
		c.dataDir = v
		return nil
	}},
	{"UPLOAD_DIR", "", "folder for uploaded files (default $DATA_DIR/uploads)", func(c *config, v string) error {
		c.uploadDir = v
		if v == "" {
			c.uploadDir = filepath.Join(c.dataDir, "uploads")
		}
		return nil
	}},
	{"UPLOAD_QUOTA_MB", "1024", "megabytes of files and pictures that one person may store; 0: any number", func(c *config, v string) error {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 {
			return errors.New("must be a number of megabytes, or 0")
		}
		c.uploadQuota = n << 20
		return nil
	}},
	{"NAS_HOST", "", "host of a NAS for uploaded files (SMB), with an optional :port; unset, UPLOAD_DIR is used alone", func(c *config, v string) error {
		if v == "" {
			return nil
		}
		c.nas.host = v
		if _, _, err := net.SplitHostPort(v); err != nil {
			c.nas.host = net.JoinHostPort(strings.Trim(v, "[]"), "445")
		}
		if host, port, _ := net.SplitHostPort(c.nas.host); host == "" || strings.ContainsAny(host, "/\\ ") || !isPort(port) {
			return errors.New("must be a host such as nas.local or 192.168.1.20, with an optional :port")
		}
		return nil
	}},
	{"NAS_SHARE_NAME", "", "share of the NAS", func(c *config, v string) error {
		if c.nas.host != "" && (v == "" || strings.ContainsAny(v, "/\\")) {
			return errors.New("must be the name of a share, without slashes, when NAS_HOST is set")
		}
		c.nas.share = v
		return nil
	}},
	{"NAS_USERNAME", "", "user of the share", func(c *config, v string) error {
		if c.nas.host != "" && v == "" {
			return errors.New("must be set when NAS_HOST is")
		}
		c.nas.username = v
		return nil
	}},
	{"NAS_PASSWORD", "", "password of that user", func(c *config, v string) error {
		c.nas.password = v
		return nil
	}},
	{"NAS_DOMAIN", "", "domain of that user, if there is one", func(c *config, v string) error {
		c.nas.domain = v
		return nil
	}},
	{"DATABASE_URL", "", "PostgreSQL to use; unset, the server runs its own in $DATA_DIR/postgres", func(c *config, v string) error {
		// The older service named a Python driver in the scheme.
		if scheme, rest, found := strings.Cut(v, "://"); found {
			scheme, _, _ = strings.Cut(scheme, "+")
			v = scheme + "://" + rest
		}
		if v != "" {
			if _, err := pgxpool.ParseConfig(v); err != nil {
				return errors.New("is no PostgreSQL address; write postgres://user:password@host:5432/database")
			}
		}
		c.databaseURL = v
		return nil
	}},
	{"SECRET_KEY", "", "key that signs the tokens; at least 32 characters, made once in development", (*config).setSecret},
	{"HOST", "", "address to listen on (default localhost in development, all addresses in production)", func(c *config, v string) error {
		c.host = v
		if v == "" && !c.production {
			c.host = "localhost"
		}
		return nil
	}},
	{"PORT", "8000", "port to listen on", func(c *config, v string) error {
		if !isPort(v) {
			return errors.New("must be a number from 0 to 65535")
		}
		c.port = v
		return nil
	}},
	{"PUBLIC_URL", "", "address at which browsers reach the server (default http://localhost:$PORT in development)", func(c *config, v string) error {
		if v == "" && !c.production {
			v = "http://localhost:" + c.port
		}
		var err error
		c.publicURL, err = webAddress(v)
		return err
	}},
	{"SITE_NAME", "Chatter", "name of the site, shown on every page", func(c *config, v string) error {
		c.siteName = v
		return nil
	}},
	{"SITE_URL", "", "address of the static site (default $PUBLIC_URL)", func(c *config, v string) error {
		if v == "" {
			v = c.publicURL
		}
		var err error
		c.siteURL, err = webAddress(v)
		return err
	}},
	{"ALLOWED_ORIGINS", "", "origins whose pages may call the API, separated by commas (default in development localhost:3000, 4000, 8000, 8001 and 0.0.0.0:4000)", (*config).setOrigins},
	{"COOKIE_DOMAIN", "", "domain of the sign-in cookies in production, such as .example.com", func(c *config, v string) error {
		if strings.ContainsAny(v, "/: ") {
			return errors.New("must be a domain such as .example.com, without scheme or port")
		}
		c.cookieDomain = v
		return nil
	}},
	{"TRUSTED_PROXIES", "", "networks whose X-Forwarded-For counts, such as 10.0.0.0/8, separated by commas", func(c *config, v string) error {
		for _, text := range splitList(v) {
			prefix, err := netip.ParsePrefix(text)
			if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
				prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
			}
			if err != nil {
				return fmt.Errorf("holds %q, which is no network such as 10.0.0.0/8", text)
			}
			c.trustedProxies = append(c.trustedProxies, prefix)
		}
		return nil
	}},
	{"TESTING", "false", "true switches the rate limits off; refused in production", func(c *config, v string) error {
		on, err := strconv.ParseBool(v)
		if err != nil {
			return errors.New("must be true or false")
		}
		if on && c.production {
			return errors.New("must not be true in production, because it switches the rate limits off")
		}
		c.testing = on
		return nil
	}},
	{"LOG_LEVEL", "info", "debug, info, warn or error", func(c *config, v string) error {
		if c.logLevel.UnmarshalText([]byte(v)) != nil {
			return errors.New("must be debug, info, warn or error")
		}
		return nil
	}},
	{"LOG_FORMAT", "", "text or json (default text in development, json in production)", func(c *config, v string) error {
		if v != "" && v != "text" && v != "json" {
			return errors.New("must be text or json")
		}
		c.logJSON = v == "json" || v == "" && c.production
		return nil
	}},
}

// loadConfig reads every setting through getenv. The error is one sentence
// that starts with the name of the variable at fault.
func loadConfig(getenv func(string) string) (config, error) {
	c := config{promptness: 8 * time.Second}
	for _, st := range settings {
		value := strings.TrimSpace(getenv(st.name))
		if value == "" {
			value = st.fallback
		}
		if err := st.set(&c, value); err != nil {
			return config{}, fmt.Errorf("%s %w", st.name, err)
		}
	}
	return c, nil
}

// exampleSecrets are parts of keys that stand in examples all over the web;
// who copies one has no secret.
var exampleSecrets = []string{"change", "example", "your-secret", "your_secret", "secret-key", "secret_key", "supersecret", "0123456789"}

// setSecret takes the key given, or in development the one kept in DATA_DIR,
// which is made at the first start.
func (c *config) setSecret(v string) error {
	if c.production {
		if len(v) < 32 {
			return errors.New("must be set to 32 characters or more in production; make one with: openssl rand -base64 48")
		}
		lower := strings.ToLower(v)
		if slices.ContainsFunc(exampleSecrets, func(s string) bool { return strings.Contains(lower, s) }) {
			return errors.New("is an example, not a secret; make one with: openssl rand -base64 48")
		}
	}
	c.secretKey = []byte(v)
	if v != "" {
		return nil
	}
	path := filepath.Join(c.dataDir, "secret_key")
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		random := make([]byte, 48)
		rand.Read(random)
		key = []byte(base64.RawURLEncoding.EncodeToString(random))
		if err = os.MkdirAll(c.dataDir, 0o755); err == nil {
			err = os.WriteFile(path, key, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("is unset, and the one kept in DATA_DIR can't be used: %w", err)
	}
	if len(key) < 32 {
		return fmt.Errorf("is unset, and %s holds fewer than 32 characters; remove that file to have a new one made", path)
	}
	c.secretKey = key
	return nil
}

func (c *config) setOrigins(v string) error {
	c.allowedOrigins = splitList(v)
	if len(c.allowedOrigins) == 0 && !c.production {
		for _, port := range []string{"3000", "4000", "8000", "8001"} {
			c.allowedOrigins = append(c.allowedOrigins, "http://localhost:"+port)
		}
		c.allowedOrigins = append(c.allowedOrigins, "http://0.0.0.0:4000")
	}
	for i, origin := range c.allowedOrigins {
		address, err := webAddress(origin)
		if err == nil {
			err = http.NewCrossOriginProtection().AddTrustedOrigin(address)
		}
		if err != nil {
			return fmt.Errorf("holds %q, which is no origin such as https://www.example.com", origin)
		}
		c.allowedOrigins[i] = address
	}
	return nil
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 0 && n <= 65535
}

// webAddress checks an absolute http(s) address and returns it without a
// trailing slash.
func webAddress(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", errors.New("must be an address such as https://chatter.example.com")
	}
	return strings.TrimRight(text, "/"), nil
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// withDotEnv returns a lookup that answers from the environment first and
// from the file at path second: lines of NAME=value, with # comments, an
// optional "export", and quotes around a value that needs them. No file, no
// error.
func withDotEnv(path string, getenv func(string) string) (func(string) string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return getenv, nil
	}
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !found {
			return nil, fmt.Errorf("%s: line %d is not NAME=value", path, i+1)
		}
		value = strings.TrimSpace(value)
		if quote := value[:min(1, len(value))]; quote == `"` || quote == "'" {
			inside, _, closed := strings.Cut(value[1:], quote)
			if !closed {
				return nil, fmt.Errorf("%s: line %d has a quote that is never closed", path, i+1)
			}
			value = inside
		} else {
			value, _, _ = strings.Cut(value, " #")
			value = strings.TrimSpace(value)
		}
		values[strings.TrimSpace(name)] = value
	}
	return func(name string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return values[name]
	}, nil
}
