package login

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

const newPassword = "Brand-new-8"

func TestSignUpScreen(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	wantPage(t, h.do("acme", call{to: "/u/signup"}), http.StatusOK, `name="email"`)
	wantResume(t, h.post("acme", "/u/signup", "email", " Bob@Example.com ", "password", newPassword))
	ls := h.session("acme")
	user, err := tenancy.UserByIdentifier(h.inside["acme"], "people", "bob@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if ls.UserID != user.ID || ls.Connection != "people" || len(ls.Methods) != 1 {
		t.Errorf("login session = %+v, want the new user in it", ls)
	}
	if !strings.HasPrefix(user.ID, "auth0|") || len(user.ID) != len("auth0|")+24 || user.Email != "bob@example.com" || user.EmailVerified ||
		user.Name != "bob@example.com" || user.Nickname != "bob" || user.LoginsCount != 1 || user.LastLogin != tenancy.At(h.now) {
		t.Errorf("user = %+v", user)
	}
	if got, want := h.kinds(), "ss s"; got != want {
		t.Errorf("events = %s, want %s", got, want)
	}
	wantResume(t, h.post("acme", "/u/login", "username", "bob@example.com", "password", newPassword))
	if _, err := tenancy.UserByIdentifier(h.inside["widgets"], "people", "bob@example.com"); err != tenancy.ErrNotFound {
		t.Errorf("the user in another tenant: %v, want ErrNotFound", err)
	}
}

