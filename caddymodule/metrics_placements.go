package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// What the pool counts, of all placements and of each by the name it has in the
// configuration.
var (
	openDatabases = describeState("open_databases", "Databases of tenants that are open, being opened or being closed.")
	maxDatabases  = describeState("open_databases_limit", "Databases of tenants that may be open.")

	placementRefused = describeState("placement_refusals_total",
		"Visitors refused: budget (no room), crowd (too many waited), slow (not open in time), broken (failed just before).", "placement", "reason")
	placementFailures = describeState("placement_open_failures_total", "Databases that could not be opened.", "placement")
	placementOpening  = describeState("placement_open_duration_seconds", "How long databases took to open.", "placement")
)

// placementGauges are the counts of now.
var placementGauges = []struct {
	desc  *prometheus.Desc
	value func(*tenancy.PlacementStats) int
}{
	{describeState("placement_databases_limit", "Databases that may be open.", "placement"), func(s *tenancy.PlacementStats) int { return s.Limit }},
	{describeState("placement_databases_open", "Databases open, being opened or being closed.", "placement"), func(s *tenancy.PlacementStats) int { return s.Open }},
	{describeState("placement_databases_in_use", "Open databases that somebody is inside of.", "placement"), func(s *tenancy.PlacementStats) int { return s.InUse }},
	{describeState("placement_databases_opening", "Databases being opened.", "placement"), func(s *tenancy.PlacementStats) int { return s.Opening }},
	{describeState("placement_databases_closing", "Databases being closed.", "placement"), func(s *tenancy.PlacementStats) int { return s.Closing }},
	{describeState("placement_tenants_waiting", "Tenants that wait for room to open their database.", "placement"), func(s *tenancy.PlacementStats) int { return s.Waiting }},
	{describeState("placement_tenants_failing", "Tenants refused because their database failed lately.", "placement"), func(s *tenancy.PlacementStats) int { return s.Failing }},
}

func describePlacements(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{openDatabases, maxDatabases, placementRefused, placementFailures, placementOpening} {
		ch <- d
	}
	for _, g := range placementGauges {
		ch <- g.desc
	}
}

func collectPlacements(pool tenancy.PoolStats, ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	gauge(openDatabases, pool.Open)
	gauge(maxDatabases, pool.Limit)
	for i := range pool.Placements {
		s := &pool.Placements[i]
		for _, g := range placementGauges {
			gauge(g.desc, g.value(s), s.Name)
		}
		for reason, n := range s.Refusals {
			ch <- prometheus.MustNewConstMetric(placementRefused, prometheus.CounterValue, float64(n), s.Name, reason)
		}
		ch <- prometheus.MustNewConstMetric(placementFailures, prometheus.CounterValue, float64(s.Failures), s.Name)
		ch <- prometheus.MustNewConstHistogram(placementOpening, s.OpenCount, s.OpenSeconds, s.OpenTimes, s.Name)
	}
}
