package memory_test

import (
	"testing"

	memory "example.com/gatehouse-memory"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/tenancytest"
)

// TestConformance is the suite that every provider has to pass.
func TestConformance(t *testing.T) {
	tenancytest.Run(t, func(t *testing.T) tenancy.Provider {
		p := new(memory.Provider)
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
		return p
	})
}
