package management

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

// ticketRoutes make links that do one thing for a user once (contract C5.96).
var ticketRoutes = []route{
	write(http.MethodPost, "/tickets/email-verification", http.StatusCreated, Handle(verificationTicket), "create:user_tickets"),
	write(http.MethodPost, "/tickets/password-change", http.StatusCreated, Handle(passwordTicket), "create:user_tickets"),
}

// ticketBody is what the two have in common.
type ticketBody struct {
	UserID        string `json:"user_id"`
	ResultURL     string `json:"result_url"`
	ClientID      string `json:"client_id"`
	OrgID         string `json:"organization_id"`
	TTL           *int   `json:"ttl_sec"`
	EmailInResult *bool  `json:"includeEmailInRedirect"`
}

type passwordTicketBody struct {
	UserID        string `json:"user_id"`
	Email         string `json:"email"`
	ConnectionID  string `json:"connection_id"`
	ResultURL     string `json:"result_url"`
	ClientID      string `json:"client_id"`
	OrgID         string `json:"organization_id"`
	TTL           *int   `json:"ttl_sec"`
	EmailInResult *bool  `json:"includeEmailInRedirect"`
	Verifies      bool   `json:"mark_email_as_verified"`
}

func verificationTicket(ctx context.Context, c *Call, in *ticketBody) (any, error) {
	if in.UserID == "" {
		return nil, invalid("", "Missing required property: user_id")
	}
	user, err := ticketUser(tenancy.Users.Get(ctx, in.UserID))
	if err != nil {
		return nil, err
	}
	if user.Email == "" {
		return nil, invalid("user_id", "The user has no email address")
	}
	return c.ticket(ctx, user, tenancy.TicketVerifyEmail, in, false)
}

func passwordTicket(ctx context.Context, c *Call, in *passwordTicketBody) (any, error) {
	user, err := in.user(ctx)
	if err != nil {
		return nil, err
	}
	connection, err := tenancy.Connections.First(ctx, "name = ?", user.Connection)
	if err != nil && !errors.Is(err, tenancy.ErrNotFound) {
		return nil, err
	}
	if err != nil || connection.Strategy != tenancy.StrategyDatabase {
		return nil, invalid("user_id", "Users of the connection have no password")
	}
	return c.ticket(ctx, user, tenancy.TicketChangePassword, &ticketBody{in.UserID, in.ResultURL, in.ClientID, in.OrgID, in.TTL, in.EmailInResult}, in.Verifies)
}

// user finds whom the ticket is for, by id or by address.
func (in *passwordTicketBody) user(ctx context.Context) (*tenancy.User, error) {
	switch {
	case in.UserID != "" && in.Email != "":
		return nil, invalid("email", "Either user_id or email and connection_id can be given")
	case in.UserID != "":
		return ticketUser(tenancy.Users.Get(ctx, in.UserID))
	case in.Email == "" || in.ConnectionID == "":
		return nil, invalid("", "Missing required property: user_id")
	}
	connection, err := tenancy.Connections.Get(ctx, in.ConnectionID)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, inexistent("connection", "The connection does not exist")
	}
	if err != nil {
		return nil, err
	}
	return ticketUser(tenancy.Users.First(ctx, "connection = ? AND email = ?", connection.Name, tenancy.FoldEmail(in.Email)))
}

func ticketUser(user *tenancy.User, err error) (*tenancy.User, error) {
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, inexistent("user", "The user does not exist")
	}
	return user, err
}

