//go:build unix && !solaris

package caddymodule

import "golang.org/x/sys/unix"

// openFileLimit is how many files the process may have open; false where that is
// not known.
func openFileLimit() (uint64, bool) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return uint64(limit.Cur), true
}
