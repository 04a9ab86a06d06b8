package caddymodule

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"
)

func init() {
	groups["sync"] = "See how the control plane's changes arrive in tenants"
	commands = append(commands, command{
		name: "sync status", args: "[TENANT]", most: 1, short: "Shows how far tenants are with the control plane's changes",
		long: `Every change on the control plane that tenants share has a revision; a tenant lags
by those it has not applied yet. A tenant that failed several times in a row is
listed as failed, and is still being tried.

With --wait it ends when everything that was there when it began has arrived,
showing how far it is.`,
		examples: []string{"sync status", "sync status --state failed", "sync status acme", "sync status --wait --timeout 1m"},
		flags: func(c *cobra.Command) {
			c.Flags().String("state", "", "only tenants that are in_sync, pending or failed")
			c.Flags().Bool("wait", false, "wait until everything has arrived")
			pageFlags(c)
		},
		run: runSyncStatus,
	})
}

func runSyncStatus(t *terminal) error {
	query := t.query("state", "page", "per-page")
	if id := t.arg(0); id != "" {
		query += map[bool]string{true: "?", false: "&"}[query == ""] + "tenant_id=" + id
	}
	var v syncView
	if t.flag("wait") {
		if err := t.follow(http.MethodPost, "/gatehouse/sync/wait"+query, nil, &v); err != nil {
			return err
		}
		return t.show(&v, v.table)
	}
	return t.get("/gatehouse/sync"+query, &v, v.table)
}

func (v *syncView) table(w io.Writer) {
	_, _ = fmt.Fprintf(w, "Head is revision %d. %d of %d tenants have everything; %d failed; the furthest lags by %d; %d conflicts.\n\n",
		v.Head, v.InScope-v.Behind, v.InScope, v.Failed, v.Lag, v.Conflicts)
	row(w, "TENANT", "STATE", "APPLIED", "LAG", "ATTEMPTS", "LAST SYNCED", "ERROR")
	for _, x := range v.Tenants {
		reason := ""
		if x.LastError != nil {
			reason = *x.LastError
		}
		row(w, x.TenantID, x.State, x.Applied, x.Lag, x.Attempts, moment(x.LastSyncedAt), reason)
	}
	v.more(w)
}
