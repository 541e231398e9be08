package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// bomShape is the answer of an import.
type bomShape struct {
	Preview bool
	Columns []struct {
		Header string
		Field  *string
	}
	Items []struct {
		Line, ID    int
		ItemName    string `json:"item_name"`
		Description *string
		Quantity    int
		PriceCents  *int `json:"price_cents"`
		TotalCents  *int `json:"total_cents"`
		ItemOrder   int  `json:"item_order"`
		Link        *string
		Note        string
	}
	Rejected []struct {
		Line         int
		Text, Reason string
	}
}

// summary is the items in short: quantity × name @ price | description | link.
func (b bomShape) summary() string {
	var lines []string
	for _, i := range b.Items {
		line := fmt.Sprintf("%d× %s", i.Quantity, i.ItemName)
		if i.PriceCents != nil {
			line += " @" + formatPrice(i.PriceCents)
		}
		if i.Description != nil {
			line += " | " + *i.Description
		}
		if i.Link != nil {
			line += " | " + *i.Link
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (b bomShape) rejected() string {
	var lines []string
	for _, r := range b.Rejected {
		lines = append(lines, fmt.Sprintf("%d: %s", r.Line, r.Reason))
	}
	return strings.Join(lines, "\n")
}

var bomFiles = map[string]struct{ file, want, rejected string }{
	"KiCad 8": {
		`"Reference","Qty","Value","DNP","Exclude from BOM","Exclude from Board","Footprint","Datasheet"
"C1,C2","2","100nF","","","","Capacitor_SMD:C_0603_1608Metric","~"
"R1","1","10k","DNP","","","Resistor_SMD:R_0603_1608Metric","~"
"U1","1","RP2040","","","","Package_DFN_QFN:QFN-56","https://datasheets.raspberrypi.com/rp2040.pdf"
`,
		"2× 100nF | C1,C2; C_0603_1608Metric\n1× RP2040 | U1; QFN-56 | https://datasheets.raspberrypi.com/rp2040.pdf",
		"3: it is marked as not fitted (DNP)",
	},
	"KiCad 7, without a quantity": {
		"Reference,Value,Datasheet,Footprint\r\nR1,10k,~,R_0603\r\nR2,10k,~,R_0603\r\nR3-R5,10k,~,R_0603\r\nR6,1k,~,R_0603\r\n",
		"5× 10k | R1, R2, R3-R5; R_0603\n1× 1k | R6; R_0603", "",
	},
	"KiCad's legacy script": {
		"Source:,/home/x/a.sch\nDate:,2020\nTool:,Eeschema\nGenerator:,bom.py\nComponent Count:,3\n\nIndividual Components:\n\nItem,Qty,Reference(s),Value,LibPart,Footprint,Datasheet\n" +
			",,R1,10k,R,R_0603,\n,,R2,10k,R,R_0603,\n,,Q1,BC547,Q,TO-92,\n\n\n\nCollated Components:\n\nItem,Qty,Reference(s),Value,LibPart,Footprint,Datasheet\n1,2,\"R1, R2\",10k,R,R_0603,\n2,1,Q1,BC547,Q,TO-92,\n",
		"2× 10k | R1, R2; R_0603\n1× BC547 | Q1; TO-92", "",
	},
	"KiCad's other legacy script": {
		"Source:,a.sch\nDate:,now\nRef,Qnty,Value,Cmp name,Footprint,Description,Vendor\nD1 D2,2,LED,LED,LED_SMD:LED_0805,Light emitting diode,Kingbright,\n",
		"2× LED | Light emitting diode; D1 D2; LED_0805; Kingbright", "",
	},
	"KiBoM": {
		"Component,Description,Part,References,Value,Footprint,Quantity Per PCB,Datasheet\n1,Unpolarized capacitor,C,C1 C2,1uF,C_0805,2,\n2,Resistor,R,R9,330,R_0805,1,\n",
		"2× 1uF | Unpolarized capacitor; C1 C2; C_0805\n1× 330 | Resistor; R9; R_0805", "",
	},
	"KiCad's board": {
		"\"Id\";\"Designator\";\"Footprint\";\"Quantity\";\"Designation\";\"Supplier and ref\";\n1;\"R1,R2\";\"R_0603\";2;\"4k7\";;;\n",
		"2× 4k7 | R1,R2; R_0603", "",
	},
	"a spreadsheet": {
		"My robot,,,\n,,,\nItem,Qty,Unit price (€),Total,Supplier link,Order number\nMotor,2,€ 12.50,25.00,www.example.com/m,\"X-1\"\n\"Wheel, 65 mm\",4 pcs,\"1,234.50\",4938,https://example.com/w,\n\"Screw \"\"M3\"\"\",1.000,0.0125,,,\nTotal,,,99,,\n",
		"2× Motor @12.50 | X-1 | https://www.example.com/m\n4× Wheel, 65 mm @1234.50 | https://example.com/w\n1000× Screw \"M3\" @0.01\n1× Total", "",
	},
	"a German spreadsheet": {
		"Pos.;Bezeichnung;Menge;Einzelpreis;Gesamtpreis;Bezugsquelle;Bemerkung\n1;Schraube;100;0,05 €;5,00 €;https://example.de/s;verzinkt\n2;Motor;1;1.234,50;1.234,50;;\n3;Blech;2;5,-;10,-;;\n4;Draht;1,5;1,00;;;\n",
		"100× Schraube @0.05 | verzinkt | https://example.de/s\n1× Motor @1234.50\n2× Blech @5.00", "5: the quantity \"1,5\" is no whole number",
	},
	"a French one":           {"Désignation;Quantité;Prix unitaire;Lien\nVis;10;0,10;https://example.fr/vis\n", "10× Vis @0.10 | https://example.fr/vis", ""},
	"Swiss amounts":          {"Part,Qty,Price\nLathe,1,CHF 1'234.50\nDrill,1,USD 5\n", "1× Lathe @1234.50\n1× Drill @5.00", ""},
	"tabs and empty cells":   {"Part\tDescription\tQty\nA\t\t2\n\tonly this\t\n\t\t3\n", "2× A\n1× only this", "4: it has no name"},
	"line breaks in cells":   {"Part,Description,Qty\r\n\"A\",\"one\r\ntwo\",2\r\nB,,3\r\nC,,x\r\n", "2× A | one\r\ntwo\n3× B", "5: the quantity \"x\" is no whole number"},
	"old Macs":               {"Part,Qty\rA,2\rB,x\r", "2× A", "3: the quantity \"x\" is no whole number"},
	"inches":                 {"Part,Description,Qty\nTube,6\" long,2\n\"3\"\" nail\",,1\n", "2× Tube | 6\" long\n1× 3\" nail", ""},
	"an open quotation mark": {"Part,Qty\nA,1\n\"B,2\nC,3\n", "1× A\n3× C", "3: a quotation mark is opened here and never closed"},
	"faults": {
		"Part,Qty,Price,Link,Order\nA,0,1,,\nB,9999999,1,,\nC,1,abc,,\nD,1,99999999999,,\nE,1,-1,,\nF,1,1,javascript:alert(1),\n" + strings.Repeat("G", 256) + ",1,,,\nH,1,n/a,,7\n",
		"1× H",
		"2: Quantity must be from 1 to 1000000\n3: Quantity must be from 1 to 1000000\n4: the price \"abc\" is no amount such as 3.50\n5: the price \"99999999999\" is no amount such as 3.50\n" +
			"6: the price \"-1\" is no amount such as 3.50\n7: Link must be an address that starts with http:// or https://\n8: Item name must have at most 255 characters",
	},
	"formulas":           {"Part,Description\n'=1+1,'+A1\n'quoted',''=x\n-5,@me\n", "1× =1+1 | +A1\n1× 'quoted' | '=x\n1× -5 | @me", ""},
	"Excel's first line": {"sep=;\nPart;Qty;Price\nA;2;1,50\n", "2× A @1.50", ""},
}

func TestBillsOfMaterialsFromElsewhere(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	for name, c := range bomFiles {
		id := alice.draft("Robot")
		path := fmt.Sprintf("/api/projects/%d/bom", id)
		var tried, done bomShape
		alice.post(path+"/import?preview=true", form().file("csv", "bom.csv", []byte(c.file))).want(http.StatusOK).into(&tried)
		same(t, name, tried.summary(), c.want)
		same(t, name+": rejected", tried.rejected(), c.rejected)
		same(t, name+": preview", tried.Preview, true)
		same(t, "nothing is saved", len(alice.project(id).BillOfMaterials), 0)
		alice.post(path+"/import", form().file("csv", "bom.csv", []byte(c.file))).want(http.StatusCreated).into(&done)
		same(t, name+": saved", done.summary(), c.want)
		same(t, name+": not saved", done.rejected(), c.rejected)
		for i, item := range alice.project(id).BillOfMaterials {
			same(t, name+": order", item.ItemName, done.Items[i].ItemName)
			same(t, name+": id", item.ID, done.Items[i].ID)
		}
		// The same rows in every encoding.
		plain := strings.Map(func(r rune) rune {
			if r > 0xff && r != '€' {
				return -1
			}
			return r
		}, c.file)
		units := utf16.Encode([]rune(c.file))
		little, big := []byte("\xff\xfe"), []byte("\xfe\xff")
		for _, u := range units {
			little, big = append(little, byte(u), byte(u>>8)), append(big, byte(u>>8), byte(u))
		}
		old := bytes.ReplaceAll(latin1(strings.ReplaceAll(plain, "€", "\u0080")), nil, nil)
		for encoding, data := range map[string][]byte{"mark": append([]byte("\ufeff"), c.file...), "UTF-16LE": little, "UTF-16BE": big, "UTF-16LE without mark": little[2:], "UTF-16BE without mark": big[2:], "Windows-1252": old} {
			var again bomShape
			alice.post(path+"/import?preview=1", form().file("csv", "bom.csv", data)).want(http.StatusOK).into(&again)
			same(t, name+" in "+encoding, again.summary(), c.want)
		}
	}
}

// latin1 writes characters up to U+00FF as a byte each.
func latin1(text string) []byte {
	var b []byte
	for _, r := range text {
		b = append(b, byte(r))
	}
	return b
}

func TestColumnsOfABillOfMaterials(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	path := fmt.Sprintf("/api/projects/%d/bom/import?preview=true", alice.draft("Robot"))
	var found bomShape
	alice.post(path, form().file("csv", "a.csv", []byte("Item,Weight,Qty,Cost,Line total,URL\nA,5 g,1,0.125,1,\n"))).want(http.StatusOK).into(&found)
	var columns []string
	for _, c := range found.Columns {
		columns = append(columns, c.Header+"="+deref(c.Field))
	}
	same(t, "columns", strings.Join(columns, " "), "Item=item_name Weight= Qty=quantity Cost=price_cents Line total= URL=link")
	same(t, "note", found.Items[0].Note, "the price 0.125 was rounded to 0.13")
	same(t, "total", *found.Items[0].TotalCents, 13)
	for text, want := range map[string]string{
		"":                       "Choose a CSV file",
		"  \n":                   "Choose a CSV file",
		"just some text\nand no": "No line of the file names columns",
		"Qty,Price\n1,2\n":       "No line of the file names columns",
		"PK\x03\x04xlsx":         "save or export it as CSV",
		"a,\x00b\n1,2":           "The file is no text",
	} {
		a := alice.post(path, form().file("csv", "a.csv", []byte(text)))
		if a.status != http.StatusBadRequest && a.status != http.StatusUnprocessableEntity {
			a.want(http.StatusBadRequest)
		}
		a.detail(a.status, want)
	}
	alice.post(path, form().file("csv", "a.csv", bytes.Repeat([]byte("a,b\n"), 300_000))).detail(http.StatusBadRequest, "too large: at most 1 MB")
	alice.post(path, form().file("csv", "a.csv", bytes.Repeat([]byte("a,b\n"), 3_000_000))).detail(http.StatusBadRequest, "too large: at most 1 MB")
	alice.post(path, form().file("csv", "a.csv", []byte("Part\n"+strings.Repeat("a\n", 20_001)))).detail(http.StatusBadRequest, "more rows than the 20000 that are read")
	alice.post(path, form().file("other", "a.csv", []byte("Part\nA"))).detail(http.StatusUnprocessableEntity, "Choose a CSV file")
	alice.post(path, map[string]any{"csv": "Part\nA"}).detail(http.StatusUnprocessableEntity, "Choose a CSV file")
	alice.post(strings.Replace(path, "=true", "=maybe", 1), form()).detail(http.StatusUnprocessableEntity, "Preview must be true or false")
	alice.post(strings.Replace(path, "?preview=true", "", 1), form("csv", "Part,Qty\nA,none\n")).detail(http.StatusBadRequest, `No row of the file can be taken (line 2: the quantity "none" is no whole number)`)
	alice.post(strings.Replace(path, "?preview=true", "", 1), form("csv", "Part,Qty\n")).detail(http.StatusBadRequest, "there is none below the header")
	st.member("bob").post(path, form("csv", "Part\nA\n")).detail(http.StatusForbidden, "Only its author can add materials")
	st.visitor().post(path, form("csv", "Part\nA\n")).want(http.StatusUnauthorized)
}

func TestABillOfMaterialsHasALimit(t *testing.T) {
	t.Parallel()
	st := newSite(t, func(c *config) { c.maxParts = 3 })
	alice := st.member("alice")
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d/bom", id)
	alice.post(path, map[string]any{"item_name": "First", "item_order": 5}).want(http.StatusCreated)
	alice.post(path+"/import", form("csv", "Part\nA\nB\nC\n")).detail(http.StatusConflict, "at most 3 materials, and this one would have 4")
	same(t, "none is saved", len(alice.project(id).BillOfMaterials), 1)
	alice.do(http.MethodPost, path+"/import", form("csv", "Part\nA\n"), "If-Match", `"r0"`).want(http.StatusPreconditionFailed)
	alice.post(path+"/import", form("csv", "Part\nA\nB\n")).want(http.StatusCreated)
	d := alice.project(id)
	same(t, "behind those that are there", d.BillOfMaterials[1].ItemName == "A" && d.BillOfMaterials[1].ItemOrder == 6 && d.BillOfMaterials[2].ItemOrder == 7, true)
}

func TestABillOfMaterialsComesBackAsItWas(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	id, copied := alice.draft("Röbot 2"), alice.draft("Copy")
	list := fmt.Sprintf("/api/projects/%d/bom", id)
	for i, name := range []string{"=HYPERLINK(\"https://evil.example\")", "+1", "-1", "@SUM(A1)", "'=x", "'quoted'", "''+", "a,b;c\td", "say \"hi\"", "two\nlines", "two\r\nlines", "日本 ünï", "#1", "~"} {
		item := map[string]any{"item_name": name, "quantity": i + 1, "item_order": 20 - i/2, "description": "-" + name}
		if i%2 == 0 {
			item["price_cents"], item["link"] = i*1001, fmt.Sprintf("https://example.com/?a=%d,b;c", i)
		}
		alice.post(list, item).want(http.StatusCreated)
	}
	nobody.get(list + ".csv").want(http.StatusForbidden)
	alice.post(fmt.Sprintf("/api/projects/%d/publish", id), nil).want(http.StatusOK)
	a := nobody.get(list + ".csv").want(http.StatusOK)
	same(t, "type", a.header.Get("Content-Type"), "text/csv; charset=utf-8; header=present")
	same(t, "name", a.header.Get("Content-Disposition"), "attachment; filename=r_bot-2_bom.csv; filename*=UTF-8''r%C3%B6bot-2_bom.csv")
	same(t, "mark", strings.HasPrefix(string(a.body), "\ufeffItem,Description,Quantity,Unit price,Total,Link,Order\r\n"), true)
	rows, err := csv.NewReader(bytes.NewReader(a.body)).ReadAll()
	if err != nil || len(rows) != 15 {
		t.Fatal(len(rows), err)
	}
	for _, row := range rows[1:] {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Fatalf("a formula: %q", cell)
			}
		}
	}
	alice.post(fmt.Sprintf("/api/projects/%d/bom/import", copied), form().file("csv", "b.csv", a.body)).want(http.StatusCreated)
	before, after := alice.project(id).BillOfMaterials, alice.project(copied).BillOfMaterials
	same(t, "lines", len(after), len(before))
	for i := range before {
		before[i].ID, after[i].ID = 0, 0
		same(t, "line", fmt.Sprintf("%q %+v", after[i].ItemName, fieldsOf(after[i])), fmt.Sprintf("%q %+v", before[i].ItemName, fieldsOf(before[i])))
	}
}

// fieldsOf is what a line says, without pointers.
func fieldsOf(item struct {
	ID          int
	ItemName    string `json:"item_name"`
	Description *string
	Quantity    int
	PriceCents  *int `json:"price_cents"`
	ItemOrder   int  `json:"item_order"`
	Link        *string
}) string {
	return fmt.Sprintf("%q %d %s %d %q", deref(item.Description), item.Quantity, formatPrice(item.PriceCents), item.ItemOrder, deref(item.Link))
}

func TestImportOfPartsOnAPage(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	editor := fmt.Sprintf("/projects/%d/edit", id)
	alice.page(editor).shows(`action="`+editor+`/bom-import"`, `enctype="multipart/form-data"`)
	send := func(f *multipartForm) *answer {
		return alice.do(http.MethodPost, editor+"/bom-import", f, "Accept", "text/html", "Origin", st.url)
	}
	send(form()).want(http.StatusUnprocessableEntity).shows("Choose a CSV file")
	send(form().file("csv", "a.csv", []byte("no header"))).want(http.StatusBadRequest).shows("No line of the file names columns")
	file := "Part,Qty,Price,Weight\n\"<b>Motor</b> & \"\"more\"\"\",2,3.50,5\nWheel,x,1,1\n\"two\nlines\",1,,\n"
	a := send(form().file("csv", "a.csv", []byte(file))).want(http.StatusOK).
		shows("&lt;b&gt;Motor&lt;/b&gt;", "7.00", "Nothing is saved yet", "Line 3", "is no whole number", "Weight</strong> is ignored", "Add 2 parts").hides("<b>Motor</b>")
	same(t, "nothing is saved", len(alice.project(id).BillOfMaterials), 0)
	kept := regexp.MustCompile(`(?s)<textarea name="csv" hidden>\n(.*?)</textarea>`).FindSubmatch(a.body)
	text := strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&", "&#34;", `"`).Replace(string(kept[1]))
	same(t, "the file", text, file)
	location := send(form("csv", strings.ReplaceAll(text, "\n", "\r\n"), "action", "save")).redirects(editor)
	same(t, "back at the list", strings.HasSuffix(location, "saved=bom#bom"), true)
	d := alice.project(id)
	same(t, "saved", len(d.BillOfMaterials) == 2 && d.BillOfMaterials[0].ItemName == `<b>Motor</b> & "more"` && d.BillOfMaterials[1].ItemName == "two\nlines", true)
	alice.page(editor).shows("bom.csv")
	st.member("bob").submit(editor+"/bom-import", url.Values{}).want(http.StatusForbidden)
}

func TestAmounts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"3": "3.00", "3.5": "3.50", "3,50": "3.50", "$3.50": "3.50", "3.50 €": "3.50", "£ 1,234.56": "1234.56", "1.234,56": "1234.56", "1 234,56 €": "1234.56", "1'234.56": "1234.56",
		"1,234,567.8": "1234567.80", "1.234.567": "1234567.00", "0.125": "0.13", "0,1249": "0.12", ".5": "0.50", "5,-": "5.00", "EUR 7": "7.00", "7 kr": "7.00", "1.50/100": "", "1,23,4": "", "": "", "1.2.3": "",
		"--": "", "1e5": "", "٣": "", "12.345": "12.35", "12,345": "12345.00",
	} {
		cents, _, ok := parseAmount(text, '.')
		got := ""
		if ok {
			got = formatPrice(&cents)
		}
		same(t, text, got, want)
	}
}

