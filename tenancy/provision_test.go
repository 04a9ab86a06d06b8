package tenancy_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// hands are a part of a creation that the test has a hand in: it stands for the
// token engine and for the synchronisation.
type hands struct {
	keys tenancy.KeyMaker
	w    *world

	inTenant func(ctx context.Context) error // after the rows and before the keys; nil for nothing
	onCP     func(ctx context.Context) error // on the control plane, after the organization
	noSync   bool
}

func (h *hands) EnsureKeys(ctx context.Context) error {
	t, err := tenancy.Current(ctx)
	if err == nil && !t.IsControlPlane() && h.inTenant != nil {
		if err := h.inTenant(ctx); err != nil {
			return err
		}
	}
	return h.keys.EnsureKeys(ctx)
}

func (h *hands) Snapshot(ctx context.Context, t *tenancy.Tenant) error {
	if h.onCP != nil {
		inside, leave, err := h.w.Directory.EnterControlPlane(ctx)
		if err != nil {
			return err
		}
		defer leave()
		if err := h.onCP(inside); err != nil {
			return err
		}
	}
	if h.noSync {
		return nil
	}
	return h.w.Pool.Do(ctx, t, func(ctx context.Context) error {
		err := tenancy.SyncStates.Create(ctx, &tenancy.SyncState{Row: tenancy.Row{ID: tenancy.SyncStateID}, Applied: 1})
		if errors.Is(err, tenancy.ErrConflict) {
			return nil
		}
		return err
	})
}

// openWithHands opens a world with a user Ann on its control plane, and a reader of
// a tenant's keys as the check of them.
func openWithHands(t *testing.T) (*world, *hands) {
	t.Helper()
	w := openWorld(t)
	h := &hands{keys: w.keys, w: w}
	w.Keys, w.Sync = h, h
	w.Verify = func(ctx context.Context, _ *tenancy.Tenant) error {
		_, err := tenancy.SigningKeys.First(ctx, "alg = 'RS256'")
		return err
	}
	if err := addUser(w.cp(t), "auth0|ann", "cp"); err != nil {
		t.Fatal(err)
	}
	return w, h
}

