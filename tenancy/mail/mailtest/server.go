// Package mailtest is a mail server for tests: it speaks as much SMTP (RFC 5321,
// RFC 3207, RFC 4954) as is needed to take messages on loopback, and can be told to
// misbehave.
package mailtest

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is a mail server. Its options are set before [Server.Start].
type Server struct {
	Implicit bool // TLS from the first byte
	Plain    bool // no TLS is offered
	Username string
	Password string // required of whoever sends, where there is a username

	mu       sync.Mutex
	answer   func(command string) string // in place of the usual answer, where it is not ""
	hang     bool                        // nothing is answered any more
	received []*Mail
	secrets  []string // what was sent before TLS
	arrived  chan struct{}

	listener net.Listener
	config   *tls.Config
	roots    *x509.CertPool
}

// Mail is a message that was taken.
type Mail struct {
	From, To string // of the envelope
	Header   mail.Header
	Text     string
	HTML     string
	Raw      string
	TLS      bool
	User     string // who logged in; "" for nobody
}

// Subject is the decoded subject.
func (m *Mail) Subject() string {
	s, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil {
		return "undecodable: " + m.Header.Get("Subject")
	}
	return s
}

// Start has the server listen on loopback until the test ends.
func (s *Server) Start(t testing.TB) *Server {
	t.Helper()
	s.arrived = make(chan struct{}, 1024)
	s.config, s.roots = certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.listener = l
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				stop := make(chan struct{})
				defer close(stop)
				go func() { // a session ends with the test
					select {
					case <-t.Context().Done():
					case <-stop:
					}
					_ = conn.Close()
				}()
				s.serve(conn)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return s
}

// Port is the port it listens on.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Host is the name that its certificate is for. It is loopback's address.
func (s *Server) Host() string { return "127.0.0.1" }

// Roots signed its certificate.
func (s *Server) Roots() *x509.CertPool { return s.roots }

// PEM is its certificate.
func (s *Server) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.config.Certificates[0].Certificate[0]})
}

// Answer has the server give other answers; f returns "" for the usual one. nil
// has it behave again.
func (s *Server) Answer(f func(command string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// Hang has the server answer nothing any more.
func (s *Server) Hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hang = true
}

// Mails are the messages taken until now.
func (s *Server) Mails() []*Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Mail(nil), s.received...)
}

// Next waits for a message.
func (s *Server) Next(t testing.TB) *Mail {
	t.Helper()
	select {
	case <-s.arrived:
		list := s.Mails()
		return list[len(list)-1]
	case <-time.After(20 * time.Second):
		t.Fatal("no mail arrived")
		return nil
	}
}

// Unprotected is what was sent before there was TLS.
func (s *Server) Unprotected() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.secrets...)
}

// session is a connection.
type session struct {
	*Server
	conn net.Conn
	in   *bufio.Reader
	tls  bool
	mail Mail
}

func (s *Server) serve(conn net.Conn) {
	c := &session{Server: s, conn: conn, in: bufio.NewReader(conn)}
	if s.Implicit {
		c.secure()
	}
	c.say("220 mail.test ESMTP")
	for {
		text, err := c.in.ReadString('\n')
		if err != nil {
			return
		}
		if !c.command(strings.TrimRight(text, "\r\n")) {
			return
		}
	}
}

func (c *session) secure() {
	secure := tls.Server(c.conn, c.config)
	c.conn, c.in, c.tls = secure, bufio.NewReader(secure), true
}

func (c *session) say(text string) {
	c.mu.Lock()
	hang := c.hang
	c.mu.Unlock()
	if hang {
		return
	}
	_, _ = io.WriteString(c.conn, strings.ReplaceAll(text, "\n", "\r\n")+"\r\n")
}

