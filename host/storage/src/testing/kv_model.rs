//! A store beside the simplest model of one: random calls must be answered alike.

use std::collections::BTreeMap;

use airhost_core::codes;
use bytes::Bytes;

use super::kv::{ALGORITHMS, bucket};
use crate::kv::{KeyValue, Mutation};

/// What a key holds in the model; no time passes in it.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    Value(Bytes, u64),
    Counter(i64),
    List(Vec<Bytes>),
    /// Units taken.
    Taken(u64),
}

struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn key(&mut self) -> String {
        format!("k{}", self.below(7))
    }

    fn value(&mut self) -> Bytes {
        Bytes::from(vec![b'v'; usize::try_from(self.below(5)).expect("small")])
    }
}

/// Makes 2 000 random calls and compares each answer.
pub(super) async fn compare(kv: &dyn KeyValue, seed: u64) {
    let mut random = Random(seed);
    let mut model: BTreeMap<String, Held> = BTreeMap::new();
    for step in 0..2_000 {
        let key = random.key();
        let held = model.get(&key).cloned();
        let at = format!("seed {seed} step {step} key {key} {held:?}");
        match random.below(10) {
            0 => {
                let entry = kv.get(&key).await;
                match held {
                    None => assert_eq!(entry, Ok(None), "{at}"),
                    Some(Held::Value(value, version)) => {
                        let entry = entry.expect(&at).expect(&at);
                        assert_eq!((entry.value, entry.version), (value, version), "{at}");
                    }
                    Some(_) => assert!(codes::KV_TYPE.is(&entry.expect_err(&at)), "{at}"),
                }
            }
            1 => {
                let value = random.value();
                match (kv.set(&key, value.clone(), None).await, held) {
                    (Ok(version), None | Some(Held::Value(..))) => {
                        model.insert(key, Held::Value(value, version));
                    }
                    (answer, _) => assert!(codes::KV_TYPE.is(&answer.expect_err(&at)), "{at}"),
                }
            }
            2 => {
                let value = random.value();
                let expected = match &held {
                    Some(Held::Value(_, version)) if random.below(4) > 0 => Some(*version),
                    Some(_) if random.below(2) == 0 => Some(1),
                    _ => None,
                };
                let answer = kv.compare_and_set(&key, expected, value.clone(), None).await;
                let current = match &held {
                    None => Some(None),
                    Some(Held::Value(_, version)) => Some(Some(*version)),
                    Some(_) => None,
                };
                match (answer, current) {
                    (Ok(version), Some(current)) => {
                        assert_eq!(current, expected, "{at}");
                        model.insert(key, Held::Value(value, version));
                    }
                    (Err(error), Some(current)) => {
                        assert!(codes::KV_CAS_MISMATCH.is(&error), "{at}");
                        assert_ne!(current, expected, "{at}");
                    }
                    (answer, None) => assert!(codes::KV_TYPE.is(&answer.expect_err(&at)), "{at}"),
                }
            }
            3 => {
                assert_eq!(kv.delete(&key).await, Ok(held.is_some()), "{at}");
                model.remove(&key);
            }
            4 => {
                let delta = i64::try_from(random.below(9)).expect("small") - 4;
                match (kv.increment(&key, delta, None).await, held) {
                    (Ok(sum), None) => {
                        assert_eq!(sum, delta, "{at}");
                        model.insert(key, Held::Counter(sum));
                    }
                    (Ok(sum), Some(Held::Counter(count))) => {
                        assert_eq!(sum, count + delta, "{at}");
                        model.insert(key, Held::Counter(sum));
                    }
                    (answer, _) => assert!(codes::KV_TYPE.is(&answer.expect_err(&at)), "{at}"),
                }
            }
            5 => {
                let value = random.value();
                match (kv.push(&key, vec![value.clone()]).await, held) {
                    (Ok(length), None) => {
                        assert_eq!(length, 1, "{at}");
                        model.insert(key, Held::List(vec![value]));
                    }
                    (Ok(length), Some(Held::List(mut values))) => {
                        values.push(value);
                        assert_eq!(length, values.len() as u64, "{at}");
                        model.insert(key, Held::List(values));
                    }
                    (answer, _) => assert!(codes::KV_TYPE.is(&answer.expect_err(&at)), "{at}"),
                }
            }
            6 => match (kv.pop(&key, 2).await, held) {
                (Ok(values), None) => assert!(values.is_empty(), "{at}"),
                (Ok(popped), Some(Held::List(mut values))) => {
                    let rest = values.split_off(values.len().min(2));
                    assert_eq!(popped, values, "{at}");
                    if rest.is_empty() {
                        model.remove(&key);
                    } else {
                        model.insert(key, Held::List(rest));
                    }
                }
                (answer, _) => assert!(codes::KV_TYPE.is(&answer.expect_err(&at)), "{at}"),
            },
            7 => {
                // One algorithm for each seed, so that a key keeps its own.
                let algorithm = ALGORITHMS[usize::try_from(seed % 4).expect("small")];
                let cost = random.below(4);
                let answer = kv.take(&[bucket(&key, algorithm, 10, cost)]).await;
                let taken = match held {
                    None => 0,
                    Some(Held::Taken(taken)) => taken,
                    Some(_) => {
                        assert!(codes::KV_TYPE.is(&answer.expect_err(&at)), "{at}");
                        continue;
                    }
                };
                let verdict = answer.expect(&at)[0];
                assert_eq!(verdict.allowed, taken + cost <= 10, "{at}");
                let after = if verdict.allowed { taken + cost } else { taken };
                assert_eq!(verdict.remaining, 10 - after, "{at}");
                if verdict.allowed && cost > 0 {
                    model.insert(key, Held::Taken(after));
                }
            }
            8 => {
                let other = random.key();
                let value = random.value();
                let set = Mutation::Set { key: key.clone(), value: value.clone(), ttl: None };
                let add = Mutation::Add { key: other.clone(), delta: 1, ttl: None };
                let answer = kv.atomic(&[], vec![set, add]).await;
                let set_fits = matches!(held, None | Some(Held::Value(..)));
                let add_fits =
                    other != key && matches!(model.get(&other), None | Some(Held::Counter(_)));
                assert_eq!(answer.is_ok(), set_fits && add_fits, "{at} and {other}");
                if answer.is_ok() {
                    let version = kv.get(&key).await.expect(&at).expect(&at).version;
                    model.insert(key, Held::Value(value, version));
                    let count = match model.get(&other) {
                        Some(Held::Counter(count)) => *count,
                        _ => 0,
                    };
                    model.insert(other, Held::Counter(count + 1));
                }
            }
            _ => {
                let keys = kv.scan("k", None, 100).await.expect(&at);
                assert!(keys.iter().eq(model.keys()), "{at}: {keys:?} {model:?}");
            }
        }
    }
}
