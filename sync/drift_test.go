package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func (h *house) drift(l *Loop, f DriftFilter) (list []Drift) {
	h.t.Helper()
	must(h.t, l.Drift(h.t.Context(), f, func(d TenantDrift) error {
		must(h.t, d.Err)
		list = append(list, d.Drift...)
		return nil
	}))
	return list
}

// spoil makes every kind of drift in a tenant that was in sync, behind the back of
// whoever keeps it so.
func (h *house) spoil(id string) {
	h.t.Helper()
	h.in(id, func(ctx context.Context) {
		must(h.t, tenancy.Commit(ctx, tenancy.RemoveRole(ctx, "rol1")...))
		must(h.t, tenancy.Roles.Create(ctx, role("own", "Support")))
		stray := role("stray", "Stray")
		stray.IsSystem, stray.Origin = true, "rol_never"
		must(h.t, tenancy.Roles.Create(ctx, stray))
		must(h.t, tenancy.RolePermissions.Delete(ctx, perm("rol2", "rs1", "read").ID))
		must(h.t, tenancy.RolePermissions.Create(ctx, perm("rol2", "rs1", "write")))
		must(h.t, tenancy.Commit(ctx, tenancy.RemoveRole(ctx, "rol3")...))
	})
	update(h, tenancy.ResourceServers, id, "rs1", func(r *tenancy.ResourceServer) { r.Name, r.TokenLifetime = "Altered", 5 })
	update(h, tenancy.SettingsRows, id, tenancy.SettingsInherited, func(r *tenancy.SettingsRow) {
		r.Values = map[string]json.RawMessage{"session_lifetime": json.RawMessage(`1`)}
	})
}

// synced is a house whose tenants have something of each kind.
func synced(t *testing.T, l func(*house) *Loop, tenants ...string) (*house, *Loop) {
	h := newHouse(t, tenants...)
	h.addServer(server("rs1", "https://api.test", "read", "write"))
	h.addRole(role("rol1", "Support"), perm("rol1", "rs1", "read"))
	h.addRole(role("rol2", "Viewer"), perm("rol2", "rs1", "read"))
	h.addRole(role("rol3", "Other"))
	h.set(platform, `{"session_lifetime":72,"sender_name":"CP"}`)
	loop := l(h)
	for _, id := range tenants {
		must(t, loop.Snapshot(t.Context(), h.byID(id)))
	}
	return h, loop
}

func plain(h *house) *Loop { return h.loop() }

// wantDrift is what spoil does to a tenant.
func wantDrift(id string) []Drift {
	return []Drift{
		{id, "resource_server", "rs1", "rs1", "modified", []Difference{{"name", "API rs1", "Altered"}, {"token_lifetime", 86400, 5}}, "update"},
		{id, "role", "rol3", "", "missing", []Difference{}, "create"},
		{id, "role", "rol_never", "stray", "extra", []Difference{}, "delete"},
		{id, "role", "rol1", "own", "conflict", []Difference{}, "none"},
		{id, "role", "rol2", "rol2", "modified", []Difference{{"permissions", []string{"https://api.test read"}, []string{"https://api.test write"}}}, "update"},
		{id, "settings", "own", "inherited", "modified", []Difference{{"sender_name", "CP", nil}, {"session_lifetime", 72, 1}}, "update"},
	}
}

