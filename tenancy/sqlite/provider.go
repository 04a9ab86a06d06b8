// Package sqlite keeps each tenant in a SQLite file of its own, below one
// directory. It is pure Go and needs nothing installed.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"modernc.org/libc"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// Provider makes and opens SQLite files. Its zero value with Dir set is ready.
// Nothing is written before the first Create.
type Provider struct {
	// Dir is the directory of the files, one "<tenant>.db" each. It is made
	// when the first database is.
	Dir string

	// Readers is how many queries may run at a time in one tenant's database,
	// beside the one writer. Default 3.
	Readers int

	known migrations.List // nil means all there are
	own   template        // of known
	tidy  sync.Once
}

// processWide settings of the driver. OFD locks outlive a foreign close of the
// same file; strict pragmas refuse anything in a DSN but name and value.
var processWide = sync.OnceFunc(func() {
	_, _ = sqlite.OFDLocking(true) // Linux only; elsewhere POSIX locks serve
	sqlite.StrictPragmas(true)
	smallLookaside()
})

// smallLookaside gives each connection 16 KiB for the small things of statements
// instead of 48: most of an idle one's is never used. SQLite refuses it where
// another module of this process was faster, which does not matter.
func smallLookaside() {
	tls := libc.NewTLS()
	defer tls.Close()
	args := libc.NewVaList(int32(512), int32(32))
	defer libc.Xfree(tls, args)
	_ = sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_LOOKASIDE, args)
}

// Exclusive implements tenancy.Exclusive: SQLite lets one process at a time keep
// what it knows of a file in memory, and the data directory is locked for it.
func (p *Provider) Exclusive() bool { return true }

// path returns the file of a location. The name was made by us; it is checked
// again because it ends up in a path.
func (p *Provider) path(loc tenancy.Location) (string, error) {
	name := loc.Name
	if name == "" {
		name = loc.Tenant
	}
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return "", fmt.Errorf("%q cannot be a file name", name)
	}
	return filepath.Join(p.Dir, name+".db"), nil
}

// Create implements tenancy.Provider: the file appears under its name complete,
// by renaming a finished one, or not at all.
func (p *Provider) Create(ctx context.Context, loc tenancy.Location) error {
	processWide()
	path, err := p.path(loc)
	if err != nil {
		return err
	}
	switch _, err := os.Stat(path); {
	case err == nil:
		db, err := p.Open(ctx, loc) // the tenant's own from an earlier try, or an error
		if err != nil {
			return err
		}
		return db.Close()
	case !errors.Is(err, fs.ErrNotExist):
		return unavailable(path, err)
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return tenancy.Unavailable(err, "make the data directory writable for this process, or name another with \"data\"")
	}
	content, err := p.emptyDatabase(ctx, loc.Tenant)
	if err != nil {
		return err
	}
	return p.place(path, content)
}

// place writes content into a temporary file, makes it durable, and gives it its
// name unless another process was faster.
func (p *Provider) place(path string, content []byte) error {
	p.tidy.Do(func() { _ = tenancy.RemoveParts(p.Dir) }) // what is left is in nobody's way
	f, err := tenancy.CreatePart(p.Dir)
	if err != nil {
		return unavailable(path, err)
	}
	defer func() { _, _ = f.Close(), os.Remove(f.Name()) }()
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return unavailable(path, err)
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike rename, never replaces
		return unavailable(path, err)
	}
	return syncPath(p.Dir)
}

// Open implements tenancy.Provider.
func (p *Provider) Open(ctx context.Context, loc tenancy.Location) (tenancy.Database, error) {
	processWide()
	path, err := p.path(loc)
	if err != nil {
		return nil, err
	}
	db, err := openFile(path, p.readers()+1, "FULL")
	if err != nil {
		return nil, err
	}
	if err := p.check(ctx, db, path, loc.Tenant); err != nil {
		_ = db.Close()
		return nil, err
	}
	// The schema has been read: its pages, a fifth of what an open file takes, are
	// not needed any more.
	if _, err := db.ExecContext(ctx, `PRAGMA shrink_memory`); err != nil {
		_ = db.Close()
		return nil, unavailable(path, err)
	}
	return newDatabase(db, path), nil
}

// Drop implements tenancy.Provider. A kill while the file was made may have left its
// temporary name, too: that is a second name of the same data.
func (p *Provider) Drop(_ context.Context, loc tenancy.Location) error {
	path, err := p.path(loc)
	if err != nil {
		return err
	}
	if err := errors.Join(removeFiles(path), tenancy.RemoveParts(p.Dir)); err != nil {
		return unavailable(path, err)
	}
	if err := syncPath(p.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable(path, err)
	}
	return nil
}

func (p *Provider) readers() int {
	if p.Readers <= 0 {
		return 3
	}
	return p.Readers
}

// Files implements tenancy.Filed: the file, its log and their index, and two more
// for each connection beside the first.
func (p *Provider) Files() int { return 3 + 2*p.readers() }

// Rebind implements tenancy.Provider: SQLite's placeholders are "?".
func (p *Provider) Rebind(sql string) string { return sql }

// openFile opens an existing file; mode=rw never makes one. The files are in WAL
// mode from birth: setting it here would write into whatever is found.
func openFile(path string, connections int, synchronous string) (*sql.DB, error) {
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: strings.Join([]string{
		"mode=rw",
		"_pragma=busy_timeout(5000)",
		"_pragma=synchronous(" + synchronous + ")",
		"_pragma=foreign_keys(1)",
		"_pragma=secure_delete(1)", // what is deleted is overwritten, see Scrub
		"_txlock=immediate",
		"_time_format=sqlite",
		"_dqs=0",
	}, "&")}).String()
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, unavailable(path, err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(time.Minute)
	return db, nil
}

// removeFiles removes a database and what SQLite keeps beside it.
func removeFiles(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// syncPath makes a file's content, or a directory's names, durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Interface guards
var (
	_ tenancy.Provider  = (*Provider)(nil)
	_ tenancy.Filed     = (*Provider)(nil)
	_ tenancy.Exclusive = (*Provider)(nil)
)
