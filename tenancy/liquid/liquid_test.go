package liquid

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var variables = map[string]any{
	"user": map[string]any{"name": "Ann <b>O'Hara</b>", "email": "ann@acme.test", "verified": false, "tags": []string{"a", "b"}, "n": 3},
	"url":  "https://acme.test/u?a=1&b=2", "at": time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
	"application": map[string]any{"name": "Shop"},
}

func TestRender(t *testing.T) {
	for source, want := range map[string]string{
		`Hello {{ user.email }}!`:                                                          "Hello ann@acme.test!",
		`<b>{{ user.name }}</b>`:                                                           "<b>Ann &lt;b&gt;O&#39;Hara&lt;/b&gt;</b>",
		`<b>{{ user.name | escape }}</b>`:                                                  "<b>Ann &lt;b&gt;O&#39;Hara&lt;/b&gt;</b>",
		`{{ user.name | escape | upcase }}`:                                                "ANN &amp;LT;B&amp;GT;O&amp;#39;HARA&amp;LT;/B&amp;GT;",
		`<a href="{{ url }}">`:                                                             `<a href="https://acme.test/u?a=1&amp;b=2">`,
		`{{ nobody.name }}{{ user['email'] | size }}`:                                      "13",
		`{{ user.nickname | default: "you" | capitalize }}`:                                "You",
		`{% if user.verified %}yes{% else %}no{% endif %}`:                                 "no",
		`{% unless user.verified %}no{% endunless %}`:                                      "no",
		`{% if user.n > 2 and user.tags contains "b" %}y{% endif %}`:                       "y",
		`{% if user.n == "3" %}y{% elsif user.n <= 3 %}z{% endif %}`:                       "z",
		`{% if nobody == blank %}nobody{% endif %}`:                                        "nobody",
		`{% case user.n %} {% when 1, 2 %}few{% when 3 %}three{% else %}many{% endcase %}`: "three",
		`{% for t in user.tags %}{{ forloop.index }}{{ t }}{% unless forloop.last %},{% endunless %}{% endfor %}`: "1a,2b",
		`{% for t in user.tags reversed limit:1 %}{{ t }}{% endfor %}{{ t }}`:                                     "a",
		`{% assign x = user.email | split: "@" | last %}{{ x }}{{ user.tags | join: "/" }}`:                       "acme.testa/b",
		`{% capture x %}<i>{{ user.name | truncate: 6 }}</i>{% endcapture %}{{ x }}`:                              "<i>Ann...</i>",
		`{% raw %}{{ user.name }}{% endraw %}{% comment %}{{ broken {% endcomment %}.`:                            "{{ user.name }}.",
		"a {%- if true -%} b {%- endif -%} c":                                                                     "abc",
		`{{ at | date: "%Y-%m-%d %H:%M %B %%x" }}`:                                                                "2026-03-04 05:06 March %x",
		`{{ "a b&c" | url_encode }}{{ "2" | append: url | remove: url }}`:                                         "a+b%26c2",
	} {
		parsed, err := Parse(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := parsed.HTML(variables); err != nil || got != want {
			t.Errorf("%s\n got %q, %v\nwant %q", source, got, err, want)
		}
	}
	parsed, err := Parse("{{ user.name }}")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parsed.Text(variables); err != nil || got != "Ann <b>O'Hara</b>" {
		t.Errorf("as text: %q, %v", got, err)
	}
}

// What does not parse is refused with its line (contract C5.95).
func TestParseErrors(t *testing.T) {
	for source, want := range map[string]string{
		"a\nb {{ user.name":                         "line 2: {{ is not closed",
		"a\n\n{% if user.name %}b":                  "line 3: if is not closed by endif",
		"{% for x in list %}\n{% endif %}":          "line 1: for is not closed by endfor",
		"a\n{% include 'secrets' %}":                `line 2: there is no tag "include"`,
		"\n{{ user.name | system }}":                `line 2: there is no filter "system"`,
		"{{ user.name | append }}":                  "line 1: filter append has 1 to 1 arguments",
		"{{ user..name }}":                          "line 1: a name is missing behind the dot",
		"{{ user.name; }}":                          `line 1: unexpected ';'`,
		"{{ a b }}":                                 "line 1: unexpected b",
		"{% endif %}":                               `line 1: "endif" without what it ends`,
		"{% if a %}{% else %}{% else %}{% endif %}": "line 1: if is not closed by endif",
		"{% raw %}":                                 "line 1: raw is not closed by endraw",
		"{% for x in (1..9) %}{% endfor %}":         `line 1: unexpected '('`,
		strings.Repeat("{% if a %}", 40):            "line 1: more than 32 blocks",
		strings.Repeat("x", MaxLength+1):            "line 1: the template has more than",
		"{% comment %}\n\n{% endcomment %}{% raw %}\n{% endraw %}{{": "line 4: {{ is not closed",
	} {
		_, err := Parse(source)
		var wrong *Error
		if !errors.As(err, &wrong) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.40q\n got %v\nwant %s", source, err, want)
		}
	}
}

// A template that would run for long, or make a lot, ends.
func TestBounds(t *testing.T) {
	many := `{% assign l = "` + strings.Repeat("x,", 5000) + `" | split: "," %}`
	for _, source := range []string{
		many + `{% for a in l %}{% for b in l %}{% for c in l %}{% endfor %}{% endfor %}{% endfor %}`,
		many + `{% for a in l %}{{ l | join: "1234567890" }}{% endfor %}`,
		`{% assign x = "ab" %}` + strings.Repeat(`{% assign x = x | replace: "b", "bbbbbbbbbb" %}`, 20),
		`{% assign x = "ab" %}` + strings.Repeat(`{% assign x = x | append: x %}`, 60),
	} {
		parsed, err := Parse(source)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parsed.HTML(nil); !errors.Is(err, ErrTooMuch) {
			t.Errorf("%.60s...: %d bytes, %v, want ErrTooMuch", source[len(source)-60:], len(got), err)
		}
	}
}

func FuzzRender(f *testing.F) {
	f.Add(`{% if a %}{{ user.name | default: "x" | upcase }}{% else %}{%- for t in user.tags -%}{{ t }}{% endfor %}{% endif %}`)
	f.Fuzz(func(t *testing.T, source string) {
		parsed, err := Parse(source)
		if err != nil {
			return
		}
		out, err := parsed.HTML(map[string]any{"user": map[string]any{"name": "<script>evil"}})
		if err != nil && !errors.Is(err, ErrTooMuch) {
			t.Errorf("error %v", err)
		}
		if strings.Contains(out, "<script>evil") && !strings.Contains(source, "script") {
			t.Errorf("a value came out as HTML: %q", out)
		}
	})
}
