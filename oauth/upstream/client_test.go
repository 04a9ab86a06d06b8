package upstream

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/oauth/upstream/upstreamtest"
)

// C9.44: a provider at an address that is not public is asked only in a network
// that is named, and only there without TLS.
func TestNetworks(t *testing.T) {
	t.Parallel()
	op := upstreamtest.Start(t, "client", "a secret")
	named := func(networks ...string) (list []netip.Prefix) {
		for _, n := range networks {
			list = append(list, netip.MustParsePrefix(n))
		}
		return list
	}
	if _, err := NewClient(named("10.1.0.0/16", "127.0.0.0/8")).discover(t.Context(), op.Issuer); err != nil {
		t.Errorf("in a network that is named: %v", err)
	}
	if _, err := NewClient(nil).discover(t.Context(), op.Issuer); !errors.Is(err, ErrNotConfigured) {
		t.Errorf("without TLS: %v", err)
	}
	// 192.0.2.1 is nobody's (RFC 5737); nothing is sent there, because HTTP stays inside.
	for _, issuer := range []string{op.Issuer, strings.Replace(op.Issuer, "http:", "https:", 1), "http://192.0.2.1"} {
		_, err := NewClient(named("10.1.0.0/16")).discover(t.Context(), issuer)
		if err == nil || !strings.Contains(err.Error(), "allow it with: private_networks <networks>") {
			t.Errorf("%s: %v", issuer, err)
		}
	}
}
