package tenancy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
)

// setting is one row of the table of settings: a key, what its value may be,
// the product's default and whether tenants can inherit it. Each first-level
// member of "flags" is a key of its own, written "flags.<name>"; every other
// object is one key (contract C7.13).
type setting struct {
	check       check           // says what is wrong with a value
	fallback    json.RawMessage // the product default; nil means unset
	inheritable bool            // contract C7.5; otherwise C7.8
}

// check looks at a value of JSON, never null, and returns what is wrong with it.
// path names the value in messages.
type check func(path string, value json.RawMessage) error

// settingKeys are all settings (contract C5.35).
var settingKeys = withTemplates(withFlags(map[string]setting{
	"friendly_name":           {check: textUpTo(100)},
	"picture_url":             {check: webURL, inheritable: true},
	"support_email":           {check: emailAddress, inheritable: true},
	"support_url":             {check: webURL, inheritable: true},
	"sender_email":            {check: emailAddress, inheritable: true},
	"sender_name":             {check: textUpTo(255), inheritable: true},
	"default_redirection_uri": {check: secureURL, inheritable: true},
	"default_client_id":       {check: textUpTo(255)},
	"default_audience":        {check: textUpTo(600)},
	"default_directory":       {check: textUpTo(255)},
	"default_organization":    {check: textUpTo(255)},
	"sandbox_version":         {check: textUpTo(20)},
	"audience":                {check: textUpTo(600)},
	"allowed_logout_urls":     {check: textList(100), fallback: json.RawMessage(`[]`)},
	"enabled_locales":         {check: textList(100), fallback: json.RawMessage(`["en"]`), inheritable: true},
	"acr_values_supported":    {check: textList(100), inheritable: true},
	"session_lifetime":        {check: lifetimeHours, fallback: json.RawMessage(`168`), inheritable: true},
	"idle_session_lifetime":   {check: lifetimeHours, fallback: json.RawMessage(`72`), inheritable: true},
	"ephemeral_session_lifetime": {
		check: lifetimeHours, fallback: json.RawMessage(`72`), inheritable: true,
	},
	"idle_ephemeral_session_lifetime": {
		check: lifetimeHours, fallback: json.RawMessage(`24`), inheritable: true,
	},
	"session_cookie": {check: objectOf(map[string]check{"mode": oneOf("persistent", "non-persistent")}), inheritable: true},
	"error_page": {
		check:       objectOf(map[string]check{"html": anyText, "show_log_link": boolean, "url": webURL}),
		inheritable: true,
	},
	"change_password":     {check: objectOf(map[string]check{"enabled": boolean, "html": anyText}), inheritable: true},
	"guardian_mfa_page":   {check: objectOf(map[string]check{"enabled": boolean, "html": anyText}), inheritable: true},
	"device_flow":         {check: objectOf(map[string]check{"charset": oneOf("base20", "digits"), "mask": textUpTo(20)}), inheritable: true},
	"default_token_quota": {check: objectOf(nil), inheritable: true},
	"sessions":            {check: objectOf(map[string]check{"oidc_logout_prompt_enabled": boolean}), inheritable: true},
	"oidc_logout": {
		check:       objectOf(map[string]check{"rp_logout_end_session_endpoint_discovery": boolean}),
		inheritable: true,
	},
	"allow_organization_name_in_authentication_api": {check: boolean, fallback: json.RawMessage(`true`), inheritable: true},
	"customize_mfa_in_postlogin_action":             {check: boolean, fallback: json.RawMessage(`false`), inheritable: true},
	"pushed_authorization_requests_supported":       {check: boolean, fallback: json.RawMessage(`true`), inheritable: true},
	"require_pushed_authorization_requests":         {check: boolean, fallback: json.RawMessage(`false`), inheritable: true},
	fixedSetting:                                    {check: alwaysTrue, fallback: json.RawMessage(`true`)},
}))

