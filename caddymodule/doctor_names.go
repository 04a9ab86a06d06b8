package caddymodule

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// doctorPolicy says how certificates are had.
type doctorPolicy struct {
	Subjects []string `json:"subjects"`
	OnDemand bool     `json:"on_demand"`
	Issuers  []struct {
		Module     string `json:"module"`
		Challenges struct {
			DNS json.RawMessage `json:"dns"`
		} `json:"challenges"`
	} `json:"issuers"`
}

// wildcards reports whether the policy can have a wildcard certificate: public
// authorities give one for a challenge by DNS only (RFC 8555 section 8.4).
func (p doctorPolicy) wildcards() bool {
	if p.OnDemand {
		return true // one for each name, instead
	}
	for _, i := range p.Issuers {
		if i.Module != "acme" && i.Module != "zerossl" || len(i.Challenges.DNS) > 0 {
			return true
		}
	}
	return false
}

// checkWildcard: the names of tenants need a certificate each on demand, or one for
// all of them by DNS.
func checkWildcard(c *doctorConfig) []finding {
	g := c.Apps.Gatehouse
	if g == nil || len(c.Apps.TLS.Certificates) > 0 { // somebody's own
		return nil
	}
	name := "*." + strings.ToLower(strings.TrimSuffix(g.BaseDomain, "."))
	if strings.Contains(name, "{") || isLoopback(strings.TrimPrefix(name, "*.")) {
		return nil
	}
	if !slices.ContainsFunc(c.ours(), func(s *doctorServer) bool { return c.tls(s) && s.serves(name) }) {
		return nil
	}
	var policy doctorPolicy
	for _, p := range c.Apps.TLS.Automation.Policies {
		if slices.Contains(p.Subjects, name) {
			policy = p
			break
		}
		if len(p.Subjects) == 0 {
			policy = p
		}
	}
	if policy.wildcards() {
		return nil
	}
	return foundf("tls { dns <provider> <token> } at the site, or a certificate for each name: tls { on_demand }",
		"a certificate for %s is given for a challenge by DNS only, and no DNS provider is configured", name)
}

// What private networks may not be: wider than this, or where a machine's own
// services and a cloud's metadata are.
const (
	widestIPv4, widestIPv6 = 16, 48
)

var ownNetworks = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("fd00:ec2::/32"),
}

// checkPrivateNetworks: whoever administers a tenant can have the server ask any
// address in them.
func checkPrivateNetworks(c *doctorConfig) (list []finding) {
	if c.Apps.Gatehouse == nil {
		return nil
	}
	const remedy = "name the few machines that are to be told: private_networks 10.1.2.0/28"
	for _, text := range c.Apps.Gatehouse.PrivateNetworks {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			continue // the start says so
		}
		widest := widestIPv6
		if network.Addr().Is4() {
			widest = widestIPv4
		}
		switch {
		case slices.ContainsFunc(ownNetworks, network.Overlaps):
			list = append(list, finding{fmt.Sprintf("private_networks %s has tenants reach this machine's own services or its cloud's metadata", text), remedy})
		case network.Bits() < widest:
			list = append(list, finding{fmt.Sprintf("private_networks %s has tenants reach much more than a few receivers", text), remedy})
		}
	}
	return list
}

// checkSecretFiles looks at the files that placeholders of secrets name, where
// they are on this machine.
func checkSecretFiles(c *doctorConfig) (list []finding) {
	for _, s := range c.secrets() {
		path, begins := strings.CutPrefix(s.value, "{file.")
		path, ends := strings.CutSuffix(path, "}")
		if !begins || !ends || !filepath.IsAbs(path) {
			continue
		}
		info, err := os.Stat(path)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			list = append(list, foundf("chmod go= "+path, "%s, which %s is in, can be read by other users (mode %04o)", path, s.word, info.Mode().Perm())...)
		} else if err != nil && !os.IsNotExist(err) {
			if pathError, ok := err.(*fs.PathError); ok {
				err = pathError.Err
			}
			list = append(list, foundf("make it readable for the server's user", "%s, which %s is in, cannot be looked at: %v", path, s.word, err)...)
		}
	}
	return list
}

// namedSecret is a secret as the configuration has it.
type namedSecret struct{ word, value string }

// secrets are those of the global option.
func (c *doctorConfig) secrets() (list []namedSecret) {
	g := c.Apps.Gatehouse
	if g == nil {
		return nil
	}
	for _, s := range g.Secret {
		list = append(list, namedSecret{"secret", s})
	}
	if g.Admin != nil {
		list = append(list, namedSecret{"the password of admin", g.Admin.Password})
	}
	if g.Client != nil {
		list = append(list, namedSecret{"the secret of client", g.Client.Secret})
	}
	return list
}
