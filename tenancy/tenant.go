package tenancy

import "slices"

// State is where a tenant is in its life (contract 8.1).
type State string

// The states of a tenant.
const (
	StateProvisioning State = "provisioning"
	StateActive       State = "active"
	StateSuspended    State = "suspended"
	StateFailed       State = "failed"
	StateDeleting     State = "deleting"
)

// Tenant is a row of the registry: what the control plane knows of a tenant.
// Registry rows live in the control plane's own database, the control plane's
// row among them. A *Tenant handed out by the [Directory] is shared and must
// not be changed.
type Tenant struct {
	Row
	FriendlyName   string            `json:"friendly_name"`
	State          State             `json:"state"`
	OrganizationID string            `json:"organization_id"` // the control plane's linked organization
	Audience       string            `json:"audience"`
	Metadata       map[string]string `json:"metadata" gorm:"serializer:jsontext"`
	Inheritance    Inheritance       `json:"inheritance" gorm:"serializer:jsontext"`
	Sync           SyncSwitches      `json:"sync" gorm:"serializer:jsontext"`
	Quotas         map[string]int64  `json:"quotas" gorm:"serializer:jsontext"` // by kind, see [Tenant.Quota]

	// Placement names the configured database the tenant lives in; Database is
	// what that provider calls the tenant's own.
	Placement string `json:"-"`
	Database  string `json:"-"`

	// FenceFrom and FenceUntil are the write fence of a move under way, see
	// [Lifecycle.Move]; Copies are what moves left or have begun elsewhere.
	FenceFrom  Time   `json:"-"`
	FenceUntil Time   `json:"-"`
	Copies     []Copy `json:"-" gorm:"serializer:jsontext"`

	// DataKey is the key of the tenant's secrets, sealed with the master key.
	// Deleting it makes every copy of the tenant's database unreadable.
	DataKey string `json:"-"`

	Owner             *Owner `json:"-" gorm:"serializer:jsontext"`
	CreatedBy         string `json:"created_by"`
	ProvisioningStep  string `json:"-"` // the step to do next
	ProvisioningError string `json:"provisioning_error"`
	SuspendedAt       Time   `json:"suspended_at"`
	SuspendedReason   string `json:"suspended_reason"`

	// SchemaVersion is the version the tenant's database was at when it was last
	// upgraded. It and what follows are written by the [Upgrader], without a
	// trace in the change log or the revision: a [Directory] may know older ones.
	SchemaVersion   int64  `json:"schema_version"`
	UpgradeAttempts int64  `json:"-"` // failed in a row
	UpgradeError    string `json:"-"`
	UpgradeAt       Time   `json:"-"` // when it is tried again
}

// Tenants is the registry. It is used inside the control plane only; elsewhere
// it is an empty table.
var Tenants = newTable[Tenant]("tenants", logged(KindTenant, sameID))

// IsControlPlane reports whether the tenant is the control plane: the tenant
// that owns the registry row about itself.
func (t *Tenant) IsControlPlane() bool { return t.ID == t.TenantID }

// Serves reports whether the tenant's authentication endpoints answer.
func (t *Tenant) Serves() bool { return t.State == StateActive }

// Owner is who was named as the first administrator when a tenant was created:
// a control-plane user by id, or by e-mail address.
type Owner struct {
	UserID string `json:"user_id,omitempty"`
	Email  string `json:"email,omitempty"`
}

// Inheritance chooses which of the control plane's settings a tenant inherits
// (contract 7.3). The zero value takes the configuration's choice.
type Inheritance struct {
	Mode         string   `json:"mode,omitempty"` // all, selected or none
	Keys         []string `json:"keys,omitzero"`  // nil leaves them to the configuration, empty means no keys
	ExcludedKeys []string `json:"excluded_keys,omitzero"`
}

// SyncSwitches turns kinds of synced entities off for one tenant. Nil takes the
// configuration's choice.
type SyncSwitches struct {
	ResourceServers *bool `json:"resource_servers,omitempty"`
	Roles           *bool `json:"roles,omitempty"`
	Connections     *bool `json:"connections,omitempty"`
}

// MayBecome reports whether the life cycle has a way from one state to the
// other (contract 8.1).
func (s State) MayBecome(next State) bool {
	return slices.Contains(map[State][]State{
		StateProvisioning: {StateActive, StateFailed},
		StateFailed:       {StateProvisioning, StateDeleting},
		StateActive:       {StateSuspended, StateDeleting},
		StateSuspended:    {StateActive, StateDeleting},
	}[s], next)
}
