package tenancy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// world is a control plane in a directory of its own.
type world struct {
	*tenancy.Lifecycle
	dir  string
	keys *countedKeys
}

// countedKeys stands for the token engine: it makes one key a tenant.
type countedKeys struct {
	made atomic.Int32
	fail atomic.Bool
}

func (k *countedKeys) EnsureKeys(ctx context.Context) error {
	if k.fail.Load() {
		return errors.New("no entropy today")
	}
	err := tenancy.SigningKeys.Create(ctx, &tenancy.SigningKey{Row: tenancy.Row{ID: "kid"}, Alg: "RS256", Use: tenancy.KeyCurrent, Private: []byte("key")})
	if errors.Is(err, tenancy.ErrConflict) {
		return nil
	}
	k.made.Add(1)
	return err
}

var admin = tenancy.ControlPlaneConfig{
	AdminEmail: "root@example.com", AdminPassword: "correct horse battery",
	ClientID: "mgmt", ClientSecret: "0123456789abcdef0123456789abcdef",
}

func newWorld(t *testing.T, dir, master string) *world {
	t.Helper()
	return newWorldOf(t, dir, master, map[string]tenancy.Provider{
		"": &sqlite.Provider{Dir: dir}, "other": &sqlite.Provider{Dir: dir + "-other"}, "third": &sqlite.Provider{Dir: dir + "-third"},
	})
}

// newWorldOf opens a directory. master may be several secrets, a line each.
func newWorldOf(t *testing.T, dir, master string, placements map[string]tenancy.Provider) *world {
	t.Helper()
	ring, err := tenancy.NewRing(bytes.Split([]byte(master), []byte("\n"))...)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: placements, Master: ring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := pool.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: "auth.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	keys := &countedKeys{}
	return &world{dir: dir, keys: keys, Lifecycle: &tenancy.Lifecycle{Pool: pool, Directory: tenancy.NewDirectory(pool, hosts), Master: ring, Keys: keys}}
}

const masterSecret = "a master secret for tests, 256 bits"

func openWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, filepath.Join(t.TempDir(), "tenants"), masterSecret)
	if err := w.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	return w
}

// cp returns a context inside the control plane.
func (w *world) cp(t *testing.T) context.Context {
	t.Helper()
	ctx, leave, err := w.Directory.EnterControlPlane(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(leave)
	return ctx
}

func status(err error) int {
	var e *tenancy.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

func TestControlPlaneFirstAndSecondStart(t *testing.T) {
	w := openWorld(t)
	ctx := w.cp(t)
	head, err := tenancy.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	u, err := tenancy.UserByIdentifier(ctx, tenancy.DefaultConnection, "ROOT@example.com")
	if err != nil {
		t.Fatal(err)
	}
	role, err := tenancy.BuiltInRole(ctx, tenancy.RolePlatformAdmin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tenancy.UserRoles.Get(ctx, tenancy.Join(u.ID, tenancy.Global, role.ID)); err != nil {
		t.Errorf("the administrator holds no Platform Admin: %v", err)
	}
	if n, _ := tenancy.RolePermissions.Count(ctx, tenancy.Filter{Where: "role_id = ?", Args: []any{role.ID}}); int(n) != len(tenancy.ManagementScopes(true)) {
		t.Errorf("Platform Admin has %d permissions", n)
	}
	org, err := tenancy.Organizations.First(ctx, "name = ?", "control_plane")
	if err != nil || org.ID != w.Directory.ControlPlane().OrganizationID {
		t.Errorf("organization of the control plane: %+v %v", org, err)
	}

	again := newWorld(t, w.dir, masterSecret)
	if err := again.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if now, err := tenancy.Head(again.cp(t)); now != head || err != nil {
		t.Errorf("a second start changed something: revision %d, then %d (%v)", head, now, err)
	}
	if n := again.keys.made.Load(); n != 0 {
		t.Errorf("a second start made %d keys", n)
	}

	wrong := newWorld(t, w.dir, "another master secret, also 256 bits")
	if err := wrong.OpenControlPlane(t.Context(), admin); err == nil || !strings.Contains(err.Error(), "master secret") {
		t.Errorf("start with a wrong master secret: %v", err)
	}
}

// TestLostControlPlane: where tenants are left, a missing control plane is a
// loss, and none is made in its place.
func TestLostControlPlane(t *testing.T) {
	w := openWorld(t)
	if _, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Pool.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, "control_plane.db")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	err := newWorld(t, w.dir, masterSecret).OpenControlPlane(t.Context(), admin)
	if !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "restore") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a new control plane was made beside the old tenants")
	}
}

