package main

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// qrCapacity is how many bytes a symbol of each version holds at level M (ISO/IEC
// 18004:2015, table 7).
var qrCapacity = [41]int{0, 14, 26, 42, 62, 84, 106, 122, 152, 180, 213, 251, 287, 331, 362, 412, 450, 504, 560, 624, 666,
	711, 779, 857, 911, 997, 1059, 1125, 1190, 1264, 1370, 1452, 1538, 1628, 1722, 1809, 1911, 1989, 2099, 2213, 2331}

const otpauthURL = "otpauth://totp/Chatter:alice%40example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Chatter&digits=6&period=30"

// qrText is a printable text of n bytes, another one for each n.
func qrText(n int) string {
	text := []byte(strconv.Itoa(n) + " ")
	for i := len(text); i < n; i++ {
		text = append(text, byte('!'+(i*i+n)%94))
	}
	return string(text[:n])
}

// decodeQR has zbarimg read the symbols, in one run since starting it takes long.
func decodeQR(t *testing.T, symbols [][][]bool) []string {
	t.Helper()
	zbarimg, err := exec.LookPath("zbarimg")
	if err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
	const quiet, scale = 4, 4 // modules, pixels a module
	dir := t.TempDir()
	args := []string{"--quiet", "--raw", "-Sdisable", "-Sqrcode.enable"}
	for n, dark := range symbols {
		side := scale * (len(dark) + 2*quiet)
		img := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.White, color.Black})
		for i := range scale * len(dark) {
			for j := range scale * len(dark) {
				if dark[i/scale][j/scale] {
					img.SetColorIndex(scale*quiet+j, scale*quiet+i, 1)
				}
			}
		}
		args = append(args, filepath.Join(dir, fmt.Sprintf("%d.png", n)))
		file, err := os.Create(args[len(args)-1])
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := png.Encode(file, img); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(zbarimg, args...).Output()
	if err != nil {
		t.Logf("zbarimg: %v", err) // one symbol that it can't read is enough
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// TestQRDecodes reads back the longest text of every version and, up to 20, the
// shortest too, texts that aren't ASCII, and each mask.
func TestQRDecodes(t *testing.T) {
	t.Parallel()
	texts := []string{otpauthURL, "Grüße an Zoë in Łódź", "日本語のテキスト", "Привет, мир 🙂"}
	for version := 1; version <= 40; version++ {
		texts = append(texts, qrText(qrCapacity[version]))
		if version <= 20 {
			texts = append(texts, qrText(qrCapacity[version-1]+1))
		}
	}
	var symbols [][][]bool
	for _, text := range texts {
		dark, err := qrCode(text)
		if err != nil {
			t.Fatal(err)
		}
		version, _ := slices.BinarySearch(qrCapacity[:], len(text))
		same(t, fmt.Sprintf("the side of %d bytes", len(text)), len(dark), 17+4*version)
		symbols = append(symbols, dark)
	}
	for n := range qrMasks {
		text := fmt.Sprintf("%s&mask=%d", otpauthURL, n)
		texts, symbols = append(texts, text), append(symbols, qrMasked(t, text, n))
	}
	read := decodeQR(t, symbols)
	for n, text := range texts {
		if !slices.Contains(read, text) {
			t.Errorf("text %d, of %d bytes, can't be read", n, len(text))
		}
	}
	same(t, "symbols read", len(read), len(texts))
}

func qrMasked(t *testing.T, text string, n int) [][]bool {
	t.Helper()
	q, err := newQRSymbol(text)
	if err != nil {
		t.Fatal(err)
	}
	q.mask(n)
	return q.dark
}

func TestQRTooLong(t *testing.T) {
	t.Parallel()
	const want = "the text is 2332 bytes long, and a QR code holds at most 2331"
	if _, err := qrCode(qrText(2332)); err == nil || err.Error() != want {
		t.Fatalf("the matrix's error is %v, want %s", err, want)
	}
	if svg, err := qrSVG(qrText(2332)); svg != "" || err == nil || err.Error() != want {
		t.Fatalf("the image's error is %v, want %s", err, want)
	}
	if _, err := qrCode(qrText(70000)); err == nil {
		t.Fatal("70000 bytes fit")
	}
}

// TestQRSymbol compares with what another encoder (python-qrcode 8.2) draws.
func TestQRSymbol(t *testing.T) {
	t.Parallel()
	want := []string{
		"#######.###.#.#######",
		"#.....#..#....#.....#",
		"#.###.#.....#.#.###.#",
		"#.###.#.#.#.#.#.###.#",
		"#.###.#.#.#.#.#.###.#",
		"#.....#.#.#.#.#.....#",
		"#######.#.#.#.#######",
		"........#..##........",
		"#...#.###.#.######..#",
		".##..#...#.#.##..###.",
		"#..#..####...##.#..#.",
		".#..##...#...#.##....",
		"...##.##...###.....#.",
		"........###..#..##.##",
		"#######.###....###.#.",
		"#.....#...##.#.##...#",
		"#.###.#.######.##....",
		"#.###.#....#.##.##.##",
		"#.###.#......#.###...",
		"#.....#..###.#.......",
		"#######.#..##..##...#",
	}
	for i, row := range qrMasked(t, "Hello, Chatter", 4) {
		same(t, fmt.Sprintf("row %d", i), qrLine(row), want[i])
	}
}

// qrLine writes dark modules as # and light ones as dots.
func qrLine(line []bool) string {
	text := []byte(strings.Repeat(".", len(line)))
	for i, dark := range line {
		if dark {
			text[i] = '#'
		}
	}
	return string(text)
}

// TestQRVectors has the examples of ISO/IEC 18004:2015's annexes.
func TestQRVectors(t *testing.T) {
	t.Parallel()
	same(t, "format information of mask 5 (annex C)", bch(5, 0x537)^0x5412, 0b100000011001110)
	same(t, "version information of version 7 (annex D)", bch(7, 0x1f25), 0b000111110010010100)
	for version, want := range map[int][]int{1: nil, 2: {6, 18}, 7: {6, 22, 38}, 14: {6, 26, 46, 66}, 22: {6, 26, 50, 74, 98},
		32: {6, 34, 60, 86, 112, 138}, 36: {6, 24, 50, 76, 102, 128, 154}, 40: {6, 30, 58, 86, 114, 142, 170}} {
		got := qrAlignment(version)
		slices.Sort(got)
		same(t, fmt.Sprintf("alignment of version %d (annex E)", version), fmt.Sprint(got), fmt.Sprint(want))
	}
	data := []byte("\x10\x20\x0c\x56\x61\x80\xec\x11\xec\x11\xec\x11\xec\x11\xec\x11")
	same(t, "error correction (annex I)", fmt.Sprintf("% x", qrRemainder(data, qrGenerator(10))), "a5 24 d4 c1 ed 36 c7 87 2c 55")
	same(t, "codewords", fmt.Sprintf("% x", qrCodewords([]byte("\x02ab"), 7)), "40 26 16 20 ec 11 ec")
}

// TestQRPenalty counts by hand (7.8.3.1).
func TestQRPenalty(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]int{
		"#.#.#.####": 0, "#####": 3, ".######": 4, "....#.....#####": 6,
		"#.###.#": 40, "##.#.###.#.##": 0, "##...#.###.#...##": 0, "##....#.###.#.##": 40, "##.#.###.#....##": 40,
		"##.#.###.##...#": 0, "#...##.###.#.##": 0,
	} {
		modules := make([]bool, len(line))
		for i := range line {
			modules[i] = line[i] == '#'
		}
		same(t, "the penalty of "+line, qrLinePenalty(modules), want)
	}
	for _, dark := range []bool{false, true} {
		q := &qrSymbol{dark: slices.Repeat([][]bool{slices.Repeat([]bool{dark}, 6)}, 6)}
		same(t, "the penalty of a square of one colour", q.penalty(), 12*4+25*3+10*10)
	}

	// The masks that an evaluation of another encoder's (segno 1.6.6) symbols chooses.
	for mask, bytes := range []int{16, 31, 6, 46, 21, 41, 51, 81} {
		dark, err := qrCode(qrText(bytes))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(dark, qrMasked(t, qrText(bytes), mask)) {
			t.Errorf("%d bytes aren't masked with %d", bytes, mask)
		}
	}
}