// TestProvisionSteps is contract C8.5, step by step: what each makes is there when
// the tenant is active, and recorded under its name.
func TestProvisionSteps(t *testing.T) {
	w, _ := openWithHands(t)
	acme, err := w.Create(t.Context(), tenancy.NewTenant{
		ID: "acme", FriendlyName: "Acme", CreatedBy: "auth0|ann", CreatorIsUser: true,
		Settings: map[string]json.RawMessage{"support_email": json.RawMessage(`"help@acme.test"`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	cp := w.cp(t)
	inside, leave, err := w.Pool.Enter(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	rules := []struct {
		step  string
		holds func(t *testing.T)
	}{
		{"reserve", func(t *testing.T) {
			row, err := tenancy.Tenants.Get(cp, "acme")
			if must(t, err); row.DataKey == "" || row.OrganizationID == "" || row.CreatedBy != "auth0|ann" {
				t.Errorf("%+v", row)
			}
			if _, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme", CreatedBy: "other"}); status(err) != 409 {
				t.Errorf("the id is not taken: %v", err)
			}
		}},
		{"database", func(t *testing.T) { must(t, tenancy.Ping(inside)) }},
		{"migrate", func(t *testing.T) {
			if v := w.Pool.SchemaVersion(acme); v == 0 || acme.SchemaVersion != v {
				t.Errorf("version %d, want %d", acme.SchemaVersion, v)
			}
		}},
		{"seed", func(t *testing.T) {
			s, err := tenancy.EffectiveSettings(inside)
			if must(t, err); s.String("support_email") != "help@acme.test" {
				t.Errorf("settings of the request: %q", s.String("support_email"))
			}
			api, err := tenancy.CachedResourceServer(inside, tenancy.ManagementAudience)
			if must(t, err); !api.IsSystem || len(api.Scopes) != len(tenancy.ManagementScopes(false)) {
				t.Errorf("management API: %+v", api)
			}
		}},
		{"keys", func(t *testing.T) {
			_, err := tenancy.SigningKeys.First(inside, "alg = 'RS256'")
			must(t, err)
		}},
		{"organization", func(t *testing.T) {
			org, err := tenancy.Organizations.Get(cp, acme.OrganizationID)
			if must(t, err); org.Name != "acme" || org.DisplayName != "Acme" {
				t.Errorf("%+v", org)
			}
		}},
		{"owner", func(t *testing.T) {
			role, err := tenancy.BuiltInRole(cp, tenancy.RoleTenantAdmin)
			must(t, err)
			_, err = tenancy.Members.Get(cp, tenancy.Join(acme.OrganizationID, "auth0|ann"))
			must(t, err)
			_, err = tenancy.UserRoles.Get(cp, tenancy.Join("auth0|ann", acme.OrganizationID, role.ID))
			must(t, err)
		}},
		{"defaults", func(t *testing.T) {
			connection, err := tenancy.Connections.First(inside, "name = ?", tenancy.DefaultConnection)
			must(t, err)
			app, err := tenancy.Clients.First(inside, "name = 'Default App'")
			must(t, err)
			s, err := tenancy.EffectiveSettings(inside)
			if must(t, err); app.AppType != "regular_web" || !app.IsFirstParty || s.String("default_client_id") != app.ID {
				t.Errorf("default app: %+v", app)
			}
			_, err = tenancy.ClientConnections.Get(inside, tenancy.NewClientConnection(app.ID, connection.ID).ID)
			must(t, err)
			explorer, err := tenancy.Clients.First(inside, "name = 'API Explorer Application'")
			must(t, err)
			grant, err := tenancy.ClientGrants.First(inside, "client_id = ?", explorer.ID)
			if must(t, err); grant.Audience != tenancy.ManagementAudience || !slices.Equal(grant.Scope, tenancy.TenantScopes) || explorer.AppType != "non_interactive" {
				t.Errorf("%+v\n%+v", explorer, grant)
			}
		}},
		{"sync", func(t *testing.T) {
			_, err := tenancy.SyncStates.Get(inside, tenancy.SyncStateID)
			must(t, err)
		}},
		{"settings", func(t *testing.T) {}}, // in the same batch as sync; what is inherited is package sync's to test
		{"verify", func(t *testing.T) {}},   // is TestVerifiedBeforeActive
		{"activate", func(t *testing.T) {
			if x, ok := w.Directory.ByHost("acme.auth.example.com"); !ok || x.State != tenancy.StateActive {
				t.Errorf("its host: %+v", x)
			}
		}},
	}
	history := ", " + w.history(t, w.lastOperation(t, "acme")) + ","
	for _, r := range rules {
		t.Run("C8.5 "+r.step, func(t *testing.T) {
			if strings.Count(history, ", 1 "+r.step+" succeeded,") != 1 {
				t.Errorf("not recorded once: %s", history)
			}
			r.holds(t)
		})
	}
}

// TestVerifiedBeforeActive is contract C8.6 and C8.5 step 11: a tenant that lacks
// anything that the steps before make is failed, with the reason.
func TestVerifiedBeforeActive(t *testing.T) {
	remove := func(table, where string) func(context.Context) error {
		return func(ctx context.Context) error {
			return tenancy.Commit(ctx, tenancy.SQL(ctx, "DELETE FROM "+table+" WHERE tenant_id = @tenant AND "+where).Settled())
		}
	}
	for lacks, h := range map[string]hands{
		"settings":                 {inTenant: remove("settings", "id = 'own'")},
		"management API":           {inTenant: remove("resource_servers", "is_system")},
		"default connection":       {inTenant: remove("connections", "name <> ''")},
		"default client":           {inTenant: remove("clients", "name = 'Default App'")},
		"of the default client":    {inTenant: remove("client_connections", "id <> ''")},
		"API Explorer Application": {inTenant: remove("clients", "name = 'API Explorer Application'")},
		"grant of API Explorer": {inTenant: func(ctx context.Context) error {
			g, err := tenancy.ClientGrants.First(ctx, "audience = ?", tenancy.ManagementAudience)
			if err == nil {
				_, err = tenancy.ClientGrants.Update(ctx, g.ID, func(g *tenancy.ClientGrant) error { g.Scope = g.Scope[1:]; return nil })
			}
			return err
		}},
		"not found":                     {keys: noKeys{}}, // a key
		"organization":                  {onCP: remove("organizations", "name = 'acme'")},
		"owner":                         {onCP: remove("members", "user_id = 'auth0|ann'")},
		"of the owner":                  {onCP: remove("user_roles", "user_id = 'auth0|ann'")},
		"what the control plane shares": {noSync: true},
		"":                              {}, // nothing: the test of the test
	} {
		t.Run(lacks, func(t *testing.T) {
			t.Parallel()
			w, own := openWithHands(t)
			own.inTenant, own.onCP, own.noSync = h.inTenant, h.onCP, h.noSync
			if h.keys != nil {
				own.keys = h.keys
			}
			_, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme", CreatedBy: "auth0|ann", CreatorIsUser: true})
			if lacks == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("it is active")
			}
			x := w.tenant(t, "acme")
			if x.State != tenancy.StateFailed || !strings.HasPrefix(x.ProvisioningError, "verify: ") || !strings.Contains(x.ProvisioningError, lacks) {
				t.Errorf("%s: %s", x.State, x.ProvisioningError)
			}
		})
	}
}

// noKeys makes none.
type noKeys struct{}

func (noKeys) EnsureKeys(context.Context) error { return nil }

// TestNoAPIExplorer is create_api_explorer off (contract C8.5 step 8).
func TestNoAPIExplorer(t *testing.T) {
	w, _ := openWithHands(t)
	w.NoAPIExplorer = true
	acme, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"})
	if err != nil {
		t.Fatal(err)
	}
	within(t, w.Pool, acme, func(ctx context.Context) error {
		list, err := tenancy.Clients.Find(ctx, tenancy.Filter{})
		if len(list) != 1 || list[0].Name != "Default App" {
			t.Errorf("clients: %+v", list)
		}
		n, err2 := tenancy.ClientGrants.Count(ctx, tenancy.Filter{})
		if n != 0 {
			t.Errorf("%d grants", n)
		}
		return errors.Join(err, err2)
	})
}

// TestInvitedOwner is contract C8.5 step 7: an owner who is no user of the control
// plane yet is invited, once, to what they would have got.
func TestInvitedOwner(t *testing.T) {
	w, h := openWithHands(t)
	var told []string
	w.Invite = func(inside context.Context, x *tenancy.Tenant, i *tenancy.Invitation, ticket string) {
		if found, err := tenancy.InvitationOf(inside, ticket, x.OrganizationID, "", 0); err != nil || found.ID != i.ID {
			t.Errorf("the ticket is for %+v, %v", found, err)
		}
		told = append(told, x.ID+" "+i.Email)
	}
	failing := errors.New("not now")
	h.onCP = func(context.Context) error { return failing }
	wish := tenancy.NewTenant{ID: "acme", FriendlyName: "Acme", CreatedBy: "m@clients", Owner: &tenancy.Owner{Email: "Bob@Example.com"}}
	if _, err := w.Create(t.Context(), wish); status(err) != 503 {
		t.Fatal(err)
	}
	h.onCP = nil
	acme, err := w.Create(t.Context(), wish)
	if err != nil {
		t.Fatal(err)
	}
	role, err := tenancy.BuiltInRole(w.cp(t), tenancy.RoleTenantAdmin)
	if err != nil {
		t.Fatal(err)
	}
	list, err := tenancy.Invitations.Find(w.cp(t), tenancy.Filter{})
	if err != nil || len(list) != 1 || list[0].OrgID != acme.OrganizationID || list[0].Email != "bob@example.com" || !slices.Equal(list[0].Roles, []string{role.ID}) {
		t.Errorf("%+v, %v", list, err)
	}
	if !slices.Equal(told, []string{"acme bob@example.com"}) {
		t.Errorf("told: %v", told)
	}
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if n, err := tenancy.Invitations.Count(w.cp(t), tenancy.Filter{}); n != 0 || err != nil {
		t.Errorf("%d invitations are left, %v", n, err)
	}
}
