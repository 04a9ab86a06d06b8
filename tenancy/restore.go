package tenancy

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// RestoreOptions say how a backup comes back.
type RestoreOptions struct {
	// Placement is where the tenant's database goes. Default [Lifecycle.Placement].
	Placement string

	// Force lets the backup take the place of a tenant that is active or
	// suspended. What that one had is kept aside until the restore succeeded, and
	// then for a day.
	Force bool

	Progress func(Progress) // may be nil
}

// unfinished in Tenant.ProvisioningStep marks a tenant whose rows are half there:
// nothing but the same work again, or deleting it, may touch it.
const (
	stepRestore = "restore"
	stepImport  = "import"
)

// Restore brings a tenant back from a file that [Lifecycle.Backup] wrote on this
// installation. The whole file is checked before anything is touched. A tenant
// that is missing or failed is made from it, with its organization: those of its
// members come back who still are users of the control plane, with what they may do
// in it, and custom domains as claims to be verified. One that serves is replaced
// with Force only, in one step at the end, and its members and domains stay as they
// are now. Where a restore is cut off, a tenant that
// was missing is failed and says so: restore again, or delete it.
//
// Errors: an [Error] 400 for a file that is no backup or not whole, 409 for one of
// a newer program or another installation, and 409 for a tenant that is there.
func (l *Lifecycle) Restore(ctx context.Context, path string, o RestoreOptions) (*Tenant, error) {
	if o.Placement == "" {
		o.Placement = l.Placement
	}
	target, err := l.Pool.engine(o.Placement)
	if err != nil {
		return nil, Errorf(http.StatusBadRequest, "invalid_body", "unknown placement '%s'", o.Placement)
	}
	back, err := l.checkBackup(path, o.Progress)
	if err != nil {
		return nil, err
	}
	j, home, err := l.beginRestore(ctx, back, o)
	if err != nil {
		return nil, err
	}
	defer l.beat(ctx, j)()
	there := home.at(back)
	if now, ok := l.Directory.ByID(back.ID); ok {
		there.OrganizationID = now.OrganizationID
	}
	var linked linkedRows
	var tables map[string]*rawTable
	err = l.fill(ctx, target, there, func(sink *rawSink) (err error) {
		loader := &rowLoader{sink: sink, progress: o.Progress, step: stepRestore, pulse: j.pulse(l.Directory)}
		tables, linked, err = l.fillFrom(ctx, path, loader)
		return err
	})
	if err == nil {
		err = l.Pool.Do(ctx, there, func(inside context.Context) error { return l.verifyBasics(inside, there) })
	}
	if err == nil {
		err = l.relink(ctx, there, tables, linked)
	}
	if err != nil {
		return nil, l.brokenOff(ctx, there, j, err)
	}
	return l.endRestore(ctx, there, home, j)
}

// checkBackup reads the file to its end, and returns the tenant it holds.
func (l *Lifecycle) checkBackup(path string, progress func(Progress)) (*Tenant, error) {
	var back *Tenant
	err := readBackup(path, func(r *fileReader) error {
		if progress != nil {
			progress(Progress{Step: "check"})
		}
		var err error
		if back, err = tenantOf(r.head); err != nil {
			return err
		}
		if _, err := l.Master.vault(back.ID, back.DataKey); err != nil {
			return &Error{
				Status: http.StatusConflict, Code: "foreign_file", Message: "The backup is of another installation: its key cannot be opened with this master secret",
				Hint: "restore it where it was made, or export and import the tenant", Cause: err,
			}
		}
		return r.check()
	})
	return back, err
}

func readBackup(path string, use func(*fileReader) error) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return Errorf(http.StatusBadRequest, "invalid_file", "The file cannot be read: %s", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return Errorf(http.StatusBadRequest, "invalid_file", "The file is no %s", backupFormat)
	}
	r, err := newFileReader(unpacked, backupFormat)
	if err != nil {
		return err
	}
	return use(r)
}

// tenantOf is the registry row in a backup's head.
func tenantOf(head fileHead) (*Tenant, error) {
	t := &Tenant{Row: Row{ID: head.Tenant}}
	registry := registryTable()
	text := func(column string) (s string) {
		_ = json.Unmarshal(head.Registry[column], &s)
		return s
	}
	for _, c := range registry.Columns {
		if raw, ok := head.Registry[c.Name]; ok {
			if _, err := fromFile(c, raw); err != nil {
				return nil, errBroken("its registry row: %v", err)
			}
		}
	}
	if text("id") != head.Tenant {
		return nil, errBroken("its registry row is of another tenant")
	}
	t.FriendlyName, t.State, t.OrganizationID, t.Audience = text("friendly_name"), State(text("state")), text("organization_id"), text("audience")
	t.DataKey, t.CreatedBy, t.SuspendedReason = text("data_key"), text("created_by"), text("suspended_reason")
	_ = json.Unmarshal(head.Registry["suspended_at"], (*int64)(&t.SuspendedAt))
	_ = json.Unmarshal(head.Registry["created_at"], (*int64)(&t.CreatedAt))
	for column, into := range map[string]any{"metadata": &t.Metadata, "inheritance": &t.Inheritance, "sync": &t.Sync, "quotas": &t.Quotas} {
		if err := json.Unmarshal([]byte(text(column)), into); err != nil {
			return nil, errBroken("its registry row: column %s", column)
		}
	}
	if t.State != StateActive && t.State != StateSuspended {
		return nil, errBroken("its tenant is %q", t.State)
	}
	return t, nil
}

