package oauth

import (
	"context"
	"errors"
	"maps"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// errInvitation does not say whether there ever was such an invitation (contract
// C2.56).
func errInvitation() *oauthError {
	return refuse(fosite.ErrInvalidRequest, "invitation not found or already used")
}

// underWay is the member of a request taken up again that names its login. It is
// no parameter.
const underWay = " login"

// takenUp are the parameters of a login under way.
func takenUp(l *tenancy.LoginSession) map[string]string {
	params := maps.Clone(l.Request)
	if params["invitation"] != "" {
		params[underWay] = l.ID
	}
	return params
}

// checkInvitation finds the invitation that the request follows (contract C2.56).
// One that this login has accepted already is as good as one that is open.
func (s *Server) checkInvitation(ctx context.Context, a *authorization) error {
	ticket := a.params["invitation"]
	if ticket == "" {
		return nil
	}
	var err error
	a.invitation, err = tenancy.InvitationOf(ctx, ticket, a.org.ID, a.params[underWay], tenancy.At(s.now()))
	if errors.Is(err, tenancy.ErrNotFound) {
		return errInvitation()
	}
	return err
}

// accept makes the person who logged in a member by the invitation, if it is
// theirs (contract C2.57, C2.58). Nothing of their account is changed.
func (s *Server) accept(ctx context.Context, a *authorization, l *tenancy.LoginSession, user *tenancy.User) error {
	i := a.invitation
	if !user.EmailVerified || tenancy.FoldEmail(user.Email) != i.Email {
		return refuse(fosite.ErrAccessDenied, "invitation is for another user")
	}
	if i.ConnectionID != "" {
		switch c, err := tenancy.Connections.First(ctx, "name = ?", l.Connection); {
		case err != nil && !errors.Is(err, tenancy.ErrNotFound):
			return err
		case err != nil || c.ID != i.ConnectionID:
			return refuse(fosite.ErrAccessDenied, "the connection is not enabled for this login")
		}
	}
	err := tenancy.AcceptInvitation(ctx, i.ID, user.ID, l.ID, tenancy.At(s.now()))
	if errors.Is(err, tenancy.ErrNotFound) {
		return errInvitation()
	}
	return err
}
