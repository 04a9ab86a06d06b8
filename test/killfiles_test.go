package test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// operate asks the admin endpoint of a process that may die meanwhile: status 0
// then. The endpoint is the socket that newKilling gives.
func (g *gateway) operate(method, path string, wish any) (status int, text string) {
	b, err := json.Marshal(wish)
	if err != nil {
		panic(err)
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(g.dir, "admin.sock"))
	}}}
	req, err := http.NewRequest(method, "http://admin/gatehouse"+path, bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

const manyRoles = 4000

// fillRoles gives a stopped gateway's tenants many rows.
func (k *killing) fillRoles(t *testing.T) {
	t.Helper()
	for id, x := range k.g.registered(t) {
		db, err := (&sqlite.Provider{Dir: filepath.Join(k.g.dir, x.Placement)}).Open(t.Context(), x.Location())
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Batch(t.Context(), []tenancy.Stmt{{Rows: manyRoles, Args: []any{manyRoles, id}, SQL: `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO roles (tenant_id, id, revision, created_at, updated_at, name, name_key, description, is_system, origin, metadata)
			SELECT ?, 'rol_' || i, 1, 0, 0, 'Role ' || i, 'role ' || i, 'one of very many, so that it takes a while to copy them all', FALSE, '', 'null' FROM n`}})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// isWholeFile says why what backup or export wrote is not whole, if it is not: its
// last line has the checksum of all before.
func isWholeFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if strings.HasSuffix(path, ".backup") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return err
		}
		if b, err = io.ReadAll(z); err != nil {
			return err
		}
	}
	last := bytes.LastIndexByte(bytes.TrimSuffix(b, []byte("\n")), '\n') + 1
	var end struct{ End struct{ SHA256 string } }
	if err := json.Unmarshal(b[last:], &end); err != nil {
		return err
	}
	if sum := sha256.Sum256(b[:last]); end.End.SHA256 != hex.EncodeToString(sum[:]) {
		return errors.New("another checksum")
	}
	return nil
}

// filing is a killing in which tenants are written to files and made from them.
type filing struct {
	*killing
	files  string // directory
	ended  map[string]int
	writes sync.Mutex
}

func (f *filing) path(name string) string { return filepath.Join(f.files, name) }

// do has the process do one thing, and counts that it ended well.
func (f *filing) do(p *process, name, path string, wish map[string]any) int {
	status, _ := p.operate(http.MethodPost, path, wish)
	if status == http.StatusOK {
		f.writes.Lock()
		f.ended[name]++
		f.writes.Unlock()
	}
	return status
}

// restore and the others are the commands, as they are asked for again and again.
func (f *filing) commands(p *process) map[string]func() int {
	place := func() string { return []string{"main", "files", "rows"}[rand.IntN(3)] }
	return map[string]func() int{
		"restore": func() int {
			return f.do(p, "restore", "/restore", map[string]any{"file": f.path("restored.backup"), "placement": place()})
		},
		"force": func() int {
			return f.do(p, "force", "/restore", map[string]any{"file": f.path("forced.backup"), "placement": place(), "force": true})
		},
		"import": func() int {
			return f.do(p, "import", "/import", map[string]any{"file": f.path("imported.jsonl"), "placement": place()})
		},
	}
}

// round has everything done at once until the process ends.
func (f *filing) round(t *testing.T, n int) {
	p := f.start(t)
	f.wholeOrAbsent(t, p)
	cp := p.platform(t)
	suffix := string(rune('a' + n))
	dead := time.After(time.Duration(rand.IntN(900)) * time.Millisecond)
	var busy sync.WaitGroup
	for name, command := range f.commands(p) {
		busy.Go(func() {
			id := map[string]string{"restore": "restored", "import": "imported"}[name]
			if command() == http.StatusConflict && id != "" { // it is there: away with it, while it is backed up
				busy.Go(func() {
					f.do(p, "doomed", "/tenants/"+id+"/backup", map[string]any{"file": f.path(id + "-" + suffix + ".backup")})
				})
				cp.ask(http.MethodDelete, "/tenants/"+id, nil)
				command()
			}
		})
	}
	busy.Go(func() {
		f.do(p, "backup", "/tenants/forced/backup", map[string]any{"file": f.path("forced-" + suffix + ".backup")})
	})
	busy.Go(func() {
		f.do(p, "export", "/tenants/forced/export", map[string]any{"file": f.path("forced-" + suffix + ".jsonl")})
	})
	<-dead
	if n%4 == 3 {
		p.stop(t)
	} else {
		p.kill()
	}
	busy.Wait()
}

