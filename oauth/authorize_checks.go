package oauth

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// checkResponse checks response_type and response_mode (contract C4.20, C4.21).
func (a *authorization) checkResponse() error {
	types := strings.Fields(a.params["response_type"])
	mode := a.params["response_mode"]
	for i, t := range types {
		if !slices.Contains([]string{responseCode, responseToken, responseIDToken}, t) || slices.Contains(types[:i], t) {
			return refuse(fosite.ErrUnsupportedResponseType, "Unsupported response type: %s", truncate(a.params["response_type"], 100))
		}
	}
	switch {
	case len(types) == 0:
		return refuse(fosite.ErrInvalidRequest, "Missing required parameter: response_type")
	case a.frontChannel() && mode == modeQuery:
		return refuse(fosite.ErrInvalidRequest, "Invalid response_mode \"query\" for response_type \"%s\"", a.params["response_type"])
	case mode != "" && mode != a.to.Mode:
		return refuse(fosite.ErrInvalidRequest, "Invalid response_mode: %s", truncate(mode, 60))
	case a.frontChannel() && !slices.Contains(a.client.GrantTypes, grantImplicit):
		return refuse(fosite.ErrUnauthorizedClient, "Grant type 'implicit' not allowed for the client.")
	case a.responds(responseIDToken) && !slices.Contains(a.scope, scopeOpenID):
		return refuse(fosite.ErrInvalidRequest, "response_type \"%s\" needs the scope openid", a.params["response_type"])
	case a.responds(responseIDToken) && a.params["nonce"] == "": // contract C4.24
		return refuse(fosite.ErrInvalidRequest, "Missing required parameter: nonce")
	case a.responds(responseCode) && !slices.Contains(a.client.GrantTypes, "authorization_code"): // contract C4.34
		return refuse(fosite.ErrUnauthorizedClient, "Grant type 'authorization_code' not allowed for the client.")
	}
	return nil
}

// checkPKCE holds contract C4.22 (RFC 7636, RFC 9700 section 2.1.1).
func (a *authorization) checkPKCE() error {
	challenge, method := a.params["code_challenge"], a.params["code_challenge_method"]
	switch {
	case !a.responds(responseCode): // there is nothing to prove
		return nil
	case challenge == "" && method != "":
		return refuse(fosite.ErrInvalidRequest, "Missing required parameter: code_challenge")
	case challenge == "":
		if a.client.IsPublic() || !a.client.IsFirstParty || a.to.Mode == modeWebMessage {
			return refuse(fosite.ErrInvalidRequest, "Missing required parameter: code_challenge")
		}
		return nil
	case method != "S256":
		return refuse(fosite.ErrInvalidRequest, "code_challenge_method must be S256")
	case len(challenge) < 43 || len(challenge) > 128 || strings.Trim(challenge, unreserved) != "":
		return refuse(fosite.ErrInvalidRequest, "Invalid code_challenge")
	}
	return nil
}

// unreserved are the characters of RFC 3986 section 2.3.
const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// checkInteraction reads prompt and max_age (contract C3.2, C3.30).
func (a *authorization) checkInteraction() error {
	prompt := strings.Fields(a.params["prompt"])
	for _, p := range prompt {
		if !slices.Contains([]string{"none", "login", "consent", "select_account"}, p) {
			return refuse(fosite.ErrInvalidRequest, "Invalid prompt: %s", truncate(p, 60))
		}
	}
	if a.silent() && len(prompt) > 1 {
		return refuse(fosite.ErrInvalidRequest, "prompt=none cannot be combined with other values")
	}
	if text := a.params["max_age"]; text != "" {
		seconds, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return refuse(fosite.ErrInvalidRequest, "Invalid max_age").because(err)
		}
		a.maxAge = time.Duration(seconds) * time.Second
	}
	return nil
}

// checkPushed refuses plain requests where they have to be pushed first
// (contract C4.27, RFC 9126 section 5).
func (a *authorization) checkPushed(ctx context.Context) error {
	if a.params[pushedRequest] != "" {
		return nil
	}
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return err
	}
	if a.client.RequirePushedAuthorization || settings.Bool("require_pushed_authorization_requests") {
		return refuse(fosite.ErrInvalidRequest, "The client has to use pushed authorization requests")
	}
	return nil
}

