package tenancy

import (
	"context"
	"slices"
)

// Consent is what a user has let a client have at one audience
// (contract C2.28). Row.ID follows from the three, so that there is one row for
// them.
type Consent struct {
	Row
	UserID   string   `json:"user_id"`
	ClientID string   `json:"clientID"`
	Audience string   `json:"audience"` // identifier of a resource server; "" for none
	Scope    []string `json:"scope" gorm:"serializer:jsontext"`
}

// Consents is the table of consents.
var Consents = newTable[Consent]("consents")

// ConsentID is the id of the consent of a user to a client at an audience.
func ConsentID(userID, clientID, audience string) string {
	return "grt_" + HashToken(Join(userID, clientID, audience))[:24]
}

// Covers reports whether all of the scopes were consented to. A nil consent
// covers only what needs none.
func (c *Consent) Covers(scopes []string) bool {
	for _, scope := range scopes {
		if scope != "openid" && (c == nil || !slices.Contains(c.Scope, scope)) {
			return false
		}
	}
	return true
}

// RevokeConsent takes a consent back, with the codes and refresh tokens that the
// client got by it. Access tokens live on until they expire.
func RevokeConsent(ctx context.Context, c *Consent) []Stmt {
	return []Stmt{
		Consents.Remove(ctx, c.ID),
		Grants.RemoveWhere(ctx, "user_id = ? AND client_id = ? AND audience = ?", c.UserID, c.ClientID, c.Audience),
	}
}
