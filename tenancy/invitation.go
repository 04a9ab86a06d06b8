package tenancy

import (
	"context"
	"errors"
)

// Invitation asks a person, by e-mail address, to become a member of an
// organization with some roles (contract 2.8). Whoever has the ticket, which is
// in the mail and nowhere else, can accept it once.
type Invitation struct {
	Row
	OrgID        string         `json:"organization_id"`
	TicketHash   string         `json:"-"` // [HashToken] of the ticket
	InviterName  string         `json:"-"`
	Email        string         `json:"-"` // of the invited, as [FoldEmail] has it
	ClientID     string         `json:"client_id"`
	ConnectionID string         `json:"connection_id"` // the only one to log in by; "" is any
	Roles        []string       `json:"roles" gorm:"serializer:jsontext"`
	AppMetadata  map[string]any `json:"app_metadata" gorm:"serializer:jsontext"`  // of a user made by accepting
	UserMetadata map[string]any `json:"user_metadata" gorm:"serializer:jsontext"` // the same
	ExpiresAt    Time           `json:"expires_at"`

	// What became of it; zero until it is accepted. LoginID is the login under
	// way by which that happened, whose repetition is no second use.
	AcceptedAt Time   `json:"-"`
	AcceptedBy string `json:"-"`
	LoginID    string `json:"-"`
}

// Invitations is their table.
var Invitations = newTable[Invitation]("invitations")

// Open reports whether the invitation can be accepted, or was by the login.
func (i *Invitation) Open(loginID string, now Time) bool {
	if i.AcceptedAt != 0 {
		return loginID != "" && i.LoginID == loginID
	}
	return i.ExpiresAt > now
}

// InvitationOf returns the invitation to the organization that a ticket is for,
// if it is open (contract C2.56), and [ErrNotFound] otherwise. loginID is the
// login under way that asks, "" for none.
func InvitationOf(ctx context.Context, ticket, orgID, loginID string, now Time) (*Invitation, error) {
	i, err := Invitations.First(ctx, "ticket_hash = ?", HashToken(ticket))
	if err == nil && (i.OrgID != orgID || !i.Open(loginID, now)) {
		return nil, ErrNotFound
	}
	return i, err
}

// StillOpen is a guard: nobody has accepted or withdrawn the invitation.
func (i *Invitation) StillOpen(ctx context.Context) Stmt {
	return Require(ctx, "EXISTS (SELECT 1 FROM invitations WHERE tenant_id = @tenant AND id = ? AND accepted_at = 0)", i.ID)
}

// AcceptInvitation makes the user a member with the invitation's roles and uses
// the invitation up, in one step. Roles that are gone since are left out. Of two
// that accept at the same time one gets [ErrNotFound] (contract C2.59); that the
// login has accepted it already is success.
func AcceptInvitation(ctx context.Context, invitationID, userID, loginID string, now Time) error {
	for try := 0; ; try++ {
		i, err := Invitations.Get(ctx, invitationID)
		if err != nil {
			return err
		}
		if !i.Open(loginID, now) {
			return ErrNotFound
		}
		if i.AcceptedAt != 0 {
			return nil
		}
		stmts, err := i.accept(ctx, userID, loginID, now)
		if err == nil {
			err = Commit(ctx, stmts...)
		}
		if !errors.Is(err, ErrStale) && !errors.Is(err, ErrConflict) || try == 9 {
			return err
		}
	}
}

func (i *Invitation) accept(ctx context.Context, userID, loginID string, now Time) ([]Stmt, error) {
	used := *i
	used.AcceptedAt, used.AcceptedBy, used.LoginID = now, userID, loginID
	stmts := []Stmt{
		Invitations.Replace(ctx, &used),
		Require(ctx, "EXISTS (SELECT 1 FROM organizations WHERE tenant_id = @tenant AND id = ?)", i.OrgID),
		Require(ctx, "EXISTS (SELECT 1 FROM users WHERE tenant_id = @tenant AND id = ?)", userID),
	}
	if _, err := Organizations.Get(ctx, i.OrgID); err != nil {
		return nil, err
	}
	if _, err := Users.Get(ctx, userID); err != nil {
		return nil, err
	}
	switch _, err := Members.Get(ctx, Join(i.OrgID, userID)); {
	case errors.Is(err, ErrNotFound):
		stmts = append(stmts, Members.Insert(ctx, NewMember(i.OrgID, userID)))
	case err != nil:
		return nil, err
	}
	for _, id := range i.Roles {
		if _, err := Roles.Get(ctx, id); errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		row := NewUserRole(userID, i.OrgID, id)
		if _, err := UserRoles.Get(ctx, row.ID); errors.Is(err, ErrNotFound) {
			stmts = append(stmts, Require(ctx, "EXISTS (SELECT 1 FROM roles WHERE tenant_id = @tenant AND id = ?)", id), UserRoles.Insert(ctx, row))
		} else if err != nil {
			return nil, err
		}
	}
	return stmts, nil
}
