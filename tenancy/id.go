package tenancy

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
)

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// NewID returns prefix followed by n random characters of [A-Za-z0-9]. Sixteen
// characters hold 95 bits, enough to never meet twice.
func NewID(prefix string, n int) string {
	return prefix + randomText(alphanumeric, n)
}

// NewTenantID returns a tenant id for a caller who named none: 12 characters of
// [a-z0-9], the first a letter.
func NewTenantID() string {
	const lower = "abcdefghijklmnopqrstuvwxyz"
	return randomText(lower, 1) + randomText(lower+"0123456789", 11)
}

// NewHexID returns 24 hexadecimal characters, the form of a resource server id.
func NewHexID() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return hex.EncodeToString(b[:])
}

// NewToken returns 256 random bits as base64url: the form of every secret this
// server makes up (cookies, codes, refresh tokens, tickets).
func NewToken() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// randomText draws n characters of alphabet without bias.
func randomText(alphabet string, n int) string {
	limit := 256 - 256%len(alphabet)
	out := make([]byte, 0, n)
	var buf [64]byte
	for len(out) < n {
		_, _ = rand.Read(buf[:])
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}
