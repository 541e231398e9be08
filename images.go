package main

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/draw"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math"
	"slices"

	"golang.org/x/image/webp"
)

// Reading pictures of people's cameras and writing what others get to see of
// them. A picture is looked at twice: its container, from which everything goes
// that is not needed to show it, and its pixels, of which smaller sizes are made.

const (
	// maxPixels bounds the memory that decoding one picture takes: 4 bytes a pixel
	// and for a few kinds 8.
	maxPixels = 50_000_000
	// maxDecoding is how many pictures are in memory at once.
	maxDecoding = 2
	// maxScans bounds the time: a JPEG can go over all its pixels again and again.
	// Encoders use up to about ten scans.
	maxScans = 100
)

// imageHead is what a picture's container says.
type imageHead struct {
	format        string // as the image package names it
	width, height int    // as stored
	orientation   int    // 1 to 8 (Exif 2.32 §4.6.4, tag 274)
	located       bool   // it says where it was taken
	animated      bool
	icc           []byte // colour profile, if there is one
	clean         []byte // the container without everything else
}

var errBadImage = errors.New("not a picture that can be read")

// readHead looks at a picture's container.
func readHead(data []byte) (imageHead, error) {
	h := imageHead{orientation: 1}
	config, format, err := image.DecodeConfig(bytes.NewReader(data))
	h.format, h.width, h.height = format, config.Width, config.Height
	switch {
	case len(data) > 12 && string(data[8:12]) == "WEBP": // an animated one the package does not know
		h.format, err = "webp", h.webp(data)
	case err != nil:
		return h, errBadImage
	case format == "jpeg":
		err = h.jpeg(data)
	case format == "png":
		err = h.png(data)
	case format == "gif":
		err = h.gif(data)
	}
	if err == nil && (h.width <= 0 || h.height <= 0) {
		err = errBadImage
	}
	return h, err
}

// jpeg keeps of a JPEG (ITU T.81 §B) what decoding needs, and the colour
// profile. What follows the picture, such as a video, goes as well.
func (h *imageHead) jpeg(data []byte) error {
	if len(data) < 4 {
		return errBadImage
	}
	out, scans := append(make([]byte, 0, len(data)), data[:2]...), 0
	for at := 2; at+4 <= len(data); {
		if data[at] != 0xff {
			return errBadImage
		}
		marker := data[at+1]
		if marker == 0xff { // a fill byte
			at++
			continue
		}
		if marker == 0xd9 {
			h.clean = append(out, 0xff, 0xd9)
			return nil
		}
		if marker >= 0xd0 && marker <= 0xd7 || marker == 0x01 {
			out, at = append(out, data[at:at+2]...), at+2
			continue
		}
		end := at + 2 + int(binary.BigEndian.Uint16(data[at+2:]))
		if end < at+4 || end > len(data) {
			return errBadImage
		}
		segment, body := data[at:end], data[at+4:end]
		at = end
		switch {
		case marker == 0xe0 && bytes.HasPrefix(body, []byte("JFIF\x00")) && len(body) >= 14:
			// Without its thumbnail.
			out = append(append(append(out, 0xff, 0xe0, 0, 16), body[:12]...), 0, 0)
		case marker == 0xe1:
			h.metadata(body)
		case marker == 0xe2 && bytes.HasPrefix(body, []byte("ICC_PROFILE\x00")) && len(body) > 14:
			h.icc = append(h.icc, body[14:]...)
			out = append(out, segment...)
		case marker == 0xee && bytes.HasPrefix(body, []byte("Adobe")):
			out = append(out, segment...) // says which colours the numbers mean
		case marker >= 0xe0 && marker <= 0xef || marker == 0xfe:
		default:
			out = append(out, segment...)
		}
		if marker == 0xda { // the scan's data, to the next marker that is none of its own
			if scans++; scans > maxScans {
				return errBadImage
			}
			start := at
			for at+1 < len(data) && (data[at] != 0xff || data[at+1] == 0 || data[at+1] >= 0xd0 && data[at+1] <= 0xd7) {
				at++
			}
			out = append(out, data[start:at]...)
		}
	}
	// A picture that ends early is shown as far as it goes.
	h.clean = append(out, 0xff, 0xd9)
	return nil
}

