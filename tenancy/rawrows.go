package tenancy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// Everything that takes a tenant's rows from one place to another reads and
// writes them here: as columns of the schema's three types, without entities.
// Sealed values stay sealed, and a column that this program's entities do not
// know is carried all the same.

// rawSource is where a tenant's rows are read: a database or a snapshot of one.
type rawSource struct {
	db     Querier
	rebind func(string) string
	tenant string
}

// rawRow is a row as the columns of its table, without tenant_id: string, int64
// or bool each.
type rawRow []any

// rawTable is a table with its statements, "?" for placeholders.
type rawTable struct {
	migrations.Table
	key     int    // index of the key column
	columns string // quoted and joined
	more    string // condition that leaves out what is not the tenant's content

	// What Columns lack of the schema's: rows of an earlier version, or such as
	// are read without secrets. Both begin with ", " unless they are empty.
	absent, defaults string
}

// rawTables are all tables in the order in which they are copied.
func rawTables() []rawTable {
	layout := migrations.Layout()
	tables := make([]rawTable, len(layout))
	for i, l := range layout {
		tables[i] = rawTable{Table: l}.arranged()
	}
	return tables
}

// arranged returns the table with the parts of its statements.
func (t rawTable) arranged() rawTable {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = `"` + c.Name + `"`
		if c == t.Key {
			t.key = i
		}
	}
	t.columns = strings.Join(names, ", ")
	t.absent, t.defaults = "", ""
	for _, c := range schemaOf(t.Name) {
		if c.Default != "" && !slices.ContainsFunc(t.Columns, func(has migrations.Column) bool { return has.Name == c.Name }) {
			t.absent += `, "` + c.Name + `"`
			t.defaults += ", " + c.Default
		}
	}
	if t.Name == "counters" {
		t.more = ` AND id NOT IN ('` + fenceCounter + `', '` + fillingCounter + `')`
	}
	return t
}

// schemaOf returns the columns of a table of the schema, nil for another.
func schemaOf(table string) []migrations.Column {
	layout := migrations.Layout()
	if i := slices.IndexFunc(layout, func(t migrations.Table) bool { return t.Name == table }); i >= 0 {
		return layout[i].Columns
	}
	return nil
}

// keyOf is what the row is told apart by, as a string or int64.
func (t *rawTable) keyOf(r rawRow) any { return r[t.key] }

// first is a key before all others, or the first of them. Numbers that are keys
// are positive; one beyond 53 bits could not be asked for through JSON.
func (t *rawTable) first() any {
	if t.Key.Type == migrations.Bigint {
		return int64(0)
	}
	return ""
}

// compareKeys orders keys as the databases do: text by bytes, numbers by value.
func compareKeys(a, b any) int {
	if n, ok := a.(int64); ok {
		m, _ := b.(int64)
		return cmp.Compare(n, m)
	}
	s, _ := a.(string)
	u, _ := b.(string)
	return strings.Compare(s, u)
}

// normal returns a value as the engine gave it in the one form of its type.
func normal(c migrations.Column, v any) (any, error) {
	switch v := v.(type) {
	case string:
		if c.Type == migrations.Text {
			return v, nil
		}
	case []byte:
		if c.Type == migrations.Text {
			return string(v), nil
		}
	case bool:
		if c.Type == migrations.Boolean {
			return v, nil
		}
	case int64:
		switch c.Type {
		case migrations.Bigint:
			return v, nil
		case migrations.Boolean:
			return v != 0, nil
		}
	case float64: // of services that answer in JSON
		switch {
		case c.Type == migrations.Boolean:
			return v != 0, nil
		case c.Type == migrations.Bigint && v == math.Trunc(v) && math.Abs(v) <= 1<<53:
			return int64(v), nil
		}
	}
	return nil, fmt.Errorf("column %s of type %s holds %T", c.Name, c.Type, v)
}

// rawPage is how many rows are read at a time.
const rawPage = 250

