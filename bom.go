package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"
)

// The bill of materials as CSV: written for spreadsheets, and read from what
// KiCad and spreadsheets export.

// What is read of a file at most.
const (
	maxCSV        = 1 << 20 // bytes
	maxCSVRecords = 20_000
	maxCSVColumns = 200
)

// bomHeaders are the headers that are known, by what their column holds: in
// lower case, letters and digits alone.
var bomHeaders = func() map[string]string {
	headers := map[string]string{}
	for holds, names := range map[string]string{
		"name":         "item itemname name part partname component componentname product material article bauteil bezeichnung artikel teil teilname produkt designation désignation nom composant pièce",
		"value":        "value val wert valeur",
		"mpn":          "mpn partnumber partno partnr manufacturerpartnumber manufacturerpart mfrpartnumber mfgpartnumber mfrpart mfrpn mfgpn sku artikelnummer",
		"description":  "description desc details comment comments note notes remark remarks beschreibung bemerkung bemerkungen kommentar anmerkung descriptif commentaire",
		"quantity":     "quantity qty qnty qtty quantityperpcb qtyperpcb qtyperboard quantityperboard count amount pieces pcs menge anzahl stück stk stückzahl quantité qté nombre",
		"price":        "price unitprice priceperunit priceeach pricepc cost unitcost costperunit costeach each preis einzelpreis stückpreis prix prixunitaire coût",
		"total":        "total totalprice totalcost linetotal linecost extendedprice extprice subtotal sum gesamt gesamtpreis summe prixtotal montant",
		"link":         "link links url website web weblink webaddress supplierlink supplierurl vendorlink vendorurl purchaselink purchaseurl buylink buy productlink producturl shop shoplink shopurl orderlink orderurl wheretobuy hyperlink bezugsquelle lien",
		"datasheet":    "datasheet datasheets datasheeturl datasheetlink datenblatt fichetechnique",
		"reference":    "reference references ref refs refdes designator designators referencedesignator referencedesignators referenz referenzen référence références repère repères",
		"footprint":    "footprint package gehäuse bauform empreinte boîtier",
		"manufacturer": "manufacturer manufacturername mfr mfg hersteller fabricant brand",
		"supplier":     "supplier suppliername supplierandref vendor vendorname distributor seller lieferant anbieter händler fournisseur",
		"ordercode":    "ordercode orderingcode ordernumber orderno ordernr supplierpartnumber supplierpart vendorpartnumber vendorpart distributorpartnumber bestellnummer bestellnr lcsc lcscpart digikey digikeypartnumber mouser mouserpartnumber",
		"unfitted":     "dnp dnf donotplace donotpopulate donotfit excludefrombom",
		"order":        "order itemorder sortorder reihenfolge ordre",
		"number":       "no nr number id pos position line index row lfdnr itemno itemnr itemnumber",
	} {
		for name := range strings.FieldsSeq(names) {
			headers[name] = holds
		}
	}
	return headers
}()

// headerKind is what a column holds by its header, or nothing.
func headerKind(header string) string {
	header = strings.ReplaceAll(strings.ToLower(header), "(s)", "s")
	if cut := strings.IndexAny(header, "(["); cut > 0 {
		header = header[:cut] // a unit, or a currency
	}
	if strings.TrimSpace(header) == "#" {
		return "number"
	}
	letters := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, header)
	if kind := bomHeaders[letters]; kind != "" {
		return kind
	}
	for _, currency := range []string{"eur", "euro", "usd", "gbp", "chf"} {
		if kind := bomHeaders[strings.TrimSuffix(letters, currency)]; kind == "price" || kind == "total" {
			return kind
		}
	}
	return ""
}

// bomColumnFields says which field becomes of what a column holds.
var bomColumnFields = map[string]string{
	"name": "item_name", "value": "item_name", "mpn": "description", "description": "description", "quantity": "quantity", "price": "price_cents", "link": "link",
	"datasheet": "link", "reference": "description", "footprint": "description", "manufacturer": "description", "supplier": "description", "ordercode": "description",
	"order": "item_order", "unfitted": "not fitted",
}

