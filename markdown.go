package main

import (
	"cmp"
	"html"
	"html/template"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Markdown as project descriptions and build steps use it: CommonMark 0.31.2 (https://spec.commonmark.org/0.31.2/) with
// GitHub's tables, strikethrough and bare links (https://github.github.com/gfm/). Left out: indented code (such lines are
// paragraphs), reference links, and raw HTML, which is shown as the text it is.
//
// It is read in two passes. Lines become a tree of blocks; then the text of each leaf becomes marks, the places where the
// output isn't simply the escaped source. Both take time and memory in proportion to the source, whatever it holds: what
// is looked for in the rest of a text either ends at the next thing of its kind or is known to be there.

const (
	maxNesting = 20    // block quotes and list items inside one another; deeper markers are text
	maxPadding = 10000 // cells a document's tables get where rows have too few: a wide table of short rows is quadratic
	whiteSpace = " \t\n\v\f\r"
)

// What follows a link's text, §6.3. In a destination parentheses are balanced and, here, at most three deep.
const (
	angleURL    = `<((?:[^<>\n\\]|\\.)*)>`
	urlByte     = `[^\x00- \x7f()\\]|\\[^\x00- \x7f]`
	innerParens = `\((?:` + urlByte + `|\((?:` + urlByte + `)*\))*\)`
	nakedURL    = `((?:` + urlByte + `|\((?:` + urlByte + `|` + innerParens + `)*\))+)`
	linkTitle   = `(?:[ \t\n]+("(?:[^"\\]|(?s:\\.))*"|'(?:[^'\\]|(?s:\\.))*'|\((?:[^()\\]|(?s:\\.))*\)))?`
)

var (
	cleanSource    = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\x00", "\uFFFD")
	atxHeading     = regexp.MustCompile(`^(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?$`)
	setextLine     = regexp.MustCompile(`^(?:=+|-+)$`)
	breakLine      = regexp.MustCompile(`^(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$`)
	openingFence   = regexp.MustCompile("^(?:(`{3,})[^`]*|(~{3,}).*)$")
	itemMarker     = regexp.MustCompile(`^(?:([0-9]{1,9})[.)]|[-+*])(?:[ \t]|$)`)
	delimiterRow   = regexp.MustCompile(`^:?-+:?$`) // a cell of it
	codeLanguage   = regexp.MustCompile(`^[a-z0-9+#-]+$`)
	escapeOrEntity = regexp.MustCompile(`\\[[:punct:]]|&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});`)
	escapeAtStart  = regexp.MustCompile(`^(?:` + escapeOrEntity.String() + `)`)
	linkTarget     = regexp.MustCompile(`^\([ \t\n]*(?:(?:` + angleURL + `|` + nakedURL + `)` + linkTitle + `)?[ \t\n]*\)`)
	absoluteURI    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]{1,31}:`)
	emailAddress   = regexp.MustCompile("^[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@" +
		`[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	bareURL   = regexp.MustCompile(`^[hH][tT][tT][pP][sS]?://[\pL\pN](?:[^\pZ\pC<>"\[\]]|\[[^\pZ\pC<>"\[\]]*\])*`)
	notInHref = regexp.MustCompile(`%(?:[0-9A-Fa-f]{2})?|[^A-Za-z0-9;/?:@&=+$,\-_.!~*'()#]`)
)

// renderMarkdown turns Markdown from anyone into HTML that is safe in a page. Headings start at h3, under the page's own;
// links lead to http, https, mailto or relative addresses only. Every source renders: what has no meaning is text.
func renderMarkdown(source string) template.HTML { return renderMarkdownFrom(source, 3) }

// markdown is renderMarkdown for the pages of this server: pictures of its own that are named in full are no other site's.
func (c config) markdown(source string) template.HTML {
	return renderMarkdown(strings.ReplaceAll(source, "]("+c.publicURL+"/", "](/"))
}

// renderMarkdownFrom is renderMarkdown with the level of the highest heading.
func renderMarkdownFrom(source string, top int) template.HTML {
	p := blockParser{open: []*block{{kind: documentBlock}}}
	for line := range strings.Lines(cleanSource.Replace(strings.ToValidUTF8(source, "\uFFFD"))) {
		p.number++
		p.rest, p.column = strings.TrimSuffix(line, "\n"), 0
		for _, b := range p.open[:p.place()] {
			b.last = p.number
		}
	}
	w := markdownWriter{padding: maxPadding, top: top}
	w.blocks(p.open[0].children, false)
	return template.HTML(w.String())
}

type blockKind uint8

const (
	documentBlock blockKind = iota
	quoteBlock
	itemBlock
	paragraphBlock // this and what follows are leaves
	headingBlock
	breakBlock
	fenceBlock
	tableBlock // lines hold the header, the delimiter row and the rows
)

// block is a node of the document. There are no list blocks: neighbouring items with the same marker are a list.
type block struct {
	kind        blockKind
	first, last int // numbers of its lines; blank lines after it don't count
	children    []*block
	lines       []string
	marker      byte   // item: one of -+*.) ; fence: ` or ~
	number      int    // item: the number in the source; heading: the level; fence: the length
	indent      int    // columns before the item's content, or before the fence
	info        string // the text after the opening fence
}

// blockParser reads lines as CommonMark's appendix "A parsing strategy" does in its phase 1.
type blockParser struct {
	open   []*block // the document, the containers open in it and perhaps a leaf that can go on, outermost first
	number int      // of the line
	rest   string   // what is left of the line
	column int      // where rest begins
}

// place puts the line where it belongs and returns how many of the open blocks it belongs to.
func (p *blockParser) place() int {
	depth, touched := p.continued()
	var leaf *block // the leaf that this line goes on with, if no container was closed before it
	if depth == len(p.open)-1 {
		leaf = p.open[depth]
	}
	if leaf != nil && leaf.kind == fenceBlock {
		p.continueFence(leaf)
		return len(p.open)
	}
	for b := p.start(leaf, depth); b != nil; b = p.start(nil, depth) {
		p.add(b, depth)
		if b.kind >= paragraphBlock {
			return len(p.open)
		}
		depth++
		touched = depth
	}
	text, tip := strings.TrimLeft(p.rest, whiteSpace), p.open[len(p.open)-1]
	switch {
	case text == "":
		p.open = p.open[:depth]
		return touched
	case tip.kind == paragraphBlock, tip.kind == tableBlock && tip == leaf:
		// A paragraph goes on even without the markers of its containers.
		tip.lines = append(tip.lines, text)
	default:
		p.add(&block{kind: paragraphBlock, lines: []string{text}}, depth)
	}
	return len(p.open)
}

// continued takes the markers of the open containers off the line. It returns how many go on, the document included, and
// how many of these the line belongs to even if nothing follows: a block quote has its marker, an item has nothing.
func (p *blockParser) continued() (depth, touched int) {
	for depth = 1; depth < len(p.open); depth++ {
		b, blank := p.open[depth], strings.Trim(p.rest, whiteSpace) == ""
		switch {
		case b.kind == quoteBlock && p.quoteMarker():
			touched = depth + 1
		case b.kind == itemBlock && (blank && len(b.children) > 0 || !blank && p.indent() >= b.indent):
			p.skip(b.indent)
		default:
			return depth, touched
		}
	}
	return depth, touched
}

// add makes b the newest block of the container p.open[depth-1] and closes whatever else was open in there.
func (p *blockParser) add(b *block, depth int) {
	b.first, b.last = cmp.Or(b.first, p.number), p.number
	parent := p.open[depth-1]
	parent.children = append(parent.children, b)
	p.open = p.open[:depth]
	if b.kind != headingBlock && b.kind != breakBlock {
		p.open = append(p.open, b)
	}
}

// start takes the opening marker of a block off the line and returns that block, or nil where text begins.
// leaf is what the line would otherwise go on with.
func (p *blockParser) start(leaf *block, depth int) *block {
	s := strings.Trim(p.rest, whiteSpace)
	if s == "" || p.indent() > 3 {
		return nil
	}
	inParagraph := leaf != nil && leaf.kind == paragraphBlock
	if depth <= maxNesting && p.quoteMarker() {
		return &block{kind: quoteBlock}
	}
	if m := atxHeading.FindStringSubmatch(s); m != nil { // §4.2
		return &block{kind: headingBlock, number: len(m[1]), lines: m[2:]}
	}
	if openingFence.MatchString(s) { // §4.5
		n := runLength(s)
		return &block{kind: fenceBlock, marker: s[0], number: n, indent: p.indent(), info: s[n:]}
	}
	if inParagraph && setextLine.MatchString(s) { // §4.3
		level := 1 + strings.Count(s[:1], "-")
		return &block{kind: headingBlock, number: level, first: leaf.first, lines: p.withdraw(leaf, len(leaf.lines))}
	}
	if columns := tableColumns(s); inParagraph && columns != nil { // GFM §4.10
		if header := leaf.lines[len(leaf.lines)-1]; len(tableCells(header)) == len(columns) {
			return &block{kind: tableBlock, first: p.number - 1, lines: append(p.withdraw(leaf, 1), s)}
		}
	}
	if breakLine.MatchString(s) { // §4.1
		return &block{kind: breakBlock}
	}
	if depth <= maxNesting {
		return p.startItem(inParagraph)
	}
	return nil
}

// startItem takes a list item's marker off the line, §5.2. Only an item that has text and is a bullet or number 1 may
// follow a paragraph without a blank line.
func (p *blockParser) startItem(inParagraph bool) *block {
	s := strings.TrimLeft(p.rest, whiteSpace)
	m := itemMarker.FindStringSubmatch(s)
	if m == nil {
		return nil
	}
	width := len(m[1]) + 1
	empty := strings.Trim(s[width:], whiteSpace) == ""
	number, _ := strconv.Atoi(m[1])
	if inParagraph && (empty || m[1] != "" && number != 1) {
		return nil
	}
	before := p.indent()
	p.skip(before)
	p.take(width)
	padding := p.indent()
	if empty || padding > 4 {
		padding = 1
	}
	p.skip(padding)
	return &block{kind: itemBlock, marker: s[width-1], number: number, indent: before + width + padding}
}

// quoteMarker takes a block quote's marker off the line, §5.1.
func (p *blockParser) quoteMarker() bool {
	if p.indent() > 3 || !strings.HasPrefix(strings.TrimLeft(p.rest, whiteSpace), ">") {
		return false
	}
	p.skip(3)
	p.take(1)
	p.skip(1)
	return true
}

func (p *blockParser) continueFence(b *block) {
	s := strings.Trim(p.rest, whiteSpace)
	if p.indent() <= 3 && len(s) >= b.number && s[0] == b.marker && runLength(s) == len(s) {
		p.open = p.open[:len(p.open)-1]
		return
	}
	p.skip(b.indent)
	b.lines = append(b.lines, p.rest)
}

// withdraw takes the last n lines away from the open paragraph, and the paragraph from the document if none are left.
func (p *blockParser) withdraw(leaf *block, n int) []string {
	keep := len(leaf.lines) - n
	if keep == 0 {
		parent := p.open[len(p.open)-2]
		parent.children = parent.children[:len(parent.children)-1]
	}
	lines := leaf.lines[keep:]
	leaf.lines = leaf.lines[:keep]
	return lines
}

// indent is the width of the white space at the start of the rest; tabs reach to the next multiple of four, §2.2.
func (p *blockParser) indent() int {
	end := p.column
	for i := 0; i < len(p.rest) && strings.IndexByte(whiteSpace, p.rest[i]) >= 0; i++ {
		if end++; p.rest[i] == '\t' {
			end = (end + 3) / 4 * 4
		}
	}
	return end - p.column
}

// skip takes up to n columns of white space off the line. What it leaves of a tab becomes spaces.
func (p *blockParser) skip(n int) {
	for ; n > 0 && p.rest != "" && strings.IndexByte(whiteSpace, p.rest[0]) >= 0; n-- {
		if p.rest[0] == '\t' {
			p.rest = strings.Repeat(" ", 4-p.column%4) + p.rest[1:]
		}
		p.take(1)
	}
}

func (p *blockParser) take(n int) {
	p.rest = p.rest[n:]
	p.column += n
}

// tableColumns returns the alignment of each column of a table with this delimiter row, nil if s is no such row.
func tableColumns(s string) []string {
	if !strings.Contains(s, "|") || strings.Trim(s, "|:-"+whiteSpace) != "" {
		return nil
	}
	var columns []string
	for _, cell := range tableCells(s) {
		if !delimiterRow.MatchString(cell) {
			return nil
		}
		align := map[string]string{":-": "left", "-:": "right", "::": "center"}[cell[:1]+cell[len(cell)-1:]]
		columns = append(columns, align)
	}
	return columns
}

// tableCells splits a row at its bars, except at those after a backslash, which is for the table even in code.
func tableCells(row string) []string {
	const bar = "\x00" // no source has it
	row = strings.ReplaceAll(strings.Trim(row, whiteSpace), `\|`, bar)
	cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(row, "|"), "|"), "|")
	for i, cell := range cells {
		cells[i] = strings.ReplaceAll(strings.Trim(cell, whiteSpace), bar, "|")
	}
	return cells
}

