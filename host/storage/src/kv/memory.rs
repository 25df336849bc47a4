//! The embedded engine: keys in memory, a snapshot on disk.

mod limit;
mod shard;
mod snapshot;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use airhost_core::{Clock, Error, Result, codes};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::{task::JoinHandle, time::MissedTickBehavior};

use self::shard::{Content, Shard, Slot, wrong_kind};
use super::{
    Algorithm, Bucket, Entry, KeyValue, LIST_LENGTH, Mutation, Verdict, check_bucket, check_key,
    check_ttl, check_value, limited,
};

/// How a store in memory is opened.
#[derive(Clone, Debug)]
pub struct MemoryConfig {
    /// Most bytes of keys and values, with what it takes to keep them.
    pub bytes: usize,
    /// The snapshot; without one a restart begins empty.
    pub snapshot: Option<PathBuf>,
    /// Between two snapshots.
    pub snapshot_every: Duration,
    /// The wall clock.
    pub clock: Clock,
}

impl Default for MemoryConfig {
    /// 256 MiB, no snapshot.
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            snapshot: None,
            snapshot_every: Duration::from_secs(30),
            clock: Clock::system(),
        }
    }
}

/// Between two looks for what has expired.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Most parts the keys are spread over.
const MOST_SHARDS: usize = 16;
/// Least room of a part, so that a few large values fit into one.
const LEAST_SHARD: usize = 8 << 20;

/// A key-value store in memory.
#[derive(Debug)]
pub struct Memory {
    inner: Arc<Inner>,
    upkeep: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Inner {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// The last version given out.
    version: AtomicU64,
    /// The latest moment seen: a wall clock that is set back must not bring expired keys back.
    latest: AtomicU64,
    changed: AtomicBool,
    closed: AtomicBool,
    config: MemoryConfig,
    /// One snapshot is written at a time.
    writing: Mutex<()>,
}

impl Memory {
    /// Opens a store, from its snapshot if it has one, and keeps it up: expired keys are removed
    /// and snapshots written while the runtime it is opened on lives.
    ///
    /// # Errors
    /// `kv.unavailable` when the snapshot cannot be read. A damaged one is set aside and the
    /// store begins empty.
    pub async fn open(config: MemoryConfig) -> Result<Self> {
        let saved = match config.snapshot.clone() {
            None => Vec::new(),
            Some(path) => {
                let reading = tokio::task::spawn_blocking(move || {
                    snapshot::read(&path).map_err(|error| {
                        tracing::error!(path = %path.display(), %error, "the snapshot cannot be read");
                        codes::KV_UNAVAILABLE.error("the store's snapshot cannot be read")
                    })
                });
                reading.await.map_err(|_| closed())??
            }
        };
        let inner = Arc::new(Inner::new(config, saved));
        let upkeep = tokio::spawn(upkeep(Arc::downgrade(&inner)));
        Ok(Self { inner, upkeep: Mutex::new(Some(upkeep)) })
    }

    /// Bytes taken by keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner.shards.iter().map(|shard| shard.lock().size()).sum()
    }

    /// Writes the snapshot now, if anything has changed since the last.
    ///
    /// # Errors
    /// `kv.unavailable` when it cannot be written; the old one is still there then.
    pub async fn save(&self) -> Result<()> {
        save(Arc::clone(&self.inner)).await
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(upkeep) = self.upkeep.lock().take() {
            upkeep.abort();
        }
    }
}

/// Sweeps and saves until the store is gone.
async fn upkeep(inner: Weak<Inner>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since_save = Duration::ZERO;
    loop {
        tick.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let now = inner.now();
        for shard in &inner.shards {
            // In small steps: whoever uses the shard meanwhile waits microseconds.
            while shard.lock().sweep(now, 256) {
                tokio::task::yield_now().await;
            }
        }
        since_save += SWEEP_EVERY;
        if since_save >= inner.config.snapshot_every {
            since_save = Duration::ZERO;
            // A failure is logged where it happens, and tried again after the next interval.
            drop(save(inner).await);
        }
    }
}

async fn save(inner: Arc<Inner>) -> Result<()> {
    let writing = tokio::task::spawn_blocking(move || inner.save_blocking());
    writing.await.map_err(|_| closed())?
}