// wholeOrAbsent checks what is served and what files there are after an end.
func (f *filing) wholeOrAbsent(t *testing.T, p *process) {
	t.Helper()
	cp := p.platform(t)
	for _, id := range []string{"restored", "forced", "imported"} {
		state := ""
		if found := cp.call(t, http.MethodGet, "/tenants/"+id, nil); found.status == http.StatusOK {
			state = found.member(t, "state")
		}
		served := p.serves(id)
		if served != (state == "active") && state != "deleting" || id == "forced" && state != "active" {
			t.Errorf("%s is %q, served: %v", id, state, served)
		}
		if state == "active" {
			var roles struct{ Total int }
			cp.on(id).call(t, http.MethodGet, "/roles?include_totals=true&per_page=1", nil).want(t, http.StatusOK).json(t, &roles)
			if roles.Total < manyRoles {
				t.Errorf("%s serves with %d roles", id, roles.Total)
			}
		}
	}
	written, err := os.ReadDir(f.files)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range written {
		if strings.HasPrefix(file.Name(), ".gatehouse-part-") {
			continue
		}
		if err := isWholeFile(f.path(file.Name())); err != nil {
			t.Errorf("%s: %v", file.Name(), err)
		}
	}
}

// serves reports whether a tenant's host answers. One that is not there has no
// certificate either.
func (p *process) serves(id string) bool {
	resp, err := p.http.Get(p.issuer(id) + ".well-known/openid-configuration")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// TestKilledWhileCopying: a gateway is killed at random again and again while
// tenants are backed up, exported, restored and imported, deleted at the same time,
// and stopped in between. After each end a tenant is served whole or not at all,
// and there are whole files only. In the end the same commands succeed, every row
// is there, and of all that was begun nothing is left: no hidden file, no database
// that the registry does not name, no tenant half there.
func TestKilledWhileCopying(t *testing.T) {
	f := &filing{killing: newKilling(t, "restored", "forced", "imported"), files: t.TempDir(), ended: make(map[string]int)}
	f.fillRoles(t)
	before := make(map[string]map[string]string)
	for id, x := range f.g.registered(t) {
		before[id] = f.content(t, x)
	}
	p := f.start(t)
	for _, written := range []string{"restored backup", "forced backup", "imported export"} {
		id, what, _ := strings.Cut(written, " ")
		path := f.path(id + map[string]string{"backup": ".backup", "export": ".jsonl"}[what])
		if status, text := p.operate(http.MethodPost, "/tenants/"+id+"/"+what, map[string]any{"file": path}); status != http.StatusOK {
			t.Fatal(text)
		}
	}
	p.stop(t)
	// With no server there is nobody to restore, and the command says so.
	command := exec.CommandContext(t.Context(), program(t), "restore", f.path("forced.backup"), "--force")
	command.Env = append(os.Environ(), "CADDY_ADMIN=unix/"+filepath.Join(f.g.dir, "admin.sock"))
	out, err := command.CombinedOutput()
	if command.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), "start one") {
		t.Errorf("restored by nobody: %v, %s", err, out)
	}

	began := time.Now()
	const ends = 16
	for n := range ends {
		f.round(t, n)
	}
	t.Logf("%d ends in %v; ended well before: %v", ends, time.Since(began).Round(time.Second), f.ended)

	f.settled(t)
	f.nothingLeft(t, before)
}