// runLength counts how often the first byte of s is repeated at its start.
func runLength(s string) int {
	return len(s) - len(strings.TrimLeft(s, s[:1]))
}

type markdownWriter struct {
	top int // level of the highest heading
	strings.Builder
	padding int // how many missing cells may still be added
}

func (w *markdownWriter) print(parts ...string) {
	for _, s := range parts {
		w.WriteString(s)
	}
}

// blocks writes what a container holds. A tight list's paragraphs have no tags of their own.
func (w *markdownWriter) blocks(list []*block, tight bool) {
	for len(list) > 0 {
		b, n := list[0], 1
		if w.Len() > 0 && !strings.HasSuffix(w.String(), "\n") && !(tight && b.kind == paragraphBlock) {
			w.print("\n")
		}
		text := func() string { return strings.Join(b.lines, "\n") }
		switch b.kind {
		case quoteBlock:
			w.print("<blockquote>\n")
			w.blocks(b.children, false)
			w.print("</blockquote>\n")
		case itemBlock:
			for n < len(list) && list[n].kind == itemBlock && list[n].marker == b.marker {
				n++
			}
			w.list(list[:n])
		case paragraphBlock:
			if tight {
				w.inline(text())
			} else {
				w.element("p", "", text())
			}
		case headingBlock:
			w.element("h"+strconv.Itoa(min(b.number+w.top-1, 6)), "", text())
		case breakBlock:
			w.print("<hr>\n")
		case fenceBlock:
			w.fence(b)
		case tableBlock:
			w.table(b.lines)
		}
		list = list[n:]
	}
}

