package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Whatever happens in whatever order, on the control plane and in tenants, and
// however it interleaves with the loop: in the end a tenant with no rows of its
// own is like one that was made just now, and in one with rows of its own there
// is nothing left to do.
func TestConvergence(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			h := newHouse(t, "plain", "switching", "owning")
			l := h.loop(func(c *Config) { c.Every, c.Exclude = 10*time.Millisecond, byBeta })
			start(t, l)
			w := &world{house: h, rand: rand.New(rand.NewPCG(seed, 7))}
			var dice atomic.Uint64
			h.faults.onBatch(func(tenant string, stmts []tenancy.Stmt) ([]tenancy.Stmt, error) {
				// The test's own writes are not to fail: they are not of the loop's form.
				if len(stmts) == 0 || !strings.Contains(stmts[0].SQL, "sync_state") {
					return stmts, nil
				}
				switch dice.Add(1) % 7 {
				case 2:
					return nil, tenancy.Unavailable(errors.New("injected"), "")
				case 5: // written, but the answer is lost
					return stmts, tenancy.Unavailable(errors.New("injected"), "")
				}
				return stmts, nil
			})
			for step := range 140 {
				w.step(step)
			}
			h.faults.onBatch(nil)
			failures := l.Stats().Failures
			if failures == 0 {
				t.Error("no visit failed, though some were to")
			}
			h.alter("switching", func(r *tenancy.Tenant) {
				r.Sync, r.Inheritance, r.Metadata, r.State = tenancy.SyncSwitches{}, tenancy.Inheritance{}, nil, tenancy.StateActive
			})
			settle(t, l)

			h.tenant("fresh", func(row *tenancy.Tenant) { row.State = tenancy.StateProvisioning })
			must(t, l.Snapshot(t.Context(), h.byID("fresh")))
			want := h.dump("fresh")
			for _, id := range append(w.made, "plain", "switching") {
				equal(t, id, h.dump(id), want)
			}
			time.Sleep(30 * 10 * time.Millisecond) // what is open is looked at again within 16 rounds
			p, err := l.look(t.Context())
			must(t, err)
			before := h.dump("owning")
			out, err := l.visit(t.Context(), job{tenant: h.byID("owning"), picture: p, full: true}, l.pool.EnterIdle)
			must(t, err)
			if out.wrote {
				t.Errorf("there was something left to do in a tenant with rows of its own:\n%s\nthen\n%s", before, h.dump("owning"))
			}
			if s := l.Stats(); s.Failures > failures+int64(s.Tenants) { // those under way may fail once more
				t.Errorf("visits went on to fail: %+v", s)
			}
		})
	}
}

// byBeta keeps rows for testers out of tenants that are none, and fails for tenants
// that are neither.
func byBeta(e Entity, t *tenancy.Tenant) (bool, error) {
	if e.Metadata["beta"] != true {
		return false, nil
	}
	if t.Metadata["tester"] == "perhaps" {
		return false, errors.New("neither yes nor no")
	}
	return t.Metadata["tester"] != "yes", nil
}

// world does random things.
type world struct {
	*house
	rand *rand.Rand
	made []string
}

func (w *world) pick(prefix string, n int) string { return fmt.Sprint(prefix, w.rand.IntN(n)) }

// scopes are some of four.
func (w *world) scopes() []tenancy.Scope {
	list := []tenancy.Scope{}
	for _, s := range []string{"a", "b", "c", "d"} {
		if w.rand.IntN(2) == 0 {
			list = append(list, tenancy.Scope{Value: s})
		}
	}
	return list
}

func (w *world) step(step int) {
	switch n := w.rand.IntN(20); {
	case n < 12:
		w.onCP(func(ctx context.Context) { w.try(w.platformStep(ctx, step)) })
	case n < 16:
		w.in("owning", func(ctx context.Context) { w.try(w.tenantStep(ctx)) })
	case n < 18:
		w.alter("switching", func(r *tenancy.Tenant) {
			on := w.rand.IntN(2) == 0
			r.Sync = []tenancy.SyncSwitches{{}, {Roles: &on}, {ResourceServers: &on}, {Connections: &on}}[w.rand.IntN(4)]
			r.State = []tenancy.State{tenancy.StateActive, tenancy.StateSuspended}[w.rand.IntN(2)]
			r.Inheritance.Mode = []string{"", "all", "none"}[w.rand.IntN(3)]
			r.Metadata = map[string]string{"tester": []string{"yes", "no", "perhaps"}[w.rand.IntN(3)]}
		})
	case n < 19 && len(w.made) < 3:
		id := fmt.Sprint("made-", step)
		w.tenant(id, nil)
		w.made = append(w.made, id)
	default:
		time.Sleep(time.Duration(w.rand.IntN(20)) * time.Millisecond)
	}
}

// try ignores that a row is there already, or not, and that names are taken.
func (w *world) try(err error) {
	if !errors.Is(err, tenancy.ErrNotFound) && !errors.Is(err, tenancy.ErrConflict) {
		must(w.t, err)
	}
}

