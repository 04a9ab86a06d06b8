package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// doctorConfig is what the doctor looks at of a configuration in JSON.
type doctorConfig struct {
	Admin struct {
		Disabled bool   `json:"disabled"`
		Listen   string `json:"listen"`
	} `json:"admin"`
	Logging struct {
		Logs map[string]doctorLog `json:"logs"`
	} `json:"logging"`
	Apps struct {
		Gatehouse *struct {
			BaseDomain string   `json:"base_domain"`
			Secret     []string `json:"secret"`
			Admin      *Admin   `json:"admin"`
			Client     *Client  `json:"client"`

			PrivateNetworks []string `json:"private_networks"`
		} `json:"gatehouse"`
		HTTP struct {
			GracePeriod int64                    `json:"grace_period"`
			HTTPSPort   int                      `json:"https_port"`
			Servers     map[string]*doctorServer `json:"servers"`
		} `json:"http"`
		TLS struct {
			Automation struct {
				Policies []doctorPolicy `json:"policies"`
				OnDemand struct {
					Permission struct {
						Module string `json:"module"`
					} `json:"permission"`
				} `json:"on_demand"`
			} `json:"automation"`
			Certificates map[string]json.RawMessage `json:"certificates"`
		} `json:"tls"`
	} `json:"apps"`
}

type doctorServer struct {
	Listen    []string      `json:"listen"`
	Routes    []doctorRoute `json:"routes"`
	StrictSNI bool          `json:"strict_sni_host"`
	Early     *bool         `json:"allow_0rtt"`
	Protocols []string      `json:"protocols"`
	Policies  []struct{}    `json:"tls_connection_policies"`
	Logs      *struct{}     `json:"logs"`
	AutoHTTPS struct {
		Disable             bool `json:"disable"`
		DisableCertificates bool `json:"disable_certificates"`
	} `json:"automatic_https"`
}

type doctorRoute struct {
	Match  []map[string]json.RawMessage `json:"match"`
	Handle []struct {
		Handler string        `json:"handler"`
		Routes  []doctorRoute `json:"routes"`
	} `json:"handle"`
}

type doctorLog struct {
	Include []string `json:"include"`
	Exclude []string `json:"exclude"`
	Encoder struct {
		Format string `json:"format"`
		Fields map[string]struct {
			Filter  string `json:"filter"`
			Actions []struct {
				Parameter string `json:"parameter"`
			} `json:"actions"`
		} `json:"fields"`
	} `json:"encoder"`
}

// readDoctorConfig reads a configuration, whatever else is in it.
func readDoctorConfig(text []byte) (*doctorConfig, error) {
	c := new(doctorConfig)
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	return c, nil
}

// ours returns the servers that serve Gatehouse, by name in order.
func (c *doctorConfig) ours() (list []*doctorServer) {
	for _, name := range slices.Sorted(maps.Keys(c.Apps.HTTP.Servers)) {
		if s := c.Apps.HTTP.Servers[name]; s != nil && slices.ContainsFunc(s.Routes, doctorRoute.gatehouse) {
			list = append(list, s)
		}
	}
	return list
}

// gatehouse reports whether the handler is in the route.
func (r doctorRoute) gatehouse() bool {
	for _, h := range r.Handle {
		if h.Handler == "gatehouse" || slices.ContainsFunc(h.Routes, doctorRoute.gatehouse) {
			return true
		}
	}
	return false
}

// hosts are the names the route is for; nil means any. A route that looks at
// something else too is for the hosts it names.
func (r doctorRoute) hosts() (names []string) {
	for _, m := range r.Match {
		var list []string
		if json.Unmarshal(m["host"], &list) != nil {
			return nil
		}
		names = append(names, list...)
	}
	return names
}