// metadata reads the body of a JPEG's APP1 segment: Exif or XMP.
func (h *imageHead) metadata(body []byte) {
	if exif, found := bytes.CutPrefix(body, []byte("Exif\x00")); found && len(exif) > 0 {
		h.exif(exif[1:])
	} else {
		h.xmp(body)
	}
}

func (h *imageHead) xmp(text []byte) {
	h.located = h.located || bytes.Contains(text, []byte("GPSLatitude"))
}

// exif reads orientation and location (Exif 2.32 §4.6, TIFF 6.0 §2). Nothing
// it says is believed to be within its bounds.
func (h *imageHead) exif(tiff []byte) {
	if len(tiff) < 8 {
		return
	}
	var order binary.ByteOrder = binary.BigEndian
	if tiff[0] == 'I' {
		order = binary.LittleEndian
	}
	entries := func(at uint32, each func(tag, kind uint16, value []byte)) {
		if uint64(at)+2 > uint64(len(tiff)) {
			return
		}
		rest := tiff[at+2:]
		for range order.Uint16(tiff[at:]) {
			if len(rest) < 12 {
				return
			}
			each(order.Uint16(rest), order.Uint16(rest[2:]), rest[8:12])
			rest = rest[12:]
		}
	}
	entries(order.Uint32(tiff[4:]), func(tag, kind uint16, value []byte) {
		switch {
		case tag == 274 && kind == 3:
			if o := int(order.Uint16(value)); o >= 1 && o <= 8 {
				h.orientation = o
			}
		case tag == 34853: // the GPS directory: 1 to 4 are latitude and longitude
			entries(order.Uint32(value), func(tag, _ uint16, _ []byte) {
				h.located = h.located || tag >= 1 && tag <= 4
			})
		}
	})
}

// pngKept are the chunks of a PNG that say how it looks, its animation among
// them (PNG 3rd edition §11).
var pngKept = []string{"IHDR", "PLTE", "IDAT", "IEND", "tRNS", "gAMA", "cHRM", "sRGB", "cICP", "sBIT", "bKGD", "pHYs", "acTL", "fcTL", "fdAT"}

func (h *imageHead) png(data []byte) error {
	out := append(make([]byte, 0, len(data)), data[:8]...)
	for at := 8; at+12 <= len(data); {
		end := at + 12 + int(binary.BigEndian.Uint32(data[at:]))
		if end < at || end > len(data) {
			return errBadImage
		}
		kind, body := string(data[at+4:at+8]), data[at+8:end-4]
		switch {
		case slices.Contains(pngKept, kind):
			h.animated = h.animated || kind == "acTL"
			out = append(out, data[at:end]...)
		case kind == "iCCP":
			if _, packed, found := bytes.Cut(body, []byte{0}); found && len(packed) > 1 {
				if r, err := zlib.NewReader(bytes.NewReader(packed[1:])); err == nil {
					h.icc, _ = io.ReadAll(io.LimitReader(r, 4<<20)) // a broken one is left out
				}
			}
			out = append(out, data[at:end]...)
		case kind == "eXIf":
			h.exif(body)
		case kind == "iTXt":
			h.xmp(body)
		}
		if kind == "IEND" {
			h.clean = out
			return nil
		}
		at = end
	}
	return errBadImage
}