// bomImport is what was found in a file, and after it was saved what became of
// it.
type bomImport struct {
	Preview  bool          `json:"preview"` // nothing was saved
	Columns  []bomColumn   `json:"columns"`
	Items    []bomLine     `json:"items"`
	Rejected []rejectedRow `json:"rejected"`
}

// bomColumn is a column of the file; Field is what it became, null where it is
// ignored.
type bomColumn struct {
	Header string  `json:"header"`
	Field  *string `json:"field"`
	kind   string
}

// Becomes is what people call the field.
func (c bomColumn) Becomes() string {
	switch field := deref(c.Field); field {
	case "price_cents":
		return "Price of one"
	case "item_order":
		return "Place in the list"
	default:
		return fieldLabel(field)
	}
}

// bomLine is a line of the bill of materials that one or more rows became.
type bomLine struct {
	Line int `json:"line"` // of the file
	bomItem
	Note string `json:"note,omitempty"` // what had to be changed
}

type rejectedRow struct {
	Line   int    `json:"line"`
	Text   string `json:"text"` // how the row begins
	Reason string `json:"reason"`
}

// bomTable is a file as it was split into rows below a header.
type bomTable struct {
	columns []bomColumn
	comma   byte
	rows    []csvRecord
	mark    byte // decimal mark of the prices
}

// readBOM reads a bill of materials from a CSV file.
func readBOM(data []byte) (bomImport, error) {
	text, err := decodeText(data)
	if err != nil {
		return bomImport{}, err
	}
	table, err := findTable(text)
	if err != nil {
		return bomImport{}, err
	}
	found := bomImport{Columns: table.columns, Items: []bomLine{}, Rejected: []rejectedRow{}}
	rows := make([]bomRow, 0, len(table.rows))
	for _, record := range table.rows {
		if row, err := table.row(record); err != nil {
			found.reject(record, err)
		} else if !row.empty() {
			rows = append(rows, row)
		}
	}
	if !table.has("quantity") && table.has("reference") {
		rows = grouped(rows)
	}
	for _, row := range rows {
		if item, err := table.item(row); err != nil {
			found.reject(row.record, err)
		} else {
			found.Items = append(found.Items, item)
		}
	}
	slices.SortStableFunc(found.Rejected, func(a, b rejectedRow) int { return cmp.Compare(a.Line, b.Line) })
	return found, nil
}

func (found *bomImport) reject(record csvRecord, err error) {
	found.Rejected = append(found.Rejected, rejectedRow{record.line, truncate(oneLine(strings.Join(record.cells, " ")), 80), err.Error()})
}

// findTable finds the header and the delimiter: those by which most columns are
// known.
func findTable(text string) (bomTable, error) {
	var best bomTable
	commas := []byte{',', ';', '\t', '|'}
	if line, rest := cutLine(text); len(line) == 5 && strings.EqualFold(line[:4], "sep=") { // as Excel writes it
		text, commas = "\n"+rest, []byte{line[4]}
	}
	most := 0
	for _, comma := range commas {
		records := readCSV(text, comma, maxCSVRecords+2)
		for i, record := range records[:min(len(records), 60)] {
			columns, known := headerOf(record.cells)
			if known > most {
				most, best = known, bomTable{columns: columns, comma: comma, rows: records[i+1:]}
			}
		}
	}
	if most == 0 {
		return best, fail(http.StatusBadRequest, "No line of the file names columns that are known here; the first one should, such as: Item, Description, Quantity, Unit price, Link")
	}
	if len(best.rows) >= maxCSVRecords {
		return best, fail(http.StatusBadRequest, "The file has more rows than the %d that are read", maxCSVRecords)
	}
	best.rows = best.section()
	best.settle()
	return best, nil
}

