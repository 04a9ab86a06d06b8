package management

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/mail"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// users are the people who can log in (contract 5.10).
var users = &Resource[tenancy.User]{
	Path: "/users", Quota: "users", Key: "users", Entity: "User", ID: "user_id", Table: tenancy.Users,
	Members: members{
		"user_id":        beside[string](text(1, 255).that(plainLine)).atOnce(),
		"connection":     beside[string](text(1, 128)).must().atOnce(),
		"email":          text(0, 255).that(emailAddress),
		"email_verified": flag(),
		"verify_email":   beside[bool](flag()),
		"username":       text(0, 128).that(username),
		"phone_number":   text(0, 30),
		"phone_verified": flag(),
		"password":       beside[string](text(1, 255)),
		"password_hash":  beside[string](text(1, 512)),
		"name":           text(0, 300),
		"given_name":     text(0, 150),
		"family_name":    text(0, 150),
		"nickname":       text(0, 300),
		"picture":        text(0, 2048),
		"user_metadata":  member{merged: true},
		"app_metadata":   member{merged: true},
		"blocked":        flag(),

		"identities":          readOnly(),
		"last_ip":             readOnly(),
		"last_login":          readOnly(),
		"logins_count":        readOnly(),
		"last_password_reset": readOnly(),
		"created_at":          readOnly(),
		"updated_at":          readOnly(),
	},
	New: func() *tenancy.User { return &tenancy.User{} },
	Validate: func(ctx context.Context, c *Call, before, row *tenancy.User) error {
		row.Email, row.Username = tenancy.FoldEmail(row.Email), strings.ToLower(row.Username)
		if before == nil {
			return newUser(ctx, c, row)
		}
		return changedUser(ctx, c, before, row)
	},
	Also:  alsoUser,
	After: func(ctx context.Context, c *Call, _, row *tenancy.User) { c.verifyByMail(ctx, row) },
	View: func(_ context.Context, _ *Call, rows []tenancy.User, answers []object) error {
		for i := range rows {
			provider, id, _ := strings.Cut(rows[i].ID, "|")
			answers[i].set("connection", rows[i].Connection)
			answers[i].set("identities", []map[string]any{{
				"provider": provider, "user_id": id,
				"connection": rows[i].Connection, "isSocial": !isOwnProvider(provider),
			}})
		}
		return nil
	},
	List: func(_ context.Context, c *Call, f *filter) error {
		if name := c.query.Get("connection"); name != "" {
			f.and("connection = ?", name)
		}
		return nil
	},
	Search: func(c *Call, f *filter) (func(*tenancy.User) bool, error) { return searchUsers(f, c.query.Get("q")) },
	Sort:   []string{"email", "name", "username", "created_at", "updated_at", "last_login", "logins_count"},
	Taken: func(*tenancy.User) error {
		return tenancy.Errorf(http.StatusConflict, "auth0_idp_error", "The user already exists.")
	},
}

// isOwnProvider reports whether users of the provider are kept here rather than
// elsewhere.
func isOwnProvider(provider string) bool {
	return provider == tenancy.StrategyDatabase || provider == "email" || provider == "sms"
}

func emailAddress(s string) string {
	parsed, err := mail.ParseAddress(s)
	if s != "" && (err != nil || parsed.Address != strings.TrimSpace(s)) {
		return "Object didn't pass validation for format email: " + s
	}
	return ""
}

func username(s string) string {
	if strings.ContainsAny(s, "@ \t\r\n") {
		return "String does not match pattern: ^[^@\\s]*$"
	}
	return ""
}

