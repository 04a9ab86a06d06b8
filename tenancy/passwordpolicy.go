package tenancy

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// PasswordPolicy is a database connection's options, of which password_policy
// (none, low, fair, good, excellent; default good) and
// password_complexity_options.min_length say what a new password must be
// (contract C5.74). Nil means the defaults.
type PasswordPolicy map[string]any

// minLengths are the shortest passwords of each policy, in characters, unless
// the connection says otherwise.
var minLengths = map[string]int{"none": 1, "low": 6, "fair": 8, "good": 8, "excellent": 10}

// PasswordRule is one demand on a password. Its JSON form is what Auth0's SDKs
// show to people who sign up.
type PasswordRule struct {
	Message  string         `json:"message"` // with verbs for Format
	Format   []any          `json:"format,omitempty"`
	Code     string         `json:"code"`
	Verified bool           `json:"verified"`
	Items    []PasswordRule `json:"items,omitempty"`
}

// PasswordStrengthError says which rules of its connection a password breaks.
type PasswordStrengthError struct {
	Rules []PasswordRule // all rules, the kept ones verified
}

// Error implements error.
func (e *PasswordStrengthError) Error() string { return "PasswordStrengthError: Password is too weak" }

// Unwrap makes the error one that callers may see.
func (e *PasswordStrengthError) Unwrap() error { return Errorf(400, "invalid_body", "%s", e.Error()) }

// Check returns nil for a password that keeps the policy, and a
// [PasswordStrengthError] otherwise.
func (p PasswordPolicy) Check(password string) error {
	rules := p.rules(password)
	for _, r := range rules {
		if !r.Verified {
			return &PasswordStrengthError{Rules: rules}
		}
	}
	return nil
}

// Rules returns what the policy demands, for people to read before they choose.
func (p PasswordPolicy) Rules() []PasswordRule { return p.rules("") }

func (p PasswordPolicy) level() string {
	level, _ := p["password_policy"].(string)
	if _, ok := minLengths[level]; !ok {
		return "good"
	}
	return level
}

func (p PasswordPolicy) minLength() int {
	complexity, _ := p["password_complexity_options"].(map[string]any)
	if n, ok := complexity["min_length"].(float64); ok && n >= 1 {
		return int(min(n, 128))
	}
	return minLengths[p.level()]
}

func (p PasswordPolicy) rules(password string) []PasswordRule {
	n := p.minLength()
	rules := []PasswordRule{{
		Message: "At least %d characters in length", Format: []any{n}, Code: "lengthAtLeast",
		Verified: utf8.RuneCountInString(password) >= n,
	}}
	kinds := characterKinds(password)
	switch p.level() {
	case "none", "low":
		return rules
	case "fair":
		kinds = kinds[:3]
		return append(rules, PasswordRule{
			Message: "Should contain:", Code: "shouldContain",
			Verified: countVerified(kinds) == 3, Items: kinds,
		})
	}
	rules = append(rules, PasswordRule{
		Message: "Contain at least %d of the following %d types of characters:",
		Format:  []any{3, 4}, Code: "containsAtLeast", Verified: countVerified(kinds) >= 3, Items: kinds,
	})
	if p.level() == "excellent" {
		rules = append(rules, PasswordRule{
			Message: `No more than %d identical characters in a row (e.g., "%s" not allowed)`,
			Format:  []any{2, "aaa"}, Code: "identicalChars", Verified: longestRun(password) <= 2,
		})
	}
	return rules
}

// characterKinds are lower case, upper case, numbers and everything else.
func characterKinds(password string) []PasswordRule {
	return []PasswordRule{
		{Message: "lower case letters (a-z)", Code: "lowerCase", Verified: strings.ContainsFunc(password, unicode.IsLower)},
		{Message: "upper case letters (A-Z)", Code: "upperCase", Verified: strings.ContainsFunc(password, unicode.IsUpper)},
		{Message: "numbers (i.e. 0-9)", Code: "numbers", Verified: strings.ContainsFunc(password, unicode.IsDigit)},
		{Message: "special characters (e.g. !@#$%^&*)", Code: "specialCharacters", Verified: strings.ContainsFunc(password, func(r rune) bool {
			return !unicode.IsLower(r) && !unicode.IsUpper(r) && !unicode.IsDigit(r)
		})},
	}
}

func countVerified(rules []PasswordRule) (n int) {
	for _, r := range rules {
		if r.Verified {
			n++
		}
	}
	return n
}

func longestRun(s string) (longest int) {
	var last rune = -1
	run := 0
	for _, r := range s {
		if r != last {
			last, run = r, 0
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// Policy is the rules as text, one a line (contract C4.58).
func (e *PasswordStrengthError) Policy() string {
	var lines []string
	for _, r := range e.Rules {
		lines = append(lines, "* "+r.Text())
		for _, item := range r.Items {
			lines = append(lines, " * "+item.Text())
		}
	}
	return strings.Join(lines, "\n")
}

// Text is the rule's message for people.
func (r PasswordRule) Text() string {
	if len(r.Format) == 0 {
		return r.Message
	}
	return fmt.Sprintf(r.Message, r.Format...)
}