// element writes text that may hold inline markup in a tag.
func (w *markdownWriter) element(tag, attributes, text string) {
	w.print("<", tag, attributes, ">")
	w.inline(text)
	w.print("</", tag, ">\n")
}

// list writes neighbouring items of one kind. The list is loose if blank lines separate two of them, or two blocks
// directly in one of them, §5.3.
func (w *markdownWriter) list(items []*block) {
	tag, start := "ul", ""
	if strings.IndexByte(".)", items[0].marker) >= 0 {
		tag = "ol"
		if items[0].number != 1 {
			start = ` start="` + strconv.Itoa(items[0].number) + `"`
		}
	}
	loose := apart(items) || slices.ContainsFunc(items, func(item *block) bool { return apart(item.children) })
	w.print("<", tag, start, ">\n")
	for _, item := range items {
		w.print("<li>")
		w.blocks(item.children, !loose)
		w.print("</li>\n")
	}
	w.print("</", tag, ">\n")
}

// apart tells whether there are blank lines between two neighbours of the list.
func apart(list []*block) bool {
	for i := 1; i < len(list); i++ {
		if list[i].first > list[i-1].last+1 {
			return true
		}
	}
	return false
}

func (w *markdownWriter) fence(b *block) {
	class := ""
	if words := strings.Fields(unescapeMarkdown(b.info)); len(words) > 0 {
		if language := strings.ToLower(words[0]); codeLanguage.MatchString(language) {
			class = ` class="language-` + language + `"`
		}
	}
	w.print("<pre><code", class, ">")
	for _, line := range b.lines {
		w.print(html.EscapeString(line), "\n")
	}
	w.print("</code></pre>\n")
}

