package tenancy

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"
)

// Ticket lets whoever has its token, which is in a mail or in the answer to whoever
// asked for it, do one thing for one user, once (contract C5.96). What ends the
// user's access ends their tickets, too (C5.83), and a ticket is worth nothing once
// the user has another address.
//
// Row.ID is [HashToken] of the token.
type Ticket struct {
	Row
	Kind          string // [TicketVerifyEmail] or [TicketChangePassword]
	UserID        string
	Email         string // the user's
	OrgID         string // told to ResultURL; "" for none
	ResultURL     string // where the browser goes in the end; "" is a page here
	EmailInResult bool   // whether ResultURL is told the address
	Verifies      bool   // whether a changed password shows that the address is the user's
	ExpiresAt     Time
}

// The kinds of tickets.
const (
	TicketVerifyEmail    = "verify_email"
	TicketChangePassword = "change_password"
)

// Tickets is their table.
var Tickets = newTable[Ticket]("tickets")

// ticketPaths are the pages that take tickets, by kind, below an issuer.
var ticketPaths = map[string]string{TicketVerifyEmail: VerifyEmailPath, TicketChangePassword: ResetPasswordPath}

// The paths of those pages.
const (
	VerifyEmailPath   = "/u/email-verification"
	ResetPasswordPath = "/u/reset-password"
)

// ticketPause is how long no other mail with a ticket of a kind is sent to a user.
const ticketPause = time.Minute

// Issue makes the statement that stores a new ticket, and the address it is used at,
// whose token is in no other place. Its user, address and kind are set.
func (t *Ticket) Issue(ctx context.Context, issuer string) (address string, insert Stmt) {
	token := NewToken()
	t.ID = HashToken(token)
	return strings.TrimSuffix(issuer, "/") + ticketPaths[t.Kind] + "?" + url.Values{"ticket": {token}}.Encode(), Tickets.Insert(ctx, t)
}

// RecentTicket reports whether the user was sent a ticket of the kind a moment ago.
func RecentTicket(ctx context.Context, userID, kind string, now Time) (bool, error) {
	n, err := Tickets.Count(ctx, Filter{Where: "user_id = ? AND kind = ? AND created_at > ?", Args: []any{userID, kind, now.Add(-ticketPause)}})
	return n > 0, err
}

// TicketOf returns the ticket of a kind that a token is for, and whom it is for, or
// [ErrNotFound], also where it expired or the user has another address.
func TicketOf(ctx context.Context, token, kind string, now Time) (*Ticket, *User, error) {
	t, err := Tickets.Get(ctx, HashToken(token))
	if err == nil && (t.Kind != kind || t.ExpiresAt <= now) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, nil, err
	}
	u, err := Users.Get(ctx, t.UserID)
	if err == nil && u.Email != t.Email {
		err = ErrNotFound
	}
	return t, u, err
}

// VerifyEmail uses the ticket up: its address is shown to be the user's. Of two that
// do at the same time one gets [ErrNotFound].
func (t *Ticket) VerifyEmail(ctx context.Context, now Time) error {
	return t.use(ctx, now,
		SQL(ctx, `UPDATE users SET email_verified = ?, updated_at = ?, revision = revision + 1 WHERE tenant_id = @tenant AND id = ? AND email = ?`,
			true, now, t.UserID, t.Email).Once(),
		Tickets.RemoveWhere(ctx, "user_id = ? AND kind = ?", t.UserID, t.Kind))
}

// ChangePassword uses the ticket up: the user has the password that was hashed, is
// blocked by wrong ones no longer (contract C5.99), and logged in nowhere (C3.31). Of
// two that do at the same time one gets [ErrNotFound].
func (t *Ticket) ChangePassword(ctx context.Context, hash string, now Time) error {
	stmts := []Stmt{
		SQL(ctx, `UPDATE users SET email_verified = CASE WHEN ? THEN ? ELSE email_verified END, last_password_reset = ?, updated_at = ?,
			revision = revision + 1 WHERE tenant_id = @tenant AND id = ? AND email = ?`,
			t.Verifies, true, now, now, t.UserID, t.Email).Once(),
		PasswordStmt(ctx, t.UserID, hash),
		Unblock(ctx, t.UserID),
	}
	return t.use(ctx, now, append(stmts, EndAccess(ctx, t.UserID, PasswordChanged)...)...)
}

func (t *Ticket) use(ctx context.Context, now Time, stmts ...Stmt) error {
	used := SQL(ctx, `DELETE FROM tickets WHERE tenant_id = @tenant AND id = ? AND expires_at > ?`, t.ID, now).Once()
	err := Commit(ctx, append([]Stmt{used}, stmts...)...)
	if errors.Is(err, ErrStale) {
		return ErrNotFound
	}
	return err
}

// Result is where the browser goes with what became of a ticket; "" is a page here.
func (t *Ticket) Result(ctx context.Context, message string) (string, error) {
	if t.ResultURL == "" {
		return "", nil
	}
	u, err := url.Parse(t.ResultURL)
	if err != nil {
		return "", nil
	}
	q := u.Query()
	q.Set("success", "true")
	q.Set("code", "success")
	q.Set("message", message)
	if t.EmailInResult {
		q.Set("email", t.Email)
	}
	if t.OrgID != "" {
		org, err := Organizations.Get(ctx, t.OrgID)
		switch {
		case err == nil:
			q.Set("organization_id", org.ID)
			q.Set("organization_name", org.Name)
		case !errors.Is(err, ErrNotFound):
			return "", err
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// NewTicket is a ticket of a kind for a user, with what the tenant's template of the
// mail says of its life and result.
func NewTicket(ctx context.Context, u *User, kind string, now Time) (*Ticket, error) {
	t := &Ticket{Kind: kind, UserID: u.ID, Email: u.Email}
	life := int64(MaxTicketLife)
	template, err := EmailTemplateOf(ctx, TicketTemplates[kind])
	switch {
	case err == nil:
		t.ResultURL, t.EmailInResult = template.ResultURL, template.EmailInResult
		if template.Lifetime > 0 {
			life = template.Lifetime
		}
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	t.CreatedAt, t.ExpiresAt = now, now.Add(time.Duration(life)*time.Second)
	return t, nil
}

// TicketTemplates are the kinds of mail that tickets are sent in, by their kind.
var TicketTemplates = map[string]string{TicketVerifyEmail: TemplateVerifyEmail, TicketChangePassword: TemplateResetEmail}

// Described is what mail templates are told of the user.
func (u *User) Described() map[string]any {
	return map[string]any{
		"email": u.Email, "email_verified": u.EmailVerified, "name": u.Name, "given_name": u.GivenName, "family_name": u.FamilyName,
		"nickname": u.Nickname, "picture": u.Picture, "username": u.Username, "user_metadata": u.UserMetadata, "user_id": u.ID,
	}
}
