-- airhost: expand
CREATE TABLE roles (
    tenant_id text NOT NULL,
    id text NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    permissions json NOT NULL,
    version bigint NOT NULL,
    created_at timestamp NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);

CREATE TABLE role_bindings (
    tenant_id text NOT NULL,
    id uuid NOT NULL PRIMARY KEY,
    subject_kind text NOT NULL,
    subject_id text NOT NULL,
    role text NOT NULL,
    resource_kind text NOT NULL,
    resource_id text NOT NULL,
    effect text NOT NULL,
    condition json,
    source text NOT NULL,
    expires_at timestamp,
    expiry_told boolean NOT NULL,
    version bigint NOT NULL,
    created_by text,
    created_at timestamp NOT NULL,
    UNIQUE (tenant_id, subject_kind, subject_id, resource_kind, resource_id, role, effect, source)
);

CREATE INDEX role_bindings_by_resource ON role_bindings (tenant_id, resource_kind, resource_id);
CREATE INDEX role_bindings_by_role ON role_bindings (tenant_id, role);
CREATE INDEX role_bindings_by_expiry ON role_bindings (expiry_told, expires_at);

CREATE TABLE resources (
    tenant_id text NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    parent_kind text NOT NULL,
    parent_id text NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (tenant_id, kind, id)
);

CREATE TABLE group_members (
    tenant_id text NOT NULL,
    member_kind text NOT NULL,
    member_id text NOT NULL,
    group_id text NOT NULL,
    PRIMARY KEY (tenant_id, member_kind, member_id, group_id)
);

CREATE INDEX group_members_by_group ON group_members (tenant_id, group_id);

CREATE TABLE revisions (
    tenant_id text NOT NULL PRIMARY KEY,
    revision bigint NOT NULL
);
