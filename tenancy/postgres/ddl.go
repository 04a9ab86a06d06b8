package postgres

import (
	"fmt"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/sqltext"
)

// layout is how the tables of one schema are made.
type layout struct {
	schema string // `"name".`
	// bytewise has every text column compare by bytes, as text does on all our
	// other engines, where the server would not do so by itself.
	bytewise bool
	walled   bool // the tables are shared: row-level security stands between tenants
}

// script returns the statements that make the tables of one migration.
func (l layout) script(m migrations.Migration, tables map[string]bool) string {
	text := cutAtTables(m.Script, tables).in(l.schema) + "\n"
	if l.bytewise {
		text = collated(text)
	}
	if l.walled {
		text += walls(m.Tables, l.schema)
	}
	return text
}

// scripts returns the statements that make everything from nothing.
func (l layout) scripts(f migrations.List, tenant string) string {
	var b strings.Builder
	b.WriteString(marker(l.schema, tenant, f.Version()))
	tables := f.Tables()
	for _, m := range f {
		b.WriteString(l.script(m, tables))
	}
	return b.String()
}

// collated gives every column of type TEXT the collation that compares bytes.
func collated(script string) string {
	var b strings.Builder
	for at := 0; at < len(script); {
		n, kind := sqltext.Next(script[at:])
		b.WriteString(script[at : at+n])
		if kind == sqltext.Name && script[at:at+n] == "TEXT" {
			b.WriteString(` COLLATE "C"`)
		}
		at += n
	}
	return b.String()
}

// marker is the table beside a tenant's tables that says whose they are and
// which version they have. Shared tables and templates belong to nobody: "".
func marker(schema, tenant string, version int64) string {
	return fmt.Sprintf("CREATE TABLE %[1]sgatehouse (tenant TEXT NOT NULL PRIMARY KEY, version BIGINT NOT NULL);\n"+
		"INSERT INTO %[1]sgatehouse (tenant, version) VALUES (%[2]s, %[3]d);\n", schema, sqltext.Quote(tenant), version)
}

// walls are the policies of row-level security over the shared tables. Without a
// tenant set in the transaction no row is visible and none can be written, also
// for the tables' owner.
func walls(tables []string, schema string) string {
	var b strings.Builder
	for _, t := range tables {
		fmt.Fprintf(&b, `ALTER TABLE %[1]s%[2]s ENABLE ROW LEVEL SECURITY;
ALTER TABLE %[1]s%[2]s FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS tenant ON %[1]s%[2]s;
CREATE POLICY tenant ON %[1]s%[2]s USING (tenant_id = current_setting('gatehouse.tenant', true)) WITH CHECK (tenant_id = current_setting('gatehouse.tenant', true));
`, schema, t)
	}
	return b.String()
}
