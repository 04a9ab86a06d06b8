package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// dialHost connects to a public address of ours; tests connect to nobody.
func dialHost(ctx context.Context, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// checkPublicPort connects to the base domain as its visitors do.
func checkPublicPort(ctx context.Context, p *patient) []finding {
	if isLoopback(p.base) {
		return nil
	}
	if addresses, err := p.lookupHost(ctx, p.base); err != nil || len(addresses) == 0 {
		return nil // checkNames's
	}
	address := net.JoinHostPort(p.base, strconv.Itoa(p.port))
	err := p.dial(ctx, address)
	if err == nil {
		return nil
	}
	return foundf("let the port through to this server, in the firewall and at the router; where it answers from outside and only not from here, all is well; where it is mapped from another: gatehouse { port <public port> }",
		"%s cannot be connected to from this machine: %v", address, err)
}

// checkClock asks the kernel whether somebody keeps its clock right: tokens of a
// server whose clock is wrong are refused elsewhere, and certificates here.
func checkClock(_ context.Context, p *patient) []finding {
	if kept, known := p.clock(); kept || !known {
		return nil
	}
	return found("nobody keeps this machine's clock right: tokens and certificates are judged by it",
		"run a time service, for instance: timedatectl set-ntp true")
}

// checkFileSystem: SQLite's locks and its shared memory do not work over a network.
func checkFileSystem(_ context.Context, p *patient) []finding {
	kind := p.network(p.store.data)
	if kind == "" {
		return nil
	}
	return foundf("name a directory on a local disk: gatehouse { data /var/lib/gatehouse }, or keep tenants in PostgreSQL: gatehouse { database main postgres {env.DATABASE_URL} }",
		"the data directory %s is on a network file system (%s), where SQLite's locks do not work and databases break", p.store.data, kind)
}

// checkSchemas: a tenant whose database could not be upgraded answers 503.
func checkSchemas(_ context.Context, p *patient) (list []finding) {
	status := p.upgrades()
	for i, f := range status.Failures {
		if i == listedTenants {
			list = append(list, foundf(commandLine("migrate status"), "%d further databases could not be upgraded", len(status.Failures)-i)...)
			break
		}
		list = append(list, foundf(commandLine("migrate run "+f.TenantID), "the database of tenant %s has schema %d and could not be upgraded: %s", f.TenantID, f.SchemaVersion, f.LastError)...)
	}
	if status.Stopped {
		list = append(list, foundf("mend what the first failures say, then: "+commandLine("migrate run"), "the upgrade stopped at %d of %d databases, because most failed", status.Done, status.Total)...)
	}
	return list
}

// checkMail: without it nobody gets a new password or an invitation.
func checkMail(ctx context.Context, p *patient) []finding {
	if p.email != nil && p.email.Kind != "log" {
		return nil
	}
	inside, leave, err := p.directory.EnterControlPlane(ctx)
	if err != nil {
		return nil // checkRegistry's
	}
	defer leave()
	switch provider, err := tenancy.EmailProviders.Get(inside, tenancy.EmailProviderID); {
	case err == nil && provider.Enabled, err != nil && !errors.Is(err, tenancy.ErrNotFound):
		return nil
	}
	return found("no mail leaves: nobody gets a link for a new password, or an invitation",
		"gatehouse { email smtp smtp.example.com:587 { login <user> {env.SMTP_PASSWORD} } }, or POST /api/v2/emails/provider on the control plane")
}

// failedAttempts is after how many a webhook is taken to be away: half a minute.
const failedAttempts = 4

// checkHooks: what a webhook was not told waits for a day, and is then given up.
func checkHooks(ctx context.Context, p *patient) (list []finding) {
	inside, leave, err := p.directory.EnterControlPlane(ctx)
	if err != nil {
		return nil // checkRegistry's
	}
	defer leave()
	waiting, err := tenancy.Deliveries.Find(inside, tenancy.Filter{Where: "attempts >= ?", Args: []any{failedAttempts}, Order: "created_at, id", Limit: 1000})
	if err != nil {
		return nil
	}
	counts := map[string]int{}
	for i := range waiting {
		counts[waiting[i].Hook]++
	}
	for _, e := range p.hooks {
		if n := counts[e.ID()]; n > 0 {
			list = append(list, foundf("see that it answers 2xx within its timeout, and what the log says: \"a webhook did not take a delivery\"",
				"%s did not take %s", e.URL, plural(n, "event"))...)
		}
	}
	return list
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
