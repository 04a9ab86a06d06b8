package tenancy

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// Rows is the result of a query.
type Rows = *sql.Rows

// Stmt is one statement of a batch, in the engine's own placeholder form. Make
// one with [SQL], [Require] or a [Table]; the zero Stmt fails.
type Stmt struct {
	SQL  string
	Args []any

	// Guard marks a query that changes nothing and only has to return Rows rows.
	Guard bool

	// Rows is how many rows the statement has to affect (a guard: return) for
	// the batch to be applied; AnyRows for no condition.
	Rows int64

	change  *change // what the control plane's change log is told
	settled bool    // whether rows that are cached in memory change
	ends    bool    // whether somebody's access may end, see [Endings]
	tells   bool    // whether its rows are logouts to be told of, see [EndSessions]
	err     error   // why the statement could not be built; Commit returns it
}

// AnyRows in Stmt.Rows means that any number of affected rows is right.
const AnyRows int64 = -1

// Once returns the statement with the condition that it affects exactly one
// row: the form of everything that may happen only once.
func (s Stmt) Once() Stmt {
	s.Rows = 1
	return s
}

// Marked returns the statement with a note for the control plane's change log:
// the entity id of the given kind is different after it. Inside other tenants
// the note has no effect.
func (s Stmt) Marked(kind, id string) Stmt {
	s.change = &change{kind: kind, id: id}
	return s
}

// Settled returns the statement with the note that configuration changes by it:
// what [Cached] remembers of this tenant is forgotten once it is committed.
func (s Stmt) Settled() Stmt {
	s.settled = true
	return s
}

// check returns why the statement cannot be run, if it cannot.
func (s *Stmt) check() error {
	if s.err == nil && s.SQL == "" {
		return errors.New("empty statement")
	}
	if s.err == nil && slices.ContainsFunc(s.Args, unstorable) {
		return Errorf(http.StatusBadRequest, "invalid_body", "Text holds a character that cannot be stored")
	}
	return s.err
}

// unstorable reports whether an argument is text that some engine cannot keep:
// PostgreSQL has no NUL and nothing that is not UTF-8. All engines refuse the
// same, so that a tenant can move between them.
func unstorable(arg any) bool {
	text, ok := arg.(string)
	return ok && (strings.IndexByte(text, 0) >= 0 || !utf8.ValidString(text))
}

// SQL builds a statement from text. The tenant is written as @tenant, which is
// bound to the entered tenant wherever it stands; a text without it is refused,
// so that no statement can reach another tenant's rows. Other arguments are "?".
//
//	tenancy.SQL(ctx, `UPDATE grants SET used_at = ? WHERE tenant_id = @tenant AND id = ? AND used_at = 0`, now, id).Once()
func SQL(ctx context.Context, text string, args ...any) Stmt {
	s, err := spaceOf(ctx)
	if err != nil {
		return Stmt{err: err}
	}
	bound, all, err := s.bind(text, args)
	return Stmt{SQL: bound, Args: all, Rows: AnyRows, err: err}
}

// Require is a guard: the batch is applied only if the condition holds at that
// point of it. The condition is SQL as for [SQL].
//
//	tenancy.Require(ctx, `EXISTS (SELECT 1 FROM members WHERE tenant_id = @tenant AND id = ?)`, id)
func Require(ctx context.Context, condition string, args ...any) Stmt {
	st := SQL(ctx, "SELECT 1 WHERE "+condition, args...)
	st.Guard, st.Rows = true, 1
	return st
}

// Query runs a reading statement, written as for [SQL]. The caller closes the
// rows.
func Query(ctx context.Context, text string, args ...any) (Rows, error) {
	s, err := spaceOf(ctx)
	if err != nil {
		return nil, err
	}
	bound, all, err := s.bind(text, args)
	if err != nil {
		return nil, err
	}
	return s.entry.db.QueryContext(ctx, bound, all...)
}

// QueryRow runs a reading statement and scans its first row into dest.
// No row is [ErrNotFound].
func QueryRow(ctx context.Context, text string, args []any, dest ...any) error {
	rows, err := Query(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		if err := cmp.Or(rows.Err(), ctx.Err()); err != nil {
			return err
		}
		return ErrNotFound
	}
	if err := rows.Scan(dest...); err != nil {
		return err
	}
	return rows.Close()
}

