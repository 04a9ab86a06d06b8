package management

import (
	"context"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// idOf is the id of the row that is meant.
func (r *Resource[T]) idOf(c *Call) string {
	if r.Only != "" {
		return r.Only
	}
	return c.param("id")
}

// get finds the row that an id of the path names.
func (r *Resource[T]) get(ctx context.Context, c *Call, id string) (*T, error) {
	if r.Find != nil {
		return found(r.Find(ctx, c, id))(r.Entity)
	}
	return found(r.Table.Get(ctx, id))(r.Entity)
}

// views are the answers for rows.
func (r *Resource[T]) views(ctx context.Context, c *Call, rows []T) ([]object, error) {
	answers := make([]object, len(rows))
	for i := range rows {
		var o object
		if r.Only == "" {
			o.set(r.ID, meta(&rows[i]).ID)
		}
		o.members = append(o.members, render(&rows[i]).members...)
		if other := otherOf(&rows[i]); other != nil {
			for _, name := range slices.Sorted(maps.Keys(*other)) {
				o.members = append(o.members, property{name, (*other)[name]})
			}
		}
		answers[i] = o
	}
	if r.View != nil && len(rows) > 0 {
		if err := r.View(ctx, c, rows, answers); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

func (r *Resource[T]) view(ctx context.Context, c *Call, row *T) (*object, error) {
	answers, err := r.views(ctx, c, []T{*row})
	if err != nil {
		return nil, err
	}
	return &answers[0], nil
}

// one answers with a row, and its ETag.
func (r *Resource[T]) one(ctx context.Context, c *Call, row *T) (any, error) {
	o, err := r.view(ctx, c, row)
	if err != nil {
		return nil, err
	}
	c.w.Header().Set("ETag", etag(meta(row)))
	if c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		c.shape(o)
	}
	return o, nil
}

func (r *Resource[T]) read(ctx context.Context, c *Call) (any, error) {
	row, err := r.get(ctx, c, r.idOf(c))
	if err != nil {
		return nil, err
	}
	return r.one(ctx, c, row)
}

func (r *Resource[T]) create(ctx context.Context, c *Call) (any, error) {
	doc, err := c.object()
	if err != nil {
		return nil, err
	}
	var row *T
	err = commit(ctx, func() ([]tenancy.Stmt, error) {
		row, c.extra = r.New(), nil
		if err := r.fill(c, row, doc); err != nil {
			return nil, err
		}
		if r.Validate != nil {
			if err := r.Validate(ctx, c, nil, row); err != nil {
				return nil, err
			}
		}
		stmts, err := r.withinQuota(ctx, c)
		if err != nil {
			return nil, err
		}
		stmts = append(stmts, r.Table.Insert(ctx, row))
		if r.Also == nil {
			return stmts, nil
		}
		also, err := r.Also(ctx, c, nil, row)
		return append(stmts, also...), err
	})
	if err != nil {
		return nil, r.taken(row, err)
	}
	c.near(ctx)
	if r.After != nil {
		r.After(ctx, c, nil, row)
	}
	if err := r.revision(ctx, c); err != nil {
		return nil, err
	}
	return r.one(ctx, c, row)
}

func (r *Resource[T]) update(ctx context.Context, c *Call) (any, error) {
	if _, err := r.writable(ctx, c, r.idOf(c)); err != nil {
		return nil, err
	}
	doc, err := c.object()
	if err != nil {
		return nil, err
	}
	var before, row *T
	err = commit(ctx, func() ([]tenancy.Stmt, error) {
		var err error
		before, err = r.writable(ctx, c, r.idOf(c))
		if err != nil {
			return nil, err
		}
		changed := *before
		row, c.extra = &changed, nil
		if err := r.change(ctx, c, row, doc); err != nil {
			return nil, err
		}
		if r.Validate != nil {
			if err := r.Validate(ctx, c, before, row); err != nil {
				return nil, err
			}
		}
		var also []tenancy.Stmt
		if r.Also != nil {
			if also, err = r.Also(ctx, c, before, row); err != nil {
				return nil, err
			}
		}
		if len(also) == 0 && same(reflect.ValueOf(before).Elem(), reflect.ValueOf(row).Elem()) {
			return nil, nil // what was read was written back: nothing changes
		}
		return append([]tenancy.Stmt{r.Table.Replace(ctx, row)}, also...), nil
	})
	if err != nil {
		return nil, r.taken(row, err)
	}
	if r.After != nil {
		r.After(ctx, c, before, row)
	}
	if err := r.revision(ctx, c); err != nil {
		return nil, err
	}
	return r.one(ctx, c, row)
}

func (r *Resource[T]) delete(ctx context.Context, c *Call) (any, error) {
	err := commit(ctx, func() ([]tenancy.Stmt, error) {
		row, err := r.writable(ctx, c, r.idOf(c))
		if err != nil {
			return nil, err
		}
		return r.Also(ctx, c, row, nil)
	})
	if err != nil {
		return nil, err
	}
	if err := r.revision(ctx, c); err != nil {
		return nil, err
	}
	if c.route.status == http.StatusOK {
		return object{}, nil
	}
	return none{}, nil
}

// writable finds a row that the caller wants to change, and refuses where it is
// protected (contract C6.30 to C6.32) or not the version they know.
func (r *Resource[T]) writable(ctx context.Context, c *Call, id string) (*T, error) {
	row, err := r.get(ctx, c, id)
	if err != nil {
		return nil, err
	}
	if err := r.unguarded(ctx, c, row); err != nil {
		return nil, err
	}
	if match := c.r.Header.Values("If-Match"); len(match) > 0 && !matches(match, etag(meta(row))) {
		return nil, tenancy.Errorf(http.StatusPreconditionFailed, "precondition_failed", "The %s was changed since it was read", strings.ToLower(r.Entity))
	}
	return row, nil
}

func (r *Resource[T]) unguarded(ctx context.Context, c *Call, row *T) error {
	if f := reflect.ValueOf(row).Elem().FieldByName("IsSystem"); f.IsValid() && f.Bool() {
		return tenancy.Errorf(http.StatusForbidden, "system_resource", "This %s is a system resource and cannot be modified", strings.ToLower(r.Entity))
	}
	if r.Guard != nil {
		return r.Guard(ctx, c, row)
	}
	return nil
}
