package upstream

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// skew is by how much a provider's clock may be ahead.
const skew = 5 * time.Minute

// Identity is who somebody is at a provider.
type Identity struct {
	Subject       string // never empty, and plain text
	Email         string // folded; "" for none
	EmailVerified bool
	Name, GivenName, FamilyName,
	Nickname, Picture string
}

// Identify exchanges a code for who logged in. Errors hold nothing that was sent
// or answered but the provider's error code.
func (p *Provider) Identify(ctx context.Context, t Transaction, code string) (*Identity, error) {
	config := p.config
	config.RedirectURL = t.RedirectURI
	ctx = context.WithValue(ctx, oauth2.HTTPClient, p.client.http)
	token, err := config.Exchange(ctx, code, oauth2.VerifierOption(t.Verifier))
	if err != nil {
		return nil, exchangeError(err)
	}
	c := claims{}
	if p.verifier != nil {
		if c, err = p.idToken(ctx, t, token); err != nil {
			return nil, err
		}
	}
	if p.userinfo != "" && (p.verifier == nil || c.text("email") == "") {
		more, err := p.info(ctx, token)
		if err != nil {
			return nil, err
		}
		// OpenID Connect Core section 5.3.2: of somebody else it is worth nothing.
		if p.verifier != nil && more.text("sub") != c.text("sub") {
			return nil, errors.New("user info is of another subject than the ID token")
		}
		// Whether an address is verified is only said of the address next to it: what
		// the ID token says is of none, and would pass for that of user info.
		delete(c, "email")
		delete(c, "email_verified")
		for name, value := range more {
			if _, has := c[name]; !has {
				c[name] = value
			}
		}
	}
	return c.identity(cmp.Or(p.kind.subject, "sub"))
}

func exchangeError(err error) error {
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) {
		return fmt.Errorf("exchanging the code: %w", brief(err))
	}
	status := 0
	if refused.Response != nil {
		status = refused.Response.StatusCode
	}
	return fmt.Errorf("exchanging the code: the provider answered %d %s", status, Plain(refused.ErrorCode, 40))
}

// idToken verifies the ID token (OpenID Connect Core section 3.1.3.7).
func (p *Provider) idToken(ctx context.Context, t Transaction, token *oauth2.Token) (claims, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, errors.New("the provider answered without an ID token")
	}
	verified, err := p.verifier.Verify(oidc.ClientContext(ctx, p.client.http), raw)
	if err != nil {
		return nil, errors.New("the ID token is not valid: signature, issuer, audience or time")
	}
	// Of the time of issue, and of who asked for it (azp), the library thinks nothing.
	if verified.IssuedAt.IsZero() || verified.IssuedAt.After(time.Now().Add(skew)) {
		return nil, errors.New("the ID token is not valid: time of issue")
	}
	if subtle.ConstantTimeCompare([]byte(verified.Nonce), []byte(t.Nonce)) != 1 {
		return nil, errors.New("the ID token has another nonce")
	}
	c := claims{}
	if err := verified.Claims(&c); err != nil {
		return nil, errors.New("the ID token's claims cannot be read")
	}
	if azp, has := c["azp"]; has && azp != p.config.ClientID {
		return nil, errors.New("the ID token is not valid: authorized party")
	}
	return c, nil
}

// info reads the user info endpoint.
func (p *Provider) info(ctx context.Context, token *oauth2.Token) (claims, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.proven(p.userinfo, token.AccessToken), http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token.AccessToken)
	r.Header.Set("Accept", "application/json")
	answer, err := p.client.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("reading user info: %w", brief(err))
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("reading user info: the provider answered %d", answer.StatusCode)
	}
	c, d := claims{}, json.NewDecoder(answer.Body)
	d.UseNumber()
	if err := d.Decode(&c); err != nil {
		return nil, errors.New("user info is no JSON object")
	}
	return c, nil
}

type claims map[string]any

// text is a claim that is a text or a number, made plain.
func (c claims) text(name string) string {
	switch v := c[name].(type) {
	case string:
		return Plain(v, 512)
	case json.Number:
		return v.String()
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

func (c claims) identity(subject string) (*Identity, error) {
	id := &Identity{
		Email: tenancy.FoldEmail(c.text("email")), Name: c.text("name"),
		GivenName: cmp.Or(c.text("given_name"), c.text("first_name")), FamilyName: cmp.Or(c.text("family_name"), c.text("last_name")),
		Nickname: cmp.Or(c.text("nickname"), c.text("preferred_username"), c.text("login")), Picture: cmp.Or(c.text("picture"), c.text("avatar_url")),
	}
	// Who it is must not be made plain: two could become one.
	id.Subject = c.text(subject)
	if raw, ok := c[subject].(string); ok && raw != id.Subject {
		return nil, errors.New("the provider's subject is no plain text of at most 255 characters")
	}
	if id.Subject == "" || len(id.Subject) > 255 {
		return nil, errors.New("the provider does not say who it is")
	}
	if at := strings.IndexByte(id.Email, '@'); at < 1 || at == len(id.Email)-1 || strings.ContainsAny(id.Email, " <>\"") {
		id.Email = ""
	}
	id.EmailVerified = id.Email != "" && (c["email_verified"] == true || c["email_verified"] == "true")
	return id, nil
}

// Plain is text of at most n characters without what is no character to read
// (contract C4.31): what somebody elsewhere wrote, and people here will see.
func Plain(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, strings.TrimSpace(text))
	if runes := []rune(text); len(runes) > n {
		text = string(runes[:n])
	}
	return text
}
