package tenancytest

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// endedSessions: rows made of others in the batch that removes those, for the
// clients of the session by their exact id and for no other tenant's; whoever
// watches is told of the tenant, once there is something to tell.
func endedSessions(t *testing.T, h *house) {
	ctx, other := h.enter(t, h.acme), h.enter(t, h.widgets)
	var told atomic.Int64
	stop := h.pool.WatchLogouts(func(tn *tenancy.Tenant) {
		if tn.ID != "acme" {
			t.Errorf("told of %s", tn.ID)
		}
		told.Add(1)
	})
	defer stop()
	withSessions(t, ctx)
	withSessions(t, other)
	for range 2 { // what has ended cannot end again
		must(t, tenancy.Commit(ctx, tenancy.EndSessions(ctx, tenancy.SessionRevoked, "id = ? OR user_id = ?", "ses_1", "nobody")...))
	}
	rows, err := tenancy.Logouts.Find(ctx, tenancy.Filter{})
	must(t, err)
	if len(rows) != 1 || told.Load() != 1 {
		t.Fatalf("%d logouts, told %d times: %+v", len(rows), told.Load(), rows)
	}
	l := rows[0]
	if l.ID != tenancy.Join("ses_1", "c_1") || l.UserID != "auth0|ses_1" || l.ClientID != "c_1" || l.Issuer != "https://acme.example.com/" ||
		l.Reason != tenancy.SessionRevoked || l.Revision != 1 || l.Told != nil || l.DueAt == 0 || l.ExpiresAt != l.DueAt.Add(tenancy.LogoutLife) {
		t.Errorf("logout %+v", l)
	}
	l.Attempts = 1
	must(t, tenancy.Commit(ctx, tenancy.Logouts.Replace(ctx, &l)))
	left, err := tenancy.Sessions.Find(ctx, tenancy.Filter{})
	must(t, err)
	if !slices.EqualFunc(left, []string{"ses_2"}, func(s tenancy.Session, id string) bool { return s.ID == id }) {
		t.Errorf("left %+v", left)
	}
	for name, count := range map[string]func() (int64, error){
		"sessions": func() (int64, error) { return tenancy.Sessions.Count(other, tenancy.Filter{}) },
		"logouts": func() (int64, error) {
			n, err := tenancy.Logouts.Count(other, tenancy.Filter{})
			return n + 2, err
		},
	} {
		if n, err := count(); n != 2 || err != nil {
			t.Errorf("the other tenant's %s: %d, %v", name, n, err)
		}
	}
}

// withSessions gives a tenant two sessions, and clients that want to be told of
// their end but for one.
func withSessions(t *testing.T, ctx context.Context) {
	t.Helper()
	for _, id := range []string{"c_1", "cX1", "C_1", "deaf"} {
		c := client(id, id)
		if id != "deaf" {
			c.Logout = &tenancy.LogoutOptions{BackchannelURLs: []string{"https://" + id + ".example.com/out"}}
		}
		must(t, tenancy.Clients.Create(ctx, c))
	}
	for _, id := range []string{"ses_1", "ses_2"} {
		must(t, tenancy.Sessions.Create(ctx, &tenancy.Session{
			Row: tenancy.Row{ID: id}, TokenHash: id, UserID: "auth0|" + id, Issuer: "https://acme.example.com/", Clients: []string{"c_1", "deaf", "gone"},
		}))
	}
}
