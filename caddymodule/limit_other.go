//go:build !unix || solaris

package caddymodule

// openFileLimit is not known here.
func openFileLimit() (uint64, bool) { return 0, false }
