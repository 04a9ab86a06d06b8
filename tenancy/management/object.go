package management

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// object is a JSON object to be answered. Its members keep their order.
type object struct{ members []property }

// set gives a member its value, replacing an earlier one.
func (o *object) set(name string, value any) {
	raw := encode(value)
	for i := range o.members {
		if o.members[i].name == name {
			o.members[i].value = raw
			return
		}
	}
	o.members = append(o.members, property{name, raw})
}

// get returns a member's value; nil where it is absent.
func (o *object) get(name string) json.RawMessage { return document(o.members).get(name) }

// drop removes members.
func (o *object) drop(names ...string) {
	o.members = slices.DeleteFunc(o.members, func(p property) bool { return slices.Contains(names, p.name) })
}

// keep removes all other members.
func (o *object) keep(names []string) {
	o.members = slices.DeleteFunc(o.members, func(p property) bool { return !slices.Contains(names, p.name) })
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, p := range o.members {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encode(p.name))
		b.WriteByte(':')
		b.Write(p.value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// encode writes JSON without escaping what only HTML needs. The values answered
// are all made of plain types, so it cannot fail.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(fmt.Sprintf("management: encoding %T: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// render gives a row's JSON members in the order of its struct: lists and maps
// are never null, and a text, time or reference that is not set is left out.
func render(row any) object {
	v := reflect.Indirect(reflect.ValueOf(row))
	f := fieldsOf(v.Type())
	o := object{members: make([]property, 0, len(f.names)+4)}
	for _, name := range f.names {
		field := v.FieldByIndex(f.index[name])
		switch {
		case field.Type() == rawType && (field.Len() == 0 || string(field.Bytes()) == "null"):
		case field.Type() == rawType:
			o.members = append(o.members, property{name, field.Bytes()})
		case field.Kind() == reflect.Slice && field.IsNil():
			o.members = append(o.members, property{name, json.RawMessage("[]")})
		case field.Kind() == reflect.Map && field.IsNil():
			o.members = append(o.members, property{name, json.RawMessage("{}")})
		case field.IsZero() && (field.Kind() == reflect.String || field.Kind() == reflect.Pointer || field.Type() == timeType):
		default:
			o.set(name, field.Interface())
		}
	}
	return o
}

// equalJSON compares two JSON values by what they mean.
func equalJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}

// same reports whether two rows hold the same values, their [tenancy.Row] aside.
// An empty list is the same as none.
func same(a, b reflect.Value) bool {
	for i := range a.NumField() {
		if a.Type().Field(i).Anonymous {
			continue
		}
		x, y := a.Field(i), b.Field(i)
		switch {
		case x.Type() == rawType:
			if !equalJSON(x.Bytes(), y.Bytes()) && x.Len()+y.Len() > 0 {
				return false
			}
		case (x.Kind() == reflect.Slice || x.Kind() == reflect.Map) && x.Len() == 0 && y.Len() == 0:
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			return false
		}
	}
	return true
}

// orEmpty makes sure that a slice is written as [] where it is empty.
func orEmpty[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// shape applies fields and include_fields (contract C5.7) to an object.
func (c *Call) shape(o *object) {
	names := c.query.Get("fields")
	if names == "" {
		return
	}
	listed := strings.Split(names, ",")
	for i := range listed {
		listed[i] = strings.TrimSpace(listed[i])
	}
	if c.query.Get("include_fields") == "false" {
		o.drop(listed...)
		return
	}
	o.keep(listed)
}

// objectOf makes an object of members in the order of their names.
func objectOf(members map[string]json.RawMessage) object {
	var o object
	for _, name := range slices.Sorted(maps.Keys(members)) {
		o.members = append(o.members, property{name, members[name]})
	}
	return o
}
