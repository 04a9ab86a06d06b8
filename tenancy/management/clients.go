package management

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// clients are the applications that ask for tokens (contract 5.7).
var clients = &Resource[tenancy.Client]{
	Path: "/clients", Quota: "clients", Key: "clients", Entity: "Client", ID: "client_id", Table: tenancy.Clients,
	Members: members{
		"client_id":                  readOnly(),
		"name":                       text(1, 255).must().that(noTags),
		"description":                text(0, 140),
		"client_secret":              beside[string](text(1, 255)),
		"app_type":                   text(0, 0).in("native", "spa", "regular_web", "non_interactive", "resource_server"),
		"logo_uri":                   text(0, 2048),
		"is_first_party":             flag(),
		"oidc_conformant":            kept[bool](flag()),
		"callbacks":                  texts(100).that(callbackURL),
		"allowed_origins":            texts(100).that(originURL),
		"web_origins":                texts(100).that(originURL),
		"allowed_logout_urls":        texts(100).that(logoutURL),
		"initiate_login_uri":         text(0, 2048).that(secureURL),
		"grant_types":                texts(50).distinct().that(grantType),
		"token_endpoint_auth_method": text(0, 0).in("none", "client_secret_post", "client_secret_basic", "private_key_jwt"),
		"jwt_configuration":          value(),
		"refresh_token":              value(),

		"organization_usage":                    text(0, 0).in("deny", "allow", "require"),
		"organization_require_behavior":         text(0, 0).in("no_prompt", "pre_login_prompt", "post_login_prompt"),
		"default_organization":                  value(),
		"oidc_logout":                           value(),
		"sso_disabled":                          flag(),
		"require_pushed_authorization_requests": flag(),
		"revoke_refresh_token_on_logout":        flag(),
		"client_metadata":                       dict(10, 255),

		"organization_discovery_methods": kept[[]string](texts(10).in("email", "organization_name")),
		"client_authentication_methods": never("Not supported; set token_endpoint_auth_method to private_key_jwt " +
			"and add the public keys with POST /clients/{client_id}/credentials"),
		"sso":                         kept[bool](flag()),
		"cross_origin_authentication": kept[bool](flag()),
		"cross_origin_loc":            kept[string](text(0, 2048)),
		"custom_login_page_on":        kept[bool](flag()),
		"custom_login_page":           kept[string](text(0, 1<<16)),
		"form_template":               kept[string](text(0, 1<<16)),
		"addons":                      kept[map[string]any](value()),
		"mobile":                      kept[map[string]any](value()),
		"native_social_login":         kept[map[string]any](value()),
		"encryption_key":              kept[map[string]any](value()),
		"signed_request_object":       kept[map[string]any](value()),
		"token_quota":                 kept[map[string]any](value()),
		"allowed_clients":             kept[[]string](texts(100)),
		"client_aliases":              kept[[]string](texts(100)),

		"is_system":    readOnly(),
		"signing_keys": readOnly(),
		"tenant":       readOnly(),
		"global":       readOnly(),
		"created_at":   readOnly(),
		"updated_at":   readOnly(),
	},
	New: func() *tenancy.Client {
		refresh := tenancy.DefaultRefreshToken(false)
		refresh.RotationType = "" // by the kind of client, see clientDefaults
		return &tenancy.Client{
			Row: tenancy.Row{ID: tenancy.NewID("", 32)}, AppType: "regular_web", IsFirstParty: true,
			JWT: tenancy.DefaultJWTConfiguration(), RefreshToken: refresh,
			Other: map[string]json.RawMessage{"oidc_conformant": json.RawMessage("true")},
		}
	},
	Defaults: clientDefaults,
	Validate: validateClient,
	Also:     alsoClient,
	View:     viewClients,
	List:     listClients,
	Sort:     []string{"name", "created_at"},
}

func noTags(s string) string {
	if strings.ContainsAny(s, "<>") {
		return "String does not match pattern: ^[^<>]+$"
	}
	return ""
}

// grantType refuses words that are no grant type of anybody.
func grantType(s string) string {
	known := []string{"authorization_code", "refresh_token", "client_credentials", "implicit", "password"}
	if slices.Contains(known, s) || strings.HasPrefix(s, "urn:") || strings.HasPrefix(s, "http://auth0.com/oauth/grant-type/") {
		return ""
	}
	return "No enum match for: " + s
}