// What differs is listed with its reason and both ids, for the tenants and kinds
// asked for, and nothing is written (contract C5.102, C6.22).
func TestDrift(t *testing.T) {
	h, l := synced(t, plain, "acme", "other", "widgets")
	equal(t, "in sync", h.drift(l, DriftFilter{}), []Drift(nil))
	h.spoil("acme")
	h.spoil("widgets")
	before := h.dump("acme")
	_, writes := h.applied("acme")
	equal(t, "all", h.drift(l, DriftFilter{}), append(wantDrift("acme"), wantDrift("widgets")...))
	equal(t, "one tenant", h.drift(l, DriftFilter{TenantIDs: []string{"widgets"}}), wantDrift("widgets"))
	equal(t, "one kind", h.drift(l, DriftFilter{Entities: []string{"settings"}, From: "acme"}), wantDrift("widgets")[5:])
	_, after := h.applied("acme")
	equal(t, "nothing is written", []any{h.dump("acme"), after}, []any{before, writes})

	// One tenant that is away is said to be; the others are compared.
	h.faults.away.Store("acme", true)
	failed := ""
	must(t, l.Drift(t.Context(), DriftFilter{}, func(d TenantDrift) error {
		if d.Err != nil {
			failed += d.TenantID
		}
		return nil
	}))
	equal(t, "not compared", failed, "acme")
	h.faults.away.Delete("acme")
	stop := errors.New("enough")
	if err := l.Drift(t.Context(), DriftFilter{}, func(TenantDrift) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want what yield returned", err)
	}
}

// request asks a handler and returns the status and the decoded answer.
func request(t *testing.T, h http.Handler, query string) (int, map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v2/sync/drift?"+query, nil))
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); w.Code == http.StatusOK && err != nil {
		t.Fatalf("%s: %v in %s", query, err, w.Body)
	}
	return w.Code, body
}

// GET /sync/drift comes in pages of tenants, so that who asks sees how far it is.
func TestDriftHandler(t *testing.T) {
	h, l := synced(t, plain, "a", "b", "c", "d", "e")
	h.spoil("b")
	h.spoil("d")
	h.faults.away.Store("e", true)
	handler := l.DriftHandler(func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), tenancy.StatusOf(err))
	})
	var pages []string
	for from := ""; ; {
		code, body := request(t, handler, "take=2&from="+from)
		if code != 200 || body["checked_at"] == nil {
			t.Fatalf("status %d: %v", code, body)
		}
		pages = append(pages, fmt.Sprint(len(body["drift"].([]any)), " ", body["checked"], " of ", body["total"], " not ", len(body["unchecked"].([]any))))
		next, more := body["next"].(string)
		if !more {
			break
		}
		from = next
	}
	equal(t, "pages", pages, []string{"6 2 of 5 not 0", "6 2 of 5 not 0", "0 0 of 5 not 1"})
	_, body := request(t, handler, "tenant_id=b&entity=role")
	first := body["drift"].([]any)[0].(map[string]any)
	equal(t, "one", []any{len(body["drift"].([]any)), body["total"], first}, []any{4, 1, map[string]any{
		"tenant_id": "b", "entity": "role", "origin_id": "rol3", "local_id": "", "kind": "missing", "fields": []any{},
	}})
	for query, want := range map[string]int{
		"tenant_id=nobody": 404, "entity=user": 400, "take=0": 400, "take=1001": 400, "odd=1": 400, "take=1&take=2": 400,
	} {
		if code, _ := request(t, handler, query); code != want {
			t.Errorf("%s: got %d, want %d", query, code, want)
		}
	}
}

// ask begins a repair and waits until it is over.
func (h *house) ask(l *Loop, wish tenancy.Repair) *tenancy.Operation {
	h.t.Helper()
	var op *tenancy.Operation
	h.onCP(func(ctx context.Context) {
		var err error
		op, err = l.Repair(ctx, wish)
		must(h.t, err)
	})
	return h.ended(op.ID)
}

func (h *house) ended(id string) (op *tenancy.Operation) {
	h.t.Helper()
	eventually(h.t, "the repair ends", func() bool {
		op = find(h, tenancy.Operations, platform, id)
		return op.Status != tenancy.OperationRunning
	})
	return op
}

