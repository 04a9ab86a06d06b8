package tenancy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// ControlPlaneConfig says what the control plane is made with.
type ControlPlaneConfig struct {
	ID        string // default "control_plane"
	Placement string // name of its placement; default ""

	// Admin is a first administrator to have, by e-mail address and password;
	// empty for none. One who exists already is left as they are.
	AdminEmail, AdminPassword string

	// Client is a machine client to have, with every scope of the management
	// API; empty for none. The secret follows the configuration.
	ClientID, ClientSecret string
}

// counter is the optional ability of a Provider to tell how many databases it
// holds, by which a lost control plane is told from a first start.
type counter interface {
	Count(ctx context.Context) (int, error)
}

// OpenControlPlane opens the control plane, making it at the first start, and
// the directory with it. Doing it again changes nothing. Errors that an operator
// can mend say how.
func (l *Lifecycle) OpenControlPlane(ctx context.Context, c ControlPlaneConfig) error {
	c.ID = cmp.Or(c.ID, DefaultControlPlane)
	cp, err := l.ReachControlPlane(ctx, c, true)
	if err != nil {
		return err
	}
	err = l.Pool.Do(ctx, cp, func(ctx context.Context) error { return l.seedControlPlane(ctx, c) })
	if err != nil {
		return fmt.Errorf("setting up the control plane: %w", err)
	}
	return l.Directory.Open(ctx, cp)
}

// ReachControlPlane returns the control plane so far that it can be entered: its
// database exists and it is registered there. With create both are made at the
// first start; without it, a control plane that was never made is [ErrNotFound].
// It needs Pool and Master only.
func (l *Lifecycle) ReachControlPlane(ctx context.Context, c ControlPlaneConfig, create bool) (*Tenant, error) {
	c.ID = cmp.Or(c.ID, DefaultControlPlane)
	l.Pool.making.Lock()
	defer l.Pool.making.Unlock()
	for try := 0; ; try++ {
		cp, err := l.reachControlPlane(ctx, c, create)
		if !errors.Is(err, ErrConflict) || try == tries {
			return cp, err
		} // else another process was faster
	}
}

