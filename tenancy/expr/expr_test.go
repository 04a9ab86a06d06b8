package expr

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func acme() *tenancy.Tenant {
	return &tenancy.Tenant{
		Row: tenancy.Row{ID: "acme"}, FriendlyName: "Acme Ltd", State: tenancy.StateActive, Placement: "main",
		Metadata: map[string]string{"plan": "pro"},
	}
}

// Everything the variables have can be asked for, and what does not exist is an
// error of the evaluation and not false.
func TestExclude(t *testing.T) {
	support := Entity{Kind: "role", ID: "rol_1", Name: "Support", Metadata: map[string]any{"team": "x", "level": float64(3), "beta": true}}
	api := Entity{Kind: "resource_server", ID: "rs1", Name: "Orders", Identifier: "https://orders.test"}
	for _, c := range []struct {
		text   string
		entity Entity
		want   bool
		fails  string
	}{
		{`entity.kind == "role" && entity.id == "rol_1" && entity.name.startsWith("Supp")`, support, true, ""},
		{`entity.identifier.endsWith(".test")`, api, true, ""},
		{`entity.identifier == ""`, support, true, ""},
		{`entity.metadata.team == "x" && entity.metadata.level >= 3`, support, true, ""},
		{`entity.metadata.beta`, support, true, ""},
		{`entity.metadata.team`, support, false, "gives string, wanted is bool"},
		{`has(entity.metadata.team) && entity.metadata.team == "x"`, api, false, ""},
		{`entity.metadata.?team.orValue("none") == "none"`, api, true, ""},
		{`entity.metadata.team == "x"`, api, false, "no such key: team"},
		{`tenant.id == "acme" && tenant.friendly_name == "Acme Ltd" && tenant.state == "active" && tenant.placement == "main"`, api, true, ""},
		{`tenant.metadata.plan != "pro"`, api, false, ""},
		{`tenant.metadata.region == "eu"`, api, false, "no such key: region"},
		{`entity.name.lowerAscii() in ["orders", "billing"]`, api, true, ""},
		{`1 / (size(entity.name) - 7) > 0`, support, false, "division by zero"},
		{strings.Repeat("[1,2,3,4,5,6,7,8,9].all(x, ", 6) + "size(entity.name) > 0" + strings.Repeat(")", 6), support, false, "cost limit exceeded"},
	} {
		x, err := CompileExclude(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, err := x.Match(c.entity, acme())
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: got error %v, want %q", c.text, err, c.fails)
		}
		if got != c.want {
			t.Errorf("%s: got %v, want %v", c.text, got, c.want)
		}
	}
}

