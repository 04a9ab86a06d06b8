package tenancy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// Hook is asked before tenants are created, changed and deleted (contract C8.16).
// It is part of the program; no tenant's code is.
type Hook interface {
	// Before returns nil where it has nothing against the proposal, a [Veto] to
	// refuse it, and any other error where it cannot tell, which is answered
	// with 503. It is asked before anything is written, has [HookPatience], and
	// is called concurrently. Before a creation it may fill in members that the
	// caller left out of p.New; what they gave stays as it is.
	Before(ctx context.Context, p *Proposal) error
}

// Proposal is what is about to be done.
type Proposal struct {
	Action string     // create, update or delete
	Actor  string     // subject of who asks for it; "" for the platform itself
	Tenant *Tenant    // as it is now, or would be after an update; nil on creation
	New    *NewTenant // on creation
}

// Veto is the refusal of a hook, in words for the caller.
type Veto string

// Error implements error.
func (v Veto) Error() string { return string(v) }

// HookPatience is how long all hooks together may take.
const HookPatience = 5 * time.Second

// ask asks all hooks in order; the first refusal is the answer. A hook that
// hangs is left behind: it was given a copy, and nothing has been written.
func (l *Lifecycle) ask(ctx context.Context, p *Proposal) error {
	if len(l.Hooks) == 0 {
		return nil
	}
	patience := HookPatience
	if l.hookPatience > 0 {
		patience = l.hookPatience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p.Actor = actor(ctx)
	for _, h := range l.Hooks {
		theirs := p.clone()
		done := make(chan error, 1)
		go func() {
			defer func() {
				if r := recover(); r != nil {
					done <- fmt.Errorf("panic: %v", r)
				}
			}()
			done <- h.Before(ctx, theirs)
		}()
		select {
		case err := <-done:
			if err != nil {
				return hookError(h, err)
			}
			p.New.fillIn(theirs.New)
		case <-ctx.Done():
			return hookError(h, ctx.Err())
		}
	}
	return nil
}

func hookError(h Hook, err error) error {
	var veto Veto
	if errors.As(err, &veto) {
		return Errorf(http.StatusForbidden, "hook_refused", "%s", string(veto))
	}
	return &Error{
		Status: http.StatusServiceUnavailable, Code: "hook_unavailable", Message: "A hook of this installation did not answer",
		Cause: fmt.Errorf("hook %T: %w", h, err),
	}
}

// clone copies as much as a hook may write to.
func (p *Proposal) clone() *Proposal {
	c := *p
	if p.Tenant != nil {
		t := *p.Tenant
		t.DataKey, t.Metadata = "", maps.Clone(t.Metadata)
		c.Tenant = &t
	}
	if p.New != nil {
		n := *p.New
		n.Metadata, n.Settings = maps.Clone(n.Metadata), maps.Clone(n.Settings)
		if n.Owner != nil {
			o := *n.Owner
			n.Owner = &o
		}
		c.New = &n
	}
	return &c
}

// fillIn takes over the members that are absent.
func (n *NewTenant) fillIn(from *NewTenant) {
	if n == nil || from == nil {
		return
	}
	if n.Audience == "" {
		n.Audience = from.Audience
	}
	if n.Placement == "" {
		n.Placement = from.Placement
	}
	if n.Owner == nil {
		n.Owner = from.Owner
	}
	if n.Inheritance.Mode == "" {
		n.Inheritance = from.Inheritance
	}
	n.Metadata = absentFrom(n.Metadata, from.Metadata)
	n.Settings = absentFrom(n.Settings, from.Settings)
}

func absentFrom[V any](own, more map[string]V) map[string]V {
	if len(more) == 0 {
		return own
	}
	all := maps.Clone(more)
	maps.Copy(all, own)
	return all
}
