package caddymodule

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/webhook"
)

// networks reads [App.PrivateNetworks].
func (a *App) networks() (list []netip.Prefix, err error) {
	for _, text := range a.PrivateNetworks {
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("private_networks: %q is no network such as 10.1.0.0/16", text)
		}
		list = append(list, p)
	}
	return list, nil
}

// outbound makes a client for addresses that tenants choose (contract C9.44).
func outbound(named []netip.Prefix, patience time.Duration) *http.Client {
	return webhook.NewClient(patience, "private_networks <networks>", func(to netip.Addr) bool {
		to = to.Unmap().WithZone("")
		return webhook.Public(to) || slices.ContainsFunc(named, func(p netip.Prefix) bool { return p.Contains(to) })
	})
}