// tls reports whether the server speaks TLS: because it says so, or because
// automatic HTTPS will have it on the port for that.
func (c *doctorConfig) tls(s *doctorServer) bool {
	port := c.Apps.HTTP.HTTPSPort
	if port == 0 {
		port = caddyhttp.DefaultHTTPSPort
	}
	return len(s.Policies) > 0 || slices.ContainsFunc(s.Listen, func(address string) bool {
		return strings.HasSuffix(address, fmt.Sprint(":", port))
	})
}

func checkOnDemand(c *doctorConfig) []finding {
	onDemand := false
	for _, p := range c.Apps.TLS.Automation.Policies {
		onDemand = onDemand || p.OnDemand
	}
	switch module := c.Apps.TLS.Automation.OnDemand.Permission.Module; {
	case !onDemand || module == "gatehouse":
		return nil
	case module == "":
		return found("certificates are made on demand for whatever name is asked for", "on_demand_tls { permission gatehouse }")
	default:
		return foundf("on_demand_tls { permission gatehouse }", "certificates are made on demand by permission of %q, which does not know which tenants there are", module)
	}
}

func checkAutoHTTPS(c *doctorConfig) (list []finding) {
	for _, s := range c.ours() {
		if s.AutoHTTPS.Disable || s.AutoHTTPS.DisableCertificates {
			list = append(list, finding{
				"automatic HTTPS is off for " + strings.Join(s.Listen, " "),
				"remove the option auto_https off; auto_https disable_redirects keeps certificates",
			})
		}
	}
	return list
}

func checkStrictSNI(c *doctorConfig) (list []finding) {
	for _, s := range c.ours() {
		if c.tls(s) && !s.StrictSNI {
			list = append(list, finding{
				"on " + strings.Join(s.Listen, " ") + " one tenant's connection may ask for another tenant's host",
				"servers { strict_sni_host on }",
			})
		}
	}
	return list
}

func checkEarlyData(c *doctorConfig) (list []finding) {
	for _, s := range c.ours() {
		h3 := len(s.Protocols) == 0 || slices.Contains(s.Protocols, "h3")
		if c.tls(s) && h3 && (s.Early == nil || *s.Early) {
			list = append(list, finding{
				"on " + strings.Join(s.Listen, " ") + " HTTP/3 takes early data, which somebody may have recorded and send again",
				"servers { 0rtt off }, and restart: a reload does not change it",
			})
		}
	}
	return list
}

func checkSites(c *doctorConfig) (list []finding) {
	g := c.Apps.Gatehouse
	if g == nil {
		return found("the global option gatehouse is missing", "{ gatehouse { base_domain auth.example.com } }")
	}
	base := strings.ToLower(strings.TrimSuffix(g.BaseDomain, "."))
	if strings.Contains(base, "{") { // known to the server only
		return nil
	}
	for _, name := range []string{base, "*." + base} {
		if !slices.ContainsFunc(c.ours(), func(s *doctorServer) bool { return s.serves(name) }) {
			list = append(list, finding{"no site serves " + name, base + ", *." + base + " { gatehouse }"})
		}
	}
	return list
}

// serves reports whether Gatehouse answers the host.
func (s *doctorServer) serves(host string) bool {
	return slices.ContainsFunc(s.Routes, func(r doctorRoute) bool {
		names := r.hosts()
		return r.gatehouse() && (names == nil || slices.ContainsFunc(names, func(n string) bool {
			return strings.EqualFold(n, host) || n == "*"
		}))
	})
}

func checkCatchAll(c *doctorConfig) (list []finding) {
	for _, s := range c.ours() {
		all := slices.ContainsFunc(s.Routes, func(r doctorRoute) bool { return len(r.Match) == 0 && len(r.Handle) > 0 })
		if !all {
			list = append(list, finding{
				"on " + strings.Join(s.Listen, " ") + " a host that no site is for gets an empty answer with status 200",
				"https:// { respond 421 }",
			})
		}
	}
	return list
}

// kept are the parameters that must not be in a log, as Caddyfile.example has
// them; these are those that open something by themselves.
var kept = []string{"code", "state"}

