package caddymodule

import (
	"fmt"
	"io"
	"net/http"
)

func init() {
	groups["keys"] = "See and change signing keys, and the keys that secrets are sealed with"
	commands = append(
		commands,
		command{
			name: "keys list", args: "TENANT", least: 1, most: 1, short: "Lists a tenant's signing keys",
			long: `A current key signs. A next key is published already, so that it is known
everywhere before it signs. A previous key is published until the last token it
can have signed has expired. A revoked key is not published.`,
			examples: []string{"keys list acme"},
			run: func(t *terminal) error {
				var v keyList
				return t.get(tenantPath(t.arg(0), "keys"), &v, v.table)
			},
		},
		command{
			name: "keys rotate", args: "TENANT", least: 1, most: 1, short: "Makes a tenant's next signing keys the current ones",
			long: `Tokens that were issued before stay valid. Clients know the keys that come to sign
since the rotation before, so nothing fails, unless keys are rotated twice within
minutes. Keys are also rotated by themselves when they are old.`,
			examples: []string{"keys rotate acme"},
			run: func(t *terminal) error {
				var v keyList
				if err := t.call(http.MethodPost, tenantPath(t.arg(0), "keys", "rotate"), nil, &v); err != nil {
					return err
				}
				return t.show(v, v.table)
			},
		},
		command{
			name: "keys revoke", args: "TENANT KID", least: 2, most: 2, short: "Makes a signing key of a tenant invalid, with the tokens it signed",
			long: `For a key that came into wrong hands. The current key cannot be revoked: rotate
first, then revoke what is the previous key then.`,
			examples: []string{"keys revoke acme 5rQ0...", "keys rotate acme"},
			run: func(t *terminal) error {
				var v keyList
				if err := t.call(http.MethodPost, tenantPath(t.arg(0), "keys", t.arg(1), "revoke"), nil, &v); err != nil {
					return err
				}
				return t.show(v, v.table)
			},
		},
		command{
			name: "keys status", short: "Shows which master secrets are in use, and which can be removed",
			long: `Every tenant's data key is sealed with the master secret that stands first in the
option secret; those behind it open what they sealed. To replace the secret: put
the new one in front of it and reload, run keys rewrap, and when this command says
that the old one can be removed, remove it and reload.

A backup holds data keys as they were sealed when it was made: keep an old secret
somewhere safe for as long as you keep such backups.`,
			examples: []string{"keys status"},
			run: func(t *terminal) error {
				var v masterList
				return t.get("/gatehouse/keys", &v, v.table)
			},
		},
		command{
			name: "keys rewrap", short: "Seals all tenants' data keys with the first master secret",
			long: `Nothing else changes: not the data keys, not the tenants' databases. It can be
interrupted and run again.`,
			examples: []string{"keys rewrap"},
			run: func(t *terminal) error {
				var v masterList
				if err := t.follow(http.MethodPost, "/gatehouse/keys/rewrap", nil, &v); err != nil {
					return err
				}
				return t.show(v, v.table)
			},
		},
		command{
			name: "keys rotate-data-key", args: "TENANT", least: 1, most: 1, short: "Replaces the key that a tenant's secrets are sealed with",
			long: `For a data key that came into wrong hands. The tenant serves all the while, and
what it gave out stays valid: sessions, codes, tokens and client secrets. Cursors
of lists that are being read end, and callers start over. Everything sealed is
sealed anew, then the old key is gone. It can be interrupted and run again.`,
			examples: []string{"keys rotate-data-key acme"},
			run:      runRotateDataKey,
		},
	)
}

func runRotateDataKey(t *terminal) error {
	id := t.arg(0)
	var v map[string]string
	if err := t.follow(http.MethodPost, tenantPath(id, "data-key", "rotate"), nil, &v); err != nil {
		return err
	}
	return t.show(v, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "Tenant %s has a new data key; the old one opens nothing any more.\n", id)
	})
}

func (v *masterList) table(w io.Writer) {
	if v.Rewrapped > 0 {
		_, _ = fmt.Fprintf(w, "%d data keys were sealed anew.\n", v.Rewrapped)
	}
	row(w, "KEY", "SECRET", "TENANTS", "NOTE")
	for _, k := range v.Keys {
		place, note := fmt.Sprintf("number %d", k.Position), ""
		switch {
		case k.Position == 0:
			place, note = "not configured", "these tenants cannot be opened: add the secret again"
		case k.Position == 1:
			note = "seals"
		case k.Removable():
			note = "can be removed from the option secret"
		default:
			note = "still needed; run: " + commandLine("keys rewrap")
		}
		row(w, k.ID, place, k.Tenants, note)
	}
}

func (v *keyList) table(w io.Writer) {
	row(w, "KID", "ALG", "USE", "CURRENT SINCE", "PUBLISHED UNTIL")
	for _, k := range v.Keys {
		row(w, k.KID, k.Alg, k.Use, moment(k.Since), moment(k.ExpiresAt))
	}
}
