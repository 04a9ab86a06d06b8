package management

import (
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestOperations is contract C5.26 to C5.28 and C8.9.
func TestOperations(t *testing.T) {
	k := newAccessKit(t)
	may := machine("control_plane", "read:tenant_operations", "create:tenant_operations")
	var made string
	k.play(scenario{
		host: cpHost, token: admin(), method: "POST", path: "/tenants", body: map[string]any{"id": "beta", "friendly_name": "Beta"}, status: 201,
		check: func(t *testing.T, a answered) {
			made, _ = strings.CutPrefix(a.Header().Get("Location"), "/api/v2")
			if !strings.HasPrefix(made, "/operations/op_") {
				t.Errorf("C5.21: Location %q", a.Header().Get("Location"))
			}
		},
	})
	widgets, err := tenancy.Operations.First(k.cp(), "subject = ?", "widgets")
	k.must(err)
	repair, err := tenancy.BeginRepair(k.cp(), tenancy.Repair{})
	k.must(err)
	own := k.in("acme", person(ann, "read:tenant_operations"))
	k.run([]scenario{
		{name: "one", host: cpHost, token: may, path: made, status: 200, check: func(t *testing.T, a answered) {
			for member, want := range map[string]any{"tenant_id": "beta", "kind": "provision", "status": "succeeded", "attempt": 1.0, "initiated_by": admin().Subject, "params": nil} {
				if got := a.member(member); got != want {
					t.Errorf("%s is %v, want %v", member, got, want)
				}
			}
			if a.text("events", 0, "step") != "reserve" || a.text("events", 0, "outcome") != "succeeded" {
				t.Errorf("events are oldest first: %s", a.Body)
			}
		}},
		{name: "list", host: cpHost, token: may, path: "/tenants/beta/operations", status: 200, holds: `{"operations":[{"id":"op_`, lacks: "widgets"},
		{name: "filters", host: cpHost, token: may, path: "/tenants/beta/operations?kind=provision&status=failed", status: 200, holds: `{"operations":[]}`},
		{name: "own tenant", host: cpHost, token: own, path: "/tenants/acme/operations", status: 200, holds: `"kind":"provision"`},
		{name: "C5.28 foreign tenant", host: cpHost, token: own, path: "/operations/" + widgets.ID, status: 404, says: "Operation not found"},
		{name: "C5.28 unknown", host: cpHost, token: own, path: "/operations/op_none", status: 404, says: "Operation not found"},
		{name: "foreign list", host: cpHost, token: own, path: "/tenants/widgets/operations", status: 403, says: "Access denied to this tenant"},
		{name: "C5.28 cancel what succeeded", host: cpHost, token: may, method: "POST", path: made + "/cancel", status: 409, code: "operation_conflict", says: "Operation is succeeded and cannot be cancelled"},
		{name: "C5.28 cancel a foreign tenant's", host: cpHost, token: person(ann, "create:tenant_operations"), method: "POST", path: "/operations/" + widgets.ID + "/cancel", status: 404, says: "Operation not found"},
		{name: "C5.28 cancel without the scope", host: cpHost, token: machine("control_plane", "read:tenant_operations"), method: "POST", path: made + "/cancel", status: 403, code: "insufficient_scope"},
		{name: "C5.28 cancel nothing", host: cpHost, token: may, method: "POST", path: "/operations/op_none/cancel", status: 404, says: "Operation not found"},
		{name: "C5.28 cancel", host: cpHost, token: may, method: "POST", path: "/operations/" + repair.ID + "/cancel", status: 202, holds: `"status":"cancelled"`},
		{name: "C8.9 cancelled", host: cpHost, token: may, path: "/operations/" + repair.ID, status: 200, holds: `"step":"cancel","outcome":"succeeded"`},
		{name: "retry of what was cancelled", host: cpHost, token: may, method: "POST", path: "/operations/" + repair.ID + "/retry", status: 409, code: "operation_conflict"},
		{name: "retry of what succeeded", host: cpHost, token: may, method: "POST", path: made + "/retry", status: 409, code: "operation_conflict"},
		{
			name: "C5.27 provision", host: cpHost, token: may, method: "POST", path: "/tenants/beta/operations", body: map[string]any{"kind": "provision"}, status: 400,
			says: `Operations of kind "provision" are managed by the tenant lifecycle (create/delete) and cannot be enqueued directly`,
		},
		{name: "C5.27 no support", host: cpHost, token: may, method: "POST", path: "/tenants/beta/operations", body: map[string]any{"kind": "sync"}, status: 501},
		{name: "C5.27 unknown", host: cpHost, token: may, method: "POST", path: "/tenants/beta/operations", body: map[string]any{"kind": "dance"}, status: 400, code: "invalid_body"},
		{name: "C5.27 upgrade takes nothing", host: cpHost, token: may, method: "POST", path: "/tenants/beta/operations", body: map[string]any{"kind": "upgrade", "params": map[string]any{"to": 1}}, status: 400, code: "invalid_body"},
		{
			name: "C5.27 upgrade", host: cpHost, token: may, method: "POST", path: "/tenants/beta/operations", body: map[string]any{"kind": "upgrade"}, status: 202,
			holds: `"kind":"upgrade"`, check: func(t *testing.T, a answered) {
				upgrade, _ := strings.CutPrefix(a.Header().Get("Location"), "/api/v2/operations/")
				k.until("the upgrade does not end", func() bool {
					op, err := tenancy.Operations.Get(k.cp(), upgrade)
					return err == nil && op.Status == tenancy.OperationSucceeded
				})
			},
		},
		{
			name: "C5.27 backup without a directory", host: cpHost, token: may, method: "POST", path: "/tenants/beta/operations", body: map[string]any{"kind": "backup"}, status: 501,
			code: "not_supported", holds: "add to the global option gatehouse for instance: backups /var/backups/gatehouse",
		},
		{name: "C8.19 progress", host: cpHost, token: machine("control_plane", "read:sync"), path: "/migrations", status: 200, holds: `"running":false`},
		{name: "C8.19 progress is the platform's", host: cpHost, token: own, path: "/migrations", status: 403},
		{
			name: "C5.27 move", host: cpHost, token: may, method: "POST", path: "/tenants/beta/operations", body: map[string]any{"kind": "move"}, status: 400,
			says: `Operations of kind "move" are begun by POST /tenants/{id}/move and cannot be enqueued directly`,
		},
		{name: "C5.30 unknown placement", host: cpHost, token: admin(), method: "POST", path: "/tenants/beta/move", body: map[string]any{"provider": "moon"}, status: 400, says: "unknown placement 'moon'"},
		{name: "C5.30 no placement", host: cpHost, token: admin(), method: "POST", path: "/tenants/beta/move", body: map[string]any{}, status: 400, code: "invalid_body"},
		{name: "C5.30 there already", host: cpHost, token: admin(), method: "POST", path: "/tenants/beta/move", body: map[string]any{"provider": ""}, status: 400},
		{name: "C5.30 unknown tenant", host: cpHost, token: admin(), method: "POST", path: "/tenants/ghost/move", body: map[string]any{"provider": "moon"}, status: 404},
		{name: "C8.2 control plane", host: cpHost, token: admin(), method: "POST", path: "/tenants/control_plane/move", body: map[string]any{"provider": "moon"}, status: 403},
	})
	k.lifecycle.Backups = &tenancy.BackupStore{Dir: t.TempDir()}
	k.run([]scenario{
		{name: "C5.27 backup takes nothing", host: cpHost, token: may, method: "POST", path: "/tenants/beta/operations", body: map[string]any{"kind": "backup", "params": map[string]any{"file": "/etc/passwd"}}, status: 400, code: "invalid_body"},
		{name: "C5.27 backup of a foreign tenant", host: cpHost, token: k.in("acme", person(ann, "create:tenant_operations")), method: "POST", path: "/tenants/beta/operations", body: map[string]any{"kind": "backup"}, status: 403},
		{name: "C5.27 backup of nobody", host: cpHost, token: may, method: "POST", path: "/tenants/ghost/operations", body: map[string]any{"kind": "backup"}, status: 404},
		{
			name: "C5.27 backup", host: cpHost, token: may, method: "POST", path: "/tenants/beta/operations", body: map[string]any{"kind": "backup"}, status: 202,
			holds: `"kind":"backup"`, check: func(t *testing.T, a answered) {
				backup, _ := strings.CutPrefix(a.Header().Get("Location"), "/api/v2/operations/")
				k.until("the backup does not end", func() bool {
					op, err := tenancy.Operations.Get(k.cp(), backup)
					return err == nil && op.Status == tenancy.OperationSucceeded
				})
			},
		},
		{name: "C5.28 what it came to", host: cpHost, token: may, path: "/tenants/beta/operations?kind=backup", status: 200, holds: `"progress":{"file":"beta.`},
		{name: "delete", host: cpHost, token: admin(), method: "DELETE", path: "/tenants/beta", status: 204},
		{name: "C8.12 the record stays", host: cpHost, token: admin(), path: made, status: 200, holds: `"tenant_id":"beta"`},
	})
}
