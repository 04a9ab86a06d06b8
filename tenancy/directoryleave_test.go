package tenancy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestDirectoryTellsWhoLeft: hosts that are nobody's any more, or somebody else's,
// are told at the next look; changes that leave a host whose it was are not.
func TestDirectoryTellsWhoLeft(t *testing.T) {
	e := newEstate(t)
	other := tenancy.NewDirectory(e.Pool, e.world.Directory.Hosts())
	var left []string
	other.OnLeave(func(hosts []string) { left = append(left, hosts...) })
	if err := other.Open(t.Context(), e.world.Directory.ControlPlane()); err != nil {
		t.Fatal(err)
	}
	const domain = "login.example.net"
	var d *tenancy.CustomDomain
	ready := func(tenant string) {
		d = e.claim(tenant, domain, true)
		e.publish(d)
		d = e.verify(d)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	remake := func(id string) {
		t.Helper()
		check(e.world.Delete(t.Context(), id))
		_, err := e.world.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: id})
		check(err)
	}
	for _, step := range []struct {
		what string
		do   func()
		want string
	}{
		{"a domain becomes ready", func() { ready("acme") }, ""},
		{"it is no longer primary", func() {
			_, err := e.Domains.Update(t.Context(), "acme", d.ID, func(d *tenancy.CustomDomain) error { d.Primary = false; return nil })
			check(err)
		}, ""},
		{"a tenant is suspended", func() { _, err := e.world.Suspend(t.Context(), "widgets", "late"); check(err) }, ""},
		{"the domain is removed", func() { check(e.Domains.Delete(t.Context(), "acme", d.ID)) }, domain},
		{"it goes to somebody else between two looks", func() {
			ready("acme")
			check(other.Refresh(t.Context()))
			check(e.Domains.Delete(t.Context(), "acme", d.ID))
			ready("widgets")
		}, domain},
		{"its tenant is made anew between two looks", func() { remake("widgets") }, domain + " widgets.auth.example.com"},
		{"a tenant is deleted", func() { check(e.world.Delete(t.Context(), "acme")) }, "acme.auth.example.com"},
		{"nothing happens", func() {}, ""},
	} {
		left = nil
		step.do()
		check(other.Refresh(t.Context()))
		slices.Sort(left)
		if got := strings.Join(slices.Compact(left), " "); got != step.want {
			t.Errorf("%s: %q left, want %q", step.what, got, step.want)
		}
	}
}
