package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// composition is what Docker Compose makes of compose.yaml.
type composition struct {
	Services map[string]composed
	Volumes  map[string]any
	Networks map[string]struct {
		IPAM struct {
			Config []struct {
				Subnet, Gateway string
				IPRange         string `json:"ip_range"`
			}
		}
	}
}

// composed is a service of it.
type composed struct {
	Image           string
	Entrypoint      []string
	Environment     map[string]string
	Restart         string
	ReadOnly        bool     `json:"read_only"`
	CapDrop         []string `json:"cap_drop"`
	SecurityOpt     []string `json:"security_opt"`
	PidsLimit       int      `json:"pids_limit"`
	MemLimit        string   `json:"mem_limit"`
	CPUs            float64  `json:"cpus"`
	StopGracePeriod string   `json:"stop_grace_period"`
	Logging         struct{ Options map[string]string }
	Tmpfs           []string
	Volumes         []struct {
		Type, Source, Target string
		ReadOnly             bool `json:"read_only"`
	}
	Ports []struct {
		HostIP string `json:"host_ip"`
		Target int
	}
	Networks map[string]struct {
		IPv4 string `json:"ipv4_address"`
	}
	DependsOn map[string]struct {
		Condition string
		Required  bool
	} `json:"depends_on"`
	Healthcheck *struct{ Test []string }
}

// mountOf is the volume that a path of the container lies on; empty when it is
// a part of the image.
func (c composed) mountOf(path string) (source string) {
	for _, v := range c.Volumes {
		if path == v.Target || strings.HasPrefix(path, v.Target+"/") {
			source = v.Source
		}
	}
	return source
}

// composeLoader builds testdata/compose, which reads compose.yaml as Docker
// Compose does, with a given environment.
func composeLoader(t *testing.T) func(env ...string) (composition, error) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "compose")
	if out, err := exec.Command("go", "build", "-C", "testdata/compose", "-o", program, ".").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v: %s", err, out)
		}
		t.Skipf("the modules of Docker Compose are not here: %s", out)
	}
	return func(env ...string) (c composition, err error) {
		cmd := exec.Command(program, "compose.yaml")
		cmd.Env = env
		out, err := cmd.Output()
		if failed, is := err.(*exec.ExitError); is {
			return c, fmt.Errorf("%s", failed.Stderr)
		}
		must(t, err)
		must(t, json.Unmarshal(out, &c))
		return c, nil
	}
}

const composedNAS = "b4f1c0ffee5eed" // a password

// What can be known of compose.yaml without a Docker daemon: that the programs
// in the containers fit each other and their limits.
func TestCompose(t *testing.T) {
	t.Parallel()
	load := composeLoader(t)
	always := []string{"SECRET_KEY=" + goodSecret, "PUBLIC_URL=https://chatter.example.org"}

	for _, c := range []struct {
		env  []string
		want string
	}{
		{always[1:], "SECRET_KEY"}, {always[:1], "PUBLIC_URL"}, {always, "DATABASE_URL"},
	} {
		_, err := load(c.env...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("without %s: %v", c.want, err)
		}
	}
	alone, err := load(append(always, "DATABASE_URL=postgres://u:p@db.example.com/x")...)
	must(t, err)
	same(t, "services", len(alone.Services), 1)
	same(t, "database", alone.Services["chatter"].Environment["DATABASE_URL"], "postgres://u:p@db.example.com/x")

	all, err := load(append(always, "COMPOSE_PROFILES=*", "POSTGRES_PASSWORD=c0ffee", "NAS_PASSWORD="+composedNAS)...)
	must(t, err)
	same(t, "services", len(all.Services), 4)
	for name, c := range all.Services {
		same(t, name+" is confined", fmt.Sprint(c.ReadOnly, c.CapDrop, c.SecurityOpt), "true [ALL] [no-new-privileges:true]")
		same(t, name+" has limits", c.PidsLimit > 0 && c.MemLimit != "" && c.CPUs > 0 && c.Logging.Options["max-size"] != "" && c.Logging.Options["max-file"] != "", true)
		same(t, name+" starts again", c.Restart, "unless-stopped")
		same(t, name+" is pinned", strings.HasPrefix(c.Image, "chatter") || regexp.MustCompile(`:\d+\.\d+`).MatchString(c.Image), true)
		for other, wait := range c.DependsOn {
			same(t, name+" waits for "+other, wait.Condition == "service_healthy" && (all.Services[other].Healthcheck != nil || other == "chatter"), true)
		}
		for _, port := range c.Ports {
			same(t, name+" is open to the world", port.HostIP == "", name == "nginx")
		}
	}

	t.Run("chatter", func(t *testing.T) { testComposedChatter(t, all) })
	t.Run("nginx", func(t *testing.T) { testComposedNginx(t, all) })
	t.Run("samba", func(t *testing.T) { testComposedSamba(t, all.Services["samba"]) })
}