func TestSignUpScreenRefusals(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	for _, tt := range []struct{ name, email, password, want, events string }{
		{"taken", "ada@example.com", newPassword, "We could not create this account", "fs"},
		{"taken, in other letters", "ADA@example.com", newPassword, "We could not create this account", "fs"}, // C4.61
		{"weak", "bob@example.com", "weakling", "Password is too weak", "fs"},
		{"no address", "", newPassword, `id="email-error"`, ""},
		{"no e-mail address", "bob", newPassword, `id="email-error"`, ""},
		{"a line break", "bob@example.com\r\nBcc: x@example.com", newPassword, `id="email-error"`, ""},
		{"no password", "bob@example.com", "", `id="password-error"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := h.post("acme", "/u/signup", "email", tt.email, "password", tt.password)
			wantPage(t, w, http.StatusBadRequest, tt.want)
			if got := h.kinds(); got != tt.events {
				t.Errorf("events = %s, want %s", got, tt.events)
			}
			if tt.password != "" && strings.Contains(w.Body.String(), `"`+tt.password+`"`) {
				t.Error("the password is on the page")
			}
			if got := h.session("acme").UserID; got != "" {
				t.Errorf("login session has user %q", got)
			}
		})
	}
	if n, err := tenancy.Users.Count(h.inside["acme"], tenancy.Filter{}); err != nil || n != 1 {
		t.Errorf("%d users (%v), want 1: nothing of a refused sign-up stays", n, err)
	}
}

func TestSignUpWithUsername(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setOptions("acme", map[string]any{"requires_username": true, "validation": map[string]any{"username": map[string]any{"min": 3, "max": 10}}})
	h.begin("acme")
	wantPage(t, h.do("acme", call{to: "/u/login"}), http.StatusOK, "Email address or username")
	for _, name := range []string{"", "bo", "bob@home", "bob the builder", "abcdefghijk"} {
		wantPage(t, h.post("acme", "/u/signup", "email", "bob@example.com", "username", name, "password", newPassword), http.StatusBadRequest, `id="username-error"`)
	}
	wantPage(t, h.post("acme", "/u/signup", "email", "bob@example.com", "username", "ADA", "password", newPassword), http.StatusBadRequest, "We could not create this account")
	wantResume(t, h.post("acme", "/u/signup", "email", "bob@example.com", "username", "Bob", "password", newPassword))
	wantResume(t, h.post("acme", "/u/login", "username", "BOB", "password", newPassword))
}

func TestSignUpCanBeClosed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setOptions("acme", map[string]any{"disable_signup": true})
	h.begin("acme", func(ls *tenancy.LoginSession) { ls.Request["screen_hint"] = "signup" })
	w := h.do("acme", call{to: "/u/login"})
	if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "/u/signup") {
		t.Errorf("login page = %d, want 200 without a way to sign up:\n%s", w.Code, w.Body)
	}
	wantPage(t, h.do("acme", call{to: "/u/signup"}), http.StatusForbidden, "Sign-up is closed")
	wantPage(t, h.post("acme", "/u/signup", "email", "bob@example.com", "password", newPassword), http.StatusForbidden, "Sign-up is closed")
}

func TestScreenHintOpensSignUp(t *testing.T) { // C4.25
	t.Parallel()
	h := newHouse(t)
	h.begin("acme", func(ls *tenancy.LoginSession) {
		ls.Request["screen_hint"], ls.Request["login_hint"] = "signup", "bob@example.com"
	})
	w := h.do("acme", call{to: "/u/login"})
	if want := "/u/signup?state=" + state; w.Code != http.StatusFound || w.Header().Get("Location") != want {
		t.Errorf("answer = %d to %q, want 302 to %q", w.Code, w.Header().Get("Location"), want)
	}
	w = h.do("acme", call{to: "/u/signup"})
	wantPage(t, w, http.StatusOK, `value="bob@example.com"`)
	wantPage(t, w, http.StatusOK, `href="/u/login?state=`+state+`&amp;screen=login"`)
	if w := h.do("acme", call{to: "/u/login?screen=login"}); w.Code != http.StatusOK {
		t.Errorf("the login page itself = %d, want 200", w.Code)
	}
	wantPage(t, h.post("acme", "/u/login", "username", "ada", "password", "wrong"), http.StatusBadRequest, "Wrong email or password")
}

// C4.58.
func TestSignUpEndpoint(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.signUp("acme", `{"client_id":"spa","connection":"people","email":"Bob@example.com","password":"`+newPassword+`","username":"Bob",
		"given_name":"Bob","user_metadata":{"plan":"gold"},"email_verified":true,"app_metadata":{"admin":true},"user_id":"auth0|chosen","blocked":false}`)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	id, _ := got["_id"].(string)
	delete(got, "_id")
	rest, _ := json.Marshal(got)
	want := `{"email":"bob@example.com","email_verified":false,"user_metadata":{"plan":"gold"},"username":"bob"}`
	if w.Code != http.StatusOK || len(id) != 24 || string(rest) != want {
		t.Fatalf("answer = %d %s (id %q), want 200 %s", w.Code, rest, id, want)
	}
	if cache := w.Header().Get("Cache-Control"); cache != "no-store" {
		t.Errorf("Cache-Control = %q, want no-store", cache)
	}
	user, err := tenancy.Users.Get(h.inside["acme"], "auth0|"+id)
	if err != nil {
		t.Fatal(err)
	}
	// What a caller may not say of themselves has no effect (A34).
	if user.EmailVerified || user.AppMetadata != nil || user.LoginsCount != 0 || user.GivenName != "Bob" {
		t.Errorf("user = %+v", user)
	}
	if got, want := h.kinds(), "ss"; got != want {
		t.Errorf("events = %s, want %s", got, want)
	}
	h.begin("acme")
	wantResume(t, h.post("acme", "/u/login", "username", "bob@example.com", "password", newPassword))
}

func TestSignUpEndpointTakesForms(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.do("acme", call{to: signupPath, noState: true, noCookie: true, form: url.Values{
		"client_id": {clientID}, "connection": {"people"},
		"email": {"bob@example.com"}, "password": {newPassword}, "user_metadata": {`{"plan":"gold"}`},
	}})
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"user_metadata":{"plan":"gold"}`) {
		t.Errorf("answer = %d %s", w.Code, w.Body)
	}
}

func TestSignUpEndpointRefusals(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := h.inside["acme"]
	h.commit("acme",
		tenancy.Connections.Insert(ctx, &tenancy.Connection{
			Row: tenancy.Row{ID: "con_2"}, Name: "closed", Strategy: tenancy.StrategyDatabase,
			Options: map[string]any{"disable_signup": true},
		}),
		tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(clientID, "con_2")),
		tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_3"}, Name: "not-enabled", Strategy: tenancy.StrategyDatabase}),
		tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_4"}, Name: "mail", Strategy: "email"}),
		tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(clientID, "con_4")))
	const exists = `{"name":"BadRequestError","code":"invalid_signup","description":"Invalid sign up","statusCode":400,"error":"invalid_signup","error_description":"Invalid sign up"}`
	const closed = `{"name":"BadRequestError","code":"invalid_request","description":"public signup is disabled","statusCode":400,"error":"invalid_request","error_description":"public signup is disabled"}`
	body := func(connection, email, password string) string {
		b, _ := json.Marshal(map[string]string{"client_id": clientID, "connection": connection, "email": email, "password": password})
		return string(b)
	}
	for _, tt := range []struct {
		name, body string
		status     int
		want       string // the body, or a part of it
	}{
		{"exists", body("people", "ada@example.com", newPassword), 400, exists},
		{"exists, in other letters", body("people", "Ada@Example.com", newPassword), 400, exists},
		{"closed", body("closed", "bob@example.com", newPassword), 400, closed},
		{"not enabled for the client", body("not-enabled", "bob@example.com", newPassword), 400, closed},
		{"no database", body("mail", "bob@example.com", newPassword), 400, closed},
		{"no such connection", body("none", "bob@example.com", newPassword), 400, closed},
		{"no connection", body("", "bob@example.com", newPassword), 400, closed},
		{"unknown client", `{"client_id":"nope","connection":"people"}`, 400, "Unknown client: nope"},
		{"no client", `{"connection":"people"}`, 400, "Missing required parameter: client_id"},
		{"no address", body("people", "", newPassword), 400, "email: "},
		{"no password", body("people", "bob@example.com", ""), 400, "password: "},
		{"number for a text", `{"client_id":"spa","email":7}`, 400, "email must be a string"},
		{"metadata that is none", `{"client_id":"spa","user_metadata":[1]}`, 400, "user_metadata must be an object"},
		{"script for a picture", `{"client_id":"spa","picture":"javascript:alert(1)"}`, 400, "picture must be a URL"},
		{"member twice", `{"client_id":"spa","client_id":"spa"}`, 400, "given twice"},
		{"no JSON", `{"client_id":`, 400, "not valid JSON"},
		{"no object", `[]`, 400, "not an object"},
		{"two objects", `{}{}`, 400, "something follows"},
		{"empty", ``, 400, "not valid JSON"},
		{"too large", `{"client_id":"` + strings.Repeat("x", maxSignup) + `"}`, 413, "too large"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := h.signUp("acme", tt.body)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("answer = %d %s, want %d %s", w.Code, w.Body, tt.status, tt.want)
			}
			var envelope struct { // C0.3
				Error            string `json:"error"`
				ErrorDescription string `json:"error_description"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &envelope); err != nil || envelope.Error == "" || envelope.ErrorDescription == "" {
				t.Errorf("body %s has no error and error_description (%v)", w.Body, err)
			}
		})
	}
	if n, err := tenancy.Users.Count(ctx, tenancy.Filter{}); err != nil || n != 1 {
		t.Errorf("%d users (%v), want 1: nothing of a refused sign-up stays", n, err)
	}
}

func TestSignUpEndpointWeakPassword(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := h.signUp("acme", `{"client_id":"spa","connection":"people","email":"bob@example.com","password":"short"}`)
	golden(t, "signup-weak.json", w.Body.Bytes())
	if w.Code != http.StatusBadRequest || h.kinds() != "fs" {
		t.Errorf("answer = %d, want 400 and an event", w.Code)
	}
}

func TestSignUpEndpointVerbsAndTypes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if w := h.do("acme", call{method: method, to: signupPath, noState: true}); w.Code != 405 || w.Header().Get("Allow") != "POST" {
			t.Errorf("%s = %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	w := h.do("acme", call{to: signupPath, noState: true, body: strings.NewReader("x"), header: http.Header{"Content-Type": {"text/plain"}}})
	if w.Code != 415 {
		t.Errorf("text/plain = %d, want 415", w.Code)
	}
}

// C4.17, C9.45.
func TestSignUpEndpointCORS(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := h.inside["acme"]
	h.commit("acme", tenancy.Clients.Insert(ctx, &tenancy.Client{Row: tenancy.Row{ID: "other"}, IsFirstParty: true, AllowedOrigins: []string{"https://other.example.com", "https://*.preview.example.com"}}))
	for _, tt := range []struct {
		name, method, origin string
		allowed              bool
	}{
		{"preflight", "OPTIONS", "https://app.example.com", true},
		{"preflight of any client", "OPTIONS", "https://other.example.com", true},
		{"preflight of nobody", "OPTIONS", "https://evil.example", false},
		{"preflight of a wildcard's", "OPTIONS", "https://a.preview.example.com", true},
		{"preflight of two labels", "OPTIONS", "https://a.b.preview.example.com", false},
		{"preflight of null", "OPTIONS", "null", false},
		{"own origin", "POST", "https://app.example.com", true},
		{"another client's", "POST", "https://other.example.com", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := h.do("acme", call{
				method: tt.method, to: signupPath, noState: true, body: strings.NewReader(`{"client_id":"spa","connection":"none"}`),
				header: http.Header{"Origin": {tt.origin}, "Content-Type": {"application/json"}},
			})
			got := w.Header().Get("Access-Control-Allow-Origin")
			if (got == tt.origin) != tt.allowed || !tt.allowed && got != "" {
				t.Errorf("Access-Control-Allow-Origin = %q, allowed: %v", got, tt.allowed)
			}
			if w.Header().Get("Vary") != "Origin" || w.Header().Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("headers = %v", w.Header())
			}
		})
	}
}
