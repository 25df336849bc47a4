//! Consuming: batches in order for each key, an effect once, and a failing key that holds up
//! nobody but itself.
//!
//! An event goes from the bus to the handler and is done when the service's own transaction, in
//! which its id was recorded first, has committed; only then does the group's position in the bus
//! move. A crash at any point in between brings the event again, and its recorded id makes that a
//! repetition without effect. An event that fails alone is *parked* in the service's database with
//! the time of its next try, and everything of its key that comes after it is parked behind it, so
//! that the position can move on for all the others.

mod blocked;
mod control;
mod ledger;
mod settle;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use airhost_core::{Backoff, Clock, Deadline, Result, ServiceName};
use airhost_storage::sql::{Database, Value, sweep};
use tokio::time::Instant;

use self::blocked::Blocked;
pub use self::control::{ConsumerControl, ConsumerStatus};
use crate::{
    Bus, Deliver, Envelope,
    bus::{FetchLimit, Record},
};

/// How often an event is delivered where nothing fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Its effect in the service's database happens once.
    #[default]
    ExactlyOnce,
    /// Without a transaction, for handlers that call out: an event may be seen twice.
    AtLeastOnce,
}

/// How a topic is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRule {
    /// How often an event is delivered.
    pub mode: Mode,
    /// Failures of an event by itself, until it is given up; at least 1.
    pub max_attempts: u32,
}

/// How a consumer works.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// The topics and how they are consumed.
    pub topics: BTreeMap<String, TopicRule>,
    /// Waits between the tries of an event that failed by itself.
    pub backoff: Backoff,
    /// Waits while the bus, the database or the service cannot be used at all.
    pub pause: Backoff,
    /// Time for one delivery without a transaction. One with a transaction has the 5 s that a
    /// transaction may live.
    pub delivery: Duration,
    /// Time for one statement of the consumer itself.
    pub timeout: Duration,
    /// Ids of events are kept so long; longer than the bus keeps the events.
    pub inbox_retention: Duration,
    /// Dead letters are kept so long.
    pub dead_letter_retention: Duration,
    /// Stamps rows and says which tries are due.
    pub clock: Clock,
}

impl ConsumerConfig {
    /// The defaults of the platform for these topics.
    #[must_use]
    pub fn new(topics: BTreeMap<String, TopicRule>) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3_600);
        Self {
            topics,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(600)),
            pause: Backoff::new(Duration::from_millis(100), Duration::from_secs(30)),
            delivery: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            inbox_retention: DAY * 14,
            dead_letter_retention: DAY * 90,
            clock: Clock::system(),
        }
    }
}

/// What order is kept for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    topic: String,
    subject: String,
}

impl Key {
    fn of(event: &Envelope) -> Self {
        Self { topic: event.topic.clone(), subject: event.subject.clone() }
    }
}

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Bus,
    Parked,
}

/// An event that is to be delivered.
#[derive(Clone, Debug)]
struct Item {
    record: Record,
    key: Key,
    /// How often it has failed by itself.
    attempts: u32,
    origin: Origin,
}

impl Item {
    fn fetched(record: Record) -> Self {
        let key = Key::of(&record.event);
        Self { record, key, attempts: 0, origin: Origin::Bus }
    }
}

/// The consumer of one service. One runs at a time for a service.
pub struct Consumer {
    service: ServiceName,
    config: ConsumerConfig,
    database: Arc<dyn Database>,
    bus: Arc<dyn Bus>,
    handler: Arc<dyn Deliver>,
    control: ConsumerControl,
    blocked: Blocked,
}

impl Consumer {
    /// The consumer of a service; the control stops, pauses and shows it.
    #[must_use]
    pub fn new(
        service: ServiceName,
        config: ConsumerConfig,
        database: Arc<dyn Database>,
        bus: Arc<dyn Bus>,
        handler: Arc<dyn Deliver>,
    ) -> (Self, ConsumerControl) {
        let control = ConsumerControl::default();
        let blocked = Blocked::default();
        let consumer =
            Self { service, config, database, bus, handler, control: control.clone(), blocked };
        (consumer, control)
    }