func testComposedChatter(t *testing.T, all composition) {
	chatter, postgres, nginx := all.Services["chatter"], all.Services["postgres"], all.Services["nginx"]
	cfg, err := loadConfig(func(name string) string {
		if name == "BACKUP_DIR" {
			return t.TempDir()
		}
		return chatter.Environment[name]
	})
	must(t, err)
	for name := range chatter.Environment {
		if name != "GOMEMLIMIT" && !slices.ContainsFunc(settings, func(st setting) bool { return st.name == name }) {
			t.Errorf("%s is no setting", name)
		}
	}
	for _, path := range []string{cfg.dataDir, cfg.uploadDir, chatter.Environment["BACKUP_DIR"]} {
		same(t, path+" lasts", chatter.mountOf(path) != "", true)
	}
	same(t, "port", fmt.Sprint(chatter.Ports[0].Target), cfg.port)
	patience, err := time.ParseDuration(chatter.StopGracePeriod)
	same(t, "time to finish", err == nil && patience > cfg.drain+cfg.finish, true)
	limit, err := strconv.ParseInt(chatter.MemLimit, 10, 64)
	must(t, err)
	goLimit, err := strconv.ParseInt(strings.TrimSuffix(chatter.Environment["GOMEMLIMIT"], "MiB"), 10, 64)
	same(t, "Go's limit is below the container's", err == nil && goLimit<<20 < limit, true)

	database, err := url.Parse(cfg.databaseURL)
	must(t, err)
	password, _ := database.User.Password()
	same(t, "database", fmt.Sprintf("%s:%s@%s%s", database.User.Username(), password, database.Host, database.Path),
		fmt.Sprintf("%s:%s@postgres:5432/%s", postgres.Environment["POSTGRES_USER"], postgres.Environment["POSTGRES_PASSWORD"], postgres.Environment["POSTGRES_DB"]))

	network, err := netip.ParsePrefix(all.Networks["default"].IPAM.Config[0].Subnet)
	must(t, err)
	others, err := netip.ParsePrefix(all.Networks["default"].IPAM.Config[0].IPRange) // who get any address
	must(t, err)
	proxy := netip.MustParseAddr(nginx.Networks["default"].IPv4)
	for _, addr := range []netip.Addr{proxy, netip.MustParseAddr(chatter.Networks["default"].IPv4)} {
		same(t, addr.String()+" is nobody else's", network.Contains(addr) && !others.Contains(addr), true)
	}
	for _, addr := range []netip.Addr{proxy, netip.MustParseAddr(all.Networks["default"].IPAM.Config[0].Gateway)} { // whoever comes from the machine itself
		same(t, addr.String()+" is trusted", slices.ContainsFunc(cfg.trustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) }), true)
	}

	// Who copies .env.example finds every variable.
	text, err := os.ReadFile("compose.yaml")
	must(t, err)
	example, err := os.ReadFile(".env.example")
	must(t, err)
	for _, found := range regexp.MustCompile(`[^$]\$\{([A-Z_]+)`).FindAllStringSubmatch(string(text), -1) {
		fromMakefile := found[1] == "VERSION" || found[1] == "REVISION"
		same(t, found[1]+" in .env.example", strings.Contains(string(example), "\n#"+found[1]+"="), !fromMakefile)
	}
	dockerfile, err := os.ReadFile("Dockerfile")
	must(t, err)
	same(t, "the image says how it is", strings.Contains(string(dockerfile), "\nHEALTHCHECK "), true)
}

