package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// downloadProject answers a project as a ZIP: README.md, what bundle.go adds to
// it, then files/ and images/ under their original names. It is streamed:
// whatever its size, only a buffer of it is in memory.
func (s *server) downloadProject(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	ctx, cancel := s.promptly(r)
	defer cancel()
	h := w.Header()
	// Weak: two ZIPs of one revision say the same, but for the day of the download.
	tag := fmt.Sprintf(`W/"r%d-zip%d"`, p.Revision, bundleVersion)
	if known(r, tag, p.UpdatedAt) {
		h.Set("ETag", tag)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	d, err := s.loadDetail(ctx, p)
	if err != nil {
		return err
	}
	entries, err := s.archiveEntries(r.Context(), d, false)
	if err != nil {
		return err
	}
	texts, err := s.bundleTexts(d, entries)
	if err != nil {
		return err
	}
	if !anyMissing(entries) { // which a later ZIP of the same revision may have again
		h.Set("ETag", tag)
		h.Set("Last-Modified", d.UpdatedAt.UTC().Format(http.TimeFormat))
	}
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", zipAttachment(d.Title))
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := s.db.Exec(ctx, `update project set download_count = download_count + 1 where id = $1`, p.ID); err != nil {
		return err
	}
	archive := s.newZIP(unhurried(w, r))
	if err = s.writeProject(r.Context(), archive, "", d, texts, entries); err == nil {
		err = archive.Close()
	}
	if err != nil {
		// The status is sent: only a broken connection tells that the ZIP is not whole.
		infoOf(r).err = err
		panic(http.ErrAbortHandler)
	}
	return nil
}

// known reports whether a client has the answer already, by its tag or else by
// the time of its last change (RFC 9110 §13.1.2, §13.1.3).
func known(r *http.Request, tag string, modified time.Time) bool {
	if given := r.Header.Values("If-None-Match"); len(given) > 0 {
		for one := range strings.SplitSeq(strings.Join(given, ","), ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	return err == nil && !modified.Truncate(time.Second).After(since)
}

// zipStream is a ZIP that is made on its way to the client, in chunks: it holds
// one, and as much compressed, and what compresses only while it works on one. However many
// downloads wait for slow clients, as many compressors as processors are in use.
type zipStream struct {
	*zip.Writer
	deflaters  *sync.Pool // of *flate.Writer, which have a megabyte each
	chunk      []byte     // on its way from the storage
	compressed bytes.Buffer
}

// zipChunk is large enough that handing a chunk on costs little beside it, and
// small enough that many downloads at once take little memory.
const zipChunk = 96 << 10

// zipSlack is by how much a chunk can grow when it does not become smaller: the
// heads of blocks (RFC 1951 §3.2.4).
const zipSlack = 256

func (s *server) newZIP(w io.Writer) *zipStream {
	z := &zipStream{Writer: zip.NewWriter(w), deflaters: &s.deflaters, chunk: make([]byte, zipChunk)}
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return chunkDeflater{z, w}, nil })
	return z
}

// deflate compresses a chunk so that others can follow it in the same stream.
func (z *zipStream) deflate(chunk []byte) error {
	z.compressed.Reset()
	z.compressed.Grow(len(chunk) + zipSlack)
	deflater, _ := z.deflaters.Get().(*flate.Writer)
	if deflater == nil {
		var err error
		if deflater, err = flate.NewWriter(&z.compressed, flate.BestSpeed); err != nil {
			return err
		}
	}
	defer z.deflaters.Put(deflater)
	deflater.Reset(&z.compressed)
	_, err := deflater.Write(chunk)
	return cmp.Or(err, deflater.Flush())
}

// chunkDeflater writes a stream of DEFLATE (RFC 1951) whose chunks don't refer to
// each other.
type chunkDeflater struct {
	z *zipStream
	w io.Writer
}

func (d chunkDeflater) Write(p []byte) (int, error) {
	for chunk := range slices.Chunk(p, zipChunk) {
		if err := d.z.deflate(chunk); err != nil {
			return 0, err
		}
		if _, err := d.w.Write(d.z.compressed.Bytes()); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Close writes the last block, an empty one of fixed codes (§3.2.6).
func (d chunkDeflater) Close() error {
	_, err := d.w.Write([]byte{3, 0})
	return err
}

// zipProbe is how much of a file tells whether it would become smaller.
const zipProbe = 32 << 10

// add copies a file into an entry, compressed unless it is already: by its name,
// or because its beginning, when there is more, would not become a tenth smaller.
func (z *zipStream) add(f io.Reader, as string, modified time.Time) error {
	n, err := io.ReadFull(f, z.chunk)
	whole := err == io.EOF || err == io.ErrUnexpectedEOF
	if err != nil && !whole {
		return err
	}
	header := &zip.FileHeader{Name: as, Method: zip.Deflate, Modified: modified}
	if packed[strings.ToLower(path.Ext(as))] {
		header.Method = zip.Store
	} else if !whole {
		if err := z.deflate(z.chunk[:zipProbe]); err != nil {
			return err
		}
		if z.compressed.Len() > zipProbe/10*9 {
			header.Method = zip.Store
		}
	}
	entry, err := z.CreateHeader(header)
	if err == nil {
		_, err = entry.Write(z.chunk[:n])
	}
	if err == nil && !whole {
		_, err = io.CopyBuffer(entry, f, z.chunk)
	}
	return err
}

// zipName is the file name of a project's ZIP: letters and digits of ASCII stay.
func zipName(title string) string {
	safe := strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_.", r)) {
			return r
		}
		return '_'
	}, truncate(title, 100))
	return strings.TrimLeft(safe, ".") + "_project.zip"
}