func (w *markdownWriter) table(lines []string) {
	columns := tableColumns(lines[1])
	w.print("<table>\n<thead>\n")
	w.row("th", lines[0], columns)
	w.print("</thead>\n")
	if len(lines) > 2 {
		w.print("<tbody>\n")
		for _, line := range lines[2:] {
			w.row("td", line, columns)
		}
		w.print("</tbody>\n")
	}
	w.print("</table>\n")
}

func (w *markdownWriter) row(tag, line string, columns []string) {
	cells := tableCells(line)
	if missing := min(len(columns)-len(cells), w.padding); missing > 0 {
		w.padding -= missing
		cells = append(cells, make([]string, missing)...)
	}
	w.print("<tr>\n")
	for i, cell := range cells[:min(len(cells), len(columns))] {
		align := ""
		if columns[i] != "" {
			align = ` align="` + columns[i] + `"`
		}
		w.element(tag, align, cell)
	}
	w.print("</tr>\n")
}

type markKind uint8

const (
	plainMark    markKind = iota // html and then text; only the text in an image's alt
	codeMark                     // text
	autolinkMark                 // html, the start tag, round text; only the text inside of another link
	linkMark                     // html, the start tag
	linkEndMark
	imageMark    // html, the tag up to alt's value, which is the plain text between this and the end
	imageEndMark // html, the tag from there on

	outsideMark    // html, the start tag of a link, and text; inside, plain text, and inside of another link no tags
	outsideEndMark // html, its end tag
)

