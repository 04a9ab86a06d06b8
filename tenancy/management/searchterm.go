package management

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// searchNode is a query, or part of one: AND, OR or NOT over parts, or a leaf.
type searchNode struct {
	operator string // "" for a leaf
	parts    []searchNode
	leaf     searchLeaf
}

// comparison is what a term asks of its field.
type comparison struct {
	kind     compareKind
	value    string
	from, to string // of a range; "" is open
}

type compareKind int

const (
	compareEqual compareKind = iota
	comparePrefix
	compareRange
	compareExists
)

// conjuncts are the parts all of which must hold.
func (n searchNode) conjuncts() []searchNode {
	if n.operator != "AND" {
		return []searchNode{n}
	}
	var all []searchNode
	for _, p := range n.parts {
		all = append(all, p.conjuncts()...)
	}
	return all
}

// sql is the node as a condition; ok is false where it names metadata.
func (n searchNode) sql() (condition string, args []any, ok bool) {
	if n.operator == "" {
		return n.leaf.sql()
	}
	var conditions []string
	for _, p := range n.parts {
		c, a, ok := p.sql()
		if !ok {
			return "", nil, false
		}
		conditions, args = append(conditions, "("+c+")"), append(args, a...)
	}
	if n.operator == "NOT" {
		return "NOT " + conditions[0], args, true
	}
	return strings.Join(conditions, " "+n.operator+" "), args, true
}

// matches reports whether the node holds for a user.
func (n searchNode) matches(u *tenancy.User) bool {
	switch n.operator {
	case "NOT":
		return !n.parts[0].matches(u)
	case "AND":
		for _, p := range n.parts {
			if !p.matches(u) {
				return false
			}
		}
		return true
	case "OR":
		for _, p := range n.parts {
			if p.matches(u) {
				return true
			}
		}
		return false
	}
	return n.leaf.matches(u)
}

// searchLeaf is one term. Exactly one of column and path is set.
type searchLeaf struct {
	column string // of the table
	kind   fieldKind
	path   []string // into the metadata: which of the two, then the keys
	comparison
	low, high int64 // bounds of numbers and times, inclusive
}

type fieldKind int

const (
	textField   fieldKind = iota
	foldedField           // stored in lower case
	exactField            // compared as it is
	flagField
	numberField
	timeField
)

// searchField is a member that can be searched for.
type searchField struct {
	column string
	kind   fieldKind
}

// searchFields are those of a user.
var searchFields = map[string]searchField{
	"user_id": {"id", exactField}, "email": {"email", foldedField}, "username": {"username", foldedField},
	"phone_number": {"phone_number", exactField}, "name": {"name", textField}, "given_name": {"given_name", textField},
	"family_name": {"family_name", textField}, "nickname": {"nickname", textField}, "picture": {"picture", exactField},
	"last_ip": {"last_ip", exactField}, "connection": {"connection", exactField}, "identities.connection": {"connection", exactField},
	"email_verified": {"email_verified", flagField}, "phone_verified": {"phone_verified", flagField}, "blocked": {"blocked", flagField},
	"logins_count": {"logins_count", numberField}, "last_login": {"last_login", timeField},
	"last_password_reset": {"last_password_reset", timeField}, "created_at": {"created_at", timeField}, "updated_at": {"updated_at", timeField},
}

// leaf checks a term against what is known of its field.
func (p *searchParser) leaf(name string, c comparison) (searchNode, error) {
	l := searchLeaf{comparison: c}
	if first, rest, ok := strings.Cut(name, "."); ok && p.metadata && (first == "app_metadata" || first == "user_metadata") {
		l.path = append([]string{first}, strings.Split(rest, ".")...)
		return searchNode{leaf: l}, nil
	}
	field, ok := p.fields[name]
	if !ok {
		return searchNode{}, badSearch("cannot search for %s", name)
	}
	l.column, l.kind = field.column, field.kind
	return searchNode{leaf: l}, l.prepare(name)
}

func (l *searchLeaf) prepare(name string) error {
	switch l.kind {
	case flagField:
		if l.comparison.kind == compareExists {
			return nil
		}
		if on, err := strconv.ParseBool(l.value); l.comparison.kind != compareEqual || err != nil || l.value != strconv.FormatBool(on) {
			return badSearch("compares %s with something else than true or false", name)
		}
	case numberField, timeField:
		switch l.comparison.kind {
		case comparePrefix:
			return badSearch("cannot search for the beginning of %s", name)
		case compareEqual:
			l.from, l.to = l.value, l.value
		case compareExists:
			return nil
		}
		return l.bounds(name)
	case foldedField:
		l.value, l.from, l.to = tenancy.FoldEmail(l.value), strings.ToLower(l.from), strings.ToLower(l.to)
	case textField:
		l.value, l.from, l.to = strings.ToLower(l.value), strings.ToLower(l.from), strings.ToLower(l.to)
	}
	return nil
}

func (l *searchLeaf) bounds(name string) error {
	l.low, l.high = -1<<62, 1<<62
	for i, text := range []string{l.from, l.to} {
		if text == "" {
			continue
		}
		low, high, err := numbers(l.kind, text)
		if err != nil {
			return badSearch("compares %s with something that is none: %s", name, text)
		}
		if i == 0 {
			l.low = low
		} else {
			l.high = high
		}
	}
	return nil
}

// numbers are the first and last number that a text means: a date is a whole day.
func numbers(kind fieldKind, text string) (low, high int64, err error) {
	if kind == numberField {
		n, err := strconv.ParseInt(text, 10, 64)
		return n, n, err
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return int64(tenancy.At(day)), int64(tenancy.At(day.AddDate(0, 0, 1))) - 1, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	low = int64(tenancy.At(at))
	if at.Nanosecond()%1e6 == 0 { // times are shown in milliseconds
		return low, low + 999, err
	}
	return low, low, err
}

func (l searchLeaf) sql() (string, []any, bool) {
	if l.path != nil {
		return "", nil, false
	}
	column := l.column
	if l.kind == textField {
		column = "LOWER(" + column + ")"
	}
	switch {
	case l.comparison.kind == compareExists && l.kind == flagField:
		return "1 = 1", nil, true
	case l.comparison.kind == compareExists && (l.kind == numberField || l.kind == timeField):
		return l.column + " <> 0", nil, true
	case l.comparison.kind == compareExists:
		return l.column + " <> ''", nil, true
	case l.kind == flagField:
		return l.column + " = ?", []any{l.value == "true"}, true
	case l.kind == numberField || l.kind == timeField:
		return l.column + " BETWEEN ? AND ?", []any{l.low, l.high}, true
	case l.comparison.kind == comparePrefix:
		// LIKE would not tell upper from lower case on every engine.
		return "SUBSTR(" + column + ", 1, ?) = ?", []any{utf8.RuneCountInString(l.value), l.value}, true
	case l.comparison.kind == compareEqual:
		return column + " = ?", []any{l.value}, true
	case l.to == "":
		return column + " >= ?", []any{l.from}, true
	}
	return column + " BETWEEN ? AND ?", []any{l.from, l.to}, true
}
