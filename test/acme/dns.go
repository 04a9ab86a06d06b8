package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// zones are what the name server is responsible for.
var zones = []string{"example.com.", "example.net."}

// zone answers for zones: every name in them leads to this machine, and has the
// TXT records that somebody added, by a signed update (RFC 2136) or in a line on
// standard input.
type zone struct {
	key string

	mu  sync.Mutex
	txt map[string][]string // by name
}

func newZone(key string) *zone { return &zone{key: key, txt: map[string][]string{}} }

// serve answers on one port over UDP and TCP.
func (z *zone) serve() (address string, err error) {
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	address = packets.LocalAddr().String()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	secret := map[string]string{"test.": z.key}
	for _, s := range []*dns.Server{{PacketConn: packets}, {Listener: l}} {
		s.Handler, s.TsigSecret = z, secret
		// The default refuses updates.
		s.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }
		go func() { check(s.ActivateAndServe()) }()
	}
	return address, nil
}

// ServeDNS implements [dns.Handler].
func (z *zone) ServeDNS(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg).SetReply(r)
	m.Authoritative = true
	if len(r.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
	} else if r.Opcode == dns.OpcodeUpdate {
		m.Rcode = z.update(w, r)
		if t := r.IsTsig(); t != nil && w.TsigStatus() == nil {
			m.SetTsig(t.Hdr.Name, t.Algorithm, 300, int64(t.TimeSigned))
		}
	} else {
		z.answer(m, r.Question[0])
	}
	_ = w.WriteMsg(m) // the asker may be gone
}

func (z *zone) answer(m *dns.Msg, q dns.Question) {
	name := strings.ToLower(q.Name)
	apex, ok := zoneOf(name)
	if !ok {
		m.Rcode = dns.RcodeRefused
		return
	}
	hdr := func(name string, kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 1}
	}
	soa := &dns.SOA{Hdr: hdr(apex, dns.TypeSOA), Ns: "ns." + apex, Mbox: "root." + apex, Serial: 1, Refresh: 1, Retry: 1, Expire: 1, Minttl: 1}
	switch q.Qtype {
	case dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: hdr(q.Name, dns.TypeA), A: net.IPv4(127, 0, 0, 1)})
	case dns.TypeNS:
		m.Answer = append(m.Answer, &dns.NS{Hdr: hdr(apex, dns.TypeNS), Ns: "ns." + apex})
	case dns.TypeSOA:
		if name == apex {
			m.Answer = append(m.Answer, soa)
		}
	case dns.TypeTXT:
		z.mu.Lock()
		for _, value := range z.txt[name] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: hdr(q.Name, dns.TypeTXT), Txt: []string{value}})
		}
		z.mu.Unlock()
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, soa)
	}
}

func zoneOf(name string) (apex string, ok bool) {
	i := slices.IndexFunc(zones, func(z string) bool { return dns.IsSubDomain(z, name) })
	if i < 0 {
		return "", false
	}
	return zones[i], true
}

// update changes records for who has the key.
func (z *zone) update(w dns.ResponseWriter, r *dns.Msg) int {
	if z.key == "" || r.IsTsig() == nil || w.TsigStatus() != nil {
		return dns.RcodeRefused
	}
	if apex, ok := zoneOf(strings.ToLower(r.Question[0].Name)); !ok || apex != strings.ToLower(r.Question[0].Name) {
		return dns.RcodeNotAuth
	}
	for _, rr := range r.Ns {
		t, ok := rr.(*dns.TXT)
		if !ok || !dns.IsSubDomain(r.Question[0].Name, t.Hdr.Name) {
			return dns.RcodeRefused
		}
		z.set(t.Hdr.Name, strings.Join(t.Txt, ""), t.Hdr.Class == dns.ClassINET)
	}
	return dns.RcodeSuccess
}

func (z *zone) set(name, value string, there bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	name = strings.ToLower(dns.Fqdn(name))
	z.txt[name] = slices.DeleteFunc(z.txt[name], func(v string) bool { return v == value })
	if there {
		z.txt[name] = append(z.txt[name], value)
	}
}

// obey adds a TXT record for each line of a name and a value, and says so.
func (z *zone) obey(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			return fmt.Errorf("%q is no name and value", lines.Text())
		}
		z.set(name, value, true)
		if _, err := fmt.Fprintln(out, "ok"); err != nil {
			return err
		}
	}
	return lines.Err()
}
