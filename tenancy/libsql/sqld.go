package libsql

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// sqld is a libSQL server with namespaces and its admin API.
type sqld struct {
	client *http.Client
	naming
	data  *url.URL // its host has a * where a database's name goes, or none
	admin *url.URL
	token string
	key   string
}

const hintAdmin = "see whether sqld runs with --enable-namespaces, and its admin API is at the address given"

// Create implements remote.Server.
func (s *sqld) Create(ctx context.Context, name string) error {
	full, err := s.of(name)
	if err != nil {
		return err
	}
	path := full + "/create"
	if s.template != "" && name != templateName {
		path = s.template + "/fork/" + full
	}
	a, err := again(ctx, func() (*answer, error) { return s.ask(ctx, http.MethodPost, path, struct{}{}) })
	switch {
	case err != nil:
		return err
	case a.status == http.StatusOK, strings.Contains(a.text(), "already exist"):
		return nil
	}
	return s.refused(a)
}

// Drop implements remote.Server.
func (s *sqld) Drop(ctx context.Context, name string) error {
	full, err := s.of(name)
	if err != nil {
		return err
	}
	a, err := again(ctx, func() (*answer, error) { return s.ask(ctx, http.MethodDelete, full, nil) })
	switch {
	case err != nil:
		return err
	case a.status == http.StatusOK, isUnknown(a):
		return nil
	}
	return s.refused(a)
}

// Connect implements remote.Server. It reaches nothing.
func (s *sqld) Connect(_ context.Context, name string) (remote.Conn, error) {
	full, err := s.of(name)
	if err != nil {
		return nil, err
	}
	c := &conn{client: s.client, missing: s.missing, token: func(context.Context, string) (string, error) { return s.token, nil }}
	host := strings.Replace(s.data.Host, "*", full, 1)
	c.url = s.data.Scheme + "://" + host
	if host == s.data.Host {
		c.host = full + "." + host
	}
	return c, nil
}

func (s *sqld) ask(ctx context.Context, method, path string, body any) (*answer, error) {
	authorization := ""
	if s.key != "" {
		authorization = "basic " + s.key
	}
	return send(ctx, s.client, method, s.admin.String()+"/v1/namespaces/"+path, "", authorization, body)
}

func (s *sqld) refused(a *answer) error {
	if a.status == http.StatusUnauthorized {
		return a.refused("sqld's admin API does not take the key: set what sqld was started with as --admin-auth-key")
	}
	return a.refused(hintAdmin)
}

// isUnknown reports whether sqld says that it has no such namespace, and not that
// something else at this address has no such page.
func isUnknown(a *answer) bool {
	return a.status == http.StatusNotFound && strings.Contains(a.text(), "doesn't exist")
}

func (s *sqld) missing(a *answer) error {
	if isUnknown(a) {
		return fmt.Errorf("%w: %s", remote.ErrMissing, a.text())
	}
	return tenancy.Unavailable(fmt.Errorf("no libSQL server answers at %s", s.data), "correct the address")
}

// Interface guards
var _ remote.Server = (*sqld)(nil)
