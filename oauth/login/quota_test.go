package login

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// limited enters a tenant that can have so many users.
func (h *house) limited(id string, users int64) {
	h.t.Helper()
	t, err := tenancy.Current(h.inside[id])
	if err != nil {
		h.t.Fatal(err)
	}
	row := *t
	row.Quotas = map[string]int64{"users": users}
	ctx, leave, err := h.pool.Enter(h.t.Context(), &row)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(leave)
	h.inside[id] = tenancy.WithVisit(ctx, tenancy.VisitOf(h.inside[id]))
}

// C5.18: whichever way somebody signs up, they are not one too many.
func TestSignUpWithinQuota(t *testing.T) {
	h, op := withProvider(t)
	h.limited("acme", 2) // ada is one
	body := func(n int) string {
		return `{"client_id":"spa","connection":"people","email":"p` + strconv.Itoa(n) + `@example.com","password":"` + newPassword + `"}`
	}
	var done sync.WaitGroup
	var made, full atomic.Int64
	for n := range 6 {
		done.Go(func() {
			w := h.signUp("acme", body(n))
			switch {
			case w.Code == http.StatusOK:
				made.Add(1)
			case w.Code == http.StatusForbidden && strings.Contains(w.Body.String(), `"error":"quota_exceeded"`):
				full.Add(1)
			default:
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	done.Wait()
	if made.Load() != 1 || full.Load() != 5 {
		t.Errorf("%d made, %d refused, want 1 and 5", made.Load(), full.Load())
	}
	if kinds := h.kinds(); !strings.Contains(kinds, "limit_wc") {
		t.Errorf("events %s, want limit_wc among them", kinds)
	}
	h.begin("acme")
	wantPage(t, h.post("acme", "/u/signup", "email", "x@example.com", "password", newPassword), http.StatusForbidden, "Sign-up is closed")
	wantPage(t, h.back("acme", op.Authorize(t, h.leave("acme"))), http.StatusForbidden, "Sign-up is closed")
	if n, err := tenancy.Users.Count(context.WithoutCancel(h.inside["acme"]), tenancy.Filter{}); n != 2 || err != nil {
		t.Errorf("%d users, %v, want 2", n, err)
	}
	if w := h.signUp("widgets", body(1)); w.Code != http.StatusOK {
		t.Errorf("another tenant: %d %s", w.Code, w.Body)
	}
}
