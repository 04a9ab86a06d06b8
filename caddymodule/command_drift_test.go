package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// in runs f inside a tenant, or the control plane.
func (s *server) in(id string, f func(ctx context.Context) error) {
	s.t.Helper()
	t, ok := s.services().directory.ByID(id)
	if !ok {
		s.t.Fatalf("no tenant %s", id)
	}
	if err := s.services().pool.Do(s.t.Context(), t, f); err != nil {
		s.t.Fatal(err)
	}
}

// tamper edits copies past the synchronisation, in a tenant's own database.
func (s *server) tamper(id string) {
	s.t.Helper()
	s.in(id, func(ctx context.Context) error {
		_, err := tenancy.Roles.Update(ctx, "rol_1", func(r *tenancy.Role) error {
			r.Description = "edited | by hand"
			return nil
		})
		return errors.Join(err, tenancy.Commit(ctx, tenancy.RemoveRole(ctx, "rol_2")...))
	})
}

// TestDriftCommands: what was edited in a tenant's database is found, planned,
// and put right only when a person agrees; the other tenant, whose rows have the
// same ids, is left alone (contract C5.102, C5.103).
func TestDriftCommands(t *testing.T) {
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.start()
	s.tenant("acme")
	s.tenant("widgets")
	s.in("control_plane", func(ctx context.Context) error {
		return errors.Join(
			tenancy.Roles.Create(ctx, &tenancy.Role{Row: tenancy.Row{ID: "rol_1"}, Name: "Support", NameKey: "support"}),
			tenancy.Roles.Create(ctx, &tenancy.Role{Row: tenancy.Row{ID: "rol_2"}, Name: "Sales", NameKey: "sales"}),
		)
	})
	s.run("sync", "status", "--wait").holds(t, "2 of 2 tenants")
	if x := s.run("sync", "drift").holds(t, "2 tenants were compared; nothing differs"); !strings.Contains(x.err, "tenants compared: 2 of 2 (100%)") {
		t.Errorf("no progress: %s", x.err)
	}
	s.run("sync", "repair").holds(t, "nothing differs")

	s.tamper("acme")
	found := []string{"acme", "missing", "role", "rol_2", "create", "modified", "rol_1", `description is "edited | by hand", should be ""`}
	if x := s.run("sync", "drift").holds(t, append(found, "2 tenants were compared; 1 differ, by 1 missing, 1 modified")...); strings.Contains(x.out, "widgets") {
		t.Errorf("the other tenant is named: %s", x.out)
	}
	s.run("sync", "drift", "widgets").holds(t, "1 tenants were compared; nothing differs")
	s.run("sync", "drift", "--entity", "connection").holds(t, "nothing differs")
	s.run("sync", "drift", "--limit", "1").holds(t, "1 missing, 1 modified", "... and 1 more")
	var v driftView
	if err := json.Unmarshal([]byte(s.run("sync", "drift", "acme", "--json").holds(t).out), &v); err != nil || v.Found != 2 || v.Checked != 1 || len(v.Drift) != 2 || v.CheckedAt == 0 {
		t.Errorf("as JSON: %v %+v", err, v)
	}
	if x := s.run("sync", "drift", "--fail"); x.failure == nil || !strings.Contains(x.err, "sync repair") || !strings.Contains(x.out, "rol_2") {
		t.Errorf("with --fail: %v %s%s", x.failure, x.out, x.err)
	}
	s.run("sync", "drift", "ghost").fails(t, exitFailed, "Tenant not found")
	s.run("sync", "drift", "--entity", "user").fails(t, exitFailed, "No enum match for: user")
	s.run("sync", "repair", "--on-conflict", "fight").fails(t, exitFailed, "No enum match for: fight")
	s.run("sync", "drift", "--limit", "-1").fails(t, exitFailed, "limit has to be a number")

	for _, untouched := range [][]string{{"--dry-run"}, {"acme", "--dry-run", "--json"}} {
		s.run(append([]string{"sync", "repair"}, untouched...)...).holds(t, "rol_1", "update", "create")
	}
	s.run("sync", "repair").fails(t, exitFailed, "rol_2", "Type repair", "nothing was done")
	s.run("sync", "drift").holds(t, found...)
	x := s.run("sync", "repair", "--yes").holds(t, "2 tenants were compared, 1 were repaired, 0 failed (operation op_")
	if !strings.Contains(x.err, "tenants repaired") {
		t.Errorf("no progress: %s", x.err)
	}
	s.run("sync", "drift").holds(t, "nothing differs")
	if got := s.services().sync.Stats(); got.Compared < 20 || got.Differing < 10 || got.Repaired != 1 || got.RepairFailures != 0 {
		t.Errorf("counted: %+v", got)
	}
}

// TestDriftOfConflict: a tenant's own row is repaired only by the policy that a
// person names, and keeps its id (contract C6.23, SC-084).
func TestDriftOfConflict(t *testing.T) {
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.start()
	s.tenant("acme")
	s.in("acme", func(ctx context.Context) error {
		return tenancy.Roles.Create(ctx, &tenancy.Role{Row: tenancy.Row{ID: "own"}, Name: "Support", NameKey: "support"})
	})
	s.in("control_plane", func(ctx context.Context) error {
		return tenancy.Roles.Create(ctx, &tenancy.Role{Row: tenancy.Row{ID: "rol_1"}, Name: "Support", NameKey: "support"})
	})
	s.run("sync", "status", "--wait").holds(t, "1 conflicts")
	s.run("sync", "drift").holds(t, "1 conflict.", "own", "none")
	s.run("sync", "repair").holds(t, "1 conflict.") // nothing that it could do, so nobody is asked
	s.run("sync", "repair", "--on-conflict", "adopt", "--dry-run").holds(t, "adopt", "own")
	s.run("sync", "repair", "--on-conflict", "adopt", "--yes").holds(t, "1 were repaired")
	s.in("acme", func(ctx context.Context) error {
		r, err := tenancy.Roles.Get(ctx, "own")
		if err == nil && (r.Origin != "rol_1" || !r.IsSystem) {
			t.Errorf("the tenant's row is %+v", r)
		}
		return err
	})
}

// TestDriftUnreachable: a tenant that cannot be compared is named with the reason,
// and fails the command after everything else was said.
func TestDriftUnreachable(t *testing.T) {
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.start()
	s.tenant("acme")
	s.tenant("widgets")
	s.run("sync", "status", "--wait").holds(t, "2 of 2 tenants")
	lost, _ := s.services().directory.ByID("acme")
	files, err := filepath.Glob(filepath.Join(s.dir, "data", "*", "acme.db"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files: %v %v", files, err)
	}
	if err := os.Remove(files[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	// Only now: what comes by in the background would open it again.
	if err := s.services().pool.Forget(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	x := s.run("sync", "drift")
	if x.failure == nil || !strings.Contains(x.out, "1 tenants were compared; nothing differs") || !strings.Contains(x.out, "Not compared: acme: ") ||
		!strings.Contains(x.err, "1 tenants could not be compared") {
		t.Errorf("it ended with %v\n%s%s", x.failure, x.out, x.err)
	}
	x = s.run("sync", "repair", "--yes")
	if x.failure == nil || !strings.Contains(x.out, "1 failed") || !strings.Contains(x.err, "acme: ") || !strings.Contains(x.err, "sync status --state failed") {
		t.Errorf("it ended with %v\n%s%s", x.failure, x.out, x.err)
	}
}
