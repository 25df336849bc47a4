//! Publishing, consuming, and the event store.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Result, Tenant, Timestamp,
    bindings::{
        consumer::exports::pyairtable::events::consumer::{Delivery, Outcome},
        pyairtable::events::bus,
    },
    imports,
    service::Service,
    sql::Db,
};

pub use crate::bindings::pyairtable::events::store::{ExpectedVersion, RecordedEvent, Snapshot};

/// A type of event: its topic and payload. The payload fits the topic's schema in
/// `wit/events/schemas`.
///
/// ```
/// #[derive(serde::Serialize)]
/// struct UserRegistered { user_id: String }
/// impl sdk::events::Event for UserRegistered {
///     const TOPIC: &'static str = "user.registered";
///     fn subject(&self) -> String { self.user_id.clone() }
/// }
/// ```
pub trait Event: Serialize {
    /// The topic, listed in the manifest's `[events] out`.
    const TOPIC: &'static str;

    /// CloudEvents `subject`, and the key that order is kept for.
    fn subject(&self) -> String;
}

fn event_of(topic: &str, subject: &str, data: &(impl Serialize + ?Sized)) -> Result<bus::Event> {
    Ok(bus::Event {
        topic: topic.to_owned(),
        subject: subject.to_owned(),
        data: serde_json::to_string(data)
            .map_err(|error| Error::internal(format!("the event is not JSON: {error}")))?,
        attrs: Vec::new(),
    })
}

/// Publishes an event that belongs to no transaction; durable when this returns. Answers its id.
///
/// # Errors
/// `events.*`.
pub fn publish<E: Event>(event: &E) -> Result<String> {
    publish_as(E::TOPIC, &event.subject(), event)
}

/// Publishes to a topic that is known at run time only.
///
/// # Errors
/// `events.*`.
pub fn publish_as(topic: &str, subject: &str, data: &(impl Serialize + ?Sized)) -> Result<String> {
    Ok(imports::bus::publish(&event_of(topic, subject, data)?, None)?)
}

impl Db<'_> {
    /// Publishes an event: in a transaction if and only if that commits. Answers its id.
    ///
    /// # Errors
    /// `events.*`, `tx.closed`.
    pub fn publish<E: Event>(&self, event: &E) -> Result<String> {
        self.publish_as(E::TOPIC, &event.subject(), event)
    }

    /// Publishes to a topic that is known at run time only.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn publish_as(
        &self,
        topic: &str,
        subject: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Result<String> {
        Ok(imports::bus::publish(&event_of(topic, subject, data)?, self.handle())?)
    }

    /// Appends events to a stream of the event store, at most 500; answers the stream's version.
    ///
    /// # Errors
    /// `store.wrong-version` when another writer was first, `tx.closed`.
    pub fn append(
        &self,
        stream: &str,
        expected: ExpectedVersion,
        events: &[NewEvent],
    ) -> Result<u64> {
        let events: Vec<_> = events
            .iter()
            .map(|event| crate::bindings::pyairtable::events::store::NewEvent {
                id: event.id.to_string(),
                event_type: event.event_type.clone(),
                data: event.data.clone(),
                metadata: event.metadata.clone(),
            })
            .collect();
        Ok(imports::store::append(stream, expected, &events, self.handle())?)
    }

    /// Keeps the state of a stream at a version, so that it need not be read from the start.
    ///
    /// # Errors
    /// `tx.closed`.
    pub fn put_snapshot(&self, stream: &str, snapshot: &Snapshot) -> Result<()> {
        Ok(imports::store::put_snapshot(stream, snapshot, self.handle())?)
    }
}

/// An event to be appended to a stream of the event store.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// An append repeated with the same ids is answered as the first one was.
    pub id: crate::Uuid,
    /// What happened.
    pub event_type: String,
    /// JSON.
    pub data: String,
    /// JSON.
    pub metadata: String,
}

impl NewEvent {
    /// An event with a new id and no metadata.
    ///
    /// # Errors
    /// If the data cannot be written as JSON.
    pub fn new(event_type: &str, data: &(impl Serialize + ?Sized)) -> Result<Self> {
        Ok(Self {
            id: crate::Uuid::v7(),
            event_type: event_type.to_owned(),
            data: serde_json::to_string(data)
                .map_err(|error| Error::internal(format!("the event is not JSON: {error}")))?,
            metadata: "{}".to_owned(),
        })
    }
}

/// Events of a stream after a version, at most 1 000.
///
/// # Errors
/// `sql.unavailable`.
pub fn read(stream: &str, after: u64, max: u32) -> Result<Vec<RecordedEvent>> {
    Ok(imports::store::read(stream, after, max)?)
}

