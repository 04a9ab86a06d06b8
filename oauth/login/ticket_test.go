package login

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// ticketOf takes the ticket out of the newest mail.
func (h *house) ticketOf(kind, to string) string {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.mails) == 0 {
		h.t.Fatal("no mail")
	}
	m := h.mails[len(h.mails)-1]
	u, err := url.Parse(m.Link)
	if err != nil || m.Kind != kind || m.To != to || !strings.Contains(m.Text, m.Link) {
		h.t.Fatalf("mail %+v, %v", m, err)
	}
	return u.Query().Get("ticket")
}

// use posts a ticket to its page, as a browser without any cookie does.
func (h *house) use(id, path, ticket, password string) *httptest.ResponseRecorder {
	return h.do(id, call{
		to: path, form: url.Values{"ticket": {ticket}, "password": {password}}, noState: true, noCookie: true,
		header: http.Header{"Origin": {"https://" + id + ".auth.example.com:8443"}},
	})
}

func (h *house) look(id, path, ticket string) *httptest.ResponseRecorder {
	return h.do(id, call{to: path + "?ticket=" + ticket, noState: true, noCookie: true})
}

func (h *house) user(id, email string) *tenancy.User {
	h.t.Helper()
	u, err := tenancy.UserByIdentifier(h.inside[id], "people", email)
	if err != nil {
		h.t.Fatal(err)
	}
	return u
}

const (
	verify = tenancy.VerifyEmailPath
	reset  = tenancy.ResetPasswordPath
)

// Who signs up is asked to show that the address is theirs, once (contract C5.96).
func TestVerifyEmail(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	body := `{"client_id":"spa","connection":"people","email":"bob@example.com","password":"` + newPassword + `"}`
	for _, id := range []string{"widgets", "acme"} {
		if w := h.signUp(id, body); w.Code != http.StatusOK {
			t.Fatalf("sign-up: %d %s", w.Code, w.Body)
		}
	}
	ticket := h.ticketOf("verify_email", "bob@example.com")
	wantPage(t, h.look("widgets", verify, ticket), http.StatusNotFound, "does not work")
	wantPage(t, h.look("acme", reset, ticket), http.StatusNotFound, "does not work")
	wantPage(t, h.look("acme", verify, ticket), http.StatusOK, "bob@example.com")
	wantPage(t, h.look("acme", verify, ""), http.StatusNotFound, "does not work")
	if h.user("acme", "bob@example.com").EmailVerified {
		t.Error("to look at the page is enough")
	}
	foreign := h.do("acme", call{to: verify, form: url.Values{"ticket": {ticket}}, noState: true, noCookie: true, header: http.Header{"Origin": {"https://evil.test"}}})
	if foreign.Code != http.StatusForbidden && foreign.Code != http.StatusBadRequest {
		t.Errorf("from another site: %d", foreign.Code)
	}
	h.kinds()
	wantPage(t, h.use("acme", verify, ticket, ""), http.StatusOK, "Your email address is confirmed")
	wantPage(t, h.use("acme", verify, ticket, ""), http.StatusNotFound, "does not work")
	if got := h.kinds(); got != "sv" {
		t.Errorf("events %s, want sv", got)
	}
	if !h.user("acme", "bob@example.com").EmailVerified || h.user("widgets", "bob@example.com").EmailVerified {
		t.Error("verified: want acme's bob and not widgets'")
	}
}

// A link that is late, or of another address, is worth nothing; one with a result
// leads there.
func TestTicketsEnd(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := h.inside["acme"]
	make := func(alter func(*tenancy.Ticket)) string {
		ticket, err := tenancy.NewTicket(ctx, h.user("acme", "ada"), tenancy.TicketVerifyEmail, tenancy.At(h.now))
		if err != nil {
			t.Fatal(err)
		}
		alter(ticket)
		address, insert := ticket.Issue(ctx, "https://acme.auth.example.com/")
		h.commit("acme", insert)
		_, token, _ := strings.Cut(address, "ticket=")
		return token
	}
	late := make(func(t *tenancy.Ticket) { t.ExpiresAt = tenancy.At(h.now) })
	wantPage(t, h.use("acme", verify, late, ""), http.StatusNotFound, "does not work")
	there := make(func(t *tenancy.Ticket) {
		t.ResultURL, t.EmailInResult, t.OrgID = "https://app.example.com/done?a=b", true, "org_1"
	})
	page := h.look("acme", verify, there)
	if got := directive(page, "form-action"); got != "'self' https://app.example.com" {
		t.Errorf("form-action %s", got)
	}
	w := h.use("acme", verify, there, "")
	want := "https://app.example.com/done?a=b&code=success&email=ada%40example.com&message=Your+email+address+is+confirmed.&organization_id=org_1&organization_name=first&success=true"
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != want {
		t.Errorf("%d to %s, want %s", w.Code, w.Header().Get("Location"), want)
	}
	moved := make(func(*tenancy.Ticket) {})
	if _, err := tenancy.Users.Update(ctx, ada, func(u *tenancy.User) error { u.Email = "new@example.com"; return nil }); err != nil {
		t.Fatal(err)
	}
	wantPage(t, h.use("acme", verify, moved, ""), http.StatusNotFound, "does not work")
}

