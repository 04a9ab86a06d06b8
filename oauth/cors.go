package oauth

import (
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// corsRule says which pages of other origins may use a path (contract C4.17).
type corsRule int

const (
	corsNobody  corsRule = iota // no header at all
	corsClients                 // origins of the tenant's clients
	corsAnyone                  // public documents
)

// allowOrigin sets the CORS headers of a route for the request's origin (Fetch
// standard, section 3.2). An origin that is not allowed gets none, which is how
// browsers are told no.
func (s *Server) allowOrigin(rt route, w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	switch rt.cors {
	case corsNobody:
		return nil
	case corsAnyone:
		h.Set("Access-Control-Allow-Origin", "*")
	case corsClients:
		if h["Vary"] == nil {
			h["Vary"] = byOrigin
		} else {
			h.Add("Vary", "Origin")
		}
		origin := r.Header.Get("Origin")
		if origin == "" {
			return nil
		}
		known, err := tenancy.CachedOrigins(r.Context())
		if err != nil {
			return err
		}
		if !known.Allow(origin) {
			return nil
		}
		h.Set("Access-Control-Allow-Origin", origin)
	}
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", strings.Join(rt.allowed(), ", "))
		h.Set("Access-Control-Allow-Headers", "Content-Type, Authorization, Auth0-Client, DPoP")
		h.Set("Access-Control-Max-Age", "600")
	}
	return nil
}

// narrowOrigin takes the permission of the request's origin back where the client
// is known by now and the origin is not one of its own.
func narrowOrigin(w http.ResponseWriter, r *http.Request, client *tenancy.Client) {
	if origin := r.Header.Get("Origin"); origin != "" && !client.Origins().Allow(origin) {
		w.Header().Del("Access-Control-Allow-Origin")
	}
}
