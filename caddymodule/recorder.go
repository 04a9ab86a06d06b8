package caddymodule

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// logRecorder writes events to Caddy's log, named gatehouse.events. Events hold
// no secrets.
type logRecorder struct{ runtime *runtime }

// Record implements [tenancy.Recorder].
func (l logRecorder) Record(ctx context.Context, e tenancy.Event) {
	entry := l.runtime.log.Load().Named("events").Check(zapcore.InfoLevel, e.Type)
	if entry == nil {
		return
	}
	fields := make([]zap.Field, 0, 12)
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, zap.String(name, value))
		}
	}
	if t, err := tenancy.Current(ctx); err == nil {
		add("tenant", t.ID)
	}
	add("request", tenancy.VisitOf(ctx).RequestID)
	add("description", e.Description)
	add("client_id", e.ClientID)
	add("user_id", e.UserID)
	add("connection", e.Connection)
	add("audience", e.Audience)
	add("scope", e.Scope)
	add("organization_id", e.OrgID)
	add("client_ip", e.IP)
	if len(e.Details) > 0 {
		fields = append(fields, zap.Any("details", e.Details))
	}
	entry.Write(fields...)
}

// currentLog is a slog handler that writes to the log of whatever configuration
// is the current one: what lives in a runtime outlives the one it began with.
type currentLog struct {
	runtime *runtime
	with    func(slog.Handler) slog.Handler
}

// newLog returns a logger for packages that know nothing of Caddy.
func newLog(rt *runtime) *slog.Logger {
	return slog.New(currentLog{rt, func(h slog.Handler) slog.Handler { return h }})
}

func (l currentLog) handler() slog.Handler {
	log := l.runtime.log.Load()
	return l.with(zapslog.NewHandler(log.Core(), zapslog.WithName(log.Name()), zapslog.AddStacktraceAt(slog.LevelError+1)))
}

// Enabled implements [slog.Handler].
func (l currentLog) Enabled(ctx context.Context, level slog.Level) bool {
	return l.handler().Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (l currentLog) Handle(ctx context.Context, r slog.Record) error {
	return l.handler().Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (l currentLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return currentLog{l.runtime, func(h slog.Handler) slog.Handler { return l.with(h).WithAttrs(attrs) }}
}

// WithGroup implements [slog.Handler].
func (l currentLog) WithGroup(name string) slog.Handler {
	return currentLog{l.runtime, func(h slog.Handler) slog.Handler { return l.with(h).WithGroup(name) }}
}

// Interface guards
var (
	_ tenancy.Recorder = logRecorder{}
	_ slog.Handler     = currentLog{}
)
