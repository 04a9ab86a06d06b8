package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// pathDevice is the device authorization endpoint, pathActivate the page where
// people enter user codes; package login has it.
const (
	pathDevice   = "/oauth/device/code"
	pathActivate = "/activate"
)

// Life of a device code, and how long a device waits between polls at first and
// how much longer after each poll that came too soon (contract C2.15, C4.44; RFC
// 8628 section 3.5).
const (
	deviceLifetime = 15 * time.Minute
	deviceInterval = 5 * time.Second
)

// deviceAnswer is that of the endpoint (RFC 8628 section 3.2).
type deviceAnswer struct {
	DeviceCode  string `json:"device_code"`
	UserCode    string `json:"user_code"`
	Page        string `json:"verification_uri"`
	PageWith    string `json:"verification_uri_complete"`
	ExpiresIn   int64  `json:"expires_in"` // seconds, as interval
	PollSeconds int64  `json:"interval"`
}

// device is the device authorization endpoint (RFC 8628 section 3.1; contract
// C4.51). What can be refused without knowing the person is refused here, so that
// a device hears of it before anybody types a code.
func (s *Server) device(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	request, err := parseMachineRequest(r)
	if err == nil {
		err = request.target()
	}
	if err != nil {
		return err
	}
	client, err := s.authenticate(ctx, &request.credentials)
	if err != nil {
		return err
	}
	narrowOrigin(w, r, client)
	if err := s.countRequest(ctx, w, client); err != nil {
		return err
	}
	if err := mayUse(client, grantDevice); err != nil {
		return err
	}
	row, err := s.newDevice(ctx, client, request)
	if err != nil {
		return err
	}
	answer := deviceAnswer{
		DeviceCode: tenancy.NewToken(), Page: tenancy.VisitOf(ctx).Issuer + pathActivate[1:],
		ExpiresIn: int64(deviceLifetime / time.Second), PollSeconds: int64(deviceInterval / time.Second),
	}
	row.Hash = tenancy.HashToken(answer.DeviceCode)
	if answer.UserCode, err = keepDevice(ctx, row); err != nil {
		return err
	}
	answer.PageWith = answer.Page + "?" + url.Values{"user_code": {answer.UserCode}}.Encode()
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	w.Header()["Content-Type"] = typeJSON
	_, _ = w.Write(body) // the device may be gone; there is nobody left to tell
	return nil
}

// newDevice is the grant that a device asks for. Of its organization the one rule
// is kept as far as no user is needed (contract C2.41, C2.43).
func (s *Server) newDevice(ctx context.Context, client *tenancy.Client, request *tokenRequest) (*tenancy.Grant, error) {
	scopes, err := parseScope(request.get("scope"))
	if err != nil {
		return nil, err
	}
	audience := request.get("audience")
	if _, _, err := resolveAudience(ctx, audience); err != nil {
		return nil, err
	}
	org, err := s.resolveOrganization(ctx, client, request.get("organization"))
	if err != nil {
		return nil, err
	}
	data, err := grantData{Requested: strings.Join(scopes, " ")}.text()
	row := &tenancy.Grant{
		Kind: tenancy.GrantDevice, Family: newFamily(), ClientID: client.ID, Audience: audience, Data: data,
		ExpiresAt: tenancy.At(s.now()).Add(deviceLifetime),
	}
	if org != nil {
		row.OrgID = org.ID
	}
	return row, err
}

// keepDevice stores the grant under a user code that no other has, and returns it.
func keepDevice(ctx context.Context, row *tenancy.Grant) (string, error) {
	settings, err := tenancy.EffectiveSettings(ctx)
	if err != nil {
		return "", err
	}
	var flow struct{ Charset, Mask string }
	if raw := settings.Raw("device_flow"); raw != nil {
		if err := json.Unmarshal(raw, &flow); err != nil {
			return "", err
		}
	}
	for try := 0; ; try++ {
		code := tenancy.NewUserCode(flow.Charset == "digits", flow.Mask)
		if row.ID, err = tenancy.DeviceID(ctx, code); err != nil {
			return "", err
		}
		err = tenancy.Grants.Create(ctx, row)
		if !errors.Is(err, tenancy.ErrConflict) || try == 4 {
			return code, err
		}
	}
}

