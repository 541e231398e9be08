package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hirochachacha/go-smb2"
)

// nasConfig is how to reach the share; without a host there is none.
type nasConfig struct {
	host     string // with a port
	share    string
	username string
	password string
	domain   string
}

// nas is the share of a NAS, spoken to by SMB 2 and 3 with signing required;
// traffic is encrypted where the server or the share asks for it. Few sessions
// are used by many requests at once. It is a circuit breaker too: once the NAS
// has failed, calls return errNASDown at once until probe has reached it again.
//
// The module below is unmaintained, so this is all that knows it. What it
// leaves to its users: a session whose connection broke never comes back; a
// server that hangs is waited for without end, and only closing the connection
// ends that; and a call given up through its context leaves the session in a
// doubtful state, hence calls run to their end here, whoever has stopped
// waiting for them.
type nas struct {
	cfg      nasConfig
	patience time.Duration // how long the NAS may take for one thing, such as a chunk of a file

	dialing  chan struct{} // held while a session is opened, one at a time
	mu       sync.Mutex
	sessions []*nasSession
	state    nasState
}

// nasState is what is known of the NAS.
type nasState struct {
	down      bool
	since     time.Time // when it went down, or came up
	lastError string    // in a sentence; stays after the NAS is back
	erredAt   time.Time
	free      int64 // bytes; -1 as long as nobody has asked
}

// nasSession is a connection with the share mounted.
type nasSession struct {
	conn    *signedConn
	share   *smb2.Share
	calls   int // under way
	files   int // open
	used    time.Time
	dead    bool
	stalled bool
}

const (
	nasChunk    = 256 << 10 // bytes that a read or a write moves at once
	maxSessions = 8
	sessionRest = time.Minute // what has rested longer may have died silently on the way
)

var (
	errNASDown    = errors.New("the NAS is down")
	errNASStalled = errors.New("the NAS did not answer in time")
)

func newNAS(cfg nasConfig) *nas {
	return &nas{cfg: cfg, patience: 5 * time.Second, dialing: make(chan struct{}, 1), state: nasState{since: time.Now(), free: -1}}
}

// ownFault is an error on this side of a call, for which the NAS is not to blame.
type ownFault struct{ error }

func (e ownFault) Unwrap() error { return e.error }

// Status codes of the server ([MS-ERREF] §2.3.1).
const (
	statusSessionExpired = 0xC000035C
	statusSessionDeleted = 0xC0000203
	statusShareDeleted   = 0xC00000C9
	statusFileClosed     = 0xC0000128
	statusLogonFailure   = 0xC000006D
	statusAccountLimits  = 0xC000006E
	statusExpired        = 0xC0000071
	statusDisabled       = 0xC0000072
	statusLockedOut      = 0xC0000234
	statusDiskFull       = 0xC000007F
	statusQuota          = 0xC0000044
	statusNoShare        = 0xC00000CC
	statusInUse          = 0xC0000043
	statusReadOnly       = 0xC00000A2
)

// answered reports whether err is the server's answer to a question, and not a
// connection or a session that does not work any more.
func answered(err error) bool {
	var own ownFault
	var response *smb2.ResponseError
	if errors.As(err, new(unreachable)) {
		return false
	}
	if errors.As(err, &response) {
		switch response.Code {
		case statusSessionExpired, statusSessionDeleted, statusShareDeleted, statusFileClosed:
			return false
		}
		return true
	}
	return err == nil || errors.As(err, &own) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrPermission)
}

// call does something on the share, unless the NAS is known to be down, and
// keeps account of whether it is.
func (n *nas) call(ctx context.Context, do nasCall) error {
	if n.snapshot().down {
		return errNASDown
	}
	err := n.try(ctx, do)
	n.note(ctx, err)
	return err
}

// nasCall uses the share of a session. Between two steps of something long it
// calls going.
type nasCall func(session *nasSession, going func()) error

// note keeps account of how a call ended.
func (n *nas) note(ctx context.Context, err error) {
	if ctx.Err() != nil || err == errNASDown {
		return // given up by who asked, or no news
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var own ownFault
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) && !errors.As(err, &own) {
		n.state.lastError, n.state.erredAt = nasProblem(err, n.cfg), time.Now()
	}
	if down := !answered(err); down != n.state.down {
		n.state.down, n.state.since = down, time.Now()
	}
}