// gif keeps of a GIF (GIF89a specification) the pictures and how often they are
// repeated.
func (h *imageHead) gif(data []byte) error {
	if len(data) < 13 {
		return errBadImage
	}
	at := 13
	if data[10]&0x80 != 0 {
		at += 3 << (data[10]&7 + 1)
	}
	if at > len(data) {
		return errBadImage
	}
	out, frames := append(make([]byte, 0, len(data)), data[:at]...), 0
	blocks := func(at int) int { // the end of a row of sub-blocks, or -1
		for at < len(data) {
			n := int(data[at])
			at += 1 + n
			if n == 0 {
				return at
			}
		}
		return -1
	}
	for at < len(data) {
		start, keep := at, true
		switch {
		case data[at] == 0x3b:
			h.animated = frames > 1
			h.clean = append(out, 0x3b)
			return nil
		case data[at] == 0x21 && at+2 < len(data):
			at = blocks(at + 2)
			label := data[start+1]
			keep = label == 0xf9 || label == 0xff && start+14 < len(data) &&
				(string(data[start+3:start+14]) == "NETSCAPE2.0" || string(data[start+3:start+14]) == "ANIMEXTS1.0")
		case data[at] == 0x2c && at+10 < len(data):
			frames++
			packed := data[at+9]
			at += 10
			if packed&0x80 != 0 {
				at += 3 << (packed&7 + 1)
			}
			at = blocks(at + 1)
		default:
			at = -1
		}
		if at < 0 || at > len(data) {
			break
		}
		if keep {
			out = append(out, data[start:at]...)
		}
	}
	if frames == 0 {
		return errBadImage
	}
	// Cut short, it is shown as far as it goes.
	h.animated = frames > 1
	h.clean = append(out, 0x3b)
	return nil
}

// webp keeps of a WebP (RFC 9649 §2) all but its metadata.
func (h *imageHead) webp(data []byte) error {
	out := append(make([]byte, 0, len(data)), data[:12]...)
	end := min(len(data), 8+int(binary.LittleEndian.Uint32(data[4:])))
	seen := false
	for at := 12; at+8 <= end; {
		size := int(binary.LittleEndian.Uint32(data[at+4:]))
		next := at + 8 + size + size&1
		if size > end-at-8 {
			return errBadImage
		}
		next = min(next, end)
		kind, body := string(data[at:at+4]), data[at+8:at+8+size]
		switch kind {
		case "VP8X":
			if size < 10 {
				return errBadImage
			}
			h.animated = body[0]&2 != 0
			h.width = 1 + (int(body[4]) | int(body[5])<<8 | int(body[6])<<16)
			h.height = 1 + (int(body[7]) | int(body[8])<<8 | int(body[9])<<16)
			out = append(out, data[at:at+8]...)
			out = append(append(out, body[0]&^0x0c), body[1:]...) // says that there is no Exif and no XMP
		case "EXIF":
			h.exif(bytes.TrimPrefix(body, []byte("Exif\x00\x00")))
		case "XMP ":
			h.xmp(body)
		case "ICCP", "ANIM", "ANMF", "ALPH", "VP8 ", "VP8L":
			if kind == "ICCP" {
				h.icc = body
			}
			seen = seen || kind[0] == 'V' || kind == "ANMF"
			out = append(out, data[at:next]...)
		}
		at = next
	}
	if !seen {
		return errBadImage
	}
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	h.clean = out
	return nil
}

// firstFrame makes of an animated WebP one that stands still (RFC 9649 §2.7.1.1).
func firstFrame(data []byte) []byte {
	for at := 12; at+8 <= len(data); {
		size := int(binary.LittleEndian.Uint32(data[at+4:]))
		if size > len(data)-at-8 {
			break
		}
		body := data[at+8 : at+8+size]
		if string(data[at:at+4]) == "ANMF" && size > 16 {
			out := append([]byte("RIFF\x00\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00"), body[6:12]...)
			if bytes.HasPrefix(body[16:], []byte("ALPH")) {
				out[20] = 0x10
			}
			if bytes.HasPrefix(body[16:], []byte("VP8L")) {
				out = out[:12] // it stands by itself
			}
			out = append(out, body[16:]...)
			binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
			return out
		}
		at += 8 + size + size&1
	}
	return nil
}

