//! Keys and values, and objects.

/// Keys and values.
pub(crate) mod kv {
    use std::collections::VecDeque;

    use crate::{
        bindings::pyairtable::{
            storage::kv::{Algorithm, Bucket, Entry, Mutation, Verdict},
            types::errors::{Error, ErrorClass},
        },
        testing::{
            limits,
            state::{KvItem, KvValue, State, error, with},
        },
    };

    fn scoped(state: &State, key: &str) -> Result<String, Error> {
        state.check("storage/kv")?;
        if !(1..=512).contains(&key.len()) {
            return Err(error(ErrorClass::Invalid, "kv.key", "a key is 1 to 512 bytes"));
        }
        // As in the host: a call without a tenant has a scope of its own.
        let tenant = state.tenant().map_or_else(String::new, |tenant| format!("t{tenant}"));
        Ok(format!("{tenant}\u{1}{key}"))
    }

    fn wrong_type() -> Error {
        error(ErrorClass::Conflict, "kv.type", "the key holds another kind of value")
    }

    fn live<'a>(state: &'a State, key: &str) -> Option<&'a KvItem> {
        state.kv.get(key).filter(|item| item.expires.is_none_or(|at| at > state.now))
    }

    fn expiry(state: &State, ttl_ms: Option<u64>) -> Option<i64> {
        ttl_ms.map(|ms| {
            state.now.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1000))
        })
    }

    fn store(state: &mut State, key: String, value: KvValue, expires: Option<i64>) -> u64 {
        state.versions += 1;
        let version = state.versions;
        state.kv.insert(key, KvItem { value, version, expires });
        version
    }

    fn entry(state: &State, key: &str) -> Result<Option<Entry>, Error> {
        let Some(item) = live(state, key) else { return Ok(None) };
        let value = match &item.value {
            KvValue::Bytes(bytes) => bytes.clone(),
            KvValue::Counter(n) => n.to_string().into_bytes(),
            KvValue::List(_) | KvValue::Limit(_) => return Err(wrong_type()),
        };
        let expires_in_ms =
            item.expires.map(|at| u64::try_from((at - state.now) / 1000).unwrap_or(0));
        Ok(Some(Entry { value, version: item.version, expires_in_ms }))
    }

    pub(crate) fn get(key: &str) -> Result<Option<Entry>, Error> {
        with(|state| entry(state, &scoped(state, key)?))
    }

    pub(crate) fn get_many(keys: &[String]) -> Result<Vec<Option<Entry>>, Error> {
        if keys.len() > 100 {
            return Err(error(ErrorClass::Invalid, "kv.limit", "at most 100 keys"));
        }
        keys.iter().map(|key| get(key)).collect()
    }

    fn check_value(value: &[u8]) -> Result<(), Error> {
        if value.len() > 1 << 20 {
            return Err(error(ErrorClass::Invalid, "kv.value-too-large", "over 1 MiB"));
        }
        Ok(())
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<u64, Error> {
        check_value(value)?;
        with(|state| {
            let key = scoped(state, key)?;
            let expires = expiry(state, ttl_ms);
            Ok(store(state, key, KvValue::Bytes(value.to_vec()), expires))
        })
    }

    fn check_version(state: &State, key: &str, expected: Option<u64>) -> Result<(), Error> {
        if live(state, key).map(|item| item.version) == expected {
            Ok(())
        } else {
            Err(error(ErrorClass::Conflict, "kv.cas-mismatch", "the key is at another version"))
        }
    }

    pub(crate) fn compare_and_set(
        key: &str,
        expected: Option<u64>,
        value: &[u8],
        ttl_ms: Option<u64>,
    ) -> Result<u64, Error> {
        check_value(value)?;
        with(|state| {
            let key = scoped(state, key)?;
            check_version(state, &key, expected)?;
            let expires = expiry(state, ttl_ms);
            Ok(store(state, key, KvValue::Bytes(value.to_vec()), expires))
        })
    }

    pub(crate) fn delete(key: &str) -> Result<bool, Error> {
        with(|state| {
            let key = scoped(state, key)?;
            let there = live(state, &key).is_some();
            state.kv.remove(&key);
            Ok(there)
        })
    }

    fn add(state: &mut State, key: String, delta: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        let (old, expires) = match live(state, &key) {
            None => (0, expiry(state, ttl_ms)),
            Some(KvItem { value: KvValue::Counter(n), expires, .. }) => (*n, *expires),
            Some(_) => return Err(wrong_type()),
        };
        let sum = old
            .checked_add(delta)
            .ok_or_else(|| error(ErrorClass::Invalid, "kv.overflow", "beyond 64 bits"))?;
        store(state, key, KvValue::Counter(sum), expires);
        Ok(sum)
    }

    pub(crate) fn increment(key: &str, delta: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        with(|state| {
            let key = scoped(state, key)?;
            add(state, key, delta, ttl_ms)
        })
    }

    pub(crate) fn expire(key: &str, ttl_ms: Option<u64>) -> Result<bool, Error> {
        with(|state| {
            let key = scoped(state, key)?;
            if live(state, &key).is_none() {
                return Ok(false);
            }
            let expires = expiry(state, ttl_ms);
            Ok(state.kv.get_mut(&key).map(|item| item.expires = expires).is_some())
        })
    }

    pub(crate) fn atomic(
        checks: &[(String, Option<u64>)],
        mutations: &[Mutation],
    ) -> Result<(), Error> {
        if checks.len() + mutations.len() > 50 {
            return Err(error(ErrorClass::Invalid, "kv.limit", "at most 50 checks and writes"));
        }
        with(|state| {
            for (key, expected) in checks {
                check_version(state, &scoped(state, key)?, *expected)?;
            }
            let before = state.kv.clone();
            for mutation in mutations {
                let done = match mutation {
                    Mutation::Set((key, value, ttl)) => scoped(state, key).map(|key| {
                        let expires = expiry(state, *ttl);
                        store(state, key, KvValue::Bytes(value.clone()), expires);
                    }),
                    Mutation::Delete(key) => scoped(state, key).map(|key| {
                        state.kv.remove(&key);
                    }),
                    Mutation::Add((key, delta, ttl)) => {
                        scoped(state, key).and_then(|key| add(state, key, *delta, *ttl).map(drop))
                    }
                };
                if let Err(failure) = done {
                    state.kv = before;
                    return Err(failure);
                }
            }
            Ok(())
        })
    }

    pub(crate) fn take(buckets: &[Bucket]) -> Result<Vec<Verdict>, Error> {
        let is_wrong = |b: &Bucket| {
            let refills = matches!(b.algorithm, Algorithm::TokenBucket | Algorithm::Gcra);
            b.capacity == 0 || b.period_ms == 0 || b.cost > b.capacity || (refills && b.refill == 0)
        };
        if buckets.len() > 16 || buckets.iter().any(is_wrong) {
            return Err(error(ErrorClass::Invalid, "kv.limit", "a bucket is out of its limits"));
        }
        with(|state| {
            let now_ms = state.now.div_euclid(1000);
            let mut verdicts = Vec::new();
            let mut next = Vec::new();
            for bucket in buckets {
                let key = scoped(state, &bucket.key)?;
                let stored = match live(state, &key).map(|item| &item.value) {
                    None => None,
                    Some(KvValue::Limit(limit)) => Some(*limit),
                    Some(_) => return Err(wrong_type()),
                };
                let (verdict, limit) = limits::judge(stored, bucket, now_ms);
                verdicts.push(verdict);
                next.push((key, limit));
            }
            if verdicts.iter().all(|verdict| verdict.allowed) {
                for (key, limit) in next {
                    store(state, key, KvValue::Limit(limit), None);
                }
            } else {
                // Nothing was taken, so what would have fitted still has its units.
                for (verdict, bucket) in verdicts.iter_mut().zip(buckets) {
                    if verdict.allowed {
                        verdict.remaining += bucket.cost;
                    }
                }
            }
            Ok(verdicts)
        })
    }

    pub(crate) fn refund(key: &str, _algorithm: Algorithm, units: u64) -> Result<(), Error> {
        with(|state| {
            let key = scoped(state, key)?;
            match state.kv.get_mut(&key).map(|item| &mut item.value) {
                None => Ok(()),
                Some(KvValue::Limit(limit)) => {
                    limits::refund(limit, units);
                    Ok(())
                }
                Some(_) => Err(wrong_type()),
            }
        })
    }

    fn list(state: &State, key: &str) -> Result<VecDeque<Vec<u8>>, Error> {
        match live(state, key).map(|item| &item.value) {
            None => Ok(VecDeque::new()),
            Some(KvValue::List(list)) => Ok(list.clone()),
            Some(_) => Err(wrong_type()),
        }
    }

    pub(crate) fn push(key: &str, values: &[Vec<u8>]) -> Result<u64, Error> {
        with(|state| {
            let key = scoped(state, key)?;
            let mut list = list(state, &key)?;
            list.extend(values.iter().cloned());
            if list.len() > 100_000 {
                return Err(error(ErrorClass::Exhausted, "kv.full", "the list is full"));
            }
            let length = list.len() as u64;
            let expires = live(state, &key).and_then(|item| item.expires);
            store(state, key, KvValue::List(list), expires);
            Ok(length)
        })
    }

    pub(crate) fn pop(key: &str, max: u32) -> Result<Vec<Vec<u8>>, Error> {
        with(|state| {
            let key = scoped(state, key)?;
            let mut list = list(state, &key)?;
            let taken = list.len().min(max.min(1000) as usize);
            let values = list.drain(..taken).collect();
            let expires = live(state, &key).and_then(|item| item.expires);
            if list.is_empty() {
                state.kv.remove(&key);
            } else {
                store(state, key, KvValue::List(list), expires);
            }
            Ok(values)
        })
    }

    pub(crate) fn range(key: &str, start: u64, max: u32) -> Result<Vec<Vec<u8>>, Error> {
        with(|state| {
            let list = list(state, &scoped(state, key)?)?;
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            Ok(list.into_iter().skip(start).take(max.min(1000) as usize).collect())
        })
    }

    pub(crate) fn scan(prefix: &str, after: Option<&str>, max: u32) -> Result<Vec<String>, Error> {
        with(|state| {
            let tenant = scoped(state, "x")?;
            let tenant = &tenant[..tenant.len() - 1];
            Ok(state
                .kv
                .keys()
                .filter(|key| live(state, key).is_some())
                .filter_map(|key| key.strip_prefix(tenant))
                .filter(|key| key.starts_with(prefix) && after.is_none_or(|after| *key > after))
                .take(max.min(1000) as usize)
                .map(str::to_owned)
                .collect())
        })
    }
}

