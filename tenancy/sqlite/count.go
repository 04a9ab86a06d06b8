package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
)

// Count returns how many databases there are below Dir. A directory that does
// not exist has none.
func (p *Provider) Count(context.Context) (int, error) {
	list, err := os.ReadDir(p.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	n := 0
	for _, f := range list {
		if strings.HasSuffix(f.Name(), ".db") && !strings.HasPrefix(f.Name(), ".") {
			n++
		}
	}
	return n, err
}
