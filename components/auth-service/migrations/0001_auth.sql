-- airhost: expand
-- An account; `tenant_id` is the tenant it began with.
CREATE TABLE users (
    id uuid NOT NULL PRIMARY KEY,
    tenant_id text NOT NULL,
    email text NOT NULL,
    email_key text NOT NULL UNIQUE,
    name text,
    password_hash text NOT NULL,
    disabled boolean NOT NULL,
    verified_at timestamp,
    password_changed_at timestamp NOT NULL,
    mailed_at timestamp,
    created_at timestamp NOT NULL,
    version bigint NOT NULL
);

-- Which tenants an account may sign in to; kept from `membership.changed`.
CREATE TABLE memberships (
    user_id uuid NOT NULL,
    tenant_id text NOT NULL,
    role text NOT NULL,
    PRIMARY KEY (user_id, tenant_id)
);

-- What happened to an account or session; never a secret, an address or a name.
CREATE TABLE auth_events (
    stream text NOT NULL,
    version bigint NOT NULL,
    tenant_id text NOT NULL,
    user_id uuid NOT NULL,
    kind text NOT NULL,
    data json NOT NULL,
    recorded_at timestamp NOT NULL,
    PRIMARY KEY (stream, version)
);

CREATE INDEX auth_events_by_user ON auth_events (user_id, recorded_at);

CREATE TABLE sessions (
    id uuid NOT NULL PRIMARY KEY,
    tenant_id text NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp NOT NULL,
    last_used_at timestamp NOT NULL,
    expires_at timestamp NOT NULL,
    revoked_at timestamp,
    ip text NOT NULL,
    user_agent text NOT NULL
);

CREATE INDEX sessions_by_user ON sessions (user_id, tenant_id, id);

CREATE TABLE refresh_tokens (
    id uuid NOT NULL PRIMARY KEY,
    tenant_id text NOT NULL,
    session_id uuid NOT NULL,
    token_hash text NOT NULL,
    created_at timestamp NOT NULL,
    expires_at timestamp NOT NULL,
    used_at timestamp
);

CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

CREATE TABLE one_time_tokens (
    id uuid NOT NULL PRIMARY KEY,
    tenant_id text NOT NULL,
    user_id uuid NOT NULL,
    purpose text NOT NULL,
    token_hash text NOT NULL,
    -- What the registration that was mailed had as its password: see `verify` in store/users.rs.
    password_hash text,
    created_at timestamp NOT NULL,
    expires_at timestamp NOT NULL,
    used_at timestamp
);

CREATE INDEX one_time_tokens_by_user ON one_time_tokens (user_id, purpose);

CREATE TABLE api_tokens (
    id uuid NOT NULL PRIMARY KEY,
    tenant_id text NOT NULL,
    user_id uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL UNIQUE,
    token_hash text NOT NULL,
    scopes json NOT NULL,
    created_at timestamp NOT NULL,
    expires_at timestamp,
    last_used_at timestamp,
    revoked_at timestamp
);

CREATE INDEX api_tokens_by_user ON api_tokens (user_id, tenant_id, id);

-- By a keyed hash of the name that was entered, whether there is such an account or not.
CREATE TABLE login_attempts (
    login_hash text NOT NULL PRIMARY KEY,
    failures bigint NOT NULL,
    attempted_at timestamp NOT NULL,
    locked_until timestamp
);

-- Requests for mails, by the same hash: written whether there is such an account or not, so that
-- the time of the answer does not tell.
CREATE TABLE mail_requests (
    login_hash text NOT NULL PRIMARY KEY,
    requested_at timestamp NOT NULL
);

-- Public halves; the private ones are in the vault.
CREATE TABLE signing_keys (
    kid text NOT NULL PRIMARY KEY,
    generation bigint NOT NULL UNIQUE,
    jwk json NOT NULL,
    created_at timestamp NOT NULL,
    active_from timestamp NOT NULL
);
