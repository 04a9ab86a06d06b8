package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	tenantsync "github.com/gatehouse-id/gatehouse/sync"
	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	entityFlag := func(c *cobra.Command) {
		c.Flags().String("entity", "", "only these kinds, with commas: resource_server, role, connection, settings")
		c.Flags().Int("limit", driftShown, "how many differences to show; all are counted")
	}
	commands = append(
		commands,
		command{
			name: "sync drift", args: "[TENANT...]", most: -1, short: "Compares tenants with the control plane, and changes nothing",
			long: `What the control plane shares has copies in every tenant. A copy may be missing, may
differ (modified), may be there although it should not be (extra), or a row of the
tenant's own may be in its place (conflict). A change that is on its way to a tenant
counts as drift until it is there; wait for it with sync status --wait.

Of permissions, those the role lacks stand under "should be", those it has too many
under "is". To mend what is found: sync repair. Conflicts are the tenant's to solve,
or sync repair --on-conflict adopt makes the tenant's rows the copies.`,
			examples: []string{"sync drift", "sync drift acme widgets", "sync drift --entity role --limit 20", "sync drift --fail"},
			flags: func(c *cobra.Command) {
				entityFlag(c)
				c.Flags().Bool("fail", false, "end with 1 where anything differs")
			},
			run: runSyncDrift,
		},
		command{
			name: "sync repair", args: "[TENANT...]", most: -1, short: "Brings tenants to what the control plane says, after showing what that means",
			long: `It compares first, shows what would be done, and asks; --dry-run shows only, and --yes
asks nobody. Without tenants it repairs all of them, a few at a time: one that fails
stops no other and is named at the end.

Rows of a tenant's own are never changed, unless --on-conflict says so: with adopt, a
tenant's row in the place of a copy becomes the copy and keeps its id and who has it;
with rename, copies of roles and connections stand beside it under another name.

The repair is an operation of the server. It goes on when this command ends, and is
taken up again after an end of the server.`,
			examples: []string{"sync repair --dry-run", "sync repair", "sync repair acme --yes", "sync repair acme --on-conflict adopt"},
			flags: func(c *cobra.Command) {
				entityFlag(c)
				c.Flags().String("on-conflict", "", "what to do with tenants' own rows in the place of copies: refuse, adopt or rename")
				c.Flags().Bool("dry-run", false, "show what would be done, and do nothing")
				yesFlag(c)
			},
			run: runSyncRepair,
		},
	)
}

func runSyncDrift(t *terminal) error {
	query := url.Values{"limit": {t.text("limit")}}
	if len(t.args) > 0 {
		query.Set("tenant_id", strings.Join(t.args, ","))
	}
	if kinds := t.text("entity"); kinds != "" {
		query.Set("entity", kinds)
	}
	var v driftView
	if err := t.follow(http.MethodGet, "/gatehouse/sync/drift?"+query.Encode(), nil, &v); err != nil {
		return err
	}
	if err := t.show(&v, v.table); err != nil {
		return err
	}
	switch {
	case len(v.Unchecked) > 0:
		return &exit{
			code: exitFailed, error: fmt.Errorf("%d tenants could not be compared", len(v.Unchecked)),
			hint: "see why: " + commandLine("sync status --state failed"),
		}
	case v.Found > 0 && t.flag("fail"):
		return &exit{code: exitFailed, error: fmt.Errorf("%d differences", v.Found), hint: "mend them: " + commandLine("sync repair")}
	}
	return nil
}

func runSyncRepair(t *terminal) error {
	wish := repairWish{Repair: tenancy.Repair{TenantIDs: t.args, OnConflict: t.text("on-conflict")}}
	if kinds := t.text("entity"); kinds != "" {
		wish.Entities = strings.Split(kinds, ",")
	}
	if len(t.args) == 0 {
		wish.TenantIDs = nil // all
	}
	if t.flag("dry-run") || !t.flag("yes") {
		done, err := t.planRepair(wish)
		if done || err != nil {
			return err
		}
	}
	var v repairView
	if err := t.follow(http.MethodPost, "/gatehouse/sync/repair", wish, &v); err != nil {
		return err
	}
	if err := t.show(&v, v.result); err != nil {
		return err
	}
	if v.Status != tenancy.OperationSucceeded {
		return &exit{
			code: exitFailed, error: fmt.Errorf("the repair failed: %s", v.Failure),
			hint: "see what is wrong (" + commandLine("sync status --state failed") + ") and run the command again: what is repaired already costs nothing",
		}
	}
	return nil
}

// planRepair shows what a repair would do and, unless that is all that was asked
// for, has a person agree. done means that nothing is left to do.
func (t *terminal) planRepair(wish repairWish) (done bool, err error) {
	wish.DryRun = true
	var v repairView
	if err := t.follow(http.MethodPost, "/gatehouse/sync/repair?limit="+t.text("limit"), wish, &v); err != nil {
		return false, err
	}
	if t.flag("dry-run") {
		return true, t.show(&v, v.Plan.table)
	}
	if v.Plan.Found == v.Plan.Kinds[tenantsync.DriftConflict] && len(v.Plan.Unchecked) == 0 {
		return true, t.show(&v, v.Plan.table)
	}
	asked := *t
	asked.out = t.err // what is asked is no result
	if err := asked.showTable(v.Plan.table); err != nil {
		return false, err
	}
	return false, t.confirm("A repair", "repair")
}

// table shows what differs.
func (v *driftView) table(w io.Writer) {
	switch {
	case v.Found == 0:
		_, _ = fmt.Fprintf(w, "%d tenants were compared; nothing differs.\n", v.Checked)
	default:
		_, _ = fmt.Fprintf(w, "%d tenants were compared; %d differ, by %s.\n\n", v.Checked, v.Differing, v.kindsLine())
		row(w, "TENANT", "KIND", "ENTITY", "CONTROL PLANE'S", "TENANT'S", "REPAIR", "DIFFERENCE")
		for _, d := range v.Drift {
			row(w, d.TenantID, d.Kind, d.Entity, d.OriginID, d.LocalID, d.Action, differences(d.Fields))
		}
		if rest := v.Found - len(v.Drift); rest > 0 {
			_, _ = fmt.Fprintf(w, "... and %d more; --limit shows them.\n", rest)
		}
	}
	for _, u := range v.Unchecked {
		_, _ = fmt.Fprintf(w, "Not compared: %s: %s\n", u.TenantID, u.Error)
	}
}

// differences are the members that differ, in one line of bounded length.
func differences(fields []tenantsync.Difference) string {
	const longest = 60
	var parts []string
	for _, f := range fields {
		is, _ := json.Marshal(f.Actual) // they came as JSON
		should, _ := json.Marshal(f.Expected)
		parts = append(parts, fmt.Sprintf("%s is %s, should be %s", f.Name, clip(string(is), longest), clip(string(should), longest)))
	}
	return strings.Join(parts, "; ")
}

func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

// result says what a repair did.
func (v *repairView) result(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%d tenants were compared, %d were repaired, %d failed (operation %s).\n", v.Checked, v.Repaired, v.Failed, v.OperationID)
}
