package login

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C4.65, C4.67.
func TestLogIn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	w := h.do("acme", call{to: "/u/login"})
	wantPage(t, w, http.StatusOK, `<form method="post" action="/u/login?state=`+state+`">`)
	for _, field := range []string{`name="username"`, `name="password"`, `<input type="hidden" name="state" value="` + state + `">`} {
		if got := strings.Count(w.Body.String(), field); got != 1 {
			t.Errorf("%d of %s on the page, want 1", got, field)
		}
	}
	if got := strings.Count(w.Body.String(), "<form"); got != 1 {
		t.Errorf("%d forms on the page, want 1", got)
	}

	wantResume(t, h.post("acme", "/u/login", "username", "ada@example.com", "password", password))
	ls := h.session("acme")
	now := tenancy.At(h.now)
	if ls.UserID != ada || ls.Connection != "people" || ls.AuthenticatedAt != now || ls.Denied ||
		!reflect.DeepEqual(ls.Methods, []tenancy.AuthMethod{{Name: "pwd", Timestamp: now}}) {
		t.Errorf("login session = %+v", ls)
	}
	user, err := tenancy.Users.Get(h.inside["acme"], ada)
	if err != nil {
		t.Fatal(err)
	}
	if user.LastLogin != now || user.LoginsCount != 1 || user.LastIP != "203.0.113.7" || user.Revision != 2 {
		t.Errorf("user = %+v, want last_login, logins_count and last_ip of this login", user)
	}
	e := h.events[0]
	if e.Type != "s" || e.UserID != ada || e.UserName != "ada@example.com" || e.ClientID != clientID || e.Connection != "people" ||
		e.IP != "203.0.113.7" || e.Hostname != "acme.auth.example.com" || e.Date != now {
		t.Errorf("event = %+v", e)
	}
	other, err := tenancy.Users.Get(h.inside["widgets"], ada)
	if err != nil {
		t.Fatal(err)
	}
	if other.LoginsCount != 0 {
		t.Error("the login was counted in another tenant")
	}
}

func TestLogInByWhateverNamesTheUser(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	for _, name := range []string{"ada@example.com", "ADA@Example.COM", " ada@example.com ", "ada", "Ada"} { // C4.61
		wantResume(t, h.post("acme", "/u/login", "username", name, "password", password))
	}
	if got, want := h.kinds(), "s s s s s"; got != want {
		t.Errorf("events = %s, want %s", got, want)
	}
}

// C4.65, C9.41: known and unknown names get the same answer.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	known := h.post("acme", "/u/login", "username", "ada@example.com", "password", "wrong")
	unknown := h.post("acme", "/u/login", "username", "bob@example.com", "password", "wrong")
	wantPage(t, known, http.StatusBadRequest, "Wrong email or password")
	if strings.Contains(known.Body.String(), "wrong\"") {
		t.Error("the password is on the page")
	}
	if k, u := strings.ReplaceAll(known.Body.String(), "ada@", "x@"), strings.ReplaceAll(unknown.Body.String(), "bob@", "x@"); k != u || known.Code != unknown.Code {
		t.Errorf("the answers for a known and an unknown name differ:\n%s\n%s", k, u)
	}
	if !reflect.DeepEqual(known.Header(), unknown.Header()) {
		t.Errorf("headers differ: %v and %v", known.Header(), unknown.Header())
	}
	if got, want := h.kinds(), "fp fu"; got != want {
		t.Errorf("events = %s, want %s", got, want)
	}
	if ls := h.session("acme"); ls.UserID != "" {
		t.Errorf("login session has user %q", ls.UserID)
	}
}

func TestEmptyFieldsAreNamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	w := h.post("acme", "/u/login", "username", "", "password", "")
	wantPage(t, w, http.StatusBadRequest, `id="username-error"`)
	wantPage(t, w, http.StatusBadRequest, `id="password-error"`)
	wantPage(t, h.post("acme", "/u/login", "username", strings.Repeat("a", 400), "password", "x"), http.StatusBadRequest, "Wrong email or password")
	if got := h.kinds(); got != "" {
		t.Errorf("events = %s, want none", got)
	}
}

