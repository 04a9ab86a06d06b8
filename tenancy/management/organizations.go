package management

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// organizations are groups of users that tokens are issued for (contract 5.4).
// On the control plane some are linked to a tenant.
var organizations = &Resource[tenancy.Organization]{
	Path: "/organizations", Quota: "organizations", Key: "organizations", Entity: "Organization", ID: "id", Table: tenancy.Organizations,
	Members: members{
		"id":                  readOnly(),
		"name":                text(1, 50).must(),
		"display_name":        text(1, 255),
		"branding":            value(),
		"metadata":            dict(25, 255),
		"token_quota":         value(),
		"enabled_connections": beside[[]orgConnection](member{max: 50}),
		"tenant_id":           readOnly(),
		"created_at":          readOnly(),
		"updated_at":          readOnly(),
	},
	New: func() *tenancy.Organization {
		return &tenancy.Organization{Row: tenancy.Row{ID: tenancy.NewID("org_", 16)}}
	},
	Find:     findOrganization,
	Validate: validateOrganization,
	Also:     alsoOrganization,
	View:     viewOrganizations,
	Order:    "name", Sort: []string{"name", "display_name", "created_at"},
	Taken: func(row *tenancy.Organization) error {
		return conflict("Organization", "An organization with the name '%s' already exists", row.Name)
	},
}

// organizationRoutes are those beside the five verbs.
var organizationRoutes = []route{
	get("/organizations/name/{name}", func(ctx context.Context, c *Call) (any, error) {
		row, err := found(tenancy.Organizations.First(ctx, "name = ?", strings.ToLower(c.param("name"))))("Organization")
		if err != nil {
			return nil, err
		}
		return organizations.one(ctx, c, row)
	}, "read:organizations"),
}

// findOrganization finds one by id or name, names in any case (contract C2.6).
func findOrganization(ctx context.Context, _ *Call, id string) (*tenancy.Organization, error) {
	if tenancy.IsOrganizationID(id) {
		return tenancy.Organizations.Get(ctx, id)
	}
	return tenancy.Organizations.First(ctx, "name = ?", strings.ToLower(id))
}

// linkedTenant returns the tenant an organization of the control plane is linked
// to, by the registry in the same database; nil is none.
func linkedTenant(ctx context.Context, c *Call, orgID string) (*tenancy.Tenant, error) {
	if !c.tenant.IsControlPlane() {
		return nil, nil
	}
	t, err := tenancy.Tenants.First(ctx, "organization_id = ?", orgID)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, nil
	}
	return t, err
}

// unlinked refuses to rename or remove a linked organization (contract C2.3).
func unlinked(ctx context.Context, c *Call, orgID string) error {
	t, err := linkedTenant(ctx, c, orgID)
	if err != nil || t == nil {
		return err
	}
	return tenancy.Errorf(http.StatusForbidden, "system_resource",
		"This organization is linked to tenant '%s' and cannot be modified", t.ID)
}

func validateOrganization(ctx context.Context, c *Call, before, row *tenancy.Organization) error {
	if before == nil || before.Name != row.Name {
		if row.Name != strings.ToLower(row.Name) || !tenancy.ValidOrganizationName(row.Name) {
			return tenancy.Errorf(http.StatusBadRequest, "invalid_body",
				"Organization name must be lowercase and can only contain letters, numbers, hyphens, and underscores")
		}
		if before != nil {
			if err := unlinked(ctx, c, row.ID); err != nil {
				return err
			}
		}
	}
	if before != nil && c.given("enabled_connections") {
		return unknownMember("enabled_connections")
	}
	return checkBranding(row)
}

// branding is the look of an organization's pages.
type branding struct {
	LogoURL string `json:"logo_url"`
	Colors  struct {
		Primary        string `json:"primary"`
		PageBackground string `json:"page_background"`
	} `json:"colors"`
}

func checkBranding(row *tenancy.Organization) error {
	if row.Branding != nil {
		var b branding
		if err := decode(row.Branding, reflect.ValueOf(&b).Elem(), "branding"); err != nil {
			return err
		}
		if why := secureURL(b.LogoURL); why != "" {
			return invalid("branding.logo_url", "%s", why)
		}
		for path, colour := range map[string]string{"primary": b.Colors.Primary, "page_background": b.Colors.PageBackground} {
			if !isColour(colour) {
				return invalid("branding.colors."+path, "String does not match pattern: ^#[0-9a-fA-F]{6}$")
			}
		}
	}
	if row.TokenQuota != nil {
		var quota map[string]any
		return decode(row.TokenQuota, reflect.ValueOf(&quota).Elem(), "token_quota")
	}
	return nil
}

// isColour reports whether s is a colour of the web, or none.
func isColour(s string) bool {
	hex, ok := strings.CutPrefix(s, "#")
	return s == "" || ok && (len(hex) == 3 || len(hex) == 6) && strings.Trim(hex, "0123456789abcdefABCDEF") == ""
}

func alsoOrganization(ctx context.Context, c *Call, before, row *tenancy.Organization) ([]tenancy.Stmt, error) {
	switch {
	case row == nil:
		if err := unlinked(ctx, c, before.ID); err != nil {
			return nil, err
		}
		return append(tenancy.RemoveOrganization(ctx, before.ID),
			tenancy.Require(ctx, "NOT EXISTS (SELECT 1 FROM tenants WHERE tenant_id = @tenant AND organization_id = ?)", before.ID)), nil
	case before != nil:
		return nil, nil
	}
	enabled, _ := extra[[]orgConnection](c, "enabled_connections")
	var stmts []tenancy.Stmt
	seen := map[string]bool{}
	for _, e := range enabled {
		if seen[e.ConnectionID] {
			return nil, invalid("enabled_connections", "Array items are not unique: %s", e.ConnectionID)
		}
		seen[e.ConnectionID] = true
		if err := mustExist(ctx, tenancy.Connections, "connection", []string{e.ConnectionID}); err != nil {
			return nil, err
		}
		stmts = append(stmts, exists(ctx, tenancy.Connections, e.ConnectionID),
			tenancy.OrganizationConnections.Insert(ctx, e.row(row.ID)))
	}
	return stmts, nil
}

func viewOrganizations(ctx context.Context, c *Call, rows []tenancy.Organization, answers []object) error {
	if !c.tenant.IsControlPlane() {
		return nil
	}
	tenants, err := tenancy.Tenants.Find(ctx, tenancy.Filter{Where: "organization_id IN ?", Args: []any{idsOf(rows)}})
	if err != nil {
		return err
	}
	of := map[string]string{}
	for _, t := range tenants {
		of[t.OrganizationID] = t.ID
	}
	for i := range rows {
		if id := of[rows[i].ID]; id != "" {
			answers[i].set("tenant_id", id)
		}
	}
	return nil
}
