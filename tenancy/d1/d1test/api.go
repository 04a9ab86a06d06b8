package d1test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// API is Cloudflare's HTTP API for D1 as far as it is used here: databases by
// name, statements in batches, errors in their envelope. The databases behind it
// are the Worker's, whose SQLite refuses what D1's refuses.
type API struct {
	URL     string // what stands before "/accounts"
	Account string
	Token   string

	// Before, if set, sees each request first; it answers and returns true, or
	// returns false. It is set before the first request.
	Before func(w http.ResponseWriter, r *http.Request) bool

	// Torn applies each statement of a batch on its own, as an API would that
	// does not keep batches together. It is set before the first request.
	Torn bool

	worker   string
	mu       sync.Mutex
	names    map[string]string // id -> name
	requests int
}

// NewAPI starts an API with no databases. It ends with the test.
func NewAPI(t testing.TB) *API {
	t.Helper()
	a := &API{Account: "0123456789abcdef0123456789abcdef", Token: "a token for tests", worker: Worker(t), names: map[string]string{}}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.URL = server.URL + "/client/v4"
	return a
}

// Names returns the names of all databases, sorted.
func (a *API) Names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]string, 0, len(a.names))
	for _, name := range a.names {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// ID returns the id of the database of this name, or "".
func (a *API) ID(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, n := range a.names {
		if n == name {
			return id
		}
	}
	return ""
}

// Requests returns how many requests were made.
func (a *API) Requests() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

var (
	path = regexp.MustCompile(`^/client/v4/accounts/([^/]+)/d1/database(?:/([0-9a-f-]{36})(/raw)?)?$`)
	name = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
)

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.requests++
	a.mu.Unlock()
	if a.Before != nil && a.Before(w, r) {
		return
	}
	at := path.FindStringSubmatch(r.URL.Path)
	switch {
	case r.Header.Get("Authorization") != "Bearer "+a.Token:
		Refuse(w, http.StatusUnauthorized, 10000, "Authentication error")
	case at == nil:
		Refuse(w, http.StatusNotFound, 7003, "Could not route to "+r.URL.Path+", perhaps your object identifier is invalid?")
	case at[1] != a.Account:
		Refuse(w, http.StatusForbidden, 7403, "The given account is not valid or is not authorized to access this service")
	case at[3] != "" && r.Method == http.MethodPost:
		a.raw(w, r, at[2])
	case at[2] != "" && r.Method == http.MethodDelete:
		a.remove(w, at[2])
	case at[2] == "" && r.Method == http.MethodPost:
		a.create(w, r)
	case at[2] == "" && r.Method == http.MethodGet:
		a.list(w, r)
	default:
		Refuse(w, http.StatusMethodNotAllowed, 10405, "Method not allowed for this authentication scheme")
	}
}

type database struct {
	UUID string `json:"uuid"`
	Name string `json:"name"`
}

func (a *API) create(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Name string `json:"name"`
		Hint string `json:"primary_location_hint"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !name.MatchString(body.Name) {
		Refuse(w, http.StatusBadRequest, 7400, "The request is malformed: name")
		return
	}
	if body.Hint != "" && !slices.Contains([]string{"wnam", "enam", "weur", "eeur", "apac", "oc"}, body.Hint) {
		Refuse(w, http.StatusBadRequest, 7400, "The request is malformed: primary_location_hint")
		return
	}
	a.mu.Lock()
	for _, taken := range a.names {
		if taken == body.Name {
			a.mu.Unlock()
			Refuse(w, http.StatusBadRequest, 7502, "A database with that name already exists")
			return
		}
	}
	id := uuid()
	a.names[id] = body.Name
	a.mu.Unlock()
	if _, err := a.ask(http.MethodPost, "", map[string]string{"name": id}); err != nil {
		Refuse(w, http.StatusInternalServerError, 7500, err.Error())
		return
	}
	accept(w, database{id, body.Name}, nil)
}

// list answers with the databases whose name has the one asked for in it, as
// Cloudflare does, in pages.
func (a *API) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	size, _ := strconv.Atoi(q.Get("per_page"))
	page, _ := strconv.Atoi(q.Get("page"))
	if size < 10 || size > 10000 || page < 1 {
		Refuse(w, http.StatusBadRequest, 7400, "The request is malformed: page")
		return
	}
	var list []database
	a.mu.Lock()
	for id, name := range a.names {
		if strings.Contains(name, q.Get("name")) {
			list = append(list, database{id, name})
		}
	}
	a.mu.Unlock()
	slices.SortFunc(list, func(x, y database) int { return strings.Compare(y.Name, x.Name) }) // longer names before their beginnings
	total := len(list)
	list = list[min(total, (page-1)*size):min(total, page*size)]
	accept(w, list, map[string]int{"page": page, "per_page": size, "count": len(list), "total_count": total})
}

func (a *API) remove(w http.ResponseWriter, id string) {
	a.mu.Lock()
	_, there := a.names[id]
	delete(a.names, id)
	a.mu.Unlock()
	if !there {
		Refuse(w, http.StatusNotFound, 7404, "The database "+id+" could not be found")
		return
	}
	if _, err := a.ask(http.MethodDelete, "/"+id, nil); err != nil {
		Refuse(w, http.StatusInternalServerError, 7500, err.Error())
		return
	}
	accept(w, nil, nil)
}

func (a *API) raw(w http.ResponseWriter, r *http.Request, id string) {
	a.mu.Lock()
	_, there := a.names[id]
	a.mu.Unlock()
	if !there {
		Refuse(w, http.StatusNotFound, 7404, "The database "+id+" could not be found")
		return
	}
	var body struct {
		Batch []json.RawMessage `json:"batch"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Batch) == 0 {
		Refuse(w, http.StatusBadRequest, 7400, "The request is malformed: batch")
		return
	}
	groups := [][]json.RawMessage{body.Batch}
	if a.Torn {
		groups = groups[:0]
		for i := range body.Batch {
			groups = append(groups, body.Batch[i:i+1])
		}
	}
	var results []json.RawMessage
	for _, group := range groups {
		answer, err := a.ask(http.MethodPost, "/"+id+"/raw", map[string]any{"batch": group})
		if err != nil {
			Refuse(w, http.StatusBadRequest, 7500, err.Error())
			return
		}
		results = append(results, answer...)
	}
	accept(w, results, nil)
}

// ask calls the Worker and returns the parts of its result.
func (a *API) ask(method, path string, body any) ([]json.RawMessage, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(method, a.worker+"/accounts/"+a.Account+"/d1/database"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+Secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var e struct {
		Success bool
		Errors  []struct{ Message string }
		Result  json.RawMessage
	}
	if err := json.Unmarshal(answer, &e); err != nil {
		return nil, fmt.Errorf("%w: %s", err, answer)
	}
	if !e.Success {
		// D1 does not tell SQLite's extended code, unlike Durable Objects.
		message, _, _ := strings.Cut(e.Errors[0].Message, " (extended:")
		return nil, fmt.Errorf("%s", message)
	}
	var parts []json.RawMessage
	_ = json.Unmarshal(e.Result, &parts) // an object for what has no parts
	return parts, nil
}

// Refuse answers with an error in Cloudflare's envelope.
func Refuse(w http.ResponseWriter, status, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"success": false, "result": nil, "messages": []any{}, "errors": []map[string]any{{"code": code, "message": message}},
	})
}

func accept(w http.ResponseWriter, result any, info any) {
	answer := map[string]any{"success": true, "result": result, "messages": []any{}, "errors": []any{}}
	if info != nil {
		answer["result_info"] = info
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
