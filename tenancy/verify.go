package tenancy

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// verify is step 11 of contract C8.5: what the steps before have made is read back,
// on both sides and by the ways that requests go, before the tenant is active
// (C8.6).
func (l *Lifecycle) verify(ctx context.Context, t *Tenant) error {
	// One that an earlier version of the program has begun is made by this one.
	if v := l.Pool.SchemaVersion(t); v < t.SchemaVersion {
		return fmt.Errorf("schema: this program makes version %d, and version %d was asked for", v, t.SchemaVersion)
	}
	err := l.Pool.Do(ctx, t, func(inside context.Context) error {
		if err := l.verifyBasics(inside, t); err != nil {
			return err
		}
		return l.verifyDefaults(inside)
	})
	if err != nil {
		return err
	}
	return l.verifyLinked(ctx, t)
}

// verifyBasics is what every tenant has that is to serve, also one that was
// restored or imported: its settings, the management API, what the control plane
// shares, and keys that sign.
func (l *Lifecycle) verifyBasics(inside context.Context, t *Tenant) error {
	if _, err := SettingsRows.Get(inside, SettingsOwn); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if _, err := CachedResourceServer(inside, ManagementAudience); err != nil {
		return fmt.Errorf("management API: %w", err)
	}
	if l.Sync != nil {
		if _, err := SyncStates.Get(inside, SyncStateID); err != nil {
			return fmt.Errorf("what the control plane shares: %w", err)
		}
	}
	if l.Verify == nil {
		return nil
	}
	return l.Verify(inside, t)
}

// verifyDefaults is what a new tenant begins with besides.
func (l *Lifecycle) verifyDefaults(inside context.Context) error {
	s, err := EffectiveSettings(inside)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	connection, err := Connections.First(inside, "name = ?", DefaultConnection)
	if err != nil {
		return fmt.Errorf("default connection: %w", err)
	}
	app, err := Clients.Get(inside, s.String("default_client_id"))
	if err != nil {
		return fmt.Errorf("default client: %w", err)
	}
	if _, err := ClientConnections.Get(inside, NewClientConnection(app.ID, connection.ID).ID); err != nil {
		return fmt.Errorf("default connection of the default client: %w", err)
	}
	if l.NoAPIExplorer {
		return nil
	}
	explorer, err := Clients.First(inside, "name = ?", apiExplorer)
	if err != nil {
		return fmt.Errorf("%s: %w", apiExplorer, err)
	}
	grant, err := ClientGrants.First(inside, "client_id = ? AND audience = ?", explorer.ID, ManagementAudience)
	if err == nil && !slices.Equal(grant.Scope, TenantScopes) {
		err = errors.New("it lacks scopes of the tenant class")
	}
	if err != nil {
		return fmt.Errorf("grant of %s: %w", apiExplorer, err)
	}
	return nil
}

// verifyLinked is what the control plane has of a new tenant: its organization,
// with its owner.
func (l *Lifecycle) verifyLinked(ctx context.Context, t *Tenant) error {
	inside, leave, err := l.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	org, err := Organizations.Get(inside, t.OrganizationID)
	if err == nil && org.Name != t.ID {
		err = fmt.Errorf("it is named %q", org.Name)
	}
	if err != nil {
		return fmt.Errorf("organization: %w", err)
	}
	if t.Owner == nil {
		return nil
	}
	if t.Owner.UserID == "" {
		_, err = Invitations.First(inside, "org_id = ? AND email = ?", org.ID, t.Owner.Email)
	} else {
		_, err = Members.Get(inside, Join(org.ID, t.Owner.UserID))
	}
	if err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if t.Owner.UserID == "" {
		return nil
	}
	roles, err := l.ownerRoleIDs(inside)
	for _, id := range roles {
		if _, lost := UserRoles.Get(inside, NewUserRole(t.Owner.UserID, org.ID, id).ID); lost != nil {
			err = fmt.Errorf("role %s of the owner: %w", id, lost)
		}
	}
	return err
}
