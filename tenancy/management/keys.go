package management

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// keyRoutes are those on the tenant's own signing keys (contract C5.85, C5.86).
var keyRoutes = []route{
	get("/keys/signing", listKeys, "read:signing_keys"),
	get("/keys/signing/{kid}", readKey, "read:signing_keys"),
	write(http.MethodPost, "/keys/signing/rotate", http.StatusCreated, rotateKeys, "create:signing_keys"),
	write(http.MethodPut, "/keys/signing/{kid}/revoke", http.StatusOK, revokeKey, "update:signing_keys"),
}

// keyView shows the public side of a key only.
func keyView(k *tenancy.SigningKey) object {
	var o object
	o.set("kid", k.ID)
	o.set("cert", k.Certificate)
	if block, _ := pem.Decode([]byte(k.Certificate)); block != nil {
		// Both are names of the certificate, by which it is looked for; neither
		// protects anything (RFC 7517 sections 4.8 and 4.9).
		one, two := sha1.Sum(block.Bytes), sha256.Sum256(block.Bytes)
		o.set("thumbprint", strings.ToUpper(hex.EncodeToString(one[:])))
		o.set("fingerprint", colons(two[:]))
	}
	o.set("alg", k.Alg)
	revoked := k.RevokedAt != 0
	o.set("current", k.Use == tenancy.KeyCurrent && !revoked)
	o.set("next", k.Use == tenancy.KeyNext && !revoked)
	o.set("previous", k.Use == tenancy.KeyPrevious && !revoked)
	o.set("revoked", revoked)
	for _, at := range []struct {
		name string
		time tenancy.Time
	}{{"revoked_at", k.RevokedAt}, {"current_since", k.CurrentAt}, {"current_until", k.RetiredAt}} {
		if at.time != 0 {
			o.set(at.name, at.time)
		}
	}
	return o
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = strings.ToUpper(hex.EncodeToString([]byte{b}))
	}
	return strings.Join(parts, ":")
}

func listKeys(ctx context.Context, _ *Call) (any, error) {
	rows, err := tenancy.SigningKeys.Find(ctx, tenancy.Filter{Where: "use_state <> ?", Args: []any{tenancy.KeyOwed}, Order: "created_at, id"})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(rows, func(a, b tenancy.SigningKey) int { return rank(a.Use) - rank(b.Use) })
	answers := make([]object, len(rows))
	for i := range rows {
		answers[i] = keyView(&rows[i])
	}
	return answers, nil
}

func rank(u tenancy.KeyUse) int {
	return slices.Index([]tenancy.KeyUse{tenancy.KeyCurrent, tenancy.KeyNext, tenancy.KeyPrevious}, u)
}

func readKey(ctx context.Context, c *Call) (any, error) {
	k, err := found(tenancy.SigningKeys.First(ctx, "id = ? AND use_state <> ?", c.param("kid"), tenancy.KeyOwed))("Signing key")
	if err != nil {
		return nil, err
	}
	return keyView(k), nil
}

func rotateKeys(ctx context.Context, c *Call) (any, error) {
	k, err := c.api.config.Keys.Rotate(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"cert": k.Certificate, "kid": k.ID}, nil
}

func revokeKey(ctx context.Context, c *Call) (any, error) {
	k, err := c.api.config.Keys.Revoke(ctx, c.param("kid"))
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, missing("Signing key")
	}
	if err != nil {
		return nil, err
	}
	return map[string]string{"cert": k.Certificate, "kid": k.ID}, nil
}
