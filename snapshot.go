package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// A backup holds the database as one script, which psql reads as well: SQL, and
// between it the rows of each table as `COPY … FROM stdin;`, lines in
// PostgreSQL's text format, and `\.`. pg_dump writes it where it is there. Where
// it is not, the script is the migrations that the database has, with the rows
// after them.

// snapshot is a database as it is at one moment, for as long as its transaction
// lasts.
type snapshot struct {
	tx         pgx.Tx
	tables     []snapshotTable
	migrations []migration // those that the database has
	postgres   int         // major version of the server
}

type snapshotTable struct {
	Name    string // quoted
	Columns string // quoted, with commas
	Missing string // SQL that adds the table and its columns where the migrations don't make them
}

// openSnapshot begins the transaction. No migration can change a table until it
// ends: PostgreSQL shows a table that was written anew as empty to those who
// came before.
func openSnapshot(ctx context.Context, conn *pgx.Conn) (*snapshot, error) {
	before, err := readTables(ctx, conn)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range before {
		names = append(names, t.Name)
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	snap := &snapshot{tx: tx}
	if err = untimed(ctx, tx); err == nil {
		err = snap.read(ctx, names)
	}
	if err != nil {
		_ = tx.Rollback(ctx)
		return nil, err
	}
	return snap, nil
}

func (snap *snapshot) read(ctx context.Context, names []string) error {
	if len(names) > 0 {
		// Before the first query, with which the moment begins.
		if _, err := snap.tx.Exec(ctx, `lock table `+strings.Join(names, ", ")+` in access share mode`); err != nil {
			return err
		}
	}
	if _, err := snap.tx.Exec(ctx, `set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local extra_float_digits = 3;
		set local bytea_output = 'hex'; set local timezone = 'UTC'`); err != nil {
		return err
	}
	var err error
	if snap.tables, err = readTables(ctx, snap.tx); err != nil {
		return err
	}
	if len(snap.tables) != len(names) {
		return errors.New("the database is being migrated; try again when that is done")
	}
	if err := snap.tx.QueryRow(ctx, `select current_setting('server_version_num')::integer / 10000`).Scan(&snap.postgres); err != nil {
		return err
	}
	var ours bool
	if err := snap.tx.QueryRow(ctx, `select to_regclass('schema_version') is not null and to_regclass('media_file') is not null`).Scan(&ours); err != nil {
		return err
	}
	if !ours {
		return errors.New("the database is not Chatter's yet; bring it up first with: chatter migrate")
	}
	rows, err := snap.tx.Query(ctx, `select version, checksum from schema_version where version ~ '^[1-9][0-9]{2}$' order by version`)
	if err != nil {
		return err
	}
	has := map[string]string{}
	var version, checksum string
	if _, err := pgx.ForEachRow(rows, []any{&version, &checksum}, func() error { has[version] = checksum; return nil }); err != nil {
		return err
	}
	snap.migrations, err = knownMigrations(has)
	if err != nil {
		return fmt.Errorf("the database %w", err)
	}
	return nil
}

// knownMigrations are those with the versions and checksums. The error, which
// lacks its subject, says that this Chatter does not know them.
func knownMigrations(has map[string]string) (list []migration, err error) {
	all, err := loadMigrations(sqlFiles)
	if err != nil {
		return nil, err
	}
	for _, mig := range all {
		if checksum, found := has[mig.version]; found && checksum == mig.checksum {
			list = append(list, mig)
		} else if found {
			return nil, fmt.Errorf("has migration %s in another form; use the Chatter that made it", mig.name)
		}
	}
	if len(list) < len(has) {
		return nil, fmt.Errorf("is of a newer Chatter, with migrations that this one (up to %s) does not know; use the newer Chatter", all[len(all)-1].name)
	}
	return list, nil
}

// readTables lists the tables; columns that PostgreSQL computes by itself are
// left out.
func readTables(ctx context.Context, db interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}) ([]snapshotTable, error) {
	rows, err := db.Query(ctx, `
		select quote_ident(c.relname) as name, string_agg(quote_ident(a.attname), ', ' order by a.attnum) as columns,
		       format(e'create table if not exists %I ();\n', c.relname)
		       || string_agg(format(e'alter table %I add column if not exists %I %s;\n', c.relname, a.attname, format_type(a.atttypid, a.atttypmod)), '' order by a.attnum) as missing
		from pg_class c join pg_attribute a on a.attrelid = c.oid
		where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
		group by c.relname order by c.relname`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[snapshotTable])
}

