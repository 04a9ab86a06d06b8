package test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// crowd gives a tenant n rows more in every table of a database that tenants share.
// What is unique, and what the schema has no default for, is different in each row of
// the tenant; times are far in the future, so that no row expires. Two tenants get
// rows with equal ids.
func crowd(t *testing.T, dsn, tenant string, n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT set_config('gatehouse.tenant', $1, true)`, tenant); err != nil { // row-level security
		t.Fatal(err)
	}
	said := map[string]bool{} // columns that are unique, or that something has to be said of
	for _, column := range names(t, dsn, `SELECT DISTINCT a.attrelid::regclass::text || '.' || a.attname FROM pg_attribute a LEFT JOIN pg_index i
		ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) AND i.indisunique
		WHERE a.attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'gatehouse'::regnamespace AND relkind = 'r')
		AND a.attnum > 0 AND (i.indrelid IS NOT NULL OR a.attnotnull AND NOT a.atthasdef)`) {
		said[strings.TrimPrefix(column, "gatehouse.")] = true
	}
	for _, table := range migrations.Layout() {
		var columns, values []string
		for _, c := range table.Columns {
			if !said[table.Name+"."+c.Name] {
				continue
			}
			columns = append(columns, c.Name)
			values = append(values, map[migrations.Type]string{migrations.Text: "'filled-' || n", migrations.Bigint: "4000000000000000 + n", migrations.Boolean: "false"}[c.Type])
		}
		if _, err := tx.Exec(t.Context(), fmt.Sprintf(`INSERT INTO gatehouse.%s (tenant_id, %s) SELECT $1, %s FROM generate_series(1, $2) n`,
			table.Name, strings.Join(columns, ", "), strings.Join(values, ", ")), tenant, n); err != nil {
			t.Fatalf("%s: %v", table.Name, err)
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestDeleteFullTenant: SC-104, a tenant with ten thousand rows in every table, among
// tenants that share these tables, is deleted without a trace, and the same id made
// again is empty. Another tenant keeps its rows, which have the same ids (C8.12,
// C8.13).
func TestDeleteFullTenant(t *testing.T) {
	const rows = 10_000
	dsn := postgrestest.DSN(t)
	g, config := withoutAdministrator(t)
	p := startProcess(t, g, strings.Replace(config, "keys RS256 ES256 EdDSA",
		"keys RS256 ES256 EdDSA\n\t\tdatabase pool postgres \""+dsn+"\" {\n\t\t\tisolation row\n\t\t}", 1))
	cp := p.platform(t)
	for _, id := range []string{"acme", "widgets"} {
		cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": id, "friendly_name": id}).want(t, http.StatusCreated)
	}
	p.get(t, "acme", "/.well-known/jwks.json").want(t, http.StatusOK) // it has its certificate
	began := time.Now()
	crowd(t, dsn, "acme", rows)
	crowd(t, dsn, "widgets", 50)
	t.Logf("filled in %v", time.Since(began))
	kept := inShared(t, dsn, "widgets")
	tables := int64(len(migrations.Layout()))
	if n := inShared(t, dsn, "acme"); n < rows*tables*9/10 || kept < 50*tables*9/10 {
		t.Fatalf("acme has %d rows, widgets %d, in %d tables", n, kept, tables)
	}

	began = time.Now()
	cp.call(t, http.MethodDelete, "/tenants/acme", nil).want(t, http.StatusNoContent)
	t.Logf("deleted in %v", time.Since(began))
	if n := inShared(t, dsn, "acme"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if n := inShared(t, dsn, "widgets"); n < kept*9/10 { // housekeeping may take what nobody needs, from a table or two
		t.Errorf("another tenant has %d rows, had %d", n, kept)
	}
	p.get(t, "acme", "/.well-known/openid-configuration").want(t, http.StatusNotFound)
	cp.call(t, http.MethodGet, "/organizations/name/acme", nil).want(t, http.StatusNotFound)

	cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "acme", "friendly_name": "again"}).want(t, http.StatusCreated)
	var users, roles []map[string]any
	again := cp.on("acme")
	again.call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK).json(t, &users)
	again.call(t, http.MethodGet, "/roles", nil).want(t, http.StatusOK).json(t, &roles)
	if n := inShared(t, dsn, "acme"); len(users)+len(roles) != 0 || n > 100 {
		t.Errorf("the same id again has %d users, %d roles, %d rows", len(users), len(roles), n)
	}
	p.get(t, "acme", "/.well-known/jwks.json").want(t, http.StatusOK)
}