// headerOf takes a record for a header: known counts the different things that
// its columns hold, and is 0 when there is nothing that could be a name.
func headerOf(cells []string) (columns []bomColumn, known int) {
	kinds := map[string]bool{}
	for _, cell := range cells[:min(len(cells), maxCSVColumns)] {
		column := bomColumn{Header: truncate(oneLine(rearm(cell)), 100), kind: headerKind(cell)}
		if kinds[column.kind] && column.kind != "description" {
			column.kind = "" // the first one counts
		}
		kinds[column.kind] = true
		columns = append(columns, column)
	}
	if !kinds["name"] && !kinds["value"] && !kinds["mpn"] && !kinds["description"] {
		return columns, 0
	}
	delete(kinds, "")
	return columns, len(kinds)
}

// section is the rows that count where a file has its header more than once:
// KiCad's older script lists the components one by one, and then collated.
func (t bomTable) section() []csvRecord {
	collated := false
	var rows []csvRecord
	for _, record := range t.rows {
		if len(record.cells) > 0 && strings.EqualFold(strings.TrimSpace(record.cells[0]), "Collated Components:") {
			collated = true
			continue
		}
		if slices.EqualFunc(record.cells, t.columns, func(cell string, c bomColumn) bool { return truncate(oneLine(rearm(cell)), 100) == c.Header }) {
			if collated {
				rows = nil
			}
			continue
		}
		rows = append(rows, record)
	}
	return rows
}

// settle decides what the headers leave open by what stands below them.
func (t *bomTable) settle() {
	for i, c := range t.columns {
		whole, counts, decimal := true, 0, byte(0)
		for _, row := range t.rows {
			if i >= len(row.cells) {
				continue
			}
			cell := strings.TrimSpace(row.cells[i])
			whole = whole && strings.Trim(cell, "0123456789") == ""
			if cell == strconv.Itoa(counts+1) {
				counts++
			} else if cell != "" {
				counts = -1 << 31
			}
			if decimal == 0 {
				decimal = decimalMark(cell)
			}
		}
		switch {
		case c.kind == "name" && counts >= 0 && !t.has("order") && (t.has("value") || t.has("mpn") || t.has("description")):
			t.columns[i].kind = "number" // the column "Item" that counts the rows
		case c.kind == "order" && !whole:
			t.columns[i].kind = "ordercode"
		case c.kind == "price":
			if t.mark = decimal; decimal == 0 {
				t.mark = '.'
				if t.comma == ';' {
					t.mark = ','
				}
			}
		}
	}
	for i, c := range t.columns {
		field, used := bomColumnFields[c.kind]
		switch {
		case c.kind == "value" && t.has("name") && !t.has("reference"), c.kind == "name" && t.has("value") && t.has("reference"):
			field = "description"
		case c.kind == "datasheet" && t.has("link"):
			used = false
		}
		if used {
			t.columns[i].Field = &field
		}
	}
}

func (t bomTable) has(kind string) bool {
	return slices.ContainsFunc(t.columns, func(c bomColumn) bool { return c.kind == kind })
}

// bomRow is a row by what its columns hold.
type bomRow struct {
	record       csvRecord
	cells        map[string]string
	descriptions []string
	references   []string // one by one
	listed       []string // the same, as they stand in the cells
}

func (row bomRow) empty() bool {
	return len(row.cells) == 0 && len(row.descriptions) == 0 && len(row.listed) == 0
}

// row sorts a record's cells; what stands for nothing in KiCad and in
// spreadsheets is left out.
func (t bomTable) row(record csvRecord) (bomRow, error) {
	row := bomRow{record: record, cells: map[string]string{}}
	if record.open {
		return row, errors.New("a quotation mark is opened here and never closed")
	}
	for i, cell := range record.cells {
		if i >= len(t.columns) {
			break
		}
		cell = strings.TrimSpace(rearm(strings.TrimSpace(cell)))
		switch kind := t.columns[i].kind; {
		case cell == "", kind == "", kind == "number", kind == "total":
		case cell == "~" && kind != "name" && kind != "description": // KiCad's empty field
		case kind == "description":
			row.descriptions = append(row.descriptions, cell)
		case kind == "unfitted":
			if !slices.Contains([]string{"0", "no", "false", "n", "-"}, strings.ToLower(cell)) {
				return row, fmt.Errorf("it is marked as not fitted (%s)", t.columns[i].Header)
			}
		case kind == "reference":
			row.references = strings.FieldsFunc(cell, func(r rune) bool { return r == ',' || r == ';' || unicode.IsSpace(r) })
			row.listed = []string{cell}
		default:
			row.cells[kind] = cell
		}
	}
	return row, nil
}

