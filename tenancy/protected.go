package tenancy

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// protection is why an export treats a column with care.
type protection int

const (
	sealedColumn protection = iota + 1 // sealed with the data key; opened for an export, sealed anew by an import
	hashedColumn                       // a hash that holds anywhere
	keyedColumn                        // a hash under the data key, of no use elsewhere
)

// protected are the columns that hold hashes, keys and secrets, by table. That
// none is missing is held by a test over the model.
var protected = map[string]map[string]protection{
	"clients":         {"secret": sealedColumn, "secret_hash": keyedColumn, "previous_secret_hash": keyedColumn, "previous_secret": sealedColumn, "registration_hash": hashedColumn},
	"connections":     {"secrets": sealedColumn},
	"email_providers": {"credentials": sealedColumn},
	"signing_keys":    {"private": sealedColumn},
	"passwords":       {"hash": hashedColumn},
	"files":           {"value": sealedColumn},
	"request_keys":    {"body": sealedColumn},
}

// pointless are tables whose rows mean nothing without their protected columns.
var pointless = []string{"passwords", "signing_keys", "email_providers"}

// homebound are tables that stay where they are: what is under way and would not
// work elsewhere, because it is made with the data key, and what the control
// plane keeps of tenants and their domains, and tenants of the control plane: its
// secrets above all, which are in no export (contract C7.18).
var homebound = []string{
	"sessions", "logouts", "login_sessions", "pushed_requests", "client_assertions", "login_attempts", "grants", "invitations", "deliveries",
	"request_keys",
	"tenants", "change_log", "operations", "operation_events", "sync_state", "sync_targets", "counters",
	"custom_domains", "files", "file_locks", "fallbacks", "outgoing_mails", "upstream_logins", "tickets",
}

// exported are the tables of an export, with those columns it has.
func exported(secrets bool) (tables []rawTable) {
	for _, t := range rawTables() {
		if slices.Contains(homebound, t.Name) || !secrets && slices.Contains(pointless, t.Name) {
			continue
		}
		t.Columns = slices.DeleteFunc(slices.Clone(t.Columns), func(c migrations.Column) bool {
			p := protected[t.Name][c.Name]
			return p == keyedColumn || p != 0 && !secrets
		})
		tables = append(tables, t.arranged())
	}
	return tables
}

// bare returns the row with its sealed columns opened.
func (v *vault) bare(tenant string, t *rawTable, r rawRow) (rawRow, error) {
	return v.convert(t, r, func(place, text string) (string, error) {
		plaintext, err := v.ring.Open(place, text)
		return string(plaintext), err
	}, tenant)
}

// covered returns the row with its sealed columns sealed, and a client's secret
// hashed in a column behind the others.
func (v *vault) covered(tenant string, t *rawTable, r rawRow) (rawRow, error) {
	sealed, err := v.convert(t, r, func(place, text string) (string, error) { return v.ring.Seal(place, []byte(text)), nil }, tenant)
	if err != nil || t.Name != Clients.Name() {
		return sealed, err
	}
	var secret, hash string
	if i := slices.IndexFunc(t.Columns, func(c migrations.Column) bool { return c.Name == "secret" }); i >= 0 && r[i] != "" {
		text, _ := r[i].(string)
		if err := json.Unmarshal([]byte(text), &secret); err != nil {
			return nil, errBroken("the secret of a client cannot be read")
		}
		if hash, err = v.hashSecret(secret); err != nil {
			return nil, err
		}
	}
	return append(sealed, hash), nil
}

func (v *vault) convert(t *rawTable, r rawRow, f func(place, text string) (string, error), tenant string) (rawRow, error) {
	r = slices.Clone(r)
	for i, c := range t.Columns {
		text, _ := r[i].(string)
		if protected[t.Name][c.Name] != sealedColumn || text == "" {
			continue
		}
		other, err := f(tenant+":"+t.Name+":"+c.Name, text)
		if err != nil {
			return nil, fmt.Errorf("%s.%s: %w", t.Name, c.Name, err)
		}
		r[i] = other
	}
	return r, nil
}

// imported is the table that covered's rows are of.
func imported(t rawTable) rawTable {
	if t.Name != Clients.Name() {
		return t
	}
	t.Columns = append(slices.Clone(t.Columns), migrations.Column{Name: "secret_hash", Type: migrations.Text})
	return t.arranged()
}

// hashSecret is [HashSecret] for whoever is not inside.
func (v *vault) hashSecret(secret string) (string, error) {
	keys, err := v.secrets(clientSecrets)
	if err != nil {
		return "", err
	}
	return hashUnder(keys[0], secret), nil
}
