package tenancy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// Progress is how far a piece of work on a tenant is.
type Progress struct {
	Step  string // what is being done, such as copy, catch_up, fence, switch
	Table string // the table at work; "" between tables
	Done  int64  // rows of this step done
	Total int64  // rows this step has, as far as it is known; 0 where it is not
	Bytes int64  // content of the rows done
}

// rawSink is where a tenant's rows are written: a database that serves nobody.
type rawSink struct {
	rawSource
	db  Database
	run int64 // what was noted by claim; 0 where nobody else may be writing
}

func newSink(db Database, rebind func(string) string, tenant string) *rawSink {
	return &rawSink{rawSource: rawSource{db, rebind, tenant}, db: db}
}

const (
	rawParams    = 100     // bound parameters a statement may have (Cloudflare D1)
	rawBatchSize = 1 << 18 // bytes of content in a batch, about
	rawStmts     = 50      // statements in a batch
	rawChunk     = 1000    // rows that wait to be written
)

// write sends statements in batches that every engine takes.
func (s *rawSink) write(ctx context.Context, stmts []Stmt) error {
	for len(stmts) > 0 {
		n, size := 0, int64(0)
		for n < len(stmts) && n < rawStmts && (n == 0 || size < rawBatchSize) {
			size += rawRow(stmts[n].Args).size()
			n++
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.batch(ctx, stmts[:n]); err != nil {
			return err
		}
		stmts = stmts[n:]
	}
	return nil
}

// removal deletes the rows with the keys.
func (s *rawSink) removal(t *rawTable, keys []any) (stmts []Stmt) {
	for len(keys) > 0 {
		n := min(len(keys), rawParams-1)
		stmts = append(stmts, Stmt{
			SQL:  s.rebind(`DELETE FROM ` + t.Name + ` WHERE tenant_id = ? AND ` + t.Key.Name + ` IN (?` + strings.Repeat(", ?", n-1) + `)`),
			Args: append([]any{s.tenant}, keys[:n]...), Rows: AnyRows,
		})
		keys = keys[n:]
	}
	return stmts
}

// insertion stores rows whose keys are free. A row that would break another
// uniqueness is left out: it was read at another moment than the one it collides
// with, and the next comparison shows the difference.
func (s *rawSink) insertion(t *rawTable, rows []rawRow) (stmts []Stmt) {
	width := len(t.Columns) + 1
	for len(rows) > 0 {
		n := min(len(rows), max(1, rawParams/width))
		one := `(?` + strings.Repeat(", ?", width-1) + t.defaults + `)`
		st := Stmt{Rows: AnyRows, SQL: s.rebind(`INSERT INTO ` + t.Name + ` ("tenant_id", ` + t.columns + t.absent + `) VALUES ` +
			one + strings.Repeat(", "+one, n-1) + ` ON CONFLICT DO NOTHING`)}
		for _, r := range rows[:n] {
			st.Args = append(append(st.Args, s.tenant), r...)
		}
		stmts = append(stmts, st)
		rows = rows[n:]
	}
	return stmts
}

// matcher makes a sink equal to a source, and tells how far it was from it.
type matcher struct {
	from     *rawSource
	to       *rawSink
	progress func(Progress) // may be nil
	state    Progress

	// pulse is called before rows are written and may end the work; nil for none.
	pulse func(context.Context) error

	buffer bytes.Buffer
}

// match is the outcome of a comparison.
type match struct {
	Differences int64          // rows that were not equal, on either side
	Sums        map[string]Sum // of the source, by table
	Changed     []string       // the tables with differences
}

// match goes through the tables on both sides at once and writes what differs.
// Only a comparison without differences says that the two are equal: rows may
// change under it, and be left out for uniqueness.
func (m *matcher) match(ctx context.Context, step string, tables []rawTable) (match, error) {
	m.state = Progress{Step: step, Total: m.state.Total}
	result := match{Sums: make(map[string]Sum, len(tables))}
	for i := range tables {
		before := result.Differences
		if err := m.table(ctx, &tables[i], &result); err != nil {
			return result, err
		}
		if result.Differences > before {
			result.Changed = append(result.Changed, tables[i].Name)
		}
	}
	m.state.Table = ""
	m.tell()
	return result, nil
}

// count sets the total of the progress.
func (m *matcher) count(ctx context.Context, tables []rawTable) error {
	m.state.Total = 0
	for i := range tables {
		n, err := m.from.count(ctx, &tables[i])
		if err != nil {
			return err
		}
		m.state.Total += n
	}
	return nil
}

func (m *matcher) tell() {
	m.state.Total = max(m.state.Total, m.state.Done)
	if m.progress != nil {
		m.progress(m.state)
	}
}

// table merges one table: both sides come in the order of the keys.
func (m *matcher) table(ctx context.Context, t *rawTable, result *match) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.state.Table = t.Name
	a, b := m.from.read(ctx, t), m.to.read(ctx, t)
	var sum Sum
	var gone []any
	var fresh []rawRow
	flush := func() error {
		err := m.apply(ctx, t, gone, fresh)
		gone, fresh = gone[:0], fresh[:0]
		return err
	}
	done, bytes := m.state.Done, m.state.Bytes
	for n := 1; ; n++ {
		src, err := a.peek()
		if err != nil {
			return err
		}
		dst, err := b.peek()
		if err != nil {
			return err
		}
		if src == nil && dst == nil {
			break
		}
		order := m.order(t, src, dst)
		if order <= 0 {
			h := t.hash(src, &m.buffer)
			sum.add(h)
			switch {
			case order < 0:
				fresh = append(fresh, src)
				result.Differences++
			case h != t.hash(dst, &m.buffer):
				gone, fresh = append(gone, t.keyOf(dst)), append(fresh, src)
				result.Differences++
			}
			a.skip()
		} else {
			gone = append(gone, t.keyOf(dst))
			result.Differences++
		}
		if order >= 0 {
			b.skip()
		}
		m.state.Done, m.state.Bytes = done+sum.Rows, bytes+a.bytes
		if len(gone)+len(fresh) >= rawChunk {
			if err := flush(); err != nil {
				return err
			}
		}
		if n%rawPage == 0 {
			m.tell()
		}
	}
	result.Sums[t.Name] = sum
	m.tell()
	return flush()
}

