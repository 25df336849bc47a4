//! What was read from Airtable, remembered: good for a moment, and for longer as a stand-in while
//! Airtable does not answer.
//!
//! Everything of a connection is remembered under one state, which a write replaces: a write to
//! one table changes what others show of it through links, lookups and rollups.

use std::time::Duration;

use sdk::{Result, Timestamp, config, crypto, http::Response, kv, random};

use crate::{
    airtable::{self, Ask},
    domain::{
        answer::{Answer, Kept},
        connection::Connection,
        operation::{Kind, normal_form},
    },
};

/// Where an answer is from, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Airtable.
    Airtable,
    /// Remembered so many seconds ago, and good.
    Remembered(u64),
    /// Remembered so many seconds ago, and all there is.
    Stale(u64),
}

impl Origin {
    /// Tells the client (RFC 9111, section 5).
    pub(crate) fn tell(self, response: Response) -> Response {
        match self {
            Self::Airtable => response.with("x-airhost-cache", "miss"),
            Self::Remembered(age) => {
                response.with("x-airhost-cache", "hit").with("age", age.to_string())
            }
            Self::Stale(age) => response
                .with("x-airhost-cache", "stale")
                .with("age", age.to_string())
                .with("warning", "110 - \"Response is Stale\""),
        }
    }
}

/// Longer than anything is remembered.
const STATE_FOR: Duration = Duration::from_secs(86_400);
/// Larger answers are not remembered; the store takes 1 MiB.
const MAX: usize = 1_000_000;

/// Reads. `asked` is path and query as they came; `fresh` asks Airtable in any case.
pub(crate) fn read(
    connection: &Connection,
    kind: Kind,
    ask: &Ask,
    asked: (&str, &str),
    fresh: bool,
) -> Result<(Answer, Origin)> {
    let seconds: u64 = match kind {
        Kind::ReadSchema => config::get("schema-cache-seconds")?,
        Kind::ReadRecords => config::get("record-cache-seconds")?,
        _ => return Ok((airtable::ask(connection, ask, true)?, Origin::Airtable)),
    };
    let key = key(connection, ask, asked);
    let (state, kept) = recall(connection, &key);
    let now = Timestamp::now().as_micros() / 1000;
    if let Some(kept) = &kept
        && !fresh
        && kept.is_fresh(state, now, seconds)
    {
        let age = kept.age(now);
        return Ok((Answer::ok(kept.body.clone()), Origin::Remembered(age)));
    }
    // Who has written waits out a pause rather than see what was there before.
    let patient = kept.as_ref().is_none_or(|kept| state != Some(kept.state));
    // Before the question, so that a write in between is not lost on this answer.
    let state = state.or_else(|| forget(connection));
    let answer = airtable::ask(connection, ask, patient);
    let away = match &answer {
        Ok(answer) => answer.status == 429 || answer.status >= 500,
        Err(error) => error.status() == 429 || error.status() >= 500,
    };
    if away && let Some(kept) = kept {
        let age = kept.age(now);
        return Ok((Answer::ok(kept.body), Origin::Stale(age)));
    }
    let answer = answer?;
    if answer.status == 200
        && answer.body.len() <= MAX
        && let Some(state) = state
    {
        let stale: u64 = config::get("stale-seconds")?;
        let kept = Kept { state, at: now, body: answer.body.clone() };
        let ttl = Some(Duration::from_secs(seconds + stale));
        if let Err(error) = kv::set(&key, &kept.encode(), ttl) {
            sdk::warn!(code = error.code(), "an answer is not remembered: {}", error.detail());
        }
    }
    Ok((answer, Origin::Airtable))
}

/// Makes what was remembered of a connection old; answers the new state.
pub(crate) fn forget(connection: &Connection) -> Option<[u8; 16]> {
    let state = random::bytes::<16>();
    match kv::set(&state_key(connection), &state, Some(STATE_FOR)) {
        Ok(_) => Some(state),
        Err(error) => {
            sdk::warn!(code = error.code(), "answers are not made old: {}", error.detail());
            None
        }
    }
}

fn state_key(connection: &Connection) -> String {
    format!("s/{}", connection.id)
}

fn key(connection: &Connection, ask: &Ask, (path, query): (&str, &str)) -> String {
    let mut text = normal_form(path, query).into_bytes();
    text.push(b'\n');
    text.extend_from_slice(ask.body());
    format!("r/{}/{}", connection.id, crypto::sha256_hex(&text))
}

/// State and answer in one trip. Without the store nothing is remembered.
fn recall(connection: &Connection, key: &str) -> (Option<[u8; 16]>, Option<Kept>) {
    match kv::get_many(&[state_key(connection), key.to_owned()]) {
        Ok(mut found) => {
            let kept = found.pop().flatten().and_then(|entry| Kept::decode(entry.value));
            let state = found.pop().flatten().and_then(|entry| entry.value.try_into().ok());
            (state, kept)
        }
        Err(error) => {
            sdk::warn!(code = error.code(), "answers are not remembered: {}", error.detail());
            (None, None)
        }
    }
}
