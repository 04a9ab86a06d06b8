package caddymodule

import "golang.org/x/sys/unix"

// clockKept reports whether the kernel's clock is kept right by somebody; known is
// false where the kernel does not say.
func clockKept() (kept, known bool) {
	state, err := unix.Adjtimex(new(unix.Timex)) // which only reads, as it is empty
	return err == nil && state != unix.TIME_ERROR, err == nil
}

// networkFileSystems are the kinds of file systems that are elsewhere.
var networkFileSystems = map[uint32]string{
	unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB", unix.SMB2_SUPER_MAGIC: "SMB", unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.AFS_SUPER_MAGIC: "AFS", unix.CEPH_SUPER_MAGIC: "Ceph", unix.CODA_SUPER_MAGIC: "Coda",
}

// networkFileSystem names the network file system that a directory is on; "" for
// none, and where that is not known.
func networkFileSystem(path string) string {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return ""
	}
	return networkFileSystems[uint32(s.Type)]
}