// zipAttachment saves a ZIP under the title of its project (RFC 6266): in ASCII,
// and for who understands it as it is written.
func zipAttachment(title string) string {
	value := "attachment; filename=" + zipName(title)
	full := strings.TrimLeft(fileName(strings.NewReplacer("/", "_", `\`, "_").Replace(truncate(title, 100))), ".") + "_project.zip"
	if full != zipName(title) {
		value += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(full), "+", "%20")
	}
	return value
}

// archiveEntry is a stored file on its way into a ZIP.
type archiveEntry struct {
	path         string // in the ZIP
	original     string // name under which it was uploaded
	folder, name string // in the storage
	modified     time.Time
	missing      bool // the storage does not have it
}

// archiveEntries gives every file and image of a project a path of its own,
// keyed by its stored name. Pictures are as others see them, or with originals
// as they were uploaded.
func (s *server) archiveEntries(ctx context.Context, d projectDetail, originals bool) (map[string]archiveEntry, error) {
	away := false
	entries, dirs := map[string]archiveEntry{}, map[string]string{}
	var keys, names []string
	add := func(key, dir, folder, name, original string, modified time.Time) {
		e := archiveEntry{original: original, folder: folder, name: name, modified: modified}
		f, err := s.openStored(ctx, folder, name)
		if err != nil {
			s.log.Error("a stored file is missing", "folder", folder, "name", name, "error", err)
			e.missing = true
			away = away || isAway(err)
		} else {
			f.Close()
		}
		entries[key], dirs[key] = e, dir
		keys, names = append(keys, key), append(names, original)
	}
	for _, f := range d.Files {
		add(f.Filename, "files", fileFolder, f.Filename, f.OriginalFilename, f.UploadedAt)
	}
	for _, i := range d.Images {
		if originals {
			add(i.Filename, "images", imageFolder, i.Filename, i.OriginalFilename, i.UploadedAt)
			continue
		}
		shown, err := s.prepared(ctx, i)
		if err != nil {
			s.log.Error("a picture can't be shown", "name", i.Filename, "error", err)
		}
		name := shown.whole()
		if name == "" && err == nil {
			name = i.Filename // a drawing
		}
		original := i.OriginalFilename
		if extension := path.Ext(name); imageTypes[extension] != imageTypes[strings.ToLower(path.Ext(original))] {
			original = strings.TrimSuffix(original, path.Ext(original)) + extension
		}
		away = away || isAway(err)
		add(i.Filename, "images", imageFolder, name, original, i.UploadedAt)
	}
	if away { // all of it is there, but not now
		return nil, errStorageAway
	}
	names, err := s.composed(ctx, names)
	if err != nil {
		return nil, err
	}
	taken := map[string]bool{}
	for i, key := range keys {
		e := entries[key]
		e.path = freePath(taken, dirs[key], names[i])
		entries[key] = e
	}
	return entries, nil
}

// composed makes characters of letters and accents that belong together (Unicode
// NFC): macOS takes both for one name, and other systems for two. The database
// knows how.
func (s *server) composed(ctx context.Context, names []string) ([]string, error) {
	ascii := true
	for _, name := range names {
		ascii = ascii && strings.IndexFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) < 0
	}
	if ascii {
		return names, nil
	}
	rows, err := s.db.Query(ctx, `select normalize(name, NFC) from unnest($1::text[]) with ordinality as t (name, place) order by place`, names)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func anyMissing(entries map[string]archiveEntry) bool {
	for _, e := range entries {
		if e.missing {
			return true
		}
	}
	return false
}

// maxNameBytes keeps a name below the 255 bytes that file systems take.
const maxNameBytes = 200

// freePath is dir/original, with a number before the extension when that is
// taken; case does not count, since on Windows and macOS it does not either.
func freePath(taken map[string]bool, dir, original string) string {
	extension := path.Ext(fileName(original))
	base := strings.TrimSuffix(fileName(original), extension)
	for len(base)+len(extension) > maxNameBytes {
		_, size := utf8.DecodeLastRuneInString(base)
		base = base[:len(base)-size]
	}
	for n := 1; ; n++ {
		full := dir + "/" + base + extension
		if n > 1 {
			full = fmt.Sprintf("%s/%s (%d)%s", dir, base, n, extension)
		}
		if key := strings.ToLower(strings.ToUpper(full)); !taken[key] { // which folds ſ and ς too
			taken[key] = true
			return full
		}
	}
}

// fileName is a name that every system can have: no path, none of the
// characters and device names that Windows keeps for itself.
func fileName(name string) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`<>:"|?*`, r) {
			return '_'
		}
		return r
	}, cleanName(name))
	name = strings.TrimRight(name, ". ")
	base, _, _ := strings.Cut(strings.ToLower(name), ".")
	if base = strings.TrimRight(base, " "); base == "" || reservedName.MatchString(base) {
		return fileName("_" + name)
	}
	return name
}

