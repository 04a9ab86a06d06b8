package caddymodule

import (
	"fmt"
	"testing"
)

// TestMatcher checks the matcher and its placeholders.
func TestMatcher(t *testing.T) {
	s := newServer(t)
	s.sites = fmt.Sprintf(`http://:%d {
		@acme tenant acme
		@suspended tenant {
			state suspended
		}
		@any tenant
		respond @acme "acme: {http.tenant.name}"
		respond @suspended "suspended"
		respond @any "any: {http.tenant.id} {http.tenant.state}"
		respond "none: [{http.tenant.id}]"
	}`, s.http)
	s.start()
	s.tenant("acme")
	s.tenant("widgets")
	for host, want := range map[string]string{
		"acme.auth.example.com": "acme: Tenant acme", "widgets.auth.example.com": "any: widgets active",
		"auth.example.com": "any: control_plane active", "nope.auth.example.com": "none: []", "elsewhere.org": "none: []",
	} {
		if got := s.get(host, "/"); got.body != want {
			t.Errorf("%s: got %q, want %q", host, got.body, want)
		}
	}
}
