package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// projectImage is an uploaded picture of a project.
type projectImage struct {
	ID               int       `json:"id"`
	Filename         string    `json:"filename"` // of the original in the storage
	OriginalFilename string    `json:"original_filename"`
	DisplayOrder     int       `json:"display_order"`
	Caption          *string   `json:"caption"`
	UploadedAt       time.Time `json:"uploaded_at"`
	ImageURL         string    `json:"image_url" db:"-"`
	shownPicture
	LocationRemoved bool `json:"location_removed,omitempty" db:"-"` // said once, to who uploads it
}

// shownPicture is how a picture is shown. Without sizes it is a drawing (SVG),
// or has not been looked at yet.
type shownPicture struct {
	Width    *int        `json:"width"` // pixels, upright
	Height   *int        `json:"height"`
	Colour   *string     `json:"colour"` // of it all, until it is there
	Animated bool        `json:"animated"`
	Sizes    []imageSize `json:"sizes"`
}

// imageSize is one size of a picture.
type imageSize struct {
	Width    int    `json:"width"`
	Height   int    `json:"height"`
	Whole    bool   `json:"-"` // all its pixels
	Filename string `json:"-"`
	URL      string `json:"url"`
}

const (
	pictureColumns = `i.width, i.height, i.colour, coalesce(i.animated, false) as animated, (select jsonb_agg(jsonb_build_array(z.width, z.height, z.whole, z.filename) order by z.width)
		from image_size z where z.image_id = i.id) as sizes`
	imageColumns = `i.id, i.filename, i.original_filename, i.display_order, i.caption, i.uploaded_at, ` + pictureColumns
	listImages   = `select ` + imageColumns + ` from project_image i where i.project_id = $1 order by i.display_order, i.id`
	deleteImage  = `delete from project_image where project_id = $1 and id = $2`
)

// UnmarshalJSON reads a row of the query above.
func (z *imageSize) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&z.Width, &z.Height, &z.Whole, &z.Filename})
}

// addressed gives a picture's sizes their addresses, which change with their
// bytes, so that they can be kept for ever.
func (p *shownPicture) addressed(address string) {
	if p.Sizes == nil {
		p.Sizes = []imageSize{}
	}
	for i, z := range p.Sizes {
		p.Sizes[i].URL = strings.TrimSuffix(address, "file") + z.Filename
	}
}

// whole is the file that others get to see as the picture itself.
func (p shownPicture) whole() string {
	for _, z := range p.Sizes {
		if z.Whole {
			return z.Filename
		}
	}
	return ""
}

// Srcset is the sizes for a browser to choose from; the whole one only where it
// is no wider than the others, or moves.
func (p shownPicture) Srcset() string {
	var list []string
	for _, z := range p.Sizes {
		if !z.Whole || z.Width <= pictureSizes[len(pictureSizes)-1] {
			list = append(list, fmt.Sprintf("%s %dw", localPath(z.URL), z.Width))
		}
	}
	if p.Animated {
		list = list[max(0, len(list)-1):]
	}
	return strings.Join(list, ", ")
}

// Still is Srcset without what moves.
func (p shownPicture) Still() string {
	still := p
	still.Animated = false
	if p.Animated && len(p.Sizes) > 1 {
		still.Sizes = p.Sizes[:len(p.Sizes)-1]
	}
	return still.Srcset()
}

// Src is for browsers that can't choose; whole is the picture itself.
func (p shownPicture) Src(whole string) string {
	for _, z := range p.Sizes {
		if z.Width >= 1000 && !p.Animated && !z.Whole {
			whole = z.URL
			break
		}
	}
	return localPath(whole)
}

// Tall is the height that belongs to a width of 960, to keep its place free.
func (p shownPicture) Tall() int {
	if deref(p.Width) == 0 {
		return 720
	}
	_, h := within(960, *p.Width, *p.Height)
	return h
}