var reservedName = regexp.MustCompile(`^(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])$`)

// packed are the extensions of files that are compressed already.
var packed = map[string]bool{".png": true, ".jpg": true, ".jpeg": true, ".gif": true, ".webp": true, ".pdf": true}

// writeProject writes the entries of a project's ZIP, below dir.
func (s *server) writeProject(ctx context.Context, archive *zipStream, dir string, d projectDetail, texts []bundleText, entries map[string]archiveEntry) error {
	for _, text := range texts {
		entry, err := archive.CreateHeader(&zip.FileHeader{Name: dir + text.name, Method: zip.Deflate, Modified: d.UpdatedAt})
		if err == nil {
			_, err = entry.Write(text.content)
		}
		if err != nil {
			return err
		}
	}
	write := func(e archiveEntry) error {
		if e.missing {
			return nil
		}
		return s.copyStored(ctx, archive, e.folder, e.name, dir+e.path, e.modified)
	}
	for _, f := range d.Files {
		if err := write(entries[f.Filename]); err != nil {
			return err
		}
	}
	for _, i := range d.Images {
		if err := write(entries[i.Filename]); err != nil {
			return err
		}
	}
	return nil
}

// copyStored writes a stored file to a ZIP.
func (s *server) copyStored(ctx context.Context, archive *zipStream, folder, name, as string, modified time.Time) error {
	f, err := s.openStored(ctx, folder, name)
	if err != nil {
		return err
	}
	defer f.Close()
	return archive.add(f, as, modified)
}

