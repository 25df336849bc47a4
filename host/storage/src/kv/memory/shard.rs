//! A part of the keys, under one lock.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use airhost_core::{Result, codes};
use bytes::Bytes;

use super::limit;

/// What a key holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Value(Bytes),
    Counter(i64),
    List(VecDeque<Bytes>),
    Limit(limit::State),
}

/// A key's content and what goes with it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) content: Content,
    pub(super) version: u64,
    /// Microseconds since the epoch; none until evicted.
    pub(super) expires_at: Option<u64>,
    /// When it was last used, in uses of the shard.
    used: u64,
}

/// Memory that a key takes beside its bytes: the maps' nodes, the slot, the shared pointers.
const OVERHEAD: usize = 160;
/// The same for a value of a list.
const LIST_OVERHEAD: usize = 32;

impl Slot {
    fn size(&self, key: &str) -> usize {
        let content = match &self.content {
            Content::Value(value) => value.len(),
            Content::Counter(_) => 0,
            Content::List(values) => values.iter().map(|value| value.len() + LIST_OVERHEAD).sum(),
            Content::Limit(_) => size_of::<limit::State>(),
        };
        key.len() + content + OVERHEAD
    }

    /// Whether it may be forgotten to make room: queues and limits are not, because what they
    /// stand for would be lost or admitted twice.
    fn evictable(&self) -> bool {
        matches!(self.content, Content::Value(_) | Content::Counter(_))
    }
}

/// Some of the keys.
#[derive(Debug)]
pub(super) struct Shard {
    slots: BTreeMap<Arc<str>, Slot>,
    /// Keys by when they expire.
    expiries: BTreeSet<(u64, Arc<str>)>,
    size: usize,
    /// Most bytes.
    room: usize,
    uses: u64,
}

impl Shard {
    pub(super) fn new(room: usize) -> Self {
        Self { slots: BTreeMap::new(), expiries: BTreeSet::new(), size: 0, room, uses: 0 }
    }

    /// The slot of a key that has not expired.
    pub(super) fn get(&mut self, key: &str, now: u64) -> Option<&Slot> {
        self.expire_key(key, now);
        self.uses += 1;
        let slot = self.slots.get_mut(key)?;
        slot.used = self.uses;
        Some(slot)
    }

    /// Writes a slot, making room for it.
    ///
    /// # Errors
    /// `kv.full`, with nothing changed, when there is no room even without what may be evicted.
    pub(super) fn put(
        &mut self,
        key: &str,
        content: Content,
        version: u64,
        expires_at: Option<u64>,
        now: u64,
    ) -> Result<()> {
        self.uses += 1;
        let slot = Slot { content, version, expires_at, used: self.uses };
        let old = self.slots.get(key).map_or(0, |old| old.size(key));
        let size = slot.size(key);
        self.make_room(key, size.saturating_sub(old), now)?;
        self.remove(key);
        let key: Arc<str> = key.into();
        if let Some(at) = expires_at {
            self.expiries.insert((at, Arc::clone(&key)));
        }
        self.size += size;
        self.slots.insert(key, slot);
        Ok(())
    }

    /// Appends to a list that is there; answers its length.
    pub(super) fn append(
        &mut self,
        key: &str,
        values: Vec<Bytes>,
        version: u64,
        now: u64,
    ) -> Result<usize> {
        let grows: usize = values.iter().map(|value| value.len() + LIST_OVERHEAD).sum();
        self.make_room(key, grows, now)?;
        let (slot, list) = self.list(key)?;
        list.extend(values);
        let length = list.len();
        *slot = version;
        self.size += grows;
        Ok(length)
    }

    /// Takes up to `max` values from the front of a list that is there; an empty one is removed.
    pub(super) fn take(&mut self, key: &str, max: usize, version: u64) -> Result<Vec<Bytes>> {
        let (slot, list) = self.list(key)?;
        let taken: Vec<Bytes> = list.drain(..max.min(list.len())).collect();
        let empty = list.is_empty();
        *slot = version;
        self.size -= taken.iter().map(|value| value.len() + LIST_OVERHEAD).sum::<usize>();
        if empty {
            self.remove(key);
        }
        Ok(taken)
    }

