package oauth

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// object is a JSON object that is being written member by member. What every token
// request writes twice is written by it, without reflection; everything else is
// encoding/json's business, and so are texts with anything but plain characters.
// It begins as [beginObject] and is complete after close.
type object []byte

// beginObject begins an object behind what is in b.
func beginObject(b []byte) object { return append(b, '{') }

func (o object) close() []byte { return append(o, '}') }

// name begins a member. The names are ours, and plain.
func (o object) name(name string) object {
	if o[len(o)-1] != '{' {
		o = append(o, ',')
	}
	o = append(o, '"')
	o = append(o, name...)
	return append(o, '"', ':')
}

// text is a member that is there always.
func (o object) text(name, value string) object { return appendText(o.name(name), value) }

// textOr is a member that is left out where it is empty.
func (o object) textOr(name, value string) object {
	if value == "" {
		return o
	}
	return o.text(name, value)
}

func (o object) number(name string, value int64) object {
	return strconv.AppendInt(o.name(name), value, 10)
}

// texts is a member that is an array.
func (o object) texts(name string, list []string) object {
	o = append(o.name(name), '[')
	for i, s := range list {
		if i > 0 {
			o = append(o, ',')
		}
		o = appendText(o, s)
	}
	return append(o, ']')
}

// appendText appends a JSON string. Bytes that are no UTF-8 become the character
// for such, as with encoding/json.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return appendEscaped(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendEscaped(b []byte, s string) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string always can be
	return append(b, bytes.TrimSuffix(text.Bytes(), []byte("\n"))...)
}

// appendJSON appends the claims as their tags say; a test holds it to that.
func (c *Claims) appendJSON(b []byte) []byte {
	o := beginObject(b).text("iss", c.Issuer).text("sub", c.Subject)
	if len(c.Audience) == 1 { // RFC 7519 section 4.1.3
		o = o.text("aud", c.Audience[0])
	} else {
		o = o.texts("aud", c.Audience)
	}
	o = o.text("azp", c.Azp).text("client_id", c.ClientID).text("jti", c.ID).number("iat", c.IssuedAt).number("exp", c.ExpiresAt).textOr("scope", c.Scope)
	if c.Permissions != nil {
		o = o.texts("permissions", c.Permissions)
	}
	o = o.textOr("org_id", c.OrgID).textOr("org_name", c.OrgName).text("tenant_id", c.TenantID).textOr("sid", c.SessionID)
	if c.AuthTime != 0 {
		o = o.number("auth_time", c.AuthTime)
	}
	o = o.textOr("gty", c.GrantType)
	if a := c.Actor; a != nil {
		o = beginObject(o.name("act")).text("sub", a.Subject).text("client_id", a.ClientID).close()
	}
	return o.close()
}

// appendJSON appends the answer as its tags say; a test holds it to that.
func (a *tokenAnswer) appendJSON(b []byte) []byte {
	return beginObject(b).text("access_token", a.AccessToken).textOr("id_token", a.IDToken).textOr("refresh_token", a.RefreshToken).
		text("token_type", a.TokenType).number("expires_in", a.ExpiresIn).text("scope", a.Scope).textOr("issued_token_type", a.IssuedType).close()
}