// inlineMark says what is written instead of src[at:end]. Marks don't overlap.
type inlineMark struct {
	at, end    int
	kind       markKind
	html, text string
}

// delimiterRun is a run of *, _ or ~ at src[at:end], which shrinks as emphasis uses it up. length is what it was at first.
type delimiterRun struct {
	at, end, length int
	char            byte
	opens, closes   bool
}

// openBracket is a [ or ![ that may begin a link or an image; runs counts the delimiter runs before it.
type openBracket struct {
	at, runs int
	image    bool
}

// inlineParser reads the text of one leaf as CommonMark's appendix does in its phase 2.
type inlineParser struct {
	src       string
	marks     []inlineMark
	runs      []delimiterRun
	brackets  []openBracket
	inactive  int         // so many of brackets stand before a link and can begin none, as links don't nest
	backticks map[int]int // where the last run of backticks of each length begins
}

// inline writes the text of a leaf.
func (w *markdownWriter) inline(src string) {
	p := inlineParser{src: strings.Trim(src, whiteSpace)}
	for i := 0; i < len(p.src); {
		i = p.next(i)
	}
	p.emphasis(0)
	slices.SortFunc(p.marks, func(a, b inlineMark) int { return a.at - b.at })
	at, images, linked := 0, 0, false
	for _, m := range p.marks {
		w.print(html.EscapeString(p.src[at:m.at]))
		at = m.end
		text := html.EscapeString(m.text)
		if m.kind == imageEndMark || m.kind == outsideEndMark {
			images--
		}
		switch {
		case images > 0:
			w.print(text)
		case m.kind == codeMark:
			w.print("<code>", text, "</code>")
		case (m.kind == autolinkMark || m.kind == outsideMark || m.kind == outsideEndMark) && linked:
			w.print(text)
		case m.kind == autolinkMark:
			w.print(m.html, text, "</a>")
		default:
			w.print(m.html, text)
			linked = m.kind == linkMark || linked && m.kind != linkEndMark
		}
		if m.kind == imageMark || m.kind == outsideMark {
			images++
		}
	}
	w.print(html.EscapeString(p.src[at:]))
}

