package tenancy

import (
	"regexp"
	"slices"
	"testing"

	"gorm.io/gorm/schema"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// TestProtectedColumns holds that an export knows every column that is sealed by
// the model, and has an opinion on every column whose name sounds like a secret
// (contract C8.18).
func TestProtectedColumns(t *testing.T) {
	seen := 0
	parsedSchemas.Range(func(_, value any) bool {
		s := value.(*schema.Schema)
		for _, f := range s.Fields {
			if f.TagSettings["SERIALIZER"] != "sealed" {
				continue
			}
			seen++
			table := tableOf(t, s.Table)
			if slices.Contains(homebound, table) {
				continue
			}
			if protected[table][f.DBName] != sealedColumn {
				t.Errorf("%s.%s is sealed, and an export would carry it as it is", table, f.DBName)
			}
		}
		return true
	})
	if seen < 3 {
		t.Errorf("the model has %d sealed fields", seen)
	}
	public := []string{ // sound like it, and are not
		"clients.token_endpoint_auth_method", "clients.refresh_token", "clients.revoke_refresh_on_logout",
		"client_credentials.key_id", "resource_servers.token_lifetime", "resource_servers.token_lifetime_for_web",
		"resource_servers.token_dialect", "organizations.token_quota", "roles.name_key", "users.last_password_reset",
	}
	sounds := regexp.MustCompile(`secret|hash|private|password|token|key|otp|seed`)
	for _, table := range migrations.Layout() {
		for _, c := range table.Columns {
			name := table.Name + "." + c.Name
			if slices.Contains(homebound, table.Name) || !sounds.MatchString(c.Name) {
				continue
			}
			if (protected[table.Name][c.Name] != 0) == slices.Contains(public, name) {
				t.Errorf("%s: say in protected, or here, whether it is a secret", name)
			}
		}
	}
	for table, columns := range protected {
		for column := range columns {
			if i := slices.IndexFunc(migrations.Layout(), func(l migrations.Table) bool {
				return l.Name == table && slices.ContainsFunc(l.Columns, func(c migrations.Column) bool { return c.Name == column })
			}); i < 0 {
				t.Errorf("%s.%s is protected and does not exist", table, column)
			}
		}
	}
	for _, table := range slices.Concat(homebound, pointless) {
		tableOf(t, table)
	}
}

// tableOf returns the name if the schema has a table of it.
func tableOf(t *testing.T, name string) string {
	t.Helper()
	if !slices.ContainsFunc(migrations.Layout(), func(l migrations.Table) bool { return l.Name == name }) {
		t.Errorf("there is no table %s", name)
	}
	return name
}
