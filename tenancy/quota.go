package tenancy

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// quotas are the kinds of rows that a tenant can have so many of, each with the
// number where none is set (contract C5.18); 0 means any number.
var quotas = map[string]int64{
	"users": 0, "clients": 0, "connections": 0, "organizations": 0, "roles": 1000, "scopes": 1000, "domains": 10,
}

// Quota is how many rows of a kind the tenant can have; 0 means any number. Scopes
// are counted for each resource server.
func (t *Tenant) Quota(kind string) int64 {
	if n, set := t.Quotas[kind]; set {
		return n
	}
	return quotas[kind]
}

// CheckQuotas is the [Error] 400 for quotas that cannot be set.
func CheckQuotas(set map[string]int64) error {
	for kind, n := range set {
		if _, known := quotas[kind]; !known {
			return Errorf(http.StatusBadRequest, "invalid_body", "Payload validation error: 'Additional properties not allowed: %s; there are %s' on property quotas",
				kind, strings.Join(slices.Sorted(maps.Keys(quotas)), ", "))
		}
		if n < 0 {
			return Errorf(http.StatusBadRequest, "invalid_body", "Payload validation error: 'Value %d is less than minimum 0' on property quotas.%s", n, kind)
		}
	}
	return nil
}

// QuotaExceeded is the answer to what would be one too many.
func QuotaExceeded(kind string, limit int64) error {
	return Errorf(http.StatusForbidden, "quota_exceeded", "The tenant can have at most %d %s", limit, strings.ReplaceAll(kind, "_", " "))
}

// QuotaCrossed is the event of having n rows of a kind where there can be most, if
// that is just four fifths of it or all, and whether it is.
func QuotaCrossed(kind string, n, most int64) (Event, bool) {
	if most == 0 || n != most && n != (most*4+4)/5 {
		return Event{}, false
	}
	details, _ := json.Marshal(map[string]any{"quota": kind, "used": n, "limit": most}) // plain data always has a form in JSON
	return Event{Type: "limit_wc", Description: "Quota of " + kind, Details: details}, true
}

// QuotaOfUsers is for whoever adds a user to the entered tenant: the guards for the
// batch, and how many users there are then and can be; limit 0 is any number. One too
// many is [QuotaExceeded].
func QuotaOfUsers(ctx context.Context) (guards []Stmt, n, limit int64, err error) {
	t, err := Current(ctx)
	if err != nil {
		return nil, 0, 0, err
	}
	if limit = t.Quota("users"); limit == 0 {
		return nil, 0, 0, nil
	}
	if n, err = Users.Count(ctx, Filter{}); err != nil {
		return nil, 0, 0, err
	}
	if n >= limit {
		return nil, n, limit, QuotaExceeded("users", limit)
	}
	return WithinQuota(ctx, Users.Name(), n, limit), n + 1, limit, nil
}

// WithinQuota are the guards of a batch that adds one to the rows of a table, of
// which the entered tenant can have limit; n is how many there are by now. Close to
// the limit those who add wait for each other, so that none is one too many also
// where the engine has concurrent writers.
func WithinQuota(ctx context.Context, table string, n, limit int64) []Stmt {
	guard := Require(ctx, `(SELECT COUNT(*) FROM `+table+` WHERE tenant_id = @tenant) < ?`, limit)
	if n < limit/10*8 {
		return []Stmt{guard}
	}
	turn := SQL(ctx, `INSERT INTO counters (tenant_id, id, value) VALUES (@tenant, 'quota', 1)
		ON CONFLICT (tenant_id, id) DO UPDATE SET value = counters.value + 1`)
	return []Stmt{turn, guard}
}
