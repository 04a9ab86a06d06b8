package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// connector opens connections to one database, within the budget. It is a driver
// of its own rather than pgx's, for three things that one cannot do: a read under
// row-level security is one round trip, connections count against a budget, and
// they are given up as soon as another database needs them.
type connector struct {
	config *pgx.ConnConfig
	budget *budget
	pooler *pooler
}

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.budget.take(ctx); err != nil {
		return nil, err
	}
	pg, err := c.pooler.connect(ctx, c.config)
	if err != nil {
		c.budget.give()
		return nil, err
	}
	return &conn{pg: pg, budget: c.budget}, nil
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return noDriver{} }

// noDriver is the driver of connections that are opened by a connector only.
type noDriver struct{}

// Open implements driver.Driver.
func (noDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("connections are opened by their connector")
}

// pooler knows whether connections lead to the server or to a pooler before it
// that gives each transaction another server connection. There a statement
// prepared in one transaction is not there in the next, so statements are sent
// with their text each time. A connection string that has a
// default_query_exec_mode decides itself.
type pooler struct {
	decided bool

	mu     sync.Mutex
	known  bool
	pooled bool
}

func newPooler(dsn string) *pooler {
	return &pooler{decided: strings.Contains(dsn, "default_query_exec_mode")}
}

func (p *pooler) connect(ctx context.Context, config *pgx.ConnConfig) (*pgx.Conn, error) {
	config = config.Copy()
	p.mu.Lock()
	known, pooled := p.known || p.decided, p.pooled
	p.mu.Unlock()
	if pooled {
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
	pg, err := pgx.ConnectConfig(ctx, config)
	if err != nil || known {
		return pg, err
	}
	// The process the connection was promised, against the one that answers.
	var pid uint32
	if err := pg.QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid); err != nil {
		_ = pg.Close(ctx)
		return nil, err
	}
	pooled = pid != pg.PgConn().PID()
	p.mu.Lock()
	p.known, p.pooled = true, pooled
	p.mu.Unlock()
	if !pooled {
		return pg, nil
	}
	_ = pg.Close(ctx)
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	return pgx.ConnectConfig(ctx, config)
}

// conn is one connection. Reads come through database/sql, whose rows are what
// tenancy.Database returns; everything else uses pg.
type conn struct {
	pg     *pgx.Conn
	budget *budget
	once   sync.Once
}

// read as the first argument of a query says what the connection does beside
// running it.
type read struct {
	tenant string // whom row-level security is told of; "" where there is none
	ended  func() // called when the rows are closed
}

// setTenant lasts to the end of the transaction it is in.
const setTenant = `SELECT set_config('gatehouse.tenant', $1, true)`

// CheckNamedValue implements driver.NamedValueChecker.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if _, ok := v.Value.(*read); ok {
		return nil
	}
	value, err := driver.DefaultParameterConverter.ConvertValue(v.Value)
	v.Value = value
	return err
}

// QueryContext implements driver.QueryerContext. A connection that turns out to
// be dead is driver.ErrBadConn, so that the statement, which changes nothing, is
// run on another.
func (c *conn) QueryContext(ctx context.Context, query string, named []driver.NamedValue) (driver.Rows, error) {
	args := make([]any, len(named))
	for i, v := range named {
		args[i] = v.Value
	}
	r, err := c.query(ctx, query, args)
	if err == nil {
		err = r.first()
	}
	if err != nil {
		if c.pg.IsClosed() && ctx.Err() == nil {
			return nil, fmt.Errorf("%w: %w", driver.ErrBadConn, err)
		}
		return nil, translate(err)
	}
	return r, nil
}

func (c *conn) query(ctx context.Context, query string, args []any) (*rows, error) {
	r := new(rows)
	if len(args) > 0 {
		if with, ok := args[0].(*read); ok {
			args, r.ended = args[1:], with.ended
			if with.tenant != "" {
				return r, c.queryAs(ctx, r, with.tenant, query, args)
			}
		}
	}
	var err error
	r.list, err = c.pg.Query(ctx, query, args...)
	return r, err
}

// queryAs runs the query with the tenant set for row-level security. Both are
// one round trip and one transaction: nothing but this query sees the tenant.
func (c *conn) queryAs(ctx context.Context, r *rows, tenant, query string, args []any) error {
	b := new(pgx.Batch)
	b.Queue(setTenant, tenant)
	b.Queue(query, args...)
	results := c.pg.SendBatch(ctx, b)
	_, err := results.Exec()
	if err == nil {
		r.list, err = results.Query()
	}
	if err != nil {
		_ = results.Close()
		return err
	}
	r.batch = results
	return nil
}

// IsValid implements driver.Validator. A connection somebody else waits for is
// closed instead of kept idle.
func (c *conn) IsValid() bool {
	return !c.pg.IsClosed() && c.pg.PgConn().TxStatus() == 'I' && !c.budget.wanted()
}

// ResetSession implements driver.SessionResetter.
func (c *conn) ResetSession(context.Context) error {
	if c.pg.IsClosed() || c.pg.PgConn().TxStatus() != 'I' {
		return driver.ErrBadConn
	}
	return nil
}

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error { return c.pg.Ping(ctx) }

// Close implements driver.Conn.
func (c *conn) Close() (err error) {
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err = c.pg.Close(ctx)
		c.budget.give()
	})
	return err
}

var errOnlyReads = errors.New("only reads come through database/sql")

// Prepare implements driver.Conn; pgx prepares statements itself.
func (*conn) Prepare(string) (driver.Stmt, error) { return nil, errOnlyReads }

// Begin implements driver.Conn.
func (*conn) Begin() (driver.Tx, error) { return nil, errOnlyReads }

// withConn runs f with a connection of db. Waiting for one is bounded by ctx and
// by patience; f itself is not.
func withConn(ctx context.Context, db *sql.DB, f func(*pgx.Conn) error) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := db.Conn(waiting)
	if err != nil {
		if ctx.Err() == nil && waiting.Err() != nil {
			return tenancy.Unavailable(errNoConnection, hintConns)
		}
		return err
	}
	defer c.Close()
	return c.Raw(func(raw any) error { return f(raw.(*conn).pg) })
}

// Interface guards
var (
	_ driver.Connector         = (*connector)(nil)
	_ driver.QueryerContext    = (*conn)(nil)
	_ driver.NamedValueChecker = (*conn)(nil)
	_ driver.Validator         = (*conn)(nil)
	_ driver.SessionResetter   = (*conn)(nil)
	_ driver.Pinger            = (*conn)(nil)
)
