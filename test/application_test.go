package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// notebook is a small application that knows nothing of logins: a page, a script,
// and an API that believes the headers of whatever stands in front of it.
func notebook() http.Handler {
	files := fstest.MapFS{
		"index.html": {Data: []byte(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Notebook</title><link rel="stylesheet" href="/style.css"></head>
<body><h1>Notebook</h1><p id="who">Whose?</p>
<form method="post" action="/notes"><input name="text" value="a note" aria-label="Note"><button id="keep">Keep</button></form>
<p><a id="out" href="/.gatehouse/logout">Log out</a></p><script src="/app.js"></script></body></html>`)},
		"bye.html":  {Data: []byte(`<!DOCTYPE html><html lang="en"><head><title>Bye</title></head><body><h1>Bye</h1></body></html>`)},
		"style.css": {Data: []byte(`body { font: 18px sans-serif; margin: 3rem } #who { color: #060 }`)},
		"app.js": {Data: []byte(`fetch('/api/me' + location.search).then((r) => r.json()).then((me) => {
  document.querySelector('#who').textContent = me.user + ' of ' + me.tenant + ' asked for ' + me.query;
});`)},
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /api/me", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{
			"user": strings.Join(r.Header.Values("X-User-Id"), ","), "tenant": strings.Join(r.Header.Values("X-Tenant-Id"), ","), "query": r.URL.RawQuery,
			"permissions": r.Header.Get("X-Permissions"), "org": r.Header.Get("X-Org-Id"), "cookie": r.Header.Get("Cookie"), "authorization": r.Header.Get("Authorization"),
		})
	})
	mux.HandleFunc("POST /notes", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "kept %q for %s", r.FormValue("text"), r.Header.Get("X-User-Id"))
	})
	return mux
}

// notebooks is the gateway with the application behind it, for two tenants.
type notebooks struct {
	*process
	cp    api
	users map[string]string
}

func startNotebooks(t *testing.T) *notebooks {
	t.Helper()
	upstream := httptest.NewServer(notebook())
	t.Cleanup(upstream.Close)
	g, config := withoutAdministrator(t)
	config += fmt.Sprintf(`
https://*.apps.auth.localhost:%d {
	tls internal
	@open path /bye.html /style.css
	handle @open {
		reverse_proxy %[2]s
	}
	handle {
		tenant_auth {
			audience https://notes.example.com
			host_suffix apps.auth.localhost
			forward
			login {
				after_logout /bye.html
			}
		}
		reverse_proxy %[2]s
	}
}
`, g.port, strings.TrimPrefix(upstream.URL, "http://"))
	n := &notebooks{process: startProcess(t, g, config), users: map[string]string{}}
	n.cp = n.platform(t)
	for _, tenant := range []string{"acme", "widgets"} {
		n.cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": tenant, "friendly_name": strings.ToUpper(tenant)}).want(t, http.StatusCreated)
		in := n.cp.on(tenant)
		in.create(t, "/resource-servers", map[string]any{"identifier": "https://notes.example.com", "name": "Notes", "signing_alg": "ES256"})
		c := in.create(t, "/clients", map[string]any{
			"name": "Notebook", "app_type": "regular_web", "callbacks": []string{n.app(tenant) + "/.gatehouse/callback"}, "grant_types": []string{"authorization_code"},
		})
		in.enableConnection(t, c["client_id"].(string))
		n.users[tenant] = in.user(t, userEmail)
	}
	return n
}

func (n *notebooks) app(tenant string) string {
	return fmt.Sprintf("https://%s.apps.auth.localhost:%d", tenant, n.port)
}

