package tenancytest

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// table is any tenancy.Table: what the cases need of one, whatever it holds.
type table interface {
	Name() string
	Count(ctx context.Context, f tenancy.Filter) (int64, error)
}

var tables = []table{
	tenancy.Tenants, tenancy.SettingsRows, tenancy.SigningKeys, tenancy.Clients, tenancy.ClientGrants,
	tenancy.ClientCredentials, tenancy.ClientAssertions, tenancy.PushedRequests,
	tenancy.GrantOrganizations, tenancy.ResourceServers, tenancy.Roles, tenancy.RolePermissions, tenancy.UserRoles,
	tenancy.UserPermissions, tenancy.Organizations, tenancy.Members, tenancy.OrganizationConnections, tenancy.Users,
	tenancy.Passwords, tenancy.Connections, tenancy.ClientConnections, tenancy.Sessions, tenancy.Logouts, tenancy.LoginSessions,
	tenancy.Grants, tenancy.Consents, tenancy.RevokedTokens, tenancy.Events, tenancy.SyncStates,
}

// schema reads every column of every table of a new database.
func schema(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	for _, x := range tables {
		if n, err := x.Count(ctx, tenancy.Filter{}); err != nil || n != 0 {
			t.Errorf("%s: %d rows, %v", x.Name(), n, err)
		}
	}
	reads := map[string]func() error{
		"tenants":  func() error { _, err := tenancy.Tenants.Get(ctx, "x"); return err },
		"clients":  func() error { _, err := tenancy.Clients.Get(ctx, "x"); return err },
		"sessions": func() error { _, err := tenancy.Sessions.Get(ctx, "x"); return err },
		"grants":   func() error { _, err := tenancy.Grants.Get(ctx, "x"); return err },
		"logs":     func() error { _, err := tenancy.Events.Get(ctx, "x"); return err },
		"settings": func() error { _, err := tenancy.SettingsRows.Get(ctx, "x"); return err },
		"keys":     func() error { _, err := tenancy.SigningKeys.Get(ctx, "x"); return err },
	}
	for name, read := range reads {
		if err := read(); !errors.Is(err, tenancy.ErrNotFound) {
			t.Errorf("reading %s: got %v, want ErrNotFound", name, err)
		}
	}
}