// C9.42.
func TestTooManyWrongPasswords(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	h.begin("widgets")
	for range tenancy.MaxAttempts {
		wantPage(t, h.post("acme", "/u/login", "username", "ada@example.com", "password", "wrong"), http.StatusBadRequest, "Wrong email or password")
	}
	if got, want := h.kinds(), strings.Repeat("fp ", tenancy.MaxAttempts)+"limit_wc"; got != want {
		t.Errorf("events = %s, want %s", got, want)
	}
	if len(h.mails) != 1 || h.mails[0].To != "ada@example.com" || h.mails[0].Kind != "blocked_account" || h.mails[0].Tenant != "acme" ||
		!strings.Contains(h.mails[0].Text, "203.0.113.7") {
		t.Errorf("mails = %+v, want one to ada", h.mails)
	}
	for name, identifier := range map[string]string{"right password": "ada@example.com", "by username": "ada"} {
		t.Run(name, func(t *testing.T) {
			wantPage(t, h.post("acme", "/u/login", "username", identifier, "password", password), http.StatusTooManyRequests, "Your account has been blocked")
		})
	}
	wantResume(t, h.post("widgets", "/u/login", "username", "ada@example.com", "password", password))
	h.now = h.now.Add(tenancy.AttemptBlock)
	h.commit("acme", tenancy.LoginSessions.RemoveWhere(h.inside["acme"], "1 = 1"))
	h.begin("acme")
	wantResume(t, h.post("acme", "/u/login", "username", "ada@example.com", "password", password))
}

// A name that is nobody's is blocked like any other (C9.41).
func TestUnknownNamesAreBlockedToo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	h.tries("acme", tenancy.Attempt{Identifier: "nobody@example.com"}, tenancy.MaxAttempts-1)
	wantPage(t, h.post("acme", "/u/login", "username", "nobody@example.com", "password", "wrong"), http.StatusBadRequest, "Wrong email or password")
	wantPage(t, h.post("acme", "/u/login", "username", "nobody@example.com", "password", "wrong"), http.StatusTooManyRequests, "Your account has been blocked")
	if len(h.mails) != 0 {
		t.Errorf("mails = %+v, want none", h.mails)
	}
}

func TestRightPasswordClearsTheCount(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	for range 2 {
		h.tries("acme", tenancy.Attempt{UserID: ada}, tenancy.MaxAttempts-1)
		wantResume(t, h.post("acme", "/u/login", "username", "ada", "password", password))
	}
}

func TestConnectionCanSwitchTheCountOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	h.setOptions("acme", map[string]any{"brute_force_protection": false})
	h.tries("acme", tenancy.Attempt{UserID: ada}, tenancy.MaxAttempts)
	wantPage(t, h.post("acme", "/u/login", "username", "ada", "password", "wrong"), http.StatusBadRequest, "Wrong email or password")
	wantResume(t, h.post("acme", "/u/login", "username", "ada", "password", password))
}

// tries counts attempts to log in, as wrong passwords do.
func (h *house) tries(id string, a tenancy.Attempt, n int) {
	h.t.Helper()
	a.Connection, a.IP = "people", "203.0.113.7"
	for range n {
		if err := a.Count(h.inside[id], h.now); err != nil {
			h.t.Fatal(err)
		}
	}
}

