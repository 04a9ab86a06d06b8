package expr

import (
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

const (
	sizeLimit = 8 << 10 // bytes of an expression
	costLimit = 100_000 // of one evaluation, in CEL's units
)

// Error is why an expression cannot be used. Its message names what may be
// written instead.
type Error struct {
	Line, Column int    // where in the expression, both from 1; 0 for all of it
	Reason       string // e.g. "undeclared reference to 'role'"
	Variables    string // those that exist
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d, column %d of the expression: ", e.Line, e.Column)
	}
	b.WriteString(e.Reason)
	b.WriteString("; there are the variables ")
	b.WriteString(e.Variables)
	return b.String()
}

// variable is a name that an expression may use.
type variable struct {
	name string
	kind *cel.Type
}

var metadataType = cel.MapType(cel.StringType, cel.DynType)

var tenantVariables = []variable{
	{"tenant.id", cel.StringType},
	{"tenant.friendly_name", cel.StringType},
	{"tenant.metadata", cel.MapType(cel.StringType, cel.StringType)},
	{"tenant.state", cel.StringType},
	{"tenant.placement", cel.StringType},
}

// names lists variables as people read them.
func names(variables []variable) string {
	list := make([]string, len(variables))
	for i, v := range variables {
		list[i] = v.name
	}
	return strings.Join(list, ", ")
}

// environment is a language: CEL with the variables. Members are variables of
// their own with a dot in their names, so that one that does not exist is found
// when the expression is compiled.
func environment(variables []variable) (*cel.Env, error) {
	options := []cel.EnvOption{
		ext.Strings(), cel.OptionalTypes(), cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(sizeLimit),
	}
	for _, v := range variables {
		options = append(options, cel.Variable(v.name, v.kind))
	}
	return cel.NewEnv(options...)
}

// compile checks an expression. Its result has to be of the type, or of one that
// is known only when it is evaluated; a nil type takes any.
func compile(text string, variables []variable, result *cel.Type) (cel.Program, error) {
	wrong := func(line, column int, reason string) error {
		return &Error{Line: line, Column: column, Reason: reason, Variables: names(variables)}
	}
	if strings.TrimSpace(text) == "" {
		return nil, wrong(0, 0, "the expression is empty")
	}
	env, err := environment(variables)
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(text)
	if list := issues.Errors(); len(list) > 0 {
		first := list[0]
		return nil, wrong(first.Location.Line(), first.Location.Column()+1, strings.TrimSuffix(first.Message, " (in container '')"))
	}
	if err := issues.Err(); err != nil {
		return nil, wrong(0, 0, err.Error())
	}
	if got := checked.OutputType(); result != nil && !got.IsExactType(result) && !got.IsExactType(cel.DynType) {
		return nil, wrong(0, 0, fmt.Sprintf("the expression gives %s, wanted is %s", got, result))
	}
	return env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit))
}

// evaluate runs a program. What goes wrong in one is never a panic.
func evaluate(p cel.Program, values map[string]any) (ref.Val, error) {
	out, _, err := p.Eval(values)
	if err == nil && types.IsUnknownOrError(out) {
		err = fmt.Errorf("%v", out)
	}
	return out, err
}

var errNoJSON = errors.New("gives what is no JSON")

// plain turns a result into what encoding/json encodes as the same value.
func plain(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.Bool, types.Int, types.Uint, types.Double, types.String:
		return v.Value(), nil
	case types.Null:
		return nil, nil
	case *types.Optional:
		if !v.HasValue() {
			return nil, nil
		}
		return plain(v.GetValue())
	case traits.Mapper:
		object := make(map[string]any)
		for it := v.Iterator(); it.HasNext() == types.True; {
			key, ok := it.Next().(types.String)
			if !ok {
				return nil, fmt.Errorf("%w: a key that is no text", errNoJSON)
			}
			member, err := plain(v.Get(key))
			if err != nil {
				return nil, err
			}
			object[string(key)] = member
		}
		return object, nil
	case traits.Lister:
		list := []any{}
		for it := v.Iterator(); it.HasNext() == types.True; {
			element, err := plain(it.Next())
			if err != nil {
				return nil, err
			}
			list = append(list, element)
		}
		return list, nil
	}
	return nil, fmt.Errorf("%w: %s", errNoJSON, v.Type())
}
