package login

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// changePath is where an application asks for mail that lets somebody choose a new
// password (contract C4.59).
const changePath = "/dbconnections/change_password"

// resetTime is how long an answer takes at least: whether there was a user to mail
// takes less (contract C9.41).
const resetTime = 300 * time.Millisecond

// serveChangePassword answers the same for addresses that are somebody's and those
// that are nobody's, and as fast.
func (p *Pages) serveChangePassword(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if r.Method == http.MethodOptions {
		p.preflight(w, r)
		return
	}
	if err := p.levelled(r.Context(), func() error { return p.requestReset(w, r) }); err != nil {
		if r.Context().Err() == nil { // else nobody waits for the answer
			p.refuse(w, r, err)
		}
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, "We've just sent you an email to reset your password.") // the caller is gone: nobody to tell
}

// levelled does what succeeds in the same time for every address: an error comes at
// once, also that of a caller who has gone.
func (p *Pages) levelled(ctx context.Context, work func() error) error {
	level := time.NewTimer(resetTime)
	defer level.Stop()
	if err := work(); err != nil {
		return err
	}
	select {
	case <-level.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Pages) requestReset(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		return refused(http.StatusMethodNotAllowed, "method_not_allowed", "Method Not Allowed")
	}
	if err := serves(r.Context()); err != nil {
		return err
	}
	given, err := readSignup(w, r)
	if err != nil {
		return err
	}
	if err := p.allowOrigin(w, r, given.text("client_id")); err != nil {
		return err
	}
	if _, err := given.account(); err != nil { // types, and a client
		return err
	}
	for _, name := range []string{"connection", "email"} {
		if given.text(name) == "" {
			return refused(http.StatusBadRequest, "invalid_request", "Missing required parameter: "+name)
		}
	}
	client, err := tenancy.CachedClient(r.Context(), given.text("client_id"))
	if errors.Is(err, tenancy.ErrNotFound) {
		return refused(http.StatusBadRequest, "invalid_request", "Unknown client: "+given.text("client_id"))
	}
	if err != nil {
		return err
	}
	list, err := connectionsOf(r.Context(), client.ID, "")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(o offered) bool { return o.Name == given.text("connection") }) {
		return refused(http.StatusBadRequest, "invalid_request", "The connection is not enabled for the client")
	}
	return p.mailReset(r.Context(), resetWish{client, given.text("connection"), given.text("email"), given.text("organization")})
}

// resetWish is who asked for the mail, and for whom.
type resetWish struct {
	client       *tenancy.Client
	connection   string // name
	email        string
	organization string // id or name; "" for none
}

// mailReset sends the mail where the address is somebody's. Who was sent one a moment
// ago gets no other, whoever asks for it.
func (p *Pages) mailReset(ctx context.Context, wish resetWish) error {
	email := tenancy.FoldEmail(wish.email)
	e := tenancy.Event{
		Type: "fcpr", Description: "There is no such user", ClientID: wish.client.ID, ClientName: wish.client.Name, Connection: wish.connection, UserName: email,
	}
	defer func() { p.record(ctx, e) }()
	user, err := tenancy.Users.First(ctx, "connection = ? AND email = ?", wish.connection, email)
	if errors.Is(err, tenancy.ErrNotFound) || err == nil && email == "" {
		return nil
	}
	if err != nil {
		e.Description = "The user could not be read"
		return err
	}
	e.UserID = user.ID
	org, err := memberOf(ctx, user, wish.organization)
	if err != nil {
		return err
	}
	recent, err := tenancy.RecentTicket(ctx, user.ID, tenancy.TicketChangePassword, tenancy.At(p.now()))
	if err != nil {
		return err
	}
	switch {
	case recent:
		e.Description = "The user was sent a mail a moment ago"
	case p.sendTicket(ctx, user, tenancy.TicketChangePassword, func(t *tenancy.Ticket) { t.Verifies, t.OrgID = true, org }):
		e.Type, e.Description = "scpr", "Success Change Password Request"
	default:
		e.Description = "The mail could not be sent"
	}
	return nil
}

// memberOf is the id of the organization by id or name, if the user is in it, or "".
func memberOf(ctx context.Context, user *tenancy.User, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	org, err := tenancy.Organizations.First(ctx, "id = ? OR name = ?", name, name)
	if err == nil {
		_, err = tenancy.Members.Get(ctx, tenancy.Join(org.ID, user.ID))
	}
	if errors.Is(err, tenancy.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return org.ID, nil
}
