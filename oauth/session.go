package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// touchInterval is how often the idle expiry of a session is written at most.
// A session may so end up to a minute early, never late.
const touchInterval = time.Minute

// sessionPolicy is how long sessions last in a tenant (contract C2.15, C3.25).
type sessionPolicy struct {
	Absolute   time.Duration // from the login
	Idle       time.Duration // from the last use
	Persistent bool          // the cookie outlives the browser
}

// browserSession is the session of the request's browser, or nil where it has
// none that is alive. It is found by the hash of the cookie's value, so that
// nothing in the database can be put into a cookie.
func (s *Server) browserSession(ctx context.Context, r *http.Request) (*tenancy.Session, error) {
	value := readCookie(r, sessionCookie)
	if value == "" {
		return nil, nil
	}
	return s.sessionWhere(ctx, "token_hash = ?", tenancy.HashToken(value))
}

// sessionByID is the live session with the public id, or nil (C3.31).
func (s *Server) sessionByID(ctx context.Context, id string) (*tenancy.Session, error) {
	return s.sessionWhere(ctx, "id = ?", id)
}

// sessionWhere reads a session by a unique column without the typed table: this
// statement runs on every request with a cookie.
func (s *Server) sessionWhere(ctx context.Context, condition string, value string) (*tenancy.Session, error) {
	var row tenancy.Session
	var device, clients, methods, other string
	err := tenancy.QueryRow(ctx, `SELECT id, revision, token_hash, issuer, user_id, connection, authenticated_at,
		last_interacted_at, idle_expires_at, expires_at, persistent, device, clients, methods, other, created_at
		FROM sessions WHERE tenant_id = @tenant AND `+condition, []any{value},
		&row.ID, &row.Revision, &row.TokenHash, &row.Issuer, &row.UserID, &row.Connection, &row.AuthenticatedAt,
		&row.LastInteractedAt, &row.IdleExpiresAt, &row.ExpiresAt, &row.Persistent, &device, &clients, &methods, &other, &row.CreatedAt)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = errors.Join(json.Unmarshal([]byte(device), &row.Device), json.Unmarshal([]byte(clients), &row.Clients),
		json.Unmarshal([]byte(methods), &row.Methods), json.Unmarshal([]byte(other), &row.Other))
	if err != nil {
		return nil, err
	}
	if !row.Alive(s.now()) {
		return nil, nil
	}
	return &row, nil
}

// effectiveSessionPolicy reads the tenant's settings.
func effectiveSessionPolicy(ctx context.Context) (sessionPolicy, error) {
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return sessionPolicy{}, err
	}
	var cookie struct {
		Mode string `json:"mode"`
	}
	if raw := settings.Raw("session_cookie"); raw != nil {
		if err := json.Unmarshal(raw, &cookie); err != nil {
			return sessionPolicy{}, err
		}
	}
	if cookie.Mode == "non-persistent" {
		return sessionPolicy{Absolute: settings.Hours("ephemeral_session_lifetime"), Idle: settings.Hours("idle_ephemeral_session_lifetime")}, nil
	}
	return sessionPolicy{Absolute: settings.Hours("session_lifetime"), Idle: settings.Hours("idle_session_lifetime"), Persistent: true}, nil
}

// logIn makes the session of a login that has just been proven, and the value of
// its cookie. The value is new at every login (C3.26); where the same person logs
// in again in the same browser the session keeps its public id, so that the
// tokens it gave out go on, and where another person does theirs ends.
func (s *Server) logIn(ctx context.Context, l *tenancy.LoginSession, a *authorization, old *tenancy.Session) (*tenancy.Session, string, error) {
	policy, err := effectiveSessionPolicy(ctx)
	if err != nil {
		return nil, "", err
	}
	now, visit, value := tenancy.At(s.now()), tenancy.VisitOf(ctx), tenancy.NewToken()
	fresh := &tenancy.Session{
		Row: tenancy.Row{ID: tenancy.NewID("ses_", 24), CreatedAt: now}, TokenHash: tenancy.HashToken(value),
		Issuer: visit.Issuer, UserID: l.UserID, Connection: l.Connection, AuthenticatedAt: l.AuthenticatedAt, Methods: l.Methods,
		LastInteractedAt: now, ExpiresAt: now.Add(policy.Absolute), Persistent: policy.Persistent,
		Device: tenancy.Device{
			InitialIP: visit.ClientIP, InitialUserAgent: visit.UserAgent,
			LastIP: visit.ClientIP, LastUserAgent: visit.UserAgent,
		},
	}
	fresh.IdleExpiresAt = min(now.Add(policy.Idle), fresh.ExpiresAt)
	if old != nil && old.UserID == l.UserID {
		fresh.Row, fresh.Clients, fresh.Other = old.Row, old.Clients, old.Other
		fresh.Device.InitialIP, fresh.Device.InitialUserAgent = old.Device.InitialIP, old.Device.InitialUserAgent
	}
	fresh.Clients = withClient(fresh.Clients, a.client.ID)
	fresh.Other, err = withClaims(fresh.Other, a.client.ID, a.claims.Userinfo)
	return fresh, value, err
}

