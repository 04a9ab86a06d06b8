package d1

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// statement is one of a batch, as the API takes it.
type statement struct {
	SQL    string `json:"sql"`
	Params []any  `json:"params,omitempty"`
}

// result is what became of a statement.
type result struct {
	Success bool `json:"success"`
	Results struct {
		Columns []string `json:"columns"`
		Rows    rows     `json:"rows"`
	} `json:"results"`
	Meta struct {
		Changes int64 `json:"changes"`
	} `json:"meta"`
}

// rows are the rows of a result, as nil, string, int64 and float64.
type rows [][]any

// UnmarshalJSON implements json.Unmarshaler.
func (r *rows) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var list [][]any
	if err := d.Decode(&list); err != nil {
		return err
	}
	for _, row := range list {
		for i, v := range row {
			var err error
			if row[i], err = value(v); err != nil {
				return err
			}
		}
	}
	*r = list
	return nil
}

// raw runs the statements as one batch in the database.
func (a *api) raw(ctx context.Context, id string, batch []statement) ([]result, error) {
	body := struct {
		Batch []statement `json:"batch"`
	}{batch}
	var list []result
	err := a.do(ctx, request{method: http.MethodPost, path: "/" + url.PathEscape(id) + "/raw", body: body}, &list)
	if err != nil {
		return nil, err
	}
	whole := len(list) == len(batch)
	for _, r := range list {
		whole = whole && r.Success
	}
	if !whole {
		return nil, &failure{api: a, status: http.StatusOK, message: fmt.Sprintf("%d of %d statements were answered, or one without success", len(list), len(batch))}
	}
	return list, nil
}

// conn reaches one database.
type conn struct {
	server *server
	name   string
	id     string
}

// Run implements remote.Conn.
func (c *conn) Run(ctx context.Context, stmts []remote.Statement) ([]remote.Result, error) {
	batch := make([]statement, len(stmts))
	for i, st := range stmts {
		var err error
		if batch[i], err = encode(st); err != nil {
			return nil, err
		}
	}
	list, err := c.server.api.raw(ctx, c.id, batch)
	if err != nil {
		return nil, c.translate(err)
	}
	results := make([]remote.Result, len(list))
	for i, r := range list {
		results[i] = remote.Result{Columns: r.Results.Columns, Rows: r.Results.Rows, Changes: r.Meta.Changes}
	}
	return results, nil
}

// Close implements remote.Conn. A connection holds nothing.
func (c *conn) Close() error { return nil }

// translate turns an error of the API into one of remote's.
func (c *conn) translate(err error) error {
	var f *failure
	switch {
	case !errors.As(err, &f):
		return err
	case f.code == codeMissing:
		c.server.forget(c.name, c.id)
		return fmt.Errorf("%w: %w", remote.ErrMissing, f)
	case !f.statement():
		return f.unavailable()
	case strings.Contains(f.message, "LIKE or GLOB pattern too complex"):
		return refused("The text to search for is too long for the tenant's database, which takes 50 bytes")
	}
	text, code, _ := cutLast(f.message, ": SQLITE_")
	return &remote.SQLError{Code: "SQLITE_" + code, Message: text}
}

// cutLast cuts s around the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// Interface guards
var _ remote.Conn = (*conn)(nil)