// What nginx gets is the example that TestNginx tries, but for two names.
func testComposedNginx(t *testing.T, all composition) {
	nginx := all.Services["nginx"]
	dir := t.TempDir()
	script := replaced(t, nginx.Entrypoint[2], `/etc/nginx/chatter\.conf`, nginx.mountOf("/etc/nginx/chatter.conf"), `/etc/nginx/conf\.d`, dir, `exec nginx .*`, "")
	cmd := exec.Command(nginx.Entrypoint[0], nginx.Entrypoint[1], script)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PUBLIC_URL=" + nginx.Environment["PUBLIC_URL"], "CHATTER=" + nginx.Environment["CHATTER"]}
	out, err := cmd.CombinedOutput()
	same(t, string(out), err, error(nil))
	made, err := os.ReadFile(filepath.Join(dir, "chatter.conf"))
	must(t, err)
	chatter := all.Services["chatter"]
	upstream := fmt.Sprintf("%s:%d", chatter.Networks["default"].IPv4, chatter.Ports[0].Target)
	restored := replaced(t, string(made), `server `+regexp.QuoteMeta(upstream), "server 127.0.0.1:8000", `chatter\.example\.org`, proxiedHost)
	example, err := os.ReadFile("deploy/nginx.conf")
	must(t, err)
	same(t, "configuration", restored, string(example))
	for _, found := range regexp.MustCompile(`(?m)^ *(?:root|ssl_certificate|ssl_certificate_key) (.*);$`).FindAllStringSubmatch(string(made), -1) {
		same(t, found[1]+" is mounted", nginx.mountOf(found[1]) != "", true)
	}
}

// The NAS for trying is one that Chatter can use.
func testComposedSamba(t *testing.T, service composed) {
	s := prepareSamba(t)
	example, err := os.ReadFile("deploy/samba/smb.conf")
	must(t, err)
	conf := filepath.Join(s.dir, "smb.conf")
	must(t, os.WriteFile(conf, []byte(replaced(t, string(example), `/run/samba`, filepath.Join(s.dir, "private"), `/srv/chatter`, filepath.Join(s.dir, "share"),
		`smb ports = 445`, "smb ports = "+s.port+"\ninterfaces = 127.0.0.1/8\nbind interfaces only = yes", `valid users = chatter`, "valid users = "+sambaUser, `force user = chatter`, "force user = "+s.user)), 0o644))
	script, err := os.ReadFile("deploy/samba/start")
	must(t, err)
	text := replaced(t, string(script), `/etc/samba/smb\.conf`, conf, `--user=chatter`, "--user="+sambaUser, `exec smbd .*`, "")
	// As in the container, not as root.
	as := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		as.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
		must(t, os.Chown(filepath.Join(s.dir, "private"), 65534, 65534))
	}
	run := func(env ...string) (string, error) {
		cmd := exec.Command("sh", "-c", text)
		cmd.Env = append(env, "PATH="+os.Getenv("PATH"))
		cmd.SysProcAttr = as
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := run()
	same(t, "without a password", err != nil && strings.Contains(out, "NAS_PASSWORD"), true)
	out, err = run("NAS_PASSWORD=" + service.Environment["NAS_PASSWORD"])
	same(t, out, err, error(nil))
	s.start()
	t.Cleanup(s.stop)
	var said strings.Builder
	if err := testNAS(t.Context(), nasConfig{host: "127.0.0.1:" + s.port, share: "chatter", username: sambaUser, password: composedNAS}, &said); err != nil {
		t.Errorf("%v\n%s", err, said.String())
	}
	same(t, "what is kept lasts", service.mountOf("/srv/chatter") != "", true)
}
