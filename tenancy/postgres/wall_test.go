package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
)

// TestRowLevelSecurity looks at the shared tables with the provider's own role,
// as a statement that forgot its tenant would.
func TestRowLevelSecurity(t *testing.T) {
	dsn := postgrestest.DSN(t)
	h := newHouse(t, over(t, dsn, postgres.Row))
	acme, widgets := h.enter(t, h.tenant(t, "acme")), h.enter(t, h.tenant(t, "widgets"))
	must(t, tenancy.Clients.Create(acme, client("c", "acme")))
	must(t, tenancy.Clients.Create(widgets, client("c", "widgets")))

	s := connect(t, dsn)
	names := func() string {
		return strings.Join(s.strings(`SELECT name FROM gatehouse.clients ORDER BY name`), " ")
	}
	if got := names(); got != "" {
		t.Errorf("without a tenant: %q", got)
	}
	s.exec(`BEGIN`)
	s.exec(`SELECT set_config('gatehouse.tenant', 'widgets', true)`)
	if got := names(); got != "widgets" {
		t.Errorf("as widgets: %q", got)
	}
	s.exec(`UPDATE gatehouse.clients SET name = 'stolen' WHERE tenant_id = 'acme'`)
	s.exec(`DELETE FROM gatehouse.clients WHERE tenant_id = 'acme'`)
	if _, err := s.c.Exec(t.Context(), `INSERT INTO gatehouse.clients (tenant_id, id) VALUES ('acme', 'planted')`); err == nil || !strings.Contains(err.Error(), "row-level security") {
		t.Errorf("a row of another tenant was written: %v", err)
	}
	s.exec(`ROLLBACK`)
	if got := names(); got != "" {
		t.Errorf("after the transaction: %q", got)
	}
	if c, err := tenancy.Clients.Get(acme, "c"); err != nil || c.Name != "acme" {
		t.Errorf("acme's client: %+v %v", c, err)
	}
	// Every table is walled, also against its owner.
	open := s.strings(`SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'gatehouse' AND c.relkind = 'r' AND c.relname NOT IN ('gatehouse', 'gatehouse_databases')
		AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid))`)
	if len(open) > 0 {
		t.Errorf("tables without a wall: %v", open)
	}
}

// TestExemptRole: a role the wall does not hold for is refused, with the remedy.
func TestExemptRole(t *testing.T) {
	dsn := postgrestest.DSN(t)
	role := connect(t, dsn).strings(`SELECT CAST(current_user AS TEXT)`)[0]
	admin := connect(t, postgrestest.Admin(t))
	admin.exec(`ALTER ROLE ` + role + ` BYPASSRLS`)
	p := over(t, dsn, postgres.Row)
	err := p.Create(t.Context(), tenancy.Location{Tenant: "acme"})
	if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "BYPASSRLS") {
		t.Errorf("got %v", err)
	}
	admin.exec(`ALTER ROLE ` + role + ` NOBYPASSRLS`)
	must(t, p.Create(t.Context(), tenancy.Location{Tenant: "acme"}))
}

// TestRowsLeftBehind: a tenant that was dropped takes no more rows from whoever has
// it open still, and rows that are there all the same are not the next one's of the
// same id.
func TestRowsLeftBehind(t *testing.T) {
	dsn := postgrestest.DSN(t)
	h := newHouse(t, over(t, dsn, postgres.Row))
	acme := h.tenant(t, "acme")
	late := h.enter(t, acme) // another node, which has not heard of the end
	other := over(t, dsn, postgres.Row)
	must(t, other.Drop(t.Context(), acme.Location()))
	if err := tenancy.Clients.Create(late, client("c", "late")); !errors.Is(err, tenancy.ErrUnavailable) {
		t.Errorf("writing into what was dropped: %v", err)
	}
	s := connect(t, dsn)
	s.exec(`SELECT set_config('gatehouse.tenant', 'acme', false)`)
	if n := s.count(`SELECT COUNT(*) FROM gatehouse.clients`); n != 0 {
		t.Errorf("%d rows were left behind", n)
	}
	s.exec(`INSERT INTO gatehouse.clients (tenant_id, id) VALUES ('acme', 'put back')`)
	must(t, other.Create(t.Context(), acme.Location()))
	if n, err := tenancy.Clients.Count(late, tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("the new tenant has %d clients, %v", n, err)
	}
}

// TestDropAmongWrites: while writers write, the tenant is dropped. Nothing that
// was said to be written before stays, and nothing comes after.
func TestDropAmongWrites(t *testing.T) {
	dsn := postgrestest.DSN(t)
	h := newHouse(t, over(t, dsn, postgres.Row))
	other := over(t, dsn, postgres.Row)
	s := connect(t, dsn)
	for round := range 5 {
		acme, widgets := h.tenant(t, fmt.Sprint("acme", round)), h.tenant(t, fmt.Sprint("widgets", round))
		must(t, tenancy.Clients.Create(h.enter(t, widgets), client("c0-0", "")))
		var writers sync.WaitGroup
		written := make(chan struct{}, 1)
		for w := range 4 {
			inside := h.enter(t, acme)
			writers.Go(func() {
				for i := 0; ; i++ {
					err := tenancy.Clients.Create(inside, client(fmt.Sprintf("c%d-%d", w, i), ""))
					if errors.Is(err, tenancy.ErrUnavailable) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					select {
					case written <- struct{}{}:
					default:
					}
				}
			})
		}
		<-written
		must(t, other.Drop(t.Context(), acme.Location()))
		writers.Wait()
		s.exec(`SELECT set_config('gatehouse.tenant', $1, false)`, acme.ID)
		if n := s.count(`SELECT COUNT(*) FROM gatehouse.clients WHERE tenant_id = $1`, acme.ID); n != 0 {
			t.Errorf("round %d: %d rows were left behind", round, n)
		}
		s.exec(`SELECT set_config('gatehouse.tenant', $1, false)`, widgets.ID)
		if n := s.count(`SELECT COUNT(*) FROM gatehouse.clients WHERE tenant_id = $1`, widgets.ID); n != 1 {
			t.Errorf("round %d: the neighbour has %d rows", round, n)
		}
	}
}