// decode returns a picture's pixels, of an animation those of the first frame.
func (h *imageHead) decode() (image.Image, error) {
	if h.width > maxPixels/h.height {
		return nil, errBadImage
	}
	source := bytes.NewReader(h.clean)
	switch h.format {
	case "jpeg":
		return jpeg.Decode(source)
	case "png":
		return png.Decode(source)
	case "webp":
		if h.animated {
			source = bytes.NewReader(firstFrame(h.clean))
			if config, err := webp.DecodeConfig(source); err != nil || config.Width > h.width || config.Height > h.height {
				return nil, errBadImage
			}
			_, _ = source.Seek(0, io.SeekStart)
		}
		img, err := webp.Decode(source)
		if err == nil {
			widen(img)
		}
		return img, err
	}
	frame, err := gif.Decode(source)
	if err != nil || frame.Bounds() == image.Rect(0, 0, h.width, h.height) {
		return frame, err
	}
	canvas := image.NewRGBA(image.Rect(0, 0, h.width, h.height))
	draw.Draw(canvas, frame.Bounds(), frame, frame.Bounds().Min, draw.Src)
	return canvas, nil
}

// widen makes the numbers of a lossy WebP those that image.YCbCr stands for. The
// format leaves out the lowest and the highest (RFC 6386 §9.2: those of ITU-R
// BT.601), and the module takes them as they are, which looks dull.
func widen(img image.Image) {
	var planes *image.YCbCr
	switch img := img.(type) {
	case *image.YCbCr:
		planes = img
	case *image.NYCbCrA:
		planes = &img.YCbCr
	default:
		return
	}
	var luma, chroma [256]uint8
	for i := range 256 {
		luma[i] = uint8(min(max((i-16)*255/219, 0), 255))
		chroma[i] = uint8(min(max((i-128)*255/224+128, 0), 255))
	}
	for i, v := range planes.Y {
		planes.Y[i] = luma[v]
	}
	for i := range planes.Cb {
		planes.Cb[i], planes.Cr[i] = chroma[planes.Cb[i]], chroma[planes.Cr[i]]
	}
}

// turn brings a picture upright. Planes are turned as they are, since a large
// photo of four bytes a pixel would take much more room.
func turn(img image.Image, orientation int) image.Image {
	if orientation == 1 {
		return img
	}
	b := img.Bounds()
	size := image.Rect(0, 0, b.Dx(), b.Dy())
	if orientation >= 5 {
		size = image.Rect(0, 0, b.Dy(), b.Dx())
	}
	ratios := map[image.YCbCrSubsampleRatio]image.YCbCrSubsampleRatio{
		image.YCbCrSubsampleRatio444: image.YCbCrSubsampleRatio444, image.YCbCrSubsampleRatio420: image.YCbCrSubsampleRatio420,
		image.YCbCrSubsampleRatio422: image.YCbCrSubsampleRatio440, image.YCbCrSubsampleRatio440: image.YCbCrSubsampleRatio422,
	}
	if src, is := img.(*image.YCbCr); is && b.Min == (image.Point{}) {
		if ratio, known := ratios[src.SubsampleRatio]; known {
			if orientation < 5 {
				ratio = src.SubsampleRatio
			}
			dst := image.NewYCbCr(size, ratio)
			turnPlane(dst.Y, src.Y, b.Dx(), b.Dy(), src.YStride, dst.YStride, 1, orientation)
			cw, ch := chromaSize(src)
			turnPlane(dst.Cb, src.Cb, cw, ch, src.CStride, dst.CStride, 1, orientation)
			turnPlane(dst.Cr, src.Cr, cw, ch, src.CStride, dst.CStride, 1, orientation)
			return dst
		}
	}
	flat, is := img.(*image.RGBA)
	if !is || b.Min != (image.Point{}) {
		flat = image.NewRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
		draw.Draw(flat, flat.Bounds(), img, b.Min, draw.Src)
	}
	dst := image.NewRGBA(size)
	turnPlane(dst.Pix, flat.Pix, b.Dx(), b.Dy(), flat.Stride, dst.Stride, 4, orientation)
	return dst
}

