//! Writes to Airtable, and the events that tell of them.

use std::borrow::Cow;

use sdk::{Principal, Result, Timestamp, config, http::percent_decode, sql};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    airtable::{self, Ask},
    domain::{
        answer::Answer,
        connection::Connection,
        operation::Kind,
        written::{Fate, Written, written},
    },
    responses,
};

/// Writes, makes what was remembered old, and tells of the records that were written.
pub(crate) fn write(
    principal: &Principal,
    connection: &Connection,
    kind: Kind,
    table: &str,
    ask: &Ask,
) -> Result<Answer> {
    let answer = airtable::ask(connection, ask, true);
    let refused = match &answer {
        Ok(answer) => (400..500).contains(&answer.status),
        // Whatever else went wrong may have done so after Airtable had written.
        Err(error) => error.code() == "call.paced",
    };
    if kind != Kind::ChangeApart && !refused {
        responses::forget(connection);
    }
    let answer = answer?;
    // An upload's answer does not say which table its record is in.
    if answer.is_success() && matches!(kind, Kind::Create | Kind::Update | Kind::Delete) {
        let records = written(kind, ask.body(), &answer.body);
        if let Err(error) = tell(principal, connection, table, &records) {
            // What was written stays written, so the client is told that.
            sdk::error!(
                code = error.code(),
                connection = connection.id,
                records = records.len(),
                "records were written and no event tells of it: {}",
                error.detail()
            );
        }
    }
    Ok(answer)
}

/// Members that all events of records have.
#[derive(Serialize)]
struct About<'a> {
    tenant_id: &'a str,
    connection_id: sdk::Uuid,
    base_id: &'a str,
    table_id: &'a str,
    record_id: &'a str,
    origin: &'static str,
    actor: &'a str,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_fields: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a Map<String, Value>>,
}

/// Cells of more bytes are left out: who needs them reads the record.
const MAX_VALUES: usize = 32 << 10;

fn tell(
    principal: &Principal,
    connection: &Connection,
    table: &str,
    records: &[Written],
) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let (values, at): (bool, _) = (config::get("event-values")?, Timestamp::now());
    let (tenant, table) = (principal.tenant(), percent_decode(table, false));
    let tx = sql::tenant()?.begin()?;
    for record in records {
        let fits = || serde_json::to_vec(&record.fields).is_ok_and(|v| v.len() <= MAX_VALUES);
        let about = About {
            tenant_id: tenant.as_str(),
            connection_id: connection.id,
            base_id: &connection.base_id,
            table_id: &table,
            record_id: &record.id,
            origin: "api",
            actor: principal.subject(),
            at,
            created_at: None,
            changed_fields: None,
            fields: (values && record.fate != Fate::Deleted && fits()).then_some(&record.fields),
        };
        let (topic, about) = match &record.fate {
            Fate::Created => {
                let created = record.created.as_deref().map(Cow::Borrowed);
                let created_at = created.or_else(|| Some(Cow::Owned(at.to_string())));
                ("record.created", About { created_at, ..about })
            }
            Fate::Updated(names) => {
                ("record.updated", About { changed_fields: Some(names), ..about })
            }
            Fate::Deleted => ("record.deleted", about),
        };
        tx.publish_as(topic, &record.id, &about)?;
    }
    tx.commit()
}
