//go:build !unix || solaris

package tenancy

import (
	"errors"
	"os"
)

// lockPart fails: the system has no advisory locks of whole files.
func lockPart(*os.File) error { return errors.ErrUnsupported }
