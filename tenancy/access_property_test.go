package tenancy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// anyone draws a credential, a host and a header from small pools, so that the
// interesting meetings are frequent.
func anyone(r *rand.Rand, w accessWorld) AccessRequest {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	c := &Credential{
		TenantID: pick("control_plane", "control_plane", "acme", "widgets", "ghost", ""),
		Subject:  pick("auth0|ann", "auth0|bob"), User: r.IntN(2) == 0,
	}
	if r.IntN(2) == 0 {
		c.OrgID = pick("org_acme", "org_widgets", "org_cp", "org_former_acme", "org_partners", "")
		c.OrgName = pick("acme", "widgets", "control_plane", "partners", "ghost", "")
		if x := w[c.OrgName]; r.IntN(3) > 0 && x.ID != "" {
			c.OrgID = x.OrganizationID
		}
	}
	for _, scope := range []string{"read:users", "admin:organizations", "read:tenants"} {
		if r.IntN(2) == 0 {
			c.Permissions = append(c.Permissions, scope)
		} else if r.IntN(3) == 0 {
			c.Scopes = append(c.Scopes, scope)
		}
	}
	if r.IntN(20) == 0 {
		c = nil
	}
	req := w.request(c, pick("control_plane", "control_plane", "acme", "widgets", "ghost"))
	for range max(0, r.IntN(5)-2) {
		req.Header = append(req.Header, pick("acme", "Widgets", "widgets", "control_plane", "ghost", "org_acme", ""))
	}
	for range max(0, r.IntN(5)-3) {
		req.XHeader = append(req.XHeader, pick("acme", "ACME", "widgets", "control_plane", ""))
	}
	return req
}

// mayActOn states C2.62 to C2.65 anew, tenant by tenant, without order or error.
func mayActOn(x TenantRef, req AccessRequest, write bool) bool {
	c, atCP := req.Credential, req.Host.ID == "control_plane"
	if c == nil || req.Host.ID != x.ID && !atCP {
		return false
	}
	scopes := slices.Concat(c.Permissions, c.Scopes)
	sayNoOrg := c.OrgID == "" && c.OrgName == ""
	fitting := c.OrgID == x.OrganizationID && c.OrgName == x.ID
	admin := c.TenantID == "control_plane" && sayNoOrg && slices.Contains(scopes, "admin:organizations")
	var right bool
	switch {
	case x.ID == "control_plane":
		right = c.TenantID == "control_plane" && (sayNoOrg || fitting)
	case c.TenantID == "control_plane":
		right = fitting || admin
	default:
		right = c.TenantID == x.ID && req.Host.ID == x.ID && sayNoOrg
	}
	headers := slices.Concat(req.Header, req.XHeader)
	named := len(req.Header) < 2 && len(req.XHeader) < 2 &&
		!slices.ContainsFunc(headers, func(v string) bool { return strings.ToLower(v) != x.ID })
	if len(headers) == 0 && atCP && x.ID != "control_plane" {
		named = fitting // without header nothing but the organization leads from the control plane to a child
	}
	serves := x.State == StateActive || x.State == StateSuspended && admin && !write
	return right && named && serves && slices.Contains(scopes, "read:users")
}

// TestAccessProperty compares the decision with mayActOn over random requests: it
// never leads to a tenant the caller has no right to, and never keeps him from the
// one he has.
func TestAccessProperty(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(2, 64))
	states := []State{StateActive, StateActive, StateSuspended, StateProvisioning, StateFailed, StateDeleting}
	granted := 0
	for range 200_000 {
		w := newAccessWorld().with("acme", states[r.IntN(len(states))])
		req, write := anyone(r, w), r.IntN(2) == 0
		want := ""
		for id, x := range w {
			if mayActOn(x, req, write) {
				if want != "" {
					t.Fatalf("%+v may act on both %s and %s", req.Credential, want, id)
				}
				want = id
			}
		}
		got, err := Access(req, Route{AnyOf: []string{"read:users"}, Write: write})
		if got.ID != want || (err == nil) != (want != "") {
			t.Fatalf("%+v at %q, tenant-id %q, X-Tenant-ID %q, write %v: got %s, want %q",
				req.Credential, req.Host.ID, req.Header, req.XHeader, write, shown(got.ID, err), want)
		}
		if err == nil {
			granted++
		}
	}
	if granted < 1000 {
		t.Errorf("only %d of the requests were granted: the property says too little", granted)
	}
}

// TestAccessNoOracle: who has no right to an existing tenant gets, name apart, the
// answer for one that does not exist, at the price of the same questions (C1.16, C9.46).
func TestAccessNoOracle(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(9, 46))
	w, without := newAccessWorld(), newAccessWorld()
	delete(without, "widgets")
	refused := 0
	for range 50_000 {
		req := anyone(r, w)
		if c := req.Credential; req.Host.ID != "control_plane" || c == nil || c.PlatformAdmin("control_plane") || c.OrgID == "org_widgets" {
			continue
		}
		refused++
		req.Header, req.XHeader = []string{"widgets"}, nil
		other := req
		other.Lookup, other.LinkedTenant = without.request(nil, "").Lookup, without.request(nil, "").LinkedTenant
		for _, route := range []Route{{}, {AnyOf: []string{"read:users"}}, {ControlPlaneOnly: true}, {TeamRoute: true}} {
			if a, b := asked(req, route), asked(other, route); a != b {
				t.Fatalf("%+v: real %s, invented %s", req.Credential, a, b)
			}
		}
		req.Header, other.Header = nil, nil
		if !req.Credential.User && !req.Credential.hasOrg() {
			continue // such a machine has a right to every tenant
		}
		for _, route := range []Route{{}, {AnyOf: []string{"read:tenants"}}} {
			var questions [2]int
			var answers [2]string
			for i, ask := range []AccessRequest{req, other} {
				x, err := AccessTenant(ask, route, "widgets", func(string, string) (bool, error) { questions[i]++; return false, nil })
				answers[i] = shown(x.ID, err) + fmt.Sprint(AccessOperation(ask, route, "widgets", nil))
			}
			if answers[0] != answers[1] || questions[0] != questions[1] {
				t.Fatalf("%+v: real and invented answer %q after %d questions", req.Credential, answers, questions)
			}
		}
	}
	if refused < 1000 {
		t.Errorf("only %d requests were without right: the property says too little", refused)
	}
}
