package tenancy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Proof is something the owner of a domain publishes, by which a claim is
// verified: a record at Name with Value, or Value as the body at the address Name.
type Proof struct {
	Method string // "txt", "cname" or "http"
	Name   string
	Value  string
}

// ProofPath is where a domain's web server says the token that follows, as the
// body. This server says it on ready domains only, and only that of their owner:
// what it said of a claim would prove nothing but that the domain leads here, and
// domains still do so after their owner has left (contract C5.88).
const ProofPath = "/.well-known/gatehouse-domain-verification/"

// Proofs are all that verify a claim; one is enough.
func (h *Hosts) Proofs(d *CustomDomain) []Proof {
	return []Proof{
		{"txt", "_gatehouse." + d.Domain, "gatehouse-verify=" + d.Token},
		{"cname", "_gatehouse." + d.Domain, d.Token + ".verify." + h.BaseDomain},
		{"http", "http://" + d.Domain + ProofPath + d.Token, d.Token},
	}
}

// Resolver looks names up; [net.Resolver] is one. An error may be a
// [net.DNSError], which tells a name that has no such record.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupCNAME(ctx context.Context, name string) (string, error)
}

// Prover looks for proofs. The zero value is ready to use.
type Prover struct {
	Resolver Resolver // nil is the system's

	// Dial connects to a domain's web server; nil connects to public addresses
	// only, so that a claim is no way to ask what is behind this server.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// proveTimeout bounds one verification, all methods together.
const proveTimeout = 10 * time.Second

// Prove returns the method of the first proof that holds, the one of before
// first; or "" and what is wrong, for the domain's owner to read.
func (p Prover) Prove(ctx context.Context, h *Hosts, d *CustomDomain) (method, problem string) {
	ctx, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	proofs := h.Proofs(d)
	slices.SortStableFunc(proofs, func(a, b Proof) int {
		if (a.Method == d.Method) == (b.Method == d.Method) {
			return 0
		}
		if a.Method == d.Method {
			return -1
		}
		return 1
	})
	var problems []string
	for _, proof := range proofs {
		err := p.find(ctx, d, proof)
		if err == nil {
			return proof.Method, ""
		}
		problems = append(problems, err.Error())
	}
	return "", strings.Join(problems, "; ")
}

func (p Prover) find(ctx context.Context, d *CustomDomain, proof Proof) error {
	ctx, cancel := context.WithTimeout(ctx, proveTimeout/3)
	defer cancel()
	switch proof.Method {
	case "txt":
		return p.findTXT(ctx, proof)
	case "cname":
		return p.findCNAME(ctx, proof)
	}
	return p.findHTTP(ctx, d, proof)
}

func (p Prover) resolver() Resolver {
	if p.Resolver == nil {
		return net.DefaultResolver
	}
	return p.Resolver
}

func (p Prover) findTXT(ctx context.Context, proof Proof) error {
	// The dot at the end keeps search domains of this machine out.
	values, err := p.resolver().LookupTXT(ctx, proof.Name+".")
	if err != nil {
		return dnsProblem("TXT", proof.Name, err)
	}
	if !slices.Contains(values, proof.Value) {
		return fmt.Errorf("no TXT record of %s is the one asked for", proof.Name)
	}
	return nil
}

func (p Prover) findCNAME(ctx context.Context, proof Proof) error {
	target, err := p.resolver().LookupCNAME(ctx, proof.Name+".")
	if err != nil {
		return dnsProblem("CNAME", proof.Name, err)
	}
	if !strings.EqualFold(strings.TrimSuffix(target, "."), proof.Value) {
		return fmt.Errorf("the CNAME record of %s is not the one asked for", proof.Name)
	}
	return nil
}

// dnsProblem says what a lookup has found, without the resolver's address.
func dnsProblem(kind, name string, err error) error {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("%s has no %s record", name, kind)
	case errors.As(err, &dns) && dns.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the name servers of %s did not answer in time", name)
	}
	return fmt.Errorf("the %s record of %s could not be looked up", kind, name)
}

// errElsewhere is returned for a redirection to anything but the same path of the
// same host over https.
var errElsewhere = errors.New("it redirects elsewhere")

// findHTTP asks the domain's web server. What that says is never told: neither an
// error of the connection nor a body.
func (p Prover) findHTTP(ctx context.Context, d *CustomDomain, proof Proof) error {
	dial := p.Dial
	if dial == nil {
		dial = dialPublic
	}
	client := &http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 1 || !sameButSecure(r.URL, via[0].URL) {
				return errElsewhere
			}
			return nil
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, proof.Name, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "gatehouse-domain-verification")
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, errElsewhere):
		return fmt.Errorf("%s: %w", proof.Name, errElsewhere)
	case err != nil:
		return fmt.Errorf("the web server of %s could not be asked", d.Domain)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil || resp.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != proof.Value {
		return fmt.Errorf("%s does not answer 200 with the body asked for", proof.Name)
	}
	return nil
}

// sameButSecure reports whether a redirection does nothing but turn to https.
func sameButSecure(to, from *url.URL) bool {
	port := to.Port()
	return to.Scheme == "https" && (port == "" || port == "443") && strings.EqualFold(to.Hostname(), from.Hostname()) && to.Path == from.Path
}

// dialPublic connects to public addresses only. It judges the address that is
// connected to, not one that was looked up before.
func dialPublic(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: proveTimeout / 3, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !isPublic(at.Addr()) {
			return errors.New("not a public address")
		}
		return nil
	}}
	return d.DialContext(ctx, network, address)
}

// notPublic are the special blocks that netip has no word for (RFC 6890 and its
// registry), those that lead to IPv4 addresses in disguise among them.
var notPublic = func() (list []netip.Prefix) {
	for _, block := range strings.Fields(`0.0.0.0/8 100.64.0.0/10 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15
		198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16`) {
		list = append(list, netip.MustParsePrefix(block))
	}
	return list
}()

func isPublic(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() || a.Zone() != "" {
		return false
	}
	return !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
}