// Ping reads from the entered tenant's database, as little as there is to read.
func Ping(ctx context.Context) error {
	err := QueryRow(ctx, `SELECT 1 FROM tenants WHERE tenant_id = @tenant AND id = ''`, nil, new(int))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// statementText is a parsed statement: its text with "?" everywhere, and which
// of these stand for the tenant.
type statementText struct {
	sql    string
	tenant []bool // per placeholder
	err    error
}

// texts remembers the statement texts that were parsed. Most are constants of the
// program (values are always arguments); those of searches have endless forms,
// so the number is bounded.
var (
	texts     sync.Map // string -> *statementText
	textCount atomic.Int64
)

const textLimit = 10_000

func parseText(text string) *statementText {
	if t, ok := texts.Load(text); ok {
		return t.(*statementText)
	}
	t := &statementText{}
	var b strings.Builder
	quoted, named := false, false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\'':
			quoted = !quoted
		case quoted:
		case text[i] == '?':
			t.tenant = append(t.tenant, false)
		case strings.HasPrefix(text[i:], "@tenant"):
			t.tenant = append(t.tenant, true)
			named = true
			b.WriteByte('?')
			i += len("@tenant") - 1
			continue
		}
		b.WriteByte(text[i])
	}
	t.sql = b.String()
	if !named {
		t.err = fmt.Errorf("statement names no tenant: %s", text)
	}
	if textCount.Add(1) <= textLimit {
		texts.Store(text, t)
	}
	return t
}

// bind puts the tenant into args and the text into the engine's form.
func (s *space) bind(text string, args []any) (string, []any, error) {
	t := parseText(text)
	if t.err != nil {
		return "", nil, t.err
	}
	all := make([]any, 0, len(t.tenant))
	next := 0
	for _, isTenant := range t.tenant {
		switch {
		case isTenant:
			all = append(all, s.tenant.ID)
		case next < len(args):
			all = append(all, args[next])
			next++
		default:
			return "", nil, fmt.Errorf("statement has more placeholders than its %d arguments: %s", len(args), text)
		}
	}
	if next != len(args) {
		return "", nil, fmt.Errorf("statement uses %d of %d arguments: %s", next, len(args), text)
	}
	return s.entry.engine.rebind(t.sql), all, nil
}

// Commit applies the statements to the entered tenant's database atomically, in
// order, or not at all. Errors are those of [Database], and an [Error] 400 for
// text that holds a NUL or is not UTF-8.
//
// On the control plane the changes its statements were marked with are written
// to the change log in the same batch, each under a new revision; whoever
// watches the pool is told afterwards. Everything [Cached] that a settled
// statement may have changed is forgotten.
func Commit(ctx context.Context, stmts ...Stmt) error {
	s, err := spaceOf(ctx)
	if err != nil {
		return err
	}
	settled, ends := false, false
	var changes []change
	for i := range stmts {
		if err := stmts[i].check(); err != nil {
			return err
		}
		settled, ends = settled || stmts[i].settled, ends || stmts[i].ends
		if c := stmts[i].change; c != nil && s.tenant.IsControlPlane() {
			changes = appendChange(changes, *c)
		}
	}
	for _, c := range changes {
		stmts = append(stmts, c.statements(ctx)...)
	}
	if settled && !s.entry.engine.exclusive {
		stmts = append(stmts, settle(ctx))
	}
	affected, err := s.batch(ctx, stmts)
	if err != nil {
		return err
	}
	if settled {
		s.entry.cache.forget()
	}
	if ends {
		s.entry.cache.endings.Add(1)
	}
	if len(changes) > 0 {
		s.entry.pool.changed()
	}
	for i := range stmts {
		if stmts[i].tells && affected[i] > 0 {
			s.entry.pool.loggedOut(s.tenant)
			break
		}
	}
	return nil
}

// CommitCount is [Commit] for a single statement whose number of affected rows
// the caller wants to know.
func CommitCount(ctx context.Context, stmt Stmt) (int64, error) {
	s, err := spaceOf(ctx)
	if err != nil {
		return 0, err
	}
	if err := stmt.check(); err != nil {
		return 0, err
	}
	if stmt.change != nil || stmt.settled || stmt.ends || stmt.tells {
		return 0, fmt.Errorf("a statement with consequences needs Commit: %s", stmt.SQL)
	}
	n, err := s.batch(ctx, []Stmt{stmt})
	if err != nil {
		return 0, err
	}
	return n[0], nil
}
