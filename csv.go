package main

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Tables as text: CSV (RFC 4180) as programs really write it.

// windows1252 are the characters 0x80 to 0x9f of that encoding; the five that
// it does not define stay control characters.
var windows1252 = []rune("€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ")

// decodeText makes UTF-8 of a text file: of UTF-8 and UTF-16, with or without a
// byte order mark, and of Windows-1252, which all else is taken for.
func decodeText(data []byte) (string, error) {
	if bytes.HasPrefix(data, []byte("PK\x03\x04")) || bytes.HasPrefix(data, []byte("\xd0\xcf\x11\xe0")) {
		return "", fail(http.StatusBadRequest, "This is a spreadsheet's own file; save or export it as CSV, and send that")
	}
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		data = fromUTF16(data[2:], binary.LittleEndian)
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		data = fromUTF16(data[2:], binary.BigEndian)
	case len(data) > 1 && data[0] != 0 && data[1] == 0:
		data = fromUTF16(data, binary.LittleEndian)
	case len(data) > 1 && data[0] == 0 && data[1] != 0:
		data = fromUTF16(data, binary.BigEndian)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.IndexByte(data, 0) >= 0 {
		return "", fail(http.StatusBadRequest, "The file is no text; export the table as CSV, and send that")
	}
	if utf8.Valid(data) {
		return string(data), nil
	}
	var text strings.Builder
	for _, b := range data {
		if b >= 0x80 && b < 0xa0 {
			text.WriteRune(windows1252[b-0x80])
		} else {
			text.WriteRune(rune(b))
		}
	}
	return text.String(), nil
}

func fromUTF16(data []byte, order binary.ByteOrder) []byte {
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	return []byte(string(utf16.Decode(units)))
}

// csvRecord is one record of a CSV file, and the line that it starts on. open
// says that a quotation mark in it is never closed, so that its cells are not
// known.
type csvRecord struct {
	line  int
	cells []string
	open  bool
}

// readCSV splits a text into at most so many records. Line ends are CR LF, LF or CR; a quotation
// mark inside a cell that does not start with one is an ordinary character.
func readCSV(text string, comma byte, most int) (records []csvRecord) {
	for line := 1; text != "" && len(records) < most; {
		cells, rest, closed := cutRecord(text, comma)
		records = append(records, csvRecord{line, cells, !closed})
		consumed := text[:len(text)-len(rest)]
		line += strings.Count(consumed, "\n") + strings.Count(consumed, "\r") - strings.Count(consumed, "\r\n")
		text = rest
	}
	return records
}

// cutRecord takes the first record off a text. One with a quotation mark that is
// never closed ends with its line.
func cutRecord(text string, comma byte) (cells []string, rest string, closed bool) {
	ends := string([]byte{comma, '\r', '\n'})
	rest = text
	for {
		cell := ""
		if start := strings.TrimLeft(rest, " "); strings.HasPrefix(start, `"`) {
			var found bool
			if cell, rest, found = cutQuoted(start[1:]); !found {
				_, rest = cutLine(text)
				return nil, rest, false
			}
		}
		end := strings.IndexAny(rest, ends)
		if end < 0 {
			return append(cells, cell+rest), "", true
		}
		cells = append(cells, cell+rest[:end])
		if rest[end] != comma {
			_, rest = cutLine(rest)
			return cells, rest, true
		}
		rest = rest[end+1:]
	}
}

// cutQuoted takes what stands before the closing quotation mark off a text; two
// in a row are one that belongs to it.
func cutQuoted(text string) (quoted, rest string, found bool) {
	var b strings.Builder
	for {
		part, after, found := strings.Cut(text, `"`)
		if !found {
			return "", "", false
		}
		b.WriteString(part)
		if !strings.HasPrefix(after, `"`) {
			return b.String(), after, true
		}
		b.WriteByte('"')
		text = after[1:]
	}
}

func cutLine(text string) (line, rest string) {
	end := strings.IndexAny(text, "\r\n")
	if end < 0 {
		return text, ""
	}
	line, rest = text[:end], text[end:]
	if strings.HasPrefix(rest, "\r\n") {
		return line, rest[2:]
	}
	return line, rest[1:]
}

// writeCSV writes one record.
func writeCSV(b *bytes.Buffer, cells ...string) {
	for i, cell := range cells {
		if i > 0 {
			b.WriteByte(',')
		}
		if cell = disarm(cell); strings.ContainsAny(cell, "\",;\t\r\n") || strings.TrimSpace(cell) != cell {
			cell = `"` + strings.ReplaceAll(cell, `"`, `""`) + `"`
		}
		b.WriteString(cell)
	}
	b.WriteString("\r\n")
}

// formulaStarts are the characters that a formula can begin with; the last are
// full-width.
const formulaStarts = "=+-@\t\r\n＝＋－＠"

// isFormula reports whether a spreadsheet could take a cell for a formula (OWASP,
// CSV injection), apart from apostrophes in front of it.
func isFormula(cell string) bool {
	rest := strings.TrimLeft(cell, "'")
	return strings.IndexAny(rest, formulaStarts) == 0
}

// disarm puts an apostrophe before what could be a formula, and before one that
// has one already, so that rearm gives back exactly what was there.
func disarm(cell string) string {
	if isFormula(cell) {
		return "'" + cell
	}
	return cell
}

// rearm takes the apostrophe of disarm away.
func rearm(cell string) string {
	if isFormula(cell) {
		return strings.TrimPrefix(cell, "'")
	}
	return cell
}