// setOptions replaces the options of the connection people.
func (h *house) setOptions(id string, options map[string]any) {
	h.t.Helper()
	_, err := tenancy.Connections.Update(h.inside[id], "con_1", func(c *tenancy.Connection) error {
		c.Options = options
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// 50 guesses at the same time get no more answers than guesses one by one.
func TestParallelGuesses(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	h.tries("acme", tenancy.Attempt{UserID: ada}, tenancy.MaxAttempts-3)
	codes := make([]int, 50)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() { codes[i] = h.post("acme", "/u/login", "username", "ada", "password", "wrong").Code })
	}
	wg.Wait()
	count := make(map[int]int)
	for _, code := range codes {
		count[code]++
	}
	if count[http.StatusBadRequest] != 3 || count[http.StatusTooManyRequests] != 47 {
		t.Errorf("answers = %v, want 3 wrong and the rest blocked", count)
	}
}

func TestBlockedUser(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	if _, err := tenancy.Users.Update(h.inside["acme"], ada, func(u *tenancy.User) error { u.Blocked = true; return nil }); err != nil {
		t.Fatal(err)
	}
	wantPage(t, h.post("acme", "/u/login", "username", "ada", "password", "wrong"), http.StatusBadRequest, "Wrong email or password")
	wantPage(t, h.post("acme", "/u/login", "username", "ada", "password", password), http.StatusForbidden, "Your account has been blocked")
	if got, want := h.kinds(), "fp f"; got != want {
		t.Errorf("events = %s, want %s", got, want)
	}
	if ls := h.session("acme"); ls.UserID != "" {
		t.Errorf("login session has user %q", ls.UserID)
	}
}

// What changed between checking a password and storing the login wins.
func TestLogInLosesToAChangeInTheSameMoment(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(h *house) error{
		"password changed": func(h *house) error {
			return tenancy.Commit(h.inside["acme"], tenancy.PasswordStmt(h.inside["acme"], ada, "$argon2id$other"))
		},
		"user blocked": func(h *house) error {
			_, err := tenancy.Users.Update(h.inside["acme"], ada, func(u *tenancy.User) error { u.Blocked = true; return nil })
			return err
		},
		"user removed": func(h *house) error {
			return tenancy.Commit(h.inside["acme"], tenancy.RemoveUser(h.inside["acme"], ada)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.begin("acme")
			s := h.step("acme")
			connections, err := s.connections()
			if err != nil {
				t.Fatal(err)
			}
			pr, err := s.authenticate(connections, "ada", password)
			if err != nil {
				t.Fatal(err)
			}
			if err := change(h); err != nil {
				t.Fatal(err)
			}
			if err := s.logIn(pr); !errors.Is(err, errWrong) {
				t.Errorf("logIn = %v, want %v", err, errWrong)
			}
			if ls := h.session("acme"); ls.UserID != "" {
				t.Errorf("login session has user %q", ls.UserID)
			}
		})
	}
}

func TestSecondConnectionIsTriedToo(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := h.inside["acme"]
	// Somebody took ada's address in an older connection, with a password of theirs.
	h.commit("acme",
		tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_0", CreatedAt: 1}, Name: "older", Strategy: tenancy.StrategyDatabase}),
		tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(clientID, "con_0")),
		tenancy.Users.Insert(ctx, &tenancy.User{Row: tenancy.Row{ID: "auth0|mallory"}, Connection: "older", Email: "ada@example.com"}),
		tenancy.PasswordStmt(ctx, "auth0|mallory", mallorysHash()))
	h.begin("acme")
	wantResume(t, h.post("acme", "/u/login", "username", "ada@example.com", "password", password))
	if ls := h.session("acme"); ls.UserID != ada || ls.Connection != "people" {
		t.Errorf("logged in as %s of %s, want ada of people", ls.UserID, ls.Connection)
	}
	wantResume(t, h.post("acme", "/u/login", "username", "ada@example.com", "password", "Mallorys-own-1"))
	if ls := h.session("acme"); ls.UserID != "auth0|mallory" || ls.Connection != "older" {
		t.Errorf("logged in as %s of %s, want mallory of older", ls.UserID, ls.Connection)
	}
}

var mallorysHash = sync.OnceValue(func() string {
	hash, err := tenancy.HashPassword(context.Background(), "Mallorys-own-1")
	if err != nil {
		panic(err)
	}
	return hash
})

func TestCancel(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	wantResume(t, h.post("acme", "/u/login", "action", "cancel", "username", "", "password", ""))
	if ls := h.session("acme"); !ls.Denied || ls.UserID != "" {
		t.Errorf("login session = %+v, want denied", ls)
	}
	wantResume(t, h.post("acme", "/u/login", "username", "ada", "password", password)) // went back and thought again
	if ls := h.session("acme"); ls.Denied {
		t.Error("login session is still denied")
	}
}

func TestLoginHintPrefills(t *testing.T) { // C3.30
	t.Parallel()
	h := newHouse(t)
	h.begin("acme", func(ls *tenancy.LoginSession) { ls.Request["login_hint"] = `"><b>ada@example.com` })
	w := h.do("acme", call{to: "/u/login"})
	wantPage(t, w, http.StatusOK, `value="&#34;&gt;&lt;b&gt;ada@example.com"`)
	w = h.post("acme", "/u/login", "username", "bob@example.com", "password", "wrong")
	wantPage(t, w, http.StatusBadRequest, `value="bob@example.com"`)
}
