package main

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "golang.org/x/image/webp"
)

// The corners of the pictures below, upright.
var corners = map[string]color.RGBA{"top left": {230, 20, 20, 255}, "top right": {20, 200, 20, 255}, "bottom left": {20, 20, 230, 255}, "bottom right": {240, 240, 240, 255}}

// lies says for each orientation where the first sample, the last one of the
// first row and the first one of the last row are seen (Exif 2.32, tag 274).
var lies = [9][3]string{
	1: {"top left", "top right", "bottom left"}, 2: {"top right", "top left", "bottom right"},
	3: {"bottom right", "bottom left", "top right"}, 4: {"bottom left", "bottom right", "top left"},
	5: {"top left", "bottom left", "top right"}, 6: {"top right", "bottom right", "top left"},
	7: {"bottom right", "top right", "bottom left"}, 8: {"bottom left", "top left", "bottom right"},
}

// photo is a picture whose corners are right once it is turned as asked.
func photo(w, h, orientation int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	place := lies[orientation]
	rest := slices.DeleteFunc([]string{"top left", "top right", "bottom left", "bottom right"}, func(c string) bool { return slices.Contains(place[:], c) })[0]
	for y := range h {
		for x := range w {
			c := corners[rest]
			switch {
			case y < h/2 && x < w/2:
				c = corners[place[0]]
			case y < h/2:
				c = corners[place[1]]
			case x < w/2:
				c = corners[place[2]]
			}
			img.Set(x, y, c)
		}
	}
	return img
}

// exifOf is what a camera writes (TIFF 6.0): orientation, maker and a place.
func exifOf(order binary.AppendByteOrder, orientation int, located bool) []byte {
	b := []byte("MM\x00\x2a")
	if order == binary.AppendByteOrder(binary.LittleEndian) {
		b = []byte("II\x2a\x00")
	}
	entry := func(tag, kind uint16, count uint32, value []byte) {
		b = order.AppendUint32(order.AppendUint16(order.AppendUint16(b, tag), kind), count)
		b = append(b, append(value, 0, 0, 0, 0)[:4]...)
	}
	entries := uint16(2)
	if located {
		entries++
	}
	b = order.AppendUint16(order.AppendUint32(b, 8), entries)
	entry(271, 2, 4, []byte("SPY\x00"))
	entry(274, 3, 1, order.AppendUint16(nil, uint16(orientation)))
	if located {
		entry(34853, 4, 1, order.AppendUint32(nil, 8+2+3*12+4))
	}
	b = order.AppendUint32(b, 0)
	if located {
		b = order.AppendUint16(b, 2)
		entry(1, 2, 2, []byte("N\x00"))
		entry(3, 2, 2, []byte("E\x00"))
		b = order.AppendUint32(b, 0)
	}
	return b
}

func jpegOf(t testing.TB, img image.Image, segments ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, img, &jpeg.Options{Quality: 90}); err != nil {
		t.Fatal(err)
	}
	out := append([]byte(nil), b.Bytes()[:2]...)
	for _, s := range segments {
		out = binary.BigEndian.AppendUint16(append(out, 0xff, s[0]), uint16(len(s)+1))
		out = append(out, s[1:]...)
	}
	return append(out, b.Bytes()[2:]...)
}

