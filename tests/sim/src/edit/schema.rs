//! Tables and fields: making, binding and changing them.

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::Tx;
use crate::formula::{Formula, ResultKind};
use crate::ids::Ids;
use crate::model::{Base, Field, Kind, MAX_NESTING, Object, Table, View, is_nested_beyond};
use crate::reply::{ApiError, ApiResult};

/// A field as a request or a base file describes it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FieldSpec {
    #[serde(default)]
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) options: Option<Object>,
}

/// A table as a request describes it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TableSpec {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    pub(crate) fields: Vec<FieldSpec>,
}

/// Most fields of a table.
const MAX_FIELDS: usize = 500;
/// Most tables of a base.
const MAX_TABLES: usize = 1000;

/// Makes a field, with the options its type always has.
pub(crate) fn build_field(ids: &Ids, spec: FieldSpec) -> ApiResult<Field> {
    let kind = Kind::parse(&spec.kind).ok_or_else(|| {
        ApiError::invalid("INVALID_FIELD_TYPE_FOR_CREATE", format!("Unknown type {}", spec.kind))
    })?;
    let mut options = spec.options.unwrap_or_default();
    if options.values().any(|option| is_nested_beyond(option, MAX_NESTING)) {
        return Err(ApiError::bad_parameters());
    }
    let mut default = |name: &str, value: Json| {
        options.entry(name).or_insert(value);
    };
    let date = json!({"name": "iso", "format": "YYYY-MM-DD"});
    match kind {
        Kind::Number | Kind::Percent => default("precision", json!(0)),
        Kind::Currency => {
            default("precision", json!(2));
            default("symbol", json!("$"));
        }
        Kind::Rating => {
            default("max", json!(5));
            default("icon", json!("star"));
            default("color", json!("yellowBright"));
        }
        Kind::Checkbox => {
            default("icon", json!("check"));
            default("color", json!("greenBright"));
        }
        Kind::Duration => default("durationFormat", json!("h:mm")),
        Kind::Date => default("dateFormat", date),
        Kind::DateTime => {
            default("dateFormat", date);
            default("timeFormat", json!({"name": "24hour", "format": "HH:mm"}));
            default("timeZone", json!("utc"));
        }
        Kind::MultipleAttachments => default("isReversed", json!(false)),
        Kind::SingleSelect | Kind::MultipleSelects => {
            default("choices", json!([]));
            let choices = options.get_mut("choices").and_then(Json::as_array_mut);
            for choice in choices.into_iter().flatten() {
                if let Json::String(name) = choice {
                    *choice = json!({"name": name});
                }
                let Some(choice) = choice.as_object_mut() else {
                    return Err(ApiError::bad_parameters());
                };
                choice.entry("id").or_insert_with(|| json!(ids.fresh("sel")));
                choice.entry("color").or_insert(json!("blueLight2"));
            }
        }
        Kind::MultipleRecordLinks => {
            default("isReversed", json!(false));
            default("prefersSingleRecordLink", json!(false));
        }
        _ => {}
    }
    Ok(Field {
        id: spec.id.unwrap_or_else(|| ids.fresh("fld")),
        name: spec.name,
        description: spec.description,
        kind,
        options,
        formula: None,
    })
}

/// Makes an empty table with one view. The first field is the primary one.
pub(crate) fn build_table(ids: &Ids, id: Option<String>, spec: TableSpec) -> ApiResult<Table> {
    let mut fields = IndexMap::new();
    for field in spec.fields {
        let field = build_field(ids, field)?;
        if fields.values().any(|known: &Field| known.name == field.name) {
            return Err(duplicate_field(&field.name));
        }
        fields.insert(field.id.clone(), field);
    }
    let primary = fields.values().next().ok_or_else(ApiError::bad_parameters)?;
    if !primary.kind.can_be_primary() {
        return Err(ApiError::invalid(
            "INVALID_PRIMARY_FIELD",
            format!("Field \"{}\" cannot be the primary field", primary.name),
        ));
    }
    let view = View {
        id: ids.fresh("viw"),
        name: "Grid view".to_owned(),
        kind: "grid".to_owned(),
        visible: None,
        filter: None,
        sort: Vec::new(),
    };
    Ok(Table {
        id: id.unwrap_or_else(|| ids.fresh("tbl")),
        name: spec.name,
        description: spec.description,
        primary: primary.id.clone(),
        fields,
        views: vec![view],
        records: IndexMap::new(),
        next_number: 1,
    })
}

fn duplicate_field(name: &str) -> ApiError {
    ApiError::invalid(
        "DUPLICATE_OR_EMPTY_FIELD_NAME",
        format!("Field names must be unique and not empty: \"{name}\""),
    )
}

