package management

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// property is one member of a JSON object, as it was sent.
type property struct {
	name  string
	value json.RawMessage
}

// document is a JSON object whose members keep their order.
type document []property

// get returns the member's value; nil where it is absent.
func (d document) get(name string) json.RawMessage {
	for _, p := range d {
		if p.name == name {
			return p.value
		}
	}
	return nil
}

// invalid is the refusal of a body (contract C5.8). path is empty for the body
// as a whole.
func invalid(path, format string, args ...any) *tenancy.Error {
	reason := fmt.Sprintf(format, args...)
	if path == "" {
		return tenancy.Errorf(http.StatusBadRequest, "invalid_body", "Payload validation error: '%s'", reason)
	}
	return tenancy.Errorf(http.StatusBadRequest, "invalid_body", "Payload validation error: '%s' on property %s", reason, path)
}

func unknownMember(path string) *tenancy.Error {
	return invalid("", "Additional properties not allowed: %s", path)
}

var errNotJSON = tenancy.Errorf(http.StatusBadRequest, "invalid_body", "Invalid request payload JSON format")

// parseObject reads an object, keeping the order of its members. A member given
// twice is refused: readers disagree on which of them counts.
func parseObject(raw []byte, path string) (document, error) {
	if t := jsonType(raw); t != "object" {
		return nil, invalid(path, "Expected type object but found type %s", t)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, errNotJSON
	}
	doc, seen := document{}, map[string]bool{} // a body of 1 MiB has room for many
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, errNotJSON
		}
		p := property{name: key.(string)}
		if err := dec.Decode(&p.value); err != nil {
			return nil, errNotJSON
		}
		if seen[p.name] {
			return nil, invalid(join(path, p.name), "Property is given twice")
		}
		seen[p.name], doc = true, append(doc, p)
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNotJSON
	}
	return doc, nil
}

// whole checks that raw is exactly one JSON value.
func whole(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	var v json.RawMessage
	if err := dec.Decode(&v); err != nil {
		return errNotJSON
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errNotJSON
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// jsonType names the type of a JSON value as JSON Schema does.
func jsonType(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return "undefined"
	}
	switch raw[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	if bytes.ContainsAny(raw, ".eE") {
		return "number"
	}
	return "integer"
}

func isNull(raw []byte) bool { return jsonType(raw) == "null" }

// fields are the members of a struct's JSON form.
type fields struct {
	names []string // in the order of the struct
	index map[string][]int
}

var parsedFields sync.Map // reflect.Type -> *fields

func fieldsOf(t reflect.Type) *fields {
	if f, ok := parsedFields.Load(t); ok {
		return f.(*fields)
	}
	f := &fields{index: make(map[string][]int)}
	for _, field := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		f.names = append(f.names, name)
		f.index[name] = field.Index
	}
	parsedFields.Store(t, f)
	return f
}
