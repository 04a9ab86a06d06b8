package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/oauth"
	"github.com/gatehouse-id/gatehouse/tenancy"
)

// The paths of the login below an application's host.
const (
	appPrefix   = "/.gatehouse/"
	appCallback = appPrefix + "callback"
	appLogout   = appPrefix + "logout"
)

// arrival is a request with what was found out about it.
type arrival struct {
	services *services
	tenant   *tenancy.Tenant
	visit    *tenancy.Visit
	request  *http.Request
}

// browser is what a request of a browser is answered with in place of what is
// behind: a redirect, with cookies.
type browser struct {
	to      string
	cookies []*http.Cookie
}

// appFlow is a login under way, as sealed in a cookie of the browser's.
type appFlow struct {
	State, Verifier string
	Issuer          string // whose answer is awaited (RFC 9207)
	Client          string
	Back            string // path and query to return to
	Until           int64  // Unix seconds
}

// flowTime is how long a login may take.
const flowTime = 30 * time.Minute

// signIn finds who is at the browser by its cookie, or sends it to log in. A
// request that is no visit of a page is refused as one without a token.
func (h *TenantAuth) signIn(a *arrival) (*oauth.Claims, *browser, *refusal) {
	switch path := a.request.URL.Path; {
	case path == appCallback:
		b, refused := h.callback(a)
		return nil, b, refused
	case path == appLogout:
		b, refused := h.signOut(a)
		return nil, b, refused
	case strings.HasPrefix(path, appPrefix):
		return nil, nil, everywhere(unknownPath)
	}
	if token := a.appToken(); token != "" {
		claims, err := verifyIn(tenancy.WithVisit(a.request.Context(), a.visit), a.services, a.tenant, token)
		switch {
		case err == nil:
			refused := h.judge(claims)
			if refused != nil { // logging in again would give the same
				refused.status, refused.challenge, refused.page = http.StatusForbidden, "", true
				refused.text = "You have no access here: " + refused.text
			}
			return claims, nil, refused
		case tenancy.StatusOf(err) != http.StatusUnauthorized:
			return nil, nil, h.refusalOf(a.request, a.tenant, err)
		}
	}
	if !visitsPage(a.request) {
		return nil, nil, unsent(a.request)
	}
	b, refused := h.sendToLogin(a)
	return nil, b, refused
}

// visitsPage reports whether a person follows the answer: a script's request
// cannot log in, and one that writes would be lost.
func visitsPage(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (mode == "" || mode == "navigate") &&
		strings.Contains(r.Header.Get("Accept"), "text/html")
}

// unsent is the refusal of a request without a session that cannot log in by being
// redirected. A person who sent a form is told that it went nowhere.
func unsent(r *http.Request) *refusal {
	refused := noToken
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode == "navigate" {
		refused.page = true
		refused.text = "Your session has ended and nothing was taken. Open the page again, log in, and send it once more"
	}
	return &refused
}

