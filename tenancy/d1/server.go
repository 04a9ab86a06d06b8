package d1

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite/remote"
)

// server makes, finds and drops databases through the API.
type server struct {
	api    *api
	prefix string // of names, with its underscore
	hint   string // where new databases are; may be empty

	mu  sync.Mutex
	ids map[string]string // of databases that were found, by name

	proving sync.Mutex
	proven  bool // that a batch is atomic
}

// Create implements remote.Server.
func (s *server) Create(ctx context.Context, name string) error {
	id, err := s.find(ctx, name)
	if err == nil && id == "" {
		var made bool
		if id, made, err = s.api.create(ctx, s.prefix+name, s.hint); err == nil && !made && id == "" {
			err = fmt.Errorf("%w: it is said to exist and cannot be found", remote.ErrMissing)
		}
	}
	if err != nil {
		return translate(err)
	}
	s.remember(name, id)
	return nil
}

// Connect implements remote.Server.
func (s *server) Connect(ctx context.Context, name string) (remote.Conn, error) {
	id, err := s.find(ctx, name)
	switch {
	case err != nil:
		return nil, translate(err)
	case id == "":
		return nil, remote.ErrMissing
	}
	c := &conn{server: s, name: name, id: id}
	if err := s.prove(ctx, c); err != nil {
		return nil, err
	}
	return c, nil
}

// Drop implements remote.Server.
func (s *server) Drop(ctx context.Context, name string) error {
	id, err := s.find(ctx, name)
	if err == nil && id != "" {
		s.forget(name, id)
		err = s.api.remove(ctx, id)
	}
	return translate(err)
}

// find returns the id of the database, or "". It asks the API once for a database
// that is there: ids never change.
func (s *server) find(ctx context.Context, name string) (string, error) {
	s.mu.Lock()
	id, ok := s.ids[name]
	s.mu.Unlock()
	if ok {
		return id, nil
	}
	id, err := s.api.find(ctx, s.prefix+name)
	if err == nil && id != "" {
		s.remember(name, id)
	}
	return id, err
}

func (s *server) remember(name, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[name] = id
}

// forget drops an id under which there is no database any more.
func (s *server) forget(name, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids[name] == id {
		delete(s.ids, name)
	}
}

// prove has the API take back a batch whose last statement fails, once in the
// life of a process. What it would leave is a table that nobody uses.
func (s *server) prove(ctx context.Context, c *conn) error {
	s.proving.Lock()
	defer s.proving.Unlock()
	if s.proven {
		return nil
	}
	_, err := c.Run(ctx, []remote.Statement{
		{SQL: `CREATE TABLE gatehouse_proof (ok INTEGER CHECK (ok = 1))`},
		{SQL: `INSERT INTO gatehouse_proof (ok) VALUES (0)`},
	})
	var refusal *remote.SQLError
	if err != nil && !errors.As(err, &refusal) {
		return err
	}
	left, again := c.Run(ctx, []remote.Statement{{SQL: `SELECT name FROM sqlite_master WHERE name = 'gatehouse_proof'`}})
	if again != nil {
		return again
	}
	if err == nil || len(left[0].Rows) > 0 {
		_, _ = c.Run(ctx, []remote.Statement{{SQL: `DROP TABLE gatehouse_proof`}})
		return tenancy.Unavailable(errors.New("a part of a batch stayed after another part failed"),
			"this API cannot keep tenants: use the Worker, see docs/d1.md")
	}
	s.proven = true
	return nil
}

// Interface guards
var _ remote.Server = (*server)(nil)
