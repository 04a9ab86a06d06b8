package caddymodule

import (
	"context"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	operations = append(operations,
		operation{"GET /gatehouse/tenants/{id}/keys", listKeys},
		operation{"POST /gatehouse/tenants/{id}/keys/rotate", rotateSigningKeys},
		operation{"POST /gatehouse/tenants/{id}/keys/{kid}/revoke", revokeSigningKey},
		operation{"GET /gatehouse/keys", masterKeys},
		operation{"POST /gatehouse/keys/rewrap", rewrapDataKeys},
		operation{"POST /gatehouse/tenants/{id}/data-key/rotate", rotateDataKey},
	)
}

// keyView is a signing key as operators see it.
type keyView struct {
	KID       string         `json:"kid"`
	Alg       string         `json:"alg"`
	Use       tenancy.KeyUse `json:"use"` // or "revoked"
	Since     tenancy.Time   `json:"current_since,omitzero"`
	ExpiresAt tenancy.Time   `json:"expires_at,omitzero"` // until when it is published
}

func viewKey(k *tenancy.SigningKey) keyView {
	v := keyView{KID: k.ID, Alg: k.Alg, Use: k.Use, Since: k.CurrentAt, ExpiresAt: k.ExpiresAt}
	if k.RevokedAt != 0 {
		v.Use = "revoked"
	}
	return v
}

// keyList is an answer about signing keys.
type keyList struct {
	Keys []keyView `json:"keys"`
}

func listKeys(ctx context.Context, s *services, q *question) (any, error) {
	list := keyList{Keys: []keyView{}}
	err := s.inTenant(ctx, q.id(), func(ctx context.Context) error {
		rows, err := tenancy.SigningKeys.Find(ctx, tenancy.Filter{Where: "use_state <> ?", Args: []any{tenancy.KeyOwed}, Order: "alg, created_at, id"})
		for i := range rows {
			list.Keys = append(list.Keys, viewKey(&rows[i]))
		}
		return err
	})
	return list, err
}

// rotateSigningKeys makes the next keys the current ones, of every algorithm.
func rotateSigningKeys(ctx context.Context, s *services, q *question) (any, error) {
	err := s.inTenant(ctx, q.id(), func(ctx context.Context) error {
		_, err := s.keys.Rotate(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return listKeys(ctx, s, q)
}

// revokeSigningKey makes the tokens of a key invalid at once.
func revokeSigningKey(ctx context.Context, s *services, q *question) (any, error) {
	err := s.inTenant(ctx, q.id(), func(ctx context.Context) error {
		_, err := s.keys.Revoke(ctx, q.PathValue("kid"))
		return err
	})
	if err != nil {
		return nil, err
	}
	return listKeys(ctx, s, q)
}

// masterList is an answer about the secrets that data keys are sealed with.
type masterList struct {
	Rewrapped int64               `json:"rewrapped,omitempty"`
	Keys      []tenancy.MasterKey `json:"keys"`
}

func masterKeys(ctx context.Context, s *services, _ *question) (any, error) {
	keys, err := s.lifecycle.MasterKeys(ctx)
	return masterList{Keys: keys}, err
}

func rewrapDataKeys(ctx context.Context, s *services, q *question) (any, error) {
	n, err := s.lifecycle.RewrapDataKeys(ctx, q.steps)
	if err != nil {
		return nil, err
	}
	keys, err := s.lifecycle.MasterKeys(ctx)
	return masterList{Rewrapped: n, Keys: keys}, err
}

func rotateDataKey(ctx context.Context, s *services, q *question) (any, error) {
	if err := s.lifecycle.RotateDataKey(ctx, q.id(), q.steps); err != nil {
		return nil, err
	}
	return map[string]string{"tenant": q.id()}, nil
}
