package tenancy_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/sqlite"
)

// twoTenants returns contexts inside two tenants that have a user of the same id
// and the same address each.
func twoTenants(t *testing.T) (acme, widgets context.Context) {
	t.Helper()
	ring, err := tenancy.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := tenancy.NewPool(tenancy.PoolConfig{
		Master:     ring,
		Placements: map[string]tenancy.Provider{"": &sqlite.Provider{Dir: t.TempDir()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close(context.Background()) })
	var inside []context.Context
	for _, id := range []string{"acme", "widgets"} {
		tenant := &tenancy.Tenant{Row: tenancy.Row{TenantID: "control_plane", ID: id}, State: tenancy.StateActive, DataKey: ring.NewDataKey(id)}
		if err := pool.Create(t.Context(), tenant); err != nil {
			t.Fatal(err)
		}
		ctx, leave, err := pool.Enter(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(leave)
		user := &tenancy.User{Row: tenancy.Row{ID: "auth0|ada"}, Connection: "db", Email: "ada@example.com"}
		if err := tenancy.Users.Create(ctx, user); err != nil {
			t.Fatal(err)
		}
		inside = append(inside, ctx)
	}
	return inside[0], inside[1]
}

func setPassword(t *testing.T, ctx context.Context, userID, password string) {
	t.Helper()
	stmts, err := tenancy.SetPassword(ctx, userID, password)
	if err != nil {
		t.Fatal(err)
	}
	if err := tenancy.Commit(ctx, stmts...); err != nil {
		t.Fatal(err)
	}
}

func TestPasswordsBelongToOneTenant(t *testing.T) {
	t.Parallel()
	acme, widgets := twoTenants(t)
	setPassword(t, acme, "auth0|ada", "of acme")
	setPassword(t, widgets, "auth0|ada", "of widgets")
	for _, tt := range []struct {
		name, user, password string
		ctx                  context.Context
		want                 error
	}{
		{"own", "auth0|ada", "of acme", acme, nil},
		{"own, the other tenant", "auth0|ada", "of widgets", widgets, nil},
		{"the other tenant's", "auth0|ada", "of widgets", acme, tenancy.ErrWrongPassword},
		{"wrong", "auth0|ada", "of Acme", acme, tenancy.ErrWrongPassword},
		{"empty", "auth0|ada", "", acme, tenancy.ErrWrongPassword},
		{"unknown user", "auth0|bob", "of acme", acme, tenancy.ErrWrongPassword},
		{"nobody", "", "of acme", acme, tenancy.ErrWrongPassword},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := tenancy.CheckPassword(tt.ctx, tt.user, tt.password); !errors.Is(err, tt.want) {
				t.Errorf("CheckPassword = %v, want %v", err, tt.want)
			}
		})
	}
}

// C9.41: a name that is nobody's costs a hash like any other.
func TestUnknownUserCostsAHash(t *testing.T) { // not parallel: it counts the process's hashes
	acme, _ := twoTenants(t)
	before := tenancy.PasswordWork().Entered
	if _, err := tenancy.CheckPassword(acme, "", "guess"); !errors.Is(err, tenancy.ErrWrongPassword) {
		t.Fatalf("CheckPassword = %v, want ErrWrongPassword", err)
	}
	if got := tenancy.PasswordWork().Entered - before; got != 1 {
		t.Errorf("an unknown user cost %d hashes, want 1", got)
	}
}

func TestPasswordHashIsArgon2id(t *testing.T) {
	t.Parallel()
	one, err := tenancy.HashPassword(t.Context(), "same")
	if err != nil {
		t.Fatal(err)
	}
	two, err := tenancy.HashPassword(t.Context(), "same")
	if err != nil {
		t.Fatal(err)
	}
	if want := "$argon2id$v=19$m=19456,t=2,p=1$"; !strings.HasPrefix(one, want) {
		t.Errorf("hash = %s, want it to begin with %s", one, want)
	}
	if one == two {
		t.Error("two hashes of one password are equal: no salt")
	}
}

func TestImportedHashes(t *testing.T) {
	t.Parallel()
	cheap, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, hash string
		valid      bool
	}{
		{"bcrypt", string(cheap), true},
		{"bcrypt of PHP", strings.Replace(string(cheap), "$2a$", "$2y$", 1), true},
		{"argon2id", "$argon2id$v=19$m=4096,t=3,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", true},
		{"bcrypt that takes a minute", strings.Replace(string(cheap), "$04$", "$20$", 1), false},
		{"argon2id that takes the machine", "$argon2id$v=19$m=4194304,t=3,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", false},
		{"argon2i", "$argon2i$v=19$m=4096,t=3,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", false},
		{"argon2id of an older version", "$argon2id$v=16$m=4096,t=3,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", false},
		{"argon2id without lanes", "$argon2id$v=19$m=4096,t=3,p=0$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", false},
		{"cut short", string(cheap[:40]), false},
		{"plain", "right", false},
		{"empty", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tenancy.ValidatePasswordHash(tt.hash); (err == nil) != tt.valid {
				t.Errorf("ValidatePasswordHash(%q) = %v, want valid %v", tt.hash, err, tt.valid)
			}
		})
	}
}

