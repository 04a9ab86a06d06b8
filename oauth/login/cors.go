package login

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// preflight answers a browser that asks whether an application's page may sign
// somebody up (contract C4.17). It does not know the client yet, so the origins
// of all the tenant's clients count.
func (p *Pages) preflight(w http.ResponseWriter, r *http.Request) {
	if err := p.allowOrigin(w, r, ""); err != nil {
		p.refuse(w, r, err)
		return
	}
	if h := w.Header(); h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Allow-Methods", "POST")
		h.Set("Access-Control-Allow-Headers", "Content-Type, Authorization, Auth0-Client, DPoP")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.Header().Set("Allow", "POST")
	w.WriteHeader(http.StatusNoContent)
}

// allowOrigin lets a page of a registered origin read the answer. Another origin
// gets none of the headers; the request itself is judged without regard to it.
func (p *Pages) allowOrigin(w http.ResponseWriter, r *http.Request, clientID string) error {
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return nil
	}
	origins, err := originsOf(r.Context(), clientID)
	if err != nil {
		return err
	}
	if origins.Allow(origin) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
	return nil
}

// originsOf returns the registered origins of a client of the entered tenant; of
// all its clients where it is none of them.
func originsOf(ctx context.Context, clientID string) (*tenancy.Origins, error) {
	if clientID != "" {
		client, err := tenancy.CachedClient(ctx, clientID)
		if err == nil {
			return client.Origins(), nil
		}
		if !errors.Is(err, tenancy.ErrNotFound) {
			return nil, err
		}
	}
	return tenancy.CachedOrigins(ctx)
}