/// Objects.
pub(crate) mod blob {
    use std::cell::RefCell;

    use crate::{
        bindings::pyairtable::{
            crypto::hash::Algorithm,
            storage::blob::{Info, Listing, PutOptions},
            types::errors::{Error, ErrorClass},
        },
        testing::{
            imports::hash,
            state::{State, error, with},
        },
    };

    fn scoped(state: &State, name: &str) -> Result<String, Error> {
        state.check("storage/blob")?;
        if !(1..=1024).contains(&name.len()) {
            return Err(error(ErrorClass::Invalid, "blob.name", "1 to 1 024 bytes"));
        }
        Ok(format!("{}\u{1}{name}", state.tenant().unwrap_or_default()))
    }

    fn find<T>(name: &str, take: impl FnOnce(&Info, &[u8]) -> T) -> Result<T, Error> {
        with(|state| {
            let key = scoped(state, name)?;
            state.blobs.get(&key).map(|(info, content)| take(info, content)).ok_or_else(|| {
                error(ErrorClass::NotFound, "blob.not-found", "there is no object of this name")
            })
        })
    }

    pub(crate) fn head(name: &str) -> Result<Info, Error> {
        find(name, |info, _| info.clone())
    }

    pub(crate) fn get(name: &str) -> Result<Vec<u8>, Error> {
        find(name, |_, content| content.to_vec())
    }

