package caddymodule

import (
	"context"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	operations = append(operations,
		operation{"GET /gatehouse/tenants/{id}/domains", listDomains},
		operation{"POST /gatehouse/tenants/{id}/domains", addDomain},
		operation{"POST /gatehouse/tenants/{id}/domains/{domain}/verify", verifyDomain},
		operation{"POST /gatehouse/tenants/{id}/domains/{domain}/primary", makePrimary},
		operation{"DELETE /gatehouse/tenants/{id}/domains/{domain}", removeDomain},
	)
}

// domainView is a custom domain as operators see it.
type domainView struct {
	ID         string               `json:"custom_domain_id"`
	Domain     string               `json:"domain"`
	Status     tenancy.DomainStatus `json:"status"`
	Primary    bool                 `json:"primary"`
	Type       string               `json:"type"`
	VerifiedAt tenancy.Time         `json:"last_verified_at"`
	Problem    string               `json:"error_msg,omitempty"`
	Proofs     []proofView          `json:"proofs"` // one of them verifies it
}

// proofView is something for the domain's owner to publish.
type proofView struct {
	Method string `json:"method"`
	Name   string `json:"name"`
	Value  string `json:"value"`
}

func (s *services) viewDomain(d *tenancy.CustomDomain) domainView {
	v := domainView{
		ID: d.ID, Domain: d.Domain, Status: d.Status, Primary: d.Primary, Type: d.Type, VerifiedAt: d.VerifiedAt, Problem: d.Problem,
	}
	for _, p := range s.domains.Proofs(d) {
		v.Proofs = append(v.Proofs, proofView(p))
	}
	return v
}

// domainList is an answer about the domains of a tenant.
type domainList struct {
	Domains []domainView `json:"domains"`
}

func listDomains(ctx context.Context, s *services, q *question) (any, error) {
	if _, err := s.registered(q.id()); err != nil {
		return nil, err
	}
	rows, err := s.domains.List(ctx, q.id())
	list := domainList{Domains: []domainView{}}
	for i := range rows {
		list.Domains = append(list.Domains, s.viewDomain(&rows[i]))
	}
	return list, err
}

// newDomain is what [addDomain] is asked for.
type newDomain struct {
	Domain  string `json:"domain"`
	Primary bool   `json:"primary,omitempty"`
}

func addDomain(ctx context.Context, s *services, q *question) (any, error) {
	var wish newDomain
	if err := q.body(&wish); err != nil {
		return nil, err
	}
	if _, err := s.registered(q.id()); err != nil {
		return nil, err
	}
	return s.shown(s.domains.Create(ctx, q.id(), tenancy.NewDomain{Domain: wish.Domain, Primary: wish.Primary}))
}

func verifyDomain(ctx context.Context, s *services, q *question) (any, error) {
	return s.shown(s.domains.Verify(ctx, q.id(), q.PathValue("domain")))
}

func makePrimary(ctx context.Context, s *services, q *question) (any, error) {
	return s.shown(s.domains.Update(ctx, q.id(), q.PathValue("domain"), func(d *tenancy.CustomDomain) error {
		d.Primary = true
		return nil
	}))
}

func removeDomain(ctx context.Context, s *services, q *question) (any, error) {
	_, err := s.shown(nil, s.domains.Delete(ctx, q.id(), q.PathValue("domain")))
	return nil, err
}

// shown is the answer about one domain.
func (s *services) shown(d *tenancy.CustomDomain, err error) (any, error) {
	if err != nil || d == nil {
		return nil, noDomain(err)
	}
	return s.viewDomain(d), nil
}

// noDomain says of a domain that a tenant does not have where to look.
func noDomain(err error) error {
	if tenancy.StatusOf(err) != 404 {
		return err
	}
	return &tenancy.Error{
		Status: 404, Code: "inexistent_custom_domain", Message: "The tenant has no such domain",
		Hint: "see which there are: " + commandLine("domains list TENANT"),
	}
}
