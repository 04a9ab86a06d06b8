package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"
)

func init() {
	commands = append(commands, command{
		name: "bench", args: "[PLACEMENT...]", most: -1, short: "Measures what this server does on this machine",
		long: `It makes tenants of its own in each placement, or in those that are named, and
measures inside the running server, so without network and TLS: how long a tenant
takes to make, reading a row and durably writing one, a token by client
credentials for each algorithm, and the password check of a login. P50 is what half
of the times stayed below, P99 what all but one in a hundred did, and the last
column is how many there are in a second, one after the other.

Nobody's data is touched. The tenants are called bench-..., and are removed at the
end, also when the command is interrupted; those of a server that was killed
meanwhile go with the next benchmark after an hour. While it runs it takes a
processor, and hooks are told of its tenants as of any.`,
		examples: []string{"bench", "bench --rounds 50 --tenants 2", "bench dedicated --json"},
		flags: func(c *cobra.Command) {
			c.Flags().Int("tenants", benchTenants, "how many tenants are made in each placement")
			c.Flags().Int("rounds", benchRounds, "how often everything else is done")
		},
		run: runBench,
	})
}

func runBench(t *terminal) error {
	wish := benchWish{Placements: t.args}
	for name, into := range map[string]*int{"tenants": &wish.Tenants, "rounds": &wish.Rounds} {
		n, err := strconv.Atoi(t.text(name))
		if err != nil || n < 1 {
			return usageError(t.cmd, "--"+name+" is a number from 1")
		}
		*into = n
	}
	var report benchReport
	if err := t.follow(http.MethodPost, "/gatehouse/bench", wish, &report); err != nil {
		return err
	}
	return t.show(report, report.table)
}

func (v benchReport) table(w io.Writer) {
	row(w, "WHAT", "PLACEMENT", "TIMES", "P50", "P99", "A SECOND")
	for _, f := range v.Figures {
		row(w, f.What, f.Placement, f.Times, fmt.Sprintf("%.3f ms", f.P50), fmt.Sprintf("%.3f ms", f.P99), fmt.Sprintf("%.1f", f.PerSecond))
	}
	_, _ = fmt.Fprintf(w, "\nOn %d processors. The benchmark's %d tenants are gone.\n", v.Processors, v.Tenants)
}
