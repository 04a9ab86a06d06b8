package remote

import (
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqltext"
)

// statement makes what a connection runs of a text and its arguments. Arguments
// beyond the limit are written into the text.
func (l Limits) statement(text string, args []any) (Statement, error) {
	st := Statement{SQL: text, Args: make([]any, len(args))}
	for i, a := range args {
		v, err := plain(a)
		if err != nil {
			return Statement{}, fmt.Errorf("argument %d of %q: %w", i+1, text, err)
		}
		st.Args[i] = v
	}
	if l.Params > 0 && len(st.Args) > l.Params {
		return inline(st, l.Params)
	}
	return st, nil
}

// plain is v as one of the types a [Statement] takes.
func plain(v any) (any, error) {
	value, err := driver.DefaultParameterConverter.ConvertValue(v)
	if err != nil {
		return nil, err
	}
	switch x := value.(type) {
	case bool:
		if x {
			return int64(1), nil
		}
		return int64(0), nil
	case string:
		if !utf8.ValidString(x) { // JSON would silently carry another text
			return nil, tenancy.Errorf(400, "invalid_body", "Text holds a character that cannot be stored")
		}
	case time.Time:
		return nil, fmt.Errorf("times are stored as integers, not as %T", v)
	}
	return value, nil
}

// inline writes the arguments behind the first n into the text as literals.
func inline(st Statement, n int) (Statement, error) {
	var b strings.Builder
	seen := 0
	for at := 0; at < len(st.SQL); {
		size, kind := sqltext.Next(st.SQL[at:])
		token := st.SQL[at : at+size]
		if kind == sqltext.Mark && token == "?" {
			if seen >= n && seen < len(st.Args) {
				token = literal(st.Args[seen])
			}
			seen++
		}
		b.WriteString(token)
		at += size
	}
	if seen != len(st.Args) {
		return Statement{}, fmt.Errorf("statement has %d placeholders for %d arguments: %s", seen, len(st.Args), st.SQL)
	}
	return Statement{SQL: b.String(), Args: st.Args[:n]}, nil
}

// literal is a value as SQLite reads it in a statement.
func literal(v any) string {
	switch x := v.(type) {
	case int64:
		return strconv.FormatInt(x, 10)
	case float64:
		return strconv.FormatFloat(x, 'e', -1, 64)
	case []byte:
		return "x'" + hex.EncodeToString(x) + "'"
	case string:
		if strings.IndexByte(x, 0) >= 0 { // which would end the text of the statement
			return "CAST(x'" + hex.EncodeToString([]byte(x)) + "' AS TEXT)"
		}
		return sqltext.Quote(x)
	}
	return "NULL"
}
