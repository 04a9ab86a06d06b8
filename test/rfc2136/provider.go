// Package rfc2136 changes DNS records by signed dynamic updates (RFC 2136, RFC
// 8945), as most name servers of one's own take them:
//
//	tls {
//		dns rfc2136 <host:port> <name of the key> <key in base64>
//	}
//
// It is a DNS provider for Caddy as those at github.com/caddy-dns are, for the
// tests of wildcard certificates: it knows TXT records and HMAC-SHA256.
package rfc2136

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

func init() {
	caddy.RegisterModule(new(Provider))

	// What else the gateway looks up, proofs of domains above all, is asked of the
	// test's own name server as well.
	if at := os.Getenv("GATEHOUSE_TEST_DNS"); at != "" {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, at)
		}}
	}
}

// Provider is the module.
type Provider struct {
	Server  string `json:"server"`
	KeyName string `json:"key_name"`
	Key     string `json:"key"`
}

// CaddyModule implements [caddy.Module].
func (*Provider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.rfc2136", New: func() caddy.Module { return new(Provider) }}
}

// UnmarshalCaddyfile reads the line above.
func (p *Provider) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&p.Server, &p.KeyName, &p.Key) || d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// AppendRecords implements [libdns.RecordAppender].
func (p *Provider) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return records, p.update(ctx, zone, records, (*dns.Msg).Insert)
}

// DeleteRecords implements [libdns.RecordDeleter].
func (p *Provider) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return records, p.update(ctx, zone, records, (*dns.Msg).Remove)
}

func (p *Provider) update(ctx context.Context, zone string, records []libdns.Record, change func(*dns.Msg, []dns.RR)) error {
	m := new(dns.Msg).SetUpdate(dns.Fqdn(zone))
	for _, r := range records {
		rr := r.RR()
		if rr.Type != "TXT" {
			return fmt.Errorf("records of type %s are not known", rr.Type)
		}
		change(m, []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: libdns.AbsoluteName(rr.Name, dns.Fqdn(zone)), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(rr.TTL / time.Second)},
			Txt: []string{rr.Data},
		}})
	}
	name := dns.Fqdn(p.KeyName)
	m.SetTsig(name, dns.HmacSHA256, 300, time.Now().Unix())
	c := &dns.Client{Net: "tcp", TsigSecret: map[string]string{name: p.Key}}
	reply, _, err := c.ExchangeContext(ctx, m, p.Server)
	if err != nil {
		return err
	}
	if reply.Rcode != dns.RcodeSuccess {
		return fmt.Errorf("the name server refused the update: %s", dns.RcodeToString[reply.Rcode])
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module          = (*Provider)(nil)
	_ caddyfile.Unmarshaler = (*Provider)(nil)
	_ libdns.RecordAppender = (*Provider)(nil)
	_ libdns.RecordDeleter  = (*Provider)(nil)
)
