package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// settle gives back to the system what only the start has needed, once that is
// over: its heap, and the pages of the program's file that it went through, from
// which they come back when they are asked for. That is more than half of what an
// idle server would hold.
func settle(ctx context.Context) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return
	}
	debug.FreeOSMemory()
	program, err := os.Executable()
	if err != nil {
		return
	}
	mappings, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range unchanged(string(mappings), program) {
		// What fails leaves the memory as it is.
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, syscall.MADV_DONTNEED)
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// unchanged is where smaps (proc(5)) says that a file lies in memory as it is on
// the disk, and can't be written.
func unchanged(smaps, file string) (list []mapping) {
	var at mapping
	of := false
	for line := range strings.Lines(smaps) {
		fields := strings.Fields(line)
		var m mapping
		var flags string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &m.from, &m.to, &flags); err == nil {
			at, of = m, len(fields) == 6 && fields[5] == file && strings.HasPrefix(flags, "r-")
		} else if of && strings.HasPrefix(line, "Anonymous:") && fields[1] == "0" {
			list = append(list, at)
		}
	}
	return list
}
