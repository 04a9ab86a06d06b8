package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// Login gives browsers a session by a login at the host's tenant, so that what is
// behind needs no code for it. The application is the tenant's client that has
// https://<host>/.gatehouse/callback among its callbacks. /.gatehouse/logout ends
// the session.
type Login struct {
	// The path that a browser is sent to after its logout. Default: /.
	AfterLogout string `json:"after_logout,omitempty"`
}

func (l *Login) after() string {
	if l.AfterLogout == "" {
		return "/"
	}
	return l.AfterLogout
}

// UnmarshalCaddyfile reads
//
//	login {
//		after_logout <path>
//	}
func (l *Login) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected '%s' after 'login'; its options stand in a block", d.Val())
	}
	return words{"after_logout": text(&l.AfterLogout)}.block(d, "login")
}

// The names of the cookies that browsers keep for applications, without the prefix
// that has browsers refuse them from any other host (RFC 6265bis 4.1.3.2).
const (
	sessionName = "gh_app"
	flowPrefix  = "gh_app_flow_"
	hostCookie  = "__Host-"
)

// flowName is the name of the cookie of a login under way: several tabs may be at
// it at a time.
func flowName(state string) string { return flowPrefix + tenancy.HashToken(state)[:8] }

// cookie makes one of ours; a negative lifetime has the browser forget it. Lax
// sends it with the redirect back from the login and with no other site's writes.
func (a *arrival) cookie(name, value string, lifetime time.Duration) *http.Cookie {
	c := &http.Cookie{Name: a.cookieName(name), Value: value, Path: "/", HttpOnly: true, Secure: !a.visit.Insecure, SameSite: http.SameSiteLaxMode}
	c.MaxAge = int(lifetime / time.Second)
	if lifetime < 0 {
		c.MaxAge = -1
	}
	return c
}

func (a *arrival) cookieName(name string) string {
	if a.visit.Insecure {
		return name
	}
	return hostCookie + name
}

// place is what a cookie is sealed for: one tenant at one host, and one purpose.
func (a *arrival) place(name string) string {
	return strings.Join([]string{"application", a.tenant.ID, strconv.FormatInt(int64(a.tenant.CreatedAt), 10), a.visit.Host, name}, "\x00")
}

// seal makes a cookie's value.
func (a *arrival) seal(v any) (string, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	name := sessionName
	if f, ok := v.(appFlow); ok {
		name = flowName(f.State)
	}
	return a.services.lifecycle.Master.Seal(a.place(name), text), nil
}

// open reads a cookie; false where there is none, or not one of ours. Two of one
// name mean that somebody else set one of them: neither is trusted.
func (a *arrival) open(name string, into any) bool {
	list := a.request.CookiesNamed(a.cookieName(name))
	if len(list) != 1 {
		return false
	}
	text, err := a.services.lifecycle.Master.Open(a.place(name), list[0].Value)
	return err == nil && json.Unmarshal(text, into) == nil
}

// appToken is the token of the browser's session, or "".
func (a *arrival) appToken() (token string) {
	if !a.open(sessionName, &token) {
		return ""
	}
	return token
}

// issuer is the tenant's primary issuer, reached like this request.
func (a *arrival) issuer() string {
	return issuers(a.services.directory.HostsOf(a.tenant.ID), a.visit.Issuer)[0]
}

func (a *arrival) callbackURL() string {
	return strings.TrimSuffix(a.visit.Issuer, "/") + appCallback
}

// appClient is the tenant's client with the callback, the first by id where there
// are several; nil is none.
func (a *arrival) appClient() (*tenancy.Client, error) {
	inside, leave, err := a.services.pool.Enter(tenancy.WithVisit(a.request.Context(), a.visit), a.tenant)
	if err != nil {
		return nil, err
	}
	defer leave()
	callback := a.callbackURL()
	return tenancy.Cached(inside, "application", callback, func(ctx context.Context) (*tenancy.Client, error) {
		list, err := tenancy.Clients.Find(ctx, tenancy.Filter{Order: "id"})
		if err != nil {
			return nil, err
		}
		for i := range list {
			if slices.Contains(list[i].Callbacks, callback) && !list[i].IsSystem {
				return &list[i], nil
			}
		}
		return nil, nil
	})
}

// localPath is a path and query of this host, which a redirect cannot take for
// another one's; "/" in place of anything else.
func localPath(target string) string {
	const longest = 1024
	if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.HasPrefix(target, `/\`) || len(target) > longest ||
		strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) || strings.HasPrefix(target, appPrefix) {
		return "/"
	}
	return target
}

// removeAppCookies takes our cookies out of a request: they are nobody's business
// behind the gateway.
func removeAppCookies(h http.Header) {
	lines, ok := h["Cookie"]
	if !ok {
		return
	}
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(strings.TrimSpace(pair), "=")
			name = strings.TrimPrefix(strings.TrimSpace(name), hostCookie)
			if pair = strings.TrimSpace(pair); pair != "" && name != sessionName && !strings.HasPrefix(name, flowPrefix) {
				kept = append(kept, pair)
			}
		}
	}
	if delete(h, "Cookie"); len(kept) > 0 {
		h["Cookie"] = []string{strings.Join(kept, "; ")}
	}
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Login)(nil)