// A tenant and an entity without metadata can be asked for theirs.
func TestNoMetadata(t *testing.T) {
	x, err := CompileExclude(`has(entity.metadata.a) || has(tenant.metadata.b)`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := x.Match(Entity{}, &tenancy.Tenant{}); got || err != nil {
		t.Errorf("got %v, %v, want false", got, err)
	}
}

// What is wrong is found when it is compiled, with its place and the variables
// that exist.
func TestCompileErrors(t *testing.T) {
	exclude := func(text string) error { _, err := CompileExclude(text); return err }
	transform := func(text string) error { _, err := CompileTransform(text); return err }
	for _, c := range []struct {
		compile      func(string) error
		text         string
		line, column int
		says         string
	}{
		{exclude, `role.name == "x"`, 1, 1, "undeclared reference to 'role'"},
		{exclude, `entity.nam == "x"`, 1, 1, "undeclared reference to 'entity'"},
		{exclude, "tenant.id == \"x\" ||\n  value == 1", 2, 3, "undeclared reference to 'value'"},
		{exclude, `entity.name == `, 1, 16, "Syntax error"},
		{exclude, `entity.name == 1`, 1, 13, "no matching overload"},
		{exclude, `entity.name`, 0, 0, "gives string, wanted is bool"},
		{exclude, ` `, 0, 0, "empty"},
		{exclude, `"` + strings.Repeat("x", sizeLimit) + `" == entity.id`, 0, 0, "size"},
		{exclude, `entity.name.lowercase() == "x"`, 1, 22, "undeclared reference to 'lowercase'"},
		{transform, `entity.name`, 1, 1, "undeclared reference to 'entity'"},
		{transform, `"a" + tenant.name`, 1, 7, "undeclared reference to 'tenant'"},
	} {
		err := c.compile(c.text)
		var bad *Error
		if !errors.As(err, &bad) {
			t.Errorf("%.40s: got %v, want an Error", c.text, err)
			continue
		}
		if bad.Line != c.line && c.line > 0 || bad.Column != c.column && c.line > 0 || !strings.Contains(bad.Error(), c.says) {
			t.Errorf("%.40s: got line %d, column %d: %v; want line %d, column %d: %s", c.text, bad.Line, bad.Column, bad, c.line, c.column, c.says)
		}
		if !strings.Contains(bad.Error(), "tenant.id, tenant.friendly_name, tenant.metadata, tenant.state, tenant.placement") {
			t.Errorf("%.40s: no variables in %v", c.text, bad)
		}
	}
}

// A transform gives any JSON, of any value; C7.12's ordered rules are a chain of
// conditions.
func TestTransform(t *testing.T) {
	for _, c := range []struct{ text, value, want, fails string }{
		{`"support+" + tenant.id + "@example.com"`, `"help@cp.test"`, `"support+acme@example.com"`, ""},
		{`value + " (" + tenant.friendly_name + ")"`, `"Help"`, `"Help (Acme Ltd)"`, ""},
		{`tenant.metadata.plan == "pro" ? 720 : value`, `168`, `720`, ""},
		{`tenant.metadata.?plan.orValue("") == "free" ? 24 : value`, `168`, `168`, ""},
		{`value / 2.0`, `168`, `84`, ""},
		{`value + ["fr"]`, `["de"]`, `["de","fr"]`, ""},
		{`{"active": true, "n": null, "l": [1u, 2.5]}`, `1`, `{"active":true,"l":[1,2.5],"n":null}`, ""},
		{`null`, `1`, `null`, ""},
		{`optional.none()`, `1`, `null`, ""},
		{`!value`, `true`, `false`, ""},
		{`value.replace("http://", "https://")`, `"http://x.test"`, `"https://x.test"`, ""},
		{`value.replace("a", "b")`, `5`, "", "no such overload"},
		{`tenant.metadata.region`, `1`, "", "no such key: region"},
		{`timestamp("2026-01-01T00:00:00Z")`, `1`, "", "no JSON"},
		{`{1: 2}`, `1`, "", "no text"},
		{`value`, `{"html":"<b>"}`, `{"html":"\u003cb\u003e"}`, ""},
	} {
		x, err := CompileTransform(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, err := x.Make(json.RawMessage(c.value), acme())
		if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: got error %v, want %q", c.text, err, c.fails)
		}
		if string(got) != c.want {
			t.Errorf("%s of %s: got %s, want %s", c.text, c.value, got, c.want)
		}
	}
}

// Programs are shared by all workers of a pass.
func TestConcurrent(t *testing.T) {
	x, err := CompileExclude(`entity.metadata.n == int(tenant.metadata.n)`)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 100 {
				same, err := x.Match(Entity{Metadata: map[string]any{"n": i}}, &tenancy.Tenant{Metadata: map[string]string{"n": string(rune('0' + i))}})
				if err != nil || !same {
					t.Errorf("got %v, %v, want true", same, err)
				}
			}
		})
	}
	group.Wait()
}

// Whatever is written, compiling it ends, and what compiles can be evaluated.
func FuzzExclude(f *testing.F) {
	f.Add(`entity.kind == "role"`)
	f.Add(`tenant.metadata.?a.orValue("x") in entity.metadata`)
	f.Fuzz(func(t *testing.T, text string) {
		if x, err := CompileExclude(text); err == nil {
			_, _ = x.Match(Entity{Name: "a", Metadata: map[string]any{"a": []any{1.5, nil}}}, acme())
		}
	})
}

// BenchmarkExclude is what one row of one tenant costs.
func BenchmarkExclude(b *testing.B) {
	x, err := CompileExclude(`entity.kind == "role" && entity.metadata.?plan.orValue("any") != tenant.metadata.plan`)
	if err != nil {
		b.Fatal(err)
	}
	e, t := Entity{Kind: "role", Metadata: map[string]any{"plan": "free"}}, acme()
	for b.Loop() {
		if _, err := x.Match(e, t); err != nil {
			b.Fatal(err)
		}
	}
}
