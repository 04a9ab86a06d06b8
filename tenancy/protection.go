package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Protection is how a tenant guards its logins against guessing (contract C5.99).
type Protection struct {
	// BruteForce counts wrong passwords for one identifier.
	BruteForce Shield `json:"brute-force-protection"`

	// Throttling counts attempts from one address, whatever the identifiers.
	Throttling Shield `json:"suspicious-ip-throttling"`
}

// Shield is one way of counting.
type Shield struct {
	Enabled     bool     `json:"enabled"`
	Shields     []string `json:"shields"` // what happens at the limit
	Mode        string   `json:"mode,omitempty"`
	Allowlist   []string `json:"allowlist"`    // addresses and networks that nothing is counted for
	MaxAttempts int      `json:"max_attempts"` // 1 to 100
}

// What a shield does at its limit, and by what the first kind counts.
const (
	ShieldBlock  = "block"             // further attempts are refused
	ShieldNotify = "user_notification" // the user is told by mail

	CountByIdentifierAndIP = "count_per_identifier_and_ip"
	CountByIdentifier      = "count_per_identifier"
)

// DefaultProtection is that of a tenant that said nothing.
func DefaultProtection() Protection {
	return Protection{
		BruteForce: Shield{
			Enabled: true, Shields: []string{ShieldBlock, ShieldNotify}, Mode: CountByIdentifierAndIP, Allowlist: []string{}, MaxAttempts: MaxAttempts,
		},
		Throttling: Shield{Enabled: true, Shields: []string{ShieldBlock}, Allowlist: []string{}, MaxAttempts: MaxAddressAttempts},
	}
}

// Does reports whether a shield has an effect at its limit.
func (s *Shield) Does(what string) bool { return s.Enabled && slices.Contains(s.Shields, what) }

// counts reports whether attempts from the address are counted.
func (s *Shield) counts(ip string) bool {
	if !s.Enabled {
		return false
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return true
	}
	addr = addr.Unmap().WithZone("")
	return !slices.ContainsFunc(s.Allowlist, func(text string) bool {
		network, ok := AllowedNetwork(text)
		return ok && network.Contains(addr)
	})
}

// most is how many attempts there may be.
func (s *Shield) most() int {
	if !s.Does(ShieldBlock) {
		return math.MaxInt32
	}
	return s.MaxAttempts
}

// AllowedNetwork reads an entry of an allowlist: an address or a network.
func AllowedNetwork(text string) (netip.Prefix, bool) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, false
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	network, err := netip.ParsePrefix(text)
	return network, err == nil && network == network.Masked()
}

// settingsProtection is the id of the row of settings that a [Protection] is in.
// It is neither inherited nor one of the tenant's settings.
const settingsProtection = "attack_protection"

// CachedProtection returns the entered tenant's, from memory when it can. The
// result must not be changed.
func CachedProtection(ctx context.Context) (*Protection, error) {
	return Cached(ctx, settingsProtection, "", func(ctx context.Context) (*Protection, error) {
		row, err := SettingsRows.Get(ctx, settingsProtection)
		if errors.Is(err, ErrNotFound) {
			row, err = &SettingsRow{}, nil
		}
		if err != nil {
			return nil, err
		}
		return protectionIn(row)
	})
}

func protectionIn(row *SettingsRow) (*Protection, error) {
	p := DefaultProtection()
	for name, into := range map[string]*Shield{"brute-force-protection": &p.BruteForce, "suspicious-ip-throttling": &p.Throttling} {
		if raw := row.Values[name]; raw != nil {
			if err := json.Unmarshal(raw, into); err != nil {
				return nil, err
			}
		}
	}
	return &p, nil
}

// ChangeProtection changes the entered tenant's. change may run twice.
func ChangeProtection(ctx context.Context, change func(*Protection) error) error {
	alter := func(row *SettingsRow) error {
		p, err := protectionIn(row)
		if err != nil {
			return err
		}
		if err := change(p); err != nil {
			return err
		}
		row.Values = map[string]json.RawMessage{}
		for name, s := range map[string]Shield{"brute-force-protection": p.BruteForce, "suspicious-ip-throttling": p.Throttling} {
			if row.Values[name], err = json.Marshal(s); err != nil {
				return err
			}
		}
		return nil
	}
	for {
		_, err := SettingsRows.Update(ctx, settingsProtection, alter)
		if !errors.Is(err, ErrNotFound) {
			return err
		}
		row := &SettingsRow{Row: Row{ID: settingsProtection}}
		if err := alter(row); err != nil {
			return err
		}
		if err := SettingsRows.Create(ctx, row); !errors.Is(err, ErrConflict) { // else somebody was faster
			return err
		}
	}
}

// counting is what an attempt counts under, by the tenant's protection.
type counting struct {
	id      string // of the identifier; "" where it is not counted
	address string // of the address; ""
	*Protection
}

func (a Attempt) counting(ctx context.Context) (c counting, err error) {
	if c.Protection, err = CachedProtection(ctx); err != nil {
		return c, err
	}
	if c.BruteForce.counts(a.IP) {
		c.id = a.id()
		if c.BruteForce.Mode == CountByIdentifier {
			c.id = a.anywhere().id()
		}
	}
	if c.Throttling.counts(a.IP) {
		c.address = a.address()
	}
	return c, nil
}

// anywhere is the attempt as it is counted where the address does not matter.
func (a Attempt) anywhere() Attempt {
	a.IP = ""
	return a
}

// stmts count the attempt.
func (c *counting) stmts(ctx context.Context, a Attempt, now time.Time) (stmts []Stmt) {
	if c.id != "" {
		stmts = append(stmts, countStmt(ctx, c.id, a.UserID, a.IP, now, c.BruteForce.most(), AttemptBlock))
	}
	if c.address != "" {
		stmts = append(stmts, countStmt(ctx, c.address, "", a.IP, now, c.Throttling.most(), AddressPause))
	}
	return stmts
}