// mark adds a mark and returns where it ends.
func (p *inlineParser) mark(at, end int, kind markKind, html, text string) int {
	p.marks = append(p.marks, inlineMark{at, end, kind, html, text})
	return end
}

// next reads what begins at src[i] and returns where it ends.
func (p *inlineParser) next(i int) int {
	rest := p.src[i:]
	switch rest[0] {
	case '\\', '&': // §2.4, §2.5
		if strings.HasPrefix(rest, "\\\n") {
			return p.mark(i, i+2, plainMark, "<br>", "\n")
		}
		if s := escapeAtStart.FindString(rest); s != "" {
			return p.mark(i, i+len(s), plainMark, "", unescapeMarkdown(s))
		}
	case '\n': // §6.7, §6.8
		at := len(strings.TrimRight(p.src[:i], " "))
		br := ""
		if i-at >= 2 {
			br = "<br>"
		}
		return p.mark(at, i+1, plainMark, br, "\n")
	case '`':
		return p.codeSpan(i)
	case '<':
		return p.autolink(i)
	case 'h', 'H':
		return p.bareLink(i)
	case '*', '_', '~':
		return p.delimiters(i)
	case '!':
		if strings.HasPrefix(rest, "![") {
			p.brackets = append(p.brackets, openBracket{i, len(p.runs), true})
			return i + 2
		}
	case '[':
		p.brackets = append(p.brackets, openBracket{i, len(p.runs), false})
	case ']':
		return p.closeBracket(i)
	}
	return i + 1
}

// codeSpan reads a code span or passes over the backticks, §6.1.
func (p *inlineParser) codeSpan(i int) int {
	if p.backticks == nil {
		p.backticks = map[int]int{}
		for k := i; k < len(p.src); k++ {
			if p.src[k] == '`' {
				n := runLength(p.src[k:])
				p.backticks[n] = k
				k += n
			}
		}
	}
	n := runLength(p.src[i:])
	end := i + n
	if p.backticks[n] < end {
		return end
	}
	for run := 0; run != n; run = runLength(p.src[end:]) {
		end += run + strings.IndexByte(p.src[end+run:], '`')
	}
	text := strings.ReplaceAll(p.src[i+n:end], "\n", " ")
	if len(text) > 1 && text[0] == ' ' && text[len(text)-1] == ' ' && strings.Trim(text, " ") != "" {
		text = text[1 : len(text)-1]
	}
	return p.mark(i, end+n, codeMark, "", text)
}

// autolink reads an address between < and >, §6.5.
func (p *inlineParser) autolink(i int) int {
	n := strings.IndexAny(p.src[i+1:], "<> \t\n") + 1
	if n == 0 || p.src[i+n] != '>' {
		return i + 1
	}
	text := p.src[i+1 : i+n]
	address := text
	if emailAddress.MatchString(text) {
		address = "mailto:" + text
	}
	tag, ok := linkTag(address, "")
	if !ok || !absoluteURI.MatchString(address) {
		return i + 1
	}
	return p.mark(i, i+n+1, autolinkMark, tag, text)
}

