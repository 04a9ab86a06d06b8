package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"

	gormsqlite "gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// dialector is GORM's SQLite dialect without its driver: it asks an empty
// database in memory for the version of SQLite, and translates the errors of
// the pure-Go driver, which GORM's own translation does not know.
type dialector struct{ gorm.Dialector }

// Dialector returns the dialect, for every provider whose databases speak it. It
// initializes without reaching any.
func Dialector() gorm.Dialector { return dialector{gormsqlite.New(gormsqlite.Config{})} }

// Dialector implements tenancy.Provider.
func (p *Provider) Dialector() gorm.Dialector { return Dialector() }

// Initialize implements gorm.Dialector.
func (d dialector) Initialize(db *gorm.DB) error {
	processWide() // before the first connection of all
	connector, err := sqlite.NewConnector("file::memory:")
	if err != nil {
		return err
	}
	memory := sql.OpenDB(connector)
	defer memory.Close()
	return gormsqlite.New(gormsqlite.Config{Conn: memory}).Initialize(db)
}

// Translate implements gorm.ErrorTranslator.
func (d dialector) Translate(err error) error { return translate("", err) }

// translate turns the driver's errors into those that cross the storage boundary.
func translate(path string, err error) error {
	var e *sqlite.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return fmt.Errorf("%w: %w", tenancy.ErrConflict, err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT,
		sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY:
		return unavailable(path, err)
	}
	return err
}

// unavailable says what is wrong with a file and what to do about it.
func unavailable(path string, err error) error {
	hint := "see the data directory"
	var e *sqlite.Error
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, os.ErrPermission):
		hint = "make the data directory readable and writable for this process"
	case errors.Is(err, fs.ErrNotExist):
		hint = "the file is missing: restore it from a backup; none is made in its place"
	case errors.As(err, &e):
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_CANTOPEN:
			hint = "the file is missing or cannot be read: restore it from a backup, or raise the limit of open files; none is made in its place"
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			hint = "the file is damaged: restore it from a backup; it was not changed"
		case sqlite3.SQLITE_FULL:
			hint = "the disk is full: free some space"
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			hint = "another process holds the file: end it"
		case sqlite3.SQLITE_READONLY:
			hint = "make the file and its directory writable for this process"
		}
	}
	if path != "" {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return tenancy.Unavailable(err, hint)
}

// Interface guards
var (
	_ gorm.Dialector       = dialector{}
	_ gorm.ErrorTranslator = dialector{}
)
