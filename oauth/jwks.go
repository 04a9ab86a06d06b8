package oauth

import (
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// jwks answers with the tenant's public keys (RFC 7517; contract C4.57).
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) error {
	set, err := s.keys.set(r.Context())
	if err != nil {
		return err
	}
	d := set.jwks
	if now := tenancy.At(s.now()); set.stale != 0 && now >= set.stale {
		if d, _, err = set.publish(now); err != nil {
			return err
		}
	}
	writeDocument(w, r, d)
	return nil
}

// writeDocument answers with a public document, or 304 where the caller has it
// (RFC 9110 section 13.1.2).
func writeDocument(w http.ResponseWriter, r *http.Request, d document) {
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", d.etag)
	if known(r.Header.Values("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", "application/json")
	_, _ = w.Write(d.body) // the client may be gone; there is nobody left to tell
}

// known reports whether the entity tag is among those of If-None-Match, by weak
// comparison: a server in between may have marked it weak.
func known(headers []string, etag string) bool {
	for _, header := range headers {
		for tag := range strings.SplitSeq(header, ",") {
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if tag == etag || tag == "*" {
				return true
			}
		}
	}
	return false
}
