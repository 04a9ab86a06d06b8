package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	commands = append(commands, command{
		name: "doctor", short: "Finds the usual misconfigurations and says how to mend each",
		long: `It looks at the configuration the server runs and at the server itself. With
--config it looks at that file's configuration instead; where no server answers
then, at that only, so that it can be run before a start.

It ends with 0 where all is well and with 1 where it found something.`,
		examples: []string{"doctor", "doctor --config Caddyfile", "doctor --json"},
		run:      runDoctor,
	})
}

func runDoctor(t *terminal) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	ctx, cancel := t.interruptible(t.wait(callLimit))
	defer cancel()
	text, err := t.configuration()
	if err != nil {
		return err
	}
	if text == nil {
		var running json.RawMessage
		if err := c.call(ctx, http.MethodGet, "/config/", nil, &running); err != nil {
			return err
		}
		text = running
	}
	config, err := readDoctorConfig(text)
	if err != nil {
		return err
	}
	said := config.examine()
	var server diagnosis
	err = c.call(ctx, http.MethodGet, "/gatehouse/doctor", nil, &server)
	var e *exit
	switch {
	case t.text("config") != "" && errors.As(err, &e) && e.code == exitNoServer:
		writeProblem(t.err, "", "start the server and ask again: "+e.Error()+", so only the configuration was looked at")
	case err != nil:
		return err
	}
	said.Checks = append(said.Checks, server.Checks...)
	if err := t.show(said, said.table); err != nil {
		return err
	}
	if n := said.problems(); n > 0 {
		return &exit{code: exitFailed, error: fmt.Errorf("%d things to mend", n)}
	}
	return nil
}

// configuration is that of the flag config as JSON, or nil without the flag.
func (t *terminal) configuration() ([]byte, error) {
	if t.text("config") == "" {
		return nil, nil
	}
	text, _, _, err := caddycmd.LoadConfig(t.text("config"), t.text("adapter"))
	if err != nil {
		return nil, &exit{code: exitUsage, error: err}
	}
	return text, nil
}

func (d diagnosis) table(w io.Writer) {
	for _, c := range d.Checks {
		if len(c.Findings) == 0 {
			_, _ = fmt.Fprintln(w, "ok   "+c.Check)
			continue
		}
		_, _ = fmt.Fprintln(w, "BAD  "+c.Check)
		for _, f := range c.Findings {
			_, _ = fmt.Fprintln(w, "       "+f.Problem)
			_, _ = fmt.Fprintln(w, "       -> "+f.Remedy)
		}
	}
}