/// Turns the names in computed fields' options into ids, and compiles formulas.
pub(crate) fn bind_fields(base: &mut Base) {
    let copy = base.clone_schema();
    for table in base.tables.values_mut() {
        let Some(own) = copy.tables.get(&table.id) else { continue };
        let resolve = |name: &str| own.field(name).map(|field| field.id.clone());
        for field in table.fields.values_mut() {
            if !matches!(
                field.kind,
                Kind::Formula
                    | Kind::Rollup
                    | Kind::MultipleLookupValues
                    | Kind::Count
                    | Kind::LastModifiedTime
                    | Kind::CreatedTime
            ) {
                continue;
            }
            let link = field.option("recordLinkFieldId").and_then(|key| own.field(key));
            let other = link
                .and_then(|link| link.option("linkedTableId"))
                .and_then(|id| copy.tables.get(id));
            let source = field
                .option("fieldIdInLinkedTable")
                .and_then(|key| other?.field(key))
                .map(|source| (source.id.clone(), result_of(source)));
            let link_id = link.map(|link| link.id.clone());
            let mut valid = link_id.is_some();
            if let Some(id) = link_id {
                field.options.insert("recordLinkFieldId".to_owned(), json!(id));
            }
            if let Some((id, result)) = source {
                field.options.insert("fieldIdInLinkedTable".to_owned(), json!(id));
                field.options.entry("result").or_insert(result);
            }
            if matches!(field.kind, Kind::Formula | Kind::Rollup) {
                let none = |_: &str| None;
                let compiled = match (field.kind, field.option("formula")) {
                    (Kind::Formula, Some(text)) => Formula::compile(text, &resolve).ok(),
                    (_, text) => Formula::compile(text.unwrap_or("ARRAYJOIN(values)"), &none).ok(),
                };
                valid = compiled.is_some();
                if let (Kind::Formula, Some(compiled)) = (field.kind, &compiled) {
                    field.options.insert("formula".to_owned(), json!(compiled.source()));
                }
                let reads = compiled.as_ref().map_or(json!([]), |f| json!(f.fields()));
                let kind = compiled.as_ref().map_or(ResultKind::Text, Formula::result_kind);
                field.options.insert("referencedFieldIds".to_owned(), reads);
                field.options.entry("result").or_insert(result_schema(kind));
                field.formula = compiled.map(Arc::new);
            }
            if field.kind == Kind::LastModifiedTime {
                let watched = field.options.get("referencedFieldIds").and_then(Json::as_array);
                let ids: Vec<_> = watched
                    .into_iter()
                    .flatten()
                    .filter_map(|name| resolve(name.as_str()?))
                    .collect();
                field.options.insert("referencedFieldIds".to_owned(), json!(ids));
                valid = true;
            }
            if matches!(field.kind, Kind::LastModifiedTime | Kind::CreatedTime) {
                field.options.entry("result").or_insert(result_schema(ResultKind::Date));
            }
            if field.kind != Kind::CreatedTime {
                field.options.insert("isValid".to_owned(), json!(valid));
            }
        }
    }
}

fn result_of(field: &Field) -> Json {
    let mut out = json!({"type": field.kind});
    if !field.options.is_empty() {
        out["options"] = Json::Object(field.options.clone());
    }
    out
}

fn result_schema(kind: ResultKind) -> Json {
    match kind {
        ResultKind::Text => json!({"type": "singleLineText"}),
        ResultKind::Number => json!({"type": "number", "options": {"precision": 1}}),
        ResultKind::Date => json!({"type": "dateTime", "options": {
            "dateFormat": {"name": "iso", "format": "YYYY-MM-DD"},
            "timeFormat": {"name": "24hour", "format": "HH:mm"},
            "timeZone": "utc",
        }}),
    }
}

impl Base {
    /// The tables and fields without the records.
    fn clone_schema(&self) -> Self {
        let bare = |table: &Table| Table {
            id: table.id.clone(),
            name: table.name.clone(),
            description: None,
            primary: table.primary.clone(),
            fields: table.fields.clone(),
            views: Vec::new(),
            records: IndexMap::new(),
            next_number: 0,
        };
        Self {
            id: self.id.clone(),
            name: self.name.clone(),
            workspace: self.workspace.clone(),
            permission: self.permission.clone(),
            created: self.created,
            tables: self.tables.values().map(|t| (t.id.clone(), bare(t))).collect(),
            webhooks: IndexMap::new(),
            transactions: 0,
        }
    }