func chunk(kind string, body []byte) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), kind...)
	b = append(b, body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// upright checks that a picture's corners are where they belong.
func upright(t testing.TB, what string, data []byte) image.Image {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	b := img.Bounds()
	for corner, want := range corners {
		x, y := b.Min.X+b.Dx()/5, b.Min.Y+b.Dy()/5
		if strings.HasSuffix(corner, "right") {
			x = b.Max.X - 1 - b.Dx()/5
		}
		if strings.HasPrefix(corner, "bottom") {
			y = b.Max.Y - 1 - b.Dy()/5
		}
		got := color.RGBAModel.Convert(img.At(x, y)).(color.RGBA)
		for i, pair := range [][2]uint8{{got.R, want.R}, {got.G, want.G}, {got.B, want.B}} {
			if d := int(pair[0]) - int(pair[1]); d < -12 || d > 12 {
				t.Fatalf("%s: the %s is %v, want %v (channel %d)", what, corner, got, want, i)
			}
		}
	}
	return img
}

// imageShape is a picture as clients know it.
type imageShape struct {
	ID              int
	Width, Height   *int
	Colour          *string
	Animated        bool
	ImageURL        string `json:"image_url"`
	LocationRemoved bool   `json:"location_removed"`
	Sizes           []struct {
		Width, Height int
		URL           string
	}
}

func local(address string) string { return strings.TrimPrefix(address, "http://localhost:8000") }

func TestPicturesAreTurnedAndCleaned(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	id := alice.draft("Robot")
	list := fmt.Sprintf("/api/projects/%d/images", id)
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	xmp := []byte("\xe1http://ns.adobe.com/xap/1.0/\x00<x exif:GPSLatitude='51,3N'/>")
	for o := 1; o <= 8; o++ {
		order := []binary.AppendByteOrder{binary.BigEndian, binary.LittleEndian}[o%2]
		w, h := 701, 452
		if o >= 5 {
			w, h = h, w
		}
		sent := jpegOf(t, photo(w, h, o), append([]byte("\xe1Exif\x00\x00"), exifOf(order, o, true)...), []byte("\xfeSPY comment"))
		sent = append(sent, "SPY video"...)
		var made imageShape
		alice.post(list, form().file("image", fmt.Sprint(o, ".jpg"), sent)).want(http.StatusCreated).into(&made)
		same(t, "told of the location", made.LocationRemoved, true)
		same(t, "upright size", *made.Width == 701 && *made.Height == 452, true)
		var widths []int
		for _, z := range made.Sizes {
			widths = append(widths, z.Width)
			a := nobody.get(local(z.URL)).want(http.StatusOK)
			img := upright(t, fmt.Sprintf("orientation %d at %d", o, z.Width), a.body)
			same(t, "size", img.Bounds().Dx() == z.Width && img.Bounds().Dy() == z.Height, true)
			if z.Width < 701 { // 2 × 1 blocks of colour have the shape of the whole
				same(t, "shape", z.Height, (452*z.Width+350)/701)
			}
			hidden(t, a.body)
		}
		same(t, "sizes", fmt.Sprint(widths), "[320 640 701]")
		whole := nobody.get(local(made.ImageURL)).want(http.StatusOK)
		upright(t, fmt.Sprintf("the whole of orientation %d", o), whole.body)
		hidden(t, whole.body)
		original := fmt.Sprintf("%s/%d/original", list, made.ID)
		same(t, "the original is its author's", bytes.Equal(alice.get(original).want(http.StatusOK).body, sent), true)
		nobody.get(original).want(http.StatusUnauthorized)
		st.member(fmt.Sprint("other", o)).get(original).detail(http.StatusForbidden, "Only its author can see the originals")
	}
	for name, body := range unzip(t, nobody.get(fmt.Sprintf("/api/projects/%d/download", id)).want(http.StatusOK).body) {
		if strings.HasPrefix(name, "images/") {
			hidden(t, []byte(body))
			upright(t, name, []byte(body))
		}
	}
	// The other ways to say where one was.
	var img bytes.Buffer
	if err := png.Encode(&img, photo(40, 30, 1)); err != nil {
		t.Fatal(err)
	}
	head, rest := img.Bytes()[:33], img.Bytes()[33:]
	var anim bytes.Buffer
	frame := image.NewPaletted(image.Rect(0, 0, 8, 8), color.Palette{color.White, color.Black})
	if err := gif.EncodeAll(&anim, &gif.GIF{Image: []*image.Paletted{frame, frame, frame}, Delay: []int{5, 5, 5}}); err != nil {
		t.Fatal(err)
	}
	comment := bytes.Index(anim.Bytes(), []byte("!\xf9"))
	riff := func(chunks ...string) []byte {
		body := "WEBP" + strings.Join(chunks, "")
		return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
	}
	webp := func(kind, body string) string {
		return kind + string(binary.LittleEndian.AppendUint32(nil, uint32(len(body)))) + body + strings.Repeat("\x00", len(body)%2)
	}
	pixel := string(tinyWebP[12:])
	flags := func(f string) string { return webp("VP8X", f+"\x00\x00\x00"+"\x00\x00\x00\x00\x00\x00") }
	for name, c := range map[string]struct {
		data     []byte
		located  bool
		animated bool
	}{
		"xmp.jpg":       {jpegOf(t, photo(40, 30, 1), xmp), true, false},
		"nowhere.jpg":   {jpegOf(t, photo(40, 30, 1), append([]byte("\xe1Exif\x00\x00"), exifOf(binary.BigEndian, 1, false)...)), false, false},
		"exif.png":      {slices.Concat(head, chunk("eXIf", exifOf(binary.LittleEndian, 1, true)), chunk("tEXt", []byte("Author\x00SPY")), rest, []byte("SPY")), true, false},
		"turned.png":    {slices.Concat(head, chunk("eXIf", exifOf(binary.LittleEndian, 3, false)), rest), false, false},
		"moving.gif":    {slices.Concat(anim.Bytes()[:comment], []byte("!\xfe\x03SPY\x00!\xff\x0bXMP DataXMP\x03SPY\x00"), anim.Bytes()[comment:]), false, true},
		"exif.webp":     {riff(flags("\x0c"), pixel, webp("EXIF", "Exif\x00\x00"+string(exifOf(binary.BigEndian, 1, true))), webp("XMP ", "SPY")), true, false},
		"moving.webp":   {riff(flags("\x06"), webp("ANIM", "\x00\x00\x00\x00\x00\x00"), webp("ANMF", strings.Repeat("\x00", 16)+pixel), webp("ANMF", strings.Repeat("\x00", 16)+pixel), webp("XMP ", "GPSLatitude SPY")), true, true},
		"truncated.jpg": {jpegOf(t, photo(400, 300, 1), xmp)[:2000], true, false},
	} {
		answer := alice.post(list, form().file("image", name, c.data))
		if name == "truncated.jpg" {
			answer.detail(http.StatusBadRequest, "damaged")
			continue
		}
		var made imageShape
		answer.want(http.StatusCreated).into(&made)
		same(t, name+": told of the location", made.LocationRemoved, c.located)
		same(t, name+": animated", made.Animated, c.animated)
		whole := nobody.get(local(made.ImageURL)).want(http.StatusOK).body
		hidden(t, whole)
		if name == "moving.gif" {
			again, err := gif.DecodeAll(bytes.NewReader(whole))
			same(t, "frames kept", err == nil && len(again.Image) == 3 && again.Delay[1] == 5, true)
		}
		if strings.HasSuffix(name, ".webp") {
			h, err := readHead(whole)
			same(t, name+": says that nothing is there", whole[20]&0x0c, 0)
			same(t, name+": still whole", err == nil && h.animated == c.animated && !h.located && h.width == 1, true)
		}
	}
}

// hidden fails when a picture still has something of the camera in it.
func hidden(t testing.TB, data []byte) {
	t.Helper()
	for _, word := range []string{"SPY", "Exif", "GPS", "EXIF", "XMP", "eXIf"} {
		if bytes.Contains(data, []byte(word)) {
			t.Fatalf("%q is still in the picture", word)
		}
	}
}

func TestColourProfilesStay(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	list := fmt.Sprintf("/api/projects/%d/images", alice.draft("Robot"))
	profile := bytes.Repeat([]byte("profile "), 10000) // two segments
	copy(profile[16:], "RGB ")
	sent := jpegOf(t, photo(700, 500, 6), append([]byte("\xe2ICC_PROFILE\x00\x01\x02"), profile[:60000]...), append([]byte("\xe2ICC_PROFILE\x00\x02\x02"), profile[60000:]...),
		append([]byte("\xe1Exif\x00\x00"), exifOf(binary.BigEndian, 6, false)...))
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, _ = z.Write(profile)
	z.Close()
	var img bytes.Buffer
	drawing := photo(700, 500, 1)
	drawing.Set(3, 3, color.Transparent)
	if err := png.Encode(&img, drawing); err != nil {
		t.Fatal(err)
	}
	sentPNG := slices.Concat(img.Bytes()[:33], chunk("iCCP", append([]byte("x\x00\x00"), packed.Bytes()...)), img.Bytes()[33:])
	for name, data := range map[string][]byte{"a.jpg": sent, "a.png": sentPNG} {
		var made imageShape
		alice.post(list, form().file("image", name, data)).want(http.StatusCreated).into(&made)
		for _, z := range made.Sizes {
			body := alice.get(local(z.URL)).want(http.StatusOK).body
			upright(t, name, body)
			h, err := readHead(body)
			same(t, fmt.Sprint(name, " at ", z.Width, " has the profile"), err == nil && bytes.Equal(h.icc, profile), true)
			same(t, "format", "."+map[string]string{"jpeg": "jpg", "png": "png"}[h.format], filepath.Ext(name))
		}
	}
}

// The colours of a lossy WebP are those of other formats: this one is 16 × 16
// pixels of (200, 30, 40).
func TestColoursOfWebP(t *testing.T) {
	t.Parallel()
	lossy, err := hex.DecodeString("524946463c000000574542505650382030000000" +
		"d001009d012a1000100000c01225a00274ba01f80003b000fef936cfff3b06c4bb5e39fffb8f2fdc797ee3cbff714000")
	must(t, err)
	st := newSite(t)
	alice := st.member("alice")
	var made imageShape
	alice.post(fmt.Sprintf("/api/projects/%d/images", alice.draft("Robot")), form().file("image", "a.webp", lossy)).want(http.StatusCreated).into(&made)
	var r, g, b int
	_, err = fmt.Sscanf(*made.Colour, "#%02x%02x%02x", &r, &g, &b)
	same(t, *made.Colour, err == nil && r > 196 && r < 204 && g > 26 && g < 34 && b > 36 && b < 44, true)
}

func TestSizesAreServed(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	id := alice.draft("Robot")
	list := fmt.Sprintf("/api/projects/%d/images", id)
	var made imageShape
	alice.post(list, form("caption", "Front").file("image", "a.jpg", jpegOf(t, photo(2000, 1000, 1)))).want(http.StatusCreated).into(&made)
	var widths []int
	for _, z := range made.Sizes {
		widths = append(widths, z.Width)
	}
	same(t, "sizes", fmt.Sprint(widths), "[320 640 1280 1920 2000]")
	same(t, "colour", *made.Colour, "#807880") // of the four corners together
	small := local(made.Sizes[0].URL)
	nobody.get(small).want(http.StatusForbidden)
	a := alice.get(small).want(http.StatusOK)
	same(t, "a draft is private", a.header.Get("Cache-Control"), "private, no-cache")
	alice.page(fmt.Sprintf("/projects/%d/edit", id)).want(http.StatusOK).shows(small+" 320w", "/original")
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	a = nobody.get(small).want(http.StatusOK)
	same(t, "kept for ever", a.header.Get("Cache-Control"), "public, max-age=31536000, immutable")
	same(t, "type", a.header.Get("Content-Type"), "image/jpeg")
	same(t, "sandboxed", strings.HasPrefix(a.header.Get("Content-Security-Policy"), "sandbox;"), true)
	same(t, "dated", a.header.Get("Last-Modified") != "", true)
	nobody.do(http.MethodGet, small, nil, "If-None-Match", a.header.Get("ETag")).want(http.StatusNotModified)
	nobody.do(http.MethodGet, small, nil, "If-Modified-Since", a.header.Get("Last-Modified")).want(http.StatusNotModified)
	part := nobody.do(http.MethodGet, small, nil, "Range", "bytes=0-1").want(http.StatusPartialContent)
	same(t, "range", string(part.body), "\xff\xd8")
	same(t, "head", len(nobody.do(http.MethodHead, small, nil).want(http.StatusOK).body), 0)
	nobody.get(fmt.Sprintf("%s/%d/%s", list, made.ID, "other-320-000000000000.jpg")).detail(http.StatusNotFound, "no such size")
	nobody.page(nobody.page(fmt.Sprintf("/projects/%d", id)).redirects("/p/")).shows(small+" 320w", `fill="#807880"`, `width="960" height="480"`)
	nobody.page("/projects").shows(small + " 320w")
	// Taken back, it is its author's again.
	alice.post(fmt.Sprintf("/api/projects/%d/unpublish", id), nil).want(http.StatusOK)
	nobody.get(small).want(http.StatusForbidden)

	same(t, "a file each, and the original is the whole", st.stored(), 5)
	same(t, "the ledger knows them", st.count(`select count(*) from media_file where state = 'kept' and size > 0 and length(sha256) = 64`), 5)
	alice.delete(fmt.Sprintf("%s/%d", list, made.ID)).want(http.StatusNoContent)
	same(t, "all gone", st.stored(), 0)
	same(t, "ledger", st.count(`select count(*) from media_file`), 0)
}

// Pictures of the older service get their sizes when they are first asked for,
// or by a job.
func TestOlderPicturesGetTheirSizes(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	id := alice.draft("Robot")
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	camera := jpegOf(t, photo(452, 701, 6), append([]byte("\xe1Exif\x00\x00"), exifOf(binary.BigEndian, 6, true)...))
	for _, name := range []string{"one.jpg", "two.jpg", "bad.jpg"} {
		data := camera
		if name == "bad.jpg" {
			data = []byte("not a picture; SPY")
		}
		if err := os.WriteFile(filepath.Join(st.uploads, imageFolder, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
		st.exec(`insert into project_image (project_id, filename, original_filename) values ($1, $2, $2)`, id, name)
	}
	path := func(n int) string { return fmt.Sprintf("/api/projects/%d/images/%d", id, n) }
	a := nobody.get(path(1) + "/file").want(http.StatusOK)
	hidden(t, a.body)
	upright(t, "on demand", a.body)
	if err := st.prepareSome(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	var list []imageShape
	nobody.get(fmt.Sprintf("/api/projects/%d/images", id)).into(&list)
	same(t, "by the job", len(list[1].Sizes) == 3 && *list[1].Width == 701 && len(list[0].Sizes) == 3, true)
	nobody.get(path(3)+"/file").detail(http.StatusNotFound, "damaged")
	nobody.get(path(3)+"/file").detail(http.StatusNotFound, "damaged")
	content := unzip(t, nobody.get(fmt.Sprintf("/api/projects/%d/download", id)).want(http.StatusOK).body)
	hidden(t, []byte(content["images/one.jpg"]))
	_, has := content["images/bad.jpg"]
	same(t, "nothing that can't be cleaned", has, false)
}

func TestPicturesThatAreRefused(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	list := fmt.Sprintf("/api/projects/%d/images", alice.draft("Robot"))
	wide := picture(t, "gif", 1, 1)
	copy(wide[6:], "\xff\xff\xff\xff")
	vast := append([]byte("RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00"), "\xff\xff\xff\xff\xff\xff"...)
	for name, c := range map[string]struct {
		data []byte
		msg  string
	}{
		"wide.gif":  {wide, "50 million"},
		"vast.webp": {append(vast, "ANMF\x00\x00\x00\x00"...), "no such picture"},
		"cut.png":   {picture(t, "png", 300, 300)[:60], "no such picture"},
		"cut.gif":   {picture(t, "gif", 300, 300)[:20], "no such picture"},
		"text.webp": {[]byte("RIFF\x10\x00\x00\x00WEBPVP8 \x04\x00\x00\x00abcd"), "no such picture"},
	} {
		a := alice.post(list, form("caption", "x").file("image", name, c.data))
		if a.status != http.StatusBadRequest || !strings.Contains(string(a.body), c.msg) && !strings.Contains(string(a.body), "damaged") && !strings.Contains(string(a.body), "50 million") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	// A photo that goes over its pixels for ever.
	one := jpegOf(t, photo(16, 16, 1))
	scan := one[bytes.Index(one, []byte("\xff\xda")) : len(one)-2]
	alice.post(list, form().file("image", "scans.jpg", slices.Concat(one[:len(one)-2], bytes.Repeat(scan, 200), one[len(one)-2:]))).detail(http.StatusBadRequest, "no such picture")
	same(t, "stored", st.stored(), 0)
	// The page keeps what was typed beside the picture.
	id := alice.draft("Other")
	alice.do(http.MethodPost, fmt.Sprintf("/projects/%d/edit/images", id), form("caption", "Seen from the left").file("image", "a.png", []byte("<html>")),
		"Accept", "text/html", "Origin", alice.url).want(http.StatusBadRequest).shows("no such picture", `value="Seen from the left"`)
	// In a form the caption comes after the file, and the file can be too large.
	late := form().file("image", "a.png", make([]byte, 12<<20))
	_ = late.w.WriteField("caption", "Seen from the right")
	alice.do(http.MethodPost, fmt.Sprintf("/projects/%d/edit/images", id), late, "Accept", "text/html", "Origin", alice.url).
		want(http.StatusBadRequest).shows("at most 10 MB", `value="Seen from the right"`)
	to := alice.do(http.MethodPost, fmt.Sprintf("/projects/%d/edit/images", id), form().file("image", "a.jpg", jpegOf(t, photo(40, 30, 1), append([]byte("\xe1Exif\x00\x00"), exifOf(binary.BigEndian, 1, true)...))),
		"Accept", "text/html", "Origin", alice.url).redirects(fmt.Sprintf("/projects/%d/edit?done=located&saved=images-", id))
	alice.page(strings.Split(to, "#")[0]).shows("said where it was taken")
}

func TestSendingAnUploadAgain(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	for _, kind := range []string{"files", "images"} {
		path := fmt.Sprintf("/api/projects/%d/%s", id, kind)
		up := func(uploadID string) int {
			t.Helper()
			f := form("upload_id", uploadID)
			if kind == "files" {
				f.file("file", "a.py", []byte("print()"))
			} else {
				f.file("image", "a.png", picture(t, "png", 30, 30))
			}
			return alice.post(path, f).want(http.StatusCreated).id()
		}
		first := up("one")
		same(t, "again", up("one"), first)
		same(t, "another", up("two") != first, true)
	}
	same(t, "rows", st.count(`select (select count(*) from project_file) + (select count(*) from project_image)`), 4)
	same(t, "stored", st.stored(), 4)
}

func TestUploadQuota(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.uploadQuota = 1 << 20 })
	alice, bob := st.member("alice"), st.member("bob")
	first, second := alice.draft("One"), alice.draft("Two")
	big := make([]byte, 600<<10)
	id := alice.post(fmt.Sprintf("/api/projects/%d/files", first), form().file("file", "a.stl", big)).want(http.StatusCreated).id()
	path := fmt.Sprintf("/api/projects/%d/files", second)
	alice.post(path, form().file("file", "b.stl", big)).detail(http.StatusBadRequest, "Your files and pictures take 600 KB of the 1 MB that one person may store")
	same(t, "stored", st.stored(), 1)
	bob.post(fmt.Sprintf("/api/projects/%d/files", bob.draft("Mine")), form().file("file", "b.stl", big)).want(http.StatusCreated)
	alice.delete(fmt.Sprintf("/api/projects/%d/files/%d", first, id)).want(http.StatusNoContent)
	alice.post(path, form().file("file", "b.stl", big)).want(http.StatusCreated)
}

func TestProfilePictures(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	nobody.post("/profile/picture", form().file("file", "a.png", picture(t, "png", 10, 10))).detail(http.StatusUnauthorized, "Missing token")
	alice.delete("/profile/picture").detail(http.StatusNotFound, "No profile picture to delete")
	camera := jpegOf(t, photo(900, 1400, 6), append([]byte("\xe1Exif\x00\x00"), exifOf(binary.BigEndian, 6, true)...))
	answer := alice.post("/profile/picture", form().file("file", "me.JPG", camera)).want(http.StatusOK).fields()
	address := answer["profile_picture_url"].(string)
	same(t, "message", answer["message"].(string) != "", true)
	same(t, "told", answer["location_removed"], any(true))
	name := strings.TrimPrefix(address, "/profile_pictures/")
	var id int
	var random string
	_, err := fmt.Sscanf(name, "user_%d_%8s", &id, &random)
	same(t, "name", err == nil && name == fmt.Sprintf("user_%d_%s.png", id, random) && strings.Trim(random, "0123456789abcdef") == "", true)
	a := nobody.get(address).want(http.StatusOK)
	same(t, "type", a.header.Get("Content-Type"), "image/png")
	same(t, "kept a week", a.header.Get("Cache-Control"), "public, max-age=604800")
	hidden(t, a.body)
	img := upright(t, "profile picture", a.body)
	same(t, "size", img.Bounds().String(), "(0,0)-(400,257)")
	same(t, "avatar_url", alice.get("/api/me").fields()["avatar_url"], any("http://localhost:8000"+address))
	// A new one takes the place of the old; a small one stays as it is.
	second := alice.post("/profile/picture", form().file("file", "me.gif", picture(t, "gif", 20, 10))).want(http.StatusOK).fields()["profile_picture_url"].(string)
	nobody.get(address).want(http.StatusNotFound)
	img, _, err = image.Decode(bytes.NewReader(nobody.get(second).want(http.StatusOK).body))
	same(t, "size", err == nil && img.Bounds().Dx() == 20 && img.Bounds().Dy() == 10, true)
	alice.post("/profile/picture", form().file("file", "a.webp", tinyWebP)).want(http.StatusOK)
	for _, c := range []struct {
		name string
		data []byte
		msg  string
	}{
		{"a.svg", []byte(tinySVG), "allowed: .gif .jpeg .jpg .png .webp"},
		{"a.png", []byte("<html>"), "no such picture"},
		{"a.png", append(picture(t, "png", 4, 4), make([]byte, 5<<20)...), "at most 5 MB"},
		{"a.png", bombPNG(), "at most 50 million"},
		{"a.png", nil, "The file is empty"},
	} {
		alice.post("/profile/picture", form().file("file", c.name, c.data)).detail(http.StatusBadRequest, c.msg)
	}
	same(t, "stored", st.stored(), 1)
	for _, path := range []string{"/profile_pictures/nobody.png", "/profile_pictures/..%2f..%2fsecret_key", "/profile_pictures/x.txt"} {
		nobody.get(path).want(http.StatusNotFound)
	}
	// The same by hand, on the account page.
	alice.page("/account/profile").shows("Delete picture")
	alice.submit("/account/picture/delete", url.Values{}).redirects("/account/profile")
	same(t, "gone", alice.get("/api/me").fields()["avatar_url"], nil)
	same(t, "stored", st.stored(), 0)
	alice.do(http.MethodPost, "/account/picture", form().file("file", "a.png", []byte("x")), "Accept", "text/html", "Origin", alice.url).
		want(http.StatusBadRequest).shows("no such picture", "Your picture")
	alice.do(http.MethodPost, "/account/picture", form().file("file", "me.jpg", camera), "Accept", "text/html", "Origin", alice.url).redirects("/account/profile")
	alice.page("/account/profile").shows("It said where it was taken", "/profile_pictures/user_")
}

// Whatever people send, looking at it does not panic and what is left can be
// looked at again.
func FuzzReadHead(f *testing.F) {
	f.Add(jpegOf(f, photo(20, 10, 1), append([]byte("\xe1Exif\x00\x00"), exifOf(binary.BigEndian, 6, true)...)))
	f.Add(picture(f, "png", 20, 10))
	f.Add(picture(f, "gif", 20, 10))
	f.Add(tinyWebP)
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := readHead(data)
		if err != nil || h.width > 1000 || h.height > 1000 {
			return
		}
		if _, err := readHead(h.clean); err != nil {
			t.Fatalf("cleaned, it can't be read: %v", err)
		}
		if img, err := h.decode(); err == nil {
			averageColour(turn(resize(img, 3, 2), h.orientation))
		}
	})
}