fn closed() -> Error {
    codes::KV_UNAVAILABLE.error("the store is closed")
}

impl Inner {
    fn new(config: MemoryConfig, saved: Vec<snapshot::Saved>) -> Self {
        let count = (config.bytes / LEAST_SHARD).clamp(1, MOST_SHARDS);
        let room = config.bytes / count;
        let now = u64::try_from(config.clock.now_micros()).unwrap_or_default();
        let last = saved.iter().map(|entry| entry.version).max().unwrap_or_default();
        let inner = Self {
            shards: (0..count).map(|_| Mutex::new(Shard::new(room))).collect(),
            hasher: RandomState::new(),
            // Beyond any version of a run before this one, also of keys that were not saved.
            version: AtomicU64::new(now.max(last)),
            latest: AtomicU64::new(now),
            changed: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            config,
            writing: Mutex::new(()),
        };
        for entry in saved {
            if entry.expires_at.is_some_and(|at| at <= now) {
                continue;
            }
            let mut shard = inner.shard(&entry.key);
            let put = shard.put(&entry.key, entry.content, entry.version, entry.expires_at, now);
            if put.is_err() {
                tracing::warn!("the store is smaller than its snapshot: keys are left out");
                break;
            }
        }
        inner
    }

    fn now(&self) -> u64 {
        let now = u64::try_from(self.config.clock.now_micros()).unwrap_or_default();
        self.latest.fetch_max(now, Ordering::AcqRel).max(now)
    }

    fn next_version(&self) -> u64 {
        self.changed.store(true, Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    fn index(&self, key: &str) -> usize {
        let count = self.shards.len() as u64;
        usize::try_from(self.hasher.hash_one(key) % count).unwrap_or_default()
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        self.shards[self.index(key)].lock()
    }

    /// Locks the shards of some keys, always in the same order.
    fn lock<'k>(&self, keys: impl Iterator<Item = &'k str>) -> Locked<'_> {
        let mut shards: BTreeMap<usize, Option<MutexGuard<'_, Shard>>> =
            keys.map(|key| (self.index(key), None)).collect();
        for (index, shard) in &mut shards {
            *shard = Some(self.shards[*index].lock());
        }
        Locked { inner: self, shards }
    }

    fn save_blocking(&self) -> Result<()> {
        let Some(path) = &self.config.snapshot else { return Ok(()) };
        let _writing = self.writing.lock();
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let entries: Vec<_> = {
            // All at once, so that what was written together is saved together. Values are
            // shared and not copied.
            let shards: Vec<_> = self.shards.iter().map(Mutex::lock).collect();
            let slots = shards.iter().flat_map(|shard| shard.slots());
            slots.map(|(key, slot)| snapshot::Saved::of(key, slot)).collect()
        };
        snapshot::write(path, &entries).map_err(|error| {
            self.changed.store(true, Ordering::Release);
            tracing::error!(path = %path.display(), %error, "the snapshot cannot be written");
            codes::KV_UNAVAILABLE.error("the store's snapshot cannot be written")
        })
    }
}

/// Some shards, locked.
struct Locked<'a> {
    inner: &'a Inner,
    shards: BTreeMap<usize, Option<MutexGuard<'a, Shard>>>,
}

impl Locked<'_> {
    fn shard(&mut self, key: &str) -> Result<&mut Shard> {
        let index = self.inner.index(key);
        self.shards.get_mut(&index).and_then(Option::as_deref_mut).ok_or_else(closed)
    }
}

/// When a key with this time to live expires.
fn expires(now: u64, ttl: Option<Duration>) -> Result<Option<u64>> {
    check_ttl(ttl)?;
    let micros = |ttl: Duration| u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
    Ok(ttl.map(|ttl| now.saturating_add(micros(ttl))))
}

fn entry(slot: Option<&Slot>, now: u64) -> Result<Option<Entry>> {
    let Some(slot) = slot else { return Ok(None) };
    let Content::Value(value) = &slot.content else { return Err(wrong_kind()) };
    Ok(Some(Entry {
        value: value.clone(),
        version: slot.version,
        expires_in: slot.expires_at.map(|at| Duration::from_micros(at.saturating_sub(now))),
    }))
}

