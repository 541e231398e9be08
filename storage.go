package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
	"unicode/utf8"
)

// The folders of the storage.
const (
	fileFolder    = "projects/files"
	imageFolder   = "projects/images"
	pictureFolder = "profile_pictures"
)

var storageFolders = []string{fileFolder, imageFolder, pictureFolder}

// storage keeps uploaded files under names of our own making, on the NAS when
// there is one and in a directory otherwise. While the NAS is away the
// directory takes its place: what lies there waits to be moved, so that the
// directory itself is the journal of what the NAS lacks. Stored bytes never
// change.
type storage struct {
	dir     string
	nas     *nas   // nil: the directory is all there is
	journal string // the directory's name in the ledger, where there is a NAS
	log     *slog.Logger

	waiting chan struct{} // tells the worker that a file had to go to the directory
	pause   time.Duration // between two looks at a NAS that is well
}

// temporary starts the names of files that are being written.
const temporary = ".upload-"

// openStorage makes the folders and checks that they can be written. Whether
// the NAS answers is found out later: a server has to start without it.
func openStorage(cfg config, log *slog.Logger) (*storage, error) {
	for _, folder := range storageFolders {
		if err := os.MkdirAll(filepath.Join(cfg.uploadDir, folder), 0o755); err != nil {
			return nil, fmt.Errorf("UPLOAD_DIR can't be written: %w", err)
		}
		// What a killed server was in the middle of; another server's uploads are
		// younger than this.
		left, _ := filepath.Glob(filepath.Join(cfg.uploadDir, folder, temporary+"*")) // the pattern is well formed
		for _, path := range left {
			if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
				_ = os.Remove(path)
			}
		}
	}
	st := &storage{dir: cfg.uploadDir, log: log, waiting: make(chan struct{}, 1), pause: 30 * time.Second}
	if cfg.nas.host != "" {
		st.nas = newNAS(cfg.nas)
		var err error
		if st.journal, err = journalName(cfg.uploadDir); err != nil {
			return nil, fmt.Errorf("UPLOAD_DIR can't be written: %w", err)
		}
	}
	return st, nil
}

// journalFile holds the name of a directory, which it keeps wherever it is
// mounted: instances that share it know by it that they do.
const journalFile = ".journal"

func journalName(dir string) (string, error) {
	path := filepath.Join(dir, journalFile)
	for {
		name, err := os.ReadFile(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return string(name), err
		}
		half, err := os.CreateTemp(dir, journalFile+"-*")
		if err != nil {
			return "", err
		}
		_, err = half.WriteString(rand.Text())
		if err = errors.Join(err, half.Chmod(0o644), half.Sync(), half.Close()); err == nil {
			err = os.Link(half.Name(), path) // of several that start at once one names it
		}
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
		if err = errors.Join(err, os.Remove(half.Name()), syncDir(dir)); err != nil {
			return "", err
		}
	}
}

var (
	errTooLarge = errors.New("larger than the limit")
	// errStorageAway is the answer while the NAS is away and the directory does not
	// have the file.
	errStorageAway = &httpError{status: 503, detail: "The file storage does not answer at the moment, please try again in a minute", retryAfter: 30}
	// errOnItsWay is the answer while a file waits in another instance's directory.
	errOnItsWay = &httpError{status: 503, detail: "The file is still on its way to the file storage, please try again in a minute", retryAfter: 30}
)

// errNoRoom is the answer while the disk of UPLOAD_DIR is full.
var errNoRoom = &httpError{status: 503, detail: "There is no room for uploads at the moment, please try again later", retryAfter: 60}

// orNoRoom turns the error of a full disk into errNoRoom, which it logs.
func (st *storage) orNoRoom(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		st.log.Error("UPLOAD_DIR is full", "error", err)
		return errNoRoom
	}
	return err
}

// isAway reports whether a stored file is there, but not now.
func isAway(err error) bool { return errors.Is(err, errStorageAway) || errors.Is(err, errOnItsWay) }

// isStoredName reports whether name can stand for a file on every system: what
// is not of this form was never stored by us or the older service.
func isStoredName(name string) bool {
	return utf8.RuneCountInString(name) <= 201 && storedName.MatchString(name) && name == fileName(name)
}

// Its length is looked at beside it: counted repetitions of such classes take
// megabytes.
var storedName = regexp.MustCompile(`^[\pL\pN_][\pL\pN_ .()+-]*$`)

// staged is a file that was taken in and has no place yet.
type staged struct {
	*os.File
	size   int64
	sha256 string // in hexadecimal
}

