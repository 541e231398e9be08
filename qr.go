package main

import (
	"encoding/binary"
	"fmt"
	"image"
	"math/bits"
	"slices"
	"strings"
)

// QR codes by ISO/IEC 18004:2015, to whose clauses and annexes the comments
// below refer: one segment in byte mode, error correction level M, the smallest
// of the versions 1 to 40 that has room.

// qrCode draws text as a square of modules, row by row; true is dark. The
// quiet zone of four light modules on each side is left to the caller. Texts
// that aren't ASCII are read as UTF-8 by the usual scanners, although the
// standard's default is ISO 8859-1. A text of more than 2331 bytes is an error.
func qrCode(text string) ([][]bool, error) {
	q, err := newQRSymbol(text)
	if err != nil {
		return nil, err
	}
	best, lowest := 0, 0
	for n := range qrMasks {
		q.mask(n)
		if p := q.penalty(); n == 0 || p < lowest {
			best, lowest = n, p
		}
		q.mask(n) // a second time takes it off again
	}
	q.mask(best)
	return q.dark, nil
}

// qrSVG is qrCode as an SVG image with its quiet zone, one unit a module; it
// is black on white whatever the page around it is.
func qrSVG(text string) (string, error) {
	dark, err := qrCode(text)
	if err != nil {
		return "", err
	}
	const quiet = 4
	var path strings.Builder
	for y, row := range dark {
		for x := 0; x < len(row); x++ {
			start := x
			for x < len(row) && row[x] {
				x++
			}
			if x > start {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%[3]dz", start+quiet, y+quiet, x-start)
			}
		}
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %[1]d" role="img" aria-label="QR code" shape-rendering="crispEdges">`+
		`<rect width="%[1]d" height="%[1]d" fill="#fff"/><path fill="#000" d="%s"/></svg>`, len(dark)+2*quiet, &path), nil
}

// Level M of table 9, by version: the error correction codewords of each block,
// and the number of blocks.
var (
	qrBlockEC = [41]int{0, 10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26,
		26, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28, 28}
	qrBlocks = [41]int{0, 1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16,
		17, 17, 18, 20, 21, 23, 25, 26, 28, 29, 31, 33, 35, 37, 38, 40, 43, 45, 47, 49}
)

// qrMasks are the data mask patterns by row i and column j (7.8.2, table 10).
var qrMasks = [8]func(i, j int) bool{
	func(i, j int) bool { return (i+j)%2 == 0 },
	func(i, j int) bool { return i%2 == 0 },
	func(i, j int) bool { return j%3 == 0 },
	func(i, j int) bool { return (i+j)%3 == 0 },
	func(i, j int) bool { return (i/2+j/3)%2 == 0 },
	func(i, j int) bool { return i*j%2+i*j%3 == 0 },
	func(i, j int) bool { return (i*j%2+i*j%3)%2 == 0 },
	func(i, j int) bool { return ((i+j)%2+i*j%3)%2 == 0 },
}

// qrSymbol is a symbol in the making.
type qrSymbol struct {
	dark  [][]bool      // by row and column
	fixed [][]bool      // the module is no place for data
	data  []image.Point // the other modules in the order in which they are filled
}

// newQRSymbol is the smallest symbol that holds text, not masked yet.
func newQRSymbol(text string) (*qrSymbol, error) {
	room := 0
	for version := 1; version <= 40; version++ {
		q := blankQRSymbol(version)
		words := len(q.data)/8 - qrBlocks[version]*qrBlockEC[version]
		count := binary.BigEndian.AppendUint16(nil, uint16(len(text)))
		if version < 10 {
			count = count[1:] // 7.4.1, table 3
		}
		room = words - len(count) - 1
		if len(text) > room {
			continue
		}
		message := qrMessage(qrCodewords(append(count, text...), words), qrBlocks[version], qrBlockEC[version])
		for i, b := range message {
			for j, m := range q.data[8*i : 8*i+8] {
				q.dark[m.Y][m.X] = b<<j&0x80 != 0
			}
		}
		return q, nil
	}
	return nil, fmt.Errorf("the text is %d bytes long, and a QR code holds at most %d", len(text), room)
}

