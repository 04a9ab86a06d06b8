package tenancy_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// team gives a tenant's organization two members with a role and a permission, and
// the tenant two domains. Both tenants have the same people and names.
func team(t *testing.T, w *world, id string) {
	t.Helper()
	cp, org := w.cp(t), w.tenant(t, id).OrganizationID
	var stmts []tenancy.Stmt
	for _, user := range []string{"ann", "bob"} {
		stmts = append(
			stmts,
			tenancy.Members.Insert(cp, tenancy.NewMember(org, user)),
			tenancy.UserRoles.Insert(cp, tenancy.NewUserRole(user, org, "rol_support")),
			tenancy.UserPermissions.Insert(cp, &tenancy.UserPermission{
				Row: tenancy.Row{ID: tenancy.Join(org, user)}, UserID: user, OrgID: org, ResourceServerID: "rs_orders", Permission: "read:orders",
			}),
		)
	}
	stmts = append(
		stmts,
		tenancy.OrganizationConnections.Insert(cp, &tenancy.OrganizationConnection{Row: tenancy.Row{ID: tenancy.Join(org, "con_platform")}, OrgID: org, ConnectionID: "con_platform", ShowAsButton: true}),
		tenancy.CustomDomains.Insert(cp, &tenancy.CustomDomain{
			Row: tenancy.Row{ID: "cd_" + id}, Subject: id, Domain: "login." + id + ".test", Held: "login." + id + ".test", Primary: true,
			Status: tenancy.DomainReady, Type: tenancy.DomainManaged, Token: "token" + id, VerifiedAt: 1, CheckedAt: 1,
		}),
	)
	if err := tenancy.Commit(cp, stmts...); err != nil {
		t.Fatal(err)
	}
}

// linkedTo lists what the control plane has of a tenant, a line each.
func linkedTo(t *testing.T, w *world, id, org string) (lines []string) {
	t.Helper()
	cp := w.cp(t)
	for _, table := range []string{"organizations", "members", "user_roles", "user_permissions", "organization_connections", "custom_domains"} {
		column := map[string]string{"organizations": "id", "custom_domains": "subject"}[table]
		value := org
		if table == "custom_domains" {
			value = id
		}
		if column == "" {
			column = "org_id"
		}
		rows, err := tenancy.Query(cp, fmt.Sprintf(`SELECT id FROM %s WHERE tenant_id = @tenant AND %s = ? ORDER BY id`, table, column), value)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, table+" "+id)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

// TestRestoreLinked: a tenant that was gone comes back with its organization: the
// members who still are users, what these may do in it, and its domains as claims
// with the proofs they had. Nothing of another tenant changes. Over a tenant that is
// there, what the control plane has now stands: who left does not come back.
func TestRestoreLinked(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 3)
	cp := w.cp(t)
	if err := tenancy.Commit(cp,
		tenancy.Users.Insert(cp, &tenancy.User{Row: tenancy.Row{ID: "ann"}, Connection: "db", Email: "ann@platform.test"}),
		tenancy.Users.Insert(cp, &tenancy.User{Row: tenancy.Row{ID: "bob"}, Connection: "db", Email: "bob@platform.test"}),
		tenancy.Roles.Insert(cp, &tenancy.Role{Row: tenancy.Row{ID: "rol_support"}, Name: "Support", NameKey: "support"}),
		tenancy.ResourceServers.Insert(cp, &tenancy.ResourceServer{Row: tenancy.Row{ID: "rs_orders"}, Name: "Orders", Identifier: "https://orders.test"}),
		tenancy.Connections.Insert(cp, &tenancy.Connection{Row: tenancy.Row{ID: "con_platform"}, Name: "platform"})); err != nil {
		t.Fatal(err)
	}
	team(t, w, "acme")
	team(t, w, "widgets")
	acme, widgets := w.tenant(t, "acme"), w.tenant(t, "widgets")
	before, others := linkedTo(t, w, "acme", acme.OrganizationID), linkedTo(t, w, "widgets", widgets.OrganizationID)
	if len(before) != 9 {
		t.Fatalf("%q", before)
	}
	path := filepath.Join(t.TempDir(), "acme.backup")
	if _, err := w.Backup(t.Context(), "acme", path, nil); err != nil {
		t.Fatal(err)
	}
	if text := unpack(t, path); strings.Contains(text, widgets.OrganizationID) || strings.Contains(text, "ann@platform.test") {
		t.Error("the backup holds what is another tenant's, or the control plane's own")
	}

	// Over a tenant that is there: bob left, and stays away.
	if err := tenancy.Commit(cp, tenancy.RemoveMember(cp, acme.OrganizationID, "bob")...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Restore(t.Context(), path, tenancy.RestoreOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	withoutBob := slices.DeleteFunc(slices.Clone(before), func(line string) bool { return strings.Contains(line, "bob") })
	if got := linkedTo(t, w, "acme", acme.OrganizationID); !slices.Equal(got, withoutBob) {
		t.Errorf("over what is there: %q, want %q", got, withoutBob)
	}

	// Gone: everybody is back but bob, who is no user any more.
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if left := linkedTo(t, w, "acme", acme.OrganizationID); len(left) != 0 {
		t.Errorf("deleting left %q", left)
	}
	if err := tenancy.Commit(cp, tenancy.RemoveUser(cp, "bob")...); err != nil {
		t.Fatal(err)
	}
	others = slices.DeleteFunc(others, func(line string) bool { return strings.Contains(line, "bob") })
	if err := tenancy.Commit(cp, tenancy.SQL(cp, `UPDATE custom_domains SET domain = ?, held = ? WHERE tenant_id = @tenant AND id = 'cd_widgets'`, "login.acme.test", "login.acme.test")); err != nil {
		t.Fatal(err) // who proved it since has it
	}
	back, err := w.Restore(t.Context(), path, tenancy.RestoreOptions{})
	if err != nil || back.OrganizationID != acme.OrganizationID {
		t.Fatalf("%+v, %v", back, err)
	}
	if got := linkedTo(t, w, "acme", acme.OrganizationID); !slices.Equal(got, withoutBob) {
		t.Errorf("back are %q, want %q", got, withoutBob)
	}
	d, err := tenancy.CustomDomains.Get(cp, "cd_acme")
	if err != nil || d.Status != tenancy.DomainPending || d.Held != d.ID || d.Token != "tokenacme" || d.VerifiedAt != 0 || !d.Primary {
		t.Errorf("its domain: %+v, %v", d, err)
	}
	if x, ok := w.Directory.ByHost("login.acme.test"); !ok || x.ID != "widgets" {
		t.Errorf("the name leads to %+v", x)
	}
	if got := linkedTo(t, w, "widgets", widgets.OrganizationID); !slices.Equal(got, others) {
		t.Errorf("the other tenant has %q, had %q", got, others)
	}
	org, err := tenancy.Organizations.Get(cp, acme.OrganizationID)
	if err != nil || org.Name != "acme" || org.DisplayName != "acme" {
		t.Errorf("%+v, %v", org, err)
	}

	within(t, w.Pool, w.tenant(t, "acme"), func(ctx context.Context) error { return addUser(ctx, "after", "") })
}
