package test

import (
	"os"
	"os/exec"
	"testing"
)

// requireChromium returns the path of a Chromium, from the environment variable CHROMIUM or PATH. A machine without one skips the test
// and says what to install; under CI=true it fails instead, because a skipped browser test proves nothing.
func requireChromium(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, "needs Chromium: apt-get install chromium, or set CHROMIUM to its path")
	return ""
}

// missing ends a test that lacks something on this machine.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