// FuzzBOM reads any file: it answers, and what it takes can be saved and comes
// back as it is.
func FuzzBOM(f *testing.F) {
	for _, c := range bomFiles {
		f.Add([]byte(c.file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := readBOM(data)
		if err != nil {
			if publicError(err).status != http.StatusBadRequest {
				t.Fatal(err)
			}
			return
		}
		var items []bomItem
		for _, item := range found.Items {
			if item.Quantity < 1 || item.Quantity > maxQuantity || item.ItemName == "" || len([]rune(item.ItemName)) > 255 || !isPlain(item.ItemName) || !isPlain(deref(item.Description)) ||
				item.PriceCents != nil && *item.PriceCents < 0 || item.Link != nil && !isWebLink(*item.Link) {
				t.Fatalf("%+v", item)
			}
			item.ItemOrder = max(0, item.ItemOrder)
			items = append(items, item.bomItem)
		}
		again, err := readBOM(bomCSV(items))
		if err != nil || len(again.Rejected) > 0 || len(again.Items) != len(items) {
			t.Fatalf("%v: %v of %d, %v", err, len(again.Items), len(items), again.Rejected)
		}
		for i, item := range again.Items {
			if fmt.Sprint(fieldsOfItem(item.bomItem)) != fmt.Sprint(fieldsOfItem(items[i])) {
				t.Fatalf("%q came back as %q", fieldsOfItem(items[i]), fieldsOfItem(item.bomItem))
			}
		}
	})
}

func fieldsOfItem(i bomItem) []string {
	return slices.Concat([]string{i.ItemName, deref(i.Description), deref(i.Link), formatPrice(i.PriceCents)}, []string{fmt.Sprint(i.Quantity, i.ItemOrder)})
}
