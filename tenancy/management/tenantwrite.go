package management

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// patience is how long a caller waits for a tenant to be made or removed before
// it goes on behind the answer 202.
const patience = 10 * time.Second

// outcome is what became of work on a tenant.
type outcome struct {
	tenant *tenancy.Tenant
	err    error
}

// patiently does work that outlives the request, and reports whether it was done
// in time.
func patiently(ctx context.Context, work func(context.Context) (*tenancy.Tenant, error)) (outcome, bool) {
	done := make(chan outcome, 1)
	go func() {
		o := outcome{err: errPanic}
		defer func() {
			if p := recover(); p != nil {
				o.err = fmt.Errorf("panic: %v", p)
			}
			done <- o
		}()
		o.tenant, o.err = work(context.WithoutCancel(ctx))
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case o := <-done:
		return o, true
	case <-timer.C:
		return outcome{}, false
	}
}

func createTenant(ctx context.Context, c *Call) (any, error) {
	doc, err := c.object()
	if err != nil {
		return nil, err
	}
	wish, err := c.wish(doc)
	if err != nil {
		return nil, err
	}
	o, inTime := patiently(ctx, func(ctx context.Context) (*tenancy.Tenant, error) {
		return c.api.config.Lifecycle.Create(ctx, *wish)
	})
	if o.err != nil {
		return nil, o.err
	}
	c.locate(ctx, wish.ID)
	if !inTime {
		if o.tenant, err = tenancy.Tenants.Get(ctx, wish.ID); err != nil {
			return nil, err
		}
	}
	if !inTime || o.tenant.State == tenancy.StateProvisioning {
		c.status = http.StatusAccepted
	}
	if err := c.revision(ctx); err != nil {
		return nil, err
	}
	return tenants.one(ctx, c, o.tenant)
}

// createdTenant answers a creation whose tenant was made for an earlier request
// with the same key, as that one would have been, or goes on making it.
func createdTenant(ctx context.Context, c *Call, op *tenancy.Operation) (any, error) {
	t, err := tenancy.Tenants.Get(ctx, op.Subject)
	switch {
	case errors.Is(err, tenancy.ErrNotFound), err == nil && t.CreatedAt > op.CreatedAt:
		return nil, tenancy.Errorf(http.StatusConflict, "idempotency_conflict", "The tenant that this request made is gone")
	case err != nil:
		return nil, err
	case t.State != tenancy.StateActive && t.State != tenancy.StateSuspended:
		c.made = op.Subject
		return c.run(ctx)
	}
	c.location(op)
	if err := c.revision(ctx); err != nil {
		return nil, err
	}
	return tenants.one(ctx, c, t)
}

// wish reads the body of a creation: the tenant's own members, and settings it
// begins with (contract 5.2).
func (c *Call) wish(doc document) (*tenancy.NewTenant, error) {
	var own document
	settings := map[string]json.RawMessage{}
	wish := &tenancy.NewTenant{
		CreatedBy: c.credential.Subject, CreatorIsUser: c.credential.User,
		CreatorIsPlatformAdmin: c.credential.PlatformAdmin(c.request.ControlPlane),
	}
	for _, p := range doc {
		m, known := tenants.Members[p.name]
		switch {
		case p.name == "id" && !isNull(p.value):
			if err := decode(p.value, reflect.ValueOf(&wish.ID).Elem(), "id"); err != nil {
				return nil, err
			}
			if wish.ID == "" {
				return nil, invalid("id", "String is too short (0 chars), minimum 1")
			}
		case p.name == "id":
		case known && !m.fixed && p.name != "quotas": // those are set afterwards, by the platform
			own = append(own, p)
		case known:
			return nil, unknownMember(p.name)
		default:
			settings[p.name] = p.value
		}
	}
	var err error
	if wish.Settings, err = tenancy.CheckSettings(settings); err != nil {
		return nil, err
	}
	var row tenancy.Tenant
	if err := tenants.fill(c, &row, own); err != nil {
		return nil, err
	}
	if err := row.Inheritance.Validate(); err != nil {
		return nil, err
	}
	wish.FriendlyName, wish.Audience, wish.Metadata = row.FriendlyName, row.Audience, row.Metadata
	wish.Inheritance, wish.Sync = row.Inheritance, row.Sync
	if owner, ok := extra[tenancy.Owner](c, "owner"); ok {
		if (owner.UserID == "") == (owner.Email == "") {
			return nil, invalid("owner", "Either user_id or email is required")
		}
		if owner.Email != "" && (len(owner.Email) > 254 || !emailForm.MatchString(owner.Email)) {
			return nil, invalid("owner.email", "Object didn't pass validation for format email: %s", owner.Email)
		}
		wish.Owner = &owner
	}
	if p, ok := extra[placement](c, "placement"); ok {
		if len(p.Params) > 0 {
			return nil, unknownMember("placement.params")
		}
		if !c.credential.Has("create:tenants") { // a person who helps themselves takes the default
			return nil, tenancy.Errorf(http.StatusForbidden, "insufficient_scope", "Insufficient scope, expected any of: create:tenants")
		}
		wish.Placement = p.Provider
	}
	if wish.ID == "" {
		wish.ID = cmp.Or(c.made, tenancy.NewTenantID())
	}
	if v := c.api.config.ValidTenantID; v != nil {
		if err := v(wish.ID); err != nil {
			return nil, err
		}
	}
	return wish, nil
}