func (w *world) platformStep(ctx context.Context, step int) error {
	rs, rol, name := w.pick("rs", 5), w.pick("rol", 5), w.pick("Name ", 6)
	switch w.rand.IntN(11) {
	case 0: // identifiers come back under other ids
		s := server(fmt.Sprint(rs, "-", step), "https://"+rs)
		s.Scopes = w.scopes()
		return tenancy.ResourceServers.Create(ctx, s)
	case 1:
		s, err := tenancy.ResourceServers.First(ctx, "identifier = ?", "https://"+rs)
		if err != nil {
			return err
		}
		return tenancy.Commit(ctx, tenancy.RemoveResourceServer(ctx, s)...)
	case 2:
		return w.changeServer(ctx, rs)
	case 3:
		return tenancy.Roles.Create(ctx, role(rol, name))
	case 4:
		return tenancy.Commit(ctx, tenancy.RemoveRole(ctx, rol)...)
	case 5, 6:
		_, err := tenancy.Roles.Update(ctx, rol, func(r *tenancy.Role) error {
			r.Name, r.NameKey = name, tenancy.NameKeyOf(name)
			r.Metadata = map[string]any{"sync": w.rand.IntN(4) != 0, "beta": w.rand.IntN(4) == 0}
			return nil
		})
		return err
	case 7:
		return w.changePermission(ctx, rol, rs)
	case 8:
		return w.changeConnection(ctx)
	case 9:
		return tenancy.Commit(ctx, tenancy.RemoveConnection(ctx, w.pick("con", 4))...)
	default:
		return tenancy.WriteSettings(ctx, map[string]json.RawMessage{
			"session_lifetime": json.RawMessage(fmt.Sprint(1 + w.rand.IntN(100))), "sender_name": json.RawMessage("null"),
		}, false)
	}
}

func (w *world) changeServer(ctx context.Context, name string) error {
	s, err := tenancy.ResourceServers.First(ctx, "identifier = ?", "https://"+name)
	if err != nil {
		return err
	}
	before := s.Scopes
	s.Scopes = w.scopes()
	s.Metadata = map[string]any{"sync": w.rand.IntN(4) != 0, "beta": w.rand.IntN(4) == 0}
	stmts := []tenancy.Stmt{tenancy.ResourceServers.Replace(ctx, s)}
	for _, scope := range before {
		if !s.Defines(scope.Value) {
			stmts = append(stmts, tenancy.RemoveScope(ctx, s.ID, scope.Value)...)
		}
	}
	return tenancy.Commit(ctx, stmts...)
}

func (w *world) changePermission(ctx context.Context, rol, name string) error {
	s, err := tenancy.ResourceServers.First(ctx, "identifier = ?", "https://"+name)
	if err != nil {
		return err
	}
	if _, err := tenancy.Roles.Get(ctx, rol); err != nil || len(s.Scopes) == 0 {
		return err
	}
	row := perm(rol, s.ID, s.Scopes[w.rand.IntN(len(s.Scopes))].Value)
	if w.rand.IntN(3) == 0 {
		return tenancy.RolePermissions.Delete(ctx, row.ID)
	}
	return tenancy.RolePermissions.Create(ctx, row)
}

// changeConnection makes a connection, or gives one another name, secret and choice of
// whether it is shared.
func (w *world) changeConnection(ctx context.Context) error {
	c := connection(w.pick("con", 4), w.pick("conn-", 5))
	c.Metadata = map[string]any{"sync": w.rand.IntN(3) != 0, "beta": w.rand.IntN(4) == 0}
	err := tenancy.Connections.Create(ctx, c)
	if !errors.Is(err, tenancy.ErrConflict) {
		return err
	}
	_, err = tenancy.Connections.Update(ctx, c.ID, func(r *tenancy.Connection) error {
		r.Name, r.Metadata, r.ShowAsButton = c.Name, c.Metadata, w.rand.IntN(2) == 0
		r.Secrets = map[string]string{"client_secret": fmt.Sprint("hush ", w.rand.IntN(9))}
		return nil
	})
	return err
}

// tenantStep makes, renames and removes rows of the tenant's own that may be in
// the way, and gives things that refer to copies.
func (w *world) tenantStep(ctx context.Context) error {
	rs, name := w.pick("rs", 5), w.pick("name ", 6)
	switch w.rand.IntN(8) {
	case 0:
		return tenancy.Roles.Create(ctx, role(w.pick("own", 3), name))
	case 1:
		_, err := tenancy.Roles.Update(ctx, w.pick("own", 3), func(r *tenancy.Role) error {
			r.Name, r.NameKey = name, name
			return nil
		})
		return err
	case 2:
		return tenancy.Commit(ctx, tenancy.RemoveRole(ctx, w.pick("own", 3))...)
	case 3:
		s := server("own"+rs, "https://"+rs)
		s.Scopes = w.scopes()
		return tenancy.ResourceServers.Create(ctx, s)
	case 4:
		s, err := tenancy.ResourceServers.Get(ctx, "own"+rs)
		if err != nil {
			return err
		}
		return tenancy.Commit(ctx, tenancy.RemoveResourceServer(ctx, s)...)
	case 5:
		return tenancy.Connections.Create(ctx, &tenancy.Connection{Row: tenancy.Row{ID: w.pick("own", 3)}, Name: w.pick("conn-", 5), Strategy: "oidc"})
	case 6:
		return tenancy.Commit(ctx, tenancy.RemoveConnection(ctx, w.pick("own", 3))...)
	default:
		s, err := tenancy.ResourceServers.First(ctx, "identifier = ?", "https://"+rs)
		if err != nil || len(s.Scopes) == 0 {
			return err
		}
		return tenancy.UserPermissions.Create(ctx, tenancy.NewUserPermission("auth0|ann", tenancy.Global, s.ID, s.Scopes[0].Value))
	}
}
