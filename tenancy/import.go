package tenancy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"filippo.io/age"
)

// ImportOptions say where an import goes.
type ImportOptions struct {
	// Placement is where the tenant's database goes. Default [Lifecycle.Placement].
	Placement string

	// Identity opens an export that was written for a recipient: the private half
	// of an X25519 key of age, "AGE-SECRET-KEY-1...".
	Identity string

	Progress func(Progress) // may be nil
}

// Import makes a new tenant from what [Lifecycle.Export] wrote (contract C8.18).
// Ids stay; with secrets in the export signing keys do too, sealed with a data key
// of the new tenant's own, so that tokens stay valid on the same host. The whole
// file is checked before anything is made. The tenant is provisioning until it has
// been verified; where the import fails it is failed, and the same import again,
// or deleting it, is what may be done with it.
//
// Errors: an [Error] 400 for a file that is no export, is not whole or cannot be
// opened, and 409 for one of a newer program and for a tenant that is there.
func (l *Lifecycle) Import(ctx context.Context, from io.Reader, o ImportOptions) (*Tenant, error) {
	if o.Placement == "" {
		o.Placement = l.Placement
	}
	target, err := l.Pool.engine(o.Placement)
	if err != nil {
		return nil, Errorf(http.StatusBadRequest, "invalid_body", "unknown placement '%s'", o.Placement)
	}
	file, err := spooled(from, o.Identity)
	if err != nil {
		return nil, err
	}
	defer file.close()
	var wish *Tenant
	err = file.read(func(r *fileReader) error {
		if r.head.Profile == nil {
			return errBroken("it has no profile")
		}
		p := r.head.Profile
		wish = &Tenant{
			Row: Row{ID: r.head.Tenant}, FriendlyName: p.FriendlyName, Audience: p.Audience, Metadata: p.Metadata,
			Inheritance: p.Inheritance, Sync: p.Sync, OrganizationID: NewID("org_", 16), CreatedBy: actor(ctx),
			State: StateProvisioning, Placement: o.Placement, Database: newDatabaseName(r.head.Tenant), ProvisioningStep: stepImport,
			DataKey: l.Master.NewDataKey(r.head.Tenant),
		}
		return r.check()
	})
	if err != nil {
		return nil, err
	}
	j, there, err := l.beginImport(ctx, wish)
	if err != nil {
		return nil, err
	}
	defer l.beat(ctx, j)()
	if err := l.carryIn(ctx, file, target, there, j, o.Progress); err != nil {
		return nil, l.importFailed(ctx, there, j, err)
	}
	there.State = StateActive
	return l.endRestore(ctx, there, Copy{Placement: there.Placement, Database: there.Database}, j)
}

// carryIn does everything between the reservation and the tenant's being active.
func (l *Lifecycle) carryIn(ctx context.Context, file *spool, target *engine, there *Tenant, j *journal, progress func(Progress)) error {
	v, err := l.Master.vault(there.ID, there.DataKey)
	if err != nil {
		return err
	}
	err = l.fill(ctx, target, there, func(sink *rawSink) error {
		loader := &rowLoader{sink: sink, progress: progress, step: stepImport, pulse: j.pulse(l.Directory)}
		return file.read(func(r *fileReader) error { return loader.load(ctx, r, v) })
	})
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return l.Pool.Do(ctx, there, l.Keys.EnsureKeys) },
		func(ctx context.Context) error { return l.link(ctx, there) },
		func(ctx context.Context) error {
			if l.Sync == nil {
				return nil
			}
			return l.Sync.Snapshot(ctx, there)
		},
		func(ctx context.Context) error {
			return l.Pool.Do(ctx, there, func(inside context.Context) error { return l.verifyBasics(inside, there) })
		},
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// beginImport takes the id, or takes up an import that failed.
func (l *Lifecycle) beginImport(ctx context.Context, wish *Tenant) (*journal, *Tenant, error) {
	if err := l.Directory.Hosts().ValidTenantID(wish.ID); err != nil {
		return nil, nil, Errorf(http.StatusBadRequest, "invalid_body", "%s", err)
	}
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	taken := Errorf(http.StatusConflict, "tenant_conflict", "Tenant with ID '%s' already exists", wish.ID)
	j := newOperation(OperationImport, wish, actor(ctx), OperationParams{})
	j.note(stepImport, "started", nil)
	switch now, err := Tenants.Get(inside, wish.ID); {
	case errors.Is(err, ErrNotFound):
		free := Require(inside, `NOT EXISTS (SELECT 1 FROM organizations WHERE tenant_id = @tenant AND name = ?)`, wish.ID) // contract C8.3
		n := l.notice(ctx, wish, "provisioning", j, byWay(stepImport))
		err = j.commit(inside, append(Deliver(inside, l.Webhooks, n), free, Tenants.Insert(inside, wish))...)
		if errors.Is(err, ErrConflict) {
			return nil, nil, taken
		}
		if err == nil {
			l.announce(n)
		}
		return j, wish, errors.Join(err, l.Directory.Refresh(ctx))
	case err != nil:
		return nil, nil, err
	case now.State != StateFailed || now.ProvisioningStep != stepImport:
		return nil, nil, taken
	default:
		if err := l.Pool.Drop(inside, now); err != nil {
			return nil, nil, err
		}
		wish.Row, wish.OrganizationID = now.Row, now.OrganizationID
		n := l.notice(ctx, wish, "provisioning", j, byWay(stepImport))
		err := j.commit(inside, append(Deliver(inside, l.Webhooks, n), Tenants.Replace(inside, wish))...)
		if errors.Is(err, ErrStale) {
			return nil, nil, taken
		}
		if err == nil {
			l.announce(n)
		}
		return j, wish, errors.Join(err, l.Directory.Refresh(ctx))
	}
}