// values writes and reads back what is hard to store: text of all kinds, times,
// big rows, empty and missing lists.
func values(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	at := time.Date(2026, 3, 4, 5, 6, 7, 891_011_000, time.FixedZone("", 5*3600+1800))
	want := &tenancy.Client{
		Row: tenancy.Row{ID: "all"}, Name: "Ünï\u2028 'quoted' \"double\" \\ ? @tenant $1 \U0001f600",
		Description: strings.Repeat("long ", 200_000), Callbacks: []string{"https://a.example.com/?q=1&r=2", ""},
		WebOrigins: []string{}, GrantTypes: nil, IsFirstParty: true, PreviousUntil: tenancy.At(at),
		ClientMetadata: map[string]string{"a": "b"}, Other: map[string]json.RawMessage{"x": json.RawMessage(`{"deep":[1,2.5,null]}`)},
		DefaultOrganization: &tenancy.DefaultOrganization{OrganizationID: "org_1", Flows: []string{"client_credentials"}},
		Secret:              "sealed text",
	}
	must(t, tenancy.Clients.Create(ctx, want))
	got, err := tenancy.Clients.Get(ctx, "all")
	must(t, err)
	if !reflect.DeepEqual(got, want) {
		got.Description, want.Description = "", ""
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !got.PreviousUntil.Time().Equal(at) {
		t.Errorf("time: got %v, want %v", got.PreviousUntil.Time(), at)
	}
	if got.TenantID != "acme" || got.Revision != 1 || got.CreatedAt == 0 || got.UpdatedAt != got.CreatedAt {
		t.Errorf("row: %+v", got.Row)
	}
}

// byteOrder: text is sorted and compared by its bytes, whatever the engine's own
// order is. Pages of a list depend on it.
func byteOrder(t *testing.T, h *house) {
	want := []string{"B-1", "B1", "Z", "_a", "a", "a b", "a-b", "aB", "ab", "ä", "\U0001f600"}
	ctx := h.enter(t, h.acme)
	for i := range want {
		id := want[(i*7)%len(want)]
		must(t, tenancy.Clients.Create(ctx, client(id, id)))
	}
	for _, order := range []string{"", "name, id", "name DESC, id"} {
		list, err := tenancy.Clients.Find(ctx, tenancy.Filter{Order: order})
		must(t, err)
		var got []string
		for _, c := range list {
			got = append(got, c.ID)
		}
		if strings.Contains(order, "DESC") {
			slices.Reverse(got)
		}
		if !slices.Equal(got, want) {
			t.Errorf("ordered by %q: got %q, want %q", order, got, want)
		}
	}
	list, err := tenancy.Clients.Find(ctx, tenancy.Filter{Where: "id > ?", Args: []any{"a"}, Limit: 2})
	must(t, err)
	if len(list) != 2 || list[0].ID != "a b" || list[1].ID != "a-b" {
		t.Errorf("the page behind a: %d rows", len(list))
	}
	if n, err := tenancy.Clients.Count(ctx, tenancy.Filter{Where: "name = ?", Args: []any{"AB"}}); n != 0 || err != nil {
		t.Errorf("%d rows are equal to AB, %v: letters have a case", n, err)
	}
}

// unstorableText: what some engine cannot keep is refused by all, in every kind
// of write, and nothing of its batch is written.
func unstorableText(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	must(t, tenancy.Clients.Create(ctx, client("c", "kept")))
	for _, text := range []string{"a\x00b", "a\xffb", "\x00"} {
		_, err := tenancy.Clients.Update(ctx, "c", func(c *tenancy.Client) error { c.Name = text; return nil })
		for what, err := range map[string]error{
			"create": tenancy.Clients.Create(ctx, client("new", text)),
			"update": err,
			"batch": tenancy.Commit(ctx, tenancy.Clients.Insert(ctx, client("first", "fine")),
				tenancy.SQL(ctx, `UPDATE clients SET name = ? WHERE tenant_id = @tenant AND id = 'c'`, text)),
		} {
			if got := tenancy.StatusOf(err); got != 400 {
				t.Errorf("%s with %q: status %d, %v", what, text, got, err)
			}
		}
	}
	list, err := tenancy.Clients.Find(ctx, tenancy.Filter{})
	must(t, err)
	if len(list) != 1 || list[0].Name != "kept" || list[0].Revision != 1 {
		t.Errorf("%d clients, the first %q", len(list), list[0].Name)
	}
	// Inside of JSON both are escaped or replaced, and kept.
	odd := client("odd", "odd")
	odd.ClientMetadata = map[string]string{"a": "x\x00y"}
	must(t, tenancy.Clients.Create(ctx, odd))
	if c, err := tenancy.Clients.Get(ctx, "odd"); err != nil || c.ClientMetadata["a"] != "x\x00y" {
		t.Errorf("%+v %v", c, err)
	}
}

func equalIDs(t *testing.T, h *house) {
	for _, x := range []*tenancy.Tenant{h.acme, h.widgets} {
		ctx := h.enter(t, x)
		must(t, tenancy.Clients.Create(ctx, client("same", x.ID)))
		must(t, tenancy.Users.Create(ctx, &tenancy.User{Row: tenancy.Row{ID: "auth0|1"}, Connection: "db", Email: "ann@example.com", Name: x.ID}))
	}
	for _, x := range []*tenancy.Tenant{h.acme, h.widgets} {
		ctx := h.enter(t, x)
		c, err := tenancy.Clients.Get(ctx, "same")
		must(t, err)
		u, err := tenancy.UserByIdentifier(ctx, "db", "ANN@example.com")
		must(t, err)
		if c.Name != x.ID || u.Name != x.ID || c.TenantID != x.ID {
			t.Errorf("%s sees client %q of %q and user %q", x.ID, c.Name, c.TenantID, u.Name)
		}
		list, err := tenancy.Clients.Find(ctx, tenancy.Filter{})
		must(t, err)
		if len(list) != 1 || list[0].Name != x.ID {
			t.Errorf("%s lists %d clients", x.ID, len(list))
		}
		var n int
		must(t, tenancy.QueryRow(ctx, `SELECT COUNT(*) FROM users WHERE tenant_id = @tenant`, nil, &n))
		if n != 1 {
			t.Errorf("%s counts %d users", x.ID, n)
		}
	}
}

// wrongTenantOnEveryVerb tries to reach acme's rows from inside widgets.
func wrongTenantOnEveryVerb(t *testing.T, h *house) {
	acme, widgets := h.enter(t, h.acme), h.enter(t, h.widgets)
	must(t, tenancy.Clients.Create(acme, client("only-acme", "acme")))
	own, err := tenancy.Clients.Get(acme, "only-acme")
	must(t, err)

	if _, err := tenancy.Clients.Get(widgets, "only-acme"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := tenancy.Clients.First(widgets, "name = ? OR 1 = 1", "acme"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("First: %v", err)
	}
	if _, err := tenancy.Clients.Update(widgets, "only-acme", func(c *tenancy.Client) error { c.Name = "stolen"; return nil }); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("Update: %v", err)
	}
	if err := tenancy.Commit(widgets, tenancy.Clients.Replace(widgets, own)); !errors.Is(err, tenancy.ErrStale) {
		t.Errorf("Replace of a row read elsewhere: %v", err)
	}
	if err := tenancy.Clients.Delete(widgets, "only-acme"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	must(t, tenancy.Commit(widgets, tenancy.Clients.RemoveWhere(widgets, "name = ? OR 1 = 1", "acme")))
	must(t, tenancy.Commit(widgets, tenancy.SQL(widgets, `UPDATE clients SET name = ? WHERE tenant_id = @tenant`, "stolen")))
	if err := tenancy.Commit(widgets, tenancy.Require(widgets, `EXISTS (SELECT 1 FROM clients WHERE tenant_id = @tenant)`)); !errors.Is(err, tenancy.ErrStale) {
		t.Errorf("Require: %v", err)
	}
	again, err := tenancy.Clients.Get(acme, "only-acme")
	must(t, err)
	if again.Name != "acme" || again.Revision != 1 {
		t.Errorf("acme's row was changed from widgets: %+v", again)
	}
	// A row that says it belongs to acme becomes widgets' own.
	foreign := client("planted", "widgets")
	foreign.TenantID = "acme"
	must(t, tenancy.Clients.Create(widgets, foreign))
	if _, err := tenancy.Clients.Get(acme, "planted"); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("widgets planted a row in acme: %v", err)
	}
}

// noTenant demands that a context that was never entered reaches nothing.
func noTenant(t *testing.T, _ *house) {
	ctx := t.Context()
	_, get := tenancy.Clients.Get(ctx, "x")
	_, find := tenancy.Clients.Find(ctx, tenancy.Filter{})
	_, count := tenancy.Clients.Count(ctx, tenancy.Filter{})
	_, query := tenancy.Query(ctx, `SELECT 1 FROM clients WHERE tenant_id = @tenant`)
	_, cached := tenancy.CachedClient(ctx, "x")
	_, secret := tenancy.Secret(ctx, "x")
	for name, err := range map[string]error{
		"Get": get, "Find": find, "Count": count, "Query": query, "Cached": cached, "Secret": secret,
		"Create": tenancy.Clients.Create(ctx, client("x", "x")), "Delete": tenancy.Clients.Delete(ctx, "x"),
		"Commit": tenancy.Commit(ctx),
	} {
		if !errors.Is(err, tenancy.ErrNoTenant) {
			t.Errorf("%s: got %v, want ErrNoTenant", name, err)
		}
	}
}

// orIsBracketed: "a OR b AND tenant" would let a of every tenant through, where
// tenants share tables.
func orIsBracketed(t *testing.T, h *house) {
	acme, widgets := h.enter(t, h.acme), h.enter(t, h.widgets)
	must(t, tenancy.Roles.Create(acme, &tenancy.Role{Row: tenancy.Row{ID: "rol_a"}, Name: "A", NameKey: "a"}))
	must(t, tenancy.Roles.Create(widgets, &tenancy.Role{Row: tenancy.Row{ID: "rol_b"}, Name: "B", NameKey: "b"}))
	f := tenancy.Filter{Where: "name = ? OR name = ?", Args: []any{"A", "B"}}
	list, err := tenancy.Roles.Find(widgets, f)
	must(t, err)
	n, err := tenancy.Roles.Count(widgets, f)
	must(t, err)
	if n != 1 || len(list) != 1 || list[0].ID != "rol_b" {
		t.Errorf("widgets finds %d and counts %d roles", len(list), n)
	}
}

// writesOutsideCommit: a text without a tenant is refused before it is run.
func writesOutsideCommit(t *testing.T, h *house) {
	ctx := h.enter(t, h.acme)
	if err := tenancy.Commit(ctx, tenancy.SQL(ctx, `DELETE FROM clients`)); err == nil {
		t.Error("a statement that names no tenant was run")
	}
	if _, err := tenancy.Query(ctx, `SELECT id FROM clients WHERE '@tenant' = '@tenant'`); err == nil {
		t.Error("a tenant inside a literal was taken for one")
	}
	if err := tenancy.Commit(ctx, tenancy.Stmt{}); err == nil {
		t.Error("an empty statement was run")
	}
}
