package login

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C4.66, C4.59, C9.41: whoever forgot their password asks for a link on the way to the
// application, and is told the same whoever they are.
func TestForgotPassword(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	h.begin("widgets")
	wantPage(t, h.do("acme", call{to: "/u/login"}), http.StatusOK, `href="/u/reset-password?state=`)
	ask := func(email string) *httptest.ResponseRecorder {
		return h.post("acme", "/u/reset-password", "email", email)
	}
	wantPage(t, ask("nobody"), http.StatusBadRequest, "Enter an address like")
	started := time.Now()
	unknown := ask("nobody@example.com")
	if took := time.Since(started); took < resetTime {
		t.Errorf("an unknown address takes %s, want %s at least", took, resetTime)
	}
	known := ask(" ADA@example.com ")
	for name, w := range map[string]*httptest.ResponseRecorder{"unknown": unknown, "known": known, "again": ask("ada@example.com")} {
		if w.Code != http.StatusFound || w.Header().Get("Location") != "/u/reset-password-sent?state="+state || w.Body.Len() != 0 {
			t.Errorf("%s: %d to %s", name, w.Code, w.Header().Get("Location"))
		}
	}
	if got := h.kinds(); got != "fcpr scpr fcpr" || len(h.mails) != 1 {
		t.Errorf("events %s, %d mails", got, len(h.mails))
	}
	wantPage(t, h.do("acme", call{to: "/u/reset-password-sent"}), http.StatusOK, "If there is an account")
	if w := h.post("acme", "/u/reset-password-sent"); w.Code != http.StatusFound || !strings.HasPrefix(w.Header().Get("Location"), "/u/login?") {
		t.Errorf("posted: %d to %s", w.Code, w.Header().Get("Location"))
	}
	ticket := h.ticketOf("reset_email", "ada@example.com")
	wantPage(t, h.use("acme", reset, ticket, newPassword), http.StatusOK, "Your password is changed")
	if _, err := tenancy.CheckPassword(h.inside["widgets"], ada, password); err != nil {
		t.Errorf("the other tenant's password: %v", err)
	}
	wantPage(t, h.do("acme", call{to: "/u/reset-password", noCookie: true}), http.StatusBadRequest, "expired") // C3.27
	foreign := h.do("acme", call{to: "/u/reset-password", form: map[string][]string{"email": {"ada@example.com"}}, header: http.Header{"Origin": {"https://evil.test"}}})
	if foreign.Code != http.StatusForbidden {
		t.Errorf("from another site: %d", foreign.Code)
	}
}

// wayless is a sender that has no way for mail.
type wayless struct{ *house }

func (wayless) Sends(context.Context) (bool, error) { return false, nil }

// TestForgotPasswordWithoutMail: nobody is promised a mail that cannot be sent.
func TestForgotPasswordWithoutMail(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	for name, pages := range map[string]*Pages{"no mailer": New(Config{Recorder: h, Now: h.pages.now}), "no way": New(Config{Recorder: h, Mailer: wayless{h}, Now: h.pages.now})} {
		h.pages = pages
		if w := h.do("acme", call{to: "/u/login"}); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "reset-password") {
			t.Errorf("%s: %d, and a link to nowhere", name, w.Code)
		}
		wantPage(t, h.do("acme", call{to: "/u/reset-password"}), http.StatusNotFound, "sends no mail")
		if w := h.post("acme", "/u/reset-password", "email", "ada@example.com"); w.Code != http.StatusFound || len(h.mails) != 0 {
			t.Errorf("%s: posted: %d, %d mails", name, w.Code, len(h.mails))
		}
	}
}
