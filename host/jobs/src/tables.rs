//! The tables in the database of each service that has jobs or ticks.

use airhost_storage::sql::HostSchema;

/// The host's tables for jobs and ticks; registered when a service's database is opened.
pub const SCHEMA: HostSchema = HostSchema {
    name: "jobs",
    version: 1,
    statements: &[
        // `active_key` is the key while the job has not ended and null afterwards, so that a
        // plain unique index says that one job at a time has it. `tenant` is empty for none.
        "CREATE TABLE _airhost_jobs (
            id uuid NOT NULL PRIMARY KEY,
            kind text NOT NULL,
            job_key text,
            active_key text,
            tenant text NOT NULL,
            actor text,
            correlation text NOT NULL,
            traceparent text NOT NULL,
            attrs text NOT NULL,
            payload bytes NOT NULL,
            payload_version bigint NOT NULL,
            state text NOT NULL,
            run_at timestamp NOT NULL,
            attempt bigint NOT NULL,
            max_attempts bigint NOT NULL,
            progress bigint NOT NULL,
            note text NOT NULL,
            output bytes,
            last_error text,
            lease text,
            lease_until timestamp,
            put_at timestamp NOT NULL,
            ended_at timestamp
        )",
        "CREATE UNIQUE INDEX _airhost_jobs_key ON _airhost_jobs (tenant, kind, active_key)",
        "CREATE INDEX _airhost_jobs_due ON _airhost_jobs (state, run_at)",
        "CREATE INDEX _airhost_jobs_ended ON _airhost_jobs (ended_at)",
        "CREATE TABLE _airhost_ticks (
            name text NOT NULL PRIMARY KEY,
            last_due timestamp NOT NULL,
            lease text,
            lease_until timestamp
        )",
    ],
};
