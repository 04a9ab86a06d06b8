package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// outcome is what a visit to a tenant found and left.
type outcome struct {
	revision  int64 // applied up to here
	wrote     bool  // anything but the revision
	conflicts int
	skipped   int64
	pending   int64  // what depends on rows of the tenant's own
	problems  int    // rows and settings that an expression failed for
	problem   string // the first of them
}

// errAhead is returned by a visit with a picture older than what the tenant has
// applied already.
var errAhead = errors.New("tenant is ahead of the picture")

// visitor brings one tenant up to date.
type visitor struct {
	rules  *rules
	tenant *tenancy.Tenant
	inside context.Context // in the tenant
}

// visitTries is how often a batch is made anew after somebody was faster.
const visitTries = 5

// visitPart compares and writes until the tenant is at the picture's revision.
// full compares everything, whatever the tenant has applied. back allows a revision
// below the tenant's, for a control plane that was restored from a backup. part, if
// it is not nil, is all that is compared, and then the revision stays.
func (v *visitor) visitPart(p *picture, full, back bool, part *work) (outcome, error) {
	var err error
	for range visitTries {
		var state *tenancy.SyncState
		if state, err = syncState(v.inside); err != nil {
			return outcome{}, err
		}
		if state.Applied > p.revision && !back {
			return outcome{revision: state.Applied}, errAhead
		}
		w := p.workAfter(state.Applied)
		if full || state.Revision == 0 || state.Rules != v.rules.version || isOpen(state) || state.Applied > p.revision {
			w = everything
		}
		plan := &plan{visitor: v, picture: p, work: w, state: state}
		if part != nil {
			plan.work, plan.partial = *part, true
		}
		var out outcome
		if out, err = plan.apply(); err == nil || !errors.Is(err, tenancy.ErrConflict) {
			return out, err
		}
		// Either a row changed since it was read, or one that was not looked at is
		// in the way.
		full = true
	}
	return outcome{}, fmt.Errorf("after %d tries: %w", visitTries, err)
}

// syncState reads what the tenant knows, the zero state where it knows nothing. A
// pass reads little else in most tenants, so the row is read by hand, without the
// reflection of the table's own way.
func syncState(inside context.Context) (*tenancy.SyncState, error) {
	s := &tenancy.SyncState{Row: tenancy.Row{ID: tenancy.SyncStateID}}
	var conflicts, problems, detached string
	err := tenancy.QueryRow(inside, `SELECT revision, created_at, updated_at, applied, conflicts, skipped, pending, problems, rules, detached
		FROM sync_state WHERE tenant_id = @tenant AND id = ?`, []any{tenancy.SyncStateID},
		&s.Revision, &s.CreatedAt, &s.UpdatedAt, &s.Applied, &conflicts, &s.Skipped, &s.Pending, &problems, &s.Rules, &detached)
	switch {
	case errors.Is(err, tenancy.ErrNotFound):
		return s, nil
	case err != nil:
		return nil, err
	}
	s.Conflicts, s.Problems = json.RawMessage(conflicts), json.RawMessage(problems)
	if detached == "null" {
		return s, nil
	}
	return s, json.Unmarshal([]byte(detached), &s.Detached)
}

// isOpen reports whether the tenant lacks something that no change on the
// control plane need announce.
func isOpen(s *tenancy.SyncState) bool {
	return s.Pending > 0 || len(conflictsOf(s)) > 0 || len(problemsOf(s)) > 0
}

func conflictsOf(s *tenancy.SyncState) []Conflict { return listOf[Conflict](s.Conflicts) }

func problemsOf(s *tenancy.SyncState) []Problem { return listOf[Problem](s.Problems) }

// listOf reads a list a tenant keeps; one that cannot be read counts as one
// entry, so that it is made anew.
func listOf[T any](stored json.RawMessage) []T {
	if len(stored) == 0 {
		return nil
	}
	var list []T
	if json.Unmarshal(stored, &list) != nil {
		return make([]T, 1)
	}
	return list
}

// plan is one try of a visit: what it found, and the batch it leads to.
type plan struct {
	*visitor
	picture *picture
	work    work
	state   *tenancy.SyncState

	stmts     []tenancy.Stmt
	conflicts []Conflict
	problems  []Problem
	detached  map[string]string
	adopted   []adoption
	skipped   int64
	pending   int64
	cleared   string // the default audience, if it went

	explain bool    // whether drift is wanted
	drift   []Drift // what was found
	partial bool    // work is not all that the revision stands for
}

// apply compares, and commits the difference with the revision. Nothing is
// written where the tenant is as it should be and knows it.
func (p *plan) apply() (outcome, error) {
	if err := p.compare(); err != nil {
		return outcome{}, err
	}
	out := outcome{
		revision: p.picture.revision, wrote: len(p.stmts) > 0, conflicts: len(p.conflicts),
		skipped: p.skipped, pending: p.pending, problems: len(p.problems),
	}
	if len(p.problems) > 0 {
		first := p.problems[0]
		out.problem = fmt.Sprintf("left as it was: %s %s: %s", first.Entity, first.OriginID, first.Error)
	}
	record, err := p.record()
	if err != nil || record == nil {
		return out, err
	}
	// The revision goes first: whoever lost a race finds out at once.
	if err := tenancy.Commit(p.inside, append([]tenancy.Stmt{*record}, p.stmts...)...); err != nil {
		return outcome{}, err
	}
	p.report()
	return out, nil
}