func runRepairs(t *testing.T, l *Loop) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { l.RunRepairs(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func planOf(t *testing.T, l *Loop, wish tenancy.Repair) []string {
	t.Helper()
	w := httptest.NewRecorder()
	must(t, l.PlanRepair(t.Context(), w, wish))
	var body struct{ Plan []Drift }
	must(t, json.Unmarshal(w.Body.Bytes(), &body))
	list := []string{}
	for _, d := range body.Plan {
		list = append(list, d.TenantID+" "+d.Action+" "+d.Entity+" "+d.OriginID)
	}
	return list
}

// SC-089: what was edited in a tenant's database is listed; a repair is planned
// without writing, and then does what was planned, in the tenants and kinds asked
// for (contract C5.102, C5.103, C6.23).
func TestRepair(t *testing.T) {
	h, l := synced(t, plain, "acme", "other", "widgets")
	runRepairs(t, l)
	h.spoil("acme")
	h.spoil("widgets")
	before := h.dump("acme")
	equal(t, "plan", planOf(t, l, tenancy.Repair{TenantIDs: []string{"acme"}}), []string{
		"acme update resource_server rs1", "acme create role rol3", "acme delete role rol_never", "acme none role rol1",
		"acme update role rol2", "acme update settings own",
	})
	equal(t, "plan to adopt", planOf(t, l, tenancy.Repair{TenantIDs: []string{"acme"}, Entities: []string{"role"}, OnConflict: "adopt"}), []string{
		"acme create role rol3", "acme adopt role rol1", "acme delete role rol_never", "acme update role rol1", "acme update role rol2",
	})
	equal(t, "planning writes nothing", h.dump("acme"), before)

	revision, _ := h.applied("acme")
	op := h.ask(l, tenancy.Repair{TenantIDs: []string{"acme"}, Entities: []string{"settings"}})
	equal(t, "part", []any{op.Status, op.Params.Repair.Written, op.Params.Repair.Total}, []any{"succeeded", 1, 1})
	equal(t, "what is left", h.drift(l, DriftFilter{TenantIDs: []string{"acme"}}), wantDrift("acme")[:5])
	now, _ := h.applied("acme")
	equal(t, "the revision of a part", now, revision)

	op = h.ask(l, tenancy.Repair{})
	equal(t, "all", []any{op.Status, op.Params.Repair.Checked, op.Params.Repair.Written, op.Params.Repair.Failed}, []any{"succeeded", 3, 2, 0})
	left := append(wantDrift("acme")[3:4], wantDrift("widgets")[3:4]...)
	equal(t, "the conflicts are left", h.drift(l, DriftFilter{}), left)

	op = h.ask(l, tenancy.Repair{OnConflict: "adopt"})
	equal(t, "adopted", []any{op.Status, op.Params.Repair.Written, find(h, tenancy.Roles, "acme", "own").Origin}, []any{"succeeded", 2, "rol1"})
	equal(t, "nothing is left", h.drift(l, DriftFilter{}), []Drift(nil))
	op = h.ask(l, tenancy.Repair{})
	equal(t, "a second time writes nothing", op.Params.Repair.Written, 0)
	h.onCP(func(ctx context.Context) {
		events, err := tenancy.OperationEvents.Find(ctx, tenancy.Filter{Where: "operation_id = ?", Args: []any{op.ID}})
		must(t, err)
		equal(t, "history", []any{len(events), events[0].Outcome, events[1].Outcome}, []any{2, "started", "succeeded"})
	})

	h.onCP(func(ctx context.Context) {
		for _, bad := range []struct {
			wish tenancy.Repair
			want int
		}{
			{tenancy.Repair{TenantIDs: []string{"nobody"}}, 404},
			{tenancy.Repair{Entities: []string{"user"}}, 400},
			{tenancy.Repair{OnConflict: "delete"}, 400},
		} {
			if _, err := l.Repair(ctx, bad.wish); tenancy.StatusOf(err) != bad.want {
				t.Errorf("%+v: got %v, want %d", bad.wish, err, bad.want)
			}
			if err := l.PlanRepair(ctx, httptest.NewRecorder(), bad.wish); tenancy.StatusOf(err) != bad.want {
				t.Errorf("plan of %+v: got %v, want %d", bad.wish, err, bad.want)
			}
		}
	})
}

// A repair in which a tenant fails goes on with the others, has failed, and can be
// asked for again; one whose process went is gone on with from where it was.
func TestRepairFailsAndResumes(t *testing.T) {
	h, l := synced(t, plain, "a", "b", "c")
	stop := runRepairs(t, l)
	for _, id := range []string{"a", "b", "c"} {
		h.spoil(id)
	}
	h.faults.away.Store("b", true)
	op := h.ask(l, tenancy.Repair{})
	equal(t, "failed", []any{op.Status, op.Params.Repair.Failed, op.Params.Repair.Written}, []any{"failed", 1, 2})
	if want := "tenants: 1 of 3 failed, the first one was b: "; len(op.Error) < len(want) || op.Error[:len(want)] != want {
		t.Errorf("got error %q, want it to begin with %q", op.Error, want)
	}
	stop()
	h.faults.away.Delete("b")
	lifecycle := &tenancy.Lifecycle{Pool: h.pool, Directory: h.directory}
	if _, err := lifecycle.Retry(t.Context(), op.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := lifecycle.Retry(t.Context(), op.ID); tenancy.StatusOf(err) != 409 {
		t.Errorf("a second retry: got %v, want 409", err)
	}
	l = h.loop(func(c *Config) { c.Every = 20e6 })
	stop = runRepairs(t, l)
	op = h.ended(op.ID)
	equal(t, "retried", []any{op.Status, op.Attempt, op.Params.Repair.Checked, op.Params.Repair.Written}, []any{"succeeded", 2, 3, 1})
	stop()

	// As if the process had gone after tenant a.
	h.onCP(func(ctx context.Context) {
		cut, err := tenancy.BeginRepair(ctx, tenancy.Repair{})
		must(t, err)
		claimed, err := tenancy.ClaimRepair(ctx)
		must(t, err)
		equal(t, "claimed", claimed.ID, cut.ID)
		claimed.Params.Repair.After, claimed.Params.Repair.Checked = "a", 1
		must(t, tenancy.NoteRepair(ctx, claimed, "", ""))
		if _, err := tenancy.ClaimRepair(ctx); !errors.Is(err, tenancy.ErrNotFound) {
			t.Errorf("a repair that somebody is at was claimed: %v", err)
		}
		old := tenancy.At(time.Now().Add(-time.Minute))
		must(t, tenancy.Commit(ctx, tenancy.SQL(ctx, `UPDATE operations SET updated_at = ? WHERE tenant_id = @tenant AND id = ?`, old, cut.ID).Once()))
		op = cut
	})
	update(h, tenancy.ResourceServers, "c", "rs1", func(r *tenancy.ResourceServer) { r.Name = "Altered" })
	update(h, tenancy.ResourceServers, "a", "rs1", func(r *tenancy.ResourceServer) { r.Name = "Altered" }) // done already
	runRepairs(t, l)
	op = h.ended(op.ID)
	equal(t, "resumed", []any{op.Status, op.Attempt, op.Params.Repair.Checked, op.Params.Repair.Total, op.Params.Repair.Written}, []any{"succeeded", 2, 3, 3, 1})
}

// Results come in order, and no more than so many are under way.
func TestInOrder(t *testing.T) {
	var list []int
	for i := range 200 {
		list = append(list, i)
	}
	busy := make(chan struct{}, 5)
	next := 0
	must(t, inOrder(t.Context(), 4, list, func(_ context.Context, i int) int {
		select {
		case busy <- struct{}{}:
		default:
			t.Error("more than four are under way")
		}
		if i%7 == 0 {
			<-time.After(time.Millisecond)
		}
		<-busy
		return i
	}, func(i int) error {
		if i != next {
			t.Errorf("got %d, want %d", i, next)
		}
		next++
		return nil
	}))
	equal(t, "all", next, 200)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := inOrder(ctx, 4, list, func(context.Context, int) int { return 0 }, func(int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v of a context that is over", err)
	}
}
