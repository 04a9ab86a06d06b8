package liquid

import (
	"regexp"
	"strings"
)

// piece is a part of a template: text, a value, or a tag.
type piece struct {
	kind byte   // 't', '{' or '%'
	line int    // where it begins
	text string // what is between the braces; of a tag, behind its word
	word string // of a tag
}

var (
	markup  = regexp.MustCompile(`(?s)\{\{-?.*?\}\}|\{%-?.*?%\}`)
	endRaw  = regexp.MustCompile(`\{%-?\s*endraw\s*-?%\}`)
	endNote = regexp.MustCompile(`\{%-?\s*endcomment\s*-?%\}`)
)

// cut divides a template into its pieces. What is in raw is text, and what is in a
// comment is nothing.
func cut(source string) ([]piece, error) {
	var list []piece
	line, trim := 1, false
	text := func(s string, verbatim bool) error {
		for _, open := range []string{"{{", "{%"} {
			if at := strings.Index(s, open); at >= 0 && !verbatim {
				return &Error{line + strings.Count(s[:at], "\n"), open + " is not closed"}
			}
		}
		shown := s
		if trim && !verbatim {
			shown = strings.TrimLeft(s, " \t\r\n")
		}
		if shown != "" {
			list = append(list, piece{kind: 't', line: line, text: shown})
		}
		line += strings.Count(s, "\n")
		return nil
	}
	for {
		at := markup.FindStringIndex(source)
		if at == nil {
			return list, text(source, false)
		}
		tag := source[at[0]:at[1]]
		before := source[:at[0]]
		inner := tag[2 : len(tag)-2]
		if err := text(before, false); err != nil {
			return nil, err
		}
		if rest, ok := strings.CutPrefix(inner, "-"); ok {
			inner = rest
			list = trimmed(list)
		}
		inner, trim = strings.CutSuffix(inner, "-")
		source = source[at[1]:]
		p := piece{kind: tag[1], line: line, text: strings.TrimSpace(inner)}
		line += strings.Count(tag, "\n")
		if p.kind == '%' {
			p.word, p.text, _ = strings.Cut(p.text, " ")
		}
		end := map[string]*regexp.Regexp{"raw": endRaw, "comment": endNote}[p.word]
		if end == nil {
			list = append(list, p)
			continue
		}
		at = end.FindStringIndex(source)
		if at == nil {
			return nil, &Error{p.line, p.word + " is not closed by end" + p.word}
		}
		if p.word == "raw" {
			_ = text(source[:at[0]], true) // verbatim text is never wrong
			line += strings.Count(source[at[0]:at[1]], "\n")
		} else {
			line += strings.Count(source[:at[1]], "\n")
		}
		source, trim = source[at[1]:], strings.HasSuffix(source[:at[1]], "-%}")
	}
}

// trimmed is the list without space at its end, where that is text.
func trimmed(list []piece) []piece {
	if n := len(list); n > 0 && list[n-1].kind == 't' {
		list[n-1].text = strings.TrimRight(list[n-1].text, " \t\r\n")
	}
	return list
}
