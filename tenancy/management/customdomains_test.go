package management

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// zone is the DNS and the web of the tests: records by name, with the final dot.
type zone struct {
	mu  sync.Mutex
	txt map[string][]string
}

func (z *zone) set(name string, values ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.txt == nil {
		z.txt = map[string][]string{}
	}
	z.txt[name+"."] = values
}

func (z *zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if values := z.txt[name]; len(values) > 0 {
		return values, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, Server: "192.0.2.53:53", IsNotFound: true}
}

func (z *zone) LookupCNAME(_ context.Context, name string) (string, error) {
	return "", &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (z *zone) dial(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("nobody is there")
}

// domainAnswer is contract C5.88, as far as the tests look.
type domainAnswer struct {
	ID           string            `json:"custom_domain_id"`
	Domain       string            `json:"domain"`
	Primary      bool              `json:"primary"`
	Status       string            `json:"status"`
	Metadata     map[string]string `json:"domain_metadata"`
	Verification struct {
		Methods []map[string]string `json:"methods"`
		Status  string              `json:"status"`
		Error   string              `json:"error_msg"`
	} `json:"verification"`
}

func (k *kit) claim(tenant, domain string) (d domainAnswer) {
	k.Helper()
	a := k.do("POST", tenant+"."+cpHost, "/custom-domains", machine(tenant).token(), map[string]any{"domain": domain, "type": "auth0_managed_certs"})
	if a.Code != 201 {
		k.Fatalf("claiming %s for %s: %d %s", domain, tenant, a.Code, a.Body)
	}
	a.into(k.T, &d)
	return d
}

func (a answered) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body.Bytes(), v); err != nil {
		t.Fatalf("%v: %s", err, a.Body)
	}
}

// prove publishes the TXT record of a claim.
func (k *kit) prove(d domainAnswer) {
	k.dns.set(d.Verification.Methods[0]["domain"], d.Verification.Methods[0]["record"])
}

func (k *kit) verify(tenant, id string) (int, domainAnswer, string) {
	k.Helper()
	a := k.do("POST", tenant+"."+cpHost, "/custom-domains/"+id+"/verify", machine(tenant).token(), nil)
	var d domainAnswer
	if a.Code == 200 {
		a.into(k.T, &d)
	}
	return a.Code, d, a.Body.String()
}

// TestCustomDomains walks through the life of a domain (C5.87, C5.88) between two
// tenants that want the same name (C9.47).
func TestCustomDomains(t *testing.T) {
	k := newKit(t)
	mine, theirs := k.claim("acme", "Login.Example.NET."), k.claim("widgets", "login.example.net")
	if mine.Domain != "login.example.net" || mine.Status != "pending_verification" || mine.Verification.Status != "pending" || !strings.HasPrefix(mine.ID, "cd_") {
		t.Errorf("new claim: %+v", mine)
	}
	txt, http := mine.Verification.Methods[0], mine.Verification.Methods[2]
	if txt["name"] != "txt" || txt["domain"] != "_gatehouse.login.example.net" || !strings.HasPrefix(txt["record"], "gatehouse-verify=") {
		t.Errorf("method txt: %v", txt)
	}
	if token := strings.TrimPrefix(txt["record"], "gatehouse-verify="); http["http_body"] != token ||
		http["http_url"] != "http://login.example.net/.well-known/gatehouse-domain-verification/"+token {
		t.Errorf("method http: %v", http)
	}
	if mine.Verification.Methods[0]["record"] == theirs.Verification.Methods[0]["record"] {
		t.Error("two tenants have to publish the same")
	}
	if _, ok := k.directory.ByHost("login.example.net"); ok {
		t.Error("a pending claim routes (C5.88)")
	}
	// Nothing published, then what the other tenant has to publish.
	for _, published := range []string{"", theirs.Verification.Methods[0]["record"]} {
		k.dns.set("_gatehouse.login.example.net", published)
		code, d, body := k.verify("acme", mine.ID)
		if code != 200 || d.Status != "pending_verification" || d.Verification.Status != "failed" || d.Verification.Error == "" {
			t.Errorf("verified by %q: %d %s", published, code, body)
		}
		if strings.Contains(body, "192.0.2.53") {
			t.Errorf("the answer names our resolver: %s", body)
		}
	}
	k.prove(mine)
	if code, d, body := k.verify("acme", mine.ID); code != 200 || d.Status != "ready" || d.Verification.Status != "verified" {
		t.Fatalf("verifying: %d %s", code, body)
	}
	owner := func() string {
		if known, ok := k.directory.ByHost("login.example.net"); ok {
			return known.ID
		}
		return ""
	}
	if owner() != "acme" {
		t.Fatalf("the ready domain is of %q", owner())
	}
	// C9.47: the second gets 409, also with a proof, and nothing changes.
	k.prove(theirs)
	if code, _, body := k.verify("widgets", theirs.ID); code != 409 || !strings.Contains(body, "custom_domain_conflict") || owner() != "acme" {
		t.Errorf("second owner: %d %s; it is of %q", code, body, owner())
	}
	k.play(scenario{
		method: "POST", host: widgetsHost, path: "/custom-domains", token: machine("widgets"), status: 409, code: "custom_domain_conflict",
		body: map[string]any{"domain": "login.example.net", "type": "auth0_managed_certs"},
	})
	// Released, it is the other's who proves it.
	k.play(scenario{method: "DELETE", host: acmeHost, path: "/custom-domains/" + mine.ID, token: machine("acme"), status: 204})
	if owner() != "" {
		t.Errorf("the released domain is of %q", owner())
	}
	if code, _, body := k.verify("widgets", theirs.ID); code != 200 || owner() != "widgets" {
		t.Errorf("after the release: %d %s; it is of %q", code, body, owner())
	}
	var said []string
	for _, e := range k.events.of("gh_tenant") {
		if e.tenant == "control_plane" && strings.HasPrefix(e.Description, "tenant.domain.") {
			said = append(said, strings.TrimPrefix(e.Description, "tenant.domain."))
		}
	}
	if got, want := strings.Join(said, " "), "created created verified deleted verified"; got != want {
		t.Errorf("events %q, want %q (C8.15)", got, want)
	}
}

