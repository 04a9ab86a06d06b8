// Package migrations holds the schema of a tenant's database: one numbered SQL
// file per version, the same for every engine. A version may only add, so that
// the program of the version before still runs on it.
package migrations

import "embed"

// FS holds the files, in the form goose reads.
//
//go:embed *.sql
var FS embed.FS

// Version is the newest version in FS.
const Version = 1
