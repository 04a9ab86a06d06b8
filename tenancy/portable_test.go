package tenancy_test

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// furnish gives a tenant one of everything that is secret.
func furnish(t *testing.T, w *world, id string) {
	t.Helper()
	within(t, w.Pool, w.tenant(t, id), func(ctx context.Context) error {
		const secret = "client secret in 256 bits"
		hash, err := tenancy.HashSecret(ctx, secret+id)
		if err != nil {
			return err
		}
		return tenancy.Commit(ctx,
			tenancy.Clients.Insert(ctx, &tenancy.Client{Row: tenancy.Row{ID: "same"}, Name: id, Secret: secret + id, SecretHash: hash}),
			tenancy.Passwords.Insert(ctx, &tenancy.Password{Row: tenancy.Row{ID: "auth0|1"}, Hash: "$password-hash$" + id}),
			tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_same"}, Name: "upstream", Secrets: map[string]string{"client_secret": "upstream secret"}}),
			tenancy.Sessions.Insert(ctx, &tenancy.Session{Row: tenancy.Row{ID: "ses_same"}, TokenHash: "session hash"}),
			tenancy.EmailProviders.Insert(ctx, &tenancy.EmailProvider{
				Row: tenancy.Row{ID: tenancy.EmailProviderID}, Name: "smtp", Credentials: map[string]any{"smtp_pass": "mail password"},
			}),
			tenancy.Fallbacks.Insert(ctx, &tenancy.Fallback{
				Row: tenancy.Row{ID: "con_cp"}, Covers: "connections.okta", Secrets: map[string]any{"client_secret": inheritedSecret},
			}),
		)
	})
}

// inheritedSecret is the control plane's, and in no export of a tenant, whoever it
// is for (contract C7.18).
const inheritedSecret = "secret of the control plane"

// otherInstallation has another master secret.
func otherInstallation(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, filepath.Join(t.TempDir(), "elsewhere"), "another master secret, also 256 bits")
	if err := w.OpenControlPlane(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	w.Verify = func(ctx context.Context, _ *tenancy.Tenant) error { return tenancy.Ping(ctx) }
	return w
}

var allSecrets = []string{"client secret in", "$password-hash$", "upstream secret", "session hash", "mail password", inheritedSecret, "a2V5"} // the last is "key" as stored

// TestExport: an export without secrets has none, an import of it makes a new
// tenant with the same ids on another installation, and leaves another tenant
// alone (contract C8.18).
func TestExport(t *testing.T) {
	w, other := openWorld(t), otherInstallation(t)
	w.makeTwo(t, 300)
	furnish(t, w, "acme")
	var b bytes.Buffer
	info, err := w.Export(t.Context(), "acme", &b, tenancy.ExportOptions{})
	if err != nil || info.Bytes != int64(b.Len()) || info.Rows < 300 {
		t.Fatalf("%+v, %v", info, err)
	}
	for _, secret := range append(allSecrets, w.tenant(t, "acme").DataKey, "@widgets") {
		if strings.Contains(b.String(), secret) {
			t.Errorf("the export holds %q", secret)
		}
	}
	if _, err := w.Import(t.Context(), bytes.NewReader(b.Bytes()), tenancy.ImportOptions{}); status(err) != 409 {
		t.Errorf("an import over a tenant: %v", err)
	}
	if _, err := other.Create(t.Context(), tenancy.NewTenant{ID: "widgets", FriendlyName: "widgets"}); err != nil {
		t.Fatal(err)
	}
	x, err := other.Import(t.Context(), bytes.NewReader(b.Bytes()), tenancy.ImportOptions{Placement: "other"})
	if err != nil {
		t.Fatal(err)
	}
	if x.State != tenancy.StateActive || x.FriendlyName != "acme" || x.Placement != "other" || x.OrganizationID == w.tenant(t, "acme").OrganizationID {
		t.Errorf("imported: %+v", x)
	}
	if got, want := idsIn(t, other.Pool, x, tenancy.Users), idsIn(t, w.Pool, w.tenant(t, "acme"), tenancy.Users); !slices.Equal(got, want) {
		t.Errorf("%d users, want %d", len(got), len(want))
	}
	within(t, other.Pool, x, func(ctx context.Context) error {
		c, err := tenancy.Clients.Get(ctx, "same")
		if err == nil && (c.Secret != "" || c.SecretHash != "") {
			t.Errorf("the client has a secret: %+v", c)
		}
		if n, _ := tenancy.SigningKeys.Count(ctx, tenancy.Filter{}); n != 1 || other.keys.made.Load() < 2 {
			t.Errorf("%d signing keys", n)
		}
		return err
	})
	if users := idsIn(t, other.Pool, other.tenant(t, "widgets"), tenancy.Users); len(users) != 0 {
		t.Errorf("the other tenant has %d users", len(users))
	}
	if org, err := tenancy.Organizations.First(other.cp(t), "name = ?", "acme"); err != nil || org.ID != x.OrganizationID {
		t.Errorf("its organization: %+v, %v", org, err)
	}
}