// A hash made by the reference implementation of argon2 (its test.c).
func TestArgon2idOfOthersIsUnderstood(t *testing.T) {
	t.Parallel()
	acme, _ := twoTenants(t)
	hash := "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if err := tenancy.Commit(acme, tenancy.PasswordStmt(acme, "auth0|ada", hash)); err != nil {
		t.Fatal(err)
	}
	row, err := tenancy.CheckPassword(acme, "auth0|ada", "password")
	if err != nil {
		t.Fatalf("right password = %v", err)
	}
	if row.Hash != hash {
		t.Errorf("a hash stronger than ours was replaced by %s", row.Hash)
	}
	if _, err := tenancy.CheckPassword(acme, "auth0|ada", "differentpassword"); !errors.Is(err, tenancy.ErrWrongPassword) {
		t.Errorf("wrong password = %v, want ErrWrongPassword", err)
	}
}

func TestImportedHashIsReplacedByABetterOne(t *testing.T) {
	t.Parallel()
	acme, _ := twoTenants(t)
	old, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	if err := tenancy.Commit(acme, tenancy.PasswordStmt(acme, "auth0|ada", string(old))); err != nil {
		t.Fatal(err)
	}
	if _, err := tenancy.CheckPassword(acme, "auth0|ada", "wrong"); !errors.Is(err, tenancy.ErrWrongPassword) {
		t.Fatalf("wrong password: %v", err)
	}
	returned, err := tenancy.CheckPassword(acme, "auth0|ada", "right")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := tenancy.Passwords.Get(acme, "auth0|ada")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(stored.Hash, "$argon2id$") || stored.Hash != returned.Hash {
		t.Errorf("stored hash = %s, returned %s, want one argon2id hash", stored.Hash, returned.Hash)
	}
	if _, err := tenancy.CheckPassword(acme, "auth0|ada", "right"); err != nil {
		t.Errorf("after the change: %v", err)
	}
	if err := tenancy.Commit(acme, returned.Unchanged(acme)); err != nil {
		t.Errorf("guard over the returned row: %v", err)
	}
}

func TestPasswordChangedMeanwhileFailsTheGuard(t *testing.T) {
	t.Parallel()
	acme, widgets := twoTenants(t)
	setPassword(t, acme, "auth0|ada", "first")
	row, err := tenancy.CheckPassword(acme, "auth0|ada", "first")
	if err != nil {
		t.Fatal(err)
	}
	setPassword(t, widgets, "auth0|ada", "second")
	if err := tenancy.Commit(acme, row.Unchanged(acme)); err != nil {
		t.Errorf("a change in another tenant broke the guard: %v", err)
	}
	setPassword(t, acme, "auth0|ada", "second")
	if err := tenancy.Commit(acme, row.Unchanged(acme)); !errors.Is(err, tenancy.ErrStale) {
		t.Errorf("guard after a change = %v, want ErrStale", err)
	}
}

func TestPasswordNeedsAUser(t *testing.T) {
	t.Parallel()
	acme, _ := twoTenants(t)
	if err := tenancy.Commit(acme, tenancy.PasswordStmt(acme, "auth0|nobody", "hash")); !errors.Is(err, tenancy.ErrStale) {
		t.Errorf("a password for nobody = %v, want ErrStale", err)
	}
}