// readDevice makes the authorization of a login that is for a device. Everything
// is checked as it is now (contract C4.52, C4.67).
func (s *Server) readDevice(ctx context.Context, l *tenancy.LoginSession) (*authorization, error) {
	a := &authorization{params: map[string]string{}, maxAge: -1}
	g, err := tenancy.PendingDevice(ctx, l.Request[tenancy.RequestDevice], s.now())
	if errors.Is(err, tenancy.ErrNotFound) {
		return a, errDeviceGone()
	}
	if err != nil {
		return a, err
	}
	a.client, err = tenancy.CachedClient(ctx, g.ClientID)
	if errors.Is(err, tenancy.ErrNotFound) {
		return a, errDeviceGone()
	}
	if err != nil {
		return a, err
	}
	var data grantData
	if err := json.Unmarshal([]byte(g.Data), &data); err != nil {
		return a, err
	}
	a.device, a.data, a.scope = g, data, strings.Fields(data.Requested)
	a.params = map[string]string{"client_id": g.ClientID, "audience": g.Audience, "scope": data.Requested, "organization": g.OrgID}
	if err := mayUse(a.client, grantDevice); err != nil {
		return a, err
	}
	if err := a.checkAudience(ctx); err != nil {
		return a, err
	}
	return a, s.checkOrganization(ctx, a)
}

func errDeviceGone() *oauthError {
	return refuse(fosite.ErrInvalidRequest, "This code has expired or was used before. Get a new one from your device.")
}

// adoptSession has whoever is logged in to the browser approve the device; the
// login page comes first where their session does not serve (contract C3.5).
func (s *Server) adoptSession(ctx context.Context, r *http.Request, l *tenancy.LoginSession) (*tenancy.LoginSession, error) {
	session, err := s.browserSession(ctx, r)
	if err != nil || session == nil {
		return l, err
	}
	return tenancy.LoginSessions.Update(ctx, l.ID, func(l *tenancy.LoginSession) error {
		if l.UserID != "" || l.CompletedAt != 0 {
			return tenancy.ErrUnchanged
		}
		l.UserID, l.Connection, l.AuthenticatedAt, l.Methods = session.UserID, session.Connection, session.AuthenticatedAt, session.Methods
		l.Request[knownLogin] = loginStamp(l)
		return nil
	})
}

// approveDevice is the statement by which a person lets a device in, once: it
// misses its row where that is no longer pending. The device does not become part
// of the browser's session, and does not end with it.
func (s *Server) approveDevice(ctx context.Context, a *authorization, p *person, allowance *Allowance) (tenancy.Stmt, error) {
	data, now := a.data, tenancy.At(s.now())
	data.AuthTime, data.Connection, data.Methods = p.session.AuthenticatedAt, p.session.Connection, methodNames(p.session.Methods)
	text, err := data.text()
	org := ""
	if allowance.Organization != nil {
		org = allowance.Organization.ID
	}
	return tenancy.SQL(ctx, `UPDATE grants SET user_id = ?, org_id = ?, audience = ?, scope = ?, data = ?, updated_at = ?, revision = revision + 1
		WHERE tenant_id = @tenant AND id = ? AND kind = ? AND user_id = '' AND consumed_at = 0 AND revoked_at = 0 AND expires_at > ?`,
		p.user.ID, org, allowance.Audience, strings.Join(allowance.Scopes, " "), text, now, a.device.ID, tenancy.GrantDevice, now).Once(), err
}

// denyDevice ends a login for a device that the person does not want to let in.
func (s *Server) denyDevice(w http.ResponseWriter, r *http.Request, a *authorization, l *tenancy.LoginSession) error {
	ctx := r.Context()
	now := tenancy.At(s.now())
	err := tenancy.Commit(ctx, s.completed(ctx, l), tenancy.SQL(ctx, `UPDATE grants SET revoked_at = ?, updated_at = ?, revision = revision + 1
		WHERE tenant_id = @tenant AND id = ? AND kind = ? AND user_id = '' AND revoked_at = 0`, now, now, a.device.ID, tenancy.GrantDevice).Once())
	if err != nil {
		return err
	}
	redirect(w, r, pathActivate+"?result=denied")
	return nil
}
