package caddymodule

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/webhook"
)

// announcer tells Caddy's events what happens to tenants, and keeps for webhooks
// what was not written with its cause: that of synchronisation, custom domains and
// settings. Nobody waits for it; where it cannot follow, events are dropped and counted in the log, webhooks
// for tenants' life cycle are not.
type announcer struct {
	runtime   *runtime
	directory *tenancy.Directory
	webhooks  []tenancy.Subscription
	sender    *webhook.Sender
	log       *slog.Logger
	queue     chan announced
}

type announced struct {
	tenancy.Notice
	kept bool // for the webhooks, by whoever made it
}

func (a *announcer) push(n announced) {
	select {
	case a.queue <- n:
	default:
		a.log.Warn("an event was dropped: handlers of Caddy events are too slow", "type", n.Type, "tenant", n.TenantID)
	}
}

// announce is [tenancy.Lifecycle.Announce].
func (a *announcer) announce(n tenancy.Notice) {
	a.sender.Wake()
	a.push(announced{n, true})
}

// Record implements [tenancy.Recorder]: what synchronisation reports, what becomes
// of custom domains, and that settings changed is told as well.
func (a *announcer) Record(_ context.Context, e tenancy.Event) {
	switch e.Description {
	case "sync.applied", "sync.failed", "tenant.domain.verified", "tenant.domain.disabled", "tenant.settings.updated":
	default:
		return
	}
	data := map[string]any{}
	if json.Unmarshal(e.Details, &data) != nil {
		return
	}
	id, _ := data["tenant_id"].(string)
	by, _ := data["actor"].(string)
	delete(data, "actor")
	delete(data, "error") // it may name files and machines of the platform
	n := tenancy.NewNotice(e.Description, id, data)
	n.Actor = by
	a.push(announced{*n, false})
}

// Run tells until ctx ends.
func (a *announcer) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-a.queue:
			a.runtime.emit(n.Notice)
			if !n.kept {
				a.keep(ctx, n.Notice)
			}
		}
	}
}

func (a *announcer) keep(ctx context.Context, n tenancy.Notice) {
	if len(a.webhooks) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	inside, leave, err := a.directory.EnterControlPlane(ctx)
	if err == nil {
		defer leave()
		if stmts := tenancy.Deliver(inside, a.webhooks, &n); len(stmts) > 0 {
			err = tenancy.Commit(inside, stmts...)
		}
	}
	if err != nil {
		a.log.WarnContext(ctx, "keeping an event for webhooks failed", "type", n.Type, "tenant", n.TenantID, "error", err)
		return
	}
	a.sender.Wake()
}

// emit emits an event to the handlers of the newest configuration.
func (rt *runtime) emit(n tenancy.Notice) {
	app := rt.newest()
	if app == nil || app.events == nil {
		return
	}
	app.events.Emit(app.ctx, n.Type, map[string]any{
		"id": n.ID, "type": n.Type, "time": n.Time.Time().UTC().Format(time.RFC3339Nano), "tenant_id": n.TenantID,
		"operation_id": n.OperationID, "actor": n.Actor, "data": n.Data,
	})
}

// loadEvents finds Caddy's events.
func (a *App) loadEvents(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.events, _ = app.(*caddyevents.App)
	return nil
}

// Interface guard
var _ tenancy.Recorder = (*announcer)(nil)
