package test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/migrations"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres"
	"github.com/gatehouse-id/gatehouse/tenancy/postgres/postgrestest"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// ask is api.call of a process that may die meanwhile: status 0 then.
func (a api) ask(method, path string, body any) (status int) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, a.g.issuer("")+"api/v2"+path, bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+a.token)
	if a.as != "" {
		req.Header.Set("tenant-id", a.as)
	}
	resp, err := a.g.http.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// rowsOf reads all rows of a tenant at a place, by table and id. What changes by
// itself, and what a fence notes, is left out.
func rowsOf(t *testing.T, p tenancy.Provider, loc tenancy.Location) map[string]string {
	t.Helper()
	db, err := p.Open(t.Context(), loc)
	if err != nil {
		t.Fatalf("%+v: %v", loc, err)
	}
	defer db.Close()
	all := make(map[string]string)
	for _, table := range migrations.Layout() {
		if slices.Contains([]string{"counters", "logs", "sync_state"}, table.Name) {
			continue
		}
		names := make([]string, len(table.Columns))
		for i, c := range table.Columns {
			names[i] = `"` + c.Name + `"`
		}
		rows, err := db.QueryContext(t.Context(), p.Rebind(`SELECT "`+table.Key.Name+`", `+strings.Join(names, ", ")+` FROM `+table.Name+` WHERE tenant_id = ?`), loc.Tenant)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values := make([]any, len(names)+1)
			dest := make([]any, len(values))
			for i := range values {
				dest[i] = &values[i]
			}
			if err := rows.Scan(dest...); err != nil {
				t.Fatal(err)
			}
			for i, v := range values {
				switch v := v.(type) {
				case []byte:
					values[i] = string(v)
				case bool:
					values[i] = map[bool]int64{true: 1}[v]
				}
			}
			if key := fmt.Sprint(values[0]); !strings.HasPrefix(key, "owed:") { // a key that is made soon
				all[table.Name+" "+key] = fmt.Sprintf("%#v", values[1:])
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
	return all
}

// registered reads a stopped gateway's registry: what each tenant's row says of
// databases and fences.
func (g *gateway) registered(t *testing.T) map[string]*tenancy.Tenant {
	t.Helper()
	db, err := (&sqlite.Provider{Dir: filepath.Join(g.dir, "data", "tenants")}).Open(t.Context(), tenancy.Location{Tenant: "control_plane"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), `SELECT id, state, placement, "database", fence_until, copies FROM tenants WHERE id <> 'control_plane'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := make(map[string]*tenancy.Tenant)
	for rows.Next() {
		x, copies := new(tenancy.Tenant), ""
		if err := rows.Scan(&x.ID, &x.State, &x.Placement, &x.Database, &x.FenceUntil, &copies); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(copies), &x.Copies); err != nil {
			t.Fatalf("copies %q: %v", copies, err)
		}
		all[x.ID] = x
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// inShared counts a tenant's rows in the tables of a database that tenants share.
func inShared(t *testing.T, dsn, tenant string) (n int64) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), `SELECT table_schema, table_name, column_name FROM information_schema.columns
		WHERE column_name IN ('tenant_id', 'tenant') AND table_schema NOT IN ('pg_catalog', 'information_schema')`)
	if err != nil {
		t.Fatal(err)
	}
	type column struct{ schema, table, name string }
	var columns []column
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.schema, &c.table, &c.name); err != nil {
			t.Fatal(err)
		}
		columns = append(columns, c)
	}
	if len(columns) != 0 && len(columns) < len(migrations.Layout()) || rows.Err() != nil { // none before the first tenant comes
		t.Fatalf("%d tables, %v", len(columns), rows.Err())
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `SELECT set_config('gatehouse.tenant', $1, true)`, tenant); err != nil { // row-level security
		t.Fatal(err)
	}
	for _, c := range columns {
		var some int64
		if err := tx.QueryRow(t.Context(), `SELECT COUNT(*) FROM `+pgx.Identifier{c.schema, c.table}.Sanitize()+` WHERE `+c.name+` = $1`, tenant).Scan(&some); err != nil {
			t.Fatal(err)
		}
		n += some
	}
	return n
}

// killing is a gateway with two placements that is killed again and again.
type killing struct {
	g       gateway
	config  string
	dsn     string
	tenants []string

	mu    sync.Mutex
	asked map[string]bool // roles that may be there, "tenant role"; true for those that must
	moves int             // begun
}

func newKilling(t *testing.T, tenants ...string) *killing {
	t.Helper()
	g, config := withoutAdministrator(t)
	k := &killing{g: g, dsn: postgrestest.DSN(t), tenants: tenants, asked: make(map[string]bool)}
	k.config = config
	for from, to := range map[string]string{
		"admin off": "admin unix/" + filepath.Join(g.dir, "admin.sock"),
		"base_domain auth.localhost": "base_domain auth.localhost\n\t\tdatabase main sqlite \"" + filepath.Join(g.dir, "main") +
			"\"\n\t\tdatabase files sqlite \"" + filepath.Join(g.dir, "files") + "\"\n\t\tdatabase rows postgres \"" + k.dsn + "\" {\n\t\t\tisolation row\n\t\t}",
	} {
		k.config = strings.Replace(k.config, from, to, 1)
	}
	p := k.start(t)
	cp := p.platform(t)
	for _, id := range k.tenants {
		cp.call(t, http.MethodPost, "/tenants", map[string]any{"id": id, "friendly_name": id}).want(t, http.StatusCreated)
		cp.on(id).call(t, http.MethodPost, "/users", newUser("same")).want(t, http.StatusCreated)
	}
	p.stop(t)
	return k
}

func newUser(id string) map[string]any {
	return map[string]any{"connection": "Username-Password-Authentication", "user_id": id, "email": id + "@example.com", "password": password}
}

func (k *killing) start(t *testing.T) *process {
	t.Helper()
	return startProcess(t, k.g, k.config)
}

// round has tenants move and roles made until the process is killed.
func (k *killing) round(t *testing.T, n int) {
	p := k.start(t)
	cp := p.platform(t)
	dead := time.After(time.Duration(50+rand.IntN(3100)) * time.Millisecond)
	var busy sync.WaitGroup
	for i, id := range k.tenants {
		busy.Go(func() {
			time.Sleep(time.Duration(rand.IntN(900)) * time.Millisecond) // so that a kill meets several stages
			role := fmt.Sprintf("during%d", n)
			k.note(id+" "+role, false)
			if cp.on(id).ask(http.MethodPost, "/roles", map[string]any{"name": role}) == http.StatusOK {
				k.note(id+" "+role, true)
			}
			if (i+n)%2 == 0 {
				return // whatever was cut off goes on by itself
			}
			to := []string{"main", "files", "rows"}[rand.IntN(3)]
			if cp.ask(http.MethodPost, "/tenants/"+id+"/move", map[string]any{"provider": to, "params": map[string]any{"drop_old": true}}) == http.StatusAccepted {
				k.mu.Lock()
				k.moves++
				k.mu.Unlock()
			}
		})
	}
	<-dead
	p.kill()
	busy.Wait()
}

func (k *killing) note(role string, must bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked[role] = must
}

// settled has every tenant move home, waits until nothing moves, and stops.
func (k *killing) settled(t *testing.T) {
	t.Helper()
	p := k.start(t)
	cp := p.platform(t)
	for i, id := range k.tenants {
		home := []string{"main", "files", "rows"}[i%3]
		within(t, 30*time.Second, id+" is at rest in "+home, func() bool {
			moved := cp.call(t, http.MethodPost, "/tenants/"+id+"/move", map[string]any{"provider": home, "params": map[string]any{"drop_old": true}})
			return moved.status == http.StatusConflict && strings.Contains(string(moved.body), "already")
		})
	}
	p.stop(t)
}

// content is a tenant's rows in the one place where it is. It fails the test where
// there is anything of the tenant anywhere else, but in copies that the registry
// lists as due: the end of the process may have come before they were dropped.
func (k *killing) content(t *testing.T, x *tenancy.Tenant) map[string]string {
	t.Helper()
	var places []string // beginnings of files' names: maybe with -wal and -shm
	inRows := x.Placement == "rows"
	for _, c := range append([]tenancy.Copy{{Placement: x.Placement, Database: x.Database}}, x.Copies...) {
		if c.Operation != "" || c.DropAt > tenancy.At(time.Now()) {
			t.Errorf("%s has a copy that is not due: %+v", x.ID, c)
		}
		inRows = inRows || c.Placement == "rows"
		places = append(places, filepath.Join(k.g.dir, c.Placement, cmp.Or(c.Database, x.ID)+".db"))
	}
	var files []string
	for _, dir := range []string{"main", "files"} {
		found, err := filepath.Glob(filepath.Join(k.g.dir, dir, x.ID+"*"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	shared := inShared(t, k.dsn, x.ID)
	for _, f := range files {
		if !slices.ContainsFunc(places, func(place string) bool { return strings.HasPrefix(f, place) }) {
			t.Errorf("%s is in %v; beside there is %s", x.ID, places, f)
		}
	}
	if shared != 0 && !inRows {
		t.Errorf("%s is in %v; beside there are %d rows in shared tables", x.ID, places, shared)
	}
	if x.Placement == "rows" {
		if shared == 0 {
			t.Errorf("%s is in rows, where it has none", x.ID)
		}
		p := &postgres.Provider{DSN: k.dsn, Isolation: postgres.Row}
		defer p.Close()
		return rowsOf(t, p, x.Location())
	}
	return rowsOf(t, &sqlite.Provider{Dir: filepath.Join(k.g.dir, x.Placement)}, x.Location())
}

var madeMeanwhile = regexp.MustCompile(`during[0-9]+`)

// TestKilledWhileMoving: a gateway is killed twenty times while six tenants move
// between files and a database that tenants share, and are written to. What
// was cut off goes on by itself or is asked for again. In the end every tenant is
// whole in exactly one place, with every row it had and every role whose making was
// acknowledged; of half copies nothing is left, and no fence outlives its time
// (contract C8.17).
func TestKilledWhileMoving(t *testing.T) {
	k := newKilling(t, "t0", "t1", "t2", "t3", "t4", "t5")
	before := make(map[string]map[string]string)
	for id, x := range k.g.registered(t) {
		before[id] = k.content(t, x)
	}
	began := time.Now()
	const kills = 20
	for n := range kills {
		k.round(t, n)
	}
	t.Logf("%d kills in %v, %d moves were begun", kills, time.Since(began).Round(time.Second), k.moves)
	k.settled(t)
	after := k.g.registered(t)
	if len(after) != len(k.tenants) || k.moves < kills/2 {
		t.Errorf("%d tenants, %d moves", len(after), k.moves)
	}
	must := 0
	for id, x := range after {
		// A fence whose mover was killed ends by itself, ten seconds after it began.
		if x.State != tenancy.StateActive || x.FenceUntil > tenancy.At(time.Now().Add(10*time.Second)) {
			t.Errorf("registry row: %s %s, copies %v, fence %v", id, x.State, x.Copies, x.FenceUntil)
		}
		now := k.content(t, x)
		for row, value := range before[id] {
			if now[row] != value {
				t.Errorf("%s: %s was\n%s\nand is\n%s", id, row, value, now[row])
			}
		}
		made := make(map[string]bool)
		for row, value := range now {
			role := madeMeanwhile.FindString(value)
			if _, asked := k.asked[id+" "+role]; strings.HasPrefix(row, "roles ") && role != "" {
				made[role] = true
				if !asked {
					t.Errorf("%s has a role %s of nobody's", id, role)
				}
			}
		}
		for asked, acknowledged := range k.asked {
			if role, ok := strings.CutPrefix(asked, id+" "); ok && acknowledged {
				must++
				if !made[role] {
					t.Errorf("%s has lost role %s", id, role)
				}
			}
		}
	}
	if must < kills {
		t.Errorf("only %d roles were made meanwhile", must)
	}
}