// stage takes in what r gives; more than limit bytes is errTooLarge. When it
// returns the bytes are on the disk. The caller drops it in the end.
func (st *storage) stage(folder string, r io.Reader, limit int64) (*staged, error) {
	f, err := os.CreateTemp(filepath.Join(st.dir, folder), temporary+"*")
	if err != nil {
		return nil, st.orNoRoom(err)
	}
	up, hash := &staged{File: f}, sha256.New()
	up.size, err = io.Copy(io.MultiWriter(f, hash), io.LimitReader(r, limit+1))
	if err == nil && up.size > limit {
		err = errTooLarge
	}
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync())
	}
	if err != nil {
		up.drop()
		return nil, st.orNoRoom(err)
	}
	up.sha256 = hex.EncodeToString(hash.Sum(nil))
	return up, nil
}

// drop removes what stage has made; nothing, when it has its place by now.
func (up *staged) drop() {
	_ = up.Close()
	_ = os.Remove(up.Name())
}

// place makes a staged file durable under folder/name: on the NAS, or in the
// directory when the NAS fails, where it waits for it. After an error it may be
// in either place, and has to be removed.
func (st *storage) place(ctx context.Context, up *staged, folder, name string) (waits bool, err error) {
	if !isStoredName(name) {
		return false, fmt.Errorf("%q is no name for a stored file", name)
	}
	if st.nas != nil {
		err := st.nas.put(ctx, up, folder, name)
		if err == nil {
			return false, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if err != errNASDown {
			st.log.Warn("the NAS did not take a file, which waits in UPLOAD_DIR", "folder", folder, "name", name, "error", err)
		}
	}
	dir := filepath.Join(st.dir, folder)
	if err := os.Rename(up.Name(), filepath.Join(dir, name)); err != nil {
		return false, st.orNoRoom(err)
	}
	if err := syncDir(dir); err != nil {
		return false, err
	}
	st.wake()
	return st.nas != nil, nil
}

// wake has the worker look for waiting files soon.
func (st *storage) wake() {
	select {
	case st.waiting <- struct{}{}:
	default:
	}
}

// syncDir makes a rename durable (fsync(2): the directory needs one of its own).
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// storedFile is an open file of the storage. A read that fails is tried again
// from the other place, at the same byte; failed is why none of them could go
// on.
type storedFile struct {
	st           *storage
	ctx          context.Context
	folder, name string
	size         int64
	modified     time.Time

	local  *os.File // one of the two is open
	remote *nasFile
	buffer []byte // read ahead from the NAS
	from   int64  // where the buffer starts
	offset int64
	failed error
}

// open returns a stored file. errors.Is(err, fs.ErrNotExist) when there is
// none; errStorageAway when the NAS could have it but does not answer.
func (st *storage) open(ctx context.Context, folder, name string) (*storedFile, error) {
	if !isStoredName(name) {
		return nil, fs.ErrNotExist
	}
	f := &storedFile{st: st, ctx: ctx, folder: folder, name: name, size: -1}
	if err := f.find(); err != nil {
		return nil, err
	}
	return f, nil
}

// find opens the file on the NAS, or else in the directory. Between the two
// looks it can have moved from the directory to the NAS, hence the third.
func (f *storedFile) find() error {
	err := f.openRemote()
	if err == nil || f.ctx.Err() != nil {
		return err
	}
	localErr := f.openLocal()
	if localErr == nil || !errors.Is(localErr, fs.ErrNotExist) || f.st.nas == nil {
		return localErr
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = f.openRemote()
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != errNASDown {
		f.st.log.Warn("the NAS did not give a file", "folder", f.folder, "name", f.name, "error", err)
	}
	return errStorageAway
}

func (f *storedFile) openRemote() error {
	if f.st.nas == nil {
		return fs.ErrNotExist
	}
	remote, err := f.st.nas.open(f.ctx, f.folder, f.name)
	if err != nil {
		return err
	}
	if err := f.fits(remote.size, remote.modified); err != nil {
		remote.close()
		return err
	}
	f.remote = remote
	return nil
}

func (f *storedFile) openLocal() error {
	local, err := os.Open(filepath.Join(f.st.dir, f.folder, f.name))
	if err != nil {
		return err
	}
	info, err := local.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = f.fits(info.Size(), info.ModTime())
	}
	if err != nil {
		local.Close()
		return err
	}
	f.local = local
	return nil
}

// fits notes the file's size; one that is taken up again must have the same.
func (f *storedFile) fits(size int64, modified time.Time) error {
	if f.size >= 0 && size != f.size {
		return fmt.Errorf("the file has %d bytes in one place and %d in the other", f.size, size)
	}
	if f.size < 0 {
		f.size, f.modified = size, modified
	}
	return nil
}

func (f *storedFile) Read(p []byte) (int, error) {
	if f.offset >= f.size {
		return 0, io.EOF
	}
	n, err := f.readOnce(p)
	// Twice: a server that was restarted breaks every open file, and the file can
	// have moved meanwhile.
	for range 2 {
		if err == nil || f.ctx.Err() != nil {
			break
		}
		f.st.log.Warn("a stored file broke off and is taken up again", "folder", f.folder, "name", f.name, "offset", f.offset, "error", err)
		f.Close()
		if findErr := f.find(); findErr != nil {
			err = errors.Join(err, findErr)
			break
		}
		n, err = f.readOnce(p)
	}
	f.offset += int64(n)
	if err != nil {
		f.failed = err
	}
	return n, err
}

// readOnce reads from the place that is open; the end of the file where its
// size says that there is more is an error.
func (f *storedFile) readOnce(p []byte) (n int, err error) {
	if f.local != nil {
		n, err = f.local.ReadAt(p[:min(int64(len(p)), f.size-f.offset)], f.offset)
		if err == io.EOF && n == 0 {
			err = io.ErrUnexpectedEOF
		} else if err == io.EOF {
			err = nil
		}
		return n, err
	}
	if at := f.offset - f.from; at < 0 || at >= int64(len(f.buffer)) {
		if f.remote == nil {
			return 0, fs.ErrClosed
		}
		want := min(nasChunk, f.size-f.offset)
		// Whoever reads the beginning to see what it is does not want a whole chunk.
		if f.offset == 0 && len(p) <= 512 {
			want = min(want, 4096)
		}
		if f.buffer, err = f.remote.readAt(f.ctx, want, f.offset); err != nil {
			return 0, err
		}
		f.from = f.offset
	}
	return copy(p, f.buffer[f.offset-f.from:]), nil
}

// Seek is that of io.Seeker; it never fails for what http.ServeContent does.
func (f *storedFile) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	f.offset = offset
	return offset, nil
}

