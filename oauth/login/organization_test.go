package login

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

// C2.41, pre_login_prompt; C2.6.
func TestOrganizationScreen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"name", "first", "org_1"},
		{"name in other letters", " FIRST ", "org_1"},
		{"id", "org_2", "org_2"},
		{"unknown", "nowhere", ""},
		{"unknown id", "org_9", ""},
		{"empty", "", ""},
		{"SQL", "' OR '1'='1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.begin("acme")
			w := h.post("acme", "/u/organization", "organization", tt.text)
			if tt.want != "" {
				wantResume(t, w)
			} else {
				wantPage(t, w, http.StatusBadRequest, `id="organization-error"`)
			}
			if got := h.session("acme").ChosenOrgID; got != tt.want {
				t.Errorf("chosen organization = %q, want %q", got, tt.want)
			}
		})
	}
}

// C2.41, post_login_prompt.
func TestOrganizationPicker(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme")
	wantResume(t, h.do("acme", call{to: "/u/organization-picker"})) // nobody logged in yet
	wantResume(t, h.post("acme", "/u/organization-picker", "organization", "org_1"))
	if got := h.session("acme").ChosenOrgID; got != "" {
		t.Fatalf("somebody who did not log in chose %q", got)
	}
	h.post("acme", "/u/login", "username", "ada", "password", password)
	w := h.do("acme", call{to: "/u/organization-picker"})
	wantPage(t, w, http.StatusOK, `value="org_1"><b>First &amp; Co</b><span>first</span>`)
	wantPage(t, w, http.StatusOK, `value="org_2"><b>second</b></button>`)
	if strings.Contains(w.Body.String(), "org_3") {
		t.Error("an organization of others is offered")
	}
	for _, other := range []string{"org_3", "third", "org_9", ""} {
		wantPage(t, h.post("acme", "/u/organization-picker", "organization", other), http.StatusBadRequest, "rganization")
		if got := h.session("acme").ChosenOrgID; got != "" {
			t.Fatalf("%q chosen for %q", got, other)
		}
	}
	wantResume(t, h.post("acme", "/u/organization-picker", "organization", "org_2"))
	if got := h.session("acme").ChosenOrgID; got != "org_2" {
		t.Errorf("chosen organization = %q, want org_2", got)
	}
}

func TestOrganizationPickerOfManyAsksForTheName(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	ctx := h.inside["acme"]
	var stmts []tenancy.Stmt
	for i := range maxChoices {
		id := fmt.Sprintf("org_m%d", i)
		stmts = append(stmts, tenancy.Organizations.Insert(ctx, &tenancy.Organization{Row: tenancy.Row{ID: id}, Name: fmt.Sprintf("many-%d", i)}),
			tenancy.Members.Insert(ctx, tenancy.NewMember(id, ada)))
	}
	h.commit("acme", stmts...)
	h.begin("acme", func(ls *tenancy.LoginSession) { ls.UserID = ada })
	wantPage(t, h.do("acme", call{to: "/u/organization-picker"}), http.StatusOK, `<input id="organization"`)
	wantResume(t, h.post("acme", "/u/organization-picker", "organization", "Many-7"))
	if got := h.session("acme").ChosenOrgID; got != "org_m7" {
		t.Errorf("chosen organization = %q, want org_m7", got)
	}
}

func TestOrganizationPickerWithoutAny(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.begin("acme", func(ls *tenancy.LoginSession) { ls.UserID = "auth0|loner" })
	wantPage(t, h.do("acme", call{to: "/u/organization-picker"}), http.StatusForbidden, "does not belong to an organization")
}

// C2.36, C4.25: where a person may log in, and where they may sign up.
func TestConnectionsOffered(t *testing.T) {
	t.Parallel()
	type enabled = tenancy.OrganizationConnection
	for _, tt := range []struct {
		name       string
		orgID      string
		chosen     string
		enabled    []enabled // of org_1
		connection string    // request parameter
		want       string    // names offered; those with sign-up marked "+"; empty for an error page
	}{
		{name: "the client's", want: "people+ closed"},
		{name: "of an organization without any", orgID: "org_2", enabled: []enabled{{ConnectionID: "con_1"}}, want: "people+ closed"},
		{name: "of an organization", orgID: "org_1", enabled: []enabled{{ConnectionID: "con_1", ShowAsButton: true}}, want: "people"},
		{name: "of a chosen organization", chosen: "org_1", enabled: []enabled{{ConnectionID: "con_1", ShowAsButton: true}}, want: "people"},
		{name: "with sign-up", orgID: "org_1", enabled: []enabled{{ConnectionID: "con_1", ShowAsButton: true, IsSignupEnabled: true}}, want: "people+"},
		{name: "sign-up needs the connection's word too", orgID: "org_1", enabled: []enabled{{ConnectionID: "con_2", ShowAsButton: true, IsSignupEnabled: true}}, want: "closed"},
		{name: "hidden", orgID: "org_1", enabled: []enabled{{ConnectionID: "con_1"}, {ConnectionID: "con_2", ShowAsButton: true}}, want: "closed"},
		{name: "all hidden", orgID: "org_1", enabled: []enabled{{ConnectionID: "con_1"}}, want: ""},
		{name: "enabled for the organization and not for the client", orgID: "org_1", enabled: []enabled{{ConnectionID: "con_3", ShowAsButton: true}}, want: ""},
		{name: "narrowed", connection: "closed", want: "closed"},
		{name: "narrowed to one of others", connection: "not-enabled", want: ""},
		{name: "narrowed to none of the organization's", orgID: "org_1", connection: "closed", enabled: []enabled{{ConnectionID: "con_1", ShowAsButton: true}}, want: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			ctx := h.inside["acme"]
			h.commit("acme",
				tenancy.Connections.Insert(ctx, &tenancy.Connection{
					Row: tenancy.Row{ID: "con_2"}, Name: "closed", Strategy: tenancy.StrategyDatabase,
					Options: map[string]any{"disable_signup": true},
				}),
				tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(clientID, "con_2")),
				tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_3"}, Name: "not-enabled", Strategy: tenancy.StrategyDatabase}),
				tenancy.Connections.Insert(ctx, &tenancy.Connection{Row: tenancy.Row{ID: "con_4"}, Name: "mail", Strategy: "email"}),
				tenancy.ClientConnections.Insert(ctx, tenancy.NewClientConnection(clientID, "con_4")))
			for _, e := range tt.enabled {
				e.ID, e.OrgID = tenancy.Join("org_1", e.ConnectionID), "org_1"
				h.commit("acme", tenancy.OrganizationConnections.Insert(ctx, &e))
			}
			h.begin("acme", func(ls *tenancy.LoginSession) {
				ls.OrgID, ls.ChosenOrgID = tt.orgID, tt.chosen
				if tt.connection != "" {
					ls.Request["connection"] = tt.connection
				}
			})
			s := h.step("acme")
			list, err := s.connections()
			var names []string
			for _, o := range list {
				name := o.Name
				if o.signUp {
					name += "+"
				}
				names = append(names, name)
			}
			if got := strings.Join(names, " "); got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("offered = %q (%v), want %q", got, err, tt.want)
			}
			if tt.want == "" {
				w := h.do("acme", call{to: "/u/login"})
				wantPage(t, w, http.StatusBadRequest, "PATCH /api/v2/connections/{id}/clients")
			}
		})
	}
}
