package caddymodule

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// words are the options a block may hold, by name, each with the function that
// reads what stands behind the name. Every word fills the JSON field of its own
// name.
type words map[string]func(d *caddyfile.Dispenser) error

// block reads the block after the current token, if there is one. owner names it
// in errors. A word that is unknown, that is repeated without being among
// repeatable, or that has a block of its own which its function did not read, is
// an error with file, line and the word.
func (w words) block(d *caddyfile.Dispenser, owner string, repeatable ...string) error {
	seen, last := make(map[string]bool), owner
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		read, known := w[word]
		switch {
		case word == "{":
			return d.Errf("unexpected block after '%s' of %s", last, owner)
		case !known:
			return d.Errf("unrecognized option '%s' of %s; it has: %s", word, owner, strings.Join(slices.Sorted(maps.Keys(w)), ", "))
		case seen[word] && !slices.Contains(repeatable, word):
			return d.Errf("option '%s' of %s is given twice", word, owner)
		}
		seen[word], last = true, word
		if err := read(d); err != nil {
			return err
		}
	}
	return nil
}

// noBlock refuses a block where none belongs.
func noBlock(d *caddyfile.Dispenser) error {
	word := d.Val()
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		return d.Errf("unexpected block after '%s'", word)
	}
	return nil
}

// text reads exactly one argument.
func text(into *string) func(*caddyfile.Dispenser) error {
	return texts(into)
}

// texts reads exactly as many arguments as there are targets.
func texts(into ...*string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word, args := d.Val(), d.RemainingArgs()
		if len(args) != len(into) {
			return d.Errf("'%s' takes %s, not %d", word, arguments(len(into)), len(args))
		}
		for i, arg := range args {
			*into[i] = arg
		}
		return nil
	}
}

// list reads one argument or more. A repeated argument is an error.
func list(into *[]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word, args := d.Val(), d.RemainingArgs()
		if len(args) == 0 {
			return d.Errf("'%s' takes one argument or more", word)
		}
		for i, arg := range args {
			if slices.Contains(args[:i], arg) {
				return d.Errf("'%s' names '%s' twice", word, arg)
			}
		}
		*into = args
		return nil
	}
}

// number reads one whole number from 1 to most.
func number(into *int, most int) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word, arg := d.Val(), ""
		if err := text(&arg)(d); err != nil {
			return err
		}
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 || n > most {
			return d.Errf("'%s' takes a number from 1 to %d, not '%s'", word, most, arg)
		}
		*into = n
		return nil
	}
}

// duration reads one positive duration such as 30s or 1h.
func duration(into *caddy.Duration) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word, arg := d.Val(), ""
		if err := text(&arg)(d); err != nil {
			return err
		}
		v, err := caddy.ParseDuration(arg)
		if err != nil || v <= 0 {
			return d.Errf("'%s' takes a duration such as 30s, not '%s'", word, arg)
		}
		*into = caddy.Duration(v)
		return nil
	}
}

// toggle reads nothing or "on" for true, "off" for false.
func toggle(into **bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		word, args := d.Val(), d.RemainingArgs()
		on := true
		switch {
		case len(args) == 1 && args[0] == "off":
			on = false
		case len(args) > 1 || len(args) == 1 && args[0] != "on":
			return d.Errf("'%s' takes on or off, not '%s'", word, strings.Join(args, " "))
		}
		*into = &on
		return nil
	}
}

func arguments(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return strconv.Itoa(n) + " arguments"
}
