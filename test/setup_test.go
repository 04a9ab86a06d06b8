package test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

var setupLink = regexp.MustCompile(`https://\S+/u/setup\?token=\S+`)

// withoutAdministrator is the tests' configuration for a gateway of its own,
// which has no administrator yet.
func withoutAdministrator(t *testing.T) (gateway, string) {
	t.Helper()
	dir := t.TempDir()
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(gatewayConfig, ports[0], ports[1], filepath.Join(dir, "caddy"), filepath.Join(dir, "caddy.log"), filepath.Join(dir, "data"))
	return gateway{port: ports[0], dir: dir}, strings.Replace(config, `admin root@example.com "correct horse battery 9"`, "", 1)
}

// TestFirstAdministrator: the first start prints one link, which makes one
// administrator once, on the control plane only; the next start is quiet.
func TestFirstAdministrator(t *testing.T) {
	g, config := withoutAdministrator(t)
	p := startProcess(t, g, config)
	links := setupLink.FindAllString(p.output.String(), -1)
	if len(links) != 1 {
		t.Fatalf("%d setup links: %s", len(links), p.output)
	}
	link := links[0]
	p.platform(t).call(t, http.MethodPost, "/tenants", map[string]any{"id": "acme", "friendly_name": "Acme"}).want(t, http.StatusCreated)

	v := newVisitor(t)
	for name, wrong := range map[string]string{
		"another token":    link + "x",
		"no token":         link[:strings.Index(link, "?")],
		"a tenant's host":  strings.Replace(link, "auth.localhost", "acme.auth.localhost", 1),
		"two of the token": link + "&token=" + link[strings.Index(link, "=")+1:],
	} {
		if got := v.open(wrong); got.status < 400 || strings.Contains(got.body, "<form") {
			t.Errorf("%s: status %d", name, got.status)
		}
	}
	form := v.open(link)
	if form.status != http.StatusOK || form.header.Get("Cache-Control") != "no-store" || !strings.Contains(form.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Fatalf("the setup page: %d %v", form.status, form.header)
	}
	for name, fields := range map[string]map[string]string{
		"a weak password": {"email": "root@example.com", "password": "short"},
		"no address":      {"email": "<script>", "password": password},
	} {
		got := v.submit(form, fields)
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, `role="alert"`) || strings.Contains(got.body, "<script>") {
			t.Errorf("%s: status %d: %.300s", name, got.status, got.body)
		}
	}

	var mu sync.Mutex
	made := 0
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			got := newVisitor(t).submit(form, map[string]string{"email": fmt.Sprintf("root%d@example.com", i), "password": password})
			mu.Lock()
			defer mu.Unlock()
			switch got.status {
			case http.StatusOK:
				made++
			case http.StatusNotFound:
			default:
				t.Errorf("status %d: %.300s", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if made != 1 {
		t.Errorf("of six at a time %d made an administrator", made)
	}
	if got := v.open(link); got.status != http.StatusNotFound {
		t.Errorf("the link works after it was used: %d", got.status)
	}
	var users []map[string]any
	p.platform(t).call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK).json(t, &users)
	if len(users) != 1 {
		t.Errorf("%d users on the control plane", len(users))
	}

	p.stop(t)
	again := startProcess(t, g, config)
	if out := again.output.String(); strings.Contains(out, "/u/setup") {
		t.Errorf("the second start is not quiet: %s", out)
	}
	again.get(t, "acme", "/.well-known/openid-configuration").want(t, http.StatusOK)
}
