package test

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A test kit that cannot fail proves nothing: with nobody listening every script has to say so, in the step where it found out, soon.
func TestClientsReportAClosedPort(t *testing.T) {
	issuer := fmt.Sprintf("https://acme.auth.localhost:%d/", clientPort(t))
	person := func(members map[string]any) map[string]any {
		members["issuer"], members["clientId"], members["redirectPort"] = issuer, "nobody", clientPort(t)
		members["username"], members["password"] = "ann@example.com", "wrong"
		return members
	}
	for _, test := range []struct {
		script string
		config map[string]any
		step   string
		want   string
	}{
		{"code-flow.mjs", person(map[string]any{"scope": "openid"}), "discovery", "ECONNREFUSED"},
		{"spa.mjs", person(map[string]any{"organizations": []string{"acme"}}), "login", "ERR_CONNECTION_REFUSED"},
		{"look.mjs", map[string]any{"url": issuer, "screenshot": filepath.Join(t.TempDir(), "no.png")}, "open", "ERR_CONNECTION_REFUSED"},
	} {
		t.Run(test.script, func(t *testing.T) {
			began := time.Now()
			run := tryClient(t, test.script, test.config)
			if run.Screenshot != "" {
				t.Cleanup(func() { _ = os.Remove(run.Screenshot) })
			}
			if run.OK || run.Step != test.step || !strings.Contains(run.Error, test.want) {
				t.Errorf("got ok:%v step %q error %q, want a failure in step %q with %s", run.OK, run.Step, run.Error, test.step, test.want)
			}
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("took %v to notice that nobody listens", took)
			}
		})
	}
}

// A server that accepts and then says nothing must not hold a test for longer than the limit it was given.
func TestClientsEndInTime(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	for _, test := range []struct {
		name  string
		limit map[string]any
		want  string
	}{
		{"one step", map[string]any{"stepLimitSeconds": 12}, "Timeout 12000ms"},
		{"whole script", map[string]any{"scriptLimitSeconds": 13}, "no end after 13 s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := map[string]any{"url": server.URL, "screenshot": filepath.Join(t.TempDir(), "no.png")}
			for name, value := range test.limit {
				config[name] = value
			}
			run := tryClient(t, "look.mjs", config)
			if run.Screenshot != "" {
				t.Cleanup(func() { _ = os.Remove(run.Screenshot) })
			}
			if run.OK || run.Step != "open" || !strings.Contains(run.Error, test.want) {
				t.Errorf("got ok:%v step %q error %q, want a failure in step open with %q", run.OK, run.Step, run.Error, test.want)
			}
		})
	}
}

// A misspelt member is an error, not a test of something else.
func TestClientsRefuseUnknownConfiguration(t *testing.T) {
	run := tryClient(t, "look.mjs", map[string]any{"url": "about:blank", "screenshot": "no.png", "viewpoint": "phone"})
	if run.OK || run.Step != "config" || !strings.Contains(run.Error, "viewpoint") {
		t.Errorf("got ok:%v step %q error %q, want the word viewpoint refused", run.OK, run.Step, run.Error)
	}
}

// look.mjs tells a good page from a bad one.
func TestLook(t *testing.T) {
	pages := map[string]string{
		"/good": `<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Good</title>
			<form method="post"><label>Email <input name="username"></label><button>Continue</button></form>`,
		"/bad": `<!doctype html><title>Bad</title><script>document.title = "Never"</script><div style="width: 2000px">wide</div>
			<form><input name="username" placeholder="Email"></form>`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		_, _ = fmt.Fprint(w, pages[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	type look struct {
		Status        int
		Title         string
		Lang          string
		Screenshot    string
		Aria          string
		Overflow      bool
		CSPViolations []string
		Form          struct {
			Count    int
			Labelled bool
		}
		WithoutScript struct{ Same bool }
	}
	at := func(t *testing.T, path, viewport string) look {
		var result look
		picture := filepath.Join(t.TempDir(), "look.png")
		runClient(t, "look.mjs", map[string]any{"url": server.URL + path, "viewport": viewport, "screenshot": picture}, &result)
		png, err := os.ReadFile(result.Screenshot)
		if err != nil || result.Screenshot != picture || !strings.HasPrefix(string(png), "\x89PNG") {
			t.Errorf("screenshot %q is no PNG at %q: %v", result.Screenshot, picture, err)
		}
		return result
	}
	for _, viewport := range []string{"desktop", "phone"} {
		t.Run("good on "+viewport, func(t *testing.T) {
			got := at(t, "/good", viewport)
			if got.Status != 200 || got.Title != "Good" || got.Lang != "en" || got.Overflow || len(got.CSPViolations) > 0 ||
				got.Form.Count != 1 || !got.Form.Labelled || !got.WithoutScript.Same || !strings.Contains(got.Aria, `textbox "Email"`) {
				t.Errorf("got %+v, want no complaint", got)
			}
		})
	}
	t.Run("bad", func(t *testing.T) {
		got := at(t, "/bad", "phone")
		if got.Title != "Bad" || got.Lang != "" || !got.Overflow || len(got.CSPViolations) == 0 || got.Form.Labelled {
			t.Errorf("got %+v, want the missing language, the width, the blocked script and the missing label noticed", got)
		}
	})
}

// The two cookie profiles differ in what they claim to differ in: whether a frame sends the cookie of its site when the page is of another.
// Without this, a test of an app without third-party cookies could pass with them.
func TestBrowserCookieProfiles(t *testing.T) {
	for _, test := range []struct {
		name    string
		blocked bool
	}{{"allowed", false}, {"blocked", true}} {
		t.Run(test.name, func(t *testing.T) {
			var framed, withCookie atomic.Bool
			tenant := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/frame" {
					_, err := r.Cookie("__Host-seen")
					framed.Store(true)
					withCookie.Store(err == nil)
					return
				}
				http.SetCookie(w, &http.Cookie{Name: "__Host-seen", Value: "1", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode})
				http.Redirect(w, r, r.URL.Query().Get("next"), http.StatusFound)
			}))
			tenant.Config.ErrorLog = log.New(io.Discard, "", 0) // Chromium tries, and drops, a connection before it ignores the certificate
			tenant.StartTLS()
			t.Cleanup(tenant.Close)
			host := "https://acme.auth.localhost:" + portOf(tenant)
			app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(w, `<!doctype html><title>App</title><iframe src="%s/frame"></iframe>`, host)
			}))
			t.Cleanup(app.Close)

			var result struct{ Title string }
			runClient(t, "look.mjs", map[string]any{
				"url":                    host + "/login?next=http://localhost:" + portOf(app),
				"screenshot":             filepath.Join(t.TempDir(), "frame.png"),
				"blockThirdPartyCookies": test.blocked,
				"withoutScript":          false,
			}, &result)
			if result.Title != "App" || !framed.Load() || withCookie.Load() == test.blocked {
				t.Errorf("page %q, frame loaded: %v, with cookie: %v", result.Title, framed.Load(), withCookie.Load())
			}
		})
	}
}

func portOf(server *httptest.Server) string {
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	return port
}
