//! The tables in the database of each service that publishes or consumes.

use airhost_storage::sql::HostSchema;

/// The host's tables for events; registered when a service's database is opened.
pub const SCHEMA: HostSchema = HostSchema {
    name: "events",
    version: 1,
    statements: &[
        // What is to be sent, in the order of `seq`.
        "CREATE TABLE _airhost_outbox (
            seq bigint NOT NULL PRIMARY KEY,
            id uuid NOT NULL UNIQUE,
            topic text NOT NULL,
            subject text NOT NULL,
            created_at timestamp NOT NULL,
            envelope text NOT NULL
        )",
        // Ids of what was consumed.
        "CREATE TABLE _airhost_inbox (
            event_id uuid NOT NULL PRIMARY KEY,
            received_at timestamp NOT NULL
        )",
        "CREATE INDEX _airhost_inbox_received ON _airhost_inbox (received_at)",
        // What waits for its next try (`next_at` is set), or behind such an event of its key.
        "CREATE TABLE _airhost_parked (
            event_id uuid NOT NULL PRIMARY KEY,
            topic text NOT NULL,
            subject text NOT NULL,
            position bigint NOT NULL,
            attempts bigint NOT NULL,
            next_at timestamp NOT NULL,
            reason text,
            envelope text NOT NULL
        )",
        "CREATE INDEX _airhost_parked_key ON _airhost_parked (topic, subject, position)",
        // What was given up.
        "CREATE TABLE _airhost_dead_letters (
            event_id uuid NOT NULL PRIMARY KEY,
            topic text NOT NULL,
            subject text NOT NULL,
            position bigint NOT NULL,
            attempts bigint NOT NULL,
            reason text NOT NULL,
            dead_at timestamp NOT NULL,
            envelope text NOT NULL
        )",
        "CREATE INDEX _airhost_dead_letters_dead ON _airhost_dead_letters (dead_at)",
    ],
};