// beginRestore enters the restore in the registry and returns where the rows go.
func (l *Lifecycle) beginRestore(ctx context.Context, back *Tenant, o RestoreOptions) (*journal, Copy, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, Copy{}, err
	}
	defer leave()
	j := newOperation(OperationImport, back, actor(ctx), OperationParams{})
	j.note(stepRestore, "started", nil)
	home := Copy{Placement: o.Placement, Database: newDatabaseName(back.ID), Operation: j.op.ID, DropAt: At(time.Now().Add(copyKept))}
	now, err := Tenants.Get(inside, back.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		if err := l.Directory.Hosts().ValidTenantID(back.ID); err != nil {
			return nil, Copy{}, Errorf(http.StatusBadRequest, "invalid_body", "%s", err)
		}
		row := home.at(back)
		row.State, row.ProvisioningStep, row.ProvisioningError = StateFailed, stepRestore, errHalf(stepRestore).Error()
		err = j.commit(inside, Tenants.Insert(inside, row))
	case err != nil:
	case now.IsControlPlane():
		err = Errorf(http.StatusForbidden, "system_resource", "The control plane cannot be restored over")
	case now.State == StateFailed:
		err = l.restoreOverFailed(inside, now, back, home, j)
	case now.State == StateDeleting:
		err = &Error{
			Status: http.StatusConflict, Code: "tenant_conflict", Message: fmt.Sprintf("Tenant '%s' is being deleted", back.ID),
			Hint: "restore it once it is gone",
		}
	case now.State != StateActive && now.State != StateSuspended, !o.Force:
		err = &Error{
			Status: http.StatusConflict, Code: "tenant_conflict", Message: fmt.Sprintf("Tenant '%s' exists and is %s", back.ID, now.State),
			Hint: "force the restore to put the backup in its place, or delete the tenant first",
		}
	default:
		err = l.restoreBeside(inside, now, home, j)
	}
	if errors.Is(err, ErrConflict) {
		err = errMoving(back.ID)
	}
	return j, home, errors.Join(err, l.Directory.Refresh(ctx))
}

// restoreOverFailed removes what a failed creation or restore left.
func (l *Lifecycle) restoreOverFailed(inside context.Context, now, back *Tenant, home Copy, j *journal) error {
	if err := l.Pool.Drop(inside, now); err != nil {
		return err
	}
	_, err := Tenants.Update(inside, now.ID, func(t *Tenant) error {
		if t.State != StateFailed || t.Database != now.Database || t.Placement != now.Placement {
			return errMoving(now.ID)
		}
		row := home.at(back)
		row.Row, row.OrganizationID, row.Owner, row.Copies = t.Row, t.OrganizationID, t.Owner, t.Copies
		row.State, row.ProvisioningStep, row.ProvisioningError = StateFailed, stepRestore, errHalf(stepRestore).Error()
		*t = *row
		return nil
	}, j.stmts(inside)...)
	j.kept()
	return err
}

// restoreBeside has the rows written beside those that serve.
func (l *Lifecycle) restoreBeside(inside context.Context, now *Tenant, home Copy, j *journal) error {
	if begun, ok := now.incoming(); ok {
		if alive, err := moving(inside, begun); err != nil || alive {
			return errors.Join(err, errMoving(now.ID))
		}
		if err := l.dropCopy(inside, now, begun); err != nil {
			return err
		}
	}
	if err := l.clearTarget(inside, now, home.Placement); err != nil {
		return err
	}
	_, err := Tenants.Update(inside, now.ID, func(t *Tenant) error {
		if _, ok := t.incoming(); ok || movable(t) != nil {
			return errMoving(t.ID)
		}
		t.Copies = append(slices.Clone(t.Copies), home)
		return nil
	}, j.stmts(inside)...)
	j.kept()
	return err
}

// fill makes the database and has its rows written.
func (l *Lifecycle) fill(ctx context.Context, target *engine, there *Tenant, write func(*rawSink) error) (err error) {
	if err := target.provider.Create(ctx, there.Location()); err != nil {
		return err
	}
	db, err := target.provider.Open(ctx, there.Location())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return write(newSink(db, target.rebind, there.ID))
}

