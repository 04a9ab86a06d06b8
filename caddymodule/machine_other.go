//go:build !linux

package caddymodule

// clockKept is known on Linux only.
func clockKept() (kept, known bool) { return false, false }

// networkFileSystem is known on Linux only.
func networkFileSystem(string) string { return "" }