/// The newest events of a stream, newest first.
///
/// # Errors
/// `sql.unavailable`.
pub fn read_backwards(stream: &str, before: Option<u64>, max: u32) -> Result<Vec<RecordedEvent>> {
    Ok(imports::store::read_backwards(stream, before, max)?)
}

/// Events of all streams whose name begins with `category` and `-`, after a position.
///
/// # Errors
/// `sql.unavailable`.
pub fn read_category(category: &str, after: u64, max: u32) -> Result<Vec<RecordedEvent>> {
    Ok(imports::store::read_category(category, after, max)?)
}

/// The last snapshot of a stream.
///
/// # Errors
/// `sql.unavailable`.
pub fn snapshot(stream: &str) -> Result<Option<Snapshot>> {
    Ok(imports::store::get_snapshot(stream)?)
}

/// An event that was delivered, with its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Received<T> {
    /// UUIDv7; the same on every redelivery.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// SPIFFE id of the publishing service.
    pub source: String,
    /// What it is about.
    pub subject: String,
    /// When it happened.
    pub time: Timestamp,
    /// Whose it is.
    pub tenant: Option<Tenant>,
    /// Subject of the user that caused it.
    pub actor: Option<String>,
    /// Correlation of the request that caused it.
    pub correlation_id: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// Order within the subject.
    pub position: u64,
    /// The payload.
    pub data: T,
}

/// A row of the table of consumers, made by [`consumers!`](crate::consumers).
#[derive(Clone, Copy)]
pub struct Consumer {
    /// The topic.
    pub topic: &'static str,
    /// The handler.
    pub call: fn(Delivery, &Db<'_>) -> Result<()>,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.topic)
    }
}

/// A function that takes an event: `fn(Received<T>, &Db<'_>) -> Result<()>`, or without the
/// database. The database is the transaction that the host commits, for the event's tenant; with
/// `mode = "at-least-once"` it is none, and each statement stands for itself.
///
/// An error that may pass is tried again (after its `Retry-After`, if it has one); any other, and
/// a payload that does not fit, goes to the dead letters.
pub trait EventHandler<Args> {
    /// Calls the function.
    ///
    /// # Errors
    /// What it answers.
    fn call(&self, delivery: Delivery, db: &Db<'_>) -> Result<()>;
}

impl<T: DeserializeOwned, F: Fn(Received<T>) -> Result<()>> EventHandler<(T,)> for F {
    fn call(&self, delivery: Delivery, _db: &Db<'_>) -> Result<()> {
        self(receive(delivery)?)
    }
}

impl<T, F> EventHandler<(T, PhantomData<()>)> for F
where
    T: DeserializeOwned,
    F: Fn(Received<T>, &Db<'_>) -> Result<()>,
{
    fn call(&self, delivery: Delivery, db: &Db<'_>) -> Result<()> {
        self(receive(delivery)?, db)
    }
}

fn receive<T: DeserializeOwned>(delivery: Delivery) -> Result<Received<T>> {
    let data = serde_json::from_str(&delivery.data).map_err(|error| {
        Error::new(422, "events.payload", format!("the payload does not fit: {error}"))
    })?;
    Ok(Received {
        id: delivery.id,
        topic: delivery.topic,
        source: delivery.source,
        subject: delivery.subject,
        time: Timestamp::from_micros(delivery.time),
        tenant: delivery.tenant.map(Tenant::new),
        actor: delivery.actor,
        correlation_id: delivery.correlation_id,
        attempt: delivery.attempt,
        position: delivery.position,
        data,
    })
}

/// Declares which function takes the events of a topic:
/// `consumers! { "user.registered" => on_user_registered; }`.
#[macro_export]
macro_rules! consumers {
    ($($topic:literal => $($handler:ident)::+;)*) => {
        &[$($crate::events::Consumer {
            topic: $topic,
            call: |delivery, db| $crate::events::EventHandler::call(&$($handler)::+, delivery, db),
        }),*]
    };
}

/// Handles a batch: one outcome for each delivery, in order.
pub(crate) fn consume(
    service: &Service,
    deliveries: Vec<Delivery>,
    tx: Option<&imports::sql::Transaction>,
) -> Vec<Outcome> {
    deliveries
        .into_iter()
        .map(|delivery| {
            let topic = delivery.topic.clone();
            let tenant = delivery.tenant.clone().map(Tenant::new);
            let Some(consumer) = service.consumer(&topic) else {
                return Outcome::Dead(format!("no function takes {topic}"));
            };
            match (consumer.call)(delivery, &Db::borrowed(tx, tenant)) {
                Ok(()) => Outcome::Ack,
                Err(error) => {
                    crate::warn!(topic = topic, code = error.code(), "{}", error.detail());
                    if error.is_retryable() {
                        Outcome::Retry(error.retry_after())
                    } else {
                        Outcome::Dead(error.to_string())
                    }
                }
            }
        })
        .collect()
}
