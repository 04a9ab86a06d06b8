package tenancy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Modes of inheritance (contract C7.10).
const (
	InheritAll      = "all"      // every inheritable key; the default
	InheritSelected = "selected" // only Keys
	InheritNone     = "none"     // nothing
)

// Over lays a tenant's choice over the configuration's, member by member
// (contract C7.11): what the tenant says replaces, what it leaves out stays. An
// empty list is said; nil is left out. The result always has a mode.
func (i Inheritance) Over(global Inheritance) Inheritance {
	out := global
	if i.Mode != "" {
		out.Mode = i.Mode
	}
	if out.Mode == "" {
		out.Mode = InheritAll
	}
	if i.Keys != nil {
		out.Keys = i.Keys
	}
	if i.ExcludedKeys != nil {
		out.ExcludedKeys = i.ExcludedKeys
	}
	return out
}

// Covers reports whether the choice, resolved by [Inheritance.Over], has the key
// inherited. A parent key covers its members: "flags" covers "flags.enable_sso".
// Whether a key is inheritable at all is not looked at.
func (i Inheritance) Covers(key string) bool { return i.excludedBy(key) == "" }

// excludedBy names what keeps a key from being inherited: the excluded key that
// covers it, or the mode; "" means that it is inherited.
func (i Inheritance) excludedBy(key string) string {
	if at := slices.IndexFunc(i.ExcludedKeys, covering(key)); at >= 0 {
		return i.ExcludedKeys[at]
	}
	switch i.Mode {
	case InheritAll:
		return ""
	case InheritSelected:
		if slices.ContainsFunc(i.Keys, covering(key)) {
			return ""
		}
		return "mode " + InheritSelected
	}
	return "mode " + InheritNone
}

// covering reports of a chosen key whether it is key or a parent of it. The
// e-mail provider may be called "email" too.
func covering(key string) func(string) bool {
	return func(chosen string) bool {
		if chosen == "email" {
			chosen = "emails"
		}
		return key == chosen || strings.HasPrefix(key, chosen+".")
	}
}

// inheritableGroups are what can be chosen beside settings (contract C7.6,
// C7.20); their members are not known here.
var inheritableGroups = []string{"branding", "prompts", "email_templates", "attack_protection", "connections", "email", "emails"}

// Validate returns a 400 for a mode that does not exist and for keys that are
// unknown or never inherited (contract C7.10, C7.8).
func (i Inheritance) Validate() error {
	if i.Mode != "" && !slices.Contains([]string{InheritAll, InheritSelected, InheritNone}, i.Mode) {
		return invalidSetting("inheritance.mode", "No enum match for: "+i.Mode)
	}
	for name, keys := range map[string][]string{"keys": i.Keys, "excluded_keys": i.ExcludedKeys} {
		for at, key := range keys {
			if !canBeChosen(key) {
				return invalidSetting(fmt.Sprintf("inheritance.%s[%d]", name, at), "Not an inheritable key: "+key)
			}
		}
	}
	return nil
}

func canBeChosen(key string) bool {
	if key == "flags" {
		return true
	}
	if row, ok := settingKeys[key]; ok {
		return row.inheritable
	}
	group, member, dotted := strings.Cut(key, ".")
	return slices.Contains(inheritableGroups, group) && dotted == (member != "")
}

// Transform makes the value that a tenant inherits from the control plane's
// value of a key. A result of nil or null with a nil error means that the tenant
// does not inherit this key.
type Transform func(value json.RawMessage, t *Tenant) (json.RawMessage, error)

// Transforms are transforms by the key of the setting, e.g. "flags.enable_sso".
type Transforms map[string]Transform

// CheckTransformed returns a 400 for a key whose inherited value cannot be
// transformed, because it is unknown or never inherited.
func CheckTransformed(key string) error {
	if !settingKeys[key].inheritable {
		return invalidSetting("inherit.transform", "Not an inheritable key: "+key)
	}
	return nil
}

// Remark says of an inherited key what a transform did to it.
type Remark struct {
	By    string `json:"by"`              // the key of the transform
	Error string `json:"error,omitempty"` // why there is no new value
}

// Inherit returns what a tenant inherits of its parent's values: those that can
// be inherited and that the resolved choice covers, transformed where there is a
// transform. A result that is no value of the key leaves the product's default in
// effect (contract C7.12); a transform that fails leaves what before, the values
// inherited until now, has of the key. Both are in the remarks. No map is changed
// or shared.
func Inherit(parent map[string]json.RawMessage, choice Inheritance, t *Tenant, transforms Transforms, before map[string]json.RawMessage,
) (values map[string]json.RawMessage, remarks map[string]Remark) {
	values = make(map[string]json.RawMessage)
	for key, value := range parent {
		row := settingKeys[key]
		if !row.inheritable || !choice.Covers(key) {
			continue
		}
		transform := transforms[key]
		if transform == nil {
			values[key] = slices.Clone(value)
			continue
		}
		remark := Remark{By: key}
		made, err := transform(slices.Clone(value), t)
		if err != nil {
			made, remark.Error = before[key], clip(err.Error())
		} else if made != nil && jsonType(made) != "null" {
			if err := row.check(key, made); err != nil {
				made, remark.Error = nil, "The transform's result is no value of this setting"
			}
		}
		if made != nil && jsonType(made) != "null" {
			values[key] = slices.Clone(made)
		}
		if remarks == nil {
			remarks = make(map[string]Remark)
		}
		remarks[key] = remark
	}
	return values, remarks
}
