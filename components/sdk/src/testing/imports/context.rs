//! `pyairtable:context`.

/// The call.
pub(crate) mod call {
    use crate::{
        bindings::pyairtable::{
            context::call::Principal,
            types::errors::{Error, ErrorClass},
        },
        testing::state::{error, with},
    };

    pub(crate) fn get_principal() -> Option<Principal> {
        with(|state| state.caller.principal.clone())
    }

    pub(crate) fn assume(jwt: &str) -> Result<Principal, Error> {
        with(|state| match state.tokens.get(jwt).cloned() {
            Some(principal) => {
                state.caller.tenant = Some(principal.tenant.clone());
                state.caller.principal = Some(principal.clone());
                Ok(principal)
            }
            None => {
                Err(error(ErrorClass::Denied, "principal.invalid-token", "the token is not valid"))
            }
        })
    }

    pub(crate) fn caller() -> Option<String> {
        with(|state| {
            state.caller.service.as_ref().map(|name| match name.starts_with("spiffe://") {
                true => name.clone(),
                false => format!("spiffe://cluster.local/ns/pyairtable/sa/{name}"),
            })
        })
    }

    pub(crate) fn tenant() -> Option<String> {
        with(|state| state.tenant())
    }

    pub(crate) fn correlation_id() -> String {
        "0192f0c1-0000-7000-8000-00000000c0de".to_owned()
    }

    pub(crate) fn traceparent() -> String {
        "00-0192f0c1000070008000000000000001-0000000000000001-01".to_owned()
    }

    pub(crate) fn remaining_ms() -> u64 {
        10_000
    }

    pub(crate) fn service() -> String {
        with(|state| state.service.name().to_owned())
    }

    pub(crate) fn revision() -> String {
        "000000000000".to_owned()
    }
}

/// The configuration.
pub(crate) mod configuration {
    use crate::testing::state::with;

    pub(crate) fn get(key: &str) -> Option<String> {
        with(|state| state.config.get(key).cloned())
    }

    pub(crate) fn keys() -> Vec<String> {
        with(|state| state.config.keys().cloned().collect())
    }
}

/// The node's cache.
pub(crate) mod cache {
    use crate::{
        bindings::pyairtable::{
            context::cache::Scope,
            types::errors::{Error, ErrorClass},
        },
        testing::state::{State, error, with},
    };

    fn scoped(state: &State, scope: Scope, key: &str) -> String {
        match scope {
            Scope::Shared => format!("s/{key}"),
            Scope::Tenant => format!("t/{}/{key}", state.tenant().unwrap_or_default()),
        }
    }

    pub(crate) fn get(scope: Scope, key: &str) -> Option<Vec<u8>> {
        with(|state| {
            let key = scoped(state, scope, key);
            let now = state.now;
            state.cache.get(&key).filter(|(_, expires, _)| *expires > now).map(|(v, ..)| v.clone())
        })
    }

    pub(crate) fn put(
        scope: Scope,
        key: &str,
        value: &[u8],
        ttl_ms: u64,
        tags: &[String],
    ) -> Result<(), Error> {
        if value.len() > 256 << 10 {
            return Err(error(ErrorClass::Invalid, "cache.too-large", "the entry is too large"));
        }
        with(|state| {
            let key = scoped(state, scope, key);
            let ttl = i64::try_from(ttl_ms).unwrap_or(i64::MAX).saturating_mul(1000);
            let expires = state.now.saturating_add(ttl);
            state.cache.insert(key, (value.to_vec(), expires, tags.to_vec()));
            Ok(())
        })
    }

    pub(crate) fn delete(scope: Scope, key: &str) {
        with(|state| {
            let key = scoped(state, scope, key);
            state.cache.remove(&key);
        });
    }

    pub(crate) fn drop_tag(tag: &str) {
        with(|state| state.cache.retain(|_, (_, _, tags)| !tags.iter().any(|t| t == tag)));
    }
}

/// The log.
pub(crate) mod log {
    use crate::{
        bindings::pyairtable::context::log::Level,
        testing::state::{LogLine, with_any},
    };

    pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
        // Pure functions are tested without a host; their lines go nowhere.
        let line = LogLine { level, message: message.to_owned(), fields: fields.to_vec() };
        with_any(|state| state.logs.push(line));
    }

    pub(crate) fn enabled() -> Level {
        Level::Trace
    }
}
