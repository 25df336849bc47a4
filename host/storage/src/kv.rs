//! Keys and values with expiry; mirrors `wit/storage/kv.wit`, which has units and limits.
//!
//! Keys arrive scoped by the caller (`<service>/<tenant>/<key>`).

pub mod memory;

use std::time::Duration;

use airhost_core::{Result, codes};
use async_trait::async_trait;
use bytes::Bytes;

pub use memory::{Memory, MemoryConfig};

/// Longest key with what the host puts before it, in bytes. The glue to a guest holds the guest's
/// part to 512.
pub const KEY_LENGTH: usize = 1_024;
/// Largest value, in bytes.
pub const VALUE_LENGTH: usize = 1 << 20;
/// Longest list.
pub const LIST_LENGTH: usize = 100_000;
/// Longest time to live or period.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Changes with every write.
    pub version: u64,
    /// Until it expires.
    pub expires_in: Option<Duration>,
}

/// How a bucket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Refills continuously.
    TokenBucket,
    /// Generic cell rate algorithm.
    Gcra,
    /// Two fixed windows, weighted.
    SlidingWindow,
    /// Aligned windows.
    FixedWindow,
}

/// One limit of a [`KeyValue::take`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// What is counted.
    pub key: String,
    /// How.
    pub algorithm: Algorithm,
    /// Most units at once or in a period.
    pub capacity: u64,
    /// Units that come back each period.
    pub refill: u64,
    /// The period.
    pub period: Duration,
    /// Units to take; 0 peeks.
    pub cost: u64,
}

/// What became of one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It had room.
    pub allowed: bool,
    /// Units left.
    pub remaining: u64,
    /// Until the cost would fit.
    pub retry_after: Duration,
    /// Until it is full or its window ends.
    pub reset: Duration,
}

/// One write of an [`KeyValue::atomic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Sets a value.
    Set {
        /// Its key.
        key: String,
        /// The value.
        value: Bytes,
        /// Time to live.
        ttl: Option<Duration>,
    },
    /// Removes a key.
    Delete {
        /// Its key.
        key: String,
    },
    /// Adds to a counter.
    Add {
        /// Its key.
        key: String,
        /// The amount.
        delta: i64,
        /// Time to live of a new counter.
        ttl: Option<Duration>,
    },
}

impl Mutation {
    /// The key it writes.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Set { key, .. } | Self::Delete { key } | Self::Add { key, .. } => key,
        }
    }
}

/// A key-value store.
#[async_trait]
pub trait KeyValue: Send + Sync {
    /// The value of a key.
    async fn get(&self, key: &str) -> Result<Option<Entry>>;
    /// The values of keys, in order.
    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>>;
    /// Writes; answers the new version.
    async fn set(&self, key: &str, value: Bytes, ttl: Option<Duration>) -> Result<u64>;
    /// Writes if the key is at `expected`.
    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<u64>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<u64>;
    /// Removes; answers whether it was there.
    async fn delete(&self, key: &str) -> Result<bool>;
    /// Adds to a counter; answers the sum.
    async fn increment(&self, key: &str, delta: i64, ttl: Option<Duration>) -> Result<i64>;
    /// Changes the time to live; answers whether it was there.
    async fn expire(&self, key: &str, ttl: Option<Duration>) -> Result<bool>;
    /// All checks hold and all writes happen, or none.
    async fn atomic(
        &self,
        checks: &[(String, Option<u64>)],
        mutations: Vec<Mutation>,
    ) -> Result<()>;
    /// Takes from all buckets, or from none.
    async fn take(&self, buckets: &[Bucket]) -> Result<Vec<Verdict>>;
    /// Gives units back.
    async fn refund(&self, key: &str, algorithm: Algorithm, units: u64) -> Result<()>;
    /// Appends to a list; answers its length.
    async fn push(&self, key: &str, values: Vec<Bytes>) -> Result<u64>;
    /// Takes from the front of a list.
    async fn pop(&self, key: &str, max: u32) -> Result<Vec<Bytes>>;
    /// Reads a part of a list.
    async fn range(&self, key: &str, start: u64, max: u32) -> Result<Vec<Bytes>>;
    /// Keys with a prefix, in byte order.
    async fn scan(&self, prefix: &str, after: Option<&str>, max: u32) -> Result<Vec<String>>;
    /// Writes what must survive a restart, and closes.
    async fn close(&self) -> Result<()>;
}

// The limits of the contract, the same for every engine.

fn check_key(key: &str) -> Result<()> {
    if (1..=KEY_LENGTH).contains(&key.len()) {
        Ok(())
    } else {
        Err(codes::KV_KEY.error("a key is 1 to 512 bytes"))
    }
}

fn check_value(value: &[u8]) -> Result<()> {
    if value.len() <= VALUE_LENGTH {
        Ok(())
    } else {
        Err(codes::KV_VALUE_TOO_LARGE.error("a value is at most 1 MiB"))
    }
}

fn check_ttl(ttl: Option<Duration>) -> Result<()> {
    match ttl {
        Some(ttl) if ttl < Duration::from_millis(1) || ttl > LONGEST => {
            Err(codes::KV_LIMIT.error("a time to live is 1 ms to 1 year"))
        }
        _ => Ok(()),
    }
}

fn limited(count: usize, most: usize, what: &str) -> Result<()> {
    if count <= most {
        Ok(())
    } else {
        Err(codes::KV_LIMIT.error(format!("at most {most} {what} a call")))
    }
}

/// A bucket within its limits: also one whose cost could fit at all.
fn check_bucket(bucket: &Bucket) -> Result<()> {
    check_key(&bucket.key)?;
    let refills = matches!(bucket.algorithm, Algorithm::TokenBucket | Algorithm::Gcra);
    let wrong = if bucket.capacity == 0 || (refills && bucket.refill == 0) {
        "the capacity and the refill of a bucket are 1 or more"
    } else if bucket.period < Duration::from_millis(1) || bucket.period > LONGEST {
        "the period of a bucket is 1 ms to 1 year"
    } else if bucket.cost > bucket.capacity {
        "a cost above the capacity would never fit"
    } else {
        return Ok(());
    };
    Err(codes::KV_LIMIT.error(wrong))
}
