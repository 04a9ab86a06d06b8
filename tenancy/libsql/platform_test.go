package libsql_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/libsql"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql/sqldtest"
)

// platform stands for Turso: an API with the shapes of its documentation over an
// sqld that takes only the tokens minted here.
type platform struct {
	*httptest.Server
	sqld *sqldtest.Server
	key  ed25519.PrivateKey

	mu     sync.Mutex
	groups map[string]string           // database -> group
	fault  func(r *http.Request) int   // a status to answer with, or 0; may be nil
	calls  map[string]int              // "METHOD what" -> how often
	forged func(claims map[string]any) // changes a token's claims; may be nil
	late   time.Duration               // how long after its creation a database answers
}

const (
	platformToken = "platform-token-of-the-test"
	organization  = "acme-inc"
)

func newPlatform(t testing.TB) *platform {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	file := filepath.Join(t.TempDir(), "key")
	must(t, os.WriteFile(file, []byte(base64.RawURLEncoding.EncodeToString(public)), 0o600))
	p := &platform{
		sqld: sqldtest.Start(t, "--auth-jwt-key-file", file, "--admin-auth-key", "sesame"), key: private,
		groups: make(map[string]string), calls: make(map[string]int),
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// provider returns one that reaches the platform, and at any other address sqld.
func (p *platform) provider(t testing.TB) *libsql.Provider {
	t.Helper()
	x := &libsql.Provider{URL: p.URL, Organization: organization, Token: platformToken, Prefix: fmt.Sprint("i", installations.Add(1))}
	x.Dial(func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ".turso.test:80") {
			address = hostOf(t, p.sqld.URL)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	})
	t.Cleanup(func() { must(t, x.Close()) })
	return x
}

func hostOf(t testing.TB, address string) string {
	u, err := url.Parse(address)
	must(t, err)
	return u.Host
}

func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest, ok := strings.CutPrefix(r.URL.Path, "/v1/organizations/"+organization+"/databases")
	name, action, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	what := r.Method + " database"
	if action != "" {
		what = r.Method + " " + action
	}
	p.calls[what]++
	status := 0
	if p.fault != nil {
		status = p.fault(r)
	}
	switch {
	case status != 0:
		reply(w, status, map[string]any{"error": "as the test wants it"})
	case r.Header.Get("Authorization") != "Bearer "+platformToken:
		reply(w, http.StatusUnauthorized, map[string]any{"error": "could not parse jwt id"})
	case !ok:
		reply(w, http.StatusNotFound, map[string]any{"error": "could not find organization"})
	case what == "POST database":
		p.create(w, r)
	case p.groups[name] == "":
		reply(w, http.StatusNotFound, map[string]any{"error": fmt.Sprintf("could not find database with name %s: record not found", name)})
	case what == "GET database":
		reply(w, http.StatusOK, map[string]any{"database": p.describe(name, true)})
	case what == "DELETE database":
		delete(p.groups, name)
		p.admin(http.MethodDelete, name)
		reply(w, http.StatusOK, map[string]any{"database": name})
	case what == "POST auth/tokens" && r.URL.Query().Get("expiration") == "1d" && r.URL.Query().Get("authorization") == "full-access":
		reply(w, http.StatusOK, map[string]any{"jwt": p.mint()})
	default:
		reply(w, http.StatusMethodNotAllowed, map[string]any{"error": "not as documented"})
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// describe is a database in the API's words; the answer to a creation has fewer.
func (p *platform) describe(name string, whole bool) map[string]any {
	d := map[string]any{"DbId": "0eb771dd-6906-11ee-8553-eaa7715aeaf2", "Hostname": name + ".turso.test", "Name": name}
	if whole {
		d["group"], d["primaryRegion"], d["block_reads"], d["regions"] = p.groups[name], "aws-eu-west-1", false, []string{"aws-eu-west-1"}
	}
	return d
}

func (p *platform) create(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Name, Group string
		Seed        *struct{ Type, Name string }
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	switch err := d.Decode(&body); {
	case err != nil:
		reply(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
		return
	case strings.Trim(body.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(body.Name) > 64:
		reply(w, http.StatusBadRequest, map[string]any{"error": "invalid database name"})
		return
	case body.Group != "default" && body.Group != "other":
		reply(w, http.StatusBadRequest, map[string]any{"error": "group not found"})
		return
	case p.groups[body.Name] != "":
		reply(w, http.StatusConflict, map[string]any{"error": fmt.Sprintf("database with name %s already exists", body.Name)})
		return
	case body.Seed != nil && (body.Seed.Type != "database" || p.groups[body.Seed.Name] == ""):
		reply(w, http.StatusBadRequest, map[string]any{"error": "seed database not found"})
		return
	}
	p.groups[body.Name] = body.Group
	path := body.Name + "/create"
	if body.Seed != nil {
		path = body.Seed.Name + "/fork/" + body.Name
	}
	if p.late > 0 {
		time.AfterFunc(p.late, func() { p.admin(http.MethodPost, path) })
	} else {
		p.admin(http.MethodPost, path)
	}
	reply(w, http.StatusOK, map[string]any{"database": p.describe(body.Name, false)})
}

func (p *platform) admin(method, path string) {
	req, err := http.NewRequest(method, p.sqld.Admin+"/v1/namespaces/"+path, bytes.NewReader([]byte("{}")))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "basic sesame")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		panic(fmt.Sprint(method, " ", path, ": ", res.Status))
	}
}

// mint signs a token for a day.
func (p *platform) mint() string {
	claims := map[string]any{"a": "rw", "exp": time.Now().Add(24 * time.Hour).Unix(), "n": p.calls["POST auth/tokens"]}
	if p.forged != nil {
		p.forged(claims)
	}
	body, _ := json.Marshal(claims)
	e := base64.RawURLEncoding
	signed := e.EncodeToString([]byte(`{"alg":"EdDSA","typ":"JWT"}`)) + "." + e.EncodeToString(body)
	return signed + "." + e.EncodeToString(ed25519.Sign(p.key, []byte(signed)))
}

func (p *platform) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *platform) count(what string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[what]
}