    pub(crate) fn open(name: &str, offset: u64, length: Option<u64>) -> Result<Reader, Error> {
        find(name, |_, content| {
            let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            let from = size(offset).min(content.len());
            let to = length.map_or(content.len(), |n| from.saturating_add(size(n)));
            Reader { rest: RefCell::new(content[from..to.min(content.len())].to_vec()) }
        })
    }

    pub(crate) fn put(name: &str, content: &[u8], options: &PutOptions) -> Result<Info, Error> {
        with(|state| {
            let key = scoped(state, name)?;
            let current = state.blobs.get(&key).map(|(info, _)| info.etag.clone());
            let holds = match &options.if_match {
                None => true,
                Some(only) if only == "*" => current.is_none(),
                Some(etag) => current.as_ref() == Some(etag),
            };
            if !holds {
                return Err(error(
                    ErrorClass::Conflict,
                    "blob.precondition",
                    "the object is another",
                ));
            }
            let sha256 = crate::crypto::hex(&hash::digest(Algorithm::Sha256, content));
            let info = Info {
                name: name.to_owned(),
                size: content.len() as u64,
                etag: format!("\"{}\"", &sha256[..32]),
                content_type: options.content_type.clone(),
                modified: state.now,
                sha256,
                metadata: options.metadata.clone(),
            };
            state.blobs.insert(key, (info.clone(), content.to_vec()));
            Ok(info)
        })
    }

