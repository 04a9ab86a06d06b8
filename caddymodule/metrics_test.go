package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// TestMetrics: callers cannot make up series.
func TestMetrics(t *testing.T) {
	s := newServer(t).start()
	registry := prometheus.NewRegistry()
	for range 2 { // as every configuration does
		if err := registerMetrics(registry); err != nil {
			t.Fatal(err)
		}
	}
	series := func() (n int) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	s.get("random.example.org", "/random")
	s.get("auth.example.com", "/random")
	before := series()
	for i := range 50 {
		s.get(fmt.Sprintf("random%d.example.org", i), fmt.Sprintf("/random%d", i))
		s.get("auth.example.com", fmt.Sprintf("/random%d", i))
		metricsRecorder{}.Record(t.Context(), tenancy.Event{Type: "other" + fmt.Sprint(i)})
	}
	if after := series(); after > before+1 { // the series "other" of events
		t.Errorf("%d series became %d", before, after)
	}
	var text strings.Builder
	families, _ := registry.Gather()
	for _, f := range families {
		text.WriteString(f.GetName() + " ")
	}
	for _, name := range []string{"gatehouse_requests_total", "gatehouse_request_duration_seconds", "gatehouse_open_databases", "gatehouse_placement_databases_open", "gatehouse_placement_refusals_total", "gatehouse_placement_open_duration_seconds", "gatehouse_tenants", "gatehouse_housekeeping_errors_total"} {
		if !strings.Contains(text.String(), name+" ") {
			t.Errorf("%s is missing in: %s", name, text.String())
		}
	}
}

// TestRecorder: an event reaches Caddy's log with its tenant.
func TestRecorder(t *testing.T) {
	s := newServer(t).start()
	acme := s.tenant("acme")
	rt := runningRuntime(t)
	core, logs := observe()
	rt.log.Store(core)
	err := s.services().pool.Do(t.Context(), acme, func(ctx context.Context) error {
		logRecorder{rt}.Record(ctx, tenancy.Event{Type: "s", ClientID: "app", Details: json.RawMessage(`{"a":1}`)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	entries := logs.All()
	if len(entries) != 1 || entries[0].Message != "s" || entries[0].ContextMap()["tenant"] != "acme" || entries[0].ContextMap()["client_id"] != "app" {
		t.Errorf("got %v", entries)
	}
	newLog(rt).With("tenant", "acme").Error("fault", "status", 500)
	if last := logs.All()[len(logs.All())-1]; last.Message != "fault" || last.ContextMap()["tenant"] != "acme" {
		t.Errorf("got %v", last)
	}
}
