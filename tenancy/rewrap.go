package tenancy

import (
	"context"
	"fmt"
)

// MasterKey is a key of the ring that seals tenants' data keys.
type MasterKey struct {
	ID       string `json:"id"`                 // derived from the secret, and not secret
	Position int    `json:"position,omitempty"` // of its secret in the configuration, from 1; 0 for a key it does not have
	Tenants  int64  `json:"tenants"`            // whose data key it seals
}

// Removable reports whether the key's secret may leave the configuration.
func (k MasterKey) Removable() bool { return k.Position > 1 && k.Tenants == 0 }

// MasterKeys counts the tenants by the key their data key is sealed with: those of
// the ring in its order, then those it does not have.
func (l *Lifecycle) MasterKeys(ctx context.Context) ([]MasterKey, error) {
	count := map[uint32]int64{}
	err := l.eachDataKey(ctx, func(_ context.Context, _, sealed string) error {
		id, _, err := keyID(sealed)
		count[id]++
		return err
	})
	if err != nil {
		return nil, err
	}
	var list []MasterKey
	for i, id := range l.Master.order {
		list = append(list, MasterKey{ID: fmt.Sprintf("%08x", id), Position: i + 1, Tenants: count[id]})
		delete(count, id)
	}
	for id, n := range count {
		list = append(list, MasterKey{ID: fmt.Sprintf("%08x", id), Tenants: n})
	}
	return list, nil
}

// RewrapDataKeys seals every tenant's data key with the first secret of the ring,
// so that the others can be removed from the configuration. The data keys stay what
// they are, and so do the tenants' databases. It may end at any point and be run
// again; it returns how many it sealed anew.
func (l *Lifecycle) RewrapDataKeys(ctx context.Context, report Report) (rewrapped int64, err error) {
	const step = "tenants' data keys"
	var done int64
	total := int64(l.Directory.Len())
	err = l.eachDataKey(ctx, func(inside context.Context, id, sealed string) error {
		done++
		defer func() { report.tell(step, done, max(total, done)) }()
		if l.Master.current(sealed) {
			return nil
		}
		b, err := l.Master.openBundle(id, sealed)
		if err != nil {
			return fmt.Errorf("data key of tenant %s: %w", id, err)
		}
		// The directory need not know: it has the same key, sealed as before.
		// Whoever read the row before and would write it back has to read it again.
		n, err := CommitCount(inside, SQL(inside, `UPDATE tenants SET data_key = ?, revision = revision + 1
			WHERE tenant_id = @tenant AND id = ? AND data_key = ?`, l.Master.sealBundle(id, b), id, sealed))
		rewrapped += n // 0 where somebody else replaced it meanwhile, with the first secret
		return err
	})
	return rewrapped, err
}

// eachDataKey calls f with every tenant's sealed data key, inside the control
// plane, a page of the registry at a time.
func (l *Lifecycle) eachDataKey(ctx context.Context, f func(inside context.Context, id, sealed string) error) error {
	const page = 500
	for after := ""; ; {
		inside, leave, err := l.Directory.EnterControlPlane(ctx)
		if err != nil {
			return err
		}
		keys, err := dataKeysAfter(inside, after, page)
		for _, k := range keys {
			if err != nil {
				break
			}
			after = k.id
			if err = ctx.Err(); err == nil {
				err = f(inside, k.id, k.sealed)
			}
		}
		leave()
		if err != nil || len(keys) < page {
			return err
		}
	}
}

type sealedDataKey struct{ id, sealed string }

func dataKeysAfter(inside context.Context, after string, limit int) (list []sealedDataKey, err error) {
	rows, err := Query(inside, `SELECT id, data_key FROM tenants WHERE tenant_id = @tenant AND id > ? ORDER BY id LIMIT ?`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k sealedDataKey
		if err := rows.Scan(&k.id, &k.sealed); err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, rows.Err()
}
