package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// locks are the data directories this process holds. Two configurations that
// overlap during a reload may hold the same one.
var locks = struct {
	sync.Mutex
	held map[string]*heldLock
}{held: make(map[string]*heldLock)}

type heldLock struct {
	file  *os.File
	users int
}

// errLocked is returned by lockFile for a file that another process has locked.
var errLocked = errors.New("locked by another process")

// lockDirectory takes the data directory for this process until unlock is
// called. Two processes over the same files would each miss what the other
// changes; and because Caddy shares its ports with other processes of the same
// user, nothing else would stop the second.
func lockDirectory(data string) (unlock func(), err error) {
	locks.Lock()
	defer locks.Unlock()
	h, ok := locks.held[data]
	if !ok {
		if h, err = takeLock(filepath.Join(data, "lock")); err != nil {
			return nil, err
		}
		locks.held[data] = h
	}
	h.users++
	return sync.OnceFunc(func() {
		locks.Lock()
		defer locks.Unlock()
		if h.users--; h.users == 0 {
			delete(locks.held, data)
			_ = h.file.Close() // which also unlocks it
		}
	}), nil
}

func takeLock(path string) (*heldLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, dataError(err)
	}
	err = lockFile(f)
	if errors.Is(err, errLocked) {
		owner, _ := io.ReadAll(io.LimitReader(f, 32))
		err = fmt.Errorf("%s is in use by process %s: stop it, or give this one a directory of its own: gatehouse { data <directory> }",
			filepath.Dir(path), strings.TrimSpace(string(owner)))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Only for the message above; the lock itself is the kernel's.
	_ = f.Truncate(0)
	_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return &heldLock{file: f}, nil
}
