-- airhost: expand
CREATE TABLE tenants (
    tenant_id text NOT NULL PRIMARY KEY,
    name text NOT NULL,
    -- What members' preferences are unless they choose.
    preferences json NOT NULL,
    created_at timestamp NOT NULL,
    version bigint NOT NULL
);

-- A user as a tenant knows them.
CREATE TABLE profiles (
    tenant_id text NOT NULL,
    user_id uuid NOT NULL,
    email text NOT NULL,
    email_key text NOT NULL,
    display_name text NOT NULL,
    job_title text NOT NULL,
    locale text NOT NULL,
    time_zone text NOT NULL,
    created_at timestamp NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

CREATE INDEX profiles_by_email ON profiles (tenant_id, email_key);
CREATE INDEX profiles_by_user ON profiles (user_id);

CREATE TABLE preferences (
    tenant_id text NOT NULL,
    user_id uuid NOT NULL,
    -- What the user has chosen.
    chosen json NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

CREATE TABLE tenant_members (
    tenant_id text NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    joined_at timestamp NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

CREATE INDEX tenant_members_by_user ON tenant_members (user_id, tenant_id);

CREATE TABLE workspaces (
    tenant_id text NOT NULL,
    id uuid NOT NULL PRIMARY KEY,
    name text NOT NULL,
    name_key text NOT NULL,
    description text NOT NULL,
    created_by uuid NOT NULL,
    created_at timestamp NOT NULL,
    version bigint NOT NULL,
    UNIQUE (tenant_id, name_key)
);

CREATE INDEX workspaces_by_tenant ON workspaces (tenant_id, id);

CREATE TABLE workspace_members (
    tenant_id text NOT NULL,
    workspace_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    joined_at timestamp NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (workspace_id, user_id)
);

CREATE INDEX workspace_members_by_user ON workspace_members (tenant_id, user_id);

CREATE TABLE invitations (
    tenant_id text NOT NULL,
    id uuid NOT NULL PRIMARY KEY,
    email text NOT NULL,
    email_key text NOT NULL,
    role text NOT NULL,
    workspace_id uuid,
    token_hash text NOT NULL,
    invited_by uuid NOT NULL,
    created_at timestamp NOT NULL,
    expires_at timestamp NOT NULL
);

CREATE INDEX invitations_by_tenant ON invitations (tenant_id, id);
CREATE INDEX invitations_by_email ON invitations (tenant_id, email_key);
