package tenancy_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// sealAway gives a tenant a secret that is sealed.
func sealAway(t *testing.T, w *world, id, secret string) {
	t.Helper()
	within(t, w.Pool, w.tenant(t, id), func(ctx context.Context) error {
		return tenancy.Clients.Create(ctx, &tenancy.Client{Row: tenancy.Row{ID: "same"}, Name: id, Secret: secret})
	})
}

func secretOf(t *testing.T, w *world, id string) (secret string) {
	t.Helper()
	within(t, w.Pool, w.tenant(t, id), func(ctx context.Context) error {
		c, err := tenancy.Clients.Get(ctx, "same")
		if err == nil {
			secret = c.Secret
		}
		return err
	})
	return secret
}

// TestBackup: a backup of a tenant that is written to holds one moment of it, is
// for its owner only, has no secret in the clear, and brings the tenant back:
// deleted, or with Force in place of what is there; another tenant with the same
// ids is not touched.
func TestBackup(t *testing.T) {
	w := openWorld(t)
	verified := 0
	w.Verify = func(ctx context.Context, _ *tenancy.Tenant) error { verified++; return tenancy.Ping(ctx) }
	w.makeTwo(t, 300)
	sealAway(t, w, "acme", "acme's secret in 256 bits")
	sealAway(t, w, "widgets", "widgets' secret in 256 bits")
	if _, err := w.Update(t.Context(), "acme", func(x *tenancy.Tenant) error { x.Quotas = map[string]int64{"users": 7777}; return nil }); err != nil {
		t.Fatal(err)
	}
	before := w.tenant(t, "acme")
	path := filepath.Join(t.TempDir(), "acme.backup")
	writing := writers{name: "during"}
	writing.start(t, "acme", w, w)
	verified = 0
	info, err := w.Backup(t.Context(), "acme", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	writing.stop()
	file, err := os.Stat(path)
	if err != nil || file.Mode().Perm() != 0o600 || file.Size() != info.Bytes || info.Rows < 300 {
		t.Errorf("%+v, file %v, %v", info, file, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	if text := unpack(t, path); strings.Contains(text, "secret in 256 bits") || strings.Contains(text, "widgets") || !strings.Contains(text, before.DataKey) {
		t.Error("the backup holds a secret, or another tenant's rows, or not the wrapped key")
	}
	if _, err := w.Backup(t.Context(), "acme", path, nil); status(err) != 409 {
		t.Errorf("a backup over a file: %v", err)
	}
	if _, err := w.Restore(t.Context(), path, tenancy.RestoreOptions{}); status(err) != 409 || !strings.Contains(err.Error(), "force") {
		t.Errorf("a restore over a tenant: %v", err)
	}

	within(t, w.Pool, before, func(ctx context.Context) error { return addUser(ctx, "later", "") })
	if _, err := w.Restore(t.Context(), path, tenancy.RestoreOptions{Force: true, Placement: "other"}); err != nil {
		t.Fatal(err)
	}
	forced := w.tenant(t, "acme")
	if forced.Placement != "other" || forced.State != tenancy.StateActive || len(forced.Copies) != 1 || forced.OrganizationID != before.OrganizationID || verified != 1 {
		t.Errorf("restored over what was there: %+v, verified %d times", forced, verified)
	}
	users := idsIn(t, w.Pool, forced, tenancy.Users)
	if slices.Contains(users, "later") || len(users) < 300 {
		t.Errorf("%d users", len(users))
	}
	if got := secretOf(t, w, "acme"); got != "acme's secret in 256 bits" {
		t.Errorf("secret %q", got)
	}
	within(t, w.Pool, forced, func(ctx context.Context) error { return addUser(ctx, "after", "") }) // it can be written

	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	back, err := w.Restore(t.Context(), path, tenancy.RestoreOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if back.Quota("users") != 7777 || w.tenant(t, "acme").Quota("users") != 7777 {
		t.Errorf("quotas %v, want those of the backup", back.Quotas)
	}
	if back.State != tenancy.StateActive || back.DataKey != before.DataKey || back.Placement != "" {
		t.Errorf("restored: %+v", back)
	}
	if again := idsIn(t, w.Pool, back, tenancy.Users); !slices.Equal(again, users) {
		t.Errorf("%d users, the backup has %d", len(again), len(users))
	}
	if org, err := tenancy.Organizations.First(w.cp(t), "name = ?", "acme"); err != nil || org.ID != back.OrganizationID {
		t.Errorf("its organization: %+v, %v", org, err)
	}
	if got := secretOf(t, w, "widgets"); got != "widgets' secret in 256 bits" {
		t.Errorf("another tenant's secret %q", got)
	}
}

func unpack(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func pack(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, text)
	_ = z.Close()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestRestoreRefused: a file that is not whole, not ours or too new changes
// nothing and says what to do.
func TestRestoreRefused(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 3)
	path := filepath.Join(t.TempDir(), "acme.backup")
	if _, err := w.Backup(t.Context(), "acme", path, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	text := unpack(t, path)
	lines := strings.SplitAfter(text, "\n")
	user := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, `{"table":"users"`) })
	for name, c := range map[string]struct{ path, says string }{
		"nothing":        {filepath.Join(t.TempDir(), "none"), "cannot be read"},
		"no backup":      {pack(t, "{}\n"), "no gatehouse-backup"},
		"not packed":     {"backup_test.go", "no gatehouse-backup"},
		"newer":          {pack(t, strings.Replace(text, `"schema":1,`, `"schema":2,`, 1)), "newer"},
		"cut off":        {pack(t, text[:len(text)*2/3]), "ends early"},
		"without an end": {pack(t, strings.Join(lines[:len(lines)-2], "")), "ends early"},
		"a row less":     {pack(t, strings.Join(slices.Delete(slices.Clone(lines), user, user+1), "")), "checksum"},
		"a value else":   {pack(t, strings.Replace(text, "auth0|1@acme", "auth0|9@acme", 1)), "checksum"},
		"more behind":    {pack(t, text+"{}\n"), "follows its end"},
		"another's row":  {pack(t, strings.Replace(text, `"tenant":"acme"`, `"tenant":"other"`, 1)), "another tenant"},
	} {
		_, err := w.Restore(t.Context(), c.path, tenancy.RestoreOptions{})
		if s := status(err); s != 400 && s != 409 || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
		if _, ok := w.Directory.ByID("acme"); ok {
			t.Fatalf("%s: there is a tenant now", name)
		}
	}
	if _, err := w.Restore(t.Context(), path, tenancy.RestoreOptions{Placement: "moon"}); status(err) != 400 || !strings.Contains(err.Error(), "unknown placement 'moon'") {
		t.Errorf("a restore into no placement: %v", err)
	}
	foreign := newWorld(t, filepath.Join(t.TempDir(), "tenants"), "another master secret, also 256 bits")
	if err := foreign.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.Restore(t.Context(), path, tenancy.RestoreOptions{}); status(err) != 409 || !strings.Contains(err.Error(), "another installation") {
		t.Errorf("a backup of another installation: %v", err)
	}
	if _, err := w.Backup(t.Context(), "control_plane", path+".cp", nil); status(err) != 403 {
		t.Errorf("a backup of the control plane: %v", err)
	}
}

// TestHalfRestore: a restore that was cut off leaves a tenant that is failed and
// that nothing but the restore or deleting touches.
func TestHalfRestore(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 800)
	path := filepath.Join(t.TempDir(), "acme.backup")
	if _, err := w.Backup(t.Context(), "acme", path, nil); err != nil {
		t.Fatal(err)
	}
	users := idsIn(t, w.Pool, w.tenant(t, "acme"), tenancy.Users)
	cutOff := func(force bool, rows int64) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := w.Restore(ctx, path, tenancy.RestoreOptions{Force: force, Progress: func(p tenancy.Progress) {
			if p.Step == "restore" && p.Done > rows {
				cancel()
			}
		}})
		if err == nil {
			t.Fatal("it was not cut off")
		}
	}
	cutOff(true, 100)
	if x := w.tenant(t, "acme"); x.State != tenancy.StateActive || x.Database != "" {
		t.Errorf("half a restore over a tenant: %+v", x)
	}
	within(t, w.Pool, w.tenant(t, "acme"), func(ctx context.Context) error { return addUser(ctx, "written", "") })
	if err := w.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(w.dir, "acme*")); len(left) != 0 {
		t.Errorf("deleting left %v", left)
	}
	for rows := range 2 {
		cutOff(false, int64(400*rows))
		x := w.tenant(t, "acme")
		if x.State != tenancy.StateFailed || !strings.Contains(x.ProvisioningError, "run the restore again") {
			t.Errorf("half a restore: %+v", x)
		}
		_, err := w.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "acme"})
		if status(err) != 409 {
			t.Errorf("making a tenant over half a restore: %v", err)
		}
		if err := w.Resume(t.Context()); err != nil || w.tenant(t, "acme").State != tenancy.StateFailed {
			t.Errorf("the next start made %s of it: %v", w.tenant(t, "acme").State, err)
		}
	}
	if _, err := w.Restore(t.Context(), path, tenancy.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	if again := idsIn(t, w.Pool, w.tenant(t, "acme"), tenancy.Users); !slices.Equal(again, users) {
		t.Errorf("%d users, want %d", len(again), len(users))
	}
	cutOffAgain := w.tenant(t, "acme")
	if left, _ := filepath.Glob(filepath.Join(w.dir, "acme*.db")); len(left) != 1 || filepath.Base(left[0]) != cutOffAgain.Database+".db" {
		t.Errorf("files %v of %+v", left, cutOffAgain)
	}
}

