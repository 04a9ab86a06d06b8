package management

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// refuseAll is a hook whose answer the test chooses.
type refuseAll struct{ err error }

func (r *refuseAll) Before(context.Context, *tenancy.Proposal) error { return r.err }

// forgetAnswers has the kept keys as a process leaves them that is killed before it
// has answered.
func (k *kit) forgetAnswers(ctx context.Context, operations bool) {
	k.Helper()
	k.must(tenancy.Commit(ctx, tenancy.SQL(ctx, `UPDATE request_keys SET status = 0, body = '' WHERE tenant_id = @tenant`)))
	if operations {
		k.must(tenancy.Commit(ctx, tenancy.SQL(ctx, `UPDATE request_keys SET operation_id = '' WHERE tenant_id = @tenant`)))
	}
}

// TestIdempotencyKey is C5.14 and C8.8: a request is done once, and answered as the
// first time; a key stands for one request of one caller.
func TestIdempotencyKey(t *testing.T) {
	k := newAccessKit(t)
	hook := &refuseAll{}
	k.lifecycle.Hooks = []tenancy.Hook{hook}
	post := func(key, path string, by claims, body any) answered {
		k.Helper()
		return k.do("POST", cpHost, path, by.token(), body, "Idempotency-Key", key)
	}
	tenantCount := func() int64 {
		n, err := tenancy.Tenants.Count(k.cp(), tenancy.Filter{})
		k.must(err)
		return n
	}
	same := func(a, b answered) {
		k.Helper()
		if a.Code != b.Code || a.Body.String() != b.Body.String() || a.Header().Get("Location") != b.Header().Get("Location") {
			k.Errorf("answers differ:\n%d %s %s\n%d %s %s", a.Code, a.Header().Get("Location"), a.Body, b.Code, b.Header().Get("Location"), b.Body)
		}
		if b.Header().Get("Gatehouse-Replayed") != "true" || a.Header().Get("Gatehouse-Replayed") != "" {
			k.Error("what is answered again does not say so")
		}
	}
	generated := `{"friendly_name":"Beta","metadata":{"a":"1","b":"2"}}`
	first := post("k1", "/tenants", admin(), generated)
	if first.Code != http.StatusCreated || first.Header().Get("Location") == "" {
		k.Fatalf("%d %s", first.Code, first.Body)
	}
	before := tenantCount()
	same(first, post("k1", "/tenants", admin(), generated))
	same(first, post("k1", "/tenants", admin(), `{ "metadata": {"b":"2","a":"1"}, "friendly_name": "Beta" }`))
	if a := post("k1", "/tenants", admin(), `{"friendly_name":"Gamma"}`); a.Code != http.StatusConflict || a.text("errorCode") != "idempotency_conflict" {
		k.Errorf("another body: %d %s", a.Code, a.Body)
	}
	if a := post("k1", "/tenants", machine("control_plane", "create:tenants"), generated); a.Code != http.StatusCreated || a.text("id") == first.text("id") {
		k.Errorf("another caller's key: %d %s", a.Code, a.Body)
	}
	if a := post("k1", "/tenants", person(ann), generated); a.Code != http.StatusForbidden {
		k.Errorf("a caller who may not: %d %s", a.Code, a.Body)
	}
	if n := tenantCount(); n != before+1 {
		k.Errorf("%d tenants, want %d", n, before+1)
	}

	op := post("k1", "/tenants/acme/operations", admin(), map[string]any{"kind": "upgrade"})
	if op.Code != http.StatusAccepted {
		k.Fatalf("the same key on another route: %d %s", op.Code, op.Body)
	}
	same(op, post("k1", "/tenants/acme/operations", admin(), map[string]any{"kind": "upgrade"}))
	if a := post("k1", "/tenants/widgets/operations", admin(), map[string]any{"kind": "upgrade"}); a.Code != http.StatusAccepted || a.text("id") == op.text("id") {
		k.Errorf("the same key for another tenant: %d %s", a.Code, a.Body)
	}
	refused := post("k2", "/tenants", admin(), map[string]any{"id": "acme", "friendly_name": "x"})
	if refused.Code != http.StatusConflict {
		k.Errorf("taken: %d %s", refused.Code, refused.Body)
	}
	same(refused, post("k2", "/tenants", admin(), map[string]any{"id": "acme", "friendly_name": "x"}))

	hook.err = errors.New("cannot tell")
	if a := post("k3", "/tenants", admin(), generated); a.Code != http.StatusServiceUnavailable {
		k.Errorf("a hook that fails: %d %s", a.Code, a.Body)
	}
	hook.err = nil
	if a := post("k3", "/tenants", admin(), generated); a.Code != http.StatusCreated {
		k.Errorf("what a server could not do may be tried again: %d %s", a.Code, a.Body)
	}
	for _, key := range []string{"", strings.Repeat("x", 256), "a\x7f"} {
		if a := post(key, "/tenants", admin(), generated); a.Code != http.StatusBadRequest || a.text("errorCode") != "invalid_body" {
			k.Errorf("key %q: %d %s", key, a.Code, a.Body)
		}
	}
	if a := k.do("POST", cpHost, "/tenants", admin().token(), generated, "Idempotency-Key", "a", "Idempotency-Key", "b"); a.Code != http.StatusBadRequest {
		k.Errorf("two keys: %d %s", a.Code, a.Body)
	}
	if a := post("k4", "/tenants", admin(), `{"friendly_name":"`+strings.Repeat("x", bodyLimit)+`"}`); a.Code != http.StatusRequestEntityTooLarge {
		k.Errorf("too large: %d", a.Code)
	}
}