// order compares the rows' keys; a missing row is behind all others.
func (m *matcher) order(t *rawTable, src, dst rawRow) int {
	switch {
	case dst == nil:
		return -1
	case src == nil:
		return 1
	}
	return compareKeys(t.keyOf(src), t.keyOf(dst))
}

// apply removes rows first, so that those that come find their unique values free.
func (m *matcher) apply(ctx context.Context, t *rawTable, gone []any, fresh []rawRow) error {
	if m.pulse != nil {
		if err := m.pulse(ctx); err != nil {
			return err
		}
	}
	if len(gone)+len(fresh) == 0 {
		return nil
	}
	err := m.to.write(ctx, append(m.to.removal(t, gone), m.to.insertion(t, fresh)...))
	if err != nil {
		return fmt.Errorf("writing %s: %w", t.Name, err)
	}
	return nil
}

// errNotEqual means that two places could not be made equal.
var errNotEqual = errors.New("the rows differ after copying")

// settle matches until nothing differs. The source must not change meanwhile.
func (m *matcher) settle(ctx context.Context, step string) (map[string]Sum, error) {
	tables := rawTables()
	sums := make(map[string]Sum, len(tables))
	for range 4 {
		result, err := m.match(ctx, step, tables)
		if err != nil {
			return nil, err
		}
		for name, sum := range result.Sums {
			sums[name] = sum
		}
		if result.Differences == 0 {
			return sums, nil
		}
		// What was equal stays so: nobody else writes on either side.
		tables = only(tables, result.Changed)
	}
	return nil, errNotEqual
}

func only(tables []rawTable, names []string) (list []rawTable) {
	for _, t := range tables {
		for _, n := range names {
			if t.Name == n {
				list = append(list, t)
			}
		}
	}
	return list
}

// Place is a tenant's database as its provider knows it.
type Place struct {
	Provider Provider
	Location Location
}

// CopyRows makes the rows of a tenant at to equal to those at from, over any two
// providers, and returns what each table holds. Both databases exist, and nobody
// writes into either meanwhile. It may be cut off at any point and begun again.
func CopyRows(ctx context.Context, from, to Place, progress func(Progress)) (sums map[string]Sum, err error) {
	source, err := from.Provider.Open(ctx, from.Location)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := to.Provider.Open(ctx, to.Location)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	m := &matcher{
		from: &rawSource{source, from.Provider.Rebind, from.Location.Tenant},
		to:   newSink(target, to.Provider.Rebind, to.Location.Tenant), progress: progress,
	}
	if err := m.count(ctx, rawTables()); err != nil {
		return nil, err
	}
	return m.settle(ctx, "copy")
}
