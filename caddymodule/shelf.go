package caddymodule

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// shelf keeps the directory in Caddy's storage, so that a start without the control
// plane's database knows whose host is whose. Where Caddy's storage is that same
// database, it is a file in the data directory.
type shelf struct {
	storage certmagic.Storage
	key     string
}

// shelf is that of a configuration, whose storage outlives it.
func (a *App) shelf() shelf {
	s := shelf{storage: a.ctx.Storage(), key: path.Join("gatehouse", a.hosts.BaseDomain, "directory")}
	if _, same := s.storage.(*controlPlaneStorage); same {
		s.storage = &certmagic.FileStorage{Path: a.Data}
	}
	return s
}

// shelf is that of the newest configuration: the storage of an older one may be
// closed.
func (rt *runtime) shelf() shelf { return *rt.keeps.Load() }

// keeper is the shelf of a runtime, whichever configuration is the newest.
type keeper struct{ runtime *runtime }

// Load implements [tenancy.Shelf].
func (k keeper) Load(ctx context.Context) ([]byte, error) {
	s := k.runtime.shelf()
	return s.storage.Load(ctx, s.key)
}

// Store implements [tenancy.Shelf].
func (k keeper) Store(ctx context.Context, value []byte) error {
	s := k.runtime.shelf()
	return s.storage.Store(ctx, s.key, value)
}

// How long a start waits for the control plane where it can do without, and
// between two attempts to open it afterwards.
const (
	openPatience = 5 * time.Second
	healEvery    = 2 * time.Second
)

// openControlPlane opens the control plane, and where its database does not answer
// and there was an earlier start, the directory as it was known last. missing
// reports that it is only this. A file is not waited for: one that is missing or
// damaged does not come back by itself.
func (s *services) openControlPlane(ctx context.Context, rt *runtime, log *slog.Logger) (missing bool, err error) {
	boot, kept := rt.config.bootstrap(), keeper{rt}
	_, none := kept.Load(ctx)
	if _, file := rt.store.placements[boot.Placement].(*sqlite.Provider); file {
		none = fs.ErrNotExist
	}
	within := ctx
	if none == nil {
		var stop context.CancelFunc
		within, stop = context.WithTimeout(ctx, openPatience)
		defer stop()
	}
	err = s.lifecycle.OpenControlPlane(within, boot)
	late := within.Err() != nil && ctx.Err() == nil
	if err == nil || none != nil || !late && !errors.Is(err, tenancy.ErrUnavailable) {
		return false, err
	}
	if recall := s.directory.Recall(ctx, kept, rt.store.master); recall != nil {
		return false, errors.Join(err, recall)
	}
	log.Error("the control plane's database does not answer: tenants are served as they were known last, until it does",
		"tenants", s.directory.Len(), "error", err)
	return true, nil
}

// heal opens the control plane once its database answers, and returns then, or
// when ctx ends.
func (s *services) heal(ctx context.Context, rt *runtime, log *slog.Logger) {
	for wait := time.Duration(0); ; wait = healEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := s.lifecycle.OpenControlPlane(ctx, rt.config.bootstrap())
		if err == nil {
			log.Info("the control plane's database answers again")
			return
		}
		if ctx.Err() == nil && !errors.Is(err, tenancy.ErrUnavailable) {
			log.Error("the control plane cannot be opened", "error", err)
		}
	}
}

// Interface guards
var _ tenancy.Shelf = keeper{}
