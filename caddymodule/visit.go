package caddymodule

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// visitOf reads from a request what other packages may know of it: its host,
// normalised, and the issuer under it (contract C1.2, C1.3, C1.11). port is the
// public port; 0 takes the one the request names. The error is
// [tenancy.ErrInvalidHost].
func visitOf(r *http.Request, hosts *tenancy.Hosts, port int, requestID string) (*tenancy.Visit, error) {
	source, https := r.Host, r.TLS != nil
	if fromTrustedProxy(r) {
		source = firstOf(r.Header.Get("X-Forwarded-Host"), source)
		https = strings.EqualFold(firstOf(r.Header.Get("X-Forwarded-Proto"), scheme(https)), "https")
	}
	host, err := tenancy.NormalizeHost(source)
	if err != nil {
		return nil, err
	}
	named := strconv.Itoa(port)
	if port == 0 {
		if named, err = portOf(source); err != nil {
			return nil, err
		}
	}
	v := &tenancy.Visit{Host: host, UserAgent: r.UserAgent(), RequestID: requestID}
	v.ClientIP, _ = caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	// Plain http is for development on the own machine. Anywhere else https is
	// meant: a proxy that is not trusted took it off.
	v.Insecure = !https && isLoopback(host)
	v.Issuer = tenancy.Issuer(scheme(!v.Insecure), issuerHost(hosts, host), named)
	return v, nil
}

// issuerHost is the host in the issuer: the one asked for, except that reserved
// labels show the control plane under its own name (contract C1.6).
func issuerHost(hosts *tenancy.Hosts, host string) string {
	label, below := strings.CutSuffix(host, "."+hosts.BaseDomain)
	if below && hosts.IsReserved(label) && !slices.Contains(hosts.ControlPlaneHosts, host) {
		return hosts.PrimaryHost(hosts.ControlPlane)
	}
	return host
}

// fromTrustedProxy reports whether the peer is inside trusted_proxies, the only
// source of trust in forwarded headers. Caddy has judged it.
func fromTrustedProxy(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// firstOf is the first value of a list header, or instead where there is none.
func firstOf(header, instead string) string {
	first, _, _ := strings.Cut(header, ",")
	if first = strings.TrimSpace(first); first != "" {
		return first
	}
	return instead
}

func scheme(https bool) string {
	if https {
		return "https"
	}
	return "http"
}

// portOf returns the port behind a host that [tenancy.NormalizeHost] accepts,
// in its shortest form; "" where there is none.
func portOf(host string) (string, error) {
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || colon == len(host)-1 || strings.HasSuffix(host, "]") {
		return "", nil
	}
	n, err := strconv.ParseUint(host[colon+1:], 10, 16)
	if err != nil || n == 0 {
		return "", tenancy.ErrInvalidHost
	}
	return strconv.FormatUint(n, 10), nil
}

// isLoopback reports whether a normalised host means the own machine
// (RFC 6761 section 6.3 for names).
func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.IsLoopback()
}

// misdirected reports whether the connection was made for a host of somebody
// else than the tenant: with its certificate, and judged by its name wherever
// TLS is (RFC 9110 section 15.5.20). A client that named no host in TLS, and a
// proxy that is trusted, is judged by the request alone. tenantOf finds the tenant
// of a normalised host; nil is none, of the request too.
func misdirected(r *http.Request, t *tenancy.Tenant, tenantOf func(host string) *tenancy.Tenant) bool {
	if r.TLS == nil || r.TLS.ServerName == "" || fromTrustedProxy(r) {
		return false
	}
	if name, _, err := net.SplitHostPort(r.Host); (err == nil && name == r.TLS.ServerName) || r.Host == r.TLS.ServerName {
		return false
	}
	host, err := tenancy.NormalizeHost(r.TLS.ServerName)
	if err != nil {
		return true
	}
	other := tenantOf(host)
	return (other == nil) != (t == nil) || other != nil && other.ID != t.ID
}

// early reports whether a request came before its TLS handshake was finished, so
// that it may be somebody's recording (RFC 8470 section 5.2).
func early(r *http.Request) bool { return r.TLS != nil && !r.TLS.HandshakeComplete }
