package caddymodule

import (
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
	)
}

func (v *keyList) table(w io.Writer) {
	row(w, "KID", "ALG", "USE", "CURRENT SINCE", "PUBLISHED UNTIL")
	for _, k := range v.Keys {
		row(w, k.KID, k.Alg, k.Use, moment(k.Since), moment(k.ExpiresAt))
	}
}
