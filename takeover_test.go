package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// legacyState is a database of the older service: the files of testdata/legacy
// that make it, in their order. A file with a ? before its name is run
// statement by statement and may fail in part, as it did in production.
type legacyState struct {
	name  string
	files []string
}

// upTo are the older service's migrations from one version to another.
func upTo(from, to int, prefix string) (files []string) {
	for n := from; n <= to; n++ {
		name := fmt.Sprintf("%03d.sql", n)
		if _, err := os.Stat(filepath.Join("testdata/legacy", name)); err == nil {
			files = append(files, prefix+name)
		}
	}
	return files
}

func join(lists ...[]string) (all []string) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// legacyDatabase makes a database in a state of the older service.
func legacyDatabase(t testing.TB, files []string) string {
	t.Helper()
	dsn := newDatabase(t, "template0")
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, name := range files {
		name, forgiving := strings.CutPrefix(name, "?")
		text, err := os.ReadFile(filepath.Join("testdata/legacy", name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.PgConn().Exec(t.Context(), string(text)).ReadAll(); err != nil && !forgiving {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return dsn
}

// catalogue describes everything in a database's public schema, a line each.
const catalogue = `
	select 'relation ' || relname || ' ' || relkind::text from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm', 'S')
	union all
	select format('column %s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid))
	from pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
	where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
	union all
	select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace = 'public'::regnamespace
	union all
	select 'index ' || indexdef from pg_indexes where schemaname = 'public'
	union all
	select format('trigger %s %s', tgrelid::regclass, pg_get_triggerdef(oid)) from pg_trigger where not tgisinternal
	union all
	select 'function ' || pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace
	union all
	select 'sequence of ' || c.relname || ' is ' || pg_get_serial_sequence('public.' || quote_ident(c.relname), 'id') from pg_class c
	where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and exists (
		select from pg_attribute a where a.attrelid = c.oid and a.attname = 'id' and a.atttypid = 'integer'::regtype)
	union all
	select 'schema ' || nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
	order by 1`

func describe(t testing.TB, dsn string) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), catalogue)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// difference lists the lines that only one of the two has.
func difference(a, b []string) string {
	in := func(list []string) map[string]bool {
		m := map[string]bool{}
		for _, line := range list {
			m[line] = true
		}
		return m
	}
	inA, inB := in(a), in(b)
	var lines []string
	for _, line := range a {
		if !inB[line] {
			lines = append(lines, "- "+line)
		}
	}
	for _, line := range b {
		if !inA[line] {
			lines = append(lines, "+ "+line)
		}
	}
	return strings.Join(lines, "\n")
}

func migrateAll(t testing.TB, dsn string) {
	t.Helper()
	db, err := openMigrated(t.Context(), dsn, quiet)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
}

// legacyStates are the shapes in which the older service left databases.
func legacyStates() []legacyState {
	rows := func(numbers ...string) (files []string) {
		for _, n := range numbers {
			files = append(files, "rows_"+n+".sql")
		}
		return files
	}
	all := rows("000", "007", "012", "015", "016", "017")
	models := join([]string{"models.sql"}, all, []string{"duplicates.sql"})
	byHand := join(upTo(0, 1, ""), upTo(3, 7, ""), rows("000"), []string{"?rows_007.sql", "models.sql"}, upTo(8, 17, "?"), []string{"?rows_012.sql", "?rows_015.sql", "?rows_016.sql", "?rows_017.sql", "duplicates.sql"})
	return []legacyState{
		{"000", join(upTo(0, 0, ""), rows("000"))},
		{"001", join(upTo(0, 1, ""), rows("000"), []string{"versions_wrong.sql"})},
		{"004", join(upTo(0, 4, ""), rows("000"))},
		{"007", join(upTo(0, 7, ""), rows("000", "007"), []string{"versions_right.sql"})},
		{"012", join(upTo(0, 12, ""), rows("000", "007", "012"), []string{"versions_wrong.sql"})},
		{"013", join(upTo(0, 13, ""), rows("000", "007", "012"))},
		{"015", join(upTo(0, 15, ""), rows("000", "007", "012", "015"))},
		{"016", join(upTo(0, 16, ""), rows("000", "007", "012", "015", "016"), []string{"versions_missing.sql"})},
		{"017", join(upTo(0, 17, ""), all, []string{"versions_right.sql"})},
		{"017, versions wrong", join(upTo(0, 17, ""), all, []string{"versions_wrong.sql"})},
		{"017, versions missing", join(upTo(0, 17, ""), all, []string{"duplicates.sql", "versions_missing.sql"})},
		{"017, empty", upTo(0, 17, "")},
		{"models", models},
		{"models, versions wrong", join(models, []string{"versions_wrong.sql"})},
		{"by the container, the models and by hand", byHand},
	}
}

// rowsOf reads a query's rows as texts.
func rowsOf(t testing.TB, dsn, sql string) map[string]bool {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]bool{}
	for _, line := range list {
		set[line] = true
	}
	return set
}

// legacyTables are the tables of the older service that hold people's rows.
var legacyTables = []string{"user", "accountlog", "like", "comment", "commentversion", "commentlike", "pageview", "project", "project_tag", "project_step",
	"bill_of_material", "component", "project_component", "project_file", "project_image", "project_link", "tool_material"}

// values lists what stands in every column of every row, as table, id, column
// and value, but for what the takeover is there to change.
func values(t testing.TB, dsn string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, table := range legacyTables {
		exists := rowsOf(t, dsn, fmt.Sprintf(`select 'yes' where to_regclass('public."%s"') is not null`, table))
		if len(exists) == 0 {
			continue
		}
		for line := range rowsOf(t, dsn, fmt.Sprintf(`
			select '%[1]s ' || x.id || ' ' || key || ' ' || value from "%[1]s" x, jsonb_each_text(to_jsonb(x))
			where value is not null and key not in ('url', 'date_of_birth', 'step_number', 'component_id', 'like_count', 'reply_count', 'comment_count')`, table)) {
			all[line] = true
		}
	}
	return all
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	needDatabase(t)
	fresh := newDatabase(t, "template0")
	migrateAll(t, fresh)
	want := describe(t, fresh)
	if len(want) < 200 {
		t.Fatalf("the catalogue has %d lines", len(want))
	}
	for _, state := range legacyStates() {
		t.Run(state.name, func(t *testing.T) {
			t.Parallel()
			dsn := legacyDatabase(t, state.files)
			own := migratorOn(t, dsn)
			if _, err := own.conn.Exec(t.Context(), `create schema site; create table site.badge (user_id integer references "user", name text)`); err != nil {
				t.Fatal(err)
			}
			own.close()
			before := values(t, dsn)
			migrateAll(t, dsn)
			if diff := difference(slices.Concat(want, []string{"schema site"}), describe(t, dsn)); diff != "" {
				t.Errorf("the catalogue differs from a fresh database's:\n%s", diff)
			}
			// Every value of every row is where it was, or its row is in merged_row.
			after := values(t, dsn)
			merged := rowsOf(t, dsn, `select table_name || ' ' || row_id || ' ' from merged_row`)
			for line := range before {
				words := strings.SplitN(line, " ", 3)
				if !after[line] && !merged[words[0]+" "+words[1]+" "] {
					t.Errorf("lost: %s", truncate(line, 200))
				}
			}
			for _, check := range []struct{ what, sql string }{
				{"URLs with leading slashes", `select count(*) from (select url from "like" union all select url from comment union all select url from pageview) u where url like '/%' or url = ''`},
				{"comments that drifted", `select count(*) from comment c where like_count <> (select count(*) from commentlike l where l.comment_id = c.id)
					or reply_count <> (select count(*) from comment r where r.parent_comment_id = c.id and not r.is_hidden and not r.is_removed)`},
				{"projects that drifted", `select count(*) from project p where like_count <> (select count(*) from "like" l where l.entity_type = 'project' and l.entity_id = p.id)
					or comment_count <> (select count(*) from comment c where c.entity_type = 'project' and c.entity_id = p.id and not c.is_hidden and not c.is_removed)`},
				{"pages whose views are counted otherwise than before", `select count(*) from page_total t
					full join (select url, count(*) as views, count(distinct ip_address) as visitors, max(viewed_at) as latest from pageview group by url) v using (url)
					where (t.view_count, t.unique_visitors, t.last_viewed_at) is distinct from (v.views, v.visitors, v.latest)`},
				{"visitors who are not the same on every page", `select (select count(distinct visitor) from page_visitor) - (select count(distinct ip_address) from pageview)`},
				{"days that were counted otherwise", `select count(*) from (select url, day, d.view_count from page_day d join page_total on id = page_id) c
					full join (select url, viewed_at::date as day, count(*) as views from pageview group by 1, 2) v using (url, day) where view_count is distinct from views`},
				{"sequences behind their ids", `select count(*) from "user" where id >= nextval(pg_get_serial_sequence('"user"', 'id'))`},
			} {
				same(t, check.what, scalar(t, dsn, check.sql), "0")
			}
			// A site's own table keeps what it refers to.
			same(t, "own table", scalar(t, dsn, `select count(*) from pg_constraint where conrelid = 'site.badge'::regclass and contype = 'f'`), "1")
			// A second start changes nothing.
			migrateAll(t, dsn)
			// And the way back and up again loses nothing either.
			m := migratorOn(t, dsn)
			if err := m.down(t.Context(), len(m.applied)); err != nil {
				t.Fatal(err)
			}
			m.close()
			older := values(t, dsn)
			columns := rowsOf(t, dsn, `select table_name || ' ' || column_name from information_schema.columns where table_schema = 'public'`)
			migrateAll(t, dsn)
			if diff := difference(slices.Concat(want, []string{"schema site"}), describe(t, dsn)); diff != "" {
				t.Errorf("after down and up the catalogue differs:\n%s", diff)
			}
			again := values(t, dsn)
			for line := range after {
				words := strings.SplitN(line, " ", 4)
				if !columns[words[0]+" "+words[2]] {
					continue // what only Chatter has
				}
				if !older[line] || !again[line] {
					t.Errorf("lost on the way back: %s", truncate(line, 200))
				}
			}
		})
	}
}

func migratorOn(t testing.TB, dsn string) *migrator {
	t.Helper()
	migrations, err := loadMigrations(sqlFiles)
	if err != nil {
		t.Fatal(err)
	}
	m, err := openMigrator(t.Context(), dsn, migrations, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// People of the older service sign in with the passwords they have.
func TestTakenOverSite(t *testing.T) {
	t.Parallel()
	needDatabase(t)
	states := legacyStates()
	dsn := legacyDatabase(t, states[len(states)-1].files)
	migrateAll(t, dsn)
	st := newSite(t, func(c *config) { c.databaseURL = dsn })
	v := st.visitor()
	const horse, old = "correct horse battery staple", "old-Password-7"
	for _, c := range []struct {
		name, password, want string
	}{
		{"alice", horse, "alice"}, {"Alice", horse, "alice"}, {"ALICE", old, "ALICE"}, {"alice.other@example.org", old, "ALICE"},
		{"bob@example.org", horse, "bob"}, {"BOB@EXAMPLE.ORG", horse, "bob"}, {"Bob@Example.org", old, "robert"}, {"robert", old, "robert"},
		{"carol-at-nowhere", old, "carol"}, {"ünal", "käse & brot 2019", "ünal"}, {"eve", old, "eve"},
		{"longpass", "xxxlong-passphrase-long-passphrase-long-passphrase-long-passphrase-long-passphrase-tail-that-was-ignored", "longpass"},
		{"ALICE", horse, ""}, {"alice", old, ""}, {"dave", old, ""},
	} {
		a := v.post("/api/login", map[string]any{"username": c.name, "password": c.password})
		if st.count(`select count(*) from "user" where username = $1 and force_password_reset`, c.want) == 1 {
			// An admin of the older service has asked for a new password.
			same(t, "code", a.detail(403, "/login").fields()["code"], any("password_reset_required"))
			st.exec(`update "user" set force_password_reset = false where username = $1`, c.want)
			a = v.post("/api/login", map[string]any{"username": c.name, "password": c.password})
		}
		if c.want == "" {
			a.detail(401, "Invalid credentials")
			continue
		}
		a.want(200)
		same(t, "signed in as "+c.name, v.get("/me").fields()["username"], any(c.want))
		v.get("/api/me").want(200)
		v.get("/accounts/me").want(200)
	}
	// New accounts can't take a name or an address in another case.
	for field, value := range map[string]string{"username": "aLiCe", "email": "BOB@example.ORG"} {
		v.post("/accounts/register", with(registration("newcomer"), field, value)).detail(400, "already registered")
	}
	// Who is marked for the address alone keeps the name to himself all the same.
	v.post("/accounts/register", with(registration("ROBERT"), "email", "new@example.com")).detail(400, "Username already registered")
	v.post("/accounts/register", registration("newcomer")).want(201)
	// Eve has no first name, and can change her address nevertheless.
	eve := st.visitor()
	eve.post("/api/login", map[string]any{"username": "eve", "password": old}).want(200)
	eve.do("PATCH", "/api/me/email", map[string]any{"email": "eve@example.org"}).want(200)
	eve.do("PATCH", "/accounts/me", map[string]any{"firstname": ""}).detail(422, "Firstname is required")
	// An address that is no valid one stays until its owner changes it.
	carol := st.visitor()
	carol.post("/api/login", map[string]any{"username": "carol", "password": old}).want(200)
	carol.do("PATCH", "/accounts/me", map[string]any{"firstname": "Caroline"}).want(200)
	for _, path := range []string{"/interact/comments/blog/x.html", "/interact/likes/blog/x.html", "/analytics/page-views/blog/x.html", "/api/projects", "/interact/most-liked", "/api/tags"} {
		v.get(path).want(200)
	}
	for id := range rowsOf(t, dsn, `select id::text from project where status = 'published'`) {
		v.get("/api/projects/" + id).want(200)
		v.get("/api/projects/" + id + "/download").want(200)
	}
}

func TestFailedTakeoverLeavesEverything(t *testing.T) {
	t.Parallel()
	dsn := legacyDatabase(t, join(upTo(0, 7, ""), []string{"rows_000.sql", "versions_right.sql"}))
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	// A like by nobody that there is: no rule can make sense of it.
	if _, err := conn.Exec(t.Context(), `alter table "like" alter user_id drop not null; insert into "like" (url) values ('lost')`); err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	before := describe(t, dsn)
	_, err = openMigrated(t.Context(), dsn, quiet)
	if err == nil || !strings.Contains(err.Error(), "100_base failed, and the database is as it was before it") || !strings.Contains(err.Error(), `column "user_id"`) || !strings.Contains(err.Error(), "«alter table public.") {
		t.Fatal(err)
	}
	same(t, "catalogue", difference(before, describe(t, dsn)), "")
}

func TestMigrateCommand(t *testing.T) {
	t.Parallel()
	dsn := legacyDatabase(t, join(upTo(0, 17, ""), []string{"rows_000.sql", "versions_right.sql"}))
	before := describe(t, dsn)
	settings := env("DATA_DIR", t.TempDir(), "DATABASE_URL", dsn)
	command := func(args ...string) (string, error) {
		var out strings.Builder
		err := run(t.Context(), append([]string{"migrate"}, args...), settings, &out, &strings.Builder{})
		return out.String(), err
	}
	out, err := command("status")
	same(t, "status", err == nil && strings.Contains(out, "the older service's") && strings.Contains(out, "100_base             would run"), true)
	out, err = command("up", "--dry-run")
	same(t, "dry run", err == nil && strings.Contains(out, "create schema chatter_new;") && strings.Contains(out, "create table session"), true)
	same(t, "untouched", difference(before, describe(t, dsn)), "")
	// What a dry run prints is what would run: psql's own way gives the same.
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.PgConn().Exec(t.Context(), out+"rollback;").ReadAll(); err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	printed := describe(t, dsn)

	dsn = legacyDatabase(t, join(upTo(0, 17, ""), []string{"rows_000.sql"}))
	settings = env("DATA_DIR", t.TempDir(), "DATABASE_URL", dsn)
	if out, err = command(); err != nil || !strings.Contains(out, "up to date") {
		t.Fatal(out, err)
	}
	same(t, "printed and run", difference(printed, describe(t, dsn)), "")
	out, err = command("status")
	same(t, "applied", err == nil && strings.Contains(out, "101_chatter          applied 20") && !strings.Contains(out, "would run"), true)
	out, err = command("down", "1", "--dry-run")
	same(t, "dry down", err == nil && strings.Count(out, "(back)") == 1 && !strings.Contains(out, "100_base"), true)
	if _, err = command("down", "1"); err != nil {
		t.Fatal(err)
	}
	out, _ = command("status")
	same(t, "went back", strings.Count(out, "would run"), 1)
	if _, err = command("down", "all"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"down", "1"}, {"down", "x"}, {"down"}, {"sideways"}} {
		_, err = command(args...)
		same(t, fmt.Sprint(args), err != nil, true)
	}
}
