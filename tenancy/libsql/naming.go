package libsql

import (
	"fmt"
	"strings"
)

// naming makes the services' names of databases from ours: no two of ours give
// the same, and those of two prefixes never meet, because a prefix has no "-".
type naming struct{ prefix, template string }

const (
	maxPrefix = 13
	maxName   = 64 // at Turso; a prefix, "-" and a tenant id of 50 characters

	// templateName is the template among our names, of which none has an "@".
	templateName = "@template"
)

func (n naming) check() error {
	switch {
	case n.prefix == "":
		return fmt.Errorf("the prefix is missing: a word that begins the names of this installation's databases and of no other's")
	case strings.Trim(n.prefix, lowercase) != "" || len(n.prefix) > maxPrefix:
		return fmt.Errorf("prefix %q: use up to %d characters a-z and 0-9", n.prefix, maxPrefix)
	case strings.Trim(n.template, lowercase+"-") != "" || len(n.template) > maxName:
		return fmt.Errorf("template %q: use up to %d characters a-z, 0-9 and -", n.template, maxName)
	case strings.HasPrefix(n.template, n.prefix+"-"):
		return fmt.Errorf("template %q: it must not begin with %s-, as tenants' databases do", n.template, n.prefix)
	}
	return nil
}

// of returns the service's name. Tenants' ids fit as they are. In other names "_"
// has to be written in another way, and these begin with two dashes, which no
// tenant's id makes.
func (n naming) of(name string) (string, error) {
	full := n.prefix + "-" + name
	switch {
	case name == templateName:
		full = n.template
	case strings.HasPrefix(name, "-") || strings.Contains(name, "_"):
		full = n.prefix + "--" + strings.NewReplacer("-", "-d", "_", "-u").Replace(name)
	}
	if len(full) > maxName {
		return "", fmt.Errorf("%q is longer than the %d characters a database's name may have", full, maxName)
	}
	return full, nil
}
