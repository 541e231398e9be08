package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// uploadKind is what may be uploaded to one place.
type uploadKind struct {
	fields []string                                        // names of the form field with the file, any of them
	folder string                                          // of the storage
	limit  int64                                           // bytes
	types  map[string]string                               // media type by extension
	check  func(extension string, content io.Reader) error // reads as much as it needs; nil: whoever asked does it
}

var fileUploads = uploadKind{
	fields: []string{"file"}, folder: fileFolder, limit: 25 << 20,
	types: map[string]string{
		".py": "text/x-python", ".cpp": "text/x-c++", ".h": "text/x-c", ".ino": "text/x-arduino", ".md": "text/markdown", ".txt": "text/plain",
		".pdf": "application/pdf", ".stl": "model/stl", ".obj": "model/obj", ".gcode": "text/x-gcode", ".json": "application/json",
		".xml": "application/xml", ".yaml": "application/yaml", ".yml": "application/yaml",
	},
	check: checkFileHead,
}

var imageUploads = uploadKind{
	fields: []string{"image", "file"}, folder: imageFolder, limit: 10 << 20, types: imageTypes,
}

// imageTypes are the media types of pictures, by extension.
var imageTypes = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".svg": "image/svg+xml",
}

// headSize is how much of a text is looked at to tell whether it is one.
const headSize = 64 << 10

func checkFileHead(extension string, content io.Reader) error {
	head, err := io.ReadAll(io.LimitReader(content, headSize))
	if err != nil {
		return err
	}
	switch extension {
	case ".pdf":
		if !bytes.HasPrefix(head, []byte("%PDF-")) {
			return fail(http.StatusBadRequest, "The file is named .pdf but is no PDF document")
		}
	case ".stl", ".obj":
	default:
		if bytes.IndexByte(head, 0) >= 0 {
			return fail(http.StatusBadRequest, "The file is named %s but is not a text", extension)
		}
	}
	return nil
}

// upload is a file that was taken in and has no row yet.
type upload struct {
	*staged
	name, original, mediaType string
	fields                    map[string]string // the form's texts
}

// id is what the browser calls the upload, or nil.
func (up upload) id() *string {
	if id := truncate(up.fields["upload_id"], 100); id != "" {
		return &id
	}
	return nil
}

// finish drops what has found no place, if there is something.
func (up upload) finish() {
	if up.staged != nil {
		up.drop()
	}
}

// uploadTexts are the fields of an upload's form beside the file.
var uploadTexts = []string{"title", "description", "caption", "upload_id"}

// receive takes in the file of a multipart form (RFC 7578). The texts beside it
// are noted in typed too, also when the file is refused: a page shows them
// again. The caller finishes the upload.
func (s *server) receive(w http.ResponseWriter, r *http.Request, kind uploadKind, typed *input) (up upload, err error) {
	// More than is taken: most clients read the answer only after they have sent
	// everything.
	r.Body = http.MaxBytesReader(w, r.Body, 4*kind.limit)
	defer func() {
		if err != nil {
			up.finish()
			_, _ = io.Copy(io.Discard, r.Body)
		}
	}()
	form, err := r.MultipartReader()
	if err != nil {
		return up, invalid(fault{[]string{"body", kind.fields[0]}, "Send the file as multipart/form-data in the field " + kind.fields[0], "missing"})
	}
	up.fields = map[string]string{}
	var refusal error // of the file
	for parts := 0; ; parts++ {
		part, err := form.NextPart()
		if err == io.EOF { // wrapped, it is an end inside a part
			break
		}
		if err != nil {
			return up, cmp.Or(refusal, cutUpload(err, kind))
		}
		if parts > 20 {
			return up, fail(http.StatusBadRequest, "The form has too many fields")
		}
		switch {
		case slices.Contains(kind.fields, part.FormName()) && part.FileName() != "":
			if up.staged != nil {
				return up, fail(http.StatusBadRequest, "Send one file at a time")
			}
			if refusal == nil {
				refusal = s.receiveFile(part, kind, &up)
			}
		case slices.Contains(uploadTexts, part.FormName()):
			text, err := io.ReadAll(io.LimitReader(part, maxBody))
			if err != nil {
				return up, cutUpload(err, kind)
			}
			if len(text) == maxBody {
				return up, fail(http.StatusBadRequest, "%s is too long", human(part.FormName()))
			}
			if !isPlain(string(text)) {
				return up, invalid(fault{[]string{"body", part.FormName()}, human(part.FormName()) + " must be valid UTF-8 without NUL", "value_error"})
			}
			up.fields[part.FormName()] = string(text)
			typed.setValues(url.Values{part.FormName(): {string(text)}})
		}
	}
	if refusal != nil {
		return up, refusal
	}
	if up.staged == nil {
		return up, invalid(fault{[]string{"body", kind.fields[0]}, "Choose a file to upload", "missing"})
	}
	return up, nil
}

