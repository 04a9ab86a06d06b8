package oauth

import (
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestSelfCheck: C8.5 step 11. A tenant passes by its own keys, and one without a
// key for ID tokens, or whose keys cannot be read, does not.
func TestSelfCheck(t *testing.T) {
	f := newFixture(t)
	for _, id := range tenantIDs {
		if err := f.server.SelfCheck(f.in(id)); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	f.must(tenancy.Commit(f.in("acme"), tenancy.SQL(f.in("acme"), `UPDATE signing_keys SET revoked_at = 1 WHERE tenant_id = @tenant AND alg = 'RS256'`).Settled()))
	if err := f.server.SelfCheck(f.in("acme")); err == nil || !strings.Contains(err.Error(), "RS256") {
		t.Errorf("without a key for ID tokens: %v", err)
	}
	if err := f.server.SelfCheck(t.Context()); err == nil {
		t.Error("outside of any tenant it passed")
	}
}
