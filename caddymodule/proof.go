package caddymodule

import (
	"crypto/subtle"
	"io"
	"net/http"
)

// proofOf answers for a ready custom domain with the token of its own claim, so
// that one which was verified by HTTP is still verified once it leads here. There
// is no answer for claims that are pending, whoever's they are: see
// [tenancy.ProofPath]. nil is none.
func proofOf(s *services, host, token string) http.Handler {
	d, ok := s.directory.DomainByHost(host)
	if !ok || subtle.ConstantTimeCompare([]byte(d.Token), []byte(token)) == 0 {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, token) // the asker may be gone
		}
	})
}
