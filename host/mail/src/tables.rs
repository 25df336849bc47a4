//! The tables in the database of each service that sends mail.

use airhost_storage::sql::HostSchema;

/// The host's tables for mail; registered when a service's database is opened.
pub const SCHEMA: HostSchema = HostSchema {
    name: "mail",
    version: 1,
    statements: &[
        // `failed_at` is set once a message is given up; its content is gone then.
        "CREATE TABLE _airhost_mail (
            id uuid NOT NULL PRIMARY KEY,
            sender text NOT NULL,
            recipients text NOT NULL,
            created_at timestamp NOT NULL,
            attempts bigint NOT NULL,
            next_at timestamp NOT NULL,
            last_error text,
            failed_at timestamp
        )",
        "CREATE INDEX _airhost_mail_next ON _airhost_mail (next_at)",
        "CREATE INDEX _airhost_mail_failed ON _airhost_mail (failed_at)",
        // The message in pieces that fit a query's result.
        "CREATE TABLE _airhost_mail_parts (
            mail_id uuid NOT NULL,
            part bigint NOT NULL,
            content bytes NOT NULL,
            PRIMARY KEY (mail_id, part)
        )",
    ],
};
