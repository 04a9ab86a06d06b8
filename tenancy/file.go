package tenancy

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"
)

// File is something the server itself keeps in the control plane: a certificate,
// its private key. Row.ID is its path, "certificates/acme/login.crt".
type File struct {
	Row
	Value []byte `gorm:"serializer:sealed"`
	Size  int64  // of Value, in bytes
}

// fileLock is a name that somebody works under. Row.Revision counts the signs of
// life of its owner.
type fileLock struct {
	Row
	Owner string
}

// Files is the table of files, fileLocks that of locks.
var (
	Files     = newTable[File]("files")
	fileLocks = newTable[fileLock]("file_locks")
)

// FileStore keeps files and locks for all nodes in one database. Paths have their
// parts separated by "/"; a path below which there are files is a directory. A
// file or directory that is not there is [fs.ErrNotExist]. It is safe for
// concurrent use; it must not be copied.
type FileStore struct {
	// Enter enters the control plane, as [Pool.Enter] does; create says whether
	// it may be made. One that was never made is [ErrNotFound]. Required.
	Enter func(ctx context.Context, create bool) (inside context.Context, leave func(), err error)

	// Timing is that of locks; the zero value is right except in tests.
	Timing LockTiming

	held heldLocks
}

// read runs f inside; where there is no control plane yet there is nothing.
func (s *FileStore) read(ctx context.Context, f func(inside context.Context) error) error {
	inside, leave, err := s.Enter(ctx, false)
	if errors.Is(err, ErrNotFound) {
		return fs.ErrNotExist
	}
	if err != nil {
		return err
	}
	defer leave()
	if err = f(inside); errors.Is(err, ErrNotFound) {
		return fs.ErrNotExist
	}
	return err
}

// write runs f inside, making the control plane if it must.
func (s *FileStore) write(ctx context.Context, f func(inside context.Context) error) error {
	inside, leave, err := s.Enter(ctx, true)
	if err != nil {
		return err
	}
	defer leave()
	return f(inside)
}

// Store writes a file in place of what was there.
func (s *FileStore) Store(ctx context.Context, path string, value []byte) error {
	return s.write(ctx, func(inside context.Context) error {
		for {
			_, err := Files.Update(inside, path, func(f *File) error {
				f.Value, f.Size = value, int64(len(value))
				return nil
			})
			if errors.Is(err, ErrNotFound) {
				err = Files.Create(inside, &File{Row: Row{ID: path}, Value: value, Size: int64(len(value))})
			}
			// Whoever loses a race starts over: each time somebody won one.
			if !errors.Is(err, ErrConflict) || inside.Err() != nil {
				return err
			}
		}
	})
}

// Load returns what was stored last.
func (s *FileStore) Load(ctx context.Context, path string) (value []byte, err error) {
	err = s.read(ctx, func(inside context.Context) error {
		f, err := Files.Get(inside, path)
		if err == nil {
			value = f.Value
		}
		return err
	})
	return value, err
}

// below is the condition for files in a directory. Neither LIKE nor an order of
// texts means the same in all engines.
const below = "SUBSTR(id, 1, ?) = ?"

func belowArgs(path string) []any { return []any{utf8.RuneCountInString(path) + 1, path + "/"} }

// Delete removes a file, or a directory with all in it. What is not there is
// success.
func (s *FileStore) Delete(ctx context.Context, path string) error {
	err := s.read(ctx, func(inside context.Context) error {
		return Commit(inside, Files.RemoveWhere(inside, "id = ? OR "+below, append([]any{path}, belowArgs(path)...)...))
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// StoredInfo describes a file or directory.
type StoredInfo struct {
	Path     string
	Modified Time
	Size     int64
	IsFile   bool // false for a directory, whose other fields are zero
}

// Stat describes a file or directory.
func (s *FileStore) Stat(ctx context.Context, path string) (info StoredInfo, err error) {
	info.Path = path
	err = s.read(ctx, func(inside context.Context) error {
		err := QueryRow(inside, `SELECT updated_at, size FROM files WHERE tenant_id = @tenant AND id = ?`, []any{path}, &info.Modified, &info.Size)
		if !errors.Is(err, ErrNotFound) {
			info.IsFile = err == nil
			return err
		}
		return QueryRow(inside, `SELECT 1 FROM files WHERE tenant_id = @tenant AND `+below+` LIMIT 1`, belowArgs(path), new(int))
	})
	return info, err
}

// Exists reports whether there is such a file or directory; false also where that
// cannot be told.
func (s *FileStore) Exists(ctx context.Context, path string) bool {
	_, err := s.Stat(ctx, path)
	return err == nil
}

// List returns the paths in a directory, sorted: what is right in it, or with
// recursive also what is in the directories below. "" is the directory of all.
func (s *FileStore) List(ctx context.Context, path string, recursive bool) (list []string, err error) {
	path = strings.TrimSuffix(path, "/")
	where, args, start := below, belowArgs(path), len(path)+1
	if path == "" {
		where, args, start = "id <> ?", []any{""}, 0
	}
	err = s.read(ctx, func(inside context.Context) error {
		rows, err := Query(inside, `SELECT id FROM files WHERE tenant_id = @tenant AND `+where, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			list = appendSteps(list, id, start, recursive)
		}
		if len(list) == 0 && rows.Err() == nil && path != "" {
			return ErrNotFound
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// appendSteps appends the directories on the way to a file and the file itself,
// or the first of them.
func appendSteps(list []string, id string, start int, recursive bool) []string {
	for i := start; i < len(id); i++ {
		if id[i] == '/' {
			list = append(list, id[:i])
			if !recursive {
				return list
			}
		}
	}
	return append(list, id)
}
