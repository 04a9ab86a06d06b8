package management

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// listing answers one request for a list of rows.
type listing[T any] struct {
	table  *tenancy.Table[T]
	key    string // of the envelope
	filter filter
	order  string   // default order: a member, "-" before it for descending; "" is newest first
	sort   []string // members that the query may sort by
	form   form

	counted bool // totals are answered whether asked for or not

	// keep picks the rows that no condition of the database can; nil keeps all.
	keep func(*T) bool

	// answers turns rows into what is answered of them. A row without an answer
	// is left out.
	answers func(ctx context.Context, rows []T) ([]object, error)
}

func (r *Resource[T]) list(ctx context.Context, c *Call) (any, error) {
	l := r.listing(c)
	if r.List != nil {
		if err := r.List(ctx, c, &l.filter); err != nil {
			return nil, err
		}
	}
	if r.Search != nil {
		var err error
		if l.keep, err = r.Search(c, &l.filter); err != nil {
			return nil, err
		}
	}
	return l.answer(ctx, c)
}

func (r *Resource[T]) listing(c *Call) *listing[T] {
	return &listing[T]{
		table: r.Table, key: r.Key, order: r.Order, sort: r.Sort,
		answers: func(ctx context.Context, rows []T) ([]object, error) { return r.views(ctx, c, rows) },
	}
}

// orderOf decides the order: the query's, else the list's own. A walk by
// checkpoints goes by creation unless the query says otherwise, because a row
// that is renamed during the walk would be seen twice, or never.
func (l *listing[T]) orderOf(q url.Values, p page) (order, error) {
	if s := q.Get("sort"); s != "" {
		name, direction, _ := strings.Cut(s, ":")
		if !slices.Contains(l.sort, name) || direction != "1" && direction != "-1" {
			return order{}, badQuery("'sort' must be one of %s with :1 or :-1", strings.Join(l.sort, ", "))
		}
		return order{name, direction == "-1"}, nil
	}
	name, down := strings.CutPrefix(l.order, "-")
	if name == "" || p.checkpoint && name != "id" {
		return newest, nil
	}
	return order{name, down}, nil
}

func (l *listing[T]) answer(ctx context.Context, c *Call) (any, error) {
	p, err := parsePage(c.query, l.form)
	if err != nil {
		return nil, err
	}
	o, err := l.orderOf(c.query, p)
	if err != nil {
		return nil, err
	}
	if p.checkpoint {
		return l.walk(ctx, c, p, o)
	}
	p.totals = p.totals || l.counted
	rows, total, err := l.page(ctx, p, o)
	if err != nil {
		return nil, err
	}
	answers, err := l.objects(ctx, c, rows)
	if err != nil {
		return nil, err
	}
	body := object{}
	if p.totals {
		body = totals(p, len(answers), total)
	}
	if !p.totals && l.form == bare {
		return answers, nil
	}
	body.set(l.key, answers)
	return body, nil
}

// page reads one page and, where it is asked for, how many rows there are.
func (l *listing[T]) page(ctx context.Context, p page, o order) (rows []T, total int64, err error) {
	if l.keep != nil {
		return l.scan(ctx, p, o)
	}
	rows, err = l.table.Find(ctx, tenancy.Filter{
		Where: l.filter.condition(), Args: l.filter.args,
		Order: o.sql(), Limit: p.size, Offset: p.number * p.size,
	})
	if err == nil && p.totals {
		total, err = l.table.Count(ctx, tenancy.Filter{Where: l.filter.condition(), Args: l.filter.args})
	}
	return rows, total, err
}

// scan is [listing.page] where rows are picked one by one.
func (l *listing[T]) scan(ctx context.Context, p page, o order) (rows []T, total int64, err error) {
	start := int64(p.number * p.size)
	err = l.each(ctx, l.filter, o, func(row *T) bool {
		if total >= start && len(rows) < p.size {
			rows = append(rows, *row)
		}
		total++
		return p.totals || len(rows) < p.size
	})
	return rows, total, err
}

// each calls f with the rows of the filter that are kept, in order, until f
// returns false. It holds some hundred of them at a time.
func (l *listing[T]) each(ctx context.Context, f filter, o order, visit func(*T) bool) error {
	const batch = 500
	behind := f.clone()
	for {
		rows, err := l.table.Find(ctx, tenancy.Filter{Where: behind.condition(), Args: behind.args, Order: o.sql(), Limit: batch})
		if err != nil {
			return err
		}
		for i := range rows {
			if l.keep(&rows[i]) && !visit(&rows[i]) {
				return nil
			}
		}
		if len(rows) < batch {
			return nil
		}
		behind = f.clone()
		o.after(&behind, cursorAt(&rows[batch-1], o))
	}
}

// totals begins an envelope with totals.
func totals(p page, length int, total int64) object {
	var o object
	o.set("start", p.number*p.size)
	o.set("limit", p.size)
	o.set("length", length)
	o.set("total", total)
	return o
}

// walk answers one step of a walk by checkpoints.
func (l *listing[T]) walk(ctx context.Context, c *Call, p page, o order) (any, error) {
	binding := c.binding(l.filter, o)
	behind := l.filter.clone()
	if p.from != "" {
		place, err := c.openCursor(ctx, p.from, binding)
		if err != nil {
			return nil, err
		}
		o.after(&behind, place)
	}
	rows, err := l.behind(ctx, behind, p, o)
	if err != nil {
		return nil, err
	}
	next := ""
	if len(rows) > p.size {
		rows = rows[:p.size]
		last := &rows[p.size-1]
		if next, err = c.sealCursor(ctx, cursorAt(last, o), binding); err != nil {
			return nil, err
		}
	}
	answers, err := l.objects(ctx, c, rows)
	if err != nil {
		return nil, err
	}
	var body object
	body.set(l.key, answers)
	if next != "" {
		body.set("next", next)
	}
	return body, nil
}

// behind reads the rows of one step, and one more to know whether there is one.
func (l *listing[T]) behind(ctx context.Context, f filter, p page, o order) (rows []T, err error) {
	if l.keep == nil {
		return l.table.Find(ctx, tenancy.Filter{Where: f.condition(), Args: f.args, Order: o.sql(), Limit: p.size + 1})
	}
	err = l.each(ctx, f, o, func(row *T) bool {
		rows = append(rows, *row)
		return len(rows) <= p.size
	})
	return rows, err
}

func (l *listing[T]) objects(ctx context.Context, c *Call, rows []T) ([]object, error) {
	answers, err := l.answers(ctx, rows)
	if err != nil {
		return nil, err
	}
	answers = slices.DeleteFunc(orEmpty(answers), func(o object) bool { return len(o.members) == 0 })
	for i := range answers {
		c.shape(&answers[i])
	}
	return answers, nil
}
