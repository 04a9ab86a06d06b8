package tenancy

// UpstreamLogin is a login under way whose person is at an identity provider
// elsewhere. Row.ID is the hash of the state they come back with; the row is
// removed by the first who does.
type UpstreamLogin struct {
	Row
	ConnectionID string
	RedirectURI  string
	Keeps        map[string]string `gorm:"serializer:sealed"` // the state of the login here, the nonce, and the verifier of PKCE
	ExpiresAt    Time
}

// What an [UpstreamLogin] keeps.
const (
	UpstreamState    = "state"
	UpstreamNonce    = "nonce"
	UpstreamVerifier = "verifier"
)

// UpstreamLogins is their table.
var UpstreamLogins = newTable[UpstreamLogin]("upstream_logins")
