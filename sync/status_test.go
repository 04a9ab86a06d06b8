package sync

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// GET /sync/status waits for a revision, and refuses bad parameters (contract
// C5.101).
func TestStatusHandler(t *testing.T) {
	h := newHouse(t, "acme", "widgets")
	l := h.loop()
	handler := l.StatusHandler(func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), tenancy.StatusOf(err))
	})
	get := func(query string) (int, map[string]any) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v2/sync/status?"+query, nil))
		var body map[string]any
		_ = json.Unmarshal(w.Body.Bytes(), &body)
		return w.Code, body
	}
	h.addRole(role("rol1", "Support"))
	code, body := get("")
	equal(t, "before the loop runs", []any{code, body["complete"], body["total"], body["revision"]}, []any{200, false, 2, h.head()})
	start(t, l)
	code, body = get(fmt.Sprintf("revision=%d&wait=20", h.head()))
	equal(t, "after waiting", []any{code, body["complete"]}, []any{200, true})
	first := body["tenants"].([]any)[0].(map[string]any)
	var names []string
	for name := range first {
		names = append(names, name)
	}
	for _, name := range strings.Fields("tenant_id state applied_revision target_revision lag attempts last_error last_synced_at next_attempt_at conflicts skipped") {
		if _, ok := first[name]; !ok {
			t.Errorf("no %s in %v", name, names)
		}
	}
	equal(t, "one tenant", []any{first["tenant_id"], first["state"], first["lag"], first["last_error"]}, []any{"acme", "in_sync", 0, nil})
	_, body = get("per_page=1&page=1")
	equal(t, "second page", []any{body["start"], body["limit"], body["length"], body["total"], body["tenants"].([]any)[0].(map[string]any)["tenant_id"]},
		[]any{1, 1, 1, 2, "widgets"})
	began := time.Now()
	_, body = get(fmt.Sprintf("revision=%d&wait=1", h.head()+5))
	if body["complete"] != false || time.Since(began) < 900*time.Millisecond {
		t.Errorf("a revision that does not exist: %v after %s", body["complete"], time.Since(began))
	}
	for _, bad := range []string{"wait=31", "wait=x", "revision=-1", "state=odd", "per_page=0", "per_page=101", "page=-1", "other=1", "wait=1&wait=2"} {
		if code, _ := get(bad); code != http.StatusBadRequest {
			t.Errorf("%s: got %d, want 400", bad, code)
		}
	}
}
