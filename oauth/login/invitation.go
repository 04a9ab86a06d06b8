package login

import (
	"errors"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// errInvitation is the page of an invitation that was accepted, withdrawn or ran
// out while its page was open.
var errInvitation = &failure{
	Status: http.StatusBadRequest, Title: "This invitation cannot be used",
	Message: "It was used before, was withdrawn, or has expired. Ask whoever invited you for another.",
}

// findInvitation finds the invitation that this login follows (contract C2.57).
func (s *step) findInvitation() error {
	ticket := s.session.Request["invitation"]
	if ticket == "" {
		return nil
	}
	var err error
	s.invitation, err = tenancy.InvitationOf(s.ctx, ticket, s.session.OrgID, s.session.ID, tenancy.At(s.pages.now()))
	if errors.Is(err, tenancy.ErrNotFound) {
		return errInvitation
	}
	return err
}

// invitedEmail is the only address that this login can be by; "" for any.
func (s *step) invitedEmail() string {
	if s.invitation == nil {
		return ""
	}
	return s.invitation.Email
}

// welcome gives a new account what its invitation says. Its address is taken for
// verified: the ticket came by mail to it. The statements hold only while the
// invitation is open, so that one that was withdrawn verifies nothing.
func (s *step) welcome(user *tenancy.User) []tenancy.Stmt {
	if s.invitation == nil {
		return nil
	}
	user.EmailVerified = true
	user.AppMetadata, user.UserMetadata = s.invitation.AppMetadata, s.invitation.UserMetadata
	return []tenancy.Stmt{s.invitation.StillOpen(s.ctx)}
}
