package caddymodule

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

func init() {
	caddy.RegisterModule(new(SQLite))
}

// SQLite keeps each tenant in a SQLite file of its own.
type SQLite struct {
	// The directory of the files. It is made when the first tenant is. A
	// relative path is relative to the directory the server was started in.
	// Placeholders are replaced. Required.
	Dir string `json:"dir"`
}

// CaddyModule implements [caddy.Module].
func (*SQLite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: databaseNamespace + ".sqlite", New: func() caddy.Module { return new(SQLite) }}
}

// Provision implements [caddy.Provisioner].
func (s *SQLite) Provision(caddy.Context) error {
	dir, err := caddy.NewReplacer().ReplaceOrErr(s.Dir, true, true)
	if err != nil {
		return fmt.Errorf("dir: %w", err)
	}
	if dir == "" {
		return fmt.Errorf("dir is missing: name the directory of the files")
	}
	s.Dir, err = filepath.Abs(dir)
	return err
}

// Provider implements [DatabaseModule].
func (s *SQLite) Provider() (tenancy.Provider, error) { return &sqlite.Provider{Dir: s.Dir}, nil }

// UnmarshalCaddyfile reads
//
//	sqlite <dir>
func (s *SQLite) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // sqlite
	if err := text(&s.Dir)(d); err != nil {
		return err
	}
	return noBlock(d)
}

// Interface guards
var (
	_ caddy.Module          = (*SQLite)(nil)
	_ caddy.Provisioner     = (*SQLite)(nil)
	_ caddyfile.Unmarshaler = (*SQLite)(nil)
	_ DatabaseModule        = (*SQLite)(nil)
)
