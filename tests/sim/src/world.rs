//! Loading users, tokens and bases from JSON.

mod generate;
mod saved;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::config::{TokenConfig, World};
use crate::edit::{Edit, FieldSpec, TableSpec, Tx, bind_fields, build_table};
use crate::error::{Error, Result};
use crate::formula::Formula;
use crate::ids::Ids;
use crate::model::{
    Base, Comment, Data, Direction, Kind, Object, SortKey, Token, User, Users, View,
};
use crate::persist::files_folder;
use crate::reply::ApiError;

pub(crate) use saved::{SavedWorld, is_key, readdress};

/// The demo base.
const DEMO: &str = include_str!("demo.json");
/// Seed of the ids that a file leaves out: the same file always gives the same ids.
const LOAD_SEED: u64 = 7;
/// All scopes of the API.
pub(crate) const SCOPES: [&str; 8] = [
    "data.records:read",
    "data.records:write",
    "data.recordComments:read",
    "data.recordComments:write",
    "schema.bases:read",
    "schema.bases:write",
    "user.email:read",
    "webhook:manage",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileWorld {
    #[serde(default)]
    users: Vec<User>,
    #[serde(default)]
    tokens: Vec<FileToken>,
    bases: Vec<FileBase>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileToken {
    token: String,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    scopes: Option<Vec<String>>,
    #[serde(default)]
    bases: Option<HashSet<String>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    configured: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileBase {
    #[serde(default)]
    id: Option<String>,
    name: String,
    #[serde(default)]
    workspace_id: Option<String>,
    #[serde(default)]
    permission_level: Option<String>,
    #[serde(default)]
    created_time: Option<Timestamp>,
    tables: Vec<FileTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileTable {
    #[serde(default)]
    id: Option<String>,
    name: String,
    #[serde(default)]
    description: Option<String>,
    fields: Vec<FieldSpec>,
    #[serde(default)]
    views: Vec<FileView>,
    #[serde(default)]
    records: Vec<FileRecord>,
    #[serde(default)]
    generate: Option<generate::Recipe>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileView {
    #[serde(default)]
    id: Option<String>,
    name: String,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    visible_fields: Option<Vec<String>>,
    #[serde(default)]
    filter_by_formula: Option<String>,
    #[serde(default)]
    sort: Vec<FileSort>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSort {
    field: String,
    #[serde(default)]
    direction: Direction,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileRecord {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    created_time: Option<Timestamp>,
    #[serde(default)]
    fields: Object,
    #[serde(default)]
    comments: Vec<FileComment>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileComment {
    #[serde(default)]
    id: Option<String>,
    text: String,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    created_time: Option<Timestamp>,
    #[serde(default)]
    parent_comment_id: Option<String>,
    #[serde(default)]
    reactions: Vec<Json>,
}

/// What a file gives.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) data: Data,
    /// Where the sequence of ids stood, if it had a seed.
    pub(crate) ids: Option<u64>,
    /// What the addresses of files began with when it was saved.
    pub(crate) public_url: Option<String>,
}

/// Tells base files from those that a simulator has saved.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    version: Option<u32>,
}

/// Loads the data that the configuration names.
pub(crate) fn load(world: &World) -> Result<Loaded> {
    match world {
        World::Demo => read(DEMO.as_bytes(), None),
        World::Text(text) => read(text.as_bytes(), None),
        World::File(path) => {
            let text = std::fs::read(path)
                .map_err(|source| Error::ReadWorld { path: path.clone(), source })?;
            read(&text, Some(&files_folder(path)))
        }
    }
}

/// Reads a base file or a saved one; the uploaded files of a saved one lie in a folder.
pub(crate) fn read(text: &[u8], files: Option<&Path>) -> Result<Loaded> {
    let head: Head = serde_json::from_slice(text)?;
    if head.version.is_some() {
        let saved: SavedWorld = serde_json::from_slice(text)?;
        return saved.restore(files);
    }
    let json: Json = serde_json::from_slice(text)?;
    let file: FileWorld = if json.get("tables").is_some() {
        FileWorld {
            users: Vec::new(),
            tokens: Vec::new(),
            bases: vec![serde_json::from_value(json)?],
        }
    } else {
        serde_json::from_value(json)?
    };
    let mut users: Users = file.users.into_iter().map(|user| (user.id.clone(), user)).collect();
    if users.is_empty() {
        let owner = User {
            id: "usrOwner000000001".to_owned(),
            email: "owner@example.com".to_owned(),
            name: "Owner".to_owned(),
        };
        users.insert(owner.id.clone(), owner);
    }
    let owner = users.keys().next().cloned().unwrap_or_default();
    let tokens = listed_tokens(&users, file.tokens)?;
    let ids = Ids::new(Some(LOAD_SEED));
    let mut bases = IndexMap::new();
    for base in file.bases {
        let base = load_base(&ids, &users, &owner, base)?;
        if bases.contains_key(&base.id) {
            return Err(invalid(&base.id, "the id is used twice".to_owned()));
        }
        bases.insert(base.id.clone(), base);
    }
    let data = Data { users, tokens, bases, blobs: HashMap::new() };
    Ok(Loaded { data, ids: None, public_url: None })
}

/// The tokens that a file lists.
fn listed_tokens(users: &Users, listed: Vec<FileToken>) -> Result<HashMap<String, Token>> {
    let mut tokens = HashMap::new();
    for token in listed {
        let made = new_token(users, token.user, token.scopes, token.bases, token.configured)?;
        tokens.insert(token.token, made);
    }
    Ok(tokens)
}

/// Has exactly those tokens of the configuration accepted that it names now.
///
/// A token that has made bases in an earlier run keeps its grants for them.
pub(crate) fn admit(data: &mut Data, configured: &[TokenConfig]) -> Result<()> {
    let made = |token: &TokenConfig| {
        let known = data.tokens.get(&token.token).filter(|known| known.configured);
        let earlier = known.and_then(|known| known.bases.as_ref()).into_iter().flatten();
        let bases = token.bases.as_ref().map(|bases| bases.iter().chain(earlier).cloned());
        let (user, scopes) = (token.user.clone(), token.scopes.clone());
        let made = new_token(&data.users, user, scopes, bases.map(Iterator::collect), true)?;
        Ok((token.token.clone(), made))
    };
    let admitted: Vec<_> = configured.iter().map(made).collect::<Result<_>>()?;
    data.tokens.retain(|_, token| !token.configured);
    data.tokens.extend(admitted);
    Ok(())
}

fn new_token(
    users: &Users,
    user: Option<String>,
    scopes: Option<Vec<String>>,
    bases: Option<HashSet<String>>,
    configured: bool,
) -> Result<Token> {
    let user = user.or_else(|| users.keys().next().cloned()).unwrap_or_default();
    if !users.contains_key(&user) {
        return Err(invalid("tokens", format!("no user {user}")));
    }
    let scopes = scopes.unwrap_or_else(|| SCOPES.iter().map(|s| (*s).to_owned()).collect());
    Ok(Token { user, scopes, bases, configured })
}

fn invalid(place: &str, reason: String) -> Error {
    Error::InvalidWorld { place: place.to_owned(), reason }
}

fn refused(place: &str, error: &ApiError) -> Error {
    let message = error.body["error"]["message"].as_str();
    invalid(place, message.map_or_else(|| error.body.to_string(), str::to_owned))
}

/// Time of whatever a file gives no time for.
fn epoch() -> Timestamp {
    Timestamp::from_second(1_704_067_200).unwrap_or_default()
}

fn load_base(ids: &Ids, users: &Users, owner: &str, file: FileBase) -> Result<Base> {
    let mut base = Base {
        id: file.id.unwrap_or_else(|| ids.fresh("app")),
        name: file.name,
        workspace: file.workspace_id.unwrap_or_else(|| ids.fresh("wsp")),
        permission: file.permission_level.unwrap_or_else(|| "create".to_owned()),
        created: file.created_time.unwrap_or_else(epoch),
        tables: IndexMap::new(),
        webhooks: IndexMap::new(),
        transactions: 0,
    };
    let mut rest = Vec::new();
    for table in file.tables {
        let place = format!("{}/{}", base.name, table.name);
        let spec =
            TableSpec { name: table.name, description: table.description, fields: table.fields };
        let built = build_table(ids, table.id, spec).map_err(|error| refused(&place, &error))?;
        let id = built.id.clone();
        if base.tables.insert(id.clone(), built).is_some() {
            return Err(invalid(&place, format!("the id {id} is used twice")));
        }
        rest.push((place, id, table.views, table.records, table.generate));
    }
    pair_links(ids, &mut base)?;
    bind_fields(&mut base);
    check_bound(&base)?;
    let mut links = Vec::new();
    for (place, table, views, mut records, recipe) in rest {
        load_views(ids, &mut base, &place, &table, views)?;
        if let Some(recipe) = recipe {
            let made = recipe.records();
            records.extend(made.map(|fields| FileRecord { fields, ..FileRecord::default() }));
        }
        for record in records {
            let (id, cells) = load_record(ids, users, owner, &mut base, &place, &table, record)?;
            links.push((place.clone(), table.clone(), id, cells));
        }
    }
    for (place, table, id, cells) in links {
        let mut tx = transaction(ids, users, owner, &mut base);
        let done = tx
            .check(&table, &cells)
            .and_then(|cells| tx.update(&table, &id, crate::edit::Mode::Merge, cells));
        done.map_err(|error| refused(&format!("{place}/{id}"), &error))?;
        if let Some(record) = base.tables.get_mut(&table).and_then(|t| t.record_mut(&id)) {
            record.modified = None;
        }
    }
    Ok(base)
}

fn transaction<'a>(ids: &'a Ids, users: &'a Users, owner: &'a str, base: &'a mut Base) -> Tx<'a> {
    let now = base.created;
    Tx::new(base, users, Edit { ids, now, user: owner, typecast: true })
}

/// Resolves link columns; an inverse that is named but not listed is made.
fn pair_links(ids: &Ids, base: &mut Base) -> Result<()> {
    let links: Vec<_> = base
        .tables
        .values()
        .flat_map(|table| table.fields.values().map(move |field| (table, field)))
        .filter(|(_, field)| field.kind == Kind::MultipleRecordLinks)
        .map(|(table, field)| {
            let inverse = field.option("inverseLinkFieldId").map(str::to_owned);
            (table.id.clone(), field.id.clone(), inverse)
        })
        .collect();
    for (table, field, inverse) in links {
        // The other half of a pair that is already bound.
        let bound = base.tables.get(&table).and_then(|t| t.fields.get(&field)).is_some_and(|f| {
            let other = f.option("linkedTableId").and_then(|id| base.tables.get(id));
            let back = f.option("inverseLinkFieldId").and_then(|id| other?.fields.get(id));
            back.is_some_and(|back| back.option("inverseLinkFieldId") == Some(&field))
        });
        if !bound {
            let place = format!("{}/{table}/{field}", base.name);
            base.pair_link(ids, &table, &field, inverse.as_deref())
                .map_err(|error| refused(&place, &error))?;
        }
    }
    Ok(())
}

/// Refuses computed columns whose references lead nowhere.
fn check_bound(base: &Base) -> Result<()> {
    for table in base.tables.values() {
        for field in table.fields.values() {
            if field.options.get("isValid") == Some(&Json::Bool(false)) {
                let place = format!("{}/{}/{}", base.name, table.name, field.name);
                return Err(invalid(&place, "the column's formula or references are wrong".into()));
            }
        }
    }
    Ok(())
}

fn load_views(
    ids: &Ids,
    base: &mut Base,
    place: &str,
    table: &str,
    views: Vec<FileView>,
) -> Result<()> {
    let Some(table) = base.tables.get_mut(table) else { return Ok(()) };
    let mut built = Vec::new();
    for view in views {
        let place = format!("{place}/{}", view.name);
        let resolve = |name: &str| table.field(name).map(|field| field.id.clone());
        let known =
            |name: &str| resolve(name).ok_or_else(|| invalid(&place, format!("no field {name}")));
        let filter = match view.filter_by_formula {
            None => None,
            Some(text) => Some(Arc::new(
                Formula::compile(&text, &resolve).map_err(|e| invalid(&place, e.to_string()))?,
            )),
        };
        let mut sort = Vec::new();
        for key in view.sort {
            sort.push(SortKey { field: known(&key.field)?, direction: key.direction });
        }
        let visible: Option<Result<Vec<_>>> =
            view.visible_fields.map(|names| names.iter().map(|name| known(name)).collect());
        built.push(View {
            id: view.id.unwrap_or_else(|| ids.fresh("viw")),
            name: view.name,
            kind: view.kind.unwrap_or_else(|| "grid".to_owned()),
            visible: visible.transpose()?,
            filter,
            sort,
        });
    }
    if !built.is_empty() {
        table.views = built;
    }
    Ok(())
}

/// Loads a record without its links; those are returned, to be written when all records exist.
fn load_record(
    ids: &Ids,
    users: &Users,
    owner: &str,
    base: &mut Base,
    place: &str,
    table_id: &str,
    file: FileRecord,
) -> Result<(String, Object)> {
    let id = file.id.unwrap_or_else(|| ids.fresh("rec"));
    let place = format!("{place}/{id}");
    if base.tables.values().any(|table| table.records.contains_key(&id)) {
        return Err(invalid(&place, "the id is used twice".to_owned()));
    }
    let is_link = |name: &str| {
        let field = base.tables.get(table_id).and_then(|table| table.field(name));
        field.is_some_and(|field| field.kind == Kind::MultipleRecordLinks)
    };
    let (links, cells): (Object, Object) =
        file.fields.into_iter().partition(|(name, _)| is_link(name));
    let mut tx = transaction(ids, users, owner, base);
    let created = file.created_time.unwrap_or(tx.edit.now);
    let done =
        tx.check(table_id, &cells).and_then(|cells| tx.insert_as(table_id, &id, created, cells));
    done.map_err(|error| refused(&place, &error))?;
    let record = base.tables.get_mut(table_id).and_then(|table| table.record_mut(&id));
    if let Some(record) = record {
        record.comments = file
            .comments
            .into_iter()
            .map(|comment| Comment {
                id: comment.id.unwrap_or_else(|| ids.fresh("com")),
                author: comment.author.unwrap_or_else(|| owner.to_owned()),
                text: comment.text,
                created: comment.created_time.unwrap_or(created),
                updated: None,
                parent: comment.parent_comment_id,
                reactions: comment.reactions,
            })
            .collect();
    }
    Ok((id, links))
}