// ticket makes one, and answers with its address. That is in no other place.
func (c *Call) ticket(ctx context.Context, user *tenancy.User, kind string, in *ticketBody, verifies bool) (any, error) {
	t, err := tenancy.NewTicket(ctx, user, kind, tenancy.At(c.api.config.Now()))
	if err != nil {
		return nil, err
	}
	if t.Verifies = verifies; in.EmailInResult != nil {
		t.EmailInResult = *in.EmailInResult
	}
	if in.TTL != nil {
		if err := number(0, tenancy.MaxTicketLife).accept(valueOf(*in.TTL), "ttl_sec"); err != nil {
			return nil, err
		}
		if *in.TTL > 0 {
			t.ExpiresAt = t.CreatedAt.Add(time.Duration(*in.TTL) * time.Second)
		}
	}
	if err := checkResult(ctx, t, in); err != nil {
		return nil, err
	}
	if in.OrgID != "" {
		switch _, err := tenancy.Members.Get(ctx, tenancy.Join(in.OrgID, user.ID)); {
		case errors.Is(err, tenancy.ErrNotFound):
			return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "The user is not a member of the organization")
		case err != nil:
			return nil, err
		}
		t.OrgID = in.OrgID
	}
	address, insert := t.Issue(ctx, c.issuer())
	if err := tenancy.Commit(ctx, exists(ctx, tenancy.Users, user.ID), insert); err != nil {
		return nil, err
	}
	return map[string]string{"ticket": address}, nil
}

// checkResult lets the browser go to addresses only that the client or the tenant has
// registered.
func checkResult(ctx context.Context, t *tenancy.Ticket, in *ticketBody) error {
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return err
	}
	registered := append([]string{settings.String("default_redirection_uri")}, settings.Strings("allowed_logout_urls")...)
	if in.ClientID != "" {
		client, err := tenancy.Clients.Get(ctx, in.ClientID)
		if errors.Is(err, tenancy.ErrNotFound) {
			return inexistent("client", "The client does not exist")
		}
		if err != nil {
			return err
		}
		registered = slices.Concat(registered, []string{client.InitiateLoginURI}, client.Callbacks, client.AllowedLogoutURLs)
	}
	if in.ResultURL == "" {
		return nil
	}
	if !slices.Contains(registered, in.ResultURL) {
		return invalid("result_url", "The URL is registered neither for the client nor in the tenant's allowed_logout_urls")
	}
	t.ResultURL = in.ResultURL
	return nil
}

// issuer is the one whose pages answer for the tenant acted on: the request's where
// that is the tenant's, else its primary one (contract C1.13).
func (c *Call) issuer() string {
	issuers := c.api.config.Issuers(c.tenant)
	if visited := tenancy.VisitOf(c.host).Issuer; slices.Contains(issuers, visited) || len(issuers) == 0 {
		return visited
	}
	return issuers[0]
}

// verifyByMail sends a user the link that shows their address to be theirs, where
// "verify_email" asks for it. That it fails is noted and no more.
func (c *Call) verifyByMail(ctx context.Context, user *tenancy.User) {
	if wanted, _ := extra[bool](c, "verify_email"); !wanted || user.Email == "" || user.EmailVerified || c.api.config.Mail == nil {
		return
	}
	if err := c.mailVerification(ctx, user); err != nil && c.api.config.Recorder != nil {
		c.api.config.Recorder.Record(ctx, tenancy.Event{
			Date: tenancy.At(c.api.config.Now()), Type: "fn", Description: "Failed to send the verification of an email address",
			UserID: user.ID, UserName: user.Email,
		})
	}
}

func (c *Call) mailVerification(ctx context.Context, user *tenancy.User) error {
	t, err := tenancy.NewTicket(ctx, user, tenancy.TicketVerifyEmail, tenancy.At(c.api.config.Now()))
	if err != nil {
		return err
	}
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return err
	}
	address, insert := t.Issue(ctx, c.issuer())
	if err := tenancy.Commit(ctx, insert); err != nil {
		return err
	}
	m := mail.Ticket{
		Kind: tenancy.TemplateVerifyEmail, Tenant: settings.String("friendly_name"), Until: t.ExpiresAt.Time(), Link: address, User: user.Described(),
	}.Message(mail.Language(settings.Strings("enabled_locales")), user.Email)
	m.Tenant = user.TenantID
	return c.api.config.Mail.Send(ctx, m)
}
