package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
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
		known, err := clientOrigins(r.Context())
		if err != nil {
			return err
		}
		if !known[strings.ToLower(origin)] {
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
	origin := strings.ToLower(r.Header.Get("Origin"))
	if origin != "" && !slices.Contains(originsOf(client), origin) {
		w.Header().Del("Access-Control-Allow-Origin")
	}
}

// clientOrigins are the origins of all clients of the tenant.
func clientOrigins(ctx context.Context) (map[string]bool, error) {
	return tenancy.Cached(ctx, "oauth.origins", "", func(ctx context.Context) (map[string]bool, error) {
		rows, err := tenancy.Query(ctx, `SELECT web_origins, allowed_origins, callbacks FROM clients WHERE tenant_id = @tenant`)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		all := make(map[string]bool)
		for rows.Next() {
			var text [3]string
			var c tenancy.Client
			if err := rows.Scan(&text[0], &text[1], &text[2]); err != nil {
				return nil, err
			}
			if err := errors.Join(json.Unmarshal([]byte(text[0]), &c.WebOrigins),
				json.Unmarshal([]byte(text[1]), &c.AllowedOrigins), json.Unmarshal([]byte(text[2]), &c.Callbacks)); err != nil {
				return nil, err
			}
			for _, origin := range originsOf(&c) {
				all[origin] = true
			}
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		return all, nil
	})
}

// originsOf are a client's web origins, allowed origins, and those of its
// callbacks, in lower case. A callback with a wildcard gives none.
func originsOf(c *tenancy.Client) []string {
	var list []string
	for _, origin := range slices.Concat(c.WebOrigins, c.AllowedOrigins) {
		list = append(list, strings.ToLower(strings.TrimSuffix(origin, "/")))
	}
	for _, callback := range c.Callbacks {
		if origin := originOf(callback); origin != "" && !strings.Contains(origin, "*") {
			list = append(list, strings.ToLower(origin))
		}
	}
	return list
}
