//! Which records a write has made, changed and deleted, read from question and answer.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::operation::Kind;

/// What became of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It was made.
    Created,
    /// It was changed; the names of the fields that were sent.
    Updated(Vec<String>),
    /// It is gone.
    Deleted,
}

/// A record that was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) id: String,
    pub(crate) fate: Fate,
    /// `createdTime`.
    pub(crate) created: Option<String>,
    /// Its cells after it.
    pub(crate) fields: Map<String, Value>,
}

/// A record in a request or an answer; one alone is not in a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    id: Option<String>,
    created_time: Option<String>,
    fields: Map<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Message {
    records: Option<Vec<Entry>>,
    created_records: Vec<String>,
    #[serde(flatten)]
    one: Entry,
}

impl Message {
    fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }

    fn entries(self) -> (Vec<Entry>, Vec<String>) {
        (self.records.unwrap_or_else(|| vec![self.one]), self.created_records)
    }
}

/// Whether a request may make records that are not there.
pub(crate) fn is_upsert(request: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Upsert {
        #[serde(rename = "performUpsert")]
        upsert: Option<Value>,
    }
    serde_json::from_slice::<Upsert>(request).is_ok_and(|body| body.upsert.is_some())
}

/// The records that were written. Answers keep the order of the question.
pub(crate) fn written(kind: Kind, request: &[u8], answer: &[u8]) -> Vec<Written> {
    let (answered, created) = Message::read(answer).entries();
    let asked = match kind {
        Kind::Update => Message::read(request).entries().0,
        _ => Vec::new(),
    };
    let mut asked = asked.into_iter();
    let mut all = Vec::with_capacity(answered.len());
    for entry in answered {
        let sent = asked.next().map(|entry| entry.fields).unwrap_or_default();
        let Some(id) = entry.id else { continue };
        let fate = match kind {
            Kind::Create => Fate::Created,
            Kind::Delete => Fate::Deleted,
            _ if created.contains(&id) => Fate::Created,
            Kind::Upload => Fate::Updated(entry.fields.keys().cloned().collect()),
            _ => Fate::Updated(sent.into_iter().map(|(name, _)| name).collect()),
        };
        all.push(Written { id, fate, created: entry.created_time, fields: entry.fields });
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: Kind, request: &Value, answer: &Value, expected: &[(&str, Fate)]) {
        let written = written(kind, request.to_string().as_bytes(), answer.to_string().as_bytes());
        let found: Vec<(&str, Fate)> =
            written.iter().map(|w| (w.id.as_str(), w.fate.clone())).collect();
        assert_eq!(found, expected, "{request} {answer}");
    }

    fn record(id: &str) -> Value {
        json!({"id": id, "createdTime": "2026-01-01T00:00:00.000Z", "fields": {"A": 1, "B": 2}})
    }

    #[test]
    fn one_record_and_many() {
        let a = || Fate::Updated(vec!["A".to_owned()]);
        let fields = json!({"A": 1});
        check(Kind::Create, &json!({}), &record("rec1"), &[("rec1", Fate::Created)]);
        let two = json!({"records": [record("rec1"), record("rec2")]});
        check(Kind::Create, &json!({}), &two, &[("rec1", Fate::Created), ("rec2", Fate::Created)]);
        check(Kind::Update, &json!({"fields": fields}), &record("rec1"), &[("rec1", a())]);
        let asked = json!({"records": [{"id": "rec1", "fields": fields}, {"id": "rec2"}]});
        let none = Fate::Updated(vec![]);
        check(Kind::Update, &asked, &two, &[("rec1", a()), ("rec2", none)]);
        let gone = json!({"id": "rec1", "deleted": true});
        check(Kind::Delete, &json!({}), &gone, &[("rec1", Fate::Deleted)]);
        check(Kind::Delete, &json!({}), &json!({"records": [gone]}), &[("rec1", Fate::Deleted)]);
    }

    #[test]
    fn an_upsert_tells_apart() {
        let asked = json!({
            "performUpsert": {"fieldsToMergeOn": ["A"]},
            "records": [{"fields": {"A": 1}}, {"fields": {"A": 2}}],
        });
        assert!(is_upsert(asked.to_string().as_bytes()));
        assert!(!is_upsert(b"{\"records\":[]}"));
        let answer = json!({
            "records": [record("rec1"), record("rec2")],
            "createdRecords": ["rec2"],
            "updatedRecords": ["rec1"],
        });
        let changed = Fate::Updated(vec!["A".to_owned()]);
        check(Kind::Update, &asked, &answer, &[("rec1", changed), ("rec2", Fate::Created)]);
    }

    #[test]
    fn what_cannot_be_read_tells_of_nothing() {
        assert!(written(Kind::Create, b"", b"<html>").is_empty());
        assert!(written(Kind::Create, b"", b"{\"records\":[{}]}").is_empty());
    }
}