// cookieLifetime is the Max-Age of the session's cookie; 0 where it ends with the
// browser (C3.25).
func (s *Server) cookieLifetime(session *tenancy.Session) time.Duration {
	if !session.Persistent {
		return 0
	}
	return session.ExpiresAt.Time().Sub(s.now())
}

// storeSession is what [Server.logIn] made, as statements of a batch. They
// miss their rows if the old session was changed or ended meanwhile.
func storeSession(ctx context.Context, fresh, old *tenancy.Session) ([]tenancy.Stmt, error) {
	switch {
	case old == nil:
		return []tenancy.Stmt{tenancy.Sessions.Insert(ctx, fresh)}, nil
	case old.ID == fresh.ID:
		return []tenancy.Stmt{tenancy.Sessions.Replace(ctx, fresh)}, nil
	}
	ended, err := endSession(ctx, old.ID, tenancy.SessionRevoked)
	return append(ended, tenancy.Sessions.Insert(ctx, fresh)), err
}

// useSession is the statement by which a client gets an answer from a session:
// its idle expiry moves on, its absolute one does not, and the client is among
// those it serves (C3.12). It is one conditional write, at most one a minute
// unless something is new; otherwise it is a guard. Either misses where the
// session was changed or ended meanwhile.
func (s *Server) useSession(ctx context.Context, live *tenancy.Session, a *authorization) ([]tenancy.Stmt, error) {
	now, visit := tenancy.At(s.now()), tenancy.VisitOf(ctx)
	clients := withClient(live.Clients, a.client.ID)
	other, err := withClaims(live.Other, a.client.ID, a.claims.Userinfo)
	if err != nil {
		return nil, err
	}
	if len(clients) == len(live.Clients) && string(other) == string(live.Other) && now < live.LastInteractedAt.Add(touchInterval) {
		return []tenancy.Stmt{tenancy.Require(ctx, `EXISTS (SELECT 1 FROM sessions WHERE tenant_id = @tenant AND id = ? AND token_hash = ?)`,
			live.ID, live.TokenHash)}, nil
	}
	policy, err := effectiveSessionPolicy(ctx)
	if err != nil {
		return nil, err
	}
	used := *live
	used.Clients, used.Other = clients, other
	used.LastInteractedAt, used.IdleExpiresAt = now, min(now.Add(policy.Idle), live.ExpiresAt)
	used.Device.LastIP, used.Device.LastUserAgent = visit.ClientIP, visit.UserAgent
	return []tenancy.Stmt{tenancy.Sessions.Replace(ctx, &used)}, nil
}

// EndSession ends a session: silent authentication, userinfo and introspection
// refuse its tokens from now on (C3.31). Refresh tokens go on, except those of
// clients that want theirs to end with it (C3.36). Clients that have an address
// for it are told afterwards (C3.37). A session that is not there is success.
func (s *Server) EndSession(ctx context.Context, id string, why tenancy.LogoutReason) error {
	stmts, err := endSession(ctx, id, why)
	if err != nil {
		return err
	}
	return tenancy.Commit(ctx, stmts...)
}

func endSession(ctx context.Context, id string, why tenancy.LogoutReason) ([]tenancy.Stmt, error) {
	stmts := tenancy.EndSessions(ctx, why, "id = ?", id)
	live, err := tenancy.Sessions.Get(ctx, id)
	if errors.Is(err, tenancy.ErrNotFound) {
		return stmts, nil
	}
	if err != nil {
		return nil, err
	}
	for _, clientID := range live.Clients {
		client, err := tenancy.CachedClient(ctx, clientID)
		switch {
		case errors.Is(err, tenancy.ErrNotFound): // its tokens went with it
		case err != nil:
			return nil, err
		case client.RevokeRefreshOnLogout:
			stmts = append(stmts, tenancy.Grants.RemoveWhere(ctx, "session_id = ? AND client_id = ?", id, clientID))
		}
	}
	return stmts, nil
}

func withClient(list []string, id string) []string {
	if slices.Contains(list, id) {
		return list
	}
	return append(slices.Clone(list), id)
}

// sessionNotes is what a session remembers beside its columns.
type sessionNotes struct {
	// Claims are the claims that a client asked for at userinfo by its newest
	// authorization request, by client id (contract C4.26).
	Claims map[string][]string `json:"claims,omitempty"`
}

// notesOf reads a session's notes; nothing is none.
func notesOf(other json.RawMessage) (n sessionNotes, err error) {
	if len(other) > 0 {
		err = json.Unmarshal(other, &n)
	}
	return n, err
}

// withClaims is the notes with the claims a client asks for now. They are the
// same bytes where nothing changes.
func withClaims(other json.RawMessage, clientID string, claims []string) (json.RawMessage, error) {
	notes, err := notesOf(other)
	if err != nil || slices.Equal(notes.Claims[clientID], claims) {
		return other, err
	}
	changed := map[string][]string{clientID: claims}
	for id, list := range notes.Claims {
		if id != clientID {
			changed[id] = list
		}
	}
	if claims == nil {
		delete(changed, clientID)
	}
	return json.Marshal(sessionNotes{Claims: changed})
}
