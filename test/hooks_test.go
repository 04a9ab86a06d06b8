package test

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy/webhook"
)

// TestSignatureOfThePage: the command of docs/hooks.md gives the signature that
// webhooks are sent with.
func TestSignatureOfThePage(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	scripts := blocks(t, "sh", "docs/hooks.md")
	if len(scripts) != 1 {
		t.Fatalf("%d commands on the page", len(scripts))
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", scripts[0].text).Output()
	if err != nil {
		t.Fatal(err)
	}
	header := "t=1700000000,v1=" + strings.TrimSpace(string(out))
	body := []byte(`{"id":"evt_1","type":"tenant.created"}`)
	if want := webhook.Sign("0123456789abcdef", time.Unix(1700000000, 0), body); header != want {
		t.Errorf("the page has %s, what is sent is %s", header, want)
	}
	if err := webhook.Verify("0123456789abcdef", header, body, time.Unix(1700000030, 0), time.Minute); err != nil {
		t.Error(err)
	}
}
