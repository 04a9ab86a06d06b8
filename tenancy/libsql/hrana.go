package libsql

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// The messages of Hrana 2 over HTTP, as far as they are used: a request holds
// everything from its stream's begin to its end, so no stream is ever resumed.
type (
	pipeline struct {
		Requests []request `json:"requests"`
	}
	request struct {
		Type  string `json:"type"`
		Stmt  *stmt  `json:"stmt,omitempty"`
		Batch *steps `json:"batch,omitempty"`
	}
	steps struct {
		Steps []step `json:"steps"`
	}
	step struct {
		Stmt      stmt       `json:"stmt"`
		Condition *condition `json:"condition,omitempty"`
	}
	stmt struct {
		SQL      string  `json:"sql"`
		Args     []value `json:"args,omitempty"`
		WantRows bool    `json:"want_rows"`
	}
	condition struct {
		Type  string      `json:"type"`
		Step  *int        `json:"step,omitempty"`
		Cond  *condition  `json:"cond,omitempty"`
		Conds []condition `json:"conds,omitempty"`
	}
	value struct {
		Type   string          `json:"type"`
		Value  json.RawMessage `json:"value,omitempty"`
		Base64 *string         `json:"base64,omitempty"`
	}

	pipelined struct {
		Results []struct {
			Type     string    `json:"type"`
			Error    *sqlError `json:"error"`
			Response struct {
				Result json.RawMessage `json:"result"`
			} `json:"response"`
		} `json:"results"`
	}
	sqlError struct {
		Message string `json:"message"`
		Code    string `json:"code"`
	}
	stmtResult struct {
		Cols []struct {
			Name string `json:"name"`
		} `json:"cols"`
		Rows    [][]value `json:"rows"`
		Changes int64     `json:"affected_row_count"`
	}
	batchResult struct {
		Results []*stmtResult `json:"step_results"`
		Errors  []*sqlError   `json:"step_errors"`
	}
)

// ok holds when the step was run and succeeded.
func ok(step int) condition { return condition{Type: "ok", Step: &step} }

// transaction makes steps that apply the statements whole or not at all.
func transaction(stmts []stmt) *steps {
	s := &steps{Steps: []step{{Stmt: stmt{SQL: "BEGIN IMMEDIATE"}}}}
	for i, st := range stmts {
		before := ok(i)
		s.Steps = append(s.Steps, step{st, &before})
	}
	last := ok(len(stmts))
	s.Steps = append(s.Steps, step{stmt{SQL: "COMMIT"}, &last})
	committed := ok(len(stmts) + 1)
	s.Steps = append(s.Steps, step{stmt{SQL: "ROLLBACK"}, &condition{Type: "and", Conds: []condition{ok(0), {Type: "not", Cond: &committed}}}})
	return s
}

// conn reaches one database.
type conn struct {
	client *http.Client
	url    string
	host   string // the Host header; "" for the URL's own

	// token returns what authorizes requests, "" for nothing. refused is the one
	// the server does not take any more, or "".
	token func(ctx context.Context, refused string) (string, error)

	// missing is the error for a database that the server does not know.
	missing func(*answer) error
}

// Close implements remote.Conn.
func (c *conn) Close() error { return nil }

// Run implements remote.Conn.
func (c *conn) Run(ctx context.Context, list []remote.Statement) ([]remote.Result, error) {
	stmts := make([]stmt, len(list))
	for i, st := range list {
		encoded, err := encode(st)
		if err != nil {
			return nil, err
		}
		stmts[i] = encoded
	}
	r := request{Type: "batch"}
	if len(stmts) == 1 {
		r = request{Type: "execute", Stmt: &stmts[0]}
	} else {
		r.Batch = transaction(stmts)
	}
	a, err := c.post(ctx, pipeline{[]request{r, {Type: "close"}}})
	if err != nil {
		return nil, err
	}
	var p pipelined
	if err := a.decode(&p); err != nil {
		return nil, err
	}
	switch {
	case len(p.Results) == 0:
		return nil, fmt.Errorf("%w: it holds no result", remote.ErrLost)
	case p.Results[0].Error != nil:
		return nil, p.Results[0].Error.as()
	}
	result := p.Results[0].Response.Result
	if r.Stmt != nil {
		return single(result)
	}
	return whole(result, len(stmts))
}

