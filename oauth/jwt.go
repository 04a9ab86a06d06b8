package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

// longestToken is the largest JWT that is looked at, in bytes. One that lists
// every permission a resource server can define fits.
const longestToken = 1 << 18

// parsedToken is a JWT taken apart. Nothing of it is believed yet.
type parsedToken struct {
	header    tokenHeader
	payload   []byte
	signed    string // what the signature is over
	signature []byte
}

// errMalformed means that a text is no JWT this server would ever have made.
var errMalformed = errors.New("malformed token")

// strict refuses base64 with stray bits, of which several texts would mean the
// same token.
var strict = base64.RawURLEncoding.Strict()

// parseToken takes a compact JWS apart (RFC 7515 section 5.2, steps 1 to 5). A
// header that says where to take the key from, or that asks for extensions, is
// refused.
func parseToken(token string) (*parsedToken, error) {
	if len(token) > longestToken {
		return nil, errMalformed
	}
	head, rest, ok := strings.Cut(token, ".")
	body, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || head == "" || body == "" || signature == "" || strings.Contains(signature, ".") {
		return nil, errMalformed
	}
	t := &parsedToken{signed: token[:len(head)+1+len(body)]}
	var err error
	if err = decodeHeader(head, &t.header); err != nil {
		return nil, err
	}
	if t.payload, err = strict.DecodeString(body); err != nil {
		return nil, errMalformed
	}
	if t.signature, err = strict.DecodeString(signature); err != nil {
		return nil, errMalformed
	}
	return t, nil
}

func decodeHeader(text string, h *tokenHeader) error {
	decoded, err := strict.DecodeString(text)
	if err != nil || json.Unmarshal(decoded, h) != nil {
		return errMalformed
	}
	if h.Jku != nil || h.Jwk != nil || h.X5u != nil || h.X5c != nil || h.Crit != nil {
		return errMalformed
	}
	return nil
}

// signedBy reports whether the token's signature is by the key, with the key's
// own algorithm: what the header says must agree, so that neither "none" nor a
// public key used as an HMAC secret gets anywhere (RFC 8725 section 3.1).
func (t *parsedToken) signedBy(key *signingKey) bool {
	return t.header.Alg == key.alg && key.method.Verify(t.signed, t.signature, key.public) == nil
}
