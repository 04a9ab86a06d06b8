package oauth

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// grantDevice is the grant of RFC 8628 section 3.4.
const grantDevice = "urn:ietf:params:oauth:grant-type:device_code"

// Errors of RFC 8628 section 3.5 that fosite has no values for.
const (
	codePending  = "authorization_pending"
	codeSlowDown = "slow_down"
	codeExpired  = "expired_token"
)

// deviceHandler is the device grant as a handler of fosite's, whose release has
// none.
type deviceHandler struct {
	strategy *strategy
	store    *store
}

// CanHandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (deviceHandler) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantDevice)
}

// CanSkipClientAuth implements fosite.TokenEndpointHandler.
func (deviceHandler) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler: the answer to
// a poll (contract C4.44).
func (deviceHandler) HandleTokenEndpointRequest(ctx context.Context, _ fosite.AccessRequester) error {
	x := exchangeOf(ctx)
	code := x.request.get("device_code")
	if code == "" {
		return refuse(fosite.ErrInvalidRequest, "Missing required parameter: device_code")
	}
	err := x.load(ctx, tenancy.GrantDevice, tenancy.HashToken(code))
	switch g := x.grant; {
	case errors.Is(err, fosite.ErrNotFound):
		return errInvalidDevice()
	case err != nil:
		return err
	case g.ConsumedAt != 0, g.RevokedAt != 0 && g.UserID != "":
		return errInvalidDevice()
	case g.RevokedAt != 0:
		return refusal(fosite.ErrInvalidGrant.CodeField, fosite.ErrAccessDenied.ErrorField, "The user denied the request")
	case expired(g, tenancy.At(x.server.now())):
		return refusal(fosite.ErrInvalidGrant.CodeField, codeExpired, "The device code has expired")
	case g.UserID == "":
		return x.pollPending(ctx)
	}
	return nil
}

func errInvalidDevice() *oauthError {
	return refuse(fosite.ErrInvalidGrant, "Invalid or used device code")
}

// pollPending notes a poll before anybody approved, and tells the device to wait:
// longer from now on where it came too soon. Of polls at a time one is in time.
func (x *exchange) pollPending(ctx context.Context) error {
	g, now := x.grant, tenancy.At(x.server.now())
	interval := deviceInterval + time.Duration(x.data.Slower)*deviceInterval
	soon := g.LastUsedAt != 0 && now < g.LastUsedAt.Add(interval)
	data := x.data
	if soon {
		data.Slower = min(data.Slower+1, int64(deviceLifetime/deviceInterval)) // as long as the code lives is enough
		interval = deviceInterval + time.Duration(data.Slower)*deviceInterval
	}
	text, err := data.text()
	if err != nil {
		return err
	}
	n, err := tenancy.CommitCount(ctx, tenancy.SQL(ctx, `UPDATE grants SET last_used_at = ?, data = ?, updated_at = ?, revision = revision + 1
		WHERE tenant_id = @tenant AND id = ? AND user_id = '' AND revoked_at = 0 AND last_used_at = ? AND data = ?`,
		now, text, now, g.ID, g.LastUsedAt, g.Data))
	if err != nil {
		return err
	}
	if soon || n != 1 {
		return refusal(fosite.ErrInvalidGrant.CodeField, codeSlowDown, "Wait %d seconds between polls", int64(interval/time.Second))
	}
	return refusal(fosite.ErrInvalidGrant.CodeField, codePending, "The user has not approved the device yet")
}

// decideDevice decides what the tokens of a device may say. Everything that was
// true when the person approved is found out again (contract C2.43).
func (x *exchange) decideDevice(ctx context.Context) error {
	if err := x.sameTarget(ctx); err != nil {
		return err
	}
	return x.decideUser(ctx, errInvalidDevice(), Ask{
		Audience: x.grant.Audience, Scopes: strings.Fields(x.grant.Scope), Organization: x.grant.OrgID,
	})
}

// PopulateTokenEndpointResponse implements fosite.TokenEndpointHandler. The
// statement that uses the code up is the first of the batch.
func (h deviceHandler) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, answer fosite.AccessResponder) error {
	x := exchangeOf(ctx)
	x.ops = append(x.ops, consumeStmt(ctx, x.grant, tenancy.At(x.server.now())))
	return h.issue(ctx, r, answer)
}

// issue makes the tokens of a grant that fosite has no handler for.
func (h deviceHandler) issue(ctx context.Context, r fosite.AccessRequester, answer fosite.AccessResponder) error {
	x := exchangeOf(ctx)
	token, _, err := h.strategy.GenerateAccessToken(ctx, r)
	if err != nil {
		return err
	}
	if x.allowance.Has(scopeOffline) {
		_, signature, err := h.strategy.GenerateRefreshToken(ctx, r)
		if err != nil {
			return err
		}
		if err := h.store.CreateRefreshTokenSession(ctx, signature, r); err != nil {
			return err
		}
	}
	if x.allowance.Has(scopeOpenID) {
		if _, err := h.strategy.GenerateIDToken(ctx, 0, r); err != nil {
			return err
		}
	}
	answer.SetAccessToken(token)
	answer.SetTokenType("Bearer")
	return nil
}

// Interface guards
var _ fosite.TokenEndpointHandler = deviceHandler{}
