package test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// refused starts a gateway that cannot start, and demands that it ends with one
// error that holds every one of the words.
func refused(t *testing.T, g gateway, config string, words ...string) {
	t.Helper()
	p := launch(t, g, config)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Fatalf("it runs: %s", p.output)
	}
	log, _ := os.ReadFile(filepath.Join(g.dir, "caddy.log"))
	said := p.output.String() + string(log)
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("nothing about %q: %s", w, said)
		}
	}
	if p.cmd.ProcessState.ExitCode() == 0 {
		t.Error("it ended as if all were well")
	}
}

// TestStartsThatFail: what an operator gets wrong is one clear error that names
// the remedy, and nothing is overwritten.
func TestStartsThatFail(t *testing.T) {
	g, config := withoutAdministrator(t)
	p := startProcess(t, g, config)
	p.platform(t).call(t, http.MethodPost, "/tenants", map[string]any{"id": "acme", "friendly_name": "Acme"}).want(t, http.StatusCreated)
	p.stop(t)
	files, err := filepath.Glob(filepath.Join(g.dir, "data", "*", "*.db"))
	if err != nil || len(files) != 2 {
		t.Fatalf("databases: %v %v", files, err)
	}
	controlPlane, acme := files[1], files[0]

	t.Run("busy port", func(t *testing.T) {
		l, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", g.port))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		refused(t, g, config, fmt.Sprint(g.port), "address already in use")
	})
	t.Run("unwritable data directory", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, g, strings.Replace(config, filepath.Join(g.dir, "data"), filepath.Join(file, "data"), 1), "data directory")
	})
	t.Run("wrong master secret", func(t *testing.T) {
		refused(t, g, strings.Replace(config, "base_domain auth.localhost", "base_domain auth.localhost\n\t\tsecret \"another master secret of 256 bits\"", 1), "master secret")
	})
	t.Run("unknown word", func(t *testing.T) {
		refused(t, g, strings.Replace(config, "base_domain", "base_domian", 1), "base_domian", "Caddyfile:")
	})
	t.Run("truncated control plane", func(t *testing.T) {
		whole, err := os.ReadFile(controlPlane)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(controlPlane, 0); err != nil {
			t.Fatal(err)
		}
		refused(t, g, config, "backup")
		if now, err := os.ReadFile(controlPlane); err != nil || len(now) != 0 {
			t.Errorf("something was written into it: %d bytes, %v", len(now), err)
		}
		if err := os.WriteFile(controlPlane, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("truncated tenant", func(t *testing.T) { // C1.27: acme alone answers 503
		if err := os.Truncate(acme, 0); err != nil {
			t.Fatal(err)
		}
		p := startProcess(t, g, config)
		p.platform(t).call(t, http.MethodPost, "/tenants", map[string]any{"id": "widgets", "friendly_name": "Widgets"}).want(t, http.StatusCreated)
		for tenant, status := range map[string]int{"": 200, "widgets": 200, "acme": 503} {
			a := p.get(t, tenant, "/.well-known/openid-configuration").want(t, status)
			if bytes.Contains(a.body, []byte(".db")) {
				t.Errorf("the answer names a file: %s", a.body)
			}
		}
		if now, err := os.ReadFile(acme); err != nil || len(now) != 0 {
			t.Errorf("something was written into it: %d bytes, %v", len(now), err)
		}
	})
}

// TestKilledWhileCreating: a tenant is active or not there, whenever the process
// dies (C8.6, C8.7).
func TestKilledWhileCreating(t *testing.T) {
	g, config := withoutAdministrator(t)
	for i := range 4 {
		p := startProcess(t, g, config)
		cp := p.platform(t)
		time.AfterFunc(time.Duration(5+i*9)*time.Millisecond, func() { _ = p.cmd.Process.Kill() })
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.issuer("")+"api/v2/tenants",
			strings.NewReader(fmt.Sprintf(`{"id":"cut%d","friendly_name":"Cut"}`, i)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+cp.token)
		if resp, err := p.http.Do(req); err == nil {
			_ = resp.Body.Close()
		}
		p.kill()
	}
	p := startProcess(t, g, config)
	cp := p.platform(t)
	within(t, 10*time.Second, "everything cut off is finished", func() bool {
		var list struct{ Tenants []map[string]any }
		cp.call(t, http.MethodGet, "/tenants", nil).want(t, http.StatusOK).json(t, &list)
		for _, x := range list.Tenants {
			if x["state"] != "active" {
				return false
			}
			if id := x["id"].(string); id != "control_plane" {
				p.get(t, id, "/.well-known/jwks.json").want(t, http.StatusOK)
			}
		}
		return true
	})
}
