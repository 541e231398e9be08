package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A backup is a tar of backup.json (backupHead), the parts of the database's
// script, the stored files, manifest.json (backupManifest) and last SHA256SUMS,
// which sha256sum reads. docs/BACKUP.md describes it.

const (
	backupFormat  = "chatter backup"
	backupVersion = 1

	headEntry      = "backup.json"
	scriptFolder   = "database/"
	mediaFolder    = "media/"
	manifestEntry  = "manifest.json"
	checksumsEntry = "SHA256SUMS"

	// scriptPart is how many bytes of the script, before they are compressed, make
	// a part: a tar says a file's size before its bytes.
	scriptPart = 8 << 20
)

// backupHead says what a backup is of.
type backupHead struct {
	Format     string            `json:"format"`
	Version    int               `json:"version"`
	MadeAt     time.Time         `json:"made_at"`
	Site       string            `json:"site"`
	Chatter    string            `json:"chatter"`
	Database   string            `json:"database"`   // pg_dump or chatter: who wrote the script
	Postgres   int               `json:"postgres"`   // major version of the server
	Key        string            `json:"key"`        // tells one SECRET_KEY from another and nothing else
	Migrations map[string]string `json:"migrations"` // version and checksum
}

// backupManifest says what is in a backup.
type backupManifest struct {
	Tables  []tableSum `json:"tables"`
	Files   int        `json:"files"`
	Bytes   int64      `json:"bytes"`   // of the files
	Missing []string   `json:"missing"` // files that a row names and the storage does not have
	Damaged []string   `json:"damaged"` // files whose bytes were others when they were stored
}

// rows is how many rows all tables have.
func (m backupManifest) rows() (n int64) {
	for _, t := range m.Tables {
		n += t.Rows
	}
	return n
}

// archiveWriter writes the entries of a backup and notes their checksums.
type archiveWriter struct {
	tar  *tar.Writer
	at   time.Time
	sums bytes.Buffer
}

func (a *archiveWriter) add(name string, size int64, r io.Reader) (sum string, err error) {
	if err := a.tar.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, ModTime: a.at, Format: tar.FormatPAX}); err != nil {
		return "", err
	}
	sum, copied, err := checksumOf(io.TeeReader(r, a.tar))
	if err == nil && copied != size {
		err = fmt.Errorf("%s has %d bytes and should have %d", name, copied, size)
	}
	fmt.Fprintf(&a.sums, "%s  %s\n", sum, name)
	return sum, err
}

func (a *archiveWriter) addJSON(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		_, err = a.add(name, int64(len(text)), bytes.NewReader(text))
	}
	return err
}

// scriptWriter writes the script in compressed parts, which make one whole when
// they are put together.
type scriptWriter struct {
	a      *archiveWriter
	zip    *gzip.Writer
	packed bytes.Buffer
	size   int // of the part so far
	parts  int
	tally  tally
}

func (w *scriptWriter) Write(p []byte) (int, error) {
	if w.zip == nil {
		w.zip = gzip.NewWriter(&w.packed)
	}
	_, _ = w.tally.Write(p) // which never fails
	n, err := w.zip.Write(p)
	if w.size += n; err == nil && w.size >= scriptPart {
		err = w.Close()
	}
	return n, err
}

// Close writes what there is as a part.
func (w *scriptWriter) Close() error {
	if w.zip == nil {
		return nil
	}
	if err := w.zip.Close(); err != nil {
		return err
	}
	w.zip, w.size = nil, 0
	w.parts++
	_, err := w.a.add(fmt.Sprintf("%s%06d.sql.gz", scriptFolder, w.parts), int64(w.packed.Len()), &w.packed)
	return err
}

// archiveReader reads a backup once, from its beginning to its end. Whoever uses
// what it gives must be able to take that back: only when read returns without
// an error is everything as it was written.
type archiveReader struct {
	head   func(h backupHead) error
	script func(r io.Reader) error // nil: passed over
	file   func(folder, name string, r io.Reader) error

	tar      *tar.Reader
	entry    *tar.Header // that is being read
	hash     hash.Hash   // of what was read of it
	sums     map[string]string
	manifest backupManifest
}

var errNoBackup = errors.New("this is no backup of Chatter's, or it is damaged at its beginning")

