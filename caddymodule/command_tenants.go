package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	groups["tenants"] = "List, show, make, remove, suspend and resume tenants"
	commands = append(
		commands,
		command{
			name: "tenants list", short: "Lists tenants with their state and placement",
			long: `A tenant's state is provisioning while it is made, then active; suspended after
tenants suspend; failed where making it failed; deleting until everything of it
is gone. Its placement is the configured database it lives in.`,
			examples: []string{"tenants list", "tenants list --state failed", "tenants list --search acme --json"},
			flags: func(c *cobra.Command) {
				c.Flags().String("state", "", "only tenants in this state")
				c.Flags().String("placement", "", "only tenants in this placement")
				c.Flags().String("search", "", "only tenants whose id or name begins so")
				pageFlags(c)
			},
			run: runListTenants,
		},
		command{
			name: "tenants show", args: "TENANT", least: 1, most: 1, short: "Shows one tenant, its addresses and what was last done to it",
			long:     `It says the placement, every issuer, and why the tenant failed or is suspended.`,
			examples: []string{"tenants show acme"},
			run:      runShowTenant,
		},
		command{
			name: "tenants create", args: "TENANT", least: 1, most: 1, short: "Makes a tenant",
			long: `TENANT is its id and the label of its host: acme is acme.auth.example.com. When
the command ends, the tenant has a database, keys and an organization on the
control plane, and answers. Where a step fails, the tenant is left failed with
the reason; the same command again goes on from there.`,
			examples: []string{"tenants create acme --name 'Acme Inc.'", "tenants create acme --owner ann@example.com --placement dedicated"},
			flags: func(c *cobra.Command) {
				c.Flags().String("name", "", "the name people see (default the id)")
				c.Flags().String("placement", "", "the configured database it lives in (default the first)")
				c.Flags().String("owner", "", "e-mail address of its first administrator, a user of the control plane")
			},
			run: runCreateTenant,
		},
		command{
			name: "tenants delete", args: "TENANT", least: 1, most: 1, short: "Removes a tenant with everything in it",
			long: `First its hosts cease to answer, then its database goes, and last the key without
which no copy of it can be read: also not a backup. Where a step fails, the
tenant stays deleting and the same command again goes on.`,
			examples: []string{"tenants delete acme", "tenants delete acme --yes"},
			flags:    yesFlag,
			run:      runDeleteTenant,
		},
		command{
			name: "tenants suspend", args: "TENANT [REASON]", least: 1, most: 2, short: "Has a tenant refuse everybody until it is resumed",
			long: `Sessions and refresh tokens stay; its keys are still published, so that tokens it
issued can be verified.`,
			examples: []string{"tenants suspend acme 'unpaid since March'"},
			run: func(t *terminal) error {
				return t.change(tenantPath(t.arg(0), "suspend"), map[string]string{"reason": t.arg(1)})
			},
		},
		command{
			name: "tenants resume", args: "TENANT", least: 1, most: 1, short: "Ends a suspension",
			long:     `People can log in again at once; what they had is still there.`,
			examples: []string{"tenants resume acme"},
			run:      func(t *terminal) error { return t.change(tenantPath(t.arg(0), "resume"), nil) },
		},
	)
}

// tenantPath is the path of a tenant on the admin API, or of something of it.
func tenantPath(id string, further ...string) string {
	path := "/gatehouse/tenants/" + url.PathEscape(id)
	for _, f := range further {
		path += "/" + url.PathEscape(f)
	}
	return path
}

// pageFlags are those of lists.
func pageFlags(c *cobra.Command) {
	c.Flags().Int("page", 0, "which page, from 0")
	c.Flags().Int("per-page", 50, "how many are on a page")
}

// query makes the parameters of a request from flags that are set, each under
// its own name or the one given.
func (t *terminal) query(flags ...string) string {
	values := url.Values{}
	for _, f := range flags {
		name, param, renamed := strings.Cut(f, "=")
		if !renamed {
			param = strings.ReplaceAll(name, "-", "_")
		}
		if t.cmd.Flag(name).Changed {
			values.Set(param, t.text(name))
		}
	}
	if len(values) == 0 {
		return ""
	}
	return "?" + values.Encode()
}

// more says that a page does not show all there is.
func (p page) more(w io.Writer) {
	if p.Total > p.Length {
		_, _ = fmt.Fprintf(w, "\n%d to %d of %d; see more with --page\n", min(p.Start+1, p.Total), p.Start+p.Length, p.Total)
	}
}

// moment is a time for people; "" for none.
func moment(at tenancy.Time) string {
	if at == 0 {
		return ""
	}
	return at.Time().UTC().Format(time.DateTime)
}

func runListTenants(t *terminal) error {
	var list tenantList
	return t.get("/gatehouse/tenants"+t.query("state", "placement", "search=q", "page", "per-page"), &list, func(w io.Writer) {
		row(w, "ID", "NAME", "STATE", "PLACEMENT", "CREATED")
		for _, v := range list.Tenants {
			row(w, v.ID, v.FriendlyName, v.State, v.Placement, moment(v.CreatedAt))
		}
		list.more(w)
	})
}

func runShowTenant(t *terminal) error {
	var v tenantView
	return t.get(tenantPath(t.arg(0)), &v, v.table)
}

func (v *tenantView) table(w io.Writer) {
	row(w, "id:", v.ID)
	row(w, "name:", v.FriendlyName)
	row(w, "state:", v.State)
	if v.Reason != "" {
		row(w, "reason:", v.Reason)
	}
	row(w, "placement:", v.Placement)
	if v.Database != "" {
		row(w, "database:", v.Database)
	}
	for _, issuer := range v.Issuers {
		row(w, "issuer:", issuer)
	}
	row(w, "organization:", v.Organization)
	row(w, "created:", moment(v.CreatedAt))
	if o := v.LastOperation; o != nil {
		row(w, "last operation:", fmt.Sprintf("%s %s, attempt %d, %s", o.Kind, o.Status, o.Attempt, moment(o.UpdatedAt)))
		row(w, "its id:", v.LastOperationID)
		if o.Error != "" {
			row(w, "its error:", o.Error)
		}
	}
}

func runCreateTenant(t *terminal) error {
	wish := newTenant{ID: t.arg(0), FriendlyName: t.text("name"), Placement: t.text("placement")}
	if email := t.text("owner"); email != "" {
		wish.Owner = &tenancy.Owner{Email: email}
	}
	var v tenantView
	if err := t.call(http.MethodPost, "/gatehouse/tenants", wish, &v); err != nil {
		return err
	}
	return t.show(v, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "Tenant %s is %s in placement %s.\n", v.ID, v.State, v.Placement)
		for _, issuer := range v.Issuers {
			_, _ = fmt.Fprintln(w, "It answers at "+issuer)
		}
	})
}

func runDeleteTenant(t *terminal) error {
	id := t.arg(0)
	if err := t.confirm("Removing tenant "+id, id); err != nil {
		return err
	}
	if err := t.call(http.MethodDelete, tenantPath(id), nil, nil); err != nil {
		return err
	}
	return t.show(map[string]string{"deleted": id}, func(w io.Writer) { _, _ = fmt.Fprintf(w, "Tenant %s is gone.\n", id) })
}

// change posts to the path of a tenant, and shows the tenant.
func (t *terminal) change(path string, body any) error {
	var v tenantView
	if err := t.call(http.MethodPost, path, body, &v); err != nil {
		return err
	}
	return t.show(v, func(w io.Writer) { _, _ = fmt.Fprintf(w, "Tenant %s is %s.\n", v.ID, v.State) })
}
