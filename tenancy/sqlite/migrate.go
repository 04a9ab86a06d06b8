package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// migrationTime is how long a file may take to be brought up to date. Its
// tenant's visitors do not wait that long, see [tenancy.Pool].
const migrationTime = 15 * time.Minute

// files are the migrations this provider knows; tests have other ones.
func (p *Provider) files() migrations.List {
	if p.known != nil {
		return p.known
	}
	return migrations.All()
}

// SchemaVersion implements tenancy.Versioned.
func (p *Provider) SchemaVersion() int64 { return p.files().Version() }

// check refuses a file that is not this tenant's whole database, and migrates
// one of an older version.
func (p *Provider) check(ctx context.Context, db *sql.DB, path, tenant string) error {
	var id, version int64
	var owner string
	// As functions in one statement each of the two would take memory for a table.
	err := db.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&id)
	if err == nil {
		err = db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version)
	}
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
	files := p.files()
	if version < files.Version() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrationTime)
		defer cancel()
		err = upgrade(ctx, db, files)
	} else {
		err = known(version, files)
	}
	var tooNew newer
	switch err = translate(path, err); {
	case err == nil, errors.Is(err, tenancy.ErrUnavailable):
		return err
	case errors.As(err, &tooNew):
		return tenancy.Unavailable(fmt.Errorf("%s %w", path, err), "run the newer program that wrote it")
	}
	return tenancy.Unavailable(fmt.Errorf("%s: %w", path, err), "nothing of that version was applied; it is tried again when the tenant is visited")
}

// newer is the refusal of a schema that only a later program knows.
type newer struct{ version, known int64 }

func (e newer) Error() string {
	return fmt.Sprintf("has schema version %d; this program knows %d", e.version, e.known)
}

func known(version int64, files migrations.List) error {
	if version > files.Version() {
		return newer{version, files.Version()}
	}
	return nil
}

// upgrade runs the migrations that are missing, each in a transaction of its own.
func upgrade(ctx context.Context, db *sql.DB, files migrations.List) error {
	for {
		version, err := step(ctx, db, files)
		if err != nil || version >= files.Version() {
			return err
		}
	}
}

// step runs the migration that is next, if there is one, and returns the version
// after it. Columns of the first version have no default values here: each open
// connection keeps them in a form that takes a third of its memory, and of the time
// to open it; every statement of ours names all columns. SQLite's own lock on the file is the lease: the version is read under
// it, so that of several processes one migrates and the others find it done.
func step(ctx context.Context, db *sql.DB, files migrations.List) (version int64, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := lock(ctx, conn); err != nil {
		return 0, err
	}
	defer func() {
		end := `COMMIT`
		if err != nil {
			end = `ROLLBACK`
		}
		if _, ending := conn.ExecContext(context.WithoutCancel(ctx), end); err == nil && ending != nil {
			err = ending
		}
	}()
	if err := conn.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return 0, err
	}
	if version >= files.Version() {
		return version, known(version, files)
	}
	next := files[version]
	script := next.Script
	if version == 0 {
		script = migrations.Lean(script)
	}
	if _, err := conn.ExecContext(ctx, script); err != nil {
		return version, fmt.Errorf("migrating to version %d: %w", next.Version, err)
	}
	_, err = conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, next.Version))
	return next.Version, err
}

// lock begins a transaction that keeps all other writers out, as soon as they let
// it: they may be in the middle of the same.
func lock(ctx context.Context, conn *sql.Conn) error {
	for {
		_, err := conn.ExecContext(ctx, `BEGIN IMMEDIATE`)
		var e *sqlite.Error
		if err == nil || !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_BUSY || ctx.Err() != nil {
			return err
		}
	}
}

// Interface guards
var _ tenancy.Versioned = (*Provider)(nil)
