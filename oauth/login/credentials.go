package login

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

// maxIdentifier is how long an e-mail address or username may be, in bytes.
const maxIdentifier = 320

// What is said of a login that failed. Known and unknown names get the same
// (contract C9.41).
var (
	errWrong   = &Problem{Status: http.StatusBadRequest, Message: "Wrong email or password"}
	errBlocked = &Problem{
		Status:  http.StatusTooManyRequests,
		Message: "Your account has been blocked after multiple consecutive login attempts. Contact support to log in again.",
	}
	errBlockedUser = &Problem{Status: http.StatusForbidden, Message: "Your account has been blocked. Contact support to log in again."}
)

// proven is a user who gave the right password.
type proven struct {
	candidate
	password *tenancy.Password
	attempt  tenancy.Attempt
}

// authenticate finds out whose identifier and password these are. The error is
// one of the problems above where they are nobody's.
func (s *step) authenticate(connections []offered, identifier, password string) (*proven, error) {
	if len(identifier) > maxIdentifier {
		return nil, errWrong
	}
	list, err := candidates(s.ctx, connections, identifier)
	if err != nil {
		return nil, err
	}
	wrong := false
	for _, c := range list {
		pr, err := s.prove(c, identifier, password)
		switch {
		case err == nil:
			return pr, nil
		case errors.Is(err, tenancy.ErrWrongPassword):
			wrong = true
		case !errors.Is(err, tenancy.ErrTooManyAttempts):
			return nil, err
		}
	}
	if wrong {
		return nil, errWrong
	}
	return nil, errBlocked
}

// prove checks the password of one candidate. The attempt is counted first, so
// that guesses made at the same time cannot outrun the count.
func (s *step) prove(c candidate, identifier, password string) (*proven, error) {
	pr := &proven{candidate: c, attempt: tenancy.Attempt{
		Connection: c.connection.Name, Identifier: identifier,
		IP: tenancy.VisitOf(s.ctx).ClientIP,
	}}
	if c.user != nil {
		pr.attempt.UserID = c.user.ID
	}
	guarded := bruteForceProtected(c.connection)
	if guarded {
		if err := pr.attempt.Count(s.ctx, s.pages.now()); err != nil {
			if errors.Is(err, tenancy.ErrTooManyAttempts) {
				s.recordFailure(pr, identifier, "f", "Too many wrong passwords")
			}
			return nil, err
		}
	}
	var err error
	pr.password, err = tenancy.CheckPassword(s.ctx, pr.attempt.UserID, password)
	switch {
	case errors.Is(err, tenancy.ErrWrongPassword):
		kind, description := "fp", "Wrong email or password"
		if c.user == nil {
			kind, description = "fu", "Invalid email or username"
		}
		s.recordFailure(pr, identifier, kind, description)
		if guarded {
			if err := s.announceBlock(pr, identifier); err != nil {
				return nil, err
			}
		}
	case err != nil && guarded:
		// Nothing was learned about the password, so the attempt is given back;
		// also to somebody who went away while it waited.
		err = errors.Join(err, pr.attempt.Uncount(context.WithoutCancel(s.ctx)))
	}
	if err != nil {
		return nil, err
	}
	return pr, nil
}

// bruteForceProtected reports whether a connection counts wrong passwords; it
// does unless told not to.
func bruteForceProtected(c offered) bool {
	on, said := c.Options["brute_force_protection"].(bool)
	return on || !said
}

// announceBlock tells the log and the user that the wrong attempt was the last
// one (contract C5.99, "user_notification").
func (s *step) announceBlock(pr *proven, identifier string) error {
	blocks, err := pr.attempt.Blocks(s.ctx, s.pages.now())
	if err != nil || !blocks {
		return err
	}
	s.recordFailure(pr, identifier, "limit_wc", "Blocked account after too many wrong passwords")
	protection, err := tenancy.CachedProtection(s.ctx)
	if err != nil || !protection.BruteForce.Does(tenancy.ShieldNotify) || pr.user == nil || pr.user.Email == "" || s.pages.mailer == nil {
		return err
	}
	settings, err := tenancy.EffectiveSettings(s.ctx)
	if err == nil {
		m := mail.Blocked{Tenant: s.look.Name, Address: pr.attempt.IP}.Message(mail.Language(settings.Strings("enabled_locales")), pr.user.Email)
		m.Tenant = pr.user.TenantID
		err = s.pages.mailer.Send(s.ctx, m)
	}
	if err != nil { // the login's answer does not depend on it
		s.pages.logger.WarnContext(s.ctx, "mail not sent", slog.String("kind", "blocked_account"), slog.Any("error", err))
	}
	return nil
}

// event is what every event of this login says.
func (s *step) event(kind, description, connection string) tenancy.Event {
	e := tenancy.Event{Type: kind, Description: description, ClientID: s.client.ID, ClientName: s.client.Name, Connection: connection}
	if s.org != nil {
		e.OrgID, e.OrgName = s.org.ID, s.org.Name
	}
	return e
}

func (s *step) recordFailure(pr *proven, identifier, kind, description string) {
	e := s.event(kind, description, pr.connection.Name)
	e.UserID, e.UserName = pr.attempt.UserID, identifier
	s.pages.record(s.ctx, e)
}

// logIn stores that the user of the proof has logged in. A user who was blocked,
// removed or given another password at the same moment has not.
func (s *step) logIn(pr *proven) error {
	user := pr.user
	if user.Blocked {
		s.recordFailure(pr, user.Email, "f", "user is blocked")
		return errBlockedUser
	}
	now := tenancy.At(s.pages.now())
	err := s.store(func(ls *tenancy.LoginSession) { authenticated(ls, user.ID, pr.connection.Name, now) }, append(pr.attempt.Right(s.ctx),
		pr.password.Unchanged(s.ctx),
		tenancy.SQL(s.ctx, `UPDATE users SET last_login = ?, last_ip = ?, logins_count = logins_count + 1, updated_at = ?,
			revision = revision + 1 WHERE tenant_id = @tenant AND id = ? AND blocked = ?`,
			now, tenancy.VisitOf(s.ctx).ClientIP, now, user.ID, false).Once())...)
	if errors.Is(err, tenancy.ErrStale) {
		return errWrong
	}
	if err != nil {
		return err
	}
	s.recordLogin(user, pr.connection.Name)
	return nil
}

func (s *step) recordLogin(user *tenancy.User, connection string) {
	e := s.event("s", "Success Login", connection)
	e.UserID, e.UserName = user.ID, userName(user)
	s.pages.record(s.ctx, e)
}

func userName(u *tenancy.User) string {
	if u.Email != "" {
		return u.Email
	}
	return u.Username
}

// authenticated writes into a login under way who has logged in, with a password.
func authenticated(ls *tenancy.LoginSession, userID, connection string, now tenancy.Time) {
	ls.UserID, ls.Connection, ls.AuthenticatedAt = userID, connection, now
	ls.Methods = []tenancy.AuthMethod{{Name: "pwd", Timestamp: now}}
	ls.Denied = false
}
