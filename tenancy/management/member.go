package management

import (
	"encoding/json"
	"reflect"
	"slices"
	"unicode/utf8"
)

// member is what may be said of one member of an entity's JSON form. The zero
// value is a field of the row without limits.
type member struct {
	required bool         // on creation; never null
	fixed    bool         // read-only: refused on creation, on change only its own value passes
	once     bool         // set on creation, read-only from then on
	merged   bool         // a change merges the first level; null removes a key
	typed    reflect.Type // not a field of the row: its type; see Call.extra
	other    bool         // typed, and kept as it is in the row's Other
	refused  string       // why the member cannot be had, and what to do instead

	min, max int // of a text's characters, a list's items, an object's keys, a number; max 0 is none
	each     int // most characters of an item of a list or a value of an object; 0 is no limit
	enum     []string
	unique   bool                  // a list holds no item twice
	check    func(s string) string // what is wrong with a text or an item; "" is nothing
}

// members are an entity's members by name.
type members map[string]member

func text(min, max int) member   { return member{min: min, max: max} }
func number(min, max int) member { return member{min: min, max: max} }
func flag() member               { return member{} }
func texts(max int) member       { return member{max: max, each: 2048} }
func dict(keys, length int) member {
	return member{max: keys, each: length, merged: true}
}
func value() member    { return member{} }
func readOnly() member { return member{fixed: true} }

func (m member) must() member                          { m.required = true; return m }
func (m member) atOnce() member                        { m.once = true; return m }
func (m member) in(values ...string) member            { m.enum = values; return m }
func (m member) that(check func(string) string) member { m.check = check; return m }
func (m member) distinct() member                      { m.unique = true; return m }

// beside makes the member one that is no field of the row; see Call.extra.
func beside[T any](m member) member {
	m.typed = reflect.TypeFor[T]()
	return m
}

// kept makes the member one that is stored and returned without an effect.
func kept[T any](m member) member {
	m.typed, m.other = reflect.TypeFor[T](), true
	return m
}

// never makes a member that others have and that is refused here, with what to do
// instead: storing it would promise an effect. Null passes, because it asks for
// nothing.
func never(why string) member { return member{typed: rawType, refused: why} }

// accept checks a decoded value against the member's limits.
func (m member) accept(v reflect.Value, path string) error {
	v = reflect.Indirect(v)
	switch v.Kind() {
	case reflect.String:
		return m.acceptText(v.String(), path, m.min, m.max)
	case reflect.Int, reflect.Int64:
		switch n := v.Int(); {
		case n < int64(m.min):
			return invalid(path, "Value %d is less than minimum %d", n, m.min)
		case m.max > 0 && n > int64(m.max):
			return invalid(path, "Value %d is greater than maximum %d", n, m.max)
		}
	case reflect.Slice:
		return m.acceptList(v, path)
	case reflect.Map:
		return m.acceptMap(v, path)
	}
	return nil
}

func (m member) acceptText(s, path string, min, max int) error {
	n := utf8.RuneCountInString(s)
	switch {
	case n < min:
		return invalid(path, "String is too short (%d chars), minimum %d", n, min)
	case max > 0 && n > max:
		return invalid(path, "String is too long (%d chars), maximum %d", n, max)
	case m.enum != nil && !slices.Contains(m.enum, s):
		return invalid(path, "No enum match for: %s", s)
	case m.check != nil:
		if why := m.check(s); why != "" {
			return invalid(path, "%s", why)
		}
	}
	return nil
}

func (m member) acceptList(v reflect.Value, path string) error {
	if v.Type() == rawType {
		return nil
	}
	if m.max > 0 && v.Len() > m.max {
		return invalid(path, "Array is too long (%d), maximum %d", v.Len(), m.max)
	}
	if v.Len() < m.min {
		return invalid(path, "Array is too short (%d), minimum %d", v.Len(), m.min)
	}
	if v.Type().Elem().Kind() != reflect.String {
		return nil
	}
	seen := make(map[string]bool, v.Len())
	for i := range v.Len() {
		s := v.Index(i).String()
		if err := m.acceptText(s, path, 0, m.each); err != nil {
			return err
		}
		if m.unique && seen[s] {
			return invalid(path, "Array items are not unique: %s", s)
		}
		seen[s] = true
	}
	return nil
}

func (m member) acceptMap(v reflect.Value, path string) error {
	if m.max > 0 && v.Len() > m.max {
		return invalid(path, "Too many properties defined (%d), maximum %d", v.Len(), m.max)
	}
	for _, key := range v.MapKeys() {
		if n := utf8.RuneCountInString(key.String()); m.each > 0 && n > 255 {
			return invalid(path, "Property name is too long (%d chars), maximum 255", n)
		}
		item := v.MapIndex(key)
		if item.Kind() == reflect.Interface {
			item = item.Elem()
		}
		if m.each > 0 && item.Kind() == reflect.String {
			if err := m.acceptText(item.String(), join(path, key.String()), 0, m.each); err != nil {
				return err
			}
		}
	}
	return nil
}

// merge changes the first level of a map: null removes a key. The map that is
// there is not altered.
func (m member) merge(raw json.RawMessage, v reflect.Value, path string) error {
	doc, err := parseObject(raw, path)
	if err != nil {
		return err
	}
	merged := reflect.MakeMap(v.Type())
	for _, key := range v.MapKeys() {
		merged.SetMapIndex(key, v.MapIndex(key))
	}
	for _, p := range doc {
		key := reflect.ValueOf(p.name)
		if isNull(p.value) {
			merged.SetMapIndex(key, reflect.Value{})
			continue
		}
		single := encode(object{members: []property{p}})
		one := reflect.New(v.Type()).Elem()
		if err := decodeMap(single, one, path); err != nil {
			return err
		}
		merged.SetMapIndex(key, one.MapIndex(key))
	}
	v.Set(merged)
	return nil
}
