package liquid

import (
	"errors"
	"html"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrTooMuch says that a template took too many steps, or made too much of them.
var ErrTooMuch = errors.New("the template takes too many steps or makes too much text")

// safe is text that is HTML already.
type safe string

// empty is the word empty, which equals what has nothing in it.
type empty struct{}

// run is one rendering.
type run struct {
	scope, variables map[string]any
	escape           bool
	steps, room      int
}

func (r *run) step() error {
	if r.steps--; r.steps < 0 {
		return ErrTooMuch
	}
	return nil
}

func (r *run) write(out *strings.Builder, s string) error {
	if r.room -= len(s); r.room < 0 {
		return ErrTooMuch
	}
	out.WriteString(s)
	return nil
}

func (r *run) all(nodes []node, out *strings.Builder) error {
	for _, n := range nodes {
		if err := r.step(); err != nil {
			return err
		}
		if err := n.render(r, out); err != nil {
			return err
		}
	}
	return nil
}

func (n literal) render(r *run, out *strings.Builder) error { return r.write(out, string(n)) }

func (n output) render(r *run, out *strings.Builder) error {
	v, err := n.value.eval(r)
	if err != nil {
		return err
	}
	s := text(v)
	if _, done := v.(safe); r.escape && !done {
		s = html.EscapeString(s)
	}
	return r.write(out, s)
}

func (n assign) render(r *run, _ *strings.Builder) (err error) {
	r.scope[n.name], err = n.value.eval(r)
	return err
}

func (n capture) render(r *run, _ *strings.Builder) error {
	var out strings.Builder
	if err := r.all(n.body, &out); err != nil {
		return err
	}
	if r.scope[n.name] = out.String(); r.escape {
		r.scope[n.name] = safe(out.String())
	}
	return nil
}

func (n choice) render(r *run, out *strings.Builder) error {
	for _, b := range n {
		if err := r.step(); err != nil {
			return err
		}
		if b.when == nil || b.when.holds(r) {
			return r.all(b.body, out)
		}
	}
	return nil
}

func (n loop) render(r *run, out *strings.Builder) error {
	list, _ := n.over.value(r).([]any)
	if n.limit != nil {
		limit, _ := n.limit.value(r).(float64)
		list = list[:min(len(list), max(0, int(limit)))]
	}
	if n.reversed {
		list = slices.Clone(list)
		slices.Reverse(list)
	}
	before, around := r.scope[n.name], r.scope["forloop"]
	defer func() { r.scope[n.name], r.scope["forloop"] = before, around }()
	for i, item := range list {
		if err := r.step(); err != nil {
			return err
		}
		r.scope[n.name] = plain(item)
		r.scope["forloop"] = map[string]any{
			"index": float64(i + 1), "index0": float64(i), "first": i == 0, "last": i == len(list)-1, "length": float64(len(list)),
		}
		if err := r.all(n.body, out); err != nil {
			return err
		}
	}
	return nil
}

func (c chain) eval(r *run) (any, error) {
	v := c.of.value(r)
	for _, one := range c.calls {
		if err := r.step(); err != nil {
			return nil, err
		}
		args := make([]any, len(one.args))
		for i, a := range one.args {
			args[i] = a.value(r)
		}
		if v = one.filter.apply(v, args); len(text(v)) > maxOutput {
			return nil, ErrTooMuch
		}
	}
	return v, nil
}

func (c constant) value(*run) any { return c.of }

func (p path) value(r *run) any {
	v, ok := r.scope[p.name]
	if !ok {
		v = plain(r.variables[p.name])
	}
	for _, step := range p.steps {
		v = member(v, step.value(r))
	}
	return v
}

func member(of, key any) any {
	switch v := of.(type) {
	case map[string]any:
		if found, ok := v[text(key)]; ok {
			return plain(found)
		}
		if key == "size" {
			return float64(len(v))
		}
	case []any:
		if n, ok := key.(float64); ok {
			if n < 0 {
				n += float64(len(v))
			}
			if n >= 0 && int(n) < len(v) {
				return plain(v[int(n)])
			}
		}
		switch key {
		case "size":
			return size(v)
		case "first":
			return member(v, 0.0)
		case "last":
			return member(v, -1.0)
		}
	case string:
		if key == "size" {
			return size(v)
		}
	}
	return nil
}

// plain is a value as templates know them.
func plain(v any) any {
	switch v := v.(type) {
	case nil, string, safe, bool, float64, time.Time, []any, map[string]any:
		return v
	}
	switch rv := reflect.ValueOf(v); rv.Kind() {
	case reflect.Int, reflect.Int64:
		return float64(rv.Int())
	case reflect.Slice:
		list := make([]any, rv.Len())
		for i := range list {
			list[i] = rv.Index(i).Interface()
		}
		return list
	case reflect.String:
		return rv.String()
	}
	return nil // a name that is not there
}

// text is a value as it is written.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case safe:
		return string(v)
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case time.Time:
		return v.UTC().Format("2006-01-02 15:04 UTC")
	case []any:
		var b strings.Builder
		for _, item := range v {
			b.WriteString(text(plain(item)))
		}
		return b.String()
	}
	return ""
}

func (c truth) holds(r *run) bool    { return truthy(c.of.value(r)) }
func (c negation) holds(r *run) bool { return !c.of.holds(r) }

func (c both) holds(r *run) bool {
	if c.op == "and" {
		return c.left.holds(r) && c.right.holds(r)
	}
	return c.left.holds(r) || c.right.holds(r)
}

// truthy is everything but nil and false.
func truthy(v any) bool { return v != nil && v != false }

func (c comparison) holds(r *run) bool {
	left, right := c.left.value(r), c.right.value(r)
	switch c.op {
	case "==":
		return equal(left, right)
	case "!=", "<>":
		return !equal(left, right)
	case "contains":
		if list, ok := left.([]any); ok {
			return slices.ContainsFunc(list, func(item any) bool { return equal(plain(item), right) })
		}
		return left != nil && right != nil && strings.Contains(text(left), text(right))
	}
	order := 0
	switch l := left.(type) {
	case float64:
		n, ok := right.(float64)
		if !ok {
			return false
		}
		order = int(max(-1, min(1, (l-n)*1e9)))
	case string:
		s, ok := right.(string)
		if !ok {
			return false
		}
		order = strings.Compare(l, s)
	default:
		return false
	}
	return map[string]bool{"<": order < 0, ">": order > 0, "<=": order <= 0, ">=": order >= 0}[c.op]
}

func equal(a, b any) bool {
	if _, ok := a.(empty); ok {
		a, b = b, a
	}
	if _, ok := b.(empty); ok {
		list, isList := a.([]any)
		dict, isDict := a.(map[string]any)
		return isList && len(list) == 0 || isDict && len(dict) == 0 || !isList && !isDict && strings.TrimSpace(text(a)) == "" && a != false
	}
	switch a.(type) {
	case []any, map[string]any:
		return reflect.DeepEqual(a, b)
	case string, safe:
		switch b.(type) {
		case string, safe:
			return text(a) == text(b)
		}
		return false
	}
	switch b.(type) {
	case []any, map[string]any:
		return false
	}
	return a == b
}
