package tenancy

import (
	"context"
	"encoding/json"
	"errors"
)

// DefaultConnection is the database connection every tenant begins with.
const DefaultConnection = "Username-Password-Authentication"

// apiExplorer is the name of the machine client that every child tenant begins with
// unless the configuration says otherwise.
const apiExplorer = "API Explorer Application"

// seedTenant writes the rows a tenant begins with into its empty database, in
// one batch: its own settings, the management API, the default connection, and
// on child tenants the default clients (contract C8.5 steps 4 and 8). A tenant
// that has its settings row was seeded and is left alone.
func seedTenant(ctx context.Context, t *Tenant, explorer bool, settings map[string]json.RawMessage) error {
	if _, err := SettingsRows.Get(ctx, SettingsOwn); !errors.Is(err, ErrNotFound) {
		return err
	}
	own := &SettingsRow{Row: Row{ID: SettingsOwn}, Values: map[string]json.RawMessage{}}
	for k, v := range settings {
		own.Values[k] = v
	}
	connection := &Connection{Row: Row{ID: NewID("con_", 16)}, Name: DefaultConnection, Strategy: StrategyDatabase, Realms: []string{DefaultConnection}}
	stmts := []Stmt{
		ResourceServers.Insert(ctx, newManagementAPI(t == nil)),
		Connections.Insert(ctx, connection),
	}
	if t != nil {
		clients, err := defaultClients(ctx, own, connection, explorer)
		if err != nil {
			return err
		}
		stmts = append(stmts, clients...)
	}
	stmts = append(stmts, SettingsRows.Insert(ctx, own))
	err := Commit(ctx, stmts...)
	if errors.Is(err, ErrConflict) {
		return nil // another process seeded it meanwhile, whole
	}
	return err
}

// newManagementAPI is the management API's own resource server (contract C2.20).
func newManagementAPI(controlPlane bool) *ResourceServer {
	rs := &ResourceServer{
		Row: Row{ID: NewHexID()}, Name: "Management API", Identifier: ManagementAudience,
		SigningAlg: "RS256", TokenLifetime: 86400, TokenLifetimeForWeb: 7200, SkipConsent: true,
		AllowOfflineAccess: controlPlane, EnforcePolicies: true, TokenDialect: DialectAccessAuthz, IsSystem: true,
	}
	for _, s := range ManagementScopes(controlPlane) {
		rs.Scopes = append(rs.Scopes, Scope{Value: s})
	}
	return rs
}

// defaultClients makes "Default App", for people, and if it is wanted "API Explorer
// Application", a machine that may use the management API.
func defaultClients(ctx context.Context, own *SettingsRow, connection *Connection, wanted bool) ([]Stmt, error) {
	app := &Client{
		Row: Row{ID: NewID("", 32)}, Name: "Default App", AppType: "regular_web", IsFirstParty: true,
		TokenEndpointAuthMethod: "client_secret_post", GrantTypes: []string{"authorization_code", "refresh_token"},
		JWT: DefaultJWTConfiguration(), RefreshToken: DefaultRefreshToken(false),
	}
	explorer := newMachineClient(NewID("", 32), apiExplorer, "", "")
	for _, c := range []*Client{app, explorer} {
		c.Secret = NewID("", 64)
		var err error
		if c.SecretHash, err = HashSecret(ctx, c.Secret); err != nil {
			return nil, err
		}
	}
	id, err := json.Marshal(app.ID)
	if err != nil {
		return nil, err
	}
	own.Values["default_client_id"] = id
	stmts := []Stmt{Clients.Insert(ctx, app), ClientConnections.Insert(ctx, NewClientConnection(app.ID, connection.ID))}
	if wanted {
		stmts = append(stmts, Clients.Insert(ctx, explorer), ClientGrants.Insert(ctx, newManagementGrant(explorer.ID, TenantScopes)))
	}
	return stmts, nil
}

// newMachineClient is a client that acts for itself (client credentials).
func newMachineClient(id, name, secret, hash string) *Client {
	return &Client{
		Row: Row{ID: id}, Name: name, AppType: "non_interactive", IsFirstParty: true, Secret: secret, SecretHash: hash,
		TokenEndpointAuthMethod: "client_secret_post", GrantTypes: []string{"client_credentials"},
		JWT: DefaultJWTConfiguration(), RefreshToken: DefaultRefreshToken(false),
	}
}

// newManagementGrant lets a client use the management API with the scopes.
func newManagementGrant(clientID string, scopes []string) *ClientGrant {
	return &ClientGrant{
		Row: Row{ID: NewID("cgr_", 16)}, ClientID: clientID, Audience: ManagementAudience,
		Scope: scopes, OrganizationUsage: "deny", SubjectType: "client",
	}
}

// DefaultJWTConfiguration is a new client's (contract C2.15).
func DefaultJWTConfiguration() JWTConfiguration {
	return JWTConfiguration{LifetimeInSeconds: 36000, Alg: "RS256"}
}

// DefaultRefreshToken is a new client's: rotating for public clients
// (contract C2.15).
func DefaultRefreshToken(public bool) RefreshTokenOptions {
	o := RefreshTokenOptions{
		RotationType: "non-rotating", ExpirationType: "expiring",
		TokenLifetime: 2592000, IdleTokenLifetime: 1296000,
	}
	if public {
		o.RotationType = "rotating"
	}
	return o
}
