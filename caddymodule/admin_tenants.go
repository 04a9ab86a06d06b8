package caddymodule

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	operations = append(operations,
		operation{"GET /gatehouse/tenants", listTenants},
		operation{"POST /gatehouse/tenants", createTenant},
		operation{"GET /gatehouse/tenants/{id}", showTenant},
		operation{"DELETE /gatehouse/tenants/{id}", deleteTenant},
		operation{"POST /gatehouse/tenants/{id}/suspend", suspendTenant},
		operation{"POST /gatehouse/tenants/{id}/resume", resumeTenant},
	)
}

// tenantView is a tenant as operators see it.
type tenantView struct {
	ID           string        `json:"id"`
	FriendlyName string        `json:"friendly_name"`
	State        tenancy.State `json:"state"`
	Placement    string        `json:"placement"`
	Database     string        `json:"database,omitempty"` // what the placement calls it, where that is not the id
	ControlPlane bool          `json:"is_control_plane,omitempty"`
	CreatedAt    tenancy.Time  `json:"created_at"`

	// These are shown of one tenant only.
	Issuers       []string           `json:"issuers,omitempty"`
	Organization  string             `json:"organization_id,omitempty"`
	Reason        string             `json:"reason,omitempty"` // why it is failed or suspended
	LastOperation *tenancy.Operation `json:"last_operation,omitempty"`

	LastOperationID string `json:"last_operation_id,omitempty"`
}

func viewTenant(t *tenancy.Tenant) tenantView {
	return tenantView{
		ID: t.ID, FriendlyName: t.FriendlyName, State: t.State, Placement: t.Placement, Database: t.Database,
		ControlPlane: t.IsControlPlane(), CreatedAt: t.CreatedAt,
	}
}

// page is a part of a list.
type page struct {
	Start  int `json:"start"`
	Limit  int `json:"limit"`
	Length int `json:"length"`
	Total  int `json:"total"`
}

// tenantList is an answer to [listTenants].
type tenantList struct {
	Tenants []tenantView `json:"tenants"`
	page
}

// listTenants lists the tenants of a state, a placement or whose id or name
// begins as q does, from memory.
func listTenants(_ context.Context, s *services, q *question) (any, error) {
	values := q.URL.Query()
	if err := onlyKnown(values, "state", "placement", "q", "page", "per_page"); err != nil {
		return nil, err
	}
	state, placement, begin := values.Get("state"), values.Get("placement"), strings.ToLower(values.Get("q"))
	if state != "" && !slices.Contains(states, tenancy.State(state)) {
		return nil, badQuery("there is no state %q", state)
	}
	start, limit, err := paging(values)
	if err != nil {
		return nil, err
	}
	list := tenantList{Tenants: []tenantView{}, page: page{Start: start, Limit: limit}}
	for id, t := range s.directory.All() {
		if state != "" && string(t.State) != state || placement != "" && t.Placement != placement ||
			!strings.HasPrefix(id, begin) && !strings.HasPrefix(strings.ToLower(t.FriendlyName), begin) {
			continue
		}
		if list.Total++; list.Total > start && list.Length < limit {
			list.Tenants = append(list.Tenants, viewTenant(t))
			list.Length++
		}
	}
	return list, nil
}

func showTenant(ctx context.Context, s *services, q *question) (any, error) {
	inside, leave, err := s.directory.EnterControlPlane(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	t, err := tenancy.Tenants.Get(inside, q.id())
	if err != nil {
		return nil, err
	}
	v := viewTenant(t)
	v.Issuers, v.Organization = s.issuersOf(t), t.OrganizationID
	if t.State == tenancy.StateSuspended {
		v.Reason = t.SuspendedReason
	} else {
		v.Reason = t.ProvisioningError
	}
	if last, err := tenancy.LastOperation(inside, t.ID); err == nil {
		v.LastOperation, v.LastOperationID = last, last.ID
	}
	return v, nil
}

// newTenant is what [createTenant] is asked for.
type newTenant struct {
	ID           string         `json:"id"`
	FriendlyName string         `json:"friendly_name"` // default: the id
	Placement    string         `json:"placement,omitempty"`
	Owner        *tenancy.Owner `json:"owner,omitempty"`
}

func createTenant(ctx context.Context, s *services, q *question) (any, error) {
	var wish newTenant
	if err := q.body(&wish); err != nil {
		return nil, err
	}
	if wish.FriendlyName == "" {
		wish.FriendlyName = wish.ID
	}
	if wish.Placement != "" {
		if names := s.pool.Placements(); !slices.Contains(names, wish.Placement) {
			return nil, &tenancy.Error{
				Status: http.StatusBadRequest, Code: "invalid_body", Message: "There is no placement '" + wish.Placement + "'",
				Hint: "there are: " + strings.Join(names, ", "),
			}
		}
	}
	t, err := s.lifecycle.Create(ctx, tenancy.NewTenant{
		ID: wish.ID, FriendlyName: wish.FriendlyName, Placement: wish.Placement, Owner: wish.Owner, CreatedBy: adminActor,
	})
	if err != nil {
		return nil, err
	}
	v := viewTenant(t)
	v.Issuers = s.issuersOf(t)
	return v, nil
}

func deleteTenant(ctx context.Context, s *services, q *question) (any, error) {
	if _, err := s.registered(q.id()); err != nil {
		return nil, err
	}
	return nil, s.lifecycle.Delete(ctx, q.id())
}

func suspendTenant(ctx context.Context, s *services, q *question) (any, error) {
	var why struct {
		Reason string `json:"reason"`
	}
	if err := q.body(&why); err != nil {
		return nil, err
	}
	return viewed(s.lifecycle.Suspend(ctx, q.id(), why.Reason))
}

func resumeTenant(ctx context.Context, s *services, q *question) (any, error) {
	return viewed(s.lifecycle.Reactivate(ctx, q.id()))
}

func viewed(t *tenancy.Tenant, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return viewTenant(t), nil
}

// onlyKnown refuses parameters that are none, or given twice.
func onlyKnown(values url.Values, names ...string) error {
	for name, list := range values {
		if !slices.Contains(names, name) {
			return badQuery("there is no parameter %q; there are %s", name, strings.Join(names, ", "))
		}
		if len(list) > 1 {
			return badQuery("%q is given twice", name)
		}
	}
	return nil
}

// paging reads which part of a list is asked for: page from 0, and how many are
// on one.
func paging(values url.Values) (start, limit int, err error) {
	number, limit := 0, 50
	for name, into := range map[string]*int{"page": &number, "per_page": &limit} {
		text := values.Get(name)
		if text == "" {
			continue
		}
		if *into, err = strconv.Atoi(text); err != nil || *into < 0 || *into > 1_000_000 {
			return 0, 0, badQuery("%s %q is no number from 0 to 1000000", name, text)
		}
	}
	if limit < 1 || limit > 1000 {
		return 0, 0, badQuery("per_page is from 1 to 1000")
	}
	return number * limit, limit, nil
}

func badQuery(format string, args ...any) error {
	return tenancy.Errorf(http.StatusBadRequest, "invalid_query_string", format, args...)
}
