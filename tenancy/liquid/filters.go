package liquid

import (
	"html"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// filter is one row of the table: how many arguments it has, and what it does.
type filter struct {
	min, max int
	apply    func(v any, args []any) any
}

// onText is a filter of text alone.
func onText(f func(string) string) filter {
	return filter{0, 0, func(v any, _ []any) any { return f(text(v)) }}
}

var filters = map[string]filter{
	"append":     {1, 1, func(v any, a []any) any { return text(v) + text(a[0]) }},
	"capitalize": onText(capitalize),
	"date":       {1, 1, func(v any, a []any) any { return date(v, text(a[0])) }},
	"default": {1, 1, func(v any, a []any) any {
		if v == nil || v == false || equal(v, empty{}) {
			return a[0]
		}
		return v
	}},
	"downcase":      onText(strings.ToLower),
	"escape":        {0, 0, func(v any, _ []any) any { return escaped(v) }},
	"escape_once":   {0, 0, func(v any, _ []any) any { return safe(html.EscapeString(html.UnescapeString(text(v)))) }},
	"first":         {0, 0, func(v any, _ []any) any { return member(v, 0.0) }},
	"join":          {0, 1, join},
	"last":          {0, 0, func(v any, _ []any) any { return member(v, -1.0) }},
	"newline_to_br": {0, 0, func(v any, _ []any) any { return safe(strings.ReplaceAll(string(escaped(v)), "\n", "<br />\n")) }},
	"prepend":       {1, 1, func(v any, a []any) any { return text(a[0]) + text(v) }},
	"remove":        {1, 1, func(v any, a []any) any { return strings.ReplaceAll(text(v), text(a[0]), "") }},
	"replace":       {2, 2, func(v any, a []any) any { return replace(text(v), text(a[0]), text(a[1])) }},
	"size":          {0, 0, func(v any, _ []any) any { return size(v) }},
	"split":         {1, 1, func(v any, a []any) any { return plain(strings.Split(text(v), text(a[0]))) }},
	"strip":         onText(strings.TrimSpace),
	"truncate":      {0, 2, truncate},
	"upcase":        onText(strings.ToUpper),
	"url_encode":    onText(url.QueryEscape),
}

func escaped(v any) safe {
	if done, ok := v.(safe); ok {
		return done
	}
	return safe(html.EscapeString(text(v)))
}

func capitalize(s string) string {
	first, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return strings.ToUpper(string(first)) + strings.ToLower(s[n:])
}

func size(v any) any {
	switch v := v.(type) {
	case []any:
		return float64(len(v))
	case map[string]any:
		return float64(len(v))
	}
	return float64(utf8.RuneCountInString(text(v)))
}

func join(v any, args []any) any {
	between := " "
	if len(args) > 0 {
		between = text(args[0])
	}
	list, ok := v.([]any)
	if !ok {
		return v
	}
	var b strings.Builder
	for i, item := range list {
		if b.Len() > maxOutput { // what is rendered ends there
			break
		}
		if i > 0 {
			b.WriteString(between)
		}
		b.WriteString(text(plain(item)))
	}
	return b.String()
}

// replace gives back at most what ends the rendering: what is long in a place that
// is often there would be far longer.
func replace(s, old, with string) string {
	if n := strings.Count(s, old); n*len(with) > 2*maxOutput {
		return strings.Repeat(" ", maxOutput+1)
	}
	return strings.ReplaceAll(s, old, with)
}

func truncate(v any, args []any) any {
	length, end := 50, "..."
	if len(args) > 0 {
		if n, ok := args[0].(float64); ok && n >= 0 && n < maxOutput {
			length = int(n)
		}
	}
	if len(args) > 1 {
		end = text(args[1])
	}
	runes := []rune(text(v))
	if len(runes) <= length {
		return text(v)
	}
	return string(runes[:max(0, length-utf8.RuneCountInString(end))]) + end
}

// directives are strftime's, in the words of package time.
var directives = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'B': "January", 'b': "Jan", 'A': "Monday", 'a': "Mon",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'Z': "MST", 'z': "-0700", 'F': "2006-01-02", 'T': "15:04:05", 'j': "002",
}

// date writes a time, also one in the form of RFC 3339, or "now".
func date(v any, format string) any {
	t, ok := v.(time.Time)
	if s := text(v); !ok && (s == "now" || s == "today") {
		t, ok = time.Now(), true
	} else if !ok {
		parsed, err := time.Parse(time.RFC3339, s)
		t, ok = parsed, err == nil
	}
	if !ok {
		return v
	}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if layout, known := "", false; format[i] == '%' && i+1 < len(format) {
			i++
			if layout, known = directives[format[i]]; known {
				b.WriteString(t.UTC().Format(layout))
				continue
			}
		}
		b.WriteByte(format[i])
	}
	return b.String()
}