// fixedSetting is returned and can be given, but never differs from its default.
const fixedSetting = "authorization_response_iss_parameter_supported"

// flagPrefix begins the keys of flags.
const flagPrefix = "flags."

// localFlags are never inherited (contract C7.5). Together with effectiveFlags
// they have an effect (contract C5.36); otherFlags are kept for callers that
// set them.
const (
	localFlags     = `self_service_tenants dcr_open enable_dynamic_client_registration`
	effectiveFlags = `inherit_global_permissions_in_organizations client_id_metadata_document_registration
		revoke_refresh_token_grant enable_client_connections`
	otherFlags = `allow_changing_enable_sso allow_legacy_delegation_grant_types allow_legacy_ro_grant_types
		allow_legacy_tokeninfo_endpoint change_pwd_flow_v1 custom_domains_provisioning
		dashboard_insights_view dashboard_log_streams_next disable_clickjack_protection_headers
		disable_fields_map_fix disable_impersonation disable_management_api_sms_obfuscation
		enable_adfs_waad_email_verification enable_apis_section enable_custom_domain_in_emails
		enable_idtoken_api2 enable_legacy_logs_search_v2 enable_legacy_profile enable_pipeline2
		enable_public_signup_user_exists_error enable_sso enforce_client_authentication_on_passwordless_start
		genai_trial improved_signup_bot_detection_in_classic mfa_show_factor_list_on_enrollment
		no_disclose_enterprise_connections remove_alg_from_jwks
		trust_azure_adfs_email_verified_connection_property use_scope_descriptions_for_consent`
)

func withFlags(keys map[string]setting) map[string]setting {
	no := json.RawMessage(`false`)
	for _, name := range strings.Fields(localFlags) {
		keys[flagPrefix+name] = setting{check: boolean, fallback: no}
	}
	for _, name := range strings.Fields(effectiveFlags) {
		keys[flagPrefix+name] = setting{check: boolean, fallback: no, inheritable: true}
	}
	for _, name := range strings.Fields(otherFlags) {
		keys[flagPrefix+name] = setting{check: boolean, inheritable: true}
	}
	return keys
}

// settingFallback is the product default of a key in a tenant; nil means unset.
func settingFallback(key string, t *Tenant) json.RawMessage {
	switch {
	case key == "friendly_name" && t.FriendlyName != "":
		return quote(t.FriendlyName)
	case key == "audience" && t.Audience != "":
		return quote(t.Audience)
	case key == "audience":
		return quote("urn:gatehouse:tenant:" + t.ID)
	}
	return settingKeys[key].fallback
}

func quote(s string) json.RawMessage {
	b, _ := json.Marshal(s) // a string always has a form in JSON
	return b
}

// invalidSetting is what a caller is told about a value (contract C5.8).
func invalidSetting(path, reason string) error {
	return Errorf(400, "invalid_body", "Payload validation error: '%s' on property %s", reason, path)
}

func unknownSetting(name string) error {
	return Errorf(400, "invalid_body", "Payload validation error: 'Additional properties not allowed: %s'", name)
}

func wrongType(path, expected string, value json.RawMessage) error {
	return invalidSetting(path, fmt.Sprintf("Expected type %s but found type %s", expected, jsonType(value)))
}

// jsonType names the type of a JSON value, as messages do.
func jsonType(value json.RawMessage) string {
	switch value = bytes.TrimSpace(value); {
	case len(value) == 0 || value[0] == 'n':
		return "null"
	case value[0] == '{':
		return "object"
	case value[0] == '[':
		return "array"
	case value[0] == '"':
		return "string"
	case value[0] == 't' || value[0] == 'f':
		return "boolean"
	}
	return "number"
}

func textUpTo(limit int) check {
	return func(path string, value json.RawMessage) error {
		var s string
		if jsonType(value) != "string" || json.Unmarshal(value, &s) != nil {
			return wrongType(path, "string", value)
		}
		if len([]rune(s)) > limit {
			return invalidSetting(path, fmt.Sprintf("String is too long (%d chars), maximum %d", len([]rune(s)), limit))
		}
		return nil
	}
}

