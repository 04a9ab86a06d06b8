package tenancy

import (
	"net/netip"
	"slices"
	"strings"
)

// NormalizeHost brings the host of a request into the one form in which hosts are
// compared (C1.3): no port, no trailing dot, ASCII lower case; an IPv6 literal
// keeps its brackets. It returns [ErrInvalidHost] for a host that is empty, longer
// than 253 bytes, has an empty label or one longer than 63, a port that is no
// number, or a byte that no host has. Internationalised names pass in their xn--
// form only. A host that is normal already comes back as it is, unallocated.
func NormalizeHost(host string) (string, error) {
	name, port := host, ""
	if end := strings.IndexByte(host, ']'); end > 0 && host[0] == '[' {
		name, port = host[:end+1], host[end+1:]
		if addr, err := netip.ParseAddr(name[1:end]); err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", ErrInvalidHost
		}
	} else {
		if colon := strings.IndexByte(host, ':'); colon >= 0 {
			name, port = host[:colon], host[colon:]
		}
		if name = strings.TrimSuffix(name, "."); !isHost(name) {
			return "", ErrInvalidHost
		}
	}
	if !isPort(port) {
		return "", ErrInvalidHost
	}
	return lowerASCII(name), nil
}

// isHost reports whether name, without port and trailing dot, breaks no rule of C1.3.
func isHost(name string) bool {
	if len(name) > maxHost {
		return false
	}
	label := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.' && label == 0, c <= ' ', c >= 0x7f, strings.IndexByte(`%@/\[]`, c) >= 0:
			return false
		case c == '.':
			label = 0
		default:
			if label++; label > maxLabel {
				return false
			}
		}
	}
	return label > 0
}

// isPort reports whether s is nothing, or a colon and at most five digits.
func isPort(s string) bool {
	return s == "" || s[0] == ':' && len(s) <= 6 && strings.Trim(s[1:], "0123456789") == ""
}

// isDomain reports whether name, in lower case, is a domain below which labels fit.
func isDomain(name string) bool {
	_, err := netip.ParseAddr(name)
	notLabel := func(label string) bool { return !isLabel(label) }
	return err != nil && !slices.ContainsFunc(strings.Split(name, "."), notLabel)
}

func isLabel(s string) bool    { return isWord(s, "-", maxLabel) }
func isTenantID(s string) bool { return isWord(s, "-", maxTenantID) && !strings.HasPrefix(s, "xn--") }

// isWord reports whether s is 1 to most bytes of a-z and 0-9, where inner may
// also stand, but neither first nor last.
func isWord(s, inner string, most int) bool {
	for i := range len(s) {
		c := s[i]
		plain := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !plain && (i == 0 || i == len(s)-1 || strings.IndexByte(inner, c) < 0) {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// isPathWord reports whether s stands where an id could in a path of the API:
// /tenants/settings, /tenants/import.
func isPathWord(s string) bool { return s == "settings" || s == "import" }

// lowerASCII lowers A to Z and nothing else: strings.ToLower would make a "k" of
// the Kelvin sign, and so one name of two.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

func lowerAll(names []string) []string {
	names = slices.Clone(names)
	for i, name := range names {
		names[i] = lowerASCII(name)
	}
	return names
}