func checkAccessLog(c *doctorConfig) (list []finding) {
	if !slices.ContainsFunc(c.ours(), func(s *doctorServer) bool { return s.Logs != nil }) {
		return nil
	}
	const remedy = "log { format filter { request>uri query { delete code; delete state } } }, as in Caddyfile.example; each word on a line of its own"
	logs := maps.Clone(c.Logging.Logs)
	if logs == nil {
		logs = map[string]doctorLog{}
	}
	if _, ok := logs["default"]; !ok {
		logs["default"] = doctorLog{} // Caddy's own
	}
	for _, name := range slices.Sorted(maps.Keys(logs)) {
		log := logs[name]
		if !log.access() {
			continue
		}
		for _, parameter := range kept {
			if !log.hides(parameter) {
				list = append(list, finding{fmt.Sprintf("log %s shows the parameter %s of addresses", name, parameter), remedy})
			}
		}
		if log.Encoder.Fields["resp_headers>Location"].Filter == "" && log.Encoder.Fields["resp_headers"].Filter == "" {
			list = append(list, finding{
				fmt.Sprintf("log %s shows where people are sent, with the code they bring", name),
				`log { format filter { resp_headers>Location regexp "[?#].*" "?..." } }, as in Caddyfile.example; each word on a line of its own`,
			})
		}
	}
	return list
}

// access reports whether the log gets entries of access logs.
func (l doctorLog) access() bool {
	about := func(name string) bool {
		return strings.HasPrefix("http.log.access.", name+".") || strings.HasPrefix(name, "http.log.access")
	}
	if slices.ContainsFunc(l.Exclude, func(name string) bool { return strings.HasPrefix("http.log.access.", name+".") }) {
		return false
	}
	return len(l.Include) == 0 || slices.ContainsFunc(l.Include, about)
}

func (l doctorLog) hides(parameter string) bool {
	uri := l.Encoder.Fields["request>uri"]
	if l.Encoder.Format != "filter" {
		return false
	}
	for _, a := range uri.Actions {
		if a.Parameter == parameter {
			return true
		}
	}
	return uri.Filter == "delete" || uri.Filter == "replace"
}

func checkAdmin(c *doctorConfig) []finding {
	if c.Admin.Disabled || c.Admin.Listen == "" {
		return nil
	}
	a, err := caddy.ParseNetworkAddress(c.Admin.Listen)
	if err != nil || a.IsUnixNetwork() || a.IsFdNetwork() {
		return nil
	}
	if addr, err := netip.ParseAddr(strings.Trim(a.Host, "[]")); a.Host == "localhost" || err == nil && addr.IsLoopback() {
		return nil
	}
	return foundf("{ admin localhost:2019 }, or a socket: { admin unix//run/caddy/admin.sock }",
		"the admin endpoint listens on %s: whoever reaches it rules the server", net.JoinHostPort(a.Host, fmt.Sprint(a.StartPort)))
}

func checkLiteralSecrets(c *doctorConfig) (list []finding) {
	for _, s := range c.secrets() {
		if s.value != "" && !strings.HasPrefix(s.value, "{") {
			list = append(list, finding{
				s.word + " is written out in the configuration, which Caddy stores and shows",
				"write a placeholder: {file./run/secrets/name} or {env.NAME}; {$NAME} is replaced too early",
			})
		}
	}
	return list
}

func checkSecretApart(c *doctorConfig) []finding {
	if g := c.Apps.Gatehouse; g == nil || len(g.Secret) > 0 {
		return nil
	}
	return found("the master secret is the file secret in the data directory: who has a copy of the one has the other",
		"move the file to where only this server reads it, and name it: gatehouse { secret {file./run/secrets/gatehouse} }")
}

func checkGracePeriod(c *doctorConfig) []finding {
	if c.Apps.HTTP.GracePeriod > 0 || len(c.ours()) == 0 {
		return nil
	}
	return found("a connection that stays open keeps an old configuration, and an ending process, alive for ever", "{ grace_period 30s }")
}
