package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// releaseVersion and releaseRevision are set by make release and the Dockerfile
// (-ldflags -X); in the container's build there is no repository to read.
var releaseVersion, releaseRevision string

// build says what the program was built from.
type build struct {
	Version  string `json:"version"`  // a tag, or made of the last one and the revision
	Revision string `json:"revision"` // of the commit; empty where that is unknown
	Modified bool   `json:"modified"` // since that commit
	Date     string `json:"date"`     // of the commit, RFC 3339: a build has no time, so that two are the same
	Go       string `json:"go"`
}

// thisBuild reads what the linker and the go command noted in the binary.
func thisBuild() build {
	b := build{Version: cmp.Or(releaseVersion, "unknown"), Revision: releaseRevision, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = cmp.Or(releaseVersion, info.Main.Version, b.Version)
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Revision = setting.Value
		case "vcs.time":
			b.Date = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

// print writes it for people.
func (b build) print(w io.Writer) {
	changed := ""
	if b.Modified {
		changed = ", with changes since"
	}
	fmt.Fprintf(w, "chatter %s\nrevision %s%s\ncommitted %s\nbuilt with %s for %s/%s\n",
		b.Version, cmp.Or(b.Revision, "unknown"), changed, cmp.Or(b.Date, "unknown"), b.Go, runtime.GOOS, runtime.GOARCH)
}
