package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// What systemd and the program say to each other, after sd_listen_fds(3) and
// sd_notify(3). It is about this very process, and so it is read from its
// environment and nowhere else.

// firstPassed is the first file that is handed over (SD_LISTEN_FDS_START).
const firstPassed = 3

// passedListener returns the socket that whoever started the program listens
// on for it, or nil when there is none. Such a socket outlives the program:
// while a new one starts, connections wait in its queue.
func passedListener() (net.Listener, error) {
	count := os.Getenv("LISTEN_FDS")
	if count == "" || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	if count != "1" {
		return nil, fmt.Errorf("LISTEN_FDS is %s; one socket can be handed over, so leave one ListenStream in the socket's unit", count)
	}
	syscall.CloseOnExec(firstPassed)
	f := os.NewFile(firstPassed, "LISTEN_FDS")
	defer f.Close() // the listener has a copy
	listener, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the socket that is handed over by LISTEN_FDS can't be listened on: %w", err)
	}
	if _, tcp := listener.(*net.TCPListener); !tcp {
		listener.Close()
		return nil, errors.New("the socket that is handed over by LISTEN_FDS is none of TCP; write ListenStream=127.0.0.1:8000 or the like")
	}
	return listener, nil
}

// tellSystemd says READY=1 or STOPPING=1 to a service manager that asked for it.
func tellSystemd(state string, log *slog.Logger) {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	if rest, abstract := strings.CutPrefix(address, "@"); abstract {
		address = "\x00" + rest
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		conn.Close()
	}
	if err != nil {
		log.Warn("systemd could not be told", "state", state, "error", err)
	}
}