// clientDefaults fills in what depends on the kind of client (contract C5.64).
func clientDefaults(row *tenancy.Client, given func(string) bool) {
	public := row.AppType == "spa" || row.AppType == "native"
	if !given("token_endpoint_auth_method") {
		row.TokenEndpointAuthMethod = "client_secret_post"
		if public {
			row.TokenEndpointAuthMethod = "none"
		}
	}
	if !given("grant_types") {
		switch row.AppType {
		case "non_interactive":
			row.GrantTypes = []string{"client_credentials"}
		case "resource_server":
			row.GrantTypes = []string{}
		default:
			row.GrantTypes = []string{"authorization_code", "refresh_token"}
		}
	}
	row.RefreshToken.RotationType = cmp.Or(row.RefreshToken.RotationType,
		tenancy.DefaultRefreshToken(row.IsPublic()).RotationType)
}

func validateClient(ctx context.Context, c *Call, before, row *tenancy.Client) error {
	if err := checkClient(row); err != nil {
		return err
	}
	if !row.IsFirstParty {
		if row.OrganizationUsage != "" || row.OrganizationRequireBehavior != "" {
			return tenancy.Errorf(http.StatusForbidden, "invalid_body", "Organizations are only available to first party clients on user-based flows.")
		}
		for path, list := range map[string][]string{"callbacks": row.Callbacks, "web_origins": row.WebOrigins, "allowed_origins": row.AllowedOrigins} {
			if i := slices.IndexFunc(list, func(u string) bool { return strings.Contains(u, "*") }); i >= 0 {
				return invalid(path, "Third-party clients cannot have wildcards: %s", list[i])
			}
		}
	}
	if d := row.DefaultOrganization; newDefault(before, row) {
		_, err := tenancy.Organizations.Get(ctx, d.OrganizationID)
		if errors.Is(err, tenancy.ErrNotFound) {
			return inexistent("organization", "Organization '%s' not found", d.OrganizationID)
		}
		if err != nil {
			return err
		}
	}
	return clientSecret(ctx, c, before, row)
}

func checkClient(row *tenancy.Client) error {
	refresh := row.RefreshToken
	for _, limit := range []struct {
		path     string
		value    int
		min, max int
	}{
		{"jwt_configuration.lifetime_in_seconds", row.JWT.LifetimeInSeconds, 1, 2592000},
		{"refresh_token.leeway", refresh.Leeway, 0, 600},
		{"refresh_token.token_lifetime", refresh.TokenLifetime, 1, 157788000},
		{"refresh_token.idle_token_lifetime", refresh.IdleTokenLifetime, 1, 157788000},
	} {
		if err := number(limit.min, limit.max).accept(valueOf(limit.value), limit.path); err != nil {
			return err
		}
	}
	for _, choice := range []struct {
		path, value string
		enum        []string
	}{
		{"jwt_configuration.alg", row.JWT.Alg, []string{"RS256", "ES256", "EdDSA"}},
		{"refresh_token.rotation_type", refresh.RotationType, []string{"rotating", "non-rotating"}},
		{"refresh_token.expiration_type", refresh.ExpirationType, []string{"expiring", "non-expiring"}},
	} {
		if err := text(0, 0).in(choice.enum...).accept(valueOf(choice.value), choice.path); err != nil {
			return err
		}
	}
	if err := checkLogout(row.Logout); err != nil {
		return err
	}
	if d := row.DefaultOrganization; d != nil {
		if err := texts(1).in("client_credentials").accept(valueOf(d.Flows), "default_organization.flows"); err != nil {
			return err
		}
	}
	if row.IsPublic() && slices.Contains(row.GrantTypes, "client_credentials") {
		return invalid("token_endpoint_auth_method", "none cannot be used with the grant type client_credentials")
	}
	return nil
}

// checkLogout checks where and of what a client wants to hear (contract C3.37).
func checkLogout(o *tenancy.LogoutOptions) error {
	if o == nil {
		return nil
	}
	if err := texts(5).distinct().that(logoutReceiver).accept(valueOf(o.BackchannelURLs), "oidc_logout.backchannel_logout_urls"); err != nil {
		return err
	}
	i := o.Initiators
	if i == nil {
		return nil
	}
	if err := text(0, 0).in("", "all", "custom").accept(valueOf(i.Mode), "oidc_logout.backchannel_logout_initiators.mode"); err != nil {
		return err
	}
	return texts(20).in(
		string(tenancy.LogoutByClient), "idp-logout", string(tenancy.PasswordChanged), "session-expired", string(tenancy.SessionRevoked),
		string(tenancy.AccountDeleted), string(tenancy.EmailChanged), "mfa-phone-unenrolled", string(tenancy.AccountDeactivated),
	).accept(valueOf(i.Selected), "oidc_logout.backchannel_logout_initiators.selected_initiators")
}

