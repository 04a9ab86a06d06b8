package management

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// answered is the answer to a request.
type answered struct {
	*httptest.ResponseRecorder
	json any // the body, decoded; nil where it is none
}

// do sends a request. headers are pairs of name and value; a body that is a
// string is sent as it is, anything else as JSON, nil as none.
func (k *kit) do(method, host, path, token string, body any, headers ...string) answered {
	k.Helper()
	var content io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case io.Reader:
		content = b
	case string:
		content = strings.NewReader(b)
	default:
		content = bytes.NewReader(encode(b))
	}
	r := httptest.NewRequest(method, "https://"+host+"/api/v2"+path, content)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	t, ok := k.directory.ByHost(host)
	if !ok {
		k.Fatalf("no tenant at %s", host)
	}
	ctx := tenancy.WithVisit(r.Context(), &tenancy.Visit{Issuer: issuerOf(t.ID), Host: host, RequestID: "req-1", ClientIP: "192.0.2.1"})
	ctx, leave, err := k.pool.Enter(ctx, t)
	k.must(err)
	defer leave()
	a := answered{ResponseRecorder: httptest.NewRecorder()}
	k.api.ServeHTTP(a.ResponseRecorder, r.WithContext(ctx))
	if a.Body.Len() > 0 {
		if err := json.Unmarshal(a.Body.Bytes(), &a.json); err != nil {
			k.Errorf("%s %s: answer is not JSON: %s", method, path, a.Body)
		}
	}
	return a
}

// member returns a member of the answer by a path of names and indexes.
func (a answered) member(path ...any) any {
	v := a.json
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[s]
		case int:
			l, _ := v.([]any)
			if s >= len(l) {
				return nil
			}
			v = l[s]
		}
	}
	return v
}

func (a answered) text(path ...any) string {
	s, _ := a.member(path...).(string)
	return s
}

// scenario is a request with what is expected of the answer.
type scenario struct {
	name   string
	token  claims // zero is none
	host   string // default: acme's
	method string // default: GET
	path   string
	header []string
	body   any
	status int
	code   string // errorCode
	says   string // message, whole
	holds  string // part of the body
	lacks  string // no part of the body
	check  func(t *testing.T, a answered)
}

// run plays scenarios in order, on one installation.
func (k *kit) run(scenarios []scenario) {
	for _, s := range scenarios {
		k.T.Run(s.name, func(t *testing.T) {
			inner := k.with(t)
			inner.play(s)
		})
	}
}

func (k *kit) play(s scenario) {
	k.Helper()
	if s.host == "" {
		s.host = acmeHost
	}
	if s.method == "" {
		s.method = http.MethodGet
	}
	token := ""
	if s.token.Tenant != "" {
		token = s.token.token()
	}
	a := k.do(s.method, s.host, s.path, token, s.body, s.header...)
	if a.Code != s.status {
		k.Fatalf("%s %s: status %d, want %d: %s", s.method, s.path, a.Code, s.status, a.Body)
	}
	if a.Code >= 400 && s.method != http.MethodHead {
		if a.member("statusCode") != float64(a.Code) || a.text("error") != http.StatusText(a.Code) || a.text("message") == "" || a.text("errorCode") == "" {
			k.Errorf("error is not in the contract's form (C0.4): %s", a.Body)
		}
		if a.Header().Get("Cache-Control") != "no-store" {
			k.Error("error without Cache-Control: no-store (C0.5)")
		}
	}
	if s.code != "" && a.text("errorCode") != s.code {
		k.Errorf("errorCode %q, want %q: %s", a.text("errorCode"), s.code, a.Body)
	}
	if s.says != "" && a.text("message") != s.says {
		k.Errorf("message\n got %q\nwant %q", a.text("message"), s.says)
	}
	if s.holds != "" && !strings.Contains(a.Body.String(), s.holds) {
		k.Errorf("body lacks %q: %s", s.holds, a.Body)
	}
	if s.lacks != "" && strings.Contains(a.Body.String(), s.lacks) {
		k.Errorf("body holds %q: %s", s.lacks, a.Body)
	}
	if s.check != nil {
		s.check(k.T, a)
	}
}