// addImage stores an uploaded picture with its sizes, and its row. A project's
// first picture becomes its primary one.
func (s *server) addImage(w http.ResponseWriter, r *http.Request, p project, typed *input) (projectImage, error) {
	up, err := s.receive(w, r, imageUploads, typed)
	if err != nil {
		return projectImage{}, err
	}
	defer up.finish()
	const again = `select ` + imageColumns + ` from project_image i where i.project_id = $1 and i.upload_id = $2`
	if i, err := one[projectImage](r.Context(), s.db, again, p.ID, up.id()); !errors.Is(err, pgx.ErrNoRows) {
		i.ImageURL = s.imageURL(p.ID, i.ID)
		i.addressed(i.ImageURL)
		return i, err
	}
	var made madePicture
	var names []string
	if err := s.decode(r.Context(), func() error {
		data, err := io.ReadAll(io.NewSectionReader(up, 0, up.size))
		if err != nil {
			return err
		}
		if made, err = checkedPicture(data, path.Ext(up.name)); err == nil {
			names, err = s.placeSizes(r.Context(), up.name, data, made)
		}
		return err
	}); err != nil {
		return projectImage{}, err
	}
	var image projectImage
	err = s.keepUpload(r, p, imageFolder, up, func(ctx context.Context, tx pgx.Tx) (err error) {
		image, err = one[projectImage](ctx, tx, `
			insert into project_image as i (project_id, filename, original_filename, caption, upload_id, display_order)
			values ($1, $2, $3, nullif($4, ''), $5, (select coalesce(max(display_order) + 1, 0) from project_image where project_id = $1))
			returning `+imageColumns, p.ID, up.name, up.original, truncate(strings.TrimSpace(up.fields["caption"]), 500), up.id())
		if err == nil && len(names) > 0 {
			err = keepSizes(ctx, tx, image.ID, made, names)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `update project set primary_image_id = $2 where id = $1 and primary_image_id is null`, p.ID, image.ID)
		}
		if err == nil {
			image, err = one[projectImage](ctx, tx, `select `+imageColumns+` from project_image i where i.id = $1`, image.ID)
		}
		return err
	})
	if err != nil {
		s.discard(imageFolder, names...)
		return projectImage{}, err
	}
	image.ImageURL = s.imageURL(p.ID, image.ID)
	image.addressed(image.ImageURL)
	image.LocationRemoved = made.located
	return image, nil
}

// checkedHead looks at a picture of a stranger, who is told what is wrong with
// it.
func checkedHead(data []byte, extension string) (imageHead, error) {
	h, err := readHead(data)
	if err != nil || "image/"+h.format != imageTypes[extension] {
		return h, fail(http.StatusBadRequest, "The file is named %s but is no such picture", extension)
	}
	if h.width > maxPixels/h.height {
		return h, fail(http.StatusBadRequest, "The picture has %d × %d pixels; at most 50 million are taken, please make it smaller first", h.width, h.height)
	}
	return h, nil
}

var errDamaged = fail(http.StatusBadRequest, "The picture is damaged and can't be read")

// checkedForm looks whether a picture of a stranger is what its name says;
// drawing says that it is an SVG, which has no pixels.
func checkedForm(data []byte, extension string) (drawing bool, err error) {
	if extension != ".svg" {
		_, err := checkedHead(data, extension)
		return false, err
	}
	head := data[:min(len(data), headSize)]
	if bytes.IndexByte(head, 0) >= 0 || !bytes.Contains(bytes.ToLower(head), []byte("<svg")) {
		return true, fail(http.StatusBadRequest, "The file is named .svg but is no SVG picture")
	}
	return true, nil
}

// checkedPicture makes the sizes of a picture of a stranger; a drawing (SVG) has
// none.
func checkedPicture(data []byte, extension string) (madePicture, error) {
	drawing, err := checkedForm(data, extension)
	if err != nil || drawing {
		return madePicture{}, err
	}
	made, err := makePicture(data)
	if errors.Is(err, errBadImage) {
		err = errDamaged
	}
	return made, err
}

