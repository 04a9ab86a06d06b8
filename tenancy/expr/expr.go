package expr

import (
	"encoding/json"
	"fmt"

	"cel.dev/cel-go/cel"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Entity is a row of the control plane that tenants may get a copy of.
type Entity struct {
	Kind       string // as in the change log, e.g. "role"
	ID         string
	Name       string
	Identifier string // of a resource server; of other kinds ""
	Metadata   map[string]any
}

var entityVariables = []variable{
	{"entity.kind", cel.StringType},
	{"entity.id", cel.StringType},
	{"entity.name", cel.StringType},
	{"entity.identifier", cel.StringType},
	{"entity.metadata", metadataType},
}

// Exclude is an expression that says of an entity and a tenant whether the tenant
// gets no copy. It is safe for concurrent use.
type Exclude struct{ program cel.Program }

// CompileExclude checks an expression. Errors are [*Error].
func CompileExclude(text string) (*Exclude, error) {
	p, err := compile(text, append(entityVariables, tenantVariables...), cel.BoolType)
	if err != nil {
		return nil, err
	}
	return &Exclude{p}, nil
}

// Match reports whether the tenant gets no copy of the entity. An error means
// that the expression does not say: it reads a member that is not there, or costs
// too much.
func (x *Exclude) Match(e Entity, t *tenancy.Tenant) (bool, error) {
	values := tenantValues(t)
	values["entity.kind"], values["entity.id"] = e.Kind, e.ID
	values["entity.name"], values["entity.identifier"] = e.Name, e.Identifier
	values["entity.metadata"] = orEmpty(e.Metadata)
	out, err := evaluate(x.program, values)
	if err != nil {
		return false, err
	}
	matches, ok := out.Value().(bool)
	if !ok {
		return false, fmt.Errorf("gives %s, wanted is bool", out.Type())
	}
	return matches, nil
}

// Transform is an expression that makes what a tenant inherits in place of the
// control plane's value of a setting. It is safe for concurrent use.
type Transform struct{ program cel.Program }

// CompileTransform checks an expression. Errors are [*Error].
func CompileTransform(text string) (*Transform, error) {
	p, err := compile(text, append([]variable{{"value", cel.DynType}}, tenantVariables...), nil)
	if err != nil {
		return nil, err
	}
	return &Transform{p}, nil
}

// Make returns the value for a tenant; it has the form of [tenancy.Transform]. A
// result of null means that the tenant does not inherit the setting.
func (x *Transform) Make(value json.RawMessage, t *tenancy.Tenant) (json.RawMessage, error) {
	values := tenantValues(t)
	var decoded any
	if err := json.Unmarshal(value, &decoded); err != nil {
		return nil, err
	}
	values["value"] = decoded
	out, err := evaluate(x.program, values)
	if err != nil {
		return nil, err
	}
	made, err := plain(out)
	if err != nil {
		return nil, err
	}
	return json.Marshal(made)
}

// tenantValues are the values of the variables of a tenant.
func tenantValues(t *tenancy.Tenant) map[string]any {
	return map[string]any{
		"tenant.id": t.ID, "tenant.friendly_name": t.FriendlyName, "tenant.metadata": orEmpty(t.Metadata),
		"tenant.state": string(t.State), "tenant.placement": t.Placement,
	}
}

// orEmpty makes a map of none an empty one, in which members can be looked for.
func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
