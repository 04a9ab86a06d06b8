package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// applicationID marks a file as a tenant's database: "Gate" in ASCII. A file
// that was cut to nothing opens as an empty database, but not with this.
const applicationID = 0x47617465

// template is an empty database with the current schema, made once a process.
var template struct {
	mu    sync.Mutex
	bytes []byte
}

// emptyDatabase returns the content of a new tenant's file. Copying it makes a
// tenant several times faster than running the migrations, and leaves the page
// size at 1 KiB, which makes an empty tenant a quarter of what it would be
// otherwise. A failure is not remembered: the disk may have room again.
func emptyDatabase(ctx context.Context) ([]byte, error) {
	template.mu.Lock()
	defer template.mu.Unlock()
	if template.bytes == nil {
		content, err := buildTemplate(context.WithoutCancel(ctx))
		if err != nil {
			return nil, err
		}
		template.bytes = content
	}
	return template.bytes, nil
}

func buildTemplate(ctx context.Context) (content []byte, err error) {
	dir, err := os.MkdirTemp("", "gatehouse-template-")
	if err != nil {
		return nil, tenancy.Unavailable(err, "make the directory for temporary files writable")
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "template.db")
	connector, err := sqlite.NewConnector("file:" + path)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	for _, statement := range []string{
		`PRAGMA page_size = 1024`, // only before the first table, and outside WAL
		fmt.Sprintf(`PRAGMA application_id = %d`, applicationID),
		`CREATE TABLE gatehouse (tenant TEXT NOT NULL PRIMARY KEY)`,
		`PRAGMA journal_mode = WAL`,
	} {
		if _, err = db.ExecContext(ctx, statement); err != nil {
			break
		}
	}
	if err == nil {
		err = migrate(ctx, db)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, fmt.Errorf("building the template database: %w", err)
	}
	return os.ReadFile(path)
}

// migrate brings the schema up to date. SQLite's user_version repeats what goose
// records, so that opening a database at the current version costs one read.
func migrate(ctx context.Context, db *sql.DB) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, db, migrations.FS)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, migrations.Version))
	return err
}

// check refuses a file that is not this tenant's whole database, and migrates
// one of an older version.
func check(ctx context.Context, db *sql.DB, path, tenant string) error {
	var id, version int64
	var owner string
	err := db.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version)`).Scan(&id, &version)
	if err != nil {
		return unavailable(path, err)
	}
	if id != applicationID {
		return tenancy.Unavailable(fmt.Errorf("%s is not a Gatehouse database (it may have been truncated)", path),
			"restore the file from a backup; it was not changed")
	}
	if err := db.QueryRowContext(ctx, `SELECT tenant FROM gatehouse`).Scan(&owner); err != nil {
		return unavailable(path, err)
	}
	if owner != tenant {
		return tenancy.Unavailable(fmt.Errorf("%s belongs to tenant %q, not %q", path, owner, tenant),
			"put each tenant's file back under its own name")
	}
	switch {
	case version > migrations.Version:
		return tenancy.Unavailable(fmt.Errorf("%s has schema version %d; this program knows %d", path, version, migrations.Version),
			"run the newer program that wrote it")
	case version < migrations.Version:
		if err := migrate(ctx, db); err != nil {
			return unavailable(path, fmt.Errorf("migrating: %w", err))
		}
	}
	return nil
}
