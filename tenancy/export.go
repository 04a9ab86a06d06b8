package tenancy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"filippo.io/age"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

const exportFormat = "gatehouse-export"

// ExportOptions say what an export holds.
type ExportOptions struct {
	// IncludeSecrets has password hashes, signing keys and secrets in it. They are
	// written for Recipient only, which is required then.
	IncludeSecrets bool

	// Recipient is who can read the export: an X25519 recipient of age, "age1...".
	// Empty for everybody.
	Recipient string

	Progress func(Progress) // may be nil
}

// Export writes a tenant as it is at one moment, while it serves, as JSON lines
// that any installation can import (contract C8.18). Sessions, refresh tokens and
// what else is under way stay where they are. Where it fails, what was written
// until then has no end and is refused by an import.
//
// Errors: [ErrNotFound], an [Error] 400 for a recipient that will not do, 403 for
// the control plane and 409 for a tenant that is not active or suspended.
func (l *Lifecycle) Export(ctx context.Context, id string, w io.Writer, o ExportOptions) (*FileInfo, error) {
	if o.IncludeSecrets && o.Recipient == "" {
		return nil, Errorf(http.StatusBadRequest, "invalid_body", "An export with secrets needs a recipient")
	}
	t, _, err := l.backupHead(ctx, id)
	if err != nil {
		return nil, err
	}
	v, err := l.Master.vault(id, t.DataKey)
	if err != nil {
		return nil, err
	}
	tables := exported(o.IncludeSecrets)
	head := &fileHead{
		Format: exportFormat, Version: 1, Schema: migrations.Version, Tenant: id, At: At(time.Now()), Tables: columnsOf(tables),
		Profile: &fileProfile{t.FriendlyName, t.Audience, t.Metadata, t.Inheritance, t.Sync}, Secrets: o.IncludeSecrets,
	}
	spool, err := os.CreateTemp("", ".export-*") // for this user only
	if err != nil {
		return nil, err
	}
	_ = os.Remove(spool.Name()) // a kill leaves nothing, where a file may be removed while it is open
	defer func() { _, _ = spool.Close(), os.Remove(spool.Name()) }()
	info := &FileInfo{Tenant: id, Taken: head.At.Time()}
	e := &export{head: head, vault: v, spool: spool, options: o, info: info}
	err = l.Pool.Do(ctx, t, func(inside context.Context) error {
		p := &picture{tables: tables, step: "export", progress: o.Progress, begin: e.begin, pulse: func() error { return l.stillThere(inside, t) }}
		return p.take(inside)
	})
	if err = errors.Join(err, e.close(err == nil)); err != nil {
		return nil, err
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	info.Bytes, err = io.Copy(w, spool)
	return info, err
}

// export writes one reading after the other into a spool, encrypted as the export
// itself: a reading may have to be repeated.
type export struct {
	head    *fileHead
	vault   *vault
	spool   *os.File
	options ExportOptions
	info    *FileInfo
	hidden  io.WriteCloser // encrypts into the spool; nil for none
	file    *fileWriter
}

func (e *export) begin() (func(*rawTable, rawRow) error, error) {
	if _, err := e.spool.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if err := e.spool.Truncate(0); err != nil {
		return nil, err
	}
	var to io.Writer = e.spool
	if e.options.Recipient != "" {
		recipient, err := age.ParseX25519Recipient(e.options.Recipient)
		if err != nil {
			return nil, &Error{
				Status: http.StatusBadRequest, Code: "invalid_body", Message: "The recipient is no X25519 recipient of age",
				Hint: "make a key with age-keygen, and give its public half, age1...", Cause: err,
			}
		}
		if e.hidden, err = age.Encrypt(e.spool, recipient); err != nil {
			return nil, err
		}
		to = e.hidden
	}
	var err error
	e.info.Rows = 0
	e.file, err = newFileWriter(to, e.head)
	return e.row, err
}

func (e *export) row(t *rawTable, r rawRow) error {
	e.info.Rows++
	bare, err := e.vault.bare(e.head.Tenant, t, r)
	if err != nil {
		return err
	}
	return e.file.row(t, bare)
}

func (e *export) close(whole bool) error {
	if !whole || e.file == nil {
		return nil
	}
	if err := e.file.close(); err != nil || e.hidden == nil {
		return err
	}
	return e.hidden.Close()
}