/// The counter in a slot; absent counts as 0.
fn counter(slot: Option<&Slot>) -> Result<i64> {
    match slot.map(|slot| &slot.content) {
        None => Ok(0),
        Some(Content::Counter(count)) => Ok(*count),
        Some(_) => Err(wrong_kind()),
    }
}

fn writable(slot: Option<&Slot>) -> Result<()> {
    match slot.map(|slot| &slot.content) {
        None | Some(Content::Value(_)) => Ok(()),
        Some(_) => Err(wrong_kind()),
    }
}

fn add(count: i64, delta: i64) -> Result<i64> {
    count.checked_add(delta).ok_or_else(|| codes::KV_OVERFLOW.error("the counter would overflow"))
}

fn mismatch() -> Error {
    codes::KV_CAS_MISMATCH.error("the key is not at the expected version")
}

#[async_trait]
impl KeyValue for Memory {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        check_key(key)?;
        self.inner.open()?;
        let now = self.inner.now();
        entry(self.inner.shard(key).get(key, now), now)
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>> {
        limited(keys.len(), 100, "keys")?;
        keys.iter().try_for_each(|key| check_key(key))?;
        self.inner.open()?;
        let now = self.inner.now();
        keys.iter().map(|key| entry(self.inner.shard(key).get(key, now), now)).collect()
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<u64> {
        check_key(key)?;
        check_value(&value)?;
        self.inner.open()?;
        let now = self.inner.now();
        let expires_at = expires(now, ttl)?;
        let mut shard = self.inner.shard(key);
        writable(shard.get(key, now))?;
        let version = self.inner.next_version();
        shard.put(key, Content::Value(value), version, expires_at, now)?;
        Ok(version)
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<u64> {
        check_key(key)?;
        check_value(&value)?;
        self.inner.open()?;
        let now = self.inner.now();
        let expires_at = expires(now, ttl)?;
        let mut shard = self.inner.shard(key);
        let slot = shard.get(key, now);
        writable(slot)?;
        if slot.map(|slot| slot.version) != expected {
            return Err(mismatch());
        }
        let version = self.inner.next_version();
        shard.put(key, Content::Value(value), version, expires_at, now)?;
        Ok(version)
    }

    async fn delete(&self, key: &str) -> Result<bool> {
        check_key(key)?;
        self.inner.open()?;
        let now = self.inner.now();
        let mut shard = self.inner.shard(key);
        self.inner.changed.store(true, Ordering::Relaxed);
        Ok(shard.get(key, now).is_some() && shard.remove(key))
    }

    async fn increment(&self, key: &str, delta: i64, ttl: Option<Duration>) -> Result<i64> {
        check_key(key)?;
        self.inner.open()?;
        let now = self.inner.now();
        let expires_at = expires(now, ttl)?;
        let mut shard = self.inner.shard(key);
        let slot = shard.get(key, now);
        let sum = add(counter(slot)?, delta)?;
        let expires_at = slot.map_or(expires_at, |slot| slot.expires_at);
        let version = self.inner.next_version();
        shard.put(key, Content::Counter(sum), version, expires_at, now)?;
        Ok(sum)
    }

    async fn expire(&self, key: &str, ttl: Option<Duration>) -> Result<bool> {
        check_key(key)?;
        self.inner.open()?;
        let now = self.inner.now();
        let expires_at = expires(now, ttl)?;
        let mut shard = self.inner.shard(key);
        if shard.get(key, now).is_none() {
            return Ok(false);
        }
        self.inner.changed.store(true, Ordering::Relaxed);
        shard.expire_at(key, expires_at);
        Ok(true)
    }

    async fn atomic(
        &self,
        checks: &[(String, Option<u64>)],
        mutations: Vec<Mutation>,
    ) -> Result<()> {
        limited(checks.len() + mutations.len(), 50, "checks and writes")?;
        checks.iter().try_for_each(|(key, _)| check_key(key))?;
        for mutation in &mutations {
            check_key(mutation.key())?;
            if let Mutation::Set { value, .. } = mutation {
                check_value(value)?;
            }
        }
        self.inner.open()?;
        let now = self.inner.now();
        let keys = checks.iter().map(|(key, _)| key.as_str());
        let mut locked = self.inner.lock(keys.chain(mutations.iter().map(Mutation::key)));
        for (key, expected) in checks {
            if locked.shard(key)?.get(key, now).map(|slot| slot.version) != *expected {
                return Err(mismatch());
            }
        }
        // What every key comes to, before any is written: a failure leaves all as they were.
        let mut planned: BTreeMap<String, Option<(Content, Option<u64>)>> = BTreeMap::new();
        for mutation in mutations {
            let key = mutation.key().to_owned();
            let before = match planned.remove(&key) {
                Some(planned) => planned,
                None => locked
                    .shard(&key)?
                    .get(&key, now)
                    .map(|slot| (slot.content.clone(), slot.expires_at)),
            };
            let after = match mutation {
                Mutation::Delete { .. } => None,
                Mutation::Set { value, ttl, .. } => match before {
                    None | Some((Content::Value(_), _)) => {
                        Some((Content::Value(value), expires(now, ttl)?))
                    }
                    Some(_) => return Err(wrong_kind()),
                },
                Mutation::Add { delta, ttl, .. } => match before {
                    None => Some((Content::Counter(delta), expires(now, ttl)?)),
                    Some((Content::Counter(count), expires_at)) => {
                        Some((Content::Counter(add(count, delta)?), expires_at))
                    }
                    Some(_) => return Err(wrong_kind()),
                },
            };
            planned.insert(key, after);
        }
        self.write_all(&mut locked, planned, now)
    }

    async fn take(&self, buckets: &[Bucket]) -> Result<Vec<Verdict>> {
        limited(buckets.len(), 16, "buckets")?;
        buckets.iter().try_for_each(check_bucket)?;
        self.inner.open()?;
        let mut locked = self.inner.lock(buckets.iter().map(|bucket| bucket.key.as_str()));
        // After the locks: of two takers, the one that comes second also sees the later time.
        let now = self.inner.now();
        let mut states: BTreeMap<&str, (limit::State, u64)> = BTreeMap::new();
        let mut taken = Vec::with_capacity(buckets.len());
        let mut untouched = Vec::with_capacity(buckets.len());
        for bucket in buckets {
            let remembered = match states.get(bucket.key.as_str()) {
                Some((state, _)) => Some(*state),
                None => remembered(locked.shard(&bucket.key)?.get(&bucket.key, now))?,
            };
            if remembered.is_some_and(|state| state.algorithm() != bucket.algorithm) {
                return Err(wrong_kind());
            }
            let look = limit::State::look(remembered, bucket, now);
            untouched.push(look.untouched);
            if let Some((verdict, state)) = look.taken {
                states.insert(&bucket.key, (state, state.forgotten_at(bucket, now)));
                taken.push(verdict);
            }
        }
        if taken.len() < buckets.len() {
            return Ok(untouched);
        }
        let charged = |key: &str| buckets.iter().any(|bucket| bucket.key == key && bucket.cost > 0);
        let written =
            states.into_iter().filter(|(key, _)| charged(key)).map(|(key, (state, until))| {
                (String::from(key), Some((Content::Limit(state), Some(until))))
            });
        self.write_all(&mut locked, written.collect(), now)?;
        Ok(taken)
    }

    async fn refund(&self, key: &str, algorithm: Algorithm, units: u64) -> Result<()> {
        check_key(key)?;
        self.inner.open()?;
        let now = self.inner.now();
        let mut shard = self.inner.shard(key);
        let slot = shard.get(key, now);
        let expires_at = slot.and_then(|slot| slot.expires_at);
        let Some(state) = remembered(slot)? else { return Ok(()) };
        if state.algorithm() != algorithm {
            return Err(wrong_kind());
        }
        let version = self.inner.next_version();
        shard.put(key, Content::Limit(state.refund(units)), version, expires_at, now)
    }

    async fn push(&self, key: &str, values: Vec<Bytes>) -> Result<u64> {
        check_key(key)?;
        values.iter().try_for_each(|value| check_value(value))?;
        self.inner.open()?;
        let now = self.inner.now();
        let mut shard = self.inner.shard(key);
        let length = list(shard.get(key, now))?.map_or(0, std::collections::VecDeque::len);
        if length + values.len() > LIST_LENGTH {
            return Err(codes::KV_FULL.error("a list has at most 100 000 values"));
        }
        if values.is_empty() {
            return Ok(length as u64);
        }
        let version = self.inner.next_version();
        if length > 0 {
            return shard.append(key, values, version, now).map(|length| length as u64);
        }
        let length = values.len() as u64;
        shard.put(key, Content::List(values.into()), version, None, now)?;
        Ok(length)
    }

    async fn pop(&self, key: &str, max: u32) -> Result<Vec<Bytes>> {
        check_key(key)?;
        limited(max as usize, 1_000, "values")?;
        self.inner.open()?;
        let now = self.inner.now();
        let mut shard = self.inner.shard(key);
        if list(shard.get(key, now))?.is_none() || max == 0 {
            return Ok(Vec::new());
        }
        let version = self.inner.next_version();
        shard.take(key, max as usize, version)
    }

    async fn range(&self, key: &str, start: u64, max: u32) -> Result<Vec<Bytes>> {
        check_key(key)?;
        limited(max as usize, 1_000, "values")?;
        self.inner.open()?;
        let now = self.inner.now();
        let mut shard = self.inner.shard(key);
        let Some(values) = list(shard.get(key, now))? else { return Ok(Vec::new()) };
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(values.len());
        Ok(values.range(start..).take(max as usize).cloned().collect())
    }

    async fn scan(&self, prefix: &str, after: Option<&str>, max: u32) -> Result<Vec<String>> {
        limited(max as usize, 1_000, "keys")?;
        self.inner.open()?;
        let now = self.inner.now();
        let mut keys = Vec::new();
        for shard in &self.inner.shards {
            keys.extend(shard.lock().keys(prefix, after, max as usize, now));
        }
        keys.sort_unstable();
        keys.truncate(max as usize);
        Ok(keys.iter().map(|key| key.to_string()).collect())
    }

    async fn close(&self) -> Result<()> {
        if self.inner.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        if let Some(upkeep) = self.upkeep.lock().take() {
            upkeep.abort();
        }
        self.save().await
    }
}

impl Memory {
    /// Writes what was planned for keys whose shards are locked: all, or on `kv.full` nothing.
    fn write_all(
        &self,
        locked: &mut Locked<'_>,
        planned: BTreeMap<String, Option<(Content, Option<u64>)>>,
        now: u64,
    ) -> Result<()> {
        let mut undo: Vec<(String, Option<Slot>)> = Vec::with_capacity(planned.len());
        for (key, after) in planned {
            let shard = locked.shard(&key)?;
            let before = shard.get(&key, now).cloned();
            let version = self.inner.next_version();
            let written = match after {
                None => {
                    shard.remove(&key);
                    Ok(())
                }
                Some((content, expires_at)) => shard.put(&key, content, version, expires_at, now),
            };
            if let Err(full) = written {
                for (key, before) in undo.into_iter().rev() {
                    restore(locked, &key, before, now);
                }
                return Err(full);
            }
            undo.push((key, before));
        }
        Ok(())
    }
}

/// Puts back what was there. There is room: it was there a moment ago.
fn restore(locked: &mut Locked<'_>, key: &str, before: Option<Slot>, now: u64) {
    let Ok(shard) = locked.shard(key) else { return };
    shard.remove(key);
    if let Some(slot) = before {
        let put = shard.put(key, slot.content, slot.version, slot.expires_at, now);
        if put.is_err() {
            tracing::warn!("a full store forgot a key");
        }
    }
}

fn remembered(slot: Option<&Slot>) -> Result<Option<limit::State>> {
    match slot.map(|slot| &slot.content) {
        None => Ok(None),
        Some(Content::Limit(state)) => Ok(Some(*state)),
        Some(_) => Err(wrong_kind()),
    }
}

fn list(slot: Option<&Slot>) -> Result<Option<&std::collections::VecDeque<Bytes>>> {
    match slot.map(|slot| &slot.content) {
        None => Ok(None),
        Some(Content::List(values)) => Ok(Some(values)),
        Some(_) => Err(wrong_kind()),
    }
}

#[cfg(test)]
mod tests;
