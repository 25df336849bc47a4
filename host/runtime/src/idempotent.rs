//! `Idempotency-Key`, owned by the host: a POST with the field runs once, and its answer is
//! stored and sent again (`storage::idempotency`). Services see nothing of it, but that a commit
//! can carry the answer.

use std::{sync::Arc, time::Duration};

use airhost_core::{Body, BodyError, CallContext, Deadline, Error, Response, Result, codes};
use airhost_storage::{
    idempotency::{Begin, Idempotency, Key, StoredResponse, Token},
    sql::Database,
};
use airhost_telemetry::spawn_named;
use http::{HeaderName, HeaderValue, Method, StatusCode, request::Parts};
use ring::hmac;

use crate::{
    glue::{http::response, sql::to_stored},
    service::Service,
};

/// The field that asks for it.
const FIELD: &str = "idempotency-key";
/// Says that an answer is one that was given before.
const REPLAYED: &str = "idempotency-replayed";
/// Longest key, in bytes.
const MAX_KEY: usize = 255;
/// Largest body that is compared, in bytes.
const MAX_BODY: u64 = 1 << 20;
/// What a lease lasts beyond the time that the request may take.
const SLACK: Duration = Duration::from_secs(5);
/// Time for giving the right to run back.
const ABANDON: Duration = Duration::from_secs(5);

/// What is to be done with a request.
pub(crate) enum Decision {
    /// It has no key, or the service no database: run it.
    Plain(Body),
    /// Run it, and settle its answer.
    Run(Body, Running),
    /// Answer this.
    Answer(Response),
}

/// The right to run a request. Dropping it unsettled (the caller has gone) gives it back.
pub(crate) struct Running {
    pub(crate) token: Token,
    database: Arc<dyn Database>,
    settled: bool,
}

/// Decides about a request.
///
/// # Errors
/// Those that its client is to see: a key in use, one of another body, a body that is too large.
pub(crate) async fn decide(
    service: &Service,
    context: &CallContext,
    parts: &Parts,
    body: Body,
) -> Result<Decision> {
    let (Some(field), Some(database)) = (parts.headers.get(FIELD), &service.environment.database)
    else {
        return Ok(Decision::Plain(body));
    };
    if parts.method != Method::POST {
        return Ok(Decision::Plain(body));
    }
    let key =
        field.to_str().ok().filter(|key| (1..=MAX_KEY).contains(&key.len())).ok_or_else(|| {
            codes::REQUEST_INVALID.error("an Idempotency-Key is 1 to 255 visible ASCII characters")
        })?;
    let body = body.collect(MAX_BODY).await.map_err(|error| match error {
        BodyError::TooLarge { .. } => {
            codes::IDEMPOTENCY_TOO_LARGE.error("a body over 1 MiB cannot carry an Idempotency-Key")
        }
        other => other.into(),
    })?;
    // Under the key, which is not stored: by a plain hash, passwords in bodies could be guessed.
    let mut digest = [0; 32];
    let by_key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    digest.copy_from_slice(hmac::sign(&by_key, &body).as_ref());
    let route = match &context.route {
        Some(route) => format!("POST {}", route.name),
        None => format!("POST {}", parts.uri.path()),
    };
    let key = Key {
        tenant: context.tenant.as_ref(),
        subject: context.principal.as_ref().map_or("", |principal| &principal.subject),
        route: &route,
        key,
    };
    let lease = service.limits.wall + SLACK;
    let now = service.environment.clock.now_micros();
    match Idempotency::begin(database.as_ref(), &key, &digest, lease, now, context.deadline).await?
    {
        Begin::Run(token) => {
            let running = Running { token, database: Arc::clone(database), settled: false };
            Ok(Decision::Run(body.into(), running))
        }
        Begin::Running { retry_after } => Err(codes::IDEMPOTENCY_RUNNING
            .error("a request with the same Idempotency-Key is being handled")
            .retry_after(retry_after)),
        Begin::Mismatch => {
            Err(codes::IDEMPOTENCY_MISMATCH.error("the Idempotency-Key was used with another body"))
        }
        Begin::Withheld => Err(codes::IDEMPOTENCY_WITHHELD
            .error("the request was done; its answer had a secret in it and was not kept")),
        Begin::Replay(stored) => Ok(Decision::Answer(replay(stored)?)),
    }
}

fn replay(stored: StoredResponse) -> Result<Response> {
    let damaged = |_| codes::INTERNAL.error("a stored answer is damaged");
    let status = StatusCode::from_u16(stored.status).map_err(|_| damaged(()))?;
    let mut headers = http::HeaderMap::with_capacity(stored.headers.len() + 1);
    for (name, value) in stored.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| damaged(()))?;
        headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| damaged(()))?);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response(status, headers, stored.body.into()))
}

/// What becomes of a key once its request was answered.
pub(crate) enum Settlement {
    /// A commit has stored the answer.
    Stored,
    /// The answer is stored now.
    Store(StoredResponse),
    /// The answer is not one to give again (5xx, or streamed): the right to run goes back.
    GiveBack,
}

impl Settlement {
    pub(crate) fn of(answer: &Response, stored: bool) -> Self {
        if stored {
            Self::Stored
        } else if matches!(answer.body(), Body::Stream(_)) || answer.status().as_u16() >= 500 {
            Self::GiveBack
        } else {
            Self::Store(to_stored(answer))
        }
    }
}

impl Running {
    pub(crate) async fn settle(mut self, settlement: Settlement, deadline: Deadline) {
        self.settled = match settlement {
            Settlement::Stored => true,
            Settlement::GiveBack => false,
            Settlement::Store(answer) => {
                match Idempotency::complete(self.database.as_ref(), &self.token, &answer, deadline)
                    .await
                {
                    Ok(()) => true,
                    // The effect is there and the client gets its answer; only a repetition would
                    // not find it.
                    Err(error) => {
                        tracing::warn!(%error, "the answer to an Idempotency-Key could not be stored");
                        false
                    }
                }
            }
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let (database, token) = (Arc::clone(&self.database), self.token.clone());
        spawn_named("abandon-idempotency-key", async move {
            let given_back =
                Idempotency::abandon(database.as_ref(), &token, Deadline::after(ABANDON)).await;
            if let Err(error) = given_back {
                tracing::debug!(%error, "an Idempotency-Key stays taken until its lease ends");
            }
        });
    }
}

/// Whether an error of [`decide`] is an answer for the client rather than a failure of the call.
pub(crate) fn is_answer(error: &Error) -> bool {
    error.code.starts_with("idempotency.") || error.code == codes::REQUEST_INVALID.code
}
