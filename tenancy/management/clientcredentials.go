package management

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// clientCredentialRoutes are those on the public keys that a client proves itself
// by (contract C5.61).
var clientCredentialRoutes = []route{
	get("/clients/{id}/credentials", clientCredentials, "read:client_credentials"),
	write(http.MethodPost, "/clients/{id}/credentials", http.StatusCreated, Handle(addClientCredential), "create:client_credentials"),
	get("/clients/{id}/credentials/{credential}", readClientCredential, "read:client_credentials"),
	write(http.MethodPatch, "/clients/{id}/credentials/{credential}", http.StatusOK, Handle(changeClientCredential), "update:client_credentials"),
	write(http.MethodDelete, "/clients/{id}/credentials/{credential}", http.StatusNoContent, removeClientCredential, "delete:client_credentials"),
}

// newCredential is the body that gives a client a key.
type newCredential struct {
	Type      string        `json:"credential_type"` // public_key
	Name      string        `json:"name"`
	PEM       string        `json:"pem"`
	Alg       string        `json:"alg"` // default RS256, of EC keys ES256
	KeyID     string        `json:"kid"` // default a hash of the key
	FromCert  bool          `json:"parse_expiry_from_cert"`
	ExpiresAt *tenancy.Time `json:"expires_at"`
}

// row is the new row of the body.
func (in *newCredential) row(c *Call, clientID string) (*tenancy.ClientCredential, error) {
	for _, m := range []struct {
		path, value string
		member      member
	}{
		{"credential_type", in.Type, text(1, 0).in("public_key")},
		{"name", in.Name, text(0, 128)},
		{"pem", in.PEM, text(1, 1<<14)},
		{"kid", in.KeyID, text(0, 64).that(keyID)},
	} {
		if err := m.member.accept(valueOf(m.value), m.path); err != nil {
			return nil, err
		}
	}
	key, err := tenancy.ParsePublicKey(in.PEM)
	if err != nil {
		return nil, invalid("pem", "The key cannot be used: %s", err)
	}
	row := &tenancy.ClientCredential{
		Row: tenancy.Row{ID: tenancy.NewID("cred_", 22)}, ClientID: clientID, Name: in.Name, KeyID: in.KeyID, Alg: in.Alg, Public: key.DER,
	}
	switch algs := key.Algorithms(); {
	case row.Alg == "":
		row.Alg = algs[0]
	case !slices.Contains(algs, row.Alg):
		return nil, invalid("alg", "No enum match for: %s (keys of this kind: %s)", row.Alg, strings.Join(algs, ", "))
	}
	if row.KeyID == "" {
		row.KeyID = tenancy.HashToken(string(key.DER))
	}
	switch {
	case in.FromCert && key.Expires.IsZero():
		return nil, invalid("parse_expiry_from_cert", "The key is not in a certificate")
	case in.FromCert:
		row.ExpiresAt = tenancy.At(key.Expires)
	case in.ExpiresAt != nil:
		row.ExpiresAt = *in.ExpiresAt
	}
	return row, ahead(c, row.ExpiresAt)
}

// keyID refuses key ids that no header of a token should hold.
func keyID(s string) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	if s != "" && (len(s) < 10 || strings.Trim(s, letters) != "") {
		return "String does not match pattern: ^[0-9a-zA-Z-_]{10,64}$"
	}
	return ""
}

// ahead refuses an expiry that has passed already; 0 is never.
func ahead(c *Call, at tenancy.Time) error {
	if at != 0 && at <= tenancy.At(c.api.config.Now()) {
		return invalid("expires_at", "The time has passed")
	}
	return nil
}

func credentialView(row *tenancy.ClientCredential) object {
	var o object
	o.set("id", row.ID)
	o.members = append(o.members, render(row).members...)
	o.set("credential_type", "public_key")
	if row.ExpiresAt != 0 {
		o.set("expires_at", row.ExpiresAt)
	}
	return o
}

