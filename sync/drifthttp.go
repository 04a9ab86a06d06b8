package sync

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const (
	driftTake  = 100  // tenants in an answer, where the request does not say
	driftTakes = 1000 // at most
)

// DriftHandler answers GET /sync/drift (contract C5.102): differences as they are
// found, then how many tenants were checked of how many, and with "next" where to
// go on. Who may ask is the caller's to decide before; fail answers errors in the
// caller's form.
func (l *Loop) DriftHandler(fail func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := parseDrift(r.URL.Query())
		if err == nil {
			err = l.report(r.Context(), w, "drift", f, &l.rules)
		}
		if err != nil {
			fail(w, r, err)
		}
	})
}

func parseDrift(q url.Values) (DriftFilter, error) {
	f := DriftFilter{From: q.Get("from")}
	for name, values := range q {
		switch {
		case !slices.Contains([]string{"tenant_id", "entity", "from", "take"}, name):
			return f, tenancy.Errorf(http.StatusBadRequest, "invalid_query_string",
				"Query validation error: 'Additional properties not allowed: %s'", name)
		case len(values) > 1:
			return f, badQuery(name, "Given more than once")
		}
	}
	var err error
	if f.Take, err = number(q, "take", driftTake, 1, driftTakes); err != nil {
		return f, err
	}
	if id := q.Get("tenant_id"); id != "" {
		f.TenantIDs = []string{id}
	}
	if entity := q.Get("entity"); entity != "" {
		if !knownEntity(entity) {
			return f, badQuery("entity", "No enum match for: "+entity)
		}
		f.Entities = []string{entity}
	}
	return f, nil
}

func knownEntity(name string) bool { return Kinds[name] != nil || name == tenancy.KindSettings }

// report writes the drift under a name as it is found, so that no answer is held
// in memory. An error is returned only before the first byte is written; what goes
// wrong in a tenant is in the answer.
func (l *Loop) report(ctx context.Context, w http.ResponseWriter, name string, f DriftFilter, by *rules) error {
	list, err := l.chosen(ctx, f.TenantIDs)
	if err != nil {
		return err
	}
	if _, err := l.look(ctx); err != nil {
		return err
	}
	a := &answer{w: w, name: name, actions: name != "drift"}
	last := ""
	if err := l.differences(ctx, f, by, func(d TenantDrift) error { last = d.TenantID; return a.add(d) }); err != nil {
		if !a.begun {
			return err
		}
		panic(http.ErrAbortHandler) // the client sees that the answer is cut off
	}
	rest := ""
	if f.Take > 0 && last != "" && last != list[len(list)-1].ID {
		rest = last
	}
	a.end(len(list), rest)
	return nil
}

// answer is an answer that is written while it is made.
type answer struct {
	w         http.ResponseWriter
	name      string
	actions   bool
	begun     bool
	some      bool // a difference was written
	checked   int
	unchecked []unchecked
}

// unchecked is a tenant that could not be compared.
type unchecked struct {
	TenantID string `json:"tenant_id"`
	Error    string `json:"error"`
}

func (a *answer) begin() error {
	if a.begun {
		return nil
	}
	a.begun = true
	a.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	a.w.Header().Set("Cache-Control", "no-store")
	_, err := io.WriteString(a.w, `{"`+a.name+`":[`)
	return err
}

func (a *answer) add(d TenantDrift) error {
	if err := a.begin(); err != nil {
		return err
	}
	if d.Err != nil {
		a.unchecked = append(a.unchecked, unchecked{d.TenantID, reason(d.Err)})
		return nil
	}
	a.checked++
	for _, one := range d.Drift {
		if !a.actions {
			one.Action = ""
		}
		b, err := json.Marshal(one)
		if err != nil {
			return err
		}
		if a.some {
			b = append([]byte{','}, b...)
		}
		a.some = true
		if _, err := a.w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (a *answer) end(total int, next string) {
	if a.begin() != nil {
		return // who asked has gone
	}
	b, err := json.Marshal(struct {
		Unchecked []unchecked  `json:"unchecked"`
		Checked   int          `json:"checked"`
		Total     int          `json:"total"`
		Next      string       `json:"next,omitempty"`
		CheckedAt tenancy.Time `json:"checked_at"`
	}{append([]unchecked{}, a.unchecked...), a.checked, total, next, tenancy.At(time.Now())})
	if err == nil {
		_, _ = a.w.Write(append([]byte("],"), b[1:]...))
	}
}

// CheckRepair returns a 400 for a repair that cannot be.
func CheckRepair(wish tenancy.Repair) error {
	bad := func(property, reason string) error {
		return tenancy.Errorf(http.StatusBadRequest, "invalid_body", "Payload validation error: '%s' on property %s", reason, property)
	}
	for _, entity := range wish.Entities {
		if !knownEntity(entity) {
			names := slices.Sorted(maps.Keys(Kinds))
			return bad("entities", "No enum match for: "+entity+"; there are "+strings.Join(append(names, tenancy.KindSettings), ", "))
		}
	}
	if wish.OnConflict != "" && !slices.Contains([]string{PolicyRefuse, PolicyAdopt, PolicyRename}, wish.OnConflict) {
		return bad("on_conflict", "No enum match for: "+wish.OnConflict)
	}
	return nil
}

// PlanRepair writes what a repair would do, and does nothing (contract C5.103). An
// error is returned only before the first byte is written.
func (l *Loop) PlanRepair(ctx context.Context, w http.ResponseWriter, wish tenancy.Repair) error {
	if err := CheckRepair(wish); err != nil {
		return err
	}
	return l.report(ctx, w, "plan", DriftFilter{TenantIDs: wish.TenantIDs, Entities: wish.Entities}, l.rules.with(wish.OnConflict))
}

// with returns the rules with a policy for all kinds that can have it, "" for
// their own.
func (r *rules) with(policy string) *rules {
	if policy == "" {
		return r
	}
	other := *r
	other.policies = maps.Clone(r.policies)
	if other.policies == nil {
		other.policies = map[string]string{}
	}
	for kind, policies := range Kinds {
		other.policies[kind] = PolicyRefuse
		if slices.Contains(policies, policy) {
			other.policies[kind] = policy
		}
	}
	return &other
}
