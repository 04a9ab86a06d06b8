package libsql

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// turso is an organization at Turso, by its platform API.
type turso struct {
	client *http.Client
	naming
	base                *url.URL
	organization, group string
	key                 string
	now                 func() time.Time
}

const (
	tokenTime  = 24 * time.Hour
	tokenText  = "1d"
	tokenSpare = 4 * time.Hour // how long before its end a token is replaced
)

// tursoDatabase is what the platform says of a database.
type tursoDatabase struct {
	Name     string
	Hostname string
	Group    string `json:"group"`
}

// Create implements remote.Server.
func (t *turso) Create(ctx context.Context, name string) error {
	full, err := t.of(name)
	if err != nil {
		return err
	}
	type seed struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	body := struct {
		Name  string `json:"name"`
		Group string `json:"group"`
		Seed  *seed  `json:"seed,omitempty"`
	}{Name: full, Group: t.group}
	if t.template != "" && name != templateName {
		body.Seed = &seed{"database", t.template}
	}
	a, err := again(ctx, func() (*answer, error) { return t.ask(ctx, http.MethodPost, "", body) })
	switch {
	case err != nil:
		return err
	case a.status == http.StatusOK, a.status == http.StatusCreated:
		return nil
	case a.status != http.StatusConflict:
		return t.refused(a)
	}
	_, err = t.lookUp(ctx, full) // it is there: see that it is one of ours
	return err
}

// lookUp finds a database in the group, or [remote.ErrMissing].
func (t *turso) lookUp(ctx context.Context, full string) (*tursoDatabase, error) {
	a, err := again(ctx, func() (*answer, error) { return t.ask(ctx, http.MethodGet, "/"+full, nil) })
	switch {
	case err != nil:
		return nil, err
	case a.status == http.StatusNotFound:
		return nil, fmt.Errorf("%w: %s", remote.ErrMissing, a.text())
	case a.status != http.StatusOK:
		return nil, t.refused(a)
	}
	var found struct{ Database tursoDatabase }
	if err := a.decode(&found); err != nil {
		return nil, err
	}
	switch d := found.Database; {
	case d.Hostname == "" || d.Name != full:
		return nil, tenancy.Unavailable(fmt.Errorf("the platform's answer names no host for %s", full), "see what answers at the address of the platform API")
	case d.Group != "" && d.Group != t.group:
		return nil, tenancy.Unavailable(fmt.Errorf("%s is in group %s, not %s", full, d.Group, t.group),
			"give this placement the group its databases are in, or another prefix; nothing was changed")
	default:
		return &d, nil
	}
}

// Drop implements remote.Server.
func (t *turso) Drop(ctx context.Context, name string) error {
	full, err := t.of(name)
	if err != nil {
		return err
	}
	a, err := again(ctx, func() (*answer, error) { return t.ask(ctx, http.MethodDelete, "/"+full, nil) })
	switch {
	case err != nil:
		return err
	case a.status == http.StatusOK, a.status == http.StatusNotFound:
		return nil
	}
	return t.refused(a)
}

// Connect implements remote.Server: it asks the platform where the database is.
func (t *turso) Connect(ctx context.Context, name string) (remote.Conn, error) {
	full, err := t.of(name)
	if err != nil {
		return nil, err
	}
	d, err := t.lookUp(ctx, full)
	if err != nil {
		return nil, err
	}
	tokens := &tokens{turso: t, database: full}
	return &conn{
		client: t.client, url: t.base.Scheme + "://" + d.Hostname, token: tokens.get,
		missing: func(a *answer) error { return fmt.Errorf("%w: %s", remote.ErrUnready, a.text()) },
	}, nil
}

func (t *turso) ask(ctx context.Context, method, path string, body any) (*answer, error) {
	return send(ctx, t.client, method, t.base.String()+"/v1/organizations/"+url.PathEscape(t.organization)+"/databases"+path, "", "Bearer "+t.key, body)
}

// tursoHints say what an operator does about a status of the platform.
var tursoHints = map[int]string{
	http.StatusBadRequest:      "see whether the group and the template exist",
	http.StatusUnauthorized:    "the platform token is wrong, expired or revoked: make one with turso auth api-tokens mint, and set it as token",
	http.StatusPaymentRequired: "the plan allows no more: remove databases, or change the plan",
	http.StatusForbidden:       "the platform token may not do this: it needs to read, create and delete databases of the group and to mint tokens for them",
	http.StatusNotFound:        "see whether the organization is spelled as in its address",
	http.StatusConflict:        "the platform is at work on this database: try again",
	http.StatusTooManyRequests: "the platform takes no more requests for now: try again later",
}

func (t *turso) refused(a *answer) error {
	hint, ok := tursoHints[a.status]
	if !ok {
		hint = "see the platform's status"
	}
	return a.refused(hint)
}

// tokens mints tokens for one database and keeps the last one.
type tokens struct {
	turso    *turso
	database string

	mu    sync.Mutex
	last  string
	until time.Time // when it is replaced
}

// get returns a token that is good for a while and is not the refused one. All
// who need a new one wait for the same.
func (k *tokens) get(ctx context.Context, refused string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != "" && k.last != refused && k.turso.now().Before(k.until) {
		return k.last, nil
	}
	minted, err := k.mint(ctx)
	if err == nil {
		k.last, k.until = minted, k.turso.now().Add(tokenTime-tokenSpare)
		return minted, nil
	}
	if k.last != "" && k.last != refused && k.turso.now().Before(k.until.Add(tokenSpare)) {
		return k.last, nil // it is still good: the platform has time until its end
	}
	return "", err
}

func (k *tokens) mint(ctx context.Context) (string, error) {
	a, err := again(ctx, func() (*answer, error) {
		return k.turso.ask(ctx, http.MethodPost, "/"+k.database+"/auth/tokens?expiration="+tokenText+"&authorization=full-access", nil)
	})
	switch {
	case err != nil && ctx.Err() == nil:
		// Nothing was sent to the database itself, whatever became of this.
		return "", tenancy.Unavailable(fmt.Errorf("minting a token: %w", err), "see whether the platform API can be reached")
	case err != nil:
		return "", err
	case a.status == http.StatusNotFound:
		return "", fmt.Errorf("%w: %s", remote.ErrMissing, a.text())
	case a.status != http.StatusOK:
		if err := k.turso.refused(a); errors.Is(err, tenancy.ErrUnavailable) {
			return "", err
		}
		return "", tenancy.Unavailable(fmt.Errorf("minting a token: the platform answered %d: %s", a.status, a.text()), "see the platform's status")
	}
	var minted struct {
		JWT string `json:"jwt"`
	}
	if err := a.decode(&minted); err != nil || minted.JWT == "" {
		return "", tenancy.Unavailable(errors.New("the platform's answer holds no token"), "see what answers at the address of the platform API")
	}
	return minted.JWT, nil
}

// Interface guards
var _ remote.Server = (*turso)(nil)
