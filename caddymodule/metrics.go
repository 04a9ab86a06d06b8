package caddymodule

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// The collectors are the process's and not a configuration's: Caddy has a new
// registry for every configuration, and what was counted goes on over reloads.
// No label has values that a caller can make up.
var (
	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "gatehouse", Name: "requests_total",
		Help: "Requests answered, by endpoint, status code and class of tenant (control_plane, tenant, none).",
	}, []string{"endpoint", "code", "tenant"})

	requestSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "gatehouse", Name: "request_duration_seconds",
		Help:    "How long requests took, by endpoint.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"endpoint"})

	eventsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "gatehouse", Name: "events_total",
		Help: "Entries of tenants' logs, by type.",
	}, []string{"type"})

	checksTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "gatehouse", Name: "token_checks_total",
		Help: "Requests that tenant_auth judged, by the status it answered; 200 are those it let through.",
	}, []string{"code"})

	deliveriesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "gatehouse", Name: "hook_deliveries_total",
		Help: "Attempts to tell a webhook, by host and result (delivered, failed, given_up).",
	}, []string{"host", "result"})

	limitedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "gatehouse", Name: "rate_limited_requests_total",
		Help: "Requests refused because there were too many, by what they were counted at (arrival, client, management).",
	}, []string{"limit"})

	mailsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "gatehouse", Name: "mails_total",
		Help: "Attempts to send mail, by result (delivered, failed, given_up).",
	}, []string{"result"})

	tokensTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "gatehouse", Name: "tokens_issued_total",
		Help: "Answers of the token endpoint that carried a token, by grant.",
	}, []string{"grant"})
)

// registerMetrics adds the collectors to a configuration's registry.
func registerMetrics(registry prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{requestsTotal, requestSeconds, eventsTotal, checksTotal, deliveriesTotal, mailsTotal, limitedTotal, tokensTotal, stateCollector{}} {
		var again prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &again) {
			return err
		}
	}
	return nil
}

// endpoints are the labels of paths; all others are "other".
var endpoints = map[string]string{
	"/authorize":                        "authorize",
	"/authorize/resume":                 "authorize",
	"/oauth/token":                      "token",
	"/oauth/revoke":                     "revoke",
	"/oauth/introspect":                 "introspect",
	"/oauth/par":                        "par",
	"/oauth/device/code":                "device",
	"/userinfo":                         "userinfo",
	"/.well-known/openid-configuration": "discovery",
	"/.well-known/oauth-authorization-server": "discovery",
	"/.well-known/jwks.json":                  "jwks",
	"/v2/logout":                              "logout",
	"/oidc/logout":                            "logout",
	"/dbconnections/signup":                   "signup",
	"/dbconnections/change_password":          "change_password",
}

func endpointOf(path string) string {
	if name, ok := endpoints[path]; ok {
		return name
	}
	switch {
	case isManagement(path):
		return "management"
	case strings.HasPrefix(path, "/u/"):
		return "login"
	}
	return "other"
}

// observeRequest counts an answered request; t is nil where the host was nobody's.
func observeRequest(path string, t *tenancy.Tenant, status int, took time.Duration) {
	class := "none"
	switch {
	case t != nil && t.IsControlPlane():
		class = "control_plane"
	case t != nil:
		class = "tenant"
	}
	endpoint := endpointOf(path)
	requestsTotal.WithLabelValues(endpoint, strconv.Itoa(status), class).Inc()
	requestSeconds.WithLabelValues(endpoint).Observe(took.Seconds())
}

// observeCheck counts a request that tenant_auth judged.
func observeCheck(status int) { checksTotal.WithLabelValues(strconv.Itoa(status)).Inc() }

// eventTypes are the known types of events (contract C5.90); all others count
// as "other".
var eventTypes = func() map[string]bool {
	set := make(map[string]bool)
	for _, t := range strings.Fields(`s f fp fu ss fs ssa fsa seacft feacft seccft feccft secte fecte sertft fertft sede fede sepft
		fepft seoobft ferrt slo flo sapi fapi scp fcp scpr fcpr cs sv fv sui si fi w fn limit_wc limit_mu limit_sul
		organization_member_added api_limit oidc_backchannel_logout_succeeded oidc_backchannel_logout_failed
		gh_tenant gh_sync gh_operation`) {
		set[t] = true
	}
	return set
}()

// grants are the event types that mean that tokens were issued.
var grants = map[string]string{
	"seacft": "authorization_code",
	"seccft": "client_credentials",
	"sertft": "refresh_token",
	"sede":   "device_code",
	"sepft":  "password",
}

// metricsRecorder counts events.
type metricsRecorder struct{}

// Record implements [tenancy.Recorder].
func (metricsRecorder) Record(_ context.Context, e tenancy.Event) {
	kind := e.Type
	if !eventTypes[kind] {
		kind = "other"
	}
	eventsTotal.WithLabelValues(kind).Inc()
	if grant, ok := grants[e.Type]; ok {
		tokensTotal.WithLabelValues(grant).Inc()
	}
}

// Interface guards
var _ tenancy.Recorder = metricsRecorder{}