// TestDeleteDuringBackup: who deletes a tenant does not wait for its backup.
func TestDeleteDuringBackup(t *testing.T) {
	w := openWorld(t)
	w.makeTwo(t, 600)
	dir := t.TempDir()
	deleted := make(chan error, 1)
	begun := false
	_, err := w.Backup(t.Context(), "acme", filepath.Join(dir, "acme"), func(tenancy.Progress) {
		if begun {
			return
		}
		begun = true
		go func() { deleted <- w.Delete(context.WithoutCancel(t.Context()), "acme") }()
		eventually(t, "the tenant is being deleted", func() bool {
			x, ok := w.Directory.ByID("acme")
			return !ok || x.State == tenancy.StateDeleting
		})
	})
	if err == nil || status(err) != 409 {
		t.Errorf("the backup ended with %v", err)
	}
	select {
	case err := <-deleted:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("deleting waits")
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left %v", fmt.Sprint(left))
	}
}

// momentless is a provider whose databases cannot be read at a moment.
type momentless struct{ tenancy.Provider }

func (p momentless) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	db, err := p.Provider.Open(ctx, loc)
	if err != nil {
		return nil, err
	}
	return struct{ tenancy.Database }{db}, nil
}

// TestBackupWithoutSnapshots: where there are none, readings are repeated until
// two agree. Two rows that are always written together are both in the backup, or
// neither.
func TestBackupWithoutSnapshots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tenants")
	w := newWorldOf(t, dir, masterSecret, map[string]tenancy.Provider{"": momentless{&sqlite.Provider{Dir: dir}}})
	if err := w.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	w.makeTwo(t, 400)
	path := filepath.Join(t.TempDir(), "acme")
	x := w.tenant(t, "acme")
	pairs := 0
	_, err := w.Backup(t.Context(), "acme", path, func(p tenancy.Progress) {
		if pairs == 0 && p.Done > 250 || pairs == 1 && p.Done > 300 { // between a first reading's pages, and a second's
			pairs++
			within(t, w.Pool, x, func(ctx context.Context) error {
				return tenancy.Commit(ctx,
					tenancy.Roles.Insert(ctx, &tenancy.Role{Row: tenancy.Row{ID: fmt.Sprintf("rol_pair%d", pairs)}, NameKey: fmt.Sprint(pairs)}),
					tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: tenancy.Row{ID: fmt.Sprintf("org_pair%d", pairs)}, Name: fmt.Sprint(pairs)}))
			})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	text := unpack(t, path)
	for n := 1; n <= pairs; n++ {
		role, org := strings.Contains(text, fmt.Sprintf(`"rol_pair%d"`, n)), strings.Contains(text, fmt.Sprintf(`"org_pair%d"`, n))
		if role != org {
			t.Errorf("pair %d: role %v, organization %v", n, role, org)
		}
	}
	if pairs == 0 {
		t.Error("nothing was written meanwhile")
	}
}