func (a *archiveReader) read(in io.Reader) error {
	a.tar, a.sums, a.hash = tar.NewReader(bufio.NewReaderSize(in, 1<<20)), map[string]string{}, sha256.New()
	h := backupHead{}
	if a.next() != nil || a.entry.Name != headEntry || a.json(&h) != nil || h.Format != backupFormat {
		return errNoBackup
	}
	if h.Version != backupVersion {
		return fmt.Errorf("the backup has form %d, and this Chatter reads form %d; use the Chatter that made it (%s)", h.Version, backupVersion, h.Chatter)
	}
	if err := a.head(h); err != nil {
		return err
	}
	if err := a.readScript(); err != nil {
		return err
	}
	for strings.HasPrefix(a.entry.Name, mediaFolder) {
		folder, name := filepath.Split(strings.TrimPrefix(a.entry.Name, mediaFolder))
		folder = strings.TrimSuffix(folder, "/")
		if !slices.Contains(storageFolders, folder) || !isStoredName(name) || a.sums[a.entry.Name] != "" {
			return fmt.Errorf("the backup holds %q, which has no place in one", a.entry.Name)
		}
		if err := a.file(folder, name, a); err != nil {
			return err
		}
		if err := a.finish(); err != nil {
			return err
		}
	}
	if a.entry.Name != manifestEntry {
		return fmt.Errorf("the backup holds %q where its manifest should be", a.entry.Name)
	}
	if err := a.json(&a.manifest); err != nil {
		return err
	}
	return a.compare()
}

// Read reads on in the entry.
func (a *archiveReader) Read(p []byte) (int, error) {
	n, err := a.tar.Read(p)
	a.hash.Write(p[:n])
	if err != nil && err != io.EOF {
		err = damaged(err)
	}
	return n, err
}

// damage is what is wrong with an archive.
type damage struct{ error }

// damaged says what it means that the archive can't be read.
func damaged(err error) error {
	if known := (damage{}); errors.As(err, &known) {
		return known
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damage{errors.New("the backup is cut off: its end is missing")}
	}
	return damage{fmt.Errorf("the backup is damaged: %w", err)}
}

func (a *archiveReader) next() (err error) {
	if a.entry, err = a.tar.Next(); err != nil {
		return damaged(err)
	}
	a.hash.Reset()
	return nil
}

// finish reads what is left of the entry, notes its checksum and goes on.
func (a *archiveReader) finish() error {
	if _, err := io.Copy(io.Discard, a); err != nil {
		return err
	}
	a.sums[a.entry.Name] = hex.EncodeToString(a.hash.Sum(nil))
	return a.next()
}

func (a *archiveReader) json(v any) error {
	text, err := io.ReadAll(io.LimitReader(a, 64<<20))
	if err == nil {
		if err = json.Unmarshal(text, v); err != nil {
			err = damaged(err)
		}
	}
	if err != nil {
		return err
	}
	return a.finish()
}

// scriptParts are the entries of the script as one stream. A part is unpacked,
// and found to be whole by gzip's own checksum, before any of it is used.
type scriptParts struct {
	a      *archiveReader
	part   []byte // what is left of one
	failed error
}

func (r *scriptParts) Read(p []byte) (int, error) {
	for len(r.part) == 0 && r.failed == nil && strings.HasPrefix(r.a.entry.Name, scriptFolder) {
		r.failed = r.next()
	}
	if r.failed != nil {
		return 0, r.failed
	}
	if len(r.part) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.part)
	r.part = r.part[n:]
	return n, nil
}

func (r *scriptParts) next() error {
	zip, err := gzip.NewReader(r.a)
	if err == nil {
		r.part, err = io.ReadAll(io.LimitReader(zip, 64*scriptPart))
	}
	if err != nil {
		return damaged(err)
	}
	return r.a.finish()
}

func (a *archiveReader) readScript() error {
	parts := &scriptParts{a: a}
	if a.script != nil {
		err := a.script(parts)
		if parts.failed != nil {
			return parts.failed // which PostgreSQL tells in words of its own
		}
		if err != nil {
			return err
		}
	}
	_, err := io.Copy(io.Discard, parts)
	return err
}

// compare reads SHA256SUMS, the last entry, which has to name everything that
// was read with its checksum, and nothing else.
func (a *archiveReader) compare() error {
	if a.entry.Name != checksumsEntry {
		return fmt.Errorf("the backup holds %q where its checksums should be", a.entry.Name)
	}
	lines := bufio.NewScanner(a)
	for lines.Scan() {
		sum, name, _ := strings.Cut(lines.Text(), "  ")
		if a.sums[name] != sum {
			return fmt.Errorf("the backup is damaged: %s has other bytes than when it was made", name)
		}
		delete(a.sums, name)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	for name := range a.sums {
		return fmt.Errorf("the backup is damaged: it has no checksum of %s", name)
	}
	if _, err := a.tar.Next(); err != io.EOF {
		return errors.New("the backup is damaged: something follows its end")
	}
	return nil
}
