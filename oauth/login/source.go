package login

import (
	"net/url"
	"regexp"
	"strings"
)

var (
	plainHost   = regexp.MustCompile(`^(?:\*\.)?[a-z0-9._-]+(?::[0-9]{1,5})?$`)
	plainScheme = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)
)

// cspSource is a URL's origin as a source expression of a content security
// policy, or "" where the URL has none. A custom scheme, as native applications
// have, is a source by itself; so is the scheme of an IPv6 host, which source
// expressions have no form for. Nothing that could end the directive comes out.
func cspSource(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch {
	case !plainScheme.MatchString(scheme), scheme == "javascript", scheme == "data", scheme == "blob":
		return ""
	case scheme != "http" && scheme != "https":
		return scheme + ":"
	case plainHost.MatchString(host):
		return scheme + "://" + host
	case strings.HasPrefix(host, "["):
		return scheme + ":"
	}
	return ""
}
