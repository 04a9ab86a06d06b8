// An example of a database of a third party: a Go module of its own, which a
// gateway is built with by
//
//	xcaddy build --with github.com/gatehouse-id/gatehouse --with example.com/gatehouse-memory
module example.com/gatehouse-memory

go 1.26.0

require (
	github.com/caddyserver/caddy/v2 v2.11.9
	github.com/gatehouse-id/gatehouse v0.0.0
	gorm.io/gorm v1.31.2
	modernc.org/sqlite v1.61.1
)
