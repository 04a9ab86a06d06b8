package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/webhook"
)

func init() {
	caddy.RegisterModule(testHook{})
	caddy.RegisterModule(testListener{})
}

// testHook is a hook of a third party: it refuses tenants of a certain name, and
// gives all others a plan.
type testHook struct {
	Refuse string `json:"refuse"`
}

func (testHook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gatehouse.hooks.test_policy", New: func() caddy.Module { return new(testHook) }}
}

func (h *testHook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&h.Refuse) {
		return d.ArgErr()
	}
	return nil
}

func (h *testHook) Hook() (tenancy.Hook, error) { return h, nil }

func (h *testHook) Before(_ context.Context, p *tenancy.Proposal) error {
	if p.New == nil {
		return nil
	}
	p.New.Metadata = map[string]string{"plan": "free"}
	if p.New.ID == h.Refuse {
		return tenancy.Veto("no tenant is called " + h.Refuse)
	}
	return nil
}

// testListener handles Caddy's events.
type testListener struct{}

var heard struct {
	sync.Mutex
	list []map[string]any
}

func (testListener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.test_listener", New: func() caddy.Module { return new(testListener) }}
}

func (*testListener) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

func (*testListener) Handle(_ context.Context, e caddy.Event) error {
	heard.Lock()
	defer heard.Unlock()
	heard.list = append(heard.list, e.Data)
	return nil
}

// C8.15, C8.16: one tenant is told to Caddy's events and to a webhook, and a hook
// that is built in had its word before.
func TestHooks(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	var mu sync.Mutex
	var got []string
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || webhook.Verify(secret, r.Header.Get(webhook.SignatureHeader), body, time.Now(), time.Minute) != nil {
			t.Errorf("signature of %s", body)
		}
		var n tenancy.Notice
		if err := json.Unmarshal(body, &n); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		if n.TenantID == "acme" {
			got = append(got, n.Type)
		}
	}))
	defer receiver.Close()
	heard.list = nil

	s := newServer(t)
	s.global = "events {\n on tenant.created test_listener\n }"
	s.options = "hook test_policy forbidden\n hook " + receiver.URL + " {\n events tenant.created tenant.deleted\n secret " + secret + "\n allow_private\n }"
	s.start()
	l := s.services().lifecycle
	_, err := l.Create(t.Context(), tenancy.NewTenant{ID: "forbidden", FriendlyName: "x"})
	var refused *tenancy.Error
	if !errors.As(err, &refused) || refused.Status != http.StatusForbidden || refused.Message != "no tenant is called forbidden" {
		t.Errorf("the hook's refusal: %v", err)
	}
	made, err := l.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "Acme"})
	if err != nil {
		t.Fatal(err)
	}
	if made.Metadata["plan"] != "free" {
		t.Errorf("metadata %v", made.Metadata)
	}
	if err := l.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(15 * time.Second)
	for {
		mu.Lock()
		heard.Lock()
		done := slices.Equal(got, []string{"tenant.created", "tenant.deleted"}) && len(heard.list) == 1
		state, events := slices.Clone(got), slices.Clone(heard.list)
		heard.Unlock()
		mu.Unlock()
		if done {
			if events[0]["tenant_id"] != "acme" || !strings.HasPrefix(events[0]["id"].(string), "evt_") {
				t.Errorf("event %v", events[0])
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the webhook got %v, the listener %v", state, events)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// What is wrong with a hook is said at load, with the word to change.
func TestHookMistakes(t *testing.T) {
	for options, want := range map[string]string{
		"hook https://ops.example.com/in":                                                      "needs a secret",
		"hook https://ops.example.com/in {\n secret short\n }":                                 "needs a secret",
		"hook http://ops.example.com/in {\n secret 0123456789abcdef\n }":                       "is not HTTPS",
		"hook https://169.254.169.254/in {\n secret 0123456789abcdef\n }":                      "allow_private",
		"hook https://ops.example.com/in {\n secret 0123456789abcdef\n events tenant.born\n }": "unknown type \"tenant.born\"",
		"hook ftp://ops.example.com/in {\n secret 0123456789abcdef\n }":                        "is no address",
		strings.Repeat("hook https://ops.example.com/in {\n secret 0123456789abcdef\n }\n", 2): "is given twice",
	} {
		s := newServer(t)
		s.options = options
		if err := s.load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", options, err, want)
		}
	}
}
