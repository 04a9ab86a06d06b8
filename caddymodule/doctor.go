package caddymodule

import (
	"context"
	"fmt"
)

// finding is a misconfiguration, and the command or Caddyfile line that mends it.
type finding struct {
	Problem string `json:"problem"`
	Remedy  string `json:"remedy"`
}

// checked is what one check of the doctor came to.
type checked struct {
	Check    string    `json:"check"`
	Findings []finding `json:"findings"` // empty where all is well
}

// diagnosis is what the doctor says.
type diagnosis struct {
	Checks []checked `json:"checks"`
}

func found(problem, remedy string) []finding { return []finding{{problem, remedy}} }

// configCheck looks at a configuration, which need not run anywhere.
type configCheck struct {
	name string
	look func(c *doctorConfig) []finding
}

// serverCheck looks at the running server.
type serverCheck struct {
	name string
	look func(ctx context.Context, p *patient) []finding
}

// configChecks and serverChecks are all there are, in the order they are told.
var (
	configChecks = []configCheck{
		{"on-demand certificates need Gatehouse's permission", checkOnDemand},
		{"certificates are had automatically", checkAutoHTTPS},
		{"a certificate for tenants' names can be had", checkWildcard},
		{"the host asked for is the one the connection was made for", checkStrictSNI},
		{"requests come after the handshake", checkEarlyData},
		{"the base domain and those below it are served", checkSites},
		{"hosts of nobody's are refused", checkCatchAll},
		{"codes stay out of the access log", checkAccessLog},
		{"the admin endpoint is private", checkAdmin},
		{"secrets stay out of stored configurations", checkLiteralSecrets},
		{"files of secrets are private", checkSecretFiles},
		{"tenants reach few private addresses", checkPrivateNetworks},
		{"the master secret is not kept beside the data", checkSecretApart},
		{"a reload does not wait for ever", checkGracePeriod},
	}
	serverChecks = []serverCheck{
		{"only this user can read the data directory", checkDataMode},
		{"the data directory is on a local disk", checkFileSystem},
		{"the process may open enough files", checkFileLimit},
		{"the clock is kept right", checkClock},
		{"the base domain's names resolve", checkNames},
		{"the public port can be reached", checkPublicPort},
		{"every placement answers", checkPlacements},
		{"the registry can be read", checkRegistry},
		{"every tenant is made or gone", checkTenants},
		{"every database has this program's schema", checkSchemas},
		{"changes arrive in tenants", checkSync},
		{"clients' addresses are known", checkForwarded},
		{"there is an administrator", checkAdministrator},
		{"mail leaves", checkMail},
		{"webhooks take what they are told", checkHooks},
	}
)

// examine looks at a configuration.
func (c *doctorConfig) examine() (d diagnosis) {
	for _, check := range configChecks {
		d.Checks = append(d.Checks, checked{check.name, orEmpty(check.look(c))})
	}
	return d
}

// examine looks at the running server, at each thing for a bounded time.
func (p *patient) examine(ctx context.Context) (d diagnosis) {
	for _, check := range serverChecks {
		within, cancel := context.WithTimeout(ctx, checkLimit)
		d.Checks = append(d.Checks, checked{check.name, orEmpty(check.look(within, p))})
		cancel()
	}
	return d
}

func orEmpty(list []finding) []finding {
	if list == nil {
		return []finding{}
	}
	return list
}

// problems counts what was found.
func (d diagnosis) problems() (n int) {
	for _, c := range d.Checks {
		n += len(c.Findings)
	}
	return n
}

func foundf(remedy, format string, args ...any) []finding {
	return found(fmt.Sprintf(format, args...), remedy)
}
