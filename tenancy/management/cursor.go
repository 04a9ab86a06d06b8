package management

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// cursor is a place in an ordered list: the last row seen. It travels to the
// caller and back as opaque text that only this tenant, route and filter accept
// (contract C5.5).
type cursor struct {
	ID      string  `json:"i"`
	Text    *string `json:"t,omitempty"` // value of the column sorted by
	Number  *int64  `json:"n,omitempty"`
	Expires int64   `json:"e"` // seconds since 1970
}

func (p cursor) value() any {
	if p.Text != nil {
		return *p.Text
	}
	if p.Number != nil {
		return *p.Number
	}
	return 0
}

// cursorLife is how long a walk may pause.
const cursorLife = 24 * time.Hour

// binding is what a cursor is good for.
func (c *Call) binding(f filter, o order) string {
	return fmt.Sprintf("%s\x00%s\x00%s\x00%s\x00%s", c.route.path, encode(c.params), f.condition(), encode(f.args), o.sql())
}

func (c *Call) sealCursor(ctx context.Context, at cursor, binding string) (string, error) {
	at.Expires = c.api.config.Now().Add(cursorLife).Unix()
	payload, err := json.Marshal(at)
	if err != nil {
		return "", err
	}
	macs, err := cursorMACs(ctx, payload, binding)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(append(macs[0], payload...)), nil
}

func (c *Call) openCursor(ctx context.Context, text, binding string) (cursor, error) {
	return parseCursor(text, c.api.config.Now(), func(payload []byte) ([][]byte, error) { return cursorMACs(ctx, payload, binding) })
}

// parseCursor reads a cursor that carries one of the MACs of what it says. The
// payload of any other is not looked at.
func parseCursor(text string, now time.Time, macsOf func(payload []byte) ([][]byte, error)) (cursor, error) {
	refused := badPaging("'from' is not valid, or not for this list")
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(sealed) <= sha256.Size || strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return cursor{}, refused
	}
	macs, err := macsOf(sealed[sha256.Size:])
	if err != nil {
		return cursor{}, err
	}
	var at cursor
	ours := slices.ContainsFunc(macs, func(mac []byte) bool { return hmac.Equal(mac, sealed[:sha256.Size]) })
	if !ours || json.Unmarshal(sealed[sha256.Size:], &at) != nil {
		return cursor{}, refused
	}
	if now.Unix() >= at.Expires {
		return cursor{}, badPaging("'from' has expired; start over")
	}
	return at, nil
}

// cursorMACs protects a cursor: what is made carries the first, and any is good.
func cursorMACs(ctx context.Context, payload []byte, binding string) ([][]byte, error) {
	keys, err := tenancy.Secrets(ctx, "management cursors")
	if err != nil {
		return nil, err
	}
	list := make([][]byte, len(keys))
	for i, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write(payload)
		mac.Write([]byte{0})
		mac.Write([]byte(binding))
		list[i] = mac.Sum(nil)
	}
	return list, nil
}

// cursorAt is the place of a row in an order. Columns to sort by are members of
// the same name.
func cursorAt[T any](row *T, o order) cursor {
	at := cursor{ID: meta(row).ID}
	if o.column == "id" {
		return at
	}
	switch v := fieldOf(row, o.column); v.Kind() {
	case reflect.String:
		s := v.String()
		at.Text = &s
	default:
		n := v.Int()
		at.Number = &n
	}
	return at
}
