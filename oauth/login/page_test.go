package login

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

var update = flag.Bool("update", false, "write golden files")

// golden compares got with the file below testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update, then look at the diff):\n%s", path, got)
	}
}

// shots are the pages as they look in each of their states.
var shots = []struct {
	name string
	make func(h *house) *httptest.ResponseRecorder
}{
	{"login", func(h *house) *httptest.ResponseRecorder { return h.do("acme", call{to: "/u/login"}) }},
	{"login-wrong", func(h *house) *httptest.ResponseRecorder {
		return h.post("acme", "/u/login", "username", "ada@example.com", "password", "wrong")
	}},
	{"login-empty", func(h *house) *httptest.ResponseRecorder {
		return h.post("acme", "/u/login", "username", "", "password", "")
	}},
	{"login-branded", func(h *house) *httptest.ResponseRecorder {
		h.brand("org_1", `{"logo_url":"https://cdn.example.com/first.svg","colors":{"primary":"#F5C518"}}`)
		h.alter(func(ls *tenancy.LoginSession) { ls.OrgID, ls.Request["login_hint"] = "org_1", "ada@example.com" })
		return h.do("acme", call{to: "/u/login"})
	}},
	{"signup", func(h *house) *httptest.ResponseRecorder { return h.do("acme", call{to: "/u/signup"}) }},
	{"signup-weak", func(h *house) *httptest.ResponseRecorder {
		h.setOptions("acme", map[string]any{"requires_username": true, "password_policy": "excellent"})
		return h.post("acme", "/u/signup", "email", "bob@example.com", "username", "b@b", "password", "passwords")
	}},
	{"signup-rules", func(h *house) *httptest.ResponseRecorder {
		return h.post("acme", "/u/signup", "email", "bob@example.com", "password", "Password")
	}},
	{"reset-password", func(h *house) *httptest.ResponseRecorder { return h.do("acme", call{to: "/u/reset-password"}) }},
	{"reset-password-wrong", func(h *house) *httptest.ResponseRecorder {
		return h.post("acme", "/u/reset-password", "email", "bob at example.com")
	}},
	{"reset-password-sent", func(h *house) *httptest.ResponseRecorder {
		return h.do("acme", call{to: "/u/reset-password-sent"})
	}},
	{"organization", func(h *house) *httptest.ResponseRecorder { return h.do("acme", call{to: "/u/organization"}) }},
	{"organization-unknown", func(h *house) *httptest.ResponseRecorder {
		return h.post("acme", "/u/organization", "organization", "nowhere")
	}},
	{"organization-picker", func(h *house) *httptest.ResponseRecorder {
		h.alter(func(ls *tenancy.LoginSession) { ls.UserID = ada })
		return h.do("acme", call{to: "/u/organization-picker"})
	}},
	{"activate", func(h *house) *httptest.ResponseRecorder {
		return h.do("acme", call{to: "/activate?user_code=BCDF-GHJK", noState: true})
	}},
	{"activate-wrong", func(h *house) *httptest.ResponseRecorder { return h.enter("acme", "ZZZZ-ZZZZ", browser, "203.0.113.7") }},
	{"activated", func(h *house) *httptest.ResponseRecorder {
		return h.do("acme", call{to: "/activate?result=connected", noState: true})
	}},
	{"device", func(h *house) *httptest.ResponseRecorder {
		h.alter(func(ls *tenancy.LoginSession) {
			ls.UserID, ls.OrgID, ls.AskedOf, ls.AskedScope = ada, "org_1", tenancy.Join(ada, "org_1"), "openid profile offline_access read:orders"
			ls.AskedAudience = h.describe("acme", "Orders")
			ls.Request[tenancy.RequestDevice], ls.Request[tenancy.RequestUserCode] = "dc_1", userCode
		})
		return h.do("acme", call{to: "/u/device"})
	}},
	{"consent", func(h *house) *httptest.ResponseRecorder {
		h.alter(func(ls *tenancy.LoginSession) {
			ls.UserID, ls.AskedOf, ls.AskedScope = ada, tenancy.Join(ada, ""), "openid profile email offline_access read:orders write:orders"
			ls.AskedAudience = h.describe("acme", "Orders")
		})
		return h.do("acme", call{to: "/u/consent"})
	}},
	{"error-expired", func(h *house) *httptest.ResponseRecorder {
		return h.do("acme", call{to: "/u/login", noCookie: true})
	}},
	{"error-no-connection", func(h *house) *httptest.ResponseRecorder {
		h.commit("acme", tenancy.ClientConnections.RemoveWhere(h.inside["acme"], "1 = 1"))
		return h.do("acme", call{to: "/u/login"})
	}},
	{"error-protocol", func(h *house) *httptest.ResponseRecorder {
		w := newRecorder()
		h.pages.Error(w, h.request("acme", "/authorize"), http.StatusBadRequest, "invalid_request", "Unknown client: abc")
		return w
	}},
	{"error-signup-closed", func(h *house) *httptest.ResponseRecorder {
		h.setOptions("acme", map[string]any{"disable_signup": true})
		return h.do("acme", call{to: "/u/signup"})
	}},
}

