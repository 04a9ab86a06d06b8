package mail_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy/mail"
)

func TestLogWritesTheWholeMessage(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	sender := mail.Log{Logger: slog.New(slog.NewJSONHandler(&out, nil))}
	m := mail.Message{Tenant: "acme", Kind: "blocked_account", To: "ada@example.com", Subject: "About\nyour account", Text: "one\ntwo"}
	if err := sender.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"msg":"mail"`, `"tenant":"acme"`, `"kind":"blocked_account"`, `"to":"ada@example.com"`,
		`"subject":"About\nyour account"`, `"text":"one\ntwo"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("log = %s, want %s in it", &out, want)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("the message took %d lines of the log, want 1", n)
	}
}