// newUser completes a user who is to be created.
func newUser(ctx context.Context, c *Call, row *tenancy.User) error {
	name, _ := extra[string](c, "connection")
	connection, err := tenancy.Connections.First(ctx, "name = ?", name)
	if errors.Is(err, tenancy.ErrNotFound) {
		return inexistent("connection", "The connection '%s' does not exist.", name)
	}
	if err != nil {
		return err
	}
	id, _ := extra[string](c, "user_id")
	row.ID, row.Connection = connection.Strategy+"|"+cmp.Or(id, tenancy.NewHexID()), connection.Name
	switch {
	case connection.Strategy == "sms" && row.PhoneNumber == "":
		return invalid("", "Missing required property: phone_number")
	case connection.Strategy != "sms" && isOwnProvider(connection.Strategy) && row.Email == "" && row.Username == "":
		return invalid("", "Missing required property: email")
	}
	local, _, _ := strings.Cut(row.Email, "@")
	row.Name = cmp.Or(row.Name, row.Email, row.Username, row.PhoneNumber)
	row.Nickname = cmp.Or(row.Nickname, local, row.Username)
	return c.password(ctx, connection)
}

// changedUser looks at what a change of a user brings with it.
func changedUser(ctx context.Context, c *Call, before, row *tenancy.User) error {
	if row.Email != before.Email && !c.given("email_verified") {
		row.EmailVerified = false // nobody has shown yet that the new address is theirs
	}
	if !c.given("password") && !c.given("password_hash") {
		return nil
	}
	connection, err := tenancy.Connections.First(ctx, "name = ?", row.Connection)
	if errors.Is(err, tenancy.ErrNotFound) {
		return inexistent("connection", "The connection '%s' does not exist.", row.Connection)
	}
	if err != nil {
		return err
	}
	if err := c.password(ctx, connection); err != nil {
		return err
	}
	if c.hash != "" {
		row.LastPasswordReset = tenancy.At(c.api.config.Now())
	}
	return nil
}

// password checks the password of the body, or its hash, and keeps the hash in
// the call. It is hashed once, however often the write is tried.
func (c *Call) password(ctx context.Context, connection *tenancy.Connection) error {
	password, plain := extra[string](c, "password")
	hash, hashed := extra[string](c, "password_hash")
	switch {
	case !plain && !hashed || c.hash != "":
		return nil
	case connection.Strategy != tenancy.StrategyDatabase:
		return invalid("password", "Users of the connection have no password")
	case plain && hashed:
		return invalid("password_hash", "Either a password or its hash can be given")
	case hashed:
		if err := tenancy.ValidatePasswordHash(hash); err != nil {
			return invalid("password_hash", "%s", err)
		}
		c.hash = hash
		return nil
	}
	if err := tenancy.PasswordPolicy(connection.Options).Check(password); err != nil {
		return err
	}
	var err error
	c.hash, err = tenancy.HashPassword(ctx, password)
	return err
}

// accessEnds is why a change of a user ends what they are logged in to, or "".
func accessEnds(c *Call, before, row *tenancy.User) tenancy.LogoutReason {
	switch {
	case row.Blocked && !before.Blocked:
		return tenancy.AccountDeactivated
	case c.hash != "":
		return tenancy.PasswordChanged
	case row.Email != before.Email:
		return tenancy.EmailChanged
	}
	return ""
}

func alsoUser(ctx context.Context, c *Call, before, row *tenancy.User) ([]tenancy.Stmt, error) {
	if row == nil {
		return tenancy.RemoveUser(ctx, before.ID), nil
	}
	var stmts []tenancy.Stmt
	if before == nil {
		stmts = append(stmts, tenancy.Require(ctx, "EXISTS (SELECT 1 FROM connections WHERE tenant_id = @tenant AND name = ?)", row.Connection))
	}
	if c.hash != "" {
		stmts = append(stmts, tenancy.PasswordStmt(ctx, row.ID, c.hash))
	}
	if before == nil {
		return stmts, nil
	}
	if c.hash != "" || before.Blocked && !row.Blocked {
		stmts = append(stmts, tenancy.Unblock(ctx, row.ID))
	}
	if why := accessEnds(c, before, row); why != "" {
		stmts = append(stmts, tenancy.EndAccess(ctx, row.ID, why)...)
	}
	return stmts, nil
}
