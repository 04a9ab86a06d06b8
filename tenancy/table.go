package tenancy

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// Table reads and writes the rows of one kind of entity in the entered tenant.
// T embeds [Row]. A Table holds no connection and is safe for concurrent use.
type Table[T any] struct {
	name    string
	schema  *schema.Schema
	insert  string
	replace string
	settled bool
	access  bool
	mark    func(id string) (kind, entity string)
}

// tableOption sets what else happens when rows of a table change.
type tableOption func(*tableSpec)

type tableSpec struct {
	settled bool
	access  bool
	mark    func(id string) (kind, entity string)
}

// configuration marks rows that are read through [Cached].
func configuration() tableOption { return func(s *tableSpec) { s.settled = true } }

// access marks rows whose removal ends somebody's access, see [Endings].
func access() tableOption { return func(s *tableSpec) { s.access = true } }

// logged marks rows whose changes on the control plane go into the change log
// under kind; entity finds the entity's id in the row's.
func logged(kind string, entity func(id string) string) tableOption {
	return func(s *tableSpec) {
		s.mark = func(id string) (string, string) { return kind, entity(id) }
	}
}

func sameID(id string) string { return id }

// firstID is the first of the ids that a link joins.
func firstID(id string) string {
	first, _, _ := strings.Cut(id, linkSeparator)
	return first
}

// newTable describes the table called name. It panics where T is no entity,
// which any test finds.
func newTable[T any](name string, options ...tableOption) *Table[T] {
	if _, ok := any(new(T)).(Entity); !ok {
		panic(fmt.Sprintf("tenancy: %T embeds no Row", *new(T)))
	}
	registerSerializers()
	parsed, err := schema.Parse(new(T), &parsedSchemas, naming)
	if err != nil {
		panic(fmt.Sprintf("tenancy: table %s: %v", name, err))
	}
	var spec tableSpec
	for _, o := range options {
		o(&spec)
	}
	t := &Table[T]{name: name, schema: parsed, settled: spec.settled, access: spec.access, mark: spec.mark}
	noteSealed(name, parsed)
	columns := parsed.DBNames
	t.insert = fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s)",
		name, strings.Join(columns, ", "), strings.Repeat(", ?", len(columns)-1))
	t.replace = fmt.Sprintf("UPDATE %s SET %s = ? WHERE tenant_id = ? AND id = ? AND revision = ?",
		name, strings.Join(columns, " = ?, "))
	return t
}

var parsedSchemas sync.Map

// Name is the table's name in the database.
func (t *Table[T]) Name() string { return t.name }

// Get returns the row with the id, or [ErrNotFound].
func (t *Table[T]) Get(ctx context.Context, id string) (*T, error) {
	return t.First(ctx, "id = ?", id)
}

// First returns one row for which the condition holds, or [ErrNotFound]. Use
// it with the columns of a unique index.
func (t *Table[T]) First(ctx context.Context, where string, args ...any) (*T, error) {
	list, err := t.Find(ctx, Filter{Where: where, Args: args, Limit: 1})
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrNotFound
	}
	return &list[0], nil
}

// Filter says which rows are meant, and in which order. The zero Filter means
// all rows, in the order of their ids.
type Filter struct {
	Where  string // SQL condition with "?" for Args; the tenant is added to it
	Args   []any
	Order  string // SQL order; always make it total by ending in id
	Limit  int    // 0 means no limit
	Offset int
}

// Find returns the rows the filter means; none is an empty list. A context that
// ends meanwhile is an error, also where the driver does not say that the list is
// cut short: what is not there must not be taken for what was not read.
func (t *Table[T]) Find(ctx context.Context, f Filter) ([]T, error) {
	q, err := t.query(ctx, f)
	if err != nil {
		return nil, err
	}
	order := f.Order
	if order == "" {
		order = "id"
	}
	q = q.Order(order)
	if f.Limit > 0 {
		q = q.Limit(f.Limit)
	}
	if f.Offset > 0 {
		q = q.Offset(f.Offset)
	}
	var list []T
	if err := errors.Join(q.Find(&list).Error, ctx.Err()); err != nil {
		return nil, err
	}
	return list, nil
}

// Count returns how many rows the filter's condition holds for.
func (t *Table[T]) Count(ctx context.Context, f Filter) (int64, error) {
	q, err := t.query(ctx, f)
	if err != nil {
		return 0, err
	}
	var n int64
	err = errors.Join(q.Count(&n).Error, ctx.Err())
	return n, err
}

