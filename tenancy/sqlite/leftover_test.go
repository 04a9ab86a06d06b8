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
// both, also where this process has made no file, and nothing of another tenant.
func TestDropLeavesNoSecondName(t *testing.T) {
	dir := t.TempDir()
	for _, id := range []string{"acme", "acme-2"} {
		if err := (&Provider{Dir: dir}).Create(t.Context(), tenancy.Location{Tenant: id}); err != nil {
			t.Fatal(err)
		}
	}
	part, err := tenancy.CreatePart(dir)
	if err != nil {
		t.Fatal(err)
	}
	second := part.Name()
	for _, err := range []error{part.Close(), os.Remove(second), os.Link(filepath.Join(dir, "acme.db"), second)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := (&Provider{Dir: dir}).Drop(t.Context(), tenancy.Location{Tenant: "acme"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"acme-2.db"}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
	if err := (&Provider{Dir: filepath.Join(dir, "none")}).Drop(t.Context(), tenancy.Location{Tenant: "acme"}); err != nil {
		t.Errorf("where there is no directory yet: %v", err)
	}
}