    pub(crate) fn create(name: &str, options: &PutOptions) -> Result<Writer, Error> {
        with(|state| scoped(state, name))?;
        Ok(Writer { name: name.to_owned(), options: options.clone(), content: RefCell::default() })
    }

    pub(crate) fn copy(source: &str, target: &str) -> Result<Info, Error> {
        let (info, content) = find(source, |info, content| (info.clone(), content.to_vec()))?;
        let options =
            PutOptions { content_type: info.content_type, metadata: info.metadata, if_match: None };
        put(target, &content, &options)
    }

    pub(crate) fn delete(name: &str) -> Result<(), Error> {
        find(name, |_, _| ())?;
        with(|state| {
            let key = scoped(state, name)?;
            state.blobs.remove(&key);
            Ok(())
        })
    }

    pub(crate) fn list_objects(
        prefix: &str,
        after: Option<&str>,
        max: u32,
    ) -> Result<Listing, Error> {
        with(|state| {
            let tenant = scoped(state, "x")?;
            let tenant = &tenant[..tenant.len() - 1];
            let max = max.clamp(1, 1000) as usize;
            let mut objects: Vec<Info> = state
                .blobs
                .iter()
                .filter(|(key, (info, _))| {
                    key.starts_with(tenant)
                        && info.name.starts_with(prefix)
                        && after.is_none_or(|after| info.name.as_str() > after)
                })
                .map(|(_, (info, _))| info.clone())
                .take(max + 1)
                .collect();
            let more = objects.len() > max;
            objects.truncate(max);
            let next = objects.last().filter(|_| more).map(|info| info.name.clone());
            Ok(Listing { objects, next })
        })
    }

    pub(crate) fn presign(name: &str, method: &str, seconds: u32) -> Result<String, Error> {
        with(|state| scoped(state, name))?;
        Ok(format!("https://blobs.test/{name}?method={method}&valid={seconds}"))
    }

    /// An object being read.
    #[derive(Debug)]
    pub(crate) struct Reader {
        rest: RefCell<Vec<u8>>,
    }

    impl Reader {
        #[expect(clippy::unnecessary_wraps, reason = "as in the contract")]
        pub(crate) fn read(&self, max: u32) -> Result<Vec<u8>, Error> {
            let mut rest = self.rest.borrow_mut();
            let length = rest.len().min(max.min(1 << 20) as usize);
            Ok(rest.drain(..length).collect())
        }
    }

    /// An object being written.
    #[derive(Debug)]
    pub(crate) struct Writer {
        name: String,
        options: PutOptions,
        content: RefCell<Vec<u8>>,
    }

    impl Writer {
        #[expect(clippy::unnecessary_wraps, reason = "as in the contract")]
        pub(crate) fn write(&self, chunk: &[u8]) -> Result<(), Error> {
            self.content.borrow_mut().extend_from_slice(chunk);
            Ok(())
        }

        pub(crate) fn finish(&self) -> Result<Info, Error> {
            put(&self.name, &self.content.borrow(), &self.options)
        }
    }
}
