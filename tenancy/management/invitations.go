package management

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

// invitationRoutes are those on the invitations to an organization (contract
// C5.44).
var invitationRoutes = []route{
	get("/organizations/{id}/invitations", ofOrganization(listInvitations), "read:organization_invitations"),
	write(http.MethodPost, "/organizations/{id}/invitations", http.StatusOK, Handle(invite), "create:organization_invitations").once(),
	get("/organizations/{id}/invitations/{invitation}", ofOrganization(readInvitation), "read:organization_invitations"),
	write(http.MethodDelete, "/organizations/{id}/invitations/{invitation}", http.StatusNoContent, ofOrganization(withdrawInvitation), "delete:organization_invitations"),
}

// ofOrganization gives a handler the organization that the path names.
func ofOrganization(f func(context.Context, *Call, *tenancy.Organization) (any, error)) handler {
	return func(ctx context.Context, c *Call) (any, error) {
		org, err := organizations.get(ctx, c, c.param("id"))
		if err != nil {
			return nil, err
		}
		return f(ctx, c, org)
	}
}

// invitationBody is what an invitation is made of (contract C5.48).
type invitationBody struct {
	Inviter struct {
		Name string `json:"name"`
	} `json:"inviter"`
	Invitee struct {
		Email string `json:"email"`
	} `json:"invitee"`
	ClientID     string         `json:"client_id"`
	ConnectionID string         `json:"connection_id"`
	Roles        []string       `json:"roles"`
	AppMetadata  map[string]any `json:"app_metadata"`
	UserMetadata map[string]any `json:"user_metadata"`
	TTL          *int           `json:"ttl_sec"`
	Send         *bool          `json:"send_invitation_email"`
}

// Lifetimes of invitations in seconds (contract C2.15).
const (
	invitationTTL    = 604800
	maxInvitationTTL = 2592000
)

var emailForm = regexp.MustCompile(`^[^\s@"<>(),:;\\\[\]]{1,64}@[^\s@"<>(),:;\\\[\]]{1,255}$`)

// check checks what needs no other row.
func (in *invitationBody) check() error {
	switch {
	case in.Inviter.Name == "":
		return invalid("", "Missing required property: inviter")
	case in.Invitee.Email == "":
		return invalid("", "Missing required property: invitee")
	case in.ClientID == "":
		return invalid("", "Missing required property: client_id")
	}
	if err := text(1, 300).that(plainLine).accept(valueOf(in.Inviter.Name), "inviter.name"); err != nil {
		return err
	}
	if len(in.Invitee.Email) > 254 || !emailForm.MatchString(in.Invitee.Email) {
		return invalid("invitee.email", "Object didn't pass validation for format email: %s", in.Invitee.Email)
	}
	if in.TTL != nil {
		if err := number(1, maxInvitationTTL).accept(valueOf(*in.TTL), "ttl_sec"); err != nil {
			return err
		}
	}
	return member{max: 50, each: 2048, unique: true}.accept(valueOf(orEmpty(in.Roles)), "roles")
}

func invite(ctx context.Context, c *Call, in *invitationBody) (any, error) {
	org, err := organizations.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	return c.invite(ctx, org, in, c.mayAssign)
}