// logoutReceiver is where a logout token may be sent: never empty, because it is
// one of a list.
func logoutReceiver(s string) string {
	if s == "" {
		return "Object didn't pass validation for format absolute-https-uri-or-empty: " + s
	}
	return secureURL(s)
}

// clientSecret sees to the secret: a confidential client has one, a public one
// none. One given in a change needs the right to change secrets.
func clientSecret(ctx context.Context, c *Call, before, row *tenancy.Client) error {
	given, ok := extra[string](c, "client_secret")
	if ok && (before == nil || given != before.Secret) {
		if err := text(32, 255).accept(valueOf(given), "client_secret"); err != nil {
			return err
		}
	}
	usesSecret := strings.HasPrefix(row.TokenEndpointAuthMethod, "client_secret")
	switch {
	case ok && before != nil && given != before.Secret:
		if err := c.needs("update:client_keys"); err != nil {
			return err
		}
		row.Secret = given
	case ok:
		row.Secret = given
	case row.Secret == "" && usesSecret:
		row.Secret = tenancy.NewID("", 64)
	}
	if row.IsPublic() {
		row.Secret, row.SecretHash, row.PreviousSecretHash, row.PreviousSecret, row.PreviousUntil = "", "", "", "", 0
		return nil
	}
	if before != nil && row.Secret == before.Secret {
		return nil
	}
	var err error
	row.PreviousSecretHash, row.PreviousSecret, row.PreviousUntil = "", "", 0
	row.SecretHash, err = tenancy.HashSecret(ctx, row.Secret)
	return err
}

func alsoClient(ctx context.Context, c *Call, before, row *tenancy.Client) ([]tenancy.Stmt, error) {
	switch {
	case row == nil:
		client, unchanged, err := ownSetting(ctx, "default_client_id")
		if err != nil {
			return nil, err
		}
		if client == before.ID {
			return nil, conflict("Client", "Client is set as the tenant's default_client_id; clear it before deleting")
		}
		return append(tenancy.RemoveClient(ctx, before.ID), unchanged), nil
	}
	var guards []tenancy.Stmt
	if newDefault(before, row) {
		guards = append(guards, exists(ctx, tenancy.Organizations, row.DefaultOrganization.OrganizationID))
	}
	if before != nil && before.IsFirstParty && !row.IsFirstParty {
		open := "client_id = ? AND allow_any_organization = ?"
		n, err := tenancy.ClientGrants.Count(ctx, tenancy.Filter{Where: open, Args: []any{row.ID, true}})
		if err != nil {
			return nil, err
		}
		if n > 0 {
			return nil, invalid("is_first_party", "A grant of the client has allow_any_organization, which third-party clients cannot have")
		}
		guards = append(guards, tenancy.Require(ctx, "NOT EXISTS (SELECT 1 FROM client_grants WHERE tenant_id = @tenant AND "+open+")", row.ID, true))
	}
	return guards, nil
}

// newDefault reports whether the client names another default organization than
// before.
func newDefault(before, row *tenancy.Client) bool {
	return row.DefaultOrganization != nil && (before == nil || before.DefaultOrganization == nil ||
		before.DefaultOrganization.OrganizationID != row.DefaultOrganization.OrganizationID)
}

func viewClients(_ context.Context, c *Call, rows []tenancy.Client, answers []object) error {
	// Whoever made a secret just now sees it; else it takes the right to.
	shown := c.route.method == http.MethodPost || c.credential.Has("read:client_keys")
	for i := range rows {
		o := &answers[i]
		if shown && rows[i].Secret != "" {
			o.set("client_secret", rows[i].Secret)
		}
		o.set("tenant", c.tenant.ID)
		o.set("global", false)
	}
	return nil
}

func listClients(_ context.Context, c *Call, f *filter) error {
	global, _, err := flagOf(c.query, "is_global")
	if err != nil {
		return err
	}
	if global {
		f.and("1 = 0") // there are no global clients
	}
	firstParty, given, err := flagOf(c.query, "is_first_party")
	if err != nil {
		return err
	}
	if given {
		f.and("is_first_party = ?", firstParty)
	}
	if types := c.query.Get("app_type"); types != "" {
		f.and("app_type IN ?", strings.Split(types, ","))
	}
	if q := c.query.Get("q"); q != "" {
		f.and(`id = ? OR LOWER(name) LIKE ? ESCAPE '\'`, q, "%"+escapeLike(strings.ToLower(q))+"%")
	}
	return nil
}
