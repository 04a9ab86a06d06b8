package oauth

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Screens where a person approves what a client gets (contract C4.66, C4.52).
const (
	screenConsent = "consent"
	screenDevice  = "device"
)

// errConsent is in the chain of refusals because of a missing consent, which
// interactive requests ask for.
var errConsent = errors.New("no consent")

// needsConsent reports whether people are asked what the client gets: of third
// parties always, of the tenant's own clients where the resource server does not
// skip it (contract C2.28, C5.56).
func needsConsent(c *tenancy.Client, a *Allowance) bool {
	return !c.IsFirstParty || a.ResourceServer != nil && !a.ResourceServer.SkipConsent
}

// consented refuses what a client may not have without the user's recorded
// consent: everything beyond openid (contract C2.28, C3.10).
func consented(ctx context.Context, ask Ask, a *Allowance) error {
	if !needsConsent(ask.Client, a) || (*tenancy.Consent)(nil).Covers(a.Scopes) {
		return nil
	}
	given, err := tenancy.Consents.Get(ctx, consentID(ask.User, ask.Client, a))
	if ignoreMissing(err) != nil {
		return err
	}
	if err == nil && given.Covers(a.Scopes) {
		return nil
	}
	return refuse(fosite.ErrConsentRequired, "Consent required").because(errConsent)
}

// consentAudience is how the allowance's audience is recorded: any spelling of a
// resource server is that resource server.
func consentAudience(a *Allowance) string {
	if a.ResourceServer != nil {
		return a.ResourceServer.Identifier
	}
	return ""
}

func consentID(u *tenancy.User, c *tenancy.Client, a *Allowance) string {
	return tenancy.ConsentID(u.ID, c.ID, consentAudience(a))
}

// consent is the statement that records what a client was approved for, beside
// what it had been before; none where there is nothing to record.
func consent(ctx context.Context, c *tenancy.Client, u *tenancy.User, a *Allowance) ([]tenancy.Stmt, error) {
	if !needsConsent(c, a) {
		return nil, nil
	}
	id := consentID(u, c, a)
	row, err := tenancy.Consents.Get(ctx, id)
	if ignoreMissing(err) != nil {
		return nil, err
	}
	if err != nil {
		row := &tenancy.Consent{Row: tenancy.Row{ID: id}, UserID: u.ID, ClientID: c.ID, Audience: consentAudience(a), Scope: a.Scopes}
		return []tenancy.Stmt{tenancy.Consents.Insert(ctx, row)}, nil
	}
	if row.Covers(a.Scopes) {
		return nil, nil
	}
	for _, scope := range a.Scopes {
		if !slices.Contains(row.Scope, scope) {
			row.Scope = append(row.Scope, scope)
		}
	}
	return []tenancy.Stmt{tenancy.Consents.Replace(ctx, row)}, nil
}

// asksConsent reports whether the request wants the person to be asked even where
// they consented before (OpenID Connect Core section 3.1.2.1).
func (a *authorization) asksConsent() bool {
	return slices.Contains(strings.Fields(a.params["prompt"]), "consent")
}

// approvalScreen is where the person still has to approve what the client gets,
// or "": a device always needs that, and a client that needs consent what nobody
// consented to, or all with prompt=consent. err is allowUser's.
func (a *authorization) approvalScreen(l *tenancy.LoginSession, u *tenancy.User, allowance *Allowance, err error) string {
	if err != nil && !errors.Is(err, errConsent) {
		return ""
	}
	if l != nil && l.Approved && l.AskedOf == askedOf(u, allowance) && l.AskedAudience == consentAudience(allowance) && covers(l.AskedScope, allowance.Scopes) {
		return ""
	}
	switch {
	case a.device != nil:
		return screenDevice
	case err != nil, a.asksConsent() && needsConsent(a.client, allowance):
		return screenConsent
	}
	return ""
}

// askedOf names whom an approval is of: it is no other person's, and for no other
// organization.
func askedOf(u *tenancy.User, a *Allowance) string {
	if a.Organization != nil {
		return tenancy.Join(u.ID, a.Organization.ID)
	}
	return tenancy.Join(u.ID, "")
}

func covers(asked string, scopes []string) bool {
	list := strings.Fields(asked)
	for _, scope := range scopes {
		if !slices.Contains(list, scope) {
			return false
		}
	}
	return true
}

// toApproval notes what is asked of the person and sends the browser to the page.
func (s *Server) toApproval(w http.ResponseWriter, r *http.Request, l *tenancy.LoginSession, u *tenancy.User, allowance *Allowance, screen, state string) error {
	_, err := tenancy.LoginSessions.Update(r.Context(), l.ID, func(l *tenancy.LoginSession) error {
		of, audience, scope := askedOf(u, allowance), consentAudience(allowance), strings.Join(allowance.Scopes, " ")
		if l.AskedOf == of && l.AskedAudience == audience && l.AskedScope == scope && !l.Approved || l.CompletedAt != 0 {
			return tenancy.ErrUnchanged
		}
		l.AskedOf, l.AskedAudience, l.AskedScope, l.Approved = of, audience, scope, false
		return nil
	})
	if err != nil {
		return err
	}
	s.toScreen(w, r, screen, state)
	return nil
}

// knownRequest is the request of a login that the browser already has.
func knownRequest(params map[string]string, l *tenancy.LoginSession) map[string]string {
	request := maps.Clone(params)
	request[knownLogin] = loginStamp(l)
	return request
}
