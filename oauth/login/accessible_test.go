package login

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// element is one element of a page and what it holds.
type element struct {
	name   string
	attrs  map[string]string
	parent *element
	text   *strings.Builder
}

// parse reads a page, which has to be well-formed: every element is closed.
func parse(t *testing.T, page string) []*element {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(page))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var all []*element
	var open *element
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("page is not well-formed: %v\n%s", err, page)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attrs: make(map[string]string), parent: open, text: new(strings.Builder)}
			for _, a := range token.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			all, open = append(all, e), e
		case xml.EndElement:
			open = open.parent
		case xml.CharData:
			for e := open; e != nil; e = e.parent {
				e.text.Write(token)
			}
		}
	}
}

// checkAccessible holds what can be checked of WCAG 2.2 without eyes: language,
// title, one heading, labels, names of buttons, references that lead somewhere,
// autocomplete (1.3.5), errors announced (4.1.3) and tied to their fields
// (3.3.1), one focus.
func checkAccessible(t *testing.T, page string) {
	t.Helper()
	all := parse(t, page)
	ids := make(map[string]*element)
	labels := make(map[string]string)
	count := make(map[string]int)
	for _, e := range all {
		count[e.name]++
		if id, ok := e.attrs["id"]; ok {
			if ids[id] != nil {
				t.Errorf("id %q is used twice", id)
			}
			ids[id] = e
		}
		if e.name == "label" {
			labels[e.attrs["for"]] = strings.TrimSpace(e.text.String())
		}
	}
	focused, alerts := 0, 0
	for _, e := range all {
		if _, ok := e.attrs["autofocus"]; ok {
			focused++
		}
		if e.attrs["role"] == "alert" {
			alerts++
			if e.attrs["tabindex"] != "-1" || strings.TrimSpace(e.text.String()) == "" {
				t.Error("the error summary is empty or cannot take the focus")
			}
		}
		for _, id := range strings.Fields(e.attrs["aria-describedby"]) {
			if ids[id] == nil || strings.TrimSpace(ids[id].text.String()) == "" {
				t.Errorf("%s %q is described by %q, which is not there or empty", e.name, e.attrs["id"], id)
			}
		}
		switch e.name {
		case "html":
			if e.attrs["lang"] == "" {
				t.Error("the page has no language")
			}
		case "title":
			if strings.TrimSpace(e.text.String()) == "" {
				t.Error("the page has no title")
			}
		case "input":
			if e.attrs["type"] == "hidden" {
				continue
			}
			if labels[e.attrs["id"]] == "" {
				t.Errorf("input %q has no label", e.attrs["name"])
			}
			if e.attrs["autocomplete"] == "" {
				t.Errorf("input %q has no autocomplete", e.attrs["name"])
			}
			if e.attrs["aria-invalid"] == "true" && !strings.Contains(e.attrs["aria-describedby"], "-error") {
				t.Errorf("input %q is invalid and does not say why", e.attrs["name"])
			}
		case "button", "a":
			if strings.TrimSpace(e.text.String()) == "" {
				t.Errorf("a %s has no name", e.name)
			}
		case "img":
			if _, ok := e.attrs["alt"]; !ok {
				t.Error("an image has no alt text")
			}
		case "script":
			t.Error("the page has a script")
		}
		if e.attrs["style"] != "" || slices.ContainsFunc([]string{"onclick", "onload", "onerror"}, func(a string) bool { return e.attrs[a] != "" }) {
			t.Errorf("%s has an inline style or handler, which the policy refuses", e.name)
		}
	}
	if count["h1"] != 1 || count["main"] != 1 || focused > 1 {
		t.Errorf("%d headings, %d mains, %d autofocus, want 1, 1 and at most 1", count["h1"], count["main"], focused)
	}
	if strings.Contains(page, "<title>Error: ") != (alerts == 1) {
		t.Error("title and summary do not agree on whether there is an error")
	}
}
