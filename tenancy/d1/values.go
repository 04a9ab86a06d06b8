package d1

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// What one statement may be, by the limits of D1 and of Durable Objects.
const (
	paramLimit = 100
	textLimit  = 100_000
	valueLimit = 2_000_000
)

// exact is the largest integer up to which JavaScript, which stands between us
// and SQLite, tells each from the next.
const exact = 1<<53 - 1

// param returns an argument in the form the API takes. JSON has neither our
// 64-bit integers nor bytes that are no text.
func param(v any) (any, error) {
	switch v := v.(type) {
	case nil, float64:
		return v, nil
	case int64:
		if v > exact || v < -exact {
			return nil, refused("Number %d is too large to be stored", v)
		}
		return v, nil
	case string:
		switch {
		case strings.Contains(v, "\x00"), !utf8.ValidString(v):
			return nil, refused("Text holds a character that cannot be stored")
		case len(v) > valueLimit:
			return nil, refused("Text of %d bytes is too long to be stored; at most %d fit", len(v), valueLimit)
		}
		return v, nil
	}
	return nil, fmt.Errorf("an argument of type %T: bytes are stored as text", v)
}

func refused(format string, args ...any) error {
	return tenancy.Errorf(http.StatusBadRequest, "invalid_body", format, args...)
}

// encode returns the statement in the form the API takes.
func encode(st remote.Statement) (statement, error) {
	if len(st.SQL) > textLimit {
		return statement{}, refused("The request is too large for the tenant's database; ask for less at a time")
	}
	s := statement{SQL: st.SQL, Params: make([]any, len(st.Args))}
	for i, v := range st.Args {
		var err error
		if s.Params[i], err = param(v); err != nil {
			return statement{}, err
		}
	}
	return s, nil
}

// value returns a value of an answer, decoded with numbers as json.Number.
func value(v any) (any, error) {
	n, ok := v.(json.Number)
	if !ok {
		switch v.(type) {
		case nil, string:
			return v, nil
		}
		return nil, fmt.Errorf("the answer holds a value of type %T", v)
	}
	if strings.ContainsAny(string(n), ".eE") {
		return n.Float64()
	}
	i, err := n.Int64()
	if err != nil || i > exact || i < -exact {
		return nil, fmt.Errorf("the answer holds the number %s, which may have been another before it was written down", n)
	}
	return i, nil
}