// settled has every command succeed, cuts the last one off once more, and waits
// until of that one nothing is left.
func (f *filing) settled(t *testing.T) {
	t.Helper()
	p := f.start(t)
	cp := p.platform(t)
	for name, command := range f.commands(p) {
		within(t, 60*time.Second, name+" succeeds", func() bool {
			status := command()
			return status == http.StatusOK || status == http.StatusConflict && name != "force" && cp.member(t, name)
		})
	}
	cp.call(t, http.MethodDelete, "/tenants/imported", nil)
	within(t, 30*time.Second, "the tenant is gone", func() bool { return cp.call(t, http.MethodGet, "/tenants/imported", nil).status == http.StatusNotFound })
	half := make(chan int, 1)
	go func() { half <- f.commands(p)["import"]() }()
	within(t, 30*time.Second, "the import is half done", func() bool { return cp.call(t, http.MethodGet, "/tenants/imported", nil).status == http.StatusOK })
	p.kill()
	cutOff := <-half != http.StatusOK // else it was faster than its end
	p = f.start(t)
	cp = p.platform(t)
	within(t, 60*time.Second, "nothing is half there", func() bool {
		for _, id := range []string{"restored", "forced", "imported"} {
			var list struct{ Operations []struct{ Status string } }
			cp.call(t, http.MethodGet, "/tenants/"+id+"/operations?status=running&include_totals=true", nil).json(t, &list)
			if found := cp.call(t, http.MethodGet, "/tenants/"+id, nil); len(list.Operations) > 0 || found.status == http.StatusOK && found.member(t, "state") != "active" {
				return false
			}
		}
		return true
	})
	if there := cp.call(t, http.MethodGet, "/tenants/imported", nil).status == http.StatusOK; there == cutOff {
		t.Errorf("the import was cut off: %v; the tenant is there: %v", cutOff, there)
	}
	if again := f.commands(p)["import"](); cutOff && again != http.StatusOK {
		t.Errorf("the import again: %d", again)
	}
	if status, text := p.operate(http.MethodPost, "/tenants/forced/backup", map[string]any{"file": f.path("last.backup")}); status != http.StatusOK {
		t.Errorf("the backup again: %s", text)
	}
	f.wholeOrAbsent(t, p)
	p.stop(t)
}

// member reports whether the tenant that a command brings is there and active.
func (a api) member(t *testing.T, command string) bool {
	t.Helper()
	found := a.call(t, http.MethodGet, "/tenants/"+map[string]string{"restore": "restored", "import": "imported"}[command], nil)
	return found.status == http.StatusOK && found.member(t, "state") == "active"
}

// nothingLeft compares a stopped gateway's rows and files with what there was.
func (f *filing) nothingLeft(t *testing.T, before map[string]map[string]string) {
	t.Helper()
	after := f.g.registered(t)
	if len(after) != len(before) {
		t.Errorf("tenants are %v", slices.Collect(maps.Keys(after)))
	}
	for id, x := range after {
		if x.State != tenancy.StateActive {
			t.Errorf("%s is %s", id, x.State)
		}
		kept := x.Copies // what a forced restore replaced is kept for a day
		x.Copies = slices.Clone(x.Copies)
		for i := range x.Copies {
			x.Copies[i].DropAt = 0
		}
		now := f.content(t, x)
		for row, value := range before[id] {
			if (id != "imported" || strings.HasPrefix(row, "roles ")) && now[row] != value {
				t.Errorf("%s: %s was\n%s\nand is\n%s", id, row, value, now[row])
				break
			}
		}
		if id != "forced" && len(kept) > 0 {
			t.Errorf("%s has copies %v", id, kept)
		}
	}
	for _, root := range []string{f.g.dir, f.files} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if strings.HasPrefix(filepath.Base(path), ".") {
				t.Errorf("left: %s", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