// write writes the script without pg_dump.
func (snap *snapshot) write(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprint(out, "set client_encoding = 'UTF8';\nset standard_conforming_strings = on;\nset client_min_messages = warning;\nset datestyle = 'ISO, YMD';\nset intervalstyle = 'postgres';\nset timezone = 'UTC';\n", versionTable)
	for _, mig := range snap.migrations {
		fmt.Fprintf(out, "-- migration %s\n%s\n", mig.name, mig.up)
	}
	fmt.Fprintln(out, "-- What the database has beside that.")
	for _, t := range snap.tables {
		out.WriteString(t.Missing)
	}
	out.WriteString(queries["load_begin"])
	for _, t := range snap.tables {
		// As pg_dump writes it.
		fmt.Fprintf(out, "COPY %s (%s) FROM stdin;\n", t.Name, t.Columns)
		if _, err := snap.tx.Conn().PgConn().CopyTo(ctx, out, fmt.Sprintf(`copy %s (%s) to stdout`, t.Name, t.Columns)); err != nil {
			return err
		}
		fmt.Fprintln(out, `\.`)
	}
	// A sequence is not part of the moment: it is at least as far as the rows are.
	rows, err := snap.tx.Query(ctx, `
		select format('select setval(to_regclass(%1$L), %2$s, %3$L) where to_regclass(%1$L) is not null;', quote_ident(sequencename),
		              coalesce(last_value, start_value), last_value is not null)
		from pg_sequences where schemaname = current_schema() order by sequencename`)
	if err != nil {
		return err
	}
	sequences, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	fmt.Fprintln(out, strings.Join(sequences, "\n"))
	out.WriteString(queries["load_end"])
	return out.Flush()
}

// findDump is the pg_dump of the server's own major version, empty when there
// is none: what a newer one writes, the server may not understand.
func findDump(postgres int) string {
	major := strconv.Itoa(postgres)
	for _, dir := range append([]string{filepath.Join("/usr/lib/postgresql", major, "bin")}, filepath.SplitList(os.Getenv("PATH"))...) {
		if path := filepath.Join(dir, "pg_dump"); programVersion(path, nil) == major {
			return path
		}
	}
	return ""
}

// dump has pg_dump write the script. What it says when it fails is in the error.
func (snap *snapshot) dump(ctx context.Context, program string, w io.Writer) error {
	var id, schema string
	if err := snap.tx.QueryRow(ctx, `select pg_export_snapshot(), current_schema()`).Scan(&id, &schema); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, "--format=plain", "--no-owner", "--no-privileges", "--no-tablespaces", "--encoding=UTF8",
		"--snapshot="+id, "--schema="+`"`+strings.ReplaceAll(schema, `"`, `""`)+`"`)
	cmd.Env = append(os.Environ(), dumpEnvironment(snap.tx.Conn().Config())...)
	cmd.WaitDelay = time.Second
	said := &bytes.Buffer{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = copyDump(w, out)
	if waitErr := cmd.Wait(); waitErr != nil {
		err = errors.Join(fmt.Errorf("pg_dump: %w: %s", waitErr, oneLine(truncate(said.String(), 1000))), err)
	}
	return err
}

// copyDump copies what pg_dump writes, but that the schema is there already and
// that a word to psql alone is left out.
func copyDump(w io.Writer, dump io.Reader) error {
	in, out := bufio.NewReaderSize(dump, 64<<10), bufio.NewWriterSize(w, 64<<10)
	rows := false
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return err
		}
		switch {
		case rows:
			rows = string(line) != "\\.\n"
		case isCopy(line):
			rows = true
		case bytes.HasPrefix(line, []byte("CREATE SCHEMA ")):
			line = append([]byte("CREATE SCHEMA IF NOT EXISTS "), line[len("CREATE SCHEMA "):]...)
		case bytes.HasPrefix(line, []byte(`\restrict `)), bytes.HasPrefix(line, []byte(`\unrestrict `)):
			line = nil
		}
		if _, err := out.Write(line); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
	}
}

// isCopy reports whether rows follow a line of a script.
func isCopy(line []byte) bool {
	return bytes.HasPrefix(line, []byte("COPY ")) && bytes.HasSuffix(line, []byte(" FROM stdin;\n"))
}

// tlsSetting is a parameter of a connection string that pg_dump needs as well.
var tlsSetting = regexp.MustCompile(`(?:^|[\s?&])(sslmode|sslrootcert|sslcert|sslkey)=([^\s&']+)`)

// dumpEnvironment is how pg_dump reaches the database; in its arguments, all
// users of the machine would read the password.
func dumpEnvironment(c *pgx.ConnConfig) []string {
	env := []string{"PGHOST=" + c.Host, fmt.Sprintf("PGPORT=%d", c.Port), "PGUSER=" + c.User, "PGPASSWORD=" + c.Password, "PGDATABASE=" + c.Database,
		"PGTZ=UTC", "PGDATESTYLE=ISO", "PGOPTIONS=-c statement_timeout=0", "PGAPPNAME=chatter backup"}
	for _, found := range tlsSetting.FindAllStringSubmatch(c.ConnString(), -1) {
		env = append(env, "PG"+strings.ToUpper(found[1])+"="+found[2])
	}
	return env
}