// formInput is an input that nothing was typed into yet.
func formInput() *input { return &input{where: "body", fields: map[string]json.RawMessage{}} }

// cutUpload is the answer when a form can't be read to its end: it is too large,
// or it ended early.
func cutUpload(err error, kind uploadKind) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fail(http.StatusBadRequest, "The file is too large: at most %s are taken", formatSize(kind.limit))
	}
	return fail(http.StatusBadRequest, "The upload ended before it was whole")
}

// receiveFile takes in one file of a form, when it is of the right kind.
func (s *server) receiveFile(part *multipart.Part, kind uploadKind, up *upload) error {
	up.original = cleanName(part.FileName())
	extension := strings.ToLower(path.Ext(up.original))
	mediaType, known := kind.types[extension]
	if !known {
		var all []string
		for e := range kind.types {
			all = append(all, e)
		}
		slices.Sort(all)
		return fail(http.StatusBadRequest, "Files of this kind are not taken; allowed: %s", strings.Join(all, " "))
	}
	source := &sourceReader{r: part}
	file, err := s.storage.stage(kind.folder, source, kind.limit)
	switch {
	case errors.Is(err, errTooLarge):
		return fail(http.StatusBadRequest, "The file is too large: at most %s are taken", formatSize(kind.limit))
	case source.err != nil:
		return cutUpload(source.err, kind)
	case err != nil:
		return err
	}
	up.staged, up.name, up.mediaType = file, newName(extension), mediaType
	if file.size == 0 {
		return fail(http.StatusBadRequest, "The file is empty")
	}
	if kind.check == nil {
		return nil
	}
	return kind.check(extension, io.NewSectionReader(file, 0, file.size))
}

// sourceReader remembers that reading failed, to tell a client that went away
// from a disk that is full.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

const maxFileName = 200 // characters

// cleanName is the last part of a path of any system, without what can't be
// shown, and shortened before its extension where it is too long.
func cleanName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, name)
	name = strings.TrimSpace(name)
	if utf8.RuneCountInString(name) <= maxFileName {
		return name
	}
	extension := truncate(path.Ext(name), 20)
	return strings.TrimSpace(truncate(strings.TrimSuffix(name, path.Ext(name)), maxFileName-utf8.RuneCountInString(extension)) + extension)
}

// projectFile is an uploaded file of a project.
type projectFile struct {
	ID               int       `json:"id"`
	Filename         string    `json:"filename"` // in the storage
	OriginalFilename string    `json:"original_filename"`
	FileSize         int64     `json:"file_size"` // bytes
	FileType         *string   `json:"file_type"`
	Description      *string   `json:"description"`
	UploadedAt       time.Time `json:"uploaded_at"`
}

// Size is the file's size for people.
func (f projectFile) Size() string { return formatSize(f.FileSize) }

const (
	fileColumns = `id, filename, original_filename, file_size, file_type, description, uploaded_at`
	listFiles   = `select ` + fileColumns + ` from project_file where project_id = $1 order by uploaded_at desc, id desc`
	deleteFile  = `delete from project_file where project_id = $1 and id = $2`
)

