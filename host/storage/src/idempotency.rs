//! The stored side of `Idempotency-Key`: who runs, who waits, and what is answered again.
//!
//! A request of the same tenant, subject, route and key runs once. While it runs others are told
//! to come back; once it is done they get its answer for 24 hours; when its lease runs out
//! without an answer (the node died), the next one runs. The answer is stored in the guest's own
//! transaction, so that effect and answer cannot come apart.
//!
//! Of an answer that says `Cache-Control: no-store` (it bears a token, say) only its status is
//! kept, so that no database and no backup of one has the secret. The request still runs once;
//! whoever repeats it is told that it was done.

use std::time::Duration;

use airhost_core::{Deadline, Result, Tenant, codes};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::sql::{self, Database, HostSchema, Transaction, Value};

/// How long an answer is kept.
pub const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest body of an answer that is stored, in bytes.
pub const LARGEST_BODY: usize = 1 << 20;

/// The table. Every database has it.
pub const SCHEMA: HostSchema = HostSchema {
    name: "idempotency",
    version: 1,
    statements: &[
        "CREATE TABLE _airhost_idempotency (
            request text PRIMARY KEY, body_sha256 bytes NOT NULL, token uuid NOT NULL,
            done boolean NOT NULL, lease_until timestamp NOT NULL, created_at timestamp NOT NULL,
            status bigint, headers json, body bytes)",
        "CREATE INDEX _airhost_idempotency_created ON _airhost_idempotency (created_at)",
    ],
};

/// What makes two requests the same.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// Whose data the request is about; none for requests without a tenant.
    pub tenant: Option<&'a Tenant>,
    /// `sub` of the principal; empty without one.
    pub subject: &'a str,
    /// Method and route template, as `POST /v1/bases/{base}`.
    pub route: &'a str,
    /// The header's value.
    pub key: &'a str,
}

impl Key<'_> {
    /// The row's key: a digest, so that its length does not depend on the request's.
    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let tenant = self.tenant.map_or("", Tenant::as_str);
        for part in [tenant, self.subject, self.route, self.key] {
            // With its length before it, one part cannot pass for the end of another.
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }
}

/// The right to run a request and store its answer, until the lease ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    request: String,
    token: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    /// The status; answers of 500 and above are not stored.
    pub status: u16,
    /// Name and value of each header field.
    pub headers: Vec<(String, Bytes)>,
    /// The body.
    pub body: Bytes,
}

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Run it, and store its answer with this.
    Run(Token),
    /// Another is running it.
    Running {
        /// When the other's lease ends.
        retry_after: Duration,
    },
    /// It was done: answer this.
    Replay(StoredResponse),
    /// It was done, and its answer was not one to keep.
    Withheld,
    /// The key was used with another body.
    Mismatch,
}

/// The store of answers.
#[derive(Clone, Copy, Debug)]
pub struct Idempotency;

impl Idempotency {
    /// Decides about a request. `body` is a digest of its body, from which the body cannot be
    /// guessed (it may have a password in it); `now_micros` is the wall clock's; `lease` bounds how
    /// long the request can run.
    ///
    /// # Errors
    /// Those of a write.
    pub async fn begin(
        db: &dyn Database,
        key: &Key<'_>,
        body: &[u8; 32],
        lease: Duration,
        now_micros: i64,
        deadline: Deadline,
    ) -> Result<Begin> {
        let request = key.digest();
        let token = Uuid::new_v4().to_string();
        let params = vec![
            Value::Text(request.clone()),
            Value::Bytes(body.to_vec()),
            Value::Uuid(token.clone()),
            Value::Timestamp(now_micros.saturating_add(micros(lease))),
            Value::Timestamp(now_micros),
            Value::Timestamp(now_micros.saturating_sub(micros(RETENTION))),
        ];
        // One statement decides, so that of two requests at once one runs.
        let taken = db
            .host_query(
                "INSERT INTO _airhost_idempotency AS i
                    (request, body_sha256, token, done, lease_until, created_at)
                 VALUES ($1, $2, $3, FALSE, $4, $5)
                 ON CONFLICT (request) DO UPDATE SET body_sha256 = excluded.body_sha256,
                    token = excluded.token, done = FALSE, lease_until = excluded.lease_until,
                    created_at = excluded.created_at, status = NULL, headers = NULL, body = NULL
                 WHERE i.created_at <= $6 OR (i.done = FALSE AND i.lease_until <= $5
                    AND i.body_sha256 = excluded.body_sha256)
                 RETURNING token",
                params,
                deadline,
            )
            .await?;
        if !taken.rows.is_empty() {
            return Ok(Begin::Run(Token { request, token }));
        }
        let found = db
            .host_query(
                "SELECT body_sha256, done, lease_until, status, headers, body
                 FROM _airhost_idempotency WHERE request = $1",
                vec![Value::Text(request)],
                deadline,
            )
            .await?;
        Ok(match found.rows.into_iter().next().map(<[Value; 6]>::try_from) {
            // Abandoned in the meantime.
            None => Begin::Running { retry_after: Duration::from_secs(1) },
            Some(Ok([Value::Bytes(stored), ..])) if stored != body => Begin::Mismatch,
            Some(Ok(
                [
                    _,
                    Value::Boolean(true),
                    _,
                    Value::Bigint(status),
                    Value::Json(headers),
                    Value::Bytes(body),
                ],
            )) => Begin::Replay(StoredResponse {
                status: u16::try_from(status).map_err(|_| damaged())?,
                headers: decode_headers(&headers)?,
                body: body.into(),
            }),
            Some(Ok([_, Value::Boolean(true), _, _, Value::Null, Value::Null])) => Begin::Withheld,
            Some(Ok([_, Value::Boolean(false), Value::Timestamp(until), ..])) => {
                let left = u64::try_from(until.saturating_sub(now_micros)).unwrap_or_default();
                Begin::Running { retry_after: Duration::from_micros(left) }
            }
            Some(_) => return Err(damaged()),
        })
    }

