package management

import (
	"context"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// protectionRoutes are those on how logins are guarded against guessing (contract
// C5.99).
var protectionRoutes = []route{
	get("/attack-protection/brute-force-protection", readShield(bruteForce), "read:attack_protection"),
	write(http.MethodPatch, "/attack-protection/brute-force-protection", http.StatusOK, changeShield(bruteForce,
		[]string{tenancy.ShieldBlock, tenancy.ShieldNotify}, []string{tenancy.CountByIdentifierAndIP, tenancy.CountByIdentifier}), "update:attack_protection"),
	get("/attack-protection/suspicious-ip-throttling", readShield(throttling), "read:attack_protection"),
	write(http.MethodPatch, "/attack-protection/suspicious-ip-throttling", http.StatusOK, changeShield(throttling,
		[]string{tenancy.ShieldBlock}, nil), "update:attack_protection"),
	write(http.MethodDelete, "/user-blocks/{id}", http.StatusNoContent, unblock, "update:users"),
}

func bruteForce(p *tenancy.Protection) *tenancy.Shield { return &p.BruteForce }
func throttling(p *tenancy.Protection) *tenancy.Shield { return &p.Throttling }

func readShield(of func(*tenancy.Protection) *tenancy.Shield) handler {
	return func(ctx context.Context, _ *Call) (any, error) {
		p, err := tenancy.CachedProtection(ctx)
		if err != nil {
			return nil, err
		}
		return of(p), nil
	}
}

// shieldChange is what may be changed of a shield; what is absent stays.
type shieldChange struct {
	Enabled     *bool    `json:"enabled"`
	Shields     []string `json:"shields"`
	Mode        *string  `json:"mode"`
	Allowlist   []string `json:"allowlist"`
	MaxAttempts *int     `json:"max_attempts"`
}

// changeShield takes a change. A mode is refused where there are none to choose
// from.
func changeShield(of func(*tenancy.Protection) *tenancy.Shield, shields, modes []string) handler {
	return Handle(func(ctx context.Context, _ *Call, in *shieldChange) (*tenancy.Shield, error) {
		switch {
		case in.Mode != nil && modes == nil:
			return nil, unknownMember("mode")
		case in.Mode != nil:
			if err := text(0, 0).in(modes...).accept(valueOf(*in.Mode), "mode"); err != nil {
				return nil, err
			}
		}
		if err := texts(len(shields)).distinct().in(shields...).accept(valueOf(in.Shields), "shields"); err != nil {
			return nil, err
		}
		if err := texts(100).distinct().that(networkText).accept(valueOf(in.Allowlist), "allowlist"); err != nil {
			return nil, err
		}
		if in.MaxAttempts != nil {
			if err := number(1, 100).accept(valueOf(*in.MaxAttempts), "max_attempts"); err != nil {
				return nil, err
			}
		}
		var after tenancy.Shield
		err := tenancy.ChangeProtection(ctx, func(p *tenancy.Protection) error {
			s := of(p)
			in.apply(s)
			after = *s
			return nil
		})
		return &after, err
	})
}

func (in *shieldChange) apply(s *tenancy.Shield) {
	if in.Enabled != nil {
		s.Enabled = *in.Enabled
	}
	if in.Shields != nil {
		s.Shields = in.Shields
	}
	if in.Mode != nil {
		s.Mode = *in.Mode
	}
	if in.Allowlist != nil {
		s.Allowlist = in.Allowlist
	}
	if in.MaxAttempts != nil {
		s.MaxAttempts = *in.MaxAttempts
	}
}

func networkText(s string) string {
	if _, ok := tenancy.AllowedNetwork(s); !ok {
		return "Not an address or a network such as 203.0.113.0/24: " + s
	}
	return ""
}

// unblock forgets a user's wrong passwords, so that who was locked out may try
// again.
func unblock(ctx context.Context, c *Call) (any, error) {
	user, err := found(tenancy.Users.Get(ctx, c.param("id")))("User")
	if err != nil {
		return nil, err
	}
	return nil, tenancy.Commit(ctx, tenancy.Unblock(ctx, user.ID))
}
