package management

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// connections are the sources of users (contract 5.9).
var connections = &Resource[tenancy.Connection]{
	Path: "/connections", Quota: "connections", Key: "connections", Entity: "Connection", ID: "id", Table: tenancy.Connections,
	Members: members{
		"id":           readOnly(),
		"name":         text(1, 128).must().atOnce().that(connectionName),
		"display_name": text(0, 128),
		"strategy": text(1, 0).must().atOnce().in(tenancy.StrategyDatabase, "email", "sms", "google-oauth2", "facebook", "apple",
			"github", "windowslive", "waad", "okta", "oidc", "oauth2"),
		"options":              member{max: 100},
		"enabled_clients":      beside[[]string](texts(1000).distinct()),
		"is_domain_connection": flag(),
		"show_as_button":       flag(),
		"realms":               texts(10),
		"metadata":             dict(10, 255),
		"is_system":            readOnly(),
		"inherited_options":    readOnly(),
		"created_at":           readOnly(),
		"updated_at":           readOnly(),
	},
	New: func() *tenancy.Connection {
		return &tenancy.Connection{Row: tenancy.Row{ID: tenancy.NewID("con_", 16)}}
	},
	Validate: validateConnection,
	Also:     alsoConnection,
	View:     viewConnections,
	List: func(_ context.Context, c *Call, f *filter) error {
		if s := slices.Concat(c.query["strategy"], c.query["strategy[]"]); len(s) > 0 {
			if len(s) > 20 {
				return badQuery("'strategy' has more than 20 values")
			}
			f.and("strategy IN ?", s)
		}
		if name := c.query.Get("name"); name != "" {
			f.and("name = ?", name)
		}
		return nil
	},
	Taken: func(row *tenancy.Connection) error {
		return conflict("Connection", "A connection with the name '%s' already exists", row.Name)
	},
	Synced: true,
}

