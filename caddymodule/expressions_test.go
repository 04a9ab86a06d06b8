package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	tenantsync "github.com/gatehouse-id/gatehouse/sync"
	"github.com/gatehouse-id/gatehouse/tenancy"
)

// SC-095 with the expressions of a Caddyfile: a reload with other ones has every
// tenant compared anew, although nothing changed on the control plane; one that fails
// is in the status.
func TestReloadExpressions(t *testing.T) {
	s := newServer(t).start()
	s.tenant("acme")
	s.tenant("widgets")
	on := func(id string, f func(ctx context.Context) error) {
		t.Helper()
		current, ok := s.services().directory.ByID(id)
		if !ok {
			t.Fatalf("no tenant %s", id)
		}
		if err := s.services().pool.Do(t.Context(), current, f); err != nil {
			t.Fatal(err)
		}
	}
	on("control_plane", func(ctx context.Context) error {
		role := &tenancy.Role{Row: tenancy.Row{ID: "rol_1"}, Name: "Support", NameKey: "support", Metadata: map[string]any{"only": "acme"}}
		return errors.Join(tenancy.Roles.Create(ctx, role),
			tenancy.WriteSettings(ctx, map[string]json.RawMessage{"support_email": json.RawMessage(`"help@example.com"`)}, false))
	})
	check := func(what string, acme, widgets bool, email string) *tenantsync.Status {
		t.Helper()
		status, err := s.services().sync.Status(t.Context(), tenantsync.Filter{Wait: 10 * time.Second})
		if err != nil || !status.Complete {
			t.Fatalf("%s: %+v, %v", what, status, err)
		}
		for id, want := range map[string]bool{"acme": acme, "widgets": widgets} {
			on(id, func(ctx context.Context) error {
				_, err := tenancy.Roles.Get(ctx, "rol_1")
				if got := err == nil; got != want {
					t.Errorf("%s: %s has the role: %t, want %t", what, id, got, want)
				}
				return nil
			})
		}
		on("acme", func(ctx context.Context) error {
			settings, err := tenancy.EffectiveSettings(ctx)
			if err == nil && settings.String("support_email") != email {
				t.Errorf("%s: acme's address is %q, want %q", what, settings.String("support_email"), email)
			}
			return err
		})
		return status
	}
	check("without expressions", true, true, "help@example.com")
	load := func(options string) {
		t.Helper()
		s.options = options
		if err := s.load(); err != nil {
			t.Fatal(err)
		}
	}
	load("sync {\n exclude `entity.metadata.only != tenant.id`\n}\ninherit {\n transform support_email `tenant.id + \"+\" + value`\n}")
	check("with expressions", true, false, "acme+help@example.com")
	load("sync {\n exclude `entity.metadata.only == tenant.id`\n exclude `entity.name == \"Nobody\"`\n}")
	check("with others", false, true, "help@example.com")
	load("sync {\n exclude `entity.metadata.never == tenant.id`\n exclude `entity.metadata.only == tenant.id`\n}")
	status := check("with one that fails", false, true, "help@example.com")
	for _, tenant := range status.Tenants {
		if want := map[string]int{"widgets": 1}[tenant.TenantID]; tenant.Problems != want {
			t.Errorf("%s: %d problems, want %d: the other expression keeps the role out of acme", tenant.TenantID, tenant.Problems, want)
		}
	}
}