// fillFrom writes the file's rows and then compares every table with the file. It
// returns those of the control plane, with their tables.
func (l *Lifecycle) fillFrom(ctx context.Context, path string, loader *rowLoader) (tables map[string]*rawTable, linked linkedRows, err error) {
	linked = make(linkedRows)
	err = readBackup(path, func(r *fileReader) error {
		tables = r.tables
		for {
			t, row, err := r.row()
			if err != nil {
				return err
			}
			if t == nil {
				break
			}
			if strings.HasPrefix(t.Name, linkedPrefix) {
				linked[t.Name] = append(linked[t.Name], row)
				continue
			}
			if err := loader.add(ctx, t, row); err != nil {
				return err
			}
		}
		if err := loader.flush(ctx); err != nil {
			return err
		}
		p := &picture{tables: r.order, step: "verify", progress: loader.progress, pulse: func() error { return loader.pulse(ctx) }}
		sums, err := p.read(ctx, &loader.sink.rawSource, false)
		if err != nil {
			return err
		}
		for name, sum := range sums {
			if sum != r.sums[name] {
				return fmt.Errorf("%w: table %s", errNotEqual, name)
			}
		}
		return nil
	})
	return tables, linked, err
}

// pulse shows that the work goes on, and ends it where somebody else took it up.
func (j *journal) pulse(d *Directory) func(context.Context) error {
	return func(ctx context.Context) error {
		if time.Since(j.written) < pulseEvery {
			return nil
		}
		j.written = time.Now()
		inside, leave, err := d.EnterControlPlane(ctx)
		if err != nil {
			return nil // it goes on without
		}
		defer leave()
		if err := j.commit(inside); errors.Is(err, ErrStale) {
			return j.stale(inside)
		}
		return nil
	}
}

// errHalf is why a tenant whose rows are half there is not served.
func errHalf(step string) *Error {
	return &Error{
		Status: http.StatusConflict, Code: "tenant_conflict", Message: step + " was not finished; nothing else may be done with the tenant",
		Hint: "run the " + step + " again, or delete the tenant",
	}
}

// brokenOff records why the work ended. The tenant stays as it was, or failed.
func (l *Lifecycle) brokenOff(ctx context.Context, there *Tenant, j *journal, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return errors.Join(cause, err)
	}
	defer leave()
	if errors.Is(cause, errCancelled) {
		return errors.Join(cause, l.endCancelled(inside, j))
	}
	step := j.op.CurrentStep
	j.note(step, "failed", cause)
	j.finish(OperationFailed, step+": "+cause.Error())
	err = j.commit(inside)
	var shown *Error
	if errors.As(cause, &shown) {
		return cause
	}
	return &Error{
		Status: http.StatusServiceUnavailable, Code: step + "_failed", Message: fmt.Sprintf("The %s of tenant '%s' failed", step, there.ID),
		Hint: errHalf(step).Hint, More: map[string]string{"operation_id": j.id()}, Cause: errors.Join(cause, err),
	}
}

// endRestore has the tenant live in what was written, in one step.
func (l *Lifecycle) endRestore(ctx context.Context, there *Tenant, home Copy, j *journal) (*Tenant, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	n, err := l.broughtBack(ctx, inside, there.ID, j)
	if err != nil {
		return nil, err
	}
	j.note(j.op.CurrentStep, "succeeded", nil)
	j.finish(OperationSucceeded, "")
	before := j.revision()
	t, err := Tenants.Update(inside, there.ID, func(t *Tenant) error {
		if t.State == StateDeleting {
			return errMoveEnded
		}
		if _, beside := t.incoming(); beside {
			t.Copies = append(t.without(home), Copy{Placement: t.Placement, Database: t.Database, DropAt: At(time.Now().Add(copyKept))})
			t.Placement, t.Database, t.FenceFrom, t.FenceUntil = home.Placement, home.Database, 0, 0
		} else if t.Placement != home.Placement || t.Database != home.Database {
			return errMoveEnded
		}
		t.DataKey, t.State, t.ProvisioningStep, t.ProvisioningError = there.DataKey, there.State, "", ""
		t.FriendlyName, t.Audience, t.Metadata, t.Inheritance, t.Sync = there.FriendlyName, there.Audience, there.Metadata, there.Inheritance, there.Sync
		t.SuspendedAt, t.SuspendedReason = there.SuspendedAt, there.SuspendedReason
		return nil
	}, append(Deliver(inside, l.Webhooks, n), j.stmts(inside)...)...)
	if errors.Is(err, ErrStale) {
		j.undo(before)
		if errors.Is(j.asked(inside), errCancelled) {
			j.withdraw(j.op.CurrentStep)
			return nil, l.brokenOff(ctx, there, j, errCancelled)
		}
	}
	if err != nil {
		return nil, err
	}
	l.announce(n)
	l.record(ctx, t, map[string]string{stepRestore: "restored", stepImport: "imported"}[j.op.CurrentStep])
	return t, l.Directory.Refresh(ctx)
}

// broughtBack is the notice of a restore or an import that is about to end: the
// tenant is there, or is another where one served before.
func (l *Lifecycle) broughtBack(ctx, inside context.Context, id string, j *journal) (*Notice, error) {
	t, err := Tenants.Get(inside, id)
	if err != nil {
		return nil, err
	}
	what := "created"
	if t.State == StateActive || t.State == StateSuspended {
		what = "updated"
	}
	return l.notice(ctx, t, what, j, byWay(j.op.CurrentStep)), nil
}

// byWay says in a notice how a tenant came to be, where that is not the usual way.
func byWay(step string) map[string]any { return map[string]any{"by": step} }
