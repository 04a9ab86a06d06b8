package management

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// tenants is the registry (contract 5.2). It is no resource of the five verbs:
// its rows are written by the life cycle, and who may see them is decided by
// membership. It shares members, answers and changes with the others.
var tenants = &Resource[tenancy.Tenant]{
	Path: "/tenants", Key: "tenants", Entity: "Tenant", ID: "id", Table: tenancy.Tenants,
	Members: members{
		"id":            readOnly(),
		"friendly_name": text(1, 100).must(),
		"audience":      text(1, 600).atOnce().that(plainLine),
		"metadata":      dict(25, 255),
		"inheritance":   value(),
		"sync":          value(),
		"quotas":        value(),
		"owner":         beside[tenancy.Owner](value()).atOnce(),
		"placement":     beside[placement](value()).atOnce(),

		"state": readOnly(), "provisioning_state": readOnly(), "provisioning_error": readOnly(),
		"organization_id": readOnly(), "schema_version": readOnly(), "issuer": readOnly(), "hosts": readOnly(), "applied_revision": readOnly(),
		"is_control_plane": readOnly(), "created_by": readOnly(), "created_at": readOnly(), "updated_at": readOnly(),
		"suspended_at": readOnly(), "suspended_reason": readOnly(),
	},
	New:   func() *tenancy.Tenant { return &tenancy.Tenant{} },
	View:  viewTenants,
	Order: "id", Sort: []string{"id", "created_at"},
}

// placement says where a new tenant's database is to be. It has no parameters
// so far.
type placement struct {
	Provider string         `json:"provider"`
	Params   map[string]any `json:"params"`
}

// tenantRoutes are those of the registry. They answer on the control plane only.
var tenantRoutes = []route{
	get("/tenants", listTenants).on(admitList),
	write(http.MethodPost, "/tenants", http.StatusCreated, createTenant, "create:tenants").on(admitNew).once().showing(createdTenant),
	get("/tenants/{id}", readTenant).on(admitOne("")),
	write(http.MethodPatch, "/tenants/{id}", http.StatusOK, changeTenant, "update:tenants").on(admitOne("")),
	write(http.MethodDelete, "/tenants/{id}", http.StatusNoContent, deleteTenant, "delete:tenants").on(admitOne("delete")),
	write(http.MethodPost, "/tenants/{id}/suspend", http.StatusOK, Handle(suspendTenant), "suspend:tenants").on(admitOne("suspend")),
	write(http.MethodPost, "/tenants/{id}/move", http.StatusAccepted, Handle(moveTenant), "move:tenants").on(admitOne("move")).once(),
	write(http.MethodPost, "/tenants/{id}/resume", http.StatusOK, Handle(resumeTenant), "suspend:tenants").on(admitOne("resume")),
}

// onControlPlane makes a route one of the control plane only, by the ordinary
// rules.
func onControlPlane(r route) route {
	r.access.ControlPlaneOnly = true
	return r
}

func admitList(c *Call) (tenancy.TenantRef, error) {
	var err error
	c.visible, err = tenancy.AccessTenants(c.request)
	return c.request.Host, err
}

func admitNew(c *Call) (tenancy.TenantRef, error) {
	selfService := false
	if c.request.Host.ControlPlane {
		s, err := tenancy.EffectiveSettings(c.host)
		if err != nil {
			return tenancy.TenantRef{}, err
		}
		selfService = s.Bool("flags.self_service_tenants")
	}
	return c.request.Host, tenancy.AccessNewTenant(c.request, selfService)
}

// admitOne lets in whoever has a right to the tenant in the path. spares is a
// verb that nobody can do to the control plane.
func admitOne(spares string) func(*Call) (tenancy.TenantRef, error) {
	return func(c *Call) (tenancy.TenantRef, error) {
		access := c.route.access
		access.Spares = spares
		_, err := tenancy.AccessTenant(c.request, access, c.param("id"), c.isMember)
		return c.request.Host, err
	}
}

// listTenants lists the tenants the caller may see: exact for any number of
// memberships, because the database selects them.
func listTenants(ctx context.Context, c *Call) (any, error) {
	l := listing[tenancy.Tenant]{
		table: tenancy.Tenants, key: "tenants", order: tenants.Order, sort: tenants.Sort, form: envelope,
		answers: func(ctx context.Context, rows []tenancy.Tenant) ([]object, error) { return tenants.views(ctx, c, rows) },
	}
	if !c.visible.All {
		l.filter.and(`organization_id <> '' AND organization_id IN (SELECT org_id FROM members
			WHERE tenant_id = tenants.tenant_id AND user_id = ?)`, c.visible.OnlySubject)
	}
	if state := c.query.Get("state"); state != "" {
		l.filter.and("state = ?", state)
	}
	if q := strings.ToLower(c.query.Get("q")); q != "" {
		prefix := escapeLike(q) + "%"
		l.filter.and(`id LIKE ? ESCAPE '\' OR LOWER(friendly_name) LIKE ? ESCAPE '\'`, prefix, prefix)
	}
	return l.answer(ctx, c)
}

func viewTenants(ctx context.Context, c *Call, rows []tenancy.Tenant, answers []object) error {
	synced, err := byID(ctx, tenancy.SyncTargets, idsOf(rows))
	if err != nil {
		return err
	}
	for i := range rows {
		t, o := &rows[i], &answers[i]
		provisioning := map[tenancy.State]string{tenancy.StateProvisioning: "pending", tenancy.StateFailed: "failed"}[t.State]
		if provisioning == "" {
			provisioning = "ready"
		}
		o.set("provisioning_state", provisioning)
		if t.ProvisioningError != "" && !c.credential.PlatformAdmin(c.request.ControlPlane) {
			// The reason may name files and machines of the platform.
			step, _, _ := strings.Cut(t.ProvisioningError, ":")
			o.set("provisioning_error", step)
		}
		o.set("is_control_plane", t.IsControlPlane())
		o.set("placement", map[string]string{"provider": t.Placement})
		hosts := []string{}
		for n, issuer := range c.api.config.Issuers(t) {
			if n == 0 {
				o.set("issuer", issuer)
			}
			if u, err := url.Parse(issuer); err == nil {
				hosts = append(hosts, u.Host)
			}
		}
		o.set("hosts", hosts)
		if s := synced[t.ID]; s != nil && s.Born == t.CreatedAt {
			o.set("applied_revision", s.Applied)
		}
	}
	return nil
}

// registered finds the tenant in the path, by the registry itself.
func (c *Call) registered(ctx context.Context) (*tenancy.Tenant, error) {
	t, err := tenancy.Tenants.Get(ctx, c.param("id"))
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, noTenant()
	}
	return t, err
}

func noTenant() error {
	return tenancy.Errorf(http.StatusNotFound, "tenant_not_found", "Tenant not found")
}

func readTenant(ctx context.Context, c *Call) (any, error) {
	t, err := c.registered(ctx)
	if err != nil {
		return nil, err
	}
	return tenants.one(ctx, c, t)
}
