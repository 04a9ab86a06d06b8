package tenancy_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// TestWriteNew: a file appears whole or not at all, never in place of another one,
// and what ended processes left is removed: only that.
func TestWriteNew(t *testing.T) {
	dir := t.TempDir()
	under, err := tenancy.CreatePart(dir) // somebody is at it
	if err != nil {
		t.Fatal(err)
	}
	defer under.Close()
	left, err := tenancy.CreatePart(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := left.Close(); err != nil { // its process ended
		t.Fatal(err)
	}
	foreign := []string{".gatehouse-part-of-mine", ".gatehouse-part-", "gatehouse-part-1", ".gatehouse-part-7"}
	for _, name := range append([]string{filepath.Base(left.Name()) + "-wal", ".gatehouse-part-5-journal", filepath.Base(under.Name()) + "-wal"}, foreign[:3]...) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, foreign[0]), filepath.Join(dir, foreign[3])); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "new")
	broken := errors.New("broken")
	err = tenancy.WriteNew(path, func(f *os.File) error {
		if err := tenancy.RemoveParts(dir); err != nil {
			t.Error(err)
		}
		_, err := f.WriteString("half")
		return errors.Join(err, broken)
	})
	if _, there := os.Lstat(path); !errors.Is(err, broken) || !errors.Is(there, fs.ErrNotExist) {
		t.Errorf("a file that could not be written: %v, %v", err, there)
	}
	err = tenancy.WriteNew(path, func(f *os.File) error { _, err := f.WriteString("whole"); return err })
	if text, readErr := os.ReadFile(path); err != nil || string(text) != "whole" {
		t.Errorf("%q, %v, %v", text, err, readErr)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	err = tenancy.WriteNew(path, func(*os.File) error { t.Error("it was begun"); return nil })
	if status(err) != 409 {
		t.Errorf("over a file: %v", err)
	}
	want := append([]string{"new", filepath.Base(under.Name()), filepath.Base(under.Name()) + "-wal"}, foreign...)
	slices.Sort(want)
	if got := namesIn(t, dir); !slices.Equal(got, want) {
		t.Errorf("there are now %v, want %v", got, want)
	}
	err = tenancy.WriteNew(filepath.Join(dir, "none", "new"), func(*os.File) error { return nil })
	if status(err) != 400 || !strings.Contains(err.Error(), "make "+dir) {
		t.Errorf("in no directory: %v", err)
	}
	if err := tenancy.RemoveParts(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
}
