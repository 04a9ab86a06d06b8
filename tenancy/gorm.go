package tenancy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"
)

var (
	errWriteOutsideCommit = errors.New("tenant databases are written by Commit only")
	errNoTenantColumn     = errors.New("statement over rows without tenant_id")
)

// newEngine opens the one GORM handle that serves every database of a provider.
// GORM parses each entity once per handle, so a handle per tenant would cost
// 200 KiB and a millisecond each; here a tenant costs nothing.
func newEngine(p Provider) (*engine, error) {
	db, err := gorm.Open(p.Dialector(), &gorm.Config{
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		TranslateError:         true,
		QueryFields:            true, // names columns, so that old and new schema serve side by side
		Logger:                 logger.Discard,
		NowFunc:                func() time.Time { return time.Now().UTC() },
	})
	if err != nil {
		return nil, fmt.Errorf("opening dialect: %w", err)
	}
	db.ConnPool = router{}
	db.Statement.ConnPool = router{}
	if err := db.Use(scoping{}); err != nil {
		return nil, err
	}
	only, ok := p.(Exclusive)
	return &engine{provider: p, exclusive: ok && only.Exclusive(), gorm: db}, nil
}

// router is the connection pool of every GORM statement: it hands a query to
// the database of the tenant its context is inside of.
type router struct{}

func (router) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := spaceOf(ctx)
	if err != nil {
		return nil, err
	}
	return s.entry.db.QueryContext(ctx, query, args...)
}

// QueryRowContext cannot return an error, so the row comes from a database that
// refuses to connect. Nothing here uses it; GORM's migrator would.
func (router) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return refusing.QueryRowContext(ctx, query, args...)
}

func (router) PrepareContext(context.Context, string) (*sql.Stmt, error) {
	return nil, errWriteOutsideCommit
}

func (router) ExecContext(context.Context, string, ...any) (sql.Result, error) {
	return nil, errWriteOutsideCommit
}

// refusing is a database that is closed from the start.
var refusing = func() *sql.DB {
	db := sql.OpenDB(nil)
	_ = db.Close()
	return db
}()

// scoping is the GORM plugin that puts the tenant into every statement, and
// refuses those it cannot: the second wall behind routing.
type scoping struct{}

// Name implements gorm.Plugin.
func (scoping) Name() string { return "tenancy" }

// Initialize implements gorm.Plugin.
func (scoping) Initialize(db *gorm.DB) error {
	refuse := func(db *gorm.DB) { _ = db.AddError(errWriteOutsideCommit) }
	c := db.Callback()
	return errors.Join(
		c.Query().Before("gorm:query").Register("tenancy:scope", scope),
		c.Row().Before("gorm:row").Register("tenancy:scope", scope),
		c.Create().Before("*").Register("tenancy:refuse", refuse),
		c.Update().Before("*").Register("tenancy:refuse", refuse),
		c.Delete().Before("*").Register("tenancy:refuse", refuse),
		c.Raw().Before("*").Register("tenancy:refuse", refuse),
	)
}

func scope(db *gorm.DB) {
	s, err := spaceOf(db.Statement.Context)
	if err != nil {
		_ = db.AddError(err)
		return
	}
	if db.Statement.Schema == nil || db.Statement.Schema.LookUpField("tenant_id") == nil {
		_ = db.AddError(errNoTenantColumn)
		return
	}
	own := clause.Eq{Column: clause.Column{Table: clause.CurrentTable, Name: "tenant_id"}, Value: s.tenant.ID}
	exprs := []clause.Expression{own}
	if given, ok := db.Statement.Clauses["WHERE"].Expression.(clause.Where); ok && len(given.Exprs) > 0 {
		// Bracket what the caller asked for: "a OR b AND tenant" would let a through.
		exprs = []clause.Expression{own, clause.And(given.Exprs...)}
		if len(given.Exprs) == 1 {
			exprs[1] = bracketed{given.Exprs[0]}
		}
	}
	delete(db.Statement.Clauses, "WHERE")
	db.Statement.AddClause(clause.Where{Exprs: exprs})
}

// bracketed keeps a condition written as text, which may hold an OR, together.
type bracketed struct{ clause.Expression }

// Build implements clause.Expression.
func (b bracketed) Build(builder clause.Builder) {
	_ = builder.WriteByte('(')
	b.Expression.Build(builder)
	_ = builder.WriteByte(')')
}

// schemas and naming are how entities are mapped to tables, here and in GORM.
var naming = schema.NamingStrategy{}

// Interface guards
var (
	_ gorm.ConnPool = router{}
	_ gorm.Plugin   = scoping{}
)
