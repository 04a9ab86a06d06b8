package tenancy

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

const backupFormat = "gatehouse-backup"

// FileInfo says what a file of a tenant's rows holds.
type FileInfo struct {
	Tenant string
	Taken  time.Time
	Rows   int64
	Bytes  int64 // size of the file
}

// Backup writes everything a tenant has into a new file that only this user may
// read, as it was at one moment, while the tenant serves; and behind it what the
// control plane has of it then: its organization with members, roles and
// permissions in it, and its custom domains. Secrets are in it as
// they are stored, sealed with the tenant's data key, and that key as the
// registry has it, sealed with the master key: the file is of use to whoever has
// that one, and deleting the tenant does not make it unreadable.
//
// The file appears whole or not at all, and never in place of another one.
// Errors: [ErrNotFound], an [Error] 403 for the control plane, 409 for a tenant
// that is not active or suspended, and for a path that is taken.
func (l *Lifecycle) Backup(ctx context.Context, id, path string, progress func(Progress)) (*FileInfo, error) {
	t, head, err := l.backupHead(ctx, id)
	if err != nil {
		return nil, err
	}
	info := &FileInfo{Tenant: id, Taken: head.At.Time()}
	err = WriteNew(path, func(f *os.File) error {
		err := l.Pool.Do(ctx, t, func(inside context.Context) error { return l.fillBackup(inside, t, head, f, info, progress) })
		if err != nil {
			return fmt.Errorf("backing tenant %s up: %w", id, err)
		}
		info.Bytes, err = f.Seek(0, io.SeekEnd)
		return err
	})
	if err != nil {
		return nil, err
	}
	return info, nil
}

// backupHead reads the tenant's registry row as it is stored, without what says
// where the tenant is.
func (l *Lifecycle) backupHead(ctx context.Context, id string) (*Tenant, *fileHead, error) {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	t, err := Tenants.Get(inside, id)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case t.IsControlPlane():
		return nil, nil, &Error{
			Status: http.StatusForbidden, Code: "system_resource", Message: "The control plane is not backed up as a tenant",
			Hint: "back its database up by the means of its engine",
		}
	case t.State != StateActive && t.State != StateSuspended:
		return nil, nil, Errorf(http.StatusConflict, "tenant_conflict", "Tenant '%s' is %s", id, t.State)
	}
	s, err := spaceOf(inside)
	if err != nil {
		return nil, nil, err
	}
	registry := registryTable()
	rows, err := (&rawSource{s.entry.db, s.entry.engine.rebind, s.tenant.ID}).page(inside, &registry, id, true)
	if err != nil || len(rows) == 0 || registry.keyOf(rows[0]) != id {
		return nil, nil, errors.Join(err, ErrNotFound)
	}
	head := &fileHead{
		Format: backupFormat, Version: 1, Schema: migrations.Version, Tenant: id, At: At(time.Now()),
		Tables: columnsOf(rawTables()), Linked: make(map[string][]string), Registry: make(map[string]json.RawMessage),
	}
	for _, t := range linkedTables() {
		maps.Copy(head.Linked, columnsOf([]rawTable{t.rawTable}))
	}
	for i, c := range registry.Columns {
		if head.Registry[c.Name], err = json.Marshal(portable(rows[0][i])); err != nil {
			return nil, nil, err
		}
	}
	return t, head, nil
}

// registryTable is the registry with those columns that go with a tenant.
func registryTable() rawTable {
	for _, t := range rawTables() {
		if t.Name == Tenants.Name() {
			t.Columns = slices.DeleteFunc(slices.Clone(t.Columns), func(c migrations.Column) bool {
				return slices.Contains([]string{"placement", "database", "fence_from", "fence_until", "copies", "revision", "provisioning_step", "provisioning_error"}, c.Name)
			})
			return t.arranged()
		}
	}
	panic("tenancy: the schema has no registry")
}

func (l *Lifecycle) fillBackup(inside context.Context, t *Tenant, head *fileHead, f *os.File, info *FileInfo, progress func(Progress)) error {
	var packed *gzip.Writer
	var w *fileWriter
	p := &picture{tables: rawTables(), step: "backup", progress: progress, pulse: func() error { return l.stillThere(inside, t) }}
	p.begin = func() (func(*rawTable, rawRow) error, error) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if err := f.Truncate(0); err != nil {
			return nil, err
		}
		var err error
		packed = gzip.NewWriter(f)
		info.Rows = 0
		w, err = newFileWriter(packed, head)
		return func(t *rawTable, r rawRow) error { info.Rows++; return w.row(t, r) }, err
	}
	if err := p.take(inside); err != nil {
		return err
	}
	err := l.writeLinked(inside, t, func(t *rawTable, r rawRow) error { info.Rows++; return w.row(t, r) })
	if err != nil {
		return err
	}
	return errors.Join(w.close(), packed.Close())
}

// stillThere returns an error once the tenant is being deleted: who deletes it
// waits for everybody inside to leave.
func (l *Lifecycle) stillThere(ctx context.Context, t *Tenant) error {
	now, ok := l.Directory.ByID(t.ID)
	if !ok || now.State == StateDeleting || now.DataKey != t.DataKey {
		return Errorf(http.StatusConflict, "tenant_conflict", "Tenant '%s' is being deleted", t.ID)
	}
	return ctx.Err()
}
