package management

import (
	"context"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// logRoutes read the tenant's log (contract C5.80, C5.89, C5.90).
var logRoutes = []route{
	get("/logs", listLogs, "read:logs"),
	get("/logs/{id}", readLog, "read:logs"),
	get("/users/{id}/logs", userLogs, "read:logs"),
}

// logFields are the members of an entry that can be searched for.
var logFields = map[string]searchField{
	"log_id": {"id", exactField}, "_id": {"id", exactField}, "date": {"date", timeField}, "type": {"type", exactField},
	"description": {"description", textField}, "ip": {"ip", exactField}, "user_agent": {"user_agent", textField},
	"client_id": {"client_id", exactField}, "client_name": {"client_name", textField}, "connection": {"connection", exactField},
	"user_id": {"user_id", exactField}, "user_name": {"user_name", textField}, "audience": {"audience", exactField},
	"scope": {"scope", textField}, "organization_id": {"org_id", exactField}, "organization_name": {"org_name", exactField},
	"hostname": {"hostname", exactField},
}

func logListing(c *Call) (*listing[tenancy.Event], error) {
	l := &listing[tenancy.Event]{
		table: tenancy.Events, key: "logs", order: "-date", sort: []string{"date"},
		answers: func(ctx context.Context, rows []tenancy.Event) ([]object, error) { return logViews(ctx, c, rows) },
	}
	q := strings.TrimSpace(c.query.Get("q"))
	if q == "" {
		return l, nil
	}
	p := searchParser{rest: q, fields: logFields}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	condition, args, _ := root.sql() // a log has no metadata, so that all of it is one condition
	l.filter.and(condition, args...)
	return l, nil
}

// listLogs answers with a page of the log, latest first, or with the entries that
// were written after one, in that order, for whoever copies the log elsewhere.
func listLogs(ctx context.Context, c *Call) (any, error) {
	l, err := logListing(c)
	if err != nil {
		return nil, err
	}
	if c.query.Has("from") || c.query.Has("take") {
		return l.tail(ctx, c)
	}
	return l.answer(ctx, c)
}

// tail is the list from an entry on: a bare array, as with Auth0, whose last
// entry's id is where the next call begins.
func (l *listing[T]) tail(ctx context.Context, c *Call) (any, error) {
	p, err := parsePage(c.query, bare)
	if err != nil {
		return nil, err
	}
	if c.query.Has("sort") {
		return nil, badPaging("'sort' cannot be used together with 'from' or 'take'")
	}
	o := order{column: "id"}
	if p.from != "" {
		if !tenancy.IsLogID(p.from) {
			return nil, badPaging("'from' is not the id of a log entry")
		}
		o.after(&l.filter, cursor{ID: p.from})
	}
	rows, err := l.table.Find(ctx, tenancy.Filter{Where: l.filter.condition(), Args: l.filter.args, Order: o.sql(), Limit: p.size})
	if err != nil {
		return nil, err
	}
	return l.objects(ctx, c, rows)
}

func readLog(ctx context.Context, c *Call) (any, error) {
	e, err := found(tenancy.Events.Get(ctx, c.param("id")))("Log")
	if err != nil {
		return nil, err
	}
	answers, err := logViews(ctx, c, []tenancy.Event{*e})
	if err != nil {
		return nil, err
	}
	c.shape(&answers[0])
	return answers[0], nil
}

// userLogs lists the entries about a user, whatever the query says (C5.80).
func userLogs(ctx context.Context, c *Call) (any, error) {
	u, err := c.user(ctx)
	if err != nil {
		return nil, err
	}
	l, err := logListing(c)
	if err != nil {
		return nil, err
	}
	l.filter.and("user_id = ?", u.ID)
	if c.query.Has("from") || c.query.Has("take") {
		return l.tail(ctx, c)
	}
	return l.answer(ctx, c)
}

// logViews is contract C5.90. What an entry names by id only is completed from
// the rows of now, as far as they are there still.
func logViews(ctx context.Context, c *Call, rows []tenancy.Event) ([]object, error) {
	var clientIDs, names []string
	for i := range rows {
		clientIDs = append(clientIDs, rows[i].ClientID)
		if rows[i].Connection != "" {
			names = append(names, rows[i].Connection)
		}
	}
	callers, err := byID(ctx, tenancy.Clients, clientIDs)
	if err != nil {
		return nil, err
	}
	connections := map[string]*tenancy.Connection{}
	if len(names) > 0 {
		list, err := tenancy.Connections.Find(ctx, tenancy.Filter{Where: "name IN ?", Args: []any{names}})
		if err != nil {
			return nil, err
		}
		for i := range list {
			connections[list[i].Name] = &list[i]
		}
	}
	answers := make([]object, len(rows))
	for i := range rows {
		answers[i] = logView(c, &rows[i], callers[rows[i].ClientID], connections[rows[i].Connection])
	}
	return answers, nil
}

func logView(c *Call, e *tenancy.Event, client *tenancy.Client, connection *tenancy.Connection) object {
	var o object
	o.set("_id", e.ID)
	o.set("log_id", e.ID)
	o.members = append(o.members, render(e).members...)
	o.drop("created_at", "updated_at")
	if client != nil && e.ClientName == "" {
		o.set("client_name", client.Name)
	}
	if connection != nil {
		o.set("connection_id", connection.ID)
		o.set("strategy", connection.Strategy)
		o.set("strategy_type", strategyType(connection.Strategy))
	}
	if len(e.Details) == 0 {
		o.set("details", struct{}{})
	}
	o.set("isMobile", strings.Contains(e.UserAgent, "Mobile"))
	o.set("tenant_name", c.tenant.ID)
	o.set("location_info", struct{}{})
	o.set("auth0_client", struct{}{})
	return o
}

// strategyType is the class of a strategy, as Auth0 calls it.
func strategyType(strategy string) string {
	switch strategy {
	case tenancy.StrategyDatabase:
		return "database"
	case "email", "sms":
		return "passwordless"
	}
	return "social"
}
