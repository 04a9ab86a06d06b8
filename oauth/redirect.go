package oauth

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// maxURI is the longest redirect or logout URI that is looked at, in bytes.
const maxURI = 4096

// redirectAllowed reports whether uri is one of the client's callbacks
// (contract C4.19, RFC 9700 section 2.1: exact string matching). The two ways of
// matching more than one string are compared as strings too, because every URL
// parser disagrees with some browser about where a host ends.
func redirectAllowed(c *tenancy.Client, uri string) bool {
	if !followable(uri) || !secureTransport(uri) {
		return false
	}
	return slices.ContainsFunc(c.Callbacks, func(registered string) bool {
		switch {
		case strings.Contains(registered, "*"):
			return c.IsFirstParty && tenancy.MatchesWildcard(registered, uri)
		case registered == uri:
			return true
		}
		return c.AppType == "native" && matchesLoopback(registered, uri)
	})
}

// logoutAllowed reports whether uri is one of the registered logout URLs
// (contract C3.35).
func logoutAllowed(registered []string, uri string) bool {
	return followable(uri) && slices.ContainsFunc(registered, func(r string) bool {
		if strings.Contains(r, "*") {
			return tenancy.MatchesWildcard(r, uri)
		}
		return r == uri
	})
}

// originAllowed reports whether a browser message may be posted to the origin:
// it is one of the client's web origins, or that of a callback (contract C3.3).
func originAllowed(c *tenancy.Client, origin string) bool {
	var o tenancy.Origins
	o.Add(c, c.WebOrigins...)
	o.Add(c, c.Callbacks...)
	return o.Allow(origin)
}

// followable reports whether a browser may be sent to the URI at all, wherever
// it is registered: a URI with a scheme that is no script, without fragment and
// user information (RFC 6749 section 3.1.2), and without characters that
// browsers drop or turn into others.
func followable(uri string) bool {
	if len(uri) > maxURI || !utf8.ValidString(uri) || strings.ContainsFunc(uri, unsafeInURI) {
		return false
	}
	u, err := url.Parse(uri)
	if err != nil || u.User != nil || strings.Contains(uri, "#") {
		return false
	}
	switch u.Scheme {
	case "http", "https":
		return u.Hostname() != "" && u.Opaque == ""
	case "", "javascript", "data", "vbscript", "file", "blob", "about", "filesystem":
		return false
	}
	return strings.HasPrefix(uri, u.Scheme+":") // a scheme in lower case, as registered ones are
}

// unsafeInURI is true of characters no URI holds (RFC 3986 section 2): controls,
// spaces, those browsers rewrite, and whatever is not ASCII.
func unsafeInURI(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune("\\\"<>^`{|}", r)
}

// secureTransport reports whether an http URI stays on this machine. Other
// schemes always pass.
func secureTransport(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" {
		return err == nil
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// matchesLoopback reports whether uri is the registered loopback callback on any
// port (RFC 8252 section 7.3): a native app learns its port when it starts.
func matchesLoopback(registered, uri string) bool {
	host, rest, ok := cutLoopback(registered)
	if !ok {
		return false
	}
	h, r, ok := cutLoopback(uri)
	return ok && h == host && r == rest
}

// cutLoopback splits a loopback URI around its port, which may be missing.
func cutLoopback(uri string) (host, rest string, ok bool) {
	for _, host := range []string{"http://127.0.0.1", "http://[::1]"} {
		rest, found := strings.CutPrefix(uri, host)
		if !found {
			continue
		}
		if port, found := strings.CutPrefix(rest, ":"); found {
			rest = strings.TrimLeft(port, "0123456789")
			if digits := len(port) - len(rest); digits == 0 || digits > 5 {
				return "", "", false
			}
		}
		return host, rest, rest == "" || rest[0] == '/' || rest[0] == '?'
	}
	return "", "", false
}
