package liquid

import (
	"fmt"
	"slices"
	"strings"
)

// node is what renders to something.
type node interface {
	render(r *run, out *strings.Builder) error
}

type (
	literal string
	output  struct{ value chain }
	assign  struct {
		name  string
		value chain
	}
	capture struct {
		name string
		body []node
	}
	branch struct {
		when condition // nil is else
		body []node
	}
	choice []branch // the first that holds
	loop   struct {
		name     string
		over     expression
		limit    expression // nil is none
		reversed bool
		body     []node
	}
)

type parser struct {
	pieces []piece
	at     int
}

// block reads nodes until a tag that is none: an end, or a part of the block around.
func (p *parser) block(depth int) (nodes []node, end *piece, err error) {
	for p.at < len(p.pieces) {
		piece := &p.pieces[p.at]
		p.at++
		var n node
		switch {
		case piece.kind == 't':
			n = literal(piece.text)
		case piece.kind == '{':
			n, err = p.output(piece)
		case slices.Contains([]string{"else", "elsif", "when"}, piece.word) || strings.HasPrefix(piece.word, "end"):
			return nodes, piece, nil
		case depth == maxDepth:
			err = &Error{piece.line, fmt.Sprintf("more than %d blocks inside each other", maxDepth)}
		default:
			n, err = p.tag(piece, depth)
		}
		if err != nil {
			return nil, nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil, nil
}

func (p *parser) output(at *piece) (node, error) {
	if at.text == "" {
		return literal(""), nil
	}
	l, err := lex(at)
	if err != nil {
		return nil, err
	}
	c, err := l.chain()
	if err != nil {
		return nil, err
	}
	return output{c}, l.done()
}

func (p *parser) tag(at *piece, depth int) (node, error) {
	l, err := lex(at)
	if err != nil {
		return nil, err
	}
	switch at.word {
	case "if", "unless":
		return p.choose(at, l, depth)
	case "case":
		return p.cases(at, l, depth)
	case "for":
		return p.loop(at, l, depth)
	case "assign":
		a := assign{name: l.name()}
		if !l.take("=") {
			return nil, l.wrong("assign is written {% assign name = value %}")
		}
		if a.value, err = l.chain(); err != nil {
			return nil, err
		}
		return a, l.done()
	case "capture":
		c := capture{name: l.name()}
		if err := l.done(); err != nil {
			return nil, err
		}
		c.body, err = p.until(at, depth)
		return c, err
	}
	return nil, &Error{at.line, fmt.Sprintf("there is no tag %q; there are assign, capture, case, comment, for, if, raw, unless", at.word)}
}

// until reads a body that only the end of the tag ends.
func (p *parser) until(at *piece, depth int) ([]node, error) {
	body, end, err := p.block(depth + 1)
	if err == nil && (end == nil || end.word != "end"+at.word) {
		err = &Error{at.line, at.word + " is not closed by end" + at.word}
	}
	return body, err
}

func (p *parser) choose(at *piece, l *lexer, depth int) (node, error) {
	var c choice
	when, err := l.condition()
	if err == nil {
		err = l.done()
	}
	if at.word == "unless" {
		when = negation{when}
	}
	for err == nil {
		var body []node
		var end *piece
		if body, end, err = p.block(depth + 1); err != nil {
			break
		}
		last := when == nil
		c = append(c, branch{when, body})
		switch {
		case end != nil && end.word == "end"+at.word:
			return c, nil
		case end == nil || last || end.word != "else" && end.word != "elsif":
			return nil, &Error{at.line, at.word + " is not closed by end" + at.word}
		}
		if when = nil; end.word == "elsif" {
			if l, err = lex(end); err != nil {
				break
			}
			if when, err = l.condition(); err == nil {
				err = l.done()
			}
		}
	}
	return nil, err
}

func (p *parser) cases(at *piece, l *lexer, depth int) (node, error) {
	subject, err := l.expression()
	if err == nil {
		err = l.done()
	}
	if err != nil {
		return nil, err
	}
	var c choice
	_, end, err := p.block(depth + 1) // what is before the first when is nothing
	for err == nil && end != nil && (end.word == "when" || end.word == "else") {
		var when condition
		if end.word == "when" {
			if when, err = whens(end, subject); err != nil {
				return nil, err
			}
		}
		var body []node
		body, end, err = p.block(depth + 1)
		c = append(c, branch{when, body})
	}
	if err == nil && (end == nil || end.word != "endcase") {
		err = &Error{at.line, "case is not closed by endcase"}
	}
	return c, err
}

// whens reads {% when a, b or c %}.
func whens(at *piece, subject expression) (when condition, err error) {
	l, err := lex(at)
	for err == nil {
		var value expression
		if value, err = l.expression(); err != nil {
			break
		}
		var one condition = comparison{subject, "==", value}
		if when != nil {
			one = both{when, "or", one}
		}
		if when = one; !l.take(",") && !l.take("or") {
			return when, l.done()
		}
	}
	return nil, err
}

func (p *parser) loop(at *piece, l *lexer, depth int) (node, error) {
	n := loop{name: l.name()}
	if n.name == "" || !l.take("in") {
		return nil, l.wrong("for is written {% for name in list %}")
	}
	var err error
	if n.over, err = l.expression(); err != nil {
		return nil, err
	}
	for l.at < len(l.tokens) {
		switch {
		case l.take("reversed"):
			n.reversed = true
		case l.take("limit") && l.take(":"):
			if n.limit, err = l.expression(); err != nil {
				return nil, err
			}
		default:
			return nil, l.done()
		}
	}
	n.body, err = p.until(at, depth)
	return n, err
}
