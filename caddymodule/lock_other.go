//go:build !unix || solaris

package caddymodule

import "os"

// lockFile does nothing where the system has no advisory locks of whole files.
func lockFile(*os.File) error { return nil }
