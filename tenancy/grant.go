package tenancy

// Grant is an authorization code or a refresh token: one row, whatever fosite
// asks about it. It is consumed by a conditional update that must affect this
// one row. The token itself is known by its hash only.
type Grant struct {
	Row         // ID: for refresh tokens the public id (rt_...)
	Kind        GrantKind
	Hash        string // unique per kind: what the presented token hashes to
	Family      string // all tokens that descend from one authorization
	ClientID    string
	UserID      string
	SessionID   string
	OrgID       string
	Audience    string
	Scope       string // granted, separated by spaces
	Data        string // JSON: what only the kind itself needs
	ConsumedAt  Time   // 0 while it can be used
	RevokedAt   Time   // 0 while it is good
	ExpiresAt   Time   // absolute; 0 for never
	IdleExpires Time   // 0 for never
	LastUsedAt  Time
}

// GrantKind tells the kinds of grants apart.
type GrantKind string

// The kinds of grants.
const (
	GrantCode    GrantKind = "code"
	GrantRefresh GrantKind = "refresh"
	GrantDevice  GrantKind = "device" // see [DeviceID]
)

// Grants is the table of grants.
var Grants = newTable[Grant]("grants")

// RevokedToken is an access token that was revoked before it expired, by its
// jti in Row.ID. Its row may go once ExpiresAt has passed.
type RevokedToken struct {
	Row
	ExpiresAt Time
}

// RevokedTokens is the table of revoked access tokens.
var RevokedTokens = newTable[RevokedToken]("revoked_tokens")