// placeSizes stores the sizes of a picture under names of the original's and of
// a hash of their own. Where others may see the original as it is, it is its own
// whole size.
func (s *server) placeSizes(ctx context.Context, original string, data []byte, made madePicture) (names []string, err error) {
	for _, z := range made.sizes {
		if z.whole && bytes.Equal(z.data, data) {
			names = append(names, original)
			continue
		}
		sum := sha256.Sum256(z.data)
		name := fmt.Sprintf("%s-%d-%s%s", strings.TrimSuffix(original, path.Ext(original)), z.width, hex.EncodeToString(sum[:6]), z.extension)
		if err = s.placeBytes(ctx, imageFolder, name, z.data); err != nil {
			s.discard(imageFolder, names...)
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func (s *server) placeBytes(ctx context.Context, folder, name string, data []byte) error {
	up, err := s.storage.stage(folder, bytes.NewReader(data), math.MaxInt64-1)
	if err != nil {
		return err
	}
	defer up.drop()
	return s.place(context.WithoutCancel(ctx), up, folder, name)
}

// keepSizes makes the rows of a picture's sizes.
func keepSizes(ctx context.Context, tx pgx.Tx, imageID int, made madePicture, names []string) error {
	var batch pgx.Batch
	queueSizes(&batch, imageID, made, names)
	return tx.SendBatch(ctx, &batch).Close()
}

func queueSizes(batch *pgx.Batch, imageID int, made madePicture, names []string) {
	batch.Queue(`update project_image set width = $2, height = $3, colour = $4, animated = $5 where id = $1`, imageID, made.width, made.height, made.colour, made.animated)
	for i, z := range made.sizes {
		batch.Queue(`insert into image_size (image_id, width, height, whole, filename) values ($1, $2, $3, $4, $5)`, imageID, z.width, z.height, z.whole, names[i])
	}
}

// prepared makes the sizes of a picture that has none yet, from the older
// service. One that can't be read is marked, so that it is not tried again.
func (s *server) prepared(ctx context.Context, i projectImage) (projectImage, error) {
	if len(i.Sizes) > 0 || strings.EqualFold(path.Ext(i.Filename), ".svg") {
		return i, nil
	}
	if i.Width != nil {
		return i, errBadImage
	}
	var made madePicture
	var names []string
	err := s.decode(ctx, func() error {
		f, err := s.openStored(ctx, imageFolder, i.Filename)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, 4*imageUploads.limit))
		if err != nil {
			return err
		}
		if made, err = makePicture(data); err == nil {
			names, err = s.placeSizes(ctx, i.Filename, data, made)
		}
		return err
	})
	if errors.Is(err, errBadImage) {
		_, markErr := s.db.Exec(ctx, `update project_image set width = 0, height = 0 where id = $1`, i.ID)
		return i, errors.Join(err, markErr)
	}
	if err != nil {
		return i, err
	}
	err = pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		var looked *int
		if err := tx.QueryRow(ctx, `select width from project_image where id = $1 for no key update`, i.ID).Scan(&looked); err != nil {
			return err
		}
		if looked != nil {
			return nil // somebody else has made them meanwhile, under the same names
		}
		return keepSizes(ctx, tx, i.ID, made, names)
	})
	if err != nil {
		s.discard(imageFolder, names...)
		return i, orNotFound(err, "Image")
	}
	return one[projectImage](ctx, s.db, `select `+imageColumns+` from project_image i where i.id = $1`, i.ID)
}

