//! The way from publishers to consumers: one contract, an engine behind it.

mod log;

use std::sync::Arc;

use airhost_core::Result;
use async_trait::async_trait;

pub use self::log::{Log, LogConfig};
use crate::Envelope;

/// An event with its place in the bus.
#[derive(Clone, Debug)]
pub struct Record {
    /// Ascending within a topic; order of one topic and subject is the order of appending.
    pub position: u64,
    /// The event.
    pub event: Arc<Envelope>,
}

/// How much a fetch takes at most. One event is taken whatever its size.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimit {
    /// Events.
    pub events: usize,
    /// Bytes of their envelopes together.
    pub bytes: usize,
}

impl FetchLimit {
    /// What one delivery to a handler holds: 100 events or 1 MiB.
    pub const BATCH: Self = Self { events: 100, bytes: 1024 * 1024 };
}

/// What a topic holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub topic: String,
    /// Events retained.
    pub events: u64,
    /// Place of the oldest event retained; 0 where there is none.
    pub first: u64,
    /// Place of the newest event; 0 where there is none.
    pub last: u64,
}

/// How far a consumer group is with a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// The group's name: that of the consuming service.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Everything up to here is done.
    pub position: u64,
    /// Events behind it that wait.
    pub lag: u64,
}

/// The bus of a platform.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Appends events in order; durable when it returns. An id that is there already is not
    /// appended again, so that a sender may repeat what it is not sure of.
    ///
    /// # Errors
    /// `events.unavailable`: nothing, or nothing that can be relied on, was appended.
    async fn append(&self, events: &[Arc<Envelope>]) -> Result<()>;

    /// Reads topics as a group, from behind what the group has committed; a group that is new to
    /// a topic begins with the oldest event retained. A group has one subscription at a time.
    ///
    /// # Errors
    /// `events.unavailable`.
    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>>;

    /// Forgets a group, so that nothing is retained for it any more.
    ///
    /// # Errors
    /// `events.unavailable`.
    async fn forget(&self, group: &str) -> Result<()>;

    /// All topics that were published to or subscribed, by name.
    ///
    /// # Errors
    /// `events.unavailable`.
    async fn topics(&self) -> Result<Vec<TopicInfo>>;

    /// All groups by name and topic.
    ///
    /// # Errors
    /// `events.unavailable`.
    async fn groups(&self) -> Result<Vec<GroupInfo>>;

    /// Events of some topics (none for all) after a place, oldest first, at most `max` (no more
    /// than 1 000); without a place the newest `max`. Reads only: no group moves.
    ///
    /// # Errors
    /// `events.unavailable`.
    async fn tail(&self, topics: &[String], after: Option<u64>, max: usize) -> Result<Vec<Record>>;
}

/// A group's reader.
#[async_trait]
pub trait Subscription: Send {
    /// The next events in order; waits until there is one. Dropping the future loses none.
    ///
    /// # Errors
    /// `events.unavailable`.
    async fn fetch(&mut self, limit: FetchLimit) -> Result<Vec<Record>>;

    /// Everything fetched so far is done and never fetched again.
    ///
    /// # Errors
    /// `events.unavailable`: it may be fetched again after a restart.
    async fn commit(&mut self) -> Result<()>;
}
