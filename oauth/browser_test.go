package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// browser is a person's browser at one tenant's host: it keeps cookies by the
// rules of host-only cookies, and follows nothing by itself.
type browser struct {
	f      *fixture
	tenant string
	jar    map[string]*http.Cookie
	header http.Header
}

func (f *fixture) browser(tenant string) *browser {
	return &browser{f: f, tenant: tenant, jar: map[string]*http.Cookie{}, header: http.Header{}}
}

// send makes a request with the browser's cookies and keeps those of the answer.
func (b *browser) send(r *http.Request) *httptest.ResponseRecorder {
	for _, c := range b.jar {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	w := b.f.serve(b.tenant, r)
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.jar, c.Name)
			continue
		}
		b.jar[c.Name] = c
	}
	return w
}

func (b *browser) get(target string) *httptest.ResponseRecorder {
	return b.send(httptest.NewRequest(http.MethodGet, target, nil))
}

func (b *browser) post(target string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.send(r)
}

// verifier and challenge are a PKCE pair.
const verifier = "verifier-verifier-verifier-verifier-verifier-12345"

var challenge = func() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}()

// request is a good authorization request of the single-page client, changed by
// the pairs given; a value "-" leaves the parameter out.
func request(pairs ...string) url.Values {
	v := url.Values{
		"client_id": {spaID}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid profile email"},
		"state": {"state-1"}, "nonce": {"nonce-1"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "-" {
			v.Del(pairs[i])
			continue
		}
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func (b *browser) authorize(pairs ...string) *httptest.ResponseRecorder {
	return b.get("/authorize?" + request(pairs...).Encode())
}

// answerOf is the authorization response in a redirect, message or form.
func answerOf(t testing.TB, w *httptest.ResponseRecorder) url.Values {
	t.Helper()
	if location := w.Header().Get("Location"); location != "" {
		u, err := url.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		v := u.Query()
		if fragment, err := url.ParseQuery(u.EscapedFragment()); err == nil {
			maps.Copy(v, fragment)
		}
		return v
	}
	m := messageCall.FindStringSubmatch(w.Body.String())
	if m == nil {
		t.Fatalf("no authorization response in %d %s", w.Code, w.Body)
	}
	var message struct {
		Type     string            `json:"type"`
		Response map[string]string `json:"response"`
	}
	if err := json.Unmarshal([]byte(m[1]), &message); err != nil || message.Type != "authorization_response" {
		t.Fatalf("message %s: %v", m[1], err)
	}
	v := url.Values{}
	for name, value := range message.Response {
		v.Set(name, value)
	}
	return v
}

var messageCall = regexp.MustCompile(`postMessage\((\{.*\}), "([^"]*)"\)`)

// wantError fails unless the answer is this error, with state and iss, and no
// code (contract C3.1, C4.28).
func (b *browser) wantError(w *httptest.ResponseRecorder, code, description string) {
	b.f.t.Helper()
	v := answerOf(b.f.t, w)
	if v.Get("error") != code || v.Get("error_description") != description {
		b.f.t.Errorf("got error %q, %q; want %q, %q", v.Get("error"), v.Get("error_description"), code, description)
	}
	if v.Get("state") != "state-1" || v.Get("iss") != issuerOf(b.tenant) || v.Has("code") {
		b.f.t.Errorf("answer %v: want state and iss, and no code", v)
	}
}

// wantCode fails unless the answer is a code, and returns it.
func (b *browser) wantCode(w *httptest.ResponseRecorder) string {
	b.f.t.Helper()
	v := answerOf(b.f.t, w)
	if v.Get("code") == "" || v.Get("error") != "" || v.Get("state") != "state-1" || v.Get("iss") != issuerOf(b.tenant) {
		b.f.t.Fatalf("got answer %v; want a code with state and iss", v)
	}
	return v.Get("code")
}

// wantPage fails unless the answer is an error page that redirects nowhere.
func wantPage(t testing.TB, w *httptest.ResponseRecorder, status int, text string) {
	t.Helper()
	if w.Code != status || w.Header().Get("Location") != "" || !strings.Contains(w.Body.String(), text) {
		t.Errorf("got %d, Location %q, body %s; want page %d with %q", w.Code, w.Header().Get("Location"), w.Body, status, text)
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
		"Referrer-Policy": "no-referrer", "Content-Type": "text/html; charset=utf-8",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") ||
		!strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("page with policy %q", policy)
	}
}

// stateOf is the state of the hosted page an answer redirects to.
func stateOf(t testing.TB, w *httptest.ResponseRecorder, page string) string {
	t.Helper()
	path, query, _ := strings.Cut(w.Header().Get("Location"), "?")
	v, err := url.ParseQuery(query)
	if w.Code != http.StatusFound && w.Code != http.StatusSeeOther || path != page || err != nil || v.Get("state") == "" {
		t.Fatalf("got %d to %q (%s); want the page %s", w.Code, w.Header().Get("Location"), w.Body, page)
	}
	return v.Get("state")
}

// loginPage does what the hosted login page does once a person has proven who
// they are.
func (b *browser) loginPage(state, userID string) {
	b.f.t.Helper()
	b.alterLogin(state, func(l *tenancy.LoginSession) {
		l.UserID, l.Connection, l.AuthenticatedAt = userID, connectionName, tenancy.At(b.f.clock.now())
		l.Methods = []tenancy.AuthMethod{{Name: "pwd", Timestamp: l.AuthenticatedAt}}
	})
}

func (b *browser) alterLogin(state string, alter func(*tenancy.LoginSession)) {
	b.f.t.Helper()
	_, err := tenancy.LoginSessions.Update(b.f.in(b.tenant), tenancy.HashToken(state), func(l *tenancy.LoginSession) error {
		alter(l)
		return nil
	})
	b.f.must(err)
}

func (b *browser) resume(state string) *httptest.ResponseRecorder {
	return b.get("/authorize/resume?state=" + url.QueryEscape(state))
}

// login logs a user in through a whole authorization request.
func (b *browser) login(userID string, pairs ...string) *httptest.ResponseRecorder {
	b.f.t.Helper()
	state := stateOf(b.f.t, b.authorize(pairs...), "/u/login")
	b.loginPage(state, userID)
	return b.resume(state)
}

// loggedIn is a browser in which a user has logged in.
func (f *fixture) loggedIn(tenant, userID string) *browser {
	f.t.Helper()
	b := f.browser(tenant)
	b.wantCode(b.login(userID))
	return b
}

// session is the session of the browser's cookie in the database, or nil.
func (b *browser) session() *tenancy.Session {
	b.f.t.Helper()
	c := b.jar["__Host-gh_session"]
	if c == nil {
		return nil
	}
	list, err := tenancy.Sessions.Find(b.f.in(b.tenant), tenancy.Filter{Where: "token_hash = ?", Args: []any{tenancy.HashToken(c.Value)}})
	b.f.must(err)
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}

// exchange redeems a code and returns the decoded answer.
func (b *browser) exchange(code string, form url.Values) map[string]any {
	b.f.t.Helper()
	v := url.Values{"grant_type": {"authorization_code"}, "client_id": {spaID}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}}
	maps.Copy(v, form)
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := b.f.serve(b.tenant, r)
	body, err := io.ReadAll(w.Body)
	b.f.must(err)
	var answer map[string]any
	if err := json.Unmarshal(body, &answer); err != nil || w.Code != http.StatusOK {
		b.f.t.Fatalf("token endpoint: %d %s", w.Code, body)
	}
	return answer
}

// payload is the claims of a JWT, unverified.
func payload(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}
