//go:build !linux

package postgrestest

import "os/exec"

// give does nothing: the server runs as this process's user.
func give(string) error { return nil }

func unprivileged(*exec.Cmd) {}

func supervise(cmd *exec.Cmd, started chan<- error, ended chan<- struct{}) {
	err := cmd.Start()
	started <- err
	if err == nil {
		_ = cmd.Wait()
		close(ended)
	}
}