// bareLink reads an address that stands in the text as it is, GFM §6.9. A double quote or a lone bracket ends it.
func (p *inlineParser) bareLink(i int) int {
	if before, _ := utf8.DecodeLastRuneInString(p.src[:i]); isWord(before) {
		return i + 1
	}
	address := trimBareURL(bareURL.FindString(p.src[i:]))
	if address == "" {
		return i + 1
	}
	tag, _ := linkTag(address, "")
	return p.mark(i, i+len(address), autolinkMark, tag, address)
}

// trimBareURL takes off the end what belongs to the sentence rather than to the address.
func trimBareURL(address string) string {
	unmatched := strings.Count(address, ")") - strings.Count(address, "(")
	for address != "" {
		end := len(address) - 1
		switch last := address[end]; {
		case last == ')' && unmatched > 0:
			unmatched--
		case last == ';':
			if before := strings.TrimRightFunc(address[:end], isWord); len(before) < end && strings.HasSuffix(before, "&") {
				end = len(before) - 1
			}
		case strings.IndexByte("?!.,:*_~'", last) < 0:
			return address
		}
		address = address[:end]
	}
	return ""
}

// delimiters reads a run of *, _ or ~ and notes whether emphasis may begin or end there, §6.2. Strikethrough, GFM §6.5,
// has exactly two ~.
func (p *inlineParser) delimiters(i int) int {
	char, n := p.src[i], runLength(p.src[i:])
	end := i + n
	if char == '~' && n != 2 {
		return end
	}
	before, size := utf8.DecodeLastRuneInString(p.src[:i])
	spaceBefore, symbolBefore := size == 0 || unicode.IsSpace(before), isSymbol(before)
	after, size := utf8.DecodeRuneInString(p.src[end:])
	spaceAfter, symbolAfter := size == 0 || unicode.IsSpace(after), isSymbol(after)
	opens := !spaceAfter && (!symbolAfter || spaceBefore || symbolBefore)
	closes := !spaceBefore && (!symbolBefore || spaceAfter || symbolAfter)
	if char == '_' {
		opens, closes = opens && (!closes || symbolBefore), closes && (!opens || symbolAfter)
	}
	p.runs = append(p.runs, delimiterRun{i, end, n, char, opens, closes})
	return end
}

// emphasis pairs the delimiter runs from the given one on and forgets them. Each closing run looks back for the nearest
// opening one; floor keeps the next run of the same kind from looking again where there is none.
func (p *inlineParser) emphasis(from int) {
	floor := map[delimiterRun]int{}
	var openers []int
	for i := from; i < len(p.runs); i++ {
		closer := &p.runs[i]
		kind := delimiterRun{char: closer.char, opens: closer.opens, length: closer.length % 3}
		for closer.closes && closer.at < closer.end {
			k := len(openers) - 1
			for k >= 0 && openers[k] >= floor[kind] && !closer.pairsWith(p.runs[openers[k]]) {
				k--
			}
			if k < 0 || openers[k] < floor[kind] {
				floor[kind] = i
				break
			}
			opener := &p.runs[openers[k]]
			n := min(2, opener.end-opener.at, closer.end-closer.at)
			tag := []string{"em>", "strong>"}[n-1]
			if closer.char == '~' {
				tag = "del>"
			}
			p.mark(opener.end-n, opener.end, plainMark, "<"+tag, "")
			p.mark(closer.at, closer.at+n, plainMark, "</"+tag, "")
			opener.end -= n
			closer.at += n
			openers = openers[:k+1]
			if opener.at == opener.end {
				openers = openers[:k]
			}
		}
		if closer.opens && closer.at < closer.end {
			openers = append(openers, i)
		}
	}
	p.runs = p.runs[:from]
}

// pairsWith tells whether emphasis may begin with the opener and end with this run, §6.2, rules 9 and 10.
func (closer *delimiterRun) pairsWith(opener delimiterRun) bool {
	return closer.char == opener.char && (closer.char == '~' || !opener.closes && !closer.opens ||
		(opener.length+closer.length)%3 != 0 || opener.length%3 == 0)
}

