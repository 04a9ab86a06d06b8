package test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

const (
	masterSecret    = "a master secret of 256 bits that no file holds"
	upstreamSecret  = "the secret of a connection to another provider"
	vaultPassword   = "a password that only its owner knows 7"
	logWithoutCodes = `(?s)format filter \{.*?\n\t\t\}\n`
)

// secretive runs the tests' gateway in a process of its own, with everything
// logged as Caddyfile.example does, and an admin endpoint.
func secretive(t *testing.T) *process {
	t.Helper()
	g, config := withoutAdministrator(t)
	example, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	filter := regexp.MustCompile(logWithoutCodes).FindString(string(example))
	if !strings.Contains(filter, "delete code") {
		t.Fatalf("Caddyfile.example has no filter: %s", filter)
	}
	for from, to := range map[string]string{
		"admin off":                  "admin unix/" + filepath.Join(g.dir, "admin.sock"),
		"level DEBUG":                "level DEBUG\n" + filter,
		"base_domain auth.localhost": "base_domain auth.localhost\nsecret \"" + masterSecret + "\"\nadmin root@example.com \"" + adminPassword + `"`,
		"\tgatehouse\n}":             "\tlog\n\tgatehouse\n}",
	} {
		if !strings.Contains(config, from) {
			t.Fatalf("nothing to replace: %q", from)
		}
		config = strings.Replace(config, from, to, 1)
	}
	return startProcess(t, g, config)
}

// command runs one of our commands against the process and returns what it
// printed, to both streams.
func (p *process) command(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t), append(args, "--address", "unix/"+filepath.Join(p.dir, "admin.sock"))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// vaulted is a tenant of a gateway whose secrets are all known.
type vaulted struct {
	*process
	secrets map[string]string // by what they are

	app, redirect, verifier, link string
	visitor                       *visitor
	refresh                       string
	machine, machineSecret        string
	unused                        page // a callback whose code was not redeemed
}

const vaultAPI = "https://vault.example.com"

// fill makes tenant vault and goes all the ways on which secrets come about.
func fill(t *testing.T, p *process) *vaulted {
	x := &vaulted{process: p, redirect: "http://localhost:1/callback", visitor: newVisitor(t), secrets: map[string]string{
		"master secret": masterSecret, "administrator's password": adminPassword, "management secret": managerSecret,
		"password": vaultPassword, "connection's secret": upstreamSecret,
	}}
	cp := p.platform(t)
	x.secrets["management token"] = cp.token
	cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": "vault", "friendly_name": "Vault"}).want(t, http.StatusCreated)
	in := cp.on("vault")
	x.app = in.spa(t, "App", []int{1})
	in.create(t, "/users", map[string]any{"connection": "Username-Password-Authentication", "email": userEmail, "password": vaultPassword, "email_verified": true})
	in.create(t, "/resource-servers", map[string]any{"identifier": vaultAPI, "name": "Vault", "allow_offline_access": true})
	in.create(t, "/connections", map[string]any{"name": "upstream", "strategy": "oidc", "options": map[string]any{"client_id": "us", "client_secret": upstreamSecret}})
	c := in.create(t, "/clients", map[string]any{"name": "Machine", "app_type": "non_interactive", "grant_types": []string{"client_credentials"}})
	x.machine, x.machineSecret = c["client_id"].(string), c["client_secret"].(string)
	in.create(t, "/client-grants", map[string]any{"client_id": x.machine, "audience": vaultAPI, "scope": []string{}})
	x.secrets["client secret"] = x.machineSecret
	x.secrets["machine's token"] = x.machineToken(t, "vault", x.machine, x.machineSecret, vaultAPI)

	x.link, x.verifier = x.authorizeURL("vault", x.app, x.redirect, url.Values{"audience": {vaultAPI}, "scope": {"openid offline_access"}})
	callback := x.visitor.login(x.link, userEmail, vaultPassword)
	x.secrets["code"] = callback.url.Query().Get("code")
	x.redeemed(t, callback, "")
	x.unused = x.visitor.open(x.link)
	x.secrets["code that was not used"] = x.unused.url.Query().Get("code")
	issuer, err := url.Parse(x.issuer("vault"))
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range x.visitor.http.Jar.Cookies(issuer) {
		x.secrets["cookie "+cookie.Name] = cookie.Value
	}
	if len(x.secrets) < 13 {
		t.Fatalf("some secrets did not come about: %v", x.secrets)
	}
	return x
}

