package sqlite_test

import (
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
	"github.com/gatehouse-id/gatehouse/tenancy/tenancytest"
)

func TestConformance(t *testing.T) {
	tenancytest.Run(t, func(t *testing.T) tenancy.Provider { return &sqlite.Provider{Dir: t.TempDir()} })
}
