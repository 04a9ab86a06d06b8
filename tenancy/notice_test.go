package tenancy_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestNotices is C8.15 for what happens to tenants beside being made: moves,
// restores and imports are told of, each once, at once and, in the batch that makes
// it true, to the webhooks.
func TestNotices(t *testing.T) {
	w := openWorld(t)
	var told []string
	w.Announce = func(n tenancy.Notice) {
		line := n.TenantID + " " + n.Type
		for _, member := range []string{"from", "to", "by", "step"} {
			if v, ok := n.Data[member]; ok {
				line += fmt.Sprintf(" %s=%v", member, v)
			}
		}
		told = append(told, line)
	}
	w.Webhooks = []tenancy.Subscription{{URL: "https://ops.example.com/in"}}
	ctx := tenancy.WithActor(t.Context(), "auth0|root")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want ...string) {
		t.Helper()
		if !slices.Equal(told, want) {
			t.Errorf("told\n %q, want\n %q", told, want)
		}
		list, err := tenancy.Deliveries.Find(w.cp(t), tenancy.Filter{})
		must(err)
		if len(list) != len(told) {
			t.Errorf("%d deliveries for %d notices", len(list), len(told))
		}
		must(tenancy.Commit(w.cp(t), tenancy.Deliveries.RemoveWhere(w.cp(t), "id <> ''")))
		told = nil
	}
	w.makeTwo(t, 3)
	expect("acme tenant.provisioning", "acme tenant.created", "widgets tenant.provisioning", "widgets tenant.created")
	must(w.Move(ctx, "acme", tenancy.MoveOptions{Placement: "other", DropOld: true}))
	must(w.Move(ctx, "acme", tenancy.MoveOptions{Placement: "other"})) // it is there already
	expect("acme tenant.moved from= to=other")

	path := filepath.Join(t.TempDir(), "acme.backup")
	_, err := w.Backup(ctx, "acme", path, nil)
	must(err)
	_, err = w.Restore(ctx, path, tenancy.RestoreOptions{Force: true})
	must(err)
	expect("acme tenant.updated by=restore")
	must(w.Delete(ctx, "acme"))
	expect("acme tenant.deleting", "acme tenant.deleted")
	_, err = w.Restore(ctx, path, tenancy.RestoreOptions{})
	must(err)
	expect("acme tenant.created by=restore")

	var file bytes.Buffer
	_, err = w.Export(ctx, "acme", &file, tenancy.ExportOptions{})
	must(err)
	must(w.Delete(ctx, "acme"))
	told = nil
	must(tenancy.Commit(w.cp(t), tenancy.Deliveries.RemoveWhere(w.cp(t), "id <> ''")))
	w.keys.fail.Store(true)
	if _, err := w.Import(ctx, bytes.NewReader(file.Bytes()), tenancy.ImportOptions{}); err == nil {
		t.Error("an import without keys succeeded")
	}
	w.keys.fail.Store(false)
	expect("acme tenant.provisioning by=import", "acme tenant.failed step=import")
	_, err = w.Import(ctx, bytes.NewReader(file.Bytes()), tenancy.ImportOptions{})
	must(err)
	expect("acme tenant.provisioning by=import", "acme tenant.created by=import")
}

// TestHookSeesTheRegistry: before a deletion hooks are asked about the tenant as
// the registry has it, not as this process last knew it, and before anything is
// written: a refusal leaves a creation that was cut off to be gone on with. Nobody
// is asked about the control plane.
func TestHookSeesTheRegistry(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 0)
	other := newWorld(t, w.dir, masterSecret)
	if err := other.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Update(t.Context(), "acme", func(x *tenancy.Tenant) error { x.FriendlyName = "Renamed"; return nil }); err != nil {
		t.Fatal(err)
	}
	var seen []string
	veto := true
	w.Hooks = []tenancy.Hook{hookFunc(func(_ context.Context, p *tenancy.Proposal) error {
		seen = append(seen, fmt.Sprint(p.Action, " ", p.Tenant.ID, " ", p.Tenant.FriendlyName, " ", p.Tenant.State))
		if veto {
			return tenancy.Veto("keep it")
		}
		return nil
	})}
	if err := w.Delete(t.Context(), "acme"); status(err) != 403 {
		t.Errorf("refused: %v", err)
	}
	cp := w.cp(t)
	err := tenancy.Commit(cp, // as after a kill, long ago
		tenancy.SQL(cp, `UPDATE operations SET status = 'running', updated_at = 1 WHERE tenant_id = @tenant AND subject = 'widgets'`).Once(),
		tenancy.SQL(cp, `UPDATE tenants SET state = 'provisioning' WHERE tenant_id = @tenant AND id = 'widgets'`).Once())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), "widgets"); status(err) != 403 {
		t.Errorf("refused: %v", err)
	}
	if x, err := tenancy.Tenants.Get(cp, "widgets"); err != nil || x.State != tenancy.StateProvisioning {
		t.Errorf("a refusal wrote something: %+v, %v", x, err)
	}
	veto = false
	if err := w.Delete(t.Context(), "widgets"); err != nil {
		t.Error(err)
	}
	if err := w.Delete(t.Context(), "control_plane"); status(err) != 403 {
		t.Errorf("the control plane: %v", err)
	}
	want := []string{"delete acme Renamed active", "delete widgets widgets provisioning", "delete widgets widgets provisioning"}
	if !slices.Equal(seen, want) {
		t.Errorf("asked about\n %q, want\n %q", seen, want)
	}
}