// readme writes the README.md of a project's ZIP.
func (s *server) readme(d projectDetail, entries map[string]archiveEntry) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	section := func(title string) { line("\n## %s\n", title) }
	line("# %s\n\n%s\n", oneLine(d.Title), d.Description)
	line("**Author:** %s  ", d.AuthorUsername)
	line("**Created:** %s  ", d.CreatedAt.Format(time.DateOnly))
	line("**Last updated:** %s  ", d.UpdatedAt.Format(time.DateOnly))
	if d.DifficultyLevel != nil {
		line("**Difficulty:** %s  ", oneLine(*d.DifficultyLevel))
	}
	if d.EstimatedTime != nil {
		line("**Time:** %s  ", oneLine(*d.EstimatedTime))
	}
	if len(d.TagNames) > 0 {
		line("**Tags:** %s  ", strings.Join(d.TagNames, ", "))
	}
	if l, known := licenseOf(d.License); known && l.URL != "" {
		line("**Licence:** [%s](<%s>) (%s)  ", l.Name, l.URL, l.ID)
	} else if d.License != nil {
		line("**Licence:** %s  ", cmp.Or(l.Name, *d.License))
	}
	if o := d.Origin; o != nil {
		title := oneLine(o.Title)
		if page := o.Page(s.cfg.publicURL); page != "" {
			title = fmt.Sprintf("[%s](<%s>)", title, page)
		}
		line("**Based on:** %s by %s%s  ", title, oneLine(o.Author), after(", ", o.License))
	}
	if d.Background != nil {
		section("Background")
		line("%s", *d.Background)
	}
	if d.CodeLink != nil {
		section("Source Code")
		line("<%s>", *d.CodeLink)
	}
	if len(d.Steps) > 0 {
		section("Build Instructions")
		for _, st := range d.Steps {
			line("### Step %d: %s\n\n%s\n", st.StepNumber, oneLine(st.Title), st.Content)
		}
	}
	if len(d.BillOfMaterials) > 0 {
		section("Bill of Materials")
		line("| Item | Quantity | Price | Description |\n| --- | ---: | ---: | --- |")
		for _, item := range d.BillOfMaterials {
			name := cell(item.ItemName)
			if item.Link != nil {
				name = fmt.Sprintf("[%s](<%s>)", name, *item.Link)
			}
			line("| %s | %d | %s | %s |", name, item.Quantity, formatPrice(item.PriceCents), cell(deref(item.Description)))
		}
	}
	if len(d.Components) > 0 {
		section("Electronic Components")
		line("| Component | Quantity | Notes | Datasheet |\n| --- | ---: | --- | --- |")
		for _, c := range d.Components {
			sheet := ""
			if c.Component.DatasheetURL != nil {
				sheet = fmt.Sprintf("[Datasheet](<%s>)", *c.Component.DatasheetURL)
			}
			line("| %s | %d | %s | %s |", cell(c.Component.Name), c.Quantity, cell(deref(c.Notes)), sheet)
		}
	}
	if len(d.ToolsMaterials) > 0 {
		section("Required Tools & Materials")
		for _, t := range d.ToolsMaterials {
			line("- **%s** (%s)%s", oneLine(t.Name), t.ToolType, after(": ", t.Notes))
		}
	}
	if len(d.Links) > 0 {
		section("Additional Resources")
		for _, l := range d.Links {
			line("- [%s](<%s>) (%s)%s", oneLine(l.Title), l.URL, strings.ReplaceAll(l.LinkType, "_", " "), after(": ", l.Description))
		}
	}
	if len(d.Files) > 0 {
		section("Included Files")
		for _, f := range d.Files {
			e := entries[f.Filename]
			line("- `%s` (%s)%s%s", e.path, f.Size(), after(": ", f.Description), e.note())
		}
	}
	if len(d.Images) > 0 {
		section("Project Images")
		for _, i := range d.Images {
			e := entries[i.Filename]
			line("- [%s](<%s>)%s%s", path.Base(e.path), e.path, after(": ", i.Caption), e.note())
		}
	}
	line("\n---\n\nBy %s on %s (%s), downloaded on %s.", d.AuthorUsername, s.cfg.siteName, s.cfg.publicURL+d.Path(), s.now().UTC().Format(time.DateOnly))
	return b.String()
}

// note says of a file that is missing that it is.
func (e archiveEntry) note() string {
	if e.missing {
		return " — **missing: the server could not find this file**"
	}
	return ""
}

// after is the text with something before it, or nothing when there is none.
func after(separator string, text *string) string {
	if text == nil {
		return ""
	}
	return separator + oneLine(*text)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// cell is a text that can stand in a cell of a Markdown table.
func cell(text string) string {
	return strings.NewReplacer(`\`, `\\`, "|", `\|`).Replace(oneLine(text))
}

// formatPrice writes hundredths as a decimal number.
func formatPrice(cents *int) string {
	if cents == nil {
		return ""
	}
	return fmt.Sprintf("%d.%02d", *cents/100, *cents%100)
}