// qrCodewords makes n data codewords: the mode indicator 0100 for bytes, the
// content half a byte further on, the terminator 0000 and padding (7.4.9, 7.4.10).
func qrCodewords(content []byte, n int) []byte {
	words, last := make([]byte, 0, n), byte(0b0100)
	for _, b := range append(content, 0) {
		words = append(words, last<<4|b>>4)
		last = b
	}
	for pad := byte(0b11101100); len(words) < n; pad ^= 0b11111101 {
		words = append(words, pad)
	}
	return words
}

// qrMessage splits words into blocks, of which the last ones may be a word
// longer, and interleaves them and then their error correction (7.5.1, 7.6).
func qrMessage(words []byte, blocks, ec int) []byte {
	generator := qrGenerator(ec)
	var data, check [][]byte
	for left := blocks; left > 0; left-- {
		block := words[:len(words)/left]
		words = words[len(block):]
		data, check = append(data, block), append(check, qrRemainder(block, generator))
	}
	var message []byte
	for _, group := range [][][]byte{data, check} {
		for i := range group[blocks-1] {
			for _, block := range group {
				if i < len(block) {
					message = append(message, block[i])
				}
			}
		}
	}
	return message
}

// qrGenerator is the polynomial with the roots 2⁰, 2¹ … 2ⁿ⁻¹, whose leading
// coefficient, 1, comes first (annex A).
func qrGenerator(n int) []byte {
	g := []byte{1}
	for root := byte(1); len(g) <= n; root = gfMultiply(root, 2) {
		g = append(g, 0)
		for i := len(g) - 1; i > 0; i-- {
			g[i] ^= gfMultiply(g[i-1], root)
		}
	}
	return g
}

// qrRemainder is the Reed–Solomon error correction of a block (7.5.2).
func qrRemainder(block, generator []byte) []byte {
	rest := append(slices.Clone(block), make([]byte, len(generator)-1)...)
	for i := range block {
		factor := rest[i]
		for j, g := range generator {
			rest[i+j] ^= gfMultiply(g, factor)
		}
	}
	return rest[len(block):]
}

// gfMultiply multiplies in GF(2⁸) modulo x⁸+x⁴+x³+x²+1 (7.5.2).
func gfMultiply(a, b byte) (product byte) {
	for ; b > 0; b >>= 1 {
		product ^= a * (b & 1)
		a = a<<1 ^ a>>7*0x1d
	}
	return product
}

// blankQRSymbol is a symbol with its function patterns and version information,
// and with room for the format information (6.3).
func blankQRSymbol(version int) *qrSymbol {
	size := 17 + 4*version
	q := &qrSymbol{}
	for range size {
		q.dark, q.fixed = append(q.dark, make([]bool, size)), append(q.fixed, make([]bool, size))
	}
	const finder, alignment = "##.#.", "#.#" // from the centre outwards; the finder with its separator
	q.square(3, 3, finder)
	q.square(3, size-4, finder)
	q.square(size-4, 3, finder)
	centres := qrAlignment(version)
	for _, i := range centres {
		for _, j := range centres {
			if !q.fixed[i][j] {
				q.square(i, j, alignment)
			}
		}
	}
	for i := 8; i < size-8; i++ { // the timing patterns
		q.fix(6, i, i%2 == 0)
		q.fix(i, 6, i%2 == 0)
	}
	if version >= 7 {
		code := bch(uint(version), 0x1f25) // 7.10, annex D
		for n := range 18 {
			q.fix(n/3, size-11+n%3, code>>n&1 == 1)
			q.fix(size-11+n%3, n/3, code>>n&1 == 1)
		}
	}
	q.format(0)

	// Data goes up and down in strips two modules wide, from the right (7.7.3).
	for right, up := size-1, true; right > 0; right, up = right-2, !up {
		if right == 6 {
			right-- // the vertical timing pattern belongs to no strip
		}
		for i := range size {
			if up {
				i = size - 1 - i
			}
			for j := right; j > right-2; j-- {
				if !q.fixed[i][j] {
					q.data = append(q.data, image.Pt(j, i))
				}
			}
		}
	}
	return q
}

