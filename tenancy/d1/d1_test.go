package d1_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/d1"
	"github.com/gatehouse-id/gatehouse/tenancy/d1/d1test"
	"github.com/gatehouse-id/gatehouse/tenancy/tenancytest"
)

// homes are the two ways to keep tenants.
var homes = map[string]func(testing.TB) *d1.Provider{"rest": rest, "worker": worker}

// rest returns a provider over an account without databases.
func rest(t testing.TB) *d1.Provider { return over(t, d1test.NewAPI(t)) }

func over(t testing.TB, a *d1test.API) *d1.Provider {
	return closed(t, &d1.Provider{Account: a.Account, Token: a.Token, API: a.URL, Location: "weur", Prefix: "gatehouse"})
}

// worker returns a provider over the Worker, with names of its own.
func worker(t testing.TB) *d1.Provider {
	return closed(t, &d1.Provider{
		Account: "0123456789abcdef0123456789abcdef", Worker: d1test.Worker(t) + "/", Secret: d1test.Secret + "\n",
		Prefix: "t" + strings.ToLower(tenancy.NewHexID()),
	})
}

func closed(t testing.TB, p *d1.Provider) *d1.Provider {
	t.Helper()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestConformance(t *testing.T) {
	for name, home := range homes {
		t.Run(name, func(t *testing.T) {
			tenancytest.Run(t, func(t *testing.T) tenancy.Provider { return home(t) })
		})
	}
}