// TestPrimaryDomain: one domain is primary, its issuer goes first, and the one
// before stays an issuer (C1.11, C1.12).
func TestPrimaryDomain(t *testing.T) {
	k := newKit(t)
	for _, name := range []string{"one.example.net", "two.example.net"} {
		d := k.claim("acme", name)
		k.prove(d)
		k.verify("acme", d.ID)
	}
	hosts := func() string { return strings.Join(k.directory.HostsOf("acme"), " ") }
	if got, want := hosts(), "acme.auth.example.com one.example.net two.example.net"; got != want {
		t.Errorf("hosts %q, want %q", got, want)
	}
	primary := func(name string, value any) {
		k.Helper()
		var d domainAnswer
		k.play(scenario{
			method: "PATCH", host: acmeHost, path: "/custom-domains/" + name, token: machine("acme"), status: 200,
			body: map[string]any{"primary": value, "domain_metadata": map[string]any{"team": "web"}},
			check: func(t *testing.T, a answered) {
				a.into(t, &d)
				if d.Primary != (value == true) || d.Metadata["team"] != "web" {
					t.Errorf("answer %s", a.Body)
				}
			},
		})
	}
	primary("two.example.net", true)
	primary("one.example.net", true)
	if got, want := hosts(), "one.example.net acme.auth.example.com two.example.net"; got != want {
		t.Errorf("hosts %q, want %q", got, want)
	}
	k.play(scenario{
		host: cpHost, path: "/tenants/acme/domains", token: machine("control_plane"), status: 200,
		holds: `"host":"seeded.acme.test","primary":false,"status":"pending_verification"`,
	})
	primary("one.example.net", false)
	if got, want := hosts(), "acme.auth.example.com one.example.net two.example.net"; got != want {
		t.Errorf("hosts %q, want %q", got, want)
	}
	k.must(k.lifecycle.Delete(k.Context(), "acme"))
	if _, ok := k.directory.ByHost("one.example.net"); ok {
		t.Error("the domain of a deleted tenant routes")
	}
	d := k.claim("widgets", "one.example.net")
	k.prove(d)
	if code, _, body := k.verify("widgets", d.ID); code != 200 {
		t.Errorf("the domain of a deleted tenant is not released: %d %s", code, body)
	}
}

// TestCustomDomainRefused are the names and members that are none (C5.88).
func TestCustomDomainRefused(t *testing.T) {
	k := newKit(t)
	for _, name := range []string{
		"", "login", "auth.example.com", "acme.auth.example.com", "a.b.auth.example.com", "192.0.2.1", "[2001:db8::1]", "10.1", "0x7f.1", "a.0x7f000001",
		"com", "co.uk", "*.example.org", "a..b", "a_b.example.org", "login.example.org:443", "http://login.example.org", "login.example.org/x",
		"user@example.org", "münchen.example", strings.Repeat("a", 64) + ".example.org",
	} {
		k.play(scenario{
			name: "name " + name, method: "POST", host: acmeHost, path: "/custom-domains", token: machine("acme"), status: 400, code: "invalid_body",
			body: map[string]any{"domain": name, "type": "auth0_managed_certs"},
		})
	}
	for member, value := range map[string]any{
		"type": "other", "verification_method": "mail", "tls_policy": "old", "custom_client_ip_header": "x-forwarded-for", "status": "ready",
		"primary": "yes", "domain_metadata": map[string]any{"a": 1},
	} {
		body := map[string]any{"domain": "login.example.org", "type": "auth0_managed_certs"}
		body[member] = value
		k.play(scenario{name: "member " + member, method: "POST", host: acmeHost, path: "/custom-domains", token: machine("acme"), status: 400, code: "invalid_body", body: body})
	}
	for member, value := range map[string]any{"domain": "other.example.org", "status": "ready", "nobody": 1, "custom_client_ip_header": "x-real-ip", "primary": "yes"} {
		k.play(scenario{
			name: "change " + member, method: "PATCH", host: acmeHost, path: "/custom-domains/cd_acme", token: machine("acme"), status: 400, code: "invalid_body",
			body: map[string]any{member: value},
		})
	}
	for n := range 9 { // with the seeded one, ten
		k.claim("acme", fmt.Sprintf("n%d.example.org", n))
	}
	k.play(scenario{
		name: "C5.18", method: "POST", host: acmeHost, path: "/custom-domains", token: machine("acme"), status: 403, code: "quota_exceeded",
		body: map[string]any{"domain": "more.example.org", "type": "auth0_managed_certs"},
	})
	k.claim("widgets", "n0.example.org") // a quota is one tenant's
}
