package webhook

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// inside are networks that are nobody's on the internet, beside those that
// netip knows (contract C9.44).
var inside = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),   // RFC 6598; some clouds' metadata
	netip.MustParsePrefix("192.0.0.0/24"),    // RFC 6890; some clouds' metadata
	netip.MustParsePrefix("198.18.0.0/15"),   // RFC 2544
	netip.MustParsePrefix("240.0.0.0/4"),     // RFC 1112
	netip.MustParsePrefix("64:ff9b::/96"),    // RFC 6052: any IPv4 address
	netip.MustParsePrefix("64:ff9b:1::/48"),  // RFC 8215
	netip.MustParsePrefix("2002::/16"),       // RFC 3056: any IPv4 address
	netip.MustParsePrefix("2001::/32"),       // RFC 4380: any IPv4 address
	netip.MustParsePrefix("fec0::/10"),       // RFC 3879
	netip.MustParsePrefix("::ffff:0:0:0/96"), // RFC 2765: any IPv4 address
}

// Public reports whether an address is one of the internet at large: not the own
// machine's, not of a private network, not link-local, where clouds have their
// metadata.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsUnspecified() || !a.IsGlobalUnicast() {
		return false
	}
	for _, p := range inside {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// newClient makes the client of an endpoint.
func newClient(allowPrivate bool) *http.Client {
	return NewClient(Patience, "hook <url> { allow_private }", func(a netip.Addr) bool { return allowPrivate || Public(a) })
}

// NewDialer makes a dialer that connects to such addresses only as may be. What
// counts is the address that is dialed: a name may mean another at every look.
// remedy is what allows others, for the error.
func NewDialer(remedy string, may func(netip.Addr) bool) *net.Dialer {
	return &net.Dialer{Timeout: 5 * time.Second, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil || !may(to.Addr()) {
			return fmt.Errorf("address %s is not public; allow it with: %s", address, remedy)
		}
		return nil
	}}
}

// NewClient makes a client for addresses that others choose: it follows no
// redirect, uses no proxy, waits for no answer longer than patience, and connects
// with [NewDialer] (contract C9.44).
func NewClient(patience time.Duration, remedy string, may func(netip.Addr) bool) *http.Client {
	d := NewDialer(remedy, may)
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DialContext: d.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: patience,
			MaxIdleConnsPerHost: workers, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
