package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// stores holds what keeps data, by [App.storeKey]. It is apart from runtimes, so
// that a configuration which only changes how tenants are served goes on with
// the same open databases and the same memory of what is in them.
var stores = caddy.NewUsagePool()

// store is the databases and the key to what is secret in them. A new store is
// closed; it is safe for concurrent use.
type store struct {
	data       string
	secrets    []string
	placements map[string]tenancy.Provider
	limit      int
	limits     map[string]int

	mu     sync.Mutex
	master *tenancy.Ring // nil until opened
	pool   *tenancy.Pool
	unlock func()
}

// builtinPlacement is where the control plane is, and tenants where no database
// is configured. It stays when databases are configured later, so its name is
// taken.
const builtinPlacement = "sqlite"

func newStore(a *App) (*store, error) {
	s := &store{data: a.Data, secrets: a.Secret, limit: a.OpenDatabases, limits: a.OpenDatabasesIn, placements: map[string]tenancy.Provider{
		builtinPlacement: &sqlite.Provider{Dir: filepath.Join(a.Data, "tenants")},
	}}
	for _, d := range a.Database {
		provider, err := d.module.Provider()
		if err != nil {
			return nil, fmt.Errorf("database %s: %w", d.Name, err)
		}
		s.placements[d.Name] = provider
	}
	return s, nil
}

// open makes the data directory and the master secret where there is none, and
// takes the directory for this process. Once it has succeeded it does nothing.
func (s *store) open(log *slog.Logger) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pool != nil {
		return nil
	}
	if err := os.MkdirAll(s.data, 0o700); err != nil {
		return dataError(err)
	}
	unlock, err := lockDirectory(s.data)
	if err != nil {
		return err
	}
	master, err := s.ring()
	if err != nil {
		unlock()
		return err
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Placements: s.placements, Master: master, Limit: s.limit, Limits: s.limits, Log: log})
	if err != nil {
		unlock()
		return err
	}
	s.master, s.pool, s.unlock = master, pool, unlock
	return nil
}

// ring makes the key ring of the configured secrets, or of the file's.
func (s *store) ring() (*tenancy.Ring, error) {
	if len(s.secrets) == 0 {
		secret, err := fileSecret(s.data)
		if err != nil {
			return nil, err
		}
		return tenancy.NewRing(secret)
	}
	secrets := make([][]byte, len(s.secrets))
	for i, secret := range s.secrets {
		secrets[i] = []byte(secret)
	}
	return tenancy.NewRing(secrets...)
}

// Destruct implements [caddy.Destructor].
func (s *store) Destruct() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pool == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	errs := []error{s.pool.Close(ctx)}
	for _, p := range s.placements {
		if c, ok := p.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	s.unlock()
	return errors.Join(errs...)
}

// drainTime is how long requests of an old configuration may take to end before
// what they use is closed under them.
const drainTime = 30 * time.Second

// dataError says what to do about a data directory that cannot be used.
func dataError(err error) error {
	return fmt.Errorf("%w: make the data directory writable for this user, or name another one: gatehouse { data <directory> }", err)
}

// Interface guards
var _ caddy.Destructor = (*store)(nil)
