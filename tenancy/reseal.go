package tenancy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm/schema"
)

// sealedTable is a table with sealed columns.
type sealedTable struct {
	name   string
	fields []*schema.Field
}

// sealedTables are all there are, as their tables were described.
var sealedTables []sealedTable

// noteSealed notes the sealed columns of a table.
func noteSealed(name string, described *schema.Schema) {
	var fields []*schema.Field
	for _, f := range described.Fields {
		if f.TagSettings["SERIALIZER"] == "sealed" {
			fields = append(fields, f)
		}
	}
	if len(fields) > 0 {
		sealedTables = append(sealedTables, sealedTable{name, fields})
	}
}

// hashed are the columns that hold [HashSecret] of a sealed column beside them.
var hashed = map[string]string{"clients.secret": "secret_hash", "clients.previous_secret": "previous_secret_hash"}

const (
	resealPage  = 200 // rows read at a time
	resealBatch = 50  // rows written at a time
)

// reseal seals everything in the entered tenant with the key that seals now, and
// brings what is derived from that key up to date. It returns how many rows it
// looked at and how many it changed; where somebody else changed a row meanwhile
// it leaves that row, so that only a run that changes nothing shows that nothing
// is left.
func reseal(ctx context.Context, looked func(rows int64)) (changed int64, err error) {
	for _, t := range sealedTables {
		for after := ""; ; {
			rows, err := t.page(ctx, after)
			if err != nil {
				return changed, fmt.Errorf("resealing %s: %w", t.name, err)
			}
			if len(rows) == 0 {
				break
			}
			n, err := t.resealRows(ctx, rows)
			if changed += n; err != nil {
				return changed, fmt.Errorf("resealing %s: %w", t.name, err)
			}
			after = rows[len(rows)-1].id
			looked(int64(len(rows)))
		}
	}
	return changed, nil
}

// sealedRow is what is read of a row: its sealed columns, and behind them the
// hashes of those that have one.
type sealedRow struct {
	id       string
	revision int64
	columns  []string
	values   []string
}

// columns are those that are read, in the order of [sealedRow].
func (t sealedTable) columns() (names []string) {
	for _, f := range t.fields {
		names = append(names, f.DBName)
	}
	for _, f := range t.fields {
		if hash := hashed[t.name+"."+f.DBName]; hash != "" {
			names = append(names, hash)
		}
	}
	return names
}

func (t sealedTable) page(ctx context.Context, after string) (list []sealedRow, err error) {
	columns := t.columns()
	rows, err := Query(ctx, fmt.Sprintf(`SELECT id, revision, %s FROM %s WHERE tenant_id = @tenant AND id > ? ORDER BY id LIMIT %d`,
		strings.Join(columns, ", "), t.name, resealPage), after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r := sealedRow{columns: columns, values: make([]string, len(columns))}
		into := []any{&r.id, &r.revision}
		for i := range r.values {
			into = append(into, &r.values[i])
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// resealRows writes those of the rows that need it.
func (t sealedTable) resealRows(ctx context.Context, rows []sealedRow) (changed int64, err error) {
	for part := range slices.Chunk(rows, resealBatch) {
		var stmts []Stmt
		for _, r := range part {
			fresh, err := t.fresh(ctx, r)
			if err != nil {
				return changed, err
			}
			if fresh == nil {
				continue
			}
			args := make([]any, 0, len(fresh)+2)
			for _, v := range fresh {
				args = append(args, v)
			}
			// The revision goes up: whoever read the row before, and would write
			// it back as it was, has to read it again.
			stmts = append(stmts, SQL(ctx, fmt.Sprintf(`UPDATE %s SET %s = ?, revision = revision + 1 WHERE tenant_id = @tenant AND id = ? AND revision = ?`,
				t.name, strings.Join(r.columns, " = ?, ")), append(args, r.id, r.revision)...).Settled())
		}
		if len(stmts) == 0 {
			continue
		}
		if err := Commit(ctx, stmts...); err != nil {
			return changed, err
		}
		changed += int64(len(stmts))
	}
	return changed, nil
}

// fresh returns what a row's columns should hold, or nil where they do.
func (t sealedTable) fresh(ctx context.Context, r sealedRow) (values []string, err error) {
	s, err := spaceOf(ctx)
	if err != nil {
		return nil, err
	}
	values = slices.Clone(r.values)
	for i, f := range t.fields {
		if r.values[i] == "" {
			continue
		}
		plaintext, err := s.entry.vault.ring.Open(place(s, f), r.values[i])
		if err != nil {
			return nil, fmt.Errorf("row %q, column %s: %w", r.id, f.DBName, err)
		}
		if !s.entry.vault.ring.current(r.values[i]) {
			values[i] = s.entry.vault.ring.Seal(place(s, f), plaintext)
		}
		if at := slices.Index(r.columns, hashed[t.name+"."+f.DBName]); at >= 0 {
			var secret string
			if err := json.Unmarshal(plaintext, &secret); err != nil {
				return nil, fmt.Errorf("row %q, column %s: %w", r.id, f.DBName, err)
			}
			if values[at], err = HashSecret(ctx, secret); err != nil {
				return nil, err
			}
		}
	}
	if slices.Equal(values, r.values) {
		return nil, nil
	}
	return values, nil
}
