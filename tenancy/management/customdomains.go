package management

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// domainRoutes are those on the tenant's own custom domains (contract C5.87,
// C5.88), and the list of its hosts for the control plane (C5.32). Domains are
// rows of the control plane, so these routes ask another than the tenant's
// database, always with the id of the tenant that was entered.
var domainRoutes = []route{
	get("/custom-domains", domainsDo(listDomains), "read:custom_domains"),
	write(http.MethodPost, "/custom-domains", http.StatusCreated, domainsDo(Handle(createDomain)), "create:custom_domains"),
	get("/custom-domains/{id}", domainsDo(readDomain), "read:custom_domains"),
	write(http.MethodPatch, "/custom-domains/{id}", http.StatusOK, domainsDo(updateDomain), "update:custom_domains"),
	write(http.MethodDelete, "/custom-domains/{id}", http.StatusNoContent, domainsDo(deleteDomain), "delete:custom_domains"),
	write(http.MethodPost, "/custom-domains/{id}/verify", http.StatusOK, domainsDo(Handle(verifyDomain)), "create:custom_domains"),
	get("/tenants/{id}/domains", domainsDo(listHosts), "read:tenants").on(admitOne("")),
}

// domainsDo answers 501 where there is nobody who keeps domains.
func domainsDo(h handler) handler {
	return func(ctx context.Context, c *Call) (any, error) {
		if c.api.config.Domains == nil {
			return nil, tenancy.Errorf(http.StatusNotImplemented, "not_supported", "Custom domains are not available")
		}
		return h(ctx, c)
	}
}

// domainView is contract C5.88.
func (c *Call) domainView(d *tenancy.CustomDomain) *object {
	o := object{members: []property{{"custom_domain_id", encode(d.ID)}}}
	o.members = append(o.members, render(d).members...)
	var methods []map[string]string
	for _, p := range c.api.config.Domains.Proofs(d) {
		if p.Method == "http" {
			methods = append(methods, map[string]string{"name": p.Method, "http_url": p.Name, "http_body": p.Value})
			continue
		}
		methods = append(methods, map[string]string{"name": p.Method, "record": p.Value, "domain": p.Name})
	}
	verification := map[string]any{"methods": methods, "status": "pending"}
	switch {
	case d.Status == tenancy.DomainReady && d.Problem == "":
		verification["status"] = "verified"
	case d.Problem != "":
		verification["status"], verification["error_msg"] = "failed", d.Problem
	}
	if d.VerifiedAt != 0 {
		verification["last_verified_at"] = d.VerifiedAt
	}
	o.set("verification", verification)
	o.set("tls_policy", "recommended")
	o.set("custom_client_ip_header", nil)
	return &o
}

func listDomains(ctx context.Context, c *Call) (any, error) {
	list, err := c.api.config.Domains.List(ctx, c.tenant.ID)
	if err != nil {
		return nil, err
	}
	answers := make([]*object, len(list))
	for i := range list {
		answers[i] = c.domainView(&list[i])
		c.shape(answers[i])
	}
	return answers, nil
}

// domain answers with one, or that there is none.
func (c *Call) domain(d *tenancy.CustomDomain, err error) (any, error) {
	if d, err = found(d, err)("Custom domain"); err != nil {
		return nil, err
	}
	o := c.domainView(d)
	c.w.Header().Set("ETag", etag(&d.Row))
	if !c.route.access.Write {
		c.shape(o)
	}
	return o, nil
}

func readDomain(ctx context.Context, c *Call) (any, error) {
	return c.domain(c.api.config.Domains.Get(ctx, c.tenant.ID, c.param("id")))
}

// domainBody is what may be said of a new domain.
type domainBody struct {
	Domain             *string            `json:"domain"`
	Type               *string            `json:"type"`
	VerificationMethod *string            `json:"verification_method"`
	Primary            bool               `json:"primary"`
	Metadata           *map[string]string `json:"metadata"`
	DomainMetadata     *map[string]string `json:"domain_metadata"`
	TLSPolicy          *string            `json:"tls_policy"`
	ClientIPHeader     *string            `json:"custom_client_ip_header"`
}

func createDomain(ctx context.Context, c *Call, in *domainBody) (any, error) {
	switch {
	case in.Domain == nil:
		return nil, invalid("", "Missing required property: domain")
	case in.Type == nil:
		return nil, invalid("", "Missing required property: type")
	}
	wish := tenancy.NewDomain{Domain: *in.Domain, Type: *in.Type, Primary: in.Primary}
	if in.VerificationMethod != nil {
		wish.Method = strings.ToLower(*in.VerificationMethod)
	}
	if in.DomainMetadata == nil {
		in.DomainMetadata = in.Metadata
	}
	if in.DomainMetadata != nil {
		wish.Metadata = *in.DomainMetadata
	}
	for _, m := range []struct {
		name  string
		given *string
		rule  member
	}{
		{"domain", in.Domain, text(1, 255)},
		{"type", in.Type, text(1, 0).in(tenancy.DomainTypes...)},
		{"verification_method", &wish.Method, text(0, 0).in("", "txt", "cname", "http")},
		{"tls_policy", in.TLSPolicy, tlsPolicy},
		{"custom_client_ip_header", in.ClientIPHeader, clientIPHeader},
	} {
		if m.given != nil {
			if err := m.rule.accept(valueOf(m.given), m.name); err != nil {
				return nil, err
			}
		}
	}
	if err := domainMetadata.accept(valueOf(wish.Metadata), "domain_metadata"); err != nil {
		return nil, err
	}
	return c.domain(c.api.config.Domains.Create(ctx, c.tenant.ID, wish))
}

