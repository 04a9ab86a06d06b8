package tenancy

import "context"

// User is a person who can log in. Row.ID is the user_id: the identity
// provider's name, "|", and an opaque part.
type User struct {
	Row
	Connection        string         `json:"-"`     // name of the connection the user came from
	Email             string         `json:"email"` // lower case
	EmailVerified     bool           `json:"email_verified"`
	Username          string         `json:"username"`
	PhoneNumber       string         `json:"phone_number"`
	PhoneVerified     bool           `json:"phone_verified"`
	Name              string         `json:"name"`
	GivenName         string         `json:"given_name"`
	FamilyName        string         `json:"family_name"`
	Nickname          string         `json:"nickname"`
	Picture           string         `json:"picture"`
	UserMetadata      map[string]any `json:"user_metadata" gorm:"serializer:jsontext"`
	AppMetadata       map[string]any `json:"app_metadata" gorm:"serializer:jsontext"`
	Blocked           bool           `json:"blocked"`
	LastIP            string         `json:"last_ip" gorm:"column:last_ip"`
	LastLogin         Time           `json:"last_login"`
	LoginsCount       int64          `json:"logins_count"`
	LastPasswordReset Time           `json:"last_password_reset"`
}

// Password is the password of a user of a database connection. Row.ID is the
// user's id.
type Password struct {
	Row
	Hash string // argon2id or bcrypt, in their usual text forms
}

// The tables of users.
var (
	Users     = newTable[User]("users", access())
	Passwords = newTable[Password]("passwords")
)

// UserByIdentifier finds the user of a connection by e-mail address or username,
// both compared in lower case, or returns [ErrNotFound].
func UserByIdentifier(ctx context.Context, connection, identifier string) (*User, error) {
	identifier = FoldEmail(identifier)
	u, err := Users.First(ctx, "connection = ? AND email = ? AND email <> ''", connection, identifier)
	if err == nil || err != ErrNotFound {
		return u, err
	}
	return Users.First(ctx, "connection = ? AND username = ? AND username <> ''", connection, identifier)
}
