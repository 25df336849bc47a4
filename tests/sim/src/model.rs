//! The data: bases, tables, fields, records, users and tokens.

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

/// Everything that a restart or a reset brings back from the configuration.
#[derive(Debug, Default)]
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
}

/// A file behind an attachment's URL.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) content_type: String,
    pub(crate) data: Bytes,
}

/// A base.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) workspace: String,
    pub(crate) permission: String,
    pub(crate) created: Timestamp,
    pub(crate) tables: IndexMap<String, Table>,
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
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) primary: String,
    pub(crate) fields: IndexMap<String, Field>,
    pub(crate) views: Vec<View>,
    pub(crate) records: IndexMap<String, Record>,
    pub(crate) next_number: u64,
}

impl Table {
    /// The field with an id or a name.
    pub(crate) fn field(&self, key: &str) -> Option<&Field> {
        self.fields.get(key).or_else(|| self.fields.values().find(|field| field.name == key))
    }

    /// The view with an id or a name.
    pub(crate) fn view(&self, key: &str) -> Option<&View> {
        self.views.iter().find(|view| view.id == key || view.name == key)
    }
}

/// A column.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) options: Object,
    /// Of formula and rollup columns; none when the text does not compile.
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
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) visible: Option<Vec<String>>,
    pub(crate) filter: Option<Arc<Formula>>,
    pub(crate) sort: Vec<SortKey>,
}

/// One key of an order.
#[derive(Debug, Clone)]
pub(crate) struct SortKey {
    pub(crate) field: String,
    pub(crate) descending: bool,
}

/// A row. Cells are stored by field id, in the form in which they are read.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) created: Timestamp,
    pub(crate) created_by: String,
    pub(crate) modified: Option<Timestamp>,
    pub(crate) modified_by: String,
    pub(crate) cells: HashMap<String, Value>,
    /// When each cell was last written.
    pub(crate) written: HashMap<String, Timestamp>,
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
#[derive(Debug, Clone)]
pub(crate) struct Comment {
    pub(crate) id: String,
    pub(crate) author: String,
    pub(crate) text: String,
    pub(crate) created: Timestamp,
    pub(crate) updated: Option<Timestamp>,
    pub(crate) parent: Option<String>,
    pub(crate) reactions: Vec<Value>,
}
