package tenancy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"
)

// Session is a browser that is logged in to a tenant. Row.ID is the public id
// (ses_...) that tokens carry as sid; the cookie's value is known by its hash
// only. A session that ended has no row.
type Session struct {
	Row
	TokenHash        string          `json:"-"` // [HashToken] of the cookie's value; unique
	Issuer           string          `json:"-"` // of the host it was begun at: that of its tokens
	UserID           string          `json:"user_id"`
	Connection       string          `json:"connection"` // name of the connection logged in with
	AuthenticatedAt  Time            `json:"authenticated_at"`
	LastInteractedAt Time            `json:"last_interacted_at"`
	IdleExpiresAt    Time            `json:"idle_expires_at"`
	ExpiresAt        Time            `json:"expires_at"`
	Device           Device          `json:"device" gorm:"serializer:jsontext"`
	Clients          []string        `json:"-" gorm:"serializer:jsontext"` // ids of clients that got tokens
	Methods          []AuthMethod    `json:"-" gorm:"serializer:jsontext"`
	Persistent       bool            `json:"-"`
	Other            json.RawMessage `json:"-" gorm:"serializer:jsontext"`
}

// Device is where a session was first and last seen.
type Device struct {
	InitialIP        string `json:"initial_ip"`
	InitialUserAgent string `json:"initial_user_agent"`
	LastIP           string `json:"last_ip"`
	LastUserAgent    string `json:"last_user_agent"`
}

// AuthMethod is a way in which the user of a session proved who they are.
type AuthMethod struct {
	Name      string `json:"name"`
	Timestamp Time   `json:"timestamp"`
}

// Alive reports whether the session has not expired at now.
func (s *Session) Alive(now time.Time) bool {
	t := At(now)
	return t < s.ExpiresAt && t < s.IdleExpiresAt
}

// Sessions is the table of sessions.
var Sessions = newTable[Session]("sessions", access())

// HashToken is how random secrets of 256 bits are stored: SHA-256, base64url.
// They need no salt and no slow hash, because they cannot be guessed.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// LoginSession is a login under way: an authorization request that is waiting
// for a person, bound to their browser. The protocol endpoints and the hosted
// pages know each other only through it: a page stores its result here and
// sends the browser to /authorize/resume, where one dispatcher decides what is
// next. Row.ID is the hash of the state in the pages' URLs.
type LoginSession struct {
	Row
	BrowserHash string            `json:"-"`                            // [HashToken] of the flow cookie's value
	ClientID    string            `json:"-"`                            // who asked
	OrgID       string            `json:"-"`                            // the organization named, by id; may be empty
	Request     map[string]string `json:"-" gorm:"serializer:jsontext"` // the authorization request's parameters

	// What has been found out so far.
	UserID          string       `json:"-"` // who logged in; empty until then
	Connection      string       `json:"-"` // name of the connection they used
	AuthenticatedAt Time         `json:"-"`
	Methods         []AuthMethod `json:"-" gorm:"serializer:jsontext"`
	ChosenOrgID     string       `json:"-"` // chosen on the organization page
	Denied          bool         `json:"-"` // the person gave up
	DeniedReason    string       `json:"-"` // what an identity provider elsewhere said instead; may be empty

	// What the person is asked to approve. The dispatcher writes the first three,
	// the page Approved.
	AskedScope    string `json:"-"` // separated by spaces
	AskedAudience string `json:"-"` // identifier of the resource server that defines those which are its own; may be empty
	AskedOf       string `json:"-"` // of whom and for which organization; empty while nothing is asked
	Approved      bool   `json:"-"`

	CompletedAt Time `json:"-"` // when the answer was given; a transaction completes once
	ExpiresAt   Time `json:"-"`
}

// LoginSessions is the table of logins under way.
var LoginSessions = newTable[LoginSession]("login_sessions")
