// A DNS provider for the tests of certificates, which a gateway is built with by
//
//	xcaddy build --with github.com/gatehouse-id/gatehouse --with example.com/gatehouse-rfc2136
module example.com/gatehouse-rfc2136

go 1.26.0

require (
	github.com/caddyserver/caddy/v2 v2.11.9
	github.com/libdns/libdns v1.1.1
	github.com/miekg/dns v1.1.73
)
