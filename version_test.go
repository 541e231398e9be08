package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func TestBuildIsPrinted(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	build{Version: "v1.2.3", Revision: "abc", Modified: true, Date: "2026-03-01T12:00:00Z", Go: "go1.26"}.print(&out)
	for _, line := range []string{"chatter v1.2.3", "revision abc, with changes since", "committed 2026-03-01T12:00:00Z", "built with go1.26 for linux/"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("%s is not in %s", line, out.String())
		}
	}
	out.Reset()
	build{}.print(&out)
	same(t, "unknown", strings.Contains(out.String(), "revision unknown\ncommitted unknown"), true)
}

// What Chatter is made of changes on purpose only: these modules, in the
// versions of go.mod, with the contents of go.sum.
func TestModules(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	mod, sum := read("go.mod"), read("go.sum")
	same(t, "replaced", strings.Contains(mod, "replace"), false)
	var direct []string
	for _, found := range regexp.MustCompile(`(?m)^\t(\S+) (v\S+)( // indirect)?$`).FindAllStringSubmatch(mod, -1) {
		module, version := found[1], found[2]
		if found[3] == "" {
			direct = append(direct, module)
		}
		if !strings.Contains("\n"+sum, "\n"+module+" "+version+" h1:") || !strings.Contains("\n"+sum, "\n"+module+" "+version+"/go.mod h1:") {
			t.Errorf("go.sum lacks %s %s", module, version)
		}
	}
	same(t, "modules", strings.Join(direct, " "), "github.com/hirochachacha/go-smb2 github.com/jackc/pgx/v5 golang.org/x/crypto golang.org/x/image")
	same(t, "go-smb2", strings.Contains(mod, "\tgithub.com/hirochachacha/go-smb2 v1.1.0\n"), true)
	if said, err := exec.CommandContext(t.Context(), "go", "mod", "verify").CombinedOutput(); err != nil {
		t.Errorf("go mod verify: %v\n%s", err, said)
	}
}
