package postgres

import (
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

func TestQualify(t *testing.T) {
	for _, c := range []struct{ name, sql, want string }{
		{"select", `SELECT id FROM clients WHERE id = $1`, `SELECT id FROM S.clients WHERE id = $1`},
		{"quoted, as GORM writes", `SELECT "clients"."id" FROM "clients" WHERE "clients"."tenant_id" = $1`, `SELECT "clients"."id" FROM S."clients" WHERE "clients"."tenant_id" = $1`},
		{"columns named like tables", `SELECT settings, clients FROM settings WHERE settings <> ''`, `SELECT settings, clients FROM S.settings WHERE settings <> ''`},
		{"update of such a column", `UPDATE sessions SET clients = $1 WHERE clients = $2`, `UPDATE S.sessions SET clients = $1 WHERE clients = $2`},
		{"delete with subquery", `DELETE FROM roles WHERE id IN (SELECT role_id FROM user_roles WHERE tenant_id = roles.tenant_id)`, `DELETE FROM S.roles WHERE id IN (SELECT role_id FROM S.user_roles WHERE tenant_id = roles.tenant_id)`},
		{"upsert", `INSERT INTO counters (tenant_id) VALUES ($1) ON CONFLICT (tenant_id) DO UPDATE SET value = counters.value + 1`, `INSERT INTO S.counters (tenant_id) VALUES ($1) ON CONFLICT (tenant_id) DO UPDATE SET value = counters.value + 1`},
		{"insert from select", `INSERT INTO change_log (a) SELECT value FROM counters`, `INSERT INTO S.change_log (a) SELECT value FROM S.counters`},
		{"join", `SELECT p.role_id FROM role_permissions p JOIN resource_servers s ON s.id = p.x LEFT JOIN roles ON roles.id = p.y`, `SELECT p.role_id FROM S.role_permissions p JOIN S.resource_servers s ON s.id = p.x LEFT JOIN S.roles ON roles.id = p.y`},
		{"list", `SELECT a, logs FROM users u, roles AS r, (SELECT 1) x, members WHERE u.a = 1, logs`, `SELECT a, logs FROM S.users u, S.roles AS r, (SELECT 1) x, S.members WHERE u.a = 1, logs`},
		{"list in a subquery", `SELECT f(logs, users) FROM grants ORDER BY id, logs`, `SELECT f(logs, users) FROM S.grants ORDER BY id, logs`},
		{"parenthesized join", `SELECT 1 FROM (users JOIN roles ON true)`, `SELECT 1 FROM (S.users JOIN S.roles ON true)`},
		{"guard", `SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM members WHERE id = $1)`, `SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM S.members WHERE id = $1)`},
		{"literal", `SELECT ' FROM clients ' || 'it''s FROM clients' FROM users`, `SELECT ' FROM clients ' || 'it''s FROM clients' FROM S.users`},
		{"comment", "SELECT 1 -- FROM clients\n FROM /* FROM roles */ users", "SELECT 1 -- FROM clients\n FROM /* FROM roles */ S.users"},
		{"distinct from", `SELECT 1 FROM users WHERE a IS DISTINCT FROM settings`, `SELECT 1 FROM S.users WHERE a IS DISTINCT FROM settings`},
		{"lower case", `select 1 from clients`, `select 1 from S.clients`},
		{"already qualified", `DELETE FROM "other".clients`, `DELETE FROM "other".clients`},
		{"index", `CREATE UNIQUE INDEX users_by ON users (tenant_id, settings) WHERE a <> ''; CREATE TABLE logs (settings TEXT);`, `CREATE UNIQUE INDEX users_by ON S.users (tenant_id, settings) WHERE a <> ''; CREATE TABLE S.logs (settings TEXT);`},
		{"alter", `ALTER TABLE IF EXISTS ONLY users ADD COLUMN logs TEXT`, `ALTER TABLE IF EXISTS ONLY S.users ADD COLUMN logs TEXT`},
		{"returning", `UPDATE grants SET a = 1 RETURNING logs, users`, `UPDATE S.grants SET a = 1 RETURNING logs, users`},
		{"longer names", `SELECT 1 FROM clients_old, myclients`, `SELECT 1 FROM clients_old, myclients`},
		{"not closed", `SELECT 1 FROM users WHERE a = 'open FROM roles`, `SELECT 1 FROM S.users WHERE a = 'open FROM roles`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := (&texts{tables: migrations.All().Tables()}).pieces(c.sql).in("S."); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestRebind(t *testing.T) {
	got := new(Provider).Rebind(`SELECT '?', "?", id -- ?
		FROM x /* ? */ WHERE a = ? AND b IN (?, ?) AND c = 'it''s ?'`)
	want := `SELECT '?', "?", id -- ?
		FROM x /* ? */ WHERE a = $1 AND b IN ($2, $3) AND c = 'it''s ?'`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// FuzzCut: whatever the text, cutting it loses and adds nothing.
func FuzzCut(f *testing.F) {
	f.Add(`SELECT "a" FROM users WHERE b = 'c' -- d`)
	f.Fuzz(func(t *testing.T, sql string) {
		if got := strings.Join(cutAtTables(sql, migrations.All().Tables()), ""); got != sql {
			t.Errorf("got %q of %q", got, sql)
		}
	})
}

func TestCollated(t *testing.T) {
	got := collated("CREATE TABLE x (\n\ta TEXT NOT NULL, -- TEXT\n\tb BIGINT, c TEXT DEFAULT 'TEXT')")
	want := "CREATE TABLE x (\n\ta TEXT COLLATE \"C\" NOT NULL, -- TEXT\n\tb BIGINT, c TEXT COLLATE \"C\" DEFAULT 'TEXT')"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