// chromaSize is how many samples of colour a picture has across and down.
func chromaSize(img *image.YCbCr) (w, h int) {
	w, h = img.Rect.Dx(), img.Rect.Dy()
	switch img.SubsampleRatio {
	case image.YCbCrSubsampleRatio420:
		return (w + 1) / 2, (h + 1) / 2
	case image.YCbCrSubsampleRatio422:
		return (w + 1) / 2, h
	case image.YCbCrSubsampleRatio440:
		return w, (h + 1) / 2
	}
	return w, h
}

// turnPlane copies w × h samples of n bytes, turned and mirrored as the
// orientation asks for.
func turnPlane(dst, src []byte, w, h, stride, dstStride, n, orientation int) {
	for y := range h {
		for x := range w {
			tx, ty := x, y
			switch orientation {
			case 2:
				tx = w - 1 - x
			case 3:
				tx, ty = w-1-x, h-1-y
			case 4:
				ty = h - 1 - y
			case 5:
				tx, ty = y, x
			case 6:
				tx, ty = h-1-y, x
			case 7:
				tx, ty = h-1-y, w-1-x
			case 8:
				tx, ty = y, w-1-x
			}
			copy(dst[ty*dstStride+tx*n:][:n], src[y*stride+x*n:][:n])
		}
	}
}

// span is which samples make up a new one, and how much each counts.
type span struct {
	first   int
	weights []float32
}

// catmullRom is the spans of n new samples of a row of from old ones: the cubic
// convolution of Keys with a = -0.5, widened where there is less room.
func catmullRom(n, from int) []span {
	spans := make([]span, n)
	scale := float64(from) / float64(n)
	wide := max(scale, 1)
	for i := range spans {
		centre := (float64(i)+0.5)*scale - 0.5
		first, last := int(math.Ceil(centre-2*wide)), int(math.Floor(centre+2*wide))
		sp := span{first: max(first, 0)}
		sum := 0.0
		var weights []float64
		for at := sp.first; at <= min(last, from-1); at++ {
			d := math.Abs(float64(at)-centre) / wide
			w := 0.0
			if d < 1 {
				w = 1.5*d*d*d - 2.5*d*d + 1
			} else if d < 2 {
				w = -0.5*d*d*d + 2.5*d*d - 4*d + 2
			}
			weights = append(weights, w)
			sum += w
		}
		for _, w := range weights {
			sp.weights = append(sp.weights, float32(w/sum))
		}
		spans[i] = sp
	}
	return spans
}

