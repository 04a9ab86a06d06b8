package login

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"strings"
	"unicode"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// account is what a person says of themselves when they sign up.
type account struct {
	Email, Username, Password string

	Name, GivenName, FamilyName, Nickname, Picture string
	UserMetadata                                   map[string]any
}

// check returns what is wrong with single fields of a new account, by field.
func (a *account) check(c offered) map[string]string {
	wrong := make(map[string]string)
	a.Email = tenancy.FoldEmail(a.Email)
	a.Username = tenancy.FoldEmail(a.Username)
	if !validEmail(a.Email) {
		wrong["email"] = "Enter an email address like name@example.com"
	}
	switch {
	case a.Username == "" && requiresUsername(c):
		wrong["username"] = "Choose a username"
	case a.Username != "" && !validUsername(a.Username, c.Options):
		wrong["username"] = "This username is too short or too long, or has characters that cannot be used"
	}
	if a.Password == "" {
		wrong["password"] = "Choose a password"
	}
	return wrong
}

var emailForm = regexp.MustCompile(`^[^\s@"<>(),:;\\\[\]]{1,64}@[^\s@"<>(),:;\\\[\]]{1,255}$`)

// validEmail reports whether mail can be sent to the address, as far as its form
// tells. Quoted local parts and address literals are refused.
func validEmail(address string) bool {
	return len(address) <= 254 && emailForm.MatchString(address) &&
		!strings.ContainsFunc(address, func(r rune) bool { return !unicode.IsGraphic(r) })
}

var usernameForm = regexp.MustCompile(`^[\p{L}\p{N}_+\-.!#$^~]+$`) // no "@": it would look like an address

// validUsername reports whether the connection takes the username: 1 to 128
// characters, unless its options' validation.username says otherwise.
func validUsername(name string, options map[string]any) bool {
	shortest, longest := 1.0, 128.0
	validation, _ := options["validation"].(map[string]any)
	if bounds, ok := validation["username"].(map[string]any); ok {
		if n, ok := bounds["min"].(float64); ok {
			shortest = n
		}
		if n, ok := bounds["max"].(float64); ok && n < longest {
			longest = n
		}
	}
	n := float64(len([]rune(name)))
	return usernameForm.MatchString(name) && n >= shortest && n <= longest
}

// weakness returns which rules of the connection the password breaks, or nil.
func (a *account) weakness(c offered) *tenancy.PasswordStrengthError {
	var weak *tenancy.PasswordStrengthError
	errors.As(tenancy.PasswordPolicy(c.Options).Check(a.Password), &weak)
	return weak
}

// create makes the user of a checked account, and the hash of their password.
func (a *account) create(ctx context.Context, c offered) (user *tenancy.User, hash string, err error) {
	if hash, err = tenancy.HashPassword(ctx, a.Password); err != nil {
		return nil, "", err
	}
	local, _, _ := strings.Cut(a.Email, "@")
	return &tenancy.User{
		Row:        tenancy.Row{ID: tenancy.StrategyDatabase + "|" + tenancy.NewHexID()},
		Connection: c.Name, Email: a.Email, Username: a.Username,
		Name: cmp.Or(a.Name, a.Email), Nickname: cmp.Or(a.Nickname, local),
		GivenName: a.GivenName, FamilyName: a.FamilyName, Picture: a.Picture, UserMetadata: a.UserMetadata,
	}, hash, nil
}

// insert is the statements that store a new user. They fail with
// [tenancy.ErrConflict] where address or username are taken. That is found out
// after the password was hashed, so the time an answer takes tells nothing.
func insert(ctx context.Context, user *tenancy.User, hash string) []tenancy.Stmt {
	return []tenancy.Stmt{tenancy.Users.Insert(ctx, user), tenancy.PasswordStmt(ctx, user.ID, hash)}
}