// command answers a line and reports whether the session goes on.
func (c *session) command(text string) bool {
	c.mu.Lock()
	if !c.tls {
		c.secrets = append(c.secrets, text)
	}
	answer := c.answer
	c.mu.Unlock()
	verb, _, _ := strings.Cut(strings.ToUpper(text), " ")
	if answer != nil {
		if other := answer(text); other != "" {
			c.say(other)
			return true
		}
	}
	switch verb {
	case "EHLO":
		c.say(c.greeting())
	case "STARTTLS":
		c.say("220 go on")
		c.secure()
		c.mail = Mail{}
	case "AUTH":
		c.login(text)
	case "MAIL":
		if c.Username != "" && c.mail.User == "" {
			c.say("530 5.7.0 log in first")
			break
		}
		c.mail.From = address(text)
		c.say("250 ok")
	case "RCPT":
		c.mail.To = address(text)
		c.say("250 ok")
	case "DATA":
		c.say("354 go on")
		return c.take()
	case "QUIT":
		c.say("221 bye")
		return false
	default:
		c.say("250 ok")
	}
	return true
}

func (c *session) greeting() string {
	lines := []string{"mail.test", "8BITMIME"}
	if !c.tls && !c.Plain {
		lines = append(lines, "STARTTLS")
	}
	if c.Username != "" && (c.tls || c.Plain) {
		lines = append(lines, "AUTH PLAIN LOGIN")
	}
	for i := range lines {
		lines[i] = "250-" + lines[i]
	}
	last := len(lines) - 1
	lines[last] = "250 " + lines[last][4:]
	return strings.Join(lines, "\n")
}

// login takes AUTH PLAIN (RFC 4616).
func (c *session) login(text string) {
	_, given, _ := strings.Cut(text[len("AUTH "):], " ")
	b, err := base64.StdEncoding.DecodeString(given)
	parts := strings.Split(string(b), "\x00")
	if err != nil || len(parts) != 3 || parts[1] != c.Username || parts[2] != c.Password {
		c.say("535 5.7.8 wrong, you said " + given)
		return
	}
	c.mail.User = parts[1]
	c.say("235 2.7.0 welcome")
}

// take reads a message to its end.
func (c *session) take() bool {
	var raw bytes.Buffer
	for {
		text, err := c.in.ReadString('\n')
		if err != nil {
			return false
		}
		if strings.TrimRight(text, "\r\n") == "." {
			break
		}
		raw.WriteString(strings.TrimPrefix(text, "."))
	}
	m := c.mail
	m.Raw, m.TLS = raw.String(), c.tls
	if err := m.parse(); err != nil {
		c.say("554 5.6.0 " + err.Error())
		return true
	}
	c.mu.Lock()
	answer := c.answer
	c.mu.Unlock()
	if answer != nil {
		if other := answer("."); other != "" {
			c.say(other)
			return true
		}
	}
	c.mu.Lock()
	c.received = append(c.received, &m)
	c.mu.Unlock()
	c.arrived <- struct{}{}
	c.say("250 2.0.0 taken")
	return true
}

// address is what stands between angle brackets.
func address(text string) string {
	_, text, _ = strings.Cut(text, "<")
	text, _, _ = strings.Cut(text, ">")
	return text
}

// parse takes a message apart.
func (m *Mail) parse() error {
	message, err := mail.ReadMessage(strings.NewReader(m.Raw))
	if err != nil {
		return err
	}
	m.Header = message.Header
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(kind, "multipart/") {
		m.Text, err = body(message.Body, m.Header.Get("Content-Transfer-Encoding"))
		return err
	}
	parts := multipart.NewReader(message.Body, params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		text, err := body(part, part.Header.Get("Content-Transfer-Encoding"))
		if err != nil {
			return err
		}
		if kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")); kind == "text/html" {
			m.HTML = text
		} else {
			m.Text = text
		}
	}
}

func body(r io.Reader, encoding string) (string, error) {
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	b, err := io.ReadAll(r)
	return strings.ReplaceAll(string(b), "\r\n", "\n"), err
}

// certificate makes one for loopback, which is its own authority.
func certificate(t testing.TB) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(fmt.Errorf("the certificate just made: %w", err))
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, pool
}