func anyText(path string, value json.RawMessage) error { return textUpTo(1<<20)(path, value) }

func textList(limit int) check {
	return func(path string, value json.RawMessage) error {
		var list []json.RawMessage
		if jsonType(value) != "array" || json.Unmarshal(value, &list) != nil {
			return wrongType(path, "array", value)
		}
		if len(list) > limit {
			return invalidSetting(path, fmt.Sprintf("Array is too long (%d), maximum %d", len(list), limit))
		}
		for i, item := range list {
			if err := textUpTo(2048)(fmt.Sprintf("%s[%d]", path, i), item); err != nil {
				return err
			}
		}
		return nil
	}
}

func boolean(path string, value json.RawMessage) error {
	if jsonType(value) != "boolean" {
		return wrongType(path, "boolean", value)
	}
	return nil
}

func alwaysTrue(path string, value json.RawMessage) error {
	if string(bytes.TrimSpace(value)) != "true" {
		return invalidSetting(path, "Value is fixed to true")
	}
	return nil
}

// lifetimeHours is a lifetime: a positive number of hours, at most ten years.
func lifetimeHours(path string, value json.RawMessage) error {
	var n float64
	if jsonType(value) != "number" || json.Unmarshal(value, &n) != nil {
		return wrongType(path, "number", value)
	}
	if n <= 0 || n > 87600 {
		return invalidSetting(path, "Value must be greater than 0 and at most 87600 hours")
	}
	return nil
}

func oneOf(values ...string) check {
	return func(path string, value json.RawMessage) error {
		var s string
		if jsonType(value) != "string" || json.Unmarshal(value, &s) != nil {
			return wrongType(path, "string", value)
		}
		for _, v := range values {
			if s == v {
				return nil
			}
		}
		return invalidSetting(path, "No enum match for: "+s)
	}
}

// emailAddress is an e-mail address or "".
func emailAddress(path string, value json.RawMessage) error {
	if err := textUpTo(255)(path, value); err != nil {
		return err
	}
	var s string
	_ = json.Unmarshal(value, &s) // a string, as textUpTo found
	if parsed, err := mail.ParseAddress(s); s != "" && (err != nil || parsed.Address != s) {
		return invalidSetting(path, "Object didn't pass validation for format email: "+s)
	}
	return nil
}

// webURL is an absolute URL of the web or "".
func webURL(path string, value json.RawMessage) error { return checkURL(path, value, "https", "http") }

// secureURL is an absolute https URL without fragment or "".
func secureURL(path string, value json.RawMessage) error { return checkURL(path, value, "https") }

func checkURL(path string, value json.RawMessage, schemes ...string) error {
	if err := textUpTo(2048)(path, value); err != nil {
		return err
	}
	var s string
	_ = json.Unmarshal(value, &s) // a string, as textUpTo found
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	for _, scheme := range schemes {
		if err == nil && u.Scheme == scheme && u.Host != "" && u.Fragment == "" {
			return nil
		}
	}
	return invalidSetting(path, "Object didn't pass validation for format absolute-"+schemes[0]+"-uri: "+s)
}

// objectOf is an object with these members at most; nil members allow any. A
// member that is null counts as absent.
func objectOf(members map[string]check) check {
	return func(path string, value json.RawMessage) error {
		var given map[string]json.RawMessage
		if jsonType(value) != "object" || json.Unmarshal(value, &given) != nil {
			return wrongType(path, "object", value)
		}
		for _, name := range sortedKeys(given) {
			check, ok := members[name]
			switch {
			case members == nil || jsonType(given[name]) == "null" && ok:
			case !ok:
				return unknownSetting(path + "." + name)
			default:
				if err := check(path+"."+name, given[name]); err != nil {
					return err
				}
			}
		}
		return nil
	}
}