// grouped makes one row of those that differ in their reference alone.
func grouped(rows []bomRow) (groups []bomRow) {
	places := map[string]int{}
	for _, row := range rows {
		var key strings.Builder
		for _, kind := range []string{"name", "value", "mpn", "footprint", "price", "link", "datasheet", "manufacturer", "supplier", "ordercode"} {
			fmt.Fprintf(&key, "%q", row.cells[kind])
		}
		fmt.Fprintf(&key, "%q", row.descriptions)
		if len(row.references) == 0 {
			groups = append(groups, row)
		} else if place, known := places[key.String()]; known {
			groups[place].references = append(groups[place].references, row.references...)
			groups[place].listed = append(groups[place].listed, row.listed...)
		} else {
			places[key.String()] = len(groups)
			groups = append(groups, row)
		}
	}
	return groups
}

// item makes a line of the bill of materials of a row.
func (t bomTable) item(row bomRow) (bomLine, error) {
	names := []string{"name", "value", "mpn"}
	if t.has("reference") { // where the value says what it is, and the part only of what kind
		names = []string{"value", "name", "mpn"}
	}
	name, details := "", slices.Clone(row.descriptions)
	for _, kind := range names {
		switch cell := row.cells[kind]; {
		case name == "":
			name = cell
		case cell != "" && cell != name:
			details = append(details, cell)
		}
	}
	if name == "" && len(details) > 0 {
		name, details = details[0], details[1:]
	}
	if name == "" {
		return bomLine{}, errors.New("it has no name")
	}
	_, footprint, _ := strings.Cut(":"+row.cells["footprint"], ":")
	if _, short, cut := strings.Cut(footprint, ":"); cut {
		footprint = short // without the library
	}
	for _, detail := range []string{strings.Join(row.listed, ", "), footprint, row.cells["manufacturer"], row.cells["supplier"], row.cells["ordercode"]} {
		if detail != "" && !slices.Contains(details, detail) {
			details = append(details, detail)
		}
	}
	line := bomLine{Line: row.record.line, bomItem: bomItem{Quantity: 1}}
	in := formInput()
	in.setValues(url.Values{"item_name": {name}, "description": {strings.Join(details, "; ")}, "item_order": {row.cells["order"]}})
	if link := row.address(); link != "" {
		in.setValues(url.Values{"link": {link}})
	}
	if err := row.count(in); err != nil {
		return line, err
	}
	var err error
	if line.Note, err = row.price(in, t.mark); err != nil {
		return line, err
	}
	in.bomFields(&line.bomItem)
	if err := in.err(); err != nil {
		return line, errors.New(publicError(err).detail)
	}
	if line.ItemOrder = -1; row.cells["order"] != "" {
		line.ItemOrder, _ = strconv.Atoi(row.cells["order"]) // which bomFields has checked
	}
	if line.PriceCents != nil {
		line.TotalCents = ptr(*line.PriceCents * line.Quantity)
	}
	return line, nil
}

// address is the row's web address: the link, or else the datasheet, if it has
// one.
func (row bomRow) address() string {
	link := row.cells["link"]
	if strings.HasPrefix(strings.ToLower(link), "www.") {
		link = "https://" + link
	}
	if sheet := row.cells["datasheet"]; link == "" && isWebLink(sheet) && len(sheet) <= 500 {
		link = sheet
	}
	return link
}

var (
	countPattern = regexp.MustCompile(`(?i)^[x×]?\s*([0-9][0-9.,' ]*?)\s*(?:x|×|pcs?\.?|pieces?|ea\.?|each|off|units?|stk\.?|stck\.?|stück|pièces?)?$`)
	rangePattern = regexp.MustCompile(`^([A-Za-z_]+)([0-9]{1,6})[-–]([A-Za-z_]*)([0-9]{1,6})$`) // R3-R5
)

