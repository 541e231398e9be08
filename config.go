package main

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/mail"
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
	backupDir      string // empty: no daily backups
	backupKeep     int
	uploadQuota    int64 // bytes that one person may store; 0: any number
	maxProjects    int   // that one person may have; 0: any number
	maxParts       int   // of each kind in a project; 0: any number
	maxUploads     int   // files, and pictures, in a project; 0: any number
	logLevel       slog.Level
	logJSON        bool
	logFile        string // empty: stderr
	logFileMax     int64  // bytes
	logFiles       int    // older ones that are kept
	allowedMetrics []netip.Prefix
	reports        dsn           // zero: errors are reported to nobody
	drain          time.Duration // for which requests are still taken after the signal to stop
	finish         time.Duration // for which those under way have to finish after that

	sessionIdle                                time.Duration // a session that nobody uses for this long is over
	sessionMax                                 time.Duration // and every session after this
	emailVerification                          string        // off, optional or required
	require2FA                                 string        // empty, admins or all
	retentionAudit                             time.Duration // 0: for ever
	retentionIP                                time.Duration // of the addresses of page views; 0: they are never stored
	retentionViews                             time.Duration // of the rows of page views; 0: for ever
	respectDNT                                 bool
	smtpHost, smtpPort, smtpUser, smtpPassword string
	smtpTLS                                    string // starttls, tls or off
	mailFrom                                   mail.Address
	mailRoots                                  *x509.CertPool // who vouches for the mail server; nil: the system's. Only tests set others
	inForce                                    []settingInForce
	contactAddress                             string        // whom people are told to write to, see contact
	commentEdit                                time.Duration // after it a comment can't be edited; 0: always
	commentLinks                               string        // deny, review or allow
	commentReview                              string        // none, first or all
	newcomerLimit                              int           // comments an hour of an account in its first day; 0: no limit

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
	{"MAX_PROJECTS", "500", "projects that one person may have; 0: any number", func(c *config, v string) (err error) {
		c.maxProjects, err = atMost(v)
		return err
	}},
	{"MAX_PARTS", "1000", "steps, materials, components, links and tools that a project may have, of each; 0: any number", func(c *config, v string) (err error) {
		c.maxParts, err = atMost(v)
		return err
	}},
	{"MAX_UPLOADS", "200", "files that a project may have, and as many pictures; 0: any number", func(c *config, v string) (err error) {
		c.maxUploads, err = atMost(v)
		return err
	}},
	{"BACKUP_DIR", "", "folder for a backup a day (default: none is made)", func(c *config, v string) error {
		c.backupDir = v
		if info, err := os.Stat(v); v != "" && (err != nil || !info.IsDir()) {
			return errors.New("must be a folder that is there")
		}
		return nil
	}},
	{"BACKUP_KEEP", "7", "daily backups that are kept; 0: all", func(c *config, v string) (err error) {
		c.backupKeep, err = atMost(v)
		return err
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
		if err != nil {
			return err
		}
		u, err := url.Parse(c.publicURL)
		if err == nil && u.Path != "" {
			return errors.New("must have no path: the server takes a whole host name, such as https://chatter.example.com")
		}
		if err == nil && c.production && u.Scheme == "http" && !isLoopback(u.Hostname()) {
			return errors.New("must start with https:// in production, since browsers send the sign-in cookies over TLS alone")
		}
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
		if u, err := url.Parse(c.publicURL); v != "" && c.production && err == nil && !strings.HasSuffix("."+u.Hostname(), "."+strings.TrimPrefix(v, ".")) {
			return fmt.Errorf("must be the domain of PUBLIC_URL (%s) or one above it", u.Hostname())
		}
		c.cookieDomain = v
		return nil
	}},
	{"TRUSTED_PROXIES", "", "networks whose X-Forwarded-For counts, such as 10.0.0.0/8, separated by commas", func(c *config, v string) (err error) {
		c.trustedProxies, err = networks(v)
		return err
	}},
	{"ALLOWED_METRICS", "127.0.0.0/8,::1", "networks that may read /metrics and the details of /health, separated by commas; none: admins alone", func(c *config, v string) (err error) {
		if v != "none" {
			c.allowedMetrics, err = networks(v)
		}
		return err
	}},
	{"SMTP_HOST", "", "mail server that takes the letters; unset, they are written to $DATA_DIR/mail, in production not at all", (*config).setMailHost},
	{"SMTP_PORT", "587", "port of the mail server", func(c *config, v string) error {
		if n, err := strconv.Atoi(v); err != nil || n < 1 || n > 65535 {
			return errors.New("must be a number from 1 to 65535")
		}
		c.smtpPort = v
		return nil
	}},
	{"SMTP_USER", "", "name to sign in to the mail server with, where it asks for one", func(c *config, v string) error {
		c.smtpUser = v
		return nil
	}},
	{"SMTP_PASSWORD", "", "password that belongs to SMTP_USER", func(c *config, v string) error {
		if (v == "") != (c.smtpUser == "") {
			return errors.New("must be set where SMTP_USER is set, and only there")
		}
		c.smtpPassword = v
		return nil
	}},
	{"SMTP_FROM", "", "sender of the letters, such as chatter@example.com or Chatter <chatter@example.com>", (*config).setMailFrom},
	{"CONTACT_EMAIL", "", "address that people are told to write to (default that of SMTP_FROM)", func(c *config, v string) error {
		if a, err := mail.ParseAddress(v); v != "" && (err != nil || a.Address != v) {
			return errors.New("must be an address such as help@example.com")
		}
		c.contactAddress = v
		return nil
	}},
	{"SMTP_TLS", "", "starttls, tls or off (default starttls, with port 465 tls)", (*config).setMailTLS},
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
	{"SESSION_IDLE_DAYS", "14", "days after which a session that nobody uses ends", func(c *config, v string) (err error) {
		c.sessionIdle, err = days(v, 1)
		return err
	}},
	{"SESSION_MAX_DAYS", "90", "days after which every session ends", func(c *config, v string) (err error) {
		c.sessionMax, err = days(v, 1)
		return err
	}},
	{"EMAIL_VERIFICATION", "optional", "off, optional (ask for it) or required (before anything is published)", func(c *config, v string) error {
		c.emailVerification = v
		if v == "required" && !c.canMail() {
			return errors.New("must not be required as long as no mail can be sent; set SMTP_HOST")
		}
		return oneOf(v, "off", "optional", "required")
	}},
	{"REQUIRE_2FA", "", "admins or all: who has to have two factors (default nobody)", func(c *config, v string) error {
		c.require2FA = v
		if v != "" && v != "admins" && v != "all" {
			return errors.New("must be admins or all, or unset")
		}
		return nil
	}},
	{"RETENTION_AUDIT_DAYS", "365", "days that the history of accounts is kept; 0 is for ever", func(c *config, v string) (err error) {
		c.retentionAudit, err = days(v, 0)
		return err
	}},
	{"COMMENT_EDIT_MINUTES", "0", "minutes in which a comment can be edited; 0 is no limit", func(c *config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 1e6 {
			return errors.New("must be a number of minutes from 0 to 1000000")
		}
		c.commentEdit = time.Duration(n) * time.Minute
		return nil
	}},
	{"COMMENT_LINKS", "deny", "deny, review (a moderator looks first) or allow links in comments", func(c *config, v string) error {
		c.commentLinks = v
		return oneOf(v, "deny", "review", "allow")
	}},
	{"COMMENT_REVIEW", "none", "none, first or all: which comments wait for a moderator; first is until one of an author's was approved", func(c *config, v string) error {
		c.commentReview = v
		return oneOf(v, "none", "first", "all")
	}},
	{"NEWCOMER_COMMENTS", "10", "comments an hour of an account in its first day; 0 is no limit", func(c *config, v string) (err error) {
		if c.newcomerLimit, err = strconv.Atoi(v); err != nil || c.newcomerLimit < 0 {
			return errors.New("must be a number from 0")
		}
		return nil
	}},
	{"RETENTION_IP_DAYS", "30", "days that the addresses of page views are kept; 0 stores none", func(c *config, v string) (err error) {
		c.retentionIP, err = days(v, 0)
		return err
	}},
	{"RETENTION_VIEWS_DAYS", "0", "days that each page view is kept, counts aside; 0 is for ever", func(c *config, v string) (err error) {
		c.retentionViews, err = days(v, 0)
		return err
	}},
	{"RESPECT_DNT", "true", "true counts who asks not to be tracked without telling visitors apart", func(c *config, v string) (err error) {
		if c.respectDNT, err = strconv.ParseBool(v); err != nil {
			return errors.New("must be true or false")
		}
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
	{"LOG_FILE", "", "file for the log (default stderr)", func(c *config, v string) error {
		c.logFile = v
		return nil
	}},
	{"LOG_FILE_MAX_MB", "50", "megabytes after which LOG_FILE is renamed to LOG_FILE.1, and a new one begun", func(c *config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1e6 {
			return errors.New("must be a number of megabytes from 1 to 1000000")
		}
		c.logFileMax = int64(n) << 20
		return nil
	}},
	{"LOG_FILES", "5", "older log files that are kept", func(c *config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 1000 {
			return errors.New("must be a number from 0 to 1000")
		}
		c.logFiles = n
		return nil
	}},
	{"SENTRY_DSN", "", "DSN of a project at a Sentry-compatible service to which errors are reported", func(c *config, v string) (err error) {
		if v != "" {
			c.reports, err = parseDSN(v)
		}
		return err
	}},
	{"DRAIN_SECONDS", "0", "seconds in which requests are still taken after the signal to stop, while /readyz answers 503", func(c *config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 600 {
			return errors.New("must be a number of seconds from 0 to 600")
		}
		c.drain = time.Duration(n) * time.Second
		return nil
	}},
	{"FINISH_SECONDS", "60", "seconds that requests under way, transfers among them, have to finish once no more are taken; then they are broken off", func(c *config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 3600 {
			return errors.New("must be a number of seconds from 1 to 3600")
		}
		c.finish = time.Duration(n) * time.Second
		return nil
	}},
}

// environment is what ENVIRONMENT says.
func (c config) environment() string {
	if c.production {
		return "production"
	}
	return "development"
}

//go:generate sh -c "go run . settings >docs/CONFIGURATION.md.new && mv docs/CONFIGURATION.md.new docs/CONFIGURATION.md"

// settingsMarkdown is docs/CONFIGURATION.md.
func settingsMarkdown() string {
	var b strings.Builder
	b.WriteString(`# Settings

From the environment, or from a file ` + "`.env`" + ` in the working directory ([.env.example](../.env.example)); the environment comes first. They are
read at the start. A value that can't be used is refused there, in a sentence that names it. This page is made from the table
that the server reads (` + "`go generate`" + `).

| variable | default | meaning |
| --- | --- | --- |
`)
	for _, st := range settings {
		fallback := ""
		if st.fallback != "" {
			fallback = "`" + st.fallback + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", st.name, fallback, strings.ReplaceAll(st.help, "|", "\\|"))
	}
	return b.String()
}

// networks reads a list of networks and addresses.
func networks(v string) (list []netip.Prefix, err error) {
	for _, text := range splitList(v) {
		prefix, err := netip.ParsePrefix(text)
		if addr, addrErr := netip.ParseAddr(text); addrErr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("holds %q, which is no network such as 10.0.0.0/8", text)
		}
		list = append(list, prefix)
	}
	return list, nil
}

// days reads a number of days, at least min.
func days(v string, min int) (time.Duration, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < min || n > 36500 {
		return 0, fmt.Errorf("must be a number of days from %d to 36500", min)
	}
	return time.Duration(n) * 24 * time.Hour, nil
}

// atMost reads how many there may be of something; 0 is any number.
func atMost(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 1e6 {
		return 0, errors.New("must be a number from 0 to 1000000")
	}
	return n, nil
}

// verifies reports whether new addresses are to be confirmed.
func (c config) verifies() bool { return c.emailVerification != "off" && c.canMail() }

// oneOf checks a choice.
func oneOf(v string, choices ...string) error {
	if slices.Contains(choices, v) {
		return nil
	}
	return errors.New("must be one of " + strings.Join(choices, ", "))
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
		c.inForce = append(c.inForce, settingInForce{st.name, shownSetting(st.name, value)})
	}
	return c, nil
}

// settingInForce is a setting's value, for admins.
type settingInForce struct{ Name, Value string }

// shownSetting is what is shown of a value: of one that is a secret, or holds
// one, whether it is set.
func shownSetting(name, value string) string {
	for _, part := range []string{"SECRET", "PASSWORD", "DATABASE_URL", "KEY", "TOKEN", "DSN"} {
		if strings.Contains(name, part) && value != "" {
			return "(set)"
		}
	}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		return "(set)"
	}
	return value
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

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
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
