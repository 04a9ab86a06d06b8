package mail

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Files is a [Transport] that writes each message into a directory as a file
// NNN.eml that mail programs open, for trying things out. Only the user the
// gateway runs as can read them.
type Files struct {
	Dir string // is made where it is missing
}

// Deliver implements [Transport].
func (f Files) Deliver(_ context.Context, m *Message) error {
	msg, err := m.mime()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(f.Dir, ".mail-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	if _, err = msg.WriteTo(file); err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	// The name is the next number: files sort as they came. It appears whole.
	for n := 1; ; n++ {
		name := filepath.Join(f.Dir, fmt.Sprintf("%06d.eml", n))
		if err := os.Link(file.Name(), name); err == nil || !os.IsExist(err) {
			return err
		}
	}
}

// String implements fmt.Stringer.
func (f Files) String() string { return "files in " + f.Dir }

// Interface guard
var _ Transport = Files{}
