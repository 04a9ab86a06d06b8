package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader is the header that signs a body: "t=<unix>,v1=<hmac-sha256>".
// The signature is in hexadecimal, over the time, a dot and the body.
const SignatureHeader = "Gatehouse-Signature"

// Sign returns the header's value.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac(secret, t, body))
}

func mac(secret, t string, body []byte) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(t + "."))
	m.Write(body)
	return m.Sum(nil)
}

// ErrSignature is the error of a body that was not signed with the secret, or not
// lately.
var ErrSignature = errors.New("webhook: the signature does not fit")

// Verify is for receivers: it returns nil for a body that was signed with the
// secret at most age ago, seen from now.
func Verify(secret, header string, body []byte, now time.Time, age time.Duration) error {
	var t, v1 string
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "t":
			t = value
		case "v1":
			v1 = value
		}
	}
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return ErrSignature
	}
	sent, err := hex.DecodeString(v1)
	if err != nil || !hmac.Equal(sent, mac(secret, t, body)) || now.Sub(time.Unix(seconds, 0)).Abs() > age {
		return ErrSignature
	}
	return nil
}