func (f *storedFile) Close() error {
	if f.local != nil {
		f.local.Close()
	}
	if f.remote != nil {
		f.remote.close()
	}
	f.local, f.remote, f.buffer = nil, nil, nil
	return nil
}

// remove deletes a stored file in both places; one that is gone already is no
// error. While the NAS is away it is errNASDown or what the NAS said: the
// caller tries again later. The directory comes first, see move.
func (st *storage) remove(ctx context.Context, folder, name string) error {
	if !isStoredName(name) {
		return nil
	}
	if err := os.Remove(filepath.Join(st.dir, folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if st.nas == nil {
		return nil
	}
	return st.nas.remove(ctx, folder, name)
}

// waitingFiles lists what is in the directory, by folder.
func (st *storage) waitingFiles() (list []storedEntry, err error) {
	for _, folder := range storageFolders {
		entries, err := os.ReadDir(filepath.Join(st.dir, folder))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err == nil && info.Mode().IsRegular() && isStoredName(e.Name()) {
				list = append(list, storedEntry{folder, e.Name(), info.Size()})
			}
		}
	}
	return list, nil
}

// storedEntry is a file as a folder lists it.
type storedEntry struct {
	folder, name string
	size         int64
}

// move takes a file from the directory to the NAS. The local copy goes only
// after the one on the NAS has been read again and has the same SHA-256.
func (st *storage) move(ctx context.Context, e storedEntry) error {
	local := filepath.Join(st.dir, e.folder, e.name)
	f, err := os.Open(local)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was removed meanwhile
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sum, size, err := checksumOf(f)
	if err != nil {
		return err
	}
	there, err := st.nas.checksum(ctx, e.folder, e.name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := st.nas.put(ctx, &staged{File: f, size: size, sha256: sum}, e.folder, e.name); err != nil {
			return err
		}
		there, err = st.nas.checksum(ctx, e.folder, e.name)
	}
	if err != nil {
		return err
	}
	if there != sum {
		return fmt.Errorf("%s/%s has other bytes on the NAS than in UPLOAD_DIR; both are kept, see: chatter media verify", e.folder, e.name)
	}
	if err := os.Remove(local); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, syncDir(filepath.Dir(local)))
	}
	// Somebody deleted the file since it was opened, in the directory first and then
	// on the NAS, where it may not have been yet.
	return st.nas.remove(ctx, e.folder, e.name)
}

func checksumOf(r io.Reader) (sum string, size int64, err error) {
	hash := sha256.New()
	size, err = io.Copy(hash, r)
	return hex.EncodeToString(hash.Sum(nil)), size, err
}

// freeSpace is what is left in the directory, in bytes.
func (st *storage) freeSpace() (int64, error) { return freeSpaceOf(st.dir) }

// freeSpaceOf is how many bytes a folder has left.
func freeSpaceOf(dir string) (int64, error) {
	var room syscall.Statfs_t
	if err := syscall.Statfs(dir, &room); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(room.Bavail) * int64(room.Bsize), nil
}

// newName is a stored name that nobody else has: a random UUID (RFC 9562 §5.4)
// and the extension.
func newName(extension string) string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x%s", b[:4], b[4:6], b[6:8], b[8:10], b[10:], extension)
}