// resize scales a picture to w × h pixels. It works row by row: beside the two
// pictures only the rows that one new row is made of are in memory.
func resize(src image.Image, w, h int) *image.RGBA {
	b := src.Bounds()
	across, down := catmullRom(w, b.Dx()), catmullRom(h, b.Dy())
	deepest := 0
	for _, sp := range down {
		deepest = max(deepest, len(sp.weights))
	}
	rows := make([][]float32, deepest) // the last ones, scaled across
	for i := range rows {
		rows[i] = make([]float32, 4*w)
	}
	line := image.NewRGBA(image.Rect(0, 0, b.Dx(), 1))
	wide := make([]float32, 4*b.Dx())
	sums := make([]float32, 4*w)
	dst := image.NewRGBA(image.Rect(0, 0, w, h))
	next := 0 // row of src
	for y, sp := range down {
		for ; next < sp.first+len(sp.weights); next++ {
			draw.Draw(line, line.Rect, src, image.Pt(b.Min.X, b.Min.Y+next), draw.Src)
			for i, v := range line.Pix {
				wide[i] = float32(v)
			}
			row := rows[next%deepest]
			for x, sp := range across {
				var r, g, b, a float32
				from := wide[4*sp.first:][:4*len(sp.weights)]
				for i, weight := range sp.weights {
					r += weight * from[4*i]
					g += weight * from[4*i+1]
					b += weight * from[4*i+2]
					a += weight * from[4*i+3]
				}
				row[4*x], row[4*x+1], row[4*x+2], row[4*x+3] = r, g, b, a
			}
		}
		clear(sums)
		for i, weight := range sp.weights {
			for x, v := range rows[(sp.first+i)%deepest] {
				sums[x] += weight * v
			}
		}
		out := dst.Pix[y*dst.Stride:]
		for x := 0; x < 4*w; x += 4 {
			a := min(max(sums[x+3]+0.5, 0), 255)
			out[x+3] = uint8(a)
			for c := range 3 { // a colour can't be more than its alpha
				out[x+c] = uint8(min(max(sums[x+c]+0.5, 0), a))
			}
		}
	}
	return dst
}

// within is the largest size of a picture's shape that is w wide at most.
func within(w, width, height int) (int, int) {
	return w, max(1, (height*w+width/2)/width)
}

// madeSize is one size of a picture, encoded.
type madeSize struct {
	width, height int
	whole         bool
	extension     string
	data          []byte
}

// pictureSizes are the widths that are made, where the picture is wider.
var pictureSizes = []int{320, 640, 1280, 1920}

// madePicture is everything that others get to see of a picture.
type madePicture struct {
	width, height     int    // upright
	colour            string // of it all, as #rrggbb
	animated, located bool
	sizes             []madeSize // the whole one last
}

// makePicture reads a picture and makes its sizes; errBadImage when it can't be
// read. The caller has one of the places for decoding.
func makePicture(data []byte) (madePicture, error) {
	h, err := readHead(data)
	if err != nil {
		return madePicture{}, err
	}
	img, err := h.decode()
	if err != nil {
		return madePicture{}, errBadImage
	}
	m := madePicture{width: h.width, height: h.height, animated: h.animated, located: h.located}
	if h.orientation >= 5 {
		m.width, m.height = h.height, h.width
	}
	whole := madeSize{m.width, m.height, true, extensions[h.format], h.clean}
	if h.orientation != 1 && !h.animated {
		upright := turn(img, h.orientation)
		whole.extension, whole.data, err = h.encode(upright, h.format == "jpeg" || h.format == "webp" && opaque(upright), 92)
		if err != nil {
			return m, err
		}
	}
	var smaller image.Image = img
	asJPEG := h.format == "jpeg"
	for i, width := range slices.Backward(pictureSizes) {
		if width >= m.width && i > 0 {
			continue
		}
		w, height := within(min(width, m.width), m.width, m.height)
		if h.orientation >= 5 && smaller == img {
			smaller = turn(resize(img, height, w), h.orientation)
		} else if smaller == img {
			smaller = turn(resize(img, w, height), h.orientation)
		} else {
			smaller = resize(smaller, w, height)
		}
		if len(m.sizes) == 0 && !asJPEG {
			asJPEG = fitsJPEG(smaller)
		}
		if width < m.width {
			extension, encoded, err := h.encode(smaller, asJPEG, 82)
			if err != nil {
				return m, err
			}
			m.sizes = append(m.sizes, madeSize{w, height, false, extension, encoded})
		}
	}
	slices.Reverse(m.sizes)
	m.sizes = append(m.sizes, whole)
	m.colour = averageColour(smaller)
	return m, nil
}

// decode does what needs the memory of a decoded picture, or waits until others
// have done: only a few are in memory at once.
func (s *server) decode(ctx context.Context, do func() error) error {
	select {
	case s.decoding <- struct{}{}:
		defer func() { <-s.decoding }()
		return do()
	case <-ctx.Done():
		return ctx.Err()
	}
}

