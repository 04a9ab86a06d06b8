package caddymodule

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// stateCollector reads, when asked, how things are now.
type stateCollector struct{}

// states are all states a tenant can be in.
var states = []tenancy.State{tenancy.StateProvisioning, tenancy.StateActive, tenancy.StateSuspended, tenancy.StateFailed, tenancy.StateDeleting}

func describeState(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("gatehouse_"+name, help, labels, nil)
}

var (
	tenantCount      = describeState("tenants", "Tenants, by state.", "state")
	registryRead     = describeState("registry_readable", "1 when the control plane's registry could be read at the last look, else 0.")
	passwordsWaiting = describeState("password_checks_waiting", "Password checks that wait for their turn.")
	passwordsRefused = describeState("password_checks_refused_total", "Password checks refused because too many of the same tenant waited.")
	passwordsDone    = describeState("password_checks_total", "Password checks begun.")
	syncBehind       = describeState("sync_tenants_behind", "Tenants with changes of the control plane to apply.")
	syncFailed       = describeState("sync_tenants_failed", "Tenants to which changes could not be applied several times in a row.")
	syncConflicts    = describeState("sync_conflicts", "Rows that are not copied because a tenant has one like it, in all tenants.")
	syncProblems     = describeState("sync_problems", "Rows and settings that were left as they were because an expression failed, in all tenants.")
	syncLag          = describeState("sync_lag_revisions", "Revisions the tenant furthest behind lacks.")
	syncVisits       = describeState("sync_visits_total", "Times a tenant was brought up to date.")
	syncFailures     = describeState("sync_failures_total", "Times a tenant could not be brought up to date.")
	syncCompared     = describeState("sync_drift_checks_total", "Times a tenant was compared with the control plane because somebody asked for drift.")
	syncDiffering    = describeState("sync_drift_found_total", "Differences found in these comparisons.")
	syncRepaired     = describeState("sync_repairs_total", "Times a repair changed something in a tenant.")
	syncUnrepaired   = describeState("sync_repair_failures_total", "Times a repair could not be done in a tenant.")
	sweepsRemoved    = describeState("housekeeping_removed_rows_total", "Expired rows removed, by table.", "table")
	sweepsDone       = describeState("housekeeping_visits_total", "Times a tenant was swept for expired rows.")
	logWritten       = describeState("log_entries_written_total", "Entries written to tenants' logs.")
	logDropped       = describeState("log_entries_dropped_total", "Entries of tenants' logs that were lost, because too many waited or a database failed.")
	logWaiting       = describeState("log_entries_waiting", "Entries that wait to be written to tenants' logs.")
	upgradesRunning  = describeState("upgrade_running", "1 while tenants' databases are brought to the program's schema, else 0.")
	upgradesLeft     = describeState("upgrade_tenants_left", "Tenants that the pass under way has yet to upgrade.")
	upgradesFailing  = describeState("upgrade_tenants_failing", "Tenants whose database could not be upgraded and that wait for the next try.")
	upgradesDone     = describeState("upgrades_total", "Times a tenant's database was found or brought up to date.")
	upgradesFailed   = describeState("upgrade_failures_total", "Times a tenant's database could not be upgraded.")
	sweepsFailed     = describeState("housekeeping_errors_total", "Times a tenant could not be swept.")
)

// Describe implements [prometheus.Collector].
func (stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		tenantCount, registryRead, passwordsWaiting, passwordsRefused, passwordsDone,
		syncBehind, syncFailed, syncConflicts, syncProblems, syncLag, syncVisits, syncFailures,
		syncCompared, syncDiffering, syncRepaired, syncUnrepaired,
		sweepsRemoved, sweepsDone, sweepsFailed, upgradesRunning, upgradesLeft, upgradesFailing, upgradesDone, upgradesFailed, logWritten, logDropped, logWaiting,
	} {
		ch <- d
	}
	describePlacements(ch)
}

// Collect implements [prometheus.Collector].
func (stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	work := tenancy.PasswordWork()
	gauge(passwordsWaiting, float64(work.Waiting))
	counter(passwordsRefused, work.Refused)
	counter(passwordsDone, work.Entered)
	s := newest()
	if s == nil {
		return
	}
	collectPlacements(s.pool.Stats(), ch)
	count := make(map[tenancy.State]int)
	for _, t := range s.directory.All() {
		count[t.State]++
	}
	for _, state := range states {
		gauge(tenantCount, float64(count[state]), string(state))
	}
	readable := 1.0
	if s.directory.Stale() != nil {
		readable = 0
	}
	gauge(registryRead, readable)
	loop := s.sync.Stats()
	gauge(syncBehind, float64(loop.Behind))
	gauge(syncFailed, float64(loop.Failed))
	gauge(syncConflicts, float64(loop.Conflicts))
	gauge(syncProblems, float64(loop.Problems))
	gauge(syncLag, float64(loop.Lag))
	counter(syncVisits, loop.Visits)
	counter(syncFailures, loop.Failures)
	counter(syncCompared, loop.Compared)
	counter(syncDiffering, loop.Differing)
	counter(syncRepaired, loop.Repaired)
	counter(syncUnrepaired, loop.RepairFailures)
	collectUpgrades(s.upgrader, gauge, counter)
	entries := s.logBook.Stats()
	counter(logWritten, entries.Written)
	counter(logDropped, entries.Dropped)
	gauge(logWaiting, float64(entries.Waiting))
	swept := s.keeper.Stats()
	for table, n := range swept.Removed {
		counter(sweepsRemoved, n, table)
	}
	counter(sweepsDone, swept.Visits)
	counter(sweepsFailed, swept.Errors)
}

func collectUpgrades(u *tenancy.Upgrader, gauge func(*prometheus.Desc, float64, ...string), counter func(*prometheus.Desc, int64, ...string)) {
	status, counts := u.Status(), u.Stats()
	running, left := 0.0, 0
	if status.Running {
		running, left = 1, status.Total-status.Done-status.Failed
	}
	gauge(upgradesRunning, running)
	gauge(upgradesLeft, float64(left))
	gauge(upgradesFailing, float64(len(status.Failures)))
	counter(upgradesDone, counts.Upgraded)
	counter(upgradesFailed, counts.Failed)
}

// newest returns the services of a started runtime, or nil.
func newest() (s *services) {
	runtimes.Range(func(_, value any) bool {
		if rt := value.(*runtime); rt.going.Load() {
			s = rt.services.Load()
		}
		return s == nil
	})
	return s
}

// Interface guards
var _ prometheus.Collector = stateCollector{}
