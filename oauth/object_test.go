package oauth

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// awkward are texts that a careless writer of JSON gets wrong.
var awkward = []string{
	"", "plain", `quote " and \ backslash`, "</script>&'", "line\r\n\ttab", "\x00\x1f\x7f", "\u2028\u2029", "ünïcode 漢字 🎈", "\xff\xfe no UTF-8", `","sub":"forged`,
}

// fill gives every field of a struct some value, awkward or none; a field of a kind
// that it does not know fails the test, and with it whoever adds one.
func fill(t *testing.T, v reflect.Value, r *rand.Rand) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Field(i)
		switch {
		case r.IntN(4) == 0:
			f.SetZero()
		case f.Kind() == reflect.String:
			f.SetString(awkward[r.IntN(len(awkward))])
		case f.Kind() == reflect.Int64:
			f.SetInt(r.Int64() - 1<<62)
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.String:
			f.Set(reflect.MakeSlice(f.Type(), r.IntN(4), 4))
			for j := range f.Len() {
				f.Index(j).SetString(awkward[r.IntN(len(awkward))])
			}
		case f.Kind() == reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
			fill(t, f.Elem(), r)
		default:
			t.Fatalf("no value for %s", v.Type().Field(i).Name)
		}
	}
}

// TestObjects: what is written by hand says what encoding/json would, in the same
// order and with the same members, whatever is in it.
func TestObjects(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		claims, answer := new(Claims), new(tokenAnswer)
		fill(t, reflect.ValueOf(claims).Elem(), r)
		fill(t, reflect.ValueOf(answer).Elem(), r)
		if claims.Audience == nil {
			claims.Audience = Audience{} // there always is one
		}
		wantJSON(t, claims.appendJSON(nil), claims)
		wantJSON(t, answer.appendJSON([]byte("before"))[len("before"):], answer)
	}
}

func wantJSON(t *testing.T, got []byte, of any) {
	t.Helper()
	want, err := json.Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	// The only difference is that nothing is escaped for HTML.
	unescaped := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(want))
	if string(got) != unescaped || !json.Valid(got) || !utf8.Valid(got) {
		t.Fatalf("got %s\nwant %s", got, unescaped)
	}
}

// BenchmarkObjects is what writing a token's claims by hand saves.
func BenchmarkObjects(b *testing.B) {
	claims := &Claims{
		Issuer: "https://acme.auth.example.com/", Subject: m2mID + "@clients", Audience: Audience{orders}, Azp: m2mID, ClientID: m2mID,
		ID: newTokenID(""), IssuedAt: 1_700_000_000, ExpiresAt: 1_700_086_400, Scope: "read:orders", TenantID: "acme", GrantType: gtyClientCredentials,
	}
	var buffer bytes.Buffer
	b.Run("by hand", func(b *testing.B) {
		for b.Loop() {
			buffer.Reset()
			_, _ = encodeClaims(&buffer, claims)
		}
	})
	b.Run("by encoding/json", func(b *testing.B) {
		for b.Loop() {
			buffer.Reset()
			if err := json.NewEncoder(&buffer).Encode(claims); err != nil {
				b.Fatal(err)
			}
		}
	})
}