// post sends the request, with a new token if the server does not take the one at
// hand any more: what it refuses it has not run.
func (c *conn) post(ctx context.Context, body any) (*answer, error) {
	refused := ""
	for {
		token, err := c.token(ctx, refused)
		if err != nil {
			return nil, err
		}
		authorization := ""
		if token != "" {
			authorization = "Bearer " + token
		}
		a, err := send(ctx, c.client, http.MethodPost, c.url+"/v2/pipeline", c.host, authorization, body)
		if err != nil {
			return nil, err
		}
		switch a.status {
		case http.StatusOK:
			return a, nil
		case http.StatusUnauthorized:
			if refused == "" && token != "" {
				refused = token
				continue
			}
			return nil, a.refused("the server does not take the token: set one that is valid for all databases")
		case http.StatusForbidden:
			return nil, a.refused("the token does not allow this: use one with full access")
		case http.StatusNotFound:
			return nil, c.missing(a)
		case http.StatusTooManyRequests:
			return nil, a.refused("the service takes no more requests for now: see the limits of the plan")
		}
		return nil, a.refused("see what answers at this address")
	}
}

func single(result json.RawMessage) ([]remote.Result, error) {
	var r *stmtResult
	if err := json.Unmarshal(result, &r); err != nil || r == nil {
		return nil, fmt.Errorf("%w: it holds no result (%v)", remote.ErrLost, err)
	}
	decoded, err := r.decode()
	return []remote.Result{decoded}, err
}

// whole returns the results of a transaction's n statements.
func whole(result json.RawMessage, n int) ([]remote.Result, error) {
	var b batchResult
	if err := json.Unmarshal(result, &b); err != nil {
		return nil, fmt.Errorf("%w: %w", remote.ErrLost, err)
	}
	for _, e := range b.Errors {
		if e != nil { // the first: what follows is its consequence
			return nil, e.as()
		}
	}
	if len(b.Results) != n+3 || b.Results[n+1] == nil {
		return nil, fmt.Errorf("%w: it does not say that the transaction was committed", remote.ErrLost)
	}
	list := make([]remote.Result, n)
	for i, r := range b.Results[1 : n+1] {
		if r == nil {
			return nil, fmt.Errorf("%w: it lacks a statement's result", remote.ErrLost)
		}
		decoded, err := r.decode()
		if err != nil {
			return nil, err
		}
		list[i] = decoded
	}
	return list, nil
}

// as is the error as the engine's, or as what it means where it is the server's.
func (e *sqlError) as() error {
	err := &remote.SQLError{Code: e.Code, Message: strings.TrimPrefix(e.Message, "SQLite error: ")}
	if e.Code == "BLOCKED" {
		return tenancy.Unavailable(err, "the service has blocked the database: see its limits and the plan's")
	}
	return err
}

func encode(st remote.Statement) (stmt, error) {
	s := stmt{SQL: st.SQL, WantRows: true}
	for _, a := range st.Args {
		var v value
		switch x := a.(type) {
		case nil:
			v.Type = "null"
		case int64: // as text: JSON's numbers lose digits on the way
			v = value{Type: "integer", Value: json.RawMessage(`"` + strconv.FormatInt(x, 10) + `"`)}
		case float64:
			number, err := json.Marshal(x)
			if err != nil {
				return stmt{}, err
			}
			v = value{Type: "float", Value: number}
		case string:
			text, err := json.Marshal(x)
			if err != nil {
				return stmt{}, err
			}
			v = value{Type: "text", Value: text}
		case []byte:
			blob := base64.RawStdEncoding.EncodeToString(x)
			v = value{Type: "blob", Base64: &blob}
		default:
			return stmt{}, fmt.Errorf("a value of type %T cannot be sent", a)
		}
		s.Args = append(s.Args, v)
	}
	return s, nil
}

func (r *stmtResult) decode() (remote.Result, error) {
	out := remote.Result{Changes: r.Changes, Columns: make([]string, len(r.Cols))}
	for i, c := range r.Cols {
		out.Columns[i] = c.Name
	}
	for _, row := range r.Rows {
		if len(row) != len(r.Cols) {
			return out, fmt.Errorf("%w: a row of %d values for %d columns", remote.ErrLost, len(row), len(r.Cols))
		}
		values := make([]any, len(row))
		for i, v := range row {
			decoded, err := v.decode()
			if err != nil {
				return out, fmt.Errorf("%w: %w", remote.ErrLost, err)
			}
			values[i] = decoded
		}
		out.Rows = append(out.Rows, values)
	}
	return out, nil
}

func (v value) decode() (any, error) {
	switch v.Type {
	case "null":
		return nil, nil
	case "integer":
		return strconv.ParseInt(strings.Trim(string(v.Value), `"`), 10, 64)
	case "float":
		return strconv.ParseFloat(string(v.Value), 64)
	case "text":
		var s string
		err := json.Unmarshal(v.Value, &s)
		return s, err
	case "blob":
		if v.Base64 == nil {
			return nil, errors.New("a blob without its content")
		}
		return base64.RawStdEncoding.DecodeString(strings.TrimRight(*v.Base64, "="))
	}
	return nil, fmt.Errorf("a value of type %q is not known", v.Type)
}

// Interface guards
var _ remote.Conn = (*conn)(nil)
