// Command gatehouse-acme is the web of certificates on this machine alone: Pebble,
// which is Let's Encrypt's authority for tests and checks every challenge, and the
// name server it asks. It ends when its standard input does.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
)

// started is what the program says on its first line, in JSON.
type started struct {
	Directory string // of the authority
	Trust     string // PEM of who signed the authority's own web server
	Root      string // PEM of who signs what it issues
	DNS       string // address of the name server, over UDP and TCP
}

func main() {
	httpPort := flag.Int("http", 80, "where HTTP-01 is validated")
	tlsPort := flag.Int("tls", 443, "where TLS-ALPN-01 is validated")
	key := flag.String("key", "", "the TSIG key of dynamic updates, in base64; its name is \"test.\"")
	flag.Parse()

	names := newZone(*key)
	at, err := names.serve()
	check(err)
	check(os.Setenv("PEBBLE_VA_NOSLEEP", "1"))
	check(os.Setenv("PEBBLE_WFE_NONCEREJECT", "0"))
	check(os.Setenv("PEBBLE_AUTHZREUSE", "0"))
	logger := log.New(os.Stderr, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: 90 * 24 * 3600}})
	validator := va.New(logger, *httpPort, *tlsPort, true, at, store)
	front := wfe.New(logger, store, validator, authority, []string{"pebble.example"}, true, false, 1, 1)

	cert, trust, err := selfSigned()
	check(err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	check(err)
	go func() { check(http.Serve(l, front.Handler())) }()

	check(json.NewEncoder(os.Stdout).Encode(started{
		Directory: "https://" + l.Addr().String() + wfe.DirectoryPath, Trust: trust, Root: string(authority.GetRootCert(0).PEM()), DNS: at,
	}))
	check(names.obey(os.Stdin, os.Stdout))
}

// selfSigned is the certificate of the authority's web server.
func selfSigned() (cert tls.Certificate, trust string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, "", err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the authority"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return cert, "", err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

func check(err error) {
	if err != nil && err != io.EOF {
		log.Fatal(err)
	}
}
