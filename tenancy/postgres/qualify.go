package postgres

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gatehouse-id/gatehouse/tenancy/sqltext"
)

// Statements name tables without a schema, on every engine. Here each name gets
// one, from the tenant's database: never by search_path, which would belong to a
// connection and not to a statement, would not survive a pooler, and makes the
// server plan every statement again whenever it changes.
//
// A name is a table's where the grammar wants a table, and only there: several
// tables have columns of the same names. A table that is missed here is not found
// by the server, because no schema on its search path has any of ours.

// pieces is a statement cut at the places where a schema is missing.
type pieces []string

// in returns the statement with the schema, given as `"name".`, in its places.
func (p pieces) in(schema string) string {
	if len(p) == 1 {
		return p[0]
	}
	return strings.Join(p, schema)
}

// textLimit bounds how many statement texts are remembered. Texts are constants
// of the program, or made by GORM from such.
const textLimit = 10_000

// texts remembers how statements are cut.
type texts struct {
	tables map[string]bool
	cut    sync.Map // string -> pieces
	size   atomic.Int64
}

func (t *texts) pieces(sql string) pieces {
	if p, ok := t.cut.Load(sql); ok {
		return p.(pieces)
	}
	p := cutAtTables(sql, t.tables)
	if t.size.Add(1) <= textLimit {
		t.cut.Store(sql, p)
	}
	return p
}

// opensTable are the words after which a table is named; closesFrom those that
// end the list of tables after FROM.
var (
	opensTable = map[string]bool{"from": true, "join": true, "into": true, "update": true, "table": true, "using": true, "references": true}
	closesFrom = map[string]bool{
		"where": true, "group": true, "order": true, "having": true, "limit": true, "offset": true, "set": true,
		"returning": true, "union": true, "except": true, "intersect": true, "window": true, "for": true, "values": true,
	}
)

// cutAtTables cuts sql before every name of one of the tables that stands where
// a table is named.
func cutAtTables(sql string, tables map[string]bool) pieces {
	c := cutter{tables: tables, from: []bool{false}}
	start := 0
	for at := 0; at < len(sql); {
		n, kind := sqltext.Next(sql[at:])
		if c.next(sql[at:at+n], kind) {
			c.out = append(c.out, sql[start:at])
			start = at
		}
		at += n
	}
	return append(c.out, sql[start:])
}

// cutter is where in a statement its reader is.
type cutter struct {
	tables map[string]bool
	out    pieces
	expect bool   // the next name may be a table
	index  bool   // inside CREATE INDEX, whose table stands after ON
	from   []bool // per open parenthesis: inside a list of tables
	last   string // the name before
}

// next takes one token and reports whether it names a table that needs a schema.
func (c *cutter) next(token string, kind sqltext.Kind) bool {
	top := len(c.from) - 1
	switch kind {
	case sqltext.Space:
		return false
	case sqltext.Literal:
		c.expect = false
	case sqltext.Name:
		return c.name(sqltext.Word(token))
	case sqltext.Mark:
		switch token {
		case "(":
			c.from = append(c.from, false) // c.expect stays: FROM (a JOIN b ...)
			return false
		case ")":
			if top > 0 {
				c.from = c.from[:top]
			}
		case ";":
			*c = cutter{tables: c.tables, out: c.out, from: []bool{false}}
			return false
		case ",":
			c.expect = c.from[top]
			return false
		}
		c.expect = false
	}
	return false
}

func (c *cutter) name(w string) bool {
	top := len(c.from) - 1
	found := c.expect && c.tables[w]
	before := c.last
	c.last = w
	switch {
	case found:
		c.expect = false
		return true
	case c.expect && (w == "if" || w == "not" || w == "exists" || w == "only"):
		return false // stands between, as in ALTER TABLE IF EXISTS
	}
	c.expect = opensTable[w] && !(w == "from" && before == "distinct") || c.index && w == "on"
	switch {
	case w == "index":
		c.index = true
	case w == "from" && c.expect:
		c.from[top] = true
	case closesFrom[w]:
		c.from[top] = false
	}
	return false
}

// Rebind implements tenancy.Provider: "?" becomes "$1", "$2" and so on, except
// inside literals, quoted names and comments.
func (*Provider) Rebind(sql string) string {
	var b strings.Builder
	n := 0
	for at := 0; at < len(sql); {
		size, kind := sqltext.Next(sql[at:])
		if token := sql[at : at+size]; kind == sqltext.Mark && token == "?" {
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		} else {
			b.WriteString(token)
		}
		at += size
	}
	return b.String()
}