// Rules of members that have one value only, or few.
var (
	tlsPolicy      = text(1, 0).in("recommended", "compatible") // TLS 1.2 is the least with either
	domainMetadata = dict(10, 255)
	clientIPHeader = text(0, 0).that(func(string) string {
		return "A header is believed only from trusted_proxies; leave it to these"
	})
)

// updateDomain changes the rank and the metadata. Of all other members only the
// value that the caller was shown passes (contract C5.8, C5.9).
func updateDomain(ctx context.Context, c *Call) (any, error) {
	// Existence goes before the body, as everywhere.
	if _, err := found(c.api.config.Domains.Get(ctx, c.tenant.ID, c.param("id")))("Custom domain"); err != nil {
		return nil, err
	}
	doc, err := c.object()
	if err != nil {
		return nil, err
	}
	return c.domain(c.api.config.Domains.Update(ctx, c.tenant.ID, c.param("id"), func(d *tenancy.CustomDomain) error {
		if match := c.r.Header.Values("If-Match"); len(match) > 0 && !matches(match, etag(&d.Row)) {
			return tenancy.Errorf(http.StatusPreconditionFailed, "precondition_failed", "The custom domain was changed since it was read")
		}
		shown := c.domainView(d)
		for _, p := range doc {
			if err := changeDomain(d, p, shown); err != nil {
				return err
			}
		}
		return nil
	}))
}

func changeDomain(d *tenancy.CustomDomain, p property, shown *object) error {
	switch p.name {
	case "primary":
		if isNull(p.value) {
			d.Primary = false
			return nil
		}
		return decode(p.value, valueOf(&d.Primary).Elem(), p.name)
	case "domain_metadata", "metadata":
		return changeMetadata(d, p.value)
	case "tls_policy":
		if isNull(p.value) {
			return nil
		}
		var policy string
		if err := decode(p.value, valueOf(&policy).Elem(), p.name); err != nil {
			return err
		}
		return tlsPolicy.accept(valueOf(policy), p.name)
	case "custom_client_ip_header":
		if isNull(p.value) {
			return nil
		}
		return clientIPHeader.accept(valueOf("given"), p.name)
	}
	switch was := shown.get(p.name); {
	case was == nil:
		return unknownMember(p.name)
	case !equalJSON(p.value, was):
		return invalid(p.name, "Read-only property cannot be changed")
	}
	return nil
}

func changeMetadata(d *tenancy.CustomDomain, raw json.RawMessage) error {
	if isNull(raw) {
		d.Metadata = nil
		return nil
	}
	merged := maps.Clone(d.Metadata)
	if merged == nil {
		merged = map[string]string{}
	}
	if err := domainMetadata.merge(raw, valueOf(&merged).Elem(), "domain_metadata"); err != nil {
		return err
	}
	d.Metadata = merged
	return domainMetadata.accept(valueOf(merged), "domain_metadata")
}

func deleteDomain(ctx context.Context, c *Call) (any, error) {
	d, err := found(c.api.config.Domains.Get(ctx, c.tenant.ID, c.param("id")))("Custom domain")
	if err != nil {
		return nil, err
	}
	if match := c.r.Header.Values("If-Match"); len(match) > 0 && !matches(match, etag(&d.Row)) {
		return nil, tenancy.Errorf(http.StatusPreconditionFailed, "precondition_failed", "The custom domain was changed since it was read")
	}
	_, err = found(d, c.api.config.Domains.Delete(ctx, c.tenant.ID, d.ID))("Custom domain")
	return none{}, err
}

func verifyDomain(ctx context.Context, c *Call, _ *struct{}) (any, error) {
	return c.domain(c.api.config.Domains.Verify(ctx, c.tenant.ID, c.param("id")))
}

// listHosts answers with a tenant's hosts, the one of its primary issuer first.
func listHosts(ctx context.Context, c *Call) (any, error) {
	t, err := c.registered(ctx)
	if err != nil {
		return nil, err
	}
	list, err := c.api.config.Domains.List(ctx, t.ID)
	if err != nil {
		return nil, err
	}
	ready := map[string]bool{}
	hosts := []object{}
	add := func(host string, status tenancy.DomainStatus) {
		var o object
		o.set("host", host)
		o.set("primary", len(hosts) == 0)
		o.set("status", status)
		hosts = append(hosts, o)
	}
	for _, issuer := range c.api.config.Issuers(t) { // one host may have several, by port
		if u, err := url.Parse(issuer); err == nil && !ready[u.Hostname()] {
			ready[u.Hostname()] = true
			add(u.Hostname(), tenancy.DomainReady)
		}
	}
	for i := range list {
		if d := &list[i]; !ready[d.Domain] {
			add(d.Domain, d.Status)
		}
	}
	return map[string]any{"domains": hosts}, nil
}