// invite makes an invitation and mails it. mayAssign refuses roles that the
// caller may not give.
func (c *Call) invite(ctx context.Context, org *tenancy.Organization, in *invitationBody, mayAssign func(context.Context, []string) error) (any, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	client, err := c.invitingClient(ctx, in.ClientID)
	if err != nil {
		return nil, err
	}
	if err := c.checkInvitationRoles(ctx, in.Roles, mayAssign); err != nil {
		return nil, err
	}
	if err := checkInvitationConnection(ctx, org, in.ConnectionID); err != nil {
		return nil, err
	}
	login, err := loginRoute(ctx, client)
	if err != nil {
		return nil, err
	}
	ticket, ttl := tenancy.NewToken(), invitationTTL
	if in.TTL != nil {
		ttl = *in.TTL
	}
	row := &tenancy.Invitation{
		Row: tenancy.Row{ID: tenancy.NewID("uinv_", 16)}, OrgID: org.ID, TicketHash: tenancy.HashToken(ticket),
		InviterName: in.Inviter.Name, Email: tenancy.FoldEmail(in.Invitee.Email), ClientID: client.ID, ConnectionID: in.ConnectionID,
		Roles: orEmpty(in.Roles), AppMetadata: in.AppMetadata, UserMetadata: in.UserMetadata,
		ExpiresAt: tenancy.At(c.api.config.Now().Add(time.Duration(ttl) * time.Second)),
	}
	address := invitationURL(login, ticket, org)
	insert := tenancy.Invitations.Insert(ctx, row)
	o := invitationView(row)
	o.set("invitation_url", address)
	// The ticket is in no other place than this answer.
	err = tenancy.Commit(ctx, append(tenancy.AnswerKey(ctx, c.route.status, encode(o)),
		exists(ctx, tenancy.Organizations, org.ID), exists(ctx, tenancy.Clients, client.ID), insert)...)
	if err != nil {
		return nil, err
	}
	if in.Send == nil || *in.Send {
		c.api.mailInvitation(ctx, org, row, address)
	}
	return o, nil
}

// invitingClient finds the client that the invited will log in at.
func (c *Call) invitingClient(ctx context.Context, id string) (*tenancy.Client, error) {
	client, err := tenancy.Clients.Get(ctx, id)
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, tenancy.Errorf(http.StatusBadRequest, "inexistent_client", "The specified client_id does not exist.")
	}
	if err != nil {
		return nil, err
	}
	usage := client.OrganizationUsage
	if usage == "" && !c.tenant.IsControlPlane() || !client.IsFirstParty {
		usage = "deny" // the default of contract C2.41
	}
	if usage == "deny" {
		return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "The specified client_id does not allow organizations.")
	}
	return client, nil
}

func (c *Call) checkInvitationRoles(ctx context.Context, ids []string, mayAssign func(context.Context, []string) error) error {
	if len(ids) == 0 {
		return nil
	}
	named, err := byID(ctx, tenancy.Roles, ids)
	if err != nil {
		return err
	}
	if gone := absent(ids, named); len(gone) > 0 {
		return inexistent("role", "One or more of the specified roles do not exist: %s", strings.Join(gone, ", "))
	}
	return mayAssign(ctx, ids)
}

func checkInvitationConnection(ctx context.Context, org *tenancy.Organization, id string) error {
	if id == "" {
		return nil
	}
	disabled := tenancy.Errorf(http.StatusBadRequest, "invalid_body", "The specified connection (%s) is not enabled for the organization", id)
	connection, err := tenancy.Connections.Get(ctx, id)
	if errors.Is(err, tenancy.ErrNotFound) {
		return disabled
	}
	if err != nil {
		return err
	}
	if connection.Strategy == "email" || connection.Strategy == "sms" {
		return tenancy.Errorf(http.StatusBadRequest, "invalid_body", "Passwordless connections are not supported.")
	}
	_, err = tenancy.OrganizationConnections.Get(ctx, tenancy.Join(org.ID, id))
	if errors.Is(err, tenancy.ErrNotFound) {
		return disabled
	}
	return err
}

// loginRoute is where a login at the client begins (contract C2.55).
func loginRoute(ctx context.Context, client *tenancy.Client) (*url.URL, error) {
	address := client.InitiateLoginURI
	if address == "" {
		settings, err := tenancy.EffectiveSettings(ctx)
		if err != nil {
			return nil, err
		}
		address = settings.String("default_redirection_uri")
	}
	u, err := url.Parse(address)
	if err != nil || address == "" {
		return nil, tenancy.Errorf(http.StatusBadRequest, "invalid_body", "A default login route is required to generate the invitation url.")
	}
	return u, nil
}

func invitationURL(login *url.URL, ticket string, org *tenancy.Organization) string {
	u, q := *login, login.Query()
	q.Set("invitation", ticket)
	q.Set("organization", org.ID)
	q.Set("organization_name", org.Name)
	u.RawQuery = q.Encode()
	return u.String()
}

