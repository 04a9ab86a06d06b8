package management

import (
	"context"
	"net/http"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// consentRoutes are those on what users let clients have, which the API calls
// grants (contract C5.93).
var consentRoutes = []route{
	get("/grants", listConsents, "read:grants"),
	write(http.MethodDelete, "/grants/{id}", http.StatusNoContent, removeConsent, "delete:grants"),
	write(http.MethodDelete, "/grants", http.StatusNoContent, removeUserConsents, "delete:grants"),
}

func consentView(row *tenancy.Consent) object {
	var o object
	o.set("id", row.ID)
	o.set("clientID", row.ClientID)
	o.set("user_id", row.UserID)
	o.set("audience", row.Audience)
	o.set("scope", orEmpty(row.Scope))
	return o
}

func listConsents(ctx context.Context, c *Call) (any, error) {
	l := listing[tenancy.Consent]{
		table: tenancy.Consents, key: "grants",
		answers: func(_ context.Context, rows []tenancy.Consent) ([]object, error) {
			answers := make([]object, len(rows))
			for i := range rows {
				answers[i] = consentView(&rows[i])
			}
			return answers, nil
		},
	}
	for _, name := range []string{"user_id", "client_id"} {
		if value := c.query.Get(name); value != "" {
			l.filter.and(name+" = ?", value)
		}
	}
	if audience := c.query.Get("audience"); audience != "" {
		l.filter.and("audience = ?", c.identifier(audience))
	}
	return l.answer(ctx, c)
}

// removeConsent takes a consent back, with the refresh tokens that came of it.
func removeConsent(ctx context.Context, c *Call) (any, error) {
	row, err := found(tenancy.Consents.Get(ctx, c.param("id")))("Grant")
	if err != nil {
		return nil, err
	}
	return none{}, tenancy.Commit(ctx, tenancy.RevokeConsent(ctx, row)...)
}

// removeUserConsents takes all consents of a user back. That there are none, or no
// such user, is success: afterwards there are none.
func removeUserConsents(ctx context.Context, c *Call) (any, error) {
	user := c.query.Get("user_id")
	if user == "" { // never those of everybody
		return nil, badQuery("'user_id' is required")
	}
	rows, err := tenancy.Consents.Find(ctx, tenancy.Filter{Where: "user_id = ?", Args: []any{user}})
	if err != nil {
		return nil, err
	}
	var stmts []tenancy.Stmt
	for i := range rows {
		stmts = append(stmts, tenancy.RevokeConsent(ctx, &rows[i])...)
	}
	if len(stmts) == 0 {
		return none{}, nil
	}
	return none{}, tenancy.Commit(ctx, stmts...)
}
