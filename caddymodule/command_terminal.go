package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// terminal is what a command runs with: its arguments and flags, the server, and
// who looks at it.
type terminal struct {
	cmd  *cobra.Command
	args []string
	out  io.Writer
	err  io.Writer
}

// arg is the nth argument, or "".
func (t *terminal) arg(n int) string {
	if n < len(t.args) {
		return t.args[n]
	}
	return ""
}

// text, flag and number are the values of flags that the command has.
func (t *terminal) text(name string) string { return t.cmd.Flag(name).Value.String() }
func (t *terminal) flag(name string) bool   { return t.text(name) == "true" }

// client returns the server that flags name.
func (t *terminal) client() (*adminClient, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(t.text("address"), nil, t.text("config"), t.text("adapter"))
	if err != nil {
		return nil, &exit{code: exitUsage, error: err, hint: "name the admin endpoint: --address localhost:2019"}
	}
	return newAdminClient(address)
}

// wait is how long the command may take; 0 for as long as it likes.
func (t *terminal) wait(instead time.Duration) time.Duration {
	if d, err := t.cmd.Flags().GetDuration("timeout"); err == nil && d > 0 {
		return d
	}
	return instead
}

// interruptible is a context that ends when a person wants the command to end,
// or when time is up.
func (t *terminal) interruptible(limit time.Duration) (context.Context, context.CancelFunc) {
	parent := t.cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	if limit <= 0 {
		return ctx, stop
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, func() { cancel(); stop() }
}

// callLimit is how long an answer that comes at once may take.
const callLimit = 2 * time.Minute

// call asks the server for something that is done at once.
func (t *terminal) call(method, path string, body, into any) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	ctx, cancel := t.interruptible(t.wait(callLimit))
	defer cancel()
	return c.call(ctx, method, path, body, into)
}

// follow asks the server for long work and shows how far it is.
func (t *terminal) follow(method, path string, body, into any) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	ctx, cancel := t.interruptible(t.wait(0))
	defer cancel()
	bar := newBar(t.err)
	defer bar.done()
	return c.follow(ctx, method, path, body, into, bar.show)
}

// get asks, and shows the answer: v as JSON, or what table writes.
func (t *terminal) get(path string, v any, table func(w io.Writer)) error {
	if err := t.call(http.MethodGet, path, nil, v); err != nil {
		return err
	}
	return t.show(v, table)
}

// show prints an answer. table writes it for people: cells end in a tab.
func (t *terminal) show(v any, table func(w io.Writer)) error {
	if t.flag("json") {
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(t.out, string(text))
		return err
	}
	return t.showTable(table)
}

// showTable prints what table writes for people.
func (t *terminal) showTable(table func(w io.Writer)) error {
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// row writes the cells of a table's row.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		if texts[i] = fmt.Sprint(c); texts[i] == "" {
			texts[i] = "-"
		}
	}
	_, _ = fmt.Fprintln(w, strings.TrimRight(strings.Join(texts, "\t"), "\t"))
}

// confirm asks a person to type word before something is done that cannot be
// undone, unless the flag yes is set. Where nobody can be asked, it refuses.
func (t *terminal) confirm(what, word string) error {
	if t.flag("yes") {
		return nil
	}
	in, isFile := t.cmd.InOrStdin().(*os.File)
	if isFile && !isTerminal(in) {
		return &exit{code: exitUsage, error: fmt.Errorf("%s cannot be undone, and there is nobody to ask", what), hint: "add --yes"}
	}
	_, _ = fmt.Fprintf(t.err, "%s cannot be undone. Type %s to go on: ", what, word)
	var typed string
	if _, err := fmt.Fscanln(t.cmd.InOrStdin(), &typed); err != nil || typed != word {
		return &exit{code: exitFailed, error: fmt.Errorf("nothing was done")}
	}
	return nil
}

// isTerminal reports whether a person is at the other end of a file.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// yesFlag is the flag that [terminal.confirm] looks at.
func yesFlag(c *cobra.Command) { c.Flags().BoolP("yes", "y", false, "do not ask") }
