package libsql_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql"
	"github.com/gatehouse-id/gatehouse/tenancy/libsql/sqldtest"
	"github.com/gatehouse-id/gatehouse/tenancy/tenancytest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var installations atomic.Int32

// over returns a provider that shares the server with others, under a prefix of
// its own.
func over(t testing.TB, s *sqldtest.Server) *libsql.Provider {
	t.Helper()
	p := &libsql.Provider{URL: s.URL, Admin: s.Admin, Prefix: fmt.Sprint("i", installations.Add(1))}
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

func TestConformance(t *testing.T) {
	s := sqldtest.Start(t)
	tenancytest.Run(t, func(t *testing.T) tenancy.Provider { return over(t, s) })
}

// TestConformanceFromTemplate: a tenant copied from a template is as good as one
// whose tables were made.
func TestConformanceFromTemplate(t *testing.T) {
	s := sqldtest.Start(t)
	tenancytest.Run(t, func(t *testing.T) tenancy.Provider {
		p := over(t, s)
		p.Template = "template-of-" + p.Prefix
		return p
	})
}

func opening(p tenancy.Provider, tenant string) error {
	db, err := p.Open(context.Background(), tenancy.Location{Tenant: tenant})
	if err == nil {
		err = db.Close()
	}
	return err
}

func unavailable(t *testing.T, what string, err error, hint string) {
	t.Helper()
	if !errors.Is(err, tenancy.ErrUnavailable) || !contains(err, hint) {
		t.Errorf("%s: got %v, want unavailable with %q", what, err, hint)
	}
}
