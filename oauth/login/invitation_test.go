package login

import (
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// SC-036, C2.57: who signs up by an invitation does so with its address, which
// is verified by it, and gets its metadata.
func TestSignUpByInvitation(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := h.inside["acme"]
	ticket := tenancy.NewToken()
	invitation := &tenancy.Invitation{
		Row: tenancy.Row{ID: "uinv_1"}, OrgID: "org_2", TicketHash: tenancy.HashToken(ticket), Email: "new@example.com",
		UserMetadata: map[string]any{"team": "blue"}, ExpiresAt: tenancy.At(h.now.Add(time.Hour)),
	}
	h.commit("acme", tenancy.Invitations.Insert(ctx, invitation))
	h.begin("acme", func(ls *tenancy.LoginSession) { ls.OrgID, ls.Request["invitation"] = "org_2", ticket })
	wantPage(t, h.do("acme", call{to: "/u/signup"}), http.StatusOK, `value="new@example.com" readonly`)
	wantPage(t, h.do("acme", call{to: "/u/login"}), http.StatusOK, `value="new@example.com" readonly`)
	wantResume(t, h.post("acme", "/u/signup", "email", "other@example.com", "password", password))
	u, err := tenancy.Users.First(ctx, "email = ?", "new@example.com")
	if err != nil || !u.EmailVerified || u.UserMetadata["team"] != "blue" {
		t.Errorf("user %+v, error %v", u, err)
	}
	if _, err := tenancy.Users.First(ctx, "email = ?", "other@example.com"); err == nil {
		t.Error("an account with an address that was not invited")
	}

	h.commit("acme", tenancy.Invitations.Remove(ctx, "uinv_1"))
	wantPage(t, h.do("acme", call{to: "/u/login"}), http.StatusBadRequest, "This invitation cannot be used")
}
