package management

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// The functions here say what is wrong with a URL that is registered, "" being
// nothing. What is registered is later compared as a whole (contract C4.19), so
// only what could never be safe is refused.

// callbackURL is where codes and tokens may be sent.
func callbackURL(s string) string {
	u, why := absolute(s)
	switch {
	case why != "":
		return why
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "Callback may be http on loopback only: " + s
	case u.Scheme == "https" || u.Scheme == "http":
		return webHost(u, s)
	case strings.Contains(s, "*"):
		return "A wildcard is allowed in https URLs only: " + s
	}
	return ""
}

// logoutURL is where browsers may be sent after logout (contract C3.35).
func logoutURL(s string) string {
	u, why := absolute(s)
	switch {
	case why != "":
		return why
	case u.Scheme == "https" || u.Scheme == "http":
		return webHost(u, s)
	case strings.Contains(s, "*"):
		return "A wildcard is allowed in web URLs only: " + s
	}
	return ""
}

// originURL is an origin of the web: scheme, host and port, nothing else.
func originURL(s string) string {
	u, why := absolute(s)
	switch {
	case why != "":
		return why
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return "An origin has no path: " + s
	case u.Scheme == "https" || u.Scheme == "http":
		return webHost(u, s)
	}
	return ""
}

// secureURL is an https URL without a wildcard; "" is none.
func secureURL(s string) string {
	if s == "" {
		return ""
	}
	u, why := absolute(s)
	switch {
	case why != "":
		return why
	case u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())), strings.Contains(s, "*"):
		return "Object didn't pass validation for format absolute-https-uri-or-empty: " + s
	}
	return ""
}

func absolute(s string) (*url.URL, string) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || strings.ContainsAny(s, " \t\r\n\\<>\"") {
		return nil, "Object didn't pass validation for format absolute-uri: " + s
	}
	switch scheme := strings.ToLower(u.Scheme); {
	case strings.Contains(s, "#"):
		return nil, "A fragment is not allowed: " + s
	case u.User != nil:
		return nil, "User information is not allowed: " + s
	case scheme == "javascript" || scheme == "data" || scheme == "vbscript" || scheme == "file" || scheme == "blob" || scheme == "about":
		return nil, "The scheme is not allowed: " + s
	case (scheme == "http" || scheme == "https") && u.Host == "":
		return nil, "Object didn't pass validation for format absolute-uri: " + s
	case u.Scheme != scheme || !strings.HasPrefix(s, scheme+":"):
		return nil, "The scheme must be in lower case: " + s
	}
	return u, ""
}

// webHost checks the host of a web URL: at most one wildcard, which is the whole
// left-most label above a domain that has an owner.
func webHost(u *url.URL, s string) string {
	stars := strings.Count(s, "*")
	if stars == 0 {
		return ""
	}
	rest, ok := strings.CutPrefix(u.Host, "*.")
	switch {
	case !ok || stars > 1 || u.Scheme != "https":
		return "A wildcard must be the whole left-most label of an https host: " + s
	case !tenancy.WildcardDomain(rest):
		return "A wildcard must be below a domain of somebody's own, in lower case: " + s
	}
	return ""
}

func isLoopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
