package test

import (
	"crypto/sha256"
	"encoding/base64"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// visitor is a person with a browser, as far as HTTP goes: cookies, redirects
// and forms. Where scripts or frames matter, the tests use a real one.
type visitor struct {
	t    testing.TB
	http *http.Client
}

func newVisitor(t testing.TB) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := loopbackClient()
	c.Jar = jar
	return &visitor{t: t, http: c}
}

// page is what the visitor sees, or where they were sent outside.
type page struct {
	url    *url.URL // of the page, or the callback the browser was sent to
	status int
	header http.Header
	body   string
}

// open follows redirects within the gateway and stops at the first to elsewhere.
func (v *visitor) open(link string) page {
	v.t.Helper()
	return v.follow(http.MethodGet, link, nil)
}

func (v *visitor) follow(method, link string, form url.Values) page {
	v.t.Helper()
	for range 10 {
		u, err := url.Parse(link)
		if err != nil {
			v.t.Fatal(err)
		}
		if !strings.HasSuffix(u.Hostname(), baseDomain) {
			return page{url: u}
		}
		req, err := http.NewRequestWithContext(v.t.Context(), method, link, strings.NewReader(form.Encode()))
		if err != nil {
			v.t.Fatal(err)
		}
		if method == http.MethodPost {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Origin", u.Scheme+"://"+u.Host)
		}
		resp, err := v.http.Do(req)
		if err != nil {
			v.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			v.t.Fatal(err)
		}
		if resp.StatusCode < 300 || resp.StatusCode > 399 {
			return page{url: u, status: resp.StatusCode, header: resp.Header, body: string(body)}
		}
		next, err := u.Parse(resp.Header.Get("Location"))
		if err != nil {
			v.t.Fatal(err)
		}
		method, link, form = http.MethodGet, next.String(), nil
	}
	v.t.Fatal("redirected for ever")
	return page{}
}

var (
	formAction = regexp.MustCompile(`<form method="post"(?: action="([^"]*)")?`)
	hidden     = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// submit fills in and sends the page's form.
func (v *visitor) submit(p page, fields map[string]string) page {
	v.t.Helper()
	m := formAction.FindStringSubmatch(p.body)
	if m == nil {
		v.t.Fatalf("%s (status %d) has no form: %.800s", p.url, p.status, p.body)
	}
	action, err := p.url.Parse(html.UnescapeString(m[1]))
	if err != nil {
		v.t.Fatal(err)
	}
	form := url.Values{}
	for _, h := range hidden.FindAllStringSubmatch(p.body, -1) {
		form.Set(html.UnescapeString(h[1]), html.UnescapeString(h[2]))
	}
	for k, value := range fields {
		form.Set(k, value)
	}
	return v.follow(http.MethodPost, action.String(), form)
}

// login opens an authorization request and enters a name and password, and
// returns where the browser was sent.
func (v *visitor) login(link, username, password string) page {
	v.t.Helper()
	p := v.open(link)
	if p.status == 0 {
		return p // there was a session
	}
	if !strings.HasPrefix(p.url.Path, "/u/login") {
		v.t.Fatalf("%s (status %d) instead of the login page: %.800s", p.url, p.status, p.body)
	}
	return v.submit(p, map[string]string{"username": username, "password": password})
}

// pkce is a code verifier and its S256 challenge (RFC 7636).
func pkce(seed string) (verifier, challenge string) {
	sum := sha256.Sum256([]byte(seed))
	verifier = base64.RawURLEncoding.EncodeToString(sum[:])
	hashed := sha256.Sum256([]byte(verifier))
	return verifier, base64.RawURLEncoding.EncodeToString(hashed[:])
}

// authorizeURL is an authorization request for a code with PKCE; more are
// further parameters.
func (g *gateway) authorizeURL(tenant, client, redirect string, more url.Values) (link, verifier string) {
	verifier, challenge := pkce(tenant + client)
	q := url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirect}, "scope": {"openid profile email"},
		"state": {"the state"}, "nonce": {"the nonce"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for k, v := range more {
		q[k] = v
	}
	return g.issuer(tenant) + "authorize?" + q.Encode(), verifier
}

// redeem exchanges the code that a callback brought.
func (g *gateway) redeem(t testing.TB, tenant, client, redirect, verifier string, callback page) answer {
	t.Helper()
	code := callback.url.Query().Get("code")
	if code == "" {
		t.Fatalf("no code came back: %s %.300s", callback.url, callback.body)
	}
	return g.token(t, tenant, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "code": {code},
		"redirect_uri": {redirect}, "code_verifier": {verifier},
	})
}

// claims decodes a JWT's payload without verifying it.
func claims(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %.100s", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	answer{body: payload}.json(t, &m)
	return m
}
