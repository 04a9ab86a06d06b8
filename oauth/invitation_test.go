package oauth

import (
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// invite makes an invitation to org_3, which ada is no member of, in both
// tenants under the same id, and returns acme's ticket.
func (f *fixture) invite(email string) (ticket string) {
	f.t.Helper()
	ticket = tenancy.NewToken()
	for _, tenant := range tenantIDs {
		t := ticket
		if tenant != "acme" {
			t = tenancy.NewToken()
		}
		f.must(tenancy.Invitations.Create(f.in(tenant), &tenancy.Invitation{
			Row: tenancy.Row{ID: tenancy.NewID("uinv_", 16)}, OrgID: "org_3", TicketHash: tenancy.HashToken(t), Email: email,
			ClientID: spaID, Roles: []string{"rol_reader", "rol_gone"}, ExpiresAt: tenancy.At(f.clock.now().Add(time.Hour)),
		}))
	}
	return ticket
}

// SC-037: an existing user accepts, once; C9.40: nobody else can.
func TestInvitation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.loggedIn("acme", ada) // a session alone accepts nothing
	ticket := f.invite("ada@acme.example")
	const gone = "invitation not found or already used"
	b.wantError(b.authorize("invitation", ticket, "organization", "org_2"), "invalid_request", gone)
	f.browser("widgets").wantError(f.browser("widgets").authorize("invitation", ticket, "organization", "org_3"), "invalid_request", gone)
	b.wantError(b.authorize("invitation", ticket, "organization", "org_3", "prompt", "none"), "interaction_required", "An invitation cannot be accepted silently")

	code := b.wantCode(b.login(ada, "invitation", ticket, "organization", "three"))
	if code == "" {
		t.Fatal("no code")
	}
	_, err := tenancy.Members.Get(f.in("acme"), tenancy.Join("org_3", ada))
	f.must(err)
	_, err = tenancy.UserRoles.Get(f.in("acme"), tenancy.Join(ada, "org_3", "rol_reader"))
	f.must(err)
	if _, err := tenancy.Members.Get(f.in("widgets"), tenancy.Join("org_3", ada)); err == nil {
		t.Error("a member of the other tenant's organization, too")
	}
	b.wantError(b.authorize("invitation", ticket, "organization", "org_3"), "invalid_request", gone)

	theirs := f.invite("eve@acme.example")
	b.wantError(b.login(ada, "invitation", theirs, "organization", "org_3"), "access_denied", "invitation is for another user")

	late := f.invite("ada@acme.example")
	f.clock.advance(2 * time.Hour)
	b.wantError(b.authorize("invitation", late, "organization", "org_3"), "invalid_request", gone)
}

// C2.58: an address that is not verified proves nothing.
func TestInvitationOfUnverified(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ticket := f.invite("ada@acme.example")
	_, err := tenancy.Users.Update(f.in("acme"), ada, func(u *tenancy.User) error { u.EmailVerified = false; return nil })
	f.must(err)
	b := f.browser("acme")
	b.wantError(b.login(ada, "invitation", ticket, "organization", "org_3"), "access_denied", "invitation is for another user")
	u, err := tenancy.Users.Get(f.in("acme"), ada)
	f.must(err)
	if u.EmailVerified {
		t.Error("the invitation verified the address of an account that was there")
	}
}

// C2.59: of parallel acceptances exactly one succeeds.
func TestInvitationRace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ticket := f.invite("ada@acme.example")
	const n = 6
	codes := make([]string, n)
	var states [n]string
	var browsers [n]*browser
	for i := range n {
		browsers[i] = f.browser("acme")
		states[i] = stateOf(t, browsers[i].authorize("invitation", ticket, "organization", "org_3"), "/u/login")
		browsers[i].loginPage(states[i], ada)
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { codes[i] = answerOf(t, browsers[i].resume(states[i])).Get("code") })
	}
	wg.Wait()
	won := 0
	for _, c := range codes {
		if c != "" {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d of %d acceptances succeeded", won, n)
	}
}
