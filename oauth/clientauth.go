package oauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Ways in which clients authenticate (RFC 7591 section 2).
const (
	authNone  = "none"
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
)

// authMethods are the methods a client may be registered for, and how each
// decides whether the credentials presented are the client's. The result false
// is a refusal; an error is a fault. A client registered for a method that is
// not here cannot authenticate.
var authMethods = map[string]func(context.Context, *Server, *tenancy.Client, *credentials) (bool, error){
	authNone: func(_ context.Context, _ *Server, _ *tenancy.Client, c *credentials) (bool, error) {
		return !c.HasSecret && c.Assertion == "", nil
	},
	// Interchangeable (contract C4.32).
	authBasic: checkSecret,
	authPost:  checkSecret,

	authPrivateKey: checkAssertion,
}

// authenticate returns the client that sent the request (contract C4.32, C4.33).
// Whatever is wrong with its credentials has one answer, and an unknown client
// costs the same hash as a known one.
func (s *Server) authenticate(ctx context.Context, c *credentials) (*tenancy.Client, error) {
	client, err := tenancy.CachedClient(ctx, c.ClientID)
	if errors.Is(err, tenancy.ErrNotFound) {
		client, err = &nobody, nil
	}
	if err != nil {
		return nil, err
	}
	ok := false
	if check, known := authMethods[client.TokenEndpointAuthMethod]; known {
		if ok, err = check(ctx, s, client, c); err != nil {
			return nil, err
		}
	}
	if !ok || client == &nobody {
		refused := errInvalidClient()
		refused.Basic = c.Basic
		return nil, refused
	}
	return client, nil
}

// countRequest counts a request of a client that proved who it is. Anybody may
// say that he is a public client, so those are not counted: else one could use up
// the limit of the other.
func (s *Server) countRequest(ctx context.Context, w http.ResponseWriter, client *tenancy.Client) error {
	if s.limit == nil || client.IsPublic() {
		return nil
	}
	return s.limit(ctx, w.Header(), client.ID)
}

// authenticateConfidential is [Server.authenticate] for endpoints that tell only
// clients which prove who they are.
func (s *Server) authenticateConfidential(ctx context.Context, c *credentials) (*tenancy.Client, error) {
	client, err := s.authenticate(ctx, c)
	if err == nil && client.IsPublic() {
		return nil, errInvalidClient()
	}
	return client, err
}

// nobody is compared with where there is no client.
var nobody = tenancy.Client{TokenEndpointAuthMethod: authPost, SecretHash: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}

// checkSecret compares the secret with the client's, and during a rotation with
// the one before (contract C4.33). Both are always compared, and in constant
// time, so that the time taken tells nothing.
func checkSecret(ctx context.Context, s *Server, client *tenancy.Client, c *credentials) (bool, error) {
	now := tenancy.At(s.now())
	match, err := matches(ctx, client, c.Secret, now)
	if err != nil {
		return false, err
	}
	if c.Basic && c.RawSecret != c.Secret { // a client that does not form-encode its secret
		raw, err := matches(ctx, client, c.RawSecret, now)
		if err != nil {
			return false, err
		}
		match |= raw
	}
	return match == 1 && c.Secret != "", nil
}

// matches compares a secret with the client's. While the tenant's data key is
// being replaced, the client's hash may be under either.
func matches(ctx context.Context, client *tenancy.Client, secret string, now tenancy.Time) (match int, err error) {
	previous := ""
	if now < client.PreviousUntil {
		previous = client.PreviousSecretHash
	}
	hashes, err := tenancy.SecretHashes(ctx, secret)
	for _, hash := range hashes {
		match |= subtle.ConstantTimeCompare([]byte(client.SecretHash), []byte(hash)) |
			subtle.ConstantTimeCompare([]byte(previous), []byte(hash))
	}
	return match, err
}

// mayUse refuses a grant that is not among the client's, before anything is
// consumed (contract C4.34, C4.45). No grants means none.
func mayUse(client *tenancy.Client, grant string) error {
	if !slices.Contains(client.GrantTypes, grant) || grant == grantClientCredentials && client.IsPublic() {
		return refuse(fosite.ErrUnauthorizedClient, "Grant type '%s' not allowed for the client.", grant)
	}
	return nil
}