// TestQRSVG takes the image apart again.
func TestQRSVG(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", otpauthURL, qrText(2331)} {
		dark, err := qrCode(text)
		if err != nil {
			t.Fatal(err)
		}
		source, err := qrSVG(text)
		if err != nil {
			t.Fatal(err)
		}
		side := len(dark) + 8
		head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %[1]d" role="img" aria-label="QR code" shape-rendering="crispEdges">`+
			`<rect width="%[1]d" height="%[1]d" fill="#fff"/><path fill="#000" d="`, side)
		path, ok := strings.CutPrefix(source, head)
		path, closed := strings.CutSuffix(path, `"/></svg>`)
		if !ok || !closed {
			t.Fatalf("the image is %.300s…, want %s", source, head)
		}
		drawn := make([][]bool, side)
		for i := range drawn {
			drawn[i] = make([]bool, side)
		}
		for run := range strings.SplitSeq(strings.TrimSuffix(path, "z"), "z") {
			var x, y, width, back int
			if _, err := fmt.Sscanf(run, "M%d %dh%dv1h-%d", &x, &y, &width, &back); err != nil || width != back {
				t.Fatalf("the path has %q: %v", run, err)
			}
			if drawn[y][x-1] {
				t.Fatalf("the run %q isn't joined with the one before", run)
			}
			for i := range width {
				drawn[y][x+i] = true
			}
		}
		light := strings.Repeat(".", side)
		for i, row := range drawn {
			want := light
			if i >= 4 && i < side-4 {
				want = "...." + qrLine(dark[i-4]) + "...."
			}
			same(t, fmt.Sprintf("row %d of the image", i), qrLine(row), want)
		}
	}
}

// TestQRPatterns finds what a scanner looks for first, in symbols with and
// without version information.
func TestQRPatterns(t *testing.T) {
	t.Parallel()
	finder := []string{"#######.", "#.....#.", "#.###.#.", "#.###.#.", "#.###.#.", "#.....#.", "#######.", "........"}
	for _, text := range []string{"short", otpauthURL, qrText(500)} {
		dark, err := qrCode(text)
		if err != nil {
			t.Fatal(err)
		}
		last := len(dark) - 1
		for i, row := range finder {
			for j := range row {
				want := row[j] == '#'
				if dark[i][j] != want || dark[i][last-j] != want || dark[last-i][j] != want {
					t.Fatalf("%d modules: a finder pattern is wrong at %d, %d", len(dark), i, j)
				}
			}
		}
		for i := 8; i < last-7; i++ {
			if dark[6][i] != (i%2 == 0) || dark[i][6] != (i%2 == 0) {
				t.Fatalf("%d modules: a timing pattern is wrong at %d", len(dark), i)
			}
		}
		same(t, "the dark module", dark[last-7][8], true)
	}
}