func (l *Lifecycle) importFailed(ctx context.Context, there *Tenant, j *journal, cause error) error {
	cause = l.brokenOff(ctx, there, j, cause)
	return errors.Join(cause, l.halfImported(context.WithoutCancel(ctx), there))
}

// halfImported fails a tenant whose import ended early.
func (l *Lifecycle) halfImported(ctx context.Context, there *Tenant) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	failed := false
	n := l.notice(ctx, there, "failed", nil, map[string]any{"step": stepImport})
	_, err = Tenants.Update(inside, there.ID, func(t *Tenant) error {
		if failed = t.State == StateProvisioning && t.Database == there.Database; !failed {
			return ErrUnchanged // somebody else took it up
		}
		t.State, t.ProvisioningError = StateFailed, errHalf(stepImport).Error()
		return nil
	}, Deliver(inside, l.Webhooks, n)...)
	if err == nil && failed {
		l.announce(n)
	}
	return errors.Join(ignoreMissing(err), l.Directory.Refresh(ctx))
}

// endedImport fails a tenant whose import was cut off by the end of its process,
// once nobody is at it.
func (l *Lifecycle) endedImport(inside context.Context, t *Tenant) error {
	for {
		op, err := LastOperation(inside, t.ID)
		if err == nil && op.cancelled() && !op.alive(time.Now()) {
			return l.endCancelled(inside, &journal{op: op, written: time.Now()})
		}
		if err != nil || !op.alive(time.Now()) {
			return errors.Join(ignoreMissing(err), l.halfImported(inside, t))
		}
		select {
		case <-time.After(pulseEvery):
		case <-inside.Done():
			return inside.Err()
		}
	}
}

// load writes the file's rows, sealed for the tenant they come to, and then
// compares every table with what was written.
func (l *rowLoader) load(ctx context.Context, r *fileReader, v *vault) error {
	written := make(map[string]Sum)
	tables := make(map[string]*rawTable, len(r.order))
	list := make([]rawTable, len(r.order))
	for i := range r.order {
		list[i] = imported(r.order[i])
		tables[list[i].Name], written[list[i].Name] = &list[i], Sum{}
	}
	for {
		t, row, err := r.row()
		if err != nil {
			return err
		}
		if t == nil {
			break
		}
		covered, err := v.covered(l.sink.tenant, t, row)
		if err != nil {
			return err
		}
		to := tables[t.Name]
		sum := written[t.Name]
		sum.add(to.hash(covered, &r.buffer))
		written[t.Name] = sum
		if err := l.add(ctx, to, covered); err != nil {
			return err
		}
	}
	if err := l.flush(ctx); err != nil {
		return err
	}
	p := &picture{tables: list, step: "verify", progress: l.progress, pulse: func() error { return l.pulse(ctx) }}
	sums, err := p.read(ctx, &l.sink.rawSource, false)
	if err != nil {
		return err
	}
	for name, sum := range sums {
		if sum != written[name] {
			return fmt.Errorf("%w: table %s", errNotEqual, name)
		}
	}
	return nil
}

// spool is an export on this machine, as it came: what is encrypted stays so.
type spool struct {
	file     *os.File
	identity string
}

func spooled(from io.Reader, identity string) (*spool, error) {
	f, err := os.CreateTemp("", ".import-*") // for this user only
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name()) // a kill leaves nothing, where a file may be removed while it is open
	s := &spool{f, identity}
	if _, err := io.Copy(f, from); err != nil {
		s.close()
		return nil, fmt.Errorf("receiving the export: %w", err)
	}
	return s, nil
}

func (s *spool) close() { _, _ = s.file.Close(), os.Remove(s.file.Name()) }

// read reads the export from its beginning.
func (s *spool) read(use func(*fileReader) error) error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var from io.Reader = bufio.NewReader(s.file)
	if head, _ := from.(*bufio.Reader).Peek(32); strings.HasPrefix(string(head), "age-encryption.org/") {
		identity, err := age.ParseX25519Identity(s.identity)
		if err == nil {
			from, err = age.Decrypt(from, identity)
		}
		if err != nil {
			return &Error{
				Status: http.StatusBadRequest, Code: "invalid_file", Message: "The export is encrypted and this identity does not open it",
				Hint: "give the private key of the recipient it was written for, AGE-SECRET-KEY-1...", Cause: err,
			}
		}
	}
	r, err := newFileReader(from, exportFormat)
	if err != nil {
		return err
	}
	return use(r)
}