// TestExportWithSecrets: they are written for the recipient only, and are sealed
// anew where they come to.
func TestExportWithSecrets(t *testing.T) {
	w, other := openWorld(t), otherInstallation(t)
	w.makeTwo(t, 3)
	furnish(t, w, "acme")
	mine, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, recipient := range []string{"", "age1nobody"} {
		if _, err := w.Export(t.Context(), "acme", new(bytes.Buffer), tenancy.ExportOptions{IncludeSecrets: true, Recipient: recipient}); status(err) != 400 {
			t.Errorf("recipient %q: %v", recipient, err)
		}
	}
	var b bytes.Buffer
	if _, err := w.Export(t.Context(), "acme", &b, tenancy.ExportOptions{IncludeSecrets: true, Recipient: mine.Recipient().String()}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(allSecrets, "users", "auth0|1") {
		if strings.Contains(b.String(), secret) {
			t.Errorf("the export shows %q", secret)
		}
	}
	opened, err := age.Decrypt(bytes.NewReader(b.Bytes()), mine)
	if err != nil {
		t.Fatal(err)
	}
	if lines, err := io.ReadAll(opened); err != nil || !bytes.Contains(lines, []byte("mail password")) || bytes.Contains(lines, []byte(inheritedSecret)) {
		t.Errorf("the recipient reads %d bytes without a secret of the tenant's own, or with one of the control plane's: %v", len(lines), err)
	}
	for _, identity := range []string{"", theirs.String()} {
		if _, err := other.Import(t.Context(), bytes.NewReader(b.Bytes()), tenancy.ImportOptions{Identity: identity}); status(err) != 400 || !strings.Contains(err.Error(), "identity") {
			t.Errorf("identity %q: %v", identity, err)
		}
	}
	x, err := other.Import(t.Context(), bytes.NewReader(b.Bytes()), tenancy.ImportOptions{Identity: mine.String()})
	if err != nil {
		t.Fatal(err)
	}
	within(t, other.Pool, x, func(ctx context.Context) error {
		c, err := tenancy.Clients.Get(ctx, "same")
		if err != nil {
			return err
		}
		hash, err := tenancy.HashSecret(ctx, "client secret in 256 bitsacme")
		if err != nil || c.Secret != "client secret in 256 bitsacme" || c.SecretHash != hash {
			t.Errorf("client: %+v, want hash %s, %v", c, hash, err)
		}
		p, err := tenancy.Passwords.Get(ctx, "auth0|1")
		if err != nil || p.Hash != "$password-hash$acme" {
			t.Errorf("password: %+v, %v", p, err)
		}
		con, err := tenancy.Connections.Get(ctx, "con_same")
		if err != nil || con.Secrets["client_secret"] != "upstream secret" {
			t.Errorf("connection: %+v, %v", con, err)
		}
		k, err := tenancy.SigningKeys.Get(ctx, "kid")
		if err != nil || string(k.Private) != "key" {
			t.Errorf("signing key: %+v, %v", k, err)
		}
		if n, err := tenancy.Sessions.Count(ctx, tenancy.Filter{}); n != 0 || err != nil {
			t.Errorf("%d sessions came along: %v", n, err)
		}
		m, err := tenancy.EmailProviders.Get(ctx, tenancy.EmailProviderID)
		if err != nil || m.Credentials["smtp_pass"] != "mail password" {
			t.Errorf("e-mail provider: %+v, %v", m, err)
		}
		if n, err := tenancy.Fallbacks.Count(ctx, tenancy.Filter{}); n != 0 || err != nil {
			t.Errorf("%d secrets of the control plane came along: %v", n, err)
		}
		return nil
	})
}

// TestHalfImport: an import that was cut off leaves a failed tenant that can be
// taken up by the same import, or deleted, and by nothing else.
func TestHalfImport(t *testing.T) {
	w, other := openWorld(t), otherInstallation(t)
	w.makeTwo(t, 700)
	var b bytes.Buffer
	if _, err := w.Export(t.Context(), "acme", &b, tenancy.ExportOptions{}); err != nil {
		t.Fatal(err)
	}
	cutOff := func() {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := other.Import(ctx, bytes.NewReader(b.Bytes()), tenancy.ImportOptions{Progress: func(p tenancy.Progress) {
			if x := other.tenant(t, "acme"); x.State != tenancy.StateProvisioning {
				t.Errorf("it is %s while it is imported", x.State)
			}
			if p.Done > 300 {
				cancel()
			}
		}})
		if err == nil {
			t.Fatal("it was not cut off")
		}
		x := other.tenant(t, "acme")
		if x.State != tenancy.StateFailed || !strings.Contains(x.ProvisioningError, "run the import again") {
			t.Errorf("half an import: %+v", x)
		}
		if _, err := other.Create(t.Context(), tenancy.NewTenant{ID: "acme", FriendlyName: "acme"}); status(err) != 409 {
			t.Errorf("making a tenant over half an import: %v", err)
		}
	}
	cutOff()
	if err := other.Delete(t.Context(), "acme"); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(other.dir, "acme*")); len(left) != 0 {
		t.Errorf("deleting left %v", left)
	}
	cutOff()
	x, err := other.Import(t.Context(), bytes.NewReader(b.Bytes()), tenancy.ImportOptions{})
	if err != nil || x.State != tenancy.StateActive {
		t.Fatalf("the import again: %+v, %v", x, err)
	}
	if users := idsIn(t, other.Pool, x, tenancy.Users); len(users) != 700 {
		t.Errorf("%d users", len(users))
	}
	whole := b.String()
	for name, text := range map[string]string{"cut off": whole[:len(whole)/2], "empty": "", "a value else": strings.Replace(whole, "@acme", "@evil", 1)} {
		if _, err := w.Import(t.Context(), strings.NewReader(text), tenancy.ImportOptions{}); status(err) != 400 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
