package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Reading ZIPs of strangers. Nothing of one is unpacked before all of it has
// been looked at: names, sizes, and where its entries lie.

// strangeZip is a ZIP whose directory was found to be harmless; what its entries
// hold is not known yet. Directories are left out.
type strangeZip struct {
	entries map[string]*zip.File // by name, without the folder around all
}

const (
	maxZipDirectory = 4 << 20 // bytes
	// A ZIP that unpacks to more than this many times its size, and more than this
	// many bytes, is a bomb.
	maxUnpackRatio, freeUnpackSize = 200, 64 << 20
)

func badZip(format string, args ...any) error {
	return fail(http.StatusBadRequest, "The ZIP can't be taken: %s", fmt.Sprintf(format, args...))
}

var errNoZip = badZip("it is no ZIP, or it is damaged")

// zipEnd finds where the directory of a ZIP lies and how many entries it says to
// have (APPNOTE.TXT 4.3.14 to 4.3.16). Directory and end have to stand next to
// each other, as every program writes them: then reading it ends where it ends.
func zipEnd(r io.ReaderAt, size int64) (count uint64, start int64, err error) {
	const endSize, locatorSize, end64Size = 22, 20, 56
	tail := make([]byte, min(size, endSize+65535))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return 0, 0, err
	}
	at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if at < 0 || len(tail)-at < endSize {
		return 0, 0, errNoZip
	}
	le := binary.LittleEndian
	end := tail[at:]
	if int(le.Uint16(end[20:])) != len(end)-endSize {
		return 0, 0, errNoZip
	}
	count = uint64(le.Uint16(end[10:]))
	length, offset := uint64(le.Uint32(end[12:])), uint64(le.Uint32(end[16:]))
	disks := uint32(le.Uint16(end[4:])) + uint32(le.Uint16(end[6:]))
	stop := uint64(size) - uint64(len(end))
	if count == 0xffff || length == 0xffffffff || offset == 0xffffffff {
		locator, end64 := make([]byte, locatorSize), make([]byte, end64Size)
		if stop < locatorSize+end64Size {
			return 0, 0, errNoZip
		}
		if _, err := r.ReadAt(locator, int64(stop-locatorSize)); err != nil {
			return 0, 0, err
		}
		place := le.Uint64(locator[8:])
		if string(locator[:4]) != "PK\x06\x07" || place > stop-locatorSize-end64Size {
			return 0, 0, errNoZip
		}
		if _, err := r.ReadAt(end64, int64(place)); err != nil {
			return 0, 0, err
		}
		if string(end64[:4]) != "PK\x06\x06" {
			return 0, 0, errNoZip
		}
		count, length, offset = le.Uint64(end64[32:]), le.Uint64(end64[40:]), le.Uint64(end64[48:])
		disks, stop = le.Uint32(end64[16:])+le.Uint32(end64[20:]), place
	}
	switch {
	case disks != 0:
		return 0, 0, badZip("it is one part of several")
	case offset > stop || stop-offset != length:
		return 0, 0, badZip("its directory is not where it says")
	case length > maxZipDirectory:
		return 0, 0, badZip("its directory is too large")
	}
	return count, int64(offset), nil
}