var connectionNames = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,126}[a-zA-Z0-9])?$`)

func connectionName(s string) string {
	if !connectionNames.MatchString(s) {
		return "String does not match pattern: " + connectionNames.String()
	}
	return ""
}

// secretOptions are the members of options that go in and never come out
// (contract C5.73).
var secretOptions = []string{"client_secret", "app_secret", "twilio_token", "api_key", "private_key", "password"}

// hint shows that a secret is set, and which one to whoever knows it.
func hint(secret string) string {
	const dots = "••••"
	if r := []rune(secret); len(r) >= 8 {
		return dots + string(r[len(r)-4:])
	}
	return dots
}

func validateConnection(ctx context.Context, c *Call, before, row *tenancy.Connection) error {
	if len(row.Realms) == 0 && (before == nil || len(before.Realms) > 0) {
		row.Realms = []string{row.Name}
	}
	if before == nil || c.given("options") {
		if err := splitSecrets(before, row); err != nil {
			return err
		}
	}
	if ids, ok := extra[[]string](c, "enabled_clients"); ok {
		if err := mustExist(ctx, tenancy.Clients, "client", ids); err != nil {
			return err
		}
	}
	if row.Strategy == tenancy.StrategyDatabase {
		return databaseOptions(row.Options)
	}
	return nil
}

// splitSecrets moves the secrets of options to where they are sealed. One that is
// absent stays, null removes it, and stays behind as null, so that none is inherited
// in its place (contract C7.15); hints that are written back are dropped.
func splitSecrets(before, row *tenancy.Connection) error {
	options, secrets := maps.Clone(row.Options), map[string]string{}
	old := map[string]string{}
	if before != nil {
		old = before.Secrets
		maps.Copy(secrets, old)
	}
	for _, name := range secretOptions {
		if v, ok := options[name+"_hint"]; ok {
			if old[name] == "" || v != hint(old[name]) {
				return invalid("options."+name+"_hint", "Read-only property cannot be changed")
			}
			delete(options, name+"_hint")
		}
		v, ok := options[name]
		if !ok {
			continue
		}
		switch v := v.(type) {
		case nil:
			delete(secrets, name)
		case string:
			delete(options, name)
			secrets[name] = v
		default:
			return invalid("options."+name, "Expected type string")
		}
	}
	row.Options, row.Secrets = options, secrets
	if len(secrets) == 0 {
		row.Secrets = nil
	}
	return nil
}

// databaseOptions checks what the connection's own machinery relies on (contract
// C5.74); other options are kept as they are.
func databaseOptions(options map[string]any) error {
	for _, name := range []string{"disable_signup", "requires_username", "brute_force_protection", "import_mode"} {
		if _, ok := options[name].(bool); !ok && options[name] != nil {
			return invalid("options."+name, "Expected type boolean")
		}
	}
	if policy, given := options["password_policy"]; given && policy != nil {
		name, _ := policy.(string)
		if !slices.Contains([]string{"none", "low", "fair", "good", "excellent"}, name) {
			return invalid("options.password_policy", "No enum match for: %v", policy)
		}
	}
	if complexity, given := options["password_complexity_options"]; given && complexity != nil {
		o, ok := complexity.(map[string]any)
		n, numeric := o["min_length"].(float64)
		if !ok || o["min_length"] != nil && (!numeric || n < 1 || n > 128 || n != float64(int(n))) {
			return invalid("options.password_complexity_options.min_length", "Expected an integer from 1 to 128")
		}
	}
	return nil
}

func alsoConnection(ctx context.Context, c *Call, before, row *tenancy.Connection) ([]tenancy.Stmt, error) {
	if row == nil {
		return tenancy.RemoveConnection(ctx, before.ID), nil
	}
	wanted, ok := extra[[]string](c, "enabled_clients")
	if !ok {
		return nil, nil
	}
	there, err := tenancy.ClientConnections.Find(ctx, tenancy.Filter{Where: "connection_id = ?", Args: []any{row.ID}})
	if err != nil {
		return nil, err
	}
	var stmts []tenancy.Stmt
	has := map[string]bool{}
	for _, link := range there {
		if has[link.ClientID] = true; !slices.Contains(wanted, link.ClientID) {
			stmts = append(stmts, tenancy.ClientConnections.Remove(ctx, link.ID))
		}
	}
	for _, id := range wanted {
		if !has[id] {
			stmts = append(stmts, exists(ctx, tenancy.Clients, id),
				tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(id, row.ID)))
		}
	}
	return stmts, nil
}

func viewConnections(ctx context.Context, c *Call, rows []tenancy.Connection, answers []object) error {
	clientsOf := map[string][]string{}
	if ids := idsOf(rows); len(ids) > 0 {
		links, err := tenancy.ClientConnections.Find(ctx, tenancy.Filter{Where: "connection_id IN ?", Args: []any{ids}})
		if err != nil {
			return err
		}
		for _, link := range links {
			clientsOf[link.ConnectionID] = append(clientsOf[link.ConnectionID], link.ClientID)
		}
	}
	for i := range rows {
		options := maps.Clone(rows[i].Options)
		if options == nil {
			options = map[string]any{}
		}
		for name, secret := range rows[i].Secrets {
			options[name+"_hint"] = hint(secret)
		}
		// Of what is inherited only the names are shown (contract C7.18).
		inForce, err := rows[i].EffectiveOptions(ctx)
		if err != nil {
			return err
		}
		answers[i].set("inherited_options", inForce.Inherited())
		answers[i].set("options", options)
		answers[i].set("enabled_clients", orEmpty(clientsOf[rows[i].ID]))
	}
	return nil
}

func idsOf[T any](rows []T) []string {
	ids := make([]string, len(rows))
	for i := range rows {
		ids[i] = meta(&rows[i]).ID
	}
	return ids
}

// connectionRoutes are those on a connection beside the five verbs (contract
// C5.71). All of them are allowed on system connections (C6.34).
var connectionRoutes = []route{
	get("/connections/{id}/clients", connectionClients, "read:connections"),
	write(http.MethodPatch, "/connections/{id}/clients", http.StatusNoContent, Handle(enableClients), "update:connections"),
	write(http.MethodDelete, "/connections/{id}/users", http.StatusNoContent, removeConnectionUser, "delete:users"),
}

func connectionClients(ctx context.Context, c *Call) (any, error) {
	connection, err := connections.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	l := listing[tenancy.ClientConnection]{
		table: tenancy.ClientConnections, key: "clients", form: checkpoint,
		answers: func(_ context.Context, rows []tenancy.ClientConnection) ([]object, error) {
			answers := make([]object, len(rows))
			for i := range rows {
				answers[i].set("client_id", rows[i].ClientID)
			}
			return answers, nil
		},
	}
	l.filter.and("connection_id = ?", connection.ID)
	return l.answer(ctx, c)
}

// enableClients switches the connection of the path for clients.
func enableClients(ctx context.Context, c *Call, in *[]enablement) (any, error) {
	return enable(ctx, *in, func() error {
		connection, err := connections.get(ctx, c, c.param("id"))
		if err != nil {
			return err
		}
		for i := range *in {
			if e := &(*in)[i]; e.ClientID == "" || e.ConnectionID != "" && e.ConnectionID != connection.ID {
				return invalid("", "Missing required property: client_id")
			}
			(*in)[i].ConnectionID = connection.ID
		}
		return nil
	})
}

func removeConnectionUser(ctx context.Context, c *Call) (any, error) {
	connection, err := connections.get(ctx, c, c.param("id"))
	if err != nil {
		return nil, err
	}
	email := strings.TrimSpace(c.query.Get("email"))
	if email == "" {
		return nil, badQuery("'email' is required")
	}
	u, err := tenancy.Users.First(ctx, "connection = ? AND email = ?", connection.Name, tenancy.FoldEmail(email))
	if err != nil {
		_, err = found(u, err)("User")
		return nil, err
	}
	err = tenancy.Commit(ctx, tenancy.RemoveUser(ctx, u.ID)...)
	if errors.Is(err, tenancy.ErrStale) {
		return nil, missing("User")
	}
	return none{}, err
}
