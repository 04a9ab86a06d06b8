package management

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// FuzzParseCursor holds that a place in a list is one that this server made: any
// other text is refused, whatever it says of itself (C5.5, A26).
func FuzzParseCursor(f *testing.F) {
	now := time.Unix(1_700_000_000, 0)
	macs := func(payload []byte) ([][]byte, error) {
		mac := hmac.New(sha256.New, []byte("the key of this tenant, route and filter"))
		mac.Write(payload)
		return [][]byte{mac.Sum(nil)}, nil
	}
	seal := func(payload string) string {
		m, _ := macs([]byte(payload)) // see above
		return base64.RawURLEncoding.EncodeToString(append(m[0], payload...))
	}
	good, expired := seal(`{"i":"rol_1","t":"a","e":1700000001}`), seal(`{"i":"rol_1","e":1700000000}`)
	for _, text := range []string{
		good, good + "=", good[:len(good)-1], good + "A", good + "\n", "\r" + good, expired, "", "=", "' OR 1=1 --", strings.Repeat("A", 43), strings.Repeat("A", 44),
		base64.RawURLEncoding.EncodeToString(append(make([]byte, sha256.Size), `{"i":"x' OR '1'='1","e":99999999999}`...)),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parseCursor(text, now, macs)
		switch {
		case err != nil && at != (cursor{}):
			t.Fatalf("%q: both %+v and %v", text, at, err)
		case err == nil && strings.TrimRight(text, "=") != good:
			t.Fatalf("%q was never made here, and is %+v", text, at)
		case err == nil && (at.ID != "rol_1" || *at.Text != "a"):
			t.Fatalf("%q is %+v", text, at)
		}
	})
}

// searchSQL is all that a query of users becomes: the rest are arguments.
var searchSQL = regexp.MustCompile(`^[a-zA-Z_0-9 ().,=<>?\x60"]*$`)

// FuzzSearchUsers holds that no value of a query becomes part of a statement, and
// that what was understood needs as many arguments as it has (C5.84, C9.48).
func FuzzSearchUsers(f *testing.F) {
	for _, q := range []string{
		`email:"a@b.test"`, `name:an* AND NOT blocked:true`, `logins_count:[1 TO 5] OR _exists_:phone_number`, `app_metadata.plan:"x'y"`,
		`(email:a OR (name:"b\\"c"))`, `user_id:auth0|1' OR '1'='1`, `created_at:[2020-01-01 TO *]`, `((((`, `NOT NOT NOT a:b`, "name:\x00", `name:?`, `name:@tenant`,
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		var where filter
		keep, err := searchUsers(&where, q)
		if err != nil {
			return
		}
		condition := strings.ReplaceAll(where.condition(), "<> ''", "<> ?")
		empty := strings.Count(where.condition(), "<> ''")
		if !searchSQL.MatchString(condition) || strings.Count(condition, "?") != len(where.args)+empty {
			t.Fatalf("%q became %q with %q", q, condition, where.args)
		}
		if keep != nil {
			keep(&tenancy.User{AppMetadata: map[string]any{"plan": "x'y"}})
		}
	})
}

// FuzzParseObject holds that members keep their order, have one name each, and
// are what a reader of JSON finds (C5.8).
func FuzzParseObject(f *testing.F) {
	for _, body := range []string{`{}`, `{"a":1,"b":{"c":[]}}`, `{"a":1,"a":2}`, `[]`, `null`, `{"a":`, `{"a":1}x`, "{\"\xff\":1}", `{"\u0061":1,"a":2}`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		doc, err := parseObject([]byte(body), "")
		if err != nil || whole([]byte(body)) != nil { // which is asked before
			return
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(body), &members); err != nil || len(members) != len(doc) {
			t.Fatalf("%q has members %q, and %q, %v", body, doc, members, err)
		}
		for _, p := range doc {
			if !equalJSON(p.value, members[p.name]) {
				t.Fatalf("%q: %s is %q, and %q", body, p.name, p.value, members[p.name])
			}
		}
	})
}