    /// Consumes until it is told to stop. A batch that is under way is finished first; dropping
    /// the future rolls it back.
    pub async fn run(mut self) {
        let mut failures = 0_u32;
        while self.control.wait_until_active().await {
            match self.session(&mut failures).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    self.control.failed(&error);
                    tracing::warn!(service = %self.service, %error, failures, "the consumer cannot work now");
                    let wait = self.config.pause.after(failures);
                    self.control.interrupted_within(wait).await;
                }
            }
        }
    }

    /// Consumes until it is paused or stopped, or the bus or the database fails.
    async fn session(&mut self, failures: &mut u32) -> Result<()> {
        let topics: Vec<String> = self.config.topics.keys().cloned().collect();
        self.reload().await?;
        let mut subscription = self.bus.subscribe(self.service.as_str(), &topics).await?;
        let mut housekeeping = Instant::now();
        while self.control.is_active() {
            let due = self.blocked.next_due(self.config.clock.now_micros());
            let reading = self.blocked.has_room();
            tokio::select! {
                () = self.control.interrupted() => {}
                () = self.control.reload_wanted() => self.reload().await?,
                () = tokio::time::sleep_until(housekeeping) => {
                    self.remove_old().await?;
                    self.reload().await?;
                    housekeeping = Instant::now() + Duration::from_secs(600);
                }
                () = wait(due), if due.is_some() => self.retry_due().await?,
                fetched = subscription.fetch(FetchLimit::BATCH), if reading => {
                    let items = fetched?.into_iter().map(Item::fetched).collect();
                    if !self.settle(items).await? {
                        return Ok(());
                    }
                    subscription.commit().await?;
                }
            }
            *failures = 0;
        }
        Ok(())
    }

    /// Learns anew which keys wait; others may have put dead letters back.
    async fn reload(&mut self) -> Result<()> {
        self.blocked = Blocked::load(self.database.as_ref(), self.deadline()).await?;
        self.control.shows_blocked(&self.blocked);
        Ok(())
    }

    /// Tries one key whose time has come: its first event alone if that failed before, so that
    /// the others of the key are not tried in vain.
    async fn retry_due(&mut self) -> Result<()> {
        let Some(key) = self.blocked.due(self.config.clock.now_micros()) else {
            return Ok(());
        };
        let sql = "SELECT envelope, position, attempts FROM _airhost_parked
            WHERE topic = $1 AND subject = $2 ORDER BY position LIMIT 100";
        let params = vec![Value::Text(key.topic.clone()), Value::Text(key.subject.clone())];
        let rows = self.database.host_query(sql, params, self.deadline()).await?.rows;
        let mut items = Vec::with_capacity(rows.len());
        let mut bytes = 0;
        for row in rows {
            let item = ledger::parked_item(row)?;
            bytes += item.record.event.data.get().len();
            let failed_before = items.first().is_some_and(|first: &Item| first.attempts > 0);
            if !items.is_empty() && (failed_before || bytes > FetchLimit::BATCH.bytes) {
                break;
            }
            items.push(item);
        }
        self.settle(items).await?;
        self.blocked.refresh(self.database.as_ref(), &key, self.deadline()).await?;
        self.control.shows_blocked(&self.blocked);
        Ok(())
    }

    /// Removes ids and dead letters that were kept long enough.
    async fn remove_old(&self) -> Result<()> {
        let now = self.config.clock.now_micros();
        let config = &self.config;
        for (table, column, keep) in [
            ("_airhost_inbox", "received_at", config.inbox_retention),
            ("_airhost_dead_letters", "dead_at", config.dead_letter_retention),
        ] {
            let (database, deadline) = (self.database.as_ref(), self.deadline());
            sweep(database, table, "event_id", column, keep, now, deadline).await?;
        }
        Ok(())
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.config.timeout)
    }

    fn rule(&self, topic: &str) -> TopicRule {
        // A parked event of a topic that is not consumed any more is still delivered.
        let unlisted = TopicRule { mode: Mode::ExactlyOnce, max_attempts: 1 };
        self.config.topics.get(topic).copied().unwrap_or(unlisted)
    }
}

async fn wait(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("service", &self.service)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
