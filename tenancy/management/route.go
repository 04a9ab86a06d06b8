package management

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// handler answers a request that was let in, inside the tenant acted on. It
// returns the body of the answer; nil is none.
type handler func(ctx context.Context, c *Call) (any, error)

// route is one row of the API's table: a verb on a path, who may ask for it, and
// what answers.
type route struct {
	method string
	path   string // below /api/v2; segments in braces are parameters
	access tenancy.Route
	status int // of success; 0 means 200
	handle handler

	// admit decides in place of [tenancy.Access], for the registry's own rules.
	admit func(c *Call) (tenancy.TenantRef, error)

	// keyed routes honour Idempotency-Key. begun answers a request that began the
	// operation and was not answered; nil shows the operation.
	keyed bool
	begun func(ctx context.Context, c *Call, op *tenancy.Operation) (any, error)

	segments []string
}

// RouteInfo describes a route for documents and tests.
type RouteInfo struct {
	Method string
	Path   string // from the host's root, e.g. "/api/v2/roles/{id}"

	// AnyOf are the scopes of which one is needed, AllOf those that all are.
	AnyOf, AllOf []string

	// ControlPlaneOnly routes answer on the control plane's hosts only.
	ControlPlaneOnly bool

	// Team routes act on the control plane's organization of a tenant, whose
	// members alone may use them (contract C5.105).
	Team bool

	// Status is that of success.
	Status int
}

// prefix is where the API is mounted on every host.
const prefix = "/api/v2"

func get(path string, handle handler, scopes ...string) route {
	return route{method: http.MethodGet, path: path, access: tenancy.Route{AnyOf: scopes}, handle: handle}
}

func write(method, path string, status int, handle handler, scopes ...string) route {
	return route{method: method, path: path, status: status, access: tenancy.Route{AnyOf: scopes, Write: true}, handle: handle}
}

// all turns the route's scopes into ones that are all needed.
func (r route) all() route {
	r.access.AllOf, r.access.AnyOf = r.access.AnyOf, nil
	return r
}

// on makes the route one of the control plane only, with the registry's rule.
func (r route) on(admit func(*Call) (tenancy.TenantRef, error)) route {
	r.access.ControlPlaneOnly, r.admit = true, admit
	return r
}

// once makes the route one that honours Idempotency-Key (contract C5.14).
func (r route) once() route {
	r.keyed = true
	return r
}

// showing sets what answers for an operation that was begun with the same key.
func (r route) showing(begun func(context.Context, *Call, *tenancy.Operation) (any, error)) route {
	r.begun = begun
	return r
}

// router finds routes by path. Literal segments win over parameters.
type router struct {
	root node
}

type node struct {
	literal map[string]*node
	param   *node
	routes  map[string]*route // by method
}

func newRouter(routes []route) *router {
	rt := &router{}
	for i := range routes {
		r := &routes[i]
		if r.status == 0 {
			r.status = http.StatusOK
		}
		n := &rt.root
		r.segments = strings.Split(r.path, "/")[1:]
		for _, s := range r.segments {
			n = n.child(s)
		}
		if n.routes == nil {
			n.routes = make(map[string]*route)
		}
		if n.routes[r.method] != nil {
			panic("management: route is there twice: " + r.method + " " + r.path)
		}
		n.routes[r.method] = r
	}
	return rt
}

func (n *node) child(segment string) *node {
	if strings.HasPrefix(segment, "{") {
		if n.param == nil {
			n.param = &node{}
		}
		return n.param
	}
	if n.literal == nil {
		n.literal = make(map[string]*node)
	}
	if n.literal[segment] == nil {
		n.literal[segment] = &node{}
	}
	return n.literal[segment]
}

// match returns the routes of a path by method, and its decoded parameters. Each
// segment is decoded once, so that "auth0%7Cabc" is one id and "%2F" no
// separator (contract C0.7). A path that is unknown gives nil.
func (rt *router) match(escapedPath string) (map[string]*route, []string) {
	rest, ok := strings.CutPrefix(escapedPath, prefix+"/")
	if !ok {
		return nil, nil
	}
	segments := strings.Split(rest, "/")
	for i := range segments {
		decoded, err := url.PathUnescape(segments[i])
		if err != nil || decoded == "" {
			return nil, nil
		}
		segments[i] = decoded
	}
	return rt.root.find(segments, nil)
}

func (n *node) find(segments, params []string) (map[string]*route, []string) {
	if len(segments) == 0 {
		return n.routes, params
	}
	if next := n.literal[segments[0]]; next != nil {
		if found, all := next.find(segments[1:], params); found != nil {
			return found, all
		}
	}
	if n.param != nil {
		return n.param.find(segments[1:], append(slices.Clone(params), segments[0]))
	}
	return nil, nil
}

// allow is the Allow header of a path (RFC 9110 section 10.2.1).
func allow(routes map[string]*route) string {
	methods := slices.Collect(maps.Keys(routes))
	if routes[http.MethodGet] != nil {
		methods = append(methods, http.MethodHead)
	}
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

func (r *route) info() RouteInfo {
	return RouteInfo{
		Method: r.method, Path: prefix + r.path, AnyOf: slices.Clone(r.access.AnyOf), AllOf: slices.Clone(r.access.AllOf),
		ControlPlaneOnly: r.access.ControlPlaneOnly, Team: r.access.TeamRoute, Status: r.status,
	}
}

// all returns every route, by path and method.
func (rt *router) all() []*route {
	var list []*route
	rt.root.walk(func(r *route) { list = append(list, r) })
	slices.SortFunc(list, func(a, b *route) int { return strings.Compare(a.path+" "+a.method, b.path+" "+b.method) })
	return list
}

func (n *node) walk(f func(*route)) {
	for _, r := range n.routes {
		f(r)
	}
	for _, child := range n.literal {
		child.walk(f)
	}
	if n.param != nil {
		n.param.walk(f)
	}
}