// keepUpload places an upload and makes its row. A client that leaves now must
// not cut the commit off, after which nobody could tell whether the file has a
// row.
func (s *server) keepUpload(r *http.Request, p project, folder string, up upload, do func(ctx context.Context, tx pgx.Tx) error) error {
	ctx := context.WithoutCancel(r.Context())
	if err := s.place(ctx, up.staged, folder, up.name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.promptness)
	defer cancel()
	err := s.onProject(ctx, p, func(tx pgx.Tx) error {
		kind := "files"
		if folder == imageFolder {
			kind = "pictures"
		}
		if err := s.withinLimit(ctx, tx, p.ID, kind, 1); err != nil {
			return err
		}
		if err := s.withinQuota(ctx, tx, p.AuthorID, up.size); err != nil {
			return err
		}
		return do(ctx, tx)
	})
	if err != nil {
		s.discard(folder, up.name)
	}
	if constraint, _ := violates(err); strings.HasSuffix(constraint, "_upload_key") {
		err = fail(http.StatusConflict, "This upload was sent twice; it is there once")
	}
	return err
}

// withinQuota refuses what would be more than one person may store. It holds up
// that person's other uploads until the transaction ends.
func (s *server) withinQuota(ctx context.Context, tx pgx.Tx, userID int, more int64) error {
	if s.cfg.uploadQuota == 0 {
		return nil
	}
	// Before the sum, which sees what is committed when its statement starts.
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtext('upload quota'), $1)`, userID); err != nil {
		return err
	}
	used, err := storedBy(ctx, tx, userID)
	if err != nil {
		return err
	}
	if used+more > s.cfg.uploadQuota {
		return fail(http.StatusBadRequest, "Your files and pictures take %s of the %s that one person may store, so that this one does not fit; delete some that you no longer need",
			formatSize(used), formatSize(s.cfg.uploadQuota))
	}
	return nil
}

// storedBy is how many bytes the files and pictures of somebody's projects take.
func storedBy(ctx context.Context, db querier, userID int) (used int64, err error) {
	err = db.QueryRow(ctx, `
		select coalesce((select sum(f.file_size) from project p join project_file f on f.project_id = p.id where p.author_id = $1), 0)
		     + coalesce((select sum(m.size) from project p join project_image i on i.project_id = p.id
		                 join media_file m on m.folder = $2 and m.name = i.filename where p.author_id = $1), 0)`, userID, imageFolder).Scan(&used)
	return used, err
}

// addFile stores an uploaded file and its row.
func (s *server) addFile(w http.ResponseWriter, r *http.Request, p project, typed *input) (projectFile, error) {
	up, err := s.receive(w, r, fileUploads, typed)
	if err != nil {
		return projectFile{}, err
	}
	defer up.finish()
	const again = `select ` + fileColumns + ` from project_file where project_id = $1 and upload_id = $2`
	if f, err := one[projectFile](r.Context(), s.db, again, p.ID, up.id()); !errors.Is(err, pgx.ErrNoRows) {
		return f, err
	}
	title, description := strings.TrimSpace(up.fields["title"]), strings.TrimSpace(up.fields["description"])
	if title != "" && description != "" {
		title += ": "
	}
	var f projectFile
	err = s.keepUpload(r, p, fileFolder, up, func(ctx context.Context, tx pgx.Tx) (err error) {
		f, err = one[projectFile](ctx, tx, `
			insert into project_file (project_id, filename, original_filename, file_size, file_type, description, upload_id)
			values ($1, $2, $3, $4, $5, nullif($6, ''), $7) returning `+fileColumns,
			p.ID, up.name, up.original, up.size, up.mediaType, truncate(title+description, 5000), up.id())
		return err
	})
	return f, err
}

// postFile answers with the uploaded file.
func (s *server) postFile(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	f, err := s.addFile(unhurried(w, r), r, p, formInput())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, f)
}

// listProjectImages answers a project's pictures.
func (s *server) listProjectImages(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	d, err := s.loadDetail(r.Context(), p)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, d.Images)
}

// setPrimary makes a picture the one that stands for the project.
func (s *server) setPrimary(ctx context.Context, p project, imageID int) error {
	return s.onProject(ctx, p, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update project set primary_image_id = i.id, updated_at = now()
			from project_image i where project.id = $1 and i.project_id = $1 and i.id = $2`, p.ID, imageID)
		if err == nil && tag.RowsAffected() == 0 {
			return fail(http.StatusNotFound, "Image not found")
		}
		return err
	})
}

