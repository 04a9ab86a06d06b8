// Command gatehouse is Caddy with Gatehouse in it. Its commands are Caddy's, and
// those that work on the tenants of a running server:
//
//	gatehouse run --config Caddyfile
//	gatehouse tenants list
package main

import (
	"os"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatehouse-id/gatehouse"
	"github.com/gatehouse-id/gatehouse/caddymodule"
)

func main() {
	caddy.CustomBinaryName = "gatehouse"
	os.Args = caddymodule.CommandLine(os.Args)
	caddycmd.Main()
}
