package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// life is what one caller wants of one tenant, and gets in spite of everything: the
// same requests until each is answered.
type life struct {
	name string // friendly name, which only this tenant has
	id   string // generated; "" until the answer says it
	end  string // active, suspended or gone
}

// callers live through lives on a gateway that is killed meanwhile.
type callers struct {
	api
	t        *testing.T
	stop     atomic.Bool // no new lives are begun
	busy     sync.WaitGroup
	replayed atomic.Int64 // answers that were given before

	mu    sync.Mutex
	lives []*life
}

// send is one request; status 0 means that there was no answer.
func (c *callers) send(method, path, key string, body any) (status int, answer map[string]any) {
	b, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.g.issuer("")+"api/v2"+path, bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.token)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.g.http.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || len(text) > 0 && json.Unmarshal(text, &answer) != nil {
		return 0, nil // cut off by the kill
	}
	if resp.Header.Get("Gatehouse-Replayed") == "true" {
		c.replayed.Add(1)
	}
	return resp.StatusCode, answer
}

// until repeats a request until its answer is one of those wanted. No answer, and
// that the server cannot now, are no answers.
func (c *callers) until(method, path, key string, body any, want ...int) (int, map[string]any) {
	deadline := time.Now().Add(4 * time.Minute)
	for {
		status, answer := c.send(method, path, key, body)
		if slices.Contains(want, status) {
			return status, answer
		}
		if status != 0 && status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			c.t.Errorf("%s %s: status %d, %v; want %v", method, path, status, answer, want)
			return 0, nil
		}
		time.Sleep(20 * time.Millisecond) // the gateway may be on its way up
	}
}

