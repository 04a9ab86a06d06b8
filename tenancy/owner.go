package tenancy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// findOwner returns the owner as a user of the control plane.
func findOwner(ctx context.Context, o Owner) (*Owner, error) {
	var u *User
	var err error
	if o.UserID != "" {
		u, err = Users.Get(ctx, o.UserID)
	} else {
		u, err = Users.First(ctx, "email = ? AND email <> ''", FoldEmail(o.Email))
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
// member with the owner's roles (contract C8.5 steps 6 and 7).
func (l *Lifecycle) link(ctx context.Context, t *Tenant) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	stmts := []Stmt{Organizations.Insert(inside, &Organization{Row: Row{ID: t.OrganizationID}, Name: t.ID, DisplayName: t.FriendlyName})}
	if t.Owner != nil {
		owner, err := l.ownerRows(inside, t)
		if err != nil {
			return err
		}
		stmts = append(stmts, owner...)
	}
	err = Commit(inside, stmts...)
	if !errors.Is(err, ErrConflict) {
		return err
	}
	made, err := Organizations.Get(inside, t.OrganizationID)
	if err != nil || made.Name != t.ID {
		return errors.Join(err, fmt.Errorf("an organization named %s exists that is not this tenant's", t.ID))
	}
	return nil // by an earlier try, with its owner: they are one batch
}

func (l *Lifecycle) ownerRows(inside context.Context, t *Tenant) ([]Stmt, error) {
	roles := l.OwnerRoles
	if roles == nil {
		roles = []string{RoleTenantAdmin}
	}
	stmts := []Stmt{Members.Insert(inside, NewMember(t.OrganizationID, t.Owner.UserID))}
	for _, name := range roles {
		role, err := Roles.First(inside, "name_key = ?", NameKeyOf(name))
		if err != nil {
			return nil, fmt.Errorf("role %q of the owner: %w", name, err)
		}
		stmts = append(stmts, UserRoles.Insert(inside, NewUserRole(t.Owner.UserID, t.OrganizationID, role.ID)))
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
