package caddymodule

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// bar shows the progress of long work: on a terminal a line that fills, and
// elsewhere a line whenever a step begins or ends and every few seconds.
type bar struct {
	w     io.Writer
	live  bool
	last  progress
	shown time.Time
	now   func() time.Time
}

const (
	barWidth   = 30
	plainEvery = 5 * time.Second
)

func newBar(w io.Writer) *bar {
	f, ok := w.(*os.File)
	return &bar{w: w, live: ok && isTerminal(f), now: time.Now}
}

// show draws how far the work is.
func (b *bar) show(p progress) {
	if !b.live {
		if p.Step == b.last.Step && b.now().Sub(b.shown) < plainEvery && (p.Total == 0 || p.Done < p.Total) {
			return
		}
		_, _ = fmt.Fprintln(b.w, p.String())
		b.last, b.shown = p, b.now()
		return
	}
	if b.last.Step != "" && p.Step != b.last.Step {
		_, _ = fmt.Fprintln(b.w)
	}
	drawn := ""
	if p.Total > 0 {
		filled := int(min(p.Done, p.Total) * barWidth / p.Total)
		drawn = "[" + strings.Repeat("#", filled) + strings.Repeat(".", barWidth-filled) + "] "
	}
	_, _ = fmt.Fprintf(b.w, "\r\033[K%s%s", drawn, p)
	b.last = p
}

// done ends the line of a terminal.
func (b *bar) done() {
	if b.live && b.last.Step != "" {
		_, _ = fmt.Fprintln(b.w)
	}
}

// String is the progress in words.
func (p progress) String() string {
	switch {
	case p.Total > 0:
		return fmt.Sprintf("%s: %d of %d (%d%%)", p.Step, p.Done, p.Total, p.Done*100/p.Total)
	case p.Done > 0:
		return fmt.Sprintf("%s: %d", p.Step, p.Done)
	}
	return p.Step
}
