package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestD1Options checks what is found when a placement at Cloudflare is loaded,
// before anybody is reached. No message holds a secret.
func TestD1Options(t *testing.T) {
	t.Setenv("GATEHOUSE_TEST_ACCOUNT", "0123456789abcdef0123456789abcdef")
	t.Setenv("GATEHOUSE_TEST_TOKEN", "the-token-of-the-test-that-is-as-long-as-a-secret")
	t.Setenv("GATEHOUSE_TEST_EMPTY", "")
	const account, token, empty = "{env.GATEHOUSE_TEST_ACCOUNT}", "{env.GATEHOUSE_TEST_TOKEN}", "{env.GATEHOUSE_TEST_EMPTY}"
	worker := func(url, secret string) *D1Worker { return &D1Worker{URL: url, Secret: secret} }
	for _, c := range []struct {
		name   string
		module D1
		want   string // "" for no error
	}{
		{"nothing", D1{}, "32 hexadecimal digits"},
		{"D1", D1{Account: account, Token: token, Prefix: "prod", LocationHint: "weur"}, ""},
		{"the Worker", D1{Account: account, Worker: worker("https://w.example.com", token), Prefix: "prod"}, ""},
		{"neither", D1{Account: account, Prefix: "prod"}, "token is missing"},
		{"both", D1{Account: account, Token: token, Worker: worker("https://w.example.com", token), Prefix: "prod"}, "exclude each other"},
		{"no prefix", D1{Account: account, Token: token}, "prefix is missing"},
		{"account that is not set", D1{Account: empty, Token: token, Prefix: "prod"}, "account: "},
		{"token that is not set", D1{Account: account, Token: empty, Prefix: "prod"}, "token: "},
		{"secret that is not set", D1{Account: account, Worker: worker("https://w.example.com", empty), Prefix: "prod"}, "worker secret: "},
		{"secret in the clear", D1{Account: account, Worker: worker("http://w.example.com", token), Prefix: "prod"}, "by https"},
		{"no URL", D1{Account: account, Worker: worker("", token), Prefix: "prod"}, "worker is an URL"},
		{"location", D1{Account: account, Token: token, Prefix: "prod", LocationHint: "moon"}, "location_hint is one of"},
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
