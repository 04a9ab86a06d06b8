package tenancy

import (
	"context"
	"crypto/hmac"
	"errors"
	"strings"
)

// SetupToken returns the secret of the link by which the first administrator is
// made, or "" once there has been one. It is derived from the control plane's
// own secret, so it is the same at every start and stored nowhere.
func SetupToken(ctx context.Context) (string, error) {
	made, err := HasAdministrator(ctx)
	if err != nil || made {
		return "", err
	}
	tokens, err := setupTokens(ctx)
	if err != nil {
		return "", err
	}
	return tokens[0], nil
}

// setupTokens are the token of the link, and those it had under data keys that
// are being replaced.
func setupTokens(ctx context.Context) ([]string, error) {
	keys, err := Secrets(ctx, "setup link")
	if err != nil {
		return nil, err
	}
	list := make([]string, len(keys))
	for i, key := range keys {
		list[i] = hashUnder(key, "first administrator")
	}
	return list, nil
}

// CheckSetup returns nil for the token of a link that still works, and
// [ErrNotFound] for any other. It never says whether a token once worked.
func CheckSetup(ctx context.Context, token string) error {
	made, err := HasAdministrator(ctx)
	if err != nil {
		return err
	}
	tokens, err := setupTokens(ctx)
	if err != nil {
		return err
	}
	right := false
	for _, t := range tokens {
		right = hmac.Equal([]byte(token), []byte(t)) || right
	}
	if made || !right {
		return ErrNotFound
	}
	return nil
}

// CompleteSetup makes the first administrator for whoever holds the link. Errors:
// [ErrNotFound] for a link that does not work, also when another request used it
// a moment ago, and an [Error] 400 for an address or password that will not do.
func CompleteSetup(ctx context.Context, token, email, password string) error {
	if err := CheckSetup(ctx, token); err != nil {
		return err
	}
	if at := strings.IndexByte(email, '@'); at < 1 || at == len(email)-1 || len(email) > 254 {
		return Errorf(400, "invalid_body", "That is not an e-mail address.")
	}
	if err := PasswordPolicy(nil).Check(password); err != nil {
		return err
	}
	err := EnsureAdministrator(ctx, email, password)
	if errors.Is(err, ErrConflict) {
		return ErrNotFound
	}
	return err
}
