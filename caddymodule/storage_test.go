package caddymodule

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

// TestStorage has everything of Caddy's kept in the control plane: the internal
// CA, which is made while the configuration is provisioned and so before there is
// a control plane; certificates; and all of them after a reload and a restart.
func TestStorage(t *testing.T) {
	s := newServer(t)
	s.storage = "storage gatehouse"
	s.start()
	s.tenant("acme")
	chain := func() string {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://acme.auth.example.com"+discovery, nil)
		resp, err := s.secure("").Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return string(resp.TLS.PeerCertificates[0].Raw)
	}
	first := chain()
	storage := func() certmagic.Storage { return caddy.ActiveContext().Storage() }
	keys, err := storage().List(t.Context(), "", true)
	all := strings.Join(keys, "\n")
	if err != nil || !strings.Contains(all, "acme.auth.example.com.key") || !strings.Contains(all, "pki/authorities/local/root.key") {
		t.Fatalf("stored: %v\n%s", err, all)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "caddy")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a directory of files beside the database: %v", err)
	}
	for _, path := range keys {
		info, err := storage().Stat(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := storage().Load(t.Context(), path); info.IsTerminal != (err == nil) {
			t.Errorf("%s: %+v, loading it: %v", path, info, err)
		}
	}
	s.options = "reserved www" // another runtime
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	if chain() != first {
		t.Error("a reload got another certificate")
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.load(); err != nil {
		t.Fatal(err)
	}
	if chain() != first {
		t.Error("a restart got another certificate")
	}
	for _, f := range s.files() {
		if text, err := os.ReadFile(f); err != nil || strings.Contains(string(text), "PRIVATE KEY") {
			t.Errorf("%s: %v, or it holds a private key", f, err)
		}
	}
}

// files are all below the data directory.
func (s *server) files() (list []string) {
	err := filepath.WalkDir(s.data, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			list = append(list, path)
		}
		return err
	})
	if err != nil || len(list) == 0 {
		s.t.Fatalf("files of the data directory: %v %v", list, err)
	}
	return list
}

// TestStorageNeedsTheApp: what is missing is said, with the line to add.
func TestStorageNeedsTheApp(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := new(Storage).Provision(ctx); err == nil || !strings.Contains(err.Error(), "{ gatehouse { base_domain") {
		t.Errorf("got %v", err)
	}
}
