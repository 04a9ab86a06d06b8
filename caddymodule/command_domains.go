package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	groups["domains"] = "See, add, verify and remove tenants' custom domains"
	one := func(t *terminal, what string) (v domainView, err error) {
		if err := t.call(http.MethodPost, tenantPath(t.arg(0), "domains", t.arg(1), what), nil, &v); err != nil {
			return v, err
		}
		return v, t.show(v, v.explain)
	}
	commands = append(
		commands,
		command{
			name: "domains list", args: "TENANT", least: 1, most: 1, short: "Lists a tenant's custom domains",
			long: `A ready domain is the tenant's: it answers, is an issuer, and gets a certificate at
its first visit. A pending one does nothing until its owner has proven it. A disabled
one was ready, and has not been proven for seven days; verify it again.`,
			examples: []string{"domains list acme"},
			run: func(t *terminal) error {
				var v domainList
				return t.get(tenantPath(t.arg(0), "domains"), &v, v.table)
			},
		},
		command{
			name: "domains add", args: "TENANT DOMAIN", least: 2, most: 2, short: "Adds a custom domain, and says how its owner proves it",
			long: `The owner publishes one of the records shown, or the file, and the domain is verified
with domains verify. Until then it has no effect and is in no other tenant's way.

The domain's own address or CNAME record has to lead to this server as well.`,
			examples: []string{"domains add acme login.acme.com", "domains add acme login.acme.com --primary"},
			flags: func(c *cobra.Command) {
				c.Flags().Bool("primary", false, "make it the tenant's primary domain once it is verified")
			},
			run: func(t *terminal) error {
				var v domainView
				primary, err := t.cmd.Flags().GetBool("primary")
				if err != nil {
					return err
				}
				if err := t.call(http.MethodPost, tenantPath(t.arg(0), "domains"), newDomain{Domain: t.arg(1), Primary: primary}, &v); err != nil {
					return err
				}
				return t.show(v, v.explain)
			},
		},
		command{
			name: "domains verify", args: "TENANT DOMAIN", least: 2, most: 2, short: "Looks for the proof of a custom domain, now",
			long: `Ready domains are verified by themselves once a day. One that another tenant has
proven before stays the other's: where that one has no right to it any more, remove
it there.`,
			examples: []string{"domains verify acme login.acme.com"},
			run: func(t *terminal) error {
				v, err := one(t, "verify")
				if err == nil && (v.Status != tenancy.DomainReady || v.Problem != "") {
					return &exit{code: exitFailed, error: errors.New("the domain is not verified"), hint: "publish one of the proofs; what is new in DNS may take minutes to be seen"}
				}
				return err
			},
		},
		command{
			name: "domains primary", args: "TENANT DOMAIN", least: 2, most: 2, short: "Makes a custom domain the tenant's primary one",
			long: `Mails and links lead to the primary domain. Tokens that were issued under another of
the tenant's domains stay valid as long as that one is ready.`,
			examples: []string{"domains primary acme login.acme.com"},
			run: func(t *terminal) error {
				_, err := one(t, "primary")
				return err
			},
		},
		command{
			name: "domains remove", args: "TENANT DOMAIN", least: 2, most: 2, short: "Removes a custom domain from a tenant",
			long: `It ceases to answer, its tokens cease to be valid, and no certificate is got for it
any more. Whichever tenant proves it next has it.`,
			examples: []string{"domains remove acme login.acme.com"},
			run: func(t *terminal) error {
				var v map[string]any
				if err := t.call(http.MethodDelete, tenantPath(t.arg(0), "domains", t.arg(1)), nil, &v); err != nil {
					return err
				}
				return t.show(v, func(w io.Writer) {
					_, _ = fmt.Fprintf(w, "Tenant %s no longer has %s.\n", t.arg(0), t.arg(1))
				})
			},
		},
	)
}

func (v *domainList) table(w io.Writer) {
	row(w, "DOMAIN", "STATUS", "PRIMARY", "VERIFIED", "PROBLEM")
	for _, d := range v.Domains {
		primary := ""
		if d.Primary {
			primary = "yes"
		}
		row(w, d.Domain, d.Status, primary, moment(d.VerifiedAt), d.Problem)
	}
}

// explain says what a domain is, and what is to do.
func (v *domainView) explain(w io.Writer) {
	_, _ = fmt.Fprintf(w, "%s is %s.\n", v.Domain, v.Status)
	if v.Problem != "" {
		_, _ = fmt.Fprintf(w, "Not verified: %s.\n", v.Problem)
	}
	if v.Status == tenancy.DomainReady && v.Problem == "" {
		return
	}
	_, _ = fmt.Fprintln(w, "Its owner publishes one of these:")
	row(w, "PROOF", "NAME", "VALUE")
	for _, p := range v.Proofs {
		row(w, p.Method, p.Name, p.Value)
	}
}
