//! What reaches a service besides requests: events, jobs, time.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;

use super::is_off;
use crate::{
    Cron, Topic,
    decode::{Field, Section},
    duration,
};

const DAY: Duration = Duration::from_secs(86_400);

/// Events in and out, `[events]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Events {
    /// Topics it may publish on; any of them grants `events/bus`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub out: BTreeSet<Topic>,
    /// Grants `events/store`.
    #[serde(skip_serializing_if = "is_off")]
    pub store: bool,
    /// Grants `events/live`.
    #[serde(skip_serializing_if = "is_off")]
    pub live: bool,
    /// Grants `events/saga`.
    #[serde(skip_serializing_if = "is_off")]
    pub saga: bool,
    /// Topics it consumes, `[[events.in]]`.
    #[serde(rename = "in", skip_serializing_if = "Vec::is_empty")]
    pub incoming: Vec<Subscription>,
}

/// A topic that a service consumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Subscription {
    /// The topic.
    pub topic: Topic,
    /// How often an event may have its effect.
    pub mode: Delivery,
    /// Tries before an event is dead-lettered, 1 to 100.
    pub max_attempts: u32,
}

/// How often an event may have its effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Consumed in a transaction of the host that also remembers the event.
    #[default]
    ExactlyOnce,
    /// Without a transaction, for consumers that call out.
    AtLeastOnce,
}

/// A kind of job, `[jobs.<kind>]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Job {
    /// Tries in all, 1 to 100.
    pub max_attempts: u32,
    /// Time for one try, 1 s to 1 day.
    #[serde(serialize_with = "duration::serialize")]
    pub deadline: Duration,
}

/// When a tick comes, `[ticks.<name>]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Again and again after this time, 1 s to 30 days.
    Every(#[serde(serialize_with = "duration::serialize")] Duration),
    /// At these times, UTC.
    Cron(Cron),
}

/// Rows of a table that are deleted some time after a timestamp in them, `[[retention]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// The table, in the service's database.
    pub table: String,
    /// Its timestamp column.
    pub column: String,
    /// How long after it, up to 100 years.
    #[serde(serialize_with = "duration::serialize")]
    pub keep: Duration,
}

impl Events {
    pub(super) fn decode(section: Section<'_>) -> Self {
        let mut events = Self::default();
        for (topic, item) in section.get("out").map(|f| f.distinct::<Topic>()).unwrap_or_default() {
            if topic.is_of_host() {
                item.fail(format!("`{topic}` is published by the host itself; remove it"));
            }
            events.out.insert(topic);
        }
        let flag = |key| section.get(key).and_then(|f| f.flag()).unwrap_or_default();
        events.store = flag("store");
        events.live = flag("live");
        events.saga = flag("saga");
        for (entry, place) in section.get("in").map(|f| f.sections()).unwrap_or_default() {
            let topic = entry.required("topic", "\"user.registered\"");
            let subscription = topic.as_ref().and_then(|f| f.parse::<Topic>()).map(|topic| {
                let mode = entry.get("mode").and_then(|f| {
                    f.choice(&[
                        ("exactly-once", Delivery::ExactlyOnce),
                        ("at-least-once", Delivery::AtLeastOnce),
                    ])
                });
                let attempts = entry.get("max-attempts").and_then(|f| f.integer(1..=100));
                Subscription {
                    topic,
                    mode: mode.unwrap_or_default(),
                    max_attempts: attempts.unwrap_or(10),
                }
            });
            if subscription.is_some() {
                entry.finish(super::parse::belongs);
            }
            let Some(subscription) = subscription else { continue };
            if events.incoming.iter().any(|other| other.topic == subscription.topic) {
                let topic = &subscription.topic;
                place.fail(format!("`{topic}` is in [[events.in]] twice; remove one"));
            } else {
                events.incoming.push(subscription);
            }
        }
        section.finish(super::parse::belongs);
        events
    }

    /// What makes a database necessary, as it is written in the manifest.
    pub(super) fn needs_sql(&self) -> Option<&'static str> {
        let exactly_once = |s: &Subscription| s.mode == Delivery::ExactlyOnce;
        if !self.out.is_empty() {
            Some("`out` in [events]")
        } else if self.store {
            Some("`store` in [events]")
        } else if self.saga {
            Some("`saga` in [events]")
        } else if self.incoming.iter().any(exactly_once) {
            Some("[[events.in]] with mode `exactly-once`")
        } else {
            None
        }
    }
}

impl Job {
    pub(super) fn decode(section: Section<'_>) -> Self {
        let attempts = section.get("max-attempts").and_then(|f| f.integer(1..=100));
        let deadline = section.get("deadline");
        let deadline = deadline.and_then(|f| f.duration(Duration::from_secs(1)..=DAY));
        section.finish(super::parse::belongs);
        Self {
            max_attempts: attempts.unwrap_or(5),
            deadline: deadline.unwrap_or(Duration::from_secs(60)),
        }
    }
}

impl Schedule {
    pub(super) fn decode(section: Section<'_>, name: &str) -> Option<Self> {
        let (every, cron) = (section.get("every"), section.get("cron"));
        let schedule = match (&every, &cron) {
            (Some(every), None) => {
                every.duration(Duration::from_secs(1)..=DAY * 30).map(Self::Every)
            }
            (None, Some(cron)) => cron.parse().map(Self::Cron),
            (Some(_), Some(cron)) => {
                cron.fail(format!("tick `{name}` has both `every` and `cron`; remove one"));
                None
            }
            (None, None) => {
                section.fail(format!(
                    "tick `{name}` never comes; add `every = \"1h\"` or `cron = \"0 3 * * *\"`"
                ));
                None
            }
        };
        section.finish(super::parse::belongs);
        schedule
    }
}

impl Retention {
    pub(super) fn decode(section: Section<'_>) -> Option<Self> {
        let table = section.required("table", "\"sessions\"").and_then(|f| identifier(&f));
        let column = section.required("column", "\"expires_at\"").and_then(|f| identifier(&f));
        let keep = section.required("keep", "\"30d\"");
        let keep = keep.and_then(|f| f.duration(Duration::ZERO..=DAY * 36_525));
        section.finish(super::parse::belongs);
        Some(Self { table: table?, column: column?, keep: keep? })
    }
}

/// A name of SQL that needs no quotes on any engine and is not the host's.
fn identifier(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let valid = (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !valid {
        field.fail(format!(
            "`{text}` is not a name of SQL: use 1 to 63 characters of a-z, 0-9 and _, beginning with a letter"
        ));
    }
    valid.then(|| text.to_owned())
}
