package caddymodule

import (
	"encoding/json"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// databaseNamespace holds the guest modules that are kinds of databases.
const databaseNamespace = "gatehouse.databases"

// DatabaseModule is a guest module in the namespace gatehouse.databases: the
// configuration of one kind of database. A kind of a third party is one such
// module in its own repository.
type DatabaseModule interface {
	// Provider returns the provider this configuration describes, without
	// reaching any database. It is called once, after the module was
	// provisioned.
	//
	// The provider outlives the module: configurations that describe the same
	// databases hand it on to each other. So it must not use the module's
	// [caddy.Context], nor be closed by the module's Cleanup; a provider that
	// is an [io.Closer] is closed after the last of its databases.
	Provider() (tenancy.Provider, error)
}

// Database is a named place for tenants' databases.
type Database struct {
	// What tenants' registry rows call it. Renaming it loses the tenants in it
	// until the old name is back. Required; "sqlite" is the data directory's.
	Name string `json:"name"`

	// The kind of database and its own options.
	Raw json.RawMessage `json:"provider" caddy:"namespace=gatehouse.databases inline_key=kind"`

	module DatabaseModule
}
