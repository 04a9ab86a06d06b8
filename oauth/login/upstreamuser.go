package login

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/oauth/upstream"
	"github.com/gatehouse-id/gatehouse/tenancy"
)

// errNoAccount is the page of somebody who has no account and may not make one.
var errNoAccount = &failure{
	Status: http.StatusForbidden, Title: "There is no account for you here",
	Message: "New accounts cannot be made this way. Ask for an invitation, or log in another way.",
}

// upstreamID is the id of the user that somebody at a provider is: theirs alone,
// whatever address they have or claim.
func upstreamID(c offered, id *upstream.Identity) string {
	return strings.Join([]string{c.Strategy, c.Name, id.Subject}, "|")
}

// logInUpstream logs in whom a provider has named, who gets an account the first
// time. An account is never found by its e-mail address: whoever can claim one
// elsewhere would be let into it.
func (s *step) logInUpstream(c offered, id *upstream.Identity) error {
	for try := 0; ; try++ {
		user, err := tenancy.Users.Get(s.ctx, upstreamID(c, id))
		switch {
		case errors.Is(err, tenancy.ErrNotFound):
			err = s.joinUpstream(c, id)
		case err == nil:
			err = s.returnUpstream(c, id, user)
		}
		if try == 2 || !errors.Is(err, tenancy.ErrConflict) { // somebody did the same, or changed the user
			return err
		}
	}
}

// returnUpstream logs in a user who has an account, and takes over what the
// provider says of them now.
func (s *step) returnUpstream(c offered, id *upstream.Identity, user *tenancy.User) error {
	if user.Blocked {
		e := s.event("f", "user is blocked", c.Name)
		e.UserID, e.UserName = user.ID, userName(user)
		s.pages.record(s.ctx, e)
		return &failure{Status: errBlockedUser.Status, Message: errBlockedUser.Message, Return: s.login()}
	}
	if err := s.describe(c, user, id); err != nil {
		return err
	}
	return s.storeUpstream(c, user, tenancy.Users.Replace)
}

// joinUpstream makes the account of somebody who comes the first time.
func (s *step) joinUpstream(c offered, id *upstream.Identity) error {
	if !c.signUp && s.invitation == nil {
		s.pages.record(s.ctx, s.event("fs", "public signup is disabled", c.Name))
		return errNoAccount
	}
	user := &tenancy.User{Row: tenancy.Row{ID: upstreamID(c, id)}, Connection: c.Name}
	if err := s.describe(c, user, id); err != nil {
		return err
	}
	var guards []tenancy.Stmt
	if i := s.invitation; i != nil && id.EmailVerified && id.Email == i.Email {
		user.AppMetadata, user.UserMetadata = i.AppMetadata, i.UserMetadata
		guards = append(guards, i.StillOpen(s.ctx))
	}
	err := s.pages.oneMore(s.ctx, func(within []tenancy.Stmt) error {
		user.LoginsCount = 0 // each try is the first login
		return s.storeUpstream(c, user, tenancy.Users.Insert, slices.Concat(within, guards)...)
	})
	if err != nil {
		return orFull(err)
	}
	e := s.event("ss", "Success Signup", c.Name)
	e.UserID, e.UserName = user.ID, userName(user)
	s.pages.record(s.ctx, e)
	return nil
}

// describe writes what a provider says into the user. An address that another user
// of the connection has stays with them.
func (s *step) describe(c offered, user *tenancy.User, id *upstream.Identity) error {
	local, _, _ := strings.Cut(id.Email, "@")
	user.Name = cmp.Or(id.Name, user.Name, id.Email, id.Nickname, id.Subject)
	user.GivenName, user.FamilyName = cmp.Or(id.GivenName, user.GivenName), cmp.Or(id.FamilyName, user.FamilyName)
	user.Nickname = cmp.Or(id.Nickname, user.Nickname, local)
	if strings.HasPrefix(id.Picture, "https://") {
		user.Picture = id.Picture
	}
	if id.Email == "" {
		return nil
	}
	other, err := tenancy.Users.First(s.ctx, "connection = ? AND email = ?", c.Name, id.Email)
	switch {
	case errors.Is(err, tenancy.ErrNotFound), err == nil && other.ID == user.ID:
		user.Email, user.EmailVerified = id.Email, id.EmailVerified
		return nil
	case err == nil && user.Email == id.Email:
		user.Email, user.EmailVerified = "", false
	}
	return err
}

func (s *step) storeUpstream(c offered, user *tenancy.User, write func(context.Context, *tenancy.User) tenancy.Stmt, also ...tenancy.Stmt) error {
	now := tenancy.At(s.pages.now())
	user.LastLogin, user.LastIP = now, tenancy.VisitOf(s.ctx).ClientIP
	user.LoginsCount++
	err := s.store(func(ls *tenancy.LoginSession) {
		ls.UserID, ls.Connection, ls.AuthenticatedAt = user.ID, c.Name, now
		ls.Methods = []tenancy.AuthMethod{{Name: "federated", Timestamp: now}}
		ls.Denied, ls.DeniedReason = false, ""
	}, slices.Concat(also, []tenancy.Stmt{write(s.ctx, user)})...)
	if err == nil {
		s.recordLogin(user, c.Name)
	}
	return err
}
