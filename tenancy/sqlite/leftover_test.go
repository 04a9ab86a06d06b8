package sqlite

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestDropLeavesNoSecondName: a kill between a file's getting its name and losing
// its temporary one leaves the tenant's data under both. Dropping the tenant removes
// both, and nothing of a tenant whose name begins alike.
func TestDropLeavesNoSecondName(t *testing.T) {
	p := &Provider{Dir: t.TempDir()}
	path := func(name string) string { return filepath.Join(p.Dir, name) }
	for _, id := range []string{"acme", "acme-2"} {
		if err := p.Create(t.Context(), tenancy.Location{Tenant: id}); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(path(id+".db"), path(unfinished(path(id+".db"))+"123.db")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path(unfinished(path("acme.db"))+"456.db-wal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Drop(t.Context(), tenancy.Location{Tenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{".new-acme-2@123.db", "acme-2.db"}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
	if err := (&Provider{Dir: filepath.Join(p.Dir, "none")}).Drop(t.Context(), tenancy.Location{Tenant: "acme"}); err != nil {
		t.Errorf("where there is no directory yet: %v", err)
	}
}
