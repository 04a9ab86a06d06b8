package caddymodule

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// fileSecret returns the master secret from the file "secret" in the data
// directory. It makes one where there is neither a secret nor a database, and
// never replaces one.
func fileSecret(data string) ([]byte, error) {
	path := filepath.Join(data, "secret")
	secret, err := os.ReadFile(path)
	switch {
	case err == nil:
		secret = bytes.TrimSpace(secret)
		if len(secret) < 16 {
			return nil, fmt.Errorf("%s holds %d bytes, which is no master secret: restore the file from a backup, or set the secret: gatehouse { secret <secret> }", path, len(secret))
		}
		return secret, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, dataError(err)
	}
	// Databases without their secret are a loss that a new one would hide.
	databases, err := filepath.Glob(filepath.Join(data, "tenants", "*.db"))
	if err != nil {
		return nil, err
	}
	if len(databases) > 0 {
		return nil, fmt.Errorf("%s is missing, and without it the databases in %s cannot be read: restore the file from a backup, or set the secret they were made with: gatehouse { secret <secret> }",
			path, filepath.Dir(databases[0]))
	}
	if err := makeSecret(path); err != nil {
		return nil, err
	}
	return fileSecret(data)
}

// makeSecret writes a new secret that only this user can read. The file appears
// whole or not at all, and one that is already there stays.
func makeSecret(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".secret-*") // mode 0600
	if err != nil {
		return dataError(err)
	}
	defer os.Remove(f.Name())
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	_, err = f.WriteString(hex.EncodeToString(random[:]) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return dataError(err)
	}
	err = os.Link(f.Name(), path) // unlike rename, never replaces
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return dataError(err)
	}
	return nil
}
