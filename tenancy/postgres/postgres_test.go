package postgres_test

import (
	"os"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
	"github.com/gatehouse-id/gatehouse/tenancy/tenancytest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	postgrestest.Stop()
	os.Exit(code)
}

var isolations = []postgres.Isolation{postgres.Row, postgres.Schema, postgres.Database}

// provide returns a provider over an empty database.
func provide(t testing.TB, isolation postgres.Isolation) *postgres.Provider {
	t.Helper()
	return over(t, postgrestest.DSN(t), isolation)
}

func over(t testing.TB, dsn string, isolation postgres.Isolation) *postgres.Provider {
	t.Helper()
	p := &postgres.Provider{DSN: dsn, Isolation: isolation, MaxConns: 8}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("closing the provider: %v", err)
		}
	})
	return p
}

func TestConformance(t *testing.T) {
	for _, isolation := range isolations {
		t.Run(string(isolation), func(t *testing.T) {
			tenancytest.Run(t, func(t *testing.T) tenancy.Provider { return provide(t, isolation) })
		})
	}
}
