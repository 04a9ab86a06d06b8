package caddymodule

import (
	"context"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	caddy.RegisterModule(new(Storage))
}

// Storage keeps what Caddy stores, certificates above all, in the control plane's
// database, sealed like everything secret there. Nodes over one database share
// it, and take turns by locks in it.
//
// Caddy makes its storage before its apps, and some of these store things while
// they are provisioned. So the module has the app gatehouse provisioned first,
// and the database is reached when something is stored or looked up, before the
// app has started if it must be.
type Storage struct {
	storage *controlPlaneStorage
}

// CaddyModule implements [caddy.Module].
func (*Storage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.gatehouse", New: func() caddy.Module { return new(Storage) }}
}

// Provision implements [caddy.Provisioner].
func (s *Storage) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	s.storage = newStorage(app.runtime)
	return nil
}

// CertMagicStorage implements [caddy.StorageConverter].
func (s *Storage) CertMagicStorage() (certmagic.Storage, error) { return s.storage, nil }

// UnmarshalCaddyfile reads
//
//	storage gatehouse
func (*Storage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // gatehouse
	if d.NextArg() {
		return d.Errf("unexpected '%s': the storage gatehouse has no arguments", d.Val())
	}
	return noBlock(d)
}

// controlPlaneStorage is a [certmagic.Storage].
type controlPlaneStorage struct {
	*tenancy.FileStore
	runtime *runtime

	mu           sync.Mutex
	controlPlane *tenancy.Tenant // nil until reached
}

func newStorage(rt *runtime) *controlPlaneStorage {
	s := &controlPlaneStorage{runtime: rt}
	s.FileStore = &tenancy.FileStore{Enter: s.enter}
	return s
}

// enter enters the control plane, whose data key may have been replaced since the
// last time.
func (s *controlPlaneStorage) enter(ctx context.Context, create bool) (context.Context, func(), error) {
	if open := s.runtime.services.Load(); open != nil {
		return open.directory.EnterControlPlane(ctx)
	}
	cp, err := s.reach(ctx, create)
	if err != nil {
		return nil, nil, err
	}
	return s.runtime.store.pool.Enter(ctx, cp)
}

// reach finds the control plane before the app has started.
func (s *controlPlaneStorage) reach(ctx context.Context, create bool) (*tenancy.Tenant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.controlPlane != nil {
		return s.controlPlane, nil
	}
	rt := s.runtime
	if err := rt.store.open(newLog(rt)); err != nil {
		return nil, err
	}
	l := &tenancy.Lifecycle{Pool: rt.store.pool, Master: rt.store.master}
	cp, err := l.ReachControlPlane(ctx, rt.config.bootstrap(), create)
	if err == nil {
		s.controlPlane = cp
	}
	return cp, err
}

// Stat implements [certmagic.Storage].
func (s *controlPlaneStorage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	info, err := s.FileStore.Stat(ctx, key)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: info.Path, Modified: info.Modified.Time(), Size: info.Size, IsTerminal: info.IsFile}, nil
}

// String tells Caddy's logs what kind of storage it is.
func (*controlPlaneStorage) String() string { return "gatehouse" }

// Interface guards
var (
	_ caddy.Module           = (*Storage)(nil)
	_ caddy.Provisioner      = (*Storage)(nil)
	_ caddy.StorageConverter = (*Storage)(nil)
	_ caddyfile.Unmarshaler  = (*Storage)(nil)
	_ certmagic.Storage      = (*controlPlaneStorage)(nil)
	_ certmagic.TryLocker    = (*controlPlaneStorage)(nil)
)