// page reads the table's next rows, from the key on: with the key itself where
// from is set, without it otherwise.
func (s *rawSource) page(ctx context.Context, t *rawTable, key any, from bool) ([]rawRow, error) {
	sign := ">"
	if from {
		sign = ">="
	}
	query := fmt.Sprintf(`SELECT %s FROM %s WHERE tenant_id = ? AND %s %s ?%s ORDER BY %s LIMIT %d`,
		t.columns, t.Name, t.Key.Name, sign, t.more, t.Key.Name, rawPage)
	rows, err := s.db.QueryContext(ctx, s.rebind(query), s.tenant, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", t.Name, err)
	}
	defer rows.Close()
	var list []rawRow
	dest := make([]any, len(t.Columns))
	for rows.Next() {
		row := make(rawRow, len(t.Columns))
		for i := range row {
			dest[i] = &row[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, fmt.Errorf("reading %s: %w", t.Name, err)
		}
		for i, c := range t.Columns {
			if row[i], err = normal(c, row[i]); err != nil {
				return nil, fmt.Errorf("reading %s: %w", t.Name, err)
			}
		}
		list = append(list, row)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", t.Name, err)
	}
	return list, nil
}

// count returns how many rows the table has for the tenant.
func (s *rawSource) count(ctx context.Context, t *rawTable) (n int64, err error) {
	rows, err := s.db.QueryContext(ctx, s.rebind(`SELECT COUNT(*) FROM `+t.Name+` WHERE tenant_id = ?`+t.more), s.tenant)
	if err != nil {
		return 0, fmt.Errorf("counting %s: %w", t.Name, err)
	}
	defer rows.Close()
	if rows.Next() {
		err = rows.Scan(&n)
	}
	return n, errors.Join(err, rows.Err())
}

// rawReader reads a table in the order of its keys. While a page is used the next
// one is fetched. It is used by one goroutine, until ctx ends.
type rawReader struct {
	ctx    context.Context
	source *rawSource
	table  *rawTable
	rows   []rawRow
	next   chan rawFetched
	bytes  int64 // of the rows read so far
}

type rawFetched struct {
	rows []rawRow
	err  error
}

// read begins with the first row.
func (s *rawSource) read(ctx context.Context, t *rawTable) *rawReader {
	r := &rawReader{ctx: ctx, source: s, table: t}
	r.fetch(t.first(), true)
	return r
}

func (r *rawReader) fetch(key any, from bool) {
	next := make(chan rawFetched, 1)
	r.next = next
	go func() {
		rows, err := r.source.page(r.ctx, r.table, key, from)
		next <- rawFetched{rows, err}
	}()
}

// peek returns the next row without going past it, and nil at the end.
func (r *rawReader) peek() (rawRow, error) {
	if len(r.rows) == 0 && r.next != nil {
		f := <-r.next
		r.next = nil
		if f.err != nil {
			return nil, f.err
		}
		r.rows = f.rows
		if len(f.rows) == rawPage {
			r.fetch(r.table.keyOf(f.rows[rawPage-1]), false)
		}
	}
	if len(r.rows) == 0 {
		return nil, nil
	}
	return r.rows[0], nil
}

// skip goes past the row that peek returned.
func (r *rawReader) skip() {
	r.bytes += r.rows[0].size()
	r.rows = r.rows[1:]
}

// size is about how many bytes the row's content has.
func (r rawRow) size() (n int64) {
	for _, v := range r {
		if s, ok := v.(string); ok {
			n += int64(len(s))
		} else {
			n += 8
		}
	}
	return n
}

// Sum tells whether a table has the same rows in two places: how many there are,
// and the sum of their SHA-256 hashes, which does not depend on an order.
type Sum struct {
	Rows int64     `json:"rows"`
	Hash [4]uint64 `json:"hash"`
}

func (s *Sum) add(h [sha256.Size]byte) {
	s.Rows++
	for i := range s.Hash {
		s.Hash[i] += binary.BigEndian.Uint64(h[8*i:])
	}
}

// hash is of the table's name and all values with their lengths.
func (t *rawTable) hash(r rawRow, b *bytes.Buffer) [sha256.Size]byte {
	b.Reset()
	var n [8]byte
	text := func(s string) {
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		b.Write(n[:])
		b.WriteString(s)
	}
	text(t.Name)
	for _, v := range r {
		switch v := v.(type) {
		case string:
			text(v)
		case int64:
			binary.BigEndian.PutUint64(n[:], uint64(v))
			b.Write(n[:])
		case bool:
			if v {
				b.WriteByte(1)
			} else {
				b.WriteByte(0)
			}
		}
	}
	return sha256.Sum256(b.Bytes())
}
