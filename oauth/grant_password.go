package oauth

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// The grants by which an application asks for a password itself (RFC 6749 section
// 4.3; contract C4.46). RFC 9700 section 2.4 forbids them to new applications, so a
// client has them only where it lists them.
const (
	grantPassword      = "password"
	grantPasswordRealm = "http://auth0.com/oauth/grant-type/password-realm"

	gtyPassword = "password" // the gty of their access tokens (contract C2.8)
)

// passwordHandler is both grants as a handler of fosite's. There is nothing to
// judge before [exchange.decidePassword].
type passwordHandler struct{ deviceHandler }

// CanHandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (passwordHandler) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(grantPassword) || r.GetGrantTypes().ExactOne(grantPasswordRealm)
}

// HandleTokenEndpointRequest implements fosite.TokenEndpointHandler.
func (passwordHandler) HandleTokenEndpointRequest(context.Context, fosite.AccessRequester) error {
	return nil
}

// PopulateTokenEndpointResponse implements fosite.TokenEndpointHandler.
func (h passwordHandler) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, answer fosite.AccessResponder) error {
	return h.issue(ctx, r, answer)
}

// decidePassword finds out whose password it is, with the protections of the
// hosted page, and what the tokens may say.
func (x *exchange) decidePassword(ctx context.Context) error {
	for _, name := range []string{"username", "password"} {
		if x.request.get(name) == "" {
			return refuse(fosite.ErrInvalidRequest, "Missing required parameter: %s", name)
		}
	}
	scopes, err := parseScope(x.request.get("scope"))
	if err != nil {
		return err
	}
	connection, err := x.passwordConnection(ctx)
	if err != nil {
		return err
	}
	user, err := x.proveUser(ctx, connection)
	if err != nil {
		return err
	}
	x.user = user
	x.allowance, err = x.server.allowUser(ctx, Ask{
		Client: x.client.Client, User: user, Audience: x.request.get("audience"), Scopes: scopes,
		Organization: x.request.get("organization"), Connection: connection.Name,
	})
	if err != nil {
		return err
	}
	// What a code would be: a refresh token descends from it. It has no row.
	x.grant = &tenancy.Grant{Family: newFamily(), ClientID: x.client.ID, UserID: user.ID, Audience: x.allowance.Audience}
	if org := x.allowance.Organization; org != nil {
		x.grant.OrgID = org.ID
	}
	x.data = grantData{
		Requested: strings.Join(scopes, " "), AuthTime: tenancy.At(x.server.now()), Connection: connection.Name, Methods: []string{"pwd"},
	}
	return nil
}

// passwordConnection is the database connection whose users may log in: the realm,
// else the tenant's default_directory, else the client's only one.
func (x *exchange) passwordConnection(ctx context.Context) (*tenancy.Connection, error) {
	realm := x.request.get("realm")
	if x.request.grant == grantPasswordRealm && realm == "" {
		return nil, refuse(fosite.ErrInvalidRequest, "Missing required parameter: realm")
	}
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return nil, err
	}
	list, err := clientConnections(ctx, x.client.ID)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(slices.Clone(list), func(c tenancy.Connection) bool { return c.Strategy != tenancy.StrategyDatabase })
	name := cmp.Or(realm, settings.String("default_directory"))
	if name == "" && len(list) == 1 {
		return &list[0], nil
	}
	if at := slices.IndexFunc(list, func(c tenancy.Connection) bool { return c.Name == name }); at >= 0 {
		return &list[at], nil
	}
	return nil, refuse(fosite.ErrInvalidRequest, "the connection was not found")
}

func errWrongPassword() *oauthError { // contract C4.46, C9.41
	return refuse(fosite.ErrInvalidGrant, "Wrong email or password.")
}

// proveUser is the user with the name and password. Attempts are counted together
// with those of the hosted page, before the password is looked at, so that neither
// is a way around the other (A28, C9.42).
func (x *exchange) proveUser(ctx context.Context, connection *tenancy.Connection) (*tenancy.User, error) {
	name, now := x.request.get("username"), x.server.now()
	attempt := tenancy.Attempt{Connection: connection.Name, Identifier: name, IP: tenancy.VisitOf(ctx).ClientIP}
	user, err := tenancy.UserByIdentifier(ctx, connection.Name, name)
	if ignoreMissing(err) != nil {
		return nil, err
	}
	if err == nil {
		attempt.UserID = user.ID
	}
	on, said := connection.Options["brute_force_protection"].(bool)
	guarded := on || !said
	if guarded {
		err := attempt.Count(ctx, now)
		if errors.Is(err, tenancy.ErrTooManyAttempts) {
			return nil, refusal(http.StatusTooManyRequests, "too_many_attempts",
				"Your account has been blocked after multiple consecutive login attempts.").because(err)
		}
		if err != nil {
			return nil, err
		}
	}
	password, err := tenancy.CheckPassword(ctx, attempt.UserID, x.request.get("password"))
	switch {
	case errors.Is(err, tenancy.ErrWrongPassword):
		return nil, errors.Join(errWrongPassword().because(err), x.announceBlock(ctx, attempt, guarded))
	case err != nil && guarded: // nothing was learned about the password
		return nil, errors.Join(err, attempt.Uncount(context.WithoutCancel(ctx)))
	case err != nil:
		return nil, err
	case user.Blocked:
		return nil, errBlocked()
	}
	return user, x.noteLogin(ctx, attempt, password)
}

// announceBlock notes that the wrong attempt was the last one (contract C5.99).
func (x *exchange) announceBlock(ctx context.Context, attempt tenancy.Attempt, guarded bool) error {
	if !guarded {
		return nil
	}
	blocks, err := attempt.Blocks(ctx, x.server.now())
	if err == nil && blocks {
		x.server.record(ctx, tenancy.Event{
			Type: "limit_wc", Description: "Blocked account after too many wrong passwords", ClientID: x.client.ID, ClientName: x.client.Name,
			Connection: attempt.Connection, UserID: attempt.UserID, UserName: attempt.Identifier,
		})
	}
	return err
}

// noteLogin stores that the user logged in, at once: a right password is one
// whatever the tokens may say. Who was blocked or given another password at the
// same moment has not logged in.
func (x *exchange) noteLogin(ctx context.Context, attempt tenancy.Attempt, password *tenancy.Password) error {
	now := tenancy.At(x.server.now())
	err := tenancy.Commit(ctx, append(attempt.Right(ctx), password.Unchanged(ctx),
		tenancy.SQL(ctx, `UPDATE users SET last_login = ?, last_ip = ?, logins_count = logins_count + 1, updated_at = ?,
			revision = revision + 1 WHERE tenant_id = @tenant AND id = ? AND blocked = ?`,
			now, tenancy.VisitOf(ctx).ClientIP, now, attempt.UserID, false).Once())...)
	if errors.Is(err, tenancy.ErrStale) {
		return errWrongPassword().because(errors.New("changed while logging in"))
	}
	return err
}

// Interface guards
var _ fosite.TokenEndpointHandler = passwordHandler{}
