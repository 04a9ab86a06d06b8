package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	tenantsync "github.com/gatehouse-id/gatehouse/sync"
	"github.com/gatehouse-id/gatehouse/tenancy"
	"github.com/gatehouse-id/gatehouse/tenancy/expr"
)

// syncKinds are the kinds of what is synced, by their words.
var syncKinds = map[string]string{
	"resource_servers": tenancy.KindResourceServer, "roles": tenancy.KindRole, "connections": tenancy.KindConnection,
}

// check lists what is wrong.
func (s *Sync) check() (errs []error) {
	if s.Every < 0 || s.Workers < 0 {
		errs = append(errs, errors.New("sync: every and workers cannot be negative"))
	}
	if !slices.Contains([]string{"", "remove", "detach"}, s.OnUnsync) {
		errs = append(errs, fmt.Errorf("sync: on_unsync: there are remove and detach, not %q", s.OnUnsync))
	}
	for _, word := range slices.Sorted(maps.Keys(s.OnConflict)) {
		if err := checkPolicy(word, s.OnConflict[word]); err != nil {
			errs = append(errs, fmt.Errorf("sync: on_conflict: %w", err))
		}
	}
	if _, err := s.excludes(); err != nil {
		errs = append(errs, fmt.Errorf("sync: %w", err))
	}
	return errs
}

func checkPolicy(word, policy string) error {
	kind, known := syncKinds[word]
	if !known {
		return fmt.Errorf("there is no kind %q; there are %s", word, strings.Join(slices.Sorted(maps.Keys(syncKinds)), ", "))
	}
	if policies := tenantsync.Kinds[kind]; !slices.Contains(policies, policy) {
		return fmt.Errorf("%s: there are %s, not %q", word, strings.Join(policies, ", "), policy)
	}
	return nil
}

// policies are the policies of on_conflict as sync knows the kinds.
func (s *Sync) policies() map[string]string {
	policies := make(map[string]string, len(s.OnConflict))
	for word, policy := range s.OnConflict {
		policies[syncKinds[word]] = policy
	}
	return policies
}

// excludes compiles the expressions of exclude into one; nil where there is none.
func (s *Sync) excludes() (func(tenantsync.Entity, *tenancy.Tenant) (bool, error), error) {
	if len(s.Exclude) == 0 {
		return nil, nil
	}
	var all []*expr.Exclude
	for _, text := range s.Exclude {
		x, err := expr.CompileExclude(text)
		if err != nil {
			return nil, fmt.Errorf("exclude: %w", err)
		}
		all = append(all, x)
	}
	return func(e tenantsync.Entity, t *tenancy.Tenant) (bool, error) {
		var errs []error
		for _, x := range all {
			out, err := x.Match(expr.Entity(e), t)
			if out {
				return true, nil // whatever the others would say
			}
			errs = append(errs, err)
		}
		return false, errors.Join(errs...)
	}, nil
}

// transforms compiles the expressions of transform.
func (i *Inherit) transforms() (tenancy.Transforms, error) {
	if len(i.Transform) == 0 {
		return nil, nil
	}
	all := make(tenancy.Transforms, len(i.Transform))
	for _, key := range slices.Sorted(maps.Keys(i.Transform)) {
		if err := tenancy.CheckTransformed(key); err != nil {
			return nil, fmt.Errorf("transform: %w", err)
		}
		x, err := expr.CompileTransform(i.Transform[key])
		if err != nil {
			return nil, fmt.Errorf("transform: %s: %w", key, err)
		}
		all[key] = x.Make
	}
	return all, nil
}

// expressions names what the expressions do.
func (a *App) expressions() string {
	text, _ := json.Marshal([]any{a.Sync.Exclude, a.Inherit.Transform}) // texts always encode
	return string(text)
}

// expression reads the rest of the line as one expression. One argument is the
// expression, without its quotes; several are it as they stand.
func expression(d *caddyfile.Dispenser) string {
	if d.CountRemainingArgs() > 1 {
		return strings.Join(d.RemainingArgsRaw(), " ")
	}
	if !d.NextArg() {
		return ""
	}
	return d.Val()
}

// parseExclude reads `exclude <expression>`.
func (s *Sync) parseExclude(d *caddyfile.Dispenser) error {
	text := expression(d)
	if _, err := expr.CompileExclude(text); err != nil {
		return d.WrapErr(fmt.Errorf("'exclude': %w", err))
	}
	s.Exclude = append(s.Exclude, text)
	return nil
}

// parseOnConflict reads
//
//	on_conflict {
//		<kind> refuse | adopt | rename
//	}
func (s *Sync) parseOnConflict(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected '%s' after 'on_conflict'; each kind stands in a line of its block", d.Val())
	}
	s.OnConflict = make(map[string]string)
	options := words{}
	for word := range syncKinds {
		options[word] = func(d *caddyfile.Dispenser) error {
			policy := ""
			if err := text(&policy)(d); err != nil {
				return err
			}
			s.OnConflict[word] = policy
			if err := checkPolicy(word, policy); err != nil {
				return d.WrapErr(fmt.Errorf("'on_conflict': %w", err))
			}
			return nil
		}
	}
	return options.block(d, "on_conflict")
}

// parseTransform reads `transform <key> <expression>`.
func (i *Inherit) parseTransform(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("'transform' takes a setting and an expression, for instance: transform support_email `tenant.id + \"@example.com\"`")
	}
	key := d.Val()
	if _, twice := i.Transform[key]; twice {
		return d.Errf("'transform' names '%s' twice; one expression can choose: condition ? a : b", key)
	}
	if err := tenancy.CheckTransformed(key); err != nil {
		return d.Errf("'transform': '%s' is no setting that is inherited", key)
	}
	text := expression(d)
	if _, err := expr.CompileTransform(text); err != nil {
		return d.WrapErr(fmt.Errorf("'transform' of %s: %w", key, err))
	}
	if i.Transform == nil {
		i.Transform = make(map[string]string)
	}
	i.Transform[key] = text
	return nil
}
