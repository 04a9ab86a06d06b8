//go:build !unix || solaris

package tenancy

// fileLimit returns how many file descriptors the process may have, 0 where that
// is not known.
func fileLimit() int { return 0 }
