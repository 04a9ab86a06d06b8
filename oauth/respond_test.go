package oauth

import (
	"encoding/json"
	"html"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const hostile = "</script><script>alert(1)</script>\u2028\u2029&\"'`${1}<!--"

func deliver(d *destination, method string, list ...parameter) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/authorize", nil)
	r = r.WithContext(tenancy.WithVisit(r.Context(), &tenancy.Visit{Issuer: "https://acme.auth.example.com/"}))
	w := httptest.NewRecorder()
	d.deliver(w, r, list...)
	return w
}

// C4.28, C4.29
func TestDeliverByRedirect(t *testing.T) {
	t.Parallel()
	const iss = "iss=https%3A%2F%2Facme.auth.example.com%2F"
	for _, c := range []struct {
		name, mode, uri, method, state string
		status                         int
		want                           string
	}{
		{"query", modeQuery, "https://a.example.com/cb", "GET", "s p&", 302, "https://a.example.com/cb?code=c&state=s+p%26&" + iss},
		{"own query", modeQuery, "https://a.example.com/cb?x=1", "GET", "s", 302, "https://a.example.com/cb?x=1&code=c&state=s&" + iss},
		{"empty query", modeQuery, "https://a.example.com/cb?", "GET", "s", 302, "https://a.example.com/cb?code=c&state=s&" + iss},
		{"no state", modeQuery, "https://a.example.com/cb", "GET", "", 302, "https://a.example.com/cb?code=c&" + iss},
		{"after POST", modeQuery, "https://a.example.com/cb", "POST", "s", 303, "https://a.example.com/cb?code=c&state=s&" + iss},
		{"fragment", modeFragment, "https://a.example.com/cb?x=1", "GET", "s", 302, "https://a.example.com/cb?x=1#code=c&state=s&" + iss},
		{"custom scheme", modeQuery, "com.example.app:/cb", "GET", "s", 302, "com.example.app:/cb?code=c&state=s&" + iss},
		{
			"header injection", modeQuery, "https://a.example.com/cb", "GET", "a\r\nSet-Cookie: x=y", 302,
			"https://a.example.com/cb?code=c&state=a%0D%0ASet-Cookie%3A+x%3Dy&" + iss,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := deliver(&destination{URI: c.uri, Mode: c.mode, State: c.state}, c.method, parameter{"code", "c"})
			if w.Code != c.status || w.Header().Get("Location") != c.want {
				t.Errorf("got %d %s\nwant %d %s", w.Code, w.Header().Get("Location"), c.status, c.want)
			}
			if w.Header().Get("Cache-Control") != "no-store" {
				t.Error("the answer may be cached")
			}
		})
	}
}

// C3.14 to C3.17, SC-044, C9.35
func TestWebMessage(t *testing.T) {
	t.Parallel()
	w := deliver(&destination{URI: "https://app.example.com:8443/callback?x=1", Mode: modeWebMessage, State: hostile}, http.MethodGet, parameter{"code", "c"})
	body, h := w.Body.String(), w.Header()
	if w.Code != http.StatusOK || h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Cache-Control") != "no-store" ||
		h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("got %d %v", w.Code, h)
	}
	if len(h.Values("X-Frame-Options")) != 0 {
		t.Error("X-Frame-Options keeps the page out of the frame it is for")
	}
	nonce := regexp.MustCompile(`<script nonce="([A-Za-z0-9_-]{43})">`).FindStringSubmatch(body)
	if nonce == nil || strings.Count(body, "<script") != 1 || strings.Count(body, "</script") != 1 {
		t.Fatalf("want exactly one script, with a nonce:\n%s", body)
	}
	policy := "default-src 'none'; script-src 'nonce-" + nonce[1] + "'; base-uri 'none'; frame-ancestors https://app.example.com:8443"
	if got := h.Get("Content-Security-Policy"); got != policy {
		t.Errorf("got policy %s\nwant %s", got, policy)
	}
	m := messageCall.FindStringSubmatch(body)
	if m == nil || m[2] != "https://app.example.com:8443" || strings.Count(body, "postMessage") != 1 ||
		!strings.Contains(body, "(window.opener || window.parent).postMessage") {
		t.Fatalf("want one message to the origin of the redirect URI:\n%s", body)
	}
	if strings.ContainsAny(m[1], "<>&\u2028\u2029") {
		t.Errorf("message is not escaped: %s", m[1])
	}
	var got webMessage
	if err := json.Unmarshal([]byte(m[1]), &got); err != nil {
		t.Fatal(err)
	}
	if got.Type != "authorization_response" || len(got.Response) != 3 || got.Response["code"] != "c" ||
		got.Response["state"] != hostile || got.Response["iss"] != "https://acme.auth.example.com/" {
		t.Errorf("got message %+v", got)
	}
	again := deliver(&destination{URI: "https://app.example.com/callback", Mode: modeWebMessage}, http.MethodGet)
	if strings.Contains(again.Body.String(), nonce[1]) {
		t.Error("the nonce was used twice")
	}
}

