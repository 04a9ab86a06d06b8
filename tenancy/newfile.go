package tenancy

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// partPrefix is how the names of files begin that are not finished. Nobody else's
// do, and ours are locked for as long as somebody is at them: so one without a lock
// was left by a process that ended.
const partPrefix = ".gatehouse-part-"

// WriteNew writes a new file that only this user may read. It appears whole and
// durable or not at all, and never in place of another one. What processes left in
// its directory that ended while they wrote is removed before, see [RemoveParts].
//
// Errors: an [Error] 409 file_exists for a path that is taken, 400 for a directory
// that cannot be written, and those of fill, which may not close the file.
func WriteNew(path string, fill func(f *os.File) error) error {
	taken := &Error{
		Status: http.StatusConflict, Code: "file_exists", Message: "There is a file " + path + " already",
		Hint: "name another one; nothing is ever written over",
	}
	if _, err := os.Lstat(path); err == nil {
		return taken
	}
	dir := filepath.Dir(path)
	f, err := CreatePart(dir)
	if err != nil {
		return &Error{
			Status: http.StatusBadRequest, Code: "invalid_file", Message: "The directory cannot be written: " + err.Error(),
			Hint: "make " + dir + " for the user that the server runs as", Cause: err,
		}
	}
	_ = RemoveParts(dir) // somebody else's may be beyond reach, and are in nobody's way
	defer func() { _, _ = f.Close(), os.Remove(f.Name()) }()
	if err := fill(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	err = os.Link(f.Name(), path) // unlike rename, never replaces
	if errors.Is(err, fs.ErrExist) {
		return taken
	}
	return errors.Join(err, syncDirectory(dir))
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// CreatePart makes a file in the directory that [RemoveParts] removes once nobody
// has it open any more. The caller gives it another name, or removes it.
func CreatePart(dir string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(dir, partPrefix+"*") // for this user only
		if err != nil {
			return nil, err
		}
		busy := errors.Is(lockPart(f), errPartLocked)
		mine, err := f.Stat()
		if now, gone := os.Lstat(f.Name()); err == nil && gone == nil && !busy && os.SameFile(mine, now) {
			return f, nil
		}
		// Somebody took it for one that was left, in the moment before it was locked.
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		_ = os.Remove(f.Name())
	}
}

// errPartLocked is returned by lockPart for a file that somebody is at.
var errPartLocked = errors.New("somebody is at the file")

// RemoveParts removes those files of [CreatePart] from the directory, with what a
// database has beside them, that were left by processes which ended. It returns the
// errors of those that could not be removed, joined; a directory that is not there
// has none.
func RemoveParts(dir string) error {
	names, err := fs.Glob(os.DirFS(dir), partPrefix+"*") // each part before what is beside it
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		number, _, beside := strings.Cut(strings.TrimPrefix(name, partPrefix), "-")
		if number == "" || strings.Trim(number, "0123456789") != "" {
			continue // no name of ours
		}
		path := filepath.Join(dir, name)
		if beside {
			_, err = os.Lstat(filepath.Join(dir, partPrefix+number))
			if err == nil {
				continue // somebody is at it, or it could not be removed
			}
			err = os.Remove(path)
		} else {
			err = removeLeft(path)
		}
		if !errors.Is(err, fs.ErrNotExist) { // else somebody was faster
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeLeft removes a part unless somebody is at it, or it cannot be told.
func removeLeft(path string) error {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return err
	}
	if runtime.GOOS == "windows" { // where a file that is open cannot be removed
		_ = os.Remove(path)
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if lockPart(f) != nil {
		return nil
	}
	return os.Remove(path)
}
