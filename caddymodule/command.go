package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "gatehouse",
		Short:     "Works on the tenants of a running Gatehouse",
		CobraFunc: plantCommands,
	})
}

// command is one command of `gatehouse`: it asks the running server's admin API
// and shows the answer.
type command struct {
	name        string // its words: "tenants list"
	args        string // what follows: "TENANT [REASON]"
	least, most int    // how many arguments; most < 0 for any number

	short    string // one line, without a full stop
	long     string // what it does and what that means
	examples []string

	flags func(c *cobra.Command) // nil for none of its own
	run   func(t *terminal) error
}

// commands are all there are; files add theirs when the program begins.
var commands []command

// groups says what the commands with a first word of their own are about.
var groups = map[string]string{}

// How a command ends, for scripts.
const (
	exitFailed   = 1 // the server refused, the work failed, or doctor found something
	exitUsage    = 2 // the command was not understood
	exitNoServer = 3 // no server answers at the address
)

const gatehouseLong = `Works on the tenants of a running Gatehouse.

Every command asks the server's admin endpoint, so it works where the server
runs, for whoever may reach that endpoint: --address names it, or --config
names the configuration that says where it is. Nothing here needs a reload.

Output is for people; --json prints what the server answered, for scripts.
Progress goes to the standard error stream. A command ends with 0 when it did
what it says, 1 when the server refused or the work failed, 2 when it was not
understood, and 3 when no server answers.`

// plantCommands makes the command line of the table.
func plantCommands(root *cobra.Command) {
	root.Use = "gatehouse COMMAND"
	root.Long = gatehouseLong
	root.Example = "  " + commandLine("tenants list") + "\n  " + commandLine("doctor --config Caddyfile")
	root.SetUsageTemplate(shortPaths(root.UsageTemplate()))
	flags := root.PersistentFlags()
	flags.String("address", "", "the admin endpoint of the server (default the configuration's, or localhost:2019)")
	flags.StringP("config", "c", "", "a configuration that says where the admin endpoint is")
	flags.String("adapter", "", "the adapter of that configuration, where its name does not tell")
	flags.Bool("json", false, "print the answer as JSON")
	flags.Duration("timeout", 0, "give up after this long (default 2m; for long work, never)")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return end(c, usageError(c, err.Error())) })
	root.RunE = needsCommand
	parents := map[string]*cobra.Command{}
	slices.SortStableFunc(commands, func(a, b command) int { return strings.Compare(a.name, b.name) })
	for _, c := range commands {
		parent := root
		if first, _, nested := strings.Cut(c.name, " "); nested {
			if parent = parents[first]; parent == nil {
				parent = &cobra.Command{Use: first + " COMMAND", Short: groups[first], RunE: needsCommand, DisableFlagsInUseLine: true}
				parents[first] = parent
				root.AddCommand(parent)
			}
		}
		parent.AddCommand(c.cobra())
	}
}

// shortPaths has help name the program once where it is called as the command.
func shortPaths(template string) string {
	cobra.AddTemplateFunc("once", func(path string) string { return strings.Replace(path, "gatehouse gatehouse", "gatehouse", 1) })
	return strings.NewReplacer("{{.UseLine}}", "{{once .UseLine}}", "{{.CommandPath}}", "{{once .CommandPath}}").Replace(template)
}

// needsCommand answers a group that was called without a command of it, or with
// one that it does not have.
func needsCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	return end(c, usageError(c, fmt.Sprintf("there is no command %q", args[0])))
}

// cobra is the command as Caddy's command line wants it.
func (c command) cobra() *cobra.Command {
	words := strings.Fields(c.name)
	made := &cobra.Command{
		Use: strings.TrimSpace(words[len(words)-1] + " " + c.args), Short: c.short, Long: c.short + ".\n\n" + strings.TrimSpace(c.long),
		Args: cobra.ArbitraryArgs, // counted below, for a better answer
	}
	for _, e := range c.examples {
		made.Example += "  " + commandLine(e) + "\n"
	}
	made.Example = strings.TrimSuffix(made.Example, "\n")
	if c.flags != nil {
		c.flags(made)
	}
	made.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) < c.least || c.most >= 0 && len(args) > c.most {
			return end(cmd, usageError(cmd, "it takes: "+commandLine(strings.TrimSpace(c.name+" "+c.args))))
		}
		t := &terminal{cmd: cmd, args: args, out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()}
		return end(cmd, c.run(t))
	}
	return made
}

// exit is an error with the code the process ends with.
type exit struct {
	code int
	hint string
	error
}

// Unwrap returns the error without the code.
func (e *exit) Unwrap() error { return e.error }

func usageError(c *cobra.Command, text string) error {
	path := strings.TrimPrefix(c.CommandPath()+" --help", c.Root().Name()+" gatehouse ")
	return &exit{code: exitUsage, error: errors.New(text), hint: "read: " + commandLine(path)}
}

// end prints why a command failed and has the process end with its code. Caddy
// gives codes only to commands it wraps itself.
func end(c *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	code, hint := exitFailed, ""
	var e *exit
	var t *trouble
	switch {
	case errors.As(err, &e):
		code, hint = e.code, e.hint
	case errors.As(err, &t):
		hint = t.Hint
	}
	writeProblem(c.ErrOrStderr(), err.Error(), hint)
	c.SilenceErrors, c.SilenceUsage = true, true
	if code == exitFailed {
		return err
	}
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(c, nil)
}

func writeProblem(w io.Writer, text, hint string) {
	if text != "" {
		_, _ = fmt.Fprintln(w, "Error: "+text)
	}
	if hint != "" {
		_, _ = fmt.Fprintln(w, "  What to do: "+hint)
	}
}

// CommandLine returns the arguments of a process as Caddy understands them: in a
// program that is called gatehouse, `gatehouse tenants list` means what
// `caddy gatehouse tenants list` means elsewhere.
func CommandLine(args []string) []string {
	if len(args) < 2 {
		return args
	}
	if !slices.ContainsFunc(commands, func(c command) bool {
		first, _, _ := strings.Cut(c.name, " ")
		return first == args[1]
	}) {
		return args
	}
	return slices.Insert(slices.Clone(args), 1, "gatehouse")
}