// prepareSome makes the sizes of pictures that have none yet, of up to limit of
// them: those that can't be read today hold up no others, since they come in no
// order.
func (s *server) prepareSome(ctx context.Context, limit int) error {
	images, err := many[projectImage](ctx, s.db, `
		select `+imageColumns+` from project_image i where i.width is null and i.filename !~* '\.svg$' order by random() limit $1`, limit)
	if err != nil {
		return err
	}
	for _, i := range images {
		if _, err := s.prepared(ctx, i); err != nil {
			s.log.Warn("a picture has no sizes", "id", i.ID, "name", i.Filename, "error", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// postImage answers with the uploaded picture.
func (s *server) postImage(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	image, err := s.addImage(unhurried(w, r), r, p, formInput())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusCreated, image)
}

func (s *server) loadImage(r *http.Request, p project) (projectImage, error) {
	id, err := pathID(r, "id")
	if err != nil {
		return projectImage{}, err
	}
	ctx, cancel := s.promptly(r)
	defer cancel()
	i, err := one[projectImage](ctx, s.db, `select `+imageColumns+` from project_image i where i.project_id = $1 and i.id = $2`, p.ID, id)
	return i, orNotFound(err, "Image")
}

// serveImage answers a picture of a project itself, as others may see it.
func (s *server) serveImage(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	i, err := s.loadImage(r, p)
	if err != nil {
		return err
	}
	i, err = s.prepared(r.Context(), i)
	switch {
	case errors.Is(err, errBadImage):
		return fail(http.StatusNotFound, "The picture is damaged and can't be shown")
	case err != nil && publicError(err).status == http.StatusInternalServerError:
		s.log.Error("a picture can't be shown", "name", i.Filename, "error", err)
		return fail(http.StatusNotFound, "Image not found in storage")
	case err != nil:
		return err
	}
	name := i.whole()
	if name == "" {
		name = i.Filename // a drawing
	}
	shared(w, p, "public, max-age=300")
	return s.serveStored(w, r, imageFolder, name, imageTypes[strings.ToLower(path.Ext(name))], "Image")
}

// serveSize answers one size of a picture. Its address stands for its bytes.
func (s *server) serveSize(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	i, err := s.loadImage(r, p)
	if err != nil {
		return err
	}
	name := r.PathValue("size")
	for _, z := range i.Sizes {
		if z.Filename == name {
			shared(w, p, "public, max-age=31536000, immutable")
			return s.serveStored(w, r, imageFolder, name, imageTypes[path.Ext(name)], "Image")
		}
	}
	return fail(http.StatusNotFound, "The picture has no such size")
}

// serveOriginal answers a picture to its author as it was uploaded.
func (s *server) serveOriginal(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	i, err := s.loadImage(r, p)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Disposition", attachment(cleanName(i.OriginalFilename)))
	return s.serveStored(w, r, imageFolder, i.Filename, "application/octet-stream", "Image")
}

// shared lets caches keep what is published. What they keep for everybody must
// not hold one person's cookies.
func shared(w http.ResponseWriter, p project, control string) {
	if p.published() {
		w.Header().Set("Cache-Control", control)
		w.Header().Del("Set-Cookie")
	}
}

// pictureUploads are what people may have as a picture of themselves.
var pictureUploads = uploadKind{
	fields: []string{"file"}, folder: pictureFolder, limit: 5 << 20,
	types: map[string]string{".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"},
}

// portraitSize is how wide and high a profile picture is at most, in pixels.
const portraitSize = 400

// makePortrait makes a profile picture, a PNG, of what its owner has sent.
func makePortrait(data []byte, extension string) (portrait []byte, located bool, err error) {
	h, err := checkedHead(data, extension)
	if err != nil {
		return nil, false, err
	}
	img, err := h.decode()
	if err != nil {
		return nil, false, errDamaged
	}
	w, height := h.width, h.height
	if longest := max(w, height); longest > portraitSize {
		w, height = max(1, w*portraitSize/longest), max(1, height*portraitSize/longest)
	}
	_, portrait, err = h.encode(turn(resize(img, w, height), h.orientation), false, 0)
	return portrait, h.located, err
}

// setPicture stores the picture of v and returns its file's name.
func (s *server) setPicture(w http.ResponseWriter, r *http.Request, v viewer) (name string, located bool, err error) {
	up, err := s.receive(w, r, pictureUploads, formInput())
	if err != nil {
		return "", false, err
	}
	defer up.finish()
	var portrait []byte
	if err := s.decode(r.Context(), func() error {
		data, err := io.ReadAll(io.NewSectionReader(up, 0, up.size))
		if err == nil {
			portrait, located, err = makePortrait(data, path.Ext(up.name))
		}
		return err
	}); err != nil {
		return "", false, err
	}
	var random [4]byte
	rand.Read(random[:])
	name = fmt.Sprintf("user_%d_%x.png", v.ID, random)
	if err := s.placeBytes(r.Context(), pictureFolder, name, portrait); err != nil {
		return "", false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.cfg.promptness)
	defer cancel()
	if err = changesOne(s.db.Exec(ctx, `update "user" set profile_picture = $2, updated_at = now() where id = $1`, v.ID, name)); err != nil {
		s.discard(pictureFolder, name)
		return "", false, orNotFound(err, "User")
	}
	s.tidy(ctx) // the one before
	return name, located, nil
}

// pictureAnswer says where the new picture is.
type pictureAnswer struct {
	Message           string `json:"message"`
	ProfilePictureURL string `json:"profile_picture_url"`
	LocationRemoved   bool   `json:"location_removed"`
}

// postPicture answers with the address of the new picture.
func (s *server) postPicture(w http.ResponseWriter, r *http.Request, v viewer) error {
	name, located, err := s.setPicture(unhurried(w, r), r, v)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, pictureAnswer{"Profile picture updated", "/profile_pictures/" + name, located})
}

var errNoPicture = fail(http.StatusNotFound, "No profile picture to delete")

func (s *server) dropPicture(ctx context.Context, v viewer) error {
	err := changesOne(s.db.Exec(ctx, `update "user" set profile_picture = null, updated_at = now() where id = $1 and profile_picture <> ''`, v.ID))
	if errors.Is(err, pgx.ErrNoRows) {
		return errNoPicture
	}
	if err == nil {
		s.tidy(ctx)
	}
	return err
}

// deletePicture answers DELETE /profile/picture.
func (s *server) deletePicture(w http.ResponseWriter, r *http.Request, v viewer) error {
	if err := s.dropPicture(r.Context(), v); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, message{"Profile picture deleted"})
}

// servePicture answers a profile picture. Every change gives it another name.
func (s *server) servePicture(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("file")
	mediaType := pictureUploads.types[strings.ToLower(path.Ext(name))]
	if mediaType == "" {
		return fail(http.StatusNotFound, "Profile picture not found")
	}
	w.Header().Set("Cache-Control", "public, max-age=604800")
	return s.serveStored(w, r, pictureFolder, name, mediaType, "Profile picture")
}

// sendPicture takes the picture that the form of the account page sends.
func (s *server) sendPicture(w http.ResponseWriter, r *http.Request, v viewer) error {
	_, located, err := s.setPicture(unhurried(w, r), r, v)
	ctx, cancel := s.promptly(r) // the upload took what it took
	defer cancel()
	r = r.WithContext(ctx)
	if err == nil && located {
		return s.done(w, r, "/account/profile", "Your picture is saved. It said where it was taken; that was removed.")
	}
	if err == nil {
		return s.done(w, r, "/account/profile", "Your picture is saved.")
	}
	sent, status, err := refused(w, "picture", &input{}, err)
	if err != nil {
		return err
	}
	return s.renderAccount(w, r, v, status, "account_profile", sent)
}

// sendPictureRemoval takes the button below the picture.
func (s *server) sendPictureRemoval(w http.ResponseWriter, r *http.Request, v viewer) error {
	if err := s.dropPicture(r.Context(), v); err != nil && err != errNoPicture {
		return err
	}
	return s.done(w, r, "/account/profile", "Your picture is deleted.")
}