// checkAudience refuses an audience that is no resource server before anybody
// logs in for it (contract C4.31).
func (a *authorization) checkAudience(ctx context.Context) error {
	_, _, err := resolveAudience(ctx, a.params["audience"])
	return err
}

// checkOrganization holds contract C2.24 and C2.41 as far as no user is needed.
// Silent requests that lack an organization are judged later, after the session
// (C3.9).
func (s *Server) checkOrganization(ctx context.Context, a *authorization) error {
	name := a.params["organization"]
	if name == "" && a.params["invitation"] != "" {
		return errInvitation()
	}
	if name == "" && a.silent() {
		return nil
	}
	var err error
	if a.org, err = s.resolveOrganization(ctx, a.client, name); err != nil {
		return err
	}
	return s.checkInvitation(ctx, a)
}

// checkConnection finds the connection that was asked for (contract C4.25).
func (a *authorization) checkConnection(ctx context.Context) error {
	name := a.params["connection"]
	if name == "" {
		return nil
	}
	enabled, err := connectionAllowed(ctx, a.client, a.org, name)
	if err != nil {
		return err
	}
	if !enabled {
		return refuse(fosite.ErrInvalidRequest, "the connection was not found")
	}
	return nil
}

// connectionAllowed reports whether people of the connection may log in at the
// client, for the organization if there is one: it has to be enabled for both,
// and an organization without connections of its own takes the client's
// (contract C2.36, C2.37).
func connectionAllowed(ctx context.Context, client *tenancy.Client, org *tenancy.Organization, connection string) (bool, error) {
	enabled, err := clientHasConnection(ctx, client.ID, connection)
	if err != nil || !enabled || org == nil {
		return enabled, err
	}
	return connectionServes(ctx, org.ID, connection)
}

// clientHasConnection reports whether the connection of that name is enabled for
// the client.
func clientHasConnection(ctx context.Context, clientID, name string) (bool, error) {
	list, err := clientConnections(ctx, clientID)
	return slices.ContainsFunc(list, func(c tenancy.Connection) bool { return c.Name == name }), err
}

// clientConnections are the connections enabled for the client. The result is
// shared and must not be changed.
func clientConnections(ctx context.Context, clientID string) ([]tenancy.Connection, error) {
	return tenancy.Cached(ctx, "oauth.client_connections", clientID, func(ctx context.Context) ([]tenancy.Connection, error) {
		return tenancy.Connections.Find(ctx, tenancy.Filter{
			Where: "id IN (SELECT connection_id FROM client_connections cc WHERE cc.tenant_id = connections.tenant_id AND cc.client_id = ?)",
			Args:  []any{clientID},
		})
	})
}

// checkSubject finds out whether the answer has to be about a certain user: the
// one of id_token_hint (OpenID Connect Core section 3.1.2.1), or the one that
// the claims parameter names as sub (section 5.5.1).
func (s *Server) checkSubject(ctx context.Context, a *authorization) error {
	var err error
	if a.claims, err = parseClaims(a.params["claims"]); err != nil {
		return err
	}
	a.subject = a.claims.Subject
	if a.params["id_token_hint"] == "" {
		return nil
	}
	hint, err := s.hinted(ctx, a.params["id_token_hint"])
	if err != nil {
		return err
	}
	if a.subject != "" && a.subject != hint.Subject {
		return refuse(fosite.ErrInvalidRequest, "id_token_hint and claims name different users")
	}
	a.subject = hint.Subject
	return nil
}

// hinted is the ID token of an id_token_hint.
func (s *Server) hinted(ctx context.Context, token string) (*idClaims, error) {
	hint, err := s.verifyHint(ctx, token)
	if errors.Is(err, errHint) {
		return nil, refuse(fosite.ErrInvalidRequest, "Invalid id_token_hint").because(err) // contract C3.34
	}
	return hint, err
}