func clientCredentials(ctx context.Context, c *Call) (any, error) {
	client, err := clients.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	rows, err := tenancy.ClientCredentials.Find(ctx, tenancy.Filter{Where: "client_id = ?", Args: []any{client.ID}, Order: "created_at, id"})
	if err != nil {
		return nil, err
	}
	answers := make([]object, len(rows))
	for i := range rows {
		answers[i] = credentialView(&rows[i])
	}
	return answers, nil
}

// clientCredential finds the row that the path names, of the client it names.
func (c *Call) clientCredential(ctx context.Context) (*tenancy.Client, *tenancy.ClientCredential, error) {
	client, err := clients.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, nil, err
	}
	row, err := found(tenancy.ClientCredentials.First(ctx, "client_id = ? AND id = ?", client.ID, c.param("credential")))("Client credential")
	return client, row, err
}

func readClientCredential(ctx context.Context, c *Call) (any, error) {
	_, row, err := c.clientCredential(ctx)
	if err != nil {
		return nil, err
	}
	return credentialView(row), nil
}

func addClientCredential(ctx context.Context, c *Call, in *newCredential) (any, error) {
	var row *tenancy.ClientCredential
	err := commit(ctx, func() ([]tenancy.Stmt, error) {
		client, err := clients.writable(ctx, c, c.param("id"))
		if err != nil {
			return nil, err
		}
		if row, err = in.row(c, client.ID); err != nil {
			return nil, err
		}
		n, err := tenancy.ClientCredentials.Count(ctx, tenancy.Filter{Where: "client_id = ?", Args: []any{client.ID}})
		if err != nil {
			return nil, err
		}
		if n >= tenancy.MaxClientCredentials {
			return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "A client can have at most %d credentials", tenancy.MaxClientCredentials)
		}
		return []tenancy.Stmt{
			exists(ctx, tenancy.Clients, client.ID),
			tenancy.Require(ctx, "(SELECT COUNT(*) FROM client_credentials WHERE tenant_id = @tenant AND client_id = ?) = ?", client.ID, n),
			tenancy.ClientCredentials.Insert(ctx, row),
		}, nil
	})
	if errors.Is(err, tenancy.ErrConflict) && !errors.Is(err, tenancy.ErrStale) {
		return nil, conflict("client_credential", "The client has a credential with kid '%s' already", row.KeyID)
	}
	if err != nil {
		return nil, err
	}
	return credentialView(row), nil
}

// credentialChange is the body that changes a key: what it is stays.
type credentialChange struct {
	Name      *string       `json:"name"`
	ExpiresAt *tenancy.Time `json:"expires_at"` // null is never
}

func changeClientCredential(ctx context.Context, c *Call, in *credentialChange) (any, error) {
	var row *tenancy.ClientCredential
	err := commit(ctx, func() ([]tenancy.Stmt, error) {
		client, before, err := c.clientCredential(ctx)
		if err != nil {
			return nil, err
		}
		if err := clients.unguarded(ctx, c, client); err != nil {
			return nil, err
		}
		changed := *before
		row = &changed
		if err := in.apply(c, row); err != nil {
			return nil, err
		}
		if row.Name == before.Name && row.ExpiresAt == before.ExpiresAt {
			return nil, nil
		}
		return []tenancy.Stmt{tenancy.ClientCredentials.Replace(ctx, row)}, nil
	})
	if err != nil {
		return nil, err
	}
	return credentialView(row), nil
}

func (in *credentialChange) apply(c *Call, row *tenancy.ClientCredential) error {
	if in.Name != nil {
		if err := text(0, 128).accept(valueOf(*in.Name), "name"); err != nil {
			return err
		}
		row.Name = *in.Name
	}
	if !c.given("expires_at") {
		return nil
	}
	row.ExpiresAt = 0
	if in.ExpiresAt != nil {
		row.ExpiresAt = *in.ExpiresAt
	}
	return ahead(c, row.ExpiresAt)
}

func removeClientCredential(ctx context.Context, c *Call) (any, error) {
	client, row, err := c.clientCredential(ctx)
	if err != nil {
		return nil, err
	}
	if err := clients.unguarded(ctx, c, client); err != nil {
		return nil, err
	}
	return none{}, tenancy.Commit(ctx, tenancy.ClientCredentials.Remove(ctx, row.ID))
}