// OAuth 2.0 Form Post Response Mode, section 2; C3.18, C9.35
func TestFormPost(t *testing.T) {
	t.Parallel()
	w := deliver(&destination{URI: "https://app.example.com/cb?a=1&b=2", Mode: modeFormPost, State: hostile}, http.MethodGet, parameter{"code", "c"})
	body := w.Body.String()
	if w.Code != http.StatusOK || w.Header().Get("X-Frame-Options") != "DENY" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	if strings.Count(body, "<script") != 1 || strings.Contains(body, "alert(1)</script>") {
		t.Errorf("state is not escaped:\n%s", body)
	}
	if !strings.Contains(body, `<form method="post" action="https://app.example.com/cb?a=1&amp;b=2">`) {
		t.Errorf("form goes elsewhere:\n%s", body)
	}
	fields := map[string]string{}
	for _, m := range regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`).FindAllStringSubmatch(body, -1) {
		fields[m[1]] = html.UnescapeString(m[2])
	}
	if len(fields) != 3 || fields["code"] != "c" || fields["state"] != hostile || fields["iss"] != "https://acme.auth.example.com/" {
		t.Errorf("got fields %v", fields)
	}
	native := deliver(&destination{URI: "com.example.app:/cb", Mode: modeFormPost}, http.MethodGet)
	if !strings.Contains(native.Body.String(), `action="com.example.app:/cb"`) {
		t.Errorf("form of a custom scheme: %s", native.Body)
	}
}

// RFC 6749 section 4.1.2.1; conformance 1.3
func TestDescriptionText(t *testing.T) {
	t.Parallel()
	if got, want := descriptionText("a \"b\" \\ \r\n\t é ~"), "a 'b' ? ??? ? ~"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := descriptionText(strings.Repeat("x", 2000)); len(got) != 512 {
		t.Errorf("got %d characters, want 512", len(got))
	}
}

// C9.35, A24
func TestPageEscapes(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	ctx := tenancy.WithVisit(t.Context(), &tenancy.Visit{RequestID: "req_1"})
	writePage(ctx, w, http.StatusBadRequest, page{
		Title: hostile, Message: hostile, Code: hostile,
		Confirm: &confirmation{Action: "/oidc/logout", Button: hostile, Fields: [][2]string{{"state", hostile}}, Target: "https://app.example.com/bye"},
	})
	body := w.Body.String()
	if strings.Contains(body, "<script") || strings.Contains(body, "<!--") {
		t.Errorf("page is not escaped:\n%s", body)
	}
	if got := w.Header().Get("Content-Security-Policy"); !strings.HasSuffix(got, "form-action 'self' https://app.example.com") {
		t.Errorf("got policy %s", got)
	}
	if !strings.Contains(body, "req_1") {
		t.Error("page without the request id (C0.8)")
	}
}