// query begins a GORM statement over the table. It is GORM's untyped form: its
// generic one would be compiled again for each entity, which makes this package
// take a minute to build, and adds no check that Table has not made.
func (t *Table[T]) query(ctx context.Context, f Filter) (*gorm.DB, error) {
	s, err := spaceOf(ctx)
	if err != nil {
		return nil, err
	}
	q := s.entry.engine.gorm.WithContext(ctx).Model(new(T)).Table(t.name)
	if f.Where != "" {
		q = q.Where(f.Where, f.Args...)
	}
	return q, nil
}

// Create stores a new row and fills in its tenant, revision and times. The
// further statements are part of the same batch. An id or other unique value
// that is taken gives [ErrConflict].
func (t *Table[T]) Create(ctx context.Context, row *T, also ...Stmt) error {
	return Commit(ctx, append([]Stmt{t.Insert(ctx, row)}, also...)...)
}

// Insert is the statement of [Table.Create], for a batch with others.
func (t *Table[T]) Insert(ctx context.Context, row *T) Stmt {
	s, err := spaceOf(ctx)
	if err != nil {
		return Stmt{err: err}
	}
	meta := any(row).(Entity).Meta()
	if meta.ID == "" {
		return Stmt{err: fmt.Errorf("new row of %s has no id", t.name)}
	}
	now := At(time.Now())
	meta.TenantID, meta.Revision, meta.UpdatedAt = s.tenant.ID, 1, now
	if meta.CreatedAt == 0 {
		meta.CreatedAt = now
	}
	return t.finish(meta.ID, Stmt{SQL: s.entry.engine.rebind(t.insert), Args: t.values(ctx, row), Rows: 1})
}

// Update reads the row, has it altered and stores it if nobody else did
// meanwhile; otherwise it starts over, so alter may run several times and must
// have no other effects. A row that change leaves equal is not written. Errors:
// [ErrNotFound], [ErrConflict] for a unique value that is taken, whatever change
// returns, and [ErrStale] after several lost races or when a further statement
// missed its rows.
func (t *Table[T]) Update(ctx context.Context, id string, alter func(*T) error, also ...Stmt) (*T, error) {
	for try := 0; ; try++ {
		row, err := t.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		switch err := alter(row); {
		case errors.Is(err, ErrUnchanged):
			return row, nil
		case err != nil:
			return nil, err
		}
		err = Commit(ctx, append([]Stmt{t.Replace(ctx, row)}, also...)...)
		if err == nil {
			return row, nil
		}
		if !errors.Is(err, ErrStale) || try == 9 {
			return nil, err
		}
	}
}

// Replace is the statement that stores a row read before, on condition that
// nobody changed it since. On success the row carries its new revision.
func (t *Table[T]) Replace(ctx context.Context, row *T) Stmt {
	s, err := spaceOf(ctx)
	if err != nil {
		return Stmt{err: err}
	}
	meta := any(row).(Entity).Meta()
	read := meta.Revision
	meta.TenantID, meta.Revision, meta.UpdatedAt = s.tenant.ID, read+1, At(time.Now())
	args := append(t.values(ctx, row), s.tenant.ID, meta.ID, read)
	return t.finish(meta.ID, Stmt{SQL: s.entry.engine.rebind(t.replace), Args: args, Rows: 1})
}

// Delete removes the row with the id, or returns [ErrNotFound].
func (t *Table[T]) Delete(ctx context.Context, id string, also ...Stmt) error {
	err := Commit(ctx, append([]Stmt{t.Remove(ctx, id).Once()}, also...)...)
	if errors.Is(err, ErrStale) {
		return ErrNotFound
	}
	return err
}

// Remove is the statement that deletes the row with the id if it is there.
func (t *Table[T]) Remove(ctx context.Context, id string) Stmt {
	st := SQL(ctx, "DELETE FROM "+t.name+" WHERE tenant_id = @tenant AND id = ?", id)
	st.ends = t.access
	return t.finish(id, st)
}

// RemoveWhere is the statement that deletes all rows the condition holds for.
func (t *Table[T]) RemoveWhere(ctx context.Context, where string, args ...any) Stmt {
	st := SQL(ctx, "DELETE FROM "+t.name+" WHERE tenant_id = @tenant AND ("+where+")", args...)
	st.ends = t.access
	return t.finish(AnyID, st)
}

// finish notes the consequences of writing the row with the id.
func (t *Table[T]) finish(id string, st Stmt) Stmt {
	if t.settled {
		st = st.Settled()
	}
	if t.mark != nil {
		st = st.Marked(t.mark(id))
	}
	return st
}

// values returns the row's fields in the order of the table's columns.
func (t *Table[T]) values(ctx context.Context, row *T) []any {
	v := reflect.ValueOf(row).Elem()
	args := make([]any, 0, len(t.schema.DBNames)+3)
	for _, column := range t.schema.DBNames {
		value, _ := t.schema.FieldsByDBName[column].ValueOf(ctx, v)
		args = append(args, value)
	}
	return args
}
