package postgres

import "strings"

// tokenKind tells the few kinds of SQL tokens apart that matter here.
type tokenKind int

const (
	space   tokenKind = iota // white space and comments
	name                     // a keyword or identifier, quoted or not
	literal                  // a string or a number
	mark                     // any other single byte
)

// nextToken returns the length and kind of the first token of s, which is not
// empty. Something that is not closed reaches to the end.
func nextToken(s string) (int, tokenKind) {
	switch c := s[0]; {
	case c == '\'':
		return quotedEnd(s), literal
	case c == '"':
		return quotedEnd(s), name
	case strings.HasPrefix(s, "--"):
		if n := strings.IndexByte(s, '\n'); n >= 0 {
			return n + 1, space
		}
		return len(s), space
	case strings.HasPrefix(s, "/*"):
		if n := strings.Index(s, "*/"); n >= 0 {
			return n + 2, space
		}
		return len(s), space
	case isSpace(c):
		return runOf(s, isSpace), space
	case isDigit(c):
		return runOf(s, func(c byte) bool { return isDigit(c) || c == '.' }), literal
	case isLetter(c):
		return runOf(s, func(c byte) bool { return isLetter(c) || isDigit(c) }), name
	}
	return 1, mark
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

// word is what a name token means: a quoted one as it is, a bare one in lower case.
func word(token string) string {
	if token[0] == '"' {
		return strings.ReplaceAll(strings.Trim(token, `"`), `""`, `"`)
	}
	return strings.ToLower(token)
}

// ident quotes a name for use in a statement.
func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// quote makes s a string literal, for scripts that take no arguments.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
