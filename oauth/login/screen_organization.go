package login

import (
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// organizationScreen asks for the organization before the login (contract C2.41,
// pre_login_prompt).
var organizationScreen = Screen{
	Name:   "organization",
	Title:  "Enter your organization",
	Show:   showOrganization,
	Submit: submitOrganization,
}

// organizationView is what the template of the organization screen shows.
type organizationView struct {
	Organization   string // as typed
	FocusSomething bool   // no error summary has the focus
}

func showOrganization(s *step, problem *Problem) (any, error) {
	return organizationView{Organization: s.field("organization"), FocusSomething: problem == nil}, nil
}

func submitOrganization(s *step) error {
	name := s.field("organization")
	if name == "" {
		return missing("Enter your organization", map[string]string{"organization": "Enter the name of your organization"})
	}
	org, err := organizationNamed(s, name)
	if errors.Is(err, tenancy.ErrNotFound) {
		return missing("We could not find this organization", map[string]string{"organization": "Check the spelling of the name"})
	}
	if err != nil {
		return err
	}
	return s.store(func(ls *tenancy.LoginSession) { ls.ChosenOrgID = org.ID })
}

// organizationNamed returns the organization with the id or, in any case, the
// name (contract C2.6).
func organizationNamed(s *step, text string) (*tenancy.Organization, error) {
	if tenancy.IsOrganizationID(text) {
		return tenancy.Organizations.Get(s.ctx, text)
	}
	return tenancy.Organizations.First(s.ctx, "name = ?", strings.ToLower(text))
}

// pickerScreen has somebody who logged in choose among their organizations
// (contract C2.41, post_login_prompt).
var pickerScreen = Screen{
	Name:   "organization-picker",
	Title:  "Choose an organization",
	Show:   showPicker,
	Submit: submitPicker,
}

// pickerView is what the template of the organization picker shows.
type pickerView struct {
	Choices        []choice
	AskName        bool   // there are too many to show: the name is typed
	Organization   string // as typed
	FocusSomething bool   // no error summary has the focus
}

type choice struct{ ID, Name, DisplayName string }

// maxChoices is how many organizations are shown as buttons.
const maxChoices = 50

func showPicker(s *step, problem *Problem) (any, error) {
	if s.session.UserID == "" {
		return nil, elsewhere(resumePath) // nobody logged in yet: the dispatcher knows what is next
	}
	orgs, err := tenancy.Organizations.Find(s.ctx, tenancy.Filter{
		Where: `id IN (SELECT org_id FROM members WHERE tenant_id = organizations.tenant_id AND user_id = ?)`,
		Args:  []any{s.session.UserID}, Order: "LOWER(COALESCE(NULLIF(display_name, ''), name)), id", Limit: maxChoices + 1,
	})
	if err != nil {
		return nil, err
	}
	if len(orgs) == 0 {
		return nil, &failure{
			Status: http.StatusForbidden, Title: "No organization",
			Message: "Your account does not belong to an organization that can use this application.",
		}
	}
	v := pickerView{AskName: len(orgs) > maxChoices, Organization: s.field("organization"), FocusSomething: problem == nil}
	if !v.AskName {
		for _, o := range orgs {
			v.Choices = append(v.Choices, choice{o.ID, o.Name, organizationName(&o)})
		}
	}
	return v, nil
}

func submitPicker(s *step) error {
	if s.session.UserID == "" {
		return nil // as in showPicker: back to the dispatcher
	}
	name := s.field("organization")
	if name == "" {
		return missing("Choose an organization", map[string]string{"organization": "Choose an organization"})
	}
	org, err := organizationNamed(s, name)
	if err == nil {
		_, err = tenancy.Members.Get(s.ctx, tenancy.Join(org.ID, s.session.UserID))
	}
	if errors.Is(err, tenancy.ErrNotFound) {
		// The same for one that does not exist and one that is not theirs.
		return missing("You are not a member of this organization", map[string]string{"organization": "Choose another organization"})
	}
	if err != nil {
		return err
	}
	return s.store(func(ls *tenancy.LoginSession) { ls.ChosenOrgID = org.ID })
}
