//! The form in which a simulator saves its data.
//!
//! A saved file has the shape of a base file, says all that base files leave to defaults, and
//! carries a version. Its values are taken as they are, not converted.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{FileToken, Loaded, invalid, listed_tokens};
use crate::edit::bind_fields;
use crate::error::{Error, Result};
use crate::hooks::MAX_PAYLOADS;
use crate::model::{Base, Blob, Data, Kind, Table, Users, by_id};

/// The form that this crate writes and reads.
const VERSION: u32 = 1;
/// Counters beyond this are not the work of a simulator; up to it they cannot overflow.
const MAX_COUNT: u64 = 1 << 53;

/// Everything that is saved, but the contents of uploaded files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SavedWorld {
    version: u32,
    public_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ids: Option<u64>,
    #[serde(with = "by_id")]
    users: Users,
    tokens: Vec<FileToken>,
    #[serde(with = "by_id")]
    bases: IndexMap<String, Base>,
    files: Vec<SavedFile>,
}

/// An uploaded file; its content lies in the folder, under the key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SavedFile {
    key: String,
    content_type: String,
    size: u64,
}

impl SavedWorld {
    /// Takes the data apart: what goes into the file, and the contents of uploaded files.
    pub(crate) fn new(
        data: Data,
        ids: Option<u64>,
        public_url: String,
    ) -> (Self, HashMap<String, Blob>) {
        let Data { users, tokens, bases, blobs } = data;
        let mut tokens: Vec<_> = tokens
            .into_iter()
            .map(|(text, token)| FileToken {
                token: text,
                user: Some(token.user),
                scopes: Some(token.scopes),
                bases: token.bases,
                configured: token.configured,
            })
            .collect();
        tokens.sort_by(|left, right| left.token.cmp(&right.token));
        let mut files: Vec<_> = blobs
            .iter()
            .map(|(key, blob)| SavedFile {
                key: key.clone(),
                content_type: blob.content_type.clone(),
                size: blob.data.len() as u64,
            })
            .collect();
        files.sort_by(|left, right| left.key.cmp(&right.key));
        let version = VERSION;
        (Self { version, public_url, ids, users, tokens, bases, files }, blobs)
    }

    /// The data again. An uploaded file that is gone or cut short is left out.
    pub(super) fn restore(self, folder: Option<&Path>) -> Result<Loaded> {
        if self.version != VERSION {
            return Err(invalid("version", format!("{} is not known", self.version)));
        }
        if self.users.is_empty() {
            return Err(invalid("users", "there are none".to_owned()));
        }
        let tokens = listed_tokens(&self.users, self.tokens)?;
        let mut bases = self.bases;
        for base in bases.values_mut() {
            check(base)?;
            bind_fields(base);
        }
        let mut blobs = HashMap::new();
        for file in self.files {
            if !is_key(&file.key) {
                return Err(invalid("files", format!("{:?} is not a key", file.key)));
            }
            if let Some(blob) = folder.map(|folder| content(folder, &file)).transpose()?.flatten() {
                blobs.insert(file.key, blob);
            } else {
                tracing::warn!(key = %file.key, "an uploaded file is gone or cut short");
            }
        }
        let data = Data { users: self.users, tokens, bases, blobs };
        Ok(Loaded { data, ids: self.ids, public_url: Some(self.public_url) })
    }
}

/// Whether a text can be the key of an uploaded file, and so a file name.
pub(crate) fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The content of an uploaded file; none when there is not all of it.
fn content(folder: &Path, file: &SavedFile) -> Result<Option<Blob>> {
    let path = folder.join(&file.key);
    match std::fs::read(&path) {
        Ok(data) if data.len() as u64 == file.size => {
            Ok(Some(Blob { content_type: file.content_type.clone(), data: data.into() }))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Data { path, source }),
    }
}

/// Refuses what the rest of the crate relies on not to be.
fn check(base: &Base) -> Result<()> {
    let wrong = |place: &str, reason: &str| {
        Err(invalid(&format!("{}/{place}", base.id), reason.to_owned()))
    };
    if base.transactions > MAX_COUNT {
        return wrong("transactions", "the number is too large");
    }
    for table in base.tables.values() {
        if !table.fields.contains_key(&table.primary) {
            return wrong(&table.id, "there is no primary field");
        }
        if table.next_number > MAX_COUNT
            || table.records.values().any(|record| record.number >= table.next_number)
        {
            return wrong(&table.id, "the numbers of the records are wrong");
        }
    }
    for hook in base.webhooks.values() {
        let payloads = hook.payloads.len();
        if hook.next > MAX_COUNT || hook.next <= payloads as u64 || payloads > MAX_PAYLOADS {
            return wrong(&hook.id, "the numbers of the payloads are wrong");
        }
    }
    Ok(())
}

/// Gives uploaded files the address of this run, in the cells that hold them and in the payloads
/// that tell of them.
pub(crate) fn readdress(data: &mut Data, from: &str, to: &str) {
    if from == to {
        return;
    }
    let (from, to) = (format!("{from}/_attachments/"), format!("{to}/_attachments/"));
    for base in data.bases.values_mut() {
        for Table { fields, records, .. } in base.tables.values_mut() {
            for field in fields.values().filter(|field| field.kind == Kind::MultipleAttachments) {
                for record in records.values_mut() {
                    if let Some(cell) = Arc::make_mut(record).cells.get_mut(&field.id) {
                        replace_prefix(cell, &from, &to);
                    }
                }
            }
        }
        for payload in base.webhooks.values_mut().flat_map(|hook| hook.payloads.iter_mut()) {
            replace_prefix(Arc::make_mut(payload), &from, &to);
        }
    }
}

/// Lets the texts of a value that begin with `from` begin with `to`.
fn replace_prefix(value: &mut Json, from: &str, to: &str) {
    match value {
        Json::String(text) => {
            if let Some(rest) = text.strip_prefix(from) {
                *text = format!("{to}{rest}");
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| replace_prefix(item, from, to)),
        Json::Object(entries) => {
            entries.values_mut().for_each(|entry| replace_prefix(entry, from, to));
        }
        _ => {}
    }
}
