package tenancy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// findOwner returns the owner as a user of the control plane, or by the address
// that is to be invited.
func findOwner(ctx context.Context, o Owner) (*Owner, error) {
	var u *User
	var err error
	if o.UserID != "" {
		u, err = Users.Get(ctx, o.UserID)
	} else {
		u, err = Users.First(ctx, "email = ? AND email <> ''", FoldEmail(o.Email))
	}
	if errors.Is(err, ErrNotFound) && o.UserID == "" {
		return &Owner{Email: FoldEmail(o.Email)}, nil // who is invited
	}
	if errors.Is(err, ErrNotFound) {
		return nil, Errorf(http.StatusBadRequest, "inexistent_user", "The user does not exist.")
	}
	if err != nil {
		return nil, err
	}
	return &Owner{UserID: u.ID}, nil
}

// link makes the control plane's organization for the tenant, and its owner a
// member with the owner's roles, or invited to become one (contract C8.5 steps 6
// and 7).
func (l *Lifecycle) link(ctx context.Context, t *Tenant) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	stmts := []Stmt{Organizations.Insert(inside, &Organization{Row: Row{ID: t.OrganizationID}, Name: t.ID, DisplayName: t.FriendlyName})}
	tell := func() {}
	if t.Owner != nil && t.Owner.UserID == "" {
		i, ticket, err := l.invitation(inside, t)
		if err != nil {
			return err
		}
		stmts = append(stmts, Invitations.Insert(inside, i))
		if l.Invite != nil {
			tell = func() { l.Invite(inside, t, i, ticket) }
		}
	} else if t.Owner != nil {
		owner, err := l.ownerRows(inside, t)
		if err != nil {
			return err
		}
		stmts = append(stmts, owner...)
	}
	if err = Commit(inside, stmts...); err == nil {
		tell()
	}
	if !errors.Is(err, ErrConflict) {
		return err
	}
	made, err := Organizations.Get(inside, t.OrganizationID)
	if err != nil || made.Name != t.ID {
		return errors.Join(err, fmt.Errorf("an organization named %s exists that is not this tenant's", t.ID))
	}
	return nil // by an earlier try, with its owner: they are one batch
}

// ownerRoleIDs are the roles that owners get.
func (l *Lifecycle) ownerRoleIDs(inside context.Context) ([]string, error) {
	names := l.OwnerRoles
	if names == nil {
		names = []string{RoleTenantAdmin}
	}
	ids := []string{}
	for _, name := range names {
		role, err := Roles.First(inside, "name_key = ?", NameKeyOf(name))
		if err != nil {
			return nil, fmt.Errorf("role %q of the owner: %w", name, err)
		}
		ids = append(ids, role.ID)
	}
	return ids, nil
}

// ownerInvited is for how long the invitation of an owner stands.
const ownerInvited = 7 * 24 * time.Hour

// invitation asks the owner to become a member with the owner's roles. They log in
// at the control plane's default client, if it has one.
func (l *Lifecycle) invitation(inside context.Context, t *Tenant) (i *Invitation, ticket string, err error) {
	roles, err := l.ownerRoleIDs(inside)
	if err != nil {
		return nil, "", err
	}
	settings, err := EffectiveSettings(inside)
	if err != nil {
		return nil, "", err
	}
	ticket = NewToken()
	return &Invitation{
		Row: Row{ID: NewID("uinv_", 16)}, OrgID: t.OrganizationID, TicketHash: HashToken(ticket), InviterName: l.Directory.ControlPlane().FriendlyName,
		Email: t.Owner.Email, ClientID: settings.String("default_client_id"), Roles: roles, ExpiresAt: At(time.Now().Add(ownerInvited)),
	}, ticket, nil
}

func (l *Lifecycle) ownerRows(inside context.Context, t *Tenant) ([]Stmt, error) {
	roles, err := l.ownerRoleIDs(inside)
	if err != nil {
		return nil, err
	}
	stmts := []Stmt{Members.Insert(inside, NewMember(t.OrganizationID, t.Owner.UserID))}
	for _, id := range roles {
		stmts = append(stmts, UserRoles.Insert(inside, NewUserRole(t.Owner.UserID, t.OrganizationID, id)))
	}
	if len(l.OwnerPermissions) == 0 {
		return stmts, nil
	}
	rs, err := ResourceServers.First(inside, "identifier = ?", ManagementAudience)
	if err != nil {
		return nil, err
	}
	for _, p := range l.OwnerPermissions {
		stmts = append(stmts, UserPermissions.Insert(inside, NewUserPermission(t.Owner.UserID, t.OrganizationID, rs.ID, p)))
	}
	return stmts, nil
}
