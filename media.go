package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	_ "image/png"
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
	_ "golang.org/x/image/webp"
)

// uploadKind is what may be uploaded to one place.
type uploadKind struct {
	fields []string          // names of the form field with the file, any of them
	folder string            // of the storage
	limit  int64             // bytes
	types  map[string]string // media type by extension
	check  func(extension string, head []byte) error
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
	fields: []string{"image", "file"}, folder: imageFolder, limit: 10 << 20, types: imageTypes, check: checkImageHead,
}

// imageTypes are the media types of pictures, by extension.
var imageTypes = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".svg": "image/svg+xml",
}

// headSize is how much of a file is looked at to tell whether it is what its
// name says; JPEGs from cameras have long headers before their size.
const headSize = 512 << 10

func checkFileHead(extension string, head []byte) error {
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

// maxPixels bounds what a browser has to decode for one picture.
const maxPixels = 100_000_000

func checkImageHead(extension string, head []byte) error {
	want := strings.TrimPrefix(imageTypes[extension], "image/")
	if want == "svg+xml" {
		if !utf8.Valid(head[:min(len(head), 1<<10)]) || !bytes.Contains(bytes.ToLower(head), []byte("<svg")) {
			return fail(http.StatusBadRequest, "The file is named .svg but is no SVG picture")
		}
		return nil
	}
	config, format, err := image.DecodeConfig(bytes.NewReader(head))
	if err != nil || format != want {
		return fail(http.StatusBadRequest, "The file is named %s but is no such picture", extension)
	}
	if config.Width*config.Height > maxPixels {
		return fail(http.StatusBadRequest, "The picture has %d × %d pixels; at most 100 million are taken", config.Width, config.Height)
	}
	return nil
}

// upload is a stored file that has no row yet.
type upload struct {
	name, original, mediaType string
	size                      int64
	fields                    map[string]string // the form's texts
}

// receive streams the file of a multipart form (RFC 7578) into the storage.
// The caller removes the file again when it can't make its row.
func (s *server) receive(r *http.Request, kind uploadKind) (up upload, err error) {
	defer func() {
		if err != nil && up.name != "" {
			s.removeStored(kind.folder, up.name)
		}
	}()
	form, err := r.MultipartReader()
	if err != nil {
		return up, invalid(fault{[]string{"body", kind.fields[0]}, "Send the file as multipart/form-data in the field " + kind.fields[0], "missing"})
	}
	up.fields = map[string]string{}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return up, fail(http.StatusBadRequest, "The upload ended before it was whole")
		}
		switch {
		case slices.Contains(kind.fields, part.FormName()) && part.FileName() != "":
			if up.name != "" {
				return up, fail(http.StatusBadRequest, "Send one file at a time")
			}
			if err := s.receiveFile(part, kind, &up); err != nil {
				return up, err
			}
		default:
			text, err := io.ReadAll(io.LimitReader(part, 64<<10))
			if err != nil {
				return up, fail(http.StatusBadRequest, "The upload ended before it was whole")
			}
			if !isPlain(string(text)) {
				return up, invalid(fault{[]string{"body", part.FormName()}, human(part.FormName()) + " must be valid UTF-8 without NUL", "value_error"})
			}
			up.fields[part.FormName()] = string(text)
		}
	}
	if up.name == "" {
		return up, invalid(fault{[]string{"body", kind.fields[0]}, "Choose a file to upload", "missing"})
	}
	return up, nil
}

// receiveFile stores one file of a form, when it is of the right kind.
func (s *server) receiveFile(part *multipart.Part, kind uploadKind, up *upload) error {
	original := cleanName(part.FileName())
	extension := strings.ToLower(path.Ext(original))
	mediaType, known := kind.types[extension]
	if !known {
		var all []string
		for e := range kind.types {
			all = append(all, e)
		}
		slices.Sort(all)
		return fail(http.StatusBadRequest, "Files of this kind are not taken; allowed: %s", strings.Join(all, " "))
	}
	content := bufio.NewReaderSize(part, headSize)
	head, err := content.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return fail(http.StatusBadRequest, "The upload ended before it was whole")
	}
	if len(head) == 0 {
		return fail(http.StatusBadRequest, "The file is empty")
	}
	if err := kind.check(extension, head); err != nil {
		return err
	}
	name := newName(extension)
	source := &sourceReader{r: content}
	size, err := s.storage.save(kind.folder, name, source, kind.limit)
	switch {
	case errors.Is(err, errTooLarge):
		return fail(http.StatusBadRequest, "The file is too large: at most %s are taken", formatSize(kind.limit))
	case source.err != nil:
		return fail(http.StatusBadRequest, "The upload ended before it was whole")
	case err != nil:
		return err
	}
	up.name, up.original, up.mediaType, up.size = name, original, mediaType, size
	return nil
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

// cleanName is the last part of a path of any system, without what can't be
// shown, at most 200 characters with its extension kept.
func cleanName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, name)
	name = strings.TrimSpace(name)
	extension := path.Ext(name)
	return truncate(strings.TrimSuffix(name, extension), 200-len(truncate(extension, 20))) + truncate(extension, 20)
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
	deleteFile  = `delete from project_file where project_id = $1 and id = $2 returning filename`
)

