package d1

import (
	"encoding/json"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/d1/d1test"
)

func TestMain(m *testing.M) {
	code := m.Run()
	d1test.Stop()
	os.Exit(code)
}

// worker returns the API of the Worker.
func worker(t *testing.T) *api {
	t.Helper()
	return newAPI(d1test.Worker(t), "0123456789abcdef0123456789abcdef", d1test.Secret, true)
}

// fresh returns the id of a new database.
func fresh(t *testing.T, a *api) string {
	t.Helper()
	id, made, err := a.create(t.Context(), strings.ToLower("t"+tenancy.NewHexID()), "")
	if err != nil || !made {
		t.Fatal(made, err)
	}
	return id
}

// TestParam: what JSON or JavaScript would make something else of is refused.
func TestParam(t *testing.T) {
	for _, c := range []struct {
		in   any
		want any // nil for nil, an error's beginning for errors
		bad  bool
	}{
		{nil, nil, false},
		{int64(-5), int64(-5), false},
		{int64(exact), int64(exact), false},
		{int64(exact + 1), "Number 9007199254740992", true},
		{int64(math.MinInt64), "Number -9223372036854775808", true},
		{1.5, 1.5, false},
		{"text ' \" ? \U0001f600", "text ' \" ? \U0001f600", false},
		{strings.Repeat("x", valueLimit), strings.Repeat("x", valueLimit), false},
		{strings.Repeat("x", valueLimit+1), "Text of 2000001 bytes", true},
		{"a\x00b", "Text holds a character", true},
		{"a\xffb", "Text holds a character", true},
		{[]byte("x"), "an argument of type []uint8", true},
		{true, "an argument of type bool", true}, // it would be stored as the text "true"
		{struct{}{}, "an argument of type struct", true},
	} {
		got, err := param(c.in)
		switch {
		case c.bad && (err == nil || !strings.HasPrefix(err.Error(), c.want.(string))):
			t.Errorf("%T: got %v, %v", c.in, got, err)
		case !c.bad && (err != nil || !reflect.DeepEqual(got, c.want)):
			t.Errorf("%T: got %v, %v", c.in, got, err)
		}
	}
}

// TestValue: a number that may have been another one is an error.
func TestValue(t *testing.T) {
	for text, want := range map[string]any{
		"null": nil, `"a"`: "a", "5": int64(5), "-5": int64(-5), "5.5": 5.5, "1e21": 1e21,
		"9007199254740991": int64(exact), "9007199254740992": "error", "9223372036854775807": "error",
		"99999999999999999999": "error", "true": "error", "[1]": "error", "{}": "error",
	} {
		var got rows
		err := json.Unmarshal([]byte("[["+text+"]]"), &got)
		if want == "error" {
			if err == nil {
				t.Errorf("%s: got %v", text, got)
			}
		} else if err != nil || !reflect.DeepEqual(got[0][0], want) {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

// TestRefusals: what the limits in this package are for is what SQLite there
// refuses, so that they are neither too wide nor forgotten.
func TestRefusals(t *testing.T) {
	a := worker(t)
	id := fresh(t, a)
	ones := make([]any, paramLimit+1)
	for i := range ones {
		ones[i] = 1
	}
	question := func(n int) string { return "SELECT " + strings.TrimSuffix(strings.Repeat("?,", n), ",") }
	for name, c := range map[string]struct {
		s    statement
		want string // "" for taken
	}{
		"as many arguments as may be": {statement{question(paramLimit), ones[:paramLimit]}, ""},
		"one more":                    {statement{question(paramLimit + 1), ones}, "too many SQL variables"},
		"as long as may be":           {statement{"SELECT 1" + strings.Repeat(" ", textLimit-8), nil}, ""},
		"longer":                      {statement{"SELECT 1" + strings.Repeat(" ", textLimit-7), nil}, "statement too long"},
		"the largest value":           {statement{"SELECT length(?)", []any{strings.Repeat("x", valueLimit)}}, ""},
		"a transaction":               {statement{"BEGIN", nil}, "transaction"},
		"a savepoint":                 {statement{"SAVEPOINT a", nil}, "transaction"},
		"the version":                 {statement{"SELECT sqlite_version()", nil}, "not authorized"},
		"a pragma":                    {statement{"PRAGMA user_version", nil}, "not authorized"},
	} {
		_, err := a.raw(t.Context(), id, []statement{c.s})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestNumbers: JavaScript gives another number than the one stored beyond 2^53,
// which is why these are refused.
func TestNumbers(t *testing.T) {
	a := worker(t)
	_, err := a.raw(t.Context(), fresh(t, a), []statement{{SQL: "SELECT 9007199254740993"}})
	if err == nil || !strings.Contains(err.Error(), "may have been another") {
		t.Error(err)
	}
}