func (n *nas) snapshot() nasState {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state
}

// try does something on a session at hand, or on a new one when that turns out
// to be broken: so do must bear to be done twice.
func (n *nas) try(ctx context.Context, do nasCall) error {
	session, fresh, err := n.session(ctx)
	if err == nil {
		err = n.on(ctx, session, do)
	}
	if session == nil || answered(err) || fresh || errors.Is(err, errNASStalled) || ctx.Err() != nil {
		return err
	}
	n.dropIdle() // they broke with the same server
	if session, err = n.dial(ctx); err == nil {
		err = n.on(ctx, session, do)
	}
	return err
}

// on does something on a session. When the NAS stands still the session is
// closed under it; when ctx ends, nobody waits for it any more.
func (n *nas) on(ctx context.Context, session *nasSession, do nasCall) error {
	n.mu.Lock()
	session.calls++
	n.mu.Unlock()
	stall := time.AfterFunc(n.patience, func() {
		n.mu.Lock()
		session.stalled = true
		n.mu.Unlock()
		session.conn.Close()
	})
	done := make(chan error, 1)
	go func() {
		err := guarded(func() error { return do(session, func() { stall.Reset(n.patience) }) })
		stall.Stop()
		n.mu.Lock()
		session.calls--
		session.used = time.Now()
		if session.stalled && !answered(err) {
			err = errNASStalled
		}
		if session.stalled || !answered(err) {
			n.bury(session)
		}
		n.mu.Unlock()
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bury takes a session out of use. The caller holds the lock.
func (n *nas) bury(session *nasSession) {
	session.dead = true
	session.conn.Close()
	for i, s := range n.sessions {
		if s == session {
			n.sessions = append(n.sessions[:i], n.sessions[i+1:]...)
			break
		}
	}
}

// dropIdle closes the sessions on which nothing is under way.
func (n *nas) dropIdle() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range slices.Clone(n.sessions) {
		if s.calls == 0 {
			n.bury(s)
		}
	}
}

// session returns the session with the least to do, or a new one while there
// are few and all have something to do.
func (n *nas) session(ctx context.Context) (found *nasSession, fresh bool, err error) {
	if found = n.idlest(); found != nil {
		return found, false, nil
	}
	found, err = n.dial(ctx)
	return found, true, err
}

// idlest is the session to use, or nil when there should be another one.
func (n *nas) idlest() (found *nasSession) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range slices.Clone(n.sessions) {
		if s.calls == 0 && s.files == 0 && time.Since(s.used) > sessionRest {
			n.bury(s)
		} else if found == nil || s.calls < found.calls {
			found = s
		}
	}
	if found != nil && found.calls > 0 && len(n.sessions) < maxSessions {
		return nil
	}
	return found
}