// compare finds the difference.
func (p *plan) compare() error {
	p.detached = maps.Clone(p.state.Detached)
	if p.work.servers.any() || p.work.roles.any() || p.work.connections.any() {
		if err := p.entities(); err != nil {
			return err
		}
	} else {
		p.skipped, p.pending, p.conflicts = p.state.Skipped, p.state.Pending, conflictsOf(p.state)
	}
	if p.work.settings {
		if err := p.inherited(); err != nil {
			return err
		}
	}
	if p.work.fallbacks {
		return p.fallbacks()
	}
	return nil
}

// record gives the statement that writes down what is applied, on condition
// that nobody else did since; nil where nothing is to be written.
func (p *plan) record() (*tenancy.Stmt, error) {
	conflicts, err := json.Marshal(append([]Conflict{}, p.conflicts...))
	if err != nil {
		return nil, err
	}
	problems, err := json.Marshal(append([]Problem{}, p.problems...))
	if err != nil {
		return nil, err
	}
	s := p.state
	if p.partial { // what is known of the tenant stays as it was
		if len(p.stmts) == 0 {
			return nil, nil
		}
		s.Detached = p.detached
		return p.write(), nil
	}
	if len(p.stmts) == 0 && s.Revision > 0 && s.Applied == p.picture.revision && s.Rules == p.rules.version && s.Skipped == p.skipped &&
		s.Pending == p.pending && string(s.Conflicts) == string(conflicts) && string(s.Problems) == string(problems) &&
		maps.Equal(s.Detached, p.detached) {
		return nil, nil
	}
	s.Applied, s.Rules, s.Conflicts, s.Problems = p.picture.revision, p.rules.version, conflicts, problems
	s.Skipped, s.Pending, s.Detached = p.skipped, p.pending, p.detached
	return p.write(), nil
}

func (p *plan) write() *tenancy.Stmt {
	write := tenancy.SyncStates.Replace
	if p.state.Revision == 0 {
		write = tenancy.SyncStates.Insert
	}
	stmt := write(p.inside, p.state)
	return &stmt
}

// entities compares resource servers and roles with their permissions, in this
// order: what a role can have depends on the resource servers that are there.
// Connections depend on nothing.
func (p *plan) entities() error {
	if err := p.serversAndRoles(); err != nil {
		return err
	}
	want := wishOf(p, &connections, p.picture.connections)
	have, err := haveOf(p.inside, want, p.work.connections)
	if err != nil {
		return err
	}
	add(p, want, reconcile(want, p.work.connections, have))
	return nil
}

func (p *plan) serversAndRoles() error {
	if p.partial && !p.work.servers.any() && !p.work.roles.any() {
		return nil
	}
	identifiers, few := p.picture.identifiersOf(p.work)
	if !few {
		p.work.servers, p.work.roles = selection{all: true}, selection{all: true}
	}
	servers := wishOf(p, &resourceServers, p.picture.servers)
	haveServers, err := haveOf(p.inside, servers, p.work.servers, identifiers...)
	if err != nil {
		return err
	}
	before := scopesOf(haveServers)
	serverDelta := reconcile(servers, p.work.servers, haveServers)
	add(p, servers, serverDelta)
	if err := p.consequences(serverDelta, before); err != nil {
		return err
	}

	wantRoles := wishOf(p, &roles, p.picture.roles)
	haveRoles, err := haveOf(p.inside, wantRoles, p.work.roles)
	if err != nil {
		return err
	}
	roleDelta := reconcile(wantRoles, p.work.roles, haveRoles)
	add(p, wantRoles, roleDelta)
	return p.permissions(serverDelta, roleDelta, wantRoles)
}

// add takes what was found of a kind into the plan.
func add[T any](p *plan, w *wish[T], d delta[T]) {
	p.stmts = append(p.stmts, d.statements(p.inside, w.kind)...)
	if p.explain {
		p.drift = append(p.drift, drifted(w, d)...)
	}
	p.conflicts = append(p.conflicts, d.conflicts...)
	p.problems = append(p.problems, w.problems...)
	p.pending += d.waiting
	for row, origin := range d.former {
		if p.detached == nil {
			p.detached = map[string]string{}
		}
		p.detached[w.kind.Name+"/"+w.kind.Of(row).Row.ID] = origin
	}
	for key, origin := range p.detached {
		if _, ok := cutKind(key, w.kind.Name); ok && w.shared[origin] == nil && !w.unshared[origin] {
			delete(p.detached, key) // the control plane's row is gone for good
		}
	}
	for _, row := range d.updated { // attached again, if it was detached
		delete(p.detached, w.kind.Name+"/"+w.kind.Of(row).Row.ID)
	}
	for _, row := range d.adopted {
		m := w.kind.Of(row)
		p.adopted = append(p.adopted, adoption{w.kind.Name, m.Row.ID, *m.Origin, d.was[row], row})
	}
}

// adoption is a row of the tenant's own that became a copy.
type adoption struct {
	Entity   string `json:"entity"`
	LocalID  string `json:"local_id"`
	OriginID string `json:"origin_id"`
	Before   any    `json:"before"`
	After    any    `json:"after"`
}

// report records what an operator of the tenant should know (contract C6.23,
// C6.27).
func (p *plan) report() {
	if p.rules.recorder == nil {
		return
	}
	if p.cleared != "" {
		p.rules.recorder.Record(p.inside, tenancy.Event{
			Type: "gh_sync", Audience: p.cleared,
			Description: "default_audience was cleared because its resource server was deleted on the control plane",
		})
	}
	for _, a := range p.adopted {
		details, err := json.Marshal(a)
		if err != nil {
			details = nil
		}
		p.rules.recorder.Record(p.inside, tenancy.Event{
			Type: "gh_sync", Details: details, Description: a.Entity + " " + a.LocalID + " became a copy of the control plane's " + a.OriginID,
		})
	}
}
