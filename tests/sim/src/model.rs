//! The data: bases, tables, fields, records, users and tokens.

pub(crate) mod base64_text;
pub(crate) mod by_id;
mod kind;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::formula::Formula;
use crate::hooks::Webhook;

pub(crate) use kind::Kind;

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// All that requests change. A copy is cheap: records, payloads and files are shared with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Data {
    pub(crate) users: Users,
    pub(crate) tokens: HashMap<String, Token>,
    pub(crate) bases: IndexMap<String, Base>,
    pub(crate) blobs: HashMap<String, Blob>,
}

/// Users by id.
pub(crate) type Users = IndexMap<String, User>;

/// An account that owns tokens, authors comments and is put into collaborator cells.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// `usr` and fourteen characters.
    pub(crate) id: String,
    /// Mail address.
    pub(crate) email: String,
    /// Name shown.
    pub(crate) name: String,
}

impl User {
    /// The value of a collaborator cell.
    pub(crate) fn cell(&self) -> Value {
        serde_json::json!({"id": self.id, "email": self.email, "name": self.name})
    }
}

/// What a bearer token may do.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) user: String,
    pub(crate) scopes: Vec<String>,
    /// Bases granted; none means all.
    pub(crate) bases: Option<HashSet<String>>,
    /// Whether it comes from the configuration; then it is accepted only while it is there.
    pub(crate) configured: bool,
}

/// A file behind an attachment's URL.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) content_type: String,
    pub(crate) data: Bytes,
}

/// A base.
///
/// This type and those that it holds are written to data files as they are; the names there are
/// those of base files, with further ones for what base files do not say.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Base {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(rename = "workspaceId")]
    pub(crate) workspace: String,
    #[serde(rename = "permissionLevel")]
    pub(crate) permission: String,
    #[serde(rename = "createdTime")]
    pub(crate) created: Timestamp,
    #[serde(with = "by_id")]
    pub(crate) tables: IndexMap<String, Table>,
    #[serde(with = "by_id")]
    pub(crate) webhooks: IndexMap<String, Webhook>,
    pub(crate) transactions: u64,
}

impl Base {
    /// The table with an id or a name.
    pub(crate) fn table(&self, key: &str) -> Option<&Table> {
        self.tables.get(key).or_else(|| self.tables.values().find(|table| table.name == key))
    }
}

/// A table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(rename = "primaryFieldId")]
    pub(crate) primary: String,
    #[serde(with = "by_id")]
    pub(crate) fields: IndexMap<String, Field>,
    pub(crate) views: Vec<View>,
    #[serde(with = "by_id")]
    pub(crate) records: IndexMap<String, Arc<Record>>,
    /// Automatic number of the next record.
    #[serde(rename = "nextNumber")]
    pub(crate) next_number: u64,
}

impl Table {
    /// The field with an id or a name.
    pub(crate) fn field(&self, key: &str) -> Option<&Field> {
        self.fields.get(key).or_else(|| self.fields.values().find(|field| field.name == key))
    }

    /// A record, to change it.
    pub(crate) fn record_mut(&mut self, id: &str) -> Option<&mut Record> {
        self.records.get_mut(id).map(Arc::make_mut)
    }

    /// The view with an id or a name.
    pub(crate) fn view(&self, key: &str) -> Option<&View> {
        self.views.iter().find(|view| view.id == key || view.name == key)
    }
}

/// A column.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Field {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    pub(crate) options: Object,
    /// Of formula and rollup columns; none when the text does not compile.
    #[serde(skip)]
    pub(crate) formula: Option<Arc<Formula>>,
}

impl Field {
    /// A text among the options.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name)?.as_str()
    }

    /// Names of the choices of a select.
    pub(crate) fn choices(&self) -> impl Iterator<Item = &str> {
        let list = self.options.get("choices").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|choice| choice.get("name")?.as_str())
    }

    /// Digits after the point.
    pub(crate) fn precision(&self) -> usize {
        let precision = self.options.get("precision").and_then(Value::as_u64).unwrap_or(0);
        usize::try_from(precision.min(8)).unwrap_or(0)
    }
}

/// A saved filter and order of a table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct View {
    pub(crate) id: String,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(rename = "visibleFields", default, skip_serializing_if = "Option::is_none")]
    pub(crate) visible: Option<Vec<String>>,
    #[serde(rename = "filterByFormula", default, skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<Arc<Formula>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sort: Vec<SortKey>,
}

/// One key of an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SortKey {
    pub(crate) field: String,
    pub(crate) direction: Direction,
}

/// Which end of an order comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    #[default]
    Asc,
    Desc,
}

/// A row. Cells are stored by field id, in the form in which they are read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) number: u64,
    #[serde(rename = "createdTime")]
    pub(crate) created: Timestamp,
    pub(crate) created_by: String,
    #[serde(rename = "modifiedTime", default, skip_serializing_if = "Option::is_none")]
    pub(crate) modified: Option<Timestamp>,
    pub(crate) modified_by: String,
    #[serde(rename = "fields", serialize_with = "by_id::sorted")]
    pub(crate) cells: HashMap<String, Value>,
    /// When each cell was last written.
    #[serde(rename = "writtenTimes", serialize_with = "by_id::sorted")]
    pub(crate) written: HashMap<String, Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) comments: Vec<Comment>,
}

impl Record {
    /// Ids of the records that a link cell holds.
    pub(crate) fn links(&self, field: &str) -> impl Iterator<Item = &str> {
        let list = self.cells.get(field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }
}

/// A comment on a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Comment {
    pub(crate) id: String,
    pub(crate) author: String,
    pub(crate) text: String,
    #[serde(rename = "createdTime")]
    pub(crate) created: Timestamp,
    #[serde(rename = "updatedTime", default, skip_serializing_if = "Option::is_none")]
    pub(crate) updated: Option<Timestamp>,
    #[serde(rename = "parentCommentId", default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reactions: Vec<Value>,
}

/// Deepest nesting of the values that clients describe columns and webhooks with. It leaves room
/// below the depth up to which JSON is read, so that what was accepted can be read back.
pub(crate) const MAX_NESTING: usize = 32;

/// Whether lists and objects lie within each other more than `depth` times.
pub(crate) fn is_nested_beyond(value: &Value, depth: usize) -> bool {
    let below = |inner: &Value| depth == 0 || is_nested_beyond(inner, depth - 1);
    match value {
        Value::Array(items) => items.iter().any(below),
        Value::Object(entries) => entries.values().any(below),
        _ => false,
    }
}