// sendToLogin begins a login at the tenant (RFC 6749 section 4.1, RFC 7636).
func (h *TenantAuth) sendToLogin(a *arrival) (*browser, *refusal) {
	client, err := a.appClient()
	if err != nil {
		return nil, h.refusalOf(a.request, a.tenant, err)
	}
	callback := a.callbackURL()
	if client == nil {
		return nil, &refusal{
			status: http.StatusNotFound, code: "not_found", auth: true, page: true,
			text: "No application of this tenant has the callback " + callback,
		}
	}
	f := appFlow{
		State: tenancy.NewToken(), Verifier: tenancy.NewToken(), Issuer: a.issuer(), Client: client.ID, Back: localPath(a.request.URL.RequestURI()),
		Until: time.Now().Add(flowTime).Unix(),
	}
	sum := sha256.Sum256([]byte(f.Verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {client.ID}, "redirect_uri": {callback}, "state": {f.State},
		"scope":          {strings.Join(append([]string{"openid"}, slices.DeleteFunc(slices.Clone(h.Scope), func(s string) bool { return s == "openid" })...), " ")},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "audience": {h.Audience[0]},
	}
	if name := h.Organization; len(name) == 1 && name[0] != organizationAny && name[0] != organizationRequired && name[0] != organizationOff {
		q.Set("organization", name[0])
	}
	sealed, err := a.seal(f)
	if err != nil {
		return nil, h.refusalOf(a.request, a.tenant, err)
	}
	return &browser{to: f.Issuer + "authorize?" + q.Encode(), cookies: []*http.Cookie{a.cookie(flowName(f.State), sealed, flowTime)}}, nil
}

// callback takes the answer to a login: the code is redeemed here, and the browser
// keeps the token sealed.
func (h *TenantAuth) callback(a *arrival) (*browser, *refusal) {
	q := a.request.URL.Query()
	var f appFlow
	name := flowName(q.Get("state"))
	if a.request.Method != http.MethodGet || len(q["state"]) != 1 || !a.open(name, &f) || f.State != q.Get("state") || f.Until < time.Now().Unix() {
		return nil, loginFailed("The login was begun in another browser, or too long ago")
	}
	over := a.cookie(name, "", -1)
	if iss := q["iss"]; len(iss) != 1 || iss[0] != f.Issuer { // RFC 9207 section 2.4
		return nil, loginFailed("The answer is not of the issuer that was asked")
	}
	if q.Get("error") != "" {
		refused := loginFailed(q.Get("error_description"))
		refused.cookies = []*http.Cookie{over}
		return nil, refused
	}
	token, lifetime, err := a.redeem(&f, q.Get("code"))
	if err != nil {
		return nil, h.refusalOf(a.request, a.tenant, err)
	}
	if token == "" {
		refused := loginFailed("The login could not be finished; try again")
		refused.cookies = []*http.Cookie{over}
		return nil, refused
	}
	sealed, err := a.seal(token)
	if err != nil {
		return nil, h.refusalOf(a.request, a.tenant, err)
	}
	if len(sealed) > longestCookie {
		return nil, loginFailed("The token is too long for a cookie; ask for less")
	}
	return &browser{to: f.Back, cookies: []*http.Cookie{over, a.cookie(sessionName, sealed, lifetime)}}, nil
}

// longestCookie is what browsers keep, with room for the name and attributes.
const longestCookie = 3900

// loginFailed is the page of a login that came to nothing.
func loginFailed(text string) *refusal {
	return &refusal{status: http.StatusForbidden, code: "access_denied", text: text, auth: true, page: true}
}

// redeem exchanges the code for a token at the tenant's own endpoint, without a
// detour over the network. No token and no error means that the code is no good.
func (a *arrival) redeem(f *appFlow, code string) (token string, lifetime time.Duration, err error) {
	visit := *a.visit
	visit.Issuer = f.Issuer
	if u, err := url.Parse(f.Issuer); err == nil {
		visit.Host = u.Hostname()
	}
	inside, leave, err := a.services.pool.Enter(tenancy.WithVisit(a.request.Context(), &visit), a.tenant)
	if err != nil {
		return "", 0, err
	}
	defer leave()
	client, err := tenancy.CachedClient(inside, f.Client)
	if err != nil {
		return "", 0, err
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {a.callbackURL()}, "client_id": {client.ID}, "code_verifier": {f.Verifier},
	}
	if !client.IsPublic() {
		form.Set("client_secret", client.Secret)
	}
	r, err := http.NewRequestWithContext(inside, http.MethodPost, f.Issuer+"oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := &overheard{header: http.Header{}}
	a.services.oauth.ServeHTTP(w, r)
	var answer struct {
		Token string `json:"access_token"`
		Life  int64  `json:"expires_in"`
	}
	switch {
	case w.status >= http.StatusInternalServerError:
		return "", 0, tenancy.Unavailable(fmt.Errorf("the token endpoint answered %d", w.status), "")
	case w.status != http.StatusOK:
		return "", 0, nil
	}
	if err := json.Unmarshal(w.body.Bytes(), &answer); err != nil {
		return "", 0, err
	}
	return answer.Token, time.Duration(answer.Life) * time.Second, nil
}

// signOut ends the session that the browser's token is of, at the tenant too, and
// has the browser forget it. No other site can ask for that.
func (h *TenantAuth) signOut(a *arrival) (*browser, *refusal) {
	if site := a.request.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return nil, loginFailed("Another site asked for the end of your session; it goes on")
	}
	gone := &browser{to: h.Login.after(), cookies: []*http.Cookie{a.cookie(sessionName, "", -1)}}
	token := a.appToken()
	if token == "" {
		return gone, nil
	}
	inside, leave, err := a.services.pool.Enter(tenancy.WithVisit(a.request.Context(), a.visit), a.tenant)
	if err != nil {
		return nil, h.refusalOf(a.request, a.tenant, err)
	}
	defer leave()
	claims, err := a.services.tokens.VerifyFor(inside, a.services.issuersOf(a.tenant, a.visit.Issuer), token)
	if err != nil || claims.SessionID == "" { // has ended already
		return gone, nil
	}
	if err := a.services.tokens.EndSession(inside, claims.SessionID, tenancy.LogoutByClient); err != nil {
		return nil, h.refusalOf(a.request, a.tenant, err)
	}
	return gone, nil
}

// answer sends the browser on.
func (b *browser) answer(w http.ResponseWriter) {
	for _, c := range b.cookies {
		http.SetCookie(w, c)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // the address has a code in it
	w.Header().Set("Location", b.to)
	w.WriteHeader(http.StatusSeeOther)
}

// overheard is an answer that is read and not sent.
type overheard struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (w *overheard) Header() http.Header { return w.header }

// WriteHeader implements [http.ResponseWriter].
func (w *overheard) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write implements [http.ResponseWriter].
func (w *overheard) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// Interface guards
var _ http.ResponseWriter = (*overheard)(nil)
