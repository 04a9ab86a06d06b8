package tenancy

import (
	"context"
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
