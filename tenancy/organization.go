package tenancy

import (
	"encoding/json"
	"regexp"
	"strings"
)

// Organization is a group of users that a token can be issued for. On the
// control plane each child tenant has one of its name: the linked organization,
// whose members may manage that tenant.
type Organization struct {
	Row
	Name        string            `json:"name"` // unique, lower case
	DisplayName string            `json:"display_name"`
	Branding    json.RawMessage   `json:"branding,omitempty" gorm:"serializer:jsontext"`
	Metadata    map[string]string `json:"metadata" gorm:"serializer:jsontext"`
	TokenQuota  json.RawMessage   `json:"token_quota,omitempty" gorm:"serializer:jsontext"`
}

// ValidOrganizationName is the grammar of organization names (contract C2.5).
// Names never begin with "org_", so that ids and names cannot be mistaken.
func ValidOrganizationName(name string) bool {
	return organizationName.MatchString(name) && !IsOrganizationID(name)
}

var organizationName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,49}$`)

// IsOrganizationID reports whether the text is an organization's id rather than
// its name.
func IsOrganizationID(text string) bool { return strings.HasPrefix(text, "org_") }

// Member is a user's membership of an organization; its id joins the two.
type Member struct {
	Row
	OrgID  string
	UserID string
}

// NewMember makes the row of a membership.
func NewMember(orgID, userID string) *Member {
	return &Member{Row: Row{ID: Join(orgID, userID)}, OrgID: orgID, UserID: userID}
}

// OrganizationConnection is a connection whose users may log in for an
// organization; its id joins organization and connection.
type OrganizationConnection struct {
	Row
	OrgID            string `json:"-"`
	ConnectionID     string `json:"connection_id"`
	AssignMembership bool   `json:"assign_membership_on_login" gorm:"column:assign_membership_on_login"`
	ShowAsButton     bool   `json:"show_as_button"`
	IsSignupEnabled  bool   `json:"is_signup_enabled"`
}

// The tables of organizations.
var (
	Organizations           = newTable[Organization]("organizations", configuration())
	Members                 = newTable[Member]("members", access())
	OrganizationConnections = newTable[OrganizationConnection]("organization_connections", configuration())
)
