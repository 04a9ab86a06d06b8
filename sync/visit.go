package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// outcome is what a visit to a tenant found and left.
type outcome struct {
	revision  int64 // applied up to here
	wrote     bool  // anything but the revision
	conflicts int
	skipped   int64
	pending   int64 // permissions that depend on rows of the tenant's own
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

// rules are what the configuration says about all tenants.
type rules struct {
	servers, roles bool
	inherit        tenancy.Inheritance
	transform      tenancy.Transform
	recorder       tenancy.Recorder
}

// enabled reports whether a kind is on for a tenant: by its own switch, else by
// the configuration's (contract C6.1, C6.20).
func enabled(own *bool, configured bool) bool {
	if own != nil {
		return *own && configured
	}
	return configured
}

// visitTries is how often a batch is made anew after somebody was faster.
const visitTries = 5

// visit compares and writes until the tenant is at the picture's revision. full
// compares everything, whatever the tenant has applied. back allows a revision
// below the tenant's, for a control plane that was restored from a backup.
func (v *visitor) visit(p *picture, full, back bool) (outcome, error) {
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
		if full || state.Revision == 0 || state.Pending > 0 || hasConflicts(state) || state.Applied > p.revision {
			w = everything
		}
		plan := &plan{visitor: v, picture: p, work: w, state: state}
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

func syncState(inside context.Context) (*tenancy.SyncState, error) {
	state, err := tenancy.SyncStates.Get(inside, tenancy.SyncStateID)
	if errors.Is(err, tenancy.ErrNotFound) {
		return &tenancy.SyncState{Row: tenancy.Row{ID: tenancy.SyncStateID}}, nil
	}
	return state, err
}

func hasConflicts(s *tenancy.SyncState) bool { return len(conflictsOf(s)) > 0 }

// conflictsOf reads the list a tenant keeps; one that cannot be read counts as
// one conflict, so that it is made anew.
func conflictsOf(s *tenancy.SyncState) []Conflict {
	if len(s.Conflicts) == 0 {
		return nil
	}
	var list []Conflict
	if json.Unmarshal(s.Conflicts, &list) != nil {
		return []Conflict{{}}
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
	skipped   int64
	pending   int64
	cleared   string // the default audience, if it went
}

// apply compares, and commits the difference with the revision. Nothing is
// written where the tenant is as it should be and knows it.
func (p *plan) apply() (outcome, error) {
	if p.work.servers.any() || p.work.roles.any() {
		if err := p.entities(); err != nil {
			return outcome{}, err
		}
	} else {
		p.skipped, p.pending, p.conflicts = p.state.Skipped, p.state.Pending, conflictsOf(p.state)
	}
	if p.work.settings {
		if err := p.inherited(); err != nil {
			return outcome{}, err
		}
	}
	out := outcome{
		revision: p.picture.revision, wrote: len(p.stmts) > 0,
		conflicts: len(p.conflicts), skipped: p.skipped, pending: p.pending,
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

// record gives the statement that writes down what is applied, on condition
// that nobody else did since; nil where nothing is to be written.
func (p *plan) record() (*tenancy.Stmt, error) {
	list := p.conflicts
	if list == nil {
		list = []Conflict{}
	}
	conflicts, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	s := p.state
	if len(p.stmts) == 0 && s.Revision > 0 && s.Applied == p.picture.revision && s.Skipped == p.skipped &&
		s.Pending == p.pending && string(s.Conflicts) == string(conflicts) {
		return nil, nil
	}
	s.Applied, s.Conflicts, s.Skipped, s.Pending = p.picture.revision, conflicts, p.skipped, p.pending
	write := tenancy.SyncStates.Replace
	if s.Revision == 0 {
		write = tenancy.SyncStates.Insert
	}
	stmt := write(p.inside, s)
	return &stmt, nil
}

// entities compares resource servers and roles with their permissions, in this
// order: what a role can have depends on the resource servers that are there.
func (p *plan) entities() error {
	identifiers, few := p.picture.identifiersOf(p.work)
	if !few {
		p.work.servers, p.work.roles = selection{all: true}, selection{all: true}
	}
	wantServers, wantRoles := p.picture.servers, p.picture.roles
	if !enabled(p.tenant.Sync.ResourceServers, p.rules.servers) {
		wantServers = nil
	}
	if !enabled(p.tenant.Sync.Roles, p.rules.roles) {
		wantRoles = nil
	}
	haveServers, err := haveOf(p.inside, &resourceServers, p.work.servers.ids, identifiers, p.work.servers.all)
	if err != nil {
		return err
	}
	before := scopesOf(haveServers)
	servers := reconcile(&resourceServers, wantServers, p.work.servers, haveServers)
	haveRoles, err := haveOf(p.inside, &roles, p.work.roles.ids, nameKeys(wantRoles, p.work.roles.ids), p.work.roles.all)
	if err != nil {
		return err
	}
	roleDelta := reconcile(&roles, wantRoles, p.work.roles, haveRoles)

	p.conflicts = append(servers.conflicts, roleDelta.conflicts...)
	p.stmts = append(p.stmts, servers.statements(p.inside, &resourceServers)...)
	if err := p.consequences(servers, before); err != nil {
		return err
	}
	p.stmts = append(p.stmts, roleDelta.statements(p.inside, &roles)...)
	return p.permissions(servers, roleDelta, wantRoles)
}

func nameKeys(want map[string]*tenancy.Role, ids []string) []string {
	var keys []string
	for _, id := range ids {
		if role := want[id]; role != nil {
			keys = append(keys, role.NameKey)
		}
	}
	return keys
}

// report records what an operator of the tenant should know (contract C6.27).
func (p *plan) report() {
	if p.cleared == "" || p.rules.recorder == nil {
		return
	}
	p.rules.recorder.Record(p.inside, tenancy.Event{
		Type: "gh_sync", Audience: p.cleared,
		Description: "default_audience was cleared because its resource server was deleted on the control plane",
	})
}
