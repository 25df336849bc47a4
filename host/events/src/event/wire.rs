//! The CloudEvents 1.0 JSON format of an envelope.

use std::collections::BTreeMap;

use airhost_core::{CorrelationId, Error, Result, Tenant, TraceContext, codes};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Envelope;

/// Names that an extension attribute cannot have.
pub(super) const RESERVED: &[&str] = &[
    "actor",
    "correlationid",
    "data",
    "datacontenttype",
    "dataschema",
    "id",
    "source",
    "specversion",
    "subject",
    "tenantid",
    "time",
    "traceparent",
    "tracestate",
    "type",
];

#[derive(Serialize)]
struct Write<'a> {
    specversion: &'static str,
    id: Uuid,
    source: &'a str,
    r#type: &'a str,
    subject: &'a str,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenantid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    correlationid: &'a str,
    traceparent: String,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataschema: Option<&'a str>,
    #[serde(flatten)]
    attrs: BTreeMap<&'a str, &'a str>,
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Read<'a> {
    specversion: String,
    id: Uuid,
    source: String,
    r#type: String,
    subject: String,
    time: Timestamp,
    tenantid: Option<String>,
    actor: Option<String>,
    correlationid: String,
    traceparent: String,
    dataschema: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
}

pub(super) fn write(envelope: &Envelope) -> String {
    let write = Write {
        specversion: "1.0",
        id: envelope.id,
        source: &envelope.source,
        r#type: &envelope.topic,
        subject: &envelope.subject,
        time: Timestamp::from_microsecond(envelope.time).unwrap_or(Timestamp::UNIX_EPOCH),
        tenantid: envelope.tenant.as_ref().map(Tenant::as_str),
        actor: envelope.actor.as_deref(),
        correlationid: envelope.correlation.as_str(),
        traceparent: envelope.trace.to_string(),
        datacontenttype: "application/json",
        dataschema: envelope.schema.as_deref(),
        attrs: envelope.attrs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        data: &envelope.data,
    };
    #[expect(clippy::expect_used, reason = "the struct has string keys and valid raw JSON only")]
    serde_json::to_string(&write).expect("an envelope is always serialisable")
}

pub(super) fn read(json: &str) -> Result<Envelope> {
    let read: Read<'_> = serde_json::from_str(json).map_err(|_| foreign())?;
    if read.specversion != "1.0" {
        return Err(foreign());
    }
    // What is not one of the envelope's own attributes is an extension of the producer. Raw JSON
    // cannot be captured beside a flattened map, hence the second pass over the same text.
    let all: BTreeMap<String, &RawValue> = serde_json::from_str(json).map_err(|_| foreign())?;
    let attrs = all
        .into_iter()
        .filter(|(name, _)| !RESERVED.contains(&name.as_str()))
        .map(|(name, value)| Ok((name, serde_json::from_str(value.get()).map_err(|_| foreign())?)))
        .collect::<Result<Vec<(String, String)>>>()?;
    Ok(Envelope {
        id: read.id,
        source: read.source,
        topic: read.r#type,
        subject: read.subject,
        time: read.time.as_microsecond(),
        tenant: read.tenantid.as_deref().map(Tenant::new),
        actor: read.actor,
        correlation: CorrelationId::accept(&read.correlationid).ok_or_else(foreign)?,
        trace: TraceContext::parse(&read.traceparent).ok_or_else(foreign)?,
        schema: read.dataschema,
        data: read.data.to_owned(),
        attrs,
    })
}

fn foreign() -> Error {
    codes::EVENTS_SCHEMA.error("the text is not a CloudEvents envelope of this host")
}
