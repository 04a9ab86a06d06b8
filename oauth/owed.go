package oauth

import (
	"context"
	"errors"
	"slices"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// An RSA key takes about 100 ms of a processor to make, a hundred times what the
// rest of a tenant takes. Where the reservoir is empty, a new tenant is
// therefore given a note instead, a row without a key, and the key is made right
// after: by whoever first needs it, or in the background. Nothing is published
// or signed meanwhile that would lack it.

// owedID is the id of the note for a key of the algorithm and use. There can be
// only one, and whoever takes it away puts the key in its place.
func owedID(alg string, use tenancy.KeyUse) string { return "owed:" + alg + ":" + string(use) }

func newOwed(alg string, use tenancy.KeyUse) *tenancy.SigningKey {
	return &tenancy.SigningKey{Row: tenancy.Row{ID: owedID(alg, use)}, Alg: alg, Use: tenancy.KeyOwed}
}

// mayOwe reports whether a key of the algorithm can be made later.
func (k *Keyring) mayOwe(alg string) bool { return k.Reservoir != nil && algorithms[alg].rsa }

// owing is told the ids of tenants whose keys are owed. It drops what it cannot
// hold: those tenants' keys are made when they are needed, or by the daily look.
func (k *Keyring) owing() chan string {
	k.once.Do(func() { k.owed = make(chan string, 10_000) })
	return k.owed
}

// Owing yields the ids of tenants whose keys are still to be made, for a loop
// that enters each and calls [Keyring.AwaitOwed].
func (k *Keyring) Owing() <-chan string { return k.owing() }

func (k *Keyring) noteOwing(ctx context.Context) {
	t, err := tenancy.Current(ctx)
	if err != nil {
		return
	}
	select {
	case k.owing() <- t.ID:
	default:
	}
}

// MakeOwed makes the keys that the entered tenant is owed, at once. Doing it
// again, or in two places at once, makes each only once.
func (k *Keyring) MakeOwed(ctx context.Context) error {
	return errors.Join(k.makeOwed(ctx, tenancy.KeyCurrent, k.take), k.makeOwed(ctx, tenancy.KeyNext, k.take))
}

// AwaitOwed is MakeOwed for whoever has time: it waits for keys that the
// reservoir makes ahead.
func (k *Keyring) AwaitOwed(ctx context.Context) error {
	return errors.Join(k.makeOwed(ctx, tenancy.KeyCurrent, k.Reservoir.Await), k.makeOwed(ctx, tenancy.KeyNext, k.Reservoir.Await))
}

func (k *Keyring) take(ctx context.Context) (*material, error) { return k.material(ctx, "RS256") }

// makeOwed makes those of one use out of what take returns. Callers of one
// process and tenant that take in the same way wait for the same work.
func (k *Keyring) makeOwed(ctx context.Context, use tenancy.KeyUse, take func(context.Context) (*material, error)) error {
	notes, err := tenancy.SigningKeys.Find(ctx, tenancy.Filter{Where: "use_state = ?", Args: []any{tenancy.KeyOwed}})
	if err != nil {
		return err
	}
	for _, note := range notes {
		if note.ID != owedID(note.Alg, use) {
			continue
		}
		m, err := take(ctx)
		if err != nil {
			return err
		}
		err = tenancy.Commit(ctx, tenancy.SigningKeys.Remove(ctx, note.ID).Once(), tenancy.SigningKeys.Insert(ctx, k.row(m, note.Alg, use)))
		if errors.Is(err, tenancy.ErrStale) { // somebody else was faster
			err = tenancy.Forget(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeOwedNow makes the owed keys that sign, for a caller who waits. All who wait
// in one tenant wait for the same work.
func (k *Keyring) makeOwedNow(ctx context.Context) error {
	t, err := tenancy.Current(ctx)
	if err != nil {
		return err
	}
	_, err, _ = k.making.Do(t.ID, func() (any, error) {
		return nil, k.makeOwed(context.WithoutCancel(ctx), tenancy.KeyCurrent, k.take) // the others still wait when this caller has gone
	})
	return err
}

// missing reports whether the rows hold neither a key of the algorithm and use
// nor a note that it is owed.
func missing(rows []tenancy.SigningKey, alg string, use tenancy.KeyUse) bool {
	return !slices.ContainsFunc(rows, func(r tenancy.SigningKey) bool {
		return r.Alg == alg && (r.Use == use || r.ID == owedID(alg, use))
	})
}
