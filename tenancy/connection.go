package tenancy

import (
	"encoding/json"
	"strings"
)

// Connection is a source of users: a database of passwords here, or an identity
// provider elsewhere.
type Connection struct {
	Row
	Name               string            `json:"name"` // unique, immutable
	DisplayName        string            `json:"display_name"`
	Strategy           string            `json:"strategy"`
	Options            map[string]any    `json:"options" gorm:"serializer:jsontext"`
	Secrets            map[string]string `json:"-" gorm:"serializer:sealed"` // write-only members of options
	IsDomainConnection bool              `json:"is_domain_connection"`
	ShowAsButton       bool              `json:"show_as_button"`
	Realms             []string          `json:"realms" gorm:"serializer:jsontext"`
	Metadata           map[string]any    `json:"metadata" gorm:"serializer:jsontext"`
	IsSystem           bool              `json:"is_system"`
	Origin             string            `json:"-"`
	Other              json.RawMessage   `json:"-" gorm:"serializer:jsontext"`
}

// StrategyDatabase is the strategy of connections whose passwords are kept here.
const StrategyDatabase = "auth0"

// ClientConnection enables a connection for a client; its id joins the two.
type ClientConnection struct {
	Row
	ClientID     string
	ConnectionID string
}

// NewClientConnection makes the row that enables a connection for a client.
func NewClientConnection(clientID, connectionID string) *ClientConnection {
	return &ClientConnection{Row: Row{ID: Join(clientID, connectionID)}, ClientID: clientID, ConnectionID: connectionID}
}

// The tables of connections.
var (
	Connections       = newTable[Connection]("connections", configuration(), logged(KindConnection, sameID))
	ClientConnections = newTable[ClientConnection]("client_connections", configuration())
)

// FoldEmail is the form in which e-mail addresses are stored and compared
// (contract C4.61).
func FoldEmail(address string) string { return strings.ToLower(strings.TrimSpace(address)) }
