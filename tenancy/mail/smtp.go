package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Security is how a connection to a mail server is kept from being read.
type Security string

// The ways. Whichever it is, a certificate that is not the server's ends the
// delivery.
const (
	StartTLS    Security = "starttls" // the server must offer it (RFC 3207); the default
	ImplicitTLS Security = "tls"      // from the first byte (RFC 8314); the default on port 465
	NoTLS       Security = "none"     // for a server on the same machine; no password is sent then
)

// Patience is how long a delivery may take, whatever the server does.
const Patience = 30 * time.Second

// SMTP is a [Transport] to a mail server. Printed it is the server's address.
type SMTP struct {
	Host     string
	Port     int // 0 means 587
	Username string
	Password string
	Security Security // empty means [ImplicitTLS] on port 465, [StartTLS] on any other

	// Dial connects; nil is a net.Dialer. It decides which addresses may be
	// connected to.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Roots are who may sign the server's certificate; nil is the system's.
	Roots *x509.CertPool

	// Patience bounds a delivery; 0 means [Patience].
	Patience time.Duration
}

// address is host and port.
func (s *SMTP) address() string { return net.JoinHostPort(s.Host, fmt.Sprint(s.port())) }

func (s *SMTP) port() int {
	if s.Port == 0 {
		return 587
	}
	return s.Port
}

func (s *SMTP) security() Security {
	switch {
	case s.Security != "":
		return s.Security
	case s.port() == 465:
		return ImplicitTLS
	}
	return StartTLS
}

// String implements fmt.Stringer.
func (s *SMTP) String() string { return "smtp " + s.address() }

// GoString implements fmt.GoStringer.
func (s *SMTP) GoString() string { return s.String() }

// Deliver implements [Transport].
func (s *SMTP) Deliver(ctx context.Context, m *Message) error {
	msg, err := m.mime()
	if err != nil {
		return err
	}
	patience := s.Patience
	if patience == 0 {
		patience = Patience
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	line := &line{smtp: s}
	defer line.close()
	// Whatever hangs ends with the connection.
	defer context.AfterFunc(ctx, line.close)()
	client, err := s.client(line, patience)
	if err != nil {
		return fmt.Errorf("%s: %w", s, err)
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		return s.explain(ctx, line, err)
	}
	return nil
}

func (s *SMTP) client(l *line, patience time.Duration) (*gomail.Client, error) {
	options := []gomail.Option{
		gomail.WithPort(s.port()), gomail.WithTimeout(patience), gomail.WithTLSConfig(s.tls()), gomail.WithDialContextFunc(l.dial),
	}
	switch s.security() {
	case StartTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case ImplicitTLS:
		options = append(options, gomail.WithSSL())
	case NoTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		return nil, &Rejection{fmt.Sprintf("there is no security %q", s.Security)}
	}
	if s.Username != "" {
		options = append(options, gomail.WithUsername(s.Username), gomail.WithPassword(s.Password), gomail.WithOpportunisticSMTPAuth(
			gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin))
	}
	return gomail.NewClient(s.Host, options...)
}

func (s *SMTP) tls() *tls.Config {
	return &tls.Config{ServerName: s.Host, RootCAs: s.Roots, MinVersion: tls.VersionTLS12}
}

// explain says what went wrong without what the server said: that may repeat an
// address, or a password.
func (s *SMTP) explain(ctx context.Context, l *line, err error) error {
	var refusal *gomail.SendError
	var network net.Error
	switch {
	case l.failure != nil:
		return fmt.Errorf("%s: %w", s, l.failure)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", s, ctx.Err())
	case errors.As(err, &refusal) && refusal.ErrorCode()/100 == 5:
		return &Rejection{fmt.Sprintf("%s: %s: refused with %d", s, refusal.Reason, refusal.ErrorCode())}
	case errors.As(err, &refusal):
		return fmt.Errorf("%s: %s: failed with %d", s, refusal.Reason, refusal.ErrorCode())
	case errors.As(err, &network):
		return fmt.Errorf("%s: connection: %w", s, network)
	case !l.offered && s.security() == StartTLS:
		return fmt.Errorf("%s: no TLS; the server has to offer STARTTLS, or be asked for security %s or %s", s, ImplicitTLS, NoTLS)
	}
	return fmt.Errorf("%s: TLS or login failed; compare host, port, security, user name and password", s)
}

// line is the connection of one delivery, which is closed however that ends.
type line struct {
	smtp    *SMTP
	mu      sync.Mutex
	conn    net.Conn
	closed  bool
	offered bool  // whether the server took a STARTTLS
	failure error // why there is no connection
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	connect := l.smtp.Dial
	if connect == nil {
		connect = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	conn, err := connect(ctx, network, address)
	if err == nil && !l.keep(conn) {
		err = context.Cause(ctx)
	}
	if err == nil && l.smtp.security() == ImplicitTLS {
		secure := tls.Client(conn, l.smtp.tls())
		if err = secure.HandshakeContext(ctx); err == nil {
			return secure, nil
		}
	}
	if err != nil {
		l.failure = fmt.Errorf("connecting: %w", err)
		return nil, l.failure
	}
	return &spy{Conn: conn, line: l}, nil
}

// keep has the connection closed with the line; false where that is closed.
func (l *line) keep(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close()
		return false
	}
	l.conn = conn
	return true
}

func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

// spy notes whether TLS was begun, by the first byte of its record.
type spy struct {
	net.Conn
	line *line
}

const tlsHandshake = 22 // RFC 8446 section 5.1

// Write implements net.Conn.
func (s *spy) Write(b []byte) (int, error) {
	if len(b) > 0 && b[0] == tlsHandshake {
		s.line.offered = true
	}
	return s.Conn.Write(b)
}

// mime makes the message as it travels: text, and the same in HTML.
func (m *Message) mime() (*gomail.Msg, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.FromFormat(m.FromName, m.From); err != nil {
		return nil, &Rejection{"the message's sender is no address"}
	}
	if err := msg.To(m.To); err != nil {
		return nil, &Rejection{"the message's recipient is no address"}
	}
	msg.Subject(m.Subject)
	msg.SetDate()
	if m.ID != "" {
		msg.SetMessageIDWithValue(m.ID)
	} else {
		msg.SetMessageID()
	}
	// RFC 3834 section 5: nobody is to answer by machine.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	if m.Language != "" {
		msg.SetGenHeader(gomail.HeaderContentLang, m.Language)
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

// Interface guard
var _ Transport = (*SMTP)(nil)
