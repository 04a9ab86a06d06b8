package tenancy

// SigningKey is a key the tenant signs tokens with. Row.ID is the kid, the
// RFC 7638 thumbprint of the public key.
type SigningKey struct {
	Row
	Alg         string `json:"alg"`
	Use         KeyUse `json:"-" gorm:"column:use_state"`
	Private     []byte `json:"-" gorm:"serializer:sealed"` // PKCS #8
	Public      string `json:"-"`                          // JWK, public members only
	Certificate string `json:"-"`                          // PEM, self-signed
	CurrentAt   Time   `json:"-"`                          // when it began to sign; 0 for never
	RetiredAt   Time   `json:"-"`                          // when it ceased to sign; 0 for not yet
	ExpiresAt   Time   `json:"-"`                          // when the last token it signed expires; 0 while it signs
	RevokedAt   Time   `json:"-"`
}

// KeyUse is where a key is in its life.
type KeyUse string

// The uses of a key: published before it signs, signing, and published until
// the last token it signed has expired.
const (
	KeyNext     KeyUse = "next"
	KeyCurrent  KeyUse = "current"
	KeyPrevious KeyUse = "previous"
)

// KeyOwed is the use of a row that holds no key yet: the token engine makes one
// in its place before anything is signed or published that would need it.
const KeyOwed KeyUse = "owed"

// SigningKeys is the table of signing keys.
var SigningKeys = newTable[SigningKey]("signing_keys", configuration())
