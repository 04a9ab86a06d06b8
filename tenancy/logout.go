package tenancy

import (
	"context"
	"slices"
	"time"
)

// LogoutReason is why a session ended, by the words that Auth0 has for what a
// client wants to be told of.
type LogoutReason string

// The reasons.
const (
	LogoutByClient     LogoutReason = "rp-logout"                // at a logout endpoint
	SessionRevoked     LogoutReason = "session-revoked"          // by an administrator, or somebody else logged in
	PasswordChanged    LogoutReason = "password-changed"         // by an administrator or by a reset
	EmailChanged       LogoutReason = "email-identifier-changed" // as before
	AccountDeactivated LogoutReason = "account-deactivated"      // the user was blocked
	AccountDeleted     LogoutReason = "account-deleted"
)

// LogoutOptions are where and of what a client hears when a session ends
// (contract C3.37).
type LogoutOptions struct {
	BackchannelURLs []string           `json:"backchannel_logout_urls"`
	Initiators      *LogoutInitiators  `json:"backchannel_logout_initiators,omitempty"`
	Metadata        *LogoutSessionData `json:"backchannel_logout_session_metadata,omitempty"`
}

// LogoutInitiators choose among the reasons. Nil means all.
type LogoutInitiators struct {
	Mode     string   `json:"mode"` // all, or custom for the selected ones; empty is custom
	Selected []string `json:"selected_initiators"`
}

// LogoutSessionData is stored and returned and has no effect.
type LogoutSessionData struct {
	Include bool `json:"include"`
}

// Hears reports whether the client wants to be told of an end for the reason.
// Nil options hear of nothing.
func (o *LogoutOptions) Hears(why LogoutReason) bool {
	switch {
	case o == nil || len(o.BackchannelURLs) == 0:
		return false
	case o.Initiators == nil || o.Initiators.Mode == "all":
		return true
	}
	return slices.Contains(o.Initiators.Selected, string(why))
}

// Logout is the end of a session that a client has yet to be told of. It is in
// the tenant's own database, written in one batch with the end by [EndSessions],
// and removed once it was told or is given up. Row.ID joins session and client.
type Logout struct {
	Row
	SessionID string
	UserID    string
	ClientID  string
	Issuer    string // of the session's tokens
	Reason    LogoutReason
	Told      []string `gorm:"serializer:jsontext"` // addresses that need not be told again
	Attempts  int64
	DueAt     Time // while it is being told: when it may be again if nobody says how that ended
	ExpiresAt Time
}

// Logouts is their table.
var Logouts = newTable[Logout]("logouts")

// LogoutLife is for how long a client is told at all: much longer than all its
// attempts take, unless no process was there to make them.
const LogoutLife = time.Hour

// EndSessions are the statements that end all sessions the condition holds for,
// and keep for each of their clients that has an address to be told at that it
// happened. Whether the client wants to hear of the reason is for the teller to
// see. The condition is as for [Table.RemoveWhere].
func EndSessions(ctx context.Context, why LogoutReason, where string, args ...any) []Stmt {
	now := At(time.Now())
	values := append([]any{linkSeparator, now, now, string(why), now, now.Add(LogoutLife)}, args...)
	keep := SQL(ctx, `INSERT INTO logouts
			(tenant_id, id, revision, created_at, updated_at, session_id, user_id, client_id, issuer, reason, told, attempts, due_at, expires_at)
		SELECT ended.tenant_id, ended.id || CAST(? AS TEXT) || clients.id, 1, CAST(? AS BIGINT), CAST(? AS BIGINT),
			ended.id, ended.user_id, clients.id, ended.issuer, CAST(? AS TEXT), 'null', 0, CAST(? AS BIGINT), CAST(? AS BIGINT)
		FROM (SELECT tenant_id, id, user_id, issuer, clients FROM sessions WHERE tenant_id = @tenant AND (`+where+`)) AS ended
		JOIN clients ON clients.tenant_id = ended.tenant_id AND REPLACE(ended.clients, '"' || clients.id || '"', '') <> ended.clients
		WHERE clients.tenant_id = @tenant AND clients.oidc_logout LIKE '{"backchannel_logout_urls":["%'
		ON CONFLICT (tenant_id, id) DO NOTHING`, values...)
	keep.tells = true
	return []Stmt{keep, Sessions.RemoveWhere(ctx, where, args...)}
}

// WatchLogouts has f called with the tenant after logouts were kept there that
// clients are to be told of. f must not block. The returned function ends it. A
// call is a hint: what another process kept is not told.
func (p *Pool) WatchLogouts(f func(*Tenant)) (stop func()) {
	p.onLogout.Store(&f, struct{}{})
	return func() { p.onLogout.Delete(&f) }
}

func (p *Pool) loggedOut(t *Tenant) {
	p.onLogout.Range(func(f, _ any) bool {
		(*f.(*func(*Tenant)))(t)
		return true
	})
}
