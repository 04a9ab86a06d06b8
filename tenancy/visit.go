package tenancy

import "context"

// Visit is what is known of the HTTP request that a context belongs to. The
// Caddy module fills it in; no other package looks at Host or forwarded headers.
type Visit struct {
	// Issuer is the issuer of the host the request came to, with its trailing
	// slash (contract C1.11). Every URL in an answer is under it.
	Issuer string

	Host      string // normalised, without port
	Insecure  bool   // plain http on loopback: cookies go without Secure
	ClientIP  string
	UserAgent string
	RequestID string // also in X-Request-Id
}

type visitKey struct{}

// WithVisit returns a context that carries the visit.
func WithVisit(ctx context.Context, v *Visit) context.Context {
	return context.WithValue(ctx, visitKey{}, v)
}

// VisitOf returns the visit of the request the context belongs to. Outside of a
// request it is an empty one. It must not be changed.
func VisitOf(ctx context.Context) *Visit {
	if v, ok := ctx.Value(visitKey{}).(*Visit); ok {
		return v
	}
	return &Visit{}
}