    /// Pairs a link field with its inverse in the linked table, made when there is none.
    ///
    /// `inverse` is the name or id wanted; none leaves the link one-way.
    pub(crate) fn pair_link(
        &mut self,
        ids: &Ids,
        table_id: &str,
        field_id: &str,
        inverse: Option<&str>,
    ) -> ApiResult<Option<(String, String)>> {
        let own = self.tables.get(table_id).ok_or_else(ApiError::forbidden)?;
        let field = own.fields.get(field_id).ok_or_else(ApiError::forbidden)?;
        let key = field.option("linkedTableId").unwrap_or_default();
        let other_id = self.table(key).map(|table| table.id.clone()).ok_or_else(|| {
            ApiError::invalid(
                "INVALID_FIELD_OPTIONS",
                format!("Field \"{}\" links to a table that does not exist", field.name),
            )
        })?;
        let mut made = None;
        let mut inverse_id = None;
        if let Some(wanted) = inverse {
            let other = self.tables.get_mut(&other_id).ok_or_else(ApiError::forbidden)?;
            let found = other.field(wanted).map(|field| field.id.clone());
            let id = found.unwrap_or_else(|| {
                let id = ids.fresh("fld");
                let field = Field {
                    id: id.clone(),
                    name: wanted.to_owned(),
                    description: None,
                    kind: Kind::MultipleRecordLinks,
                    options: Object::new(),
                    formula: None,
                };
                other.fields.insert(id.clone(), field);
                made = Some((other_id.clone(), id.clone()));
                id
            });
            if let Some(field) = other.fields.get_mut(&id) {
                field.options = Object::from_iter([
                    ("linkedTableId".to_owned(), json!(table_id)),
                    ("isReversed".to_owned(), json!(false)),
                    ("prefersSingleRecordLink".to_owned(), json!(false)),
                    ("inverseLinkFieldId".to_owned(), json!(field_id)),
                ]);
            }
            inverse_id = Some(id);
        }
        let own = self.tables.get_mut(table_id).and_then(|table| table.fields.get_mut(field_id));
        if let Some(field) = own {
            field.options.insert("linkedTableId".to_owned(), json!(other_id));
            field.options.remove("inverseLinkFieldId");
            if let Some(id) = inverse_id {
                field.options.insert("inverseLinkFieldId".to_owned(), json!(id));
            }
        }
        Ok(made)
    }
}

impl Tx<'_> {
    /// Adds a table.
    pub(crate) fn create_table(&mut self, spec: TableSpec) -> ApiResult<String> {
        let taken = spec.name.is_empty() || self.base.table(&spec.name).is_some();
        if taken || self.base.tables.len() >= MAX_TABLES {
            return Err(ApiError::invalid(
                "DUPLICATE_TABLE_NAME",
                format!("Table names must be unique and not empty: \"{}\"", spec.name),
            ));
        }
        for field in &spec.fields {
            creatable(field)?;
        }
        let table = build_table(self.edit.ids, None, spec)?;
        let id = table.id.clone();
        let links: Vec<_> = table
            .fields
            .values()
            .filter(|field| field.kind == Kind::MultipleRecordLinks)
            .map(|field| field.id.clone())
            .collect();
        self.base.tables.insert(id.clone(), table);
        for link in links {
            if let Err(error) = self.pair_new_link(&id, &link) {
                self.base.tables.shift_remove(&id);
                return Err(error);
            }
        }
        bind_fields(self.base);
        self.changes.created_tables.push(id.clone());
        Ok(id)
    }

    /// Adds a field.
    pub(crate) fn create_field(&mut self, table_id: &str, spec: FieldSpec) -> ApiResult<String> {
        creatable(&spec)?;
        let field = build_field(self.edit.ids, spec)?;
        let (id, kind) = (field.id.clone(), field.kind);
        let table = self.base.tables.get_mut(table_id).ok_or_else(ApiError::forbidden)?;
        if field.name.is_empty() || table.field(&field.name).is_some() {
            return Err(duplicate_field(&field.name));
        }
        if table.fields.len() >= MAX_FIELDS {
            return Err(ApiError::invalid("FIELD_LIMIT_EXCEEDED", "The table has too many fields"));
        }
        table.fields.insert(id.clone(), field);
        if kind == Kind::MultipleRecordLinks
            && let Err(error) = self.pair_new_link(table_id, &id)
        {
            if let Some(table) = self.base.tables.get_mut(table_id) {
                table.fields.shift_remove(&id);
            }
            return Err(error);
        }
        bind_fields(self.base);
        self.changes.created_fields.push((table_id.to_owned(), id.clone()));
        Ok(id)
    }

    /// A link made by a request gets an inverse named after its table.
    fn pair_new_link(&mut self, table_id: &str, field_id: &str) -> ApiResult<()> {
        let own = self.base.tables.get(table_id).ok_or_else(ApiError::forbidden)?;
        let link = own.fields.get(field_id).and_then(|field| field.option("linkedTableId"));
        let other = link.and_then(|key| self.base.table(key));
        let name = other.filter(|other| other.id != table_id).map(|other| {
            let mut name = own.name.clone();
            let mut next = 2;
            while other.field(&name).is_some() {
                name = format!("{} {next}", own.name);
                next += 1;
            }
            name
        });
        let made = self.base.pair_link(self.edit.ids, table_id, field_id, name.as_deref())?;
        self.changes.created_fields.extend(made);
        Ok(())
    }
}

/// Types that requests cannot make.
fn creatable(spec: &FieldSpec) -> ApiResult<()> {
    if Kind::parse(&spec.kind).is_some_and(Kind::is_computed) {
        return Err(ApiError::invalid(
            "UNSUPPORTED_FIELD_TYPE_FOR_CREATE",
            format!("Creating {} fields is not supported at this time", spec.kind),
        ));
    }
    Ok(())
}