// redeemed exchanges a callback's code and notes the tokens.
func (x *vaulted) redeemed(t *testing.T, callback page, when string) {
	t.Helper()
	x.tokens(t, x.redeem(t, "vault", x.app, x.redirect, x.verifier, callback), when)
}

func (x *vaulted) tokens(t *testing.T, a answer, when string) {
	t.Helper()
	var got struct {
		Access  string `json:"access_token"`
		ID      string `json:"id_token"`
		Refresh string `json:"refresh_token"`
	}
	a.want(t, http.StatusOK).json(t, &got)
	x.refresh = got.Refresh
	x.secrets["access token"+when], x.secrets["refresh token"+when] = got.Access, got.Refresh
	if got.ID != "" {
		x.secrets["ID token"+when] = got.ID
	}
}

// TestRotationsKeepWhatWasGivenOut: a session, a refresh token, a client's secret
// and a code from before a tenant's data key and the control plane's were replaced
// work afterwards, and after the master secret was.
func TestRotationsKeepWhatWasGivenOut(t *testing.T) {
	x := fill(t, secretive(t))
	for _, tenant := range []string{"vault", "control_plane"} {
		if out := x.command(t, "keys", "rotate-data-key", tenant); !strings.Contains(out, "Tenant "+tenant+" has a new data key") {
			t.Errorf("rotating: %s", out)
		}
	}
	x.redeemed(t, x.unused, " of a code from before")
	x.tokens(t, x.token(t, "vault", url.Values{"grant_type": {"refresh_token"}, "client_id": {x.app}, "refresh_token": {x.refresh}}), " of a refresh token from before")
	if x.visitor.open(x.link).url.Query().Get("code") == "" {
		t.Error("the session from before is gone")
	}
	x.machineToken(t, "vault", x.machine, x.machineSecret, vaultAPI)
	x.platform(t).on("vault").call(t, http.MethodGet, "/users", nil).want(t, http.StatusOK) // by the control plane's client
	if out := x.command(t, "keys", "status"); !strings.Contains(out, "seals") {
		t.Errorf("status: %s", out)
	}
}

// TestSecretsAreNowhere: after everything was used, rotated and logged, no file of
// any database and no line of any log has a secret in any usual form.
func TestSecretsAreNowhere(t *testing.T) {
	x := fill(t, secretive(t))
	x.command(t, "keys", "rotate-data-key", "vault")
	x.command(t, "tenants", "show", "vault")
	x.tokens(t, x.token(t, "vault", url.Values{"grant_type": {"refresh_token"}, "client_id": {x.app}, "refresh_token": {x.refresh}}), " after the rotation")
	// What goes wrong is logged with more care than what goes well.
	x.token(t, "vault", url.Values{"grant_type": {"refresh_token"}, "client_id": {x.app}, "refresh_token": {x.refresh + "x"}}).want(t, http.StatusBadRequest)
	x.redeem(t, "vault", x.app, x.redirect, x.verifier, x.unused).want(t, http.StatusOK)
	x.redeem(t, "vault", x.app, x.redirect, x.verifier, x.unused).want(t, http.StatusBadRequest) // and takes what it gave
	newVisitor(t).login(x.link, userEmail, vaultPassword+" mistyped")

	files := snapshot(t, x.dir) // with what is in the logs of databases that are open
	x.stop(t)
	for name, text := range snapshot(t, x.dir) {
		if !bytes.Equal(files[name], text) {
			files["stopped/"+name] = text
		}
	}
	files["output"] = []byte(x.output.String())
	for _, want := range []string{"data/tenants/vault.db-wal", "stopped/data/tenants/control_plane.db", "caddy.log"} {
		if len(files[want]) == 0 {
			t.Fatalf("nothing in %s", want)
		}
	}
	if !bytes.Contains(files["caddy.log"], []byte(`"debug"`)) || !bytes.Contains(files["caddy.log"], []byte("http.log.access")) {
		t.Fatal("the log is not at level DEBUG, or has no requests")
	}
	for what, part := range privateParts(t, x.dir) {
		x.secrets[what] = part
	}
	searched := 0
	for what, secret := range x.secrets {
		for form, text := range forms(secret) {
			searched++
			for name, content := range files {
				if at := bytes.Index(content, []byte(text)); at >= 0 {
					t.Errorf("%s has the %s as %s: ...%.200q", name, what, form, content[max(at-80, 0):])
				}
			}
		}
	}
	t.Logf("%d secrets in %d forms are in none of %d files", len(x.secrets), searched, len(files))
}

