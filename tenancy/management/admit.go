package management

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Refused is the error of a token that is not accepted (contract C2.60). The
// messages of the truth table are [InvalidToken], [InvalidSignature],
// [ExpiredToken], and [BadAudience] followed by the audience.
func Refused(message string) error {
	err := tenancy.Errorf(http.StatusUnauthorized, "invalid_token", "%s", message)
	err.Header = map[string]string{"WWW-Authenticate": `Bearer error="invalid_token"`}
	return err
}

// Messages of [Refused] (contract 2.9, TT2 to TT4).
const (
	InvalidToken     = "Invalid token"
	InvalidSignature = "Invalid signature received for JSON Web Token validation"
	ExpiredToken     = "Expired token received for JSON Web Token validation"
	BadAudience      = "Bad audience: "
)

// enter decides who may act on which tenant and returns a context inside of it.
// The caller calls leave when done.
func (a *API) enter(c *Call) (inside context.Context, leave func(), err error) {
	host, err := tenancy.Current(c.host)
	if err != nil {
		return nil, nil, err
	}
	cp := a.config.Directory.ControlPlane()
	if cp == nil {
		return nil, nil, tenancy.Unavailable(errors.New("the control plane is not open yet"), "")
	}
	token, err := bearer(c.r)
	if err != nil {
		return nil, nil, err
	}
	if token != "" {
		if c.credential, err = a.verify(c.host, host, cp, token); err != nil {
			return nil, nil, err
		}
	}
	c.request = a.accessRequest(c, host, cp)
	admit := c.route.admit
	if admit == nil {
		admit = func(c *Call) (tenancy.TenantRef, error) { return tenancy.Access(c.request, c.route.access) }
	}
	target, err := admit(c)
	if err != nil {
		return nil, nil, err
	}
	if target.ID == host.ID {
		c.tenant = host
		return c.host, func() {}, nil
	}
	t, ok := a.config.Directory.ByID(target.ID)
	if !ok { // deleted since Access looked
		return nil, nil, tenancy.Errorf(http.StatusNotFound, "tenant_not_found", "Tenant not found")
	}
	c.tenant = t
	return a.config.Entrance.Enter(c.host, t)
}

// bearer returns the token of the request (RFC 6750 section 2.1); "" is none.
func bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) > 1 {
		return "", Refused(InvalidToken)
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	token = strings.TrimSpace(token)
	if strings.ContainsAny(token, " ,") || len(token) > maxToken {
		return "", Refused(InvalidToken)
	}
	return token, nil
}

// maxToken is the longest token looked at, in bytes.
const maxToken = 64 << 10

// verify verifies a token inside the tenant whose issuer it names: that of the
// host or the control plane (contract C2.61).
func (a *API) verify(ctx context.Context, host, cp *tenancy.Tenant, token string) (*tenancy.Credential, error) {
	issuer, err := unverifiedIssuer(token)
	if err != nil {
		return nil, err
	}
	minting := host
	issuers := a.config.Issuers(host)
	if own := tenancy.VisitOf(ctx).Issuer; own != "" && !slices.Contains(issuers, own) {
		issuers = append(slices.Clip(issuers), own)
	}
	if !slices.Contains(issuers, issuer) && host.ID != cp.ID {
		minting, issuers = cp, a.config.Issuers(cp)
	}
	if !slices.Contains(issuers, issuer) {
		return nil, Refused(fmt.Sprintf("Unexpected issuer %q; expected %q", issuer, tenancy.VisitOf(ctx).Issuer))
	}
	if minting != host {
		inside, leave, err := a.config.Entrance.Enter(ctx, cp)
		if err != nil {
			return nil, err
		}
		defer leave()
		ctx = inside
	}
	cred, err := a.config.Verifier.Verify(ctx, token, issuers...)
	if err != nil {
		return nil, err
	}
	if cred.TenantID != minting.ID {
		return nil, Refused(InvalidToken)
	}
	return cred, nil
}

// unverifiedIssuer reads the issuer a token claims, which says who has to verify
// it and nothing else.
func unverifiedIssuer(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", Refused(InvalidToken)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", Refused(InvalidToken)
	}
	var claims struct {
		Issuer *string `json:"iss"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Issuer == nil || len(*claims.Issuer) > 512 {
		return "", Refused(InvalidToken)
	}
	return *claims.Issuer, nil
}

func (a *API) accessRequest(c *Call, host, cp *tenancy.Tenant) tenancy.AccessRequest {
	d := a.config.Directory
	return tenancy.AccessRequest{
		Host:         ref(host),
		Issuer:       tenancy.VisitOf(c.host).Issuer,
		Header:       c.r.Header.Values("Tenant-Id"),
		XHeader:      c.r.Header.Values("X-Tenant-Id"),
		Credential:   c.credential,
		ControlPlane: cp.ID,
		Lookup: func(id string) (tenancy.TenantRef, bool) {
			t, ok := d.ByID(id)
			if !ok {
				return tenancy.TenantRef{}, false
			}
			return ref(t), true
		},
		LinkedTenant: func(orgID string) (tenancy.TenantRef, bool) {
			t, ok := d.ByOrganization(orgID)
			if !ok || t.ID == cp.ID {
				return tenancy.TenantRef{}, false
			}
			return ref(t), true
		},
		ValidID: a.config.ValidTenantID,
	}
}

// ref is what a decision needs to know of a tenant.
func ref(t *tenancy.Tenant) tenancy.TenantRef {
	return tenancy.TenantRef{ID: t.ID, OrganizationID: t.OrganizationID, State: t.State, ControlPlane: t.IsControlPlane()}
}

// needs refuses a caller who lacks a scope that only part of a route asks for.
func (c *Call) needs(scope string) error {
	if c.credential.Has(scope) {
		return nil
	}
	err := tenancy.Errorf(http.StatusForbidden, "insufficient_scope", "Insufficient scope, expected any of: %s", scope)
	err.Header = map[string]string{"WWW-Authenticate": fmt.Sprintf(`Bearer error="insufficient_scope", scope=%q`, scope)}
	return err
}
