package caddymodule

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	operations = append(operations,
		operation{"GET /gatehouse/migrations", migrations},
		operation{"POST /gatehouse/migrations/run", migrate},
		operation{"POST /gatehouse/tenants/{id}/migrate", migrateTenant},
		operation{"POST /gatehouse/tenants/{id}/move", moveTenant},
		operation{"POST /gatehouse/tenants/{id}/backup", backUp},
		operation{"POST /gatehouse/tenants/{id}/export", export},
		operation{"POST /gatehouse/restore", restore},
		operation{"POST /gatehouse/import", importTenant},
	)
}

// dataWish is what work on a tenant's data may be told. Files are named as the
// server sees them, by absolute paths.
type dataWish struct {
	File      string `json:"file,omitempty"`
	Placement string `json:"placement,omitempty"`
	DropOld   bool   `json:"drop_old,omitempty"`  // move: not after a day
	Force     bool   `json:"force,omitempty"`     // restore: over a tenant that serves
	Secrets   bool   `json:"secrets,omitempty"`   // export
	Recipient string `json:"recipient,omitempty"` // export: who can read it
	Identity  string `json:"identity,omitempty"`  // import: the recipient's secret key
}

// wish reads a [dataWish]; file says whether it needs a file.
func (q *question) wish(file bool) (w dataWish, err error) {
	if err := q.body(&w); err != nil {
		return w, err
	}
	if file {
		w.File, err = absolute(w.File)
	}
	return w, err
}

func absolute(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return path, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "file has to be an absolute path, not %q", path)
	}
	return path, nil
}

// rows is report in the form that work on rows tells its progress in.
func (r *reporter) rows(p tenancy.Progress) {
	step := p.Step
	if p.Table != "" {
		step += " " + p.Table
	}
	r.report(progress{step, p.Done, p.Total})
}

func migrations(_ context.Context, s *services, _ *question) (any, error) {
	return s.upgrader.Status(), nil
}

// migrate upgrades every tenant's database now, failed ones that wait too.
func migrate(ctx context.Context, s *services, q *question) (any, error) {
	done := make(chan error, 1)
	go func() { done <- s.upgrader.Pass(ctx) }()
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return s.upgrader.Status(), err
		case <-tick.C:
			if now := s.upgrader.Status(); now.Total > 0 {
				q.steps("databases upgraded", int64(now.Done+now.Failed), int64(now.Total))
			}
		}
	}
}

func migrateTenant(ctx context.Context, s *services, q *question) (any, error) {
	if err := s.upgrader.One(ctx, q.id()); err != nil {
		return nil, err
	}
	return s.upgrader.Status(), nil
}

func moveTenant(ctx context.Context, s *services, q *question) (any, error) {
	w, err := q.wish(false)
	if err != nil {
		return nil, err
	}
	if err := s.lifecycle.Move(ctx, q.id(), tenancy.MoveOptions{Placement: w.Placement, DropOld: w.DropOld, Progress: q.rows}); err != nil {
		return nil, err
	}
	t, err := s.registered(q.id())
	return viewed(t, err)
}

func backUp(ctx context.Context, s *services, q *question) (any, error) {
	w, err := q.wish(false)
	if err != nil {
		return nil, err
	}
	if w.File == "" {
		path, info, err := s.lifecycle.BackupNow(ctx, q.id(), q.rows)
		return described(path, info, err)
	}
	if w.File, err = absolute(w.File); err != nil {
		return nil, err
	}
	info, err := s.lifecycle.Backup(ctx, q.id(), w.File, q.rows)
	return described(w.File, info, err)
}

// fileView is a file that was written.
type fileView struct {
	File   string    `json:"file"`
	Tenant string    `json:"tenant"`
	Taken  time.Time `json:"taken"`
	Rows   int64     `json:"rows"`
	Bytes  int64     `json:"bytes"`
}

func described(path string, info *tenancy.FileInfo, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return fileView{path, info.Tenant, info.Taken, info.Rows, info.Bytes}, nil
}

// export writes into a new file, which appears whole or not at all: a half one
// would stand in the way of the next export.
func export(ctx context.Context, s *services, q *question) (any, error) {
	w, err := q.wish(true)
	if err != nil {
		return nil, err
	}
	var info *tenancy.FileInfo
	err = tenancy.WriteNew(w.File, func(f *os.File) error {
		info, err = s.lifecycle.Export(ctx, q.id(), f, tenancy.ExportOptions{IncludeSecrets: w.Secrets, Recipient: w.Recipient, Progress: q.rows})
		return err
	})
	return described(w.File, info, err)
}

func restore(ctx context.Context, s *services, q *question) (any, error) {
	w, err := q.wish(true)
	if err != nil {
		return nil, err
	}
	t, err := s.lifecycle.Restore(ctx, w.File, tenancy.RestoreOptions{Placement: w.Placement, Force: w.Force, Progress: q.rows})
	if err != nil {
		return nil, err
	}
	s.prove(ctx, t.ID)
	return viewed(t, nil)
}

// prove looks for the proofs of a restored tenant's domains: where they still stand,
// the domains are ready at once. The others say themselves what is missing.
func (s *services) prove(ctx context.Context, tenant string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list, err := s.domains.List(ctx, tenant)
	for i := 0; err == nil && i < len(list); i++ {
		if list[i].Status == tenancy.DomainPending {
			_, _ = s.domains.Verify(ctx, tenant, list[i].ID)
		}
	}
}

func importTenant(ctx context.Context, s *services, q *question) (any, error) {
	w, err := q.wish(true)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(w.File)
	if err != nil {
		return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "The file cannot be read: %v", err)
	}
	defer f.Close()
	return viewed(s.lifecycle.Import(ctx, f, tenancy.ImportOptions{Placement: w.Placement, Identity: w.Identity, Progress: q.rows}))
}