// addFile stores an uploaded file and its row.
func (s *server) addFile(w http.ResponseWriter, r *http.Request, p project) (projectFile, error) {
	up, err := s.receive(r, fileUploads)
	if err != nil {
		return projectFile{}, err
	}
	title, description := strings.TrimSpace(up.fields["title"]), strings.TrimSpace(up.fields["description"])
	if title != "" && description != "" {
		title += ": "
	}
	f, err := one[projectFile](r.Context(), s, `
		insert into project_file (project_id, filename, original_filename, file_size, file_type, description)
		values ($1, $2, $3, $4, $5, nullif($6, '')) returning `+fileColumns,
		p.ID, up.name, up.original, up.size, up.mediaType, truncate(title+description, 5000))
	if err != nil {
		s.removeStored(fileFolder, up.name)
	}
	return f, err
}

// postFile answers with the uploaded file.
func (s *server) postFile(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	f, err := s.addFile(unhurried(w, r), r, p)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, f)
}

// projectImage is an uploaded picture of a project.
type projectImage struct {
	ID               int       `json:"id"`
	Filename         string    `json:"filename"` // in the storage
	OriginalFilename string    `json:"original_filename"`
	DisplayOrder     int       `json:"display_order"`
	Caption          *string   `json:"caption"`
	UploadedAt       time.Time `json:"uploaded_at"`
	ImageURL         string    `json:"image_url" db:"-"`
}

const (
	imageColumns = `id, filename, original_filename, display_order, caption, uploaded_at`
	listImages   = `select ` + imageColumns + ` from project_image where project_id = $1 order by display_order, id`
	deleteImage  = `delete from project_image where project_id = $1 and id = $2 returning filename`
)

// addImage stores an uploaded picture and its row. A project's first picture
// becomes its primary one.
func (s *server) addImage(w http.ResponseWriter, r *http.Request, p project) (projectImage, error) {
	up, err := s.receive(r, imageUploads)
	if err != nil {
		return projectImage{}, err
	}
	var made projectImage
	var batch pgx.Batch
	batch.Queue(`select from project where id = $1 for no key update`, p.ID)
	batch.Queue(`
		insert into project_image (project_id, filename, original_filename, caption, display_order)
		values ($1, $2, $3, nullif($4, ''), (select coalesce(max(display_order) + 1, 0) from project_image where project_id = $1))
		returning `+imageColumns, p.ID, up.name, up.original, truncate(strings.TrimSpace(up.fields["caption"]), 500)).Query(func(rows pgx.Rows) (err error) {
		made, err = pgx.CollectOneRow(rows, pgx.RowToStructByName[projectImage])
		return err
	})
	batch.Queue(`
		update project set primary_image_id = (select min(id) from project_image where project_id = $1)
		where id = $1 and primary_image_id is null`, p.ID)
	if err := s.db.SendBatch(r.Context(), &batch).Close(); err != nil {
		s.removeStored(imageFolder, up.name)
		return projectImage{}, err
	}
	made.ImageURL = s.imageURL(p.ID, made.ID)
	return made, nil
}

// postImage answers with the uploaded picture.
func (s *server) postImage(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	image, err := s.addImage(unhurried(w, r), r, p)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, image)
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
	tag, err := s.db.Exec(ctx, `
		update project set primary_image_id = i.id, updated_at = now()
		from project_image i where project.id = $1 and i.project_id = $1 and i.id = $2`, p.ID, imageID)
	if err == nil && tag.RowsAffected() == 0 {
		return fail(http.StatusNotFound, "Image not found")
	}
	return err
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
	var name string
	var batch pgx.Batch
	batch.Queue(sql, p.ID, id).QueryRow(func(row pgx.Row) error { return orNotFound(row.Scan(&name), what) })
	if folder == imageFolder {
		batch.Queue(`
			update project set primary_image_id = (select id from project_image where project_id = $1 order by display_order, id limit 1)
			where id = $1 and primary_image_id is null`, p.ID)
	}
	if err := s.db.SendBatch(ctx, &batch).Close(); err != nil {
		return err
	}
	s.removeStored(folder, name)
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

// serveImage answers a picture of a project itself.
func (s *server) serveImage(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	var name string
	err = s.db.QueryRow(r.Context(), `select filename from project_image where project_id = $1 and id = $2`, p.ID, id).Scan(&name)
	if err := orNotFound(err, "Image"); err != nil {
		return err
	}
	if p.published() {
		w.Header().Set("Cache-Control", "public, max-age=3600")
	}
	return s.serveStored(w, r, imageFolder, name, imageTypes[path.Ext(name)], "Image")
}

// serveFile answers a file of a project, to be saved under its own name.
func (s *server) serveFile(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	id, err := pathID(r, "id")
	if err != nil {
		return err
	}
	f, err := one[projectFile](r.Context(), s, `select `+fileColumns+` from project_file where project_id = $1 and id = $2`, p.ID, id)
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
	f, info, err := s.storage.open(folder, name)
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
	http.ServeContent(unhurried(w, r), r, "", info.ModTime(), f)
	return nil
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
