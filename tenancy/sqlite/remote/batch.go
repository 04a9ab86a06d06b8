package remote

import (
	"fmt"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// batch is a list of statements with the conditions between them.
type batch struct {
	stmts []tenancy.Stmt
	list  []Statement
	at    []int // per statement, its place in list
}

func newBatch(stmts []tenancy.Stmt, limits Limits) (*batch, error) {
	b := &batch{stmts: stmts}
	for _, st := range stmts {
		text := st.SQL
		conditional := st.Rows != tenancy.AnyRows
		if st.Guard && conditional {
			text = condition(fmt.Sprintf("(SELECT COUNT(*) FROM (%s)) <> %d", text, st.Rows))
		}
		one, err := limits.statement(text, st.Args)
		if err != nil {
			return nil, err
		}
		b.at = append(b.at, len(b.list))
		b.list = append(b.list, one)
		if conditional && !st.Guard {
			b.list = append(b.list, Statement{SQL: condition(fmt.Sprintf("changes() <> %d", st.Rows))})
		}
	}
	return b, nil
}

// condition is a statement that fails where violated holds, and does nothing
// elsewhere.
func condition(violated string) string {
	return "INSERT INTO gatehouse_guard (ok) SELECT 0 WHERE " + violated
}

// affected returns the rows affected, per statement, of a batch that was applied.
func (b *batch) affected(results []Result) ([]int64, error) {
	if len(results) != len(b.list) {
		return nil, tenancy.Unavailable(fmt.Errorf("%w: %d results for %d statements", ErrLost, len(results), len(b.list)), hintServer)
	}
	rows := make([]int64, len(b.stmts))
	for i, st := range b.stmts {
		switch {
		case st.Rows != tenancy.AnyRows:
			rows[i] = st.Rows
		case st.Guard:
			rows[i] = int64(len(results[b.at[i]].Rows))
		default:
			rows[i] = results[b.at[i]].Changes
		}
	}
	return rows, nil
}