// readStrangeZip looks at the directory of a ZIP with at most so many entries.
// What is wrong with it is a 400.
func readStrangeZip(r io.ReaderAt, size int64, most int) (strangeZip, error) {
	count, directory, err := zipEnd(r, size)
	if err != nil {
		return strangeZip{}, err
	}
	if count > uint64(most) {
		return strangeZip{}, badZip("it has %d entries, and at most %d are taken", count, most)
	}
	archive, err := zip.NewReader(r, size)
	if err != nil {
		return strangeZip{}, errNoZip
	}
	if uint64(len(archive.File)) != count {
		return strangeZip{}, badZip("it has another number of entries than it says")
	}
	z := strangeZip{entries: map[string]*zip.File{}}
	taken := map[string]bool{}
	type span struct{ from, to int64 }
	spans := make([]span, 0, len(archive.File))
	var unpacked uint64
	for _, f := range archive.File {
		if err := checkEntry(f); err != nil {
			return strangeZip{}, err
		}
		name := strings.TrimSuffix(f.Name, "/")
		if key := strings.ToLower(strings.ToUpper(name)); taken[key] {
			return strangeZip{}, badZip("it has two entries named %q", shortName(name))
		} else {
			taken[key] = true
		}
		body, err := f.DataOffset()
		if err != nil || f.CompressedSize64 > uint64(directory) || body > directory-int64(f.CompressedSize64) {
			return strangeZip{}, badZip("the entry %q is not where it says", shortName(name))
		}
		spans = append(spans, span{body - 30 - int64(len(f.Name)), body + int64(f.CompressedSize64)})
		if f.UncompressedSize64 > 1<<40 {
			return strangeZip{}, badZip("the entry %q is too large", shortName(name))
		}
		unpacked += f.UncompressedSize64
		if !strings.HasSuffix(f.Name, "/") {
			z.entries[name] = f
		}
	}
	if unpacked > freeUnpackSize && unpacked/maxUnpackRatio > uint64(size) {
		return strangeZip{}, badZip("it unpacks to more than %d times its size", maxUnpackRatio)
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return strangeZip{}, badZip("its entries overlap")
		}
	}
	// A file that stands above another one would be a folder too.
	for name := range z.entries {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if z.entries[dir] != nil {
				return strangeZip{}, badZip("%q is a file and a folder", shortName(dir))
			}
		}
	}
	return z, nil
}

// checkEntry refuses what no bundle has: names that lead elsewhere or mean
// different things on different systems, links, devices, encryption, rare
// compressions.
func checkEntry(f *zip.File) error {
	name := strings.TrimSuffix(f.Name, "/")
	ascii := strings.IndexFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) < 0
	switch {
	case !utf8.ValidString(f.Name) || f.NonUTF8 && !ascii:
		return badZip("the name of an entry is not in UTF-8 (%q)", shortName(f.Name))
	case name == "" || len(name) > 1000 || path.Clean(name) != name || strings.HasPrefix(name, "/") || name == ".." || strings.HasPrefix(name, "../") ||
		strings.ContainsAny(name, `\:`) || strings.ContainsFunc(name, unicode.IsControl):
		return badZip("the name of the entry %q is not allowed", shortName(f.Name))
	case f.Flags&1 != 0:
		return badZip("the entry %q is encrypted", shortName(name))
	case strings.HasSuffix(f.Name, "/"):
		if f.UncompressedSize64 != 0 || !f.Mode().IsDir() {
			return badZip("the folder %q is none", shortName(name))
		}
	case !f.Mode().IsRegular():
		return badZip("the entry %q is a link or something else that is no file", shortName(name))
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return badZip("the entry %q is compressed in a way that is not known here", shortName(name))
	case f.Method == zip.Store && f.CompressedSize64 != f.UncompressedSize64:
		return badZip("the entry %q has two sizes", shortName(name))
	}
	return nil
}

// shortName is a name as it can be said in a sentence.
func shortName(name string) string { return truncate(strings.ToValidUTF8(name, "?"), 100) }

// find returns the folder that the file called name is in: the root, or the one
// folder that some programs put around everything.
func (z strangeZip) find(name string) (dir string, found bool) {
	if z.entries[name] != nil {
		return "", true
	}
	for entry := range z.entries {
		if strings.Count(entry, "/") == 1 && path.Base(entry) == name && !strings.HasPrefix(entry, "__MACOSX/") {
			if found {
				return "", false
			}
			dir, found = path.Dir(entry)+"/", true
		}
	}
	return dir, found
}

// entryReader reads an entry: one that is damaged, or larger than it says, is a
// 400.
type entryReader struct {
	io.ReadCloser
	name string
	left int64
}

// openEntry opens an entry that has at most limit bytes.
func openEntry(f *zip.File, limit int64) (*entryReader, error) {
	if f.UncompressedSize64 > uint64(limit) {
		return nil, fail(http.StatusBadRequest, "%s in the ZIP is too large: at most %s are taken", shortName(f.Name), formatSize(limit))
	}
	r, err := f.Open()
	if err != nil {
		return nil, badZip("%s is damaged", shortName(f.Name))
	}
	return &entryReader{r, f.Name, int64(f.UncompressedSize64)}, nil
}

func (e *entryReader) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	if e.left -= int64(n); e.left < 0 || err != nil && !errors.Is(err, io.EOF) {
		return 0, badZip("%s is damaged", shortName(e.name))
	}
	return n, err
}
