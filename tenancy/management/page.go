package management

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// filter collects the conditions of a list.
type filter struct {
	where []string
	args  []any
}

// and adds a condition with "?" for its arguments.
func (f *filter) and(condition string, args ...any) {
	f.where = append(f.where, "("+condition+")")
	f.args = append(f.args, args...)
}

// contains adds a condition that a column holds the text, in which no character
// has a meaning of its own.
func (f *filter) contains(column, text string) { f.like(column, "%"+escapeLike(text)+"%") }

func (f *filter) like(column, pattern string) { f.and(column+` LIKE ? ESCAPE '\'`, pattern) }

func escapeLike(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
}

func (f *filter) clone() filter {
	return filter{where: slices.Clone(f.where), args: slices.Clone(f.args)}
}

func (f *filter) condition() string { return strings.Join(f.where, " AND ") }

// form is how a list is answered where the query asks for nothing else.
type form int

const (
	bare       form = iota // an array
	envelope               // an object, also without totals
	checkpoint             // an object with next
)

// page is what a query asks of a list (contract C5.4, C5.5).
type page struct {
	number, size int
	totals       bool
	checkpoint   bool
	from         string
}

func badPaging(format string, args ...any) error {
	return tenancy.Errorf(http.StatusBadRequest, "invalid_paging", "Query validation error: "+format, args...)
}

func parsePage(q url.Values, f form) (page, error) {
	p := page{size: 50, checkpoint: f == checkpoint}
	var err error
	if q.Has("take") || q.Has("from") {
		if q.Has("page") {
			return p, badPaging("'page' cannot be used together with 'from' or 'take'")
		}
		p.checkpoint, p.from = true, q.Get("from")
		p.size, err = whole64(q, "take", 50, 1, 100)
		return p, err
	}
	if p.number, err = whole64(q, "page", 0, 0, 1<<30); err != nil {
		return p, err
	}
	if p.size, err = whole64(q, "per_page", 50, 1, 100); err != nil {
		return p, err
	}
	switch q.Get("include_totals") {
	case "true":
		p.totals = true
	case "", "false":
	default:
		return p, badPaging("'include_totals' must be true or false")
	}
	if p.number*p.size > 10000 {
		return p, badPaging("no more than 10000 entries can be paged through; use 'from' and 'take'")
	}
	return p, nil
}

// whole64 reads a whole number of the query.
func whole64(q url.Values, name string, fallback, min, max int) (int, error) {
	values := q[name]
	if len(values) == 0 {
		return fallback, nil
	}
	n, err := strconv.Atoi(values[0])
	if err != nil || len(values) > 1 || n < min || n > max {
		return 0, badPaging("'%s' must be a whole number from %d to %d", name, min, max)
	}
	return n, nil
}

// flagOf reads a boolean of the query; given is false where it is absent.
func flagOf(q url.Values, name string) (on, given bool, err error) {
	switch q.Get(name) {
	case "true":
		return true, true, nil
	case "false":
		return false, true, nil
	case "":
		return false, false, nil
	}
	return false, false, badQuery("'%s' must be true or false", name)
}

func badQuery(format string, args ...any) error {
	return tenancy.Errorf(http.StatusBadRequest, "invalid_query_string", "Query validation error: "+format, args...)
}

// order is a total order over rows: a column, then the id.
type order struct {
	column string
	down   bool
}

func (o order) sql() string {
	if o.column == "id" {
		return "id" + o.direction()
	}
	return o.column + o.direction() + ", id"
}

func (o order) direction() string {
	if o.down {
		return " DESC"
	}
	return ""
}

// after is the condition of the rows behind a place in the order.
func (o order) after(f *filter, place cursor) {
	than := " > ?"
	if o.down {
		than = " < ?"
	}
	if o.column == "id" {
		f.and("id"+than, place.ID)
		return
	}
	f.and(o.column+than+" OR ("+o.column+" = ? AND id > ?)", place.value(), place.value(), place.ID)
}

// newest is the order of creation, latest first (contract C5.6). It never
// changes for a row, so that a walk by checkpoints sees each once.
var newest = order{column: "created_at", down: true}

// pick answers with a page of items that are all in memory.
func pick(c *Call, key string, items []object) (any, error) {
	p, err := parsePage(c.query, bare)
	if err != nil {
		return nil, err
	}
	if p.checkpoint {
		return nil, badPaging("'from' and 'take' cannot be used here")
	}
	total := len(items)
	items = items[min(p.number*p.size, total):min((p.number+1)*p.size, total)]
	if !p.totals {
		return orEmpty(items), nil
	}
	body := totals(p, len(items), int64(total))
	body.set(key, orEmpty(items))
	return body, nil
}