// C5.74, C4.58.
func TestPasswordPolicy(t *testing.T) {
	t.Parallel()
	long := func(n float64) map[string]any { return map[string]any{"min_length": n} }
	for _, tt := range []struct {
		name     string
		options  map[string]any
		password string
		broken   string // codes of the broken rules
	}{
		{"default is good", nil, "Passw0rd", ""},
		{"good, three of four", nil, "pass-w0rd", ""},
		{"good, two of four", nil, "passw0rd", "containsAtLeast"},
		{"good, short", nil, "Pa5s-wo", "lengthAtLeast"},
		{"good, both", nil, "pass", "lengthAtLeast containsAtLeast"},
		{"good, characters and not bytes count", nil, "Äß1ÄÖÜé", "lengthAtLeast"},
		{"unknown is good", map[string]any{"password_policy": "superb"}, "passw0rd", "containsAtLeast"},
		{"none", map[string]any{"password_policy": "none"}, "x", ""},
		{"none, empty", map[string]any{"password_policy": "none"}, "", "lengthAtLeast"},
		{"low", map[string]any{"password_policy": "low"}, "abcdef", ""},
		{"low, short", map[string]any{"password_policy": "low"}, "abcde", "lengthAtLeast"},
		{"fair", map[string]any{"password_policy": "fair"}, "Passw0rd", ""},
		{"fair, special characters are no substitute", map[string]any{"password_policy": "fair"}, "Pass-word", "shouldContain"},
		{"excellent", map[string]any{"password_policy": "excellent"}, "Passw0rd-12", ""},
		{"excellent, short", map[string]any{"password_policy": "excellent"}, "Passw0rd-", "lengthAtLeast"},
		{"excellent, run", map[string]any{"password_policy": "excellent"}, "Passsw0rd-12", "identicalChars"},
		{"min_length", map[string]any{"password_policy": "low", "password_complexity_options": long(12)}, "abcdefghijk", "lengthAtLeast"},
		{"min_length below the policy's", map[string]any{"password_complexity_options": long(4)}, "aB3d", ""},
		{"min_length beyond reason", map[string]any{"password_complexity_options": long(1e9)}, strings.Repeat("aB3", 50), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tenancy.PasswordPolicy(tt.options).Check(tt.password)
			var broken []string
			var weak *tenancy.PasswordStrengthError
			if errors.As(err, &weak) {
				for _, r := range weak.Rules {
					if !r.Verified {
						broken = append(broken, r.Code)
					}
				}
			}
			if got := strings.Join(broken, " "); got != tt.broken || (err == nil) != (tt.broken == "") {
				t.Errorf("broken rules = %q (%v), want %q", got, err, tt.broken)
			}
		})
	}
}

func TestPasswordStrengthErrorTellsAllRules(t *testing.T) {
	t.Parallel()
	err := tenancy.PasswordPolicy{"password_policy": "excellent"}.Check("ABC")
	var weak *tenancy.PasswordStrengthError
	if !errors.As(err, &weak) {
		t.Fatalf("Check = %v, want a PasswordStrengthError", err)
	}
	if got := tenancy.StatusOf(err); got != 400 {
		t.Errorf("status = %d, want 400", got)
	}
	wantPolicy := `* At least 10 characters in length
* Contain at least 3 of the following 4 types of characters:
 * lower case letters (a-z)
 * upper case letters (A-Z)
 * numbers (i.e. 0-9)
 * special characters (e.g. !@#$%^&*)
* No more than 2 identical characters in a row (e.g., "aaa" not allowed)`
	if got := weak.Policy(); got != wantPolicy {
		t.Errorf("policy =\n%s\nwant\n%s", got, wantPolicy)
	}
	got, _ := json.Marshal(weak.Rules[1])
	want := `{"message":"Contain at least %d of the following %d types of characters:","format":[3,4],"code":"containsAtLeast","verified":false,"items":[` +
		`{"message":"lower case letters (a-z)","code":"lowerCase","verified":false},` +
		`{"message":"upper case letters (A-Z)","code":"upperCase","verified":true},` +
		`{"message":"numbers (i.e. 0-9)","code":"numbers","verified":false},` +
		`{"message":"special characters (e.g. !@#$%^\u0026*)","code":"specialCharacters","verified":false}]}`
	if string(got) != want {
		t.Errorf("rule = %s\nwant   %s", got, want)
	}
}
