package tenancy_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// drawer is a shelf in memory.
type drawer struct{ value []byte }

func (d *drawer) Load(context.Context) ([]byte, error) {
	if d.value == nil {
		return nil, fs.ErrNotExist
	}
	return d.value, nil
}

func (d *drawer) Store(_ context.Context, value []byte) error {
	d.value = bytes.Clone(value)
	return nil
}

// TestDirectoryIsKept: what a directory knows is there again without the control
// plane, so far that tenants can be entered; it is sealed; and the registry is
// believed again when it can be read.
func TestDirectoryIsKept(t *testing.T) {
	e := newEstate(t)
	d := e.claim("acme", "login.example.net", true)
	e.publish(d)
	e.verify(d)
	if _, err := e.world.Suspend(t.Context(), "widgets", "late"); err != nil {
		t.Fatal(err)
	}
	shelf := new(drawer)
	recalled := tenancy.NewDirectory(e.Pool, e.world.Directory.Hosts())
	if err := recalled.Recall(t.Context(), shelf, e.world.Master); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("from an empty shelf: %v", err)
	}
	if err := e.world.Directory.Keep(t.Context(), shelf, e.world.Master); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"acme", "example", "login"} {
		if strings.Contains(string(shelf.value), secret) {
			t.Errorf("what is kept shows %q", secret)
		}
	}
	if err := recalled.Recall(t.Context(), shelf, e.world.Master); err != nil {
		t.Fatal(err)
	}
	if recalled.Stale() == nil {
		t.Error("what was recalled passes for what the registry says")
	}
	for host, want := range map[string]string{
		"auth.example.com": "control_plane", "acme.auth.example.com": "acme", "login.example.net": "acme", "widgets.auth.example.com": "widgets",
	} {
		found, ok := recalled.ByHost(host)
		known, _ := e.world.Directory.ByHost(host)
		if !ok || found.ID != want || found.State != known.State || found.DataKey != known.DataKey || found.Revision != known.Revision ||
			found.CreatedAt != known.CreatedAt || found.Location() != known.Location() || found.IsControlPlane() != known.IsControlPlane() {
			t.Errorf("%s: got %+v, want %+v", host, found, known)
		}
	}
	if _, ok := recalled.ByHost("nobody.auth.example.com"); ok {
		t.Error("an unknown host is somebody's")
	}
	if own, ok := recalled.DomainByHost("login.example.net"); !ok || own.Token != d.Token || !own.Primary || own.Type != d.Type {
		t.Errorf("domain %+v, want %+v", own, d)
	}
	if got := recalled.HostsOf("acme"); !slices.Equal(got, []string{"login.example.net", "acme.auth.example.com"}) {
		t.Errorf("hosts %v", got)
	}
	if org, ok := recalled.ByOrganization(found(t, recalled, "acme").OrganizationID); !ok || org.ID != "acme" {
		t.Error("its organization does not lead to acme")
	}

	if _, err := e.world.Update(t.Context(), "acme", func(row *tenancy.Tenant) error { row.FriendlyName = "Acme Ltd"; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := recalled.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := found(t, recalled, "acme").FriendlyName; got != "Acme Ltd" || recalled.Stale() != nil {
		t.Errorf("after a look at the registry: %q, %v", got, recalled.Stale())
	}

	other, err := tenancy.NewRing([]byte("another master secret, 256 bits long"))
	if err != nil {
		t.Fatal(err)
	}
	spoiled := &drawer{bytes.Clone(shelf.value)}
	spoiled.value[len(spoiled.value)/2] ^= 1
	fresh := tenancy.NewDirectory(e.Pool, e.world.Directory.Hosts())
	for name, err := range map[string]error{
		"another secret":  fresh.Recall(t.Context(), shelf, other),
		"a value altered": fresh.Recall(t.Context(), spoiled, e.world.Master),
		"nonsense":        fresh.Recall(t.Context(), &drawer{[]byte("{}")}, e.world.Master),
	} {
		if !errors.Is(err, tenancy.ErrSealed) {
			t.Errorf("%s: got %v, want ErrSealed", name, err)
		}
	}
	if fresh.Len() != 0 {
		t.Error("something was believed of it")
	}
}

func found(t *testing.T, d *tenancy.Directory, id string) *tenancy.Tenant {
	t.Helper()
	x, ok := d.ByID(id)
	if !ok {
		t.Fatalf("no tenant %s", id)
	}
	return x
}