func changeTenant(ctx context.Context, c *Call) (any, error) {
	doc, err := c.object()
	if err != nil {
		return nil, err
	}
	admin := c.credential.PlatformAdmin(c.request.ControlPlane)
	t, err := c.api.config.Lifecycle.Update(ctx, c.param("id"), func(t *tenancy.Tenant) error {
		if match := c.r.Header.Values("If-Match"); len(match) > 0 && !matches(match, etag(&t.Row)) {
			return tenancy.Errorf(http.StatusPreconditionFailed, "precondition_failed", "The tenant was changed since it was read")
		}
		before := *t
		if err := tenants.change(ctx, c, t, doc); err != nil {
			return err
		}
		if !admin && (!reflect.DeepEqual(before.Inheritance, t.Inheritance) || !reflect.DeepEqual(before.Sync, t.Sync) || !maps.Equal(before.Quotas, t.Quotas)) {
			return tenancy.Errorf(http.StatusForbidden, "insufficient_scope", "Insufficient scope, expected any of: %s", tenancy.ScopePlatformAdmin)
		}
		if err := errors.Join(t.Inheritance.Validate(), tenancy.CheckQuotas(t.Quotas)); err != nil {
			return err
		}
		if same(reflect.ValueOf(&before).Elem(), reflect.ValueOf(t).Elem()) {
			return tenancy.ErrUnchanged
		}
		return nil
	})
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, noTenant()
	}
	if err != nil {
		return nil, err
	}
	if err := c.revision(ctx); err != nil {
		return nil, err
	}
	return tenants.one(ctx, c, t)
}

func deleteTenant(ctx context.Context, c *Call) (any, error) {
	id := c.param("id")
	if _, err := c.registered(ctx); err != nil {
		return nil, err
	}
	o, inTime := patiently(tenancy.WithActor(ctx, c.credential.Subject), func(ctx context.Context) (*tenancy.Tenant, error) {
		return nil, c.api.config.Lifecycle.Delete(ctx, id)
	})
	switch {
	case errors.Is(o.err, tenancy.ErrNotFound):
		return nil, noTenant()
	case o.err != nil:
		return nil, o.err
	case !inTime:
		c.status = http.StatusAccepted
	}
	c.locate(ctx, id)
	return none{}, nil
}

// suspension is the body of a suspension.
type suspension struct {
	Reason string `json:"reason"`
}

// suspendTenant has a tenant refuse everybody (contract C5.25, C8.11).
func suspendTenant(ctx context.Context, c *Call, in *suspension) (any, error) {
	if utf8.RuneCountInString(in.Reason) > 255 {
		return nil, invalid("reason", "String is too long (%d chars), maximum 255", utf8.RuneCountInString(in.Reason))
	}
	t, err := c.api.config.Lifecycle.Suspend(ctx, c.param("id"), in.Reason)
	return c.turned(ctx, t, err)
}

// resumeTenant ends a suspension.
func resumeTenant(ctx context.Context, c *Call, _ *struct{}) (any, error) {
	t, err := c.api.config.Lifecycle.Reactivate(ctx, c.param("id"))
	return c.turned(ctx, t, err)
}

func (c *Call) turned(ctx context.Context, t *tenancy.Tenant, err error) (any, error) {
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, noTenant()
	}
	if err != nil {
		return nil, err
	}
	if err := c.revision(ctx); err != nil {
		return nil, err
	}
	return tenants.one(ctx, c, t)
}
