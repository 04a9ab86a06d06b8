package oauth

import (
	"context"
	"net/http"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// The cookies of a browser at a tenant's host. Both hold 256 random bits; the
// database knows them by their hash only (contract C3.23, C3.27). The name's
// prefix makes browsers refuse them from any other host (RFC 6265bis 4.1.3.2).
const (
	sessionCookie = "gh_session" // who is logged in
	flowCookie    = "gh_flow"    // which browser a login under way belongs to
	hostPrefix    = "__Host-"
)

// flowLifetime is how long a login under way may take (contract C2.15).
const flowLifetime = time.Hour

// cookieName is the cookie's name at the visited host. Over plain http, which
// is for development on loopback only, browsers accept no prefixed names.
func cookieName(ctx context.Context, name string) string {
	if tenancy.VisitOf(ctx).Insecure {
		return name
	}
	return hostPrefix + name
}

// readCookie returns the value of a cookie of ours, or "". Two cookies of one
// name mean that somebody else set one of them: neither is trusted. A value that
// cannot be ours is not looked up.
func readCookie(r *http.Request, name string) string {
	list := r.CookiesNamed(cookieName(r.Context(), name))
	if len(list) != 1 || len(list[0].Value) != tokenLength {
		return ""
	}
	return list[0].Value
}

// tokenLength is how long the values of [tenancy.NewToken] are.
const tokenLength = 43

// offersCookie reports whether the browser sent one cookie of the name, whatever
// its value is.
func offersCookie(r *http.Request, name string) bool {
	return len(r.CookiesNamed(cookieName(r.Context(), name))) == 1
}

// newCookie is a cookie with the attributes all of ours have.
func newCookie(ctx context.Context, name, value string) *http.Cookie {
	return &http.Cookie{
		Name: cookieName(ctx, name), Value: value, Path: "/",
		Secure: !tenancy.VisitOf(ctx).Insecure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// setSessionCookie logs the browser in. The cookie is sent from frames of other
// sites, because silent authentication happens there (contract C3.19, C3.23);
// on loopback http browsers refuse such cookies.
func setSessionCookie(ctx context.Context, w http.ResponseWriter, value string, lifetime time.Duration) {
	c := newCookie(ctx, sessionCookie, value)
	if c.Secure {
		c.SameSite = http.SameSiteNoneMode
	}
	c.MaxAge = int(lifetime / time.Second) // 0: until the browser is closed (C3.25)
	http.SetCookie(w, c)
}

// clearSessionCookie makes the browser forget a session that has ended.
func clearSessionCookie(ctx context.Context, w http.ResponseWriter) {
	c := newCookie(ctx, sessionCookie, "")
	if c.Secure {
		c.SameSite = http.SameSiteNoneMode
	}
	c.MaxAge = -1
	http.SetCookie(w, c)
}

// setFlowCookie binds logins under way to the browser. One value serves all
// logins of a browser, so that several tabs can be at it at a time.
func setFlowCookie(ctx context.Context, w http.ResponseWriter, value string) {
	c := newCookie(ctx, flowCookie, value)
	c.MaxAge = int(flowLifetime / time.Second)
	http.SetCookie(w, c)
}