// settled waits until the tenant is in a state that is none of work under way.
func (c *callers) settled(id string) string {
	for {
		status, x := c.until(http.MethodGet, "/tenants/"+id, "", nil, http.StatusOK, http.StatusNotFound)
		state, _ := x["state"].(string)
		switch {
		case status == http.StatusNotFound:
			return "gone"
		case state != "provisioning" && state != "deleting":
			return state
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// live makes a tenant with a generated id and brings it to its end.
func (c *callers) live(l *life) {
	body := map[string]any{"friendly_name": l.name, "metadata": map[string]any{"of": l.name}}
	_, made := c.until(http.MethodPost, "/tenants", l.name, body, http.StatusCreated, http.StatusAccepted)
	l.id, _ = made["id"].(string)
	if l.id == "" || made["friendly_name"] != l.name {
		c.t.Errorf("%s: made %v", l.name, made)
		return
	}
	if state := c.settled(l.id); state != "active" {
		c.t.Errorf("%s is %s", l.name, state)
		return
	}
	if l.end == "active" {
		return
	}
	c.until(http.MethodPost, "/tenants/"+l.id+"/suspend", "", map[string]any{"reason": "test"}, http.StatusOK)
	if l.end == "suspended" {
		return
	}
	c.until(http.MethodPost, "/tenants/"+l.id+"/resume", "", nil, http.StatusOK)
	c.until(http.MethodDelete, "/tenants/"+l.id, "", nil, http.StatusNoContent, http.StatusAccepted, http.StatusNotFound)
	if state := c.settled(l.id); state != "gone" {
		c.t.Errorf("%s was deleted and is %s", l.name, state)
	}
}

// synced waits until every tenant has what the control plane shares.
func (c *callers) synced() {
	c.t.Helper()
	_, now := c.until(http.MethodGet, "/sync/status?per_page=1", "", nil, http.StatusOK)
	path := fmt.Sprintf("/sync/status?per_page=1&wait=30&revision=%v", now["revision"])
	if status, now := c.send(http.MethodGet, path, "", nil); status != http.StatusOK || now["complete"] != true {
		c.t.Errorf("synchronisation: %d %v", status, now)
	}
}

// begin has callers live until they are told to stop.
func (c *callers) begin(count int) {
	for n := range count {
		c.busy.Go(func() {
			for i := 0; !c.stop.Load() && !c.t.Failed(); i++ {
				l := &life{name: fmt.Sprintf("Life %d of %d", i, n), end: []string{"active", "gone", "suspended"}[(i+n)%3]}
				c.mu.Lock()
				c.lives = append(c.lives, l)
				c.mu.Unlock()
				c.live(l)
			}
		})
	}
}

// killAgainAndAgain kills gateways, most of them while they answer, others while
// they take up what the one before left: so many times, or at least least times and
// until limit is over.
func killAgainAndAgain(t *testing.T, g gateway, config string, kills, least int, limit time.Duration) (done int) {
	start := 500 * time.Millisecond // about what a start takes here
	for begun := time.Now(); done < kills && (done < least || time.Since(begun) < limit) && !t.Failed(); done++ {
		began := time.Now()
		if done%4 == 3 {
			p := launch(t, g, config)
			<-time.After(time.Duration(rand.Int64N(int64(start))))
			p.kill()
			continue
		}
		p := startProcess(t, g, config)
		start = time.Since(began)
		<-time.After(time.Duration(rand.Int64N(int64(min(start, time.Second)))))
		p.kill()
	}
	return done
}

// TestKilledWhileProvisioning: a gateway is killed again and again while tenants
// are made, suspended, resumed and deleted by callers who repeat what was not
// answered. In the end every tenant is as its caller wanted it and there once, with
// one organization and one set of defaults; of those deleted nothing is left; no
// operation is under way; and one more start changes nothing (contract C5.14, C8.4,
// C8.7, C8.12).
func TestKilledWhileProvisioning(t *testing.T) {
	const (
		kills = 200
		limit = 60 * time.Second // on a busy machine fewer kills have to do
		least = 20
	)
	g, config := withoutAdministrator(t)
	config = strings.Replace(config, "admin off", "admin unix/"+filepath.Join(g.dir, "admin.sock"), 1)
	p := startProcess(t, g, config)
	c := &callers{api: p.platform(t), t: t}
	p.stop(t)
	c.begin(4)
	began := time.Now()
	done := killAgainAndAgain(t, g, config, kills, least, limit)
	took := time.Since(began).Round(time.Second)

	p = startProcess(t, g, config)
	c.stop.Store(true)
	c.busy.Wait()
	t.Logf("%d kills in %v, %d tenants, %d answers given again", done, took, len(c.lives), c.replayed.Load())
	if done < least || len(c.lives) < 4 {
		t.Errorf("%d kills, %d tenants", done, len(c.lives))
	}
	c.synced()
	p.stop(t)
	if t.Failed() {
		return
	}
	first := everything(t, g)
	c.check(t, g, first)
	p = startProcess(t, g, config)
	c.synced()
	p.stop(t)
	if second := everything(t, g); !maps.Equal(first, second) {
		for row, value := range second {
			if first[row] != value {
				t.Errorf("another start changed %s from\n%s\nto\n%s", row, first[row], value)
			}
		}
		t.Errorf("%d rows, then %d", len(first), len(second))
	}
}

// tenantsDir is where the gateway's databases are.
func tenantsDir(g gateway) string { return filepath.Join(g.dir, "data", "tenants") }

// everything is the rows of all tenants of a stopped gateway, but for what notes
// when something was looked at.
func everything(t *testing.T, g gateway) map[string]string {
	t.Helper()
	all := make(map[string]string)
	provider := &sqlite.Provider{Dir: tenantsDir(g)}
	ids := slices.Collect(maps.Keys(g.registered(t)))
	for _, id := range append(ids, "control_plane") {
		for row, value := range rowsOf(t, provider, tenancy.Location{Tenant: id}) {
			if !strings.HasPrefix(row, "sync_targets ") && !strings.HasPrefix(row, "files ") && !strings.HasPrefix(row, "file_locks ") {
				all[id+": "+row] = value
			}
		}
	}
	return all
}

// check compares a stopped gateway's databases with what the callers wanted.
func (c *callers) check(t *testing.T, g gateway, rows map[string]string) {
	t.Helper()
	registry := g.registered(t)
	want := map[string]string{}
	for _, l := range c.lives {
		if l.end != "gone" {
			want[l.id] = l.end
		}
	}
	for id, x := range registry {
		if want[id] != string(x.State) {
			t.Errorf("%s is %s, want %q", id, x.State, want[id])
		}
	}
	if len(registry) != len(want) {
		t.Errorf("%d tenants, want %d", len(registry), len(want))
	}
	files, err := filepath.Glob(filepath.Join(tenantsDir(g), "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		id, rest, _ := strings.Cut(filepath.Base(f), ".")
		if id == "" && strings.HasPrefix(rest, "gatehouse-part-") {
			continue // of a file that was not finished; the next to make one removes it
		}
		if _, ok := registry[id]; !ok && id != "control_plane" && strings.Contains(f, ".db") {
			t.Errorf("left behind: %s", f)
		}
	}
	db, err := (&sqlite.Provider{Dir: tenantsDir(g)}).Open(t.Context(), tenancy.Location{Tenant: "control_plane"})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	count := func(want int, query string, args ...any) {
		t.Helper()
		rows, err := db.QueryContext(t.Context(), "SELECT COUNT(*) FROM "+query, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		n := 0
		for rows.Next() {
			if err := rows.Scan(&n); err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Err(); err != nil || n != want {
			t.Errorf("%d of %s %v, want %d (%v)", n, query, args, want, err)
		}
	}
	count(len(want)+1, "organizations") // one each, and the control plane's own
	for row, value := range rows {
		if strings.HasPrefix(row, "control_plane: operations ") && !strings.Contains(value, `"succeeded"`) {
			t.Errorf("%s did not succeed: %s", row, value)
		}
	}
	count(len(c.lives), "operations WHERE kind = 'provision'")
	for _, l := range c.lives {
		count(1, "request_keys WHERE operation_id IN (SELECT id FROM operations WHERE kind = 'provision' AND subject = ?)", l.id)
	}
	tables := make(map[string]int) // rows by tenant and table
	for row := range rows {
		tables[row[:strings.LastIndexByte(row, ' ')]]++
	}
	for id := range want {
		count(1, "organizations WHERE name = ?", id)
		for table, n := range map[string]int{"clients": 2, "connections": 1, "client_connections": 1, "client_grants": 1} {
			if got := tables[id+": "+table]; got != n {
				t.Errorf("%s has %d %s, want %d", id, got, table, n)
			}
		}
	}
}
