//go:build unix && !solaris

package tenancy

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockPart locks the file until it is closed, or returns [errPartLocked]; another
// error where the file system has no locks.
func lockPart(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errPartLocked
	}
	return err
}
