//go:build unix && !solaris

package tenancy

import (
	"math"
	"syscall"
)

// fileLimit returns how many file descriptors the process may have, 0 where that
// is not known.
func fileLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), math.MaxInt32)) //nolint:unconvert // it is signed on some systems
}