// mailInvitation hands the mail over. That it fails is noted and no more: the
// caller has the address, too (contract C5.48).
func (a *API) mailInvitation(ctx context.Context, org *tenancy.Organization, row *tenancy.Invitation, address string) {
	if a.config.Mail == nil {
		return
	}
	settings, err := tenancy.EffectiveSettings(ctx)
	if err == nil {
		m := mail.Invitation{
			Inviter: row.InviterName, Organization: cmp.Or(org.DisplayName, org.Name), Until: row.ExpiresAt.Time(), Link: address,
		}.Message(mail.Language(settings.Strings("enabled_locales")), row.Email)
		m.Tenant = org.TenantID
		err = a.config.Mail.Send(ctx, m)
	}
	if err != nil {
		a.notInvited(ctx, org, row, "")
	}
}

func (a *API) notInvited(ctx context.Context, org *tenancy.Organization, row *tenancy.Invitation, why string) {
	if a.config.Recorder == nil {
		return
	}
	visit := tenancy.VisitOf(ctx)
	a.config.Recorder.Record(ctx, tenancy.Event{
		Date: tenancy.At(a.config.Now()), Type: "fn", Description: "Failed to send the invitation " + row.ID + why,
		ClientID: row.ClientID, OrgID: org.ID, OrgName: org.Name, UserName: row.Email, IP: visit.ClientIP, UserAgent: visit.UserAgent, Hostname: visit.Host,
	})
}

// InviteOwner mails a new tenant's owner, who is no user of the control plane yet,
// the invitation to the organization that stands for the tenant (contract C8.5 step
// 7). They log in at the control plane's default client; where there is none, or it
// has no login route, the log says so, and an administrator invites once more. It
// is called inside the control plane.
func (a *API) InviteOwner(inside context.Context, _ *tenancy.Tenant, i *tenancy.Invitation, ticket string) {
	org, err := tenancy.Organizations.Get(inside, i.OrgID)
	if err != nil {
		return // the step that made it fails
	}
	client, err := tenancy.Clients.Get(inside, i.ClientID)
	if err != nil {
		a.notInvited(inside, org, i, `: the control plane has no client that its setting "default_client_id" names`)
		return
	}
	login, err := loginRoute(inside, client)
	if err != nil {
		a.notInvited(inside, org, i, ": "+err.Error())
		return
	}
	a.mailInvitation(inside, org, i, invitationURL(login, ticket, org))
}

func listInvitations(ctx context.Context, c *Call, org *tenancy.Organization) (any, error) {
	l := listing[tenancy.Invitation]{
		table: tenancy.Invitations, key: "invitations", sort: []string{"created_at"},
		answers: func(_ context.Context, rows []tenancy.Invitation) ([]object, error) {
			answers := make([]object, len(rows))
			for i := range rows {
				answers[i] = invitationView(&rows[i])
			}
			return answers, nil
		},
	}
	l.filter.and("org_id = ? AND accepted_at = 0", org.ID)
	return l.answer(ctx, c)
}

// invitationView is the object of contract C5.48 without the ticket.
func invitationView(row *tenancy.Invitation) object {
	o := object{members: []property{{"id", encode(row.ID)}}}
	o.members = append(o.members, render(row).members...)
	o.set("inviter", map[string]string{"name": row.InviterName})
	o.set("invitee", map[string]string{"email": row.Email})
	o.set("ticket_id", row.ID)
	o.drop("updated_at")
	if row.ConnectionID == "" {
		o.drop("connection_id")
	}
	return o
}

func (c *Call) invitation(ctx context.Context, org *tenancy.Organization) (*tenancy.Invitation, error) {
	row, err := tenancy.Invitations.Get(ctx, c.param("invitation"))
	if err == nil && (row.OrgID != org.ID || row.AcceptedAt != 0) {
		err = tenancy.ErrNotFound
	}
	return row, err
}

func readInvitation(ctx context.Context, c *Call, org *tenancy.Organization) (any, error) {
	row, err := c.invitation(ctx, org)
	if err != nil {
		return nil, err
	}
	o := invitationView(row)
	c.shape(&o)
	return o, nil
}

func withdrawInvitation(ctx context.Context, c *Call, org *tenancy.Organization) (any, error) {
	row, err := c.invitation(ctx, org)
	if err != nil {
		return nil, err
	}
	return none{}, tenancy.Commit(ctx, tenancy.Invitations.Remove(ctx, row.ID))
}
