package caddymodule

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/gatehouse-id/gatehouse/oauth"
	"github.com/gatehouse-id/gatehouse/tenancy"
)

// What a request without a good token is answered with (RFC 6750 section 3;
// contract C2.69, C4.54). Why a token is not good is not said.
var (
	noToken = refusal{
		status: http.StatusUnauthorized, code: "invalid_token", text: "Missing access token",
		challenge: "Bearer", auth: true,
	}
	badToken = refusal{
		status: http.StatusUnauthorized, code: "invalid_token", text: "The access token is invalid",
		challenge: `Bearer error="invalid_token", error_description="The access token is invalid"`, auth: true,
	}
	twoTokens = refusal{
		status: http.StatusBadRequest, code: "invalid_request", text: "The access token must be sent in one way only",
		challenge: `Bearer error="invalid_request", error_description="The access token must be sent in one way only"`, auth: true,
	}
	badOrganization = refusal{
		status: http.StatusForbidden, code: "insufficient_scope", text: "The access token is not for an organization that is allowed here",
		challenge: `Bearer error="insufficient_scope"`, auth: true,
	}
)

// insufficient is the refusal of a token that lacks a scope or a permission.
func insufficient(needed []string, scope string) *refusal {
	challenge := `Bearer error="insufficient_scope"`
	if scope != "" {
		challenge += `, scope="` + scope + `"`
	}
	return &refusal{
		status: http.StatusForbidden, code: "insufficient_scope", text: "Insufficient scope, expected: " + strings.Join(needed, ", "),
		challenge: challenge, auth: true,
	}
}

// check finds the tenant of a request and the claims of its token, or what the
// request is answered with: a refusal, or where a browser is sent. The database is
// not held longer than the check takes.
func (h *TenantAuth) check(r *http.Request) (*tenancy.Tenant, *oauth.Claims, *browser, *refusal) {
	s, leave, notReady := h.runtime.visit(r.Context())
	if notReady != nil {
		return nil, nil, nil, everywhere(unavailable(requestID(r)))
	}
	defer leave()
	visit, err := visitOf(r, s.directory.Hosts(), h.port, "")
	if err != nil {
		return nil, nil, nil, &invalidHost
	}
	t, refused := h.tenantOf(s, r, visit)
	if refused != nil {
		return t, nil, nil, refused
	}
	if _, token := r.Header["Authorization"]; h.Login != nil && t != nil && !token {
		if refused := closed(t, r); refused != nil {
			refused.page = true // for whoever looks at it
			return t, nil, nil, refused
		}
		visit.RequestID = requestID(r)
		claims, to, refused := h.signIn(&arrival{s, t, visit, r})
		return t, claims, to, refused
	}
	t, claims, refused := h.checkToken(s, t, visit, r)
	return t, claims, nil, refused
}

// closed is the refusal of a tenant that lets nobody in.
func closed(t *tenancy.Tenant, r *http.Request) *refusal {
	switch t.State {
	case tenancy.StateActive:
		return nil
	case tenancy.StateSuspended: // C1.19
		return everywhere(suspended)
	}
	return everywhere(unavailable(requestID(r)))
}

// checkToken is check for a request with a token. t is nil where the token says
// whose it is.
func (h *TenantAuth) checkToken(s *services, t *tenancy.Tenant, visit *tenancy.Visit, r *http.Request) (*tenancy.Tenant, *oauth.Claims, *refusal) {
	token, refused := bearerOf(r)
	if refused != nil {
		return t, nil, refused
	}
	if t == nil { // only with the option issuer
		if t = h.tenantOfIssuer(s, token); t == nil {
			return nil, nil, &badToken
		}
	}
	if refused := closed(t, r); refused != nil {
		return t, nil, refused
	}
	claims, err := verifyIn(tenancy.WithVisit(r.Context(), visit), s, t, token)
	if err != nil {
		return t, nil, h.refusalOf(r, t, err)
	}
	return t, claims, h.judge(claims)
}

// verifyIn verifies a token inside the tenant.
func verifyIn(ctx context.Context, s *services, t *tenancy.Tenant, token string) (*oauth.Claims, error) {
	inside, leave, err := s.pool.Enter(ctx, t)
	if err != nil {
		return nil, err
	}
	defer leave()
	return s.tokens.VerifyLive(inside, s.visited(t, tenancy.VisitOf(ctx).Issuer), token)
}