// operator does in the background what a step of the journey calls for.
func (n *notebooks) operator(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/end-session":
			n.cp.on("acme").call(t, http.MethodDelete, "/users/"+url.PathEscape(n.users["acme"])+"/sessions", nil).want(t, http.StatusAccepted)
		case "/suspend":
			n.cp.call(t, http.MethodPost, "/tenants/widgets/suspend", map[string]any{}).want(t, http.StatusOK)
		case "/resume":
			n.cp.call(t, http.MethodPost, "/tenants/widgets/resume", map[string]any{}).want(t, http.StatusOK)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestApplicationInChromium: a person uses an application that knows nothing of
// logins, at two tenants in one browser. With SCREENSHOTS set to a directory the
// pictures stay there.
func TestApplicationInChromium(t *testing.T) {
	requireChromium(t)
	requireClients(t)
	n := startNotebooks(t)
	operator := n.operator(t)
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	type step = map[string]any
	login := map[string]string{"username": userEmail, "password": password}
	forged := map[string]string{"X-User-Id": "auth0|root", "X-Tenant-Id": "widgets", "X-Permissions": "everything", "Connection": "X-User-Id"}
	acme, widgets := n.app("acme"), n.app("widgets")
	var got struct {
		Steps map[string]struct {
			URL, Text string
			Status    int
			Answer    struct {
				Status int
				Body   string
			}
		}
		CSPViolations []string
	}
	runClient(t, "journey.mjs", map[string]any{"screenshots": dir, "steps": []step{
		{"name": "first visit", "open": acme + "/?note=%2F7&of=acme"},
		{"name": "logged in", "login": login},
		{"name": "forged", "ask": step{"path": "/api/me", "headers": forged}},
		{"name": "kept", "click": "#keep"},
		{"name": "other tenant", "open": widgets + "/?note=8"},
		{"name": "logged in there", "login": login},
		{"name": "still here", "open": acme + "/?note=9"},
		{"name": "session ends", "call": operator + "/end-session"},
		{"name": "script without session", "ask": step{"path": "/api/me"}},
		{"name": "form without session", "click": "#keep"},
		{"name": "has to log in", "open": acme + "/?note=10"},
		{"name": "logged in again", "login": login},
		{"name": "suspended", "call": operator + "/suspend"},
		{"name": "visit of suspended", "open": widgets + "/?note=11"},
		{"name": "neighbour of suspended", "open": acme + "/?note=12"},
		{"name": "resumed", "call": operator + "/resume"},
		{"name": "visit of resumed", "open": widgets + "/?note=13"},
		{"name": "logged out", "click": "#out"},
		{"name": "after logout", "open": widgets + "/?note=14"},
		{"name": "neighbour of logout", "open": acme + "/?note=15"},
	}}, &got)
	person := func(tenant, note string) string { return n.users[tenant] + " of " + tenant + " asked for " + note }
	for name, want := range map[string]struct {
		at     string
		status int
		text   string
	}{
		"first visit":            {n.issuer("acme") + "u/login", 200, "Notebook"},
		"logged in":              {acme + "/?note=%2F7&of=acme", 200, person("acme", "note=%2F7&of=acme")},
		"kept":                   {acme + "/notes", 200, `kept "a note" for ` + n.users["acme"]},
		"other tenant":           {n.issuer("widgets") + "u/login", 200, "Notebook"},
		"logged in there":        {widgets + "/?note=8", 200, person("widgets", "note=8")},
		"still here":             {acme + "/?note=9", 200, person("acme", "note=9")},
		"form without session":   {acme + "/notes", 401, "Your session has ended"},
		"has to log in":          {n.issuer("acme") + "u/login", 200, "Notebook"},
		"logged in again":        {acme + "/?note=10", 200, person("acme", "note=10")},
		"visit of suspended":     {widgets + "/?note=11", 403, "Tenant is suspended"},
		"neighbour of suspended": {acme + "/?note=12", 200, person("acme", "note=12")},
		"visit of resumed":       {widgets + "/?note=13", 200, person("widgets", "note=13")},
		"logged out":             {widgets + "/bye.html", 200, "Bye"},
		"after logout":           {n.issuer("widgets") + "u/login", 200, "Notebook"},
		"neighbour of logout":    {acme + "/?note=15", 200, person("acme", "note=15")},
	} {
		s := got.Steps[name]
		if !strings.HasPrefix(s.URL, want.at) || s.Status != want.status || !strings.Contains(s.Text, want.text) {
			t.Errorf("%s: at %s, status %d: %q; want %s, %d, %q", name, s.URL, s.Status, s.Text, want.at, want.status, want.text)
		}
	}
	if s := got.Steps["visit of suspended"]; s.Text != "Tenant is suspended" { // a page, no JSON
		t.Errorf("a person at a suspended tenant reads %q", s.Text)
	}
	var me map[string]string
	if s := got.Steps["forged"].Answer; json.Unmarshal([]byte(s.Body), &me) != nil || me["user"] != n.users["acme"] || me["tenant"] != "acme" || me["permissions"] == "everything" || me["cookie"] != "" || me["authorization"] != "" {
		t.Errorf("with forged headers the application saw %s", s.Body)
	}
	if s := got.Steps["script without session"].Answer; s.Status != http.StatusUnauthorized || !strings.Contains(s.Body, "invalid_token") {
		t.Errorf("a script without session: %+v", s)
	}
	if len(got.CSPViolations) > 0 {
		t.Errorf("the policy was violated: %q", got.CSPViolations)
	}
}
