//! What an event is: as a producer gives it, and in its CloudEvents 1.0 envelope.

mod wire;

use airhost_core::{CallContext, CorrelationId, Result, SpiffeId, Tenant, TraceContext, codes};
use serde_json::value::RawValue;
use uuid::Uuid;

/// An event as its producer gives it; mirrors `event` of `wit/events/bus.wit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Topic and CloudEvents `type`, as `user.registered`.
    pub topic: String,
    /// CloudEvents `subject`, and the key that order is kept for.
    pub subject: String,
    /// A JSON object.
    pub data: String,
    /// CloudEvents extension attributes: names of `a-z` and `0-9`, at most 20 characters.
    pub attrs: Vec<(String, String)>,
}

/// An event as it travels.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// UUIDv7; the same on every redelivery.
    pub id: Uuid,
    /// SPIFFE id of the publishing service.
    pub source: String,
    /// Topic and CloudEvents `type`.
    pub topic: String,
    /// The key that order is kept for.
    pub subject: String,
    /// Microseconds since the epoch, UTC.
    pub time: i64,
    /// Whose data it speaks of; none for what the host or a service does of its own accord.
    pub tenant: Option<Tenant>,
    /// Subject of the user that caused it.
    pub actor: Option<String>,
    /// Names the work in logs.
    pub correlation: CorrelationId,
    /// The publisher's span.
    pub trace: TraceContext,
    /// URI of the schema that `data` fits; none for a topic without one.
    pub schema: Option<String>,
    /// A JSON object.
    pub data: Box<RawValue>,
    /// Extension attributes of the producer.
    pub attrs: Vec<(String, String)>,
}

impl Envelope {
    /// Largest data and extension attributes together, in bytes.
    pub const MAX_DATA: usize = 256 * 1024;
    /// Longest subject, in bytes.
    pub const MAX_SUBJECT: usize = 512;
    /// Most extension attributes.
    pub const MAX_ATTRS: usize = 32;

    /// Puts an event into its envelope, with what the host knows of the call that publishes it.
    ///
    /// # Errors
    /// `events.too-large`; `events.schema` where the data is not a JSON object, the subject is
    /// empty or too long, or an attribute's name is not one CloudEvents allows. Whether the data
    /// fits the topic's schema is for [`Schemas::check`](crate::Schemas::check).
    pub fn seal(
        event: Event,
        source: &SpiffeId,
        context: &CallContext,
        now_micros: i64,
        schema: Option<String>,
    ) -> Result<Self> {
        let attrs_len: usize =
            event.attrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if event.data.len() + attrs_len > Self::MAX_DATA {
            return Err(codes::EVENTS_TOO_LARGE.error("the event's data is larger than 256 KiB"));
        }
        if event.subject.is_empty() || event.subject.len() > Self::MAX_SUBJECT {
            return Err(codes::EVENTS_SCHEMA.error("an event's subject is 1 to 512 bytes"));
        }
        check_attrs(&event.attrs)?;
        if !event.data.trim_start().starts_with('{') {
            return Err(codes::EVENTS_SCHEMA.error("an event's data is a JSON object"));
        }
        let data = RawValue::from_string(event.data)
            .map_err(|_| codes::EVENTS_SCHEMA.error("an event's data is a JSON object"))?;
        Ok(Self {
            id: Uuid::now_v7(),
            source: source.as_str().to_owned(),
            topic: event.topic,
            subject: event.subject,
            time: now_micros,
            tenant: context.tenant.clone(),
            actor: context.principal.as_ref().map(|principal| principal.subject.clone()),
            correlation: context.correlation.clone(),
            trace: context.trace,
            schema,
            data,
            attrs: event.attrs,
        })
    }

    /// The CloudEvents JSON format of it (`application/cloudevents+json`).
    #[must_use]
    pub fn to_json(&self) -> String {
        wire::write(self)
    }

    /// Reads the CloudEvents JSON format.
    ///
    /// # Errors
    /// `events.schema`, where it is not an envelope that this host writes.
    pub fn from_json(json: &str) -> Result<Self> {
        wire::read(json)
    }
}

fn check_attrs(attrs: &[(String, String)]) -> Result<()> {
    if attrs.len() > Envelope::MAX_ATTRS {
        return Err(codes::EVENTS_SCHEMA.error("an event has at most 32 attributes"));
    }
    for (at, (name, value)) in attrs.iter().enumerate() {
        // CloudEvents 1.0.2, 2.3 "Naming Conventions" and "Type System".
        let named = (1..=20).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !named || wire::RESERVED.contains(&name.as_str()) {
            return Err(codes::EVENTS_SCHEMA
                .error("an attribute's name is 1 to 20 characters of a-z and 0-9, and none of the host's own"));
        }
        if attrs[..at].iter().any(|(other, _)| other == name) {
            return Err(codes::EVENTS_SCHEMA.error("an attribute is there twice"));
        }
        if value.chars().any(char::is_control) {
            return Err(codes::EVENTS_SCHEMA.error("an attribute has a control character"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