// count reads the quantity; without one it is the number of references.
func (row bomRow) count(in *input) error {
	cell := row.cells["quantity"]
	if cell == "" {
		n := 0
		for _, reference := range row.references {
			n++
			if ends := rangePattern.FindStringSubmatch(reference); ends != nil && (ends[3] == "" || ends[3] == ends[1]) {
				from, _ := strconv.Atoi(ends[2])
				to, _ := strconv.Atoi(ends[4])
				n += max(0, to-from)
			}
		}
		in.setValues(url.Values{"quantity": {strconv.Itoa(max(1, n))}})
		return nil
	}
	if digits := countPattern.FindStringSubmatch(cell); digits != nil {
		if hundredths, rounded, ok := parseAmount(digits[1], 0); ok && !rounded && hundredths%100 == 0 {
			in.setValues(url.Values{"quantity": {strconv.Itoa(hundredths / 100)}})
			return nil
		}
	}
	return fmt.Errorf("the quantity %q is no whole number", truncate(cell, 40))
}

// price reads the price; note says that it had to be rounded.
func (row bomRow) price(in *input, mark byte) (note string, err error) {
	cell := row.cells["price"]
	switch strings.ToLower(cell) {
	case "", "-", "–", "—", "?", "n/a", "na", "tbd":
		return "", nil
	}
	cents, rounded, ok := parseAmount(cell, mark)
	if !ok {
		return "", fmt.Errorf("the price %q is no amount such as 3.50", truncate(cell, 40))
	}
	if rounded {
		note = fmt.Sprintf("the price %s was rounded to %s", truncate(cell, 40), formatPrice(&cents))
	}
	in.setValues(url.Values{"price_cents": {strconv.Itoa(cents)}})
	return note, nil
}

// currencies are written before and after amounts.
var currencies = []string{"eur", "euro", "euros", "usd", "us$", "gbp", "chf", "sfr", "fr.", "fr", "cad", "aud", "jpy", "cny", "rmb", "pln", "zł", "sek", "nok", "dkk", "kr", "kr.", "czk", "kč", "inr", "rs", "rs."}

// bareAmount is an amount without currency and spaces.
func bareAmount(text string) string {
	text = strings.ToLower(strings.TrimSpace(text))
	number := strings.IndexFunc(text, unicode.IsDigit)
	if number > 0 && (text[number-1] == '.' || text[number-1] == ',') {
		number--
	}
	if number > 0 && slices.Contains(currencies, strings.TrimSpace(text[:number])) {
		text = text[number:]
	}
	if last := strings.LastIndexFunc(text, unicode.IsDigit); last >= 0 && slices.Contains(currencies, strings.TrimSpace(text[last+1:])) {
		text = text[:last+1]
	}
	text = strings.TrimFunc(text, func(r rune) bool { return unicode.Is(unicode.Sc, r) || unicode.IsSpace(r) })
	for _, dash := range []string{",-", ".-", ",–", ".–", ",—", ".—"} { // for no cents
		text = strings.TrimSuffix(text, dash)
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '\'' || r == '’' {
			return -1
		}
		return r
	}, text)
}

// decimalMark is the mark that an amount must have been written with, or 0 where
// it could have been either.
func decimalMark(text string) byte {
	text = bareAmount(text)
	last := strings.LastIndexAny(text, ".,")
	switch {
	case last < 0, strings.Trim(text, "0123456789.,") != "":
		return 0
	case strings.Count(text, string(text[last])) > 1:
		return '.' + ',' - text[last] // it parts thousands
	case strings.Count(text, ".")+strings.Count(text, ",") > 1, len(text)-last-1 != 3:
		return text[last]
	}
	return 0
}

var wholePattern = regexp.MustCompile(`^([0-9]{1,9}|[0-9]{1,3}(,[0-9]{3}){1,2}|[0-9]{1,3}(\.[0-9]{3}){1,2})?$`)

