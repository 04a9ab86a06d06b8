package management

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

var (
	rawType  = reflect.TypeFor[json.RawMessage]()
	timeType = reflect.TypeFor[tenancy.Time]()
)

// decode reads a JSON value into v as strictly as the contract asks (C5.8): no
// unknown members at any depth, no conversion between types, and errors that
// name the path. Members that are absent keep what v holds.
func decode(raw json.RawMessage, v reflect.Value, path string) error {
	found := jsonType(raw)
	mistyped := func(expected string) error {
		return invalid(path, "Expected type %s but found type %s", expected, found)
	}
	switch v.Type() {
	case rawType:
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return errNotJSON
		}
		v.SetBytes(b.Bytes())
		return nil
	case timeType:
		if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil || found == "null" {
			return invalid(path, "Object didn't pass validation for format date-time")
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		if found != "string" {
			return mistyped("string")
		}
		return decodeText(raw, v, path)
	case reflect.Bool:
		if found != "boolean" {
			return mistyped("boolean")
		}
		v.SetBool(bytes.TrimSpace(raw)[0] == 't')
		return nil
	case reflect.Int, reflect.Int64:
		if found != "integer" {
			return mistyped("integer")
		}
		var n int64
		if err := json.Unmarshal(raw, &n); err != nil || n > math.MaxInt32 || n < math.MinInt32 {
			return invalid(path, "Value %s is out of range", raw)
		}
		v.SetInt(n)
		return nil
	case reflect.Pointer:
		target := reflect.New(v.Type().Elem())
		if err := decode(raw, target.Elem(), path); err != nil {
			return err
		}
		v.Set(target)
		return nil
	case reflect.Interface:
		return decodeAny(raw, v, path)
	case reflect.Slice:
		if found != "array" {
			return mistyped("array")
		}
		return decodeList(raw, v, path)
	case reflect.Map:
		if found != "object" {
			return mistyped("object")
		}
		return decodeMap(raw, v, path)
	case reflect.Struct:
		if found != "object" {
			return mistyped("object")
		}
		return decodeStruct(raw, v, path)
	}
	return fmt.Errorf("no way to decode %s at %s", v.Type(), path)
}

func decodeText(raw json.RawMessage, v reflect.Value, path string) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return errNotJSON
	}
	if strings.IndexFunc(s, isControl) >= 0 {
		return invalid(path, "String contains a control character")
	}
	v.SetString(s)
	return nil
}

// isControl reports whether no text may hold r: line breaks and tabs are fine.
func isControl(r rune) bool {
	return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f
}

func decodeAny(raw json.RawMessage, v reflect.Value, path string) error {
	var x any
	if err := json.Unmarshal(raw, &x); err != nil {
		return errNotJSON
	}
	if hasControl(x) {
		return invalid(path, "String contains a control character")
	}
	if x == nil {
		v.SetZero()
		return nil
	}
	v.Set(reflect.ValueOf(x))
	return nil
}

func hasControl(x any) bool {
	switch x := x.(type) {
	case string:
		return strings.IndexFunc(x, isControl) >= 0
	case []any:
		for _, item := range x {
			if hasControl(item) {
				return true
			}
		}
	case map[string]any:
		for k, item := range x {
			if hasControl(k) || hasControl(item) {
				return true
			}
		}
	}
	return false
}

func decodeList(raw json.RawMessage, v reflect.Value, path string) error {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return errNotJSON
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		if err := decode(item, list.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func decodeMap(raw json.RawMessage, v reflect.Value, path string) error {
	doc, err := parseObject(raw, path)
	if err != nil {
		return err
	}
	m := reflect.MakeMapWithSize(v.Type(), len(doc))
	for _, p := range doc {
		if strings.IndexFunc(p.name, isControl) >= 0 {
			return invalid(path, "String contains a control character")
		}
		item := reflect.New(v.Type().Elem()).Elem()
		if err := decode(p.value, item, join(path, p.name)); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(p.name), item)
	}
	v.Set(m)
	return nil
}

func decodeStruct(raw json.RawMessage, v reflect.Value, path string) error {
	doc, err := parseObject(raw, path)
	if err != nil {
		return err
	}
	fields := fieldsOf(v.Type())
	for _, p := range doc {
		index, ok := fields.index[p.name]
		if !ok {
			return unknownMember(join(path, p.name))
		}
		if isNull(p.value) {
			continue // absent and null mean the same inside of an object
		}
		if err := decode(p.value, v.FieldByIndex(index), join(path, p.name)); err != nil {
			return err
		}
	}
	return nil
}
