//! Signing keys, and when they follow one another: a new one is published before it signs, an old
//! one is kept until the last token it signed has expired.

use std::time::Duration;

use sdk::{Row, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A key; the private half is in the vault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Row)]
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    /// 1 for the first; of two that are made at once one is kept.
    pub(crate) generation: i64,
    /// The public half as it is published.
    pub(crate) jwk: Value,
    pub(crate) created_at: Timestamp,
    pub(crate) active_from: Timestamp,
}

/// How long keys are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// How long one signs.
    pub(crate) signs_for: Duration,
    /// How long it is published before.
    pub(crate) lead: Duration,
    /// The longest life of a token, with a margin for clocks.
    pub(crate) token_life: Duration,
}

/// The key that signs now: the newest whose time has come.
pub(crate) fn current(keys: &[SigningKey], now: Timestamp) -> Option<&SigningKey> {
    keys.iter().filter(|key| key.active_from <= now).max_by_key(|key| key.generation)
}

/// The generation and the beginning of a key that should be made now.
pub(crate) fn due(
    keys: &[SigningKey],
    now: Timestamp,
    schedule: Schedule,
) -> Option<(i64, Timestamp)> {
    let Some(newest) = keys.iter().max_by_key(|key| key.generation) else {
        return Some((1, now));
    };
    let ends = newest.active_from + schedule.signs_for;
    (now + schedule.lead >= ends).then(|| (newest.generation + 1, ends.max(now + schedule.lead)))
}

/// Keys that sign no more and whose tokens have all expired.
pub(crate) fn spent(keys: &[SigningKey], now: Timestamp, schedule: Schedule) -> Vec<&SigningKey> {
    let replaced = |key: &&SigningKey| {
        keys.iter().any(|other| {
            other.generation > key.generation && other.active_from + schedule.token_life < now
        })
    };
    keys.iter().filter(replaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const SCHEDULE: Schedule =
        Schedule { signs_for: Duration::from_secs(90 * 86_400), lead: DAY, token_life: DAY };

    fn key(generation: i64, day: u32) -> SigningKey {
        let active_from = at(day);
        SigningKey {
            kid: format!("k{generation}"),
            generation,
            jwk: Value::Null,
            created_at: active_from,
            active_from,
        }
    }

    fn at(day: u32) -> Timestamp {
        Timestamp::from_seconds(0) + DAY * day
    }

    #[test]
    fn keys_follow_one_another() {
        assert_eq!(due(&[], at(5), SCHEDULE), Some((1, at(5))));
        let one = [key(1, 0)];
        assert_eq!(due(&one, at(88), SCHEDULE), None);
        assert_eq!(due(&one, at(89), SCHEDULE), Some((2, at(90))));
        // A node that was off for a year publishes before it signs all the same.
        assert_eq!(due(&one, at(365), SCHEDULE), Some((2, at(366))));
        let two = [key(1, 0), key(2, 90)];
        assert_eq!(due(&two, at(90), SCHEDULE), None);
        assert_eq!(current(&two, at(89)).unwrap().kid, "k1");
        assert_eq!(current(&two, at(90)).unwrap().kid, "k2");
        assert!(current(&[key(1, 3)], at(2)).is_none());
    }

    #[test]
    fn an_old_key_stays_until_its_tokens_have_expired() {
        let two = [key(1, 0), key(2, 90)];
        assert!(spent(&two, at(91), SCHEDULE).is_empty());
        let gone = spent(&two, at(92), SCHEDULE);
        assert_eq!(gone.iter().map(|key| key.kid.as_str()).collect::<Vec<_>>(), ["k1"]);
    }
}
