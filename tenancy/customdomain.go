package tenancy

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// CustomDomain is a tenant's claim on a name outside of the base domain (contract
// C5.88). All claims are rows of the control plane's own database, so that a name
// has one owner over all tenants; [Domains] is the way to them, and the
// [Directory] holds the ready ones in memory.
type CustomDomain struct {
	Row
	Subject string       `json:"-"` // id of the tenant
	Domain  string       `json:"domain"`
	Primary bool         `json:"primary" gorm:"column:is_primary"`
	Status  DomainStatus `json:"status"`
	Type    string       `json:"type"` // see [DomainTypes]

	// Held is unique: Domain while the claim is ready, ID otherwise. So the first
	// that verifies wins, and a claim that is pending is in nobody's way.
	Held string `json:"-"`

	// Token is what the domain's owner publishes. It is no secret, and worth
	// nothing to another tenant.
	Token string `json:"-"`

	// Method is the proof by which it was verified last, see [Proof].
	Method string `json:"-"`

	Problem    string            `json:"-"` // why the last verification failed, "" when it did not
	CheckedAt  Time              `json:"-"` // the last verification
	VerifiedAt Time              `json:"-"` // the last one that succeeded, or the last one before the domain was disabled
	Metadata   map[string]string `json:"domain_metadata" gorm:"serializer:jsontext"`
}

// DomainStatus is where a custom domain is in its life.
type DomainStatus string

// The statuses of a custom domain. Only a ready one routes, gets certificates and
// is an issuer.
const (
	DomainPending  DomainStatus = "pending_verification"
	DomainReady    DomainStatus = "ready"
	DomainDisabled DomainStatus = "disabled" // its proof was gone for too long
)

// DomainTypes are the types of custom domains: those that get certificates on
// demand, and those whose certificate is the business of a proxy in front.
var DomainTypes = []string{DomainManaged, DomainSelfManaged}

// The types of custom domains.
const (
	DomainManaged     = "auth0_managed_certs"
	DomainSelfManaged = "self_managed_certs"
)

// CustomDomains is the table of claims. It is used inside the control plane only;
// elsewhere it is an empty table.
var CustomDomains = newTable[CustomDomain]("custom_domains", logged(KindDomain, sameID))

// become sets the status, and with it whether the name is held.
func (d *CustomDomain) become(status DomainStatus) {
	d.Status, d.Held = status, d.ID
	if status == DomainReady {
		d.Held = d.Domain
	}
	d.Primary = d.Primary && status == DomainReady
}

// newDomainToken is 40 characters of [a-z0-9]: one label of a name, also where
// somebody changes its case.
func newDomainToken() string { return randomText("abcdefghijklmnopqrstuvwxyz0123456789", 40) }

// ValidDomain returns the name as it is stored, or the [Error] 400 that a claim
// on it is answered with (contract C5.88): it has to be a host name, no address, no
// public suffix, and nothing that leads to a tenant or the control plane already.
func (h *Hosts) ValidDomain(name string) (string, error) {
	host, err := NormalizeHost(name)
	refuse := func(why string) (string, error) {
		return "", Errorf(http.StatusBadRequest, "invalid_body", "Payload validation error: '%s' on property domain", why)
	}
	switch {
	case err != nil || strings.ContainsAny(name, ":") || !isDomain(host):
		return refuse("Object didn't pass validation for format hostname")
	case isAddress(host):
		return refuse("An address cannot be a custom domain")
	case host == h.BaseDomain || strings.HasSuffix(host, h.suffix) || slices.Contains(h.ControlPlaneHosts, host):
		return refuse("The domain belongs to this server already")
	case !strings.Contains(host, "."):
		return refuse("The domain needs more than one label")
	}
	if suffix, _ := publicsuffix.PublicSuffix(host); suffix == host {
		return refuse("The domain is a public suffix")
	}
	return host, nil
}

// isAddress reports whether a host would be taken for an address, also in forms
// that only some programs read: a last label of digits is always one (WHATWG URL).
func isAddress(host string) bool {
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
}

// inTurn is the first statement of a batch whose others judge several domains of
// a tenant: where the engine has concurrent writers, one waits for the other.
func inTurn(inside context.Context) Stmt {
	return SQL(inside, `INSERT INTO counters (tenant_id, id, value) VALUES (@tenant, 'domains', 1)
		ON CONFLICT (tenant_id, id) DO UPDATE SET value = counters.value + 1`)
}

// insertClaim are the statements that write a new claim, within the quota, of a
// tenant that stays.
func insertClaim(inside context.Context, d *CustomDomain, quota int64) []Stmt {
	return []Stmt{
		inTurn(inside),
		Require(inside, `EXISTS (SELECT 1 FROM tenants WHERE tenant_id = @tenant AND id = ? AND state <> ?)`, d.Subject, StateDeleting),
		Require(inside, `? = 0 OR (SELECT COUNT(*) FROM custom_domains WHERE tenant_id = @tenant AND subject = ?) < ?`, quota, d.Subject, quota),
		CustomDomains.Insert(inside, d),
	}
}

// onlyPrimary are the statements that store a domain and take the rank of primary
// from the tenant's others.
func onlyPrimary(inside context.Context, d *CustomDomain, store Stmt) []Stmt {
	return []Stmt{
		inTurn(inside), store,
		SQL(inside, `UPDATE custom_domains SET is_primary = ?, revision = revision + 1, updated_at = ?
			WHERE tenant_id = @tenant AND subject = ? AND id <> ? AND is_primary = ?`,
			false, At(time.Now()), d.Subject, d.ID, true).Marked(KindDomain, AnyID),
	}
}