// dial opens a session. Whoever has waited for somebody else's does with that
// one, or with its failure.
func (n *nas) dial(ctx context.Context) (*nasSession, error) {
	wasDown := n.snapshot().down
	select {
	case n.dialing <- struct{}{}:
		defer func() { <-n.dialing }()
	default:
		select {
		case n.dialing <- struct{}{}:
			defer func() { <-n.dialing }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if n.snapshot().down && !wasDown {
			return nil, errNASDown
		}
		if s := n.idlest(); s != nil {
			return s, nil
		}
	}
	s, err := n.connect(ctx)
	if err != nil {
		n.note(ctx, err)
	}
	return s, err
}

// connect opens a session, in the dialect that signedConn can do with.
func (n *nas) connect(ctx context.Context) (*nasSession, error) {
	s, err := n.connectIn(ctx, 0)
	if errors.Is(err, errOtherDialect) {
		return n.connectIn(ctx, smb302)
	}
	return s, err
}

// connectIn opens a session in a dialect of SMB, or with 0 in the newest.
func (n *nas) connectIn(ctx context.Context, dialect uint16) (*nasSession, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, n.patience, errNASStalled)
	defer cancel()
	var dialer net.Dialer
	tcp, err := dialer.DialContext(ctx, "tcp", n.cfg.host)
	if err != nil {
		return nil, dialError(ctx, err)
	}
	conn := &signedConn{Conn: tcp}
	// Only a closed connection ends everything that the module has started.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	smb := smb2.Dialer{
		Negotiator: smb2.Negotiator{SpecifiedDialect: dialect},
		Initiator:  &smb2.NTLMInitiator{User: n.cfg.username, Password: n.cfg.password, Domain: n.cfg.domain},
	}
	session, err := smb.DialContext(ctx, conn)
	var share *smb2.Share
	if err == nil {
		host, _, _ := net.SplitHostPort(n.cfg.host) // it has a port
		share, err = session.WithContext(ctx).Mount(`\\` + host + `\` + n.cfg.share)
	}
	if err != nil {
		conn.Close()
		if conn.refused {
			err = errOtherDialect
		}
		return nil, dialError(ctx, err)
	}
	s := &nasSession{conn: conn, share: share, used: time.Now()}
	n.mu.Lock()
	n.sessions = append(n.sessions, s)
	n.mu.Unlock()
	return s, nil
}

// signedConn is a connection on which nothing counts that is not signed or
// encrypted, once somebody has signed in. The module signs every request and
// checks every signature that is there. Told to require them, by us or by the
// server, it would see to that too, but then it takes a server's notice that an
// answer will be late for a forgery, since those are not signed ([MS-SMB2]
// §3.2.5.1.3), and every slow disk breaks the session. So they are required here,
// and that the server requires them is kept from the module. In SMB 3.1.1 that
// can't be kept from it, because the keys depend on what was said: with such a
// server SMB 3.0.2 is spoken.
type signedConn struct {
	net.Conn
	frame   []byte // a message from the server, with its length before it
	rest    []byte // what of it was not read yet
	refused bool   // because of its dialect
}

const smb302, smb311 = 0x0302, 0x0311

var errOtherDialect = errors.New("this dialect does not do with this server")

// Read gives the next message that may be seen.
func (c *signedConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		var length [4]byte
		if _, err := io.ReadFull(c.Conn, length[:]); err != nil {
			return 0, err
		}
		size := 4 + int(binary.BigEndian.Uint32(length[:]))
		if size > 4+8<<20 {
			return 0, errors.New("the NAS sends more than was asked for")
		}
		c.frame = append(slices.Grow(c.frame[:0], size), length[:]...)[:size]
		if _, err := io.ReadFull(c.Conn, c.frame[4:]); err != nil {
			return 0, err
		}
		if err := c.inspect(c.frame[4:]); err != nil {
			return 0, err
		}
		c.rest = c.frame
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// inspect refuses a message that is not signed and ought to be ([MS-SMB2]
// §2.2.1, §2.2.4).
func (c *signedConn) inspect(message []byte) error {
	const (
		negotiate, sessionSetup = 0, 1
		pending                 = 0x103
		signed, required        = 8, 2
	)
	if len(message) < 70 || message[0] != 0xfe {
		return nil // encrypted, or what the module knows to refuse
	}
	status, command := binary.LittleEndian.Uint32(message[8:]), binary.LittleEndian.Uint16(message[12:])
	if command == negotiate && message[66]&required != 0 {
		if binary.LittleEndian.Uint16(message[68:]) == smb311 {
			c.refused = true
			return errOtherDialect
		}
		message[66] &^= required
	}
	if command == negotiate || command == sessionSetup || message[16]&signed != 0 || status == pending {
		return nil
	}
	return errors.New("the NAS sent an answer that is not signed")
}

// unreachable is a failure to get as far as the share.
type unreachable struct{ error }

func (e unreachable) Unwrap() error { return e.error }

func dialError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	// A share that does not exist or a wrong password is no answer about a file.
	return unreachable{err}
}

// close closes all sessions.
func (n *nas) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.sessions) > 0 {
		n.bury(n.sessions[0])
	}
}

// nasPath is the path of a stored file on the share. The server would take
// `..` and device names: folder is one of ours, and name was checked.
func nasPath(folder, name string) string {
	return strings.ReplaceAll(folder, "/", `\`) + `\` + name
}

// put writes a file under folder/name: to a temporary name first, which gets
// its right one when all is on the server's disk. One that is there already with
// the same bytes is as good.
func (n *nas) put(ctx context.Context, up *staged, folder, name string) error {
	path, temp := nasPath(folder, name), nasPath(folder, temporary+name)
	err := n.call(ctx, func(session *nasSession, going func()) error {
		share := session.share
		f, err := share.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		if errors.Is(err, fs.ErrNotExist) {
			if err = share.MkdirAll(strings.ReplaceAll(folder, "/", `\`), 0o755); err == nil {
				f, err = share.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
			}
		}
		if err != nil {
			return err
		}
		buffer := make([]byte, nasChunk)
		for at := int64(0); at < up.size && err == nil; {
			part := buffer[:min(nasChunk, up.size-at)]
			if _, readErr := up.ReadAt(part, at); readErr != nil {
				err = ownFault{readErr}
				break
			}
			_, err = f.WriteAt(part, at)
			at += int64(len(part))
			going()
		}
		if err == nil {
			err = f.Sync()
			going()
		}
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err == nil {
			err = share.Rename(temp, path)
		}
		if err != nil && answered(err) {
			_ = share.Remove(temp)
		}
		return err
	})
	if errors.Is(err, fs.ErrExist) {
		sum, sumErr := n.checksum(ctx, folder, name)
		if sumErr == nil && sum != up.sha256 {
			sumErr = fmt.Errorf("the NAS has another file called %s/%s", folder, name)
		}
		return sumErr
	}
	return err
}

// nasFile is a file that is open on the share.
type nasFile struct {
	n        *nas
	session  *nasSession
	file     *smb2.File
	size     int64
	modified time.Time
	buffer   []byte // of the last read
}

// open opens a file for reading.
func (n *nas) open(ctx context.Context, folder, name string) (*nasFile, error) {
	opened := make(chan *nasFile, 2) // nobody may wait for it any more
	err := n.call(ctx, func(session *nasSession, _ func()) error {
		file, err := session.share.Open(nasPath(folder, name))
		if err != nil {
			return err
		}
		info, err := file.Stat()
		if err == nil && info.IsDir() {
			err = fs.ErrNotExist
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			_ = file.Close()
			return err
		}
		n.mu.Lock()
		session.files++
		n.mu.Unlock()
		opened <- &nasFile{n: n, session: session, file: file, size: info.Size(), modified: info.ModTime()}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return <-opened, nil
}

// readAt returns size bytes from offset on; fewer are an error. They are good
// until the next read.
func (f *nasFile) readAt(ctx context.Context, size, offset int64) ([]byte, error) {
	if f.n.snapshot().down {
		return nil, errNASDown
	}
	// A read that was given up may still be filling its buffer: it keeps it.
	buffer := f.buffer
	if f.buffer = nil; int64(cap(buffer)) < size {
		buffer = make([]byte, size)
	}
	buffer = buffer[:size]
	err := f.n.on(ctx, f.session, func(*nasSession, func()) error {
		got, err := f.file.ReadAt(buffer, offset)
		if err == nil && int64(got) < size {
			err = ownFault{fmt.Errorf("the file on the NAS ends after %d bytes", offset+int64(got))}
		}
		return err
	})
	// A broken session says nothing yet: the next one may do.
	if err == nil || answered(err) || errors.Is(err, errNASStalled) {
		f.n.note(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	f.buffer = buffer
	return buffer, nil
}

// close lets go of the file, without waiting for the server.
func (f *nasFile) close() {
	f.n.mu.Lock()
	f.session.files--
	dead := f.session.dead
	f.n.mu.Unlock()
	if !dead {
		go func() {
			_ = f.n.on(context.Background(), f.session, func(*nasSession, func()) error { return f.file.Close() })
		}()
	}
}

// checksum is the SHA-256 of a file, in hexadecimal.
func (n *nas) checksum(ctx context.Context, folder, name string) (string, error) {
	f, err := n.open(ctx, folder, name)
	if err != nil {
		return "", err
	}
	defer f.close()
	sum, _, err := checksumOf(&nasReader{ctx: ctx, f: f})
	return sum, err
}

// nasReader reads a file from its beginning.
type nasReader struct {
	ctx  context.Context
	f    *nasFile
	rest []byte
	at   int64
}

func (r *nasReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		size := min(nasChunk, r.f.size-r.at)
		if size <= 0 {
			return 0, io.EOF
		}
		var err error
		if r.rest, err = r.f.readAt(r.ctx, size, r.at); err != nil {
			return 0, err
		}
		r.at += size
	}
	k := copy(p, r.rest)
	r.rest = r.rest[k:]
	return k, nil
}

// remove deletes a file and what an interrupted put has left of it. A file that
// somebody has open can't be deleted; most have it open for a moment only.
func (n *nas) remove(ctx context.Context, folder, name string) error {
	remove := func() error {
		return n.call(ctx, func(session *nasSession, _ func()) error {
			for _, one := range []string{name, temporary + name} {
				if err := session.share.Remove(nasPath(folder, one)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			}
			return nil
		})
	}
	err := remove()
	for range 5 {
		var response *smb2.ResponseError
		if !errors.As(err, &response) || response.Code != statusInUse {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
			err = remove()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

// setAside moves a file to the folder lost+found.
func (n *nas) setAside(ctx context.Context, folder, name string) error {
	return n.call(ctx, func(session *nasSession, _ func()) error {
		aside := strings.ReplaceAll("lost+found/"+folder, "/", `\`)
		if err := session.share.MkdirAll(aside, 0o755); err != nil {
			return err
		}
		return session.share.Rename(nasPath(folder, name), aside+`\`+name)
	})
}

// list is the files of a folder; one that does not exist yet has none.
func (n *nas) list(ctx context.Context, folder string) (list []storedEntry, err error) {
	err = n.call(ctx, func(session *nasSession, going func()) error {
		list = nil
		dir, err := session.share.Open(strings.ReplaceAll(folder, "/", `\`))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer dir.Close()
		for {
			infos, err := dir.Readdir(1000)
			if err != nil || len(infos) == 0 {
				if err == io.EOF {
					err = nil
				}
				return err
			}
			for _, info := range infos {
				if !info.IsDir() {
					list = append(list, storedEntry{folder, info.Name(), info.Size()})
				}
			}
			going()
		}
	})
	return list, err
}

// probe finds out whether the NAS answers, up or down, and how much room it has.
func (n *nas) probe(ctx context.Context) error {
	var free int64
	err := n.try(ctx, func(session *nasSession, _ func()) error {
		room, err := session.share.Statfs("")
		if err == nil {
			free = int64(room.AvailableBlockCount() * room.FragmentSize() * room.BlockSize())
		}
		return err
	})
	n.note(ctx, err)
	if err == nil {
		n.mu.Lock()
		n.state.free = free
		n.mu.Unlock()
	}
	return err
}

// nasProblem says in a sentence what is wrong and what to do about it.
func nasProblem(err error, cfg nasConfig) string {
	host, port, _ := net.SplitHostPort(cfg.host)
	var unknown *net.DNSError
	var response *smb2.ResponseError
	code := uint32(0)
	if errors.As(err, &response) {
		code = response.Code
	}
	switch {
	case errors.As(err, &unknown):
		return fmt.Sprintf("The name %s is not known; check NAS_HOST, or give the address in numbers.", host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("%s refuses connections on port %s; is the SMB service running there?", host, port)
	case errors.Is(err, errNASStalled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return fmt.Sprintf("%s does not answer; it may be switched off, or a firewall is in between.", host)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("There is no way to %s through the network.", host)
	case code == statusLogonFailure:
		return fmt.Sprintf("The NAS does not accept the user %s with this password; check NAS_USERNAME, NAS_PASSWORD and NAS_DOMAIN.", cfg.username)
	case code == statusDisabled, code == statusLockedOut, code == statusExpired, code == statusAccountLimits:
		return fmt.Sprintf("The account %s may not sign in at the NAS: it is locked, disabled, or its password has expired.", cfg.username)
	case code == statusNoShare:
		return fmt.Sprintf("The NAS has no share called %s; check NAS_SHARE_NAME.", cfg.share)
	case code == statusDiskFull, code == statusQuota:
		return "The disk of the NAS is full."
	case code == statusReadOnly, errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("The user %s may not do this on the share %s; give it the right to read and write.", cfg.username, cfg.share)
	case code == statusInUse:
		return "Another program has the file open on the NAS."
	case errors.As(err, new(unreachable)):
		return fmt.Sprintf("%s answers on port %s, but not as an SMB server that requires signing does: %v.", host, port, err)
	}
	return fmt.Sprintf("The NAS broke off: %v.", err)
}
