package caddymodule

import (
	"fmt"
	"io"
	"net/url"
	"os"
)

// notices is where the one line of a first start goes. It is no log: the line
// holds a link that works once, and logs are kept.
var notices io.Writer = os.Stdout

// greet prints, while the control plane has no administrator, where to make the
// first one.
func (s *services) greet(issuer string) {
	if s.setup == "" {
		return
	}
	link := issuer + "u/setup?" + url.Values{"token": {s.setup}}.Encode()
	_, _ = fmt.Fprintf(notices, "Gatehouse is ready at %s - make its first administrator here: %s\n", issuer, link)
}