// putPrimary answers with the project.
func (s *server) putPrimary(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	if err := s.setPrimary(r.Context(), p, id); err != nil {
		return err
	}
	return s.answerDetail(w, r, http.StatusOK, p.ID)
}

// dropUpload deletes a file's or a picture's row, and then its bytes. When the
// primary picture goes, the next one takes its place.
func (s *server) dropUpload(ctx context.Context, what, folder, sql string, p project, id int) error {
	if err := s.onProject(ctx, p, func(tx pgx.Tx) error {
		err := changesOne(tx.Exec(ctx, sql, p.ID, id))
		if err == nil && folder == imageFolder {
			_, err = tx.Exec(ctx, `
				update project set primary_image_id = (select id from project_image where project_id = $1 order by display_order, id limit 1)
				where id = $1 and primary_image_id is null`, p.ID)
		}
		return orNotFound(err, what)
	}); err != nil {
		return err
	}
	s.tidy(ctx)
	return nil
}

// deletedUpload answers DELETE of a file or a picture.
func (s *server) deletedUpload(what, folder, sql string) withProject {
	return func(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
		id, err := pathID(r, "id")
		if err != nil {
			return err
		}
		if err := s.dropUpload(r.Context(), what, folder, sql, p, id); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// serveFile answers a file of a project, to be saved under its own name.
func (s *server) serveFile(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	ctx, cancel := s.promptly(r)
	defer cancel()
	f, err := one[projectFile](ctx, s.db, `select `+fileColumns+` from project_file where project_id = $1 and id = $2`, p.ID, id)
	if err != nil {
		return orNotFound(err, "File")
	}
	w.Header().Set("Content-Disposition", attachment(cleanName(f.OriginalFilename)))
	return s.serveStored(w, r, fileFolder, f.Filename, "application/octet-stream", "File")
}

// serveStored sends a stored file, with ranges and conditions (RFC 9110 §13,
// §14). Stored bytes never change, so that their name is a strong ETag. What
// people upload can never act as a page of this server.
func (s *server) serveStored(w http.ResponseWriter, r *http.Request, folder, name, mediaType, what string) error {
	f, err := s.openStored(r.Context(), folder, name)
	if errors.Is(err, fs.ErrNotExist) {
		s.log.Error("a stored file is missing", "folder", folder, "name", name)
		return fail(http.StatusNotFound, "%s not found in storage", what)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'")
	h.Set("ETag", `"`+name+`"`)
	refusal := &refusalWriter{ResponseWriter: unhurried(w, r)}
	http.ServeContent(refusal, r, "", f.modified, f)
	if f.failed != nil {
		// The status is sent: only a broken connection tells that this is not all.
		if r.Context().Err() == nil {
			infoOf(r).err = f.failed
		}
		panic(http.ErrAbortHandler)
	}
	switch refusal.status {
	case 0:
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		return fail(refusal.status, "The file has %d bytes; the range asked for is not among them", f.size)
	}
	return fail(refusal.status, "The file is not in the state that the request asks for")
}

// refusalWriter keeps the errors of http.ServeContent from the client, who gets
// them as JSON like all others.
type refusalWriter struct {
	http.ResponseWriter
	status int // of the error, if there was one
}

func (w *refusalWriter) WriteHeader(status int) {
	if status >= 400 {
		w.status = status
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *refusalWriter) Write(p []byte) (int, error) {
	if w.status != 0 {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// attachment is a Content-Disposition that saves under name (RFC 6266): as it
// is for those who understand filename*, and in ASCII for the others.
func attachment(name string) string {
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\/%`, r) {
			return '_'
		}
		return r
	}, name)
	value := mime.FormatMediaType("attachment", map[string]string{"filename": ascii})
	if ascii != name {
		value += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return value
}
