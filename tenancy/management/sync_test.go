package management

import (
	"context"
	"net/http"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// A repair answers 202 with its operation, which shows how far it is to whoever may
// see the platform's; a dry run answers 200 with the plan (contract C5.103, C5.28).
func TestSyncRepair(t *testing.T) {
	k := newKit(t)
	platform := machine("control_plane", "update:sync", "read:sync", "read:tenant_operations", tenancy.ScopePlatformAdmin)
	a := k.do(http.MethodPost, cpHost, "/sync/repair", platform.token(), map[string]any{
		"tenant_ids": []string{"acme"}, "entities": []string{"role"}, "on_conflict": "adopt",
	})
	if a.Code != http.StatusAccepted {
		t.Fatalf("status %d: %s", a.Code, a.Body)
	}
	if a.member("kind") != "repair" || a.member("status") != "running" || a.member("tenant_id") != "control_plane" {
		t.Errorf("operation %s", a.Body)
	}
	id, _ := a.member("id").(string)
	if got, want := a.Header().Get("Location"), "/api/v2/operations/"+id; got != want {
		t.Errorf("Location %q, want %q", got, want)
	}
	a = k.do(http.MethodGet, cpHost, "/operations/"+id, platform.token(), nil)
	progress, _ := a.member("progress").(map[string]any)
	if a.Code != http.StatusOK || progress["total"] != float64(0) || progress["on_conflict"] != "adopt" {
		t.Errorf("status %d: %s", a.Code, a.Body)
	}
	k.inside("control_plane", func(ctx context.Context) {
		stored, err := tenancy.Operations.Get(ctx, id)
		k.must(err)
		if wish := stored.Params.Repair; wish == nil || wish.OnConflict != "adopt" || len(wish.TenantIDs) != 1 || stored.InitiatedBy == "" {
			t.Errorf("stored %+v", stored)
		}
	})
	a = k.do(http.MethodPost, cpHost, "/sync/repair", platform.token(), map[string]any{"dry_run": true})
	if a.Code != http.StatusOK || a.member("plan") == nil {
		t.Errorf("dry run: status %d: %s", a.Code, a.Body)
	}
	for _, body := range []any{map[string]any{"tenant_ids": "acme"}, map[string]any{"dry_run": "yes"}, map[string]any{"tenant_ids": make([]string, 1001)}} {
		if a := k.do(http.MethodPost, cpHost, "/sync/repair", platform.token(), body); a.Code != http.StatusBadRequest {
			t.Errorf("%.60v: status %d, want 400", body, a.Code)
		}
	}
}
