-- +goose Up

-- Every row belongs to a tenant and is keyed by it, also where a tenant has a
-- database of its own: so a tenant can move between placements. Times are
-- microseconds since 1970 (0 for never); lists and maps are JSON; sealed values
-- are base64url text.

CREATE TABLE tenants (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	friendly_name TEXT NOT NULL DEFAULT '',
	state TEXT NOT NULL DEFAULT '',
	organization_id TEXT NOT NULL DEFAULT '',
	audience TEXT NOT NULL DEFAULT '',
	metadata TEXT NOT NULL DEFAULT 'null',
	inheritance TEXT NOT NULL DEFAULT 'null',
	sync TEXT NOT NULL DEFAULT 'null',
	quotas TEXT NOT NULL DEFAULT 'null',
	placement TEXT NOT NULL DEFAULT '',
	database TEXT NOT NULL DEFAULT '',
	fence_from BIGINT NOT NULL DEFAULT 0,
	fence_until BIGINT NOT NULL DEFAULT 0,
	copies TEXT NOT NULL DEFAULT 'null',
	data_key TEXT NOT NULL DEFAULT '',
	owner TEXT NOT NULL DEFAULT 'null',
	created_by TEXT NOT NULL DEFAULT '',
	provisioning_step TEXT NOT NULL DEFAULT '',
	provisioning_error TEXT NOT NULL DEFAULT '',
	suspended_at BIGINT NOT NULL DEFAULT 0,
	suspended_reason TEXT NOT NULL DEFAULT '',
	schema_version BIGINT NOT NULL DEFAULT 0,
	upgrade_attempts BIGINT NOT NULL DEFAULT 0,
	upgrade_error TEXT NOT NULL DEFAULT '',
	upgrade_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX tenants_organization_id ON tenants (tenant_id, organization_id) WHERE organization_id <> '';

CREATE TABLE settings (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	settings TEXT NOT NULL DEFAULT 'null',
	origin BIGINT NOT NULL DEFAULT 0,
	choice TEXT NOT NULL DEFAULT 'null',
	remarks TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE TABLE signing_keys (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	alg TEXT NOT NULL DEFAULT '',
	use_state TEXT NOT NULL DEFAULT '',
	private TEXT NOT NULL DEFAULT '',
	public TEXT NOT NULL DEFAULT '',
	certificate TEXT NOT NULL DEFAULT '',
	current_at BIGINT NOT NULL DEFAULT 0,
	retired_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	revoked_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX signing_keys_alg ON signing_keys (tenant_id, alg) WHERE use_state = 'current';

CREATE TABLE clients (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	name TEXT NOT NULL DEFAULT '',
	description TEXT NOT NULL DEFAULT '',
	app_type TEXT NOT NULL DEFAULT '',
	logo_uri TEXT NOT NULL DEFAULT '',
	is_first_party BOOLEAN NOT NULL DEFAULT FALSE,
	is_system BOOLEAN NOT NULL DEFAULT FALSE,
	secret_hash TEXT NOT NULL DEFAULT '',
	secret TEXT NOT NULL DEFAULT '',
	previous_secret_hash TEXT NOT NULL DEFAULT '',
	previous_secret TEXT NOT NULL DEFAULT '',
	previous_until BIGINT NOT NULL DEFAULT 0,
	token_endpoint_auth_method TEXT NOT NULL DEFAULT '',
	grant_types TEXT NOT NULL DEFAULT 'null',
	callbacks TEXT NOT NULL DEFAULT 'null',
	allowed_origins TEXT NOT NULL DEFAULT 'null',
	web_origins TEXT NOT NULL DEFAULT 'null',
	allowed_logout_urls TEXT NOT NULL DEFAULT 'null',
	initiate_login_uri TEXT NOT NULL DEFAULT '',
	jwt TEXT NOT NULL DEFAULT 'null',
	refresh_token TEXT NOT NULL DEFAULT 'null',
	organization_usage TEXT NOT NULL DEFAULT '',
	organization_require_behavior TEXT NOT NULL DEFAULT '',
	default_organization TEXT NOT NULL DEFAULT 'null',
	oidc_logout TEXT NOT NULL DEFAULT 'null',
	sso_disabled BOOLEAN NOT NULL DEFAULT FALSE,
	require_pushed_authorization BOOLEAN NOT NULL DEFAULT FALSE,
	revoke_refresh_on_logout BOOLEAN NOT NULL DEFAULT FALSE,
	client_metadata TEXT NOT NULL DEFAULT 'null',
	registration_hash TEXT NOT NULL DEFAULT '',
	registration TEXT NOT NULL DEFAULT 'null',
	other TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE TABLE client_credentials (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	client_id TEXT NOT NULL DEFAULT '',
	name TEXT NOT NULL DEFAULT '',
	key_id TEXT NOT NULL DEFAULT '',
	alg TEXT NOT NULL DEFAULT '',
	public TEXT NOT NULL DEFAULT '',
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX client_credentials_client_id_key_id ON client_credentials (tenant_id, client_id, key_id);

CREATE TABLE client_assertions (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX client_assertions_by_expires_at ON client_assertions (tenant_id, expires_at);

CREATE TABLE client_grants (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	client_id TEXT NOT NULL DEFAULT '',
	audience TEXT NOT NULL DEFAULT '',
	scope TEXT NOT NULL DEFAULT 'null',
	organization_usage TEXT NOT NULL DEFAULT '',
	allow_any_organization BOOLEAN NOT NULL DEFAULT FALSE,
	subject_type TEXT NOT NULL DEFAULT '',
	authorization_details_types TEXT NOT NULL DEFAULT 'null',
	is_system BOOLEAN NOT NULL DEFAULT FALSE,
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX client_grants_client_id_audience ON client_grants (tenant_id, client_id, audience);

CREATE TABLE client_grant_organizations (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	grant_id TEXT NOT NULL DEFAULT '',
	organization_id TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX client_grant_organizations_by_organization_id ON client_grant_organizations (tenant_id, organization_id);

CREATE TABLE resource_servers (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	name TEXT NOT NULL DEFAULT '',
	identifier TEXT NOT NULL DEFAULT '',
	scopes TEXT NOT NULL DEFAULT 'null',
	signing_alg TEXT NOT NULL DEFAULT '',
	token_lifetime BIGINT NOT NULL DEFAULT 0,
	token_lifetime_for_web BIGINT NOT NULL DEFAULT 0,
	allow_offline_access BOOLEAN NOT NULL DEFAULT FALSE,
	skip_consent BOOLEAN NOT NULL DEFAULT FALSE,
	enforce_policies BOOLEAN NOT NULL DEFAULT FALSE,
	token_dialect TEXT NOT NULL DEFAULT '',
	introspection_clients TEXT NOT NULL DEFAULT 'null',
	is_system BOOLEAN NOT NULL DEFAULT FALSE,
	origin TEXT NOT NULL DEFAULT '',
	metadata TEXT NOT NULL DEFAULT 'null',
	other TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX resource_servers_identifier ON resource_servers (tenant_id, identifier);

CREATE TABLE roles (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	name TEXT NOT NULL DEFAULT '',
	name_key TEXT NOT NULL DEFAULT '',
	description TEXT NOT NULL DEFAULT '',
	is_system BOOLEAN NOT NULL DEFAULT FALSE,
	origin TEXT NOT NULL DEFAULT '',
	metadata TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX roles_name_key ON roles (tenant_id, name_key);

CREATE TABLE role_permissions (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	role_id TEXT NOT NULL DEFAULT '',
	resource_server_id TEXT NOT NULL DEFAULT '',
	permission TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX role_permissions_by_role_id ON role_permissions (tenant_id, role_id);

CREATE INDEX role_permissions_by_resource_server_id_permission ON role_permissions (tenant_id, resource_server_id, permission);

CREATE TABLE user_roles (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	user_id TEXT NOT NULL DEFAULT '',
	org_id TEXT NOT NULL DEFAULT '',
	role_id TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX user_roles_by_user_id_org_id ON user_roles (tenant_id, user_id, org_id);

CREATE INDEX user_roles_by_role_id ON user_roles (tenant_id, role_id);

CREATE INDEX user_roles_by_org_id ON user_roles (tenant_id, org_id);

CREATE TABLE user_permissions (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	user_id TEXT NOT NULL DEFAULT '',
	org_id TEXT NOT NULL DEFAULT '',
	resource_server_id TEXT NOT NULL DEFAULT '',
	permission TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX user_permissions_by_user_id_org_id ON user_permissions (tenant_id, user_id, org_id);

CREATE INDEX user_permissions_by_resource_server_id_permission ON user_permissions (tenant_id, resource_server_id, permission);

CREATE INDEX user_permissions_by_org_id ON user_permissions (tenant_id, org_id);

CREATE TABLE organizations (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	name TEXT NOT NULL DEFAULT '',
	display_name TEXT NOT NULL DEFAULT '',
	branding TEXT NOT NULL DEFAULT 'null',
	metadata TEXT NOT NULL DEFAULT 'null',
	token_quota TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX organizations_name ON organizations (tenant_id, name);

CREATE TABLE members (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	org_id TEXT NOT NULL DEFAULT '',
	user_id TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX members_by_org_id ON members (tenant_id, org_id);

CREATE INDEX members_by_user_id ON members (tenant_id, user_id);

CREATE TABLE organization_connections (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	org_id TEXT NOT NULL DEFAULT '',
	connection_id TEXT NOT NULL DEFAULT '',
	assign_membership_on_login BOOLEAN NOT NULL DEFAULT FALSE,
	show_as_button BOOLEAN NOT NULL DEFAULT FALSE,
	is_signup_enabled BOOLEAN NOT NULL DEFAULT FALSE,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX organization_connections_by_org_id ON organization_connections (tenant_id, org_id);

CREATE INDEX organization_connections_by_connection_id ON organization_connections (tenant_id, connection_id);

CREATE TABLE users (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	connection TEXT NOT NULL DEFAULT '',
	email TEXT NOT NULL DEFAULT '',
	email_verified BOOLEAN NOT NULL DEFAULT FALSE,
	username TEXT NOT NULL DEFAULT '',
	phone_number TEXT NOT NULL DEFAULT '',
	phone_verified BOOLEAN NOT NULL DEFAULT FALSE,
	name TEXT NOT NULL DEFAULT '',
	given_name TEXT NOT NULL DEFAULT '',
	family_name TEXT NOT NULL DEFAULT '',
	nickname TEXT NOT NULL DEFAULT '',
	picture TEXT NOT NULL DEFAULT '',
	user_metadata TEXT NOT NULL DEFAULT 'null',
	app_metadata TEXT NOT NULL DEFAULT 'null',
	blocked BOOLEAN NOT NULL DEFAULT FALSE,
	last_ip TEXT NOT NULL DEFAULT '',
	last_login BIGINT NOT NULL DEFAULT 0,
	logins_count BIGINT NOT NULL DEFAULT 0,
	last_password_reset BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX users_connection_email ON users (tenant_id, connection, email) WHERE email <> '';

CREATE UNIQUE INDEX users_connection_username ON users (tenant_id, connection, username) WHERE username <> '';

CREATE INDEX users_by_email ON users (tenant_id, email);

CREATE TABLE passwords (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	hash TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);

CREATE TABLE connections (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	name TEXT NOT NULL DEFAULT '',
	display_name TEXT NOT NULL DEFAULT '',
	strategy TEXT NOT NULL DEFAULT '',
	options TEXT NOT NULL DEFAULT 'null',
	secrets TEXT NOT NULL DEFAULT '',
	is_domain_connection BOOLEAN NOT NULL DEFAULT FALSE,
	show_as_button BOOLEAN NOT NULL DEFAULT FALSE,
	realms TEXT NOT NULL DEFAULT 'null',
	metadata TEXT NOT NULL DEFAULT 'null',
	is_system BOOLEAN NOT NULL DEFAULT FALSE,
	origin TEXT NOT NULL DEFAULT '',
	other TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX connections_name ON connections (tenant_id, name);

-- What a tenant falls back on, copied from the control plane by the sync loop: one
-- row per connection, and one for the e-mail provider.

CREATE TABLE fallbacks (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	covers TEXT NOT NULL DEFAULT '',
	born BIGINT NOT NULL DEFAULT 0,
	options TEXT NOT NULL DEFAULT 'null',
	secrets TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);

CREATE TABLE email_providers (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	name TEXT NOT NULL DEFAULT '',
	enabled BOOLEAN NOT NULL DEFAULT FALSE,
	default_from_address TEXT NOT NULL DEFAULT '',
	credentials TEXT NOT NULL DEFAULT '',
	settings TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE TABLE outgoing_mails (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	kind TEXT NOT NULL DEFAULT '',
	message TEXT NOT NULL DEFAULT '',
	attempts BIGINT NOT NULL DEFAULT 0,
	due_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX outgoing_mails_by_due_at ON outgoing_mails (tenant_id, due_at);

-- A person who logs in elsewhere, by the hash of the state that they come back with.

CREATE TABLE upstream_logins (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	connection_id TEXT NOT NULL DEFAULT '',
	redirect_uri TEXT NOT NULL DEFAULT '',
	keeps TEXT NOT NULL DEFAULT '',
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX upstream_logins_by_expires_at ON upstream_logins (tenant_id, expires_at);

CREATE TABLE client_connections (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	client_id TEXT NOT NULL DEFAULT '',
	connection_id TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX client_connections_by_client_id ON client_connections (tenant_id, client_id);

CREATE INDEX client_connections_by_connection_id ON client_connections (tenant_id, connection_id);

CREATE TABLE sessions (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	token_hash TEXT NOT NULL DEFAULT '',
	issuer TEXT NOT NULL DEFAULT '',
	user_id TEXT NOT NULL DEFAULT '',
	connection TEXT NOT NULL DEFAULT '',
	authenticated_at BIGINT NOT NULL DEFAULT 0,
	last_interacted_at BIGINT NOT NULL DEFAULT 0,
	idle_expires_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	device TEXT NOT NULL DEFAULT 'null',
	clients TEXT NOT NULL DEFAULT 'null',
	methods TEXT NOT NULL DEFAULT 'null',
	persistent BOOLEAN NOT NULL DEFAULT FALSE,
	other TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX sessions_token_hash ON sessions (tenant_id, token_hash);

CREATE INDEX sessions_by_user_id ON sessions (tenant_id, user_id);

CREATE INDEX sessions_by_expires_at ON sessions (tenant_id, expires_at);

CREATE TABLE logouts (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	session_id TEXT NOT NULL DEFAULT '',
	user_id TEXT NOT NULL DEFAULT '',
	client_id TEXT NOT NULL DEFAULT '',
	issuer TEXT NOT NULL DEFAULT '',
	reason TEXT NOT NULL DEFAULT '',
	told TEXT NOT NULL DEFAULT 'null',
	attempts BIGINT NOT NULL DEFAULT 0,
	due_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX logouts_by_due_at ON logouts (tenant_id, due_at);

CREATE TABLE login_sessions (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	browser_hash TEXT NOT NULL DEFAULT '',
	client_id TEXT NOT NULL DEFAULT '',
	org_id TEXT NOT NULL DEFAULT '',
	request TEXT NOT NULL DEFAULT 'null',
	user_id TEXT NOT NULL DEFAULT '',
	connection TEXT NOT NULL DEFAULT '',
	authenticated_at BIGINT NOT NULL DEFAULT 0,
	methods TEXT NOT NULL DEFAULT 'null',
	chosen_org_id TEXT NOT NULL DEFAULT '',
	denied BOOLEAN NOT NULL DEFAULT FALSE,
	denied_reason TEXT NOT NULL DEFAULT '',
	asked_scope TEXT NOT NULL DEFAULT '',
	asked_audience TEXT NOT NULL DEFAULT '',
	asked_of TEXT NOT NULL DEFAULT '',
	approved BOOLEAN NOT NULL DEFAULT FALSE,
	completed_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX login_sessions_by_expires_at ON login_sessions (tenant_id, expires_at);

CREATE TABLE consents (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	user_id TEXT NOT NULL DEFAULT '',
	client_id TEXT NOT NULL DEFAULT '',
	audience TEXT NOT NULL DEFAULT '',
	scope TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX consents_user_client_audience ON consents (tenant_id, user_id, client_id, audience);

CREATE INDEX consents_by_client_id ON consents (tenant_id, client_id);

CREATE TABLE pushed_requests (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	client_id TEXT NOT NULL DEFAULT '',
	request TEXT NOT NULL DEFAULT 'null',
	consumed_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX pushed_requests_by_expires_at ON pushed_requests (tenant_id, expires_at);

CREATE TABLE login_attempts (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	user_id TEXT NOT NULL DEFAULT '',
	ip TEXT NOT NULL DEFAULT '',
	failures BIGINT NOT NULL DEFAULT 0,
	blocked_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX login_attempts_by_user_id ON login_attempts (tenant_id, user_id, updated_at);

CREATE INDEX login_attempts_by_expires_at ON login_attempts (tenant_id, expires_at);

CREATE TABLE grants (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	kind TEXT NOT NULL DEFAULT '',
	hash TEXT NOT NULL DEFAULT '',
	family TEXT NOT NULL DEFAULT '',
	client_id TEXT NOT NULL DEFAULT '',
	user_id TEXT NOT NULL DEFAULT '',
	session_id TEXT NOT NULL DEFAULT '',
	org_id TEXT NOT NULL DEFAULT '',
	audience TEXT NOT NULL DEFAULT '',
	scope TEXT NOT NULL DEFAULT '',
	data TEXT NOT NULL DEFAULT '',
	consumed_at BIGINT NOT NULL DEFAULT 0,
	revoked_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	idle_expires BIGINT NOT NULL DEFAULT 0,
	last_used_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX grants_kind_hash ON grants (tenant_id, kind, hash);

CREATE INDEX grants_by_family ON grants (tenant_id, family);

CREATE INDEX grants_by_user_id ON grants (tenant_id, user_id);

CREATE INDEX grants_by_client_id ON grants (tenant_id, client_id);

CREATE INDEX grants_by_session_id ON grants (tenant_id, session_id);

CREATE INDEX grants_by_expires_at ON grants (tenant_id, expires_at);

CREATE TABLE revoked_tokens (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX revoked_tokens_by_expires_at ON revoked_tokens (tenant_id, expires_at);

CREATE TABLE logs (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	date BIGINT NOT NULL DEFAULT 0,
	type TEXT NOT NULL DEFAULT '',
	description TEXT NOT NULL DEFAULT '',
	ip TEXT NOT NULL DEFAULT '',
	user_agent TEXT NOT NULL DEFAULT '',
	client_id TEXT NOT NULL DEFAULT '',
	client_name TEXT NOT NULL DEFAULT '',
	connection TEXT NOT NULL DEFAULT '',
	user_id TEXT NOT NULL DEFAULT '',
	user_name TEXT NOT NULL DEFAULT '',
	audience TEXT NOT NULL DEFAULT '',
	scope TEXT NOT NULL DEFAULT '',
	org_id TEXT NOT NULL DEFAULT '',
	org_name TEXT NOT NULL DEFAULT '',
	hostname TEXT NOT NULL DEFAULT '',
	details TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX logs_by_date ON logs (tenant_id, date);

CREATE INDEX logs_by_user_id ON logs (tenant_id, user_id);

CREATE TABLE deliveries (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	hook TEXT NOT NULL DEFAULT '',
	subject TEXT NOT NULL DEFAULT '',
	type TEXT NOT NULL DEFAULT '',
	payload TEXT NOT NULL DEFAULT '',
	attempts BIGINT NOT NULL DEFAULT 0,
	due_at BIGINT NOT NULL DEFAULT 0,
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX deliveries_by_hook ON deliveries (tenant_id, hook, subject, id);

CREATE TABLE invitations (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	org_id TEXT NOT NULL DEFAULT '',
	ticket_hash TEXT NOT NULL,
	inviter_name TEXT NOT NULL DEFAULT '',
	email TEXT NOT NULL DEFAULT '',
	client_id TEXT NOT NULL DEFAULT '',
	connection_id TEXT NOT NULL DEFAULT '',
	roles TEXT NOT NULL DEFAULT 'null',
	app_metadata TEXT NOT NULL DEFAULT 'null',
	user_metadata TEXT NOT NULL DEFAULT 'null',
	expires_at BIGINT NOT NULL DEFAULT 0,
	accepted_at BIGINT NOT NULL DEFAULT 0,
	accepted_by TEXT NOT NULL DEFAULT '',
	login_id TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX invitations_by_ticket_hash ON invitations (tenant_id, ticket_hash);

CREATE INDEX invitations_by_org_id ON invitations (tenant_id, org_id);

-- Links that do one thing for a user once, by the hash of their token.

CREATE TABLE tickets (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	kind TEXT NOT NULL DEFAULT '',
	user_id TEXT NOT NULL DEFAULT '',
	email TEXT NOT NULL DEFAULT '',
	org_id TEXT NOT NULL DEFAULT '',
	result_url TEXT NOT NULL DEFAULT '',
	email_in_result BOOLEAN NOT NULL DEFAULT FALSE,
	verifies BOOLEAN NOT NULL DEFAULT FALSE,
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX tickets_by_user_id ON tickets (tenant_id, user_id);

CREATE TABLE sync_state (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	applied BIGINT NOT NULL DEFAULT 0,
	conflicts TEXT NOT NULL DEFAULT 'null',
	skipped BIGINT NOT NULL DEFAULT 0,
	pending BIGINT NOT NULL DEFAULT 0,
	problems TEXT NOT NULL DEFAULT 'null',
	rules BIGINT NOT NULL DEFAULT 0,
	detached TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE TABLE sync_targets (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	born BIGINT NOT NULL DEFAULT 0,
	applied BIGINT NOT NULL DEFAULT 0,
	attempts BIGINT NOT NULL DEFAULT 0,
	last_error TEXT NOT NULL DEFAULT '',
	last_synced_at BIGINT NOT NULL DEFAULT 0,
	next_attempt_at BIGINT NOT NULL DEFAULT 0,
	conflicts BIGINT NOT NULL DEFAULT 0,
	skipped BIGINT NOT NULL DEFAULT 0,
	pending BIGINT NOT NULL DEFAULT 0,
	problems BIGINT NOT NULL DEFAULT 0,
	rules BIGINT NOT NULL DEFAULT 0,
	choice BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX sync_targets_by_updated_at ON sync_targets (tenant_id, updated_at);

CREATE TABLE counters (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	value BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, id)
);

CREATE TABLE change_log (
	tenant_id TEXT NOT NULL,
	revision BIGINT NOT NULL,
	kind TEXT NOT NULL,
	entity_id TEXT NOT NULL,
	created_at BIGINT NOT NULL,
	PRIMARY KEY (tenant_id, revision)
);

-- The control plane's record of its work on tenants.

CREATE TABLE operations (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	subject TEXT NOT NULL DEFAULT '',
	kind TEXT NOT NULL DEFAULT '',
	status TEXT NOT NULL DEFAULT '',
	current_step TEXT NOT NULL DEFAULT '',
	initiated_by TEXT NOT NULL DEFAULT '',
	attempt BIGINT NOT NULL DEFAULT 0,
	error TEXT NOT NULL DEFAULT '',
	finished_at BIGINT NOT NULL DEFAULT 0,
	params TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX operations_by_subject ON operations (tenant_id, subject);

CREATE TABLE operation_events (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	operation_id TEXT NOT NULL DEFAULT '',
	step TEXT NOT NULL DEFAULT '',
	outcome TEXT NOT NULL DEFAULT '',
	attempt BIGINT NOT NULL DEFAULT 0,
	detail TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE INDEX operation_events_by_operation_id ON operation_events (tenant_id, operation_id);

-- Idempotency-Keys of requests, with what became of these.

CREATE TABLE request_keys (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	request TEXT NOT NULL DEFAULT '',
	operation_id TEXT NOT NULL DEFAULT '',
	status BIGINT NOT NULL DEFAULT 0,
	header TEXT NOT NULL DEFAULT 'null',
	body TEXT NOT NULL DEFAULT '',
	expires_at BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

-- The control plane's record of custom domains, of all tenants: one table, so that
-- a name has one owner. held is the domain while it is ready, else the row's id.

CREATE TABLE custom_domains (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	subject TEXT NOT NULL DEFAULT '',
	domain TEXT NOT NULL DEFAULT '',
	held TEXT NOT NULL DEFAULT '',
	is_primary BOOLEAN NOT NULL DEFAULT FALSE,
	status TEXT NOT NULL DEFAULT '',
	type TEXT NOT NULL DEFAULT '',
	token TEXT NOT NULL DEFAULT '',
	method TEXT NOT NULL DEFAULT '',
	problem TEXT NOT NULL DEFAULT '',
	checked_at BIGINT NOT NULL DEFAULT 0,
	verified_at BIGINT NOT NULL DEFAULT 0,
	metadata TEXT NOT NULL DEFAULT 'null',
	PRIMARY KEY (tenant_id, id)
);

CREATE UNIQUE INDEX custom_domains_by_held ON custom_domains (tenant_id, held);

CREATE UNIQUE INDEX custom_domains_by_subject_and_domain ON custom_domains (tenant_id, subject, domain);

-- What the server itself keeps in the control plane, such as certificates, by path;
-- and who is at work on something.

CREATE TABLE files (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	value TEXT NOT NULL DEFAULT '',
	size BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (tenant_id, id)
);

CREATE TABLE file_locks (
	tenant_id TEXT NOT NULL,
	id TEXT NOT NULL,
	revision BIGINT NOT NULL DEFAULT 1,
	created_at BIGINT NOT NULL DEFAULT 0,
	updated_at BIGINT NOT NULL DEFAULT 0,
	owner TEXT NOT NULL DEFAULT '',
	PRIMARY KEY (tenant_id, id)
);
