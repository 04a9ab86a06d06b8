package management

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C5.93: consents are listed without more than their members, and taken back with
// the refresh tokens that came of them.
func TestConsents(t *testing.T) {
	k := newKit(t)
	for _, tenant := range []string{"acme", "widgets"} {
		k.inside(tenant, func(ctx context.Context) {
			for _, audience := range []string{apiName, ""} {
				k.must(tenancy.Commit(ctx,
					tenancy.Consents.Insert(ctx, &tenancy.Consent{
						Row: tenancy.Row{ID: tenancy.ConsentID(sameUser, sameClient, audience)}, UserID: sameUser, ClientID: sameClient,
						Audience: audience, Scope: []string{"openid", "read:orders"},
					}),
					tenancy.Grants.Insert(ctx, &tenancy.Grant{
						Row: tenancy.Row{ID: "rt_of" + audience}, Kind: tenancy.GrantRefresh, Hash: "of" + audience, UserID: sameUser,
						ClientID: sameClient, Audience: audience,
					})))
			}
		})
	}
	left := func(tenant string) (consents, tokens int64) {
		k.inside(tenant, func(ctx context.Context) {
			mine := tenancy.Filter{Where: "client_id = ? AND user_id = ?", Args: []any{sameClient, sameUser}}
			var err error
			consents, err = tenancy.Consents.Count(ctx, mine)
			k.must(err)
			mine.Where += " AND id LIKE 'rt_of%'"
			tokens, err = tenancy.Grants.Count(ctx, mine)
			k.must(err)
		})
		return consents, tokens
	}
	all := machine("acme").token()
	list := func(query string) string {
		a := k.do(http.MethodGet, acmeHost, "/grants"+query, all, nil)
		if a.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", query, a.Code, a.Body)
		}
		return a.Body.String()
	}
	id := tenancy.ConsentID(sameUser, sameClient, apiName)
	want := `[{"id":"` + id + `","clientID":"` + sameClient + `","user_id":"auth0|same","audience":"` + apiName + `","scope":["openid","read:orders"]}]`
	if got := list("?user_id=" + url.QueryEscape(sameUser) + "&client_id=" + sameClient + "&audience=" + url.QueryEscape(apiName)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := list("?user_id=nobody"); got != "[]" {
		t.Errorf("of nobody: %s", got)
	}

	if a := k.do(http.MethodDelete, acmeHost, "/grants", all, nil); a.Code != http.StatusBadRequest || !strings.Contains(a.Body.String(), "user_id") {
		t.Errorf("without user_id: %d %s", a.Code, a.Body)
	}
	for range 2 {
		a := k.do(http.MethodDelete, acmeHost, "/grants/"+id, all, nil)
		if consents, tokens := left("acme"); consents != 1 || tokens != 1 {
			t.Fatalf("%d: %d consents and %d refresh tokens are left, want those of the other audience", a.Code, consents, tokens)
		}
	}
	for range 2 {
		a := k.do(http.MethodDelete, acmeHost, "/grants?user_id="+url.QueryEscape(sameUser), all, nil)
		if consents, tokens := left("acme"); a.Code != http.StatusNoContent || consents != 0 || tokens != 0 {
			t.Fatalf("%d %s: %d consents and %d refresh tokens are left", a.Code, a.Body, consents, tokens)
		}
	}
	if consents, tokens := left("widgets"); consents != 2 || tokens != 2 {
		t.Errorf("widgets has %d consents and %d refresh tokens left", consents, tokens)
	}
}
