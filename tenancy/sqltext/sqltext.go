// Package sqltext cuts SQL into tokens, as far as it has to be understood to put
// schemas, placeholders and values into statements and to tell statements apart.
package sqltext

import "strings"

// Kind tells the few kinds of SQL tokens apart that matter here.
type Kind int

// The kinds.
const (
	Space   Kind = iota // white space and comments
	Name                // a keyword or identifier, quoted or not
	Literal             // a string or a number
	Mark                // any other single byte
)

// Next returns the length and kind of the first token of s, which is not
// empty. Something that is not closed reaches to the end.
func Next(s string) (int, Kind) {
	switch c := s[0]; {
	case c == '\'':
		return quotedEnd(s), Literal
	case c == '"':
		return quotedEnd(s), Name
	case strings.HasPrefix(s, "--"):
		if n := strings.IndexByte(s, '\n'); n >= 0 {
			return n + 1, Space
		}
		return len(s), Space
	case strings.HasPrefix(s, "/*"):
		if n := strings.Index(s, "*/"); n >= 0 {
			return n + 2, Space
		}
		return len(s), Space
	case isSpace(c):
		return runOf(s, isSpace), Space
	case isDigit(c):
		return runOf(s, func(c byte) bool { return isDigit(c) || c == '.' }), Literal
	case isLetter(c):
		return runOf(s, func(c byte) bool { return isLetter(c) || isDigit(c) }), Name
	}
	return 1, Mark
}

// quotedEnd returns the length of the quoted token s begins with. A doubled
// quote stands for itself.
func quotedEnd(s string) int {
	q := s[0]
	for i := 1; i < len(s); i++ {
		if s[i] != q {
			continue
		}
		if i+1 < len(s) && s[i+1] == q {
			i++
			continue
		}
		return i + 1
	}
	return len(s)
}

func runOf(s string, in func(byte) bool) int {
	n := 1
	for n < len(s) && in(s[n]) {
		n++
	}
	return n
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

// Word is what a name token means: a quoted one as it is, a bare one in lower case.
func Word(token string) string {
	if token[0] == '"' {
		return strings.ReplaceAll(strings.Trim(token, `"`), `""`, `"`)
	}
	return strings.ToLower(token)
}

// Ident quotes a name for use in a statement.
func Ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// Quote makes s a string literal, for scripts that take no arguments.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
