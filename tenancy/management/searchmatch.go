package management

import (
	"cmp"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// matches is the same for a user in memory.
func (l searchLeaf) matches(u *tenancy.User) bool {
	if l.path != nil {
		return l.matchesMetadata(u)
	}
	var v reflect.Value
	if l.column == "id" {
		v = reflect.ValueOf(u.ID)
	} else if l.column == "connection" {
		v = reflect.ValueOf(u.Connection)
	} else {
		v = fieldOf(u, l.column)
	}
	switch v.Kind() {
	case reflect.Bool:
		return l.comparison.kind == compareExists || v.Bool() == (l.value == "true")
	case reflect.Int64:
		if l.comparison.kind == compareExists {
			return v.Int() != 0
		}
		return l.low <= v.Int() && v.Int() <= l.high
	}
	text := v.String()
	if l.kind == textField {
		text = strings.ToLower(text)
	}
	return l.comparison.holds(text)
}

// holds compares a text; one that is not set is empty.
func (c comparison) holds(text string) bool {
	switch c.kind {
	case compareEqual:
		return text == c.value
	case comparePrefix:
		return strings.HasPrefix(text, c.value)
	case compareRange:
		return text >= c.from && (c.to == "" || text <= c.to)
	}
	return text != ""
}

func (l searchLeaf) matchesMetadata(u *tenancy.User) bool {
	var at any = u.UserMetadata
	if l.path[0] == "app_metadata" {
		at = u.AppMetadata
	}
	for _, key := range l.path[1:] {
		object, ok := at.(map[string]any)
		if !ok {
			return false
		}
		if at, ok = object[key]; !ok {
			return false
		}
	}
	items, ok := at.([]any)
	if !ok {
		items = []any{at}
	}
	for _, item := range items { // a list holds whatever one of its items is
		if item != nil && l.comparison.holdsValue(item) {
			return true
		}
	}
	return false
}

// holdsValue compares a value of JSON: numbers as numbers, all else as text in
// any case.
func (c comparison) holdsValue(value any) bool {
	if n, ok := value.(float64); ok && c.kind == compareRange {
		low, err1 := strconv.ParseFloat(cmp.Or(c.from, "-1e308"), 64)
		high, err2 := strconv.ParseFloat(cmp.Or(c.to, "1e308"), 64)
		return err1 == nil && err2 == nil && low <= n && n <= high
	}
	text, ok := value.(string)
	if !ok {
		b, err := json.Marshal(value)
		if err != nil {
			return false
		}
		text = string(b)
	}
	folded := comparison{kind: c.kind, value: strings.ToLower(c.value), from: strings.ToLower(c.from), to: strings.ToLower(c.to)}
	return folded.holds(strings.ToLower(text))
}
