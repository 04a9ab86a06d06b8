package caddymodule

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	groups["migrate"] = "Bring tenants' databases to this program's schema"
	commands = append(
		commands,
		command{
			name: "migrate status", short: "Shows how far the upgrade of tenants' databases is",
			long: `A new program upgrades each tenant's database when somebody comes for it, and all
others in the background. A tenant whose database cannot be upgraded answers 503
alone, and is tried again later.`,
			examples: []string{"migrate status"},
			run: func(t *terminal) error {
				var v upgrades
				return t.get("/gatehouse/migrations", &v, v.table)
			},
		},
		command{
			name: "migrate run", args: "[TENANT]", most: 1, short: "Upgrades tenants' databases now",
			long: `All of them, or one, also one that failed and waits. It can be interrupted and run
again.`,
			examples: []string{"migrate run", "migrate run acme"},
			run:      runMigrate,
		},
		command{
			name: "move", args: "TENANT PLACEMENT", least: 2, most: 2, short: "Takes a tenant to another placement while it serves",
			long: `The rows are copied and corrected until little differs; then writes are refused
for a moment (503, try again in a second), every row is compared, and the tenant
is switched. Issuer, keys, sessions and tokens stay. The database that is left is
kept for a day unless --drop-old says otherwise.

It can be interrupted at any point: before the switch the tenant stays where it
was, and the same command again goes on.`,
			examples: []string{"move acme dedicated", "move acme dedicated --drop-old"},
			flags: func(c *cobra.Command) {
				c.Flags().Bool("drop-old", false, "drop the database that is left at once")
			},
			run: func(t *terminal) error {
				wish := dataWish{Placement: t.arg(1), DropOld: t.flag("drop-old")}
				return t.work(tenantPath(t.arg(0), "move"), wish, func(v *tenantView) string {
					return fmt.Sprintf("Tenant %s is in placement %s.", v.ID, v.Placement)
				})
			},
		},
		command{
			name: "backup", args: "TENANT [FILE]", least: 1, most: 2, short: "Writes everything a tenant has into a new file, while it serves",
			long: `The file is as of one moment. Secrets in it stay sealed, and the tenant's key is in
it sealed with the master secret: keep that somewhere else, and as long as the
backups. The file is written by the server, on the server's machine. Without FILE it
is one of those in the directory of the option "backups", which keeps the newest of
each tenant and removes them with the tenant.`,
			examples: []string{"backup acme", "backup acme /var/backups/acme.backup"},
			run:      func(t *terminal) error { return t.write("backup", dataWish{}) },
		},
		command{
			name: "restore", args: "FILE", least: 1, most: 1, short: "Brings a tenant back from a backup",
			long: `The whole file is checked before anything is touched. A tenant that serves is
replaced with --force only, in one step at the end, and what it had is kept for a
day. With a tenant that was gone come its organization, those members who are still
users of the control plane with what they may do, and its domains once proven again.
Only the installation that made a backup can restore it; see import.`,
			examples: []string{"restore /var/backups/acme.backup", "restore /var/backups/acme.backup --force --placement dedicated"},
			flags: func(c *cobra.Command) {
				placementFlag(c)
				c.Flags().Bool("force", false, "replace a tenant that serves")
			},
			run: func(t *terminal) error {
				return t.bring("/gatehouse/restore", dataWish{Placement: t.text("placement"), Force: t.flag("force")})
			},
		},
		command{
			name: "export", args: "TENANT FILE", least: 2, most: 2, short: "Writes a tenant as JSON lines that any installation can import",
			long: `Sessions and refresh tokens stay where they are. With --secrets, password hashes,
signing keys and secrets are in it, encrypted for one recipient of age.`,
			examples: []string{"export acme /tmp/acme.jsonl", "export acme /tmp/acme.age --secrets --recipient age1..."},
			flags: func(c *cobra.Command) {
				c.Flags().Bool("secrets", false, "with password hashes, keys and secrets")
				c.Flags().String("recipient", "", "who can read it: an age recipient")
			},
			run: func(t *terminal) error {
				return t.write("export", dataWish{Secrets: t.flag("secrets"), Recipient: t.text("recipient")})
			},
		},
		command{
			name: "import", args: "FILE", least: 1, most: 1, short: "Makes a tenant from an export",
			long:     `The whole file is checked before anything is made.`,
			examples: []string{"import /tmp/acme.jsonl", "import /tmp/acme.age --identity key.txt --placement dedicated"},
			flags: func(c *cobra.Command) {
				placementFlag(c)
				c.Flags().String("identity", "", "file with the age secret key that opens it")
			},
			run: runImport,
		},
	)
}