// tenantOf finds the tenant of a request by its host, or by the configuration
// where the host names none. No tenant and no refusal means that it is the
// token's issuer that says (C1.1 is for hosts that `gatehouse` serves).
func (h *TenantAuth) tenantOf(s *services, r *http.Request, visit *tenancy.Visit) (*tenancy.Tenant, *refusal) {
	t, named := h.tenantOfHost(s, visit.Host)
	if t == nil && !named {
		t = existing(s.named(r, visit)) // by what a trusted proxy says
	}
	of := func(host string) *tenancy.Tenant { t, _ := h.tenantOfHost(s, host); return t }
	switch {
	case misdirected(r, t, of):
		return t, everywhere(wrongConnection)
	case early(r):
		return t, everywhere(tooEarly)
	case t == nil && !named && len(h.Tenant) == 1:
		t = existing(s.directory.ByID(h.Tenant[0]))
	case t == nil && !named && isTrue(h.Issuer):
		return nil, nil
	}
	if t == nil || !h.serves(t) {
		return nil, &unknownHost
	}
	return t, nil
}

// tenantOfHost finds the tenant that a normalised host names. named reports
// whether the host is a place for tenants' names, so that it is nobody's where
// there is no such tenant, and never that of a token.
func (h *TenantAuth) tenantOfHost(s *services, host string) (t *tenancy.Tenant, named bool) {
	hosts := s.directory.Hosts()
	if label, below := strings.CutSuffix(host, "."+h.HostSuffix); below && h.HostSuffix != "" {
		if hosts.IsReserved(label) { // it shows the control plane; it has no API of its own
			return nil, true
		}
		return existing(s.directory.ByHost(label + "." + hosts.BaseDomain)), true
	}
	t = existing(s.directory.ByHost(host))
	return t, t != nil || host == hosts.BaseDomain || strings.HasSuffix(host, "."+hosts.BaseDomain)
}

// tenantOfIssuer finds the tenant whose keys a token has to be verified with. The
// issuer is nothing but a claim yet: the tenant that is found by it must have
// signed it.
func (h *TenantAuth) tenantOfIssuer(s *services, token string) *tenancy.Tenant {
	u, err := url.Parse(oauth.IssuerOf(token))
	if err != nil {
		return nil
	}
	host, err := tenancy.NormalizeHost(u.Host)
	if err != nil {
		return nil
	}
	t := existing(s.directory.ByHost(host))
	if t == nil || !h.serves(t) {
		return nil
	}
	return t
}

// existing is the tenant that was found, or nil; one that is being deleted is
// not there any more (C1.21).
func existing(t *tenancy.Tenant, found bool) *tenancy.Tenant {
	if !found || t.State == tenancy.StateDeleting {
		return nil
	}
	return t
}

// bearerOf returns the token in the header (RFC 6750 section 2.1). One in the
// query or the body is not looked at.
func bearerOf(r *http.Request) (string, *refusal) {
	values := r.Header["Authorization"]
	if len(values) > 1 {
		return "", &twoTokens
	}
	if len(values) == 0 {
		return "", &noToken
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	switch {
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return "", &noToken
	case strings.ContainsAny(token, " ,"):
		return "", &badToken
	}
	return token, nil
}

// judge decides whether a verified token is enough.
func (h *TenantAuth) judge(c *oauth.Claims) *refusal {
	switch {
	case !slices.ContainsFunc(h.Audience, c.Audience.Has):
		return &badToken
	case !h.allowsOrganization(c):
		return &badOrganization
	case !slices.ContainsFunc(h.Scope, func(needed string) bool { return !hasWord(c.Scope, needed) }) &&
		!slices.ContainsFunc(h.Permission, func(needed string) bool { return !slices.Contains(c.Permissions, needed) }):
		return nil
	}
	return insufficient(slices.Concat(h.Scope, h.Permission), h.needed)
}

// allowsOrganization judges the organization that a token is for.
func (h *TenantAuth) allowsOrganization(c *oauth.Claims) bool {
	if len(h.Organization) == 0 {
		return true
	}
	switch h.Organization[0] {
	case organizationAny:
		return true
	case organizationRequired:
		return c.OrgID != ""
	case organizationOff:
		return c.OrgID == ""
	}
	return c.OrgID != "" && (slices.Contains(h.Organization, c.OrgID) || slices.Contains(h.Organization, c.OrgName))
}

// hasWord reports whether a word is in a list that is separated by spaces.
func hasWord(list, word string) bool {
	for w := range strings.SplitSeq(list, " ") {
		if w == word {
			return true
		}
	}
	return false
}

// refusalOf is what a request is answered with whose token could not be verified.
func (h *TenantAuth) refusalOf(r *http.Request, t *tenancy.Tenant, err error) *refusal {
	if status := tenancy.StatusOf(err); status == http.StatusUnauthorized {
		return &badToken
	}
	id := requestID(r)
	a := refusalOf(err, id)
	if r.Context().Err() == nil { // else the client gave up waiting
		h.runtime.log.Load().Error("access token cannot be verified", zap.String("tenant", t.ID), zap.String("request", id), zap.Error(err))
	}
	return everywhere(a)
}

// everywhere is the refusal in envelope A on every path: an upstream's paths mean
// nothing here.
func everywhere(a refusal) *refusal {
	a.auth, a.page = true, false
	return &a
}