var extensions = map[string]string{"jpeg": ".jpg", "png": ".png", "gif": ".gif", "webp": ".webp"}

func opaque(img image.Image) bool {
	o, knows := img.(interface{ Opaque() bool })
	return knows && o.Opaque()
}

// fitsJPEG reports whether a picture is more of a photo than of a drawing: of a
// drawing a PNG is hardly larger, and has no smears around its lines.
func fitsJPEG(img image.Image) bool {
	if !opaque(img) {
		return false
	}
	b := img.Bounds()
	small := resize(img, min(b.Dx(), 320), max(1, b.Dy()*min(b.Dx(), 320)/b.Dx()))
	var asPNG, asJPEG bytes.Buffer
	if png.Encode(&asPNG, small) != nil || jpeg.Encode(&asJPEG, small, &jpeg.Options{Quality: 82}) != nil {
		return false
	}
	return asPNG.Len() > asJPEG.Len()*3/2
}

// encode writes pixels as JPEG of a quality or as PNG, with the colour profile
// that the numbers stand for.
func (h *imageHead) encode(img image.Image, asJPEG bool, quality int) (extension string, data []byte, err error) {
	var b bytes.Buffer
	icc := h.icc
	if len(icc) < 128 || string(icc[16:20]) != "RGB " { // ICC.1 §7.2.8; decoding has made RGB of all others
		icc = nil
	}
	if asJPEG {
		err = jpeg.Encode(&b, img, &jpeg.Options{Quality: quality})
		return ".jpg", jpegWithProfile(b.Bytes(), icc), err
	}
	if rgba, is := img.(*image.RGBA); is && !rgba.Opaque() { // which is as PNG wants it
		flat := image.NewNRGBA(rgba.Rect)
		draw.Draw(flat, flat.Rect, rgba, rgba.Rect.Min, draw.Src)
		img = flat
	}
	err = png.Encode(&b, img)
	return ".png", pngWithProfile(b.Bytes(), icc), err
}

// jpegWithProfile puts a colour profile behind a JPEG's first marker (ICC.1
// §B.4).
func jpegWithProfile(data, icc []byte) []byte {
	const room = 65535 - 2 - 14
	parts := slices.Collect(slices.Chunk(icc, room))
	if len(icc) == 0 || len(parts) > 255 {
		return data
	}
	out := append([]byte(nil), data[:2]...)
	for i, part := range parts {
		out = binary.BigEndian.AppendUint16(append(out, 0xff, 0xe2), uint16(2+14+len(part)))
		out = append(append(append(out, "ICC_PROFILE\x00"...), byte(i+1), byte(len(parts))), part...)
	}
	return append(out, data[2:]...)
}

// pngWithProfile puts a colour profile behind a PNG's header (PNG §11.3.2.3).
func pngWithProfile(data, icc []byte) []byte {
	const header = 8 + 25
	if len(icc) == 0 || len(data) < header {
		return data
	}
	chunk := bytes.NewBufferString("iCCPicc\x00\x00")
	z := zlib.NewWriter(chunk)
	_, _ = z.Write(icc) // a buffer takes everything
	z.Close()
	out := binary.BigEndian.AppendUint32(append([]byte(nil), data[:header]...), uint32(chunk.Len()-4))
	out = binary.BigEndian.AppendUint32(append(out, chunk.Bytes()...), crc32.ChecksumIEEE(chunk.Bytes()))
	return append(out, data[header:]...)
}

// averageColour is a picture's colour from far away, on white.
func averageColour(img image.Image) string {
	dot := resize(img, 1, 1).RGBAAt(0, 0)
	white := 255 - dot.A
	return fmt.Sprintf("#%02x%02x%02x", dot.R+white, dot.G+white, dot.B+white)
}
