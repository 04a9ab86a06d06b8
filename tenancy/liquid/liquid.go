// Package liquid renders the part of Shopify's Liquid that e-mail templates are
// written in, with what people outside can write into them kept at bay: nothing in
// a template reads a file, reaches a network, runs code or loops for long (contract
// C5.95). In HTML every value is escaped unless a filter did so already.
//
// There are {{ values }} with filters, and the tags assign, capture, case, comment,
// for, if, raw and unless. Tags that include other templates do not exist.
package liquid

import (
	"fmt"
	"strings"
)

// MaxLength is how long a template may be, in bytes.
const MaxLength = 64 << 10

// The bounds of one rendering.
const (
	maxSteps  = 10_000    // nodes and filters
	maxOutput = 256 << 10 // bytes, also of a single value
	maxDepth  = 32        // of blocks inside blocks
)

// Error says what is wrong with a template, and where.
type Error struct {
	Line   int // from 1
	Reason string
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Template is a template that was parsed. It is immutable and safe for concurrent
// use.
type Template struct{ nodes []node }

// Parse reads a template. The error is an [Error].
func Parse(source string) (*Template, error) {
	if len(source) > MaxLength {
		return nil, &Error{1, fmt.Sprintf("the template has more than %d bytes", MaxLength)}
	}
	pieces, err := cut(source)
	if err != nil {
		return nil, err
	}
	p := &parser{pieces: pieces}
	nodes, end, err := p.block(0)
	if err != nil {
		return nil, err
	}
	if end != nil {
		return nil, &Error{end.line, fmt.Sprintf("%q without what it ends", end.word)}
	}
	return &Template{nodes}, nil
}

// Text renders plain text from variables: texts, numbers, booleans, times, and maps
// and lists of these. A name that is not there is nothing, as Liquid has it.
func (t *Template) Text(variables map[string]any) (string, error) { return t.render(variables, false) }

// HTML renders HTML from variables.
func (t *Template) HTML(variables map[string]any) (string, error) { return t.render(variables, true) }

func (t *Template) render(variables map[string]any, escape bool) (string, error) {
	r := &run{scope: map[string]any{}, variables: variables, escape: escape, steps: maxSteps, room: maxOutput}
	var out strings.Builder
	if err := r.all(t.nodes, &out); err != nil {
		return "", err
	}
	return out.String(), nil
}
