package mail_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

// Mailgun gets the whole message with its own key, and what it answers decides
// whether it is tried again.
func TestMailgun(t *testing.T) {
	status := http.StatusOK
	var seen, message, to string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, key, _ := r.BasicAuth()
		seen, to = r.Method+" "+r.URL.Path+" "+user+" "+key, r.FormValue("to")
		file, _, err := r.FormFile("message")
		if err != nil {
			t.Error(err)
			return
		}
		raw, _ := io.ReadAll(file)
		message = string(raw)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "you sent "+key)
	}))
	defer server.Close()
	g := &mail.Mailgun{Base: server.URL, Domain: "mg.acme.test", Key: "the key"}
	m := &mail.Message{To: "ben@example.com", From: "hi@acme.test", FromName: "Acme", Subject: "Hello", Text: "A link\n", HTML: "<p>A link</p>"}
	if err := g.Deliver(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if seen != "POST /v3/mg.acme.test/messages.mime api the key" || to != "ben@example.com" || !strings.Contains(message, "Subject: Hello") || !strings.Contains(message, "<p>A link</p>") {
		t.Errorf("%s to %s: %s", seen, to, message)
	}
	for code, final := range map[int]bool{400: true, 413: true, 401: false, 404: false, 429: false, 500: false} {
		status = code
		err := g.Deliver(t.Context(), m)
		var refused *mail.Rejection
		if err == nil || errors.As(err, &refused) != final || strings.Contains(err.Error(), "the key") {
			t.Errorf("%d: %v, want for good: %v", code, err, final)
		}
	}
	server.Close()
	if err := g.Deliver(t.Context(), m); err == nil || strings.Contains(err.Error(), "the key") {
		t.Errorf("nobody there: %v", err)
	}
}
