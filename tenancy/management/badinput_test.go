package management

import (
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// BadInput of issue 5, contract 0 and C5.8: every route that takes a body and every
// body none should have, generated from the route table. All are refused, in
// bounded memory and time, and nothing is written.
func TestBadBodies(t *testing.T) { // not parallel: it measures memory
	k := newKit(t)
	before := snapshot(k, "acme") + snapshot(k, "widgets")
	const most = 1 << 20
	var members strings.Builder
	for i := range 70_000 {
		members.WriteString(`,"m`)
		members.WriteString(strings.Repeat("x", i%3))
		members.WriteString(strings.TrimLeft(time.Duration(i).String(), "0"))
		members.WriteString(`":1`)
	}
	for name, body := range map[string]func() io.Reader{
		"too long":     func() io.Reader { return strings.NewReader(`{"x":"` + strings.Repeat("x", most) + `"}`) },
		"nearly":       func() io.Reader { return strings.NewReader(`{"x":"` + strings.Repeat("x", most-100) + `"}`) },
		"deep":         func() io.Reader { return strings.NewReader(strings.Repeat(`{"metadata":`, 80_000)) },
		"deep list":    func() io.Reader { return strings.NewReader(strings.Repeat("[", most-1)) },
		"many members": func() io.Reader { return strings.NewReader(`{"a":1` + members.String() + "}") },
		"repeated":     func() io.Reader { return strings.NewReader(`{"name":"a","name":"b"}`) },
		"two values":   func() io.Reader { return strings.NewReader(`{}{}`) },
		"no JSON":      func() io.Reader { return strings.NewReader(`<x/>`) },
		"no UTF-8":     func() io.Reader { return strings.NewReader("{\"\xff\":\"\xfe\"}") },
		"large number": func() io.Reader { return strings.NewReader(`{"x":` + strings.Repeat("9", 500_000) + "}") },
		"cut off": func() io.Reader {
			return io.MultiReader(strings.NewReader(`{"name":`), iotest.ErrReader(os.ErrDeadlineExceeded))
		},
	} {
		for _, r := range Routes() {
			if bodyOf(r, "acme") == nil || r.ControlPlaneOnly {
				continue
			}
			token := k.callerOf(r, "acme").token()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			asked, began := m.TotalAlloc, time.Now()
			w := k.do(r.Method, acmeHost, pathOf(r, "acme"), token, body())
			took := time.Since(began)
			runtime.ReadMemStats(&m)
			if w.Code < 400 || w.Code > 499 || !strings.Contains(w.Body.String(), `"errorCode"`) || w.Body.Len() > 4096 {
				t.Errorf("%s: %s %s: %d, %d bytes: %.200s", name, r.Method, r.Path, w.Code, w.Body.Len(), w.Body)
			}
			if grown := (m.TotalAlloc - asked) >> 20; grown > 48 || took > 5*time.Second {
				t.Errorf("%s: %s %s: %d MiB, %v", name, r.Method, r.Path, grown, took)
			}
		}
	}
	if after := snapshot(k, "acme") + snapshot(k, "widgets"); after != before {
		t.Error("something was written")
	}
}
