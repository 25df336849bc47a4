-- airhost: expand
CREATE TABLE items (
    id uuid NOT NULL PRIMARY KEY,
    tenant_id text NOT NULL,
    name text NOT NULL,
    state text NOT NULL,
    tags json NOT NULL,
    version bigint NOT NULL,
    created_at timestamp NOT NULL,
    expires_at timestamp,
    UNIQUE (tenant_id, name)
);

CREATE INDEX items_by_tenant ON items (tenant_id, id);
