package caddymodule

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
)

// releaser gives up the certificates of hosts that are nobody's any more, or
// somebody else's: this node's memory of them and what is stored, so that whoever
// gets the name gets a certificate, and a key, of his own. Every node does so for
// itself when its directory learns of it.
type releaser struct {
	runtime  *runtime
	services *services
	log      *slog.Logger

	mu   sync.Mutex
	due  map[string]time.Time // by host
	wake chan struct{}
}

// An order that was under way when its name left is done by certmagic's own
// limit, three minutes, and is released then. What failed is tried again.
const (
	releaseAgain = 4 * time.Minute
	releaseRetry = 10 * time.Second
)

// sweepAge is how old a certificate is, at least, that a start releases of a
// tenant it does not know: another node may have made the tenant just now.
const sweepAge = time.Hour

func newReleaser(rt *runtime, s *services, log *slog.Logger) *releaser {
	return &releaser{runtime: rt, services: s, log: log, due: map[string]time.Time{}, wake: make(chan struct{}, 1)}
}

// push asks for hosts to be released now; it does not wait.
func (r *releaser) push(hosts []string) {
	r.mu.Lock()
	for _, h := range hosts {
		r.due[h] = time.Time{}
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run releases until ctx ends.
func (r *releaser) Run(ctx context.Context) {
	r.sweep(ctx)
	for {
		wait := r.work(ctx)
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-time.After(wait):
		}
	}
}

// work releases what is due and returns after how long something will be again.
func (r *releaser) work(ctx context.Context) (wait time.Duration) {
	wait = time.Hour
	r.mu.Lock()
	due := make(map[string]time.Time, len(r.due))
	for host, at := range r.due {
		if left := time.Until(at); left > 0 {
			wait = min(wait, left)
			continue
		}
		due[host] = at
		delete(r.due, host)
	}
	r.mu.Unlock()
	issuers, listed := r.issuers(ctx, len(due))
	for host, at := range due {
		next := time.Time{}
		if err := errors.Join(listed, r.release(ctx, host, issuers)); err != nil {
			if ctx.Err() != nil {
				return 0
			}
			r.log.Warn("a certificate could not be released; it is tried again", "host", host, "error", err)
			next = time.Now().Add(releaseRetry)
		} else if at.IsZero() {
			next = time.Now().Add(releaseAgain)
		}
		if next.IsZero() {
			continue
		}
		r.mu.Lock()
		if _, again := r.due[host]; !again {
			r.due[host] = next
		}
		r.mu.Unlock()
		wait = min(wait, time.Until(next))
	}
	return max(wait, 0)
}

// issuers are those that something is stored of. Where nothing is due, none are.
func (r *releaser) issuers(ctx context.Context, due int) ([]string, error) {
	app := r.runtime.newest()
	if app == nil || due == 0 {
		return nil, nil
	}
	paths, err := app.ctx.Storage().List(ctx, "certificates", false)
	for i := range paths {
		paths[i] = path.Base(paths[i])
	}
	return paths, unlessMissing(err)
}

// release releases a host, in the newest configuration. Its error is the
// storage's.
func (r *releaser) release(ctx context.Context, host string, issuers []string) error {
	app := r.runtime.newest()
	if app == nil || app.names(host) {
		return nil
	}
	// Storage first: what is in memory would otherwise be loaded from it again.
	if err := r.unstore(ctx, app.ctx.Storage(), host, issuers); err != nil {
		return err
	}
	loaded, err := app.ctx.AppIfConfigured("tls")
	if err != nil {
		return nil // no certificates at all
	}
	if automatic, ok := loaded.(*caddytls.TLS); ok {
		// One that stays was not had automatically: it is a file somebody named.
		if err := evict(ctx, automatic, host); err != nil && ctx.Err() == nil {
			r.log.Warn("a certificate could not be dropped from memory", "host", host, "error", err)
		}
	}
	return nil
}

// ownedSince is since when a host is somebody's who gets certificates; zero where
// it is not.
func (r *releaser) ownedSince(host string) time.Time {
	if !r.services.certifies(host) {
		return time.Time{}
	}
	if d, ok := r.services.directory.DomainByHost(host); ok {
		return d.CreatedAt.Time()
	}
	if t, ok := r.services.directory.ByHost(host); ok {
		return t.CreatedAt.Time()
	}
	return time.Time{}
}

// unstore deletes what is stored of a host's certificates; of a host that is
// somebody's only what is older than that.
func (r *releaser) unstore(ctx context.Context, storage certmagic.Storage, host string, issuers []string) error {
	since := r.ownedSince(host)
	var errs []error
	for _, issuer := range issuers {
		info, err := storage.Stat(ctx, certmagic.StorageKeys.SiteCert(issuer, host))
		if err != nil || !since.IsZero() && !info.Modified.Before(since) {
			errs = append(errs, unlessMissing(err))
			continue
		}
		err = storage.Delete(ctx, certmagic.StorageKeys.CertsSitePrefix(issuer, host))
		if errs = append(errs, unlessMissing(err)); err == nil {
			r.log.Info("the certificate of a host that is gone was released", "host", host, "issuer", issuer)
		}
	}
	return errors.Join(errs...)
}

func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sweep releases stored certificates of tenants' hosts below the base domain that
// left while no node was there to see it.
func (r *releaser) sweep(ctx context.Context) {
	app := r.runtime.newest()
	if app == nil || r.services.missing {
		return
	}
	storage := app.ctx.Storage()
	paths, err := storage.List(ctx, "certificates", true)
	if err != nil {
		if unlessMissing(err) != nil && ctx.Err() == nil {
			r.log.Warn("stored certificates could not be looked at", "error", err)
		}
		return
	}
	below := "." + app.hosts.BaseDomain
	for _, p := range paths {
		host, ok := strings.CutSuffix(path.Base(p), ".crt")
		if !ok || !strings.HasSuffix(host, below) || strings.HasPrefix(host, "wildcard_") || r.services.certifies(host) {
			continue
		}
		if info, err := storage.Stat(ctx, p); err == nil && time.Since(info.Modified) > sweepAge {
			r.push([]string{host})
		}
	}
}

// held reports whether a certificate for the host alone is in memory.
func held(host string) bool {
	return slices.ContainsFunc(caddytls.AllMatchingCertificates(host), func(c certmagic.Certificate) bool {
		return len(c.Names) == 1 && c.Names[0] == host
	})
}
