package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Domains makes, verifies and removes tenants' custom domains. Every method takes
// the tenant whose domains it works on and neither sees nor says anything of
// another's, except that a name is taken once another tenant has proven it. It is
// safe for concurrent use, also by several nodes over one control plane: of two
// tenants that verify the same name, one gets it.
type Domains struct {
	Directory *Directory // required
	Prover    Prover     // looks for proofs; the zero value asks the system's resolver
	Recorder  Recorder   // nil keeps no events

	// Now is the clock by which domains are verified again; nil is time.Now.
	Now func() time.Time

	// Log gets what could not be done in the background; nil drops it.
	Log *slog.Logger
}

// When domains are verified again (contract C5.88).
const (
	verifyEvery  = 24 * time.Hour     // each ready domain
	disableAfter = 7 * 24 * time.Hour // without proof
	verifyRound  = 5 * time.Minute    // between two looks at which are due
	verifyBatch  = 50                 // domains of a round
)

func (s *Domains) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// in runs f inside the control plane.
func (s *Domains) in(ctx context.Context, f func(inside context.Context) error) error {
	inside, leave, err := s.Directory.EnterControlPlane(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return f(inside)
}

// List returns a tenant's domains, by name.
func (s *Domains) List(ctx context.Context, tenant string) (list []CustomDomain, err error) {
	err = s.in(ctx, func(inside context.Context) error {
		list, err = CustomDomains.Find(inside, Filter{Where: "subject = ?", Args: []any{tenant}, Order: "domain, id"})
		return err
	})
	return list, err
}

// Get returns one of a tenant's domains by its id or its name, or [ErrNotFound]:
// also for one that is another tenant's.
func (s *Domains) Get(ctx context.Context, tenant, id string) (d *CustomDomain, err error) {
	err = s.in(ctx, func(inside context.Context) error {
		d, err = domainOf(inside, tenant, id)
		return err
	})
	return d, err
}

func domainOf(inside context.Context, tenant, id string) (*CustomDomain, error) {
	return CustomDomains.First(inside, "subject = ? AND (id = ? OR domain = ?)", tenant, id, id)
}

// Proofs are what verifies a claim.
func (s *Domains) Proofs(d *CustomDomain) []Proof { return s.Directory.Hosts().Proofs(d) }

// NewDomain is a wish for a domain.
type NewDomain struct {
	Domain   string
	Type     string // one of DomainTypes; "" is DomainManaged
	Method   string // the proof that is looked for first; "" is any
	Primary  bool   // from when it is verified on
	Metadata map[string]string
}

// Create makes a pending claim, which stands in nobody's way and has no effect
// until it is verified.
//
// Errors: an [Error] 400 for a name that cannot be one, 409
// custom_domain_conflict for one that this tenant has claimed or any tenant has
// proven, and 403 quota_exceeded.
func (s *Domains) Create(ctx context.Context, tenant string, wish NewDomain) (*CustomDomain, error) {
	name, err := s.Directory.Hosts().ValidDomain(wish.Domain)
	if err != nil {
		return nil, err
	}
	if wish.Type == "" {
		wish.Type = DomainManaged
	}
	d := &CustomDomain{
		Row: Row{ID: NewID("cd_", 16)}, Subject: tenant, Domain: name, Type: wish.Type, Primary: wish.Primary, Token: newDomainToken(),
		Method: wish.Method, Status: DomainPending, Metadata: wish.Metadata,
	}
	d.Held = d.ID
	err = s.in(ctx, func(inside context.Context) error {
		switch owner, err := CustomDomains.First(inside, "held = ?", name); {
		case err == nil:
			return domainTaken(owner.Domain)
		case !errors.Is(err, ErrNotFound):
			return err
		}
		t, err := Tenants.Get(inside, tenant)
		if err != nil {
			return err
		}
		err = Commit(inside, insertClaim(inside, d, t.Quota("domains"))...)
		switch {
		case errors.Is(err, ErrStale):
			return noRoom(inside, tenant)
		case errors.Is(err, ErrConflict):
			return domainTaken(name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	s.record(ctx, d, "created")
	return d, nil
}

// noRoom says why a claim could not be written.
func noRoom(inside context.Context, tenant string) error {
	t, err := Tenants.Get(inside, tenant)
	switch {
	case err != nil:
		return err
	case t.State == StateDeleting:
		return ErrNotFound
	}
	return QuotaExceeded("domains", t.Quota("domains"))
}

func domainTaken(name string) error {
	return Errorf(http.StatusConflict, "custom_domain_conflict", "The custom domain '%s' already exists", name)
}

// Update changes a domain's primary rank and metadata; alter may run several
// times. A claim that is not ready can become primary only when it is verified.
func (s *Domains) Update(ctx context.Context, tenant, id string, alter func(*CustomDomain) error) (d *CustomDomain, err error) {
	changed := false
	err = s.in(ctx, func(inside context.Context) error {
		for try := 0; ; try++ {
			if d, err = domainOf(inside, tenant, id); err != nil {
				return err
			}
			before := d.Primary
			if err := alter(d); err != nil {
				return err
			}
			changed = before != d.Primary && d.Status == DomainReady
			stmts := []Stmt{CustomDomains.Replace(inside, d)}
			if changed && d.Primary {
				stmts = onlyPrimary(inside, d, stmts[0])
			}
			if err := Commit(inside, stmts...); !errors.Is(err, ErrStale) || try == 9 {
				return err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	if changed {
		s.record(ctx, d, "primary")
	}
	return d, s.Directory.Refresh(ctx)
}

// Delete releases a domain: it ceases to route, to be an issuer and to get
// certificates, and any tenant may prove it. The name is nobody's until then, also
// where its DNS still leads here.
func (s *Domains) Delete(ctx context.Context, tenant, id string) error {
	var d *CustomDomain
	err := s.in(ctx, func(inside context.Context) (err error) {
		if d, err = domainOf(inside, tenant, id); err != nil {
			return err
		}
		return CustomDomains.Delete(inside, d.ID)
	})
	if err != nil {
		return err
	}
	s.record(ctx, d, "deleted")
	return s.Directory.Refresh(ctx)
}

// Verify looks for the proof of a claim, now, and returns the claim as it is
// then: ready, or with the problem. A name that another tenant has proven
// meanwhile is 409 custom_domain_conflict, and stays the other's (contract C9.47).
func (s *Domains) Verify(ctx context.Context, tenant, id string) (*CustomDomain, error) {
	d, err := s.Get(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	return s.verify(ctx, d)
}

// verify looks for the proof outside of any database, then writes what was found.
func (s *Domains) verify(ctx context.Context, d *CustomDomain) (*CustomDomain, error) {
	proof, problem := s.Prover.Prove(ctx, s.Directory.Hosts(), d)
	if err := ctx.Err(); err != nil {
		return nil, err // whoever asked gave up; nothing was found out
	}
	now := At(s.now())
	before := d.Status
	id, token := d.ID, d.Token
	err := s.in(ctx, func(inside context.Context) error {
		for try := 0; ; try++ {
			var err error
			if d, err = CustomDomains.Get(inside, id); err != nil {
				return err
			}
			if d.Token != token {
				return ErrStale
			}
			before = d.Status
			d.judge(proof, problem, now)
			stmts := []Stmt{CustomDomains.Replace(inside, d)}
			if d.Primary && before != DomainReady {
				stmts = onlyPrimary(inside, d, stmts[0])
			}
			err = Commit(inside, stmts...)
			switch {
			case errors.Is(err, ErrStale) && try < 9:
				continue
			case errors.Is(err, ErrConflict) && !errors.Is(err, ErrStale):
				return domainTaken(d.Domain)
			}
			return err
		}
	})
	if err != nil {
		return nil, err
	}
	if before == d.Status {
		return d, nil
	}
	if d.Status == DomainReady {
		s.record(ctx, d, "verified")
	} else {
		s.record(ctx, d, "disabled")
	}
	return d, s.Directory.Refresh(ctx)
}

// judge gives the claim what a verification has found: proof is the method that
// succeeded, "" for none. A ready domain keeps its status without proof for a
// while: a mistake in somebody's DNS logs nobody out.
func (d *CustomDomain) judge(proof, problem string, now Time) {
	d.CheckedAt, d.Problem = now, problem
	switch {
	case proof != "":
		d.Method, d.VerifiedAt = proof, now
		d.become(DomainReady)
	case d.Status == DomainReady && d.VerifiedAt.Add(disableAfter) <= now:
		d.become(DomainDisabled)
	}
}

// Run verifies ready domains again, each once a day by one node, until ctx ends.
func (s *Domains) Run(ctx context.Context) {
	tick := time.NewTicker(verifyRound)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.Reverify(ctx); err != nil && ctx.Err() == nil && s.Log != nil {
			s.Log.Warn("custom domains could not be verified again", "error", err)
		}
	}
}

// Reverify verifies the ready domains that are due. It returns the errors of
// those that could not be looked at, joined; a proof that is missing is none.
func (s *Domains) Reverify(ctx context.Context) error {
	var due []CustomDomain
	err := s.in(ctx, func(inside context.Context) (err error) {
		due, err = CustomDomains.Find(inside, Filter{
			Where: "status = ? AND checked_at <= ?", Args: []any{DomainReady, At(s.now().Add(-verifyEvery))}, Order: "checked_at, id", Limit: verifyBatch,
		})
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for i := range due {
		d := &due[i]
		if err := s.again(ctx, d); err != nil && !errors.Is(err, ErrNotFound) {
			errs = append(errs, fmt.Errorf("domain %s: %w", d.Domain, err))
		}
	}
	return errors.Join(errs...)
}

// again verifies a domain, unless another node does.
func (s *Domains) again(ctx context.Context, d *CustomDomain) error {
	err := s.in(ctx, func(inside context.Context) error {
		return Commit(inside, SQL(inside, `UPDATE custom_domains SET checked_at = ?, revision = revision + 1
			WHERE tenant_id = @tenant AND id = ? AND revision = ?`, At(s.now()), d.ID, d.Revision).Once())
	})
	if errors.Is(err, ErrStale) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.verify(ctx, d)
	return err
}

// record tells of a domain in the control plane's log (contract C8.15).
func (s *Domains) record(ctx context.Context, d *CustomDomain, what string) {
	if s.Recorder == nil {
		return
	}
	_ = s.in(ctx, func(inside context.Context) error { // without its log there are the other recorders
		details, err := json.Marshal(map[string]string{
			"tenant_id": d.Subject, "custom_domain_id": d.ID, "domain": d.Domain, "status": string(d.Status), "problem": d.Problem, "actor": actor(ctx),
		})
		s.Recorder.Record(inside, Event{Date: At(s.now()), Type: "gh_tenant", Description: "tenant.domain." + what, Details: details})
		return err
	})
}
