package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestLibSQLOptions checks what is found when a placement at libSQL is loaded,
// before any server is reached. No message holds a token.
func TestLibSQLOptions(t *testing.T) {
	t.Setenv("GATEHOUSE_TEST_TOKEN", "the-token-of-the-test")
	t.Setenv("GATEHOUSE_TEST_EMPTY", "")
	const token = "{env.GATEHOUSE_TEST_TOKEN}"
	for _, c := range []struct {
		name   string
		module LibSQL
		want   string // "" for no error
	}{
		{"nothing", LibSQL{}, "the address is missing"},
		{"no admin API", LibSQL{URL: "http://127.0.0.1:8080"}, "admin API is missing"},
		{"an own server", LibSQL{URL: "http://*.db.internal", Admin: "http://db.internal:8081", Token: token}, ""},
		{"group without organization", LibSQL{URL: "http://127.0.0.1:8080", Admin: "http://127.0.0.1:8081", Group: "a"}, "a group needs an organization"},
		{"no URL", LibSQL{URL: "127.0.0.1:8080", Admin: "http://127.0.0.1:8081"}, "address"},
		{"Turso", LibSQL{Organization: "acme", Prefix: "prod", Token: token}, ""},
		{"Turso without prefix", LibSQL{Organization: "acme", Token: token}, "prefix is missing"},
		{"Turso without token", LibSQL{Organization: "acme", Prefix: "prod"}, "platform token is missing"},
		{"token that is not set", LibSQL{Organization: "acme", Prefix: "prod", Token: "{env.GATEHOUSE_TEST_EMPTY}"}, "token: "},
		{"token of two words", LibSQL{Organization: "acme", Prefix: "prod", Token: token + " x"}, "token holds white space"},
		{"token in the clear", LibSQL{URL: "http://api.example.com", Organization: "acme", Prefix: "prod", Token: token}, "use https"},
		{"token in the address", LibSQL{URL: "https://" + token + "@x.example.com", Organization: "acme", Prefix: "prod", Token: token}, "token has its own option"},
		{"both", LibSQL{Organization: "acme", Prefix: "prod", Token: token, Admin: "http://127.0.0.1:8081"}, "use one of them"},
		{"prefix", LibSQL{Organization: "acme", Prefix: "a-b", Token: token}, `prefix "a-b"`},
		{"template among the tenants", LibSQL{Organization: "acme", Prefix: "prod", Token: token, Template: "prod-t"}, "must not begin with prod-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.module.Provision(caddy.Context{})
			if err == nil {
				err = c.module.Validate()
			}
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "the-token")) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