// parseAmount reads a number as people and programs write it, in hundredths:
// with a currency, thousands marks, and a point or a comma before the decimals.
// Where it could be either, as in 1,234, mark says which one the decimal mark
// is. rounded says that it had more decimals than two.
func parseAmount(text string, mark byte) (hundredths int, rounded, ok bool) {
	text = bareAmount(text)
	if sure := decimalMark(text); sure != 0 {
		mark = sure
	}
	whole, fraction := text, ""
	if i := strings.LastIndexAny(text, ".,"); i >= 0 && (text[i] == mark || strings.Trim(text[:i], "0") == "") {
		whole, fraction = text[:i], text[i+1:]
	}
	if !wholePattern.MatchString(whole) || whole+fraction == "" || strings.Trim(fraction, "0123456789") != "" {
		return 0, false, false
	}
	digits := strings.NewReplacer(".", "", ",", "").Replace(whole) + (fraction + "00")[:2]
	hundredths, err := strconv.Atoi(digits)
	if err != nil {
		return 0, false, false
	}
	if len(fraction) > 2 {
		rounded = strings.Trim(fraction[2:], "0") != ""
		if fraction[2] >= '5' {
			hundredths++
		}
	}
	return hundredths, rounded, true
}

// saveBOM adds lines to a project's bill of materials, all or none. Those that
// have no place of their own come after what is there.
func (s *server) saveBOM(ctx context.Context, p project, lines []bomLine) error {
	return s.onProject(ctx, p, func(tx pgx.Tx) error {
		if err := s.withinLimit(ctx, tx, p.ID, "materials", len(lines)); err != nil {
			return err
		}
		next := 0
		if err := tx.QueryRow(ctx, `select coalesce(max(item_order) + 1, 0) from bill_of_material where project_id = $1 and item_order < 2000000000`, p.ID).Scan(&next); err != nil {
			return err
		}
		for i := range lines {
			if lines[i].ItemOrder < 0 {
				lines[i].ItemOrder = next + i
			}
		}
		ids, err := insertBOM(ctx, tx, p.ID, lines)
		for i, id := range ids {
			lines[i].ID = id
		}
		return err
	})
}

