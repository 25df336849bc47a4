-- airhost: expand
-- A tenant's way to one base. The token is in the vault under `connection/<id>`.
CREATE TABLE connections (
    id uuid NOT NULL PRIMARY KEY,
    tenant_id text NOT NULL,
    name text NOT NULL,
    base_id text NOT NULL,
    base_name text NOT NULL,
    permission_level text NOT NULL,
    workspace_id text,
    created_by text,
    refused boolean NOT NULL,
    version bigint NOT NULL,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    UNIQUE (tenant_id, base_id)
);
