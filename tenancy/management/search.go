package management

import (
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// searchUsers narrows a list of users by a query (contract C5.84):
//
//	query  = or
//	or     = and { "OR" and }
//	and    = not { "AND" not }
//	not    = [ "NOT" ] ( "(" or ")" | term )
//	term   = "_exists_" ":" field | field ":" value
//	value  = word [ "*" ] | quoted | "[" bound "TO" bound "]"
//
// Whatever is not of this form is refused. Values are arguments of the database
// and never part of its language. Metadata cannot be asked of every engine's
// database in one way, so queries that name it go through the rows.
func searchUsers(f *filter, q string) (keep func(*tenancy.User) bool, err error) {
	q = strings.TrimSpace(q)
	if q == "" {
		return nil, nil
	}
	p := searchParser{rest: q, fields: searchFields, metadata: true}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	exact := true
	for _, part := range root.conjuncts() {
		condition, args, ok := part.sql()
		if !ok {
			exact = false
			continue
		}
		f.and(condition, args...)
	}
	if exact {
		return nil, nil
	}
	return func(u *tenancy.User) bool { return root.matches(u) }, nil
}

// maxTerms bounds a query: each shape of it is a statement of its own.
const maxTerms = 20

func badSearch(format string, args ...any) error {
	return badQuery("'q' "+format, args...)
}

// searchParser reads a query from its front.
type searchParser struct {
	fields   map[string]searchField
	metadata bool // whether terms may name members of the metadata

	rest  string
	terms int
	depth int
}

func (p *searchParser) parse() (searchNode, error) {
	n, err := p.or()
	if err != nil {
		return searchNode{}, err
	}
	if p.skip(); p.rest != "" {
		return searchNode{}, badSearch("is not understood at: %s", p.rest)
	}
	return n, nil
}

func (p *searchParser) skip() { p.rest = strings.TrimLeft(p.rest, " \t") }

// keyword consumes a word that stands by itself.
func (p *searchParser) keyword(word string) bool {
	p.skip()
	after, ok := strings.CutPrefix(p.rest, word)
	if !ok || after != "" && !strings.ContainsRune(" \t(", rune(after[0])) {
		return false
	}
	p.rest = after
	return true
}

func (p *searchParser) or() (searchNode, error)  { return p.chain("OR", p.and) }
func (p *searchParser) and() (searchNode, error) { return p.chain("AND", p.not) }

func (p *searchParser) chain(operator string, next func() (searchNode, error)) (searchNode, error) {
	first, err := next()
	n := searchNode{operator: operator, parts: []searchNode{first}}
	for err == nil && p.keyword(operator) {
		var part searchNode
		part, err = next()
		n.parts = append(n.parts, part)
	}
	if len(n.parts) == 1 {
		return first, err
	}
	return n, err
}

func (p *searchParser) not() (searchNode, error) {
	if p.keyword("NOT") {
		part, err := p.atom()
		return searchNode{operator: "NOT", parts: []searchNode{part}}, err
	}
	return p.atom()
}

func (p *searchParser) atom() (searchNode, error) {
	p.skip()
	after, ok := strings.CutPrefix(p.rest, "(")
	if !ok {
		return p.term()
	}
	if p.depth++; p.depth > maxTerms {
		return searchNode{}, badSearch("is nested too deeply")
	}
	p.rest = after
	n, err := p.or()
	if err != nil {
		return n, err
	}
	p.skip()
	if p.rest, ok = strings.CutPrefix(p.rest, ")"); !ok {
		return n, badSearch("lacks a closing parenthesis")
	}
	p.depth--
	return n, nil
}

// term reads one comparison.
func (p *searchParser) term() (searchNode, error) {
	if p.terms++; p.terms > maxTerms {
		return searchNode{}, badSearch("has more than %d terms", maxTerms)
	}
	name, rest, ok := strings.Cut(p.rest, ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t()[]\"*\\") {
		return searchNode{}, badSearch("is not understood at: %s", p.rest)
	}
	p.rest = rest
	if name == "_exists_" {
		field, _, err := p.word()
		if err != nil {
			return searchNode{}, err
		}
		return p.leaf(field, comparison{kind: compareExists})
	}
	c, err := p.comparison()
	if err != nil {
		return searchNode{}, err
	}
	return p.leaf(name, c)
}

func (p *searchParser) comparison() (comparison, error) {
	switch {
	case strings.HasPrefix(p.rest, `"`):
		value, err := p.quoted()
		return comparison{kind: compareEqual, value: value}, err
	case strings.HasPrefix(p.rest, "["):
		return p.span()
	}
	value, prefix, err := p.word()
	switch {
	case err != nil:
		return comparison{}, err
	case prefix && value == "":
		return comparison{kind: compareExists}, nil
	case prefix:
		return comparison{kind: comparePrefix, value: value}, nil
	}
	return comparison{kind: compareEqual, value: value}, nil
}

// word reads a value without quotes; prefix means that "*" stood at its end.
func (p *searchParser) word() (value string, prefix bool, err error) {
	var b strings.Builder
	i := 0
scan:
	for ; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case ' ', '\t', ')', ']':
			break scan
		case '(', '[', '"', '{', '}', '^', '~':
			return "", false, badSearch("needs quotes around: %s", p.rest)
		case '\\':
			if i++; i == len(p.rest) {
				return "", false, badSearch("ends in a backslash")
			}
			b.WriteByte(p.rest[i])
		case '*':
			if i++; i < len(p.rest) && !strings.ContainsRune(" \t)]", rune(p.rest[i])) {
				return "", false, badSearch("may have * at the end of a value only")
			}
			prefix = true
			break scan
		default:
			b.WriteByte(c)
		}
	}
	p.rest = p.rest[i:]
	if b.Len() == 0 && !prefix {
		return "", false, badSearch("lacks a value")
	}
	return b.String(), prefix, nil
}

func (p *searchParser) quoted() (string, error) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case '\\':
			if i++; i < len(p.rest) {
				b.WriteByte(p.rest[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", badSearch("lacks a closing quote")
}

// span reads "[a TO b]"; "*" leaves an end open.
func (p *searchParser) span() (comparison, error) {
	p.rest = p.rest[1:]
	var ends [2]string
	for i := range ends {
		p.skip()
		if i == 1 {
			if !p.keyword("TO") {
				return comparison{}, badSearch("has a range without TO")
			}
			p.skip()
		}
		var err error
		if strings.HasPrefix(p.rest, `"`) {
			ends[i], err = p.quoted()
		} else {
			ends[i], _, err = p.word()
		}
		if err != nil {
			return comparison{}, err
		}
	}
	p.skip()
	var ok bool
	if p.rest, ok = strings.CutPrefix(p.rest, "]"); !ok {
		return comparison{}, badSearch("lacks a closing bracket")
	}
	return comparison{kind: compareRange, from: ends[0], to: ends[1]}, nil
}
