// Package webhook tells HTTP endpoints what happened to tenants (contract C8.15):
// signed, at least once, in order for each tenant, for a day.
//
// What is to be told is in the control plane's table of deliveries, written
// together with what it tells of. A [Sender] takes from there: each endpoint has
// workers of its own, so that one that is down delays nobody else, and a delivery
// that fails holds back only those about the same tenant to the same endpoint.
package webhook
