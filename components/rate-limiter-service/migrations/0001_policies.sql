-- airhost: expand
CREATE TABLE policies (
    tenant_id text NOT NULL,
    name text NOT NULL,
    version bigint NOT NULL,
    rule json NOT NULL,
    updated_at timestamp NOT NULL,
    updated_by text,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE policy_versions (
    tenant_id text NOT NULL,
    name text NOT NULL,
    version bigint NOT NULL,
    rule json NOT NULL,
    made_at timestamp NOT NULL,
    made_by text,
    replaced_at timestamp,
    PRIMARY KEY (tenant_id, name, version)
);

CREATE TABLE usage_windows (
    tenant_id text NOT NULL,
    policy text NOT NULL,
    scope text NOT NULL,
    window_start timestamp NOT NULL,
    window_end timestamp NOT NULL,
    bucket text NOT NULL,
    period_ms bigint NOT NULL,
    unit text NOT NULL,
    capacity bigint NOT NULL,
    used bigint NOT NULL,
    closed boolean NOT NULL,
    PRIMARY KEY (tenant_id, policy, scope, window_start)
);

CREATE INDEX usage_windows_by_time ON usage_windows (tenant_id, window_start, policy, scope);

CREATE TABLE quota_marks (
    tenant_id text NOT NULL,
    policy text NOT NULL,
    scope text NOT NULL,
    window_start timestamp NOT NULL,
    mark bigint NOT NULL,
    window_end timestamp NOT NULL,
    PRIMARY KEY (tenant_id, policy, scope, window_start, mark)
);
