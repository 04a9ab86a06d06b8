package sync

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// StatusHandler answers GET /sync/status (contract C5.101). Who may ask is the
// caller's to decide before; fail answers errors in the caller's form.
func (l *Loop) StatusHandler(fail func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := ParseFilter(r.URL.Query())
		if err != nil {
			fail(w, r, err)
			return
		}
		status, err := l.Status(r.Context(), f)
		if err != nil {
			fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(status) // who asked has gone
	})
}

// ParseFilter reads a filter from the parameters of a request. Errors are 400.
func ParseFilter(q url.Values) (Filter, error) {
	f := Filter{TenantID: q.Get("tenant_id"), State: q.Get("state")}
	for name, values := range q {
		if len(values) > 1 {
			return f, badQuery(name, "Given more than once")
		}
		if !slices.Contains([]string{"tenant_id", "state", "revision", "wait", "page", "per_page", "include_totals"}, name) {
			return f, tenancy.Errorf(http.StatusBadRequest, "invalid_query_string",
				"Query validation error: 'Additional properties not allowed: %s'", name)
		}
	}
	if !slices.Contains([]string{"", StateInSync, StatePending, StateFailed}, f.State) {
		return f, badQuery("state", "No enum match for: "+f.State)
	}
	revision, err := number(q, "revision", 0, 0, 1<<53)
	if err != nil {
		return f, err
	}
	wait, err := number(q, "wait", 0, 0, int(waitLimit/time.Second))
	if err != nil {
		return f, err
	}
	limit, err := number(q, "per_page", statusLimit, 1, statusLimits)
	if err != nil {
		return f, err
	}
	page, err := number(q, "page", 0, 0, 1<<30/limit)
	if err != nil {
		return f, err
	}
	f.Revision, f.Wait, f.Limit, f.Start = int64(revision), time.Duration(wait)*time.Second, limit, page*limit
	return f, nil
}

// number reads a whole number within bounds.
func number(q url.Values, name string, absent, least, most int) (int, error) {
	text := q.Get(name)
	if text == "" && !q.Has(name) {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, badQuery(name, "Expected an integer from "+strconv.Itoa(least)+" to "+strconv.Itoa(most))
	}
	return n, nil
}

func badQuery(name, reason string) error {
	return tenancy.Errorf(http.StatusBadRequest, "invalid_query_string", "Query validation error: '%s' on property %s", reason, name)
}