func (h *house) askReset(id, email string) *httptest.ResponseRecorder {
	return h.do(id, call{
		to: changePath, body: strings.NewReader(`{"client_id":"spa","connection":"people","email":"` + email + `"}`), noState: true, noCookie: true,
		header: http.Header{"Content-Type": {"application/json"}},
	})
}

// C4.59, SC-064, C3.31.
func TestResetPassword(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := h.inside["acme"]
	h.commit("acme", tenancy.Sessions.Insert(ctx, &tenancy.Session{Row: tenancy.Row{ID: "ses_1"}, UserID: ada}))
	started := time.Now()
	unknown := h.askReset("acme", "nobody@example.com")
	if took := time.Since(started); took < resetTime {
		t.Errorf("an unknown address takes %s, want %s at least", took, resetTime)
	}
	known := h.askReset("acme", "ADA@example.com")
	if known.Code != http.StatusOK || known.Body.String() != "We've just sent you an email to reset your password." ||
		unknown.Code != known.Code || unknown.Body.String() != known.Body.String() || unknown.Header().Get("Content-Type") != known.Header().Get("Content-Type") {
		t.Errorf("known %d %s, unknown %d %s", known.Code, known.Body, unknown.Code, unknown.Body)
	}
	h.askReset("acme", "ada@example.com") // again at once: no other mail
	if got := h.kinds(); got != "fcpr scpr fcpr" || len(h.mails) != 1 {
		t.Errorf("events %s, %d mails", got, len(h.mails))
	}
	ticket := h.ticketOf("reset_email", "ada@example.com")
	wantPage(t, h.look("widgets", reset, ticket), http.StatusNotFound, "does not work")
	wantPage(t, h.look("acme", reset, ticket), http.StatusOK, "ada@example.com")
	wantPage(t, h.use("acme", reset, ticket, "weak"), http.StatusBadRequest, "Choose a stronger password")
	wantPage(t, h.use("acme", reset, ticket, newPassword), http.StatusOK, "Your password is changed")
	wantPage(t, h.use("acme", reset, ticket, newPassword), http.StatusNotFound, "does not work")
	if got := h.kinds(); got != "fcp scp" {
		t.Errorf("events %s, want fcp scp", got)
	}
	if _, err := tenancy.CheckPassword(ctx, ada, newPassword); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if _, err := tenancy.CheckPassword(h.inside["widgets"], ada, password); err != nil {
		t.Errorf("the other tenant's password: %v", err)
	}
	if _, err := tenancy.Sessions.Get(ctx, "ses_1"); err != tenancy.ErrNotFound {
		t.Errorf("the session goes on: %v", err)
	}
	u := h.user("acme", "ada")
	if !u.EmailVerified || u.LastPasswordReset != tenancy.At(h.now) {
		t.Errorf("user %+v", u)
	}
	for _, body := range []string{
		`{"client_id":"spa","email":"ada@example.com"}`, `{"client_id":"spa","connection":"other","email":"ada@example.com"}`,
		`{"client_id":"nope","connection":"people","email":"ada@example.com"}`, `{"client_id":"spa","connection":"people","email":1}`,
	} {
		w := h.do("acme", call{to: changePath, body: strings.NewReader(body), noState: true, noCookie: true, header: http.Header{"Content-Type": {"application/json"}}})
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `"error":"invalid_request"`) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
}

// Of those who use a ticket at the same time, one does (contract C5.96).
func TestTicketRace(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.askReset("acme", "ada@example.com")
	ticket := h.ticketOf("reset_email", "ada@example.com")
	var done sync.WaitGroup
	var won, lost atomic.Int64
	hash := adasHash()
	for range 8 {
		done.Go(func() {
			row, _, err := tenancy.TicketOf(h.inside["acme"], ticket, tenancy.TicketChangePassword, tenancy.At(h.now))
			if err == nil {
				err = row.ChangePassword(context.WithoutCancel(h.inside["acme"]), hash, tenancy.At(h.now))
			}
			switch err {
			case nil:
				won.Add(1)
			case tenancy.ErrNotFound:
				lost.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	done.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("%d won and %d lost, want 1 and 7", won.Load(), lost.Load())
	}
}