// tableSum says what rows of a table a script has.
type tableSum struct {
	Copy string `json:"copy"` // the table and its columns, as in COPY
	Rows int64  `json:"rows"`
	Sum  string `json:"sum"` // the SHA-256 of each row's line added up, in four parts of 64 bits, so that the order does not matter
}

// tally sums up the rows of the scripts and the rows that are written to it.
type tally struct {
	tables []tableSum
	line   []byte // that has no end yet
	rows   bool
	sum    [4]uint64
}

func (t *tally) Write(p []byte) (int, error) {
	written := len(p)
	for {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		if !whole {
			t.line = append(t.line, p...)
			return written, nil
		}
		if len(t.line) > 0 {
			line = append(t.line, line...)
			t.line = line[:0]
		}
		t.take(line)
		p = rest
	}
}

func (t *tally) take(line []byte) {
	switch {
	case t.rows && string(line) == `\.`:
		t.end()
	case t.rows:
		t.tables[len(t.tables)-1].Rows++
		hash := sha256.Sum256(line)
		for i := range t.sum {
			t.sum[i] += binary.BigEndian.Uint64(hash[8*i:])
		}
	case bytes.HasPrefix(line, []byte("COPY ")) && bytes.HasSuffix(line, []byte(" FROM stdin;")):
		t.begin(string(line[len("COPY ") : len(line)-len(" FROM stdin;")]))
	}
}

func (t *tally) begin(table string) {
	t.tables, t.rows, t.sum = append(t.tables, tableSum{Copy: table}), true, [4]uint64{}
}

func (t *tally) end() {
	var sum [32]byte
	for i, part := range t.sum {
		binary.BigEndian.PutUint64(sum[8*i:], part)
	}
	t.tables[len(t.tables)-1].Sum, t.rows = hex.EncodeToString(sum[:]), false
}

// sumsOf counts and sums up the same rows in a database.
func sumsOf(ctx context.Context, conn *pgx.Conn, tables []tableSum) ([]tableSum, error) {
	if _, err := conn.Exec(ctx, `set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set extra_float_digits = 3; set bytea_output = 'hex'; set timezone = 'UTC'`); err != nil {
		return nil, err
	}
	var t tally
	for _, table := range tables {
		t.begin(table.Copy)
		if _, err := conn.PgConn().CopyTo(ctx, &t, `copy `+table.Copy+` to stdout`); err != nil {
			return nil, err
		}
		t.end()
	}
	return t.tables, nil
}

// scriptReader takes a script apart.
type scriptReader struct {
	in    *bufio.Reader
	rows  bool
	begun bool // in the middle of a line of rows
}

// next returns the SQL up to the next rows, and the COPY that they belong to,
// whose rows Read gives; at the end there is none.
func (r *scriptReader) next() (sql, copying string, err error) {
	var text strings.Builder
	for {
		line, err := r.in.ReadString('\n')
		if isCopy([]byte(line)) {
			r.rows = true
			return text.String(), strings.TrimSuffix(line, ";\n"), nil
		}
		text.WriteString(line)
		if errors.Is(err, io.EOF) {
			return text.String(), "", nil
		}
		if err != nil {
			return "", "", err
		}
	}
}

func (r *scriptReader) Read(p []byte) (n int, err error) {
	for r.rows {
		// A line may be longer than the buffer, and than p.
		if !r.begun {
			ahead, err := r.in.Peek(3)
			if err != nil {
				return n, noEOF(err)
			}
			if string(ahead) == "\\.\n" {
				_, err := r.in.Discard(3)
				r.rows = false
				return n, errors.Join(err)
			}
		}
		for n < len(p) {
			c, err := r.in.ReadByte()
			if err != nil {
				return n, noEOF(err)
			}
			p[n] = c
			n++
			if r.begun = c != '\n'; !r.begun {
				break
			}
		}
		if n == len(p) {
			return n, nil
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// noEOF makes an end that comes too early an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// runScript does in a transaction what a script says, and returns how many rows
// each of its tables got.
func runScript(ctx context.Context, tx pgx.Tx, script io.Reader) (rows []int64, err error) {
	r := &scriptReader{in: bufio.NewReaderSize(script, 64<<10)}
	conn := tx.Conn().PgConn()
	for {
		sql, copying, err := r.next()
		if err != nil {
			return nil, err
		}
		if done, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			return nil, fmt.Errorf("statement %d%s: %w", len(done)+1, culprit(sql, err), err)
		}
		if copying == "" {
			return rows, nil
		}
		tag, err := conn.CopyFrom(ctx, r, copying)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", copying, err)
		}
		rows = append(rows, tag.RowsAffected())
	}
}
