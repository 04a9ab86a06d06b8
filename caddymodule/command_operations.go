package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/gatehouse-id/gatehouse/tenancy"
)

func init() {
	groups["operations"] = "Show, cancel and retry work on tenants"
	commands = append(
		commands,
		command{
			name: "operations show", args: "OPERATION", least: 1, most: 1, short: "Shows how far work on a tenant is, step by step",
			long:     `The id of a tenant's last operation is in "tenants show".`,
			examples: []string{"operations show op_Ub3kd9s2"},
			run:      func(t *terminal) error { return t.operation(http.MethodGet) },
		},
		command{
			name: "operations cancel", args: "OPERATION", least: 1, most: 1, short: "Has work on a tenant end before it is done",
			long: `Making, importing, moving, upgrading a tenant and repairs can be cancelled while
they run; whoever is at it notices within about a second. A tenant that was being
made is failed then, and one that moved is where it was.`,
			examples: []string{"operations cancel op_Ub3kd9s2"},
			run:      func(t *terminal) error { return t.operation(http.MethodPost, "cancel") },
		},
		command{
			name: "operations retry", args: "OPERATION", least: 1, most: 1, short: "Runs work that failed once more",
			long:     `It goes on where it stopped, and what was done already is not done again.`,
			examples: []string{"operations retry op_Ub3kd9s2"},
			run:      func(t *terminal) error { return t.operation(http.MethodPost, "retry") },
		},
	)
}

// operation asks for the operation that the command names, or for something to be
// done about it, and shows it.
func (t *terminal) operation(method string, verb ...string) error {
	path := "/gatehouse/operations/" + url.PathEscape(t.arg(0))
	for _, v := range verb {
		path += "/" + v
	}
	var v operationDetails
	if err := t.call(method, path, nil, &v); err != nil {
		return err
	}
	return t.show(v, v.table)
}

// operationDetails is an [operationView] as it comes back.
type operationDetails struct {
	ID          string                  `json:"id"`
	Tenant      string                  `json:"tenant_id"`
	Kind        tenancy.OperationKind   `json:"kind"`
	Status      tenancy.OperationStatus `json:"status"`
	CurrentStep string                  `json:"current_step"`
	Attempt     int64                   `json:"attempt"`
	Error       string                  `json:"error,omitempty"`
	UpdatedAt   tenancy.Time            `json:"updated_at"`
	Events      []struct {
		Step    string          `json:"step"`
		Outcome string          `json:"outcome"`
		Attempt int64           `json:"attempt"`
		Detail  json.RawMessage `json:"detail,omitempty"`
		At      tenancy.Time    `json:"created_at"`
	} `json:"events"`
}

func (v operationDetails) table(w io.Writer) {
	row(w, "operation:", v.ID)
	row(w, "tenant:", v.Tenant)
	row(w, "what:", fmt.Sprintf("%s %s, attempt %d, %s", v.Kind, v.Status, v.Attempt, moment(v.UpdatedAt)))
	if v.Error != "" {
		row(w, "error:", v.Error)
	}
	_, _ = fmt.Fprintln(w)
	row(w, "TIME", "ATTEMPT", "STEP", "OUTCOME")
	for _, e := range v.Events {
		row(w, moment(e.At), e.Attempt, e.Step, e.Outcome)
	}
}
