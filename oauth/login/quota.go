package login

import (
	"context"
	"errors"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// errFull is the page of somebody who would be one user too many (contract C5.18).
var errFull = &failure{
	Status: http.StatusForbidden, Title: "Sign-up is closed", Code: "quota_exceeded",
	Message: "New accounts cannot be made here at the moment. If you already have one, log in instead.",
}

// oneMore stores a new user by write, which is given what else its batch has to hold.
// One too many is the quota's error, which is 403, also where another was faster.
func (p *Pages) oneMore(ctx context.Context, write func(guards []tenancy.Stmt) error) error {
	for try := 0; ; try++ {
		guards, n, limit, err := tenancy.QuotaOfUsers(ctx)
		if err != nil {
			return err
		}
		err = write(guards)
		if err == nil {
			if e, crossed := tenancy.QuotaCrossed("users", n, limit); crossed {
				p.record(ctx, e)
			}
			return nil
		}
		if limit == 0 || try == 9 || !errors.Is(err, tenancy.ErrStale) {
			return err
		}
	}
}

// orFull is err, or the page for the one too many.
func orFull(err error) error {
	var full *tenancy.Error
	if errors.As(err, &full) && full.Code == "quota_exceeded" {
		return errFull
	}
	return err
}