func (l *Lifecycle) reachControlPlane(ctx context.Context, c ControlPlaneConfig, create bool) (*Tenant, error) {
	cp := &Tenant{
		Row: Row{TenantID: c.ID, ID: c.ID}, Placement: c.Placement, State: StateActive,
		FriendlyName: "Control plane", Audience: "urn:gatehouse:tenant:" + c.ID, OrganizationID: NewID("org_", 16),
	}
	cp.SchemaVersion = l.Pool.SchemaVersion(cp)
	key, err := l.Pool.dataKeyOf(ctx, cp)
	if errors.Is(err, ErrUnavailable) && l.firstStart(ctx, c.Placement) {
		if !create {
			return nil, ErrNotFound
		}
		if err = l.notElsewhere(ctx, cp); err != nil {
			return nil, fmt.Errorf("opening the control plane: %w", err)
		}
		if err = l.Pool.Create(ctx, cp); err == nil {
			key, err = l.Pool.dataKeyOf(ctx, cp)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the control plane: %w", err)
	}
	cp.DataKey = key
	if key != "" {
		return cp, nil
	}
	if !create {
		return nil, ErrNotFound
	}
	cp.DataKey = l.Master.NewDataKey(c.ID)
	err = l.Pool.Do(ctx, cp, func(ctx context.Context) error { return Tenants.Create(ctx, cp) })
	if err != nil {
		return nil, fmt.Errorf("registering the control plane: %w", err)
	}
	return cp, nil
}

// firstStart reports whether the placement holds no database at all. Where it
// cannot be told, a missing control plane is taken for a loss, and none is made
// in its place.
func (l *Lifecycle) firstStart(ctx context.Context, placement string) bool {
	pl, ok := l.Pool.placements[placement]
	if !ok {
		return false
	}
	c, ok := pl.engine.provider.(counter)
	if !ok {
		return true
	}
	n, err := c.Count(ctx)
	return err == nil && n == 0
}

// notElsewhere refuses to make a second control plane where another placement
// has one: all tenants would seem to be gone.
func (l *Lifecycle) notElsewhere(ctx context.Context, cp *Tenant) error {
	target := l.Pool.placements[cp.Placement]
	for _, pl := range l.Pool.order {
		if pl == target || pl.engine == target.engine {
			continue
		}
		db, err := pl.engine.provider.Open(ctx, cp.Location())
		if err != nil {
			continue // most likely it has none; one that cannot be reached is not asked
		}
		return errors.Join(Unavailable(fmt.Errorf("control plane %s is in database %q, and database %q is empty", cp.ID, pl.name, cp.Placement),
			fmt.Sprintf("name the one it is in: control_plane %s { database %s }", cp.ID, pl.name)), db.Close())
	}
	return nil
}

// Built-in rows of the control plane (contract C5.17).
const (
	RoleTenantAdmin   = "Tenant Admin"
	RolePlatformAdmin = "Platform Admin"
)

// TenantAssignable as a key of a control plane role's metadata, with the value
// true, lets tenants' administrators give the role to their team (contract C5.106).
const TenantAssignable = "tenant_assignable"

// seedControlPlane brings the built-in rows up to date: missing ones are made,
// others are left as they are.
func (l *Lifecycle) seedControlPlane(ctx context.Context, c ControlPlaneConfig) error {
	if err := seedTenant(ctx, nil, false, nil); err != nil {
		return err
	}
	if err := updateManagementScopes(ctx); err != nil {
		return err
	}
	if err := ensureOrganization(ctx, c.ID); err != nil {
		return err
	}
	if err := ensureRole(ctx, Role{
		Name: RoleTenantAdmin, Description: "Full access to all tenant management operations",
		Metadata: map[string]any{TenantAssignable: true},
	}, TenantScopes); err != nil {
		return err
	}
	if err := ensureRole(ctx, Role{
		Name: RolePlatformAdmin, Description: "Full access to every tenant and to the platform itself",
	}, ManagementScopes(true)); err != nil {
		return err
	}
	if err := l.Keys.EnsureKeys(ctx); err != nil {
		return err
	}
	if c.AdminEmail != "" {
		if err := EnsureAdministrator(ctx, c.AdminEmail, c.AdminPassword); err != nil && !errors.Is(err, ErrConflict) {
			return err
		}
	}
	if c.ClientID != "" {
		return ensureManagementClient(ctx, c.ClientID, c.ClientSecret)
	}
	return nil
}

// updateManagementScopes gives the control plane's management API the scopes
// this program knows, where a newer program has more.
func updateManagementScopes(ctx context.Context) error {
	rs, err := ResourceServers.First(ctx, "identifier = ?", ManagementAudience)
	if err != nil {
		return err
	}
	_, err = ResourceServers.Update(ctx, rs.ID, func(rs *ResourceServer) error {
		unchanged := true
		for _, s := range ManagementScopes(true) {
			if !rs.Defines(s) {
				rs.Scopes, unchanged = append(rs.Scopes, Scope{Value: s}), false
			}
		}
		if unchanged {
			return ErrUnchanged
		}
		return nil
	})
	return err
}

// ensureOrganization makes the control plane's organization of its own name
// (contract C2.1), the one its registry row is linked to.
func ensureOrganization(ctx context.Context, id string) error {
	cp, err := Tenants.Get(ctx, id)
	if err != nil {
		return err
	}
	err = Organizations.Create(ctx, &Organization{Row: Row{ID: cp.OrganizationID}, Name: cp.ID, DisplayName: cp.FriendlyName})
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

// ensureRole makes a built-in role of the management API's scopes, or gives the
// one there is those it lacks.
func ensureRole(ctx context.Context, wanted Role, scopes []string) error {
	rs, err := ResourceServers.First(ctx, "identifier = ?", ManagementAudience)
	if err != nil {
		return err
	}
	role, err := BuiltInRole(ctx, wanted.Name)
	var stmts []Stmt
	switch {
	case errors.Is(err, ErrNotFound):
		role = &wanted
		role.ID, role.NameKey, role.IsSystem = NewID("rol_", 16), NameKeyOf(wanted.Name), true
		stmts = append(stmts, Roles.Insert(ctx, role))
	case err != nil:
		return err
	}
	held, err := RolePermissions.Find(ctx, Filter{Where: "role_id = ?", Args: []any{role.ID}})
	if err != nil {
		return err
	}
	has := make(map[string]bool, len(held))
	for _, p := range held {
		has[p.Permission] = true
	}
	for _, s := range scopes {
		if !has[s] {
			stmts = append(stmts, RolePermissions.Insert(ctx, NewRolePermission(role.ID, rs.ID, s)))
		}
	}
	if len(stmts) == 0 {
		return nil
	}
	if err := Commit(ctx, stmts...); !errors.Is(err, ErrConflict) {
		return err
	}
	return nil // another process makes the same rows
}

// BuiltInRole returns the control plane's own role of the name, or [ErrNotFound].
func BuiltInRole(ctx context.Context, name string) (*Role, error) {
	return Roles.First(ctx, "name_key = ? AND is_system = ? AND origin = ''", NameKeyOf(name), true)
}

// EnsureAdministrator makes the control plane's first administrator: a user of
// the default database connection who holds Platform Admin. Once there has been
// one, however made, it returns [ErrConflict] and changes nothing: the way in is
// open only once.
func EnsureAdministrator(ctx context.Context, email, password string) error {
	role, err := BuiltInRole(ctx, RolePlatformAdmin)
	if err != nil {
		return err
	}
	hash, err := HashPassword(ctx, password)
	if err != nil {
		return err
	}
	u := &User{
		Row: Row{ID: "auth0|" + NewHexID()}, Connection: DefaultConnection,
		Email: FoldEmail(email), EmailVerified: true, Name: email, Nickname: email,
	}
	return Commit(ctx,
		SQL(ctx, `INSERT INTO counters (tenant_id, id, value) VALUES (@tenant, 'administrator', 1)`),
		Users.Insert(ctx, u),
		Passwords.Insert(ctx, &Password{Row: Row{ID: u.ID}, Hash: hash}),
		UserRoles.Insert(ctx, NewUserRole(u.ID, Global, role.ID)),
	)
}

// HasAdministrator reports whether the first administrator was ever made.
func HasAdministrator(ctx context.Context) (bool, error) {
	var n int64
	err := QueryRow(ctx, `SELECT value FROM counters WHERE tenant_id = @tenant AND id = 'administrator'`, nil, &n)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// ensureManagementClient makes the machine client of the configuration, or
// gives the one there is the configured secret.
func ensureManagementClient(ctx context.Context, id, secret string) error {
	if len(secret) < 32 {
		return &Error{
			Status: 400, Code: "invalid_body", Message: "the client's secret is shorter than 32 characters",
			Hint: `give "client" a longer one, for instance from: openssl rand -hex 32`,
		}
	}
	hash, err := HashSecret(ctx, secret)
	if err != nil {
		return err
	}
	client := newMachineClient(id, "Management", secret, hash)
	err = Commit(ctx, Clients.Insert(ctx, client), ClientGrants.Insert(ctx, newManagementGrant(id, ManagementScopes(true))))
	if !errors.Is(err, ErrConflict) {
		return err
	}
	_, err = Clients.Update(ctx, id, func(c *Client) error {
		if c.SecretHash == hash {
			return ErrUnchanged
		}
		c.SecretHash, c.Secret = hash, secret
		return nil
	})
	return err
}
