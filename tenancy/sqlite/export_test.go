package sqlite

import (
	"io/fs"

	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
)

// Know replaces the migrations the provider knows.
func (p *Provider) Know(from fs.FS) (err error) {
	p.known, err = migrations.Read(from)
	return err
}
