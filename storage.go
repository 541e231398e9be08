package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The folders of the storage.
const (
	fileFolder    = "projects/files"
	imageFolder   = "projects/images"
	pictureFolder = "profile_pictures"
)

// storage keeps uploaded files in a directory, under names of our own making.
type storage struct{ dir string }

// openStorage makes the folders and checks that they can be written.
func openStorage(dir string) (*storage, error) {
	for _, folder := range []string{fileFolder, imageFolder, pictureFolder} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return nil, fmt.Errorf("UPLOAD_DIR can't be written: %w", err)
		}
		// What a killed server was in the middle of; another server's uploads are
		// younger than this.
		left, _ := filepath.Glob(filepath.Join(dir, folder, ".upload-*")) // the pattern is well formed
		for _, path := range left {
			if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
				_ = os.Remove(path)
			}
		}
	}
	return &storage{dir}, nil
}

var errTooLarge = errors.New("larger than the limit")

// save stores what r gives under folder/name and returns its size in bytes.
// The name appears only when all bytes are on the disk; after an error there is
// nothing. More than limit bytes is errTooLarge.
func (st *storage) save(folder, name string, r io.Reader, limit int64) (size int64, err error) {
	dir := filepath.Join(st.dir, folder)
	temp, err := os.CreateTemp(dir, ".upload-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(temp.Name()) // it is gone after the rename
	defer temp.Close()
	size, err = io.Copy(temp, io.LimitReader(r, limit+1))
	if err == nil && size > limit {
		err = errTooLarge
	}
	if err == nil {
		err = errors.Join(temp.Chmod(0o644), temp.Sync(), temp.Close())
	}
	if err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, name))
	}
	if err == nil {
		if err = syncDir(dir); err != nil {
			_ = os.Remove(filepath.Join(dir, name))
		}
	}
	return size, err
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

// open returns a stored file; errors.Is(err, fs.ErrNotExist) when there is none.
func (st *storage) open(folder, name string) (*os.File, fs.FileInfo, error) {
	if !filepath.IsLocal(name) || filepath.Base(name) != name {
		return nil, nil, fs.ErrNotExist
	}
	f, err := os.Open(filepath.Join(st.dir, folder, name))
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// remove deletes stored files; one that is gone already is no error.
func (st *storage) remove(folder string, names ...string) error {
	var failed []error
	for _, name := range names {
		if name == "" {
			continue
		}
		if err := os.Remove(filepath.Join(st.dir, folder, filepath.Base(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// removeStored deletes files whose rows are gone. The rows count: a file that
// can't be deleted is logged and only takes up room.
func (s *server) removeStored(folder string, names ...string) {
	if err := s.storage.remove(folder, names...); err != nil {
		s.log.Error("removing stored files", "error", err)
	}
}

// newName is a stored name that nobody else has: a random UUID (RFC 9562 §5.4)
// and the extension.
func newName(extension string) string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x%s", b[:4], b[4:6], b[6:8], b[8:10], b[10:], extension)
}
