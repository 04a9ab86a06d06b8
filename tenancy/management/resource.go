package management

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Resource is a kind of entity with the five verbs: a row of the API's table.
// T embeds [tenancy.Row]. Where a function is nil there is nothing to do.
type Resource[T any] struct {
	Path   string // e.g. "/roles"
	Key    string // of the envelope of lists, e.g. "roles"
	Entity string // in messages, e.g. "Role"
	ID     string // the member that holds the id, e.g. "client_id"
	Scopes string // noun of its scopes; empty is that of Path with underscores
	Table  *tenancy.Table[T]

	// Only is the id of the one row there can be. The routes have no id then, the
	// answers none either, and there is no list.
	Only string

	// Created and Deleted are the statuses of success; 0 means 201 and 204. A
	// deletion with 200 answers {}.
	Created, Deleted int

	Members members

	// New makes a row with the defaults of an absent body. Defaults fills in what
	// depends on the members given; on a change, for the members reset by null.
	New      func() *T
	Defaults func(row *T, given func(member string) bool)

	// Find looks an id of the path up; nil is Table.Get.
	Find func(ctx context.Context, c *Call, id string) (*T, error)

	// Guard refuses a change of a row, after scope and existence and before the
	// body is looked at, beside the guard of system rows that all have.
	Guard func(ctx context.Context, c *Call, row *T) error

	// Validate checks a row that is to be stored, and may complete it. before is
	// nil on creation. It may run several times for one request.
	Validate func(ctx context.Context, c *Call, before, row *T) error

	// Also gives the statements that are written together with the row: before is
	// nil on creation, row on deletion. On a deletion they include the removal.
	Also func(ctx context.Context, c *Call, before, row *T) ([]tenancy.Stmt, error)

	// View completes the answers of rows, with as few reads as it can.
	View func(ctx context.Context, c *Call, rows []T, answers []object) error

	// List narrows lists by the query.
	List func(ctx context.Context, c *Call, where *filter) error

	// Search narrows lists by a query that conditions alone may not express; keep
	// picks rows, nil all.
	Search func(c *Call, where *filter) (keep func(*T) bool, err error)

	// Order is that of lists: a member, "-" before it for descending; empty is
	// newest first. Sort are the members that the query may sort by.
	Order string
	Sort  []string

	// After is called once a row was created or changed; before is nil on creation.
	// What it does can fail without an effect on the answer.
	After func(ctx context.Context, c *Call, before, row *T)

	// Taken is said of a row that breaks uniqueness; nil means a general text.
	Taken func(row *T) error

	// Quota is the kind of rows that these count as (contract C5.18); "" for none.
	Quota string

	// Synced rows travel from the control plane to the tenants: a write there
	// answers with its revision (contract C6.3).
	Synced bool
}

func (r *Resource[T]) scope(verb string) string {
	noun := r.Scopes
	if noun == "" {
		noun = strings.ReplaceAll(strings.TrimPrefix(r.Path, "/"), "-", "_")
	}
	return verb + ":" + noun
}

// routes are those of the five verbs.
func (r *Resource[T]) routes() []route {
	created, deleted := r.Created, r.Deleted
	if created == 0 {
		created = http.StatusCreated
	}
	if deleted == 0 {
		deleted = http.StatusNoContent
	}
	if r.Only != "" {
		return []route{
			get(r.Path, r.read, r.scope("read")),
			write(http.MethodPost, r.Path, created, r.create, r.scope("create")),
			write(http.MethodPatch, r.Path, 0, r.update, r.scope("update")),
			write(http.MethodDelete, r.Path, deleted, r.delete, r.scope("delete")),
		}
	}
	one := r.Path + "/{id}"
	return []route{
		get(r.Path, r.list, r.scope("read")),
		write(http.MethodPost, r.Path, created, r.create, r.scope("create")),
		get(one, r.read, r.scope("read")),
		write(http.MethodPatch, one, 0, r.update, r.scope("update")),
		write(http.MethodDelete, one, deleted, r.delete, r.scope("delete")),
	}
}

func meta[T any](row *T) *tenancy.Row { return any(row).(tenancy.Entity).Meta() }

// taken turns a broken uniqueness into the answer that names the entity.
func (r *Resource[T]) taken(row *T, err error) error {
	if !errors.Is(err, tenancy.ErrConflict) || errors.Is(err, tenancy.ErrStale) {
		return err
	}
	if r.Taken != nil {
		return r.Taken(row)
	}
	return conflict(r.Entity, "%s already exists", r.Entity)
}

func conflict(entity, format string, args ...any) error {
	return tenancy.Errorf(http.StatusConflict, slug(entity)+"_conflict", format, args...)
}

// revision tells which revision of the change log a write has reached.
func (r *Resource[T]) revision(ctx context.Context, c *Call) error {
	if !r.Synced {
		return nil
	}
	return c.revision(ctx)
}

func (c *Call) revision(ctx context.Context) error {
	if !c.tenant.IsControlPlane() {
		return nil
	}
	head, err := tenancy.Head(ctx)
	if err == nil {
		c.w.Header().Set("Gatehouse-Sync-Revision", strconv.FormatInt(head, 10))
	}
	return err
}

// commit builds a batch from what it reads and writes it. Where what was read
// changed meanwhile, it starts over. A batch of nothing is success.
func commit(ctx context.Context, build func() ([]tenancy.Stmt, error)) error {
	for try := 0; ; try++ {
		stmts, err := build()
		if err != nil || len(stmts) == 0 {
			return err
		}
		err = tenancy.Commit(ctx, stmts...)
		if !errors.Is(err, tenancy.ErrStale) || try == tries {
			return err
		}
	}
}

// link is [commit] for rows that may be there already: a uniqueness that is
// broken means that somebody else wrote the same, and is looked at anew.
func link(ctx context.Context, build func() ([]tenancy.Stmt, error)) error {
	for try := 0; ; try++ {
		err := commit(ctx, build)
		if !errors.Is(err, tenancy.ErrConflict) || try == tries {
			return err
		}
	}
}

// tries is how many lost races are started over.
const tries = 9

// etag tells versions of a row apart, also those of a row that was removed and
// made again.
func etag(m *tenancy.Row) string {
	return `"` + strconv.FormatInt(m.Revision, 36) + "-" + strconv.FormatInt(int64(m.CreatedAt), 36) + `"`
}

// matches reports whether a list of entity tags holds the tag, by strong
// comparison (RFC 9110 section 13.1.1).
func matches(headers []string, tag string) bool {
	for _, h := range headers {
		for candidate := range strings.SplitSeq(h, ",") {
			if candidate = strings.TrimSpace(candidate); candidate == tag || candidate == "*" {
				return true
			}
		}
	}
	return false
}

// otherOf is the row's map of members without an effect; nil where it has none.
func otherOf(row any) *map[string]json.RawMessage {
	f := reflect.ValueOf(row).Elem().FieldByName("Other")
	if !f.IsValid() {
		return nil
	}
	m, _ := f.Addr().Interface().(*map[string]json.RawMessage)
	return m
}