// TestIdempotencyKeyAfterDeath is C5.14 where the process died in the middle: what
// had no effect is done, and what had one is not done twice.
func TestIdempotencyKeyAfterDeath(t *testing.T) {
	k := newAccessKit(t)
	body := map[string]any{"friendly_name": "Beta"}
	post := func() answered {
		return k.do("POST", cpHost, "/tenants", admin().token(), body, "Idempotency-Key", "k")
	}
	first := post()
	k.forgetAnswers(k.cp(), false)
	again := post()
	if again.Code != http.StatusCreated || again.text("id") != first.text("id") || again.Header().Get("Location") != first.Header().Get("Location") {
		k.Errorf("after the tenant was made: %d %s", again.Code, again.Body)
	}
	if third := post(); third.Body.String() != again.Body.String() || third.Header().Get("Gatehouse-Replayed") != "true" {
		k.Errorf("that answer is the first one: %d %s", third.Code, third.Body)
	}

	k.forgetAnswers(k.cp(), false)
	k.must(tenancy.Commit(k.cp(), // making it failed
		tenancy.SQL(k.cp(), `UPDATE tenants SET state = 'failed', revision = revision + 1 WHERE tenant_id = @tenant AND id = ?`, first.text("id")).Marked(tenancy.KindTenant, first.text("id")),
		tenancy.SQL(k.cp(), `UPDATE operations SET status = 'failed' WHERE tenant_id = @tenant AND subject = ?`, first.text("id"))))
	if a := post(); a.Code != http.StatusCreated || a.text("id") != first.text("id") || a.text("state") != "active" {
		k.Errorf("after making it failed: %d %s", a.Code, a.Body)
	}

	k.forgetAnswers(k.cp(), false)
	k.must(k.lifecycle.Delete(t.Context(), first.text("id")))
	if a := post(); a.Code != http.StatusConflict || a.text("errorCode") != "idempotency_conflict" {
		k.Errorf("after it was deleted: %d %s", a.Code, a.Body)
	}

	k.forgetAnswers(k.cp(), true)
	if a := post(); a.Code != http.StatusCreated || a.text("id") == first.text("id") {
		k.Errorf("nothing was begun: %d %s", a.Code, a.Body)
	}

	upgrade := func() answered {
		return k.do("POST", cpHost, "/tenants/acme/operations", admin().token(), map[string]any{"kind": "upgrade"}, "Idempotency-Key", "k")
	}
	op := upgrade()
	k.forgetAnswers(k.cp(), false)
	if a := upgrade(); a.Code != http.StatusAccepted || a.text("id") != op.text("id") {
		k.Errorf("an operation that was begun: %d %s", a.Code, a.Body)
	}
}

// TestIdempotencyKeyRace is C5.14: of many at once, one has the effect and all are
// told of it.
func TestIdempotencyKeyRace(t *testing.T) {
	k := newAccessKit(t)
	count := func() int64 {
		n, err := tenancy.Tenants.Count(k.cp(), tenancy.Filter{})
		k.must(err)
		return n
	}
	before := count()
	var wg sync.WaitGroup
	ids := make([]string, 8)
	codes := make([]int, len(ids))
	for i := range ids {
		wg.Go(func() {
			a := k.do("POST", cpHost, "/tenants", admin().token(), map[string]any{"friendly_name": "Beta"}, "Idempotency-Key", "race")
			ids[i], codes[i] = a.text("id"), a.Code
		})
	}
	wg.Wait()
	for i := range ids {
		if ids[i] == "" || ids[i] != ids[0] || codes[i] != http.StatusCreated && codes[i] != http.StatusAccepted {
			k.Errorf("answers %v %v", codes, ids)
			break
		}
	}
	if n := count(); n != before+1 {
		k.Errorf("%d tenants, want %d", n, before+1)
	}
}

// TestIdempotencyKeyOfInvitations: the address of an invitation is in its answer
// only, and so kept in the batch that makes it, sealed; equal keys in two tenants
// are two.
func TestIdempotencyKeyOfInvitations(t *testing.T) {
	k := newAccessKit(t)
	invite := func(tenant string) answered {
		k.Helper()
		k.inside(tenant, func(ctx context.Context) {
			_, err := tenancy.Clients.Update(ctx, only("only", tenant), func(c *tenancy.Client) error {
				c.OrganizationUsage, c.InitiateLoginURI = "allow", "https://app."+tenant+".test/login"
				return nil
			})
			k.must(err)
		})
		return k.do("POST", tenant+"."+cpHost, "/organizations/"+only("org_", tenant)+"/invitations", machine(tenant).token(), invitationOf(only("only", tenant)), "Idempotency-Key", "same")
	}
	for _, tenant := range []string{"acme", "widgets"} {
		sent := len(k.mails.list)
		first := invite(tenant)
		address := first.text("invitation_url")
		if first.Code != http.StatusOK || !strings.Contains(address, "app."+tenant) {
			k.Fatalf("%d %s", first.Code, first.Body)
		}
		if again := invite(tenant); again.Body.String() != first.Body.String() || again.Code != http.StatusOK {
			k.Errorf("again: %d %s, want %s", again.Code, again.Body, first.Body)
		}
		if n := len(k.mails.list) - sent; n != 1 {
			k.Errorf("%d mails", n)
		}
		k.inside(tenant, func(ctx context.Context) {
			var stored string
			k.must(tenancy.QueryRow(ctx, `SELECT body FROM request_keys WHERE tenant_id = @tenant`, nil, &stored))
			if stored == "" || strings.Contains(stored, "invitation") {
				k.Errorf("the ticket is stored as %q", stored)
			}
			n, err := tenancy.Invitations.Count(ctx, tenancy.Filter{Where: "email = 'new@example.com'"})
			if k.must(err); n != 1 {
				k.Errorf("%d invitations", n)
			}
		})
	}
}