    /// A list's version and values, to be changed in place: a long one is not copied.
    fn list(&mut self, key: &str) -> Result<(&mut u64, &mut VecDeque<Bytes>)> {
        match self.slots.get_mut(key) {
            Some(Slot { content: Content::List(values), version, .. }) => Ok((version, values)),
            _ => Err(wrong_kind()),
        }
    }

    /// Gives a slot a new moment to expire.
    pub(super) fn expire_at(&mut self, key: &str, expires_at: Option<u64>) {
        let Some((key, slot)) = self.slots.get_key_value(key) else { return };
        let key = Arc::clone(key);
        if let Some(old) = slot.expires_at {
            self.expiries.remove(&(old, Arc::clone(&key)));
        }
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.expires_at = expires_at;
        }
        if let Some(at) = expires_at {
            self.expiries.insert((at, key));
        }
    }

    /// Removes a key; answers whether it was there.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let Some((key, slot)) = self.slots.remove_entry(key) else { return false };
        self.size = self.size.saturating_sub(slot.size(&key));
        if let Some(at) = slot.expires_at {
            self.expiries.remove(&(at, key));
        }
        true
    }

    /// Removes what has expired, at most `most` keys; answers whether there may be more.
    pub(super) fn sweep(&mut self, now: u64, most: usize) -> bool {
        for _ in 0..most {
            match self.expiries.first() {
                Some((at, key)) if *at <= now => {
                    let key = Arc::clone(key);
                    self.remove(&key);
                }
                _ => return false,
            }
        }
        true
    }

    /// Keys that begin with `prefix`, after `after`, in byte order.
    pub(super) fn keys(
        &self,
        prefix: &str,
        after: Option<&str>,
        max: usize,
        now: u64,
    ) -> Vec<Arc<str>> {
        use std::ops::Bound;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.slots
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, slot)| slot.expires_at.is_none_or(|at| at > now))
            .map(|(key, _)| Arc::clone(key))
            .take(max)
            .collect()
    }

    /// Every key and its slot.
    pub(super) fn slots(&self) -> impl Iterator<Item = (&Arc<str>, &Slot)> {
        self.slots.iter()
    }

    /// Bytes taken.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn expire_key(&mut self, key: &str, now: u64) {
        if self.slots.get(key).and_then(|slot| slot.expires_at).is_some_and(|at| at <= now) {
            self.remove(key);
        }
    }

    /// Makes room for `more` bytes at `keep`: what has expired goes first, then what expires
    /// next, then what has not been used for longest.
    fn make_room(&mut self, keep: &str, more: usize, now: u64) -> Result<()> {
        if self.size + more <= self.room {
            return Ok(());
        }
        while self.sweep(now, 1_000) {}
        let mut candidates: Vec<(bool, u64, Arc<str>, usize)> = Vec::new();
        if self.size + more > self.room {
            candidates = self
                .slots
                .iter()
                .filter(|(key, slot)| slot.evictable() && &***key != keep)
                .map(|(key, slot)| {
                    let rank = slot.expires_at.unwrap_or(slot.used);
                    (slot.expires_at.is_none(), rank, Arc::clone(key), slot.size(key))
                })
                .collect();
        }
        let most: usize = candidates.iter().map(|(.., size)| size).sum();
        if (self.size + more).saturating_sub(most) > self.room {
            return Err(codes::KV_FULL.error("the store has no room left"));
        }
        // A little more than needed, because finding the candidates looks at every key.
        let target = (self.room - self.room / 16).saturating_sub(more);
        candidates.sort_unstable();
        for (_, _, key, _) in candidates {
            if self.size <= target {
                break;
            }
            self.remove(&key);
        }
        Ok(())
    }
}

pub(super) fn wrong_kind() -> airhost_core::Error {
    codes::KV_TYPE.error("the key holds another kind of value")
}
