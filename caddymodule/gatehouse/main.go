// Command gatehouse is Caddy with Gatehouse in it. Its commands are Caddy's:
//
//	gatehouse run --config Caddyfile
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gatehouse-id/gatehouse"
)

func main() { caddycmd.Main() }
