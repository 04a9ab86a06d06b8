package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gatehouse-id/gatehouse/oauth"
	"github.com/gatehouse-id/gatehouse/tenancy"
)

// told is what placeholders say of a request. They are made when somebody asks for
// one, which most handlers never do.
type told struct {
	tenant *tenancy.Tenant // nil before anybody asked whose the host is
	claims *oauth.Claims   // nil for nobody
	judged bool            // a token was looked at
}

// toldVar is where a request has its [told], among Caddy's variables.
const toldVar = "gatehouse.told"

// toldOf returns what is told of the request, to be changed by whoever found out
// more, or nil for one that did not come through Caddy. What other handlers said
// under the prefix before is forgotten: the last to speak is right.
func toldOf(r *http.Request, prefix string) *told {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return nil
	}
	repl.DeleteByPrefix(prefix)
	if said, ok := caddyhttp.GetVar(r.Context(), toldVar).(*told); ok {
		return said
	}
	said := new(told)
	caddyhttp.SetVar(r.Context(), toldVar, said)
	repl.Map(said.placeholder)
	return said
}

// placeholder is a [caddy.ReplacerFunc].
func (t *told) placeholder(key string) (any, bool) {
	name, tenant := strings.CutPrefix(key, "http.tenant.")
	if !tenant {
		return t.user(key)
	}
	if t.tenant == nil {
		return nil, false
	}
	switch name {
	case "id":
		return t.tenant.ID, true
	case "name":
		return t.tenant.FriendlyName, true
	case "organization_id":
		return t.tenant.OrganizationID, true
	case "state":
		return string(t.tenant.State), true
	}
	return nil, false
}

func (t *told) user(key string) (any, bool) {
	if !t.judged || !strings.HasPrefix(key, "http.auth.user.") {
		return nil, false
	}
	for i := range identity {
		if identity[i].placeholder != key {
			continue
		}
		if t.claims == nil {
			return "", true
		}
		return identity[i].value(t.claims), true
	}
	return nil, false
}
