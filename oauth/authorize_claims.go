package oauth

import (
	"encoding/json"
	"slices"

	"github.com/ory/fosite"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// requestedClaims is what the claims parameter asks for (OpenID Connect Core
// section 5.5), as far as this server knows the claims.
type requestedClaims struct {
	Userinfo []string // names of standard claims
	IDToken  []string
	Subject  string // the sub that is asked for; "" for any
}

// parseClaims reads the claims parameter. Claims that are not known are left
// out, as the specification has it; "" asks for nothing.
func parseClaims(text string) (requestedClaims, error) {
	var r requestedClaims
	if text == "" {
		return r, nil
	}
	var members struct {
		Userinfo map[string]json.RawMessage `json:"userinfo"`
		IDToken  map[string]json.RawMessage `json:"id_token"`
	}
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		return r, refuse(fosite.ErrInvalidRequest, "Invalid claims parameter").because(err)
	}
	r.Userinfo, r.IDToken = knownClaims(members.Userinfo), knownClaims(members.IDToken)
	for _, sub := range []json.RawMessage{members.IDToken["sub"], members.Userinfo["sub"]} {
		var asked *struct {
			Value string `json:"value"`
		}
		if len(sub) == 0 {
			continue
		}
		if err := json.Unmarshal(sub, &asked); err != nil {
			return r, refuse(fosite.ErrInvalidRequest, "Invalid claims parameter").because(err)
		}
		if asked != nil && asked.Value != "" {
			r.Subject = asked.Value
		}
	}
	return r, nil
}

// knownClaims are the names of standard claims among the members, sorted.
func knownClaims(members map[string]json.RawMessage) []string {
	var list []string
	for name := range members {
		if slices.Contains(standardClaims, name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

// standardClaims are the claims about a user that this server has values for
// (OpenID Connect Core section 5.1): the members of [profile].
var standardClaims = []string{
	"name", "given_name", "family_name", "nickname", "preferred_username", "picture", "updated_at",
	"email", "email_verified", "phone_number", "phone_number_verified",
}

// add puts single claims about the user into the profile, beside those of the
// scopes. Names that are no standard claims are left out.
func (p *profile) add(u *tenancy.User, names []string) {
	if len(names) == 0 {
		return
	}
	all := profileOf(u, []string{scopeProfile, scopeEmail, scopePhone, scopeAddress})
	for _, name := range names {
		switch name {
		case "name":
			p.Name = all.Name
		case "given_name":
			p.GivenName = all.GivenName
		case "family_name":
			p.FamilyName = all.FamilyName
		case "nickname":
			p.Nickname = all.Nickname
		case "preferred_username":
			p.PreferredUsername = all.PreferredUsername
		case "picture":
			p.Picture = all.Picture
		case "updated_at":
			p.UpdatedAt = all.UpdatedAt
		case "email":
			p.Email = all.Email
		case "email_verified":
			p.EmailVerified = all.EmailVerified
		case "phone_number":
			p.PhoneNumber = all.PhoneNumber
		case "phone_number_verified":
			p.PhoneNumberVerified = all.PhoneNumberVerified
		}
	}
}
