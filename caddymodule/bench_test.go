package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// leftOf are the benchmark's tenants that are still there.
func leftOf(s *services) (ids []string) {
	for id := range s.directory.All() {
		if strings.HasPrefix(id, benchPrefix) {
			ids = append(ids, id)
		}
	}
	return ids
}

// TestBench: it measures everything in each placement, leaves no tenant, and
// touches none that is somebody's.
func TestBench(t *testing.T) {
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.start()
	acme := s.tenant("acme")
	mine, err := s.services().lifecycle.Create(t.Context(), tenancy.NewTenant{ID: benchPrefix + "mine", FriendlyName: "Mine", CreatedBy: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	x := s.run("bench", "--rounds", "5", "--tenants", "2").holds(t, "WHAT", "make a tenant", "sqlite", "token, RS256", "token, ES256", "read a row", "write a row", "password, argon2id", "password, bcrypt 10", "2 tenants are gone")
	if !strings.Contains(x.err, "token, RS256 in sqlite: 5 of 5") || !strings.Contains(x.err, "tenants removed from sqlite: 2 of 2") {
		t.Errorf("progress: %s", x.err)
	}
	var report benchReport
	if err := json.Unmarshal([]byte(s.run("bench", "sqlite", "--rounds", "3", "--tenants", "1", "--json").holds(t).out), &report); err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Figures {
		if f.P50 <= 0 || f.P99 < f.P50 || f.PerSecond <= 0 || f.Times < 1 || f.Times > 3 {
			t.Errorf("%+v", f)
		}
	}
	if len(report.Figures) < 8 || report.Processors < 1 || report.Tenants != 1 {
		t.Errorf("report %+v", report)
	}
	if left := leftOf(s.services()); len(left) != 1 || left[0] != mine.ID {
		t.Errorf("tenants %q, want only that of somebody else", left)
	}
	if still, ok := s.services().directory.ByID("acme"); !ok || still.State != tenancy.StateActive || still.DataKey != acme.DataKey {
		t.Errorf("acme is %+v", still)
	}
	s.run("bench", "mars").fails(t, exitFailed, "There is no placement 'mars'", "there are: sqlite")
	s.run("bench", "--rounds", "100000").fails(t, exitFailed, "rounds from 1 to 20000")
	s.run("bench", "--tenants", "0").fails(t, exitUsage, "a number from 1")
}

// TestBenchInterrupted: who stops waiting leaves no tenant, and one whose process
// was killed is found by its maker and age.
func TestBenchInterrupted(t *testing.T) {
	s := newServer(t)
	s.admin = fmt.Sprintf("localhost:%d", freePort(t))
	s.start()
	services := s.services()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := &benchMark{services: services, times: benchTimes{tenants: 2, rounds: 1000, passwords: 2}, report: func(p progress) {
		if p.Step == "read a row in sqlite" && p.Done == 3 {
			cancel()
		}
	}}
	if _, err := b.placement(ctx, "sqlite"); err == nil || ctx.Err() == nil {
		t.Errorf("error %v", err)
	}
	if left := leftOf(services); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	for id, by := range map[string]string{"bench-old": benchCreator, "bench-hers": "ann", "bench-new": benchCreator} {
		if _, err := services.lifecycle.Create(t.Context(), tenancy.NewTenant{ID: id, FriendlyName: id, CreatedBy: by}); err != nil {
			t.Fatal(err)
		}
		if id == "bench-new" {
			continue
		}
		if _, err := services.lifecycle.Update(t.Context(), id, func(t *tenancy.Tenant) error {
			t.CreatedAt = tenancy.At(time.Now().Add(-2 * benchOver))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.removeForgotten(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := leftOf(services); len(left) != 2 {
		t.Errorf("left are %q, want bench-hers and bench-new", left)
	}
	if !benching.TryLock() {
		t.Fatal("a benchmark is still running")
	}
	defer benching.Unlock()
	s.run("bench").fails(t, exitFailed, "A benchmark is running")
}