// insertBOM makes the rows of lines, and returns their ids.
func insertBOM(ctx context.Context, tx pgx.Tx, projectID int, lines []bomLine) ([]int, error) {
	var names []string
	var descriptions, links []*string
	var quantities, orders []int
	var prices []*int
	for _, l := range lines {
		names, descriptions, links = append(names, l.ItemName), append(descriptions, l.Description), append(links, l.Link)
		quantities, orders, prices = append(quantities, l.Quantity), append(orders, l.ItemOrder), append(prices, l.PriceCents)
	}
	rows, err := tx.Query(ctx, `
		insert into bill_of_material (project_id, item_name, description, quantity, price_cents, item_order, link)
		select $1, name, description, quantity, price, item_order, link
		from unnest($2::text[], $3::text[], $4::int[], $5::int[], $6::int[], $7::text[]) with ordinality as t (name, description, quantity, price, item_order, link, place)
		order by place returning id`, projectID, names, descriptions, quantities, prices, orders, links)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// importBOM reads the lines of a CSV file, and saves them unless that is only
// tried.
func (s *server) importBOM(ctx context.Context, p project, data []byte, preview bool) (bomImport, error) {
	found, err := readBOM(data)
	if err != nil {
		return found, err
	}
	if found.Preview = preview; preview {
		for i := range found.Items {
			found.Items[i].ItemOrder = max(0, found.Items[i].ItemOrder)
		}
		return found, nil
	}
	if len(found.Items) == 0 {
		why := "there is none below the header"
		if len(found.Rejected) > 0 {
			why = fmt.Sprintf("line %d: %s", found.Rejected[0].Line, found.Rejected[0].Reason)
		}
		return found, fail(http.StatusBadRequest, "No row of the file can be taken (%s)", why)
	}
	return found, s.saveBOM(ctx, p, found.Items)
}

// readCSVForm takes the file of a form, or the text that is in the field of the
// same name.
func readCSVForm(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	missing := invalid(fault{[]string{"body", "csv"}, "Choose a CSV file, and send it as multipart/form-data in the field csv", "missing"})
	tooLarge := fail(http.StatusBadRequest, "The file is too large: at most %s are taken", formatSize(maxCSV))
	r.Body = http.MaxBytesReader(w, r.Body, 4*maxCSV)
	if err := r.ParseMultipartForm(4 * maxCSV); err != nil {
		var bodyTooLarge *http.MaxBytesError
		if errors.As(err, &bodyTooLarge) {
			return nil, tooLarge
		}
		return nil, missing
	}
	data := []byte(strings.ReplaceAll(strings.Join(r.MultipartForm.Value["csv"], ""), "\r\n", "\n")) // the line ends of forms
	if files := r.MultipartForm.File["csv"]; len(files) > 0 {
		f, err := files[0].Open()
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if data, err = io.ReadAll(f); err != nil {
			return nil, err
		}
	}
	if len(data) > maxCSV {
		return nil, tooLarge
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, missing
	}
	return data, nil
}

// postBOM answers what was found in a CSV file; with preview=true nothing is
// saved.
func (s *server) postBOM(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	in := queryInput(r)
	preview := in.flag("preview")
	if err := in.err(); err != nil {
		return err
	}
	data, err := readCSVForm(w, r)
	if err != nil {
		return err
	}
	found, err := s.importBOM(r.Context(), p, data, preview)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if preview {
		status = http.StatusOK
	}
	return writeJSON(w, status, found)
}

// bomCSV is a bill of materials as a spreadsheet opens it: CSV (RFC 4180) in
// UTF-8, with a byte order mark, without which Excel takes it for another
// encoding.
func bomCSV(items []bomItem) []byte {
	var b bytes.Buffer
	b.WriteString("\ufeff")
	writeCSV(&b, "Item", "Description", "Quantity", "Unit price", "Total", "Link", "Order")
	for _, item := range items {
		writeCSV(&b, item.ItemName, deref(item.Description), strconv.Itoa(item.Quantity), formatPrice(item.PriceCents), formatPrice(item.TotalCents), deref(item.Link), strconv.Itoa(item.ItemOrder))
	}
	return b.Bytes()
}

// showBOMFile answers a project's bill of materials as CSV.
func (s *server) showBOMFile(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	items, err := many[bomItem](r.Context(), s.db, listBOM, p.ID)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	h.Set("Content-Disposition", attachment(slug(p.Title)+"_bom.csv"))
	h.Set("ETag", p.etag())
	_, _ = w.Write(bomCSV(items)) // the client is gone if this fails
	return nil
}

// bomPage is the data of bom_import.html: what was found in a file, before it is
// saved.
type bomPage struct {
	project
	bomImport
	CSV  string // the file, for the form that saves it
	Form formState
}

// Sum is the price of all that was found.
func (p bomPage) Sum() *int {
	sum := 0
	for _, item := range p.Items {
		sum += deref(item.TotalCents)
	}
	return &sum
}

// sendBOM takes the editor's form with a CSV file: it shows what was found, and
// saves it when its button is pressed.
func (s *server) sendBOM(w http.ResponseWriter, r *http.Request, v viewer, p project) error {
	data, err := readCSVForm(w, r)
	save := err == nil && r.FormValue("action") == "save"
	var found bomImport
	if err == nil {
		found, err = s.importBOM(r.Context(), p, data, !save)
	}
	if err == nil && save {
		return seeOther(w, r, editorPath(p.ID, "bom", ""))
	}
	page := bomPage{project: p, bomImport: found, Form: formState{ID: "bom-import"}}
	status := http.StatusOK
	if err != nil {
		if page.Form, status, err = refused(w, "bom-import", formInput(), err); err != nil {
			return err
		}
	} else if text, err := decodeText(data); err == nil {
		page.CSV = text
	}
	return s.render(w, r, status, "bom_import", v, "Import parts", page)
}