func (h *house) alter(f func(*tenancy.LoginSession)) {
	h.t.Helper()
	_, err := tenancy.LoginSessions.Update(h.inside["acme"], tenancy.HashToken(state), func(ls *tenancy.LoginSession) error {
		f(ls)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) brand(orgID, branding string) {
	h.t.Helper()
	_, err := tenancy.Organizations.Update(h.inside["acme"], orgID, func(o *tenancy.Organization) error {
		o.Branding = json.RawMessage(branding)
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	for _, shot := range shots {
		t.Run(shot.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.begin("acme")
			w := shot.make(h)
			// The sheet's address changes with every change of the look.
			body := bytes.ReplaceAll(w.Body.Bytes(), []byte(stylesheetPath), []byte("/u/static/style.css"))
			golden(t, shot.name+".html", body)
			checkAccessible(t, w.Body.String())
		})
	}
}

// C4.68, C9.35, A24: nothing that comes from outside is markup.
func TestEveryValueIsEscaped(t *testing.T) {
	t.Parallel()
	const evil = `"><script>alert(1)</script>{{7*7}}'`
	h := newHouse(t)
	ctx := h.inside["acme"]
	for _, err := range []error{
		update1(tenancy.Clients.Update(ctx, clientID, func(c *tenancy.Client) error { c.Name = evil; return nil })),
		update1(tenancy.Organizations.Update(ctx, "org_1", func(o *tenancy.Organization) error {
			o.DisplayName = evil
			o.Branding = json.RawMessage(`{"logo_url":"https://cdn.example.com/\"><script>alert(1)</script>","colors":{"primary":"red}</style><script>alert(1)</script>"}}`)
			return nil
		})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	current, err := tenancy.Current(ctx)
	if err != nil {
		t.Fatal(err)
	}
	current.FriendlyName = evil
	h.setOptions("acme", map[string]any{"requires_username": true})
	h.begin("acme", func(ls *tenancy.LoginSession) {
		ls.OrgID, ls.UserID = "org_1", ada
		ls.Request["login_hint"], ls.Request["ui_locales"] = evil, evil
	})
	for name, w := range map[string]*httptest.ResponseRecorder{
		"login":         h.do("acme", call{to: "/u/login"}),
		"login again":   h.post("acme", "/u/login", "username", evil, "password", "x"),
		"signup":        h.do("acme", call{to: "/u/signup"}),
		"signup again":  h.post("acme", "/u/signup", "email", evil, "username", evil, "password", evil),
		"organization":  h.post("acme", "/u/organization", "organization", evil),
		"picker":        h.do("acme", call{to: "/u/organization-picker"}),
		"picker again":  h.post("acme", "/u/organization-picker", "organization", evil),
		"unknown state": h.do("acme", call{to: "/u/login?state=%22%3E%3Cscript%3E", noState: true}),
		"unknown page":  h.do("acme", call{to: "/u/%22%3E%3Cscript%3E"}),
	} {
		body := w.Body.String()
		if strings.Contains(body, "<script") || strings.Contains(body, "49") && !strings.Contains(body, "{{7*7}}") {
			t.Errorf("%s: markup came through:\n%s", name, body)
		}
		if policy := w.Header().Get("Content-Security-Policy"); strings.Contains(policy, "script") || strings.ContainsAny(policy, "<>\"\r\n") {
			t.Errorf("%s: policy = %s", name, policy)
		}
		checkAccessible(t, body)
	}
}

func update1[T any](_ *T, err error) error { return err }

func TestLogoIsAllowedByThePolicy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.brand("org_1", `{"logo_url":"https://cdn.example.com:444/logo.png?x=1"}`)
	h.begin("acme", func(ls *tenancy.LoginSession) { ls.OrgID = "org_1" })
	if got, want := directive(h.do("acme", call{to: "/u/login"}), "img-src"), "https://cdn.example.com:444"; got != want {
		t.Errorf("img-src = %q, want %q", got, want)
	}
	for _, bad := range []string{"http://cdn.example.com/logo.png", "data:image/png;base64,xx", "//cdn.example.com/x", "javascript:x"} {
		h.brand("org_1", `{"logo_url":"`+bad+`"}`)
		w := h.do("acme", call{to: "/u/login"})
		if got := directive(w, "img-src"); got != "'none'" || strings.Contains(w.Body.String(), "<img") {
			t.Errorf("logo %s: img-src = %q, want none", bad, got)
		}
	}
}

// Text on a brand's colour is readable: at least 4.5 to 1 (WCAG 2.2, 1.4.3).
func TestAccentContrast(t *testing.T) {
	t.Parallel()
	for _, colour := range []string{"#000000", "#ffffff", "#FF0000", "#00ff00", "#0000ff", "#f5c518", "#777777", "#808080", "#abc", "#2f55d4", "#8ea6ff"} {
		var l look
		l.colour(colour)
		a, b := luminance(l.Accent)+0.05, luminance(l.OnAccent)+0.05
		if ratio := max(a, b) / min(a, b); ratio < 4.5 {
			t.Errorf("%s on %s has contrast %.2f, want 4.5", l.OnAccent, l.Accent, ratio)
		}
	}
	for _, none := range []string{"", "red", "#12", "#12345g", "#1234567", "#fff;}", "rgb(1,2,3)"} {
		var l look
		if l.colour(none); l.Accent != "" {
			t.Errorf("colour %q was taken as %q", none, l.Accent)
		}
	}
}
