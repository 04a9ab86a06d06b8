package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// eventful changes the control plane in every way sync knows, and the tenant
// before it so that each has consequences.
func (h *house) eventful(l *Loop, tenants ...string) {
	h.t.Helper()
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addServer(server("rs2", "https://gone.test", "read"))
	h.addServer(server("rs3", "https://again.test", "read", "write"))
	h.addRole(role("rol1", "A"), perm("rol1", "rs1", "read"), perm("rol1", "rs2", "read"), perm("rol1", "rs3", "write"))
	h.addRole(role("rol2", "B"), perm("rol2", "rs1", "write"))
	h.addRole(role("rol3", "C"))
	for _, id := range tenants {
		must(h.t, l.Snapshot(h.t.Context(), h.byID(id)))
		h.use(id, "rs1", "https://api.test", "read", "write")
		h.set(id, `{"default_audience":"https://gone.test"}`)
	}
	h.set(platform, `{"session_lifetime":72}`)
	update(h, tenancy.ResourceServers, platform, "rs1", func(r *tenancy.ResourceServer) { r.Scopes = r.Scopes[:1] })
	h.removeServer("rs2")
	h.removeServer("rs3")
	h.addServer(server("rs4", "https://again.test", "write"))
	update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Name, r.NameKey = "X", "x" })
	update(h, tenancy.Roles, platform, "rol2", func(r *tenancy.Role) { r.Name, r.NameKey = "A", "a" })
	update(h, tenancy.Roles, platform, "rol1", func(r *tenancy.Role) { r.Name, r.NameKey = "B", "b" })
	h.removeRole("rol3")
	h.addRole(role("rol4", "C"), perm("rol4", "rs4", "write"))
}

// A batch that fails at any statement leaves the tenant as it was, and the next
// visit does all of it (contract C6.4).
func TestBatchFailsAnywhere(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	h.eventful(l, "acme")
	p, err := l.look(t.Context())
	must(t, err)
	visit := func() error {
		_, err := l.visit(t.Context(), job{tenant: h.byID("acme"), picture: p}, l.pool.EnterIdle)
		return err
	}
	before := h.dump("acme")
	revision, writes := h.applied("acme")
	broken := errors.New("no table")
	for at := 0; ; at++ {
		var size atomic.Int64
		h.faults.onBatch(func(tenant string, stmts []tenancy.Stmt) ([]tenancy.Stmt, error) {
			size.Store(int64(len(stmts)))
			if at > len(stmts) {
				return nil, broken // past the end: nothing is written
			}
			bad := tenancy.Stmt{SQL: "INSERT INTO no_such_table VALUES (1)", Rows: tenancy.AnyRows}
			return slices.Insert(slices.Clone(stmts), at, bad), nil
		})
		if err := visit(); err == nil {
			t.Fatalf("no error with statement %d broken", at)
		}
		h.faults.onBatch(nil)
		equal(t, fmt.Sprintf("after failing at statement %d", at), h.dump("acme"), before)
		r, w := h.applied("acme")
		equal(t, "watermark", []int64{r, w}, []int64{revision, writes})
		if n := size.Load(); int64(at) > n {
			if n < 15 {
				t.Errorf("the batch had %d statements only; the scenario is too small", n)
			}
			break
		}
	}
	must(t, visit())
	user, own, grant := h.used("acme")
	equal(t, "references", []any{user, own, grant}, []any{[]string{"rs1 read"}, []string{"https://api.test read"}, []string{"read"}})
	equal(t, "role", find(h, tenancy.Roles, "acme", "rol1").Name, "B")
	equal(t, "permissions", h.permissionsOf("acme", "rol4"), []string{"https://again.test write"})
	equal(t, "inherited", h.effective("acme", "session_lifetime"), "72 control_plane")
	equal(t, "default audience", h.effective("acme", "default_audience"), " default")
}

// A visit that is called off between any two reads has written all or nothing.
func TestVisitCalledOffAnywhere(t *testing.T) {
	h := newHouse(t, "acme")
	l := h.loop()
	h.eventful(l, "acme")
	p, err := l.look(t.Context())
	must(t, err)
	before := h.dump("acme")
	for at := int64(1); ; at++ {
		ctx, cancel := context.WithCancel(t.Context())
		var queries atomic.Int64
		count := func(string) {
			if queries.Add(1) == at {
				cancel()
			}
		}
		h.faults.query.Store(&count)
		_, err := l.visit(ctx, job{tenant: h.byID("acme"), picture: p}, l.pool.EnterIdle)
		h.faults.query.Store(nil)
		cancel()
		if err == nil {
			if at < 5 {
				t.Errorf("the visit made %d queries only; the scenario is too small", at)
			}
			break
		}
		equal(t, fmt.Sprintf("after %d queries", at), h.dump("acme"), before)
	}
	revision, _ := h.applied("acme")
	equal(t, "watermark", revision, p.revision)
}

// SC-088: the process is killed in the middle of a pass over 50 tenants, with
// answers lost to batches that were written. After a restart all are equal, and
// each change was written once.
func TestKilledInTheMiddle(t *testing.T) {
	var ids []string
	for i := range 50 {
		ids = append(ids, fmt.Sprintf("t%02d", i))
	}
	h := newHouse(t, ids...)
	l := h.loop()
	h.eventful(l, ids...)
	writes := map[string]int64{}
	for _, id := range ids {
		_, writes[id] = h.applied(id)
	}

	ctx, kill := context.WithCancel(t.Context())
	var batches atomic.Int64
	h.faults.onBatch(func(tenant string, stmts []tenancy.Stmt) ([]tenancy.Stmt, error) {
		switch n := batches.Add(1); {
		case n < 20:
			return stmts, nil
		case n < 25: // written, but nobody is left to hear it
			kill()
			return stmts, errors.New("killed")
		}
		return nil, errors.New("killed") // the notes on the control plane too
	})
	killed := h.loop()
	killed.Run(ctx)
	h.faults.onBatch(nil)

	var done int
	for _, id := range ids {
		if _, w := h.applied(id); w > writes[id] {
			done++
		}
	}
	if done < 10 || done > 40 {
		t.Fatalf("%d of 50 tenants were done when the process was killed; wanted a number in between", done)
	}
	l = h.loop()
	start(t, l)
	settle(t, l)
	want := h.dump(ids[0])
	for _, id := range ids {
		equal(t, id, h.dump(id), want)
		_, w := h.applied(id)
		equal(t, "batches written in "+id, w-writes[id], 1)
	}
	user, own, grant := h.used(ids[0])
	equal(t, "references", []any{user, own, grant}, []any{[]string{"rs1 read"}, []string{"https://api.test read"}, []string{"read"}})
}