// snapshot reads every file below a directory but the configuration, which is the
// operator's.
func snapshot(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "Caddyfile" {
			return err
		}
		text, err := os.ReadFile(path)
		if name, within := strings.CutPrefix(path, dir+"/"); within {
			files[name] = text
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// privateParts opens the stopped gateway's databases with the master secret and
// returns the numbers that private keys are made of, as bytes.
func privateParts(t *testing.T, dir string) map[string]string {
	t.Helper()
	ring, err := tenancy.NewRing([]byte(masterSecret))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{Master: ring, Placements: map[string]tenancy.Provider{
		"sqlite": &sqlite.Provider{Dir: filepath.Join(dir, "data", "tenants")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := tenancy.NewHosts(tenancy.Hosts{BaseDomain: baseDomain})
	if err != nil {
		t.Fatal(err)
	}
	life := &tenancy.Lifecycle{Pool: pool, Directory: tenancy.NewDirectory(pool, hosts), Master: ring, Keys: noKeys{}}
	if err := life.OpenControlPlane(t.Context(), tenancy.ControlPlaneConfig{Placement: "sqlite"}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := pool.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	parts := map[string]string{}
	for id, x := range life.Directory.All() {
		err := pool.Do(t.Context(), x, func(ctx context.Context) error {
			keys, err := tenancy.SigningKeys.Find(ctx, tenancy.Filter{Where: "use_state <> ?", Args: []any{tenancy.KeyOwed}})
			for _, k := range keys {
				addParts(t, parts, id+"'s key "+k.ID, k.Private)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(parts) < 8 {
		t.Fatalf("only %d parts of private keys", len(parts))
	}
	return parts
}

func addParts(t *testing.T, parts map[string]string, name string, der []byte) {
	t.Helper()
	parts[name] = string(der)
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		parts[name+" d"] = string(k.D.Bytes())
		for i, prime := range k.Primes {
			parts[fmt.Sprint(name, " prime ", i)] = string(prime.Bytes())
		}
	case *ecdsa.PrivateKey:
		d, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		parts[name+" d"] = string(d)
	case ed25519.PrivateKey:
		parts[name+" seed"] = string(k.Seed())
	default:
		t.Fatalf("%s is a %T", name, parsed)
	}
}

type noKeys struct{}

func (noKeys) EnsureKeys(context.Context) error { return nil }

// forms are the spellings a secret could be stored in: as it is, escaped for JSON
// and for addresses, in hexadecimal and in base64, also in the middle of something
// longer, and the bytes that it stands for.
func forms(secret string) map[string]string {
	all := map[string]string{}
	spell(all, "", secret)
	if b, err := base64.RawURLEncoding.DecodeString(secret); err == nil && len(b) >= 16 {
		spell(all, "decoded, ", string(b))
	}
	return all
}

func spell(all map[string]string, prefix, secret string) {
	all[prefix+"raw"] = secret
	if quoted, err := json.Marshal(secret); err == nil {
		all[prefix+"JSON"] = strings.Trim(string(quoted), `"`)
	}
	all[prefix+"query"] = url.QueryEscape(secret)
	all[prefix+"path"] = url.PathEscape(secret)
	all[prefix+"hex"] = hex.EncodeToString([]byte(secret))
	all[prefix+"HEX"] = strings.ToUpper(all[prefix+"hex"])
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		for name, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := e.EncodeToString(padded)
			all[fmt.Sprint(prefix, name, " at ", shift)] = text[(shift*4+2)/3 : len(text)-1]
		}
	}
}

// TestFormsFind: the search would find a secret in each of its forms.
func TestFormsFind(t *testing.T) {
	const secret = `pass "word" + more?`
	for name, text := range map[string]string{
		"raw": "x" + secret, "JSON": `{"a":"pass \"word\" + more?"}`, "query": "a=" + url.QueryEscape(secret), "hex": fmt.Sprintf("%x", "ab"+secret),
		"base64 at 0": base64.StdEncoding.EncodeToString([]byte(secret + "!!")), "base64 at 1": base64.StdEncoding.EncodeToString([]byte("a" + secret + "!")),
		"base64url at 2": base64.URLEncoding.EncodeToString([]byte("ab" + secret)),
	} {
		if form := forms(secret)[name]; form == "" || !strings.Contains(text, form) {
			t.Errorf("%s: %q is not found in %q", name, form, text)
		}
	}
}
