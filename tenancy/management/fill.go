package management

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// fill sets a new row's members from a body.
func (r *Resource[T]) fill(c *Call, row *T, doc document) error {
	for _, p := range doc {
		m, ok := r.Members[p.name]
		if !ok || m.fixed {
			return unknownMember(p.name)
		}
		if isNull(p.value) {
			if m.required {
				return invalid(p.name, "Expected type string but found type null")
			}
			continue
		}
		if err := r.assign(c, row, p, m); err != nil {
			return err
		}
	}
	for name, m := range r.Members {
		if m.required && isAbsent(doc, name) {
			return invalid("", "Missing required property: %s", name)
		}
	}
	if r.Defaults != nil {
		r.Defaults(row, func(name string) bool { return !isAbsent(doc, name) })
	}
	return nil
}

// isAbsent reports whether a member is absent or null.
func isAbsent(doc document, name string) bool {
	v := doc.get(name)
	return v == nil || isNull(v)
}

// change applies a body to a row that is stored: members that are absent stay,
// null resets, first-level merges merge, and read-only members pass where they
// are what the caller was shown (contract C5.8, C5.9).
func (r *Resource[T]) change(ctx context.Context, c *Call, row *T, doc document) error {
	var shown *object
	reset := map[string]bool{}
	for _, p := range doc {
		m, ok := r.Members[p.name]
		if !ok {
			return unknownMember(p.name)
		}
		if m.fixed || m.once {
			if shown == nil {
				var err error
				if shown, err = r.view(ctx, c, row); err != nil {
					return err
				}
			}
			if !equalJSON(p.value, shown.get(p.name)) {
				return invalid(p.name, "Read-only property cannot be changed")
			}
			continue
		}
		if isNull(p.value) {
			if m.required {
				return invalid(p.name, "Expected type string but found type null")
			}
			reset[p.name] = true
			r.reset(row, p.name, m)
			continue
		}
		if err := r.assign(c, row, p, m); err != nil {
			return err
		}
	}
	if r.Defaults != nil {
		r.Defaults(row, func(name string) bool { return !reset[name] })
	}
	return nil
}

// assign decodes, checks and sets one member.
func (r *Resource[T]) assign(c *Call, row *T, p property, m member) error {
	if m.refused != "" {
		return invalid(p.name, "%s", m.refused)
	}
	if m.typed != nil {
		return r.assignBeside(c, row, p, m)
	}
	field := fieldOf(row, p.name)
	if m.merged {
		if err := m.merge(p.value, field, p.name); err != nil {
			return err
		}
		return m.accept(field, p.name)
	}
	// Objects are replaced whole: what is absent in them is as in a new row.
	target := reflect.New(field.Type()).Elem()
	if field.Kind() == reflect.Struct {
		target.Set(fieldOf(r.New(), p.name))
	}
	if err := decode(p.value, target, p.name); err != nil {
		return err
	}
	if err := m.accept(target, p.name); err != nil {
		return err
	}
	field.Set(target)
	return nil
}

func (r *Resource[T]) assignBeside(c *Call, row *T, p property, m member) error {
	v := reflect.New(m.typed).Elem()
	if err := decode(p.value, v, p.name); err != nil {
		return err
	}
	if err := m.accept(v, p.name); err != nil {
		return err
	}
	if !m.other {
		if c.extra == nil {
			c.extra = make(map[string]any)
		}
		c.extra[p.name] = v.Interface()
		return nil
	}
	var compact json.RawMessage
	if err := decode(p.value, reflect.ValueOf(&compact).Elem(), p.name); err != nil {
		return err
	}
	r.keep(row, p.name, compact)
	return nil
}

// keep puts a member into the row's Other, or removes it. The map that is there
// is not altered, because the row before the change has the same.
func (r *Resource[T]) keep(row *T, name string, raw json.RawMessage) {
	other := otherOf(row)
	if *other = maps.Clone(*other); *other == nil {
		*other = make(map[string]json.RawMessage)
	}
	delete(*other, name)
	if raw != nil {
		(*other)[name] = raw
	}
}

// reset gives a member the value it has in a new row.
func (r *Resource[T]) reset(row *T, name string, m member) {
	switch {
	case m.other:
		fresh := otherOf(r.New())
		r.keep(row, name, (*fresh)[name])
	case m.typed == nil:
		fieldOf(row, name).Set(fieldOf(r.New(), name))
	}
}

func fieldOf[T any](row *T, name string) reflect.Value {
	v := reflect.ValueOf(row).Elem()
	index, ok := fieldsOf(v.Type()).index[name]
	if !ok {
		panic("management: " + v.Type().String() + " has no member " + name)
	}
	return v.FieldByIndex(index)
}

// given reports whether the body has the member.
func (c *Call) given(name string) bool { return slices.Contains(c.changed, name) }

// extra returns a member of the body that is no field of the row, and whether it
// was given.
func extra[T any](c *Call, name string) (T, bool) {
	v, ok := c.extra[name].(T)
	return v, ok
}

// exists is a guard: the row with the id is still there when the batch is
// written, so that nothing refers to what is gone.
func exists[T any](ctx context.Context, t *tenancy.Table[T], id string) tenancy.Stmt {
	return tenancy.Require(ctx, "EXISTS (SELECT 1 FROM "+t.Name()+" WHERE tenant_id = @tenant AND id = ?)", id)
}

// unaltered is a guard: the row is still as it was read.
func unaltered[T any](ctx context.Context, t *tenancy.Table[T], row *T) tenancy.Stmt {
	m := meta(row)
	return tenancy.Require(ctx, "EXISTS (SELECT 1 FROM "+t.Name()+" WHERE tenant_id = @tenant AND id = ? AND revision = ?)", m.ID, m.Revision)
}

func valueOf(v any) reflect.Value { return reflect.ValueOf(v) }

// textOf is a JSON string's value.
func textOf(raw json.RawMessage) (string, bool) {
	var s string
	if raw == nil || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}