func placementFlag(c *cobra.Command) {
	c.Flags().String("placement", "", "the configured database it lives in (default the first)")
}

// work has the server do long work that ends with an answer, and says what it came
// to.
func (t *terminal) work(path string, wish dataWish, say func(v *tenantView) string) error {
	var v tenantView
	if err := t.follow(http.MethodPost, path, wish, &v); err != nil {
		return err
	}
	return t.show(v, func(w io.Writer) { _, _ = fmt.Fprintln(w, say(&v)) })
}

// bring makes a tenant from the file that the command names.
func (t *terminal) bring(path string, wish dataWish) (err error) {
	if wish.File, err = filepath.Abs(t.arg(0)); err != nil {
		return err
	}
	return t.work(path, wish, func(v *tenantView) string {
		return fmt.Sprintf("Tenant %s is %s in placement %s.", v.ID, v.State, v.Placement)
	})
}

// write has the server write a file of a tenant.
func (t *terminal) write(what string, wish dataWish) (err error) {
	if file := t.arg(1); file != "" {
		if wish.File, err = filepath.Abs(file); err != nil {
			return err
		}
	}
	var v fileView
	if err := t.follow(http.MethodPost, tenantPath(t.arg(0), what), wish, &v); err != nil {
		return err
	}
	return t.show(v, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s has %d rows of tenant %s, %d bytes.\n", v.File, v.Rows, v.Tenant, v.Bytes)
	})
}

func runImport(t *terminal) error {
	wish := dataWish{Placement: t.text("placement")}
	if path := t.text("identity"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return &exit{code: exitUsage, error: err}
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				wish.Identity = line
			}
		}
	}
	return t.bring("/gatehouse/import", wish)
}

func runMigrate(t *terminal) error {
	path := "/gatehouse/migrations/run"
	if id := t.arg(0); id != "" {
		path = "/gatehouse/tenants/" + url.PathEscape(id) + "/migrate"
	}
	var v upgrades
	if err := t.follow(http.MethodPost, path, nil, &v); err != nil {
		return err
	}
	return t.show(&v, v.table)
}

// upgrades is a [tenancy.UpgradeStatus] that can be shown.
type upgrades struct{ tenancy.UpgradeStatus }

func (v *upgrades) table(w io.Writer) {
	state := "No upgrade is under way"
	if v.Running {
		state = "An upgrade is under way"
	}
	_, _ = fmt.Fprintf(w, "%s: %d of %d databases done, %d failed.\n", state, v.Done, v.Total, v.Failed)
	if len(v.Versions) > 0 {
		_, _ = fmt.Fprintln(w)
		row(w, "PLACEMENT", "SCHEMA")
		for _, name := range slices.Sorted(maps.Keys(v.Versions)) {
			row(w, name, v.Versions[name])
		}
	}
	if len(v.Failures) > 0 {
		_, _ = fmt.Fprintln(w)
		row(w, "FAILED", "SCHEMA", "ATTEMPTS", "NEXT TRY", "ERROR")
		for _, f := range v.Failures {
			row(w, f.TenantID, f.SchemaVersion, f.Attempts, moment(f.NextAttemptAt), f.LastError)
		}
	}
}
