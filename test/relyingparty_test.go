package test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	zoidc "github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

// TestGoOIDC: coreos/go-oidc with golang.org/x/oauth2, as a confidential client
// of acme: discovery, code with PKCE, ID token, refresh, userinfo.
func TestGoOIDC(t *testing.T) {
	j := startMainJob(t)
	ctx := oidc.ClientContext(t.Context(), j.http)
	provider, err := oidc.NewProvider(ctx, j.issuer("acme"))
	if err != nil {
		t.Fatal(err)
	}
	config := oauth2.Config{
		ClientID: j.webID, ClientSecret: j.webSecret, Endpoint: provider.Endpoint(), RedirectURL: "https://back.example.com/cb",
		Scopes: []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}
	verifier := oauth2.GenerateVerifier()
	link := config.AuthCodeURL("a state", oidc.Nonce("a nonce"), oauth2.S256ChallengeOption(verifier))
	back := newVisitor(t).login(link, userEmail, password)
	token, err := config.Exchange(ctx, back.url.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: j.webID}).Verify(ctx, raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.VerifyAccessToken(token.AccessToken); err != nil {
		t.Errorf("at_hash: %v", err)
	}
	if id.Nonce != "a nonce" || id.Issuer != j.issuer("acme") {
		t.Errorf("ID token: %+v", id)
	}
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil || info.Subject != id.Subject || info.Email != userEmail {
		t.Errorf("userinfo: %+v %v", info, err)
	}
	token.Expiry = token.Expiry.AddDate(-1, 0, 0)
	fresh, err := config.TokenSource(ctx, token).Token()
	if err != nil || fresh.AccessToken == token.AccessToken {
		t.Errorf("refresh: %v", err)
	}
}

// TestZitadelRP: zitadel/oidc's relying party, which checks more than most.
func TestZitadelRP(t *testing.T) {
	j := startMainJob(t)
	ctx := t.Context()
	party, err := rp.NewRelyingPartyOIDC(ctx, j.issuer("acme"), j.webID, j.webSecret, "https://back.example.com/cb",
		[]string{"openid", "profile", "email", "offline_access"}, rp.WithHTTPClient(j.http))
	if err != nil {
		t.Fatal(err)
	}
	verifier, challenge := pkce("zitadel")
	link := rp.AuthURL("a state", party, rp.WithCodeChallenge(challenge))
	back := newVisitor(t).login(link, userEmail, password)
	tokens, err := rp.CodeExchange[*zoidc.IDTokenClaims](ctx, back.url.Query().Get("code"), party, rp.WithCodeVerifier(verifier))
	if err != nil {
		t.Fatal(err)
	}
	info, err := rp.Userinfo[*zoidc.UserInfo](ctx, tokens.AccessToken, tokens.TokenType, tokens.IDTokenClaims.Subject, party)
	if err != nil || info.Email != userEmail {
		t.Errorf("userinfo: %+v %v", info, err)
	}
	fresh, err := rp.RefreshTokens[*zoidc.IDTokenClaims](ctx, party, tokens.RefreshToken, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if fresh.IDTokenClaims == nil || fresh.IDTokenClaims.Subject != tokens.IDTokenClaims.Subject {
		t.Errorf("refreshed: %+v", fresh)
	}
	if err := rp.RevokeToken(ctx, party, tokens.RefreshToken, "refresh_token"); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if _, err := rp.RefreshTokens[*zoidc.IDTokenClaims](ctx, party, tokens.RefreshToken, "", ""); err == nil {
		t.Error("a revoked refresh token was accepted")
	}
}

// TestMachine: the bootstrap client and a tenant's own machine client.
func TestMachine(t *testing.T) {
	j := startMainJob(t)
	acme := j.platform(t).on("acme")
	c := acme.create(t, "/clients", map[string]any{"name": fmt.Sprint("Robot ", t.Name()), "app_type": "non_interactive"})
	id, secret := c["client_id"].(string), c["client_secret"].(string)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "audience": {ordersAPI}}
	j.token(t, "acme", form).want(t, http.StatusForbidden)
	acme.create(t, "/client-grants", map[string]any{"client_id": id, "audience": ordersAPI, "scope": []string{"read:orders"}})
	claim := claims(t, j.token(t, "acme", form).want(t, http.StatusOK).member(t, "access_token"))
	if claim["sub"] != id+"@clients" || claim["gty"] != "client-credentials" || claim["scope"] != "read:orders" || claim["sid"] != nil {
		t.Errorf("SC-027: %v", claim)
	}
	j.token(t, "widgets", form).want(t, http.StatusUnauthorized) // C9.6
	form.Set("scope", "read:orders write:orders")
	j.token(t, "acme", form).want(t, http.StatusForbidden) // SC-026
}
