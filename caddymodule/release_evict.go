package caddymodule

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// evictPatience is how long certmagic has to drop a certificate from memory.
const evictPatience = 5 * time.Second

// evict drops the certificate of a host, on demand and for that host alone, from
// the memory that all configurations share.
//
// Caddy shows that memory to nobody. But certmagic drops a certificate by itself
// when it is due for renewal and its name is not permitted. So it is asked for the
// certificate, as by a handshake, under a policy of our own by which every
// certificate is due and no name permitted; the policy is not part of any
// configuration, and no other handshake sees it.
func evict(ctx context.Context, automatic *caddytls.TLS, host string) error {
	if !held(host) {
		return nil
	}
	w := new(window)
	if err := (&caddytls.AutomationPolicy{Issuers: []certmagic.Issuer{w}}).Provision(automatic); err != nil {
		return err
	}
	cfg := w.config
	cfg.RenewalWindowRatio, cfg.DisableARI, cfg.OCSP.DisableStapling = 2, true, true
	cfg.Storage, cfg.OnEvent, cfg.Logger = onlyOf{cfg.Storage, host}, nil, zap.NewNop()
	cfg.OnDemand = &certmagic.OnDemandConfig{DecisionFunc: func(context.Context, string) error { return caddytls.ErrPermissionDenied }}

	ctx, cancel := context.WithTimeout(ctx, evictPatience)
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for held(host) {
		// Which error it is does not matter: what is held afterwards does.
		_, _ = cfg.GetCertificateWithContext(ctx, &tls.ClientHelloInfo{
			ServerName: host, SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12},
			SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.Ed25519, tls.PSSWithSHA256},
			SupportedCurves:  []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384},
		})
		select { // certmagic drops it beside
		case <-ctx.Done():
			return fmt.Errorf("the certificate of %s stays in memory: %w", host, context.Cause(ctx))
		case <-look.C:
		}
	}
	return nil
}

// window is an issuer that issues nothing. It is shown its policy's configuration.
type window struct{ config *certmagic.Config }

// SetConfig implements [caddytls.ConfigSetter].
func (w *window) SetConfig(c *certmagic.Config) { w.config = c }

// IssuerKey implements [certmagic.Issuer].
func (*window) IssuerKey() string { return "gatehouse-release" }

// Issue implements [certmagic.Issuer].
func (*window) Issue(context.Context, *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	return nil, errors.New("nothing is issued here")
}

// onlyOf is a storage that seems to have the certificate of a host and no other:
// one that covers the host and more, such as a wildcard, is never dropped.
type onlyOf struct {
	certmagic.Storage
	host string
}

// Exists implements [certmagic.Storage].
func (s onlyOf) Exists(_ context.Context, key string) bool {
	issuer := (*window).IssuerKey(nil)
	return slices.Contains([]string{
		certmagic.StorageKeys.SiteCert(issuer, s.host), certmagic.StorageKeys.SitePrivateKey(issuer, s.host), certmagic.StorageKeys.SiteMeta(issuer, s.host),
	}, key)
}

// names reports whether the configuration itself names a host, so that Caddy keeps
// a certificate for it whoever's it is.
func (a *App) names(host string) bool {
	if loaded, err := a.ctx.AppIfConfigured("tls"); err == nil {
		if automatic, ok := loaded.(*caddytls.TLS); ok && automatic.Automation != nil {
			for _, p := range automatic.Automation.Policies {
				if slices.Contains(p.Subjects(), host) {
					return !p.OnDemand
				}
			}
		}
	}
	loaded, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return false
	}
	served, ok := loaded.(*caddyhttp.App)
	if !ok {
		return false
	}
	for _, server := range served.Servers {
		for _, route := range server.Routes {
			for _, set := range route.MatcherSets {
				for _, m := range set {
					if hosts, ok := m.(*caddyhttp.MatchHost); ok && slices.Contains(*hosts, host) {
						return true
					}
				}
			}
		}
	}
	return false
}

// Interface guards
var (
	_ certmagic.Issuer      = (*window)(nil)
	_ caddytls.ConfigSetter = (*window)(nil)
	_ certmagic.Storage     = onlyOf{}
)