// qrAlignment gives the rows, which are the columns too, on which alignment
// patterns are centred (annex E): evenly from the last one back, and then 6.
func qrAlignment(version int) []int {
	if version == 1 {
		return nil
	}
	gaps := version/7 + 1
	step := (8*version + 3*gaps + 8) / (4 * gaps) * 2 // even; rounded so that it gives the annex's table
	centres := []int{6}
	for n := range gaps {
		centres = append(centres, 10+4*version-n*step)
	}
	return centres
}

// fix sets a module that holds no data.
func (q *qrSymbol) fix(i, j int, dark bool) {
	q.dark[i][j], q.fixed[i][j] = dark, true
}

// square draws concentric squares, clipped to the symbol.
func (q *qrSymbol) square(row, column int, rings string) {
	last, r := len(q.dark)-1, len(rings)-1
	for i := max(0, row-r); i <= min(last, row+r); i++ {
		for j := max(0, column-r); j <= min(last, column+r); j++ {
			q.fix(i, j, rings[max(i-row, row-i, j-column, column-j)] == '#')
		}
	}
}

// format writes the format information of level M, which is 00, and a mask,
// twice, and the dark module (7.9.1, annex C).
func (q *qrSymbol) format(mask int) {
	code, size := bch(uint(mask), 0x537)^0x5412, len(q.dark)
	for n := range 15 {
		dark := code>>n&1 == 1
		if n < 8 {
			q.fix(n+n/6, 8, dark) // n/6 and n/9 step over the timing patterns
			q.fix(8, size-1-n, dark)
		} else {
			q.fix(8, 15-n-n/9, dark)
			q.fix(size-15+n, 8, dark)
		}
	}
	q.fix(size-8, 8, true)
}

// bch appends to value the remainder of its division by generator, both
// polynomials over GF(2) (annexes C and D).
func bch(value, generator uint) uint {
	code := value << (bits.Len(generator) - 1)
	rest := code
	for bits.Len(rest) >= bits.Len(generator) {
		rest ^= generator << (bits.Len(rest) - bits.Len(generator))
	}
	return code | rest
}

// mask inverts the data modules of a pattern and names it in the format
// information (7.8).
func (q *qrSymbol) mask(n int) {
	for _, m := range q.data {
		if qrMasks[n](m.Y, m.X) {
			q.dark[m.Y][m.X] = !q.dark[m.Y][m.X]
		}
	}
	q.format(n)
}

// penalty is higher the harder the symbol is to scan (7.8.3.1, table 11).
func (q *qrSymbol) penalty() int {
	size, dark, points := len(q.dark), 0, 0
	for i, row := range q.dark {
		column := make([]bool, size)
		for j := range row {
			column[j] = q.dark[j][i]
			if row[j] {
				dark++
			}
			if i > 0 && j > 0 && row[j] == row[j-1] && row[j] == q.dark[i-1][j] && row[j] == q.dark[i-1][j-1] {
				points += 3 // a block of two by two
			}
		}
		points += qrLinePenalty(row) + qrLinePenalty(column)
	}
	off := 20*dark - 10*size*size // from half of the modules, in twentieths
	return points + max(off, -off)/(size*size)*10
}

// qrLinePenalty counts 3 points for five modules of one colour in a row and
// one for each more, and 40 for what looks like a finder pattern, 1:1:3:1:1,
// with four light modules or the quiet zone before or after it.
func qrLinePenalty(line []bool) (points int) {
	run, window := 0, 0
	for i, dark := range line {
		if i > 0 && dark != line[i-1] {
			run = 0
		}
		if run++; run == 5 {
			points += 3
		} else if run > 5 {
			points++
		}
	}
	for i := range len(line) + 4 {
		window <<= 1
		if i < len(line) && line[i] {
			window |= 1
		}
		if window>>4&0x7f == 0b1011101 && (window&0xf == 0 || window>>11&0xf == 0) {
			points += 40
		}
	}
	return points
}
