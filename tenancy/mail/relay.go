package mail

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Relays are the names of the e-mail providers that mail can be sent through. All
// but Mailgun speak SMTP.
var Relays = []string{"smtp", "sendgrid", "mailgun", "ses", "postmark"}

// Relay makes the way to an e-mail provider from what the management API is given
// (contract C5.94). Errors are for whoever gave it and name the member to mend;
// they hold no value. It is an [SMTP] or a [Mailgun].
func Relay(name string, credentials, settings map[string]any) (Transport, error) {
	if name != "mailgun" {
		return smtpWay(name, credentials, settings)
	}
	g, err := mailgunRelay(credentials)
	if err != nil {
		return nil, fmt.Errorf("credentials.%w", err)
	}
	return g, nil
}

func smtpWay(name string, credentials, settings map[string]any) (Transport, error) {
	security, err := word(settings, "security")
	if err != nil {
		return nil, fmt.Errorf("settings.%w", err)
	}
	if !slices.Contains([]Security{"", StartTLS, ImplicitTLS, NoTLS}, Security(security)) {
		return nil, fmt.Errorf("settings.security: No enum match for: %s", security)
	}
	relay := map[string]func(map[string]any) (*SMTP, error){"smtp": smtpRelay, "sendgrid": sendgridRelay, "ses": sesRelay, "postmark": postmarkRelay}[name]
	if relay == nil {
		return nil, fmt.Errorf("name: Mail cannot be sent through '%s'; there are %s", name, strings.Join(Relays, ", "))
	}
	s, err := relay(credentials)
	if err != nil {
		return nil, fmt.Errorf("credentials.%w", err)
	}
	s.Security = Security(security)
	if s.Security == NoTLS && s.Username != "" {
		return nil, fmt.Errorf("settings.security: A password is sent over TLS only")
	}
	return s, nil
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

func smtpRelay(c map[string]any) (*SMTP, error) {
	host, err := required(c, "smtp_host")
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err != nil && !hostForm.MatchString(host) {
		return nil, fmt.Errorf("smtp_host: Not a host name")
	}
	port, numeric := c["smtp_port"].(float64)
	if c["smtp_port"] == nil {
		port, numeric = 587, true
	}
	if !numeric || port < 1 || port > 65535 || port != math.Trunc(port) {
		return nil, fmt.Errorf("smtp_port: Expected an integer from 1 to 65535")
	}
	s := &SMTP{Host: host, Port: int(port)}
	if s.Username, err = word(c, "smtp_user"); err != nil {
		return nil, err
	}
	s.Password, err = word(c, "smtp_pass")
	return s, err
}

func sendgridRelay(c map[string]any) (*SMTP, error) {
	key, err := required(c, "api_key")
	return &SMTP{Host: "smtp.sendgrid.net", Port: 587, Username: "apikey", Password: key}, err
}

func postmarkRelay(c map[string]any) (*SMTP, error) {
	key, err := required(c, "api_key")
	return &SMTP{Host: "smtp.postmarkapp.com", Port: 587, Username: key, Password: key}, err
}

var regionForm = regexp.MustCompile(`^[a-z]{2}(?:-[a-z]+)+-[0-9]+$`)

func sesRelay(c map[string]any) (*SMTP, error) {
	id, err := required(c, "accessKeyId")
	if err != nil {
		return nil, err
	}
	secret, err := required(c, "secretAccessKey")
	if err != nil {
		return nil, err
	}
	region, err := required(c, "region")
	if err != nil {
		return nil, err
	}
	if !regionForm.MatchString(region) {
		return nil, fmt.Errorf("region: Not a region such as eu-central-1")
	}
	return &SMTP{Host: "email-smtp." + region + ".amazonaws.com", Port: 587, Username: id, Password: sesPassword(secret, region)}, nil
}

// sesPassword is the password of SES's SMTP endpoint for a secret access key
// (Amazon SES developer guide, "Obtaining Amazon SES SMTP credentials").
func sesPassword(secret, region string) string {
	key := []byte("AWS4" + secret)
	for _, text := range []string{"11111111", region, "ses", "aws4_request", "SendRawEmail"} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		key = mac.Sum(nil)
	}
	return base64.StdEncoding.EncodeToString(append([]byte{4}, key...))
}

// word returns a member that is one line of text, or "" where it is absent.
func word(of map[string]any, name string) (string, error) {
	text, ok := of[name].(string)
	switch {
	case of[name] == nil:
		return "", nil
	case !ok:
		return "", fmt.Errorf("%s: Expected type string", name)
	case len(text) > 4096 || strings.ContainsAny(text, "\r\n\x00"):
		return "", fmt.Errorf("%s: Expected one line of text", name)
	}
	return text, nil
}

func required(of map[string]any, name string) (string, error) {
	text, err := word(of, name)
	if err == nil && text == "" {
		err = fmt.Errorf("%s: Missing required property", name)
	}
	return text, err
}