// closeBracket makes a link, §6.3, or an image, §6.4, if the ] at src[i] has its opening bracket and a target after it.
func (p *inlineParser) closeBracket(i int) int {
	last := len(p.brackets) - 1
	if last < 0 {
		return i + 1
	}
	b := p.brackets[last]
	p.brackets = p.brackets[:last]
	inactive := !b.image && last < p.inactive
	p.inactive = min(p.inactive, last)
	m := linkTarget.FindStringSubmatch(p.src[i+1:])
	if inactive || m == nil || strings.HasPrefix(m[2], "<") {
		return i + 1
	}
	destination, title, end := unescapeMarkdown(m[1]+m[2]), "", i+1+len(m[0])
	if m[3] != "" {
		title = ` title="` + html.EscapeString(unescapeMarkdown(m[3][1:len(m[3])-1])) + `"`
	}
	if b.image {
		src, external, ok := markdownURL(destination, "http", "https")
		if !ok {
			return i + 1
		}
		if external {
			// No page here loads other sites' pictures, which would tell them who reads it.
			text := ""
			if strings.Trim(p.src[b.at+2:i], whiteSpace) == "" {
				text = "Picture on " + hostOf(destination)
			}
			tag, _ := linkTag(destination, title)
			p.mark(b.at, b.at+2, outsideMark, tag, text)
			p.mark(i, end, outsideEndMark, "</a>", "")
		} else {
			p.mark(b.at, b.at+2, imageMark, `<img src="`+src+`" alt="`, "")
			p.mark(i, end, imageEndMark, `"`+title+` loading="lazy">`, "")
		}
	} else {
		tag, ok := linkTag(destination, title)
		if !ok {
			return i + 1
		}
		p.mark(b.at, b.at+1, linkMark, tag, "")
		p.mark(i, end, linkEndMark, "</a>", "")
		p.inactive = last
	}
	p.emphasis(b.runs)
	return end
}

// linkTag returns the start tag of a link; title is an attribute or empty. Other sites' addresses aren't vouched for.
func linkTag(address, title string) (tag string, ok bool) {
	href, external, ok := markdownURL(address, "http", "https", "mailto")
	rel := ""
	if external {
		rel = ` rel="nofollow ugc noopener"`
	}
	return `<a href="` + href + `"` + title + rel + ">", ok
}

// markdownURL percent-encodes an address and escapes it for an attribute. It refuses control characters, which browsers
// drop, and every scheme but those named. Addresses without a scheme are relative, of which //host is external.
func markdownURL(raw string, schemes ...string) (address string, external, ok bool) {
	external = strings.HasPrefix(raw, "//")
	if i := strings.IndexAny(raw, ":/?#"); i >= 0 && raw[i] == ':' {
		scheme := strings.ToLower(raw[:i])
		if !slices.Contains(schemes, scheme) {
			return "", false, false
		}
		external = scheme != "mailto"
	}
	return html.EscapeString(percentEncoded(raw)), external, !strings.ContainsFunc(raw, unicode.IsControl)
}

// percentEncoded encodes what may not stand in an address; what is encoded
// already stays.
func percentEncoded(raw string) string {
	return notInHref.ReplaceAllStringFunc(raw, func(s string) string {
		if s[0] == '%' && len(s) == 3 {
			return s
		}
		return url.PathEscape(s)
	})
}

// unescapeMarkdown decodes backslash escapes and character references.
func unescapeMarkdown(s string) string {
	return escapeOrEntity.ReplaceAllStringFunc(s, func(s string) string {
		if s[0] == '\\' {
			return s[1:]
		}
		// UnescapeString also takes the start of an unknown name for a known one, as in &copyx;.
		if text := html.UnescapeString(s); len(text) == 1 || !strings.HasSuffix(text, ";") {
			return text
		}
		return s
	})
}

func isSymbol(r rune) bool { return unicode.IsPunct(r) || unicode.IsSymbol(r) }

func isWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