    /// Stores the answer in the transaction that has the request's effect.
    ///
    /// # Errors
    /// `idempotency.running` when the lease ran out and another took it: the transaction must be
    /// rolled back. `idempotency.too-large` for a body over 1 MiB. Those of a write.
    pub async fn store_in(
        tx: &dyn Transaction,
        token: &Token,
        response: &StoredResponse,
    ) -> Result<()> {
        let params = complete_params(token, response)?;
        lost_unless_one(tx.host_execute(COMPLETE, params).await?)
    }

    /// Stores the answer by itself, for a request without a transaction.
    ///
    /// # Errors
    /// As [`Self::store_in`].
    pub async fn complete(
        db: &dyn Database,
        token: &Token,
        response: &StoredResponse,
        deadline: Deadline,
    ) -> Result<()> {
        let params = complete_params(token, response)?;
        lost_unless_one(db.host_execute(COMPLETE, params, deadline).await?)
    }

    /// Gives the right to run back: the request failed and may be sent again at once.
    ///
    /// # Errors
    /// Those of a write.
    pub async fn abandon(db: &dyn Database, token: &Token, deadline: Deadline) -> Result<()> {
        let statement = "DELETE FROM _airhost_idempotency
            WHERE request = $1 AND token = $2 AND done = FALSE";
        let params = vec![Value::Text(token.request.clone()), Value::Uuid(token.token.clone())];
        db.host_execute(statement, params, deadline).await.map(drop)
    }

    /// Forgets answers older than 24 hours; answers how many.
    ///
    /// # Errors
    /// Those of a write.
    pub async fn sweep(db: &dyn Database, now_micros: i64, deadline: Deadline) -> Result<u64> {
        let table = "_airhost_idempotency";
        sql::sweep(db, table, "request", "created_at", RETENTION, now_micros, deadline).await
    }
}

const COMPLETE: &str = "UPDATE _airhost_idempotency
    SET done = TRUE, status = $3, headers = $4, body = $5
    WHERE request = $1 AND token = $2 AND done = FALSE";

fn complete_params(token: &Token, response: &StoredResponse) -> Result<Vec<Value>> {
    let (headers, body) = if is_secret(response) {
        (Value::Null, Value::Null)
    } else if response.body.len() > LARGEST_BODY {
        return Err(codes::IDEMPOTENCY_TOO_LARGE
            .error("an answer over 1 MiB cannot be stored for its Idempotency-Key"));
    } else {
        let headers = encode_headers(&response.headers)?;
        (Value::Json(headers), Value::Bytes(response.body.to_vec()))
    };
    Ok(vec![
        Value::Text(token.request.clone()),
        Value::Uuid(token.token.clone()),
        Value::Bigint(i64::from(response.status)),
        headers,
        body,
    ])
}

/// Whether an answer says that nothing is to keep it (RFC 9111, 5.2.2.5).
fn is_secret(response: &StoredResponse) -> bool {
    let fields =
        response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("cache-control"));
    fields
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-store"))
}

fn lost_unless_one(updated: u64) -> Result<()> {
    if updated == 1 {
        return Ok(());
    }
    Err(codes::IDEMPOTENCY_RUNNING.error("the request ran too long and another took its place"))
}

/// Header values are bytes; as characters U+0000 to U+00FF they fit a JSON text unchanged.
fn encode_headers(headers: &[(String, Bytes)]) -> Result<String> {
    let texts: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.iter().copied().map(char::from).collect()))
        .collect();
    serde_json::to_string(&texts).map_err(|_| damaged())
}

fn decode_headers(headers: &str) -> Result<Vec<(String, Bytes)>> {
    let texts: Vec<(String, String)> = serde_json::from_str(headers).map_err(|_| damaged())?;
    texts
        .into_iter()
        .map(|(name, value)| {
            let bytes: Result<Vec<u8>, _> = value.chars().map(u8::try_from).collect();
            bytes.map(|bytes| (name, bytes.into())).map_err(|_| damaged())
        })
        .collect()
}

fn damaged() -> airhost_core::Error {
    codes::SQL_UNAVAILABLE.error("a stored answer is damaged")
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
