//! The node-local cache of a service, shared by its instances and lost at will.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use airhost_core::{Result, ServiceName, Tenant, codes};
use bytes::Bytes;
use moka::{Expiry, notification::RemovalCause, sync::Cache as Moka};
use parking_lot::Mutex;

/// Largest entry, in bytes.
const MAX_ENTRY: usize = 256 * 1024;
/// Longest time to live.
const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// What an entry costs beside its key, value and tags, in bytes.
const OVERHEAD: usize = 128;
/// Most tags of an entry.
const MAX_TAGS: usize = 32;

/// Tells the other nodes to drop what carries a tag.
pub trait CacheBroadcast: Send + Sync {
    /// Sends it and does not wait.
    fn drop_tag(&self, service: &ServiceName, tag: &str);
}

/// Who shares an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CacheScope {
    Shared,
    /// A call without a tenant has a scope of its own.
    Tenant(Option<Tenant>),
}

type Key = (CacheScope, String);

#[derive(Clone)]
struct Entry {
    value: Bytes,
    ttl: Duration,
    tags: Arc<[String]>,
}

struct ByTtl;

impl Expiry<Key, Entry> for ByTtl {
    fn expire_after_create(
        &self,
        _: &Key,
        entry: &Entry,
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Entry,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

/// The keys that carry a tag.
type Tagged = Arc<Mutex<HashMap<String, HashSet<Key>>>>;

/// The cache of one generation of a service.
pub(crate) struct Cache {
    entries: Moka<Key, Entry>,
    tagged: Tagged,
    capacity: u64,
}

impl Cache {
    /// A cache of so many bytes.
    pub(crate) fn new(capacity: u64) -> Self {
        let tagged = Tagged::default();
        let untag = Arc::clone(&tagged);
        let entries = Moka::builder()
            .max_capacity(capacity)
            .weigher(|(_, key): &Key, entry: &Entry| {
                let tags: usize = entry.tags.iter().map(String::len).sum();
                u32::try_from(key.len() * 2 + entry.value.len() + tags * 2 + OVERHEAD)
                    .unwrap_or(u32::MAX)
            })
            .expire_after(ByTtl)
            .eviction_listener(move |key: Arc<Key>, entry: Entry, cause| {
                // A replaced entry's tags are taken care of by who replaced it.
                if cause == RemovalCause::Replaced || entry.tags.is_empty() {
                    return;
                }
                let mut tagged = untag.lock();
                for tag in entry.tags.iter() {
                    if let Some(keys) = tagged.get_mut(tag) {
                        keys.remove(&*key);
                        if keys.is_empty() {
                            tagged.remove(tag);
                        }
                    }
                }
            })
            .build();
        Self { entries, tagged, capacity }
    }

    pub(crate) fn get(&self, scope: CacheScope, key: String) -> Option<Bytes> {
        self.entries.get(&(scope, key)).map(|entry| entry.value)
    }

    pub(crate) fn put(
        &self,
        scope: CacheScope,
        key: String,
        value: Bytes,
        ttl: Duration,
        tags: Vec<String>,
    ) -> Result<()> {
        let size = key.len() + value.len() + tags.iter().map(String::len).sum::<usize>();
        if size > MAX_ENTRY || size as u64 > self.capacity || tags.len() > MAX_TAGS {
            return Err(codes::CACHE_TOO_LARGE.error(
                "the entry is larger than 256 KiB or than limits.cache, or has over 32 tags",
            ));
        }
        let ttl = ttl.clamp(Duration::from_millis(1), MAX_TTL);
        let key = (scope, key);
        if !tags.is_empty() {
            let mut tagged = self.tagged.lock();
            for tag in &tags {
                tagged.entry(tag.clone()).or_default().insert(key.clone());
            }
        }
        self.entries.insert(key, Entry { value, ttl, tags: tags.into() });
        Ok(())
    }

    pub(crate) fn delete(&self, scope: CacheScope, key: String) {
        self.entries.invalidate(&(scope, key));
    }

    pub(crate) fn drop_tag(&self, tag: &str) {
        let keys = self.tagged.lock().remove(tag).unwrap_or_default();
        for key in keys {
            // The key may have been put again without the tag.
            if self
                .entries
                .get(&key)
                .is_some_and(|entry| entry.tags.iter().any(|other| other == tag))
            {
                self.entries.invalidate(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> CacheScope {
        CacheScope::Tenant(Some(Tenant::new(name)))
    }

    fn put(cache: &Cache, scope: CacheScope, key: &str, tags: &[&str]) {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        cache
            .put(scope, key.to_owned(), Bytes::from_static(b"v"), Duration::from_secs(60), tags)
            .unwrap();
    }

    #[test]
    fn tenants_do_not_see_each_others_entries() {
        let cache = Cache::new(1 << 20);
        put(&cache, tenant("a"), "k", &[]);
        assert!(cache.get(tenant("a"), "k".to_owned()).is_some());
        for other in [tenant("b"), CacheScope::Tenant(None), CacheScope::Shared] {
            assert!(cache.get(other, "k".to_owned()).is_none());
        }
    }

    #[test]
    fn a_tag_drops_what_carries_it_now() {
        let cache = Cache::new(1 << 20);
        put(&cache, CacheScope::Shared, "one", &["x", "y"]);
        put(&cache, CacheScope::Shared, "two", &["x"]);
        put(&cache, CacheScope::Shared, "two", &["z"]);
        cache.drop_tag("x");
        assert!(cache.get(CacheScope::Shared, "one".to_owned()).is_none());
        assert!(cache.get(CacheScope::Shared, "two".to_owned()).is_some());
        cache.drop_tag("z");
        assert!(cache.get(CacheScope::Shared, "two".to_owned()).is_none());
        cache.entries.run_pending_tasks();
        assert!(cache.tagged.lock().is_empty());
    }

    #[test]
    fn large_entries_are_refused() {
        let cache = Cache::new(1 << 20);
        let error = cache
            .put(
                CacheScope::Shared,
                "k".to_owned(),
                vec![0; MAX_ENTRY].into(),
                Duration::from_secs(1),
                Vec::new(),
            )
            .unwrap_err();
        assert_eq!(error.code, "cache.too-large");
    }
}