// TestControlPlaneElsewhere: the control plane can be in any placement, and is not
// made a second time in another one.
func TestControlPlaneElsewhere(t *testing.T) {
	dir := t.TempDir()
	start := func(placement string) (*world, error) {
		w := newWorldOf(t, dir, masterSecret, map[string]tenancy.Provider{
			"first": &sqlite.Provider{Dir: filepath.Join(dir, "first")}, "second": &sqlite.Provider{Dir: filepath.Join(dir, "second")},
		})
		c := admin
		c.Placement = placement
		return w, w.OpenControlPlane(t.Context(), c)
	}
	w, err := start("second")
	if err != nil {
		t.Fatal(err)
	}
	w.Placement = "first"
	if _, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Pool.Drop(t.Context(), &tenancy.Tenant{Row: tenancy.Row{ID: "acme"}, Placement: "first"}); err != nil {
		t.Fatal(err) // so that the first is empty
	}
	if err := w.Pool.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := start("first"); !errors.Is(err, tenancy.ErrUnavailable) || !strings.Contains(err.Error(), "database second }") {
		t.Errorf("in another placement: %v", err)
	}
	if w, err = start("second"); err != nil || w.Directory.Len() != 2 {
		t.Errorf("in its own again: %v", err)
	}
}

func TestCreateTenant(t *testing.T) {
	w := openWorld(t)
	ann := &tenancy.User{Row: tenancy.Row{ID: "auth0|ann"}, Connection: tenancy.DefaultConnection, Email: "ann@example.com"}
	if err := tenancy.Users.Create(w.cp(t), ann); err != nil {
		t.Fatal(err)
	}
	acme, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme", CreatedBy: ann.ID, CreatorIsUser: true})
	if err != nil {
		t.Fatal(err)
	}
	if known, ok := w.Directory.ByHost("acme.auth.example.com"); !ok || known.State != tenancy.StateActive || acme.State != tenancy.StateActive {
		t.Errorf("directory: %+v %v", known, ok)
	}
	if linked, ok := w.Directory.ByOrganization(acme.OrganizationID); !ok || linked.ID != "acme" {
		t.Error("the linked organization is not known")
	}
	role, err := tenancy.BuiltInRole(w.cp(t), tenancy.RoleTenantAdmin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tenancy.Members.Get(w.cp(t), tenancy.Join(acme.OrganizationID, ann.ID)); err != nil {
		t.Errorf("the creator is no member: %v", err)
	}
	if _, err := tenancy.UserRoles.Get(w.cp(t), tenancy.Join(ann.ID, acme.OrganizationID, role.ID)); err != nil {
		t.Errorf("the creator is no Tenant Admin: %v", err)
	}
	err = w.Pool.Do(t.Context(), acme, func(ctx context.Context) error {
		rs, err := tenancy.CachedResourceServer(ctx, tenancy.ManagementAudience)
		if err != nil {
			return err
		}
		if rs.Defines("create:tenants") || !rs.Defines("read:users") || !rs.IsSystem {
			t.Errorf("management API of a child: %+v", rs)
		}
		n, err := tenancy.Clients.Count(ctx, tenancy.Filter{})
		if n != 2 {
			t.Errorf("%d default clients", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		wish   tenancy.NewTenant
		status int
	}{
		"taken":             {tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"}, http.StatusConflict},
		"no friendly name":  {tenancy.NewTenant{ID: "other"}, http.StatusBadRequest},
		"reserved":          {tenancy.NewTenant{ID: "www", FriendlyName: "W"}, http.StatusBadRequest},
		"grammar":           {tenancy.NewTenant{ID: "Bad_Id", FriendlyName: "B"}, http.StatusBadRequest},
		"the control plane": {tenancy.NewTenant{ID: "control_plane", FriendlyName: "C"}, http.StatusBadRequest},
		"unknown placement": {tenancy.NewTenant{ID: "other", FriendlyName: "O", Placement: "mars"}, http.StatusBadRequest},
		"unknown owner":     {tenancy.NewTenant{ID: "other", FriendlyName: "O", Owner: &tenancy.Owner{UserID: "nobody"}}, http.StatusBadRequest},
	} {
		if _, err := w.Create(t.Context(), c.wish); status(err) != c.status {
			t.Errorf("%s: got %v, want status %d", name, err, c.status)
		}
	}
	if n := w.Directory.Len(); n != 2 {
		t.Errorf("%d tenants after refused wishes", n)
	}
}

// TestOrganizationOfThatName: members of an organization that happens to be named
// like a later tenant must not become its administrators (C8.3).
func TestOrganizationOfThatName(t *testing.T) {
	w := openWorld(t)
	if err := tenancy.Organizations.Create(w.cp(t), &tenancy.Organization{Row: tenancy.Row{ID: "org_x"}, Name: "acme"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"}); status(err) != http.StatusConflict {
		t.Errorf("got %v", err)
	}
}

func TestCreateTenantRace(t *testing.T) {
	w := openWorld(t)
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := w.Create(context.Background(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme", CreatedBy: fmt.Sprint(i)})
			switch {
			case err == nil:
				won.Add(1)
			case status(err) == http.StatusConflict:
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("%d won, %d lost", won.Load(), lost.Load())
	}
}

// TestFailedStep: a step that fails leaves the tenant failed with the reason, and
// the same wish goes on from there without a second organization or key.
func TestFailedStep(t *testing.T) {
	w := openWorld(t)
	wish := tenancy.NewTenant{ID: "acme", FriendlyName: "Acme", CreatedBy: "m@clients"}
	w.keys.fail.Store(true)
	if _, err := w.Create(t.Context(), wish); status(err) != http.StatusServiceUnavailable {
		t.Fatalf("got %v", err)
	}
	failed, ok := w.Directory.ByID("acme")
	if !ok || failed.State != tenancy.StateFailed || !strings.Contains(failed.ProvisioningError, "keys: no entropy") {
		t.Errorf("%+v %v", failed, ok)
	}
	w.keys.fail.Store(false)
	stranger := wish
	stranger.CreatedBy = "other@clients"
	if _, err := w.Create(t.Context(), stranger); status(err) != http.StatusConflict {
		t.Errorf("somebody else took it up: %v", err)
	}
	acme, err := w.Create(t.Context(), wish)
	if err != nil || acme.OrganizationID != failed.OrganizationID {
		t.Fatalf("the second try: %+v %v", acme, err)
	}
	if n, _ := tenancy.Organizations.Count(w.cp(t), tenancy.Filter{Where: "name = 'acme'"}); n != 1 {
		t.Errorf("%d organizations", n)
	}
}

// TestResume: creations and deletions that were cut off are finished at the next
// start, from whichever step.
func TestResume(t *testing.T) {
	w := openWorld(t)
	for i, id := range []string{"cut0", "cut1", "gone"} {
		x := &tenancy.Tenant{
			Row: tenancy.Row{ID: id}, FriendlyName: id, State: tenancy.StateProvisioning,
			OrganizationID: fmt.Sprint("org_", id), DataKey: w.Master.NewDataKey(id),
		}
		if id == "gone" {
			x.State = tenancy.StateDeleting
		}
		if err := tenancy.Tenants.Create(w.cp(t), x); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := w.Pool.Create(t.Context(), x); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Directory.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"cut0", "cut1"} {
		if x, ok := w.Directory.ByID(id); !ok || x.State != tenancy.StateActive {
			t.Errorf("%s: %+v", id, x)
		}
	}
	if _, ok := w.Directory.ByID("gone"); ok {
		t.Error("a deletion that was cut off was not finished")
	}
}

func TestUpdateAndDeleteTenant(t *testing.T) {
	w := openWorld(t)
	acme, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Update(t.Context(), "acme", func(x *tenancy.Tenant) error { x.FriendlyName = "Acme Inc."; return nil }); err != nil {
		t.Fatal(err)
	}
	if org, err := tenancy.Organizations.Get(w.cp(t), acme.OrganizationID); err != nil || org.DisplayName != "Acme Inc." {
		t.Errorf("linked organization: %+v %v", org, err)
	}
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), "control_plane"); err == nil {
		t.Error("the control plane was deleted")
	}
	if _, ok := w.Directory.ByHost("acme.auth.example.com"); ok {
		t.Error("a deleted tenant's host is known")
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, "acme*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := tenancy.Organizations.Get(w.cp(t), acme.OrganizationID); !errors.Is(err, tenancy.ErrNotFound) {
		t.Errorf("the linked organization is left: %v", err)
	}
	again, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"})
	if err != nil || again.OrganizationID == acme.OrganizationID || again.DataKey == acme.DataKey {
		t.Errorf("the same id again: %+v %v", again, err)
	}
}

// TestDirectoryFollows: a change by another process is known within a second.
func TestDirectoryFollows(t *testing.T) {
	w := openWorld(t)
	other := newWorld(t, w.dir, masterSecret)
	if err := other.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); other.Directory.Run(ctx) }()
	if _, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if x, ok := other.Directory.ByID("acme"); ok && x.State == tenancy.StateActive {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other process does not know the tenant")
		}
	}
	cancel()
	<-done
}
