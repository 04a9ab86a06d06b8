package liquid

import (
	"fmt"
	"regexp"
	"strconv"
)

// expression is a literal, or a path into the variables.
type expression interface{ value(r *run) any }

type (
	constant struct{ of any }
	path     struct {
		name  string
		steps []expression
	}
	call struct {
		filter filter
		args   []expression
	}
	chain struct {
		of    expression
		calls []call
	}
	condition  interface{ holds(r *run) bool }
	truth      struct{ of expression }
	negation   struct{ of condition }
	comparison struct {
		left  expression
		op    string
		right expression
	}
	both struct {
		left  condition
		op    string // "and" or "or"
		right condition
	}
)

var tokenForm = regexp.MustCompile(`^(?:"[^"]*"|'[^']*'|-?\d+(?:\.\d+)?|[A-Za-z_][\w-]*\??|==|!=|<>|<=|>=|[<>=|:,.\[\]])`)

type lexer struct {
	line   int
	tokens []string
	at     int
}

func lex(at *piece) (*lexer, error) {
	l := &lexer{line: at.line}
	for rest := at.text; ; {
		for rest != "" && (rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\r' || rest[0] == '\n') {
			if rest[0] == '\n' {
				l.line++
			}
			rest = rest[1:]
		}
		if rest == "" {
			l.line = at.line
			return l, nil
		}
		token := tokenForm.FindString(rest)
		if token == "" {
			return nil, &Error{l.line, fmt.Sprintf("unexpected %q", []rune(rest)[0])}
		}
		l.tokens, rest = append(l.tokens, token), rest[len(token):]
	}
}

func (l *lexer) wrong(reason string) error { return &Error{l.line, reason} }

func (l *lexer) next() string {
	if l.at == len(l.tokens) {
		return ""
	}
	l.at++
	return l.tokens[l.at-1]
}

func (l *lexer) peek() string {
	if l.at == len(l.tokens) {
		return ""
	}
	return l.tokens[l.at]
}

func (l *lexer) take(token string) bool {
	if l.peek() != token {
		return false
	}
	l.at++
	return true
}

func (l *lexer) name() string {
	if token := l.peek(); isName(token) {
		return l.next()
	}
	return ""
}

func isName(token string) bool {
	return token != "" && (token[0] == '_' || token[0] >= 'A' && token[0] <= 'Z' || token[0] >= 'a' && token[0] <= 'z')
}

func (l *lexer) done() error {
	if l.at == len(l.tokens) {
		return nil
	}
	return l.wrong(fmt.Sprintf("unexpected %s", l.peek()))
}

var constants = map[string]any{"true": true, "false": false, "nil": nil, "null": nil, "empty": empty{}, "blank": empty{}}

func (l *lexer) expression() (expression, error) {
	token := l.next()
	switch {
	case token == "":
		return nil, l.wrong("a value is missing")
	case token[0] == '"' || token[0] == '\'':
		return constant{token[1 : len(token)-1]}, nil
	case token[0] == '-' || token[0] >= '0' && token[0] <= '9':
		n, err := strconv.ParseFloat(token, 64)
		if err != nil {
			return nil, l.wrong("not a number: " + token)
		}
		return constant{n}, nil
	case !isName(token):
		return nil, l.wrong("a value is missing before " + token)
	}
	if v, ok := constants[token]; ok {
		return constant{v}, nil
	}
	p := path{name: token}
	for {
		switch {
		case l.take("."):
			name := l.name()
			if name == "" {
				return nil, l.wrong("a name is missing behind the dot")
			}
			p.steps = append(p.steps, constant{name})
		case l.take("["):
			step, err := l.expression()
			if err != nil {
				return nil, err
			}
			if !l.take("]") {
				return nil, l.wrong("[ is not closed")
			}
			p.steps = append(p.steps, step)
		default:
			return p, nil
		}
	}
}

func (l *lexer) chain() (c chain, err error) {
	if c.of, err = l.expression(); err != nil {
		return c, err
	}
	for l.take("|") {
		name := l.name()
		f, ok := filters[name]
		if !ok {
			return c, l.wrong(fmt.Sprintf("there is no filter %q", name))
		}
		one := call{filter: f}
		for more := l.take(":"); more; more = l.take(",") {
			arg, err := l.expression()
			if err != nil {
				return c, err
			}
			one.args = append(one.args, arg)
		}
		if n := len(one.args); n < f.min || n > f.max {
			return c, l.wrong(fmt.Sprintf("filter %s has %d to %d arguments", name, f.min, f.max))
		}
		c.calls = append(c.calls, one)
	}
	return c, nil
}

// condition reads comparisons joined by and and or, which bind from the right.
func (l *lexer) condition() (condition, error) {
	left, err := l.expression()
	if err != nil {
		return nil, err
	}
	var c condition = truth{left}
	switch op := l.peek(); op {
	case "==", "!=", "<>", "<", ">", "<=", ">=", "contains":
		l.at++
		right, err := l.expression()
		if err != nil {
			return nil, err
		}
		c = comparison{left, op, right}
	}
	if op := l.peek(); op == "and" || op == "or" {
		l.at++
		rest, err := l.condition()
		if err != nil {
			return nil, err
		}
		c = both{c, op, rest}
	}
	return c, nil
}
